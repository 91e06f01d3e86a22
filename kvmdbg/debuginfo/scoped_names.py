"""Names with the classes and namespaces that they are in."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


class Names(dict[str, T]):
    """Things by their names; of several that end alike the one that is called so without a scope before others."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: set[str] = set()
        """The names that are all of what they stand for is called."""

    def enter(self, keyword: str, scope: str, name: str, what: T) -> None:
        """Enter something by its name with its scopes, with the inner ones of them, and without any."""
        scope = scope.replace("(anonymous namespace)::", "")
        if (whole := keyword + scope + name) not in self.whole:
            self.whole.add(whole)
            self[whole] = what
        while scope:
            scope = scope.partition("::")[2]
            self.setdefault(keyword + scope + name, what)
