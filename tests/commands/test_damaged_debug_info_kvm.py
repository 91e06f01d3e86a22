"""Debug information with any byte changed: every command ends in one sentence, or works, and takes no memory for it."""

from __future__ import annotations

import random
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import ExpressionError, KvmdbgError

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

C = """\
struct node {
    struct node *next; int value; char name[8]; union { int a; float b; } u; enum { RED, GREEN } c; unsigned b:3;
};
static struct node nodes[3] = {{&nodes[1], 1, "one"}, {&nodes[2], 2, "two"}};
volatile double d = 1.5; int (*fp)(int);
static inline int inner(int n) { volatile int twice = n * 2; return twice + nodes[n % 3].value; }
__attribute__((noinline)) int outer(int n, struct node *p) {
    int got = inner(n);
    { int deep = got; got += deep; }
    return got + p->value;
}
void _start(void) {
    int sum = 0;
    for (int i = 0; i < 3; i++)
        sum += outer(i, &nodes[i]);
    nodes[0].value = sum;
    __asm__("hlt");
}
"""
FLAGS = ["-O1", "-ffreestanding", "-fno-pie", "-no-pie", "-nostdlib", "-static", "-fno-stack-protector",
         "-Wl,--build-id=none", "-Wl,-Ttext=0x100000"]  # fmt: skip
SECTIONS = (".eh_frame", ".symtab", ".strtab", ".shstrtab")
COMMANDS = [
    "break outer", "run", "backtrace", "info locals", "info args", "ptype struct node", "whatis nodes", "print nodes",
    "print *p", "print sizeof(struct node)", "list", "info line outer", "info symbols", "step", "next", "up",
    "info locals", "frame 0", "info frame", "disassemble /s", "x/3i $pc", "break a.c:7", "info breakpoints", "continue",
    "info functions", "info variables", "info types", "info scope outer", "info source",
]  # fmt: skip


@pytest.fixture(scope="session", params=["-gdwarf-5", "-gdwarf-4", "-gdwarf-5 -gz=zlib"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "a.c").write_text(C)
    subprocess.run(["gcc", *FLAGS, *request.param.split(), folder / "a.c", "-o", folder / "a.elf"], check=True)
    return folder / "a.elf"


def damaged(whole: Path, chance: random.Random) -> bytes:
    """The file with one to five bytes of a section changed."""
    data = bytearray(whole.read_bytes())
    with whole.open("rb") as file:
        sections = [
            (one["sh_offset"], one["sh_size"])
            for one in ELFFile(file).iter_sections()
            if one["sh_size"] and (one.name.startswith(".debug") or one.name in SECTIONS)
        ]
    start, size = chance.choice(sections)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        at = start + chance.randrange(size)
        data[at] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 1 << chance.randrange(8), chance.randrange(256)])
    return bytes(data)


@pytest.mark.parametrize("seed", range(12))
def test_any_byte_changed(whole: Path, tmp_path: Path, seed: int) -> None:
    all_is_told(tmp_path / "a.elf", damaged(whole, random.Random(seed)))


@pytest.mark.parametrize("name", [".debug_info", ".debug_abbrev", ".debug_line", ".debug_line_str", ".debug_str"])
def test_a_section_without_sense(whole: Path, tmp_path: Path, name: str) -> None:
    data = bytearray(whole.read_bytes())
    with whole.open("rb") as file:
        section = ELFFile(file).get_section_by_name(name)
    if section is None:  # before DWARF 5 there is no .debug_line_str
        assert name == ".debug_line_str"
        return
    at, end = section["sh_offset"] + 24, section["sh_offset"] + section["sh_size"]
    data[at:end] = b"\xff" * (end - at)
    all_is_told(tmp_path / "a.elf", bytes(data))


def test_a_section_that_is_said_to_unpack_to_much(whole: Path, tmp_path: Path) -> None:
    """128 MiB of zeros in 600 KiB: no memory is taken for them."""
    packed = zlib.compress(bytes(1 << 27), 1)
    (tmp_path / "section").write_bytes(struct.pack("<IIQQ", 1, 0, 1 << 27, 1) + packed)  # Elf64_Chdr
    plain, path = tmp_path / "plain.elf", tmp_path / "a.elf"
    subprocess.run(["objcopy", "--decompress-debug-sections", whole, plain], check=True)
    update = ["--update-section", f".debug_str={tmp_path}/section"]
    subprocess.run(["objcopy", *update, plain, path], check=True)
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        elf = ELFFile(file)
        number = next(n for n, one in enumerate(elf.iter_sections()) if one.name == ".debug_str")
        data[elf["e_shoff"] + number * elf["e_shentsize"] + 9] |= 0x08  # SHF_COMPRESSED
    takes_little(path, bytes(data))


@pytest.mark.parametrize("claimed", [1 << 27, 1 << 62, 64, 0])
def test_a_section_packed_in_the_older_way(whole: Path, tmp_path: Path, claimed: int) -> None:
    """What .zdebug_info unpacks to is not more than it says, and what it says is not much."""
    plain, path = tmp_path / "plain.elf", tmp_path / "a.elf"
    subprocess.run(["objcopy", "--decompress-debug-sections", whole, plain], check=True)
    (tmp_path / "section").write_bytes(b"ZLIB" + claimed.to_bytes(8, "big") + zlib.compress(bytes(1 << 27), 1))
    update = ["--update-section", f".debug_info={tmp_path}/section", "--rename-section", ".debug_info=.zdebug_info"]
    subprocess.run(["objcopy", *update, plain, path], check=True)
    takes_little(path, path.read_bytes())


def test_a_section_of_zeros_that_are_not_in_the_file(whole: Path, tmp_path: Path) -> None:
    data = bytearray(whole.read_bytes())
    with whole.open("rb") as file:
        elf = ELFFile(file)
        number = next(n for n, one in enumerate(elf.iter_sections()) if one.name == ".debug_str")
    at = elf["e_shoff"] + number * elf["e_shentsize"]
    data[at + 4 : at + 16] = struct.pack("<IQ", 8, 0)  # SHT_NOBITS, not compressed
    data[at + 32 : at + 40] = struct.pack("<Q", 1 << 40)
    takes_little(tmp_path / "a.elf", bytes(data))


def takes_little(path: Path, data: bytes) -> None:
    tracemalloc.start()
    try:
        all_is_told(path, data, ["break outer", "info line outer", "info variables"])
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_sections_packed_in_the_older_way_beside_others(tmp_path: Path) -> None:
    """A linker packs the sections that get smaller by it: pyelftools takes either all or none."""
    (tmp_path / "a.c").write_text(C)
    path = tmp_path / "a.elf"
    short = ["-gdwarf-5", "-gz=zlib-gnu", f"-fdebug-prefix-map={tmp_path}=."]
    subprocess.run(["gcc", *FLAGS, *short, "a.c", "-o", path], check=True, cwd=tmp_path)
    with path.open("rb") as file:
        names = {one.name for one in ELFFile(file).iter_sections()}
    assert {".zdebug_info", ".debug_line_str"} < names
    with kvmdbg.open(path) as session:
        told = "".join(
            one.plain() for line in ("info line outer", "info types") for one in Interpreter(session).execute(line)
        )
        assert 'of "a.c" starts at address' in told and "struct node;" in told


def all_is_told(path: Path, data: bytes, lines: list[str] = COMMANDS) -> None:
    """Every command ends in one sentence, or works, on this file."""
    path.write_bytes(data)
    with kvmdbg.open(path) as session:
        dbg = Interpreter(session)
        dbg.settings["limit-time"] = 2.0
        for line in lines:
            try:
                for result in dbg.execute(line):
                    result.plain()
                    result.to_json()
            except ExpressionError:
                pass
            except KvmdbgError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("size", [1 << 20, 1 << 31, (1 << 64) - 1])
def test_a_function_that_is_said_to_be_large(whole: Path, tmp_path: Path, size: int) -> None:
    data = bytearray(whole.read_bytes())
    with whole.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        number = next(n for n, one in enumerate(table.iter_symbols()) if one.name == "_start")
        at = table["sh_offset"] + number * table["sh_entsize"] + 16
    data[at : at + 8] = size.to_bytes(8, "little")
    path = tmp_path / "a.elf"
    path.write_bytes(data)
    with kvmdbg.open(path) as session:
        dbg = Interpreter(session)
        (shown,) = dbg.execute("disassemble _start")
        assert len(shown.plain().splitlines()) < 100
        with pytest.raises(KvmdbgError, match="more than 0x100000"):
            list(dbg.execute("disassemble 0, 0x7fffffff"))


def test_one_damaged_unit_does_not_hide_the_names_of_others(tmp_path: Path) -> None:
    """A variable of the first of two units is no entry at all: its unit is told of, the second is listed."""
    (tmp_path / "a.c").write_text("int first(void){return 1;}\nstruct one {int n;} in_first;\n")
    (tmp_path / "b.c").write_text("int second(void){return 2;}\nstruct two {int n;} in_second;\n")
    path = tmp_path / "a.elf"
    subprocess.run(["gcc", *FLAGS, "-g", "-Wl,-efirst", tmp_path / "a.c", tmp_path / "b.c", "-o", path], check=True)
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        elf = ELFFile(file)
        unit = next(elf.get_dwarf_info().iter_CUs())
        entry = next(one for one in unit.get_top_DIE().iter_children() if one.tag == "DW_TAG_variable")
        data[elf.get_section_by_name(".debug_info")["sh_offset"] + entry.offset] = 0x7F  # no such abbreviation
    path.write_bytes(data)
    with kvmdbg.open(path) as session:
        for line, word in {
            "info functions -n": "int second(void);", "info variables -n": "struct two in_second;",
            "info types": "struct two;", "rbreak second": "Breakpoint 1 at second",
        }.items():  # fmt: skip
            told = "\n".join(result.plain() for result in Interpreter(session).execute(line))
            assert word in told
            assert f"{path}: its debug information is damaged (KeyError: 127)." in told, line


def in_a_package(folder: Path) -> Path:
    """A program whose debug information is in a package (.dwp) alone."""
    (folder / "a.c").write_text(C)
    split = ["-g", "-gsplit-dwarf", "-gdwarf-4"]  # binutils' dwp knows no other version
    subprocess.run(["gcc", *FLAGS, *split, "a.c", "-o", "a.elf"], check=True, cwd=folder)
    subprocess.run(["dwp", "-e", "a.elf", "-o", "a.elf.dwp"], check=True, cwd=folder)
    for one in folder.glob("*.dwo"):
        one.unlink()
    return folder / "a.elf"


def section_at(path: Path, name: str) -> tuple[int, int]:
    """Where a section's header and its data begin in a file."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        number = next(n for n, one in enumerate(elf.iter_sections()) if one.name == name)
        return elf["e_shoff"] + number * elf["e_shentsize"], elf.get_section(number)["sh_offset"]


def said(path: Path, *lines: str) -> str:
    with kvmdbg.open(path) as session:
        dbg = Interpreter(session)
        return "\n".join(one.plain() for line in lines for one in dbg.execute(line))


def test_a_package_that_is_said_to_unpack_to_much(tmp_path: Path) -> None:
    path = in_a_package(tmp_path)
    package = Path(f"{path}.dwp")
    (tmp_path / "section").write_bytes(struct.pack("<IIQQ", 1, 0, 1 << 27, 1) + zlib.compress(bytes(1 << 27), 1))
    subprocess.run(["objcopy", "--update-section", f".debug_str.dwo={tmp_path}/section", package], check=True)
    data = bytearray(package.read_bytes())
    data[section_at(package, ".debug_str.dwo")[0] + 9] |= 0x08  # SHF_COMPRESSED
    package.write_bytes(data)
    takes_little(path, path.read_bytes())
    assert "a.elf.dwp: its section .debug_str.dwo is said to unpack to 134,217,728 bytes" in said(
        path, "info functions"
    )


def test_a_package_whose_index_is_said_to_be_endless(tmp_path: Path) -> None:
    path = in_a_package(tmp_path)
    package = Path(f"{path}.dwp")
    data = bytearray(package.read_bytes())
    at = section_at(package, ".debug_cu_index")[1] + 12
    data[at : at + 4] = b"\xff" * 4
    package.write_bytes(data)
    assert "its index is said to have 4,294,967,295 places" in said(path, "info functions")


@pytest.mark.parametrize("name", [".debug_abbrev.dwo", ".debug_info.dwo"])
def test_damage_is_named_where_nothing_is_known(tmp_path: Path, name: str) -> None:
    path = in_a_package(tmp_path)
    package = Path(f"{path}.dwp")
    data = bytearray(package.read_bytes())
    at = section_at(package, name)[1]
    data[at : at + 40] = b"\xff" * 40
    package.write_bytes(data)
    assert "a.elf.dwp: its debug information is damaged" in said(path, "info source")


def test_damage_is_named_instead_of_a_missing_option(whole: Path, tmp_path: Path) -> None:
    data = bytearray(whole.read_bytes())
    header = section_at(whole, ".debug_str")[0]
    data[header + 4 : header + 16] = struct.pack("<IQ", 8, 0)  # SHT_NOBITS, not compressed
    data[header + 32 : header + 40] = struct.pack("<Q", 1 << 40)
    path = tmp_path / "a.elf"
    path.write_bytes(data)
    damage = f"{path}: its section .debug_str is said to unpack to"
    for line in ("info functions zz", "info types", "info locals", "info source", "info sources"):
        told = said(path, "break outer", "run", line)
        assert damage in told and "compile with -g" not in told, line
    with pytest.raises(KvmdbgError, match=f"'nodes' is a symbol whose type is not known: {damage}"):
        said(path, "ptype nodes")
