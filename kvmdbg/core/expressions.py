"""C-like expressions, as gdb users type them, over registers, flags, memory and symbols.

    $rax + 8        registers, $pc linear, $zf … as 0 or 1, $name variables
    *(u16*)0x7dfe   memory; {u16}0x7dfe is the same; phys:0x1000 is a physical address
    0x7c0:0x10      seg:off, a linear address
    counter == 5 && $cx

Precedence is C's. Numbers are Python's integers; a cast or an access wraps to its type.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from kvmdbg.core.expression_types import (
    NAMED,
    S64,
    U64,
    UNSIGNED,
    Context,
    MemoryRef,
    RegisterRef,
    Type,
    Value,
    VariableRef,
)
from kvmdbg.errors import ExpressionError

__all__ = [
    "Context", "Expression", "MemoryRef", "RegisterRef", "Type", "Value", "VariableRef", "parse", "parse_prefix",
]  # fmt: skip

FLAGS = {
    "cf": 0, "pf": 2, "af": 4, "zf": 6, "sf": 7, "tf": 8, "if": 9, "df": 10, "of": 11, "nt": 14, "rf": 16, "vm": 17,
    "ac": 18, "vif": 19, "vip": 20, "id": 21,
}  # fmt: skip
BINARY = {
    "||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<": 7, ">": 7, "<=": 7, ">=": 7,
    "<<": 8, ">>": 8, "+": 9, "-": 9, "*": 10, "/": 10, "%": 10,
}  # fmt: skip
ASSIGN = ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=")
ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11, "e": 27, "\\": 92, "'": 39, '"': 34}
MAX_DEPTH = 100
MAX_SHIFT = 4096

TOKEN = re.compile(
    r"\s*(?:(?P<number>0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|[0-9][0-9_]*)(?P<junk>[A-Za-z_]\w*)?"
    r"|(?P<char>'(?:\\x[0-9a-fA-F]{1,2}|\\.|[^'\\])')"
    r"|(?P<register>\$\w+|\$)"
    r"|(?P<name>[A-Za-z_.][\w.@$]*)"
    r"|(?P<op><<=|>>=|\|\||&&|==|!=|<=|>=|<<|>>|[-+*/%&|^]=|[-+*/%&|^~!<>=?:(){}@,]))"
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int
    end: int


Node = Callable[[Context], Value]


class Expression:
    """A parsed expression. ``text`` is what was parsed."""

    def __init__(self, text: str, node: Node) -> None:
        self.text = text
        self._node = node

    def evaluate(self, context: Context) -> Value:
        """Its value now (ExpressionError, MemoryFault); assignments are carried out."""
        return self._node(context)

    def bind(self, context: Context) -> Callable[[], int]:
        """A function that gives its value, quick enough for a condition that is asked at every hit."""
        quick = _quick(self.text, context)
        if quick is not None:
            return quick
        node = self._node
        return lambda: node(context).value

    @property
    def compiled(self) -> Callable[[Context], int]:
        return lambda context: self._node(context).value


@lru_cache(maxsize=512)
def parse(text: str) -> Expression:
    """Parse all of ``text``; ExpressionError with the column of a mistake."""
    parser = _Parser(text)
    node = parser.expression(0)
    if parser.token.kind != "end":
        parser.fail(f"unexpected {parser.token.text!r}")
    return Expression(text, node)


def parse_prefix(text: str, pos: int = 0) -> tuple[Expression, int]:
    """Parse the longest expression that begins at ``pos``, and say where it ended.

    It ends at a comma, at the word ``if``, at the end, or where another operand
    follows without an operator.
    """
    parser = _Parser(text, pos)
    node = parser.expression(0)
    end = parser.last_end
    return Expression(text[pos:end].strip(), node), end


class _Parser:
    def __init__(self, text: str, pos: int = 0) -> None:
        self.text = text
        self.at = pos
        self.last_end = pos
        self.depth = 0
        self.token = self._next()

    def fail(self, message: str, column: int | None = None) -> None:
        raise ExpressionError(message, self.text, self.token.start if column is None else column)

    def _next(self) -> Token:
        match = TOKEN.match(self.text, self.at)
        if match is None:
            rest = self.text[self.at :]
            start = self.at + len(rest) - len(rest.lstrip())
            return Token("end" if start >= len(self.text) else "bad", self.text[start : start + 1], start, start)
        kind = match.lastgroup or ""
        if kind == "junk":
            raise ExpressionError(f"{match['number'] + match['junk']!r} is no number", self.text, match.start("number"))
        start = match.start(kind)
        return Token(kind, match[kind], start, match.end())

    def advance(self) -> Token:
        token = self.token
        self.last_end = self.at = token.end
        self.token = self._next()
        return token

    def accept(self, *texts: str) -> Token | None:
        return self.advance() if self.token.kind == "op" and self.token.text in texts else None

    def expect(self, text: str) -> None:
        if self.accept(text) is None:
            self.fail(f"{text!r} is missing here")

    # --- grammar -----------------------------------------------------------------------------------

    def expression(self, least: int) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail("this expression is nested too deeply")
        left = self.address()
        while self.token.kind == "op" and BINARY.get(self.token.text, -1) > least:
            op = self.advance()
            right = self.expression(BINARY[op.text])
            left = self._binary(op, left, right)
        if least == 0:
            if self.accept("?"):
                yes = self.expression(0)
                self.expect(":")
                no = self.expression(0)
                condition = left
                left = lambda c: yes(c) if condition(c).value else no(c)  # noqa: E731
            elif self.token.kind == "op" and self.token.text in ASSIGN:
                op = self.advance()
                left = self._assign(op, left, self.expression(0))
        self.depth -= 1
        return left

    def address(self) -> Node:
        """A unary expression, or ``seg:off``."""
        left = self.unary()
        if self.token.kind == "op" and self.token.text == ":" and self._is_segment():
            self.advance()
            right = self.unary()
            return lambda c: Value(c.segment(left(c).value) + right(c).value, U64)
        return left

    def _is_segment(self) -> bool:
        """Whether the colon here parts a selector and an offset, not the arms of ``?:``."""
        return self.ternaries_open() == 0

    def ternaries_open(self) -> int:
        before = self.text[: self.token.start]
        return before.count("?") - len(re.findall(r":", before)) if "?" in before else 0

    def unary(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail("this expression is nested too deeply")
        try:
            return self._unary()
        finally:
            self.depth -= 1

    def _unary(self) -> Node:
        token = self.token
        if token.kind == "op":
            if self.accept("-"):
                inner = self.unary()
                return lambda c: _result(-inner(c).value, inner(c))
            if self.accept("+"):
                return self.unary()
            if self.accept("~"):
                inner = self.unary()
                return lambda c: _result(~inner(c).value, inner(c))
            if self.accept("!"):
                inner = self.unary()
                return lambda c: Value(int(not inner(c).value))
            if self.accept("*"):
                return self._dereference(self.unary())
            if self.accept("&"):
                inner = self.unary()
                return lambda c: self._address_of(inner(c), token)
            if self.accept("{"):
                kind = self.type_name()
                if kind is None:
                    self.fail("a type is missing, as in {u16}0x7dfe")
                self.expect("}")
                inner = self.unary()
                return lambda c: _fetch(c, inner(c), kind or S64)
            if self.accept("("):
                kind = self.type_name()
                if kind is not None:
                    self.expect(")")
                    inner = self.unary()
                    return lambda c: _cast(inner(c), kind)
                inner = self.expression(0)
                self.expect(")")
                return inner
        return self.primary()

    def type_name(self) -> Type | None:
        """A type with its stars, if one begins here."""
        if self.token.kind != "name":
            return None
        name, size_of = self.token.text, None
        if name in ("unsigned", "signed"):
            self.advance()
            size_of = UNSIGNED if name == "unsigned" else NAMED
            inner = self.token.text if self.token.kind == "name" and self.token.text in UNSIGNED else "int"
            if self.token.kind == "name" and self.token.text in UNSIGNED:
                self.advance()
            found: Type = size_of[inner]
        elif name in NAMED:
            self.advance()
            found = NAMED[name]
        else:
            return None
        while self.token.kind == "name" and self.token.text in ("long", "int"):
            found = Type(max(found.size, NAMED[self.token.text].size), found.signed)
            self.advance()
        while self.accept("*"):
            found = Type(8, False, found)
        return found

    def primary(self) -> Node:
        token = self.token
        if token.kind == "number":
            self.advance()
            try:
                number = int(token.text.replace("_", ""), 0 if token.text[:1] == "0" and token.text[1:2].isalpha() else 10)
            except ValueError:
                raise ExpressionError(f"{token.text!r} is no number", self.text, token.start) from None
            constant = Value(number)
            return lambda c: constant
        if token.kind == "char":
            self.advance()
            body = token.text[1:-1]
            if body.startswith("\\x"):
                code = int(body[2:], 16)
            elif body.startswith("\\"):
                code = ESCAPES.get(body[1], ord(body[1]))
            else:
                code = ord(body)
            constant = Value(code, NAMED["char"])
            return lambda c: constant
        if token.kind == "register":
            self.advance()
            return self._register(token)
        if token.kind == "name" and token.text != "if":
            self.advance()
            if token.text == "phys" and self.accept(":"):
                inner = self.unary()
                return lambda c: Value(inner(c).value, U64, None, "phys")
            return lambda c: self._symbol(c, token)
        if token.kind in ("end",) or (token.kind == "name" and token.text == "if"):
            self.fail("an expression is missing here")
        self.fail(f"unexpected {token.text!r}")
        raise AssertionError

    # --- meaning -----------------------------------------------------------------------------------

    def _register(self, token: Token) -> Node:
        name = token.text[1:].lower()
        if not name:
            self.fail("a register's name is missing after $", token.start)

        def value(c: Context) -> Value:
            found = c.register(name)
            if found is not None:
                return Value(found, U64, RegisterRef(name))
            if name in FLAGS:
                return Value((c.register("rflags") or 0) >> FLAGS[name] & 1, U64, RegisterRef(name))
            known = c.variable(token.text[1:])
            return Value(known or 0, S64, VariableRef(token.text[1:]))

        return value

    def _symbol(self, c: Context, token: Token) -> Value:
        found = c.symbol(token.text)
        if found is None:
            hint = "; registers are written with $" if c.register(token.text.lower()) is not None else ""
            raise ExpressionError(f"no symbol {token.text!r}{hint}", self.text, token.start)
        return Value(found, U64)

    def _dereference(self, inner: Node) -> Node:
        def value(c: Context) -> Value:
            pointer = inner(c)
            kind = pointer.type.pointer_to
            return _fetch(c, pointer, kind if kind is not None else Type(c.pointer_size, False))

        return value

    def _address_of(self, value: Value, token: Token) -> Value:
        if isinstance(value.lvalue, MemoryRef):
            return Value(value.lvalue.address, Type(8, False, value.type), None, value.lvalue.space)
        if value.lvalue is None and not value.typed and value.type is U64:
            return value  # a symbol stands for its address already
        raise ExpressionError("this has no address", self.text, token.start)

    def _binary(self, op: Token, left: Node, right: Node) -> Node:
        text = op.text
        if text == "&&":
            return lambda c: Value(int(bool(left(c).value) and bool(right(c).value)))
        if text == "||":
            return lambda c: Value(int(bool(left(c).value) or bool(right(c).value)))

        def value(c: Context) -> Value:
            a, b = left(c), right(c)
            return self._apply(op, a, b)

        return value

    def _apply(self, op: Token, a: Value, b: Value) -> Value:
        x, y, text = a.value, b.value, op.text.rstrip("=") or op.text
        if op.text in ("==", "!=", "<", ">", "<=", ">="):
            return Value(int({"==": x == y, "!=": x != y, "<": x < y, ">": x > y, "<=": x <= y, ">=": x >= y}[op.text]))
        if text in ("+", "-"):
            if a.type.pointer_to is not None and b.type.pointer_to is None:
                y *= a.type.pointer_to.size
            return _result(x + y if text == "+" else x - y, a, b)
        if text == "*":
            return _result(x * y, a, b)
        if text in ("/", "%"):
            if y == 0:
                raise ExpressionError("division by zero", self.text, op.start)
            quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
            return _result(quotient if text == "/" else x - y * quotient, a, b)
        if text in ("<<", ">>"):
            if not 0 <= y < MAX_SHIFT:
                raise ExpressionError(f"cannot shift by {y}", self.text, op.start)
            return _result(x << y if text == "<<" else x >> y, a, b)
        return _result({"&": x & y, "|": x | y, "^": x ^ y}[text], a, b)

    def _assign(self, op: Token, target: Node, source: Node) -> Node:
        def value(c: Context) -> Value:
            place, new = target(c), source(c)
            if op.text != "=":
                new = self._apply(op, place, new)
            if place.lvalue is None:
                raise ExpressionError("this cannot be assigned to", self.text, op.start)
            if isinstance(place.lvalue, RegisterRef):
                name = place.lvalue.name
                if name in FLAGS and c.register(name) is None:
                    bit = 1 << FLAGS[name]
                    flags = c.register("rflags") or 0
                    c.set_register("rflags", flags | bit if new.value else flags & ~bit)
                else:
                    c.set_register(name, new.value)
                    return Value(c.register(name) or 0, U64, place.lvalue)
            elif isinstance(place.lvalue, VariableRef):
                c.set_variable(place.lvalue.name, new.value)
            else:
                size = place.type.size
                data = (new.value & (1 << 8 * size) - 1).to_bytes(size, "little")
                c.write(place.lvalue.address, data, place.lvalue.space)
                return Value(place.type.wrap(new.value), place.type, place.lvalue, "linear", True)
            return Value(new.value, new.type, place.lvalue)

        return value


def _fetch(c: Context, pointer: Value, kind: Type) -> Value:
    """The value of ``kind`` that ``pointer`` points to."""
    size = c.pointer_size if kind.pointer_to is not None else kind.size
    if size != kind.size:
        kind = Type(size, False, kind.pointer_to)
    address = pointer.value & (1 << 64) - 1
    raw = c.read(address, size, pointer.space)
    value = kind.wrap(int.from_bytes(raw, "little"))
    return Value(value, kind, MemoryRef(address, pointer.space), "linear", True)


def _cast(value: Value, kind: Type) -> Value:
    if kind.pointer_to is not None:
        return Value(value.value, kind, None, value.space, True)
    return Value(kind.wrap(value.value), kind, None, value.space, True)


def _result(value: int, *operands: Value) -> Value:
    """The value of an operator: pointers stay pointers, a physical address stays one."""
    kind, space = S64, "linear"
    for operand in operands:
        if operand.space == "phys":
            space = "phys"
        if operand.type.pointer_to is not None:
            kind = operand.type
        elif operand.type == U64 and kind == S64:
            kind = U64
    return Value(value, kind, None, space)


# --- conditions that are only registers and numbers, as Python code --------------------------------

_QUICK = re.compile(r"\s*(\$\w+|0[xX][0-9a-fA-F]+|[1-9][0-9]*|0|==|!=|<=|>=|<<|&&|\|\||[-+*<>()&|^])")


def _quick(text: str, context: Context) -> Callable[[], int] | None:
    """The expression as one Python function, where C and Python agree on what it means."""
    parts: list[str] = []
    getters: dict[str, object] = {}
    comparisons = 0
    at = 0
    while at < len(text.rstrip()):
        match = _QUICK.match(text, at)
        if match is None:
            return None
        token = match[1]
        at = match.end()
        if token.startswith("$"):
            getter = context.getter(token[1:].lower())
            if getter is None:
                return None
            name = f"r{len(getters)}"
            getters[name] = getter
            parts.append(f"{name}()")
        elif token in ("&&", "||"):
            parts.append(" and " if token == "&&" else " or ")
            comparisons = 0
        elif token in ("&", "|", "^", "<<", "("):
            return None  # Python gives these another precedence beside comparisons
        else:
            comparisons += token in ("==", "!=", "<", ">", "<=", ">=")
            if comparisons > 1:
                return None  # Python chains comparisons, C does not
            parts.append(token)
    if ")" in parts:
        return None
    try:
        found: Callable[[], int] = eval(f"lambda: {''.join(parts)}", dict(getters))  # only tokens from _QUICK
    except SyntaxError:
        return None
    return found
