"""Reports of guests on KVM: what killed one, what another shows on its screen."""

from __future__ import annotations

import pytest

from kvmdbg.devices.vga import Vga
from kvmdbg.pytest_plugin import Guests
from tests.html.reading import Page

pytestmark = pytest.mark.kvm


def test_why_the_guest_died(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov al, 60; out 0x80, al; lidt [idtr]; dies: ud2; idtr: .word 0; .long 0", mode="prot")
    stop = dbg.run(timeout=30)
    assert stop.reason == "shutdown"
    page = Page(dbg.report().html)
    assert "why" in page.anchors
    assert "raised #UD" in page.text
    assert "the CPU shut down." in page.text
    assert "out port 0x80, 1 byte, value 0x3c" in page.text
    assert "bad" in page.classes


def test_the_screen_has_its_colours(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov ax, 0xb800; mov es, ax; xor di, di; mov ax, 0x1e3c; stosw; hlt")
    dbg.run(timeout=30)
    made = dbg.report().html
    assert 'color:#ffff55;background:#0000aa">&lt;' in made
    assert not [one for one in Page(made).resources if not one.startswith("#")]


def test_a_picture_is_embedded(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt")
    next(one for one in dbg.devices if isinstance(one, Vga)).set_mode(0x13)
    images = [one for one in Page(dbg.report().html).resources if one.startswith("data:image/png;base64,iVBOR")]
    assert len(images) == 1


def test_exits_that_were_traced(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov al, 7; out 0x80, al; hlt")
    dbg.trace_exits("io", show=lambda seen: None)
    dbg.run(timeout=30)
    assert "Exits that were traced" in Page(dbg.report().html).text


def test_page_walks_and_tables(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="mov rax, cr3; hlt", mode="long")
    dbg.run(timeout=30)
    text = Page(dbg.report().html).text
    for wanted in ("PML4E", "PDPTE", "64-bit code", "LME LMA"):
        assert wanted in text, wanted
