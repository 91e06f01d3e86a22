"""Code found by decoding ahead: nothing that is data, whatever it looks like."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvmdbg.x86.reach import Place, find, looks_like_code

LIDT = "0f011e0010"  # of 16 bits: lidt [0x1000]
DESCRIPTOR_32, DESCRIPTOR_64, DATA = "ffff0000009acf00", "ffff0000009aaf00", "ffff00000092cf00"


def memory(**pieces: str) -> Callable[[int, int], bytes]:
    """Bytes at addresses (``at_1000="90"``); nothing elsewhere."""
    found = {int(name.removeprefix("at_"), 16): bytes.fromhex(text) for name, text in pieces.items()}

    def read(address: int, size: int) -> bytes:
        for start, data in found.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""

    return read


def lidts(read: Callable[[int, int], bytes], bits: int = 16) -> dict[int, int]:
    return find(read, "lidt", [Place(0x1000, bits, protected=bits != 16)])


@pytest.mark.parametrize("prefixes", ["", "66", "2e", "2e66", "66f3"])
def test_with_prefixes(prefixes: str) -> None:
    size = 5 + len(prefixes) // 2
    assert lidts(memory(at_1000="90" + prefixes + LIDT)) == {0x1001: size}


@pytest.mark.parametrize(("bits", "code"), [(32, "670f011e0010"), (64, "480f0118"), (64, "0f011d00000000")])
def test_in_other_modes(bits: int, code: str) -> None:
    assert lidts(memory(at_1000=code), bits) == {0x1000: len(code) // 2}


def test_data_is_no_code() -> None:
    """Behind a jump, behind a return, inside of an instruction."""
    assert lidts(memory(at_1000="eb05" + LIDT + "c3" + LIDT)) == {}
    assert lidts(memory(at_1000="66b8" + LIDT[:8] + "f4")) == {}
    assert lidts(memory(at_1000="f4" + LIDT)) == {}
    assert lidts(memory(at_1000="900000" + LIDT)) == {}


def test_both_ways_of_a_branch_and_calls() -> None:
    read = memory(at_1000="7408e80b00" + LIDT + LIDT + "c3" + LIDT + "c3" + LIDT)
    assert lidts(read) == {0x1005: 5, 0x100A: 5, 0x1010: 5}


def test_a_loop_has_an_end() -> None:
    assert lidts(memory(at_1000="90ebfd")) == {}


def test_a_far_jump_of_real_mode() -> None:
    assert find(memory(at_1000="ea10000001", at_1010=LIDT), "lidt", [Place(0x1000, 16, 0, False)]) == {0x1010: 5}


def far(descriptors: str, selector: int = 8) -> Callable[[int, int], bytes]:
    """lgdt [0x2000]; mov cr0, eax; jmp selector:0x1100, where an LIDT of 32 or 64 bits lies."""
    limit = len(descriptors) // 2 - 1
    return memory(
        at_1000=f"0f01160020 0f22c0 66ea00110000{selector:02x}00",
        at_2000=limit.to_bytes(2, "little").hex() + "00300000",
        at_3000=descriptors,
        at_1100="0f011d00000000",
    )


def test_a_far_jump_to_protected_mode() -> None:
    assert lidts(far("0" * 16 + DESCRIPTOR_32)) == {0x1100: 7}
    assert lidts(far("0" * 16 + DESCRIPTOR_64)) == {0x1100: 7}
    assert lidts(far("0" * 32 + DESCRIPTOR_32, 16)) == {0x1100: 7}


@pytest.mark.parametrize("lgdt", ["0f0197002090", "0f01940020", "67660f01147500200000", "67660f01900020000090"])
def test_a_table_at_an_address_from_a_register_is_not_known(lgdt: str) -> None:
    known = far("0" * 16 + DESCRIPTOR_32)

    def read(address: int, size: int) -> bytes:
        start = bytes.fromhex(lgdt + "0f22c0 66ea001100000800")
        return start[address - 0x1000 :][:size] if 0x1000 <= address < 0x1000 + len(start) else known(address, size)

    assert lidts(read) == {}


def test_a_table_in_the_segment_that_a_far_jump_leads_to() -> None:
    code = memory(
        at_1000="ea 1000 0001",
        at_1010="2e0f01160008 0f22c0 66ea00110000 0800",
        at_1800="0f00 00300000",
        at_3000="0" * 16 + DESCRIPTOR_32,
        at_1100="0f011d00000000",
    )
    assert lidts(code) == {0x1100: 7}


def test_a_far_jump_goes_to_its_segments_base() -> None:
    code = memory(
        at_1000="0f01160020 0f22c0 66ea00110000 0b00",
        at_2000="0f00 00300000",
        at_3000="0" * 16 + "ffff0023459acf67",
        at_67453400="0f011d00000000",
    )
    assert lidts(code) == {0x67453400: 7}


def test_a_far_jump_that_leads_to_no_code() -> None:
    assert lidts(far("0" * 16 + DATA)) == {}
    assert lidts(far("0" * 16)) == {}


@pytest.mark.parametrize(
    ("before", "followed"),
    [
        ("6a08 488d0503000000 50 48cb", True),  # push 8; lea rax, [behind]; push rax; retfq
        ("6a08 48c7c010100000 50 48cb", False),  # the same with another address
        ("6a08 6810100000 48cb", False),
        ("6a08 6809100000 48cb", True),  # push 8; push behind; retfq
    ],
)
def test_a_far_return_that_loads_cs(before: str, followed: bool) -> None:
    start = bytes.fromhex(before)
    assert bool(lidts(memory(at_1000=start.hex() + "0f0118"), 64)) == followed


def test_what_looks_like_a_handler() -> None:
    for code in ("cf", "50 58 cf", "f4", "ebfe", "ff2500100000", "90" * 20):
        assert looks_like_code(bytes.fromhex(code), 32)
    for code in ("", "00" * 48, "06" + "ff" * 47, "90" + "00" * 47):
        assert not looks_like_code(bytes.fromhex(code), 32)
