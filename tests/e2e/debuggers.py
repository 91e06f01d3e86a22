"""kvmdbg serving a guest, and an unmodified gdb or lldb at it."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TIME_SCALE = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))
ROOT = Path(__file__).parents[2]


class Served:
    """``kvmdbg --gdb`` on a port of its own, without a terminal."""

    def __init__(self, *arguments: str, module: str = "kvmdbg") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--gdb", "0", *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # so that select tells of each line
        )
        assert self.process.stderr is not None
        self.said = ""
        found = None
        while not found:
            readable, _, _ = select.select([self.process.stderr], [], [], 60 * TIME_SCALE)  # a kernel is unpacked
            line = self.process.stderr.readline().decode() if readable else ""
            assert line, f"no address in {self.said!r}"
            self.said += line
            found = re.search(r"target remote (\S+)", line)
        self.address = found[1]

    @property
    def port(self) -> str:
        return self.address.rpartition(":")[2]

    def end(self) -> int:
        """Wait for its end by itself."""
        return self.process.wait(10 * TIME_SCALE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.communicate()


def _programs(name: str) -> dict[str, str]:
    """The distribution's program of that name, and the newest, which a wheel brings into this environment."""
    newest = Path(sys.prefix, "bin", name)
    elsewhere = [folder for folder in os.get_exec_path() if Path(folder).resolve() != newest.parent.resolve()]
    return {"distribution": shutil.which(name, path=os.pathsep.join(elsewhere)) or name, "newest": str(newest)}


GDBS, LLDBS = _programs("gdb"), _programs("lldb")


def _said(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [program, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=50 * TIME_SCALE,
    )
    return done.stdout.decode("utf-8", "replace")


@dataclass(frozen=True)
class Gdb:
    """One of the gdbs."""

    program: str

    def __call__(
        self, served: Served | str, *commands: str, before: tuple[str, ...] = (), remote: str = "remote"
    ) -> str:
        """What it says to these commands, errors included, once attached (``served`` may be an address)."""
        address = served if isinstance(served, str) else served.address
        lines = ["set pagination off", "set confirm off", *before, f"target {remote} {address}", *commands]
        return _said(self.program, "-nx", "-batch", *(word for line in lines for word in ("-ex", line)))


@dataclass(frozen=True)
class Lldb:
    """One of the lldbs."""

    program: str

    def __call__(self, served: Served | str, *commands: str, after_exception: tuple[str, ...] = ()) -> str:
        """The same. A stop that is no breakpoint, watchpoint or step ends ``commands``; what is to be asked then are
        those of ``after_exception``, up to the next such stop."""
        address = served if isinstance(served, str) else served.address
        words = [word for line in (f"gdb-remote {address}", *commands) for word in ("-o", line)]
        words += [word for line in after_exception for word in ("-k", line)]
        return _said(self.program, "--no-lldbinit", "-b", *words)


def ordered(text: str, *parts: str) -> None:
    """These parts are in the text, in that order."""
    at = 0
    for part in parts:
        found = text.find(part, at)
        assert found >= 0, f"{part!r} is not in what follows:\n{text[at:]}"
        at = found + len(part)
