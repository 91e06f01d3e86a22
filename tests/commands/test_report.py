"""`report`: a page about a stop that stands alone, made of a guest on a scripted vCPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.report_page import report_of
from kvmdbg.core.session import Session
from kvmdbg.errors import KvmdbgError, LoadError, SessionStateError
from kvmdbg.kvm import exits
from kvmdbg.machine.image import Symbol
from tests.html.reading import Page
from tests.scripted.cpu import Instruction, ScriptedCpu, Work
from tests.scripted.guest import READ, counting_guest
from tests.scripted.machine import START, ScriptedHost, profile, scripted_session

EVIL = "<script>x</script>"


def _prints(cpu: ScriptedCpu) -> Work:
    for byte in EVIL.encode():
        yield exits.IoExit("out", 0x3F8, 1, 1, bytes((byte,)))


@pytest.fixture
def evil() -> Iterator[Session]:
    """A guest that prints a script, and has one for a symbol; it halts behind its first instruction."""
    program: dict[int, tuple[int, Instruction]] = {START: (1, _prints)}
    symbols = [Symbol(EVIL, START, 2, "function", "global")]
    with scripted_session(b"\x90\xf4", host=ScriptedHost(profile(), program), symbols=symbols) as session:
        yield session


@pytest.fixture
def dbg() -> Iterator[Interpreter]:
    with counting_guest() as session:
        yield Interpreter(session)


def typed(dbg: Interpreter, *lines: str) -> str:
    return "\n".join(one.plain() for line in lines for one in dbg.execute(line))


def test_all_is_there(dbg: Interpreter, tmp_path: Path) -> None:
    typed(dbg, "display $cx", "break read if $cx == 2", "continue", "snapshot save first", "stepi")
    typed(dbg, "snapshot restore first", "stepi 2", "asm/n 0x100 nop", "catch io 0x80", "continue")
    assert typed(dbg, f"report {tmp_path}/stop.html") == f"Wrote a report of the stop to {tmp_path}/stop.html."
    made = (tmp_path / "stop.html").read_text(encoding="utf-8")
    page = Page(made)
    stop = dbg.session.last_stop
    assert stop is not None
    assert stop.describe()[1:] in page.text
    assert page.anchors == {
        "registers", "code", "stack", "backtrace", "displays", "screen", "timeline", "breakpoints", "page-walks",
        "memory", "segments", "tables", "exits", "machine",
    }  # fmt: skip
    for wanted in (
        "breakpoint 1 at 0x100e", "went back to snapshot first", "stepped 2 instructions to",  # the timeline
        "stop only if $cx == 2", "catch io", "already hit 1 time",
        "*00001015",  # a register that changed
        "<read+0x7>", "$cx = ", "paging is off", "1 byte, value 0x1c; rip 0x1013",
        "cannot read physical address 0xb8000: no memory there",
    ):  # fmt: skip
        assert wanted in page.text, wanted
    assert {"r-changed", "r-mark", "k-nf", "regs"} <= page.classes


def test_it_stands_alone(evil: Session) -> None:
    evil.run(timeout=30)
    made = evil.report().html
    page = Page(made)
    assert [one for one in page.resources if not one.startswith("#")] == []
    assert {one.removeprefix("#") for one in page.resources} == page.anchors
    assert not page.tags & {"script", "link", "iframe", "object", "base", "form"}
    assert not [one for one in page.attributes if one.startswith("on")]
    assert "default-src 'none'" in made
    assert "url(" not in made and "@import" not in made


def test_what_the_guest_wrote_and_named_is_text(evil: Session) -> None:
    evil.run(timeout=30)
    page = Page(evil.report().html)
    assert EVIL in page.text  # what it printed
    assert f"<{EVIL}+0x1>" in page.text
    assert "script" not in page.tags


def test_in_a_notebook_it_is_a_part_of_a_page(evil: Session) -> None:
    evil.run(timeout=30)
    found = Page(evil.report()._repr_html_())
    assert "Halted" in found.text
    assert not found.tags & {"html", "body", "head", "script"}


def test_before_the_first_run(dbg: Interpreter) -> None:
    page = Page(report_of(dbg).html)
    assert "The guest has not run yet." in page.text
    assert "No stop yet." in page.text


def test_one_that_cannot_be_written(dbg: Interpreter, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="cannot write"):
        typed(dbg, f"report {tmp_path}/none/stop.html")


def test_a_guest_that_is_gone(dbg: Interpreter) -> None:
    dbg.session.kill()
    with pytest.raises(SessionStateError):
        dbg.session.report()


def test_clients_of_the_stub_write_no_files(dbg: Interpreter) -> None:
    dbg.user.host_allowed = False
    with pytest.raises(KvmdbgError, match="--gdb-allow-host"):
        typed(dbg, "report stop.html")


def test_a_part_that_fails_says_why(dbg: Interpreter, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise KvmdbgError("it went <away>")

    monkeypatch.setattr("kvmdbg.commands.report_page.backtrace", fails)
    typed(dbg, "break *0x100e", "continue")
    page = Page(report_of(dbg).html)
    assert page.text.count("it went <away>") == 1
    assert hex(READ) in page.text
