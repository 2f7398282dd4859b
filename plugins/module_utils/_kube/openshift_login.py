# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs in to OpenShift with a password, and keeps the token in a kubeconfig until it is revoked.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

The Python package openshift answers the server's challenge. What it lacks is here: it trusts one file of authorities
for two servers, waits without an end, takes passwords for Latin-1, and its logout revokes nothing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import queue
import ssl
import stat
import tempfile
import threading
import typing as t
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from ansible_collections.fastml.supersonic.plugins.module_utils._common import yaml_io
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError, missing_library
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api, ApiError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import (
    Connection,
    environment_proxy,
)

# By this a kubeconfig says that it may be written anew, and removed.
_OURS = "fastml.supersonic.openshift_login"
_TOKENS = "/apis/oauth.openshift.io/v1/useroauthaccesstokens"
_PREFIX = "sha256~"


def log_in(params: Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """Get a token and write the kubeconfig; the token that was in it before is revoked."""
    path, host, username = params["kubeconfig"], _address(params["host"]), params["username"]
    if ":" in username:
        raise SupersonicError(f"username is '{username}', but a login by a password cannot tell a name with a colon.")
    if not params["password"]:
        raise SupersonicError("password is empty. Take it from a vault.")
    before = _before(path)
    result = {"changed": True, "kubeconfig": path, "host": host}
    if check:
        return {**result, "msg": f"{username} would be logged in at {host}."}
    proxy = params["proxy"] or environment_proxy(host)
    ca_pem = params["ca_certificates"] or None
    if ca_pem and "-----BEGIN CERTIFICATE-----" not in ca_pem:
        raise SupersonicError(
            "ca_certificates has no certificate in PEM. Give its text, for instance by lookup('file', ...)."
        )
    found = Connection(host=host, source="the option host", ca_pem=ca_pem, proxy=proxy)
    endpoints = _endpoints(Api(found), host)
    with _authorities(ca_pem) as authorities, _environment(params["proxy"]):
        answer = _in_time(
            lambda: _ask(endpoints, username, params["password"], authorities), params["timeout"], endpoints[0]
        )
    token, seconds = str(answer["access_token"]), int(answer.get("expires_in") or 0)
    found.token = token
    try:
        user = _user(Api(found), host)
        _write(path, _kubeconfig(host, ca_pem, params["proxy"], user, token))
    except BaseException:
        # Nobody would know it any more, and it would be valid for a day.
        with contextlib.suppress(SupersonicError):
            _revoke(found)
        raise
    if before:
        # Somebody's run has failed before it could.
        with contextlib.suppress(SupersonicError):
            _revoke(before)
    message = f"{user} is logged in at {host} for {seconds // 60} min; {path} has the token."
    return {**result, "user": user, "expires_in": seconds, "msg": message}


def log_out(params: Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """Revoke the token of the kubeconfig and remove the file."""
    path = params["kubeconfig"]
    before = _before(path)
    if before is None:
        return {"changed": False, "kubeconfig": path, "msg": f"Nobody is logged in: there is no {path}."}
    message = f"The token of {path} would be revoked."
    if not check:
        revoked = _revoke(before)
        with contextlib.suppress(FileNotFoundError):
            # Another one may have done the same meanwhile.
            os.unlink(path)
        message = f"The token of {path} {'is revoked' if revoked else 'was not valid any more'}; the file is gone."
    return {"changed": True, "kubeconfig": path, "host": before.host, "msg": message}


def token_name(token: str) -> str:
    """The name of a token in the API, which is no secret: OpenShift keeps only its digest."""
    digest = hashlib.sha256(token.removeprefix(_PREFIX).encode()).digest()
    return _PREFIX + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _address(host: str) -> str:
    address = urlsplit(host)
    if address.scheme != "https" or not address.hostname or address.username:
        raise SupersonicError(
            f"host is '{host}', but has to be the API's address, such as https://api.example.org:6443."
        )
    return host.rstrip("/")


def _before(path: str) -> Connection | None:
    """The login that the file is from."""
    try:
        with open(path, encoding="utf-8") as file:
            document = yaml_io.load(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        document = None
    named = document.get("extensions") if isinstance(document, dict) else None
    if not any(isinstance(each, dict) and each.get("name") == _OURS for each in named or []):
        raise SupersonicError(
            f"{path} is there, and was not written by a login of this collection. Nothing was changed. Name another "
            "file in kubeconfig, which is for the login alone."
        )
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    ca = cluster.get("certificate-authority-data")
    return Connection(
        host=cluster["server"],
        source=path,
        token=user["token"],
        ca_pem=base64.b64decode(ca).decode() if ca else None,
        proxy=cluster.get("proxy-url") or environment_proxy(cluster["server"]),
    )


def _endpoints(api: Api, host: str) -> tuple[str, str]:
    """The URLs of the OAuth server for codes and tokens.

    The API has to have the right certificate here: its answer decides who gets the password.
    """
    try:
        told = api.get("/.well-known/oauth-authorization-server", "OAuth server")
    except ApiError as error:
        raise SupersonicError(
            f"{host} does not tell of an OAuth server (HTTP {error.status}), so it is no OpenShift, or one whose users "
            "are an identity provider's. Use a kubeconfig or a token of yours instead of a password."
        ) from error
    endpoints = str(told.get("authorization_endpoint") or ""), str(told.get("token_endpoint") or "")
    for endpoint in endpoints:
        if urlsplit(endpoint).scheme != "https":
            raise SupersonicError(
                f"{host} says that its OAuth server is at '{endpoint}', which is no https:// address, so the password "
                "was not sent."
            )
    return endpoints


def _ask(endpoints: tuple[str, str], username: str, password: str, authorities: str | bool) -> dict[str, t.Any]:
    """Answer the challenge.

    Of an error nothing is passed on but the status: addresses hold the code that a token is given for.
    """
    try:
        from openshift.helper import userpassauth
        from requests.adapters import HTTPAdapter
        from requests.exceptions import RequestException, SSLError
    except ImportError as exc:
        raise missing_library("openshift", "openshift") from exc

    class Adapter(HTTPAdapter):
        """Judges certificates as the collection does elsewhere; see authorities_context. It loads the authorities."""

        def init_poolmanager(self, *arguments: t.Any, **options: t.Any) -> None:
            super().init_poolmanager(*arguments, **options, ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

        def proxy_manager_for(self, *arguments: t.Any, **options: t.Any) -> t.Any:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            return super().proxy_manager_for(*arguments, **options, ssl_context=context)

    class Session(userpassauth.OAuth2Session):
        """The library makes one for each login."""

        def __init__(self, *arguments: t.Any, **options: t.Any) -> None:
            super().__init__(*arguments, **options)
            self.mount("https://", Adapter())

    server = f"The OAuth server {urlsplit(endpoints[0]).netloc}"
    # Its __init__ calls that of the library kubernetes with an option that this has no more, and is of no use here.
    client = userpassauth.OCPLoginConfiguration.__new__(userpassauth.OCPLoginConfiguration)
    # It encodes as Latin-1, and servers expect UTF-8: these are its bytes.
    client.ocp_username, client.ocp_password = (text.encode().decode("latin-1") for text in (username, password))
    client.openshift_auth_endpoint, client.openshift_token_endpoint = endpoints
    client.con_verify_ca = authorities
    known, userpassauth.OAuth2Session = userpassauth.OAuth2Session, Session
    try:
        answer = client.login()
    except userpassauth.OCPLoginRequestException as exc:
        raise SupersonicError(f"{server} {_refusal(exc.req_info, username)}") from None
    except SSLError:
        raise SupersonicError(
            f"{server} has a certificate that is not trusted, so the password was not sent. It is often from another "
            "authority than the API's: that of the cluster's router. Add it to ca_certificates."
        ) from None
    except RequestException as exc:
        raise SupersonicError(f"{server} cannot be reached ({type(exc).__name__}).") from None
    except (ValueError, KeyError):
        raise SupersonicError(f"{server} gave an answer that is none of OpenShift's.") from None
    finally:
        userpassauth.OAuth2Session = known
    if not isinstance(answer, dict) or not answer.get("access_token"):
        raise SupersonicError(f"{server} gave no token to {username}.")
    return answer


def _refusal(request: Mapping[str, t.Any], username: str) -> str:
    status = request.get("req_status_code")
    if request.get("req_method") == "POST":
        return f"let {username} in, but gave no token (HTTP {status}). Try again; its log says more."
    if status == 401:
        return (
            f"refused {username} (HTTP 401): the password is wrong, or the identity provider of this cluster takes "
            "none from programs. Then copy a token from the web console, into a kubeconfig (oc login --token)."
        )
    if status == 200:
        return f"showed {username} a page instead of giving a token: its identity provider wants a browser."
    return f"did not let {username} in (HTTP {status})."


def _user(api: Api, host: str) -> str:
    """The user of the token, which proves that the token is valid."""
    try:
        return str(api.get("/apis/user.openshift.io/v1/users/~", "user")["metadata"]["name"])
    except ApiError as error:
        raise SupersonicError(
            f"{host} does not take the token that its OAuth server gave (HTTP {error.status})."
        ) from error


def _revoke(found: Connection) -> bool:
    """Revoke the token; whether it was valid."""
    try:
        Api(found).delete(f"{_TOKENS}/{token_name(found.token or '')}", "token")
    except ApiError as error:
        if error.status in (401, 404):
            return False
        raise SupersonicError(f"The token of {found.source} could not be revoked: {error}") from error
    return True


def _kubeconfig(host: str, ca_pem: str | None, proxy: str | None, user: str, token: str) -> dict[str, t.Any]:
    cluster: dict[str, t.Any] = {"server": host}
    if ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem.encode()).decode()
    if proxy:
        cluster["proxy-url"] = proxy
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _OURS, "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": _OURS, "context": {"cluster": _OURS, "user": user}}],
        "current-context": _OURS,
        "extensions": [{"name": _OURS, "extension": {"user": user}}],
    }


def _write(path: str, document: Mapping[str, t.Any]) -> None:
    """For its owner alone, and never half."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, mode=stat.S_IRWXU, exist_ok=True)
        # Made with the mode 0600.
        with tempfile.NamedTemporaryFile("w", dir=folder, encoding="utf-8", delete=False) as file:
            try:
                # JSON is YAML too.
                json.dump(document, file, indent=1)
                file.flush()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as exc:
        raise SupersonicError(f"The kubeconfig {path} cannot be written: {exc.strerror}.") from exc


@contextlib.contextmanager
def _authorities(ca_pem: str | None) -> Iterator[str | bool]:
    """The certificate authorities for the OAuth server: the given ones and those of the system, as oc does.

    The library takes a file.
    """
    known = ssl.create_default_context().get_ca_certs(binary_form=True)
    texts = [ca_pem or "", *(ssl.DER_cert_to_PEM_cert(each) for each in known)]
    if not any(texts):
        # Those of the library requests.
        yield True
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".pem") as file:
        file.write("\n".join(texts))
        file.flush()
        yield file.name


@contextlib.contextmanager
def _environment(proxy: str | None) -> Iterator[None]:
    """The library knows a proxy from the environment alone."""
    before = dict(os.environ)
    if proxy:
        os.environ.update({"https_proxy": proxy, "HTTPS_PROXY": proxy})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _in_time(ask: t.Callable[[], dict[str, t.Any]], seconds: float, endpoint: str) -> dict[str, t.Any]:
    """Call a function with a timeout, since the library has none."""
    answers: queue.SimpleQueue[dict[str, t.Any] | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(ask())
        except BaseException as exc:
            answers.put(exc)

    threading.Thread(target=work, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        server = urlsplit(endpoint).netloc
        raise SupersonicError(f"The OAuth server {server} gave no answer within {seconds:g} s.") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer
