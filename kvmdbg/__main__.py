"""``python -m kvmdbg`` is the ``kvmdbg`` command."""

import sys

from kvmdbg.cli import run

if __name__ == "__main__":
    sys.exit(run())
