"""The registers of each CPU mode as gdb knows them.

Feature and register names: gdb manual, node "i386 Features"; what has no place there is named as in QEMU's stub.
"""

from __future__ import annotations

from functools import lru_cache

from gdbstub.registers import Description, Feature, Flags, Register
from gdbstub.x86 import core
from kvmdbg.x86.flags import DECODED
from kvmdbg.x86.modes import Mode

I8086, I386, X86_64 = "i8086", "i386", "i386:x86-64"
MXCSR = Flags(
    "i386_mxcsr",
    4,
    (
        *((name, bit, bit) for bit, name in enumerate("IE DE ZE OE UE PE DAZ IM DM ZM OM UM PM".split())),
        ("RC", 13, 14),
        ("FZ", 15, 15),
    ),
)
VEC128 = """\
<vector id="v4f" type="ieee_single" count="4"/>
<vector id="v2d" type="ieee_double" count="2"/>
<vector id="v16i8" type="int8" count="16"/>
<vector id="v8i16" type="int16" count="8"/>
<vector id="v4i32" type="int32" count="4"/>
<vector id="v2i64" type="int64" count="2"/>
<union id="vec128">
<field name="v4_float" type="v4f"/>
<field name="v2_double" type="v2d"/>
<field name="v16_int8" type="v16i8"/>
<field name="v8_int16" type="v8i16"/>
<field name="v4_int32" type="v4i32"/>
<field name="v2_int64" type="v2i64"/>
<field name="uint128" type="uint128"/>
</union>"""


def _sse(count: int) -> Feature:
    registers = tuple(Register(f"xmm{n}", 128, "vec128", "vector") for n in range(count))
    mxcsr = Register("mxcsr", 32, "i386_mxcsr", "vector")
    return Feature("org.gnu.gdb.i386.sse", (*registers, mxcsr), (VEC128, MXCSR))


def _avx(count: int) -> Feature:
    return Feature("org.gnu.gdb.i386.avx", tuple(Register(f"ymm{n}h", 128, "uint128", "vector") for n in range(count)))


def _flags(name: str, size: int) -> Flags:
    return Flags(f"{name}_flags", size, tuple((field, bit, bit) for field, bit, _ in DECODED[name]))


def _system(bits: int) -> Feature:
    """What a kernel's debugger needs beyond gdb's own features."""
    registers = [Register("ip", 16, "uint16"), Register("sp", 16, "uint16")] if bits == 16 else []
    width = 64 if bits == 64 else 32
    size = width // 8
    registers += [Register("fs_base", width, "int"), Register("gs_base", width, "int")] if width == 32 else []
    registers += [Register(f"{name}_base", width) for name in ("cs", "ss", "ds", "es")]
    registers += [Register("k_gs_base", 64)] if bits == 64 else []
    registers += [
        Register("cr0", width, "cr0_flags"),
        Register("cr2", width, "data_ptr"),
        Register("cr3", width, f"int{width}"),
        Register("cr4", width, "cr4_flags"),
        Register("cr8", width, f"int{width}"),
        Register("efer", width, "efer_flags"),
    ]
    registers += [Register(f"dr{n}", width, f"int{width}") for n in (0, 1, 2, 3, 6, 7)]
    registers += [Register("tr", 32, "int32"), Register("ldtr", 32, "int32")]
    for name in ("gdtr", "idtr"):
        registers += [Register(f"{name}_base", width, f"int{width}"), Register(f"{name}_limit", 32, "int32")]
    types = tuple(_flags(name, size) for name in ("cr0", "cr4", "efer"))
    grouped = tuple(Register(one.name, one.bits, one.type, "system") for one in registers)
    return Feature("org.kvmdbg.i386.system", grouped, types)


@lru_cache
def description(architecture: str, avx: bool) -> Description:
    """The registers of an architecture of gdb's."""
    bits = {I8086: 16, I386: 32, X86_64: 64}[architecture]
    count = 16 if bits == 64 else 8
    features = [core(64 if bits == 64 else 32), _sse(count)]
    if avx:
        features.append(_avx(count))
    if bits == 64:
        base = tuple(Register(name, 64, "int") for name in ("fs_base", "gs_base"))
        features.append(Feature("org.gnu.gdb.i386.segments", base))
    features.append(_system(bits))
    return Description(
        key=architecture,
        features=tuple(features),
        architecture=architecture,
        osabi="none",
        triple={16: "i386-unknown-unknown-code16", 32: "i386-unknown-unknown", 64: "x86_64-unknown-unknown"}[bits],
        pointer_size=8 if bits == 64 else 4,
    )


def architecture(mode: Mode) -> str:
    """gdb's name for the code of a mode."""
    return {16: I8086, 32: I386, 64: X86_64}[mode.bits]
