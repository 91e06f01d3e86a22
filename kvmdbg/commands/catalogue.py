"""Imports every module of commands once, so that the registry is filled. A new module of commands is a line here."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from kvmdbg import plugins
from kvmdbg.commands.registry import REGISTRY

MODULES = (
    "breakpoints",
    "calls",
    "devices",
    "displays",
    "examine",
    "searching",
    "exits",
    "files",
    "firmware",
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
    "set_show",
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


def load() -> None:
    """Fill :data:`kvmdbg.commands.registry.REGISTRY`, also with what other packages have."""
    global _loaded
    plugins.load()
    for name in MODULES:
        _module(name)
    _loaded = True


def load_when_needed() -> None:
    """The same, but not before any other command than those of ``FIRST`` is asked for."""
    if _loaded:
        return
    if plugins.load():  # they may have more
        load()
        return
    REGISTRY.add_hint = lambda dbg, error: _module("hints").add_hint(dbg, error)
    REGISTRY.stop_report = lambda dbg, stop: _module("stop_report").stop_report(dbg, stop)
    REGISTRY.fill_later(load, {word: partial(_module, name) for word, name in FIRST.items()})


def _module(name: str) -> Any:
    return import_module(f"kvmdbg.commands.{name}")
