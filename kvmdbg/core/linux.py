"""What a Linux kernel knows of itself, read from its memory: its messages, processes and modules.

How its structures are laid out is told by the types that it carries (BTF), or else by debug information. Sources: the
kernel's scripts/gdb/linux (the lists that are followed) and kernel/printk/printk_ringbuffer.h (the ring of messages,
since Linux 5.10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from kvmdbg.debuginfo.structures import Member
from kvmdbg.debuginfo.symbols import SymbolTable
from kvmdbg.engine.control import Control
from kvmdbg.errors import KvmdbgError, LoadError, MemoryFault, UsageError
from kvmdbg.record import record
from kvmdbg.x86 import paging
from kvmdbg.x86.modes import CR0_PE, CR0_PG, CR4_LA57, CR4_PAE, EFER_LMA, EFER_LME
from kvmdbg.x86.paging import EFER_NXE

if TYPE_CHECKING:
    from kvmdbg.language.types import Value

KERNEL_MAP = 0xFFFFFFFF80000000
"""The kernel's image is mapped from here on (__START_KERNEL_map): physical address 0, unless it was moved."""
MOST = 1 << 18
"""Entries of lists that are followed at most for one question: the memory may be anything."""
MOST_MESSAGES_BITS, MOST_TEXT_BITS = 20, 30
LONGEST_NAME = 1 << 10
COMMITTED, FINALIZED = 1, 2
LONG = 8
PAGE = 0x1000


class Message(NamedTuple):
    """One of the kernel's messages; ``nanoseconds`` since its start, ``level`` 0 (emergency) to 7 (debug)."""

    nanoseconds: int
    level: int
    text: str


@record
class Task:
    """``address`` is its task_struct's, ``leader`` the number of the process that a thread belongs to."""

    address: int
    pid: int
    leader: int
    state: int
    name: str


@record
class Module:
    """``base`` is where its code begins, ``users`` the modules that use it."""

    name: str
    base: int
    size: int
    references: int
    users: tuple[str, ...]


class Layout(Protocol):
    """Where members are; LoadError for those that are not there."""

    def member(self, name: str, path: str) -> Member: ...

    def size(self, name: str) -> int: ...

    def has(self, name: str, path: str) -> bool: ...


class DebugLayout:
    """Told by debug information, by asking expressions: ``number`` gives an expression's value."""

    def __init__(self, number: Callable[[str], int]) -> None:
        self._number = number

    def member(self, name: str, path: str) -> Member:
        place = f"((struct {name} *)0)->{path}"
        try:
            return Member(self._number(f"&{place}"), self._number(f"sizeof({place})"))
        except KvmdbgError:
            raise LoadError(f"the debug information knows no struct {name} with {path}") from None

    def size(self, name: str) -> int:
        try:
            return self._number(f"sizeof(struct {name})")
        except KvmdbgError:
            raise LoadError(f"the debug information knows no struct {name}") from None

    def has(self, name: str, path: str) -> bool:
        try:
            self.member(name, path)
        except LoadError:
            return False
        return True


class Linux:
    """The kernel that runs in a guest. Each question: UsageError where no Linux runs, LoadError or MemoryFault where
    nothing tells how it is laid out, or it has not begun."""

    def __init__(self, symbols: SymbolTable, control: Control, evaluate: Callable[[str], Value]) -> None:
        self._symbols = symbols
        self._control = control
        self._evaluate = evaluate
        self._layout: Layout | None = None
        self._left = 0
        """How many more entries of lists are followed for this question."""

    @property
    def _tables(self) -> int | None:
        """Where the kernel's own page tables lie, which map all of it; None for one that has no table of that name."""
        return self._symbols["init_top_pgt"] - KERNEL_MAP if "init_top_pgt" in self._symbols else None

    @property
    def layout(self) -> Layout:
        """How the kernel's structures are laid out."""
        assert self._layout is not None
        return self._layout

    def _look(self) -> None:
        """Find out how it is laid out, anew at each question: it may be another kernel by now."""
        from kvmdbg.debuginfo.btf import Btf

        self._left = MOST
        if "init_task" not in self._symbols:
            raise UsageError("this guest is no Linux kernel: it has no symbol init_task")
        if "__start_BTF" in self._symbols and "__stop_BTF" in self._symbols:
            start, end = self._symbols["__start_BTF"], self._symbols["__stop_BTF"]
            self._layout = Btf(self._read(start, min(max(end - start, 0), 1 << 26)))
            return
        self._layout = DebugLayout(lambda text: self._evaluate(text).value)
        if not self._layout.has("task_struct", "tasks"):
            raise UsageError("neither types in the kernel (BTF) nor debug information tell how it is laid out")

    def _read(self, address: int, size: int) -> bytes:
        """By the kernel's own page tables: those that are loaded may be a process's, without the kernel in them."""
        tables = self._tables
        if tables is None:
            return self._control.space.read_linear(self._control.runner, address, size)
        found = bytearray()
        while len(found) < size:
            at = address + len(found)
            length = min(size - len(found), PAGE - at % PAGE)
            found += self._control.guest.physical.read(self._physical(tables, at), length)
        return bytes(found)

    def _physical(self, tables: int, address: int) -> int:
        cr4 = CR4_PAE | self._control.runner.sregs.cr4 & CR4_LA57
        efer = EFER_LME | EFER_LMA | EFER_NXE
        walk = paging.walk(self._control.guest.physical.read, CR0_PE | CR0_PG, tables, cr4, efer, address)
        if walk.physical is None:
            raise MemoryFault(address, "read", "linear", "the kernel does not map it, or has not begun to")
        return walk.physical

    def _number(self, address: int, size: int = LONG) -> int:
        return int.from_bytes(self._read(address, size), "little")

    def _field(self, address: int, name: str, path: str) -> int:
        """A member that is a number or a pointer, of the structure at ``address``."""
        member = self.layout.member(name, path)
        value = self._number(address + member.offset, member.size)
        return value >> member.bit & (1 << member.bits) - 1 if member.bits else value

    def _text(self, address: int, name: str, path: str) -> str:
        member = self.layout.member(name, path)
        raw = self._read(address + member.offset, min(member.size, LONGEST_NAME))
        return raw.partition(b"\0")[0].decode("utf-8", "replace")

    def _list(self, head: int, name: str, path: str) -> Iterator[int]:
        """The structures in a list (struct list_head), which ``path`` of each links."""
        offset = self.layout.member(name, path).offset
        at = self._number(head)
        while at != head and at and self._left > 0:
            self._left -= 1
            yield at - offset
            at = self._number(at)

    # --- messages --------------------------------------------------------------------------------------

    def messages(self) -> Iterator[Message]:
        """All that are still in the ring, the oldest first."""
        self._look()
        if "prb" not in self._symbols:
            raise UsageError("this kernel keeps its messages as before Linux 5.10, or keeps none: it has no symbol prb")
        ring = self._number(self._symbols["prb"])

        def of_ring(path: str) -> int:
            return self._field(ring, "printk_ringbuffer", path)

        count_bits, size_bits = of_ring("desc_ring.count_bits"), of_ring("text_data_ring.size_bits")
        if count_bits > MOST_MESSAGES_BITS or size_bits > MOST_TEXT_BITS:
            raise UsageError("the kernel has not made its ring of messages yet")
        count, size = 1 << count_bits, 1 << size_bits
        descriptors, infos = of_ring("desc_ring.descs"), of_ring("desc_ring.infos")
        data = of_ring("text_data_ring.data")
        first, last = of_ring("desc_ring.tail_id"), of_ring("desc_ring.head_id")
        sizes = self.layout.size("prb_desc"), self.layout.size("printk_info")
        for number in range(min(last - first + 1, count) if last >= first else 0):
            index = (first + number) % count
            descriptor, info = descriptors + index * sizes[0], infos + index * sizes[1]
            if self._field(descriptor, "prb_desc", "state_var") >> 62 not in (COMMITTED, FINALIZED):
                continue
            begin = self._field(descriptor, "prb_desc", "text_blk_lpos.begin")
            end = self._field(descriptor, "prb_desc", "text_blk_lpos.next") % size
            length = self._field(info, "printk_info", "text_len")
            text = b""
            if not begin & 1:  # else there is no data
                start = begin % size
                start = (start if start <= end else 0) + LONG
                text = self._read(data + start, max(0, min(length, end - start)))
            yield Message(
                self._field(info, "printk_info", "ts_nsec"),
                self._level(info),
                text.decode("utf-8", "replace"),
            )

    def _level(self, info: int) -> int:
        if self.layout.has("printk_info", "level"):
            return self._field(info, "printk_info", "level")
        behind = info + self.layout.member("printk_info", "facility").offset + 1  # an expression has no address of bits
        return self._number(behind, 1) >> 5

    # --- processes -------------------------------------------------------------------------------------

    def tasks(self) -> Iterator[Task]:
        """Every process with its threads, from the idle task of the first processor on."""
        self._look()
        first = self._symbols["init_task"]
        head = first + self.layout.member("task_struct", "tasks").offset
        by_signal = self.layout.has("signal_struct", "thread_head")
        for leader in (first, *self._list(head, "task_struct", "tasks")):
            pid = self._field(leader, "task_struct", "pid")
            yield self._task(leader, pid)
            if by_signal and leader != first:
                threads = self._field(leader, "task_struct", "signal")
                threads += self.layout.member("signal_struct", "thread_head").offset
                for thread in self._list(threads, "task_struct", "thread_node"):
                    if thread != leader:
                        yield self._task(thread, pid)

    def _task(self, address: int, leader: int) -> Task:
        state = "__state" if self.layout.has("task_struct", "__state") else "state"  # since Linux 5.14
        return Task(
            address,
            self._field(address, "task_struct", "pid"),
            leader,
            self._field(address, "task_struct", state),
            self._text(address, "task_struct", "comm"),
        )

    # --- modules ---------------------------------------------------------------------------------------

    def modules(self) -> Iterator[Module]:
        """Those that are loaded, the last one first."""
        self._look()
        if "modules" not in self._symbols:
            raise UsageError("this kernel has no modules (no symbol modules)")
        split = self.layout.has("module", "mem")  # since Linux 6.4 code and data are apart
        for one in self._list(self._symbols["modules"], "module", "list"):
            if split:
                memory = self.layout.member("module", "mem")
                each = self.layout.size("module_memory")
                places = [one + memory.offset + each * number for number in range(memory.size // max(each, 1))]
                base = self._field(places[0], "module_memory", "base") if places else 0
                size = sum(self._field(place, "module_memory", "size") for place in places)
            else:
                base, size = (self._field(one, "module", f"core_layout.{name}") for name in ("base", "size"))
            users: tuple[str, ...] = ()
            if self.layout.has("module", "source_list"):
                head = one + self.layout.member("module", "source_list").offset
                uses = self._list(head, "module_use", "source_list")
                users = tuple(self._text(self._field(use, "module_use", "source"), "module", "name") for use in uses)
            references = self._field(one, "module", "refcnt") - 1 if self.layout.has("module", "refcnt") else 0
            yield Module(self._text(one, "module", "name"), base, size, references, users)
