"""Small parts of the engine that whole guests seldom come by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kvmdbg.engine import post_mortem
from kvmdbg.engine.event_scope import field
from kvmdbg.engine.firmware_calls import VcpuCaller
from kvmdbg.engine.handler_traps import OUT, HandlerTraps
from kvmdbg.engine.inspection import Inspection
from kvmdbg.engine.probe import HLT
from kvmdbg.kvm import exits
from kvmdbg.x86.operands import Access
from tests.scripted.machine import START, ScriptedSession
from tests.x86.cpu import Cpu


def test_bytes_of_an_event_are_a_number_of_eight() -> None:
    event = exits.IoExit("out", 0x10, 1, 10, bytes(range(1, 11)))
    assert field(event, "data") == 0x0807060504030201


@pytest.mark.parametrize(
    ("stepping", "lets_in", "takes"), [(False, False, True), (True, False, False), (True, True, True)]
)
def test_a_service_takes_interrupts_where_a_step_lets_them_in(stepping: bool, lets_in: bool, takes: bool) -> None:
    vcpu = SimpleNamespace(regs=None)
    at: Any = SimpleNamespace(vcpu=vcpu, sregs=SimpleNamespace(cr0=0), stepping=stepping, lets_interrupts_in=lets_in)
    guest: Any = SimpleNamespace(traps=None)
    assert VcpuCaller(at, guest).takes_interrupts is takes


@pytest.mark.parametrize(("left", "read"), [(15, 15), (3, 3), (1, 1)])
def test_code_is_read_as_far_as_there_is_memory(dbg: ScriptedSession, left: int, read: int) -> None:
    end = dbg.guest.machine.memory.size
    assert len(dbg.control.space.code_at(dbg.runner, end - left, 15)) == read


def test_a_breakpoint_that_is_ignored_keeps_nothing_from_another_one_there(dbg: ScriptedSession) -> None:
    first, second = dbg.break_at(START), dbg.break_at(START)
    first.ignore = 1
    found = dbg.guest.judge.ask(dbg.runner, [first, second])
    assert found == (second,) and (first.hits, second.hits, first.ignore) == (1, 1, 0)


@pytest.mark.parametrize(
    ("code", "rax", "switches"),
    [
        ("0f22c0", 0x80000001, True), ("0f22c0", 1, False), ("0f22d8", 0x80000001, False), ("ffff", 0x80000001, False),
        ("90", 0x80000001, False),
    ],
)  # fmt: skip
def test_what_switches_paging_on(code: str, rax: int, switches: bool) -> None:
    state = Cpu("prot", code).set(rax=rax).state
    assert post_mortem._switches_paging_on(state) is switches


@pytest.mark.parametrize(("bits", "first"), [(64, 0x8000 - 40), (32, 0x8000 - 12)])
def test_the_frame_of_an_event_lies_below_the_stack_pointer_behind_iret(bits: int, first: int) -> None:
    width = bits // 8
    frame = (0x1234).to_bytes(width, "little") + (8).to_bytes(width, "little")
    space: Any = SimpleNamespace(read_linear=lambda runner, at, size: frame if at == first else bytes(size))
    runner: Any = SimpleNamespace(
        mode=SimpleNamespace(bits=bits), stack_pointer=0x8000, pc=0x1234, cs_base=0,
        sregs=SimpleNamespace(cs=SimpleNamespace(selector=8)),
    )  # fmt: skip
    for linear, found in ((first, True), (0x8000 - width, True), (first - width, False), (0x8000, False)):
        access = Access(linear, width, True, False, "ss")
        assert Inspection._may_be_behind_iret(space, runner, access) is found


@pytest.mark.parametrize(("past", "vcpus", "trap"), [(False, 1, OUT), (True, 1, None), (False, 2, None)])
def test_where_kvms_chips_swallow_a_hlt_handlers_are_found_by_an_out(past: bool, vcpus: int, trap: int | None) -> None:
    profile = SimpleNamespace(kernel_trap=HLT, out_is_past=past)
    traps: Any = SimpleNamespace(
        _vcpu=SimpleNamespace(plan=SimpleNamespace(trap=None), host=SimpleNamespace(profile=profile)),
        _guest=SimpleNamespace(
            machine=SimpleNamespace(irqchip=True), world=SimpleNamespace(runners=[None] * vcpus)
        ),
    )  # fmt: skip
    assert HandlerTraps.kernel_trap.fget(traps) == trap  # type: ignore[attr-defined]
