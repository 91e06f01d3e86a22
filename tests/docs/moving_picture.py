"""Draws docs/session.svg: a session in a terminal as it goes, typed and answered, over and over.

python -m tests.docs.moving_picture      (make picture)
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from kvmdbg.record import record
from tests.docs.picture import BACKGROUND, HEIGHT, MARGIN, WIDTH, look
from tests.e2e.terminal import Terminal

PICTURE = Path(__file__).resolve().parents[2] / "docs/session.svg"
SETTINGS = ("context code", "code-lines 2", "keys none")
GUEST = [
    *(word for one in SETTINGS for word in ("-ex", f"set {one}")),
    "--symbols",
    "guests/modes.elf",
    "guests/modes.bin",
]
COLUMNS, LINES = 88, 26
COMMANDS = (
    ("catch mode long", 1.0),
    ("continue", 3.5),
    ("break long_out if $al == 0x4c", 1.0),
    ("continue", 3.0),
    ("snapshot save here", 1.5),
    ("set {u16}$pc = 0x0b0f", 1.5),
    ("stepi", 8.0),
    ("snapshot restore here", 2.0),
    ("stepi", 5.0),
)
"""What is typed, and for how many seconds its answer is shown."""
KEYS, PER_KEYS, BEFORE_ENTER = 3, 0.16, 0.3
"""So many keys are typed at once, in so many seconds."""
PROMPT = re.compile(r"\(kvmdbg ?\w*\)")
"""What it says of the mode is not the same everywhere: AMD's SVM resets the vCPU at a shutdown."""
Row = tuple[tuple[str, str, str, bool], ...]
"""A line of the screen in runs: text, foreground, background, weight."""


@record
class Frame:
    """The screen for some seconds; ``answers`` the command of that number, or none."""

    rows: tuple[Row, ...]
    seconds: float
    answers: int = -1


def screen_of(terminal: Terminal) -> tuple[Row, ...]:
    """The lines above the toolbar."""
    buffer = terminal.screen.buffer
    rows = []
    for y in range(LINES - 1):
        runs = groupby((buffer[y][x] for x in range(COLUMNS)), key=look)
        row = [("".join(char.data for char in chars), *kind) for kind, chars in runs]
        rows.append(tuple(row))
    return tuple(rows)


def frames() -> Iterator[Frame]:
    """The session, once more on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        homes = {"XDG_STATE_HOME": folder, "XDG_CONFIG_HOME": folder}
        terminal = Terminal(*GUEST, columns=COLUMNS, lines=LINES, environment=homes)
        try:
            terminal.prompt()
            terminal.send("\x0c")
            terminal.wait(lambda: terminal.rows[0] == terminal.last)
            yield Frame(screen_of(terminal), 1.0)
            for number, (command, seconds) in enumerate(COMMANDS):
                yield from typed(terminal, command)
                enter(terminal)
                yield Frame(screen_of(terminal), seconds, number)
        finally:
            terminal.close()


def typed(terminal: Terminal, command: str) -> Iterator[Frame]:
    """A few keys at once."""
    for end in range(KEYS, len(command) + KEYS, KEYS):
        shown = f") {command[:end]}".rstrip()
        terminal.send(command[end - KEYS : end])
        terminal.wait(lambda shown=shown: terminal.last.endswith(shown))  # type: ignore[misc]
        yield Frame(screen_of(terminal), BEFORE_ENTER if end >= len(command) else PER_KEYS)


def enter(terminal: Terminal) -> None:
    """Until the next prompt, and the toolbar below it, are drawn."""
    prompts = terminal.whole_text.count("(kvmdbg")
    terminal.send("\r")
    terminal.wait(
        lambda: (
            terminal.whole_text.count("(kvmdbg") > prompts
            and terminal.last.endswith(")")
            and "stopped" in terminal.text.rstrip().rpartition("\n")[2]
        )
    )


def draw(found: list[Frame]) -> str:
    """The moving picture: every line that occurs once, and each frame made of them, shown in its time."""
    names: dict[Row, str] = {}
    for frame in found:
        for row in frame.rows:
            if "".join(run[0] for run in row).strip():
                names.setdefault(row, f"r{len(names)}")
    whole = sum(frame.seconds for frame in found)
    width, height = 2 * MARGIN + COLUMNS * WIDTH, 2 * MARGIN + (LINES - 1) * HEIGHT
    style = [
        "text{white-space:pre;font:14px 'DejaVu Sans Mono',Menlo,Consolas,monospace}",
        f".f{{visibility:hidden;animation:s {whole:.2f}s step-end infinite}}",
        "@keyframes s{0%{visibility:visible}}",
    ]
    parts, start = [], 0.0
    for number, frame in enumerate(found):
        share = 100 * frame.seconds / whole
        style.append(
            f"@keyframes k{number}{{0%{{visibility:visible}}{share:.3f}%{{visibility:hidden}}}}"
            f"#f{number}{{animation-name:k{number};animation-delay:{start:.2f}s}}"
        )
        uses = "".join(
            f'<use href="#{names[row]}" y="{at * HEIGHT}"/>' for at, row in enumerate(frame.rows) if row in names
        )
        answers = f' data-answers="{frame.answers}"' if frame.answers >= 0 else ""
        parts.append(f'<g class="f" id="f{number}"{answers}>{uses}</g>')
        start += frame.seconds
    last = max(number for number, frame in enumerate(found) if frame.answers >= 0)
    style.append(
        f"@media (prefers-reduced-motion:reduce){{.f{{animation:none!important}}#f{last}{{visibility:visible}}}}"
    )
    lines = "".join(f'<g id="{name}">{_line(row)}</g>\n' for row, name in names.items())
    size = f'viewBox="0 0 {width:g} {height}" width="{width:g}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" {size}>\n'
        f"<style>{''.join(style)}</style>\n<defs>\n{lines}</defs>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _line(row: Row) -> str:
    """A line at the top of the picture."""
    found, column = [], 0
    for text, front, back, bold in row:
        left, wide = MARGIN + column * WIDTH, len(text) * WIDTH
        column += len(text)
        if back != BACKGROUND:
            found.append(f'<rect x="{left:g}" y="{MARGIN}" width="{wide:g}" height="{HEIGHT}" fill="{back}"/>')
        if not text.strip():
            continue
        blanks = len(text) - len(text.lstrip())
        shown = ElementTree.Element("text", x=f"{left + blanks * WIDTH:g}", y=f"{MARGIN + HEIGHT - 5}", fill=front)
        shown.set("textLength", f"{len(text.strip()) * WIDTH:g}")
        if bold:
            shown.set("font-weight", "bold")
        shown.text = text.strip()
        found.append(ElementTree.tostring(shown, encoding="unicode"))
    return "".join(found)


def answers(svg: str) -> dict[int, str]:
    """What each command's answer is in a picture, without blanks."""
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    lines = {
        one.get("id"): "".join(text.text or "" for text in one.iter(f"{space}text")) for one in root.iter(f"{space}g")
    }
    found = {}
    for frame in root.iter(f"{space}g"):
        if (number := frame.get("data-answers")) is not None:
            shown = [lines[(use.get("href") or "")[1:]] for use in frame.iter(f"{space}use")]
            found[int(number)] = PROMPT.sub("(kvmdbg)", re.sub(r"\s+", "", "\n".join(shown)))
    return found


def main() -> int:
    PICTURE.write_text(draw(list(frames())), encoding="utf-8")
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
