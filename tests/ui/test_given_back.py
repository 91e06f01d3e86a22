"""Ended by an exception in its first drawing, an application leaves the terminal as it was."""

from __future__ import annotations

import io

import pytest
from prompt_toolkit.application import Application, create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.layout import Layout, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.output.vt100 import Vt100_Output

from kvmdbg.ui.given_back import given_back

SWITCHES = {"alternate screen": 1049, "bracketed paste": 2004}


@pytest.mark.parametrize("full_screen", [True, False])
@pytest.mark.parametrize("drawn", [True, False])
def test_a_signal_in_the_first_drawing(full_screen: bool, drawn: bool) -> None:
    written = io.StringIO()
    output = Vt100_Output(written, lambda: Size(rows=24, columns=80), term="xterm-256color", enable_cpr=False)

    def end(_: object = None) -> str:
        output.flush()
        raise SystemExit(143)

    with create_pipe_input() as keys, create_app_session(input=keys, output=output):
        text = "drawn" if drawn else end
        app: Application[None] = Application(Layout(Window(FormattedTextControl(text))), full_screen=full_screen)
        if drawn:
            app.after_render += end
        with pytest.raises(SystemExit), given_back(app):
            app.run()
    left = written.getvalue()
    for mode in (SWITCHES["bracketed paste"], *([SWITCHES["alternate screen"]] if full_screen else [])):
        assert 0 <= left.rfind(f"\x1b[?{mode}h") < left.rfind(f"\x1b[?{mode}l")
    assert left.rfind("\x1b[?7l") < left.rfind("\x1b[?7h")
