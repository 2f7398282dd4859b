# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What OpenShift does beside Kubernetes, after its documentation: no OpenShift runs here.

The security context constraint restricted-v2, which judges pods and fills in users and groups, as a function and as an
admission webhook of a real API server; and the OAuth server that gives tokens to who answers its challenge.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import secrets
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from ansible_collections.fastml.supersonic.tests.harness.answers import JsonHandler
from ansible_collections.fastml.supersonic.tests.harness.certificates import Certificate, certificate

# What a namespace is given, in its annotations openshift.io/sa.scc.uid-range and .supplemental-groups.
FIRST_USER, USERS = 1000660000, 10000
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
CLIENT = "openshift-challenging-client"


# ---- restricted-v2 ---------------------------------------------------------------------------------------------------
def refusals(spec: dict[str, Any]) -> list[str]:
    """Why restricted-v2 does not let a pod in."""
    found = [f".{name}: not allowed" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    for volume in spec.get("volumes") or []:
        found += [f".volumes {volume['name']}: {kind} is not allowed" for kind in set(volume) - {"name"} - VOLUMES]
    pod = spec.get("securityContext") or {}
    if pod.get("fsGroup", FIRST_USER) != FIRST_USER:
        found.append(f".fsGroup: {pod['fsGroup']} is not an allowed group")
    found += [f".sysctls: {sysctl['name']} is not allowed" for sysctl in pod.get("sysctls") or []]
    found += _judge_context("", pod)
    for container in _containers(spec):
        where, context = f".containers {container['name']}", container.get("securityContext") or {}
        found += _judge_context(where, context)
        found += [f"{where}: {name} is not allowed" for name in ("privileged", "allowPrivilegeEscalation")
                  if context.get(name)]  # fmt: skip
        added = set((context.get("capabilities") or {}).get("add") or []) - {"NET_BIND_SERVICE"}
        found += [f"{where}: capability {name} may not be added" for name in sorted(added)]
        found += [f"{where}: hostPort {port['hostPort']} is not allowed" for port in container.get("ports") or []
                  if port.get("hostPort")]  # fmt: skip
    return found


def admitted(spec: dict[str, Any]) -> dict[str, Any]:
    """The pod with what restricted-v2 fills in."""
    made = copy.deepcopy(spec)
    pod = made.setdefault("securityContext", {})
    pod.setdefault("fsGroup", FIRST_USER)
    pod.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    for container in _containers(made):
        context = container.setdefault("securityContext", {})
        if "runAsUser" not in pod:
            context.setdefault("runAsUser", FIRST_USER)
        context.setdefault("allowPrivilegeEscalation", False)
        capabilities = context.setdefault("capabilities", {})
        capabilities["drop"] = sorted({*(capabilities.get("drop") or []), "ALL"})
    return made


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _judge_context(where: str, context: dict[str, Any]) -> Iterator[str]:
    user = context.get("runAsUser", FIRST_USER)
    if not FIRST_USER <= user < FIRST_USER + USERS:
        yield f"{where}.runAsUser: {user} is not in the range {FIRST_USER}/{USERS}"
    if context.get("runAsNonRoot") is False:
        yield f"{where}.runAsNonRoot: has to be true"
    if (context.get("seccompProfile") or {"type": "RuntimeDefault"})["type"] != "RuntimeDefault":
        yield f"{where}.seccompProfile: only runtime/default is allowed"
    if context.get("seLinuxOptions"):
        yield f"{where}.seLinuxOptions: has to be the namespace's"


class _Admission(JsonHandler):
    """Judges and changes pods that are made."""

    # Where pods are kept that were let in, and why others were not.
    log: list[tuple[str, list[str]]]

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pod = review["request"]["object"]
        wrong = refusals(pod["spec"])
        name = pod["metadata"].get("name") or pod["metadata"].get("generateName", "")
        self.log.append((name, wrong))
        response: dict[str, Any] = {"uid": review["request"]["uid"], "allowed": not wrong}
        if wrong:
            message = f"unable to validate against any security context constraint: {wrong}"
            response["status"] = {"code": 403, "message": message}
        else:
            patch = [{"op": "replace", "path": "/spec", "value": admitted(pod["spec"])}]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        self.answer({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})


@dataclass
class Constraint:
    """The webhook: where the API server finds it, and what it has said."""

    address: str
    authority: Certificate
    log: list[tuple[str, list[str]]]

    def configuration(self, name: str, namespace: str) -> dict[str, Any]:
        """Has the API server ask it about every pod of a namespace."""
        webhook = {
            "name": "restricted-v2.example.org",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 10,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "clientConfig": {
                "url": f"{self.address}/pods",
                "caBundle": base64.b64encode(self.authority.pem.encode()).decode(),
            },
        }
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [webhook],
        }


@contextmanager
def constraint(folder: Path, address: str) -> Iterator[Constraint]:
    """The webhook at an address of this machine that the API server reaches."""
    authority = certificate("authority")
    log: list[tuple[str, list[str]]] = []
    handler = type("Admission", (_Admission,), {"log": log})
    with _serve(handler, folder, certificate("webhook", authority, addresses=(address,)), address) as port:
        yield Constraint(f"https://{address}:{port}", authority, log)


@contextmanager
def _serve(
    handler: type[BaseHTTPRequestHandler], folder: Path, own: Certificate, address: str = "127.0.0.1"
) -> Iterator[int]:
    """The port of a server that speaks TLS."""
    (folder / "server.pem").write_text(own.pem + own.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server = ThreadingHTTPServer((address, 0), handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
