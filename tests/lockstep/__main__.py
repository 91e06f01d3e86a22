"""``python -m tests.lockstep``: random instructions on two back ends."""

from __future__ import annotations

import argparse
import sys
import time

from tests.differential.program import MODES
from tests.lockstep import native
from tests.lockstep.harness import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lockstep", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first program (1)")
    parser.add_argument("--count", type=int, default=10_000, help="how many instructions to compare (10000)")
    parser.add_argument("--engines", default="kvm,soft", help="the two back ends (kvm,soft)")
    parser.add_argument("--modes", default=",".join(MODES), help="of the programs (real,prot,long)")
    parser.add_argument("--native", action="store_true", help="user code of long mode, which every KVM runs natively")
    options = parser.parse_args()
    first, second = options.engines.split(",")
    started = time.monotonic()
    if options.native:
        found = native.run(options.seed, options.count, (first, second))
    else:
        found = run(options.seed, options.count, (first, second), tuple(options.modes.split(",")))
    seconds = time.monotonic() - started
    print(
        f"{found.instructions} instructions in {found.programs} programs in {seconds:.0f} s: "
        f"{len(found.differences)} programs differ"
    )
    if found.listed:
        print("listed: " + ", ".join(f"{name} {count}" for name, count in found.listed.most_common()))
    if found.not_run:
        names = ", ".join(f"{name} {count}" for name, count in found.not_run.most_common())
        print(f"not run, as {first} cannot: {names}")
    return 1 if found.differences else 0


if __name__ == "__main__":
    sys.exit(main())
