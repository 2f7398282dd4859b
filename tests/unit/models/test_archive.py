# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources that are archives: the same release as from a folder, or one clear sentence, and nothing left over.

Which are damaged, and how many: see harness/chance.py.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import random
import shutil
import stat
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.filter.model_release_id import FilterModule
from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import FolderTarget, Options, publish
from ansible_collections.fastml.supersonic.plugins.module_utils._models.sources import opened
from ansible_collections.fastml.supersonic.tests.harness import chance

COLLECTIONS = Path(__file__).resolve().parents[3] / ".collections"
FORMATS = ("tar", "tar.gz", "tar.bz2", "tar.xz", "zip")


def pack(source: Path, archive: Path, prefix: str = "") -> Path:
    """An archive of the folder, in the format that its name says."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path in sorted(source.rglob("*")):
                name = prefix + str(path.relative_to(source))
                if path.is_symlink():
                    info = zipfile.ZipInfo(name)
                    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                    zipped.writestr(info, os.readlink(path))
                else:
                    zipped.write(path, name)
    else:
        kind = archive.suffix.removeprefix(".")
        with tarfile.open(archive, f"w:{'' if kind == 'tar' else kind}") as tar:
            for path in sorted(source.rglob("*")):
                tar.add(path, prefix + str(path.relative_to(source)), recursive=False)
    return archive


def release(*sources: Path, scratch: Path) -> str:
    scratch.mkdir(exist_ok=True)
    try:
        with opened([str(source) for source in sources], str(scratch)) as tree:
            return tree.release
    finally:
        assert list(scratch.iterdir()) == []


@pytest.fixture
def rich(source: Path) -> Path:
    """Models with a program, empty folders, links, and names that need care."""
    (source / "alpha/1/run.sh").write_text("#!/bin/sh\n")
    (source / "alpha/1/run.sh").chmod(0o755)
    (source / "beta/empty/inner").mkdir(parents=True)
    (source / "beta/1/größe, mit Leerzeichen").write_text("x")
    (source / "beta/1" / ("n" * 200)).write_bytes(os.urandom(3000))
    (source / "alpha/3").symlink_to("1")
    (source / "beta/1/again").symlink_to("model.py")
    os.link(source / "beta/1/model.py", source / "beta/1/hard")
    (source / "alpha/1/__pycache__").mkdir()
    (source / "alpha/1/__pycache__/model.pyc").write_bytes(b"x")
    return source


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("form", FORMATS)
def test_the_same_release_as_from_the_folder(rich: Path, tmp_path: Path, form: str, prefix: str) -> None:
    archive = pack(rich, tmp_path / f"models.{form}", prefix)
    assert release(archive, scratch=tmp_path / "scratch") == scan([str(rich)]).release


def test_streams_of_xz_one_after_another(source: Path, tmp_path: Path) -> None:
    whole = pack(source, tmp_path / "models.tar").read_bytes()
    parts = [lzma.compress(whole[:5000]), lzma.compress(b""), lzma.compress(whole[5000:])]
    (tmp_path / "models.tar.xz").write_bytes(b"".join(parts) + bytes(8))
    assert release(tmp_path / "models.tar.xz", scratch=tmp_path / "scratch") == scan([str(source)]).release


def test_folders_and_archives_together(source: Path, tmp_path: Path) -> None:
    whole = scan([str(source)]).release
    (tmp_path / "one").mkdir()
    (source / "beta").rename(tmp_path / "one/beta")
    archive = pack(source, tmp_path / "alpha.zip")
    assert release(archive, tmp_path / "one", scratch=tmp_path / "scratch") == whole
    shutil.copytree(source / "alpha", tmp_path / "one/alpha")
    with pytest.raises(SupersonicError) as caught:
        release(archive, tmp_path / "one", scratch=tmp_path / "scratch")
    assert str(caught.value) == (
        f"'alpha' is in two sources, {archive} and {tmp_path}/one. Triton serves neither of two models with one name: "
        "rename or remove one."
    )


def test_published_and_found_again(rich: Path, tmp_path: Path) -> None:
    archive, store, scratch = pack(rich, tmp_path / "models.tar.gz"), tmp_path / "store", tmp_path / "scratch"
    scratch.mkdir()
    first = publish(FolderTarget(str(store)), [str(archive)], Options(scratch=str(scratch)))
    assert first["changed"]
    assert scan([str(store / "current")]).release == scan([str(rich)]).release == first["release"]
    assert stat.S_IMODE((store / "current/alpha/1/run.sh").stat().st_mode) == 0o755
    assert publish(FolderTarget(str(store)), [str(rich)], Options())["changed"] is False
    assert publish(FolderTarget(str(store)), [str(archive)], Options(scratch=str(scratch)))["changed"] is False
    assert FilterModule().filters()["model_release_id"](str(archive)) == first["release"]
    assert list(scratch.iterdir()) == []


def test_what_is_wrong_inside_is_named_by_archive_and_member(source: Path, tmp_path: Path) -> None:
    (source / "alpha/config.pbtxt").write_text('name: "wrong"\n')
    archive, scratch = pack(source, tmp_path / "models.tar"), tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(SupersonicError) as caught:
        publish(FolderTarget(str(tmp_path / "store")), [str(archive)], Options(scratch=str(scratch)))
    assert str(caught.value) == (
        f"Model 'alpha': {archive}:alpha/config.pbtxt, line 1, names the model 'wrong', but Triton wants the name of "
        "its folder. Change one of them or leave the name out."
    )
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "store").exists()


def test_a_folder_around_the_models_is_not_guessed_away(source: Path, tmp_path: Path) -> None:
    archive, scratch = pack(source, tmp_path / "models.tar", "models/"), tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(SupersonicError, match=r"Folder 'models' is no model, but holds models \(alpha, beta\)\. Name"):
        publish(FolderTarget(str(tmp_path / "store")), [str(archive)], Options(scratch=str(scratch)))


# Refusals


def tar_bytes(*members: tuple[str, dict[str, object], bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, fields, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def tar_of(*members: tuple[str, dict[str, object], bytes]) -> Callable[[Path], object]:
    return text_of(tar_bytes(*members))


def zip_of(*members: tuple[str, int, bytes]) -> Callable[[Path], None]:
    def write(archive: Path) -> None:
        with zipfile.ZipFile(archive, "w") as zipped:
            for name, mode, content in members:
                info = zipfile.ZipInfo(name)
                info.create_system, info.external_attr = 3, mode << 16
                zipped.writestr(info, content)

    return write


def text_of(content: bytes) -> Callable[[Path], object]:
    return lambda archive: archive.write_bytes(content)


def doubled(archive: Path) -> None:
    tar_of(FILE)(archive)
    archive.write_bytes(archive.read_bytes() * 2)


def encrypted(archive: Path) -> None:
    zip_of(("m/1/model.py", 0, b"secret"))(archive)
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    archive.write_bytes(bytes(data))


def odd_compression(archive: Path) -> None:
    zip_of(("m/1/model.py", 0, b"x"))(archive)
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + offset] = 9
    archive.write_bytes(bytes(data))


def large(archive: Path) -> None:
    info = tarfile.TarInfo("m/1/weights")
    info.size = 10**15
    archive.write_bytes(info.tobuf())


def overstated(archive: Path) -> None:
    """A zip whose list says a byte more of a file than there is."""
    zip_of(("m/1/model.py", 0, b"x"))(archive)
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 24] += 1
    archive.write_bytes(bytes(data))


def damaged_within(archive: Path) -> None:
    """A zip with a bzip2 stream that nothing but its reading shows to be damaged."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_BZIP2) as zipped:
        zipped.writestr("m/1/model.py", b"x" * 1000)
    data = bytearray(archive.read_bytes())
    data[data.index(b"1AY&SY")] = 0
    archive.write_bytes(bytes(data))


FILE = ("m/1/a", {}, b"x")
OTHER = ("m/1/b", {}, b"x" * 1000)
# A header and a block for the first member, a header and two blocks for the second.
TWO = tar_bytes(FILE, OTHER)
BACKWARD = {"GNU.sparse.map": "0,100,200,-1000,300,100", "GNU.sparse.size": "400"}
HUGE = tarfile.TarInfo("m/1/b")
HUGE.type, HUGE.size = tarfile.GNUTYPE_LONGNAME, 17 << 20
LINK, HARD = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}
LONG = "/".join(["x" * 250] * 20)
ANEW = "Make the archive anew"
COPY = "Put a copy of it there: a release holds everything it needs."
KEEP_OUT = "An archive of models holds files and folders; leave it out."

CUT_OFF = "The archive {archive} is cut off. Make or copy it again."
DAMAGED = "The archive {archive} is damaged. Make or copy it again."

REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "an absolute path": (
        tar_of(("/etc/passwd", {}, b"x")),
        "The archive {archive}: /etc/passwd is an absolute path. Make the archive with paths below its root.",
    ),
    "an absolute path in a zip": (
        zip_of(("/etc/passwd", 0, b"x")),
        "The archive {archive}: /etc/passwd is an absolute path. Make the archive with paths below its root.",
    ),
    "a way out": (
        tar_of(("m/../../x", {}, b"x")),
        "The archive {archive}: m/../../x leads out of the archive with '..'. Make the archive with paths "
        "below its root.",
    ),
    "a way out of a zip": (
        zip_of(("../x", 0, b"x")),
        "The archive {archive}: ../x leads out of the archive with '..'. Make the archive with paths below its root.",
    ),
    "a link out": (
        tar_of(("m/1/a", {**LINK, "linkname": "../../../x"}, b"")),
        f"The archive {{archive}}: m/1/a is a link to '../../../x', outside of the archive. {COPY}",
    ),
    "a link to an absolute path": (
        tar_of(("m/1/a", {**LINK, "linkname": "/etc/passwd"}, b"")),
        f"The archive {{archive}}: m/1/a is a link to '/etc/passwd', outside of the archive. {COPY}",
    ),
    "a link out of a zip": (
        zip_of(("m/1/a", stat.S_IFLNK | 0o777, b"../../../x")),
        f"The archive {{archive}}: m/1/a is a link to '../../../x', outside of the archive. {COPY}",
    ),
    "a link out through another link": (
        tar_of(
            ("m/1/a", {**LINK, "linkname": "."}, b""),
            ("m/1/b", {**LINK, "linkname": "a/../../../.."}, b""),
            ("m/1/c", {}, b""),
        ),
        f"The archive {{archive}}: m/1/b is a link to 'a/../../../..', outside of the archive. {COPY}",
    ),
    "a link to nothing": (
        tar_of(("m/1/a", {**LINK, "linkname": "b"}, b"")),
        "{archive}:m/1/a is a link to something that does not exist.",
    ),
    "a file below a link": (
        tar_of(FILE, ("m/2", {**LINK, "linkname": "1"}, b""), ("m/2/b", {}, b"x")),
        f"The archive {{archive}}: m/2/b lies below m/2, which is a link. {ANEW}.",
    ),
    "a file below a file": (
        tar_of(FILE, ("m/1/a/b", {}, b"x")),
        f"The archive {{archive}}: m/1/a/b lies below m/1/a, which is a file. {ANEW}.",
    ),
    "a hard link out": (
        tar_of(("m/1/b", {**HARD, "linkname": "../../etc/passwd"}, b"")),
        "The archive {archive}: m/1/b is a hard link to '../../etc/passwd', which is no file before it in the archive. "
        "Put a copy of the file there.",
    ),
    "a hard link to an absolute path": (
        tar_of(("m/1/b", {**HARD, "linkname": "/etc/passwd"}, b"")),
        "The archive {archive}: m/1/b is a hard link to '/etc/passwd', which is no file before it in the archive. "
        "Put a copy of the file there.",
    ),
    "a hard link to what comes later": (
        tar_of(("m/1/b", {**HARD, "linkname": "m/1/a"}, b""), FILE),
        "The archive {archive}: m/1/b is a hard link to 'm/1/a', which is no file before it in the archive. "
        "Put a copy of the file there.",
    ),
    "a device": (
        tar_of(("m/1/null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b"")),
        f"The archive {{archive}}: m/1/null is a device. {KEEP_OUT}",
    ),
    "a disk": (
        tar_of(("m/1/disk", {"type": tarfile.BLKTYPE}, b"")),
        f"The archive {{archive}}: m/1/disk is a device. {KEEP_OUT}",
    ),
    "a FIFO": (
        tar_of(("m/1/pipe", {"type": tarfile.FIFOTYPE}, b"")),
        f"The archive {{archive}}: m/1/pipe is a FIFO. {KEEP_OUT}",
    ),
    "a socket in a zip": (
        zip_of(("m/1/socket", stat.S_IFSOCK | 0o777, b"")),
        f"The archive {{archive}}: m/1/socket is a socket. {KEEP_OUT}",
    ),
    "another type": (
        tar_of(("m/1/x", {"type": b"Z"}, b"")),
        f"The archive {{archive}}: m/1/x is of the unknown type 'Z'. {KEEP_OUT}",
    ),
    "another type in a zip": (
        zip_of(("m/1/x", 0o170000, b"")),
        f"The archive {{archive}}: m/1/x is of the unknown type 0o170000. {KEEP_OUT}",
    ),
    "one name twice": (
        tar_of(FILE, ("./m/1//a", {}, b"y")),
        f"The archive {{archive}}: m/1/a is in it twice. {ANEW}, with one member of this name.",
    ),
    "a file and a folder": (
        zip_of(("m/1/a/b", 0, b"x"), ("m/1/a", 0, b"x")),
        f"The archive {{archive}}: m/1/a is in it twice. {ANEW}, with one member of this name.",
    ),
    "a long name": (
        tar_of(("m/1/" + "x" * 256, {}, b"x")),
        f"The archive {{archive}}: m/1/{'x' * 256} has a name longer than 255 bytes, the limit of file systems.",
    ),
    "a deep path": (
        tar_of(("m/" * 101, {"type": tarfile.DIRTYPE}, b"")),
        f"The archive {{archive}}: {'m/' * 100}m lies more than 100 folders deep. Shorten the path.",
    ),
    "a very deep path": (
        tar_of(("m/" * 2000, {"type": tarfile.DIRTYPE}, b"")),
        f"The archive {{archive}}: {'m/' * 150}... lies more than 100 folders deep. Shorten the path.",
    ),
    "a path that is too long for the system": (
        tar_of((LONG, {}, b"x")),
        f"The archive {{archive}}: {LONG} cannot be unpacked: File name too long.",
    ),
    "a name of two lines": (
        tar_of(("m/1/a\nb", {}, b"x")),
        "The archive {archive}: the name 'm/1/a\\nb' has characters that cannot be printed or are not UTF-8. "
        "Rename it.",
    ),
    "a name in another encoding": (
        tar_of(("m/1/\udcff", {}, b"x")),
        "The archive {archive}: the name 'm/1/\\udcff' has characters that cannot be printed or are not UTF-8. "
        "Rename it.",
    ),
    "encryption": (
        encrypted,
        f"The archive {{archive}}: m/1/model.py is encrypted. {ANEW} without a password.",
    ),
    "an odd compression": (
        odd_compression,
        "The archive {archive} is packed in a way that Python cannot read (That compression method is not supported). "
        "Make it anew with the usual compression.",
    ),
    "a text": (
        text_of(b"hello\n" * 200),
        "The source {archive} is a file, but not an archive (tar, plain or compressed with gz, bz2 or xz; zip). Name a "
        "folder of models or such an archive.",
    ),
    "nothing": (
        text_of(b""),
        "The source {archive} is a file, but not an archive (tar, plain or compressed with gz, bz2 or xz; zip). Name a "
        "folder of models or such an archive.",
    ),
    "a compressed text": (
        text_of(gzip.compress(b"hello\n" * 200)),
        "The source {archive} is compressed, but what is inside is no tar archive.",
    ),
    "zstd, which comes with Python 3.14": (
        text_of(b"\x28\xb5\x2f\xfd" + bytes(100)),
        "The archive {archive} is compressed with zstd, which needs Python 3.14 on the machine that runs the module. "
        "Compress it with gz, bz2 or xz, or unpack it and name the folder.",
    ),
    "xz that wants much memory": (
        text_of(lzma.compress(bytes(10240), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 128 << 20}])),
        "The archive {archive} needs more than 83.9 MB of memory to be read. Compress it again with one of the usual "
        "levels of xz, 9 at most.",
    ),
    "an end within a file": (text_of(TWO[:2000]), CUT_OFF),
    "an end between two files": (text_of(TWO[:1024]), CUT_OFF),
    "an end within what is compressed": (text_of(gzip.compress(TWO)[:-20]), CUT_OFF),
    "a file shorter than the zip says": (
        overstated,
        "The archive {archive} is cut off or damaged. Make or copy it again.",
    ),
    "a damaged header": (text_of(TWO[:1024] + b"M" + TWO[1025:]), DAMAGED),
    "a sparse file that leads backward": (tar_of(FILE, ("m/1/b", {"pax_headers": BACKWARD}, b"x" * 200)), DAMAGED),
    "a name of many megabytes": (text_of(TWO[:1024] + HUGE.tobuf()), DAMAGED),
    "a wrong checksum": (
        text_of(gzip.compress(TWO)[:-8] + bytes(4) + struct.pack("<I", len(TWO))),
        f"The archive {{archive}} is damaged (CRC check failed 0x0 != {zlib.crc32(TWO):#x}). Make or copy it again.",
    ),
    "a damaged file in a zip": (
        damaged_within,
        "The archive {archive} is damaged (Invalid data stream). Make or copy it again.",
    ),
    "two archives behind one another": (
        doubled,
        "The archive {archive} has more data behind its end mark. Make or copy it again.",
    ),
}
if sys.version_info >= (3, 14):
    del REFUSED["zstd, which comes with Python 3.14"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    write, message = REFUSED[name]
    archive = tmp_path / "models"
    write(archive)
    with pytest.raises(SupersonicError) as caught:
        release(archive, scratch=tmp_path / "scratch")
    assert str(caught.value) == message.replace("{archive}", str(archive))


def test_few_links_that_would_be_a_million_folders(tmp_path: Path) -> None:
    """Some hundred bytes: each folder has two links to the next."""
    links = [
        (f"m/{number}/{link}", {"type": tarfile.SYMTYPE, "linkname": f"../{number + 1}"}, b"")
        for number in range(20)
        for link in "ab"
    ]
    archive = tmp_path / "models.tar"
    tar_of(*links, ("m/20/model.py", {}, b""))(archive)
    began = time.monotonic()
    with pytest.raises(SupersonicError, match=r"models.tar:m/.* is one of more than 10000 files and folders"):
        release(archive, scratch=tmp_path / "scratch")
    assert time.monotonic() - began < 30


def test_more_than_there_is_room_for(tmp_path: Path) -> None:
    """A header alone may claim any size: it is believed, and nothing is written."""
    archive = tmp_path / "models.tar"
    large(archive)
    with pytest.raises(SupersonicError, match=r"models\.tar (is cut off|holds .* GB and .* free)"):
        release(archive, scratch=tmp_path / "scratch")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("m/1/weights", b"x")
    data = bytearray((tmp_path / "bomb.zip").read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = b"\xfe\xff\xff\xff"
    (tmp_path / "bomb.zip").write_bytes(bytes(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 0, 10**9))
        with pytest.raises(SupersonicError) as caught:
            release(tmp_path / "bomb.zip", scratch=tmp_path / "scratch")
    assert str(caught.value) == (
        f"The archive {tmp_path}/bomb.zip holds 4.3 GB and {tmp_path}/scratch has 1.0 GB free. Free space there, or "
        "unpack the archive elsewhere and name the folder."
    )


def test_no_place_to_unpack(source: Path, tmp_path: Path) -> None:
    archive = pack(source, tmp_path / "models.tar")
    publisher = FolderTarget(str(tmp_path / "store"))
    with pytest.raises(SupersonicError, match=r"models\.tar needs a temporary folder, but .*No such file.*/nowhere"):
        publish(publisher, [str(archive)], Options(scratch=str(tmp_path / "nowhere")))


def test_an_archive_that_may_not_be_read(tmp_path: Path) -> None:
    archive = tmp_path / "models.tar"
    tar_of(FILE)(archive)
    archive.chmod(0)
    with pytest.raises(SupersonicError) as caught:
        release(archive, scratch=tmp_path / "scratch")
    assert str(caught.value) == f"The archive {archive} cannot be read: Permission denied."


@pytest.mark.parametrize("form", FORMATS)
def test_cut_off_anywhere(source: Path, tmp_path: Path, form: str) -> None:
    """Also between two members, where tar alone would notice nothing."""
    whole = pack(source, tmp_path / f"whole.{form}").read_bytes()
    archive = tmp_path / f"models.{form}"
    end = len(whole.rstrip(b"\0")) if form == "tar" else len(whole)
    for length in sorted({*range(512, end, 512), *range(1, end, max(end // 40, 1)), end - 1}):
        archive.write_bytes(whole[:length])
        with pytest.raises(SupersonicError, match=r"is cut off|is damaged|is a file, but not|no tar archive"):
            release(archive, scratch=tmp_path / "scratch")


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_anywhere(source: Path, tmp_path: Path, form: str) -> None:
    """Refused with a sentence, or the release is the same or one that validation sees; never a traceback.

    What is compressed has checksums: there no changed content may pass.
    """
    (source / "beta/1/weights").write_bytes(random.Random(1).randbytes(2000))
    whole = pack(source, tmp_path / f"whole.{form}").read_bytes()
    good = scan([str(source)]).release
    archive, dice, refused = tmp_path / f"models.{form}", chance.dice(form), 0
    for _round in range(chance.cases(60, least=20)):
        data = bytearray(whole)
        for _change in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        archive.write_bytes(bytes(data))
        try:
            found = release(archive, scratch=tmp_path / "scratch")
        except SupersonicError:
            refused += 1
        else:
            assert found == good or form in ("tar", "zip")
    assert refused


def test_a_failure_leaves_nothing(source: Path, tmp_path: Path) -> None:
    archive, scratch = pack(source, tmp_path / "models.tar.gz"), tmp_path / "scratch"
    scratch.mkdir()

    def fail() -> None:
        with opened([str(archive)], str(scratch)) as tree:
            assert os.path.commonpath([str(scratch), *tree.places.values()]) == str(scratch)
            assert stat.S_IMODE(next(scratch.iterdir()).stat().st_mode) == 0o700
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(scratch.iterdir()) == []
