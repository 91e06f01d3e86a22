"""Whatever a guest does to the controllers of disks and firmware, none of them fails; each goes on from a snapshot."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmdbg.devices import registry
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus, GuestEnd, tell
from kvmdbg.machine.manifest import BLOCK, NET, Declared
from tests.devices.test_fw_cfg import Ram

PORTS = {
    "ata": (*range(0x1F0, 0x1F8), 0x3F6, *range(0x170, 0x178), 0x376),
    "floppy": (0x3F0, 0x3F1, 0x3F2, 0x3F3, 0x3F4, 0x3F5, 0x3F7, *range(16), 0x81),
    "fw_cfg": (0x510, 0x511, 0x514, 0x518),
    "pci": (0xCF8, 0xCFC, 0xCFD, 0xCFE, 0xCFF),
    "pc-testdev": (*range(0xE0, 0xEC), *range(0x2000, 0x2018)),
}
COMMANDS = (0x20, 0x30, 0xA0, 0xA1, 0xC4, 0xC5, 0xC6, 0xEC, 0xEF, 0x91, 0x90, 0x08, 0xE6, 0x0F, 0x07, 0x4D, 0x28, 0x43)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        found = Path(name)
        (found / "disk").write_bytes(bytes(range(256)) * 256)
        (found / "floppy").write_bytes(bytes(1440 << 10))
        (found / "cd").write_bytes(bytes(range(256)) * 256)
        yield found


def made(folder: Path, name: str) -> tuple[Bus, Board]:
    board = Board(lambda data: None, irq=lambda line, level: None, memory=1 << 20)
    board.dma = Ram()
    board.firmware = True
    board.disks.add(str(folder / "disk"), "disk")
    board.disks.add(str(folder / "floppy"), "floppy")
    board.disks.add(str(folder / "cd"), "cdrom")
    bus = Bus()
    if name == "floppy":
        registry.add(bus, "isa-dma", board)
    registry.add(bus, name, board)
    return bus, board


values = st.one_of(st.sampled_from(COMMANDS), st.integers(0, 255), st.integers(0, (1 << 32) - 1))


@pytest.mark.parametrize("name", PORTS)
@given(data=st.data())
@settings(max_examples=60)
def test_no_access_makes_a_device_fail(folder: Path, name: str, data: st.DataObject) -> None:
    bus, board = made(folder, name)
    access = st.tuples(st.sampled_from(PORTS[name]), st.sampled_from((1, 1, 1, 2, 4)), st.none() | values)
    for port, size, value in data.draw(st.lists(access, max_size=80)):
        found = bus.port(port)
        if found is None:
            continue
        if value is None:
            assert 0 <= bus.read_port(port, size) < 1 << 8 * size
        else:
            bus.write_port(port, size, value & (1 << 8 * size) - 1)
        device = found[0]
        if hasattr(device, "read_string") and port in (0x1F0, 0x170):
            assert len(device.read_string(port, 2, 7)) == 14
    states = bus.save()
    bus.load(states)
    assert bus.save() == states
    for device in bus.devices:
        assert device.describe() and device.details()  # type: ignore[attr-defined]
    board.disks.close()


@given(data=st.data())
@settings(max_examples=100)
def test_hypercalls_fail_in_a_sentence(folder: Path, data: st.DataObject) -> None:
    from kvmdbg.errors import DeviceFailure

    board = Board(lambda data: None)
    board.dma = ram = Ram()
    board.stopping = lambda: True
    board.disks.add(str(folder / "disk"), "disk")
    board.manifest = [Declared("a", BLOCK), Declared("b", NET), Declared("c", BLOCK)]
    bus = Bus()
    registry.add(bus, "hvt", board)
    number = data.draw(st.integers(1, 8))
    fields = data.draw(
        st.lists(
            st.one_of(st.integers(0, 3), st.integers(0, 1 << 20), st.integers(0, (1 << 64) - 1)), min_size=5, max_size=5
        )
    )
    ram.write(0x100, b"".join(value.to_bytes(8, "little") for value in fields))
    found = bus.port(0x500 + number)
    assert found is not None
    try:
        end = tell(*found, 4, data.draw(st.sampled_from((0x100, 0xFFF8, 0xFFFFFFFF))))
        assert end is None or isinstance(end, GuestEnd)
    except DeviceFailure as error:
        assert "no memory" in str(error)
    board.disks.close()
