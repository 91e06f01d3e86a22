"""Types as an expression names them: "unsigned long", "struct point *", "char (*)[4]".

Source: ISO C, section 6.7.7 (type names).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from kvmdbg.language.abi import OF_LIBRARIES, WORDS, Abi, abi
from kvmdbg.language.context import Scope
from kvmdbg.language.ctype import CType, array_of, function_returning, pointer
from kvmdbg.language.tokens import Tokens

if TYPE_CHECKING:
    from kvmdbg.language.code import Node

_TAGS = frozenset(["struct", "union", "enum", "class"])
_QUALIFIERS = frozenset(["const", "volatile"])
_TYPEOF = frozenset(["typeof", "__typeof", "__typeof__"])
_NESTED = re.compile(r"(?:::\w+)+")
"""Types that are declared in one with arguments."""
Maker = Callable[[CType], CType]
NESTING = 40  # of brackets and prefixes, in types and expressions


class Declarators(Tokens):
    """The types in one expression at ``pos`` of ``text``. ``prefix``: it may be followed by something else.

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
        fields: Collection[str] = (),
    ) -> None:
        super().__init__(text, pos, stop)
        self._scope = scope
        found = scope.setting("input-radix") if scope is not None else None
        self._radix = found[0] if found is not None else 10
        self._prefix = prefix
        self.fields = fields
        """Names that mean fields of an event, whatever the user's variables are."""
        self._nesting = 0
        self._separate = 0
        self._ahead: dict[int, list[CType] | None] = {}
        """The types of arguments that were looked at, by where their parenthesis is."""
        self._colon = True  # whether a colon here makes seg:off
        self.abi: Abi = abi(scope.long_size if scope is not None else 8)
        self.pointer_size = scope.pointer_size if scope is not None else 0

    def type_alone(self) -> CType | None:
        """The type that all of the text is; None where it is none."""
        if not self._is_type():
            return None
        found = self._type("that is asked for", whole=False)
        if self._kind != "end":
            raise self.fail(f"'{self._token}' is not expected here")
        return found

    def _is_type(self) -> bool:
        """Whether a type is next."""
        if self._kind != "word":
            return False
        if self._is_built_in() or self._token in _TAGS or self._token in _QUALIFIERS or self._is_typeof():
            return True
        scope = self._scope
        if scope is None:
            return False
        if scope.variable(self._token) is None and scope.type(self._token) is not None:
            return True
        return self._with_arguments() is not None

    def _is_built_in(self) -> bool:
        """Whether a word of built-in types is next, which the guest's source has not given to something of its own."""
        if self._kind != "word" or self._token not in WORDS:
            return False
        return self._token not in OF_LIBRARIES or self._scope is None or not self._is_declared(self._token)

    def _is_typeof(self) -> bool:
        return (
            self._token in _TYPEOF
            and self.text[self.end_of_token() :].lstrip()[:1] == "("
            and not self._is_declared(self._token)
        )

    def _is_declared(self, name: str) -> bool:
        return self._scope is not None and (
            self._scope.variable(name) is not None or self._scope.type(name) is not None
        )

    def _with_arguments(self) -> tuple[CType, int] | None:
        """The type that a name with arguments of a template is, as in "Vec<int>", and where it ends."""
        start = at = self._start
        if self._scope is None or self._kind != "word" or not self.text.startswith("<", self.end_of_token()):
            return None
        depth = 0
        for at in range(self.end_of_token(), len(self.text)):
            depth += (self.text[at] == "<") - (self.text[at] == ">" and self.text[at - 1] != "-")
            if not depth:
                break
        else:
            return None
        rest = _NESTED.match(self.text, at + 1)
        end = rest.end() if rest is not None else at + 1
        name = re.sub(r"\s*([*&,<>])\s*", r"\1", self.text[start:end]).replace(",", ", ")
        found = self._scope.type(name)
        return (found, end) if found is not None else None

    def _type(self, why: str, *, whole: bool = True) -> CType:
        """Take a type; with ``whole`` it must be one that values have."""
        column = self._start
        base = self._base_type(why, column)
        type = self._derived()(base)
        if whole:
            self._check_size(type, column)
        return type

    def _check_size(self, type: CType, column: int) -> None:
        """That values have the type."""
        if type.size:
            return
        if type.kind == "array":
            raise self.fail(f"how many elements has the array? As in {type.name.replace('[]', '[4]')}", column)
        raise self.fail("void has no value; a pointer to it is void*", column)

    def _comma(self) -> Node:
        """An expression that is next."""
        raise NotImplementedError

    def _type_of_value(self) -> CType:
        """``typeof (TYPE or EXPRESSION)``; the word is next."""
        self._take()
        self._take()
        type = self._type("of typeof", whole=False) if self._is_type() else self._comma().type
        self._expect(")", "of typeof")
        return type

    def _base_type(self, why: str, column: int) -> CType:
        words: list[str] = []
        qualifiers = self._qualifiers()
        templated = self._with_arguments() if not self._is_built_in() else None
        if templated is not None:
            self._skip_to(templated[1])
            return _qualified(templated[0], [*qualifiers, *self._qualifiers()])
        if self._kind == "word" and self._is_typeof():
            return _qualified(self._type_of_value(), [*qualifiers, *self._qualifiers()])
        if self._kind == "word" and not self._is_built_in() and self._is_type():
            words.append(self._take())
            if words[0] in _TAGS and (templated := self._with_arguments()) is not None:
                self._skip_to(templated[1])
                return _qualified(templated[0], [*qualifiers, *self._qualifiers()])
            if words[0] in _TAGS:
                words.append(self._take() if self._kind == "word" else "")
            found = self._scope.type(" ".join(words)) if self._scope is not None else None
            if found is None and words[0] in ("struct", "class") and self._scope is not None:  # the same in C++
                found = self._scope.type(" ".join(("class" if words[0] == "struct" else "struct", *words[1:])))
            if found is None:
                raise self.fail(f"there is no type '{' '.join(words)}'", column)
            return _qualified(found, [*qualifiers, *self._qualifiers()])
        while self._is_built_in() or (self._kind == "word" and self._token in _QUALIFIERS):
            words.append(self._take())
        if not words:
            raise self.fail(f"the type {why} is expected, as in u8, u16*, unsigned int")
        built_in = self.abi.named([word for word in words if word not in _QUALIFIERS])
        if built_in is None:
            raise self.fail(f"'{' '.join(words)}' is no type", column)
        return _qualified(built_in, [*qualifiers, *(word for word in words if word in _QUALIFIERS)])

    def _qualifiers(self) -> list[str]:
        found = []
        while self._kind == "word" and self._token in _QUALIFIERS:
            found.append(self._take())
        return found

    def _derived(self) -> Maker:
        """What stands behind a type's words: how the type is made of theirs."""
        self._nesting += 1
        if self._nesting > NESTING:
            raise self.fail("the type is nested too deeply")
        made = self._derivation()
        self._nesting -= 1
        return made

    def _derivation(self) -> Maker:
        if self._is("*", "&"):
            refers = self._take() == "&"
            qualifiers = self._qualifiers()
            rest = self._derived()

            def pointing(base: CType) -> CType:
                made = pointer(base, self.pointer_size)
                made.reference = refers
                return rest(_qualified(made, qualifiers))

            return pointing
        inner: Maker = lambda base: base  # noqa: E731
        if self._is("(") and self.text[self.end_of_token() :].lstrip()[:1] in ("*", "("):
            self._take()
            inner = self._derived()
            self._expect(")", "in the type")
        suffixes: list[Maker] = []
        while self._is("[", "("):
            suffixes.append(self._array() if self._is("[") else self._function())

        def make(base: CType) -> CType:
            for one in reversed(suffixes):
                base = one(base)
            return inner(base)

        return make

    def end_of_token(self) -> int:
        """Where the current token ends."""
        return self._start + len(self._token)

    def _array(self) -> Maker:
        self._take()
        count: int | None = None
        if not self._is("]"):
            if self._kind != "number":
                raise self.fail("the number of elements is expected")
            count = self._number()[0]
            if count > 1 << 20:
                raise self.fail(f"an array of {count} elements is too large")
        self._expect("]", "behind the number of elements")
        return lambda base: array_of(base, count)

    def _function(self) -> Maker:
        self._take()
        takes: list[CType] = []
        known = not self._is(")")
        while not self._is(")"):
            takes.append(self._type("of a parameter", whole=False))
            if not self._is(")"):
                self._expect(",", "between the types of parameters")
        self._take()
        parameters = [] if [one.kind for one in takes] == ["void"] else takes
        return lambda base: function_returning(base, parameters if known else None)


def _qualified(type: CType, qualifiers: list[str]) -> CType:
    for one in qualifiers:
        made = CType(type.kind, "", type.size)
        made.qualify(type, one)
        type = made
    return type
