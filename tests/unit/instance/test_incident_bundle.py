# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive: its bounds, its order, what is told of what is missing. What it holds is shown on a cluster."""

from __future__ import annotations

import json
import re
import stat
import tarfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._common.redact import Redactor
from ansible_collections.fastml.supersonic.plugins.module_utils._inference.endpoints import Resolver
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import incident_bundle
from ansible_collections.fastml.supersonic.plugins.module_utils._instance import status as instance_status
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import Connection
from ansible_collections.fastml.supersonic.tests.harness.modules import run_module

CLONE = Path(__file__).resolve().parents[3]
NOWHERE = "http://127.0.0.1:9"


def bundle(size: int = 1000) -> incident_bundle.Bundle:
    return incident_bundle.Bundle(Redactor(["s3cret-value"]), size)


def test_what_does_not_fit_is_cut_and_said() -> None:
    found = bundle(3000)
    found.add("a", "x" * 1000)
    found.add("b", "old" + "y" * 3000 + "new", 5000)
    found.add("c", "z")
    assert len(found.files["a"]) == 1000
    assert found.files["b"].endswith(b"new")
    assert sum(map(len, found.files.values())) == 3000
    assert found.cut == {"b": "2000 of 3006 bytes: the bundle is full"}
    assert found.missing == {"c": "the bundle is full (3000 bytes)"}


def test_the_archive_is_for_its_owner_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_text("of yesterday")
    path.chmod(0o644)
    found = bundle()
    found.add("b.txt", "is s3cret-value")
    found.add("a/c.txt", "c")
    assert incident_bundle.write(found, str(path), "cms-main") == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["cms-main/a/c.txt", "cms-main/b.txt"]
        assert {member.mode for member in archive} == {0o600}
        file = archive.extractfile("cms-main/b.txt")
        assert file
        assert file.read() == b"is [removed]"
    assert [item.name for item in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_cluster_that_is_down_is_told(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"passed": False, "time": "2026-01-01T00:00:00Z", "message": "s3cret-value"}))
    path = tmp_path / "cms-main.tar.gz"
    options: dict[str, Any] = {
        "host": NOWHERE,
        "api_key": "k",
        "name": "main",
        "namespace": "cms",
        "path": str(path),
        "report": str(report),
        "secrets": ["s3cret-value"],
        "seconds": 30,
        "collection_version": "1.2.3",
    }
    assert run_module("incident_bundle", options, check=True)["changed"]
    assert not path.exists()
    result = run_module("incident_bundle", options)
    assert not result["failed"], result
    assert "connection refused" in result["missing"]["objects"]
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member).read().decode() for member in archive}  # type: ignore[union-attr]
    manifest = json.loads(files["cms-main/MANIFEST.json"])
    assert manifest["collection"] == "fastml.supersonic 1.2.3"
    assert manifest["missing"] == result["missing"]
    assert "s3cret-value" not in str(files)
    assert json.loads(files["cms-main/status.json"])["reachable"] is False
    assert set(files) == {
        f"cms-main/{name}" for name in ("MANIFEST.json", "status.json", "status.html", "verification.json")
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 0}, "seconds is 0; it must be at least 1"),
        ({"max_bytes": 10}, "max_bytes is 10"),
        ({"path": "/nowhere/at/all.tar.gz"}, "there is no folder /nowhere/at"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    options = {"name": "main", "namespace": "cms", "path": str(tmp_path / "a.tar.gz"), "host": NOWHERE, **change}
    result = run_module("incident_bundle", options)
    assert result["failed"]
    assert message in result["msg"]


def test_when_the_time_is_over_nothing_more_is_asked() -> None:
    connection = Connection(host=NOWHERE, source="test")
    wanted = instance_status.Wanted("cms", "main")
    options = incident_bundle.Options("cms", "main", "1", wanted, seconds=-1)
    resolver = Resolver({"host": NOWHERE, "api_key": "k"})
    found = incident_bundle.collect(options, resolver, Api(connection, patience=0, first_contact=0), None)
    resolver.close()
    assert set(found.files) == {"MANIFEST.json"}
    assert "the time for the bundle (-1 s) was over" in found.missing["status.json"]


def test_a_log_is_cut_after_its_secrets_are_gone() -> None:
    """Half a secret would not be known any more."""
    found = bundle(3000)
    found.add("a.log", "line one with s3cret-value\nline two with s3cret-value", 35)
    assert found.files["a.log"] == b"line two with [removed]"


def test_what_has_come_is_taken_after_the_time_is_over() -> None:
    options = incident_bundle.Options("cms", "main", "1", instance_status.Wanted("cms", "main"), seconds=2)
    over = time.monotonic() - 1000
    done: Future[str] = Future()
    done.set_result("text")
    assert incident_bundle._answered(done, over, options) == "text"
    failed: Future[str] = Future()
    failed.set_exception(TimeoutError("of its own"))
    with pytest.raises(TimeoutError, match="of its own"):
        incident_bundle._answered(failed, over, options)
    # Whoever hangs is not waited for.
    with pytest.raises(SupersonicError, match=r"had not come when the time for the bundle \(2 s\) was over"):
        incident_bundle._answered(Future(), over, options)


def test_what_needs_no_answer_is_there_after_a_slow_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file of this machine, and a log that was asked for in time."""
    status = {"containerStatuses": [{"name": "quick"}]}
    pod = {"kind": "Pod", "metadata": {"name": "main-a", "uid": "u"}, "status": status}
    ours = incident_bundle.owned_objects
    look = ours.Look([ours.Ours(incident_bundle.POD, pod, "labels")], {})
    report = tmp_path / "report.json"
    report.write_text("{}")
    wanted = instance_status.Wanted("cms", "main", report=str(report))
    options = incident_bundle.Options("cms", "main", "1", wanted, seconds=3600, timeout=1200)
    clock, asked = [0.0], threading.Event()

    class Slow:
        def list(self, *_arguments: Any) -> list[Any]:
            return []

        def text(self, *_arguments: Any) -> str:
            asked.set()
            return "line\n"

    def told(*_arguments: Any) -> dict[str, Any]:
        asked.wait()
        # All of the time goes by here.
        clock[0] = 5000
        return {"made": 0}

    monkeypatch.setattr(ours, "look", lambda *_arguments: look)
    monkeypatch.setattr(instance_status, "look", told)
    monkeypatch.setattr(incident_bundle.instance_status_page, "page", lambda *_arguments: "page")
    monotonic = time.monotonic
    monkeypatch.setattr(incident_bundle.time, "monotonic", lambda: monotonic() + clock[0])
    found = incident_bundle.collect(options, cast("Any", None), cast("Any", Slow()), None)
    files = {"objects/Pod/main-a.yaml", "events.txt", "status.json", "status.html", "verification.json"}
    assert set(found.files) == {*files, "logs/main-a/quick.log", "MANIFEST.json"}
    assert found.missing == {}


def test_objects_that_were_read_are_in_it_although_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = incident_bundle.owned_objects
    look = ours.Look([ours.Ours(incident_bundle.POD, {"kind": "Pod", "metadata": {"name": "main-a"}}, "labels")], {})
    monkeypatch.setattr(ours, "look", lambda *_arguments: look)
    options = incident_bundle.Options("cms", "main", "1", instance_status.Wanted("cms", "main"), seconds=-1)
    nothing = Api(Connection(host=NOWHERE, source="test"), patience=0, first_contact=0)
    found = incident_bundle.collect(options, cast("Any", None), nothing, None)
    assert "objects/Pod/main-a.yaml" in found.files
    assert "was over" in found.missing["events.txt"]


@pytest.mark.parametrize("path", ["envoy/a/config_dump.json", "envoy/a/envoy/config_dump.json"])
def test_a_configuration_that_was_cut_is_left_out(path: str) -> None:
    """What its filters have of Secrets could not be told from the rest."""
    with pytest.raises(SupersonicError, match="no whole JSON"):
        incident_bundle._learned(Redactor(), path, '{"configs": [{"@type": "EcdsConfigDump", "tok')
    assert incident_bundle._learned(Redactor(), path, "HTTP 503\nno") == "HTTP 503\nno"


def test_of_a_text_that_was_cut_no_part_of_a_line_stays() -> None:
    assert incident_bundle._whole("one\nabcdefghij0123", 20, "it") == "one\n"
    with pytest.raises(SupersonicError, match="a line of it has more than 20 bytes"):
        incident_bundle._whole("abcdefghij0123456789SECRET", 20, "it")


def test_check_mode_needs_no_folder(tmp_path: Path) -> None:
    """The task that makes it has not made it."""
    options = {"name": "main", "namespace": "cms", "path": str(tmp_path / "new/a.tar.gz"), "host": NOWHERE}
    assert run_module("incident_bundle", options, check=True)["changed"]


def test_filters_from_secrets_are_not_dumped() -> None:
    types = "type.googleapis.com/envoy.admin.v3."
    dump = {
        "configs": [
            {"@type": f"{types}EcdsConfigDump", "ecds_filters": [{"a": "local tokens = {{bytes = {1, 2}}}"}]},
            {"@type": f"{types}SecretsConfigDump", "static_secrets": [{"name": "x"}]},
            {"@type": f"{types}ClustersConfigDump", "static_clusters": [{"name": "triton"}]},
        ]
    }
    text = incident_bundle._learned(Redactor(), "envoy/a/config_dump.json", json.dumps(dump))
    assert "triton" in text
    assert "local tokens" not in text
    assert "static_secrets" not in text


def test_the_playbook_gives_every_secret_of_the_inventory() -> None:
    """Every variable that a specification calls secret; a certificate's key that is a file is none."""
    told = (CLONE / "playbooks" / "bundle.yml").read_text()
    named: set[str] = set()
    for path in (CLONE / "roles").glob("*/meta/argument_specs.yml"):
        if path.parts[-3] == "gpu_operator":
            # Of clusters, and no part of an instance.
            continue
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            for name, option in entry["options"].items():
                inner = [item for item in (option.get("options") or {}).values() if item.get("no_log")]
                if option.get("no_log") or inner:
                    named.add(name)
    assert {"envoy_tokens", "verify_refusals"} <= named
    for name in sorted(named - {"benchmark_tls"}):
        assert re.search(rf"\b{name}\b", told), name
