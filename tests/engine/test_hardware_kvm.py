"""Which devices a guest's machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kvmdbg


def devices(path: Path, **options: Any) -> list[str]:
    with kvmdbg.open(path, load=0x7C00, mode="real", **options) as dbg:
        return [one.name for one in dbg.devices]


@pytest.mark.kvm
@pytest.mark.parametrize(("given", "count"), [({}, 1), ({"devices": ["vbe"]}, 1), ({"machine": "bare"}, 0)])
def test_a_pc_in_real_mode_has_one_vbe(tmp_path: Path, given: dict[str, Any], count: int) -> None:
    (tmp_path / "guest.bin").write_bytes(b"\xf4")
    assert devices(tmp_path / "guest.bin", **given).count("vbe") == count


@pytest.mark.kvm
def test_code_that_begins_in_another_mode_has_no_bios(tmp_path: Path) -> None:
    (tmp_path / "guest.bin").write_bytes(b"\xf4")
    with kvmdbg.open(tmp_path / "guest.bin", load=0x7C00, mode="prot") as dbg:
        assert dbg.guest.machine.bios is None
        assert "vbe" not in [one.name for one in dbg.devices]
