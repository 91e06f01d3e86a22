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
    near = re.compile(".*?".join(map(re.escape, word[0])), re.IGNORECASE)
    seen = {one.text for one in found}
    for one in dbg.complete(line[: word.start() + 1]):
        last = one.text[max(word.start() - one.start, 0) :]
        if one.text not in seen and near.match(last):
            yield one


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
