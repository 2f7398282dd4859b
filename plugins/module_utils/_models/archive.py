# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unpacks archives of models.

This module util is PRIVATE to the collection. It can have breaking changes at any time.

An archive is read twice. The first time nothing is written: every member is judged, and what all of them need is
compared with the free space. Python's own unpacking is not used, because it takes a damaged header for the end of the
archive, and because what it does with links and odd names differs between the versions that we support.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import os
import posixpath
import shutil
import stat
import struct
import tarfile
import typing as t
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import DEEPEST, is_ignored
from ansible_collections.fastml.supersonic.plugins.module_utils._models.store import BLOCK, readable

try:
    from compression import zstd as _zstd  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    _zstd = None

_KINDS = "an archive (tar, plain or compressed with gz, bz2 or xz; zip)"
_LONGEST_NAME = 255
_LONGEST_LINK = 4096
# Of one read: headers and blocks are far smaller, and a header that asks for more would fill the memory.
_LARGEST_READ = 16 << 20
# What xz writes at its highest level needs 65 MiB to be read.
_XZ_MEMORY = 80 << 20
# What tarfile says inwardly of a header.
_CUT_OFF = (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]
_BROKEN = tarfile.InvalidHeaderError  # type: ignore[attr-defined]
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    OverflowError,
    ValueError,
    *((_zstd.ZstdError,) if _zstd else ()),
)


@dataclass(frozen=True)
class _Member:
    name: str
    # file, folder, link, hard link, or in words what it is instead.
    kind: str
    executable: bool = False
    size: int = 0
    target: str = ""
    open: Callable[[], t.IO[bytes]] = io.BytesIO


class _Damaged(Exception):
    """A damaged archive; the message is the end of a sentence."""


def unpack(archive: str, folder: str) -> None:
    """Unpack into an empty folder, or refuse with the first thing that is wrong."""
    with _sentences(archive):
        with _members(archive) as members:
            needed = sum(member.size for member in _judged(archive, members))
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise SupersonicError(
                f"The archive {archive} holds {readable(needed)} and {os.path.dirname(folder)} has {readable(free)} "
                "free. Free space there, or unpack the archive elsewhere and name the folder."
            )
        links = []
        with _members(archive) as members:
            for member in _judged(archive, members):
                with _writing(archive, member):
                    _write(member, folder)
                if member.kind == "link":
                    links.append(member)
        # Last, so that nothing is ever written through a link.
        for member in links:
            with _writing(archive, member):
                place = os.path.join(folder, member.name)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                os.symlink(member.target, place)


def _write(member: _Member, folder: str) -> None:
    place = os.path.join(folder, member.name)
    if member.kind == "folder":
        os.makedirs(place, exist_ok=True)
        return
    if member.kind == "link":
        return
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if member.kind == "hard link":
        os.link(os.path.join(folder, member.target), place)
        return
    mode = 0o700 if member.executable else 0o600
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file, member.open() as content:
        left = member.size
        while left:
            block = content.read(min(left, BLOCK))
            if not block:
                raise _Damaged("is cut off or damaged")
            file.write(block)
            left -= len(block)


def _judged(archive: str, members: Iterator[_Member]) -> Iterator[_Member]:
    """Members with clean names, without those that are never published; refuses what cannot be unpacked safely."""
    kinds: dict[str, str] = {}
    for member in members:
        name = _clean(archive, member.name)
        if not name or any(is_ignored(part) for part in name.split("/")):
            continue
        at = f"The archive {archive}: {name}"
        if member.kind == "encrypted":
            raise SupersonicError(f"{at} is encrypted. Make the archive anew without a password.")
        if member.kind not in ("file", "folder", "link", "hard link"):
            raise SupersonicError(f"{at} is {member.kind}. An archive of models holds files and folders; leave it out.")
        known = kinds.get(name)
        if known and not known == "folder" == member.kind:
            raise SupersonicError(f"{at} is in it twice. Make the archive anew, with one member of this name.")
        parent = posixpath.dirname(name)
        while parent and kinds.get(parent) != "folder":
            if parent in kinds:
                raise SupersonicError(f"{at} lies below {parent}, which is a {kinds[parent]}. Make the archive anew.")
            kinds[parent] = "folder"
            parent = posixpath.dirname(parent)
        kinds[name] = member.kind
        target = member.target
        if member.kind == "hard link":
            target = _clean(archive, target) if _stays("", target) else ""
            if kinds.get(target) != "file":
                raise SupersonicError(
                    f"{at} is a hard link to {member.target!r}, which is no file before it in the archive. "
                    "Put a copy of the file there."
                )
        elif member.kind == "link" and not _stays(posixpath.dirname(name), target):
            raise SupersonicError(
                f"{at} is a link to {target!r}, outside of the archive. Put a copy of it there: "
                "a release holds everything it needs."
            )
        yield _Member(name, member.kind, member.executable, member.size, target, member.open)


def _clean(archive: str, name: str) -> str:
    """The name without what means nothing; '' for the root."""
    if not name.isprintable():
        raise SupersonicError(
            f"The archive {archive}: the name {name!r} has characters that cannot be printed or are not UTF-8. "
            "Rename it."
        )
    at = f"The archive {archive}: {name if len(name) < 300 else name[:300] + '...'}"
    if name.startswith("/"):
        raise SupersonicError(f"{at} is an absolute path. Make the archive with paths below its root.")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SupersonicError(f"{at} leads out of the archive with '..'. Make the archive with paths below its root.")
    if len(parts) > DEEPEST:
        raise SupersonicError(f"{at} lies more than {DEEPEST} folders deep. Shorten the path.")
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        raise SupersonicError(f"{at} has a name longer than {_LONGEST_NAME} bytes, the limit of file systems.")
    return "/".join(parts)


def _stays(folder: str, target: str) -> bool:
    """Whether a link in the folder stays inside the archive, by its text. Where it really leads `scan` checks."""
    if not target or "\0" in target or target.startswith("/"):
        return False
    return posixpath.normpath(posixpath.join("root", folder, target)).split("/")[0] == "root"


# Formats


@contextlib.contextmanager
def _members(archive: str) -> Iterator[Iterator[_Member]]:
    with open(archive, "rb") as file:
        head = file.read(6)
        file.seek(0)
        if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            with zipfile.ZipFile(file) as opened_zip:
                yield _zip_members(opened_zip)
            return
        with _plain(archive, file, head) as plain:
            yield _tar_members(archive, plain, compressed=not isinstance(plain, io.BufferedReader))


def _plain(archive: str, file: t.BinaryIO, head: bytes) -> t.BinaryIO:
    """The bytes without their compression."""
    if head[:2] == b"\x1f\x8b":
        return t.cast("t.BinaryIO", gzip.GzipFile(fileobj=file))
    if head[:3] == b"BZh":
        return t.cast("t.BinaryIO", bz2.BZ2File(file))
    if head == b"\xfd7zXZ\x00":
        return t.cast("t.BinaryIO", _Xz(file))
    if head[:4] == b"\x28\xb5\x2f\xfd":
        if _zstd is None:
            raise SupersonicError(
                f"The archive {archive} is compressed with zstd, which needs Python 3.14 on the machine that runs the "
                "module. Compress it with gz, bz2 or xz, or unpack it and name the folder."
            )
        return t.cast("t.BinaryIO", _zstd.ZstdFile(file))
    return file


class _Xz(io.RawIOBase):
    """xz with a limit on memory, which LZMAFile does not take."""

    # pylint takes the decompressor's properties for methods.
    # pylint: disable=using-constant-test

    def __init__(self, file: t.BinaryIO) -> None:
        self._file = file
        self._decompressor = self._new()

    def _new(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = BLOCK if size < 0 else size
        while True:
            if self._decompressor.eof:
                # Streams may follow one another, with zeros between them.
                rest = (self._decompressor.unused_data or self._file.read(BLOCK)).lstrip(b"\0")
                if not rest:
                    return b""
                self._decompressor = self._new()
                found = self._decompressor.decompress(rest, size)
            else:
                data = self._file.read(BLOCK) if self._decompressor.needs_input else b""
                if not data and self._decompressor.needs_input:
                    raise EOFError
                found = self._decompressor.decompress(data, size)
            if found:
                return found


class _Forward:
    """The stream for tarfile: forward only, in bounded reads."""

    def __init__(self, file: t.BinaryIO) -> None:
        self._file = file
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> None:
        if position < self._at:
            raise _Damaged("is damaged")
        while self._at < position:
            if not self.read(min(position - self._at, BLOCK)):
                return

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise _Damaged("is damaged")
        blocks = []
        while size:
            block = self._file.read(size)
            if not block:
                break
            blocks.append(block)
            size -= len(block)
            self._at += len(block)
        return b"".join(blocks)


class _Header(tarfile.TarInfo):
    """Refuses what tarfile takes for the end: a damaged header, and a file that ends without an end mark."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _Header:
        start = tarfile.offset
        try:
            return super().fromtarfile(tarfile)
        except (*_CUT_OFF, _BROKEN) as error:
            # At the very beginning it is no archive at all.
            if not start:
                raise
            raise _Damaged("is damaged" if isinstance(error, _BROKEN) else "is cut off") from error


def _tar_members(archive: str, plain: t.BinaryIO, compressed: bool) -> Iterator[_Member]:
    source = _Forward(plain)
    try:
        tar = tarfile.open(  # noqa: SIM115
            fileobj=t.cast("t.IO[bytes]", source), mode="r:", tarinfo=_Header, errors="surrogateescape"
        )
    except tarfile.ReadError as error:
        if compressed:
            raise SupersonicError(
                f"The source {archive} is compressed, but what is inside is no tar archive."
            ) from error
        raise SupersonicError(
            f"The source {archive} is a file, but not {_KINDS}. Name a folder of models or such an archive."
        ) from error
    while True:
        info = tar.next()
        if info is None:
            break
        # Otherwise tarfile remembers every member.
        tar.members = []  # type: ignore[attr-defined]
        yield _tar_member(tar, info)
    # To the very end, where gz and xz have their checksums.
    while block := source.read(BLOCK):
        if block.strip(b"\0"):
            raise _Damaged("has more data behind its end mark")


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    if info.issym():
        return _Member(info.name, "link", target=info.linkname)
    if info.islnk():
        return _Member(info.name, "hard link", target=info.linkname)
    if info.isdir():
        return _Member(info.name, "folder")
    if info.isfile():

        def content() -> t.IO[bytes]:
            return t.cast("t.IO[bytes]", tar.extractfile(info))

        return _Member(info.name, "file", bool(info.mode & stat.S_IXUSR), info.size, open=content)
    kinds = {tarfile.FIFOTYPE: "a FIFO", tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device"}
    return _Member(info.name, kinds.get(info.type, f"of the unknown type {info.type.decode('latin-1')!r}"))


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        yield _zip_member(archive, info)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    # Archives that were not made on Unix say nothing about modes.
    mode = info.external_attr >> 16 if info.create_system == 3 else 0
    kind = stat.S_IFMT(mode)
    if info.flag_bits & 1:
        return _Member(info.filename, "encrypted")
    if info.is_dir() or kind == stat.S_IFDIR:
        return _Member(info.filename, "folder")
    if kind == stat.S_IFLNK:
        with archive.open(info) as file:
            return _Member(info.filename, "link", target=os.fsdecode(file.read(_LONGEST_LINK)))
    if kind in (0, stat.S_IFREG):

        def content() -> t.IO[bytes]:
            return archive.open(info)

        return _Member(info.filename, "file", bool(mode & stat.S_IXUSR), info.file_size, open=content)
    kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return _Member(info.filename, kinds.get(kind, f"of the unknown type {kind:#o}"))


# Errors


@contextlib.contextmanager
def _sentences(archive: str) -> Iterator[None]:
    try:
        yield
    except _Damaged as error:
        raise SupersonicError(f"The archive {archive} {error}. Make or copy it again.") from error
    # What zipfile raises for compressions that it does not know.
    except RuntimeError as error:
        raise SupersonicError(
            f"The archive {archive} is packed in a way that Python cannot read ({error}). Make it anew with the "
            "usual compression."
        ) from error
    except _DAMAGED as error:
        if isinstance(error, lzma.LZMAError) and str(error) == "Memory usage limit exceeded":
            raise SupersonicError(
                f"The archive {archive} needs more than {readable(_XZ_MEMORY)} of memory to be read. Compress it again "
                "with one of the usual levels of xz, 9 at most."
            ) from error
        if isinstance(error, EOFError) or str(error) == "unexpected end of data":
            raise SupersonicError(f"The archive {archive} is cut off. Make or copy it again.") from error
        raise SupersonicError(f"The archive {archive} is damaged ({error}). Make or copy it again.") from error
    except OSError as error:
        # gzip's and bz2's errors are OSErrors without a number.
        if error.errno is None:
            raise SupersonicError(f"The archive {archive} is damaged ({error}). Make or copy it again.") from error
        raise SupersonicError(f"The archive {archive} cannot be read: {error.strerror}.") from error


@contextlib.contextmanager
def _writing(archive: str, member: _Member) -> Iterator[None]:
    """Of reading and writing at once: what is wrong with this member."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise SupersonicError(f"The archive {archive}: {member.name} cannot be unpacked: {reason}.") from error
