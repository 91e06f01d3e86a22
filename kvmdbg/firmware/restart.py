"""int 19h and 18h: what is booted, and what is said where nothing is; the start after a reset."""

from __future__ import annotations

from kvmdbg.errors import MemoryFault
from kvmdbg.firmware import rom, video
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.registry import service
from kvmdbg.machine.bus import GuestEnd
from kvmdbg.machine.disk import CD_DRIVE, FIRST_HARD_DISK, Disk
from kvmdbg.machine.eltorito import NO_EMULATION

BOOT_ADDRESS, SIGNATURE = 0x7C00, b"\x55\xaa"


def post(call: Call) -> GuestEnd | None:
    """The start after a jump to F000:FFF0: everything of the BIOS is as it was at first, and int 19h comes next."""
    call.bios.board.set_a20(True)
    call.bios.install()
    call.bios.start_devices()
    return None


def _order(call: Call) -> list[int]:
    first = call.bios.boots_from
    drives = [FIRST_HARD_DISK, 0, CD_DRIVE]
    return drives if first is None else [first, *(one for one in drives if one != first)]


def boot_code(call: Call, drive: int) -> tuple[int, bytes] | None:
    """Where what is booted from a drive goes, and its bytes; None where it is no boot disk."""
    disk = call.bios.disks.drive(drive)
    if disk is None:
        return None
    try:
        return _boot_code(call, drive, disk)
    except OSError as error:
        call.bios.tell_failure(disk, error)
        return None


def _boot_code(call: Call, drive: int, disk: Disk) -> tuple[int, bytes] | None:
    if drive == CD_DRIVE:
        entry = call.bios.cd_entry()
        if entry is None or entry.media != NO_EMULATION or entry.first >= disk.sectors:
            return None
        sectors = -(-entry.loaded // disk.sector_size)
        return entry.address, disk.read(entry.first, min(sectors, disk.sectors - entry.first))[: entry.loaded]
    sector = disk.read(0, 1)
    if sector[510:512] == SIGNATURE or drive == call.bios.boots_from:
        return BOOT_ADDRESS, sector
    return None


@service(0x19)
def boot(call: Call) -> None:
    """Boot."""
    for drive in _order(call):
        found = boot_code(call, drive)
        if found is None:
            continue
        address, code = found
        try:
            call.write(address, code)
        except MemoryFault:
            continue
        call.write(
            rom.BASE + rom.BOOT_TARGET,
            (address & 0xFFFF).to_bytes(2, "little") + (address >> 4 & 0xF000).to_bytes(2, "little"),
        )
        call.dl = drive
        call.branch(False)
        return
    call.branch(True)


@service(0x18)
def no_boot_disk(call: Call) -> None:
    """No bootable disk."""
    for char in b"No bootable disk.\r\n":
        video.teletype(call, char, 0)
    if any(boot_code(call, drive) for drive in _order(call)):
        cs, ip = call.back
        call.bios.board.tell(f"int 0x18 before {cs:04x}:{ip:04x}: what was booted says that it cannot go on")
    else:
        call.bios.board.tell(
            "the guest has nothing to boot: no disk of it begins with a boot sector (0x55 0xAA at byte 510)"
        )
