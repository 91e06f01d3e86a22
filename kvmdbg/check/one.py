"""One guest of a check: run until what is expected has been seen, it has ended, or its time is over."""

from __future__ import annotations

import time
from typing import Any

from kvmdbg.check.manifest import Case
from kvmdbg.core.session import Session
from kvmdbg.engine.stops import ErrorStop, ExitedStop, FatalStop, Stop
from kvmdbg.errors import KvmdbgError

PERIOD = 0.05
"""Seconds between two looks."""
SHOWN = 2000
"""How much of the end of its output goes into the report."""


def check(session: Session, case: Case) -> dict[str, Any]:
    """Whether the guest behaves: ``problems`` (none if so), ``seconds``, ``output`` and ``stop`` in words."""
    begin = time.monotonic()
    looking = Looking(session, case)
    stop = looking.run(begin + case.limit)
    problems = looking.problems(stop)
    return {
        "problems": problems,
        "seconds": time.monotonic() - begin,
        "output": session.output[-SHOWN:].decode("utf-8", "replace"),
        "stop": stop.describe(),
    }


class Looking:
    """What has been seen of a guest that runs."""

    def __init__(self, session: Session, case: Case) -> None:
        self.session = session
        self.case = case
        self.told = not (case.input or case.keys)
        self.ran_out = False
        """Its time was over."""

    def run(self, deadline: float) -> Stop:
        session = self.session
        session.resume()
        while (stop := session.wait(PERIOD)) is None:
            if not self.told and self._has_seen(self.case.after):
                self._tell()
            self.ran_out = time.monotonic() >= deadline
            if self.ran_out or (self.told and not self.case.ends and not self.missing()):
                session.interrupt()
                stop = session.wait()
                assert stop is not None
                break
        return stop

    def _tell(self) -> None:
        self.told = True
        if self.case.input:
            self.session.uart.feed(self.case.input.encode())
        if self.case.keys:
            self.session.type(self.case.keys)

    def _has_seen(self, text: str) -> bool:
        return text in self._output() or any(text in row for row in self._screen())

    def _output(self) -> str:
        return self.session.output.decode("utf-8", "replace").replace("\r\n", "\n")

    def _screen(self) -> list[str]:
        try:
            return self.session.screen()
        except KvmdbgError:  # it has none, or shows a picture
            return []

    def missing(self) -> list[str]:
        """What is expected and has not been seen, in words."""
        found, at, output = [], 0, self._output()
        for text in self.case.output:
            place = output.find(text, at)
            if place < 0:
                behind = " behind the others" if text in output else ""
                found.append(f"the output has no {text!r}{behind}")
            else:
                at = place + len(text)
        rows = self._screen() if self.case.screen else []
        found += [f"the screen has no {text!r}" for text in self.case.screen if not any(text in row for row in rows)]
        return found

    def problems(self, stop: Stop) -> list[str]:
        """What is wrong at the end; nothing where the guest behaves."""
        found = self.missing()
        ended = isinstance(stop, ExitedStop)
        if self.case.ends:
            status = stop.status if isinstance(stop, ExitedStop) else None
            if status is None:
                found.append(f"it has not ended by itself with status {self.case.status}")
            elif status != self.case.status:
                found.append(f"its status is {status}, not {self.case.status}")
        if self.ran_out and found:
            found.append(f"it still ran after {self.case.limit:g} s, at {stop.pc:#x}")
        elif isinstance(stop, FatalStop | ErrorStop) or (found and not ended):
            found.append(stop.describe())
        last = self._output().rstrip().rpartition("\n")[2]
        if found and last:
            found.append(f"its last line is {last!r}")
        if not self.told:
            found.append(f"{self.case.after!r} was not seen, so that it was told nothing")
        return found
