# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The environment of tests. It is the same on every machine: settings of the person who runs them do not count.

tests/conftest.py calls `use_own_environment` before any test is imported. Programs that tests start get it from
`own_environment`; tests/contracts/test_environment.py checks that no other file copies the environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
HOME = CLONE / ".local" / "tests" / "home"
# Settings of Ansible, Kubernetes, Helm, Python, the shell and its proxies. Settings of pip, Go and npm stay, since they
# say where packages come from.
_PREFIXES = ("ANSIBLE_", "K8S_AUTH_", "HELM_", "KUBE", "LC_", "MOLECULE_", "OPENSHIFT_", "XDG_", "GIT_")
_NAMES = {
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONWARNINGS",
    "PYTHONOPTIMIZE",
    "LANG",
    "LANGUAGE",
    "NO_COLOR",
    "FORCE_COLOR",
    "COLUMNS",
}
_PROXIES = ("_proxy", "_PROXY")
# git reads its certificates from these.
_KEPT = {"GIT_SSL_CAINFO", "GIT_SSL_NO_VERIFY"}
# Set by ansible-test, which gives its tests an environment of its own.
_ANSIBLE_TEST = "ANSIBLE_CONTROLLER_MIN_PYTHON_VERSION"


def use_own_environment() -> None:
    """Replace the settings of the person who runs the tests, in this process and all that it starts. A second call, as
    in a worker of pytest-xdist, changes nothing."""
    if _ANSIBLE_TEST in os.environ:
        return
    os.environ.setdefault("SUPERSONIC_CACHE", str(cache()))
    person = Path.home()
    for variable, path in (("NPM_CONFIG_USERCONFIG", ".npmrc"), ("GOENV", ".config/go/env")):
        if (person / path).is_file():
            os.environ.setdefault(variable, str(person / path))
    for name in list(os.environ):
        if (name.startswith(_PREFIXES) or name in _NAMES or name.endswith(_PROXIES)) and name not in _KEPT:
            del os.environ[name]
    HOME.mkdir(parents=True, exist_ok=True)
    os.environ.update(HOME=str(HOME), LC_ALL="C.UTF-8", TZ="UTC", ANSIBLE_CONFIG=str(CLONE / "ansible.cfg"))
    # Of "~" Ansible takes the home that the system records for the user, where it looks for a job, and $HOME where it
    # writes one.
    os.environ["ANSIBLE_ASYNC_DIR"] = str(HOME / ".ansible_async")
    # A clone that belongs to another user, such as one mounted into a container, which a person allows in ~/.gitconfig.
    os.environ.update(GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")
    os.umask(0o022)


def own_environment(**more: str) -> dict[str, str]:
    """The environment of a process that a test starts: that of the tests, and more variables.

    A plain copy of os.environ may fail in a thread, because pytest changes a variable of it with each test.
    """
    own = ((name, os.environ.get(name)) for name in list(os.environ))
    return {name: value for name, value in own if value is not None} | more


def without_ansible(**more: str) -> dict[str, str]:
    """The same without settings of Ansible, so that it uses those of the directory where it starts."""
    return {name: value for name, value in own_environment().items() if not name.startswith("ANSIBLE_")} | more


def for_python(**more: str) -> dict[str, str]:
    """The environment of a Python program that imports what this process can import, and more variables."""
    return own_environment(PYTHONPATH=os.pathsep.join(path for path in sys.path if path), **more)


def cache() -> Path:
    """Folder of what is kept between runs, in the cache of the person: $SUPERSONIC_CACHE, else below
    $XDG_CACHE_HOME or ~/.cache."""
    given = os.environ.get("SUPERSONIC_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastml-supersonic"


def kubeconfig() -> Path:
    """The cluster of the tests: $SUPERSONIC_KUBECONFIG, else the one of `make local`. $KUBECONFIG does not count: it
    may name a cluster on which nobody wants tests."""
    return Path(os.environ.get("SUPERSONIC_KUBECONFIG") or CLONE / ".local" / "kubeconfig")
