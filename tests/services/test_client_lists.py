# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of servers for clients, by a real shell."""

from __future__ import annotations

import subprocess

from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import client_lists as lists
from ansible_collections.fastml.supersonic.tests.unit.render.test_client_lists import AWAY, FIVE, made


def shell(text: str) -> dict[str, str]:
    """Variables after a real shell has read the file."""
    done = subprocess.run(
        ["sh", "-euc", f"{text}\nenv -0"], check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    return {name: value for name, value in found.items() if name.startswith("S")}


def test_shell() -> None:
    found = shell(lists.environment(lists.servers(FIVE)))
    assert found["SUPERSONIC_SERVERS"] == (
        "geddes-cms.example.org:8001 192.0.2.7:30001 nrp-cms.example.org:8001 [2001:db8::1]:8001"
    )
    assert found["SUPERSONIC_SERVER"] == "geddes-cms.example.org:8001"
    assert found["SUPERSONIC_SERVER_NEEDS"] == "token"
    # Without TLS and token: for CMSSW itself.
    assert (found["SONIC_LOCAL_BALANCER_HOST"], found["SONIC_LOCAL_BALANCER_PORT"]) == ("192.0.2.7", "30001")
    found = shell(lists.environment(lists.servers(FIVE, ["nrp"])))
    assert (found["SUPERSONIC_SERVER_TLS"], found["SUPERSONIC_SERVER_AUTHORITIES"]) == (
        "true",
        "/etc/ca.pem",
    )
    hostile = made("x'; touch /tmp/y #", {**AWAY, "message": "a\x0bb\nrm -rf"}, site="s\nexport SX=1")
    assert set(shell(lists.environment(lists.servers([hostile])))) == {
        "SUPERSONIC_SERVERS",
        "SUPERSONIC_SERVER",
        "SUPERSONIC_SERVER_NAME",
        "SUPERSONIC_SERVER_TLS",
        "SUPERSONIC_SERVER_AUTHORITIES",
        "SUPERSONIC_SERVER_NEEDS",
    }
