# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a chart is applied, and what is left alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.helm import Chart, render, split
from ansible_collections.fastml.supersonic.tests.harness.fake_api import FakeApi
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module


def test_hooks_are_kept_apart() -> None:
    def hook(name: str, event: str, weight: str | None = None) -> dict[str, Any]:
        annotations = {"helm.sh/hook": event, **({"helm.sh/hook-weight": weight} if weight else {})}
        return {"kind": "Job", "metadata": {"name": name, "annotations": annotations}}

    plain = {"kind": "ConfigMap", "metadata": {"name": "plain", "annotations": {"a": "b"}}}
    objects, hooks = split(
        [
            hook("late", "post-delete", "5"),
            plain,
            hook("both", "post-delete, pre-delete"),
            hook("early", "post-delete", "-1"),
        ]
    )
    assert objects == [plain]
    assert {event: [item["metadata"]["name"] for item in found] for event, found in hooks.items()} == {
        "post-delete": ["early", "both", "late"],
        "pre-delete": ["both"],
    }


def test_another_archive_than_the_one_that_was_pinned_is_not_rendered(tmp_path: Path) -> None:
    """No program is started for it."""
    archive = tmp_path / "chart.tgz"
    archive.write_bytes(b"another one")
    with pytest.raises(SupersonicError, match=f"but {'0' * 64} is asked for: it is another file"):
        render(Chart("gpus", "here", str(archive), sha256="0" * 64, program=sys.executable))


def test_a_release_of_helm_itself_is_left_to_it() -> None:
    with FakeApi() as api:
        labels = {"owner": "helm", "name": "gpus"}
        api.put("/api/v1/namespaces/here/secrets/sh.helm.release.v1.gpus.v1", {"metadata": {"labels": labels}})
        options = {"host": api.url, "api_key": "abc", "namespace": "here", "chart": "/nowhere", "program": "/nowhere"}
        refused = run_module("helm_chart", {**options, "name": "gpus", "kubernetes_version": "v1.31.7"})
        assert "Helm itself has installed a release gpus in the namespace here" in refused["msg"]
        # One of another name is no reason, so that this comes as far as the program.
        other = run_module("helm_chart", {**options, "name": "other", "kubernetes_version": "v1.31.7"})
        assert "The program /nowhere is not there" in other["msg"]
        assert api.changes == []
