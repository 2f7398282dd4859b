# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of servers for clients: their order, and that each kind of client can read its own."""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import client_lists as lists

READY = {
    "status": "ok",
    "ready": True,
    "version": "2.51.0",
    "models": [
        {"name": "particlenet", "version": "10", "ready": True},
        {"name": "particlenet", "version": "9", "ready": True},
        {"name": "broken", "version": "1", "ready": False},
        {"name": "digits", "version": "1", "ready": True},
    ],
}
AWAY = {"status": "unavailable", "ready": None, "message": "nothing listens on this port\nsecond line", "models": []}


def made(name: str, answer: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return lists.entry(answer or READY, name, options.pop("address", f"{name}.example.org:8001"), **options)


FIVE = [
    made("geddes-cms", site="geddes", order=20, groups=["supersonic_instances", "cms"], token_names=["cms", "atlas"]),
    made("nrp-cms", site="nrp", groups=["supersonic_instances", "cms"], tls=True, authorities="/etc/ca.pem"),
    made("nrp-away", AWAY, site="nrp", order=1),
    made("anvil", site="anvil", address="192.0.2.7:30001"),
    made("six", site="uc", address="[2001:db8::1]:8001", tls=True, client_certificates=True),
]  # fmt: skip


def test_what_is_told_of_a_server() -> None:
    geddes, away = FIVE[0], FIVE[2]
    assert (geddes["address"], geddes["port"], geddes["ready"], geddes["why"]) == (
        "geddes-cms.example.org",
        8001,
        True,
        "",
    )
    assert geddes["models"] == [{"name": "digits", "versions": ["1"]}, {"name": "particlenet", "versions": ["9", "10"]}]
    assert geddes["authentication"] == {
        "required": True,
        "clients": ["atlas", "cms"],
        "issuers": [],
        "certificate": False,
    }
    assert not FIVE[1]["authentication"]["required"]
    assert (away["ready"], away["why"], away["models"]) == (False, "nothing listens on this port", [])
    live = made("busy", {"status": "ok", "ready": False, "models": READY["models"]})
    assert (live["ready"], live["why"]) == (False, "it says that it is not ready")
    assert FIVE[4]["address"] == "2001:db8::1"
    with pytest.raises(SupersonicError, match=r"The address of x is 'example.org', but has to be host:port"):
        made("x", address="example.org")


@pytest.mark.parametrize(
    ("first", "unhealthy", "order"),
    [
        ([], "list", ["geddes-cms", "anvil", "nrp-cms", "six", "nrp-away"]),
        ([], "omit", ["geddes-cms", "anvil", "nrp-cms", "six"]),
        # By site, by group, by host.
        (["nrp"], "omit", ["nrp-cms", "geddes-cms", "anvil", "six"]),
        (["uc", "cms"], "list", ["six", "geddes-cms", "nrp-cms", "anvil", "nrp-away"]),
        (["anvil", "nrp-cms"], "list", ["anvil", "nrp-cms", "geddes-cms", "six", "nrp-away"]),
    ],
)
def test_order(first: list[str], unhealthy: str, order: list[str]) -> None:
    for entries in (FIVE, FIVE[::-1]):
        found = lists.servers(entries, first, unhealthy)
        assert [item["name"] for item in found] == order
        assert all("groups" not in item for item in found)


def test_a_site_that_is_none_is_refused() -> None:
    with pytest.raises(
        SupersonicError, match=r"^clients_first has ndp, which is no site, group or host .* nrp, nrp-away"
    ):
        lists.servers(FIVE, ["nrp", "ndp"])


def test_same_instances_same_files() -> None:
    again = [json.loads(json.dumps(item)) for item in FIVE[::-1]]
    assert lists.files(lists.servers(FIVE)) == lists.files(lists.servers(again))
    told = json.loads(lists.files(lists.servers(FIVE))["servers.json"])["servers"]
    assert [item["name"] for item in told if not item["ready"]] == ["nrp-away"]


class Parameters(dict[str, Any]):
    """What stands for cms.PSet, and for a process."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def load(self, name: str) -> None:
        assert name == "HeterogeneousCore.SonicTriton.TritonService_cff"
        self["TritonService"] = Parameters(servers=[])


def cmssw(text: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The servers that a process has after the fragment: CMSSW's types are stood in for, and so are not tried."""
    config: Any = types.ModuleType("FWCore.ParameterSet.Config")
    config.PSet = Parameters
    config.untracked = types.SimpleNamespace(
        VPSet=lambda *items: list(items), string=str, uint32=int, bool=lambda value: value is True
    )
    inner: Any = types.ModuleType("FWCore.ParameterSet")
    inner.Config = config
    outer: Any = types.ModuleType("FWCore")
    outer.ParameterSet = inner
    for module in (outer, inner, config):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    # As `import servers_cff` does it, without CMSSW's packages.
    names: dict[str, Any] = {}
    exec(compile(text, "servers_cff.py", "exec"), names)
    process = Parameters()
    assert names["customise"](process) is process
    return list(process.TritonService.servers)


def test_cmssw(monkeypatch: pytest.MonkeyPatch) -> None:
    text = lists.cmssw(lists.servers(FIVE))
    found = cmssw(text, monkeypatch)
    # Those that want a token are not of use to it.
    assert [item["name"] for item in found] == ["anvil", "nrp-cms", "six", "nrp-away"]
    assert found[1] == {
        "name": "nrp-cms",
        "address": "nrp-cms.example.org",
        "port": 8001,
        "useSsl": True,
        "rootCertificates": "/etc/ca.pem",
        "privateKey": "",
        "certificateChain": "",
    }
    assert "# geddes-cms (geddes): digits, particlenet\n# It is left out: it wants a token" in text
    assert "# It was not ready: nothing listens on this port\n" in text
    assert "# It wants a certificate" in text
    hostile = made('x"\\', {**AWAY, "message": "a\rimport os"}, site="s\nimport os")
    (item,) = cmssw(lists.cmssw(lists.servers([hostile])), monkeypatch)
    assert item["name"] == 'x"\\'


def test_table() -> None:
    assert lists.table(lists.servers(FIVE)[-2:]).splitlines() == [
        "server    site  address                    TLS  needs        ready  models",
        "six       uc    [2001:db8::1]:8001         yes  certificate  yes    digits, particlenet",
        "nrp-away  nrp   nrp-away.example.org:8001  no   -            no     -",
        "nrp-away: nothing listens on this port",
    ]
