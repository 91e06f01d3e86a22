"""Files that a boot loader hands to a kernel beside its image: the initial RAM disk, and modules with their words."""

from __future__ import annotations

import os

from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders.registry import read_file
from kvmdbg.machine.image import LoadOptions, Segment
from kvmdbg.machine.layout import ram_areas
from kvmdbg.record import record

PAGE = 0x1000


@record
class Module:
    """A file's bytes, and its name with what stands behind it, as the user has given them."""

    path: str
    data: bytes
    command: str


def read_initrd(options: LoadOptions) -> Module | None:
    """The file of ``--initrd``, or None."""
    if options.initrd is None:
        return None
    return Module(options.initrd, _contents(options.initrd, "initrd"), "")


def read_modules(options: LoadOptions) -> list[Module]:
    """The files of ``--module``, in the order given. UsageError for one that names no file."""
    return [_module(text) for text in options.modules]


def _module(text: str) -> Module:
    text = text.strip()
    if os.path.exists(text):  # a name with blanks
        return Module(text, _contents(text, "module"), text)
    import shlex

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--module {text!r}: {error}") from None
    if not words:
        raise UsageError("--module needs a file: --module 'FILE ARGS'")
    return Module(words[0], _contents(words[0], "module"), text)


def _contents(path: str, what: str) -> bytes:
    data = read_file(path, what)
    if not data:
        raise LoadError(f"the {what} {path} is empty")
    return data


def upwards(modules: list[Module], start: int, memory: int, path: str) -> list[Segment]:
    """The modules one behind the other, each on a page of its own, from ``start`` on; LoadError where RAM ends."""
    address, size = ram_areas(memory)[0]
    found, at = [], -(-start // PAGE) * PAGE
    for one in modules:
        if at + len(one.data) > address + size:
            raise LoadError(
                f"the module {one.path} ({len(one.data)} bytes) does not fit the memory behind {path}: "
                "give more --memory"
            )
        found.append(Segment(at, one.data, name=f"module {one.path}"))
        at = -(-found[-1].end // PAGE) * PAGE
    return found
