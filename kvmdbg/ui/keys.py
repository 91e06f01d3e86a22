"""The keys of the shell. To add one that runs a command: one row in :data:`COMMAND_KEYS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

COMMAND_KEYS = (
    ("F5", "f5", "continue"),
    ("F10", "f10", "next"),
    ("F11", "f11", "step"),
    ("Shift-F11", "f23", "finish"),
    ("F6", "f6", "interrupt"),
)
"""The key's name, prompt_toolkit's name of it, and the command line it runs: the same in the full-screen mode."""

OTHER_KEYS = (
    ("Ctrl-C", "interrupts the guest if it runs, else clears the line"),
    ("Ctrl-Z", "suspends kvmdbg and its guest; fg of the shell that started it goes on"),
    ("Ctrl-D", "leaves (on an empty line), after asking if the guest runs"),
    ("Enter", "on an empty line: the last step, examine, list or continue again"),
    ("Tab", "completes commands, registers, symbols and file names"),
    ("Up, Down", "earlier lines, of earlier sessions too"),
    ("Ctrl-R", "searches them"),
    ("Ctrl-L", "clears the screen"),
)


WHILE_IT_RUNS = """While the guest runs in the foreground, keys go to it once it waits for any: to its serial port if it
waits there (--serial stdio), else to its keyboard; `set keys` says otherwise. All but these:

  Ctrl-C     interrupts the guest
  Ctrl-Z     suspends kvmdbg and its guest
  Ctrl-] s   shows the guest's screen; all keys but Ctrl-], which leaves it, go to its keyboard then
  Ctrl-] c   is Ctrl-C for the guest, Ctrl-] z Ctrl-Z, Ctrl-] Ctrl-] Ctrl-]

`screen live` lets the guest run and shows its screen at once."""


def help_text() -> str:
    """What ``help keys`` shows."""
    rows = [(name, f"{command}") for name, _, command in COMMAND_KEYS] + list(OTHER_KEYS)
    return (
        "The keys of the shell; editing is as in readline's Emacs mode.\n\n"
        + "\n".join(f"  {name:<10} {text}" for name, text in rows)
        + f"\n\n{WHILE_IT_RUNS}"
    )


def bind_search(keys: KeyBindings) -> None:
    """Enter runs the line that a search of the history (Ctrl-R) has found, as in gdb."""
    from prompt_toolkit.filters import is_searching
    from prompt_toolkit.key_binding.bindings import search

    @keys.add("enter", filter=is_searching)
    def run(event: KeyPressEvent) -> None:
        search.accept_search.call(event)
        event.current_buffer.validate_and_handle()


def bindings(run: Callable[[str], None], interrupt: Callable[[], bool]) -> KeyBindings:
    """``run`` leaves the prompt with a command line; ``interrupt`` stops a running guest and says whether one ran."""
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()
    bind_search(keys)

    def bind(key: str, line: str) -> None:
        @keys.add(key)
        def _(event: KeyPressEvent) -> None:
            run(line)

    for _, key, line in COMMAND_KEYS:
        bind(key, line)

    @keys.add("c-c")
    @keys.add("<sigint>")
    def interrupt_or_clear(event: KeyPressEvent) -> None:
        if not interrupt():
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return keys
