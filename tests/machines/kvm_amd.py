"""Run a command on a machine whose /dev/kvm is the real kvm_amd module.

The machine is QEMU's emulator (TCG) with SVM and nested paging. Its root is this
machine's root, read only over 9p, with a scratch overlay: it sees the same files
at the same paths. It boots in about 8 seconds. What QEMU's SVM does not do is to
intercept int3 and to load debug registers for the nested guest; kvm_intel does.

Without a command it runs the tests marked kvm and exits with their status.
"""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.machines import boot

PACKAGES = ["qemu-system-x86", "seabios", "busybox-static", "kmod", "zstd"]
MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "kvm-amd"]
MOUNT_ROOT = """
$B mkdir -p /host /scratch
$B mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose host /host
$B mount -t tmpfs tmpfs /scratch
$B mkdir -p /scratch/upper /scratch/work
$B mount -t overlay -o lowerdir=/host,upperdir=/scratch/upper,workdir=/scratch/work overlay /root
$B cp /job /root$JOB
"""
TIME_SCALE = 10


def environment() -> dict[str, str]:
    """What the command finds in its environment there."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "HOME": str(Path.home()),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "KVMDBG_MACHINE": "kvm_amd",
        "KVMDBG_TIME_SCALE": str(TIME_SCALE),
        "CI": os.environ.get("CI", ""),
    }


def start(run: boot.Run) -> int:
    """Boot the machine for one command; returns the command's exit status."""
    cache = boot.cache_folder()
    with boot.only_one(cache):
        boot.install(PACKAGES)
        kernel = boot.fetch_kernel(cache)
    if run.setup_only:
        return 0
    job = boot.job_script(run.command, os.getcwd(), environment()).encode()
    mount_root = MOUNT_ROOT.replace("$JOB", boot.JOB)
    image = gzip.compress(boot.initramfs(kernel, MODULES, mount_root, {"job": job}), 1)
    with tempfile.TemporaryDirectory(dir=cache, prefix="run-") as temporary:
        folder = Path(temporary)
        (folder / "initrd.gz").write_bytes(image)
        # one CPU: with two, taking a VM down locks up under the emulator
        machine = ["-accel", "tcg", "-machine", "q35", "-cpu", "EPYC,+svm,+npt", "-smp", "1", "-m", run.memory]
        quiet = ["-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none"]
        command_line = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable"
        kernel_image = ["-kernel", str(kernel.image), "-initrd", "initrd.gz", "-append", command_line]
        root = ["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]
        root += ["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]
        emulator = ["qemu-system-x86_64", *machine, *quiet, "-serial", "file:serial.log", *kernel_image, *root]
        process = boot.launch(emulator, folder, "qemu.log")
        return boot.follow(process, folder / "serial.log", run)


def main(argv: Sequence[str] | None = None) -> int:
    options = boot.parser("kvm_amd", __doc__, timeout=1800)
    options.add_argument("-m", "--memory", default="4G", help="the machine's memory (default %(default)s)")
    args, run = boot.parse(options, sys.argv[1:] if argv is None else argv)
    run.memory = args.memory
    return boot.main("kvm_amd", start, run)


if __name__ == "__main__":
    sys.exit(main())
