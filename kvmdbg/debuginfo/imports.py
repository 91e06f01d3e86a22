"""Other names for what is in namespaces: ``using``, ``using namespace``, ``namespace name = other``.

Source: DWARF 5, sections 3.2.3 (imported declarations) and 3.2.4 (imported modules).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvmdbg.debuginfo.attribute_values import scope_of
from kvmdbg.debuginfo.dwarf import text

TAGS = ("DW_TAG_imported_declaration", "DW_TAG_imported_module")


class Imports:
    """Those of a unit, or of a function."""

    def __init__(self) -> None:
        self._aliases: dict[str, str] = {}
        """Of namespaces: "short::" for "long::er::"."""
        self._declared: dict[str, str] = {}
        """What ``using`` declares: "outer::Point" for "outer::inner::Point"."""
        self._opened: list[tuple[str, str]] = []
        """What ``using namespace`` opens: the scope in which it stands, and the one that is seen there."""

    def __bool__(self) -> bool:
        return bool(self._aliases or self._declared or self._opened)

    @classmethod
    def of_function(cls, die: Any) -> Imports:
        """What a function says, in any of its blocks."""
        found = cls()
        entries = [die]
        for one in entries:
            if "DW_AT_abstract_origin" in one.attributes:
                entries.append(one.get_DIE_from_attribute("DW_AT_abstract_origin"))
            for child in one.iter_children():
                if child.tag in TAGS:
                    found.enter(child, "")
                elif child.tag == "DW_TAG_lexical_block":
                    entries.append(child)
        return found

    def enter(self, die: Any, scope: str) -> None:
        """Enter what stands in a scope ("kern::")."""
        if "DW_AT_import" not in die.attributes:
            return
        meant, scope = die.get_DIE_from_attribute("DW_AT_import"), _named(scope)
        if "DW_AT_specification" in meant.attributes:
            meant = meant.get_DIE_from_attribute("DW_AT_specification")
        name = text(meant, "DW_AT_name")
        full = _named(scope_of(meant)) + name
        if die.tag == "DW_TAG_imported_module":
            if name:
                self._opened.append((scope, f"{full}::"))
        elif meant.tag in ("DW_TAG_namespace", "DW_TAG_module"):
            self._aliases[f"{scope}{text(die, 'DW_AT_name')}::"] = f"{full}::"
        else:
            self._declared[scope + (text(die, "DW_AT_name") or name)] = full

    def enter_inline(self, scope: str, name: str) -> None:
        """Enter an inline namespace."""
        self._opened.append((_named(scope), f"{_named(scope)}{name}::"))

    def meant(self, name: str) -> str:
        """A name, which may begin with "struct", with the namespaces that it stands for."""
        keyword, _, rest = name.rpartition(" ")
        for alias, scope in self._aliases.items():
            if rest.startswith(alias):
                return f"{keyword} {scope}{rest[len(alias) :]}".lstrip()
        return name

    def others(self, scope: str, name: str) -> Iterator[tuple[str, str]]:
        """Where a name, which may have scopes itself, is looked for besides a scope, by one step."""
        first, within, rest = name.partition("::")
        if within:
            yield f"{scope}{first}::", rest
            if (other := self._aliases.get(f"{scope}{first}::")) is not None:
                yield other, rest
        if (full := self._declared.get(scope + first)) is not None:
            outer, between, own = full.rpartition("::")
            yield outer + between, own + within + rest
        for opening, opened in self._opened:
            if opening == scope:
                yield opened, name


def _named(scope: str) -> str:
    return scope.replace("(anonymous namespace)::", "")
