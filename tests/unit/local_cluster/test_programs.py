# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Go programs: what decides their key, and what the build may see of the user's settings."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.cache import Cache
from ansible_collections.fastml.supersonic_dev.plugins.module_utils._local_cluster.programs import (
    Go,
    Program,
    unpack_wheel,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A pinned program."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "go.mod").write_text("module x\n")
    (folder / "go.sum").write_text("")
    return folder


def test_environment_keeps_settings_out_and_mirrors_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOFLAGS", "-tags=other")
    monkeypatch.setenv("GOROOT", "/elsewhere")
    monkeypatch.setenv("GOPROXY", "file:///mirror")
    environment = Go(Cache(tmp_path), "1.2.3").environment()
    assert "GOFLAGS" not in environment
    assert "GOROOT" not in environment
    assert environment["GOPROXY"] == "file:///mirror"
    assert environment["GOTOOLCHAIN"] == "local"
    assert environment["GOENV"] == "off"
    assert environment["GOMODCACHE"].startswith(str(tmp_path))


def test_key_follows_everything_that_decides(tmp_path: Path, source: Path) -> None:
    go = Go(Cache(tmp_path), "1.2.3")
    keys = {
        Program("x", source, {"x": "example.org/x"}).key(go),
        Program("x", source, {"x": "example.org/y"}).key(go),
        Program("x", source, {"x": "example.org/x"}, ldflags=["-X a=b"]).key(go),
        Program("x", source, {"x": "example.org/x"}, tags=["small"]).key(go),
        Program("x", source, {"x": "example.org/x"}, folders={"c": {"module": "example.org/x", "path": "c"}}).key(go),
        Program("x", source, {"x": "example.org/x"}, folders={"c": {"module": "example.org/x", "path": "d"}}).key(go),
        Program("x", source, {"x": "example.org/x"}).key(Go(Cache(tmp_path), "1.2.4")),
    }
    assert len(keys) == 7
    (source / "go.sum").write_text("another\n")
    assert Program("x", source, {"x": "example.org/x"}).key(go) not in keys


def test_program_without_pins_is_refused(tmp_path: Path) -> None:
    program = Program("x", tmp_path, {"x": "example.org/x"})
    with pytest.raises(SupersonicError, match=r"has no go\.mod: the program x cannot be built from it\."):
        program.build(Go(Cache(tmp_path / "cache"), "1.2.3"))


def test_wheel_keeps_which_files_are_programs(tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, mode in (("bin/tool", 0o755), ("readme", 0o600)):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, "x")
    unpack_wheel(wheel, tmp_path / "out")
    assert (tmp_path / "out/bin/tool").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out/readme").stat().st_mode & 0o777 == 0o644
