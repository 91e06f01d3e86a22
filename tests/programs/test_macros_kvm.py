"""Macros of the source, which expressions do not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import run
from tests.programs.conftest import Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SOURCE = """\
#define ONE 1
#define ADDED(a, b) ((a) + (b))
int kmain(void) { return ONE; }
"""


def test_an_unknown_name_that_is_a_macro_is_told_with_its_definition(debug: Open, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(SOURCE)
    flags = "-g3 -w -ffreestanding -nostdlib -static -Wl,-e,kmain -Wl,-Ttext=0x100000 -Wl,--build-id=none -o a.elf a.c"
    run(tmp_path, "gcc", *flags.split())
    dbg = debug(path=tmp_path / "a.elf")
    assert "it is a macro, which expressions do not know: ONE 1" in dbg.typed("print ONE + 1")
    for line in ("print ADDED(1, 2)", "whatis ADDED", "x/x ADDED", "break ADDED"):
        assert "which expressions do not know: ADDED(a,b) ((a) + (b))" in dbg.typed(line)
    assert "macro" not in dbg.typed("print OTHER")
