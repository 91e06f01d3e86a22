from __future__ import annotations

import pytest

from kvmdbg.errors import UsageError
from kvmdbg.language.convenience import ConvenienceVariables, history_number
from kvmdbg.language.ctype import U8, U16


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("12", 12),
        ("", 5),
        ("$", 4),
        ("$2", 3),
        ("$0", 5),
        ("0", 5),
        ("$5", 0),
        ("x", None),
        ("$x", None),
        ("_", None),
        ("0" * 30 + "3", 3),
        ("$" + "0" * 5000 + "3", 2),
    ],
)
def test_which_value_of_the_history_a_name_means(name: str, number: int | None) -> None:
    assert history_number(name, 5) == number


@pytest.fixture
def kept() -> ConvenienceVariables:
    one = ConvenienceVariables()
    assert [one.add_to_history(70), one.add_to_history(80, U8), one.add_to_history(90)] == [1, 2, 3]
    return one


def test_values_of_the_history(kept: ConvenienceVariables) -> None:
    assert [kept.value_of(name) for name in ("1", "2", "3", "", "$", "$2")] == [70, 80, 90, 90, 80, 70]
    assert [kept.value_of(name) for name in ("4", "5", "$3", "$9")] == [None] * 4
    assert [kept.type_of(name) for name in ("1", "2", "$", "")] == [None, U8, U8, None]


def test_without_a_history() -> None:
    one = ConvenienceVariables()
    assert [one.value_of(name) for name in ("", "$", "$2", "1")] == [None] * 4


def test_assigning_and_taking_it_back(kept: ConvenienceVariables) -> None:
    undo = kept.assign("x", 5)
    assert kept.value_of("x") == 5
    kept.types["x"] = U16
    again = kept.assign("x", 6)
    assert (kept.value_of("x"), kept.type_of("x")) == (6, None)
    kept.types["x"] = U8
    again()
    assert (kept.value_of("x"), kept.type_of("x")) == (5, U16)
    undo()
    assert (kept.value_of("x"), kept.type_of("x"), kept.values, kept.types) == (None, None, {}, {"2": U8})


def test_zero_is_a_value_that_comes_back() -> None:
    one = ConvenienceVariables()
    one.assign("x", 0)
    one.assign("x", 6)()
    assert one.value_of("x") == 0


def test_the_history_cannot_be_assigned_to(kept: ConvenienceVariables) -> None:
    with pytest.raises(UsageError, match=r"\$1 is the history"):
        kept.assign("1", 5)
    assert kept.value_of("1") == 70


def test_a_number_of_thousands_of_digits_is_none_of_the_history(kept: ConvenienceVariables) -> None:
    assert kept.value_of("1" * 5000) is kept.value_of("$" + "1" * 5000) is None
