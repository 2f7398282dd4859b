# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole instance as on OpenShift: behind its login, and as a user that the cluster chooses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.tests.harness import openshift
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object, removed
from ansible_collections.fastml.supersonic.tests.harness.playbooks import Instance, Run

pytestmark = pytest.mark.thorough

NAME, USER, PASSWORD = "shifted", "robot", "a-planted-password-3c7f"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


@dataclass
class Life:
    """What became of the instance."""

    kubeconfig: Path
    site: openshift.OpenShift
    log: list[tuple[str, list[str]]]
    runs: dict[str, Run] = field(default_factory=dict)
    pods: list[Object] = field(default_factory=list)
    # After each run.
    logged_in: dict[str, bool] = field(default_factory=dict)


def own_address(cluster: Cluster) -> str:
    """Where the API server finds this machine."""
    host = urlsplit(cluster.api.connection.host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host.hostname, host.port))
        return str(probe.getsockname()[0])


@pytest.fixture(scope="module")
def life(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("openshift")
    kubeconfig = folder / "home/kubeconfig"
    (folder / "webhook").mkdir()
    upstream = Api(connection({"kubeconfig": cluster.kubeconfig}))
    with (
        openshift.openshift(folder, {USER: PASSWORD}, upstream) as site,
        openshift.constraint(folder / "webhook", own_address(cluster)) as constraint,
    ):
        variables = {
            "supersonic_openshift_api": site.api,
            "supersonic_openshift_username": USER,
            "supersonic_openshift_password": PASSWORD,
            "supersonic_openshift_ca_certificates": site.authorities,
            "supersonic_kubeconfig": str(kubeconfig),
            "supersonic_arbitrary_user": True,
            "supersonic_create_namespace": False,
        }
        instance = Instance(cluster, folder, NAME, variables)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": instance.namespace, "labels": labels}}
        cluster.create("/api/v1/namespaces", body)
        found = Life(kubeconfig, site, constraint.log)

        def run(step: str, playbook: str, *arguments: str, **extra: object) -> None:
            found.runs[step] = instance.run(playbook, *arguments, **extra)
            found.logged_in[step] = kubeconfig.exists() or bool(site.tokens)

        try:
            with removed(cluster, f"{WEBHOOKS}/{instance.namespace}"):
                cluster.create(WEBHOOKS, constraint.configuration(instance.namespace, instance.namespace))
                run("check", "site.yml", "--check")
                run("applied", "site.yml", "-vvv", "--diff")
                found.pods = [pod for part in ("triton", "envoy") for pod in instance.pods(part).values()]
                run("again", "site.yml")
                run("verified", "playbooks/verify.yml")
                run("torn down", "playbooks/teardown.yml", teardown_models=True)
            yield found
        finally:
            instance.remove()


def test_an_instance_lives_behind_a_login(life: Life) -> None:
    for step, done in life.runs.items():
        assert done.code == 0, f"{step}: {done.output}"
    assert life.runs["check"].changed(NAME) == life.runs["applied"].changed(NAME) == 4
    assert life.runs["again"].changed(NAME) == 0
    assert "11 of 11" in life.runs["verified"].output


def test_every_run_logs_in_and_out(life: Life) -> None:
    assert len(life.site.given) == len(life.runs)
    assert life.logged_in == dict.fromkeys(life.runs, False)


def test_nobody_sees_password_or_token(life: Life) -> None:
    for secret in (PASSWORD, *life.site.given):
        for done in life.runs.values():
            assert secret not in done.output


def test_pods_run_as_the_user_that_the_cluster_has_chosen(life: Life) -> None:
    """Those that publish and try models are let in too, or nothing would be served."""
    assert [entry for entry in life.log if entry[1]] == []
    made = " ".join(name for name, _wrong in life.log)
    assert "publish" in made
    assert len(life.log) > len(life.pods)
    for pod in life.pods:
        spec = pod["spec"]
        assert spec["securityContext"]["fsGroup"] == openshift.FIRST_USER
        for container in spec["containers"]:
            assert container["securityContext"]["runAsUser"] == openshift.FIRST_USER
            assert "runAsGroup" not in container["securityContext"]
