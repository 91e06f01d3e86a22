"""What notebooks show of a session's values, without a notebook: each one's ``_repr_html_``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kvmdbg.core.session import Session
from kvmdbg.debuginfo.backtrace import Backtrace, Frame
from kvmdbg.devices.display import Picture
from kvmdbg.engine.stops import ShutdownStop
from kvmdbg.faces import InNotebooks, Listed
from kvmdbg.observe.autopsy import Autopsy
from kvmdbg.x86.paging import Mapping, Walk, WalkEntry
from tests.html.reading import Page
from tests.scripted.guest import READ, counting_guest


@pytest.fixture
def dbg() -> Iterator[Session]:
    with counting_guest() as session:
        session.break_at(READ, when="$cx == 2")
        session.run(timeout=30)
        yield session


def seen(value: Any) -> Page:
    made = value._repr_html_()
    page = Page(made)
    assert not page.tags & {"html", "body", "script"}
    assert [one for one in page.resources if not one.startswith("data:")] == []
    return page


def test_a_stop(dbg: Session) -> None:
    page = seen(dbg.last_stop)
    assert "Breakpoint 1 at 0x100e." in page.text
    assert "numbers1" in page.text


def test_what_killed_the_guest() -> None:
    autopsy = Autopsy("it died.", ("first <this>", "then that"), ((0x1000, "mov eax, 0x10"),), ("out port 0x80",))
    page = seen(ShutdownStop(vcpu=0, pc=0x1000, autopsy=autopsy))
    assert "first <this>then that" in page.text
    assert "mov eax, 0x10" in page.text
    assert "out port 0x80" in page.text
    assert {"bad", "k-nf"} <= page.classes


def test_registers(dbg: Session) -> None:
    page = seen(dbg.regs)
    assert "rcx  *0000000000000002" in page.text
    assert "cs" in page.text
    assert "IOPL=0" in page.text


def test_disassembly(dbg: Session) -> None:
    page = seen(dbg.disassemble(READ, 3))
    assert "in      al, 0x64" in page.text
    assert "k-nf" in page.classes


def test_mappings_and_walks(dbg: Session) -> None:
    assert "0x2fff" in seen(Listed([Mapping(0x1000, 0x5000, 0x2000, True, False, False)])).text
    entry = WalkEntry(1, "PTE", 0x3000, 1, 0x5003, 8)
    page = seen(Walk(0x1000, 0x5000, (entry,), 4096, True, False, True))
    assert "PTE0x300010x5003" in page.text
    assert "writable, executable" in page.text
    assert "paging is off" in seen(dbg.translate(READ)).text
    assert seen(Listed()).text == "Nothing."


def test_a_backtrace() -> None:
    page = seen(Backtrace((Frame(0, 0x1000, 0x7000, "cfi", name="<main>"),), "outermost"))
    assert "#00x1000<main>0x7000cfi" in page.text
    assert "(outermost)" in page.text


def test_a_picture() -> None:
    page = seen(Picture(2, 1, b"\0\1", ((0, 0, 0), (255, 255, 255))))
    assert page.resources[0].startswith("data:image/png;base64,iVBOR")


def test_lists_stay_lists(dbg: Session) -> None:
    found = dbg.disassemble(READ, 2)
    assert found == list(found)
    assert isinstance(found, InNotebooks)
