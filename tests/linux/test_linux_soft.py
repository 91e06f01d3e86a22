"""The distribution's Linux on the software engine, to its first line on the console."""

from __future__ import annotations

import time

import pytest

import kvmdbg
from tests.linux.kernel import kernel


@pytest.mark.timeout(300)
def test_its_first_line_on_the_console(time_scale: float) -> None:
    image = kernel()
    words = "console=ttyS0 earlyprintk=serial panic=-1 nokaslr"
    until = time.monotonic() + 240 * time_scale
    with kvmdbg.open(image, format="pvh", memory="256M", cmdline=words, engine="soft", serial="none") as dbg:
        while dbg.output.count(b"\n") < 2 and time.monotonic() < until:
            dbg.run(timeout=0.5)
        first, second, *_ = dbg.output.decode().splitlines()
    assert first.startswith(f"[    0.000000] Linux version {image.name.removeprefix('vmlinuz-')} (")
    assert second == f"[    0.000000] Command line: {words}"
