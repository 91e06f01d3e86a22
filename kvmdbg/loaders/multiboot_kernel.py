"""What multiboot 1 and 2 have in common: how the kernel comes into memory, with its modules and sections."""

from __future__ import annotations

from kvmdbg.errors import LoadError
from kvmdbg.loaders import elf
from kvmdbg.loaders.elf_sections import Sections, handed_over
from kvmdbg.loaders.handed_over import Module, read_modules, upwards
from kvmdbg.machine.image import LoadOptions, Segment, Symbol
from kvmdbg.record import record, replace

LOADER_NAME = b"kvmdbg\0"


@record
class Addresses:
    """A header's own load addresses (the "a.out kludge"); 0 is as the specifications have it."""

    header_address: int
    load_address: int
    load_end: int
    bss_end: int


@record
class Kernel:
    """Its ``segments`` in memory, where it starts, and what else its ELF file tells."""

    segments: list[Segment]
    start: int
    symbols: list[Symbol]
    found: list[elf.Loadable]
    remark: str = ""
    bits: int = 0
    bias: int = 0

    def physical(self, address: int) -> int:
        """Where what is linked at ``address`` was loaded."""
        return elf.to_physical(self.found, address - self.bias) + self.bias


def check_options(options: LoadOptions, data: bytes, path: str) -> None:
    """LoadError for what the user has asked for and no multiboot kernel can be given."""
    if options.mode not in (None, "prot"):
        other = "--format elf" if data[:4] == elf.MAGIC else "--format flat"
        raise LoadError(f"{path} is a multiboot kernel, which starts in prot mode; use {other} for {options.mode}")
    if options.load is not None:
        raise LoadError(f"{path} is a multiboot kernel with addresses of its own; --load is for flat images")


def read_kernel(data: bytes, path: str, offset: int, addresses: Addresses | None, entry: int | None) -> Kernel:
    """By its header's addresses if it has some, else by its ELF headers; ``entry`` goes before those of ELF.

    ``offset`` is where in the file the header is.
    """
    symbols: list[Symbol] = []
    found: list[elf.Loadable] = []
    remark, bits, start = "", 0, entry or 0
    if data[:4] == elf.MAGIC:
        with elf.opened(data, path, sections=False) as file:
            elf.mode_of(file, path)
            bits = file.elfclass
            symbols, remark = elf.symbols_if_readable(data, path)
            if addresses is None:
                found = elf.loadables(file, data, path)
            if entry is None:
                start = elf.to_physical(found, file.header["e_entry"])
    if addresses is not None:
        segments = [_by_addresses(offset, addresses, data, path)]
    else:
        segments = elf.segments_of(found, data)
        if not segments:
            raise LoadError(f"{path} has no loadable segments")
    return Kernel(segments, start, symbols, found, remark, bits)


def moved(kernel: Kernel, bias: int) -> Kernel:
    """A relocatable kernel, ``bias`` bytes up."""
    if not bias:
        return kernel
    segments = [replace(one, address=one.address + bias, linked=one.linear + bias) for one in kernel.segments]
    symbols = [one if one.kind == "absolute" else one._replace(address=one.address + bias) for one in kernel.symbols]
    return replace(kernel, segments=segments, start=kernel.start + bias, symbols=symbols, bias=bias)


def _by_addresses(offset: int, header: Addresses, data: bytes, path: str) -> Segment:
    """The one segment that the header's address fields describe (section 3.1.3 of the specification)."""
    start = offset - (header.header_address - header.load_address)
    size = header.load_end - header.load_address if header.load_end else len(data) - start
    memory = header.bss_end - header.load_address if header.bss_end else size
    if start < 0 or header.load_address > header.header_address:
        raise LoadError(f"{path} has a multiboot header that loads from before the file's start")
    if size <= 0 or start >= len(data) or (header.bss_end and memory < size):
        raise LoadError(f"{path} has a multiboot header whose load addresses are out of order")
    if start + size > len(data):
        raise LoadError(f"{path} is truncated: its multiboot header loads to byte {start + size:#x} of {len(data):#x}")
    return Segment(header.load_address, data[start : start + size], memory, "multiboot segment")


@record
class Given:
    """What lies behind the kernel for it: ELF sections, and modules with their words."""

    sections: Sections | None
    modules: list[tuple[Segment, bytes]]
    segments: list[Segment]


def put_behind(kernel: Kernel, data: bytes, path: str, options: LoadOptions) -> Given:
    """The sections that no segment loads, and the modules, behind the kernel."""
    end = max(one.end for one in kernel.segments)
    sections: Sections | None = None
    segments: list[Segment] = []
    if data[:4] == elf.MAGIC and not kernel.remark:
        sections, segments = handed_over(data, end, options.memory)
    files: list[Module] = read_modules(options)
    modules = upwards(files, max([end, *(one.end for one in segments)]), options.memory, path)
    words = [text(one.command) for one in files]
    return Given(sections, list(zip(modules, words, strict=True)), [*segments, *modules])


def text(words: str) -> bytes:
    """Words as they stand in memory: with a NUL behind them."""
    return words.encode("utf-8", "surrogateescape") + b"\0"
