"""Writes the man page docs/kvmdbg.1 from the parser of the command line: ``python -m kvmdbg.manual``."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, Action, ArgumentParser
from pathlib import Path

from kvmdbg import cli, demo

PAGE = Path(__file__).resolve().parents[1] / "docs/kvmdbg.1"

SYNOPSIS = (
    "[OPTION]... IMAGE",
    "[OPTION]... --bios FILE | --disk FILE | --floppy FILE | --cdrom FILE",
    "[OPTION]... SCRIPT.py [IMAGE] [WORD]...",
    "demo [--list] [NAME] [OPTION]...",
    "check [OPTION]... DIR",
    "lockstep [OPTION]... IMAGE",
    "completions bash|zsh|fish",
)

DESCRIPTION = """\
kvmdbg runs a guest (a boot sector, a kernel, firmware) on a virtual CPU of KVM's or of the emulator unicorn, and lets
you stop, step, watch and explain what it does: in a shell with gdb's commands, from gdb or lldb, in command files, and
from Python. Without \\fB\\-\\-batch\\fR it opens the shell, in which \\fBhelp\\fR explains every command."""

COMMANDS = (
    ("demo", "Opens a guest that comes with kvmdbg; all options may follow its name. They are: {demos}."),
    (
        "check",
        "Runs the guests that a folder names in its check.toml; \\fBkvmdbg check \\-\\-help\\fR.",
    ),
    (
        "lockstep",
        "Runs an image on KVM and on unicorn, and tells the first difference; \\fBkvmdbg lockstep \\-\\-help\\fR.",
    ),
    ("completions", "Prints a script that completes kvmdbg's options in that shell."),
)

STATUS = (
    ("0", "All commands worked, and no stop was an error."),
    ("1", "A command, a condition or a hook failed, or something could not be written."),
    ("2", "A mistake in the options, or nothing that runs the guest."),
    ("4", "The guest died at last."),
    ("130, 143, 129, 131, 141", "Ctrl-C in batch mode, SIGTERM, SIGHUP, SIGQUIT, nobody who reads the output."),
    ("others", "What \\fBquit STATUS\\fR asked for, or the guest's own where it ended itself."),
)

FILES = (
    ("~/.config/kvmdbg/kvmdbgrc", "Commands that are run at the start."),
    (".kvmdbgrc", "The same of a folder, once its user has agreed."),
    ("~/.local/state/kvmdbg/", "The history, and errors.log, where internal errors are written."),
)


def escaped(text: str) -> str:
    """As roff takes it."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return "\\&" + text if text[:1] in (".", "'") else text


def paragraph(term: str, text: str) -> str:
    return f".TP\n{term}\n{text}\n"


def option(action: Action) -> str:
    """An option with its words, its value and what it does."""
    value = action.metavar if isinstance(action.metavar, str) else None
    if value is None and action.choices is not None:
        value = "|".join(action.choices)
    shown = f" \\fI{escaped(value)}\\fR" if value and action.nargs != 0 else ""
    words = [f"\\fB{escaped(word)}\\fR{shown}" for word in action.option_strings] or [
        f"\\fI{escaped(action.dest.upper())}\\fR"
    ]
    return paragraph(", ".join(words), escaped((action.help or "").replace("%%", "%")))


def page(parser: ArgumentParser) -> str:
    """The whole page."""
    text = ".\\\" Written from the command line's parser by `make docs`; do not edit it.\n"
    text += f".TH KVMDBG 1\n.SH NAME\nkvmdbg \\- {escaped('a debugger around a virtual CPU')}\n.SH SYNOPSIS\n.nf\n"
    text += "".join(f"\\fBkvmdbg\\fR {escaped(line)}\n" for line in SYNOPSIS)
    text += f".fi\n.SH DESCRIPTION\n{DESCRIPTION}\n"
    for group in parser._action_groups:
        actions = [one for one in group._group_actions if one.help != SUPPRESS]
        if actions:
            title = {"positional arguments": "ARGUMENTS"}.get(group.title or "", (group.title or "").upper())
            text += f'.SH "{escaped(title)}"\n' + "".join(map(option, actions))
    demos = ", ".join(f"\\fB{escaped(one.name)}\\fR ({escaped(one.what)})" for one in demo.DEMOS)
    for title, rows in (("COMMANDS", COMMANDS), ("EXIT STATUS", STATUS), ("FILES", FILES)):
        text += f'.SH "{title}"\n'
        text += "".join(paragraph(f"\\fB{escaped(name)}\\fR", what.replace("{demos}", demos)) for name, what in rows)
    return text + ".SH SEE ALSO\n\\fBgdb\\fR(1), \\fBlldb\\fR(1)\n"


if __name__ == "__main__":
    PAGE.write_text(page(cli.parser()), encoding="utf-8")
    sys.exit(0)
