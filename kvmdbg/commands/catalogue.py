"""Imports every module of commands once, so that the registry is filled. A new module of commands is a line here."""

from __future__ import annotations

from importlib import import_module

from kvmdbg import plugins

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


def load() -> None:
    """Fill :data:`kvmdbg.commands.registry.REGISTRY`, also with what other packages have."""
    plugins.load()
    for name in MODULES:
        import_module(f"kvmdbg.commands.{name}")
