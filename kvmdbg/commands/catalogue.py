"""Imports every module of commands once, so that the registry is filled. A new module of commands is a line here."""

from __future__ import annotations

from kvmdbg import plugins


def load() -> None:
    """Fill :data:`kvmdbg.commands.registry.REGISTRY`, also with what other packages have."""
    plugins.load()
    from kvmdbg.commands import (  # noqa: F401
        breakpoints,
        devices,
        displays,
        examine,
        exits,
        files,
        gdbserver,
        info,
        machine,
        macros,
        memory,
        patching,
        printing,
        running,
        set_show,
        snapshots,
        source,
        state,
        support,
        tracing,
        watchpoints,
    )
