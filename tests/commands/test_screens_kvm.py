"""The guest's screen by commands: text in colours, pictures, PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import png
import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.results import Result
from kvmdbg.core.session import Session
from kvmdbg.devices.vga import Vga
from kvmdbg.errors import LoadError, UsageError
from kvmdbg.pytest_plugin import Guests
from kvmdbg.ui.render import render

pytestmark = pytest.mark.kvm

TEXT = """
    mov ax, 0xb800; mov es, ax; xor di, di; cld
    mov ax, 0x0748; stosw; mov ax, 0x1e69; stosw
    mov di, 160; mov ax, 0x4f20; stosw
    hlt
"""


def result(dbg: Session, line: str) -> Result:
    (found,) = Interpreter(dbg).execute(line)
    return found


def adapter(dbg: Session) -> Vga:
    return next(one for one in dbg.devices if isinstance(one, Vga))


def read_png(path: Path) -> tuple[int, int, list[list[tuple[int, ...]]], dict[str, Any]]:
    width, height, rows, about = png.Reader(filename=str(path)).read()
    return width, height, [[about["palette"][number] for number in row] for row in rows], about


def test_text_in_its_colours(kvm_guest: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    dbg = kvm_guest(asm=TEXT)
    dbg.run(timeout=20)
    shown = result(dbg, "screen")
    assert shown.plain().split("\n")[:4] == ["+--+", "|Hi|", "|  |", "|  |"]
    monkeypatch.setenv("COLORTERM", "truecolor")
    coloured = render(shown, 80, "dark").split("\n")
    assert "\x1b[38;2;255;255;85;48;2;0;0;170mi\x1b[0m" in coloured[1] and "\x1b[38;2" not in coloured[3]
    assert "\x1b[38;2;255;255;255;48;2;170;0;0m \x1b[0m" in coloured[2]
    monkeypatch.delenv("COLORTERM")
    assert "\x1b[38;5;227;48;5;19mi\x1b[0m" in render(shown, 80, "dark")
    assert render(shown, 80, "") == shown.plain()
    data = shown.to_json()
    assert data["mode"] == "text" and (data["columns"], data["rows"], data["cursor"]) == (80, 25, [0, 0])
    assert data["lines"][:2] == ["Hi", ""] and data["attributes"][0].startswith("071e")
    assert len(data["attributes"]) == 25 and {len(row) for row in data["attributes"]} == {160}


def test_a_picture(kvm_guest: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    dbg = kvm_guest(asm="hlt")
    adapter(dbg).set_mode(0x13)
    dbg.physical.write(0xA0000, b"\x0f" * 320 * 100)
    assert dbg.screen() == []
    shown = result(dbg, "screen")
    lines = shown.plain(40).split("\n")
    assert lines[0] == "320 x 200 pixels, 256 colours" and lines[1:] == ["█" * 40] * 7 + ["▒" * 40] + [" " * 40] * 7
    monkeypatch.setenv("COLORTERM", "truecolor")
    coloured = render(shown, 40, "dark").split("\n")
    assert coloured[1] == f"\x1b[38;2;255;255;255;48;2;255;255;255m{'▀' * 40}\x1b[0m"
    assert coloured[8] == f"\x1b[38;2;255;255;255;48;2;0;0;0m{'▀' * 40}\x1b[0m"
    assert shown.to_json() == {
        "type": "screen", "mode": "graphics", "lines": [], "cursor": None, "width": 320, "height": 200, "colours": 256,
    }  # fmt: skip


def test_a_picture_as_a_file(kvm_guest: Guests, tmp_path: Path) -> None:
    dbg = kvm_guest(asm="hlt")
    adapter(dbg).set_mode(0x13)
    dbg.physical.write(0xA0000 + 320 * 7, b"\x04\x02")
    path = tmp_path / "picture.png"
    assert result(dbg, f"screen save {path}").plain() == f"Wrote 320 x 200 pixels to {path}."
    width, height, rows, _ = read_png(path)
    assert (width, height) == (320, 200) and [one[:3] for one in rows[7][:3]] == [(170, 0, 0), (0, 170, 0), (0, 0, 0)]


def test_text_as_a_file(kvm_guest: Guests, tmp_path: Path) -> None:
    dbg = kvm_guest(asm=TEXT)
    dbg.run(timeout=20)
    dbg.save_screen(str(tmp_path / "text.png"))
    width, height, rows, _ = read_png(tmp_path / "text.png")
    assert (width, height) == (720, 400)
    assert {one[:3] for y in range(16) for one in rows[y][9:18]} == {(0, 0, 170), (255, 255, 85)}
    assert dbg.picture().row(16)[:10] == bytes([4] * 9 + [0])


def test_what_cannot_be_written_or_is_not_there(kvm_guest: Guests, tmp_path: Path) -> None:
    dbg = kvm_guest(asm="hlt")
    with pytest.raises(LoadError, match=r"cannot write /nowhere/x\.png: No such file or directory"):
        dbg.save_screen("/nowhere/x.png")
    bare = kvm_guest(asm=TEXT, machine="bare")
    bare.run(timeout=20)
    with pytest.raises(UsageError, match="this guest has no VGA adapter: it was opened with --machine bare"):
        bare.save_screen(str(tmp_path / "x.png"))
    assert bare.screen()[0] == "Hi" and "|Hi|" in result(bare, "screen").plain()
