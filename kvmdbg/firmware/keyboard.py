"""int 16h: keys, and int 9, which makes them of scan codes (IBM PC AT Technical Reference, keyboard)."""

from __future__ import annotations

from collections.abc import Iterator

from kvmdbg.devices.i8042 import Keyboard
from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.keys import ALT, CAPS, CTRL, EXTENDED, LEFT_SHIFT, NUM, RIGHT_SHIFT, SCROLL, key_of
from kvmdbg.firmware.registry import service
from kvmdbg.machine.bus import GuestEnd

MODIFIERS = {0x2A: LEFT_SHIFT, 0x36: RIGHT_SHIFT, 0x1D: CTRL, 0x38: ALT}
LOCKS = {0x3A: CAPS, 0x45: NUM, 0x46: SCROLL}
PRINT_SCREEN = 0x37
OUTPUT_FULL, FROM_MOUSE = 1, 0x20
MOST_KEYS = 1024
"""In a buffer that a guest has made larger."""


def put(call: Call, key: int) -> bool:
    """A key into the buffer; False where it is full."""
    head, tail = call.word(bda.HEAD), call.word(bda.TAIL)
    start, end = call.word(bda.BUFFER_FROM), call.word(bda.BUFFER_TO)
    following = tail + 2 if tail + 2 < end else start
    if following == head:
        return False
    call.set_word(bda.BDA + tail, key)
    call.set_word(bda.TAIL, following)
    return True


def _waiting(call: Call) -> Iterator[int]:
    """The key at the head of the buffer, for as long as there is one. A guest may have set pointers that never meet."""
    for _ in range(MOST_KEYS):
        head = call.word(bda.HEAD)
        if head == call.word(bda.TAIL):
            return
        yield call.word(bda.BDA + head)


def _take(call: Call) -> None:
    head = call.word(bda.HEAD) + 2
    if head >= call.word(bda.BUFFER_TO):
        head = call.word(bda.BUFFER_FROM)
    call.set_word(bda.HEAD, head)


def _as_old(key: int) -> int | None:
    """What the functions for 83 keys give for a key; None for one that they leave out."""
    scan, char = key >> 8, key & 0xFF
    if char == 0xF0:
        return None
    if char == 0xE0 and scan:
        return scan << 8
    if scan == 0xE0:  # Enter and / of the keypad
        return (0x1C if char in (0x0D, 0x0A) else 0x35) << 8 | char
    return key if scan <= 0x84 else None


def poll(call: Call) -> None:
    """Take what waits in the keyboard's controller, where no IRQ 1 comes that would do so."""
    if call.bios.keyboard_interrupts and call.caller.takes_interrupts:
        return
    keyboard = call.bios.device(Keyboard)
    bus = call.bios.bus
    if keyboard is None:
        return
    keyboard.hurry()
    while bus.read_port(0x64, 1) & (OUTPUT_FULL | FROM_MOUSE) == OUTPUT_FULL:
        take_scan_code(call, bus.read_port(0x60, 1))
        keyboard.hurry()


def take_scan_code(call: Call, code: int) -> tuple[bool, GuestEnd | None]:
    """What int 9 does with a scan code: whether int 1Bh (Ctrl-Break) or int 5 (print screen) is to be called, and how
    the guest ends, if it does."""
    flags, more, enhanced = call.byte(bda.SHIFT_FLAGS), call.byte(bda.SHIFT_FLAGS_2), call.byte(bda.KEYBOARD_FLAGS)
    extended = bool(enhanced & EXTENDED)
    if code in (0xE0, 0xE1):
        call.set_byte(bda.KEYBOARD_FLAGS, enhanced | (EXTENDED if code == 0xE0 else 1))
        return False, None
    key, up = code & 0x7F, bool(code & 0x80)
    call.set_byte(bda.KEYBOARD_FLAGS, enhanced & ~(EXTENDED | 1))
    bit = MODIFIERS.get(key)
    if bit is not None and not (extended and key in (0x2A, 0x36)):
        call.set_byte(bda.SHIFT_FLAGS, flags & ~bit if up else flags | bit)
        side = {0x1D: 1, 0x38: 2}.get(key, 0)
        if side and not extended:
            call.set_byte(bda.SHIFT_FLAGS_2, more & ~side if up else more | side)
        elif side:
            right = side << 2
            call.set_byte(bda.KEYBOARD_FLAGS, enhanced & ~(EXTENDED | 1 | (right if up else 0)) | (0 if up else right))
        if key == 0x38 and up and (typed := call.byte(bda.KEYPAD)):
            call.set_byte(bda.KEYPAD, 0)
            put(call, typed)
        return False, None
    lock = LOCKS.get(key)
    if key == 0x46 and extended:
        if not up:
            call.set_word(bda.HEAD, call.word(bda.BUFFER_FROM))
            call.set_word(bda.TAIL, call.word(bda.BUFFER_FROM))
            call.set_byte(bda.BREAK_FLAG, 0x80)
            put(call, 0)
        return not up, None
    if lock is not None and not extended:
        held = lock  # the same bits in the second byte say which are held down
        call.set_byte(bda.SHIFT_FLAGS_2, more & ~held if up else more | held)
        if not up and not more & held:
            call.set_byte(bda.SHIFT_FLAGS, flags ^ lock)
        return False, None
    if up:
        return False, None
    if key == PRINT_SCREEN and extended and not flags & CTRL:
        return True, None
    if key == 0x53 and flags & CTRL and flags & ALT:
        return False, GuestEnd(0, "Ctrl-Alt-Delete was pressed, and the BIOS resets the machine")
    if flags & ALT and not extended and key in KEYPAD_DIGITS:
        call.set_byte(bda.KEYPAD, call.byte(bda.KEYPAD) * 10 + KEYPAD_DIGITS[key])
        return False, None
    found = key_of(key, flags, extended=extended)
    if found is not None:
        put(call, found)
    return False, None


KEYPAD_DIGITS = {0x52: 0, 0x4F: 1, 0x50: 2, 0x51: 3, 0x4B: 4, 0x4C: 5, 0x4D: 6, 0x47: 7, 0x48: 8, 0x49: 9}


@service(0x09, shown="al")
def keyboard_interrupt(call: Call) -> GuestEnd | None:
    """Keyboard interrupt (IRQ 1)."""
    call.frame = 2  # its stub has saved AX
    calls, end = take_scan_code(call, call.al)
    call.branch(calls)
    return end


def _read(call: Call, *, enhanced: bool) -> None:
    poll(call)
    for key in _waiting(call):
        _take(call)
        given = key if enhanced else _as_old(key)
        if given is not None:
            call.ax = given & 0xFF00 if enhanced and key & 0xFF == 0xF0 else given
            call.branch(False)
            return
    call.branch(True)


@service(0x16, 0x00)
def read_key(call: Call) -> None:
    """Wait for a key."""
    _read(call, enhanced=False)


@service(0x16, 0x10)
def read_enhanced_key(call: Call) -> None:
    """Wait for a key of an enhanced keyboard."""
    _read(call, enhanced=True)


def _look(call: Call, *, enhanced: bool) -> None:
    call.branch(False)
    poll(call)
    for key in _waiting(call):
        given = key if enhanced else _as_old(key)
        if given is not None:
            call.ax = given
            call.zero(False)
            return
        _take(call)
    call.zero(True)


@service(0x16, 0x01)
def look_for_key(call: Call) -> None:
    """Look whether a key waits."""
    _look(call, enhanced=False)


@service(0x16, 0x11)
def look_for_enhanced_key(call: Call) -> None:
    """Look whether a key of an enhanced keyboard waits."""
    _look(call, enhanced=True)


@service(0x16, 0x02)
def shift_flags(call: Call) -> None:
    """Get shift flags."""
    call.branch(False)
    poll(call)
    call.al = call.byte(bda.SHIFT_FLAGS)


@service(0x16, 0x12)
def enhanced_shift_flags(call: Call) -> None:
    """Get shift flags of an enhanced keyboard."""
    call.branch(False)
    poll(call)
    more, enhanced = call.byte(bda.SHIFT_FLAGS_2), call.byte(bda.KEYBOARD_FLAGS)
    call.al = call.byte(bda.SHIFT_FLAGS)
    call.ah = more & 0x73 | enhanced & 0x0C | (0x80 if more & 4 else 0)


@service(0x16, 0x03, "al bx")
def typematic_rate(call: Call) -> None:
    """Set typematic rate."""
    call.branch(False)


@service(0x16, 0x05, "cx")
def push_key(call: Call) -> None:
    """Put a key into the buffer."""
    call.branch(False)
    call.al = 0 if put(call, call.cx) else 1


@service(0x16, 0x09)
def functionality(call: Call) -> None:
    """Get keyboard functionality."""
    call.branch(False)
    call.al = 0x34  # 05, 0A, and 10 to 12 are there


@service(0x16, 0x0A)
def identity(call: Call) -> None:
    """Get keyboard identity."""
    call.branch(False)
    call.bx = 0x41AB  # of an enhanced keyboard, with its scan codes translated


@service(0x16, 0x92)
def has_enhanced_functions(call: Call) -> None:
    """Check for functions of an enhanced keyboard."""
    call.branch(False)
    call.ah = 0x80


@service(0x16, 0xA2)
def has_functions_for_122_keys(call: Call) -> None:
    """Check for functions of a keyboard with 122 keys, which are not there: AH stays."""
    call.branch(False)


@service(0x16)
def other_keyboard_function(call: Call) -> None:
    """A function of int 16h that is not there."""
    call.branch(False)
    call.tell_unserved()
