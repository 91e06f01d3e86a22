"""A guest in two ways: as machine code, and as what a scripted vCPU does for each of its instructions."""

from __future__ import annotations

from contextlib import AbstractContextManager

from kvmdbg.kvm import exits
from kvmdbg.machine.image import Symbol
from tests.scripted.cpu import Instruction, ScriptedCpu, Work
from tests.scripted.machine import START, ScriptedHost, ScriptedSession, profile, scripted_session

CODE = bytes.fromhex("b90300 e80800 881e0050 e2f7 f4 90 e464 8d5f01 e680 c3")
"""main: mov cx, 3; again: call read; mov [0x5000], bl; loop again; hlt; nop
read: in al, 0x64; lea bx, [bx+1]; out 0x80, al; ret. None of them changes flags."""
AGAIN, STORE, LOOP, END, READ = START + 3, START + 6, START + 10, START + 13, START + 14
WATCHED = 0x5000
SYMBOLS = [
    Symbol("main", START, 14, "function", "global"),
    Symbol("again", AGAIN, 0, "notype", "local"),
    Symbol("read", READ, 8, "function", "global"),
    Symbol("counter", WATCHED, 1, "object", "global"),
]


def _start(cpu: ScriptedCpu) -> None:
    cpu.regs.rcx = 3


def _call(cpu: ScriptedCpu) -> None:
    cpu.regs.rsp = cpu.regs.rsp - 2 & 0xFFFF
    cpu.memory.write(cpu.stack, (AGAIN + 3).to_bytes(2, "little"))
    cpu.jump(READ)


def _store(cpu: ScriptedCpu) -> Work:
    yield from cpu.store(WATCHED, bytes((cpu.regs.rbx & 0xFF,)))


def _loop(cpu: ScriptedCpu) -> None:
    cpu.regs.rcx -= 1
    if cpu.regs.rcx:
        cpu.jump(AGAIN)


def _in(cpu: ScriptedCpu) -> Work:
    yield exits.IoExit("in", 0x64, 1, 1, b"")
    cpu.regs.rax = cpu.regs.rax & ~0xFF | cpu.io_data[0]


def _count(cpu: ScriptedCpu) -> None:
    cpu.regs.rbx += 1


def _out(cpu: ScriptedCpu) -> Work:
    yield exits.IoExit("out", 0x80, 1, 1, bytes((cpu.regs.rax & 0xFF,)))


def _return(cpu: ScriptedCpu) -> None:
    cpu.jump(int.from_bytes(cpu.memory.read(cpu.stack, 2), "little"))
    cpu.regs.rsp = cpu.regs.rsp + 2 & 0xFFFF


PROGRAM: dict[int, tuple[int, Instruction]] = {
    START: (3, _start),
    AGAIN: (3, _call),
    STORE: (4, _store),
    LOOP: (2, _loop),
    READ: (2, _in),
    READ + 2: (3, _count),
    READ + 5: (2, _out),
    READ + 7: (1, _return),
}
"""The hlt at END is met as any other."""


def counting_guest(host: ScriptedHost | None = None) -> AbstractContextManager[ScriptedSession]:
    """A session on it; three rounds, then it halts."""
    return scripted_session(CODE, host=host or ScriptedHost(profile(), PROGRAM), symbols=SYMBOLS)
