"""Python of the user's that is interrupted from another thread leaves nothing behind in the interpreter."""

from __future__ import annotations

import subprocess
import sys

LATE = """
import sys
from kvmdbg.commands.user import User
user = User()
for body in ("pass", "user.interrupt_python()"):
    try:
        with user.python():
            exec(body)
    except KeyboardInterrupt:
        print("interrupted")
def call(): return 1
sys.settrace(lambda *event: None)
call()
sys.settrace(None)
print("traced")
"""


def test_python_is_traced_as_before() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["interrupted", "traced"], done.stderr
