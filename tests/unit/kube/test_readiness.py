# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import GroupKind
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.readiness import (
    creation_trouble,
    newest_template_hash,
    of_newest_revision,
    probe_words,
    selector,
    stuck_deletion,
    troubles,
    verdict,
    warning_events,
)

DEPLOYMENT, STATEFUL_SET = GroupKind("apps", "Deployment"), GroupKind("apps", "StatefulSet")
DAEMON_SET, JOB = GroupKind("apps", "DaemonSet"), GroupKind("batch", "Job")


def obj(spec: Any = None, status: Any = None, generation: int = 1, **metadata: Any) -> dict[str, Any]:
    seen = {"observedGeneration": generation, **(status or {})}
    return {"metadata": {"name": "x", "generation": generation, **metadata}, "spec": spec or {}, "status": seen}


def condition(kind: str, status: str, **more: Any) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, **more}]}


def parents(kind: str, status: str) -> dict[str, Any]:
    return {"parents": [{"parentRef": {"name": "public"}, **condition(kind, status, reason="No", message="never")}]}


GRPC_ROUTE, ROUTE = GroupKind("gateway.networking.k8s.io", "GRPCRoute"), GroupKind("route.openshift.io", "Route")
ADMITTED = condition("Admitted", "True")
ROLLED = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}
TWO = {"replicas": 2}
NODES = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}


@pytest.mark.parametrize(
    ("kind", "live", "ready", "final", "why"),
    [
        (DEPLOYMENT, obj(TWO, ROLLED), True, False, ""),
        (DEPLOYMENT, obj(TWO, {**ROLLED, "observedGeneration": 0}), False, False, "has not seen it yet"),
        (DEPLOYMENT, {"metadata": {"name": "x", "generation": 1}, "spec": TWO}, False, False, "has not seen it yet"),
        (DEPLOYMENT, obj(TWO, {**ROLLED, "updatedReplicas": 1}), False, False, "1 of 2 pods are up to date"),
        (DEPLOYMENT, obj(TWO, {**ROLLED, "replicas": 3}), False, False, "1 old ones not yet gone"),
        (DEPLOYMENT, obj(TWO, {**ROLLED, "availableReplicas": 1}), False, False, "1 available"),
        (DEPLOYMENT, obj({"replicas": 0}), True, False, ""),
        (DEPLOYMENT, obj(), False, False, "0 of 1 pods"),
        (DEPLOYMENT, obj({**TWO, "paused": True}), True, False, ""),
        (
            DEPLOYMENT,
            obj(TWO, condition("Progressing", "False", reason="ProgressDeadlineExceeded")),
            False,
            True,
            "no progress within 600 s",
        ),
        # Left over from a roll-out that failed long ago.
        (
            DEPLOYMENT,
            obj(
                TWO,
                condition(
                    "Progressing", "False", reason="ProgressDeadlineExceeded", lastUpdateTime="2020-01-01T00:00:00Z"
                ),
            ),
            False,
            False,
            "0 of 2 pods",
        ),
        (STATEFUL_SET, obj(TWO, {**ROLLED, "currentRevision": "a", "updateRevision": "a"}), True, False, ""),
        # Once the update is through, the controller sets the number of updated pods back.
        (
            STATEFUL_SET,
            obj(TWO, {"readyReplicas": 2, "currentRevision": "a", "updateRevision": "a"}),
            True,
            False,
            "",
        ),
        (
            STATEFUL_SET,
            obj(TWO, {"readyReplicas": 2, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
            False,
            False,
            "1 of 2 pods are up to date, 2 of 2 ready",
        ),
        (
            STATEFUL_SET,
            obj(
                {**TWO, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
                {"readyReplicas": 2, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"},
            ),
            True,
            False,
            "",
        ),
        (STATEFUL_SET, obj({**TWO, "updateStrategy": {"type": "OnDelete"}}, {"readyReplicas": 2}), True, False, ""),
        (DAEMON_SET, obj({}, NODES), True, False, ""),
        (DAEMON_SET, obj({}, {**NODES, "numberAvailable": 1}), False, False, "2 of 2 pods are up to date, 1 available"),
        (DAEMON_SET, obj({}, {**NODES, "updatedNumberScheduled": 1}), False, False, "1 of 2"),
        (GroupKind("apps", "ReplicaSet"), obj(TWO, ROLLED), True, False, ""),
        (GroupKind("apps", "ReplicaSet"), obj(TWO), False, False, "0 of 2 pods are available"),
        (JOB, obj({}, condition("Complete", "True")), True, False, ""),
        (JOB, obj({}, {"active": 1}), False, False, "0 of 1 runs are complete, 1 active"),
        (JOB, obj({}, condition("Failed", "True", reason="R", message="m")), False, True, "it failed: R: m"),
        (JOB, obj({"suspend": True}), True, False, ""),
        (GroupKind("", "Pod"), obj({}, condition("Ready", "True")), True, False, ""),
        (GroupKind("", "Pod"), obj({}, {"phase": "Succeeded"}), True, False, ""),
        (GroupKind("", "Pod"), obj({}, {"phase": "Failed"}), False, True, "its phase is Failed"),
        (GroupKind("", "PersistentVolumeClaim"), obj({}, {"phase": "Bound"}), True, False, ""),
        (GroupKind("", "PersistentVolumeClaim"), obj({}, {"phase": "Lost"}), False, True, "its volume is lost"),
        (
            GroupKind("", "PersistentVolumeClaim"),
            obj({"storageClassName": "fast"}, {"phase": "Pending"}),
            False,
            False,
            "no volume is bound to it (storage class: fast)",
        ),
        (GroupKind("", "Namespace"), obj({}, {"phase": "Active"}), True, False, ""),
        (GroupKind("", "Namespace"), obj({}, {"phase": "Terminating"}), False, True, "Terminating"),
        (GroupKind("", "Service"), obj({"type": "LoadBalancer"}), True, False, ""),
        (GroupKind("", "ConfigMap"), {"metadata": {"name": "x"}}, True, False, ""),
        (
            GroupKind("apiextensions.k8s.io", "CustomResourceDefinition"),
            obj({}, condition("Established", "True")),
            True,
            False,
            "",
        ),
        (GroupKind("apiextensions.k8s.io", "CustomResourceDefinition"), obj(), False, False, "not established yet"),
        (
            GroupKind("apiextensions.k8s.io", "CustomResourceDefinition"),
            obj({}, condition("NamesAccepted", "False", message="taken")),
            False,
            True,
            "its names are not accepted: taken",
        ),
        (GroupKind("apiregistration.k8s.io", "APIService"), obj({}, condition("Available", "True")), True, False, ""),
        (
            GroupKind("apiregistration.k8s.io", "APIService"),
            obj({}, condition("Available", "False", message="no endpoints")),
            False,
            False,
            "not available: no endpoints",
        ),
        (GroupKind("keda.sh", "ScaledObject"), obj(), False, False, "has not reported on it yet"),
        (GroupKind("keda.sh", "ScaledObject"), obj({}, condition("Ready", "True")), True, False, ""),
        (
            GroupKind("keda.sh", "ScaledObject"),
            obj({}, condition("Ready", "False", reason="ScaledObjectCheckFailed", message="no such trigger")),
            False,
            False,
            "not ready: ScaledObjectCheckFailed: no such trigger",
        ),
        (
            GroupKind("cert-manager.io", "Certificate"),
            obj({}, condition("Ready", "True", observedGeneration=1), generation=2),
            False,
            False,
            "has not seen the change yet",
        ),
        (GRPC_ROUTE, obj(), True, False, ""),
        (GRPC_ROUTE, obj({}, parents("Accepted", "True")), True, False, ""),
        (GRPC_ROUTE, obj({}, parents("Accepted", "False")), False, False, "public does not take it: No: never"),
        (GRPC_ROUTE, obj({}, parents("ResolvedRefs", "False")), False, False, "public does not take it: No: never"),
        (ROUTE, obj(), True, False, ""),
        (ROUTE, obj({}, {"ingress": [{"routerName": "default", **ADMITTED}]}), True, False, ""),
        (
            ROUTE,
            obj(
                {},
                {"ingress": [{"routerName": "default", **condition("Admitted", "False", reason="HostAlreadyClaimed")}]},
            ),
            False,
            False,
            "default does not take it: HostAlreadyClaimed",
        ),
        # Kinds that may never get a status do not hold up anybody.
        (GroupKind("monitoring.coreos.com", "ServiceMonitor"), obj(), True, False, ""),
        (
            GroupKind("example.org", "Thing"),
            obj({}, condition("Ready", "False", reason="r", message="m")),
            False,
            False,
            "",
        ),
    ],
)
def test_verdicts(kind: GroupKind, live: dict[str, Any], ready: bool, final: bool, why: str) -> None:
    result = verdict(kind, live)
    assert result.ready is ready
    assert result.final is final
    assert why in result.why
    assert ready or result.why


def test_load_balancer_when_asked() -> None:
    service = GroupKind("", "Service")
    assert not verdict(service, obj({"type": "LoadBalancer"}), load_balancers=True).ready
    given = obj({"type": "LoadBalancer"}, {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})
    assert verdict(service, given, load_balancers=True).ready
    assert verdict(service, obj({"type": "ClusterIP"}), load_balancers=True).ready


def pod(
    container: dict[str, Any] | None = None, *, init: Any = None, spec: Any = None, **status: Any
) -> dict[str, Any]:
    main = {"name": "main", "image": "registry/x:1", **(spec or {})}
    result: dict[str, Any] = {
        "metadata": {"name": "p"},
        "spec": {"containers": [main], "initContainers": [{"name": "first", "image": "registry/init:1"}]},
        "status": dict(status),
    }
    if container:
        result["status"]["containerStatuses"] = [{"name": "main", "restartCount": 0, **container}]
    if init:
        result["status"]["initContainerStatuses"] = [{"name": "first", "restartCount": 0, **init}]
    return result


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, **more}


CRASHED = {"lastState": {"terminated": {"exitCode": 42, "reason": "Error"}}}
OOM = {"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
LIMIT = {"resources": {"limits": {"memory": "64Mi"}}}
PROBE = {"readinessProbe": {}}


@pytest.mark.parametrize(
    ("value", "text", "patience"),
    [
        (
            pod(
                conditions=[
                    {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient nvidia.com/gpu"}
                ]
            ),
            "cannot be scheduled: 0/3 nodes: Insufficient nvidia.com/gpu",
            math.inf,
        ),
        (
            pod(waiting("ErrImagePull", "failed to pull: docker.io/x: not found")),
            "the image registry/x:1 of container main cannot be pulled: failed to pull: docker.io/x: not found",
            0,
        ),
        (pod(waiting("ImagePullBackOff", "Back-off: ErrImagePull: pull access denied")), "pull access denied", 0),
        (pod(waiting("ImagePullBackOff", "Back-off: ErrImagePull: i/o timeout")), "i/o timeout", 30),
        (pod(waiting("InvalidImageName", "bad")), "cannot be pulled: bad", 0),
        (pod(waiting("ErrImageNeverPull")), "cannot be pulled: ErrImageNeverPull", 0),
        (pod(init=waiting("ErrImagePull", "not found")), "the image registry/init:1 of container first", 0),
        (
            pod(waiting("CreateContainerConfigError", 'secret "s" not found')),
            'container main cannot be created: secret "s" not found',
            15,
        ),
        (pod(waiting("RunContainerError", "exec: no such file")), "container main cannot be started: exec: no such", 5),
        (pod(waiting("CrashLoopBackOff", restartCount=3, **CRASHED)), "ended with exit code 42, restarted 3 times", 0),
        (pod(waiting("CrashLoopBackOff", restartCount=1, **CRASHED)), "restarted 1 times", math.inf),
        (
            pod(waiting("CrashLoopBackOff", restartCount=1, **OOM), spec=LIMIT),
            "was killed because it used more memory than its limit of 64Mi (OOMKilled)",
            0,
        ),
        (pod({"state": {"running": {}}, "ready": False}, spec=PROBE), "runs but is not ready", math.inf),
        (
            pod({"state": {"running": {}}, "started": False}, spec={"startupProbe": {}}),
            "has not finished starting",
            math.inf,
        ),
        (pod({"state": {"terminated": {"exitCode": 7}}}), "ended with exit code 7", math.inf),
        (pod(phase="Failed", reason="Evicted", message="low on disk"), "failed: Evicted: low on disk", 30),
        (
            pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "True"}]),
            "its containers have not been started",
            math.inf,
        ),
    ],
)
def test_troubles(value: dict[str, Any], text: str, patience: float) -> None:
    (trouble,) = troubles([value])
    assert text in trouble.text
    assert trouble.patience == patience
    assert trouble.where == "p"


@pytest.mark.parametrize(
    "value",
    [
        pod({"state": {"running": {}}, "ready": True}, spec=PROBE),
        pod({"state": {"terminated": {"exitCode": 0}}}),
        {**pod(waiting("ErrImagePull")), "metadata": {"name": "p", "deletionTimestamp": "now"}},
    ],
    ids=["ready", "done", "going"],
)
def test_no_trouble(value: dict[str, Any]) -> None:
    assert troubles([value]) == []


def test_words_change_but_the_trouble_is_the_same() -> None:
    one, two = troubles([pod(waiting("ErrImagePull", "timeout")), pod(waiting("ImagePullBackOff", "Back-off"))])
    assert one.text != two.text
    assert (one.where, one.what) == (two.where, two.what)


def test_pods_that_cannot_be_made() -> None:
    failing = obj({}, condition("ReplicaFailure", "True", message="exceeded quota: small"))
    trouble = creation_trouble(failing)
    assert trouble is not None
    assert trouble.text == "its pods cannot be created: exceeded quota: small"
    assert creation_trouble(obj()) is None


def labelled(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {key.replace("_", "-"): value for key, value in labels.items()}}}


def test_only_pods_of_the_newest_revision_count() -> None:
    pods = [labelled("old", pod_template_hash="1"), labelled("new", pod_template_hash="2")]
    assert [p["metadata"]["name"] for p in of_newest_revision(DEPLOYMENT, obj(), pods, "2")] == ["new"]
    assert len(of_newest_revision(DEPLOYMENT, obj(), pods, None)) == 2
    pods = [labelled("old", controller_revision_hash="a"), labelled("new", controller_revision_hash="b")]
    assert [
        p["metadata"]["name"] for p in of_newest_revision(STATEFUL_SET, obj({}, {"updateRevision": "b"}), pods, None)
    ] == ["new"]
    pods = [labelled("old", pod_template_generation="1"), labelled("new", pod_template_generation="2")]
    live = obj(annotations={"deprecated.daemonset.template.generation": "2"})
    assert [p["metadata"]["name"] for p in of_newest_revision(DAEMON_SET, live, pods, None)] == ["new"]


def test_newest_template_hash() -> None:
    def replica_set(revision: str, owner: str, value: str) -> dict[str, Any]:
        return {
            "metadata": {
                "annotations": {"deployment.kubernetes.io/revision": revision},
                "labels": {"pod-template-hash": value},
                "ownerReferences": [{"uid": owner}],
            }
        }

    live = obj(uid="me", annotations={"deployment.kubernetes.io/revision": "2"})
    sets = [replica_set("1", "me", "a"), replica_set("2", "other", "b"), replica_set("2", "me", "c")]
    assert newest_template_hash(live, sets) == "c"
    assert newest_template_hash(live, sets[:2]) is None


def test_selector() -> None:
    expressions = [
        {"key": "a", "operator": "In", "values": ["1", "2"]},
        {"key": "b", "operator": "Exists"},
        {"key": "c", "operator": "DoesNotExist"},
    ]
    live = {"spec": {"selector": {"matchLabels": {"app": "x"}, "matchExpressions": expressions}}}
    assert selector(live) == "app=x,a in (1,2),b,!c"
    assert selector({"spec": {}}) is None


def event(name: str, reason: str, message: str, when: str, kind: str = "Warning") -> dict[str, Any]:
    return {
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": when,
        "involvedObject": {"name": name},
    }


EVENTS = [
    event("p", "Unhealthy", "Readiness probe failed: 503", "2"),
    event("p", "BackOff", "again", "1"),
    event("p", "BackOff", "again", "3"),
    event("p", "Pulled", "fine", "4", "Normal"),
    event("other", "Failed", "not mine", "5"),
]


def test_last_words() -> None:
    assert warning_events(EVENTS, ["p"]) == ["BackOff: again", "Unhealthy: Readiness probe failed: 503"]
    assert warning_events(EVENTS, ["p"], 1) == ["BackOff: again"]
    assert probe_words(EVENTS, "p") == "Readiness probe failed: 503"
    assert probe_words(EVENTS, "other") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"metadata": {}}, "its deletion has not begun"),
        (
            {"metadata": {"deletionTimestamp": "t", "finalizers": ["a.org/x", "foregroundDeletion"]}},
            "finalizers a.org/x",
        ),
        (
            {"metadata": {"deletionTimestamp": "t", "finalizers": ["foregroundDeletion"]}},
            "that it owns are still there",
        ),
        (
            {
                "metadata": {"deletionTimestamp": "t"},
                "spec": {"finalizers": ["kubernetes"]},
                "status": condition("NamespaceFinalizersRemaining", "True", message="widgets.a.org has 1 resource"),
            },
            "widgets.a.org has 1 resource",
        ),
        ({"metadata": {"deletionTimestamp": "t"}}, "the API server still lists it"),
    ],
)
def test_deletion_that_hangs(value: dict[str, Any], text: str) -> None:
    assert text in stuck_deletion(value)
