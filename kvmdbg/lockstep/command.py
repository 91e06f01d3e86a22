"""The command ``kvmdbg lockstep IMAGE``: one guest on two back ends, and the first difference between them.

Exit status: 0 where they do the same, 1 where they differ, 2 for a mistake in the options, or a guest that one of the
back ends cannot run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kvmdbg import standard_files
from kvmdbg.errors import KvmdbgError, UsageError

if TYPE_CHECKING:
    from kvmdbg.core.session import Session

EVERY = 1000


def is_meant(words: Sequence[str]) -> bool:
    """Whether a command line is of ``kvmdbg lockstep``, and not of a guest whose image is called lockstep."""
    return words[:1] == ["lockstep"] and (len(words) > 1 or not os.path.isfile("lockstep"))


def add_options(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    """What it takes beside the options of a guest."""
    parser.prog = "kvmdbg lockstep"
    parser.usage = "%(prog)s [options] IMAGE"
    parser.description = "Run a guest on two back ends, and tell the first instruction after which they differ."
    parser.epilog = "Devices of the first answer both. Exit status: 0 they do the same, 1 they differ, 2 an error."
    found = parser.add_argument_group("the comparison")
    found.add_argument(
        "--engines",
        default="kvm,soft",
        metavar="FIRST,SECOND",
        help="the two back ends (kvm,soft)",
    )
    found.add_argument("--count", type=count, metavar="COUNT", help="end after so many instructions")
    found.add_argument(
        "--every",
        type=count,
        default=EVERY,
        metavar="COUNT",
        help=f"compare memory every so many instructions ({EVERY}); registers are compared after each",
    )


def _names(options: argparse.Namespace) -> tuple[str, str]:
    """The two back ends. UsageError for options that are wrong, or that would say nothing here."""
    if options.engine:
        raise UsageError("lockstep takes no --engine: --engines FIRST,SECOND names its two")
    of_sessions = {
        "-x, -ex or --run": options.commands, "--script": options.scripts, "--gdb": options.gdb, "--tui": options.tui,
        "--serial": options.serial != "stdio",
    }  # fmt: skip
    for name, given in of_sessions.items():
        if given:
            raise UsageError(f"lockstep runs no session: it takes no {name}")
    if options.args:
        raise UsageError(f"{options.args[0]!r} is one word too many: lockstep runs one image")
    for name, count in (("--every", options.every), ("--count", options.count)):
        if count is not None and count < 1:
            raise UsageError(f"{name} wants a number of instructions from 1 on")
    names = tuple(options.engines.split(","))
    if len(names) != 2 or not all(names):
        raise UsageError(f"--engines wants two back ends, as in kvm,soft, not {options.engines!r}")
    return names


def main(options: argparse.Namespace, open_session: Callable[[argparse.Namespace], Session]) -> int:
    """Do it; the exit status."""
    try:
        names = _names(options)
        options.serial = "none"
        with ExitStack() as opened:
            sessions = []
            for name in names:
                options.engine = name
                sessions.append(opened.enter_context(open_session(options)))
            from kvmdbg.lockstep.compare import Lockstep

            first, second = sessions
            shown = names if names[0] != names[1] else (f"{names[0]} 1", f"{names[1]} 2")
            found = Lockstep(first, second, (shown[0], shown[1]), options.every).run(options.count)
    except KeyboardInterrupt:
        return 130
    except KvmdbgError as error:
        if options.json:
            sys.stdout.write(json.dumps({"type": "error", "text": str(error)}) + "\n")
        standard_files.say(f"kvmdbg: {error}")
        return 2
    written = standard_files.answer((json.dumps(found.to_json()) if options.json else found.describe()) + "\n")
    return written or (0 if found.same else 1)
