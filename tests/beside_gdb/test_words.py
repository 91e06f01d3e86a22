"""The words and the settings of the gdb that is here: each is taken, or refused with what to type."""

from __future__ import annotations

import re
import subprocess

import pytest

from kvmdbg.commands import catalogue, of_others
from kvmdbg.commands.gdb_settings import KEPT
from kvmdbg.commands.registry import REGISTRY
from kvmdbg.errors import UsageError
from tests.e2e.debuggers import GDBS, TIME_SCALE

pytestmark = pytest.mark.e2e
IN_ONE_SENTENCE = ("guile", "gu ", "maint", "mt ", "set ", "show ", "unset ", "target ", "function ", "monitor")
"""Groups of which the first word says it for all."""


def _said(*lines: str) -> str:
    words = [word for line in lines for word in ("-ex", line)]
    gdb = [GDBS["distribution"], "-nx", "-batch", *words]
    return subprocess.run(gdb, capture_output=True, text=True, check=True, timeout=60 * TIME_SCALE).stdout


def _known(line: str) -> bool:
    """Whether the whole line is a command, or a word of which it is said what to type."""
    try:
        if of_others.lines(line, lambda parent, name: name in REGISTRY.names(parent), NO_MEMORY) != [line]:
            return True
    except UsageError:
        return True
    try:
        return not REGISTRY.resolve(line).rest.strip() or line.split()[0] in TAKE_WORDS
    except UsageError:
        return False


class NoMemory:
    """A guest without any."""

    slots = ()


NO_MEMORY = NoMemory()
TAKE_WORDS = ("frame", "select-frame", "info", "thread", "dump", "append", "tcatch")
"""Their words are told apart by the command."""


def test_each_command_of_gdbs_is_known() -> None:
    catalogue.load()
    found = set()
    for line in _said("help all").splitlines():
        if (match := re.match(r"([a-z!|][\w ,+.!|-]*?) -- ", line)) is not None:
            found |= {name for name in match[1].split(", ") if not name.startswith(IN_ONE_SENTENCE)}
    assert len(found) > 400
    assert sorted(name for name in found if not _known(name)) == []


def test_what_is_refused_of_settings_is_what_gdb_calls_them() -> None:
    for name in KEPT:
        assert "Undefined" not in _said(f"help set {name}"), name
