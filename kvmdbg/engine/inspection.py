"""Questions about a vCPU's address space and code: translation, linear access, instructions and their accesses.

Every method takes the vCPU whose view counts and may be called on that vCPU's thread while it handles an exit, or by
anybody while the guest is stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.errors import MemoryFault
from kvmdbg.kvm.exits import Exit, IoExit, MmioExit
from kvmdbg.masks import LOW32, LOW64
from kvmdbg.x86 import paging
from kvmdbg.x86.modes import CR0_PG, EFER_LMA

if TYPE_CHECKING:
    from kvmdbg.engine.host import Host
    from kvmdbg.engine.vcpu_thread import VcpuThread
    from kvmdbg.engine.views import PhysicalMemory
    from kvmdbg.machine.machine import Machine
    from kvmdbg.machine.memory import Region
    from kvmdbg.x86.disasm import Insn, InsnInfo
    from kvmdbg.x86.operands import Access, Repetition

PAGE = 4096
PUSHED = 256
"""Bytes that one instruction or event pushes at most (enter with 31 levels)."""


class Inspection:
    """Of one machine; ``physical`` hides the debugger's traps."""

    def __init__(self, host: Host, machine: Machine, physical: PhysicalMemory) -> None:
        self._host = host
        self.machine = machine
        self.physical = physical

    def walk(self, runner: VcpuThread, linear: int) -> paging.Walk:
        """The page walk of a linear address."""
        sregs = runner.sregs
        read = self.machine.memory.read
        return paging.walk(read, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer, linear, self.machine.paging_limits)

    def mappings(self, runner: VcpuThread) -> list[paging.Mapping]:
        """All that the vCPU's page tables map, by linear address."""
        machine, sregs = self.machine, runner.sregs
        registers = sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer
        return paging.mappings(machine.memory.read, *registers, machine.paging_limits)

    def physical_of(self, runner: VcpuThread, linear: int) -> int | None:
        """Guest-physical address behind a linear one, None where nothing is mapped."""
        if not runner.sregs.cr0 & CR0_PG:
            return linear & LOW32
        return self.walk(runner, linear).physical

    def spans(self, runner: VcpuThread, address: int, size: int, access: str) -> list[tuple[int, int]]:
        """(physical address, length) of each stretch of a linear range that is in one piece in a region of memory."""
        spans: list[tuple[int, int]] = []
        region: Region | None = None
        while size > 0:
            length = min(size, PAGE - address % PAGE)
            if not runner.sregs.cr0 & CR0_PG:
                physical: int | None = address & LOW32
            else:
                walk = self.walk(runner, address)
                physical = walk.physical
                if physical is None:
                    raise MemoryFault(address, access, "linear", walk.fault or "not mapped")
            assert physical is not None
            found = self.machine.memory.find(physical)
            if found is None:
                raise MemoryFault(address, access, "linear", f"no memory at physical {physical:#x}")
            if found is region and sum(spans[-1]) == physical:
                spans[-1] = spans[-1][0], spans[-1][1] + length
            else:
                spans.append((physical, length))
            region = found
            address += length
            size -= length
        return spans

    def read_linear(self, runner: VcpuThread, address: int, size: int) -> bytes:
        """``size`` bytes at a linear address, without the debugger's traps; MemoryFault names the first that fails."""
        if 0 < size <= PAGE - address % PAGE:  # nearly always
            physical = self.physical_of(runner, address)
            if physical is not None and self.machine.memory.find(physical) is not None:
                return self.physical.read(physical, size)
        spans = self.spans(runner, address, size, "read")
        return b"".join(self.physical.read(physical, length) for physical, length in spans)

    def write_linear(self, runner: VcpuThread, address: int, data: bytes) -> None:
        """Write all of ``data`` or nothing. A debugger's write: page protection does not hold it back."""
        done = 0
        for physical, length in self.spans(runner, address, len(data), "write"):
            self.physical.write(physical, data[done : done + length])
            done += length

    # --- what the CPU uses by itself ------------------------------------------------------------------

    def stacks(self, runner: VcpuThread) -> Iterator[tuple[int, int]]:
        """Linear ranges (first address, limit) that the CPU may push to next: below SP, and the stacks of the TSS."""
        bits, top = self.stack_bits(runner), runner.stack_pointer
        offset = runner.vcpu.regs.rsp & ((1 << bits) - 1)
        below = min(offset, PUSHED)
        if below:
            yield top - below, below - 1
        if below < PUSHED:  # the rest goes on at the other end of the segment
            yield (top - offset + (1 << bits) - PUSHED + below) & (LOW64 if bits == 64 else LOW32), PUSHED - below - 1
        tr = runner.sregs.tr
        if tr.selector and not runner.mode.segmented:
            slots = [(4 + 8 * n, 4) for n in range(3)]
            if runner.sregs.efer & EFER_LMA:
                slots = [(4 + 8 * n, 8) for n in range(3)] + [(36 + 8 * n, 8) for n in range(7)]
            with suppress(MemoryFault):
                tss = self.read_linear(runner, tr.base, min(tr.limit + 1, 104))
                tops = [int.from_bytes(tss[at : at + size], "little") for at, size in slots]
                for top in filter(None, (*tops, *self._interrupted_stacks(runner, tops[3:]))):
                    below = min(top, PUSHED)
                    yield top - below, below - 1

    def _interrupted_stacks(self, runner: VcpuThread, tops: Sequence[int]) -> Iterator[int]:
        """The stack pointers in the frames of the last events that were taken on stacks of the interrupt stack table.

        Where a frame cannot be pushed to a guarded page, KVM may go on with an exception that has such a stack.
        """
        for top in filter(None, tops):
            with suppress(MemoryFault):
                saved = self.read_linear(runner, (top & -16) - 16, 8)
                yield int.from_bytes(saved, "little")

    def written_tables(self, runner: VcpuThread) -> list[tuple[int, int]]:
        """Linear ranges (base, limit) of the tables in which the CPU sets accessed and busy bits, and of the TSS."""
        if runner.mode.segmented:
            return []
        sregs = runner.sregs
        loaded = [one for one in (sregs.tr, sregs.ldt) if one.selector]
        return [(sregs.gdt.base, sregs.gdt.limit), *((one.base, min(one.limit, 0xFFFF)) for one in loaded)]

    def in_tables(self, runner: VcpuThread, address: int, *, physical: bool = False) -> bool:
        """Whether it lies in a descriptor table or a paging structure of the CPU's."""
        sregs = runner.sregs
        tables = (sregs.gdt.base, sregs.gdt.limit), (sregs.ldt.base, sregs.ldt.limit)
        if not physical and not runner.mode.segmented and any(0 <= address - base <= limit for base, limit in tables):
            return True
        place = address if physical else self.physical_of(runner, address)
        pages = paging.tables(self.machine.memory.read, sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer)
        return place is not None and place & -PAGE in pages

    # --- instructions ------------------------------------------------------------------------------

    def code_at(self, runner: VcpuThread, linear: int, size: int) -> bytes:
        """Up to ``size`` bytes of code at a linear address: fewer, or none, where memory ends."""
        try:
            return self.read_linear(runner, linear, size)
        except MemoryFault:
            first = min(size, PAGE - linear % PAGE)
            try:
                return self.read_linear(runner, linear, first)
            except MemoryFault:
                return b""

    def disassemble(self, runner: VcpuThread, address: int, count: int = 1, bits: int | None = None) -> list[Insn]:
        """``count`` instructions from a linear address (fewer where memory ends; MemoryFault when none)."""
        from kvmdbg.x86 import disasm

        code = self.code_at(runner, address, count * 15)
        while not code and count * 15 > PAGE:
            code = self.code_at(runner, address, PAGE)
        if not code:
            self.read_linear(runner, address, 1)
        base = runner.cs_base if bits in (None, runner.mode.bits) else None
        return disasm.disassemble(code, address, bits or runner.mode.bits, count, base=base)

    def classify_at(self, runner: VcpuThread, linear: int) -> InsnInfo | None:
        """What kind of instruction lies at a linear address; None where none can be decoded."""
        from kvmdbg.x86 import disasm

        code = self.code_at(runner, linear, 15)
        return disasm.classify(code, linear, runner.mode.bits, runner.cs_base) if code else None

    def may_lead_to_itself(self, runner: VcpuThread) -> bool:
        """Whether the instruction at pc may be a jump to itself, after which all registers are as they were."""
        info = self.classify_at(runner, runner.pc)
        if info is None or not info.is_jump:
            return False
        if info.far_target is not None:
            return info.far_target == (runner.sregs.cs.selector, runner.vcpu.regs.rip)
        return info.target in (None, runner.pc)

    def is_rep(self, runner: VcpuThread, linear: int) -> bool:
        info = self.classify_at(runner, linear)
        return info is not None and info.is_rep

    def instruction_text(self, runner: VcpuThread, code: bytes) -> tuple[str, int]:
        """The instruction in ``code`` as text, and its length."""
        from kvmdbg.x86 import disasm

        found = disasm.disassemble(code, runner.pc, runner.mode.bits, 1, base=runner.cs_base) if code else []
        if not found:
            return "(no code can be read there)", 0
        insn = found[0]
        return f"{insn.mnemonic} {insn.operands}".strip(), insn.size

    def accesses_at(self, runner: VcpuThread) -> list[Access]:
        """The memory accesses that the instruction at pc is about to make."""
        from kvmdbg.x86 import operands

        code = self.code_at(runner, runner.pc, 15)
        if not code:
            return []
        return operands.accesses(
            code, runner.pc, runner.mode.bits, self.register_reader(runner), stack_bits=self.stack_bits(runner)
        )

    def repetition_at(self, runner: VcpuThread) -> Repetition | None:
        """How the instruction at pc repeats; None where it does not."""
        from kvmdbg.x86 import operands

        code = self.code_at(runner, runner.pc, 15)
        return operands.repetition(code, runner.mode.bits, self.register_reader(runner)) if code else None

    @staticmethod
    def stack_bits(runner: VcpuThread) -> int:
        if runner.mode.bits == 64:
            return 64
        return 32 if runner.sregs.ss.db else 16

    @staticmethod
    def register_reader(runner: VcpuThread):  # type: ignore[no-untyped-def]
        """A function from a register's name to its value, quick enough for each step."""
        regs, sregs = runner.vcpu.regs, runner.sregs

        def read(name: str) -> int:
            if name.endswith("_base"):
                return int(getattr(sregs, name[:2]).base)
            value = getattr(regs, name, None)
            if value is None:
                return int(getattr(sregs, name).selector) if len(name) == 2 else int(getattr(sregs, name))
            return int(value)

        return read

    def find_access(self, runner: VcpuThread, linear: int, size: int, *, write: bool) -> Access | None:
        """The access of the instruction that ended at pc to one of these bytes; None when it cannot be told."""
        found = self._find_accessor(runner, linear, size, write=write, physical=False, whole=False)
        return None if found is None else found[1]

    def string_outputs(self, runner: VcpuThread, count: int) -> Iterator[Access]:
        """What the ``outs`` may have read that ended at pc or goes on there, its last ``count`` elements."""
        from kvmdbg.x86 import operands

        def read(address: int, length: int) -> bytes:
            return self.read_linear(runner, address, length)

        registers, stack_bits = self.register_reader(runner), self.stack_bits(runner)
        return operands.string_outputs(read, runner.pc, runner.mode.bits, registers, stack_bits, count)

    def _find_accessor(
        self, runner: VcpuThread, linear: int, size: int, *, write: bool, physical: bool, whole: bool = True
    ) -> tuple[Insn, Access] | None:
        from kvmdbg.x86 import operands

        def read(address: int, length: int) -> bytes:
            return self.read_linear(runner, address, length)

        found = operands.find_accessor(
            read,
            runner.pc,
            runner.mode.bits,
            self.register_reader(runner),
            linear,
            size,
            write=write,
            stack_bits=self.stack_bits(runner),
            place=(lambda at: self.physical_of(runner, at)) if physical else (lambda at: at),
            whole=whole,
        )
        if found is not None and not write and self._may_be_behind_iret(runner, found[1]):
            return None
        return found

    def _may_be_behind_iret(self, runner: VcpuThread, access: Access) -> bool:
        """Whether an IRET to pc may have popped it: below the stack pointer is still the frame of an event there."""
        width = runner.mode.bits // 8
        top = runner.stack_pointer & (-16 if width == 8 else -1)  # long mode aligns frames
        start = top - (5 if width == 8 else 3) * width
        if access.segment != "ss" or access.linear + access.size <= start or top <= access.linear:
            return False
        try:
            frame = self.read_linear(runner, start, 2 * width)
        except MemoryFault:
            return False
        pointer, selector = (int.from_bytes(frame[at : at + width], "little") for at in (0, width))
        return pointer == runner.pc - runner.cs_base and selector & 0xFFFF == runner.sregs.cs.selector

    def accesses_of_writer(self, runner: VcpuThread, address: int, size: int) -> list[Access]:
        """All accesses of the instruction that ended at pc and wrote to this guest-physical address."""
        from kvmdbg.x86 import operands

        found = self._find_accessor(runner, address, size, write=True, physical=True)
        if found is None:
            return []
        at, code = found[0].address, self.code_at(runner, found[0].address, found[0].size)
        registers, stack_bits = self.register_reader(runner), self.stack_bits(runner)
        return operands.accesses_of_ended(code, at, runner.mode.bits, registers, stack_bits)

    def find_accessor(
        self, runner: VcpuThread, linear: int, size: int, *, write: bool, physical: bool = False
    ) -> int | None:
        """Address of the instruction that ended at pc and made this access; None when it cannot be told.

        ``physical``: ``linear`` is a guest-physical address.
        """
        from kvmdbg.x86 import disasm

        found = self._find_accessor(runner, linear, size, write=write, physical=physical)
        if found is not None:
            return found[0].address
        bits = runner.mode.bits
        if write and linear == runner.stack_pointer:  # a call: what it pushed is where it ended
            try:
                back = int.from_bytes(self.read_linear(runner, linear, bits // 8), "little") + runner.cs_base
            except MemoryFault:
                return None
            for length in range(2, 8):
                code = self.code_at(runner, back - length, length)
                info = disasm.classify(code, back - length, bits) if len(code) == length else None
                if info is not None and info.is_call and info.size == length:
                    return back - length
        return None

    def site_of(self, runner: VcpuThread, exit: Exit) -> int:
        """Linear address of the instruction that caused this exit; of the next one where it cannot be told.

        KVM gives some exits with rip at their instruction and some behind it, and not each flavour the same ones.
        """
        pc = runner.pc
        kind = exit.kind
        if kind == "hlt":
            return pc - 1
        if isinstance(exit, IoExit) and exit.direction == "out":
            return self._out_at(runner, pc, exit.port)
        if isinstance(exit, MmioExit) and exit.direction == "write":
            found = self.find_accessor(runner, exit.address, exit.size, write=True, physical=True)
            return pc if found is None else found
        return pc

    def _out_at(self, runner: VcpuThread, pc: int, port: int) -> int:
        """The `out` at pc, or the one that ends there: which of the two KVM means, the probe knows."""
        if not self._host.profile.out_is_past:
            return pc
        for size in (2, 1, 3, 4):
            code = self.code_at(runner, pc - size, size)
            info = self.classify_at(runner, pc - size) if len(code) == size else None
            if info is None or info.size != size or not info.mnemonic.startswith("out"):
                continue
            if code[-2:-1] not in (b"\xe6", b"\xe7") or code[-1] == port:
                if size < 4 and self.code_at(runner, pc - size - 1, 1) in (b"\x66", b"\xf3", b"\xf2"):
                    size += 1
                return pc - size
        return pc
