"""How the panes of the full-screen mode are put on the screen: the chosen layout, in the space that there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvmdbg.commands import layouts
from kvmdbg.commands.full_screen import SIDE, pane_of
from kvmdbg.commands.layouts import Path, Share, Split
from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    from prompt_toolkit.layout import Container

    from kvmdbg.commands.settings import Settings

WIDE = 100
"""Columns from which on there are two columns of panes."""
BELOW = 3
"""Lines of the screen that are no panes: the prompt, the state, the keys."""
SIDE_LINES = 10
"""The most that the changing pane of a narrow screen takes, with its title, unless its height was chosen."""


class Arrangement:
    """``size`` gives columns and lines of the screen; ``needs`` how many lines a pane would fill; ``has_source``
    whether there is source to show; ``side`` what the changing pane shows; ``window`` makes a part of the screen."""

    def __init__(
        self,
        settings: Settings,
        *,
        size: Callable[[], tuple[int, int]],
        needs: Callable[[str], int],
        has_source: Callable[[], bool],
        side: Callable[[], str],
        window: Callable[[Callable[[], str], Callable[[], int]], Container],
    ) -> None:
        self._settings = settings
        self._size = size
        self._needs = needs
        self._has_source = has_source
        self._side = side
        self._window = window
        self._containers: dict[str, Container] = {}
        self._found: tuple[object, dict[Path, tuple[int, int]]] = None, {}

    @property
    def is_wide(self) -> bool:
        """Whether there are two columns of panes."""
        return self._size()[0] >= WIDE

    @property
    def text(self) -> str:
        """The layout that is shown, as `tui new-layout` takes it."""
        chosen = self._settings["tui-layout"]
        built_in = layouts.WIDE if self.is_wide else layouts.NARROW
        own = self._settings["tui-layouts"].get(chosen)
        return own if own is not None else built_in.get(chosen, built_in["split"])

    def pane(self, name: str) -> str:
        """The pane that a name in a layout means now. Without source its pane in `layout src` has instructions."""
        if name == SIDE:
            return self._side()
        pane = pane_of(name)
        if pane == "source" and not self._has_source() and "asm" not in self.text:
            return "code"
        return pane

    @property
    def seen(self) -> list[str]:
        """The panes that are shown, from the left and the top."""
        return list(self.sizes())

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Lines and columns of each pane that is shown, from the left and the top."""
        found = {}
        spaces = self._spaces(self.text)

        def look(split: Split, path: Path) -> None:
            for at, (part, _) in enumerate(split.parts):
                lines, columns = spaces[*path, at]
                if not isinstance(part, str):
                    look(part, (*path, at))
                elif lines:
                    found[self.pane(part)] = (lines - 1, columns)

        look(layouts.parse(self.text), ())
        return found

    def _share(self, name: str, weight: int) -> Share:
        pane = self.pane(name)
        if pane == "source" and not self._has_source():
            return Share(weight, 0, 0)
        if self.is_wide and pane in ("registers", "stack") and name != SIDE:
            lines = self._needs(pane) + 1
            return Share(weight, lines, lines)
        if not self.is_wide and (name == SIDE or pane == "registers"):
            needed = self._needs(pane) + 1 if pane == "registers" else 0
            return Share(weight, min(max(8, needed), 2 * self._size()[1] // 5), max(SIDE_LINES, needed))
        return Share(weight, 4 if name != SIDE else 3)

    def _spaces(self, text: str) -> dict[Path, tuple[int, int]]:
        columns, rows = self._size()
        sizes = {self._in_layout(pane): lines + 1 for pane, lines in self._settings["tui-sizes"].items()}
        widths = {self._in_layout(pane): width for pane, width in self._settings["tui-widths"].items()}
        needs = tuple(self._needs(one) for one in ("registers", "stack"))
        key = (
            text,
            columns,
            rows,
            tuple(sizes.items()),
            tuple(widths.items()),
            self._side(),
            self._has_source(),
            needs,
        )
        if self._found[0] != key:
            layout = layouts.parse(text)
            high = {name: sizes[self.pane(name)] for name in layout.panes() if self.pane(name) in sizes}
            wide = {name: widths[self.pane(name)] for name in layout.panes() if self.pane(name) in widths}
            found = layouts.spaces(layout, max(rows - BELOW, 1), columns, self._share, high, wide)
            self._found = key, found
        return self._found[1]

    @staticmethod
    def _in_layout(pane: str) -> str:
        try:
            return pane_of(pane)
        except UsageError:
            return pane

    def container(self) -> Container:
        """What is on the screen above the prompt."""
        text = self.text
        if text not in self._containers:
            self._containers[text] = self._made(text, layouts.parse(text), ())
        return self._containers[text]

    def _made(self, text: str, split: Split, path: Path) -> Container:
        from prompt_toolkit.layout import ConditionalContainer, Dimension, HSplit, VSplit, Window

        def exact(path: Path, at: int) -> Callable[[], Dimension]:
            return lambda: Dimension.exact(self._spaces(text)[path][at])

        children: list[Any] = []
        for at, (part, _) in enumerate(split.parts):
            here = (*path, at)
            if isinstance(part, str):
                made = self._window(
                    lambda part=part: self.pane(part),  # type: ignore[misc]
                    lambda here=here: max(self._spaces(text)[here][0] - 1, 0),  # type: ignore[misc]
                )
                from prompt_toolkit.filters import Condition

                child: Container = ConditionalContainer(
                    made,
                    Condition(lambda here=here: self._spaces(text)[here][0] > 0),  # type: ignore[misc]
                )
            else:
                child = self._made(text, part, here)
            if split.beside:
                if at:
                    children.append(Window(width=1, char="|", style="class:title"))
                children.append(HSplit([child], width=exact(here, 1)))
            else:
                children.append(child)
        if split.beside:
            return VSplit(children, height=exact(path, 0))
        return HSplit(children)
