"""target.xml as gdb's manual has it ("Target Descriptions"), and what lldb is told of registers."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from gdbstub.registers import Description, Feature, Flags, Register
from gdbstub.target import Stopped
from gdbstub.testing import FakeTarget, Loop

FLAGS = Flags("eflags", 4, (("CF", 0, 0), ("IOPL", 12, 13), ('a"<', 31, 31)))
REGISTERS = (
    Register("rax", 64, "int64", dwarf=0), Register("rip", 64, "code_ptr", generic="pc", dwarf=16),
    Register("rsp", 64, "data_ptr", generic="sp"), Register("rbp", 64, "data_ptr", generic="fp"),
    Register("eflags", 32, "eflags", generic="flags"), Register("cs", 32, "int32", group="system"),
    Register("st0", 80, "i387_ext", group="float"), Register("xmm0", 128, "vec128", group="vector"),
    Register("plain", 16),
)  # fmt: skip
LAYOUT = Description(
    "long", (Feature("core", REGISTERS[:6], (FLAGS, "<union id='u'/>")), Feature("more", REGISTERS[6:])),
    "i386:x86-64", "none", "x86_64-unknown-unknown", 8,
)  # fmt: skip


def test_offsets_and_sizes() -> None:
    assert [one.size for one in LAYOUT.registers] == [8, 8, 8, 8, 4, 4, 10, 16, 2]
    assert LAYOUT.offsets == (0, 8, 16, 24, 32, 36, 40, 50, 66) and LAYOUT.size == 68
    assert [LAYOUT.number(name) for name in ("rax", "cs", "plain")] == [0, 5, 8]
    assert [LAYOUT.named(name) for name in ("pc", "sp", "fp", "flags", "ra")] == [1, 2, 3, 4, None]
    with pytest.raises(KeyError, match="rbx"):
        LAYOUT.number("rbx")
    empty = Description("none", ())
    assert (empty.registers, empty.offsets, empty.size, empty.pointer_size) == ((), (), 0, 8)


def test_document() -> None:
    text = LAYOUT.xml.decode()
    assert text.startswith('<?xml version="1.0"?>\n<!DOCTYPE target SYSTEM "gdb-target.dtd">\n<target version="1.0">\n')
    root = ElementTree.fromstring(text)
    assert [one.tag for one in root] == ["architecture", "osabi", "feature", "feature"]
    assert (root[0].text, root[1].text) == ("i386:x86-64", "none")
    core, more = root[2], root[3]
    assert (core.attrib, more.attrib) == ({"name": "core"}, {"name": "more"})
    flags = core[0]
    assert (flags.tag, flags.attrib) == ("flags", {"id": "eflags", "size": "4"})
    assert [one.attrib for one in flags] == [
        {"name": "CF", "start": "0", "end": "0"}, {"name": "IOPL", "start": "12", "end": "13"},
        {"name": 'a"<', "start": "31", "end": "31"},
    ]  # fmt: skip
    assert core[1].tag == "union" and core[2].attrib == {"name": "rax", "bitsize": "64", "type": "int64"}
    assert core[7].attrib == {"name": "cs", "bitsize": "32", "type": "int32", "group": "system"}
    assert more[2].attrib == {"name": "plain", "bitsize": "16", "type": "int16"}


def test_document_without_architecture() -> None:
    root = ElementTree.fromstring(Description("x", (Feature("f", REGISTERS[:1]),)).xml)
    assert [one.tag for one in root] == ["feature"]


class Rich(FakeTarget):
    """The fake with these registers."""

    def description(self, thread: int) -> Description:
        return LAYOUT

    def read_register(self, thread: int, layout: Description, number: int) -> bytes:
        return bytes([16 * thread + number]) + bytes(layout.registers[number].size - 1)


INFORMATION = [
    "name:rax;bitsize:64;offset:0;encoding:uint;format:hex;set:General Purpose Registers;gcc:0;dwarf:0;",
    "name:rip;bitsize:64;offset:8;encoding:uint;format:hex;set:General Purpose Registers;gcc:16;dwarf:16;generic:pc;",
    "name:rsp;bitsize:64;offset:16;encoding:uint;format:hex;set:General Purpose Registers;generic:sp;",
    "name:rbp;bitsize:64;offset:24;encoding:uint;format:hex;set:General Purpose Registers;generic:fp;",
    "name:eflags;bitsize:32;offset:32;encoding:uint;format:hex;set:General Purpose Registers;generic:flags;",
    "name:cs;bitsize:32;offset:36;encoding:uint;format:hex;set:System Registers;",
    "name:st0;bitsize:80;offset:40;encoding:ieee754;format:float;set:Floating Point Registers;",
    "name:xmm0;bitsize:128;offset:50;encoding:vector;format:vector-uint8;set:Vector Registers;",
    "name:plain;bitsize:16;offset:66;encoding:uint;format:hex;set:General Purpose Registers;",
]


def test_registers_one_by_one_for_lldb() -> None:
    loop = Loop(Rich())
    assert [loop.ask(b"qRegisterInfo%x" % number).decode() for number in range(9)] == INFORMATION
    assert loop.ask(b"qRegisterInfo9") == loop.ask(b"qRegisterInfoff") == b"E45"


def test_host_and_process_for_lldb() -> None:
    loop = Loop(Rich())
    triple = b"x86_64-unknown-unknown".hex()
    assert loop.ask(b"qHostInfo").decode() == f"triple:{triple};endian:little;ptrsize:8;"
    assert loop.ask(b"qProcessInfo").decode() == f"pid:1;triple:{triple};ostype:unknown;endian:little;ptrsize:8;"
    assert loop.ask(b"qGDBServerVersion") == b"name:kvmdbg-gdbstub;version:1;"
    assert loop.ask(b"qLaunchSuccess") == b"OK"


def test_stop_replies_bring_pc_sp_and_fp() -> None:
    target = Rich()
    loop = Loop(target)
    regs = "".join(f"{number:02x}:{16 + number:02x}{'00' * 7};" for number in (1, 2, 3))
    assert loop.ask(b"?").decode() == f"T05thread:1;{regs}"
    loop.ask(b"QListThreadsInStopReply")
    assert loop.ask(b"?").decode() == f"T05thread:1;threads:1,2;thread-pcs:11,21;{regs}reason:trace;"
    target.stop = Stopped(2, 5, "watch", 0x1234)
    assert loop.ask(b"?").decode().endswith("watch:1234;")
    first, second = json.loads(loop.ask(b"jThreadsInfo"))
    assert first == {"tid": 1, "name": "core <1>", "registers": {str(n): f"{16 + n:02x}{'00' * 7}" for n in (1, 2, 3)}}
    assert (second["signal"], second["reason"], second["description"]) == (5, "watchpoint", "4660 -1")


def test_pieces_of_a_document() -> None:
    loop = Loop(Rich())
    size = len(LAYOUT.xml)
    ask = b"qXfer:features:read:target.xml:%x,%x"
    assert loop.ask(ask % (0, size)) == b"l" + LAYOUT.xml
    assert loop.ask(ask % (0, size - 1)) == b"m" + LAYOUT.xml[:-1]
    assert loop.ask(ask % (size - 1, 1)) == b"l" + LAYOUT.xml[-1:]
    assert loop.ask(ask % (size, 10)) == loop.ask(ask % (size + 5, 10)) == b"l"
    assert loop.ask(ask % (5, 3)) == b"m" + LAYOUT.xml[5:8]


def test_threads_as_a_document() -> None:
    class Odd(FakeTarget):
        def thread_name(self, thread: int) -> str:
            return 'a<b>&"é'

    text = Loop(Odd()).ask(b"qXfer:threads:read::0,1000")
    root = ElementTree.fromstring(text[1:])
    assert [(one.attrib, one.text) for one in root] == [
        ({"id": "1", "core": "0"}, 'a<b>&"?'), ({"id": "2", "core": "1"}, 'a<b>&"?'),
    ]  # fmt: skip


def test_memory_as_a_document() -> None:
    class Two(FakeTarget):
        def memory_map(self) -> list[tuple[str, int, int]]:
            return [("ram", 0, 0x1000), ("rom", 0xF0000, 0x10000)]

    root = ElementTree.fromstring(Loop(Two()).ask(b"qXfer:memory-map:read::0,1000")[1:])
    found = [(one.attrib["type"], int(one.attrib["start"], 16), int(one.attrib["length"], 16)) for one in root]
    assert found == [
        ("ram", 0, 0x1000),
        ("ram", 0x1000, 0xEF000),  # what is mapped there is in no list, and gdb would not read it
        ("rom", 0xF0000, 0x10000),
        ("ram", 0x100000, (1 << 63) - 0x100000),
        ("ram", 1 << 63, 1 << 63),
    ]
