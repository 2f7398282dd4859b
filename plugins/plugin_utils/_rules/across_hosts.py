# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules across hosts: instances with the same objects, logins or host names.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import object_names
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, Variables, expand

IDENTITY = (
    "supersonic_name",
    "supersonic_namespace",
    "supersonic_kubeconfig",
    "supersonic_context",
    "supersonic_openshift_api",
    "supersonic_openshift_username",
    "envoy_ingress",
    "envoy_openshift_route",
    "grafana_ingress",
)


def check_instances(host: str, instances: Mapping[str, Variables]) -> list[Problem]:
    """Two instances with one name in one namespace of one cluster would take each other's objects.

    instances: variables of every instance by host name, host among them.
    """
    mine = instances[host]
    name = str(mine.get("supersonic_name"))
    problems: list[Problem] = []
    for other in sorted(instances):
        if other != host:
            problems.extend(_same_login(other, instances[other], mine))
        if other == host or _place(instances[other])[:2] != _place(mine)[:2]:
            continue
        problems.extend(_same_host(other, instances[other], mine))
        if _place(instances[other]) != _place(mine):
            continue
        theirs = str(instances[other].get("supersonic_name"))
        where = (
            f"in the same namespace, {mine.get('supersonic_namespace')}. Give one of them another name or namespace."
        )
        if theirs == name:
            problems.append(Problem("supersonic_name", f"host {other} is an instance of the same name {where}", name))
        elif theirs in object_names(name) or name in object_names(theirs):
            shared = max(name, theirs, key=len)
            text = f"host {other} is {theirs}, so both would have objects called {shared} {where}"
            problems.append(Problem("supersonic_name", text, name))
    return problems


def _same_login(other: str, theirs: Variables, mine: Variables) -> Iterator[Problem]:
    """A file has the token of one user: hosts may share it, and then they share the login."""
    if (
        not mine.get("supersonic_openshift_username")
        or not _kubeconfig(mine)
        or _kubeconfig(theirs) != _kubeconfig(mine)
    ):
        return
    for name in ("supersonic_openshift_api", "supersonic_openshift_username"):
        if mine.get(name) != theirs.get(name):
            message = (
                f"host {other} has the same supersonic_kubeconfig, but another {name}. Give each a file of its own."
            )
            yield Problem(name, message, mine.get(name))


def _kubeconfig(variables: Variables) -> str:
    return os.path.realpath(expand(str(variables.get("supersonic_kubeconfig") or "")))


def _same_host(other: str, theirs: Variables, mine: Variables) -> Iterator[Problem]:
    """A name leads to one instance: another Ingress or Route of the same one is ignored, or takes requests away."""
    for name in ("envoy_ingress", "envoy_openshift_route", "grafana_ingress"):
        one, two = theirs.get(name), mine.get(name)
        if not isinstance(one, Mapping) or not isinstance(two, Mapping) or not two.get("host"):
            continue
        if one.get("host") == two["host"]:
            message = f"host {other} has the same name for its clients. Give each instance its own."
            yield Problem(name, message, two["host"], ".host")


def _place(variables: Variables) -> tuple[str, str, str]:
    """The namespace of an instance: of two spellings of one kubeconfig it must not matter which is used."""
    kubeconfig = str(variables.get("supersonic_kubeconfig") or os.environ.get("KUBECONFIG") or "~/.kube/config")
    login = variables.get("supersonic_openshift_username") and variables.get("supersonic_openshift_api")
    return (
        # Each host may have a file for its login.
        str(login or os.path.realpath(expand(kubeconfig))),
        str(variables.get("supersonic_context") or ""),
        str(variables.get("supersonic_namespace")),
    )
