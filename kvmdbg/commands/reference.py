"""Writes docs/commands.md from the registry: ``python -m kvmdbg.commands.reference``; a test fails when it is stale."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from kvmdbg.commands import catalogue, results
from kvmdbg.commands.registry import GROUPS, REGISTRY, Command

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"

_HEAD = """\
# Commands

This page is written by `python -m kvmdbg.commands.reference` from the commands themselves; do not edit it.

Every word of a command may be shortened as long as it stays unique (`inf reg`, `disas`); the short names that gdb
has (`b`, `c`, `s`, `n`, `x`, `p`, `i`, …) win over what else starts with them. An empty line repeats the last step or
examine and goes on after it. Lines that start with `#` are comments.

Addresses are linear unless written `phys:ADDRESS`; `SEG:OFF` and every C-like expression over registers (`$rax`),
flags (`$zf`), memory (`*(u16*)0x7c00`, `{u8}0x7c00`), symbols and variables of your own (`$name`) are accepted
wherever an address or a number is.
"""

_JSON_HEAD = """\
## Results as JSON

With `--json` each result and each stop is one JSON object on a line of its own, on stdout. `type` says which:
"""


def _slug(name: str) -> str:
    return re.sub(r"[^\w -]", "", name).replace(" ", "-")


def command_text(one: Command) -> str:
    """One command's section."""
    parent = one.words[0] + " " if len(one.words) == 2 else ""
    lines = [f"### {one.name}", "", f"    {one.usage}", ""]
    if one.aliases:
        lines += ["Also: " + ", ".join(f"`{parent}{name}`" for name in one.aliases), ""]
    lines += [one.text, ""]
    if one.py:
        lines += [f"In Python: `{one.py}`", ""]
    lines += ["Example:", "", "```", *one.examples, "```", ""]
    return "\n".join(lines)


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


def page() -> str:
    """The whole page as Markdown."""
    catalogue.load()
    parts = [_HEAD]
    parts.append("\n".join(f"- [{title}](#{_slug(title.lower())})" for title in GROUPS.values()) + "\n")
    for group, title in GROUPS.items():
        parts.append(f"## {title}\n")
        parts += [command_text(one) for one in REGISTRY.in_group(group)]
    parts.append(json_text())
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
