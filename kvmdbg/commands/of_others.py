"""Words of other debuggers, and what they are here: one table, and how their arguments are turned into ours.

A word is looked for here only when no command and no alias of kvmdbg's has its name. docs/coming-from.md tells of them
(coming_from.py, whose rows a test types).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from kvmdbg.commands.other_words import INSTEAD, LIKE
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


@record
class Word:
    """``means``: what stands for it, before what is typed behind it; ``rewrite`` makes the whole line instead."""

    of: str
    means: str
    rewrite: Callable[[str], str] | None = None

    def line(self, rest: str) -> str:
        """The line, or lines, of kvmdbg's. UsageError."""
        if self.rewrite is not None:
            return self.rewrite(rest)
        return f"{self.means} {rest}".strip()


ALL_MEMORY = "START, +LENGTH"
"""In a line: it is run for each stretch of the guest's memory."""
_LENGTH = re.compile(r"(?P<place>.+?)\s+(?:[Ll](?P<hex>\??(?:0x)?[0-9a-fA-F`]+)|(?P<count>\d+))$")


def _need(rest: str, usage: str) -> str:
    if not rest:
        raise UsageError(f"what is missing: {usage}")
    return rest


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


def _written(size: int) -> Callable[[str], str]:
    def rewrite(rest: str) -> str:
        place, *values = _need(rest, "an address and values").split()
        if not values:
            raise UsageError("what is missing: the values to write")
        return "\n".join(
            f"set {{u{8 * size}}}({place}) = {value}"
            if not at
            else f"set {{u{8 * size}}}({place} + {size * at}) = {value}"
            for at, value in enumerate(values)
        )

    return rewrite


def _physical(rest: str) -> str:
    """``xp /4xw ADDRESS`` of QEMU's monitor and Bochs."""
    match = re.match(r"(/\S+)?\s*(.*)", rest)
    assert match is not None
    return f"x{match[1] or ''} phys:{_need(match[2], 'an address')}"


def _at(text: str) -> str:
    """A place for break: a number is an address."""
    return f"*{text}" if text[:1].isdigit() and ":" not in text else text


def _break_at(rest: str) -> str:
    return f"break {_at(rest)}" if rest else "break"


def _break_physical(rest: str) -> str:
    return f"break phys:{_need(rest, 'an address')}"


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
        return f"break {_at(place)}"
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
    form, value = "", _need(rest, "what to search for")
    if match := re.match(r"(?:-t|--type)\s+(\w+)\s+(.*)", value):
        form, value = kinds.get(match[1], ""), match[2]
    elif match := re.match(r"(-[1248])\s+(.*)", value):
        form, value = kinds[match[1]], match[2]
    if match := re.fullmatch(r"-x\s+(.*)", value):
        form, value = "/x", match[1]
    elif not re.match(r"[\"'$({&*-]|\d", value):
        value = f'"{value}"'
    return f"find {form} {ALL_MEMORY}, {value}".replace("  ", " ")


def _registers_written(rest: str) -> str:
    name, _, value = _need(rest, "a register and a value").partition(" ")
    return f"set ${name.lstrip('$')} = {_need(value.strip(), 'a value')}"


def _breakpoint_set(rest: str) -> str:
    """lldb's ``breakpoint set -a ADDRESS | -n NAME | -f FILE -l LINE [-c CONDITION] [-H] [-o true]``."""
    import shlex

    found: dict[str, str] = {}
    words = iter(shlex.split(rest))
    long = {"--address": "-a", "--name": "-n", "--file": "-f", "--line": "-l", "--condition": "-c", "--hardware": "-H",
            "--one-shot": "-o"}  # fmt: skip
    for word in words:
        name, _, value = word.partition("=")
        name = long.get(name, name)
        if name == "-H":
            found[name] = "true"
        elif name in ("-a", "-n", "-f", "-l", "-c", "-o"):
            found[name] = value or next(words, "")
        else:
            raise UsageError(f"breakpoint set takes -a, -n, -f, -l, -c, -o and -H here, not {word}")
    place = _at(found["-a"]) if "-a" in found else found.get("-n", "")
    if "-l" in found:
        place = f"{found['-f']}:{found['-l']}" if "-f" in found else found["-l"]
    if not place:
        raise UsageError("breakpoint set needs -a ADDRESS, -n NAME, or -f FILE and -l LINE")
    word = f"{'t' if found.get('-o') == 'true' else ''}{'h' if '-H' in found else ''}break"
    return f"{word} {place}" + (f" if {found['-c']}" if "-c" in found else "")


def _watchpoint_set(rest: str) -> str:
    """lldb's ``watchpoint set expression [-w read|write|read_write] [-s SIZE] -- ADDRESS``, and ``variable NAME``."""
    kind = {"read": "rwatch", "write": "watch", "read_write": "awatch", "modify": "watch"}
    match = re.match(r"(?:variable|v\w*|expression|e\w*)?\s*(?:-w\s+(\w+)\s*)?(?:-s\s+(\d+)\s*)?(?:--\s*)?(.+)", rest)
    if match is None:
        raise UsageError("watchpoint set needs what to watch")
    what = f"*(u{8 * int(match[2])}*)({match[3]})" if match[2] in ("1", "2", "4", "8") else match[3]
    return f"{kind.get(match[1] or 'write', 'watch')} {what}"


def _memory_read(rest: str) -> str:
    """lldb's ``memory read [-c COUNT] [-s SIZE] [-f x] ADDRESS [END]`` and its gdb form ``memory read/4xw ADDRESS``."""
    if rest.startswith("/"):
        return f"x{rest}"
    options = dict(re.findall(r"(-[csf])\s*(\S+)", rest))
    words = re.sub(r"-[csf]\s*\S+", "", rest).split()
    if not words:
        raise UsageError("memory read needs an ADDRESS")
    if not options:
        return f"hexdump {words[0]}" + (f", ({words[1]}) - ({words[0]})" if len(words) > 1 else ", 32")
    unit = {"1": "b", "2": "h", "4": "w", "8": "g"}.get(options.get("-s", "4"), "w")
    return f"x/{options.get('-c', '8')}{options.get('-f', 'x')[:1]}{unit} {words[0]}"


def _memory_write(rest: str) -> str:
    options = dict(re.findall(r"(-s)\s*(\S+)", rest))
    return _written(int(options.get("-s", "1")))(re.sub(r"-s\s*\S+", "", rest).strip())


def _lookup(rest: str) -> str:
    """lldb's ``image lookup -a ADDRESS | -n NAME | -t TYPE``."""
    match = re.match(r"(-[ant]|--address|--name|--type)\s*(.+)", rest)
    if match is None:
        raise UsageError("image lookup takes -a ADDRESS, -n NAME or -t TYPE")
    kind = match[1].lstrip("-")[0]
    return {"a": "info symbol", "n": "info line", "t": "ptype"}[kind] + f" {match[2]}"


def _variables(rest: str) -> str:
    return f"print {rest}" if rest else "info args\ninfo locals"


def _distance(rest: str) -> str:
    words = rest.split()
    if len(words) != 2:
        raise UsageError("distance takes two addresses")
    return f"print/x (long)({words[1]}) - (long)({words[0]})"


def _disassembled(rest: str) -> str:
    """lldb's ``di``: ``-n NAME``, ``-a ADDRESS``, ``-s ADDRESS -c COUNT``, ``-p``; the function without any."""
    options = dict(re.findall(r"--?([nsac])\w*\s*(\S+)", rest))
    if "n" in options or "a" in options:
        return f"disassemble {options.get('n') or options['a']}"
    if "s" in options or "c" in options:
        return f"x/{options.get('c', '8')}i {options.get('s', '$pc')}"
    return "x/8i $pc" if re.search(r"-p\b|--pc\b", rest) else "disassemble"


def _found_in_memory(rest: str) -> str:
    """lldb's ``memory find -s TEXT | -e EXPRESSION START END``."""
    match = re.fullmatch(r"(-[se])\s+(\"[^\"]*\"|'[^']*'|\S+)\s+(\S+)\s+(\S+)", rest)
    if match is None:
        raise UsageError("memory find takes -s TEXT or -e EXPRESSION, and START END")
    what = '"' + match[2].strip("\"'") + '"' if match[1] == "-s" else match[2]
    return f"find {match[3]}, {match[4]}, {what}"


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
    "xuntil": Word("pwndbg", "advance", lambda rest: f"advance {_at(_need(rest, 'an address'))}"),
    "distance": Word("pwndbg", "print B - A", _distance),
    "xinfo": Word("pwndbg, gef", "info symbol, translate", _xinfo),
    "search": Word("pwndbg", "find", _search),
    "contextwatch": Word("pwndbg", "display"),
    "contextunwatch": Word("pwndbg", "undisplay"),
    "stack": Word("pwndbg", "telescope $sp", _stack),
    "setflag": Word("pwndbg", "set $FLAG = VALUE", _registers_written),
    # WinDbg, and pwndbg after it
    "db": Word("WinDbg, pwndbg", "x/64xb", _shown("b", 64)),
    "dw": Word("WinDbg, pwndbg", "x/32xh", _shown("h", 32)),
    "dd": Word("WinDbg, pwndbg", "x/16xw", _shown("w", 16)),
    "dq": Word("WinDbg, pwndbg", "x/8xg", _shown("g", 8)),
    "da": Word("WinDbg, pwndbg", "x/s"),
    "dps": Word("WinDbg", "telescope", _pointers),
    "eb": Word("WinDbg, pwndbg", "set {u8}", _written(1)),
    "ew": Word("WinDbg, pwndbg", "set {u16}", _written(2)),
    "ed": Word("WinDbg, pwndbg", "set {u32}", _written(4)),
    "eq": Word("WinDbg, pwndbg", "set {u64}", _written(8)),
    "bp": Word("WinDbg, pwndbg", "break", _break_at),
    "bl": _BLIST,
    "bc": Word("WinDbg, pwndbg", "delete", _all_or("delete")),
    "bd": Word("WinDbg, pwndbg", "disable", _all_or("disable")),
    "be": Word("WinDbg, pwndbg", "enable", _all_or("enable")),
    "ba": Word("WinDbg", "watch, awatch or break", _on_access),
    "g": Word("WinDbg", "continue", lambda rest: f"advance {_at(rest)}" if rest else "continue"),
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
    "register read": Word("lldb", "info registers"),
    "register write": Word("lldb", "set $REGISTER = VALUE", _registers_written),
    "memory read": Word("lldb", "hexdump, or x", _memory_read),
    "memory write": Word("lldb", "set {u8}", _memory_write),
    "memory find": Word("lldb", "find", _found_in_memory),
    "di": Word("lldb", "disassemble, or x/8i", _disassembled),
    "v": Word("lldb", "info args, info locals", _variables),
    "memory region": Word("lldb", "info mappings"),
    "breakpoint set": Word("lldb", "break", _breakpoint_set),
    "breakpoint list": Word("lldb", "info breakpoints"),
    "breakpoint delete": Word("lldb", "delete"),
    "breakpoint disable": Word("lldb", "disable"),
    "breakpoint enable": Word("lldb", "enable"),
    "watchpoint set": Word("lldb", "watch", _watchpoint_set),
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
    "frame variable": Word("lldb", "info args, info locals", _variables),
    "frame info": Word("lldb", "frame"),
    "frame select": Word("lldb", "frame"),
    "process launch": Word("lldb", "run"),
    "process continue": Word("lldb", "continue"),
    "process interrupt": Word("lldb", "interrupt"),
    "process kill": Word("lldb", "kill"),
    "process status": Word("lldb", "info program"),
    "image lookup": Word("lldb", "info symbol, info line", _lookup),
    "target variable": Word("lldb", "print"),
    "type lookup": Word("lldb", "ptype"),
    "expression": Word("lldb", "print", lambda rest: f"print {rest.removeprefix('-- ')}"),
    "expr": Word("lldb", "print", lambda rest: f"print {rest.removeprefix('-- ')}"),
    "settings set": Word("lldb", "set"),
    "settings show": Word("lldb", "show"),
    "command alias": Word("lldb", "alias", lambda rest: "alias " + " = ".join(rest.split(maxsplit=1))),
    "command source": Word("lldb", "source"),
    "script": Word("lldb", "python"),
}

_LINE = re.compile(r"\s*(\.?[A-Za-z_][\w-]*|\?\??|~)(?:\s+([A-Za-z_][\w-]*))?")
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
        name = f"{whole} {second}" if f"{whole} {second}" in near else near[0] if near and whole != first else ""
        if name and not taken(first, second or ""):
            return name, WORDS[name], line[match.end() :].strip()
    if (word := WORDS.get(first)) is not None and not taken("", first):
        return first, word, line[match.end(1) :].strip()
    return None


def lines(line: str, taken: Callable[[str, str], bool], guest: HasMemory) -> list[str]:
    """The line, or the lines that it is here where it begins with a word of another debugger's."""
    other = found(line, taken)
    if other is None:
        return [line]
    meant = other[1].line(other[2]).splitlines()
    if ALL_MEMORY not in meant[0]:
        return meant
    return [meant[0].replace(ALL_MEMORY, f"phys:{one.address:#x}, +{one.size:#x}") for one in guest.slots]
