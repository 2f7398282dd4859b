# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock of a store where not every process is seen."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._models import store as model_store

# Holds the lock until it is killed; or takes it as somebody who sees only processes of its own in /proc.
HOLD = "s.open('somebody'); print('open', flush=True); time.sleep(60)"
TAKE = """
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    s.open('another')
    s.close()
    print('taken')
except m.StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("hidden", ["1", "2"])
def test_a_living_publisher_whom_proc_does_not_show(hidden: str) -> None:
    """As on login nodes whose /proc is mounted with hidepid."""
    begin = "import sys; sys.path.insert(0, sys.argv[2]); import store as m, os, time; s = m.Store(sys.argv[1])\n"
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        arguments = [str(store), str(Path(model_store.__file__).parent)]
        mount = f'mount -t proc -o hidepid={hidden} proc /proc && exec "$0" "$@"'

        def take() -> str:
            command = ["unshare", "--mount", "sh", "-c", mount, sys.executable, "-B", "-c", begin + TAKE, *arguments]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        command = [sys.executable, "-B", "-c", begin + HOLD, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
            # Any user may publish here.
            for place in (Path(folder), store, *(path for path in store.iterdir() if path.is_dir())):
                place.chmod(0o777)
            assert take().startswith("Another publisher works on this store: somebody ")
            holder.kill()
            holder.wait()
        assert take() == "taken\n"
