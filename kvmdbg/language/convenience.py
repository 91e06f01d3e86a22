"""What the user has given names to: convenience variables (``$name``) and the history of values (``$1``, ``$$``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvmdbg.errors import UsageError
from kvmdbg.language.ctype import VOID, CType, pointer

if TYPE_CHECKING:
    from kvmdbg.language.types import Raw

ADDRESS_SHOWN = pointer(VOID)
"""The type of ``$_`` behind commands that list places."""
MOST_DIGITS = 18
"""No history is so long that the number of a value has more; Python's int() does not take them without end."""


def history_number(name: str, count: int) -> int | None:
    """Which value of a history of ``count`` ``$name`` means: "1" the first, "" and "0" the last, "$" the one before,
    "$2" the one before that; None for other variables."""
    if name in ("", "$"):
        return count - len(name)
    digits = name.removeprefix("$")
    if not digits.isdigit():
        return None
    number = int(digits.lstrip("0")[:MOST_DIGITS] or "0")
    return number if name == digits and number else count - number


class ConvenienceVariables:
    """Values by name, and in turn; ``types`` has those of both, of values of the history by their numbers, as far as
    they have any."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.history: list[Any] = []
        self.types: dict[str, CType] = {}

    @staticmethod
    def setting(name: str) -> tuple[Any, str] | None:
        """The value of a setting, and how ``show`` says it; whoever has settings puts its own in the place of this."""
        return None

    def value_of(self, name: str) -> Raw | None:
        """The value of ``$name``, None while it has none."""
        number = history_number(name, len(self.history))
        if number is None:
            return self.values.get(name)
        return self.history[number - 1] if 1 <= number <= len(self.history) else None

    def type_of(self, name: str) -> CType | None:
        """Its type, None where it is a plain number."""
        number = history_number(name, len(self.history))
        return self.types.get(name if number is None else str(number))

    def remember_place(self, address: int) -> None:
        """Make ``$_`` an address that was shown."""
        self.values["_"], self.types["_"] = address, ADDRESS_SHOWN

    def add_to_history(self, value: Raw, type: CType | None = None) -> int:
        """Add a value to the history; its number N, for ``$N``."""
        self.history.append(value)
        if type is not None:
            self.types[str(len(self.history))] = type
        return len(self.history)

    def assign(self, name: str, value: Raw) -> Callable[[], None]:
        """Give ``$name`` a value, without a type; a function that takes it back. UsageError for the history."""
        if name.isdigit():
            raise UsageError(f"${name} is the history of values and cannot be assigned to")
        before, type_before = self.values.get(name), self.types.pop(name, None)
        self.values[name] = value

        def take_back() -> None:
            self.values.pop(name, None)
            self.types.pop(name, None)
            if before is not None:
                self.values[name] = before
            if type_before is not None:
                self.types[name] = type_before

        return take_back
