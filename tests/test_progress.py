from __future__ import annotations

import time

import pytest

from shelfqa.progress import progress


def test_a_run_that_goes_on_tells_its_own_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter([0.0, 20.0, 60.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    with progress("answer", 1000, done=800) as tick:
        tick(840)
        tick(920, "64 at once")
    assert capsys.readouterr().err.splitlines() == [
        "  answer: 840 of 1000, 2.0 a second, 80 s left",
        "  answer: 920 of 1000, 2.0 a second, 40 s left  64 at once",
    ]
