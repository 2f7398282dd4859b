# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the collection's templates; the logic is in plugin_utils."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.fastml.supersonic.plugins.plugin_utils import _exposure, _render


class FilterModule:
    """Filters for the manifests of the roles."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name in templates and function."""
        return {
            "command_flags": _render.command_flags,
            "image_version": _render.image_version,
            "ingress_annotations": _exposure.ingress_annotations,
            "ingress_service_annotations": _exposure.ingress_service_annotations,
            "model_drift_table": _render.model_drift_table,
            "model_repository_paths": _render.model_repository_paths,
            "model_repository_volumes": _render.model_repository_volumes,
            "model_repository_table": _render.model_repository_table,
            "override_pod_spec": _render.override_pod_spec,
            "verification_table": _render.verification_table,
            "yaml_documents": _render.yaml_documents,
        }
