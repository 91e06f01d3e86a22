"""What other packages add: commands, devices, loaders, expression functions, through the entry points "kvmdbg.plugins".

Each entry point names a module (or something in one); importing it registers what it has with the decorators that the
built-in ones use. Start-up time is measured, so ``importlib.metadata`` is only asked where some package has any.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from kvmdbg.errors import LoadError

GROUP = "kvmdbg.plugins"
_loaded: list[str] = []
_done = False


def load() -> list[str]:
    """Import every plugin that is installed, once; their names. LoadError names the one that cannot be."""
    global _done
    if not _done:
        _done = True
        if _any_installed():
            _import()
    return list(_loaded)


def _any_installed() -> bool:
    """Whether any package on the path has entry points of the group; a look into a few small files."""
    wanted = f"[{GROUP}]".encode()
    own = os.path.dirname(os.__file__)  # the standard library, in which no package is
    for folder in sys.path:
        if folder in (own, os.path.join(own, "lib-dynload")):
            continue
        with suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    with suppress(OSError), open(os.path.join(entry.path, "entry_points.txt"), "rb") as file:
                        if wanted in file.read():
                            return True
    return False


def _import() -> None:
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            raise LoadError(f"the plugin {point.name} ({point.value}) cannot be loaded: {error}") from None
        _loaded.append(point.name)
