"""int 10h, AH=1Ch and AX=4F04h: what the screen is set to, kept in a guest's memory and put back."""

from __future__ import annotations

import struct

from kvmdbg.devices.vbe import Vbe
from kvmdbg.devices.vga import Vga
from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.registry import service

HARDWARE, DATA, COLOURS, LARGE = 1, 2, 4, 8
"""What is asked for, in CX: registers, the data area, the DAC, and of VESA's function the larger pictures."""
REGISTERS, OF_LARGE = 96, 24
AREAS = ((bda.MODE, 0x1E), (bda.ROWS, 7), (4 * 0x1F, 4), (4 * 0x43, 4))
"""Of the data area, and the vectors that lead to the characters."""
BLOCK = 64
SIZES = {HARDWARE: REGISTERS, DATA: sum(size for _, size in AREAS), COLOURS: 1 + 768, LARGE: OF_LARGE}


@service(0x10, 0x1C, "al bx cx")
def save_and_restore(call: Call) -> None:
    """Save and restore state."""
    if keep(call, call.al, HARDWARE | DATA | COLOURS):
        call.al = 0x1C


def keep(call: Call, function: int, parts: int) -> bool:
    """0 says in BX how many blocks it takes, 1 saves at ES:BX, 2 restores; what CX names of ``parts``."""
    wanted = [part for part in SIZES if part & parts & call.cx]
    vga = call.bios.device(Vga)
    if function > 2 or not wanted or vga is None:
        return False
    at = call.far("es", call.bx)
    if function == 0:
        call.bx = -(-sum(SIZES[part] for part in wanted) // BLOCK)
    elif function == 1:
        call.write(at, b"".join(_saved(call, vga, part) for part in wanted))
    else:
        for part in wanted:
            _restore(call, vga, part, call.read(at, SIZES[part]))
            at += SIZES[part]
    return True


def _saved(call: Call, vga: Vga, part: int) -> bytes:
    if part == HARDWARE:
        return vga.registers.ljust(REGISTERS, b"\0")
    if part == DATA:
        return b"".join(call.read(at, size) for at, size in AREAS)
    if part == COLOURS:
        return bytes((vga.dac_mask, *vga.palette))
    vbe = call.bios.device(Vbe)
    return struct.pack("<11H", *vbe.registers).ljust(OF_LARGE, b"\0") if vbe is not None else bytes(OF_LARGE)


def _restore(call: Call, vga: Vga, part: int, data: bytes) -> None:
    if part == HARDWARE:
        vga.registers = data
    elif part == DATA:
        for at, size in AREAS:
            call.write(at, data[:size])
            data = data[size:]
    elif part == COLOURS:
        vga.dac_mask, vga.palette[:] = data[0], bytes(value & 63 for value in data[1:])
    elif (vbe := call.bios.device(Vbe)) is not None:
        vbe.set_registers(struct.unpack_from("<11H", data))
