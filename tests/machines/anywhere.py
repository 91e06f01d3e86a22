"""Run a command here, or on the kvm_amd machine where /dev/kvm of this host cannot be used.

python -m tests.machines.anywhere COMMAND [ARG]...
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from tests.machines import kvm_amd
from tests.machines.dev_kvm import why_unusable


def main(command: Sequence[str]) -> int:
    no_kvm = why_unusable()
    if not no_kvm:
        return subprocess.run(command).returncode
    print(f"{no_kvm}; this runs on an emulated kvm_amd machine instead", file=sys.stderr, flush=True)
    return kvm_amd.main(["--", *command])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
