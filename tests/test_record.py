"""Frozen values without dataclasses."""

from __future__ import annotations

from typing import ClassVar

import pytest

from kvmdbg.record import field, fields, record, replace


@record
class Point:
    kind: ClassVar[str] = "point"
    x: int
    y: int = 2
    tags: dict[str, int] = field(default_factory=dict)

    @property
    def sum(self) -> int:
        return self.x + self.y


@record
class Named(Point):
    name: str = ""


def test_construction_by_position_and_name() -> None:
    assert fields(Point(1)) == {"x": 1, "y": 2, "tags": {}}
    assert Point(1, y=5).sum == 6
    assert fields(Named(1, 2, {}, "n"))["name"] == "n"
    assert Point.kind == "point" and "kind" not in fields(Point(1))


def test_a_factory_makes_a_new_value_each_time() -> None:
    one, two = Point(1), Point(1)
    one.tags["a"] = 1
    assert two.tags == {}


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        ((), {}, "Point needs x"),
        ((1, 2, {}, 4), {}, "takes 3 values, 4 were given"),
        ((1,), {"x": 1}, "twice x"),
        ((1,), {"z": 1}, "no field z"),
    ],
)
def test_wrong_construction(values: tuple[object, ...], named: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Point(*values, **named)  # type: ignore[arg-type]


def test_equality_hash_and_repr() -> None:
    @record
    class Pair:
        a: int
        b: str

    assert Pair(1, "x") == Pair(b="x", a=1)
    assert hash(Pair(1, "x")) == hash(Pair(b="x", a=1))
    assert Pair(1, "x") != Pair(2, "x")
    assert Named(1) != Point(1)
    assert repr(Pair(1, "x")).endswith("Pair(a=1, b='x')")


def test_frozen_and_replace() -> None:
    one = Point(1)
    with pytest.raises(AttributeError, match=r"Point\.x cannot be changed"):
        one.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del one.x
    assert replace(one, x=9) == Point(9)
    assert one.x == 1


def test_post_init() -> None:
    @record
    class Even:
        n: int

        def __post_init__(self) -> None:
            if self.n % 2:
                raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        Even(3)
