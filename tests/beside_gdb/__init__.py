"""Expressions as gdb and kvmdbg show them on the same program: the texts must be the same.

``python -m tests.beside_gdb`` asks 2,000 questions, made from a seed, as the tests do; with --seed others.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.errors import KvmdbgError

PROGRAM = Path(__file__).with_name("program.c")
FREESTANDING = (
    "-g -w -ffreestanding -fno-pie -no-pie -nostdlib -static -fno-stack-protector -mno-red-zone -fcf-protection=none "
    "-Wl,--build-id=none -Wl,-Ttext=0x100000"
)
REFUSED = "(refused)"


class Difference(NamedTuple):
    """A line that is answered differently, and why that is meant to be so ("": it is not)."""

    line: str
    gdb: str
    kvmdbg: str
    reason: str

    def __str__(self) -> str:
        return f"{self.line}\n  gdb:    {self.gdb}\n  kvmdbg: {self.kvmdbg}"


#: What differs, and should (docs/expressions.md): the answers of gdb and of kvmdbg, the line, the reason.
MEANT = [
    (r"\(refused\) Invalid operation on booleans", r"", r"", "C's integer promotions hold for _Bool, too"),
    (r"\(refused\) Argument to (arithmetic|negate|complement) operation not", r"", r"", "addresses are numbers"),
    (
        r"",
        r"",
        r"print/\w (\*?(twice|fp)|nothing|sum3|kmain)$",
        "a format of a function shows its address, not its code",
    ),
    (r"", r"", r".* \? ", "both sides of a ?: within an expression have their common type, as in C"),
    (
        r"\(refused\) Attempt to take contents",
        r"type = ",
        r"whatis \*twice",
        "gdb prints *twice, but knows not its type",
    ),
    (
        r"(type = )?void$",
        r"\(refused\) no register, flag or variable",
        r"",
        "a variable that has no value is a mistake",
    ),
    (r"", r".* \+ .*i", r"print/\w waves", "gdb formats the real part of a complex number"),
    (r".*<error: Cannot access memory", r"", r"", "gdb has what is in the file, kvmdbg the guest's whole memory"),
    (r".*\.\d+>$", r"", r"print/a ", "static variables of functions are named without the compiler's number"),
    (r"\(refused\) That operation is not available on integers of more", r"", r"", "kvmdbg works with 128 bits, too"),
    (
        r"\(refused\) No type named (unsigned )?__int128",
        r"",
        r"",
        "kvmdbg knows the type where the program has none of it",
    ),
    (
        r".*__int128 unsigned",
        r".*unsigned __int128",
        r"",
        "as unsigned long, which DWARF has as long unsigned int",
    ),
    (r"warning: (left|right) shift", r"", r"", "gdb warns of a shift and goes on"),
]


def build(folder: Path, bits: int, optimize: str, more: str = "") -> Path:
    """The program, compiled."""
    made = folder / f"program{bits}{optimize}.elf"
    command = ["gcc", f"-m{bits}", optimize, *FREESTANDING.split(), *more.split(), "-o", str(made), str(PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    assert not done.returncode, done.stderr
    return made


def answers_of_gdb(gdb: str, program: Path, lines: Sequence[str]) -> list[str]:
    """What gdb says to each line; of errors the text behind REFUSED."""
    script = program.with_suffix(".gdb")
    asked = "".join(f"echo \\n@@{at}\\n\n" + _guarded(line) for at, line in enumerate(lines))
    script.write_text(
        f"set height 0\nset width 0\nset confirm off\n{asked}echo \\n@@{len(lines)}\\n\n", encoding="utf-8"
    )
    done = subprocess.run(
        [gdb, "-nx", "-q", "-batch", "-x", str(script), str(program)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=300,
        env={**os.environ, "LC_ALL": "C", "TERM": "dumb", "HOME": str(program.parent)},
    )  # fmt: skip
    parts = re.split(r"^@@(\d+)\n", done.stdout.decode("latin-1"), flags=re.MULTILINE)
    found = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
    assert len(lines) in found, done.stdout[-500:]
    return [_plain(found[at]) for at in range(len(lines))]


def _guarded(line: str) -> str:
    """A line of gdb whose error does not end the script."""
    quoted = line.replace("\\", "\\\\").replace("'", "\\'")
    return f"python\ntry: gdb.execute('{quoted}')\nexcept gdb.error as error: print('{REFUSED} %s' % error)\nend\n"


def _plain(text: str) -> str:
    return re.sub(r"^\$\d+ = ", "", text.strip("\n"))


def answers_of_kvmdbg(session: Session, lines: Sequence[str]) -> list[str]:
    """What kvmdbg says to each line."""
    interpreter = Interpreter(session)
    found = []
    for line in lines:
        try:
            found.append(_plain("\n".join(one.plain(1000) for one in interpreter.execute(line))))
        except KvmdbgError as error:
            found.append(f"{REFUSED} {str(error).splitlines()[0]}")
    return found


def differences(lines: Sequence[str], gdb: Sequence[str], kvmdbg: Sequence[str]) -> list[Difference]:
    """Those lines that are answered differently; refused by both is the same."""
    found = []
    for line, theirs, ours in zip(lines, gdb, kvmdbg, strict=True):
        if theirs == ours or (theirs.startswith(REFUSED) and ours.startswith(REFUSED)):
            continue
        found.append(Difference(line, theirs, ours, _reason(line, theirs, ours)))
    return found


def _reason(line: str, theirs: str, ours: str) -> str:
    for gdb, kvmdbg, question, reason in MEANT:
        if re.match(gdb, theirs) and re.match(kvmdbg, ours) and re.match(question, line):
            return reason
    return ""
