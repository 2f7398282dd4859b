# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A step gets other tensors, and the ensembles around it with it, in a real Triton that is asked to load them."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._inference.golden_requests import parse
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.kserve_client import (
    CallError,
    Endpoint,
    HttpClient,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models import rollout
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_servers import Release
from ansible_collections.fastml.supersonic.plugins.module_utils._models.rollout import Server
from ansible_collections.fastml.supersonic.tests.harness.models import write_model
from ansible_collections.fastml.supersonic.tests.harness.triton import Triton

# The steps come first in the alphabet, as in the order in which they were loaded once.
STEP, ENSEMBLE, OUTER = "a-step", "b-ensemble", "c-outer"
# Longer than any of it takes, also on a machine with much else to do.
CLIENT_S = 300


def write_ensemble(folder: Path, name: str, step: str, reads: str, writes: str) -> None:
    (folder / name / "1").mkdir(parents=True)
    (folder / name / "config.pbtxt").write_text(
        f'''
        name: "{name}" platform: "ensemble"
        input [ {{ name: "X" data_type: TYPE_FP32 dims: [ -1 ] }} ]
        output [ {{ name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }} ]
        ensemble_scheduling {{ step [ {{
            model_name: "{step}" model_version: -1
            input_map {{ key: "{reads}" value: "X" }} output_map {{ key: "{writes}" value: "Y" }} }} ] }}
        '''
    )


def write_release(folder: Path, prefix: str) -> None:
    write_model(folder, STEP, initialize="time.sleep(1)")
    config = folder / STEP / "config.pbtxt"
    config.write_text(
        config.read_text()
        .replace('name: "INPUT', f'name: "{prefix}INPUT')
        .replace('name: "OUTPUT', f'name: "{prefix}OUTPUT')
    )
    write_ensemble(folder, ENSEMBLE, STEP, f"{prefix}INPUT0", f"{prefix}OUTPUT0")
    write_ensemble(folder, OUTER, ENSEMBLE, "X", "Y")


def answer(client: HttpClient, model: str) -> str:
    document = {
        "request": {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [1]}]},
        "response": {"outputs": [{"name": "Y", "datatype": "FP32", "shape": [1], "data": [1]}]},
    }
    try:
        client.infer(parse(document, model, "one", "one.json"), CLIENT_S)
    except CallError as exc:
        return str(exc)
    return "ok"


def test_ensembles_answer_while_their_step_gets_other_tensors(tmp_path: Path) -> None:
    write_release(tmp_path / "old", "")
    write_release(tmp_path / "new", "NEW_")
    (tmp_path / "current").symlink_to("old")
    triton = Triton(tmp_path / "current", tmp_path / "log", ["--model-control-mode=explicit", "--load-model=*"])
    answers: Counter[tuple[str, str]] = Counter()
    over = threading.Event()

    def ask(model: str) -> None:
        asking = HttpClient(Endpoint("http", "127.0.0.1", triton.http_port))
        while not over.is_set():
            answers[model, answer(asking, model)] += 1
        asking.close()

    client = HttpClient(Endpoint("http", "127.0.0.1", triton.http_port))
    threads = [threading.Thread(target=ask, args=(model,)) for model in (ENSEMBLE, OUTER)]
    try:
        triton.process.wait_until(lambda: answer(client, OUTER) == "ok", 60)
        for thread in threads:
            thread.start()
        # As the store does, so that Triton sees that it is another one.
        for path in sorted((tmp_path / "new").rglob("*")):
            os.utime(path)
        (tmp_path / "next").symlink_to("new")
        os.replace(tmp_path / "next", tmp_path / "current")
        models = rollout.ensembles_first([STEP, ENSEMBLE, OUTER], rollout._steps(client, "The server"))
        assert models == [OUTER, ENSEMBLE, STEP]
        for model in models:
            client.load(model, CLIENT_S)
        assert client.config(STEP, CLIENT_S)["input"][0]["name"] == "NEW_INPUT0"
    finally:
        over.set()
        for thread in threads:
            if thread.ident:
                thread.join()
        triton.stop()
    assert set(answers) == {(ENSEMBLE, "ok"), (OUTER, "ok")}, answers


@pytest.mark.parametrize(
    ("repositories", "known", "expected"),
    [
        (1, {}, {"gone", "gone-too"}),
        # Nothing else is known of a model that a second repository may have had.
        (2, {}, {"gone"}),
        (1, {"a": "1"}, set()),
    ],
)
def test_models_that_the_repository_has_no_more(
    tmp_path: Path, repositories: int, known: dict[str, str], expected: set[str]
) -> None:
    for model in ("a", "gone", "gone-too"):
        write_model(tmp_path / "old", model)
    for model in ("a", "new"):
        write_model(tmp_path / "new", model)
    write_model(tmp_path / "other", "foreign")
    (tmp_path / "current").symlink_to("old")
    options = ["--model-control-mode=explicit", "--load-model=*", f"--model-repository={tmp_path / 'other'}"]
    triton = Triton(tmp_path / "current", tmp_path / "log", options[: 1 + repositories])
    client = HttpClient(Endpoint("http", "127.0.0.1", triton.http_port))
    arguments = [f"--model-repository=/models/{number}" for number in range(repositories)]
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "triton", "args": arguments}]}}
    models = [{"name": name, "digest": "2", "versions": [1], "size": 1} for name in ("a", "new")]
    release = Release("b" * 40, models, 2.0, [("a" * 40, 1.0, [{**models[0], "name": "gone"}])])
    server = Server(pod, known, serves="a" * 40 if known else None)
    try:
        triton.process.wait_until(lambda: client.ready(5), 60)
        (tmp_path / "next").symlink_to("new")
        os.replace(tmp_path / "next", tmp_path / "current")
        left = rollout._left_behind(client, "The server", server, release)
        assert left == expected
        for model in left:
            client.unload(model, 60)
        assert rollout._left_behind(client, "The server", server, release) == set()
    finally:
        client.close()
        triton.stop()
