"""Names of C++ and Rust behind symbols."""

from __future__ import annotations

import pytest

from kvmdbg.debuginfo.demangled import demangled, is_called, last_part

NAMES = {
    "_ZN4kern4Heap5allocEi": "kern::Heap::alloc(int)",
    "_ZL6hiddenRiRKN4kern4HeapE": "hidden(int&, kern::Heap const&)",
    "_ZNKSt6vectorIiSaIiEE4sizeEv": "std::vector<int, std::allocator<int>>::size const()",
    "_ZN5names3mem5Frame4bump17h64b38ac52f88777bE": "names::mem::Frame::bump",
    "_ZN4core3str21_$LT$impl$u20$str$GT$3len17hfb5765be6a28eb87E": "core::str::<impl str>::len",
    "_Zbad": "_Zbad",
    "_Z": "_Z",
    "main": "main",
}


@pytest.mark.parametrize(("symbol", "name"), NAMES.items())
def test_names(symbol: str, name: str) -> None:
    assert demangled(symbol) == name


@pytest.mark.parametrize(
    ("symbol", "name", "meant"),
    [
        ("_ZN4kern4Heap5allocEi", "alloc", True),
        ("_ZN4kern4Heap5allocEi", "Heap::alloc", True),
        ("_ZN4kern4Heap5allocEi", "kern::Heap::alloc(int)", True),
        ("_ZN4kern4Heap5allocEi", "eap::alloc", False),
        ("_ZN4kern4Heap5allocEi", "alloc(long)", False),
        ("_ZL6hiddenRiRKN4kern4HeapE", "hidden(int &, kern::Heap const &)", True),
        ("alloc", "alloc", False),
    ],
)
def test_what_a_user_means(symbol: str, name: str, meant: bool) -> None:
    assert is_called(symbol, name) == meant


def test_the_own_name() -> None:
    assert [last_part(one) for one in ("a::b(int)", "f", "v<int>::g(a::b)")] == ["b", "f", "v"]
