"""A session served to gdb and lldb by gdbstub."""

from __future__ import annotations

from kvmdbg.gdb_target.target import GdbTarget

__all__ = ["GdbTarget"]
