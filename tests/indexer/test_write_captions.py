from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.errors import ArtifactError, UpstreamError
from atlas.settings import Settings
from indexer.stage import BuildRequest, StageContext
from indexer.stages import write_captions
from indexer.stages.ingest_samples import SERIES
from indexer.stages.write_captions import STAGE


class FakeModel:
    """Replies with the number of words it was asked about; fails or rambles when told to."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def complete(self, prompt: str, **options: Any) -> str:
        self.prompts.append(prompt)
        if "fails" in prompt:
            raise UpstreamError("no reply")
        if "rambles" in prompt:
            return "one\ntwo"
        if "endless" in prompt:
            return "x" * 10_000
        return f" A sample described by {len(prompt.split())} words. "


def context(root: Path, *titles: str, llm: bool = False) -> StageContext:
    settings = Settings(llm_base_url="http://127.0.0.1:9/v1", llm_model="m") if llm else Settings()
    request = BuildRequest(name="x", home=root, model_dir=root, settings=settings)
    folders = [root / part for part in ("build", "out", "work")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    n = len(titles)
    samples = {
        "sample_id": [f"GSM{i}" for i in range(n)],
        "series_ids": [["GSE0", "GSE1"]] * n,
        "title": list(titles),
        "source_name": ["liver"] * n,
        "characteristics": ["age: 5"] * n,
    }
    pq.write_table(pa.table(samples), root / "build" / "samples.parquet")
    series = pa.table([["GSE0", "GSE1"], ["", "The study"], [n, n]], schema=SERIES)
    pq.write_table(series, root / "build" / "series.parquet")
    return StageContext(request, *folders)


def captions(ctx: StageContext) -> list[dict[str, Any]]:
    return list(pq.read_table(ctx.out / "captions.parquet").to_pylist())


def test_deterministic_captions_in_sample_order(tmp_path: Path) -> None:
    ctx = context(tmp_path, "biopsy", "7")
    result = STAGE.run(ctx)
    STAGE.validate(ctx)
    assert captions(ctx) == [
        {"sample_id": "GSM0", "caption": "liver; age: 5; biopsy. Study: The study.", "method": "deterministic"},
        {"sample_id": "GSM1", "caption": "liver; age: 5. Study: The study.", "method": "deterministic"},
    ]
    assert result.notes == {"methods": {"deterministic": 2}}


def test_a_language_model_rewrites_and_its_failures_fall_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    monkeypatch.setattr(write_captions, "_language_model", lambda request: model)
    ctx = context(tmp_path, "biopsy", "fails", "rambles", "endless", llm=True)
    result = STAGE.run(ctx)
    STAGE.validate(ctx)
    assert [row["method"] for row in captions(ctx)] == ["llm", *["deterministic"] * 3]
    assert captions(ctx)[0]["caption"].startswith("A sample described by")
    assert captions(ctx)[1]["caption"] == "liver; age: 5; fails. Study: The study."
    assert result.notes == {"methods": {"deterministic": 3, "llm": 1}, "llm_fallbacks": 3}


def test_killed_stage_asks_only_for_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    monkeypatch.setattr(write_captions, "_language_model", lambda request: model)
    monkeypatch.setitem(write_captions._SHARD_ROWS, True, 2)
    ctx = context(tmp_path, *["biopsy"] * 5, llm=True)
    STAGE.run(ctx)
    assert len(model.prompts) == 5
    (ctx.work / "captions-000000004.parquet").unlink()
    before = captions(ctx)
    STAGE.run(ctx)
    assert len(model.prompts) == 6
    assert captions(ctx) == before


def test_the_key_knows_the_model_and_its_prompt(tmp_path: Path) -> None:
    plain, with_model = context(tmp_path), context(tmp_path, llm=True)
    assert STAGE.params(plain.request) == {"method": "deterministic"}
    assert STAGE.params(with_model.request)["model"] == "m"


def test_validate_refuses_captions_of_other_samples(tmp_path: Path) -> None:
    ctx = context(tmp_path, "biopsy", "x")
    STAGE.run(ctx)
    table = pq.read_table(ctx.out / "captions.parquet")
    pq.write_table(table.slice(1), ctx.out / "captions.parquet")
    with pytest.raises(ArtifactError, match="one caption for each sample"):
        STAGE.validate(ctx)
