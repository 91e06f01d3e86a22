from __future__ import annotations

from collections.abc import Iterator

from kvmdbg.ui.progress import INTERVAL, PATIENCE, ProgressLine


def test_only_what_takes_long_is_told_and_the_line_is_left_empty() -> None:
    now = 10.0
    written: list[str] = []
    line = ProgressLine(written.append, lambda: now)

    def steps() -> Iterator[None]:
        for done in range(0, 100, 10):
            line("Reading", done, 100)
            yield
        line("", 1, 1)

    for _ in steps():
        now += PATIENCE / 20
    assert not written
    for _ in steps():
        now += max(PATIENCE, INTERVAL)
    assert written[0] == "\r\x1b[KReading: 10%"
    assert written[-2:] == ["\r\x1b[KReading: 90%", "\r\x1b[K"]
