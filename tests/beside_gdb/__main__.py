"""Questions for gdb and kvmdbg: what is answered differently.

python -m tests.beside_gdb [--count 2000] [--seed 1] [--gdb PROGRAM] [--all]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from itertools import product
from pathlib import Path

import kvmdbg
from tests.beside_gdb import answers_of_gdb, answers_of_kvmdbg, build, differences
from tests.beside_gdb.questions import Questions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gdb", default="gdb")
    parser.add_argument("--all", action="store_true", help="show those differences, too, that are meant to be")
    options = parser.parse_args()
    unmeant, meant = 0, Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for at, (bits, optimize) in enumerate(product((32, 64), ("-O0", "-O2"))):
            program = build(Path(folder), bits, optimize)
            questions = Questions(options.seed + at)
            lines = [questions.question() for _ in range(options.count // 4)]
            with kvmdbg.open(program, memory="16M") as session:
                ours = answers_of_kvmdbg(session, lines)
            found = differences(lines, answers_of_gdb(options.gdb, program, lines), ours)
            for one in found:
                meant[one.reason] += 1
                unmeant += not one.reason
                if options.all or not one.reason:
                    print(f"{bits} bits, {optimize}: {one}")
    for reason, count in sorted(meant.items()):
        print(f"{count:6}  {reason or 'not meant to be'}")
    print(f"{4 * (options.count // 4)} questions, {sum(meant.values())} answers differ, {unmeant} of them should not")
    return 1 if unmeant else 0


if __name__ == "__main__":
    sys.exit(main())
