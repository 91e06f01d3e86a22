"""A line typed at a prompt, with a Ctrl-C that is never lost."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from kvmdbg.ui.given_back import given_back

if TYPE_CHECKING:
    from types import FrameType

    from prompt_toolkit import PromptSession
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
    would drop the Ctrl-C that comes right after Enter.
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
    if interrupted:
        raise KeyboardInterrupt
    return line
