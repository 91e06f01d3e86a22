"""What scripts import: ``kvmdbg.open`` gives a session on a guest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import cast

from kvmdbg.core.session import Session
from kvmdbg.engine.hardware import HardwareOptions
from kvmdbg.engine.host import host_of
from kvmdbg.errors import UsageError
from kvmdbg.loaders import load as load_image
from kvmdbg.loaders.drives import boot_image
from kvmdbg.loaders.registry import read_file
from kvmdbg.loaders.rom import load_firmware
from kvmdbg.machine.image import DEFAULT_MEMORY, Image, LoadOptions
from kvmdbg.numbers import size
from kvmdbg.record import replace


def size_of(text: int | str) -> int:
    """Bytes of "2M", "0x1000" or a number (K, M, G, T are powers of 1024)."""
    return text if isinstance(text, int) else size(text)


def _image(path: str | os.PathLike[str] | None, bios: str | os.PathLike[str] | None, options: LoadOptions) -> Image:
    """What the machine starts with."""
    if bios is None and path is None:
        raise UsageError("which guest? an image or firmware (bios) is needed")
    if bios is None:
        return load_image(cast("str | os.PathLike[str]", path), options)
    return load_firmware(os.fspath(bios), options)


def _drive_of(path: str, bios: str | os.PathLike[str], options: LoadOptions) -> str:
    """In which kind of drive firmware is to find an image. UsageError for one that is no disk."""
    drive = load_image(path, replace(options, format=None, by_bios=True)).drive
    if not drive:
        raise UsageError(f"the machine starts in the firmware {os.fspath(bios)}, which boots disks: {path} is none")
    return "disk" if drive == "both" else drive


def _firmware_files(wanted: Mapping[str, str | os.PathLike[str] | bytes]) -> tuple[tuple[str, bytes], ...]:
    """Name and contents of each."""
    return tuple(
        (name, one if isinstance(one, bytes) else read_file(one, "file for firmware")) for name, one in wanted.items()
    )


def open(
    path: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    mode: str | None = None,
    load: int | None = None,
    entry: str | int | None = None,
    memory: int | str = DEFAULT_MEMORY,
    cpus: int = 1,
    registers: Mapping[str, int] | None = None,
    symbols: Sequence[str | os.PathLike[str] | tuple[str, int]] = (),
    cmdline: str = "",
    initrd: str | os.PathLike[str] | None = None,
    modules: Sequence[str] = (),
    devices: Sequence[str] = (),
    machine: str = "pc",
    irqchip: str | bool = "",
    serial: str = "stdio",
    cpu: str = "",
    disks: Sequence[str] = (),
    floppies: Sequence[str] = (),
    cdrom: str | None = None,
    bios: str | os.PathLike[str] | None = None,
    fw_cfg: Mapping[str, str | os.PathLike[str] | bytes] | None = None,
    firmware: str = "auto",
    engine: str = "",
) -> Session:
    """A session on the guest image at ``path``, stopped before its first instruction.

    ``mode`` is "real", "prot" or "long"; ``load`` the guest-physical address of a flat
    image; ``entry`` an address, "SEG:OFF" or a symbol; ``registers`` initial values by
    name; ``symbols`` further symbol files, or pairs of one and its base; ``cmdline``, ``initrd`` (a file) and
    ``modules`` ("FILE ARGS" each) what a boot loader hands to a kernel; ``devices`` as
    ``--device`` takes them; ``machine`` "pc" or "bare" (only the serial port); ``irqchip`` "kernel" or True
    puts PIC, IOAPIC, LAPIC and PIT into the kernel, "user" gives it PIC and PIT whose time stands still at stops (which
    a PC with one vCPU has), "none" or False neither; ``serial`` connects the serial port as ``--serial`` does; ``cpu``
    sets and hides CPUID's features ("+avx,-smep"); ``disks``, ``floppies`` (two of each at most) and ``cdrom`` are
    files, as ``--disk`` takes them; ``bios`` is firmware, a ROM that the machine starts in, an image being a disk then;
    ``fw_cfg`` has what it finds in QEMU's fw_cfg beside the usual, by name: files, or contents; ``firmware`` is "auto",
    "bios" or "none", as
    ``--firmware`` has it; ``engine`` is "kvm", "soft" (unicorn runs the guest: the extra kvmdbg[soft]) or "auto", KVM
    where it can be used; "" is what the environment's KVMDBG_ENGINE says, or "auto". Raises LoadError, UsageError,
    KvmUnavailable, NotSupportedHere.
    """
    files = []
    if symbols:
        from kvmdbg.loaders.symbol_reading import read_symbol_file  # most sessions need none of its formats

        pairs = [(one, 0) if isinstance(one, (str, os.PathLike)) else one for one in symbols]
        files = [(os.fspath(file), base, read_symbol_file(file, base)) for file, base in pairs]
    extra = tuple(symbol for _, _, found in files for symbol in found.symbols)
    options = LoadOptions(
        format=format,
        mode=mode,
        load=load,
        entry=hex(entry) if isinstance(entry, int) else entry,
        memory=size_of(memory),
        cmdline=cmdline,
        initrd=None if initrd is None else os.fspath(initrd),
        modules=tuple(modules),
        by_bios=machine == "pc" and firmware != "none" and size_of(memory) >= 1 << 20,
        symbols=extra,
    )
    if bios is not None and path is not None:
        drive, file = _drive_of(os.fspath(path), bios, options), os.fspath(path)
        disks = [file, *disks] if drive == "disk" else disks
        floppies = [file, *floppies] if drive == "floppy" else floppies
        cdrom = file if drive == "cdrom" else cdrom
    image = boot_image(options, disks, floppies, cdrom) if path is None and bios is None else None
    image = image or _image(path, bios, options)
    host, note = host_of(engine)
    hardware = HardwareOptions(
        machine=machine,
        cpus=cpus,
        irqchip="kernel" if image.interrupts and host.has_kernel_irqchip and irqchip == "" else irqchip,
        cpu=cpu,
        devices=tuple(devices),
        disks=tuple(disks),
        floppies=tuple(floppies),
        cdrom=cdrom,
        services=firmware,
        fw_cfg=_firmware_files(fw_cfg or {}),
    )
    session = Session(image, options, hardware, registers=dict(registers or {}), serial=serial, host=host)
    session.engine_note = note
    for file, base, found in files:
        session.files.add_symbols(file, base, found)
    return session
