"""What the prompt offers for the line up to the cursor."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.registry import Candidate

_WORD = re.compile(r"[\w-]*$")


def offered(dbg: Interpreter, line: str) -> Iterator[Candidate]:
    """The completions; where `set fuzzy-completion on` says so also words with the typed letters further apart."""
    found = dbg.complete(line)
    yield from found
    word = _WORD.search(line)
    if not dbg.settings["fuzzy-completion"] or word is None or len(word[0]) < 2:
        return
    near = re.compile(".*?".join(map(re.escape, word[0])), re.IGNORECASE)
    seen = {one.text for one in found}
    for one in dbg.complete(line[: word.start() + 1]):
        last = one.text[max(word.start() - one.start, 0) :]
        if one.text not in seen and near.match(last):
            yield one
