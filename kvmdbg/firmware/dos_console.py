"""int 21h for programs for DOS: lines from the keyboard, and the console's handles (MS-DOS Programmer's Reference)."""

from __future__ import annotations

from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware import dos, video
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.registry import service

CR, LF, BACKSPACE, SPACE = 13, 10, 8, 32
LONGEST = 126
TYPED, LINE = 0x700, 0x702
"""At 0070:0000, where DOS has its own: how many bytes of a line have been typed, and these."""
KEPT, GIVEN, KEPT_LINE = LINE + LONGEST, LINE + LONGEST + 2, LINE + LONGEST + 4
"""Behind them: how many bytes the line has that the program reads by the handle, 0 for none, how many of them it has
read, and the line."""
INPUT, OUTPUTS = 0, (1, 2)
CONSOLE = 0x80D3
"""What int 21h, AX=4400h says of it: a character device, input and output, with end-of-file, not by bytes."""
BAD_HANDLE = 6


def _write(call: Call, *chars: int) -> None:
    for char in chars:
        video.teletype(call, char, call.byte(bda.PAGE))


def _line(call: Call, most: int) -> bytes | None:
    """What has been typed until Enter, at most so many characters; None: the call is made again when more is there."""
    ax = call.ax
    while dos.key(call):
        char, typed = call.al, call.word(TYPED)
        call.ax = ax
        if call.byte(dos.REST_OF_KEY):
            call.set_byte(dos.REST_OF_KEY, 0)
        elif char == CR:
            call.set_word(TYPED, 0)
            return call.read(LINE, typed)
        elif char == BACKSPACE:
            if typed:
                call.set_word(TYPED, typed - 1)
                _write(call, BACKSPACE, SPACE, BACKSPACE)
        elif typed < min(most, LONGEST):
            call.set_byte(LINE + typed, char)
            call.set_word(TYPED, typed + 1)
            _write(call, char)
    return None


@service(0x21, 0x0A, "dx")
def read_line(call: Call) -> None:
    """Wait for a line."""
    if not dos.is_program(call):
        return
    buffer = call.far("ds", call.dx)
    room = call.byte(buffer)
    line = _line(call, room - 1) if room else b""
    if line is not None:
        _write(call, CR)
        call.write(buffer + 1, bytes((len(line),)) + line + bytes((CR,)) if room else b"\0")


AFTER_FLUSH = {0x01: dos.read_and_show, 0x06: dos.direct_console, 0x07: dos.read_character, 0x08: dos.read_character}


@service(0x21, 0x0C, "al")
def forget_keys(call: Call) -> None:
    """Forget the keys that wait, then a function of the keyboard's."""
    if not dos.is_program(call):
        return
    call.set_word(bda.HEAD, call.word(bda.TAIL))
    call.set_byte(dos.REST_OF_KEY, 0)
    function = {**AFTER_FLUSH, 0x0A: read_line}.get(call.al)
    if function is None:
        call.al = 0
        return
    call.ah = call.al  # where it waits that function is called again, not this one
    function(call)


def _fail(call: Call, code: int) -> None:
    call.ax = code
    call.carry(True)


@service(0x21, 0x3F, "bx cx dx")
def read_handle(call: Call) -> None:
    """Read from a file or device."""
    if not dos.is_program(call):
        return
    if call.bx != INPUT:
        _fail(call, BAD_HANDLE)
        return
    if call.cx and not call.word(KEPT):
        line = _line(call, LONGEST)
        if line is None:
            return
        _write(call, CR, LF)
        call.write(KEPT_LINE, line + bytes((CR, LF)))
        call.set_word(KEPT, len(line) + 2)
        call.set_word(GIVEN, 0)
    given, kept = call.word(GIVEN), call.word(KEPT)
    data = call.read(KEPT_LINE + given, min(call.cx, kept - given)) if call.cx else b""
    call.write(call.far("ds", call.dx), data)
    call.set_word(GIVEN, given + len(data))
    if given + len(data) == kept:
        call.set_word(KEPT, 0)
    call.ax = len(data)
    call.carry(False)


@service(0x21, 0x40, "bx cx dx")
def write_handle(call: Call) -> None:
    """Write to a file or device."""
    if not dos.is_program(call):
        return
    if call.bx not in OUTPUTS:
        _fail(call, BAD_HANDLE)
        return
    _write(call, *call.read(call.far("ds", call.dx), call.cx))
    call.ax = call.cx
    call.carry(False)


@service(0x21, 0x3E, "bx")
def close_handle(call: Call) -> None:
    """Close a file or device."""
    if not dos.is_program(call):
        return
    if call.bx in (INPUT, *OUTPUTS):
        call.carry(False)
    else:
        _fail(call, BAD_HANDLE)


@service(0x21, 0x44, "al bx")
def control_handle(call: Call) -> None:
    """Get device information."""
    if not dos.is_program(call):
        return
    if call.al:
        dos.other_dos_function(call)
    elif call.bx in (INPUT, *OUTPUTS):
        call.ax = call.dx = CONSOLE
        call.carry(False)
    else:
        _fail(call, BAD_HANDLE)
