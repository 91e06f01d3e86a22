"""The file that says which guests are checked, and what is expected of each: check.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kvmdbg.errors import UsageError
from kvmdbg.record import field, record

NAME = "check.toml"
LIMIT = 10.0
"""Seconds that a guest has if the file says nothing else."""
LONGEST = 86_400.0


@record
class Case:
    """A guest with its arguments, what it is told, and what is to be seen of it.

    ``texts`` are to come in the output in this order, ``screen`` on the screen at the end; ``status`` is its own exit
    status, None where it need not end. What is told (``input`` to the serial port, ``keys`` to the keyboard) goes to it
    once ``after`` has been seen.
    """

    name: str
    arguments: tuple[str, ...]
    limit: float = LIMIT
    input: str = ""
    keys: str = ""
    after: str = ""
    output: tuple[str, ...] = ()
    screen: tuple[str, ...] = ()
    status: int | None = None
    skip: str = ""

    @property
    def ends(self) -> bool:
        """Whether only its end shows that all is well."""
        return self.status is not None


@record
class Manifest:
    folder: Path
    cases: tuple[Case, ...] = field(default_factory=tuple)


KEYS = ("name", "image", "arguments", "limit", "input", "keys", "after", "output", "screen", "status", "skip")


def read(path: Path) -> Manifest:
    """What a folder's check.toml, or a file, says. UsageError for a mistake in it."""
    import tomllib

    file = path / NAME if path.is_dir() else path
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no TOML: {error}") from None
    if unknown := data.keys() - {"limit", "guest"}:
        raise UsageError(f"{file}: {sorted(unknown)[0]!r} is no setting: there are limit and [[guest]]")
    guests = data.get("guest", [])
    if not isinstance(guests, list) or not guests:
        raise UsageError(f"{file} names no guests: each begins with [[guest]]")
    limit = _seconds(data.get("limit", LIMIT), str(file))
    cases = [_case(one, limit, f"{file}: guest {number}") for number, one in enumerate(guests, 1)]
    names = [one.name for one in cases]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{file}: two guests have the name {name!r}")
    return Manifest(file.parent, tuple(cases))


def _case(data: Any, limit: float, where: str) -> Case:
    if not isinstance(data, dict):
        raise UsageError(f"{where} is no table: it begins with [[guest]]")
    if unknown := data.keys() - set(KEYS):
        raise UsageError(f"{where}: {sorted(unknown)[0]!r} is no setting: there are {', '.join(KEYS)}")
    image, arguments = _text(data, "image", where), _texts(data, "arguments", where)
    if not image and not arguments:
        raise UsageError(f"{where} has neither an image nor arguments")
    name = _text(data, "name", where) or image or arguments[-1]
    status = data.get("status")
    if status is not None and (type(status) is not int or not 0 <= status <= 255):
        raise UsageError(f"{where}: status is a number from 0 to 255, not {status!r}")
    found = Case(
        name,
        (*arguments, *((image,) if image else ())),
        _seconds(data.get("limit", limit), where),
        **{key: _text(data, key, where) for key in ("input", "keys", "after", "skip")},
        output=_texts(data, "output", where),
        screen=_texts(data, "screen", where),
        status=status,
    )
    if not (found.output or found.screen or found.ends):
        raise UsageError(f"{where} expects nothing: give output, screen or status")
    return found


def _seconds(value: Any, where: str) -> float:
    if type(value) not in (int, float) or not 0 < value <= LONGEST:
        raise UsageError(f"{where}: limit is a number of seconds, not {value!r}")
    return float(value)


def _text(data: dict[str, Any], key: str, where: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f"{where}: {key} is a text, not {value!r}")
    return value


def _texts(data: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    """A text or a list of texts."""
    value = data.get(key, [])
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise UsageError(f"{where}: {key} is a text or a list of texts, not {value!r}")
    return tuple(found)
