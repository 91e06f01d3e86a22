"""The tokens of an expression: one is looked ahead at, and literals have their values here."""

from __future__ import annotations

import re
from collections.abc import Collection
from fractions import Fraction

from kvmdbg.errors import ExpressionError
from kvmdbg.masks import LOW64

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>0[xX][\w.]*[pP][-+]?[0-9]\w*|[0-9][0-9_.]*[eE][-+]?[0-9]\w*|[0-9][\w.]*|\.[0-9]\w*)
    | (?P<string>(?:u8|[LuU])?"(?:\\.|[^"\\])*(?:"|$))
    | (?P<char>[LuU]?'(?:\\.[^'\\]*|[^'\\]*)(?:'|$))
    | (?P<dollar>\$\$?[0-9]+|\$[A-Za-z_]\w*|\$\$?)
    | (?P<phys>phys:)
    | (?P<word>(?:::)?[A-Za-z_.][\w.$]*(?:::~?[A-Za-z_][\w.$]*)*)
    | (?P<op><<=|>>=|->|::|\+\+|--|&&|\|\||[-+*/%&|^<>=!]=|<<|>>|[-+*/%&|^~!<>=?:()\[\]{}@,])
    | (?P<other>.)
    | (?P<end>$)
    )""",
    re.VERBOSE | re.DOTALL,
)
_BASES = {"0x": 16, "0b": 2, "0o": 8}
_SUFFIXES = frozenset(["", "u", "l", "ul", "lu", "ll", "ull", "llu"])
_ESCAPES = {
    "n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11, "e": 27, "\\": 92, "'": 39, '"': 34,
}  # fmt: skip

_FLOATING = re.compile(
    r"(?:(0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?)[pP]([-+]?[0-9]{1,5})"
    r"|([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE]([-+]?[0-9]{1,5}))?)([fFlL]?)"
)
MOST_DIGITS = 4000
"""Of a floating point number's; Python's int() takes not many more."""
GREATEST_POWER = 12_000
"""Of ten: with so many digits a number with a greater exponent is an infinity as well, one with a smaller one 0."""
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]+)|([0-7]{1,3})|(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))|(.))|[^\\]+", re.DOTALL
)
_PREFIX = re.compile("[uUL]8?(?=['\"])|")
_ENCODINGS = {"u": "utf-16-le", "U": "utf-32-le", "L": "utf-32-le"}


class Tokens:
    """Those of ``text`` from ``pos`` on. A token of ``stop`` ends them where it stands outside of brackets."""

    def __init__(self, text: str, pos: int, stop: Collection[str]) -> None:
        self.text = text
        self.end = pos
        """Where the last token ends that was taken."""
        self._stop = frozenset(stop)
        self._open_brackets = 0
        self._next = pos
        """Where the token after the current one is looked for."""
        self._radix = 10
        """The base of numbers that say none."""
        self._kind = self._token = ""
        self._start = pos
        self._advance()

    def _advance(self) -> None:
        match = _TOKEN.match(self.text, self._next)
        assert match is not None and match.lastgroup is not None
        self._kind = match.lastgroup
        self._token = match[self._kind]
        self._start = match.start(self._kind)
        if not self._open_brackets and self._token in self._stop:
            self._kind, self._token = "end", ""
        self._start = min(self._start, len(self.text.rstrip()))

    def _take(self, length: int | None = None) -> str:
        """The current token, or its first characters; what follows becomes current."""
        token = self._token[:length]
        self.end = self._next = self._start + len(token)
        if token in ("(", "[", "{"):
            self._open_brackets += 1
        elif token in (")", "]", "}"):
            self._open_brackets -= 1
        self._advance()
        return token

    def _skip_to(self, end: int) -> None:
        """Go on behind ``end``."""
        self.end = self._next = end
        self._advance()

    def _is(self, *tokens: str) -> bool:
        return self._kind == "op" and self._token in tokens

    def _expect(self, token: str, why: str) -> None:
        if not self._is(token):
            raise self.fail(f"'{token}' is missing {why}")
        self._take()

    def fail(self, message: str, column: int | None = None) -> ExpressionError:
        return ExpressionError(message, self.text, self._start if column is None else column)

    def _number(self) -> tuple[int, str]:
        """Take an integer; its value, and its suffix with "d" before it where it is decimal."""
        token = self._token
        text = token.rstrip("uUlL")
        base = _BASES.get(text[:2].lower(), 8 if text.startswith("0") and text != "0" else self._radix)
        if self._radix > 11 and text[:2].lower() == "0b":
            base = self._radix
        digits = text[2:] if base == _BASES.get(text[:2].lower()) else text
        suffix = token[len(text) :].lower()
        try:
            if suffix not in _SUFFIXES or not digits[0].isalnum() or not digits.isascii():
                raise ValueError
            value = int(digits, base)
        except (ValueError, IndexError):
            hint = ""
            if token.isdigit():
                hint = "; a leading 0 makes it octal" if text[0] == "0" else f" of base {base}"
            elif re.fullmatch(r"[0-9a-fA-F]+[hH]?", token):
                hint = f"; hexadecimal is 0x{token.rstrip('hH')}"
            raise self.fail(f"'{token}' is no number{hint}") from None
        if value > LOW64:
            raise self.fail(f"{token} does not fit 64 bits")
        self._take()
        return value, suffix + ("d" if base == 10 else "")

    def _floating(self) -> tuple[Fraction, str] | None:
        """Take a floating point number where one is next; its exact value and its suffix ("", "f" or "l")."""
        match = _FLOATING.fullmatch(self._token)
        if match is None or (self._radix > 14 and re.fullmatch("[0-9a-fA-F]+", self._token)):
            return None
        if match[1]:
            digits, _, after = match[1][2:].replace("_", "").partition(".")
            exact = Fraction(int(digits + after or "0", 16)) / 16 ** len(after) * Fraction(2) ** int(match[2] or 0)
        else:
            if len(match[3]) > MOST_DIGITS:
                raise self.fail(f"a number with more than {MOST_DIGITS} digits")
            power = max(-GREATEST_POWER, min(int(match[4] or 0), GREATEST_POWER))
            exact = Fraction(match[3].replace("_", "")) * Fraction(10) ** power
        self._take()
        return exact, match[5].lower()

    def _text(self) -> tuple[bytes, str]:
        """Take a text between double quotes, and those that follow it; its bytes and its prefix ("L", "u", "U", "")."""
        parts, prefix = [], ""
        while self._kind == "string":
            own, token = self._unprefixed()
            if len(token) < 2 or not token.endswith('"'):
                raise self.fail("the closing quote is missing")
            if own and prefix not in ("", own):
                raise self.fail("texts of different characters do not go together")
            prefix = own or prefix
            parts.append(token[1:-1])
            self._take()
        wide = prefix in _ENCODINGS
        found = "".join(_ESCAPE.sub(lambda one: self._escaped(one, wide), part) for part in parts)
        return found.encode(_ENCODINGS.get(prefix, "latin-1"), "surrogatepass" if wide else "replace"), prefix

    def _unprefixed(self) -> tuple[str, str]:
        """The prefix of the text or character that is next, and the rest of it."""
        match = _PREFIX.match(self._token)
        assert match is not None
        return "" if match[0] == "u8" else match[0], self._token[match.end() :]

    def _escaped(self, match: re.Match[str], wide: bool) -> str:
        if match[0][0] != "\\":
            return match[0] if wide else match[0].encode("utf-8", "surrogateescape").decode("latin-1")
        if match[1] or match[2]:
            code = int(match[1], 16) if match[1] else int(match[2], 8)
            if wide and code > 0x10FFFF:
                raise self.fail(f"'{match[0]}' is no character")
            return chr(code if wide else code & 0xFF)
        if match[3] or match[4]:
            code = int(match[3] or match[4], 16)
            if code > 0x10FFFF:
                raise self.fail(f"'{match[0]}' is no character")
            return chr(code) if wide else chr(code).encode("utf-8", "surrogatepass").decode("latin-1")
        if match[5] not in _ESCAPES:
            raise self.fail(f"'\\{match[5]}' is no character")
        return chr(_ESCAPES[match[5]])

    def _character(self) -> tuple[int, str]:
        """Take a character between quotes; its code and its prefix ("L", "u", "U", "")."""
        prefix, token = self._unprefixed()
        if len(token) < 2 or not token.endswith("'"):
            raise self.fail("the closing quote is missing")
        match = _ESCAPE.fullmatch(token[1:-1])
        known = match is not None and (match[5] is None or match[5] in _ESCAPES)
        shown = self._escaped(match, bool(prefix)) if match is not None and known else ""
        what = "character" if prefix else "byte's character"
        if len(shown) != 1 or ord(shown) > (0xFFFF if prefix == "u" else 0x10FFFF if prefix else 0xFF):
            raise self.fail(f"{self._token} is not one {what}")
        self._take()
        return ord(shown), prefix
