# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the migrated inventory, a report and a table.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common import yaml_io
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration import chart
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration.chart_values import (
    CHANGED,
    GONE,
    IDLE,
    SAME,
    UNKNOWN,
    Finding,
    Migration,
)

GROUP = "supersonic_instances"
TITLES = {
    CHANGED: ("Done in another way", "because of a defect of the chart, or since it is better done so"),
    GONE: ("Without counterpart", "not carried over"),
    UNKNOWN: ("Unknown to the chart", "never did anything, perhaps misspelt"),
    IDLE: ("Without effect", "switched off, or taken no notice of"),
    SAME: ("Carried over", "the same service"),
}
# What differs although no value says anything about it.
DIFFERENCES = (
    "Servers and Envoys run as uid 1000 with a read-only root, without a token of the API. An image that writes "
    "elsewhere than to /tmp needs triton_volumes, or another triton_security_context.",
    "Network policies let only Envoys reach the servers, where the cluster's network enforces them.",
    "Servers have a liveness probe; a PodDisruptionBudget and rolling updates keep one of everything.",
    "Envoy tries a request that a server has dropped on another one, and sends none to servers that are stopping.",
    "A deployment ends with a proof: stored requests have to come back with the right numbers.",
)
_WIDTH = 118
# An instance is no machine: everything runs where ansible-playbook does.
_HERE = """\
    ansible_connection: local
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""


def files(made: Migration, sources: list[str], existing: Mapping[str, str]) -> dict[str, str]:
    """Text of each file by its path below the folder; existing: those that are there already."""
    host = made.wanted.host
    return {
        "hosts.yml": _hosts(host, existing.get("hosts.yml")),
        os.path.join("host_vars", f"{host}.yml"): _host_vars(made, sources),
        f"REPORT-{host}.md": report(made, sources),
    }


def _hosts(host: str, text: str | None) -> str:
    """The inventory with the host; one that is there gets a line or two, and keeps whatever else it has."""
    if text is None:
        return f"---\n{GROUP}:\n  hosts:\n    {host}:\n  vars:\n{_HERE}"
    inventory = _read(text)
    if host in _hosts_of(inventory, GROUP):
        return text
    lines = text.splitlines()
    for number in range(len(lines) - 1):
        head, below = lines[number].rstrip(), lines[number + 1].rstrip()
        if head == f"{GROUP}:" and below in ("  hosts:", "  children:"):
            there = below == "  hosts:"
            new = [*([below] if there else ["  hosts:"]), f"    {host}:", *([] if there else [below])]
            added = "\n".join([*lines[: number + 1], *new, *lines[number + 2 :]]) + "\n"
            wanted = _with(inventory, host)
            if wanted is not None and _read(added) == wanted:
                return added
    raise SupersonicError(
        f"hosts.yml is there, and it is not plain where {host} would have to be added to it. Add it to the group "
        f"{GROUP} by hand; then this leaves the file alone."
    )


def _read(text: str) -> Any:
    try:
        return yaml_io.load(text)
    except yaml_io.NoYaml:
        return None


def _with(inventory: Any, host: str) -> dict[str, Any] | None:
    """The inventory as it is to be read with the host in it; None of what is none."""
    try:
        group = inventory[GROUP]
        return {**inventory, GROUP: {**group, "hosts": {**(group.get("hosts") or {}), host: None}}}
    except (KeyError, TypeError, AttributeError):
        return None


def _hosts_of(inventory: Any, group: str) -> set[str]:
    """Hosts of a group and of its children, wherever in the inventory any of them says so."""
    hosts: dict[str, set[str]] = {}
    children: dict[str, set[str]] = {}

    def learn(groups: Any) -> None:
        for name, body in groups.items() if isinstance(groups, Mapping) else ():
            if isinstance(body, Mapping):
                hosts.setdefault(name, set()).update(map(str, body.get("hosts") or ()))
                children.setdefault(name, set()).update(map(str, body.get("children") or ()))
                learn(body.get("children"))

    learn(inventory)
    found: set[str] = set()
    seen: set[str] = set()
    names = {group}
    while names:
        seen |= names
        found = found.union(*(hosts.get(name, set()) for name in names))
        names = {child for name in names for child in children.get(name, set())} - seen
    return found


def _host_vars(made: Migration, sources: list[str]) -> str:
    lines = [
        "---",
        *_comment(
            f"The Helm release {made.wanted.release} of SuperSONIC in the namespace {made.wanted.namespace}, as an "
            f"instance. Made of {', '.join(os.path.basename(name) for name in sources)}; REPORT-{made.wanted.host}.md "
            "says what has become of each value."
        ),
    ]
    if made.unfinished:
        lines += ["#", "# To be done by hand:"]
        for text in made.unfinished:
            lines += [f"#   {line}" for line in _wrapped(text, _WIDTH - 4)]
    reasons = _reasons(made.findings)
    section = ""
    for variable, value in made.variables.items():
        role = variable.partition("_")[0]
        if role != section:
            lines.append("")
            section = role
        for text in reasons.get(variable, []):
            lines += _comment(text)
        lines.append(_text({variable: value}))
    return "\n".join(lines) + "\n"


def _reasons(findings: list[Finding]) -> dict[str, list[str]]:
    """The reasons why a variable differs from the value in the chart."""
    found: dict[str, list[str]] = {}
    for finding in findings:
        if finding.kind == CHANGED and finding.text:
            for variable in finding.variables[:1]:
                if finding.text not in found.setdefault(variable, []):
                    found[variable].append(finding.text)
    return found


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in _wrapped(text, _WIDTH)]


def _text(value: Any) -> str:
    return yaml_io.dump(value, width=140).rstrip("\n")


# ---- for people ------------------------------------------------------------------------------------------------------


def report(made: Migration, sources: list[str]) -> str:
    """The report in Markdown."""
    wanted = made.wanted
    counts = {kind: sum(finding.kind == kind and finding.given for finding in made.findings) for kind in TITLES}
    lines = [
        f"# From the Helm release {wanted.release} to the instance {made.name}",
        "",
        f"Values: {', '.join(f'`{os.path.basename(name)}`' for name in sources)} · SuperSONIC chart {chart.VERSION} · "
        f"namespace `{wanted.namespace}` · host `{wanted.host}`.",
        "",
        "| what became of the keys | number |",
        "|---|---|",
        *(f"| {title}: {text} | {counts[kind]} |" for kind, (title, text) in TITLES.items()),
        "",
    ]
    if made.unfinished:
        lines += ["## To be done by hand", "", *(f"- {text}" for text in made.unfinished), ""]
    for kind, (title, text) in TITLES.items():
        findings = [finding for finding in made.findings if finding.kind == kind]
        if findings:
            lines += [f"## {title}", "", f"What is {text}." if kind in (GONE, IDLE) else "", ""]
            lines += ["| key | value | variables | why, and what to do |", "|---|---|---|---|"]
            lines += [_row(finding) for finding in findings]
            lines.append("")
    lines += ["## What differs without a key", "", *(f"- {text}" for text in DIFFERENCES), ""]
    lines += plan(made)
    text = "\n".join(lines).rstrip("\n") + "\n"
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text


def _row(finding: Finding) -> str:
    variables = ", ".join(f"`{name}`" for name in finding.variables)
    value = f"`{finding.value}`" if finding.value else ""
    key = f"`{finding.key}`" + ("" if finding.given else " (the chart's default)")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (key, value, variables, finding.text)) + " |"


def plan(made: Migration) -> list[str]:
    """The steps by which this release is taken over."""
    wanted = made.wanted
    run = f"ansible-playbook playbooks/migrate.yml -i INVENTORY --limit {wanted.host}"
    run += f" -e migrate_release={wanted.release}"
    if made.old_name != wanted.release:
        run += f" -e migrate_old_name={made.old_name}"
    gpus = int(made.variables.get("triton_gpus") or 0)
    # Their hosts are the release's as long as it is there.
    hosts = [name for name in ("envoy_ingress", "grafana_ingress") if name in made.variables]
    without = f""" -e '{json.dumps({name: {} for name in hosts})}'""" if hosts else ""
    return [
        "## Taking over the running release",
        "",
        f"Clients come in by the Service `{made.old_name}`, whether they use its name, its load balancer or the "
        f"Ingress in front of it. It keeps its name and address; only the Envoys behind it change. {made.name} lives "
        "beside the release until that is done, and each step but the last has a way back.",
        "",
        f"1. Look at what there is, and at what would be done (nothing is changed): `{run} -e migrate_action=plan`.",
        "2. Record golden requests from the running release, before anything is changed: `inference_check` with "
        "`record`, into a folder that `verify_golden_directories` names.",
        f"3. Bring {made.name} up beside it: `ansible-playbook site.yml -i INVENTORY --limit {wanted.host}{without}`. "
        "It ends with a proof."
        + (
            f" It needs {gpus} GPU(s) for each server: where they do not suffice for two pools, begin with "
            "`triton_replicas: 1` (`autoscaler_max_replicas` as well), and give theirs up with the next step."
            if gpus
            else ""
        ),
        f"4. Move the clients: `{run} -e migrate_action=take_over`. `-e migrate_old_servers=N` lets their pool go "
        "down to N servers once no client is left there; then raise ours and run `site.yml` again.",
        f"   Back, at any time until step 5: `{run} -e migrate_action=back`.",
        f"5. When clients have worked with it for as long as you want to be able to go back: `{run} -e "
        "migrate_action=finish`. It removes what the release has made, but for the Service, its Ingress and claims, "
        "and takes the release out of Helm's records, so that nobody removes the Service by `helm uninstall`.",
        *(
            [
                f"6. Deploy once more, without `-e`, for what has the release's hosts ({', '.join(hosts)}). The "
                "Ingress of the release goes on leading clients here; docs/migrate.md says how it is replaced."
            ]
            if hosts
            else []
        ),
        "",
        f"Do not run `helm upgrade` or `helm uninstall` of {wanted.release} between `take_over` and `finish`: it would "
        "lead clients back, or take their address away.",
        "",
    ]


def table(made: Migration) -> list[str]:
    """Values that were not carried over unchanged, a line each; the report gives the reasons."""
    found = [finding for finding in made.findings if finding.kind not in (SAME, IDLE)]
    width = max([len(finding.key) for finding in found], default=3)
    lines = [f"{'KIND':8} {'KEY':{width}} VARIABLES"]
    # A flag may be there several times.
    lines += dict.fromkeys(
        f"{finding.kind:8} {finding.key:{width}} {', '.join(finding.variables)}".rstrip()
        + ("" if finding.given else " (the chart's default)")
        for finding in found
    )
    counts = ", ".join(
        f"{sum(finding.kind == kind and finding.given for finding in made.findings)} {kind}" for kind in TITLES
    )
    return [*lines, f"Keys of the values: {counts}.", *(f"To be done by hand: {text}." for text in made.unfinished)]
