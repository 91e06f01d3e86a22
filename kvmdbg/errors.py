"""The one tree of errors. Each carries what a person needs to act on it.

A message is one sentence that names what went wrong and where; the shell and the
command line print it as it is, without a traceback.
"""

from __future__ import annotations

import errno as _errno
import os


class KvmdbgError(Exception):
    """Base of every error that a user or a guest can cause."""


class UsageError(KvmdbgError):
    """A command line, command or argument that was not understood."""


class KvmUnavailable(KvmdbgError):
    """/dev/kvm cannot be used on this host; the message says what to do about it."""


class KvmIoctlError(KvmdbgError):
    """An ioctl that the kernel refused.

    ``ioctl`` is its name in linux/kvm.h, ``errno`` the kernel's answer.
    """

    def __init__(self, ioctl: str, errno: int, detail: str = "") -> None:
        self.ioctl = ioctl
        self.errno = errno
        name = _errno.errorcode.get(errno, str(errno))
        text = f"{ioctl} failed: {name} ({os.strerror(errno)})"
        super().__init__(f"{text}; {detail}" if detail else text)


class LoadError(KvmdbgError):
    """A guest image that cannot be read, recognised or placed."""


class DeviceFailure(KvmdbgError):
    """A device has raised, or answered what is no answer: ``device`` is its name, ``what`` says which."""

    def __init__(self, device: str, what: str) -> None:
        self.device = device
        self.what = what
        super().__init__(f"device {device} failed: {what}")


class MemoryFault(KvmdbgError):
    """Guest memory that is not there.

    ``address`` is the first byte that could not be accessed, ``space`` is
    "linear" or "physical", ``access`` is "read" or "write".
    """

    def __init__(self, address: int, access: str = "read", space: str = "linear", why: str = "") -> None:
        self.address = address
        self.access = access
        self.space = space
        self.why = why
        text = f"cannot {access} {space} address {address:#x}"
        super().__init__(f"{text}: {why}" if why else text)


class ExpressionError(KvmdbgError):
    """An expression with a mistake at ``column`` (0-based) of ``text``."""

    def __init__(self, message: str, text: str = "", column: int = 0) -> None:
        self.message = message
        self.text = text
        self.column = column
        super().__init__(f"{message}\n  {text}\n  {' ' * column}^" if text else message)


class SessionStateError(KvmdbgError):
    """The session is not in a state for this (the guest runs, or is gone)."""


GONE = "this vCPU is gone: the guest has been restarted or closed"


class NotSupportedHere(KvmdbgError):
    """This host's KVM cannot do what was asked; the message says what will work instead."""


def refused_by_host(error: OSError) -> KvmdbgError:
    """What the host refused (no file left to open, no memory, a file that is gone), as a sentence."""
    what = f"{error.filename}: " if error.filename else ""
    return KvmdbgError(f"the host refused: {what}{error.strerror or error}")


def own_frames(error: Exception, what: str = "the script") -> str:
    """The traceback of an exception in the user's own Python, without the debugger's part of it."""
    import os
    import traceback

    package = os.path.dirname(os.path.abspath(__file__)) + os.sep
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(package)]
    shown = traceback.format_list(frames) + traceback.format_exception_only(type(error), error)
    return f"{what} failed\n" + "".join(shown).rstrip()
