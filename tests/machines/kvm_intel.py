"""Run a command on a machine whose /dev/kvm is the real kvm_intel module.

The machine is Bochs, which emulates VT-x with EPT exactly: int3 intercepts, debug
registers, the monitor trap flag. It runs 50 to 100 million instructions a second
and takes about 2 minutes to boot. Its root is a scratch disk with this checkout,
the Python and the virtual environment of this process, and a few programs, all
at the same paths as here; -i and -p add to that. There is no network.

Without a command it runs the tests marked kvm and exits with their status.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.machines import boot
from tests.machines.scratch_disk import PROGRAMS, ScratchDisk

PACKAGES = ["bochs", "bochsbios", "vgabios", "busybox-static", "kmod", "zstd", "e2fsprogs"]
PACKAGES += ["grub-pc-bin", "grub-common", "xorriso", "mtools", "binutils"]
# ext4 asks for a crc32c by name, which modules.dep does not tell
MODULES = ["irqbypass", "kvm", "kvm-intel", "libata", "ata_piix", "sd_mod", "crc32c_generic?", "crc32c_intel?", "ext4"]
MOUNT_ROOT = """
n=0
while [ ! -b /dev/sda ] && [ $n -lt 100 ]; do $B usleep 100000; n=$((n+1)); done
$B mount -t ext4 /dev/sda /root
"""
TIME_SCALE = 5  # by its own clock, which follows the instructions run and so is slow, too
DIFFERENTIAL_COUNT = 3  # random programs of the fixed part: they take half a minute each
DIFFERENTIAL_SECONDS = 6  # by that clock, of which one takes a minute or more: a run that does not end is told in time

GRUB = """\
set timeout=0
menuentry "kvm_intel" {
 linux /boot/vmlinuz console=ttyS0 quiet panic=-1 mitigations=off nokaslr lpj=100000 no_timer_check tsc=reliable \
audit=0 apparmor=0
 initrd /boot/initrd.gz
}
"""

BOCHSRC = """\
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest=1024, host=1024
romimage: file="/usr/share/bochs/BIOS-bochs-latest"
vgaromimage: file="/usr/share/bochs/VGABIOS-lgpl-latest"
ata0: enabled=1
ata0-master: type=disk, path="disk.img", mode=flat
ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
ata1-master: type=cdrom, path="boot.iso", status=inserted
boot: cdrom
cpu: model=corei7_skylake_x, count=1, ips=100000000, reset_on_triple_fault=0
clock: sync=none
com1: enabled=1, mode=file, dev=serial.log
log: bochs.log
panic: action=report
error: action=ignore
info: action=ignore
mouse: enabled=0
"""


def boot_image(cache: Path, kernel: boot.Kernel) -> Path:
    """The CD that boots the kernel, from the cache when nothing in it changed."""
    initrd = gzip.compress(boot.initramfs(kernel, MODULES, MOUNT_ROOT), 9, mtime=0)
    digest = hashlib.sha256(kernel.image.name.encode() + GRUB.encode() + initrd).hexdigest()[:12]
    image = cache / f"kvm_intel-{digest}.iso"
    if not image.exists():
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            folder = Path(temporary) / "iso/boot"
            (folder / "grub").mkdir(parents=True)
            shutil.copy(kernel.image, folder / "vmlinuz")
            (folder / "initrd.gz").write_bytes(initrd)
            (folder / "grub/grub.cfg").write_text(GRUB)
            fresh = Path(temporary) / "boot.iso"
            boot.call("grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "-o", str(fresh), str(folder.parent))
            for old in cache.glob("kvm_intel-*.iso"):
                old.unlink()
            fresh.rename(image)
    return image


def environment() -> dict[str, str]:
    """What the command finds in its environment there."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), f"{sys.base_prefix}/bin", "/usr/bin", "/bin"]),
        "HOME": "/root",
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "KVMDBG_MACHINE": "kvm_intel",
        "KVMDBG_TIME_SCALE": str(TIME_SCALE),
        "KVMDBG_DIFFERENTIAL_COUNT": str(DIFFERENTIAL_COUNT),
        "KVMDBG_DIFFERENTIAL_SECONDS": str(DIFFERENTIAL_SECONDS),
        "CI": os.environ.get("CI", ""),
        "PYTEST_ADDOPTS": os.environ.get("PYTEST_ADDOPTS", ""),
    }


def start(run: boot.Run) -> int:
    """Boot the machine for one command; returns the command's exit status."""
    cache = boot.cache_folder()
    with boot.only_one(cache):
        boot.install(PACKAGES)
        image = boot_image(cache, boot.fetch_kernel(cache))
    if run.setup_only:
        return 0
    with tempfile.TemporaryDirectory(dir=cache, prefix="run-") as temporary:
        folder = Path(temporary)
        disk = ScratchDisk(folder / "root")
        disk.add_programs([*PROGRAMS, *run.programs])
        disk.add_python()
        disk.add_distributions()
        disk.add_checkout()
        for path in run.include:
            disk.add(path.absolute())
        here = os.getcwd()
        working = here if disk.inside(Path(here)).is_dir() else "/"
        disk.write(folder / "disk.img", boot.job_script(run.command, working, environment()))
        shutil.rmtree(disk.root)
        (folder / "boot.iso").symlink_to(image)
        (folder / "bochsrc").write_text(BOCHSRC)
        process = boot.launch(["bochs", "-q", "-f", "bochsrc"], folder, "output.log")
        assert process.stdin is not None
        process.stdin.write(b"c\n")  # where Bochs is built with its debugger: go
        process.stdin.flush()
        return boot.follow(process, folder / "serial.log", run)


def main(argv: Sequence[str] | None = None) -> int:
    options = boot.parser("kvm_intel", __doc__, timeout=5400)
    options.add_argument(
        "-i", "--include", type=Path, action="append", default=[], metavar="PATH", help="take this along"
    )
    options.add_argument("-p", "--program", action="append", default=[], help="take this program along")
    args, run = boot.parse(options, sys.argv[1:] if argv is None else argv)
    for path in args.include:
        if not path.exists():
            options.error(f"{path} does not exist")
    run.include, run.programs = args.include, args.program
    return boot.main("kvm_intel", start, run)


if __name__ == "__main__":
    sys.exit(main())
