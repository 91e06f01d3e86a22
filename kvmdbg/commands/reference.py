"""Writes docs/commands.md and the pages in docs/commands/ from the registry: ``python -m kvmdbg.commands.reference``.

What comes out of the examples is filled in by ``python -m tests.docs.transcripts``; `make docs` does both, and a test
fails when either is stale.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from kvmdbg.commands import catalogue, results
from kvmdbg.commands.registry import GROUPS, REGISTRY, Command

DOCS = Path(__file__).resolve().parents[2] / "docs"

GUEST = "--load 0x1000 --reg rax=2 --reg rbx=2 guests/hello16.bin"
"""The guest of examples that name no other."""

START = '$ kvmdbg -ex "set context none" '

_SESSION = re.compile(r"^```console\n.*?^```$", re.MULTILINE | re.DOTALL)

_HEAD = """\
# Commands

These pages are written from the commands themselves by `make docs`; do not edit them.

Every word of a command may be shortened as long as it stays unique (`inf reg`, `disas`); the short names that gdb
has (`b`, `c`, `s`, `n`, `x`, `p`, `i`, …) win over what else starts with them. An empty line repeats the last step or
examine and goes on after it. Lines that start with `#` are comments.

Addresses are linear unless written `phys:ADDRESS`; `SEG:OFF` and every C-like expression over registers (`$rax`),
flags (`$zf`), memory (`*(u16*)0x7c00`, `{u8}0x7c00`), symbols and variables of your own (`$name`) are accepted
wherever an address or a number is.
"""

_EXAMPLES = f"""\
What comes out of the examples is real. Where no other command line is shown, they are typed into

    {START}{GUEST}

How a breakpoint or watchpoint is held ("Held by") and rates are this host's; they differ elsewhere.
"""

_JSON_HEAD = """\
## Results as JSON

With `--json` each result and each stop is one JSON object on a line of its own, on stdout. `type` says which:
"""


def anchor(heading: str) -> str:
    """What a link to a heading ends with."""
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")


def _also(one: Command) -> str:
    parent = one.words[0] + " " if len(one.words) == 2 else ""
    return ", ".join(f"`{parent}{name}`" for name in one.aliases)


def example_text(one: Command) -> str:
    """A command's example as a session whose outputs are still to be filled in."""
    typed = [f"(kvmdbg) {line}" for example in one.examples for line in example.splitlines()]
    start = [START + one.guest] if one.guest else []
    if one.varies:
        return "\n".join(["```text", *start, *typed, "```", "", f"No output is shown: {one.varies}."])
    return "\n".join(["```console", *start, *typed, "```"])


def shown(group: str) -> list[Command]:
    """The commands of a group that have a section: what shows a setting stands in the one of what sets it."""
    return [one for one in REGISTRY.in_group(group) if one.words[0] != "show" or not REGISTRY.get(_other(one))]


def _other(one: Command) -> str:
    """The name of what shows what this command sets, or the other way round."""
    return " ".join(["show" if one.words[0] == "set" else "set", *one.words[1:]])


def command_text(one: Command) -> str:
    """One command's section."""
    usages = [one, *([REGISTRY.get(_other(one))] if one.words[0] == "set" and one.words[1:] else [])]
    lines = [f"## {one.name}", "", *(f"    {each.usage}" for each in usages if each), ""]
    if one.aliases:
        lines += [f"Also: {_also(one)}", ""]
    lines += [one.text, ""]
    if one.py:
        lines += [f"In Python: `{one.py}`", ""]
    return "\n".join([*lines, example_text(one), ""])


def _table(commands: list[Command], page: str = "") -> str:
    rows = [f"| [{one.name}]({page}#{anchor(one.name)}) | {_cell(one.summary)} |" for one in commands]
    return "\n".join(["| | |", "| --- | --- |", *rows, ""])


def _cell(text: str) -> str:
    return text.partition(". ")[0].rstrip(".").replace("|", "\\|")


def group_page(group: str) -> str:
    """The page of a group's commands."""
    commands = shown(group)
    parts = [f"# {GROUPS[group]}\n", "[All commands](../commands.md)\n", _table(commands), _EXAMPLES]
    return "\n".join([*parts, *(command_text(one) for one in commands)])


def head_page() -> str:
    """The page that leads to the others: all commands, and what their results are as JSON."""
    parts = [_HEAD]
    for group, title in GROUPS.items():
        parts += [f"## [{title}](commands/{group}.md)\n", _table(shown(group), f"commands/{group}.md")]
    return "\n".join([*parts, json_text()])


def json_text() -> str:
    """What the JSON objects mean, from the result classes."""
    lines = [_JSON_HEAD]
    kinds: list[Any] = [
        one for one in vars(results).values() if inspect.isclass(one) and isinstance(getattr(one, "kind", None), str)
    ]
    for one in kinds:
        text = " ".join(inspect.cleandoc(one.__doc__ or "").split())
        lines.append(f"- `{one.kind}`: {text}")
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """Every page as Markdown, by its file; what comes out of the examples is missing."""
    catalogue.load()
    found = {DOCS / "commands.md": head_page()}
    return found | {DOCS / "commands" / f"{group}.md": group_page(group) for group in GROUPS}


def typed(block: str) -> tuple[str, ...]:
    """What is typed in a session that a page shows, beginning with the command line where there is one."""
    lines = (line for line in block.splitlines() if line.startswith(("$ ", "(kvmdbg", "> ")))
    return tuple(re.sub(r"^(\(kvmdbg( \w+)?\)|>) ", "", line) for line in lines)


def with_outputs(text: str, before: str) -> str:
    """The page with what came out of its examples before, where they are the same."""
    known = {typed(block): block for block in _SESSION.findall(before)}
    return _SESSION.sub(lambda match: known.get(typed(match[0]), match[0]), text)


def main() -> None:
    """Write the pages, and take out those of groups that are no more."""
    found = pages()
    (DOCS / "commands").mkdir(parents=True, exist_ok=True)
    for old in set((DOCS / "commands").glob("*.md")) - set(found):
        old.unlink()
    for file, text in found.items():
        file.write_text(with_outputs(text, file.read_text() if file.exists() else ""))


if __name__ == "__main__":
    main()
