"""What the context shows beyond registers and code: pointers and what lies there, arguments at calls, expressions."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from kvmdbg.commands.pointers import CODE, DATA, ON_STACK, chain, kind_of
from kvmdbg.commands.results import Group, Registers, Stack, StopReport, Table
from kvmdbg.commands.views import context
from kvmdbg.ui.render import render
from kvmdbg.ui.style import COLORS
from tests.commands.conftest import Typist

pytestmark = pytest.mark.kvm


@pytest.fixture
def kernel(opened: Callable[..., Typist]) -> Typist:
    typist = opened("kernel-O0.elf")
    typist.type("break divide")
    typist.type("run")
    return typist


def test_kinds_of_memory(kernel: Typist) -> None:
    dbg = kernel.dbg
    session = dbg.session
    assert kind_of(dbg, session.vcpu.pc) == CODE
    assert kind_of(dbg, session.vcpu.stack) == ON_STACK
    assert kind_of(dbg, session.symbols["all"]) == DATA
    assert kind_of(dbg, 0xFFFF_8000_0000_0000) == ""  # not mapped
    assert kind_of(dbg, 5) == ""


def test_a_chain_ends_at_code_a_text_or_a_number(kernel: Typist) -> None:
    dbg = kernel.dbg
    assert chain(dbg, dbg.session.vcpu.pc) == [(CODE, "0x1005ae <divide+0x10>")]
    task = dbg.session.symbols["all"] + 0x28
    assert chain(dbg, task) == [(DATA, f"{task:#x} <all+0x28>"), ("", "'shrink'")]
    found = chain(dbg, dbg.session.regs.rbp)
    assert [role for role, _ in found] == [ON_STACK] * (len(found) - 1) + [""]
    assert found[-1][1] == "0x0"


def test_the_stack_shows_where_its_values_lead(kernel: Typist) -> None:
    (part,) = context(kernel.dbg, ("stack",))
    stack = part.content
    assert isinstance(stack, Stack)
    by_memory = {slot.memory: slot for slot in stack.slots}
    assert by_memory[CODE].label == "<shrink+0x3a>"
    assert by_memory[DATA].leads_to == (("", "'shrink'"),)
    assert by_memory[ON_STACK].leads_to
    shown = stack.to_json()["slots"]
    assert {"memory": "data", "leads_to": ["'shrink'"]}.items() <= shown[4].items()
    assert max(map(len, stack.plain(60).split("\n"))) <= 60
    assert "…" in stack.plain(60)
    assert "…" not in stack.plain(160)
    coloured = render(stack, 100, "dark")
    green, magenta, cyan = (f"\x1b[38;5;{number}m" for number in (114, 183, 80))  # of COLORS["dark"], as 256 colours
    assert COLORS["dark"]["green"] == "#87d787"
    assert f"{green}{by_memory[CODE].value:016x}" in coloured
    assert f"{magenta}{by_memory[ON_STACK].value:016x}" in coloured
    assert f"{cyan}{by_memory[DATA].value:016x}" in coloured


def test_registers_have_the_colour_of_what_they_lead_to(kernel: Typist) -> None:
    (part,) = context(kernel.dbg, ("regs",))
    registers = part.content
    assert isinstance(registers, Registers)
    memory = {one.name: one.memory for one in registers.values}
    assert (memory["rip"], memory["rsp"], memory["rax"], memory["cs"], memory["rflags"]) == (CODE, ON_STACK, "", "", "")


def test_pointers_are_a_part(kernel: Typist) -> None:
    kernel.type("frame 0")
    kernel.type("advance shrink")
    (part,) = context(kernel.dbg, ("pointers",))
    table = part.content
    assert isinstance(table, Table)
    rows = dict(table.rows)
    assert rows["rsp"].startswith(f"{kernel.dbg.session.vcpu.stack:#x} <stack+")
    assert "rflags" not in rows and "rip" not in rows
    assert table.plain(200) == render(table, 200, "")
    kernel.type("set $rsp = 0")
    kernel.type("set $rbp = 0")
    for name in kernel.dbg.session.regs.general():
        if name not in ("rip", "rflags"):
            kernel.type(f"set ${name} = 1")
    assert context(kernel.dbg, ("pointers",)) == ()


def test_expressions_are_a_part_and_not_told_twice(kernel: Typist) -> None:
    kernel.type("contextwatch by")
    (report,) = (one for one in kernel.results("stepi") if isinstance(one, StopReport))
    assert len(report.displays) == 1
    kernel.dbg.settings.set("context", "code,expressions")
    (report,) = (one for one in kernel.results("stepi") if isinstance(one, StopReport))
    assert [part.name for part in report.parts] == ["code", "expressions"]
    assert report.displays == ()
    assert report.parts[1].content.plain() == "1: by = 4"
    kernel.type("contextunwatch 1")
    (report,) = (one for one in kernel.results("stepi") if isinstance(one, StopReport))
    assert [part.name for part in report.parts] == ["code"]


def test_arguments_at_a_call_through_a_pointer(kernel: Typist) -> None:
    kernel.type("tbreak *run_tasks+0x6b")
    kernel.type("delete 1")
    kernel.type("continue")
    assert re.search(r"; rdx=0x[0-9a-f]+ <count>, task=0x[0-9a-f]+ <all\+0x50>", kernel.type("context code"))


def test_arguments_at_a_call_through_memory(kernel: Typist) -> None:
    task = kernel.dbg.session.symbols["all"]
    kernel.dbg.session.memory.write(kernel.dbg.session.vcpu.pc, bytes.fromhex("ff5018"))  # call qword ptr [rax + 0x18]
    kernel.type(f"set $rax = {task}")
    kernel.type(f"set $rdi = {task}")
    assert "task=0x100e60 <all>" in kernel.type("context code")


def test_all_parts_together(kernel: Typist) -> None:
    kernel.dbg.settings.set("context", "all")
    (found,) = kernel.results("context all")
    assert isinstance(found, Group)
    for width in (60, 80, 120, 200):
        assert found.plain(width)


def test_near_pointers_of_real_mode_are_none(opened: Callable[..., Typist]) -> None:
    typist = opened("boot16.bin")
    typist.type("stepi 3")
    (part,) = context(typist.dbg, ("stack",))
    assert isinstance(part.content, Stack)
    assert {slot.memory for slot in part.content.slots} == {""}
    assert not any(slot.leads_to for slot in part.content.slots)
