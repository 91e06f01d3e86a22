"""Types that are met again while they are being read."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from tests.programs import run

SOURCE = """
struct later { struct later *const next; struct later *volatile const *rows; } later;
void reads(struct later *given) { given = given; }
void _start(void) { reads(&later); for (;;); }
"""


@pytest.mark.kvm
def test_a_qualified_pointer_to_the_class_that_has_it(tmp_path: Path) -> None:
    """Read by a pointer first, as the arguments of the function that runs are."""
    (tmp_path / "later.c").write_text(SOURCE)
    run(tmp_path, *"gcc -g -O0 -ffreestanding -nostdlib -static -no-pie -fno-pie -o later.elf later.c".split())
    with kvmdbg.open(tmp_path / "later.elf", memory="16M") as session:
        session.break_at("reads")
        session.run()
        assert session.locals() == {} and list(session.arguments()) == ["given"]
        assert session.evaluate("given->next").type.name == "struct later * const"
        assert session.evaluate("given->rows").type.name == "struct later * const volatile *"
