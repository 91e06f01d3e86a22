"""``kvmdbg --doctor``: what there is on this host for kvmdbg to work with, as text for a report of a fault.

Every fact is found out by itself: what cannot be is a row that says why, whatever has happened. Nothing here needs
/dev/kvm, or Linux.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from kvmdbg.errors import KvmdbgError
from kvmdbg.record import record

DEVICE = "/dev/kvm"
FOR_ITS_MAKERS = {"dev", "mutants"}
"""Extras that nobody's fault hangs on."""
PATIENCE = 20.0
"""Seconds for another program to say its version, and for the first guest to halt."""

WELL = "it printed 4, as it should"

Row = tuple[str, str]
Section = Callable[[], Iterator[Row]]


@record
class Findings:
    """The report, and whether a guest runs here."""

    text: str
    healthy: bool


def examine() -> Findings:
    """Find all of it out; takes a second or two."""
    text, healthy = "", False
    for title, section in SECTIONS:
        rows, failed = _rows(section)
        if section is _guest:
            healthy = not failed
        width = max(len(name) for name, _ in rows)
        text += f"{title}\n" + "".join(f"  {name:<{width}}  {what}".rstrip() + "\n" for name, what in rows) + "\n"
    return Findings(text.rstrip("\n") + "\n", healthy)


def _rows(section: Section) -> tuple[list[Row], bool]:
    """The rows of a section; whether it came to an error, which is the last of them."""
    rows: list[Row] = []
    try:
        rows.extend(section())
    except KvmdbgError as error:
        return [*rows, ("but", str(error))], True
    except Exception as error:  # a report that ends in a traceback would tell nothing of the rest
        return [*rows, ("but", f"{type(error).__name__}: {error}")], True
    return rows, False


def _version(package: str) -> str:
    """As pip has it; "" for one that is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _packages() -> tuple[list[str], list[str]]:
    """What kvmdbg needs, and what it can make use of, by the metadata that it was installed with."""
    needed, extras = [], []
    for line in metadata.requires("kvmdbg") or []:
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        extra = re.search(r"""extra *== *['"]([\w-]+)""", line)
        if extra is None:
            needed.append(name)
        elif extra[1] not in FOR_ITS_MAKERS:
            extras.append(name)
    return needed, sorted(set(extras))


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""


def _kvmdbg() -> Iterator[Row]:
    from kvmdbg.version import VERSION

    yield "version", f"{VERSION}, in {Path(__file__).parent}"
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}"
    term, encoding = os.environ.get("TERM", "unset"), getattr(sys.stdout, "encoding", None)
    yield "terminal", f"{'yes' if sys.stdout and sys.stdout.isatty() else 'no'}, TERM {term}, encoding {encoding}"
    needed, extras = _packages()
    yield "needs", ", ".join(f"{name} {_version(name)}" for name in needed if _version(name))
    if missing := [name for name in needed if not _version(name)]:
        yield "missing", f"{', '.join(missing)}: pip install {' '.join(missing)}"
    yield "extras", ", ".join(f"{name} {_version(name)}" for name in extras if _version(name)) or "none"


def _host() -> Iterator[Row]:
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    if name := _distribution():
        yield "distribution", name
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model, flags = _cpu()
    yield "CPU", f"{model}, {count} usable"
    if sys.platform == "linux":
        virtualization = {"vmx": "VT-x (vmx)", "svm": "AMD-V (svm)"}
        found = [name for flag, name in virtualization.items() if flag in flags]
        yield "virtualization", ", ".join(found) or "the CPU shows neither vmx nor svm"
        if "hypervisor" in flags:
            yield "", "this is a virtual machine itself"
        if where := _container():
            yield "container", where


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return ""


def _cpu() -> tuple[str, set[str]]:
    """The model's name and its flags."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    model = facts.get("model name") or platform.processor() or platform.machine()
    return model, set(facts.get("flags", "").split())


def _container() -> str:
    """Which kind this is in, as far as that shows; "" for none."""
    if "microsoft" in platform.release().lower():
        return "WSL; nestedVirtualization=true in .wslconfig gives it /dev/kvm"
    if os.path.exists("/.dockerenv"):
        return "docker; --device /dev/kvm gives it KVM"
    if os.path.exists("/run/.containerenv"):
        return "podman; --device /dev/kvm gives it KVM"
    return _first_line("/run/systemd/container")


def _kvm() -> Iterator[Row]:
    if sys.platform != "linux":
        raise KvmdbgError("KVM is a part of Linux")
    modules = [name for name in ("kvm", "kvm_intel", "kvm_amd") if os.path.isdir(f"/sys/module/{name}")]
    nested = [f"{name} nested={_first_line(f'/sys/module/{name}/parameters/nested')}" for name in modules[1:]]
    yield "modules", ", ".join([*modules[:1], *nested]) or "none is loaded, or it is built in"
    yield DEVICE, _rights()
    from kvmdbg.kvm import System, abi

    with System(DEVICE) as system:
        yield "API", f"version {abi.KVM_API_VERSION}, {len(system.msr_indices())} MSRs"
    from kvmdbg.engine import probe

    yield "", "what its vCPUs do, as tried:"
    profile = probe.host_profile()
    yield from probe.in_words(profile, blocks_interrupts=_blocks_interrupts())
    yield "guards", "an access to a guarded page can be restarted" if profile.guards_restart else "do not restart"
    yield "shutdown", "resets the vCPU" if probe.shutdown_resets() else "leaves the vCPU as it was"


def _blocks_interrupts() -> bool:
    from kvmdbg.kvm import System, abi

    with System(DEVICE) as system:
        return bool(system.check_extension(abi.KVM_CAP_SET_GUEST_DEBUG2) & abi.KVM_GUESTDBG_BLOCKIRQ)


def _rights() -> str:
    """Who may open the device, and whether that is this user."""
    import grp
    import pwd
    import stat

    from kvmdbg.kvm.rights import advice

    try:
        found = os.stat(DEVICE)
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"

    def name(of: Callable[[int], tuple[object, ...]], number: int) -> str:
        try:
            return str(of(number)[0])
        except KeyError:
            return str(number)

    user, group = name(pwd.getpwuid, os.geteuid()), name(grp.getgrgid, found.st_gid)
    text = f"{stat.filemode(found.st_mode)} {name(pwd.getpwuid, found.st_uid)}:{group}"
    if os.access(DEVICE, os.R_OK | os.W_OK):
        return f"{text}, which {user} may open"
    return f"{text}, which {user} may not open: {advice(DEVICE)}"


def _guest() -> Iterator[Row]:
    engines = {"kvm": "on KVM", "soft": "in software"}
    worked = False
    for engine, where in engines.items():
        try:
            worked |= (what := _first_guest(engine)) == WELL
        except Exception as error:
            what = str(error) if isinstance(error, KvmdbgError) else f"{type(error).__name__}: {error}"
        yield where, what
    if not worked:
        raise KvmdbgError("no guest runs here")


def _first_guest(engine: str) -> str:
    from kvmdbg import api, demo

    image = str(demo.guests() / "hello16.bin")
    with api.open(image, load=0x1000, registers={"rax": 2, "rbx": 2}, engine=engine) as session:
        stop = session.run(timeout=PATIENCE)
        if session.output == b"4\n":
            return WELL
        return f"it printed {session.output!r}: {stop.describe() if stop else 'no stop'}"


def _debuggers() -> Iterator[Row]:
    for name in ("gdb", "lldb"):
        path = shutil.which(name)
        yield name, f"{_says(path)}, {path}" if path else "is not there"
    yield "to attach", "kvmdbg --gdb 1234 IMAGE, then in another terminal"
    yield "", "gdb -ex 'target remote :1234'"
    yield "", "lldb -o 'gdb-remote 1234'"


def _says(program: str) -> str:
    """The line in which it tells its version."""
    try:
        done = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not start ({error})"
    lines = [line for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[0].strip() if lines else f"tells no version (status {done.returncode})"


SECTIONS: tuple[tuple[str, Section], ...] = (
    ("kvmdbg", _kvmdbg),
    ("This host", _host),
    ("KVM", _kvm),
    ("The first guest (kvmdbg demo)", _guest),
    ("gdb and lldb", _debuggers),
)
