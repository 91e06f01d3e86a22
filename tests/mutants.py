"""A mutation run: small mistakes are put into the code, one at a time, and the tests have to fail.

    python -m tests.mutants --sample 60 --seed 1 kvmdbg/x86

The mistakes are those of cosmic-ray's operators: other numbers, comparisons and operators, conditions the other way
round, decorators that are gone, loops that run no round. A sample takes places at random, and one of the mistakes that
can be made there. Nothing is changed here: two copies of the work tree are made and thrown away.

Which tests can see a file is found by names: those of the folder that mirrors the file's, those that import the module,
and, for kvmdbg's, those whose own name has the module's in it; after them those of ELSEWHERE. A mutant is killed by a
test that fails or takes far longer than it does without. What no test could notice is named in
tests/equivalent_mutants.txt, with the reason, and does not count.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from kvmdbg.record import record

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.txt"
AT_ONCE = 2
PATIENCE, LEAST = 3, 60
"""A run is ended after so many times the seconds that it takes without a mutant, and not before so many seconds."""
FIRST_MTIME = 1_000_000_000
ELSEWHERE = {"kvmdbg/language": ("beside_gdb", "programs"), "kvmdbg/engine": ("core", "timeline")}
"""Folders of tests that ask for what a folder does through commands and whole guests."""
Position = tuple[int, int]


@record
class Mutant:
    """One mistake: the ``occurrence``th that an operator can make in a file, at ``line``."""

    path: str
    operator: str
    occurrence: int
    line: int
    before: str
    after: str

    @property
    def changed(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The lines that go and those that come, without their indentation."""
        lines = list(difflib.ndiff(self.before.splitlines(), self.after.splitlines()))
        gone, come = ([one[2:].strip() for one in lines if one[0] == sign and one[2:].strip()] for sign in "-+")
        return tuple(gone), tuple(come)

    def diff(self) -> str:
        before, after = self.before.splitlines(), self.after.splitlines()
        return "\n".join(list(difflib.unified_diff(before, after, self.path, "mutant", lineterm=""))[2:])


# --- what can be changed -------------------------------------------------------------------------------


def means_nothing_at_run_time(node: ast.AST) -> bool:
    """Whether a statement is there for the type checker or for whoever reads it."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.ClassDef):
        return any(ast.unparse(one) == "Protocol" for one in node.bases)
    if isinstance(node, ast.FunctionDef):
        return any(ast.unparse(one) in ("overload", "abstractmethod") for one in node.decorator_list)
    return isinstance(node, ast.Assert)


def only_saves_time(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).partition("(")[0] in ("cache", "lru_cache")


def not_run(source: str) -> list[tuple[Position, Position]]:
    """Where those statements, all annotations and the decorators of caches lie in a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for one in filter(only_saves_time, getattr(node, "decorator_list", ())):
            found.append(((one.lineno, 0), (one.end_lineno or one.lineno, one.end_col_offset or 0)))
        parts: list[ast.AST | None] = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if means_nothing_at_run_time(node):
            parts.append(node)
        for one in parts:
            if isinstance(one, ast.expr | ast.stmt) and one.end_lineno and one.end_col_offset:
                start = min([one.lineno, *(each.lineno for each in getattr(one, "decorator_list", ()))])
                found.append(
                    ((start, 0 if start < one.lineno else one.col_offset), (one.end_lineno, one.end_col_offset))
                )
    return found


def operators() -> Iterator[tuple[str, object]]:
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if not operator.arguments():
            yield name, operator()


def places(path: str) -> dict[tuple[str, Position], list[tuple[str, int]]]:
    """(operator, occurrence) of each mistake that can be made, by its place in the file."""
    source = (ROOT / path).read_text()
    tree = get_ast(source)
    nodes = list(ast_nodes(tree))
    silent = not_run(source)
    found: dict[tuple[str, Position], list[tuple[str, int]]] = defaultdict(list)
    for name, operator in operators():
        positions = (one for node in nodes for one in operator.mutation_positions(node))  # type: ignore[attr-defined]
        for occurrence, (start, _) in enumerate(positions):
            if not any(first <= start < last for first, last in silent):
                found[path, start].append((name, occurrence))
    return found


def files(paths: Sequence[str]) -> list[str]:
    found: list[Path] = []
    for path in paths:
        whole = ROOT / path
        found += sorted(whole.rglob("*.py")) if whole.is_dir() else [whole]
    return [str(one.relative_to(ROOT)) for one in found]


def sample(paths: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """So many mutants, or as many as there are; the same ones for the same seed and code."""
    everywhere = {place: ways for path in files(paths) for place, ways in places(path).items()}
    chosen = random.Random(seed)
    wanted = sorted(everywhere)
    chosen.shuffle(wanted)
    found: list[Mutant] = []
    for path, start in wanted:
        if len(found) == count:
            break
        before = (ROOT / path).read_text()
        name, occurrence = chosen.choice(everywhere[path, start])
        after = mutate_code(before, get_operator(name)(), occurrence)
        try:
            same = after is None or ast.dump(ast.parse(before)) == ast.dump(ast.parse(after))
        except SyntaxError:
            continue
        if not same:
            found.append(Mutant(path, name, occurrence, start[0], before, after))
    return sorted(found, key=lambda one: (one.path, one.line))


def equivalents() -> dict[tuple[str, tuple[str, ...], tuple[str, ...]], str]:
    """Why a mutant (its path, the lines that go, those that come) cannot be noticed."""
    found = {}
    for block in re.split(r"\n\s*\n", EQUIVALENT.read_text()):
        lines = [one for one in block.strip().splitlines() if not one.startswith("#")]
        if lines:
            path, _, why = lines[0].partition(": ")
            gone, come = (tuple(one[2:].strip() for one in lines[1:] if one[0] == sign) for sign in "-+")
            found[path, gone, come] = why
    return found


# --- which tests can see it ----------------------------------------------------------------------------


@cache
def imports(test: Path) -> set[str]:
    """Everything that a test file imports, as module and as name in a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(test.read_text())):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    return found


left_out: set[str] = set()
"""Test files that are not run: they fail as things are."""


@cache
def tests_of(path: str) -> tuple[str, ...]:
    """The test files that can see a file, those first that are most about it. Asked once: the copies have no others."""
    file = Path(path)
    module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    stem = file.stem.removesuffix("s")
    mirror = ROOT / "tests" / (file.parent.relative_to("kvmdbg") if file.parts[0] == "kvmdbg" else file.parent)
    while not mirror.exists():
        mirror = mirror.parent
    elsewhere = [ROOT / "tests" / one for one in ELSEWHERE.get(str(file.parent), ())]
    ranked = []
    for test in sorted((ROOT / "tests").rglob("test_*.py")):
        named = re.search(rf"(^test|_){re.escape(stem)}s?(_|$)", test.stem) is not None
        mirrors = test.parent == mirror if mirror == ROOT / "tests" else mirror in test.parents
        near = mirrors or module in imports(test) or (named and file.parts[0] == "kvmdbg")
        if near or any(one in test.parents for one in elsewhere):
            ranked.append((not near, not (named and mirrors), not mirrors, not named, str(test.relative_to(ROOT))))
    return tuple(one[-1] for one in sorted(ranked) if one[-1] not in left_out)


# --- running them --------------------------------------------------------------------------------------


class Copy:
    """A copy of the work tree, in which one mutant at a time is tried."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._writes = 0
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(listing, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        for name in filter(None, listed.decode().split("\0")):
            if (ROOT / name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, place / name)
        self.environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONHASHSEED": "0"}
        where = self.run([sys.executable, "-c", "import kvmdbg, gdbstub; print(kvmdbg.__file__, gdbstub.__file__)"], 60)
        if where.stdout.count(str(place)) != 2:
            raise SystemExit(f"the tests would not see the copy in {place}, but {where.stdout}")

    def run(self, command: list[str], limit: float) -> subprocess.CompletedProcess[str]:
        """Run to its end, or TimeoutExpired; nothing that it has started stays."""
        process = subprocess.Popen(
            command, cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=limit)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
        return subprocess.CompletedProcess(command, process.returncode, output, "")

    def put(self, path: str, text: str) -> None:
        """Change a file; its time is one that it never had, so that no compiled module of before is taken for it."""
        self._writes += 1
        (self.place / path).write_text(text)
        os.utime(self.place / path, (FIRST_MTIME + self._writes,) * 2)

    def test(self, tests: list[str], limit: float) -> tuple[str, str]:
        """ "survived" or "killed" (and by what), "too slow"."""
        options = ["-q", "-x", "--no-header", "--tb=line", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        try:
            done = self.run([sys.executable, "-m", "pytest", *options, *tests], limit)
        except subprocess.TimeoutExpired:
            return "killed", "too slow"
        if done.returncode == 0:
            return "survived", ""
        last = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        return "killed", last[0] if last else done.stdout.strip().rpartition("\n")[2]


def main() -> int:
    about = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    about.add_argument("paths", nargs="+", metavar="PATH", help="a file or folder of kvmdbg/ or gdbstub/")
    about.add_argument("--sample", type=int, default=60, metavar="N", help="how many mutants (60)")
    about.add_argument("--seed", type=int, default=1, metavar="S", help="another seed takes others (1)")
    about.add_argument("--list", action="store_true", help="show the mutants and the tests of each, and run nothing")
    about.add_argument("--leave-out", action="append", default=[], metavar="FILE", help="run no test of this file")
    options = about.parse_args()
    left_out.update(options.leave_out)
    mutants = sample(options.paths, options.sample, options.seed)
    known = equivalents()
    if options.list:
        for one in mutants:
            print(f"{one.path}:{one.line} {one.operator}\n{one.diff()}\n{' '.join(tests_of(one.path))}\n")
        return 0
    unseen = sorted({one.path for one in mutants if not tests_of(one.path)})
    if unseen:
        raise SystemExit(f"no test can see {', '.join(unseen)}")
    counts = {"killed": 0, "survived": 0, "equivalent": 0}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(AT_ONCE):
            copies.put(Copy(Path(folder, str(number))))

        def without(tests: list[str]) -> float:
            """Seconds that all these tests take as they are."""
            copy, start = copies.get(), time.monotonic()
            result, by = copy.test(tests, 3600)
            copies.put(copy)
            if result != "survived":
                raise SystemExit(f"without any mutant, too, {by} fails")
            return time.monotonic() - start

        def tried(one: Mutant) -> tuple[Mutant, str, str]:
            why = known.get((one.path, *one.changed))
            if why is not None:
                return one, "equivalent", why
            copy = copies.get()
            try:
                copy.put(one.path, one.after)
                nearest, *others = tests_of(one.path)
                result = copy.test([nearest], limit)
                if others and result[0] == "survived":
                    result = copy.test(others, limit)
            finally:
                copy.put(one.path, one.before)
                copies.put(copy)
            return one, *result

        limit = max(LEAST, PATIENCE * without(sorted({test for one in mutants for test in tests_of(one.path)})))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for one, result, text in pool.map(tried, mutants):
                counts[result] += 1
                print(f"{result:10} {one.path}:{one.line} {one.operator.partition('/')[2]} {text}".rstrip(), flush=True)
                if result == "survived":
                    print(one.diff(), flush=True)
    tried_out = counts["killed"] + counts["survived"]
    share = 100 * counts["killed"] / tried_out if tried_out else 100
    named = f", {counts['equivalent']} more are named as equivalent" if counts["equivalent"] else ""
    print(
        f"{counts['killed']} of {tried_out} killed, {share:.0f} %{named} "
        f"(seed {options.seed}, {time.monotonic() - began:.0f} s): {' '.join(options.paths)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
