"""guests/smp.elf starts its other processors from the MP tables: stops, steps and registers of each."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg import Session
from kvmdbg.engine import stops

KERNEL = Path(__file__).resolve().parents[2] / "guests" / "smp.elf"
CPUS = 3
pytestmark = pytest.mark.kvm


@pytest.fixture
def dbg(time_scale: float) -> Iterator[Session]:
    """All of its processors count."""
    with kvmdbg.open(KERNEL, cpus=CPUS, serial="none") as session:
        session.break_at("count", temporary=True, when="counted[0] && counted[1] && counted[2]")
        stop = session.run(timeout=60 * time_scale)
        assert isinstance(stop, stops.BreakpointStop), stop.describe()
        yield session


def counts(dbg: Session) -> list[int]:
    return list(struct.unpack("<3I", dbg.memory.read(dbg.symbols["counted"], 12)))


def test_they_are_found_in_the_tables(dbg: Session) -> None:
    lines = set(dbg.output.decode().splitlines())
    assert lines >= {"processor 1 runs", "processor 2 runs"}


def test_a_breakpoint_in_any_of_them(dbg: Session) -> None:
    dbg.break_at("count")
    seen = set()
    for _ in range(60):
        stop = dbg.run(timeout=20)
        assert isinstance(stop, stops.BreakpointStop)
        seen.add(stop.vcpu)
        assert dbg.vcpus[stop.vcpu].registers.get("rip") == stop.pc
        if len(seen) == CPUS:
            break
    assert seen == set(range(CPUS))


def test_one_steps_and_the_others_stand(dbg: Session) -> None:
    for index in range(CPUS):
        dbg.select(index)
        before, stood = counts(dbg), [view.registers.get("rip") for view in dbg.vcpus]
        for _ in range(40):
            dbg.step()
        after = counts(dbg)
        assert after[index] > before[index]
        others = [other for other in range(CPUS) if other != index]
        assert [after[other] for other in others] == [before[other] for other in others]
        assert [dbg.vcpus[other].registers.get("rip") for other in others] == [stood[other] for other in others]


def test_each_has_a_stack_and_frames_of_its_own(dbg: Session) -> None:
    dbg.break_at("count")
    dbg.run(timeout=20)
    stacks = {view.registers.get("rsp") & ~0xFFF for view in dbg.vcpus}
    assert len(stacks) == CPUS


def test_without_others_there_are_no_tables() -> None:
    with kvmdbg.open(KERNEL, serial="none") as dbg:
        dbg.run(timeout=20)
        assert dbg.output == b"no MP tables\n"


def test_tables_are_there_for_a_boot_sector_too() -> None:
    with kvmdbg.open(KERNEL.with_name("boot16.bin"), cpus=2, serial="none") as dbg:
        assert dbg.physical.read(0x9FD00, 4) == b"_MP_"
