"""What lists of names take: [-q] [-n] [-t TYPE] [--] [REGEX], as gdb's info functions, variables, locals, args do."""

from __future__ import annotations

import re

from kvmdbg.errors import UsageError
from kvmdbg.numbers import compiled
from kvmdbg.record import record
from kvmdbg.regex import Regex


@record
class Chosen:
    """``name`` and ``type`` are regular expressions, typed as ``text`` and ``type_text``; ``quiet``: nothing is said
    where none match; ``debug_only``: no symbols that debug information does not know."""

    name: Regex[str]
    type: Regex[str] | None
    quiet: bool
    debug_only: bool
    text: str
    type_text: str

    def takes(self, name: str, type: str) -> bool:
        """Whether this one is meant."""
        return bool(self.name.search(name)) and (self.type is None or bool(self.type.search(type)))


def chosen_by(text: str, flags: str = "qt") -> Chosen:
    """What the options and the regular expression choose. UsageError for an option that is none of ``flags``."""
    quiet, debug_only, type_, type_text = False, False, None, ""
    while match := re.match(r"-(-|[a-z]+)(?=\s|$)\s*", text):
        text = text[match.end() :]
        if match[1] == "-":
            break
        if match[1] not in flags:
            raise UsageError(f"-{match[1]} is none of {', '.join(f'-{flag}' for flag in flags)}")
        quiet, debug_only = quiet or match[1] == "q", debug_only or match[1] == "n"
        if match[1] == "t":
            word = re.match(r"(\"[^\"]*\"|'[^']*'|\S+)\s*", text)
            if word is None:
                raise UsageError("-t needs a TYPE")
            type_text, text = word[1].strip("\"'"), text[word.end() :]
            type_ = compiled(type_text)
    return Chosen(compiled(text.strip()), type_, quiet, debug_only, text.strip(), type_text)
