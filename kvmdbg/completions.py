"""``kvmdbg completions SHELL``: the completion of kvmdbg's own options, as a script for bash, zsh or fish.

shtab makes it of the parser; what it cannot know is said here: which options take files, the devices and formats that
there are, and the words that come in an image's place.
"""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser

from kvmdbg import demo, devices, loaders  # noqa: F401  the modules of the last two make themselves known
from kvmdbg.devices import registry as device_registry
from kvmdbg.loaders import registry as loader_registry

SHELLS = ("bash", "zsh", "fish")
COMMANDS = {
    "demo": "open a guest that comes with kvmdbg",
    "check": "run the guests of a folder and check what they print",
    "lockstep": "run a guest on both engines and compare them",
    "completions": "print a script like this one",
}
"""Words that come in an image's place."""
FILES = frozenset(
    "args bios cdrom commands disk disks floppy floppies fw_cfg guest initrd modules scripts symbols".split()
)
"""Options whose values are files, or begin with one, by where the parser puts them."""

HELP = """\
usage: kvmdbg completions bash|zsh|fish

Print a script that completes kvmdbg's options in that shell. To have it in each:
  bash  kvmdbg completions bash > ~/.local/share/bash-completion/completions/kvmdbg
  zsh   kvmdbg completions zsh > DIR/_kvmdbg, where DIR is one of $fpath
  fish  kvmdbg completions fish > ~/.config/fish/completions/kvmdbg.fish
"""

PREAMBLE = {
    "bash": """
_kvmdbg_guest() {{ compgen -W "{commands}" -- "$1"; compgen -f -- "$1"; }}
_kvmdbg_args() {{
  case "${{COMP_WORDS[1]}}" in
    demo) compgen -W "{demos}" -- "$1" ;;
    completions) compgen -W "{shells}" -- "$1" ;;
    *) compgen -f -- "$1" ;;
  esac
}}
""",
    "zsh": """
_kvmdbg_guest() {{ compadd {commands}; _files }}
_kvmdbg_args() {{
  case "$words[2]" in
    demo) compadd {demos} ;;
    completions) compadd {shells} ;;
    *) _files ;;
  esac
}}
""",
    "fish": """
function _kvmdbg_guest
  printf '%s\\t%s\\n' {commands}
  __fish_complete_path (commandline -ct)
end
function _kvmdbg_args
  switch (commandline -opc)[2]
    case demo
      printf '%s\\t%s\\n' {demos}
    case completions
      printf '%s\\t\\n' {shells}
    case '*'
      __fish_complete_path (commandline -ct)
  end
end
""",
}


def script(parser: ArgumentParser, shell: str) -> str:
    """The script; the parser is changed for it."""
    import shtab

    for action in parser._actions:
        if action.dest in ("guest", "args"):
            name = f"_kvmdbg_{action.dest}"
            action.complete = {"bash": name, "zsh": name, "fish": f"({name})"}  # type: ignore[attr-defined]
        elif action.dest == "device":
            action.choices = [*device_registry.known(), "help"]
        elif action.dest == "format":
            action.choices = list(loader_registry.formats())
        elif action.dest in FILES and "-ex" not in action.option_strings:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    demos = {"--list": "name them all", **{one.name: one.what for one in demo.DEMOS}}
    words = {
        name: " ".join(f"{word} {shlex.quote(text)}" if shell == "fish" else word for word, text in found.items())
        for name, found in (("commands", COMMANDS), ("demos", demos))
    }
    text: str = shtab.complete(parser, shell, preamble=PREAMBLE[shell].format(**words, shells=" ".join(SHELLS)))
    if shell == "fish":  # -ex is one option, not two
        text = re.sub(r" -s (\w\w+)", r" -o \1", text)
    return text if text.endswith("\n") else f"{text}\n"
