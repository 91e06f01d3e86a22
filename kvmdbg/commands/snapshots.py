"""Snapshots, and running variants from one moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

from kvmdbg.commands.info import subcommand_table
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import FileArg, NumberType, WordType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result, Table
from kvmdbg.commands.values import address_label

NewNameArg = Annotated[str, WordType("NAME", lambda dbg: [one.name for one in dbg.session.snapshots], strict=False)]
NameArg = Annotated[str, WordType("NAME", lambda dbg: [one.name for one in dbg.session.snapshots], strict=False)]
TimesArg = Annotated[int, NumberType("COUNT", least=1)]


@command("snapshot", group="running", example="snapshot")
def snapshot(dbg: Interpreter) -> Result:
    """Keep moments of the guest and go back to them; the words that may follow are listed without one."""
    return subcommand_table(dbg, "snapshot")


@command("snapshot save", group="running", example="snapshot save start", py="dbg.snapshots.save({name})")
def snapshot_save(dbg: Interpreter, name: NewNameArg) -> Result:
    """Keep this moment of the guest under a name: memory, vCPUs, interrupt controllers and devices.

    It is kept in memory, sharing with other snapshots what did not change; `snapshot write` puts it into a file.
    """
    made = dbg.session.snapshots.save(name)
    text = f"Snapshot {name} at {made.pc:#x}, {made.size >> 10} KiB."
    return Message(text, data={"name": name, "pc": made.pc, "size": made.size})


@command(
    "snapshot restore",
    group="running",
    example=("snapshot save start", "continue", "snapshot restore start"),
    py="dbg.snapshots.restore({name})",
)
def snapshot_restore(dbg: Interpreter, name: NameArg) -> Result:
    """Go back to a moment that was saved. Breakpoints, watchpoints and hooks stay as they are."""
    wanted = dbg.session.snapshots[name]
    with dbg.runs.taken_over():
        dbg.session.interrupt()
    back = dbg.session.snapshots.restore(wanted)
    dbg.runs.last_stop = None
    dbg.runs.remember_place()
    label = address_label(dbg, back.pc)
    place = f"{back.pc:#x} {label}".strip()
    return Message(f"Back at snapshot {name}, {place}.", data={"name": name, "pc": back.pc})


@command(
    "snapshot list",
    group="running",
    example=("snapshot save start", "stepi 3", "snapshot save later", "snapshot list"),
    varies="it tells when each was made",
    py="list(dbg.snapshots)",
)
def snapshot_list(dbg: Interpreter) -> Result:
    """List the snapshots: where the guest stands in each, how much memory is not zero, when it was made."""
    rows, data = [], []
    for one in dbg.session.snapshots:
        made = time.strftime("%H:%M:%S", time.localtime(one.made))
        place = f"{one.pc:#x} {address_label(dbg, one.pc)}".strip()
        rows.append((one.name, place, f"{one.size >> 10} KiB", made))
        data.append({"name": one.name, "pc": one.pc, "size": one.size, "made": one.made})
    return Table("snapshots", ("Name", "At", "Memory", "Made"), tuple(rows), "No snapshots.", tuple(data))


@command(
    "snapshot delete",
    group="running",
    example=("snapshot save start", "snapshot delete start"),
    py="dbg.snapshots.delete({name})",
)
def snapshot_delete(dbg: Interpreter, name: NameArg) -> Result:
    """Forget a snapshot."""
    dbg.session.snapshots.delete(name)
    return Message(f"Snapshot {name} is gone.", data={"name": name})


@command(
    "snapshot write",
    group="running",
    example=("snapshot save start", "snapshot write start start.snapshot"),
    py="dbg.snapshots.write({name}, {path})",
)
def snapshot_write(dbg: Interpreter, name: NameArg, path: FileArg) -> Result:
    """Put a snapshot into a file, with a checksum."""
    dbg.session.snapshots.write(name, path)
    return Message(f"Snapshot {name} is in {path}.", data={"name": name, "file": path})


@command(
    "snapshot read",
    group="running",
    example=("snapshot save start", "snapshot write start start.snapshot", "snapshot read start.snapshot again"),
    py="dbg.snapshots.read({path}, {name})",
)
def snapshot_read(dbg: Interpreter, path: FileArg, name: NewNameArg = "") -> Result:
    """Take in the snapshot in a file, under its own name or NAME; `snapshot restore` then goes there.

    A file that is damaged, of another version, or of a guest with other memory, vCPUs or devices is refused.
    """
    found = dbg.session.snapshots.read(path, name or None)
    return Message(f"Snapshot {found.name} at {found.pc:#x}.", data={"name": found.name, "pc": found.pc})


@command(
    "fork",
    group="running",
    example="fork 3\nset $bl = $variant\ncontinue\nend",
    body="commands",
    py="for variant, stop in dbg.fork(range({count}), prepare): ...",
)
def fork(dbg: Interpreter, count: TimesArg, *, body: list[str]) -> Iterator[Result]:
    """Run the lines that follow, up to `end`, COUNT times from this moment, with $variant from 0 on.

    After each time, and at the end, the guest is put back to where it stands now. What stopped each is listed.
    """
    session = dbg.session
    here = session.snapshots.take()
    rows, data = [], []
    try:
        for variant in range(count):
            session.variables["variant"], before = variant, session.last_stop
            yield from dbg.run_lines(body, f"fork {variant}")
            with dbg.runs.taken_over():
                stop = session.interrupt()
            dbg.runs.take_unreported()  # within a breakpoint's commands: the guest is not there any more
            stop = None if stop is before else stop
            text = stop.describe() if stop is not None else "it did not run"
            rows.append((str(variant), text))
            data.append({"variant": variant, "stop": stop.to_json() if stop is not None else None})
            session.snapshots.put_back(here)
    finally:
        session.interrupt()
        session.snapshots.put_back(here)
        dbg.runs.last_stop = None
    yield Table("variants", ("$variant", "What stopped it"), tuple(rows), data=tuple(data), prose=True)
