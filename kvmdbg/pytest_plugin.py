"""pytest fixtures that boot a guest. pytest finds them by the package's entry point; docs/pytest.md shows how.

A test that fails shows for each of its guests why it stopped, the context there, its last exits and its output.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kvmdbg.core.session import Session
    from kvmdbg.kvm.exits import Exit

LAST_EXITS = 20
LAST_OUTPUT = 500
_GUESTS = pytest.StashKey["Guests"]()


class Builds:
    """Images and symbol files made from source: each source is built once, also when many tests use it."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._made: dict[tuple[object, ...], tuple[Path, Path]] = {}

    def of(
        self, build: Callable[..., tuple[Path, Path]], text: str, folder: Path, **options: object
    ) -> tuple[Path, Path]:
        """The image and its symbols as ``build`` makes them for these options, copied into ``folder``."""
        key = (build, text, *sorted(options.items()))
        if key not in self._made:
            self._made[key] = build(text, self._factory.mktemp("guest"), **options)
        image, symbols = self._made[key]
        return Path(shutil.copy(image, folder)), Path(shutil.copy(symbols, folder))


class Guests:
    """Opens guests for one test: ``kvm_guest(asm="…")``, ``kvm_guest(c="…")`` or ``kvm_guest("kernel.elf")``."""

    def __init__(self, folder: Path, builds: Builds) -> None:
        self._folder = folder
        self._builds = builds
        self.sessions: list[Session] = []
        self._made = 0
        self._exits: dict[int, deque[Exit]] = {}

    def __call__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        asm: str | None = None,
        c: str | None = None,
        mode: str | None = None,
        load: int | None = None,
        **options: Any,
    ) -> Session:
        """A session on a guest, stopped before its first instruction and closed when the test ends.

        ``asm`` is GNU assembler text in Intel syntax, ``c`` freestanding C with a function ``_start``; their labels
        and functions are symbols; ``optimize`` is the level of C (1). ``mode`` is "real" for assembly and "long" for C
        unless given. The other options are those of ``kvmdbg.open``. Raises LoadError with the compiler's words.
        """
        __tracebackhide__ = True
        from kvmdbg.errors import KvmdbgError

        mistake: KvmdbgError | None = None
        try:
            session = self._open(path, asm, c, mode, load, options)
        except KvmdbgError as error:
            mistake = error.with_traceback(None)
        if mistake is not None:  # raised out here, so that it shows the test's own line, where it lies, and no other
            raise mistake
        self.sessions.append(session)
        last = self._exits[id(session)] = deque(maxlen=LAST_EXITS)
        session.listeners.on_exit(last.append)
        return session

    def _open(
        self,
        path: str | os.PathLike[str] | None,
        asm: str | None,
        c: str | None,
        mode: str | None,
        load: int | None,
        options: dict[str, Any],
    ) -> Session:
        from kvmdbg import api, build
        from kvmdbg.errors import UsageError

        if sum(one is not None for one in (path, asm, c)) != 1:
            raise UsageError("a guest is made of one thing: a path, asm= or c=")
        if path is None and not isinstance(asm if c is None else c, str):
            raise UsageError(f"asm= and c= are text, not {asm if c is None else c!r}")
        if path is None:
            self._made += 1
            folder = self._folder / f"guest{self._made}"
            folder.mkdir()
            mode = mode or ("real" if c is None else "long")
            load = load if load is not None else (0x1000 if c is None else 0x100000)
            if c is None:
                assert asm is not None
                path, elf = self._builds.of(build.from_assembly, asm, folder, mode=mode, address=load)
            else:
                optimize = options.pop("optimize", 1)
                path, elf = self._builds.of(build.from_c, c, folder, mode=mode, address=load, optimize=optimize)
            options["symbols"] = [*options.get("symbols", ()), (str(elf), 0)]
            options.setdefault("format", "flat")
        return api.open(path, mode=mode, load=load, **options)

    def exits(self, session: Session) -> list[Exit]:
        """Its last exits, oldest first."""
        from kvmdbg.errors import UsageError

        if session not in self.sessions:
            raise UsageError(f"{session!r} is no guest of this test's kvm_guest")
        return list(self._exits[id(session)])

    def report(self, session: Session) -> str:
        """Where it stands and what happened last, for people."""
        from kvmdbg.commands.interpreter import Interpreter
        from kvmdbg.errors import KvmdbgError

        stop = session.interrupt()
        lines = [stop.describe() if stop is not None else "it has not run"]
        try:
            interpreter = Interpreter(session)
            lines += [result.plain(100) for result in interpreter.execute("context")]
        except KvmdbgError as error:
            lines.append(str(error))
        exits = self.exits(session)
        lines += ["last exits:", *(f"  {exit.describe()}" for exit in exits)] if exits else ["no exits"]
        if session.output:
            lines.append(f"output: {session.output[-LAST_OUTPUT:]!r}")
        return "\n".join(lines)

    def close(self) -> None:
        for session in self.sessions:
            session.close()


@pytest.fixture(scope="session")
def kvm_guest_builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """What ``kvm_guest`` has made from source in this session."""
    return Builds(tmp_path_factory)


@pytest.fixture
def kvm_guest(request: pytest.FixtureRequest, tmp_path: Path, kvm_guest_builds: Builds) -> Iterator[Guests]:
    """Opens guests on /dev/kvm: ``dbg = kvm_guest(asm="mov al, 1; hlt")``; see docs/pytest.md."""
    guests = Guests(tmp_path, kvm_guest_builds)
    request.node.stash[_GUESTS] = guests
    yield guests
    guests.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    guests = item.stash.get(_GUESTS, None)
    if guests is not None and report.when == "call" and report.failed:
        for number, session in enumerate(guests.sessions):
            report.sections.append((f"kvmdbg: guest {number}", guests.report(session)))
    return report
