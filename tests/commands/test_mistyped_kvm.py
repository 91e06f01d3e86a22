"""Addresses below 0, numbers that are too great, and values of other types than commands expect."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvmdbg.errors import KvmdbgError, UsageError

from .conftest import GUESTS, Typist

pytestmark = pytest.mark.kvm


@pytest.fixture
def kernel(opened: Callable[..., Typist]) -> Typist:
    return opened(GUESTS / "kernel-O0.elf")


@pytest.fixture
def little_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (2 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    "line", ["telescope -8", "compare -8 0 4", "fill -8 4 0", "checksum -8 4", "strings -8 4", "dump FILE -8 4",
             "patch -8 90", "x/xb -8", "hexdump -8 4", "dump memory FILE (-8) (-4)"],
)  # fmt: skip
def test_an_address_below_0_is_one_at_the_end(kernel: Typist, tmp_path: Path, line: str) -> None:
    try:
        shown = kernel.type(line.replace("FILE", str(tmp_path / "file")))
    except KvmdbgError as error:
        shown = str(error)
    assert "linear address 0xfffffffffffffff8: the PML4E at" in shown


def test_symbols_may_be_moved_down(kernel: Typist) -> None:
    kernel.type(f"symbol-file {GUESTS / 'kernel-O0.elf'} -0x1000")
    assert "at address 0xff59e" in kernel.type("info address divide")


@pytest.mark.parametrize("line", ["fill 0x5000 99999999999999 0", "fill 0x5000 0x100000000 0"])
def test_more_than_there_is_takes_no_memory(hello: Typist, little_memory: None, line: str) -> None:
    before = hello.type("checksum 0x5000 0x1000")
    with pytest.raises(KvmdbgError, match="no memory"):
        hello.type(line)
    assert hello.type("checksum 0x5000 0x1000") == before


def test_few_of_many_differences_are_kept(hello: Typist) -> None:
    hello.type("fill 0x100000 0x100000 1 2 3")
    table, sentence = hello.results("compare 0x100000 0x200000 0x100000")
    assert sentence.plain() == f"{1 << 20} of {1 << 20} bytes differ."
    assert len(table.to_json()["rows"]) == 1 << 17  # type: ignore[arg-type]


def test_texts_longer_than_any(hello: Typist) -> None:
    assert hello.type("strings 0x1000 0x100 99999999999") == "No texts there."


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("find 0x5000, +0x100, 1.5", 0x5010),
        ("find 0x5000, +0x100, (float)1.5", 0x5020),
        ("find/b 0x5000, +0x100, 1.5", 0x5000),
        ("find 0x5000, +0x100, all[1]", 0x5040),
        (r'find 0x5000, +0x100, "a\\", 1', 0x5080),
    ],
)
def test_find_takes_values_of_any_type(kernel: Typist, line: str, found: int) -> None:
    memory = kernel.dbg.session.memory
    memory.write(0x5000, bytes([1]))
    memory.write(0x5010, bytes.fromhex("000000000000f83f"))
    memory.write(0x5020, bytes.fromhex("0000c03f"))
    memory.write(0x5040, memory.read(kernel.dbg.number("(long)&all[1]"), 0x28))
    memory.write(0x5080, b"a\\\x01")
    assert kernel.type(line).splitlines()[1].split()[0] == hex(found)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("break 1.5", "1.5 is no place: a breakpoint's locations have such numbers"),
        ("break -line main", r"-line takes a number, \+N or -N, not 'main'"),
        ("enable once 1.1", "'1.1' is no number or range"),
        ("enable count 2 1.1", "'1.1' is no number or range"),
        ("enable delete 1.1", "'1.1' is no number or range"),
        ("disable 1.3-1", "'1.3-1' is an inverted range"),
        ("catch exception 999", "exception: no vector is 0x3e7: they go up to 0xff"),
        ("catch interrupt 256", "interrupt: no vector is 0x100"),
        ("catch io 0xfff0,0x11", "io: no port is 0x10000: they go up to 0xffff"),
        ("catch cpuid 0x1ffffffff", "cpuid: no leaf is 0x1ffffffff"),
        ("catch msr 0x100000000", "msr: no index is 0x100000000"),
        ("handle exception 250 10 nostop", "exception: no vector is 0x103"),
        ("msr 0x100000010", "this vCPU has no MSR 0x100000010"),
        ("msr 0x100000010 1", "this vCPU has no MSR 0x100000010"),
        ("catch bios 0x1000", "bios: no interrupt is 0x1000"),
        ("translate phys:0x1000", "translate takes a linear address; info mappings phys:0x1000"),
        ("tui new-layout wide src ²", "stands its weight, a number from 1 on"),
        (f"tui new-layout wide {'{' * 3000}", "a layout is nested too deeply"),
        ("db 0x1000 L`", "'L`' was not understood"),
        (f"restore {GUESTS / 'kernel-O0.elf'} 0x5000", "does not load the sections of an ELF file: restore .* binary"),
    ],
)
def test_what_is_nothing_is_refused(kernel: Typist, line: str, why: str) -> None:
    kernel.type("break divide")
    with pytest.raises(KvmdbgError, match=why):
        kernel.type(line)
    assert [one.number for one in kernel.dbg.session.breakpoints] == [1]


def test_numbers_of_the_fpu_that_are_no_doubles(kernel: Typist) -> None:
    kernel.type("set $st0 = 1e400L\nset $st1 = 1e-400L")
    rows = kernel.type("info fpu").splitlines()
    assert rows[1].split()[1] == kernel.type("output $st0")
    assert rows[2].split()[1] == kernel.type("output $st1")
    assert "e-401" in rows[2]


def test_kinds_of_exits_may_have_commas_between(hello: Typist) -> None:
    assert hello.type("trace exits on io, mmio") == "Each exit of io, mmio is shown from now on."


def test_a_snapshot_that_is_not_there_leaves_the_guest_running(counter: Typist) -> None:
    counter.type("continue &")
    with pytest.raises(UsageError, match="there is no snapshot 'nosuch'"):
        counter.type("snapshot restore nosuch")
    assert counter.dbg.session.state == "running"


def test_a_digit_that_is_no_number(hello: Typist) -> None:
    with pytest.raises(KvmdbgError, match="'²' is not expected here"):
        hello.type("list ²")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("print {u8}1.5", "a double is no address"),
        ("print {u8}$st0", "a i387_ext is no address"),
        ("set {u8}($f) = 1", "a double is no address"),
        ("print phys:1.5", "a double is no address"),
        ("print $_strlen(1.5)", r"\$_strlen takes integers, addresses and texts, no double"),
        ("print $xmm0++", "'\\+\\+' cannot change a whole vec128"),
        ("print $xmm0 += 1", "'\\+=' cannot change a whole vec128"),
        ("print $s++", "'\\+\\+' cannot change a whole struct task"),
        ("print divide(all[1], 1)", "the function takes a u64 there, no struct task"),
        ("print divide($s, 1)", "the function takes a u64 there, no struct task"),
        ("x/x $s", "this struct task is in no memory of the guest: it has no address"),
        ("break *$s", "this struct task is in no memory of the guest: it has no address"),
        ("stepi all[1]", r"all\[1\] is a struct task, no number"),
        ("telescope $sp 99999999", "telescope shows 65536 slots at most"),
        ("shell echo \0", "no program's line can have a zero byte in it"),
    ],
)
def test_values_of_other_types(kernel: Typist, line: str, why: str) -> None:
    kernel.type("set $f = 1.5\nset $s = all[1]")
    with pytest.raises(KvmdbgError, match=why):
        kernel.type(line)
