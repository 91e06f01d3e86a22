"""The guest's text screen as it changes, and its keyboard: ``screen live``."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.errors import KvmdbgError
from kvmdbg.ui.given_back import given_back

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyPressEvent

    from kvmdbg.core.session import Session

REFRESH = 0.1
"""Seconds between two looks at the screen."""
KEYS = {
    "up": "up", "down": "down", "left": "left", "right": "right", "home": "home", "end": "end", "delete": "delete",
    "insert": "insert", "pageup": "pgup", "pagedown": "pgdn", "escape": "esc", "c-m": "ret", "c-i": "tab",
    "c-h": "backspace", **{f"f{number}": f"f{number}" for number in range(1, 13)},
}  # fmt: skip
"""prompt_toolkit's names of keys, and sendkey's."""
HELP = " keys go to the guest; Ctrl-] goes back to the prompt "


def show(session: Session) -> None:
    """Show the screen until the guest stops or the user leaves with Ctrl-]."""
    from prompt_toolkit.application import Application
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.keys import Keys
    from prompt_toolkit.layout import HSplit, Layout, Window
    from prompt_toolkit.layout.controls import FormattedTextControl

    bindings = KeyBindings()
    ended: list[bool] = []
    seen = [""]

    @bindings.add("c-]")
    def leave(event: KeyPressEvent) -> None:
        event.app.exit()

    def press(key: str) -> None:
        try:
            session.press(key)
        except KvmdbgError:
            app.output.bell()

    for name, key in KEYS.items():
        bindings.add(name)(lambda event, key=key: press(key))

    @bindings.add(Keys.Any)
    def other(event: KeyPressEvent) -> None:
        try:
            session.type(event.data)
        except KvmdbgError:  # no key of the guest's keyboard types it
            app.output.bell()

    def text() -> str:
        if session.state != "running" and app.is_running and not ended:
            ended.append(True)
            app.exit()
        with suppress(Exception):  # another debugger may just be making the guest anew
            seen[0] = "\n".join(session.screen())
        return seen[0]

    app: Application[None] = Application(
        layout=Layout(
            HSplit([
                Window(FormattedTextControl(text)),
                Window(FormattedTextControl(lambda: HELP), height=1, style="reverse"),
            ])
        ),
        key_bindings=bindings,
        full_screen=True,
        refresh_interval=REFRESH,
    )  # fmt: skip
    with given_back(app):
        app.run()
