"""kvmdbg: an interactive debugger around a KVM virtual CPU.

``kvmdbg.open(...)`` gives a session; see docs/api.md. Names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvmdbg.api import open as open
    from kvmdbg.commands.registry import command as command
    from kvmdbg.core.session import Session as Session
    from kvmdbg.devices.registry import device as device
    from kvmdbg.engine.hook_calls import SWALLOW as SWALLOW
    from kvmdbg.engine.hook_calls import Stop as Stop
    from kvmdbg.errors import KvmdbgError as KvmdbgError
    from kvmdbg.language.functions import function as function
    from kvmdbg.loaders.registry import loader as loader

    __version__: str

__all__ = ["SWALLOW", "KvmdbgError", "Session", "Stop", "command", "device", "function", "loader", "open"]


_DECORATORS = {
    "command": "kvmdbg.commands.registry",
    "device": "kvmdbg.devices.registry",
    "loader": "kvmdbg.loaders.registry",
    "function": "kvmdbg.language.functions",
}
"""Where the decorators are with which a script or a package adds to kvmdbg."""


def __getattr__(name: str) -> Any:
    if name == "open":
        from kvmdbg.api import open

        return open
    if name == "Session":
        from kvmdbg.core.session import Session

        return Session
    if name in ("Stop", "SWALLOW"):
        from kvmdbg.engine import hook_calls

        return getattr(hook_calls, name)
    if name == "KvmdbgError":
        from kvmdbg.errors import KvmdbgError

        return KvmdbgError
    if name == "__version__":
        from kvmdbg.version import VERSION

        return VERSION
    if name in _DECORATORS:
        import importlib

        return getattr(importlib.import_module(_DECORATORS[name]), name)
    raise AttributeError(f"module 'kvmdbg' has no attribute {name!r}")
