"""What was recorded of a guest drives one on a scripted vCPU, wherever it was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from kvmdbg.engine.probe import host_profile
from kvmdbg.record import replace
from kvmdbg.timeline.log import Access, Log
from tests.scripted.guest import CODE, PROGRAM, STORE, WATCHED, counting_guest
from tests.scripted.machine import START, ScriptedHost


def recorded(dbg: Session) -> Log:
    """A run with a change of memory and registers in the middle, and a key at the keyboard's port."""
    with dbg.record() as log:
        point = dbg.break_at(STORE)
        dbg.run()
        dbg.breakpoints.discard(point)
        dbg.regs.set("bx", 0x30)
        dbg.physical.write(WATCHED + 1, b"\x77")
        dbg.press("a")
        stop = dbg.run()
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    return log


def accesses(log: Log) -> list[tuple[str, object]]:
    return [(one.what, one.value) for one in log.entries if isinstance(one, Access)]


def plays_it_again(dbg: Session, log: Log) -> None:
    stop = dbg.replay(log)
    assert isinstance(stop, stops.ReplayedStop), stop.describe()
    assert dbg.memory.read(WATCHED, 2) == b"\x32\x77"
    assert dbg.regs.bx == 0x32


def test_a_log_of_a_script_drives_another() -> None:
    with counting_guest() as first:
        log = recorded(first)
    assert accesses(log)[:2] == [("in port 0x64, 1 byte", 0x1C), ("out port 0x80, 1 byte", 0x1C)]
    assert accesses(log)[2] == ("in port 0x64, 1 byte", 0x1D)
    with counting_guest() as second:
        plays_it_again(second, log)


@pytest.mark.parametrize("entry", [0, 1])
def test_a_changed_log_is_told_where_the_guest_does_something_else(entry: int) -> None:
    with counting_guest() as first:
        log = recorded(first)
    known = log.entries[:]
    at = [n for n, one in enumerate(known) if isinstance(one, Access)][entry]
    first_access = known[at]
    assert isinstance(first_access, Access)
    log.entries[at] = replace(first_access, what="in port 0x65, 1 byte")
    with counting_guest() as second:
        stop = second.replay(log)
    assert isinstance(stop, stops.DivergedStop), stop.describe()
    assert stop.wanted.startswith("in port 0x65")
    assert stop.got.startswith(first_access.what)


@pytest.mark.kvm
@pytest.mark.kvm_alone
def test_a_log_of_kvm_drives_a_script(tmp_path: Path) -> None:
    """The same instructions, so that every register is the same at each access."""
    path = tmp_path / "guest.bin"
    path.write_bytes(CODE)
    with kvmdbg.open(path, format="flat", mode="real", load=START, memory=0x10000) as real:
        log = recorded(real)
    with counting_guest(ScriptedHost(host_profile(), PROGRAM)) as scripted:
        plays_it_again(scripted, log)
