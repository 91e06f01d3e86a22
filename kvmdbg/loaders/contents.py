"""What a file is that no loader knows, by its first bytes: running it as it is is hardly what was meant.

The magic numbers are those of libmagic's files (https://github.com/file/file/tree/master/magic/Magdir).
"""

from __future__ import annotations

import codecs
import re

#: (where, bytes, what it is); the first that fits is told.
MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x8b\x08", "compressed with gzip"),
    (0, b"\xfd7zXZ\0", "compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (0, b"BZh", "compressed with bzip2"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4"),
    (0, b"\x02\x21\x4c\x18", "compressed with lz4"),
    (0, b"\x5d\0\0\x80\0", "compressed with lzma"),
    (0, b"\x1f\x9d", "compressed with compress"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"070701", "a cpio archive"),
    (0, b"070702", "a cpio archive"),
    (0, b"070707", "a cpio archive"),
    (0, b"!<arch>\n", "a library of object files (ar)"),
    (0x8001, b"CD001", "a CD image (ISO 9660)"),
    (0, b"QFI\xfb", "a disk image (qcow2)"),
    (0, b"KDMV", "a disk image (VMDK)"),
    (0, b"vhdxfile", "a disk image (VHDX)"),
    (0, b"conectix", "a disk image (VHD)"),
    (0x40, b"\x7f\x10\xda\xbe", "a disk image (VDI)"),
    (0x200, b"EFI PART", "a disk image (GPT)"),
    (0, b"hsqs", "a file system (squashfs)"),
    (0x438, b"\x53\xef", "a file system (ext)"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree"),
    (0, b"\x27\x05\x19\x56", "an image for U-Boot"),
    (0, b"ANDROID!", "an Android boot image"),
    (0, b"\xfe\xed\xfa\xce", "a program for macOS (Mach-O)"),
    (0, b"\xce\xfa\xed\xfe", "a program for macOS (Mach-O)"),
    (0, b"\xfe\xed\xfa\xcf", "a program for macOS (Mach-O)"),
    (0, b"\xcf\xfa\xed\xfe", "a program for macOS (Mach-O)"),
    (0, b"\xca\xfe\xba\xbe", "a program for macOS (Mach-O) or a Java class"),
    (0, b"\0asm", "a WebAssembly module"),
    (0, b"BC\xc0\xde", "LLVM bitcode"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x89PNG", "a picture (PNG)"),
    (0, b"kvmdbg snapshot ", "a snapshot of kvmdbg, which `snapshot read` takes"),
    (0, b"#!", "a script for another program"),
)
LOOKED_AT = 4096
"""Bytes of a file by which it is told to be text."""
_NO_TEXT = rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]"
_INTEL_HEX = rb":[0-9A-Fa-f]{10,}\r?\n"
_S_RECORD = rb"S[0-9][0-9A-Fa-f]{8,}\r?\n"


#: what to do with one, by the beginning of what it is; the first that fits is told.
ADVICE = (
    ("compressed with compress", "unpack it first (uncompress)"),
    ("compressed with", "unpack it first"),
    ("a zip archive", "unpack it first (unzip), and give the image in it"),
    ("a 7-Zip archive", "unpack it first, and give the image in it"),
    ("a RAR archive", "unpack it first, and give the image in it"),
    ("a tar archive", "unpack it first (tar -xf), and give the image in it"),
    ("a cpio archive", "as an initial RAM disk it is for --initrd, beside a Linux kernel"),
    ("a library of object files", "link them to a kernel first"),
    ("a disk image (GPT)", ""),
    ("a disk image", "convert it first (qemu-img convert -O raw)"),
    ("a file system (ext)", ""),
    ("a file system", "as an initial RAM disk it is for --initrd, beside a Linux kernel"),
    ("a device tree", "PCs have none"),
    ("an image for U-Boot", "give the kernel that it was made of"),
    ("an Android boot image", "give the kernel and the initrd that it was made of"),
    ("a program for Windows or UEFI", "it needs Windows or UEFI firmware"),
    ("a program for", "it needs an operating system"),
    ("a script", "it needs an operating system"),
    ("a WebAssembly module", "compile it for x86 first"),
    ("LLVM bitcode", "compile it for x86 first (llc)"),
    ("a snapshot", ""),
    ("text", "a source is to be assembled or compiled first"),
    ("Intel HEX", ""),
    ("S-records", ""),
    ("a CD image", "nothing on it is for a BIOS to boot; --cdrom gives it to a guest or to firmware"),
)


def what_is(data: bytes) -> str:
    """What these bytes are, as it stands behind "it is", when they are hardly a flat image; else ""."""
    for at, magic, what in MAGIC:
        if data.startswith(magic, at):
            return what
    if data.startswith(b"MZ"):
        header = int.from_bytes(data[0x3C:0x40], "little")
        return "a program for Windows or UEFI (PE)" if data.startswith(b"PE\0\0", header) else "a program for DOS (MZ)"
    return _text(data[:LOOKED_AT])


def advice(what: str) -> str:
    """What to do with a file that is this, or ""."""
    return next((told for start, told in ADVICE if what.startswith(start)), "")


def _text(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    if len(data) < 8 or re.search(_NO_TEXT, data):
        return ""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3 or len(data) < LOOKED_AT:  # otherwise a character is cut at the end
            return ""
    if re.match(_INTEL_HEX, data):
        return "Intel HEX (objcopy -I ihex -O binary makes a flat image of it)"
    if re.match(_S_RECORD, data):
        return "S-records (objcopy -I srec -O binary makes a flat image of it)"
    return "text"
