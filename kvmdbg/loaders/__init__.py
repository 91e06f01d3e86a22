"""One file a format; each registers a class that recognises it and reads it into an Image.

The order here is the order in which they are tried: a kernel that is ELF and carries a multiboot header is started by
multiboot, and flat takes whatever is left.
"""

from kvmdbg.loaders import multiboot as multiboot  # isort: skip
from kvmdbg.loaders import elf as elf  # isort: skip
from kvmdbg.loaders import bootsector as bootsector  # isort: skip
from kvmdbg.loaders import flat as flat  # isort: skip
from kvmdbg.loaders.registry import Loader, formats, load, loader
from kvmdbg.machine.image import BootStructure, Entry, Image, LoadOptions, Segment, Symbol

__all__ = [
    "BootStructure",
    "Entry",
    "Image",
    "LoadOptions",
    "Loader",
    "Segment",
    "Symbol",
    "formats",
    "load",
    "loader",
]
