"""States of a CPU for tests, as KVM's structures, without a KVM: in real, protected and long mode; memory."""

from __future__ import annotations

from kvmdbg.errors import MemoryFault
from kvmdbg.kvm import abi
from kvmdbg.x86.modes import CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME

SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss")
LIMIT = 0xFFFFFFFF


class Ram:
    """Physical memory of ``size`` bytes; none lies behind it."""

    def __init__(self, size: int = 0x20000) -> None:
        self.data = bytearray(size)

    def read(self, address: int, size: int) -> bytes:
        if not 0 <= address <= address + size <= len(self.data):
            raise MemoryFault(max(address, len(self.data)), "read", "physical")
        return bytes(self.data[address : address + size])

    def put(self, address: int, data: bytes | int, size: int = 8) -> None:
        raw = data.to_bytes(size, "little") if isinstance(data, int) else data
        self.data[address : address + len(raw)] = raw


def segment(
    selector: int,
    type: int,
    *,
    base: int = 0,
    limit: int = LIMIT,
    dpl: int = 0,
    db: int = 1,
    l: int = 0,  # noqa: E741  the SDM's name
) -> abi.kvm_segment:
    granular = int(limit > 0xFFFFF)
    return abi.kvm_segment(
        base=base, limit=limit, selector=selector, type=type, present=1, dpl=dpl, db=db, s=1, l=l, g=granular
    )


def registers(**values: int) -> abi.kvm_regs:
    return abi.kvm_regs(**{"rflags": 2, "rsp": 0x7000, "rip": 0x1000, **values})


def special(mode: str) -> abi.kvm_sregs:
    """Control and segment registers of "real", "prot" or "long" mode, with flat segments at CPL 0.

    A GDT is at 0x800 (limit 0x37), an IDT at 0 (limit 0x3ff), a busy TSS at 0x600; long mode has its tables at 0x10000.
    """
    sregs = abi.kvm_sregs(cr0=0x10 | (mode != "real") * CR0_PE)
    for name in SEGMENTS:
        kind = 11 if name == "cs" else 3
        if mode == "real":
            one = segment(0, kind, limit=0xFFFF, db=0)
        elif name == "cs":
            one = segment(8, kind, db=int(mode != "long"), l=int(mode == "long"))
        else:
            one = segment(0x10, kind)
        setattr(sregs, name, one)
    sregs.tr = abi.kvm_segment(base=0x600, limit=0x67, selector=0x28, type=11, present=1)
    sregs.ldt = abi.kvm_segment(unusable=1)
    sregs.gdt.base, sregs.gdt.limit = 0x800, 0x37
    sregs.idt.base, sregs.idt.limit = 0, 0x3FF
    if mode == "long":
        sregs.cr0 |= CR0_PG
        sregs.cr3, sregs.cr4, sregs.efer = 0x10000, CR4_PAE, EFER_LME | EFER_LMA
    return sregs


TABLES, PAGE_TABLE = 0x10000, 0x13000


def map_pages(ram: Ram, rights: int = 7, pages: int = 32) -> None:
    """Long mode's tables: the first pages to themselves with these rights, a page table at 0x13000."""
    for level in range(3):
        ram.put(TABLES + level * 0x1000, TABLES + (level + 1) * 0x1000 | 7)
    for page in range(pages):
        ram.put(PAGE_TABLE + 8 * page, page << 12 | rights)


def descriptor(
    type: int, *, dpl: int = 0, base: int = 0, limit: int = 0xFFFFF, s: int = 1, present: int = 1, flags: int = 0b1100
) -> int:
    """A descriptor of 8 bytes; ``flags`` are G, D/B, L, AVL; ``limit`` in the units that G gives (SDM figure 3-8)."""
    access = type | s << 4 | dpl << 5 | present << 7
    low = limit & 0xFFFF | (base & 0xFFFFFF) << 16 | access << 40
    return low | (limit >> 16) << 48 | flags << 52 | (base >> 24 & 0xFF) << 56


def gate(
    selector: int, offset: int, type: int = 14, *, dpl: int = 0, present: int = 1, ist: int = 0, wide: bool = False
) -> bytes:
    """A gate of the IDT, of 8 or (``wide``) 16 bytes (SDM figures 6-2 and 6-8)."""
    raw = offset & 0xFFFF | selector << 16 | ist << 32 | (type | dpl << 5 | present << 7) << 40
    raw |= (offset >> 16 & 0xFFFF) << 48 | (offset >> 32) << 64
    return raw.to_bytes(16 if wide else 8, "little")
