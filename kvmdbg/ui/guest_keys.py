"""Keys of a terminal as the guest's keyboard has them: prompt_toolkit's names of keys, and sendkey's."""

from __future__ import annotations

from kvmdbg.devices.i8042 import KEYS, keys_of
from kvmdbg.errors import UsageError

NAMES = {
    "up": "up", "down": "down", "left": "left", "right": "right", "home": "home", "end": "end", "delete": "delete",
    "insert": "insert", "pageup": "pgup", "pagedown": "pgdn", "escape": "esc", "c-m": "ret", "c-i": "tab",
    "c-h": "backspace", "c-@": "ctrl-spc", "c-\\": "ctrl-backslash", "c-]": "ctrl-bracket_right", "c-^": "ctrl-6",
    "c-_": "ctrl-minus", **{f"f{number}": f"f{number}" for number in range(1, 13)},
    **{f"f{number}": f"shift-f{number - 12}" for number in range(13, 25)},
}  # fmt: skip
"""Those that are no character, and not one of these with modifiers before it."""
MODIFIERS = {"c-s-": "ctrl-shift-", "c-": "ctrl-", "s-": "shift-"}


def keys_for(name: str, text: str) -> list[str]:
    """The keys that sendkey would press for one of the terminal, which has sent ``text``. UsageError where none does.

    For text that was pasted they are those that type it, as far as there are any.
    """
    if name == "<bracketed-paste>":
        return [key for char in text.replace("\r\n", "\n") for key in _typed(char)]
    if name.startswith("<"):  # the terminal's own: where its cursor is, the mouse
        return []
    if name in NAMES:
        return [NAMES[name]]
    for prefix, modifiers in MODIFIERS.items():
        rest = name.removeprefix(prefix)
        key = NAMES.get(rest, rest)
        if rest != name and key in KEYS:
            return [modifiers + key]
    return keys_of(text)


def _typed(char: str) -> list[str]:
    try:
        return keys_of(char)
    except UsageError:
        return []


def with_alt(keys: list[str]) -> list[str]:
    """The same with the Alt key held."""
    return [f"alt-{key}" for key in keys]
