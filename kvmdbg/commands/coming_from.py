"""docs/coming-from.md: what is typed in other debuggers, and what it is here.

A test types each row: what is typed there is accepted and gives what its equal gives. ``python -m
kvmdbg.commands.coming_from`` writes the page (`make docs`).
"""

from __future__ import annotations

from pathlib import Path

from kvmdbg.commands.other_words import INSTEAD, LIKE
from kvmdbg.record import record

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming-from.md"

GUEST = "guests/kernel-O0.elf"
"""The guest that the rows are typed into, with ``START`` before each."""
START = ("advance divide",)


@record
class Row:
    """``theirs`` is what is typed in the other debugger, ``ours`` the same here ("": just that), with a ``note``.

    ``refused``: ``theirs`` is another command here, or none; ``ours`` is what to type. ``setup`` are lines before it.
    ``once``: what comes out is not the same twice.
    """

    theirs: str
    ours: str = ""
    note: str = ""
    refused: bool = False
    setup: tuple[str, ...] = ()
    once: bool = False


def other(theirs: str, ours: str, note: str = "") -> Row:
    """What has another meaning here."""
    return Row(theirs, ours, note, refused=True)


GDB = (
    Row("break divide"),
    Row("b *0x1005ae"),
    Row("tbreak divide"),
    Row("break tasks.c:5"),
    Row("break divide if by == 3"),
    Row("info breakpoints", setup=("break divide",)),
    Row("condition 1 by == 3", setup=("break divide",)),
    Row("ignore 1 2", setup=("break divide",)),
    Row("disable 1", setup=("break divide",)),
    Row("delete 1", setup=("break divide",)),
    Row("enable once 1", setup=("break divide",)),
    Row("enable count 2 1", setup=("break divide",)),
    Row("enable delete 1", setup=("break divide",)),
    Row(
        "watch *(long*)$rsp",
        note="any number, any length; a write of the same value stops, too, unless `if $old != $new`",
    ),
    Row("rwatch *(long*)$rsp"),
    Row("run"),
    Row("start", note="to main, or to kmain or kernel_main where nothing is called main"),
    Row("continue", setup=("break count",)),
    Row("stepi"),
    Row("nexti"),
    Row("step"),
    Row("next"),
    Row("finish"),
    Row("until"),
    Row("advance count"),
    Row("x/4xw $sp"),
    Row("x/3i $pc"),
    Row("x/s 0x100000"),
    Row("print value"),
    Row("p/x $rax"),
    Row("output $rax"),
    Row('printf "%d\\n", value'),
    Row("set $rax = 5"),
    Row("set var by = 2"),
    Row("ptype struct task"),
    Row("whatis value"),
    Row("info registers rip"),
    Row("info all-registers rip"),
    Row("info locals"),
    Row("info args"),
    Row("backtrace"),
    Row("backtrace -frame-arguments none"),
    Row("info stack"),
    Row("frame 1"),
    Row("up"),
    Row("select-frame 1"),
    Row("up-silently"),
    Row("info frame"),
    Row("info frame 1"),
    Row("list divide"),
    Row("forward-search divide", setup=("list divide", "list 9,9")),
    Row("reverse-search static", setup=("list divide", "list 30,30")),
    Row("disassemble"),
    Row("info line divide"),
    Row("info symbol divide"),
    Row("display/i $pc"),
    Row("find 0x100000, +0x1000, 0xf4"),
    Row("dump memory m.bin 0x100000 0x100010"),
    Row("info threads", "info vcpus"),
    Row("thread 0", "vcpu 0", "vCPUs count from 0"),
    Row("info mem"),
    Row("maintenance info sections", "info symbols", refused=True),
    Row("monitor info mem", "info mem", "what QEMU's stub has behind monitor is a command"),
    Row("define twice\nprint $arg0 * 2\nend"),
    Row("alias xx = x/4xg"),
    Row("pipe info registers | head -1"),
    Row("with print pretty on -- print all[1]"),
    Row("set logging enabled off"),
    Row("python print(1)"),
    Row("save breakpoints b.txt", setup=("break divide",)),
    Row("shell echo a"),
    Row("catch io 0x3f8", note="only here"),
)

PWNDBG = (
    Row("vmmap", "info mappings"),
    Row("vmmap $sp", "info mappings $sp"),
    Row("nearpc 4", "x/4i $pc"),
    Row("pdisass 4", "x/4i $pc"),
    Row("regs", "info registers"),
    Row("context"),
    Row("contextwatch value", "display value"),
    Row("contextunwatch 1", "undisplay 1", setup=("display value",)),
    Row("ctx", "context"),
    Row("stack 4", "telescope $sp, 4"),
    Row("telescope $sp 4"),
    Row("hexdump $sp 32"),
    Row("xuntil 0x1005c2", "advance *0x1005c2"),
    Row("distance $sp $pc", "print/x (long)($pc) - (long)($sp)"),
    Row("xinfo $sp", "info symbol $sp\ntranslate $sp"),
    Row("search -x 554889e5", "find /x phys:0x0, +0x8000000, 554889e5"),
    Row("search -4 0x1005ae", "find /w phys:0x0, +0x8000000, 0x1005ae"),
    Row("search console", 'find phys:0x0, +0x8000000, "console"'),
    Row("db $sp 16", "x/16xb $sp"),
    Row("dd $sp 4", "x/4xw $sp"),
    Row("dq $sp 2", "x/2xg $sp"),
    Row("eb $sp 1 2", "set {u8}($sp) = 1\nset {u8}($sp + 1) = 2"),
    Row("ed $sp 7", "set {u32}($sp) = 7"),
    Row("bp divide", "break divide"),
    Row("bl", "info breakpoints"),
    Row("bc 1", "delete 1", setup=("break divide",)),
    Row("bd 1", "disable 1", setup=("break divide",)),
    Row("be 1", "enable 1", setup=("break divide",)),
    Row("ln $pc", "info symbol $pc"),
    Row("dt struct task", "ptype struct task"),
    Row("setflag zf 1", "set $zf = 1"),
    Row("patch $pc nop", 'asm $pc "nop"', refused=True),
    Row("entry", "starti", refused=True),
    Row("checksec", "info mappings", "the rights of each page", refused=True),
)

BOCHS = (
    Row("c", "continue", setup=("break count",)),
    Row("s", "step", "a line where source is known; stepi is one instruction"),
    other("p", "nexti", "p prints here"),
    Row("sreg", "info segments"),
    Row("creg", "info cr"),
    Row("dreg", "info debugregs"),
    other("r", "info registers", "r runs here; reg, regs and registers are Bochs's"),
    Row("regs", "info registers"),
    Row("reg", "info registers"),
    Row("fpu", "info fpu"),
    Row("mmx", "info fpu"),
    Row("xmm", "info vectors"),
    Row("info cpu", "info all-registers"),
    Row("info eflags", "info registers eflags"),
    Row("info idt"),
    Row("info gdt"),
    Row("info ldt"),
    Row("info tss"),
    Row("info tab", "info mappings"),
    Row("page 0x100000", "translate 0x100000"),
    Row("xp /2xw 0x100000", "x/2xw phys:0x100000"),
    Row("x /2xw 0x100000", "x/2xw 0x100000"),
    other("b 0x100000", "break phys:0x100000", "Bochs's b is a physical address, ours is linear"),
    Row("lb 0x100000", "break *0x100000"),
    Row("pb 0x100000", "break phys:0x100000"),
    Row("blist", "info breakpoints"),
    Row("bpd 1", "disable 1", setup=("break divide",)),
    Row("bpe 1", "enable 1", setup=("break divide",)),
    Row("d 1", "delete 1", setup=("break divide",)),
    other("watch w 0x5000", "watch 0x5000"),
    other("u /3", "x/3i $pc", "u is until here; disasm is Bochs's, too"),
    Row("disasm /3", "x/3i $pc"),
    Row("print-stack 3", "telescope $sp, 3"),
    Row("setpmem 0x5000 4 0x1234", "set {u32}phys:0x5000 = 0x1234"),
    Row("writemem m.bin 0x100000 16", "dump m.bin 0x100000 16"),
    Row("loadmem m.bin 0x5000", "restore m.bin binary 0x5000", setup=("dump m.bin 0x100000 16",)),
    Row("set $rax = 1"),
    Row("trace on", "trace insn on"),
    Row("modebp", "catch mode"),
    other("magic_break: enabled=1", "set magic-breakpoint on", "xchg bx, bx; in Bochs's configuration file"),
    other("crc 0x1000 0x1010", "checksum 0x1000 16"),
)

QEMU = (
    Row("info registers"),
    Row("info mem"),
    Row("info tlb", "info mappings"),
    Row("info mtree", "info memory"),
    Row("info pic"),
    Row("info lapic", refused=False, once=True),
    Row("info cpus", "info vcpus"),
    Row("info status", "info program"),
    Row("info qtree", "info devices", once=True),
    Row("info version", "show version"),
    Row("info snapshots", "snapshot list"),
    Row("x /2xw 0x100000", "x/2xw 0x100000"),
    Row("xp /2xw 0x100000", "x/2xw phys:0x100000"),
    Row("print $rax"),
    Row("sum 0x100000 16", "checksum phys:0x100000 16"),
    Row("sendkey a"),
    Row("nmi", once=True),
    Row("gva2gpa $pc", "translate $pc"),
    Row("cpu 0", "vcpu 0"),
    Row("savevm one", "snapshot save one", once=True),
    Row("loadvm one", "snapshot restore one", setup=("snapshot save one",)),
    Row("delvm one", "snapshot delete one", setup=("snapshot save one",)),
    Row("memsave 0x100000 16 m.bin", "dump m.bin 0x100000 16"),
    Row("pmemsave 0x100000 16 m.bin", "dump m.bin phys:0x100000 16"),
    Row("screendump s.png", "screen save s.png"),
    Row("cont", "continue", setup=("break count",)),
    Row("system_reset", "restart"),
    Row("quit"),
    other("info block", "info disks"),
    other("i /b 0x60", "info device i8042", "the debugger reads no ports: that would change devices"),
    other("o /b 0x80 1", "info devices"),
)

LLDB = (
    Row("re r rip", "info registers rip", "what is unambiguous may be shortened"),
    Row("v value", "print value"),
    Row("di -n divide", "disassemble divide"),
    Row("di -s $pc -c 2", "x/2i $pc"),
    Row("memory find -s console 0x100000 0x102000", 'find 0x100000, 0x102000, "console"'),
    Row("breakpoint set -n divide", "break divide"),
    Row("breakpoint set -a 0x100000", "break *0x100000"),
    Row("breakpoint set -f tasks.c -l 5", "break tasks.c:5"),
    Row("breakpoint set -n divide -c 'by == 3'", "break divide if by == 3"),
    Row("breakpoint list", "info breakpoints"),
    Row("breakpoint delete 1", "delete 1", setup=("break divide",)),
    Row("breakpoint disable 1", "disable 1", setup=("break divide",)),
    Row("b divide", "break divide"),
    Row("watchpoint set expression -w write -s 8 -- $rsp", "watch *(u64*)($rsp)"),
    Row("watchpoint set variable value", "watch value"),
    Row("watchpoint list", "info watchpoints"),
    Row("register read", "info registers"),
    Row("register read rip", "info registers rip"),
    Row("register write rax 5", "set $rax = 5"),
    Row("memory read $sp", "hexdump $sp, 32"),
    Row("memory read -c 2 -s 8 $sp", "x/2xg $sp"),
    Row("memory read/2xg $sp", "x/2xg $sp"),
    Row("memory write $sp 1 2", "set {u8}($sp) = 1\nset {u8}($sp + 1) = 2"),
    Row("memory region $sp", "info mappings $sp"),
    Row("thread backtrace", "backtrace"),
    Row("bt"),
    Row("thread list", "info vcpus"),
    Row("thread select 0", "vcpu 0"),
    Row("thread step-inst", "stepi"),
    Row("thread step-inst-over", "nexti"),
    Row("thread step-in", "step"),
    Row("thread step-over", "next"),
    Row("thread step-out", "finish"),
    Row("si", "stepi"),
    Row("ni", "nexti"),
    Row("frame variable", "info args\ninfo locals"),
    Row("frame variable value", "print value"),
    Row("frame select 1", "frame 1"),
    Row("frame info", "frame"),
    Row("image lookup -a $pc", "info symbol $pc"),
    Row("image lookup -n divide", "info line divide"),
    Row("image lookup -t 'struct task'", "ptype struct task", refused=True),
    Row("memory read -fx -c4 $sp", "x/4xw $sp"),
    Row("register read --all", "info all-registers", once=True),
    Row("source list -n divide", "list divide"),
    Row("expression -f x -- value", "print/x value"),
    Row("breakpoint set -r 'div.*'", "rbreak div.*"),
    Row("type lookup struct task", "ptype struct task"),
    Row("process launch", "run"),
    Row("process continue", "continue", setup=("break count",)),
    Row("process kill", "kill"),
    Row("process status", "info program"),
    Row("expression value + 1", "print value + 1"),
    Row("expr -- value", "print value"),
    Row("p value", "print value"),
    Row("disassemble"),
    other("disassemble -a $pc", "disassemble $pc"),
    Row("settings set radix 16", "set radix 16"),
    Row("settings show radix", "show radix"),
    Row("command alias pp print", "alias pp = print"),
    Row("script print(1)", "python print(1)"),
    Row("target variable all", "print all"),
    other(
        "type format add -f hex int",
        "print/x 255",
        "type is for the guest's keyboard; also type summary, …",
    ),
)

WINDBG = (
    Row("g", "continue", setup=("break count",)),
    Row("g count", "advance count"),
    Row("gu", "finish"),
    other("p", "nexti", "p prints here"),
    other("t", "stepi", "t is vcpu here, as thread is in gdb"),
    Row("bp divide", "break divide"),
    Row("bp 0x100000", "break *0x100000"),
    Row("bl", "info breakpoints"),
    Row("bc *", "delete", setup=("break divide",)),
    Row("bd 1", "disable 1", setup=("break divide",)),
    Row("be 1", "enable 1", setup=("break divide",)),
    Row("ba w8 $rsp", "watch *(u64*)($rsp)"),
    Row("ba r4 $rsp", "awatch *(u32*)($rsp)"),
    Row("ba e1 divide", "break divide"),
    Row("kb", "backtrace"),
    Row("kn 2", "backtrace 2"),
    other("k", "backtrace", "k is kill here, as in gdb"),
    other("r", "info registers", "r runs here, as in gdb"),
    Row("db $sp L10", "x/16xb $sp", "L counts in hexadecimal"),
    Row("dd $sp L4", "x/4xw $sp"),
    Row("dq $sp L2", "x/2xg $sp"),
    Row("dps $sp L4", "telescope $sp, 4"),
    Row("da 0x100000", "x/s 0x100000"),
    Row("eb $sp 1 2", "set {u8}($sp) = 1\nset {u8}($sp + 1) = 2"),
    Row("eq $sp 5", "set {u64}($sp) = 5"),
    other("u", "x/8i $pc", "u is until here, as in gdb"),
    Row("uf divide", "disassemble divide"),
    Row("ln $pc", "info symbol $pc"),
    Row("dt struct task", "ptype struct task"),
    Row("dv", "info locals"),
    Row("? 1 + 1", "print 1 + 1"),
    other(".formats 65", "p/t 65"),
    Row("!idt", "info idt", "other programs behind ! are the host's, as in gdb"),
    other("!dd 100000", "x/16xw phys:0x100000", "so with !db, !dq, !ed …; !dd if=a of=b is the host's dd"),
    Row("!pte $pc", "translate $pc"),
    Row(".echo a", "echo a\\n"),
    Row(".echo a", "echo a\\n"),
    Row("~", "info vcpus"),
    Row(".restart", "restart"),
    Row("q", "quit"),
)

TABLES = {
    "gdb": GDB, "Bochs": BOCHS, "QEMU's monitor": QEMU, "pwndbg and gef": PWNDBG, "lldb": LLDB, "WinDbg": WINDBG,
}  # fmt: skip

_HEAD = """\
# Coming from another debugger

This page is written from `kvmdbg/commands/coming_from.py` by `make docs`; a test types each row.

gdb's words win: what they mean in gdb they mean here. Words that only other debuggers have are taken too, and do what
stands beside them; `help WORD` says what that is. They are offered by no completion, and a command of your own or an
alias of that name wins. Addresses are linear (virtual) unless written `phys:ADDRESS`.

In **bold** is what is something else here, or nothing: type what stands beside it.
"""


def _code(text: str) -> str:
    return "<br>".join(f"`{line}`" for line in text.replace("|", "\\|").splitlines())


def page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for name, rows in TABLES.items():
        parts.append(f"\n## {name}\n\n| {name} | here | |\n| --- | --- | --- |\n")
        for row in rows:
            theirs = f"**{_code(row.theirs)}**" if row.refused else _code(row.theirs)
            parts.append(f"| {theirs} | {_code(row.ours) or 'the same'} | {row.note} |\n")
    parts.append("\n## More words\n\n| whose | word | here |\n| --- | --- | --- |\n")
    parts += [f"| {of} | {_code(name)} | {_code(means) or 'what follows it'} |\n" for name, (of, means) in LIKE.items()]
    parts.append("\n## What to do instead\n\n| whose | word | here |\n| --- | --- | --- |\n")
    said: dict[tuple[str, str], list[str]] = {}
    for name, answer in INSTEAD.items():
        said.setdefault(answer, []).append(_code(name))
    parts += [f"| {of} | {', '.join(names)} | {sentence} |\n" for (of, sentence), names in said.items()]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
