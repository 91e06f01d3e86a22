"""PCI configuration space, POST codes, power, VGA registers, debug console and exit: port by port."""

from __future__ import annotations

from typing import Any

import pytest

from kvmdbg.devices import registry
from kvmdbg.devices.debug_exit import DebugExit
from kvmdbg.devices.debugcon import DebugConsole
from kvmdbg.devices.pci import PciConfig
from kvmdbg.devices.post import Post
from kvmdbg.devices.power import Power
from kvmdbg.devices.vga import Vga
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus, Device, GuestEnd


def made(kind: Any, *output: bytearray) -> Any:
    return kind(Board(output[0].extend if output else lambda data: None), dict(kind.options))


@pytest.fixture
def pc() -> Bus:
    bus = Bus()
    registry.add_standard(bus, Board(lambda data: None))
    return bus


def test_ports_of_a_pc(pc: Bus) -> None:
    wanted = {
        "cmos": [0x70, 0x71], "i8042": [0x60, 0x64], "pci": [0xCF8, *range(0xCFC, 0xD00)], "post": [0x80],
        "power": [0x92, 0x604, 0xCF9, 0x4004, 0xB004], "vga": [*range(0x3C0, 0x3E0)],
    }  # fmt: skip
    found: dict[str, list[int]] = {name: [] for name in wanted}
    for port in range(0x10000):
        if one := pc.port(port):
            found[one[0].name].append(port)
    assert found == wanted


def test_optional_devices_are_where_qemus_are() -> None:
    assert registry.parse("isa-debugcon")[1] == {"iobase": 0xE9, "iosize": 1}
    assert registry.parse("isa-debug-exit")[1] == {"iobase": 0x501, "iosize": 2}


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("iobase=0xfff8,iosize=8", True),
        ("iobase=0xfff9,iosize=8", False),
        ("iobase=0,iosize=1", True),
        ("iobase=-1", False),
        ("iosize=0x10000,iobase=0", True),
    ],
)
def test_ports_end_at_0xffff(text: str, there: bool) -> None:
    try:
        registry.add(Bus(), f"isa-debug-exit,{text}", Board(lambda data: None))
    except registry.UsageError as error:
        assert not there and "are not there" in str(error)
    else:
        assert there


# --- PCI (PCI Local Bus Specification 3.0, 3.2.2.3.2) -----------------------------------------------------


def test_configuration_space_is_empty(pc: Bus) -> None:
    pc.write_port(0xCF8, 4, 0x8000FA34)
    assert pc.read_port(0xCF8, 4) == 0x8000FA34
    for size in (1, 2, 4):
        assert pc.read_port(0xCFC, size) == (1 << 8 * size) - 1
    pc.write_port(0xCFC, 4, 0)
    assert pc.read_port(0xCFF, 1) == 0xFF and pc.read_port(0xCF8, 4) == 0x8000FA34
    (pci,) = (one for one in pc.devices if isinstance(one, PciConfig))
    assert pci.describe() == "PCI configuration space, empty; 4 reads"
    assert pci.details() == {
        "address": "0x8000fa34 (bus 0, device 31, function 2, register 0x34)", "reads": "4",
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 2])
def test_only_a_double_word_is_the_address(size: int) -> None:
    pci = made(PciConfig)
    pci.write(0, 4, 0x80123456)
    pci.write(0, size, 0)
    assert pci.read(0, 4) == 0x80123456 and pci.read(0, size) == (1 << 8 * size) - 1 and pci.reads == 0
    assert "bus 18, device 6, function 4, register 0x54" in pci.details()["address"]


# --- POST ---------------------------------------------------------------------------------------------


def test_post_codes() -> None:
    post = made(Post)
    assert (post.describe(), post.details(), post.read(0, 1)) == ("POST codes, none yet", {"codes": "none yet"}, 0xFF)
    for value in range(40):
        post.write(0, 1, value)
    post.write(0, 2, 0x1234)
    assert post.describe() == "POST codes, the last 0x34" and post.read(0, 1) == 0x34
    assert post.details()["codes"].split() == [f"{value:02x}" for value in range(9, 40)] + ["34"]
    assert (post.read(0, 2), post.read(0, 4)) == (0xFF34, 0xFFFFFF34)


# --- power --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "value", "text"),
    [
        (0x604, 0x2000, "it switched the machine off (port 0x604)"),
        (0xB004, 0x2000, "it switched the machine off (port 0xb004)"),
        (0x4004, 0x3400, "it switched the machine off (port 0x4004)"),
        (0x604, 0x2001, "it switched the machine off (port 0x604)"),  # with what was read there
        (0x4004, 0x3401, "it switched the machine off (port 0x4004)"),
        (0xCF9, 0x06, "it asked for a reset (port 0xcf9)"), (0xCF9, 0x0E, "it asked for a reset (port 0xcf9)"),
        (0xCF9, 0x04, "it asked for a reset (port 0xcf9)"), (0x92, 0x01, "it asked for a reset (port 0x92)"),
        (0x92, 0x03, "it asked for a reset (port 0x92)"),
        *((port, value, "") for port in (0x604, 0xB004) for value in (0, 0x1FFF, 0x0001, 0x3400, 0x2C00)),
        (0x4004, 0x2000, ""), (0x4004, 0x1401, ""), (0xCF9, 0x02, ""), (0xCF9, 0, ""),
        (0xCF9, 0x03, ""), (0xCF9, 0xFB, ""), (0xCF9, 0x0A, ""),
        (0x92, 0x02, ""), (0x92, 0, ""), (0x92, 0xFC, ""),
    ],
)  # fmt: skip
def test_switching_off_and_resetting(pc: Bus, port: int, value: int, text: str) -> None:
    found = pc.port(port)
    assert found is not None
    assert found[0].write(found[1], 2, value) == (GuestEnd(0, text) if text else None)


def test_registers_of_power(pc: Bus) -> None:
    assert [pc.read_port(port, 1) for port in (0x92, 0xCF9, 0x604, 0xB004, 0x4004)] == [2, 0, 1, 0, 0]
    pc.write_port(0x92, 1, 0)
    pc.write_port(0xCF9, 1, 2)
    pc.write_port(0x604, 2, 1)
    assert [pc.read_port(port, 1) for port in (0x92, 0xCF9, 0x604)] == [0, 2, 1]
    pc.write_port(0x92, 1, 0xFF)
    assert pc.read_port(0x92, 1) == 0xFE  # the reset bit does not stay


# --- debug console and exit ------------------------------------------------------------------------------


def test_debug_console() -> None:
    said = bytearray()
    console = made(DebugConsole, said)
    console.write(0, 1, 0x41)
    console.write(0, 2, 0x4342)
    console.write_many(b"DEF")
    assert bytes(said) == b"ABCDEF" and console.sent == 6
    assert console.describe() == "debug console at port 0xe9, 6 bytes sent"
    assert console.read(0, 1) == 0xE9 and console.coalesced == (0xE9,)


@pytest.mark.parametrize(("value", "status"), [(0, 1), (1, 3), (0x10, 0x21), (0x7F, 0xFF), (0x80, 1), (0xFF, 0xFF)])
def test_debug_exit(value: int, status: int) -> None:
    exit = made(DebugExit)
    assert exit.write(1, 1, value) == GuestEnd(status, f"it wrote {value:#x} to port 0x502")
    assert exit.read(0, 1) == 0
    assert exit.describe() == "ends the guest: a write of V to port 0x501 is exit status V * 2 + 1"


# --- state --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [PciConfig, Post, Power, Vga, DebugConsole, DebugExit], ids=lambda kind: str(kind.name)
)
def test_state_is_kept_and_not_shared(kind: Any) -> None:
    one, two = made(kind), made(kind)
    used: Device = one
    for offset in (0, 4, 0x14, 0x15, 0x10, 0x92, 0xCF9):
        used.write(offset, 4 if offset == 0 and kind is PciConfig else 1, 2)
    used.read(0x1A, 1)
    state = one.save()
    two.load(state)
    before = repr(state)
    assert repr(two.save()) == before and two.describe() == one.describe()
    two.write(0x15, 1, 0x77)
    two.write(0x92, 1, 0)
    two.read(4, 1)
    assert repr(state) == before and repr(one.save()) == before
