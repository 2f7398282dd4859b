# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""States of instances as the module service_status returns them."""

from __future__ import annotations

import math
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._instance.status import ACCELERATORS, SERIES

MADE = "2026-03-01T12:00:30Z"
END = 1772366430.0
STEP = 30
GIB = 2**30
RELEASE = "2c26b46b68ffc68ff99b453c1d30413413422d70"


def points(value: Any) -> list[tuple[float, float | None]]:
    """A value at each time; of a function of the minute."""
    found = []
    for index in range(121):
        minute = index * STEP / 60
        found.append((END - 3600 + index * STEP, value(minute) if callable(value) else value))
    return found


def wave(middle: float, height: float) -> Any:
    return lambda minute: middle + height * math.sin(minute / 7) + height / 4 * math.sin(minute * 1.7)


def healthy(name: str = "cms") -> dict[str, Any]:
    """All is well, with two servers that have an accelerator each."""
    series: dict[str, Any] = {
        "answer_rate": points(wave(420, 160)),
        "client_latency": points(wave(24, 6)),
        "client_latency_p99": points(wave(88, 30)),
        "error_rate": points(0.0),
        "rejection_rate": points(lambda minute: 1.2 if 20 < minute < 24 else 0.0),
        "servers": points(lambda minute: 1 if minute < 25 else 2),
        # Prometheus was away for a while.
        "servers_reachable": points(lambda minute: None if 10 < minute < 14 else 1 if minute < 26 else 2),
        "utilization": points(wave(0.62, 0.2)),
        ACCELERATORS: points(wave(0.45, 0.2)),
    }
    assert set(series) == {*SERIES, ACCELERATORS}
    server = {"ready": True, "answers": True, "version": "2.51.0", "models": 2, "node": "a", "release": RELEASE}
    pods = [f"{name}-triton-6d4b75cb6d-{tail}" for tail in ("hwzls", "q9x2k")]
    return {
        "name": name,
        "namespace": name,
        "made": MADE,
        "window": 3600,
        "reachable": True,
        "why": "",
        "unknown": {},
        "servers": {
            "wanted": 2,
            "ready": 2,
            "answering": 2,
            "image": "nvcr.io/nvidia/tritonserver:26.04-py3",
            "versions": ["2.51.0"],
            "each": [{"pod": pod, **server, "problems": []} for pod in pods],
            "models": [
                {"name": "identity", "versions": ["1"], "servers": 2, "of": 2, "reasons": []},
                {"name": "particlenet", "versions": ["1", "2"], "servers": 2, "of": 2, "reasons": []},
            ],
            "ensembles": [],
        },
        "envoys": {"wanted": 2, "ready": 2, "image": "docker.io/envoyproxy/envoy:v1.40.0", "version": "v1.40.0"},
        "endpoint": {
            "address": f"{name}.example.org:8001",
            "inside": f"{name}.{name}.svc.cluster.local:8001",
            "outside": ["192.0.2.10:8001"],
            "type": "LoadBalancer",
        },
        "autoscaler": {
            "kind": "KEDA",
            "minimum": 1,
            "maximum": 8,
            "wants": 2,
            "paused": False,
            "text": "1 to 8 servers, wants 2",
            "problems": [],
        },
        "release": {"current": RELEASE, "published": "2026-02-20T08:00:00Z"},
        "verification": {
            "time": "2026-03-01T11:30:00+00:00",
            "passed": True,
            "message": "All 22 checks of 2 models passed.",
            "checks": [
                {
                    "layer": "server",
                    "target": f"pod {name}/{pods[0]} port 8001",
                    "protocol": "grpc",
                    "passed": 11,
                    "failed": 0,
                },
                {
                    "layer": "endpoint",
                    "target": f"address {name}.example.org:8001",
                    "protocol": "grpc",
                    "passed": 11,
                    "failed": 0,
                },
            ],
        },
        "traffic": {
            "begin": END - 3600,
            "end": END,
            "step": STEP,
            "prometheus": f"Service {name}/{name}-prometheus port 9090",
            "scrape_interval": 2.0,
            "targets_down": 0,
            "series": series,
            "hour": {
                "answer_rate": 421.3,
                "error_rate": 0.0,
                "rejection_rate": 0.08,
                "utilization": 0.62,
                "client_latency": 24.1,
                "client_latency_p99": 91.7,
            },
            "accelerators": [
                {
                    "uuid": f"GPU-9a3c0d1e-0000-0000-0000-00000000000{number}",
                    "utilization": 0.41 + number / 10,
                    "power_usage": 123.4,
                    "power_limit": 300.0,
                    "memory_used_bytes": 11 * GIB,
                    "memory_total_bytes": 80 * GIB,
                }
                for number in (1, 2)
            ],
            "alerts": [],
        },
    }


def troubled(name: str = "atlas") -> dict[str, Any]:
    """Servers are missing, a model does not load, an alert fires, nobody has proved it, and no accelerator is there."""
    found = healthy(name)
    found["servers"].update(wanted=3, ready=1, answering=1)
    found["servers"]["each"][1].update(
        ready=False,
        answers=False,
        models=0,
        release=None,
        problems=["container triton is in CrashLoopBackOff: back-off 5m0s restarting failed container"],
    )
    found["servers"]["models"][1].update(
        servers=0, of=1, versions=[], reasons=["failed to load 'particlenet', failed to open text file"]
    )
    found["autoscaler"].update(paused=True, text="paused at 3 servers (else 1 to 8)")
    found["verification"] = None
    found["release"] = None
    found["unknown"] = {
        "verification": f"no record: /srv/{name}/verify.json is not there yet; verify writes it",
        "release": f'persistentvolumeclaims "{name}-models" is forbidden',
        "accelerators": "no server tells of an accelerator (nv_gpu_utilization)",
    }
    seen = found["traffic"]
    seen["accelerators"] = []
    seen["series"][ACCELERATORS] = points(None)
    seen["series"]["error_rate"] = points(lambda minute: 0 if minute < 40 else 9 + minute / 20)
    seen["hour"].update(error_rate=7.0)
    seen["alerts"] = [
        {
            "name": "SupersonicPoolDown",
            "state": "firing",
            "severity": "critical",
            "since": "2026-03-01T11:41:00.123456789Z",
            "labels": {},
            "summary": f"{name}/{name}: too few servers are healthy",
            "description": "1 of 3 servers is healthy. Look at the pods that are not ready.",
            "runbook_url": "https://example.org/runbook",
        },
        # As where Prometheus answers queries only.
        {
            "name": "SupersonicErrors",
            "state": "firing",
            "severity": "warning",
            "since": "",
            "labels": {"component": "envoy"},
            "summary": "",
            "description": "",
            "runbook_url": "",
        },
    ]
    return found


def blind(name: str = "ligo") -> dict[str, Any]:
    """No Prometheus, nobody scales, and nobody asks."""
    found = healthy(name)
    found["traffic"] = None
    found["unknown"] = {"traffic": "no Prometheus was named"}
    found["autoscaler"] = {
        "kind": "",
        "text": "nobody; the number of servers is fixed",
        "paused": False,
        "problems": [],
    }
    return found


def idle(name: str = "icecube") -> dict[str, Any]:
    """Nothing was asked of it in the last hour."""
    found = healthy(name)
    seen = found["traffic"]
    for quantity in ("answer_rate", "rejection_rate", "error_rate", "utilization", ACCELERATORS):
        seen["series"][quantity] = points(0.0)
    for quantity in ("client_latency", "client_latency_p99"):
        seen["series"][quantity] = points(None)
        seen["hour"][quantity] = None
    seen["hour"].update(answer_rate=0.0, rejection_rate=0.0, utilization=0.0)
    return found


def unreachable(name: str = "nrp") -> dict[str, Any]:
    why = "https://192.0.2.1:6443, the API server of context nrp, cannot be reached: timed out."
    return {"name": name, "namespace": name, "made": MADE, "reachable": False, "why": why, "unknown": {}}


def absent(name: str = "belle") -> dict[str, Any]:
    """Nothing of it is in its namespace. The host of the inventory has another name."""
    return {
        "name": name,
        "host": f"{name}-at-home",
        "namespace": name,
        "made": MADE,
        "window": 3600,
        "reachable": True,
        "deployed": False,
        "why": f"the namespace {name} has neither its servers, nor its Envoys, nor its Service",
        "unknown": {},
    }
