"""What DWARF expressions ask for in a frame: registers, memory, the call frame, what callers have handed over.

Source: DWARF 5, section 2.5 (expressions), 3.4 (call sites).
"""

from __future__ import annotations

from contextlib import suppress

from kvmdbg.debuginfo.backtrace import NAMES_32, NAMES_64, Frame, StoppedCpu, call_frame_address, physical_frames
from kvmdbg.debuginfo.declarations import DebugInfo, Function
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.debuginfo.locations import NotThere, evaluate
from kvmdbg.errors import LoadError
from kvmdbg.language.ctype import CType


def function_at(files: DebugFiles, place: int) -> tuple[DebugInfo, Function, int] | None:
    """The function around a linear address, its file, and what the file's addresses are moved by."""
    for dwarf, base in files.dwarf():
        with suppress(LoadError):
            info = DebugInfo.of(dwarf)
            found = info.function_at(place - base)
            if found is not None:
                return info, found, base
    return None


def called_instead(files: DebugFiles, frame: Frame, caller: Frame) -> str:
    """The function that ``caller`` has called where that is not the frame's: it has jumped on (a tail call), and has no
    frame. "" where the caller has called the frame's function or a copy of it (foo.constprop.0), or does not say."""
    found = function_at(files, caller.place) if not caller.exact else None
    name = found[0].called(found[1], caller.pc - found[2]) if found is not None else ""
    here = function_at(files, frame.place) if name else None
    symbols = files.symbols.all_named(name) if here is not None else []
    entries = [function_at(files, one.address) for one in symbols]
    if here is None or not symbols or any(one is None or one[1].offset == here[1].offset for one in entries):
        return ""
    own = files.symbols.nearest(frame.place)
    return "" if own is not None and own[0].name.startswith(f"{name}.") else name


class Surroundings:
    """What DWARF expressions ask for, in one frame (locations.Surroundings)."""

    def __init__(self, files: DebugFiles, cpu: StoppedCpu, frame: Frame, function: tuple[Function, int] | None) -> None:
        self._files, self._cpu, self._frame = files, cpu, frame
        self._function = function[0] if function is not None else None
        self.base = function[1] if function is not None else 0
        self._in_frame_base = False

    def word_size(self) -> int:
        return 8 if self._cpu.mode.bits == 64 else 4

    def moved(self, address: int) -> int:
        return address + self.base

    def read(self, address: int, size: int) -> bytes:
        return self._cpu.memory.read(address, size)

    def register_name(self, number: int) -> str:
        names = NAMES_64 if self._cpu.mode.bits == 64 else NAMES_32
        if number >= len(names):
            raise NotThere(f"it is in register {number}, which is not known here")
        return names[number]

    def register(self, number: int) -> int:
        name = self.register_name(number)
        value = self._frame.pc if name == "rip" else self._frame.regs.get(name)
        if value is None:
            raise NotThere(f"it was in {name}, which functions called since may have changed")
        return value & (1 << self._cpu.mode.bits) - 1

    def call_frame(self) -> int:
        cfa = call_frame_address(self._cpu, self._files, self._frame)
        if cfa is None:
            raise NotThere("the call frame is not known here")
        return cfa

    def frame_base(self) -> int:
        if self._function is None or not self._function.frame_base:
            raise NotThere("its frame is not known")
        code = self._function.frame_base
        if isinstance(code, tuple):
            pc = self._frame.place - self.base
            code = next((one for start, end, one in code if start <= pc < end), b"")
            if not code:
                raise NotThere("its frame is not known here")
        if self._in_frame_base:
            raise NotThere("its frame is described by itself")
        self._in_frame_base = True
        try:
            found = evaluate(code, 8, self)
        finally:
            self._in_frame_base = False
        return found.address if found.address is not None else int.from_bytes(found.data, "little")

    def base_type(self, offset: int) -> CType:
        found = function_at(self._files, self._frame.place)
        if found is None:
            raise NotThere("its value is described by a type that is not known here")
        info, function, _ = found
        return info.type_at(function.unit + offset)

    def value_on_entry(self, code: bytes, size: int) -> int:
        """By what the caller says of the call (DW_TAG_call_site)."""
        sp = self._frame.sp
        frames = physical_frames(self._cpu, self._files, self._frame.number + 2).frames
        outer = [one for one in frames if one.sp > sp]
        caller = outer[0] if outer and not outer[0].exact else None
        found = function_at(self._files, caller.place) if caller is not None else None
        if caller is None or found is None or self._function is None:
            raise NotThere("optimized out: only the caller knew it")
        info, function, base = found
        value = info.argument(function, caller.pc - base, self._function.name, code)
        if value is None:
            raise NotThere("optimized out: its value on entry is not kept")
        place = evaluate(value, size, Surroundings(self._files, self._cpu, caller, (function, base)))
        return place.address if place.address is not None else int.from_bytes(place.data, "little")
