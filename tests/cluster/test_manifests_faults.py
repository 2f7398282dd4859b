# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""manifests: missing rights, bad credentials, a server that stumbles, a run that is killed."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.tests.harness.faults import FaultyProxy
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import (
    Cluster,
    actions,
    config_map,
    secret,
    service,
    workload,
)
from ansible_collections.fastml.supersonic.tests.harness.processes import until

EVERYTHING = {"apiGroups": ["", "apps", "rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["*"]}


def limited(*resources: str, verbs: tuple[str, ...] = ("*",), group: str = "") -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


# ---- rights


def test_missing_right_is_named(cluster: Cluster, namespace: str, ca_file: str) -> None:
    token = cluster.user(namespace, "poor", limited("configmaps"), limited("secrets", verbs=("get", "list")))
    options = cluster.as_user(token, ca_file)
    result = cluster.manifests(namespace, config_map(), secret("s", a="some-value"), **options)
    user = f"system:serviceaccount:{namespace}:poor"
    assert (
        f'Secret/s: user "{user}" lacks the permission to patch secrets in namespace "{namespace}". '
        'Ask for a Role with the verb "patch" on "secrets". Nothing of this set was changed.'
    ) in result["msg"]
    assert cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/settings") is None


def test_user_of_one_namespace_can_do_everything_there(cluster: Cluster, namespace: str, ca_file: str) -> None:
    """Without rights on the cluster: no namespaces, no storage classes, no autoscalers, no kinds to be read."""
    options = cluster.as_user(cluster.user(namespace, "owner", EVERYTHING), ca_file)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    wanted = [binding, role, workload(), service("web"), config_map(), secret("s", a="some-value")]
    # The server refuses a binding to a role that is not there, even as a dry-run.
    predicted = cluster.manifests(namespace, *wanted, check=True, **options)
    applied = cluster.manifests(namespace, *wanted, wait=True, wait_timeout=60, **options)
    assert not applied["failed"], applied
    assert actions(predicted) == actions(applied)
    assert not cluster.manifests(namespace, *wanted, wait=True, **options)["changed"]
    gone = cluster.manifests(namespace, state="absent", wait=True, wait_timeout=60, **options)
    assert not gone["failed"], gone


def test_forbidden_namespace(cluster: Cluster, namespace: str, ca_file: str) -> None:
    token = cluster.user(namespace, "owner", EVERYTHING)
    result = cluster.manifests("kube-system", config_map(), **cluster.as_user(token, ca_file))
    assert "lacks the permission to" in result["msg"]
    assert 'in namespace "kube-system"' in result["msg"]


# ---- reaching the server


def test_wrong_token(cluster: Cluster, namespace: str, ca_file: str) -> None:
    for token in ("nonsense", "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjF9.c2ln"):
        result = cluster.manifests(namespace, config_map(), **cluster.as_user(token, ca_file))
        assert "does not accept the credentials of host https://" in result["msg"]
        assert "Log in again" in result["msg"]
        assert token not in str(result)


def test_nobody_listens(cluster: Cluster) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"https://127.0.0.1:{free.getsockname()[1]}"
        result = cluster.manifests("x", config_map(), host=address, api_key="some-token")
    assert result["msg"] == f"The Kubernetes API at {address} (host {address}) cannot be reached: connection refused."


def test_name_that_does_not_resolve(cluster: Cluster) -> None:
    result = cluster.manifests("x", config_map(), host="https://no-such-host.invalid:6443", api_key="some-token")
    assert "the name no-such-host.invalid cannot be resolved" in result["msg"]


def test_untrusted_certificate(cluster: Cluster, tmp_path: Any) -> None:
    system = next(iter(ssl.create_default_context().get_ca_certs(binary_form=True)))
    other = tmp_path / "other.crt"
    other.write_text(ssl.DER_cert_to_PEM_cert(system))
    result = cluster.manifests(
        "x", config_map(), host=cluster.api.connection.host, api_key="some-token", ca_cert=str(other)
    )
    assert "has a certificate that is not trusted" in result["msg"]
    assert "Set ca_cert" in result["msg"]


def test_certificates_need_not_be_checked(cluster: Cluster, namespace: str) -> None:
    token = cluster.user(namespace, "owner", EVERYTHING)
    host = cluster.api.connection.host
    assert not cluster.manifests(namespace, config_map(), host=host, api_key=token, validate_certs=False)["failed"]


# ---- a server that stumbles


class Stumble:
    """Does something else with some requests, a few times."""

    def __init__(self, times: int, what: Any, *, method: str = "PATCH", containing: str = "/") -> None:
        self.left, self.what, self.method, self.containing = times, what, method, containing

    def __call__(self, method: str, path: str) -> Any:
        if self.left and method == self.method and self.containing in path:
            self.left -= 1
            return self.what
        return None


@pytest.mark.parametrize(
    ("what", "times"),
    [((429, 1), 2), ((503, None), 3), ((500, None), 2), ("drop", 2)],
    ids=["429", "503", "500", "drop"],
)
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_passing_fault_is_survived(cluster: Cluster, namespace: str, method: str, what: Any, times: int) -> None:
    fault = Stumble(times, what, method=method)
    with FaultyProxy(cluster.api.connection, fault) as proxy:
        result = cluster.manifests(namespace, config_map(), service("web"), host=proxy.url)
        assert not result["failed"], result
        assert fault.left == 0
        assert not cluster.manifests(namespace, config_map(), service("web"), host=proxy.url)["changed"]


def test_retry_after_is_kept(cluster: Cluster, namespace: str) -> None:
    with FaultyProxy(cluster.api.connection, Stumble(1, (429, 2), containing="dryRun")) as proxy:
        started = time.monotonic()
        assert not cluster.manifests(namespace, config_map(), host=proxy.url)["failed"]
        assert time.monotonic() - started >= 2


def test_lasting_fault_ends(cluster: Cluster, namespace: str) -> None:
    with FaultyProxy(cluster.api.connection, Stumble(1000, (503, None), containing="/configmaps/settings")) as proxy:
        result = cluster.manifests(namespace, config_map(), host=proxy.url)
        assert "ConfigMap/settings: the API server answered PATCH with 503: busy (tried " in result["msg"]
        # Longer and longer apart, or there would be hundreds of them.
        asked = [path for method, path in proxy.requests if method == "PATCH" and "/configmaps/settings" in path]
        assert 2 < len(asked) < 30, len(asked)


def test_watch_that_breaks_goes_on(cluster: Cluster, namespace: str) -> None:
    # Ready long after the last watch has broken, so that only one that holds can tell.
    late = workload(minReadySeconds=8)
    with FaultyProxy(cluster.api.connection, Stumble(4, "drop", method="GET", containing="watch=1")) as proxy:
        result = cluster.manifests(namespace, late, host=proxy.url, wait=True, wait_timeout=60)
        assert not result["failed"], result
        assert sum("watch=1" in path for _method, path in proxy.requests) > 4


def test_watch_that_has_expired_goes_on(cluster: Cluster, namespace: str) -> None:
    with FaultyProxy(cluster.api.connection, Stumble(3, (410, None), method="GET", containing="watch=1")) as proxy:
        result = cluster.manifests(namespace, workload(), host=proxy.url, wait=True, wait_timeout=60)
        assert not result["failed"], result


def test_failure_half_way_tells_what_was_done(cluster: Cluster, namespace: str) -> None:
    def fault(method: str, path: str) -> Any:
        return (404, None) if method == "PATCH" and "/services/" in path and "dryRun" not in path else None

    with FaultyProxy(cluster.api.connection, fault) as proxy:
        result = cluster.manifests(namespace, config_map(), service("web"), host=proxy.url)
    assert result["failed"]
    assert result["changed"]
    assert actions(result) == {"ConfigMap/set-applyset": "created", "ConfigMap/settings": "created"}
    # Whatever comes next finds what was left.
    assert actions(cluster.manifests(namespace, service("web")))["ConfigMap/settings"] == "pruned"


# ---- a run that is killed


@pytest.mark.parametrize("step", ["/configmaps/set-applyset", "/configmaps/one", "/services/web", "DELETE"])
def test_killed_run_leaves_nothing_behind(cluster: Cluster, namespace: str, step: str) -> None:
    """Killed in the middle of any step: the next run, or taking the set out, finds everything."""
    cluster.manifests(namespace, config_map("zero"))

    def fault(method: str, path: str) -> Any:
        hit = method == "DELETE" if step == "DELETE" else method == "PATCH" and step in path and "dryRun" not in path
        return 30.0 if hit else None

    with FaultyProxy(cluster.api.connection, fault) as proxy:
        process = cluster.start_manifests(namespace, config_map("one"), service("web"), host=proxy.url)

        def stuck() -> bool:
            return any(fault(method, path) for method, path in proxy.requests)

        until(stuck)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    gone = cluster.manifests(namespace, state="absent", wait=True, wait_timeout=30)
    assert not gone["failed"], gone
    left = [
        item["metadata"]["name"]
        for plural in ("configmaps", "services")
        for item in cluster.api.list(f"/api/v1/namespaces/{namespace}/{plural}", plural)
        if item["metadata"]["name"] != "kube-root-ca.crt"
    ]
    assert left == []
