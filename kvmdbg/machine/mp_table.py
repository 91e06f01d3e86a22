"""The tables by which an operating system finds the other processors and how interrupts come to them.

Source: Intel MultiProcessor Specification 1.4, chapter 4: the floating pointer structure (4.1), the configuration
table's header (4.2) and its entries (4.3). The interrupts of ISA lie at the IOAPIC's inputs of the same number, as KVM
has them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from kvmdbg.machine.image import Segment
from kvmdbg.machine.layout import IOAPIC, LAPIC

POINTER = 0x9FD00
"""In the extended BIOS data area, the first KiB of which is searched."""
END_OF_AREA = 0xA0000
LARGE = 0xE8000
"""Where the table of more processors lies than the area has room for."""
REVISION = 4  # 1.4
LAPIC_VERSION, IOAPIC_VERSION = 0x14, 0x11
ISA_BUS, IOAPIC_ID, EVERY_LAPIC = 0, 0, 0xFF
CASCADE = 2  # the input of the first 8259 at which the second one is
VECTORED, NMI, EXTINT = 0, 1, 3
ENABLED, BOOT_PROCESSOR = 1, 2


def tables(cpus: int, signature: int, features: int) -> list[Segment]:
    """The floating pointer and the configuration table for so many processors; CPUID leaf 1 has these EAX and EDX."""
    table = configuration(cpus, signature, features)
    at = POINTER + 16
    if at + len(table) > END_OF_AREA:
        at = LARGE
    pointer = _summed(struct.pack("<4sIBBBB4x", b"_MP_", at, 1, REVISION, 0, 0), 10)
    return [Segment(POINTER, pointer, name="MP floating pointer"), Segment(at, table, name="MP configuration table")]


def configuration(cpus: int, signature: int, features: int) -> bytes:
    """The configuration table."""
    entries = [
        struct.pack(
            "<BBBBII8x", 0, number, LAPIC_VERSION, ENABLED | (0 if number else BOOT_PROCESSOR), signature, features
        )
        for number in range(cpus)
    ]
    entries.append(struct.pack("<BB6s", 1, ISA_BUS, b"ISA   "))
    entries.append(struct.pack("<BBBBI", 2, IOAPIC_ID, IOAPIC_VERSION, ENABLED, IOAPIC))
    entries += [
        struct.pack("<BBHBBBB", 3, VECTORED, 0, ISA_BUS, irq, IOAPIC_ID, irq) for irq in range(16) if irq != CASCADE
    ]
    entries.append(struct.pack("<BBHBBBB", 4, EXTINT, 0, ISA_BUS, 0, EVERY_LAPIC, 0))
    entries.append(struct.pack("<BBHBBBB", 4, NMI, 0, ISA_BUS, 0, EVERY_LAPIC, 1))
    body = b"".join(entries)
    header = struct.pack(
        "<4sHBB8s12sIHHIHBx",
        *(b"PCMP", 44 + len(body), REVISION, 0, b"KVMDBG  ", b"PC          "),
        *(0, 0, len(entries), LAPIC, 0, 0),
    )
    return _summed(header + body, 7)


def _summed(data: bytes, checksum_at: int) -> bytes:
    """With the byte there such that all add up to 0."""
    return data[:checksum_at] + bytes((-sum(data) & 0xFF,)) + data[checksum_at + 1 :]


def clear_of(tables: Sequence[Segment], taken: Sequence[Segment], memory: int) -> bool:
    """Whether there is RAM for them, and nothing else in it."""
    if any(one.end > memory for one in tables):
        return False
    return not any(one.address < other.end and other.address < one.end for one in tables for other in taken)
