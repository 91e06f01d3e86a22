"""The page about the packets, made from the registry.

python -m gdbstub.reference FILE
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from gdbstub import packets, registry

_HEAD = """\
# Packets

What gdbstub answers, made from its registry by `make docs`. A packet that needs a capability is unknown (the empty
reply) where the target lacks it. The packets themselves are described in the gdb manual, appendix "Remote Protocol",
and for lldb in `lldb-gdb-remote.txt` of its sources.
"""


def page() -> str:
    """The whole page as Markdown."""
    packets.load()
    parts = [_HEAD]
    for name in packets.MODULES:
        module = import_module(f"gdbstub.packets.{name}")
        title = (module.__doc__ or "").split("\n", maxsplit=1)[0].rstrip(".")
        parts.append(f"## {title}\n")
        parts.append("| packet | needs | what it does here |\n| --- | --- | --- |")
        for one in registry.PACKETS.values():
            if one.function.__module__ == module.__name__:
                needs = one.needs.__name__ if one.needs else ""
                text = " ".join((one.function.__doc__ or "").split()).replace("|", "\\|")
                parts.append(f"| `{one.name}` | {needs} | {text} |")
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
