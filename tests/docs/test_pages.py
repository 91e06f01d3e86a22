"""The sessions and programs shown in README.md and docs/ are what really comes out; links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvmdbg.engine import stops
from tests.docs.transcripts import PAGES, ROOT, blocks, comparable

BESIDE_KVM = {"lockstep.md": pytest.mark.kvm_alone}
FOUND = [
    pytest.param(run, match, id=f"{page.name}: {first}", marks=BESIDE_KVM.get(page.name, ()))
    for page in PAGES
    for first, run, match in blocks(page)
]


@pytest.mark.kvm
@pytest.mark.parametrize("run, match", FOUND)
def test_block(run, match: re.Match[str], monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(ROOT)
    assert comparable(run(match)) == comparable(match[0]), "make docs writes the outputs anew"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


def test_every_stop_is_described() -> None:
    text = (ROOT / "docs/json.md").read_text()
    kinds = [one for one in vars(stops).values() if isinstance(one, type) and issubclass(one, stops.Stop)]
    for kind in kinds[1:]:
        assert f"`{kind.reason}`" in text, kind.__name__


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    for name in re.findall(r"`((?:\w+/)+\w+\.py)`", page.read_text()):
        assert any((ROOT / folder / name).exists() for folder in ("", "kvmdbg")), name
