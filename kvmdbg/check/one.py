"""One guest of a check: run until what is expected has been seen, it has ended, or its time is over."""

from __future__ import annotations

import re
import time
from typing import Any

from kvmdbg.check.manifest import Case, Step
from kvmdbg.core.session import Session
from kvmdbg.engine.stops import ErrorStop, ExitedStop, FatalStop, Stop
from kvmdbg.errors import KvmdbgError, LoadError

PERIOD = 0.05
"""Seconds between two looks."""
UNASKED = 1.0
"""Seconds after which a guest is told what comes first, though it has not been seen to look for input."""
SHOWN = 2000
"""How much of the end of its output goes into the report."""


def check(session: Session, case: Case, evidence: str = "") -> dict[str, Any]:
    """Whether the guest behaves: ``problems`` (none if so), ``seconds``, ``output`` and ``stop`` in words.

    What one that does not has on its screen goes into the file ``evidence`` .png, a report of its stop into .html.
    """
    begin = time.monotonic()
    looking = Looking(session, case)
    stop = looking.run(begin + case.limit)
    problems = looking.problems(stop)
    if problems and evidence:
        try:
            if session.peripherals.has_picture:
                session.save_screen(f"{evidence}.png")
            session.report(f"{evidence}.html")
        except KvmdbgError as error:
            problems.append(str(error))
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
        self.told = 0
        """How many of the case's steps."""
        self.begin = time.monotonic()
        self.ran_out = False
        """Its time was over."""

    def run(self, deadline: float) -> Stop:
        session = self.session
        session.resume()
        while (stop := session.wait(PERIOD)) is None:
            self._go_on_telling()
            self.ran_out = time.monotonic() >= deadline
            if self.ran_out or (self._all_told and not self.case.ends and not self.missing()):
                session.interrupt()
                stop = session.wait()
                assert stop is not None
                break
        return stop

    @property
    def _all_told(self) -> bool:
        return self.told == len(self.case.steps)

    def _go_on_telling(self) -> None:
        while not self._all_told and self._is_time_for(step := self.case.steps[self.told]):
            self.told += 1
            if step.input:
                self.session.uart.feed(step.input.encode())
            if step.keys:
                self.session.type(step.keys)
            for key in step.press:
                self.session.press(key)

    def _is_time_for(self, step: Step) -> bool:
        if step.after:
            return self._has_seen(step.after)
        peripherals = self.session.peripherals
        looks = self.session.uart.looks_for_input if step.input else peripherals.keyboard_is_waited_for
        return looks or time.monotonic() > self.begin + UNASKED

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
        if self.case.output_matches and not re.search(self.case.output_matches, output, re.MULTILINE):
            found.append(f"the output does not match {self.case.output_matches!r}")
        if self.case.screen_matches:
            whole = "\n".join(self._screen())
            if not re.search(self.case.screen_matches, whole, re.MULTILINE):
                found.append(f"the screen does not match {self.case.screen_matches!r}")
        return found + (self._other_pixels(self.case.screen_image) if self.case.screen_image else [])

    def _other_pixels(self, path: str) -> list[str]:
        """How the screen differs from a PNG file, pixel by pixel."""
        width, height, pixels = picture(path)
        shown = self.session.picture()
        if (shown.width, shown.height) != (width, height):
            return [f"the screen has {shown.width} x {shown.height} pixels, {path} {width} x {height}"]
        found = (colour for y in range(shown.height) for colour in shown.rgb(y))
        others = [n for n, (one, wanted) in enumerate(zip(found, pixels, strict=True)) if one != wanted]
        if not others:
            return []
        y, x = divmod(others[0], width)
        return [f"{len(others)} pixels of the screen are not as in {path}, the first at {x}, {y}"]

    def problems(self, stop: Stop) -> list[str]:
        """What is wrong at the end; nothing where the guest behaves."""
        found = self.missing()
        ended = isinstance(stop, ExitedStop)
        if self.case.status is not None:
            status = stop.status if isinstance(stop, ExitedStop) else None
            if status is None:
                found.append(f"it has not ended by itself with status {self.case.status}")
            elif status != self.case.status:
                found.append(f"its status is {status}, not {self.case.status}")
        how = "running" if self.ran_out else stop.reason
        if self.case.end and how != self.case.end:
            found.append(f"its end is to be {self.case.end}")
        if self.ran_out and found:
            found.append(f"it still ran after {self.case.limit:g} s, at {stop.pc:#x}")
        elif (found and not ended) or (isinstance(stop, FatalStop | ErrorStop) and how != self.case.end):
            found.append(stop.describe())
        last = self._output().rstrip().rpartition("\n")[2]
        if found and last:
            found.append(f"its last line is {last!r}")
        if not self._all_told:
            after = self.case.steps[self.told].after
            found.append(f"{after!r} was not seen, so that it was told {'nothing' if self.told == 0 else 'no more'}")
        return found


def picture(path: str) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Width, height and pixels of a PNG file. LoadError."""
    import png

    try:
        with open(path, "rb") as file:
            width, height, rows, _ = png.Reader(file=file).asRGB8()
            values = [value for row in rows for value in row]
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror}") from None
    except (png.Error, ValueError, EOFError) as error:
        raise LoadError(f"{path} is no PNG file without transparency: {error}") from None
    return width, height, list(zip(values[::3], values[1::3], values[2::3], strict=True))
