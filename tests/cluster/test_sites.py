# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories of all sites, in one run on the real cluster, by somebody with the Role that preflight prints for
each of them in its namespace, and no other rights.

What a site has already is there: Prometheus in a namespace of its own, KEDA, a class and claims of CVMFS with the paths
that the experiments have there, ingress classes, labels of nodes, and accelerators as a number that the node tells. An
inventory beside those of the sites (`overlay`) replaces what cannot be here, and switches off what docs/sites.md says.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.checks import allowed
from ansible_collections.fastml.supersonic.plugins.module_utils._preflight.rbac import rights, rules
from ansible_collections.fastml.supersonic.tests.harness.gateway import KEY, key_set, token
from ansible_collections.fastml.supersonic.tests.harness.images import have_image
from ansible_collections.fastml.supersonic.tests.harness.keda import Keda
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object, config_map, removed
from ansible_collections.fastml.supersonic.tests.harness.models import golden, write_golden, write_model
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.node import mounted_in_node
from ansible_collections.fastml.supersonic.tests.harness.playbooks import (
    CLONE,
    LOCAL,
    Run,
    asked_of_clusters,
    run_playbook,
)
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.prometheus import IMAGE
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import locked

INVENTORIES = CLONE / "inventories"
SITES = ("nrp", "geddes", "anvil", "uchicago")
EXPERIMENTS = {
    "nrp-cms": "cms",
    "nrp-atlas": "atlas",
    "nrp-icecube": "icecube",
    "geddes-cms": "cms",
    "anvil-cms": "cms",
    "anvil-ligo": "ligo",
    "uchicago-atlas": "atlas",
}
# What an operator changes later: servers, endpoints, limits, what observes, and a component that is given up. That of
# Geddes stays as it is.
CHANGES: dict[str, dict[str, Any]] = {
    "nrp-cms": {"triton_pod_annotations": {"example.org/season": "2027"}, "autoscaler_max_replicas": 50},
    "nrp-atlas": {"envoy_server_wait": 300},
    "nrp-icecube": {
        "envoy_service_annotations": {"example.org/contact": "icecube"},
        "grafana_resources": {key: {"cpu": "200m", "memory": "256Mi"} for key in ("requests", "limits")},
    },
    "anvil-cms": {"prometheus_retention": "20d", "triton_pod_disruption_budget": {}},
    "anvil-ligo": {"envoy_client_limits": {"offline": {"rate": 400}}, "vault_offline_token": "planted-anew-token-3d17"},
    "uchicago-atlas": {"grafana_state": "absent"},
}
TRITON = "docker.io/fastml/triton-local:2.51.0"
VALUES = [1.0, -2.5, 3.25, 4.0]
NODES = "/api/v1/nodes"
RBAC = "rbac.authorization.k8s.io"
# What the node is said to be, so that every instance finds it. It has one kind of accelerator, and NRP has several.
LABELS = {
    "topology.kubernetes.io/zone": "ucsd",
    "cms-af-prod": "true",
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.product": "NVIDIA-L4",
}
SECRETS = yaml.safe_load((INVENTORIES / "shared/vault-example.yml").read_text())


# ---- the models, where the experiments have them --------------------------------------------------------------------
def repositories(experiment: str) -> list[str]:
    """Their paths in CVMFS, or in the image."""
    variables = yaml.safe_load((INVENTORIES / f"shared/{experiment}.yml").read_text())
    paths = [item["path"] for item in variables["triton_model_repositories"]]
    return [re.sub(r"\{\{ (\w+) \}\}", lambda name: variables[name[1]], path) for path in paths]


def models(cvmfs: Path, requests: Path) -> None:
    """A model in each repository, and a golden request for each."""
    write_model(cvmfs / "ligo", "ligo0")
    write_golden(requests / "ligo", golden("ligo0", VALUES))
    for experiment in ("cms", "atlas", "icecube"):
        for number, path in enumerate(repositories(experiment)):
            name = "tglauch_classifier" if experiment == "icecube" else f"{experiment}{number}"
            folder = cvmfs / path.lstrip("/")
            write_model(folder, name)
            if experiment == "icecube":
                (folder / name / "1").rename(folder / name / "3")
            write_golden(requests / experiment, golden(name, VALUES))


# ---- what a site has -------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def node(cluster: Cluster) -> Iterator[str]:
    """The node, with labels and accelerators, which other tests give it too."""

    def accelerators(count: str | None) -> None:
        gpus = {"nvidia.com/gpu": count}
        cluster.patch(f"{NODES}/{name}/status", {"status": {"capacity": gpus, "allocatable": gpus}})

    found = cluster.api.list(NODES, "nodes")[0]["metadata"]
    name = found["name"]
    before = {label: found["labels"].get(label) for label in LABELS}
    cluster.patch(f"{NODES}/{name}", {"metadata": {"labels": LABELS}})
    try:
        accelerators("12")
        until(lambda: cluster.there(f"{NODES}/{name}")["status"]["allocatable"].get("nvidia.com/gpu") == "12")
        yield name
    finally:
        cluster.patch(f"{NODES}/{name}", {"metadata": {"labels": before}})
        accelerators(None)


def bound(cluster: Cluster, namespace: str, name: str, subject: tuple[str, str], rules: list[Object]) -> None:
    """Rights in a namespace for a service account of another one."""
    base = f"/apis/{RBAC}/v1/namespaces/{namespace}"
    version = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": name}}
    cluster.create(f"{base}/roles", {**version, "kind": "Role", "rules": rules})
    reference = {"apiGroup": RBAC, "kind": "Role", "name": name}
    subjects = [{"kind": "ServiceAccount", "namespace": subject[0], "name": subject[1]}]
    cluster.create(
        f"{base}/rolebindings", {**version, "kind": "RoleBinding", "roleRef": reference, "subjects": subjects}
    )


def prometheus(cluster: Cluster, namespace: str, watched: list[str]) -> str:
    """The site's Prometheus, which looks for pods in these namespaces; its address for everybody."""
    pods = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus"}}
    cluster.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    for name in watched:
        bound(cluster, name, "prometheus", (namespace, "prometheus"), pods)
    job = {
        "job_name": "pods",
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": watched}}],
        "relabel_configs": [
            {
                "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                "regex": "metrics|metrics-2",
                "action": "keep",
            },
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
        ],
    }
    configuration = {"global": {"scrape_interval": "2s", "scrape_timeout": "2s"}, "scrape_configs": [job]}
    cluster.create(
        f"/api/v1/namespaces/{namespace}/configmaps",
        config_map("prometheus", **{"prometheus.yml": json.dumps(configuration)}),
    )
    # By which network policies let it in.
    labels = {"app.kubernetes.io/name": "prometheus"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "prometheus", "labels": labels},
        "spec": {
            "serviceAccountName": "prometheus",
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "prometheus",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": [
                        "prometheus",
                        "--config.file=/etc/prometheus/prometheus.yml",
                        "--storage.tsdb.path=/data",
                    ],
                    "volumeMounts": [
                        {"name": "configuration", "mountPath": "/etc/prometheus"},
                        {"name": "data", "mountPath": "/data"},
                    ],
                }
            ],
            "volumes": [
                {"name": "configuration", "configMap": {"name": "prometheus"}},
                {"name": "data", "emptyDir": {}},
            ],
        },
    }
    cluster.create(f"/api/v1/namespaces/{namespace}/pods", pod)
    spec = {"type": "NodePort", "selector": labels, "ports": [{"port": 9090}]}
    made = cluster.create(
        f"/api/v1/namespaces/{namespace}/services",
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "prometheus"}, "spec": spec},
    )
    return f"http://{urlsplit(cluster.api.connection.host).hostname}:{made['spec']['ports'][0]['nodePort']}"


def cvmfs_claims(cluster: Cluster, stack: contextlib.ExitStack, folder: Path, namespaces: list[str]) -> None:
    """A claim `cvmfs` in each namespace, of a class `cvmfs`: a folder of the node that stands in for the mount."""
    classes, volumes = "/apis/storage.k8s.io/v1/storageclasses", "/api/v1/persistentvolumes"
    stack.enter_context(removed(cluster, f"{classes}/cvmfs"))
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "cvmfs"}}
    cluster.create(classes, {**kind, "provisioner": "cvmfs.csi.cern.ch", "volumeBindingMode": "Immediate"})
    size = {"accessModes": ["ReadOnlyMany"], "storageClassName": "cvmfs"}
    for namespace in namespaces:
        name = f"cvmfs-{namespace}"
        stack.enter_context(removed(cluster, f"{volumes}/{name}"))
        spec = {
            **size,
            "capacity": {"storage": "1Mi"},
            "hostPath": {"path": str(folder), "type": "Directory"},
            "claimRef": {"namespace": namespace, "name": "cvmfs"},
            "persistentVolumeReclaimPolicy": "Retain",
        }
        cluster.create(
            volumes, {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
        )
        claim = {**size, "volumeName": name, "resources": {"requests": {"storage": "1Mi"}}}
        cluster.create(
            f"/api/v1/namespaces/{namespace}/persistentvolumeclaims",
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "cvmfs"}, "spec": claim},
        )


def published(cluster: Cluster, namespace: str, source: Path, kubeconfig: Path) -> None:
    """The claim of LIGO's models, with a release that the operator has published."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    cluster.create(
        f"/api/v1/namespaces/{namespace}/persistentvolumeclaims",
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "ligo-models"}, "spec": claim},
    )
    store = {"type": "pvc", "namespace": namespace, "claim": "ligo-models"}
    theirs = {"kubeconfig": str(kubeconfig), "context": "anvil"}
    # Who authorizes learns of a Role a moment later.
    api = Api(connection(theirs))
    until(lambda: allowed(api, {"verb": "create", "resource": "pods/exec"}, namespace))
    result = run_module(
        "model_repository", {**theirs, "source": [str(source)], "store": store, "pod": {"image": TRITON}}
    )
    assert not result["failed"], result["msg"]


def ingress_classes(cluster: Cluster, stack: contextlib.ExitStack, *names: str) -> None:
    path = "/apis/networking.k8s.io/v1/ingressclasses"
    for name in names:
        stack.enter_context(removed(cluster, f"{path}/{name}"))
        kind = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": name}}
        cluster.create(path, {**kind, "spec": {"controller": f"example.org/{name}"}})


def roles(inventories: list[Path]) -> dict[str, list[Object]]:
    """The rules of the Role that preflight prints for each host."""
    asked = asked_of_clusters(inventories)
    return {host: rules(rights(found["permissions"])) for host, found in asked.items()}


def operator(cluster: Cluster, namespaces: dict[str, str], granted: dict[str, list[Object]], kubeconfig: Path) -> None:
    """Somebody with the Role of each instance in its namespace alone, and a kubeconfig with the contexts that the
    inventories name."""
    (first, home), *others = namespaces.items()
    given = cluster.user(home, "operator", *granted[first])
    for host, namespace in others:
        bound(cluster, namespace, "operator", (home, "operator"), granted[host])
    admin = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    (server,) = admin["clusters"]
    contexts = [
        {"name": name, "context": {"cluster": server["name"], "user": "operator"}}
        for name in ("nautilus", "geddes", "anvil", "af-uchicago")
    ]
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [server],
                "users": [{"name": "operator", "user": {"token": given}}],
                "contexts": contexts,
            }
        )
    )
    kubeconfig.chmod(0o600)


# ---- what cannot be here ---------------------------------------------------------------------------------------------
def overlay(folder: Path, namespaces: dict[str, str], requests: Path, prometheus_url: str) -> Path:
    """An inventory that is given after those of the sites, whose values override theirs."""
    small = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
    (folder / "host_vars").mkdir(parents=True)
    for host, experiment in EXPERIMENTS.items():
        variables: dict[str, Any] = {
            # Images that this cluster has, on a node of two cores. Grafana's is nowhere to be had.
            "triton_image": TRITON,
            "prometheus_image": IMAGE,
            "triton_resources": {**small, "requests": {"cpu": "10m", "memory": "256Mi"}},
            "triton_replicas": 1,
            # What NRP has rules for is smaller here than its rules allow; they are shown all the same.
            "preflight_tolerated": ["policy"],
            "envoy_image": "docker.io/fastml/envoy-local:1.40.0",
            "envoy_resources": small,
            "grafana_image_pull_policy": "Never",
            "grafana_wait": False,
            # Others may have namespaces of these names here. This site's Prometheus need not be spared.
            "supersonic_namespace": namespaces[host],
            "prometheus_scrape_interval": 2,
            # Its administrators have not added our rules.
            "verify_prometheus_rules": "never",
            # On a busy machine scrapes come late, and windows follow what is seen: another one in each run.
            "autoscaler_check_queries": False,
            # No ingress controller leads here from a public name.
            "verify_address": "",
            "verify_golden_directories": [str(requests / experiment)],
            "verify_report": str(folder / f"{host}.json"),
            # The node has accelerators of one kind.
            "gpu_products": ["NVIDIA-L4"],
            **{name: f"planted-{name}-9c1f" for name in SECRETS},
        }
        if not host.startswith("anvil-"):
            # Those have one each.
            variables["supersonic_prometheus_url"] = prometheus_url
        if experiment == "atlas":
            # Models that come with the image, where the image has them.
            variables |= {
                "triton_volumes": [{"name": "image", "persistentVolumeClaim": {"claimName": "cvmfs"}}],
                "triton_volume_mounts": [
                    {"name": "image", "mountPath": path, "subPath": path.lstrip("/")} for path in repositories("atlas")
                ],
            }
        if experiment == "icecube":
            # The keys of its Keycloak, as this test has made them.
            realm = yaml.safe_load((INVENTORIES / "shared/icecube.yml").read_text())["icecube_realm"]
            variables["envoy_jwt_issuers"] = [{"issuer": realm, "audiences": ["icesonic"], "jwks": key_set(one=KEY)}]
        (folder / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump(variables))
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(EXPERIMENTS)}}))
    return folder


def inventories(overlay: Path) -> list[Path]:
    """Those of a run."""
    return [*(INVENTORIES / site for site in SITES), overlay]


@dataclass
class Sites:
    """What happened, step by step."""

    cluster: Cluster
    overlay: Path
    kubeconfig: Path
    namespaces: dict[str, str]
    runs: dict[str, Run] = field(default_factory=dict)

    def change(self) -> None:
        for host, variables in CHANGES.items():
            file = self.overlay / "host_vars" / f"{host}.yml"
            file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | variables))

    def run(self, step: str, *arguments: str) -> None:
        self.runs[step] = self.play(step, "site.yml", *arguments)

    def play(self, step: str, playbook: str, *arguments: str) -> Run:
        first, *others = inventories(self.overlay)
        more = [argument for inventory in others for argument in ("-i", str(inventory))]
        environment = {"KUBECONFIG": str(self.kubeconfig)}
        done = run_playbook(playbook, first, *more, *arguments, environment=environment, seconds=1500)
        (self.overlay.parent / f"{step.replace(' ', '-')}.log").write_text(done.output)
        assert done.code == 0, f"{step}: {done.output[-4000:]}"
        return done


pytestmark = [pytest.mark.alone, pytest.mark.thorough]


@pytest.fixture(scope="module")
def sites(cluster: Cluster, keda: Keda, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    del keda
    folder = tmp_path_factory.mktemp("sites")
    cvmfs = folder / "cvmfs"
    models(cvmfs, folder / "requests")
    have_image(cluster, IMAGE, "prometheus-local")
    namespaces = {host: cluster.new_namespace() for host in EXPERIMENTS}
    monitoring = cluster.new_namespace()
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [cluster.remove_namespace(name) for name in (*namespaces.values(), monitoring)])
        # What appears below it later appears in servers too, as in CVMFS.
        stack.enter_context(mounted_in_node(cvmfs, cvmfs, shared=True))
        stack.enter_context(locked(LOCAL / "accelerators.lock"))
        stack.enter_context(node(cluster))
        ingress_classes(cluster, stack, "haproxy", "public", "nginx")
        cvmfs_claims(cluster, stack, cvmfs, list(namespaces.values()))
        url = prometheus(cluster, monitoring, list(namespaces.values()))
        beside = overlay(folder / "overlay", namespaces, folder / "requests", url)
        operator(cluster, namespaces, roles(inventories(beside)), folder / "kubeconfig")
        published(cluster, namespaces["anvil-ligo"], cvmfs / "ligo", folder / "kubeconfig")
        found = Sites(cluster, beside, folder / "kubeconfig", namespaces)
        found.run("predicted", "--check", "--diff")
        found.run("deployed", "--diff")
        found.change()
        found.run("predicted change", "--check", "--diff")
        found.run("changed", "--diff")
        found.run("again", "--check", "--diff")
        yield found


def changes(run: Run) -> set[tuple[str, str]]:
    """Task and host of everything that has changed, or would."""
    found = set()
    for task in re.split(r"^TASK \[", run.output, flags=re.M)[1:]:
        name = task.partition("]")[0]
        found |= {(name, host) for host in re.findall(r"^changed: \[([^\]]+)\]", task, re.M)}
    return found


def objects(run: Run) -> list[str]:
    """Every line of every difference, but for what the server itself chooses, and the salt of what is hidden."""
    lines = re.findall(r"^[+-].*$", run.output, re.M)
    chosen = re.compile(r"(clusterIP|nodePort|uid|resourceVersion|creationTimestamp)|^. +- \d+\.\d+\.\d+\.\d+$")
    return sorted(re.sub(r"\(hidden, \w+\)", "(hidden)", line) for line in lines if not chosen.search(line))


def test_everything_is_deployed_and_proved(sites: Sites) -> None:
    for host, experiment in EXPERIMENTS.items():
        targets = json.loads((sites.overlay / f"{host}.json").read_text())["targets"]
        asked = {model for target in targets for model in target["models"]}
        there = {path.name for path in (sites.overlay.parent / "requests" / experiment).iterdir()}
        assert asked == there, host
        assert not any(target["failed"] for target in targets), host
        # A server and two Envoys each.
        assert len(targets) >= 3, host


@pytest.mark.parametrize("hosts", [["predicted", "deployed", *EXPERIMENTS], ["predicted change", "changed", *CHANGES]])
def test_what_was_predicted_came_true(sites: Sites, hosts: list[str]) -> None:
    """On empty namespaces, where nothing but claims is there, and on instances that run."""
    check, real, *hosts = hosts
    predicted, deployed = sites.runs[check], sites.runs[real]
    assert changes(predicted) == changes(deployed)
    assert {host for _task, host in changes(deployed)} == set(hosts)
    assert objects(predicted) == objects(deployed)
    assert len(objects(deployed)) > 2 * len(hosts)


def test_nothing_is_left_to_change(sites: Sites) -> None:
    assert changes(sites.runs["again"]) == set()


def test_what_was_changed_is_there(sites: Sites) -> None:
    cluster, apps = sites.cluster, "/apis/apps/v1/namespaces"
    pods = cluster.there(f"{apps}/{sites.namespaces['nrp-cms']}/deployments/nrp-cms-triton")["spec"]["template"]
    assert pods["metadata"]["annotations"]["example.org/season"] == "2027"
    given_up = sites.namespaces["uchicago-atlas"]
    assert not cluster.get(f"{apps}/{given_up}/deployments/uchicago-atlas-grafana")
    assert cluster.get(f"{apps}/{given_up}/deployments/uchicago-atlas-triton")
    path = f"/apis/policy/v1/namespaces/{sites.namespaces['anvil-cms']}/poddisruptionbudgets"
    budgets = cluster.api.list(path, "poddisruptionbudgets")
    assert [item["metadata"]["name"] for item in budgets] == ["anvil-cms-envoy"]


def test_the_sites_own_are_left_alone_and_nothing_secret_is_shown(sites: Sites) -> None:
    for run in sites.runs.values():
        assert "planted-" not in run.output
        assert {host: run.recap[host]["changed"] for host in SITES} == dict.fromkeys(SITES, 0)


def test_models_are_listed_and_kept_by_who_has_the_role(sites: Sites, tmp_path: Path) -> None:
    """Of the instance whose claim somebody else makes."""
    listed = sites.play("models", "playbooks/models.yml", "--limit", "anvil-ligo")
    kept = sites.play("backup", "playbooks/backup.yml", "--limit", "anvil-ligo", "-e", f"backup_directory={tmp_path}")
    (release,) = (path.name for path in (tmp_path / "anvil-ligo/models/releases").iterdir())
    assert release[:12] in listed.output
    assert changes(kept) != set()


def conditions(item: Object) -> set[tuple[str, str]]:
    return {(one["type"], one["status"]) for one in item["status"].get("conditions", [])}


def test_servers_are_where_the_sites_want_them(sites: Sites) -> None:
    """What comes from the sites' files, at the live objects."""
    cluster = sites.cluster
    for host, namespace in sites.namespaces.items():
        pods = cluster.there(f"/apis/apps/v1/namespaces/{namespace}/deployments/{host}-triton")["spec"]["template"]
        (server,) = pods["spec"]["containers"]
        assert server["resources"]["limits"]["nvidia.com/gpu"] == "1"
        ingress = cluster.there(f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{host}-envoy")["spec"]
        assert (
            ingress["rules"][0]["host"]
            == {
                "nrp-cms": "sonic-cms.nrp-nautilus.io",
                "nrp-atlas": "atlas.nrp-nautilus.io",
                "nrp-icecube": "icesonic.nrp-nautilus.io",
                "geddes-cms": "sonic-cms.geddes.rcac.purdue.edu",
                "anvil-cms": "sonic-cms.anvilcloud.rcac.purdue.edu",
                "anvil-ligo": "sonic-ligo.anvilcloud.rcac.purdue.edu",
                "uchicago-atlas": "sonic-atlas.af.uchicago.edu",
            }[host]
        )
    limits = {
        "nrp-cms": (1, 50),
        "nrp-atlas": (0, 1),
        "nrp-icecube": (0, 1),
        "geddes-cms": (1, 11),
        "uchicago-atlas": (1, 4),
    }
    for host, expected in limits.items():
        scaler = f"/apis/keda.sh/v1alpha1/namespaces/{sites.namespaces[host]}/scaledobjects/{host}-triton"
        scaled = cluster.there(scaler)["spec"]
        assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == expected, host
        # KEDA has asked the site's Prometheus. On a busy machine an answer may be late for once.
        until(lambda path=scaler: ("Ready", "True") in conditions(cluster.there(path)), 180)
    balanced = cluster.there(f"/api/v1/namespaces/{sites.namespaces['geddes-cms']}/services/geddes-cms")
    assert balanced["spec"]["type"] == "LoadBalancer"
    assert balanced["metadata"]["annotations"]["metallb.universe.tf/address-pool"] == "geddes-private-pool"


def test_icecube_lets_in_who_has_a_token_of_its_realm(sites: Sites) -> None:
    """Beside the static one, by which the proof came in."""
    realm = yaml.safe_load((INVENTORIES / "shared/icecube.yml").read_text())["icecube_realm"]
    labels = {"app.kubernetes.io/instance": "nrp-icecube", "app.kubernetes.io/component": "envoy"}
    envoy = {"selector": {"namespace": sites.namespaces["nrp-icecube"], "labels": labels}}
    good = token(iss=realm, aud="icesonic")
    refused = {
        "another audience": token(iss=realm, aud="account"),
        "another issuer": token(iss="https://keycloak.example.org/realms/IceCube", aud="icesonic"),
        "over": token(iss=realm, aud="icesonic", exp=1),
    }
    targets = [
        {**envoy, "name": "good", "token": good},
        *(
            {**envoy, "name": name, "token": bad, "expect_error": {"status": "UNAUTHENTICATED"}}
            for name, bad in refused.items()
        ),
    ]
    requests = str(sites.overlay.parent / "requests/icecube")
    theirs = {"kubeconfig": str(sites.kubeconfig), "context": "nautilus"}
    found = run_module("inference_check", {**theirs, "repositories": [requests], "targets": targets, "timeout": 15})
    assert not found["failed"], found["msg"]
