"""What names, memory and assignments in expressions mean, and binding."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvmdbg.errors import ExpressionError, MemoryFault
from kvmdbg.language.expressions import parse
from kvmdbg.language.types import MemoryRef, RegisterRef, VariableRef

from .machine import Machine, filled, value


@pytest.fixture
def machine() -> Machine:
    return filled()


# -- registers, flags, variables ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$rax", 0x1122334455667788),
        ("$EAX", 0x55667788),
        ("$ah", 0x77),
        ("$zf", 1),
        ("$cf", 0),
        ("$if", 1),
        ("$iopl", 3),
        ("$mine + 2", 42),
        ("$1", 7),
        ("$ + $$2", 20),
        ("$huge", 0),
        ("$big == 0xffffffffffffffff", 1),
        ("$less", -3),
        ("$pc", 0x7C10),
        ("$cs:$ip", 0x7C10),
        ("$ds:$ip", 0x9010),
        ("0x7c0:0x10", 0x7C10),
        ("0x7c0:$ip+4", 0x7C14),
        ("(0x7c0 + 1):(8 * 2)", 0x7C20),
        ("$zf ? (0x7c0:0) : 5", 0x7C00),
        ("$cf ? 1 : 0x7c0:5", 0x7C05),
        ("$zf ? 1 : 0x7c0:5", 1),
        ("main", 0x1000),
        ("main+4", 0x1004),
        (".L1 - main", 0x2000),
        ("&main == main", 1),
        ("$cx == 5 && *(u16*)0x500 != 3", 1),
        ("$al - 0x100", -0x78),
        ("$edx == -1", 1),
        ("-1 == $dx", 1),
        ("$rdx != -1", 0),
        ("$dl > -1", 1),
        ("$al == -1", 0),
        ("$dl == -1", 1),
        ("$edx + 1", 0),
        ("$edx > -1", 0),
        ("*(u16*)0x500 == -2", 0),
        ("*(s16*)0x500 == -2", 1),
        ("*(s16*)0x500 == 0xfffe", 0),
        ("(u8)255 == -1", 0),
        ("$rdx + 1", 0),
        ("-$rdx", 1),
        ("~$rdx", 0),
        ("($cl | $rdx) + 1", 0),
    ],
)
def test_names(text: str, expected: int, machine: Machine) -> None:
    assert value(text, machine) == expected


def test_a_segment_registers_base_is_its_own_but_for_64_bit_mode(machine: Machine) -> None:
    machine.storage["cs_base"] = 0x12340
    assert value("$cs:4", machine) == 0x12344
    del machine.storage["cs_base"]
    assert value("$cs:4", machine) == 0x7C04
    machine.storage |= {"cs_base": 0x9990, "fs": 1, "fs_base": 0x8880}
    machine.pointer_size = 8
    assert value("$cs:4", machine) == 4
    assert value("$fs:4", machine) == 0x8884


@pytest.mark.parametrize("text", ["1:2.5", "1.5:2", '1:"text"', "1:$st0", "1:$xmm0"])
def test_a_segment_and_its_offset_are_integers(text: str, machine: Machine) -> None:
    with pytest.raises(ExpressionError):
        value(text, machine)


@pytest.mark.parametrize(
    ("text", "shown", "lvalue"),
    [
        ("5", "int", None),
        ("0xffffffffffffffff", "unsigned long", None),
        ("-5", "int", None),
        ("$al", "u8", RegisterRef("al")),
        ("$RAX", "u64", RegisterRef("rax")),
        ("($ax)", "u16", RegisterRef("ax")),
        ("$zf", "int", RegisterRef("zf")),
        ("$mine", "long", VariableRef("mine")),
        ("$big", "unsigned long", VariableRef("big")),
        ("$pc", "void (*)()", RegisterRef("pc")),
        ("$al + 1", "int", None),
        ("main", "void *", None),
        ("*(u16*)0x500", "u16", MemoryRef(0x500, 2)),
        ("{s8}(0x500 + 1)", "s8", MemoryRef(0x501, 1)),
        ("*(u8*)phys:0x500", "u8", MemoryRef(0x500, 1, "phys")),
        ("{u32}phys:0x500", "u32", MemoryRef(0x500, 4, "phys")),
        ("*0x500", "int", MemoryRef(0x500, 4)),
        ("*main", "int", MemoryRef(0x1000, 4)),
        ("((u16*)0x500)[2]", "u16", MemoryRef(0x504, 2)),
        ("*(u8**)0x500", "u8 *", MemoryRef(0x500, 2)),
        ("*(u16*)0x50:4", "u16", MemoryRef(0x504, 2)),
        ("&*(u16*)0x500", "u16 *", None),
        ("(u8*)0x500 + 1", "u8 *", None),
        ("(u16)5", "u16", None),
        ("(u8**)5", "u8 **", None),
        ("1 ? $al : $ah", "u8", None),
    ],
)
def test_types_and_places(text: str, shown: str, lvalue: object, machine: Machine) -> None:
    found = parse(text).evaluate(machine)
    assert (str(found.type), found.lvalue) == (shown, lvalue)
    assert found.space == "linear"


def test_a_raw_pointer_register_is_an_offset_in_16_bit_modes(machine: Machine) -> None:
    assert str(parse("$esp").evaluate(machine).type) == "u64"
    assert str(parse("$sp").evaluate(machine).type) == "void *"
    machine.pointer_size = 4
    assert str(parse("$esp").evaluate(machine).type) == "void *"


def test_a_pointer_in_memory_has_the_modes_size(machine: Machine) -> None:
    machine.memory["linear"][0x600:0x608] = bytes.fromhex("00 05 00 00 00 00 00 00")
    assert parse("*(u8**)0x600").evaluate(machine).type.size == 2
    assert value("**(u8**)0x600", machine) == 0xFE
    assert value("((u8**)0x600)[1]", machine) == 0
    assert machine.reads[-1] == (0x602, 2, "linear")
    machine.pointer_size = 8
    assert parse("*(u8**)0x600").evaluate(machine).type.size == 8


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("phys:0x500", "phys"),
        ("phys: 0x500 + 4", "phys"),
        ("4 + phys:0x500", "phys"),
        ("(phys:0x503) & ~3", "phys"),
        ("(u8*)phys:0x500", "phys"),
        ("&*(u8*)phys:0x500", "phys"),
        ("1 ? phys:1 : phys:2", "phys"),
        ("1 ? phys:1 : 2", "linear"),
        ("phys:0x500 == 0x500", "linear"),
        ("*(u8*)phys:0x500", "linear"),
    ],
)
def test_physical_addresses(text: str, space: str, machine: Machine) -> None:
    assert parse(text).evaluate(machine).space == space


def test_memory_is_read_where_it_says(machine: Machine) -> None:
    assert value("*(u8*)0x500", machine) == 0xFE
    assert value("*(u8*)phys:0x500", machine) == 0x77
    assert value("(u64)*(s16*)0x500", machine) == (1 << 64) - 2
    assert value("*(u32*)(0x500 + 4)", machine) == 0x80005678
    assert value("*(int*)0x504", machine) == 0x80005678 - (1 << 32)
    assert value("*(u16*)counter", machine) == 0x500
    assert value("*(u8*)*(u16*)counter", machine) == 0xFE
    machine.reads.clear()
    assert value("0 && *(u8*)0x500", machine) == 0
    assert machine.reads == []


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_ends_of_a_types_range_and_of_64_bits(size: int, machine: Machine) -> None:
    """Only what can leave 64 bits is wrapped: a range that is told wrong shows there."""
    bits, least, most = 8 * size, -(1 << 63), (1 << 64) - 1
    signed, unsigned = f"*(s{bits}*)0x600", f"*(u{bits}*)0x600"
    memory = machine.memory["linear"]
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    memory[0x600 : 0x600 + size] = (1 << bits - 1).to_bytes(size, "little")
    assert value(f"{signed} - {low - least}", machine) == least
    assert value(f"{signed} - {low - least + 1}", machine) == -least - 1
    memory[0x600 : 0x600 + size] = high.to_bytes(size, "little")
    assert value(f"{signed} + {most - high}", machine) == most
    assert value(f"{signed} + {most - high + 1}", machine) == 0
    memory[0x600 : 0x600 + size] = b"\xff" * size
    assert value(f"{unsigned} + {most - (1 << bits) + 1}", machine) == most
    assert value(f"{unsigned} + {most - (1 << bits) + 2}", machine) == 0


def test_an_address_is_64_bits(machine: Machine) -> None:
    with pytest.raises(MemoryFault) as caught:
        value("*(u8*)(0x500 - 0x501)", machine)
    assert caught.value.address == (1 << 64) - 1
    with pytest.raises(MemoryFault):
        parse("*(u8*)-$cx").bind(machine)()
    assert machine.reads[-1] == ((1 << 64) - 5, 1, "linear")


# -- assignment --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result", "check", "after"),
    [
        ("$ax = 0x12345", 0x2345, "$rax", 0x1122334455662345),
        ("$ah += 0x89", 0, "$ax", 0x0088),
        ("$zf = 0", 0, "$rflags", 0x3206),
        ("$cf = 3", 1, "$rflags", 0x3247),
        ("$iopl = 1", 1, "$rflags", 0x1246),
        ("$zf ^= 1", 0, "$zf", 0),
        ("$new = 5", 5, "$new", 5),
        ("$mine <<= 2", 160, "$mine", 160),
        ("$mine -= 50", -10, "$mine", -10),
        ("$mine /= 7", 5, "$mine", 5),
        ("$mine++", 40, "$mine", 41),
        ("++$mine", 41, "$mine", 41),
        ("$mine--", 40, "$mine", 39),
        ("--$al", 0x87, "$al", 0x87),
        ("$a = $b = 3", 3, "$a * $b", 9),
        ("$mine = $zf ? 1 : 2", 1, "$mine", 1),
        ("{u8}0x600 = 0x190", 0x90, "*(u16*)0x600", 0x90),
        ("*(s8*)0x600 = 0x190", -0x70, "{u8}0x600", 0x90),
        ("*(u16*)0x500 += 2", 0, "*(u32*)0x500", 0x12340000),
        ("((u8*)0x500)[1]++", 0xFF, "*(u16*)0x500", 0x00FE),
        ("*(u8*)phys:0x500 = 1", 1, "*(u8*)phys:0x500", 1),
        ("*0x600 = -1", -1, "*(u32*)0x600", 0xFFFFFFFF),
        ("*(u16**)0x600 += 1", 2, "*(u16*)0x600", 2),
        ("$pc = 0x7c20", 0x7C20, "$ip", 0x20),
        ("$pc += 2", 0x7C12, "$ip", 0x12),
        ("1 + ($mine = 4)", 5, "$mine", 4),
    ],
)
def test_assignments(text: str, result: int, check: str, after: int, machine: Machine) -> None:
    assert parse(text).evaluate(machine).value == result
    assert value(check, machine) == after


def test_an_assignments_address_is_worked_out_once(machine: Machine) -> None:
    machine.variables["p"] = 0x600
    assert parse("*(u8*)$p++ += 7").evaluate(machine).value == 7
    assert machine.variables["p"] == 0x601
    assert machine.memory["linear"][0x600:0x602] == b"\x07\x00"


def test_a_constant_assignment_is_still_made(machine: Machine) -> None:
    bound = parse("$n = 5").bind(machine)
    assert bound() == 5
    machine.variables["n"] = 1
    assert bound() == 5 and machine.variables["n"] == 5


# -- binding -----------------------------------------------------------------------------------------------------


def test_registers_are_looked_up_once_when_a_function_is_bound() -> None:
    class Asked(Machine):
        names: list[str] = []

        def register_reader(self, name: str) -> Callable[[], int] | None:
            self.names.append(name)
            return super().register_reader(name)

    machine = Asked()
    bound = parse("$CX == 5 && $rax && $sp").bind(machine)
    assert bound() == 1
    machine.storage["rcx"] = 6
    assert bound() == 0
    assert machine.names == ["cx", "rax", "sp"]


def test_a_bound_function_sees_every_change(machine: Machine) -> None:
    bound = parse("*(u8*)0x500 + $cx + $mine").bind(machine)
    assert bound() == 0xFE + 5 + 40
    machine.memory["linear"][0x500] = 1
    machine.storage["rcx"] = 2
    machine.variables["mine"] = 3
    assert bound() == 6


def test_one_expression_on_two_machines(machine: Machine) -> None:
    other = Machine()
    other.storage["rcx"] = 77
    expression = parse("$cx")
    assert [expression.evaluate(one).value for one in (machine, other, machine)] == [5, 77, 5]
    assert (expression.bind(machine)(), expression.bind(other)()) == (5, 77)


def test_symbols_added_later_are_seen_by_evaluate(machine: Machine) -> None:
    expression = parse("late")
    with pytest.raises(ExpressionError):
        expression.evaluate(machine)
    machine.symbols["late"] = 0x4000
    assert expression.evaluate(machine).value == 0x4000
    machine.symbols["late"] = 0x5000
    assert expression.evaluate(machine).value == 0x5000


def test_an_address_below_0_is_at_the_other_end(machine: Machine) -> None:
    for text in ("*(u8*)$less", "*(u8*)($cx - 8)", "{u8}$less"):
        expression = parse(text)
        for way in (expression.evaluate, lambda ctx, expression=expression: expression.bind(ctx)()):
            with pytest.raises(MemoryFault):
                way(machine)
            assert machine.reads[-1] == ((1 << 64) - 3, 1, "linear")


@pytest.mark.parametrize("text", ["5 / ($cx == 9)", "5 % ($cx == 9)", "5 / !$cx", "5 / ($cx && 0)", "5 / ($zf & 0)"])
def test_what_is_true_or_not_may_be_a_divisor(machine: Machine, text: str) -> None:
    with pytest.raises(ExpressionError, match="division by zero"):
        parse(text).evaluate(machine)
