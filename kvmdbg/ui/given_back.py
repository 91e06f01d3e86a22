"""The terminal that a prompt_toolkit application leaves behind when an exception ends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prompt_toolkit.application import Application


@contextmanager
def given_back(app: Application[Any]) -> Iterator[None]:
    """Run ``app`` in here: however it ends, its screen has gone.

    prompt_toolkit sees to that from its first wait on; a signal's exception in its first drawing would leave the
    alternate screen on, pasted text in brackets and long lines cut.
    """
    try:
        yield
    except BaseException:
        app.renderer.reset()
        app.output.enable_autowrap()
        app.output.flush()
        raise
