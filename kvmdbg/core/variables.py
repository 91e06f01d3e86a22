"""Variables of the guest's source: where they are now, and their values in words.

Source: DWARF 5, section 2.5 (expressions), 7.7.1 (operations).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING

from kvmdbg.core.backtrace import Frame, call_frame_address
from kvmdbg.errors import KvmdbgError, LoadError, MemoryFault, UsageError
from kvmdbg.loaders.debug_info import CType, DebugInfo, Function, Member, Variable
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.core.runner import Runner
    from kvmdbg.core.session import Session

REGISTERS_64 = ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip")
REGISTERS_32 = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "rip")
MOST_ELEMENTS = 200
MOST_TEXT = 200


Scalar = Callable[[int, int], str]


class NotThere(KvmdbgError):
    """A variable that has no value here: optimized out, or described in a way that is not understood."""


@record
class Place:
    """Where a value is: a linear address, or its bytes and the ``register`` it is in ("" where it was worked out)."""

    address: int | None
    data: bytes = b""
    register: str = ""


class Variables:
    """The guest's source as the selected frame of a vCPU sees it, or as code at ``place`` does.

    It is a Scope of core/expression_types.py.
    """

    def __init__(self, session: Session, runner: Runner, place: int | None = None) -> None:
        self._session = session
        self._runner = runner
        self._place = place

    def seen_from(self, place: int) -> Variables:
        """The same as code at a linear address sees it."""
        return Variables(self._session, self._runner, place)

    @property
    def frame(self) -> Frame:
        return self._session.frame_of(self._runner)

    @property
    def here(self) -> int:
        """The linear address of the code that looks."""
        return self.frame.place if self._place is None else self._place

    def _files(self) -> list[tuple[DebugInfo, int]]:
        return [(DebugInfo.of(dwarf), base) for dwarf, base in self._session.debug_files()]

    @property
    def known(self) -> bool:
        """Whether there is any debug information."""
        return bool(self._session.debug_files())

    def function(self) -> tuple[Function, int] | None:
        """The function of the selected frame, and what its file's addresses are moved by."""
        place = self.here
        for info, base in self._files():
            with suppress(LoadError):
                found = info.function_at(place - base)
                if found is not None:
                    return found, base
        return None

    def visible(self, *, parameters: bool) -> list[Variable]:
        """The parameters, or the other variables, of the blocks that the frame is in; outer ones first. UsageError."""
        found = self.function()
        if found is None:
            raise UsageError(f"nothing is known of the function at {self.here:#x}: it has no debug information")
        return [one for one in self._inside(*found) if one.is_parameter == parameters]

    def _inside(self, function: Function, base: int) -> list[Variable]:
        at = self.here - base
        return [one for one, extent in function.variables if any(start <= at < end for start, end in extent)]

    def find(self, name: str) -> Variable | None:
        """The variable of that name that is seen here: a local one before a global one."""
        found = self.function()
        if found is not None:
            for one in reversed(self._inside(*found)):
                if one.name == name:
                    return one
        symbol = self._session.symbols.lookup(name)
        if symbol is not None and symbol.kind == "function":
            return None
        for info, base in self._files():
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
            for info, base in self._files():
                with suppress(LoadError):
                    if (found := info.type(wanted, self._near(base))) is not None:
                        return found
        return None

    def constant(self, name: str) -> tuple[int, CType] | None:
        """The enumerator of that name: its value and its enumeration."""
        for info, base in self._files():
            with suppress(LoadError):
                if (found := info.constant(name, self._near(base))) is not None:
                    return found
        return None

    # --- where it is -------------------------------------------------------------------------------

    def place(self, variable: Variable) -> Place:
        """Where a variable's value is now. NotThere, MemoryFault."""
        found = self.function()
        base = found[1] if found is not None else 0
        expression = variable.location
        if isinstance(expression, tuple):
            pc = self.here - base
            matching = [code for start, end, code in expression if start <= pc < end]
            if not matching:
                raise NotThere("optimized out")
            expression = matching[0]
        if not expression:
            raise NotThere("optimized out")
        return self._evaluate(expression, variable.type.size, base)

    def _read(self, address: int, size: int) -> bytes:
        return self._session.read_linear(self._runner, address, size)

    def _register_name(self, number: int) -> str:
        names = REGISTERS_64 if self._runner.mode.bits == 64 else REGISTERS_32
        if number >= len(names):
            raise NotThere(f"it is in register {number}, which is not known here")
        return names[number]

    def _register(self, number: int) -> int:
        bits = self._runner.mode.bits
        frame, name = self.frame, self._register_name(number)
        value = frame.pc if name == "rip" else frame.regs.get(name)
        if value is None:
            raise NotThere(f"it was in {name}, which functions called since may have changed")
        return value & (1 << bits) - 1

    def _frame_base(self) -> int:
        found = self.function()
        if found is None or not found[0].frame_base:
            raise NotThere("its frame is not known")
        code = found[0].frame_base
        if code == b"\x9c":  # DW_OP_call_frame_cfa
            cfa = call_frame_address(self._session, self._runner, self.frame)
            if cfa is None:
                raise NotThere("the call frame is not known here")
            return cfa
        return self._evaluate(code, 8, found[1]).address or 0

    def _evaluate(self, code: bytes, size: int, base: int) -> Place:
        stack: list[int] = []
        at = 0
        mask = (1 << 64) - 1
        word = 8 if self._runner.mode.bits == 64 else 4
        while at < len(code):
            op = code[at]
            at += 1
            if op == 0x03:  # DW_OP_addr
                stack.append(int.from_bytes(code[at : at + word], "little") + base)
                at += word
            elif op == 0x91:  # DW_OP_fbreg
                offset, at = _sleb(code, at)
                stack.append(self._frame_base() + offset)
            elif 0x70 <= op <= 0x8F:  # DW_OP_breg0 to 31
                offset, at = _sleb(code, at)
                stack.append(self._register(op - 0x70) + offset & mask)
            elif 0x50 <= op <= 0x6F:  # DW_OP_reg0 to 31
                value = self._register(op - 0x50)
                data = (value & (1 << 8 * max(size, 1)) - 1).to_bytes(max(size, 1), "little")
                return Place(None, data, self._register_name(op - 0x50))
            elif 0x30 <= op <= 0x4F:  # DW_OP_lit0 to 31
                stack.append(op - 0x30)
            elif op in FIXED:
                wide, signed = FIXED[op]
                stack.append(int.from_bytes(code[at : at + wide], "little", signed=signed))
                at += wide
            elif op == 0x10:
                value, at = _uleb(code, at)
                stack.append(value)
            elif op == 0x11:
                value, at = _sleb(code, at)
                stack.append(value)
            elif op == 0x23:  # DW_OP_plus_uconst
                value, at = _uleb(code, at)
                stack.append(stack.pop() + value & mask)
            elif op == 0x06:  # DW_OP_deref
                stack.append(int.from_bytes(self._read(stack.pop(), word), "little"))
            elif op in BINARY:
                right, left = stack.pop(), stack.pop()
                stack.append(BINARY[op](left, right) & mask)
            elif op == 0x9F:  # DW_OP_stack_value
                return Place(None, (stack.pop() & (1 << 8 * max(size, 1)) - 1).to_bytes(max(size, 1), "little"))
            else:
                raise NotThere(f"its place is described by a DWARF operation that is not understood ({op:#x})")
        return Place(stack.pop())

    # --- values in words ---------------------------------------------------------------------------

    def value(self, variable: Variable) -> str:
        """A variable's value as C shows it, or why it has none."""
        try:
            place = self.place(variable)
            return self.show(variable.type, self._bytes(place, variable.type.size))
        except (NotThere, MemoryFault) as error:
            return f"<{error}>"
        except IndexError:
            return "<its place is described in a damaged way>"

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
            shown = chr(number) if 0x20 <= number < 0x7F else f"\\x{number:02x}"
            return f"{number} {shown!r}" if len(shown) == 1 else f"{number} '{shown}'"
        if type.kind == "float":
            form = {4: "<f", 8: "<d"}.get(len(data))
            return f"{struct.unpack(form, data)[0]:.9g}" if form else data[::-1].hex()
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
        if inner.kind == "char" and scalar is None:
            text = data.split(b"\0")[0]
            if all(0x20 <= byte < 0x7F or byte in b"\n\t" for byte in text):
                return '"' + text.decode().replace("\n", "\\n").replace("\t", "\\t") + '"'
        size = max(inner.size, 1)
        count = min(type.count or 0, MOST_ELEMENTS)
        shown = [self.show(inner, data[n * size : (n + 1) * size], depth + 1, scalar) for n in range(count)]
        return "{" + ", ".join(_repeated(shown)) + (", ..." if (type.count or 0) > count else "") + "}"

    def _pointer(self, type: CType, number: int) -> str:
        target = type.target
        text = f"{number:#x}"
        label = self._session.symbols.format(number)
        if label:
            text += f" <{label}>"
        if target is not None and target.kind == "char" and number:
            try:
                data = self._read(number, min(MOST_TEXT, 4096 - number % 4096)).split(b"\0")[0]
            except MemoryFault:
                return text
            if data and all(0x20 <= byte < 0x7F or byte in b"\n\t" for byte in data):
                text += f" {data.decode()!r}"
        return text

    def declaration(self, type: CType) -> str:
        """A type as its source has it (``ptype``); of a pointer, what it points to."""
        if type.kind == "pointer" and type.target is not None and type.target.kind in ("struct", "union", "class"):
            return f"{self.declaration(type.target)} *"
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
    if type.kind == "pointer":
        return f"{type.name}{name}"
    return f"{type.name} {name}"


FIXED = {
    0x08: (1, False), 0x09: (1, True), 0x0A: (2, False), 0x0B: (2, True), 0x0C: (4, False), 0x0D: (4, True),
    0x0E: (8, False), 0x0F: (8, True),
}  # fmt: skip
BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b, 0x1C: lambda a, b: a - b, 0x1E: lambda a, b: a * b, 0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b, 0x24: lambda a, b: a << min(b, 64), 0x25: lambda a, b: a >> b, 0x27: lambda a, b: a ^ b,
}  # fmt: skip


def _uleb(code: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = code[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _sleb(code: bytes, at: int) -> tuple[int, int]:
    start = at
    value, at = _uleb(code, at)
    bits = 7 * (at - start)
    return (value - (1 << bits) if value >> bits - 1 else value), at
