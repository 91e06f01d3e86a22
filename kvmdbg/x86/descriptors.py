"""Segment descriptors and gates, taken apart.

Source: Intel SDM volume 3A, sections 3.4.5 (segment descriptors), 3.5 (system descriptors), 6.11 and 6.14.1 (gates).
"""

from __future__ import annotations

from kvmdbg.masks import LOW64
from kvmdbg.record import record

CODE, CONFORMING, WRITABLE, ACCESSED = 8, 4, 2, 1
SYSTEM_TYPES = {
    0: "reserved", 1: "16-bit TSS (available)", 2: "LDT", 3: "16-bit TSS (busy)", 4: "16-bit call gate", 5: "task gate",
    6: "16-bit interrupt gate", 7: "16-bit trap gate", 8: "reserved", 9: "TSS (available)", 10: "reserved",
    11: "TSS (busy)", 12: "call gate", 13: "reserved", 14: "interrupt gate", 15: "trap gate",
}  # fmt: skip
TSS_TYPES = frozenset((1, 3, 9, 11))
TASK_GATE = 5
GATE_TYPES = {TASK_GATE: 0, 6: 2, 7: 2, 14: 4, 15: 4}
"""What an entry of the IDT may be, and the bytes of a slot that it pushes (8 in long mode)."""


@record
class Segment:
    """A segment or system descriptor. ``limit`` in bytes, with the granularity counted in."""

    raw: int
    base: int
    limit: int
    type: int
    s: bool
    dpl: int
    present: bool
    l: bool  # noqa: E741  the SDM's name
    db: bool
    g: bool

    @property
    def is_code(self) -> bool:
        return self.s and bool(self.type & CODE)

    @property
    def is_writable(self) -> bool:
        return self.s and not self.type & CODE and bool(self.type & WRITABLE)

    def describe(self) -> str:
        """``64-bit code, execute/read, DPL 0``."""
        if not self.s:
            kind = SYSTEM_TYPES[self.type]
        elif self.is_code:
            bits = "64-bit" if self.l else "32-bit" if self.db else "16-bit"
            kind = f"{bits} code, execute{'/read' if self.type & 2 else '-only'}"
            kind += ", conforming" if self.type & CONFORMING else ""
        else:
            kind = f"data, read{'/write' if self.type & WRITABLE else '-only'}"
            kind += ", expand-down" if self.type & 4 else ""
        return f"{kind}, DPL {self.dpl}" + ("" if self.present else ", not present")


def segment(raw: int) -> Segment:
    """A descriptor of 8 bytes, or of 16 for the system descriptors of long mode (``raw`` little-endian)."""
    limit = raw & 0xFFFF | raw >> 32 & 0xF0000
    granular = bool(raw >> 55 & 1)
    base = raw >> 16 & 0xFFFFFF | raw >> 32 & 0xFF000000
    s = bool(raw >> 44 & 1)
    if not s and raw >> 64:
        base |= (raw >> 64 & 0xFFFFFFFF) << 32
    return Segment(
        raw, base, (limit << 12 | 0xFFF) if granular else limit, raw >> 40 & 15, s, raw >> 45 & 3,
        bool(raw >> 47 & 1), bool(raw >> 53 & 1), bool(raw >> 54 & 1), granular,
    )  # fmt: skip


@record
class Gate:
    """An entry of the IDT. ``ist`` is 0 outside of long mode."""

    raw: int
    selector: int
    offset: int
    type: int
    dpl: int
    present: bool
    ist: int

    def describe(self) -> str:
        """``interrupt gate to 0x8:0x1234, DPL 0``."""
        kind = SYSTEM_TYPES[self.type]
        text = f"{kind} to {self.selector:#x}:{self.offset:#x}, DPL {self.dpl}"
        return text + (f", IST {self.ist}" if self.ist else "") + ("" if self.present else ", not present")

    @property
    def is_malformed(self) -> bool:
        """Whether its type is none that an IDT may hold."""
        return self.type not in GATE_TYPES or bool(self.raw >> 44 & 1)


def problems(found: Segment, *, ia32e: bool) -> list[str]:
    """What is malformed about a descriptor of a GDT or LDT; nothing for one that is all zero."""
    wrong: list[str] = []
    if not found.raw & LOW64:
        return wrong
    if not found.s and SYSTEM_TYPES[found.type] == "reserved":
        wrong.append("reserved type")
    if not found.s and ia32e and found.type in (1, 3, 4, 5, 6, 7):
        wrong.append("16-bit system type in long mode")
    if not found.s and found.type in (5, 6, 7, 14, 15):
        wrong.append("belongs into an IDT")
    if found.is_code and found.l and found.db:
        wrong.append("L and D are both set")
    if found.is_code and found.l and not ia32e:
        wrong.append("64-bit code outside of long mode")
    if not found.s and found.type in TSS_TYPES and found.limit < (0x67 if found.type & 8 else 0x2B):
        wrong.append(f"limit {found.limit:#x} is too small for a TSS")
    if not found.present:
        wrong.append("not present")
    return wrong


def gate(raw: int, size: int) -> Gate:
    """A gate of 8 or 16 bytes (``raw`` little-endian)."""
    offset = raw & 0xFFFF | raw >> 32 & 0xFFFF0000
    if size == 16:
        offset |= (raw >> 64 & 0xFFFFFFFF) << 32
    return Gate(
        raw, raw >> 16 & 0xFFFF, offset, raw >> 40 & 15, raw >> 45 & 3, bool(raw >> 47 & 1),
        raw >> 32 & 7 if size == 16 else 0,
    )  # fmt: skip


@record
class SegmentRegister:
    """What a segment register holds, with the names of struct kvm_segment. ``dpl`` of SS is the CPL."""

    selector: int
    base: int
    limit: int
    type: int
    present: int
    dpl: int
    db: int
    s: int
    l: int  # noqa: E741  the SDM's name
    g: int
    avl: int
    unusable: int


def loaded(found: Segment, selector: int) -> SegmentRegister:
    """A segment register after ``selector`` was loaded, which has this descriptor; its accessed bit is set then."""
    return SegmentRegister(
        selector, found.base, found.limit, found.type | ACCESSED * found.s, int(found.present), found.dpl,
        int(found.db), int(found.s), int(found.l), int(found.g), found.raw >> 52 & 1, 0,
    )  # fmt: skip


def null(selector: int = 0) -> SegmentRegister:
    """A segment register after a null selector was loaded. SS keeps the CPL, which is its RPL, in ``dpl``."""
    return SegmentRegister(selector, 0, 0, 0, 0, selector & 3, 0, 0, 0, 0, 0, 1)
