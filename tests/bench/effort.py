"""How much to measure, and what both benches share: options, the time limit, the comparison of the two sides."""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType


@dataclass(frozen=True)
class Effort:
    """``rounds`` a bench, each with the usual counts divided by ``divisor``, and ``limit`` seconds for all of them.

    Only where the bars are ``judged`` does a bar that is missed change the exit status.
    """

    rounds: int
    divisor: int
    limit: int
    judged: bool

    def count(self, usual: int) -> int:
        """How many times to do what is done ``usual`` times in a full bench."""
        return max(usual // self.divisor, 1)


FULL = Effort(rounds=5, divisor=1, limit=900, judged=True)
QUICK = Effort(rounds=1, divisor=20, limit=60, judged=False)


def parse(prog: str, description: str | None, benches: Iterable[str], argv: Sequence[str]) -> tuple[list[str], Effort]:
    """The names of the benches to run, all when none is given, and how much to measure."""
    known = list(benches)
    options = argparse.ArgumentParser(prog=f"python -m {prog}", description=(description or "").partition("\n")[0])
    options.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(known)} (default: all)")
    options.add_argument(
        "--quick",
        action="store_true",
        help="one round at small counts, which shows that every bench ends; bars are not judged",
    )
    args = options.parse_args(argv)
    for name in args.names:
        if name not in known:
            options.error(f"no bench {name!r}; there are: {', '.join(known)}")
    return args.names or known, QUICK if args.quick else FULL


@contextlib.contextmanager
def limited(name: str, seconds: int) -> Iterator[None]:
    """End the bench ``name`` by a TimeoutError when it takes longer than this."""

    def late(_: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the bench {name} did not end within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def compare(name: str, effort: Effort, measure: Callable[[], tuple[float, float]]) -> tuple[float, float, float]:
    """The medians of our side and of the other's, and of their ratio."""
    with limited(name, effort.limit):
        return medians([measure() for _ in range(effort.rounds)])


def medians(rounds: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Of our side, of the other's, and of their ratio."""
    ours, theirs = (statistics.median(side) for side in zip(*rounds, strict=True))
    return ours, theirs, statistics.median(ratio(a, b) for a, b in rounds)


def ratio(ours: float, theirs: float) -> float:
    """Infinite where the other side's is 0 and ours is not, 1 where both are."""
    if theirs:
        return ours / theirs
    return math.inf if ours else 1.0
