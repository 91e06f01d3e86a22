"""Names of C++ and Rust behind symbols."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.debuginfo.demangled import demangled, is_called, is_exactly, last_part

NAMES = {
    "_ZN4kern4Heap5allocEi": "kern::Heap::alloc(int)",
    "_ZL6hiddenRiRKN4kern4HeapE": "hidden(int&, kern::Heap const&)",
    "_ZNKSt6vectorIiSaIiEE4sizeEv": "std::vector<int, std::allocator<int> >::size() const",
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
    "_ZZ4takeiENKUlPiE_clES_": "take(int)::{lambda(int*)#1}::operator()(int*) const",
    "_Z5applyIZ4takeiEUlPiE0_EiT_": "apply<take(int)::{lambda(int*)#2}>(take(int)::{lambda(int*)#2})",
    "_ZZ1fvE5count": "f()::count",
    "_ZNK1VIiEcvT_IcEEv": "_ZNK1VIiEcvT_IcEEv",
    "_ZNK1VIiEcvT_Ev": "V<int>::operator int() const",
    "_Zbad": "_Zbad",
    "_Z": "_Z",
    "main": "main",
}


MORE = """_ZZ4takeiENUlPiE_4_FUNES_ _ZZN1S1mEiENKUlPiPKcE_clES0_S2_ _Z1fPFivE _ZN1AC1Ev _ZN1AD0Ev _ZTI1A _ZTS1A
    _Z1fM1AFivE
    _Z1fA10_i _Z1fPA10_A3_i _Z1fRA3_KiOS_ _ZplRK1AS1_ _ZN1AcvbEv _ZNKR1A3fooEv _ZNO1A3fooEv _Z1fDn _Z1fIJicfEEvDpT_
    _Z1fIJEEvDpT_ _ZGVZ1fvE1x _ZZ1fvEs _ZZ1fvE1x_0 _ZN1AB5cxx11C1Ev _Z1fu3foo _Z1fz _Z1fILi3EEvv _Z1fILin3ELb1ELc65EEvv
    _ZSt4cout _ZNSs6appendEPKc _ZThn16_N1A1fEv _ZTv0_n24_N1A1fEv _ZTC1D0_2VB _ZN1AltERKS_ _Zli2_wPKc _Z1fIXadL_Z1gvEEEvv
    _ZNSt3mapIiSsSt4lessIiESaISt4pairIKiSsEEEixERS3_ _Z1fIRA3_KcEvOT_ _Z1fM1AKFivEPVKi _Z1fIFivEEvPT_ _ZnwmPv _ZdaPv
    _ZN1A1BIiE1CIcE1fES3_ _Z1fDF16_ _Z1fCfCd _Z1fv.part.0 _ZN1A1xE _ZN1AILi1EE1xE
    _ZNSt8functionIFbiEE4swapERS1_ _Z1fIJPiRcEEvDpOT_ _ZTW1x _ZTH1x""".split()


def in_c_filts_words(symbols: list[str]) -> dict[str, str]:
    done = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True, timeout=60)
    return dict(zip(symbols, done.stdout.splitlines(), strict=True))


@pytest.mark.e2e
def test_names_are_those_of_binutils() -> None:
    """But for the types that templates return, which are left out."""
    library = subprocess.run(["gcc", "-print-file-name=libstdc++.so.6"], capture_output=True, text=True, check=True)
    listed = subprocess.run(["nm", "-D", library.stdout.strip()], capture_output=True, text=True, check=True).stdout
    symbols = sorted({row.split()[-1].partition("@")[0] for row in listed.splitlines() if " _Z" in row})
    found = {symbol: demangled(symbol) for symbol in [*MORE, *symbols]}
    unread = [symbol for symbol in found if found[symbol] == symbol and not symbol.startswith("_ZGTt")]
    expected = in_c_filts_words(list(found))
    different = [one for one in found if one not in unread and not f" {expected[one]}".endswith(f" {found[one]}")]
    assert [one for one in different if not one.startswith("_ZGTt")] == []
    assert not set(unread) & set(MORE) and len(unread) < len(found) / 100 and len(found) > 5000


@given(st.sampled_from([*NAMES, *MORE]), st.integers(2, 60), st.text("_ZNKSIEJDpTLFAPR012avdC", max_size=6))
def test_any_symbol_is_read_or_stays_as_it_is(symbol: str, at: int, more: str) -> None:
    for changed in (symbol[:at] + more + symbol[at:], symbol[:at] + more, symbol[:at] + more + symbol[at + 1 :]):
        assert isinstance(demangled(changed), str)


@pytest.mark.parametrize("more", ["P", "N1AI", "Z1f", "F", "DpF", "IJ", "K", "A1_", "UlUl", "M1A"])
def test_symbols_without_end(more: str) -> None:
    symbol = "_Z1f" + more * 5000
    assert demangled(symbol) == symbol


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
    assert demangled("_Z1f1AIiiES_IS0_S0_E") == "f(A<int, int>, A<A<int, int>, A<int, int> >)"


@pytest.mark.parametrize(
    ("written", "shown"),
    [("5$ue9$", "\xe9"), ("9$uffffff$", "$uffffff$"), ("7$ud800$", "$ud800$"), ("5$u1b$", "$u1b$")],
)
def test_characters_that_rustc_has_written_as_numbers(written: str, shown: str) -> None:
    assert demangled(f"_ZN4core{written}17h0123456789abcdefE") == f"core::{shown}"
