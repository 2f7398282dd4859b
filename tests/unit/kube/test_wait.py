# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When objects count as gone or ready; tests/cluster/test_manifests_wait.py waits for real ones."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.fastml.supersonic.plugins.module_utils._kube.desired_objects import Key
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.diff import Mask
from ansible_collections.fastml.supersonic.plugins.module_utils._kube.wait import Target, Waiter, WaitError
from ansible_collections.fastml.supersonic.tests.harness.fake_api import FakeApi
from ansible_collections.fastml.supersonic.tests.harness.processes import until

PATH = "/api/v1/namespaces/n/configmaps/a"
CLAIM = "/api/v1/namespaces/n/persistentvolumeclaims/models"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as found:
        found.put(PATH, {"metadata": {"finalizers": ["example.org/theirs"]}})
        yield found


def gone(api: FakeApi, target: Target, seconds: float = 10.0) -> None:
    Waiter(api.client(), Mask(), seconds, budget=seconds).gone([target])


def target_of(api: FakeApi) -> Target:
    return Target(Key("", "ConfigMap", "n", "a"), PATH, copy.deepcopy(api.objects[PATH]))


def test_what_is_still_there_is_waited_for(api: FakeApi) -> None:
    with pytest.raises(WaitError, match=r"ConfigMap/a in namespace n is still there after 0\.3 s"):
        gone(api, target_of(api), 0.3)


@pytest.mark.parametrize("action", [FakeApi.recreate, lambda api, path: api.objects.pop(path)])
def test_what_was_there_before_is_gone(api: FakeApi, action: Callable[[FakeApi, str], object]) -> None:
    """With or without a new object of the same name."""
    target = target_of(api)
    action(api, PATH)
    gone(api, target)


def finish(api: FakeApi) -> None:
    with api.changed(PATH) as live:
        live["metadata"].update(finalizers=[], deletionTimestamp="2026-01-01T00:00:00Z")


@pytest.mark.parametrize("action", [finish, lambda api: api.recreate(PATH)])
def test_what_goes_while_it_is_watched(api: FakeApi, action: Callable[[FakeApi], object]) -> None:
    target, ended = target_of(api), threading.Event()

    def wait() -> None:
        gone(api, target)
        ended.set()

    api.client().delete(PATH, "x", uid=target.live["metadata"]["uid"])
    assert api.objects[PATH]["metadata"]["deletionTimestamp"]
    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: any("watch" in request.query for request in api.requests), 5)
    assert not ended.is_set()
    action(api)
    waiting.join(20)
    assert ended.is_set()


def pending(api: FakeApi) -> Target:
    api.put("/apis/storage.k8s.io/v1/storageclasses/slow", {})
    claim = {"spec": {"storageClassName": "slow"}, "status": {"phase": "Pending"}}
    return Target(Key("", "PersistentVolumeClaim", "n", "models"), CLAIM, api.put(CLAIM, claim))


def ready(api: FakeApi, target: Target) -> None:
    Waiter(api.client(), Mask(), 10.0, budget=10.0).ready([target])


def test_what_was_deleted_is_not_waited_for(api: FakeApi) -> None:
    target = pending(api)
    # The watch begins with what has happened since the object was seen.
    api.remove(CLAIM)
    with pytest.raises(WaitError, match="will not be: it has been deleted by somebody else meanwhile"):
        ready(api, target)


def test_what_has_become_ready_is_not_waited_for(api: FakeApi) -> None:
    target = pending(api)
    with api.changed(CLAIM) as live:
        live["status"]["phase"] = "Bound"
    ready(api, target)
