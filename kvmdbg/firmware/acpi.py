"""The ACPI tables that a kernel finds which no firmware has started: who is there, and how it switches the machine off.

Source: ACPI specification 1.0b, section 5.2. They are for kernels that a multiboot loader has entered. What boots from
a disk finds none: Linux would look for PCI in their code, which has nothing but the sleeping state.
"""

from __future__ import annotations

import struct

from kvmdbg.devices.acpi_pm import BASES
from kvmdbg.machine.layout import IOAPIC, LAPIC

OEM, TABLE_ID = b"KVMDBG", b"PC      "
HEADER, TABLE_LENGTH = "<4sIBB6s8sI4sI", 4
EVENTS = BASES[0]
CONTROL, TIMER = EVENTS + 4, EVENTS + 8
SCI = 9
SOFT_OFF = bytes.fromhex("08 5f53355f 12060400000000")
"""Name (_S5, Package () {0, 0, 0, 0}): what the control register takes to switch off."""
HAS_8042 = 2
FLAGS = 0x31
"""`wbinvd` works; there are no buttons."""
CENTURY = 0x32
"""Where the clock has it."""
LOCAL_APIC, IO_APIC, LOCAL_NMI = 0, 1, 4
ALIGN = 64


def tables(at: int, cpus: int, *, has_apics: bool) -> bytes:
    """All of them for the address ``at``, the root system description pointer first."""
    data = bytearray(ALIGN)

    def put(table: bytes) -> int:
        data.extend(bytes(-len(data) % ALIGN))
        address = at + len(data)
        data.extend(table)
        return address

    facs = put(struct.pack("<4sI", b"FACS", 64).ljust(64, b"\0"))
    found = [put(_fixed(facs, put(_table(b"DSDT", SOFT_OFF))))]
    if has_apics:
        found.append(put(_apics(cpus)))
    root = put(_table(b"RSDT", struct.pack(f"<{len(found)}I", *found)))
    data[:20] = _summed(struct.pack("<8sB6sBI", b"RSD PTR ", 0, OEM, 0, root), 8)
    return bytes(data)


def _table(signature: bytes, content: bytes) -> bytes:
    size = struct.calcsize(HEADER) + len(content)
    header = struct.pack(HEADER, signature, size, 1, 0, OEM, TABLE_ID, 1, b"KVMD", 1)
    return _summed(header + content, 9)


def _summed(data: bytes, place: int) -> bytes:
    """With the byte there that makes the sum of all of them 0."""
    return data[:place] + bytes((-sum(data) & 0xFF,)) + data[place + 1 :]


def _fixed(facs: int, dsdt: int) -> bytes:
    """The fixed ACPI description table: the machine is in ACPI's mode from the start."""
    content = struct.pack("<IIBBHIBBBB", facs, dsdt, 1, 0, SCI, 0, 0, 0, 0, 0)
    content += struct.pack("<8I", EVENTS, 0, CONTROL, 0, 0, TIMER, 0, 0)
    content += struct.pack("<8B", 4, 2, 0, 4, 0, 0, 0, 0)
    content += struct.pack("<HHHHBBBBBHBI", 0xFFFF, 0xFFFF, 0, 0, 0, 0, 0, 0, CENTURY, HAS_8042, 0, FLAGS)
    return _table(b"FACP", content)


def _apics(cpus: int) -> bytes:
    """The multiple APIC description table; the interrupts of ISA lie at the IOAPIC's inputs of the same number."""
    entries = [struct.pack("<BBBBI", LOCAL_APIC, 8, number, number, 1) for number in range(cpus)]
    entries.append(struct.pack("<BBBBII", IO_APIC, 12, 0, 0, IOAPIC, 0))
    entries.append(struct.pack("<BBBHB", LOCAL_NMI, 6, 0xFF, 0, 1))
    return _table(b"APIC", struct.pack("<II", LAPIC, 1) + b"".join(entries))
