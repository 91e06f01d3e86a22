"""The test command: pytest here.

Where /dev/kvm cannot be used, the tests marked ``kvm`` run on the software engine, and those that have to do with the
vCPU on kvm_amd machines, too, all at the same time.

python -m tests.run [PYTEST OPTION, FILE OR TEST]...
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from tests.machines import boot, kvm_amd, shares
from tests.machines.dev_kvm import why_unusable

MACHINES = 2
LIMIT = 3600  # seconds for a share of the tests
ON_A_KVM = "kvm and not e2e and (kvm_alone or vcpu)"
"""What is asked of a KVM in any case: an emulated one is too slow for all that runs a guest."""


def without_kvm(arguments: Sequence[str]) -> list[shares.Share]:
    """The shares of a run of pytest with these arguments on a host that has no usable /dev/kvm."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("-m", dest="marks", default="")
    options.add_argument("-n", dest="workers")
    args, selection = options.parse_known_args(arguments)
    also = f" and ({args.marks})" if args.marks else ""
    workers = ["-n", args.workers] if args.workers else []

    def here(name: str, marks: str, *before: str) -> shares.Share:
        pytest = [
            *before,
            sys.executable,
            "-m",
            "pytest",
            *workers,
            "--kvm-report=-",
            *selection,
            "-m",
            f"{marks}{also}",
        ]
        return shares.here, boot.Run(pytest, LIMIT, name=name)

    commands = shares.kvm_tests_commands(f"{ON_A_KVM}{also}", MACHINES, selection)
    machines = shares.shares_of("kvm_amd", kvm_amd.start, boot.Run([], LIMIT), commands)
    soft = here("software engine", "kvm and not kvm_alone", "env", "KVMDBG_ENGINE=soft")
    return [*machines, here("here", "not kvm"), soft]


def main(arguments: Sequence[str]) -> int:
    no_kvm = why_unusable()
    if not no_kvm:
        return subprocess.run([sys.executable, "-m", "pytest", *arguments]).returncode
    print(f"{no_kvm}; the tests marked kvm run on the software engine and on emulated kvm_amd machines", flush=True)
    try:
        return shares.side_by_side(without_kvm(arguments))
    except boot.MachineError as error:
        print(f"kvm_amd: {error}", file=sys.stderr)
        return boot.NO_MACHINE


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
