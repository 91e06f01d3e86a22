"""The devices that ``--device`` puts on the bus. A new one is a class with ``@device`` in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, TypeVar

from kvmdbg import plugins
from kvmdbg.errors import UsageError
from kvmdbg.machine.bus import Bus, Device
from kvmdbg.numbers import number


class OptionalDevice(Device, Protocol):
    """A device that can be asked for: ``name`` is what ``--device`` calls it, ``options`` its keys and their defaults.

    It is made with ``output``, which takes bytes for the guest's console, and the options, and is put on the bus at
    ``iobase`` with ``iosize`` ports.
    """

    options: ClassVar[dict[str, int]]

    def __init__(self, output: Callable[[bytes], None], options: dict[str, int]) -> None: ...


_known: dict[str, type[OptionalDevice]] = {}
D = TypeVar("D", bound=type[OptionalDevice])


def device(cls: D) -> D:
    """Class decorator: make it known by its name."""
    _known[cls.name] = cls
    return cls


def known() -> dict[str, type[OptionalDevice]]:
    """All of them by name."""
    return dict(sorted(_known.items()))


def parse(text: str) -> tuple[type[OptionalDevice], dict[str, int]]:
    """``NAME[,KEY=VALUE]...`` as the device's class and all its options. UsageError."""
    name, *pairs = text.split(",")
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
    base, size = options["iobase"], options["iosize"]
    if size < 1 or base < 0 or base + size > 0x10000:
        raise UsageError(f"device {cls.name}: ports {base:#x} to {base + size - 1:#x} are not there")
    return cls, options


def add(bus: Bus, text: str, output: Callable[[bytes], None]) -> Device:
    """Put the device that ``text`` describes on the bus. UsageError."""
    cls, options = parse(text)
    made = cls(output, options)
    try:
        bus.add_ports(options["iobase"], options["iosize"], made)
    except ValueError as error:
        raise UsageError(f"device {cls.name}: {error}") from None
    return made
