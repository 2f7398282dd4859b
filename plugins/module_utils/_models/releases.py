# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists, verifies, prunes and rolls back releases of a store.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.timestamp import stamp
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import (
    Models,
    Options,
    Published,
    Session,
    Target,
    after_switch,
    already_served,
    as_found,
    difference,
    hang_up,
    models_in,
    open_store,
    replacing,
    warnings_of,
    with_patience,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import ID_LENGTH, Begun, readable

SHORTEST_ID = 8
_ID = re.compile(f"[0-9a-f]{{{SHORTEST_ID},{ID_LENGTH}}}")


def check_id(release: str) -> None:
    """Refuse what cannot be the beginning of an id."""
    if not _ID.fullmatch(release):
        raise SupersonicError(
            f"release is '{release}'; it has to be an id or at least its first {SHORTEST_ID} characters, "
            f"which are 0-9 and a-f (an id has {ID_LENGTH})."
        )


def roll_back(target: Target, release: str | None, options: Options) -> dict[str, t.Any]:
    """Switch to a release that is in the store: the one that this names, or the one that was current before."""
    if release is not None:
        check_id(release)
    before = target.published()
    there = release is not None and before.release is not None and before.release.startswith(release)
    if there and before.release and not options.verify and not target.unfinished():
        # Nobody has to open a store that says so itself, unless files are to be looked at.
        return _rolled(before, before.release, before.models or [], changed=False)
    if options.check:
        return _predict_roll_back(target, before, release, options)
    # Which one is decided once: after a lost connection the release before the current one would be another one.
    chosen = [release] if release else []
    found: list[Published] = []

    def attempt() -> dict[str, t.Any]:
        with target.session() as (session, holder, pods):
            opened = open_store(session, holder, pods, options, make=False)
            current, begun = opened["current"], target.refresh()
            if not chosen:
                chosen.append(_way_back(session, begun, current))
            name = _found(session, chosen[0], current, options)
            models = models_in(session, name)
            if not found:
                found.append(as_found(session, before, current))
            if name != current:
                target.announce(session, Begun(name, current or "", back=True), opened["age"])
            outcome = session.call("switch_to", release=name)
            with after_switch(name, outcome):
                recorded = target.record(session, outcome, {name: models})
                hang_up(session)
        rolled = _rolled(found[0], name, models, changed=outcome["switched"] or recorded, begun=begun)
        return {**rolled, **warnings_of(outcome)}

    return with_patience(attempt)


def _way_back(session: Session, begun: Begun | None, current: str | None) -> str:
    """The release to go back to when none is named.

    Where a switch was begun nobody knows how far it has got, so its end is the same either way: a roll-back is
    completed, and what a publication was to replace is served again.
    """
    return (begun and begun.way_back(current)) or str(session.call("find"))


def _found(session: Session, release: str, current: str | None, options: Options) -> str:
    """The whole id of a release that can be gone back to."""
    name = str(session.call("find", release=release))
    if name != current or options.verify:
        session.call("check_whole", release=name, read=options.verify)
    return name


def _predict_roll_back(target: Target, before: Published, release: str | None, options: Options) -> dict[str, t.Any]:
    with target.reading() as session:
        session.call("require")
        current, begun = session.call("inspect")["current"], target.refresh()
        name = _found(session, release or _way_back(session, begun, current), current, options)
        models = models_in(session, name)
        found = as_found(session, before, current)
    changed = not name == before.release == current
    return _rolled(found, name, models, changed=changed, verb="would replace", begun=begun)


def _rolled(
    before: Published,
    release: str,
    models: Models,
    *,
    changed: bool,
    verb: str = "replaced",
    begun: Begun | None = None,
) -> dict[str, t.Any]:
    msg = already_served(release, begun)
    if release != before.release:
        msg = f"{replacing(verb, release, before)}; nothing tries it anew, since it was served before."
    return {
        "msg": msg,
        "changed": changed,
        "release": release,
        "previous_release": before.release,
        "models": models,
        "diff": difference(before, Published(release, models)),
    }


def prune(target: Target, options: Options) -> dict[str, t.Any]:
    """Remove releases beyond those that are kept, and contents that no release needs."""
    if options.check:
        with target.reading() as session:
            session.call("require")
            state = session.call("inspect")
            held = [item["release"] for item in state["releases"]]
            return _pruned(held, session.call("surplus", keep=options.keep), state["current"], "that would be ")

    def attempt() -> dict[str, t.Any]:
        with target.session() as (session, holder, pods):
            open_store(session, holder, pods, options, make=False)
            target.refresh()
            held = [item["release"] for item in session.call("inspect")["releases"]]
            outcome = session.call("prune", keep=options.keep)
            if outcome["current"] and outcome["releases"][0]["release"] == outcome["current"]:
                target.record(session, outcome, {})
            hang_up(session)
        return _pruned(held, outcome, outcome["current"], "")

    return with_patience(attempt)


def _pruned(held: list[str], outcome: dict[str, t.Any], current: str | None, mood: str) -> dict[str, t.Any]:
    """mood: empty for what is done, or that it would be, as check mode predicts it."""
    left = [name for name in held if name not in outcome["pruned"]]
    removed, kept = (", ".join(names) or "none" for names in (outcome["pruned"], left))
    return {
        "changed": bool(outcome["pruned"] or outcome["contents"] or outcome["manifests"]),
        "msg": f"Releases {mood}removed: {removed}. Space {mood}freed: {readable(outcome['bytes'])}. "
        f"Releases {mood}kept: {kept}.",
        "release": current,
        "pruned": outcome["pruned"],
        "freed_bytes": outcome["bytes"],
        "diff": {
            "before_header": "releases in the store",
            "after_header": "releases in the store",
            "before": "".join(f"{name}\n" for name in held),
            "after": "".join(f"{name}\n" for name in left),
        },
    }


def verify(target: Target, everything: bool) -> dict[str, t.Any]:
    """Read releases again and say what is not as it was published."""
    with target.reading() as session:
        session.call("require")
        state = session.call("inspect")
        current = state["current"]
        if current is None:
            raise SupersonicError("The store serves no release, so there is nothing to verify. Publish one first.")
        names = [item["release"] for item in state["releases"]] if everything else [current]
        drift = []
        for name in names:
            if everything and session.call("manifest", release=name) is None:
                # Nothing can be said about its files, which is no reason not to read those of the others.
                found = {"changed": [f"manifests/{name}"], "missing": [], "foreign": []}
            else:
                found = session.call("drift", release=name)
            drift.append({"release": name, "current": name == current, "sound": not any(found.values()), **found})
    return {
        "changed": False,
        "release": current,
        "sound": all(item["sound"] for item in drift),
        "drift": drift,
        "diff": {"before": "", "after": ""},
    }


def describe(target: Target, deep: bool) -> dict[str, t.Any]:
    """The releases of a store; without `deep` by notes outside of the store, if there are any."""
    published = target.published()
    noted = None if deep else target.noted()
    result: dict[str, t.Any] = {"leftovers": None, "lock": None, "space": None, "opened": False}
    if noted is not None:
        releases, current = noted, published.release
    elif deep:
        with target.reading() as session:
            state = session.call("inspect")
            current = state["current"]
            releases = [{**item, "models": models_in(session, item["release"])} for item in state["releases"]]
        result.update(
            opened=True,
            leftovers={
                "staging": state["staging"],
                "unused_contents": state["unused_contents"],
                "unused_bytes": state["unused_bytes"],
            },
            lock=state["lock"] and _lock(state["lock"]),
            space=state["space"],
        )
    else:
        # A claim that an older version has noted, or nobody yet.
        current = published.release
        releases = [{"release": current, "published": None, "models": published.models}] if current else []
    others = [item["release"] for item in releases if item["release"] != current and item.get("served", True)]
    begun = target.begun()
    result.update(
        current=current,
        previous=others[0] if others and current else None,
        unfinished=begun and _begun(begun),
        releases=[_release(item, current) for item in releases],
    )
    return result


def _begun(begun: Begun) -> dict[str, t.Any]:
    return {
        "release": begun.release or None,
        "before": begun.before or None,
        "state": "rolled_back" if begun.back else "published",
    }


def _release(item: dict[str, t.Any], current: str | None) -> dict[str, t.Any]:
    models = item.get("models")
    return {
        "release": item["release"],
        "current": item["release"] == current,
        "published": _time(item.get("published")),
        "served": item.get("served", True),
        "size": None if models is None else sum(model["size"] for model in models),
        "models": models,
    }


def _lock(lock: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "holder": lock["holder"],
        "since": _time(lock["since"]),
        "silent_seconds": round(lock["age"], 1),
        "stale": lock["stale"],
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else stamp(seconds)


def differences(models: Models, served: Sequence[dict[str, t.Any]]) -> list[str]:
    """The models that a server's index lacks or has in addition to those of a release, a sentence each."""
    known = {model["name"] for model in models}
    foreign = {entry["name"] for entry in served} - known
    return missing_from(models, served) + [f"{name} is not of this release" for name in sorted(foreign)]


def missing_from(models: Models, served: Sequence[dict[str, t.Any]]) -> list[str]:
    """The models of a release that a server's index lacks, a sentence each."""
    index: dict[str, list[dict[str, t.Any]]] = {}
    for entry in served:
        index.setdefault(entry["name"], []).append(entry)
    found = []
    for model in models:
        entries = index.get(model["name"])
        if entries is None:
            found.append(f"{model['name']} is not in the server's index")
        elif not any(entry["ready"] for entry in entries):
            reason = next((entry["reason"] for entry in entries if entry["reason"]), "")
            found.append(f"{model['name']} is not ready" + (f": {reason}" if reason else ""))
        else:
            stray = sorted(
                int(entry["version"])
                for entry in entries
                if entry["ready"] and entry["version"].isdigit() and int(entry["version"]) not in model["versions"]
            )
            if stray:
                found.append(f"{model['name']} is served in versions that the release lacks: {stray}")
    return found
