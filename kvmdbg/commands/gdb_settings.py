"""gdb's settings that its users' scripts have and kvmdbg has no use for: they are taken, and change nothing.

What would change the meaning of the commands that follow is refused where the value is not what kvmdbg does anyhow.
"""

from __future__ import annotations

from kvmdbg.errors import UsageError

#: The names that gdb 13's ``help set`` lists, those left out that kvmdbg has itself or that are not about debugging.
IGNORED = frozenset(
    """
    ada agent annotate architecture args auto-connect-native-target auto-load auto-solib-add backtrace
    basenames-may-differ breakpoint can-use-hw-watchpoints case-sensitive charset check circular-trace-buffer code-cache
    coerce-float-to-double compile-args compile-gcc complaints cp-abi cwd data-directory dcache debug
    debug-file-directory debuginfod default-collect demangle-style detach-on-fork directories disable-randomization
    disassemble-next-line disassembler-options disconnected-dprintf disconnected-tracing displaced-stepping
    dprintf-channel dprintf-function dprintf-style dump-excluded-mappings editing endian environment exec-direction
    exec-done-display exec-file-mismatch exec-wrapper extended-prompt extension-language filename-display
    follow-exec-mode follow-fork-mode fortran frame-filter gnutarget guile host-charset index-cache
    inferior-tty input-radix interactive-mode language libthread-db-search-path logging max-completions
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
#: Of these only the values that say what kvmdbg does.
KEPT = {
    "endian": ("little", "auto"),
    "exec-direction": ("forward",),
    "input-radix": ("10", "0xa"),
    "language": ("auto", "local", "unknown", "c", "c++", "asm", "minimal", "rust"),
    "may-insert-breakpoints": ON,
    "may-interrupt": ON,
    "may-write-memory": ON,
    "may-write-registers": ON,
    "non-stop": OFF,
    "observer": OFF,
    "write": OFF,
}


def ignored(text: str) -> str | None:
    """The setting that ``set TEXT`` names, wholly or by a beginning that no other has; None: it is none of these.

    UsageError where kvmdbg does something else than what it asks for.
    """
    word, _, value = text.partition(" ")
    value = value.strip()
    if value.startswith(("=", "+=", "-=", "|=", "&=", "^=", "*=", "/=")) and not value.startswith("=="):
        return None  # an assignment to a variable of that name
    near = [word] if word in IGNORED else [name for name in IGNORED if name.startswith(word)]
    if len(near) != 1:
        return None
    (name,) = near
    if name in KEPT and value.lower() not in KEPT[name]:
        raise UsageError(f"set {name} {value}: kvmdbg has only {KEPT[name][0]}")
    return name
