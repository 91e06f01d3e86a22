"""Which program shows long output."""

from __future__ import annotations

import pytest

from kvmdbg.ui import pager


def test_a_pager_that_is_no_command_line_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "")
    usual = pager.command()
    monkeypatch.setenv("PAGER", "less 'of a quotation that does not end")
    assert pager.command() == usual
