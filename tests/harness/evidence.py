# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a failed test leaves behind to read: states, events and logs of the pods in its namespaces.

    python tests/harness/evidence.py NAME        keep those of all namespaces of the local cluster, below this name

No object is kept whole, and no Secret is read, so that nothing has to be hidden.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection

LOGS = CLONE / ".local" / "test-logs"
# What Ansible writes when a task has failed, before it removes what the tasks before it have made.
# Molecule indents and colours it.
FAILED = re.compile(r"fatal: \[|\bfailed=[1-9]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
TASK = re.compile(r"(?:TASK|PLAY|RUNNING HANDLER) (?:\[|RECAP)")
# Of each log its end, of each test so much in all, and the last tests that failed.
LINES, LOG_BYTES, TEST_BYTES, TESTS = 300, 60_000, 5_000_000, 40


def keep(api: Api, namespaces: Iterable[str], folder: Path, test: str) -> Path | None:
    """Write it below the folder; where, or None where there is nothing."""
    place = folder / re.sub(r"[^\w.=-]+", "-", test.removeprefix("tests/").replace("::", "/")).strip("-")[:150]
    left = TEST_BYTES
    for namespace in namespaces:
        for name, text in _files(api, namespace):
            path = place / namespace / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text[:left])
            left -= len(text[:left])
    if not place.is_dir():
        return None
    _forget(folder)
    return place


def run_and_keep(
    command: Sequence[str | Path], kubeconfig: Path, prefix: str, test: str, cwd: Path, env: Mapping[str, str]
) -> tuple[int, str]:
    """Run a command that runs playbooks, and keep the pods of namespaces whose names begin with the prefix as soon as a
    task has failed: the playbooks remove them next. Prints the output, and returns the exit code and what the failed
    tasks printed. Nothing is kept of a command that succeeds in the end, since some tasks fail as they should."""
    api = impatient(kubeconfig)
    place = None
    lines: list[str] = []
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(COLOUR.sub("", line))
            if FAILED.search(line):
                place = keep(api, [name for name in _namespaces(api) if name.startswith(prefix)], LOGS, test) or place
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        raise
    if place and code == 0:
        shutil.rmtree(place)
    elif place:
        print(f"States, events and logs of its pods are in {place}")
    return code, failed_tasks(lines) if code else ""


def failed_tasks(lines: Iterable[str]) -> str:
    """What Ansible printed of tasks that failed, without colours; of other commands the last lines."""
    tasks: list[list[str]] = [[]]
    for line in lines:
        if TASK.search(line):
            tasks.append([])
        tasks[-1].append(line)
    failed = ["".join(task[:LINES]) for task in tasks if any("fatal: [" in line for line in task)]
    return "".join(failed or tasks[-1][-LINES:])


def impatient(kubeconfig: str | Path) -> Api:
    """A cluster that does not answer is no reason to wait as well."""
    return Api(connection({"kubeconfig": str(kubeconfig)}), patience=0, first_contact=0)


def _namespaces(api: Api) -> list[str]:
    try:
        return [item["metadata"]["name"] for item in api.list("/api/v1/namespaces", "namespaces")]
    except SupersonicError:
        return []


def _files(api: Api, namespace: str) -> Iterator[tuple[str, str]]:
    """Names and texts; nothing of what cannot be read any more."""
    base = f"/api/v1/namespaces/{namespace}"
    try:
        pods = api.list(f"{base}/pods", "pods")
        events = api.list(f"{base}/events", "events")
    except SupersonicError:
        return
    if not pods and not events:
        return
    yield "pods.json", json.dumps([_state(pod) for pod in pods], indent=1)
    yield "events.txt", "".join(sorted(_line(event) for event in events))
    for pod in pods:
        name, status = pod["metadata"]["name"], pod["status"]
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            previous = ["false", "true"] if container.get("restartCount") else ["false"]
            for which in previous:
                query = {
                    "container": container["name"],
                    "previous": which,
                    "tailLines": str(LINES),
                    "limitBytes": str(LOG_BYTES),
                }
                try:
                    text = api.text(f"{base}/pods/{name}/log", "log", query)
                except SupersonicError as error:
                    text = f"{error}\n"
                yield f"{name}/{container['name']}{'-previous' if which == 'true' else ''}.log", text


def _state(pod: dict[str, Any]) -> dict[str, Any]:
    """What Kubernetes says of a pod; nothing of what it was given."""
    metadata = pod["metadata"]
    return {"name": metadata["name"], "deleted": metadata.get("deletionTimestamp"), "status": pod["status"]}


def _line(event: dict[str, Any]) -> str:
    time = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    about = event["involvedObject"]
    return f"{time} {about.get('kind')}/{about.get('name')} {event.get('reason')}: {event.get('message')}\n"


def _forget(folder: Path) -> None:
    """The tests that failed longest ago."""
    places = sorted({path.parent.parent for path in folder.rglob("pods.json")}, key=lambda path: path.stat().st_mtime)
    for place in places[:-TESTS]:
        shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    kubeconfig = CLONE / ".local" / "kubeconfig"
    if not kubeconfig.is_file():
        print("Nothing of pods is kept: there is no local cluster.")
        return
    api = impatient(kubeconfig)
    place = keep(api, _namespaces(api), LOGS, sys.argv[1])
    print(f"States, events and logs of all pods are in {place}" if place else "Nothing of pods could be kept.")


if __name__ == "__main__":
    main()
