"""drgn's program over the guest: memory, types, variables, symbols, stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import drgn
import pytest

from kvmdbg import api
from kvmdbg.core.session import Session
from kvmdbg.debuginfo.linked import load_ranges
from kvmdbg.errors import NotSupportedHere

GUESTS = Path(__file__).resolve().parents[2] / "guests"
pytestmark = pytest.mark.kvm


@pytest.fixture
def kernel() -> Iterator[Session]:
    with api.open(GUESTS / "kernel-O0.elf") as session:
        session.break_at("divide")
        session.run(timeout=30)
        yield session


def test_variables_and_types(kernel: Session) -> None:
    program = kernel.drgn()
    tasks = program["tasks"]
    assert tasks.name.string_() == b"shrink"
    assert tasks.state.format_(type_name=False) == "RUNNING"
    assert tasks.address_of_().value_() == kernel.symbols["tasks"]
    assert tasks.value_() == kernel.evaluate("tasks").value
    assert program.type("struct task").member("runs").bit_field_size == 12
    assert program.symbol(kernel.vcpu.pc).name == "divide"


def test_the_stack_with_its_variables(kernel: Session) -> None:
    program = kernel.drgn()
    registers = program["kvmdbg_registers"]
    assert registers.ip.value_() == kernel.regs.rip
    assert registers.r8.value_() == kernel.regs.r8
    assert registers.flags.value_() == kernel.regs.rflags
    trace = program.stack_trace(registers)
    ours = [one for one in kernel.backtrace().frames if one.how != "inlined"]
    assert [frame.name for frame in trace][: len(ours)] == [one.name for one in ours]
    assert len(trace) <= len(ours) + 1
    assert trace[0]["value"].value_() == 1000
    assert trace[1]["task"].name.string_() == b"shrink"


def test_it_sees_what_the_guest_has_now(kernel: Session) -> None:
    program = kernel.drgn()
    assert program["tasks"].runs.value_() == 1
    kernel.evaluate("tasks->runs = 9")
    assert program["tasks"].runs.value_() == 9
    kernel.step(2)
    assert program["kvmdbg_registers"].ip.value_() == kernel.regs.rip


def test_memory_by_both_addresses(kernel: Session) -> None:
    program = kernel.drgn()
    pc = kernel.vcpu.pc
    assert program.read(pc, 8) == kernel.memory.read(pc, 8) == program.read(kernel.translate(pc).physical, 8, True)
    with pytest.raises(drgn.FaultError, match="not present"):
        program.read(0xFFFF_8000_0000_0000, 1)
    with pytest.raises(drgn.FaultError, match="no memory there"):
        program.read(1 << 40, 1, True)
    with pytest.raises(drgn.FaultError, match="first page"):
        program.read(0, 1)
    assert program.read(0, 1, True) == kernel.physical.read(0, 1)


def test_a_symbol_file_that_was_moved(kernel: Session) -> None:
    kernel.add_symbols(str(GUESTS / "kernel-O2.elf"), 0x1000_0000)
    found = {one.address for one in kernel.drgn().symbols("kernel_main")}
    assert found == {one.address for one in kernel.symbols if one.name == "kernel_main"}
    assert len(found) == 2


def test_a_guest_in_real_mode() -> None:
    with api.open(GUESTS / "boot16.bin", symbols=[(GUESTS / "boot16.elf", 0)]) as session:
        session.break_at("func")
        session.run(timeout=30)
        program = session.drgn()
        assert program.symbol("func").address == session.vcpu.pc
        assert program.read_u16(program.symbol("counter").address) == session.evaluate("*(u16*)&counter").value
        assert program.read(0, 4) == session.memory.read(0, 4)
        with pytest.raises(LookupError):
            program["kvmdbg_registers"]


def test_where_drgn_is_not_installed(kernel: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "drgn", None)
    with pytest.raises(NotSupportedHere, match=r"pip install 'kvmdbg\[drgn\]'"):
        kernel.drgn()


def test_what_files_load() -> None:
    ranges = load_ranges(str(GUESTS / "kernel-O0.elf"))
    assert ranges[0][0] == 0x100000
    assert all(start < end for start, end in ranges)
    assert load_ranges(str(GUESTS / "boot16.bin")) == []
