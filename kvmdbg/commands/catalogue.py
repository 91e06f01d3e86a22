"""Imports every module of commands once, so that the registry is filled. A new module of commands is a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from kvmdbg import plugins

MODULES = (
    "breakpoints",
    "calls",
    "devices",
    "displays",
    "enabling",
    "examine",
    "searching",
    "exits",
    "files",
    "firmware",
    "frame_selection",
    "frames",
    "full_screen",
    "gdbserver",
    "hints",
    "info",
    "linux",
    "listing",
    "logs",
    "machine",
    "macros",
    "memory",
    "names",
    "patching",
    "plumbing",
    "print_settings",
    "printf",
    "printing",
    "python_prompt",
    "report",
    "running",
    "saving",
    "screens",
    "radix",
    "set_show",
    "skips",
    "snapshots",
    "source",
    "state",
    "stop_report",
    "support",
    "tracing",
    "types",
    "watchpoints",
)


FIRST = {"run": "running", "continue": "running", "c": "running"}
"""Where commands are that mostly come first where no shell is: for them alone the others are not imported."""
_loaded = False


class Fillable(Protocol):
    """What a registry of commands has for this."""

    add_hint: Any
    stop_report: Any

    def fill_later(self, fill: Callable[[], object], first: Mapping[str, Callable[[], object]]) -> None: ...


def load() -> None:
    """Fill :data:`kvmdbg.commands.registry.REGISTRY`, also with what other packages have."""
    global _loaded
    plugins.load()
    for name in MODULES:
        _module(name)
    _loaded = True


def load_when_needed(registry: Fillable) -> None:
    """The same, but not before any other command than those of ``FIRST`` is asked for of it."""
    if _loaded:
        return
    if plugins.load():  # they may have more
        load()
        return
    registry.add_hint = lambda dbg, error, line: _module("hints").add_hint(dbg, error, line)
    registry.stop_report = lambda dbg, stop: _module("stop_report").stop_report(dbg, stop)
    registry.fill_later(load, {word: partial(_module, name) for word, name in FIRST.items()})


def _module(name: str) -> Any:
    return import_module(f"kvmdbg.commands.{name}")
