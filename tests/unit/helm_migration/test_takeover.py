# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused, asked and written when a release is taken over; tests/cluster/test_migrate.py does it for real."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration import takeover
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration.takeover import (
    NOTE,
    PAUSED,
    Takeover,
    Wanted,
)
from ansible_collections.fastml.supersonic.tests.harness.fake_api import SCALED_OBJECT, FakeApi

NS = "/namespaces/cms"
SERVICES, PODS = f"/api/v1{NS}/services", f"/api/v1{NS}/pods"
DEPLOYMENTS, SLICES = f"/apis/apps/v1{NS}/deployments", f"/apis/discovery.k8s.io/v1{NS}/endpointslices"
SCALERS, INGRESSES = f"/apis/keda.sh/v1alpha1{NS}/scaledobjects", f"/apis/networking.k8s.io/v1{NS}/ingresses"
SECRETS, CLAIMS = f"/api/v1{NS}/secrets", f"/api/v1{NS}/persistentvolumeclaims"
OLD, NEW = "sonic", "site-cms"
SERVICE, SCALER, POOL = f"{SERVICES}/{OLD}", f"{SCALERS}/{OLD}-keda-so", f"{DEPLOYMENTS}/{OLD}-triton"


def labels(owner: str, part: str) -> dict[str, str]:
    found = {"app.kubernetes.io/name": "supersonic", "app.kubernetes.io/instance": owner}
    return {**found, "app.kubernetes.io/component": part}


def pool(owner: str, part: str, replicas: int = 1, ready: int | None = None) -> dict[str, Any]:
    container = {"resources": {"limits": {"nvidia.com/gpu": 1}} if part == "triton" else {}}
    return {
        "metadata": {"name": f"{owner}-{part}", "labels": labels(owner, part)},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [container]}}},
        "status": {"readyReplicas": replicas if ready is None else ready},
    }


def service(name: str, owner: str, **port: Any) -> dict[str, Any]:
    ports = [{"name": "grpc", "port": 8001, "targetPort": 8001, **port}]
    if name == OLD:
        ports.append({"name": "admin", "port": 9901, "targetPort": 9901})
    return {
        "metadata": {"name": name, "labels": labels(name, "envoy")},
        "spec": {"type": "LoadBalancer", "selector": labels(owner, "envoy"), "ports": ports},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}},
    }


def helms(release: str) -> dict[str, str]:
    """What Helm writes on whatever it makes."""
    return {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": "cms"}


def pod(owner: str, part: str = "envoy") -> dict[str, Any]:
    status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": f"{owner}-{part}-1", "labels": labels(owner, part)}, "status": status}


def scene() -> dict[str, dict[str, Any]]:
    """A release with an autoscaler and an Ingress, and the instance beside it."""
    found = {
        SERVICE: service(OLD, OLD),
        f"{SERVICES}/{OLD}-triton": {"metadata": {"name": f"{OLD}-triton", "labels": labels(OLD, "triton")}},
        f"{SERVICES}/{NEW}": service(NEW, NEW, appProtocol="kubernetes.io/h2c"),
        f"{PODS}/{OLD}-envoy-1": pod(OLD),
        f"{PODS}/{OLD}-triton-1": pod(OLD, "triton"),
        f"{PODS}/{NEW}-envoy-1": pod(NEW),
        f"{SCALERS}/{OLD}-keda-so": {"metadata": {"name": f"{OLD}-keda-so", "labels": labels(OLD, "keda")}},
        f"{INGRESSES}/{OLD}-ingress-grpc": {
            "metadata": {"name": f"{OLD}-ingress-grpc", "labels": labels(OLD, "envoy")},
            "spec": {"rules": [{"host": "sonic.example.org"}]},
        },
        f"{CLAIMS}/cvmfs": {"metadata": {"name": "cvmfs", "labels": labels(OLD, "triton")}},
        **{
            f"{DEPLOYMENTS}/{owner}-{part}": pool(owner, part, 3 if part == "triton" else 1)
            for owner in (OLD, NEW)
            for part in ("envoy", "triton")
        },
    }
    for place, item in found.items():
        if item["metadata"]["name"].startswith(OLD) and "/pods/" not in place:
            item["metadata"]["annotations"] = helms(OLD)
    return copy.deepcopy(found)


class Tried(Takeover):
    """With Envoys that are told of instead of asked."""

    asked: list[str]
    left: list[int]
    # Connections that nobody uses.
    unused = 0
    silent = False
    server = "10.0.0.1"

    def _admin(self, pod: str, method: str, target: str) -> str | None:
        if self.silent:
            return None
        if method == "POST":
            self.asked.append(f"{pod} {target}")
            return "OK"
        if target == "/clusters":
            return f"auth_cluster::192.0.2.1:443::cx_active::0\ntriton_grpc_service::{self.server}:8001::cx_active::1\n"
        left = self.left.pop(0) if self.left else 0
        return f"http.admin.downstream_rq_active: 1\nhttp.ingress_grpc.downstream_rq_active: {left}\n" + (
            f"http.ingress_grpc.downstream_cx_active: {left * 2 + self.unused}\nlistener.x.downstream_cx_active: 7\n"
        )


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi(SCALED_OBJECT) as found:
        for place, item in scene().items():
            found.put(place, item)

        def lead() -> None:
            """What is behind the Service."""
            if SERVICE in found.objects:
                point = {"targetRef": {"name": f"{selected(found)}-envoy-1"}, "conditions": {"ready": True}}
                metadata = {"labels": {"kubernetes.io/service-name": OLD}}
                found.put(f"{SLICES}/{OLD}-1", {"metadata": metadata, "endpoints": [point]})

        found.controllers.append(lead)
        lead()
        yield found


def taken(api: FakeApi, *, check: bool = False, left: tuple[int, ...] = (), **options: Any) -> Tried:
    wanted = Wanted(**{"namespace": "cms", "release": OLD, "old": OLD, "name": NEW, "drain_seconds": 0.0, **options})
    found = Tried(api.client(), lambda: None, wanted, check=check, sleep=lambda _seconds: None)  # type: ignore[arg-type,return-value]
    found.asked, found.left = [], list(left)
    return found


def selected(api: FakeApi) -> str:
    return str(api.objects[SERVICE]["spec"]["selector"]["app.kubernetes.io/instance"])


def test_there_and_back(api: FakeApi) -> None:
    before = copy.deepcopy(api.objects[SERVICE]["spec"])
    work = taken(api, left=(3, 0), drain_seconds=5.0, old_servers=1)
    work.take_over()
    assert selected(api) == NEW
    assert work.asked == [f"{OLD}-envoy-1 /healthcheck/fail"]
    assert work.outcome.changed
    assert not work.outcome.warnings
    # It was held, and went down only when nobody was left.
    patches = [change.body for change in api.changes if change.path.startswith(SCALERS)]
    assert [body["metadata"]["annotations"][PAUSED] for body in patches] == ["3", "1"]
    assert api.objects[f"{DEPLOYMENTS}/{OLD}-triton"]["spec"]["replicas"] == 1

    again = taken(api, old_servers=1)
    again.take_over()
    assert not again.outcome.changed

    back = taken(api)
    back.back()
    assert api.objects[SERVICE]["spec"] == before
    assert NOTE not in api.objects[SERVICE]["metadata"]["annotations"]
    assert back.asked == [f"{OLD}-envoy-1 /healthcheck/ok"]
    assert api.objects[f"{DEPLOYMENTS}/{OLD}-triton"]["spec"]["replicas"] == 3
    assert PAUSED not in api.objects[f"{SCALERS}/{OLD}-keda-so"]["metadata"]["annotations"]
    assert "restartedAt" in json.dumps(api.objects[f"{DEPLOYMENTS}/{NEW}-envoy"])
    nothing = taken(api)
    nothing.back()
    assert not nothing.outcome.changed


def test_clients_do_not_go_back_to_envoys_that_know_no_server(api: FakeApi) -> None:
    taken(api).take_over()
    work = taken(api, wait_seconds=0.0)
    work.server = "10.0.0.9"
    with pytest.raises(SupersonicError, match="The Envoys of sonic do not know its servers"):
        work.back()
    assert selected(api) == NEW


def test_an_autoscaler_that_was_paused_before_stays_so(api: FakeApi) -> None:
    api.objects[SCALER]["metadata"]["annotations"] = {PAUSED: "2"}
    taken(api).take_over()
    taken(api).back()
    assert api.objects[SCALER]["metadata"]["annotations"] == {PAUSED: "2"}


def paused(api: FakeApi) -> str | None:
    found: str | None = api.objects[SCALER]["metadata"]["annotations"].get(PAUSED)
    return found


def change_the_service(api: FakeApi) -> None:
    with api.changed(SERVICE) as live:
        live["spec"]["ports"][0]["nodePort"] = 30443


@pytest.mark.parametrize("meanwhile", [True, False])
def test_a_run_that_was_broken_off_leaves_no_pause_behind(api: FakeApi, meanwhile: bool) -> None:
    """Because the Service was changed meanwhile, or between the Service and the autoscaler."""
    if meanwhile:
        api.meanwhile("PATCH", SERVICE, lambda: change_the_service(api))
    else:
        api.fail("PATCH", SCALER, 422)
    with pytest.raises(SupersonicError, match="the resourceVersion is" if meanwhile else "refused as told"):
        taken(api).take_over()
    assert selected(api) == (OLD if meanwhile else NEW)
    # The change of the others is there.
    assert (api.objects[SERVICE]["spec"]["ports"][0].get("nodePort") == 30443) == meanwhile
    assert paused(api) is None
    taken(api).take_over()
    assert (selected(api), paused(api)) == (NEW, "3")
    # The same of the way back.
    api.meanwhile("PATCH", SERVICE, lambda: api.recreate(SERVICE))
    with pytest.raises(SupersonicError, match="the resourceVersion is"):
        taken(api).back()
    assert selected(api) == NEW
    taken(api).back()
    assert (selected(api), paused(api)) == (OLD, None)


def test_what_was_made_anew_under_a_name_of_the_release_is_not_removed(api: FakeApi) -> None:
    """Its pool, and a record of Helm by a helm that runs at the same time."""
    path = f"{SECRETS}/sh.helm.release.v1.{OLD}.v3"
    api.put(path, record(manifest("apps/v1", "Deployment", f"{OLD}-triton")))
    taken(api).take_over()
    for place in (POOL, path):
        api.meanwhile("DELETE", place, lambda place=place: api.recreate(place))
        with pytest.raises(SupersonicError, match="the uid is"):
            taken(api).finish()
        assert place in api.objects
        assert selected(api) == NEW
        # The next run sees what it removes.
    taken(api).finish()
    assert not {POOL, path} & set(api.objects)


def test_who_may_not_pause_the_autoscaler_changes_nothing(api: FakeApi) -> None:
    api.fail("PATCH", SCALER, 403, trial=True)
    with pytest.raises(SupersonicError):
        taken(api).take_over()
    assert api.changes == []


def test_the_port_of_the_service_stays_and_leads_to_ours(api: FakeApi) -> None:
    api.objects[SERVICE]["spec"]["ports"][0].update(port=443, targetPort=9000, nodePort=30443)
    taken(api).take_over()
    assert api.objects[SERVICE]["spec"]["ports"][0] == {
        "name": "grpc",
        "port": 443,
        "targetPort": 8001,
        "nodePort": 30443,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda all: all.pop(SERVICE), "There is no Service sonic in the namespace cms, by which clients"),
        (lambda all: all.pop(f"{SERVICES}/{NEW}"), "There is no Service site-cms of the instance"),
        (
            lambda all: all[f"{DEPLOYMENTS}/{NEW}-envoy"]["status"].update(readyReplicas=0),
            "0 of 1 pods of site-cms-envoy are ready",
        ),
        (
            lambda all: all[f"{DEPLOYMENTS}/{NEW}-triton"]["status"].update(readyReplicas=0),
            "0 of 3 pods of site-cms-triton are ready",
        ),
        (
            lambda all: all[f"{SERVICES}/{NEW}"]["spec"]["ports"][0].update(appProtocol="https"),
            "speak TLS .https., but clients of the release come in the clear",
        ),
        (
            lambda all: all[SERVICE]["spec"].update(selector={"app": "nginx"}),
            "does not lead to Envoys of sonic, as one of the chart does",
        ),
    ],
)
def test_what_is_refused_before_anything_changes(api: FakeApi, change: Any, message: str) -> None:
    change(api.objects)
    with pytest.raises(SupersonicError, match=message):
        taken(api).take_over()
    if SERVICE in api.objects:
        plan = taken(api)
        plan.plan()
        assert re.search(message, " ".join(plan.outcome.problems))
    assert api.changes == []


def test_the_same_name_is_refused(api: FakeApi) -> None:
    with pytest.raises(SupersonicError, match="needs another name: supersonic_name"):
        taken(api, name=OLD)


@pytest.mark.parametrize("action", ["plan", "take_over"])
def test_nothing_is_changed_by_a_plan_or_a_check(api: FakeApi, action: str) -> None:
    work = taken(api, check=True)
    getattr(work, action)()
    assert api.changes == []
    assert work.asked == []
    text = "\n".join(work.outcome.steps)
    assert "the Service sonic to the Envoys of site-cms" in text
    if action == "plan":
        for part in (
            "sonic.cms.svc, 192.0.2.10, the Ingress sonic-ingress-grpc for sonic.example.org",
            "servers: 3 of 3 ready of sonic, 3 of 3 ready of site-cms",
            "The autoscaler sonic-keda-so: it would be paused",
            "sonic asks for 3 nvidia.com/gpu.",
        ):
            assert part in text


def test_requests_that_are_left_keep_the_servers_and_the_release(api: FakeApi) -> None:
    work = taken(api, left=(2,) * 9, old_servers=0)
    work.take_over()
    assert (work.outcome.requests, work.outcome.connections) == (2, 4)
    assert api.objects[f"{DEPLOYMENTS}/{OLD}-triton"]["spec"]["replicas"] == 3
    assert "4 connections and 2 requests are left" in work.outcome.warnings[0]
    with pytest.raises(SupersonicError, match=r"2 requests are on their way at the old Envoys\. Nothing was removed"):
        taken(api, left=(2,)).finish()


@pytest.mark.parametrize("options", [{"unused": 5}, {"silent": True}, {"hidden": True}])
def test_servers_stay_while_clients_may_be_left(api: FakeApi, options: dict[str, Any]) -> None:
    """An idle client asks the Envoy that it knows, and one that does not say may have any."""
    if options.pop("hidden", False):
        del api.objects[f"{PODS}/{OLD}-envoy-1"]["metadata"]["labels"]
    work = taken(api, old_servers=0)
    for name, value in options.items():
        setattr(work, name, value)
    work.take_over()
    assert api.objects[POOL]["spec"]["replicas"] == 3
    text = "\n".join(work.outcome.warnings)
    assert "The old servers stay as many as they are" in text
    assert ("5 connections and 0 requests are left" in text) == bool(options.get("unused"))
    assert ("It is not known after 0 s whether clients are left" in text) == (not options.get("unused"))
    again = taken(api, old_servers=0)
    if options:
        again.take_over()
        assert api.objects[POOL]["spec"]["replicas"] == 0


def test_a_release_is_not_removed_under_clients_that_nobody_counts(api: FakeApi) -> None:
    taken(api).take_over()
    work = taken(api)
    work.silent = True
    before = list(api.changes)
    with pytest.raises(SupersonicError, match=r"sonic-envoy-1 did not say.*Nothing was removed.*migrate_ignore_silent"):
        work.finish()
    assert api.changes == before
    told = taken(api, ignore_silent=True)
    told.silent = True
    told.finish()
    assert "did not say" in told.outcome.warnings[0]
    assert POOL not in api.objects


def test_connections_that_end_with_the_release_are_told(api: FakeApi) -> None:
    taken(api).take_over()
    work = taken(api)
    work.unused = 2
    work.finish()
    assert "2 connections without a request are left" in work.outcome.warnings[0]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (None, None),
        ("", None),
        ("http.admin.downstream_rq_active: 1\nhttp.admin.downstream_cx_active: 1", None),
        ("http.a.downstream_rq_active: 1", None),
        ("http.a.downstream_rq_active: 1\nhttp.a.downstream_cx_active: 2\nlistener.b.downstream_cx_active: 9", (1, 2)),
        ("\n".join(f"http.{a}.downstream_{b}_active: 2" for a in "ab" for b in ("rq", "cx")), (4, 4)),
    ],
)
def test_what_an_envoy_does_not_say_is_not_nothing(text: str | None, counts: tuple[int, int] | None) -> None:
    assert takeover.client_counts(text) == counts


def record(*documents: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps({"manifest": yaml.safe_dump_all(documents), "config": {"password": "hunter2"}})
    packed = base64.b64encode(base64.b64encode(gzip.compress(text.encode()))).decode()
    name = f"sh.helm.release.v1.{OLD}.v3"
    found = {"owner": "helm", "name": OLD, "version": "3", "status": "deployed"}
    return {"metadata": {"name": name, "uid": "r", "labels": found}, "data": {"release": packed}}


def manifest(version: str, kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}}


@pytest.mark.parametrize("recorded", [True, False])
def test_a_release_is_removed_and_its_address_kept(api: FakeApi, recorded: bool) -> None:
    if recorded:
        api.put(
            f"{SECRETS}/sh.helm.release.v1.{OLD}.v3",
            record(
                manifest("v1", "Service", OLD),
                manifest("v1", "Service", f"{OLD}-triton"),
                manifest("apps/v1", "Deployment", f"{OLD}-envoy"),
                manifest("apps/v1", "Deployment", f"{OLD}-triton"),
                manifest("v1", "PersistentVolumeClaim", "cvmfs"),
                manifest("keda.sh/v1alpha1", "ScaledObject", f"{OLD}-keda-so"),
                manifest("networking.k8s.io/v1", "Ingress", f"{OLD}-ingress-grpc"),
                manifest("v1", "ConfigMap", "kept", annotations={"helm.sh/resource-policy": "keep"}),
            ),
        )
    with pytest.raises(SupersonicError, match=r"still leads to the release.*Nothing was removed\. Run take_over first"):
        taken(api).finish()
    taken(api).take_over()
    work = taken(api)
    work.finish()
    gone = [change.path for change in api.changes if change.method == "DELETE"]
    # Who scales goes first.
    assert gone[0] == f"{SCALERS}/{OLD}-keda-so"
    expected = {f"{DEPLOYMENTS}/{OLD}-envoy", f"{DEPLOYMENTS}/{OLD}-triton", f"{SERVICES}/{OLD}-triton", gone[0]}
    assert set(gone) == expected | ({f"{SECRETS}/sh.helm.release.v1.{OLD}.v3"} if recorded else set())
    for place in (SERVICE, f"{INGRESSES}/{OLD}-ingress-grpc"):
        kept = api.objects[place]["metadata"]
        assert kept["labels"]["app.kubernetes.io/instance"] == NEW
        assert "meta.helm.sh/release-name" not in kept["annotations"]
        # By which a teardown of the instance knows it.
        assert json.loads(kept["annotations"][NOTE])["finished"]
    assert selected(api) == NEW
    assert "hunter2" not in str(work.outcome)

    again = taken(api)
    again.finish()
    assert not again.outcome.changed
    with pytest.raises(SupersonicError, match="there is no way back"):
        taken(api).back()
    last = taken(api, keep_address=False)
    last.finish()
    assert last.outcome.changed
    assert SERVICE not in api.objects
    assert f"{INGRESSES}/{OLD}-ingress-grpc" not in api.objects
    assert f"{SERVICES}/{NEW}" in api.objects
    taken(api).finish()


@pytest.mark.parametrize("recorded", [True, False])
def test_what_is_of_another_release_is_left(api: FakeApi, recorded: bool) -> None:
    """Its objects have the labels, or the name, of the one that goes."""
    other, unmarked = f"{DEPLOYMENTS}/{OLD}-grafana", f"/api/v1{NS}/configmaps/{OLD}-config"
    ingress = f"{INGRESSES}/{OLD}-ingress-grpc"
    for place, notes in ((other, helms("dashboards")), (unmarked, {})):
        api.put(place, {"metadata": {"labels": labels(OLD, "x"), "annotations": notes}})
    api.objects[ingress]["metadata"]["annotations"] = helms("dashboards")
    if recorded:
        api.put(
            f"{SECRETS}/sh.helm.release.v1.{OLD}.v3",
            record(
                manifest("apps/v1", "Deployment", f"{OLD}-envoy"),
                manifest("apps/v1", "Deployment", f"{OLD}-grafana"),
                manifest("v1", "ConfigMap", f"{OLD}-config"),
            ),
        )
    taken(api).take_over()
    work = taken(api, keep_address=False)
    work.finish()
    assert other in api.objects
    assert unmarked in api.objects
    assert ingress in api.objects
    assert f"{DEPLOYMENTS}/{OLD}-envoy" not in api.objects
    assert SERVICE not in api.objects
    text = "\n".join(work.outcome.warnings)
    assert f"Deployment/{OLD}-grafana" in text
    assert f"ConfigMap/{OLD}-config" in text


def test_a_helm_that_wrote_its_label_alone_is_known_by_its_record(api: FakeApi) -> None:
    del api.objects[POOL]["metadata"]["annotations"]
    api.objects[POOL]["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "Helm"
    api.put(f"{SECRETS}/sh.helm.release.v1.{OLD}.v3", record(manifest("apps/v1", "Deployment", f"{OLD}-triton")))
    taken(api).take_over()
    taken(api).finish()
    assert POOL not in api.objects


def test_records_that_may_not_be_read_are_told(api: FakeApi) -> None:
    taken(api).take_over()
    api.may = lambda _verb, resource, _space: resource not in ("secrets", "roles", "rolebindings")
    work = taken(api)
    work.finish()
    text = "\n".join(work.outcome.warnings)
    assert "Helm still knows the release sonic" in text
    assert "We may not look at Role.rbac.authorization.k8s.io, so that it is left." in text


def test_a_record_that_cannot_be_read_is_told() -> None:
    broken = {"metadata": {"name": "sh.helm.release.v1.a.v1"}, "data": {"release": "YWJj"}}
    with pytest.raises(SupersonicError, match=r"Helm's record sh\.helm\.release\.v1\.a\.v1 cannot be read"):
        list(takeover.recorded(broken, "cms"))
