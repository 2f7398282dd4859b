# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real cluster of these tests: $SUPERSONIC_KUBECONFIG, or the one that `make local` has made."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.api_client import Api
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.connection import connection
from ansible_collections.fastml.supersonic.tests.harness import evidence
from ansible_collections.fastml.supersonic.tests.harness.deployed import deployed, differences
from ansible_collections.fastml.supersonic.tests.harness.environment import kubeconfig
from ansible_collections.fastml.supersonic.tests.harness.keda import IMAGES as KEDA_IMAGES
from ansible_collections.fastml.supersonic.tests.harness.keda import Keda
from ansible_collections.fastml.supersonic.tests.harness.kubernetes import Cluster
from ansible_collections.fastml.supersonic.tests.harness.second_node import SecondNode
from ansible_collections.fastml.supersonic.tests.harness.shared import Shared

CLONE = Path(__file__).resolve().parents[2]
# These files use one instance, which has to be in one process: fixture `shared`.
SHARING = {"test_drift", "test_exposure", "test_isolation", "test_prometheus", "test_status", "test_tracing"}
# Of the second cluster.
IMAGES = ["triton-local", "envoy-local", "prometheus-local", *KEDA_IMAGES]
# Clusters that a fixture has opened, and the namespaces that a test has made beside those of its fixtures.
_CLUSTERS = pytest.StashKey[list[Cluster]]()
_BEFORE = pytest.StashKey[dict[str, str]]()
_MADE = pytest.StashKey[list[tuple[Cluster, str]]]()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster. Without one these tests fail: they are not to be passed over."""
    path = kubeconfig()
    assert path.is_file(), f"there is no {path}: run `make local-for-tests` first, or set SUPERSONIC_KUBECONFIG"
    with _watched(request, Cluster(str(path))) as found:
        yield found


@contextlib.contextmanager
def _watched(request: pytest.FixtureRequest, found: Cluster) -> Iterator[Cluster]:
    """A cluster whose pods are kept of tests that fail, and whose namespaces go in the end."""
    clusters = request.config.stash.setdefault(_CLUSTERS, [])
    clusters.append(found)
    found.on_failure = lambda namespace: _keep(found, [namespace], os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0])
    try:
        yield found
    finally:
        found.cleanup()
        clusters.remove(found)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for one test."""
    name = cluster.new_namespace()
    yield name
    cluster.remove_namespace(name)


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


@pytest.fixture(scope="module")
def new_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A second cluster, on which nothing was ever deployed; its node has the images of an instance with KEDA. It takes
    the place of `cluster` where KEDA comes or goes, since a person may use the KEDA of that one."""
    node = SecondNode(tmp_path_factory.mktemp("node"), images=IMAGES)
    # An earlier run may have been killed.
    node.run(state="absent")
    try:
        node.run()
        with _watched(request, Cluster(str(node.kubeconfig))) as found:
            yield found
    finally:
        node.run(state="absent")


@pytest.fixture(scope="session")
def shared(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """One instance for the files in SHARING. Whoever changes it puts it back, which is proved when all are done."""
    found = Shared(cluster, tmp_path_factory.mktemp("shared"))
    try:
        found.begin()
        yield found
        found.prove_unchanged()
    finally:
        found.remove()


# ---- one process for what is shared ----------------------------------------------------------------------------------
def _shares(file: Path) -> bool:
    return file.parent.name == "cluster" and file.stem in SHARING


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Together they take longer than any other file."""
    items.sort(key=lambda item: not _shares(item.path))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With --dist loadfile the files that share an instance count as one, and each scenario of molecule as a file."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            # Scenarios have namespaces of their own, and nothing that a process could share.
            return nodeid if Path(file).stem == "test_molecule" else "shared" if _shares(Path(file)) else file

        def _assign_work_unit(self, node: Any) -> None:
            """A process that runs a file with one or two tests is given the next file at once, though the first may
            take long: the one that comes last then, which is the shortest, and not the longest of those left."""
            assigned = [unit for unit in self.assigned_work.get(node, {}).values() if not all(unit.values())]
            if assigned and all(len(unit) <= 2 for unit in assigned):
                self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
            super()._assign_work_unit(node)

    return Files(config, log)


# ---- what is left behind ---------------------------------------------------------------------------------------------
def pytest_sessionstart(session: pytest.Session) -> None:
    if not _is_worker(session) and kubeconfig().is_file():
        session.config.stash[_BEFORE] = _deployed()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """What a person has deployed on the cluster is as it was before the tests."""
    before = session.config.stash.get(_BEFORE, {})
    if before and (found := differences(before, _deployed())):
        print("\nTests have changed what was on the cluster before them:", *found, sep="\n  ", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_worker(session: pytest.Session) -> bool:
    return hasattr(session.config, "workerinput")


def _deployed() -> dict[str, str]:
    with warnings.catch_warnings():
        # The client closes its connection when nobody has it any more.
        warnings.simplefilter("ignore", ResourceWarning)
        return deployed(Api(connection({"kubeconfig": str(kubeconfig())})))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Namespaces that a test makes beside those of its fixtures go with it."""
    before = _namespaces(item)
    try:
        yield
    except KeyboardInterrupt:
        # The part ran out of time.
        for found in item.config.stash.get(_CLUSTERS, []):
            _keep(found, found.namespaces, item.nodeid)
        raise
    finally:
        item.stash[_MADE] = [made for made in _namespaces(item) if made not in before]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    for found, name in item.stash.get(_MADE, []):
        found.remove_namespace(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """States, events and logs of pods are kept of a test that fails, and where they are is told."""
    report = yield
    if report.failed:
        places = [_keep(found, found.namespaces, item.nodeid) for found in item.config.stash.get(_CLUSTERS, [])]
        for place in filter(None, places):
            report.sections.append(("pods of the test's namespaces", f"States, events and logs are in {place}"))
    return report


def _namespaces(item: pytest.Item) -> list[tuple[Cluster, str]]:
    return [(found, name) for found in item.config.stash.get(_CLUSTERS, []) for name in found.namespaces]


def _keep(cluster: Cluster, namespaces: Any, test: str) -> Path | None:
    try:
        place = evidence.keep(evidence.impatient(cluster.kubeconfig), namespaces, evidence.LOGS, test)
    except OSError as error:
        print(f"Nothing could be kept of {test}: {error}", file=sys.stderr)
        return None
    if place:
        print(f"States, events and logs of its pods are in {place}", file=sys.stderr)
    return place
