"""gdbstub alone: its wheel, with nothing of kvmdbg beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "gdbstub"
ALONE = """
import sys
from gdbstub import Address, Server
from gdbstub.testing import FakeTarget, Remote
import socket
server = Server(FakeTarget(), Address.parse("0"))
server.start()
client = Remote(socket.create_connection((server.address.host, server.address.port)))
print(client.ask(b"?"))
client.close()
server.close()
print([name for name in sys.modules if name.startswith("kvmdbg")])
"""


def ran(*command: str | Path) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_it_is_installed_alone(tmp_path: Path) -> None:
    source, out, venv = tmp_path / "gdbstub", tmp_path / "dist", tmp_path / "venv"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__", "build", "dist", "*.egg-info"))
    ran(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source)
    (wheel,) = out.glob("*.whl")
    modules = {str(path.relative_to(ROOT)) for path in SOURCE.rglob("*.py")} | {"gdbstub/py.typed"}
    assert {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name} == modules
    ran(sys.executable, "-m", "venv", "--without-pip", venv)
    ran(sys.executable, "-m", "pip", "--python", venv / "bin/python", "install", "--no-index", wheel)
    assert ran(venv / "bin/python", "-I", "-c", ALONE) == "b'T05thread:1;00:00010000;01:00ff0000;'\n[]\n"


def test_it_needs_nothing_and_has_the_same_licence() -> None:
    alone = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert alone["dependencies"] == []
    for same in ("license", "requires-python", "authors"):
        assert alone[same] == whole[same]
    assert (SOURCE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
