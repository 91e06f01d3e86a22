"""What lies at the top of the repository is what the ecosystem expects there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

TOP_LEVEL = """
.ci .editorconfig .github .gitignore .pre-commit-config.yaml CHANGELOG.md CONTRIBUTING.md LICENSE MANIFEST.in Makefile
README.md SECURITY.md docs gdbstub guests kvmdbg pyproject.toml setup.py tests
""".split()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only git knows what belongs to the project")
def test_nothing_else_lies_at_the_top() -> None:
    """What an experiment leaves behind is committed in passing."""
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    assert {path.split("/")[0] for path in known.splitlines()} <= set(TOP_LEVEL)
