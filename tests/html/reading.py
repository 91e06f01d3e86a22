"""What a browser would make of HTML: its text, the tags and attributes in it, and what it would load."""

from __future__ import annotations

from html.parser import HTMLParser

LOADED = ("src", "href", "srcset", "data", "action", "poster")
ALONE = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """``resources`` are what a browser would load or lead to; AssertionError where tags are left open."""

    def __init__(self, made: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.classes: set[str] = set()
        self.resources: list[str] = []
        self.anchors: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(made)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in LOADED:
                self.resources.append(value or "")
            if name == "class":
                self.classes |= set((value or "").split())
            if name == "id":
                self.anchors.add(value or "")
        if tag not in ALONE:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data
