"""drgn's program over a guest: its memory, its registers, and the debug information of its symbol files."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from kvmdbg.debuginfo.linked import load_ranges
from kvmdbg.errors import MemoryFault, NotSupportedHere
from kvmdbg.masks import LOW64

if TYPE_CHECKING:
    from kvmdbg.engine.registers import RegisterFile
    from kvmdbg.engine.views import LinearMemory, PhysicalMemory, VcpuView

REGISTERS = "kvmdbg_registers"
"""By this name the program gives the registers of the selected vCPU."""
PT_REGS = "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss".split()
"""The members of Linux's struct pt_regs on x86-64, each of eight bytes; drgn begins a stack trace with such a one."""
OTHERS = ("orig_ax", "cs", "ss")
FIRST_PAGE = 0x1000
END = LOW64


class Guest(Protocol):
    """What a session has for it."""

    memory: LinearMemory
    physical: PhysicalMemory

    @property
    def vcpu(self) -> VcpuView: ...

    @property
    def registers(self) -> RegisterFile: ...


def program(guest: Guest, files: Iterable[tuple[str, int]]) -> Any:
    """A ``drgn.Program`` on what the selected vCPU sees, in its mode of now; ``files`` have the debug information.

    NotSupportedHere where drgn is not installed.
    """
    try:
        import drgn
    except ImportError:
        raise NotSupportedHere("drgn is not installed: pip install 'kvmdbg[drgn]'") from None
    wide = guest.vcpu.mode.bits == 64
    flags = drgn.PlatformFlags.IS_LITTLE_ENDIAN | (drgn.PlatformFlags.IS_64_BIT if wide else drgn.PlatformFlags(0))
    made = drgn.Program(drgn.Platform(drgn.Architecture.X86_64 if wide else drgn.Architecture.I386, flags))

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        if wide and not physical and address < FIRST_PAGE:
            raise drgn.FaultError("the first page is not read, so that a frame pointer of 0 ends a stack", address)
        try:
            return (guest.physical if physical else guest.memory).read(address, count)
        except MemoryFault as fault:
            raise drgn.FaultError(str(fault), address) from None

    made.add_memory_segment(0, END, read)
    made.add_memory_segment(0, END, read, True)
    for number, (path, base) in enumerate(files):
        _add_file(drgn, made, path, base, number)
    if wide:
        finder = _registers_finder(drgn, made, guest)
        made.register_object_finder("kvmdbg", finder, enable_index=-1)
    return made


def _add_file(drgn: Any, program: Any, path: str, base: int, number: int) -> None:
    """A symbol file as a module of its own; one that is no ELF file has nothing for drgn."""
    ranges = load_ranges(path)
    if not ranges:
        return
    module = program.extra_module(path, number, create=True)
    start, end = min(start for start, _ in ranges) + base, max(end for _, end in ranges) + base
    module.address_ranges = [(start, end)] if base else ranges  # with one range drgn moves the file there
    module.try_file(path, force=True)
    if module.wants_debug_file():
        with suppress(Exception):  # there need be none
            program.find_standard_debug_info([module])


def _registers_finder(drgn: Any, program: Any, guest: Guest) -> Any:
    number = program.int_type("unsigned long", 8, False)
    members = [drgn.TypeMember(number, name, 64 * at) for at, name in enumerate(PT_REGS)]
    kind = program.struct_type("pt_regs", 8 * len(PT_REGS), members)

    def find(_: object, name: str, flags: Any, filename: str | None) -> Any:
        if name != REGISTERS or not flags & drgn.FindObjectFlags.VARIABLE:
            return None
        registers = guest.registers
        values = {one: registers.get(one if one[1:].isdigit() else f"r{one}") for one in PT_REGS if one not in OTHERS}
        selectors = {one: registers.get(one) for one in ("cs", "ss")}
        return drgn.Object(program, kind, {**values, **selectors, "orig_ax": END})

    return find
