"""From the tokens of an expression to its nodes, by precedence climbing; operands are in parser.py.

Source of operators and precedence: ISO C, section 6.5; ``{type} address`` and ``@`` are gdb's (gdb manual,
"Expressions").
"""

from __future__ import annotations

from kvmdbg.errors import ExpressionError
from kvmdbg.language import code, elements, operators
from kvmdbg.language.code import Node
from kvmdbg.language.ctype import ADDRESS, EXACT, CType, array_of, integer, pointer
from kvmdbg.language.declarators import NESTING, Declarators
from kvmdbg.language.places import static_type
from kvmdbg.language.types import LINEAR, PHYSICAL

_BINARY = {
    op: level
    for level, ops in enumerate(("||", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "@", "+ -", "* / %"), 1)
    for op in ops.split()
}
_ASSIGNMENTS = frozenset(["=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="])

_WORDS = {
    "and": "&&", "or": "||", "not": "!", "bitand": "&", "bitor": "|", "xor": "^", "compl": "~", "not_eq": "!=",
}  # fmt: skip
"""Source: ISO C++, 5.5 (alternative tokens)."""

SEPARATE = 200  # parts that are deep by themselves, as those of a sum of 5,000 terms are
DEPTH = 60  # of operators, so that the generated source stays within what Python's parser takes
MOST_ELEMENTS = 10000
"""Of an array made by ``@``."""
NO_POINTER = "Attempt to take contents of a non-pointer value."


BOOL = integer("bool", 1, kind="bool")

Target = code.Name | code.Memory | code.BitField | code.Part
"""What can be assigned to."""


class Operators(Declarators):
    """The operators of one expression; what they work with is in Parser."""

    def _postfixed(self) -> Node:
        raise NotImplementedError

    def _suffixed(self, node: Node) -> Node:
        raise NotImplementedError

    def _checked(self, node: Node) -> Node:
        if node.depth > DEPTH:
            raise self.fail("the expression is nested too deeply", node.column)
        return node

    def _unexpected(self) -> ExpressionError:
        if self._kind == "end":
            return self.fail("an operand is expected at the end" if self.text.strip() else "an expression is expected")
        if self._kind == "op":
            return self.fail(f"an operand is expected, not '{self._token}'")
        return self.fail(f"'{self._token}' is not expected here")

    def _operand_of(self, node: Node) -> Node:
        """What operators work with: numbers, and the complex numbers and vectors that are several."""
        return node if elements.is_several(node.type) else self._number_of(node)

    def _truth_of(self, node: Node) -> Node:
        """What a condition is."""
        return elements.truth_of(node, self.abi) if elements.is_several(node.type) else self._number_of(node)

    def _number_of(self, node: Node, *, vectors: bool = False) -> Node:
        """What is one number: of an array or a function its address, of ``vectors`` only if so asked.

        ExpressionError for a structure.
        """
        type = node.type
        if type.is_number:
            return node
        if type.is_vector and not vectors:
            raise self.fail(f"a whole {type} is no number: name one of its elements, as in [0]", node.column)
        if type.kind == "function":
            made = pointer(type, self.pointer_size)
            operand = node.address if isinstance(node, code.Memory) else node
            return operators.Cast(column=node.column, type=made, operand=operand)
        if type.kind == "array" and isinstance(node, code.Memory) and type.target is not None:
            return operators.Cast(
                column=node.column, type=pointer(type.target, self.pointer_size), space=node.where,
                operand=node.address,
            )  # fmt: skip
        if type.kind == "array":
            raise self.fail("this array is in no memory of the guest: it has no address", node.column)
        hint = ": name one of its members" if type.members else ""
        hint = ": $_creal and $_cimag give its parts" if type.kind == "complex" else hint
        raise self.fail(f"a {type} cannot be worked with{hint}", node.column)

    def _address_of(self, node: Node) -> Node:
        """What can be an address, or a part of one."""
        node = self._number_of(node)
        if node.type.is_float:
            raise self.fail(f"a {node.type} is no address", node.column)
        return node

    def _comma(self) -> Node:
        """Expressions between commas: the last one's value."""
        node = self._assignment()
        while self._is(","):
            column = self._start
            self._take()
            right = self._assignment()
            node = self._checked(code.Comma(column=column, type=right.type, space=right.space, left=node, right=right))
        return node

    def _assignment(self) -> Node:
        self._nesting += 1
        node = self._ternary()
        if self._kind == "op" and self._token in _ASSIGNMENTS:
            column, op = self._start, self._token[:-1]
            if op and node.type.is_structure and (called := self._by_assignment(node, column)) is not None:
                self._nesting -= 1
                return called
            target = self._target(node, column, self._token)
            self._take()
            node = self._assigned(target, self._value_for(target), op, column)
        self._nesting -= 1
        return node

    def _target(self, node: Node, column: int, op: str) -> Target:
        root = node
        while isinstance(root, code.Part):
            root = root.whole
        if isinstance(node, code.Part) and isinstance(root, code.Name) and node.type.is_number:
            if root.name.lstrip("$").isdigit() or not root.name.strip("$"):
                raise self.fail(f"${root.name} is a value of the history: it cannot be assigned", column)
            return node
        bits = isinstance(node, code.BitField) and isinstance(node.unit, code.Memory)
        if not isinstance(node, code.Name | code.Memory) and not bits:
            if isinstance(node, code.Symbol) and node.type is ADDRESS:
                memory = f"of a symbol that has no type its memory is *(u32*){node.name}"
                raise self.fail(f"the source knows no variable '{node.name}' here; {memory}", node.column)
            hint = f"; its memory is *(u32*){node.name}" if isinstance(node, code.Symbol) else ""
            raise self.fail(f"'{op}' needs a register, a variable or memory to change{hint}", column)
        assert isinstance(node, code.Name | code.Memory | code.BitField)
        whole = isinstance(node, code.Memory) and not node.type.is_number and not elements.is_several(node.type)
        if whole and not (op == "=" and (node.type.is_structure or (node.type.kind == "array" and node.type.size))):
            what = "a whole array" if node.type.kind == "array" else f"a {node.type}"
            raise self.fail(f"'{op}' cannot change {what}", column)
        if op != "=" and isinstance(node, code.Name) and not node.type.is_number and not elements.is_several(node.type):
            raise self.fail(f"'{op}' cannot change a whole {node.type}", column)
        return node

    def _initialiser(self, type: CType) -> Node:
        raise NotImplementedError

    def _fitting(self, type: CType, value: Node, column: int) -> Node:
        raise NotImplementedError

    def _by_assignment(self, node: Node, column: int) -> Node | None:
        """What a class of C++ has for ``+=`` and the like, which is next; None for nothing."""
        kept = dict(self.__dict__)
        op = self._take()
        called = self._by_operator(op, node, self._assignment(), column)
        if called is None:
            self.__dict__.update(kept)
        return called

    def _value_for(self, target: Target) -> Node:
        """What stands behind an assignment: an expression, or the items of a whole array or structure."""
        column = self._start
        if not self._is("{") or target.type.is_number or isinstance(target, code.Name):
            return self._assignment()
        self._take()
        if not self._is_type():
            return self._initialiser(target.type)
        return self._fitting(target.type, self._suffixed(self._at_address(column)), column)

    def _assigned(self, target: Target, value: Node, op: str, column: int, post: bool = False) -> Node:
        free = isinstance(target, code.Name) and static_type(target.name)[0] is EXACT
        if not free and not op and (target.type.is_structure or not target.type.is_number):
            value = self._fitting(target.type, value, column)
        elif not free or op:
            value = self._operand_of(value) if elements.is_several(target.type) else self._number_of(value)
        type = target.type
        if op:
            made = self._arithmetic(op, target, value, column)
            type = made.type if free else type
        elif free:
            cast = isinstance(value, code.Memory) and value.cast
            if (
                not cast
                and not value.type.is_structure
                and not elements.is_several(value.type)
                and value.type.kind != "member"
                and not isinstance(value, code.Constant | code.Part | code.Chars | code.Items)
            ):
                value = self._number_of(value)
            type = value.type
        if isinstance(target, code.Name) and free:
            target = code.Name(column=target.column, type=target.type if op else type, name=target.name)
        return self._checked(
            operators.Assign(column=column, type=type, target=target, value=value, op=op, post=post, abi=self.abi)
        )

    def _ternary(self) -> Node:
        condition = self._binary(1)
        if not self._is("?"):
            return condition
        condition = self._truth_of(condition)
        column = self._start
        self._take()
        outer, self._colon = self._colon, False
        yes = self._assignment()
        self._colon = outer
        self._expect(":", "of '? :'")
        self._nesting += 1
        no = self._ternary()
        self._nesting -= 1
        sides = yes, no
        arrays = yes.type.kind == no.type.kind == "array" and not elements.is_several(yes.type)
        texts = arrays and any(not isinstance(one, code.Memory) for one in sides)
        if any(elements.is_several(one.type) for one in sides):
            yes, no = self._alike(yes, no, column)
        elif not texts and not (yes.type.same(no.type) and yes.type.is_structure):
            yes, no = self._number_of(yes), self._number_of(no)
        type = yes.type
        if not type.same(no.type) and type.is_number and no.type.kind != "pointer" != type.kind:
            type = self.abi.common(yes.type, no.type)
        elif type.kind != no.type.kind:
            type = yes.type if yes.type.kind == "pointer" else no.type
        space = yes.space if yes.space == no.space else LINEAR
        return self._checked(
            operators.Ternary(column=column, type=type, space=space, condition=condition, yes=yes, no=no, sides=sides)
        )

    def _alike(self, one: Node, other: Node, column: int) -> tuple[Node, Node]:
        """Complex numbers or vectors, or one of them and a number, as what they have in common."""
        try:
            return elements.alike(one, other, self.abi)
        except elements.Mismatch as error:
            raise self.fail(str(error), column) from None

    def _binary(self, least: int) -> Node:
        node = self._unary()
        while _BINARY.get(op := self._symbol(), 0) >= least:
            if self._prefix and op == "&" and not self.text[self._start + 1 :].strip():
                break  # "continue 5 &"
            column, level = self._start, _BINARY[op]
            self._take()
            right = self._binary(level + 1)
            node = self._several(node, right, column) if op == "@" else self._combined(op, node, right, column)
        return node

    def _symbol(self) -> str:
        """The operator that is next, "" for none; C++ has words for some."""
        if self._kind == "op":
            return self._token
        if self._kind != "word" or self._token not in _WORDS or self._scope is None or self._scope.language != "c++":
            return ""
        return _WORDS[self._token]

    @property
    def _is_cpp(self) -> bool:
        return self._scope is not None and self._scope.language == "c++"

    @property
    def _truth(self) -> CType:
        """The type of a comparison: int in C, bool in C++."""
        return BOOL if self._is_cpp else self.abi.int

    def _by_operator(self, op: str, left: Node, right: Node | None, column: int) -> Node | None:
        raise NotImplementedError

    def _member_address(self, column: int) -> Node | None:
        raise NotImplementedError

    def _combined(self, op: str, left: Node, right: Node, column: int) -> Node:
        if (called := self._by_operator(op, left, right, column)) is not None:
            return self._checked(called)
        if op in ("&&", "||"):
            left, right = self._truth_of(left), self._truth_of(right)
            word = "and" if op == "&&" else "or"
            before = left.operands if isinstance(left, operators.Logical) and left.word == word else (left,)
            return self._checked(
                operators.Logical(column=column, type=self._truth, word=word, operands=(*before, right))
            )
        left, right = self._operand_of(left), self._operand_of(right)
        if op in ("==", "!=", "<", "<=", ">", ">="):
            try:
                made = operators.compared(op, left, right, column, self.abi)
            except elements.Mismatch as error:
                raise self.fail(str(error), column) from None
            made.type = self._truth
            return self._checked(made)
        return self._arithmetic(op, left, right, column)

    def _arithmetic(self, op: str, left: Node, right: Node, column: int) -> Node:
        try:
            made = self._checked(operators.arithmetic(op, left, right, column, self.abi))
        except elements.Mismatch as error:
            raise self.fail(str(error), column) from None
        if made.depth < DEPTH // 2 or not made.type.is_number:
            return made
        self._separate += 1
        if self._separate > SEPARATE:
            raise self.fail("the expression is too long", column)
        return code.Separate(column=column, type=made.type, space=made.space, operand=made)

    def _several(self, node: Node, count: Node, column: int) -> Node:
        """``node@COUNT``: so many of them, from there on, as an array."""
        if not isinstance(node, code.Memory):
            raise self.fail("what stands before '@' must be in memory, as in *p@4", column)
        found = count.emit(code.Generator())
        if not count.type.is_integer or (found.constant and not 0 < found.low <= MOST_ELEMENTS):
            raise self.fail(f"behind '@' a count from 1 to {MOST_ELEMENTS} is expected", column)
        if not found.constant:
            return code.Several(
                column=column, type=array_of(node.type, None), address=node.address, where=node.where, count=count
            )
        return code.Memory(column=column, type=array_of(node.type, found.low), address=node.address, where=node.where)

    def _unary(self) -> Node:
        self._nesting += 1
        if self._nesting > NESTING:
            raise self.fail("the expression is nested too deeply")
        node = self._checked(self._prefixed())
        self._nesting -= 1
        return node

    def _prefixed(self) -> Node:
        column = self._start
        if (op := self._symbol()) in ("-", "~", "+"):
            self._take()
            operand = self._unary()
            if (called := self._by_operator(op, operand, None, column)) is not None:
                return called
            operand = self._operand_of(operand)
            if op == "+" and elements.is_several(operand.type):
                return operand
            if op == "+":
                type = self.abi.promoted(operand.type)
                return operators.Cast(column=column, type=type, space=operand.space, operand=operand)
            try:
                return operators.negated(op, operand, column, self.abi)
            except elements.Mismatch as error:
                raise self.fail(str(error), column) from None
        if op == "!":
            self._take()
            operand = self._unary()
            if (called := self._by_operator(op, operand, None, column)) is not None:
                return called
            return operators.Not(column=column, type=self._truth, operand=self._truth_of(operand))
        if self._is("*"):
            self._take()
            operand = self._unary()
            called = self._by_operator("*", operand, None, column)
            return called if called is not None else self._dereferenced(operand, column)
        if self._is("&"):
            self._take()
            if (pointed := self._member_address(column)) is not None:
                return pointed
            node = self._unary()
            if not isinstance(node, code.Memory | code.Symbol) or isinstance(node, code.Several):
                what = "a bit field has no address" if isinstance(node, code.BitField) else "needs something in memory"
                raise self.fail(f"'&' {what}" if what.startswith("needs") else what, column)
            return operators.address_of(node, column, self.pointer_size)
        if self._is("++", "--"):
            op = self._take()
            operand = self._unary()
            if (called := self._by_operator(op, operand, None, column)) is not None:
                return called
            target = self._target(operand, column, op)
            return self._assigned(target, code.Number(column=column, type=self.abi.int, value=1), op[0], column)
        if self._is("{"):
            self._take()
            if not self._is_type() and not self._is("}"):
                return self._suffixed(self._items(column))
            return self._at_address(column)
        if self._kind == "phys":
            self._take()
            operand = self._address_of(self._unary())
            type = operand.type if operand.type.kind == "pointer" else ADDRESS
            return operators.Cast(column=column, type=type, space=PHYSICAL, operand=operand)
        if self._kind == "word" and self._token == "sizeof":
            self._take()
            return self._sizeof(column)
        if (
            self._kind == "word"
            and self._token in ("alignof", "_Alignof")
            and self.text[self.end_of_token() :].lstrip()[:1] == "("
        ):
            self._take()
            return self._alignof(column)
        return self._postfixed()

    def _at_address(self, column: int) -> Node:
        """``{type} address``; the type is next."""
        type = self._type("of a '{type} address'")
        self._expect("}", "after the type")
        address = self._address_of(self._unary())
        return code.Memory(column=column, type=type, address=address, where=address.space)

    def _items(self, column: int) -> Node:
        """The elements of an array that is typed as ``{1, 2}``; the first is next."""
        items: list[Node] = []
        while not items or self._is(","):
            if items:
                self._take()
            items.append(self._assignment())
        self._expect("}", "behind the elements of an array")
        if len(items) == 1 and isinstance(items[0], code.Symbol) and self._kind in ("number", "word", "dollar", "phys"):
            raise self.fail(f"the type of a '{{type}} address' is expected, not '{items[0].name}'", items[0].column)
        first = items[0].type if items[0].type is not EXACT else self.abi.long
        if any(one.type.size != first.size or one.type.is_number != first.is_number for one in items):
            raise self.fail("the elements of an array must have one size", column)
        return self._checked(code.Items(column=column, type=array_of(first, len(items)), items=tuple(items)))

    def _dereferenced(self, node: Node, column: int) -> Node:
        """``*node``. A plain number and a bare address point to an int, as in gdb."""
        if node.type.kind == "function":
            return node
        first = code.Number(column=column, value=0)
        if node.type.kind == "array" and not isinstance(node, code.Memory):
            return self._element(node, first, column)
        whole = node
        node = self._number_of(node, vectors=True) if node.type.kind == "array" else node
        type, to = node.type, node.type.target
        if type is ADDRESS or type.is_integer or type is EXACT:
            to = self.abi.int
        elif type.kind != "pointer" or to is None or to.kind == "void":
            hint = " Say what it points to, as in *(int *)(...)" if type.kind == "pointer" else ""
            raise self.fail(NO_POINTER + hint, column)
        return self._inside(whole, code.Memory(column=column, type=to, address=node, where=node.space), first, column)

    def _inside(self, whole: Node, part: Node, offset: Node, column: int) -> Node:
        """``part`` as what is so many bytes into ``whole``, which may be a variable that is in no memory."""
        if isinstance(whole, code.PartOfVariable):
            offset = operators.Arithmetic(column=column, op="+", left=whole.offset, right=offset, common=EXACT)
        elif not isinstance(whole, code.SourceVariable):
            return part
        if whole.type.kind == "pointer" or whole.type.is_counted_later or not isinstance(part, code.Memory):
            return part
        return code.PartOfVariable(
            column=column, type=part.type, address=part.address, where=part.where, name=whole.name, offset=offset
        )

    def _in_bytes(self, index: Node, element: CType, column: int) -> Node:
        """Where an element of an array is in it."""
        size = code.Number(column=column, value=element.size)
        return operators.Arithmetic(column=column, op="*", left=index, right=size, common=EXACT)

    def _element(self, array: Node, index: Node, column: int) -> Node:
        """An element of an array that is in no memory."""
        to = array.type.target
        assert to is not None
        offset = self._in_bytes(index, to, column)
        return self._checked(code.Part(column=column, type=to, whole=array, offset=offset))

    def _alignof(self, column: int) -> Node:
        outer, self._colon = self._colon, True
        self._take()
        type = self._type("of alignof") if self._is_type() else self._comma().type
        self._expect(")", "of alignof")
        self._colon = outer
        if type.by_mode:
            return code.SizeOf(column=column, type=self.abi.int)
        return code.Number(column=column, type=self.abi.int, value=self.abi.alignment(type))

    def _sizeof(self, column: int) -> Node:
        operand: Node | None = None
        if self._is("("):
            outer, self._colon = self._colon, True
            self._take()
            if self._is_type():
                start = self._start
                type = self._type("of sizeof", whole=False)
                if type.kind == "array":
                    self._check_size(type, start)
                type = type.target if type.reference and type.target is not None else type
            else:
                operand = self._comma()
                type = operand.type
            self._expect(")", "of sizeof")
            self._colon = outer
        else:
            operand = self._unary()
            type = operand.type
        if type.by_mode:
            return code.SizeOf(column=column, type=self.abi.int, operand=operand)
        size = 1 if type.kind in ("void", "function") else type.size
        if operand is not None:
            return code.SizeOfValue(column=column, type=self.abi.int, value=size, operand=operand)
        return code.Number(column=column, type=self.abi.int, value=size)  # gdb: an int
