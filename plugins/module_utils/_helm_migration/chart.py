# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SuperSONIC Helm chart 0.3.1: its default values and the names of its objects.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from typing import Any

VERSION = "0.3.1"
# The label app.kubernetes.io/name of everything that it makes, as of ours.
LABEL = "supersonic"
LONGEST = 63

# Defaults by which values are completed, as far as they decide anything here.
DEFAULTS: dict[str, Any] = {
    "nameOverride": "",
    "serverLoadMetric": "",
    "serverLoadThreshold": 100,
    "triton": {
        "replicas": 1,
        "image": "nvcr.io/nvidia/tritonserver:26.04-py3-min",
        "command": ["/bin/sh", "-c"],
        "args": ["/opt/tritonserver/bin/tritonserver --model-repository=/tmp/ --log-verbose=0 --exit-timeout-secs=60"],
        "resources": {"limits": {"cpu": 1, "memory": "2G"}, "requests": {"cpu": 1, "memory": "2G"}},
        "annotations": {},
        "nodeSelector": {},
        "tolerations": [],
        "affinity": {},
        "modelRepository": {"enabled": False, "mountPath": ""},
        "service": {
            "labels": {},
            "annotations": {},
            "ports": [
                {"name": "http", "port": 8000, "targetPort": 8000, "protocol": "TCP"},
                {"name": "grpc", "port": 8001, "targetPort": 8001, "protocol": "TCP"},
                {"name": "metrics", "port": 8002, "targetPort": 8002, "protocol": "TCP"},
            ],
        },
        "readinessProbe": {
            "reset": False,
            "initialDelaySeconds": 10,
            "periodSeconds": 10,
            "failureThreshold": 10,
            "timeoutSeconds": 5,
            "successThreshold": 1,
            "command": [
                "/bin/sh",
                "-c",
                "curl -sf http://localhost:8000/v2/health/ready > /dev/null && [ ! -f /tmp/shutdown ]",
            ],
        },
        "startupProbe": {
            "reset": False,
            "initialDelaySeconds": 0,
            "periodSeconds": 10,
            "failureThreshold": 12,
            "httpGet": {"path": "/v2/health/ready", "port": "http"},
        },
    },
    "envoy": {
        "enabled": True,
        "replicas": 1,
        "image": "envoyproxy/envoy:v1.30.9",
        "args": [],
        "external_config": {"load_from_configmap": False, "configmap_name": "", "configmap_key": ""},
        "resources": {"requests": {"cpu": 1.0, "memory": "2G"}, "limits": {"cpu": 8.0, "memory": "4G"}},
        "annotations": {},
        "nodeSelector": {},
        "tolerations": [],
        "service": {
            "type": "ClusterIP",
            "ports": [
                {"name": "grpc", "port": 8001, "targetPort": 8001},
                {"name": "admin", "port": 9901, "targetPort": 9901},
            ],
        },
        "ingress": {"enabled": False, "hostName": "", "ingressClassName": "", "annotations": {}},
        "grpc_route_timeout": "0s",
        "rate_limiter": {
            "listener_level": {"enabled": False, "max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "12s"},
            "prometheus_based": {"enabled": False, "luaConfig": "cfg/envoy-filter.lua"},
        },
        "loadBalancerPolicy": "LEAST_REQUEST",
        "auth": {
            "enabled": False,
            "jwt_issuer": "",
            "jwt_remote_jwks_uri": "",
            "audiences": [],
            "url": "",
            "port": 443,
        },
        "tracing_sampling_rate": 0.01,
    },
    "keda": {
        "enabled": False,
        "minReplicaCount": 1,
        "maxReplicaCount": 2,
        "zeroIdleReplicas": False,
        "scaleUp": {"stabilizationWindowSeconds": 60, "periodSeconds": 60, "stepsize": 1},
        "scaleDown": {"stabilizationWindowSeconds": 600, "periodSeconds": 120, "stepsize": 1},
    },
    "prometheus": {
        "external": {"enabled": False, "url": "", "port": 443, "scheme": "https"},
        "enabled": False,
        "server": {
            "extraFlags": ["web.enable-remote-write-receiver"],
            "persistentVolume": {"enabled": False},
            "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": 1, "memory": "1Gi"}},
            "retention": "15d",
            "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
            "ingress": {"enabled": False, "hosts": []},
        },
    },
    "grafana": {
        "enabled": False,
        "adminUser": "admin",
        "persistence": {"enabled": False},
        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "grafana.ini": {
            "auth.anonymous": {"enabled": True, "org_role": "Admin"},
            "server": {"root_url": ""},
        },
        "ingress": {
            "enabled": False,
            "ingressClassName": "",
            "hosts": [],
            "tls": [{"hosts": []}],
            "annotations": {},
        },
    },
    "tempo": {
        "enabled": False,
        "tempo": {"resources": {"requests": {"cpu": "1", "memory": "2G"}, "limits": {"cpu": "2", "memory": "4G"}}},
    },
    "opentelemetry-collector": {
        "enabled": False,
        "resources": {"requests": {"memory": "1G", "cpu": "1"}, "limits": {"memory": "2G", "cpu": "1"}},
    },
    "metricsCollector": {
        "enabled": False,
        "ingress": {"enabled": False, "hostName": "", "ingressClassName": "", "annotations": {}},
    },
}
# Charts within the chart, which take values of their own besides.
SUBCHARTS = ("prometheus", "grafana", "tempo", "opentelemetry-collector")
# Keys that are not in its defaults, and that it knows all the same.
FURTHER = (
    ("triton", "modelRepository", "storageType"),
    ("triton", "modelRepository", "pvc", "claimName"),
    ("triton", "modelRepository", "nfs", "server"),
    ("triton", "modelRepository", "nfs", "path"),
    ("metricsCollector", "host"),
    ("metricsCollector", "port"),
    ("metricsCollector", "resources"),
    ("metricsCollector", "service", "port"),
    ("metricsCollector", "service", "type"),
)

# Below these the chart passes everything on to Kubernetes.
FREE = {
    *(
        (part, key)
        for part in ("triton", "envoy")
        for key in ("resources", "annotations", "nodeSelector", "tolerations")
    ),
    ("triton", "affinity"),
    ("triton", "service", "labels"),
    ("triton", "service", "annotations"),
    ("envoy", "ingress", "annotations"),
    ("metricsCollector", "ingress", "annotations"),
    ("metricsCollector", "resources"),
}


def is_strict(path: tuple[str, ...]) -> bool:
    """Whether all keys there are the chart's own, so that others are slips."""
    return path[0] not in SUBCHARTS or path[:2] == ("prometheus", "external")


def instance(release: str, name_override: str = "") -> str:
    """The prefix of the names of the chart's own objects; those of subcharts begin with the release."""
    return (name_override or release)[:LONGEST].removesuffix("-")


def services(release: str, name: str) -> set[str]:
    """Names of Deployments and Services that ours could collide with."""
    return {
        name,
        f"{name}-triton",
        f"{name}-envoy",
        f"{name}-metrics-collector",
        f"{release}-grafana",
        f"{release}-tempo",
        f"{release}-opentelemetry-collector",
        f"{release}-prometheus-server",
    }
