# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the clone importable as ansible_collections.fastml.supersonic."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLONE / ".collections"))

TESTS = Path(__file__).resolve().parent
# Files that take half a minute or more. They come first, so that none of them is left over when the others are done.
LONGEST = (
    "unit/inventory/test_wrong_inventories",
    "services/test_gateway_matrix",
    "services/test_inference_check",
    "services/test_model_validation",
    "services/test_gateway",
    "golden/test_golden",
    "unit/model_repository/test_kill",
    "services/test_test_load",
    "services/test_gateway_requests",
    "services/test_dashboards",
    "services/test_alerts",
    "services/test_tracing",
    "services/test_prometheus_role",
    "services/test_service_status",
    "services/test_status_page",
    "services/test_tracing_roles",
    "services/test_gpu_metrics",
    "services/test_proof_of_gateway",
    "unit/inventory/test_models_playbook",
    "services/test_model_rollout",
    "services/test_gateway_keys",
    "services/test_load_balancing",
    "services/test_no_server",
    "services/test_example_models",
    "services/test_gateway_fuzz",
    "unit/inventory/test_render_playbook",
    "unit/sites/test_site_plays",
    "services/test_clients_playbook",
    "cluster/test_autoscaler",
    "cluster/test_local_node",
    "cluster/test_molecule",
    "cluster/test_models_playbook",
    "cluster/test_site",
    "cluster/test_openshift",
    "cluster/test_inclusion",
    "cluster/test_benchmark",
    "cluster/test_waves",
    "cluster/test_alerts",
    "cluster/test_prometheus",
    "cluster/test_isolation",
    "cluster/test_model_repository_pvc",
    # A file with one test gets another one at once, and molecule is long.
    "cluster/test_cluster_info",
    "cluster/test_gpu_operator",
    "cluster/test_model_trial",
    "cluster/test_least_rights",
    "cluster/test_model_serving",
    "cluster/test_model_repository_kills",
    "cluster/test_manifests_wait",
    "cluster/test_model_rollout",
    "cluster/test_exposure",
    "cluster/test_grafana",
    "cluster/test_tracing",
    "cluster/test_status",
    "cluster/test_gpu_metrics",
    "cluster/test_manifests_faults",
    "cluster/test_verify_failures",
    "cluster/test_load_limit",
    "cluster/test_keda",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {TESTS / f"{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))
