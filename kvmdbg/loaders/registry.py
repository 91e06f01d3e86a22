"""The formats known, and which of them an image is."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO, Protocol, TypeVar

from kvmdbg import plugins
from kvmdbg.errors import LoadError, UsageError
from kvmdbg.loaders import packed
from kvmdbg.loaders.contents import advice, what_is
from kvmdbg.machine.image import MODES, Image, LoadOptions

LARGEST_IN_MEMORY, START_OF_DISK = 4 << 20, 1 << 16
BOOT_SIGNATURE, ELF_MAGIC = b"\x55\xaa", b"\x7fELF"
LARGEST_FILE = 1 << 30  # bytes; a kernel with all its debug information stays below


class Loader(Protocol):
    """One format.

    ``name`` is as in ``--format``, ``looks_for`` ends the sentence "… is not a NAME image: it has no". The format with
    the highest ``priority`` that recognises an image gets it: a container's above what it contains, flat at 0. One
    whose guests get no ``LoadOptions.cmdline`` says so with ``takes_cmdline = False``; one whose guests get an initrd
    or modules says ``takes_initrd = True`` or ``takes_modules = True``. One that finds its header further on in a file
    says ``yields_to_disks = True``: a file with a boot sector is a disk all the same. One whose files nothing but their
    names tell from a flat image's has their ending as ``suffix``; it gets those for which no place or mode was given.
    """

    name: str
    looks_for: str
    priority: int

    def recognise(self, data: bytes) -> bool:
        """True when the file's bytes are of this format, be they damaged further on."""
        ...

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """The image; LoadError with one sentence that names ``path`` when it is damaged or the options do not fit."""
        ...


_loaders: list[Loader] = []

L = TypeVar("L", bound=type[Loader])


def loader(cls: L) -> L:
    """Class decorator: make one of it known."""
    _loaders.append(cls())
    _loaders.sort(key=lambda one: -one.priority)
    return cls


def formats() -> list[str]:
    """The names that ``--format`` takes, in the order in which they are tried."""
    return [one.name for one in _loaders]


def recognise(data: bytes) -> Loader:
    """The loader for these bytes; LoadError when none takes them."""
    is_disk = data[510:512] == BOOT_SIGNATURE and data[:4] != ELF_MAGIC
    for one in _loaders:
        if one.recognise(data) and not (is_disk and getattr(one, "yields_to_disks", False)):
            return one
    raise LoadError(f"no known format ({', '.join(formats())})")


def _read_most(file: BinaryIO) -> bytes:
    """All of a file up to a byte more than the limit, in pieces: a size is not known of a pipe."""
    pieces, left = [], LARGEST_FILE + 1
    while left > 0 and (piece := file.read(min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def read_file(path: str | os.PathLike[str], what: str = "guest image") -> bytes:
    """The bytes of a file or a pipe that is to be a ``what``; LoadError when it cannot be read or is above 1 GiB."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            status = os.fstat(file.fileno())
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
                raise LoadError(f"{name} is not a file")
            data = b"" if status.st_size > LARGEST_FILE else _read_most(file)
            too_large = status.st_size > LARGEST_FILE or len(data) > LARGEST_FILE
    except IsADirectoryError:
        raise LoadError(f"{name} is a directory, not a {what}") from None
    except OSError as error:
        raise LoadError(f"cannot read {name}: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the name
        raise LoadError(f"cannot read {name!r}: {error}") from None
    if too_large:
        raise LoadError(f"{name} is larger than {LARGEST_FILE >> 30} GiB, too large for a {what}")
    return data


def read_image(path: str | os.PathLike[str]) -> bytes:
    """The same, and LoadError when it is empty."""
    data = read_file(path)
    if not data:
        raise LoadError(f"{os.fspath(path)} is empty")
    return data


def _refuse_what_nobody_gets(chosen: Loader, path: str, options: LoadOptions) -> None:
    article = "an" if chosen.name[0] in "aeiou" else "a"
    kind = f"{path} is {article} {chosen.name} image"
    if options.cmdline and not getattr(chosen, "takes_cmdline", True):
        raise UsageError(f"nobody would get the command line: {kind}, which takes none")
    takes_initrd, takes_modules = (getattr(chosen, name, False) for name in ("takes_initrd", "takes_modules"))
    if options.initrd is not None and not takes_initrd:
        hint = "modules (--module)" if takes_modules else "none"
        raise UsageError(f"nobody would get the initrd: {kind}, which takes {hint}")
    if options.modules and not takes_modules:
        hint = "an initrd (--initrd)" if takes_initrd else "none"
        raise UsageError(f"nobody would get the modules: {kind}, which takes {hint}")


def _start_of_disk(name: str) -> bytes:
    """Enough of a large disk to boot it; nothing where the file is something else."""
    try:
        if not os.path.isfile(name) or os.path.getsize(name) <= LARGEST_IN_MEMORY:
            return b""
        with open(name, "rb") as file:
            head = file.read(START_OF_DISK)
    except (OSError, ValueError):
        return b""
    is_disk = head[510:512] == BOOT_SIGNATURE and head[0x202:0x206] != b"HdrS"
    if head[0x8001:0x8006] == b"CD001":  # its boot catalog may be anywhere
        return b"" if os.path.getsize(name) <= LARGEST_FILE else head
    return head if is_disk else b""


def _by_name(name: str, data: bytes) -> Loader | None:
    """The loader whose files end like this, if it takes these bytes."""
    for one in _loaders:
        if name.lower().endswith(getattr(one, "suffix", "\0")) and one.recognise(data):
            return one
    return None


def load(path: str | os.PathLike[str], options: LoadOptions | None = None) -> Image:
    """Read the guest at ``path`` by ``options.format``, or by the first format that recognises it.

    Whether it fits the memory is found by ``machine.boot.boot_state``. Errors: LoadError, one sentence with the
    file's name.
    """
    options = options or LoadOptions()
    name = os.fspath(path)
    if options.mode is not None and options.mode not in MODES:
        raise LoadError(f"there is no mode {options.mode!r}; the modes are {', '.join(MODES)}")
    if options.load is not None and options.load < 0:
        raise LoadError(f"the load address {options.load:#x} of {name} is negative")
    plugins.load()
    if options.format is not None and options.format not in formats():
        raise LoadError(f"there is no format {options.format!r}; the formats are {', '.join(formats())}")
    packed_data = _start_of_disk(name) or read_image(name)
    data = packed.unpacked(packed_data, name, options.format)
    if options.format is None:
        chosen = recognise(data)
        if chosen.name == "flat" and (options.load, options.entry, options.mode) == (None, None, None):
            chosen = _by_name(name, data) or chosen
    else:
        chosen = next(one for one in _loaders if one.name == options.format)
        if not chosen.recognise(data):
            raise LoadError(f"{name} is not a {chosen.name} image: it has no {chosen.looks_for}")
    _refuse_what_nobody_gets(chosen, name, options)
    is_of_bytes = chosen.name == "flat" or hasattr(chosen, "suffix")
    if options.format is None and is_of_bytes and (what := what_is(data)):
        hint = f": {told}" if (told := advice(what)) else ""
        file = name if data is packed_data else f"what is packed in {name}"
        raise LoadError(f"{file} is {what}{hint} (--format flat runs its bytes as they are)")
    return chosen.load(data, name, options)
