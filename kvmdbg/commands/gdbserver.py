"""Serving the session to gdb and lldb."""

from __future__ import annotations

from typing import Annotated

from kvmdbg.commands.gdb_serving import GdbServing, ServedToGdb
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import RestType, WordType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result
from kvmdbg.errors import UsageError

AddressTextArg = Annotated[str, RestType("ADDRESS")]
SwitchArg = Annotated[str, WordType("on|off", ("on", "off"))]


def service(dbg: Interpreter) -> GdbServing:
    """The one that serves, or UsageError."""
    found = dbg.kept(ServedToGdb).by
    if found is None:
        raise UsageError("this session cannot be served to gdb: start kvmdbg with the guest, or with --gdb")
    return found


@command(
    "gdbserver",
    group="gdb",
    example="gdbserver unix:guest.sock",
    host=True,
)
def gdbserver(dbg: Interpreter, address: AddressTextArg = "") -> Result:
    """Let gdb or lldb attach: `target remote :1234`, `gdb-remote 1234`.

    ADDRESS is a PORT or HOST:PORT (127.0.0.1:1234 without any), unix:PATH or stdio. Both work on the same guest:
    breakpoints of one are seen by the other, and either can interrupt.
    """
    where = service(dbg).start(address)
    return Message(f"gdb may attach: target remote {where}", data={"address": service(dbg).address})


@command("gdbserver stop", group="gdb", example=("gdbserver unix:guest.sock", "gdbserver stop"))
def gdbserver_stop(dbg: Interpreter) -> Result:
    """Let an attached debugger go, and let no more come."""
    serving = service(dbg)
    if serving.address is None:
        raise UsageError("gdb is not served")
    serving.stop()
    return Message("gdb is served no more.")


@command("gdbserver follow-mode", group="gdb", example="gdbserver follow-mode off")
def gdbserver_follow_mode(dbg: Interpreter, switch: SwitchArg) -> Result:
    """Whether gdb is told when the guest has changed the CPU's mode, so that it reads the registers' description anew.

    It is told as if the guest had executed another program. Off, gdb keeps the registers that it knew first.
    """
    return _set(dbg, "follow-mode", switch)


@command("gdbserver console", group="gdb", example="gdbserver console on")
def gdbserver_console(dbg: Interpreter, switch: SwitchArg) -> Result:
    """Whether gdb shows what the guest writes to its serial port, while it waits for the guest to stop."""
    return _set(dbg, "console", switch)


def _set(dbg: Interpreter, name: str, switch: str) -> Result:
    service(dbg).set_option(name, switch == "on")
    return Message(f"gdbserver {name} is {switch}.")


@command("info gdbserver", group="gdb", example=("gdbserver unix:guest.sock", "info gdbserver"))
def info_gdbserver(dbg: Interpreter) -> Result:
    """Where gdb may attach, whether one has, and its options."""
    serving = service(dbg)
    options = ", ".join(f"{name} {'on' if value else 'off'}" for name, value in serving.options.items())
    if serving.address is None:
        text = f"gdb is not served; gdbserver starts that. Options: {options}."
    else:
        there = "a debugger is attached" if serving.attached else "none is attached"
        text = f"gdb is served at {serving.address}, {there}. Options: {options}."
    data = {"address": serving.address, "attached": serving.attached, **serving.options}
    return Message(text, data=data)
