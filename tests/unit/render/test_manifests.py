# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What templates of manifests need."""

from __future__ import annotations

import re

import pytest
import yaml

from ansible_collections.fastml.supersonic.plugins.plugin_utils._render import manifests


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("example.org/triton:26.04-py3", "26.04-py3"),
        ("example.org:5000/triton", "unknown"),
        ("example.org:5000/triton:1.2", "1.2"),
        ("triton:1.2@sha256:" + "a" * 64, "1.2"),
        ("triton@sha256:" + "ab" * 32, "abababababab"),
        ("triton:" + "x" * 80, "x" * 63),
        ("triton:_odd+tag_", "odd-tag"),
    ],
)
def test_image_version(image: str, version: str) -> None:
    assert manifests.image_version(image) == version


def test_command_flags() -> None:
    flags = {"log-verbose": 1, "exit-on-error": False, "load-model": ["a", "b"], "none": None, "empty": [], "x": "y=z"}
    assert manifests.command_flags(flags) == [
        "--log-verbose=1",
        "--exit-on-error=false",
        "--load-model=a",
        "--load-model=b",
        "--x=y=z",
    ]


REPOSITORIES = [
    {"name": "a", "kind": "pvc", "claim": "c", "path": "current/"},
    {"name": "b", "kind": "pvc", "claim": "d"},
    {"name": "c", "kind": "nfs", "server": "s", "export": "/export", "path": "current"},
    {"name": "d", "kind": "image", "path": "/opt/models"},
    {"name": "e", "kind": "cvmfs", "claim": "cvmfs", "path": "cms.cern.ch/models"},
    {"name": "f", "kind": "cvmfs", "claim": "cvmfs", "path": "atlas.cern.ch/models/"},
]


def test_model_repository_paths() -> None:
    assert manifests.model_repository_paths(REPOSITORIES) == [
        "/models/a/current",
        "/models/b",
        "/models/c/current",
        "/opt/models",
        "/cvmfs/cms.cern.ch/models",
        "/cvmfs/atlas.cern.ch/models",
    ]


def test_model_repository_volumes() -> None:
    found = manifests.model_repository_volumes(REPOSITORIES)
    assert [item["volume"] for item in found] == [
        {"name": "repository-a", "persistentVolumeClaim": {"claimName": "c", "readOnly": True}},
        {"name": "repository-b", "persistentVolumeClaim": {"claimName": "d", "readOnly": True}},
        {"name": "repository-c", "nfs": {"server": "s", "path": "/export", "readOnly": True}},
        {"name": "cvmfs", "persistentVolumeClaim": {"claimName": "cvmfs", "readOnly": True}},
    ]
    assert [item["mount"] for item in found] == [
        {"name": "repository-a", "mountPath": "/models/a", "readOnly": True},
        {"name": "repository-b", "mountPath": "/models/b", "readOnly": True},
        {"name": "repository-c", "mountPath": "/models/c", "readOnly": True},
        {"name": "cvmfs", "mountPath": "/cvmfs", "readOnly": True, "mountPropagation": "HostToContainer"},
    ]


def test_cvmfs_of_the_nodes_has_to_be_there() -> None:
    (item,) = manifests.model_repository_volumes([{"name": "a", "kind": "cvmfs", "host_path": "/cvmfs", "path": "b"}])
    assert item["volume"] == {"name": "cvmfs", "hostPath": {"path": "/cvmfs", "type": "Directory"}}


def test_no_volume_is_without_a_source() -> None:
    with pytest.raises(ValueError, match="cvmfs-hostPath is no kind"):
        manifests.model_repository_volumes([{"name": "a", "kind": "cvmfs-hostPath"}])


def test_override_pod_spec_merges_by_name() -> None:
    pod = {"containers": [{"name": "a", "image": "x", "args": ["1"]}, {"name": "b"}], "volumes": [], "hostIPC": False}
    service = {"kind": "Service", "spec": {"ports": []}}
    objects = [service, {"kind": "Deployment", "spec": {"replicas": 1, "template": {"metadata": {}, "spec": pod}}}]
    overrides = {
        "hostIPC": True,
        "containers": [{"name": "a", "args": ["2"]}, {"name": "c"}],
        "volumes": [{"name": "v"}],
    }
    same, changed = manifests.override_pod_spec(objects, overrides)
    assert same == service
    assert changed["spec"]["replicas"] == 1
    assert changed["spec"]["template"]["spec"] == {
        "containers": [{"name": "a", "image": "x", "args": ["2"]}, {"name": "b"}, {"name": "c"}],
        "volumes": [{"name": "v"}],
        "hostIPC": True,
    }
    assert pod["hostIPC"] is False, "the input is left as it is"


def test_override_pod_spec_without_overrides_changes_nothing() -> None:
    objects = [{"spec": {"template": {"spec": {"a": 1}}}}]
    assert manifests.override_pod_spec(objects, {}) == objects


def test_yaml_documents_can_be_read_back() -> None:
    objects = [{"data": {"text": "a: 1\nb: 2\n", "yes": "yes", "number": "1"}, "n": 1, "t": True, "z": None}, {"a": []}]
    text = manifests.yaml_documents(objects)
    assert list(yaml.safe_load_all(text)) == objects
    assert text.startswith("---\n")
    assert "text: |\n" in text, "texts of several lines are readable"


def test_verification_table() -> None:
    targets = [
        {
            "layer": "server",
            "target": "pod a/b port 8001",
            "protocol": "grpc",
            "checks": 11,
            "failed": 1,
            "models": ["digits", "identity"],
            "slowest_ms": 21.44,
            "max_absolute": 9e-6,
            "max_relative": 3.1e-6,
        },
        {
            "layer": "endpoint",
            "target": "address h:1",
            "protocol": "grpc",
            "checks": 1,
            "failed": 1,
            "models": [],
            "slowest_ms": None,
            "max_absolute": None,
            "max_relative": None,
        },
    ]
    heading, first, second = manifests.verification_table(targets).split("\n")
    assert heading.split() == ["layer", "server", "protocol", "passed", "models", "slowest", "largest", "deviation"]
    assert "10 of 11" in first
    assert "digits, identity" in first
    assert "21.4 ms" in first
    assert first.endswith("  9.0e-06 abs, 3.1e-06 rel")
    assert "0 of 1" in second
    assert second.endswith("none")
    assert first.index("grpc") == second.index("grpc") == heading.index("protocol")


def test_verification_table_shows_a_deviation_from_zero() -> None:
    target = {"layer": "server", "target": "s", "protocol": "grpc", "checks": 1, "failed": 0, "models": ["m"]}
    table = manifests.verification_table([{**target, "max_absolute": 9e-6, "max_relative": 0.0}])
    assert table.endswith("  9.0e-06 abs")
    assert manifests.verification_table([{**target, "max_absolute": "Infinity"}]).endswith("  inf abs")


INFO = {
    "current": "a" * 40,
    "previous": "b" * 40,
    "opened": False,
    "unfinished": None,
    "lock": None,
    "space": None,
    "leftovers": None,
    "releases": [
        {
            "release": "a" * 40,
            "current": True,
            "published": "2026-01-31T12:00:00Z",
            "size": 1_234_567,
            "models": [{"name": "digits", "versions": [1, 2]}, {"name": "join", "versions": []}],
        },
        {"release": "b" * 40, "current": False, "published": None, "size": None, "models": None},
        {"release": "c" * 40, "current": False, "published": None, "size": 0, "models": []},
    ],
}


def test_model_repository_table() -> None:
    heading, *rows = manifests.model_repository_table(INFO).split("\n")
    assert heading.split() == ["release", "current", "published", "size", "models"]
    assert [re.split(r"  +", row) for row in rows] == [
        ["a" * 12, "yes", "2026-01-31T12:00:00Z", "1.2 MB", "digits 1, 2; join"],
        ["b" * 12, "previous", "unknown", "unknown", "unknown"],
        ["c" * 12, "unknown", "0 B", "none"],
    ]
    assert rows[0].index("1.2 MB") == heading.index("size")


def test_model_repository_table_with_servers() -> None:
    servers = [
        {"pod": "main-triton-1", "release": "a" * 40, "taken": None, "differences": []},
        {
            "pod": "main-triton-2",
            "release": None,
            "taken": None,
            "differences": ["nothing says which release it has read", "x is not ready"],
        },
        {"pod": "main-triton-3", "release": None, "taken": {"models": 1, "of": 2}, "differences": ["in between: 1"]},
    ]
    table = manifests.model_repository_table({**INFO, "servers": servers}).split("\n\n")[1].split("\n")
    assert re.split(r"  +", table[1]) == ["main-triton-1", "a" * 12, "no"]
    assert re.split(r"  +", table[2]) == [
        "main-triton-2",
        "unknown",
        "nothing says which release it has read; x is not ready",
    ]
    assert re.split(r"  +", table[3]) == ["main-triton-3", "in between", "in between: 1"]
    assert manifests.model_repository_table({**INFO, "servers": []}).endswith("\n\nno server runs")


def test_model_repository_table_of_an_open_store() -> None:
    opened = {
        **INFO,
        "releases": [],
        "opened": True,
        "space": {"free": 5_000_000_000, "size": 20_000_000_000},
        "leftovers": {"staging": ["x"], "unused_contents": 2, "unused_bytes": 3000},
        "lock": {"holder": "alice on host-a", "since": "2026-01-31T12:00:00Z", "silent_seconds": 70.4, "stale": True},
    }
    assert manifests.model_repository_table(opened).split("\n") == [
        "no release is published",
        "",
        "lock       alice on host-a since 2026-01-31T12:00:00Z, silent for 70 s (dead, the next run takes over)",
        "free       5.0 GB of 20.0 GB",
        "leftovers  2 contents (3.0 kB), 1 folder in staging",
    ]
    quiet = manifests.model_repository_table({**opened, "lock": None, "space": None}).split("\n")
    assert quiet[2:4] == ["lock       nobody", "free       unknown"]


def test_model_repository_table_of_a_switch_that_has_not_come_to_its_end() -> None:
    begun = {"release": "d" * 40, "before": "a" * 40, "state": "published"}
    publication = f"A publication from {'a' * 12} to {'d' * 12} has not come to its end."
    asked = " What is served only the store itself can say: list with model_repository_list_deep."
    again = f" Wait for it, or publish or roll back: without a name that goes to {'a' * 12}."
    unknown = {**INFO, "current": None, "previous": None, "unfinished": begun}
    assert manifests.model_repository_table(unknown).split("\n\n")[1] == publication + asked + again
    known = {**INFO, "unfinished": {**begun, "state": "rolled_back"}, "opened": True}
    known["leftovers"] = {"staging": [], "unused_contents": 0, "unused_bytes": 0}
    roll_back = f"A roll-back from {'a' * 12} to {'d' * 12} has not come to its end."
    assert manifests.model_repository_table(known).split("\n\n")[1] == roll_back + again.replace("a" * 12, "d" * 12)
    nothing = {**unknown, "releases": [], "unfinished": {"release": None, "before": None, "state": "published"}}
    assert manifests.model_repository_table(nothing).split("\n\n") == [
        "it is not known what is published",
        f"A publication has not come to its end.{asked} Wait for it, or publish or roll back.",
    ]


def test_model_drift_table() -> None:
    sound = {"release": "a" * 40, "current": True, "sound": True, "changed": [], "missing": [], "foreign": []}
    assert manifests.model_drift_table([sound]) == f"release {'a' * 12} (current) is as it was published"
    bad = {
        **sound,
        "current": False,
        "sound": False,
        "changed": ["m/1/x"],
        "missing": ["m/1/y"],
        "foreign": [f"f{number}" for number in range(12)],
    }
    lines = manifests.model_drift_table([sound, bad]).split("\n")
    assert lines[1:4] == [f"release {'a' * 12} differs in 14 files", "  changed: m/1/x", "  missing: m/1/y"]
    assert lines[12] == "  and 4 more"
    assert "model_repository_repair: true" in lines[13]
