# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Envoy says what it was started with: no drift from its file, whatever options are used, and all of it else."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._drift import changed_fields, envoy_state
from ansible_collections.fastml.supersonic.tests.harness import renders
from ansible_collections.fastml.supersonic.tests.harness.certificates import self_signed
from ansible_collections.fastml.supersonic.tests.harness.envoy import DeployedEnvoy

# Tokens and rules, TLS, waiting for servers, traces, several Envoys.
INSTANCES = ("everything", "guarded", "sleeping", "traced")


@pytest.mark.parametrize("instance", INSTANCES)
def test_an_envoy_as_it_was_started_differs_in_nothing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, instance: str
) -> None:
    authority, _key = self_signed(tmp_path, "authority", "127.0.0.1")
    manifests = tmp_path / "envoy.yaml"
    text = (renders.rendered(renders.OPTIONS, tmp_path_factory) / instance / "envoy.yaml").read_text()
    manifests.write_text(text.replace("/etc/ssl/ca.pem", str(authority)))
    envoy = DeployedEnvoy(tmp_path / "envoy", manifests, [], healthy=False)
    try:
        running = envoy_state.bootstrap_of(envoy.admin(envoy_state.BOOTSTRAP))
        filters = envoy.admin(envoy_state.FILTERS) if instance == "guarded" else ""
    finally:
        envoy.stop()
    file = tmp_path / "envoy" / "envoy.json"
    configuration = json.loads(file.read_text())
    assert envoy_state.compare(configuration, running) == []
    # One more or one less of anything is seen.
    changed = json.loads(file.read_text())
    changed["static_resources"]["clusters"][0]["connect_timeout"] = "77s"
    del changed["static_resources"]["listeners"][0]["name"]
    changed["stats_flush_interval"] = "3s"
    found = {changed_fields.text_of(each.path) for each in envoy_state.compare(changed, running)}
    assert any(path.endswith(".connect_timeout") for path in found), found
    assert "stats_flush_interval" in found
    assert any(path.startswith("static_resources.listeners") for path in found), found
    if filters:
        documents = list(yaml.safe_load_all(manifests.read_text()))
        secret = next(each for each in documents if each and each["metadata"]["name"].endswith("-access"))
        version = envoy_state.version_of(base64.b64encode(secret["stringData"]["client.yaml"].encode()).decode())
        assert envoy_state.versions_of(filters) == {version}
        # Nothing of a token.
        assert "inline_string" not in filters
