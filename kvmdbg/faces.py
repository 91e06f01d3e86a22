"""What shows values to people is above the values: here they find it by its name, and load it when they are asked."""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")


def face(module: str) -> Any:
    """A module above whoever asks, as ``commands.report_page``."""
    return import_module(f"kvmdbg.{module}")


class InNotebooks:
    """A value that notebooks (Jupyter and its kin) show as HTML."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        shown: str = face("commands.in_notebooks").as_html(self)
        return shown


class Listed(list[T], InNotebooks):
    """A list of values that notebooks show as a table."""

    __slots__ = ()
