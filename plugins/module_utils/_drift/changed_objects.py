# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares the objects of an ApplySet with what would be applied, and names who changed them. Read-only.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

What would be applied is computed as the module manifests does it, by its own code in check mode: the API server's
dry-run of every object. Fields are taken over in it, so that a conflict is a difference with an author and no error.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._drift import changed_fields
from ansible_collections.fastml.supersonic.plugins.module_utils._drift.changed_fields import (
    DESIRED,
    ERROR,
    MISSING,
    NOTE,
    WARNING,
    Difference,
    Finding,
    finding,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, Unreachable
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.apply import Options, Run, _Plan
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.applyset import Scope
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import Mask, normalise
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import SECRET
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.manifests import options_of

Object = dict[str, t.Any]

_APPLY = "A run of site.yml applies it."
_RESTORE = "A run of site.yml puts it back; if the change is to stay, put it into the inventory."
_CONFLICT = (
    "Put it into the inventory, or have a run of site.yml take it back with supersonic_force_conflicts: true; without "
    "that it stops with a conflict here, since the field belongs to somebody else."
)


class Comparison(Run):
    """A run in check mode that keeps what it has found out about every object."""

    def __init__(
        self, api: Api, options: Options, definitions: Sequence[t.Any], mask: Mask, trusted: Sequence[str] = ()
    ) -> None:
        super().__init__(api, options, definitions, mask)
        self.trusted = trusted
        self.findings: list[Finding] = []
        self.unknown: list[str] = []
        self._refused: dict[Key, ApiError] = {}

    def look(self) -> None:
        """Everything; the order of the findings is that of the definitions."""
        if self.definitions:
            self.present()
        else:
            self._nothing()
        self.findings += [finding(WARNING, DESIRED, "held", text.partition(":")[0], text) for text in self.held]

    def _nothing(self) -> None:
        """Add findings for the objects of a set that should be empty."""
        with ThreadPoolExecutor(4) as pool:
            self._pool = pool
            parent = self.api.find(self._set.parent_path, self._parent_label)
            scope = self._set.read_parent(parent)
            members = self._members(scope.kinds, scope.namespaces | {self.options.namespace})
        leaving = self._leaving(members, set())
        self._extra(leaving, [key for key in members if key not in leaving])

    def _may_come(self, exc: ApiError, plan: _Plan, *known: t.Any) -> bool:
        if not super()._may_come(exc, plan, *known):
            # One object that cannot be compared says nothing about the others.
            self._refused[plan.key] = exc
        return True

    def _predict(
        self,
        plans: Sequence[_Plan],
        namespace_missing: bool,
        parent: Object | None,
        final: Scope,
        leaving: Mapping[Key, Object],
        kept: Iterable[Key],
    ) -> None:
        super()._predict(plans, namespace_missing, parent, final, leaving, kept)
        if namespace_missing:
            self.findings.append(
                finding(
                    ERROR,
                    DESIRED,
                    "missing",
                    str(self._own_namespace),
                    "the namespace does not exist",
                    "A run of site.yml makes it where supersonic_create_namespace is true.",
                )
            )
        if parent is None and not namespace_missing and any(plan.live is not None for plan in plans):
            self.findings.append(
                finding(
                    WARNING,
                    DESIRED,
                    "missing",
                    str(self._parent_key),
                    "the record of the set is missing, so that objects that leave the inventory would not be found",
                    _APPLY,
                )
            )
        for plan in plans:
            self._judge(plan)
        self._extra(leaving, kept)

    def _judge(self, plan: _Plan) -> None:
        what = str(plan.key)
        refusal = self._refused.get(plan.key)
        if plan.live is None:
            text = "it is missing"
            if refusal is not None:
                text += f", and the API server would not take it: {refusal}"
            self.findings.append(finding(ERROR, DESIRED, "missing", what, text, _APPLY))
            return
        if refusal is not None:
            self._not_compared(plan, refusal)
            return
        if plan.result is None:
            return
        found = list(changed_fields.differences(normalise(plan.result), normalise(plan.live)))
        self.findings += [self._difference(plan, difference) for difference in found]
        paths = [difference.path for difference in found]
        for entry, fields in changed_fields.foreign(plan.live, self.options.field_manager, paths, self.trusted):
            authors = [changed_fields.author(entry)]
            self.findings.append(
                finding(
                    WARNING,
                    DESIRED,
                    "added",
                    what,
                    f"{changed_fields.listed(fields)}: not from the inventory, added by {changed_fields.by(authors)}",
                    "A run of site.yml leaves it. Remove it, or put it into the inventory.",
                    fields=fields,
                    by=authors,
                )
            )
        if not found and plan.changed:
            self.findings.append(
                finding(
                    NOTE,
                    DESIRED,
                    "ownership",
                    what,
                    "its fields have the wanted values, but not all of them by the inventory",
                    _APPLY,
                )
            )

    def _not_compared(self, plan: _Plan, refusal: ApiError) -> None:
        if refusal.status in (401, 403):
            self.unknown.append(f"{plan.key} was not compared: {refusal}")
            return
        self.findings.append(
            finding(
                ERROR,
                DESIRED,
                "refused",
                str(plan.key),
                f"the API server would not take what the inventory says: {refusal}",
                "Correct the inventory. For an immutable field delete the object, then run site.yml.",
            )
        )

    def _difference(self, plan: _Plan, difference: Difference) -> Finding:
        """desired is what the server would have after a run, live what it has."""
        live = t.cast("Object", plan.live)
        manager = self.options.field_manager
        field, owners = changed_fields.text_of(difference.path), changed_fields.owners(live, difference.path)
        others = [entry for entry in owners if not changed_fields.is_ours(entry, manager)]
        desired, has = self._shown(plan.key, difference)
        values: dict[str, t.Any] = {"field": field}
        if difference.before is not MISSING:
            values["desired"] = desired
        if difference.after is not MISSING:
            values["live"] = has
        if others and difference.after is not MISSING:
            authors = changed_fields.latest(others)
            text = f"{field} was set by {changed_fields.by(authors)}"
            return finding(ERROR, DESIRED, "edited", str(plan.key), text, _CONFLICT, by=authors, **values)
        if difference.after is MISSING:
            # A field that is gone has no author any more; whoever has written since may have taken it away.
            since = self._strangers_since(live)
            if since:
                text = f"{field} is missing; written since the last run: {changed_fields.by(since)}"
                return finding(ERROR, DESIRED, "removed", str(plan.key), text, _RESTORE, by=since, **values)
            text = f"{field} is missing: it was removed, or the inventory has it only now"
            return finding(ERROR, DESIRED, "not applied", str(plan.key), text, _APPLY, **values)
        if not owners:
            return self._unnoted(plan, field, values)
        authors = changed_fields.latest(owners)
        text = f"{field} was applied by {changed_fields.by(authors)}, and the inventory "
        text += "does not have it any more" if difference.before is MISSING else "has another value now"
        return finding(ERROR, DESIRED, "not applied", str(plan.key), text, _APPLY, by=authors, **values)

    def _unnoted(self, plan: _Plan, field: str, values: Mapping[str, t.Any]) -> Finding:
        """A field that nobody has set as far as Kubernetes knows."""
        if field == "spec.replicas":
            # By the scale subresource, of which Kubernetes notes a 0 for nobody.
            text = f"{field} was set by somebody who is not noted, as of a number of 0 (kubectl scale)"
            return finding(ERROR, DESIRED, "edited", str(plan.key), text, _RESTORE, **values)
        text = f"{field} is as the API server sets it by default, and the inventory says it only now"
        return finding(ERROR, DESIRED, "not applied", str(plan.key), text, _APPLY, **values)

    def _strangers_since(self, live: Object) -> list[dict[str, str]]:
        applied = max(
            (
                str(e.get("time") or "")
                for e in changed_fields.writers(live)
                if changed_fields.is_ours(e, self.options.field_manager)
            ),
            default="",
        )
        kind = str(live.get("kind", ""))
        return changed_fields.latest(
            entry
            for entry in changed_fields.writers(live)
            if not changed_fields.is_trusted(entry, self.trusted, kind) and str(entry.get("time") or applied) >= applied
        )

    def _shown(self, key: Key, difference: Difference) -> tuple[t.Any, t.Any]:
        """Both values as they may be shown: of a Secret none."""
        if key.group_kind == SECRET and difference.path[:1] in (("data",), ("stringData",)):
            return "(hidden)", "(hidden, another value)"
        before, after = (self.mask.deep(_plain(value)) for value in (difference.before, difference.after))
        return before, after

    def _extra(self, leaving: Mapping[Key, Object], kept: Iterable[Key]) -> None:
        for key in leaving:
            self.findings.append(
                finding(
                    ERROR,
                    DESIRED,
                    "extra",
                    str(key),
                    "the inventory does not have it any more",
                    "A run of site.yml removes it.",
                )
            )
        for key in kept:
            self.findings.append(
                finding(
                    NOTE,
                    DESIRED,
                    "kept",
                    str(key),
                    "the inventory does not have it any more, and no run removes it, because data would go with it",
                    "Remove it by hand when nobody needs its data.",
                )
            )


def _plain(value: t.Any) -> t.Any:
    return None if value is MISSING else value


def run(module: t.Any) -> None:
    """The module manifests_info: compare, and leave through the module."""
    params: dict[str, t.Any] = module.params
    mask = Mask(params["definitions"])
    try:
        # Taken over in a dry-run, a field of somebody else is a difference; a namespace that is not there is one too.
        given = {
            **params,
            "create_namespace": True,
            "namespace_labels": {},
            "delete_namespace": False,
            "prune": True,
            "byproducts": [],
            "expected_kinds": [],
            "force_conflicts": True,
            "wait": False,
            "wait_timeout": 1,
            "wait_for_load_balancer": False,
        }
        options = options_of(given, check=True)
        work = Comparison(Api(connection(params)), options, params["definitions"], mask, params["trusted_managers"])
    except SupersonicError as exc:
        module.fail_json(msg=mask.text(str(exc)))
        return
    try:
        work.look()
    except SupersonicError as exc:
        # Of several questions at once the cause is the first that failed.
        if isinstance(exc, Unreachable) or isinstance(exc.__cause__, Unreachable):
            module.fail_json(msg=mask.text(str(exc.__cause__ or exc)))
        work.unknown.append(f"The set {options.name} was not compared: {exc}")
    module.exit_json(changed=False, findings=mask.deep(work.findings), unknown=mask.deep(work.unknown))
