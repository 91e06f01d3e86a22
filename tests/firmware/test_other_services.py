"""Keys, memory, time, the serial port, starting again, and what nobody serves."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.devices.i8042 import Keyboard
from kvmdbg.devices.pic import Pic
from kvmdbg.firmware import rom
from kvmdbg.firmware.keys import ALT, CAPS, CTRL, LEFT_SHIFT, NUM, key_of
from kvmdbg.firmware.registry import known, words
from kvmdbg.firmware.rtc import cmos
from kvmdbg.firmware.system import memory_map
from kvmdbg.machine.bus import GuestEnd
from tests.firmware.iso import CATALOG, SECTOR, cd
from tests.firmware.machine import MIB, Pc


@pytest.fixture
def pc() -> Pc:
    return Pc().start()


def press(pc: Pc, *keys: str) -> None:
    keyboard = pc.bios.device(Keyboard)
    assert keyboard is not None
    for key in keys:
        keyboard.press(key)


# --- keys


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("a", 0x1E61), ("shift-a", 0x1E41), ("ctrl-a", 0x1E01), ("alt-a", 0x1E00), ("ret", 0x1C0D), ("esc", 0x011B),
        ("f1", 0x3B00), ("shift-f1", 0x5400), ("ctrl-f1", 0x5E00), ("alt-f1", 0x6800), ("up", 0x4800),
        ("left", 0x4B00), ("delete", 0x5300), ("tab", 0x0F09), ("shift-tab", 0x0F00), ("backspace", 0x0E08),
        ("1", 0x0231), ("shift-1", 0x0221), ("alt-1", 0x7800), ("ctrl-left", 0x7300),
    ],
)  # fmt: skip
def test_keys(pc: Pc, key: str, word: int) -> None:
    press(pc, key)
    pc.call(0x16, ax=0x0000)
    assert (pc.ax, pc.waits) == (word, False)
    pc.call(0x16, ax=0x0000)
    assert pc.waits
    pc.call(0x16, ax=0x0200)
    assert pc.al == 0, "all keys are up"


def test_looking_takes_no_key(pc: Pc) -> None:
    pc.call(0x16, ax=0x0100)
    assert pc.zero
    press(pc, "b")
    for _ in range(2):
        pc.call(0x16, ax=0x0100)
        assert (pc.zero, pc.ax) == (False, 0x3062)
    pc.call(0x16, ax=0)
    assert pc.ax == 0x3062
    pc.call(0x16, ax=0x0100)
    assert pc.zero


def test_enhanced_keys(pc: Pc) -> None:
    press(pc, "up", "f12", "f12", "x")
    pc.call(0x16, ax=0x1100)
    assert (pc.zero, pc.ax) == (False, 0x48E0)
    for word in (0x48E0, 0x8600):
        pc.call(0x16, ax=0x1000)
        assert pc.ax == word
    pc.call(0x16, ax=0x0000)
    assert pc.ax == 0x2D78, "the old function leaves F12 out"


def test_what_the_keyboard_is(pc: Pc) -> None:
    pc.call(0x16, ax=0x0900)
    assert pc.al == 0x04 | 0x10 | 0x20, "functions 05, 0A, and 10 to 12"
    pc.call(0x16, ax=0x0A00)
    assert (pc.bx, pc.waits) == (0x41AB, False)
    pc.call(0x16, ax=0x9200)
    assert (pc.ah, pc.waits) == (0x80, False), "KEYB of DOS asks so for the enhanced functions"
    pc.call(0x16, ax=0xA200)
    assert (pc.ah, pc.waits, pc.said) == (0xA2, False, [])


def test_locks_and_shifts(pc: Pc) -> None:
    press(pc, "caps_lock")
    pc.call(0x16, ax=0x0200)
    assert pc.al == CAPS
    press(pc, "a", "shift-a", "1", "caps_lock", "a")
    for word in (0x1E41, 0x1E61, 0x0231, 0x1E61):
        pc.call(0x16, ax=0)
        assert pc.ax == word
    assert key_of(0x47, NUM) == 0x4737
    assert key_of(0x47, NUM | LEFT_SHIFT) == key_of(0x47, 0) == 0x4700
    assert key_of(0x0F, ALT) == 0xA500
    assert key_of(0x03, CTRL) == 0x0300
    assert key_of(0x04, CTRL) is None


def test_the_buffer_is_full_and_goes_round(pc: Pc) -> None:
    for n in range(16):
        pc.call(0x16, ax=0x0500, cx=n)
        assert pc.al == (0 if n < 15 else 1)
    for n in range(15):
        pc.call(0x16, ax=0x1000)
        assert pc.ax == n
    for n in range(20):
        pc.call(0x16, ax=0x0500, cx=0x100 | n)
        pc.call(0x16, ax=0x1000)
        assert pc.ax == 0x100 | n


def test_reset_from_the_keyboard(pc: Pc) -> None:
    end = None
    for code in (0x1D, 0x38, 0xE0, 0x53):
        end = pc.call(0x09, ax=0x4F00 | code)
    assert isinstance(end, GuestEnd)


# --- memory and machine


def test_memory_sizes(pc: Pc) -> None:
    pc.call(0x12)
    assert pc.ax == 639
    pc.call(0x15, ax=0x8800)
    assert (pc.ax, pc.carry) == (63 * 1024, False)
    pc.call(0x15, ax=0xE801)
    assert (pc.ax, pc.bx, pc.cx, pc.dx, pc.carry) == (15 * 1024, 48 * 16, 15 * 1024, 48 * 16, False)
    pc.call(0x11)
    assert pc.ax & 0x30 == 0x20


def test_the_memory_map(pc: Pc) -> None:
    found, number = [], 0
    while True:
        pc.write(0x714, b"\x01\x02\x03\x04")
        pc.call(0x15, eax=0xE820, edx=0x534D4150, ecx=24, ebx=number, es=0, di=0x700)
        assert (pc.carry, pc.eax, pc.ecx) == (False, 0x534D4150, 20), "as SeaBIOS, whatever there is room for"
        assert pc.read(0x714, 4) == b"\x01\x02\x03\x04"
        found.append(struct.unpack("<QQI", pc.read(0x700, 20)))
        number = pc.ebx
        if not number:
            break
    assert found == memory_map(64 * MIB)
    assert found[0] == (0, 639 * 1024, 1)
    assert (MIB, 63 * MIB, 1) in found
    pc.call(0x15, eax=0xE820, edx=0, ecx=24, ebx=0, es=0, di=0x700)
    assert (pc.carry, pc.ah) == (True, 0x86)


@pytest.mark.parametrize("memory", [2 * MIB, 3 << 30, 6 << 30])
def test_memory_maps_are_in_order_and_complete(memory: int) -> None:
    areas = sorted(memory_map(memory))
    assert all(a + size <= b for (a, size, _), (b, _, _) in itertools.pairwise(areas))
    usable = sum(size for _, size, kind in areas if kind == 1)
    assert usable == memory - MIB + 639 * 1024


def test_a_block_is_moved(pc: Pc) -> None:
    pc.write(0x1000, b"moved!")
    table = bytes(16) + b"\xff\xff\x00\x10\x00\x93\0\0" + b"\xff\xff\x00\x00\x20\x93\0\0" + bytes(16)
    pc.write(0x700, table)
    pc.call(0x15, ax=0x8700, cx=3, es=0, si=0x700)
    assert (pc.carry, pc.ah, pc.read(0x200000, 6)) == (False, 0, b"moved!")


def test_waiting(pc: Pc) -> None:
    now = [0]
    pc.bios.now = lambda: now[0]  # type: ignore[method-assign]
    pc.bios.pass_time = lambda ns: now.__setitem__(0, now[0] + ns)  # type: ignore[method-assign]
    calls = 1
    pc.call(0x15, ax=0x8600, cx=0, dx=2500)
    while pc.waits:
        calls += 1
        pc.call(0x15, ax=0x8600, cx=0, dx=2500)
    assert (now[0], calls, pc.carry) == (2_500_000, 4, False)


def test_an_event_that_is_waited_for(pc: Pc) -> None:
    pc.call(0x15, ax=0x8300, bx=0x10, es=0x500, cx=0, dx=2000)
    assert not pc.carry and pc.read(0x498, 9) == bytes.fromhex("1000 0005 d007 0000 01")
    pc.call(0x15, ax=0x8300, bx=0x10, es=0x500, cx=0, dx=2000)
    assert pc.carry, "there is one already"
    pc.call(0x15, ax=0x8301)
    assert not pc.carry and pc.read(0x4A0, 1) == b"\0"
    pc.call(0x15, ax=0x8302)
    assert pc.carry and pc.ah == 0x86


def test_tables_and_gates(pc: Pc) -> None:
    assert pc.read(0x48A, 1) == b"\x08", "a VGA with a colour screen"
    pc.call(0x15, ax=0xC000)
    assert pc.read((pc.sregs.es.selector << 4) + pc.bx, 3) == b"\x08\0\xfc"
    pc.call(0x15, ax=0xC100)
    assert (pc.sregs.es.selector, pc.carry) == (0x9FC0, False)
    pc.call(0x15, ax=0x2402)
    assert (pc.al, pc.ah, pc.carry) == (1, 0, False)
    pc.call(0x15, ax=0x5300)
    assert (pc.bx, pc.carry) == (0x504D, False)
    pc.call(0x15, ax=0xEC00, bx=2)
    assert (pc.ah, pc.carry, pc.said) == (0, False, [])
    assert isinstance(pc.call(0x15, ax=0x5307, bx=1, cx=3), GuestEnd)
    assert pc.read(rom.BASE + 0xFFFE, 1) == b"\xfc"


# --- time


def test_ticks(pc: Pc) -> None:
    for _ in range(3):
        pc.call(0x08)
    assert pc.word(0x46C) == 3
    pc.call(0x1A, ax=0x0100, cx=0x0018, dx=0x00AF)
    pc.call(0x08)
    pc.call(0x1A, ax=0)
    assert (pc.cx, pc.dx, pc.al) == (0, 0, 1), "midnight has passed"
    pc.call(0x1A, ax=0)
    assert pc.al == 0


def test_the_clock(pc: Pc) -> None:
    pc.call(0x1A, ax=0x0200)
    assert (pc.carry, pc.ah) == (False, 0)
    assert pc.ch >> 4 < 3
    pc.call(0x1A, ax=0x0400)
    assert pc.cx >= 0x2024
    pc.call(0x1A, ax=0)
    assert 0 <= pc.cx << 16 | pc.dx < 0x1800B0
    pc.call(0x1A, ax=0xB18E)
    assert pc.carry


def test_an_alarm_by_the_bios(pc: Pc) -> None:
    pc.call(0x1A, ax=0x0600, cx=0x1234, dx=0x5600)
    assert [cmos(pc.bus, register) for register in (5, 3, 1)] == [0x12, 0x34, 0x56], "hours, minutes, seconds"
    assert (pc.carry, cmos(pc.bus, 0x0B) & 0x20) == (False, 0x20)
    pc.call(0x1A, ax=0x0600)
    assert pc.carry, "one is set already"
    pc.call(0x1A, ax=0x0700)
    assert (pc.carry, cmos(pc.bus, 0x0B) & 0x20) == (False, 0)


# --- PCI


def test_the_pci_bus(pc: Pc, monkeypatch: pytest.MonkeyPatch) -> None:
    pc.call(0x1A, ax=0xB101)
    assert (pc.carry, pc.ax, pc.edx, pc.bx, pc.cl) == (False, 1, 0x20494350, 0x0210, 0)
    registers = {(0x10, 0): 0x12345678, (0x10, 8): 0x01060102, (0x10, 0x0C): 0}
    address = [0]
    read, write = pc.bus.read_port, pc.bus.write_port

    def read_port(port: int, size: int) -> int:
        if port & ~3 != 0xCFC:
            return read(port, size)
        value = registers.get((address[0] >> 8 & 0xFFFF, address[0] & 0xFC), 0xFFFFFFFF)
        return value >> 8 * (port & 3) & (1 << 8 * size) - 1

    def write_port(port: int, size: int, value: int) -> None:
        if port == 0xCF8:
            address[0] = value
        elif port & ~3 == 0xCFC:
            registers[address[0] >> 8 & 0xFFFF, address[0] & 0xFC] = value
        else:
            write(port, size, value)

    monkeypatch.setattr(pc.bus, "read_port", read_port)
    monkeypatch.setattr(pc.bus, "write_port", write_port)
    pc.call(0x1A, ax=0xB102, cx=0x1234, dx=0x5678, si=0)
    assert (pc.carry, pc.ah, pc.bx) == (False, 0, 0x10)
    pc.call(0x1A, ax=0xB102, cx=0x1234, dx=0x5678, si=1)
    assert (pc.carry, pc.ah) == (True, 0x86)
    pc.call(0x1A, ax=0xB103, ecx=0x010601, si=0)
    assert (pc.carry, pc.bx) == (False, 0x10)
    pc.call(0x1A, ax=0xB109, bx=0x10, di=2)
    assert (pc.carry, pc.cx) == (False, 0x1234)
    pc.call(0x1A, ax=0xB109, bx=0x10, di=3)
    assert (pc.carry, pc.ah) == (True, 0x87)
    pc.call(0x1A, ax=0xB10D, bx=0x10, di=4, ecx=0xCAFEBABE)
    pc.call(0x1A, ax=0xB10A, bx=0x10, di=4)
    assert pc.ecx == 0xCAFEBABE


# --- the rest


def test_serial_port(pc: Pc) -> None:
    pc.call(0x14, ax=0x00E3)
    pc.call(0x14, ax=0x0141)
    assert (pc.sent, pc.ah & 0x80) == (b"A", 0)
    pc.call(0x14, ax=0x0200)
    assert pc.ah & 0x80
    pc.uart.feed(b"q")
    pc.call(0x14, ax=0x0200)
    assert (pc.al, pc.ah) == (ord("q"), 0)
    pc.call(0x14, ax=0x0141, dx=1)
    assert pc.ah == 0x80
    pc.call(0x17, ax=0x0000)
    assert pc.ah & 1


def test_what_is_booted(tmp_path: Path) -> None:
    pc = Pc()
    (tmp_path / "a").write_bytes(b"A" * 510 + b"\x55\xaa")
    (tmp_path / "b").write_bytes(bytes(512))
    pc.board.disks.add(str(tmp_path / "b"), "disk")
    pc.board.disks.add(str(tmp_path / "a"), "floppy")
    pc.start()
    pc.call(0x19)
    assert (pc.waits, pc.dl, pc.read(0x7C00, 4)) == (False, 0, b"AAAA")
    assert pc.read(rom.BASE + rom.BOOT_TARGET, 4) == b"\x00\x7c\0\0"
    pc.call(0x18)
    assert pc.line(0) == "No bootable disk."
    assert "what was booted says that it cannot go on" in pc.said[0]
    pc.board.disks.floppies.clear()
    pc.call(0x19)
    assert pc.waits
    pc.call(0x18)
    assert pc.line(1) == "No bootable disk."
    assert "nothing to boot" in pc.said[1]


def test_booting_goes_on_behind_a_disk_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's error ended the guest, with a message about kvmdbg."""
    pc = Pc()
    (tmp_path / "a").write_bytes(b"A" * 510 + b"\x55\xaa")
    disk = pc.board.disks.add(str(tmp_path / "a"), "disk")
    pc.board.disks.add(str(tmp_path / "a"), "floppy")
    pc.start()

    def fails(first: int, count: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk, "read", fails)
    pc.call(0x19)
    assert (pc.waits, pc.dl, pc.read(0x7C00, 4)) == (False, 0, b"AAAA")
    assert "Input/output error: the guest is told of a failure" in pc.said[0]


def test_a_cd_whose_code_lies_behind_its_end_does_not_boot(tmp_path: Path) -> None:
    pc = Pc()
    image = bytearray(cd({}, b"boot"))
    image[CATALOG * SECTOR + 40 : CATALOG * SECTOR + 44] = (9999).to_bytes(4, "little")
    (tmp_path / "cd").write_bytes(image)
    pc.board.disks.add(str(tmp_path / "cd"), "cdrom")
    pc.start()
    pc.call(0x19)
    assert pc.waits


@pytest.mark.parametrize(
    ("interrupt", "ax", "carry", "ah"),
    [(0x13, 0xBB00, True, 1), (0x15, 0xDA00, True, 0x86), (0x21, 0x0900, False, 9), (0x10, 0xEE00, False, 0xEE)],
)
def test_what_is_not_there_is_told_once(pc: Pc, interrupt: int, ax: int, carry: bool, ah: int) -> None:
    for _ in range(2):
        pc.call(interrupt, ax=ax)
        assert (pc.carry, pc.ah) == (carry, ah)
    (said,) = pc.said
    assert f"int {interrupt:#x}" in said
    assert "0000:7c04" in said
    assert f"AX={ax:#06x}" in said


def test_all_of_it_comes_back(pc: Pc) -> None:
    pc.say("abc")
    pc.call(0x21, ax=0)
    state = pc.bios.save()
    other = Pc().start()
    other.bios.load(state)
    assert other.bios.save() == state
    other.call(0x21, ax=0)
    assert not other.said


@pytest.mark.parametrize("names", ["mouse, ports", "ports, mouse"])
def test_irq_12_is_the_mouses_whatever_is_called_first(names: str) -> None:
    """Each module of services is imported when one of its interrupts is called."""
    code = f"from kvmdbg.firmware import {names}; from kvmdbg.firmware.registry import find; print(find(0x74, 0).name)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "Mouse interrupt (IRQ 12)\n"


def test_each_service_has_a_name_and_registers_that_there_are() -> None:
    values = dict.fromkeys(
        ("ax", "bx", "cx", "dx", "si", "al", "bl", "cl", "dl", "ah", "bh", "ch", "dh", "ebx", "ecx", "edx"), 0
    )
    for one in known():
        assert one.name
        assert words(one.interrupt, values.__getitem__).startswith(f"int {one.interrupt:#x}")
    assert words(0x13, {**values, "ax": 0x0201, "al": 1, "cx": 2, "dl": 0x80}.__getitem__) == (
        "int 0x13, AH=0x02 (read sectors): AL=0x01, CX=0x0002, DH=0x00, DL=0x80, BX=0x0000"
    )


@pytest.mark.parametrize(("vector", "name"), [(0x0C, "stack fault"), (0x0D, "general protection")])
def test_exceptions_that_share_a_vector_with_a_device_are_told(pc: Pc, vector: int, name: str) -> None:
    pic = Pic(pc.board)
    pc.bus.add(pic)
    pic.chips[0].isr = 1 << vector - 8
    pc.call(vector)
    assert not pc.said
    pic.chips[0].isr = 0
    pc.call(vector)
    assert f"exception {vector} ({name}) at 0000:7c04: the guest has no handler" in pc.said[0]


@given(st.sampled_from([(one.interrupt, one.number) for one in known()]), st.data())
def test_no_registers_make_a_service_fail(chosen: tuple[int, int | None], data: st.DataObject) -> None:
    """Whatever a guest asks with is answered, in every mode of the screen."""
    interrupt, number = chosen
    if interrupt == 0x19:
        return
    words = st.one_of(st.integers(0, 0xFFFF), st.sampled_from([0, 1, 3, 0x80, 0xFF, 0xFFFF]))
    pc = Pc().start()
    pc.bios.pass_time = lambda ns: None  # type: ignore[method-assign]
    if interrupt == 0x10:
        pc.call(0x10, ax=data.draw(st.sampled_from([1, 3, 4, 6, 7, 0x0D, 0x12, 0x13])))
    for name in ("ds", "es"):
        selector = data.draw(words)
        getattr(pc.sregs, name).selector, getattr(pc.sregs, name).base = selector, selector << 4
    ax = data.draw(words)
    if number is not None:
        ax = number if number > 0xFF else number << 8 | ax & 0xFF
    registers = {name: data.draw(words) for name in ("bx", "cx", "dx", "si", "di", "bp")}
    if (interrupt, number) in ((0x10, 0x13), (0x10, 0x09), (0x10, 0x0A)):
        registers["cx"] &= 0xFF
    pc.write(0x400 + 0x50, bytes(data.draw(st.lists(st.integers(0, 255), min_size=16, max_size=16))))
    pc.call(interrupt, ax=ax, **registers)


@pytest.mark.parametrize("on", [False, True])
def test_interrupts_come_in_before_a_caller_that_has_them_on_goes_on(pc: Pc, on: bool) -> None:
    pc.call(0x16, interrupts=on, ax=0x0200)
    assert bool(pc.regs.rflags & 0x200) is on


@pytest.mark.parametrize("function", [0x0000, 0x0100])
def test_pointers_of_the_keys_that_never_meet(pc: Pc, function: int) -> None:
    """All that lies there are keys that the old functions leave out."""
    pc.write(0x41A, (0x1E).to_bytes(2, "little") + (0x1F).to_bytes(2, "little"))
    pc.write(0x41E, b"\xf0\x00" * 16)
    pc.call(0x16, ax=function)
    assert pc.waits == (function == 0) and bool(pc.flags & 0x40) == bool(function)
