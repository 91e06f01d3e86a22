"""What a guest finds of a BIOS and of disks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kvmdbg.commands.exits import _about, _catch
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import ConditionArg, NumberType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Result, Table
from kvmdbg.machine.disk import in_words

if TYPE_CHECKING:
    from kvmdbg.firmware.bios import Bios

InterruptArg = Annotated[int | None, NumberType("INTERRUPT")]
FunctionArg = Annotated[int | None, NumberType("FUNCTION")]


@command(
    "info bios",
    group="info",
    example=("run", "info bios"),
    guest="--irqchip none guests/bios_disk.bin",
    py="dbg.machine.bios.counts",
)
def info_bios(dbg: Interpreter) -> Result:
    """List the services of the BIOS that the guest has called, how often each, and which was the last."""
    from kvmdbg.firmware.registry import find

    bios: Bios | None = dbg.session.machine.bios
    rows, data = [], []
    for (interrupt, function), count in sorted(bios.counts.items() if bios is not None else ()):
        found = find(interrupt, function if function > 0xFF else max(function, 0) << 8)
        name = found.name if found is not None else "unknown"
        last = bios is not None and bios.last == (interrupt, function)
        chosen = f"AX={function:#06x}" if function > 0xFF else f"AH={function:#04x}" if function >= 0 else ""
        rows.append((f"{interrupt:#x}", chosen, str(count), name + (" (the last)" if last else "")))
        data.append({"interrupt": interrupt, "function": function, "count": count, "name": name, "last": last})
    empty = "The guest has called no service." if bios is not None else "This guest finds no BIOS."
    return Table("BIOS services", ("Interrupt", "Function", "Calls", "Service"), tuple(rows), empty, tuple(data))


@command("info disks", group="info", example="info disks", guest="guests/bios_disk.bin", py="dbg.machine.board.disks")
def info_disks(dbg: Interpreter) -> Result:
    """List the guest's disks: their files, sizes and geometries, and where what the guest writes goes."""
    disks = dbg.session.machine.board.disks
    rows, data = [], []
    for disk in disks:
        names = [f"{number:#04x}" for number in (0, 1, 0x80, 0x81, 0xE0) if disks.drive(number) is disk]
        rows.append((disk.name, " ".join(names), in_words(disk)))
        data.append({"name": disk.name, "file": disk.path, "sectors": disk.sectors, "changed": disk.changed})
    columns = ("Disk", "BIOS drive", "File")
    return Table("disks", columns, tuple(rows), "This guest has no disks.", tuple(data), prose=True)


@command(
    "catch bios",
    group="exits",
    example=("catch bios 0x13 2", "run"),
    guest="guests/bios_disk.bin",
    py="dbg.catch('bios', interrupt={interrupt}, function={function}, when={condition})",
)
def catch_bios(
    dbg: Interpreter,
    interrupt: InterruptArg = None,
    function: FunctionArg = None,
    condition: ConditionArg = None,
) -> Result:
    """Stop the guest behind a service of the BIOS: of INTERRUPT, with FUNCTION in AH, or any.

    A condition sees $interrupt, $function and $ax of the call. `catch interrupt` stops before it.
    """
    what = _about("BIOS call" if interrupt is not None else "any BIOS call", interrupt, function)
    return _catch(dbg, "bios", condition, what, interrupt=interrupt, function=function)
