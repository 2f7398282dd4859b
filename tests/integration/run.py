# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test units and integration over the collection, with the packages of this Python.

    python tests/integration/run.py units [FOLDER...]           unit tests, all or below these folders of tests/unit
    python tests/integration/run.py integration [TARGET...]     these targets, or all, on a cluster

The cluster is the one that K8S_AUTH_* variables name, and otherwise the one that `make local` has made. Servers run
from SUPERSONIC_TRITON_IMAGE, an image with Triton, its Python backend and python3, which is that of the local cluster
unless given. ansible-test hands its tests no variables of the environment: they are written where it looks for what a
target has to know.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.ansible_test import CLONE, ansible_test, collection, command
from ansible_collections.fastml.supersonic.tests.harness.evidence import run_and_keep

# Targets that ask no cluster.
NO_CLUSTER = {"validate"}
KUBECONFIG = CLONE / ".local" / "kubeconfig"
# Variables whose values are paths, which are relative to where this was started.
PATHS = {"K8S_AUTH_KUBECONFIG", "K8S_AUTH_SSL_CA_CERT", "K8S_AUTH_CERT_FILE", "K8S_AUTH_KEY_FILE"}


def connection() -> dict[str, str]:
    """The variables that say which cluster it is."""
    given = {name: value for name, value in os.environ.items() if name.startswith("K8S_AUTH_")}
    if not given:
        if not KUBECONFIG.is_file():
            raise SystemExit("There is no local cluster, and no K8S_AUTH_* variable is set: run make local.")
        given = {"K8S_AUTH_KUBECONFIG": str(KUBECONFIG)}
    return {name: str(Path(value).expanduser().resolve()) if name in PATHS else value for name, value in given.items()}


def main() -> int:
    """Run the tests; the exit code is theirs."""
    if len(sys.argv) < 2 or sys.argv[1] not in ("units", "integration"):
        print(__doc__)
        return 2
    what, *names = sys.argv[1:]
    with collection() as place:
        if what == "units":
            folders = [f"tests/unit/{name}/" for name in names]
            return ansible_test(place, "units", "--num-workers", "2", *folders)
        if not set(names or [""]) - NO_CLUSTER:
            return ansible_test(place, "integration", *names)
        cluster = connection()
        settings = place / "tests" / "integration" / "integration_config.yml"
        settings.touch(0o600)
        known: dict[str, Any] = {"setup_cluster_environment": cluster}
        if image := os.environ.get("SUPERSONIC_TRITON_IMAGE"):
            known["setup_cluster_image"] = image
        settings.write_text(json.dumps(known))
        if "K8S_AUTH_KUBECONFIG" not in cluster:
            return ansible_test(place, "integration", *names)
        # Namespaces are those of targets/setup_cluster.
        kubeconfig = Path(cluster["K8S_AUTH_KUBECONFIG"])
        words, environment = command("integration", *names)
        code, _failed = run_and_keep(words, kubeconfig, "ansible-test-", "ansible-test-integration", place, environment)
        return code


if __name__ == "__main__":
    sys.exit(main())
