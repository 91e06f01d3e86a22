"""The keys of the full-screen mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.ui.keys import COMMAND_KEYS as SHELL_KEYS
from kvmdbg.ui.keys import bind_search

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from kvmdbg.ui.tui import Tui
    from kvmdbg.ui.tui_typing import GuestTyping

COMMAND_KEYS = {key: line for _, key, line in SHELL_KEYS if line != "interrupt"}
HELP = (
    ("F5", "continue"), ("F6", "interrupt"), ("F10", "next"), ("F11", "step"), ("F2", "pane"), ("F3", "focus"),
    ("Tab", "complete"), ("PgUp/PgDn", "scroll"), ("Ctrl-D", "leave"),
)  # fmt: skip


def help_line(columns: int) -> str:
    """As many keys as fit."""
    text = ""
    for key, what in HELP:
        part = f" {key} {what} "
        if len(text) + len(part) < columns:
            text += part
    return text


def bindings(tui: Tui, typing: GuestTyping) -> KeyBindings:
    """The keys of the full-screen mode, but for those that the guest gets."""
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()
    bind_search(keys)
    typing.bind(keys)
    ours = Condition(lambda: not typing.to)

    def bind(key: str, line: str) -> None:
        @keys.add(key)
        def _(event: KeyPressEvent) -> object:
            tui.commands.add(line)
            return NotImplemented  # nothing to draw yet

    for key, line in COMMAND_KEYS.items():
        bind(key, line)

    @keys.add("c-c")
    @keys.add("f6")
    def interrupt(event: KeyPressEvent) -> None:
        tui.commands.interrupt()
        if tui.session.state != "running":
            tui.dialogue.cancel()
            tui.input.reset()

    @keys.add("c-z")
    def suspend(event: KeyPressEvent) -> None:
        event.app.suspend_to_background()

    @keys.add("c-d", filter=ours)
    def leave(event: KeyPressEvent) -> None:
        if not tui.input.text:
            event.app.exit()

    @keys.add("f2")
    def other(event: KeyPressEvent) -> None:
        tui.change()

    @keys.add("f3")
    def focus(event: KeyPressEvent) -> None:
        seen = tui.arrangement.seen
        tui.focus = seen[(seen.index(tui.focus) + 1) % len(seen)] if tui.focus in seen else seen[0]

    @keys.add("tab", filter=ours)
    def complete(event: KeyPressEvent) -> None:
        if tui.input.complete_state:
            tui.input.complete_next()
        else:
            tui.input.start_completion(insert_common_part=True)

    @keys.add("pageup", filter=ours)
    def up(event: KeyPressEvent) -> None:
        tui.panes[tui.focus].scroll(-5)

    @keys.add("pagedown", filter=ours)
    def down(event: KeyPressEvent) -> None:
        tui.panes[tui.focus].scroll(5)

    return keys
