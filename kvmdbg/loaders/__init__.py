"""One file a format; each registers a class that recognises it and reads it into an Image."""

from kvmdbg.loaders import bootsector as bootsector
from kvmdbg.loaders import com as com
from kvmdbg.loaders import elf as elf
from kvmdbg.loaders import flat as flat
from kvmdbg.loaders import hvt as hvt
from kvmdbg.loaders import linux as linux
from kvmdbg.loaders import multiboot as multiboot
from kvmdbg.loaders import multiboot2 as multiboot2
from kvmdbg.loaders import pvh as pvh
from kvmdbg.loaders import rom as rom
from kvmdbg.loaders.registry import Loader, formats, load, loader
from kvmdbg.loaders.symbol_files import SymbolFile, symbol_reader
from kvmdbg.machine.image import BootStructure, Entry, Image, LoadOptions, Segment, Symbol

__all__ = [
    "BootStructure",
    "Entry",
    "Image",
    "LoadOptions",
    "Loader",
    "Segment",
    "Symbol",
    "SymbolFile",
    "formats",
    "load",
    "loader",
    "symbol_reader",
]
