"""fw_cfg by ports and by DMA. Source: QEMU, docs/specs/fw_cfg.rst."""

from __future__ import annotations

import struct

import pytest

from kvmdbg.devices import registry
from kvmdbg.devices.fw_cfg import FwCfg, e820
from kvmdbg.engine.hardware import HardwareOptions
from kvmdbg.errors import MemoryFault, UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus

SELECTOR, DATA, DMA_HIGH, DMA_LOW = 0x510, 0x511, 0x514, 0x518
MIB = 1 << 20


class Ram:
    """64 KiB."""

    def __init__(self) -> None:
        self.data = bytearray(0x10000)

    def read(self, address: int, size: int) -> bytes:
        if address + size > len(self.data):
            raise MemoryFault(address, "read", "physical", "no memory there")
        return bytes(self.data[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        if address + len(data) > len(self.data):
            raise MemoryFault(address, "write", "physical", "no memory there")
        self.data[address : address + len(data)] = data


class Machine:
    def __init__(self, files: dict[str, bytes] | None = None, memory: int = 64 * MIB, cpus: int = 1) -> None:
        board = Board(lambda data: None, memory=memory)
        board.cpus, board.fw_cfg = cpus, files or {}
        self.ram = board.dma = Ram()
        self.bus = Bus()
        registry.add(self.bus, "fw_cfg", board)
        (self.device,) = self.bus.devices

    def item(self, key: int, size: int) -> bytes:
        self.bus.write_port(SELECTOR, 2, key)
        return bytes(self.bus.read_port(DATA, 1) for _ in range(size))

    def directory(self) -> dict[str, tuple[int, int]]:
        """Selector and size of each file."""
        count = int.from_bytes(self.item(0x19, 4), "big")
        entries = [
            struct.unpack(">IHH56s", bytes(self.bus.read_port(DATA, 1) for _ in range(64))) for _ in range(count)
        ]
        assert all(reserved == 0 for _, _, reserved, _ in entries)
        return {name.rstrip(b"\0").decode(): (key, size) for size, key, _, name in entries}

    def transfer(self, control: int, length: int, address: int) -> int:
        """A DMA with its descriptor at 0x100; what its control field is afterwards."""
        self.ram.write(0x100, struct.pack(">IIQ", control, length, address))
        self.bus.write_port(DMA_HIGH, 4, 0)
        self.bus.write_port(DMA_LOW, 4, int.from_bytes((0x100).to_bytes(4, "little"), "big"))
        return int.from_bytes(self.ram.read(0x100, 4), "big")


def test_what_each_selector_says() -> None:
    machine = Machine(memory=3 << 30, cpus=5)
    assert machine.item(0, 6) == b"QEMU\0\0"
    assert machine.item(1, 4) == b"\3\0\0\0"
    assert machine.item(3, 8) == (3 << 30).to_bytes(8, "little")
    assert machine.item(5, 2) == machine.item(0xF, 2) == b"\5\0"
    assert machine.item(0x7777, 3) == bytes(3)


def test_files_are_in_the_directory_by_name() -> None:
    machine = Machine({"opt/word": b"hello", "etc/boot-fail-wait": b"\1"})
    found = machine.directory()
    assert list(found) == sorted(found) and list(found)[:2] == ["etc/boot-fail-wait", "etc/e820"]
    key, size = found["opt/word"]
    assert key >= 0x20 and machine.item(key, size + 2) == b"hello\0\0"
    key, size = found["etc/sercon-port"]
    assert machine.item(key, size) == (0x3F8).to_bytes(8, "little")


def test_text_goes_to_the_screen_where_there_is_a_video_bios() -> None:
    assert "etc/sercon-port" not in Machine({"vgaroms/vgabios.bin": b"x"}).directory()


def test_memory_map() -> None:
    assert e820(MIB) == struct.pack("<QQI", 0, MIB, 1)
    assert e820(5 << 30) == struct.pack("<QQIQQI", 0, 3 << 30, 1, 1 << 32, 2 << 30, 1)
    machine = Machine(memory=MIB)
    key, size = machine.directory()["etc/e820"]
    assert machine.item(key, size) == e820(MIB)


def test_selecting_starts_anew() -> None:
    machine = Machine()
    assert machine.item(0, 2) + machine.item(0, 2) == b"QEQE"


def test_dma() -> None:
    machine = Machine({"opt/word": b"hello"})
    assert machine.bus.read_port(DMA_HIGH, 4) == int.from_bytes(b"QEMU", "little")
    assert machine.bus.read_port(DMA_LOW, 4) == int.from_bytes(b" CFG", "little")
    key, _ = machine.directory()["opt/word"]
    assert machine.transfer(key << 16 | 8 | 2, 3, 0x200) == 0
    assert machine.ram.read(0x200, 4) == b"hel\0"
    assert machine.transfer(4, 1, 0) == 0  # skip
    assert machine.transfer(2, 2, 0x300) == 0
    assert machine.ram.read(0x300, 2) == b"o\0"


def test_dma_that_fails() -> None:
    machine = Machine()
    assert machine.transfer(2, 0x100, 0xFFF0) == 1
    assert machine.transfer(8 | 16, 4, 0x200) == 1  # write
    machine.bus.write_port(DMA_LOW, 4, 0xFFFFFFFF)  # no descriptor there
    assert isinstance(machine.device, FwCfg) and "is not in memory" in machine.device.details()["last DMA"]


def test_its_state() -> None:
    machine, other = Machine(), Machine()
    machine.item(0, 2)
    other.bus.load(machine.bus.save())
    assert [other.bus.read_port(DATA, 1) for _ in range(2)] == list(b"MU")


@pytest.mark.parametrize("name", ["", "x" * 56, "a\nb"])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a file for firmware"):
        HardwareOptions(fw_cfg=((name, b""),))


def test_a_pc_has_it_with_firmware_or_files_only() -> None:
    def names(board: Board) -> set[str]:
        bus = Bus()
        registry.add_standard(bus, board)
        return {one.name for one in bus.devices}

    board = Board(lambda data: None)
    assert not {"fw_cfg", "firmware-log"} & names(board)
    board.fw_cfg = {"opt/x": b""}
    assert "fw_cfg" in names(board) and "firmware-log" not in names(board)
    board.firmware = True
    assert {"fw_cfg", "firmware-log"} <= names(board)


def test_a_descriptor_in_memory_that_nobody_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read, and its last word could not be written: that ended the guest."""
    machine = Machine()
    descriptor = struct.pack(">IIQ", 8 | 2 | 0x19 << 16, 4, 0x200)
    machine.ram.write(0x100, descriptor)

    def write(address: int, data: bytes) -> None:
        if address < 0x200:
            raise MemoryFault(address, "write", "physical", "it is ROM")
        machine.ram.data[address : address + len(data)] = data

    monkeypatch.setattr(machine.ram, "write", write)
    machine.bus.write_port(DMA_LOW, 4, int.from_bytes((0x100).to_bytes(4, "little"), "big"))
    assert machine.ram.read(0x100, 16) == descriptor
    assert int.from_bytes(machine.ram.read(0x200, 4), "big") == len(machine.directory())
    assert "its descriptor at 0x100 cannot be written" in machine.device.details()["last DMA"]
