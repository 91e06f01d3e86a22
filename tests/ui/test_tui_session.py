"""The full screen on a session that others use, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import DummyInput
from prompt_toolkit.output import DummyOutput

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.ui.tui import Tui
from tests.scripted.guest import counting_guest


@pytest.fixture
def tui() -> Iterator[Tui]:
    with counting_guest() as session, create_app_session(input=DummyInput(), output=DummyOutput()):
        yield Tui(Interpreter(session), InMemoryHistory())


def shown(tui: Tui, pane: str) -> str:
    return "\n".join("".join(text for _, text in line) for line in tui._look(tui.panes[pane], 80, 10))


@pytest.mark.parametrize("pane", ["registers", "code"])
def test_what_another_debugger_does_between_two_looks_is_seen(tui: Tui, pane: str) -> None:
    before = shown(tui, pane)
    assert shown(tui, pane) == before
    tui.session.step(2)
    assert shown(tui, pane) != before


def test_a_low_pane_of_registers_begins_with_where_the_guest_stands(tui: Tui) -> None:
    pane = tui.panes["registers"]
    high = ["".join(text for _, text in line) for line in tui._look(pane, 60, 20)]
    low = ["".join(text for _, text in line) for line in tui._look(pane, 60, len(high) - 1)]
    assert high[0].startswith(("rax", "eax")) and "flags" in high[-1]
    assert low[0].startswith(("rip", "eip")) and "flags" in low[1] and low[2].startswith(("rax", "eax"))
