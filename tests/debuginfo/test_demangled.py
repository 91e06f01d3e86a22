"""Names of C++ and Rust behind symbols."""

from __future__ import annotations

import pytest

from kvmdbg.debuginfo.demangled import demangled, is_called, is_exactly, last_part

NAMES = {
    "_ZN4kern4Heap5allocEi": "kern::Heap::alloc(int)",
    "_ZL6hiddenRiRKN4kern4HeapE": "hidden(int&, kern::Heap const&)",
    "_ZNKSt6vectorIiSaIiEE4sizeEv": "std::vector<int, std::allocator<int>>::size() const",
    "_ZN12_GLOBAL__N_11fEi": "(anonymous namespace)::f(int)",
    "_Z7biggestIiET_S0_S0_": "biggest<int>(int, int)",
    "_ZN5ArrayIiLi3EEC1Ev": "Array<int, 3>::Array()",
    "_ZN4InitD0Ev": "Init::~Init()",
    "_ZNK3VeccviEv": "Vec::operator int() const",
    "_ZN3VecclEi": "Vec::operator()(int)",
    "_ZTV5ArrayIiLi3EE": "vtable for Array<int, 3>",
    "_ZN5names3mem5Frame4bump17h64b38ac52f88777bE": "names::mem::Frame::bump",
    "_ZN4core3str21_$LT$impl$u20$str$GT$3len17hfb5765be6a28eb87E": "core::str::<impl str>::len",
    "_Z4bothDv4_iS_PDv2_d": "both(int __vector(4), int __vector(4), double __vector(2)*)",
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
        ("_Z10overloadedPKc", "overloaded(const char *)", True),
        ("_Z10overloadedPKc", "overloaded(int)", False),
        ("_ZNK4Base5plainEv", "Base::plain()", True),
        ("_ZN12_GLOBAL__N_11fEi", "(anonymous namespace)::f(int)", True),
        ("_ZN12_GLOBAL__N_11fEi", "f", True),
        ("_ZN3VecclEi", "Vec::operator()", True),
        ("_ZltRK3VecS1_", "operator<", True),
        ("_ZltRK3VecS1_", "operator<<", False),
        ("alloc", "alloc", False),
    ],
)
def test_what_a_user_means(symbol: str, name: str, meant: bool) -> None:
    assert is_called(symbol, name) == meant


def test_a_name_with_all_its_scopes() -> None:
    assert is_exactly("_ZNK4Base5plainEv", "Base::plain")
    assert not is_exactly("_ZNK4Base5plainEv", "plain")
    assert is_exactly("_ZN12_GLOBAL__N_11fEi", "f")


def test_the_own_name() -> None:
    assert [last_part(one) for one in ("a::b(int)", "f", "v<int>::g(a::b)")] == ["b", "f", "v"]


def test_a_short_symbol_for_a_name_without_end() -> None:
    """Each type is two of the one before: S0_ is A<int, int>, S1_ A<S0_, S0_>, and so on."""
    symbol = "_Z1f1AIiiE" + "".join(f"S_IS{at}_S{at}_E" for at in "0123456789ABCDEFGHIJKLMNOP")
    assert demangled(symbol) == symbol
    assert demangled("_Z1f1AIiiES_IS0_S0_E") == "f(A<int, int>, A<A<int, int>, A<int, int>>)"


@pytest.mark.parametrize(
    ("written", "shown"),
    [("5$ue9$", "\xe9"), ("9$uffffff$", "$uffffff$"), ("7$ud800$", "$ud800$"), ("5$u1b$", "$u1b$")],
)
def test_characters_that_rustc_has_written_as_numbers(written: str, shown: str) -> None:
    assert demangled(f"_ZN4core{written}17h0123456789abcdefE") == f"core::{shown}"
