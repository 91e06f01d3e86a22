"""The devices that ``--device`` puts on the bus. A new one is a class with ``@device`` in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import ClassVar, Protocol, TypeVar

from kvmdbg import plugins
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus, Device
from kvmdbg.machine.layout import taken
from kvmdbg.numbers import number


class OptionalDevice(Device, Protocol):
    """A device that can be asked for: ``name`` is what ``--device`` calls it, ``options`` its keys and their defaults.

    It is made with the ``board`` (machine/board.py: output, interrupts) and the options, and is put on the bus at
    ``iobase`` with ``iosize`` ports, at ``mmiobase`` with ``mmiosize`` addresses, or both. It may also have
    ``standard`` (it is part of every PC), ``only`` (offsets that it takes of its ports), ``ports`` (single ports in
    place of a range; ``offset`` is then the port), ``over_memory`` (its addresses may lie over RAM, which it covers),
    ``details()`` (names and texts for ``info device``), and ``coalesced`` with ``write_many`` (engine/coalescing.py).
    """

    options: ClassVar[dict[str, int]]

    def __init__(self, board: Board, options: dict[str, int]) -> None: ...


RANGES = {"ports": ("iobase", "iosize", 1 << 16), "addresses": ("mmiobase", "mmiosize", 1 << 52)}
"""What a device may answer: the options that say where and how many, and where such numbers end."""
_known: dict[str, type[OptionalDevice]] = {}
LATER = {
    "acpi-pm": "acpi_pm", "ata": "ata", "firmware-log": "firmware_log", "floppy": "floppy", "fw_cfg": "fw_cfg",
    "hvt": "hvt", "isa-dma": "isa_dma", "lapic": "lapic", "pc-testdev": "testdev", "vbe": "vbe",
}  # fmt: skip
"""The modules of devices that few guests have: they are imported when somebody asks for them."""
D = TypeVar("D", bound=type[OptionalDevice])


def device(cls: D) -> D:
    """Class decorator: make it known by its name."""
    _known[cls.name] = cls
    return cls


def _find(*names: str) -> None:
    """Have these made known, as far as they are kvmdbg's own."""
    for name in names:
        if name in LATER and name not in _known:
            import_module(f"kvmdbg.devices.{LATER[name]}")


def known() -> dict[str, type[OptionalDevice]]:
    """All of them by name."""
    _find(*LATER)
    return dict(sorted(_known.items()))


def parse(text: str) -> tuple[type[OptionalDevice], dict[str, int]]:
    """``NAME[,KEY=VALUE]...`` as the device's class and all its options. UsageError."""
    name, *pairs = text.split(",")
    _find(name.strip())
    if name.strip() not in _known:
        plugins.load()
    cls = _known.get(name.strip())
    if cls is None:
        raise UsageError(f"there is no device {name.strip()!r}: the devices are {', '.join(known())}")
    options = dict(cls.options)
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or key not in options:
            raise UsageError(f"device {cls.name} does not take {pair.strip()!r}: its options are {', '.join(options)}")
        try:
            options[key] = number(value)
        except ValueError:
            raise UsageError(f"device {cls.name}: {key} is a number, not {value!r}") from None
    for kind, (start, length, end) in RANGES.items():
        if start in options:
            base, size = options[start], options[length]
            if size < 1 or base < 0 or base + size > end:
                raise UsageError(f"device {cls.name}: {kind} {base:#x} to {base + size - 1:#x} are not there")
    return cls, options


def needs_apic(text: str) -> bool:
    """Whether the device that ``text`` describes is for guests that take an APIC as given."""
    name = text.partition(",")[0].strip()
    _find(name)
    return getattr(_known.get(name), "needs_apic", False)


def add(bus: Bus, text: str, board: Board) -> Device:
    """Put the device that ``text`` describes on the bus. UsageError."""
    cls, options = parse(text)
    try:
        made = cls(board, options)
    except KvmdbgError:
        raise
    except Exception as error:
        raise UsageError(f"device {cls.name} cannot be made: {type(error).__name__}: {error}") from error
    try:
        for base, count, offset in _ranges(cls, options):
            bus.add_ports(base, count, made, offset=offset)
        _add_mmio(bus, made, options, board)
    except ValueError as error:
        raise UsageError(f"device {cls.name}: {error}") from None
    return made


def _add_mmio(bus: Bus, made: Device, options: dict[str, int], board: Board) -> None:
    """Give a device its addresses, if it wants any. ValueError when something else is there."""
    if "mmiobase" not in options:
        return
    base, size = options["mmiobase"], options["mmiosize"]
    ram = board.memory
    if getattr(made, "over_memory", False):
        if ram < base + size:
            raise ValueError(f"there is no memory at the addresses {base:#x} to {base + size - 1:#x}, which it covers")
        ram = 0
    for start, end, what in taken(ram, board.has_apics):
        if start < base + size and base < end:
            raise ValueError(f"at the addresses {base:#x} to {base + size - 1:#x} is {what} already")
    bus.add_mmio(base, size, made)


def add_standard(bus: Bus, board: Board) -> None:
    """Put the devices of every PC on the bus, where nothing else is and none of their name is there."""
    if board.firmware or board.fw_cfg or any(board.disks):
        _find(*LATER)
    for cls in [cls for _, cls in sorted(_known.items())]:
        if _is_on(cls, board) and all(one.name != cls.name for one in bus.devices):
            made = cls(board, dict(cls.options))
            for base, count, offset in _ranges(cls, cls.options):
                if all(bus.port(base + n) is None for n in range(count)):
                    bus.add_ports(base, count, made, offset=offset)
            with suppress(ValueError):
                _add_mmio(bus, made, cls.options, board)


def add_needed(bus: Bus, board: Board) -> None:
    """Put in what devices on the bus need beside them (``needs``), where none of that name is there. UsageError."""
    for one in list(bus.devices):
        for name in getattr(one, "needs", ()):
            if all(other.name != name for other in bus.devices):
                add(bus, name, board)


def _is_on(cls: type[OptionalDevice], board: Board) -> bool:
    """Whether a PC with such a board has it."""
    belongs: Callable[[Board], bool] = getattr(cls, "belongs_to", lambda board: False)
    return getattr(cls, "standard", False) or belongs(board)


def _ranges(cls: type[OptionalDevice], options: dict[str, int]) -> list[tuple[int, int, int]]:
    """(first port, ports, offset of the first) of each range of a device."""
    ports: tuple[int, ...] | None = getattr(cls, "ports", None)
    if ports is not None:
        return [(port, 1, port) for port in ports]
    only: tuple[int, ...] | None = getattr(cls, "only", None)
    if only is not None:
        return [(options["iobase"] + offset, 1, offset) for offset in only]
    return [(options["iobase"], options["iosize"], 0)] if "iobase" in options else []
