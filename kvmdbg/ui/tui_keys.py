"""The keys of the full-screen mode."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from kvmdbg.ui.tui import Tui

COMMAND_KEYS = {"f5": "continue", "f10": "next", "f11": "step"}


def bindings(tui: Tui) -> KeyBindings:
    """The keys of the full-screen mode."""
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()
    for key, line in COMMAND_KEYS.items():
        keys.add(key)(lambda event, line=line: tui.execute(line))

    @keys.add("c-c")
    @keys.add("f6")
    def interrupt(event: KeyPressEvent) -> None:
        tui.forget()
        if tui.session.state == "running":
            threading.Thread(target=tui.session.interrupt, daemon=True).start()
        else:
            tui.dialogue.cancel()
            tui.input.reset()

    @keys.add("c-z")
    def suspend(event: KeyPressEvent) -> None:
        event.app.suspend_to_background()

    @keys.add("c-d")
    def leave(event: KeyPressEvent) -> None:
        if not tui.input.text:
            event.app.exit()

    @keys.add("f2")
    def other(event: KeyPressEvent) -> None:
        panes = tui.side if tui.is_wide else tui.narrow_panes
        panes.append(panes.pop(0))
        tui.focus = panes[0]

    @keys.add("f3")
    def focus(event: KeyPressEvent) -> None:
        wide = tui.is_wide
        seen = ["code", "log", "registers", "stack", tui.side[0]] if wide else ["code", tui.narrow, "log"]
        tui.focus = seen[(seen.index(tui.focus) + 1) % len(seen)] if tui.focus in seen else seen[0]

    @keys.add("tab")
    def complete(event: KeyPressEvent) -> None:
        if tui.input.complete_state:
            tui.input.complete_next()
        else:
            tui.input.start_completion(insert_common_part=True)

    @keys.add("pageup")
    def up(event: KeyPressEvent) -> None:
        tui.panes[tui.focus].scroll(-5)

    @keys.add("pagedown")
    def down(event: KeyPressEvent) -> None:
        tui.panes[tui.focus].scroll(5)

    return keys
