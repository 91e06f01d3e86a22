"""What a session shows beyond lines of text: made above it, where results are known."""

from __future__ import annotations

import os
from typing import Any, Protocol

from kvmdbg.faces import face


class Report(Protocol):
    """A page about a stop; notebooks show it."""

    html: str

    def _repr_html_(self) -> str: ...


class Faces:
    """Of one session."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def report(self, path: str | os.PathLike[str] | None = None) -> Report:
        """A report of where the guest stands, an HTML page that needs no other file; written to ``path``, if given.

        SessionStateError while the guest runs, or is dead; LoadError where the file cannot be written.
        """
        made: Report = face("commands.report_page").of_session(self._session, path)
        return made

    def drgn(self) -> Any:
        """A ``drgn.Program`` over the guest's memory, with the debug information of the symbol files that are loaded.

        Memory is read when drgn asks for it, as the selected vCPU sees it; ``program["kvmdbg_registers"]`` are that
        one's registers (64-bit guests). NotSupportedHere where drgn is not installed.
        """
        from kvmdbg.core.drgn_program import program

        return program(self._session, self._session.files.placed)
