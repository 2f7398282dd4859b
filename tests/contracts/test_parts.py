# Copyright (c) 2026, fastml.supersonic contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that runs the parts of `make test`: order, limits, logs, and what it says at the end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from ansible_collections.fastml.supersonic.tests import parts, repeat
from ansible_collections.fastml.supersonic.tests.harness.environment import own_environment
from ansible_collections.fastml.supersonic.tests.harness.processes import until
from ansible_collections.fastml.supersonic.tests.parts import Part, Result, Running

CLONE = parts.CLONE
REPORT = """<testsuites><testsuite>
<testcase classname="a" name="right"/>
<testcase classname="a" name="wrong"><failure message="no"/></testcase>
<testcase classname="a" name="broken"><error message="no"/></testcase>
<testcase classname="a" name="left_out"><skipped message="no browser here"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture(autouse=True)
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(parts, "CLONE", tmp_path)
    monkeypatch.setattr(parts, "OUTPUT", tmp_path / "tests")
    monkeypatch.setattr(parts, "GRACE_S", 0.5)
    monkeypatch.setenv("SUPERSONIC_TEST_RENDERS", "")
    return tmp_path / "tests"


def shell(name: str, script: str, seconds: int = 60, **more: object) -> Part:
    return Part(name, ["bash", "-c", script], seconds, f"about {name}", **more)  # type: ignore[arg-type]


def test_a_part_that_fails_keeps_only_those_from_running_that_need_it(capsys: pytest.CaptureFixture[str]) -> None:
    results = parts.run(
        [
            shell("first", "echo the finding; exit 3"),
            shell("next", "true", after=["first"]),
            shell("dependent", "true", needs=["first"]),
            shell("last", "true", after=["dependent", "absent"]),
        ]
    )
    assert {name: result.outcome for name, result in results.items()} == {
        "first": "FAILED", "next": "ok", "dependent": "not run (first failed)", "last": "ok"
    }  # fmt: skip
    # What failed is shown before the others are done.
    said = capsys.readouterr().out
    assert said.index("the finding") < said.index("about last")


def test_parts_begin_after_those_that_they_follow(output: Path) -> None:
    output.mkdir()
    seen = output / "order"
    parts.run(
        [
            shell("late", f"echo late >> {seen}", after=["early"]),
            shell("early", f"sleep 0.5; echo early >> {seen}"),
        ]
    )
    assert seen.read_text().split() == ["early", "late"]


def test_a_part_that_hangs_is_ended_with_what_it_started(output: Path) -> None:
    script = "trap '' TERM; sleep 600 & echo $! > child; echo it hangs here; wait"
    result = parts.run([shell("hanging", script, seconds=1)])["hanging"]
    assert result.outcome == "TIMEOUT"
    until(lambda: ended(output.parent / "child"))
    assert "it hangs here" in (output / "hanging.log").read_text()


def ended(number: Path) -> bool:
    """Of the process whose number is in a file: whether it has ended, if nobody has asked for its exit code yet."""
    try:
        return ") Z " in Path(f"/proc/{number.read_text().strip()}/stat").read_text()
    except FileNotFoundError:
        return True


def run_of_pytest(folder: Path, text: str, *arguments: str) -> list[str]:
    """The command of a run like those of parts, over one file beside one whose test passes."""
    (folder / "test_first.py").write_text(textwrap.dedent(text))
    (folder / "test_other.py").write_text("def test_other(): pass\n")
    plugin = "ansible_collections.fastml.supersonic.tests.conftest"
    settings = ["-c", str(CLONE / "pytest.ini"), f"--rootdir={folder}", "-p", plugin]
    return [sys.executable, "-m", "pytest", "-q", *settings, *parts.TOGETHER, *arguments, str(folder)]


def test_a_part_that_is_interrupted_says_what_was_running(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is written, and a server in a process group of its own ends too."""
    # Beside builds, which come before nice parts, pytest takes most of a minute to end.
    monkeypatch.setattr(parts, "GRACE_S", 300)
    output.mkdir()
    text = f"""
        import pathlib, subprocess, time
        place = pathlib.Path({str(output)!r})

        def test_passes(): pass

        def test_waits():
            server = subprocess.Popen(["sleep", "600"], start_new_session=True)
            (place / "server.new").write_text(str(server.pid))
            (place / "server.new").rename(place / "server")
            time.sleep(600)
        """
    folder = output / "run"
    folder.mkdir()
    # When the process that is interrupted knows of the test, which it is told by the one that runs it.
    known = f"""
        import pathlib, pytest

        def pytest_configure(config):
            global runs_tests
            runs_tests = hasattr(config, "workerinput")

        @pytest.hookimpl(trylast=True)
        def pytest_runtest_logstart(nodeid):
            if not runs_tests and nodeid.endswith("test_waits"):
                pathlib.Path({str(output / "known")!r}).touch()
        """
    (folder / "conftest.py").write_text(textwrap.dedent(known))
    environment = {"PYTHONPATH": str(CLONE / ".collections")}
    part = Part("slow", run_of_pytest(folder, text, f"--junitxml={output}/slow.xml"), 600, "", environment=environment)
    running = Running(part)
    until(lambda: (output / "server").exists() and (output / "known").exists())
    running.stop()
    until(lambda: ended(output / "server"))
    assert "STILL RUNNING test_first.py::test_waits" in part.log.read_text()
    assert parts.read_report(part.report)[0]["passed"] >= 1


def test_a_test_that_hangs_fails_by_itself(tmp_path: Path) -> None:
    text = """
        import time
        def test_hangs(): time.sleep(600)
        def test_after(): pass
        """
    done = subprocess.run(
        run_of_pytest(tmp_path, text, "--timeout=2"),
        env=own_environment(PYTHONPATH=str(CLONE / ".collections")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"^1 failed, 2 passed", done.stdout, re.M), done.stdout
    assert "def test_hangs(): time.sleep(600)" in done.stdout


def test_tests_are_counted_and_skips_are_named(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output.mkdir()
    report = output / "unit.xml"
    results = parts.run([shell("unit", f"echo '{REPORT}' > {report}; exit 1"), shell("lint", "exit 1")])
    assert results["unit"].counts == {"passed": 1, "failed": 2, "skipped": 1}
    text = parts.summary(results, before_s=0, seconds=61.2)
    assert "a::left_out: no browser here" in text
    # A part without tests that fails counts as one.
    assert text.splitlines()[-1] == "1 passed, 3 failed, 1 skipped in 1 min 1 s"
    assert capsys.readouterr().out


def test_a_report_of_an_earlier_run_does_not_count(output: Path) -> None:
    output.mkdir()
    (output / "unit.xml").write_text(REPORT)
    assert parts.run([shell("unit", "exit 1")])["unit"].counts == {}


def test_a_report_that_was_cut_off_does_not_end_the_run(output: Path) -> None:
    output.mkdir()
    report = output / "unit.xml"
    results = parts.run([shell("unit", f"echo '{REPORT[:80]}' > {report}; exit 1"), shell("lint", "true")])
    assert {name: result.outcome for name, result in results.items()} == {"unit": "FAILED", "lint": "ok"}


def test_a_part_with_random_cases_says_their_seed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is drawn, or the one that was given, by which a run can be repeated."""
    part = shell("random", "echo seed=$SUPERSONIC_SEED; exit 1", environment={"SUPERSONIC_SEED": "random"})
    monkeypatch.delenv("SUPERSONIC_SEED", raising=False)
    parts.run([part])
    drawn, used = re.findall(r"(?:SUPERSONIC_SEED|^seed)=(\d+)", capsys.readouterr().out, re.M)
    assert drawn == used
    monkeypatch.setenv("SUPERSONIC_SEED", "7")
    parts.run([part])
    assert re.findall(r"(?:SUPERSONIC_SEED|^seed)=(\d+)", capsys.readouterr().out, re.M) == ["7", "7"]


def test_time_before_the_first_part_is_told() -> None:
    text = parts.summary({"lint": Result("ok", 12.3)}, before_s=61.0, seconds=73.3)
    assert re.search(r"^Python environment +ok +61$", text, re.M)
    assert re.search(r"^lint +ok +12$", text, re.M)


@pytest.mark.parametrize(
    ("seconds", "before_s", "local_s", "daily", "said"),
    [
        (2701, 0, 600, True, "FAILED: this took longer than the 45 min"),
        (2699, 0, 600, True, ""),
        (1201, 10, 100, True, "WARNING: this took longer than the 20 min"),
        (1201, 30, 100, True, ""),
        (1199, 0, 14, True, ""),
        (9999, 0, 14, False, ""),
    ],
)
def test_the_summary_says_when_make_test_took_too_long(
    seconds: float, before_s: float, local_s: float, daily: bool, said: str
) -> None:
    text = parts.summary({"local": Result("ok", local_s)}, before_s=before_s, seconds=seconds, daily=daily)
    assert said in text
    assert ("this took longer" in text) == bool(said)


@pytest.mark.parametrize(("seconds", "names", "code"), [(2701, ["test"], 1), (2699, ["test"], 0), (2701, ["lint"], 0)])
def test_make_test_fails_when_it_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, output: Path, seconds: int, names: list[str], code: int
) -> None:
    output.mkdir()
    monkeypatch.setattr(parts, "run", lambda _parts: {"lint": Result("ok", 1.0)})
    monkeypatch.setattr(sys, "argv", ["parts.py", "--started", str(int(time.time() - seconds)), *names])
    monkeypatch.setattr(signal, "signal", lambda *_arguments: None)
    assert parts.main() == code


def test_failed_tests_are_named_before_the_output(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output.mkdir()
    name = "tests/unit/test_one.py::test_a[b] - assert 1 == 2"
    script = f"echo '= FAILURES ='; yes 'a long text' | head -c {2 * parts.SHOWN}; echo; echo 'FAILED {name}'; exit 1"
    parts.run([shell("unit", script)])
    before, _separator, _shown = capsys.readouterr().out.partition("---- output of unit")
    assert f"FAILED {name}" in before.splitlines()


def test_runs_are_repeated_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clone whose part fails every second time; logs of the failed run are kept."""
    clone = tmp_path / "clone"
    logs = clone / ".local" / "tests"
    logs.mkdir(parents=True)
    (clone / "tests").mkdir()
    (clone / "tests" / "parts.py").write_text(
        "import pathlib, sys\n"
        f"log = pathlib.Path({str(logs)!r}, 'unit.log')\n"
        "times = len(log.read_text()) if log.exists() else 0\n"
        "log.write_text('x' * (times + 1))\n"
        "print('FAILED a::b' * (times % 2) + '\\n1 passed')\n"
        "sys.exit(times % 2)\n"
    )
    monkeypatch.setattr(repeat, "CLONE", clone)
    monkeypatch.setattr(repeat, "OUTPUT", logs)
    monkeypatch.setattr(repeat, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(sys, "argv", ["repeat.py", "unit", "--runs", "3", "--load", "1"])
    assert repeat.main() == 1
    said = capsys.readouterr().out
    assert re.findall(r"^run (\d): (\w+)", said, re.M) == [("1", "ok"), ("2", "FAILED"), ("3", "ok")]
    assert "FAILED a::b\n" in said
    assert said.endswith("1 of 3 runs failed\n")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["run-2"]


def test_the_nightly_workflow_runs_every_part_once() -> None:
    text = (Path(__file__).resolve().parents[2] / ".github/workflows/thorough.yml").read_text()
    jobs = json.loads(re.search(r"'(\[[^']*\])'\) \}\}", text)[1])  # type: ignore[index]
    names = [name for job in jobs for name in job.split() if name != "local"]
    assert sorted(names) == sorted(["test", *(part.name for part in parts.PARTS if not part.daily)])
    # Each job has a machine of its own.
    needing = {part.name for part in parts.PARTS if "local" in part.needs and not part.daily}
    assert all("local" in job.split() for job in jobs if needing & set(job.split()))


def test_names() -> None:
    assert [part.name for part in parts.chosen(["all"])] == [part.name for part in parts.PARTS]
    daily = [part.name for part in parts.chosen(["test"])]
    assert daily == [part.name for part in parts.PARTS if part.daily]
    assert {"lint", "unit", "contracts", "services", "local", "cluster", "alone"} <= set(daily)
    assert [part.name for part in parts.chosen(["unit", "lint"])] == ["lint", "unit"]
    with pytest.raises(SystemExit, match=r"There is no part nonsense\. The parts are lint, local,"):
        parts.chosen(["nonsense"])


def test_parts_name_parts() -> None:
    names = [part.name for part in parts.PARTS]
    assert len(names) == len(set(names))
    for number, part in enumerate(parts.PARTS):
        # The order of the list is one in which they can run.
        assert set(part.after) | set(part.needs) <= set(names[:number]), part.name
        assert part.seconds <= 6 * 3600, part.name
