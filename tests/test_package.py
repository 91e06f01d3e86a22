"""The wheel and the source distribution: what is in them, and that the command runs from an installed one."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from kvmdbg.engine.host import VARIABLE
from kvmdbg.version import VERSION
from tests.docs.transcripts import PROMPT, blocks, comparable, taken_apart

ROOT = Path(__file__).resolve().parents[1]
TIME_SCALE = float(os.environ.get("KVMDBG_TIME_SCALE", "1"))
IN_SOFTWARE = {**os.environ, VARIABLE: "soft"}
"""Installed or not makes no difference to KVM."""
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")


def ran(*command: str | Path, cwd: Path | None = None) -> str:
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=cwd, env=IN_SOFTWARE, text=True, timeout=60 * TIME_SCALE, **out)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both; the wheel was made from the source distribution, so that it lacks nothing."""
    source, out = tmp_path_factory.mktemp("source") / "kvmdbg", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    ran(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment with the wheel; what kvmdbg depends on is that of this one."""
    (wheel,) = built.glob("*.whl")
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    ran(sys.executable, "-m", "venv", "--without-pip", venv)
    ran(sys.executable, "-m", "pip", "--python", venv / "bin/python", "install", "--no-deps", "--no-index", wheel)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return venv / "bin"


def test_an_installed_wheel_runs(installed: Path) -> None:
    assert ran(installed / "kvmdbg", "--version") == f"kvmdbg {VERSION}\n"
    code = "import gdbstub, importlib.metadata as m, kvmdbg; print(m.version('kvmdbg'), kvmdbg.__file__)"
    version, file = ran(installed / "python", "-I", "-c", code).split()
    assert version == VERSION and Path(file).is_relative_to(installed.parent)
    assert (installed.parent / "share/man/man1/kvmdbg.1").read_text() == (ROOT / "docs/kvmdbg.1").read_text()


def test_an_installed_demo_runs(installed: Path, tmp_path: Path) -> None:
    assert ran(installed / "kvmdbg", "demo", "--batch", "--run", cwd=tmp_path).startswith("4\n")
    shown = ran(installed / "kvmdbg", "demo", "kernel", "--batch", "-ex", "list kernel_main", cwd=tmp_path)
    assert "void kernel_main" in shown, "the sources are there"


TUTORIAL = [
    pytest.param(match, id=f"{match.string[: match.start()].count(chr(10)) + 1}: {first}")
    for first, _, match in blocks(ROOT / "docs/tutorial.md")
    if first.startswith("$ kvmdbg")
]


def without_layout(shown: str) -> list[str]:
    """The words of what is shown: how many stand on a line depends on the terminal."""
    return comparable(shown.replace("kvmdbg: ", "")).replace("-", "").split()


@pytest.mark.parametrize("match", TUTORIAL)
def test_the_tutorials_sessions_run_installed(match: re.Match[str], installed: Path, tmp_path: Path) -> None:
    """As in tests/docs/test_pages.py, typed into the installed command, on the guests that came with it, which run in
    software; only up to what differs there. Those tests compare all of it, on KVM.
    """
    (package,) = installed.parent.glob("lib/python*/site-packages/kvmdbg")
    (tmp_path / "guests").symlink_to(package / "demo/guests")
    command, typed = taken_apart(match)
    done = subprocess.run(
        [installed / "kvmdbg", *shlex.split(command)[2:]],
        cwd=tmp_path,
        env=IN_SOFTWARE,
        input="".join(f"{line}\n" for line in typed),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50 * TIME_SCALE,
    )
    before, *more = re.split(r"^\(kvmdbg \w+\) (?:why|msr efer)$", match[1], flags=re.MULTILINE)
    shown = without_layout("\n".join(line for line in before.splitlines()[1:] if not PROMPT.match(line)))
    found = without_layout(done.stdout)
    assert (found[: len(shown)] if more else found) == shown


def test_both_have_every_file_of_the_packages(built: Path) -> None:
    wanted = {
        str(file.relative_to(ROOT))
        for package in ("kvmdbg", "gdbstub")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    alone = {"gdbstub/pyproject.toml", "gdbstub/README.md", "gdbstub/LICENSE"}
    guests = {
        f"kvmdbg/demo/{file.relative_to(ROOT)}"
        for file in (ROOT / "guests").rglob("*")
        if file.is_file() and file.name != "Makefile"
    }
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    manual = f"kvmdbg-{VERSION}.data/data/share/man/man1/kvmdbg.1"
    others = {name for name in in_wheel if not name.startswith(f"kvmdbg-{VERSION}.dist-info/")}
    assert others == wanted - alone | guests | {manual}
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    assert wanted <= in_source
    assert {"docs/tutorial.md", "guests/hello16.bin", "tests/conftest.py", "Makefile", "LICENSE"} <= in_source
