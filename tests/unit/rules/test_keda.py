# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not fit together in the variables of KEDA is said before anything changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.plugin_utils._rules.validation import cautions, check_relations

RIGHT: dict[str, Any] = {
    "keda_mode": "managed",
    "keda_namespace": "keda",
    "keda_version": "2.21.0",
    "keda_manifest": "https://example.org/keda-2.21.0.yaml",
    "keda_manifest_checksum": "",
    "keda_image_registry": "",
    "keda_watch_namespace": "",
    "keda_instance_namespaces": ["cms"],
    "keda_minimum_version": "2.18",
    "keda_wait_timeout": 300,
    "keda_kubeconfig": "",
}


def said(changes: dict[str, Any], *, files: bool = True) -> list[str]:
    return [problem.sentence() for problem in check_relations({**RIGHT, **changes}, files=files)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"keda_manifest": __file__, "keda_manifest_checksum": "0" * 64},
        {"keda_watch_namespace": "cms,atlas"},
        {"keda_mode": "existing", "keda_namespace": "", "keda_manifest": "/nowhere", "keda_watch_namespace": "atlas"},
        {"keda_image_registry": "registry.example.org:5000/mirror"},
        {"keda_minimum_version": ""},
    ],
)
def test_what_is_right_is_not_refused(changes: dict[str, Any]) -> None:
    assert said(changes) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keda_namespace": ""}, r'keda_namespace is "": KEDA is to be installed'),
        ({"keda_namespace": "Keda"}, r"keda_namespace .*no name of a namespace"),
        ({"keda_version": "v2.21.0"}, r"keda_version .*such as 2\.21\.0"),
        ({"keda_manifest": "keda.yaml"}, r"keda_manifest .*an https URL, or a path"),
        ({"keda_manifest": "http://example.org/keda.yaml"}, r"keda_manifest .*an https URL, or a path"),
        ({"keda_manifest": "/nowhere/keda.yaml"}, r"keda_manifest .*no such file"),
        ({"keda_manifest_checksum": "sha256:12"}, r"keda_manifest_checksum .*64 hexadecimal digits"),
        ({"keda_image_registry": "https://example.org"}, r"keda_image_registry .*without https://"),
        ({"keda_image_registry": "example.org/x/"}, r"keda_image_registry .*without / at the end"),
        ({"keda_watch_namespace": "cms, atlas"}, r"keda_watch_namespace .*no space"),
        ({"keda_watch_namespace": "atlas"}, r"keda_instance_namespaces\[0\] is .cms.: .*keda_watch_namespace is atlas"),
        ({"keda_minimum_version": "new"}, r"keda_minimum_version .*such as 2\.18"),
        ({"keda_wait_timeout": 0}, r"keda_wait_timeout .*1 or more"),
        ({"keda_kubeconfig": "/nowhere"}, r"keda_kubeconfig .*no such file"),
    ],
)
def test_what_is_wrong_is_said_once(changes: dict[str, Any], message: str) -> None:
    (problem,) = said(changes)
    assert re.search(message, problem), problem


FETCHED = {"keda_manifest": "https://example.org/keda-2.21.0.yaml", "keda_manifest_checksum": ""}
CHART = {"gpu_operator_mode": "managed", "gpu_operator_chart_repository": "https://r.example.org",
         "gpu_operator_chart": "gpu-operator", "gpu_operator_chart_sha256": ""}  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "whence"),
    [
        ({"keda_mode": "managed", **FETCHED}, r"keda_manifest_checksum .*keda-2\.21\.0\.yaml"),
        ({"keda_mode": "existing", **FETCHED}, ""),
        ({"keda_mode": "managed", **FETCHED, "keda_manifest_checksum": "0" * 64}, ""),
        ({"keda_mode": "managed", **FETCHED, "keda_manifest": "/srv/keda.yaml"}, ""),
        (CHART, r"gpu_operator_chart_sha256 .*https://r\.example\.org answers"),
        ({**CHART, "gpu_operator_chart": "oci://r.example.org/chart"}, r"oci://r\.example\.org/chart answers"),
        ({**CHART, "gpu_operator_chart": "/srv/gpu-operator.tgz"}, ""),
        ({**CHART, "gpu_operator_chart_sha256": "0" * 64}, ""),
        ({**CHART, "gpu_operator_mode": "existing"}, ""),
    ],
)
def test_what_is_fetched_unseen_is_warned_of(variables: dict[str, Any], whence: str) -> None:
    found = cautions(variables)
    assert len(found) == bool(whence)
    assert all(re.search(whence, text) for text in found)


def test_files_need_not_be_there_before_a_play_that_makes_them() -> None:
    assert said({"keda_manifest": "/nowhere/keda.yaml", "keda_kubeconfig": "/nowhere"}, files=False) == []


def test_a_copy_at_home_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(said({"keda_manifest": "~/keda.yaml"})) == 1
    (tmp_path / "keda.yaml").write_text("")
    assert said({"keda_manifest": "~/keda.yaml"}) == []
