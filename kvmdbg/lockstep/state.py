"""The state of a guest, as far as two back ends have to have it alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvmdbg.core.session import Session
from kvmdbg.kvm import abi

GENERAL = tuple(field[0] for field in abi.kvm_regs._fields_)
SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")
FIELDS = ("base", "limit", "type", "dpl", "db", "s", "l", "g")
FIELDS_IN_LONG_MODE = {"cs": ("type", "l", "db", "dpl"), "fs": ("base",), "gs": ("base",)}
CONTROL = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer")
ACCESSED = 1
ST0, XMM0, XMM_END = 32, 160, 416
"""In the legacy region of XSAVE (SDM volume 1, table 10-2)."""
STATUS, CONDITIONS = 2, 0x4500
PAGE = 4096


def general(session: Session) -> bytes:
    """struct kvm_regs."""
    return session.runner.vcpu.copy_of_regs()


def named(regs: bytes) -> dict[str, int]:
    """The registers of a struct kvm_regs."""
    return {name: int.from_bytes(regs[8 * n : 8 * n + 8], "little") for n, name in enumerate(GENERAL)}


def special(session: Session) -> dict[str, int]:
    """Segment, table and control registers.

    Only what an instruction can notice: of a segment register that holds nothing usable the selector, in 64-bit mode
    the bases of FS and GS, and what CS says of the mode.
    """
    sregs, long = session.runner.sregs, session.vcpu.mode.bits == 64
    found = {"cpl": int(sregs.ss.dpl) if sregs.cr0 & 1 else 0}
    for name in SEGMENTS:
        one: Any = getattr(sregs, name)
        found[name] = int(one.selector)
        fields: tuple[str, ...] = FIELDS if one.present and not one.unusable else ()
        if long and name not in ("tr", "ldt"):
            fields = FIELDS_IN_LONG_MODE.get(name, ())
        found |= {f"{name}.{field}": int(getattr(one, field)) for field in fields}
        if "type" in fields:
            found[f"{name}.type"] |= ACCESSED * int(one.s)
    for name in ("gdt", "idt"):
        found[f"{name}.base"], found[f"{name}.limit"] = int(getattr(sregs, name).base), int(getattr(sregs, name).limit)
    return found | {name: int(getattr(sregs, name)) for name in CONTROL}


def both(first: dict[str, int], second: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """What is in either; what one has not (a segment register that it takes for unusable) is -1 there."""
    names = [*first, *(name for name in second if name not in first)]
    return {name: first.get(name, -1) for name in names}, {name: second.get(name, -1) for name in names}


def floating(session: Session) -> dict[str, bytes]:
    """x87, SSE and MXCSR."""
    runner = session.runner
    area = bytes(runner.call(runner.vcpu.get_xsave))
    found = {"x87 control word": area[0:2], "x87 status word": area[2:4], "x87 tag word": area[4:5]}
    found |= {f"st({n})": area[ST0 + 16 * n : ST0 + 16 * n + 10] for n in range(8)}
    found |= {f"xmm{n}": area[XMM0 + 16 * n : XMM0 + 16 * n + 16] for n in range(16)}
    return found


def copy_registers(first: Session, second: Session) -> None:
    """Give the second vCPU what the first one has in its registers."""
    one, other = first.runner, second.runner
    general_registers, special_registers = general(first), one.sregs
    floating_registers = one.call(one.vcpu.get_xsave)
    other.call(lambda: other.vcpu.set_xsave(floating_registers))
    if special(first) != special(second):
        changed = abi.kvm_sregs.from_buffer_copy(bytes(special_registers))
        changed.apic_base = other.sregs.apic_base
        other.set_sregs(changed)
    for name, value in named(general_registers).items():
        other.set_general(name, value)


def copy_conditions(first: Session, second: Session) -> None:
    """Give the second the condition codes C0, C2 and C3 of the first one's x87 status word."""
    one, other = (session.runner.call(session.runner.vcpu.get_xsave) for session in (first, second))
    mine, its = (int.from_bytes(bytes(area)[STATUS : STATUS + 2], "little") for area in (one, other))
    if (mine ^ its) & CONDITIONS:
        words = bytearray(bytes(other))
        words[STATUS : STATUS + 2] = (its & ~CONDITIONS | mine & CONDITIONS).to_bytes(2, "little")
        changed = abi.kvm_xsave.from_buffer_copy(bytes(words))
        second.runner.call(lambda: second.runner.vcpu.set_xsave(changed))


def pages(first: Session, second: Session) -> Iterator[int]:
    """Guest-physical addresses of pages that hold something in either."""
    return iter(sorted({*first.machine.memory.populated(), *second.machine.memory.populated()}))
