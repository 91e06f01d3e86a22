"""What a program defines, by regular expressions, as gdb lists it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.programs import gdb
from tests.programs.conftest import Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]


def declared(said: str) -> list[str]:
    """The declarations of a list, in an order of ours (gdb does not sort all of its own)."""
    said = said.partition("Non-debugging symbols")[0]
    return sorted(re.findall(r"^(?:\d+:)?\t(.*)$", said, re.MULTILINE)) + re.findall(
        r"^File (?:.*/)?(.*):", said, re.MULTILINE
    )


@pytest.mark.parametrize(
    "command",
    ["info functions", "info functions ^ad", "info functions k", "info variables", "info variables ^c", "info types .",
     "info types item"],
)  # fmt: skip
@pytest.mark.parametrize("flags", ["-O0", "-O2", "-gsplit-dwarf", "-gdwarf-4"])
def test_lists_are_gdbs(debug: Open, command: str, flags: str) -> None:
    if (flags, command) == ("-O2", "info variables"):
        command = "info variables ^[ct]"  # gdb also lists variables that were optimized out
    dbg = debug("kernel.c", flags=flags)
    assert declared(dbg.typed(command)) == declared(gdb(dbg.path, command))


@pytest.mark.parametrize("flags", ["-O0", "-g0"])
@pytest.mark.parametrize("command", ["info functions", "info variables"])
def test_lists_have_the_order_of_gdbs_and_labels_of_assembly(debug: Open, command: str, flags: str) -> None:
    dbg = debug("kernel.c", flags=flags)
    assert dbg.typed(command) == re.sub("File .*/", "File ", gdb(dbg.path, command).strip())


def test_lists_without_debug_information(debug: Open) -> None:
    dbg = debug("kernel.c", flags="-g0")
    assert re.findall(r"^0x\w+  (\w+)$", dbg.typed("info functions ^[aw]"), re.MULTILINE) == ["add", "work"]
    assert "0x00" in dbg.typed("info variables counter") and "counter" in dbg.typed("info variables counter")
    assert dbg.typed("info functions -n") == "No functions are known: compile with -g."
    assert dbg.typed("info functions nix") == "No functions match 'nix'."
    assert dbg.typed("info functions [").startswith("refused: '[' is no regular expression: ")
    assert dbg.typed("rbreak ^_st") == "Breakpoint 1 at _start (0x100000)."
    assert dbg.typed("rbreak ^add$").startswith("Breakpoint 2 at add (0x")
    assert dbg.typed("info source") == "No source file is known."


def test_breakpoints_on_functions_by_a_regular_expression(debug: Open) -> None:
    dbg = debug("kernel.c")
    assert dbg.typed("rbreak ^[aw]").splitlines() == [
        "Breakpoint 1 at add (0x100013).",
        "Breakpoint 2 at work (0x100039).",
    ]
    assert dbg.typed("rbreak kernel.c:^k") == "Breakpoint 3 at kmain (0x10006d)."
    assert dbg.typed("rbreak nix") == "refused: no function matches 'nix'"
    assert dbg.typed("rbreak nix.c:k").startswith("refused: no code comes from a file nix.c")


def test_where_names_are_kept(debug: Open) -> None:
    dbg = debug("kernel.c")
    dbg.typed("break kernel.c:9", "run")
    for name in ("counter", "add"):
        wanted = re.findall(r"address (0x\w+)", gdb(dbg.path, f"info address {name}"))
        assert re.findall(r"address (0x\w+)", dbg.typed(f"info address {name}")) == wanted
    assert dbg.typed("info address sum").startswith('Symbol "sum" is a local variable at address 0x')
    assert dbg.typed("info address a").startswith('Symbol "a" is a parameter at address 0x')
    assert dbg.typed("info address nix") == "refused: no symbol 'nix'"
    assert [row.split()[0] for row in dbg.typed("info scope work").splitlines()[1:]] == ["n", "got", "i"][:2]


@pytest.mark.parametrize("flags", ["", "-O1"])
def test_a_scope_has_labels_and_static_variables(debug: Open, flags: str) -> None:
    dbg = debug("labels.c", flags=flags)
    for place in ("labels.c:4", "labels.c:9", "labels.c:17", "add", "labels.c:22"):
        said = gdb(dbg.path, f"info scope {place}")
        wanted = {
            (name, address[0] if (address := re.findall("(?:label|storage) at address (0x\\w+)", rest)) else "")
            for name, rest in re.findall(r"^Symbol (\w+) is (.*)", said, re.MULTILINE)
            if name != "add"
        }
        rows = [row.split() for row in dbg.typed(f"info scope {place}").splitlines()[1:]]
        assert {(row[0], row[-1] if row[-1].startswith("0x") else "") for row in rows} == wanted, place
    assert "label" in dbg.typed("info scope add") and "static" in dbg.typed("info scope labels.c:9")


def test_the_current_source(debug: Open) -> None:
    dbg = debug("kernel.c")
    said = dict(row.split(None, 1) for row in dbg.typed("break add", "run", "info source").splitlines()[1:])
    assert said["language"] == "c" and said["compiler"].startswith("GNU C") and said["lines"] == "26"
    assert dbg.typed("info sources kernel").splitlines()[1].endswith("kernel.c")


def test_of_static_functions_of_one_name_that_of_the_frames_file_is_meant(debug: Open) -> None:
    """As in gdb: the selected frame's file comes first, 'FILE'::NAME is that of another."""
    dbg = debug("same_name_a.c", "same_name_b.c")
    dbg.typed("break fa", "break kmain", "run")
    asked = ("output init(1)", "output 'same_name_a.c'::init(1)", "output 'same_name_b.c'::init(1)")
    assert dbg.typed(*asked) == "3\n2\n3"
    addresses = {file: dbg.typed(f"output/x (long)'{file}'::init") for file in ("same_name_a.c", "same_name_b.c")}
    assert len(set(addresses.values())) == 2
    assert dbg.typed("info address init").endswith(f"{addresses['same_name_b.c']}.")
    dbg.typed("continue")
    assert dbg.typed(*asked) == "2\n2\n3"
    assert dbg.typed("info address init").endswith(f"{addresses['same_name_a.c']}.")
    assert dbg.typed("output init").split()[-2:] == [addresses["same_name_a.c"], "<init>"]
    assert dbg.typed("up", "output init(1)").endswith("3")


def test_types_of_the_language_are_in_the_order_of_what_they_are_called(debug: Open) -> None:
    said = debug("integers.c").typed("info types .")
    rows = re.findall(r"^\t(\w.*)$", said, re.MULTILINE)
    assert {"signed char", "unsigned char", "unsigned int", "unsigned long long"} < set(rows)
    assert rows == sorted(rows)
    unsigned = re.findall(r"^\t(\w.*)$", debug("integers.c").typed("info types ^unsigned"), re.MULTILINE)
    assert unsigned == [one for one in rows if one.startswith("unsigned")]


def test_what_is_read_later_is_found_from_another_folder(debug: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    path = debug("kernel.c").path
    monkeypatch.chdir(path.parent)
    dbg = debug(path=Path(path.name))
    dbg.typed(f"add-symbol-file {path.name} 0x800000", "cd /")
    assert "kernel.c:8" in dbg.typed("info symbol *0x100013", "break add", "run")
    assert "struct item;" in dbg.typed("info types item") and "language           c\n" in dbg.typed("info source")
    assert dbg.typed("info line add").count('of "kernel.c" starts at') == 2
