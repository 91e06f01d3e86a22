"""The types of vector and x87 registers, as gdb has them (vec128, vec256, i387_ext).

Source: gdb, features/i386/64bit-sse.xml and 64bit-avx.xml; Intel SDM volume 1, 4.6 (packed data types).
"""

from __future__ import annotations

from kvmdbg.language.ctype import CType, Member, array_of, integer

_FORMS = (
    ("float", CType("float", "float", 4)), ("double", CType("float", "double", 8)),
    ("int8", integer("int8_t", 1, signed=True)), ("int16", integer("int16_t", 2, signed=True)),
    ("int32", integer("int32_t", 4, signed=True)), ("int64", integer("int64_t", 8, signed=True)),
)  # fmt: skip
_WIDE = integer("uint128_t", 16)


def _vector(name: str, size: int) -> CType:
    made = CType("union", name, size)
    made.is_vector = True
    for form, element in _FORMS:
        count = size // element.size
        part = array_of(element, count)
        part.is_vector = True
        made.members.append(Member(f"v{count}_{form}", part, 0))
    if size == 16:
        made.members.append(Member("uint128", _WIDE, 0))
    else:
        part = array_of(integer("int128_t", 16, signed=True), size // 16)
        part.is_vector = True
        made.members.append(Member(f"v{size // 16}_int128", part, 0))
    return made


XMM, YMM, X87 = _vector("vec128", 16), _vector("vec256", 32), CType("float", "i387_ext", 10)

TYPES: dict[str, CType] = {
    **{f"xmm{n}": XMM for n in range(16)},
    **{f"ymm{n}": YMM for n in range(16)},
    **{f"st{n}": X87 for n in range(8)},
}
"""By the register's name in lower case."""
