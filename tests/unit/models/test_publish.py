# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it, and the store asked through pipes as in a pod."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.fastml.supersonic.plugins.module_utils._common.errors import SupersonicError
from ansible_collections.fastml.supersonic.plugins.module_utils._kube import pod_exec
from ansible_collections.fastml.supersonic.plugins.module_utils._models import releases as model_releases
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store as model_store
from ansible_collections.fastml.supersonic.plugins.module_utils._models import store_pod
from ansible_collections.fastml.supersonic.plugins.module_utils._models.model_tree import scan
from ansible_collections.fastml.supersonic.plugins.module_utils._models.publish import Options, publish
from ansible_collections.fastml.supersonic.plugins.modules import model_repository
from ansible_collections.fastml.supersonic.tests.harness.model_cases import GOOD
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.harness.store_pipes import Pipe, PipeTarget


def run(capfd: pytest.CaptureFixture[str], **arguments: t.Any) -> dict[str, t.Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
        model_repository.main()
    result = json.loads(capfd.readouterr().out)
    assert bool(result.get("failed")) == bool(ended.value.code)
    return t.cast("dict[str, t.Any]", result)


def test_publish_then_nothing(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = {"source": [str(source)], "store": {"type": "path", "path": str(tmp_path / "store")}}
    check = run(capfd, **arguments, _ansible_check_mode=True, _ansible_diff=True)
    assert (check["changed"], check["sent_bytes"]) == (True, 0)
    assert check["diff"]["after"].startswith("alpha: versions 1, 2; ")
    assert not (tmp_path / "store").exists()
    first = run(capfd, **arguments)
    assert first["changed"]
    assert first["release"] == check["release"] == scan([str(source)]).release
    assert [(model["name"], model["versions"]) for model in first["models"]] == [("alpha", [1, 2]), ("beta", [1])]
    assert "diff" not in first
    second = run(capfd, **arguments)
    assert (second["changed"], second["previous_release"]) == (False, first["release"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "/nowhere"}, "The source /nowhere is no folder."),
        ({"keep": 0}, "keep is 0, but 1 is the least: the current release always stays."),
        ({"store": {"type": "path"}}, "type is path but all of the following are missing: path"),
        ({"store": {"type": "pvc", "claim": "c"}}, "type is pvc but all of the following are missing: namespace"),
        (
            {"store": {"type": "pvc", "claim": "c", "namespace": "n"}},
            "A store of type pvc needs the option pod with the image that mounts the claim.",
        ),
        (
            {"store": {"type": "pvc", "claim": "c", "namespace": "n"}, "pod": {"image": "x", "run_as_user": 0}},
            "pod.run_as_user is 0, but the pod does not run as root. Name another user.",
        ),
    ],
)
def test_wrong_options(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: dict[str, t.Any], message: str
) -> None:
    usual = {"source": [str(source)], "store": {"type": "path", "path": str(tmp_path / "store")}}
    result = run(capfd, **{**usual, **arguments})
    assert message in result["msg"]


@pytest.mark.parametrize("place", ["source/store", "source", "link/deep/store"])
def test_a_store_within_its_source_is_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "link").symlink_to("source")
    before = sorted(source.rglob("*"))
    result = run(capfd, source=[str(source)], store={"type": "path", "path": str(tmp_path / place)})
    assert f"The store {tmp_path / place} lies in the source {source}" in result["msg"]
    assert sorted(source.rglob("*")) == before


def test_a_store_beside_its_source_is_not(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, source=[str(source)], store={"type": "path", "path": f"{source}-store"})["changed"] is True


def test_an_archive_and_models_from_elsewhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    for path, content in GOOD["a model from elsewhere"].tree.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(content) if content else (source / path).mkdir()
    with tarfile.open(tmp_path / "models.tgz", "w:gz") as tar:
        tar.add(source, ".")
    arguments = {
        "source": [str(tmp_path / "models.tgz")],
        "store": {"type": "path", "path": str(tmp_path / "store")},
        "_ansible_tmpdir": str(tmp_path / "scratch"),
    }
    (tmp_path / "scratch").mkdir()
    refused = run(capfd, **arguments)
    assert "step[0] needs model 'other', which is not in the release." in refused["msg"]
    assert run(capfd, **arguments, external_models=["other"])["release"] == scan([str(source)]).release
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_signal_while_an_archive_is_read_leaves_nothing(source: Path, tmp_path: Path) -> None:
    """The module is told to end while it waits for the lock of the store, with the archive unpacked."""
    archive, scratch, store = tmp_path / "models.tar", tmp_path / "scratch", tmp_path / "store"
    with tarfile.open(archive, "w") as tar:
        tar.add(source, ".")
    scratch.mkdir()
    other = model_store.Store(str(store))
    other.open("somebody")
    options = {
        "source": [str(archive)],
        "store": {"type": "path", "path": str(store)},
        "_ansible_tmpdir": str(scratch),
        "_ansible_remote_tmp": str(tmp_path),
        "_ansible_keep_remote_files": False,
    }
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.fastml.supersonic.plugins.modules import model_repository\n"
        "with patch_module_args(json.loads(sys.argv[2])): model_repository.main()"
    )
    collections = str(Path(__file__).resolve().parents[3] / ".collections")
    command = [sys.executable, "-c", code, collections, json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not (list(scratch.glob("*/beta/1/model.py")) and len(list((store / "staging").iterdir())) > 1):
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        said = json.loads(process.communicate(timeout=30)[0])["msg"]
    assert "The module was ended by a signal. What is served is one whole release" in said
    other.close()
    assert list(scratch.iterdir()) == []


def test_the_store_s_code_is_read_by_any_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible's own loader of collections gives bytes, and others text."""
    text = store_pod._source()

    class Loader:
        @staticmethod
        def get_source(_name: str) -> bytes:
            return text.encode()

    monkeypatch.setattr(store_pod.model_store.__spec__, "loader", Loader)
    assert store_pod._source() == text


class Prompt:
    """A connection whose answers are there as soon as the question is sent."""

    def __init__(self, *lines: dict[str, t.Any]) -> None:
        self.lines = [json.dumps(line).encode() + b"\n" for line in lines]
        self.said: list[str] = []

    def write(self, data: bytes) -> None:
        self.said.append(json.loads(data)["do"])

    def line_if_any(self) -> bytes:
        return self.lines.pop(0) if self.lines else b""

    line = line_if_any


def test_an_answer_that_comes_with_a_sign_of_life_is_not_lost() -> None:
    stream = Prompt({"beat": True}, {"result": 1}, {"beat": True}, {"result": None})
    remote = store_pod.Remote(t.cast("t.Any", stream))
    assert remote.call("one") == 1
    assert remote.call("two") is None
    assert stream.said == ["one", "two"]


def test_lines_of_any_length_come_whole() -> None:
    """In both directions, with what follows them, however they are cut on the way."""
    long = b"x" * 200_000
    data = b"one\n" + long + b"\ntwo\n" + long
    outlet, inlet = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(inlet, data[:5]), os.write(inlet, data[5:]), os.close(inlet)))
    writer.start()
    source = model_store.Input(outlet)
    assert [source.line() for _number in range(3)] == [b"one", long, b"two"]
    rest = b"".join(iter(lambda: source.read(70_000), b""))
    assert rest == long
    assert source.line() == b""
    writer.join()
    os.close(outlet)

    class Slow(pod_exec.Exec):
        def __init__(self) -> None:
            self._output, self._searched = bytearray(), 0
            self.parts = [data[start : start + 65_536] for start in range(0, len(data), 65_536)]

        def _receive(self) -> None:
            self._output += self.parts.pop(0) if self.parts else b""

    stream = Slow()
    found = [line for _number in range(10) if (line := stream.line_if_any())]
    assert found == [b"one\n", long + b"\n", b"two\n"]


def test_a_claims_pods_are_told_by_its_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims of the same name, in other namespaces or clusters, are others."""
    live = {"metadata": {"name": "c", "uid": "3f0c9a52"}}
    claim = store_pod.Claim(t.cast("t.Any", SimpleNamespace(find=lambda *_arguments: live)), "n", "c")
    remote = SimpleNamespace(close=lambda: None)
    helper = SimpleNamespace(name="c-publish-1", connect=lambda: remote, alive=lambda: ["c-publish-1"])
    monkeypatch.setattr(store_pod, "Helper", lambda *_arguments, **_more: contextlib.nullcontext(helper))
    options = store_pod.PodOptions(image="i")
    with store_pod.session(t.cast("t.Any", None), claim, options) as (_remote, holder, pods):
        assert (holder, pods.claim, pods.alive()) == ("pod n/c-publish-1", "3f0c9a52", ["c-publish-1"])


def test_through_pipes(source: Path, tmp_path: Path) -> None:
    big = os.urandom(3_000_000)
    (source / "beta/1/weights").write_bytes(big)
    target = PipeTarget(tmp_path / "store")
    result = publish(target, [str(source)], Options())
    assert result["changed"]
    assert (tmp_path / "store/current/beta/1/weights").read_bytes() == big
    assert scan([str(tmp_path / "store/current")]).release == result["release"] == target.recorded[-1]
    assert publish(target, [str(source)], Options())["changed"] is False
    assert len(target.opened) == 1
    (source / "alpha/1/model.py").write_text("# new\n")
    assert publish(target, [str(source)], Options())["sent_bytes"] == len("# new\n")
    assert not (tmp_path / "store/lock").exists()


def test_the_other_states_through_pipes(source: Path, tmp_path: Path) -> None:
    target = PipeTarget(tmp_path / "store")
    first = publish(target, [str(source)], Options())["release"]
    (source / "alpha/1/model.py").write_text("# new\n")
    second = publish(target, [str(source)], Options())["release"]
    assert model_releases.roll_back(target, None, Options(check=True))["release"] == first
    assert target.recorded[-1] == second
    assert model_releases.roll_back(target, first[:8], Options(verify=True))["release"] == first
    assert target.recorded[-1] == first
    assert model_releases.verify(target, True)["sound"] is True
    assert model_releases.describe(target, True)["previous"] == second
    assert model_releases.prune(target, Options(keep=1))["pruned"] == [second]
    with pytest.raises(SupersonicError, match="There is nothing to roll back to"):
        model_releases.roll_back(target, None, Options())
    assert not (tmp_path / "store/lock").exists()
    assert list((tmp_path / "store/staging").iterdir()) == []


def test_a_refusal_of_the_store_comes_back_as_its_sentence(source: Path, tmp_path: Path) -> None:
    (tmp_path / "store/current").mkdir(parents=True)
    target = PipeTarget(tmp_path / "store")
    with pytest.raises(SupersonicError, match="current is not a symbolic link"):
        publish(target, [str(source)], Options())
    assert target.recorded == []
    assert target.opened[0].process.returncode == 1


def test_a_file_that_changes_while_it_is_sent(source: Path, tmp_path: Path) -> None:
    (source / "beta/1/weights").write_bytes(bytes(5_000_000))
    pipe = Pipe(tmp_path / "store")
    remote = store_pod.Remote(t.cast("t.Any", pipe))
    remote.call("open", holder="me", wait=0)
    tree = scan([str(source)])
    (source / "beta/1/weights").write_bytes(bytes(4_999_999) + b"x")
    entry = next(entry for entry in tree.entries if entry.path == "beta/1/weights")
    remote.send(entry.key, entry.size, tree.places[entry.path])
    with pytest.raises(SupersonicError, match="A source file changed while it was published"):
        remote.call("check_lock")
    pipe.close()
    assert list((tmp_path / "store/staging").iterdir()) == []
    assert not (tmp_path / "store/lock").exists()


def test_a_commit_that_fails_is_heard(source: Path, tmp_path: Path) -> None:
    """Although nobody waits for it."""
    pipe = Pipe(tmp_path / "store")
    remote = store_pod.Remote(t.cast("t.Any", pipe))
    remote.call("open", holder="me", wait=0)
    (entry, *_others) = [entry for entry in scan([str(source)]).entries if entry.mode != "dir"]
    remote.send(entry.key, entry.size, str(source / entry.path))
    # In the way of the content.
    (tmp_path / "store/objects" / entry.key[:2] / entry.key / "full").mkdir(parents=True)
    remote.commit()
    with pytest.raises(SupersonicError, match=r"(?i)directory"):
        remote.call("check_lock")
    pipe.close()
    assert list((tmp_path / "store/staging").iterdir()) == []
    assert not (tmp_path / "store/lock").exists()


def test_more_is_received_while_something_is_committed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_others = [entry for entry in scan([str(source)]).entries if entry.mode != "dir"]
    real = model_store.Store.commit

    def slow(self: model_store.Store) -> None:
        # Ends only when the second one has come meanwhile.
        until(
            lambda: os.path.exists(os.path.join(self.staging, second.key)) or os.path.exists(self._object(second.key))
        )
        real(self)

    monkeypatch.setattr(model_store.Store, "commit", slow)
    requests: list[bytes] = [b'{"do": "open", "with": {"holder": "me", "wait": 0}}\n']
    for entry in (first, second):
        put = {"do": "put", "with": {"key": entry.key, "size": entry.size}}
        content = (source / entry.path).read_bytes()
        requests += [json.dumps(put).encode(), b"\n", content, b'{"do": "commit"}\n']
    requests.append(b'{"do": "close"}\n')
    asked, ask = os.pipe()
    heard, say = os.pipe()
    os.write(ask, b"".join(requests))
    os.close(ask)
    assert model_store.serve(str(tmp_path / "store"), asked, say) == 0
    os.close(say)
    with open(heard, "rb") as answers:
        assert [json.loads(line) for line in answers if b"beat" not in line][1:] == [{"result": None}]
    os.close(asked)
    stored = {path.name for path in (tmp_path / "store/objects").glob("*/*")}
    assert stored == {first.key, second.key}


def test_a_refusal_in_the_middle_of_large_files_is_heard(source: Path, tmp_path: Path) -> None:
    (source / "beta/1/weights").write_bytes(bytes(5_000_000))
    pipe = Pipe(tmp_path / "store")
    remote = store_pod.Remote(t.cast("t.Any", pipe))
    remote.call("open", holder="me", wait=0)

    def send_for_ever() -> None:
        while True:
            remote.send("0" * 64, 5_000_000, str(source / "beta/1/weights"))

    with pytest.raises(SupersonicError, match="A source file changed while it was published"):
        send_for_ever()
    pipe.close()
    assert pipe.process.returncode == 1


def test_a_lost_connection_is_made_again_and_nothing_sent_twice(source: Path, tmp_path: Path) -> None:
    for number in range(5):
        (source / f"beta/1/weights{number}").write_bytes(os.urandom(100_000))
    target = PipeTarget(tmp_path / "store")
    real = store_pod.Remote.send
    sent: list[str] = []

    def send(self: store_pod.Remote, key: str, size: int, path: str) -> None:
        real(self, key, size, path)
        sent.append(key)
        if len(sent) == 4:
            self.commit()
            # Only then it is done.
            self.call("check_lock")
            target.opened[-1].process.kill()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_pod.Remote, "send", send)
        result = publish(target, [str(source)], Options())
    assert len(target.opened) == 2
    assert not set(sent[:4]).intersection(sent[4:])
    assert scan([str(tmp_path / "store/current")]).release == result["release"]


def test_a_store_whose_publisher_vanishes_gives_the_lock_back(tmp_path: Path) -> None:
    pipe = Pipe(tmp_path / "store")
    store_pod.Remote(t.cast("t.Any", pipe)).call("open", holder="me", wait=0)
    assert (tmp_path / "store/lock/holder").exists()
    pipe.close()
    assert not (tmp_path / "store/lock").exists()
    assert pipe.process.returncode == 3


def test_a_pod_that_is_lost_within_a_manifest(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a lost session like any other: the publisher makes a new one and completes."""
    target = PipeTarget(tmp_path / "store")
    monkeypatch.setattr(model_store, "BLOCK", 100)
    real = Pipe.write
    after: list[bytes] = []

    def write(self: Pipe, data: bytes) -> None:
        if target.opened == [self] and self.process.returncode is not None:
            after.append(data)
        real(self, data)
        if target.opened == [self] and data.startswith(model_store.MANIFEST_HEAD.encode()):
            self.process.kill()
            self.process.wait()

    monkeypatch.setattr(Pipe, "write", write)
    result = publish(target, [str(source)], Options())
    assert len(target.opened) == 2
    assert scan([str(source)]).manifest[100:200].encode() == after[0]
    assert scan([str(tmp_path / "store/current")]).release == result["release"]
    assert list((tmp_path / "store/staging").iterdir()) == []


def test_a_publisher_that_vanishes_within_a_manifest(tmp_path: Path) -> None:
    pipe = Pipe(tmp_path / "store")
    store_pod.Remote(t.cast("t.Any", pipe)).call("open", holder="me", wait=0)
    pipe.write(b'{"do": "stage", "with": {}, "manifest": 1000}\nsupersonic-release 1\n')
    pipe.close()
    assert pipe.process.returncode == 3
    assert not (tmp_path / "store/lock").exists()
    assert list((tmp_path / "store/manifests").iterdir()) == []


def test_long_texts_travel_in_parts(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "beta/1/größer als £ weights").write_text("x")
    tree = scan([str(source)])
    monkeypatch.setattr(model_store, "BLOCK", 50)
    pipe = Pipe(tmp_path / "store", ("BLOCK = 1 << 17", "BLOCK = 16"))
    remote = store_pod.Remote(t.cast("t.Any", pipe))
    heard: list[bytes] = []
    real = pipe.line_if_any
    monkeypatch.setattr(pipe, "line_if_any", lambda: (heard.append(real()), heard[-1])[1])
    remote.call("open", holder="me", wait=0)
    wanted = list(model_store.wanted(tree.entries, remote.call("missing", manifest=tree.manifest)))
    assert {entry.key for entry in wanted} == {entry.key for entry in tree.entries}
    for entry in wanted:
        remote.send(entry.key, entry.size, tree.places[entry.path])
    remote.call("stage", manifest=tree.manifest)
    assert set(remote.call("missing", manifest=tree.manifest)) == {"0"}
    assert remote.call("manifest", release=tree.release) == tree.manifest
    assert remote.call("manifest", release="0" * 40) is None
    assert max(map(len, heard)) < 200
    remote.call("close")
    pipe.close()


def test_a_store_that_works_for_long_says_so(tmp_path: Path) -> None:
    """While it waits for the lock, for example; the publisher answers, so neither takes the other for dead."""
    other = model_store.Store(str(tmp_path / "store"))
    other.open("somebody")
    pipe = Pipe(tmp_path / "store", ("BEAT_SECONDS = 5.0", "BEAT_SECONDS = 0.1"))
    remote = store_pod.Remote(t.cast("t.Any", pipe))
    heard: list[bytes] = []
    real = pipe.line

    def line() -> bytes:
        heard.append(real())
        return heard[-1]

    pipe.line = line  # type: ignore[method-assign]
    with pytest.raises(SupersonicError, match="Another publisher works on this store: somebody"):
        remote.call("open", holder="me", wait=0.5)
    assert json.loads(heard[0]) == {"beat": True}
    pipe.close()
    other.close()
