"""What commands know of the one who serves the session to gdb and lldb."""

from __future__ import annotations

from typing import Protocol


class GdbServing(Protocol):
    """Who serves the session to gdb (kvmdbg/serving.py)."""

    @property
    def address(self) -> str | None: ...

    @property
    def attached(self) -> bool: ...

    @property
    def options(self) -> dict[str, bool]: ...

    def start(self, text: str = "") -> str: ...

    def stop(self) -> None: ...

    def set_option(self, name: str, value: bool) -> None: ...


class ServedToGdb:
    """Who serves this user's session, where anybody does."""

    by: GdbServing | None = None
