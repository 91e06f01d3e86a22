"""What the lines of several other debuggers need to be turned into ours."""

from __future__ import annotations

from collections.abc import Callable

from kvmdbg.errors import UsageError


def need(rest: str, usage: str) -> str:
    if not rest:
        raise UsageError(f"what is missing: {usage}")
    return rest


def at(text: str) -> str:
    """A place for break: a number is an address."""
    return f"*{text}" if text[:1].isdigit() and ":" not in text else text


def written(size: int) -> Callable[[str], str]:
    def rewrite(rest: str) -> str:
        place, *values = need(rest, "an address and values").split()
        if not values:
            raise UsageError("what is missing: the values to write")
        return "\n".join(
            f"set {{u{8 * size}}}({place}) = {value}"
            if not number
            else f"set {{u{8 * size}}}({place} + {size * number}) = {value}"
            for number, value in enumerate(values)
        )

    return rewrite
