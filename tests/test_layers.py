"""Imports go one way: ui -> commands -> core -> engine -> machine -> kvm; each layer may use everything further along.

An import inside a function or for type checkers only counts like any other: it ties the modules together as well.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MOST_IN_A_CIRCLE = 3

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    layer: set(others.split())
    for layer, others in {
        "kvmdbg.errors": "",
        "kvmdbg.plugins": "errors",
        "kvmdbg.record": "",
        "kvmdbg.faces": "",
        "kvmdbg.masks": "",
        "kvmdbg.html": "printable pygments",
        "kvmdbg.numbers": "errors regex",
        "kvmdbg.regex": "errors",
        "kvmdbg.printable": "",
        "kvmdbg.standard_files": "printable",
        "kvmdbg.error_log": "platformdirs",
        "kvmdbg.start_files": "error_log errors",
        "kvmdbg.ending": "",
        "kvmdbg.suspending": "",
        "kvmdbg.version": "",
        "kvmdbg.x86": "errors faces masks record capstone keystone",
        "kvmdbg.demo": "errors record",
        "kvmdbg.completions": "demo devices loaders shtab",
        "kvmdbg.manual": "cli demo",
        "kvmdbg.doctor": "api demo engine kvm errors record version",
        "kvmdbg.kvm": "errors record suspending",
        "kvmdbg.machine": "kvm x86 errors record",
        "kvmdbg.soft": "machine kvm x86 errors masks",
        "kvmdbg.devices": "machine x86 errors faces numbers plugins record",
        "kvmdbg.firmware": "devices machine x86 kvm errors record",
        "kvmdbg.language": "x86 errors masks plugins record regex",
        "kvmdbg.loaders": "machine x86 errors masks plugins printable record elftools lz4 zstandard",
        "kvmdbg.debuginfo": "language loaders machine x86 errors faces masks printable record elftools platformdirs",
        "kvmdbg.observe": "debuginfo kvm machine x86 errors record",
        "kvmdbg.timeline": "machine record",
        "kvmdbg.engine": "firmware observe timeline debuginfo language devices soft machine kvm x86 errors faces "
        "masks printable record",
        "kvmdbg.core": "engine observe timeline debuginfo language devices loaders machine kvm x86 errors faces "
        "masks numbers printable record png drgn",
        "kvmdbg.commands": "core engine firmware observe debuginfo language devices loaders machine kvm x86 errors "
        "html masks numbers plugins printable record regex version pygal",
        "kvmdbg.ui": "serving commands core engine devices machine kvm x86 errors error_log printable standard_files "
        "suspending record version prompt_toolkit pygments",
        "gdbstub": "",
        "kvmdbg.gdb_target": "gdbstub core engine machine kvm x86 errors printable record",
        "kvmdbg.api": "core engine loaders machine errors numbers record",
        "kvmdbg.build": "errors",
        "kvmdbg.pytest_plugin": "api build commands core engine kvm errors pytest",
        "kvmdbg.serving": "gdb_target gdbstub commands core engine errors",
        "kvmdbg.script": "core engine loaders errors",
        "kvmdbg.batch": "script serving start_files ui commands core engine errors error_log printable standard_files "
        "record",
        "kvmdbg.check": "core engine devices loaders errors printable record standard_files png",
        "kvmdbg.lockstep": "core engine kvm x86 errors printable record standard_files",
        "kvmdbg.cli": "check completions demo doctor lockstep api batch script plugins ui devices commands gdb_target "
        "gdbstub core engine x86 ending suspending errors error_log numbers printable record standard_files version",
        "kvmdbg": "api commands core engine devices errors language loaders version",
        "kvmdbg.__main__": "cli",
    }.items()
}
"""What each layer may import besides itself and the standard library; ``kvmdbg.`` goes without saying."""

MODULES = sorted(path for top in ("kvmdbg", "gdbstub") for path in (ROOT / top).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def layer_of(module: str) -> str:
    """The layer of a module of ours; of any other, the package's own name."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "kvmdbg" else parts[0]


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import in ``source``, wherever it stands; ``package`` resolves the relative ones."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield node.lineno, whole if whole in NAMES else base


def breaches(path: str, source: str, module: str, package: str) -> list[str]:
    layer = layer_of(module)
    found = {}
    for line, imported in imports(source, package):
        other = layer_of(imported)
        if other == layer or other in sys.stdlib_module_names:
            continue
        if other.removeprefix("kvmdbg.") not in MAY_IMPORT[layer]:
            found[f"{path}:{line} imports {imported}, which {layer} may not know"] = True
    return list(found)


LAYERS = sorted({layer_of(name) for name in NAMES})


def test_every_module_has_a_row_in_the_table() -> None:
    assert len(MODULES) > 50
    assert set(LAYERS) <= set(MAY_IMPORT)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_only_what_it_may(layer: str) -> None:
    found: list[str] = []
    for path in MODULES:
        module = name_of(path)
        if layer_of(module) == layer:
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            found += breaches(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"), module, package)
    assert not found, "\n".join(found)


def test_only_the_binding_knows_kvm_run_and_its_ioctls() -> None:
    """Where things are in the shared page, and that there is one, the back ends alone know."""
    for path in MODULES:
        module = name_of(path)
        if layer_of(module) in ("kvmdbg.kvm", "kvmdbg.soft"):
            continue
        source = path.read_text(encoding="utf-8")
        known = {imported for _, imported in imports(source, module.rpartition(".")[0])}
        assert not known & {"kvmdbg.kvm.run_page", "kvmdbg.kvm.coalesced"}, module
        assert "kvm_run" not in {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
        assert "fcntl" not in known, module


def test_the_table_itself_goes_one_way() -> None:
    left = {
        layer: {other if other in MAY_IMPORT else f"kvmdbg.{other}" for other in others} & set(MAY_IMPORT)
        for layer, others in MAY_IMPORT.items()
    }
    done: set[str] = set()
    while free := {layer for layer, others in left.items() if others <= done} - done:
        done |= free
    assert done == set(MAY_IMPORT)


def circles(needs: dict[str, set[str]]) -> list[set[str]]:
    """Modules that need each other, directly or by others, with what each of them imports given."""

    def reached(module: str) -> set[str]:
        found: set[str] = set()
        ahead = [module]
        while ahead:
            new = needs[ahead.pop()] - found
            found |= new
            ahead += new
        return found

    all_of = {module: reached(module) for module in needs}
    alike = {module: {other for other in others if module in all_of[other]} for module, others in all_of.items()}
    return [set(one) for one in {frozenset(members) for members in alike.values()} if len(one) > 1]


def test_circles_of_imports_are_small() -> None:
    needs: dict[str, set[str]] = {}
    for path in MODULES:
        module = name_of(path)
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        found = imports(path.read_text(encoding="utf-8"), package)
        needs[module] = {imported for _, imported in found if imported in NAMES} - {module}
    for members in circles(needs):
        assert len(members) <= MOST_IN_A_CIRCLE, sorted(members)


def test_a_circle_is_found() -> None:
    needs = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": {"e"}, "e": {"f"}, "f": {"d"}, "g": {"a"}}
    assert sorted(map(sorted, circles(needs))) == [["b", "c"], ["d", "e", "f"]]


@pytest.mark.parametrize(
    "source",
    [
        "import kvmdbg.core.session",
        "from kvmdbg.core.session import Session",
        "from kvmdbg.core import session",
        "from kvmdbg import core",
        "from kvmdbg import open",
        "import kvmdbg",
        "from ..core import session",
        "from .. import core",
        "def later():\n    from kvmdbg.core import stops",
        "if TYPE_CHECKING:\n    from kvmdbg.core import stops",
        "import capstone",
    ],
)
def test_a_breach_is_found(source: str) -> None:
    (found,) = breaches("vm.py", source, "kvmdbg.kvm.vm", "kvmdbg.kvm")
    assert found.startswith(f"vm.py:{source.count(chr(10)) + 1} imports ")
    assert found.endswith("which kvmdbg.kvm may not know")


def test_what_is_allowed_is_not_found() -> None:
    source = "import os\nfrom kvmdbg.errors import KvmdbgError\nfrom kvmdbg import record\nfrom . import abi\n"
    assert breaches("vm.py", source, "kvmdbg.kvm.vm", "kvmdbg.kvm") == []


LONGEST, LONGEST_SESSION = 500, 300


def test_no_file_is_too_long() -> None:
    """What one has to read as a whole; a file grows, and is then cut by what changes together."""
    paths = [*MODULES, *(ROOT / "tests").rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert not {path for path, count in lines.items() if count > LONGEST}
    assert lines["kvmdbg/core/session.py"] <= LONGEST_SESSION, "it gives out what the parts can do, and owns nothing"
