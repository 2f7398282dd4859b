# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for a login to OpenShift.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol
from urllib.parse import urlsplit

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem


class Variables(Protocol):
    """Variables that know which of them are set, but wrong themselves."""

    def get(self, key: str) -> object:
        """The value."""

    def lacks(self, key: str) -> bool:
        """Whether it is not set, or empty."""


def findings(variables: Variables) -> Iterator[Problem]:
    """Everything that can be said without the cluster."""
    name, api = "supersonic_openshift_username", "supersonic_openshift_api"
    username = variables.get(name)
    if not username:
        if variables.get("supersonic_openshift_password"):
            yield Problem(name, "there is a supersonic_openshift_password, but nobody to log in. Name the user.")
        return
    if ":" in str(username):
        yield Problem(name, "a login by a password cannot tell a name with a colon.", username)
    if variables.lacks("supersonic_openshift_password"):
        yield Problem("supersonic_openshift_password", f"{username} is to log in, but has no password. Use a vault.")
    address = urlsplit(str(variables.get(api) or ""))
    if variables.lacks(api) or address.scheme != "https" or not address.hostname:
        yield Problem(
            api,
            f"{username} is to log in, which takes the address of the API, such as https://api.example.org:6443.",
            variables.get(api),
        )
    if variables.lacks("supersonic_kubeconfig"):
        yield Problem(
            "supersonic_kubeconfig",
            f"{username} is to log in, and the token needs a file. Name one for this alone, such as "
            '"~/.kube/supersonic-{{ inventory_hostname }}".',
        )
    if variables.get("supersonic_context"):
        yield Problem(
            "supersonic_context",
            "the kubeconfig that the login writes has one context. Leave this out.",
            variables.get("supersonic_context"),
        )


CHECKS = (findings,)
