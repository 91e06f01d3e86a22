"""C-like expressions over registers, flags, memory and symbols, as gdb users type them.

Operators, precedence, types and conversions are C's, as gdb has them on the same program:

- The built-in types are those of the guest's ABI (language/abi.py); literals, comparisons, ``sizeof`` have C's types.
- Registers are unsigned numbers of their width, $pc and $sp are pointers. Comparing one with a negative constant by
  ``==`` or ``!=``, the two's complement in the register's width is meant: ``$al == -1``.
- A number without a type (fields of events, variables that a script has set, results of functions) is exact; what is
  computed from it is wrapped where 64 bits (signed or unsigned) do not hold it.
- ``$name`` is a register, a flag (0 or 1), a convenience variable or a value of the history.
- A variable of the guest's source (DWARF) is its value, with its type: ``p->next->name``, ``table[2].flags``,
  ``*p@4`` (so many from there on). Enumerators and types of the source work, too: ``(struct thing *)$rdi``.
- Any other symbol stands for its address. ``*ADDRESS`` without a type is an int.
- ``SEG:OFF`` and ``phys:ADDRESS`` bind like a literal. With a segment register on the left its
  own base counts. Inside ``? :`` before the colon, ``seg:off`` needs parentheses.
- Pointers in memory are as wide as the source's compiler makes them, without a source as the mode has them.
- ``010`` is octal, as in C and gdb.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from types import CodeType
from typing import Any

from kvmdbg.errors import ExpressionError
from kvmdbg.language import calls, code, operators
from kvmdbg.language.abi import abi
from kvmdbg.language.arithmetic import RUNTIME
from kvmdbg.language.context import Context, Scope
from kvmdbg.language.ctype import CODE, DATA, EXACT, S64, UNSIGNED, CType, array_of, pointer
from kvmdbg.language.floats import bytes_of, number_of, truncated
from kvmdbg.language.parser import Parser
from kvmdbg.language.partial import Lost, Partial
from kvmdbg.language.places import BINDERS, PSEUDO, kind_of
from kvmdbg.language.precedence import MOST_ELEMENTS
from kvmdbg.language.types import MemoryRef, RegisterRef, Value, VariableRef, value_of
from kvmdbg.masks import LOW64
from kvmdbg.record import replace


class Expression:
    """A parsed expression. ``text`` is what it was made from, ``end`` where it ends in the text it was parsed from."""

    def __init__(self, source: str, start: int, end: int, node: code.Node) -> None:
        self.text = source[start:end].strip()
        self.end = end
        self._source = source
        self._node = node

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    @property
    def type(self) -> CType | None:
        """Its type as the text alone tells it; None where its value decides (``?:``, ``@``)."""
        node = self._node
        while isinstance(node, code.Comma):
            node = node.right
        return (
            None
            if isinstance(node, operators.Ternary | code.Several | code.AsString) or node.type is EXACT
            else node.type
        )

    def evaluate(self, ctx: Context) -> Value:
        """Its value, type and place now. Raises ExpressionError, and what ``ctx`` raises (MemoryFault)."""
        return self._evaluated(self._node, self._program, ctx)

    def _evaluated(self, node: code.Node, program: Program, ctx: Context) -> Value:
        if isinstance(node, operators.Ternary):  # has the type of the operand that counts, as in gdb
            chosen = node.sides[0 if Program(node.condition, self._source).bind(ctx)() else 1]
            found = self._evaluated(chosen, Program(chosen, self._source), ctx)
            return Value(found.value, found.type, None, node.space, found.data)
        if isinstance(node, code.Comma):
            Program(node.left, self._source).bind(ctx)()
            return self._evaluated(node.right, Program(node.right, self._source), ctx)
        if isinstance(node, code.Memory):
            return self._in_memory(node, ctx)
        type = node.type
        if type.kind == "void":
            if isinstance(node, calls.GuestCall | operators.Discarded):
                program.bind(ctx)()
            return Value(0, type)
        raw = program.bind(ctx)()
        lvalue: RegisterRef | VariableRef | None = None
        if isinstance(node, code.Name):
            kind = kind_of(ctx, node.name)
            lvalue = VariableRef(node.name) if kind == "variable" else RegisterRef(node.name.lower())
            if ctx.pointer_size == 2 and kind == "register" and node.name.lower() not in PSEUDO:
                type = UNSIGNED[8] if type in (CODE, DATA) else type  # $esp: an offset into a segment, no address
        if isinstance(raw, bytes):
            if isinstance(node, code.AsString):
                type = array_of(abi(8).char, len(raw))
            return Value(0, type, lvalue, data=raw)
        if type.is_float:
            return Value(truncated(raw), type, lvalue, data=bytes_of(raw, type.size, type.is_quad))
        if type is EXACT and raw > S64.high:
            type = abi(8).unsigned_long
        return Value(raw, type, lvalue, node.space)

    def _in_memory(self, node: code.Memory, ctx: Context) -> Value:
        type = node.type
        if isinstance(node, code.Several):
            count = Program(node.count, self._source).bind(ctx)()
            if not 0 < count <= MOST_ELEMENTS:
                raise ExpressionError(f"behind '@' stands {count}, not 1 to {MOST_ELEMENTS}", self._source, node.column)
            assert type.target is not None
            type = array_of(type.target, count)
        if type.by_mode:
            assert type.target is not None
            type = pointer(type.target, ctx.pointer_size)
        if isinstance(node, code.SourceVariable | code.PartOfVariable):
            place, data = ctx.source_variable(node.name)
            if place is None:
                if isinstance(node, code.PartOfVariable):
                    return value_of(Program(node, self._source).bind(ctx)(), type)
                return _of_bytes(data, type, 0, None)
        if isinstance(node, calls.Referred) and type.kind != "function":
            both = Program(node.both, self._source).bind(ctx)()
            address = int.from_bytes(both[: -type.size or None], "little")
            found = _of_bytes(both[-type.size :], type, address, MemoryRef(address, type.size, node.where))
            return replace(found, reference=node.reference)
        address = Program(node.address, self._source).bind(ctx)() & LOW64
        if type.kind == "function":
            return Value(address, type, None, node.where, reference=node.reference)
        found = _of_bytes(
            ctx.read(address, type.size, node.where), type, address, MemoryRef(address, type.size, node.where)
        )
        return found if node.reference is None else replace(found, reference=node.reference)

    @property
    def is_assignment(self) -> bool:
        """Whether all of it is ``target = value``."""
        return isinstance(self._node, operators.Assign) and not self._node.op and not self._node.post

    def bits(self, ctx: Context) -> tuple[MemoryRef, int] | None:
        """The bytes that hold the bit field which it is, and its bits in them as a mask; None where it is none."""
        node = self._node
        if not isinstance(node, code.BitField) or not isinstance(node.unit, code.Memory):
            return None
        address = Program(node.unit.address, self._source).bind(ctx)() + node.bit // 8 & LOW64
        first = node.bit % 8
        return MemoryRef(address, (first + node.bits + 7) // 8, node.unit.where), (1 << node.bits) - 1 << first

    @property
    def is_variable(self) -> bool:
        """Whether it is a variable, a value of the history, or a cast of one: what whatis looks at the value of."""
        node = self._node
        if self.text.startswith("&"):
            return False  # what a reference refers to has an address of its own
        while isinstance(node, operators.Cast):
            node = node.operand
        if isinstance(node, code.Memory) and node.reference is not None:
            node = node.address
            while isinstance(node, operators.Cast):
                node = node.operand
        return isinstance(node, code.SourceVariable | code.Name)

    @property
    def reference(self) -> CType | None:
        """The type of the reference of C++ that it is."""
        return self._node.reference if isinstance(self._node, code.Memory) else None

    @property
    def structure(self) -> CType | None:
        """The structure or union of the source that it is or points to, as far as the text alone tells."""
        type = self._node.type
        if type.kind in ("pointer", "array") and type.target is not None:
            type = type.target
        return type if type.is_structure else None

    @property
    def assigned(self) -> dict[str, CType]:
        """The ``$names`` that it assigns to, and the type of what it assigns."""
        found: dict[str, CType] = {}

        def look(node: operators.Assign) -> None:
            whole: code.Node = node.target
            while isinstance(whole, code.Part | code.BitField):
                whole = whole.whole if isinstance(whole, code.Part) else whole.unit
            type = node.type if whole is node.target else whole.type  # a part of it is new
            if isinstance(whole, code.Name) and type is not EXACT:
                found[whole.name] = type

        for node in code.inner(self._node):
            if isinstance(node, operators.Assign):
                look(node)
        return found

    def check_symbols(self, is_symbol: Callable[[str], bool]) -> None:
        """ExpressionError if it names what is neither known to the source nor a symbol."""
        for name, column in self._program.symbols:
            if not is_symbol(name):
                raise ExpressionError(f"no symbol '{name}'", self._source, column)

    @property
    def source_variables(self) -> frozenset[str]:
        """The variables of the guest's source that it names."""
        return frozenset(one.name for one in code.inner(self._node) if isinstance(one, code.SourceVariable))

    def bind(self, ctx: Context) -> Callable[[], int]:
        """A function that evaluates it on ``ctx``, as fast as can be.

        What names mean (register or variable, a symbol's address) is found out here, once:
        ExpressionError for a symbol that is not there. The function raises as ``evaluate`` does.
        """
        return self._program.bind(ctx)

    @cached_property
    def _program(self) -> Program:
        return Program(self._node, self._source)


class Program:
    """The function generated for a node, to be bound to machines."""

    def __init__(self, node: code.Node, source: str) -> None:
        make = code.Generator()
        for part in code.inner(node):
            if isinstance(part, code.Separate):
                part.emit(make)
        generated = node.emit(make)
        self._source = source
        self._needs = [(kind, name, column) for (kind, name), (_, column) in make.bound.items()]
        self._constant: int | None = None
        self._code: CodeType | None = None
        self._objects = make.objects
        if generated.constant:
            self._constant = generated.low
            return
        texts = [generated.text, *make.functions]
        parameters = ", ".join(["ctx", "fail", *(parameter for parameter, _ in make.bound.values())])
        lines = [
            f"def make({parameters}):",
            " from_bytes = int.from_bytes" if any("from_bytes" in one for one in texts) else "",
            " read = ctx.read" if make.reads else "",
            " def expression():",
            *(f"  def part{number}(): return {text}" for number, text in enumerate(make.functions)),
            f"  return {generated.text}",
            " return expression",
        ]
        self._code = compile("\n".join(lines), "<expression>", "exec")

    @property
    def symbols(self) -> list[tuple[str, int]]:
        """The symbols that it names, and where."""
        return [(name, column) for kind, name, column in self._needs if kind == "symbol"]

    def _fail(self, message: str, column: int) -> ExpressionError:
        return ExpressionError(message, self._source, column)

    @cached_property
    def _make(self) -> Callable[..., Callable[[], int]]:
        assert self._code is not None
        namespace: dict[str, Any] = RUNTIME | self._objects
        exec(self._code, namespace)
        made: Callable[..., Callable[[], int]] = namespace["make"]
        return made

    def bind(self, ctx: Context) -> Callable[[], Any]:
        if self._constant is not None:
            constant = self._constant
            return lambda: constant
        bound = [BINDERS[kind](ctx, name, column, self._fail) for kind, name, column in self._needs]
        return self._make(ctx, self._fail, *bound)


def _of_bytes(data: bytes, type: CType, address: int, place: MemoryRef | None) -> Value:
    """The value that bytes are, at an address or in no memory."""
    if not type.is_number:
        return Value(address, type, place, data=data)
    if isinstance(data, Partial):
        raise Lost("a part of it was optimized out")
    if type.is_float:
        return Value(truncated(number_of(data, type.is_quad)), type, place, data=data)
    number = int.from_bytes(data, "little", signed=type.signed and type.kind != "bool")
    return Value(number, type, place, data=b"" if place is not None else data)


# --- parsing --------------------------------------------------------------------------------------------


def parse(
    text: str, *, stop: Collection[str] = (), scope: Scope | None = None, fields: Collection[str] = ()
) -> Expression:
    """The expression that ``text`` is; ExpressionError with the column of the mistake.

    A token of ``stop`` (such as "," or "if") outside of brackets ends it; what follows is not looked at. With a
    ``scope``, names are variables, types and enumerators of the guest's source first, and symbols else. ``fields`` are
    those of an event, which have no types.
    """
    parser = Parser(text, stop=stop, scope=scope, fields=fields)
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


def named_type(text: str, scope: Scope | None = None) -> CType | None:
    """The type that ``text`` names ("struct point *", "unsigned long"), None where it names none."""
    parser = Parser(text, scope=scope)
    return parser.type_alone()


def void_pointed_to(text: str, scope: Scope | None = None) -> CType | None:
    """The void that ``*EXPRESSION`` is, which has a type and no value; None for anything else."""
    if not text.startswith("*"):
        return None
    found = Parser(text[1:], scope=scope).operand_alone()
    return found.target if found.target is not None and found.target.kind == "void" else None
