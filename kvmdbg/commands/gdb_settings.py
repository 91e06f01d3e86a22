"""gdb's settings that its users' scripts have and kvmdbg has no use for: they are taken, and change nothing.

What would change the meaning of the commands that follow is refused where the value is not what kvmdbg does anyhow;
what is only about how much is shown is not.
"""

from __future__ import annotations

from kvmdbg.errors import UsageError

#: The names that gdb 13's ``help set`` lists, those left out that kvmdbg has itself or that are not about debugging.
IGNORED = frozenset(
    """
    ada agent annotate architecture args auto-connect-native-target auto-load auto-solib-add backtrace
    basenames-may-differ breakpoint can-use-hw-watchpoints case-sensitive charset check circular-trace-buffer code-cache
    coerce-float-to-double compile-args compile-gcc complaints cp-abi cwd data-directory dcache debug
    debug-file-directory debuginfod default-collect demangle-style detach-on-fork disable-randomization
    disassemble-next-line disassembler-options disconnected-dprintf disconnected-tracing displaced-stepping
    dprintf-channel dprintf-function dprintf-style dump-excluded-mappings editing endian environment exec-direction
    exec-done-display exec-file-mismatch exec-wrapper extended-prompt extension-language filename-display
    follow-exec-mode follow-fork-mode fortran frame-filter gnutarget guile host-charset index-cache
    inferior-tty interactive-mode language libthread-db-search-path logging max-completions
    max-user-call-depth max-value-size may-call-functions may-insert-breakpoints may-insert-fast-tracepoints
    may-insert-tracepoints may-interrupt may-write-memory may-write-registers mem mi-async mpx multiple-symbols non-stop
    observer opaque-type-resolution osabi overload-resolution print python range-stepping ravenscar record remote
    remotecache remotetimeout schedule-multiple scheduler-locking script-extension serial solib-absolute-prefix
    solib-search-path source stack-cache startup-quietly startup-with-shell step-mode stop-on-solib-events
    struct-convention substitute-path suppress-cli-notifications sysroot target-async target-charset
    target-file-system-kind target-wide-charset tcp tdesc trace-buffer-size trace-notes trace-stop-notes
    trace-user trust-readonly-sections tty tui unwind-on-terminating-exception unwindonsignal use-coredump-filter
    use-deprecated-index-sections verbose watchdog write
    """.split()
)
OFF = ("off", "0", "no", "disable")
ON = ("on", "1", "yes", "enable", "")
#: What one of them would change that kvmdbg does in one way only: the values that say this way, and what to type else.
KEPT: dict[str, tuple[tuple[str, ...], str]] = {
    "args": (("",), "a guest has none; --append gives a kernel its command line at the start"),
    "backtrace limit": (("unlimited", "0"), "backtrace COUNT shows so many"),
    "backtrace past-entry": (ON, "backtrace COUNT shows so many"),
    "backtrace past-main": (ON, "backtrace COUNT shows so many"),
    "breakpoint auto-hw": (ON, "set breakpoint-hold says how breakpoints are held"),
    "case-sensitive": (("on", "auto"), "names keep their case; info functions and info variables take (?i)NAME"),
    "charset": (("auto", "ascii", "utf-8"), "texts are shown as ASCII, other bytes as \\ooo; x/hs and x/ws are wider"),
    "cwd": (("",), "a guest has no folder; cd FOLDER changes kvmdbg's"),
    "debug-file-directory": (("/usr/lib/debug",), "symbol-file FILE reads the debug information of a file"),
    "disassemble-next-line": (("off", "0", "no", "disable", "auto"), "display/i $pc, or set context code, shows it"),
    "endian": (("little", "auto"), ""),
    "environment": ((), "a guest has none; --append gives a kernel its command line at the start"),
    "exec-direction": (("forward",), "snapshot save NAME keeps a state, snapshot restore NAME goes back to it"),
    "extended-prompt": ((), "set prompt TEXT"),
    "inferior-tty": (("",), "--serial FILE says at the start where the serial port goes"),
    "language": (("auto", "local", "unknown", "c", "c++", "asm", "minimal", "rust"), "expressions are C's"),
    "max-value-size": (("unlimited",), "set print elements COUNT bounds what is shown"),
    "may-call-functions": (ON, "a function is called only where an expression has a call"),
    "may-insert-breakpoints": (ON, ""),
    "may-interrupt": (ON, ""),
    "may-write-memory": (ON, ""),
    "may-write-registers": (ON, ""),
    "multiple-symbols": (("all",), "break FILE:FUNCTION means one of them, break FUNCTION all"),
    "non-stop": (OFF, "all vCPUs stop together"),
    "observer": (OFF, ""),
    "overload-resolution": (ON, ""),
    "scheduler-locking": (("off", "replay", "step"), "all vCPUs go on together; step and stepi step the chosen one"),
    "step-mode": (OFF, "stepi goes into functions without lines, step goes over them"),
    "stop-on-solib-events": (("0", ""), "break FUNCTION, with set breakpoint pending on where its symbols come later"),
    "substitute-path": ((), "directory FOLDER finds sources that have moved, by the ends of their paths"),
    "target-charset": (("auto", "ascii", "utf-8"), "texts are shown as ASCII, other bytes as \\ooo"),
    "trust-readonly-sections": (OFF, "memory is always read from the guest"),
    "write": (OFF, "set {u8}ADDRESS = VALUE changes the guest's memory, no file"),
}
#: Those of KEPT that are only about what is shown.
SHOWN = frozenset(
    ("backtrace limit", "backtrace past-entry", "backtrace past-main", "disassemble-next-line", "substitute-path")
)


def near(words: str) -> list[str]:
    """The names of IGNORED that a word is, or begins."""
    return [words] if words in IGNORED else [name for name in IGNORED if name.startswith(words)]


def kept_of(text: str) -> tuple[str, str] | None:
    """The row of KEPT that ``NAME VALUE`` is about, and the value; the last word of a name may be begun only."""
    for name in KEPT:
        first, _, second = name.partition(" ")
        words = text.split()
        if not words or words[0] != first or (second and (len(words) < 2 or not second.startswith(words[1]))):
            continue
        return name, " ".join(words[2 if second else 1 :])
    return None


def ignored(text: str) -> str | None:
    """The setting that ``set TEXT`` names, wholly or by a beginning that no other has; None: it is none of these.

    "" where kvmdbg does just that anyhow. UsageError where it does something else than what is asked for.
    """
    word, _, value = text.partition(" ")
    value = value.strip()
    if value.startswith(("=", "+=", "-=", "|=", "&=", "^=", "*=", "/=")) and not value.startswith("=="):
        return None  # an assignment to a variable of that name
    found = near(word)
    if len(found) != 1:
        return None
    (name,) = found
    if (kept := kept_of(f"{name} {value}")) is not None:
        name, wanted = kept
        same, instead = KEPT[name]
        if wanted.lower() in same:
            return ""
        if name in SHOWN:
            return name
        only = f"kvmdbg has only {same[0]}" if same and same[0] else "kvmdbg has nothing of the kind"
        raise UsageError(f"set {name} {wanted}".strip() + f": {only}" + (f"; {instead}" if instead else ""))
    several = name in ("debug", "print", "remote", "style", "tui")
    return f"{name} {value.split(' ')[0]}".strip() if several else name


def no_use(name: str) -> str:
    """What is said of a setting that ``ignored`` has given."""
    why = KEPT[name][1] if name in SHOWN else "gdb's settings are taken so that its scripts work"
    return f"set {name} changes nothing here: {why}."


def told(text: str) -> str | None:
    """What ``show TEXT`` says of one of these; None: it is none of them."""
    found = near(text.split()[0])
    if len(found) != 1:
        return None
    rest = text.split()[1:]
    if (kept := kept_of(" ".join([*found, *rest]))) is not None:
        same, instead = KEPT[kept[0]]
        value = f"is always {same[0]}" if same and same[0] else "is a setting of gdb's that kvmdbg has not"
        return f"{kept[0]} {value}" + (f": {instead}." if instead else ".")
    return f"{' '.join([*found, *rest])} is a setting of gdb's; it changes nothing here."
