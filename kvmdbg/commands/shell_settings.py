"""The settings of the shell itself: its prompt, its history, what it keeps."""

from __future__ import annotations

from kvmdbg.commands.setting_types import Setting, choice, count, on_off, switch
from kvmdbg.errors import UsageError

ON_OFF = ("on", "off")
TERMINAL = -1
"""The height that the terminal has."""
ALL_LINES = 1 << 30
"""The size of a list without limit."""


def _height(text: str) -> int:
    return TERMINAL if text.strip() == "terminal" else count(text)


def _lines(text: str) -> int:
    if text.strip() == "unlimited":
        return ALL_LINES
    found = count(text)
    if not found:
        raise UsageError("listsize must be at least 1")
    return found


def _flag(name: str, default: bool, text: str) -> Setting:
    return Setting(name, default, "off" if default else "on", switch, "on|off", text, ON_OFF, on_off)


SHELL_SETTINGS: tuple[Setting, ...] = (
    _flag(
        "pager",
        False,
        "Whether output that is higher than the terminal is shown page by page, by $PAGER or less. "
        "`set pagination on` is the same.",
    ),
    Setting(
        "height",
        TERMINAL,
        "40",
        _height,
        "LINES|terminal",
        "From how many lines on the pager takes output: the terminal's own, a number, or 0 (or unlimited) for never.",
        ("terminal", "unlimited"),
        lambda value: "terminal" if value == TERMINAL else str(value),
    ),
    Setting(
        "listsize",
        10,
        "20",
        _lines,
        "LINES|unlimited",
        "How many lines of the source list shows.",
        ("unlimited",),
        lambda value: "unlimited" if value == ALL_LINES else str(value),
    ),
    Setting(
        "prompt",
        "",
        "(dbg)",
        str.strip,
        "TEXT",
        "What stands before what is typed; nothing for kvmdbg's own, which shows the CPU's mode.",
    ),
    Setting(
        "editing-mode",
        "emacs",
        "vi",
        choice("emacs", "vi"),
        "emacs|vi",
        "Which keys edit the line: emacs's, or vi's.",
        ("emacs", "vi"),
    ),
    _flag(
        "suggestions",
        False,
        "Whether the end of the last line that began with what is typed is shown behind it; the right arrow takes it.",
    ),
    _flag("fuzzy-completion", False, "Whether completion also finds words that have the typed letters further apart."),
    _flag("style-enabled", True, "Whether the shell uses colours, where the terminal has them."),
    _flag("toolbar", True, "Whether the shell shows a line with the guest's state below what is typed."),
    _flag("trace-commands", False, "Whether each command is shown, with a + before it, when it is run."),
    _flag("history-save", True, "Whether the lines typed are kept for later sessions."),
    Setting(
        "history-size",
        0,
        "500",
        count,
        "LINES",
        "How many lines of earlier sessions are taken, the last ones; 0 (or unlimited) for all. For an rc file: it is "
        "read when the shell starts.",
    ),
    Setting(
        "history-filename",
        "",
        "~/.kvmdbg_history",
        str.strip,
        "FILE",
        "Where the lines are kept; nothing for kvmdbg's own file. For an rc file: it is read when the shell starts.",
        host=True,
    ),
    _flag(
        "save-settings",
        False,
        "Whether settings are the same in the next session: what differs from the defaults is written when the shell "
        "ends, and read when it starts, before the rc files.",
    ),
)
