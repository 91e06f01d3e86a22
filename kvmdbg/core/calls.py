"""Functions of the guest: called by its user, ended early, and what one has returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvmdbg.debuginfo.backtrace import CALLED, innermost
from kvmdbg.debuginfo.calling import WIDEST, Registers, is_by_options, passing, result, result_in_memory
from kvmdbg.engine import stops
from kvmdbg.engine.breakpoints import Breakpoint
from kvmdbg.errors import KvmdbgError, MemoryFault, UsageError
from kvmdbg.language.objects import is_by_reference
from kvmdbg.masks import LOW64
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.core.parts import Parts
    from kvmdbg.core.snapshots import Snapshot
    from kvmdbg.debuginfo.backtrace import Frame
    from kvmdbg.engine.stops import Stop
    from kvmdbg.language.ctype import CType

RED_ZONE = 128
"""Bytes below the stack pointer that a function of 64-bit code may use (System V ABI, AMD64, 3.2.2)."""
LONGEST = 20.0
"""Seconds that a call may take."""
CR4_OSFXSR, CR4_OSXSAVE = 1 << 9, 1 << 18
BEFORE = "before-call"
"""The name of the snapshot to go back to when a call did not return."""


def returned_value(session: Parts, type: CType) -> bytes:
    """The bytes of what a function of this type has just returned on the selected vCPU. MemoryFault, UsageError."""
    regs = session.regs
    _require_one_way(session, type)
    area = session.state_of.fpu()
    found = result(
        type, session.vcpu.mode.bits,
        Registers(
            regs.rax, regs.rdx, bytes(area.fpr[0])[:10], (bytes(area.xmm[0]), bytes(area.xmm[1])),
            bytes(area.fpr[1])[:10],
        ),
    )  # fmt: skip
    return session.memory.read(found, type.size) if isinstance(found, int) else found


def _require_one_way(session: Parts, type: CType) -> None:
    """UsageError where a value may be in vector registers or in memory: the code has been compiled for either.

    It is in memory while the guest has not enabled these registers.
    """
    bits = session.vcpu.mode.bits
    enabled = CR4_OSXSAVE if bits == 64 else CR4_OSFXSR
    if session.regs.get("cr4") & enabled and is_by_options(type, bits):
        options = "-mavx" if bits == 64 else "-msse"
        raise UsageError(
            f"where functions have a {type.name} is up to how they were compiled (with {options} or without), which "
            "is not known here"
        )


@record
class _StoppedInside:
    """A call that has stopped before it returned to ``back``, with the stack no deeper than ``depth``."""

    vcpu: int
    back: int
    depth: int
    end: Breakpoint
    """Stops the guest there."""
    before: Snapshot
    registers: dict[str, int]
    called_in: Frame
    last_stop: Stop | None


class Calls:
    """Of the selected vCPU of a session.

    ``keeps``: whether what a called function does to the guest stays; otherwise it runs on a snapshot.
    """

    def __init__(self, session: Parts) -> None:
        self._session = session
        self.keeps = False
        self._stopped_inside: list[_StoppedInside] = []
        session.control.at_load.append(self._forget)
        session.snapshots.at_restore.append(self._restored)
        self.calling = False
        """Whether the guest runs for a call: its stops are nobody else's."""

    def call(self, address: int, type: CType, arguments: Sequence[tuple[CType, bytes]]) -> bytes:
        """Run a function with these arguments, types and bytes; the bytes of what it returns.

        KvmdbgError where it stops before it returns: the guest then stands there, and the snapshot "before-call" is
        from before the call.
        """
        session = self._session
        session.control.require_stopped()
        for one in (type, *(one for one, _ in arguments)):
            _require_one_way(session, one)
        if self.calling:
            raise UsageError("a function of the guest cannot be called while another is")
        control, frames = session.control, session.frames
        last_stop, fresh, chosen = control.last_stop, control.fresh, frames.chosen(control.runner)
        before, called_in = session.snapshots.take(BEFORE), innermost(session.vcpu)
        registers = session.regs.general()
        self.calling = True
        try:
            back, depth = self._enter(address, type, arguments)
            stop = session.moves.run_to_place(back, depth, LONGEST)
        except KvmdbgError:
            session.snapshots.put_back(before)
            raise
        finally:
            self.calling = False
        done = control.runner.pc == back and control.runner.stack_pointer >= depth
        if not done:
            if isinstance(stop, stops.FatalStop | stops.LimitStop):
                session.snapshots.put_back(before)
                control.last_stop, control.fresh = last_stop, fresh
                raise KvmdbgError(f"the function did not return: {stop.describe()}; the guest is as it was before")
            session.snapshots.add(before)
            runner = control.runner
            end = Breakpoint(
                back, hardware=True, only_if=lambda index: index == runner.index and runner.stack_pointer >= depth
            )
            inside = _StoppedInside(runner.index, back, depth, end, before, registers, called_in, last_stop)
            self._stays_inside(inside)
            raise KvmdbgError(
                f"the function that was called has stopped: {stop.describe()}. The guest stands in it, and is "
                f"as it was before the call when it returns; snapshot restore {BEFORE} goes back to before the call"
            )
        try:
            data = returned_value(session, type) if type.size and type.kind != "void" else b""
            if type.reference and type.target is not None and type.target.kind != "function":  # as it has left it
                data += session.memory.read(int.from_bytes(data, "little"), type.target.size)
        except MemoryFault:
            session.snapshots.put_back(before)
            control.last_stop, control.fresh = last_stop, fresh
            raise
        if self.keeps:
            for name, value in registers.items():
                session.regs.set(name, value)
        else:
            session.snapshots.put_back(before)
        control.last_stop, control.fresh = last_stop, fresh
        frames.choose(chosen)
        return data

    def _stays_inside(self, one: _StoppedInside) -> None:
        """Stop where the function returns to, whenever that is, and show the frames behind that."""
        self._session.control.points.own_breakpoints.append(one.end)
        self._session.files.calls[one.back, one.depth] = one.called_in
        self._stopped_inside.append(one)

    def have_returned(self) -> bool:
        """Whether the guest stands where the function returns to whose call was the last to stop inside."""
        runner = self._session.control.runner
        return any(
            runner.index == one.vcpu and runner.pc == one.back and runner.stack_pointer >= one.depth
            for one in self._stopped_inside[-1:]
        )

    def take_back(self) -> None:
        """End the last call that has stopped inside: the guest is as it was before it, or only its registers are."""
        session, one = self._session, self._drop_last()
        if self.keeps:
            for name, value in one.registers.items():
                session.regs.set(name, value)
        else:
            session.snapshots.put_back(one.before)
        session.control.last_stop = one.last_stop

    def _drop_last(self) -> _StoppedInside:
        one = self._stopped_inside.pop()
        self._session.control.points.own_breakpoints.remove(one.end)
        del self._session.files.calls[one.back, one.depth]
        return one

    def _restored(self, snapshot: Snapshot) -> None:
        """The guest is as it was at a moment before some of these calls."""
        while self._stopped_inside and snapshot.made <= self._stopped_inside[-1].before.made:
            self._drop_last()

    def _forget(self) -> None:
        """The machine has been made anew."""
        while self._stopped_inside:
            self._drop_last()

    def _enter(self, address: int, type: CType, arguments: Sequence[tuple[CType, bytes]]) -> tuple[int, int]:
        """Put the vCPU at the start of a function; where it returns to, and the stack pointer there at least."""
        session = self._session
        regs, bits = session.regs, session.vcpu.mode.bits
        word = 8 if bits == 64 else 4
        base = 0 if bits == 64 else regs.get("ss_base")
        mask = (1 << bits) - 1
        sp = regs.rsp & mask
        sp = (sp - (RED_ZONE if bits == 64 else 0)) & -16

        def push(data: bytes) -> int:
            nonlocal sp
            sp = (sp - len(data)) & mask
            session.memory.write(base + sp, data)
            return base + sp

        given = []
        for one, data in arguments:
            if (one.kind == "array" and not one.is_vector) or is_by_reference(one):  # it gets where it is
                sp -= -len(data) % 16
                at = push(data)
                given.append((_pointer(word), at.to_bytes(word, "little")))
            else:
                given.append((one, data))
        result_at = None
        if result_in_memory(type, bits):
            sp &= -16
            result_at = push(bytes(-(-type.size // 16) * 16))
        passed = passing(given, bits, result_at)
        sp = (sp & -WIDEST) - (-len(passed.stack) % WIDEST)
        push(passed.stack)
        back = self._return_place()
        code_base = 0 if bits == 64 else regs.get("cs_base")
        push((back - code_base & (1 << 8 * word) - 1).to_bytes(word, "little"))
        for name, value in passed.registers.items():
            if isinstance(value, int):
                regs.set(name, value)
            else:
                session.state_of.set_vector(int(name.removeprefix("xmm")), value)
        regs.set("rsp", regs.rsp & ~mask | sp)
        regs.set("rip", address - code_base)
        regs.set("rflags", regs.rflags & ~0x400)  # DF is clear on entry
        return back, base + sp + word

    def _return_place(self) -> int:
        """Code where a function that was called may return to, and that hardly runs otherwise: the image's entry."""
        session = self._session
        entry = session.image.entry
        place = entry.ip if entry.cs is None else entry.cs * 16 + entry.ip
        try:
            session.memory.read(place, 1)
        except MemoryFault:
            place = session.vcpu.pc
        return place

    def leave(self, value: int | None = None) -> None:
        """End the selected frame at once: back in its caller, as if the function had returned ``value``."""
        session = self._session
        session.control.require_stopped()
        frames = session.frames
        frame = frames.of(session.runner)
        caller = frames.caller_of(frame)
        if caller is not None and caller.how == CALLED:
            frames.choose(None)
            return self.take_back()
        if caller is None:
            raise UsageError("the frame that called this one is not known: it cannot be returned to")
        bits = session.vcpu.mode.bits
        code_base = 0 if bits == 64 else session.regs.get("cs_base")
        stack_base = 0 if bits == 64 else session.regs.get("ss_base")
        for name, one in caller.regs.items():
            session.regs.set(name, one)
        session.regs.set("rsp", session.regs.rsp & ~((1 << bits) - 1) | caller.sp - stack_base)
        session.regs.set("rip", caller.pc - code_base)
        if value is not None:
            session.regs.set("rax", value & LOW64 if bits == 64 else value & 0xFFFFFFFF)


def _pointer(size: int) -> CType:
    from kvmdbg.language.ctype import CType

    return CType("pointer", "void *", size)
