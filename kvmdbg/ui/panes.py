"""Panes of the full-screen mode: what each shows, made anew once a stop."""

from __future__ import annotations

from collections.abc import Callable

from kvmdbg import error_log
from kvmdbg.commands.results import Registers, Result
from kvmdbg.errors import KvmdbgError
from kvmdbg.printable import printable
from kvmdbg.record import replace
from kvmdbg.ui.console import Guest
from kvmdbg.ui.render import tokens

Line = list[tuple[str, str]]
LONGEST = 100_000
"""Bytes of a guest's output that are shown."""


def lines_of(result: Result, width: int) -> list[Line]:
    """A result as lines of styled text."""
    from prompt_toolkit.styles.pygments import pygments_token_to_classname

    found: list[Line] = [[]]
    for token, text in tokens(result, width):
        style = f"class:{pygments_token_to_classname(token)}"
        first, *rest = text.expandtabs().split("\n")
        found[-1].append((style, first))
        found += [[(style, part)] for part in rest]
    return found


def fitted(result: Result, width: int, height: int) -> list[Line]:
    """The same of a part of the context; of registers that do not fit, what the pane begins with is where the guest
    stands and its flags."""
    found = lines_of(result, width)
    if len(found) <= height or not isinstance(result, Registers):
        return found
    return lines_of(replace(result, values=result.values[-2:] + result.values[:-2]), width)


def plain(text: str) -> list[Line]:
    """Text without styles."""
    return [[("", line)] for line in text.split("\n")]


def console_lines(output: bytes | bytearray, width: int) -> list[Line]:
    """The end of what a guest has sent to its serial port, without colours and other escape sequences."""
    text = Guest(color=False).text(bytes(output[-LONGEST:]))
    return [part for line in printable(text).expandtabs().split("\n") for part in _rows(line, width)]


def _rows(line: str, width: int) -> list[Line]:
    """A line as a terminal breaks it: at its last column."""
    from prompt_toolkit.utils import get_cwidth

    if not line.isascii() and get_cwidth(line) != len(line):
        return wrapped([("", line)], width)
    width = max(width, 1)
    return [[("", line[at : at + width])] for at in range(0, max(len(line), 1), width)]


def wrapped(line: Line, width: int) -> list[Line]:
    """A line in as many as it needs in this many columns, broken between words where that can be."""
    from prompt_toolkit.utils import get_cwidth

    if sum(len(text) for _, text in line) <= width and all(text.isascii() for _, text in line):
        return [line]
    cells = [(style, char, get_cwidth(char)) for style, text in line for char in text]
    found: list[Line] = []
    start = 0
    while start < len(cells) or not found:
        end, left = start, width
        while end < len(cells) and cells[end][2] <= left:
            left -= cells[end][2]
            end += 1
        if end < len(cells) and cells[end][1] != " ":
            blank = next((at for at in range(end - 1, start, -1) if cells[at][1] == " "), start)
            end = blank + 1 if blank > start and end - blank <= width // 2 else end
        found.append([(style, char) for style, char, _ in cells[start : max(end, start + 1)]])
        start = max(end, start + 1)
    return [_joined(one) for one in found]


def _joined(line: Line) -> Line:
    """Neighbours of one style as one piece."""
    found: Line = []
    for style, text in line:
        if found and found[-1][0] == style:
            found[-1] = (style, found[-1][1] + text)
        else:
            found.append((style, text))
    return found


class Pane:
    """A titled part of the screen. ``make(width)`` gives its lines; ``tail``: its end is what is seen."""

    def __init__(
        self,
        title: str,
        make: Callable[[int], list[Line]],
        *,
        tail: bool = False,
        live: bool = False,
        always: bool = False,
    ) -> None:
        self.title = title
        self.make = make
        self.tail = tail
        self.live = live
        """It changes while the guest runs, too."""
        self.always = always
        """It shows nothing of the guest's registers and memory, which a command may just be replacing."""
        self.height = 0
        """How many lines of it are seen."""
        self.width = 0
        """In how many columns it was made last."""
        self.back = 0
        """How many lines it is scrolled: from the top, or from the end of one with ``tail``."""
        self._made: tuple[object, int, int] | None = None
        self._lines: list[Line] = []
        self._mistakes = 0
        """How often making it failed, one time after the other."""

    def lines(self, width: int, height: int, moment: object) -> list[Line]:
        """What is visible in this many columns and lines; at the same ``moment`` nothing is computed again."""
        key = (moment, width, height)
        self.height, self.width = height, width
        if self._made != key or self.live:
            try:
                self._lines = self.make(width)
            except KvmdbgError as error:
                self._lines = plain(str(error))
            except Exception as error:
                self._mistakes += 1
                if self._mistakes == 2:  # the first may be because another thread was making the guest anew
                    self._lines = [part for line in plain(error_log.internal(error)) for part in wrapped(line, width)]
                return self.seen(height)
            self._made, self._mistakes = key, 0
        return self.seen(height)

    @property
    def needed(self) -> int:
        """How many lines it would fill."""
        return len(self._lines)

    def seen(self, height: int) -> list[Line]:
        """What is visible of the lines that were made last."""
        self.height = height
        most = max(len(self._lines) - height, 0)
        self.back = min(self.back, most)
        start = most - self.back if self.tail else self.back
        return self._lines[start : start + height]

    def scroll(self, lines: int) -> None:
        """Towards the end by so many lines (towards the start when negative)."""
        self.back = max(self.back + (-lines if self.tail else lines), 0)
