"""int 15h/C2, the mouse, and int 74h, which gives its packets to the guest (IBM PS/2 BIOS Technical Reference).

What is known of it lies in the extended BIOS data area, where programs look for it as well.
"""

from __future__ import annotations

from kvmdbg.devices.i8042 import CONFIG_IRQ12, MOUSE_IRQ, Keyboard
from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.registry import service

INVALID_FUNCTION, INVALID_INPUT, INTERFACE, NO_HANDLER = 1, 2, 3, 5
ENABLE, DISABLE, RESET, IDENTIFY, RATE, RESOLUTION, STATUS, SINGLE, DOUBLE = (
    0xF4, 0xF5, 0xFF, 0xF2, 0xF3, 0xE8, 0xE9, 0xE6, 0xE7,
)  # fmt: skip
"""Commands of the mouse."""
RATES = (10, 20, 40, 60, 80, 100, 200)
"""By what BH says."""
EBDA = bda.EBDA_SEGMENT << 4
HANDLER, INDEX, SIZE, PACKET = EBDA + 0x22, EBDA + 0x26, EBDA + 0x27, EBDA + 0x28
INSTALLED = 0x80
"""Bit of the byte at SIZE, whose lower ones are the bytes of a packet but one."""
OUTPUT_FULL, FROM_MOUSE = 1, 0x20


@service(0x15, 0xC2, "al bh")
def pointing_device(call: Call) -> None:
    """Pointing device."""
    call.branch(False)
    keyboard = call.bios.device(Keyboard)
    function = FUNCTIONS.get(call.al)
    if keyboard is None:
        call.done(INTERFACE)
    elif function is None:
        call.done(INVALID_FUNCTION)
    else:
        call.done(function(call, keyboard))


def _enable(call: Call, keyboard: Keyboard) -> int:
    if call.bh > 1:
        return INVALID_INPUT
    if not call.bh:
        keyboard.ask_mouse(DISABLE)
        return 0
    if not call.byte(SIZE) & INSTALLED:
        return NO_HANDLER
    call.set_byte(INDEX, 0)
    keyboard.ask_mouse(ENABLE)
    keyboard.open_mouse(CONFIG_IRQ12)
    call.bios.let_through(MOUSE_IRQ)
    return 0


def _reset(call: Call, keyboard: Keyboard) -> int:
    call.set_byte(INDEX, 0)
    answer = keyboard.ask_mouse(RESET)
    call.bx = int.from_bytes(answer[1:3], "little")  # passed, and which kind it is
    return 0


def _set_rate(call: Call, keyboard: Keyboard) -> int:
    if call.bh >= len(RATES):
        return INVALID_INPUT
    keyboard.ask_mouse(RATE, RATES[call.bh])
    return 0


def _set_resolution(call: Call, keyboard: Keyboard) -> int:
    if call.bh > 3:
        return INVALID_INPUT
    keyboard.ask_mouse(RESOLUTION, call.bh)
    return 0


def _identify(call: Call, keyboard: Keyboard) -> int:
    answer = keyboard.ask_mouse(IDENTIFY)
    if len(answer) < 2:
        return INTERFACE
    call.bh = answer[1]
    return 0


def _initialise(call: Call, keyboard: Keyboard) -> int:
    if not 1 <= call.bh <= 8:
        return INVALID_INPUT
    call.set_byte(SIZE, call.byte(SIZE) & INSTALLED | call.bh - 1)
    return _reset(call, keyboard)


def _extended(call: Call, keyboard: Keyboard) -> int:
    if call.bh > 2:
        return INVALID_INPUT
    if call.bh:
        keyboard.ask_mouse(SINGLE if call.bh == 1 else DOUBLE)
    else:
        answer = keyboard.ask_mouse(STATUS)
        if len(answer) < 4:  # it waits for a command's byte, or echoes, as somebody has told it at its port
            return INTERFACE
        call.bl, call.cl, call.dl = answer[1:4]
    return 0


def _set_handler(call: Call, keyboard: Keyboard) -> int:
    call.write(HANDLER, call.bx.to_bytes(2, "little") + call.es.to_bytes(2, "little"))
    there = bool(call.bx or call.es)
    call.set_byte(SIZE, call.byte(SIZE) & 7 | (INSTALLED if there else 0))
    return 0


FUNCTIONS = {
    0: _enable, 1: _reset, 2: _set_rate, 3: _set_resolution, 4: _identify, 5: _initialise, 6: _extended,
    7: _set_handler,
}  # fmt: skip


@service(0x74)
def mouse_interrupt(call: Call) -> None:
    """Mouse interrupt (IRQ 12)."""
    call.branch(False)
    bus = call.bios.bus
    if bus.read_port(0x64, 1) & (OUTPUT_FULL | FROM_MOUSE) != OUTPUT_FULL | FROM_MOUSE:
        return
    value, size = bus.read_port(0x60, 1), call.byte(SIZE)
    if not size & INSTALLED:
        return
    index = call.byte(INDEX) & 7
    call.set_byte(PACKET + index, value)
    complete = index >= size & 7
    call.set_byte(INDEX, 0 if complete else index + 1)
    call.branch(complete)
