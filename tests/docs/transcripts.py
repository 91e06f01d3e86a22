"""The sessions shown in README.md and docs/, made from real ones.

A block that starts with ```` ```console ```` and ``$ kvmdbg ...`` is a session: what its prompts
are given is typed into a debugger on that guest, and the rest of the block is what comes out. With ``--batch`` in its
command line it is a run of the program. A ```` ```python ```` block is run, and the ```` ```text ```` block after it is
what it prints.

    python -m tests.docs.transcripts        writes the outputs anew (`make docs`)
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from kvmdbg import cli
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.results import Text
from kvmdbg.errors import KvmdbgError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
WIDTH = 100

CONSOLE = re.compile(r"^```console\n(\$ kvmdbg .*?)^```\n", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```\n(\n```text\n)(.*?)^```\n", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"\(kvmdbg \w+\) ?|> ")
# How a point is held, and what KVM calls itself, differ from host to host.
RATES = re.compile(r"% +(?:-|[\d,]+)$", re.MULTILINE)
HOSTS = re.compile(r"debug register|(?:int1|int3|hlt) trap(?: \(CPL 0 only on this KVM\))?|page read-only|stepping")


def session(command: str, typed: list[str]) -> str:
    """What is on the screen when these lines are typed into ``command``'s shell."""
    options = cli.parser().parse_args(shlex.split(command)[2:])
    out: list[str] = []
    with cli.open_session(options) as opened:
        dbg = Interpreter(opened)
        dbg.width = lambda: WIDTH
        opened.listeners.on_output(lambda data: out.append(data.decode()))

        def run(line: str, more: Callable[[], str | None]) -> None:
            try:
                for result in dbg.execute(line, more):
                    if "".join(out)[-1:] not in ("", "\n") and not isinstance(result, Text):
                        out.append("\n")
                    out.append(result.plain(WIDTH) + ("" if isinstance(result, Text) else "\n"))
            except KvmdbgError as error:
                out.append(f"{error}\n")
            if "".join(out)[-1:] not in ("", "\n"):
                out.append("\n")

        for _, line in options.commands or []:
            run(line, lambda: None)
        lines = iter(typed)

        def more() -> str | None:
            line = next(lines, None)
            out.append(f"> {line}\n")
            return line

        for line in lines:
            state = opened.vcpu.mode.name if opened.state == "stopped" else opened.state
            out.append(f"(kvmdbg {state}) {line}\n")
            run(line, more)
    return "".join(out)


def program(command: str) -> str:
    """What a run of the program prints on both streams."""
    words = shlex.split(command)[2:]
    done = subprocess.run(
        [sys.executable, "-m", "kvmdbg", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    return done.stdout.decode()


def _console(match: re.Match[str]) -> str:
    lines = match[1].split("\n")
    command = lines[0]
    if "--batch" in command:
        output = program(command)
    else:
        typed = [PROMPT.sub("", line, count=1) for line in lines[1:] if PROMPT.match(line)]
        output = session(command, typed)
    return f"```console\n{command}\n{output}```\n"


def _python(match: re.Match[str]) -> str:
    done = subprocess.run([sys.executable, "-"], cwd=ROOT, input=match[1].encode(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return f"```python\n{match[1]}```\n{match[2]}{done.stdout.decode()}```\n"


def refreshed(text: str) -> str:
    """The page with the outputs as they are now."""
    return PYTHON.sub(_python, CONSOLE.sub(_console, text))


def blocks(page: Path) -> Iterator[tuple[str, Callable[[re.Match[str]], str], re.Match[str]]]:
    """The blocks of a page that can be run: their first line, what runs them, and the block."""
    text = page.read_text()
    for pattern, run in ((CONSOLE, _console), (PYTHON, _python)):
        for match in pattern.finditer(text):
            yield match[1].split("\n")[0], run, match


def comparable(block: str) -> str:
    """The block without what differs between hosts."""
    return re.sub(r" +", " ", RATES.sub("%", HOSTS.sub("HELD", block)))


if __name__ == "__main__":
    for page in PAGES:
        before = page.read_text()
        after = refreshed(before)
        if after != before:
            page.write_text(after)
            print(f"{page.relative_to(ROOT)} written")
