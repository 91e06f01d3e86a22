"""Words of gdb's behind commands that kvmdbg has, too, but without these words: what to type instead.

They are looked at only where a line was refused: a symbol may be called ``thread``.
"""

from __future__ import annotations

import re

_POINTS = r"(t|h|th)?break"
_IN_FRONT = "only run and continue take &: {} alone waits for the stop, tbreak PLACE and continue & do not"

_INSTEAD: tuple[tuple[str, str, str], ...] = (
    (_POINTS, r".*\b(thread|task|inferior)\s+\S+.*", "a breakpoint is for all vCPUs: break PLACE if $_thread == N"),
    (_POINTS, r".*-force-condition\b.*", "a condition must mean something now: break PLACE if CONDITION"),
    (r"(r|a)?watch", r".*\bmask\s+\S+", "a watchpoint has a length in place of a mask: watch ADDRESS LENGTH"),
    (r"(r|a)?watch", r".*\b(thread|task)\s+\S+", "a watchpoint is for all vCPUs: watch ADDRESS if $_thread == N"),
    ("continue", r"-a\b.*", "all vCPUs go on together: continue"),
    ("source", r"-[vs]\b.*", "source takes a FILE only; set trace-commands on, before it, shows each command"),
    (r"stepi?|nexti?|finish|until|advance", r".*&", _IN_FRONT),
    (r"print|call|output|display", r"-r\s.*", "-r may be -raw-values or -repeats: print -repeats 5 -- EXPRESSION"),
)
"""The command, what is behind it, and the sentence; ``{}`` in it is the command."""


def instead(command: str, rest: str) -> str:
    """What to type in place of a refused line, "" where nothing is known of it."""
    for name, words, sentence in _INSTEAD:
        if re.fullmatch(name, command) and re.fullmatch(words, rest.strip()):
            return f"{command}: {sentence.format(command)}"
    return ""
