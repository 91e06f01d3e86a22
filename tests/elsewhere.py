"""Runs kvmdbg without what Linux has and others have not.

``python -m tests.elsewhere ARGUMENT...`` is ``kvmdbg ARGUMENT...`` on a system that is not Linux and lacks
what Windows lacks (macOS has more), as far as that shows on Linux. With ``-c CODE`` it is Python code that is run so.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType

NO_MODULES = frozenset("fcntl grp posix_ipc pty pwd resource syslog termios tty".split())
ON_WINDOWS = {
    signal: "SIGABRT SIGFPE SIGILL SIGINT SIGKILL SIGSEGV SIGTERM SIG_DFL SIG_IGN".split(),
    mmap: "ACCESS_COPY ACCESS_DEFAULT ACCESS_READ ACCESS_WRITE ALLOCATIONGRANULARITY PAGESIZE".split(),
}
"""Of the names that begin as constants do, those that are left; and SIGKILL, by which Python ends programs here."""
NOT_ON_WINDOWS = {
    signal: "alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait "
    "sigwaitinfo".split(),
    os: "O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK SEEK_DATA SEEK_HOLE chown copy_file_range "
    "ctermid eventfd eventfd_read eventfd_write fchmod fchown fork forkpty getegid geteuid getgid getgroups "
    "getpgid getpgrp getpriority getresuid getsid getuid initgroups killpg lchown lockf major memfd_create "
    "minor mkfifo mknod nice openpty pidfd_open pipe2 posix_fadvise posix_fallocate posix_openpt pread preadv "
    "pwrite pwritev readv register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile "
    "set_blocking setpgid setpriority setsid setuid statvfs sync sysconf tcgetpgrp tcsetpgrp ttyname "
    "wait wait3 wait4 writev".split(),
    select: [name for name in dir(select) if name.startswith(("epoll", "EPOLL", "poll", "POLL"))],
    socket: ["AF_UNIX", "MSG_DONTWAIT", "SO_REUSEPORT"],
}


class NotHere:
    """Refuses the modules that are not there."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in NO_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r} (nor is there on Windows)", name=name)
        return None


def leave() -> None:
    """From now on it looks as on Windows."""
    # For this system still: Windows has a way of its own to start programs, and another library of capstone.
    import subprocess  # noqa: F401

    import capstone  # noqa: F401

    sys.platform = "elsewhere"
    pair = partial(socket.socketpair, socket.AF_UNIX)  # Windows has it, made with TCP
    for name in NO_MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, NotHere())  # type: ignore[arg-type]
    for module, names in NOT_ON_WINDOWS.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    socket.socketpair = pair  # type: ignore[assignment]
    for module, kept in ON_WINDOWS.items():
        for name in dir(module):
            if name.startswith(("SIG", "MAP_", "PROT_", "MADV_", "ACCESS_")) and name not in kept:
                delattr(module, name)


def main(arguments: list[str]) -> int:
    leave()
    if arguments[:1] == ["-c"]:
        exec(arguments[1], {"__name__": "__main__"})
        return 0
    sys.argv = ["kvmdbg", *arguments]
    from kvmdbg import cli

    return cli.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
