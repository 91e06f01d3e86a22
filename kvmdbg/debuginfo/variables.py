"""Variables of the guest's source: where they are now, and their values in words.

Source: DWARF 5, section 2.5 (expressions), 3.4 (call sites).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import attrgetter

from kvmdbg.debuginfo.backtrace import Frame, StoppedCpu, physical_frames
from kvmdbg.debuginfo.declarations import DebugInfo, Function, Variable
from kvmdbg.debuginfo.demangled import demangled
from kvmdbg.debuginfo.files import DebugFiles
from kvmdbg.debuginfo.functions import Functions
from kvmdbg.debuginfo.locations import NotThere, Place, evaluate
from kvmdbg.debuginfo.meanings import meanings
from kvmdbg.debuginfo.same_names import symbol_named
from kvmdbg.debuginfo.surroundings import Surroundings, function_at
from kvmdbg.debuginfo.template_names import as_gcc_writes
from kvmdbg.debuginfo.type_reader import Counted
from kvmdbg.errors import LoadError, MemoryFault, SessionStateError, UsageError
from kvmdbg.language.ctype import CType
from kvmdbg.language.declared import all_bases
from kvmdbg.language.partial import Lost
from kvmdbg.language.shown import PLAIN, Printer, Style
from kvmdbg.machine.image import Symbol
from kvmdbg.record import replace

KEYWORDS = ("struct", "union", "enum", "class")
MOST_BYTES = 1 << 20
"""Of an array that is as long as the program says: more has one that is not set up yet."""
MOST_FRAMES = 1000
"""That a variable of another function is looked for in."""
_NUMBERED = re.compile(r"\.\d+$")
"""What compilers add to the names of variables inside of functions."""
_OF_LINKERS = frozenset("__bss_start _edata edata _end end _etext etext __data_start data_start".split())
"""Places that linkers name: what lies behind one is not of it."""


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

    @property
    def word_size(self) -> int:
        """Bytes of a pointer and of a long in the program."""
        return self._files.dwarf()[0][0].bits // 8

    @property
    def language(self) -> str:
        """What the code that looks is written in; where it has no lines, as in a start-up file, the first unit that a
        compiler has made."""
        for info, base in self._information():
            with suppress(LoadError):
                if (found := info.language(self.here - base)) not in ("", "asm"):
                    return found
        for info, _ in self._information():
            with suppress(LoadError):
                if found := info.main_language():
                    return found
        return ""

    def function(self) -> tuple[Function, int] | None:
        """The function of the selected frame, and what its file's addresses are moved by."""
        found = function_at(self._files, self.here)
        return (found[1], found[2]) if found is not None else None

    def result_type(self) -> CType | None:
        """What the function of the selected frame returns; None for nothing, and where that is not known."""
        found = function_at(self._files, self.here)
        with suppress(LoadError):
            return found[0].result_type(found[1]) if found is not None else None
        return None

    def visible(self, *, parameters: bool) -> list[Variable]:
        """The parameters, or the other variables, of the blocks that the frame is in; inner ones first. UsageError."""
        found = self.function()
        if found is None:
            raise UsageError(f"nothing is known of the function at {self.here:#x}: it has no debug information")
        return [one for one in self._inside(*found) if one.is_parameter == parameters]

    def is_local(self, name: str) -> bool:
        """Whether a variable of the function that the code is in has that name."""
        found = self.function()
        return found is not None and any(one.name == name for one in self._inside(*found))

    def _inside(self, function: Function, base: int) -> list[Variable]:
        at = self.here - base
        owner = self._owner(function, at)
        found = [
            self._counted(one)
            for one, extent in function.variables
            if one.owner == owner and any(start <= at < end for start, end in extent)
        ]
        return sorted(found, key=attrgetter("depth"), reverse=True)

    def _owner(self, function: Function, at: int) -> int:
        """Where the function of the frame stands in .debug_info: an inlined one, if its code is one's."""
        if self._place is None and self.frame.block >= 0:
            return self.frame.block
        found = function_at(self._files, self.here)
        chain = Functions.of(found[0].dwarf).chain(at) if found is not None else []
        return next((one.offset for one in reversed(chain) if one.origin is not None), function.offset)

    def values(self, *, parameters: bool, style: Style = PLAIN) -> dict[str, str]:
        """The same by name, with their values in words; of one name the inner one."""
        found: dict[str, str] = {}
        for one in self.visible(parameters=parameters):
            if one.name not in found:
                found[one.name] = self.value(one, style)
        return found

    def find(self, name: str) -> Variable | None:
        """The variable of that name that is seen here: a local one before a global one.

        Of a certain place are ``file.c::name``, ``function::name``, ``::name`` (no local one).
        """
        name = name.replace("(anonymous namespace)::", "")
        if "(" in name:
            return None  # a function with its types
        given, name = name, name.removeprefix("::")
        scope, within, plain = name.rpartition("::")
        if within and (one := self._inside_of(scope, plain)) is not None:
            return one
        found = self.function() if not within and given == name else None
        if found is not None:
            for one in self._inside(*found):
                if one.name == name:
                    return one
        symbol = self._files.symbols.lookup(name)
        if symbol is not None and symbol.kind == "function":
            return None
        meant = self._meanings(given)
        for full in meant if meant != [name] else ():
            if (one := self._whole(full)) is not None:
                return one
            if full != name and self._type(full, whole=True) is not None:
                return None  # which hides what is further out
        for lost in (False, True):
            for info, base in self._information():
                with suppress(LoadError):
                    looks = symbol is not None or not info.dwarf.is_large
                    if looks and (one_ := info.variable(name, self._near(base), lost=lost)):
                        return one_
        return next((one for full in self._inherited(name) if (one := self._whole(full)) is not None), None)

    def _whole(self, name: str) -> Variable | None:
        """The variable that is called all of that."""
        for info, base in self._information():
            with suppress(LoadError):
                if (one := info.variable(name, self._near(base), whole=True)) is not None:
                    return one
        return None

    def _meanings(self, name: str) -> list[str]:
        return meanings(self._files, self.here, name)

    def _inherited(self, name: str) -> Iterator[str]:
        """What a class has by its bases: "Base::count" of "Derived::count"."""
        scope, within, own = name.rpartition("::")
        owner = self.type(scope) if within and scope else None
        for base in all_bases(owner) if owner is not None and owner.is_structure else ():
            yield f"{base.given}::{own}"

    def meanings(self, name: str) -> list[str]:
        """What a function of that name may be called with all its scopes."""
        return [*self._meanings(name), *self._inherited(name)]

    def _owner_named(self, name: str, variable: Variable) -> Function | None:
        """The function that ``function::name`` says, of a variable that lives in its frames."""
        scope = name.rpartition("::")[0]
        symbol = self.symbol(scope) if scope and variable.owner else None
        if symbol is None or (isinstance(variable.location, bytes) and variable.location[:1] == b"\x03"):
            return None
        found = function_at(self._files, symbol.address)
        return found[1] if found is not None else None

    def _running(self, function: Function) -> Variables:
        """The innermost frame of a function, from the selected one outwards. NotThere."""
        wanted = (function.unit, function.offset)

        def is_its(frame: Frame) -> bool:
            found = function_at(self._files, frame.place)
            return found is not None and (found[1].unit, found[1].offset) == wanted

        frames = physical_frames(self._cpu, self._files, MOST_FRAMES).frames
        found = next((one for one in frames if one.sp >= self.frame.sp and is_its(one)), None)
        if found is not None:
            return Variables(self._files, self._cpu, lambda: found)
        raise NotThere(f"no frame of {function.name} is on the stack")

    def _inside_of(self, scope: str, name: str) -> Variable | None:
        """The variable of a file, or that of a function."""
        function = self.symbol(scope)
        for info, base in self._information():
            with suppress(LoadError):
                one = info.variable_of_file(scope, name)
                if one is None and function is not None:
                    found = info.function_at(function.address - base)
                    one = info.inside(found, name) if found is not None else None
                if one is not None:
                    return one
        return None

    def variable(self, name: str) -> CType | None:
        """The type of the variable or function of that name, for expressions."""
        found = self.find(name)
        if found is not None and found.type.is_counted_later and (function := self._owner_named(name, found)):
            with suppress(NotThere):
                return self._running(function)._counted(found).type
        return found.type if found is not None else self._function_type(name)

    def symbol(self, name: str) -> Symbol | None:
        """The symbol that a name means to the code that looks."""
        if self.language == "c++":
            for full in self.meanings(name):
                if found := self._files.symbols.overloads(full):
                    return found[0]
        return symbol_named(self._files, name.removeprefix("::"), lambda: self.here)

    def _function_type(self, name: str) -> CType | None:
        symbol = self.symbol(name)
        if symbol is None or symbol.kind != "function":
            return None
        for info, base in self._information():
            with suppress(LoadError):
                if (found := info.function_type(symbol.address - base)) is not None:
                    return found
        return None

    def overloads(self, name: str) -> list[tuple[str, CType]]:
        """The functions of C++ with exactly that name: each with its types in its name, and its type."""
        for full in self.meanings(name):
            found = []
            for symbol in self._files.symbols.overloads(full):
                for info, base in self._information():
                    with suppress(LoadError):
                        if (type_ := info.function_type(symbol.address - base)) is not None:
                            found.append((symbol.name, type_))
            if found:
                return found
        return []

    def where(self, name: str) -> Place:
        """Where the variable of that name is now. NotThere, MemoryFault."""
        found = self.find(name)
        if found is None:
            raise NotThere(f"there is no variable {name} here")
        function = self._owner_named(name, found)
        try:
            if function is not None:
                place = self._running(function).place(found)
                return Place(place.address, place.data)  # the register may be another frame's
            return self.place(found)
        except NotThere as error:
            raise NotThere(f"{name}: {error}") from None

    def _near(self, base: int) -> int:
        return self.here - base

    def type(self, name: str) -> CType | None:
        """A structure, union, enum, typedef or base type by its name ("struct point", or "point" alone)."""
        keyword, _, rest = name.partition(" ")
        keyword, plain = (f"{keyword} ", rest) if keyword in KEYWORDS else ("", name)
        meant = self._meanings(plain)
        for full in meant if meant != [plain] else ():
            if (found := self._type(keyword + full, whole=True)) is not None:
                return found
        if (found := self._type(name)) is not None:
            return found
        inherited = (self._type(keyword + full, whole=True) for full in self._inherited(plain))
        return next((found for found in inherited if found is not None), None)

    def _type(self, name: str, *, whole: bool = False) -> CType | None:
        """The same from wherever one looks; ``whole``: it is called all of that."""
        names = (name,) if "<" not in name else (name, as_gcc_writes(name))
        for wanted in (f"{keyword}{one}" for one in names for keyword in ("", *(f"{word} " for word in KEYWORDS))):
            for info, base in self._information():
                with suppress(LoadError):
                    if (found := info.type(wanted, self._near(base), whole=whole)) is not None:
                        return found
        return None

    def constant(self, name: str) -> tuple[int, CType] | None:
        """The enumerator of that name: its value and its enumeration."""
        for full in (*self._meanings(name), *self._inherited(name)):
            for info, base in self._information():
                with suppress(LoadError):
                    if (found := info.constant(full, self._near(base))) is not None:
                        return found
        return None

    def type_names(self) -> list[str]:
        """Types of the source by name ("struct point", "word_t"), for completion: of large files only those near."""
        return [name for info, base in self._information() for name in info.type_names(self._near(base))]

    def outer_names(self) -> list[str]:
        """The same of variables outside of functions, and of enumerators."""
        return [name for info, base in self._information() for name in info.variable_names(self._near(base))]

    # --- where it is -------------------------------------------------------------------------------

    def place(self, variable: Variable) -> Place:
        """Where a variable's value is now. NotThere, MemoryFault."""
        return self._evaluated(variable.location, variable.type.size)

    def _evaluated(self, expression: bytes | tuple[tuple[int, int, bytes], ...], size: int) -> Place:
        around = Surroundings(self._files, self._cpu, self.frame, self.function())
        if isinstance(expression, tuple):
            pc = self.here - around.base
            matching = [code for start, end, code in expression if start <= pc < end]
            expression = matching[0] if matching else b""
        if not expression:
            raise NotThere("optimized out")
        return evaluate(expression, size, around)

    def _counted(self, variable: Variable) -> Variable:
        """A variable with its type as long as it is in this frame."""
        if not variable.type.is_counted_later or self._place is not None:
            return variable
        with suppress(NotThere, MemoryFault):
            return replace(variable, type=self._counted_type(variable.type))
        return variable

    def _counted_type(self, type: CType) -> CType:
        if not type.is_counted_later or type.target is None:
            return type
        made = CType(type.kind, type.given, type.size)
        if type.original is not None:  # a typedef, or with qualifiers
            made.qualify(self._counted_type(type.original), "")
            made.qualifiers, made.unqualified, made.given = type.qualifiers, type.unqualified, type.given
            return made
        made.qualify(type, "")
        made.original, made.counted_by, made.target = None, None, self._counted_type(type.target)
        if type.kind == "array":
            made.count = self._count(type.counted_by) if type.counted_by is not None else type.count
            made.size = made.target.size * (made.count or 0)
            if made.size > MOST_BYTES:
                raise NotThere("it is not as long as it says")
        return made

    def _count(self, by: Counted) -> int:
        place = self._evaluated(by.place, by.type.size if by.type is not None else 8)
        if by.type is not None:
            number = int.from_bytes(self._bytes(place, by.type.size), "little", signed=by.type.signed)
        else:
            number = place.address if place.address is not None else int.from_bytes(place.data, "little")
        number = number - (1 << 64) if number >> 63 == 1 else number
        return max(number + by.added, 0)

    def _read(self, address: int, size: int) -> bytes:
        return self._cpu.memory.read(address, size)

    # --- values in words ---------------------------------------------------------------------------

    def value(self, variable: Variable, style: Style = PLAIN) -> str:
        """A variable's value as C shows it, or why it has none."""
        try:
            place = self.place(variable)
            data = self._bytes(place, variable.type.size)
            return self.printer(style).show(variable.type, data, at=place.address)
        except (NotThere, Lost, MemoryFault) as error:
            return f"<{error}>"

    def _bytes(self, place: Place, size: int) -> bytes:
        return place.data if place.address is None else self._read(place.address, size)

    def show(self, type: CType, data: bytes) -> str:
        """Bytes of this type as C shows them."""
        return self.printer().show(type, data)

    def printer(self, style: Style = PLAIN) -> Printer:
        """Who shows values of this guest."""
        try:
            word = self.word_size if self.known else 8 if self._cpu.mode.bits == 64 else 4
        except SessionStateError:
            word = 8  # while the guest runs its mode is not known
        return Printer(
            self._read, self.label, style, word=word, static=self._static_member, class_named=self._class_named
        )  # fmt: skip

    def _class_named(self, name: str) -> CType | None:
        """The class that is called all of that, from wherever one looks."""
        return self._type(name)

    def _static_member(self, name: str) -> tuple[int | None, bytes] | None:
        """Where a static member of a class is, and its bytes."""
        found = self.find(name)
        if found is None or found.name != name.rpartition("::")[2]:
            return None
        with suppress(NotThere, MemoryFault):
            place = self.place(found)
            return place.address, self._bytes(place, found.type.size)
        return None

    def label(self, address: int) -> str:
        """The name of what is at an address, as gdb writes it: "table+8"."""
        found = self._files.symbols.nearest(address)
        if found is None or (found[1] and not found[0].size and found[0].name in _OF_LINKERS):
            return ""
        name = _NUMBERED.sub("", demangled(found[0].name))
        return f"{name}+{found[1]}" if found[1] else name
