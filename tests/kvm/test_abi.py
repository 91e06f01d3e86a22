"""Structure sizes, offsets and ioctl numbers against the system's own linux/kvm.h."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from kvmdbg.kvm import abi, exits

STRUCTURES = [
    name
    for name, value in vars(abi).items()
    if isinstance(value, type)
    and issubclass(value, ctypes.Structure)
    and name.startswith("kvm_")
    and name not in ("kvm_msrs", "kvm_cpuid2", "kvm_signal_mask", "kvm_coalesced_mmio_zone", "kvm_coalesced_mmio")
]
IOCTLS = [n for n, v in vars(abi).items() if n.startswith("KVM_") and isinstance(v, int) and v >> 8 & 0xFF == abi.KVMIO]
CONSTANTS = [
    n
    for n, v in vars(abi).items()
    if n.startswith(("KVM_CAP_", "KVM_GUESTDBG_", "KVM_MEM_", "KVM_SYNC_X86_", "KVM_VCPUEVENT_")) and isinstance(v, int)
]
RENAMED = {"exit": None, "regs": "s", "sync_padding": None, "triple_fault_pending": "triple_fault"}


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What a C program says of linux/kvm.h: "sizeof X", "X.field" and "NAME"."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    lines = []
    for name in STRUCTURES:
        lines.append(f'printf("sizeof {name} %zu\\n", sizeof(struct {name}));')
        for field in getattr(abi, name)._fields_:
            kernel = RENAMED.get(field[0], field[0]) if name in ("kvm_run", "kvm_vcpu_events") else field[0]
            if kernel and not kernel.startswith("pad") and (name, kernel) != ("kvm_guest_debug", "debugreg"):
                lines.append(f'printf("{name}.{field[0]} %zu\\n", offsetof(struct {name}, {kernel}));')
    lines += [f'printf("{name} %lu\\n", (unsigned long){name});' for name in IOCTLS]
    for name in CONSTANTS:
        lines.append(f'#ifdef {name}\nprintf("{name} %lu\\n", (unsigned long){name});\n#endif')
    for name in vars(exits):
        if name.startswith("KVM_EXIT_"):
            lines.append(f'#ifdef {name}\nprintf("{name} %lu\\n", (unsigned long){name});\n#endif')
    includes = "#include <stdio.h>\n#include <stddef.h>\n#include <sys/ioctl.h>\n#include <linux/kvm.h>\n"
    folder = tmp_path_factory.mktemp("abi")
    source = folder / "abi.c"
    source.write_text(includes + "int main(void) {\n" + "\n".join(lines) + "\nreturn 0; }\n")
    program = folder / "abi"
    subprocess.run(["gcc", "-o", str(program), str(source)], check=True)
    found = {}
    for line in subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.splitlines():
        name, _, value = line.rpartition(" ")
        found[name] = int(value)
    return found


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure(header: dict[str, int], name: str) -> None:
    structure = getattr(abi, name)
    assert ctypes.sizeof(structure) == header[f"sizeof {name}"]
    compared = 0
    for field in structure._fields_:
        key = f"{name}.{field[0]}"
        if key in header:
            assert getattr(structure, field[0]).offset == header[key], key
            compared += 1
    assert compared


@pytest.mark.parametrize("name", IOCTLS)
def test_ioctl_number(header: dict[str, int], name: str) -> None:
    assert getattr(abi, name) == header[name]


def test_constants(header: dict[str, int]) -> None:
    known = [name for name in CONSTANTS if name in header]
    assert len(known) > 25
    assert {n: getattr(abi, n) for n in known} == {n: header[n] for n in known}


def test_exit_reasons(header: dict[str, int]) -> None:
    names = [name for name in vars(exits) if name.startswith("KVM_EXIT_") and name in header]
    assert len(names) > 18
    for name in names:
        assert getattr(exits, name) == header[name]
        assert exits.REASONS[header[name]] == name.removeprefix("KVM_EXIT_")


def test_where_the_exit_loop_looks(header: dict[str, int]) -> None:
    from kvmdbg.kvm import run_page

    assert header["kvm_run.regs"] == run_page.REGS
    assert header["kvm_run.regs"] + header["sizeof kvm_regs"] == run_page.REGS_END
    assert header["kvm_run.exit_reason"] == 4 * run_page.U32_EXIT_REASON
    assert header["kvm_run.kvm_dirty_regs"] == 8 * run_page.U64_DIRTY_REGS
    assert header["kvm_run.regs"] + header["kvm_regs.rip"] == 8 * run_page.U64_RIP
    mmio = abi.kvm_run().mmio
    begin = run_page.EXIT
    assert begin + type(mmio).phys_addr.offset == 8 * run_page.U64_MMIO_ADDRESS
    assert begin + type(mmio).data.offset == run_page.MMIO_DATA
    assert begin + type(mmio).len.offset == 4 * run_page.U32_MMIO_SIZE
    assert begin + type(mmio).is_write.offset == run_page.U8_MMIO_WRITES
    io = abi.kvm_run().io
    assert begin + type(io).count.offset == 4 * run_page.U32_IO_COUNT
    assert begin + type(io).data_offset.offset == 8 * run_page.U64_IO_DATA


def test_the_headers_are_the_kernels() -> None:
    assert Path("/usr/include/linux/kvm.h").exists()
