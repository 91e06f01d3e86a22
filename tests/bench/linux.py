"""Linux from start to its first line on the console: kvmdbg beside QEMU's microvm, with the same kernel.

For a host on which guest kernels run natively:

    python -m tests.machines.kvm_amd -- python -m tests.bench.linux
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.linux.kernel import kernel
from tests.machines import boot

ROUNDS = 3
COMMAND_LINE = "console=ttyS0 earlyprintk=serial panic=-1 nokaslr"
LINE = b"Linux version"


def seconds(command: Sequence[str]) -> float:
    """From the start of the process to the line."""
    begin = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        said = b""
        while LINE not in said:
            piece = process.stdout.read1(4096)  # type: ignore[attr-defined]
            if not piece:
                raise SystemExit(f"{command[0]} ended without it: {said[-500:]!r}")
            said += piece
        end = time.perf_counter()
        process.kill()
    return end - begin


def main() -> int:
    if not shutil.which("qemu-system-x86_64"):
        boot.install(["qemu-system-x86"])
    image = str(kernel())
    ours = [sys.executable, "-m", "kvmdbg", "--batch", "--memory", "256M", "--append", COMMAND_LINE, image, "--run"]
    machine = [
        "-M",
        "microvm,accel=kvm,pit=on,pic=on,rtc=on",
        "-m",
        "256M",
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
    ]
    theirs = ["qemu-system-x86_64", *machine, "-display", "none", "-serial", "stdio", "-kernel", image]
    theirs += ["-append", COMMAND_LINE]
    sides = {
        "kvmdbg, unpacking itself": ours,
        "QEMU microvm, unpacking itself": theirs,
        "kvmdbg --format pvh": [*ours, "--format", "pvh"],
    }
    for name, command in sides.items():
        taken = [seconds(command) for _ in range(ROUNDS)]
        print(f"{name:32} {statistics.median(taken):7.2f} s to its first line", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
