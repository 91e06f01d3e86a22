"""The sessions shown in README.md and docs/, made from real ones.

A block that starts with ```` ```console ```` and ``$ kvmdbg ...`` is a session: what its prompts
are given is typed into a debugger on that guest, and the rest of the block is what comes out. With ``--batch`` or
``--list`` in its command line it is a run of the program. One that starts with a prompt is a session on
the guest of the command reference. A ```` ```python ```` block is run, and the ```` ```text ```` block after it is
what it prints. A block behind the link to a file of docs/examples is that file.

    python -m tests.docs.transcripts [PAGE]...      writes outputs that have changed anew (`make docs`)
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from kvmdbg import cli
from kvmdbg.commands import reference
from kvmdbg.commands.gdb_serving import ServedToGdb
from kvmdbg.commands.interpreter import Interpreter, Quit
from kvmdbg.commands.results import Result, Text
from kvmdbg.errors import KvmdbgError
from kvmdbg.serving import GdbService

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "gdbstub/README.md"]
WIDTH = 100
LIMIT = 300  # seconds for one block on a busy machine
DEFAULT = reference.START + reference.GUEST

CONSOLE = re.compile(r"^```console\n((?:\$ kvmdbg |\(kvmdbg\b).*?)^```\n", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n((?:(?!```).*\n)*)```\n(\n```text\n)((?:(?!```).*\n)*)```\n", re.MULTILINE)
EXAMPLE = re.compile(r"(\[(examples/\S+)\]\(\2\):\n\n```\w+\n)(?:(?!```).*\n)*```\n")
PROMPT = re.compile(r"\(kvmdbg(?: \w+)?\) ?|> ")
PROGRAM = {"lockstep", "--batch", "--list"}
"""A command line with one of these is a run of the program."""
# How a point is held, and what KVM calls itself, differ from host to host.
RATES = re.compile(r"% +(?:-|[\d,]+)$", re.MULTILINE)
RESET = re.compile(r"\(kvmdbg \w+\) (?=why$)", re.MULTILINE)  # AMD's SVM resets the vCPU at a shutdown
STEPS = re.compile(r"do the same: \d+")  # a KVM's step may run the instruction behind mov ss, too
ELSEWHERE = "--engine kvm "  # the software engine says so of what KVM has
HOSTS = re.compile(r"(?:debug register|(?:int1|int3|hlt) trap)(?: \(CPL 0 only on this KVM\))?|page read-only|stepping")


@contextlib.contextmanager
def debugger(command: str) -> Iterator[Interpreter]:
    """What ``command``'s shell works with, in an empty folder that has the ``guests``."""
    options = cli.parser().parse_args(shlex.split(command)[2:])
    no_terminal = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), no_terminal:
        Path("guests").symlink_to(ROOT / "guests")
        with cli.open_session(options) as opened:
            dbg = Interpreter(opened)
            dbg.user.width = lambda: WIDTH
            dbg.kept(ServedToGdb).by = service = GdbService(opened, lambda text: None)
            try:
                for _, line in options.commands or []:
                    list(dbg.execute(line))
                yield dbg
            finally:
                service.stop()


def session(command: str, typed: list[str]) -> str:
    """What is on the screen when these lines are typed into ``command``'s shell."""
    out: list[str] = []

    def end_line() -> None:
        if "".join(out)[-1:] not in ("", "\n"):
            out.append("\n")

    def show(result: Result) -> None:
        if isinstance(result, Text):
            out.append(result.plain(WIDTH))
        else:
            end_line()
            out.append(f"{result.plain(WIDTH)}\n")

    with debugger(command) as dbg:
        dbg.session.listeners.on_output(lambda data: out.append(data.decode()))
        dbg.user.on_event = show
        lines = iter(typed)

        def more() -> str | None:
            line = next(lines, None)
            out.append(f"> {line}\n")
            return line

        for line in lines:
            state = dbg.session.vcpu.mode.name if dbg.session.state == "stopped" else dbg.session.state
            out.append(f"(kvmdbg {state}) {line}\n")
            try:
                for result in dbg.execute(line, more):
                    show(result)
            except Quit:
                break
            except KvmdbgError as error:
                end_line()
                out.append(f"{error}\n")
            end_line()
    return "".join(out)


def program(command: str) -> str:
    """What a run of the program prints on both streams."""
    words = shlex.split(command)[2:]
    done = subprocess.run(
        [sys.executable, "-m", "kvmdbg", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT,
    )
    return done.stdout.decode()


def _console(match: re.Match[str]) -> str:
    command, typed = taken_apart(match)
    output = program(command) if not PROGRAM.isdisjoint(command.split()) else session(command or DEFAULT, typed)
    return "\n".join(["```console", *([command] if command else []), f"{output}```\n"])


def taken_apart(match: re.Match[str]) -> tuple[str, list[str]]:
    """The command line that a session shows, "" when it shows none, and what is typed."""
    lines = match[1].split("\n")
    command = lines.pop(0) if lines[0].startswith("$") else ""
    return command, [PROMPT.sub("", line, count=1) for line in lines if PROMPT.match(line)]


def without_outputs(text: str) -> str:
    """The page with only what is typed, as the command reference begins."""

    def bare(match: re.Match[str]) -> str:
        command, typed = taken_apart(match)
        lines = [*([command] if command else []), *(f"(kvmdbg) {line}" for line in typed)]
        return "\n".join(["```console", *lines, "```", ""])

    return CONSOLE.sub(bare, text)


def _python(match: re.Match[str]) -> str:
    done = subprocess.run([sys.executable, "-"], cwd=ROOT, input=match[1].encode(), capture_output=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr.decode()
    return f"```python\n{match[1]}```\n{match[2]}{done.stdout.decode()}```\n"


def _example(match: re.Match[str]) -> str:
    return f"{match[1]}{(ROOT / 'docs' / match[2]).read_text()}```\n"


def refreshed(text: str) -> str:
    """The page with the outputs as they are now."""
    for pattern, run in KINDS:
        text = pattern.sub(lambda match, run=run: _changed(run(match), match[0]), text)  # type: ignore[misc]
    return text


KINDS = ((EXAMPLE, _example), (CONSOLE, _console), (PYTHON, _python))


def _changed(now: str, before: str) -> str:
    """What differs from host to host stays as it was."""
    return before if comparable(now) == comparable(before) else now


def blocks(page: Path) -> Iterator[tuple[str, Callable[[re.Match[str]], str], re.Match[str]]]:
    """The blocks of a page that can be run: their first line, what runs them, and the block."""
    text = page.read_text()
    for pattern, run in KINDS:
        for match in pattern.finditer(text):
            yield match[1].split("\n")[0], run, match


def comparable(block: str) -> str:
    """The block without what differs between hosts."""
    alike = STEPS.sub("do the same: N", HOSTS.sub("HELD", block.replace(ELSEWHERE, "")))
    return re.sub(r" +", " ", RESET.sub("", RATES.sub("%", alike)))


if __name__ == "__main__":
    for page in map(Path.absolute, map(Path, sys.argv[1:])) if sys.argv[1:] else PAGES:
        before = page.read_text()
        after = refreshed(before)
        if after != before:
            page.write_text(after)
            print(f"{page.relative_to(ROOT)} written")
