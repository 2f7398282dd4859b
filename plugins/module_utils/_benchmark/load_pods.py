# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs perf_analyzer in pods of the cluster, with a common start and end.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Pods wait until they are told when to begin, so that neither an image nor a scheduler blurs the load. Each has a clock
of its own, which is compared with ours first. perf_analyzer has no fixed duration: it measures window after window
until it is interrupted, and then writes its profile export, which has the times of all its requests.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ansible_collections.fastml.supersonic.plugins.module_utils._benchmark.load import (
    Request,
    Share,
    failures,
    parse_times,
    processes,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import why_not_running
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError, segment
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import Mask
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.pod_exec import Exec
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.pod_security import security_context
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.wait import Target, Waiter, WaitError

LABEL = "supersonic.fastml.org/benchmark"
MANAGER = "fastml.supersonic.benchmark"
_CONTAINER = "perf-analyzer"
_SECRET, _RESULTS = "/secret", "/results"
_SILENCE = 60.0
# The last window, the requests in it, and writing the export.
_EXPORT_SECONDS = 120.0
_SPARE_SECONDS = 900
_PINGS = 5
_SIDE_BY_SIDE = 16
_OVER = "over"
# It says so after a request of a single one that was answered, when another server told the statistics.
_OTHER_SERVER = "failed to find the requested model version"
# perf_analyzer calls itself stable when its windows differ less than that, and would end.
_ENDLESS = ("-s", "0", "-r", "1000000000")

# What a pod runs, with the words of perf_analyzer as arguments. An interrupt has to reach perf_analyzer once: the
# second one makes it leave without an export, and timeout sends two unless it is in the foreground.
_TOKEN = f"""
export TRITON_CLIENT_GRPC_CHANNEL_MAX_SHARE_COUNT=1
if [ -e {_SECRET}/token ]; then set -- "$@" -H "authorization:Bearer $(cat {_SECRET}/token)"; fi
cd {_RESULTS} || exit 1
"""
_LOAD = f"""
cd {_RESULTS} || exit 1
trap 'exit 0' TERM
while [ ! -e begin ]; do sleep 0.05; done
{_TOKEN}
left() {{ echo $((($1 - $(date +%s%N)) / 1000000)); }}
seconds() {{ printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }}
while read -r name clients begin end; do
  (
    wait=$(left "$begin")
    if [ "$wait" -gt 0 ]; then sleep "$(seconds "$wait")"; fi
    run=0
    while rest=$(left "$end"); [ "$rest" -gt 0 ]; do
      run=$((run + 1))
      echo "$name.$run begin $(date +%s%N)" >>log
      timeout --foreground -k 300 -s INT "$(seconds "$rest")" "$@" --concurrency-range "$clients" \\
        --profile-export-file "$name.$run.json" >"$name.$run.out" 2>&1 </dev/null
      echo "$name.$run end $(date +%s%N) $?" >>log
      sleep 0.2
    done
  ) &
done <begin
wait
touch done
sleep {_SPARE_SECONDS} &
wait $!
"""
_CHECK = f'{_TOKEN}\n"$@" --concurrency-range 1 --request-count 1 2>&1 </dev/null; echo "{_OVER} $?"'
# A file by standard input, which no log of the API server has.
_PUT = f'umask 077; cd {_SECRET} && head -c "$2" >"$1" && echo "{_OVER} 0"'
_CLOCK = "while read -r _; do date +%s%N; done"
_BEGIN = f'cd {_RESULTS} && printf "%s\\n" "$@" >begin.new && mv begin.new begin && echo {_OVER} 0'
_WAIT = f"cd {_RESULTS} && while [ ! -e done ]; do sleep 0.2; done; echo {_OVER} 0"
# The times alone: an export repeats every tensor of every request.
_COLLECT = f"""
cd {_RESULTS} || exit 1
sed 's/^/log /' log
for file in *.out; do
  grep -h 'had error: ' "$file" | sed "s/^/error ${{file%.out}} /"
  tail -n 3 "$file" | sed "s/^/said ${{file%.out}} /"
done
for file in *.json; do
  [ -e "$file" ] || continue
  echo "file ${{file%.json}}"
  tr '{{}}' '\\n\\n' <"$file" | grep -oE '^"timestamp":[0-9]+|^,"response_timestamps":\\[[0-9,]*'
done
echo "{_OVER} 0"
"""


@dataclass(frozen=True)
class Clients:
    """The target of the clients, their options and their pods."""

    image: str
    model: str
    address: str
    batch_size: int = 1
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    window_ms: int = 2000
    tls: bool = False
    # token, ca.pem, client.pem, client.key, input.json
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    user: int = 1000
    # The cluster chooses it.
    arbitrary_user: bool = False
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, t.Any], ...] = ()
    resources: Mapping[str, t.Any] = field(default_factory=dict)
    start_seconds: float = 300.0

    def words(self) -> list[str]:
        """The command, without what differs from process to process."""
        words = ["perf_analyzer", "-m", self.model, "-u", self.address, "-i", "grpc", "-b", str(self.batch_size)]
        for name, shape in self.shapes.items():
            words += ["--shape", f"{name}:{','.join(str(number) for number in shape)}"]
        if self.tls:
            words.append("--ssl-grpc-use-ssl")
        for name, flag in (
            ("ca.pem", "--ssl-grpc-root-certifications-file"),
            ("client.pem", "--ssl-grpc-certificate-chain-file"),
            ("client.key", "--ssl-grpc-private-key-file"),
            ("input.json", "--input-data"),
        ):
            if name in self.files:
                words += [flag, f"{_SECRET}/{name}"]
        return [*words, *self.arguments]


@dataclass
class Outcome:
    """The measurements of the clients of one run.

    lost: client-seconds without data, because a client failed.
    """

    requests: list[Request] = field(default_factory=list)
    failures: int = 0
    errors: dict[str, None] = field(default_factory=dict)
    lost: float = 0.0


class Pods:
    """The pods of one run, from their making to their end. Pods that an interrupted one has left go first.

    Tokens and keys are in the memory of the pods alone, and so gone when these end, whatever becomes of the run.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        instance: str,
        clients: Clients,
        groups: Sequence[Sequence[Share]],
        owner: Mapping[str, str] | None = None,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._instance = instance
        self._clients = clients
        # An object with which they go, too.
        self._owner = owner
        # The clients of each pod.
        self._groups = groups
        self._run = secrets.token_hex(4)
        self._base = f"/api/v1/namespaces/{segment(namespace)}"
        self._names = [f"{instance}-benchmark-{self._run}-{number}" for number in range(len(groups))]
        self._begins: dict[str, int] = {}
        self._shares: dict[str, Share] = {}

    def __enter__(self) -> Pods:
        clear(self._api, self._namespace, self._instance)
        try:
            targets = []
            for name in self._names:
                live = self._apply(name, self._definition(name))
                key = Key("", "Pod", self._namespace, name)
                targets.append(Target(key, f"{self._base}/pods/{name}", live, new=True))
            seconds = self._clients.start_seconds
            try:
                Waiter(self._api, Mask(), seconds, budget=seconds).ready(targets)
            except WaitError as exc:
                raise SupersonicError(f"The benchmark's clients did not start. {exc}") from exc
            with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as executor:
                list(executor.map(self._put, self._names))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        # What cannot be deleted now ends by itself, and is cleared by the next run.
        with contextlib.suppress(SupersonicError):
            clear(self._api, self._namespace, self._instance)

    def check(self) -> None:
        """Send one request, so that a wrong name, address or token is told in perf_analyzer's own words."""
        lines = self._ask(self._names[0], _CHECK, self._clients.words())
        said = "\n".join(line for line in lines[:-1] if line.strip())
        if lines[-1] != f"{_OVER} 0" and _OTHER_SERVER not in said:
            reason = " ".join((failures(said) or said.splitlines()[-1:] or ["it ended without a word"])[:1])
            raise SupersonicError(
                f"perf_analyzer cannot send requests for the model {self._clients.model} to {self._clients.address}: "
                f"{reason.removeprefix('error: ').rstrip('.')}. Nothing was measured."
            )

    def begin(self) -> float:
        """Tell all pods when to begin. Returns that moment, in seconds of time.monotonic()."""
        started = time.monotonic()
        with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as executor:
            clocks = dict(zip(self._names, executor.map(self._clock, self._names), strict=True))
            # Telling them takes about as long as asking them for the time.
            moment = time.monotonic() + 2.0 + 2.0 * (time.monotonic() - started)
            for name, (local, theirs) in clocks.items():
                self._begins[name] = theirs + round((moment - local) * 1e9)
            list(executor.map(self._tell, self._names, self._groups))
        if time.monotonic() > moment:
            raise SupersonicError("The benchmark's clients could not be told in time when to begin. Run again.")
        return moment

    def alive(self) -> None:
        """Raise when a pod has ended early: then its clients are gone."""
        for name in self._names:
            pod = self._api.find(f"{self._base}/pods/{name}", f"Pod {name}")
            reason = "it was removed" if pod is None else why_not_running(pod)
            if reason:
                raise SupersonicError(
                    f"The benchmark's pod {self._namespace}/{name} is gone: {reason.rstrip('.')}. Is another benchmark "
                    "of this instance running?"
                )

    def collect(self) -> Outcome:
        """Wait until everything is written, and fetch it."""
        with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as executor:
            list(executor.map(lambda name: self._ask(name, _WAIT, silence=_EXPORT_SECONDS), self._names))
            found = list(executor.map(lambda name: self._ask(name, _COLLECT, silence=_EXPORT_SECONDS), self._names))
        outcome = Outcome()
        for name, lines in zip(self._names, found, strict=True):
            add(outcome, lines, self._begins[name], self._shares)
        outcome.requests.sort()
        return outcome

    # ---- one pod -----------------------------------------------------------------------------------------------

    def _clock(self, name: str) -> tuple[float, int]:
        """A moment by our clock, and by the pod's in nanoseconds: of several questions the one answered soonest."""
        stream = self._open(name, ["sh", "-c", _CLOCK], _SILENCE)
        try:
            answers: list[tuple[float, float, int]] = []
            for _number in range(_PINGS):
                before = time.monotonic()
                stream.write(b"\n")
                theirs = int(stream.line())
                after = time.monotonic()
                answers.append((after - before, (before + after) / 2, theirs))
        finally:
            stream.close()
        _soonest, ours, theirs = min(answers)
        return ours, theirs

    def _put(self, name: str) -> None:
        """The files that perf_analyzer reads."""
        for file, text in self._clients.files.items():
            data = text.encode()
            stream = self._open(name, ["sh", "-c", _PUT, "sh", file, str(len(data))], _SILENCE)
            try:
                stream.write(data)
                stream.line()
            finally:
                stream.close()

    def _tell(self, name: str, group: Sequence[Share]) -> None:
        lines: list[str] = []
        for share in group:
            for part in processes(share):
                number = f"{name.rpartition('-')[2]}-{len(lines)}"
                self._shares[number] = part
                begin, end = (self._begins[name] + round(moment * 1e9) for moment in (part.begin, part.end))
                lines.append(f"{number} {part.clients} {begin} {end}")
        self._ask(name, _BEGIN, lines)

    def _ask(self, name: str, script: str, words: Sequence[str] = (), silence: float = _SILENCE) -> list[str]:
        """Run a script in a pod; its last line begins with the word that says that nothing is missing."""
        stream = self._open(name, ["sh", "-c", script, "sh", *words], silence)
        lines: list[str] = []
        try:
            while not lines or not lines[-1].startswith(_OVER):
                lines.append(stream.line().decode(errors="replace").rstrip("\r\n"))
        finally:
            stream.close()
        return lines

    def _open(self, name: str, command: Sequence[str], silence: float) -> Exec:
        return Exec(
            self._api, namespace=self._namespace, pod=name, container=_CONTAINER, command=command, silence=silence
        )

    # ---- objects -----------------------------------------------------------------------------------------------

    def _apply(self, name: str, body: Mapping[str, t.Any]) -> dict[str, t.Any]:
        path, what = f"{self._base}/pods/{name}", f"Pod {self._namespace}/{name}"
        return self._api.apply(path, body, what, manager=MANAGER, force=True, dry_run=False)

    def _metadata(self, name: str) -> dict[str, t.Any]:
        labels = {
            **self._clients.labels,
            "app.kubernetes.io/name": "supersonic",
            "app.kubernetes.io/instance": self._instance,
            "app.kubernetes.io/component": "benchmark",
            "app.kubernetes.io/part-of": "supersonic",
            "app.kubernetes.io/managed-by": "fastml.supersonic",
            LABEL: self._instance,
        }
        found: dict[str, t.Any] = {"name": name, "namespace": self._namespace, "labels": labels}
        return {**found, "ownerReferences": [dict(self._owner)]} if self._owner else found

    def _definition(self, name: str) -> dict[str, t.Any]:
        clients = self._clients
        end = max(share.end for group in self._groups for share in group)
        volumes: list[dict[str, t.Any]] = [{"name": "results", "emptyDir": {}}]
        mounts: list[dict[str, t.Any]] = [{"name": "results", "mountPath": _RESULTS}]
        if clients.files:
            volumes.append({"name": "secret", "emptyDir": {"medium": "Memory"}})
            mounts.append({"name": "secret", "mountPath": _SECRET})
        spec: dict[str, t.Any] = {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int(clients.start_seconds + end + _SPARE_SECONDS),
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": security_context(
                {
                    "runAsNonRoot": True,
                    "runAsUser": clients.user,
                    "runAsGroup": clients.user,
                    "fsGroup": clients.user,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                clients.arbitrary_user,
            ),
            "containers": [
                {
                    "name": _CONTAINER,
                    "image": clients.image,
                    "imagePullPolicy": clients.image_pull_policy,
                    "command": ["sh", "-c", _LOAD, "sh", *clients.words(), "-p", str(clients.window_ms), *_ENDLESS],
                    "resources": dict(clients.resources),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": mounts,
                }
            ],
            "volumes": volumes,
        }
        if clients.image_pull_secrets:
            spec["imagePullSecrets"] = [{"name": each} for each in clients.image_pull_secrets]
        if clients.node_selector:
            spec["nodeSelector"] = dict(clients.node_selector)
        if clients.tolerations:
            spec["tolerations"] = [dict(each) for each in clients.tolerations]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": self._metadata(name), "spec": spec}


def add(outcome: Outcome, lines: Iterable[str], begin: int, shares: Mapping[str, Share]) -> None:
    """Take what a pod has told, whose load began at that moment of its clock (nanoseconds)."""
    times: dict[str, list[str]] = {}
    errors: dict[str, list[str]] = {}
    said: dict[str, list[str]] = {}
    begun: dict[str, int] = {}
    ended: dict[str, tuple[int, int]] = {}
    current: list[str] = []
    for line in lines:
        word, _space, rest = line.partition(" ")
        if word == "file":
            current = times.setdefault(rest, [])
        elif word == "log":
            if match := re.fullmatch(r"(\S+) begin ([0-9]+)", rest):
                begun[match[1]] = int(match[2])
            elif match := re.fullmatch(r"(\S+) end ([0-9]+) ([0-9]+)", rest):
                ended[match[1]] = (int(match[2]), int(match[3]))
        elif word in ("error", "said"):
            run, _space, text = rest.partition(" ")
            (errors if word == "error" else said).setdefault(run, []).append(text)
        else:
            current.append(line)
    for run, moment in begun.items():
        known = times.get(run)
        found = [text for line in errors.get(run, []) for text in failures(line)]
        if known is None:
            # It ended at a failure, or could not even begin, and takes what it knew with it.
            end = ended.get(run, (moment, 0))[0]
            outcome.lost += shares[run.partition(".")[0]].clients * max(end - moment, 0) / 1e9
            found = found or said.get(run, [])[-1:] or ["perf_analyzer ended without a word"]
        outcome.failures += len(found)
        outcome.errors.update(dict.fromkeys(text.strip() for text in found))
        outcome.requests += [
            Request((first - begin) / 1e9, (last - first) / 1e9) for first, last in parse_times(known or [])
        ]


def leftover(api: Api, namespace: str, instance: str) -> list[tuple[str, str, str]]:
    """Path, name for messages and UID of the pods of all benchmarks of an instance."""
    base = f"/api/v1/namespaces/{segment(namespace)}/pods"
    found = api.list(base, f"pods in namespace {namespace}", {"labelSelector": f"{LABEL}={instance}"})
    names = [item["metadata"] for item in found if not item["metadata"].get("deletionTimestamp")]
    return [(f"{base}/{each['name']}", f"Pod {namespace}/{each['name']}", each["uid"]) for each in names]


def clear(api: Api, namespace: str, instance: str) -> int:
    """Remove them; how many there were."""
    found = leftover(api, namespace, instance)
    for path, what, uid in found:
        try:
            api.delete(path, what, uid=uid, propagation="Background")
        except ApiError as exc:
            # Gone meanwhile.
            if exc.status not in (404, 409):
                raise
    return len(found)
