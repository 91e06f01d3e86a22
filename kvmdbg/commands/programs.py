"""Running programs of the host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kvmdbg.commands.results import Result, Text
from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    from kvmdbg.commands.interpreter import Interpreter


def run_program(dbg: Interpreter, program: str, given: str | None = None) -> Result | None:
    """Run a line of the host's shell with ``given`` as its input; what it writes, unless the user's terminal has it."""
    import subprocess

    own = dbg.user.has_terminal
    text = given if given is not None or own else ""
    if "\0" in program:
        raise UsageError("no program's line can have a zero byte in it")
    done = subprocess.run(
        program,
        shell=True,
        input=None if text is None else text.encode("utf-8", "surrogateescape"),
        stdout=None if own and sys.stdout.isatty() else subprocess.PIPE,
        stderr=None if own else subprocess.STDOUT,
    )
    told = {"_shell_exitcode": done.returncode} if done.returncode >= 0 else {"_shell_exitsignal": -done.returncode}
    for name in ("_shell_exitcode", "_shell_exitsignal"):
        dbg.session.variables.pop(name, None)
    dbg.session.variables.update(told)
    return Text(done.stdout.decode("utf-8", "replace"), raw=True) if done.stdout else None
