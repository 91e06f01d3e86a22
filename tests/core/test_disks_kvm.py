"""Disks as a part of a session: options, snapshots, restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm


def test_what_the_guest_writes_is_in_snapshots(kvm_guest: Guests, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 5120)
    dbg = kvm_guest(asm="hlt", disks=[str(tmp_path / "a")])
    disk = dbg.machine.board.disks.hard_disks[0]
    disk.write(1, b"b" * 512)
    dbg.snapshots.save("one")
    disk.write(1, b"c" * 512)
    dbg.snapshots.save("two")
    dbg.snapshots.restore("one")
    assert disk.read(0, 3) == b"a" * 512 + b"b" * 512 + b"a" * 512
    dbg.snapshots.write("two", tmp_path / "file")
    dbg.restart()
    disk = dbg.machine.board.disks.hard_disks[0]
    assert disk.read(1, 1) == b"a" * 512
    dbg.snapshots.read(tmp_path / "file", "three")
    dbg.snapshots.restore("three")
    assert disk.read(1, 1) == b"c" * 512
    (shown,) = Interpreter(dbg).execute("info device disks")
    assert "10 sectors of 512 bytes, 1 cylinders, 16 heads" in shown.plain(100)
