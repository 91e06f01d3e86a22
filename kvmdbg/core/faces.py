"""What a session shows beyond lines of text: made above it, where results are known."""

from __future__ import annotations

import os
from typing import Protocol

from kvmdbg.faces import face


class Report(Protocol):
    """A page about a stop; notebooks show it."""

    html: str

    def _repr_html_(self) -> str: ...


class Faces:
    """Of one session."""

    def __init__(self, session: object) -> None:
        self._session = session

    def report(self, path: str | os.PathLike[str] | None = None) -> Report:
        """A report of where the guest stands, an HTML page that needs no other file; written to ``path``, if given.

        SessionStateError while the guest runs, or is dead; LoadError where the file cannot be written.
        """
        made: Report = face("commands.report").of_session(self._session, path)
        return made
