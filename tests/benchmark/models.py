# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long publishing takes, against what people would do by hand: `make benchmark-models`.

A folder against `rsync -a`, a claim against `tar | kubectl exec tar`: the first time, without a change, and with one
changed file. Both sides of a ratio are measured in the same run, one after the other, with nothing left to write from
before. Publishing is the module in a process of its own, its start and everything it flushes to the disk included;
rsync leaves the flushing to the kernel, so its time with a flush is told too. The start is that of files which Python
has compiled before. Where Ansible starts a process for a module it packs what the module imports into an archive, which
is compiled anew each time: that comes on top, and so do Ansible's own tasks.

Without a change the start is most of it, and a playbook has none: there the module runs in the process of its task. So
that is measured as well, and has the goal: from the fork of such a process to its end, with what the module imports
loaded before. What Ansible does for any task is not in that. So a whole task of a playbook is measured too, against one
that runs rsync.

Nothing is deleted while it runs: ext4 does not give away inodes that were freed within the last minutes, which makes
new files ten times slower. Wait five minutes between two runs on the same file system.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment

FILES_PER_MODEL = 100
# Of what takes tenths of a second the best of so many times counts: other work only ever adds. They take turns, since
# a machine may be faster for a while.
REPEATS = 15
# Playbooks take seconds.
PLAYBOOK_REPEATS = 3
# Tasks by which one playbook is longer than another one: what they take more is that of so many tasks.
TASKS = 5
CONFIG = 'backend: "python"\nmax_batch_size: 8\n'
MEMORY_LIMIT = 150_000_000
# Name of a ratio, its limit, and whether it has to stay below the limit (or reach it).
GOALS = {
    "path first / rsync -a": (1.3, True),
    "path unchanged in its task / rsync -a unchanged": (1.0, True),
    "claim first throughput / tar | kubectl exec tar": (0.9, False),
    "tar | kubectl exec tar / claim unchanged": (20.0, False),
}
# The module: given its options, imported, ended. Compiled files are used, which an archive of Ansible's has none of.
MODULE = """
import contextlib, io, json, sys, time
sys.path.insert(0, sys.argv[1])
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": json.loads(sys.argv[2])}).encode()
basic._ANSIBLE_PROFILE = "legacy"
from ansible_collections.fastml.supersonic.plugins.modules import model_repository
begin = time.monotonic()
with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
    model_repository.main()
result = {"failed": False, **json.loads(output.getvalue())}
result["seconds"] = time.monotonic() - begin
# Not ru_maxrss: a process inherits that from the one that started it.
status = open("/proc/self/status").read()
result["peak"] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
print(json.dumps(result))
"""
# The module as an action of Ansible's runs it, in a process that is forked for its task.
TASK = """
import json, multiprocessing, sys, time
sys.path.insert(0, sys.argv[1])
from ansible_collections.fastml.supersonic.plugins.modules import model_repository
from ansible_collections.fastml.supersonic.plugins.plugin_utils._direct.module_process import packed, run
given = packed(json.loads(sys.argv[2]))
fork = multiprocessing.get_context("fork")
receiver, sender = fork.Pipe(duplex=False)
begin = time.monotonic()
task = fork.Process(target=lambda: sender.send(run(model_repository, given)["stdout"]))
task.start()
sender.close()
result = {"failed": False, **json.loads(receiver.recv())}
task.join()
result["seconds"] = time.monotonic() - begin
print(json.dumps(result))
"""
# What no module can do without: Python, what Ansible has of its own for modules, and an end.
EMPTY_MODULE = """
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = b'{"ANSIBLE_MODULE_ARGS": {}}'
basic._ANSIBLE_PROFILE = "legacy"
basic.AnsibleModule({}).exit_json()
"""
UNPACK = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall(sys.argv[1])"


def write_source(root: Path, files: int, size: int, large: int, large_size: int) -> int:
    """Models with so many small and large files, all contents different; returns the number of bytes."""
    block = os.urandom(1 << 20)
    number = total = 0

    def write(path: Path, length: int) -> None:
        nonlocal number, total
        number += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for start in range(0, length, len(block)):
                part = number.to_bytes(8, "big") + start.to_bytes(8, "big") + block[16:]
                file.write(part[: length - start])
        total += length

    for index in range(files):
        write(root / f"small{index // FILES_PER_MODEL:03}/1/weights{index:05}.bin", size)
    for index in range(large):
        write(root / f"large{index}/1/weights.bin", large_size)
    for model in root.iterdir():
        (model / "config.pbtxt").write_text(CONFIG)
        (model / "1/model.py").write_text(f"# {model.name}\n")
        # As in ensembles; and what is known of a source is looked at in another way where a folder is empty.
        (model / "1/assets").mkdir()
    return total


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that something takes, when nothing is left to be written from before."""
    os.sync()
    begin = time.monotonic()
    result = action()
    return time.monotonic() - begin, result


def publish(options: dict[str, Any], program: str = MODULE) -> dict[str, Any]:
    """Run the module in a process of its own, or as a task does."""
    command = [sys.executable, "-c", program, str(CLONE / ".collections"), json.dumps(options)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if result["failed"]:
        raise SystemExit(result["msg"])
    return result


def start_nothing() -> None:
    """Run a module that does nothing in a process of its own."""
    subprocess.run([sys.executable, "-c", EMPTY_MODULE], check=True, stdout=subprocess.DEVNULL)


def task_of_playbook(work: Path, module: str, options: dict[str, Any], repeats: int) -> float:
    """Seconds that one more task takes in a playbook, with all that Ansible does for it."""
    environment = own_environment(ANSIBLE_COLLECTIONS_PATH=str(CLONE / ".collections"))
    playbook = work / "playbook.json"

    def run(tasks: int) -> float:
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [{module: options}] * tasks}
        playbook.write_text(json.dumps([play]))
        # As the collection's inventories have it: the Python of Ansible itself.
        given = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
        program = Path(sys.executable).parent / "ansible-playbook"
        command = [str(program), "-i", "localhost,", "-e", given, str(playbook)]
        return timed(lambda: subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL))[0]

    few, many = (min(run(tasks) for _time in range(repeats)) for tasks in (1, 1 + TASKS))
    return (many - few) / TASKS


def change(source: Path) -> int:
    """Another content of the same size for one file; returns its size."""
    file = next(source.glob("small000/1/weights*.bin"))
    info = file.stat()
    with open(file, "r+b") as stream:
        stream.write(os.urandom(min(8, info.st_size)))
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    return info.st_size


def path_part(source: Path, work: Path, repeats: int) -> dict[str, Any]:
    """A store in a folder against rsync -a."""
    copy, flushed, store = work / "rsync", work / "rsync-flushed", work / "store"
    rsync = ["rsync", "-a", f"{source}/", f"{copy}/"]
    options = {"source": [str(source)], "store": {"type": "path", "path": str(store)}}
    found: dict[str, Any] = {}

    found["rsync_first"], _done = timed(lambda: subprocess.run(rsync, check=True))
    found["first"], result = timed(lambda: publish(options))
    found["peak_bytes"] = result["peak"]

    def rsync_and_flush() -> None:
        subprocess.run([*rsync[:-1], f"{flushed}/"], check=True)
        subprocess.run(["sync", "-f", str(flushed)], check=True)

    found["rsync_first_flushed"], _done = timed(rsync_and_flush)
    found |= unchanged(rsync, options, repeats)
    playbooks = min(repeats, PLAYBOOK_REPEATS)
    with_rsync = {"argv": rsync}
    found["rsync_unchanged_playbook"] = task_of_playbook(work, "ansible.builtin.command", with_rsync, playbooks)
    found["unchanged_playbook"] = task_of_playbook(work, "fastml.supersonic.model_repository", options, playbooks)
    # The same size and time: rsync -a does not see it at all.
    size = change(source)
    found["rsync_one_changed"], _done = timed(lambda: subprocess.run(rsync, check=True))
    found["one_changed"], result = timed(lambda: publish(options))
    assert result["sent_bytes"] == size, result
    change(source)
    found["verify_one_changed"], result = timed(lambda: publish({**options, "verify": True}))
    assert result["sent_bytes"] == size, result
    found["peak_bytes"] = max(found["peak_bytes"], result["peak"])
    return found


def unchanged(rsync: Sequence[str], options: dict[str, Any], repeats: int) -> dict[str, float]:
    """Everything that is there already, once more."""
    times: dict[str, list[float]] = defaultdict(list)
    for _time in range(repeats):
        took, _done = timed(lambda: subprocess.run(rsync, check=True))
        times["rsync_unchanged"].append(took)
        took, by_itself = timed(lambda: publish(options))
        times["unchanged"].append(took)
        # Without the start of Python and the import of the module.
        times["unchanged_work"].append(by_itself["seconds"])
        _took, in_task = timed(lambda: publish(options, TASK))
        times["unchanged_in_task"].append(in_task["seconds"])
        took, _done = timed(start_nothing)
        times["empty_module"].append(took)
        assert not by_itself["changed"]
        assert not in_task["changed"]
    return {name: min(seconds) for name, seconds in times.items()}


def claim_part(source: Path, kubeconfig: str, kubectl: str, size: int) -> dict[str, Any]:
    """A store on a claim against a stream of tar into a pod that mounts the same volume."""
    from ansible_collections.fastml.supersonic.tests.harness.kubernetes import IMAGE, Cluster, claim, container
    from ansible_collections.fastml.supersonic.tests.harness.processes import until

    cluster = Cluster(kubeconfig)
    namespace = cluster.new_namespace()
    try:
        storage = {"resources": {"requests": {"storage": str(3 * size + (1 << 30))}}}
        cluster.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim("models", **storage))
        pods = f"/api/v1/namespaces/{namespace}/pods"
        spec = {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
            "containers": [container(volumeMounts=[{"name": "store", "mountPath": "/store"}])],
            "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "models"}}],
        }
        cluster.create(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tar"}, "spec": spec})
        until(lambda: cluster.there(f"{pods}/tar")["status"].get("phase") == "Running", 120)
        into = [kubectl, f"--kubeconfig={kubeconfig}", "-n", namespace, "exec", "-i", "tar", "--"]
        tar_there = subprocess.run([*into, "tar", "--version"], capture_output=True, check=False).returncode == 0
        unpack = ["tar", "-C", "/store/tar", "-xf", "-"] if tar_there else ["python3", "-c", UNPACK, "/store/tar"]
        subprocess.run([*into, "mkdir", "-p", "/store/tar"], check=True, stdin=subprocess.DEVNULL)

        def stream() -> None:
            with subprocess.Popen(["tar", "-C", str(source), "-cf", "-", "."], stdout=subprocess.PIPE) as tar:
                subprocess.run([*into, *unpack], stdin=tar.stdout, check=True)

        options = {
            "source": [str(source)],
            "store": {"type": "pvc", "namespace": namespace, "claim": "models"},
            "pod": {"image": IMAGE},
            "kubeconfig": kubeconfig,
        }
        found: dict[str, Any] = {"tar_is": unpack[0]}
        # Nothing that another part has read is known.
        os.environ["XDG_CACHE_HOME"] += "-of-claim"
        found["tar_first"], _done = timed(stream)
        found["first"], result = timed(lambda: publish(options))
        found["peak_bytes"] = result["peak"]
        found["unchanged"], result = timed(lambda: publish(options))
        assert not result["changed"]
        size = change(source)
        found["one_changed"], result = timed(lambda: publish(options))
        assert result["sent_bytes"] == size, result
        return found
    finally:
        cluster.cleanup()


def report(results: dict[str, Any]) -> list[str]:
    """The figures as lines; what misses its goal is noted in the results."""
    path, claim = results["path"], results.get("claim")
    ratios = {
        "path first / rsync -a": path["first"] / path["rsync_first"],
        "path first / rsync -a and flush": path["first"] / path["rsync_first_flushed"],
        "path unchanged in its task / rsync -a unchanged": path["unchanged_in_task"] / path["rsync_unchanged"],
        "the same as tasks of a playbook": path["unchanged_playbook"] / path["rsync_unchanged_playbook"],
        "path unchanged / rsync -a unchanged": path["unchanged"] / path["rsync_unchanged"],
        "an empty module / rsync -a unchanged": path["empty_module"] / path["rsync_unchanged"],
        "its work alone / rsync -a unchanged": path["unchanged_work"] / path["rsync_unchanged"],
    }
    peak = path["peak_bytes"]
    lines = [f"{results['bytes'] / 1e6:.0f} MB in {results['files']} files"]
    if claim:
        lines.append(f"what unpacks the stream of tar in the pod: {claim['tar_is']}")
        ratios["claim first throughput / tar | kubectl exec tar"] = claim["tar_first"] / claim["first"]
        ratios["tar | kubectl exec tar / claim unchanged"] = claim["tar_first"] / claim["unchanged"]
        peak = max(peak, claim["peak_bytes"])
    results["ratios"] = ratios
    results["missed"] = []
    for name, part in (("path", path), ("claim", claim)):
        lines += [
            f"{name:6} {key:25} {value:9.3f} s" for key, value in (part or {}).items() if isinstance(value, float)
        ]
    for name, ratio in ratios.items():
        goal = ""
        if name in GOALS:
            limit, below = GOALS[name]
            met = ratio <= limit if below else ratio >= limit
            results["missed"] += [] if met else [name]
            goal = f"(goal {'at most' if below else 'at least'} {limit}: {'met' if met else 'MISSED'})"
        lines.append(f"{name:48} {ratio:6.2f} {goal}".rstrip())
    met = peak < MEMORY_LIMIT
    results["missed"] += [] if met else ["peak memory"]
    state = "met" if met else "MISSED"
    limit = MEMORY_LIMIT / 1e6
    lines.append(f"peak memory of the module {peak / 1e6:.0f} MB (goal below {limit:.0f}: {state})")
    return lines


@contextlib.contextmanager
def workplace(directory: str | None) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="benchmark-models-", dir=directory) as folder:
        before = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        try:
            yield Path(folder)
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000, help="number of small files (10000)")
    parser.add_argument("--size", type=int, default=100_000, help="their size in bytes (100000)")
    parser.add_argument("--large", type=int, default=4, help="number of large files (4)")
    parser.add_argument("--large-size", type=int, default=1_000_000_000, help="their size in bytes (1000000000)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"runs without a change ({REPEATS})")
    parser.add_argument("--directory", help="where to work; needs four times the size of all files")
    parser.add_argument("--kubeconfig", help="also measure a claim on this cluster")
    parser.add_argument("--kubectl", default="kubectl", help="the program to compare with (kubectl)")
    parser.add_argument("--settle", type=float, default=62.0, help="seconds between writing the files and reading them")
    parser.add_argument("--output", help="write the figures to this file as JSON")
    options = parser.parse_args(arguments)
    with workplace(options.directory) as work:
        source = work / "source"
        size = write_source(source, options.files, options.size, options.large, options.large_size)
        # As in real life the source was not written a moment ago: what is younger than a minute is not remembered.
        time.sleep(options.settle)
        results: dict[str, Any] = {"bytes": size, "files": options.files + options.large}
        results["path"] = path_part(source, work, options.repeats)
        if options.kubeconfig:
            results["claim"] = claim_part(source, options.kubeconfig, options.kubectl, size)
    print("\n".join(report(results)))
    if options.output:
        Path(options.output).write_text(json.dumps(results, indent=2) + "\n")
    return results


if __name__ == "__main__":
    missed = main()["missed"]
    raise SystemExit(f"Missed goals: {', '.join(missed)}." if missed else 0)
