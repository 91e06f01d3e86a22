"""The types that DWARF entries describe.

Source: DWARF 5, sections 5 (types) and 5.7.10 (variant parts); names as gdb 13 shows them in each language.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kvmdbg.debuginfo.attribute_values import LANGUAGES, SCOPED, constant_bytes, member_offset, scope_of
from kvmdbg.debuginfo.classes import access_of, ending_of, slot_of, virtual_base
from kvmdbg.debuginfo.demangled import demangled
from kvmdbg.debuginfo.dwarf import Dwarf, place_of, text
from kvmdbg.debuginfo.template_names import as_gdb_writes
from kvmdbg.language.ctype import VOID, CType, Member, Method, Static, Typedef, Variants, array_of
from kvmdbg.record import record


@record
class Counted:
    """How many elements an array has that is as long as the program says: ``place`` is where the variable of ``type``
    is that has the number, or gives the number (``type`` None); ``added`` to it."""

    place: bytes | tuple[tuple[int, int, bytes], ...]
    added: int
    type: CType | None


_GNU_COMPLEX = 0x80
"""Of complex integers, which DWARF has no encoding for; gcc gives them this one (DW_ATE_lo_user)."""
_KINDS = {
    2: "bool", 3: "complex", 4: "float", 5: "int", 6: "char", 7: "uint", 8: "char", 0x10: "char",
    _GNU_COMPLEX: "complex",
}  # fmt: skip
"""By the encodings of DWARF 5, 7.8."""
_WIDE = {"wchar_t": "L", "char16_t": "u", "char32_t": "U"}


class TypeReader:
    """Those of one file."""

    def __init__(self, dwarf: Dwarf) -> None:
        self._file = dwarf
        self._types: dict[int, CType] = {}
        self._unfinished: dict[CType, list[tuple[CType, str]]] = {}
        """Types that are being read, and what is made of each."""
        self._delayed: set[CType] = set()
        """What is made of such, and read itself."""
        self._languages: dict[int, str] = {}

    def _type_at(self, die: Any) -> CType:
        if "DW_AT_type" not in die.attributes:
            return VOID
        return self.type_of(die.get_DIE_from_attribute("DW_AT_type"))

    def language(self, die: Any) -> str:
        """The language of the unit that an entry is in."""
        top = die.cu.get_top_DIE()
        place = place_of(self._file, top)
        if place not in self._languages:
            number = top.attributes.get("DW_AT_language")
            self._languages[place] = LANGUAGES.get(int(number.value), "") if number is not None else ""
        return self._languages[place]

    def _named(self, die: Any, made: CType, keyword: str) -> None:
        """Give a type the name that its language calls it by: "struct point" in C, "kern::Heap" in C++."""
        made.language = self.language(die)
        if not made.given and keyword != "enum" and (linkage := text(die, "DW_AT_linkage_name")):
            made.given = demangled(f"_Z{linkage}")  # the name of its typedef
        if not made.given:
            made.given = f"{keyword} {{...}}"
        elif made.language not in SCOPED:
            made.given = f"{keyword} {made.given}"
        elif "::" not in made.given.partition("<")[0] and made.given[:1] not in "(&*[":
            made.given = scope_of(die) + made.given
        if made.language == "c++":
            made.given = as_gdb_writes(made.given)

    def type_of(self, die: Any) -> CType:
        if "DW_AT_signature" in die.attributes:  # it is in a type unit
            with suppress(KeyError):
                die = die.get_DIE_from_attribute("DW_AT_signature")
        place = place_of(self._file, die)
        known = self._types.get(place)
        if known is not None:
            return known
        size = die.attributes.get("DW_AT_byte_size")
        made = self._types[place] = CType("void", text(die, "DW_AT_name"), int(size.value) if size is not None else 0)
        self._unfinished[made] = []
        if "DW_AT_alignment" in die.attributes:
            made.alignment = int(die.attributes["DW_AT_alignment"].value)
        getattr(self, f"_{die.tag.removeprefix('DW_TAG_')}", self._other)(die, made)
        if _stands_for(made, made) or _holds(made, made):  # as damaged information has it; else nothing would end
            vars(made).clear()
            vars(made).update(vars(CType("void", text(die, "DW_AT_name"), 0)))
        self._finish(made)
        return made

    def _qualify(self, made: CType, target: CType, qualifier: str) -> None:
        """Be the ``target`` by another name or with a qualifier, again when that has been read, if it is being read."""
        made.qualify(target, qualifier)
        if target in self._unfinished:
            self._unfinished[target].append((made, qualifier))
            self._unfinished.setdefault(made, [])
            self._delayed.add(made)

    def _finish(self, made: CType) -> None:
        """What is made of a type that has been read is what it is, too."""
        if made in self._delayed:
            return
        for one, qualifier in self._unfinished.pop(made, ()):
            one.qualify(made, qualifier)
            self._delayed.discard(one)
            self._finish(one)

    def _other(self, die: Any, made: CType) -> None:
        made.given = made.given or die.tag.removeprefix("DW_TAG_").replace("_", " ")

    def _base_type(self, die: Any, made: CType) -> None:
        encoding = die.attributes["DW_AT_encoding"].value
        made.kind = _KINDS.get(encoding, "uint")
        made.signed = encoding in (5, 6)
        made.is_quad = made.kind in ("float", "complex") and "loat128" in made.given
        made.language = self.language(die)
        if made.kind == "char" or made.given in ("wchar_t", "char8_t"):
            made.kind, made.prefix = "char", _WIDE.get(made.given, "")
        words = made.given.split()
        if made.kind == "complex":
            part = made.target = CType("float", made.given.removeprefix("complex "), made.size // 2)
            part.is_quad = made.is_quad
            if encoding == _GNU_COMPLEX:
                part.kind = "uint" if "unsigned" in words else "int"
                part.signed = part.kind == "int"
            return
        if len(words) > 1 and words[-1] == "int" and words != ["unsigned", "int"]:
            words.remove("int")  # "long unsigned int" is called "unsigned long"
        made.given = " ".join(sorted(words, key=lambda word: word != "unsigned"))

    def _unspecified_type(self, die: Any, made: CType) -> None:
        if made.given == "decltype(nullptr)":
            made.kind, made.size = "uint", self._file.bits // 8

    def _pointer_type(self, die: Any, made: CType) -> None:
        made.kind = "pointer"
        made.size = made.size or self._file.bits // 8
        made.target = self._type_at(die)

    def _reference_type(self, die: Any, made: CType) -> None:
        self._pointer_type(die, made)
        made.reference = True

    def _rvalue_reference_type(self, die: Any, made: CType) -> None:
        self._reference_type(die, made)
        made.rvalue = True

    def _ptr_to_member_type(self, die: Any, made: CType) -> None:
        made.kind, made.target = "member", self._type_at(die)
        if "DW_AT_containing_type" in die.attributes:
            made.owner = self.type_of(die.get_DIE_from_attribute("DW_AT_containing_type"))
        word = self._file.bits // 8
        made.size = 2 * word if made.target.kind == "function" else word

    def _typedef(self, die: Any, made: CType) -> None:
        self._qualify(made, self._type_at(die), "")
        if made.given in _WIDE and made.is_integer:
            made.kind, made.prefix = "char", _WIDE[made.given]
        if made.given and self.language(die) in SCOPED:
            made.given = scope_of(die) + made.given

    def _const_type(self, die: Any, made: CType) -> None:
        self._qualify(made, self._type_at(die), "const")

    def _volatile_type(self, die: Any, made: CType) -> None:
        self._qualify(made, self._type_at(die), "volatile")

    def _restrict_type(self, die: Any, made: CType) -> None:
        self._qualify(made, self._type_at(die), "restrict")

    def _atomic_type(self, die: Any, made: CType) -> None:
        self._qualify(made, self._type_at(die), "_Atomic")

    def _structure_type(self, die: Any, made: CType, kind: str = "struct") -> None:
        made.kind = kind
        made.is_empty = not made.size and "DW_AT_declaration" not in die.attributes
        self._named(die, made, kind)
        usual = "private" if kind == "class" else "public"
        for child in die.iter_children():
            attributes = child.attributes
            access = access_of(child, usual)
            if child.tag == "DW_TAG_variant_part":
                self._variant_part(child, made)
            elif child.tag == "DW_TAG_inheritance":
                made.members.append(self._base_class(child, access))
            elif child.tag == "DW_TAG_subprogram" and made.language == "c++":
                self._method(child, made, access)
            elif child.tag == "DW_TAG_typedef" and made.language == "c++":
                made.typedefs.append(Typedef(text(child, "DW_AT_name"), self._type_at(child), access))
            elif child.tag in ("DW_TAG_member", "DW_TAG_variable") and (
                child.tag == "DW_TAG_variable" or "DW_AT_external" in attributes
            ):
                name, type_, value = (
                    text(child, "DW_AT_name"),
                    self._type_at(child),
                    attributes.get("DW_AT_const_value"),
                )
                known = constant_bytes(value.value, type_.size) if value is not None else b""
                made.statics.append(Static(name, type_, access, len(made.members), known))
            elif child.tag == "DW_TAG_member":
                is_made = "DW_AT_artificial" in attributes
                made.members.append(self._member(child, "private" if is_made else access, is_made))

    def _base_class(self, die: Any, access: str) -> Member:
        base, place = self._type_at(die), die.attributes.get("DW_AT_data_member_location")
        name, is_virtual = f"<{base.given}>", "DW_AT_virtuality" in die.attributes
        if not is_virtual or place is None or isinstance(place.value, int):
            return Member(name, base, member_offset(place.value) if place else 0, access=access)
        return Member(name, base, 0, access=access, virtual=virtual_base(bytes(place.value), self._file.bits // 8))

    def _method(self, die: Any, made: CType, access: str) -> None:
        attributes = die.attributes
        type_ = CType("function", "", 1)
        method = Method(
            text(die, "DW_AT_name"), type_, access,
            text(die, "DW_AT_linkage_name") or text(die, "DW_AT_MIPS_linkage_name"),
            virtual="DW_AT_virtuality" in attributes,
            slot=slot_of(die),
            static="DW_AT_object_pointer" not in attributes and not self._takes_this(die),
            ending=ending_of(die),
            made="DW_AT_artificial" in attributes,
        )  # fmt: skip
        made.methods.append(method)
        self.signature(die, type_)
        takes = [one for one in die.iter_children() if one.tag == "DW_TAG_formal_parameter"]
        type_.parameters = [
            type for at, (one, type) in enumerate(zip(takes, type_.parameters or (), strict=True))
            if not at or "DW_AT_artificial" not in one.attributes  # how a destructor is called is no argument
        ]  # fmt: skip

    @staticmethod
    def _takes_this(die: Any) -> bool:
        first = next((one for one in die.iter_children() if one.tag == "DW_TAG_formal_parameter"), None)
        return first is not None and "DW_AT_artificial" in first.attributes

    def _member(self, die: Any, access: str = "public", is_made: bool = False) -> Member:
        attributes = die.attributes
        place = attributes.get("DW_AT_data_member_location")
        bits = attributes.get("DW_AT_bit_size")
        offset = member_offset(place.value) if place is not None else 0
        type_ = self._type_at(die)
        first = attributes.get("DW_AT_data_bit_offset")
        bit = 0
        if bits is not None and first is not None:
            offset, bit = first.value // 8, first.value % 8
        elif bits is not None and "DW_AT_bit_offset" in attributes:  # DWARF 3: counted from the other end
            bit = type_.size * 8 - attributes["DW_AT_bit_offset"].value - bits.value
        width = int(bits.value) if bits is not None else 0
        return Member(text(die, "DW_AT_name"), type_, offset, bit, width, access, is_made)

    def _variant_part(self, die: Any, made: CType) -> None:
        """The members of which one is there at a time, and what says which."""
        tag = self._member(die.get_DIE_from_attribute("DW_AT_discr")) if "DW_AT_discr" in die.attributes else None
        cases: dict[int | None, Member] = {}
        for variant in die.iter_children():
            if variant.tag != "DW_TAG_variant":
                continue
            members = [self._member(one) for one in variant.iter_children() if one.tag == "DW_TAG_member"]
            value = variant.attributes.get("DW_AT_discr_value")
            if members:
                wanted = None if value is None else int(value.value)
                if wanted is not None and tag is not None:
                    wanted &= (1 << 8 * tag.type.size) - 1
                cases[wanted] = members[0]
                made.members.append(members[0])
        made.variants = Variants(tag, cases)

    def _class_type(self, die: Any, made: CType) -> None:
        self._structure_type(die, made, "class")

    def _union_type(self, die: Any, made: CType) -> None:
        self._structure_type(die, made, "union")

    def _enumeration_type(self, die: Any, made: CType) -> None:
        made.kind = "enum"
        self._named(die, made, "enum")
        made.scoped = "DW_AT_enum_class" in die.attributes
        scope = ""
        if made.language in SCOPED:
            scope = f"{made.given}::" if made.scoped else scope_of(die)
            made.underlying = self._type_at(die) if "DW_AT_type" in die.attributes else None
        for child in die.iter_children():
            if child.tag == "DW_TAG_enumerator":
                made.values[child.attributes["DW_AT_const_value"].value] = scope + text(child, "DW_AT_name")
        made.signed = any(value < 0 for value in made.values)

    def _array_type(self, die: Any, made: CType) -> None:
        ranges = [self._count(one) for one in die.iter_children() if one.tag == "DW_TAG_subrange_type"]
        inner = self._type_at(die)
        if "DW_AT_GNU_vector" in die.attributes and inner.kind == "char":  # a vector holds numbers
            plain = CType("", inner.given, 0)
            plain.qualify(inner, "")
            plain.original, plain.kind = None, "int" if inner.signed else "uint"
            inner = plain
        for count, counted_by in reversed(ranges[1:]):
            inner = array_of(inner, count)
            inner.counted_by = counted_by
        made.kind, made.target = "array", inner
        made.count, made.counted_by = ranges[0] if ranges else (None, None)
        made.size = inner.size * (made.count or 0)
        made.is_vector = "DW_AT_GNU_vector" in die.attributes
        made.language = self.language(die)
        if made.language == "rust":
            made.given = f"[{inner}; {made.count}]" if made.count is not None else f"[{inner}]"

    def _count(self, die: Any) -> tuple[int | None, Counted | None]:
        """How many elements a dimension of an array has, or by what that is found in a frame."""
        for name, added in (("DW_AT_count", 0), ("DW_AT_upper_bound", 1)):
            found = die.attributes.get(name)
            if found is None:
                continue
            if found.form.startswith("DW_FORM_ref"):
                variable = die.get_DIE_from_attribute(name)
                place = self.location_of(variable, "DW_AT_location")
                return None, Counted(place, added, self._type_at(variable)) if place else None
            if not isinstance(found.value, int):
                return None, Counted(bytes(found.value), added, None)
            return found.value + added, None
        return None, None

    def location_of(self, die: Any, attribute: str) -> bytes | tuple[tuple[int, int, bytes], ...]:
        """Where an entry says that something is: see declarations.Variable; empty where it does not."""
        raise NotImplementedError

    def _subroutine_type(self, die: Any, made: CType) -> None:
        self.signature(die, made)
        made.given = ""

    def signature(self, die: Any, made: CType, definition: Any = None) -> None:
        """What a function takes and returns; of a declaration beside a type unit the definition says what it takes."""
        made.kind, made.size = "function", 1
        made.target = self._type_at(die)
        children = list(die.iter_children()) or (list(definition.iter_children()) if definition is not None else [])
        takes = [self._parameter(one) for one in children if one.tag == "DW_TAG_formal_parameter"]
        told = takes or "DW_AT_prototyped" in die.attributes or self.language(die) == "c++"
        made.parameters = takes if told else None
        made.takes_more = any(one.tag == "DW_TAG_unspecified_parameters" for one in children)

    def _parameter(self, die: Any) -> CType:
        found = self._type_at(die)
        if "DW_AT_artificial" not in die.attributes or found.qualifiers:
            return found
        made = CType("pointer", "", found.size)
        self._qualify(made, found, "const")  # C++'s this, as gdb has it
        return made


def _stands_for(type: CType, wanted: CType) -> bool:
    """Whether a type is made of another one by names, qualifiers, pointers, arrays or what functions return."""
    inner = type.original or type.target
    while inner is not None and inner is not wanted:
        inner = inner.original or inner.target
    return inner is not None


def _holds(type: CType, wanted: CType) -> bool:
    """Whether another structure is a part of one, so that both would have no end."""
    seen: set[int] = set()
    left = [type]
    while left:
        for one in left.pop().members:
            inner = one.type.resolved
            while inner.kind == "array" and inner.target is not None:
                inner = inner.target.resolved
            if inner is wanted:
                return True
            if inner.is_structure and id(inner) not in seen:
                seen.add(id(inner))
                left.append(inner)
    return False
