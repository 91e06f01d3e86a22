"""Files of Debian packages that tests use as guests: unpacked in the cache, not installed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.machines.boot import MachineError, cache_folder, call, only_one


def file_of(package: str, path: str) -> Path:
    """The file at ``path`` (without its first slash) of a package, downloaded at the first time. MachineError."""
    installed = Path("/") / path
    if installed.is_file():
        return installed
    cache = cache_folder()
    folder = cache / "packages" / package
    with only_one(cache):
        if not folder.exists():
            _fetch(package, cache, folder)
    found = folder / path
    if not found.is_file():
        raise MachineError(f"the package {package} has no {path}")
    return found


def _fetch(package: str, cache: Path, folder: Path) -> None:
    print(f"downloading {package}", file=sys.stderr, flush=True)
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        here = Path(temporary)
        here.chmod(0o777)  # apt downloads as a user of its own
        call("apt-get", "download", package, cwd=here)
        for archive in here.glob("*.deb"):
            call("dpkg", "-x", str(archive), str(here / "x"))
        (here / "x").rename(folder)
