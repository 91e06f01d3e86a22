"""Where a virtual base of a class of C++ is, by what compilers say and by what none says."""

from __future__ import annotations

import pytest

from kvmdbg.debuginfo.classes import virtual_base

OF_GCC = "12 06 48 1c 06 22"  # the table's address, and 24 bytes before it the distance
MEMORY = {0x5000: 0x9000, 0x9000 - 24: 16}


def test_where_gcc_says_it_is() -> None:
    find = virtual_base(bytes.fromhex(OF_GCC), 8)
    assert find is not None
    assert find(lambda at, size: MEMORY[at].to_bytes(size, "little"), 0x5000) == 0x5010


@pytest.mark.parametrize("code", ["", "12 06 48 1c 06 22 22", "12 10", "12 10 80", "12 ff", "06 06 06 22", "12 23"])
def test_what_is_damaged(code: str) -> None:
    assert virtual_base(bytes.fromhex(code), 8) is None
