"""A line typed at a prompt, with a Ctrl-C that is never lost."""

from __future__ import annotations

import select
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvmdbg.ui.given_back import given_back

if TYPE_CHECKING:
    from types import FrameType

    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import Application
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import AnyFormattedText


def read_line(
    prompt: PromptSession[str],
    message: AnyFormattedText,
    started: Callable[[], None] = lambda: None,
    draft: Document | str = "",
) -> str:
    """The line; KeyboardInterrupt and EOFError as typed. ``started`` is called in the prompt's event loop.

    SIGINT counts, too, where the prompt does not have the terminal yet, or has given it back already: prompt_toolkit
    would drop the Ctrl-C that comes right after Enter, or keep it as a key for the next prompt. As at any terminal what
    was typed before a Ctrl-C and not read yet is forgotten.
    """
    app = prompt.app
    interrupted = False

    def on_sigint(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if app.loop is not None and app.is_running and not app.is_done:
            app.loop.call_soon_threadsafe(app.key_processor.send_sigint)
        else:
            interrupted = True

    def begin() -> None:
        nonlocal interrupted
        # where the terminal was slow to say where its cursor is, the loop that waited for that has gone
        app.renderer._waiting_for_cpr_futures.clear()
        started()
        if interrupted:
            interrupted = False
            on_sigint(signal.SIGINT, None)

    before = signal.signal(signal.SIGINT, on_sigint)
    try:
        with given_back(app):
            line = prompt.prompt(
                message, default=draft, pre_run=begin, set_exception_handler=False, handle_sigint=False
            )
    finally:
        signal.signal(signal.SIGINT, before)
    if _interrupted_ahead(app) or interrupted:
        raise KeyboardInterrupt
    return line


def _interrupted_ahead(app: Application[Any]) -> bool:
    """Whether Ctrl-C is among the keys typed behind the line; else they are kept for the next prompt."""
    from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
    from prompt_toolkit.key_binding import KeyPress
    from prompt_toolkit.keys import Keys

    typed = get_typeahead(app.input)
    # no signal is made of a key that came while the terminal was still in raw mode
    while select.select([app.input.fileno()], [], [], 0)[0]:
        typed += app.input.read_keys()
        if app.input.closed:  # Ctrl-D, where the terminal is no more in raw mode; one that has gone is met again
            typed.append(KeyPress(Keys.ControlD, "\x04"))
            app.input.stdin_reader.closed = False  # type: ignore[attr-defined]
            break
    typed = [key for key in typed if key.key != Keys.CPRResponse]
    at = max((number for number, key in enumerate(typed) if key.key == Keys.ControlC), default=-1)
    store_typeahead(app.input, typed[at + 1 :])
    return at >= 0
