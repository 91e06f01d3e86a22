"""The built-in types of C as a compiler for the guest has them.

Source: System V ABI, Intel386 supplement, figure 2-1, and AMD64 supplement, figure 3.1; code for 16-bit modes
(gcc -m16) has the types of 32-bit code.
"""

from __future__ import annotations

from functools import lru_cache

from kvmdbg.language import ctype
from kvmdbg.language.ctype import CType, integer

_EXTENSIONS = {"u8": ctype.U8, "u16": ctype.U16, "u32": ctype.U32, "u64": ctype.U64, "s8": ctype.S8,
               "s16": ctype.S16, "s32": ctype.S32, "s64": ctype.S64}  # fmt: skip
_COMPLEX = frozenset(["_Complex", "__complex__"])
_ORDER = ("signed", "unsigned", "short", "long", "char", "int", "__int128", "float", "double", "_Bool", "void")
OF_LIBRARIES = frozenset(_EXTENSIONS) | {f"{u}int{bits}_t" for u in ("", "u") for bits in (8, 16, 32, 64)}
"""Names that the guest's source may give to something of its own."""
WORDS = frozenset(_ORDER) | _COMPLEX | OF_LIBRARIES
"""The words that types are made of."""


class Abi:
    """The types where long, and a pointer, has ``long_size`` bytes."""

    def __init__(self, long_size: int) -> None:
        self.long_size = long_size
        self.char = integer("char", 1, signed=True, kind="char")
        self.int, self.unsigned = integer("int", 4, signed=True), integer("unsigned int", 4)
        self.long, self.unsigned_long = (integer("long", long_size, signed=True), integer("unsigned long", long_size))
        self.long_long, self.unsigned_long_long = integer("long long", 8, signed=True), integer("unsigned long long", 8)
        self.int128, self.unsigned128 = integer("__int128", 16, signed=True), integer("unsigned __int128", 16)
        self.float, self.double = CType("float", "float", 4), CType("float", "double", 8)
        self.long_double = CType("float", "long double", 16 if long_size == 8 else 12)
        self._named = {
            "char": self.char,
            "signed char": integer("signed char", 1, signed=True, kind="char"),
            "unsigned char": integer("unsigned char", 1, kind="char"),
            "short": integer("short", 2, signed=True),
            "unsigned short": integer("unsigned short", 2),
            "int": self.int,
            "unsigned int": self.unsigned,
            "long": self.long,
            "unsigned long": self.unsigned_long,
            "long long": self.long_long,
            "unsigned long long": self.unsigned_long_long,
            "__int128": self.int128,
            "unsigned __int128": self.unsigned128,
            "float": self.float,
            "double": self.double,
            "long double": self.long_double,
            "_Bool": integer("_Bool", 1, kind="bool"),
            "void": ctype.VOID,
            **_EXTENSIONS,
        }
        for bits in (8, 16, 32, 64):
            for name, signed in ((f"int{bits}_t", True), (f"uint{bits}_t", False)):
                kind = "char" if bits == 8 else ""
                self._named[name] = integer(name, bits // 8, signed=signed, kind=kind)

    def named(self, words: list[str]) -> CType | None:
        """The type of these words ("unsigned", "long"), in any order that C allows; None for no such type."""
        if {"signed", "unsigned"} <= set(words) or any(words.count(word) > 1 for word in words if word != "long"):
            return None
        if _COMPLEX & set(words):
            rest = [word for word in words if word not in _COMPLEX]
            element = self.named(rest) if rest and "_Bool" not in rest and "void" not in rest else None
            return ctype.complex_of(element) if element is not None else None
        left = sorted(words, key=lambda word: _ORDER.index(word) if word in _ORDER else 0)
        if "signed" in left and left != ["signed", "char"]:
            left.remove("signed")
            left = left or ["int"]
        if len(left) > 1 and "int" in left and left != ["unsigned", "int"]:  # short int, unsigned long int
            left.remove("int")
        if left == ["unsigned"]:
            left.append("int")
        if words.count("signed") and any(word in ("float", "double", "_Bool", "void") for word in left):
            return None
        return self._named.get(" ".join(left))

    def of_size(self, size: int, signed: bool) -> CType:
        """The integer type that the usual arithmetic conversions take for so many bytes."""
        if size <= 4:
            return self.int if signed else self.unsigned
        if size <= self.long_size:
            return self.long if signed else self.unsigned_long
        if size <= 8:
            return self.long_long if signed else self.unsigned_long_long
        return self.int128 if signed else self.unsigned128

    def character(self, prefix: str, is_cpp: bool) -> CType:
        """The type of the elements of a text with a prefix: char, wchar_t ("L"), char16_t ("u"), char32_t ("U").

        In C the three are names of integers, in C++ types of their own.
        """
        if prefix in ("", "u8"):
            return self.char
        name, stands_for = {
            "L": ("wchar_t", self.long if self.long_size == 4 else self.int),
            "u": ("char16_t", integer("unsigned short", 2)),
            "U": ("char32_t", self.unsigned),
        }[prefix]
        made = CType("char", name, stands_for.size)
        if not is_cpp:
            made.qualify(stands_for, "")
        made.kind, made.prefix, made.signed = "char", prefix, stands_for.signed
        return made

    def alignment(self, type: CType) -> int:
        """To a multiple of how many bytes values of it are aligned, in structures, too."""
        full = type.resolved
        if type.alignment or full.alignment:
            return max(type.alignment, full.alignment)
        if full.kind == "array" and full.target is not None and not full.is_vector:
            return self.alignment(full.target)
        if full.is_structure:
            return max((self.alignment(one.type) for one in full.members), default=1)
        size = full.size // 2 if full.kind == "complex" else full.size
        return max(size if self.long_size == 8 or full.is_vector else min(size, 4), 1)

    def promoted(self, type: CType) -> CType:
        """The integer promotions."""
        return self.int if type.is_integer and type is not ctype.EXACT and type.size < 4 else type.bare

    def common(self, left: CType, right: CType, op: str = "") -> CType:
        """The usual arithmetic conversions of two numbers."""
        if left.is_float and right.is_float:
            return (right if (right.size, right.is_quad) > (left.size, left.is_quad) else left).bare
        if left.is_float or right.is_float:
            return (left if left.is_float else right).bare
        if op in ("&", "|", "^") and left.kind == right.kind == "bool":
            return left  # as in gdb
        if ctype.EXACT in (left, right):
            return ctype.EXACT
        sizes = [max(one.size, 4) for one in (left, right)]
        unsigned = [not one.signed and one.size >= 4 for one in (left, right)]
        if sizes[0] != sizes[1]:
            wider = 0 if sizes[0] > sizes[1] else 1
            return self.of_size(sizes[wider], not unsigned[wider])
        return self.of_size(sizes[0], not any(unsigned))


@lru_cache
def abi(long_size: int) -> Abi:
    """That of 4 or 8 bytes for a long."""
    return Abi(long_size)
