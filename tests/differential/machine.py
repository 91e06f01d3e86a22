"""A session on a program, and all that can be seen of the guest at its end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import kvmdbg
from kvmdbg.core.session import Session
from kvmdbg.devices.registry import device
from kvmdbg.engine.stops import Stop
from kvmdbg.kvm import abi
from kvmdbg.machine.board import Board
from tests.differential.maker import MMIO, MMIO_SIZE, PORT
from tests.differential.program import Assembled, Program, assembled

MEMORY = 0x80000
SLOWNESS = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))
TIME_LIMIT = float(os.environ.get("KVMDBG_DIFFERENTIAL_SECONDS", 15 * SLOWNESS))
"""Seconds after which a program is taken to hang. With a page of code withdrawn an instruction may take 50 ms."""
IN_SOFTWARE = os.environ.get("KVMDBG_ENGINE") == "soft"
"""Programs run on the software engine, which has none of the kernel's interrupt controllers."""
MOST_HALTS = 30
GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", *(f"r{n}" for n in range(8, 16)), "rip", "rflags")
SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")
FIELDS = ("selector", "base", "limit", "type", "present", "dpl", "db", "s", "l", "g")
CONTROL = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer")


@device
class Witness:
    """witness: writes down each access to its ports and MMIO range; each read gives another number."""

    name = "witness"
    options: ClassVar[dict[str, int]] = {"iobase": PORT, "iosize": 16}

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self.log: list[list[Any]] = []

    def reset(self) -> None:
        self.log.clear()

    def read(self, offset: int, size: int) -> int:
        value = (len(self.log) * 0x9E3779B97F4A7C15 + offset >> 7) & (1 << size * 8) - 1
        self.log.append(["read", offset, size, value])
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append(["write", offset, size, value])

    def describe(self) -> str:
        return f"{len(self.log)} accesses"

    def save(self) -> Any:
        return [list(entry) for entry in self.log]

    def load(self, state: Any) -> None:
        self.log[:] = [list(entry) for entry in state]


class MmioWitness(Witness):
    """The same for MMIO, in the log of the ports."""

    name = "mmio-witness"

    def __init__(self, ports: Witness) -> None:
        self.log = ports.log

    def read(self, offset: int, size: int) -> int:
        return super().read(offset + MMIO, size)

    def write(self, offset: int, size: int, value: int) -> None:
        super().write(offset + MMIO, size, value)

    def save(self) -> Any:
        return None

    def load(self, state: Any) -> None:
        pass


def open_to_user_code(session: Session) -> None:
    """Have the first 2 MiB be user code's as well, in long mode."""
    tables = session.regs.cr3 & -0x1000
    for entry in (tables, tables + 0x1000, tables + 0x2000):
        session.physical.write(entry, bytes([session.physical.read(entry, 1)[0] | 4]))


def witness(session: Session) -> Witness:
    """The session's; its MMIO range is added when there is none (after a restart the machine is a new one)."""
    found = next(one for one in session.devices if isinstance(one, Witness) and one.name == "witness")
    if all(one.name != MmioWitness.name for one in session.devices):
        session.machine.bus.add_mmio(MMIO, MMIO_SIZE, MmioWitness(found))
    return found


class Wrong(Exception):
    """The debugger did what it must not; says what."""


@contextmanager
def in_time(session: Session, seconds: float = TIME_LIMIT) -> Iterator[None]:
    """Steps have no limit of their own: what is run in this ``with`` is ended from outside when it hangs. Wrong."""
    late = threading.Event()

    def end() -> None:
        late.set()
        session.interrupt()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if late.is_set():
        raise Wrong(f"it hangs at {session.regs.pc:#x}")


TOUCHING = bytes.fromhex("8edb 800e000000 81c30001 81fb0080 72ef e680")
"""again: mov ds, bx; or byte ptr [0], 0; add bx, 0x100; cmp bx, 0x8000; jb again; out 0x80, al"""


def touch_all_pages(session: Session) -> None:
    """Have KVM map all memory: where the CPU lets a step's trap wait, a guest with EFLAGS.TF set, alone or not, would
    get one #DB more at its first access to a page."""
    vcpu, start = session.runner.vcpu, MEMORY - 0x1000
    regs, sregs = vcpu.get_regs(), vcpu.get_sregs()
    there = abi.kvm_sregs.from_buffer_copy(vcpu.sregs_at_reset)
    there.cs.base, there.apic_base = start, sregs.apic_base
    session.physical.write(start, TOUCHING)
    vcpu.set_sregs(there)
    vcpu.set_regs(abi.kvm_regs(rflags=2))
    vcpu.run()
    vcpu.set_sregs(sregs)
    vcpu.set_regs(regs)
    vcpu.show_regs(bytes(regs))
    session.physical.write(start, bytes(len(TOUCHING)))


class Runnable:
    """A program as a file to open sessions on."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self.code: Assembled = assembled(program)
        self.folder = folder
        self.path = folder / "program.bin"
        self.path.write_bytes(self.code.image)

    @contextmanager
    def open(self) -> Iterator[Session]:
        """A fresh session before the first instruction."""
        with kvmdbg.open(
            self.path,
            format="flat",
            load=0,
            entry=self.code.entry,
            memory=MEMORY,
            mode=self.program.mode,
            registers=dict(self.program.registers),
            devices=("witness",),
            irqchip="user" if IN_SOFTWARE and self.program.irqchip == "kernel" else self.program.irqchip,
        ) as session:
            self.prepare(session)
            if session.runner.host.profile.step_trap_waits:
                session.runner.call(lambda: touch_all_pages(session))
            yield session

    def prepare(self, session: Session) -> None:
        """A fresh machine of the session for the program."""
        witness(session)
        if self.program.rings and self.program.mode == "long":
            open_to_user_code(session)

    @property
    def count_of_debug_exceptions(self) -> range:
        """Where the program counts its #DBs."""
        at = self.program.layout.counts + 2
        return range(at, at + 2)

    def ends(self, stop: Stop) -> bool:
        """Whether this stop is the end, and no HLT on the way."""
        return stop.reason != "halted" or self.halted(stop)

    def halted(self, stop: Stop) -> bool:
        """Whether the last HLT has run, also when a catchpoint tells of it."""
        at_end = stop.pc == self.code.end + 1
        return at_end and (stop.reason == "halted" or getattr(getattr(stop, "exit", None), "kind", "") == "hlt")


@dataclass(frozen=True)
class Observation:
    """All that can be seen of a guest at its end."""

    end: str
    registers: dict[str, int]
    memory: bytes
    output: bytes
    accesses: list[list[Any]]

    def with_memory_of(self, other: Observation, places: range) -> Observation:
        """The same with these bytes of memory as ``other`` has them."""
        memory = bytearray(self.memory)
        memory[places.start : places.stop] = other.memory[places.start : places.stop]
        return replace(self, memory=bytes(memory))

    def with_resume_flags_of(self, other: Observation) -> Observation:
        """The same with EFLAGS.RF as ``other`` has it in images of EFLAGS that were pushed."""
        memory = bytearray(self.memory)
        for at in range(2, len(memory) - 1, 2):
            if memory[at] ^ other.memory[at] == 1 and memory[at - 2] & 0x2A == 2 and not memory[at - 1] & 0x80:
                memory[at] = other.memory[at]
        return replace(self, memory=bytes(memory))

    def difference(self, other: Observation) -> str | None:
        """The first thing that ``other`` has otherwise, in words; None when all is alike."""
        if self.end != other.end:
            return f"ends with {other.end}, not with {self.end}"
        if self.accesses != other.accesses:
            pairs = zip([*self.accesses, None], [*other.accesses, None], strict=False)
            number, (one, two) = next((n, pair) for n, pair in enumerate(pairs) if pair[0] != pair[1])
            return f"access {number} to the device is {two}, not {one}"
        if self.output != other.output:
            return f"serial output {other.output!r}, not {self.output!r}"
        names = [name for name in self.registers if self.registers[name] != other.registers[name]]
        if names:
            return ", ".join(f"{name} is {other.registers[name]:#x}, not {self.registers[name]:#x}" for name in names)
        if self.memory != other.memory:
            at = next(n for n in range(0, MEMORY, 256) if self.memory[n : n + 256] != other.memory[n : n + 256])
            at = next(n for n in range(at, at + 256) if self.memory[n] != other.memory[n])
            one, two = (data[at : at + 8].hex(" ") for data in (self.memory, other.memory))
            return f"memory at {at:#x} is {two}, not {one}"
        return None


def observe(session: Session, stop: Stop) -> Observation:
    """What can be seen after ``stop``."""
    caught = stop.reason == "exit" and getattr(getattr(stop, "exit", None), "kind", "") == "hlt"
    runner = session.runner
    registers = {name: session.regs.get(name) for name in GENERAL}
    sregs = runner.call(runner.vcpu.get_sregs)
    for name in SEGMENTS:
        for part in FIELDS:
            registers[f"{name}.{part}"] = int(getattr(getattr(sregs, name), part))
        registers[f"{name}.type"] |= registers[f"{name}.s"]  # accessed: no guest can see this bit, some KVMs forget it
    for name in ("gdt", "idt"):
        registers[f"{name}.base"] = int(getattr(sregs, name).base)
        registers[f"{name}.limit"] = int(getattr(sregs, name).limit)
    registers |= {name: int(getattr(sregs, name)) for name in CONTROL}
    debug = runner.call(runner.vcpu.get_debugregs)
    registers |= {f"dr{n}": int(debug.db[n]) for n in range(4)} | {"dr6": int(debug.dr6), "dr7": int(debug.dr7)}
    legacy = bytes(runner.call(runner.vcpu.get_xsave))[:416]  # x87 and SSE (Intel SDM volume 1, table 10-2)
    registers["fpu"] = int.from_bytes(legacy, "little")
    return Observation(
        "halted" if caught else stop.reason,
        registers,
        session.physical.read(0, MEMORY),
        session.output,
        [list(entry) for entry in witness(session).log],
    )
