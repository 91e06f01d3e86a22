"""The distribution's kernel, and an initial RAM disk with busybox: nothing of it is kept in the repository."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.machines import boot

INIT = """\
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t devtmpfs dev /dev
echo "initramfs is up"
exec $B sh
"""
COMMAND_LINE = "console=ttyS0 earlyprintk=serial panic=-1 mitigations=off quiet"


def kernel() -> Path:
    """The image, downloaded at the first time."""
    cache = boot.cache_folder()
    with boot.only_one(cache):
        return boot.fetch_kernel(cache).image


def initrd(folder: Path) -> Path:
    """A RAM disk that ends in a shell on the console."""
    with boot.only_one(boot.cache_folder()):
        boot.install(["busybox-static"])
    files = dict.fromkeys(("bin", "proc", "dev"), (0o040755, b""))
    files["bin/busybox"] = (0o100755, boot.BUSYBOX.read_bytes())
    files["init"] = (0o100755, INIT.encode())
    path = folder / "initrd.gz"
    path.write_bytes(gzip.compress(boot.cpio(files), 1))
    return path
