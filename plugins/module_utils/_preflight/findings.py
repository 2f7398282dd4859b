# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings of the checks: what is missing, why it matters and how to solve it.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import all_of
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError

ERROR, WARNING, INFO, OK = "error", "warning", "info", "ok"
# The most urgent first.
SEVERITIES = (ERROR, WARNING, INFO, OK)
# In the order of the table. What is asked of a cluster comes first, for the rest follows from it.
CHECKS = {
    "version": "an older Kubernetes lacks what the manifests use, and refuses them or leaves it out",
    "namespace": "everything of the instance lives in it",
    "permissions": "without a right a playbook stops half way, after it has changed something",
    "kinds": "objects of a kind that the cluster does not serve are refused",
    "quota": "the API server refuses pods and claims that exceed it, so that the pool stays smaller than it is meant",
    "limits": "the API server refuses every pod that is outside of them",
    "nodes": "pods for which no node is right stay Pending",
    "gpus": "servers that find no free GPU stay Pending",
    "storage": "claims that nobody provides stay Pending, and with them the pods that use them",
    "claims": "pods wait for their claims, and a claim for one node keeps all of them there",
    "cvmfs": "models below /cvmfs are found only where it is mounted",
    "secrets": "pods wait for Secrets that they mount, and images of a closed registry are pulled by those alone",
    "objects": "pods that name what is not there are refused, or do not start",
    "ingress": "clients come in by it, and of two with one host only one is served",
    "prometheus": "autoscaler, dashboards and alerts see only what it knows",
    "policy": "who breaks the rules of a site loses pods, or the account",
    # Of playbooks/preflight.yml alone; others refuse before they ask a cluster.
    "files": "until it is there site.yml changes nothing, since models could not be published, or nothing be proved",
}

_INDEX = re.compile(r"\[\d+\]")
# Those whose rows speak of "it".
_NAMED = ("nodes", "limits", "policy")


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    check: key of CHECKS; severity: one of SEVERITIES; subject: what it is about; found: what is so, in sentences;
    action: what to do, in a sentence, where something is; why: why it matters, that of the check unless given.
    """

    check: str
    severity: str
    subject: str
    found: str
    action: str = ""
    why: str = ""

    @property
    def sentence(self) -> str:
        """The problem and its solution as one sentence."""
        about = f"{self.subject}: " if self.check in _NAMED else ""
        return f"{about}{self.found} {self.action}".strip()

    def as_result(self) -> dict[str, str]:
        """For module results."""
        return {**asdict(self), "why": self.why or CHECKS[self.check]}


def tolerated(found: Iterable[Finding], checks: Collection[str]) -> list[Finding]:
    """Errors of these checks as warnings."""
    return [
        replace(item, severity=WARNING) if item.severity == ERROR and item.check in checks else item for item in found
    ]


def ordered(found: Iterable[Finding]) -> list[Finding]:
    """By check, and of each the most urgent first."""
    places = list(CHECKS)
    return sorted(found, key=lambda item: (places.index(item.check), SEVERITIES.index(item.severity)))


def hidden(check: str, subject: str, what: str, error: ApiError) -> Finding:
    """A row for what we may not read, or what could not be asked."""
    if error.status == 403:
        return Finding(check, INFO, subject, f"{what} may not be read, so that nothing is known of this.")
    return Finding(check, INFO, subject, f"{what} could not be read: {error}")


def listed(api: Api, path: str, what: str, query: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The objects of a list; none where the cluster does not know the kind."""
    try:
        return api.list(path, what, query)
    except ApiError as error:
        if error.status == 404:
            return []
        raise


def named(origins: Iterable[Mapping[str, str]], value: object, *endings: str) -> str:
    """The variables that have a value, each with its file and line, where those are known: "a (f:3) and b (f:4)".

    endings: how the variable, or the key in it, has to end without its index, for one value may be the name of several
    things.
    """
    return all_of(
        item["variable"] + (f" ({item['origin']})" if item.get("origin") else "")
        for item in origins
        if item["value"] == str(value) and _INDEX.sub("", item["variable"]).endswith(endings)
    )
