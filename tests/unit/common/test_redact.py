# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets do not leave, and what is none stays readable."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.redact import (
    REMOVED,
    Redactor,
    is_secret_name,
    secret_values,
)
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.envoy import lua_literal, token_bytes

TOKEN = 'cms-7f"3a/91+token'


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(**data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "main-envoy-access"},
        "data": {key: b64(value) for key, value in data.items()},
    }


@pytest.mark.parametrize(
    "text",
    [
        f"client said {TOKEN} and left",
        f"data: {b64(TOKEN)}",
        json.dumps({"a": TOKEN}),
        json.dumps({"a": json.dumps({"b": TOKEN})}),
        "GET /?t=cms-7f%223a%2F91%2Btoken",
        f"bytes = {lua_literal(list(TOKEN.encode()))}",
        TOKEN.encode().hex(),
    ],
)
def test_a_value_of_a_secret_is_found_in_every_form(text: str) -> None:
    redactor = Redactor()
    redactor.learn_secret(secret(token=TOKEN))
    cleaned = redactor.text(text)
    assert "[removed: Secret main-envoy-access token]" in cleaned
    for form in (TOKEN, "7f", b64(TOKEN)):
        assert form not in cleaned


def test_base64_is_found_in_both_alphabets_and_without_its_end() -> None:
    value = "~~~???>>>key-1"
    standard, of_urls = b64(value), base64.urlsafe_b64encode(value.encode()).decode()
    assert standard.rstrip("=") not in (standard, of_urls.rstrip("="))
    for form in (standard, standard.rstrip("="), of_urls.rstrip("=")):
        assert Redactor([value]).text(f"it was {form}, then") == f"it was {REMOVED}, then"


def test_tokens_inside_of_a_filter_are_found_elsewhere() -> None:
    """The role envoy writes clients' tokens as bytes into a filter, and the filter into a Secret."""
    code = f"local tokens = {lua_literal(token_bytes({'cms': TOKEN, 'ligo': ['another-token-1']}))}\n"
    redactor = Redactor()
    redactor.learn_secret(secret(**{"client.yaml": json.dumps({"inline_string": code})}))
    assert redactor.text(f"{TOKEN} another-token-1 cms ligo").split()[-2:] == ["cms", "ligo"]
    assert TOKEN not in redactor.text(TOKEN)
    assert "another-token-1" not in redactor.text("x another-token-1 y")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("authorization: Bearer abcdef123456", f"authorization: Bearer {REMOVED}"),
        ("https://grafana:pa55w0rd@example.org/x", f"https://{REMOVED}@example.org/x"),
        ("login password=hunter2hunter2 ok", f"login password={REMOVED} ok"),
        ('{"access_token":"0123456789"}', f'{{"access_token":"{REMOVED}"}}'),
        (f"jwt eyJhbGciOiJI.eyJzdWIiOiIx.{'a' * 20} end", f"jwt {REMOVED} end"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nmore", f"{REMOVED}\nmore"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE that was cut", REMOVED),
        # And what only looks like one.
        ("max_tokens: 20", "max_tokens: 20"),
        ("-----BEGIN CERTIFICATE-----\nMIIE", "-----BEGIN CERTIFICATE-----\nMIIE"),
        ("secretName: main-tls", "secretName: main-tls"),
        ("http://main-prometheus.cms.svc:9090/api", "http://main-prometheus.cms.svc:9090/api"),
    ],
)
def test_what_has_the_form_of_a_credential_goes_unknown_as_it_is(text: str, cleaned: str) -> None:
    assert Redactor().text(text) == cleaned


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("password", True),
        ("GF_SECURITY_ADMIN_PASSWORD", True),
        ("bearerToken", True),
        ("x-api-key", True),
        ("clientSecret", True),
        ("authorization", True),
        ("secretName", False),
        ("secretKeyRef", False),
        ("tokenExpirationSeconds", False),
        ("automountServiceAccountToken", True),
        ("token_bucket", False),
        ("credentials_file", False),
        ("imagePullPolicy", False),
        ("from_headers", False),
        ("keys", False),
    ],
)
def test_names(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_an_object_keeps_what_is_no_secret() -> None:
    redactor = Redactor(["tok-of-the-inventory"])
    live = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "main-triton",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "tok-of-the-inventory"},
            "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "args": ["--token=abcdefgh", "--model=/m"],
                    "env": [
                        {"name": "AWS_SECRET_ACCESS_KEY", "value": "short"},
                        {"name": "LEVEL", "value": "debug"},
                        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "aws", "key": "password"}}},
                    ],
                }
            ],
        },
    }
    cleaned = redactor.manifest(live)
    assert cleaned["metadata"]["annotations"] == {"note": REMOVED}
    assert cleaned["metadata"]["managedFields"] == [{"manager": "kubectl", "operation": "Update"}]
    assert cleaned["spec"]["automountServiceAccountToken"] is False
    (container,) = cleaned["spec"]["containers"]
    assert container["args"] == [f"--token={REMOVED}", "--model=/m"]
    assert [item.get("value") for item in container["env"]] == [REMOVED, "debug", None]
    assert container["env"][2] == live["spec"]["containers"][0]["env"][2]  # type: ignore[index]


def test_a_secret_keeps_its_keys_alone() -> None:
    cleaned = Redactor().manifest(secret(user="admin", password="x"))
    assert cleaned["data"] == {"user": REMOVED, "password": REMOVED}


@pytest.mark.parametrize("before", ["", "2026-01-01T00:00:00.1Z "])
@pytest.mark.parametrize("lines", [0, 1, 3])
def test_the_end_of_a_key_goes_unknown_as_it_is(before: str, lines: int) -> None:
    """A log may begin in the middle of one."""
    key = [*(f"{number}aB+/" * 12 + "xyz=" for number in range(lines)), "Qk0x/Q=="]
    text = "".join(f"{before}{line}\n" for line in ["loaded", *key, "-----END PRIVATE KEY-----", "ready"])
    cleaned = Redactor().text(text)
    assert not any(line in cleaned for line in key)
    assert "PRIVATE" not in cleaned
    assert cleaned.startswith(f"{before}loaded\n{before}{REMOVED}\n")
    assert cleaned.endswith(f"\n{before}ready\n")
    assert cleaned.count("\n") == text.count("\n")
    assert Redactor().text(r"x: AbC/9\nQk0=\n-----END RSA PRIVATE KEY----- y") == f"x: {REMOVED} y"


def test_names_and_short_values_do_not_blacken_everything() -> None:
    redactor = Redactor(keep={"cms"})
    redactor.learn_secret(secret(username="prometheus", namespace="cms", level="true", pin="1234"))
    assert redactor.text("prometheus in cms is true 1234") == "prometheus in cms is true 1234"
    assert redactor.short == 1


def test_credentials_inside_of_configurations_are_learned() -> None:
    redactor = Redactor()
    redactor.learn_structure(
        {
            "kind": "ConfigMap",
            "data": {
                "prometheus.yml": "remote_write:\n- basic_auth: {username: cms, password: 'in-a-config-map'}\n# more",
                "grafana.ini": "[database]\nuser = grafana\npassword = in-an-ini-file\n# a comment that is long enough",
            },
        }
    )
    cleaned = redactor.text("log: in-a-config-map, in-an-ini-file, cms, grafana")
    assert cleaned == f"log: {REMOVED}, {REMOVED}, cms, grafana"


def test_values_of_the_inventory() -> None:
    assert secret_values([{"a": "one", "b": ["two", None]}, "", "one", False]) == ["one", "two"]


@pytest.mark.parametrize("key", ["AKIA" + "A1" * 8, "ASIA" + "B2" * 8])
def test_an_access_key_of_s3_is_removed(key: str) -> None:
    assert Redactor().text(f"read s3://models with {key}, refused") == f"read s3://models with {REMOVED}, refused"
