"""Values in words, as gdb's print shows them.

Source: gdb manual, "Print Settings" and "Output Formats"; what each shows was compared with gdb 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kvmdbg.errors import MemoryFault
from kvmdbg.language import rust
from kvmdbg.language.ctype import ADDRESS, CType, Member, Static, integer
from kvmdbg.language.floats import number_of, truncated
from kvmdbg.language.formats import character, floating, format_scalar, number_in_radix, quoted, signed
from kvmdbg.language.objects import Objects
from kvmdbg.language.partial import OPTIMIZED_OUT, Partial
from kvmdbg.language.types import LINEAR, MemoryRef, Value
from kvmdbg.record import record

NATURAL = ("", "r", "s")
"""Formats that leave numbers as their types are shown."""

RADIX_LETTERS = {16: "x", 8: "o"}
"""How integers are shown where ``set output-radix`` asks for it: bool and characters, too, without a sign."""
_WHOLE = integer("long", 8, signed=True)


@record
class Style:
    """How values are shown: gdb's ``set print …``; 0 elements, repeats or depth: no limit."""

    pretty: bool = False
    elements: int = 200
    repeats: int = 10
    union: bool = True
    address: bool = True
    symbol: bool = True
    null_stop: bool = False
    array: bool = False
    array_indexes: bool = False
    max_depth: int = 20
    radix: int = 10
    static_members: bool = True
    object: bool = False


PLAIN = Style()


class Printer:
    """Shows values; ``read`` gives memory at a linear address (MemoryFault), ``label`` names an address or gives "".

    An address has ``word`` bytes. ``static`` gives the address of a static member by its name with its class, and its
    bytes, or None, ``class_named`` a class by its name.
    """

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        label: Callable[[int], str],
        style: Style = PLAIN,
        *,
        word: int = 8,
        static: Callable[[str], tuple[int | None, bytes] | None] = lambda name: None,
        class_named: Callable[[str], CType | None] = lambda name: None,
    ) -> None:
        self._read = read
        self._label = label
        self.style = style
        self._word = word
        self._static = static
        self.objects = Objects(read, label, class_named, word)
        self._within: list[str] = []
        """The static members that are being shown."""

    def value(self, value: Value, letter: str = "") -> str:
        """What an expression gave; a pointer with its type, with ``object`` the one that its object really has."""
        type = value.type
        if self.style.object and (real := self.real(value)) is not None and (type.is_structure or letter in NATURAL):
            whole, begin, name = real
            if type.kind == "pointer":
                return f"({name}) {self.address(begin)}"
            shown = self.show(whole, self._read(begin, whole.size), letter, at=begin)
            return f"({name}) " + (shown if value.reference is None else f"@{begin:#x}: {shown}")
        if value.reference is not None:
            kept = self.value(Value(value.value, type, value.lvalue, value.space, value.data), letter)
            referred = value.lvalue.address if isinstance(value.lvalue, MemoryRef) else value.value
            return f"({value.reference}) @{referred:#x}: {kept}"
        if type.kind == "void":
            return "void"
        if type.kind == "pointer" and letter in NATURAL:
            return self._with_type(type, value.value)
        if type.is_number and not type.is_float:
            return self._integer(type, value.value, letter)
        if type.kind == "function":
            place = self.address(value.value)
            return format_scalar(value.value, letter, 8) if letter not in NATURAL else f"{{{type}}} {place}"
        at = value.lvalue.address if isinstance(value.lvalue, MemoryRef) and value.space == LINEAR else None
        return self.show(type, value.bytes, letter, at=at)

    def real(self, value: Value) -> tuple[CType, int, str] | None:
        """The class that an object in memory, or the one that a pointer leads to, really has, where it begins, and the
        name of the value's type with that class; None where that is not known."""
        is_pointer = value.type.kind == "pointer"
        said = value.type.target if is_pointer else value.type
        if said is None or value.space != LINEAR or not (is_pointer or isinstance(value.lvalue, MemoryRef)):
            return None
        at = value.lvalue.address if isinstance(value.lvalue, MemoryRef) and not is_pointer else value.value
        found = self.objects.whole(said, at)
        if found is None:
            return None
        sign = " *" if is_pointer else "" if value.reference is None else " &&" if value.reference.rvalue else " &"
        qualifiers = f"{said.qualifiers} " if said.qualifiers and sign else ""
        return *found, f"{qualifiers}{found[0]}{sign}"

    def _with_type(self, type: CType, number: int) -> str:
        target = type.target
        assert target is not None
        named = (target.unqualified or target.given) == "char" or bool(target.prefix)
        bare = type is ADDRESS or (not type.given and target.kind == "char" and named)
        return self._pointer(type, number) if bare else f"({type}) {self._pointer(type, number)}"

    def show(self, type: CType, data: bytes, letter: str = "", depth: int = 0, at: int | None = None) -> str:
        """Bytes of this type, which are at a linear address, or in no memory."""
        if isinstance(data, Partial) and not type.is_structure and type.kind not in ("array", "complex"):
            return OPTIMIZED_OUT
        if type.is_structure:
            return self._structure(type, data, letter, depth, at=at)
        if type.kind == "array" and type.target is not None:
            if not type.count and at is not None:
                # as many as there are: only where they begin is known
                return self._pointer(type, at) if letter in NATURAL else self.address(at)
            return self._array(type, type.target, data, letter, depth, at)
        if type.kind == "member":
            return self._pointer_to_member(type, data)
        if type.kind == "complex" and type.target is not None:
            form = "" if type.target.is_float else letter
            half = len(data) // 2
            return "{} + {}i".format(*(self.show(type.target, one, form, 1) for one in (data[:half], data[half:])))
        number = int.from_bytes(data, "little")
        if type.reference and type.target is not None and letter in NATURAL and depth:
            return f"@{number:#x}"  # a member
        if type.reference and type.target is not None and letter in NATURAL:
            try:
                meant = self.show(type.target, self._read(number, type.target.size), letter, 1, number)
            except MemoryFault as fault:
                meant = f"<{fault}>"
            return f"@{number:#x}: {meant}"
        if type.is_float:
            if letter in (*NATURAL, "f"):
                return floating(number, len(data), of_type=type)
            if letter in ("a", "c"):  # of these gdb shows the integer part, of others the bits
                return self._integer(_WHOLE, truncated(number_of(data, type.is_quad)), letter)
            return format_scalar(number, letter, len(data), self._label)
        if type.signed and type.is_integer:
            number = signed(number, len(data)) if data else 0
        return self._integer(type, number, letter)

    # --- one number --------------------------------------------------------------------------------

    def _integer(self, type: CType, number: int, letter: str) -> str:
        if letter == "c":
            return f"{_one_byte(number, type.signed)} '{character(number & 0xFF)}'"
        if letter == "f" and type.size not in (4, 8, 16):
            return str(number)
        if letter not in NATURAL:
            return format_scalar(number, letter, self._word if letter == "a" else type.size, self._label)
        if self.style.radix in RADIX_LETTERS and type.kind in ("int", "uint", "char", "bool"):
            return format_scalar(number, RADIX_LETTERS[self.style.radix], type.size)
        if type.kind == "enum":
            return enumerator(type, number)
        if type.kind == "bool":
            return {0: "false", 1: "true"}.get(number) or str(number)
        if type.kind == "char":
            if type.prefix:
                return f"{number} {type.prefix}'{character(number, wide=True)}'"
            if type.size > 1:  # Rust's
                return f"{number} '{character(number, wide=True)}'"
            return f"{number} '{character(number & 0xFF)}'"
        if type.kind == "pointer":
            return self._pointer(type, number)
        if type.kind in ("int", "uint"):
            return number_in_radix(number, self.style.radix)
        return f"{number:#x}"

    def address(self, number: int) -> str:
        """An address with the name of what is there."""
        label = f"<{found}>" if (found := self._label(number)) else ""
        return f"{number:#x} {label}".rstrip() if self.style.address else label

    def _pointer(self, type: CType, number: int) -> str:
        target = type.target
        to_code = target is not None and target.kind == "function"
        text = self.address(number) if self.style.symbol or to_code else f"{number:#x}" if self.style.address else ""
        if target is None or target.kind != "char" or not (target.size == 1 or target.prefix) or not number:
            return text
        try:
            found = self._text(number, target)
        except MemoryFault:
            found = f"<error: Cannot access memory at address {number:#x}>"
        return f"{text} {found}".lstrip()

    def _text(self, address: int, type: CType) -> str:
        """The characters up to a zero, or as many as are shown."""
        size, most = type.size, self.style.elements or 1 << 16
        data, codes = b"", list[int]()
        while len(codes) < most and 0 not in codes:
            at = address + len(data)
            step = max(min((most - len(codes)) * size, 4096 - at % 4096) // size, 1)
            try:
                data += self._read(at, step * size)
            except MemoryFault:
                if not data:
                    raise
                return self._quoted(codes, type, ended=True) + "..."
            codes = _characters(data, type)
        ended = 0 in codes
        more = "" if ended or not self._more(address + len(data), size) else "..."
        return self._quoted(codes[: codes.index(0)] if ended else codes, type, ended=True) + more

    def _more(self, address: int, size: int) -> bool:
        """Whether a text goes on there."""
        try:
            return any(self._read(address, size))
        except MemoryFault:
            return True

    def _quoted(self, codes: Sequence[int], type: CType, *, ended: bool = False) -> str:
        style = self.style
        return quoted(codes, ended=ended, most=style.elements, alike=style.repeats, prefix=type.prefix)

    # --- what has parts ----------------------------------------------------------------------------

    def _structure(
        self, type: CType, data: bytes, letter: str, depth: int, named: bool = True, at: int | None = None,
        seen: set[int] | None = None,
    ) -> str:  # fmt: skip
        """``seen``: the virtual bases that have been shown; a part of another structure shares it."""
        style = self.style
        too_deep = named and style.max_depth and depth >= style.max_depth
        if too_deep or (type.kind == "union" and depth and not style.union):
            return "{...}"
        if type.language == "rust":
            return self._of_rust(type, data, letter, depth)
        statics = type.statics if style.static_members else []
        if not type.members and not statics:
            return "{<No data fields>}" if type.size or type.is_empty else "<incomplete type>"
        seen = set() if seen is None else seen
        bases, own = [], []
        for index, one in enumerate(type.members):
            own += [self._static_member(type, each, letter, depth + 1) for each in statics if each.before == index]
            if one.name[:1] == "<" and one.type.is_structure:
                text = self._base_class(type, one, data, letter, depth + 1, at, seen)
                bases += [f"{one.name} = {text}"] if text else []
                continue
            text = self.member(one, data, "" if one.made else letter, depth + 1, at)
            own.append(f"{one.name} = {text}" if one.name else text)
        own += [self._static_member(type, one, letter, depth + 1) for one in statics if one.before >= len(type.members)]
        nothing = "" if own or type.statics else "<No data fields>"  # of its own
        if not style.pretty:
            return "{" + ", ".join([*bases, *own, *([nothing] if nothing else [])]) + "}"
        indent = "\n" + " " * (2 + 2 * depth)
        shown = "".join(f"{indent}{one}, " for one in bases)
        if nothing:
            return "{" + shown + nothing + "}"
        if any(one.name[:1] == "<" and one.type.is_structure for one in type.members) and own:
            shown += f"{indent}members of {type.resolved.given}:"
        shown += indent + f",{indent}".join(own) if own else ""
        return "{" + shown.removesuffix(", ") + "\n" + " " * (2 * depth) + "}"

    def _base_class(
        self, type: CType, one: Member, data: bytes, letter: str, depth: int, at: int | None, seen: set[int]
    ) -> str:
        """A base; "" for a virtual one that has been shown."""
        if one.virtual is None:
            there = None if at is None else at + one.offset
            rest = data[one.offset :]  # a virtual base of it lies behind it
            return self._structure(one.type, rest, letter, depth, at=there, seen=seen)
        start = at if at is not None else 1 << 62  # in no memory: where it is within the bytes counts

        def read(address: int, size: int) -> bytes:
            offset = address - start
            return data[offset : offset + size] if 0 <= offset <= len(data) - size else self._read(address, size)

        if id(one.type.resolved) in seen:
            return ""
        seen.add(id(one.type.resolved))
        try:
            place = one.virtual(read, start)
            part = read(place, one.type.size)
        except MemoryFault:
            return "<invalid address>"
        return self._structure(one.type, part, letter, depth, at=place, seen=seen)

    def _static_member(self, type: CType, one: Static, letter: str, depth: int) -> str:
        name = f"{type.resolved.given}::{one.name}"
        if name in self._within:
            return f"static {one.name} = <same as static member of an already seen type>"
        at, data = self._static(name) or (None, one.data)
        if not data:
            return f"static {one.name} = {OPTIMIZED_OUT}"
        self._within.append(name)
        try:
            return f"static {one.name} = {self.show(one.type, data, letter, depth, at)}"
        finally:
            self._within.pop()

    def _pointer_to_member(self, type: CType, data: bytes) -> str:
        """``&Base::b``; of a function its address, or which virtual one it is (Itanium C++ ABI, 2.3)."""
        owner, target = type.owner, type.target
        number = int.from_bytes(data[: self._word], "little")
        if owner is None or target is None:
            return f"{number:#x}"
        if target.kind == "function":
            further = signed(int.from_bytes(data[self._word :], "little"), self._word)
            if number & 1 and (found := _virtual_at(owner.resolved, further, number // self._word)):
                return f"&virtual {found}"
            adjusted = f", this adjustment {further}" if further else ""
            return f"({type.resolved}) {self.address(number)}{adjusted}" if number else "NULL"
        if number == (1 << 8 * self._word) - 1:
            return "NULL"
        name = _member_at(owner.resolved, number)
        return f"&{name}" if name else str(number)

    def _of_rust(self, type: CType, data: bytes, letter: str, depth: int) -> str:
        def show(inner: CType, part: bytes, deep: int) -> str:
            return self.show(inner, part, letter, deep)

        if rust.is_slice(type):
            return rust.shown_slice(type, data, self._read, self.style.elements, show, depth)
        return rust.shown(type, data, depth, self.style.pretty, show)

    def member(self, one: Member, data: bytes, letter: str = "", depth: int = 0, at: int | None = None) -> str:
        """A member of the structure whose bytes are ``data``, ``at`` a linear address."""
        if not one.bits:
            part = data[one.offset : one.offset + one.type.size]
            at = None if at is None else at + one.offset
            if not one.name and one.type.is_structure:
                return self._structure(one.type, part, letter, depth, named=False, at=at)
            return self.show(one.type, part, letter, depth, at)
        unit = data[one.offset + one.bit // 8 : one.offset + (one.bit + one.bits + 7) // 8]
        if isinstance(unit, Partial):
            return OPTIMIZED_OUT
        raw = int.from_bytes(unit, "little") >> one.bit % 8 & (1 << one.bits) - 1
        if one.type.signed and raw >> one.bits - 1:
            raw -= 1 << one.bits
        return self._integer(one.type, raw, letter)

    def _array(self, type: CType, inner: CType, data: bytes, letter: str, depth: int, begin: int | None = None) -> str:
        style, count = self.style, type.count or 0
        is_text = inner.kind == "char" and (inner.size == 1 or inner.prefix) and letter in NATURAL
        if is_text and not type.is_vector and not isinstance(data, Partial):
            codes = _characters(data[: count * inner.size], inner)
            if style.null_stop and 0 in codes:
                length = codes.index(0)
                more = "..." if 0 < style.elements < length else ""
                return self._quoted(codes[: style.elements if more else length], inner, ended=True) + more
            return self._quoted(codes, inner)
        if style.max_depth and depth >= style.max_depth:
            return "{...}"
        size, most = max(inner.size, 1), style.elements or 1 << 62
        indent = "\n" + " " * (2 + 2 * depth) if style.array else ""
        shown: list[str] = []
        at, left = 0, most
        while at < count and left > 0:
            part = data[at * size : (at + 1) * size]
            alike = 1 if inner.size else count - at  # those without bytes are all alike
            while at + alike < count and data[(at + alike) * size : (at + alike + 1) * size] == part:
                alike += 1
            text = self.show(inner, part, letter, depth + 1, None if begin is None else begin + at * size)
            if style.repeats and alike > style.repeats:
                text += f" <repeats {alike} times>"
                left -= style.repeats
            else:
                alike, left = 1, left - 1
            shown.append(f"[{at}] = {text}" if style.array_indexes else text)
            at += alike
        end = "..." if at < count else ""
        left_sign, right_sign = "[]" if type.language == "rust" else "{}"
        if style.array and shown:
            return left_sign + indent + f",{indent}".join(shown) + end + "\n" + " " * (2 * depth) + right_sign
        return left_sign + ", ".join(shown) + end + right_sign


def _characters(data: bytes, type: CType) -> list[int]:
    """The characters of a text; of UTF-16 two that are one are taken together."""
    size = type.size
    codes = [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data) - size + 1, size)]
    if type.prefix != "u" or not any(0xD800 <= code < 0xDC00 for code in codes):
        return codes
    return [ord(one) for one in data.decode("utf-16-le", "surrogatepass")]


def _member_at(type: CType, offset: int) -> str:
    """The name of the member at an offset of a class, or of a base of it, with the class that has it."""
    for one in type.members:
        if one.name[:1] not in ("", "<") and one.offset == offset and not one.made:
            return f"{type.given}::{one.name}"
    for one in type.bases:
        inside = one.virtual is None and one.offset <= offset < one.offset + one.type.size
        if inside and (found := _member_at(one.type.resolved, offset - one.offset)):
            return found
    return ""


def _virtual_at(type: CType, offset: int, slot: int) -> str:
    """The virtual function at a place of the table of the class, or the base of it, that is at an offset."""
    for one in type.methods if not offset else ():
        if one.virtual and one.slot == slot:
            return f"{type.given}::{one.name}({', '.join(map(str, (one.type.parameters or [])[1:]))})"
    inside = [one for one in type.bases if one.virtual is None and one.offset <= offset < one.offset + one.type.size]
    found = (_virtual_at(one.type.resolved, offset - one.offset, slot) for one in inside)
    return next((one for one in found if one), "")


def _one_byte(number: int, is_signed: bool) -> int:
    return signed(number & 0xFF, 1) if is_signed else number & 0xFF


def enumerator(type: CType, number: int) -> str:
    """The name of an enumeration's value; of flags those that it is made of."""
    values = type.values
    if number in values:
        return values[number]
    if not values or any(one < 0 or one & one - 1 for one in values):
        return str(number)
    found, left = [], number & (1 << 8 * type.size) - 1
    for one, name in values.items():
        if left & one:
            found.append(name)
            left &= ~one
    if left:
        found.append(f"unknown: {left:#x}")
    return f"({' | '.join(found)})" if found else "0"
