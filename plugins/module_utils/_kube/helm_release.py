# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Applies and removes the objects of a Helm chart as one ApplySet.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.apply import Run
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.applyset import TOOL
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import Mask
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.helm import (
    HOOK,
    Chart,
    Object,
    Rendered,
    capabilities,
    render,
    shown,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.manifests import objects_of, options_of

# Options of manifests that a chart has no use for.
_FIXED = {
    "field_manager": TOOL,
    "prune": True,
    "autoscaled": None,
    "wait_for_load_balancer": False,
    "byproducts": (),
    "expected_kinds": (),
}


class Release:
    """The objects of a chart in a cluster, as one set."""

    def __init__(self, connection: Connection, chart: Chart, params: Mapping[str, t.Any], *, check: bool) -> None:
        self.api = Api(connection)
        self.mask = Mask()
        self._chart = chart
        self._params = dict(params)
        self._check = check
        self._rendered: Rendered | None = None
        # What is reported; hooks come and go and are not.
        self._runs: list[Run] = []

    def present(self) -> None:
        """Apply the chart as it is for this cluster."""
        self._refuse_helms_own()
        self._reported(self._params["name"], self._render().objects).present()

    def absent(self) -> None:
        """Remove the set, then do what the chart wants done after that, then the namespace."""
        name, hooks_name = self._params["name"], f"{self._params['name']}-hooks"
        delete_namespace = self._params["delete_namespace"]
        hooks: list[Object] = []
        if self._chart.chart and not self._check:
            hooks = self._render().hooks.get("post-delete", [])
        # Of a run that failed: what is left of it would count as done.
        unfinished = self._reported(hooks_name, delete_namespace=False)
        unfinished.absent()
        work = self._reported(name, delete_namespace=delete_namespace and not hooks)
        work.absent()
        if hooks and any(action == "deleted" for run in (unfinished, work) for _key, action in run.done()):
            # Should one fail, it stays, to be looked at and tried again.
            self._run(hooks_name, [_unhooked(hook) for hook in hooks]).present()
            self._run(hooks_name, delete_namespace=False).absent()
        if hooks and delete_namespace:
            # Of the set nothing is left that this could remove.
            self._reported(name).absent()

    def objects(self) -> list[dict[str, str]]:
        """The result for each object, or its prediction."""
        return [entry for work in self._runs for entry in objects_of(work)]

    def result(self) -> dict[str, t.Any]:
        """The return value of the module."""
        result: dict[str, t.Any] = {
            "changed": any(not work.differences.empty for work in self._runs),
            "objects": self.objects(),
            "diff": [entry for work in self._runs for entry in work.shown()],
            **(shown(self._rendered) if self._rendered else {}),
        }
        if self._params["state"] == "absent":
            result["left"] = [self.mask.text(text) for text in self._runs[-1].left]
        return result

    def _render(self) -> Rendered:
        """As for this cluster, unless its version is given."""
        chart = self._chart
        if not chart.kubernetes_version:
            version, served = capabilities(self.api)
            chart = replace(chart, kubernetes_version=version, api_versions=sorted({*served, *chart.api_versions}))
        self._rendered = render(chart)
        for definition in self._rendered.objects:
            self.mask.learn(definition)
        return self._rendered

    def _reported(self, name: str, definitions: Sequence[Object] = (), **changed: t.Any) -> Run:
        self._runs.append(self._run(name, definitions, **changed))
        return self._runs[-1]

    def _run(self, name: str, definitions: Sequence[Object] = (), **changed: t.Any) -> Run:
        options = options_of({**_FIXED, **self._params, "name": name, **changed}, self._check)
        return Run(self.api, options, definitions, self.mask)

    def _refuse_helms_own(self) -> None:
        """Two tools would undo each other's changes, and the next helm upgrade all of ours."""
        name, namespace = self._chart.name, self._chart.namespace
        query = {"labelSelector": f"owner=helm,name={name}"}
        try:
            found = self.api.list(f"/api/v1/namespaces/{segment(namespace)}/secrets", "releases of Helm", query)
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            return
        if found:
            raise SupersonicError(
                f"Helm itself has installed a release {name} in the namespace {namespace}. Keep it and only check it "
                f"(mode existing), or remove it first: helm uninstall {name} --namespace {namespace}. Nothing was "
                "changed."
            )


def _unhooked(hook: Object) -> Object:
    """Without what would make other tools take it for a hook."""
    metadata = hook["metadata"]
    kept = {key: value for key, value in metadata["annotations"].items() if not key.startswith(HOOK)}
    return {**hook, "metadata": {**metadata, "annotations": kept}}
