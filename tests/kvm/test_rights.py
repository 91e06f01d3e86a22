"""What is said to a user who may not open /dev/kvm."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from kvmdbg.kvm.rights import advice

CHMOD = "let others open it (sudo chmod 666 /dev/kvm)"


@pytest.mark.parametrize(
    ("rights", "group", "members", "says"),
    [
        (0o660, 109, [], "add yourself to the group virt (sudo usermod -aG virt me, then log in again)"),
        (0o660, 109, ["me"], "you are in the group virt from the next login on (log in again, or newgrp virt)"),
        (0o660, 110, [], "add yourself to the group 110 (sudo usermod -aG 110 me, then log in again)"),
        (0o660, 0, [], CHMOD),
        (0o600, 109, ["me"], CHMOD),
        (0o640, 109, [], CHMOD),
    ],
)
def test_by_whose_it_is(
    rights: int, group: int, members: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getgrgid(number: int) -> grp.struct_group:
        if number != 109:
            raise KeyError(number)
        return grp.struct_group(("virt", "x", number, members))

    found = os.stat_result((0o020000 | rights, 0, 0, 1, 0, group, 0, 0, 0, 0))
    monkeypatch.setattr(os, "stat", lambda path: found)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: ("me", "x", number))
    monkeypatch.setattr(grp, "getgrgid", getgrgid)
    assert advice("/dev/kvm") == says


def test_one_that_cannot_be_looked_at(tmp_path: Path) -> None:
    assert advice(str(tmp_path / "none")) == "ask whoever looks after this host"
