# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sources of models: folders, and archives that are unpacked to a private folder while they are read.

This module util is PRIVATE to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import Tree, scan


@contextlib.contextmanager
def opened(
    sources: Sequence[str], scratch: str | None = None, *, cached: bool = False, verify: bool = False
) -> Iterator[Tree]:
    """Folders and archives of models, read as one release. Archives are unpacked below `scratch` until the end.

    With `cached` files that have not changed are not read again, unless `verify` wants it; what is unpacked anew is
    always new.
    """
    with contextlib.ExitStack() as stack:
        unpacked: dict[str, str] = {}
        with _named(unpacked):
            folders = [stack.enter_context(_folder(source, scratch, unpacked)) for source in sources]
            yield scan(folders, cached=cached and not unpacked, verify=verify)


@contextlib.contextmanager
def _folder(source: str, scratch: str | None, unpacked: dict[str, str]) -> Iterator[str]:
    if not os.path.isfile(source):
        yield source
        return
    try:
        folder = os.path.realpath(tempfile.mkdtemp(prefix="supersonic-models-", dir=scratch))
    except OSError as error:
        raise SupersonicError(f"The archive {source} needs a temporary folder, but {error}.") from error
    try:
        # Imported here so that folders do not wait for it.
        from ansible_collections.fastml.supersonic.plugins.module_utils._models.archive import unpack

        unpacked[folder] = source
        unpack(source, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _named(unpacked: dict[str, str]) -> Iterator[None]:
    """In errors, a file of an archive is named by the archive and the member."""
    try:
        yield
    except SupersonicError as error:
        text = str(error)
        for folder, archive in unpacked.items():
            text = text.replace(folder + os.sep, archive + ":").replace(folder, archive)
        if text == str(error):
            raise
        raise SupersonicError(text) from error
