"""Debug information as compilers and tools write it: all versions, split, shared, linked, compressed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvmdbg.debuginfo import linked
from tests.programs import build, run
from tests.programs.conftest import Debugger, Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

TABLE = '{id = 1, name = 0x… "one", big = 1099511627776, s = {1, -2, 3}}'


def check(dbg: Debugger) -> None:
    """The debug information says all of kernel.c: lines, functions, arguments, locals, types, frames."""
    said = dbg.typed("break add", "run")
    assert "(kernel.c:8)" in said, said
    assert dbg.typed("info args").split("\n")[1:] == ["a     0      int", "b     2      int"]
    shown = dbg.typed("print table[0]").partition(" = ")[2]
    assert shown[: shown.index("0x")] + "0x…" + shown[shown.index(' "one"') :] == TABLE
    assert dbg.typed("up").startswith("#1 ") and "n=3" in dbg.typed("bt")
    assert dbg.typed("print got").endswith("= 0")
    assert "struct item" in dbg.typed("ptype struct item")
    assert dbg.session.files.missing == []
    known = dbg.typed("break nosuch.c:1").partition("code comes from kernel.c")[2]
    assert known.partition(";")[0] in ("", ", start32.S", ", start64.S"), known


@pytest.mark.parametrize(
    "flags",
    [
        "-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5", "-gdwarf64", "-gdwarf64 -gdwarf-4", "-flto",
        "-gdwarf-5 -fdebug-types-section", "-gdwarf-4 -fdebug-types-section", "-gz=zlib", "-gsplit-dwarf",
        "-gsplit-dwarf -gdwarf-4", "-gsplit-dwarf -gdwarf-5 -fdebug-types-section", "-gsplit-dwarf -gz=zlib",
    ],
)  # fmt: skip
def test_versions_and_forms(debug: Open, flags: str) -> None:
    check(debug("kernel.c", flags=flags))


@pytest.mark.parametrize(
    "flags", ["-O2 -gdwarf-4", "-O2 -gdwarf-4 -gsplit-dwarf", "-O2 -gdwarf-5", "-O2 -gsplit-dwarf", "-O1 -gdwarf-2"]
)
def test_optimized_programs(debug: Open, flags: str) -> None:
    dbg = debug("inlined.c", flags=flags)
    rows = [row.split()[2:5] for row in dbg.typed("break emit", "run", "bt").splitlines() if row.startswith("#0")]
    assert rows == [["emit", "(inlined)", "inlined.c:6"]]
    assert dbg.typed("print twice").endswith("= 98")


NOTE = "-Wl,--section-start=.note.gnu.build-id=0x110000"


def linked_program(folder: Path, *, flags: str = "") -> Path:
    """kernel.elf without debug information, which is in kernel.debug."""
    made = build(folder, "kernel.c", name="kernel.elf", flags=flags)
    run(folder, "objcopy", "--only-keep-debug", "kernel.elf", "kernel.debug")
    run(folder, "objcopy", "--strip-debug", "--add-gnu-debuglink=kernel.debug", "kernel.elf")
    return made


def test_a_link_to_the_debug_information(debug: Open, tmp_path: Path) -> None:
    path = linked_program(tmp_path)
    check(debug(path=path))
    (tmp_path / ".debug").mkdir()
    (tmp_path / "kernel.debug").rename(tmp_path / ".debug" / "kernel.debug")
    check(debug(path=path))


def test_a_link_to_nothing_is_told(debug: Open, tmp_path: Path) -> None:
    path = linked_program(tmp_path)
    (tmp_path / "kernel.debug").write_bytes((tmp_path / "kernel.debug").read_bytes() + b"changed")
    said = debug(path=path).typed("break add", "run", "info args")
    assert f"{tmp_path}/kernel.debug is not the debug information of {path}: its checksum differs." in said
    (tmp_path / "kernel.debug").unlink()
    said = debug(path=path).typed("break add", "run", "info args")
    assert f"{path} says that its debug information is in kernel.debug, which is not there." in said


def test_a_folder_by_build_ids(debug: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = linked_program(tmp_path, flags=f"-Wl,--build-id=0x1122334455 {NOTE}")
    folder = tmp_path / "installed" / ".build-id" / "11"
    folder.mkdir(parents=True)
    (tmp_path / "kernel.debug").rename(folder / "22334455.debug")
    monkeypatch.setattr(linked, "DEBUG_FOLDERS", [str(tmp_path / "installed")])
    check(debug(path=path))


def test_a_package_of_split_units(debug: Open, tmp_path: Path) -> None:
    path = build(tmp_path, "kernel.c", flags="-gsplit-dwarf -gdwarf-4")  # binutils' dwp knows no other version
    run(tmp_path, "dwp", "-e", path.name, "-o", f"{path.name}.dwp")
    for one in tmp_path.glob("*.dwo"):
        one.unlink()
    check(debug(path=path))


def test_split_units_that_are_gone_are_told(debug: Open, tmp_path: Path) -> None:
    path = build(tmp_path, "kernel.c", flags="-gsplit-dwarf")
    for one in tmp_path.glob("*.dwo"):
        one.unlink()
    dbg = debug(path=path)
    said = dbg.typed("break add", "run", "info args")
    assert "(kernel.c:8)" in said, "lines are in the program"
    assert "program.elf-kernel.dwo, which is not there." in said


@pytest.fixture
def shared(tmp_path: Path) -> Callable[[], tuple[Path, Path]]:
    """Two programs that dwz has made smaller, and what they share."""

    def make() -> tuple[Path, Path]:
        for name in ("one.elf", "two.elf"):
            build(tmp_path, "kernel.c", name=name, flags=f"-Wl,--build-id {NOTE}")
        run(tmp_path, "dwz", "-m", "shared.debug", "-M", "shared.debug", "one.elf", "two.elf")
        return tmp_path / "one.elf", tmp_path / "shared.debug"

    return make


def test_debug_information_shared_by_dwz(debug: Open, shared: Callable[[], tuple[Path, Path]]) -> None:
    path, file = shared()
    check(debug(path=path))
    file.unlink()
    dbg = debug(path=path)
    assert "refused" not in dbg.typed("break add", "run", "bt")
    assert dbg.session.files.missing == [
        f"{path} shares debug information with others in shared.debug, which is not there"
    ]


@pytest.mark.parametrize("flags", ["-gdwarf-5", "-gdwarf-4", "-gdwarf-5 -gsplit-dwarf"])
def test_types_of_type_units_are_in_their_scopes(debug: Open, flags: str) -> None:
    """gcc puts a type beside the namespace that declares it, and leaves what member functions take to the code."""
    asked = """whatis kern::heap|ptype kern::Heap::Block|print kern::GREEN|print kern::Mode::OFF|whatis kern::numbers
        print kern::heap.first.mode|print kern::mode|whatis kern::bp|print kern::Heap::alloc|print kern::heap.alloc(2)
        print sizeof(kern::Vec<int>)|print kern::hidden_one|whatis kern::heap.first|print *kern::heaps.items[0]"""
    lines = [one.strip() for row in asked.splitlines() for one in row.split("|")]
    said = []
    for more in ("", "-fdebug-types-section"):
        dbg = debug("namespaces.cc", flags=f"-fno-exceptions -fno-rtti -w {flags} {more}")
        dbg.typed("break kmain", "run")
        said.append([dbg.typed(one) for one in lines])
    assert said[1] == said[0] and "refused" not in "".join(said[0])
