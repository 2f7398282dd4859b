# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Long because it lists all parts.
"""Run the parts of `make test` and `make test-all`, each with a time limit and a log of its own.

    python tests/parts.py test          all parts of `make test`
    python tests/parts.py all           all parts
    python tests/parts.py NAME...       these parts alone, in the order of PARTS
    python tests/parts.py --list        the parts, where they run, their limits and what they test

If a part fails, the others still run, except those that need it. The output of a part that failed is shown at once. At
the end a table says how long each part took, every skipped test is listed with its reason, and the last line counts the
tests. Below .local/tests are the log of each part (NAME.log), its JUnit report (NAME.xml) and the seconds of each file
(durations.json), by which the next run orders files.

A part that runs out of time is interrupted, so that pytest still says which tests were running, and ended with every
process below it. A part that draws other random cases each time says its SUPERSONIC_SEED where it begins; with the same
value in the environment it draws the same.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

CLONE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CLONE / ".collections"))

from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment

OUTPUT = CLONE / ".local" / "tests"
PROGRAMS = CLONE / ".venv" / "bin"
EVIDENCE = CLONE / "tests" / "harness" / "evidence.py"
# Seconds for each signal to end a part that ran out of time.
GRACE_S = 40
# Seconds between two lines about what is running.
HEARTBEAT_S = 120
# Characters of the log of a failed part that are shown.
SHOWN = 30_000
HOUR = 3600
# Seconds that `make test` may take on a machine with two cores: it fails above the first, and warns above the second
# where nothing had to be built, so that making the Python environment and the local cluster took less than the third.
GOAL_S = 45 * 60
WARM_S = 20 * 60
BUILT_S = 120
# The lines of pytest that name a test without a success.
FAILED = re.compile(r"^(?:FAILED|ERROR) \S+\.py\b.*", re.MULTILINE)
# The seed of parts whose random cases are others each time; the same for all parts of a run.
RANDOM_SEED = str(random.SystemRandom().randrange(1 << 32))


@dataclass(frozen=True)
class Part:
    """A command with a time limit.

    command: program and arguments, run in the clone; programs of .venv come first in PATH.
    seconds: the limit.
    about: a line for --list.
    daily: whether it belongs to `make test`.
    after: parts that end before it begins, if they run at all.
    needs: parts without whose success it does not run, if they run at all.
    nice: whether it gives way to other parts.
    environment: values of variables, where the environment has none.
    """

    name: str
    command: Sequence[str]
    seconds: int
    about: str
    daily: bool = True
    after: Sequence[str] = ()
    needs: Sequence[str] = ()
    nice: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return OUTPUT / f"{self.name}.log"

    @property
    def report(self) -> Path:
        return OUTPUT / f"{self.name}.xml"


def pytest(name: str, *arguments: str, hung_s: int) -> list[str]:
    """A run of pytest with a JUnit report and the slowest tests. hung_s: seconds after which a test fails as hung."""
    return ["pytest", "-q", f"--junitxml={OUTPUT / name}.xml", "--durations=30", f"--timeout={hung_s}", *arguments]


# Files stay together, since tests of a file share servers; as many files at a time as keep two cores busy.
FILES = ("--dist", "loadfile", "--no-loadscope-reorder")
TOGETHER = ("-n", "4", *FILES)
DAILY, ALONE = "not alone and not thorough", "alone and not thorough"
ON_CLUSTER = ("tests/cluster",)
FIRST_DEPLOYMENT = "tests/cluster/test_first_deployment.py"

PARTS = (
    Part("lint", ["make", "lint"], 1800, "ruff, mypy, import-linter, ansible-lint, ansible-test sanity, changelog"),
    Part(
        "local",
        ["make", "local-for-tests"],
        3600,
        "the local cluster: programs and images built, the node up, the local instance proved",
    ),
    Part(
        "unit",
        pytest("unit", "-n", "2", *FILES, "tests/unit", hung_s=600),
        1800,
        "logic and messages; no root, no network, no built program",
        nice=True,
    ),
    Part(
        "contracts",
        pytest("contracts", *TOGETHER, "tests/contracts", "tests/golden", hung_s=600),
        1800,
        "rules that all files of the collection have to follow, and manifests of every inventory",
        after=["unit"],
        nice=True,
    ),
    Part(
        "services",
        pytest("services", "-n", "5", *FILES, "-m", "not thorough", "tests/services", hung_s=600),
        1800,
        "modules and playbooks against real Triton, Envoy, Prometheus and collectors on loopback",
        after=["contracts", "local"],
    ),
    # Beside services, which need no cluster: it waits for a second one and its pods most of its time.
    Part(
        "first-deployment",
        pytest("first-deployment", FIRST_DEPLOYMENT, hung_s=1200),
        1800,
        "a first deployment with the autoscaler on a second cluster, where nothing was deployed before",
        after=["contracts"],
        needs=["local"],
    ),
    Part(
        "cluster",
        pytest("cluster", *TOGETHER, "-m", DAILY, *ON_CLUSTER, hung_s=1200),
        2700,
        "modules, roles, playbooks and molecule on the local cluster, several at a time",
        after=["services", "first-deployment"],
        needs=["local"],
    ),
    Part(
        "alone",
        pytest("alone", "-m", ALONE, f"--ignore={FIRST_DEPLOYMENT}", *ON_CLUSTER, hung_s=600),
        1800,
        "what measures or takes the whole machine, one by one: servers and Envoys that are killed under load",
        after=["cluster", "lint"],
        needs=["local"],
    ),
    Part(
        "lint-tests",
        ["python", "tests/sanity/run.py", "tests"],
        1800,
        "ansible-test's pylint over the tests",
        daily=False,
        after=["alone"],
    ),
    Part(
        "ansible-test-units",
        ["python", "tests/integration/run.py", "units"],
        2 * HOUR,
        "ansible-test units, as the collection is tested elsewhere",
        daily=False,
        after=["lint-tests"],
    ),
    Part(
        "ansible-test-integration",
        ["python", "tests/integration/run.py", "integration"],
        1800,
        "ansible-test integration: modules in targets, on the local cluster",
        daily=False,
        after=["ansible-test-units"],
        needs=["local"],
    ),
    Part(
        "mutations",
        ["python", "tests/mutations/run.py"],
        2 * 3600,
        "small changes of the collection, each of which a test has to find",
        daily=False,
        after=["ansible-test-integration"],
    ),
    Part(
        "versions",
        ["python", "tests/versions/run.py"],
        3 * 3600,
        "unit, contracts and services with newer releases of ansible-core, Python and numpy",
        daily=False,
        after=["mutations"],
    ),
    Part(
        "random",
        pytest(
            "random",
            *TOGETHER,
            "-m",
            "random",
            "tests/unit",
            "tests/services",
            hung_s=HOUR,
        ),
        2 * HOUR,
        "killed publishers, and random input for parsers and the gateway, with another seed each time",
        daily=False,
        after=["versions"],
        environment={
            "SUPERSONIC_SEED": "random",
            "SUPERSONIC_FUZZ_CASES": "10",
            "SUPERSONIC_KILLS": "360",
        },
    ),
    Part(
        "thorough-services",
        pytest("thorough-services", "-m", "thorough", "tests/services", hung_s=1200),
        HOUR,
        "the longer tests against real programs, one by one, since some of them measure",
        daily=False,
        after=["random"],
    ),
    Part(
        "events",
        pytest("events", "-s", "tests/cluster/test_zero_loss.py", hung_s=HOUR),
        2 * HOUR,
        "updates, restarts, killed pods and more, three times each, under load",
        daily=False,
        after=["thorough-services"],
        needs=["local"],
        environment={"SUPERSONIC_REPEATS": "3"},
    ),
    Part(
        "thorough-cluster",
        pytest(
            "thorough-cluster", "-m", "thorough", "--deselect=tests/cluster/test_zero_loss.py", *ON_CLUSTER, hung_s=HOUR
        ),
        4 * HOUR,
        "upgrade, life of KEDA, takeover of a chart, a second Kubernetes, all seven sites and more, one by one",
        daily=False,
        after=["events"],
        needs=["local"],
        environment={
            "SUPERSONIC_SEED": "random",
            "SUPERSONIC_PVC_KILLS": "60",
            "SUPERSONIC_OUTAGE": "300",
            "SUPERSONIC_SCALE_DOWNS": "20",
        },
    ),
    # Last, since it leaves the local instance with an autoscaler.
    Part(
        "spoilt",
        ["python", "tests/spoilt.py", f"--junitxml={OUTPUT / 'spoilt'}.xml"],
        HOUR,
        "unit, contracts, services and some of cluster for a person whose settings are all in the way",
        daily=False,
        after=["thorough-cluster"],
        needs=["local"],
    ),
)


@dataclass
class Result:
    """How a part ended. outcome: ok, FAILED, TIMEOUT or not run; counts: tests by outcome."""

    outcome: str
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


class Running:
    """A part that was started, in a process group of its own."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.began = time.monotonic()
        part.report.unlink(missing_ok=True)
        environment = dict(part.environment) | own_environment()
        environment["PATH"] = f"{PROGRAMS}{os.pathsep}{environment['PATH']}"
        self.seed = ""
        if environment.get("SUPERSONIC_SEED") == "random":
            environment["SUPERSONIC_SEED"] = RANDOM_SEED
        if "SUPERSONIC_SEED" in environment:
            self.seed = f", SUPERSONIC_SEED={environment['SUPERSONIC_SEED']}"
        # A shell starts what runs in the background with interrupts ignored, and every process below inherits that.
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with part.log.open("wb") as log:
            self._process = subprocess.Popen(
                part.command,
                cwd=CLONE,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if part.nice:
            # Linux shares the processors between sessions first, and by nice values only within a session (sched(7)).
            with contextlib.suppress(OSError):
                Path(f"/proc/{self._process.pid}/autogroup").write_text("10")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def poll(self) -> Result | None:
        """The result once the part has ended or has run out of time."""
        code = self._process.poll()
        if code is None and self.seconds <= self.part.seconds:
            return None
        outcome = "TIMEOUT" if code is None else "ok" if code == 0 else "FAILED"
        if code is None:
            self.stop()
        seconds = self.seconds
        counts, skipped = read_report(self.part.report)
        return Result(outcome, seconds, counts, skipped)

    def stop(self) -> None:
        """End the part and every process below it, servers of tests with process groups of their own included."""
        below = descendants(self._process.pid)
        # Pytest itself is interrupted, not the processes of pytest-xdist, some of which would not end then.
        interrupt = [signal.SIGINT] if "pytest" in self.part.command[:3] else []
        for number in (*interrupt, signal.SIGTERM, signal.SIGKILL):
            end = os.kill if number == signal.SIGINT else os.killpg
            with contextlib.suppress(ProcessLookupError):
                end(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_S)
                break
        left = processes()
        for pid, (_parent, started) in below.items():
            # A number may belong to another process meanwhile.
            if pid in left and left[pid][1] == started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def processes() -> dict[int, tuple[int, str]]:
    """Parent and start time of every process of this machine, proc_pid_stat(5)."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            found[int(path.parent.name)] = (int(fields[1]), fields[19])
    return found


def descendants(pid: int) -> dict[int, tuple[int, str]]:
    """A process and all below it."""
    everything = processes()
    found = {pid: everything[pid]} if pid in everything else {}
    while more := {child: item for child, item in everything.items() if item[0] in found and child not in found}:
        found |= more
    return found


def read_report(path: Path) -> tuple[dict[str, int], list[str]]:
    """Tests by outcome and a line for each skipped one, of a JUnit report; nothing where there is no whole one."""
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return {}, []
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    skipped = []
    for case in cases:
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
        elif skip is not None:
            counts["skipped"] += 1
            skipped.append(f"{name}: {skip.get('message', '')}")
        else:
            counts["passed"] += 1
    return counts, skipped


def say(text: str) -> None:
    print(text, flush=True)


def show(part: Part, result: Result) -> None:
    """One line for a part that has ended, and its output where it failed."""
    say(f"[{time.strftime('%H:%M:%S')}] {part.name}: {result.outcome} after {result.seconds:.0f} s")
    if result.outcome != "ok":
        text = part.log.read_text(errors="replace")
        begin = text.find("= FAILURES =")
        shown = text[begin:][:SHOWN] if begin >= 0 else text[-SHOWN:]
        if failed := FAILED.findall(text):
            say("\n".join(failed))
        say(f"---- output of {part.name} (whole in {part.log.relative_to(CLONE)})\n{shown}\n---- end of {part.name}")
        if part.name == "local" or "local" in part.needs:
            # Tests keep what they remove; this is what is still there.
            keep = [sys.executable, str(EVIDENCE), f"part-{part.name}"]
            done = subprocess.run(keep, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            say(done.stdout.strip())


def run(parts: Sequence[Part]) -> dict[str, Result]:
    """Run parts, several at a time where their order allows it. Returns their results by name."""
    # Rendered inventories that parts share: tests/harness/renders.py.
    renders = OUTPUT / "renders"
    shutil.rmtree(renders, ignore_errors=True)
    renders.mkdir(parents=True)
    os.environ["SUPERSONIC_TEST_RENDERS"] = str(renders)
    results: dict[str, Result] = {}
    running: dict[str, Running] = {}
    names = {part.name for part in parts}
    told = time.monotonic()
    try:
        while len(results) < len(parts):
            for part in parts:
                if part.name in results or part.name in running:
                    continue
                if any(name in names and name not in results for name in (*part.after, *part.needs)):
                    continue
                failed = [name for name in part.needs if name in results and results[name].outcome != "ok"]
                if failed:
                    results[part.name] = Result(f"not run ({failed[0]} failed)")
                    say(f"[{time.strftime('%H:%M:%S')}] {part.name}: {results[part.name].outcome}")
                    continue
                running[part.name] = started = Running(part)
                say(f"[{time.strftime('%H:%M:%S')}] {part.name}: {part.about}{started.seed}")
            for name, item in list(running.items()):
                result = item.poll()
                if result:
                    results[name] = result
                    del running[name]
                    show(item.part, result)
            if running and time.monotonic() - told > HEARTBEAT_S:
                told = time.monotonic()
                say(", ".join(f"{name} runs for {item.seconds:.0f} s" for name, item in running.items()))
            time.sleep(0.2)
    finally:
        for item in running.values():
            item.stop()
    return results


def summary(results: Mapping[str, Result], before_s: float, seconds: float, *, daily: bool = False) -> str:
    """The table of parts, the skipped tests, and the count of all tests. seconds: of the whole run; daily: whether it
    was `make test`, which may take GOAL_S."""
    lines = ["", f"{'part':<25} {'result':<24} {'seconds':>8} {'passed':>7} {'failed':>7} {'skipped':>8}"]
    if before_s > 0:
        lines.append(f"{'Python environment':<25} {'ok':<24} {before_s:>8.0f}")
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for name, result in results.items():
        numbers = [f"{result.counts[key]}" if result.counts else "" for key in total]
        lines.append(
            f"{name:<25} {result.outcome:<24} {result.seconds:>8.0f} "
            f"{numbers[0]:>7} {numbers[1]:>7} {numbers[2]:>8}".rstrip()
        )
        for key in total:
            total[key] += result.counts.get(key, 0)
        if result.outcome != "ok" and not result.counts.get("failed"):
            total["failed"] += 1
    skipped = [line for result in results.values() for line in result.skipped]
    if skipped:
        lines += ["", f"Skipped tests: {len(skipped)}", *(f"  {line}" for line in skipped)]
    if daily and (late := too_late(results, before_s, seconds)):
        lines += ["", late]
    took = f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    lines += ["", f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped in {took}"]
    return "\n".join(lines)


def too_late(results: Mapping[str, Result], before_s: float, seconds: float) -> str:
    """A sentence where `make test` took longer than it may, else "". Arguments as for summary."""
    if seconds > GOAL_S:
        return f"FAILED: this took longer than the {GOAL_S // 60} min that make test may take with empty caches."
    local_s = results["local"].seconds if "local" in results else 0.0
    if seconds > WARM_S and before_s + local_s < BUILT_S:
        return f"WARNING: this took longer than the {WARM_S // 60} min of make test where nothing has to be built."
    return ""


def chosen(names: Sequence[str]) -> list[Part]:
    """The parts of these names; test and all stand for several. Raises SystemExit for a name that is none."""
    known = {part.name for part in PARTS}
    wrong = [name for name in names if name not in known | {"test", "all"}]
    if wrong:
        raise SystemExit(
            f"There is no part {', '.join(wrong)}. The parts are {', '.join(part.name for part in PARTS)}."
        )
    return [part for part in PARTS if part.name in names or "all" in names or ("test" in names and part.daily)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="test, all, or names of parts")
    parser.add_argument("--list", action="store_true", help="list the parts")
    parser.add_argument("--started", type=int, default=0, help="when make was started, in seconds since 1970")
    options = parser.parse_args()
    if options.list or not options.names:
        say(f"{'part':<25} {'runs in':<14} {'limit':>7}  what it tests")
        for part in PARTS:
            target = "make test" if part.daily else "make test-all"
            needs = f" (needs {', '.join(part.needs)})" if part.needs else ""
            say(f"{part.name:<25} {target:<14} {part.seconds // 60:>3} min  {part.about}{needs}")
        return 0
    if not PROGRAMS.is_dir():
        raise SystemExit("There is no .venv: run make test-part PART=NAME, which makes it.")
    before_s = time.time() - options.started if options.started else 0.0
    # Ended like a part that fails: what runs is stopped before.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    began = time.time()
    results = run(chosen(options.names))
    seconds = before_s + time.time() - began
    daily = options.names == ["test"]
    text = summary(results, before_s, seconds, daily=daily)
    (OUTPUT / "summary.txt").write_text(text + "\n")
    say(text)
    in_time = not daily or seconds <= GOAL_S
    return 0 if in_time and all(result.outcome == "ok" for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
