"""What a function says of the calls in it: which function each calls, and with what (DWARF 5, section 3.4)."""

from __future__ import annotations

from typing import Any

from kvmdbg.debuginfo.dwarf import text


def argument(parent: Any, back: int, callee: str, code: bytes) -> bytes | None:
    """What the call that returns to ``back`` hands over in the place that ``code`` describes, as an expression; None
    where ``parent`` does not say, or does not call ``callee`` there."""
    site = _returning_to(parent, back)
    origin = _origin(site) if site is not None else None
    if site is None or (origin is not None and text(origin, "DW_AT_name") != callee):
        return None
    for one in site.iter_children():
        place = one.attributes.get("DW_AT_location")
        value = one.attributes.get("DW_AT_call_value") or one.attributes.get("DW_AT_GNU_call_site_value")
        if place is not None and value is not None and bytes(place.value) == code:
            return bytes(value.value)
    return None


def called(parent: Any, back: int) -> str:
    """The symbol of the function that the call which returns to ``back`` names; "" where it names none."""
    site = _returning_to(parent, back)
    origin = _origin(site) if site is not None else None
    for _ in range(8):
        if origin is None:
            break
        if found := text(origin, "DW_AT_linkage_name") or text(origin, "DW_AT_name"):
            return found
        link = next((one for one in ("DW_AT_abstract_origin", "DW_AT_specification") if one in origin.attributes), None)
        origin = origin.get_DIE_from_attribute(link) if link is not None else None
    return ""


def _origin(site: Any) -> Any:
    """The entry of the function that is called; None for a call by a pointer."""
    names = ("DW_AT_call_origin", "DW_AT_abstract_origin")
    link = next((one for one in names if one in site.attributes), None)
    return site.get_DIE_from_attribute(link) if link is not None else None


def _returning_to(parent: Any, back: int) -> Any:
    for die in parent.iter_children():
        if die.tag in ("DW_TAG_call_site", "DW_TAG_GNU_call_site"):
            returns = die.attributes.get("DW_AT_call_return_pc") or die.attributes.get("DW_AT_low_pc")
            if returns is not None and returns.value == back:
                return die
        elif die.has_children and die.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine"):
            found = _returning_to(die, back)
            if found is not None:
                return found
    return None
