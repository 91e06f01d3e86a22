"""An unmodified gdb, in every CPU mode, without any setting of its own."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from tests.e2e.conftest import Serve
from tests.e2e.debuggers import ROOT, TIME_SCALE, Gdb, ordered
from tests.e2e.terminal import Terminal

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]
COUNTER = ("--memory", "512M", "--load", "0x10000", "--entry", "0x1000:0", "guests/counter16.bin")


@pytest.fixture(scope="session")
def with_lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """guests/long64 with line numbers."""
    out = tmp_path_factory.mktemp("dwarf") / "long64.elf"
    flags = ["-g", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"]
    linker = ["-Wl,-T,guests/long64.ld"]
    subprocess.run(["gcc", *flags, *linker, "guests/long64.S", "-o", str(out)], cwd=ROOT, check=True)
    return out


def test_real_mode(gdb: Gdb, serve: Serve) -> None:
    said = gdb(
        serve("guests/boot16.bin"),
        "show architecture", "x/2i $pc", "break *0x7c16", "continue", "x/2i $pc", "stepi", "p/x $pc", "p $cx",
        "monitor info breakpoints", "delete", "watch *(short*)0x7c1c", "continue",
    )  # fmt: skip
    ordered(
        said, 'currently "i8086"', "0x7c00:\tcli", "xor    %ax,%ax", "Breakpoint 1, 0x00007c16",
        "mov    %ecx,0x7c1c", "0x7c1b:\tret", "0x00007c1b", "= 0x7c1b", "= 0", "Old value = 0", "New value = 1",
    )  # fmt: skip


def test_the_program_counter_is_linear(gdb: Gdb, serve: Serve) -> None:
    said = gdb(
        serve(*COUNTER), "p/x $pc", "p/x $cs", "p/x $cs_base", "p/x $ip", "x/2i $pc", "stepi", "p/x $ip",
        "set $pc = 0x10000", "p/x $ip", "set $pc = 0x30000",
    )  # fmt: skip
    ordered(said, "= 0x10000", "= 0x1000", "= 0x10000", "= 0x0", "=> 0x10000:\txor    %ax,%ax", "out    %ax,$0x10")
    ordered(said, "= 0x2", "= 0x0")
    assert "Could not write register" in said or "cannot be reached from CS base" in said


def test_the_mode_is_followed(gdb: Gdb, serve: Serve) -> None:
    said = gdb(
        serve("guests/modes.bin"),
        "break *0x7c26", "break *0x7c9b", "watch *(char*)0x9000", "show architecture",
        "continue", "show architecture", "x/i $pc", "p/x $eip", "stepi", "x/i $pc",
        "continue", "show architecture", "x/i $pc", "info registers r8 efer", "stepi", "info symbol $pc",
        "info breakpoints", "delete", "break start", "continue", "continue", "show architecture", "x/i $pc", "p/x $ip",
        before=("symbol-file guests/modes.elf",),
    )  # fmt: skip
    ordered(
        said, 'currently "i8086"', "Breakpoint 1, 0x00007c26 in prot32", 'currently "i386"', "mov    $0x10,%eax",
        "= 0x7c26", "=> 0x7c2b <prot32+5>:\tmov    %eax,%ds", "Breakpoint 2, 0x0000000000007c9b in long64",
        'currently "i386:x86-64"', "=> 0x7c9b <long64>:\tmov    $0x10,%eax", "r8 ", "[ LME LMA ]", "long64 + 5",
        "already hit 1 time", "already hit 1 time", "hw watchpoint", "halted", "Breakpoint 4, 0x00007c00 in start",
        'currently "i8086"', "=> 0x7c00 <start>:\tcli", "= 0x7c00",
    )  # fmt: skip
    assert "too long" not in said and "rejected" not in said


def test_following_can_be_switched_off(gdb: Gdb, serve: Serve) -> None:
    said = gdb(
        serve("guests/modes.bin"),
        "monitor gdbserver follow-mode off", "break *0x7c9b", "continue", "p/x $eip", "stepi", "p/x $eip",
    )  # fmt: skip
    ordered(said, "follow-mode is off", "Breakpoint 1, 0x00007c9b", "= 0x7c9b", "= 0x7ca0")
    assert "executing" not in said


def test_symbols_lines_and_frames(gdb: Gdb, serve: Serve, with_lines: Path) -> None:
    """The guest's own file is read through the stub; next is one exchange a line."""
    said = gdb(
        serve(str(with_lines)),
        "break func", "continue", "bt", "finish", "next", "step", "info line", "next", "step", "step", "bt", "until",
        "info line", "disassemble", "p (int)counter", "set var *(long*)&counter = 40", "p *(long*)&counter",
    )  # fmt: skip
    ordered(said, "Reading symbols from target:", "Breakpoint 1, func () at guests/long64.S", "push %rbp")
    ordered(said, "#0  func ()", "#1 ", "main ()", "inc %rcx", "jmp again", "call func")
    ordered(said, "Breakpoint 1, func ()", "mov %rsp, %rbp", "#0  func ()", "pop %rbp", "= 40")


REAL_MODE_C = """
__asm__(".code16gcc\\n.globl _start\\n_start: movl $0x7000, %esp; call main; 1: hlt; jmp 1b");
volatile int total;
__attribute__((noinline)) int add(int a, int b)
{
    int sum = a + b;
    total += sum;
    return sum;
}
int main(void)
{
    int r = 5;
    r = add(r, 2);
    r = add(r, 3);
    return r;
}
"""


def test_c_in_real_mode(gdb: Gdb, serve: Serve, tmp_path: Path) -> None:
    """What gcc -m16 makes has frames of 32 bits, which gdb knows."""
    source, elf, flat = (tmp_path / f"real.{ending}" for ending in ("c", "elf", "bin"))
    source.write_text(REAL_MODE_C)
    flags = "-m16 -g -O0 -ffreestanding -fno-pic -fno-stack-protector -nostdlib -static".split()
    linker = ["-Wl,-Ttext=0x7c00,--build-id=none,-e,_start", "-Wl,-m,elf_i386"]
    subprocess.run(["gcc", *flags, *linker, str(source), "-o", str(elf)], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", str(elf), str(flat)], check=True)
    said = gdb(
        serve("--mode", "real", "--load", "0x7c00", str(flat)),
        f"symbol-file {elf}", "show architecture", "break add", "continue", "backtrace", "next", "next", "info locals",
        "finish", "next", "continue", "delete", "finish", "step",
    )  # fmt: skip
    ordered(
        said, "i8086", "Breakpoint 1, add (a=5, b=2)", "#1", "main () at", "total += sum", "sum = 7",
        "main () at", "Value returned is $1 = 7", "r = add(r, 3)", "Breakpoint 1, add (a=7, b=3)",
        "Value returned is $2 = 10", "return r",
    )  # fmt: skip


def test_conditions_are_evaluated_here(gdb: Gdb, serve: Serve) -> None:
    """20,000 false ones, and gdb counts one hit: none of them reached it."""
    said = gdb(
        serve("guests/long64.elf"),
        "break func if $rcx == 20000", "continue", "p $rcx", "info breakpoints",
        "dprintf *0x10001c,\"again %d\\n\", 7", "tbreak *0x10001c if $rcx > 20003", "continue", "p $rcx",
    )  # fmt: skip
    ordered(
        said,
        "Breakpoint 1, 0x000000000010002a in func",
        "= 20000",
        "target evals",
        "breakpoint already hit 1 time",
        "again 7",
    )
    assert "Temporary breakpoint 3" in said


def test_printing_from_the_stub(gdb: Gdb, serve: Serve) -> None:
    said = gdb(
        serve("guests/long64.elf"),
        "set dprintf-style agent", 'dprintf *0x10001c,"again %d\\n",$rcx', "tbreak *0x100026 if $rcx == 3",
        "monitor gdbserver console on", "continue", "p $rcx",
    )  # fmt: skip
    ordered(said, "again 0\nagain 1\nagain 2\nagain 3\n", "Temporary breakpoint 2", "= 3")


def test_watchpoints(gdb: Gdb, serve: Serve) -> None:
    said = gdb(
        serve("guests/long64.elf"),
        "break func", "continue", "delete", "watch *(long*)&counter", "continue", "continue", "delete",
        "rwatch *(char*)&message", "awatch *(int*)&counter", "info watchpoints", "continue", "continue",
    )  # fmt: skip
    ordered(said, "Hardware watchpoint 2", "Old value = 0", "New value = 1", "Hardware read watchpoint 3")
    ordered(said, "acc watchpoint", "Hardware access (read/write) watchpoint 4", "Old value = 2", "New value = 3")


def test_memory_and_registers(gdb: Gdb, serve: Serve, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    said = gdb(
        serve("guests/long64.elf"),
        f"dump binary memory {dump} 0x100000 0x110000", "set {int}0x200000 = 0x12345678",
        f"restore {dump} binary 0x100000", "x/xw 0x200000", "find /b 0x200000, 0x200100, 0x56, 0x34",
        "set $rax = 0x1122334455667788", "p/x $rax", "p/x $eax", "set $xmm2.v4_int32[1] = 7", "p $xmm2.v4_int32",
        "p/x $cr0", "set $eflags |= 1", "p $eflags", "x/x 0x7fffffff0000", "compare-sections", "info mem",
    )  # fmt: skip
    ordered(said, "0x200000:\t0x12345678", "0x200001", "= 0x1122334455667788", "= 0x55667788", "{0, 7, 0, 0}")
    ordered(said, "= 0x80000011", "[ CF ", "Cannot access memory", "Section .text", "matched", "0x0000000008000000")
    assert dump.stat().st_size == 0x10000


def test_detach_reconnect_restart_kill(gdb: Gdb, serve: Serve) -> None:
    served = serve("guests/long64.elf")
    assert "detached" in gdb(served, "break func", "continue", "continue", "detach")
    said = gdb(served, "p $rcx > 100", "info breakpoints")
    ordered(said, "= 1", "No breakpoints")
    gdb(served, "kill")
    assert served.end() == 0


def test_restart(gdb: Gdb, serve: Serve) -> None:
    served = serve("guests/long64.elf")
    said = gdb(
        served, "file guests/long64.elf", "set remote exec-file guests/long64.elf", "break func", "continue", "p/x $pc",
        "run", "p $rcx", "p/x $pc", remote="extended-remote",
    )  # fmt: skip
    ordered(said, "Breakpoint 1, ", "= 0x10002a", "Breakpoint 1, ", "= 0", "= 0x10002a")


def test_a_guest_that_ends_itself(gdb: Gdb, serve: Serve, tmp_path: Path) -> None:
    guest = tmp_path / "guest.bin"
    guest.write_bytes(bytes.fromhex("90 b010 e6f4 f4"))
    served = serve("--load", "0x1000", "--device", "isa-debug-exit,iobase=0xf4", str(guest))
    said = gdb(served, "continue", "info threads", "break *0x1003", "run", "stepi", "kill", remote="extended-remote")
    ordered(said, "exited with code 041", "No threads", "Breakpoint 1, 0x00001003", "exited with code 041")
    assert served.end() == 33


def test_monitor(gdb: Gdb, serve: Serve) -> None:
    said = gdb(serve("guests/long64.elf"), "monitor help", "monitor info host", "monitor nonsense", "monitor p 6*7",
               "monitor set output-radix 16", "monitor p 255")  # fmt: skip
    ordered(said, "Breakpoints and watchpoints", "single step", "nonsense", "$1 = 42", "= 0xff")


def test_packets_of_qemus_stub(gdb: Gdb, serve: Serve) -> None:
    said = gdb(
        serve("guests/long64.elf"),
        "maintenance packet qqemu.sstep", "maintenance packet Qqemu.sstep=1", "maintenance packet qqemu.sstep",
        "monitor show step-interrupts", "monitor set step-interrupts off", "maintenance packet qqemu.sstep",
        "maintenance packet Qqemu.sstep=7", "maintenance packet qqemu.PhyMemMode",
    )  # fmt: skip
    ordered(said, '"0x3"', '"OK"', '"0x1"', "on", '"0x3"', 'received: "E', '"0"')


def test_pwndbg_and_gef_take_it_for_qemu(gdb: Gdb, serve: Serve) -> None:
    """What they ask to know a QEMU that runs a whole machine (qOffsets is for programs), and how it is mapped."""
    said = gdb(
        serve("guests/long64.elf"),
        "maintenance packet Qqemu.sstepbits", "maintenance packet qOffsets", "monitor info mem",
    )  # fmt: skip
    ordered(said, 'received: "ENABLE=1,NOIRQ=2,NOTIMER=4"', 'received: ""')
    assert "0000000000000000-0000000100000000 0000000100000000 -rw\n" in said
    assert "PG disabled\n" in gdb(serve("guests/boot16.bin"), "monitor info mem")


def test_two_vcpus(gdb: Gdb, serve: Serve) -> None:
    said = gdb(
        serve("--cpus", "2", "guests/long64.elf"),
        "info threads", "thread apply all p/x $cs", "thread 2", "p/x $cs_base", "thread 1", "stepi", "info threads",
    )  # fmt: skip
    ordered(said, "vCPU 0 runnable", "vCPU 1 uninitialized", "Thread 1.2", "= 0xf000", "Thread 1.1", "0xffff0000")


def test_frames_of_all_processors(gdb: Gdb, serve: Serve) -> None:
    """They were started from the MP tables."""
    said = gdb(
        serve("--cpus", "3", "--serial", "none", "guests/smp.elf"),
        "break count if started == 2 && id == 2", "continue", "thread apply all bt", "info threads", "delete",
        "thread 1", "stepi", "stepi",
    )  # fmt: skip
    ordered(said, "hit Breakpoint 1, count (id=2)", "Thread 3", "count (id=2)", "other_processor", "Thread 2")
    ordered(said, "Thread 2", "other_processor ()", "Thread 1", "boot_processor ()")
    ordered(said, "vCPU 0 runnable", "vCPU 1 runnable", "vCPU 2 runnable")


def test_an_interrupt_and_the_consoles_output(gdb: Gdb, serve: Serve) -> None:
    served = serve("guests/long64.elf")
    child = pexpect.spawn(gdb.program, ["-nx", "-q"], cwd=str(ROOT), encoding="utf-8", timeout=20 * TIME_SCALE)
    try:
        for line in ("set pagination off", "set confirm off", f"target remote {served.address}"):
            child.expect_exact("(gdb) ")
            child.sendline(line)
        child.expect_exact("(gdb) ")
        child.sendline("monitor gdbserver console on")
        child.expect_exact("console is on")
        child.expect_exact("(gdb) ")
        child.sendline("continue")
        child.expect_exact("long mode")
        child.sendintr()
        child.expect_exact("SIGINT")
        child.expect(r"0x00000000001000..")
        child.expect_exact("(gdb) ")
        child.sendline("kill")
        child.expect_exact("killed")
    finally:
        child.close(force=True)
    assert served.end() == 0


def test_a_second_one_is_told_who_is_there(gdb: Gdb, serve: Serve) -> None:
    served = serve("guests/long64.elf")
    with socket.create_connection(("127.0.0.1", int(served.port))) as first:
        host, port = first.getsockname()
        assert f"another debugger is attached, from {host}:{port}" in gdb(served)
    assert "0x0000000000100000" in gdb(served)


def test_detach_and_attach_again(gdb: Gdb, serve: Serve) -> None:
    served = serve("guests/long64.elf")
    said = gdb(
        served, "break func", "continue", "detach", "info threads", "shell sleep 1", "attach 1", "p $rcx > 10",
        "info threads", "stepi", "continue", "detach", "attach 1", "kill", remote="extended-remote",
    )  # fmt: skip
    ordered(said, "Breakpoint 1, ", "detached", "No threads", "SIGINT", "= 1", "Thread 1.1 (vCPU 0 runnable)")
    ordered(said, "= 1", "Breakpoint 1, ", "detached", "SIGINT", "killed")


def test_a_pipe(gdb: Gdb) -> None:
    """target remote | kvmdbg --gdb stdio"""
    pipe = f"target remote | {sys.executable} -m kvmdbg --gdb stdio guests/boot16.bin"
    words = [word for line in ("set remotetimeout 60", pipe, "x/i $pc", "kill") for word in ("-ex", line)]
    done = subprocess.run(
        [gdb.program, "-nx", "-batch", *words], cwd=ROOT, capture_output=True, text=True, timeout=40 * TIME_SCALE
    )
    assert "=> 0x7c00:\tcli" in done.stdout, done.stdout + done.stderr
    assert "killed" in done.stdout


def test_a_unix_socket(gdb: Gdb, serve: Serve, tmp_path: Path) -> None:
    served = serve("--gdb", f"unix:{tmp_path}/socket", "guests/long64.elf")
    assert served.address == f"{tmp_path}/socket"
    said = gdb(served, "break *0x10001c", "continue", "x/i $pc", "nexti", "nexti", "kill")
    ordered(said, "Breakpoint 1, 0x000000000010001c", "call ", "0x0000000000100021", "0x0000000000100024", "killed")
    assert served.end() == 0


def test_an_address_that_others_reach_is_warned_of(serve: Serve) -> None:
    served = serve("--gdb", "0.0.0.0:0", "guests/long64.elf")
    assert "Warning: whoever reaches 0.0.0.0:" in served.said
    assert "Warning" not in serve("guests/long64.elf").said


def test_the_shell_and_gdb_share_a_session(gdb: Gdb, shell: Callable[..., Terminal]) -> None:
    """A breakpoint of the shell's stops gdb, and the shell sees what gdb does."""
    terminal = shell("guests/long64.elf", columns=100)
    terminal.prompt("long")
    terminal.command("set context none", "long")
    terminal.command("break func if $rcx == 5", "long")
    terminal.send("gdbserver 0\r")
    terminal.wait("target remote 127.0.0.1:")
    address = re.search(r"target remote (\S+:\d+)", terminal.text)
    assert address
    said = gdb(address[1], "continue", "p $rcx", "break *0x10001c", "stepi", "continue", "continue")
    ordered(said, "breakpoint 1 at 0x100026", "= 5", "Breakpoint 1, 0x000000000010001c")
    terminal.wait("another debugger had let the guest run")
    terminal.wait("The debugger has gone.")
    terminal.command("info breakpoints", "running")  # gdb leaves a guest that runs
    assert "gdb" not in terminal.text  # its breakpoints went with it
    terminal.command("interrupt", "long")


def test_the_machine_interface(gdb: Gdb, serve: Serve) -> None:
    """What editors speak."""
    child = pexpect.spawn(gdb.program, ["-nx", "-q", "-i=mi"], cwd=str(ROOT), encoding="utf-8", timeout=20 * TIME_SCALE)
    child.setecho(False)
    served = serve("guests/long64.elf")
    try:
        child.expect_exact("(gdb)")
        for command, answer in (
            ("-gdb-set mi-async on", r"\^done"),
            (f"-target-select remote {served.address}", r"\^connected"),
            ("-break-insert -c $rcx==3 *0x100026", r'\^done,bkpt=\{number="1"'),
            ("-exec-continue", r'\*stopped,reason="breakpoint-hit",disp="keep",bkptno="1"'),
            ("-data-evaluate-expression $rcx", r'\^done,value="3"'),
            ("-data-read-memory-bytes 0x100000 4", r'contents="fabc6010"'),
            ("-data-disassemble -s 0x100026 -e 0x100028 -- 0", r'inst="push   %rbp"'),
            ("-break-delete 1", r"\^done"),
            ("-break-watch *(long*)0x100058", r"\^done,wpt="),
            ("-exec-continue", r'\*stopped,reason="watchpoint-trigger".*value=\{old="2",new="3"\}'),
            ("-break-delete 2", r"\^done"),
            ("-exec-continue", r"\*running"),
            ("-exec-interrupt", r'\*stopped,reason="signal-received",signal-name="SIGINT"'),
            ("-thread-info", r'name="vCPU 0 runnable"|details="vCPU 0|target-id="Thread 1.1'),
            ("-exec-step-instruction", r'\*stopped,reason="end-stepping-range"'),
            ("-target-detach", r"\^done"),
        ):
            child.sendline(command)
            child.expect(answer)
    finally:
        child.close(force=True)


# Protected mode at 0x1000: the local APIC on, INIT and SIPI to the second vCPU, then inc dword [0x9000] for ever;
# real mode at 0x8000: inc cx, mov [0x9004], cx for ever.
SMP = bytes.fromhex(
    "c705f000e0fe ff010000 c7051003e0fe 00000001 c7050003e0fe 00450000 c7050003e0fe 08460000 ff0500900000 ebf8"
)
SECOND = bytes.fromhex("41 890e0490 ebf9")


def test_non_stop(gdb: Gdb, serve: Serve, tmp_path: Path) -> None:
    """Two vCPUs, each of which runs and stops by itself."""
    guest = tmp_path / "smp.bin"
    guest.write_bytes(SMP.ljust(0x7000, b"\0") + SECOND)
    served = serve("--cpus", "2", "--mode", "prot", "--load", "0x1000", str(guest))
    child = pexpect.spawn(gdb.program, ["-nx", "-q", "-i=mi"], cwd=str(ROOT), encoding="utf-8", timeout=20 * TIME_SCALE)
    child.setecho(False)
    running = r'\*running,thread-id="{}"'
    stopped = r'\*stopped,[^\n]*thread-id="{}",stopped-threads=\["{}"\]'
    try:
        child.expect_exact("(gdb)")
        for command, *answers in (
            ("-gdb-set mi-async on", r"\^done"),
            ("-gdb-set non-stop on", r"\^done"),
            (f"-target-select remote {served.address}", r"\^connected", stopped.format(2, 2)),
            ("-exec-step-instruction --thread 1", r'addr="0x0000100a"[^\n]*thread-id="1",stopped-threads=\["1"\]'),
            ("-break-insert *0x1028", r"\^done,bkpt="),
            ("-exec-continue --thread 2", running.format(2)),
            ("-exec-continue --thread 1", running.format(1), r'bkptno="1"[^\n]*thread-id="1",stopped-threads=\["1"\]'),
            ("-thread-info", r'id="1",[^\n]*state="stopped",[^\n]*id="2",[^\n]*state="running"'),
            ("-exec-interrupt --thread 2", r"\^done", r'signal-name="0"[^\n]*thread-id="2",stopped-threads=\["2"\]'),
            ("-exec-step-instruction --thread 2", r'addr="0x0000800[015]"[^\n]*thread-id="2",stopped-threads=\["2"\]'),
            ("-exec-continue --thread 2", running.format(2)),
            ("-break-delete 1", r"\^done"),  # while the second runs
            ("-exec-next-instruction --thread 1", r'addr="0x0000102e"[^\n]*thread-id="1",stopped-threads=\["1"\]'),
            ("-break-insert -t -p 2 *0x8001", r"\^done,bkpt="),  # and one that it comes to
            (r"-thread-select 1", r'\*stopped,reason="breakpoint-hit",disp="del"[^\n]*stopped-threads=\["2"\]'),
            ("-exec-continue --all", running.format("[^\n]*")),
            (
                "-exec-interrupt --all",
                r"\^done",
                r"\*stopped,[^\n]*stopped-threads=",
                r"\*stopped,[^\n]*stopped-threads=",
            ),
            ("-thread-info", r'id="1",[^\n]*state="stopped",[^\n]*id="2",[^\n]*state="stopped"'),
            ("-target-detach", r"\^done"),
        ):
            child.sendline(command)
            for answer in answers:
                child.expect(answer)
    finally:
        child.close(force=True)
