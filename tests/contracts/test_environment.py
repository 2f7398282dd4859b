# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests do not see the settings of the person who runs them, and one file gives programs their environment."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness import environment
from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment

CLONE = Path(__file__).resolve().parents[2]
TESTS = CLONE / "tests"
# Reading one variable or setting one copies nothing.
SINGLE = {"get", "setdefault", "pop"}
SPOILT = {
    "ANSIBLE_STDOUT_CALLBACK": "json",
    "ANSIBLE_COLLECTIONS_PATH": "/nowhere/collections",
    "ANSIBLE_CONFIG": "/nowhere/ansible.cfg",
    "KUBECONFIG": "/nowhere/kubeconfig",
    "K8S_AUTH_HOST": "https://nowhere.invalid",
    "KUBERNETES_SERVICE_HOST": "192.0.2.1",
    "HELM_NAMESPACE": "nowhere",
    "PYTHONPATH": "/nowhere/python",
    "https_proxy": "http://nowhere.invalid:1",
    "HTTP_PROXY": "http://nowhere.invalid:1",
    "LANG": "tr_TR.UTF-8",
    "LC_NUMERIC": "de_DE.UTF-8",
    "TZ": "Asia/Kolkata",
    "XDG_CONFIG_HOME": "/nowhere/config",
    "GIT_DIR": "/nowhere/git",
}
SEEN = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
os.umask(0o077)
from ansible_collections.fastml.supersonic.tests.harness import environment
environment.use_own_environment()
first = dict(os.environ)
environment.use_own_environment()
print(json.dumps([first, dict(os.environ), os.umask(0)]))
"""


def copies(path: Path) -> Iterator[int]:
    """Lines that use os.environ as a whole."""
    tree = ast.parse(path.read_text())
    parts = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) or (isinstance(node, ast.Attribute) and node.attr in SINGLE)
    } | {id(right) for node in ast.walk(tree) if isinstance(node, ast.Compare) for right in node.comparators}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "environ" and id(node) not in parts:
            yield node.lineno


def test_one_file_copies_the_environment() -> None:
    owner = Path(environment.__file__).resolve()
    found = [
        f"{path.relative_to(CLONE)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        # It runs outside tests, for whichever cluster a person names by K8S_AUTH_*.
        if path.resolve() not in (owner, TESTS / "integration" / "run.py")
        for line in copies(path)
    ]
    assert not found, "use own_environment of tests/harness/environment.py: " + ", ".join(found)


def test_copies_are_found(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text('import os\nos.environ["A"] = os.environ.get("B")\nprint("C" in os.environ)\nx = {**os.environ}\n')
    assert list(copies(file)) == [4]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str], int]:
    """The environment of tests of a person with odd settings, the same after a second call, and the umask."""
    person = tmp_path_factory.mktemp("person")
    (person / ".npmrc").write_text("fund=false\n")
    spoilt = own_environment() | SPOILT | {"HOME": str(person)}
    for name in ("SUPERSONIC_CACHE", "NPM_CONFIG_USERCONFIG"):
        spoilt.pop(name, None)
    command = [sys.executable, "-c", SEEN, str(CLONE / ".collections")]
    done = subprocess.run(command, env=spoilt, cwd=person, capture_output=True, text=True, check=True)
    first, second, umask = json.loads(done.stdout)
    assert first["SUPERSONIC_CACHE"] == f"{person}/.cache/fastml-supersonic"
    assert first["NPM_CONFIG_USERCONFIG"] == str(person / ".npmrc")
    return first, second, umask


def test_settings_of_a_person_are_not_seen(seen: tuple[dict[str, str], dict[str, str], int]) -> None:
    first, second, umask = seen
    assert {name: first.get(name) for name in SPOILT} == dict.fromkeys(SPOILT) | {
        "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"),
        "TZ": "UTC",
    }
    assert first["HOME"] == str(environment.HOME)
    assert first["LC_ALL"] == "C.UTF-8"
    assert first == second
    assert umask == 0o022


@pytest.mark.parametrize("given", ["/nowhere/kubeconfig", None])
def test_the_cluster_of_tests_is_not_the_one_of_the_person(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/other")
    monkeypatch.delenv("SUPERSONIC_KUBECONFIG", raising=False)
    if given:
        monkeypatch.setenv("SUPERSONIC_KUBECONFIG", given)
    assert environment.kubeconfig() == Path(given or CLONE / ".local" / "kubeconfig")


def test_these_tests_run_in_it() -> None:
    assert os.environ["HOME"] == str(environment.HOME)
    assert "KUBECONFIG" not in os.environ
