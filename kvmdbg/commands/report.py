"""`report`: where the guest stands and how it came there, as one HTML file that needs no other."""

from __future__ import annotations

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import FileArg
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result


@command("report", group="files", example="report stop.html", py="dbg.report({file})")
def report(dbg: Interpreter, file: FileArg) -> Result:
    """Write where the guest stands, and how it came there, into an HTML file that needs no other.

    The stop in words and what killed the guest, registers, code, source, stack, backtrace, the screen, what the guest
    wrote, stops and exits so far, breakpoints, page walks, tables of segments and handlers, memory around pointers.
    """
    from kvmdbg.commands.report_page import report_of  # most sessions write none

    report_of(dbg).write(file)
    return Message(f"Wrote a report of the stop to {file}.", data={"file": file})
