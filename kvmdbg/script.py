"""Scripts: Python files that get a session.

A script defines ``main(dbg, args)``: ``dbg`` is the session, ``args`` the words after the guest on the command line.
What it returns is kvmdbg's exit status (None: 0, or the guest's own where it ended itself). Commands, devices, loaders
and functions that the file defines with kvmdbg's decorators are known when the guest is opened.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kvmdbg.errors import KvmdbgError, LoadError, own_frames
from kvmdbg.loaders.registry import read_file

if TYPE_CHECKING:
    from kvmdbg.core.session import Session

Main = Callable[["Session", Sequence[str]], Any]


class ScriptError(KvmdbgError):
    """A script that failed; its text is the traceback of its own frames."""


class Script:
    """The Python file at ``path``, run once when it is made. LoadError, ScriptError."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            source = read_file(path, "script").decode()
        except UnicodeDecodeError as error:
            raise LoadError(f"cannot read the script {path}: {error}") from None
        self._names: dict[str, Any] = {"__name__": "__kvmdbg__", "__file__": os.path.abspath(path)}
        folder = os.path.dirname(os.path.abspath(path))
        if folder not in sys.path:
            sys.path.insert(0, folder)
        self._guarded(lambda: exec(compile(source, path, "exec"), self._names))

    @property
    def main(self) -> Main | None:
        """Its function ``main``, if it has one."""
        found = self._names.get("main")
        return found if callable(found) else None

    def run(self, session: Session, args: Sequence[str]) -> int:
        """Call ``main(session, args)``; the exit status it asks for."""
        main = self.main
        if main is None:
            raise LoadError(f"{self.path} defines no function main(dbg, args)")
        status = self._guarded(lambda: main(session, list(args)))
        return int(status) if isinstance(status, int) else 0

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except SystemExit as leave:
            return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        except KvmdbgError as error:
            raise _at(error, self.path) from None
        except Exception as error:
            raise ScriptError(own_frames(error)) from None


def _at(error: KvmdbgError, path: str) -> KvmdbgError:
    """The error with the script's own line in front."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    if lines:
        error.args = (f"{path}:{lines[-1]}: {error}",)
    return error.with_traceback(None)
