"""From the text of an expression to its nodes: a lexer that looks one token ahead and precedence climbing.

Source of operators and precedence: ISO C, section 6.5; ``{type} address`` is gdb's (gdb manual, "Expressions").
"""

from __future__ import annotations

import re
from collections.abc import Collection

from kvmdbg.core import expression_code as code
from kvmdbg.core import functions
from kvmdbg.core.expression_code import Node
from kvmdbg.core.expression_types import ADDRESS, LINEAR, MASK, PHYSICAL, TYPE_WORDS, Type, named_type, pointer
from kvmdbg.errors import ExpressionError

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[0-9][\w.]*)
    | (?P<char>'(?:\\.[^'\\]*|[^'\\]*)(?:'|$))
    | (?P<dollar>\$\$?[0-9]+|\$[A-Za-z_]\w*|\$\$?)
    | (?P<phys>phys:)
    | (?P<word>[A-Za-z_.][\w.$]*)
    | (?P<op><<=|>>=|\+\+|--|&&|\|\||[-+*/%&|^<>=!]=|<<|>>|[-+*/%&|^~!<>=?:()\[\]{}])
    | (?P<other>.)
    | (?P<end>$)
    )""",
    re.VERBOSE | re.DOTALL,
)
_BASES = {"0x": 16, "0b": 2, "0o": 8}
_SUFFIXES = frozenset(["", "u", "l", "ul", "lu", "ll", "ull", "llu"])
_ESCAPES = {
    "n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11, "e": 27, "\\": 92, "'": 39, '"': 34,
}  # fmt: skip

_BINARY = {
    op: level
    for level, ops in enumerate(("||", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "+ -", "* / %"), 1)
    for op in ops.split()
}
_ASSIGNMENTS = frozenset(["=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="])

NESTING = 40  # of brackets and prefixes
DEPTH = 60  # of operators, so that the generated source stays within what Python's parser takes


class Parser:
    """One expression at ``pos`` of ``text``. ``prefix``: it may be followed by something else.

    A token of ``stop`` ends it where it stands outside of brackets.
    """

    def __init__(self, text: str, pos: int = 0, *, stop: Collection[str] = (), prefix: bool = False) -> None:
        self.text = text
        self._stop = frozenset(stop)
        self._prefix = prefix
        self._open = 0  # brackets
        self._nesting = 0
        self._colon = True  # whether a colon here makes seg:off
        self._next = pos  # where the token after the current one is looked for
        self.end = pos  # end of the last token taken
        self._kind = self._token = ""
        self._start = pos
        self._advance()

    # --- tokens ------------------------------------------------------------------------------------

    def _advance(self) -> None:
        match = _TOKEN.match(self.text, self._next)
        assert match is not None and match.lastgroup is not None
        self._kind = match.lastgroup
        self._token = match[self._kind]
        self._start = match.start(self._kind)
        if not self._open and self._token in self._stop:
            self._kind, self._token = "end", ""
        self._start = min(self._start, len(self.text.rstrip()))

    def _take(self) -> str:
        """The current token; the next one becomes current."""
        token = self._token
        self.end = self._next = self._start + len(token)
        if token in ("(", "[", "{"):
            self._open += 1
        elif token in (")", "]", "}"):
            self._open -= 1
        self._advance()
        return token

    def _is(self, *tokens: str) -> bool:
        return self._kind == "op" and self._token in tokens

    def _expect(self, token: str, why: str) -> None:
        if not self._is(token):
            raise self.fail(f"'{token}' is missing {why}")
        self._take()

    def fail(self, message: str, column: int | None = None) -> ExpressionError:
        return ExpressionError(message, self.text, self._start if column is None else column)

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

    def _checked(self, node: Node) -> Node:
        if node.depth > DEPTH:
            raise self.fail("the expression is nested too deeply", node.column)
        return node

    def _assignment(self) -> Node:
        self._nesting += 1
        if self._nesting > NESTING:
            raise self.fail("the expression is nested too deeply")
        node = self._ternary()
        if self._kind == "op" and self._token in _ASSIGNMENTS:
            column, op = self._start, self._token[:-1]
            target = self._target(node, column, self._token)
            self._take()
            node = self._assigned(target, self._assignment(), op, column)
        self._nesting -= 1
        return node

    def _target(self, node: Node, column: int, op: str) -> code.Name | code.Memory:
        if not isinstance(node, code.Name | code.Memory):
            hint = f"; its memory is *(u32*){node.name}" if isinstance(node, code.Symbol) else ""
            raise self.fail(f"'{op}' needs a register, a variable or memory to change{hint}", column)
        return node

    def _assigned(self, target: code.Name | code.Memory, value: Node, op: str, column: int, post: bool = False) -> Node:
        if op:
            self._arithmetic(op, target, value, column)
        return self._checked(code.Assign(column=column, type=target.type, target=target, value=value, op=op, post=post))

    def _ternary(self) -> Node:
        condition = self._binary(1)
        if not self._is("?"):
            return condition
        column = self._start
        self._take()
        outer, self._colon = self._colon, False
        yes = self._assignment()
        self._colon = outer
        self._expect(":", "of '? :'")
        self._nesting += 1
        if self._nesting > NESTING:
            raise self.fail("the expression is nested too deeply")
        no = self._ternary()
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
        while self._kind == "op" and _BINARY.get(self._token, 0) >= least:
            if self._prefix and self._token == "&" and not self.text[self._start + 1 :].strip():
                break  # "continue 5 &"
            column, level = self._start, _BINARY[self._token]
            op = self._take()
            node = self._combined(op, node, self._binary(level + 1), column)
        return node

    def _combined(self, op: str, left: Node, right: Node, column: int) -> Node:
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
            operand = self._unary()
            return code.Unary(column=column, space=operand.space, op=op, operand=operand)
        if self._is("+"):
            self._take()
            return self._unary()
        if self._is("!"):
            self._take()
            return code.Not(column=column, operand=self._unary())
        if self._is("*"):
            self._take()
            return code.dereference(self._unary(), column)
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
            address = self._unary()
            return code.Memory(column=column, type=type, address=address, where=address.space)
        if self._kind == "phys":
            self._take()
            operand = self._unary()
            return code.Cast(column=column, type=operand.type or ADDRESS, space=PHYSICAL, operand=operand)
        if self._kind == "word" and self._token == "sizeof":
            self._take()
            return self._sizeof(column)
        return self._postfixed()

    def _sizeof(self, column: int) -> Node:
        if self._is("("):
            outer, self._colon = self._colon, True
            self._take()
            if self._kind == "word" and self._token in TYPE_WORDS:
                type: Type | None = self._type("of sizeof")
            else:
                type = self._assignment().type
            self._expect(")", "of sizeof")
            self._colon = outer
        else:
            type = self._unary().type
        if type is not None and type.pointer_to is not None:
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
                if node.type is None or node.type.pointer_to is None or not node.type.pointer_to.size:
                    raise self.fail("what '[' indexes must be a pointer, as in ((u16*)0x500)[3]", column)
                self._take()
                outer, self._colon = self._colon, True
                index = self._assignment()
                self._expect("]", "after the index")
                self._colon = outer
                node = self._checked(code.dereference(self._arithmetic("+", node, index, column), column))
            elif self._is("++", "--") and isinstance(node, code.Name | code.Memory):
                op = self._take()
                node = self._assigned(node, code.Number(column=column, value=1), op[0], column, post=True)
            else:
                return node

    def _operand(self) -> Node:
        column = self._start
        if self._kind == "number":
            return code.Number(column=column, value=self._number())
        if self._kind == "dollar":
            name = self._take()[1:]
            if self._is("(") and self._start == self.end:
                return self._call(name, column)
            return code.named(name, column)
        if self._kind == "char":
            return code.Number(column=column, value=self._character())
        if self._kind == "word":
            if self._token in TYPE_WORDS:
                raise self.fail(f"'{self._token}' is a type; a cast is written ({self._token})VALUE")
            return code.Symbol(column=column, type=ADDRESS, name=self._take())
        if not self._is("("):
            raise self._unexpected()
        outer, self._colon = self._colon, True
        self._take()
        if self._kind == "word" and self._token in TYPE_WORDS:
            type = self._type("of a cast")
            self._expect(")", "after the type")
            self._colon = outer
            operand = self._unary()
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
            given.append(self._assignment())
        self._take()
        self._colon = outer
        least, most = functions.arguments(made)
        if not least <= len(given) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise self.fail(f"${name} takes {wanted} arguments, {len(given)} were given", column)
        return self._checked(code.Call(column=column, name=name, arguments=tuple(given)))

    def _type(self, why: str) -> Type:
        column, words = self._start, []
        while self._kind == "word" and self._token in TYPE_WORDS:
            words.append(self._take())
        if not words:
            raise self.fail(f"the type {why} is expected, as in u8, u16*, unsigned int")
        type = named_type(words)
        if type is None:
            raise self.fail(f"'{' '.join(words)}' is no type", column)
        while self._is("*"):
            self._take()
            type = pointer(type)
        if not type.size:
            raise self.fail("void has no value; a pointer to it is void*", column)
        return type

    def _number(self) -> int:
        token = self._token
        text = token.rstrip("uUlL")
        base = _BASES.get(text[:2].lower(), 8 if text.startswith("0") else 10)
        digits = text[2:] if text[:2].lower() in _BASES else text
        try:
            if token[len(text) :].lower() not in _SUFFIXES or not digits[0].isalnum() or not digits.isascii():
                raise ValueError
            value = int(digits, base)
        except (ValueError, IndexError):
            hint = ""
            if token.isdigit():
                hint = "; a leading 0 makes it octal"
            elif re.fullmatch(r"[0-9a-fA-F]+[hH]?", token):
                hint = f"; hexadecimal is 0x{token.rstrip('hH')}"
            raise self.fail(f"'{token}' is no number{hint}") from None
        if value > MASK:
            raise self.fail(f"{token} does not fit 64 bits")
        self._take()
        return value

    def _character(self) -> int:
        token = self._token
        body = token[1:-1]
        value: int | None = None
        if len(token) < 2 or not token.endswith("'"):
            raise self.fail("the closing quote is missing")
        if len(body) == 1 and body != "\\":
            value = ord(body)
        elif match := re.fullmatch(r"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3}))", body):
            value = int(match[1], 16) if match[1] else int(match[2], 8)
        elif body[:1] == "\\":
            value = _ESCAPES.get(body[1:])
        if value is None or value > 0xFF:
            raise self.fail(f"{token} is not one byte's character")
        self._take()
        return value
