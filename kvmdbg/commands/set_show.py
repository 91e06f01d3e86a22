"""``set NAME VALUE`` and ``show NAME`` of every row of settings.py."""

from __future__ import annotations

from typing import Annotated, Any

from kvmdbg.commands.info import info_settings
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import RestType
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result
from kvmdbg.commands.settings import SETTINGS, Setting
from kvmdbg.errors import UsageError
from kvmdbg.language.types import bytes_in_memory


def shown(dbg: Interpreter, name: str) -> Message:
    """A setting's value as a sentence."""
    text = dbg.settings.shown(name)
    return Message(f"{name} is {text}.", data={"setting": name, "value": text})


def _enter(setting: Setting) -> None:
    def change(dbg: Interpreter, value: str = "") -> None:
        if not value and setting.read is not None and "on" not in setting.words:
            raise UsageError(f"set {setting.name} needs {setting.metavar}")
        dbg.settings.set(setting.name, value)

    def tell(dbg: Interpreter) -> Result:
        return shown(dbg, setting.name)

    change.__doc__ = setting.text
    change.__annotations__ = {"value": Annotated[str, RestType(setting.metavar, words=setting.words)]}
    tell.__doc__ = f"Show the setting {setting.name}. {setting.text}"
    tell.__annotations__ = {}
    set_it, show_it = f"set {setting.name} {setting.example}", f"show {setting.name}"
    aliases = {"radix": ("output-radix",), "disassembly-flavor": ("disassembly-flavour",)}.get(setting.name, ())
    command(f"set {setting.name}", aliases=aliases, group="settings", example=(set_it, show_it))(change)
    command(show_it, aliases=aliases, group="settings", example=show_it)(tell)


for _setting in SETTINGS:
    _enter(_setting)


@command("show", group="settings", example=("show context", "show"))
def show(dbg: Interpreter) -> Result:
    """Show all settings, or the one that is named."""
    return info_settings(dbg)


@command("show version", group="support", example="show version")
def show_version(dbg: Interpreter) -> Result:
    """Show which kvmdbg this is."""
    from kvmdbg.version import VERSION

    return Message(f"kvmdbg {VERSION}", data={"version": VERSION})


def _told(dbg: Interpreter, name: str, value: Any) -> str:
    """The value of a variable in words."""
    type = dbg.session.convenience.type_of(name)
    if isinstance(value, int) or type is None:
        return str(value)
    return dbg.session.c_variables.show(type, bytes_in_memory(value, type))


@command("show convenience", aliases=("values", "variables"), group="data", example=("set $a = 1", "show convenience"))
def show_convenience(dbg: Interpreter) -> Result:
    """List the variables set with set $NAME = VALUE."""
    from kvmdbg.commands.results import Table

    found = sorted(dbg.session.variables.items())
    rows = tuple(
        (f"${name}", f"{value:#x}" if isinstance(value, int) else "", _told(dbg, name, value)) for name, value in found
    )
    return Table("variables", ("Variable", "Hex", "Value"), rows, "No variables are set.")
