"""Ways to die, each with its cause named. The guests are a few instructions of assembly; real KVMs run them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.engine import post_mortem, replay, stops
from kvmdbg.engine.replay import Trail
from kvmdbg.errors import KvmIoctlError
from kvmdbg.kvm import Vcpu, abi
from kvmdbg.observe.autopsy import explain
from kvmdbg.pytest_plugin import Guests
from kvmdbg.x86.entry_checks import violations
from kvmdbg.x86.faults import State

pytestmark = pytest.mark.kvm

LONG_IDT = """
    .macro gate vector, handler, type=0x8e
        lea rax, [rip + \\handler]
        lea rdi, [rip + idt + \\vector * 16]
        mov [rdi], ax
        mov word ptr [rdi + 2], cs
        mov word ptr [rdi + 4], \\type << 8
        shr rax, 16
        mov [rdi + 6], ax
    .endm
"""
TABLE = """
    .balign 16
idt: .skip 32 * 16
idtr: .word 32 * 16 - 1
    .quad idt
"""

VALUES = 0x0E41, 2, 3, 4
DEATHS: dict[str, tuple[str, str, str, str]] = {
    "a page that is not there, and no IDT": (
        "long",
        "mov rax, 0x7fffdead0000\nbad: mov byte ptr [rax], 1\nhlt",
        r"mov byte ptr \[rax\], 1 at {bad}: #PF, writing to 0x7fffdead0000: PML4E\[255\] 0x0 -> the PML4E at .* is not "
        r"present .*; not handled, as gate 14 of the IDT is beyond its limit",
        "double fault",
    ),
    "an undefined instruction and no IDT": (
        "prot",
        "nop\nbad: ud2",
        r"ud2 at {bad}: #UD, ud2 always raises it; not handled, as gate 6 of the IDT is beyond its limit: base 0x0",
        "#GP in its place",
    ),
    "a division by zero": (
        "prot",
        "xor ecx, ecx\nbad: div ecx",
        r"div ecx at {bad}: #DE, div by zero; not handled, as gate 0 of the IDT is beyond its limit",
        "triple fault",
    ),
    "a bad selector": (
        "prot",
        "mov eax, 0x1234\nbad: mov ds, ax",
        r"mov ds, eax at {bad}: #GP, loading DS with 0x1234: it is one of an LDT, and LDTR holds none; not handled",
        "triple fault",
    ),
    "code loaded as a stack": (
        "prot",
        "mov eax, cs\nbad: mov ss, ax",
        r"mov ss, eax at {bad}: #GP, loading SS with 0x8: its descriptor is 32-bit code, execute/read, DPL 0; not ",
        "triple fault",
    ),
    "an address that is not canonical": (
        "long",
        "mov rax, 0x8000000000000000\nbad: mov rbx, [rax]",
        r"mov rbx, qword ptr \[rax\] at {bad}: #GP, the address 0x8000000000000000 is not canonical; not handled",
        "triple fault",
    ),
    "a stack that is not mapped": (
        "long",
        "mov rsp, 0x7fff00000000\nbad: push rax",
        r"push rax at {bad}: #PF, writing to 0x7ffefffffff8: .* not present .*; not handled",
        "triple fault",
    ),
    "a jump to nowhere": (
        "long",
        "mov rax, 0x7fff00001000\njmp rax",
        r"the instruction at 0x7fff00001000: #PF, fetching the instruction at 0x7fff00001000: PML4E.* not present",
        "triple fault",
    ),
    "an empty gate": (
        "long",
        "lidt [rip + idtr]\nbad: ud2\n" + TABLE,
        r"ud2 at {bad}: #UD, ud2 always raises it; not handled, as gate 6 of the IDT \(at {idt}\+0x60: 0x0\) is empty",
        "#GP could not be delivered: gate 13 of the IDT",
    ),
    "a gate that is not present": (
        "long",
        LONG_IDT + "gate 6, handler, 0x0e\nlidt [rip + idtr]\nbad: ud2\nhandler: hlt\n" + TABLE,
        r"ud2 at {bad}: #UD, .*; not handled, as gate 6 of the IDT \(at .*\) is not present",
        "#NP in its place",
    ),
    "a gate of the wrong type": (
        "long",
        LONG_IDT + "gate 6, handler, 0x85\nlidt [rip + idtr]\nbad: ud2\nhandler: hlt\n" + TABLE,
        r"not handled, as gate 6 of the IDT \(at .*\) is malformed: type 0x5 is task gate",
        "#GP in its place",
    ),
    "a gate to a data segment": (
        "long",
        LONG_IDT
        + "gate 6, handler\nmov word ptr [rip + idt + 6 * 16 + 2], ss\nlidt [rip + idtr]\nbad: ud2\nhandler: hlt\n"
        + TABLE,
        r"not handled, as gate 6 of the IDT leads to 0x10:{handler}: that is no code segment but data, read/write",
        "triple fault",
    ),
    "a gate beyond the GDT": (
        "long",
        LONG_IDT + "gate 6, handler\nmov word ptr [rip + idt + 6 * 16 + 2], 0x88\nlidt [rip + idtr]\nbad: ud2\n"
        "handler: hlt\n" + TABLE,
        r"not handled, as gate 6 of the IDT leads to 0x88:{handler}: it is beyond the GDT's limit",
        "triple fault",
    ),
    "a handler whose stack is bad": (
        "long",
        LONG_IDT + "gate 6, handler\ngate 8, handler\ngate 14, handler\nlidt [rip + idtr]\nmov rsp, 0x7fff00000000\n"
        "bad: ud2\nhandler: hlt\n" + TABLE,
        r"not handled, as the stack for gate 6 of the IDT, RSP 0x7fff00000000, cannot be written: writing to 0x7ffe",
        "#DF could not be delivered: the stack for gate 8",
    ),
    "an IDT that is not mapped": (
        "long",
        "lidt [rip + idtr]\nbad: ud2\nidtr: .word 0xfff\n.quad 0x7fff00000000",
        r"not handled, as gate 6 of the IDT lies at 0x7fff00000060, which is not mapped: reading 0x7fff00000060: PML4E",
        "triple fault",
    ),
    "SSE that is switched off": (
        "long",
        "mov rax, cr4\nand eax, ~0x200\nmov cr4, rax\nlidt [rip + idtr]\nbad: xorps xmm0, xmm0\nidtr: .word 0\n.quad 0",
        r"xorps xmm0, xmm0 at {bad}: #UD, xorps is SSE, and CR4.OSFXSR is clear",
        "triple fault",
    ),
    "an interrupt table in real mode that is too short": (
        "real",
        "lidt [idtr]\nbad: ud2\nidtr: .word 3\n.long 0",
        r"ud2 at {bad}: #UD, .*; not handled, as entry 6 of the interrupt table is beyond its limit: base 0x0, ",
        "#GP in its place",
    ),
    "a selector that returns nowhere": (
        "prot",
        "push 0x202\npush 0x60\npush 0x1000\nbad: iretd",
        r"iretd at {bad}: #GP, loading CS with 0x60: it is beyond the GDT's limit, .*; not handled",
        "triple fault",
    ),
}


def places(pattern: str, dbg: Session) -> str:
    return re.sub(r"\{(\w+)\}(\\\+0x60)?", lambda m: f"{dbg.symbols[m[1]] + (0x60 if m[2] else 0):#x}", pattern)


@pytest.mark.parametrize("name", DEATHS)
def test_the_cause_is_named(kvm_guest: Guests, name: str) -> None:
    mode, source, cause, account = DEATHS[name]
    dbg = kvm_guest(asm=source, mode=mode, firmware="none")
    stop = dbg.run(timeout=20)
    if isinstance(stop, stops.ShutdownStop):
        assert stop.autopsy is not None
        found = stop.autopsy.cause, stop.autopsy.account
        assert stop.autopsy.instructions[-1][0] == stop.pc
    else:  # this KVM does not check what a CPU does, or cannot run it: what is said of the state before is right still
        assert isinstance(stop, (stops.HaltedStop, stops.EmulationFailureStop)), stop.describe()
        found = explained_before(kvm_guest(asm=source, mode=mode, firmware="none"))
    cause_found, account_found = found
    assert re.search(places(cause, dbg), cause_found), cause_found
    assert account in "\n".join(account_found), account_found
    assert account_found[-1] == "A double fault that cannot be delivered is a triple fault: the CPU shut down."
    assert "bad" not in dbg.symbols or stop.pc == dbg.symbols["bad"] or not isinstance(stop, stops.ShutdownStop)


def explained_before(dbg: Session) -> tuple[str, tuple[str, ...]]:
    """What is said of the state right before the fatal instruction."""
    dbg.break_at("bad")
    assert isinstance(dbg.run(timeout=20), stops.BreakpointStop)
    runner = dbg.runner
    return explain(State(runner.vcpu.regs, runner.sregs, dbg.physical.read))


@pytest.mark.parametrize(("mode", "wide"), [("prot", "E"), ("long", "R")])
def test_an_int_without_a_gate_is_told(kvm_guest: Guests, mode: str, wide: str) -> None:
    """With its function and the registers there, also where this KVM does not run the instruction."""
    code = "mov eax, {}\nmov ebx, {}\nmov ecx, {}\nmov edx, {}\n".format(*VALUES)
    code += "lidt [rip + idtr]\n" + "bad: int 0x10\n" + TABLE
    if mode == "prot":
        code = code.replace("rip + ", "").replace(".quad", ".long")
    dbg = kvm_guest(asm=code, mode=mode)
    said: list[str] = []
    dbg.listeners.on_warning(said.append)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, stops.ShutdownStop | stops.EmulationFailureStop)
    gate = dbg.symbols["idt"] + 0x10 * (16 if mode == "long" else 8)
    digits = 16 if mode == "long" else 8
    values = ", ".join(f"{wide}{name}X={value:#0{2 + digits}x}" for name, value in zip("ABCD", VALUES, strict=True))
    empty = f"gate 16 of the IDT (at {gate:#x}: 0x0) is empty"
    assert said == [f"int 0x10, AH=0x0e, at {dbg.symbols['bad']:#x}: {empty} ({values})"]
    assert stop.autopsy is not None
    assert empty in "".join(stop.autopsy.account)
    assert "#MF" not in "".join(stop.autopsy.account)


def test_the_last_instructions_and_exits(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov al, 7\nout 0x80, al\nmov ecx, 3\nagain: loop again\nxor eax, eax\nbad: mov [rax - 1], al",
                    mode="long")  # fmt: skip
    stop = dbg.run()
    assert isinstance(stop, stops.ShutdownStop)
    assert stop.autopsy is not None
    texts = [text for _, text in stop.autopsy.instructions]
    assert texts[-5:] == ["loop 0x1009", "loop 0x1009", "loop 0x1009", "xor eax, eax", "mov byte ptr [rax - 1], al"]
    assert stop.autopsy.instructions[-1][0] == dbg.symbols["bad"] == stop.pc
    assert stop.autopsy.exits[-1].startswith("out port 0x80, 1 byte, value 0x7; rip ")
    assert stop.to_json()["autopsy"]["cause"] == stop.autopsy.cause


def test_breakpoints_do_not_disturb_it(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="xor eax, eax\nsome: inc eax\nnop\nnop\nbad: ud2", mode="prot")
    dbg.break_at("some", when="$eax == 5")
    stop = dbg.run()
    assert isinstance(stop, stops.ShutdownStop)
    assert stop.autopsy is not None
    assert [text for _, text in stop.autopsy.instructions][-3:] == ["nop", "nop", "ud2"]


def test_why_in_the_shell(kvm_guest: Guests) -> None:
    interpreter = Interpreter(kvm_guest(asm="bad: ud2", mode="prot"))

    def typed(line: str) -> str:
        return "\n".join(result.plain(120) for result in interpreter.execute(line))

    assert typed("why") == "Nothing has killed the guest: the guest has not stopped yet."
    report = typed("run")
    assert "1. ud2 at 0x1000 raised #UD (vector 6): ud2 always raises it." in report
    assert "Shutdown (triple fault) at 0x1000 <bad>: ud2 at 0x1000: #UD" in report
    assert typed("why") in report


def test_a_time_limit_that_passes_meanwhile_hides_nothing(kvm_guest: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    dbg = kvm_guest(asm="bad: ud2", mode="prot")
    found = post_mortem.replay

    def slowly(*arguments: Any) -> Trail | None:
        dbg.world.stop(stops.LimitStop(vcpu=0, pc=0, limit="1 s"))
        return found(*arguments)

    monkeypatch.setattr(post_mortem, "replay", slowly)
    stop = dbg.run()
    assert isinstance(stop, stops.ShutdownStop), stop.describe()
    assert stop.autopsy is not None
    assert [text for _, text in stop.autopsy.instructions] == ["ud2"]


def test_an_interrupt_ends_the_search_for_the_cause(kvm_guest: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    dbg = kvm_guest(asm="mov ecx, 2000\nagain: loop again\nbad: ud2", mode="prot")
    steps = []
    found = post_mortem.replay

    def interrupted(*arguments: Any) -> Trail | None:
        def give_up() -> bool:
            steps.append(1)
            if len(steps) == 100:
                dbg.world.stop()
            return bool(arguments[-1]())

        return found(*arguments[:-1], give_up)

    monkeypatch.setattr(post_mortem, "replay", interrupted)
    assert isinstance(dbg.run(), stops.ShutdownStop)
    assert len(steps) <= 101


def test_the_search_for_the_cause_has_an_end(kvm_guest: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where KVM does not come back from a step, too."""
    dbg = kvm_guest(asm="bad: ud2\nhere: jmp here", mode="prot")

    def never_ends(vcpu: Vcpu, give_up: Callable[[], bool], arrived: replay.Arrived) -> None:
        regs = vcpu.get_regs()
        regs.rip, regs.rflags = dbg.symbols["here"], 0x202
        vcpu.set_regs(regs)
        while not give_up():
            with suppress(InterruptedError):
                vcpu.run()

    monkeypatch.setattr(post_mortem, "PATIENCE", 0.2)
    monkeypatch.setattr(replay, "_steps", never_ends)
    assert isinstance(dbg.run(), stops.ShutdownStop)


@pytest.mark.kvm_alone
def test_an_instruction_that_kvm_cannot_run(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov eax, 0xd0000000\nbad: cmpxchg16b [rax]\nhlt", mode="long")
    dbg.machine.memory.write(0x2000, bytes(8))
    stop = dbg.run()
    assert isinstance(stop, stops.FatalStop), stop.describe()
    assert stop.autopsy is not None
    cause = stop.autopsy.cause
    if isinstance(stop, stops.ShutdownStop):  # nothing is mapped there
        assert "#PF, writing to 0xd0000000" in cause
    else:
        assert isinstance(stop, stops.EmulationFailureStop), stop.describe()
        assert cause.startswith(
            "cmpxchg16b xmmword ptr [rax] touches 0xd0000000 (physical 0xd0000000), where no memory is"
        )


def test_an_entry_that_the_hardware_refuses(kvm_guest: Guests) -> None:
    """Only VT-x checks all of the state; a KVM that does not may run this guest or refuse the state at once."""
    dbg = kvm_guest(asm="hlt", mode="prot")
    sregs = abi.kvm_sregs.from_buffer_copy(dbg.runner.sregs)
    sregs.cs.type = 1
    try:
        dbg.runner.set_sregs(sregs)
    except KvmIoctlError as error:
        assert "KVM_SET_SREGS" in str(error)
        return
    stop = dbg.run(timeout=5)
    if isinstance(stop, stops.FailEntryStop):
        assert stop.autopsy is not None
        assert "CS has type 0x1, which is no accessed code segment." in stop.autopsy.account
    assert "CS has type 0x1, which is no accessed code segment" in violations(dbg.runner.vcpu.regs, sregs)
