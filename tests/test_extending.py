"""The examples of docs/extending.md, put where they belong in a copy of the source, pass what the suite asks there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.transcripts import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

EXAMPLES = ROOT / "docs/examples"
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
HELLO = ["--load", "0x1000", "--reg", "rax=2", "--reg", "rbx=2", "guests/hello16.bin"]
IN_PLACE = [
    ("entropy.py", "kvmdbg/commands", "catalogue.py", '    "examine",\n', '    "entropy",\n'),
    (
        "dice.py",
        "kvmdbg/devices",
        "__init__.py",
        "from kvmdbg.devices import i8042",
        "from kvmdbg.devices import dice as dice\n",
    ),
    (
        "hex_text.py",
        "kvmdbg/loaders",
        "__init__.py",
        "from kvmdbg.loaders import hvt as",
        "from kvmdbg.loaders import hex_text as hex_text\n",
    ),
    (
        "xen_exit.py",
        "kvmdbg/kvm",
        "__init__.py",
        "from kvmdbg.kvm.system",
        "from kvmdbg.kvm import xen_exit as xen_exit\n",
    ),
    ("ram_size.py", "gdbstub/packets", "__init__.py", '    "points",\n', '    "ram_size",\n'),
]
"""Which file, into which folder, named in which file of it, before which text, by what."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with every example in its place, and what is generated made anew."""
    folder = tmp_path_factory.mktemp("source") / "kvmdbg"
    shutil.copytree(ROOT, folder, ignore=NOT_SOURCE)
    for example, place, names, before, line in IN_PLACE:
        shutil.copy(EXAMPLES / example, folder / place)
        file = folder / place / names
        assert file.read_text().count(before) == 1, f"{file} has changed: docs/extending.md may have to, too"
        file.write_text(file.read_text().replace(before, line + before))
    subprocess.run(["git", "apply", EXAMPLES / "msw.diff"], cwd=folder, check=True, timeout=60)
    python(folder, "-m", "kvmdbg.commands.reference")
    python(folder, "-m", "gdbstub.reference", "docs/gdb-packets.md")
    return folder


def python(folder: Path, *arguments: str | Path, path: Path | None = None) -> str:
    """What Python prints with the source in ``folder``."""
    environment = os.environ | {"PYTHONPATH": str(path or folder), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_lint(source: Path) -> None:
    python(source, "-m", "ruff", "check", "--no-cache", ".")
    python(source, "-m", "ruff", "format", "--no-cache", "--check", ".")


def test_what_the_suite_asks_of_each(source: Path) -> None:
    mirrors = "commands/test_registry devices/test_optional loaders/test_registry kvm/test_exits gdbstub/test_packets"
    tests = ["tests/test_layers.py", *(f"tests/{one}.py" for one in mirrors.split())]
    assert " passed" in python(source, "-m", "pytest", "-q", "-m", "not kvm", "-p", "no:cacheprovider", *tests)


COMPLETE = """
import sys
import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
with kvmdbg.open("guests/hello16.bin", load=0x1000) as session:
    for line in sys.argv[1:]:
        print(*(one.text for one in Interpreter(session).complete(line)))
"""


@pytest.mark.kvm
def test_their_own_examples_work_and_complete(source: Path) -> None:
    tests = ["tests/commands/test_on_guests.py", "-k", "entropy"]
    assert "1 passed" in python(source, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    said = python(source, "-c", COMPLETE, "entropy im", "catch xe", "print $ms")
    assert said.splitlines() == ["image", "xen", "$msw"]


@pytest.mark.kvm
def test_the_program_has_them(source: Path) -> None:
    commands = ["entropy", "catch xen if $call == 1", "info device dice", "print /x $msw"]
    options = ["--batch", "--json", "--device", "dice", *(word for one in commands for word in ("-ex", one))]
    found = [json.loads(line) for line in python(source, "-m", "kvmdbg", *options, *HELLO).splitlines()]
    assert found[0]["rows"] == [{"segment": "image", "address": 0x1000, "size": 12, "bits": 3.42}]
    assert found[1]["text"] == "Catchpoint 1: exit xen if $call == 1."
    assert "thrown 0 times" in json.dumps(found[2])
    assert found[3]["value"] == 0x10
    loaded = python(source, "-m", "kvmdbg", "--batch", "-ex", "info program", "docs/examples/counts.hex")
    assert loaded.splitlines()[1].split() == ["format", "hex"]


@pytest.mark.kvm
def test_the_plugin_is_installed_and_found(source: Path, tmp_path: Path) -> None:
    package: Path = shutil.copytree(EXAMPLES / "plugin", tmp_path / "package")
    site = tmp_path / "site"
    install = "-m pip install --no-deps --no-index --no-build-isolation --target"
    python(ROOT, *install.split(), site, package)
    shown = python(
        ROOT, "-m", "kvmdbg", "--batch", "-ex", "print $checksum(0x1000, 12)", "-ex", "bootsum", *HELLO, path=site
    )
    assert shown.splitlines() == ["$1 = 75", "The boot sector's bytes add up to 0x00."]
