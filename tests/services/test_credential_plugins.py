# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of a kubeconfig that say who we are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.tests.unit.kube.test_connection import bare, config

__all__ = ["bare"]


def plugin(path: Path, script: str) -> list[dict[str, Any]]:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    arguments = {
        "command": f"./{path.name}",
        "args": ["x"],
        "env": [{"name": "WHO", "value": "me"}],
        "installHint": "Get it.",
    }
    return [{"name": "u", "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", **arguments}}}]


def test_credential_plugin(tmp_path: Path) -> None:
    script = """[ -n "$KUBERNETES_EXEC_INFO" ] && echo '{"status": {"token": "'$WHO-$1'"}}'"""
    assert connection({"kubeconfig": config(tmp_path / "k", users=plugin(tmp_path / "p", script))}).bearer() == "me-x"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo not logged in >&2; exit 3", "failed with exit code 3: not logged in"),
        ("echo hello", "printed no ExecCredential with a status"),
        ("echo '{\"status\": {}}'", "returned neither a token nor a certificate with its key"),
    ],
)
def test_credential_plugin_that_fails(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(SupersonicError) as caught:
        connection({"kubeconfig": config(tmp_path / "k", users=plugin(tmp_path / "p", script))})
    assert message in str(caught.value)
    assert "The credential plugin './p' of context 'one'" in str(caught.value)


def test_credential_plugin_that_is_not_there(tmp_path: Path) -> None:
    users = plugin(tmp_path / "p", "")
    (tmp_path / "p").unlink()
    with pytest.raises(SupersonicError, match=r"cannot be started: .*Get it\."):
        connection({"kubeconfig": config(tmp_path / "k", users=users)})
