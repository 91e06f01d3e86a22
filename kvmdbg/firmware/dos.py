"""int 20h and 21h, for programs that begin with the prefix of DOS's: their end, and output of characters."""

from __future__ import annotations

from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware import video
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.registry import service
from kvmdbg.machine.bus import GuestEnd

PREFIX, END = 0x10000, b"\xcd\x20"
"""Where the loader puts it (loaders/com.py), and how it begins."""
MOST = 0x10000


def _is_program(call: Call) -> bool:
    """Whether a program for DOS calls; what else calls is told that nobody has set the vector."""
    found = call.bios.memory.read(PREFIX, len(END)) == END
    if not found:
        call.tell_unserved()
    return found


def _write(call: Call, char: int) -> None:
    video.teletype(call, char, call.byte(bda.PAGE))


@service(0x20)
def end_program(call: Call) -> GuestEnd | None:
    """End of the program."""
    return GuestEnd(0, "the program ended (int 20h)") if _is_program(call) else None


@service(0x21, 0x00)
def end_program_as_before(call: Call) -> GuestEnd | None:
    """End of the program."""
    return GuestEnd(0, "the program ended (int 21h, AH=00h)") if _is_program(call) else None


@service(0x21, 0x4C, "al")
def end_with_status(call: Call) -> GuestEnd | None:
    """End of the program, with a status."""
    return GuestEnd(call.al, "the program ended (int 21h, AH=4Ch)") if _is_program(call) else None


@service(0x21, 0x02, "dl")
def write_character(call: Call) -> None:
    """Write character."""
    if _is_program(call):
        call.al = call.dl
        _write(call, call.dl)


@service(0x21, 0x09, "dx")
def write_string(call: Call) -> None:
    """Write string that ends with $."""
    if not _is_program(call):
        return
    for offset in range(MOST):
        char = call.byte(call.far("ds", call.dx + offset))
        if char == ord("$"):
            break
        _write(call, char)
    call.al = ord("$")


@service(0x21)
def other_dos_function(call: Call) -> None:
    """A function of DOS's that is not there."""
    if _is_program(call):
        cs, ip = call.back
        call.tell_once((0x21, call.ah), f"int 0x21, AH={call.ah:#04x} (DOS), before {cs:04x}:{ip:04x}: there is no DOS")
        call.carry(True)
