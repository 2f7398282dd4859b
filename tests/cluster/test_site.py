# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of an instance on a real cluster, from check mode on nothing to nothing left, and what is refused before."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ansible_collections.fastml.supersonic.tests.harness.collection import install
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster, Object
from ansible_collections.fastml.supersonic.tests.harness.playbooks import (
    CLONE,
    KUBECONFIG,
    Instance,
    Run,
    instance_inventory,
    run_playbook,
)
from ansible_collections.fastml.supersonic.tests.harness.processes import until

TOKEN = "a-planted-token-7c2e"
# Where objects of an instance are; the parents of the sets are the module's own.
COLLECTIONS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}
MEMBER = "applyset.kubernetes.io/part-of"


@dataclass
class Life:
    """What happened to an instance, step by step."""

    instance: Instance
    node_before: Object
    node_after: Object
    checked: Run
    there_after_check: bool
    applied: Run
    applied_again: Run
    checked_after: Run
    rendered: list[Object]
    live: list[Object]
    as_rendered: list[Object]
    torn_down: Run
    torn_down_again: Run


def node(cluster: Cluster) -> Object:
    """What an instance could have changed in a node."""
    (found,) = cluster.api.list("/api/v1/nodes", "nodes")
    metadata, status = found["metadata"], found["status"]
    return {
        "labels": metadata["labels"],
        "taints": found["spec"].get("taints"),
        "allocatable": {name: amount for name, amount in status["allocatable"].items() if "storage" not in name},
    }


def render(instance: Instance, folder: Path) -> list[Object]:
    done = instance.run("playbooks/render.yml", render_directory=str(folder))
    assert done.code == 0, done.output
    files = sorted((folder / instance.name).glob("*.yaml"))
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def plain(value: Object) -> Object:
    """An object without what the server and the module keep about it."""
    result = json.loads(json.dumps(value))
    for field in ("managedFields", "resourceVersion"):
        result["metadata"].pop(field, None)
    result["metadata"].get("labels", {}).pop(MEMBER, None)
    return dict(result)


def live_objects(cluster: Cluster, namespace: str) -> list[Object]:
    """Everything in the namespace that says that it is managed by the collection."""
    found = []
    for kind, path in COLLECTIONS.items():
        for item in cluster.api.list(path.format(namespace), kind):
            labels = item["metadata"].get("labels", {})
            if labels.get("app.kubernetes.io/managed-by") == "fastml.supersonic" and MEMBER in labels:
                found.append({**item, "kind": kind})
    return found


def dry_run(cluster: Cluster, definition: Object, namespace: str) -> Object:
    """What applying a definition would make of what is there."""
    path = f"{COLLECTIONS[definition['kind']].format(namespace)}/{definition['metadata']['name']}"
    answer = cluster.api.call(
        "PATCH",
        path,
        path,
        query={"fieldManager": "fastml.supersonic", "dryRun": "All", "fieldValidation": "Strict"},
        body=definition,
        content_type="application/apply-patch+yaml",
    )
    return dict(json.loads(answer))


@pytest.fixture(scope="module")
def life(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("life")
    instance = Instance(cluster, folder, "life", {"verify_token": TOKEN, "envoy_tokens": {"life": TOKEN}})
    namespace = instance.namespace
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    configuration = elsewhere / "ansible.cfg"
    configuration.write_text("[defaults]\n")
    try:
        node_before = node(cluster)
        with ThreadPoolExecutor() as pool:
            installing = pool.submit(install, folder)
            checked = instance.run("site.yml", "--check", "--diff")
            there_after_check = cluster.get(f"/api/v1/namespaces/{namespace}") is not None
            place = {"ANSIBLE_COLLECTIONS_PATH": str(installing.result()), "ANSIBLE_CONFIG": str(configuration)}

            def installed(playbook: str, *arguments: str, **extra: Any) -> Run:
                name, inventory = f"fastml.supersonic.{playbook}", instance.inventory
                return run_playbook(name, inventory, *arguments, extra=extra, environment=place, directory=elsewhere)

            # Pods take their time to start; meanwhile the rest.
            rendering = pool.submit(render, instance, folder / "rendered")
            applied = installed("site", "-vvv", "--diff")
            rendered = rendering.result()
        applied_again = instance.run("site.yml", "--diff")
        checked_after = instance.run("site.yml", "--check", "--diff")
        live = live_objects(cluster, namespace)
        as_rendered = [dry_run(cluster, definition, namespace) for definition in rendered]
        yield Life(
            instance=instance,
            node_before=node_before,
            checked=checked,
            there_after_check=there_after_check,
            applied=applied,
            applied_again=applied_again,
            checked_after=checked_after,
            rendered=rendered,
            live=live,
            as_rendered=as_rendered,
            torn_down=installed("teardown", teardown_models=True),
            torn_down_again=instance.run("playbooks/teardown.yml", teardown_models=True),
            node_after=node(cluster),
        )
    finally:
        instance.remove()


def test_check_on_an_empty_cluster_tells_the_truth(life: Life) -> None:
    assert life.checked.changed("life") == life.applied.changed("life") == 4
    assert not life.there_after_check
    created = re.compile(r"after: (\S+) in \S+ \(created\)")
    assert set(created.findall(life.checked.output)) == set(created.findall(life.applied.output))


def test_apply_ends_with_a_proof(life: Life) -> None:
    assert life.applied.code == 0, life.applied.output
    assert re.search(r"server +pod \S+ port 8001 +grpc +(\d+) of \1 ", life.applied.output), life.applied.output
    assert re.search(r"Envoy +pod \S+ port 8001 +grpc +(\d+) of \1 ", life.applied.output), life.applied.output
    assert "endpoint: not asked, since verify_address is empty" in life.applied.text
    assert "server: not asked" not in life.applied.text


def test_clone_after_installed_collection_changes_nothing(life: Life) -> None:
    """It was applied by the installed collection: for the clone there is nothing left to do."""
    assert life.applied_again.changed("life") == 0, life.applied_again.output
    assert "+++ after" not in life.applied_again.output


def test_check_after_apply_predicts_nothing(life: Life) -> None:
    assert life.checked_after.changed("life") == 0, life.checked_after.output
    assert "+++ after" not in life.checked_after.output
    assert "11 of 11" in life.checked_after.output


def test_rendered_manifests_are_what_is_applied(life: Life) -> None:
    def names(objects: list[Object]) -> set[tuple[str, str]]:
        return {(item["kind"], item["metadata"]["name"]) for item in objects}

    assert names(life.rendered) == names(life.live)
    live = {(item["kind"], item["metadata"]["name"]): plain(item) for item in life.live}
    for item in life.as_rendered:
        ours = live[item["kind"], item["metadata"]["name"]]
        assert plain(item)["metadata"] == ours["metadata"]
        assert item.get("spec") == ours.get("spec")
        assert item.get("data") == ours.get("data")


def test_teardown_leaves_nothing(cluster: Cluster, life: Life) -> None:
    assert life.torn_down.changed("life") == 3
    assert life.torn_down_again.changed("life") == 0
    assert "Nothing of life is left." in life.torn_down.text
    namespace = life.instance.namespace
    assert cluster.get(f"/api/v1/namespaces/{namespace}") is None

    def volumes() -> list[str]:
        found = cluster.api.list("/api/v1/persistentvolumes", "volumes")
        return [v["metadata"]["name"] for v in found if v["spec"].get("claimRef", {}).get("namespace") == namespace]

    # The provisioner removes a volume after its claim.
    until(lambda: not volumes(), 60)
    assert life.node_after == life.node_before


# ---- secrets --------------------------------------------------------------------------------------------------------


def kubeconfig_secrets() -> list[str]:
    """The keys and tokens of the account that the tests run with."""
    users = [entry["user"] for entry in yaml.safe_load(KUBECONFIG.read_text())["users"]]
    return [user[name] for user in users for name in ("client-key-data", "token", "password") if user.get(name)]


def assert_hidden(output: str, *secrets: str) -> None:
    for secret in secrets:
        assert secret not in output
        assert base64.b64encode(secret.encode()).decode() not in output


def test_a_full_run_shows_no_secret(life: Life) -> None:
    assert "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in life.applied.output, "the token was not even given"
    secrets = kubeconfig_secrets()
    assert secrets
    # As Envoy's filter has it, too.
    in_bytes = ", ".join(str(byte) for byte in TOKEN.encode())
    assert any(in_bytes in str(item) for item in life.rendered if item["kind"] == "Secret")
    assert_hidden(life.applied.output, TOKEN, in_bytes, *secrets)


def test_no_module_shows_a_secret(cluster: Cluster, tmp_path: Path) -> None:
    """Modules that are given secrets: created, changed, unchanged, refused, failed."""
    planted = {name: f"planted-{name}-5d1f" for name in ("first", "second", "key", "token", "environment")}
    definition: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "planted"}}
    tasks: list[Object] = [
        {
            "fastml.supersonic.manifests": {
                "kubeconfig": str(KUBECONFIG),
                "name": "planted",
                "namespace": cluster.free_name(),
                "create_namespace": True,
                "definitions": [{**definition, "stringData": {"value": planted[value]}, "type": kind}],
                "wait": False,
            },
            "failed_when": False,
        }
        # The type of a Secret cannot be changed: the API server refuses the last one.
        for value, kind in (("first", "Opaque"), ("second", "Opaque"), ("second", "Opaque"), ("first", "other"))
    ]
    for task in tasks[1:]:
        task["fastml.supersonic.manifests"]["namespace"] = tasks[0]["fastml.supersonic.manifests"]["namespace"]
    closed = "127.0.0.1:1"
    tasks += [
        {
            "fastml.supersonic.cluster_info": {
                "host": cluster.api.connection.host,
                "api_key": planted["key"],
                "validate_certs": False,
                "namespace": "default",
            },
            "failed_when": False,
        },
        {
            "fastml.supersonic.inference_check": {
                "repositories": [str(CLONE / ".local" / "models")],
                "targets": [{"address": closed, "protocol": "grpc", "token": planted["token"]}],
            },
            "failed_when": False,
        },
        {
            "fastml.supersonic.model_repository": {
                "kubeconfig": str(KUBECONFIG),
                "source": str(CLONE / ".local" / "models"),
                "store": {"type": "pvc", "namespace": "default", "claim": "none"},
                "pod": {"image": "none"},
                "test_load": {
                    "pod_template": {
                        "spec": {
                            "containers": [
                                {
                                    "args": ["--model-repository=/m/current"],
                                    "env": [{"name": "A", "value": planted["environment"]}],
                                    "volumeMounts": [{"name": "m", "mountPath": "/m"}],
                                }
                            ],
                            "volumes": [{"name": "m", "persistentVolumeClaim": {"claimName": "none"}}],
                        }
                    }
                },
            },
            "failed_when": False,
        },
    ]
    playbook = tmp_path / "secrets.yml"
    play = {"hosts": "life", "gather_facts": False, "tasks": tasks}
    playbook.write_text(yaml.safe_dump([play]))
    inventory = instance_inventory(tmp_path, {"life": {"supersonic_namespace": "none"}})
    done = run_playbook(playbook, inventory, "-vvvv", "--diff")
    assert done.changed("life") == 2, done.output
    # Each of them did what it was to do.
    for sentence in (
        "Secret/planted",
        "field is immutable",
        "does not accept the credentials of",
        "nothing listens on this port",
        "PersistentVolumeClaim default/none does not exist",
    ):
        assert sentence in done.text, done.output
    assert_hidden(done.output, *planted.values())


# ---- refusals before any change -------------------------------------------------------------------------------------


def write_kubeconfig(path: Path, cluster: Cluster, server: str, user: Object) -> str:
    authority = base64.b64encode((cluster.api.connection.ca_pem or "").encode()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(json.dumps(config))
    return str(path)


@pytest.fixture(scope="module")
def refused(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, str]]:
    """One run for instances that all are refused, each for a reason of its own, and the namespace that they want."""
    folder = tmp_path_factory.mktemp("refused")
    wanted = cluster.free_name()
    foreign = cluster.new_namespace()
    host = cluster.api.connection.host
    rights = {"apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["*"]}
    token = cluster.user(foreign, "guest", rights)
    guest = write_kubeconfig(folder / "guest", cluster, host, {"token": token})
    away = write_kubeconfig(folder / "away", cluster, f"https://{urlsplit(host).hostname}:1", {"token": token})
    stranger = write_kubeconfig(folder / "stranger", cluster, host, {"token": "nobody"})
    hosts: dict[str, dict[str, Any]] = {
        "away": {"supersonic_kubeconfig": away},
        "stranger": {"supersonic_kubeconfig": stranger},
        "unseen": {"supersonic_kubeconfig": guest},
        "forbidden": {"supersonic_kubeconfig": guest, "supersonic_create_namespace": False},
        "missing": {"supersonic_create_namespace": False},
        "storage": {"model_repository_storage_class": "fast"},
        "accelerators": {"triton_gpus": 1, "triton_gpu_resource": "example.org/accelerator"},
        "right": {},
    }
    inventory = instance_inventory(
        folder, {name: {"supersonic_namespace": wanted, **variables} for name, variables in hosts.items()}
    )
    try:
        yield run_playbook("site.yml", inventory), wanted
    finally:
        cluster.remove_namespace(foreign)
        cluster.remove_namespace(wanted)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("away", "The Kubernetes API at https://{address}:1 "),
        ("stranger", "does not accept the credentials of"),
        ("unseen", "Nobody lets us see or create the namespace {namespace}. If it exists, set supersonic_create_"),
        ("forbidden", "We may not get, list, watch, create, patch and delete deployments.apps in the namespace"),
        ("missing", "The namespace {namespace} does not exist. Create it, or set supersonic_create_namespace: true."),
        ("storage", "There is no storage class fast, the value of model_repository_storage_class ("),
        ("accelerators", "No node offers 1 of example.org/accelerator for one pod"),
    ],
)
def test_refused_before_any_change(cluster: Cluster, refused: tuple[Run, str], host: str, message: str) -> None:
    run, namespace = refused
    assert run.code == 2, run.output
    part = re.search(rf"^fatal: \[{host}\]: FAILED! => $(.*?)^\S", run.output, re.S | re.M)
    assert part, run.output
    address = urlsplit(cluster.api.connection.host).hostname
    assert message.format(address=address, namespace=namespace) in " ".join(part[1].split()), run.output


def test_one_refusal_keeps_everything_as_it_is(cluster: Cluster, refused: tuple[Run, str]) -> None:
    run, namespace = refused
    assert run.recap["right"]["failed"] == 0
    assert {host["changed"] for host in run.recap.values()} == {0}
    assert "Deploy every instance" not in run.output
    assert cluster.get(f"/api/v1/namespaces/{namespace}") is None
