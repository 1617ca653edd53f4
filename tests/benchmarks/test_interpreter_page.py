"""The page of interpreters: what was written by hand stays, what was measured is replaced, verdicts follow the bars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import interpreter
from indexer.interpreter.comparison import Outcome

CODES = np.repeat([0, 1, 2], 40)


def said(wrong: float, *, seed: int = 0) -> Outcome:
    rng = np.random.default_rng(seed)
    return Outcome(np.where(rng.random((2, 120)) < wrong, rng.integers(0, 3, (2, 120)), CODES), CODES)


def test_measured_half_is_replaced_and_the_other_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("# By hand\n\nkept\n\n<!-- measured -->\nold figures\n", encoding="utf-8")
    monkeypatch.setattr(interpreter, "SECTIONS", {"within": ("Within", lambda bench: f"new, {len(bench.seeds)} seeds")})
    told = [
        "--data",
        str(tmp_path),
        "--work",
        str(tmp_path / "w"),
        "--without-model",
        str(tmp_path),
        "--page",
        str(page),
        "--only",
        "within",
        "--seeds",
        "3",
    ]
    interpreter.main(told)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# By hand\n\nkept\n\n<!-- measured -->\n")
    assert "## Within\n\nnew, 3 seeds" in text
    assert "old figures" not in text
    interpreter.main(told)
    assert page.read_text(encoding="utf-8") == text
    interpreter.main([*told[: told.index("--only")], "--only"])  # the page alone, of what is done
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("ours", "log", "genept", "verdict"),
    [
        (0.1, 0.1, 0.6, "not below log, above GenePT-w"),
        (0.5, 0.05, 0.5, "below log, beside GenePT-w"),
        (0.0, 0.0, 0.5, "saturated, a tie"),
    ],
)
def test_verdict_follows_the_bars(ours: float, log: float, genept: float, verdict: str) -> None:
    found = {
        "starter": said(ours),
        "log expression, logistic regression": said(log),
        "GenePT-w, logistic regression": said(genept, seed=1),
    }
    assert interpreter._verdict(found)[-1] == verdict
