"""What both benches share, and that each has both sides and an end."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any

import pytest

from tests.bench import gdb
from tests.bench.effort import FULL, QUICK, Effort, compare, parse


def test_quick_counts_are_small_and_never_none() -> None:
    assert FULL.count(300) == 300
    assert QUICK.count(300) == 15
    assert QUICK.count(1) == 1
    assert FULL.judged and not QUICK.judged


def test_all_benches_run_unless_some_are_named() -> None:
    assert parse("bench", None, ["one", "two"], []) == (["one", "two"], FULL)
    assert parse("bench", None, ["one", "two"], ["--quick", "two"]) == (["two"], QUICK)


def test_a_bench_that_is_unknown_is_told_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("bench", None, ["one", "two"], ["three"])
    assert ended.value.code == 2
    assert "no bench 'three'; there are: one, two" in capsys.readouterr().err


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    rounds = iter([(10.0, 10.0), (30.0, 10.0), (20.0, 10.0)])
    assert compare("some", Effort(3, 1, 10, True), lambda: next(rounds)) == (20.0, 10.0, 2.0)


@pytest.mark.parametrize(("ours", "ratio"), [(0.0, 1.0), (0.4, float("inf"))])
def test_the_ratio_where_the_peer_has_none_at_all(ours: float, ratio: float) -> None:
    assert compare("late", Effort(3, 1, 10, True), lambda: (ours, 0.0)) == (ours, 0.0, ratio)


def test_a_bench_that_does_not_end_is_named() -> None:
    def sides() -> tuple[float, float]:
        time.sleep(50)
        return 1.0, 1.0

    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError, match="the bench slow did not end within 1 s"):
        compare("slow", Effort(1, 1, 1, True), sides)
    assert signal.getsignal(signal.SIGALRM) is before


def test_the_firmware_for_qemu_jumps_to_the_boot_sector_from_the_reset_vector() -> None:
    assert len(gdb.FIRMWARE) == 0x10000
    assert gdb.FIRMWARE[0xFFF0:0xFFF5] == b"\xea" + (gdb.ENTRY).to_bytes(2, "little") + b"\0\0"


def test_a_stub_that_does_not_listen_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(*args, **options))
        return started[-1]

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(OSError, match="nobody listens"):
        gdb.Side(["sleep", "100"], gdb.free_port())
    assert started[0].wait(5) < 0
