"""Drawing anew what changes by itself, and only when it has: an idle screen writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prompt_toolkit.application import Application


def redraw_changes(app: Application[Any], seen: Callable[[], object], seconds: float) -> None:
    """In the application's event loop: look every so often at what is ``seen``, and draw it where it is another.

    (prompt_toolkit's own refresh_interval writes each time, if only to hide and show the cursor.)
    """
    import asyncio

    async def watch() -> None:
        before: object = watch  # what was drawn first may be older than a first look
        while True:
            await asyncio.sleep(seconds)
            if (now := look()) != before:
                before = now
                app.invalidate()

    def look() -> object:
        try:
            return seen()
        except Exception:  # another debugger may just be making the guest anew
            return None

    app.create_background_task(watch())


def draw_anew(app: Application[None]) -> None:
    """Clear the terminal and draw all of it, asked for by any thread."""

    def draw() -> None:
        app.renderer.clear()
        app.invalidate()

    if app.loop is not None:
        app.loop.call_soon_threadsafe(draw)
