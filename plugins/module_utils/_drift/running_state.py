# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares running pods with their objects, and lists objects in the namespace that no ApplySet owns.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Every part is asked by itself, and one that may not be asked, or gives no answer, has a reason instead.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from ansible_collections.fastml.supersonic.plugins.module_utils._common import yaml_io
from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import (
    COMPONENTS,
    TRITON,
    object_name,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.text import counted
from ansible_collections.fastml.supersonic.plugins.module_utils._drift import changed_fields, envoy_state
from ansible_collections.fastml.supersonic.plugins.module_utils._drift.changed_fields import (
    DESIRED,
    ERROR,
    MISSING,
    RUNNING,
    WARNING,
    Finding,
    finding,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._inference import pod_http
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import (
    Resolver,
    is_leaving,
    why_not_running,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import status as instance_status
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import ApiError, Unreachable, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.applyset import (
    ID_LABEL,
    PART_OF_LABEL,
    TOOL,
    ApplySet,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import field_managers
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.readiness import (
    newest_template_hash,
    observed,
    troubles,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models import model_servers
from ansible_collections.fastml.supersonic.plugins.module_utils._models import releases as model_releases
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import ClaimTarget, FolderTarget
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import short
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store_pod import seconds_of

Object = Mapping[str, t.Any]

# Each has a set of its own.
PARTS = tuple(component.name for component in COMPONENTS)
# Where objects of an instance may be; those of kinds that a cluster lacks are not there.
_PLACES = (
    ("/api/v1", "configmaps", "ConfigMap"),
    ("/api/v1", "secrets", "Secret"),
    ("/api/v1", "services", "Service"),
    ("/api/v1", "serviceaccounts", "ServiceAccount"),
    ("/api/v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    ("/apis/apps/v1", "deployments", "Deployment"),
    ("/apis/apps/v1", "statefulsets", "StatefulSet"),
    ("/apis/apps/v1", "daemonsets", "DaemonSet"),
    ("/apis/batch/v1", "jobs", "Job"),
    ("/apis/batch/v1", "cronjobs", "CronJob"),
    ("/apis/networking.k8s.io/v1", "ingresses", "Ingress"),
    ("/apis/networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    ("/apis/policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    ("/apis/autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    ("/apis/keda.sh/v1alpha1", "scaledobjects", "ScaledObject"),
    ("/apis/keda.sh/v1alpha1", "triggerauthentications", "TriggerAuthentication"),
)
# Their programs read what is mounted when they start. Envoy is asked itself, and Grafana reads dashboards again.
_READ_ONCE = ("prometheus", "tempo", "otel-collector")
_INSTANCE = "app.kubernetes.io/instance"
_PUT_BACK = (
    "have site.yml put back what was there, with supersonic_force_conflicts: true where it belongs to somebody else"
)
# Clocks of nodes and of the API server differ, and Kubernetes cuts seconds off.
_SKEW_SECONDS = 3
# So many times as long may the second answer take, where the first has not come.
_PATIENCE = 3
# So many questions are asked side by side.
_AT_A_TIME = 8


@dataclass(frozen=True)
class Wanted:
    """The instance. sets: the parts that the inventory has; release: what it would publish, if that is known."""

    namespace: str
    name: str
    sets: Sequence[str] = ()
    claim: str = ""
    path: str = ""
    release: str = ""
    timeout: float = 10.0
    trusted: Sequence[str] = ()


@dataclass
class Look:
    """One look at an instance."""

    wanted: Wanted
    resolver: Resolver
    findings: list[Finding] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    running: dict[str, t.Any] = field(default_factory=dict)

    def all(self) -> None:
        """Every part. Raises Unreachable when the cluster does not answer."""
        workloads = self._part("Deployments", self._workloads) or []
        pods = self._part("pods", self._pods)
        sets = self._replica_sets()
        self.running["workloads"] = []
        if pods is not None:
            for workload in workloads:
                mine = _pods_of(workload, pods, sets)
                self.running["workloads"].append(self._workload(workload, mine, sets))
                part = (workload["metadata"].get("labels") or {}).get("app.kubernetes.io/component")
                if part == "envoy":
                    self._part("Envoy's running configuration", partial(self._envoys, mine))
                elif part in _READ_ONCE:
                    self._part(f"what {workload['metadata']['name']} has read", partial(self._loaded, mine))
        pool = next((w for w in workloads if w["metadata"]["name"] == object_name(self.wanted.name, TRITON)), None)
        if pool is not None:
            self._part("who scales the servers", partial(self._scaled, pool))
        self._part("the models", self._models)
        self._part("the objects in the namespace", self._strangers)

    def _part(self, what: str, ask: Callable[[], t.Any]) -> t.Any:
        try:
            return ask()
        except Unreachable:
            raise
        except SupersonicError as error:
            self.unknown.append(f"{what}: {error}")
        except (KeyError, TypeError, ValueError) as error:
            self.unknown.append(f"{what}: the answer has another form: {error!r}")
        return None

    def _note(self, *said: str, **more: t.Any) -> None:
        """said: severity, between, kind, object, text and remedy, as `finding` takes them."""
        self.findings.append(finding(*said, **more))

    def _list(self, root: str, plural: str, selector: str = "") -> list[dict[str, t.Any]]:
        path = f"{root}/namespaces/{segment(self.wanted.namespace)}/{plural}"
        return self.resolver.api.list(path, plural, {"labelSelector": selector} if selector else None)

    def _find(self, plural: str, name: str) -> dict[str, t.Any] | None:
        path = f"/api/v1/namespaces/{segment(self.wanted.namespace)}/{plural}/{segment(name)}"
        return self.resolver.api.find(path, f"{plural}/{name}")

    @property
    def _selector(self) -> str:
        return f"app.kubernetes.io/name=supersonic,{_INSTANCE}={self.wanted.name}"

    def _workloads(self) -> list[dict[str, t.Any]]:
        found = self._list("/apis/apps/v1", "deployments", self._selector)
        return sorted(found, key=lambda item: str(item["metadata"]["name"]))

    def _pods(self) -> list[dict[str, t.Any]]:
        return [pod for pod in self._list("/api/v1", "pods", self._selector) if not is_leaving(pod)]

    def _here(self) -> set[str]:
        """The pods at a second look. Of one that is gone by now nobody has to know why it gave no answer."""
        return {str(pod["metadata"]["name"]) for pod in self._pods()}

    def _replica_sets(self) -> list[dict[str, t.Any]] | None:
        """None where they may not be seen: Deployments then say how many pods are of their template."""
        try:
            return self._list("/apis/apps/v1", "replicasets", self._selector)
        except ApiError:
            return None

    # ---- pods --------------------------------------------------------------------------------------------------------
    def _workload(self, live: Object, pods: Sequence[Object], sets: Sequence[Object] | None) -> dict[str, t.Any]:
        """The differences between a Deployment and its running pods."""
        name = str(live["metadata"]["name"])
        what = f"Deployment/{name}"
        wanted = int(live["spec"].get("replicas", 1))
        ready = int((live.get("status") or {}).get("readyReplicas") or 0)
        newest = newest_template_hash(live, sets) if sets is not None else _newest_by_count(live, pods)
        old = [pod for pod in pods if newest and _template_hash(pod) != newest]
        if not observed(live):
            self._note(WARNING, RUNNING, "not observed", what, "its controller has not seen the last change yet")
        if old:
            names = changed_fields.listed([str(pod["metadata"]["name"]) for pod in old])
            moving = _is_moving(live)
            self._note(
                WARNING if moving else ERROR,
                RUNNING,
                "old template",
                what,
                f"{len(old)} of {len(pods)} pods are of an older template: {names}"
                + ("; a roll-out is under way" if moving else ""),
                "" if moving else "Look why the roll-out does not end: kubectl rollout status, kubectl describe.",
            )
        if ready < wanted or (len(pods) > wanted and not old):
            why = "; ".join(dict.fromkeys(f"{each.where}: {each.text}" for each in troubles(pods)))
            self._note(
                ERROR,
                RUNNING,
                "replicas",
                what,
                f"{ready} of {wanted} pods are ready, {len(pods)} are there" + (f" ({why})" if why else ""),
                "playbooks/status.yml tells more of the servers; kubectl describe says why a pod does not start.",
                field="status.readyReplicas",
                live=wanted,
                running=ready,
            )
        images = self._images(what, [pod for pod in pods if pod not in old])
        return {"name": name, "wanted": wanted, "pods": len(pods), "ready": ready, "images": images}

    def _images(self, what: str, pods: Sequence[Object]) -> dict[str, dict[str, list[str]]]:
        """Report containers of pods that run different digests of one image name, because its tag has moved."""
        found: dict[str, dict[str, list[str]]] = {}
        for pod in pods:
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                digest = str(status.get("imageID") or "").rpartition("://")[2]
                if digest:
                    of_container = found.setdefault(str(status["name"]), {})
                    of_container.setdefault(digest, []).append(str(pod["metadata"]["name"]))
        for container, digests in found.items():
            if len(digests) > 1:
                named = "; ".join(
                    f"{digest} in {changed_fields.listed(names)}" for digest, names in sorted(digests.items())
                )
                self._note(
                    ERROR,
                    RUNNING,
                    "image",
                    what,
                    f"pods of one template run different images in the container {container}: {named}",
                    "The image's tag has moved. Name its digest in the inventory, and run site.yml.",
                    field=f"spec.template.spec.containers[{container}].image",
                    running=sorted(digests),
                )
        return found

    def _loaded(self, pods: Sequence[Object]) -> None:
        """Add findings for ConfigMaps and Secrets that changed after the programs read them."""
        changed: dict[tuple[str, str], tuple[list[str], list[dict[str, str]]]] = {}
        contents: dict[tuple[str, str], Object | None] = {}
        for pod in pods:
            begun = {str(status["name"]): _started(status) for status in _statuses(pod)}
            for place, readers in _mounted(pod["spec"]).items():
                # A sidecar that has started later has not read it for the others.
                times = [begun[name] for name in readers if begun.get(name)] or [at for at in begun.values() if at]
                started = min(times, default="")
                if place not in contents:
                    contents[place] = self._find(*place)
                authors = _written_after(contents[place], started)
                if authors:
                    names, _authors = changed.setdefault(place, ([], authors))
                    names.append(str(pod["metadata"]["name"]))
        for (plural, name), (names, authors) in changed.items():
            kind = "ConfigMap" if plural == "configmaps" else "Secret"
            self._note(
                ERROR,
                RUNNING,
                "not loaded",
                f"{kind}/{name}",
                f"it was changed by {changed_fields.by(authors)}, after {changed_fields.listed(names)} had read it",
                f"Replace the pods (kubectl rollout restart), or {_PUT_BACK}.",
                by=authors,
            )

    # ---- replicas ----------------------------------------------------------------------------------------------------
    def _scaled(self, pool: Object) -> None:
        """Somebody who has set the number of servers by hand although an autoscaler decides."""
        wanted = self.wanted
        try:
            found = instance_status.autoscaler(instance_status.Wanted(wanted.namespace, wanted.name), self.resolver)
        except ApiError as error:
            if error.status != 403:
                raise
            # A number that no machine has written differs from the inventory's, which is told already.
            return
        name, replicas = str(pool["metadata"]["name"]), int(pool["spec"].get("replicas", 1))
        self.running["autoscaler"] = {key: found.get(key) for key in ("kind", "text", "paused")}
        if not found["kind"]:
            return
        hands = [
            entry
            for entry in field_managers(pool, "spec", "replicas")
            if not changed_fields.is_trusted(entry, wanted.trusted)
        ]
        if hands:
            authors = changed_fields.latest(hands)
            by = changed_fields.by(authors)
            self._note(
                WARNING,
                RUNNING,
                "scaled by hand",
                f"Deployment/{name}",
                f"{by} has asked for {counted(replicas, 'server')}, but {found['kind']} decides: {found['text']}",
                "The autoscaler puts that right, unless it is paused. To fix a number, set the autoscaler's limits.",
                field="spec.replicas",
                live=replicas,
                by=authors,
            )

    # ---- Envoy -------------------------------------------------------------------------------------------------------
    def _envoys(self, pods: Sequence[Object]) -> None:
        """Each Envoy of each pod against the ConfigMap that it was started from. They are asked side by side."""
        envoys: list[tuple[Object, str, tuple[str, str]]] = []
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
            if reason := why_not_running(pod):
                self.unknown.append(f"Envoy's running configuration in {pod['metadata']['name']}: {reason}")
                continue
            for container in pod["spec"]["containers"]:
                source = configuration_of(pod["spec"], container)
                if source:
                    envoys.append((pod, str(container["name"]), source))

        def ask(envoy: tuple[Object, str, tuple[str, str]]) -> tuple[Look, t.Any]:
            pod, container, source = envoy
            where = f"Envoy's running configuration in {pod['metadata']['name']} ({container})"
            # By itself, so that what is told has an order.
            own = Look(self.wanted, self.resolver)
            return own, own._part(where, partial(own._envoy, pod, container, *source))

        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            answers = list(pool.map(ask, envoys))
        here = self._here() if any(own.unknown for own, _same in answers) else set()
        told = []
        for (pod, container, _source), (own, same) in zip(envoys, answers, strict=True):
            name = str(pod["metadata"]["name"])
            if name in here or not own.unknown:
                self.findings += own.findings
                self.unknown += own.unknown
                told.append({"pod": name, "container": container, "same": same})
        self.running["envoys"] = told

    def _envoy(self, pod: Object, container: str, config_map: str, key: str) -> bool:
        source = self._find("configmaps", config_map)
        pod_name = str(pod["metadata"]["name"])
        text = ((source or {}).get("data") or {}).get(key)
        if text is None:
            self._note(
                ERROR,
                RUNNING,
                "not loaded",
                f"ConfigMap/{config_map}",
                f"it has no {key}, so that {pod_name} could not start again",
                "A run of site.yml puts it back.",
                field=f"data.{key}",
            )
            return False
        try:
            file = yaml_io.load(text)
        except yaml_io.NoYaml as error:
            text = f"{key} is no YAML{error.where}: {error}"
            self._note(ERROR, RUNNING, "not loaded", f"ConfigMap/{config_map}", text, field=f"data.{key}")
            return False
        port = _admin_port(file, container)
        bootstrap = envoy_state.bootstrap_of(self._admin(pod_name, port, envoy_state.BOOTSTRAP))
        found = envoy_state.compare(file, bootstrap)
        authors = changed_fields.latest(changed_fields.owners(source or {}, ("data", key)))
        for difference in found[:10]:
            values = {
                side: value
                for side, value in (("live", difference.before), ("running", difference.after))
                if value is not MISSING
            }
            self._note(
                ERROR,
                RUNNING,
                "envoy configuration",
                f"Pod/{pod_name}",
                f"its {container} runs with another configuration than {config_map} has ({key}): "
                f"{changed_fields.text_of(difference.path)}"
                + (f"; the ConfigMap was written by {changed_fields.by(authors)}" if authors else ""),
                f"Replace the pods (kubectl rollout restart) to load it, or {_PUT_BACK}.",
                field=changed_fields.text_of(difference.path),
                by=authors,
                **values,
            )
        filters = self._filters(pod, port, pod_name, container)
        return not found and filters

    def _filters(self, pod: Object, port: int, pod_name: str, container: str) -> bool:
        """Filters that Envoy takes from files of a Secret whenever they change, by their versions."""
        names = [name for plural, name in _mounted(pod["spec"]) if plural == "secrets"]
        wanted: dict[str, str] = {}
        for name in names:
            for key, version in _versions(self._find("secrets", name)):
                wanted[version] = f"{name} ({key})"
        if not wanted:
            return True
        answer = self._admin(pod_name, port, envoy_state.FILTERS, missing="")
        runs = envoy_state.versions_of(answer) if answer else set()
        lacking = [where for version, where in wanted.items() if version not in runs]
        for where in lacking:
            self._note(
                ERROR,
                RUNNING,
                "envoy configuration",
                f"Pod/{pod_name}",
                f"its {container} does not run with the filter that the Secret {where} has now",
                "Envoy reads it again within a minute or two; its log says what is wrong with it if it does not.",
            )
        return not lacking

    def _admin(self, pod: str, port: int, target: str, missing: str | None = None) -> str:
        """The answer of an Envoy's admin interface, which listens on loopback in the pod."""
        ask = partial(pod_http.ask, self.resolver.relay, self.resolver.api, self.wanted.namespace, pod, port, target)
        try:
            try:
                found = ask(timeout=self.wanted.timeout)
            except pod_http.NoAnswer:
                # On a busy machine it may take longer.
                found = ask(timeout=_PATIENCE * self.wanted.timeout)
        except pod_http.NoAnswer as error:
            raise SupersonicError(f"its admin interface gives no answer: {error}") from error
        if found.status == 404 and missing is not None:
            return missing
        if found.status != 200:
            raise SupersonicError(f"its admin interface has answered with HTTP {found.status}")
        return found.body.decode(errors="replace")

    # ---- models ------------------------------------------------------------------------------------------------------
    def _models(self) -> None:
        """Compare the release of the inventory, the current one, and the one that each server loaded; add findings."""
        wanted = self.wanted
        if not wanted.claim and not wanted.path:
            return
        place: ClaimTarget | FolderTarget
        if wanted.claim:
            place, what = (
                ClaimTarget(self.resolver.api, wanted.namespace, wanted.claim, None),
                f"PersistentVolumeClaim/{wanted.claim}",
            )
        else:
            place, what = FolderTarget(wanted.path), wanted.path
        described = model_releases.describe(place, deep=not wanted.claim)
        current = described["current"]
        self.running["release"] = {"desired": wanted.release or None, "current": current, "servers": []}
        if described["unfinished"]:
            text = "a switch of the models was begun and has not come to its end"
            self._note(WARNING, RUNNING, "models", what, text, "Publish again.")
        if wanted.release and current != wanted.release:
            others = [item["release"] for item in described["releases"]]
            state = "which is there and is not current" if wanted.release in others else "which is not there"
            self._note(
                ERROR,
                DESIRED,
                "models",
                what,
                f"the inventory has the release {short(wanted.release)}, {state}; current is "
                + (short(current) if current else "none"),
                "playbooks/models.yml -e models_action=publish publishes it; after a roll-back, change the sources.",
                field="release",
                desired=wanted.release,
                live=current,
            )
        if not current:
            return
        models = next((item["models"] for item in described["releases"] if item["current"]), None)
        release = model_servers.Release(current, models or [], place.switched(), place.earlier())
        pool = {
            "namespace": wanted.namespace,
            "instance": wanted.name,
            "labels": None,
            "index": True,
            "timeout": wanted.timeout,
            "again": _PATIENCE * wanted.timeout,
        }
        servers = model_servers.running(self.resolver, pool, release, models)
        here = self._here() if any(server["silence"] for server in servers) else set()
        for server in servers:
            if server["silence"] and server["pod"] not in here:
                continue
            self.running["release"]["servers"].append({"pod": server["pod"], "release": server["release"]})
            if not server["running"]:
                continue
            if server["silence"]:
                # What it has loaded is not known, which is neither drift nor the absence of it.
                self.unknown.append(f"the models of {server['pod']}: {server['silence']}")
            digests = {} if server["current"] else {"live": current, "running": server["release"]}
            for text in server["differences"]:
                if text != server["silence"]:
                    self._note(
                        ERROR,
                        RUNNING,
                        "models",
                        f"Pod/{server['pod']}",
                        text,
                        "playbooks/models.yml lists releases; a run of site.yml brings the current one to the servers.",
                        **digests,
                    )

    # ---- what nobody owns --------------------------------------------------------------------------------------------
    def _strangers(self) -> None:
        """Add findings for sets of parts that the inventory lacks, and for objects of the instance in no set."""
        wanted = self.wanted
        sets = {part: ApplySet(f"{wanted.name}-{part}", wanted.namespace) for part in PARTS}
        parents = self._list("/api/v1", "configmaps", f"{ID_LABEL},app.kubernetes.io/managed-by={TOOL}")
        there = {item["metadata"]["name"] for item in parents}
        ids = {each.id: part for part, each in sets.items()}
        # Whoever may not list a kind that the instance does not have misses nothing of it.
        used = {
            kind.kind
            for item in parents
            for each in sets.values()
            if each.parent_name == item["metadata"]["name"]
            for kind in each.read_parent(item).kinds
        }
        forbidden: list[str] = []

        def ask(place: tuple[str, str, str]) -> list[dict[str, t.Any]]:
            root, plural, kind = place
            try:
                return self._list(root, plural, f"app.kubernetes.io/part-of=supersonic,{_INSTANCE}={wanted.name}")
            except ApiError as error:
                if error.status == 403:
                    forbidden.extend([plural] if kind in used else [])
                elif error.status != 404:
                    raise
                return []

        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            answers = list(pool.map(ask, _PLACES))
        left: dict[str, list[str]] = {}
        for (_root, plural, _kind), items in zip(_PLACES, answers, strict=True):
            for item in items:
                metadata = item["metadata"]
                if metadata.get("ownerReferences") or ID_LABEL in (metadata.get("labels") or {}):
                    continue
                part = ids.get((metadata.get("labels") or {}).get(PART_OF_LABEL, ""))
                what = f"{plural}/{metadata['name']}"
                if part is None:
                    first = sorted(changed_fields.writers(item), key=lambda entry: str(entry.get("time")))[:1]
                    authors = [changed_fields.author(entry) for entry in first]
                    self._note(
                        WARNING,
                        DESIRED,
                        "unowned",
                        what,
                        "it has the labels of the instance, but no set owns it"
                        + (f"; made by {changed_fields.by(authors)}" if authors else ""),
                        "Nothing of the inventory removes it. Remove it, or take the labels off it.",
                        by=authors,
                    )
                elif part not in wanted.sets:
                    left.setdefault(part, []).append(what)
        for part, each in sets.items():
            if part in wanted.sets or (each.parent_name not in there and part not in left):
                continue
            names = sorted(left.get(part, []))
            # Models and what was recorded stay by intention.
            kept = bool(names) and all(name.startswith("persistentvolumeclaims/") for name in names)
            self._note(
                changed_fields.NOTE if kept else ERROR,
                DESIRED,
                "extra",
                f"ConfigMap/{each.parent_name}",
                f"the inventory does not have the part {part} any more, but this is left: "
                f"{changed_fields.listed(names) or 'its record'}",
                "Include its role once with its variable ..._state: absent, or remove the instance (teardown.yml).",
            )
        if forbidden:
            self.unknown.append(f"objects that no set owns: may not be listed: {', '.join(sorted(forbidden))}")


# ---- what pods say ---------------------------------------------------------------------------------------------------
def _pods_of(live: Object, pods: Iterable[Object], sets: Sequence[Object] | None) -> list[Object]:
    """The pods of a Deployment; without the right to see ReplicaSets those with its labels that a ReplicaSet owns."""
    uid = live["metadata"].get("uid")
    labels = ((live["spec"].get("selector") or {}).get("matchLabels") or {}).items()
    mine = {
        each["metadata"]["uid"]
        for each in sets or []
        if any(owner.get("uid") == uid for owner in each["metadata"].get("ownerReferences") or [])
    }
    found = []
    for pod in pods:
        owners = pod["metadata"].get("ownerReferences") or []
        made = [owner for owner in owners if owner.get("kind") == "ReplicaSet" and owner.get("controller")]
        if not made or not labels <= (pod["metadata"].get("labels") or {}).items():
            continue
        if sets is None or made[0].get("uid") in mine:
            found.append(pod)
    return found


def _newest_by_count(live: Object, pods: Sequence[Object]) -> str | None:
    """The template of those pods of which there are as many as the Deployment has of its present one."""
    updated = int((live.get("status") or {}).get("updatedReplicas") or 0)
    counts: dict[str, int] = {}
    for pod in pods:
        name = _template_hash(pod) or ""
        counts[name] = counts.get(name, 0) + 1
    fitting = [name for name, count in counts.items() if count == updated]
    return fitting[0] if len(fitting) == 1 else None


def _template_hash(pod: Object) -> str | None:
    return (pod["metadata"].get("labels") or {}).get("pod-template-hash")


def _is_moving(live: Object) -> bool:
    """A roll-out that Kubernetes has not given up."""
    for condition in (live.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Progressing":
            return condition.get("status") == "True" and not (live["spec"].get("paused"))
    return False


def _statuses(pod: Object) -> list[Object]:
    return (pod.get("status") or {}).get("containerStatuses") or []


def _started(status: Object) -> str:
    return str(((status.get("state") or {}).get("running") or {}).get("startedAt") or "")


def _mounted(spec: Object) -> dict[tuple[str, str], set[str]]:
    """ConfigMaps and Secrets that a pod has read or mounted, as plural and name, with the containers that do."""
    found: dict[tuple[str, str], set[str]] = {}

    def add(plural: str, name: t.Any, readers: set[str]) -> None:
        if (plural, name) != ("configmaps", "kube-root-ca.crt"):
            found.setdefault((plural, str(name)), set()).update(readers)

    containers = spec.get("containers") or []
    for volume in spec.get("volumes") or []:
        mounting = {
            str(container["name"])
            for container in containers
            if any(mount.get("name") == volume.get("name") for mount in container.get("volumeMounts") or [])
        }
        sources = [volume, *((volume.get("projected") or {}).get("sources") or [])]
        for source in sources:
            if "configMap" in source and source["configMap"].get("name"):
                add("configmaps", source["configMap"]["name"], mounting)
            secret = source.get("secret") or {}
            if secret.get("secretName") or secret.get("name"):
                add("secrets", secret.get("secretName") or secret.get("name"), mounting)
    for container in containers:
        for entry in container.get("envFrom") or []:
            for kind, plural in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
                if kind in entry:
                    add(plural, entry[kind]["name"], {str(container["name"])})
        for entry in container.get("env") or []:
            source = entry.get("valueFrom") or {}
            for kind, plural in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
                if kind in source:
                    add(plural, source[kind]["name"], {str(container["name"])})
    return found


def _written_after(live: Object | None, started: str) -> list[dict[str, str]]:
    """The managers that wrote content of an object after a container started."""
    if live is None or not started:
        return []
    limit = seconds_of(started) + _SKEW_SECONDS
    return changed_fields.latest(
        entry
        for entry in changed_fields.writers(live)
        if {"f:data", "f:binaryData"} & set(entry.get("fieldsV1") or {})
        and entry.get("time")
        and seconds_of(str(entry["time"])) > limit
    )


# ---- Envoy's files ---------------------------------------------------------------------------------------------------
def configuration_of(spec: Object, container: Object) -> tuple[str, str] | None:
    """The ConfigMap, and its key, that an Envoy reads its configuration from; None where there is no such thing."""
    words = [str(word) for word in [*(container.get("command") or []), *(container.get("args") or [])]]
    path = next((words[i + 1] for i, word in enumerate(words[:-1]) if word in ("--config-path", "-c")), "")
    mounts = sorted(container.get("volumeMounts") or [], key=lambda mount: -len(str(mount["mountPath"])))
    for mount in mounts:
        folder = str(mount["mountPath"]).rstrip("/")
        if path != folder and not path.startswith(f"{folder}/"):
            continue
        volume: Object = next((v for v in spec.get("volumes") or [] if v["name"] == mount["name"]), {})
        source = volume.get("configMap")
        if not source or not source.get("name"):
            return None
        key = str(mount.get("subPath") or path[len(folder) + 1 :])
        for item in source.get("items") or []:
            if item.get("path") == key:
                key = str(item["key"])
        return str(source["name"]), key
    return None


def _admin_port(file: t.Any, container: str) -> int:
    """The port of an Envoy's admin interface; the contract's if the file does not say."""
    try:
        return int(file["admin"]["address"]["socket_address"]["port_value"])
    except (KeyError, TypeError, ValueError):
        return pod_http.ADMIN_PORT + (pod_http.ADMIN_STEP if container.endswith("-2") else 0)


def _versions(secret: Object | None) -> Iterator[tuple[str, str]]:
    """Key and version of each file of a Secret that Envoy takes a filter from."""
    for key, value in ((secret or {}).get("data") or {}).items():
        if str(key).endswith(".yaml"):
            version = envoy_state.version_of(str(value))
            if version:
                yield str(key), version
