"""The nodes of calls of the guest's functions, and of C++'s objects that functions are called on.

Source: Itanium C++ ABI, 2.3 (pointers to members).
"""

from __future__ import annotations

from kvmdbg.language.arithmetic import RUNTIME
from kvmdbg.language.code import Code, Generator, Memory, Node
from kvmdbg.language.context import Context
from kvmdbg.language.ctype import CType
from kvmdbg.language.types import LINEAR
from kvmdbg.masks import LOW64


class Once(Node):
    """What stands at several places of one expression and is worked out once, at the first."""

    operand: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        if self in make.known:
            return make.known[self]
        code = self.operand.emit(make)
        if not code.constant:
            kept = make.known[self] = code._replace(text=make.temporary())
            return code._replace(text=f"({kept.text} := {code.text})")
        return code


class GuestCall(Node):
    """``function(arguments)``: a function of the guest, run on its vCPU; ``takes`` are the types of the arguments."""

    function: Node
    arguments: tuple[Node, ...]
    takes: tuple[CType, ...]

    def parts(self) -> tuple[Node, ...]:
        return self.function, *self.arguments

    def emit(self, make: Generator) -> Code:
        end = f"[:{self.type.size}]" if self.type.reference else ""  # behind it is what it refers to
        return make.of_memory(self.bytes(make) + end, self.type)

    def bytes(self, make: Generator) -> str:
        """Source of what Context.call gives."""
        make.reads = True
        function = self.function.emit(make).text
        given = []
        for node, type in zip(self.arguments, self.takes, strict=True):
            code = node.emit(make)
            if type.is_number:
                code = make.in_memory(make.converted(code, node.type, type), type)
            given.append(f"({make.held(type).text}, {code.text}), ")
        result = make.held(self.type).text
        return f"ctx.call({function}, {result}, ({''.join(given)}))"


class CallBytes(Node):
    """What Context.call gives for a ``call``, as it is."""

    call: GuestCall

    def parts(self) -> tuple[Node, ...]:
        return (self.call,)

    def emit(self, make: Generator) -> Code:
        return Code(self.call.bytes(make))


class Referred(Memory):
    """What a ``call`` has returned a reference to, as the function has left it; ``address`` is where, by a call of its
    own, for what is done to the place."""

    call: GuestCall

    @property
    def both(self) -> CallBytes:
        """The bytes of the address, and those that are there."""
        return CallBytes(column=self.column, type=self.type, call=self.call)

    def emit(self, make: Generator) -> Code:
        if self.type.kind == "function":
            return super().emit(make)
        return make.of_memory(f"{self.call.bytes(make)}[-{self.type.size}:]", self.type)


class Bound(Memory):
    """A member function of the object at ``this``: which one it is says the object's table, or a pointer to it."""

    this: Node

    def parts(self) -> tuple[Node, ...]:
        return self.address, self.this


class ByPointer(Node):
    """The address of the function that a pointer to a member function means; ``pointer`` is its first word."""

    pointer: Node
    this: Node
    word: int

    def parts(self) -> tuple[Node, ...]:
        return self.pointer, self.this

    def emit(self, make: Generator) -> Code:
        pointer, this = self.pointer.emit(make).text, self.this.emit(make).text
        return Code(f"member_function(ctx, {pointer}, {this}, {self.word})", 0, LOW64)


class MemberFunction(Node):
    """``&Base::plain``: a pointer to a member function that is not virtual."""

    function: Node

    def parts(self) -> tuple[Node, ...]:
        return (self.function,)

    def emit(self, make: Generator) -> Code:
        size = self.type.size
        return Code(f"({self.function.emit(make).text}).to_bytes({size}, 'little')")


class DynamicCast(Node):
    """``dynamic_cast``: the address of the part that is ``wanted`` of the object at ``operand``, a pointer."""

    operand: Node
    wanted: CType
    may_fail: bool

    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)

    def emit(self, make: Generator) -> Code:
        said = self.operand.type.target
        assert said is not None
        types = f"{make.held(said).text}, {make.held(self.wanted).text}"
        return Code(f"ctx.dynamic_cast({self.operand.emit(make).text}, {types}, {self.may_fail})", 0, LOW64)


def _member_function(ctx: Context, pointer: int, this: int, word: int) -> int:
    if not pointer & 1:
        return pointer
    table = int.from_bytes(ctx.read(this, word, LINEAR), "little")
    return int.from_bytes(ctx.read(table + pointer - 1, word, LINEAR), "little")


RUNTIME.update(member_function=_member_function)
