"""Agent expressions: the bytecode in which a client hands over breakpoint conditions and commands.

Source: gdb manual, appendix "The GDB Agent Expression Mechanism"; opcode numbers as in gdb's gdbsupport/ax.def.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from gdbstub.errors import TargetError

MOST_OPERATIONS = 100_000
"""An expression that runs longer than this is taken to loop for ever."""
MASK = (1 << 64) - 1
LONGEST_STRING = 4096

# Opcode: name, bytes of its operand (big-endian), values that it takes from the stack.
OPCODES = {
    0x02: ("add", 0, 2), 0x03: ("sub", 0, 2), 0x04: ("mul", 0, 2),
    0x05: ("div_signed", 0, 2), 0x06: ("div_unsigned", 0, 2),
    0x07: ("rem_signed", 0, 2), 0x08: ("rem_unsigned", 0, 2),
    0x09: ("lsh", 0, 2), 0x0A: ("rsh_signed", 0, 2), 0x0B: ("rsh_unsigned", 0, 2),
    0x0C: ("trace", 0, 2), 0x0D: ("trace_quick", 1, 1),
    0x0E: ("log_not", 0, 1), 0x0F: ("bit_and", 0, 2), 0x10: ("bit_or", 0, 2), 0x11: ("bit_xor", 0, 2),
    0x12: ("bit_not", 0, 1), 0x13: ("equal", 0, 2), 0x14: ("less_signed", 0, 2), 0x15: ("less_unsigned", 0, 2),
    0x16: ("ext", 1, 1), 0x17: ("ref8", 0, 1), 0x18: ("ref16", 0, 1), 0x19: ("ref32", 0, 1), 0x1A: ("ref64", 0, 1),
    0x20: ("if_goto", 2, 1), 0x21: ("goto", 2, 0),
    0x22: ("const8", 1, 0), 0x23: ("const16", 2, 0), 0x24: ("const32", 4, 0), 0x25: ("const64", 8, 0),
    0x26: ("reg", 2, 0), 0x27: ("end", 0, 0), 0x28: ("dup", 0, 1), 0x29: ("pop", 0, 1), 0x2A: ("zero_ext", 1, 1),
    0x2B: ("swap", 0, 2), 0x2C: ("getv", 2, 0), 0x2D: ("setv", 2, 1), 0x2E: ("tracev", 2, 0),
    0x2F: ("tracenz", 0, 2), 0x30: ("trace16", 2, 1), 0x32: ("pick", 1, 0), 0x33: ("rot", 0, 3),
    0x34: ("printf", 3, 2),
}  # fmt: skip
FLOATING = range(0x1B, 0x20)


class Machine(Protocol):
    """What an expression looks at."""

    def register(self, number: int) -> int:
        """The register's value, unsigned."""

    def memory(self, address: int, size: int) -> bytes:
        """Exactly ``size`` bytes (TargetError)."""


def signed(value: int, bits: int = 64) -> int:
    """A number of so many bits in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def quotient(a: int, b: int) -> int:
    """a / b rounded towards zero, as C has it."""
    return -(-a // b) if (a < 0) != (b < 0) else a // b


_BINARY: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div_signed": lambda a, b: quotient(signed(a), signed(b)),
    "div_unsigned": lambda a, b: a // b,
    "rem_signed": lambda a, b: signed(a) - signed(b) * quotient(signed(a), signed(b)),
    "rem_unsigned": lambda a, b: a % b,
    "lsh": lambda a, b: a << b if b < 64 else 0,
    "rsh_signed": lambda a, b: signed(a) >> min(b, 63),
    "rsh_unsigned": lambda a, b: a >> b,
    "bit_and": lambda a, b: a & b,
    "bit_or": lambda a, b: a | b,
    "bit_xor": lambda a, b: a ^ b,
    "equal": lambda a, b: int(a == b),
    "less_signed": lambda a, b: int(signed(a) < signed(b)),
    "less_unsigned": lambda a, b: int(a < b),
}
_SIZES = {"ref8": 1, "ref16": 2, "ref32": 4, "ref64": 8}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "v": "\v"}
_BACKSLASH = re.compile(r"\\(.)", re.DOTALL)
_CONVERSION = re.compile(r"%([-+ #0]*\d{0,4}(?:\.\d{1,4})?)(hh|h|ll|l|j|z|t)?([diouxXcspaAeEfFgG%])")


class Expression:
    """One expression, checked when it is made; ``variables`` are the trace state variables of all expressions."""

    variables: dict[int, int] = {}

    def __init__(self, code: bytes) -> None:
        self.code = code
        self._operations: dict[int, tuple[str, int, int, int]] = {}
        """By the place of its opcode: its name, operand, how many values it takes, and the place of the next."""
        self._decode()

    def __repr__(self) -> str:
        return f"Expression({self.code.hex()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.code == other.code

    def __hash__(self) -> int:
        return hash(self.code)

    def _decode(self) -> None:
        """TargetError for an opcode that is none, or an operand that is cut off."""
        at = 0
        while at < len(self.code):
            opcode = self.code[at]
            if opcode in FLOATING:
                raise TargetError("agent expressions with floating point cannot be evaluated here")
            if opcode not in OPCODES:
                raise TargetError(f"no agent opcode {opcode:#04x}")
            name, width, needs = OPCODES[opcode]
            behind = after = at + 1 + width
            if opcode == 0x34 and after <= len(self.code):
                after += int.from_bytes(self.code[at + 2 : at + 4], "big")
            if after > len(self.code):
                raise TargetError("an agent expression ends within an operand")
            self._operations[at] = name, int.from_bytes(self.code[at + 1 : behind], "big"), needs, behind
            at = after

    def evaluate(self, machine: Machine, show: Callable[[str], None] | None = None) -> int:
        """The value on top of the stack at its end (0 when the stack is empty), unsigned.

        ``show`` takes what the expression prints. TargetError when it cannot be evaluated.
        """
        operations = self._operations
        stack: list[int] = []
        at = 0
        for _ in range(MOST_OPERATIONS):
            if at not in operations:
                does = "jumps into an operand" if at < len(self.code) else "runs past its end"
                raise TargetError(f"an agent expression {does}")
            name, operand, needs, at = operations[at]
            if len(stack) < needs:
                raise TargetError(f"an agent expression has too little on its stack for {name}")
            binary = _BINARY.get(name)
            if binary is not None:
                second, first = stack.pop(), stack.pop()
                try:
                    stack.append(binary(first, second) & MASK)
                except ZeroDivisionError:
                    raise TargetError("division by zero in an agent expression") from None
            elif name.startswith("const"):
                stack.append(operand)
            elif name == "reg":
                stack.append(machine.register(operand) & MASK)
            elif name in _SIZES:
                stack.append(int.from_bytes(machine.memory(stack.pop(), _SIZES[name]), "little"))
            elif name == "ext":
                stack.append(signed(stack.pop(), operand) & MASK if 0 < operand < 64 else stack.pop())
            elif name == "zero_ext":
                stack.append(stack.pop() & (1 << min(operand, 64)) - 1)
            elif name == "log_not":
                stack.append(int(not stack.pop()))
            elif name == "bit_not":
                stack.append(~stack.pop() & MASK)
            elif name == "if_goto":
                at = operand if stack.pop() else at
            elif name == "goto":
                at = operand
            elif name == "end":
                return stack[-1] if stack else 0
            elif name == "dup":
                stack.append(stack[-1])
            elif name == "pop":
                stack.pop()
            elif name == "swap":
                stack[-1], stack[-2] = stack[-2], stack[-1]
            elif name == "rot":
                stack[-3:] = [stack[-1], stack[-3], stack[-2]]
            elif name == "pick":
                if operand >= len(stack):
                    raise TargetError("an agent expression picks what is not on its stack")
                stack.append(stack[-1 - operand])
            elif name == "getv":
                stack.append(self.variables.get(operand, 0))
            elif name == "setv":
                self.variables[operand] = stack[-1]
            elif name in ("trace", "tracenz"):
                del stack[-2:]  # nothing is traced here, but the values are taken
            elif name == "printf":
                at = self._printf(at, operand, stack, machine, show)
        raise TargetError("an agent expression does not end")

    def _printf(
        self, at: int, operand: int, stack: list[int], machine: Machine, show: Callable[[str], None] | None
    ) -> int:
        count, length = operand >> 16, operand & 0xFFFF
        text = self.code[at : at + length].rstrip(b"\0").decode("utf-8", "replace")
        if len(stack) < 2 + count:
            raise TargetError("an agent expression has too little on its stack for printf")
        del stack[-2:]  # a function and a channel, which mean something on the client's side only
        values = [stack.pop() for _ in range(count)]
        if show is not None:
            show(formatted(text, values, machine))
        return at + length


def formatted(text: str, values: list[int], machine: Machine) -> str:
    """C's printf over unsigned 64-bit values; %s takes the address of a string. Too few values read as 0.

    gdb sends the text as it was typed, with its backslashes.
    """
    left: Iterator[int] = iter(values)

    def convert(match: re.Match[str]) -> str:
        flags, length, kind = match[1], match[2] or "", match[3]
        if kind == "%":
            return "%"
        value = next(left, 0)
        bits = {"hh": 8, "h": 16, "": 32}.get(length, 64)
        if kind in "di":
            return f"%{flags}d" % signed(value, bits)
        if kind == "c":
            return f"%{flags}s" % chr(value & 0xFF)
        if kind == "s":
            return f"%{flags}s" % string(value, machine)
        if kind == "p":
            return f"%{flags}s" % hex(value)
        if kind in "ouxX":
            value &= (1 << bits) - 1
            if not value:
                flags = flags.replace("#", "")
            elif kind == "o" and "#" in flags:  # a leading zero
                width, _, digits = flags.replace("#", "").partition(".")
                flags = f"{width}.{max(int(digits or 0), len(f'{value:o}') + 1)}"
            return f"%{flags}{'d' if kind == 'u' else kind}" % value
        return "(floating point)"

    return _CONVERSION.sub(convert, _BACKSLASH.sub(lambda match: _ESCAPES.get(match[1], match[1]), text))


def string(address: int, machine: Machine) -> str:
    """The string that ends in a zero byte, as far as it can be read."""
    found = bytearray()
    while len(found) < LONGEST_STRING:
        try:
            byte = machine.memory(address + len(found), 1)
        except TargetError:
            break
        if byte == b"\0":
            break
        found += byte
    return found.decode("utf-8", "replace")
