# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logging in and out, against servers that speak as OpenShift's documentation says."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._kube import openshift_login
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module
from ansible_collections.fastml.supersonic.tests.harness.openshift import OpenShift, digest, openshift

PASSWORD = "pässwörd: 5 €"
USER_PATH = "/apis/user.openshift.io/v1/users/~"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[OpenShift]:
    """An OpenShift with a user."""
    with openshift(tmp_path, {"robot": PASSWORD}) as found:
        yield found


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """Where the login is kept."""
    return tmp_path / "home/.kube/supersonic"


def login(site: OpenShift, kubeconfig: Path, check: bool = False, **options: Any) -> dict[str, Any]:
    given = {"host": site.api, "username": "robot", "password": PASSWORD, "ca_certificates": site.authorities}
    return run_module("openshift_login", {**given, "kubeconfig": str(kubeconfig), **options}, check=check)


def logout(kubeconfig: Path, check: bool = False) -> dict[str, Any]:
    return run_module("openshift_login", {"kubeconfig": str(kubeconfig), "state": "logged_out"}, check=check)


def test_in_and_out(site: OpenShift, kubeconfig: Path) -> None:
    result = login(site, kubeconfig)
    assert not result["failed"], result
    assert (result["changed"], result["user"], result["expires_in"]) == (True, "robot", 86400)
    (token,) = site.given
    # The file has it, for its owner alone; nothing else does.
    assert stat.S_IMODE(kubeconfig.stat().st_mode) == 0o600
    assert stat.S_IMODE(kubeconfig.parent.stat().st_mode) == 0o700
    assert list(kubeconfig.parent.iterdir()) == [kubeconfig]
    assert token not in str(result)
    assert PASSWORD not in str(result)
    # It is a kubeconfig like any other.
    api = Api(connection({"kubeconfig": str(kubeconfig)}))
    assert api.get(USER_PATH, "user")["metadata"]["name"] == "robot"
    result = logout(kubeconfig)
    assert (result["failed"], result["changed"]) == (False, True)
    assert "is revoked" in result["msg"]
    assert (site.tokens, kubeconfig.exists()) == ({}, False)
    again = logout(kubeconfig)
    assert (again["failed"], again["changed"]) == (False, False)


def test_a_token_that_was_left_is_revoked(site: OpenShift, kubeconfig: Path) -> None:
    login(site, kubeconfig)
    assert login(site, kubeconfig)["changed"]
    assert list(site.tokens) == [digest(site.given[-1])]
    # One that has expired meanwhile is no failure.
    site.tokens.clear()
    result = logout(kubeconfig)
    assert (result["failed"], kubeconfig.exists()) == (False, False)
    assert "not valid any more" in result["msg"]


def test_a_token_that_cannot_be_kept_is_revoked(site: OpenShift) -> None:
    # No folder can be made there.
    result = login(site, Path("/proc/nowhere/kubeconfig"))
    assert result["failed"]
    assert "cannot be written" in result["msg"]
    assert (len(site.given), site.tokens) == (1, {})


def test_the_environment_does_not_shine_through(
    site: OpenShift, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K8S_AUTH_API_KEY", "another-token")
    monkeypatch.setenv("K8S_AUTH_HOST", "https://192.0.2.1")
    assert not login(site, kubeconfig)["failed"]
    assert not logout(kubeconfig)["failed"]
    assert site.tokens == {}


def test_check_mode_tries_nothing(site: OpenShift, kubeconfig: Path) -> None:
    assert login(site, kubeconfig, check=True)["changed"]
    assert (site.seen, kubeconfig.exists()) == ([], False)
    login(site, kubeconfig)
    assert logout(kubeconfig, check=True)["changed"]
    assert (len(site.tokens), kubeconfig.exists()) == (1, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"password": "another"}, "refused robot (HTTP 401): the password is wrong"),
        ({"username": "nobody"}, "refused nobody"),
        ({"username": "a:b"}, "a name with a colon"),
        ({"password": ""}, "password is empty"),
        ({"host": "http://127.0.0.1:1"}, "has to be the API's address"),
        ({"ca_certificates": "/etc/ca.pem"}, "no certificate in PEM"),
    ],
)
def test_what_is_refused(site: OpenShift, kubeconfig: Path, options: dict[str, Any], says: str) -> None:
    result = login(site, kubeconfig, **options)
    assert result["failed"]
    assert says in result["msg"]
    assert PASSWORD not in str(result)
    assert (site.given, kubeconfig.exists()) == ([], False)


@pytest.mark.parametrize(
    ("instead", "says"),
    [("page", "wants a browser"), ("error", "but gave no token (HTTP 400)"), ("sleep", "no answer within 0.5 s")],
)
def test_an_oauth_server_that_gives_no_token(site: OpenShift, kubeconfig: Path, instead: str, says: str) -> None:
    site.instead = instead
    result = login(site, kubeconfig, timeout=0.5 if instead == "sleep" else 30)
    assert result["failed"]
    assert says in result["msg"]
    assert not kubeconfig.exists()


def test_the_password_goes_to_nobody_who_is_not_trusted(site: OpenShift, kubeconfig: Path) -> None:
    result = login(site, kubeconfig, ca_certificates=site.oauth_authority.pem)
    assert result["failed"]
    assert "certificate that is not trusted" in result["msg"]
    result = login(site, kubeconfig, ca_certificates=site.api_authority.pem)
    assert result["failed"]
    assert "so the password was not sent" in result["msg"]
    assert "that of the cluster's router" in result["msg"]
    site.oauth = site.oauth.replace("https", "http")
    result = login(site, kubeconfig)
    assert result["failed"]
    assert "no https:// address, so the password was not sent" in result["msg"]
    # The OAuth server was never asked.
    assert {entry.split()[1] for entry in site.seen} == {"/.well-known/oauth-authorization-server"}


def test_another_kubeconfig_is_never_touched(site: OpenShift, kubeconfig: Path) -> None:
    kubeconfig.parent.mkdir(parents=True)
    for text in (yaml.safe_dump({"kind": "Config", "clusters": []}), "- not\n  a: mapping", ""):
        kubeconfig.write_text(text)
        for result in (login(site, kubeconfig), logout(kubeconfig)):
            assert result["failed"]
            assert "was not written by a login of this collection" in result["msg"]
        assert kubeconfig.read_text() == text
    assert site.seen == []


def test_an_api_that_is_no_openshift(site: OpenShift, kubeconfig: Path) -> None:
    site_host = f"{site.api}/elsewhere"
    site.tokens[digest("t")] = "robot"
    result = login(site, kubeconfig, host=site_host)
    assert result["failed"]
    assert "does not tell of an OAuth server" in result["msg"]


def test_the_name_of_a_token() -> None:
    """As OpenShift computes it: the digest of what follows the prefix, without padding."""
    assert openshift_login.token_name("sha256~abc") == "sha256~ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"
