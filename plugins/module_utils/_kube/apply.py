# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Applies a set of objects to the cluster, or removes it.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Every object is first applied as a server dry-run. Its answer, compared with the live object, decides whether anything
is done, and is what check mode and the diff show: the three cannot disagree, and what the server refuses is known
before anything changes. Objects whose namespace or kind is only made by the same set get their dry-run once that is
there.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, joined, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.applyset import (
    PART_OF_LABEL,
    TOOL,
    ApplySet,
    Scope,
    with_label,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import (
    Item,
    Key,
    Wanted,
    place,
    read,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import (
    Differences,
    Mask,
    Object,
    field_managers,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import (
    BINDINGS,
    CONFIG_MAP,
    CRD,
    NAMESPACE,
    ROLES,
    SECRET,
    GroupKind,
    Kinds,
    Resource,
    defined_by,
    is_builtin_group,
    rank,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.replicas import (
    HPA,
    SCALABLE,
    SCALED_OBJECT,
    Scaled,
    held,
    holds_replicas,
    leave_replicas,
    only_about_replicas,
    scaled_by_machine,
    targets,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.wait import Target, Waiter

_WORKERS = 8
# After a definition is established the API server still needs a moment until it serves the kind.
_SERVING_SECONDS = 15.0
_SERVING_PAUSE = 0.1
# And until it checks objects against the new version of a schema.
_SCHEMA_SECONDS = 5.0
_CRD_SECONDS = 60.0
_FRESH_READS = 5

In = t.TypeVar("In")
Out = t.TypeVar("Out")
# Kinds that are not deleted unless that is said, because other things or data go with them.
KEEPABLE = ("Namespace", "PersistentVolume", "PersistentVolumeClaim", "CustomResourceDefinition")


@dataclass(frozen=True)
class Options:
    """The options of the module that this file needs."""

    name: str
    namespace: str
    create_namespace: bool = False
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    additional_namespaces: Sequence[str] = ()
    delete_namespace: bool = False
    prune: bool = True
    keep: Sequence[str] = KEEPABLE
    byproducts: Sequence[t.Any] = ()
    expected_kinds: Sequence[Mapping[str, str]] = ()
    force_conflicts: bool = False
    autoscaled: bool | None = None
    field_manager: str = TOOL
    wait: bool = True
    wait_timeout: float = 300.0
    wait_for_load_balancer: bool = False
    check: bool = False


@dataclass
class _Plan:
    """The state of one desired object before it is applied."""

    wanted: Wanted
    body: Object
    live: Object | None = None
    result: Object | None = None
    force: bool = False
    deferred: bool = False
    changed: bool = True

    @property
    def key(self) -> Key:
        return self.wanted.key


class Run:
    """One call of the module."""

    def __init__(self, api: Api, options: Options, definitions: Sequence[t.Any], mask: Mask) -> None:
        self.api = api
        self.options = options
        self.definitions = definitions
        self.mask = mask
        self.differences = Differences(mask)
        self.actions: dict[Key, str] = {}
        self.order: list[Key] = []
        # Why the namespace that was meant to go is still there.
        self.left: list[str] = []
        self.held: dict[str, None] = {}
        self.taken: dict[str, None] = {}
        self._fresh: dict[GroupKind, float] = {}
        self._set = ApplySet(options.name, options.namespace)
        self._kinds = Kinds(api)
        self._deadline: float | None = None

    def done(self) -> list[tuple[Key, str]]:
        """The result (in check mode: the prediction), in the order of the definitions, removed objects last."""
        keys = [*(key for key in self.order if key in self.actions), *self.actions]
        return [(key, self.actions[key]) for key in dict.fromkeys(keys)]

    def shown(self) -> list[dict[str, t.Any]]:
        """The differences in the same order."""
        return self.differences.show([key for key, _action in self.done()])

    # ---- state: present

    def present(self) -> None:
        if not self.definitions:
            raise SupersonicError(
                f"The set '{self.options.name}' has no definitions. An empty set would remove everything it holds; "
                "if that is wanted, say so with state: absent."
            )
        items = read(self.definitions)
        resources, brought, expected = self._look_up(items)
        wanted = place(items, resources, self.options.namespace, self.options.additional_namespaces)
        self.order = [self._own_namespace, self._parent_key, *(entry.key for entry in wanted)]
        with ThreadPoolExecutor(_WORKERS) as pool:
            self._pool = pool
            self._present(wanted, brought, expected)

    def _present(self, wanted: list[Wanted], brought: frozenset[GroupKind], expected: frozenset[GroupKind]) -> None:
        options = self.options
        scope = Scope.of((w.key.group_kind, w.key.namespace) for w in wanted)
        parent_answer = self._pool.submit(self.api.find, self._set.parent_path, self._parent_label)
        autoscaler_answer = self._pool.submit(self._live_autoscalers, wanted)
        members = self._members(scope.kinds, scope.namespaces | {options.namespace})
        parent = parent_answer.result()
        old_scope = self._set.read_parent(parent)
        namespace_missing = parent is None and self._namespace_missing(wanted)
        others = old_scope.kinds - scope.kinds
        spaces = (old_scope.namespaces | scope.namespaces | {options.namespace}) - {""}
        members |= self._members(others, spaces)
        if old_scope.namespaces - scope.namespaces:
            members |= self._members(scope.kinds, old_scope.namespaces - scope.namespaces)
        leaving = self._leaving(members, {w.key for w in wanted}) if options.prune else {}
        scaled = self._scaled(wanted, *autoscaler_answer.result(), leaving)

        missing = {w.key.name for w in wanted if w.key.group_kind == NAMESPACE}
        if namespace_missing:
            missing.add(options.namespace)
        plans = [_Plan(w, with_label(w.definition, self._set.id), members.get(w.key)) for w in wanted]
        definitions = [plan for plan in plans if plan.key.group_kind == CRD]
        self._plan(definitions, missing, frozenset(), scaled)
        changing = frozenset(
            resource.group_kind
            for plan in definitions
            if plan.changed
            for resource in defined_by(plan.wanted.definition)
        )
        self._plan(
            [plan for plan in plans if plan.key.group_kind != CRD], missing, (changing & brought) | expected, scaled
        )

        kept = {key for key in members if key not in leaving and key not in {w.key for w in wanted}}
        self.order += _in_order_of_deletion([*leaving, *kept])
        final = scope | Scope.of((key.group_kind, key.namespace) for key in kept)
        if not options.prune:
            final |= old_scope
        if options.check:
            self._predict(plans, namespace_missing, parent, final, leaving, kept)
            return
        self._make_namespace(plans, namespace_missing)
        self._compare_parent(parent, final)
        parent = self._write_parent(parent, old_scope | final)
        self._apply_all(plans, changing, scaled)
        removed = self._delete(leaving, "pruned")
        self._note_kept(kept)
        self._write_parent(parent, final)
        if options.wait:
            waiter = self._waiter()
            waiter.gone(removed)
            waiter.ready(
                Target(plan.key, plan.wanted.path, plan.result, plan.live is None)
                for plan in plans
                if plan.result is not None
            )

    def _look_up(self, items: Sequence[Item]) -> tuple[dict[int, Resource], frozenset[GroupKind], frozenset[GroupKind]]:
        """Find the API resource of each item.

        Returns the resources by the item's position, the kinds that a definition of this set brings, and in check mode
        the kinds of expected_kinds that the cluster does not serve yet. Raises SupersonicError where any other kind is
        not served.
        """
        brought = {
            (resource.group, resource.version, resource.kind): resource
            for item in items
            if item.group_kind == CRD
            for resource in defined_by(item.definition)
        }
        found: dict[int, Resource] = {}
        expected: set[GroupKind] = set()
        wrong: list[str] = []
        for item in items:
            resource = brought.get((item.group, item.version, item.kind))
            resource = resource or self._kinds.find(item.group, item.version, item.kind)
            if resource:
                found[item.position] = resource
            elif self.options.check and self._is_expected(item):
                # Its plural only makes up a path that the server answers with 404.
                plural = f"{item.kind.lower()}s"
                found[item.position] = Resource(item.group, item.version, item.kind, plural, namespaced=True)
                expected.add(item.group_kind)
            else:
                api_version = f"{item.group}/{item.version}" if item.group else item.version
                wrong.append(
                    f"{item.label}: this cluster has no kind {item.kind} in {api_version}; "
                    + (
                        "correct kind or apiVersion"
                        if is_builtin_group(item.group)
                        else "install what brings it (its CustomResourceDefinition), or correct kind or apiVersion"
                    )
                )
        if wrong:
            raise SupersonicError("; ".join(wrong) + ".")
        self._kinds.learn(found.values())
        return found, frozenset(resource.group_kind for resource in brought.values()), frozenset(expected)

    def _is_expected(self, item: Item) -> bool:
        api_version = f"{item.group}/{item.version}" if item.group else item.version
        return any(
            entry["kind"] == item.kind and entry["api_version"] == api_version for entry in self.options.expected_kinds
        )

    def _namespace_missing(self, wanted: Iterable[Wanted]) -> bool:
        name = self.options.namespace
        try:
            live = self.api.find(f"/api/v1/namespaces/{segment(name)}", f"Namespace/{name}")
        except ApiError as exc:
            if exc.status == 403:
                # Many users may work in their namespace without being allowed to look at it.
                return False
            raise
        if live is not None:
            if live["metadata"].get("deletionTimestamp"):
                raise SupersonicError(
                    f"The namespace '{name}' is being deleted. Wait until it is gone, then run again."
                )
            return False
        if not self.options.create_namespace and not any(w.key == self._own_namespace for w in wanted):
            raise SupersonicError(
                f"The namespace '{name}' does not exist. Create it, or set create_namespace: true to have it made here."
            )
        return True

    def _members(self, kinds: Iterable[GroupKind], namespaces: Iterable[str]) -> dict[Key, Object]:
        """All live objects with the set's label among these kinds and namespaces."""
        spaces = sorted(namespaces)
        places: list[tuple[Resource, str | None]] = []
        for kind in kinds:
            resource = self._kinds.find_any(kind)
            # A kind that is not served has no objects.
            if resource:
                places += [(resource, space) for space in (spaces if resource.namespaced else [None])]

        def fetch(place_: tuple[Resource, str | None]) -> list[Object]:
            resource, space = place_
            what = f"{resource.kind} objects of the set '{self.options.name}'"
            try:
                return self.api.list(resource.path(space), what, {"labelSelector": self._set.selector})
            except ApiError as exc:
                if exc.status == 404:
                    return []
                raise

        found: dict[Key, Object] = {}
        for (resource, _space), objects in zip(places, self._each(fetch, places), strict=True):
            for live in objects:
                self.mask.learn(live)
                metadata = live["metadata"]
                found[Key(resource.group, resource.kind, metadata.get("namespace"), metadata["name"])] = live
        return {
            key: live
            for key, live in found.items()
            # Controllers copy labels to what they make (a Service's EndpointSlices, KEDA's HorizontalPodAutoscaler):
            # those have an owner and are not members.
            if not any(owner.get("controller") for owner in live["metadata"].get("ownerReferences") or [])
            and key != self._parent_key
        }

    def _leaving(self, members: Mapping[Key, Object], wanted: set[Key]) -> dict[Key, Object]:
        return {key: live for key, live in members.items() if key not in wanted and key.kind not in self.options.keep}

    # ---- autoscaling

    def _live_autoscalers(self, wanted: Iterable[Wanted]) -> tuple[list[Object], bool]:
        """Autoscalers beside the workloads that fix a number of replicas, and whether we may read all of them."""
        spaces = {w.key.namespace for w in wanted if _fixes_replicas(w) and w.key.namespace}
        if self.options.autoscaled is not None or not spaces:
            return [], True
        found: list[Object] = []
        complete = True
        for space in sorted(spaces):
            for root, plural in (("autoscaling/v2", "horizontalpodautoscalers"), ("keda.sh/v1alpha1", "scaledobjects")):
                try:
                    found += self.api.list(f"/apis/{root}/namespaces/{segment(space)}/{plural}", plural)
                except ApiError as exc:
                    complete = complete and exc.status != 403
                    if exc.status not in (403, 404):
                        raise
        return found, complete

    def _scaled(
        self, wanted: Iterable[Wanted], live: list[Object], complete: bool, leaving: Mapping[Key, Object]
    ) -> Callable[[Key, Object | None], bool]:
        """A function that tells whether an autoscaler owns the replicas of a workload."""
        asked = self.options.autoscaled
        mine = [w.definition for w in wanted if w.key.group_kind in (HPA, SCALED_OBJECT)]
        gone = [str(entry["metadata"].get("uid")) for entry in leaving.values()]
        named = targets(mine) | targets(live, gone)

        def is_scaled(key: Key, seen: Object | None) -> bool:
            if key.group_kind not in SCALABLE:
                return False
            if asked is not None:
                return asked
            if Scaled.of(key) in named:
                return True
            # Without the right to list autoscalers the last writer of the number has to do as evidence.
            return not complete and seen is not None and scaled_by_machine(seen)

        return is_scaled

    # ---- planning

    def _plan(
        self,
        plans: Sequence[_Plan],
        missing: set[str],
        changing: frozenset[GroupKind],
        scaled: Callable[[Key, Object | None], bool],
        final: bool = False,
    ) -> None:
        """Dry-run these objects, side by side. Raises with everything that is refused."""
        roles = {(p.key.kind, p.key.name) for p in plans if p.key.group_kind in ROLES}

        def one(plan: _Plan) -> None:
            key = plan.key
            if plan.live is None:
                plan.live = self.api.find(plan.wanted.path, str(key))
                if plan.live is not None:
                    self.mask.learn(plan.live)
            if plan.live is not None:
                self._set.check_member(str(key), plan.live)
                self.held.update(dict.fromkeys(held(key, plan.live)))
                if plan.live["metadata"].get("deletionTimestamp"):
                    plan.live, plan.deferred = None, not final
                    return
            others = scaled(key, plan.live) or holds_replicas(plan.live)
            if others and "replicas" in (plan.body.get("spec") or {}):
                plan.body = leave_replicas(plan.body, plan.live, self.options.field_manager)
            while True:
                try:
                    self._dry_run(plan)
                    return
                except ApiError as exc:
                    if final and exc.bad_request and time.monotonic() < self._fresh.get(key.group_kind, 0.0):
                        time.sleep(_SERVING_PAUSE)
                    elif not final and self._may_come(exc, plan, missing, changing, roles):
                        plan.deferred = True
                        return
                    else:
                        raise

        untouched = not final and set(self.actions.values()) <= {"unchanged"}
        self._each(one, plans, nothing_changed=untouched)
        for plan in plans:
            self._compare(plan)

    def _dry_run(self, plan: _Plan) -> None:
        self._dry_run_once(plan)
        for _attempt in range(_FRESH_READS):
            if plan.live is None or plan.result is None or _version(plan.live) == _version(plan.result):
                return
            # Somebody (often a controller) has written between our two looks; that is not a change of ours.
            plan.live = self.api.find(plan.wanted.path, str(plan.key))
            self._dry_run_once(plan)

    def _dry_run_once(self, plan: _Plan) -> None:
        plan.force = self.options.force_conflicts
        try:
            plan.result = self._send(plan, dry_run=True)
        except ApiError as exc:
            if exc.status != 409 or not only_about_replicas(exc.causes):
                raise
            # The autoscaler that set the number is gone: nobody else will ever give the field back.
            plan.force = True
            plan.result = self._send(plan, dry_run=True)

    def _send(self, plan: _Plan, *, dry_run: bool) -> Object:
        return self.api.apply(
            plan.wanted.path,
            plan.body,
            str(plan.key),
            manager=self.options.field_manager,
            force=plan.force,
            dry_run=dry_run,
        )

    def _may_come(
        self,
        exc: ApiError,
        plan: _Plan,
        missing: set[str],
        changing: frozenset[GroupKind],
        roles: set[tuple[str, str]],
    ) -> bool:
        """The refusal may be only because something of the same set is not there yet."""
        details = exc.body.get("details") or {}
        if exc.status == 404 and details.get("kind") == "namespaces":
            return plan.key.namespace in missing
        if plan.key.group_kind in changing:
            return exc.bad_request or exc.status == 404
        if plan.key.group_kind in BINDINGS and exc.status in (403, 404):
            # Rights can be given only by someone who has them, so the server looks into the role first.
            role = plan.body.get("roleRef") or {}
            return (role.get("kind"), role.get("name")) in roles
        return False

    def _compare(self, plan: _Plan) -> None:
        if plan.result is None:
            return
        if plan.live is None:
            plan.changed = True
            self.differences.create(plan.key, plan.result)
        else:
            plan.changed = self.differences.compare(plan.key, plan.live, plan.result, self.options.field_manager)
        if not plan.changed:
            self.actions[plan.key] = "unchanged"
        elif plan.live is not None and plan.force and plan.key.group_kind in (CONFIG_MAP, SECRET):
            self._note_taken(plan.key, plan.live, plan.result)

    def _note_taken(self, key: Key, live: Object, result: Object) -> None:
        """Contents that somebody else has set: a pod that has read them meanwhile goes on with them."""
        before, after = live.get("data") or {}, result.get("data") or {}
        managers: dict[str, None] = {}
        for name in (name for name in before if before[name] != after.get(name)):
            owners = [str(entry.get("manager")) for entry in field_managers(live, "data", name)]
            managers.update(dict.fromkeys(owners if self.options.field_manager not in owners else []))
        if managers:
            self.taken[
                f"{key}: what {', '.join(managers)} had put there is taken back. Pods that were started meanwhile may "
                "have read it and go on with it, which a proof does not see: playbooks/drift.yml tells of them."
            ] = None

    # ---- check mode

    def _predict(
        self,
        plans: Sequence[_Plan],
        namespace_missing: bool,
        parent: Object | None,
        final: Scope,
        leaving: Mapping[Key, Object],
        kept: Iterable[Key],
    ) -> None:
        own = self._own_namespace
        if namespace_missing and own not in {plan.key for plan in plans}:
            self.differences.create(own, self._namespace_definition())
            self.actions[own] = "created"
        self._compare_parent(parent, final)
        for plan in plans:
            if plan.deferred:
                # Its kind or namespace is not there: what is known is what would be sent.
                if plan.live is None:
                    self.differences.create(plan.key, plan.body)
                else:
                    plan.changed = self.differences.compare(
                        plan.key, plan.live, _overlay(plan.live, plan.body), self.options.field_manager
                    )
            action = "unchanged" if not plan.changed else "configured" if plan.live else "created"
            self.actions[plan.key] = action
        for key, live in leaving.items():
            if not live["metadata"].get("deletionTimestamp"):
                self.differences.remove(key, "pruned")
                self.actions[key] = "pruned"
        self._note_kept(kept)

    # ---- doing

    def _make_namespace(self, plans: Sequence[_Plan], missing: bool) -> None:
        """The set's own namespace comes before everything: the parent lives in it."""
        if not missing:
            return
        own = self._own_namespace
        for plan in plans:
            if plan.key == own:
                self._apply_one(plan)
                return
        definition = self._namespace_definition()
        path = f"/api/v1/namespaces/{segment(own.name)}"
        self.api.apply(path, definition, str(own), manager=self.options.field_manager, force=True, dry_run=False)
        self.differences.create(own, definition)
        self.actions[own] = "created"

    def _namespace_definition(self) -> Object:
        labels = {
            "app.kubernetes.io/managed-by": TOOL,
            "app.kubernetes.io/part-of": "supersonic",
            **self.options.namespace_labels,
        }
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.options.namespace, "labels": labels}}

    @property
    def _own_namespace(self) -> Key:
        return Key("", NAMESPACE.kind, None, self.options.namespace)

    @property
    def _parent_key(self) -> Key:
        return Key("", CONFIG_MAP.kind, self.options.namespace, self._set.parent_name)

    @property
    def _parent_label(self) -> str:
        return f"{self._parent_key}"

    def _write_parent(self, parent: Object | None, scope: Scope) -> Object:
        if parent is not None and not self._parent_differs(parent, scope):
            return parent
        return self.api.apply(
            self._set.parent_path,
            self._set.parent(scope),
            self._parent_label,
            manager=self.options.field_manager,
            force=True,
            dry_run=False,
        )

    def _compare_parent(self, parent: Object | None, scope: Scope) -> None:
        if parent is None:
            self.differences.create(self._parent_key, self._set.parent(scope))
            self.actions[self._parent_key] = "created"
        elif self._parent_differs(parent, scope):
            after = _overlay(parent, self._set.parent(scope))
            self.differences.compare(self._parent_key, parent, after, self.options.field_manager)
            self.actions[self._parent_key] = "configured"

    def _parent_differs(self, parent: Object, scope: Scope) -> bool:
        wanted = self._set.parent(scope)["metadata"]
        metadata = parent["metadata"]
        prefix = PART_OF_LABEL.partition("/")[0]
        ours = {k: v for k, v in (metadata.get("annotations") or {}).items() if k.startswith(f"{prefix}/")}
        labels = metadata.get("labels") or {}
        return bool(ours != wanted["annotations"] or any(labels.get(k) != v for k, v in wanted["labels"].items()))

    def _apply_all(
        self, plans: Sequence[_Plan], changing: frozenset[GroupKind], scaled: Callable[[Key, Object | None], bool]
    ) -> None:
        waves: dict[int, list[_Plan]] = {}
        for plan in plans:
            waves.setdefault(rank(plan.key.group_kind), []).append(plan)
        first = {rank(NAMESPACE), rank(CRD)}
        for number in sorted(set(waves) & first):
            self._each(self._apply_one, [plan for plan in waves[number] if plan.changed])
        definitions = [plan for plan in waves.get(rank(CRD), []) if plan.result is not None]
        if definitions:
            # Without this nothing of the set could be applied, so it does not depend on the option wait.
            waiter = Waiter(self.api, self.mask, _CRD_SECONDS, budget=_CRD_SECONDS)
            waiter.ready(Target(p.key, p.wanted.path, p.result) for p in definitions if p.result is not None)
            self._kinds.forget(kind.group for kind in changing)
            self._fresh = dict.fromkeys(changing, time.monotonic() + _SCHEMA_SECONDS)
        deferred = [plan for number in sorted(set(waves) - first) for plan in waves[number] if plan.deferred]
        self._settle(deferred, scaled)
        for number in sorted(set(waves) - first):
            self._each(self._apply_one, [plan for plan in waves[number] if plan.changed])

    def _settle(self, deferred: Sequence[_Plan], scaled: Callable[[Key, Object | None], bool]) -> None:
        """Dry-run what could not be dry-run before, now that namespaces and kinds are there."""
        going = [plan for plan in deferred if plan.live is None]
        seen = [(plan, self.api.find(plan.wanted.path, str(plan.key))) for plan in going if self._served(plan)]
        self._waiter().gone(
            Target(plan.key, plan.wanted.path, live)
            for plan, live in seen
            if live is not None and live["metadata"].get("deletionTimestamp")
        )
        ready = [plan for plan in deferred if plan.key.group_kind not in BINDINGS]
        self._plan(ready, set(), frozenset(), scaled, final=True)

    def _served(self, plan: _Plan) -> bool:
        """Wait for the API server to serve a kind whose definition has just been established."""
        if is_builtin_group(plan.key.group):
            return True
        limit = time.monotonic() + _SERVING_SECONDS
        while time.monotonic() < limit:
            try:
                self.api.list(plan.wanted.resource.path(plan.key.namespace), str(plan.key), {"limit": "1"})
            except ApiError as exc:
                if exc.status != 404:
                    raise
                time.sleep(_SERVING_PAUSE)
            else:
                return True
        raise SupersonicError(
            f"{plan.key}: the API server does not serve its kind {_SERVING_SECONDS:g} s after defining it."
        )

    def _apply_one(self, plan: _Plan) -> None:
        if plan.key in self.actions:
            return
        if plan.result is None:
            # A binding whose role has been applied just before.
            plan.force = self.options.force_conflicts
            plan.result = self._send(plan, dry_run=False)
            self._compare(plan)
        else:
            plan.result = self._send(plan, dry_run=False)
        self.actions.setdefault(plan.key, "configured" if plan.live else "created")

    def _delete(self, objects: Mapping[Key, Object], how: str) -> list[Target]:
        """Delete in the reverse of the order of applying; what is deleted already only has to be waited for."""
        waves: dict[int, list[tuple[Key, Object]]] = {}
        for key, live in objects.items():
            waves.setdefault(rank(key.group_kind), []).append((key, live))
        found: list[Target] = []

        def one(entry: tuple[Key, Object]) -> Target | None:
            key, live = entry
            resource = self._kinds.find_any(key.group_kind)
            if resource is None:
                # Its kind has gone meanwhile, and with it the object.
                return None
            path = resource.path(key.namespace, key.name)
            if not live["metadata"].get("deletionTimestamp"):
                self._delete_object(path, key, live)
                self.differences.remove(key, how)
                self.actions[key] = how
            return Target(key, path, live)

        for number in sorted(waves, reverse=True):
            found += [target for target in self._each(one, waves[number]) if target]
        return found

    def _delete_object(self, path: str, key: Key, live: Object, propagation: str = "Foreground") -> None:
        try:
            self.api.delete(path, str(key), uid=live["metadata"]["uid"], propagation=propagation)
        except ApiError as exc:
            # Gone meanwhile, or gone and made anew by somebody else.
            if exc.status not in (404, 409):
                raise

    def _note_kept(self, kept: Iterable[Key]) -> None:
        for key in kept:
            self.actions[key] = "kept"

    # ---- state: absent

    def absent(self) -> None:
        items = read(self.definitions)
        with ThreadPoolExecutor(_WORKERS) as pool:
            self._pool = pool
            self._absent(items)

    def _absent(self, items: Sequence[Item]) -> None:
        options = self.options
        parent = self.api.find(self._set.parent_path, self._parent_label)
        scope = self._set.read_parent(parent)
        spaces = {
            str(i.definition["metadata"]["namespace"]) for i in items if i.definition["metadata"].get("namespace")
        }
        kinds = scope.kinds | {item.group_kind for item in items}
        members = self._members(kinds, scope.namespaces | spaces | {options.namespace})
        leaving = self._leaving(members, set())
        kept = set(members) - set(leaving)
        # Without the set they are somebody else's.
        byproducts = self._byproducts() if parent is not None else {}
        self.order = _in_order_of_deletion([*members, *byproducts])
        if options.check:
            for key, live in (leaving | byproducts).items():
                if not live["metadata"].get("deletionTimestamp"):
                    self.differences.remove(key, "deleted")
                    self.actions[key] = "deleted"
        else:
            waiter = self._waiter()
            # Finalizers of custom resources need their controller, which may be in the same set.
            custom = {key: live for key, live in leaving.items() if not is_builtin_group(key.group)}
            last = {key: live for key, live in leaving.items() if key.group_kind in (NAMESPACE, CRD)}
            rest = {key: live for key, live in leaving.items() if key not in custom and key not in last}
            # What makes the byproducts goes before them.
            for part in (custom, rest, byproducts):
                removed = self._delete(part, "deleted")
                if options.wait:
                    waiter.gone(removed)
        if parent is not None and not kept:
            self._remove_parent(parent)
        if not options.check and last:
            removed = self._delete(last, "deleted")
            if options.wait:
                waiter.gone(removed)
        self._note_kept(kept)
        if options.delete_namespace:
            self._remove_namespace()

    def _byproducts(self) -> dict[Key, Object]:
        """Objects without an owner that the programs of the set created."""
        items = read(self.options.byproducts)
        resources, _brought, _expected = self._look_up(items)
        wanted = place(items, resources, self.options.namespace, self.options.additional_namespaces)
        found = self._each(lambda entry: self.api.find(entry.path, str(entry.key)), wanted)
        return {entry.key: live for entry, live in zip(wanted, found, strict=True) if live is not None}

    def _remove_parent(self, parent: Object) -> None:
        if not self.options.check:
            self._delete_object(self._set.parent_path, self._parent_key, parent, propagation="Background")
        self.differences.remove(self._parent_key, "deleted")
        self.actions[self._parent_key] = "deleted"

    def _remove_namespace(self) -> None:
        """Remove the namespace that create_namespace made, unless another set still lives in it."""
        own = self._own_namespace
        if own in self.actions:
            return
        path = f"/api/v1/namespaces/{segment(own.name)}"
        live = self.api.find(path, str(own))
        if live is None:
            return
        if (live["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") != TOOL:
            self.left.append(f"The namespace '{own.name}' was not created by this collection and is left.")
            return
        parents = self.api.list(f"{path}/configmaps", "sets in the namespace", {"labelSelector": _SET_PARENTS})
        others = sorted(p["metadata"]["name"] for p in parents if p["metadata"]["name"] != self._set.parent_name)
        if others or any(action == "kept" for action in self.actions.values()):
            what = f"the sets {', '.join(others)} are" if others else "objects that are kept are"
            self.left.append(f"The namespace '{own.name}' is left, {what} still in it.")
            return
        strangers = self._strangers(own.name)
        if strangers:
            named = ", ".join(strangers[:3]) + (f" and {len(strangers) - 3} more" if len(strangers) > 3 else "")
            self.left.append(f"The namespace '{own.name}' is left, somebody else's objects are in it: {named}.")
            return
        if self.options.check:
            if not live["metadata"].get("deletionTimestamp"):
                self.differences.remove(own, "deleted")
                self.actions[own] = "deleted"
            return
        removed = self._delete({own: live}, "deleted")
        if self.options.wait:
            self._waiter().gone(removed)

    def _strangers(self, namespace: str) -> list[str]:
        """Objects of the namespace that neither this collection nor a controller created."""
        going = {(f"{key.kind.lower()}s", key.name) for key, action in self.actions.items() if action == "deleted"}

        def found(entry: tuple[str, str]) -> list[str]:
            kind, path = entry
            items = self.api.list(f"{path}/{namespace}/{kind}", f"{kind} in namespace {namespace}")
            return [
                f"{kind}/{item['metadata']['name']}"
                for item in items
                if (kind, item["metadata"]["name"]) not in going
                and not item["metadata"].get("ownerReferences")
                and not item["metadata"].get("deletionTimestamp")
                # A claim has data, and goes only when its set says so: one that is ours may have lost its set.
                and (kind == "persistentvolumeclaims" or self._is_strange(item))
                and not (kind == "configmaps" and item["metadata"]["name"] == "kube-root-ca.crt")
            ]

        return sorted(name for names in self._each(found, _MISSED) for name in names)

    def _is_strange(self, item: Object) -> bool:
        labels = item["metadata"].get("labels") or {}
        return labels.get("app.kubernetes.io/managed-by") != TOOL and labels.get(PART_OF_LABEL) != self._set.id

    # ---- common

    def _waiter(self) -> Waiter:
        """All waiting of one run shares one time budget, which begins with the first wait."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self.options.wait_timeout
        return Waiter(
            self.api,
            self.mask,
            max(1.0, self._deadline - now),
            budget=self.options.wait_timeout,
            load_balancers=self.options.wait_for_load_balancer,
        )

    def _each(
        self, function: Callable[[In], Out], entries: Iterable[In], *, nothing_changed: bool = False
    ) -> list[Out]:
        """Call a function for all entries side by side; everything that fails is reported together."""
        futures = [self._pool.submit(function, entry) for entry in entries]
        results: list[Out] = []
        failures: list[SupersonicError] = []
        for future in futures:
            try:
                results.append(future.result())
            except SupersonicError as exc:
                failures.append(exc)
        if not failures:
            return results
        text = joined(failures)
        if nothing_changed and all(isinstance(exc, ApiError) for exc in failures):
            # The API server's own sentences end without a full stop.
            text = f"{text.rstrip('.')}. Nothing of this set was changed."
        raise SupersonicError(text) from failures[0]


# What to look at before a namespace goes, with the beginning of its path.
_MISSED = (
    *((kind, "/api/v1/namespaces") for kind in ("persistentvolumeclaims", "secrets", "configmaps", "services", "pods")),
    *((kind, "/apis/apps/v1/namespaces") for kind in ("deployments", "statefulsets", "daemonsets")),
    *((kind, "/apis/batch/v1/namespaces") for kind in ("jobs", "cronjobs")),
)
_SET_PARENTS = f"applyset.kubernetes.io/id,app.kubernetes.io/managed-by={TOOL}"


def _fixes_replicas(wanted: Wanted) -> bool:
    return wanted.key.group_kind in SCALABLE and "replicas" in (wanted.definition.get("spec") or {})


def _version(value: Object) -> str | None:
    return t.cast("str | None", value["metadata"].get("resourceVersion"))


def _in_order_of_deletion(keys: Iterable[Key]) -> list[Key]:
    return sorted(keys, key=lambda key: (-rank(key.group_kind), key.kind, key.namespace or "", key.name))


def _overlay(live: t.Any, wanted: t.Any) -> t.Any:
    """The predicted result of applying, as far as it is known without the server."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        return {**live, **{key: _overlay(live.get(key), value) for key, value in wanted.items()}}
    return wanted
