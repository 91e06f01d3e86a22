"""A Linux guest's own view of itself: its messages, processes and modules."""

from __future__ import annotations

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Result, Table

GUEST = "guests/linux.elf"
STATES = ((0x2, "D"), (0x4, "T"), (0x8, "t"), (0x10, "X"), (0x20, "Z"), (0x80, "X"), (0x400, "I"), (0x1, "S"))
"""TASK_UNINTERRUPTIBLE and the rest, as ps has them; no bit of these is R."""


@command("lx-dmesg", group="info", example=("run", "lx-dmesg"), guest=GUEST, py="list(dbg.linux.messages())")
def lx_dmesg(dbg: Interpreter) -> Result:
    """Show a Linux kernel's messages, from its memory: also those that it has printed nowhere yet.

    The kernel's own types (BTF) tell where they are, or debug information.
    """
    found = list(dbg.session.linux.messages())
    rows = tuple((f"{one.nanoseconds / 1e9:12.6f}", str(one.level), one.text) for one in found)
    data = tuple(one._asdict() for one in found)
    return Table("messages", ("Time", "Level", "Message"), rows, "The kernel has said nothing yet.", data)


@command("lx-ps", group="info", example="lx-ps", guest=GUEST, py="list(dbg.linux.tasks())")
def lx_ps(dbg: Interpreter) -> Result:
    """List a Linux kernel's processes and their threads: task_struct, number, state as ps has it, and name."""
    rows, data = [], []
    for one in dbg.session.linux.tasks():
        state = "I" if one.state & 0x402 == 0x402 else next((name for bit, name in STATES if one.state & bit), "R")
        rows.append((f"{one.address:#x}", str(one.pid), str(one.leader), state, one.name))
        data.append({"address": one.address, "pid": one.pid, "process": one.leader, "state": state, "name": one.name})
    return Table("processes", ("Task", "PID", "Process", "State", "Name"), tuple(rows), "There are none.", tuple(data))


@command("lx-lsmod", group="info", example="lx-lsmod", guest=GUEST, py="list(dbg.linux.modules())")
def lx_lsmod(dbg: Interpreter) -> Result:
    """List the modules that a Linux kernel has loaded: where their code begins, their size, and who uses them."""
    rows, data = [], []
    for one in dbg.session.linux.modules():
        users = ",".join(one.users)
        rows.append((one.name, f"{one.base:#x}", str(one.size), str(one.references), users))
        data.append(
            {"name": one.name, "base": one.base, "size": one.size, "references": one.references, "users": one.users}
        )
    columns = ("Name", "Base", "Size", "References", "Used by")
    return Table("modules", columns, tuple(rows), "No modules are loaded.", tuple(data))
