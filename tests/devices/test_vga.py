"""The VGA adapter: registers, modes, colours, planes, and what of it is RAM."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmdbg.devices import registry
from kvmdbg.devices.fonts import HEIGHTS, font
from kvmdbg.devices.vga import GRAPHICS, LINE, SHOWN, TEXT, Vga
from kvmdbg.devices.vga_modes import MODES, palette
from kvmdbg.devices.vga_planes import Planes
from kvmdbg.errors import UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus


class Ram:
    """Memory of 1 MiB that notes what lies over it."""

    def __init__(self) -> None:
        self.data = bytearray(1 << 20)
        self.covered: dict[int, int] = {}

    def find(self, address: int) -> object | None:
        return self if address < len(self.data) else None

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.data[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        self.data[address : address + len(data)] = data

    def cover(self, address: int, size: int, covered: bool) -> None:
        self.covered.pop(address, None)
        if covered:
            self.covered[address] = size


class Adapter:
    """A VGA adapter on a bus with memory."""

    def __init__(self) -> None:
        self.ram = Ram()
        board: Any = Board(lambda data: None, memory=len(self.ram.data))
        board.ram = self.ram
        self.bus = Bus()
        registry.add_standard(self.bus, board)
        (self.vga,) = (one for one in self.bus.devices if isinstance(one, Vga))

    def out(self, port: int, *values: int) -> None:
        for value in values:
            self.bus.write_port(port, 1, value)

    def read(self, port: int) -> int:
        return self.bus.read_port(port, 1)

    def set(self, port: int, index: int, value: int) -> None:
        """A register behind an index."""
        self.bus.write_port(port, 2, index | value << 8)


@pytest.fixture
def pc() -> Bus:
    return Adapter().bus


@pytest.fixture
def adapter() -> Adapter:
    return Adapter()


# --- VGA (IBM VGA, CRT controller and input status 1) -------------------------------------------------------


def test_cursor_and_start(pc: Bus) -> None:
    for index, value in ((0x0C, 0x12), (0x0D, 0x34), (0x0E, 0x01), (0x0F, 0x45)):
        pc.write_port(0x3D4, 1, index)
        assert pc.read_port(0x3D4, 1) == index
        pc.write_port(0x3D5, 1, value)
        assert pc.read_port(0x3D5, 1) == value
    (vga,) = (one for one in pc.devices if isinstance(one, Vga))
    assert (vga.start, vga.cursor) == (0x1234, 0x145)
    assert vga.describe() == "VGA text at 0xb8000, cursor at row 4, column 5"
    details = vga.details()
    assert (details["cursor"], details["start"]) == ("row 4, column 5", "0x1234")
    assert details["crtc"].split()[0x0C:0x10] == ["12", "34", "01", "45"] and len(details["crtc"].split()) == 32


def test_word_writes_set_index_and_data(pc: Bus) -> None:
    pc.write_port(0x3D4, 2, 0x770F)
    assert pc.read_port(0x3D4, 2) == 0x770F and pc.read_port(0x3D5, 1) == 0x77
    pc.write_port(0x3D4, 2, 0x2A2F)  # 32 registers
    assert pc.read_port(0x3D4, 1) == 0x2F
    pc.write_port(0x3D4, 1, 0x0F)
    assert pc.read_port(0x3D5, 1) == 0x2A


class Moments:
    """A clock that goes on by so many nanoseconds at each look."""

    def __init__(self, step: int) -> None:
        self.step, self.time = step, 0

    def now(self) -> int:
        self.time += self.step
        return self.time


@pytest.mark.parametrize(("mode", "frames"), [(3, 70), (0x13, 70), (0x12, 60)])
def test_retraces_come_as_often_as_screens_are_shown(adapter: Adapter, mode: int, frames: int) -> None:
    clock: Any = Moments(100_000)
    adapter.vga._board.time = clock
    adapter.vga.set_mode(mode)
    seen = [adapter.read(0x3DA) for _ in range(10_000)]
    starts = sum(not one & 8 and bool(other & 8) for one, other in pairwise(seen))
    assert abs(starts - frames) <= 1 and all(value & 1 for value in seen if value & 8)
    assert 0.03 < sum(value >> 3 for value in seen) / len(seen) < 0.12
    shown = [value for value in seen if not value & 8]
    assert set(shown) == {0, 1} and abs(shown.count(0) - shown.count(1)) < 200


def test_a_screen_has_449_lines(adapter: Adapter) -> None:
    clock: Any = Moments(LINE)
    adapter.vga._board.time = clock
    adapter.vga.set_mode(3)
    seen = [bool(adapter.read(0x3DA) & 8) for _ in range(2000)]
    starts = [at for at, (one, other) in enumerate(pairwise(seen)) if other and not one]
    assert {after - before for before, after in pairwise(starts)} == {449}


def test_a_wait_for_the_retrace_ends_where_time_stands_still(adapter: Adapter) -> None:
    answers = [adapter.read(0x3DA) >> 3 for _ in range(50_000)]
    assert 1 <= sum(answers) <= 3


def test_characters_that_ascii_has_not() -> None:
    assert {code: SHOWN[code] for code in (0, 1, 3, 24, 31, 127)} == {
        0: " ",
        1: "☺",
        3: "♥",
        24: "↑",
        31: "▼",
        127: "⌂",
    }
    assert sorted(SHOWN) == [*range(32), 127]


# --- registers ------------------------------------------------------------------------------------------


def test_each_group_of_registers_is_read_back(adapter: Adapter) -> None:
    for index, value in ((0x3C4, 2), (0x3CE, 8), (0x3D4, 0x13)):
        adapter.set(index, value, 0x5A)
        assert (adapter.read(index), adapter.read(index + 1)) == (value, 0x5A)
    adapter.out(0x3C2, 0x67)
    adapter.out(0x3C6, 0x0F)
    assert (adapter.read(0x3CC), adapter.read(0x3C6)) == (0x67, 0x0F)


def test_attribute_controller_has_one_port_for_index_and_data(adapter: Adapter) -> None:
    adapter.read(0x3DA)
    adapter.out(0x3C0, 0x05, 0x3F, 0x06)
    adapter.read(0x3DA)  # an index comes next again
    adapter.out(0x3C0, 0x11, 0x2A, 0x05)
    assert (adapter.read(0x3C1), adapter.read(0x3C0), adapter.vga.attribute[0x11]) == (0x3F, 0x05, 0x2A)


def test_colours_are_written_and_read_in_threes(adapter: Adapter) -> None:
    adapter.out(0x3C8, 254)
    adapter.out(0x3C9, 1, 2, 0xFF, 4, 5, 6, 7, 8, 9)
    assert (
        bytes(adapter.vga.palette[-6:]) == bytes((1, 2, 63, 4, 5, 6))
        and bytes(adapter.vga.palette[:3]) == b"\7\x08\x09"
    )
    assert adapter.read(0x3C7) == 0
    adapter.out(0x3C7, 255)
    assert [adapter.read(0x3C9) for _ in range(4)] == [4, 5, 6, 7] and adapter.read(0x3C7) == 3


def test_protected_registers_of_the_crtc(adapter: Adapter) -> None:
    before = bytes(adapter.vga.crtc[:8])
    for index in range(8):
        adapter.set(0x3D4, index, before[index] ^ 0xFF)
    assert bytes(adapter.vga.crtc[:7]) == before[:7] and adapter.vga.crtc[7] == before[7] ^ 0x10
    adapter.set(0x3D4, 0x11, 0x0E)
    adapter.set(0x3D4, 0, 0x12)
    assert adapter.vga.crtc[0] == 0x12


# --- modes and colours --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "columns", "rows"), [(0, 40, 25), (1, 40, 25), (2, 80, 25), (3, 80, 25), (7, 80, 25)]
)
def test_text_modes(adapter: Adapter, number: int, columns: int, rows: int) -> None:
    vga = adapter.vga
    vga.set_mode(0x12)
    adapter.ram.data[vga.text : vga.text + 2] = b"xx"
    vga.set_mode(number)
    assert (vga.is_text, vga.columns, vga.rows, vga.pitch, vga.height) == (True, columns, rows, columns, 16)
    assert adapter.ram.read(vga.text, 4) == b" \x07 \x07" and vga.text == (0xB0000 if number == 7 else TEXT)
    assert adapter.ram.covered == {}


@pytest.mark.parametrize(
    ("number", "size"),
    [
        (4, (320, 200, 4)), (5, (320, 200, 4)), (6, (640, 200, 2)), (0x0D, (320, 200, 16)), (0x0E, (640, 200, 16)),
        (0x10, (640, 350, 16)), (0x11, (640, 480, 16)), (0x12, (640, 480, 16)), (0x13, (320, 200, 256)),
        (0x6A, (800, 600, 16)),
    ],
)  # fmt: skip
def test_graphics_modes(adapter: Adapter, number: int, size: tuple[int, int, int]) -> None:
    adapter.vga.set_mode(number)
    assert not adapter.vga.is_text and adapter.vga.picture == size
    assert adapter.ram.covered == ({GRAPHICS: 0x10000} if number >= 0x0D and number != 0x13 else {})
    mode = MODES[number]
    assert (mode.width, mode.lines) == size[:2]


def test_mode_that_is_not_there(adapter: Adapter) -> None:
    with pytest.raises(UsageError, match="the VGA adapter has no mode 0x14: there are 0x0, 0x1, 0x2, 0x3, "):
        adapter.vga.set_mode(0x14)


def test_memory_is_kept_on_request(adapter: Adapter) -> None:
    adapter.ram.data[TEXT] = adapter.ram.data[GRAPHICS] = 0x41
    adapter.vga.set_mode(3, clear=False)
    adapter.vga.set_mode(0x13, clear=False)
    assert adapter.ram.data[TEXT] == adapter.ram.data[GRAPHICS] == 0x41
    adapter.vga.set_mode(0x13)
    assert adapter.ram.data[GRAPHICS] == 0
    adapter.ram.data[TEXT] = 0x41
    adapter.vga.set_mode(4)
    assert adapter.ram.data[TEXT] == 0


@pytest.mark.parametrize("size", [0x80000, GRAPHICS, GRAPHICS + 0xFFFF])
def test_planes_cover_no_memory_that_is_not_there(adapter: Adapter, size: int) -> None:
    del adapter.ram.data[size:]
    for number in (0x0D, 0x13, 3):
        adapter.vga.set_mode(number)
        assert adapter.ram.covered == {} and len(adapter.ram.data) <= GRAPHICS + 0xFFFF


def test_default_colours() -> None:
    def colour(kind: str, number: int) -> tuple[int, ...]:
        return tuple(palette(kind)[3 * number : 3 * number + 3])

    assert [colour("text", n) for n in (0, 1, 4, 7, 0x14, 0x38, 0x3F)] == [
        (0, 0, 0), (0, 0, 42), (42, 0, 0), (42, 42, 42), (42, 21, 0), (21, 21, 21), (63, 63, 63),
    ]  # fmt: skip
    assert [colour("cga", n) for n in (6, 0x10, 0x17, 0x26)] == [(42, 21, 0), (21,) * 3, (63,) * 3, (42, 21, 0)]
    assert [colour("256", n) for n in (2, 15, 16, 31, 32, 40, 48, 55, 247, 248, 255)] == [
        (0, 42, 0), (63, 63, 63), (0, 0, 0), (63, 63, 63), (0, 0, 63), (63, 0, 0), (0, 63, 0), (0, 16, 63),
        (11, 12, 16), (0, 0, 0), (0, 0, 0),
    ]  # fmt: skip
    greys = (0, 5, 8, 11, 14, 17, 20, 24, 28, 32, 36, 40, 45, 50, 56, 63)
    assert [colour("256", n) for n in range(16, 32)] == [(grey,) * 3 for grey in greys]
    assert [colour("256", 32 + 24 * group) for group in range(9)] == [
        (0, 0, 63), (31, 31, 63), (45, 45, 63), (0, 0, 28), (14, 14, 28), (20, 20, 28), (0, 0, 16), (8, 8, 16),
        (11, 11, 16),
    ]  # fmt: skip
    assert all(len(palette(kind)) == 768 for kind in ("text", "cga", "256", "mono"))


@pytest.mark.parametrize("height", HEIGHTS)
def test_fonts_have_every_character(height: int) -> None:
    shapes = font(height)
    assert len(shapes) == 256 * height
    assert not any(shapes[32 * height : 33 * height]) and set(shapes[0xDB * height : 0xDC * height]) == {0xFF}
    assert len({shapes[at : at + height] for at in range(33 * height, 127 * height, height)}) == 94


# --- planes ---------------------------------------------------------------------------------------------


class ByBits:
    """The write and read modes told bit by bit, as the reference tells them."""

    def __init__(self, sequencer: bytearray, graphics: bytearray) -> None:
        self.seq, self.gc = sequencer, graphics
        self.planes = [bytearray(0x10000) for _ in range(4)]
        self.latch = [0, 0, 0, 0]

    def read(self, address: int) -> int:
        self.latch = [plane[address] for plane in self.planes]
        if not self.gc[5] & 8:
            return self.latch[self.gc[4] & 3]
        found = 0
        for bit in range(8):
            pairs = [(self.latch[n] >> bit & 1, self.gc[2] >> n & 1) for n in range(4) if self.gc[7] >> n & 1]
            found |= all(one == other for one, other in pairs) << bit
        return found

    def write(self, address: int, value: int) -> None:
        mode, turned, function = self.gc[5] & 3, self.gc[3] & 7, self.gc[3] >> 3 & 3
        rotated = (value >> turned | value << (8 - turned)) & 0xFF
        for n in range(4):
            if not self.seq[2] >> n & 1:
                continue
            byte = 0
            for bit in range(8):
                latched, fixed = self.latch[n] >> bit & 1, self.gc[0] >> n & 1
                if mode == 1:
                    byte |= latched << bit
                    continue
                new = {0: rotated >> bit & 1, 2: value >> n & 1, 3: fixed}[mode]
                if mode == 0 and self.gc[1] >> n & 1:
                    new = fixed
                new = (new, new & latched, new | latched, new ^ latched)[function]
                chosen = self.gc[8] & (rotated if mode == 3 else 0xFF)
                byte |= (new if chosen >> bit & 1 else latched) << bit
            self.planes[n][address] = byte


REGISTER = st.tuples(
    st.just("set"), st.sampled_from([(0, n) for n in (2,)] + [(1, n) for n in range(9)]), st.integers(0, 255)
)
ACCESS = st.tuples(st.sampled_from(("read", "write")), st.integers(0, 3), st.integers(0, 255))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(REGISTER, ACCESS), max_size=40))
def test_planes_do_what_the_reference_says_of_each_bit(steps: list[tuple[str, Any, int]]) -> None:
    sequencer, graphics = bytearray(8), bytearray(16)
    sequencer[2], sequencer[4], graphics[8] = 15, 6, 0xFF
    planes, reference = Planes(sequencer, graphics), ByBits(sequencer, graphics)
    for what, where, value in steps:
        if what == "set":
            (sequencer, graphics)[where[0]][where[1]] = value
        elif what == "write":
            planes.write(where, value)
            reference.write(where, value)
        else:
            assert planes.read(where) == reference.read(where)
    for n in range(4):
        assert planes.plane(n, 0, 4) == bytes(reference.planes[n][:4])


def test_chain_4_and_odd_even() -> None:
    sequencer, graphics = bytearray(8), bytearray(16)
    sequencer[2], sequencer[4], graphics[8] = 15, 0x0E, 0xFF
    planes = Planes(sequencer, graphics)
    for address in range(8):
        planes.write(address, address + 1)
    assert [planes.plane(n, 0, 2) for n in range(4)] == [b"\1\5", b"\2\6", b"\3\7", b"\4\x08"]
    assert [planes.read(address) for address in range(8)] == list(range(1, 9))
    sequencer[4] = 2
    planes.write(0x10, 0x41)
    planes.write(0x11, 0x07)
    assert [planes.plane(n, 0x10, 1) for n in range(4)] == [b"A", b"\7", b"A", b"\7"]
    assert (planes.read(0x10), planes.read(0x11)) == (0x41, 0x07)


def test_memory_moves_with_the_way_it_is_seen(adapter: Adapter) -> None:
    """Mode X: mode 13h without chain 4."""
    adapter.vga.set_mode(0x13)
    adapter.ram.write(GRAPHICS, bytes(range(8)))
    adapter.set(0x3C4, 4, 6)
    assert adapter.ram.covered == {GRAPHICS: 0x10000}
    assert [adapter.vga.planes.plane(n, 0, 2) for n in range(4)] == [b"\0\4", b"\1\5", b"\2\6", b"\3\7"]
    adapter.set(0x3C4, 2, 4)
    adapter.bus.write_mmio(GRAPHICS + 1, 2, 0x2211)
    adapter.set(0x3CE, 4, 2)
    assert adapter.bus.read_mmio(GRAPHICS, 4) == 0x00221102
    adapter.set(0x3C4, 4, 0x0E)
    assert adapter.ram.covered == {} and adapter.ram.read(GRAPHICS, 12) == b"\0\1\2\3\4\5\x11\7\0\0\x22\0"
    adapter.vga.set_mode(3)
    assert adapter.bus.read_mmio(GRAPHICS, 2) == 0xFFFF


def test_the_font_is_in_plane_2(adapter: Adapter) -> None:
    """A guest that reads or changes characters switches this plane on at 0xA0000."""
    for port, index, value in ((0x3C4, 2, 4), (0x3C4, 4, 7), (0x3CE, 4, 2), (0x3CE, 5, 0), (0x3CE, 6, 4)):
        adapter.set(port, index, value)
    assert adapter.ram.covered == {GRAPHICS: 0x10000}
    at = GRAPHICS + 0x41 * 32
    assert bytes(adapter.bus.read_mmio(at + n, 1) for n in range(32)) == font(16)[0x410:0x420] + bytes(16)
    adapter.bus.write_mmio(at, 1, 0x99)
    assert adapter.vga.planes.plane(2, 0x41 * 32, 1) == b"\x99"
    adapter.vga.set_mode(3)
    assert adapter.vga.planes.plane(2, 0x41 * 32, 1) == b"\0"


WINDOWS = ((0x00, 0xA0000, 0x20000), (0x04, 0xA0000, 0x10000), (0x08, 0xB0000, 0x8000), (0x0C, 0xB8000, 0x8000))


@pytest.mark.parametrize(("select", "start", "size"), WINDOWS)
def test_a_font_is_written_wherever_the_memory_is_seen(adapter: Adapter, select: int, start: int, size: int) -> None:
    """Text is RAM, but where the planes are switched on for its font, be it where text is otherwise."""
    adapter.ram.write(start, b"text")
    for port, index, value in ((0x3C4, 2, 4), (0x3C4, 4, 6), (0x3CE, 4, 2), (0x3CE, 5, 0), (0x3CE, 6, select)):
        adapter.set(port, index, value)
    assert adapter.ram.covered == {start: size}
    adapter.bus.write_mmio(start + 0x41 * 32, 1, 0x99)
    assert adapter.vga.planes.plane(2, 0x41 * 32, 1) == b"\x99"
    assert adapter.bus.read_mmio(start + size - 1, 1) == 0
    for outside in (0xA0000, 0xBFFFF):
        if not start <= outside < start + size:
            adapter.bus.write_mmio(outside, 1, 0x77)
            assert adapter.bus.read_mmio(outside, 1) == 0xFF
    state, planes = adapter.vga.save(), bytes(adapter.vga.planes.memory)
    for port, index, value in ((0x3C4, 2, 3), (0x3C4, 4, 2), (0x3CE, 4, 0), (0x3CE, 5, 0x10), (0x3CE, 6, 0x0E)):
        adapter.set(port, index, value)
    assert adapter.ram.covered == {} and adapter.ram.read(start, 4) == b"text"
    assert adapter.vga.planes.memory == planes
    adapter.vga.load(state)
    assert adapter.ram.covered == {start: size}


# --- snapshots ----------------------------------------------------------------------------------------------


def test_state_comes_back(adapter: Adapter) -> None:
    vga = adapter.vga
    first = vga.save()
    assert first[3] is None  # nobody has looked at the planes
    vga.set_mode(0x12)
    adapter.set(0x3CE, 8, 0x80)
    adapter.out(0x3C8, 3)
    adapter.out(0x3C9, 9)
    adapter.bus.read_mmio(GRAPHICS, 1)
    adapter.bus.write_mmio(GRAPHICS, 1, 0xFF)
    state, shown = vga.save(), vga.details()
    vga.load(first)
    assert vga.is_text and adapter.ram.covered == {} and vga.save() == first
    other = Adapter()
    other.vga.load(state)
    assert other.vga.save() == state and other.vga.details() == shown and other.ram.covered == {GRAPHICS: 0x10000}
    other.out(0x3C9, 10)
    assert bytes(other.vga.palette[9:12]) == b"\x09\x0a\x2a"
    assert other.bus.read_mmio(GRAPHICS, 1) == 0x80
