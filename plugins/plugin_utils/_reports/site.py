# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The result of site.yml for each instance, and the decision whether the next wave may begin.

An instance is told by the variables that it has after the plays: what its roles have registered, and why it failed.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import itertools
import re
import time
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import COMPONENTS
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.timestamp import stamp

Variables = Mapping[str, t.Any]
Outcome = dict[str, t.Any]

# What the deploying roles register; one of them is there as soon as an instance was begun.
RESULTS = tuple(
    f"__{component.role}_{what}"
    for component in COMPONENTS
    for what in ("claim", "result", "switch", "rollout", "delivered")
)
PROOF = "__verify_result"
FAILURE = "__site_failure"
# Of an instance without supersonic_wave.
WAVE = 1
SERIAL = "It is the size of each wave, such as 1, '50%' or [1, '50%']: a number of instances, or a part of them."
PROVED, DEPLOYED, CHECKED, FAILED, NOT_BEGUN = "proved", "deployed", "checked", "failed", "not begun"


def failure(result: Mapping[str, t.Any], task: Mapping[str, t.Any], step: str) -> dict[str, str]:
    """The failure of an instance: the message and the name of the failed task.

    result, task: ansible_failed_result and ansible_failed_task; step: cluster, deployment or proof.
    """
    if task.get("no_log") or result.get("_ansible_no_log"):
        message = "what it says may hold secrets (no_log), and is not told"
    else:
        failed = [item for item in result.get("results") or [] if isinstance(item, Mapping) and item.get("failed")]
        message = str((failed[0] if failed else result).get("msg") or "it said nothing")
    return {"step": step, "task": str(task.get("name") or task.get("action") or ""), "message": message}


def waves(instances: Iterable[Sequence[t.Any]], serial: t.Any = None) -> list[list[str]]:
    """Hosts by wave: those of one number together, or, with serial, as Ansible's keyword of that name cuts the list.

    instances: (host, number) in the order of the inventory; a lower number comes first.
    """
    ordered = sorted(((str(host), _number(number)) for host, number in instances), key=lambda item: item[1])
    hosts = [host for host, _wave in ordered]
    if serial is None:
        sizes = [len(list(group)) for _wave, group in itertools.groupby(ordered, key=lambda item: item[1])]
    else:
        sizes = [_size(size, len(hosts)) for size in (serial if isinstance(serial, (list, tuple)) else [serial])]
        if not sizes:
            raise SupersonicError("site_serial is an empty list. " + SERIAL)
    found: list[list[str]] = []
    while hosts:
        size = sizes[min(len(found), len(sizes) - 1)]
        found.append(hosts[:size])
        hosts = hosts[size:]
    return found


def _size(size: t.Any, total: int) -> int:
    match = re.fullmatch(r"([0-9]+)(%?)", str(size)) if not isinstance(size, bool) else None
    if match is None or int(match[1]) == 0:
        raise SupersonicError(f"site_serial has {size!r}. {SERIAL}")
    return max(int(match[1]) * total // 100, 1) if match[2] else int(match[1])


def stopped(instances: Iterable[Variables], planned: Sequence[Sequence[str]], host: str, allowed: int) -> list[str]:
    """Instances that keep the wave of a host from being begun: those that failed in earlier ones, where they are more
    than allowed.
    """
    numbers = _numbered(planned)
    earlier = {name for name, number in numbers.items() if number < numbers.get(host, 0)}
    failed = [_name(variables) for variables in instances if _name(variables) in earlier and variables.get(FAILURE)]
    return failed if len(failed) > allowed else []


def _numbered(planned: Sequence[Sequence[str]]) -> dict[str, int]:
    return {str(host): number for number, hosts in enumerate(planned, 1) for host in hosts}


def _told(instances: Sequence[Variables], planned: Sequence[Sequence[str]]) -> dict[str, int]:
    """Each host's wave as people know it: by its number in the inventory, or counted where sizes have cut the waves."""
    given = {_name(variables): _number(variables.get("supersonic_wave")) for variables in instances}
    of_waves = [{given.get(str(host)) for host in hosts} for hosts in planned]
    if all(len(each) == 1 for each in of_waves) and len(set().union(*of_waves)) == len(planned):
        return {str(host): given[str(host)] for hosts in planned for host in hosts if str(host) in given}
    return _numbered(planned)


def outcomes(
    instances: Iterable[Variables], planned: Sequence[Sequence[str]] = (), check: bool = False
) -> list[Outcome]:
    """The result of each instance, in the order of the planned waves."""
    known = list(instances)
    numbers = _told(known, planned)
    order = {host: place for place, host in enumerate(numbers)}
    found = [_outcome(variables, numbers.get(_name(variables), WAVE), check) for variables in known]
    found.sort(key=lambda outcome: order.get(outcome["host"], len(order)))
    broken = [outcome for outcome in found if outcome["state"] == FAILED]
    for outcome in found:
        if outcome["state"] == NOT_BEGUN:
            before = ", ".join(each["host"] for each in broken if each["wave"] < outcome["wave"])
            outcome["why"] = f"in an earlier wave {before} failed" if before else "none of its tasks was to run"
    return found


def _outcome(variables: Variables, wave: int, check: bool) -> Outcome:
    done = [result for name in RESULTS if isinstance(result := variables.get(name), Mapping)]
    proof = variables.get(PROOF)
    targets = proof.get("targets") if isinstance(proof, Mapping) else None
    fault = variables.get(FAILURE) or {}
    if fault:
        state, why = FAILED, fault["message"]
    elif targets is not None:
        state, why = PROVED, ""
    elif done:
        state, why = (CHECKED, "check mode changes nothing") if check else (DEPLOYED, "no proof was asked for")
    else:
        state, why = NOT_BEGUN, ""
    checks = None
    if targets is not None:
        asked, wrong = (sum(int(target[name]) for target in targets) for name in ("checks", "failed"))
        checks = {"asked": asked, "passed": asked - wrong}
    return {
        "host": _name(variables),
        "instance": str(variables.get("supersonic_name") or ""),
        "namespace": str(variables.get("supersonic_namespace") or ""),
        "wave": wave,
        "state": state,
        "step": fault.get("step", ""),
        "task": fault.get("task", ""),
        "why": why,
        "changed": any(bool(result.get("changed")) for result in done),
        "checks": checks,
    }


def report(found: Sequence[Outcome], check: bool = False, when: str = "") -> Outcome:
    """All of it, for other programs; when: a time in ISO 8601, now unless given."""
    return {
        "time": when or stamp(time.time()),
        "check": check,
        "passed": all(outcome["state"] in (PROVED, DEPLOYED, CHECKED) for outcome in found),
        "instances": list(found),
    }


def table(found: Sequence[Outcome]) -> str:
    """Lines for a terminal: what became of each, and below why those failed that did."""
    rows = [("wave", "host", "namespace", "state", "changed", "proof")]
    for outcome in found:
        state = f"failed ({outcome['step']})" if outcome["state"] == FAILED else outcome["state"]
        checks = outcome["checks"]
        proof = f"{checks['passed']} of {checks['asked']}" if checks else "-"
        changed = "-" if outcome["state"] == NOT_BEGUN else "yes" if outcome["changed"] else "no"
        rows.append((str(outcome["wave"]), outcome["host"], outcome["namespace"], state, changed, proof))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines += [f"{outcome['host']}: {outcome['why']}" for outcome in found if outcome["state"] in (FAILED, NOT_BEGUN)]
    return "\n".join(lines)


def _name(variables: Variables) -> str:
    return str(variables.get("inventory_hostname") or "")


def _number(wave: t.Any) -> int:
    return WAVE if wave is None else int(wave)
