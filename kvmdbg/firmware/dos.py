"""int 20h and 21h, for programs that begin with the prefix of DOS's: their end, characters, vectors, time, memory.

Lines and the console's handles are in dos_console.py.
"""

from __future__ import annotations

from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware import video
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.keyboard import look_for_key, read_key
from kvmdbg.firmware.registry import service
from kvmdbg.firmware.rtc import TICKS_OF_DAY, date, ticks_of_day
from kvmdbg.machine.bus import GuestEnd
from kvmdbg.x86.registers import EFLAGS_CF

PREFIX, END = 0x10000, b"\xcd\x20"
"""Where the loader puts it (loaders/com.py), and how it begins."""
REST_OF_KEY = PREFIX + 0x34
"""In a part of the prefix that DOS keeps for itself: the code of a key of which the first half has been read."""
MOST = 0x10000
PROGRAM, MEMORY_END = PREFIX >> 4, 0x9FFF
"""Segments: the program's, to which all memory belongs up to the second."""
VERSION, DRIVE = 5, 2
"""DOS 5.0; C:."""
INVALID_FUNCTION, NO_MEMORY = 1, 8


def is_program(call: Call) -> bool:
    """Whether a program for DOS calls; what else calls is told that nobody has set the vector."""
    call.branch(False)
    found = call.bios.memory.read(PREFIX, len(END)) == END
    if not found:
        call.tell_unserved()
    return found


def _write(call: Call, char: int) -> None:
    video.teletype(call, char, call.byte(bda.PAGE))


@service(0x20)
def end_program(call: Call) -> GuestEnd | None:
    """End of the program."""
    return GuestEnd(0, "the program ended (int 20h)") if is_program(call) else None


@service(0x21, 0x00)
def end_program_as_before(call: Call) -> GuestEnd | None:
    """End of the program."""
    return GuestEnd(0, "the program ended (int 21h, AH=00h)") if is_program(call) else None


@service(0x21, 0x4C, "al")
def end_with_status(call: Call) -> GuestEnd | None:
    """End of the program, with a status."""
    return GuestEnd(call.al, "the program ended (int 21h, AH=4Ch)") if is_program(call) else None


@service(0x21, 0x02, "dl")
def write_character(call: Call) -> None:
    """Write character."""
    if is_program(call):
        call.al = call.dl
        _write(call, call.dl)


@service(0x21, 0x09, "dx")
def write_string(call: Call) -> None:
    """Write string that ends with $."""
    if not is_program(call):
        return
    for offset in range(MOST):
        char = call.byte(call.far("ds", call.dx + offset))
        if char == ord("$"):
            break
        _write(call, char)
    call.al = ord("$")


def key(call: Call) -> bool:
    """The next key in AL, whose code is told by a second call where it is none of a character; False: none waits."""
    rest, ax = call.byte(REST_OF_KEY), call.ax
    if rest:
        call.set_byte(REST_OF_KEY, 0)
        call.al = rest
        return True
    read_key(call)
    if int(call.regs.rflags) & EFLAGS_CF:
        return False
    if not call.al:
        call.set_byte(REST_OF_KEY, call.ah)
    call.ax = ax & 0xFF00 | call.al
    return True


@service(0x21, 0x01)
def read_and_show(call: Call) -> None:
    """Wait for a character, and write it."""
    if is_program(call) and key(call):
        _write(call, call.al)


@service(0x21, 0x07)
@service(0x21, 0x08)
def read_character(call: Call) -> None:
    """Wait for a character."""
    if is_program(call):
        key(call)


@service(0x21, 0x06, "dl")
def direct_console(call: Call) -> None:
    """Write character, or look for one (DL=FFh)."""
    if not is_program(call):
        return
    if call.dl != 0xFF:
        call.al = call.dl
        _write(call, call.dl)
        return
    found = key(call)
    call.branch(False)
    call.zero(not found)
    if not found:
        call.al = 0


@service(0x21, 0x0B)
def look_for_character(call: Call) -> None:
    """Look whether a character waits."""
    if not is_program(call):
        return
    ax, before = call.ax, call.zero_flag
    look_for_key(call)
    waits = not call.zero_flag or call.byte(REST_OF_KEY)
    call.zero(before)
    call.ax = ax & 0xFF00 | (0xFF if waits else 0)


@service(0x21, 0x25, "al dx")
def set_vector(call: Call) -> None:
    """Set interrupt vector."""
    if is_program(call):
        ds = int(call.caller.sregs.ds.selector)
        call.write(4 * call.al, (ds << 16 | call.dx).to_bytes(4, "little"))


@service(0x21, 0x35, "al")
def get_vector(call: Call) -> None:
    """Get interrupt vector."""
    if is_program(call):
        call.bx = call.word(4 * call.al)
        call.set_segment("es", call.word(4 * call.al + 2))


@service(0x21, 0x2C)
def get_dos_time(call: Call) -> None:
    """Get time."""
    if is_program(call):
        seconds, rest = divmod(ticks_of_day(call.bios.bus) * 86400, TICKS_OF_DAY)
        call.ch, call.cl, call.dh = seconds // 3600, seconds // 60 % 60, seconds % 60
        call.dl = rest * 100 // TICKS_OF_DAY


@service(0x21, 0x2A)
def get_dos_date(call: Call) -> None:
    """Get date."""
    if is_program(call):
        year, month, day, weekday = date(call.bios.bus)
        call.cx, call.dh, call.dl, call.al = year, month, day, weekday


@service(0x21, 0x30)
def get_version(call: Call) -> None:
    """Get version of DOS."""
    if is_program(call):
        call.ax, call.bx, call.cx = VERSION, 0, 0


@service(0x21, 0x19)
def get_drive(call: Call) -> None:
    """Get current drive."""
    if is_program(call):
        call.al = DRIVE


@service(0x21, 0x33, "al")
def control_break(call: Call) -> None:
    """Get or set whether Ctrl-Break is looked for."""
    if is_program(call):
        call.dl = 0


@service(0x21, 0x51)
@service(0x21, 0x62)
def get_prefix(call: Call) -> None:
    """Get segment of the program's prefix."""
    if is_program(call):
        call.bx = PROGRAM


@service(0x21, 0x48, "bx")
def allocate_memory(call: Call) -> None:
    """Allocate memory: it is all the program's."""
    if is_program(call):
        call.ax, call.bx = NO_MEMORY, 0
        call.carry(True)


@service(0x21, 0x49)
def free_memory(call: Call) -> None:
    """Free memory."""
    if is_program(call):
        call.carry(False)


@service(0x21, 0x4A, "bx")
def resize_memory(call: Call) -> None:
    """Resize memory block."""
    if is_program(call):
        fits = PROGRAM + call.bx <= MEMORY_END
        call.carry(not fits)
        if not fits:
            call.ax, call.bx = NO_MEMORY, MEMORY_END - PROGRAM


@service(0x21)
def other_dos_function(call: Call) -> None:
    """A function of DOS's that is not there."""
    if is_program(call):
        cs, ip = call.back
        call.tell_once((0x21, call.ah), f"int 0x21, AH={call.ah:#04x} (DOS), before {cs:04x}:{ip:04x}: there is no DOS")
        if call.ah >= 0x38:  # those before have no error codes
            call.ax = INVALID_FUNCTION
        call.carry(True)
