"""What the two machines have in common: packages, a kernel, an initramfs, the command and its way back.

A machine boots the distribution's kernel with an initramfs of busybox and the modules it needs, mounts its root,
runs one command there by chroot and says on the serial port with which status it ended. The serial port goes to a
file that :func:`follow` reads while the machine runs.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import fcntl
import gzip
import lzma
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tests.machines.console import Console
from tests.machines.results import MARK

CHECKOUT = Path(__file__).resolve().parents[2]
JOB = "/kvmdbg-job"
BUSYBOX = Path("/bin/busybox")
NO_END, NO_MACHINE = 124, 125  # exit statuses: the time was up; the machine failed, not the command

INIT = """\
#!/bin/busybox sh
B=/bin/busybox
$B mkdir -p /proc /sys /dev /root
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for m in $($B cat /modules/order); do $B insmod /modules/$m || echo "insmod $m failed"; done
{mount_root}
R=/root
$B mount -t proc proc $R/proc
$B mount -t sysfs sys $R/sys
$B mount -t devtmpfs dev $R/dev
$B mount -t tmpfs tmpfs $R/run
$B mkdir -p $R/dev/pts $R/dev/shm
$B mount -t devpts -o ptmxmode=666 devpts $R/dev/pts
$B mount -t tmpfs shm $R/dev/shm
$B ifconfig lo 127.0.0.1 up
echo 1 > /proc/sys/kernel/printk
echo "{mark}start"
$B chroot $R /bin/bash {job}
echo "{mark}exit $?"
$B sleep 1
$B poweroff -f
"""


class MachineError(Exception):
    """The machine cannot be set up or started; the message is one sentence for a person."""


def cache_folder() -> Path:
    """Where kernels and boot images are kept: ``kvmdbg-machines`` in XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "kvmdbg-machines"


@contextlib.contextmanager
def only_one(cache: Path) -> Iterator[None]:
    """Keep a second process from setting up the same cache at the same time."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def call(*command: str, cwd: Path | None = None) -> str:
    """Run a program of the set-up and return what it printed; MachineError with its last words when it fails."""
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}  # for depmod, mke2fs
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, errors="replace")
    except FileNotFoundError as error:
        raise MachineError(f"{command[0]} is not on this machine") from error
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise MachineError(f"{shlex.join(command)} failed with status {done.returncode}: {words}")
    return done.stdout


def install(packages: Sequence[str]) -> None:
    """Install those of these Debian packages that are missing, as root or with sudo."""
    if not shutil.which("dpkg-query") or not shutil.which("apt-get"):
        raise MachineError(
            f"the machines are set up with apt-get; on this system, install {' '.join(packages)} by hand"
        )
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages]
    states = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
    there = {line.split()[0] for line in states if line.endswith(" installed")}
    missing = [package for package in packages if package not in there]
    if not missing:
        return
    admin = [] if os.geteuid() == 0 else ["sudo"] if sys.stdin.isatty() else ["sudo", "-n"]
    if admin and not shutil.which("sudo"):
        raise MachineError(f"as root, install {' '.join(missing)}")
    print(f"installing {' '.join(missing)}", file=sys.stderr, flush=True)
    call(*admin, "apt-get", "update")
    call(
        *admin, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends", *missing
    )


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package: its ``image`` (bzImage) and the folder of its ``modules`` (…/lib/modules/VERSION)."""

    image: Path
    modules: Path


def kernel_packages() -> list[str]:
    """The packages that hold the newest kernel of this distribution and its modules."""
    name = re.compile(r"linux-(image|modules|modules-extra)-\d\S*")
    quiet = ["--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"]
    for newest in ("linux-image-amd64", "linux-image-generic"):
        done = subprocess.run(["apt-cache", "depends", "--recurse", *quiet, newest], capture_output=True, text=True)
        found = [line for line in done.stdout.splitlines() if name.fullmatch(line) and "unsigned" not in line]
        if found:
            return found
    return []


def fetch_kernel(cache: Path) -> Kernel:
    """The distribution's kernel, from the cache or by ``apt-get download``; nothing of it is installed here."""
    folder = cache / "kernel"
    if not folder.exists():
        packages = kernel_packages()
        if not packages:
            admin = [] if os.geteuid() == 0 else ["sudo"] if sys.stdin.isatty() else ["sudo", "-n"]
            call(*admin, "apt-get", "update")
            packages = kernel_packages()
        if not packages:
            raise MachineError("apt knows no linux-image-amd64 or linux-image-generic package for the machine's kernel")
        print(f"downloading {' '.join(packages)}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            here = Path(temporary)
            here.chmod(0o777)  # apt downloads as a user of its own
            call("apt-get", "download", *packages, cwd=here)
            for package in here.glob("*.deb"):
                call("dpkg", "-x", str(package), str(here / "x"))
            if not (here / "x/lib/modules").is_dir() and (here / "x/usr/lib/modules").is_dir():
                (here / "x/lib").mkdir(exist_ok=True)
                (here / "x/lib/modules").symlink_to("../usr/lib/modules")
            for modules in (here / "x/lib/modules").iterdir():
                call("depmod", "-b", str(here / "x"), modules.name)
            (here / "x").rename(folder)
    images = sorted((folder / "boot").glob("vmlinuz-*"))
    if not images:
        raise MachineError(f"{folder} holds no kernel; remove that folder and try again")
    return Kernel(images[-1], folder / "lib/modules" / images[-1].name.removeprefix("vmlinuz-"))


def _module_name(path: str) -> str:
    return path.rsplit("/", 1)[-1].split(".")[0].replace("-", "_")


def module_order(dependencies: str, builtin: str, wanted: Iterable[str]) -> list[str]:
    """The files of modules in an order in which insmod can load them.

    ``dependencies`` and ``builtin`` are the texts of modules.dep and modules.builtin (kmod's depmod(8)). A module
    follows everything it needs, else the order of ``wanted`` is kept; one that is built into the kernel is left
    out; a name that ends in ``?`` may be missing.
    """
    needs: dict[str, list[str]] = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {_module_name(path): path for path in needs}
    built_in = {_module_name(path) for path in builtin.split()}
    order: list[str] = []

    def add(path: str) -> None:
        for needed in reversed(needs.get(path, [])):
            add(needed)
        if path not in order:
            order.append(path)

    for module in wanted:
        name = _module_name(module.rstrip("?"))
        if name in by_name:
            add(by_name[name])
        elif name not in built_in and not module.endswith("?"):
            raise MachineError(f"the kernel has no module {module}")
    return order


def _module_bytes(path: Path) -> bytes:
    """A kernel module as insmod of busybox wants it: not compressed."""
    match path.suffix:
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".gz":
            return gzip.decompress(path.read_bytes())
        case ".zst":
            return subprocess.run(["zstd", "-dcq", str(path)], check=True, capture_output=True).stdout
    return path.read_bytes()


def cpio(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A cpio archive in the "newc" format (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).

    ``files`` maps a path without leading slash to (st_mode, content); folders come before what is in them.
    """
    out = bytearray()
    for inode, (name, (mode, data)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], start=1):
        encoded = name.encode() + b"\0"
        numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        out += b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
        out += bytes(-len(out) % 4)
        out += data
        out += bytes(-len(out) % 4)
    return bytes(out)


def initramfs(
    kernel: Kernel, modules: Sequence[str], mount_root: str, extra: Mapping[str, bytes] | None = None
) -> bytes:
    """The initramfs of a machine, not compressed.

    ``mount_root`` is the part of its shell script that leaves the machine's root at /root; ``extra`` are files that
    this part wants, by path.
    """
    builtin = kernel.modules / "modules.builtin"
    dependencies = (kernel.modules / "modules.dep").read_text()
    order = module_order(dependencies, builtin.read_text() if builtin.exists() else "", modules)
    names = {path: _module_name(path) + ".ko" for path in order}
    folder, script, plain = 0o040755, 0o100755, 0o100644
    files = dict.fromkeys(("bin", "modules", "proc", "sys", "dev", "root"), (folder, b""))
    files["bin/busybox"] = (script, BUSYBOX.read_bytes())
    for path in order:
        files["modules/" + names[path]] = (plain, _module_bytes(kernel.modules / path))
    files["modules/order"] = (plain, "\n".join(names.values()).encode() + b"\n")
    files["init"] = (script, INIT.format(mount_root=mount_root.strip(), mark=MARK, job=JOB).encode())
    files |= {path: (plain, data) for path, data in (extra or {}).items()}
    return cpio(files)


def job_script(command: Sequence[str], folder: str, environment: Mapping[str, str]) -> str:
    """The shell script that a machine runs: ``command`` in ``folder`` with ``environment``."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    return f"{exports}cd {shlex.quote(folder)} || exit {NO_MACHINE}\n{shlex.join(command)}\n"


@dataclass
class Run:
    """What a person asked for, and what became of it."""

    command: list[str]
    timeout: float
    tests: str = "kvm"
    only: list[str] = field(default_factory=list)
    memory: str = "4G"
    verbose: bool = False
    report: Path | None = None
    keep: Path | None = None
    include: list[Path] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)
    setup_only: bool = False
    machines: int = 1
    name: str = ""
    keep_durations: bool = False
    progress: str | None = None
    failed: list[str] = field(default_factory=list)
    result: str | None = None
    durations: Counter[str] = field(default_factory=Counter)
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    stop: threading.Event = field(default_factory=threading.Event)


def launch(command: Sequence[str], folder: Path, log: str) -> subprocess.Popen[bytes]:
    """Start an emulator in ``folder``, its own words going to ``log`` there, as a process group of its own."""
    with open(folder / log, "wb") as file:
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
        )


def cpu_time(pid: int) -> int:
    """Milliseconds of CPU time that a process has used, 0 when it has gone: user and system time of proc(5)'s stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


def follow(process: subprocess.Popen[bytes], log: Path, run: Run) -> int:
    """Show what the command prints while the machine runs; end the machine and return the command's exit status."""
    console, decoder = Console(), codecs.getincrementaldecoder("utf-8")("replace")
    deadline, place, used = time.monotonic() + run.timeout, 0, 0
    try:
        while console.status is None:
            ended = process.poll() is not None
            late = time.monotonic() > deadline or run.stop.is_set()
            fresh = b""
            if log.exists():
                with open(log, "rb") as file:
                    file.seek(place)
                    fresh = file.read()
            place += len(fresh)
            shown = console.feed(decoder.decode(fresh))
            run.out.write(decoder.decode(fresh) if run.verbose and not console.started else shown)
            run.out.flush()
            run.progress, run.failed = console.progress, console.failed
            before, used = used, cpu_time(process.pid)
            run.durations[console.file] += used - before
            if console.status is not None:
                break
            if late:
                last = f"; the last heard of the tests: {console.progress}" if console.progress else ""
                print(f"\nno end of the command within {run.timeout:g} s{last}", file=run.err)
                return NO_END
            if ended:
                print("\nthe machine stopped before the command ended", file=run.err)
                print("\n".join(console.boot.splitlines()[-15:]), file=run.err)
                return NO_MACHINE
            time.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the group: Debian's bochs is a script around the emulator
        process.wait()
        if run.keep:
            run.keep.mkdir(parents=True, exist_ok=True)
            for name in log.parent.glob("*.log"):
                shutil.copy(name, run.keep)
    run.result = console.result
    return console.status


def parser(prog: str, description: str | None, timeout: int) -> argparse.ArgumentParser:
    """The options that both machines have."""
    options = argparse.ArgumentParser(
        prog=f"python -m tests.machines.{prog}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [OPTION]... [-- COMMAND [ARG]...]",
    )
    options.add_argument("--setup", action="store_true", help="only install and build what the machine needs")
    options.add_argument(
        "-t", "--timeout", type=float, default=timeout, metavar="S", help="seconds (default %(default)s)"
    )
    options.add_argument("-v", "--verbose", action="store_true", help="show how the machine boots, too")
    options.add_argument(
        "--report", type=Path, metavar="FILE", help="put the tests' result into this file of JSON lines"
    )
    options.add_argument(
        "--tests", default="kvm", metavar="MARKS", help="pytest's mark expression for the tests (default %(default)s)"
    )
    options.add_argument(
        "--only", action="append", default=[], metavar="PLACE", help="only tests of this file or folder, or this test"
    )
    options.add_argument(
        "-j", "--machines", type=int, default=1, metavar="N", help="share the tests among N machines (default 1)"
    )
    options.add_argument(
        "--durations", action="store_true", help="keep what CPU time each file of tests took, for sharing them out"
    )
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the machine's logs there")
    return options


def parse(options: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[argparse.Namespace, Run]:
    """What ``argv`` asks for: options, and the command after the first ``--`` (none: the tests marked ``kvm``)."""
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    command = words[at + 1 :]
    args = options.parse_args(words[:at])
    if at < len(words) and not command:
        options.error("a command belongs after --")
    for name in ("report", "durations", "only"):
        if getattr(args, name) and command:
            options.error(f"--{name} goes with the tests, not with a command")
    if args.machines < 1 or (args.machines > 1 and command):
        options.error("the number of machines is at least 1, and a command has one")
    if args.timeout <= 0:
        options.error("the timeout is a number of seconds above 0")
    return args, Run(
        command,
        args.timeout,
        tests=args.tests,
        only=args.only,
        verbose=args.verbose,
        report=args.report,
        keep=args.keep,
        setup_only=args.setup,
        machines=args.machines,
        keep_durations=args.durations,
    )


def main(prog: str, start: Callable[[Run], int], run: Run) -> int:
    """Run it and return the exit status."""
    from tests.machines import shares

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the machine is ended, too
    try:
        return start(run) if run.command or run.setup_only else shares.run_tests(prog, start, run)
    except MachineError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return NO_MACHINE
    except KeyboardInterrupt:
        return 130
