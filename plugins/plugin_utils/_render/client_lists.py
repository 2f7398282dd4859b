# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of servers for clients: a fragment for CMSSW's TritonService, JSON, and shell variables.

No token is in any. The same instances give the same files, byte by byte, but for what depends on who is ready.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import shlex
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

Entry = dict[str, t.Any]

WRITTEN = "Written by fastml.supersonic (playbooks/clients.yml); a change of it does not last."


def entry(
    answer: Mapping[str, t.Any],
    name: str,
    address: str,
    *,
    site: str = "",
    order: int = 50,
    groups: Sequence[str] = (),
    tls: bool = False,
    authorities: str = "",
    token_names: Sequence[str] = (),
    jwt_issuers: Sequence[str] = (),
    client_certificates: bool = False,
) -> Entry:
    """The entry of an instance in lists for clients.

    answer: what triton_info says of its address, host:port; authorities: a path where clients run.
    """
    host, _colon, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SupersonicError(f"The address of {name} is {address!r}, but has to be host:port (clients_address).")
    models: dict[str, set[str]] = {}
    for model in answer.get("models") or []:
        if model["ready"]:
            models.setdefault(str(model["name"]), set()).add(str(model["version"]))
    ready = answer.get("status") == "ok" and bool(answer.get("ready"))
    # The first line: what a server says of each of its models is for operators.
    said = (str(answer.get("message") or "").strip().splitlines() or [""])[0]
    return {
        "name": name,
        "site": site,
        "order": int(order),
        "groups": sorted(map(str, groups)),
        "address": host.strip("[]"),
        "port": int(port),
        "tls": bool(tls),
        "authorities": authorities,
        "authentication": {
            "required": bool(token_names or jwt_issuers or client_certificates),
            "clients": sorted(map(str, token_names)),
            "issuers": sorted(map(str, jwt_issuers)),
            "certificate": bool(client_certificates),
        },
        "ready": ready,
        "why": "" if ready else said or "it says that it is not ready",
        "version": str(answer.get("version") or ""),
        "models": [
            {"name": model, "versions": sorted(versions, key=lambda text: (len(text), text))}
            for model, versions in sorted(models.items())
        ],
    }


def servers(entries: Sequence[Mapping[str, t.Any]], first: Sequence[str] = (), unhealthy: str = "list") -> list[Entry]:
    """Entries in their order: what is ready, of it the sites, groups or hosts to come first, then by number.

    unhealthy: list or omit.
    """

    def place(item: Mapping[str, t.Any]) -> tuple[bool, int, int, str]:
        own = {item["site"], item["name"], *item["groups"]}
        before = next((index for index, name in enumerate(first) if name in own), len(first))
        return not item["ready"], before, item["order"], item["name"]

    known = {name for item in entries for name in (item["site"], item["name"], *item["groups"])}
    unknown = [str(name) for name in first if name not in known]
    if unknown:
        raise SupersonicError(
            f"clients_first has {', '.join(unknown)}, which is no site, group or host of these instances. There are "
            f"{', '.join(sorted(filter(None, known)))}."
        )
    kept = [item for item in entries if item["ready"] or unhealthy != "omit"]
    # Groups are a matter of the inventory.
    return [{key: value for key, value in item.items() if key != "groups"} for item in sorted(kept, key=place)]


def files(listed: Sequence[Mapping[str, t.Any]]) -> dict[str, str]:
    """Contents of each file, by name."""
    return {
        "servers.json": json.dumps({"servers": list(listed)}, indent=2, ensure_ascii=False) + "\n",
        "servers.env": environment(listed),
        "servers_cff.py": cmssw(listed),
    }


# ---- shells ----------------------------------------------------------------------------------------------------------
def environment(listed: Sequence[Mapping[str, t.Any]]) -> str:
    """Variables for sh and its kin: all addresses in their order, and the first server."""
    lines = [f"# {WRITTEN}"]
    lines += [f"# {item['name']} is not ready: {_line(item['why'])}" for item in listed if not item["ready"]]
    addresses = " ".join(_address(item) for item in listed if item["ready"])
    lines.append(f"export SUPERSONIC_SERVERS={shlex.quote(addresses)}")
    chosen = listed[0] if listed and listed[0]["ready"] else None
    values: dict[str, t.Any] = {
        "SUPERSONIC_SERVER": _address(chosen) if chosen else "",
        "SUPERSONIC_SERVER_NAME": chosen["name"] if chosen else "",
        "SUPERSONIC_SERVER_TLS": "true" if chosen and chosen["tls"] else "false",
        "SUPERSONIC_SERVER_AUTHORITIES": chosen["authorities"] if chosen else "",
        "SUPERSONIC_SERVER_NEEDS": _needs(chosen) if chosen else "",
    }
    lines += [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
    plain = next((item for item in listed if item["ready"] and not item["tls"] and not _needs(item)), None)
    if plain:
        lines.append("# CMSSW takes this one by itself; it speaks neither TLS nor tokens to it.")
        lines.append(f"export SONIC_LOCAL_BALANCER_HOST={shlex.quote(plain['address'])}")
        lines.append(f"export SONIC_LOCAL_BALANCER_PORT={plain['port']}")
    return "\n".join(lines) + "\n"


def _address(item: Mapping[str, t.Any]) -> str:
    host = item["address"]
    return f"[{host}]:{item['port']}" if ":" in host else f"{host}:{item['port']}"


def _needs(item: Mapping[str, t.Any]) -> str:
    """The credentials that a client needs, in words; "" for none."""
    authentication = item["authentication"]
    tokens = bool(authentication["clients"] or authentication["issuers"])
    return " or ".join((["token"] if tokens else []) + (["certificate"] if authentication["certificate"] else []))


def _line(text: str) -> str:
    """A text that stays in its comment."""
    return " ".join(text.split())


# ---- CMSSW -----------------------------------------------------------------------------------------------------------
def cmssw(listed: Sequence[Mapping[str, t.Any]]) -> str:
    """A fragment with the servers of TritonService, as its HeterogeneousCore/SonicTriton describes them.

    Its client sends no token, so that servers which want one are named and left out.
    """
    lines = [
        f"# {WRITTEN}",
        "#   import servers_cff",
        "#   process = servers_cff.customise(process)     or with cmsDriver --customise",
        "# CMSSW asks all of them at the start of a job, and takes any that has a model and answers. Which one is",
        "# preferred, a client says itself (Client.preferredServer).",
        "import FWCore.ParameterSet.Config as cms",
        "",
        "servers = cms.untracked.VPSet()",
    ]
    for item in listed:
        lines.append("")
        models = ", ".join(model["name"] for model in item["models"])
        lines.append(_line(f"# {item['name']} ({item['site']}): {models or 'no model is ready'}"))
        if not item["ready"]:
            lines.append(f"# It was not ready: {_line(item['why'])}")
        authentication = item["authentication"]
        if authentication["clients"] or authentication["issuers"]:
            lines.append("# It is left out: it wants a token, which CMSSW does not send.")
            continue
        if authentication["certificate"]:
            lines.append("# It wants a certificate: set privateKey and certificateChain.")
        lines += [
            "servers.append(",
            "    cms.PSet(",
            f"        name=cms.untracked.string({_text(item['name'])}),",
            f"        address=cms.untracked.string({_text(item['address'])}),",
            f"        port=cms.untracked.uint32({item['port']}),",
            f"        useSsl=cms.untracked.bool({item['tls']}),",
            f"        rootCertificates=cms.untracked.string({_text(item['authorities'])}),",
            '        privateKey=cms.untracked.string(""),',
            '        certificateChain=cms.untracked.string(""),',
            "    )",
            ")",
        ]
    lines += [
        "",
        "",
        "def customise(process):",
        '    """Give the servers to TritonService, which the process has to have or gets."""',
        '    if not hasattr(process, "TritonService"):',
        '        process.load("HeterogeneousCore.SonicTriton.TritonService_cff")',
        "    process.TritonService.servers.extend(servers)",
        "    return process",
    ]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """A literal of Python and of nothing else: JSON's are, for what is printable."""
    return json.dumps(str(text))


# ---- people ----------------------------------------------------------------------------------------------------------
def table(listed: Sequence[Mapping[str, t.Any]]) -> str:
    """A line for each server, in their order."""
    rows = [("server", "site", "address", "TLS", "needs", "ready", "models")]
    for item in listed:
        models = ", ".join(model["name"] for model in item["models"])
        told = "yes" if item["ready"] else "no"
        rows.append(
            (item["name"], item["site"], _address(item), "yes" if item["tls"] else "no", _needs(item) or "-", told,
             models or "-")
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines + [f"{item['name']}: {item['why']}" for item in listed if not item["ready"]])
