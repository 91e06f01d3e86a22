"""The log of internal errors: the traceback of what was told in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def state_folder() -> Path | None:
    """Where the history and the log are kept (XDG_STATE_HOME); None where it cannot be made."""
    import platformdirs

    try:
        return platformdirs.user_state_path("kvmdbg", ensure_exists=True)
    except OSError:
        return None


def write(error: BaseException) -> str:
    """Write the traceback of an exception; words that say where it is."""
    try:
        import traceback

        folder = state_folder()
        if folder is None:
            return "no log could be written"
        path = folder / "errors.log"
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as log:
            traceback.print_exception(error, file=log)
    except (OSError, ImportError) as refused:  # with no file left to open nothing can be imported either
        return f"no log could be written: {refused}"
    return f"details in {path}"


def internal(error: BaseException) -> str:
    """What is said of a mistake of kvmdbg's own; its traceback goes into the log."""
    return f"internal error: {error!r} ({write(error)})"
