"""Random programs, run free and debugged in every way: what differs?

python -m tests.differential --seed 1 --count 100
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.differential.program import MODES
from tests.differential.proof import NotCounted, check, chosen, programs, shrink
from tests.differential.variants import VARIANTS


def main(argv: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__.splitlines()[0])
    options.add_argument("--seed", type=int, default=1, help="the first program's seed (default %(default)s)")
    options.add_argument("--count", type=int, default=100, help="how many programs (default %(default)s)")
    options.add_argument("--mode", action="append", choices=MODES, help="only this mode; may be given again")
    options.add_argument("--variant", action="append", choices=sorted(VARIANTS), help="only this way to run; the same")
    options.add_argument("--every-variant", action="store_true", help="all variants for each program")
    options.add_argument("--rings", action="store_true", help="only programs that run at CPL 3 for stretches, too")
    options.add_argument("--seconds", type=float, default=float("inf"), help="begin no program after so many seconds")
    options.add_argument("--progress", action="store_true", help="a line before each program and variant")
    options.add_argument("--no-shrink", action="store_true", help="show differing programs as they are")
    options.add_argument("--first", action="store_true", help="end at the first program that differs")
    options.add_argument("--show", action="store_true", help="print the program of --seed and end")
    args = options.parse_args(argv)
    modes = tuple(args.mode or MODES)
    if args.show:
        print(programs(args.seed, modes).listing())
        return 0
    began = time.monotonic()

    def tell(what: str) -> None:
        if args.progress:
            print(f"{time.monotonic() - began:7.1f} s: {what}", flush=True)

    done = differ = 0
    why = Counter[str]()
    seed = args.seed
    while done < args.count and time.monotonic() - began < args.seconds:
        if args.rings and not programs(seed, modes).rings:
            seed += 1
            continue
        variants = chosen(seed, args.variant or (), args.every_variant)
        tell(f"seed {seed}, {programs(seed, modes).mode}")
        try:
            _, found = check(programs(seed, modes), variants, tell=tell)
        except NotCounted as error:
            why[str(error.args[0])[:60]] += 1
        else:
            done += 1
            differ += bool(found)
            for one in found:
                shown = one if args.no_shrink else shrink(one)
                print(f"DIFFERS: {shown.describe()}\n", flush=True)
            if found and args.first:
                break
        seed += 1
    print(f"{done} programs, {differ} differ; seeds {args.seed} to {seed - 1}, {time.monotonic() - began:.0f} s")
    if why:
        print(f"not counted: {sum(why.values())}, as {why.most_common(1)[0][0]!r}")
    return int(differ > 0 or done == 0)


if __name__ == "__main__":
    sys.exit(main())
