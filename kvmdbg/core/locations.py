"""What a user means by a place in the guest's code, in gdb's words: one reading for every command that takes a place.

==================  ==================================================================================
``*EXPR``           the address that the expression is
``N``, ``+N``       line N of the current file, N lines behind the current one; without source N is an address
``FILE:N``          line N of a file
``$V``, ``FILE:$V`` the same with the number that a variable of the user's is
``FUNC``            a function of the source, or a symbol: C++ and Rust names, with or without outer scopes and types
``FILE:FUNC``       one of a file
``FUNC:LABEL``      a label of C in a function (``FILE:FUNC:LABEL``); ``LABEL`` alone one of the current function
``-line N`` …       the same, spelled out: -source FILE, -line N, -function NAME, -label NAME
EXPR                anything else: ``seg:off``, ``$pc``, ``0x1000``, ``phys:0x1000``, ``name+4``
==================  ==================================================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvmdbg.debuginfo.demangled import is_exactly
from kvmdbg.debuginfo.functions import Block, Functions, is_called
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.language.types import MemoryRef
from kvmdbg.masks import LOW64
from kvmdbg.numbers import counted
from kvmdbg.record import record, replace

if TYPE_CHECKING:
    from kvmdbg.core.context import Contexts
    from kvmdbg.core.frames import Frames
    from kvmdbg.debuginfo.files import DebugFiles
    from kvmdbg.debuginfo.source import Source
    from kvmdbg.engine.control import Control
    from kvmdbg.language.types import Value

NUMBER = re.compile(r"[0-9]+")
OFFSET = re.compile(r"[+-][0-9]+")
VARIABLE = re.compile(r"\$[A-Za-z_]\w*")
NAME = re.compile(r"~?[A-Za-z_.$@][\w.$@]*|operator\b.*")
MAIN_FUNCTIONS = ("main", "kmain", "kernel_main")
"""What the function of a guest is called that its start-up code calls."""
EXPLICIT = ("source", "function", "line", "label", "qualified")
_OPERATOR = re.compile(
    r"(?:[A-Za-z_(][\w:<>, ()*&]*::)?operator(?:\s*(?:\(\)|\[\]|->\*?|[-+*/%^&|~!=<>,]+)"
    r"|\s+(?:new|delete)(?:\[\])?|\s+[A-Za-z_][\w:<>]*)(?:\([^()]*\))?"
)
"""A function of C++ that is an operator."""
SPLIT = re.compile(r"(?<!:):(?!:)")
"""A colon that stands alone."""


@record
class Location:
    """One address that a place means, and what is known of it: the function's name, the source file and line."""

    address: int
    space: str = "linear"
    function: str = ""
    file: str = ""
    line: int = 0


@record
class Found:
    """What a place means: ``locations`` by address, at least one. ``by_name``: it may mean others when there are other
    symbols. ``file`` (its name), ``line``: the line that is asked for, whether it has code or not."""

    text: str
    locations: tuple[Location, ...]
    by_name: bool = False
    file: str = ""
    line: int = 0

    @property
    def first(self) -> Location:
        return self.locations[0]


class UnknownPlace(UsageError):
    """No code is called so, yet: symbols that are read later may have it."""


class Locations:
    """Places of the guest of one session."""

    def __init__(self, files: DebugFiles, source: Source, control: Control, contexts: Contexts, frames: Frames) -> None:
        self._files = files
        self._source = source
        self._control = control
        self._contexts = contexts
        self._frames = frames
        self._listed: tuple[str, int] | None = None
        self._listed_at = -1
        self._entry = self._qualified = False

    # --- the current file and line -----------------------------------------------------------------

    def note_listed(self, file: str, line: int) -> None:
        """The user has looked at this line: its file is the current one until the guest goes on."""
        self._listed, self._listed_at = (file, line), self._control.epoch

    def current_file(self) -> str | None:
        """The source file that a line without one is in; None where there is no source."""
        if self._listed is not None and self._listed_at == self._control.epoch:
            return self._listed[0]
        here = self.current_line()
        return here[0] if here is not None else None

    def current_line(self) -> tuple[str, int] | None:
        """File and line of the selected frame; of the program's main function where that has none."""
        if not self._source.has_lines:
            return None
        if self._control.state == "stopped":
            frame = self._frames.of(self._control.runner)
            found = self._source.at(frame.place)
            if found is not None:
                return found.file, found.line
        if (main := self.line_of(*MAIN_FUNCTIONS, "_start")) is not None:
            return main
        first = next(iter(self._source.lines()), None)
        return (first.file, first.line) if first is not None else None

    def line_of(self, *names: str) -> tuple[str, int] | None:
        """File and line of the first of these symbols that has source."""
        for name in names:
            symbol = self._files.symbols.lookup(name)
            found = self._source.at(symbol.address) if symbol is not None else None
            if found is not None:
                return found.file, found.line
        return None

    # --- places ------------------------------------------------------------------------------------

    def find(self, text: str, *, entry: bool = False, data: bool = False, qualified: bool = False) -> Found:
        """What a place means. UnknownPlace for a name that nothing has; UsageError, ExpressionError, MemoryFault.

        With ``entry`` a function's name means where its code begins, not where its arguments can be read; with ``data``
        a variable's the address that it holds; with ``qualified`` functions are named with all their scopes.
        """
        self._entry, self._qualified = entry, qualified
        text = self._with_numbers(text.strip())
        if not text:
            raise UsageError("a place is expected: a function, a line, FILE:LINE or *ADDRESS")
        if text.startswith("*"):
            return self._address(text, text[1:])
        if text.startswith("-") and not OFFSET.fullmatch(text):
            return self._explicit(text)
        if NUMBER.fullmatch(text) or OFFSET.fullmatch(text):
            return self._number(text)
        parts = SPLIT.split(text)
        if len(parts) in (2, 3):
            found = self._two(text, parts[-2].strip("\"'"), parts[-1], parts[0].strip("\"'") if parts[2:] else "")
            if found is not None:
                return found
        elif found := self._named(text, text.strip("\"'")):
            return found
        if not data and self._is_variable(text):
            name = text.strip("\"'")
            raise UsageError(f"'{name}' is a variable, no function; the address that it holds is written *{name}")
        if qualified and looks_like_name(text) and "::" in text.removeprefix("::"):  # expressions leave out scopes
            raise UnknownPlace(self._unknown(text, ""))
        return self._expression(text)

    def _with_numbers(self, text: str) -> str:
        """``$name`` and ``FILE:$name`` with the line that the user's variable is, as a number."""
        head, name = text[: text.rfind(":") + 1], text[text.rfind(":") + 1 :]
        if not VARIABLE.fullmatch(name) or (head and not self._file(head[:-1].strip("\"'"))):
            return text
        value = self._contexts.user_variable(name)
        if value is not None and value < 0:
            raise UsageError(f"{name} is {value}, which is no line")
        return text if value is None else f"{head}{value}"

    def _is_variable(self, text: str) -> bool:
        name = text.strip("\"'")
        if not re.fullmatch(r"(?:::)?[A-Za-z_]\w*(?:::[A-Za-z_]\w*)*", name) or not self._source.has_lines:
            return False
        type = self._contexts.scope().variable(name)
        return type is not None and type.kind != "function"

    def is_function(self, name: str) -> bool:
        """Whether there is a function of this name."""
        return self._named(name, name) is not None

    def lines(self, text: str, *, listed: int | None = None) -> list[tuple[str, int, str]]:
        """The source lines that a place means: file, line and function, whether the line has code or not.

        ``listed`` is the line that +N and -N are counted from. UsageError where no source is known of it.
        """
        text = self._with_numbers(text.strip())
        parts = SPLIT.split(text)
        if OFFSET.fullmatch(text) or NUMBER.fullmatch(text):
            file, here = self.current_file(), self.current_line()
            if file is None or here is None:
                raise UsageError(f"{text} is a line, but no source is known here")
            base = 0 if NUMBER.fullmatch(text) else here[1] if listed is None else listed
            return [(file, max(base + counted(text), 1), "")]
        if len(parts) == 2 and NUMBER.fullmatch(parts[1]) and (file := self._file(parts[0].strip("\"'"))) is not None:
            return [(file, counted(parts[1]), "")]
        if self._is_variable(text) and (declared := self._declared(text)) is not None:
            return [(*declared, "")]
        found = self.find(text, entry=True)
        known = {(one.file, one.line): one.function for one in found.locations if one.file}
        return [(file, line, function) for (file, line), function in known.items()]

    def _declared(self, name: str) -> tuple[str, int] | None:
        """File and line that declare a variable outside of functions; None where they are not known."""
        from kvmdbg.debuginfo.names import where_declared

        return where_declared(self._files, name.strip("\"'"), self._contexts.selected.source.here)

    def _expression(self, text: str) -> Found:
        try:
            return self._address(text, text)
        except KvmdbgError as error:
            if looks_like_name(text):
                raise UnknownPlace(self._unknown(text, str(error).splitlines()[0])) from None
            raise

    def _unknown(self, text: str, error: str) -> str:
        parts = SPLIT.split(text)
        if len(parts) == 2 and "." in parts[0]:
            try:
                self._source.find_file(parts[0])
            except UsageError as unknown:
                return str(unknown)
            return f"no function and no label of {parts[0]} is called '{parts[1]}'"
        return error if "::" not in text and "(" not in text else f"no function is called '{text}'"

    def _address(self, text: str, expression: str) -> Found:
        value = self._contexts.evaluate(expression)
        if value.type.is_float and text == expression:
            raise UsageError(f"{text} is no place: a breakpoint's locations have such numbers, for enable and disable")
        address, space = address_in(value)
        return Found(text, (self.at(address, space),))

    def at(self, address: int, space: str = "linear") -> Location:
        """An address with what is known of it."""
        if space != "linear":
            return Location(address, space)
        line = self._source.at(address)
        if line is None:
            return Location(address, space, self._source.function_name(address))
        return Location(address, space, self._source.function_name(address), line.file, line.line)

    def _lines(self, text: str, file: str, line: int) -> Found:
        if line < 1:
            raise UsageError(f"there is no line {line} in {os.path.basename(file)}")
        _, addresses = self._source.places_of(file, line, entry=self._entry)
        if NUMBER.fullmatch(text) or OFFSET.fullmatch(text):
            text = f"{self._short(file)}:{line}"  # what it means now, whatever the current line is later
        return Found(
            text, tuple(self.at(one) for one in addresses), by_name=True, file=os.path.basename(file), line=line
        )

    def _short(self, file: str) -> str:
        """As little of a file's path as tells which it is."""
        name = os.path.basename(file)
        try:
            return name if self._source.find_file(name) == file else file
        except UsageError:
            return file

    def _number(self, text: str) -> Found:
        """A line, ``+3`` one counted from the current; an address where no source is known."""
        number = counted(text)
        if OFFSET.fullmatch(text):
            here = self.current_line()
            if here is None:
                raise UsageError(f"{text} is a line counted from the current one, but no source is known here")
            return self._lines(text, here[0], here[1] + number)
        file = self.current_file()
        if file is None:
            return self._address(text, text)
        try:
            return self._lines(text, file, number)
        except UsageError:
            last = max((one.line for one in self._source.lines_of(file)), default=0)
            label = self._files.symbols.format(number)
            behind = f" or behind it (the last is {last})" if number else ""
            raise UsageError(
                f"{os.path.basename(file)}, the current file, has no code at line {number}{behind}; "
                f"the address {number:#x}{f', {label},' if label else ''} is written *{number}"
            ) from None

    def _two(self, text: str, first: str, second: str, within: str = "") -> Found | None:
        """FILE:LINE, FILE:FUNC or FUNC:LABEL (``within`` a file); None for what is none of them."""
        second = second.strip().strip("\"'")
        if within:
            found = self._labels(text, first, second, self._source.find_file(within))
            if found is None:
                raise UnknownPlace(f"no label of {first} in {within} is called '{second}'")
            return found
        if NUMBER.fullmatch(second) and (not re.fullmatch(r"(0[xX])?[0-9a-fA-F]+|\$.*|phys", first)):
            file = self._file(first)
            if file is not None:
                return self._lines(text, first, counted(second))
            if "." in first or "/" in first:
                raise UnknownPlace(self._unknown(text, ""))
        if not NAME.match(second):
            return None
        file = self._file(first)
        if file is not None:
            return self._named(text, second, file)
        return self._labels(text, first, second)

    def _labels(self, text: str, function: str, label: str, file: str = "") -> Found | None:
        """FUNC:LABEL; None for none."""
        labels = [
            block.labels[label] + base
            for block, _, base in self._source.functions_named(function)
            if label in block.labels and (not file or (block.origin is not None and block.origin.file == file))
        ]
        return Found(text, tuple(self.at(one) for one in sorted(labels)), by_name=True) if labels else None

    def _file(self, name: str) -> str | None:
        """The source file of that name; None for none. UsageError where it may be several."""
        try:
            return self._source.find_file(name)
        except UsageError as error:
            if "may be" in str(error):
                raise
            return None

    def _named(self, text: str, name: str, file: str = "") -> Found | None:
        """A function, else a symbol of a function; None where there is neither."""
        name = name.removeprefix("::")
        if "<" in name:
            name = re.sub(r",(?! )", ", ", name)  # Arr<short,4>::get
        if not looks_like_name(name):
            return None
        found = self._code(name, file)
        if not found and not file and "::" in name and not self._qualified:
            others = self._contexts.selected.source.meanings(name)
            found = next((code for one in others if (code := self._code(one))), set())
        if not found and not file and (label := self._label(name)) is not None:
            found.add(label)
        if not found:
            return None
        return Found(text, tuple(self.at(one) for one in sorted(found)), by_name=True)

    def _code(self, name: str, file: str = "") -> set[int]:
        """Where the functions of that name begin."""
        symbols = [one for one in self._files.symbols.all_named(name) if one.kind == "function"]
        blocks = self._blocks(name, known=bool(symbols))
        if self._qualified:
            symbols = [one for one in symbols if one.name == name or is_exactly(one.name, name)]
            blocks = [one for one in blocks if one[0].origin is not None and is_called(one[0].origin, name, whole=True)]
        if file:
            blocks = [one for one in blocks if (of := one[0].origin) and file in (of.file, of.declared_in)]
        found = {self._begin(block, base) for block, _, base in blocks}
        entries = {block.entry + base for block, _, base in blocks}
        for one in symbols:
            if one.address not in entries and (not file or self._comes_from(one.address, file)):
                found.add(one.address if self._entry else self._source.behind_prologue(one.address))
        return found

    def _blocks(self, name: str, *, known: bool) -> Sequence[tuple[Block, Functions, int]]:
        """The functions of that name: of large files only where no symbol says where they are."""
        if known and self._files.has_large:
            return []
        return self._source.functions_named(name)

    def _begin(self, block: Block, base: int) -> int:
        """Where a breakpoint on a function belongs: behind its prologue; an inlined one has none."""
        address = block.entry + base
        if block.kind != "function" or self._entry:
            return address
        return self._source.behind_prologue(address)

    def _comes_from(self, address: int, file: str) -> bool:
        line = self._source.at(address)
        return line is not None and line.file == file

    def _label(self, name: str) -> int | None:
        """A label of the function that the selected frame is in."""
        if self._control.state != "stopped":
            return None
        chain, base = self._source.blocks_at(self._frames.of(self._control.runner).place)
        return next((one.labels[name] + base for one in chain if name in one.labels), None)

    def _explicit(self, text: str) -> Found:
        """``-function NAME -line N`` and the like."""
        given: dict[str, str] = {}
        words = text.split()
        while words:
            word = words.pop(0)
            near = [name for name in EXPLICIT if len(word) > 1 and name.startswith(word[1:].lower())]
            if not word.startswith("-") or len(near) != 1:
                raise UsageError(f"'{word}' is none of {', '.join('-' + name for name in EXPLICIT)}")
            if near[0] == "qualified":
                if words and not given and not words[0].startswith("-"):
                    return replace(self.find(" ".join(words), entry=self._entry, qualified=True), text=text)
                self._qualified = True
                continue
            taken = []
            while words and not (words[0].startswith("-") and not OFFSET.fullmatch(words[0])):
                taken.append(words.pop(0))
            if not taken:
                raise UsageError(f"{word} needs a value")
            given[near[0]] = " ".join(taken).strip("\"'")
        file = self._source.find_file(given["source"]) if "source" in given else ""
        function, line, label = (given.get(name, "") for name in ("function", "line", "label"))
        if line and not (NUMBER.fullmatch(line) or OFFSET.fullmatch(line)):
            raise UsageError(f"-line takes a number, +N or -N, not '{line}'")
        if function and label:
            found = self._two(text, function, label)
        elif function:
            found = self._named(text, function, file)
        elif label:
            found = self._named(text, label)
        elif line and file:
            found = self._lines(text, file, counted(line))
        elif line:
            found = self._number(line)
        else:
            raise UsageError("-source alone is no place: -line or -function says what is meant in it")
        if found is None:
            raise UnknownPlace(f"no function is called '{function or label}'" + (f" in {file}" if file else ""))
        if line and function:
            raise UsageError("-function and -line together are not understood: give FILE:LINE")
        return replace(found, text=text, by_name=True)


def looks_like_name(text: str) -> bool:
    """Whether a text may be a function's name, as "main", "ns::f(int)", "mod.c:f"."""
    text = text.replace("(anonymous namespace)::", "")
    return bool(NAME.match(SPLIT.split(text)[-1])) and not text.startswith(("$", "phys:"))


def address_in(value: Value) -> tuple[int, str]:
    """The address that a value is, and its space. UsageError for what is no address."""
    if value.type.kind == "member":
        raise UsageError(f"a {value.type}, a pointer to a member, is no address: a function is named as CLASS::NAME")
    if (value.type.is_structure or value.type.kind == "array") and not isinstance(value.lvalue, MemoryRef):
        raise UsageError(f"this {value.type} is in no memory of the guest: it has no address")
    return value.value & LOW64, "phys" if getattr(value, "space", "linear") == "phys" else "linear"


_QUALIFIERS = re.compile(r"(\s+(const|volatile)\b)+")
"""Of a member function, behind its parameters."""


def end_of_place(text: str, pos: int) -> int | None:
    """Where a place that begins at ``pos`` ends, as far as it is one of those that are no expressions; else None."""
    if text.startswith("-", pos) and (match := re.match(r"-[a-z]+\b.*?(?=\s+if\b|,|\s*&?\s*$)", text[pos:])):
        return pos + match.end()
    depth, quote, at = 0, "", pos
    while at < len(text):
        char = text[at]
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "([<":
            depth += 1
        elif char in ")]>":
            depth -= 1
        elif depth <= 0 and (char.isspace() or char in ",&"):
            break
        at += 1
    if operator := _OPERATOR.match(text, pos):
        at = max(operator.end(), at if text[at - 1 : at] == ")" else 0)
    if text[at - 1 : at] == ")" and (qualifiers := _QUALIFIERS.match(text, at)):
        at = qualifiers.end()
    found = text[pos:at]
    following = text[at:].lstrip()
    if following and not re.match(r"if\b|,|&\s*$|[\w$\"'*/]", following):
        return None
    if NUMBER.fullmatch(found) or OFFSET.fullmatch(found):
        return at
    parts = SPLIT.split(found)
    if len(parts) == 3 and parts[0] and re.fullmatch(r"[\w.$]+", parts[2]):
        return at
    if len(parts) == 2:
        named = re.fullmatch(r"(0[xX])?[0-9a-fA-F]*|\$.*|phys|[cdefgs]s", parts[0])
        return at if not named and re.fullmatch(r"[\w.$@:~<>(),*& ]+", parts[1]) else None
    if operator is not None or (len(parts) == 1 and found.startswith("(anonymous namespace)::")):
        return at
    if len(parts) == 1 and ("::" in found or re.fullmatch(r"[A-Za-z_.@][\w.@]*|[A-Za-z_][\w:]*<.*>.*", found)):
        return at
    return at if len(parts) == 1 and re.fullmatch(r"[A-Za-z_]\w*\([^()]*\)[a-z ]*", found) else None
