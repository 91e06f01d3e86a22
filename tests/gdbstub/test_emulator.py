"""The base of targets whose CPU is an emulator's, with a toy: each instruction is one byte and adds 1 to a."""

from __future__ import annotations

import threading
from collections.abc import Collection
from queue import Queue

import pytest

from gdbstub import Description, Feature, Point, Register, Resume, Stop, Stopped, TargetError
from gdbstub.agent import Expression
from gdbstub.emulator import SLICE, Emulator
from gdbstub.target import SIGINT, SIGSEGV
from gdbstub.testing import Loop

TOY = Description("toy", (Feature("org.example.toy", (Register("a", 32), Register("pc", 32, generic="pc"))),))
ROUND, END = 0xF00, 0xFFF
ON = Resume(runs=frozenset({1}))
A_IS_ROUND_5 = Expression(bytes.fromhex("260000 230f05 13 27"))
A_IS_3 = Expression(bytes.fromhex("260000 2203 13 27"))
BYTE_AT_400 = Expression(bytes.fromhex("230400 17 27"))
BYTE_AT_1000 = Expression(bytes.fromhex("231000 17 27"))
SAYS_HIT = Expression(bytes.fromhex("2200 2200 34000005") + b"hit\n\0\x27")


class Toy(Emulator):
    """4 KiB. pc goes round below 0xf00; from there on it comes to 0xfff, where nothing can run."""

    def __init__(self) -> None:
        super().__init__(TOY)
        self.memory = bytearray(4096)
        self.values = {"a": 0, "pc": 0}
        self.stops: Queue[Stop] = Queue()
        self.on_stop = self.stops.put
        self.ran = threading.Event()

    def register(self, name: str) -> int:
        return self.values[name]

    def set_register(self, name: str, value: int) -> None:
        self.values[name] = value

    def read_memory(self, thread: int, address: int, length: int) -> bytes:
        return bytes(self.memory[address : address + length])

    def write_memory(self, thread: int, address: int, data: bytes) -> None:
        self.memory[address : address + len(data)] = data

    def run(self, ends: Collection[int], count: int) -> None:
        if self.values["pc"] in ends:
            return  # as emulators do that look before each instruction
        for _ in range(count):
            pc = self.values["pc"]
            if pc == END:
                raise TargetError("no code at 0xfff")
            self.values = {"a": self.values["a"] + 1, "pc": 0 if pc == ROUND - 1 else pc + 1}
            if self.values["pc"] in ends:
                return
        if count == SLICE:
            self.ran.set()

    def goes_on(self, what: Resume) -> Stop:
        self.resume(what)
        return self.stops.get(timeout=10)


def test_registers_are_those_of_the_layout() -> None:
    toy = Toy()
    toy.write_register(1, TOY, 1, b"\x34\2\0\0")
    assert toy.values["pc"] == 0x234
    assert toy.read_registers(1, TOY) == bytes(4) + b"\x34\2\0\0"
    assert toy.description(1) is TOY


def test_it_runs_to_breakpoints_and_off_them() -> None:
    toy = Toy()
    toy.insert(Point("sw", 0x20, 1))
    toy.insert(Point("hw", 0x30, 1))
    assert [toy.goes_on(ON) for _ in range(3)] == [Stopped(1, reason=f"{kind}break") for kind in ("sw", "hw", "sw")]
    assert toy.values == {"a": ROUND + 0x20, "pc": 0x20}
    assert toy.last_stop() == Stopped(1, reason="swbreak") and not toy.running


def test_two_kinds_at_an_address_are_two() -> None:
    toy = Toy()
    toy.insert(Point("sw", 0x20, 1))
    toy.insert(Point("hw", 0x20, 1))
    toy.remove("sw", 0x20, 1)
    toy.remove("sw", 0x30, 1)
    assert toy.goes_on(ON) == Stopped(1, reason="hwbreak") and toy.values["a"] == 0x20


def test_those_that_persist_stay() -> None:
    toy = Toy()
    toy.insert(Point("sw", 0x10, 1))
    toy.insert(Point("sw", 0x20, 1, persist=True))
    toy.remove_all()
    toy.goes_on(ON)
    assert toy.values["pc"] == 0x20


@pytest.mark.parametrize("kind", ["write", "read", "access"])
def test_watchpoints_are_refused(kind: str) -> None:
    with pytest.raises(TargetError, match="no watchpoints"):
        Toy().insert(Point(kind, 0x20, 4))


def test_steps_are_one_instruction_or_go_out_of_a_range() -> None:
    toy = Toy()
    assert toy.goes_on(Resume(steps={1: (0, 0)})) == Stopped(1) and toy.values["pc"] == 1
    assert toy.goes_on(Resume(steps={1: (0, 0x10)})) == Stopped(1) and toy.values["pc"] == 0x10
    toy.insert(Point("sw", 0x18, 1))
    stop = toy.goes_on(Resume(steps={1: (0x10, 0x20)}))
    assert stop == Stopped(1, reason="swbreak") and toy.values["pc"] == 0x18
    assert toy.goes_on(Resume(steps={1: (0x10, 0x20)})) == Stopped(1) and toy.values["pc"] == 0x20


def test_conditions_are_looked_at_here() -> None:
    toy = Toy()
    toy.insert(Point("sw", 5, 1, conditions=(A_IS_3, A_IS_ROUND_5)))
    assert toy.goes_on(ON) == Stopped(1, reason="swbreak") and toy.values["a"] == ROUND + 5
    toy.insert(Point("sw", 5, 1, conditions=(BYTE_AT_400,)))
    toy.insert(Point("sw", 6, 1))
    toy.goes_on(ON)
    assert toy.values["pc"] == 6
    toy.memory[0x400] = 1
    toy.goes_on(ON)
    assert toy.values["pc"] == 5


def test_a_condition_that_cannot_be_evaluated_stops() -> None:
    toy = Toy()
    toy.insert(Point("sw", 5, 1, conditions=(BYTE_AT_1000,)))
    assert toy.goes_on(ON) == Stopped(1, reason="swbreak") and toy.values["a"] == 5


def test_commands_are_run_and_it_goes_on() -> None:
    toy, said = Toy(), []
    toy.insert(Point("sw", 5, 1, commands=(SAYS_HIT,)))
    toy.insert(Point("sw", 9, 1))
    toy.goes_on(ON)
    toy.on_output = said.append
    toy.goes_on(ON)
    assert toy.values["a"] == ROUND + 9 and said == [b"hit\n"] and toy.console


def test_what_cannot_run_is_a_fault() -> None:
    toy = Toy()
    toy.values["pc"] = ROUND
    assert toy.goes_on(ON) == Stopped(1, SIGSEGV, text="no code at 0xfff") and not toy.running


def test_it_runs_beside_the_client_until_it_is_interrupted() -> None:
    toy = Toy()
    for _ in range(2):
        toy.ran.clear()
        toy.resume(ON)
        assert toy.ran.wait(10) and toy.running
        toy.interrupt()
        assert toy.stops.get(timeout=10) == Stopped(1, SIGINT) and not toy.running


def test_it_runs_on_when_the_client_has_left() -> None:
    toy = Toy()
    client = Loop(toy)
    client.ask(b"Z0,5,1")
    assert client.ask(b"D") == b"OK"
    assert toy.ran.wait(10) and toy.running
    toy.interrupt()
