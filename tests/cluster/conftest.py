# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real cluster of these tests: $KUBECONFIG, or the one that `make local` has made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests.harness.keda import Keda
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster

CLONE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster. Without one these tests fail: they are not to be passed over."""
    kubeconfig = Path(os.environ.get("KUBECONFIG") or CLONE / ".local/kubeconfig")
    assert kubeconfig.is_file(), f"there is no {kubeconfig}: run `make local` first, or set KUBECONFIG"
    found = Cluster(str(kubeconfig))
    yield found
    found.cleanup()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for one test."""
    name = cluster.new_namespace()
    yield name
    cluster.cleanup()


@pytest.fixture(scope="session")
def ca_file(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The certificate of the cluster's authority as a file."""
    path = tmp_path_factory.mktemp("ca") / "ca.crt"
    path.write_text(cluster.api.connection.ca_pem or "")
    return str(path)


@pytest.fixture(scope="session")
def keda(cluster: Cluster) -> Keda:
    """KEDA as `make autoscaling` brings it, made once for all processes; it stays for the next run."""
    found = Keda(cluster)
    found.have()
    return found
