"""The packets, one file a topic; importing a module registers its packets."""

from __future__ import annotations

from importlib import import_module

MODULES = (
    "handshake",
    "threads",
    "registers",
    "memory",
    "points",
    "running",
    "transfer",
    "monitor",
    "files",
    "lldb",
)


def load() -> None:
    """Register them all."""
    for name in MODULES:
        import_module(f"{__name__}.{name}")
