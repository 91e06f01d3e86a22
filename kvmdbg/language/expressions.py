"""C-like expressions over registers, flags, memory and symbols, as gdb users type them.

Operators, precedence and integer types are C's, with these differences:

- A register, memory or a cast has its type's value; whatever is computed from it is an exact
  number, wrapped where 64 bits (signed or unsigned) do not hold it. So ``$al - 5`` may be
  negative, and no comparison turns a sign around. ``/`` and ``%`` round towards zero.
- ``$eax == -1`` (and ``!=``) with a constant: the two's complement in the operand's width is meant.
- ``$name`` is a register, a flag (0 or 1), a convenience variable or a value of the history.
- A variable of the guest's source (DWARF) is its value, with its type: ``p->next->name``, ``table[2].flags``,
  ``*p@4`` (so many from there on). Enumerators and types of the source work, too: ``(struct thing *)$rdi``.
- Any other symbol stands for its address. ``*ADDRESS`` without a type is an int.
- ``SEG:OFF`` and ``phys:ADDRESS`` bind like a literal. With a segment register on the left its
  own base counts. Inside ``? :`` before the colon, ``seg:off`` needs parentheses.
- Registers are unsigned; long is 8 bytes; pointers in memory are as wide as the mode's.
- ``010`` is octal, as in C and gdb.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from types import CodeType
from typing import Any

from kvmdbg.errors import ExpressionError
from kvmdbg.language import code
from kvmdbg.language.arithmetic import RUNTIME
from kvmdbg.language.context import Context, Scope
from kvmdbg.language.ctype import CType
from kvmdbg.language.parser import Parser
from kvmdbg.language.places import BINDERS, kind_of
from kvmdbg.language.types import (
    MASK,
    S64,
    U64,
    MemoryRef,
    RegisterRef,
    Type,
    Value,
    VariableRef,
    is_number,
    target_of,
)


class Expression:
    """A parsed expression. ``text`` is what it was made from, ``end`` where it ends in the text it was parsed from."""

    def __init__(self, source: str, start: int, end: int, node: code.Node) -> None:
        self.text = source[start:end].strip()
        self.end = end
        self._source = source
        self._node = node

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(self, ctx: Context) -> Value:
        """Its value, type and place now. Raises ExpressionError, and what ``ctx`` raises (MemoryFault)."""
        node = self._node
        if isinstance(node, code.Memory):
            type = node.type
            assert type is not None
            if type.pointer_to is not None and type.c is None:
                type = Type(ctx.pointer_size, False, type.pointer_to)
            if isinstance(node, code.SourceVariable):
                place, data = ctx.source_variable(node.name)
                if place is None:
                    number = int.from_bytes(data, "little", signed=type.signed) if is_number(type) else 0
                    return Value(number, type, data=data)
            address = self._place.bind(ctx)() & MASK
            data = ctx.read(address, type.size, node.where)
            if not is_number(type):
                return Value(address, type, MemoryRef(address, type.size, node.where), data=data)
            value = int.from_bytes(data, "little", signed=type.signed)
            return Value(value, type, MemoryRef(address, type.size, node.where))
        value = self._program.bind(ctx)()
        type = node.type or (S64 if value <= S64.high else U64)
        if not isinstance(node, code.Name):
            return Value(value, type, None, node.space)
        if kind_of(ctx, node.name) == "variable":
            return Value(value, type, VariableRef(node.name))
        return Value(value, type, RegisterRef(node.name.lower()))

    @property
    def structure(self) -> CType | None:
        """The structure or union of the source that it is or points to, as far as the text alone tells."""
        type = self._node.type
        if type is not None and type.pointer_to is not None:
            type = target_of(type)
        c = type.c if type is not None else None
        if c is not None and c.kind == "array" and c.target is not None:
            c = c.target
        return c if c is not None and c.kind in ("struct", "union", "class") else None

    @property
    def assigned(self) -> tuple[str, Type | None] | None:
        """The ``$name`` that it assigns to, and the type of what it assigns."""
        node = self._node
        if isinstance(node, code.Assign) and isinstance(node.target, code.Name):
            return node.target.name, node.target.type if node.op else node.value.type
        return None

    def bind(self, ctx: Context) -> Callable[[], int]:
        """A function that evaluates it on ``ctx``, as fast as can be.

        What names mean (register or variable, a symbol's address) is found out here, once:
        ExpressionError for a symbol that is not there. The function raises as ``evaluate`` does.
        """
        return self._program.bind(ctx)

    @cached_property
    def _program(self) -> Program:
        return Program(self._node, self._source)

    @cached_property
    def _place(self) -> Program:
        assert isinstance(self._node, code.Memory)
        return Program(self._node.address, self._source)


class Program:
    """The function generated for a node, to be bound to machines."""

    def __init__(self, node: code.Node, source: str) -> None:
        make = code.Generator()
        generated = node.emit(make)
        self._source = source
        self._needs = [(kind, name, column) for (kind, name), (_, column) in make.bound.items()]
        self._constant: int | None = None
        self._code: CodeType | None = None
        if generated.constant:
            self._constant = generated.low
            return
        parameters = ", ".join(["ctx", "fail", *(parameter for parameter, _ in make.bound.values())])
        lines = [
            f"def make({parameters}):",
            " from_bytes, read = int.from_bytes, ctx.read" if make.reads else "",
            f" def expression(): return {generated.text}",
            " return expression",
        ]
        self._code = compile("\n".join(lines), "<expression>", "exec")

    def _fail(self, message: str, column: int) -> ExpressionError:
        return ExpressionError(message, self._source, column)

    @cached_property
    def _make(self) -> Callable[..., Callable[[], int]]:
        assert self._code is not None
        namespace: dict[str, Any] = dict(RUNTIME)
        exec(self._code, namespace)
        made: Callable[..., Callable[[], int]] = namespace["make"]
        return made

    def bind(self, ctx: Context) -> Callable[[], int]:
        if self._constant is not None:
            constant = self._constant
            return lambda: constant
        bound = [BINDERS[kind](ctx, name, column, self._fail) for kind, name, column in self._needs]
        return self._make(ctx, self._fail, *bound)


# --- parsing --------------------------------------------------------------------------------------------


def parse(text: str, *, stop: Collection[str] = (), scope: Scope | None = None) -> Expression:
    """The expression that ``text`` is; ExpressionError with the column of the mistake.

    A token of ``stop`` (such as "," or "if") outside of brackets ends it; what follows is not looked at. With a
    ``scope``, names are variables, types and enumerators of the guest's source first, and symbols else.
    """
    parser = Parser(text, stop=stop, scope=scope)
    node = parser.parse()
    return Expression(text, 0, parser.end, node)


def parse_prefix(text: str, pos: int = 0, *, scope: Scope | None = None) -> tuple[Expression, int]:
    """The longest expression at ``pos``, and where it ends.

    It ends at a "," outside of brackets, at the word "if", at a "&" that ends the line, and
    where a token cannot continue it ("0x1000 32" is two).
    """
    parser = Parser(text, pos, stop=(",", "if"), prefix=True, scope=scope)
    node = parser.parse()
    return Expression(text, pos, parser.end, node), parser.end
