"""``set print …`` and the options of print: how values are shown."""

from __future__ import annotations

import re
from typing import Annotated, Any

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import RestType
from kvmdbg.commands.printing import no_use_for
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Message, Result
from kvmdbg.errors import UsageError
from kvmdbg.language.shown import Style
from kvmdbg.numbers import counted
from kvmdbg.record import fields, replace

MEANINGS = {
    "address": "whether the address is shown before what a pointer points to",
    "array": "whether the elements of an array stand on lines of their own",
    "array-indexes": "whether the number of each element of an array is shown",
    "frame-arguments": "which arguments of functions are shown with frames: all, scalars, none, or presence",
    "elements": "how many elements of an array, or characters of a text, are shown",
    "max-depth": "how many structures deep values are shown",
    "null-stop": "whether an array of characters ends at its first zero",
    "object": "whether the class that an object really has is shown, by its table of virtual functions",
    "pretty": "whether the members of a structure stand on lines of their own",
    "repeats": "from how many equal elements on they are counted instead of shown",
    "static-members": "whether static members are shown with a class",
    "symbol": "whether the name of what a pointer points to is shown",
    "union": "whether unions inside of structures are shown",
}
#: What gdb has besides, which changes nothing here.
IGNORED = frozenset(
    """
    asm-demangle characters demangle entry-values finish frame-info inferior-events max-symbolic-offset
    memory-tag-violations nibbles pascal_static-members raw-frame-arguments raw-values sevenbit-strings
    symbol-filename symbol-loading thread-events type vtbl
    """.split()
)
WORDS = {"on": True, "1": True, "yes": True, "enable": True, "": True, "off": False, "0": False, "no": False,
         "disable": False}  # fmt: skip


FRAME_ARGUMENTS = ("all", "scalars", "none", "presence")


class PrintSettings:
    """How values are shown from now on."""

    def __init__(self) -> None:
        self.style = Style()
        self.frame_arguments = "all"


def frame_arguments(dbg: Interpreter) -> str:
    """Which arguments are shown with frames."""
    return dbg.kept(PrintSettings).frame_arguments


def frame_arguments_kind(text: str) -> str:
    """One of FRAME_ARGUMENTS. UsageError."""
    if text not in FRAME_ARGUMENTS:
        raise UsageError(f"frame-arguments is one of {', '.join(FRAME_ARGUMENTS)}, not '{text}'")
    return text


def _near(word: str) -> str | None:
    """The setting that a word, or its beginning, names; None for one of gdb's that changes nothing. UsageError."""
    known = [*MEANINGS, *IGNORED]
    found = [word] if word in known else [name for name in known if name.startswith(word)]
    meant = {name if name in MEANINGS else None for name in found}
    if not word or not found:
        raise UsageError(f"there is no setting print {word}; there are {', '.join(MEANINGS)}")
    if len(meant) > 1:
        raise UsageError(f"print {word} is ambiguous: {', '.join(found)}")
    return meant.pop()


def _changed(style: Style, name: str, text: str) -> Style:
    field = name.replace("-", "_")
    value: Any = WORDS.get(text.lower())
    if type(getattr(style, field)) is int:
        if text in ("unlimited", "-1") or (text == "0" and name != "max-depth"):
            value = 0
        elif text.isdecimal():
            value = counted(text) or 1 << 30
            value = -1 if name == "max-depth" and text == "0" else value
        else:
            raise UsageError(f"set print {name} needs a number, or unlimited, not '{text}'")
    elif value is None:
        raise UsageError(f"set print {name} is on or off, not '{text}'")
    return replace(style, **{field: value})


def style_of(dbg: Interpreter) -> Style:
    """How values are shown now."""
    return replace(dbg.kept(PrintSettings).style, radix=dbg.settings["output-radix"])


def options_of(style: Style, text: str) -> tuple[Style, str]:
    """The options before an expression, as in ``-pretty -elements 3 -- table``: the style that they make, the rest.

    As in gdb nothing is an option without the ``--`` behind it: ``print -c`` is of a variable c.
    """
    if not re.search(r"\s--(?=\s|$)", f" {text}"):
        return style, text
    while match := re.match(r"\s*-([a-z][a-z-]*)(?=\s|$)", text):
        rest = text[match.end() :].lstrip()
        try:
            name = _near(match[1])
        except UsageError:
            break
        if name == "frame-arguments":
            break
        numeric = name is not None and type(getattr(style, name.replace("-", "_"))) is int
        word = rest.split(maxsplit=1)[0] if rest else ""
        if numeric or (word and word in WORDS):
            rest = rest[len(word) :].lstrip()
        else:
            word = "on"
        style, text = _changed(style, name, word) if name is not None else style, rest
    match = re.match(r"\s*--(?=\s|$)", text)
    return style, text[match.end() :].lstrip() if match else text


SettingArg = Annotated[str, RestType("NAME [VALUE]", words=tuple(MEANINGS))]


@command("set print", aliases=("p", "pr"), group="settings", example=("set print pretty on", "set print elements 20"))
def set_print(dbg: Interpreter, setting: SettingArg = "") -> Result | None:
    """Say how print shows values: set print pretty|array|array-indexes|union|address|symbol|null-stop|object on|off,
    and set print elements|repeats|max-depth NUMBER|unlimited, set print frame-arguments all|scalars|none|presence.

    Those that only gdb has are taken, and change nothing.
    """
    word, _, value = setting.partition(" ")
    if not word:
        raise UsageError(f"set print needs a NAME; there are {', '.join(MEANINGS)}")
    name = _near(word)
    if name is None:
        return no_use_for(dbg, f"print {word}")
    kept = dbg.kept(PrintSettings)
    if name == "frame-arguments":
        kept.frame_arguments = frame_arguments_kind(value.strip())
        return None
    kept.style = _changed(kept.style, name, value.strip())
    return None


@command("show print", aliases=("p", "pr"), group="settings", example="show print")
def show_print(dbg: Interpreter, setting: SettingArg = "") -> Result:
    """Show how print shows values, or one of these settings."""
    values = {name.replace("_", "-"): _shown(value) for name, value in fields(dbg.kept(PrintSettings).style).items()}
    values["frame-arguments"] = frame_arguments(dbg)
    if not setting:
        return Fields("print", {name: values[name] for name in MEANINGS})
    name = _near(setting.strip())
    if name is None:
        raise UsageError(f"print {setting} is gdb's alone; there are {', '.join(MEANINGS)}")
    return Message(f"print {name} ({MEANINGS[name]}) is {values[name]}.")


def setting_named(dbg: Interpreter, text: str) -> tuple[Any, str] | None:
    """The value of a setting, those of print included, and how it is shown; None where there is none."""
    word, _, rest = text.strip().partition(" ")
    if word != "print" or not rest:
        found, rest = dbg.settings.named(text)
        return None if found is None or rest else (dbg.settings[found.name], dbg.settings.shown(found.name))
    try:
        name = _near(rest.strip())
    except UsageError:
        return None
    if name is None:
        return None
    if name == "frame-arguments":
        return frame_arguments(dbg), frame_arguments(dbg)
    value = getattr(dbg.kept(PrintSettings).style, name.replace("-", "_"))
    return value, _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(max(value, 0)) if value else "unlimited"
