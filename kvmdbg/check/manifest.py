"""The file that says which guests are checked, and what is expected of each: check.toml."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from kvmdbg.devices.i8042 import keys_of, scan_codes
from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders.registry import read_file
from kvmdbg.record import field, record

NAME = "check.toml"
LIMIT = 10.0
"""Seconds that a guest has if the file says nothing else."""
LONGEST = 86_400.0
ENDS = ("halted", "exited", "shutdown", "running")


@record
class Step:
    """What a guest is told at once: ``input`` to the serial port, ``keys`` typed and ``press`` pressed on the keyboard.

    It is told so once ``after`` has been seen; with "" once it looks for input.
    """

    input: str = ""
    keys: str = ""
    press: tuple[str, ...] = ()
    after: str = ""

    @property
    def says_nothing(self) -> bool:
        return not (self.input or self.keys or self.press)


@record
class Case:
    """A guest with its arguments, what it is told, and what is to be seen of it.

    ``output`` is to come in this order, ``screen`` to be on the screen at the end; ``output_matches`` and
    ``screen_matches`` are regular expressions, ``screen_image`` a PNG file. ``status`` is its own exit status (None: it
    need not end), ``end`` one of ENDS. What is told first is ``input``, ``keys`` and ``press`` after ``after``, as in a
    Step; the rest is in ``then``.
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
    press: tuple[str, ...] = ()
    then: tuple[Step, ...] = ()
    output_matches: str = ""
    screen_matches: str = ""
    screen_image: str = ""
    end: str = ""

    @property
    def ends(self) -> bool:
        """Whether only its end, or the end of its time, shows that all is well."""
        return self.status is not None or self.end != ""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All that it is told."""
        first = Step(self.input, self.keys, self.press, self.after)
        return self.then if first.says_nothing else (first, *self.then)

    @property
    def expects(self) -> bool:
        """Whether anything is to be seen."""
        texts = (self.output_matches, self.screen_matches, self.screen_image)
        return bool(self.output or self.screen or any(texts))


@record
class Manifest:
    folder: Path
    cases: tuple[Case, ...] = field(default_factory=tuple)


STEP = ("input", "keys", "press", "after")
KEYS = (
    "name", "image", "arguments", "limit", *STEP, "then", "output", "output-matches", "screen", "screen-matches",
    "screen-image", "status", "end", "skip",
)  # fmt: skip


def read(path: Path) -> Manifest:
    """What a folder's check.toml, or a file, says. UsageError for a mistake in it."""
    import tomllib

    file = path / NAME if path.is_dir() else path
    try:
        data = tomllib.loads(read_file(file, "list of guests").decode())
    except LoadError as error:
        raise UsageError(str(error)) from None
    except ValueError as error:
        raise UsageError(f"{file} is no TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{file} is nested too deeply") from None
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
    _require_known(data, KEYS, where)
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
        **_told(data, where),
        then=_steps(data.get("then", []), where),
        skip=_text(data, "skip", where),
        output=_texts(data, "output", where),
        output_matches=_pattern(data, "output-matches", where),
        screen=_texts(data, "screen", where),
        screen_matches=_pattern(data, "screen-matches", where),
        screen_image=_text(data, "screen-image", where),
        status=status,
        end=_end(data, where),
    )
    if not (found.expects or found.ends):
        raise UsageError(f"{where} expects nothing: give output, screen, status or end")
    if status is not None and found.end not in ("", "exited"):
        raise UsageError(f"{where}: status is of a guest that ends itself, and end is {found.end!r}")
    return found


def _require_known(data: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in sorted(data.keys() - set(known)):
        near = difflib.get_close_matches(key, known, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"{where}: {key!r} is no setting: there are {', '.join(known)}{meant}")


def _told(data: dict[str, Any], where: str) -> dict[str, Any]:
    """What a guest is told at once, and after what."""
    found = {key: _text(data, key, where) for key in ("input", "keys", "after")}
    press = _texts(data, "press", where)
    try:
        keys_of(found["keys"])
    except UsageError as error:
        raise UsageError(f"{where}: keys cannot be typed: {error}") from None
    for key in press:
        try:
            scan_codes(key)
        except UsageError as error:
            raise UsageError(f"{where}: press: {error}") from None
    return {**found, "press": press}


def _steps(data: Any, where: str) -> tuple[Step, ...]:
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise UsageError(f"{where}: then is a list of tables, as [[guest.then]]")
    found = []
    for number, one in enumerate(data, 1):
        here = f"{where}, then {number}"
        _require_known(one, STEP, here)
        step = Step(**_told(one, here))
        if step.says_nothing:
            raise UsageError(f"{here} says nothing: give input, keys or press")
        found.append(step)
    return tuple(found)


def _pattern(data: dict[str, Any], key: str, where: str) -> str:
    text = _text(data, key, where)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{where}: {key} is no regular expression: {error}") from None
    return text


def _end(data: dict[str, Any], where: str) -> str:
    text = _text(data, "end", where)
    if text and text not in ENDS:
        raise UsageError(f"{where}: end is one of {', '.join(ENDS)}, not {text!r}")
    return text


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
