"""All of it is in pyproject.toml, but that a wheel holds the guests: ``kvmdbg demo`` runs them. They are kept once,
in guests/."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

NOT_SHIPPED = shutil.ignore_patterns(".*", "Makefile")


class BuildWithGuests(build_py):
    """Puts guests/ into the package."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            there = Path(self.build_lib) / "kvmdbg/demo/guests"
            shutil.rmtree(there, ignore_errors=True)
            shutil.copytree(Path(__file__).with_name("guests"), there, ignore=NOT_SHIPPED)


setup(cmdclass={"build_py": BuildWithGuests})
