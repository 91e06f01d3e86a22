"""Keys for the guest in the full-screen mode: those typed while a command lets it run and a pane of its is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.errors import KvmdbgError
from kvmdbg.ui.guest_keys import keys_for

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.layout import Window

    from kvmdbg.core.session import Session

TO = {"screen": "keyboard", "console": "serial port"}
"""The panes that take keys, and what of the guest's gets them."""


class GuestTyping:
    """``chosen`` gives the name of the chosen pane while a command lets the guest run, else ""; ``leave`` chooses that
    of the commands again."""

    def __init__(self, session: Session, chosen: Callable[[], str], leave: Callable[[], None]) -> None:
        self._session = session
        self._chosen = chosen
        self._leave = leave

    @property
    def to(self) -> str:
        """What of the guest's gets the keys now; "" where they are the prompt's."""
        return TO.get(self._chosen(), "") if self._session.state == "running" else ""

    @property
    def help(self) -> str:
        """What the line of keys says meanwhile."""
        return f" Keys go to the guest's {self.to}; Ctrl-] takes them back, Ctrl-C interrupts "

    def focus(self, prompt: Window, other: Window) -> Callable[[object], None]:
        """For before each drawing: what has prompt_toolkit's focus, ``other`` while keys go to the guest.

        The editing keys are the prompt's own, and out of the way then. A search of the history keeps the focus.
        """

        def choose(app: object) -> None:
            from prompt_toolkit.application import get_app

            layout, wanted = get_app().layout, other if self.to else prompt
            if layout.current_window is not wanted and (self.to or not layout.is_searching):
                layout.focus(wanted)

        return choose

    def bind(self, keys: KeyBindings) -> None:
        """The keys that the guest gets: all that are nobody else's."""
        from prompt_toolkit.filters import Condition
        from prompt_toolkit.keys import Keys

        goes = Condition(lambda: bool(self.to))

        @keys.add("c-]", filter=goes)
        def leave(event: KeyPressEvent) -> None:
            self._leave()

        @keys.add(Keys.Any, filter=goes)
        @keys.add("escape", filter=goes, eager=True)
        def give(event: KeyPressEvent) -> None:
            sequence = event.key_sequence[-1]
            name = sequence.key.value if isinstance(sequence.key, Keys) else sequence.key
            try:
                if self.to == "serial port":
                    self._session.peripherals.serial.type(sequence.data.encode())
                else:
                    for key in keys_for(name, sequence.data):
                        self._session.press(key)
            except KvmdbgError:  # no key of the guest's keyboard types it
                event.app.output.bell()
