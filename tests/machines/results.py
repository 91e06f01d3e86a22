"""What the tests marked ``kvm`` gave on each flavour of KVM: one JSON object a line, and a page of docs made from it.

python -m tests.machines.results docs/kvm-results.jsonl docs/kvm-results.md
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "KVMDBG-MACHINE: "  # begins each line that is meant for the machine's owner, not for its user
MACHINES = {
    "kvm_intel": "Bochs (`make test-kvm-intel`)",
    "kvm_amd": "QEMU's emulator (`make test-kvm-amd`)",
}


@dataclass(frozen=True)
class Result:
    """One run: ``date`` as YYYY-MM-DD, ``module`` the KVM module behind /dev/kvm, ``machine`` "here" or its name.

    ``passed``, ``failed`` (errors included) and ``skipped`` count tests; ``skips`` tells why, by reason.
    """

    date: str
    machine: str
    kernel: str
    module: str
    passed: int
    failed: int
    skipped: int
    skips: dict[str, int] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Result:
        return cls(**json.loads(line))


def module_here(sys_module: Path = Path("/sys/module")) -> str:
    """The module behind this host's /dev/kvm, as in ``kvm_intel``; "none" without one."""
    return next((path.name for path in sorted(sys_module.glob("kvm_*"))), "none")


def measured(date: str, passed: int, failed: int, skips: dict[str, int]) -> Result:
    """The result of a run on this host."""
    machine = os.environ.get("KVMDBG_MACHINE", "here")
    return Result(date, machine, platform.release(), module_here(), passed, failed, sum(skips.values()), skips)


def total(shares: Sequence[Result]) -> Result:
    """The result of a run whose tests were shared among several machines of one kind."""
    skips: Counter[str] = Counter()
    for each in shares:
        skips.update(each.skips)
    return dataclasses.replace(
        shares[0],
        passed=sum(each.passed for each in shares),
        failed=sum(each.failed for each in shares),
        skipped=sum(each.skipped for each in shares),
        skips=dict(skips),
    )


def read(path: Path) -> list[Result]:
    """The results in a file, none when there is no such file yet."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Result.from_json(line) for line in lines if line.strip()]


def update(path: Path, result: Result) -> None:
    """Put ``result`` into a file in place of an older one of the same module and machine."""
    key = (result.module, result.machine)
    kept = [old for old in read(path) if (old.module, old.machine) != key]
    lines = [each.to_json() for each in sorted([*kept, result], key=lambda each: (each.module, each.machine))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def render(results: Sequence[Result]) -> str:
    """The page, in Markdown."""
    out = [
        "# The tests marked `kvm`, flavour by flavour",
        "",
        "Made by `make kvm-results` from kvm-results.jsonl; not edited by hand. In Bochs and QEMU those tests are left",
        "out that drive a terminal, gdb or lldb (marked `e2e`): the programs take too long there.",
        "",
        "| KVM | on | kernel | date | passed | failed | skipped |",
        "| --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    for each in results:
        where = MACHINES.get(each.machine, "the host itself")
        counts = f"{each.passed} | {each.failed} | {each.skipped}"
        out.append(f"| `{each.module}` | {where} | {each.kernel} | {each.date} | {counts} |")
    for each in results:
        if each.skips:
            out += ["", f"Skipped on `{each.module}`:", ""]
            out += [f"- {reason} ({count})" for reason, count in sorted(each.skips.items())]
    return "\n".join(out) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m tests.machines.results", description=__doc__)
    options.add_argument("results", type=Path, help="the file of JSON lines")
    options.add_argument("page", type=Path, help="the page to write")
    args = options.parse_args(argv)
    results = read(args.results)
    if not results:
        options.error(f"{args.results} holds no result")
    args.page.write_text(render(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
