"""What ``set`` and ``show`` know. To add a setting: one row in :data:`SETTINGS`.

``set NAME VALUE`` and ``show NAME`` with their help, completion and reference entries follow from the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import TYPE_CHECKING, Any

from kvmdbg.commands.setting_types import Setting, choice, count, number_in, on_off, seconds, switch
from kvmdbg.commands.shell_settings import SHELL_SETTINGS
from kvmdbg.commands.tui_settings import TUI_SETTINGS
from kvmdbg.engine.arming import AUTO, HOLDS
from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    from kvmdbg.core.session import Session

CONTEXT_PARTS = ("regs", "source", "code", "stack", "stop")
"""The parts that are shown unless something else is wished."""
ALL_PARTS = (*CONTEXT_PARTS, "pointers", "backtrace", "expressions")


KEYS_GO = ("auto", "keyboard", "serial", "none")
THEMES = ("terminal", "dark", "light", "plain")


def _theme(text: str) -> str:
    if text.strip() not in THEMES:
        raise UsageError(f"there is no theme '{text}'; there are {', '.join(THEMES)}")
    return text.strip()


def _pace(text: str) -> float:
    """Seconds of the guest's time for one of the host's."""
    word, _, rate = text.strip().partition(" ")
    if word == "real" and not rate:
        return 1.0
    try:
        value = float(rate) if word == "virtual" else 0.0
    except ValueError:
        value = 0.0
    if not 1e-6 <= value <= 1e6:
        raise UsageError(f"guest time is real, or virtual with a rate from 0.000001 to 1000000, not '{text}'")
    return value


def _pace_in_words(rate: float) -> str:
    return "real" if rate == 1 else f"virtual {rate:g}"


def _expression(text: str) -> str:
    from kvmdbg.language.expressions import parse

    parse(text)
    return text.strip()


def read_parts(text: str) -> tuple[str, ...]:
    """The context parts that a comma-separated list names, in their fixed order. Raises UsageError."""
    words = text.replace(",", " ").split()
    if words == ["all"]:
        return ALL_PARTS
    if words == ["none"]:
        return ()
    found: list[str] = []
    for word in words:
        near = [part for part in ALL_PARTS if part.startswith(word)]
        if len(near) != 1:
            raise UsageError(f"'{word}' is none of {', '.join(ALL_PARTS)}, all, none")
        found += near
    if not found:
        raise UsageError(f"set context needs any of {', '.join(ALL_PARTS)}, or all, or none")
    return tuple(part for part in ALL_PARTS if part in found)


def _output_radix(text: str) -> int:
    value = count(text)
    if value not in (2, 8, 10, 16):
        raise UsageError(f"output-radix must be 2, 8, 10 or 16, not {value}")
    return value


def _input_radix(text: str) -> int:
    value = count(text)
    if not 2 <= value <= 16:
        raise UsageError(f"input-radix must be 2 to 16, not {value}")
    return value


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "context",
        CONTEXT_PARTS,
        "regs,code",
        read_parts,
        "PARTS",
        "Which parts of the context view each stop shows: any of regs, source, code, stack, stop (details of what "
        "stopped it), pointers (the registers that hold addresses, and where those lead), backtrace, and expressions "
        "(what display lists, which else comes behind the sentence), separated by commas; or all, or none. The "
        "sentence that says why the guest stopped is always there.",
        (*ALL_PARTS, "all", "none"),
        lambda parts: ",".join(parts) or "none",
    ),
    Setting(
        "operand-values",
        True,
        "off",
        switch,
        "on|off",
        "Whether the current instruction is shown with what its registers and its memory hold before it runs.",
        ("on", "off"),
        on_off,
    ),
    Setting(
        "theme",
        "terminal",
        "dark",
        _theme,
        "terminal|dark|light|plain",
        "The colours of the shell: the terminal's own sixteen, brighter ones for a dark background, darker ones for a "
        "light one, or none but bold.",
        THEMES,
    ),
    Setting(
        "code-lines", 6, "10", count, "COUNT", "How many instructions the context view shows from the current one on."
    ),
    Setting(
        "limit-time",
        0.0,
        "2.5",
        seconds,
        "SECONDS",
        "After how many seconds run, continue and steps stop the guest; 0 (or unlimited) for never.",
    ),
    Setting(
        "limit-exits",
        0,
        "1000",
        count,
        "COUNT",
        "After how many exits run and continue stop the guest; 0 (or unlimited) for never.",
    ),
    Setting(
        "limit-instructions",
        0,
        "1000",
        count,
        "COUNT",
        "After how many instructions run and continue stop the guest; 0 (or unlimited) for never. They are counted by "
        "stepping, which is slow, and with one vCPU only.",
    ),
    Setting(
        "exit-places",
        False,
        "on",
        switch,
        "on|off",
        "Whether exits are counted by the instruction and function that made them; info exits shows it. It costs time "
        "at each exit.",
        ("on", "off"),
        on_off,
        of_session="counts_exit_places",
    ),
    Setting("stack-lines", 6, "10", count, "COUNT", "How many slots of the stack the context view shows."),
    Setting(
        "width",
        0,
        "72",
        count,
        "COLUMNS",
        "How many columns output may take; 0 (or unlimited) takes the terminal's own.",
    ),
    Setting(
        "disassembly-flavor",
        "intel",
        "att",
        choice("intel", "att"),
        "intel|att",
        "The syntax of disassembly.",
        ("intel", "att"),
    ),
    Setting(
        "output-radix",
        10,
        "16",
        _output_radix,
        "BASE",
        "The base in which print shows numbers when no format is given: 2, 8, 10 or 16.",
        ("2", "8", "10", "16"),
    ),
    Setting(
        "input-radix",
        10,
        "16",
        _input_radix,
        "BASE",
        "The base (2 to 16) of numbers in expressions that say no other, as 0x1f does. BASE itself is read in the base "
        "so far. A word of such digits that is no name is a number, too: ff.",
    ),
    Setting(
        "step-interrupts",
        False,
        "on",
        switch,
        "on|off",
        "Whether an interrupt may come in during a step, which then ends in its handler. Off, interrupts wait for the "
        "next free run, so that stepping stays in the code that is looked at.",
        ("on", "off"),
        on_off,
        of_session="step_interrupts",
    ),
    Setting(
        "guest-time",
        1.0,
        "virtual 0.1",
        _pace,
        "real|virtual RATE",
        "How the guest's time goes while it runs, from the next run on: as the host's (`real`), or at RATE seconds for "
        "one of the host's (`virtual RATE`), so that slow code, or code that is stepped, gets on between two ticks. "
        "Timer, clock and date are in it where they are kvmdbg's own (`--irqchip user`). It stands still at stops.",
        ("real", "virtual"),
        _pace_in_words,
        of_session="world.guest_rate",
    ),
    Setting(
        "breakpoint-hold",
        AUTO,
        "stepping",
        choice(*HOLDS),
        "|".join(HOLDS),
        "How breakpoints are held from the next run on. `auto`: in debug registers while there are any, else by traps "
        "planted in memory, else by stepping. `register`: in debug registers only, of which there are four. "
        "`stepping`: by a comparison at each instruction, which is slow. `planted`: by traps only. The guest can read "
        "planted traps: one that copies or sums up its own code needs `register` or `stepping`. `info breakpoints` "
        "shows how each is held.",
        HOLDS,
        of_session="breakpoint_hold",
    ),
    Setting(
        "magic-breakpoint",
        False,
        "on",
        switch,
        "on|off",
        "Whether the instruction xchg bx, bx stops the guest, as Bochs's magic breakpoint does; as `catch magic`. "
        "No exit tells of it, so the guest is stepped while this is on, which is slow; off, it costs nothing.",
        ("on", "off"),
        on_off,
        of_session="points.magic",
    ),
    Setting(
        "breakpoint-pending",
        "off",
        "on",
        choice("on", "off", "auto"),
        "on|off|auto",
        "Whether a breakpoint on a name that nothing has is kept until symbols are read that have it (symbol-file, "
        "add-symbol-file); auto asks where there is somebody to ask, off refuses it. `set breakpoint "
        "pending on` is the same.",
        ("on", "off", "auto"),
    ),
    Setting(
        "call-keeps",
        False,
        "on",
        switch,
        "on|off",
        "Whether what a function of the guest does stays when print or call has called it. Off, it runs on a snapshot: "
        "memory, registers and devices are as before. What it has written to the console is seen in any case.",
        ("on", "off"),
        on_off,
        of_session="calls.keeps",
    ),
    Setting(
        "confirm",
        True,
        "off",
        switch,
        "on|off",
        "Whether kill, delete of all breakpoints and quit with a guest that runs ask first. Batch mode never asks.",
        ("on", "off"),
        on_off,
    ),
    Setting(
        "keys",
        "auto",
        "keyboard",
        choice(*KEYS_GO),
        "|".join(KEYS_GO),
        "Where keys go that are typed in the shell's terminal while the guest runs in the foreground. `auto`: to the "
        "serial port once the guest waits for input there (with --serial stdio), else to its keyboard once it waits "
        "for keys or lets the keyboard's interrupt through, else nowhere: they wait for the prompt. `keyboard` and "
        "`serial` insist on one, with `none` they always wait for the prompt. Ctrl-C interrupts the guest; Ctrl-] c "
        "types it, Ctrl-] z Ctrl-Z, Ctrl-] Ctrl-] Ctrl-]; Ctrl-] s shows the screen.",
        KEYS_GO,
    ),
    Setting(
        "tui-memory",
        "$sp",
        "$sp + 8",
        _expression,
        "ADDRESS",
        "The address, an expression worked out anew at each stop, that the memory pane of the full-screen mode shows.",
    ),
    *TUI_SETTINGS,
    *SHELL_SETTINGS,
)

#: First words of settings that gdb writes with two: `set history save` is `set history-save`.
GROUPS = ("breakpoint", "history", "style", "tui")
#: Those whose value is itself a number in the base of input-radix.
RADICES = ("input-radix", "output-radix")
#: Other names, as gdb spells them.
ALIASES = {"disassembly-flavour": "disassembly-flavor", "pagination": "pager"}


class Settings:
    """The values of one interpreter's settings, and those of its session."""

    def __init__(self, session: Session | None = None, known: tuple[Setting, ...] = SETTINGS) -> None:
        self._session = session
        self._known = {one.name: one for one in known}
        self._values = {one.name: one.default for one in known}

    def __iter__(self) -> Iterator[Setting]:
        return iter(self._known.values())

    def __getitem__(self, name: str) -> Any:
        """The value, typed as its row says. Raises KeyError for an unknown name (a mistake of the program)."""
        owner, attribute = self._owner(name)
        return self._values[name] if owner is None else getattr(owner, attribute)

    def __setitem__(self, name: str, value: Any) -> None:
        owner, attribute = self._owner(name)
        if owner is None:
            self._values[name] = value
        else:
            setattr(owner, attribute, value)

    def _owner(self, name: str) -> tuple[Any, str]:
        """Whose attribute a setting of the session's is; None for one of this interpreter's own."""
        *path, attribute = self._known[name].of_session.split(".")
        if not attribute or self._session is None:
            return None, ""
        return reduce(getattr, path, self._session), attribute

    def add(self, setting: Setting) -> None:
        """One more setting, e.g. the shell's own."""
        self._known[setting.name] = setting
        self._values[setting.name] = setting.default

    def find(self, word: str) -> Setting | None:
        """The setting of this name or unique prefix; None when there is none. Raises UsageError when ambiguous."""
        word = ALIASES.get(word, word)
        if word in self._known:
            return self._known[word]
        near = [name for name in self._known if name.startswith(word)]
        if len(near) > 1:
            raise UsageError(f"'{word}' is ambiguous: {', '.join(near)}")
        return self._known[near[0]] if near else None

    def named(self, text: str) -> tuple[Setting | None, str]:
        """The setting that "NAME VALUE" is about, and the value; as in gdb history-save may be written history save."""
        first, _, rest = text.strip().partition(" ")
        second, _, value = rest.strip().partition(" ")
        group = next((one for one in GROUPS if one.startswith(first) and first), None)
        if group is not None and f"{group}-{second}" in self._known:
            return self._known[f"{group}-{second}"], value.strip()
        if group == first and second and first not in self._known:
            return None, rest.strip()
        return (self.find(first) if first else None), rest.strip()

    def set(self, name: str, text: str) -> None:
        """Give a setting the value that ``text`` means. Raises UsageError."""
        setting = self.find(name)
        if setting is None:
            raise UsageError(f"there is no setting {name}; show lists them")
        text = text.strip()
        if setting.name in RADICES:
            text = str(number_in(text, self["input-radix"]))
        self[setting.name] = setting.read(text)

    def shown(self, name: str) -> str:
        """The value as ``show`` prints it, and as ``set`` would read it."""
        return self._known[name].show(self[name])
