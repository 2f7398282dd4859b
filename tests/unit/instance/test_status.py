# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of an autoscaler, by the objects that the cluster has."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._instance.status import (
    Wanted,
    autoscaler,
    prometheus_of,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.replicas import BEFORE_PAUSE

WANTED = Wanted("cms", "main")
HPA: dict[str, Any] = {
    "spec": {"minReplicas": 2, "maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "main-triton"}},
    "status": {"desiredReplicas": 3, "conditions": [{"type": "ScalingActive", "status": "True", "message": "fine"}]},
}


class Objects:
    """The objects of a namespace by the end of their path."""

    def __init__(self, scaled: dict[str, Any] | None, *hpas: dict[str, Any]) -> None:
        self.scaled = scaled
        self.hpas = hpas
        self.api = self

    def find(self, path: str, _what: str) -> dict[str, Any] | None:
        if path == "/apis/keda.sh/v1alpha1/namespaces/cms/scaledobjects/main-triton":
            return self.scaled
        assert path == "/apis/autoscaling/v2/namespaces/cms/horizontalpodautoscalers/keda-hpa-main-triton"
        return self.hpas[0] if self.hpas else None

    def list(self, path: str, _what: str) -> list[dict[str, Any]]:
        assert path == "/apis/autoscaling/v2/namespaces/cms/horizontalpodautoscalers"
        return [*self.hpas]


def unheeded() -> dict[str, Any]:
    """Which no operator has looked at."""
    return {"metadata": {}, "spec": {"maxReplicaCount": 8}}


def scaled(annotations: dict[str, str] | None = None, **conditions: tuple[str, str]) -> dict[str, Any]:
    found = [{"type": kind, "status": state, "message": text} for kind, (state, text) in conditions.items()]
    return {
        "metadata": {"annotations": annotations or {}},
        "spec": {"minReplicaCount": 1, "maxReplicaCount": 8},
        "status": {"hpaName": "keda-hpa-main-triton", "conditions": found},
    }


KEDA = "autoscaling.keda.sh"
BROKEN = {**HPA, "status": {"conditions": [{"type": "ScalingActive", "status": "False", "message": "no metric"}]}}
NO_HPA = (
    "there is no HorizontalPodAutoscaler for the ScaledObject main-triton, which KEDA makes: its operator does not "
    "run, or does not watch the namespace"
)
AT_ZERO = {
    **HPA,
    "status": {
        "desiredReplicas": 0,
        "conditions": [{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled", "message": "off"}],
    },
}


@pytest.mark.parametrize(
    ("objects", "kind", "paused", "text", "problems"),
    [
        (Objects(None), "", False, "nobody; the number of servers is fixed", []),
        (Objects(None, HPA), "HorizontalPodAutoscaler", False, "2 to 5 servers, wants 3", []),
        (Objects(None, BROKEN), "HorizontalPodAutoscaler", False, "2 to 5 servers", ["no metric"]),
        (Objects(None, AT_ZERO), "HorizontalPodAutoscaler", False, "2 to 5 servers, wants 0", []),
        (Objects(scaled()), "KEDA", False, "1 to 8 servers", [NO_HPA]),
        (Objects(unheeded()), "KEDA", False, "0 to 8 servers", [NO_HPA]),
        # Paused it has none.
        (Objects(scaled({f"{KEDA}/paused": "true"})), "KEDA", True, "paused (else 1 to 8 servers)", []),
        (Objects(scaled(), HPA), "KEDA", False, "1 to 8 servers, wants 3", []),
        (Objects(scaled({f"{KEDA}/paused": "true"}), HPA), "KEDA", True, "paused (else 1 to 8 servers)", []),
        (Objects(scaled({f"{KEDA}/paused": "false"}), HPA), "KEDA", False, "1 to 8 servers, wants 3", []),
        (Objects(scaled({f"{KEDA}/paused-replicas": "4"}), HPA), "KEDA", True, "paused at 4 servers (else 1 to 8)", []),
        (Objects(scaled({f"{KEDA}/paused-replicas": "1"}), HPA), "KEDA", True, "paused at 1 server (else 1 to 8)", []),
        (
            Objects(scaled({"supersonic.fastml.org/before-benchmark": "{}"}), HPA),
            "KEDA",
            True,
            "1 to 8 servers, wants 3; held by a benchmark",
            [],
        ),
        (
            Objects(scaled(Ready=("False", "no secret"), Fallback=("False", "-"))),
            "KEDA",
            False,
            "1 to 8 servers",
            ["no secret"],
        ),
        (
            Objects(scaled(Ready=("True", "-"), Fallback=("True", "silent")), HPA),
            "KEDA",
            False,
            "1 to 8 servers, wants 3",
            ["silent"],
        ),
    ],
)
def test_what_is_said(objects: Objects, kind: str, paused: bool, text: str, problems: list[str]) -> None:
    resolver: Any = objects
    found = autoscaler(WANTED, resolver)
    assert (found["kind"], found["paused"], found["text"], found["problems"]) == (kind, paused, text, problems)


NOTE = '{"since": "2026-03-01T11:40:00Z", "reason": "storage moves", "before": {"replicas": 2}}'
NOTED = {"since": "2026-03-01T11:40:00Z", "reason": "storage moves"}
PAUSED = {"metadata": {"annotations": {BEFORE_PAUSE: NOTE}}, "spec": {"replicas": 0}}


@pytest.mark.parametrize(
    ("objects", "deployment", "pause"),
    [
        (Objects(None), PAUSED, {"servers": 0, **NOTED}),
        (Objects(None), {"metadata": {}, "spec": {"replicas": 0}}, None),
        (Objects(None), None, None),
        # KEDA holds as many as there were.
        (Objects(scaled({f"{KEDA}/paused": "true", BEFORE_PAUSE: NOTE})), {"spec": {}}, {"servers": 1, **NOTED}),
        (Objects(scaled({f"{KEDA}/paused-replicas": "0", BEFORE_PAUSE: NOTE})), None, {"servers": 0, **NOTED}),
        (Objects(scaled({f"{KEDA}/paused": "true", BEFORE_PAUSE: "what?"})), None,
         {"servers": None, "since": "", "reason": ""}),
        # By the inventory, or by hand.
        (Objects(scaled({f"{KEDA}/paused-replicas": "0"})), None, None),
    ],
)  # fmt: skip
def test_what_an_operator_has_noted(objects: Objects, deployment: Any, pause: dict[str, Any] | None) -> None:
    resolver: Any = objects
    found = autoscaler(WANTED, resolver, deployment)
    assert found["pause"] == pause
    assert found["paused"] or pause is None
    assert ("by an operator" in found["text"] or "an operator holds" in found["text"]) is (pause is not None)


def test_of_an_instance_without_a_prometheus_none_is_asked() -> None:
    with pytest.raises(SupersonicError, match=r"^no Prometheus is listed, neither in supersonic_components nor as "):
        prometheus_of({"url": "", "token": None, "ca_certificates": None}, resolver=None, timeout=1)  # type: ignore[arg-type]
