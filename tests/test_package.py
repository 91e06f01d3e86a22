"""The wheel and the source distribution: what is in them, and that the command runs from an installed one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from kvmdbg.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")


def ran(*command: str | Path) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both; the wheel was made from the source distribution, so that it lacks nothing."""
    source, out = tmp_path_factory.mktemp("source") / "kvmdbg", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    ran(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source)
    return out


def test_an_installed_wheel_runs(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    ran(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    ran(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    assert ran(tmp_path / "venv/bin/kvmdbg", "--version") == f"kvmdbg {VERSION}\n"
    assert (
        ran(python, "-I", "-c", "import gdbstub, importlib.metadata as m; print(m.version('kvmdbg'))") == f"{VERSION}\n"
    )


def test_both_have_every_file_of_the_packages(built: Path) -> None:
    wanted = {
        str(file.relative_to(ROOT))
        for package in ("kvmdbg", "gdbstub")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    assert wanted == {name for name in in_wheel if not name.startswith(f"kvmdbg-{VERSION}.dist-info/")}
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    assert wanted <= in_source
    assert {"docs/tutorial.md", "guests/hello16.bin", "tests/conftest.py", "Makefile", "LICENSE"} <= in_source
