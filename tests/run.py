"""The test command: pytest here, and the tests marked ``kvm`` on the kvm_amd machine where /dev/kvm cannot be used.

python -m tests.run [PYTEST OPTION]...
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from tests.machines.dev_kvm import why_unusable

NO_TESTS = 5  # pytest's exit status


def commands(arguments: Sequence[str], no_kvm: str) -> list[list[str]]:
    """What to run one after the other; ``no_kvm`` tells why /dev/kvm cannot be used, "" when it can."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("-m", dest="marks", default="")
    args, rest = options.parse_known_args(arguments)
    pytest = [sys.executable, "-m", "pytest"]
    if not no_kvm:
        return [[*pytest, *arguments]]
    marks = f"({args.marks}) and not kvm" if args.marks else "not kvm"
    return [[*pytest, *rest, "-m", marks], [sys.executable, "-m", "tests.machines.kvm_amd"]]


def main(arguments: Sequence[str]) -> int:
    no_kvm = why_unusable()
    if no_kvm:
        print(f"{no_kvm}; the tests marked kvm run on the kvm_amd machine, after the others", flush=True)
    statuses = [subprocess.run(command).returncode for command in commands(arguments, no_kvm)]
    failed = [status for status in statuses if status not in (0, NO_TESTS)]
    return failed[0] if failed else min(statuses)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
