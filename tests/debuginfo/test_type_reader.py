"""Types that damaged debug information makes of themselves, over entries that the test makes up."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kvmdbg.debuginfo.type_reader import TypeReader
from kvmdbg.language.declared import declaration
from kvmdbg.language.shown import Printer

INFO = object()


class Entry:
    """What pyelftools has of one; ``type`` is the entry that it is made of."""

    def __init__(self, tag: str, offset: int, *, name: str = "", size: int = 8) -> None:
        self.tag, self.offset, self.dwarfinfo = f"DW_TAG_{tag}", offset, INFO
        self.cu = SimpleNamespace(get_top_DIE=lambda: Entry("compile_unit", 0))
        values = {"DW_AT_name": name.encode(), "DW_AT_byte_size": size, "DW_AT_data_member_location": 0}
        self.attributes = {key: SimpleNamespace(value=value, form="") for key, value in values.items()}
        self.children: list[Entry] = []
        self.has_children = True

    def of(self, type: Entry) -> Entry:
        self.attributes["DW_AT_type"] = SimpleNamespace(value=type, form="")
        return self

    def get_DIE_from_attribute(self, name: str) -> Any:
        return self.attributes[name].value

    def iter_children(self) -> Iterator[Entry]:
        return iter(self.children)


def read(entry: Entry) -> Any:
    return TypeReader(SimpleNamespace(info=INFO, bits=64)).type_of(entry)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "tags", [["typedef"], ["const_type", "typedef"], ["pointer_type"], ["typedef", "pointer_type", "volatile_type"]]
)
def test_what_stands_for_itself(tags: list[str]) -> None:
    ring = [Entry(tag, 0x10 * at, name=f"t{at}" if tag == "typedef" else "") for at, tag in enumerate(tags, 1)]
    for one, following in zip(ring, [*ring[1:], ring[0]], strict=True):
        one.of(following)
    for one in ring:
        found = read(one)
        assert isinstance(declaration(found), str) and found.resolved.name is not None


@pytest.mark.parametrize("through", ["itself", "an array", "another"])
def test_a_structure_within_itself(through: str) -> None:
    whole = Entry("structure_type", 0x10, name="whole")
    inner = whole
    if through == "an array":
        inner = Entry("array_type", 0x20).of(whole)
    elif through == "another":
        inner = Entry("structure_type", 0x30, name="other")
        inner.children.append(Entry("member", 0x40).of(whole))
    whole.children.append(Entry("member", 0x50).of(inner))
    for one in (whole, inner):
        found = read(one)
        assert found.member("nothing") is None and isinstance(declaration(found), str)
        assert Printer(lambda at, size: bytes(size), lambda at: "").show(found, bytes(found.size))


def test_a_list_is_none() -> None:
    node = Entry("structure_type", 0x10, name="node")
    node.children.append(Entry("member", 0x20, name="next").of(Entry("pointer_type", 0x30).of(node)))
    assert read(node).member("next").type.target is not None
    assert declaration(read(node)) == "struct node {\n    struct node *next;\n}"
