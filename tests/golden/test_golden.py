# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifests of every inventory: what they were, what Kubernetes' schemas allow, what Envoy itself accepts."""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import envoy
import jsonschema
import kubernetes_validate
import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.components import object_names
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._envoy import config_validation
from ansible_collections.fastml.supersonic.plugins.plugin_utils._render.manifests import yaml_documents
from ansible_collections.fastml.supersonic.tests.harness import renders
from ansible_collections.fastml.supersonic.tests.harness.playbooks import CLONE

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import crds
import kept
import render

ENVOY = Path(envoy.__file__).parent / "_bin/envoy"
KUBERNETES = "1.34"


@dataclass(frozen=True)
class Rendered:
    """An inventory, and the folder of its manifests."""

    inventory: Path
    folder: Path

    @cached_property
    def files(self) -> dict[Path, list[dict[str, Any]]]:
        return {path: renders.documents(path) for path in sorted(self.folder.glob("*/*.yaml"))}

    @property
    def documents(self) -> list[tuple[str, dict[str, Any]]]:
        """Each manifest, and where it is."""
        return [
            (f"{path.relative_to(self.folder)} {item['kind']}/{item['metadata']['name']}", item)
            for path, manifests in self.files.items()
            for item in manifests
        ]


@pytest.fixture(scope="module", params=renders.INVENTORIES, ids=lambda path: path.name)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    # The real playbook for one of them. What is expected comes from it alone.
    write = renders.render if request.param == renders.LOCAL else renders.render_in_one_process
    return Rendered(request.param, renders.rendered(request.param, tmp_path_factory, write))


@pytest.mark.parametrize(
    "role",
    ["model_repository", "triton", "envoy", "prometheus", "otel_collector", "tempo", "grafana", "autoscaler"],
)
def test_every_option_is_rendered(role: str) -> None:
    """The hosts of `options` together set whatever the manifests of a role are made from."""
    folder = CLONE / "roles" / role
    options = yaml.safe_load((folder / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    sources = [path.read_text() for part in ("templates", "vars") for path in (folder / part).iterdir()]
    used = {name for name in options if any(re.search(rf"\b{name}\b", text) for text in sources)}
    hosts = yaml.safe_load((renders.OPTIONS / "hosts.yml").read_text())
    group = hosts["supersonic_instances"]
    given = set(group["vars"]).union(*(host or {} for host in group["hosts"].values()))
    # Whether a set is there or not is said by the module's option, not by a manifest.
    assert used - given <= {f"{role}_state", f"{role}_wait"}


def test_manifests_are_as_expected(rendered: Rendered) -> None:
    found = render.texts(rendered.inventory, rendered.folder)
    expected = {path: path.read_text() for path in render.EXPECTED.glob(f"{rendered.inventory.name}/*/*")}
    changes = [
        line
        for path in sorted({*found, *expected})
        for line in difflib.unified_diff(
            expected.get(path, "").splitlines(),
            found.get(path, "").splitlines(),
            f"expected {path.relative_to(render.EXPECTED)}" if path in expected else "expected nothing",
            "rendered" if path in found else "rendered nothing",
            n=2,
            lineterm="",
        )
    ]
    assert not changes, "\n".join(["If this is right, run `make golden`:", *changes])
    assert found.keys() == expected.keys()


def test_nothing_is_expected_of_inventories_that_are_not_there() -> None:
    kept_of = {path.name for path in render.EXPECTED.iterdir()}
    assert kept_of == {inventory.name for inventory in renders.INVENTORIES}


def test_files_are_what_the_documents_in_them_are_written_as(rendered: Rendered) -> None:
    """So that what is kept, which is of the documents, tells every letter of a file."""
    assert rendered.files
    for path, manifests in rendered.files.items():
        assert yaml_documents(manifests) == path.read_text()


def test_a_difference_tells_every_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Lines of Envoy's configuration that are not there, there twice or in another order: no two are told the same."""
    base, manifests = (renders.of_host(host, tmp_path_factory)["envoy"] for host in ("defaults", "traced"))
    (config_map,) = (item for item in manifests if item["kind"] == "ConfigMap")
    data = config_map["data"]
    lines = data["envoy.yaml"].splitlines(keepends=True)
    texts = {data["envoy.yaml"], data["envoy.yaml"].rstrip("\n")}
    for place in range(0, len(lines), 5):
        before, (line, *after) = lines[:place], lines[place:]
        texts |= {"".join(each) for each in ([*before, *after], [*before, line, line, *after])}
        texts.add("".join([*before, *after[:1], line, *after[1:]]))
    told = set()
    for data["envoy.yaml"] in texts:
        told.add(kept.difference(base, manifests, {"sonic-traced": "sonic-defaults"}))
    assert len(told) == len(texts) > 100


def test_a_manifest_more_or_less_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = renders.of_host("defaults", tmp_path_factory)["envoy"]
    assert kept.difference(base, base, {}) == ""
    for number, item in enumerate(base):
        others = [*base[:number], *base[number + 1 :]]
        name = f"{item['kind']} {item['metadata']['name']}"
        assert f"@@ {name}: not there\n" in kept.difference(base, others, {})
        assert f"@@ {name}: new, after " in kept.difference(others, base, {})


def test_one_process_writes_what_the_playbook_writes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the other instances are rendered with here."""
    files = [
        {(path.name, path.stat().st_mode, path.read_text()) for path in folder.glob("*/*")}
        for folder in (
            renders.rendered(renders.LOCAL, tmp_path_factory, renders.render),
            renders.rendered(renders.LOCAL, tmp_path_factory, renders.render_in_one_process),
        )
    ]
    assert sorted(name for name, _mode, _text in files[0])[0] == ".rendered"
    assert len(files[0]) == 4
    assert files[1] == files[0]


def test_manifests_fit_the_schemas_of_kubernetes(rendered: Rendered) -> None:
    assert rendered.documents
    others = crds.schemas()
    for where, document in rendered.documents:
        kind = document["apiVersion"], document["kind"]
        try:
            if kind in others:
                jsonschema.validate(document, others[kind])
            else:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            pytest.fail(f"{where}: {error}")


def test_objects_have_the_names_and_labels_that_others_rely_on(rendered: Rendered) -> None:
    for where, document in rendered.documents:
        labels = document["metadata"]["labels"]
        instance = labels["app.kubernetes.io/instance"]
        name, component = document["metadata"]["name"], f"{instance}-{labels['app.kubernetes.io/component']}"
        assert component in object_names(instance), where
        assert name in (instance, component) or (
            document["kind"] == "PersistentVolumeClaim"
            or (document["kind"] == "Secret" and name.startswith(f"{component}-"))
            # It has the name of what it scales.
            or (document["kind"] == "ScaledObject" and name == f"{instance}-triton")
        ), where
        assert labels["app.kubernetes.io/managed-by"] == "fastml.supersonic", where
        assert labels["app.kubernetes.io/part-of"] == "supersonic", where


def test_envoy_accepts_its_configuration(rendered: Rendered) -> None:
    """Filters that it takes from files included, and without a warning, such as one of fields that are to go."""
    files = {path: manifests for path, manifests in rendered.files.items() if path.name == "envoy.yaml"}
    assert files
    for file, manifests in files.items():
        try:
            warnings = config_validation.validate(str(ENVOY), manifests, _not_brought)
        except SupersonicError as error:
            pytest.fail(f"{file}: {error}")
        assert warnings == [], file


def test_a_second_envoy_is_judged_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    for file in ("envoy.yaml", "envoy-2.yaml"):
        manifests = renders.of_host("processes", tmp_path_factory)["envoy"]
        (config_map,) = (item for item in manifests if item["kind"] == "ConfigMap")
        config_map["data"][file] = config_map["data"][file].replace("static_resources:", "nonsense:")
        with pytest.raises(SupersonicError, match="nonsense"):
            config_validation.validate(str(ENVOY), manifests, _not_brought)


def _not_brought(kind: str, _name: str) -> dict[str, str] | None:
    """What inventories name and others make: a configuration of the user's own, and no certificate yet."""
    return {"own.yaml": "admin: {}"} if kind == "ConfigMap" else None
