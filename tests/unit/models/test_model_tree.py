# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifest and the id of a release."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.filter.model_release_id import FilterModule
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models import model_tree
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store as model_store
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import models_of, scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import format_manifest


def test_the_manifest_lists_every_file_in_a_stable_order(source: Path) -> None:
    tree = scan([str(source)])
    lines = tree.manifest.splitlines()
    assert lines[0] == "supersonic-release 1"
    assert [line.split(" ", 3)[3] for line in lines[1:]] == sorted(
        str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()
    )
    digest = hashlib.sha256(b"# beta\n").hexdigest()
    assert f"644 {digest} 7 beta/1/model.py" in lines
    assert tree.release == hashlib.sha256(tree.manifest.encode()).hexdigest()[:40]
    assert model_store.parse_manifest(tree.manifest) == list(tree.entries)


def test_models_have_versions_sizes_and_a_digest_of_their_own(source: Path) -> None:
    before = {model.name: model for model in scan([str(source)]).models}
    assert before["alpha"].versions == (1, 2)
    assert before["alpha"].size == sum(p.stat().st_size for p in (source / "alpha").rglob("*") if p.is_file())
    (source / "alpha/2/model.py").write_text("# other\n")
    after = {model.name: model for model in scan([str(source)]).models}
    assert after["alpha"].digest != before["alpha"].digest
    assert after["beta"] == before["beta"]
    # A store knows them from the manifest alone.
    tree = scan([str(source)])
    assert models_of(tree.entries) == tree.models


def _touch(source: Path) -> None:
    for path in source.rglob("*"):
        os.utime(path, (1, 1))


def _tighten(source: Path) -> None:
    (source / "beta/1/model.py").chmod(0o600)
    (source / "beta").chmod(0o700)


def _litter(source: Path) -> None:
    (source / "alpha/1/__pycache__").mkdir()
    (source / "alpha/1/__pycache__/model.cpython-311.pyc").write_bytes(b"x")
    (source / ".git").mkdir()
    (source / ".gitignore").write_text("x")


@pytest.mark.parametrize("change", [_touch, _tighten, _litter])
def test_the_id_ignores(source: Path, change: Callable[[Path], None]) -> None:
    before = scan([str(source)]).release
    change(source)
    assert scan([str(source)]).release == before


def _content(source: Path) -> None:
    (source / "beta/1/model.py").write_text("# Beta\n")


def _name(source: Path) -> None:
    (source / "beta").rename(source / "gamma")


def _executable(source: Path) -> None:
    (source / "beta/1/model.py").chmod(0o755)


def _empty_folder(source: Path) -> None:
    (source / "beta/3").mkdir()


def _new_file(source: Path) -> None:
    (source / "beta/labels.txt").write_text("")


@pytest.mark.parametrize("change", [_content, _name, _executable, _empty_folder, _new_file])
def test_the_id_depends_on(source: Path, change: Callable[[Path], None]) -> None:
    before = scan([str(source)]).release
    change(source)
    assert scan([str(source)]).release != before


def test_the_id_is_the_same_elsewhere_and_for_any_split_into_sources(source: Path, tmp_path: Path) -> None:
    whole = scan([str(source)]).release
    shutil.copytree(source / "alpha", tmp_path / "one/alpha")
    shutil.copytree(source / "beta", tmp_path / "two/beta")
    assert scan([str(tmp_path / "two"), str(tmp_path / "one")]).release == whole


def test_links_inside_the_source_are_followed(source: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(source, plain)
    shutil.copytree(source / "alpha/1", plain / "alpha/3")
    (source / "alpha/3").symlink_to("1")
    (source / "beta/1/model.py").rename(source / "beta/1/again")
    (source / "beta/1/model.py").symlink_to("again")
    shutil.copy(source / "beta/1/again", plain / "beta/1/again")
    assert scan([str(source)]).release == scan([str(plain)]).release


def test_the_order_is_that_of_whole_paths(
    tmp_path: Path, write: Callable[[Path, Mapping[str, str | None]], Path]
) -> None:
    """A folder comes after what begins with its name and a sign below '/', an empty one before that."""
    paths = {"m/1/a": "", "m/1-b": "", "m/2": None, "m/2-b/c": "", "m-a/1/x": "", "m-b": None, "m0/1/x": "", "m/é": ""}
    write(tmp_path / "one", paths)
    write(tmp_path / "two", {"m-c/1/x": "", "m-": None})
    tree = scan([str(tmp_path / "two"), str(tmp_path / "one")])
    found = [entry.path for entry in tree.entries]
    assert found == sorted([*paths, "m-c/1/x", "m-"], key=str.encode)
    assert format_manifest(tree.entries) == tree.manifest
    assert {path: Path(place).parent.parent.name for path, place in tree.places.items()}["m-c/1/x"] == "m-c"
    assert all(tree.places.get(path) is None for path in ("m/2", "m-", "m", "m/1", "m/zz", "", "zz"))


def test_places_lead_to_the_files(source: Path) -> None:
    (source / "alpha/3").symlink_to("1")
    places = scan([str(source)]).places
    assert len(places) == len(list(places)) == 7
    assert places["alpha/3/model.py"] == str(source / "alpha/1/model.py")
    assert all(Path(place).is_file() for place in places.values())


def _escaping_link(source: Path) -> None:
    (source.parent / "secret").write_text("x")
    (source / "beta/1/weights").symlink_to("../../../secret")


def _link_beside(source: Path) -> None:
    """To a folder whose path begins like that of the source."""
    (source.parent / "source-old").mkdir()
    (source.parent / "source-old/secret").write_text("x")
    (source / "beta/1/weights").symlink_to("../../../source-old/secret")


def _escaping_folder(source: Path) -> None:
    (source / "gamma").symlink_to("/usr")


def _dangling_link(source: Path) -> None:
    (source / "beta/1/weights").symlink_to("nowhere")


def _loop(source: Path) -> None:
    (source / "beta/1/again").symlink_to("..")


def _link_to_itself(source: Path) -> None:
    (source / "beta/1/self").symlink_to("self")


def _pipe(source: Path) -> None:
    os.mkfifo(source / "beta/1/pipe")


def _deep(source: Path) -> None:
    (source / "beta" / "/".join("x" * 200)).mkdir(parents=True)


def _newline(source: Path) -> None:
    (source / "beta/1/a\nb").write_text("x")


def _not_utf8(source: Path) -> None:
    Path(os.fsdecode(os.fsencode(source / "beta/1/") + b"/\xff")).write_text("x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_escaping_link, "beta/1/weights is a link to .*/secret, outside of the source"),
        (_link_beside, "beta/1/weights is a link to .*/source-old/secret, outside of the source"),
        (_escaping_folder, "gamma is a link to /usr, outside of the source"),
        (_dangling_link, "beta/1/weights is a link to something that does not exist"),
        (_loop, "beta/1/again is a link to .*/source/beta, a folder that it lies in"),
        (_link_to_itself, "beta/1/self cannot be read: Too many levels"),
        (_pipe, "beta/1/pipe is neither a file nor a folder"),
        (_deep, r"beta/x/.*/x lies more than 100 folders deep in the source\. Shorten the path"),
        (_newline, r"'a\\nb' in .*beta/1 has characters that cannot be printed"),
        (_not_utf8, r"'\\udcff' in .*beta/1/? has characters that cannot be printed"),
    ],
)
def test_refused(source: Path, change: Callable[[Path], None], message: str) -> None:
    change(source)
    with pytest.raises(SupersonicError, match=message):
        scan([str(source)])


def test_links_do_not_multiply_without_end(source: Path) -> None:
    """Twenty folders, each with two links to the next, are a million folders."""
    for number in range(20):
        (source / f"beta/{number}").mkdir(exist_ok=True)
        for link in "ab":
            (source / f"beta/{number}/{link}").symlink_to(f"../{number + 1}")
    (source / "beta/20").mkdir()
    began = time.monotonic()
    with pytest.raises(SupersonicError, match=r"beta/.* is one of more than 10000 files and folders that links in"):
        scan([str(source)])
    assert time.monotonic() - began < 30


def test_a_file_with_many_links_is_read_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "beta/weights").write_bytes(b"x")
    for number in range(50):
        (source / f"beta/1/link{number}").symlink_to("../weights")
    read: list[str] = []
    real = model_tree._hash
    monkeypatch.setattr(model_tree, "_hash", lambda place: read.append(place) or real(place))
    tree = scan([str(source)])
    assert sum(place.endswith("weights") for place in read) == 2
    digest = hashlib.sha256(b"x").hexdigest()
    assert tree.manifest.count(f"644 {digest} 1 beta/1/link") == 50


def test_a_source_that_changes_meanwhile(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that became another kind would break the order of the lines, and so the id."""
    (source / "beta/1-x").write_text("")
    real = model_tree._holds_any
    monkeypatch.setattr(model_tree, "_holds_any", lambda folder: not folder.endswith("/1") and real(folder))
    with pytest.raises(SupersonicError, match=r"The source changed while it was read, at beta/1-x\. Run again"):
        scan([str(source)])


def test_a_file_that_goes_meanwhile(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = model_tree._plain_files

    def gone(folder: str, path: str, names: Sequence[str]) -> Any:
        (source / "alpha/1/model.py").unlink(missing_ok=True)
        return real(folder, path, names)

    monkeypatch.setattr(model_tree, "_plain_files", gone)
    with pytest.raises(
        SupersonicError, match=r"The source changed while it was read, at alpha/1/model\.py\. Run again"
    ):
        scan([str(source)])


def test_an_empty_folder_beside_names_that_begin_like_its_own(source: Path) -> None:
    """The order is that of the paths, in which it has no '/'."""
    (source / "beta/3").mkdir()
    for name in ("3-a", "3.b", "30", "4"):
        (source / "beta" / name).write_text("")
    paths = [entry.path for entry in scan([str(source)]).entries]
    assert paths == sorted(paths)
    assert paths[paths.index("beta/3") :][:5] == ["beta/3", "beta/3-a", "beta/3.b", "beta/30", "beta/4"]
    (source / "beta/3/x").write_text("")
    paths = [entry.path for entry in scan([str(source)]).entries]
    assert paths[paths.index("beta/3-a") :][:5] == ["beta/3-a", "beta/3.b", "beta/3/x", "beta/30", "beta/4"]


def test_one_name_in_two_sources_is_refused(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source / "beta", tmp_path / "other/beta")
    with pytest.raises(SupersonicError, match=r"'beta' is in two sources, .*source and .*other"):
        scan([str(source), str(tmp_path / "other")])


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SupersonicError, match=r"The source .*/nothing is no folder"):
        scan([str(tmp_path / "nothing")])


def test_no_source() -> None:
    with pytest.raises(SupersonicError) as caught:
        scan([])
    assert str(caught.value) == "No source is given."


@pytest.mark.parametrize("path", ["", "m", "m/1", "m/1/model.py"])
def test_what_may_not_be_read(
    tmp_path: Path, write: Callable[[Path, Mapping[str, str | None]], Path], path: str
) -> None:
    """Also a folder that is looked into early, because its place among the lines depends on what it holds."""
    place = write(tmp_path / "source", {"m/1/model.py": "", "m/1-a/x": "", "m-a/x": ""}) / path
    place.chmod(0)
    with pytest.raises(SupersonicError) as caught:
        scan([str(tmp_path / "source")])
    assert str(caught.value) == f"{place} cannot be read: Permission denied."


def test_a_file_that_fails_while_it_is_sent() -> None:
    """The memory of a process can be opened, but at its beginning there is nothing to read."""
    with model_tree.source_file("/proc/self/mem") as read, pytest.raises(SupersonicError) as caught:
        read(1)
    assert str(caught.value) == (
        "/proc/self/mem of the source cannot be read any more: Input/output error. "
        "Run again when nobody changes the source."
    )


def test_the_filter_gives_the_same_id(source: Path) -> None:
    model_release_id = FilterModule().filters()["model_release_id"]
    assert model_release_id(str(source)) == model_release_id([str(source)]) == scan([str(source)]).release
