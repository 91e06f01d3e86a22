"""asm, patch, unpatch in the three modes."""

from __future__ import annotations

import builtins

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.errors import SessionStateError, UsageError
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

ASM = "start: mov ax, 1\nmov bx, 2\nadd ax, bx\nhlt"


def typed(dbg: Session, *lines: str) -> str:
    interpreter = Interpreter(dbg)
    return "\n".join(result.plain(100) for line in lines for result in interpreter.execute(line))


def code_of(dbg: Session) -> list[str]:
    return [f"{one.mnemonic} {one.operands}".strip() for one in dbg.disassemble(dbg.vcpu.pc, 4)]


@pytest.mark.parametrize("mode", ["real", "prot", "long"])
def test_assembled_in_the_cpus_mode(kvm_guest: Guests, mode: str) -> None:
    dbg = kvm_guest(asm=ASM, mode=mode, memory="4M")
    before = dbg.memory.read(dbg.vcpu.pc, 16)
    assert typed(dbg, 'asm $pc "mov ax, 7"').startswith("Patch 1: ")
    assert code_of(dbg) == ["mov ax, 7", "mov bx, 2", "add ax, bx", "hlt"]
    dbg.step()
    assert dbg.registers.get("ax") == 7
    assert typed(dbg, "unpatch") == "Patch 1 is taken back."
    dbg.restart()
    assert dbg.memory.read(dbg.vcpu.pc, 16) == before


def test_what_is_left_of_an_instruction(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=ASM, mode="real")
    shown = typed(dbg, "asm $pc inc ax; inc ax")
    assert "1 byte of it are left" in shown
    assert typed(dbg, "unpatch 1") == "Patch 1 is taken back."
    assert "left" not in typed(dbg, "asm/n $pc inc ax; inc ax")
    assert code_of(dbg) == ["inc ax", "inc ax", "nop", "mov bx, 2"]
    assert typed(dbg, "asm/p $pc jmp 0x1000").split()[0] in ("e9", "eb")
    assert len(dbg.patches) == 1


def test_patches_over_patches(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=ASM, mode="real", memory="1M")
    dbg.memory.write(0x5000, b"abcdef")
    typed(dbg, 'patch 0x5000 "xyz"', "patch 0x5002 11 22", "patch phys:0x5005 0x33")
    assert dbg.memory.read(0x5000, 6) == b"xy\x11\x22e\x33"
    assert "phys:0x5005" in typed(dbg, "info patches")
    with pytest.raises(UsageError, match="patch 2 lies over patch 1 and must be taken back first"):
        typed(dbg, "unpatch 1")
    dbg.memory.write(0x5003, b"!")
    assert "Memory did not hold patch 2 any more" in typed(dbg, "unpatch 2")
    typed(dbg, "unpatch")
    assert dbg.memory.read(0x5000, 6) == b"abcdef"
    assert typed(dbg, "unpatch") == "There are no patches."
    typed(dbg, "patch 0x5000 90")
    dbg.restart()
    assert len(dbg.patches) == 0


def test_beneath_a_breakpoint(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=ASM, mode="real")
    dbg.break_at("start")
    dbg.break_at(dbg.vcpu.pc + 3)
    typed(dbg, "asm $pc+3 mov bx, 5")
    stop = dbg.run(timeout=5)
    stop = dbg.run(timeout=5) if stop.pc == dbg.symbols["start"] else stop
    assert stop.pc == dbg.symbols["start"] + 3
    dbg.step()
    assert dbg.registers.get("bx") == 5


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("asm $pc", "there is nothing to assemble"),
        ("asm", "asm needs an ADDRESS"),
        ("asm $pc mov rax, 1", "cannot be assembled for 16-bit code"),
        ("asm $pc rubbish 7", "cannot be assembled for 16-bit code"),
        ("patch 0x5000", "patch"),
        ("patch 0x5000 9g", "'9g' are no hexadecimal digits"),
        ('patch 0x5000 "abc', "lacks its closing quote"),
        ('patch 0x5000 "\\x"', "an escape that is none"),
        ("unpatch 7", "there is no patch 7|There are no patches"),
    ],
)
def test_mistakes(kvm_guest: Guests, line: str, why: str) -> None:
    dbg = kvm_guest(asm=ASM, mode="real")
    typed(dbg, "patch 0x5000 00")
    with pytest.raises(UsageError, match=why):
        typed(dbg, line)
    assert len(dbg.patches) == 1


def test_nothing_is_patched_in_a_running_guest(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="here: jmp here", mode="real")
    interpreter = Interpreter(dbg)
    list(interpreter.execute("continue &"))
    try:
        with pytest.raises(SessionStateError):
            list(interpreter.execute("patch 0x5000 90"))
    finally:
        dbg.interrupt()


def test_without_keystone(kvm_guest: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    dbg = kvm_guest(asm=ASM, mode="real")
    real = builtins.__import__

    def without(name: str, *rest, **more):  # type: ignore[no-untyped-def]
        if name == "keystone":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"pip install 'kvmdbg\[asm\]'"):
        typed(dbg, "asm $pc nop")
