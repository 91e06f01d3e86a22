"""A page that stands alone: its style is in it, it loads nothing, and it has no script."""

from __future__ import annotations

from collections.abc import Sequence

from kvmdbg.html.parts import name
from kvmdbg.html.style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Browsers keep to it, whatever a guest or a file has written into the page."""


def section(title: str, body: str, anchor: str = "") -> tuple[str, str, str]:
    """A part of the page: where links lead, its heading, what it has."""
    return anchor or title.lower().replace(" ", "-"), title, body


def page(title: str, head: str, sections: Sequence[tuple[str, str, str]], foot: str = "") -> str:
    """The whole file: ``head`` above the list of the sections."""
    links = "".join(f'<a href="#{name(anchor)}">{name(text)}</a>' for anchor, text, _ in sections)
    bodies = "".join(
        f'<section id="{name(anchor)}"><h2>{name(text)}</h2>{body}</section>\n' for anchor, text, body in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{name(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f'<body class="kvmdbg"><main>\n<header>{head}</header>\n<nav>{links}</nav>\n{bodies}'
        f"<footer>{foot}</footer>\n</main></body>\n</html>\n"
    )


def fragment(body: str) -> str:
    """The same look within another page, as a notebook's."""
    return f'<div class="kvmdbg"><style>{STYLE}</style>{body}</div>'
