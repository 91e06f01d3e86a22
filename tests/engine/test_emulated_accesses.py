"""Watchpoints in debug registers, of which none fires for what KVM does by itself."""

from __future__ import annotations

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
