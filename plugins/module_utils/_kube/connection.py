# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Resolves the address of the API server and the credentials from options, K8S_AUTH_* and the kubeconfig.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

Importing the kubernetes library takes a quarter of a second, so settings are resolved here from the kubeconfig itself,
and `api_client` sends requests with them.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
import time
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from ansible_collections.fastml.supersonic.plugins.module_utils._common import yaml_io
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError

CONNECTION_SPEC: dict[str, dict[str, t.Any]] = {
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "host": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"]},
    "client_cert": {"type": "path", "aliases": ["cert_file"]},
    "client_key": {"type": "path", "aliases": ["key_file"], "no_log": False},
    "validate_certs": {"type": "bool", "aliases": ["verify_ssl"]},
    "proxy": {"type": "str"},
}

_ENVIRONMENT = {
    "kubeconfig": "K8S_AUTH_KUBECONFIG",
    "context": "K8S_AUTH_CONTEXT",
    "host": "K8S_AUTH_HOST",
    "api_key": "K8S_AUTH_API_KEY",
    "ca_cert": "K8S_AUTH_SSL_CA_CERT",
    "client_cert": "K8S_AUTH_CERT_FILE",
    "client_key": "K8S_AUTH_KEY_FILE",
    "validate_certs": "K8S_AUTH_VERIFY_SSL",
    "proxy": "K8S_AUTH_PROXY",
}
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_FILE_SECONDS = 60.0
_EXEC_SECONDS = 60


@dataclass
class Connection:
    """Everything that is needed to open a connection to one API server."""

    host: str
    source: str
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    ca_pem: str | None = field(default=None, repr=False)
    cert_pem: str | None = field(default=None, repr=False)
    key_pem: str | None = field(default=None, repr=False)
    validate: bool = True
    server_name: str | None = None
    proxy: str | None = None
    namespace: str | None = None
    _read_at: float = field(default=0.0, repr=False)

    def bearer(self) -> str | None:
        """The token now: kubelets rotate the file of a service account's token while a module runs."""
        if self.token_file and (self.token is None or time.monotonic() - self._read_at > _TOKEN_FILE_SECONDS):
            self.token = _read(self.token_file, "token file", self.source).strip()
            self._read_at = time.monotonic()
        return self.token


def connection(params: Mapping[str, t.Any]) -> Connection:
    """Resolve the connection options, the K8S_AUTH_* environment and the kubeconfig, in this order."""
    given = {name: _given(params, name) for name in CONNECTION_SPEC}
    if given["host"] and not given["kubeconfig"] and not given["context"]:
        base = Connection(host=given["host"], source=f"host {given['host']}")
    else:
        base = _from_files(given["kubeconfig"], given["context"])
    if given["host"]:
        base = replace(base, host=given["host"])
    if given["api_key"]:
        # A token that is given stands alone: the identity of the kubeconfig must not shine through.
        base = replace(base, token=given["api_key"], token_file=None, cert_pem=None, key_pem=None)
    if given["ca_cert"]:
        base = replace(base, ca_pem=_read(given["ca_cert"], "ca_cert", "the module's options"))
    if given["client_cert"]:
        base = replace(base, cert_pem=_read(given["client_cert"], "client_cert", "the module's options"))
    if given["client_key"]:
        base = replace(base, key_pem=_read(given["client_key"], "client_key", "the module's options"))
    if given["validate_certs"] is not None:
        base = replace(base, validate=given["validate_certs"])
    host = base.host.rstrip("/")
    if "://" not in host:
        host = f"https://{host}"
    if urlsplit(host).scheme not in ("http", "https") or not urlsplit(host).hostname:
        raise SupersonicError(f"The API server's address '{base.host}' ({base.source}) is no http(s) URL.")
    if (base.cert_pem is None) != (base.key_pem is None):
        raise SupersonicError(f"A client certificate and its key belong together; {base.source} has only one of them.")
    return replace(base, host=host, proxy=given["proxy"] or base.proxy or environment_proxy(host))


def api_server(params: Mapping[str, t.Any]) -> str:
    """The address of the API server by these options, without reading credentials."""
    given = {name: _given(params, name) for name in ("kubeconfig", "context", "host")}
    found = given["host"] or _from_files(given["kubeconfig"], given["context"], identify=False).host
    address = urlsplit(found if "://" in found else f"https://{found}")
    port = address.port or (80 if address.scheme == "http" else 443)
    return f"{address.scheme}://{address.hostname}:{port}{address.path.rstrip('/')}"


def _given(params: Mapping[str, t.Any], name: str) -> t.Any:
    value = params.get(name)
    if value in (None, ""):
        value = os.environ.get(_ENVIRONMENT[name]) or None
        if name == "validate_certs" and value is not None:
            return value.strip().lower() in ("1", "true", "yes", "on", "y", "t")
        if value is not None and CONNECTION_SPEC[name]["type"] == "path":
            return os.path.expanduser(os.path.expandvars(value))
    return value


def _from_files(kubeconfig: str | None, context: str | None, *, identify: bool = True) -> Connection:
    if kubeconfig:
        paths = [kubeconfig]
    else:
        paths = [path for path in os.environ.get("KUBECONFIG", "").split(os.pathsep) if path]
        paths = [os.path.expanduser(path) for path in paths] or [os.path.expanduser("~/.kube/config")]
        present = [path for path in paths if os.path.exists(path)]
        if not present and not context and os.environ.get("KUBERNETES_SERVICE_HOST"):
            return _in_cluster()
        if not present:
            raise SupersonicError(
                f"No kubeconfig: {', '.join(paths)} does not exist. "
                "Set kubeconfig (or K8S_AUTH_KUBECONFIG, KUBECONFIG), or host and api_key."
            )
        paths = present
    return _from_kubeconfig(paths, context, identify=identify)


def _in_cluster() -> Connection:
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    address = f"[{host}]" if ":" in host else host
    source = "the service account of this pod"
    return Connection(
        host=f"https://{address}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}",
        source=source,
        token_file=f"{_SERVICE_ACCOUNT}/token",
        ca_pem=_read(f"{_SERVICE_ACCOUNT}/ca.crt", "certificate authority", source),
        namespace=_read(f"{_SERVICE_ACCOUNT}/namespace", "namespace", source).strip(),
    )


def _from_kubeconfig(paths: list[str], context_name: str | None, *, identify: bool) -> Connection:
    where = ", ".join(paths)
    entries: dict[str, dict[str, tuple[dict[str, t.Any], str]]] = {"contexts": {}, "clusters": {}, "users": {}}
    current = None
    for path in paths:
        document = _load_yaml(path)
        current = current or document.get("current-context")
        for kind, found in entries.items():
            for item in document.get(kind) or []:
                if isinstance(item, dict) and item.get("name"):
                    body = item.get(kind[:-1])
                    # As kubectl does: the first file that names an entry wins, relative paths count from that file.
                    found.setdefault(str(item["name"]), (body if isinstance(body, dict) else {}, os.path.dirname(path)))
    name = context_name or current
    if not name:
        raise SupersonicError(
            f"The kubeconfig {where} has no current context. Set context to one of: {_names(entries)}."
        )
    if name not in entries["contexts"]:
        raise SupersonicError(f"The kubeconfig {where} has no context '{name}'. It has: {_names(entries)}.")
    context, _folder = entries["contexts"][name]
    source = f"context '{name}' of {where}"
    cluster, cluster_folder = _entry(entries["clusters"], context.get("cluster"), "cluster", source)
    if not cluster.get("server"):
        raise SupersonicError(f"The cluster '{context.get('cluster')}' of {source} has no server address.")
    result = Connection(
        host=str(cluster["server"]),
        source=source,
        ca_pem=_file_or_data(cluster, "certificate-authority", cluster_folder, source),
        validate=not cluster.get("insecure-skip-tls-verify", False),
        server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
        namespace=context.get("namespace"),
    )
    if not identify:
        return result
    user, user_folder = _entry(entries["users"], context.get("user"), "user", source, optional=True)
    return _identity(result, user, user_folder)


def _identity(result: Connection, user: dict[str, t.Any], folder: str) -> Connection:
    result = replace(
        result,
        cert_pem=_file_or_data(user, "client-certificate", folder, result.source),
        key_pem=_file_or_data(user, "client-key", folder, result.source),
    )
    if user.get("token"):
        return replace(result, token=str(user["token"]))
    if user.get("tokenFile"):
        return replace(result, token_file=os.path.join(folder, str(user["tokenFile"])))
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        return replace(result, token=f"Basic {base64.b64encode(pair).decode()}")
    if user.get("exec"):
        return _run_plugin(result, user["exec"], folder)
    if user.get("auth-provider"):
        raise SupersonicError(
            f"The user of {result.source} has an auth-provider, which Kubernetes removed in 1.26. "
            "Use a token, a client certificate or an exec plugin."
        )
    return result


def _run_plugin(result: Connection, plugin: dict[str, t.Any], folder: str) -> Connection:
    """Ask a credential plugin (client.authentication.k8s.io) who we are."""
    command = str(plugin.get("command") or "")
    if os.sep in command:
        command = os.path.join(folder, command)
    info: dict[str, t.Any] = {
        "apiVersion": plugin.get("apiVersion", "client.authentication.k8s.io/v1"),
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    if plugin.get("provideClusterInfo"):
        info["spec"]["cluster"] = {"server": result.host, "insecure-skip-tls-verify": not result.validate}
        if result.ca_pem:
            info["spec"]["cluster"]["certificate-authority-data"] = base64.b64encode(result.ca_pem.encode()).decode()
    environment = {**os.environ, **{str(e["name"]): str(e["value"]) for e in plugin.get("env") or []}}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(info)
    label = f"The credential plugin '{plugin.get('command')}' of {result.source}"
    try:
        done = subprocess.run(
            [command, *[str(arg) for arg in plugin.get("args") or []]],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_EXEC_SECONDS,
            check=False,
        )
    except (OSError, ValueError) as exc:
        raise SupersonicError(f"{label} cannot be started: {exc}. {plugin.get('installHint') or ''}".rstrip()) from exc
    except subprocess.TimeoutExpired as exc:
        raise SupersonicError(f"{label} gave no answer within {_EXEC_SECONDS} s.") from exc
    if done.returncode != 0:
        raise SupersonicError(f"{label} failed with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    try:
        status = json.loads(done.stdout)["status"]
        token, certificate, key = (status.get(k) for k in ("token", "clientCertificateData", "clientKeyData"))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise SupersonicError(f"{label} printed no ExecCredential with a status.") from exc
    if not token and not (certificate and key):
        raise SupersonicError(f"{label} returned neither a token nor a certificate with its key.")
    return replace(
        result,
        token=token or result.token,
        cert_pem=certificate or result.cert_pem,
        key_pem=key or result.key_pem,
    )


def _load_yaml(path: str) -> dict[str, t.Any]:
    content = _read(path, "kubeconfig", "the connection options")
    try:
        document = yaml_io.load(content)
    except yaml_io.NoYaml as exc:
        raise SupersonicError(f"The kubeconfig {path} is not valid YAML{exc.where}.") from exc
    if not isinstance(document, dict):
        raise SupersonicError(f"The kubeconfig {path} is empty or no mapping.")
    return document


def _entry(
    found: dict[str, tuple[dict[str, t.Any], str]], name: t.Any, kind: str, source: str, optional: bool = False
) -> tuple[dict[str, t.Any], str]:
    if optional and not name:
        return {}, ""
    if name not in found:
        raise SupersonicError(f"The {source} names the {kind} '{name}', which is not there.")
    return found[name]


def _file_or_data(holder: dict[str, t.Any], key: str, folder: str, source: str) -> str | None:
    data = holder.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(data, validate=False).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError, TypeError) as exc:
            raise SupersonicError(f"The {key}-data of {source} is not base64.") from exc
    if holder.get(key):
        return _read(os.path.join(folder, str(holder[key])), key, source)
    return None


def _read(path: str, what: str, source: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not a text file"
        raise SupersonicError(f"The {what} {path} ({source}) cannot be read: {reason}.") from exc


def _names(entries: dict[str, dict[str, t.Any]]) -> str:
    return ", ".join(sorted(entries["contexts"])) or "none"


def environment_proxy(host: str) -> str | None:
    """The proxy that the environment names for an address, unless it excepts it."""
    address = urlsplit(host)
    name = address.hostname or ""
    for pattern in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(","):
        pattern = pattern.strip().lstrip(".")
        if pattern and (pattern == "*" or name == pattern or name.endswith(f".{pattern}")):
            return None
        if pattern and "/" in pattern and _in_network(name, pattern):
            return None
    variable = f"{address.scheme}_proxy"
    return os.environ.get(variable) or os.environ.get(variable.upper()) or None


def _in_network(name: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
