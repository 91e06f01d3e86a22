"""The same answers for two guests: what devices tell the first is given to the second as well."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

from kvmdbg.core.session import Session
from kvmdbg.engine.debugged_vcpu import DebuggedVcpu
from kvmdbg.engine.outside import Access, Live, Outcome
from kvmdbg.errors import DeviceFailure
from kvmdbg.record import record


@record
class Made:
    """An access: ``name`` in words, ``wrote`` what was written (None for a read), ``answer`` what was read."""

    name: str
    wrote: Any
    answer: Any = None

    def describe(self) -> str:
        return self.name if self.wrote is None else f"{self.name}, value {self.wrote:#x}"


class Leading(Live):
    """The first guest's: its devices answer, and what they answered is kept in ``made``."""

    def __init__(self) -> None:
        self.made: deque[Made] = deque()

    def read(self, at: DebuggedVcpu, what: Access, answer: Any) -> Any:
        value = super().read(at, what, answer)
        if what.is_exit:
            self.made.append(Made(what.name, None, value))
        return value

    def write(self, at: DebuggedVcpu, what: Access, value: Any, answer: Any) -> tuple[Any, Outcome]:
        done = super().write(at, what, value, answer)
        self.made.append(Made(what.name, value))
        return done


class Following(Live):
    """The second guest's: its devices see all accesses too, but what they answer is what the first ones did.

    ``strayed``: what the first guest did, and what this one did instead, in words. ``any_value``: what is written is
    undefined, and may be another value.
    """

    any_value = False

    def __init__(self, leading: Leading) -> None:
        self.leading = leading
        self.strayed: tuple[str, str] | None = None

    def _taken(self, what: Access, wrote: Any) -> Made | None:
        if self.strayed is not None:
            return None
        mine = Made(what.name, wrote)
        made = self.leading.made
        if made and made[0].name == mine.name and (self.any_value or made[0].wrote == mine.wrote):
            return made.popleft()
        self.strayed = made[0].describe() if made else "no access", mine.describe()
        return None

    def read(self, at: DebuggedVcpu, what: Access, answer: Any) -> Any:
        if not what.is_exit:
            return super().read(at, what, answer)
        made = self._taken(what, None)
        if made is None:
            return super().read(at, what, answer)
        if what.of_device:
            with suppress(DeviceFailure):
                what.ask(at)
        return made.answer

    def write(self, at: DebuggedVcpu, what: Access, value: Any, answer: Any) -> tuple[Any, Outcome]:
        self._taken(what, value)
        return super().write(at, what, value, answer)

    def begin_anew(self) -> None:
        """Both guests have an earlier state again."""
        self.leading.made.clear()
        self.strayed = None

    def missing(self) -> tuple[str, str] | None:
        """What differs when both have run equally far."""
        if self.strayed is None and self.leading.made:
            return self.leading.made[0].describe(), "no access"
        return self.strayed


def joined(first: Session, second: Session) -> Following:
    """Have the second guest get the first one's answers."""
    leading = Leading()
    following = Following(leading)
    for session, outside in ((first, leading), (second, following)):
        session.guest.door.outside = outside
        session.guest.judge.sees_all = True
    return following
