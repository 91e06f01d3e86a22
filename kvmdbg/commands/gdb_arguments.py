"""Words of other debuggers behind commands that kvmdbg has, too, but without these words: what to type instead.

They are looked at only where a line was refused: a symbol may be called ``thread``.
"""

from __future__ import annotations

import re

_POINTS = r"(t|h|th)?break"
_IN_FRONT = "only run and continue take &: {0} alone waits for the stop, tbreak PLACE and continue & do not"

_INSTEAD: tuple[tuple[str, str, str], ...] = (
    (_POINTS, r".*\b(thread|task|inferior)\s+\S+.*", "a breakpoint is for all vCPUs: break PLACE if $_thread == N"),
    (_POINTS, r".*-force-condition\b.*", "a condition must mean something now: break PLACE if CONDITION"),
    (r"(r|a)?watch", r".*\bmask\s+\S+", "a watchpoint has a length in place of a mask: watch ADDRESS LENGTH"),
    (r"(r|a)?watch", r".*\b(thread|task)\s+\S+", "a watchpoint is for all vCPUs: watch ADDRESS if $_thread == N"),
    ("continue", r"-a\b.*", "all vCPUs go on together: continue"),
    ("source", r"-[vs]\b.*", "source takes a FILE only; set trace-commands on, before it, shows each command"),
    (r"stepi?|nexti?|finish|until|advance", r".*&", _IN_FRONT),
    ("display", r"-\w.*\s--\s+(\S.*)", "it takes no options, nor does gdb's: display/FMT {1}, set print pretty on"),
    ("handle", r"(SIG\w+|all)\b.*", "a guest has no signals: catch exception, catch interrupt; help handle"),
    # WinDbg
    ("run", r"@?\$?([a-z]\w*)\s*=\s*(\S.*)", "a register is written by set ${1} = {2}"),
    ("run", r"@?\$?([a-z]\w*)", "registers are shown by info registers {1}"),
    ("until", r"@?(\S+)\s+[Ll]\s*(\d+)", "instructions are shown by x/{2}i {1}"),
    ("step", r"-b\s+(\S+)\s+[Ll]\??(?:0x)?([0-9a-f]+)\s+([0-9a-f]{1,2})",
     "memory is searched by find/b {1}, +0x{2}, 0x{3}"),
    ("step", r"(?:-\[?\w+\]?\s+)?(\S+)\s+[Ll]\??(?:0x)?([0-9a-f]+)\s+(\S.*)",
     "memory is searched by find {1}, +0x{2}, {3}"),
    (_POINTS, r"(\S+)\s+\".*\"", "what is run at a stop is told by commands, with lines up to end, behind {0} {1}"),
    ("kill", r"(\d+)", "the calls are shown by backtrace {1}"),
    ("dprintf", r"(@?\$?\w+)(?:\s+[Ll](\d+))?",
     'a place, a comma and a text are needed, as in {0} {1},"cx is %d\\n", $cx; '
     "telescope {1} shows pointers in memory"),
    ("print", r"poi\(@?\$?(\w+)\)", "what a pointer leads to is shown by print/x *(long*)(${1}) or *(long*)({1})"),
    ("info vcpus", r"\*.*", "vcpu N selects a vCPU, and backtrace shows its calls"),
    ("info vcpus", r"(\d+)\s*s?", "a vCPU is selected by vcpu {1}"),
    ("dump", r"(@?\$?\w+)(?:\s+[Ll]\d+)?", "UTF-16 text is shown by x/hs {1}; dump takes FILE START LENGTH"),
    # Bochs
    ("until", r"/\s*(\d+)\s*(\S*)", "instructions are shown by x/{1}i $pc, or x/{1}i ADDRESS"),
    ("until", r"(0x\w+)\s+(0x\w+)", "instructions are shown by disassemble {1},{2}"),
    ("watch", r"(?:r|read)\s+(\S+)(?:\s+\d+)?", "memory that is read is watched by rwatch {1}"),
    ("watch", r"(?:w|write)\s+(\S+)(?:\s+\d+)?", "watch {1} is all: rwatch is for what is read"),
    ("watch", r"stop|continue", "a watchpoint always stops; commands N with continue goes on"),
    ("delete", r"all\b.*", "delete alone takes all out"),
    (r"info [ig]dt", r"(\d+|0x\w+)(\s+\S+)?", "{0} shows all, and takes no number"),
    ("set", r"([er]?[a-d]x|[a-d][hl]|[er]?[sd]i|[er]?[sb]p|[er]ip|r\d+\w?|[c-gs]s|cr\d|eflags)\s*=\s*(\S.*)",
     "a register is written $NAME: set ${1} = {2}"),
    # QEMU's monitor
    ("info", r"/\w*\s+(\S+)", "the debugger reads no ports, which would change devices: info devices"),
    ("info registers", r"-a\b.*", "vcpu N selects a vCPU, and info registers shows its own"),
    # lldb
    (r"print|call|output|display", r"-f\s*(\w).*?--\s*(\S.*)", "a format stands behind the command: {0}/{1} {2}"),
    (_POINTS, r"(?:-n|--name)[\s=]+(\S+).*", "a name stands alone: {0} {1}"),
    (_POINTS, r"(?:-a|--address)[\s=]+(\S+).*", "an address is *ADDRESS: {0} *{1}"),
    ("break", r"(?:s|set)\s+(-.*)", "br is break alone, as in gdb: breakpoint set {1}"),
    ("break", r"(l|list|delete|del|disable|dis|enable|en)\b(.*)",
     "there is no place {1}, and br is break, as in gdb: info breakpoints, delete N, disable N, enable N"),
    ("disassemble", r"(-.*)", "lldb's options stand behind di: di {1}"),
    ("vcpu", r"(?:c|continue)\b.*", "the guest goes on by continue"),
    ("vcpu", r"(?:b|backtrace)\b.*", "the calls are shown by backtrace"),
    ("vcpu", r"(?:l|list)\b.*", "the vCPUs are listed by info vcpus"),
    ("vcpu", r"(?:plan|exception|step-scripted|siginfo|trace)\b.*", "info program tells of the last stop"),
    ("frame", r"(?:recognizer|diagnose)\b.*", "frame N selects a frame, info frame tells of it"),
    ("commands", r"(?:list|history|script|regex|unalias|container|delete)\b.*",
     "help lists the commands, show commands the history; define and alias make some, python runs files"),
    ("source", r"info\b.*", "info source and info line tell of the source"),
    (r"print|call|output|display", r"-r\s.*", "-r may be -raw-values or -repeats: print -repeats 5 -- EXPRESSION"),
)  # fmt: skip
"""The command, what is behind it, and the sentence; ``{0}`` in it is the command, ``{1}`` the first group."""


def instead(command: str, rest: str) -> str:
    """What to type in place of a refused line, "" where nothing is known of it."""
    for name, words, sentence in _INSTEAD:
        if re.fullmatch(name, command) and (match := re.fullmatch(words, rest.strip())):
            return f"{command}: {sentence.format(command, *match.groups(''))}"
    return ""
