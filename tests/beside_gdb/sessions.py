"""Whole sessions, typed into gdb over a process and into kvmdbg over a guest: the same file, which runs alike as both.

After each line the places are compared (pc, sp, the breakpoints and their counts, function, line and locals of the
selected frame), and what a line prints where both print the same kind of thing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.errors import KvmdbgError
from tests.e2e.debuggers import GDBS, TIME_SCALE

PROGRAM = Path(__file__).parent / "everyday" / "tasks.c"
FLAGS = (
    "-g -w -ffreestanding -fno-pie -no-pie -nostdlib -static -fno-stack-protector -mno-red-zone -fcf-protection=none "
    "-fno-asynchronous-unwind-tables -mgeneral-regs-only -Wl,--build-id=none -Wl,-Ttext=0x100000 -Wl,-z,noexecstack"
)

DRIVER = r"""
import json, re
import gdb
for line in ("height 0", "width 0", "confirm off", "startup-with-shell off", "disassembly-flavor intel",
             "disable-randomization on", "debuginfod enabled off"):
    gdb.execute("set " + line, to_string=True)
def value(text):
    try: return int(gdb.parse_and_eval(text)) & (1 << 64) - 1
    except gdb.error: return None
def answered(line):
    try: said, failed = gdb.execute(line, to_string=True), False
    except gdb.error as error: said, failed = str(error), True
    try: frame = gdb.selected_frame()
    except gdb.error: frame = None
    shown = {"line": line, "said": said, "failed": failed, "pc": value("(long)$pc"), "sp": value("(long)$sp")}
    points = [one for one in gdb.breakpoints() or () if one.is_valid() and one.number > 0]
    shown["breakpoints"] = [[one.number, bool(one.enabled), one.hit_count] for one in points]
    if frame is not None:
        shown["function"], shown["source"] = frame.name(), frame.find_sal().line
        shown["level"] = frame.level()
        shown["locals"] = gdb.execute("info locals", to_string=True)
        shown["args"] = gdb.execute("info args", to_string=True)
    print("@@" + json.dumps(shown), flush=True)
"""


class Answer(NamedTuple):
    """What a line has led to. ``said`` is None where it is not compared."""

    line: str
    failed: bool
    said: str | None
    pc: int | None
    sp: int | None
    breakpoints: list[Any]
    function: str
    source: int
    level: int
    variables: dict[str, str]
    before_inlined: bool = False
    """At the first instruction of an inlined function: gdb shows its caller there, after steps."""


def build(folder: Path, optimize: str, source: Path = PROGRAM) -> Path:
    made = folder / f"{source.stem}{optimize}.elf"
    command = ["gcc", optimize, *FLAGS.split(), "-o", str(made), source.name]
    done = subprocess.run(
        command, cwd=source.parent, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"}
    )
    assert not done.returncode, done.stderr
    return made


def of_gdb(gdb: str, program: Path, lines: Sequence[str]) -> list[Answer]:
    """gdb's, of a process."""
    script = program.with_suffix(".session")
    asked = "".join(f"answered({line!r})\n" for line in lines)
    script.write_text(f"python\n{DRIVER}\n{asked}\nend\n", encoding="utf-8")
    done = subprocess.run(
        [gdb, "-nx", "-q", "-batch", "-x", str(script), str(program)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=120, cwd=program.parent,
        env={**os.environ, "LC_ALL": "C", "TERM": "dumb", "HOME": str(program.parent)},
    )  # fmt: skip
    text = done.stdout.decode("latin-1")
    found = [json.loads(row[2:]) for row in re.findall(r"^@@.*$", text, re.MULTILINE)]
    assert len(found) == len(lines), text[-1000:]
    return [
        Answer(
            one["line"], one["failed"], compared(one["line"], one["said"]), one["pc"], one["sp"], one["breakpoints"],
            one.get("function") or "", one.get("source", 0), one.get("level", 0),
            dict(_variables(one.get("locals", ""))) | dict(_variables(one.get("args", ""))),
        )
        for one in found
    ]  # fmt: skip


def _variables(text: str) -> Iterable[tuple[str, str]]:
    for row in text.splitlines():
        name, equals, value = row.partition(" = ")
        if equals:
            yield name, "<optimized out>" if value == "<optimized out>" else value


def of_kvmdbg(session: Session, lines: Sequence[str], limit: float) -> list[Answer]:
    """kvmdbg's, of a guest. It has been started from the beginning, where a process is there only after `run`."""
    interpreter = Interpreter(session)
    interpreter.settings["context"] = ()
    interpreter.settings["limit-time"] = limit
    interpreter.settings["confirm"] = False
    found, running = [], False
    for line in lines:
        try:
            said, failed = "\n".join(one.plain(1000) for one in interpreter.execute(line)), False
        except KvmdbgError as error:
            said, failed = str(error), True
        running = running or line.split()[0] in ("run", "r", "start", "starti")
        vcpu = session.vcpu
        points = [[one.number, one.enabled, one.hits] for one in session.breakpoints]
        if not running:
            found.append(Answer(line, failed, compared(line, said), None, None, points, "", 0, 0, {}))
            continue
        frame = session.frames.of(session.runner)
        place = session.source.at(frame.place)
        variables: dict[str, str] = {}
        chain, base = session.source.blocks_at(frame.pc)
        first = bool(chain) and chain[-1].kind == "inlined" and chain[-1].entry + base == frame.pc
        for ask in (session.locals, session.arguments):
            with suppress(KvmdbgError):
                variables |= {
                    name: re.sub(r"<optimized out:.*>", "<optimized out>", one) for name, one in ask().items()
                }
        found.append(
            Answer(
                line, failed, compared(line, said), frame.pc, frame.sp, points,
                session.source.function_name(frame.place), place.line if place else 0, frame.number, variables, first,
            )
        )  # fmt: skip
        assert vcpu is not None
    return found


_OUT = re.compile("<optimized out:.*>")
EXACT = ("p", "print", "inspect", "output", "call", "ptype", "whatis", "printf", "echo", "show", "ptype/o")


def both(program: Path, lines: Sequence[str]) -> tuple[list[Answer], list[Answer]]:
    """What the distribution's gdb answers, and what kvmdbg does."""
    theirs = of_gdb(GDBS["distribution"], program, lines)
    with kvmdbg.open(program, memory="16M") as session:
        return theirs, of_kvmdbg(session, lines, 20 * TIME_SCALE)


def compared(line: str, said: str) -> str | None:
    """What of a line's words both must say; None: nothing."""
    word = re.split(r"[ /]", line)[0]
    if word in EXACT:
        return re.sub(r"^\$\d+ = ", "", said.strip("\n"))
    if word == "x" and "i" not in line.split()[0]:
        return re.sub(r"[ \t]+", " ", re.sub(r" <[^>]*>", "", said.strip("\n")))
    if word in ("x", "disassemble"):
        return " ".join(f"{int(one, 16):#x}" for one in re.findall(r"^[=> ]*(0x[0-9a-f]+)", said, re.MULTILINE))
    if word in ("list", "l", "forward-search", "fo", "reverse-search", "rev"):
        return " ".join(re.findall(r"^[=> ]*(\d+)", said, re.MULTILINE))
    if word in ("backtrace", "bt", "where"):
        return _frames(said)
    if line.startswith("info line"):
        first = said.strip().splitlines()[0] if said.strip() else ""
        return re.sub(r"\+(0x[0-9a-f]+)>", lambda one: f"+{int(one[1], 16)}>", first)
    if line.startswith("info source"):
        return None
    return None


def _frames(said: str) -> str:
    """The numbers and functions of a backtrace, in gdb's words or in kvmdbg's."""
    rows = re.findall(r"^#(\d+) +(?:0x[0-9a-f]+ +(?:in )?)?([A-Za-z_]\w*)", said, re.MULTILINE)
    return " ".join(f"#{number} {name}" for number, name in rows)


def differences(theirs: Sequence[Answer], ours: Sequence[Answer]) -> list[str]:
    """What is not the same, line by line."""
    found = []
    for gdb, guest in zip(theirs, ours, strict=True):
        if (gdb.pc, gdb.level) == (guest.pc, guest.level) and guest.before_inlined:
            guest = guest._replace(function=gdb.function, source=gdb.source, variables=gdb.variables)
        for field in Answer._fields[1:-1]:
            one, two = getattr(gdb, field), getattr(guest, field)
            if field == "said" and (gdb.failed or one is None):
                continue
            if one != two:
                found.append(f"{gdb.line}: {field}: gdb {one!r}, kvmdbg {two!r}")
    return found
