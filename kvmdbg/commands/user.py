"""Who types the lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmdbg.commands.results import Result


class User:
    """What the one who types is shown, is asked and may do.

    ``on_event`` is called with results that come by themselves (a traced exit), from any thread; ``confirm`` asks a
    question before something is lost, and is None where nobody can be asked; ``width`` gives the terminal's columns.
    """

    def __init__(self) -> None:
        self.on_event: Callable[[Result], None] | None = None
        self.confirm: Callable[[str], bool] | None = None
        self.width: Callable[[], int] = lambda: 80
        self.host_allowed = True  # may reach files and commands of the host
        self.has_terminal = True  # programs may use the standard files, which are nobody else's
        self.shows_python = False  # beside each command what it is in Python
        self.cancelled = False  # wants what is under way to end; said by another thread
