"""The commands that look round in an atlas print what the library answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from atlas.atlas import Atlas
from atlas.catalog.filters import SampleFilter
from atlas.errors import AtlasError, InputError, NotFoundError
from atlas.settings import Settings
from cli.main import app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def atlas(tiny_settings: Settings) -> Atlas:
    return Atlas.open(tiny_settings)


def run(home: Path, *args: str) -> tuple[list[Any], str]:
    """Run a command with ``--json`` and return its lines and what it said beside."""
    result = CliRunner().invoke(app, [*args, "--json", "--home", str(home)])
    if result.exception is not None:
        raise result.exception
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def shown(home: Path, *args: str) -> str:
    result = CliRunner().invoke(app, [*args, "--home", str(home)])
    assert result.exit_code == 0, result.exception
    return result.stdout


def plain(record: Any) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(record)))


def test_samples_are_listed_page_by_page(tiny_home: Path, atlas: Atlas) -> None:
    chosen = ("--tissue", "heart", "--unit", "Counts", "--cluster", "0")
    lines, said = run(tiny_home, "samples", *chosen, "--sort", "-title", "--offset", "2", "--limit", "3")
    filters = SampleFilter(tissue=("heart",), unit=("counts",), cluster=(0,))
    page, n_total = atlas.samples_page(filters=filters, sort="-title", offset=2, limit=3)
    assert lines == [plain(one) for one in page]
    assert f"{n_total} samples pass; shown: 3 to 5." in said
    assert page[0].accession in shown(tiny_home, "samples", *chosen, "--sort", "-title", "--offset", "2")


def test_facets_series_and_keywords_are_the_library_s(tiny_home: Path, atlas: Atlas) -> None:
    lines, _ = run(tiny_home, "facets", "--tissue", "heart", "--limit", "3")
    assert lines == [plain(atlas.facets(SampleFilter(tissue=("heart",)), limit=3))]
    assert run(tiny_home, "series", "gse900")[0] == [plain(atlas.series("GSE900"))]
    expected = [plain(one) for one in atlas.keywords(["GSE900", "GSM9000010"], top=2)]
    assert run(tiny_home, "keywords", "GSE900", "GSM9000010", "--top", "2")[0] == expected
    assert "GSE900" in shown(tiny_home, "facets")
    assert "heart 0" in shown(tiny_home, "series", "GSE900")
    assert "library" in shown(tiny_home, "keywords", "GSE900")


def test_search_combines_filters_and_spreads(tiny_home: Path, atlas: Atlas) -> None:
    args = (
        "--plus",
        "GSM9000100^0.5",
        "--minus",
        "blood^0.2",
        "--per-series",
        "2",
        "--diversity",
        "0.1",
        "--id-kind",
        "GSM",
    )
    lines, _ = run(tiny_home, "search", "heart", *args, "-k", "6")
    expected = atlas.search_text(
        "heart", k=6, plus=["GSM9000100^0.5"], minus=["blood^0.2"], per_series=2, diversity=0.1,
        filters=SampleFilter(id_kind=("GSM",)),
    )  # fmt: skip
    assert [(one["accession"], one["score"]) for one in lines] == [
        (hit.sample.accession, hit.score) for hit in expected.hits
    ]


def test_genes_for_and_against_explain_the_score_of_the_search(tiny_home: Path, atlas: Atlas) -> None:
    hit = atlas.search_text("cardiac muscle", minus=["liver^0.3"], k=1).hits[0]
    lines, _ = run(tiny_home, "explain", hit.sample.accession, "cardiac muscle", "--minus", "liver^0.3", "--top", "30")
    (found,) = lines
    assert found["score"] == pytest.approx(hit.score, abs=1e-6)
    assert [part["weight"] for part in found["parts"]] == [1.0, -0.3]
    contributions = [gene["contribution"] for gene in found["genes"]]
    assert contributions == sorted(contributions, reverse=True)
    assert min(contributions) > 0 > max(gene["contribution"] for gene in found["against"])
    assert {"MYH6", "MYH7", "TNNT2", "ACTC1", "MYL2", "TNNI3"} & {gene["symbol"] for gene in found["genes"][:10]}
    assert found["genes"][0]["symbol"] in shown(tiny_home, "explain", hit.sample.accession, "cardiac muscle")


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        (("series", "GSE9000000"), NotFoundError, "is not a series"),
        (("samples", "--sort", "size"), InputError, "cannot be sorted"),
        (("samples", "--limit", "0"), InputError, "expected 1 to"),
        (("facets", "--limit", "-1"), InputError, "limit is -1"),
        (("keywords", "GSM1"), NotFoundError, "neither a sample nor a series"),
        (("explain", "GSM9000000", ""), InputError, "phrase is empty"),
        (("explain", "GSM9000000", "heart", "--top", "0"), InputError, "0 genes"),
        (("search", "heart", "--plus", "x^0"), InputError, "weight"),
        (("search", "heart", "--per-series", "0"), InputError, "per_series"),
        (("search", "heart", "--minus", "heart"), InputError, "cancel out"),
    ],
)
def test_bad_questions_are_one_sentence(
    tiny_home: Path, args: tuple[str, ...], error: type[AtlasError], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(tiny_home, *args)
