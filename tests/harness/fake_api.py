# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Kubernetes API server of unit tests, for races and refusals that a real one cannot be made to have.

It keeps what guards rest on: every write gives an object the next resourceVersion, every object that is created gets a
uid of its own, and a write whose resourceVersion or preconditions are not those of the object is answered with 409.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import APPLY, Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.discovery import _BUILTIN, Resource
from ansible_collections.fastml.supersonic.tests.harness.answers import JsonHandler, served

Object = dict[str, Any]
Leaf = tuple[str, ...]

SCALED_OBJECT = Resource("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects", True)
_SERVED = [
    *_BUILTIN,
    Resource("", "v1", "Node", "nodes", False),
    Resource("", "v1", "Event", "events", True),
    Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True),
]
_PATH = re.compile(
    r"(?P<root>/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<space>[^/]+)(?=/))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_IDENTITY = {
    ("apiVersion",),
    ("kind",),
    *(("metadata", key) for key in ("name", "namespace", "resourceVersion", "uid")),
}


class Request(NamedTuple):
    """What a client has sent."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    content_type: str
    authorization: str | None

    @property
    def trial(self) -> bool:
        return self.query.get("dryRun") == "All"


class Refusal(Exception):
    """An answer that is no success."""

    headers: Mapping[str, str] = {}

    def __init__(self, status: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"kind": "Status", "code": status, "reason": reason, "message": message, "details": details}


class _Place(NamedTuple):
    """A path: which kind it is of, and what it names there."""

    resource: Resource
    space: str | None
    name: str | None
    sub: str | None

    def covers(self, path: str) -> bool:
        """True for an object of this collection; without a namespace: of the one of all namespaces."""
        other = _PATH.fullmatch(path)
        assert other
        root = self.resource.path().rpartition("/")[0]
        return (other["root"], other["plural"]) == (root, self.resource.plural) and self.space in (None, other["space"])


class FakeApi:
    """A server on loopback, as long as it is entered."""

    def __init__(self, *kinds: Resource) -> None:
        # To look at, and to set a scene before anything is asked for.
        self.objects: dict[str, Object] = {}
        self.requests: list[Request] = []
        # The writes that were done.
        self.changes: list[Request] = []
        # The rights of the client, by verb, resource (with its subresource) and namespace.
        self.may: Callable[[str, str, str | None], bool] = lambda _verb, _resource, _space: True
        # They run after each write, as those of a cluster do some time later.
        self.controllers: list[Callable[[], None]] = []
        # At most so many items are in one answer.
        self.page = 500
        # What comes with each answer.
        self.headers: dict[str, str] = {}
        self.url = ""
        self._kinds = {resource.path(): resource for resource in (*_SERVED, *kinds)}
        # Method, path, dry run or not, what is done, how often.
        self._between: list[list[Any]] = []
        self._events: list[tuple[int, str, str, Object]] = []
        self._changed = threading.Condition()
        self._versions = self._created = 0
        self._controlling = self._closed = False
        self._stack = ExitStack()

    def __enter__(self) -> FakeApi:
        self.url = self._stack.enter_context(served(type("Handler", (_Handler,), {"fake": self})))
        return self

    def __exit__(self, *_exc: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._stack.close()

    def client(self, **options: Any) -> Api:
        return Api(Connection(host=self.url, source="a test", token="abc"), **options)

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        cluster = {"name": "fake", "cluster": {"server": self.url}}
        user = {"name": "fake", "user": {"token": "abc"}}
        context = {"name": "fake", "context": {"cluster": "fake", "user": "fake"}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "fake"}
        path.write_text(json.dumps({**config, "clusters": [cluster], "users": [user], "contexts": [context]}))
        return path

    # ---- what others do ----------------------------------------------------------------------------------------------

    def put(self, path: str, item: Mapping[str, Any] | None = None) -> Object:
        """Create an object, or give the one that is there other contents."""
        with self._changed:
            place = self._place(path)
            found = copy.deepcopy(dict(item or {}))
            metadata = found.setdefault("metadata", {})
            metadata.update(name=place.name, **({"namespace": place.space} if place.space else {}))
            if there := self.objects.get(path):
                metadata["uid"] = there["metadata"]["uid"]
            return self._store(path, found)

    @contextmanager
    def changed(self, path: str) -> Iterator[Object]:
        """Change an object that is there."""
        with self._changed:
            found = copy.deepcopy(self.objects[path])
            yield found
            self._store(path, found)

    def remove(self, path: str) -> None:
        with self._changed:
            self._forget(path)

    def recreate(self, path: str) -> None:
        """Another object of the same name and contents."""
        with self._changed:
            item = self.objects.pop(path)
            self._record("DELETED", path, item)
            going = ("uid", "deletionTimestamp", "finalizers")
            self.put(path, {**item, "metadata": {k: v for k, v in item["metadata"].items() if k not in going}})

    def meanwhile(
        self, method: str, path: str, action: Callable[[], object], times: float = 1, *, trial: bool = False
    ) -> None:
        """Do something so many times between what the client has read and this request of it. trial: a dry run."""
        self._between.append([method, path, trial, action, times])

    def fail(
        self, method: str, path: str, status: int, times: float = 1, *, trial: bool = False, **headers: str
    ) -> None:
        """Answer a request so many times with a status, 0: by closing the connection."""

        def refuse() -> None:
            refusal = Refusal(status, "", "refused as told")
            refusal.headers = {name.replace("_", "-"): value for name, value in headers.items()}
            raise refusal

        self.meanwhile(method, path, refuse, times, trial=trial)

    # ---- requests ----------------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Any:
        """What is answered; raises Refusal, or gives a watch as an iterator."""
        this = [request.method, request.path, request.trial]
        with self._changed:
            if between := next((each for each in self._between if each[:3] == this), None):
                between[4] -= 1
                if between[4] <= 0:
                    self._between.remove(between)
                between[3]()
            if request.path == _REVIEWS:
                asked = request.body["spec"]["resourceAttributes"]
                resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
                return {"status": {"allowed": self.may(asked["verb"], resource, asked.get("namespace"))}}
            if request.method == "GET" and (discovery := self._discovery(request.path)):
                return discovery
            place = self._place(request.path)
            self._authorize(request, place)
            if request.method == "GET":
                if place.name:
                    return copy.deepcopy(self._live(request.path, place))
                return self._watch(place, request.query) if "watch" in request.query else self._list(place, request)
            found = self._write(request, place)
            if not request.trial:
                self.changes.append(request)
            return found

    def _write(self, request: Request, place: _Place) -> Object:
        body = request.body
        if request.method == "POST":
            # Nothing is created by it: what this collection makes it applies.
            assert place.sub == "eviction"
            pod = request.path.rpartition("/")[0]
            self._check(self._live(pod, place), (body.get("deleteOptions") or {}).get("preconditions") or {})
            self._forget(pod)
            return {"kind": "Status", "status": "Success"}
        if request.method == "DELETE":
            self._check(self._live(request.path, place), body.get("preconditions") or {})
            self._forget(request.path)
            return {"kind": "Status", "status": "Success"}
        applied = request.content_type == APPLY
        if applied and request.path not in self.objects:
            names = {"name": place.name, **({"namespace": place.space} if place.space else {})}
            found: Object = {"metadata": names}
        else:
            found = copy.deepcopy(self._live(request.path, place))
            self._check(found, body.get("metadata") or {})
        if applied:
            _apply(found, body, request.query["fieldManager"], request.query.get("force") == "true")
        else:
            _merge(found, body)
        return self._typed(found, place) if request.trial else self._store(request.path, found)

    def _check(self, live: Object, wanted: Mapping[str, Any]) -> None:
        for key in ("uid", "resourceVersion"):
            if wanted.get(key) not in (None, live["metadata"][key]):
                message = f"the {key} is {live['metadata'][key]}, not {wanted[key]}"
                raise Refusal(409, "Conflict", message, name=live["metadata"]["name"])

    def _authorize(self, request: Request, place: _Place) -> None:
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "GET": "get" if place.name else "list"}
        verb["GET"] = "watch" if "watch" in request.query else verb["GET"]
        resource = "/".join(filter(None, (place.resource.plural, place.sub)))
        if not self.may(verb[request.method], resource, place.space):
            where = f'in the namespace "{place.space}"' if place.space else "at the cluster scope"
            message = f'User "tester" cannot {verb[request.method]} resource "{resource}"'
            raise Refusal(403, "Forbidden", f'{message} in API group "{place.resource.group}" {where}')

    def _live(self, path: str, place: _Place) -> Object:
        if path not in self.objects:
            raise Refusal(404, "NotFound", f'{place.resource.plural} "{place.name}" not found', name=place.name)
        return self.objects[path]

    def _list(self, place: _Place, request: Request) -> Object:
        found = [item for path, item in self.objects.items() if place.covers(path) and _selected(item, request.query)]
        begin = int(request.query.get("continue", 0))
        end = begin + min(self.page, int(request.query.get("limit", self.page)))
        # The items of a list say no kind of their own.
        items = [{key: item[key] for key in item if key not in ("apiVersion", "kind")} for item in found[begin:end]]
        metadata = {"resourceVersion": str(self._versions), **({"continue": str(end)} if found[end:] else {})}
        whole = self._typed({"metadata": metadata, "items": items}, place)
        return copy.deepcopy({**whole, "kind": f"{whole['kind']}List"})

    def _watch(self, place: _Place, query: Mapping[str, str]) -> Iterator[Object]:
        seen, limit = int(query["resourceVersion"]), time.monotonic() + float(query["timeoutSeconds"])
        while not self._closed and time.monotonic() < limit:
            with self._changed:
                new = [event for event in self._events if event[0] > seen]
                if not new:
                    self._changed.wait(limit - time.monotonic())
            for version, what, path, item in new:
                seen = version
                if place.covers(path) and _selected(item, query):
                    yield {"type": what, "object": item}

    def _discovery(self, path: str) -> Object | None:
        """What a server says of the API groups that it has."""
        found = [resource for resource in self._kinds.values() if f"{resource.path()}/".startswith(f"{path}/")]
        if not found or path in self._kinds:
            return None
        if path == f"/apis/{found[0].group}":
            return {"preferredVersion": {"version": found[0].version}, "versions": [{"version": found[0].version}]}
        names = [{"name": each.plural, "kind": each.kind, "namespaced": each.namespaced} for each in found]
        return {"resources": names}

    # ---- what is kept ------------------------------------------------------------------------------------------------

    def _place(self, path: str) -> _Place:
        found = _PATH.fullmatch(path)
        resource = self._kinds.get(f"{found['root']}/{found['plural']}") if found else None
        if not found or not resource:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        return _Place(resource, found["space"], found["name"], found["sub"])

    def _typed(self, item: Object, place: _Place) -> Object:
        resource = place.resource
        version = f"{resource.group}/{resource.version}" if resource.group else resource.version
        return {**item, "apiVersion": version, "kind": resource.kind}

    def _store(self, path: str, item: Object) -> Object:
        item, there = self._typed(item, self._place(path)), self.objects.get(path)
        metadata = item["metadata"]
        if there:
            metadata["resourceVersion"] = there["metadata"]["resourceVersion"]
            if item == there:
                # What changes nothing is no write.
                return copy.deepcopy(item)
        else:
            self._created += 1
            metadata["uid"] = f"uid-{self._created}"
        self.objects[path] = item
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self._forget(path)
            return copy.deepcopy(item)
        self._record("MODIFIED" if there else "ADDED", path, item)
        answer = copy.deepcopy(item)
        self._control()
        return answer

    def _forget(self, path: str) -> None:
        item = self.objects[path]
        if item["metadata"].get("finalizers"):
            with self.changed(path) as found:
                found["metadata"].setdefault("deletionTimestamp", "2026-01-01T00:00:00Z")
            return
        self._record("DELETED", path, self.objects.pop(path))
        self._control()

    def _record(self, what: str, path: str, item: Object) -> None:
        self._versions += 1
        item["metadata"]["resourceVersion"] = str(self._versions)
        self._events.append((self._versions, what, path, copy.deepcopy(item)))
        self._changed.notify_all()

    def _control(self) -> None:
        if not self._controlling:
            self._controlling = True
            try:
                for controller in self.controllers:
                    controller()
            finally:
                self._controlling = False


class _Handler(JsonHandler):
    """Speaks HTTP for a FakeApi."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: FakeApi

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query)),
            json.loads(text) if text else None,
            self.headers.get("Content-Type", ""),
            self.headers.get("Authorization"),
        )
        self.fake.requests.append(request)
        try:
            found = self.fake.answer(request)
        except Refusal as refusal:
            if not refusal.status:
                self.close_connection = True
                return
            self.answer(refusal.body, refusal.status, {**self.fake.headers, **refusal.headers})
            return
        if isinstance(found, dict):
            self.answer(found, headers=self.fake.headers)
            return
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for event in found:
            self.wfile.write(json.dumps(event).encode() + b"\n")

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any


def _merge(there: Object, body: Mapping[str, Any]) -> None:
    """A merge patch (RFC 7386)."""
    for key, value in body.items():
        if value is None:
            there.pop(key, None)
        elif isinstance(value, dict):
            if not isinstance(there.get(key), dict):
                there[key] = {}
            _merge(there[key], value)
        else:
            there[key] = value


def _selected(item: Object, query: Mapping[str, str]) -> bool:
    labels = item["metadata"].get("labels") or {}
    for term in filter(None, re.split(r",(?![^(]*\))", query.get("labelSelector", ""))):
        among = re.fullmatch(r"(\S+) in \((.*)\)", term)
        key, equal, value = (among[1], "in", among[2]) if among else term.partition("=")
        if key not in labels or (equal and labels[key] not in (value.split(",") if among else [value])):
            return False
    fields = [term.partition("=") for term in query.get("fieldSelector", "").split(",") if term]
    return all(_at(item, tuple(path.split("."))) == value for path, _equal, value in fields)


# ---- server-side apply: lists and values are owned whole -------------------------------------------------------------


def _apply(live: Object, body: Object, manager: str, force: bool) -> None:
    wanted = {leaf: value for leaf, value in _leaves(body) if leaf not in _IDENTITY}
    entries = live["metadata"].pop("managedFields", [])
    others = [entry for entry in entries if (entry["manager"], entry["operation"]) != (manager, "Apply")]
    mine: Object = next((entry for entry in entries if entry not in others), {"fieldsV1": {}})
    taken = [
        (leaf, entry)
        for leaf, value in wanted.items()
        for entry in others
        if entry["manager"] != manager and leaf in _owned(entry) and _at(live, leaf) != value
    ]
    if taken and not force:
        causes = [
            {
                "reason": "FieldManagerConflict",
                "field": f".{'.'.join(leaf)}",
                "message": f'conflict with "{entry["manager"]}" using {body["apiVersion"]}',
            }
            for leaf, entry in taken
        ]
        raise Refusal(409, "Conflict", f"Apply failed with {len(causes)} conflicts", causes=causes)
    for leaf, entry in taken:
        entry["fieldsV1"] = _fields(owned for owned in _owned(entry) if owned != leaf)
    for leaf in set(_owned(mine)) - set(wanted) - {leaf for entry in others for leaf in _owned(entry)}:
        _at(live, leaf[:-1]).pop(leaf[-1], None)
    for leaf, value in wanted.items():
        there = live
        for key in leaf[:-1]:
            there = there.setdefault(key, {})
        there[leaf[-1]] = copy.deepcopy(value)
    entry = {"manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": _fields(wanted)}
    live["metadata"]["managedFields"] = [*others, entry]


def _leaves(value: Object, above: Leaf = ()) -> Iterator[tuple[Leaf, Any]]:
    for key, below in value.items():
        if isinstance(below, dict) and below:
            yield from _leaves(below, (*above, key))
        else:
            yield (*above, key), below


def _owned(entry: Object) -> list[Leaf]:
    return [tuple(key.removeprefix("f:") for key in leaf) for leaf, _nothing in _leaves(entry["fieldsV1"])]


def _fields(leaves: Any) -> Object:
    found: Object = {}
    for leaf in leaves:
        node = found
        for key in leaf:
            node = node.setdefault(f"f:{key}", {})
    return found


def _at(item: Any, leaf: Leaf) -> Any:
    for key in leaf:
        item = item.get(key) if isinstance(item, dict) else None
    return item
