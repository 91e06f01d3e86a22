"""int 11h, 12h and 15h: what the machine has, and the rest (Ralf Brown's Interrupt List; ACPI 6.5, section 15.1)."""

from __future__ import annotations

import struct

from kvmdbg.errors import MemoryFault
from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware import rom
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.clock import PERIODIC, end_wait
from kvmdbg.firmware.registry import service
from kvmdbg.firmware.rtc import STATUS_A, STATUS_B, cmos, set_cmos
from kvmdbg.machine.bus import GuestEnd
from kvmdbg.machine.layout import ram_areas

SMAP = 0x534D4150
AREA_SIZE = 20
"""Bytes of an area of the memory map: SeaBIOS's; ACPI's attributes behind them are for those who have any to tell."""
USABLE, RESERVED = 1, 2
MIB, KIB = 1 << 20, 1 << 10
CLOCK_IRQ = 8
CONTROL_A, A20 = 0x92, 2
"""A port of the chipset's, and its bit by which address line 20 works."""
SLICE = 1_000_000
"""How long int 15h/86 waits at most, in ns, before interrupts are let in."""


def memory_map(memory: int) -> list[tuple[int, int, int]]:
    """(start, bytes, type) as int 15h/E820 gives it."""
    low = bda.MEMORY_KIB * KIB
    found = [(0, low, USABLE), (low, 0xA0000 - low, RESERVED), (0xF0000, 0x10000, RESERVED)]
    for address, size in ram_areas(memory):
        start = max(address, MIB)
        if address + size > start:
            found.append((start, address + size - start, USABLE))
        if not address:
            found.append((0xFFFC0000, 0x40000, RESERVED))
    return found


def _above(memory: int, start: int, end: int) -> int:
    """Bytes of RAM between two addresses."""
    return sum(max(min(address + size, end) - max(address, start), 0) for address, size in ram_areas(memory))


@service(0x11)
def equipment(call: Call) -> None:
    """Get equipment."""
    call.ax = call.word(bda.EQUIPMENT)


@service(0x12)
def memory_size(call: Call) -> None:
    """Get memory size."""
    call.ax = call.word(bda.MEMORY)


@service(0x15, 0xE820, "ebx ecx edx")
def get_memory_map(call: Call) -> None:
    """Get memory map."""
    areas, number, room = memory_map(call.bios.board.memory), call.ebx, call.ecx
    call.branch(False)
    if call.edx != SMAP or number >= len(areas) or room < AREA_SIZE:
        call.done(0x86)
        return
    call.write(call.far("es", call.di), struct.pack("<QQI", *areas[number]))
    call.eax, call.ecx = SMAP, AREA_SIZE
    call.ebx = number + 1 if number + 1 < len(areas) else 0
    call.carry(False)


def _sizes(call: Call) -> tuple[int, int]:
    """KiB from 1 to 16 MiB, and 64 KiB above that below 4 GiB."""
    memory = call.bios.board.memory
    return _above(memory, MIB, 16 * MIB) // KIB, _above(memory, 16 * MIB, 1 << 32) // (64 * KIB)


@service(0x15, 0xE801)
def sizes_of_memory(call: Call) -> None:
    """Get memory size above 1 MiB."""
    low, high = _sizes(call)
    call.branch(False)
    call.ax = call.cx = low
    call.bx = call.dx = high
    call.carry(False)


@service(0x15, 0xE881)
def sizes_of_memory_32(call: Call) -> None:
    """Get memory size above 1 MiB, in 32 bits."""
    low, high = _sizes(call)
    call.branch(False)
    call.eax = call.ecx = low
    call.ebx = call.edx = high
    call.carry(False)


@service(0x15, 0x88)
def extended_memory(call: Call) -> None:
    """Get extended memory size."""
    call.branch(False)
    call.ax = min(_above(call.bios.board.memory, MIB, 64 * MIB) // KIB, 0xFFFF)
    call.carry(False)


@service(0x15, 0x87, "cx si")
def move_block(call: Call) -> None:
    """Move extended memory block."""
    call.branch(False)
    table = call.read(call.far("es", call.si), 48)

    def base(number: int) -> int:
        at = table[8 * number : 8 * number + 8]
        return int.from_bytes(at[2:5], "little") | at[7] << 24

    board = call.bios.board
    a20 = board.a20
    board.set_a20(True)  # for the time of the copy, as every BIOS does
    try:
        data = call.bios.memory.read(base(2), 2 * call.cx)
        call.write_physical(base(3), data)
    except MemoryFault:
        call.done(1)
        return
    finally:
        board.set_a20(a20)
    call.done()


@service(0x15, 0x86, "cx dx")
def wait(call: Call) -> None:
    """Wait."""
    bios = call.bios
    now = bios.now()
    if bios.wait_until is None:
        bios.wait_until = now + (call.cx << 16 | call.dx) * 1000
    left = bios.wait_until - now
    if left > 0:
        bios.pass_time(min(left, SLICE))
        call.branch(True)
        return
    bios.wait_until = None
    call.branch(False)
    call.done()


@service(0x15, 0x83, "al cx dx bx")
def event_wait(call: Call) -> None:
    """Event wait: bit 7 of a byte is set when the time is over."""
    call.branch(False)
    if call.al > 1:
        call.done(0x86)
        return
    if call.al:
        end_wait(call)
    elif call.byte(bda.WAIT_ACTIVE) & 1:
        call.carry(True)
        return
    else:
        call.write(bda.WAIT_FLAG, struct.pack("<HHHHB", call.bx, call.es, call.dx, call.cx, 1))
        bus = call.bios.bus
        set_cmos(bus, STATUS_A, 0x26)
        set_cmos(bus, STATUS_B, cmos(bus, STATUS_B) | PERIODIC)
        call.bios.let_through(CLOCK_IRQ)
    call.done()


@service(0x15, 0xC0)
def configuration(call: Call) -> None:
    """Get configuration table."""
    call.branch(False)
    call.bx = rom.CONFIGURATION
    call.set_segment("es", rom.SEGMENT)
    call.done()


@service(0x15, 0xC1)
def extended_data_area(call: Call) -> None:
    """Get segment of the extended BIOS data area."""
    call.branch(False)
    call.set_segment("es", call.word(0x40E))
    call.carry(False)


@service(0x15, 0x24, "al")
def a20(call: Call) -> None:
    """A20 gate."""
    call.branch(False)
    function = call.al
    if function > 3:
        call.done(0x86)
        return
    bus = call.bios.bus
    if function == 2:
        call.al = int(call.bios.board.a20)
    elif function == 3:
        call.bx = 3
    elif bus.port(CONTROL_A) is None:
        call.done(0x86)
        return
    else:
        bus.write_port(CONTROL_A, 1, bus.read_port(CONTROL_A, 1) & ~A20 | A20 * function)
    call.done()


@service(0x15, 0x53, "al bx")
def power_management(call: Call) -> GuestEnd | None:
    """Advanced power management."""
    call.branch(False)
    function = call.al
    if function == 0:
        call.bx, call.cx = 0x504D, 0  # "PM"
        call.ax = 0x0102
    elif function == 0x07 and call.bx == 1 and call.cx == 3:
        return GuestEnd(0, "it switched the machine off (int 15h, AX=0x5307)")
    elif function == 0x0E:
        call.ax = 0x0102
    elif function == 0x0A:
        call.bx, call.cx, call.dx = 0x01FF, 0xFFFF, 0xFFFF
    elif function not in (0x01, 0x04, 0x05, 0x06, 0x07, 0x08, 0x0D, 0x0F, 0x10):
        call.done(0x86)
        return None
    call.carry(False)
    return None


@service(0x15, 0x4F, "al")
def keyboard_intercept(call: Call) -> None:
    """Keyboard intercept, which keeps the scan code."""
    call.branch(False)


@service(0x15, 0xEC, "bl")
def target_mode(call: Call) -> None:
    """Operating mode that the guest goes to (AMD64 BIOS and Kernel Developer's Guide)."""
    call.branch(False)
    call.done()


@service(0x15, 0x90, "al")
def device_busy(call: Call) -> None:
    """Device busy."""
    call.branch(False)
    call.done()


@service(0x15, 0x91, "al")
def device_ready(call: Call) -> None:
    """Device ready."""
    call.branch(False)
    call.done()


@service(0x15)
def other_system_function(call: Call) -> None:
    """A function of int 15h that is not there."""
    call.branch(False)
    call.tell_unserved()
    call.done(0x86)
