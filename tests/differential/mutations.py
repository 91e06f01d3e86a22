"""Does the proof find a fault that is put back? Each is, in a copy of the package, and the proof runs on the copy.

    python -m tests.differential.mutations [NAME ...]

Prints after how many programs each was found; exit status 1 when one was not within its count.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COUNT = 3000
"""The bar of the proof; ``options`` make most found within 60."""
SHOWN = re.compile(r"^DIFFERS: seed (\d+), ([\w-]+): (.*)", re.MULTILINE)


@dataclass(frozen=True)
class Mutation:
    """``old`` stands once in ``file`` and becomes ``new``; ``options`` are for the proof, to come to it sooner."""

    name: str
    file: str
    old: str
    new: str
    options: tuple[str, ...] = ()


MUTATIONS = (
    Mutation(
        "steps clear the guest's own trap flag",
        "engine/single_step.py",
        "        if own if image is None or self.not_begun else image & EFLAGS_TF:\n",
        "        if False:\n",
    ),
    Mutation(
        "passing a breakpoint on an instruction that raises an exception",
        "engine/stepping.py",
        "        with self._handlers_trapped():\n            if entered:\n",
        "        if True:\n            if entered:\n",
        ("--variant", "breakpoints", "--variant", "false-conditions"),
    ),
    Mutation(
        "flags in the frame that iretq pops stay changed",
        "engine/single_step.py",
        "runner.guest.space.write_linear(runner, *frame)",
        "pass",
        ("--mode", "long"),
    ),
    Mutation(
        "a step over a fence runs two instructions",
        "engine/single_step.py",
        "        if not (runner := self.runner).host.profile.runs_on:\n",
        "        if runner := self.runner:\n",
    ),
    Mutation(
        "frames of events and pushes on a guarded stack",
        "engine/holding.py",
        "            found |= self._pages_of(runner, ranges)\n",
        "            pass\n",
        ("--variant", "watchpoints", "--variant", "false-watchpoints"),
    ),
    Mutation(
        "stacks of the TSS are guarded",
        "engine/inspection.py",
        "        if tr.selector and not runner.mode.segmented:\n            slots",
        "        if False:\n            slots",
        ("--mode", "long", "--variant", "watched-tables"),
    ),
    Mutation(
        "accessed bits in the page of a breakpoint",
        "engine/arming.py",
        "    if page in view.unguardable:\n",
        "    if False:\n",
        ("--mode", "prot", "--mode", "long", "--variant", "breakpoints", "--variant", "ignored"),
    ),
    Mutation(
        "accessed bits in the page of a watchpoint",
        "engine/arming.py",
        "        unsafe = view.paging_pages | view.unguardable\n",
        "        unsafe = set(view.paging_pages)\n",
        ("--mode", "prot", "--mode", "long", "--variant", "watchpoints", "--variant", "false-watchpoints"),
    ),
    Mutation(
        "lidt whose operand lies in a withdrawn page never ends",
        "engine/watching.py",
        "        if not write and runner.vcpu.copy_of_regs() == state:\n",
        "        if False:\n",
        ("--mode", "prot", "--mode", "long", "--variant", "watchpoints", "--variant", "false-watchpoints"),
    ),
    Mutation(
        "tables that the guest loads in a withdrawn page",
        "engine/runner.py",
        "        if pages:\n            raise GuardSpoilt(pages, done=True)\n        self._tables",
        "        if False:\n            raise GuardSpoilt(pages, done=True)\n        self._tables",
        ("--mode", "long", "--variant", "watched-tables"),
    ),
    Mutation(
        "flags that a device gives are not looked at",
        "engine/single_step.py",
        "            image = self.flags.from_devices(source, reads)\n",
        "            pass\n",
    ),
    Mutation(
        "what was decoded ahead forgets the writes of rotates",
        "x86/access_kinds.py",
        "    if name in READ_WRITES:\n",
        "    if name in ('rol', 'ror', 'rcl', 'rcr'):\n        return READ\n    if name in READ_WRITES:\n",
    ),
    Mutation(
        "where the instruction of a stop begins is not asked of what lies before it",
        "x86/operands.py",
        "-ways[one[1].address], one[1].address",
        "-one[1].address",
        ("--variant", "watchpoints"),
    ),
    Mutation(
        "the guest's own single-step trap leaves DR6.BS clear",
        "engine/single_step.py",
        "        if own and traps and not self.not_begun:\n            runner.deliver(1, 0, dr6=DR6_BS)\n",
        "        if own and traps and not self.not_begun:\n            runner.deliver(1, 0)\n",
    ),
    Mutation(
        "conditions are taken for true",
        "engine/judge.py",
        "                    if not self._holds(place, runner, event):\n",
        "                    if self._holds(place, runner, event) is None:\n",
        ("--variant", "false-conditions", "--variant", "false-watchpoints"),
    ),
    Mutation(
        "a hit is counted twice",
        "engine/judge.py",
        "            point.hits += 1\n            if place",
        "            point.hits += 2\n            if place",
        ("--variant", "breakpoints", "--variant", "true-conditions"),
    ),
    Mutation(
        "a trap stays in memory",
        "engine/traps.py",
        "            self._lift(list(self._planted))\n",
        "            self._lift(list(self._planted)[1:])\n",
    ),
    Mutation(
        "a watchpoint is told with the values after it",
        "engine/touch.py",
        "        self.old, self.new = old[first:last], new[first:last]\n",
        "        self.old, self.new = new[first:last], old[first:last]\n",
        ("--variant", "watchpoints"),
    ),
    Mutation(
        "a replay looks with a breakpoint for a change where the guest's own trap waits",
        "core/replaying.py",
        "if target.waits or (in_string",
        "if False and (in_string",
        ("--variant", "recorded"),
    ),
    Mutation(
        "other memory in the place of what is watched is a write",
        "engine/watching.py",
        "if new != old and place == places[watch]:",
        "if new != old:",
        ("--mode", "long", "--variant", "watchpoints"),
    ),
    Mutation(
        "a snapshot forgets a device",
        "machine/bus.py",
        "            attempt(device, device.load, copy_of(state))\n",
        "            pass\n",
        ("--variant", "snapshot", "--variant", "snapshot-file", "--variant", "fork"),
    ),
)


def _copied(folder: Path, mutation: Mutation) -> None:
    """The package and the proof, with the fault in it."""
    for name in ("kvmdbg", "gdbstub", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "kvmdbg" / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        raise SystemExit(
            f"{mutation.name}: {mutation.file} does not have once what is to be changed: bring it up to date"
        )
    path.write_text(text.replace(mutation.old, mutation.new))


def _first(where: Path, options: Sequence[str]) -> tuple[int, str, int, str]:
    """Of the first difference: its seed, variant, how many programs it took, and its text; seed -1 for none."""
    command = [sys.executable, "-m", "tests.differential", "--no-shrink", "--first", *options]
    ran = subprocess.run(command, cwd=where, capture_output=True, text=True)
    programs, shown = re.search(r"^(\d+) programs", ran.stdout, re.MULTILINE), SHOWN.search(ran.stdout)
    if programs is None:
        raise SystemExit(f"the proof did not run to its end: {(ran.stderr or ran.stdout)[-500:]}")
    return (int(shown[1]), shown[2], int(programs[1]), shown[3]) if shown else (-1, "", int(programs[1]), "")


def found(mutation: Mutation, count: int = COUNT) -> str:
    """How the proof tells of this fault; empty when it does not, within ``count`` programs."""
    done, seed = 0, 1
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        _copied(Path(folder), mutation)
        while done < count:
            options = ["--seed", str(seed), "--count", str(count - done), *mutation.options]
            at, variant, programs, text = _first(Path(folder), options)
            done += programs
            if at < 0:
                break
            if _first(ROOT, ["--seed", str(at), "--count", "1", *mutation.options])[0] < 0:
                return f"program {done} (seed {at}, {variant}): {text}"
            seed = at + 1  # it differs without the fault, too
    return ""


def main(argv: Sequence[str]) -> int:
    missed = 0
    for mutation in MUTATIONS:
        if argv and mutation.name not in argv:
            continue
        how = found(mutation)
        missed += not how
        print(f"{'found' if how else 'NOT FOUND':<10} {mutation.name}\n           {how[:200]}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
