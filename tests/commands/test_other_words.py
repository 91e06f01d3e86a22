"""Lines of other debuggers, and the lines that they are here: without a guest."""

from __future__ import annotations

import pytest

from kvmdbg.commands import of_others
from kvmdbg.commands.registry import REGISTRY
from kvmdbg.errors import UsageError


class NoMemory:
    slots = ()


def ours(line: str) -> list[str]:
    return of_others.lines(line, lambda parent, name: name in REGISTRY.names(parent), NoMemory())


@pytest.mark.parametrize(
    ("theirs", "here"),
    [
        ("memory read -fx -c4 $sp", "x/4xw $sp"),
        ("memory read --format x --count 4 --size 8 $sp", "x/4xg $sp"),
        ("memory read --size=8 --count=2 -- -8", "x/2xg -8"),
        ("memory read -fi -c3 $pc", "x/3i $pc"),
        ("memory read -f hex -c 2 $sp", "x/2xw $sp"),
        ("memory write -s 8 $sp 5", "set {u64}($sp) = 5"),
        ("register read -a", "info all-registers"),
        ("register read -f x rax", "print/x $rax"),
        ("register read/x rax", "print/x $rax"),
        ("register write rax = 5", "set $rax = 5"),
        ("breakpoint set -r 'c.*t'", "rbreak c.*t"),
        ("breakpoint set --name=count --one-shot true", "tbreak count"),
        ("breakpoint set -H -n count -c 'by == 3'", "hbreak count if by == 3"),
        ("image lookup -rn coun", "info functions coun"),
        ("image lookup -v -a $pc", "info symbol $pc"),
        ("image lookup -s count", "info address count"),
        ("di -s $pc -e $pc+8", "disassemble $pc,$pc+8"),
        ("di -b -n count", "disassemble/r count"),
        ("di -m", "disassemble/s"),
        ("di -p -c 3", "x/3i $pc"),
        ("source list", "list"),
        ("source list -n count", "list count"),
        ("source list -f tasks.c -l 5", "list tasks.c:5"),
        ("source list -a $pc", "list *$pc"),
        ("fr v", "info args\ninfo locals"),
        ("frame variable -f x by", "print/x by"),
        ("expr -f x -- by", "print/x by"),
        ("expr -by", "print -by"),
        ("pb *0x1000", "break phys:0x1000"),
        ("!idt", "info idt"),
        ("!echo idt", "!echo idt"),
        (".echo a b", "echo a b\\n"),
        ("target variable all", "print all"),
        ("type format c:", "type format c:"),
        ("type summary of the day", "type summary of the day"),
        ("!dd if=/dev/zero of=disk.img", "!dd if=/dev/zero of=disk.img"),
        ("!du -sh .", "!du -sh ."),
        ("!ed notes.txt", "!ed notes.txt"),
        ("!id", "!id"),
        ("!make", "!make"),
        ("dd @rsp L4", "x/4xw $rsp"),
        ("ba w4 @rsp", "watch *(u32*)($rsp)"),
    ],
)
def test_arguments(theirs: str, here: str) -> None:
    assert ours(theirs) == here.split("\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("memory read -t int $sp", "memory read takes -c, -f, -s here, not -t"),
        ("memory read -s 3 $sp", "a size of 1, 2, 4 or 8, not 3"),
        ("memory read -f q $sp", "there is no format q here"),
        ("memory read -c", "-c needs a value"),
        ("memory write -i f $sp", "memory write takes -s here, not -i"),
        ("breakpoint set -n count -i 3", "here, not -i"),
        ("di -l -x", "here, not -x"),
        ("expr -i 0 -- by", "here, not -i"),
        ("target variable", "a variable"),
        ("breakpoint name list", "break PLACE"),
        ("type summary add -s x task", "print -pretty"),
        ("type format add --format hex int", "type format is lldb's: print -pretty"),
        ("type filter list", "type filter is lldb's"),
        ("type category enable system", "type category is lldb's"),
        ("type synthetic add -l a.B task", "type synthetic is lldb's"),
        ("!dd 1000", "!dd is an extension of WinDbg's: x/16xw phys:ADDRESS shows physical memory; shell dd runs"),
        ("!db", "x/16xw phys:ADDRESS"),
        ("!dq [c] 0x1000 L4", "x/16xw phys:ADDRESS"),
        ("! dc @rsp", "x/16xw phys:ADDRESS"),
        ("!ed 1000 5", "set {u32}phys:ADDRESS = VALUE"),
        ("!id 60", "reads and writes no ports"),
        ("!uf 1000", "without ! uf is taken here; shell uf runs a program of the host"),
        ("!process 0 0", "kvmdbg knows no Windows"),
    ],
)
def test_options_that_are_not_here(line: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        ours(line)
    assert said in str(error.value)
