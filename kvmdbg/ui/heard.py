"""What the guest has sent to its serial port, for the log of the full screen: between commands, as in the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.ui.panes import Line, console_lines

if TYPE_CHECKING:
    from kvmdbg.core.session import Session


class Heard:
    """The part of it that the log has not taken yet."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._taken = len(session.output)

    def lines(self, width: int) -> list[Line]:
        """What there is of it now."""
        output = self._session.output
        if len(output) < self._taken:  # the guest was made anew
            self._taken = 0
        new = output[self._taken :]
        return console_lines(new.removesuffix(b"\n").removesuffix(b"\r"), width) if new else []

    def take(self, width: int) -> list[Line]:
        """The same; from now on only what comes later is new."""
        found = self.lines(width)
        self._taken = len(self._session.output)
        return found
