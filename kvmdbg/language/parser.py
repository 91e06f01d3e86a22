"""From the tokens of an expression to its nodes, by precedence climbing.

Source of operators and precedence: ISO C, section 6.5; ``{type} address`` is gdb's (gdb manual, "Expressions").
"""

from __future__ import annotations

from collections.abc import Collection

from kvmdbg.errors import ExpressionError
from kvmdbg.language import code, functions
from kvmdbg.language.code import Node
from kvmdbg.language.context import Scope
from kvmdbg.language.tokens import Tokens
from kvmdbg.language.types import (
    ADDRESS,
    LINEAR,
    PHYSICAL,
    TYPE_WORDS,
    U64,
    Type,
    array_type,
    is_number,
    named_type,
    pointer,
    source_type,
)

_BINARY = {
    op: level
    for level, ops in enumerate(("||", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "+ -", "* / %"), 1)
    for op in ops.split()
}
_ASSIGNMENTS = frozenset(["=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="])

_TAGS = frozenset(["struct", "union", "enum", "class"])
_QUALIFIERS = frozenset(["const", "volatile"])

NESTING = 40  # of brackets and prefixes
DEPTH = 60  # of operators, so that the generated source stays within what Python's parser takes


def _plain(node: Node) -> Node:
    """An address to be counted in bytes."""
    return code.Cast(column=node.column, type=U64, space=node.space, operand=node)


class Parser(Tokens):
    """One expression at ``pos`` of ``text``. ``prefix``: it may be followed by something else.

    A token of ``stop`` ends it where it stands outside of brackets. ``scope`` knows the names of the guest's source.
    """

    def __init__(
        self,
        text: str,
        pos: int = 0,
        *,
        stop: Collection[str] = (),
        prefix: bool = False,
        scope: Scope | None = None,
    ) -> None:
        super().__init__(text, pos, stop)
        self._scope = scope
        self._prefix = prefix
        self._nesting = 0
        self._colon = True  # whether a colon here makes seg:off

    def _unexpected(self) -> ExpressionError:
        if self._kind == "end":
            return self.fail("an operand is expected at the end" if self.text.strip() else "an expression is expected")
        if self._kind == "op":
            return self.fail(f"an operand is expected, not '{self._token}'")
        return self.fail(f"'{self._token}' is not expected here")

    # --- operators ---------------------------------------------------------------------------------

    def parse(self) -> Node:
        """The expression; ExpressionError where there is none, or (without ``prefix``) something follows."""
        node = self._assignment()
        if not self._prefix and self._kind != "end":
            raise self.fail(f"'{self._token}' is not expected here")
        return node

    def _number_of(self, node: Node) -> Node:
        """What can be worked with: an array's address instead of the array. ExpressionError for a structure."""
        if is_number(node.type):
            return node
        assert node.type is not None and node.type.c is not None
        c = node.type.c
        if c.kind == "array" and isinstance(node, code.Memory) and c.target is not None:
            return code.Cast(
                column=node.column, type=pointer(source_type(c.target)), space=node.where, operand=node.address
            )
        hint = "name one of its members" if c.members else "its bits are *(u64*)&x" if c.kind == "float" else ""
        raise self.fail(f"a {c.name} cannot be worked with" + (f": {hint}" if hint else ""), node.column)

    def _checked(self, node: Node) -> Node:
        if node.depth > DEPTH:
            raise self.fail("the expression is nested too deeply", node.column)
        return node

    def _assignment(self) -> Node:
        self._nesting += 1
        node = self._ternary()
        if self._kind == "op" and self._token in _ASSIGNMENTS:
            column, op = self._start, self._token[:-1]
            target = self._target(node, column, self._token)
            self._take()
            node = self._assigned(target, self._number_of(self._assignment()), op, column)
        self._nesting -= 1
        return node

    def _target(self, node: Node, column: int, op: str) -> code.Name | code.Memory:
        if not isinstance(node, code.Name | code.Memory):
            hint = f"; its memory is *(u32*){node.name}" if isinstance(node, code.Symbol) else ""
            if isinstance(node, code.BitField):
                hint = ", not a bit field"
            raise self.fail(f"'{op}' needs a register, a variable or memory to change{hint}", column)
        self._number_of(node)
        if isinstance(node, code.Memory) and not is_number(node.type):
            raise self.fail(f"'{op}' cannot change a whole array", column)
        return node

    def _assigned(self, target: code.Name | code.Memory, value: Node, op: str, column: int, post: bool = False) -> Node:
        if op:
            self._arithmetic(op, target, value, column)
        return self._checked(code.Assign(column=column, type=target.type, target=target, value=value, op=op, post=post))

    def _ternary(self) -> Node:
        condition = self._binary(1)
        if not self._is("?"):
            return condition
        condition = self._number_of(condition)
        column = self._start
        self._take()
        outer, self._colon = self._colon, False
        yes = self._number_of(self._assignment())
        self._colon = outer
        self._expect(":", "of '? :'")
        self._nesting += 1
        no = self._number_of(self._ternary())
        self._nesting -= 1
        same = yes.type == no.type
        space = yes.space if yes.space == no.space else LINEAR
        return self._checked(
            code.Ternary(
                column=column, type=yes.type if same else None, space=space, condition=condition, yes=yes, no=no
            )
        )

    def _binary(self, least: int) -> Node:
        node = self._unary()
        if self._is("@"):
            node = self._several(node, self._start)
        while self._kind == "op" and _BINARY.get(self._token, 0) >= least:
            if self._prefix and self._token == "&" and not self.text[self._start + 1 :].strip():
                break  # "continue 5 &"
            column, level = self._start, _BINARY[self._token]
            op = self._take()
            node = self._combined(op, node, self._binary(level + 1), column)
        return node

    def _combined(self, op: str, left: Node, right: Node, column: int) -> Node:
        left, right = self._number_of(left), self._number_of(right)
        if op in ("&&", "||"):
            word = "and" if op == "&&" else "or"
            before = left.operands if isinstance(left, code.Logical) and left.word == word else (left,)
            return self._checked(code.Logical(column=column, word=word, operands=(*before, right)))
        if op in ("==", "!=", "<", "<=", ">", ">="):
            return self._checked(code.Comparison(column=column, op=op, left=left, right=right))
        return self._arithmetic(op, left, right, column)

    def _arithmetic(self, op: str, left: Node, right: Node, column: int) -> Node:
        try:
            return self._checked(code.arithmetic(op, left, right, column))
        except code.TypeMismatch as error:
            raise self.fail(str(error), column) from None

    def _unary(self) -> Node:
        self._nesting += 1
        if self._nesting > NESTING:
            raise self.fail("the expression is nested too deeply")
        node = self._checked(self._prefixed())
        self._nesting -= 1
        return node

    def _prefixed(self) -> Node:
        column = self._start
        if self._is("-", "~"):
            op = self._take()
            operand = self._number_of(self._unary())
            return code.Unary(column=column, space=operand.space, op=op, operand=operand)
        if self._is("+"):
            self._take()
            return self._number_of(self._unary())
        if self._is("!"):
            self._take()
            return code.Not(column=column, operand=self._number_of(self._unary()))
        if self._is("*"):
            self._take()
            return code.dereference(self._number_of(self._unary()), column)
        if self._is("&"):
            self._take()
            node = self._unary()
            if not isinstance(node, code.Memory | code.Symbol):
                raise self.fail("'&' needs something in memory", column)
            return code.address_of(node, column)
        if self._is("++", "--"):
            op = self._take()
            target = self._target(self._unary(), column, op)
            return self._assigned(target, code.Number(column=column, value=1), op[0], column)
        if self._is("{"):
            self._take()
            type = self._type("of a '{type} address'")
            self._expect("}", "after the type")
            address = self._number_of(self._unary())
            return code.Memory(column=column, type=type, address=address, where=address.space)
        if self._kind == "phys":
            self._take()
            operand = self._number_of(self._unary())
            return code.Cast(column=column, type=operand.type or ADDRESS, space=PHYSICAL, operand=operand)
        if self._kind == "word" and self._token == "sizeof":
            self._take()
            return self._sizeof(column)
        return self._postfixed()

    def _sizeof(self, column: int) -> Node:
        if self._is("("):
            outer, self._colon = self._colon, True
            self._take()
            if self._is_type():
                type: Type | None = self._type("of sizeof")
            else:
                type = self._assignment().type
            self._expect(")", "of sizeof")
            self._colon = outer
        else:
            type = self._unary().type
        if type is not None and type.pointer_to is not None and type.c is None:
            return code.SizeOf(column=column)
        return code.Number(column=column, value=type.size if type is not None else 8)

    # --- operands ----------------------------------------------------------------------------------

    def _postfixed(self) -> Node:
        node = self._operand()
        if self._colon and self._is(":"):
            column = self._start
            self._take()
            offset = self._operand()
            node = self._checked(code.SegmentOffset(column=column, type=ADDRESS, segment=node, offset=offset))
        while True:
            column = self._start
            if self._is("["):
                node = self._number_of(node)
                if node.type is None or node.type.pointer_to is None or not node.type.pointer_to.size:
                    raise self.fail("what '[' indexes must be a pointer, as in ((u16*)0x500)[3]", column)
                self._take()
                outer, self._colon = self._colon, True
                index = self._number_of(self._assignment())
                self._expect("]", "after the index")
                self._colon = outer
                node = self._checked(code.dereference(self._arithmetic("+", node, index, column), column))
            elif self._is("->"):
                self._take()
                node = self._member(node, column)
            elif self._kind == "word" and self._token.startswith(".") and self._start == self.end:
                self._take(1)
                node = self._member(node, column)
            elif self._is("++", "--") and isinstance(node, code.Name | code.Memory):
                op = self._take()
                node = self._assigned(node, code.Number(column=column, value=1), op[0], column, post=True)
            else:
                return node

    def _member(self, node: Node, column: int) -> Node:
        """``node.name`` or ``node->name``; the name is next."""
        if self._kind != "word":
            raise self.fail("the name of a member is expected")
        if node.type is not None and node.type.pointer_to is not None:
            node = code.dereference(node, column)
        c = node.type.c if node.type is not None else None
        if c is None or not isinstance(node, code.Memory) or c.kind not in ("struct", "union"):
            raise self.fail("what stands before a member is no structure", column)
        name = self._token.partition(".")[0]
        found = c.member(name)
        if found is None:
            known = ", ".join(one.name for one in c.members[:8] if one.name)
            raise self.fail(f"{c.name} has no member '{name}'" + (f"; it has {known}" if known else ""))
        self._take(len(name))
        offset = code.Number(column=column, value=found.offset + found.bit // 8 if found.bits else found.offset)
        place = code.Cast(
            column=column, type=ADDRESS, operand=code.arithmetic("+", _plain(node.address), offset, column)
        )
        type = source_type(found.type)
        if not found.bits:
            return self._checked(code.Memory(column=column, type=type, address=place, where=node.where))
        bit = found.bit % 8
        unit = code.Memory(column=column, type=Type((bit + found.bits + 7) // 8), address=place, where=node.where)
        return self._checked(code.BitField(column=column, type=type, unit=unit, bit=bit, bits=found.bits))

    def _several(self, node: Node, column: int) -> Node:
        """``node@COUNT``: so many of them, from there on, as an array."""
        if not isinstance(node, code.Memory):
            raise self.fail("what stands before '@' must be in memory, as in *p@4", column)
        self._take()
        count = self._unary()
        if not isinstance(count, code.Number) or not 0 < count.value <= 10000:
            raise self.fail("behind '@' a count from 1 to 10000 is expected", column)
        assert node.type is not None
        array = array_type(node.type, count.value)
        return code.Memory(column=column, type=array, address=node.address, where=node.where)

    def _operand(self) -> Node:
        column = self._start
        if self._kind == "number":
            return code.Number(column=column, value=self._number())
        if self._kind == "dollar":
            name = self._take()[1:]
            if self._is("(") and self._start == self.end:
                return self._call(name, column)
            found = code.named(name, column)
            kept = self._scope.variable_type(name) if self._scope is not None and found.type is None else None
            if kept is not None and not is_number(kept):  # a structure or an array: its place is kept
                found.type = ADDRESS
                return code.Memory(column=column, type=kept, address=found, where=LINEAR)
            found.type = kept or found.type
            return found
        if self._kind == "char":
            return code.Number(column=column, value=self._character())
        if self._kind == "word":
            if self._token in TYPE_WORDS:
                raise self.fail(f"'{self._token}' is a type; a cast is written ({self._token})VALUE")
            return self._named(column)
        if not self._is("("):
            raise self._unexpected()
        outer, self._colon = self._colon, True
        self._take()
        if self._is_type():
            type = self._type("of a cast")
            self._expect(")", "after the type")
            self._colon = outer
            operand = self._number_of(self._unary())
            return code.Cast(column=column, type=type, space=operand.space, operand=operand)
        node = self._assignment()
        self._expect(")", f"for the '(' at column {column + 1}")
        self._colon = outer
        return node

    def _call(self, name: str, column: int) -> Node:
        """The arguments of ``$name``; the "(" is next."""
        made = functions.lookup(name)
        if made is None:
            raise self.fail(f"there is no function ${name}; there are: {', '.join(functions.known())}", column)
        self._take()
        outer, self._colon = self._colon, True
        given: list[Node] = []
        while not self._is(")"):
            if given:
                if self._token != ",":
                    raise self.fail("',' or ')' is missing after an argument")
                self._take()
            given.append(self._number_of(self._assignment()))
        self._take()
        self._colon = outer
        least, most = functions.arguments(made)
        if not least <= len(given) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise self.fail(f"${name} takes {wanted} arguments, {len(given)} were given", column)
        return self._checked(code.Call(column=column, name=name, arguments=tuple(given)))

    def _named(self, column: int) -> Node:
        """A variable or an enumerator of the source, or else a symbol."""
        name = self._token
        first = name.partition(".")[0]
        if self._scope is not None:
            for one in dict.fromkeys((name, first)):
                c = self._scope.variable(one) if one else None
                if c is not None:
                    self._take(len(one))
                    address = code.SourceAddress(column=column, type=ADDRESS, name=one)
                    return code.SourceVariable(
                        column=column, type=source_type(c), address=address, where=LINEAR, name=one
                    )
            constant = self._scope.constant(name)
            if constant is not None:
                self._take()
                return code.Number(column=column, value=constant[0], type=source_type(constant[1]))
        return code.Symbol(column=column, type=ADDRESS, name=self._take())

    def _is_type(self) -> bool:
        """Whether a type is next."""
        if self._kind != "word":
            return False
        if self._token in TYPE_WORDS or self._token in _TAGS or self._token in _QUALIFIERS:
            return True
        scope = self._scope
        return scope is not None and scope.variable(self._token) is None and scope.type(self._token) is not None

    def _type(self, why: str) -> Type:
        column, words = self._start, []
        while self._kind == "word" and self._token in _QUALIFIERS:
            self._take()
        if self._kind == "word" and self._token not in TYPE_WORDS and self._is_type():
            words.append(self._take())
            if words[0] in _TAGS:
                words.append(self._take() if self._kind == "word" else "")
            c = self._scope.type(" ".join(words)) if self._scope is not None else None
            if c is None:
                raise self.fail(f"there is no type '{' '.join(words)}'", column)
            type: Type | None = source_type(c)
        else:
            while self._kind == "word" and (self._token in TYPE_WORDS or self._token in _QUALIFIERS):
                words.append(self._take())
            if not words:
                raise self.fail(f"the type {why} is expected, as in u8, u16*, unsigned int")
            type = named_type([word for word in words if word not in _QUALIFIERS])
            if type is None:
                raise self.fail(f"'{' '.join(words)}' is no type", column)
        while self._kind == "word" and self._token in _QUALIFIERS:
            self._take()
        assert type is not None
        while self._is("*"):
            self._take()
            type = pointer(type)
        if not type.size:
            raise self.fail("void has no value; a pointer to it is void*", column)
        return type
