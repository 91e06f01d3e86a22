"""Words of other debuggers, and what they are here: one table, and how their arguments are turned into ours.

A word is looked for here only when no command and no alias of kvmdbg's has its name. docs/coming-from.md tells of them
(coming_from.py, whose rows a test types).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from kvmdbg.commands import other_lines
from kvmdbg.commands.of_lldb import (
    breakpoint_set,
    disassembled,
    found_in_memory,
    lookup,
    memory_read,
    memory_write,
    printed,
    registers_read,
    registers_written,
    source_listed,
    variables,
    watchpoint_set,
)
from kvmdbg.commands.other_words import INSTEAD, LIKE
from kvmdbg.commands.rewriting import at, need, written
from kvmdbg.errors import UsageError
from kvmdbg.record import record


class Stretch(Protocol):
    """A part of the guest's memory."""

    @property
    def address(self) -> int: ...

    @property
    def size(self) -> int: ...


class HasMemory(Protocol):
    """Whose memory it is."""

    @property
    def slots(self) -> Sequence[Stretch]: ...


_AT_REGISTER = re.compile(r"(?:(?<=^)|(?<=[\s(,+*-]))@\$?([A-Za-z]\w*)")
"""WinDbg's ``@rsp``."""


@record
class Word:
    """``means``: what stands for it, before what is typed behind it; ``rewrite`` makes the whole line instead."""

    of: str
    means: str
    rewrite: Callable[[str], str] | None = None

    def line(self, rest: str) -> str:
        """The line, or lines, of kvmdbg's. UsageError."""
        if "WinDbg" in self.of:
            rest = _AT_REGISTER.sub(r"$\1", rest)
        if self.rewrite is not None:
            return self.rewrite(rest)
        return f"{self.means} {rest}".strip()


ALL_MEMORY = "START, +LENGTH"
"""In a line: it is run for each stretch of the guest's memory."""
_LENGTH = re.compile(r"(?P<place>.+?)\s+(?:[Ll](?P<hex>\??(?:0x)?[0-9a-fA-F][0-9a-fA-F`]*)|(?P<count>\d{1,18}))$")


def _counted(rest: str, count: int) -> tuple[str, int]:
    """The address and the count of ``ADDRESS [COUNT]``, WinDbg's ``ADDRESS L10`` (hexadecimal) included."""
    found = _LENGTH.match(rest)
    if found is None:
        return rest or "$sp", count
    if found["hex"]:
        return found["place"], int(found["hex"].strip("?").replace("`", ""), 16)
    return found["place"], int(found["count"])


def _shown(unit: str, count: int) -> Callable[[str], str]:
    def rewrite(rest: str) -> str:
        place, wanted = _counted(rest, count)
        return f"x/{wanted}x{unit} {place}"

    return rewrite


def _pointers(rest: str) -> str:
    place, count = _counted(rest, 8)
    return f"telescope {place}, {count}"


def _stack(rest: str) -> str:
    return f"telescope $sp, {rest or 8}"


def _physical(rest: str) -> str:
    """``xp /4xw ADDRESS`` of QEMU's monitor and Bochs."""
    match = re.match(r"(/\S+)?\s*(.*)", rest)
    assert match is not None
    return f"x{match[1] or ''} phys:{need(match[2], 'an address')}"


def _break_at(rest: str) -> str:
    return f"break {at(rest)}" if rest else "break"


def _break_physical(rest: str) -> str:
    return f"break phys:{need(rest, 'an address').lstrip('*')}"


def _all_or(command: str) -> Callable[[str], str]:
    """WinDbg's ``bd 1`` and ``bd *``."""
    return lambda rest: command if rest == "*" else f"{command} {rest}".strip()


def _on_access(rest: str) -> str:
    """WinDbg's ``ba w4 ADDRESS``."""
    match = re.match(r"([ewr])\s*([1248])\s+(.+)", rest)
    if match is None:
        raise UsageError("ba takes e, r or w with a size, and an address, as in ba w4 0x5000")
    kind, size, place = match.groups()
    if kind == "e":
        return f"break {at(place)}"
    return f"{'watch' if kind == 'w' else 'awatch'} *(u{8 * int(size)}*)({place})"


def _instructions(rest: str) -> str:
    """pwndbg's ``nearpc 5`` and ``pdisass``, Bochs's ``u /5``."""
    match = re.fullmatch(r"/?\s*(\d+)?\s*(.*)", rest)
    assert match is not None
    return f"x/{match[1] or 10}i {match[2] or '$pc'}"


def _memory_saved(physical: bool) -> Callable[[str], str]:
    """QEMU's ``memsave ADDRESS SIZE FILE``."""

    def rewrite(rest: str) -> str:
        words = rest.split(maxsplit=2)
        if len(words) < 3:
            raise UsageError("what is missing: ADDRESS SIZE FILE")
        place, size, file = words
        return f"dump {file} {'phys:' if physical else ''}{place} {size}"

    return rewrite


def _memory_written(rest: str) -> str:
    """Bochs's ``writemem "FILE" ADDRESS LENGTH``."""
    words = rest.split()
    if len(words) < 3:
        raise UsageError("what is missing: FILE ADDRESS LENGTH")
    return f"dump {words[0]} {words[1]} {words[2]}"


def _memory_loaded(rest: str) -> str:
    words = rest.split()
    if len(words) < 2:
        raise UsageError("what is missing: FILE ADDRESS")
    return f"restore {words[0]} binary {words[1]}"


def _set_physical(rest: str) -> str:
    """Bochs's ``setpmem ADDRESS SIZE VALUE``."""
    words = rest.split()
    if len(words) != 3 or words[1] not in ("1", "2", "4"):
        raise UsageError("setpmem takes an address, a size of 1, 2 or 4, and a value")
    return f"set {{u{8 * int(words[1])}}}phys:{words[0]} = {words[2]}"


def _xinfo(rest: str) -> str:
    place = rest or "$pc"
    return f"info symbol {place}\ntranslate {place}"


def _search(rest: str) -> str:
    """pwndbg's ``search [-t TYPE] VALUE``: the guest's memory from 0 on."""
    kinds = {
        "byte": "/b",
        "short": "/h",
        "word": "/h",
        "dword": "/w",
        "qword": "/g",
        "-1": "/b",
        "-2": "/h",
        "-4": "/w",
        "-8": "/g",
    }
    form, value = "", need(rest, "what to search for")
    if match := re.match(r"(?:-t|--type)\s+(\w+)\s+(.*)", value):
        form, value = kinds.get(match[1], ""), match[2]
    elif match := re.match(r"(-[1248])\s+(.*)", value):
        form, value = kinds[match[1]], match[2]
    if match := re.fullmatch(r"-x\s+(.*)", value):
        form, value = "/x", match[1]
    elif not re.match(r"[\"'$({&*-]|\d", value):
        value = f'"{value}"'
    return f"find {form} {ALL_MEMORY}, {value}".replace("  ", " ")


def _distance(rest: str) -> str:
    words = rest.split()
    if len(words) != 2:
        raise UsageError("distance takes two addresses")
    return f"print/x (long)({words[1]}) - (long)({words[0]})"


_MAPS = Word("pwndbg, gef", "info mappings")
_BLIST = Word("WinDbg, pwndbg", "info breakpoints")
_VECTORS = Word("Bochs", "info vectors")


def _refused(name: str, of: str, sentence: str) -> Callable[[str], str]:
    def refuse(rest: str) -> str:
        raise UsageError(f"{name} is a word of {of}: {sentence}")

    return refuse


WORDS: Mapping[str, Word] = {
    **{name: Word(of, means) for name, (of, means) in LIKE.items()},
    **{name: Word(of, sentence, _refused(name, of, sentence)) for name, (of, sentence) in INSTEAD.items()},
    # pwndbg and gef
    "vmmap": _MAPS,
    "nearpc": Word("pwndbg", "x/10i $pc", _instructions),
    "pdisass": Word("pwndbg", "x/10i $pc", _instructions),
    "regs": Word("pwndbg, Bochs", "info registers"),
    "xuntil": Word("pwndbg", "advance", lambda rest: f"advance {at(need(rest, 'an address'))}"),
    "distance": Word("pwndbg", "print B - A", _distance),
    "xinfo": Word("pwndbg, gef", "info symbol, translate", _xinfo),
    "search": Word("pwndbg", "find", _search),
    "contextwatch": Word("pwndbg", "display"),
    "contextunwatch": Word("pwndbg", "undisplay"),
    "stack": Word("pwndbg", "telescope $sp", _stack),
    "setflag": Word("pwndbg", "set $FLAG = VALUE", registers_written),
    # WinDbg, and pwndbg after it
    "db": Word("WinDbg, pwndbg", "x/64xb", _shown("b", 64)),
    "dw": Word("WinDbg, pwndbg", "x/32xh", _shown("h", 32)),
    "dd": Word("WinDbg, pwndbg", "x/16xw", _shown("w", 16)),
    "dq": Word("WinDbg, pwndbg", "x/8xg", _shown("g", 8)),
    "da": Word("WinDbg, pwndbg", "x/s"),
    "dps": Word("WinDbg", "telescope", _pointers),
    "eb": Word("WinDbg, pwndbg", "set {u8}", written(1)),
    "ew": Word("WinDbg, pwndbg", "set {u16}", written(2)),
    "ed": Word("WinDbg, pwndbg", "set {u32}", written(4)),
    "eq": Word("WinDbg, pwndbg", "set {u64}", written(8)),
    "bp": Word("WinDbg, pwndbg", "break", _break_at),
    "bl": _BLIST,
    "bc": Word("WinDbg, pwndbg", "delete", _all_or("delete")),
    "bd": Word("WinDbg, pwndbg", "disable", _all_or("disable")),
    "be": Word("WinDbg, pwndbg", "enable", _all_or("enable")),
    "ba": Word("WinDbg", "watch, awatch or break", _on_access),
    "g": Word("WinDbg", "continue", lambda rest: f"advance {at(rest)}" if rest else "continue"),
    "gu": Word("WinDbg", "finish"),
    "kb": Word("WinDbg", "backtrace"),
    "kn": Word("WinDbg", "backtrace"),
    "kp": Word("WinDbg", "backtrace"),
    "ln": Word("WinDbg, pwndbg", "info symbol"),
    "dt": Word("WinDbg, pwndbg", "ptype"),
    "dv": Word("WinDbg", "info locals"),
    "uf": Word("WinDbg", "disassemble"),
    # Bochs
    "sreg": Word("Bochs", "info segments"),
    "creg": Word("Bochs", "info cr"),
    "dreg": Word("Bochs", "info debugregs"),
    "fp": Word("Bochs", "info fpu"),
    "fpu": Word("Bochs", "info fpu"),
    "mmx": Word("Bochs", "info fpu"),
    "sse": _VECTORS,
    "xmm": _VECTORS,
    "ymm": _VECTORS,
    "reg": Word("Bochs", "info registers"),
    "registers": Word("Bochs", "info registers"),
    "blist": Word("Bochs", "info breakpoints"),
    "bpe": Word("Bochs", "enable"),
    "bpd": Word("Bochs", "disable"),
    "lb": Word("Bochs", "break", _break_at),
    "lbreak": Word("Bochs", "break", _break_at),
    "vb": Word("Bochs", "break", _break_at),
    "vbreak": Word("Bochs", "break", _break_at),
    "pb": Word("Bochs", "break phys:", _break_physical),
    "pbreak": Word("Bochs", "break phys:", _break_physical),
    "page": Word("Bochs", "translate"),
    "setpmem": Word("Bochs", "set {u32}phys:", _set_physical),
    "writemem": Word("Bochs", "dump", _memory_written),
    "loadmem": Word("Bochs", "restore", _memory_loaded),
    "print-stack": Word("Bochs", "telescope $sp", _stack),
    "disasm": Word("Bochs", "x/10i $pc", _instructions),
    "info tab": Word("Bochs", "info mappings"),
    "info eflags": Word("Bochs", "info registers eflags", lambda rest: "info registers eflags"),
    "info cpu": Word("Bochs", "info all-registers"),
    "info break": Word("Bochs", "info breakpoints"),
    # QEMU's monitor
    "xp": Word("QEMU, Bochs", "x phys:", _physical),
    "gva2gpa": Word("QEMU", "translate"),
    "cpu": Word("QEMU", "vcpu"),
    "stop": Word("QEMU", "interrupt"),
    "system_reset": Word("QEMU", "restart"),
    "savevm": Word("QEMU", "snapshot save"),
    "loadvm": Word("QEMU", "snapshot restore"),
    "delvm": Word("QEMU", "snapshot delete"),
    "memsave": Word("QEMU", "dump", _memory_saved(physical=False)),
    "pmemsave": Word("QEMU", "dump phys:", _memory_saved(physical=True)),
    "screendump": Word("QEMU", "screen save"),
    "sum": Word("QEMU", "checksum", lambda rest: f"checksum phys:{rest}"),
    "info tlb": Word("QEMU", "info mappings"),
    "info mtree": Word("QEMU", "info memory"),
    "info cpus": Word("QEMU", "info vcpus"),
    "info status": Word("QEMU", "info program"),
    "info snapshots": Word("QEMU", "snapshot list"),
    "info block": Word("QEMU", "info disks"),
    "info qtree": Word("QEMU", "info devices"),
    "info version": Word("QEMU", "show version"),
    # lldb
    "register read": Word("lldb", "info registers", registers_read),
    "register write": Word("lldb", "set $REGISTER = VALUE", registers_written),
    "memory read": Word("lldb", "hexdump, or x", memory_read),
    "memory write": Word("lldb", "set {u8}", memory_write),
    "memory find": Word("lldb", "find", found_in_memory),
    "di": Word("lldb", "disassemble, or x/8i", disassembled),
    "v": Word("lldb", "info args, info locals", variables),
    "memory region": Word("lldb", "info mappings"),
    "breakpoint set": Word("lldb", "break", breakpoint_set),
    "breakpoint list": Word("lldb", "info breakpoints"),
    "breakpoint delete": Word("lldb", "delete"),
    "breakpoint disable": Word("lldb", "disable"),
    "breakpoint enable": Word("lldb", "enable"),
    "watchpoint set": Word("lldb", "watch", watchpoint_set),
    "watchpoint list": Word("lldb", "info watchpoints"),
    "watchpoint delete": Word("lldb", "delete"),
    "thread backtrace": Word("lldb", "backtrace"),
    "thread list": Word("lldb", "info vcpus"),
    "thread select": Word("lldb", "vcpu"),
    "thread step-in": Word("lldb", "step"),
    "thread step-over": Word("lldb", "next"),
    "thread step-out": Word("lldb", "finish"),
    "thread step-inst": Word("lldb", "stepi"),
    "thread step-inst-over": Word("lldb", "nexti"),
    "thread until": Word("lldb", "until"),
    "frame variable": Word("lldb", "info args, info locals", variables),
    "frame info": Word("lldb", "frame"),
    "frame select": Word("lldb", "frame"),
    "process launch": Word("lldb", "run"),
    "process continue": Word("lldb", "continue"),
    "process interrupt": Word("lldb", "interrupt"),
    "process kill": Word("lldb", "kill"),
    "process status": Word("lldb", "info program"),
    "image lookup": Word("lldb", "info symbol, info line", lookup),
    "target variable": Word("lldb", "print", lambda rest: f"print {need(rest, 'a variable')}"),
    ".echo": Word("WinDbg", "echo", lambda rest: f"echo {rest}\\n"),
    "type lookup": Word("lldb", "ptype"),
    "expression": Word("lldb", "print", printed),
    "expr": Word("lldb", "print", printed),
    "settings set": Word("lldb", "set"),
    "settings show": Word("lldb", "show"),
    "command alias": Word("lldb", "alias", lambda rest: "alias " + " = ".join(rest.split(maxsplit=1))),
    "source list": Word("lldb", "list", source_listed),
    "command source": Word("lldb", "source"),
    "script": Word("lldb", "python"),
}

OF_WINDBG = frozenset(name for name, word in WORDS.items() if "WinDbg" in word.of and name not in INSTEAD)
_LINE = re.compile(r"\s*([.!]?[A-Za-z_][\w-]*|\?\??|~)(?:\s+([A-Za-z_][\w-]*))?")
ABBREVIATED = {
    "re": "register", "reg": "register", "me": "memory", "mem": "memory", "fr": "frame", "pro": "process",
    "im": "image", "ima": "image", "ta": "target", "wa": "watchpoint", "ty": "type",
}  # fmt: skip
"""How lldb's words may begin, where that is no word of ours with what stands behind it."""


def found(line: str, taken: Callable[[str, str], bool]) -> tuple[str, Word, str] | None:
    """The name, the word and what is behind it, where a line begins with one of another debugger's.

    ``taken`` says whether a command of kvmdbg's has exactly this name (the first word or "", the last word).
    """
    match = _LINE.match(line)
    if match is None:
        return None
    first, second = match[1], match[2]
    for whole in (first, ABBREVIATED.get(first, "")):
        near = [name for name in WORDS if second and name.startswith(f"{whole} {second}")]
        near.sort(key=lambda name: "lldb" not in WORDS[name].of)  # whose words may be shortened
        name = f"{whole} {second}" if f"{whole} {second}" in near else near[0] if near and whole != first else ""
        if name and not taken(first, second or ""):
            return name, WORDS[name], line[match.end() :].strip()
    if (word := WORDS.get(first)) is not None and not taken("", first):
        return first, word, line[match.end(1) :].strip()
    return None


def lines(line: str, taken: Callable[[str, str], bool], guest: HasMemory) -> list[str]:
    """The line, or the lines that it is here where it begins with a word of another debugger's. UsageError."""
    if sentence := other_lines.instead(line, OF_WINDBG):
        raise UsageError(sentence)
    other = found(line, taken)
    if other is None:
        return [line]
    meant = other[1].line(other[2]).split("\n")
    if ALL_MEMORY not in meant[0]:
        return meant
    return [meant[0].replace(ALL_MEMORY, f"phys:{one.address:#x}, +{one.size:#x}") for one in guest.slots]
