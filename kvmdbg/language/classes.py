"""C++ in expressions: members of classes, functions that share a name, casts by name, pointers to members.

Source: ISO C++, 7.6 (expressions), 12.2 (overload resolution); Itanium C++ ABI, 2.3 (pointers to members).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kvmdbg.errors import ExpressionError
from kvmdbg.language import calls, code, operators
from kvmdbg.language.code import Node
from kvmdbg.language.ctype import EXACT, U64, CType, Member, Method, Static, array_of, integer, pointer
from kvmdbg.language.initialisers import Initialisers
from kvmdbg.language.objects import has_table
from kvmdbg.language.overloads import Overload, best, fitting, parameters_of
from kvmdbg.language.types import LINEAR, raw_of

CASTS = frozenset(["static_cast", "reinterpret_cast", "const_cast"])
_NESTED = re.compile(r"(?:::\w+)+")
_TEMPLATE = re.compile(r"(<(?:[^<>()]|<(?:[^<>]|<[^<>]*>)*>)*>)(?:\([^()]*\))?")
"""The arguments of a template, and the types of a function's parameters."""
_PARAMETERS = re.compile(r"\(([^()]*)\)(\s*const\b)?")


class Classes(Initialisers):
    """What one expression has of C++; what it works with is in Parser."""

    def _member(self, node: Node, column: int) -> Node:
        raise NotImplementedError

    def _field(self, node: Node, found: Member, column: int) -> Node:
        raise NotImplementedError

    def _declared(self, name: str, type: CType, column: int) -> Node:
        raise NotImplementedError

    def _cast(self, type: CType, operand: Node, column: int) -> Node:
        raise NotImplementedError

    def _called_with(self, node: Node, type: CType, given: list[Node], column: int) -> Node:
        raise NotImplementedError

    def _no_member(self, type: CType, name: str) -> ExpressionError:
        known = ", ".join(one.name for one in type.members[:8] if one.name)
        return self.fail(f"{type} has no member '{name}'" + (f"; it has {known}" if known else ""))

    def _of_class(self, node: Node, name: str, column: int) -> Node:
        """A static member, a member function, or a member of the base that is named before it."""
        type, own = node.type, name.rpartition("::")[2]
        if (of_base := self._named_class(type, name)) is not None:
            self._take(of_base[0])
            for one in of_base[1]:
                node = self._field(node, one, column)
            return self._member(node, column)
        found = type.static(own)
        if found is not None and self._scope is not None:
            self._take(len(name))
            return self._static(*found, column)
        methods, way = type.methods_named(own)
        if not methods:
            raise self._no_member(type, name)
        self._take(len(name))
        for one in way:
            node = self._field(node, one, column)
        return self._method(node, methods, column)

    def _named_class(self, type: CType, name: str) -> tuple[int, list[Member]] | None:
        """Of the class or the base of it that stands before a member's name: its length, and the way there."""
        parts = name.split("::")
        for count in range(len(parts) - 1, 0, -1):
            scope = "::".join(parts[:count])
            if way := type.way_to_base(scope.removeprefix("::")):
                return len(scope) + 2, way
            if scope and type.goes_by(scope.removeprefix("::")):
                return len(scope) + 2, []
        return None

    def _of_this(self, name: str, column: int) -> Node | None:
        """A member that a member function names alone; None where it names none."""
        scope = self._scope
        if scope is None or scope.language != "c++" or name.startswith("::") or scope.is_local(name):
            return None
        this = scope.variable("this") if scope.is_local("this") else None
        own = this.target.resolved if this is not None and this.target is not None else None
        if this is None or own is None or not own.is_structure or own.goes_by(name) or own.way_to_base(name):
            return None
        if not (own.member(name) or own.static(name) or own.methods_named(name)[0] or self._named_class(own, name)):
            return None
        return self._member(self._dereferenced(self._declared("this", this, column), column), column)

    def _by_class(self, name: str, column: int) -> Node | None:
        """A member of a class that is named before it and has it by a base: ``Derived::count``; None for none."""
        scope, within, own = name.rpartition("::")
        owner = self._scope.type(scope) if self._scope is not None and within and scope else None
        if owner is None or not owner.is_structure or owner.goes_by(own) or owner.way_to_base(own):
            return None
        if (static := owner.static(own)) is not None:
            self._take(len(name))
            return self._static(*static, column)
        if methods := owner.methods_named(own)[0]:
            self._take(len(name))
            if methods[0].static:
                return self._method(code.Number(column=column, value=0), methods, column)
            return code.Symbol(column=column, type=methods[0].type, name=methods[0].symbol or name)
        return None

    def _static(self, member: Static, owner: CType, column: int) -> Node:
        """A static member of a class, where it is defined; a constant that is nowhere."""
        name = f"{owner.given}::{member.name}"
        declared = self._scope.variable(name) if self._scope is not None else None
        if declared is not None:
            return self._declared(name, declared, column)
        if not member.data:
            raise self.fail(f"{name} is in none of the program's files", column)
        value = raw_of(member.data, member.type)
        if member.type.is_number and isinstance(value, int):
            return code.Number(column=column, type=member.type, value=value)
        return code.Constant(column=column, type=member.type, value=value)

    def _method(self, node: Node, methods: Sequence[Method], column: int) -> Node:
        """A member function of an object: of several of that name the one that takes what follows."""
        methods = fitting(methods, node.type)
        chosen = methods[0]
        if len(methods) > 1:
            if not self._is("("):
                raise self.fail(
                    f"of several functions called {chosen.name} the arguments say which one is meant", column
                )
            given = self._arguments_ahead()
            if given is not None:
                chosen = best(methods, given) or chosen
        this: Node | None = None
        if isinstance(node, code.Memory) and not chosen.static:
            start = operators.address_of(node, column, self.pointer_size)
            this = calls.Once(column=column, type=start.type, space=start.space, operand=start)
        elif not chosen.static:  # what another call has returned: the call puts it on the stack
            bytes_of = array_of(self.abi.char, node.type.size)
            this = code.Chars(column=column, type=bytes_of, operand=node)
        if chosen.virtual and chosen.slot is not None and isinstance(this, calls.Once) and self._is("("):
            table = code.Memory(column=column, type=pointer(U64), address=this, where=LINEAR)
            size = self.pointer_size or 8
            table.type = pointer(pointer(chosen.type, size), size)
            at = code.Number(column=column, type=self.abi.int, value=chosen.slot)
            place = self._arithmetic("+", table, at, column)
            function = code.Memory(column=column, type=pointer(chosen.type, size), address=place, where=LINEAR)
            return calls.Bound(column=column, type=chosen.type, address=function, where=LINEAR, this=this)
        return code.Symbol(column=column, type=chosen.type, name=chosen.symbol or chosen.name, this=this)

    def _arguments_ahead(self) -> list[CType] | None:
        """The types of the arguments that follow in parentheses, which stay where they are; None for mistakes."""
        if self._start in self._ahead:
            return self._ahead[self._start]
        kept, start = dict(self.__dict__), self._start
        try:
            self._take()
            given: list[CType] = []
            while not self._is(")"):
                if given:
                    self._expect(",", "after an argument")
                given.append(self._assignment().type)
            self._ahead[start] = given
        except ExpressionError:
            self._ahead[start] = None
        finally:
            self.__dict__.update(kept)
        return self._ahead[start]

    def _quoted_name(self, column: int) -> Node | None:
        """A name in quotes, as C++'s may need: ``'overloaded(int)'``; None where a character is next."""
        inner = self._token[1:-1]
        if self._scope is None or len(inner) < 2 or not self._token.endswith("'") or inner[0] == "\\":
            return None
        found = self._scope.variable(inner)
        if found is None:
            return None
        self._take()
        return self._declared(inner, found, column)

    def _with_template(self, column: int) -> Node | None:
        """A function that is made of a template: ``biggest<int>``, ``biggest<int>(int, int)``."""
        if self._scope is None or not self.text.startswith("<", self.end_of_token()):
            return None
        match = _TEMPLATE.match(self.text, self.end_of_token())
        if match is not None and (nested := _NESTED.match(self.text, match.end(1))) is not None:
            name = re.sub(r",(?! )", ", ", self.text[self._start : nested.end()])
            if (static := self._scope.variable(name)) is not None:
                self._skip_to(nested.end())
                return self._declared(name, static, column)
        for end in (match.end(), match.end(1)) if match is not None else ():
            name = re.sub(r",(?! )", ", ", self.text[self._start : end])
            found = self._scope.variable(name)
            if found is not None and found.kind == "function":
                self._skip_to(end)
                return self._declared(name, found, column)
        return None

    def _overloaded(self, name: str, type: CType) -> tuple[str, CType]:
        """The function of that name which takes the arguments that follow, or has the types that do: ``f(int)``."""
        functions = self._scope.overloads(name) if self._scope is not None else []
        if not self._is("("):
            if len(functions) < 2:
                return name, type
            owner = self._scope.type(name.rpartition("::")[0]) if self._scope is not None and "::" in name else None
            if owner is not None and owner.is_structure:
                this, takes = parameters_of(functions[0][1])
                one = f"{name}({', '.join(map(str, takes))})"
                const = " const" if this is not None and "const" in this.qualifiers else ""
                raise self.fail(f"there are several {name}: name one with its types, as in {one}{const}")
            return name, type
        if (typed := self._with_types(functions)) is not None:
            return typed
        given = self._arguments_ahead() if len(functions) > 1 else None
        if given is None:
            return name, type
        chosen = best([Overload(*one) for one in functions], given)
        return (chosen.name, chosen.type) if chosen is not None else (name, type)

    def _with_types(self, functions: list[tuple[str, CType]]) -> tuple[str, CType] | None:
        """The one whose types of parameters are next, in parentheses; they have been taken then."""
        match = _PARAMETERS.match(self.text, self._start)
        if match is None or self._scope is None or self._scope.variable(match[1].strip()) is not None:
            return None
        wanted = [str(type(self)(one, scope=self._scope).type_alone()) for one in match[1].split(",") if one.strip()]
        for name, made in functions:
            this, takes = parameters_of(made)
            is_const = this is not None and "const" in this.qualifiers
            if wanted == [str(one) for one in takes] and (wanted or match[2]) and bool(match[2]) == is_const:
                self._skip_to(match.end())
                return name, made
        return None

    def _by_arguments(self, name: str, column: int) -> Node | None:
        """A function in the namespace of one of its arguments, whose name has been taken; None for none.

        Source: ISO C++, 6.5.4 (argument-dependent name lookup).
        """
        if self._scope is None or self._scope.language != "c++" or not self._is("(") or "::" in name:
            return None
        given = self._arguments_ahead() or []
        inner = [one.target if one.kind == "pointer" and one.target is not None else one for one in given]
        named = dict.fromkeys(_namespace(one) for one in inner if one.is_structure or one.kind == "enum")
        found = [Overload(*one) for scope in named if scope for one in self._scope.overloads(f"{scope}::{name}")]
        chosen = best(found, given)
        return self._declared(chosen.name, chosen.type, column) if chosen is not None else None

    def _named_cast(self, column: int) -> Node:
        """``static_cast<type>(value)`` and the like; its name is next."""
        return self._cast(*self._type_and_operand(), column)

    def _type_and_operand(self) -> tuple[CType, Node]:
        name = self._take()
        self._expect("<", f"behind {name}")
        type = self._type("of a cast", whole=False)
        self._expect(">", "behind the type")
        self._expect("(", "before the value that is cast")
        operand = self._comma()
        self._expect(")", "behind the value that is cast")
        return type, operand

    def _dynamic_cast(self, column: int) -> Node:
        """``dynamic_cast<type>(value)``: by the class that the object really has."""
        type, operand = self._type_and_operand()
        wanted = type.target
        if type.reference and isinstance(operand, code.Memory):
            operand = operators.address_of(operand, column, self.pointer_size)
        if type.kind != "pointer" or wanted is None or not (wanted.is_structure or wanted.kind == "void"):
            raise self.fail("dynamic_cast makes a pointer or a reference to a class, or a void *", column)
        said = operand.type.target if operand.type.kind == "pointer" else None
        if said is None or not has_table(said):
            raise self.fail(
                "dynamic_cast needs an object of a class with virtual functions, or a pointer to one", column
            )
        to = pointer(wanted, self.pointer_size)
        found = calls.DynamicCast(
            column=column, type=to, operand=operand, wanted=wanted.resolved, may_fail=not type.reference
        )
        if not type.reference:
            return operators.Cast(column=column, type=type, operand=found)
        return code.Memory(column=column, type=wanted, address=found, where=LINEAR, reference=type)

    def _to_base_or_back(self, type: CType, operand: Node, column: int) -> Node:
        """A pointer to an object as one to its base class, or the other way: these may lie elsewhere in it."""
        one, two = operand.type.target, type.target
        if one is None or two is None or not one.is_structure or not two.is_structure or one.same(two):
            return operand
        start = calls.Once(column=column, type=operand.type, space=operand.space, operand=operand)
        whole = code.Memory(column=column, type=one, address=start, where=operand.space)
        part = self._related(whole, two, column)
        if part is None:
            return operand
        moved = operators.Cast(column=column, type=operand.type, space=operand.space, operand=part.address)
        return operators.Ternary(
            column=column, type=operand.type, space=operand.space, condition=start, yes=moved, no=start,
            sides=(moved, start),
        )  # fmt: skip

    def _by_pointer(self, node: Node, column: int) -> Node:
        """``object.*pointer``; the "*" is next."""
        self._take()
        operand = self._unary()
        type = operand.type
        if type.kind != "member" or type.owner is None or type.target is None or not isinstance(node, code.Memory):
            raise self.fail("behind '.*' a pointer to a member is expected", column)
        if type.target.kind == "function" and self._is("("):
            raise self.fail("a call goes before '.*' and '->*': it is written (object.*pointer)(ARGUMENTS)", column)
        start = self._as_class(node, type.owner, column).address
        if type.target.kind != "function":
            place = self._moved(start, self._word_of(operand, 0, type.size, column), column)
            return self._checked(code.Memory(column=column, type=type.target, address=place, where=node.where))
        word = type.size // 2
        moved = self._moved(start, self._word_of(operand, word, word, column), column)
        this = calls.Once(column=column, type=pointer(type.owner, word), operand=moved)
        function = calls.ByPointer(
            column=column, type=U64, pointer=self._word_of(operand, 0, word, column), this=this, word=word
        )
        return self._checked(calls.Bound(column=column, type=type.target, address=function, where=LINEAR, this=this))

    def _truth_of(self, node: Node) -> Node:
        """A condition may be a pointer to a member, too: that of a function is 0 for none, that of data -1."""
        if node.type.kind != "member" or node.type.target is None:
            return super()._truth_of(node)
        if node.type.target.kind == "function":
            return self._word_of(node, 0, node.type.size // 2, node.column)
        none = code.Number(column=node.column, type=self.abi.int, value=-1)
        word = self._word_of(node, 0, node.type.size, node.column)
        return operators.Comparison(column=node.column, type=self._truth, op="!=", left=word, right=none, common=EXACT)

    def _word_of(self, operand: Node, at: int, size: int, column: int) -> Node:
        """One of the numbers that a pointer to a member is made of."""
        offset = code.Number(column=column, value=at)
        return code.Part(column=column, type=integer("", size, signed=True), whole=operand, offset=offset)

    def _moved(self, address: Node, by: Node, column: int) -> Node:
        add = operators.Arithmetic(column=column, op="+", left=address, right=by, common=EXACT)
        return operators.Cast(column=column, type=U64, operand=add)

    def _as_class(self, node: code.Memory, wanted: CType, column: int) -> code.Memory:
        """An object as the part that is of a base class, or as the object of a derived class that it is a part of."""
        found = node if node.type.same(wanted) else self._related(node, wanted, column)
        if found is None:
            raise self.fail(f"a {node.type} is no {wanted}", column)
        return found

    def _related(self, node: code.Memory, wanted: CType, column: int) -> code.Memory | None:
        """The base class in an object, or the derived object that it is in; None for classes that are not related.

        What a virtual base is in says the object itself, by its table.
        """
        way = self._base(node.type, wanted, column)
        found: Node = node
        for base in way:
            found = self._field(found, base, column)
        if not way:
            back = self._base(wanted, node.type, column)
            if not back:
                return None
            if any(base.virtual is not None for base in back):
                start = operators.address_of(node, column, self.pointer_size)
                place: Node = calls.DynamicCast(
                    column=column, type=U64, operand=start, wanted=wanted.resolved, may_fail=False
                )
            else:
                distance = code.Number(column=column, value=-sum(base.offset for base in back))
                place = self._moved(node.address, distance, column)
            found = code.Memory(column=column, type=wanted, address=place, where=node.where)
        assert isinstance(found, code.Memory)
        return found

    def _base(self, type: CType, base: CType, column: int) -> list[Member]:
        """The way to a base class; [] where it is none. ExpressionError where it is one more than once."""
        ways = type.resolved.ways_to_base(base)
        if len(ways) > 1:
            first, second = _parting(ways)
            raise self.fail(f"the base {base} is ambiguous in a {type}: cast to {first} or {second} before", column)
        return ways[0] if ways else []

    def _way_to(self, type: CType, name: str, column: int) -> list[Member]:
        """The way to a member. ExpressionError where several are of that name."""
        ways = type.resolved.ways_to(name)
        if len(ways) > 1:
            first, second = (f"{one}::{name}" for one in _parting(ways))
            raise self.fail(f"{name} is ambiguous in a {type}: name {first} or {second}", column)
        return ways[0]

    def _as_object(self, type: CType, operand: Node, column: int) -> Node:
        """What a cast makes of an object: its base class, or what it is a base of, where they are related."""
        to = type.target if type.reference else type
        if to is None or not to.is_structure or to.same(operand.type):
            return operand
        if isinstance(operand, code.Memory):
            return self._related(operand, to, column) or operand
        found = operand
        for base in self._base(operand.type, to, column):
            found = self._field(found, base, column)
        return found

    def _member_address(self, column: int) -> Node | None:
        """``&Base::b``, a pointer to a member; None where something else is next. The "&" has been taken."""
        scope, within, name = self._token.rpartition("::") if self._kind == "word" else ("", "", "")
        owner = self._scope.type(scope) if self._scope is not None and within and scope else None
        if owner is None or not owner.is_structure:
            return None
        owner = owner.resolved
        word = self.pointer_size or 8
        made = CType("member", "", word)
        made.owner = owner
        way = owner.way_to(name)
        if way and not any(one.virtual is not None or one.bits for one in way):
            self._take()
            made.target = way[-1].type
            offset = sum(one.offset for one in way)
            return code.Constant(column=column, type=made, value=offset.to_bytes(word, "little"))
        found, bases = owner.methods_named(name)
        methods = [one for one in found if not one.static]
        if len(methods) > 1:
            raise self.fail(
                f"there are several {within.join((scope, name))}: name one with its types, in quotes", column
            )
        if not methods:
            return None
        self._take()
        made.owner = bases[-1].type.resolved if bases else owner
        made.target, made.size = methods[0].type, 2 * word
        if methods[0].slot is not None:
            first = (methods[0].slot * word + 1).to_bytes(word, "little")
            return code.Constant(column=column, type=made, value=first + bytes(word))
        function = code.Symbol(column=column, type=U64, name=methods[0].symbol or f"{owner.given}::{name}")
        return calls.MemberFunction(column=column, type=made, function=function)

    def _by_operator(self, op: str, left: Node, right: Node | None, column: int) -> Node | None:
        """The function that an operator between these means, or before the first; None where there is none."""
        operands = [left] if right is None else [left, right]
        owner = next((one.type for one in operands if one.type.is_structure and one.type.language == "c++"), None)
        if owner is None:
            return None
        methods, way = left.type.methods_named(f"operator{op}") if left.type.is_structure else ([], [])
        chosen = best(fitting(methods, left.type), [one.type for one in operands[1:]])
        if chosen is not None:
            for one in way:
                left = self._field(left, one, column)
            function = self._method(left, [chosen], column)
            return self._called_with(function, chosen.type, operands[1:], column)
        within = _namespace(owner)
        names = [f"operator{op}", *([f"{within}::operator{op}"] if within else [])]
        free = [Overload(*each) for name in names for each in (self._scope.overloads(name) if self._scope else ())]
        outer = best(free, [one.type for one in operands])
        if outer is None:
            return None
        return self._called_with(
            code.Symbol(column=column, type=outer.type, name=outer.name), outer.type, operands, column
        )


def _namespace(type: CType) -> str:
    """What a type is declared in: "kern" of "kern::Heap<int>"."""
    return type.resolved.given.partition("<")[0].rpartition("::")[0]


def _parting(ways: Sequence[Sequence[Member]]) -> tuple[CType, CType]:
    """The classes at which two ways part."""
    one, two = next((one, two) for one, two in zip(*ways[:2], strict=False) if one.name != two.name)
    return one.type, two.type
