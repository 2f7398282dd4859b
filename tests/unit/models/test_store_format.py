# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/model-store-format.md is right: a reader written from it alone understands a store."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from pathlib import Path

from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import FolderTarget, Options, publish

TEXT = (Path(__file__).resolve().parents[3] / "docs/model-store-format.md").read_text()


def test_the_example_has_the_id_that_it_says() -> None:
    found = re.search(r"the release `([0-9a-f]{40})` .*?```\n(.*?)```", TEXT, re.S)
    assert found
    assert hashlib.sha256(found[2].encode()).hexdigest()[:40] == found[1]


def test_another_reader(source: Path, tmp_path: Path) -> None:
    (source / "alpha/1/run.sh").write_text("#!/bin/sh\n")
    (source / "alpha/1/run.sh").chmod(0o700)
    (source / "beta/empty").mkdir()
    (source / "beta/1/a b").write_text("blank")
    store = tmp_path / "store"
    release = publish(FolderTarget(str(store)), [str(source)], Options())["release"]
    assert (store / "format").read_text() == "supersonic-store 1\n"
    assert os.readlink(store / "current") == f"releases/{release}"
    assert json.loads((store / "history").read_text()) == [release]
    manifest = (store / "manifests" / release).read_bytes()
    assert hashlib.sha256(manifest).hexdigest()[:40] == release
    head, *lines, end = manifest.split(b"\n")
    assert (head, end) == (b"supersonic-release 1", b"")
    paths = [line.split(b" ", 3)[3] for line in lines]
    assert paths == sorted(paths)
    for line in lines:
        mode, digest, size, path = line.decode().split(" ", 3)
        place = store / "current" / path
        if mode == "dir":
            assert (digest, size, list(place.iterdir())) == ("-", "0", [])
            continue
        info = place.stat()
        assert (stat.S_IMODE(info.st_mode), info.st_size) == (int(mode, 8), int(size))
        assert hashlib.sha256(place.read_bytes()).hexdigest() == digest
        key = digest + (".x" if mode == "755" else "")
        assert (store / "objects" / key[:2] / key).samefile(place)
