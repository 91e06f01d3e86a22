"""How the tests are shared out, followed and reported, without a machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import run as test_command
from tests.machines import anywhere, boot, kvm_amd, results, shares
from tests.machines.results import MARK

SMALL = "tests/machines/test_machines_cli.py"


def test_shares_take_about_as_long_as_each_other() -> None:
    files = {"a": 1, "b": 1, "c": 100, "d": 4}
    durations = {"a": 50.0, "b": 30.0, "c": 24.0}
    assert shares.share_out(files, durations, 2) == [["a", "d"], ["b", "c"]]
    assert shares.share_out({"a": 3, "b": 2}, {}, 5) == [["a"], ["b"]]


def test_durations_are_kept_of_files_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "DURATIONS", tmp_path / "durations.json")
    shares.keep_durations({SMALL: 1260, "tests/test_that_is_gone.py": 2000, "": 50})
    shares.keep_durations({"tests/run.py": 3000})
    assert shares.measured_durations() == {SMALL: 1.3, "tests/run.py": 3}


def test_only_chosen_tests_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = "tests/core/test_snapshots_kvm.py", "tests/devices/test_pc_kvm.py"
    found, status, asked = f"{one}::test_a\n{two}::test_b[x::y]\n{two}::test_c\n\n3 tests collected\n", 0, []

    def collect(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, status, found, "")

    monkeypatch.setattr(subprocess, "run", collect)
    commands = shares.kvm_tests_commands("kvm", 2, [f"{one}::test_a", two, "--timeout=7"])
    assert asked[0][-4:] == ["--collect-only", f"{one}::test_a", two, "--timeout=7"]
    for command in commands:
        assert command[1:5] == ["-m", "pytest", "-m", "kvm"]
        assert "--timeout=7" in command
    assert {command[-1] for command in commands} == {f"{one}::test_a", two}
    found, status = "no tests collected\n", shares.NO_TESTS
    assert shares.kvm_tests_commands("kvm", 2, [one]) == []
    found, status = "ERROR: unrecognized arguments\n", 4
    with pytest.raises(boot.MachineError, match="could not collect the tests marked kvm:\nERROR"):
        shares.kvm_tests_commands("kvm", 2, ["--no-such-option"])


def test_without_kvm_the_marked_tests_run_on_machines_and_the_software_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = "tests/core/test_snapshots_kvm.py", "tests/devices/test_pc_kvm.py"
    done = subprocess.CompletedProcess([], 0, f"{one}::test_a\n{two}::test_b\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    *machines, here, soft = test_command.without_kvm(["-n", "2", "-m", "not slow", one, "tests/devices"])
    marks = "kvm and not e2e and (kvm_alone or vcpu) and (not slow)"
    assert [(start, run.name, run.command[3:5]) for start, run in machines] == [
        (kvm_amd.start, "kvm_amd 1", ["-m", marks]),
        (kvm_amd.start, "kvm_amd 2", ["-m", marks]),
    ]
    assert {run.command[-1] for _, run in machines} == {one, two}
    assert machines[0][1].durations is not machines[1][1].durations
    assert here[0] is soft[0] is shares.here
    same = ["-m", "pytest", "-n", "2", "--kvm-report=-", one, "tests/devices", "-m"]
    assert here[1].command[1:] == [*same, "not kvm and (not slow)"]
    assert soft[1].command[:2] == ["env", "KVMDBG_ENGINE=soft"]
    assert soft[1].command[3:] == [*same, "kvm and not kvm_alone and (not slow)"]


def test_shares_run_at_the_same_time_and_the_worst_status_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shares, "TELL", 0.2)

    def start(run: boot.Run) -> int:
        run.progress, run.failed = "3 of 4 tests", ["test_some"]
        time.sleep(float(run.command[0]))
        print("no newline", end="", file=run.out)
        return int(run.command[1])

    def of(name: str, seconds: float, status: int) -> shares.Share:
        return start, boot.Run([str(seconds), str(status)], 10, name=name)

    assert shares.side_by_side([of("one", 0, shares.NO_TESTS), of("two", 1, 1), of("three", 0.5, 0)]) == 1
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if "status" in line] == [
        "== one: status 5",
        "== three: status 0",
        "== two: status 1",
    ]
    assert said.startswith("== one\nno newline\n== one")
    assert "s  two: 3 of 4 tests\n        FAILED test_some\n   0 s  three: 3 of 4 tests\n" in said
    assert said.count("FAILED test_some") == 1
    assert shares.side_by_side([of("one", 0, shares.NO_TESTS), of("two", 0, 0)]) == 0
    assert shares.side_by_side([of("one", 0, shares.NO_TESTS)]) == shares.NO_TESTS


def test_a_share_here_tells_how_far_it_is_and_what_it_gave(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text("def test_one(): pass\ndef test_other(): assert False, 'on purpose'\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(boot.CHECKOUT)]
    command += ["-c", str(boot.CHECKOUT / "pyproject.toml"), "-p", "tests.conftest", "--kvm-report=-"]
    run = boot.Run([*command, str(tmp_path / "test_two.py")], 50, name="here")
    assert shares.side_by_side([(shares.here, run)]) == 1
    assert run.progress == "2 of 2 tests, at ::test_other"
    assert run.failed == ["::test_other"]
    assert set(run.durations) <= {"", "test_two.py"}
    assert run.result and results.Result.from_json(run.result).passed == 1
    said = run.out.getvalue()  # type: ignore[attr-defined]
    assert "on purpose" in said
    assert MARK not in said


def test_a_share_here_is_ended_when_its_time_is_up() -> None:
    run = boot.Run(["sleep", "100"], 0.5, name="here")
    assert shares.side_by_side([(shares.here, run)]) == boot.NO_END


def test_a_machine_that_ends_early_does_not_end_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: boot.Run) -> int:
        raise boot.MachineError("no kernel")

    right = (shares.here, boot.Run(["echo", "all", "right"], 20, name="here"))
    assert shares.side_by_side([(broken, boot.Run([], 1, name="kvm_amd")), right]) == boot.NO_MACHINE
    said = capsys.readouterr().out
    assert "== kvm_amd\nno kernel\n" in said
    assert "all right" in said


def test_the_reports_of_all_machines_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "DURATIONS", tmp_path / "durations.json")
    monkeypatch.setattr(shares, "kvm_tests_commands", lambda tests, machines, only: [[SMALL], only])

    def start(run: boot.Run) -> int:
        run.result = results.Result("2026-01-02", "kvm_amd", "6.1", "kvm_amd", 2, 1, 1, {"slow": 1}).to_json()
        run.durations[run.command[0]] = 2000
        return run.command == [SMALL]

    before = signal.getsignal(signal.SIGTERM)
    report = tmp_path / "results.jsonl"
    try:
        assert (
            boot.main("kvm_amd", start, boot.Run([], 1, only=["tests/run.py"], report=report, keep_durations=True)) == 1
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert shares.measured_durations() == {SMALL: 2.0, "tests/run.py": 2.0}
    (both,) = results.read(report)
    assert (both.passed, both.failed, both.skipped, both.skips) == (4, 2, 2, {"slow": 2})


@pytest.mark.parametrize("reason", ["", "/dev/kvm makes no VM"])
def test_a_command_runs_here_or_on_the_machine(
    reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(anywhere, "why_unusable", lambda: reason)
    asked: list[list[str]] = []

    def machine(arguments: list[str]) -> int:
        asked.append(arguments)
        return 3

    monkeypatch.setattr(kvm_amd, "main", machine)
    status = anywhere.main(["sh", "-c", "exit 3"])
    assert status == 3
    assert asked == ([["--", "sh", "-c", "exit 3"]] if reason else [])
    assert capsys.readouterr().err.count(reason or "kvm_amd") == bool(reason)
