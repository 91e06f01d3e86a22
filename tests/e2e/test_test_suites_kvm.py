"""What test suites of hypervisors and unikernels use: QEMU's test device with a kernel in the manner of
kvm-unit-tests, and a guest for Solo5's hvt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.core.session import Session
from kvmdbg.engine.stops import BreakpointStop, ExitedStop, ReplayedStop
from kvmdbg.errors import LoadError, UsageError
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

ROOT = Path(__file__).resolve().parents[2]
HVT = ROOT / "guests/hvt.elf"

UNIT_TEST = r"""
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long u64;
static void outb(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static void outw(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static void outl(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static u8 inb(u16 port) { u8 value; __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port)); return value; }
static u32 inl(u16 port) { u32 value; __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port)); return value; }

static int failed;
static volatile int interrupts;
static void say(const char *text) { while (*text) outb(0x3f8, *text++); }
static void report(const char *what, int pass)
{
    failed |= !pass;
    say(pass ? "PASS: " : "FAIL: ");
    say(what);
    say("\n");
}
static u64 fw_cfg(u16 key, int size)
{
    u64 value = 0;
    outw(0x510, key);
    for (int n = 0; n < size; n++)
        value |= (u64)inb(0x511) << 8 * n;
    return value;
}

static struct { u16 low, selector; u8 ist, type; u16 middle; u32 high, zero; } idt[256] __attribute__((aligned(16)));
__attribute__((interrupt)) static void on_irq(void *frame)
{
    interrupts++;
    outb(0x2005, 0);
    outb(0x20, 0x20);
}

void _start(void)
{
    struct { u16 limit; u64 base; } __attribute__((packed)) idtr = {sizeof idt - 1, (u64)idt};
    u64 entry = (u64)on_irq;
    volatile u32 *memory = (u32 *)0xff000000ul;
    report("the number of vCPUs", fw_cfg(5, 2) == 1);
    report("the size of memory", fw_cfg(3, 8) == 64 << 20);
    outl(0xe0, 0x12345678);
    outb(0xe2, 0x99);
    report("ports keep values", inl(0xe0) == 0x12995678);
    memory[5] = 0xcafe;
    report("memory of the device", memory[5] == 0xcafe && memory[4] == 0);
    outl(0xe4, (u32)(u64)idt);
    idt[0x25].low = entry, idt[0x25].middle = entry >> 16, idt[0x25].high = entry >> 32;
    idt[0x25].selector = 8, idt[0x25].type = 0x8e;
    __asm__ volatile("lidt %0" : : "m"(idtr));
    outb(0x20, 0x11), outb(0x21, 0x20), outb(0x21, 4), outb(0x21, 1), outb(0x21, 0xdf);
    __asm__ volatile("sti");
    outb(0x2005, 1);
    for (int n = 0; n < 1000 && !interrupts; n++)
        __asm__ volatile("nop");
    report("an interrupt line", interrupts == 1);
    outl(0xf4, failed);
    for (;;)
        __asm__ volatile("hlt");
}
"""
SUITE = ("pc-testdev", "isa-debug-exit,iobase=0xf4,iosize=4")


def test_a_kernel_in_the_manner_of_kvm_unit_tests(kvm_guest: Guests, time_scale: float) -> None:
    dbg = kvm_guest(c=UNIT_TEST, devices=SUITE, memory="64M")
    stop = dbg.run(timeout=20 * time_scale)
    assert dbg.output.decode().splitlines() == [
        f"PASS: {what}"
        for what in (
            "the number of vCPUs",
            "the size of memory",
            "ports keep values",
            "memory of the device",
            "an interrupt line",
        )
    ]
    assert isinstance(stop, ExitedStop) and stop.status == 1


START = r"""
        .section .init, "ax"
        .long 0x1BADB002, 0, -0x1BADB002
        .code32
        .globl start
start:  mov $stack, %esp
        mov $directories + 7, %eax
        mov $pdpt, %edi
1:      mov %eax, (%edi)
        add $4096, %eax
        add $8, %edi
        cmp $pdpt + 32, %edi
        jb 1b
        mov $0x87, %eax
        mov $directories, %edi
2:      mov %eax, (%edi)
        add $0x200000, %eax
        add $8, %edi
        cmp $directories + 4 * 4096, %edi
        jb 2b
        movl $pdpt + 7, pml4
        lgdt gdtr
        mov $0x620, %eax
        mov %eax, %cr4
        mov $pml4, %eax
        mov %eax, %cr3
        mov $0xc0000080, %ecx
        rdmsr
        bts $8, %eax
        wrmsr
        mov %cr0, %eax
        bts $31, %eax
        mov %eax, %cr0
        ljmpl $8, $long
        .code64
long:   mov $16, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        mov $0xfee00020, %eax
        mov (%rax), %eax
        shr $24, %eax
        jnz 3f
        call _start
3:      hlt
gdt:    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr:   .word 23
        .quad gdt
        .bss
        .align 4096
pml4:   .skip 4096
pdpt:   .skip 4096
directories: .skip 4 * 4096
        .skip 8192
stack:
"""


def built(folder: Path) -> str:
    """The same as kvm-unit-tests build theirs: 64-bit code in a multiboot file that says to be for i386."""
    (folder / "start.S").write_text(START)
    (folder / "main.c").write_text(UNIT_TEST)
    script = "SECTIONS { . = 4M; .text : { *(.init) *(.text*) *(.rodata*) *(.data*) } .bss : { *(.bss*) } }"
    (folder / "flat.lds").write_text(script)
    flags = (
        "-m64 -O1 -ffreestanding -mno-red-zone -mgeneral-regs-only -fno-pic -fno-stack-protector -fcf-protection=none"
    )
    link = "-nostdlib -static -Wl,-T,flat.lds,--build-id=none,-e,start,-n,--no-warn-rwx-segments,-z,noexecstack"
    for command in (
        f"gcc {flags} {link} -o test.elf start.S main.c",
        "objcopy -O elf32-i386 test.elf test.flat",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, timeout=60)
    return str(folder / "test.flat")


def test_a_multiboot_file_from_the_command_line(tmp_path: Path) -> None:
    devices = [word for text in SUITE for word in ("--device", text)]
    command = [sys.executable, "-m", "kvmdbg", "--batch", "--memory", "64M", *devices, "--run", built(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout.count("PASS: ") == 5 and "FAIL" not in done.stdout, done
    assert done.returncode == 1


# --- Solo5's hvt -------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> str:
    path = tmp_path / "disk.img"
    path.write_bytes(b"sector 0\n".ljust(512, b"\0") + bytes(7 * 512))
    return str(path)


SAID = "Hello from hvt: one two\n64 MiB, disk of 8 sectors\nsector 0\ndone\n"


def test_a_unikernel_from_the_command_line(disk: str) -> None:
    command = [
        sys.executable,
        "-m",
        "kvmdbg",
        "--batch",
        "--disk",
        disk,
        "--memory",
        "64M",
        "--append",
        "one two",
        "--run",
    ]
    done = subprocess.run([*command, str(HVT)], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(SAID) and done.returncode == 7


def opened(disk: str) -> Session:
    return kvmdbg.open(HVT, disks=[disk], memory="64M", cmdline="one two", machine="hvt")


def test_a_unikernel_is_debugged_as_any_guest(disk: str, time_scale: float) -> None:
    with opened(disk) as dbg:
        assert {one.name for one in dbg.devices} == {"disks", "uart", "time", "hvt"}
        say = dbg.break_at("say")
        stop = dbg.run(timeout=20 * time_scale)
        assert isinstance(stop, BreakpointStop) and dbg.memory.read(dbg.regs.rdi, 15) == b"Hello from hvt:"
        say.enabled = False
        dbg.snapshots.save("begun")
        for _ in range(2):
            stop = dbg.run(timeout=20 * time_scale)
            assert isinstance(stop, ExitedStop) and stop.status == 7 and dbg.output.decode() == SAID
            sector = dbg.machine.board.disks.hard_disks[0].read(1, 1)
            assert sector.startswith(b"Wector 0\n")
            dbg.snapshots.restore("begun")
            assert dbg.machine.board.disks.hard_disks[0].read(1, 1) == bytes(512) and not dbg.output


def test_its_run_is_recorded_and_given_back(disk: str, time_scale: float) -> None:
    """With the wall time that it was told, and what devices have put into its memory."""
    with opened(disk) as dbg:
        with dbg.record() as log:
            assert isinstance(dbg.run(timeout=20 * time_scale), ExitedStop)
        dbg.restart()
        assert isinstance(dbg.replay(log), ReplayedStop)


def test_what_hvt_does_not_take(disk: str) -> None:
    with pytest.raises(LoadError, match="declares the block device disk"):
        kvmdbg.open(HVT)
    with pytest.raises(UsageError, match="is no Solo5 unikernel for hvt"):
        kvmdbg.open(ROOT / "guests/long64.elf", machine="hvt")
