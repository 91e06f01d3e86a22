"""Devices: what they are, what they know, and being at their other end: keys and serial input."""

from __future__ import annotations

from typing import Annotated, cast

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import TextArg, WordType
from kvmdbg.commands.registry import Later, command
from kvmdbg.commands.results import Fields, Message, Result, Table
from kvmdbg.commands.support import _unescape
from kvmdbg.devices.i8042 import KEYS, Keyboard
from kvmdbg.errors import UsageError
from kvmdbg.machine.bus import Device, attempt
from kvmdbg.record import record

DeviceArg = Annotated[str, WordType("NAME", lambda dbg: [one.name for one in dbg.session.devices])]
KeyArg = Annotated[str, WordType("KEY", lambda dbg: sorted(KEYS), strict=False)]


def _device(dbg: Interpreter, name: str) -> Device:
    for one in dbg.session.devices:
        if one.name == name:
            return one
    raise UsageError(f"this guest has no {name}: its devices are {', '.join(one.name for one in dbg.session.devices)}")


@command("info device", group="info", example="info device uart", py="dbg.devices")
def info_device(dbg: Interpreter, name: DeviceArg) -> Result:
    """Show all that is known of a device: its ports, its addresses and the state of its registers."""
    device = _device(dbg, name)
    ranges = [(first, last) for first, last, one in dbg.session.machine.bus.port_ranges() if one is device]
    ports = ", ".join(f"{first:#x}" if first == last else f"{first:#x}-{last:#x}" for first, last in ranges)
    details = getattr(device, "details", None)
    values = attempt(device, details) if details is not None else {"": attempt(device, device.describe)}
    addresses = [f"{first:#x}-{last:#x}" for first, last, one in dbg.session.machine.bus.mmio_ranges() if one is device]
    mmio = {"addresses": ", ".join(addresses)} if addresses else {}
    return Fields(name, {"ports": ports or "none", **mmio, **values})


@command(
    "info unclaimed",
    group="info",
    example=("set limit-exits 3", "run", "info unclaimed"),
    guest="--load 0x10000 --entry 0x1000:0 guests/counter16.bin",
    py="dbg.exits.unclaimed",
)
def info_unclaimed(dbg: Interpreter) -> Result:
    """List the ports and addresses that the guest touched and no device has, how often, and the first instruction.

    Reads there give all ones, writes go nowhere.
    """
    rows, data = [], []
    for access, where, size, count, first in dbg.session.exits.unclaimed:
        label = dbg.session.symbols.format(first) if first is not None else ""
        place = f"{first:#x} {label}".rstrip() if first is not None else ""
        kind = "port" if access in ("in", "out") else "address"
        rows.append((access, f"{where:#x}", str(size), str(count), place))
        data.append({"access": access, kind: where, "size": size, "count": count, "first": first})
    columns = ("Access", "Where", "Bytes", "Count", "First by")
    nothing = "Every port and address that was touched has a device."
    return Table("unclaimed ports and addresses", columns, tuple(rows), nothing, tuple(data))


@record
class WordNumberType:
    """A number, or an expression without spaces: ``10 -5`` are two."""

    metavar: str

    def parse(self, text: str, pos: int, dbg: Interpreter) -> tuple[Later, int] | None:
        word = text[pos:].split(maxsplit=1)[0]
        return Later(lambda dbg: dbg.number(word)), pos + len(word)

    def complete(self, prefix: str, dbg: Interpreter) -> list[str]:
        return []


@command(
    "sendkey",
    group="exits",
    example=("sendkey a", "sendkey ctrl-alt-delete", "sendkey shift 200", "info device i8042"),
    py="dbg.press({key}, {milliseconds})",
)
def sendkey(dbg: Interpreter, key: KeyArg, milliseconds: Annotated[int, WordNumberType("MILLISECONDS")] = 0) -> Result:
    """Press and release a key of the guest's keyboard, or several together: a, ret, f1, shift-a, ctrl-alt-delete.

    It is held for so many milliseconds of the guest's time, for guests that look now and then whether it is down.
    """
    dbg.session.press(key, milliseconds)
    held = f" for {milliseconds} ms" if milliseconds else ""
    return Message(f"Pressed {key}{held}.", data={"key": key, "milliseconds": milliseconds})


@command("nmi", group="exits", example=("nmi", "info events"), py="dbg.nmi()")
def nmi(dbg: Interpreter) -> Result:
    """Raise a non-maskable interrupt (vector 2) at the current vCPU, as the button of a PC does.

    It comes in when the guest runs on: not into a step, nor before the iret of the handler of one before it.
    """
    dbg.session.nmi()
    number = dbg.session.vcpu.index
    return Message(f"An NMI waits for vCPU {number}.", data={"vcpu": number})


@command(
    "mouse",
    group="exits",
    example=("mouse 10 -5", "mouse 0 0 1", "info device i8042"),
    py="dbg.peripherals.move_mouse({right}, {down}, {buttons})",
)
def mouse(
    dbg: Interpreter,
    right: Annotated[int, WordNumberType("RIGHT")],
    down: Annotated[int, WordNumberType("DOWN")],
    buttons: Annotated[int, WordNumberType("BUTTONS")] = 0,
) -> Result | None:
    """Move the guest's mouse so many counts to the right and down, and hold buttons: 1 left, 2 right, 4 middle."""
    dbg.session.peripherals.move_mouse(right, down, buttons)
    return None


@command("type", group="exits", example=("type hello\\n", "info device i8042"), py="dbg.type({text})")
def type_(dbg: Interpreter, text: TextArg) -> Result | None:
    r"""Type a text on the guest's keyboard (US layout): \n is the return key, \t tab, \e escape, \\ a backslash."""
    cast("Keyboard", _device(dbg, "i8042")).type(_unescape(text))
    return None


@command("send", group="exits", example=("send hello\\n", "info device uart"), py="dbg.uart.feed(data)")
def send(dbg: Interpreter, text: TextArg) -> Result | None:
    r"""Send a text to the guest's serial port: \n is a newline, \t a tab, \e escape, \\ a backslash."""
    dbg.session.uart.feed(_unescape(text).encode(errors="surrogateescape"))
    return None
