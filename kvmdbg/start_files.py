"""What is read when kvmdbg starts: the user's rc file, a trusted folder's, and the settings of the last session.

A folder's own file can run programs, so it is read only when its user has agreed to it once; which folders those are is
kept in ``trusted-folders``, one a line: ``+/path`` or ``-/path``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.error_log import state_folder
from kvmdbg.errors import LoadError

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = ".kvmdbgrc"
TRUSTED = "trusted-folders"
SETTINGS = "settings"


def users_file() -> Path | None:
    """The user's rc file, ``kvmdbg/kvmdbgrc`` in XDG_CONFIG_HOME; None where there is none."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    path = os.path.join(base, "kvmdbg", "kvmdbgrc")
    return _path(path) if os.path.isfile(path) else None


def _path(text: str) -> Path:
    from pathlib import Path  # most starts need none, and it is slow to import

    return Path(text)


def folders_file(ask: Callable[[str], bool | None] | None) -> Path | None:
    """The rc file of the folder kvmdbg was started in, if there is one that may be read.

    ``ask`` puts the question that a folder is asked about once (None: no answer was given); without it only a trusted
    folder's is read.
    """
    users = users_file()
    if not os.path.isfile(LOCAL) or (users is not None and users.samefile(LOCAL)):
        return None
    folder = os.path.realpath(os.curdir)
    answer = _trusted().get(folder)
    if answer is None and ask is not None:
        answer = ask(f"{folder} has a {LOCAL}, whose commands can run programs. Read it, now and from now on?")
        if answer is not None:
            _remember_answer(folder, answer)
    return _path(LOCAL) if answer else None


def kept_settings() -> dict[str, str]:
    """The settings that the last session left, by name."""
    folder = state_folder()
    try:
        text = (folder / SETTINGS).read_text(encoding="utf-8", errors="replace") if folder is not None else ""
    except OSError:
        return {}
    return {name: value for name, _, value in (line.partition(" ") for line in text.splitlines())}


def keep_settings(values: dict[str, str]) -> None:
    """Leave these for the next session; without any the file goes. LoadError where it cannot be written."""
    folder = state_folder()
    if folder is None:
        return
    path = folder / SETTINGS
    try:
        if values:
            path.write_text("".join(f"{name} {value}\n" for name, value in values.items()), encoding="utf-8")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LoadError(f"the settings cannot be kept: {path}: {error.strerror}") from None


def _trusted() -> dict[str, bool]:
    folder = state_folder()
    try:
        text = (folder / TRUSTED).read_text(encoding="utf-8", errors="surrogateescape") if folder is not None else ""
    except OSError:
        return {}
    return {line[1:]: line[0] == "+" for line in text.splitlines() if line[:1] in ("+", "-")}


def _remember_answer(folder: str, answer: bool) -> None:
    state = state_folder()
    if state is None or "\n" in folder:
        return
    try:
        file = os.open(state / TRUSTED, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        with open(file, "a", encoding="utf-8", errors="surrogateescape") as out:
            out.write(f"{'+' if answer else '-'}{folder}\n")
    except OSError:
        pass  # then it is asked again
