"""Where an interrupt that waits may come in is looked for by steps, and a vCPU that rests for good is told."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from kvmdbg.engine import progress, stops
from kvmdbg.engine.progress import LONGEST_SEEK, SEEK, SEEK_IN_VAIN, Progress
from kvmdbg.kvm import abi
from kvmdbg.x86.registers import EFLAGS_IF


class Waiting:
    """A vCPU for which an interrupt waits, in a window that KVM misses; ``comes_in`` are the calls of the stepper's
    in which one is taken, and ``left`` how many wait."""

    def __init__(self, comes_in: tuple[int, ...] = (), left: int = 1000) -> None:
        self.calls: list[int] = []
        self._comes_in, self._left = comes_in, left
        self.pic = SimpleNamespace(pending=True)
        self.arrivals = SimpleNamespace(handed_in=0)
        self.runner: Any = SimpleNamespace(
            arrivals=self.arrivals, vcpu=SimpleNamespace(wants_window=True), pc=0,
            host=SimpleNamespace(misses_windows=True), plan=SimpleNamespace(watched={}), points_at=lambda pc: (),
            guards=SimpleNamespace(unguarded=nullcontext), stepper=SimpleNamespace(run=self._steps),
        )  # fmt: skip
        guest: Any = SimpleNamespace(machine=SimpleNamespace(board=SimpleNamespace(pic=self.pic)))
        self.progress: Any = Progress(self.runner, guest)

    def _steps(self, count: int, *, limit: bool) -> stops.Stop:
        assert limit
        self.calls.append(count)
        if len(self.calls) in self._comes_in:
            self.arrivals.handed_in += 1
            self._left -= 1
            self.pic.pending = self._left > 0
        return stops.LimitStop(vcpu=0, pc=0, limit="steps")

    def kicked(self, times: int = 1) -> list[int]:
        """How many times the stepper ran at each kick."""
        counts = []
        for _ in range(times):
            before = len(self.calls)
            assert self.progress._seek_window() is None
            counts.append(len(self.calls) - before)
        return counts


IN_VAIN = SEEK_IN_VAIN // SEEK


def test_what_waits_since_the_last_kick_is_looked_for() -> None:
    waiting = Waiting(comes_in=(2,), left=1)
    assert waiting.kicked(2) == [0, 2]
    assert set(waiting.calls) == {SEEK}


def test_a_search_in_vain_ends_and_is_made_less_and_less_often() -> None:
    after_pauses = [0, IN_VAIN, *[0] * 2, IN_VAIN, *[0] * 4, IN_VAIN, *[0] * 4, IN_VAIN]
    assert Waiting().kicked(len(after_pauses)) == after_pauses


def test_a_search_goes_on_while_some_come_in() -> None:
    waiting = Waiting(comes_in=(3, 6))
    assert waiting.kicked(2) == [0, 6 + IN_VAIN]
    assert waiting.kicked(2) == [IN_VAIN, 0], "the one before has found some: the next kick is not left out"


def test_a_search_has_an_end_where_they_come_in_for_ever() -> None:
    assert Waiting(comes_in=tuple(range(1000))).kicked(2) == [0, LONGEST_SEEK // SEEK]


@pytest.mark.parametrize("what", ["no window", "all is seen", "a watch", "a breakpoint", "none waits"])
def test_nothing_is_looked_for(what: str) -> None:
    waiting = Waiting()
    if what == "no window":
        waiting.runner.vcpu.wants_window = False
    elif what == "all is seen":
        waiting.runner.host.misses_windows = False
    elif what == "a watch":
        waiting.runner.plan.watched[0x1000] = ["a span"]
    elif what == "a breakpoint":
        waiting.runner.points_at = lambda pc: ("one",)
    else:
        waiting.pic.pending = False
    assert waiting.kicked(3) == [0, 0, 0]


class Resting:
    """A vCPU, halted as KVM's own chips say, and another."""

    def __init__(
        self, *, irqchip: bool = True, halted: bool = True, flags: int = 2, lint0: int = 0x10000, other: bool = False
    ) -> None:
        state = abi.KVM_MP_STATE_HALTED if halted else abi.KVM_MP_STATE_RUNNABLE
        page = bytearray(0x400)
        page[progress.LVT_LINT0 : progress.LVT_LINT0 + 4] = lint0.to_bytes(4, "little")
        self.runner: Any = SimpleNamespace(
            mp_state=lambda: state, halted_for_good=False, may_run=True,
            vcpu=SimpleNamespace(regs=SimpleNamespace(rflags=flags), get_lapic=lambda: SimpleNamespace(regs=page)),
            stop=lambda kind: kind(vcpu=0, pc=0),
        )  # fmt: skip
        self.other = SimpleNamespace(may_run=other, halted_for_good=False)
        world = SimpleNamespace(runners=[self.runner, self.other])
        self.guest: Any = SimpleNamespace(world=world, machine=SimpleNamespace(irqchip=irqchip))

    def stop(self) -> stops.Stop | None:
        return Progress(self.runner, self.guest).rest_of_all()


def test_halted_for_good() -> None:
    assert isinstance(Resting().stop(), stops.HaltedStop)


@pytest.mark.parametrize(
    "state",
    [{"irqchip": False}, {"halted": False}, {"flags": 2 | EFLAGS_IF}, {"lint0": 0x400}, {"other": True}],
    ids=str,
)
def test_not_halted_for_good(state: dict[str, Any]) -> None:
    resting = Resting(**state)
    assert resting.stop() is None
    assert resting.runner.halted_for_good == ("other" in state)
    if "other" in state:
        resting.other.halted_for_good = True
        assert isinstance(resting.stop(), stops.HaltedStop)
