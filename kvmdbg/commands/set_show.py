"""``set NAME VALUE`` and ``show NAME`` of every row of settings.py."""

from __future__ import annotations

from typing import Annotated, Any

from kvmdbg.commands.gdb_settings import told
from kvmdbg.commands.info import info_settings
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import RestType
from kvmdbg.commands.printing import no_use_for
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Fields, Message, Result
from kvmdbg.commands.setting_types import Setting
from kvmdbg.commands.settings import ALIASES, SETTINGS
from kvmdbg.errors import UsageError
from kvmdbg.language.types import value_of


def shown(dbg: Interpreter, name: str) -> Message:
    """A setting's value as a sentence."""
    text = dbg.settings.shown(name)
    return Message(f"{name} is {text}.", data={"setting": name, "value": text})


def _enter(setting: Setting) -> None:
    def change(dbg: Interpreter, value: str = "") -> None:
        if not value and setting.default != "" and "on" not in setting.words:
            raise UsageError(f"set {setting.name} needs {setting.metavar}")
        dbg.settings.set(setting.name, value)

    def tell(dbg: Interpreter) -> Result:
        return shown(dbg, setting.name)

    change.__doc__ = setting.text
    change.__annotations__ = {"value": Annotated[str, RestType(setting.metavar, words=setting.words)]}
    tell.__doc__ = f"Show the setting {setting.name}. {setting.text}"
    tell.__annotations__ = {}
    set_it, show_it = f"set {setting.name} {setting.example}", f"show {setting.name}"
    aliases = tuple(other for other, name in ALIASES.items() if name == setting.name)
    command(f"set {setting.name}", aliases=aliases, group="settings", example=(set_it, show_it), host=setting.host)(
        change
    )
    command(show_it, aliases=aliases, group="settings", example=show_it)(tell)


for _setting in SETTINGS:
    _enter(_setting)


def _enter_group(group: str, example: str) -> None:
    """gdb writes the settings of some groups with two words."""
    names = tuple(one.name.removeprefix(f"{group}-") for one in SETTINGS if one.name.startswith(f"{group}-"))
    listed = ", ".join(f"{group}-{name}" for name in names)

    def change(dbg: Interpreter, text: str = "") -> Result | None:
        setting, value = dbg.settings.named(f"{group} {text}")
        if setting is None:
            return no_use_for(dbg, f"{group} {text.partition(' ')[0]}")
        dbg.settings.set(setting.name, value)
        return None

    def tell(dbg: Interpreter, text: str = "") -> Result:
        if not text:
            return Fields(group, {name: dbg.settings.shown(f"{group}-{name}") for name in names})
        setting, _ = dbg.settings.named(f"{group} {text}")
        if setting is None:
            return Message(f"{group} {text} is gdb's; it changes nothing here.")
        return shown(dbg, setting.name)

    change.__doc__ = f"Change {listed}, as gdb writes it. What else gdb has behind it is taken, and changes nothing."
    tell.__doc__ = f"Show {listed}, or the one that is named."
    change.__annotations__ = tell.__annotations__ = {"text": Annotated[str, RestType("NAME VALUE", words=names)]}
    command(f"set {group}", group="settings", example=f"set {group} {example}")(change)
    command(f"show {group}", group="settings", example=f"show {group}")(tell)


_enter_group("history", "save off")
_enter_group("style", "enabled off")


@command("show", group="settings", example=("show context", "show"))
def show(dbg: Interpreter, name: Annotated[str, RestType("NAME")] = "") -> Result:
    """Show all settings, or the one that is named."""
    if not name:
        return info_settings(dbg)
    setting, _ = dbg.settings.named(name)
    if setting is not None:
        return shown(dbg, setting.name)
    if (text := told(name)) is not None:
        return Message(text)
    import difflib  # only when somebody mistyped

    near = difflib.get_close_matches(name, [one.name for one in dbg.settings], n=1)
    raise UsageError(f"there is no setting {name}{f'; did you mean {near[0]}?' if near else '; show lists them'}")


@command("show version", group="support", example="show version")
def show_version(dbg: Interpreter) -> Result:
    """Show which kvmdbg this is."""
    from kvmdbg.version import VERSION

    return Message(f"kvmdbg {VERSION}", data={"version": VERSION})


def _told(dbg: Interpreter, name: str, value: Any) -> str:
    """The value of a variable in words."""
    type = dbg.session.convenience.type_of(name)
    return str(value) if type is None else dbg.session.c_variables.printer().value(value_of(value, type))


@command("show convenience", aliases=("conv", "variables"), group="data", example=("set $a = 1", "show convenience"))
def show_convenience(dbg: Interpreter) -> Result:
    """List the variables set with set $NAME = VALUE."""
    from kvmdbg.commands.results import Table

    found = sorted(dbg.session.variables.items())
    rows = tuple(
        (f"${name}", f"{value:#x}" if isinstance(value, int) else "", _told(dbg, name, value)) for name, value in found
    )
    return Table("variables", ("Variable", "Hex", "Value"), rows, "No variables are set.")
