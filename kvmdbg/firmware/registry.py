"""The services that there are: a function each, known by its interrupt and function number.

``@service(0x10, 0x0E, "al bl")`` makes a function the service for AH=0x0E of interrupt 0x10; without a number it is the
one for all that have none of their own. A number above 0xFF is all of AX. The first line of its docstring is its name;
the registers given are shown with a call.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from kvmdbg.firmware.call import name_of
from kvmdbg.machine.bus import GuestEnd
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.firmware.call import Call

Run = Callable[["Call"], GuestEnd | None]
R = TypeVar("R", bound=Run)


@record
class Service:
    """``run`` serves a call of ``interrupt``; ``number`` is AH, or AX above 0xFF, or None for all the others."""

    interrupt: int
    number: int | None
    name: str
    shown: tuple[str, ...]
    run: Run


MODULES: dict[int, tuple[str, ...]] = {
    **dict.fromkeys((0x08, 0x70), ("clock",)),
    0x1A: ("clock", "pci_services"),
    **dict.fromkeys((0x09, 0x16), ("keyboard",)),
    0x10: ("video", "colours", "vesa", "video_state"),
    **dict.fromkeys((0x11, 0x12), ("system",)),
    0x15: ("system", "mouse"),
    0x74: ("mouse",),
    0x13: ("disk_services",),
    **dict.fromkeys((0x18, 0x19), ("restart",)),
    0x20: ("dos",),
    0x21: ("dos", "dos_console"),
}
OTHERS = ("ports",)
"""Where the services of each interrupt are; they are imported when it is called first, as start-up time is measured."""
_loaded: set[int] = set()
_known: dict[tuple[int, int | None], Service] = {}


def service(interrupt: int, number: int | None = None, shown: str = "") -> Callable[[R], R]:
    """Function decorator: make it known. It may serve several numbers."""

    def register(function: R) -> R:
        assert (interrupt, number) not in _known, f"int {interrupt:#x}, {number}, is served by two"
        name = (function.__doc__ or function.__name__).partition("\n")[0].rstrip(".")
        _known[interrupt, number] = Service(interrupt, number, name, tuple(shown.split()), function)
        return function

    return register


def _load(interrupt: int) -> None:
    for name in MODULES.get(interrupt, OTHERS):
        import_module(f"kvmdbg.firmware.{name}")
    _loaded.add(interrupt)


def find(interrupt: int, ax: int) -> Service | None:
    """The service for a call with this AX; None where a BIOS has none."""
    if interrupt not in _loaded:
        _load(interrupt)
    return _known.get((interrupt, ax >> 8)) or _known.get((interrupt, ax)) or _known.get((interrupt, None))


def known() -> list[Service]:
    """All of them, by interrupt and number."""
    for interrupt in range(256):
        _load(interrupt)
    return sorted(_known.values(), key=lambda one: (one.interrupt, -1 if one.number is None else one.number))


def words(interrupt: int, read: Callable[[str], int]) -> str:
    """A call in words: ``read`` gives a register by its name."""
    ax = read("ax")
    found = find(interrupt, ax)
    text = f"int {interrupt:#x}"
    if found is None or found.number is not None:
        text += f", AX={ax:#06x}" if found is not None and (found.number or 0) > 0xFF else f", AH={ax >> 8:#04x}"
    if found is not None:
        text += f" ({found.name[:1].lower()}{found.name[1:]})"
    else:
        text += name_of(interrupt, ax >> 8)
    values = []
    for name in found.shown if found is not None else ():
        value = read(name)
        known_char = name == "al" and 0x20 <= value < 0x7F
        width = {"e": 10, "x": 6}.get(name[:1] if len(name) == 3 else "", 4 if name[1] in "lh" else 6)
        values.append(f"{name.upper()}={value:#0{width}x}" + (f" '{chr(value)}'" if known_char else ""))
    return text + (": " + ", ".join(values) if values else "")
