"""Names of C++ that compilers have made into symbols, read back: Itanium C++ ABI, 5.1 (external names, "mangling").

What is not read, expressions above all, is refused: such a symbol is shown as it is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_CHARACTERS = 1 << 14
"""Of a name: a short symbol can stand for one that no memory holds, by saying again and again what it has said."""
DEEPEST = 100
ANONYMOUS = "(anonymous namespace)"

_BUILT_IN = {
    "v": "void", "w": "wchar_t", "b": "bool", "c": "char", "a": "signed char", "h": "unsigned char", "s": "short",
    "t": "unsigned short", "i": "int", "j": "unsigned int", "l": "long", "m": "unsigned long", "x": "long long",
    "y": "unsigned long long", "n": "__int128", "o": "unsigned __int128", "f": "float", "d": "double",
    "e": "long double", "g": "__float128", "z": "...", "Dn": "decltype(nullptr)", "Di": "char32_t", "Ds": "char16_t",
    "Du": "char8_t", "Da": "auto", "Dc": "decltype(auto)", "Dd": "decimal64", "De": "decimal128", "Df": "decimal32",
    "Dh": "half",
}  # fmt: skip
_SUFFIXES = {"int": "", "unsigned int": "u", "long": "l", "unsigned long": "ul", "long long": "ll",
             "unsigned long long": "ull"}  # fmt: skip
_STRING = "basic_string<char, std::char_traits<char>, std::allocator<char> >"
_STANDARD = {
    "t": "std", "a": "std::allocator", "b": "std::basic_string", "s": f"std::{_STRING}",
    "i": "std::basic_istream<char, std::char_traits<char> >", "o": "std::basic_ostream<char, std::char_traits<char> >",
    "d": "std::basic_iostream<char, std::char_traits<char> >",
}  # fmt: skip
_OPERATORS = {
    "nw": " new", "na": " new[]", "dl": " delete", "da": " delete[]", "aw": " co_await", "ps": "+", "ng": "-",
    "ad": "&", "de": "*", "co": "~", "pl": "+", "mi": "-", "ml": "*", "dv": "/", "rm": "%", "an": "&", "or": "|",
    "eo": "^", "aS": "=", "pL": "+=", "mI": "-=", "mL": "*=", "dV": "/=", "rM": "%=", "aN": "&=", "oR": "|=",
    "eO": "^=", "ls": "<<", "rs": ">>", "lS": "<<=", "rS": ">>=", "eq": "==", "ne": "!=", "lt": "<", "gt": ">",
    "le": "<=", "ge": ">=", "ss": "<=>", "nt": "!", "aa": "&&", "oo": "||", "pp": "++", "mm": "--", "cm": ",",
    "pm": "->*", "pt": "->", "cl": "()", "ix": "[]", "qu": "?",
}  # fmt: skip
_SPECIAL = {
    "TV": "vtable for ", "TT": "VTT for ", "TI": "typeinfo for ", "TS": "typeinfo name for ",
    "GV": "guard variable for ", "TW": "TLS wrapper function for ", "TH": "TLS init function for ",
}  # fmt: skip
_QUALIFIERS = {"r": " restrict", "V": " volatile", "K": " const"}


class Refused(Exception):
    """A symbol that is not read."""


class _Type(NamedTuple):
    """What stands before and behind the name that is declared; ``wraps``: a pointer to it needs parentheses."""

    left: str
    right: str = ""
    wraps: bool = False

    @property
    def text(self) -> str:
        return self.left + self.right


class _Name(NamedTuple):
    """A name, what stands behind a function's parameters, and whether a return type comes before these."""

    text: str
    ending: str = ""
    returns: bool = False


Argument = _Type | list[_Type]


def name_of(symbol: str) -> str | None:
    """The name in the source of a symbol that begins with ``_Z``, without the type that it returns; None for none."""
    made, dot, clone = symbol.partition(".")
    reader = _Reader(made)
    try:
        found = reader.encoding()
        if reader.at != len(made):
            return None
    except (Refused, IndexError):
        return None
    return f"{found} [clone .{clone}]" if dot else found


class _Reader:
    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.at = 2
        self._known: list[_Type] = []
        self._arguments: list[Argument] = []
        self._depth = 0
        self._element = 0
        self._pack: list[_Type] | None = None
        self._in_lambda = 0

    # --- letters ---------------------------------------------------------------------------------

    def _is(self, *starts: str) -> bool:
        return self.symbol.startswith(starts, self.at)

    def _take(self, start: str) -> bool:
        if not self.symbol.startswith(start, self.at):
            return False
        self.at += len(start)
        return True

    def _expect(self, start: str) -> None:
        if not self._take(start):
            raise Refused

    def _match(self, pattern: str) -> str:
        match = re.compile(pattern).match(self.symbol, self.at)
        if match is None:
            raise Refused
        self.at = match.end()
        return match[0]

    def _number(self) -> int:
        """``_`` is 0, ``0_`` 1 and so on."""
        digits = self._match(r"\d*_")[:-1]
        return int(digits) + 1 if digits else 0

    def _bounded(self, text: str) -> str:
        if len(text) > MOST_CHARACTERS:
            raise Refused
        return text

    # --- names -----------------------------------------------------------------------------------

    def encoding(self) -> str:
        for letters, words in _SPECIAL.items():
            if self._take(letters):
                return words + (self._type().text if letters[0] == "T" and letters[1] in "VTIS" else self._name().text)
        if self._take("TC"):
            whole = self._type().text
            self._match(r"\d+_")
            return f"construction vtable for {self._type().text}-in-{whole}"
        if self._is("Th", "Tv", "Tc"):
            return self._thunk()
        if self._take("GR"):
            found = self._name().text
            self._match(r"[0-9A-Z]*_")
            return f"reference temporary #0 for {found}"
        name = self._name(owns=True)
        if self.at == len(self.symbol) or self._is("E"):
            return name.text
        if name.returns:
            self._type()
        return self._bounded(f"{name.text}({self._parameters()}){name.ending}")

    def _thunk(self) -> str:
        kind = self._match("T[hvc]")
        words = {"Th": "non-virtual thunk to ", "Tv": "virtual thunk to ", "Tc": "covariant return thunk to "}[kind]
        one = r"(?:h?n?\d+_|v?n?\d+_n?\d+_)"
        self._match(r"n?\d+_" if kind == "Th" else r"n?\d+_n?\d+_" if kind == "Tv" else one + one)
        return words + self.encoding()

    def _parameters(self) -> str:
        found: list[str] = []
        while self.at < len(self.symbol) and not self._is("E"):
            found += [one.text for one in self._types()]
        return ", ".join(found) if found != ["void"] else ""

    def _types(self) -> list[_Type]:
        """A type, or those that a pack stands for."""
        if not self._take("Dp"):
            return [self._type()]
        outer, self._pack, self._element = (self._pack, self._element), None, 0
        start, found = self.at, [self._type()]
        pack: list[_Type] = self._pack or []
        known = list(self._known)
        for self._element in range(1, len(pack)):
            self.at = start
            found.append(self._type())
            self._known = list(known)
        (self._pack, self._element) = outer
        return found[: len(pack)]

    def _name(self, *, owns: bool = False) -> _Name:
        """``owns``: template parameters behind it are those of this name."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise Refused
        found = self._nested(owns) if self._take("N") else self._local(owns) if self._take("Z") else self._plain(owns)
        self._depth -= 1
        return found

    def _plain(self, owns: bool) -> _Name:
        if self._is("S") and not self._is("St"):
            text = self._substitution().text
            if not self._is("I"):
                return _Name(text)
        else:
            scope = "std::" if self._take("St") else ""
            text, is_conversion = self._unqualified("")
            text = scope + text
            if not self._is("I"):
                return _Name(text)
            self._known.append(_Type(text))
            return _Name(self._with_arguments(text, owns), returns=not is_conversion)
        return _Name(self._with_arguments(text, owns), returns=True)

    def _nested(self, owns: bool) -> _Name:
        qualifiers = "".join(_QUALIFIERS[letter] for letter in reversed(self._match("r?V?K?")))
        ending = qualifiers + (" &" if self._take("R") else " &&" if self._take("O") else "")
        text, last, returns = "", "", False
        while not self._take("E"):
            known = True
            if self._is("I"):
                text, returns = self._with_arguments(text, owns), not last.startswith("~") and returns is not None
                known = True
            elif self._is("St"):
                self.at += 2
                text, last, known = "std", "std", False
            elif self._is("S"):
                text, known = self._substitution().text, False
                last = _last(text)
            elif self._is("T"):
                text = self._parameter().text
                last = _last(text)
            elif self._is("C", "D") and not self._is("Dt", "DT", "DC"):
                text, returns = f"{text}::{self._constructor(_last(text))}", False
                if self._is("I"):
                    self._known.append(_Type(text))
                    text = self._with_arguments(text, owns)
                known = False if self._is("E") else known
                self._skip_tags()
            else:
                one, is_conversion = self._unqualified(last)
                text, last = f"{text}::{one}" if text else one, one
                if is_conversion and self._is("I"):
                    self._known.append(_Type(text))
                    text = self._with_arguments(text, owns)
                returns = False
            if known and not self._is("E"):
                self._known.append(_Type(self._bounded(text)))
        return _Name(text, ending, returns)

    def _constructor(self, own: str) -> str:
        if self._take("CI"):
            self._match("[12]")
            self._type()
            return own
        return own if self._match("[CD][0-5]")[0] == "C" else f"~{own}"

    def _local(self, owns: bool) -> _Name:
        arguments = self._arguments
        within = self.encoding()
        self._expect("E")
        if not owns:
            self._arguments = arguments
        if self._take("s"):
            self._discriminator()
            return _Name(f"{within}::string literal")
        if self._take("d"):
            self._number()
        name = self._name(owns=owns)
        self._discriminator()
        return name._replace(text=self._bounded(f"{within}::{name.text}"))

    def _discriminator(self) -> None:
        if self._is("_"):
            self._match(r"_\d|__\d+_")

    def _unqualified(self, last: str) -> tuple[str, bool]:
        """A name without scopes, and whether it is an operator that converts."""
        self._take("L")
        if self._is("Ul"):
            return self._tagged(self._lambda()), False
        if self._take("Ut"):
            return self._tagged(f"{{unnamed type#{self._number() + 1}}}"), False
        if self.symbol[self.at : self.at + 1].isdigit():
            return self._tagged(self._source_name()), False
        if self._take("cv"):
            if re.compile(r"T\d*_I").match(self.symbol, self.at):
                raise Refused  # it is one of the arguments that follow
            return f"operator {self._type().text}", True
        if self._take("li"):
            return self._tagged(f'operator"" {self._source_name()}'), False
        operator = _OPERATORS.get(self.symbol[self.at : self.at + 2])
        if operator is None:
            raise Refused
        self.at += 2
        return self._tagged(f"operator{operator}"), False

    def _tagged(self, text: str) -> str:
        while self._take("B"):
            text += f"[abi:{self._source_name()}]"
        return text

    def _skip_tags(self) -> None:
        self._tagged("")

    def _source_name(self) -> str:
        size = int(self._match(r"\d{1,5}"))
        found = self.symbol[self.at : self.at + size]
        if len(found) < size or not size:
            raise Refused
        self.at += size
        return ANONYMOUS if found.startswith("_GLOBAL__N") else found

    def _lambda(self) -> str:
        self._expect("Ul")
        self._in_lambda += 1
        takes = self._parameters()
        self._in_lambda -= 1
        self._expect("E")
        return f"{{lambda({takes})#{self._number() + 1}}}"

    # --- templates -------------------------------------------------------------------------------

    def _with_arguments(self, text: str, owns: bool) -> str:
        self._expect("I")
        found: list[Argument] = []
        while not self._take("E"):
            found.append(self._argument())
        if owns:
            self._arguments = found
        shown = [one for each in found for one in (each if isinstance(each, list) else [each])]
        inner = ", ".join(one.text for one in shown)
        gap = " " if text.endswith("<") else ""
        end = " " if inner.endswith(">") and found[-1] else ""
        return self._bounded(f"{text}{gap}<{inner}{end}>")

    def _argument(self) -> Argument:
        if self._take("J"):
            found: list[_Type] = []
            while not self._take("E"):
                one = self._argument()
                found += one if isinstance(one, list) else [one]
            return found
        if self._take("X"):
            address = "&" if self._take("ad") else ""
            if not self._is("L"):
                raise Refused  # an expression
            value = self._literal()
            self._expect("E")
            return _Type(f"{address}({value})" if address else value)
        if self._is("L"):
            return _Type(self._literal())
        types = self._types()
        return types[0] if len(types) == 1 else types

    def _literal(self) -> str:
        self._expect("L")
        if self._take("_Z"):
            found = self.encoding()
            self._expect("E")
            return found
        type = self._type().text
        negative = "-" if self._take("n") else ""
        value = self._match(r"\d*")
        self._expect("E")
        if type == "bool" and value in ("0", "1"):
            return "true" if value == "1" else "false"
        if type in _SUFFIXES:
            return negative + value + _SUFFIXES[type]
        return f"({type}){negative}{value}"

    def _parameter(self) -> _Type:
        self._expect("T")
        number = self._number()
        if self._in_lambda:
            return _Type(f"auto:{number + 1}")
        if number >= len(self._arguments):
            raise Refused
        found = self._arguments[number]
        if isinstance(found, _Type):
            return found
        self._pack = found
        return found[self._element] if self._element < len(found) else _Type("")

    def _substitution(self) -> _Type:
        self._expect("S")
        letter = self.symbol[self.at]
        if letter in _STANDARD:
            self.at += 1
            return _Type(_STANDARD[letter])
        digits = self._match(r"[0-9A-Z]*_")[:-1]
        number = int(digits, 36) + 1 if digits else 0
        if number >= len(self._known):
            raise Refused
        return self._known[number]

    # --- types -----------------------------------------------------------------------------------

    def _type(self) -> _Type:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Refused
        found = self._read_type()
        self._bounded(found.text)
        self._depth -= 1
        return found

    def _read_type(self) -> _Type:
        for size in (1, 2):
            word = _BUILT_IN.get(self.symbol[self.at : self.at + size])
            if word is not None:
                self.at += size
                return _Type(word)
        if self._take("DF"):
            return _Type(f"_Float{self._match(r'[0-9]+_')[:-1]}")
        if self._is("S") and not self._is("St"):
            found = self._substitution()
            if not self._is("I"):
                return found
            found = _Type(self._with_arguments(found.text, False))
        else:
            found = self._new_type()
        self._known.append(found)
        return found

    def _new_type(self) -> _Type:
        if self._take("P"):
            return _pointing(self._type(), "*")
        if self._take("R"):
            return _referring(self._type(), "&")
        if self._take("O"):
            return _referring(self._type(), "&&")
        if self._is("r", "V", "K"):
            words = "".join(_QUALIFIERS[letter] for letter in reversed(self._match("r?V?K?")))
            inner = self._type()
            if inner.wraps and inner.right.startswith("("):
                return inner._replace(right=inner.right + words)
            return inner._replace(left=inner.left.rstrip() + words + (" " if inner.wraps else ""))
        if self._take("C"):
            return _Type(f"{self._type().text} _Complex")
        if self._take("U"):
            word = self._source_name()
            return _Type(f"{self._type().text} {word}")
        if self._take("u"):
            return _Type(self._source_name())
        if self._is("F", "Do"):
            return self._function()
        if self._take("A"):
            count = self._match(r"\d*_")[:-1]
            inner = self._type()
            behind = inner.right if inner.right.startswith("[") else ""
            return _Type(f"{inner.left.rstrip()} ", f"[{count}]{behind}", True)
        if self._take("M"):
            owner, inner = self._type().text, self._type()
            if inner.wraps:
                return _Type(f"{inner.left}({owner}::*", f"){inner.right}")
            return _Type(f"{inner.left} {owner}::*", inner.right)
        if self._take("Dv"):
            count = self._match(r"\d+_")[:-1]
            return _Type(f"{self._type().text} __vector({count})")
        if self._is("T"):
            found = self._parameter()
            if self._is("I"):
                self._known.append(found)
                return _Type(self._with_arguments(found.text, False))
            return found
        return _Type(self._name().text)

    def _function(self) -> _Type:
        ending = " noexcept" if self._take("Do") else ""
        self._expect("F")
        self._take("Y")
        returned, takes = self._type(), self._parameters()
        ending = (" &" if self._take("R") else " &&" if self._take("O") else "") + ending
        self._expect("E")
        return _Type(f"{returned.left} ", f"({takes}){ending}{returned.right}", True)


def _pointing(inner: _Type, sign: str) -> _Type:
    if not inner.wraps:
        return inner._replace(left=inner.left + sign)
    gap = " " if inner.right.startswith("[") else ""
    return _Type(f"{inner.left}({sign}", f"){gap}{inner.right}")


def _referring(inner: _Type, sign: str) -> _Type:
    """A reference; one to a reference is one with a single sign where either has one."""
    if inner.left.endswith("&"):
        plain = inner.left.rstrip("&")
        return inner._replace(left=plain + ("&&" if sign == "&&" and inner.left.endswith("&&") else "&"))
    return _pointing(inner, sign)


def _last(text: str) -> str:
    """What a class is called without its scopes, arguments and tags, as its constructors are."""
    depth, start = 0, 0
    text = text.partition("[abi:")[0] if "<" not in text else text
    for at, letter in enumerate(text):
        depth += (letter in "<({") - (letter in ">)}")
        if letter == ":" and not depth:
            start = at + 1
    return text[start:].partition("<")[0].partition("[abi:")[0]
