# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converts values of the SuperSONIC Helm chart to the variables of an instance.

Pure: values in, variables and findings out. What the files do not say is left to the defaults of our roles, unless the
service would be another one then.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import object_names
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration import chart
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration.chart_values import (
    CHANGED,
    GONE,
    IDLE,
    SAME,
    UNKNOWN,
    Finding,
    Migration,
    Path,
    Values,
    Wanted,
    bare_host,
    copy,
    integer,
    is_secret,
    leaves,
    plain_resources,
    seconds,
    shown_path,
    shown_value,
    strings,
    texts,
    tidy,
)
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration.command import Command, parse
from ansible_collections.fastml.supersonic.plugins.module_utils._helm_migration.observers import (
    external_prometheus,
    observers,
)

LONGEST_NAME = 30
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# What our roles have unless they are told otherwise.
STARTUP_BUDGET, EXIT_TIMEOUT, DRAIN_WAIT, SPARE_SECONDS = 600, 30, 8, 12
TOKEN = "SUPERSONIC_VERIFY_TOKEN"
POLICIES = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV")
# Whose annotations they are, and the value of envoy_ingress.controller.
CONTROLLERS = {
    "haproxy-ingress.github.io/": "haproxy-ingress",
    "ingress.kubernetes.io/": "haproxy-ingress",
    "nginx.ingress.kubernetes.io/": "nginx",
    "haproxy.org/": "haproxytech",
    "traefik.ingress.kubernetes.io/": "traefik",
}
# Annotations that our role writes itself for each controller.
OWN_ANNOTATIONS = {
    "haproxy-ingress": {"haproxy-ingress.github.io/backend-protocol"},
    "nginx": {"nginx.ingress.kubernetes.io/backend-protocol"},
    "haproxytech": {"haproxy.org/server-proto"},
}
TIMEOUT_ANNOTATIONS = {
    "haproxy-ingress": "haproxy-ingress.github.io/timeout-server",
    "haproxytech": "haproxy.org/timeout-server",
}
# Flags of tritonserver that say what is so anyway: the value, and "" for every other one.
_DEFAULT_FLAGS = {
    "allow-gpu-metrics": "true",
    "allow-metrics": "true",
    "allow-http": "true",
    "allow-grpc": "true",
    "log-verbose": "0",
    "log-error": "true",
    "log-info": "true",
    "log-warning": "true",
    "strict-model-config": "false",
    "http-port": "8000",
    "grpc-port": "8001",
    "metrics-port": "8002",
    "model-control-mode": "none",
    "exit-on-error": "false",
    "strict-readiness": "false",
}
_FIXED_FLAGS = {"http-port", "grpc-port", "metrics-port", "http-address", "grpc-address", "metrics-address"}


def migrate(user: Mapping[str, Any], wanted: Wanted) -> Migration:
    """Everything that the values become."""
    _sections(user, chart.DEFAULTS)
    values = Values(user, chart.DEFAULTS)
    old_name = chart.instance(wanted.release, str(values.get("nameOverride", default="")))
    name = _name(wanted, old_name)
    result = Migration(wanted, name, old_name, values)
    result.set("supersonic_name", name)
    result.set("supersonic_namespace", wanted.namespace)
    # The release's namespace is there, and is not ours.
    result.set("supersonic_create_namespace", False)
    _frame(result)
    _triton(result)
    _envoy(result)
    observers(result)
    _autoscaling(result)
    golden = f"golden/{wanted.host}"
    result.set("verify_golden_directories", ["{{ inventory_dir }}/" + golden])
    result.unfinished.append("supersonic_kubeconfig and supersonic_context, unless it is where kubectl looks by itself")
    result.unfinished.append(f"golden requests in {golden}, recorded from the running release (docs/migrate.md)")
    if result.components:
        # Where a reader looks for them.
        head = {key: result.variables.pop(key) for key in list(result.variables)[:3]}
        result.variables = {**head, "supersonic_components": result.components, **result.variables}
    _unknown(result)
    result.findings.sort(key=_order)
    return result


def _sections(user: Mapping[str, Any], known: Mapping[str, Any], below: Path = ()) -> None:
    """Refuse what is no section where the chart has one: nothing below it could be understood."""
    for key, there in known.items():
        value = user.get(key)
        if not isinstance(there, Mapping) or value is None:
            continue
        if not isinstance(value, Mapping):
            raise SupersonicError(
                f"{shown_path((*below, key))} is {shown_value((*below, key), value)} in the values; the chart has "
                "keys and values there, and helm would not install it."
            )
        _sections(value, there, (*below, key))


def _name(wanted: Wanted, old_name: str) -> str:
    for what, value, pattern in (
        ("namespace", wanted.namespace, _NAMESPACE),
        ("host", wanted.host, _HOST),
        ("release", wanted.release, _NAMESPACE),
    ):
        if not pattern.fullmatch(value):
            raise SupersonicError(f"{what} is '{value}', which is no name of a {what}.")
    name, source = (wanted.name, "name") if wanted.name else (wanted.host.lower().replace("_", "-"), "host")
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise SupersonicError(
            f"{source} is '{name}'; as the name of an instance it has to begin with a letter, be made of lower-case "
            f"letters, digits and '-', and have {LONGEST_NAME} characters at most. Give another one with name."
        )
    both = sorted(object_names(name) & chart.services(wanted.release, old_name))
    if both:
        raise SupersonicError(
            f"{source} is '{name}', but the running release has objects of that name ({', '.join(both)}), and both "
            "have to be there while clients move. Give the instance another name."
        )
    return name


def _frame(made: Migration) -> None:
    renamed = made.old_name != made.wanted.release
    made.values.note(
        ("nameOverride",),
        CHANGED if renamed else SAME,
        f"The objects of the chart are called {made.old_name}, but its Prometheus, Grafana and Tempo after the "
        f"release, and what looked for them under the other name found nothing. Here everything is called {made.name}."
        if renamed
        else "",
        "supersonic_name",
    )


# ---- servers ---------------------------------------------------------------------------------------------------------


def _triton(made: Migration) -> None:
    values, note = made.values, made.values.note
    image = str(values.get("triton", "image", default=""))
    made.set("triton_image", image)
    if image.endswith("-min"):
        note(
            ("triton", "image"),
            CHANGED,
            "This image is the base for images of one's own: it has no backend, so that no model loads. Name one "
            "that has them, such as the same without -min.",
            "triton_image",
            always=True,
        )
        made.unfinished.append("triton_image: an image with the backends of your models")
    else:
        note(("triton", "image"), SAME, "Better with a digest (repository:tag@sha256:...).", "triton_image")
    _replicas(made)
    _command(made)
    _resources(made)
    for key, variable in (
        ("annotations", "triton_pod_annotations"),
        ("nodeSelector", "triton_node_selector"),
        ("tolerations", "triton_tolerations"),
        ("affinity", "triton_affinity"),
    ):
        copy(made, ("triton", key), variable)
    copy(made, ("triton", "service", "labels"), "triton_service_labels")
    _service_annotations(made)
    _triton_ports(made)
    _probes(made)


def _replicas(made: Migration) -> None:
    values, path = made.values, ("triton", "replicas")
    count = integer(values.get(*path, default=1), 1)
    if values.get("keda", "enabled"):
        values.note(
            path,
            CHANGED,
            "The chart writes it with every upgrade, which throws a scaled pool back. Here the autoscaler alone "
            "decides.",
        )
        return
    if count != 1:
        made.set("triton_replicas", count)
    if count == 0:
        values.note(path, CHANGED, "The chart made one server of it; here 0 is 0.", "triton_replicas")
    else:
        values.note(path, SAME, "" if count != 1 else "As by default.", *(["triton_replicas"] if count != 1 else []))


def _command(made: Migration) -> None:
    values = made.values
    command = parse(texts(values.get("triton", "command")), texts(values.get("triton", "args")))
    place = ("triton", "args")
    values.note(
        ("triton", "command"),
        CHANGED,
        "A shell as process 1 never hands SIGTERM on, so that every stop of a server ends in a kill. The server is "
        "started itself.",
        "triton_command",
        always=True,
    )
    if not command.program:
        values.note(place, GONE, "No tritonserver is found in it. Write triton_command and triton_flags by hand.")
        made.unfinished += ["triton_command and triton_flags", "triton_model_repositories"]
        return
    if command.program != "tritonserver":
        made.set("triton_command", [command.program])
    _flags(made, command)
    _environment(made, command)
    if command.others:
        values.findings.append(
            Finding(
                (*place, "other commands"),
                GONE,
                f"{len(command.others)} further command(s) of the script, which a server that is started itself does "
                "not run: put them into the image, or into triton_init_containers.",
            )
        )
        made.unfinished.append("what triton.args runs besides the server (triton_init_containers)")
    values.note(place, SAME, "Flag by flag, below.", "triton_flags", "triton_model_repositories")


def _environment(made: Migration, command: Command) -> None:
    hidden = [name for name in command.environment if is_secret((name,))]
    plain = [{"name": name, "value": value} for name, value in command.environment.items() if name not in hidden]
    if plain:
        made.set("triton_env", plain)
    for name in hidden:
        made.unfinished.append(f"the environment variable {name} of triton.args: triton_env, from a Secret")
    for name in command.environment:
        text = (
            "Its value is not written down: take it from a Secret (valueFrom.secretKeyRef)." if name in hidden else ""
        )
        path = ("triton", "args", name)
        made.findings.append(Finding(path, CHANGED if text else SAME, text, ("triton_env",)))


def _flags(made: Migration, command: Command) -> None:
    """Flags of the server: those that a variable of ours is for, and the others as they are."""
    flags: dict[str, Any] = {}
    repositories: list[str] = []
    for name, value in command.flags:
        text = "true" if value is None else value
        if name == "model-repository":
            repositories.append(text)
        elif name == "trace-config":
            _flag(made, name, text, CHANGED, "Servers trace what Envoy samples, and send it where Envoys do.")
        elif not _own_flag(made, name, text):
            there = flags.get(name)
            converted = _scalar(text)
            flags[name] = converted if there is None else [*(there if isinstance(there, list) else [there]), converted]
            _flag(made, name, text, SAME, "", "triton_flags")
    for text in command.shell:
        name, _equals, value = text.lstrip("-").partition("=")
        if name == "trace-config":
            _flag(made, name, value, CHANGED, "Spans carry the name of their pod by themselves.")
        else:
            _flag(made, name, value, GONE, "Only a shell can evaluate it. Set it in triton_flags, or by triton_env.")
            made.unfinished.append(f"--{name} of tritonserver, whose value came from a shell")
    if command.words:
        _flag(made, "words", " ".join(command.words), GONE, "These are no flags, and are left out.")
    if not any(name == "exit-timeout-secs" for name, _value in command.flags):
        made.values.findings.append(_stop(given=False))
    if flags:
        made.set("triton_flags", flags)
    _repositories(made, repositories)


def _own_flag(made: Migration, name: str, text: str) -> bool:
    """Whether it is a flag that does not go into triton_flags, and what became of it."""
    if _DEFAULT_FLAGS.get(name) == text.lower() and name != "strict-model-config":
        _flag(made, name, text, SAME, "As by default.")
    elif name == "exit-timeout-secs":
        seconds = integer(text, EXIT_TIMEOUT)
        if seconds != EXIT_TIMEOUT:
            made.set("triton_exit_timeout", seconds)
        grace = DRAIN_WAIT + seconds + SPARE_SECONDS
        if grace > 60:
            made.set("triton_termination_grace", grace)
        made.values.findings.append(_stop(given=True, value=text))
    elif name == "exit-on-error":
        _flag(
            made,
            name,
            text,
            CHANGED,
            "One bad model would take every server down. If that is meant, set it to true.",
            "triton_exit_on_error",
        )
    elif name == "strict-readiness":
        _flag(
            made,
            name,
            text,
            CHANGED,
            "One model that does not load would make good servers unready. If that is meant, set it to true.",
            "triton_strict_readiness",
        )
    elif name == "strict-model-config":
        if text.lower() == "true":
            made.variables.setdefault("triton_extra_args", []).append("--disable-auto-complete-config")
        _flag(
            made,
            name,
            text,
            CHANGED,
            "Triton has given this flag up; --disable-auto-complete-config is what is left of it, and false is the "
            "default.",
            *(["triton_extra_args"] if text.lower() == "true" else []),
        )
    elif name == "disable-auto-complete-config":
        made.variables.setdefault("triton_extra_args", []).append("--disable-auto-complete-config")
        _flag(made, name, text, SAME, "", "triton_extra_args")
    elif name == "model-control-mode":
        made.set("triton_model_control_mode", text)
        _flag(made, name, text, SAME, "", "triton_model_control_mode")
        if text == "explicit":
            made.set("triton_open_model_control", True)
            _flag(
                made,
                name,
                text,
                CHANGED,
                "Every client can load and unload models, as with the chart; here it has to be said. Closing it is "
                "better: triton_restricted_apis.",
                "triton_open_model_control",
            )
    elif name == "load-model":
        made.variables.setdefault("triton_load_models", []).append(text)
        _flag(made, name, text, SAME, "", "triton_load_models")
    elif name == "repository-poll-secs":
        made.set("triton_repository_poll_seconds", integer(text, 15))
        _flag(made, name, text, SAME, "", "triton_repository_poll_seconds")
    elif name in _FIXED_FLAGS:
        _flag(made, name, text, GONE, "Ports are fixed: 8000, 8001 and 8002 of every address.")
    elif name in ("http-restricted-api", "grpc-restricted-protocol"):
        _flag(
            made,
            name,
            text,
            GONE,
            "Name the APIs that are to be closed; the key is each server's own.",
            "triton_restricted_apis",
        )
    else:
        return False
    return True


def _flag(made: Migration, name: str, value: str, kind: str, text: str, *variables: str) -> None:
    path = ("triton", "args", f"--{name}")
    told = shown_value((name,), value)
    made.values.findings.append(Finding(path, kind, text, variables, told, made.values.given("triton", "args")))


def _stop(*, given: bool, value: str = "") -> Finding:
    return Finding(
        ("triton", "args", "--exit-timeout-secs"),
        CHANGED,
        "The chart's preStop hook never ran and SIGTERM never reached the server, which was killed after 60 s. Here "
        "it leaves the endpoints, waits, finishes what it has, and only then ends.",
        ("triton_drain_wait", "triton_exit_timeout", "triton_termination_grace"),
        value,
        given,
    )


# ---- models


def _repositories(made: Migration, folders: Sequence[str]) -> None:
    values, path = made.values, ("triton", "modelRepository")
    mount = _folder(str(values.get(*path, "mountPath", default="")))
    kind = str(values.get(*path, "storageType", default=""))
    mounted = bool(values.get(*path, "enabled")) and bool(mount)
    found: list[dict[str, Any]] = []
    used = False
    for folder in dict.fromkeys(_folder(text) for text in folders):
        inside = mounted and (folder == mount or folder.startswith(f"{mount.rstrip('/')}/"))
        used = used or inside
        item = _mounted(made, kind, folder[len(mount) :].strip("/")) if inside else {"kind": "image", "path": folder}
        if item is None or folder == "/tmp":
            continue
        found.append({"name": _repository_name(folder, [entry["name"] for entry in found]), **item})
        where = "a folder of the image" if not inside else f"{item['kind']}, {item.get('path') or 'the whole of it'}"
        _flag(made, "model-repository", folder, SAME, where, "triton_model_repositories")
    if found:
        made.set("triton_model_repositories", found)
    else:
        values.findings.append(
            Finding(
                ("triton", "args", "--model-repository"),
                GONE,
                "No folder with models is known, so that nothing would be served.",
                ("triton_model_repositories",),
                "",
                values.given("triton", "args"),
            )
        )
        made.unfinished.append("triton_model_repositories: where servers find their models")
    _storage_notes(made, kind, mount, mounted=mounted, used=used)


def _mounted(made: Migration, kind: str, below: str) -> dict[str, Any] | None:
    """A repository in what the chart mounts, or None where that was nothing."""
    values, path = made.values, ("triton", "modelRepository")
    inside = {"path": below} if below else {}
    if kind == "pvc":
        return {"kind": "pvc", "claim": str(values.get(*path, "pvc", "claimName", default="")), **inside}
    if kind == "cvmfs-pvc":
        return {"kind": "cvmfs", "claim": "cvmfs", **inside}
    if kind in ("cvmfs", "cvmfs-hostPath"):
        return {"kind": "cvmfs", "host_path": "/cvmfs", **inside}
    if kind == "nfs":
        return {
            "kind": "nfs",
            "server": str(values.get(*path, "nfs", "server", default="")),
            "export": str(values.get(*path, "nfs", "path", default="")),
            **inside,
        }
    return None


def _storage_notes(made: Migration, kind: str, mount: str, *, mounted: bool, used: bool) -> None:
    note, path, variable = made.values.note, ("triton", "modelRepository"), "triton_model_repositories"
    enabled = bool(made.values.get(*path, "enabled"))
    if enabled and not used:
        text = "No repository of the server is in this volume, so it is left out."
    elif enabled:
        text = "The volume comes with the repositories in it."
    else:
        text = "There is no volume."
    note((*path, "enabled"), SAME if used or not enabled else CHANGED, text, variable)
    place = (
        "servers have claims below /models"
        if kind in ("pvc", "nfs")
        else "servers have CVMFS at /cvmfs, since its links are absolute"
    )
    moved = mounted and used and (kind in ("pvc", "nfs") or mount != "/cvmfs")
    note(
        (*path, "mountPath"),
        CHANGED if moved else SAME,
        f"Paths are those inside the volume; {place}." if moved else "",
        variable,
    )
    texts = {
        "pvc": (SAME, ""),
        "nfs": (SAME, ""),
        "cvmfs-pvc": (
            SAME,
            "The claim cvmfs, which the chart makes and leaves, is used by both. It has to be there: its class is "
            "that of the CVMFS CSI driver.",
        ),
        "cvmfs-hostPath": (SAME, "Nodes have to have CVMFS mounted at /cvmfs."),
        "cvmfs": (
            CHANGED,
            "The chart says that it takes this, and mounts an empty folder: servers ended, or were ready without a "
            "model. Here it is what is meant, /cvmfs of the node.",
        ),
        "": (SAME, ""),
    }
    known = texts.get(kind)
    note(
        (*path, "storageType"),
        *(known or (CHANGED, "The chart knows no such type and mounts an empty folder. Say where the models are.")),
        variable,
    )
    if known is None and enabled:
        made.unfinished.append("triton_model_repositories: the chart mounted an empty folder")
    for key in ("pvc", "nfs"):
        given = made.values.get(*path, key)
        for name in given if isinstance(given, Mapping) else ():
            if (key, name) in (("pvc", "claimName"), ("nfs", "server"), ("nfs", "path")):
                note(
                    (*path, key, name),
                    SAME if kind == key else IDLE,
                    "" if kind == key else f"storageType is '{kind}', so that it had no effect.",
                    variable,
                )


def _repository_name(folder: str, taken: Sequence[str]) -> str:
    """A short name: the last part of the path that says anything, with a number where there is another one."""
    parts = [part for part in folder.strip("/").split("/") if part not in ("models", "data", "current")]
    name = re.sub(r"[^a-z0-9]+", "-", (parts or ["models"])[-1].lower()).strip("-")[: LONGEST_NAME - 4].strip("-")
    name = name or "models"
    return next(text for text in (name, *(f"{name}-{n}" for n in range(2, 999))) if text not in taken)


# ---- resources, Service, probes


def _resources(made: Migration) -> None:
    values, path = made.values, ("triton", "resources")
    found: Mapping[str, Any] = values.get(*path, default={})
    gpus: dict[str, int] = {}
    rest: dict[str, dict[str, str]] = {}
    for side in ("requests", "limits"):
        for name, amount in (found.get(side) or {}).items():
            if "gpu" in str(name) or "/mig-" in str(name):
                gpus[str(name)] = integer(amount, 1)
            else:
                rest.setdefault(side, {})[str(name)] = str(tidy(amount))
    if gpus:
        resource, count = next(iter(gpus.items()))
        made.set("triton_gpus", count)
        if resource != "nvidia.com/gpu":
            made.set("triton_gpu_resource", resource)
        values.note(
            path,
            SAME,
            f"{count} x {resource} for each server is a variable of its own.",
            "triton_gpus",
            "triton_resources",
        )
        if len(gpus) > 1:
            made.unfinished.append(f"triton_gpus: the values ask for several resources ({', '.join(sorted(gpus))})")
    else:
        placed = "gpu" in str(values.get("triton", "affinity", default="")) + str(values.get("triton", "nodeSelector"))
        text = (
            ""
            if not placed
            else (
                "Nodes with GPUs are asked for, but no GPU: the server has none unless the node gives all of them to "
                "everybody. Set triton_gpus: 1 if it is to have one."
            )
        )
        values.note(path, CHANGED if placed else SAME, text, *(["triton_gpus"] if placed else []), "triton_resources")
    if values.given(*path) and rest:
        made.set("triton_resources", rest)


def _service_annotations(made: Migration) -> None:
    path = ("triton", "service", "annotations")
    given = made.values.get(*path)
    if not given:
        made.values.note(path, SAME, "As by default.")
        return
    balancer = {key: value for key, value in given.items() if "metallb" in key or "load-balancer" in key}
    if balancer and made.values.get("envoy", "service", "type") == "LoadBalancer":
        made.variables.setdefault("envoy_service_annotations", {}).update(strings(balancer))
        made.values.note(
            path,
            CHANGED,
            "Of a load balancer, but the Service of the servers is none. It is now at the endpoint, whose Service is.",
            "envoy_service_annotations",
        )
    else:
        made.values.note(path, SAME, "", "triton_service_annotations")
    if rest := {key: value for key, value in given.items() if key not in balancer}:
        made.set("triton_service_annotations", strings(rest))


def _triton_ports(made: Migration) -> None:
    path = ("triton", "service", "ports")
    ports = {str(port.get("name")): port.get("port") for port in made.values.get(*path, default=[])}
    fixed = ports == {"http": 8000, "grpc": 8001, "metrics": 8002}
    made.values.note(
        path, SAME if fixed else GONE, "As by default." if fixed else "Ports of servers are fixed: 8000, 8001 and 8002."
    )


def _probes(made: Migration) -> None:
    values, ready, startup = made.values, ("triton", "readinessProbe"), ("triton", "startupProbe")
    script = " ".join(texts(values.get(*ready, "command")))
    asked = re.search(r"https?://[^/\s]+(/[^\s\"';|&>]*)", script)
    where = asked[1] if asked else ""
    if values.get(*ready, "reset") is True:
        values.note(
            ready,
            CHANGED,
            "Without a probe a server gets requests before it has loaded a model. Our default probe stays; "
            "triton_readiness_probe: {} takes it away.",
        )
    else:
        if where and where != "/v2/health/ready":
            probe = {"httpGet": {"path": where, "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 3}
            made.set("triton_readiness_probe", {**probe, "failureThreshold": 3})
            values.note(
                (*ready, "command"),
                CHANGED,
                f"Asked over HTTP ({where}), without a shell and curl. The file /tmp/shutdown was never written.",
                "triton_readiness_probe",
            )
        elif values.given(*ready, "command"):
            known = where == "/v2/health/ready"
            values.note(
                (*ready, "command"),
                SAME if known else GONE,
                "Our default asks the same over HTTP."
                if known
                else "No address is found in it; our default probe stays.",
            )
        for key in ("initialDelaySeconds", "periodSeconds", "failureThreshold", "timeoutSeconds", "successThreshold"):
            values.note(
                (*ready, key),
                CHANGED,
                "A server that does not answer has to leave in seconds: ours asks every second, three times, and "
                "time for loading is a variable of its own.",
                "triton_startup_budget",
            )
        values.note((*ready, "reset"), SAME, "")
    if values.get(*startup, "reset") is True:
        values.note(startup, CHANGED, "Our default probe stays; triton_startup_probe: {} takes it away.")
        return
    delay, period, failures = (
        integer(values.get(*startup, key), 0) for key in ("initialDelaySeconds", "periodSeconds", "failureThreshold")
    )
    budget = delay + period * failures
    if budget > STARTUP_BUDGET:
        made.set("triton_startup_budget", budget)
    for key in ("initialDelaySeconds", "periodSeconds", "failureThreshold"):
        values.note(
            (*startup, key),
            SAME if budget > STARTUP_BUDGET else CHANGED,
            f"Together {budget} s for loading; "
            + (
                "the same here."
                if budget > STARTUP_BUDGET
                else f"here {STARTUP_BUDGET} s by default, and a server serves as soon as it is ready."
            ),
            "triton_startup_budget",
        )
    path = str(values.get(*startup, "httpGet", "path", default="/v2/health/ready"))
    if path != "/v2/health/ready":
        most = max(budget, STARTUP_BUDGET)
        made.set(
            "triton_startup_probe",
            {
                "httpGet": {"path": path, "port": "http"},
                "periodSeconds": 1,
                "timeoutSeconds": 1,
                "failureThreshold": most,
            },
        )
        values.note((*startup, "httpGet"), SAME, "", "triton_startup_probe")
    else:
        values.note((*startup, "httpGet"), SAME, "As by default.")
    values.note((*startup, "reset"), SAME, "")


# ---- the endpoint ----------------------------------------------------------------------------------------------------


def _envoy(made: Migration) -> None:
    values, note = made.values, made.values.note
    if not values.get("envoy", "enabled"):
        note(
            ("envoy", "enabled"),
            GONE,
            "An instance always has Envoys: they are what keeps requests while servers come and go. Clients that "
            f"call {made.old_name}-triton have to be led to {made.name}.",
        )
    else:
        note(("envoy", "enabled"), SAME, "Always.")
    replicas = integer(values.get("envoy", "replicas"), 1)
    if replicas > 2:
        made.set("envoy_replicas", replicas)
    note(
        ("envoy", "replicas"),
        SAME if replicas > 1 else CHANGED,
        "" if replicas > 1 else "A single one is an outage whenever it is replaced. Two by default.",
        "envoy_replicas",
        always=True,
    )
    note(
        ("envoy", "image"),
        CHANGED,
        "The configuration is written for the version of our default. With a registry of your own set it to the same "
        "version there.",
        "envoy_image",
    )
    note(
        ("envoy", "args"),
        IDLE,
        "The chart's script took no notice of them. See envoy_log_level and envoy_extra_args.",
        "envoy_extra_args",
    )
    if values.get("envoy", "external_config", "load_from_configmap"):
        note(
            ("envoy", "external_config"),
            GONE,
            "A whole configuration cannot be carried over: ours has listeners for probes, metrics and the drain. See "
            "envoy_configuration_config_map, and envoy_extra_listeners, _clusters and _http_filters for additions.",
            "envoy_configuration_config_map",
        )
        made.unfinished.append("what the ConfigMap with Envoy's configuration does besides")
    else:
        note(("envoy", "external_config"), SAME, "Off.")
    path = ("envoy", "resources")
    if values.given(*path):
        made.set("envoy_resources", plain_resources(values.get(*path)))
    note(path, SAME, "", "envoy_resources")
    for key, variable in (
        ("annotations", "envoy_pod_annotations"),
        ("nodeSelector", "envoy_node_selector"),
        ("tolerations", "envoy_tolerations"),
    ):
        copy(made, ("envoy", key), variable)
    _service(made)
    _ingress(made)
    _route(made)
    _limits(made)
    _tokens(made)


def _service(made: Migration) -> None:
    values, path = made.values, ("envoy", "service")
    kind = str(values.get(*path, "type", default="ClusterIP"))
    if kind != "ClusterIP":
        made.set("envoy_service_type", kind)
    text = (
        ""
        if kind == "ClusterIP"
        else "The chart showed Envoy's admin port (9901) there too, by which anybody could stop it. Ours does not."
    )
    values.note(
        (*path, "type"),
        SAME if not text else CHANGED,
        text or "As by default.",
        *(["envoy_service_type"] if text else []),
    )
    ports: Sequence[Mapping[str, Any]] = values.get(*path, "ports", default=[])
    port = next((integer(item.get("port"), 8001) for item in ports if item.get("name") == "grpc"), 8001)
    if port != 8001:
        made.set("envoy_service_port", port)
    more = [str(item.get("name")) for item in ports if item.get("name") not in ("grpc", "admin")]
    values.note(
        (*path, "ports"),
        GONE if more else CHANGED,
        "Only the endpoint's port is in the Service, not Envoy's admin port"
        + (f", nor {', '.join(more)}." if more else "."),
        "envoy_service_port",
    )


def _ingress(made: Migration) -> None:
    values, path = made.values, ("envoy", "ingress")
    if not values.get(*path, "enabled"):
        values.note((*path, "enabled"), SAME, "Off.")
        for key in ("hostName", "ingressClassName", "annotations", "hosts", "tls"):
            values.note((*path, key), IDLE, "The Ingress is off.")
        return
    host = str(values.get(*path, "hostName", default=""))
    wrong: Sequence[Any] = values.get(*path, "hosts", default=[])
    values.note((*path, "enabled"), SAME, "", "envoy_ingress")
    values.note((*path, "hostName"), SAME, "", "envoy_ingress")
    for key in ("hosts", "tls"):
        values.note(
            (*path, key),
            CHANGED,
            "The chart does not know this key: its Ingress had no host and took every request of the controller that "
            "nobody else did. The name in it is the host now.",
            "envoy_ingress",
        )
    host = host or next((bare_host(str(item)) for item in wrong), "")
    annotations = strings(values.get(*path, "annotations", default={}))
    class_name = str(values.get(*path, "ingressClassName", default=""))
    controller = _controller(annotations, class_name)
    ingress: dict[str, Any] = {"host": host, "controller": controller, "tls": True}
    if class_name:
        ingress["class_name"] = class_name
    timeout = annotations.pop(TIMEOUT_ANNOTATIONS.get(controller, ""), "")
    if timeout:
        ingress["timeout_seconds"] = max(1, math.ceil(seconds(timeout)))
    for name in OWN_ANNOTATIONS.get(controller, ()):
        annotations.pop(name, None)
    if annotations:
        ingress["annotations"] = annotations
    values.note(
        (*path, "annotations"),
        SAME,
        "Those that the controller needs for gRPC are written by the role.",
        "envoy_ingress",
    )
    values.note((*path, "ingressClassName"), SAME, "", "envoy_ingress")
    if not host:
        values.note(
            path,
            GONE,
            "It has no host, and took every request of the controller that nobody else did. Say which name clients "
            "use.",
            "envoy_ingress",
        )
        made.unfinished.append("envoy_ingress: the host that clients use")
        return
    made.set("envoy_ingress", ingress)
    if controller == "other":
        values.findings.append(
            Finding(
                path,
                CHANGED,
                "The values do not say which controller the cluster has. Say it (nginx, haproxy-ingress, "
                "haproxytech, traefik), or name the annotations by which it speaks HTTP/2 with Envoy: without them "
                "gRPC does not pass, and with the chart it did not either.",
                ("envoy_ingress",),
                "",
            )
        )
        made.unfinished.append("envoy_ingress.controller: whose annotations are written")


def _controller(annotations: Mapping[str, str], class_name: str) -> str:
    for prefix, controller in CONTROLLERS.items():
        if any(key.startswith(prefix) for key in annotations):
            return controller
    return {"nginx": "nginx", "traefik": "traefik"}.get(class_name, "other")


def _route(made: Migration) -> None:
    values, path = made.values, ("envoy", "grpc_route_timeout")
    timeout = math.ceil(seconds(values.get(*path, default="0s")))
    if timeout:
        made.set("envoy_route_timeout", timeout)
    values.note(
        path,
        SAME,
        f"Requests that take longer than {timeout} s, time in queues included, are ended."
        if timeout
        else "No limit, as by default.",
        *(["envoy_route_timeout"] if timeout else []),
    )
    path = ("envoy", "loadBalancerPolicy")
    policy = str(values.get(*path, default="LEAST_REQUEST"))
    if policy in ("RING_HASH", "MAGLEV"):
        values.note(
            path,
            CHANGED,
            "The chart told Envoy nothing to hash, so that it was as good as RANDOM. Set it with envoy_hash_policy; "
            "LEAST_REQUEST meanwhile.",
            "envoy_load_balancing_policy",
        )
    elif policy not in POLICIES:
        values.note(path, CHANGED, "Envoy knows no such policy; LEAST_REQUEST.", "envoy_load_balancing_policy")
    else:
        if policy != "LEAST_REQUEST":
            made.set("envoy_load_balancing_policy", policy)
        values.note(path, SAME, "" if policy != "LEAST_REQUEST" else "As by default.", "envoy_load_balancing_policy")


def _limits(made: Migration) -> None:
    values, path = made.values, ("envoy", "rate_limiter", "listener_level")
    keys = ("max_tokens", "tokens_per_fill", "fill_interval")
    if values.get(*path, "enabled"):
        rate = integer(values.get(*path, "tokens_per_fill"), 1) / (seconds(values.get(*path, "fill_interval")) or 1)
        burst = integer(values.get(*path, "max_tokens"), 5)
        made.set("envoy_connection_rate", max(1, round(rate)))
        made.set("envoy_connection_burst", burst)
        values.note(
            path,
            CHANGED,
            f"The documentation calls it a limit of connections at a time, but it is one of new connections: {burst}, "
            f"then {rate:.2g} a second for each Envoy, those of one client after the other too. Here it is "
            f"{max(1, round(rate))} a second, the least that can be said. For connections at a time there is "
            "envoy_client_connections.",
            "envoy_connection_rate",
            "envoy_connection_burst",
        )
    else:
        values.note((*path, "enabled"), SAME, "Off.")
        for key in keys:
            values.note((*path, key), IDLE, "The limit is off.")
    path = ("envoy", "rate_limiter", "prometheus_based")
    values.note((*path, "luaConfig"), GONE, "A filter of one's own goes into envoy_extra_http_filters.")
    if not values.get(*path, "enabled"):
        values.note((*path, "enabled"), SAME, "Off.")
        return
    interval = _scrape_interval(made)
    queries = f"supersonic_name | fastml.supersonic.service_queries(supersonic_namespace, scrape_interval={interval})"
    made.set(
        "envoy_load_limit",
        {
            "url": _prometheus_of(made),
            "query": "{{ (" + queries + ").queue_time }}",
            "threshold": float(values.get("serverLoadThreshold", default=100)),
        },
    )
    values.note(
        (*path, "enabled"),
        CHANGED,
        "Who was refused got an answer without content and status OK, after the request had been done all the same, "
        "and any number that the filter could not read refused everybody. Here it is RESOURCE_EXHAUSTED, before "
        "anything is done, and again for RepositoryIndex alone; without Prometheus everybody comes in.",
        "envoy_load_limit",
    )


def _prometheus_of(made: Migration) -> str:
    return external_prometheus(made.values) or (
        "http://{{ supersonic_name }}-prometheus.{{ supersonic_namespace }}.svc."
        "{{ supersonic_cluster_domain | default('cluster.local') }}:9090"
    )


def _scrape_interval(made: Migration) -> int:
    # Of a Prometheus that is not ours nothing is known; 30 s is what most of them have.
    return 30 if external_prometheus(made.values) else 2


def _tokens(made: Migration) -> None:
    values, path = made.values, ("envoy", "auth")
    if not values.get(*path, "enabled"):
        values.note((*path, "enabled"), SAME, "Off.")
        for key in ("jwt_issuer", "jwt_remote_jwks_uri", "audiences", "url", "port"):
            values.note((*path, key), IDLE, "Tokens are not asked for.")
        return
    audiences = texts(values.get(*path, "audiences"))
    issuer = {
        "issuer": str(values.get(*path, "jwt_issuer", default="")),
        "audiences": audiences,
        "jwks_uri": str(values.get(*path, "jwt_remote_jwks_uri", default="")),
    }
    made.set("envoy_jwt_issuers", [issuer])
    # The proof is a client too.
    made.set("verify_token", "{{ lookup('ansible.builtin.env', '" + TOKEN + "') }}")
    made.unfinished.append(f"a token for the proof, in the environment as {TOKEN}, or verify_token from a vault")
    values.note(
        (*path, "enabled"),
        SAME,
        "Health and index take a token too; envoy_public_methods lets some go without.",
        "envoy_jwt_issuers",
    )
    for key in ("jwt_issuer", "jwt_remote_jwks_uri"):
        values.note((*path, key), SAME, "", "envoy_jwt_issuers")
    several = len(audiences) > 1
    values.note(
        (*path, "audiences"),
        CHANGED if several else SAME,
        "The chart made one name of them all, which no token has." if several else "",
        "envoy_jwt_issuers",
    )
    for key in ("url", "port"):
        values.note(
            (*path, key),
            CHANGED,
            "Host and port come from the address of the keys, and its certificate is verified now.",
            "envoy_jwt_issuers",
        )


# ---- scaling ---------------------------------------------------------------------------------------------------------


def _autoscaling(made: Migration) -> None:
    values, note = made.values, made.values.note
    on = bool(values.get("keda", "enabled"))
    limiter = bool(values.get("envoy", "rate_limiter", "prometheus_based", "enabled"))
    for key in ("serverLoadMetric", "serverLoadThreshold"):
        if not on and not limiter:
            note((key,), IDLE, "Nothing reads it: KEDA and the limit by Prometheus are off.")
    if on or limiter:
        note(
            ("serverLoadMetric",),
            CHANGED,
            "It names labels that only the chart's Prometheus has, and adds up what should be averaged. The time "
            "that a request waits in queues is asked for instead.",
            *(["envoy_load_limit"] if limiter else []),
            *(["autoscaler_triggers"] if on else []),
        )
        also = (
            ""
            if not on
            else (
                " For the autoscaler it would be autoscaler_queue_time_threshold with queue_time in "
                "autoscaler_default_triggers."
            )
        )
        note(
            ("serverLoadThreshold",),
            CHANGED,
            "Milliseconds for each request now; the chart's own metric divided by executions, so that it grew with "
            "the size of batches." + also,
            *(["envoy_load_limit"] if limiter else []),
            always=True,
        )
    path = ("keda",)
    if not on:
        note((*path, "enabled"), SAME, "Off.")
        for key in ("minReplicaCount", "maxReplicaCount", "zeroIdleReplicas", "scaleUp", "scaleDown"):
            note((*path, key), IDLE, "KEDA is off.")
        return
    made.components.append("autoscaler")
    note((*path, "enabled"), SAME, "KEDA itself has to be in the cluster, as with the chart.", "supersonic_components")
    least = integer(values.get(*path, "minReplicaCount"), 1)
    most = integer(values.get(*path, "maxReplicaCount"), 2)
    idle = values.get(*path, "zeroIdleReplicas") is True
    if least == 0:
        note(
            (*path, "minReplicaCount"),
            CHANGED,
            "The chart made 1 of it. Here 0 is 0, and Envoys wake the pool.",
            "autoscaler_min_replicas",
        )
    else:
        note((*path, "minReplicaCount"), SAME, "" if least > 1 else "As by default.", "autoscaler_min_replicas")
    if idle:
        note(
            (*path, "zeroIdleReplicas"),
            CHANGED,
            "With the chart nothing ever woke the pool, since its metric comes from servers. Here Envoys do, and "
            "requests wait for the first server.",
            "autoscaler_min_replicas",
            "envoy_server_wait",
        )
    else:
        note((*path, "zeroIdleReplicas"), SAME, "Off.")
    if idle or least == 0:
        made.set("autoscaler_min_replicas", 0)
        made.set("envoy_server_wait", STARTUP_BUDGET)
    elif least != 1:
        made.set("autoscaler_min_replicas", least)
    made.set("autoscaler_max_replicas", most)
    note((*path, "maxReplicaCount"), SAME, "", "autoscaler_max_replicas", always=True)
    for key, variable in (("scaleUp", "autoscaler_scale_up"), ("scaleDown", "autoscaler_scale_down")):
        rules = values.get(*path, key, default={})
        window, step, period = (rules.get(name) for name in ("stabilizationWindowSeconds", "stepsize", "periodSeconds"))
        policy = f"{{type: Pods, value: {step}, periodSeconds: {period}}}"
        told = f"{{stabilizationWindowSeconds: {window}, policies: [{policy}]}}"
        note(
            (*path, key),
            CHANGED,
            "Small steps and long waits made up for a metric that says that servers are missing, not how many. Ours "
            f"says it, so that it may go at once. If the site asks for it: {variable}: {told}.",
            variable,
        )


# ---- what nobody has said anything about -----------------------------------------------------------------------------


def _unknown(made: Migration) -> None:
    known = {path for path, _value in leaves(chart.DEFAULTS)} | set(chart.FURTHER)
    names = sorted({shown_path(path[:length]) for path in known for length in range(1, len(path) + 1)})
    silent = dict(made.values.silent())
    told = {finding.path for finding in made.findings}
    strangers = []
    for path, value in leaves(made.values.user):
        # What is said of a whole section says nothing of a key in it that the chart does not have.
        strange = path not in told and chart.is_strict(path) and not _is_known(path, known)
        if path not in silent and not strange:
            continue
        if path[0] == "global":
            text, kind = "The chart and its subcharts do nothing with it that is needed here.", GONE
        else:
            near = difflib.get_close_matches(shown_path(path), names, n=1, cutoff=0.8)
            meant = near[0] if near and near[0] != shown_path(path) else ""
            hint = f" Is {meant} meant?" if meant else ""
            where = f" below {shown_path(path[:-1])}" if path[1:] else ""
            strangers.append(shown_path(path) + (f" (is {meant} meant?)" if meant else ""))
            text, kind = f"The chart has no such key{where}, so that it never did anything.{hint}", UNKNOWN
        made.findings.append(Finding(path, kind, text, (), shown_value(path, value)))
    if strangers:
        made.unfinished.append(
            f"what was meant by keys that the chart does not know and took no notice of: {', '.join(strangers)}"
        )


def _is_known(path: Path, known: set[Path]) -> bool:
    """Whether the chart has this key, or has one below which everything is Kubernetes' or the site's own."""
    return (
        path in known
        or any(path[:length] in chart.FREE for length in range(1, len(path) + 1))
        or any(other[: len(path)] == path for other in known)
    )


def _order(finding: Finding) -> tuple[int, Path]:
    order = (
        "nameOverride",
        "triton",
        "envoy",
        "serverLoadMetric",
        "serverLoadThreshold",
        "keda",
        "prometheus",
        "grafana",
        "tempo",
        "opentelemetry-collector",
        "metricsCollector",
    )
    return (order.index(finding.path[0]) if finding.path[0] in order else len(order), ())


def _scalar(text: str) -> Any:
    """A flag's value as YAML has it."""
    if re.fullmatch(r"-?[0-9]{1,15}", text):
        return int(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def _folder(text: str) -> str:
    return posixpath.normpath(text) if text else ""
