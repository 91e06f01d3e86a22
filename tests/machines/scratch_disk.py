"""The root of the kvm_intel machine: a small ext4 disk with what the command needs, at the same paths as here."""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from tests.machines.boot import CHECKOUT, JOB, MachineError, call

PROGRAMS = (
    "bash sh env ls cat cp sleep timeout mkdir rm tee head tail grep sed uname true false date seq mktemp kill stty "
    "as ld objcopy"
).split()
FOLDERS = "proc sys dev tmp run etc root var/tmp usr/bin usr/sbin usr/lib usr/lib64".split()
LOCALE = Path("/usr/lib/locale/C.utf8")
MERGED = ("bin", "sbin", "lib", "lib64")  # links into /usr, as Debian and Ubuntu have them
STDLIB_LEFT_OUT = ["site-packages", "dist-packages", "__phello__", "config-*", "ensurepip", "idlelib", "lib2to3"]
STDLIB_LEFT_OUT += ["test", "tests", "tkinter", "turtledemo"]
DISTRIBUTIONS_LEFT_OUT = {
    "gdb-for-pwndbg",
    "lldb-for-pwndbg",
    "mypy",
    "mypy-extensions",
    "librt",
    "ast-serialize",
    "ruff",
    "pip",
    "setuptools",
    "wheel",
}
CHECKOUT_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
CYLINDER = 16 * 63 * 512  # bytes; Bochs wants whole ones


def shared_libraries(binary: Path) -> list[Path]:
    """The shared libraries that ``ldd`` says this binary loads; none for what is not a dynamic ELF file."""
    with open(binary, "rb") as file:
        if file.read(4) != b"\x7fELF":
            return []
    done = subprocess.run(["ldd", str(binary)], capture_output=True, text=True)
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", done.stdout)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _without_environments(ignore: Callable[[str, list[str]], set[str]]) -> Callable[[str, list[str]], set[str]]:
    """Leave out virtual environments, whatever they are called."""

    def leave_out(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))} | ignore(
            folder, names
        )

    return leave_out


class ScratchDisk:
    """A folder that becomes the disk. Each ``add`` copies to the same absolute path below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True)
        for link in MERGED:
            (root / link).symlink_to(f"usr/{link}")
        (root / "tmp").chmod(0o1777)
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
        (root / "etc/group").write_text("root:x:0:\ntty:x:5:\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        if LOCALE.is_dir():
            self.add_folder(LOCALE)

    def inside(self, path: Path) -> Path:
        """Where the machine's ``path`` lies on this host."""
        return self.root / str(path).lstrip("/")

    def add(self, path: Path) -> None:
        """A file with the shared libraries it loads, a symbolic link with what it leads to, or a folder."""
        there = self.inside(path)
        if os.path.lexists(there) and not path.is_dir():
            return
        if path.is_symlink():
            there.parent.mkdir(parents=True, exist_ok=True)
            target = path.readlink()
            there.symlink_to(target)
            self.add(Path(os.path.normpath(path.parent / target)))
        elif path.is_dir():
            self.add_folder(path)
        elif path.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, there)
            for library in shared_libraries(path):
                self.add(library)
        else:
            raise MachineError(f"{path} does not exist")

    def add_folder(self, path: Path, ignore: Callable[[str, list[str]], set[str]] | None = None) -> None:
        """A folder, with the shared libraries of the extension modules in it."""
        there = self.inside(path)
        shutil.copytree(path, there, symlinks=True, ignore=ignore, dirs_exist_ok=True)
        for extension in there.rglob("*.so*"):
            if extension.is_file():
                for library in shared_libraries(extension):
                    if library.exists():
                        self.add(library)

    def add_programs(self, names: Iterable[str]) -> None:
        """Programs of this host's PATH, into /usr/bin too when they lie elsewhere."""
        for name in names:
            found = shutil.which(name)
            if not found:
                raise MachineError(f"{name} is not on this machine")
            self.add(Path(found))
            link = self.root / "usr/bin" / name
            if not os.path.lexists(link):
                link.symlink_to(found)

    def add_python(self) -> None:
        """The interpreter behind this process, its standard library, and the virtual environment's own files."""
        prefix = Path(sys.base_prefix)
        python = prefix / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        self.add(python)
        for name in ("python3", "python"):
            link = self.inside(prefix / "bin" / name)
            if not os.path.lexists(link):
                link.symlink_to(python.name)
        for library in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}:
            self.add_folder(Path(library), shutil.ignore_patterns(*STDLIB_LEFT_OUT))
        if sys.prefix == sys.base_prefix:
            raise MachineError("run this with the Python of a virtual environment: make test-kvm-intel does")
        self.add(Path(sys.prefix) / "pyvenv.cfg")
        for link in (Path(sys.prefix) / "bin").glob("python*"):
            self.add(link)

    def add_distributions(self) -> None:
        """What is installed in the virtual environment, but for the tools that no test needs."""
        for distribution in metadata.distributions():
            name = _normal(distribution.metadata["Name"])
            if name in DISTRIBUTIONS_LEFT_OUT or name.startswith("types-"):
                continue
            for file in distribution.files or []:
                path = Path(os.path.normpath(str(distribution.locate_file(file))))
                if path.is_relative_to(sys.prefix) and path.exists():
                    self.add(path)

    def add_checkout(self) -> None:
        """The project, compiled: the machine is too slow to compile it each time."""
        self.add_folder(CHECKOUT, _without_environments(CHECKOUT_LEFT_OUT))
        compileall.compile_dir(
            self.inside(CHECKOUT),
            stripdir=str(self.root),
            prependdir="/",
            quiet=2,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )

    def write(self, image: Path, job: str) -> None:
        """Make the disk ``image``; /bin/bash will run ``job`` on it."""
        self.inside(Path(JOB)).write_text(job)
        size = int(call("du", "-sm", str(self.root)).split()[0])
        total = (size + max(96, size // 5)) * 2**20
        with open(image, "wb") as file:
            file.truncate((total // CYLINDER + 1) * CYLINDER)
        features = "^has_journal,^metadata_csum,^64bit"
        call("mke2fs", "-q", "-t", "ext4", "-O", features, "-d", str(self.root), str(image))
