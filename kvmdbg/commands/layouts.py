"""Layouts of the full-screen mode: which panes stand beside and above each other, and how many lines each has.

They are written as gdb's `tui new-layout` takes them: ``-horizontal {src 1 cmd 1} 1 {regs 1 stack 1} 1``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType

from kvmdbg.errors import UsageError
from kvmdbg.record import record

Path = tuple[int, ...]
"""Where in the tree a part is: its number in the whole, its number in that part, and so on."""


@record
class Split:
    """Parts with their weights, one above the other or ``beside`` each other."""

    beside: bool
    parts: tuple[tuple[Split | str, int], ...]

    def panes(self) -> Iterator[str]:
        """The names in it."""
        for part, _ in self.parts:
            if isinstance(part, str):
                yield part
            else:
                yield from part.panes()


@record
class Share:
    """What a part of a split may have: a ``weight`` in what is left when each has its ``least``, and its ``most``."""

    weight: int
    least: int = 2
    most: int = 10_000


WIDE = {
    "src": "-horizontal {src 1 cmd 1} 1 {regs 1 stack 1 side 1} 1",
    "asm": "-horizontal {asm 1 cmd 1} 1 {regs 1 stack 1 side 1} 1",
    "split": "-horizontal {src 1 asm 1 cmd 1} 1 {regs 1 stack 1 side 1} 1",
    "regs": "-horizontal {asm 1 cmd 1} 1 {regs 1 stack 1 side 1} 1",
}
NARROW = {
    "src": "src 3 side 1 cmd 2",
    "asm": "asm 3 side 1 cmd 2",
    "split": "src 3 asm 3 side 1 cmd 2",
    "regs": "asm 3 regs 1 cmd 2",
}


@cache
def parse(text: str) -> Split:
    """The layout that ``text`` describes. UsageError."""
    words = re.findall(r"[{}]|[^\s{}]+", text)
    try:
        found, rest = _parsed(words)
    except RecursionError:
        raise UsageError("a layout is nested too deeply") from None
    if rest:
        raise UsageError(f"'{rest[0]}' has no {{ before it")
    names = list(found.panes())
    if len(set(names)) != len(names):
        raise UsageError("a layout has each pane once")
    return found


def _parsed(words: list[str]) -> tuple[Split, list[str]]:
    beside = words[:1] == ["-horizontal"]
    words = words[1:] if beside else words
    parts: list[tuple[Split | str, int]] = []
    while words and words[0] != "}":
        part: Split | str = words[0]
        words = words[1:]
        if part == "{":
            part, words = _parsed(words)
            if words[:1] != ["}"]:
                raise UsageError("a { has no } behind it")
            words = words[1:]
        if not words or not re.fullmatch("[1-9][0-9]{0,8}", words[0]):
            raise UsageError("behind each pane of a layout, and behind each }, stands its weight, a number from 1 on")
        parts.append((part, int(words[0])))
        words = words[1:]
    if not parts:
        raise UsageError("a layout needs panes with their weights, as `src 2 cmd 1`")
    return Split(beside, tuple(parts)), words


FEWEST = 2
"""Lines of a pane, with its title, that are left to it where another one was asked to be high."""


def shared(total: int, shares: Sequence[Share], wanted: Sequence[int | None]) -> list[int]:
    """How many of ``total`` lines each part gets; ``wanted`` is what the user has asked for.

    Where there is not enough for all the others give way, down to FEWEST lines each.
    """
    sizes = [share.least if size is None else size for share, size in zip(shares, wanted, strict=True)]
    while sum(sizes) > total and max(sizes) > 0:
        giving = [at for at, size in enumerate(sizes) if wanted[at] is None and size > FEWEST] or range(len(sizes))
        sizes[max(giving, key=lambda at: sizes[at])] -= 1
    while (left := total - sum(sizes)) > 0:
        growing = [at for at, one in enumerate(shares) if wanted[at] is None and sizes[at] < one.most]
        if not growing:
            sizes[-1 if sizes[-1] else sizes.index(max(sizes))] += left
            break
        sizes[min(growing, key=lambda at: sizes[at] / shares[at].weight)] += 1
    return sizes


def _widest(part: Split | str, widths: Mapping[str, int]) -> int | None:
    panes = [part] if isinstance(part, str) else part.panes()
    return max((widths[pane] for pane in panes if pane in widths), default=None)


def spaces(
    layout: Split,
    rows: int,
    columns: int,
    share: Callable[[str, int], Share],
    wanted: Mapping[str, int],
    widths: Mapping[str, int] = MappingProxyType({}),
) -> dict[Path, tuple[int, int]]:
    """Lines and columns of each part. ``share`` gives that of a pane with its weight, ``wanted`` asked-for heights,
    ``widths`` asked-for columns: what stands beside others has the widest that one of its panes was given."""
    found: dict[Path, tuple[int, int]] = {(): (rows, columns)}

    def divide(split: Split, path: Path, rows: int, columns: int) -> None:
        weights = [weight for _, weight in split.parts]
        if split.beside:
            across = [Share(weight) for weight in weights]
            sizes = shared(columns - len(weights) + 1, across, [_widest(one, widths) for one, _ in split.parts])
        else:
            shares = [share(one, weight) if isinstance(one, str) else Share(weight) for one, weight in split.parts]
            asked = [wanted.get(one) if isinstance(one, str) else None for one, _ in split.parts]
            here = [size if share.most else None for size, share in zip(asked, shares, strict=True)]
            sizes = shared(rows, shares, here)
        for at, ((part, _), size) in enumerate(zip(split.parts, sizes, strict=True)):
            space = (rows, size) if split.beside else (size, columns)
            found[*path, at] = space
            if not isinstance(part, str):
                divide(part, (*path, at), *space)

    divide(layout, (), rows, columns)
    return found
