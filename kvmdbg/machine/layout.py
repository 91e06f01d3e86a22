"""Where a guest's RAM lies in guest-physical addresses."""

from __future__ import annotations

LOW_END = 0xC0000000
"""RAM below this lies from 0 on; the rest from 4 GiB on, as on a PC: between them are APIC and KVM's own pages."""
HIGH = 1 << 32
TSS_ADDRESS = 0xFEFFD000
"""Three pages that KVM needs on Intel CPUs without unrestricted guest; one for its identity map lies before them.
Firmware may have all addresses from there to 4 GiB."""
IDENTITY_MAP_ADDRESS = 0xFEFFC000
PICTURE, PICTURE_SIZE = 0xFD000000, 16 << 20
"""Where the memory of a large picture lies (devices/vbe.py), and how much of it there is, as on QEMU."""
IOAPIC, HPET, LAPIC = 0xFEC00000, 0xFED00000, 0xFEE00000
PAGE = 0x1000


def ram_areas(memory: int) -> list[tuple[int, int]]:
    """(address, size) of each piece of ``memory`` bytes of RAM, by address."""
    if memory <= LOW_END:
        return [(0, memory)]
    return [(0, LOW_END), (HIGH, memory - LOW_END)]


def ram_end(memory: int) -> int:
    """The first address after all RAM."""
    address, size = ram_areas(memory)[-1]
    return address + size


def taken(memory: int, interrupt_controllers: bool) -> list[tuple[int, int, str]]:
    """(start, end, what) of all guest-physical addresses at which no device can be."""
    found = [(start, start + size, "the guest's memory") for start, size in ram_areas(memory)]
    found.append((IDENTITY_MAP_ADDRESS, TSS_ADDRESS + 3 * PAGE, "pages of KVM's own"))
    if interrupt_controllers:
        found += [(start, start + PAGE, "an interrupt controller") for start in (IOAPIC, LAPIC)]
    return found
