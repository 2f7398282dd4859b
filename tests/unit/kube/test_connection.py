# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own settings."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in (
        "KUBECONFIG",
        "CONTEXT",
        "HOST",
        "API_KEY",
        "SSL_CA_CERT",
        "CERT_FILE",
        "KEY_FILE",
        "VERIFY_SSL",
        "PROXY",
    ):
        monkeypatch.delenv(f"K8S_AUTH_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def config(path: Path, **changes: Any) -> str:
    """A kubeconfig with the contexts one and two."""
    coded = base64.b64encode(b"PEM").decode()
    document = {
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "cms"}},
            {"name": "two", "context": {"cluster": "d", "user": "v"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://one:6443", "certificate-authority-data": coded}},
            {
                "name": "d",
                "cluster": {"server": "https://two", "insecure-skip-tls-verify": True, "tls-server-name": "t"},
            },
        ],
        "users": [
            {"name": "u", "user": {"token": "secret-token"}},
            {"name": "v", "user": {"client-certificate-data": coded, "client-key-data": coded}},
        ],
        **changes,
    }
    path.write_text(json.dumps(document))
    return str(path)


def test_current_context(tmp_path: Path) -> None:
    found = connection({"kubeconfig": config(tmp_path / "k")})
    assert (found.host, found.bearer(), found.ca_pem, found.namespace) == (
        "https://one:6443",
        "secret-token",
        "PEM",
        "cms",
    )
    assert found.source == f"context 'one' of {tmp_path / 'k'}"
    assert "secret-token" not in repr(found)


def test_other_context(tmp_path: Path) -> None:
    found = connection({"kubeconfig": config(tmp_path / "k"), "context": "two"})
    assert (found.validate, found.server_name, found.cert_pem, found.bearer()) == (False, "t", "PEM", None)


def test_options_win(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("OTHER")
    options = {"host": "https://three", "api_key": "given", "ca_cert": str(tmp_path / "ca"), "validate_certs": True}
    found = connection({"kubeconfig": config(tmp_path / "k"), "context": "two", **options})
    assert (found.host, found.bearer(), found.ca_pem, found.validate) == ("https://three", "given", "OTHER", True)
    # Whoever gives a token wants to be that user, not the one of the certificate in the file.
    assert found.cert_pem is None


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", config(tmp_path / "k"))
    monkeypatch.setenv("K8S_AUTH_CONTEXT", "two")
    monkeypatch.setenv("K8S_AUTH_VERIFY_SSL", "yes")
    monkeypatch.setenv("K8S_AUTH_API_KEY", "from-environment")
    found = connection({})
    assert (found.host, found.validate, found.bearer()) == ("https://two", True, "from-environment")
    assert connection({"context": "one"}).host == "https://one:6443"


def test_host_alone_reads_no_file() -> None:
    found = connection({"host": "192.0.2.1:6443", "api_key": "t"})
    assert (found.host, found.source) == ("https://192.0.2.1:6443", "host 192.0.2.1:6443")


def test_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As kubectl does it: the first that names something wins, relative paths count from their own file."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/token").write_text("from-file\n")
    first = config(tmp_path / "first", contexts=[], users=[])
    second = config(tmp_path / "sub/second", users=[{"name": "u", "user": {"tokenFile": "token"}}])
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'missing'}:{second}")
    assert connection({}).bearer() == "from-file"


def test_default_file(tmp_path: Path) -> None:
    (tmp_path / "home/.kube").mkdir(parents=True)
    config(tmp_path / "home/.kube/config")
    assert connection({}).host == "https://one:6443"


def test_password(tmp_path: Path) -> None:
    users = [{"name": "u", "user": {"username": "a", "password": "b"}}]
    token = connection({"kubeconfig": config(tmp_path / "k", users=users)}).bearer()
    assert token == f"Basic {base64.b64encode(b'a:b').decode()}"


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"context": "three"}, "has no context 'three'. It has: one, two."),
        ({"current-context": ""}, {}, "has no current context. Set context to one of: one, two."),
        ({"clusters": []}, {}, "names the cluster 'c', which is not there"),
        ({"users": []}, {}, "names the user 'u', which is not there"),
        ({"clusters": [{"name": "c", "cluster": {}}]}, {}, "has no server address"),
        ({"clusters": [{"name": "c", "cluster": {"server": "ftp://x"}}]}, {}, "is no http(s) URL"),
        (
            {"clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority-data": "ä"}}]},
            {},
            "The certificate-authority-data of context 'one'",
        ),
        (
            {"clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority": "nowhere"}}]},
            {},
            "cannot be read: No such file or directory",
        ),
        (
            {"users": [{"name": "u", "user": {"auth-provider": {"name": "gcp"}}}]},
            {},
            "which Kubernetes removed in 1.26",
        ),
        ({}, {"context": "one", "client_cert": __file__}, "belong together"),
    ],
)
def test_wrong_settings(tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(SupersonicError) as caught:
        connection({"kubeconfig": config(tmp_path / "k", **changes), **options})
    assert message in str(caught.value)
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize("content", ["token: [secret-token\n", "- secret-token", ""])
def test_file_that_is_no_kubeconfig(tmp_path: Path, content: str) -> None:
    (tmp_path / "k").write_text(content)
    with pytest.raises(SupersonicError) as caught:
        connection({"kubeconfig": str(tmp_path / "k")})
    assert str(tmp_path / "k") in str(caught.value)
    assert "secret-token" not in str(caught.value)


def test_nothing_is_set() -> None:
    with pytest.raises(SupersonicError, match=r"No kubeconfig: .*/home/\.kube/config does not exist\. Set kubeconfig"):
        connection({})


@pytest.mark.parametrize(
    ("excluded", "used"),
    [("", True), ("other", True), ("one", False), ("*", False), (".one", False), ("192.0.2.0/24", True)],
)
def test_proxy_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excluded: str, used: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", excluded)
    found = connection({"kubeconfig": config(tmp_path / "k")})
    assert found.proxy == ("http://proxy:3128" if used else None)


def test_proxy_is_not_used_for_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "192.0.2.0/24")
    assert connection({"host": "https://192.0.2.7"}).proxy is None
    assert connection({"host": "https://192.0.3.7"}).proxy == "http://proxy:3128"
