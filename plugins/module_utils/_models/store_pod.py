# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store on a persistent volume: a short-lived helper pod mounts it and runs the code of the store.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

The pod needs an image with Python 3.8 or newer, which Triton's own images have; those are on the nodes already. It
ends by itself when nobody has used it for a while, and at the latest when its deadline is over.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import json
import secrets
import threading
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import Mask
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.pod_exec import Exec
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.pod_security import security_context
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.wait import Target, Waiter, WaitError
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store as model_store
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import source_file
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import Begun

RELEASE_ANNOTATION = "supersonic.fastml.org/release"
MODELS_ANNOTATION = "supersonic.fastml.org/models"
RELEASES_ANNOTATION = "supersonic.fastml.org/releases"
SWITCHES_ANNOTATION = "supersonic.fastml.org/switches"
UNFINISHED_ANNOTATION = "supersonic.fastml.org/unfinished"
UID_ANNOTATION = "supersonic.fastml.org/claim-uid"
_ANNOTATIONS = (
    RELEASE_ANNOTATION,
    MODELS_ANNOTATION,
    RELEASES_ANNOTATION,
    SWITCHES_ANNOTATION,
    UNFINISHED_ANNOTATION,
    UID_ANNOTATION,
)
CLAIM_LABEL = "supersonic.fastml.org/claim"
_COMPONENT = "model-publisher"
_CONTAINER = "publisher"
_MOUNT = "/store"
MANAGER = "fastml.supersonic.models"
_MERGE = "application/merge-patch+json"
# More than a pool's oldest server has seen come and go.
_SWITCHES = 20
# All annotations of an object together may have 256 kB.
_ANNOTATION_LIMIT = 64 * 1024
_IDLE_SECONDS = 30
_PULSE_SECONDS = 10.0
_PENDING_LEFTOVER_SECONDS = 60.0
_HTTP_CONFLICT = 409
_NOTE_ATTEMPTS = 5

# The pod's own process: ends when no publisher's process has been there for a while, so that a killed publisher leaves
# no running pod, and at once when it is asked to.
_IDLE = f"""
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
quiet = time.monotonic()
while time.monotonic() - quiet < {_IDLE_SECONDS}:
    if any(name.isdigit() and int(name) != os.getpid() for name in os.listdir("/proc")):
        quiet = time.monotonic()
    time.sleep(1)
"""
# Takes as many bytes from standard input as the store's code has, and runs them.
_BOOT = """
import os, sys
code = b""
while len(code) < int(sys.argv[1]):
    block = os.read(0, int(sys.argv[1]) - len(code))
    if not block:
        sys.exit(3)
    code += block
exec(compile(code, "store", "exec"), {"__name__": "__main__"})
"""


@dataclass(frozen=True)
class PodOptions:
    """The options of the helper pod."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    user: int = 1000
    group: int = 1000
    # The cluster chooses both.
    arbitrary_user: bool = False
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, t.Any], ...] = ()
    resources: Mapping[str, t.Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    start_seconds: int = 300
    deadline_seconds: int = 7200


class Claim:
    """A persistent volume claim, and what is known about its store without mounting it."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api = api
        self.namespace = namespace
        self.name = name
        self.what = f"PersistentVolumeClaim {namespace}/{name}"
        self.path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
        self._clock: float | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read it."""
        self.live = self._api.find(self.path, self.what)

    @property
    def _metadata(self) -> dict[str, t.Any]:
        return (self.live or {}).get("metadata") or {}

    @property
    def _annotations(self) -> dict[str, str]:
        return self._metadata.get("annotations") or {}

    @property
    def uid(self) -> str:
        """The UID of the claim; "" if it does not exist."""
        return str(self._metadata.get("uid") or "")

    @property
    def _copied(self) -> bool:
        """Whether what is noted was noted on another claim: a restored or copied one keeps it over another volume."""
        return self._annotations.get(UID_ANNOTATION) not in (None, self._metadata.get("uid"))

    def _annotation(self, name: str) -> str | None:
        return None if self._copied else self._annotations.get(name) or None

    @property
    def release(self) -> str | None:
        """The release that the store serves; None if there is none or only the store itself knows."""
        return None if self.begun else self._annotation(RELEASE_ANNOTATION)

    @property
    def begun(self) -> Begun | None:
        """The switch that was begun and has not come to its end."""
        text = self._annotation(UNFINISHED_ANNOTATION)
        return Begun.parse(text) if text else None

    @property
    def models(self) -> list[dict[str, t.Any]] | None:
        """The models of the release, as they were noted when it was published."""
        with contextlib.suppress(ValueError, TypeError):
            found = json.loads(self._annotation(MODELS_ANNOTATION) or "null")
            if isinstance(found, list):
                return [dict(item) for item in found]
        return None

    @property
    def releases(self) -> list[dict[str, t.Any]] | None:
        """Every release in the store, the current one first, as noted; None when the claim does not say.

        Where it is marked: as they were before.
        """
        current = self.begun.before if self.begun else self.release
        with contextlib.suppress(ValueError, TypeError):
            found = json.loads(self._annotation(RELEASES_ANNOTATION) or "null")
            if isinstance(found, list) and found and found[0]["release"] == current:
                return [{**found[0], "models": self.models}, *(dict(item) for item in found[1:])]
        return None

    @property
    def switches(self) -> list[tuple[str, float]]:
        """The switches of releases, the latest first; seconds since 1970 by the clock of the API server."""
        with contextlib.suppress(ValueError, TypeError):
            return [
                (str(name), float(since)) for name, since in json.loads(self._annotation(SWITCHES_ANNOTATION) or "[]")
            ]
        return []

    def set_clock(self, pod: Mapping[str, t.Any]) -> None:
        """Learn the time of the API server from a pod that it has just made. It says whole seconds, cut off."""
        self._clock = seconds_of(pod["metadata"]["creationTimestamp"]) + 1.0 - time.monotonic()

    def announce(self, begun: Begun, age: float, check_lock: Callable[[], t.Any]) -> None:
        """Note a switch that is about to be made instead of the release, which is this old.

        Until `record` nobody takes the claim's word for what the store serves.
        """
        self._note(
            lambda: {
                RELEASE_ANNOTATION: None,
                UNFINISHED_ANNOTATION: begun.text,
                SWITCHES_ANNOTATION: _noted(self._switches_until(begun.before, age)),
            },
            check_lock,
        )

    def record(self, releases: list[dict[str, t.Any]], age: float, check_lock: Callable[[], t.Any]) -> bool:
        """Note what the store holds, the current release first, which is so many seconds old.

        True when the claim said something else.
        """
        current, *others = releases
        return self._note(
            lambda: {
                RELEASE_ANNOTATION: current["release"],
                UNFINISHED_ANNOTATION: None,
                MODELS_ANNOTATION: _noted(current["models"]),
                SWITCHES_ANNOTATION: _noted(self._switches_until(current["release"], age)),
                # What the models of the current release are is said above.
                RELEASES_ANNOTATION: _noted([{**current, "models": None}, *others])
                or _noted([{**item, "models": None} for item in releases]),
            },
            check_lock,
        )

    def _switches_until(self, current: str, age: float) -> list[tuple[str, float]]:
        """With the switch to the current release, so many seconds ago, where nobody has noted it."""
        switches = self.switches
        if not current or (switches and switches[0][0] == current):
            return switches
        now = self._clock + time.monotonic() if self._clock is not None else time.time()
        return [(current, round(now - age, 1)), *switches][:_SWITCHES]

    def _note(self, wanted: Callable[[], dict[str, str | None]], check_lock: Callable[[], t.Any]) -> bool:
        """Write annotations, by what the claim says now; True when they were others.

        Who was taken for dead writes nothing: whatever changes the claim meanwhile makes the API server refuse, and
        the lock is looked at again.
        """
        for attempt in range(_NOTE_ATTEMPTS):
            annotations = {**wanted(), UID_ANNOTATION: self._metadata.get("uid")}
            if self._copied:
                # With the own UID everything would count.
                annotations = {**dict.fromkeys(_ANNOTATIONS), **annotations}
            elif all(self._annotation(name) == value for name, value in annotations.items()):
                return attempt > 0
            version = self._metadata.get("resourceVersion")
            metadata = {"annotations": annotations, **({"resourceVersion": version} if version else {})}
            try:
                self.live = patch(self._api, self.path, self.what, {"metadata": metadata})
            except ApiError as exc:
                if exc.status != _HTTP_CONFLICT or attempt == _NOTE_ATTEMPTS - 1:
                    raise
            else:
                return True
            self.refresh()
            check_lock()
        return True

    def check_usable(self, reading: bool = False) -> None:
        if self.live is None:
            raise SupersonicError(f"{self.what} does not exist. Create it before models are published to it.")
        if self.live["metadata"].get("deletionTimestamp"):
            raise SupersonicError(f"{self.what} is being deleted. Wait until it is gone and create it anew.")
        if self.modes == {"ReadOnlyMany"} and not reading:
            raise SupersonicError(
                f"{self.what} can only be read (its access mode is ReadOnlyMany), so not published to."
            )

    @property
    def modes(self) -> set[str]:
        return set(((self.live or {}).get("spec") or {}).get("accessModes") or [])


class Pods(t.NamedTuple):
    """The helper pods of one claim: its UID, which no other claim of any cluster has, and what lists those alive."""

    claim: str
    alive: Callable[[], list[str]]


class Helper:
    """The helper pod of one publication, or of one look at the store."""

    def __init__(self, api: Api, claim: Claim, options: PodOptions, *, read_only: bool = False) -> None:
        self._api = api
        self._claim = claim
        self._options = options
        self._read_only = read_only
        self._pods = f"/api/v1/namespaces/{claim.namespace}/pods"
        self._label = claim_label(claim.name)
        self.name = f"{claim.name[:40].rstrip('-.')}-publish-{secrets.token_hex(4)}"
        self._path = f"{self._pods}/{self.name}"
        self._what = f"Pod {claim.namespace}/{self.name}"
        self._uid = ""

    def __enter__(self) -> Helper:
        try:
            self._clear_leftovers()
            answer = self._api.apply(
                self._path,
                self.definition(node_of(self._api, self._claim)),
                self._what,
                manager=MANAGER,
                force=True,
                dry_run=False,
            )
            self._uid = answer["metadata"]["uid"]
            self._claim.set_clock(answer)
            self._wait(answer)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        # What cannot be deleted now ends by itself and is cleared by the next publication.
        with contextlib.suppress(SupersonicError):
            if self._uid:
                self._api.delete(self._path, self._what, uid=self._uid, propagation="Background")

    def definition(self, node: str | None) -> dict[str, t.Any]:
        options = self._options
        spec: dict[str, t.Any] = {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": options.deadline_seconds,
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": security_context(
                {
                    "runAsNonRoot": True,
                    "runAsUser": options.user,
                    "runAsGroup": options.group,
                    "fsGroup": options.group,
                    "fsGroupChangePolicy": "OnRootMismatch",
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                options.arbitrary_user,
            ),
            "containers": [
                {
                    "name": _CONTAINER,
                    "image": options.image,
                    "imagePullPolicy": options.image_pull_policy,
                    "command": ["python3", "-c", _IDLE],
                    "resources": dict(options.resources),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "store", "mountPath": _MOUNT, "readOnly": self._read_only}],
                }
            ],
            "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": self._claim.name}}],
        }
        if options.image_pull_secrets:
            spec["imagePullSecrets"] = [{"name": name} for name in options.image_pull_secrets]
        if options.node_selector:
            spec["nodeSelector"] = dict(options.node_selector)
        if options.tolerations:
            spec["tolerations"] = [dict(item) for item in options.tolerations]
        if node:
            spec["affinity"] = pinned(node)
        labels = {
            **options.labels,
            "app.kubernetes.io/name": _COMPONENT,
            "app.kubernetes.io/component": _COMPONENT,
            "app.kubernetes.io/part-of": "supersonic",
            "app.kubernetes.io/managed-by": "fastml.supersonic",
            CLAIM_LABEL: self._label,
        }
        metadata = {"name": self.name, "namespace": self._claim.namespace, "labels": labels}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def alive(self) -> list[str]:
        """The helper pods that may be at work on this claim; one that is being deleted ends at once."""
        pods = [pod for pod in self._siblings() if not pod["metadata"].get("deletionTimestamp")]
        return [pod["metadata"]["name"] for pod in pods if not _is_over(pod)]

    def connect(self) -> Remote:
        """Start the store's code in the pod."""
        code = _source().encode()
        stream = Exec(
            self._api,
            namespace=self._claim.namespace,
            pod=self.name,
            container=_CONTAINER,
            command=["python3", "-B", "-c", _BOOT, str(len(code)), _MOUNT],
            silence=model_store.STALE_SECONDS,
        )
        try:
            stream.write(code)
        except BaseException:
            stream.close()
            raise
        return Remote(stream)

    def _siblings(self) -> list[dict[str, t.Any]]:
        query = {"labelSelector": f"{CLAIM_LABEL}={self._label}"}
        return self._api.list(self._pods, f"pods in namespace {self._claim.namespace}", query)

    def _clear_leftovers(self) -> None:
        """Remove what killed publications left: pods that ended, and pods that never started in their time."""
        for pod in self._siblings():
            metadata, phase = pod["metadata"], (pod.get("status") or {}).get("phase")
            late = phase == "Pending" and _age(metadata) > self._options.start_seconds + _PENDING_LEFTOVER_SECONDS
            if (_is_over(pod) or late) and not metadata.get("deletionTimestamp"):
                path = f"{self._pods}/{metadata['name']}"
                self._api.delete(path, f"Pod {metadata['name']}", uid=metadata["uid"], propagation="Background")

    def _wait(self, pod: dict[str, t.Any]) -> None:
        claim = self._claim
        targets = [Target(Key("", "Pod", claim.namespace, self.name), self._path, pod)]
        if claim.live:
            # A claim that cannot be bound says so sooner and better than the pod that waits for it.
            targets.append(
                Target(Key("", "PersistentVolumeClaim", claim.namespace, claim.name), claim.path, claim.live)
            )
        try:
            seconds = self._options.start_seconds
            Waiter(self._api, Mask(), seconds, budget=seconds).ready(targets)
        except WaitError as exc:
            raise SupersonicError(
                f"The helper pod that publishes to {claim.what} did not start. What was published before is untouched. "
                f"{exc}"
            ) from exc


class Remote:
    """The store in the pod, asked over a connection. Any failure ends it."""

    def __init__(self, stream: Exec) -> None:
        self._stream = stream
        self._answers: list[t.Any] = []
        # Of an answer that is a long text.
        self._parts: list[str] = []

    def call(self, operation: str, **arguments: t.Any) -> t.Any:
        self._say(operation, arguments)
        while not self._answers:
            if not self._hear(self._stream.line()):
                # The store works and says so: answer, or it would take the silence for a dead publisher.
                self._say("pulse", {})
        return self._answers.pop(0)

    def send(self, key: str, size: int, path: str) -> None:
        """Stream one file; only a failure is answered."""
        left = size
        # One message with the beginning of the file: most files are small, and each message costs on its long way.
        request = _request("put", {"key": key, "size": size})
        with source_file(path) as read:
            while left:
                block = read(min(left, model_store.BLOCK - len(request)))
                if not block:
                    raise SupersonicError(f"{path} became shorter while it was published. Run again.")
                left -= len(block)
                self._write(request + block)
                request = b""
        if request:
            self._write(request)

    def commit(self) -> None:
        self._say("commit", {})

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Send signs of life to the store during other work."""
        over = threading.Event()
        failures: list[SupersonicError] = []

        def pulse() -> None:
            while not over.wait(_PULSE_SECONDS):
                try:
                    self._say("pulse", {})
                except SupersonicError as exc:
                    failures.append(exc)
                    return

        thread = threading.Thread(target=pulse, name="pulse", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if failures:
            raise failures[0]

    def close(self) -> None:
        self._stream.close()

    def _say(self, operation: str, arguments: Mapping[str, t.Any]) -> None:
        """Ask for something. A manifest follows in blocks: as part of the line it would be in memory several times."""
        manifest = arguments.get("manifest")
        more: dict[str, t.Any] = {}
        if manifest is not None:
            arguments = {name: value for name, value in arguments.items() if name != "manifest"}
            more["manifest"] = sum(len(block.encode()) for block in model_store.blocks(manifest))
        self._write(_request(operation, arguments, **more))
        for block in model_store.blocks(manifest or ""):
            self._write(block.encode())

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        finally:
            # Answers may come at any time; after a lost connection the store's own last words say more than its end.
            while line := self._stream.line_if_any():
                self._hear(line)

    def _hear(self, line: bytes) -> bool:
        """Take one line from the store; True when it is an answer."""
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            said = line[:200].decode(errors="replace").strip()
            raise SupersonicError(f"The helper pod said something unexpected: {said}")
        if "error" in message:
            raise SupersonicError(str(message["error"]))
        if "part" in message:
            self._parts.append(message["part"])
        if "result" in message:
            self._answers.append("".join([*self._parts, message["result"]]) if self._parts else message["result"])
            self._parts.clear()
        return "result" in message


def _request(operation: str, arguments: Mapping[str, t.Any], **more: t.Any) -> bytes:
    return json.dumps({"do": operation, "with": {**arguments}, **more}).encode() + b"\n"


@contextlib.contextmanager
def session(
    api: Api, claim: Claim, options: PodOptions, *, read_only: bool = False
) -> Iterator[tuple[Remote, str, Pods]]:
    """A connection to the store in a new helper pod, its holder's name, and the helper pods of this claim."""
    claim.check_usable(read_only)
    uid = (claim.live or {})["metadata"]["uid"]
    with Helper(api, claim, options, read_only=read_only) as helper:
        remote = helper.connect()
        try:
            yield remote, f"pod {claim.namespace}/{helper.name}", Pods(uid, helper.alive)
        finally:
            remote.close()


def patch(api: Api, path: str, what: str, change: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Change some fields of an object; None takes one away."""
    query = {"fieldManager": MANAGER}
    return t.cast(
        "dict[str, t.Any]",
        json.loads(api.call("PATCH", path, what, query=query, body=change, content_type=_MERGE)),
    )


def claim_label(name: str) -> str:
    """The value of a label that stands for a claim; long names are no labels."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def node_of(api: Api, claim: Claim) -> str | None:
    """The node that a pod has to run on, if a volume that only one node can mount is in use already."""
    if "ReadWriteMany" in claim.modes:
        return None
    pods = f"/api/v1/namespaces/{claim.namespace}/pods"
    for pod in api.list(pods, f"pods in namespace {claim.namespace}"):
        spec = pod.get("spec") or {}
        claims = [(volume.get("persistentVolumeClaim") or {}).get("claimName") for volume in spec.get("volumes") or []]
        if claim.name in claims and spec.get("nodeName") and not _is_over(pod):
            return str(spec["nodeName"])
    return None


def pinned(node: str) -> dict[str, t.Any]:
    """The affinity of a pod that has to run on this node."""
    rule = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [rule]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _source() -> str:
    """The store's code as it was shipped with this module, from a folder or from Ansible's archive."""
    loader = getattr(model_store.__spec__, "loader", None)
    source = loader.get_source(model_store.__name__) if loader else None
    if not source:
        raise SupersonicError("The code of the store cannot be read; is the collection installed completely?")
    # Ansible's own loader of collections gives bytes.
    return source.decode() if isinstance(source, bytes) else str(source)


def _noted(value: t.Any) -> str | None:
    """As the text of an annotation, unless it is too long for one."""
    text = json.dumps(value, separators=(",", ":"))
    return text if len(text) < _ANNOTATION_LIMIT else None


def _is_over(pod: Mapping[str, t.Any]) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _age(metadata: Mapping[str, t.Any]) -> float:
    return time.time() - seconds_of(metadata["creationTimestamp"])


def seconds_of(stamp: str) -> float:
    """A time of Kubernetes in seconds since 1970."""
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ"))
