"""The guest's screen as it changes, and its keyboard: ``screen live``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.errors import KvmdbgError
from kvmdbg.ui.given_back import given_back
from kvmdbg.ui.guest_keys import keys_for, with_alt
from kvmdbg.ui.guest_screen import screen_lines
from kvmdbg.ui.panes import Line
from kvmdbg.ui.watching import redraw_changes

if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyPressEvent

    from kvmdbg.core.session import Session

REFRESH = 0.1
"""Seconds between two looks at the screen."""
ESCAPE_ALONE = 0.05
"""Seconds after which the escape key was that key, and not the start of another's sequence or Alt."""
HELP = " keys go to the guest; Ctrl-] goes back "


def show(session: Session, is_over: Callable[[], bool] = lambda: False) -> None:
    """Show the screen until the guest stops, the user leaves with Ctrl-], or ``is_over``."""
    from prompt_toolkit.application import Application
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.keys import Keys
    from prompt_toolkit.layout import HSplit, Layout, Window
    from prompt_toolkit.layout.controls import FormattedTextControl

    bindings = KeyBindings()
    ended: list[bool] = []
    seen: list[list[Line]] = [[]]

    @bindings.add("c-]")
    def leave(event: KeyPressEvent) -> None:
        event.app.exit()

    def press(event: KeyPressEvent, *, alt: bool = False) -> None:
        sequence = event.key_sequence[-1]
        name = sequence.key.value if isinstance(sequence.key, Keys) else sequence.key
        try:
            keys = keys_for(name, sequence.data)
            for key in with_alt(keys) if alt else keys:
                session.press(key)
        except KvmdbgError:  # no key of the guest's keyboard types it
            app.output.bell()

    @bindings.add(Keys.Any)
    def any_key(event: KeyPressEvent) -> None:
        press(event)

    @bindings.add("escape")
    def escape(event: KeyPressEvent) -> None:
        press(event)

    @bindings.add("escape", Keys.Any)
    def key_with_alt(event: KeyPressEvent) -> None:
        press(event, alt=True)

    def look() -> list[Line]:
        if (session.state != "running" or is_over()) and app.is_running and not ended:
            ended.append(True)
            app.exit()
        size = app.output.get_size()
        with suppress(Exception):  # another debugger may just be making the guest anew
            seen[0] = screen_lines(session, size.columns, size.rows - 1)
        return seen[0]

    def text() -> StyleAndTextTuples:
        return [part for line in look() for part in (*line, ("", "\n"))]

    app: Application[None] = Application(
        layout=Layout(
            HSplit([
                Window(FormattedTextControl(text)),
                Window(FormattedTextControl(lambda: HELP), height=1, style="reverse"),
            ])
        ),
        key_bindings=bindings,
        full_screen=True,
    )  # fmt: skip
    app.timeoutlen = app.ttimeoutlen = ESCAPE_ALONE
    with given_back(app):
        app.run(
            pre_run=lambda: redraw_changes(app, look, REFRESH),
            handle_sigint=threading.current_thread() is threading.main_thread(),
        )
