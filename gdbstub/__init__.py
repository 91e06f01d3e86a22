"""A server for the GDB remote protocol, for whatever can be debugged.

A target is a class that inherits from :class:`Target` and from the capabilities that it has (:mod:`gdbstub.target`);
a :class:`Server` shows it to an unmodified gdb or lldb. Needs the standard library only.
"""

from __future__ import annotations

from gdbstub.address import Address
from gdbstub.client import Client
from gdbstub.errors import TargetError
from gdbstub.registers import Description, Feature, Flags, Register
from gdbstub.server import Server
from gdbstub.target import Exited, Killed, Point, Resume, Stop, Stopped, Target

__all__ = [
    "Address",
    "Client",
    "Description",
    "Exited",
    "Feature",
    "Flags",
    "Killed",
    "Point",
    "Register",
    "Resume",
    "Server",
    "Stop",
    "Stopped",
    "Target",
    "TargetError",
]
