"""Memory to and from files, and symbol files."""

from __future__ import annotations

from typing import Annotated

from kvmdbg.commands.examine import read
from kvmdbg.commands.info import subcommand_table
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.commands.parameters import AddressArg, AddressType, FileArg, FlagWordType, NumberType, RestType
from kvmdbg.commands.places import Place
from kvmdbg.commands.registry import command
from kvmdbg.commands.results import Message, Result
from kvmdbg.debuginfo.linked import section_addresses
from kvmdbg.errors import KvmdbgError, UsageError
from kvmdbg.loaders.registry import read_file

StartArg = Annotated[Place, AddressType("START")]
EndArg = Annotated[Place, AddressType("END")]
BaseArg = Annotated[int, NumberType("BASE", least=-(1 << 63))]
LengthArg = Annotated[int, NumberType("LENGTH", least=1)]
FromArg = Annotated[int, NumberType("START")]
ToArg = Annotated[int, NumberType("END")]
MemoryWordArg = Annotated[bool, FlagWordType("memory")]
BinaryArg = Annotated[bool, FlagWordType("binary")]

#: Memory is copied in pieces of this many bytes.
PIECE = 1 << 20


def _write_file(dbg: Interpreter, file: str, start: Place, length: int, mode: str = "wb") -> Result:
    if length <= 0:
        raise UsageError(f"nothing to write: the range from {start.address:#x} on is empty")
    data = b"".join(read(dbg, start, min(PIECE, length - at), at) for at in range(0, length, PIECE))
    try:  # only now: what was in the file is lost
        with open(file, mode) as out:
            out.write(data)
    except OSError as error:
        raise KvmdbgError(f"cannot write {file}: {error.strerror}") from None
    return Message(f"{length} bytes from {start.address:#x} written to {file}.", data={"bytes": length, "file": file})


@command(
    "dump",
    group="files",
    example=("dump code.bin 0x1000 12", "shell od -A d -t x1 code.bin"),
    py="dbg.memory[start:start + length]",
)
def dump(dbg: Interpreter, file: FileArg, start: StartArg, length: LengthArg) -> Result:
    """Write LENGTH bytes of memory from an address on to a file (the short form of dump memory)."""
    return _write_file(dbg, file, start, length)


@command("dump binary", group="files", example="dump binary memory code.bin 0x1000 0x100c", py="dbg.memory[start:end]")
def dump_binary(dbg: Interpreter, memory: MemoryWordArg, file: FileArg, start: StartArg, end: EndArg) -> Result:
    """Write the memory from START up to, not including, END to a file: gdb's dump binary memory."""
    return dump_memory(dbg, file, start, end)


@command("dump memory", group="files", example="dump memory code.bin 0x1000 0x100c", py="dbg.memory[start:end]")
def dump_memory(dbg: Interpreter, file: FileArg, start: StartArg, end: EndArg) -> Result:
    """Write the memory from START up to, not including, END to a file, as in gdb."""
    return _write_file(dbg, file, start, end.address - start.address)


@command(
    "append memory",
    group="files",
    example=(
        "append memory code.bin 0x1007 0x1008",
        "append memory code.bin 0x1007 0x1008",
        "shell od -A d -t x1 code.bin",
    ),
    py="dbg.memory[start:end]",
)
def append_memory(dbg: Interpreter, file: FileArg, start: StartArg, end: EndArg) -> Result:
    """Add the memory from START up to, not including, END to the end of a file, as in gdb."""
    return _write_file(dbg, file, start, end.address - start.address, "ab")


@command(
    "restore",
    group="files",
    example=("dump code.bin 0x1000 12", "restore code.bin binary 0x2000", "hexdump 0x2000 16"),
    py="dbg.memory.write(address, data)",
)
def restore(
    dbg: Interpreter,
    file: FileArg,
    binary: BinaryArg = False,
    offset: AddressArg | None = None,
    start: FromArg = 0,
    end: ToArg = 0,
) -> Result:
    """Write a file's bytes into memory: restore FILE binary ADDRESS [START [END]].

    Byte 0 of the file goes to ADDRESS; START and END choose a part of the file, which keeps its place. The word
    `binary` may be left out.
    """
    if offset is None:
        raise UsageError("restore needs the ADDRESS where the file's first byte goes")
    data = read_file(file, "file to restore")
    if data.startswith(b"\x7fELF") and not binary:
        raise UsageError(
            f"restore does not load the sections of an ELF file: restore {file} binary ADDRESS writes its bytes"
        )
    part = data[start : end or len(data)]
    if not part:
        raise UsageError(f"{file}: nothing to restore of its {len(data)} bytes")
    memory = dbg.session.physical if offset.space == "phys" else dbg.session.memory
    memory.write(offset.address + start, part)
    sentence = f"{len(part)} bytes of {file} written to {offset.address + start:#x}."
    return Message(sentence, data={"bytes": len(part), "address": offset.address + start})


@command(
    "symbol-file",
    group="files",
    example=("symbol-file guests/boot16.elf", "info symbol 0x7c16"),
    guest="guests/boot16.bin",
    py="dbg.add_symbols({file}, base, replace=True)",
)
def symbol_file(dbg: Interpreter, file: FileArg, base: BaseArg = 0) -> Result:
    """Read symbols from a file, in place of those known; BASE is added to their addresses.

    FILE is an ELF file, what nm prints (System.map), a map of GNU ld (-Map) or of nasm ([map symbols]), or a listing
    of nasm (-l), which tells the source lines of a flat image, too.
    """
    return _symbols_read(dbg.session.add_symbols(file, base, replace=True), file)


PlacedArg = Annotated[str, RestType("[ADDRESS] [-o OFFSET] [-s SECTION ADDRESS]...", "expression")]


@command(
    "add-symbol-file",
    group="files",
    example=("add-symbol-file guests/boot16.elf", "add-symbol-file guests/boot16.elf -o 0x1000", "info symbol 0x8c16"),
    guest="guests/boot16.bin",
    py="dbg.add_symbols({file}, offset)",
)
def add_symbol_file(dbg: Interpreter, file: FileArg, placed: PlacedArg = "") -> Result:
    """Read symbols from a file in addition to those known; the same file may be added at several places.

    ADDRESS is where the .text of an ELF file lies, -o what is added to all of its addresses, -s where another section
    lies; without any it lies where it is linked. FILE is what symbol-file takes; of one that is no ELF file, ADDRESS is
    added to the addresses.
    """
    return _symbols_read(dbg.session.add_symbols(file, _moved_by(dbg, file, placed)), file)


def _moved_by(dbg: Interpreter, file: str, placed: str) -> int:
    """What is added to a file's addresses. UsageError where its sections would have to move differently."""
    words = placed.split()
    wanted: dict[str, int] = {}
    offset: int | None = None
    while words:
        word = words.pop(0)
        if word in ("-readnow", "-readnever"):
            continue
        if word == "-o" and words:
            offset = dbg.number(words.pop(0))
        elif word == "-s" and len(words) > 1:
            name = words.pop(0)
            wanted[name] = dbg.number(words.pop(0))
        elif word in ("-o", "-s"):
            raise UsageError(f"{word} needs {'an OFFSET' if word == '-o' else 'a SECTION and an ADDRESS'}")
        else:
            wanted[".text"] = dbg.number(word)
    if not wanted:
        return offset or 0
    if offset is not None:
        raise UsageError("-o OFFSET moves all of the file: there is nothing for ADDRESS and -s to say")
    linked = section_addresses(file)
    if not linked:
        if set(wanted) == {".text"}:
            return wanted[".text"]
        raise UsageError(f"{file} has no sections")
    missing = [name for name in wanted if name not in linked]
    if missing:
        raise UsageError(f"{file} has no section {missing[0]}")
    moves = {name: address - linked[name] for name, address in wanted.items()}
    if len(set(moves.values())) > 1:
        told = ", ".join(f"{name} by {move:#x}" for name, move in moves.items())
        raise UsageError(f"kvmdbg moves a file as a whole, and these sections would move differently: {told}")
    return next(iter(moves.values()))


@command(
    "remove-symbol-file",
    group="files",
    example=("add-symbol-file guests/boot16.elf -o 0x1000", "remove-symbol-file -a 0x8c16", "info symbol 0x8c16"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.files.remove({what})",
)
def remove_symbol_file(dbg: Interpreter, what: Annotated[str, RestType("NAME | -a ADDRESS", "expression")]) -> Result:
    """Forget the symbols of a file that was added, wherever it was, or of the one whose symbols are around ADDRESS."""
    if what.startswith("-a"):
        gone = dbg.session.files.remove(address=dbg.place(what.removeprefix("-a").strip()).address)
    else:
        gone = dbg.session.files.remove(what.strip("\"'"))
    return Message(f"The symbols of {', '.join(gone)} are forgotten.", data={"files": gone})


DeltaArg = Annotated[int, NumberType("DELTA", least=-(1 << 63))]


@command("symbols", group="files", example="symbols", py="list(dbg.symbols)")
def symbols(dbg: Interpreter) -> Result:
    """What can be done with symbols; the words that may follow are listed without one."""
    return subcommand_table(dbg, "symbols")


@command(
    "symbols move",
    group="files",
    example=("symbols move guests/boot16.elf 0x1000", "info symbol 0x8c16"),
    guest="--symbols guests/boot16.elf guests/boot16.bin",
    py="dbg.files.move({file}, {delta})",
)
def symbols_move(dbg: Interpreter, file: FileArg, delta: DeltaArg) -> Result:
    """Move a file's symbols, lines and variables by DELTA bytes, as its code was copied elsewhere.

    Breakpoints by name follow.
    """
    dbg.session.files.move(file, delta)
    return Message(f"The symbols of {file} are moved by {delta:#x}.", data={"file": file, "delta": delta})


def _symbols_read(count: int, file: str) -> Result:
    return Message(f"{count} symbols read from {file}.", data={"count": count, "file": file})
