"""What guests/screens.bin draws is, pixel by pixel, what QEMU's VGA adapter and SeaBIOS make of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

import kvmdbg
from kvmdbg.devices.display import Picture
from kvmdbg.engine.stops import CaughtStop
from tests.e2e.terminal import ROOT, TIME_SCALE

pytestmark = [pytest.mark.kvm, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

GUEST = ROOT / "guests" / "screens.bin"


class Qemu:
    """QEMU with its monitor."""

    def __init__(self, commands: IO[str], folder: Path) -> None:
        self._commands = commands
        self._file = folder / "screen.ppm"

    def say(self, line: str) -> None:
        self._commands.write(f"{line}\n")
        self._commands.flush()

    def screen(self) -> tuple[int, int, bytes]:
        """Width, height and pixels of what it shows now."""
        self._file.unlink(missing_ok=True)
        self.say(f"screendump {self._file}")
        end = time.monotonic() + 20 * TIME_SCALE
        while time.monotonic() < end:
            time.sleep(0.05)
            parts = self._file.read_bytes().split(b"\n", 3) if self._file.exists() else []
            if len(parts) == 4:
                width, height = map(int, parts[1].split())
                if len(parts[3]) == 3 * width * height:
                    return width, height, parts[3]
        raise AssertionError("QEMU writes no picture of its screen")

    def shows(self, wanted: Picture) -> bool:
        """Whether its screen is this picture. Of 200 lines it shows each twice; its colours have 6 bits, as a VGA's."""
        width, height, shown = self.screen()
        across, down = width // wanted.width, height // wanted.height
        if (wanted.width * across, wanted.height * down) != (width, height):
            return False
        for y in range(wanted.height):
            line = shown[3 * width * y * down : 3 * width * (y * down + 1)]
            ours = b"".join(bytes(wanted.colours[number]) for number in wanted.row(y))
            theirs = b"".join(line[at : at + 3] for at in range(0, len(line), 3 * across))
            if [value >> 2 for value in ours] != [value >> 2 for value in theirs]:
                return False
        return True

    def waits_to_show(self, wanted: Picture) -> None:
        end = time.monotonic() + 60 * TIME_SCALE
        while not self.shows(wanted):
            assert time.monotonic() < end, f"QEMU never shows this picture of {wanted.width} x {wanted.height}"


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Qemu]:
    machine = ["-machine", "pc,accel=tcg", "-m", "32M", "-nic", "none", "-display", "none", "-serial", "none"]
    disk = ["-drive", f"file={GUEST},format=raw,if=floppy,readonly=on"]
    with subprocess.Popen(
        ["qemu-system-x86_64", *machine, *disk, "-monitor", "stdio"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        yield Qemu(process.stdin, tmp_path)
        process.kill()


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="qemu-system-x86_64 is not installed")
def test_qemu_shows_the_same_pictures(qemu: Qemu) -> None:
    pictures = []
    with kvmdbg.open(os.fspath(GUEST)) as dbg:
        dbg.type("   ")
        for mode in (0x12, 0x03):  # it is about to go on to this one
            point = dbg.catch("interrupt", vector=0x10, when=f"$ax == {mode}")
            assert isinstance(dbg.run(timeout=20), CaughtStop)
            pictures.append(dbg.picture())
            dbg.breakpoints.delete(point.number)
    assert [(one.width, one.height) for one in pictures] == [(320, 200), (640, 480)]
    assert [len(set(one.pixels)) for one in pictures] == [256, 4]
    end = time.monotonic() + 60 * TIME_SCALE
    while qemu.screen()[0] == 720:  # text; a key that is pressed too early is lost
        assert time.monotonic() < end
        qemu.say("sendkey spc")
        time.sleep(1)
    qemu.waits_to_show(pictures[0])
    qemu.say("sendkey spc")
    qemu.waits_to_show(pictures[1])
