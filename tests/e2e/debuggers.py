"""kvmdbg serving a guest, and an unmodified gdb or lldb at it."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

TIME_SCALE = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))
ROOT = Path(__file__).parents[2]


class Served:
    """``kvmdbg --gdb`` on a port of its own, without a terminal."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kvmdbg", "--gdb", "0", *arguments],
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
            readable, _, _ = select.select([self.process.stderr], [], [], 20 * TIME_SCALE)
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


def gdb(served: Served | str, *commands: str, before: tuple[str, ...] = (), remote: str = "remote") -> str:
    """What a gdb says to these commands, errors included, once attached (``served`` may be an address)."""
    address = served if isinstance(served, str) else served.address
    lines = ["set pagination off", "set confirm off", *before, f"target {remote} {address}", *commands]
    return _said("gdb", "-nx", "-batch", *(word for line in lines for word in ("-ex", line)))


def lldb(served: Served, *commands: str) -> str:
    """The same for an lldb."""
    lines = [f"gdb-remote {served.port}", *commands]
    return _said("lldb", "--no-lldbinit", "-b", *(word for line in lines for word in ("-o", line)))


def ordered(text: str, *parts: str) -> None:
    """These parts are in the text, in that order."""
    at = 0
    for part in parts:
        found = text.find(part, at)
        assert found >= 0, f"{part!r} is not in what follows:\n{text[at:]}"
        at = found + len(part)
