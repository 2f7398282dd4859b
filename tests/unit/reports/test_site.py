# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances in waves, and what a run says of them in the end."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.plugin_utils._reports import site

FOUR = [("a", 1), ("b", 1), ("c", 0), ("d", 1)]


@pytest.mark.parametrize(
    ("instances", "serial", "waves"),
    [
        (FOUR, None, [["c"], ["a", "b", "d"]]),
        ([("a", 1), ("b", "2"), ("c", None)], None, [["a", "c"], ["b"]]),
        ([("a", 1), ("b", 1)], None, [["a", "b"]]),
        (FOUR, 1, [["c"], ["a"], ["b"], ["d"]]),
        (FOUR, "3", [["c", "a", "b"], ["d"]]),
        (FOUR, [1, "50%"], [["c"], ["a", "b"], ["d"]]),
        # Not less than one of them.
        (FOUR, "1%", [["c"], ["a"], ["b"], ["d"]]),
        (FOUR, [1, 2, 30], [["c"], ["a", "b"], ["d"]]),
        ([], None, []),
        ([], 1, []),
    ],
)
def test_waves(instances: list[Any], serial: Any, waves: list[list[str]]) -> None:
    assert site.waves(instances, serial) == waves


@pytest.mark.parametrize("serial", [0, "0%", -1, "half", "1.5", [], [1, None], True, {"a": 1}])
def test_what_is_no_size_is_refused(serial: Any) -> None:
    with pytest.raises(SupersonicError, match=r"^site_serial (has|is) .* It is the size of each wave"):
        site.waves(FOUR, serial)


def host(name: str, **variables: Any) -> dict[str, Any]:
    return {"inventory_hostname": name, "supersonic_name": name, "supersonic_namespace": "n", **variables}


def broken(name: str, step: str = "proof", **variables: Any) -> dict[str, Any]:
    fault = {"step": step, "task": "Report what failed", "message": "wrong\nanswers"}
    return host(name, __site_failure=fault, **variables)


@pytest.mark.parametrize(
    ("failing", "begins", "allowed", "stopped"),
    [
        ([], "b", 0, []),
        (["a"], "b", 0, ["a"]),
        (["a"], "b", 1, []),
        # Of the same wave, and of a later one.
        (["b"], "c", 0, []),
        (["d"], "b", 0, []),
        (["a", "b"], "d", 1, ["a", "b"]),
        (["a", "b"], "a", 0, []),
    ],
)
def test_what_keeps_a_wave_from_being_begun(failing: list[str], begins: str, allowed: int, stopped: list[str]) -> None:
    waves = [["a"], ["b", "c"], ["d"]]
    instances = [broken(name) if name in failing else host(name) for name in "abcd"]
    assert site.stopped(instances, waves, begins, allowed) == stopped


@pytest.mark.parametrize(
    ("result", "task", "message"),
    [
        ({"msg": "it is not there"}, {"name": "Look"}, "it is not there"),
        ({"failed": True}, {"name": "Look"}, "it said nothing"),
        # Of a loop the first that failed.
        (
            {"msg": "One or more items failed", "results": [{"msg": "ok"}, {"failed": True, "msg": "no b"}]},
            {"name": "Look"},
            "no b",
        ),
        ({"msg": "password is x"}, {"name": "Look", "no_log": True}, "what it says may hold secrets (no_log), and is "),
        ({"msg": "password is x", "_ansible_no_log": True}, {"name": "Look"}, "what it says may hold secrets "),
    ],
)
def test_why_an_instance_failed(result: dict[str, Any], task: dict[str, Any], message: str) -> None:
    found = site.failure(result, task, "deployment")
    assert (found["step"], found["task"]) == ("deployment", "Look")
    assert found["message"].startswith(message)


SERVERS = {"__triton_result": {"changed": True}, "__envoy_result": {"changed": False}}
RIGHT = {"targets": [{"checks": 3, "failed": 0}, {"checks": 4, "failed": 0}]}
WRONG = {"targets": [{"checks": 3, "failed": 2}, {"checks": 4, "failed": 0}]}


@pytest.mark.parametrize(
    ("variables", "check", "state", "changed", "checks"),
    [
        ({**SERVERS, "__verify_result": RIGHT}, False, "proved", True, {"asked": 7, "passed": 7}),
        # --tags verify
        ({"__verify_result": RIGHT}, False, "proved", False, {"asked": 7, "passed": 7}),
        # --skip-tags verify
        (SERVERS, False, "deployed", True, None),
        # What check mode predicts is not there to be proved.
        ({**SERVERS, "__verify_result": {"skipped": True}}, True, "checked", True, None),
        ({**SERVERS, "__site_failure": broken("x")["__site_failure"]}, False, "failed", True, None),
        (
            {"__verify_result": WRONG, "__site_failure": broken("x")["__site_failure"]},
            False,
            "failed",
            False,
            {"asked": 7, "passed": 5},
        ),
        ({}, False, "not begun", False, None),
    ],
)
def test_what_became_of_an_instance(
    variables: dict[str, Any], check: bool, state: str, changed: bool, checks: dict[str, int] | None
) -> None:
    (found,) = site.outcomes([host("a", **variables)], [["a"]], check)
    assert (found["state"], found["changed"], found["checks"]) == (state, changed, checks)


@pytest.mark.parametrize(
    ("waves", "told"),
    [
        # As the inventory numbers them, the canary 0.
        ([["c"], ["a", "b"], ["d"]], {"c": 0, "a": 1, "b": 1, "d": 5}),
        ([["c", "a", "b", "d"]], {"c": 1, "a": 1, "b": 1, "d": 1}),
        # Cut by sizes they have no numbers but these, also where some of them have one in the inventory.
        ([["c"], ["a"], ["b"], ["d"]], {"c": 1, "a": 2, "b": 3, "d": 4}),
        ([["c", "a"], ["b", "d"]], {"c": 1, "a": 1, "b": 2, "d": 2}),
    ],
)
def test_waves_are_told_by_the_numbers_that_people_know(waves: list[list[str]], told: dict[str, int]) -> None:
    instances = [
        host("a"),
        host("b", supersonic_wave="1"),
        broken("c", supersonic_wave=0),
        host("d", supersonic_wave=5),
    ]
    found = site.outcomes(instances, waves)
    assert {each["host"]: each["wave"] for each in found} == told
    before = [each["host"] for each in found if each["why"] == "in an earlier wave c failed"]
    assert before == [name for name in told if told[name] > told["c"]]


def test_report_of_a_run_that_was_stopped() -> None:
    instances = [
        host("late"),
        host("other", **SERVERS, __verify_result=RIGHT),
        broken("canary", **SERVERS, __verify_result=WRONG),
        broken("away", "cluster"),
    ]
    found = site.outcomes(instances, [["canary", "other"], ["late", "away"]])
    assert [(each["host"], each["wave"], each["state"]) for each in found] == [
        ("canary", 1, "failed"),
        ("other", 1, "proved"),
        ("late", 2, "not begun"),
        ("away", 2, "failed"),
    ]
    assert found[2]["why"] == "in an earlier wave canary failed"
    told = site.report(found, when="2026-01-02T03:04:05Z")
    assert (told["time"], told["check"], told["passed"]) == ("2026-01-02T03:04:05Z", False, False)
    assert told["instances"] == found
    assert site.table(found).splitlines() == [
        "wave  host    namespace  state             changed  proof",
        "1     canary  n          failed (proof)    yes      5 of 7",
        "1     other   n          proved            yes      7 of 7",
        "2     late    n          not begun         -        -",
        "2     away    n          failed (cluster)  no       -",
        "canary: wrong",
        "answers",
        "late: in an earlier wave canary failed",
        "away: wrong",
        "answers",
    ]
    assert site.report(found[1:2])["passed"]
