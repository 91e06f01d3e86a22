"""The operands of an expression: numbers, names, calls, casts, members, elements.

Source: ISO C, sections 6.4.4 (constants) and 6.5.1 to 6.5.4; ``FILE::NAME`` and ``FUNCTION::NAME`` are gdb's (gdb
manual, "Program Variables").
"""

from __future__ import annotations

from fractions import Fraction

from kvmdbg.language import calls, code, elements, functions, operators
from kvmdbg.language.classes import CASTS, Classes
from kvmdbg.language.code import Node
from kvmdbg.language.ctype import ADDRESS, EXACT, U64, VOID, CType, Member, array_of, integer, pointer
from kvmdbg.language.floats import Extended, single
from kvmdbg.language.precedence import Target
from kvmdbg.language.rust import is_slice
from kvmdbg.language.types import LINEAR
from kvmdbg.record import replace

DIGITS = "0123456789abcdef"


class Parser(Classes):
    """One expression at ``pos`` of ``text``."""

    def parse(self) -> Node:
        """The expression; ExpressionError where there is none, or (without ``prefix``) something follows."""
        node = self._comma()
        if not self._prefix and self._kind != "end":
            if self._is("(") and isinstance(node, code.Symbol):
                cast = f"code at a symbol is called as ((int (*)()) {node.name})()"
                raise self.fail(f"no function of a known type is called '{node.name}'; {cast}", node.column)
            raise self.fail(f"'{self._token}' is not expected here")
        return node

    def operand_alone(self) -> CType:
        """The type of an operand of ``*`` and the like that is all of the text; void for what is none."""
        node = self._unary()
        return node.type if self._kind == "end" and node.type.kind == "pointer" else VOID

    def _postfixed(self) -> Node:
        return self._suffixed(self._operand())

    def _suffixed(self, node: Node) -> Node:
        """What stands behind an operand: its elements, its members, its results."""
        if self._colon and self._is(":"):
            column = self._start
            self._take()
            segment, offset = self._number_of(node), self._number_of(self._operand())
            if segment.type.is_float or offset.type.is_float:
                raise self.fail("a segment and an offset in it are integers", node.column)
            node = self._checked(code.SegmentOffset(column=column, type=ADDRESS, segment=segment, offset=offset))
        while True:
            column = self._start
            if self._is("["):
                node = self._indexed(node, column)
            elif self._is("(") and _called(node.type) is not None:
                node = self._guest_call(node, column)
            elif self._is("(") and node.type.is_structure and (methods := node.type.methods_named("operator()")[0]):
                node = self._guest_call(self._method(node, methods, column), column)
            elif self._is("->"):
                self._take()
                node = self._member(node, column)
            elif self._kind in ("word", "number") and self._token.startswith(".") and self._start == self.end:
                self._take(1)
                node = self._member(node, column)
            elif self._is("++", "--") and isinstance(node, Target | code.Symbol):
                op = self._take()
                behind = code.Number(column=column, type=self.abi.int, value=0)  # which one it is: ISO C++, 12.4.7
                if node.type.is_structure and (called := self._by_operator(op, node, behind, column)) is not None:
                    node = called
                    continue
                one = code.Number(column=column, type=self.abi.int, value=1)
                node = self._assigned(self._target(node, column, op), one, op[0], column, post=True)
            else:
                return node

    def _indexed(self, node: Node, column: int) -> Node:
        if is_slice(node.type):
            node = self._field(node, node.type.members[0], column)
        in_memory = isinstance(node, code.Memory) or node.type.kind != "array"
        of_class = node.type.is_structure and bool(node.type.methods_named("operator[]")[0])
        whole = node
        if in_memory and not of_class:
            node = self._number_of(node, vectors=True)
            if node.type.target is not None and node.type.target.is_counted_later:
                raise self.fail("how long the rows of it are is known only in the frame of its function", column)
            if node.type.kind != "pointer" or node.type.target is None or not node.type.target.size:
                raise self.fail("what '[' indexes must be a pointer, as in ((u16*)0x500)[3]", column)
        self._take()
        outer, self._colon = self._colon, True
        index = self._comma()
        self._expect("]", "after the index")
        self._colon = outer
        if of_class and (called := self._by_operator("[]", node, index, column)) is not None:
            return self._checked(called)
        index = self._number_of(index)
        if not in_memory:
            return self._element(node, index, column)
        element = self._dereferenced(self._arithmetic("+", node, index, column), column)
        return self._checked(self._inside(whole, element, self._in_bytes(index, element.type, column), column))

    def _member(self, node: Node, column: int) -> Node:
        """``node.name`` or ``node->name``; the name is next."""
        if node.type.kind == "pointer":
            node = self._dereferenced(node, column)
        if isinstance(node, code.Memory) and node.type.kind == "array" and not node.type.is_vector:
            node = self._dereferenced(self._number_of(node), column)
        type = node.type
        if self._is("*") and type.is_structure:
            return self._by_pointer(node, column)
        if self._kind != "word" and not (self._kind == "number" and type.language == "rust"):
            raise self.fail("the name of a member is expected")
        if not type.is_structure:
            raise self.fail("what stands before a member is no structure", column)
        name = self._token.partition(".")[0]
        found = type.member(name) or (type.member(f"__{name}") if name.isdigit() else None)
        if found is None and type.language == "c++":
            return self._of_class(node, name, column)
        if found is None:
            raise self._no_member(type, name)
        self._take(len(name))
        way = self._way_to(type, found.name, column)
        if any(one.virtual is not None for one in way):
            for one in way:
                node = self._field(node, one, column)
            return self._checked(node)
        whole = replace(way[-1], offset=sum(one.offset for one in way))
        return self._checked(self._field(node, whole, column))

    def _field(self, node: Node, found: Member, column: int) -> Node:
        at = found.offset + found.bit // 8 if found.bits else found.offset
        offset = code.Number(column=column, value=at)
        bit = found.bit % 8
        type = integer("", (bit + found.bits + 7) // 8) if found.bits else found.type
        if isinstance(node, code.Memory):
            add = operators.Arithmetic(column=column, op="+", left=node.address, right=offset, common=EXACT)
            place = operators.Cast(column=column, type=U64, operand=add)
            unit = self._inside(
                node, code.Memory(column=column, type=type, address=place, where=node.where), offset, column
            )
        else:
            unit = code.Part(column=column, type=type, whole=node, offset=offset)
        if found.virtual is not None and isinstance(node, code.Memory):
            start = code.VirtualBase(column=column, type=U64, address=node.address, find=found.virtual)
            return code.Memory(column=column, type=found.type, address=start, where=node.where)
        if not found.bits:
            return self._referred(unit, column) if type.reference else unit
        return code.BitField(column=column, type=found.type, unit=unit, bit=bit, bits=found.bits)

    def _operand(self) -> Node:
        column = self._start
        if self._kind == "number":
            return self._literal(column)
        if self._kind == "dollar":
            name = self._take()[1:]
            if self._is("(") and self._start == self.end:
                special = {"_isvoid": self._is_void, "_as_string": self._as_string}.get(name)
                if name in ("_creal", "_cimag"):
                    return self._complex_part(name, column)
                if name in ("_gdb_setting", "_gdb_setting_str"):
                    return self._setting(name, column)
                return special(column) if special is not None else self._call(name, column)
            found = code.named(name, column)
            if found.type is EXACT and self._scope is not None and name not in self.fields:
                found.type = self._scope.variable_type(name) or EXACT
            return found
        if self._kind == "string":
            data, prefix = self._text()
            element = self.abi.character(prefix, self._is_cpp)
            data += bytes(element.size)
            return code.Constant(column=column, type=array_of(element, len(data) // element.size), value=data)
        if self._kind == "char":
            if self._names_a_scope():
                return self._named(column)
            if (quoted := self._quoted_name(column)) is not None:
                return quoted
            value, prefix = self._character()
            if prefix:
                return code.Number(column=column, type=self.abi.character(prefix, self._is_cpp), value=value)
            return code.Number(column=column, type=self.abi.char, value=value - 256 if value > 127 else value)
        if self._kind == "word":
            if self._token in CASTS and self.text.startswith("<", self.end_of_token()):
                return self._named_cast(column)
            if self._token == "dynamic_cast" and self.text.startswith("<", self.end_of_token()):
                return self._dynamic_cast(column)
            if self._is_built_in():
                raise self.fail(f"'{self._token}' is a type; a cast is written ({self._token})VALUE")
            return self._named(column)
        if not self._is("("):
            raise self._unexpected()
        outer, self._colon = self._colon, True
        self._take()
        if self._is_type():
            type = self._type("of a cast", whole=False)
            self._expect(")", "after the type")
            self._colon = outer
            if type.kind == "void":
                return operators.Discarded(column=column, type=type, operand=self._unary())
            if type.kind == "array" and type.count is None and not self._is("{"):
                operand = self._unary()
                return self._cast(self._filled(type, operand.type, column), operand, column)
            self._check_size(type, column + 1)
            if self._is("{") and not type.is_number:
                brace = self._start
                self._take()
                if not self._is_type():
                    return self._initialiser(type)
                return self._cast(type, self._at_address(brace), column)
            return self._cast(type, self._unary(), column)
        node = self._comma()
        self._expect(")", f"for the '(' at column {column + 1}")
        self._colon = outer
        return node

    def _filled(self, array: CType, value: CType, column: int) -> CType:
        """The array of as many elements as the bytes of a value make."""
        element = array.target
        if element is None or not element.size or not value.size or value.size % element.size:
            raise self.fail(f"the {value.size} bytes of a {value} are no {array}", column)
        return array_of(element, value.size // element.size)

    def _cast(self, type: CType, operand: Node, column: int) -> Node:
        if type.kind == "function":
            raise self.fail(f"nothing can be cast to a function; a pointer to one is {type.declaring('(*)')}", column)
        if type.kind == "complex":
            return self._fitting(type, operand, column)
        if operand.type.kind == "complex" and type.is_number:
            operand = elements.part_of(operand, 0)
        if operand.type.is_structure:
            operand = self._as_object(type, operand, column)
        if not type.is_number:  # the same bytes as an array or a structure
            if isinstance(operand, code.Memory):
                return code.Memory(column=column, type=type, address=operand.address, where=operand.where, cast=True)
            if operand.type.size != type.size:
                raise self.fail(f"a {operand.type} has not the size of {type}", column)
            return code.Chars(column=column, type=type, operand=operand)
        if type.reference and type.target is not None and isinstance(operand, code.Memory):
            return code.Memory(
                column=column, type=type.target, address=operand.address, where=operand.where, reference=type
            )
        operand = self._number_of(operand)
        if type.kind == "pointer" and operand.type.kind == "pointer":
            operand = self._to_base_or_back(type, operand, column)
        if operand.type.is_float and type.kind == "pointer":
            raise self.fail(f"a {operand.type} is no address", column)
        return operators.Cast(column=column, type=type, space=operand.space, operand=operand)

    def _literal(self, column: int) -> Node:
        if self._token[-1] not in "iI":
            return self._real(column)
        self._token = self._token[:-1]
        number = self._real(column)
        self._take()
        return elements.imaginary(number)

    def _real(self, column: int) -> Node:
        floating = self._floating()
        if floating is not None:
            exact, suffix = floating
            if suffix == "l":
                return code.Constant(column=column, type=self.abi.long_double, value=Extended(exact))
            value = _nearest(exact)
            type = self.abi.float if suffix == "f" else self.abi.double
            return code.Constant(column=column, type=type, value=single(value) if suffix == "f" else value)
        number, suffix = self._number()
        abi, longs = self.abi, suffix.count("l")
        ranks = [(abi.int, abi.unsigned), (abi.long, abi.unsigned_long), (abi.long_long, abi.unsigned_long_long)]
        for rank, (signed, unsigned) in enumerate(ranks):
            if rank < longs:
                continue
            if number <= signed.high and "u" not in suffix:
                return code.Number(column=column, type=signed, value=number)
            if number <= unsigned.high and ("u" in suffix or "d" not in suffix or rank == 2):
                return code.Number(column=column, type=unsigned, value=number)
        raise self.fail(f"{number} does not fit 64 bits", column)

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
            one = self._assignment()
            typed = one.type.kind == "array" and not isinstance(one, code.Memory)
            given.append(one if typed else self._number_of(one))
            if one.type.is_float:
                raise self.fail(f"${name} takes integers, addresses and texts, no {one.type}", one.column)
        self._take()
        self._colon = outer
        least, most = functions.arguments(made)
        if not least <= len(given) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise self.fail(f"${name} takes {wanted} arguments, {len(given)} were given", column)
        return self._checked(code.Call(column=column, name=name, arguments=tuple(given)))

    def _is_void(self, column: int) -> Node:
        """``$_isvoid(EXPRESSION)``, which is true of a variable without a value alone."""
        self._take()
        asked = self._assignment()
        self._expect(")", "of $_isvoid")
        if not isinstance(asked, code.Name):
            return code.Number(column=column, type=self.abi.int, value=int(asked.type.kind == "void"))
        return code.IsVoid(column=column, type=self.abi.int, name=asked.name)

    def _setting(self, name: str, column: int) -> Node:
        """``$_gdb_setting("print elements")`` as a number or a text, ``$_gdb_setting_str`` as ``show`` has it."""
        self._take()
        if self._kind != "string":
            raise self.fail(f"${name} takes the name of a setting between double quotes")
        setting = self._text()[0].decode("latin-1")
        self._expect(")", f"of ${name}")
        found = self._scope.setting(setting) if self._scope is not None else None
        if found is None:
            raise self.fail(f"there is no setting '{setting}'; show lists them", column)
        value, shown = found
        if isinstance(value, int) and name == "_gdb_setting":
            return code.Number(column=column, type=self.abi.int, value=int(value))
        text = shown.encode("latin-1", "replace") + b"\0"
        return code.Constant(column=column, type=array_of(self.abi.char, len(text)), value=text)

    def _guest_call(self, node: Node, column: int) -> Node:
        """The arguments of a function of the guest; the "(" is next."""
        type = _called(node.type)
        assert type is not None and type.target is not None
        self._take()
        outer, self._colon = self._colon, True
        given: list[Node] = []
        while not self._is(")"):
            if given:
                self._expect(",", "after an argument")
            one = self._assignment()
            text = isinstance(one, code.Constant) and one.type.kind == "array"
            whole = text or one.type.is_structure or elements.is_several(one.type)
            given.append(one if whole else self._number_of(one))
        self._take()
        self._colon = outer
        return self._called_with(node, type, given, column)

    def _called_with(self, node: Node, type: CType, given: list[Node], column: int) -> Node:
        """A call of a function of this type with these arguments."""
        assert type.target is not None
        this = node.this if isinstance(node, code.Symbol | calls.Bound) else None
        given = [this, *given] if this is not None else given
        wanted = type.parameters
        if wanted is not None and (len(given) < len(wanted) or (len(given) > len(wanted) and not type.takes_more)):
            own = 0 if this is None else 1
            many = f"takes {len(wanted) - own} arguments, {len(given) - own} were given"
            raise self.fail(f"the function {many}", column)
        for index, parameter in enumerate(wanted or ()):
            one = given[index]
            if parameter.reference and not one.type.reference:
                if not isinstance(one, code.Memory):
                    given[index] = self._put_beside(one, parameter)
                    continue
                given[index] = operators.address_of(one, one.column, self.pointer_size)
            elif elements.is_several(parameter) or elements.is_several(one.type):
                given[index] = self._cast(parameter, one, one.column)
            elif one.type.is_structure != parameter.is_structure:
                raise self.fail(f"the function takes a {parameter} there, no {one.type}", one.column)
        takes = list(wanted or ())
        for one in given[len(takes) :]:
            takes.append(self._promoted(one.type))
        for index, one in enumerate(given):
            if one.type.kind == "array" and not one.type.is_vector:
                takes[index] = one.type
        function = self._number_of(node)
        result = type.target
        call = calls.GuestCall(
            column=column, type=result, function=function, arguments=tuple(given), takes=tuple(takes)
        )
        if result.reference and result.target is not None:
            return calls.Referred(
                column=column, type=result.target, where=LINEAR, reference=result, call=call,
                address=operators.Cast(column=column, type=pointer(result.target, result.size), operand=call),
            )  # fmt: skip
        return call

    def _put_beside(self, value: Node, parameter: CType) -> Node:
        """What is in no memory as an argument that is a reference: its bytes, which the call puts on the stack."""
        target = parameter.target
        if target is None or not (parameter.rvalue or "const" in target.qualifiers):
            raise self.fail(f"an argument that is a {parameter} must be in memory", value.column)
        if target.is_number:
            value = operators.Cast(column=value.column, type=target, operand=self._number_of(value))
        return code.Chars(column=value.column, type=array_of(self.abi.char, target.size), operand=value)

    def _promoted(self, type: CType) -> CType:
        """What an argument is that no parameter is declared for: an int at least, a double."""
        if type is EXACT or (type.is_number and not type.is_float and type.size < self.abi.int.size):
            return self.abi.int
        return self.abi.double if type.is_float and type.size == 4 else type

    def _as_string(self, column: int) -> Node:
        """``$_as_string(EXPRESSION)``: the name of an enumeration's value."""
        self._take()
        operand = self._number_of(self._assignment())
        self._expect(")", "of $_as_string")
        return code.AsString(column=column, type=array_of(self.abi.char, None), operand=operand)

    def _complex_part(self, name: str, column: int) -> Node:
        """``$_creal(EXPRESSION)`` and ``$_cimag(EXPRESSION)``."""
        self._take()
        operand = self._assignment()
        self._expect(")", f"of ${name}")
        if operand.type.kind != "complex":
            raise self.fail(f"${name} takes a complex number, not a {operand.type}", operand.column)
        return self._checked(elements.part_of(operand, int(name == "_cimag")))

    def _names_a_scope(self) -> bool:
        """Whether ``'file.c'`` is next and a ``::`` behind it."""
        return self.text.startswith("::", self.end_of_token())

    def _named(self, column: int) -> Node:
        """A variable, a function or an enumerator of the source, or else a symbol."""
        name = self._token
        if self._kind == "char":
            file = self._take()[1:-1]
            if self._kind != "word" or not self._token.startswith("::"):
                raise self.fail("a name is expected behind '::'")
            self._take(2)
            rest = self._token.partition(".")[0]
            found = self._scope.variable(f"{file}::{rest}") if self._scope is not None else None
            if found is None:
                raise self.fail(f'No symbol "{rest}" in "{file}"')
            self._take(len(rest))
            return self._declared(f"{file}::{rest}", found, column)
        first = name.partition(".")[0]
        if self._scope is not None and (made := self._with_template(column)) is not None:
            return made
        if self._scope is not None:
            if (of_this := self._of_this(first, column)) is not None:
                return of_this
            for one in dict.fromkeys((name, first)):
                found = self._scope.variable(one) if one else None
                if found is not None:
                    self._take(len(one))
                    if found.kind == "function":
                        one, found = self._overloaded(one, found)
                    return self._declared(one, found, column)
            if (inherited := self._by_class(first, column)) is not None:
                return inherited
            if name in ("true", "false") and self._scope.language == "c++":
                return code.Number(column=column, type=self._truth, value=int(self._take() == "true"))
            constant = self._scope.constant(name)
            if constant is not None:
                self._take()
                return code.Number(column=column, value=constant[0], type=constant[1])
            if self._scope.language == "c++" and self._scope.type(first) is not None:
                raise self.fail(f"'{first}' is a type here; a cast is written ({first})VALUE", column)
        if len(name) <= 16 and not set(name.lower()).difference(DIGITS[: self._radix]):
            return elements.Digits(column=column, type=self.abi.long, name=self._take(), base=self._radix)
        symbol = code.Symbol(column=column, type=ADDRESS, name=self._take().removeprefix("::"))
        return self._by_arguments(name, column) or symbol

    def _declared(self, name: str, type: CType, column: int) -> Node:
        if type.kind == "function":
            return code.Symbol(column=column, type=type, name=name)
        address = code.SourceAddress(column=column, type=U64, name=name)
        found = code.SourceVariable(column=column, type=type, address=address, where=LINEAR, name=name)
        return self._referred(found, column) if type.reference else found

    def _referred(self, node: Node, column: int) -> Node:
        """What a reference refers to."""
        found = self._dereferenced(node, column)
        if isinstance(found, code.Memory):
            found.reference = node.type
        return found


def _nearest(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return float("inf")


def _called(type: CType) -> CType | None:
    """The function that a function or a pointer to one is; None for anything else."""
    found = type.target if type.kind == "pointer" else type
    return found if found is not None and found.kind == "function" and found.target is not None else None
