"""The keyboard controller by its commands, with its mouse (IBM PC AT Technical Reference, keyboard controller)."""

from __future__ import annotations

import pytest

from kvmdbg.devices.i8042 import COMMAND, DATA, KEYS, MOST_ANSWERS, MOST_UNREAD, Keyboard
from kvmdbg.devices.pic import Pic
from kvmdbg.devices.ps2 import EXTENDED_IN_SET_3, SET_2, SET_3, TO_SET_1
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import GuestEnd


class Wired:
    """A keyboard and the level of its interrupt line."""

    def __init__(self) -> None:
        self.levels: dict[int, int] = {}
        self.keyboard = Keyboard(Board(lambda data: None, irq=self.levels.__setitem__), Keyboard.options)

    def command(self, value: int) -> GuestEnd | None:
        return self.keyboard.write(COMMAND, 1, value)

    def data(self, value: int) -> GuestEnd | None:
        return self.keyboard.write(DATA, 1, value)

    def read(self) -> bytes:
        """All that is there to read."""
        found = []
        while self.status & 1:
            found.append(self.keyboard.read(DATA, 1))
        return bytes(found)

    @property
    def status(self) -> int:
        return self.keyboard.read(COMMAND, 1)

    @property
    def high(self) -> bool:
        return bool(self.levels.get(1))


@pytest.fixture
def wired() -> Wired:
    return Wired()


# --- the controller -----------------------------------------------------------------------------------


def test_status(wired: Wired) -> None:
    """System flag, keyboard not locked; full while there is something to read."""
    assert wired.status == 0x1C
    wired.keyboard.press("a")
    assert wired.status == 0x1D
    assert wired.read() == b"\x1e\x9e"
    assert wired.status == 0x1C and wired.keyboard.read(DATA, 1) == 0x9E  # what was read last
    wired.data(0xED)
    assert wired.status == 0x15, "bit 3: the last write was a command"
    wired.command(0xAE)
    assert wired.status == 0x1D


@pytest.mark.parametrize(
    ("command", "answer"),
    [(0x20, 0x45), (0xAA, 0x55), (0xAB, 0x00), (0xA9, 0x00), (0xC0, 0x80), (0xD0, 0x03)],
)
def test_commands_that_answer(wired: Wired, command: int, answer: int) -> None:
    assert wired.command(command) is None
    assert wired.high and wired.read() == bytes([answer]) and not wired.high


def test_who_switches_the_keyboard_off_gets_answers_without_interrupts(wired: Wired) -> None:
    """As most code does that sets A20: the BIOS's handler of IRQ 1 would read the answer before it."""
    wired.command(0xAD)
    wired.command(0xD0)
    assert wired.status & 1 and not wired.high
    wired.command(0xAE)
    assert wired.high and wired.read() == b"\x03" and not wired.high


def test_what_the_controller_says_itself_is_no_byte_of_the_mouse(wired: Wired) -> None:
    wired.command(0xAA)
    assert wired.status == 0x1D and wired.read() == b"\x55"


def test_configuration(wired: Wired) -> None:
    wired.command(0x60)
    assert wired.data(0x47) is None and wired.read() == b""
    wired.command(0x20)
    assert wired.read() == b"\x47"
    assert wired.keyboard.details()["configuration"] == "0x47"


def test_disabling_and_enabling_the_keyboard(wired: Wired) -> None:
    """Bit 4 of the configuration."""
    for command, value in ((0xAD, 0x55), (0xAD, 0x55), (0xAE, 0x45), (0xAE, 0x45)):
        assert wired.command(command) is None
        wired.command(0x20)
        assert wired.read() == bytes([value])


def test_interrupt_needs_bit_0_of_the_configuration(wired: Wired) -> None:
    wired.command(0x60)
    wired.data(0x44)
    wired.keyboard.press("a")
    assert not wired.high
    wired.command(0x60)
    wired.data(0x45)
    assert wired.high
    wired.keyboard.read(DATA, 1)
    assert wired.high  # the key's break code
    wired.keyboard.read(DATA, 1)
    assert not wired.high and set(wired.levels) == {1}


def test_each_byte_raises_the_line_anew() -> None:
    """Edge-triggered: the line goes down between two bytes."""
    levels: list[int] = []
    keyboard = Keyboard(Board(lambda data: None, irq=lambda line, level: levels.append(level)), Keyboard.options)
    keyboard.press("a")
    keyboard.read(DATA, 1)
    assert levels == [1, 0, 1]
    keyboard.read(DATA, 1)
    assert levels[3:] == [0]


def test_output_port(wired: Wired) -> None:
    wired.command(0xD1)
    assert wired.data(0xDF) is None
    wired.command(0xD0)
    assert wired.read() == b"\xdf"
    assert wired.keyboard.details()["output port"] == "0xdf (A20 on)"
    wired.command(0xD1)
    assert wired.data(0xDD) is None
    assert wired.keyboard.details()["output port"] == "0xdd (A20 off)"
    wired.command(0xD1)
    end = wired.data(0xDE)
    assert end == GuestEnd(0, "it pulled the reset line through the keyboard controller's output port")


@pytest.mark.parametrize("command", [0xFE, 0xF0, 0xF2, 0xFC])
def test_pulsing_the_reset_line(wired: Wired, command: int) -> None:
    """F0 to FF pulse the lines whose bits are 0; line 0 is reset."""
    assert wired.command(command) == GuestEnd(
        0, f"it asked the keyboard controller for a reset ({command:#x} to port 0x64)"
    )


@pytest.mark.parametrize("command", [0xFF, 0xF1, 0x00, 0xE0, 0xEE])
def test_commands_that_do_nothing(wired: Wired, command: int) -> None:
    assert wired.command(command) is None and wired.read() == b""


def test_writing_the_output_buffer(wired: Wired) -> None:
    wired.command(0xD2)
    assert wired.data(0x77) is None
    assert wired.high and wired.read() == b"\x77"


def test_writing_the_output_buffer_of_the_mouse(wired: Wired) -> None:
    wired.command(0xD3)
    wired.data(0x55)
    assert wired.status == 0x35 and not wired.high and wired.read() == b"\x55"


def test_a_disabled_keyboard_keeps_its_keys(wired: Wired) -> None:
    wired.command(0xAD)
    wired.keyboard.press("a")
    assert wired.read() == b""
    wired.command(0xAE)
    assert wired.high and wired.read() == b"\x1e\x9e"


def test_without_translation(wired: Wired) -> None:
    wired.command(0x60)
    wired.data(0x05)
    wired.keyboard.press("ctrl-home")
    assert wired.read().hex() == "14e06ce0f06cf014"
    wired.data(0xF2)
    assert wired.read().hex() == "faab83"


def test_every_key_is_translated_as_its_set_1_says() -> None:
    assert {TO_SET_1[SET_2[code & 0xFF]] for code in KEYS.values()} == {code & 0xFF for code in KEYS.values()}
    assert len(set(SET_2)) == len(SET_2) == 128


def test_what_a_keyboard_says_of_itself_is_translated_as_well(wired: Wired) -> None:
    wired.data(0xF2)
    wired.data(0xF0)
    wired.data(0)
    assert wired.read().hex() == "faab41" + "fafa41", "0x83 and the number of set 2"


def test_pause_has_no_break_code_of_its_own(wired: Wired) -> None:
    wired.keyboard.press("pause")
    assert wired.read().hex() == "e11d45e19dc5"
    wired.command(0x60)
    wired.data(0x05)
    wired.keyboard.press("ctrl-pause")
    assert wired.read().hex() == "14" + "e07ee0f07e" + "f014", "Break is a key of its own, with Ctrl held"


def test_print_screen_with_alt_is_another_key(wired: Wired) -> None:
    wired.keyboard.press("print")
    assert wired.read().hex() == "e037" + "e0b7"
    wired.keyboard.press("alt-print")
    assert wired.read().hex() == "38" + "54" + "d4" + "b8"


# --- the mouse ------------------------------------------------------------------------------------------


def to_mouse(wired: Wired, *values: int) -> str:
    for value in values:
        wired.command(0xD4)
        wired.data(value)
    return wired.read().hex()


def reporting() -> Wired:
    wired = Wired()
    wired.command(0x60)
    wired.data(0x47)
    assert to_mouse(wired, 0xF4) == "fa"
    return wired


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ((0xFF,), "faaa00"), ((0xF2,), "fa00"), ((0xF6,), "fa"), ((0xF3, 200), "fafa"), ((0xE8, 3), "fafa"),
        ((0xE9,), "fa000264"), ((0xE8, 1, 0xE7, 0xF3, 40, 0xF4, 0xE9), "fa" * 7 + "300128"),
        ((0xF0, 0xE9), "fafa400264"), ((0xEB,), "fa080000"), ((0xE1,), "fe"), ((0xF2, 0xFE), "fa00fa"),
        ((0xEE, 0x12, 0xF4, 0xEC), "fa12f4fa"),
        ((0xF3, 200, 0xF3, 100, 0xF3, 80, 0xF2), "fa" * 7 + "03"),
        ((0xF3, 200, 0xF3, 200, 0xF3, 80, 0xF2), "fa" * 7 + "00"),
        ((0xF3, 200, 0xF3, 100, 0xF3, 80, 0xF3, 200, 0xF3, 200, 0xF3, 80, 0xF2), "fa" * 13 + "04"),
    ],
)  # fmt: skip
def test_commands_of_the_mouse(wired: Wired, sent: tuple[int, ...], answer: str) -> None:
    assert to_mouse(wired, *sent) == answer


def test_movements_and_buttons() -> None:
    wired = reporting()
    wired.keyboard.move((5, 0, 0))
    assert wired.status == 0x35 and wired.levels[12] == 1 and not wired.high
    assert wired.read().hex() == "080500" and not wired.levels[12]
    wired.keyboard.move((-1, 2, 1))  # down is less in its packets
    assert wired.read().hex() == "39fffe"
    wired.keyboard.move((0, -3, 6))
    assert wired.read().hex() == "0e0003"
    wired.keyboard.move((0, 0, 0))
    assert wired.read().hex() == "080000"


@pytest.mark.parametrize(("buttons", "flags"), [(0, 0), (1, 4), (2, 1), (4, 2), (7, 7), (0xF8, 0)])
def test_what_the_mouse_says_of_its_buttons(buttons: int, flags: int) -> None:
    """Left, right and middle are bits 0, 1 and 2 of a packet, and 2, 0 and 1 of the status."""
    wired = reporting()
    wired.keyboard.move((0, 0, buttons))
    assert wired.read() == bytes((8 | buttons & 7, 0, 0))
    assert to_mouse(wired, 0xE9) == f"fa{0x20 | flags:02x}0264"


def test_a_long_way_takes_several_packets() -> None:
    wired = reporting()
    wired.keyboard.move((300, 0, 0))
    assert wired.read().hex() == "08ff00" + "082d00"


def test_a_wheel_makes_four_bytes() -> None:
    wired = reporting()
    to_mouse(wired, 0xF3, 200, 0xF3, 100, 0xF3, 80)
    wired.keyboard.move((1, 0, 0))
    assert wired.read().hex() == "08010000"
    assert to_mouse(wired, 0xFF, 0xF2) == "faaa00fa00"


def test_a_mouse_that_does_not_report(wired: Wired) -> None:
    wired.keyboard.move((5, 5, 0))
    assert wired.read() == b""
    assert to_mouse(wired, 0xF0) == "fa"
    wired.keyboard.move((5, -6, 0))
    wired.keyboard.move((2, 0, 1))
    assert to_mouse(wired, 0xEB) == "fa090706" and to_mouse(wired, 0xEB) == "fa090000"


def test_a_byte_for_the_mouse_opens_its_line(wired: Wired) -> None:
    wired.command(0xA7)
    assert to_mouse(wired, 0xF2) == "fa00"
    wired.command(0x20)
    assert wired.read() == b"\x45"


def test_its_line_needs_bit_1_and_its_own_to_be_open(wired: Wired) -> None:
    to_mouse(wired, 0xF4)
    wired.command(0xA7)
    wired.keyboard.move((1, 0, 0))
    assert wired.status == 0x1C
    wired.command(0xA8)
    assert wired.status == 0x3D and not wired.levels.get(12)
    wired.command(0x60)
    wired.data(0x47)
    assert wired.levels[12] == 1


def test_the_keyboard_goes_first_and_each_byte_says_whose_it_is() -> None:
    wired = reporting()
    wired.keyboard.move((1, 0, 0))
    wired.keyboard.press("a")
    seen = []
    while wired.status & 1:
        seen.append((wired.status & 0x20, wired.keyboard.read(DATA, 1)))
    assert seen == [(0x20, 8), (0, 0x1E), (0, 0x9E), (0x20, 1), (0x20, 0)]


# --- the keyboard -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (0xFF, "faaa"), (0xF2, "faab41"), (0xEE, "ee"), (0xF4, "fa"), (0xF5, "fa"), (0xF6, "fa"),
        (0xED, "fa"), (0xF0, "fa"), (0xF3, "fa"),
    ],
)  # fmt: skip
def test_commands_of_the_keyboard(wired: Wired, sent: int, answer: str) -> None:
    assert wired.data(sent) is None
    assert wired.read().hex() == answer


@pytest.mark.parametrize("command", [0xED, 0xF0, 0xF3])
def test_byte_of_a_command_is_no_command(wired: Wired, command: int) -> None:
    wired.data(command)
    wired.data(2)
    assert wired.read() == b"\xfa\xfa"
    wired.data(0xEE)
    assert wired.read() == b"\xee"


def test_other_commands_take_no_byte(wired: Wired) -> None:
    wired.data(0xF4)
    wired.data(0xEE)
    assert wired.read() == b"\xfa\xee"


def test_lights_and_scanning(wired: Wired) -> None:
    for value in (0xED, 6):
        wired.data(value)
    assert wired.read().hex() == "fafa" and wired.keyboard.details()["lights"] == "num lock, caps lock"
    wired.data(0xF5)
    wired.keyboard.press("a")
    assert wired.read().hex() == "fa" and wired.keyboard.details()["keyboard"] == "scan code set 2, off"
    wired.data(0xF6)
    assert wired.read().hex() == "fa" and wired.keyboard.details()["keyboard"] == "scan code set 2, on"
    wired.keyboard.press("a")
    assert wired.read().hex() == "1e9e"
    wired.data(0xF5)
    wired.data(0xF4)
    wired.keyboard.press("a")
    assert wired.read().hex() == "fafa1e9e"


def test_scan_code_sets(wired: Wired) -> None:
    wired.command(0x60)
    wired.data(0x05)
    for value in (0xF0, 0, 0xF0, 1, 0xF0, 0):
        wired.data(value)
    assert wired.read().hex() == "fafa02" + "fafa" + "fafa01"
    wired.keyboard.press("up")
    assert wired.read().hex() == "e048e0c8"
    for value in (0xF0, 4):
        wired.data(value)
    assert wired.read().hex() == "fafe"
    wired.data(0xFF)
    wired.keyboard.press("up")
    assert wired.read().hex() == "faaa" + "e075e0f075"


@pytest.mark.parametrize(
    ("key", "codes"),
    [
        ("a", "1cf01c"), ("esc", "08f008"), ("up", "63f063"), ("shift-delete", "1264f064f012"), ("f1", "07f007"),
        ("ctrl_r", "58f058"), ("kp_divide", "77f077"), ("print", "57f057"), ("pause", "62"),
        ("shift-pause", "1262f012"), ("ctrl-pause", "1162f062f011"), ("menu", "8df08d"),
        ("kp_enter", "79f079"), ("less", "13f013"),
    ],
)  # fmt: skip
def test_the_third_set(wired: Wired, key: str, codes: str) -> None:
    wired.command(0x60)
    wired.data(0x05)
    for value in (0xF0, 3, 0xF0, 0):
        wired.data(value)
    assert wired.read().hex() == "fafa" + "fafa03"
    wired.keyboard.press(key)
    assert wired.read().hex() == codes


def test_every_key_has_a_code_of_its_own_in_the_third_set() -> None:
    own = [code for code in KEYS.values() if code not in (KEYS["pause"], KEYS["sysrq"])]
    found = [EXTENDED_IN_SET_3[code & 0xFF] if code >> 8 == 0xE0 else SET_3[code] for code in set(own)]
    assert len(set(found)) == len(found)
    assert 0 not in found


def test_a_command_in_place_of_a_byte(wired: Wired) -> None:
    for value in (0xED, 0xEE, 0x12, 0xF2, 0xFE):
        wired.data(value)
    assert wired.read().hex() == "faee" + "fe" + "faab41" + "fa"


# --- its state ----------------------------------------------------------------------------------------


def test_state_is_kept(wired: Wired) -> None:
    wired.command(0x60)
    wired.data(0x47)
    wired.command(0xD1)
    wired.data(0xDD)
    wired.keyboard.press("a")
    wired.data(0xED)
    state = wired.keyboard.save()
    other = Wired()
    other.keyboard.load(state)
    assert other.high and other.keyboard.save() == state
    assert other.read() == b"\x1e\x9e\xfa"
    other.data(5)  # the byte of ED
    assert other.read() == b"\xfa" and other.keyboard.details()["lights"] == "scroll lock, caps lock"


def test_a_byte_that_is_under_way_is_so_after_a_load(wired: Wired) -> None:
    """Of a guest that hears of keys by interrupts."""
    host = [0]
    machines = []
    for _ in range(2):
        board = Board(lambda data: None)
        board.time._host = lambda: host[0]
        board.pic = Pic(board)
        board.pic.set_up(8, 0x70, (1,))
        machines.append((board, Keyboard(board, Keyboard.options)))
    (board, keyboard), (other_board, other) = machines
    board.time.start()
    keyboard.press("a")
    assert keyboard.read(DATA, 1) == 0x1E and not keyboard.read(COMMAND, 1) & 1
    other.load(keyboard.save())
    other_board.time.start()
    assert not other.read(COMMAND, 1) & 1
    host[0] = 1_000_000
    for time in (board.time, other_board.time):
        time.pass_to(time.now())
    assert other.read(COMMAND, 1) & 1 and other.read(DATA, 1) == keyboard.read(DATA, 1) == 0x9E


def test_described(wired: Wired) -> None:
    assert wired.keyboard.describe() == "i8042 keyboard controller, 0 bytes to read"
    assert wired.keyboard.details() == {
        "to read": "nothing", "configuration": "0x45", "output port": "0x03 (A20 on)", "interrupts": "IRQ 1, IRQ 12",
        "keyboard": "scan code set 2, on", "lights": "none", "mouse": "does not report, 100 samples a second",
    }  # fmt: skip
    wired.keyboard.press("a")
    assert wired.keyboard.details()["to read"] == "1e 9e"
    bare = Keyboard(Board(lambda data: None), Keyboard.options)
    assert bare.details()["interrupts"] == "none (see --irqchip)"


@pytest.mark.parametrize("writes", ["command 20", "data ee", "mouse f2"])
def test_answers_that_nobody_reads_do_not_pile_up(wired: Wired, writes: str) -> None:
    where, value = writes.split()
    for _ in range(100_000):
        if where == "mouse":
            wired.command(0xD4)
        (wired.command if where == "command" else wired.data)(int(value, 16))
    assert len(wired.keyboard.save()[3]) <= MOST_ANSWERS
    assert len(wired.keyboard.keyboard.queue) <= MOST_UNREAD + 3 >= len(wired.keyboard.mouse.queue)
    assert wired.status & 1
