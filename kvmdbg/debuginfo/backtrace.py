"""Call frames: by call frame information (DWARF) where there is some, in a Linux kernel by ORC, else by frame pointers.

Source: DWARF 5, section 6.4; System V ABI, AMD64 and i386, for the registers' numbers.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Protocol

from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.debuginfo.functions import Functions
from kvmdbg.errors import LoadError, MemoryFault
from kvmdbg.faces import InNotebooks
from kvmdbg.record import field, record, replace
from kvmdbg.x86.modes import Mode

NAMES_64 = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip")
NAMES_32 = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "rip")
FRAME_POINTER_64, FRAME_POINTER_32 = NAMES_64.index("rbp"), NAMES_32.index("rbp")
KEPT_64 = frozenset(("rbx", "rbp", "rsp", "r12", "r13", "r14", "r15"))
KEPT_32 = frozenset(("rbx", "rbp", "rsp", "rsi", "rdi"))
"""Registers that a called function leaves as they were (System V ABI)."""
CALLED = "call"
"""How the frame is found that stands for a call of the user's: its function has stopped before it returned."""
FARTHEST = 1 << 20
"""Bytes that a frame may at most reach over; a frame pointer that leads farther is none."""


class Registers(Protocol):
    """Those of one vCPU."""

    def get(self, name: str) -> int:
        """One by its name, as "ss_base"."""

    def general(self) -> dict[str, int]:
        """The general registers by their names, as "rax"."""


class Memory(Protocol):
    """Memory as one vCPU sees it."""

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at a linear address. MemoryFault."""


class StoppedCpu(Protocol):
    """The vCPU whose frames are asked for, as it stands."""

    @property
    def mode(self) -> Mode: ...

    @property
    def pc(self) -> int:
        """Linear address of the next instruction."""

    @property
    def registers(self) -> Registers: ...

    @property
    def memory(self) -> Memory: ...


@record
class Frame:
    """One call: ``pc`` linear, ``sp`` the stack pointer there, ``how`` it was found ("cfi", "orc", "frame pointer";
    CALLED for a call of the user's).

    ``regs`` are the registers as they were there, as far as that is known: calls keep only some. ``exact``: ``pc`` is
    the next instruction of code that was interrupted, not what is behind a call; ``place`` is where its code is.

    A function that was inlined has a frame of its own, with the ``pc`` and the registers of the one that it is in, and
    that is then found "inlined". ``block`` is where its entry stands in .debug_info (-1: that of the innermost around
    ``pc``), ``name`` what the source calls it, ``call`` the file and line where it calls what is inlined in it.
    """

    number: int
    pc: int
    sp: int
    how: str
    regs: dict[str, int] = field(default_factory=dict)
    exact: bool = True
    block: int = -1
    name: str = ""
    call: tuple[str, int] | None = None
    inlined: bool = False

    @property
    def place(self) -> int:
        return self.pc if self.exact else self.pc - 1


@record
class Backtrace(InNotebooks):
    """``frames``, innermost first, and why there is none after the last."""

    frames: tuple[Frame, ...]
    end: str


def backtrace(cpu: StoppedCpu, files: DebugFiles, most: int = 100) -> Backtrace:
    """The frames of a vCPU, at most ``most``, those of inlined functions included."""
    found = physical_frames(cpu, files, most)
    frames: list[Frame] = []
    for one in found.frames:
        last = frames[-1] if frames and frames[-1].how != CALLED else None
        begins = last is not None and files.start and _function(files, last.place) == files.start
        if begins and not _function(files, one.place):
            return Backtrace(tuple(frames), "the program starts here")
        for frame in with_inlined(one, files):
            if len(frames) == most:
                return Backtrace(tuple(frames), f"more than {most} frames")
            frames.append(replace(frame, number=len(frames)))
    return Backtrace(tuple(frames), found.end)


def _function(files: DebugFiles, place: int) -> str:
    """The symbol that a place belongs to, "" for none."""
    found = files.symbols.nearest(place)
    return found[0].name if found is not None else ""


def with_inlined(frame: Frame, files: DebugFiles) -> list[Frame]:
    """A frame, with those of the inlined functions that its place is in before it, the innermost first."""
    if frame.how == CALLED:
        return [frame]
    for dwarf, base in files.dwarf():
        with suppress(LoadError):
            functions = Functions.of(dwarf)
            chain = [one for one in functions.chain(frame.place - base) if one.origin is not None]
            if not chain:
                continue
            found: list[Frame] = []
            call = None
            for block in reversed(chain):
                assert block.origin is not None
                how = "inlined" if found else frame.how
                name, inlined = functions.shown(block.origin), block.kind == "inlined"
                found.append(replace(frame, how=how, block=block.offset, name=name, call=call, inlined=inlined))
                call = (block.file, block.line)
            return found
    return [frame]


def physical_frames(cpu: StoppedCpu, files: DebugFiles, most: int = 100) -> Backtrace:
    """The frames that have a place on the stack, at most ``most``."""
    mode = cpu.mode
    size = mode.bits // 8
    regs = innermost(cpu).regs
    base = _stack_base(cpu)
    mask = (1 << mode.bits) - 1
    pc = cpu.pc
    frames: list[Frame] = []
    how, exact = "here", True
    seen: set[tuple[int, int]] = set()
    while True:
        sp = base + (regs["rsp"] & mask)
        if (called := files.calls.get((pc, sp))) is not None and frames:
            frames.append(Frame(len(frames), pc, sp, CALLED, regs))
            pc, regs, how, exact = called.pc, called.regs, "before the call", True
            sp = base + (regs["rsp"] & mask)
        frames.append(Frame(len(frames), pc, sp, how, regs, exact))
        if len(frames) >= most:
            return Backtrace(tuple(frames), f"more than {most} frames")
        if (pc, sp) in seen:
            return Backtrace(tuple(frames), "the frames repeat")
        seen.add((pc, sp))
        try:
            found = _by_cfi(cpu.memory, files, frames[-1].place, regs, base, mask, size)
            how = "cfi"
            if found is None and size == 8:
                from kvmdbg.debuginfo.orc import frame_by_orc  # here and below: many guests need neither

                found = frame_by_orc(cpu.memory, files.symbols, frames[-1].place, regs)
                how = "orc"
            if found is None:
                found = _by_frame_pointer(cpu.memory, regs, base, mask, size)
                how = "frame pointer"
        except MemoryFault as fault:
            return Backtrace(tuple(frames), f"the stack ends: {fault}")
        if isinstance(found, str):
            return Backtrace(tuple(frames), found)
        back, regs, exact = found
        if not exact:
            kept = KEPT_64 if size == 8 else KEPT_32
            regs = {name: value for name, value in regs.items() if name in kept}
        if mode.segmented:
            back = cpu.registers.get("cs_base") + (back & 0xFFFF)
        if not back:
            return Backtrace(tuple(frames), "the return address is 0")
        if not _is_mapped(cpu.memory, back):
            return Backtrace(tuple(frames), f"the return address {back:#x} is not mapped")
        pc = back


def _stack_base(cpu: StoppedCpu) -> int:
    return 0 if cpu.mode.bits == 64 else cpu.registers.get("ss_base")


def _is_mapped(memory: Memory, address: int) -> bool:
    try:
        memory.read(address, 1)
    except MemoryFault:
        return False
    return True


def _word(memory: Memory, address: int, size: int) -> int:
    return int.from_bytes(memory.read(address, size), "little")


def _by_cfi(
    memory: Memory, files: DebugFiles, pc: int, regs: dict[str, int], base: int, mask: int, size: int
) -> tuple[int, dict[str, int], bool] | str | None:
    """The caller's pc and registers, and whether it was interrupted there.

    None where no information covers ``pc``, a text at the outermost frame.
    """
    names = NAMES_64 if size == 8 else NAMES_32
    row = cfi_row(files, pc)
    cfa = None if row is None else cfa_of(row, regs, names, mask)
    if row is None or cfa is None:
        return None
    cfa += base
    caller = dict(regs)
    back = None
    for number, one in row.items():
        if not isinstance(number, int) or number >= len(names):
            continue
        if one.type == "UNDEFINED" and names[number] == "rip":
            return "this is the outermost frame"
        if one.type == "OFFSET":
            value = _word(memory, cfa + one.arg, size)
            if names[number] == "rip":
                back = value
            else:
                caller[names[number]] = value
    if back is None:
        back = _word(memory, cfa - size, size)
    if names.index("rsp") not in row:
        caller["rsp"] = cfa - base
    return back, caller, bool(row["signal"])


def call_frame_address(cpu: StoppedCpu, files: DebugFiles, frame: Frame) -> int | None:
    """The call frame address of a frame (DW_OP_call_frame_cfa), linear; None where no information tells it."""
    bits = cpu.mode.bits
    row = cfi_row(files, frame.place)
    names = NAMES_64 if bits == 64 else NAMES_32
    found = cfa_of(row, frame.regs, names, (1 << bits) - 1) if row is not None else None
    return found + _stack_base(cpu) if found is not None else None


def innermost(cpu: StoppedCpu) -> Frame:
    """The frame that pc is in."""
    general = cpu.registers.general()
    regs = {name: general[name] for name in NAMES_64[:-1]}
    return Frame(0, cpu.pc, _stack_base(cpu) + (regs["rsp"] & (1 << cpu.mode.bits) - 1), "here", regs)


def cfi_row(files: DebugFiles, pc: int) -> dict[Any, Any] | None:
    """The row of call frame information for a place: its rules by register number, and "cfa"; None without any."""
    for dwarf, bias in files.dwarf():
        with suppress(LoadError):
            from kvmdbg.debuginfo.call_frame_info import frame_at

            found = frame_at(dwarf, pc - bias)
            rows = [row for row in found[0].table if row["pc"] + bias <= pc] if found is not None else []
            if rows and found is not None:
                return {**rows[-1], "signal": found[1]}
    return None


def cfa_of(row: dict[Any, Any], regs: dict[str, int], names: tuple[str, ...], mask: int) -> int | None:
    """The call frame address, as an offset into the stack segment; None for one that an expression describes."""
    rule = row["cfa"]
    if rule.reg is None or rule.reg >= len(names) or names[rule.reg] not in regs:
        return None
    return int(regs[names[rule.reg]] + rule.offset & mask)


def _by_frame_pointer(
    memory: Memory, regs: dict[str, int], base: int, mask: int, size: int
) -> tuple[int, dict[str, int], bool] | str:
    frame = regs["rbp"] & mask
    if not frame:
        return "the frame pointer is 0"
    if frame < regs["rsp"] & mask or frame - (regs["rsp"] & mask) > FARTHEST:
        return f"the frame pointer {frame:#x} points outside of the stack"
    above = _word(memory, base + frame, size)
    back = _word(memory, base + frame + size, size)
    return back, regs | {"rbp": above, "rsp": frame + 2 * size}, False
