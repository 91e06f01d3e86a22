"""int 1Ah, AH=B1h: the PCI bus (PCI BIOS Specification 2.1), by configuration mechanism 1."""

from __future__ import annotations

from collections.abc import Iterator

from kvmdbg.firmware.call import Call
from kvmdbg.firmware.registry import service
from kvmdbg.machine.bus import Bus

ADDRESS, DATA = 0xCF8, 0xCFC
OK, BAD_VENDOR, NOT_FOUND, BAD_REGISTER = 0, 0x83, 0x86, 0x87
SIGNATURE = 0x20494350
"""\"PCI \"."""
MECHANISM_1, VERSION = 1, 0x0210
NOBODY = 0xFFFF
SIZES = {0x08: 1, 0x09: 2, 0x0A: 4, 0x0B: 1, 0x0C: 2, 0x0D: 4}


def read(bus: Bus, place: int, register: int, size: int) -> int:
    """``place`` is bus << 8 | device << 3 | function."""
    bus.write_port(ADDRESS, 4, 1 << 31 | place << 8 | register & 0xFC)
    return bus.read_port(DATA + (register & 3), size)


def write(bus: Bus, place: int, register: int, size: int, value: int) -> None:
    bus.write_port(ADDRESS, 4, 1 << 31 | place << 8 | register & 0xFC)
    bus.write_port(DATA + (register & 3), size, value)


def there(bus: Bus) -> Iterator[int]:
    """The places on bus 0 where something is."""
    for device in range(32):
        for function in range(8):
            place = device << 3 | function
            if read(bus, place, 0, 2) == NOBODY:
                if not function:
                    break
                continue
            yield place
            if not function and not read(bus, place, 0x0E, 1) & 0x80:
                break  # it has one function


@service(0x1A, 0xB101)
def present(call: Call) -> None:
    """PCI BIOS present."""
    if call.bios.bus.port(ADDRESS) is None:
        call.carry(True)
        return
    call.edx, call.bx, call.cl = SIGNATURE, VERSION, 0
    call.ax = MECHANISM_1
    call.carry(False)


def _found(call: Call, places: Iterator[int]) -> None:
    for number, place in enumerate(places):
        if number == call.si:
            call.bx = place
            call.done()
            return
    call.done(NOT_FOUND)


@service(0x1A, 0xB102, "cx dx si")
def find_device(call: Call) -> None:
    """Find PCI device."""
    if call.dx == NOBODY:
        call.done(BAD_VENDOR)
        return
    bus, wanted = call.bios.bus, call.cx << 16 | call.dx
    _found(call, (place for place in there(bus) if read(bus, place, 0, 4) == wanted))


@service(0x1A, 0xB103, "ecx si")
def find_class(call: Call) -> None:
    """Find PCI class."""
    bus, wanted = call.bios.bus, call.ecx & 0xFFFFFF
    _found(call, (place for place in there(bus) if read(bus, place, 8, 4) >> 8 == wanted))


def _access(call: Call) -> None:
    """Read or write a PCI register."""
    function, register, bus = call.al, call.di, call.bios.bus
    size = SIZES[function]
    if register > 0xFF or register % size:
        call.done(BAD_REGISTER)
        return
    name = {1: "cl", 2: "cx", 4: "ecx"}[size]
    if function <= 0x0A:
        setattr(call, name, read(bus, call.bx, register, size))
    else:
        write(bus, call.bx, register, size, getattr(call, name))
    call.done()


for _function in SIZES:
    service(0x1A, 0xB100 | _function, "bx di")(_access)
