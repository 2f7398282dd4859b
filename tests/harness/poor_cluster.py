# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands for a poor cluster that nobody has at hand."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.fastml.supersonic.tests.harness.answers import JsonHandler


class Poor(JsonHandler):
    """A cluster with one node, without GPUs and default class, where we may only read."""

    asked: list[tuple[str, str, str]] = []
    # Kinds that it has besides Kubernetes' own, by path.
    more: dict[str, Any] = {}

    def do_GET(self) -> None:
        lists = {
            "/version": {"gitVersion": "v1.34.4"},
            "/api/v1/namespaces/cms": {"metadata": {"name": "cms"}, "status": {"phase": "Active"}},
            "/api/v1/namespaces/cms/pods": {"items": []},
            "/api/v1/nodes": {"items": [{"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "4"}}}]},
            "/apis/storage.k8s.io/v1/storageclasses": {"items": [{"metadata": {"name": "slow"}}]},
            "/apis/networking.k8s.io/v1/ingressclasses": {"items": [{"metadata": {"name": "public"}}]},
            "/api/v1/persistentvolumes": {"items": [{"spec": {"storageClassName": "by-hand"}}, {"spec": {}}]},
            **self.more,
        }
        path = self.path.partition("?")[0]
        if path in lists:
            self.answer(lists[path])
        else:
            # No kind is served and no object is there.
            self.answer({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("selfsubjectreviews"):
            self.answer({"status": {"userInfo": {"username": "system:serviceaccount:ci:deployer"}}})
            return
        spec = body["spec"]
        if self.path.endswith("selfsubjectrulesreviews"):
            reading = {"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*"]}
            self.answer({"status": {"resourceRules": [reading]}})
            return
        wanted = spec["resourceAttributes"]
        self.asked.append((wanted["verb"], wanted["resource"], wanted["subresource"]))
        self.answer({"status": {"allowed": False}})
