"""Watchpoints on bit fields: the bytes that hold them are watched. An address that is their value was offered."""

from __future__ import annotations

import pytest

from tests.programs.conftest import Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]


@pytest.mark.parametrize(
    ("field", "condition", "where", "after"),
    [
        ("bits.a", "($old ^ $new) & 7", "1 byte at 0x", "bits.a = 5;"),
        ("p->a", "($old ^ $new) & 7", "1 byte at 0x", "bits.a = 5;"),
        ("bits.b", "", "1 byte at 0x", "bits.b = 3;"),
        ("bits.c", "", "5 bytes at 0x", ""),
        ("local.a", "$new == 2", "1 byte at 0x", "local.a = 2;"),
        ("bits.whole", "", "1 byte at 0x", "bits.whole = 9;"),
    ],
)
def test_the_bytes_of_a_field_are_watched(debug: Open, field: str, condition: str, where: str, after: str) -> None:
    dbg = debug("bit_fields.c", flags="-mgeneral-regs-only", bits=64)
    dbg.typed("break kmain", "run", "next", "delete")
    said = dbg.typed(f"watch {field}" + (f" if {condition}" if condition else ""))
    assert f": {field}, {where}" in said
    stop = dbg.typed("continue")
    assert stop.startswith("Watchpoint 2: write of" if after else "Halted")
    if not after:
        return
    written = dbg.session.source.at(dbg.session.vcpu.pc - 1)
    assert written is not None
    text = dbg.session.source.text(written.file)
    assert after in text[written.line - 1]


def test_one_that_shares_its_bytes_says_so(debug: Open) -> None:
    dbg = debug("bit_fields.c", flags="-mgeneral-regs-only", bits=64)
    assert dbg.typed("watch bits.a").endswith("Other bits are there, too: if ($old ^ $new) & 0x7 leaves them out.")
    assert "Other bits" not in dbg.typed("watch bits.whole", "watch bits.c", "watch bits.b if $new")
