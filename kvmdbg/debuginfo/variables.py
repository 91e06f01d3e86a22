"""Variables of the guest's source: where they are now, and their values in words.

Source: DWARF 5, section 2.5 (expressions), 3.4 (call sites).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import groupby

from kvmdbg.debuginfo.backtrace import NAMES_32, NAMES_64, Frame, StoppedCpu, call_frame_address, physical_frames
from kvmdbg.debuginfo.declarations import DebugInfo, Function, Variable
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.debuginfo.functions import Functions
from kvmdbg.debuginfo.locations import NotThere, Place, evaluate
from kvmdbg.errors import LoadError, MemoryFault, UsageError
from kvmdbg.language.ctype import CType, Member
from kvmdbg.language.formats import MOST_ELEMENTS, character, floating, quoted, signed

Scalar = Callable[[int, int], str]


def _function_at(files: DebugFiles, place: int) -> tuple[DebugInfo, Function, int] | None:
    """The function around a linear address, its file, and what the file's addresses are moved by."""
    for dwarf, base in files.dwarf():
        with suppress(LoadError):
            info = DebugInfo.of(dwarf)
            found = info.function_at(place - base)
            if found is not None:
                return info, found, base
    return None


class _Surroundings:
    """What DWARF expressions ask for, in one frame (locations.Surroundings)."""

    def __init__(self, files: DebugFiles, cpu: StoppedCpu, frame: Frame, function: tuple[Function, int] | None) -> None:
        self._files, self._cpu, self._frame = files, cpu, frame
        self._function = function[0] if function is not None else None
        self.base = function[1] if function is not None else 0

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
        found = evaluate(self._function.frame_base, 8, self)
        return found.address if found.address is not None else int.from_bytes(found.data, "little")

    def base_type(self, offset: int) -> CType:
        found = _function_at(self._files, self._frame.place)
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
        found = _function_at(self._files, caller.place) if caller is not None else None
        if caller is None or found is None or self._function is None:
            raise NotThere("optimized out: only the caller knew it")
        info, function, base = found
        value = info.argument(function, caller.pc - base, self._function.name, code)
        if value is None:
            raise NotThere("optimized out: its value on entry is not kept")
        place = evaluate(value, size, _Surroundings(self._files, self._cpu, caller, (function, base)))
        return place.address if place.address is not None else int.from_bytes(place.data, "little")


class Variables:
    """The guest's source as the frame of a vCPU sees it that ``selected`` gives, or as code at ``place`` does."""

    def __init__(
        self, files: DebugFiles, cpu: StoppedCpu, selected: Callable[[], Frame], place: int | None = None
    ) -> None:
        self._files = files
        self._cpu = cpu
        self._selected = selected
        self._place = place

    def seen_from(self, place: int) -> Variables:
        """The same as code at a linear address sees it."""
        return Variables(self._files, self._cpu, self._selected, place)

    @property
    def frame(self) -> Frame:
        return self._selected()

    @property
    def here(self) -> int:
        """The linear address of the code that looks."""
        return self.frame.place if self._place is None else self._place

    def _information(self) -> list[tuple[DebugInfo, int]]:
        return [(DebugInfo.of(dwarf), base) for dwarf, base in self._files.dwarf()]

    @property
    def known(self) -> bool:
        """Whether there is any debug information."""
        return bool(self._files.dwarf())

    def function(self) -> tuple[Function, int] | None:
        """The function of the selected frame, and what its file's addresses are moved by."""
        found = _function_at(self._files, self.here)
        return (found[1], found[2]) if found is not None else None

    def result_type(self) -> CType | None:
        """What the function of the selected frame returns; None for nothing, and where that is not known."""
        found = _function_at(self._files, self.here)
        with suppress(LoadError):
            return found[0].result_type(found[1]) if found is not None else None
        return None

    def visible(self, *, parameters: bool) -> list[Variable]:
        """The parameters, or the other variables, of the blocks that the frame is in; outer ones first. UsageError."""
        found = self.function()
        if found is None:
            raise UsageError(f"nothing is known of the function at {self.here:#x}: it has no debug information")
        return [one for one in self._inside(*found) if one.is_parameter == parameters]

    def _inside(self, function: Function, base: int) -> list[Variable]:
        at = self.here - base
        owner = self._owner(function, at)
        return [
            one
            for one, extent in function.variables
            if one.owner == owner and any(start <= at < end for start, end in extent)
        ]

    def _owner(self, function: Function, at: int) -> int:
        """Where the function of the frame stands in .debug_info: an inlined one, if its code is one's."""
        if self._place is None and self.frame.block >= 0:
            return self.frame.block
        found = _function_at(self._files, self.here)
        chain = Functions.of(found[0].dwarf).chain(at) if found is not None else []
        return next((one.offset for one in reversed(chain) if one.origin is not None), function.offset)

    def values(self, *, parameters: bool) -> dict[str, str]:
        """The same by name, with their values in words."""
        return {one.name: self.value(one) for one in self.visible(parameters=parameters)}

    def find(self, name: str) -> Variable | None:
        """The variable of that name that is seen here: a local one before a global one."""
        found = self.function()
        if found is not None:
            for one in reversed(self._inside(*found)):
                if one.name == name:
                    return one
        symbol = self._files.symbols.lookup(name)
        if symbol is not None and symbol.kind == "function":
            return None
        for info, base in self._information():
            with suppress(LoadError):
                if (symbol is not None or not info.dwarf.is_large) and (one_ := info.variable(name, self._near(base))):
                    return one_
        return None

    def variable(self, name: str) -> CType | None:
        """The type of the variable of that name, for expressions."""
        found = self.find(name)
        return found.type if found is not None else None

    def where(self, name: str) -> Place:
        """Where the variable of that name is now. NotThere, MemoryFault."""
        found = self.find(name)
        if found is None:
            raise NotThere(f"there is no variable {name} here")
        try:
            return self.place(found)
        except NotThere as error:
            raise NotThere(f"{name}: {error}") from None

    def _near(self, base: int) -> int:
        return self.here - base

    def type(self, name: str) -> CType | None:
        """A structure, union, enum, typedef or base type by its name ("struct point", or "point" alone)."""
        for wanted in (name, f"struct {name}", f"union {name}", f"enum {name}", f"class {name}"):
            for info, base in self._information():
                with suppress(LoadError):
                    if (found := info.type(wanted, self._near(base))) is not None:
                        return found
        return None

    def constant(self, name: str) -> tuple[int, CType] | None:
        """The enumerator of that name: its value and its enumeration."""
        for info, base in self._information():
            with suppress(LoadError):
                if (found := info.constant(name, self._near(base))) is not None:
                    return found
        return None

    def type_names(self) -> list[str]:
        """Types of the source by name ("struct point", "word_t"), for completion: of large files only those near."""
        return [name for info, base in self._information() for name in info.type_names(self._near(base))]

    def outer_names(self) -> list[str]:
        """The same of variables outside of functions."""
        return [name for info, base in self._information() for name in info.variable_names(self._near(base))]

    # --- where it is -------------------------------------------------------------------------------

    def place(self, variable: Variable) -> Place:
        """Where a variable's value is now. NotThere, MemoryFault."""
        around = _Surroundings(self._files, self._cpu, self.frame, self.function())
        expression = variable.location
        if isinstance(expression, tuple):
            pc = self.here - around.base
            matching = [code for start, end, code in expression if start <= pc < end]
            expression = matching[0] if matching else b""
        if not expression:
            raise NotThere("optimized out")
        return evaluate(expression, variable.type.size, around)

    def _read(self, address: int, size: int) -> bytes:
        return self._cpu.memory.read(address, size)

    # --- values in words ---------------------------------------------------------------------------

    def value(self, variable: Variable) -> str:
        """A variable's value as C shows it, or why it has none."""
        try:
            place = self.place(variable)
            return self.show(variable.type, self._bytes(place, variable.type.size))
        except (NotThere, MemoryFault) as error:
            return f"<{error}>"

    def _bytes(self, place: Place, size: int) -> bytes:
        return place.data if place.address is None else self._read(place.address, size)

    def show(self, type: CType, data: bytes, depth: int = 0, scalar: Scalar | None = None) -> str:
        """Bytes of this type as C shows them; single values as ``scalar`` shows a number and its size, where given."""
        number = int.from_bytes(data, "little")
        if scalar is not None and type.kind not in ("struct", "union", "class", "array"):
            return scalar(number, len(data))
        if type.kind in ("int", "enum"):
            number = int.from_bytes(data, "little", signed=True) if data else 0
        if type.kind == "enum":
            return type.values.get(number, type.values.get(number & (1 << 8 * len(data)) - 1, str(number)))
        if type.kind == "bool":
            return "true" if number else "false"
        if type.kind == "char":
            value = signed(number, len(data)) if type.signed and data else number
            return f"{value} '{character(number & 0xFF)}'"
        if type.kind == "float":
            return floating(number, len(data)) if len(data) in (4, 8, 10, 12, 16) else data[::-1].hex()
        if type.kind == "pointer":
            return self._pointer(type, number)
        if type.kind in ("struct", "union", "class"):
            members = [(one.name, self._member(one, data, depth, scalar)) for one in type.members]
            return "{" + ", ".join(f"{name} = {value}" if name else value for name, value in members) + "}"
        if type.kind == "array" and type.target is not None:
            return self._array(type, data, depth, scalar)
        return str(number) if type.kind in ("int", "uint") else f"{number:#x}"

    def _member(self, one: Member, data: bytes, depth: int, scalar: Scalar | None) -> str:
        if one.bits:
            raw = int.from_bytes(data[one.offset : one.offset + 8], "little") >> one.bit & (1 << one.bits) - 1
            if scalar is not None:
                return scalar(raw, one.type.size)
            if one.type.kind == "int" and raw >> one.bits - 1:
                raw -= 1 << one.bits
            return one.type.values.get(raw, str(raw)) if one.type.kind == "enum" else str(raw)
        part = data[one.offset : one.offset + one.type.size]
        return self.show(one.type, part, depth + 1, scalar) if depth < 8 else "{...}"

    def _array(self, type: CType, data: bytes, depth: int, scalar: Scalar | None) -> str:
        inner = type.target
        assert inner is not None
        if inner.kind == "char" and inner.size == 1 and scalar is None:
            return quoted(data[: type.count or 0])
        size = max(inner.size, 1)
        count = min(type.count or 0, MOST_ELEMENTS)
        shown = [self.show(inner, data[n * size : (n + 1) * size], depth + 1, scalar) for n in range(count)]
        return "{" + ", ".join(_repeated(shown)) + (", ..." if (type.count or 0) > count else "") + "}"

    def _pointer(self, type: CType, number: int) -> str:
        target = type.target
        text = f"{number:#x}"
        label = self._files.symbols.format(number)
        if label:
            text += f" <{label}>"
        if target is not None and target.kind == "char" and number:
            try:
                return f"{text} {self._text(number)}"
            except MemoryFault:
                return text
        return text

    def _text(self, address: int) -> str:
        """The characters up to a zero, or as many as are shown."""
        data, whole = b"", MOST_ELEMENTS + 1
        while len(data) < whole and b"\0" not in data:
            at = address + len(data)
            try:
                data += self._read(at, min(whole - len(data), 4096 - at % 4096))
            except MemoryFault:
                if not data:
                    raise
                return quoted(data, ended=True) + "..."
        return quoted(data.split(b"\0")[0], ended=True)

    def declaration(self, type: CType) -> str:
        """A type as its source has it (``ptype``); of a pointer, what it points to."""
        if type.kind == "pointer" and type.target is not None and type.target.kind in ("struct", "union", "class"):
            shape, _, size = self.declaration(type.target).rpartition("  /*")
            return f"{shape} *  /*{size}"
        if type.kind in ("struct", "union"):
            lines = [f"{type.name} {{"]
            for one in type.members:
                bits = f" : {one.bits}" if one.bits else ""
                lines.append(f"    {_declared(one.type, one.name)}{bits};  /* offset {one.offset} */")
            return "\n".join([*lines, f"}}  /* {type.size} bytes */"])
        if type.kind == "enum":
            return f"{type.name} {{" + ", ".join(f"{name} = {value}" for value, name in type.values.items()) + "}"
        return f"{type.name}  /* {type.size} bytes */"


def _repeated(shown: list[str]) -> list[str]:
    """Eleven and more of the same, as gdb shows them: "0 <repeats 12 times>"."""
    found: list[str] = []
    for text, group in groupby(shown):
        count = len(list(group))
        found += [f"{text} <repeats {count} times>"] if count > 10 else [text] * count
    return found


def _declared(type: CType, name: str) -> str:
    if type.kind == "array" and type.target is not None:
        return _declared(type.target, f"{name}[{'' if type.count is None else type.count}]")
    if type.kind == "pointer" and "*)" in type.name:
        return type.name.replace("*)", f"*{name})", 1)
    if type.kind == "pointer":
        return f"{type.name}{name}"
    return f"{type.name} {name}"
