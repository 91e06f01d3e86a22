"""Images packed with gzip, as boot loaders take them: what is in them is loaded; kernels in a bzImage, if wanted."""

from __future__ import annotations

from kvmdbg.errors import LoadError
from kvmdbg.loaders.linux_header import is_bzimage, read_header

MAGIC = b"\x1f\x8b\x08"
LARGEST = 1 << 30
"""Bytes; more than that is no kernel, however small it was packed."""
PIECE = 1 << 12
"""Bytes that are unpacked at once: what lies behind a member's end is copied."""


def unpacked(data: bytes, path: str, format: str | None) -> bytes:
    """What is packed in ``data``, or ``data`` itself, where it is not packed or is to be flat.

    The kernel in a bzImage is taken out where the user wants a format that it has: "pvh" or "elf". LoadError for a
    file that is damaged, cut short, or unpacks to more than 1 GiB.
    """
    if format == "flat":
        return data
    if data.startswith(MAGIC):
        data = _gunzipped(data, path)
    if format in ("pvh", "elf") and is_bzimage(data):
        return _kernel_in(data, path)
    return data


def _kernel_in(data: bytes, path: str) -> bytes:
    from kvmdbg.loaders.linux_symbols import unpacked as unpacked_kernel

    header = read_header(data, path)
    offset, length = header.payload
    payload = data[header.start + offset :][:length]
    kernel = unpacked_kernel(payload) if length else None
    if kernel is None:
        raise LoadError(
            f"{path} is a Linux kernel packed in a way that kvmdbg cannot unpack; it unpacks itself as bzimage"
        )
    return kernel


def _gunzipped(data: bytes, path: str) -> bytes:
    import zlib

    made, at = bytearray(), 0
    while data.startswith(MAGIC, at):  # RFC 1952: a file may have several members
        member = zlib.decompressobj(31)
        while not member.eof:
            piece = data[at : at + PIECE]
            if not piece:
                raise LoadError(f"{path} is packed with gzip and cut short")
            try:
                made += member.decompress(piece, LARGEST + 1 - len(made))
            except zlib.error as error:
                raise LoadError(f"{path} is packed with gzip and damaged: {error}") from None
            if len(made) > LARGEST:
                raise LoadError(f"{path} unpacks to more than {LARGEST >> 30} GiB, too large for a guest image")
            at += len(piece) - len(member.unused_data)
    if not made:
        raise LoadError(f"{path} is packed with gzip, and nothing is in it")
    return bytes(made)
