"""The devices that a Solo5 unikernel declares (Solo5, include/solo5/mft_abi.h, version 1)."""

from __future__ import annotations

import struct

from kvmdbg.errors import LoadError
from kvmdbg.record import record

VERSION = 1
BLOCK, NET, RESERVED = 1, 2, 1 << 30
MOST_DEVICES = 64
HEADER = struct.Struct("<II")
ENTRY = struct.Struct("<68sI16s8sB7x")
"""Name, type, properties, what the host has for it, whether it is attached."""
MAC = bytes((0x52, 0x54, 0x00, 0x6B, 0x76, 0x6D))
MTU = 1500


@record
class Declared:
    """A device of the manifest; its place there is its handle."""

    name: str
    kind: int


def devices(manifest: bytes, path: str) -> list[Declared]:
    """What a manifest declares. LoadError for a damaged one."""
    if len(manifest) < HEADER.size:
        raise LoadError(f"{path} is damaged: its Solo5 manifest is cut short")
    version, count = HEADER.unpack_from(manifest)
    if version != VERSION:
        raise LoadError(f"{path} has a Solo5 manifest of version {version}, not {VERSION}")
    if count > MOST_DEVICES or len(manifest) < HEADER.size + count * ENTRY.size:
        raise LoadError(f"{path} is damaged: its Solo5 manifest says that it has {count} entries")
    found = []
    for number in range(count):
        name, kind, *_ = ENTRY.unpack_from(manifest, HEADER.size + number * ENTRY.size)
        text = name.split(b"\0")[0].decode("ascii", "replace")
        if kind < RESERVED and not (text.isascii() and text.isalnum()):
            raise LoadError(f"{path} is damaged: entry {number} of its Solo5 manifest has no name")
        found.append(Declared(text, kind))
    return found


def attached(declared: list[Declared], capacities: list[int], path: str) -> bytes:
    """The manifest for the guest: its block devices are as large as ``capacities`` say, in turn. LoadError."""
    blocks = [one.name for one in declared if one.kind == BLOCK]
    if len(blocks) > len(capacities):
        missing = ", ".join(blocks[len(capacities) :])
        raise LoadError(f"{path} declares the block device {missing}: give it a file by --disk, in turn")
    if len(capacities) > len(blocks):
        raise LoadError(f"{path} declares {len(blocks)} block devices, and there are {len(capacities)} disks for them")
    left = iter(capacities)
    made = HEADER.pack(VERSION, len(declared))
    for one in declared:
        properties = b""
        if one.kind == BLOCK:
            properties = struct.pack("<QH", next(left), 512)
        elif one.kind == NET:
            properties = MAC + MTU.to_bytes(2, "little")
        elif one.kind < RESERVED:
            raise LoadError(f"{path} declares a device {one.name} of the unknown kind {one.kind}")
        made += ENTRY.pack(one.name.encode(), one.kind, properties, bytes(8), one.kind in (BLOCK, NET))
    return made
