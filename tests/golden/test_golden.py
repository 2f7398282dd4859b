# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifests of every inventory: what they were, what Kubernetes' schemas allow, what Envoy itself accepts."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import envoy
import jsonschema
import kubernetes_validate
import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils import _envoy_validate
from ansible_collections.fastml.supersonic.plugins.module_utils._errors import SupersonicError

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import crds
import render

ENVOY = Path(envoy.__file__).parent / "_bin/envoy"
KUBERNETES = "1.34"


@pytest.fixture(scope="module", params=render.INVENTORIES, ids=lambda path: path.name)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Name of an inventory and the folder of its manifests."""
    folder = tmp_path_factory.mktemp(request.param.name)
    # The real playbook for one of them. What is expected comes from it alone.
    write = render.render if request.param.name == "local" else render.render_in_one_process
    write(request.param, folder)
    return request.param.name, folder


@pytest.mark.parametrize(
    "role",
    ["model_repository", "triton", "envoy", "prometheus", "otel_collector", "tempo", "grafana", "autoscaler"],
)
def test_every_option_is_rendered(role: str) -> None:
    """The hosts of `options` together set whatever the manifests of a role are made from."""
    folder = render.CLONE / "roles" / role
    options = yaml.safe_load((folder / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    sources = [path.read_text() for part in ("templates", "vars") for path in (folder / part).iterdir()]
    used = {name for name in options if any(re.search(rf"\b{name}\b", text) for text in sources)}
    hosts = yaml.safe_load((render.CLONE / "tests" / "golden" / "options" / "hosts.yml").read_text())
    group = hosts["supersonic_instances"]
    given = set(group["vars"]).union(*(host or {} for host in group["hosts"].values()))
    # Whether a set is there or not is said by the module's option, not by a manifest.
    assert used - given <= {f"{role}_state", f"{role}_wait"}


def documents(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for path in sorted(folder.glob("*/*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            found.append((f"{path.relative_to(folder)} {document['kind']}/{document['metadata']['name']}", document))
    return found


def test_manifests_are_as_expected(rendered: tuple[str, Path]) -> None:
    name, folder = rendered
    files = sorted(path.relative_to(folder) for path in folder.glob("*/*.yaml"))
    kept = sorted((render.EXPECTED / name).glob("*/*.txt"))
    assert kept == [render.expected(name, file) for file in files]
    for file, path in zip(files, kept, strict=True):
        assert (folder / file).read_text() == path.read_text(), f"{file}: if this is right, run `make golden`"


def test_one_process_writes_what_the_playbook_writes(tmp_path: Path) -> None:
    """What the other instances are rendered with here."""
    inventory = render.CLONE / "inventories/local"
    for name, write in (("real", render.render), ("quick", render.render_in_one_process)):
        write(inventory, tmp_path / name)
    files = {
        name: {(path.name, path.stat().st_mode, path.read_text()) for path in (tmp_path / name).glob("*/*")}
        for name in ("real", "quick")
    }
    assert sorted(name for name, _mode, _text in files["real"])[0] == ".rendered"
    assert len(files["real"]) == 4
    assert files["quick"] == files["real"]


def test_manifests_fit_the_schemas_of_kubernetes(rendered: tuple[str, Path]) -> None:
    found = documents(rendered[1])
    assert found
    others = crds.schemas()
    for where, document in found:
        kind = document["apiVersion"], document["kind"]
        try:
            if kind in others:
                jsonschema.validate(document, others[kind])
            else:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            pytest.fail(f"{where}: {error}")


def test_objects_have_the_names_and_labels_that_others_rely_on(rendered: tuple[str, Path]) -> None:
    for where, document in documents(rendered[1]):
        labels = document["metadata"]["labels"]
        instance = labels["app.kubernetes.io/instance"]
        name, component = document["metadata"]["name"], f"{instance}-{labels['app.kubernetes.io/component']}"
        assert name in (instance, component) or (
            document["kind"] == "PersistentVolumeClaim"
            or (document["kind"] == "Secret" and name.startswith(f"{component}-"))
            # It has the name of what it scales.
            or (document["kind"] == "ScaledObject" and name == f"{instance}-triton")
        ), where
        assert labels["app.kubernetes.io/managed-by"] == "fastml.supersonic", where
        assert labels["app.kubernetes.io/part-of"] == "supersonic", where


def test_envoy_accepts_its_configuration(rendered: tuple[str, Path]) -> None:
    """Filters that it takes from files included, and without a warning, such as one of fields that are to go."""
    files = sorted(rendered[1].glob("*/envoy.yaml"))
    assert files
    for file in files:
        manifests = list(yaml.safe_load_all(file.read_text()))
        try:
            warnings = _envoy_validate.validate(str(ENVOY), manifests, _not_brought)
        except SupersonicError as error:
            pytest.fail(f"{file}: {error}")
        assert warnings == [], file


def test_a_second_envoy_is_judged_too() -> None:
    text = render.expected("options/processes", Path("envoy.yaml")).read_text()
    for file in ("envoy.yaml", "envoy-2.yaml"):
        manifests = list(yaml.safe_load_all(text))
        (config_map,) = (item for item in manifests if item["kind"] == "ConfigMap")
        config_map["data"][file] = config_map["data"][file].replace("static_resources:", "nonsense:")
        with pytest.raises(SupersonicError, match="nonsense"):
            _envoy_validate.validate(str(ENVOY), manifests, _not_brought)


def _not_brought(kind: str, _name: str) -> dict[str, str] | None:
    """What inventories name and others make: a configuration of the user's own, and no certificate yet."""
    return {"own.yaml": "admin: {}"} if kind == "ConfigMap" else None
