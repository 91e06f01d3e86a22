"""``kvmdbg lockstep`` on scripted vCPUs."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest

from kvmdbg import cli
from kvmdbg.core.session import Session
from kvmdbg.errors import UsageError
from kvmdbg.lockstep import command
from tests.scripted.cpu import ScriptedCpu
from tests.scripted.guest import CODE, PROGRAM, READ, SYMBOLS
from tests.scripted.machine import ScriptedHost, ScriptedSession, profile


def wrong(cpu: ScriptedCpu) -> None:
    cpu.regs.rbx += 2


PROGRAMS = {"kvm": PROGRAM, "soft": PROGRAM, "wrong": {**PROGRAM, READ + 2: (3, wrong)}}


def opened(options: argparse.Namespace) -> Session:
    if options.engine not in PROGRAMS:
        raise UsageError(f"there is no engine {options.engine!r}")
    assert options.serial == "none"
    return ScriptedSession(CODE, host=ScriptedHost(profile(), PROGRAMS[options.engine]), symbols=SYMBOLS)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(cli, "open_session", opened)
    return cli.main(["lockstep", *words])


def test_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "guest.bin") == 0
    assert capsys.readouterr().out.startswith("kvm and soft do the same: 23 instructions, then halted")
    assert run(monkeypatch, "guest.bin", "--engines", "kvm,kvm", "--count", "5") == 0
    assert capsys.readouterr().out == "kvm 1 and kvm 2 do the same: 5 instructions, as many as were asked for\n"


def test_a_difference(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--engines", "kvm,wrong", "--every", "2", "guest.bin") == 1
    said = capsys.readouterr().out
    assert said.startswith("kvm and wrong differ after 3 instructions alike, at 0x1010 <read+0x2>: lea bx, [bx + 1]\n")
    assert run(monkeypatch, "--json", "--engines", "kvm,wrong", "guest.bin") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["same"], found["instructions"]) == (False, 3)
    assert found["differences"] == [{"what": "register rbx", "first": "0x1", "second": "0x2"}]
    assert [one["address"] for one in found["before"]] == [0x1000, 0x1003, READ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engines", "kvm,none", "guest.bin"], "there is no engine 'none'"),
        (["--engines", "kvm", "guest.bin"], "--engines wants two back ends, as in kvm,soft, not 'kvm'"),
        (["--every", "0", "guest.bin"], "--every wants a number of instructions from 1 on"),
        (["--count", "0", "guest.bin"], "--count wants a number of instructions from 1 on"),
        (["--count", "-5", "guest.bin"], "--count wants a number of instructions from 1 on"),
        (["--engine", "soft", "guest.bin"], "lockstep takes no --engine: --engines FIRST,SECOND names its two"),
        (["guest.bin", "--run"], "lockstep runs no session: it takes no -x, -ex or --run"),
        (["--gdb", "1234", "guest.bin"], "lockstep runs no session: it takes no --gdb"),
        (["--serial", "file:out", "guest.bin"], "lockstep runs no session: it takes no --serial"),
        (["guest.bin", "other.bin"], "'other.bin' is one word too many: lockstep runs one image"),
        ([], "which guest? give its image"),
        (["--count", "x", "guest.bin"], "'x' is no number such as 4096 or 0x1000"),
    ],
)
def test_mistakes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run(monkeypatch, *words) == 2
    assert said in capsys.readouterr().err


def test_mistake_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--json", "--engines", "kvm,none", "guest.bin") == 2
    assert json.loads(capsys.readouterr().out) == {"type": "error", "text": "there is no engine 'none'"}


def test_an_image_that_is_called_lockstep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.is_meant(["lockstep"])
    (tmp_path / "lockstep").write_bytes(b"\xf4")
    assert not command.is_meant(["lockstep"]) and command.is_meant(["lockstep", os.devnull])
    assert not command.is_meant(["guest.bin", "lockstep"])
