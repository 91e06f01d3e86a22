"""What the prompt offers for the line up to the cursor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.registry import Candidate

if TYPE_CHECKING:
    from prompt_toolkit.auto_suggest import AutoSuggest
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.enums import EditingMode

_WORD = re.compile(r"[\w-]*$")


def offered(dbg: Interpreter, line: str) -> Iterator[Candidate]:
    """The completions; where `set fuzzy-completion on` says so also words with the typed letters further apart."""
    found = dbg.complete(line)
    yield from found
    word = _WORD.search(line)
    if not dbg.settings["fuzzy-completion"] or word is None or len(word[0]) < 2:
        return
    seen = {one.text for one in found}
    for one in dbg.complete(line[: word.start() + 1]):
        last = one.text[max(word.start() - one.start, 0) :]
        if one.text not in seen and _has_in_turn(last.lower(), word[0].lower()):
            yield one


def _has_in_turn(text: str, letters: str) -> bool:
    """Whether all ``letters`` are in a text, one behind the other, the first at its start."""
    rest = iter(text)
    return text[:1] == letters[:1] and all(letter in rest for letter in letters)


def completer(dbg: Interpreter) -> Completer:
    """The same for prompt_toolkit."""
    from prompt_toolkit.completion import Completer, Completion

    class Words(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
            line = document.text_before_cursor
            for one in offered(dbg, line):
                yield Completion(one.text, one.start - len(line), display_meta=one.description)

    return Words()


def suggestions(dbg: Interpreter) -> AutoSuggest:
    """The rest of an earlier line that began so, where `set suggestions on` says so."""
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory, ConditionalAutoSuggest
    from prompt_toolkit.filters import Condition

    return ConditionalAutoSuggest(AutoSuggestFromHistory(), Condition(lambda: bool(dbg.settings["suggestions"])))


def editing_mode(dbg: Interpreter) -> EditingMode:
    """Whose keys edit the line."""
    from prompt_toolkit.enums import EditingMode

    return EditingMode.VI if dbg.settings["editing-mode"] == "vi" else EditingMode.EMACS
