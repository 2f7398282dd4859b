# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No option that takes a secret is logged: a gate over the specifications of modules and roles, by names of options."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule

CLONE = Path(__file__).resolve().parents[2]
SECRET = re.compile(r"token|password|secret|key|credential")
# Options that only sound like a secret, by module or role and option, and what they really take.
OPEN = {
    "* *image_pull_secrets": "names of Secrets",
    "* client_key": "the path of a file",
    "* targets.tls.client_key": "the path of a file",
    "supersonic_token private_key_path": "the path of a file",
    "supersonic_token create_key": "whether a key is made",
    "clients clients_tls.client_key": "the path of a file where clients are",
    "clients clients_token_names": "names of clients",
    "verify verify_tls.client_key": "the path of a file",
    "verify verify_envoy_tls.client_key": "the path of a file",
    "envoy envoy_tls_secret": "the name of a Secret",
    "envoy envoy_ingress.tls_secret": "the name of a Secret",
    "envoy envoy_openshift_route.tls_secret": "the name of a Secret",
    "envoy envoy_configuration_key": "a key of a ConfigMap",
    "grafana grafana_ingress.tls_secret": "the name of a Secret",
    "grafana grafana_admin_secret": "the name of a Secret, and names of its keys",
    "grafana grafana_admin_secret.password_key": "a key of a Secret",
    "grafana grafana_secrets": "names of Secrets",
    "otel_collector otel_collector_secrets": "names of Secrets",
    "otel_collector otel_collector_exporters.ca_secret": "the name of a Secret",
    "otel_collector otel_collector_exporters.header_secrets": "names of Secrets and of their keys",
    "prometheus prometheus_secrets": "names of Secrets",
    "prometheus prometheus_alertmanagers.token_file": "the path of a file in the container",
    "preflight preflight_feature_permissions.*_secret": "rights on a Secret",
}


class Option(NamedTuple):
    owner: str
    name: str
    logged: bool

    @property
    def key(self) -> str:
        return f"{self.owner} {self.name}"


def named_like_secrets(owner: str, options: Mapping[str, Any], above: str = "") -> Iterator[Option]:
    """Those whose own name is that of a secret, at any depth."""
    for name, option in options.items():
        if SECRET.search(name):
            yield Option(owner, above + name, option.get("no_log") is not True)
        yield from named_like_secrets(owner, option.get("options") or {}, f"{above}{name}.")


def of_roles() -> Iterator[Option]:
    for path in sorted(CLONE.glob("roles/*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            yield from named_like_secrets(path.parts[-3], entry["options"])


class _SpecificationError(Exception):
    """Ends a module as soon as it has said which options it takes."""


def of_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[Option]:
    def stop(_module: object, argument_spec: Mapping[str, Any], **_more: Any) -> None:
        raise _SpecificationError(argument_spec)

    monkeypatch.setattr(AnsibleModule, "__init__", stop)
    for path in sorted((CLONE / "plugins/modules").glob("*.py")):
        module = importlib.import_module(f"ansible_collections.fastml.supersonic.plugins.modules.{path.stem}")
        # What only documents an action runs nowhere else.
        if hasattr(module, "main"):
            with pytest.raises(_SpecificationError) as said:
                module.main()
            yield from named_like_secrets(path.stem, said.value.args[0])


def test_secrets_are_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [*of_roles(), *of_modules(monkeypatch)]
    assert {option.owner for option in found} > {"envoy", "grafana", "supersonic", "inference_check", "openshift_login"}
    logged = {option.key for option in found if option.logged}
    without_reason = {key for key in logged if not any(fnmatchcase(key, pattern) for pattern in OPEN)}
    assert without_reason == set(), "no_log: true, or a reason in OPEN"
    unused = {pattern for pattern in OPEN if not any(fnmatchcase(key, pattern) for key in logged)}
    assert unused == set(), "a reason for nothing"
