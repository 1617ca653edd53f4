"""A release moved to Milvus by the command, and asked there: the answers are those of FAISS."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.atlas import Atlas
from atlas.catalog.filters import SampleFilter
from atlas.errors import ArtifactError, ConfigError
from atlas.settings import Settings
from atlas.vectors.milvus_index import MilvusIndex
from cli.main import app

pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed (extra scale)")


def _ask(settings: Settings) -> list[object]:
    atlas = Atlas.open(settings)
    try:
        moved = settings.search_engine == "milvus"
        assert isinstance(atlas.opened.index, MilvusIndex) == moved
        phrases = [
            atlas.search_text(q, k=7, filters=f).hits
            for q in ("heart", "liver")
            for f in (None, SampleFilter(tissue=("brain",)))
        ]
        return [*phrases, atlas.similar_samples("GSM9000101", k=5).hits]
    finally:
        atlas.close()


def test_a_moved_release_answers_as_before(tiny_home: Path, tmp_path: Path) -> None:
    uri = str(tmp_path / "lite.db")
    command = ["release", "index", "tiny", "--engine", "milvus", "--uri", uri, "--home", str(tiny_home)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "64 samples, 512 of 512 dimensions, recall 1.0000" in result.output
    there = Settings(home=tiny_home, search_engine="milvus", milvus_uri=uri)
    assert _ask(there) == _ask(Settings(home=tiny_home))
    result = CliRunner().invoke(app, [*command, "--drop"])
    assert "deleted" in result.output
    with pytest.raises(ArtifactError, match="geo-atlas release index tiny --engine milvus"):
        _ask(there)


def test_an_engine_that_is_none_is_refused(tiny_home: Path) -> None:
    for options, said in ((["--engine", "elsewhere"], "expected milvus"), ([], "GEO_ATLAS_MILVUS_URI")):
        result = CliRunner().invoke(app, ["release", "index", *options, "--home", str(tiny_home)])
        assert isinstance(result.exception, ConfigError)
        assert said in result.exception.message
