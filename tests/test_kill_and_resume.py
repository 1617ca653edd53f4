"""The real command, killed for real in three stages and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kill_and_resume import compare

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_build_killed_in_three_stages_makes_the_same_bytes(tmp_path: Path, tiny_counts: Path) -> None:
    stages = ("ingest_samples", "build_index", "match_keywords")
    extra = ("--without-catalog", "--library", "MSigDB_Hallmark_2020")
    whole, resumed, hits = compare(["--counts", str(tiny_counts)], tmp_path, stages=stages, after_s=0.05, extra=extra)
    assert hits == dict.fromkeys(stages, True)
    assert resumed.manifest.files == whole.manifest.files
    assert resumed.manifest.content_key == whole.manifest.content_key
