# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All rules that relate variables to each other, and warnings.

This plugin util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules import (
    autoscaler,
    benchmark,
    envoy,
    gpu_operator,
    grafana,
    keda,
    openshift,
    preflight,
    prometheus,
    tracing,
    verify,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.exposure import (
    check_certificate,
    check_gateway_route,
    check_ingress,
    check_load_balancer,
    check_openshift_route,
    check_service,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.golden_requests import check_files
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.limits import check_limits
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.model_repositories import check_repositories
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.model_repository import (
    check_models,
    check_test_load,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.network_policies import check_network_policies
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.problem import Problem, ReadVariables, Variables
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.supersonic import check_identity
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.triton import check_triton, drain_cautions
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.triton_pod import check_pod
from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.workloads import (
    check_images,
    check_pods,
    check_resources,
)

Check = Callable[[ReadVariables], Iterable[Problem]]


def check_relations(variables: Variables, *, files: bool = True, unjudged: Collection[str] = ()) -> list[Problem]:
    """Everything that a type cannot say. Only variables that are there, and of the right type, are looked at.

    files: whether files and folders that are named have to be there already; unjudged: variables that are set, but are
    wrong themselves, so that nobody may take them for missing.
    """
    checks: list[Check] = [
        check_limits,
        check_identity,
        openshift.findings,
        check_images,
        check_resources,
        check_pods,
        check_triton,
        check_pod,
        check_repositories,
        check_service,
        envoy.findings,
        verify.findings,
        preflight.findings,
        prometheus.findings,
        grafana.findings,
        tracing.findings,
        benchmark.findings,
        autoscaler.findings,
        check_load_balancer,
        check_ingress,
        check_gateway_route,
        check_openshift_route,
        check_certificate,
        check_network_policies,
        check_models,
        check_test_load,
        keda.findings,
        gpu_operator.findings,
        *([check_files, keda.missing_files, gpu_operator.missing_files] if files else []),
    ]
    return [problem for check in checks for problem in _judged(check, variables, unjudged)]


def absent_files(variables: Variables, unjudged: Collection[str] = ()) -> list[Problem]:
    """Files and folders that variables of an instance name and that are not there; see check_relations."""
    return _judged(check_files, variables, unjudged)


def _judged(check: Check, variables: Variables, unjudged: Collection[str]) -> list[Problem]:
    read = ReadVariables(variables)
    read.unjudged = unjudged
    problems: list[Problem] = []
    try:
        problems.extend(check(read))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Something that the types above let through. Whatever else is wrong has to be heard all the same.
        problems.append(Problem(read.last, f"it cannot be judged: {error}. Compare it with its role's README."))
    return problems


def cautions(variables: Variables) -> list[str]:
    """Warnings: valid settings that are risky."""
    own = list(drain_cautions(variables))
    return own + [text for of in (keda, gpu_operator) for text in of.cautions(variables)]
