# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records golden requests: sends requests to a trusted server and stores its answers as the expected ones.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import (
    golden_requests,
    inference_check,
    kserve_client,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import tensor as inference_tensor
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.compare import compare
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver, Target
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import Golden
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.inference_check import (
    Failure,
    Line,
    Run,
    Settings,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.tensor import Tensor

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Recording:
    """One golden request as it is and as it will be on disk."""

    path: str
    before: str
    after: str

    @property
    def changed(self) -> bool:
        return self.before != self.after


def record(
    target: Target,
    goldens: Sequence[Golden],
    resolver: Resolver,
    settings: Settings,
    *,
    destination: str,
    overwrite: bool,
    tolerances: Mapping[str, t.Any] | None,
) -> list[Recording]:
    """Ask one server all requests and work out the files. Writes nothing."""
    if target.protocol == "grpc":
        kserve_client.load_grpc()
    run = Run(settings, resolver)
    places, absences = inference_check.find_servers(run, target)
    if absences or len(places) != 1:
        reason = absences[0].reason if absences else f"it stands for {len(places)} servers, record from one"
        raise SupersonicError(f"Nothing can be recorded from {target}: {reason}.")
    line = Line(target, places[0])
    try:
        version = line.client(0).metadata(settings.timeout).get("version", "unknown")
    except kserve_client.CallError:
        # The requests below fail for the same reason and say it in words.
        version = "unknown"
    result = []
    try:
        for golden in goldens:
            if golden.error is None:
                answer = _ask(run, line, golden)
                source = f"recorded from {line.place.name}, inference server {version}"
                result.append(_recording(golden, answer, source, destination, overwrite, tolerances))
    finally:
        line.close()
    return result


def write(recordings: Sequence[Recording]) -> None:
    """Write what has changed; each file appears whole or not at all."""
    for recording in recordings:
        if recording.changed:
            write_file(recording.path, recording.after)


def _ask(run: Run, line: Line, golden: Golden) -> list[Tensor]:
    try:
        return inference_check.attempt(run, line, lambda: inference_check.call(run, line, golden), golden)
    except Failure as failure:
        raise SupersonicError(
            f"The golden request {golden.name} of model {golden.model} cannot be recorded from {line.place.name}: "
            f"{failure}."
        ) from failure


def _recording(
    golden: Golden,
    answer: Sequence[Tensor],
    source: str,
    destination: str,
    overwrite: bool,
    tolerances: Mapping[str, t.Any] | None,
) -> Recording:
    for kind, name in (("model", golden.model), ("name", golden.name)):
        if not _SAFE_NAME.fullmatch(name):
            raise SupersonicError(f"The {kind} '{name}' ({golden.where}) cannot be the name of a file.")
    path = os.path.join(destination, golden.model, golden_requests.FOLDER, f"{golden.name}.json")
    before, kept = _present(path, golden)
    allowed = tolerances if tolerances is not None else golden.document.get("tolerances")
    if kept is not None:
        still_right = (kept.inputs, kept.parameters) == (golden.inputs, golden.parameters) and not compare(
            kept.expected, answer, kept.tolerance
        ).problems
        if still_right:
            # An answer that differs in its last digits only must not make a change.
            document = {**kept.document, **({"tolerances": allowed} if allowed else {})}
            return Recording(path, before, before if document == kept.document else _text(document))
        if not overwrite:
            raise SupersonicError(
                f"{path} holds another request, or another answer than {source.removeprefix('recorded from ')} gives. "
                "Set record.overwrite if the new one is right."
            )
    document = {"source": source}
    if golden.version:
        document["version"] = golden.version
    document["request"] = golden.document["request"]
    document["response"] = {"outputs": [inference_tensor.to_json(tensor) for tensor in answer]}
    if allowed:
        golden_requests.parse_tolerances(allowed, answer, f"tolerances of model {golden.model}")
        document["tolerances"] = allowed
    return Recording(path, before, _text(document))


def _text(document: Mapping[str, t.Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


def _present(path: str, golden: Golden) -> tuple[str, Golden | None]:
    """The text that is there and, when it expects an answer, what it says."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return "", None
    except OSError as exc:
        raise SupersonicError(f"{path} cannot be read: {exc.strerror}.") from exc
    kept = golden_requests.parse(golden_requests.read_document(path), golden.model, golden.name, path, recording=True)
    if not kept.expected:
        return text, None
    return text, kept


def write_file(path: str, text: str) -> None:
    """Write a file so that others see the old or the new content, never a part of it."""
    folder = os.path.dirname(path) or "."
    try:
        os.makedirs(folder, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as exc:
        raise SupersonicError(f"{path} cannot be written: {exc.strerror}.") from exc
