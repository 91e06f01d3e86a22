"""Watchpoints in debug registers, of which none fires for what KVM does by itself."""

from __future__ import annotations

from typing import Literal

import pytest

from kvmdbg.engine import stops
from kvmdbg.kvm import exits
from tests.scripted.cpu import Instruction, ScriptedCpu, Work
from tests.scripted.machine import START, ScriptedHost, ScriptedSession, profile

PORT = 0x1234
ABSENT = 0xFEE0_0000


def _halt(cpu: ScriptedCpu) -> Work:
    yield exits.HltExit()


HALT: dict[int, tuple[int, Instruction]] = {START + 2: (1, _halt)}


def _ins(*batches: int, size: int = 1, down: bool = False) -> Instruction:
    """``rep ins`` to ES:DI, with an exit for each batch of so many items."""

    def does(cpu: ScriptedCpu) -> Work:
        for count in batches:
            at = cpu.regs.rdi
            yield exits.IoExit("in", PORT, size, count, bytes(size * count))
            for n, data in enumerate(bytes(cpu.io_data)[i : i + size] for i in range(0, size * count, size)):
                cpu.memory.write(at + (-n if down else n) * size, data)
            cpu.regs.rdi = at + (-count if down else count) * size
            cpu.regs.rcx -= count

    return does


def _session(code: bytes, does: Instruction) -> ScriptedSession:
    program = {START: (2, does), **HALT}
    session = ScriptedSession(code + b"\xf4", None, ScriptedHost(profile(registers=True), program))
    session.vcpu.registers["rdi"], session.vcpu.registers["rdx"] = 0x5000, PORT
    return session


def test_what_string_input_writes_is_told() -> None:
    with _session(b"\xf3\x6c", _ins(4, 4)) as dbg:
        dbg.vcpu.registers["rcx"] = 8
        watch = dbg.watch(0x5002, 4)
        stop = dbg.run()
        assert isinstance(stop, stops.WatchpointStop), stop.describe()
        assert (stop.address, stop.size, stop.old, stop.new) == (0x5002, 4, bytes(4), b"\xff" * 4)
        assert (stop.instruction, stop.pc, watch.hits) == (START, START + 2, 1)
        assert isinstance(dbg.run(), stops.HaltedStop)


def test_string_input_downwards_and_a_word_at_a_time() -> None:
    with _session(b"\xf3\x6d", _ins(3, size=2, down=True)) as dbg:
        dbg.vcpu.registers["rcx"], dbg.vcpu.registers["rflags"] = 3, 0x402
        dbg.watch(0x4FFC, 2)
        stop = dbg.run()
        assert isinstance(stop, stops.WatchpointStop), stop.describe()
        assert (stop.address, stop.new) == (0x4FFC, b"\xff\xff")


def test_string_input_beside_what_is_watched_is_no_stop() -> None:
    with _session(b"\xf3\x6c", _ins(2)) as dbg:
        dbg.vcpu.registers["rcx"] = 2
        dbg.watch(0x5002, 2)
        assert isinstance(dbg.run(), stops.HaltedStop)


def test_a_copy_from_a_device_is_told() -> None:
    def movsb(cpu: ScriptedCpu) -> Work:
        yield exits.MmioExit("read", ABSENT, 1, bytes(1))
        cpu.memory.write(0x5000, bytes(cpu.mmio_data[:1]))

    with _session(b"\x3e\xa4", movsb) as dbg:
        dbg.watch(0x5000, 1)
        stop = dbg.run()
        assert isinstance(stop, stops.WatchpointStop), stop.describe()
        assert (stop.address, stop.old, stop.new) == (0x5000, b"\0", b"\xff")


def _outs(*batches: int, down: bool = False) -> Instruction:
    """``rep outsb`` from DS:SI, with an exit for each batch of so many bytes, behind which the registers are."""

    def does(cpu: ScriptedCpu) -> Work:
        for count in batches:
            at, way = cpu.regs.rsi, -1 if down else 1
            cpu.regs.rsi = at + way * count
            cpu.regs.rcx -= count
            yield exits.IoExit("out", PORT, 1, count, b"".join(cpu.memory.read(at + way * n, 1) for n in range(count)))

    return does


@pytest.mark.parametrize(("batches", "down"), [((1,) * 8, False), ((4, 4), False), ((8,), True)])
def test_what_string_output_reads_is_told(batches: tuple[int, ...], down: bool) -> None:
    with _session(b"\xf3\x6e", _outs(*batches, down=down)) as dbg:
        dbg.physical.write(0x5000, bytes(range(8)))
        dbg.vcpu.registers["rcx"] = 8
        dbg.vcpu.registers["rsi"], dbg.vcpu.registers["rflags"] = (0x5007, 0x402) if down else (0x5000, 2)
        watch = dbg.watch(0x5005, 1, "access")
        stop = dbg.run()
        assert isinstance(stop, stops.WatchpointStop), stop.describe()
        assert (stop.kind, stop.address, stop.size, stop.new) == ("read", 0x5005, 1, b"\5")
        assert watch.hits == 1
        assert isinstance(dbg.run(), stops.HaltedStop)


@pytest.mark.parametrize("prefixes", ["66", "2e66", "662e"])
def test_string_output_with_prefixes(prefixes: str) -> None:
    def outsd(cpu: ScriptedCpu) -> Work:
        at = cpu.regs.rsi
        cpu.regs.rsi += 4
        cpu.jump(START + len(prefixes) // 2 + 1)
        yield exits.IoExit("out", PORT, 4, 1, cpu.memory.read(at, 4))

    with _session(bytes.fromhex(prefixes) + b"\x6f", outsd) as dbg:
        dbg.physical.write(0x5000, bytes(range(1, 9)))
        dbg.vcpu.registers["rsi"] = 0x5000
        dbg.watch(0x5003, 1, "access")
        stop = dbg.run()
        assert isinstance(stop, stops.WatchpointStop), stop.describe()
        assert (stop.kind, stop.address, stop.new) == ("read", 0x5003, b"\4")


@pytest.mark.parametrize("kind", ["write", "access"])
def test_string_output_reads_nothing_else(kind: Literal["write", "access"]) -> None:
    with _session(b"\xf3\x6e", _outs(2)) as dbg:
        dbg.vcpu.registers["rsi"], dbg.vcpu.registers["rcx"] = 0x5000, 2
        dbg.watch(0x5000 if kind == "write" else 0x5002, 1, kind)
        assert isinstance(dbg.run(), stops.HaltedStop)


def test_an_output_before_a_string_output_reads_nothing() -> None:
    def out(cpu: ScriptedCpu) -> Work:
        cpu.jump(START + 1)
        yield exits.IoExit("out", PORT, 1, 1, b"\x77")

    def nothing(cpu: ScriptedCpu) -> Work:
        yield from ()

    program: dict[int, tuple[int, Instruction]] = {START: (1, out), START + 1: (2, nothing), START + 3: (1, _halt)}
    with ScriptedSession(b"\xee\xf3\x6e\xf4", None, ScriptedHost(profile(registers=True), program)) as dbg:
        dbg.vcpu.registers["rsi"], dbg.vcpu.registers["rdx"] = 0x5001, PORT
        dbg.watch(0x5000, 1, "access")
        assert isinstance(dbg.run(), stops.HaltedStop)


def test_a_copy_to_a_device_is_told() -> None:
    def movsb(cpu: ScriptedCpu) -> Work:
        at = cpu.regs.rsi
        cpu.regs.rsi, cpu.regs.rdi = at + 1, cpu.regs.rdi + 1
        yield exits.MmioExit("write", 0x20000, 1, cpu.memory.read(at, 1))

    with _session(b"\x3e\xa4", movsb) as dbg:
        dbg.physical.write(0x5000, b"\x11")
        dbg.vcpu.registers["rsi"], dbg.vcpu.registers["rdi"], dbg.vcpu.registers["es"] = 0x5000, 0, 0x2000
        dbg.watch(0x5000, 1, "access")
        stop = dbg.run()
        assert isinstance(stop, stops.WatchpointStop), stop.describe()
        assert (stop.kind, stop.address, stop.new) == ("read", 0x5000, b"\x11")
