# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""manifests: values of Secrets are in no output, whatever happens and however much is asked for."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, container, secret, workload

CLONE = Path(__file__).resolve().parents[2]
PLANTED = ["planted-first-7261", "planted-second-9912", "planted-in-data-5513", "planted-old-4471"]

HEAD = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
"""
# One play with several tasks: starting ansible-playbook costs more than what is tested here.
TASK = """
    - fastml.supersonic.manifests: "{{{{ (lookup('ansible.builtin.file', arguments) | from_json)[{number}] }}}}"
      ignore_errors: true
"""
Call = tuple[list[Any], dict[str, Any]]


def secrets() -> list[dict[str, Any]]:
    one = secret("one", token=PLANTED[0], lines=f"first line\nkey: {PLANTED[1]}\n")
    two = secret("two")
    two["data"] = {"password": base64.b64encode(PLANTED[2].encode()).decode()}
    return [one, two]


def play(cluster: Cluster, tmp_path: Path, namespace: str, *calls: Call) -> list[str]:
    """What ansible-playbook -vvv --diff prints and logs, call by call of the module."""
    base = {"name": "set", "namespace": namespace, "kubeconfig": cluster.kubeconfig}
    arguments = [{**base, "definitions": definitions, **options} for definitions, options in calls]
    (tmp_path / "arguments.json").write_text(json.dumps(arguments))
    (tmp_path / "play.yml").write_text(HEAD + "".join(TASK.format(number=number) for number in range(len(calls))))
    log = tmp_path / "ansible.log"
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-vvv", "--diff", str(tmp_path / "play.yml")]
    environment = own_environment(ANSIBLE_LOG_PATH=str(log), ANSIBLE_CONFIG=str(CLONE / "ansible.cfg"))
    done = subprocess.run(
        [*command, "-e", f"arguments={tmp_path / 'arguments.json'}"],
        cwd=CLONE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr + log.read_text()
    assert "PLAY RECAP" in output, output
    assert_clean(output)
    parts = done.stdout.partition("PLAY RECAP")[0].split("TASK [")[1:]
    assert len(parts) == len(calls), output
    return parts


def assert_clean(output: str) -> None:
    for value in PLANTED:
        assert value not in output
        assert base64.b64encode(value.encode()).decode() not in output


def test_created_changed_and_removed(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    old = secrets()
    old[0]["stringData"]["token"] = PLANTED[3]
    first, second, third = play(cluster, tmp_path, namespace, (old, {}), (secrets(), {}), ([], {"state": "absent"}))
    for output in (first, second, third):
        assert "changed: [localhost]" in output
    assert "(hidden, " in first
    assert second.count("(hidden, ") >= 2


def test_refused(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    number = secret("three")
    number["stringData"] = {"pin": 1234567890}
    calls: list[Call] = [
        (secrets(), {"wait_timeout": "soon"}),
        (secrets(), {"state": "gone"}),
        (secrets(), {"no_such_option": True}),
        (secrets(), {"namespace": None}),
        (secrets(), {"kubeconfig": "/no/such/file"}),
        ([*secrets(), {"kind": "Nothing"}], {}),
        ([{**secrets()[0], "apiVersion": "v2"}], {}),
        ([{**secrets()[0], "kind": "secret"}], {}),
        ([{**secrets()[0], "strngData": {"x": "y"}}], {}),
        ([secrets()[0]["stringData"]], {}),
        ([str(secrets()[0])], {}),
        ([number], {}),
    ]
    outputs = play(cluster, tmp_path, namespace, *calls)
    for call, output in zip(calls, outputs, strict=True):
        assert "fatal: [localhost]: FAILED!" in output, call
        assert "1234567890" not in output


def test_log_of_a_container_that_prints_a_secret(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    environment = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "one", "key": "token"}}}]
    job = workload(
        "Job", pod={"containers": [container("echo the token is $TOKEN; exit 1", env=environment)]}, backoffLimit=0
    )
    (output,) = play(cluster, tmp_path, namespace, ([*secrets(), job], {"wait_timeout": 60}))
    assert "the token is ********" in output


def test_copy_in_an_annotation(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """kubectl apply keeps the whole Secret in an annotation; the diff must not show it."""
    old = secrets()[0]
    old["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(old)}
    cluster.create(f"/api/v1/namespaces/{namespace}/secrets", old)
    mine = secrets()[0]
    mine["stringData"]["token"] = PLANTED[3]
    (output,) = play(cluster, tmp_path, namespace, ([mine], {"force_conflicts": True}))
    assert "changed: [localhost]" in output
