# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run tests as a person would whose settings are all in the way, on a cluster that this person uses.

    python tests/spoilt.py [TEST...]

`make autoscaling` deploys the local instance with KEDA first. The home of the person has a broken copy of the
collection where `ansible-galaxy` installs collections, and settings of Ansible, Helm, git and Python that no test
expects. The tests have to pass all the same, and leave what was deployed as it was, which tests/cluster/conftest.py
compares.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment

ANSIBLE_CFG = """
[defaults]
stdout_callback = json
collections_path = /nowhere/collections
roles_path = /nowhere/roles
inventory = /nowhere/inventory
vault_password_file = /nowhere/password
jinja2_native = true
hash_behaviour = merge
error_on_undefined_vars = false
force_color = true
gathering = explicit
timeout = 1
"""
# A proxy and a cluster that do not answer, a language with other capital letters, and a time zone with half an hour.
SETTINGS = {
    "ANSIBLE_STDOUT_CALLBACK": "json",
    "ANSIBLE_COLLECTIONS_PATH": "/nowhere/collections",
    "ANSIBLE_VAULT_PASSWORD_FILE": "/nowhere/password",
    "ANSIBLE_FORCE_COLOR": "1",
    "KUBECONFIG": "/nowhere/kubeconfig",
    "K8S_AUTH_HOST": "https://192.0.2.1:6443",
    "HELM_NAMESPACE": "nowhere",
    "PYTHONPATH": "/nowhere/python",
    "PYTHONWARNINGS": "error",
    "http_proxy": "http://192.0.2.1:3128",
    "https_proxy": "http://192.0.2.1:3128",
    "HTTPS_PROXY": "http://192.0.2.1:3128",
    "LANG": "tr_TR.UTF-8",
    "LC_ALL": "tr_TR.UTF-8",
    "TZ": "Asia/Kolkata",
}
ON_CLUSTER = ("test_site.py", "test_inclusion.py", "test_first_deployment.py", "test_keda.py", "test_autoscaler.py")
TESTS = ("tests/unit", "tests/contracts", "tests/services", *(f"tests/cluster/{name}" for name in ON_CLUSTER))


def spoil(home: Path) -> dict[str, str]:
    """The environment of the person with this home. The installed collection has this version, but no module of it
    can be run."""
    environment = own_environment(HOME=str(home))

    def galaxy(*arguments: str) -> None:
        command = [sys.executable, "-m", "ansible", "galaxy", "collection", *arguments]
        subprocess.run(command, cwd=CLONE, env=environment, stdout=subprocess.DEVNULL, check=True)

    galaxy("build", "--output-path", str(home / "build"))
    (archive,) = (home / "build").glob("*.tar.gz")
    installed = home / ".ansible" / "collections"
    # Ansible finds the collection of the clone, and would install none.
    galaxy("install", "--force", "--offline", "-p", str(installed), str(archive))
    modules = sorted((installed / "ansible_collections/fastml/supersonic/plugins/modules").glob("*.py"))
    assert modules, f"nothing was installed below {installed}"
    for module in modules:
        module.write_text("raise SystemExit('the collection of the person was used')\n")
    (home / ".ansible.cfg").write_text(ANSIBLE_CFG)
    (home / ".gitconfig").write_text("[core]\n\tautocrlf = true\n[status]\n\tshort = true\n")
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text("this is no kubeconfig\n")
    return environment | SETTINGS


def main() -> int:
    parser = argparse.ArgumentParser(description="Run tests in the environment of a person with settings in the way.")
    parser.add_argument(
        "tests", nargs="*", default=TESTS, help="files or folders; the daily tests of several by default"
    )
    parser.add_argument("--junitxml", help="write a JUnit report")
    arguments = parser.parse_args()
    pytest = [sys.executable, "-m", "pytest", "-q", "-n", "4", "--dist", "loadfile", "-m", "not thorough"]
    if arguments.junitxml:
        pytest.append(f"--junitxml={arguments.junitxml}")
    subprocess.run(["make", "autoscaling"], cwd=CLONE, check=True)
    home = Path(tempfile.mkdtemp(prefix="spoilt-"))
    try:
        environment = spoil(home)
        os.umask(0o077)
        return subprocess.run([*pytest, *arguments.tests], cwd=CLONE, env=environment, check=False).returncode
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    sys.exit(main())
