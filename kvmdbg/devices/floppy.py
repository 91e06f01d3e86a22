"""The floppy controller: an 82077AA with IRQ 6 and DMA channel 2 (Intel data sheet 290166).

What takes time on a real one is done at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board
from kvmdbg.machine.disk import SECTOR, Disk

STATUS_A, STATUS_B, OUTPUT, TAPE, MAIN_STATUS, FIFO, INPUT = 0, 1, 2, 3, 4, 5, 7
IRQ, DMA_CHANNEL = 6, 2
NOT_RESET, GATE = 0x04, 0x08
"""Bits of Digital Output: the controller runs; interrupts and DMA reach the PC."""
READY, TO_HOST, WITHOUT_DMA, AT_WORK = 0x80, 0x40, 0x20, 0x10
"""Bits of Main Status."""
SOFT_RESET = 0x80
FAILED, INVALID, POLLED, SEEK_END, CHECK, NOT_READY = 0x40, 0x80, 0xC0, 0x20, 0x10, 0x08
"""Bits of ST0."""
END_OF_CYLINDER, DATA_ERROR, OVERRUN, NO_DATA, NOT_WRITABLE = 0x80, 0x20, 0x10, 0x04, 0x02
"""Bits of ST1."""
PROTECTED, DRIVE_READY, AT_TRACK_0, TWO_SIDED = 0x40, 0x20, 0x10, 0x08
"""Bits of ST3."""
BOTH_SIDES = 0x80
"""Bit of a command: go on with the second head."""
RELATIVE, INWARDS = 0x80, 0x40
"""Bits of SEEK: it is by so many tracks, to higher ones."""
READ_TRACK = 0x02
COUNTED = 0x80
"""Bit beside the drive of VERIFY: its last byte says how many sectors."""
NO_DMA = 1
"""Bit of what SPECIFY says last: the host moves the data itself."""
VERSION = 0x90
DRIVES = 4


@device
class FloppyController:
    """floppy: 82077AA at 0x3f0 with IRQ 6 and DMA channel 2, and what --floppy names."""

    name = "floppy"
    options: ClassVar[dict[str, int]] = {"iobase": 0x3F0, "iosize": 8}
    only: ClassVar[tuple[int, ...]] = (STATUS_A, STATUS_B, OUTPUT, TAPE, MAIN_STATUS, FIFO, INPUT)

    @staticmethod
    def belongs_to(board: Board) -> bool:
        return board.firmware or bool(board.disks.floppies)

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self.output = NOT_RESET | GATE
        self.tracks = [0] * DRIVES
        self.locked = False
        self.configuration = [0, 0x57, 0]
        self.specified = [0, 0]
        self._clear()

    def _clear(self) -> None:
        self.command: list[int] = []
        self.wanted = 0
        """How many bytes the command has."""
        self.result: list[int] = []
        self.ended: list[tuple[int, int]] = []
        """ST0 and track of seeks and resets, for SENSE INTERRUPT STATUS."""
        self.interrupt = False
        self.moving: list[int] = []
        """The command whose data the host moves now, byte by byte."""
        self.place = [0, 0, 0]
        """Track, head and sector that they are of."""
        self.block = bytearray()
        """What is still to be read of that sector, or has been written so far."""
        self.room = 0
        """How many bytes are to be written before anything is done with them; 0: it is read."""

    def _set_interrupt(self, value: bool) -> None:
        self.interrupt = value
        self._board.set_irq(IRQ, value and bool(self.output & GATE))

    def _disk(self, drive: int) -> Disk | None:
        floppies = self._board.disks.floppies
        return floppies[drive] if drive < len(floppies) else None

    # --- registers ---------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        if offset == STATUS_A:
            return 0x80 * self.interrupt | 0x40 * (len(self._board.disks.floppies) < 2)
        if offset == OUTPUT:
            return self.output
        if offset == MAIN_STATUS:
            return self._main_status()
        if offset == FIFO:
            return self._take_result()
        return 0xC0 if offset == STATUS_B else 0

    def _main_status(self) -> int:
        if not self.output & NOT_RESET:
            return 0
        if self.result:
            return READY | TO_HOST | AT_WORK
        if self.moving:
            return READY | WITHOUT_DMA | AT_WORK | (0 if self.room else TO_HOST)
        return READY | AT_WORK if self.command else READY

    def _take_result(self) -> int:
        if self.moving:
            return self._byte_read()
        if self.interrupt:
            self._set_interrupt(False)
        return self.result.pop(0) if self.result else 0

    def write(self, offset: int, size: int, value: int) -> None:
        value &= 0xFF
        if offset == OUTPUT:
            before, self.output = self.output, value
            if not value & NOT_RESET:
                self._clear()
                self._set_interrupt(False)
            elif not before & NOT_RESET:
                self._come_out_of_reset()
            else:
                self._set_interrupt(self.interrupt)
        elif offset == MAIN_STATUS and value & SOFT_RESET:
            self._clear()
            self._come_out_of_reset()
        elif offset == FIFO and self.output & NOT_RESET and not self.result:
            if self.moving:
                self._byte_written(value)
            else:
                self._take_command(value)

    def _come_out_of_reset(self) -> None:
        """Each drive is polled, and found changed (section 5.1)."""
        if not self.locked:
            self.configuration = [0, 0x57, 0]
        self.ended = [(POLLED | drive, self.tracks[drive]) for drive in range(DRIVES)]
        self._set_interrupt(True)

    # --- commands ----------------------------------------------------------------------------------

    def _take_command(self, value: int) -> None:
        if not self.command:
            self.wanted = _length(value)
        self.command.append(value)
        if len(self.command) == self.wanted:
            command, self.command = self.command, []
            COMMANDS.get(command[0], COMMANDS.get(command[0] & 0x1F, FloppyController._unknown))(self, command)

    def _unknown(self, command: list[int]) -> None:
        self.result = [INVALID]

    def _specify(self, command: list[int]) -> None:
        self.specified = command[1:]

    def _sense_drive(self, command: list[int]) -> None:
        drive = command[1] & 3
        disk = self._disk(drive)
        status = command[1] & 7 | DRIVE_READY | TWO_SIDED
        if not self.tracks[drive]:
            status |= AT_TRACK_0
        if disk is not None and disk.read_only:
            status |= PROTECTED
        self.result = [status]

    def _sense_interrupt(self, command: list[int]) -> None:
        self._set_interrupt(False)
        self.result = list(self.ended.pop(0)) if self.ended else [INVALID]

    def _recalibrate(self, command: list[int]) -> None:
        self._move(command[1] & 3, 0, SEEK_END)

    def _seek(self, command: list[int]) -> None:
        drive, track = command[1] & 3, command[2]
        if command[0] & RELATIVE:
            track = self.tracks[drive] + (track if command[0] & INWARDS else -track)
        self._move(drive, min(max(track, 0), 0xFF), SEEK_END | command[1] & 4)

    def _move(self, drive: int, track: int, status: int) -> None:
        there = self._disk(drive) is not None
        if there:
            self.tracks[drive] = track
        self.ended = [((status if there else SEEK_END | CHECK | FAILED) | drive, self.tracks[drive])]
        self._set_interrupt(True)

    def _read_id(self, command: list[int]) -> None:
        drive, head = command[1] & 3, command[1] >> 2 & 1
        disk = self._disk(drive)
        track = self.tracks[drive]
        made = disk.geometry if disk is not None else None
        found = made is not None and track < made.cylinders and head < made.heads
        self._end(command[1], 0 if found else NO_DATA, (track, head, 1, 2))

    def _end(self, selected: int, failure: int, place: tuple[int, int, int, int], status: int = 0) -> None:
        """The result of a command that has moved data: ``failure`` is ST1."""
        self.result = [(FAILED if failure or status else 0) | status | selected & 7, failure, 0, *place]
        self._ask()

    def _data(self, command: list[int]) -> None:
        """READ DATA and WRITE DATA, deleted or not, and READ TRACK, which begins with the first sector."""
        selected, track, head, sector, size = command[1:6]
        if command[0] & 0x1F == READ_TRACK:
            sector = 1
        writes = command[0] & 0x1F in (0x05, 0x09)
        disk, dma = self._disk(selected & 3), self._board.isa_dma
        if disk is None:
            self._end(selected, NO_DATA, (track, head, sector, size))
            return
        if writes and disk.read_only:
            self._end(selected, NOT_WRITABLE, (track, head, sector, size))
            return
        if self.specified[1] & NO_DMA:
            self.moving, self.place = command, [track, head, sector]
            self._next_block()
            return
        if dma is None:
            self._end(selected, NO_DATA, (track, head, sector, size))
            return
        finished = False
        while not finished:
            number = disk.lba(track, head, sector)
            if number is None or size != 2:
                self._end(selected, NO_DATA, (track, head, sector, size))
                return
            if not dma.left(DMA_CHANNEL):
                self._end(selected, OVERRUN, (track, head, sector, size))
                return
            try:
                if writes:
                    data, finished = dma.get(DMA_CHANNEL, SECTOR)
                    disk.write(number, data.ljust(SECTOR, b"\0"))
                else:
                    finished = dma.put(DMA_CHANNEL, disk.read(number, 1))
            except OSError:
                self._end(selected, DATA_ERROR, (track, head, sector, size))
                return
            (track, head, sector), ended = following(command, track, head, sector)
            if ended and not finished:
                self._end(selected, END_OF_CYLINDER, (track, head, sector, size))
                return
        self._end(selected & ~4 | head << 2, 0, (track, head, sector, size))

    def _verify(self, command: list[int]) -> None:
        """VERIFY: as READ DATA without data, so many sectors as are said, or to the end of the track."""
        selected, track, head, sector, size = command[1:6]
        disk = self._disk(selected & 3)
        counted, left = bool(selected & COUNTED), command[8] or 0x100
        ended = False
        while not (ended or (counted and not left)):
            if disk is None or disk.lba(track, head, sector) is None or size != 2:
                self._end(selected, NO_DATA, (track, head, sector, size))
                return
            (track, head, sector), ended = following(command, track, head, sector)
            left -= 1
        self._end(selected & ~4 | head << 2, END_OF_CYLINDER if counted and left else 0, (track, head, sector, size))

    # --- data without DMA ---------------------------------------------------------------------------

    def _next_block(self) -> None:
        """Let the host read or write the next sector. It asks for each byte by an interrupt (section 6.1)."""
        disk = self._disk(self.moving[1] & 3)
        number = disk.lba(*self.place) if disk is not None else None
        if disk is None or number is None or self.moving[5] != 2:
            self._end_moving(NO_DATA)
            return
        writes = self.moving[0] & 0x1F in (0x05, 0x09)
        self.room = SECTOR if writes else 0
        try:
            self.block = bytearray() if writes else bytearray(disk.read(number, 1))
        except OSError:
            self._end_moving(DATA_ERROR)
            return
        self._ask()

    def _ask(self) -> None:
        self._set_interrupt(False)
        self._set_interrupt(True)

    def _byte_read(self) -> int:
        if self.room:
            return 0
        value = self.block.pop(0)
        if self.block:
            self._ask()
        else:
            self._block_done()
        return value

    def _byte_written(self, value: int) -> None:
        if not self.room:
            return
        self.block.append(value)
        self.room -= 1
        if self.room:
            self._ask()
        elif self.moving[0] & 0x1F == FORMAT:
            command, self.moving = self.moving, []
            self._end(command[1], self._fill(command, bytes(self.block)), self._formatted(command))
        else:
            disk = self._disk(self.moving[1] & 3)
            number = disk.lba(*self.place) if disk is not None else None
            try:
                if disk is not None and number is not None:
                    disk.write(number, bytes(self.block))
            except OSError:
                self._end_moving(DATA_ERROR)
                return
            self._block_done()

    def _block_done(self) -> None:
        """On to the next sector. Nobody gives a terminal count, so that it always ends with the cylinder."""
        place, ended = following(self.moving, *self.place)
        self.place = list(place)
        if ended:
            self._end_moving(END_OF_CYLINDER)
        else:
            self._next_block()

    def _end_moving(self, failure: int) -> None:
        command, self.moving, self.room = self.moving, [], 0
        track, head, sector = self.place
        self._end(command[1], failure, (track, head, sector, command[5]))

    def _format(self, command: list[int]) -> None:
        """FORMAT TRACK: each sector that the data name is filled."""
        selected, count, dma = command[1], command[3], self._board.isa_dma
        if self.specified[1] & NO_DMA and count:
            self.moving, self.room, self.block = command, 4 * count, bytearray()
            self._ask()
            return
        entries = b"" if dma is None else b"".join(dma.get(DMA_CHANNEL, 4)[0] for _ in range(count))
        self._end(selected, self._fill(command, entries), self._formatted(command))

    def _fill(self, command: list[int], entries: bytes) -> int:
        """Fill the sectors of which the data are: what ST1 says then."""
        selected, size, count, _, filler = command[1:6]
        disk = self._disk(selected & 3)
        if disk is None or size != 2:
            return NO_DATA
        if disk.read_only:
            return NOT_WRITABLE
        for at in range(0, 4 * count, 4):
            entry = entries[at : at + 4]
            number = disk.lba(*entry[:3]) if len(entry) == 4 else None
            if number is None:
                return NO_DATA
            try:
                disk.write(number, bytes((filler,)) * SECTOR)
            except OSError:
                return DATA_ERROR
        return 0

    def _formatted(self, command: list[int]) -> tuple[int, int, int, int]:
        selected = command[1]
        return self.tracks[selected & 3], selected >> 2 & 1, command[3], command[2]

    def _dump(self, command: list[int]) -> None:
        self.result = [*self.tracks, *self.specified, 0, self.locked << 7, *self.configuration[1:]]

    def _version(self, command: list[int]) -> None:
        self.result = [VERSION]

    def _configure(self, command: list[int]) -> None:
        self.configuration = command[1:]

    def _lock(self, command: list[int]) -> None:
        self.locked = bool(command[0] & 0x80)
        self.result = [self.locked << 4]

    def _nothing(self, command: list[int]) -> None:
        pass

    # --- in words ----------------------------------------------------------------------------------

    def describe(self) -> str:
        found = ", ".join(one.name for one in self._board.disks.floppies) or "no drives"
        return f"82077AA floppy controller: {found}"

    def details(self) -> dict[str, str]:
        tracks = ", ".join(str(self.tracks[n]) for n in range(len(self._board.disks.floppies)))
        return {
            "digital output": f"{self.output:#04x}",
            "main status": f"{self._main_status():#04x}",
            "interrupt": "waits" if self.interrupt else "none",
            "tracks": tracks or "no drives",
            "command": bytes(self.command).hex(" ") or "none",
            "result": bytes(self.result).hex(" ") or "none",
        }

    def save(self) -> Any:
        ended = [list(one) for one in self.ended]
        own = [self.command, self.wanted, self.result, ended, self.interrupt]
        own += [self.moving, self.place, bytes(self.block), self.room]
        return [self.output, self.tracks, self.locked, self.configuration, self.specified, *own]

    def load(self, state: Any) -> None:
        self.output, tracks, self.locked, configuration, specified, *rest = state
        command, self.wanted, result, ended, interrupt, moving, place, block, self.room = rest
        self.moving, self.place, self.block = list(moving), list(place), bytearray(block)
        self.tracks, self.configuration, self.specified = list(tracks), list(configuration), list(specified)
        self.command, self.result, self.interrupt = list(command), list(result), interrupt
        self.ended = [(status, track) for status, track in ended]


def following(command: list[int], track: int, head: int, sector: int) -> tuple[tuple[int, int, int], bool]:
    """The sector behind this one, as READ DATA and its like go on, and whether the cylinder has ended."""
    if sector != command[6]:
        return (track, head, sector + 1), False
    both = command[0] & BOTH_SIDES
    if both and not head:
        return (track, 1, 1), False
    return (track + 1, head & ~1 if both else head, 1), True


FORMAT = 0x0D
Handler = Callable[[FloppyController, list[int]], None]
COMMANDS: dict[int, Handler] = {
    0x03: FloppyController._specify,
    0x04: FloppyController._sense_drive,
    **dict.fromkeys((READ_TRACK, 0x05, 0x06, 0x09, 0x0C), FloppyController._data),
    0x07: FloppyController._recalibrate,
    0x08: FloppyController._sense_interrupt,
    0x0A: FloppyController._read_id,
    FORMAT: FloppyController._format,
    0x0E: FloppyController._dump,
    0x0F: FloppyController._seek,
    0x10: FloppyController._version,
    0x12: FloppyController._nothing,
    0x13: FloppyController._configure,
    0x14: FloppyController._lock,
    0x16: FloppyController._verify,
    0x94: FloppyController._lock,
}
"""By command byte, without the bits for both sides, MFM and skipping."""
LENGTHS = {
    READ_TRACK: 9, 0x03: 3, 0x04: 2, 0x05: 9, 0x06: 9, 0x07: 2, 0x09: 9, 0x0A: 2, 0x0C: 9, 0x0D: 6, 0x0F: 3, 0x12: 2,
    0x13: 4, 0x16: 9,
}  # fmt: skip


def _length(first: int) -> int:
    """Of a command, by its first byte."""
    return LENGTHS.get(first & 0x1F, 1)
