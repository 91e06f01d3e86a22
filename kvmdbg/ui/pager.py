"""Long output page by page, through the user's pager."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading

from kvmdbg.commands.settings import Settings
from kvmdbg.commands.shell_settings import TERMINAL


def command() -> list[str]:
    """The pager's command line: $PAGER, else less or more; none where there is none.

    less shows colours, and ends with Ctrl-C, whatever $LESS says.
    """
    try:
        wanted = shlex.split(os.environ.get("PAGER", ""))
    except ValueError:  # a quotation that does not end
        wanted = []
    for words in (wanted, ["less"], ["more"]):
        if words and shutil.which(words[0]):
            return [*words, "-RK"] if os.path.basename(words[0]) == "less" else words
    return []


def show(text: str, settings: Settings) -> bool:
    """Show a text in the pager where it is higher than the settings say; False where that is not wished or possible."""
    if not settings["pager"] or threading.current_thread() is not threading.main_thread():
        return False
    height = settings["height"]
    rows = shutil.get_terminal_size().lines - 1 if height == TERMINAL else height
    if not rows or text.count("\n") < rows or not sys.stdout.isatty() or not (words := command()):
        return False
    sys.stdout.flush()
    environment = {"LESS": "X", **os.environ}
    before = signal.signal(signal.SIGINT, lambda *_: None)  # the pager's; SIG_IGN would be handed on to it
    try:
        subprocess.run(words, input=text.encode("utf-8", "replace") + b"\n", env=environment, check=False)
    except OSError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)
    return True
