"""Lexical search and the readiness question, on both servers."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from catalog_fixtures import MakeDatabase
from catalog_release import SAMPLES, SERIES, write_release
from sqlalchemy import text

from atlas.catalog import queries
from atlas.catalog.contents import CATALOG_FILES
from atlas.catalog.database import Database
from atlas.catalog.filters import SampleFilter
from atlas.catalog.queries import _query_text, holds, lexical_search, loaded_release
from atlas.digests import sha256_file
from atlas.errors import ArtifactError, InputError, NotFoundError
from indexer.stages.load_catalog import load_release

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("queries") / "release")


@pytest.fixture(scope="module")
def loaded(any_database: Database, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Database:
    load_release(any_database, folder, "queries", model_hash="m")
    other = write_release(tmp_path_factory.mktemp("queries") / "other", prefix="OTHER", n_copies=2)
    load_release(any_database, other, "queries-other", model_hash="m")
    return any_database


def found(database: Database, phrase: str, *, k: int = 100, filters: SampleFilter | None = None) -> list[int]:
    return [hit.row for hit in lexical_search(database, "queries", phrase, k=k, filters=filters)]


@pytest.mark.parametrize(
    ("phrase", "rows"),
    [
        ("cardiomyopathy", {0}),
        ("Cardiomyopathies", {0}),
        ("heart", {0, 1, 2}),
        ("hearts -donor", {0}),
        ("liver or sars", {3, 4, 6}),
        ("SARS-CoV-2 infection", {6}),
        ("sars cov 2", {6}),
        ('"whole blood"', {2, 5, 6}),
        ('"blood whole"', set()),
        ("hepatocyte", {3}),
        ("GSM4", {4}),
        ("GSE4", {7, 8}),
        ("naïf", {7, 8}),
        ("unheard-of", set()),
        ("heart heart heart", {0, 1, 2}),
        ("<script>alert(1)</script>", {5}),
        ("non-failing", {1}),
    ],
)
def test_lexical_search_finds_the_samples_with_the_words(loaded: Database, phrase: str, rows: set[int]) -> None:
    assert set(found(loaded, phrase)) == rows


@pytest.mark.parametrize(
    ("phrase", "rows"), [("of", {2, 9}), ("THE", {0, 1, 2}), ("'; --", set()), ("%", {3, 4}), ("\\", {4})]
)
def test_a_phrase_without_words_is_looked_up_letter_for_letter(loaded: Database, phrase: str, rows: set[int]) -> None:
    expected = set()
    for row, sample in enumerate(SAMPLES):
        texts = [sample[1], sample[2], sample[3], f"caption of {sample[1]}", *(SERIES[one] for one in sample[0])]
        if any(phrase.lower() in (one or "").lower() for one in texts):
            expected.add(row)
    assert set(found(loaded, phrase)) == expected


@pytest.mark.parametrize(
    "phrase",
    [
        "'",
        '"',
        "\\",
        "&",
        "|",
        "!",
        "(",
        ":*",
        "<->",
        "a <-> b",
        "\0",
        "\ud800",
        "-",
        "--",
        "or",
        '"" or -""',
        "x" * 2000,
        "!" * 500,
    ],
)
def test_no_phrase_is_an_error_of_the_server(loaded: Database, phrase: str) -> None:
    assert isinstance(found(loaded, phrase), list)


def test_injected_sql_does_nothing(loaded: Database) -> None:
    assert found(loaded, "'; DROP TABLE samples; --") == [5]
    assert len(found(loaded, "caption")) == 10


def test_ranks_fall_and_ties_go_by_row(loaded: Database) -> None:
    hits = lexical_search(loaded, "queries", "caption", k=100)
    keys = [(-hit.rank, hit.row) for hit in hits]
    assert keys == sorted(keys)
    assert len(hits) == 10
    assert all(0 <= hit.rank < 1 for hit in hits)
    again = lexical_search(loaded, "queries-other", "caption", k=100)
    ranks = {hit.row: hit.rank for hit in again}
    assert all(ranks[row] == ranks[row + 10] for row in range(10)), "the same text ranks the same"
    order = [hit.row for hit in again]
    assert all(order.index(row) < order.index(row + 10) for row in range(10))


def test_a_title_counts_for_more_than_a_series_title(loaded: Database) -> None:
    ranks = {hit.row: hit.rank for hit in lexical_search(loaded, "queries", "heart", k=10)}
    assert ranks[0] > ranks[2], "row 2 has the word in the title of its series only"


def test_k_cuts_and_filters_choose(loaded: Database) -> None:
    assert found(loaded, "caption", k=3) == found(loaded, "caption")[:3]
    assert found(loaded, "caption", filters=SampleFilter(series=("GSE2",))) == [3, 4]
    assert found(loaded, "caption", filters=SampleFilter(tissue=("heart",), exclude="failure")) == [1]


def test_a_search_stays_in_its_release(loaded: Database) -> None:
    hits = lexical_search(loaded, "queries", "cardiomyopathy", k=100)
    assert [(hit.sample_id, hit.row) for hit in hits] == [("GSM0", 0)]
    assert len(lexical_search(loaded, "queries-other", "cardiomyopathy", k=100)) == 2


def test_lexical_search_refuses_nothing_asked_and_nothing_loaded(loaded: Database, make_database: MakeDatabase) -> None:
    for phrase, k in (("", 5), (" \n", 5), ("heart", 0)):
        with pytest.raises(InputError):
            lexical_search(loaded, "queries", phrase, k=k)
    with pytest.raises(NotFoundError, match="geo-atlas release load"):
        lexical_search(loaded, "unknown", "heart", k=5)
    with pytest.raises(NotFoundError):
        lexical_search(make_database(), "queries", "heart", k=5)


def test_the_database_holds_a_release_only_if_files_and_model_are_the_same(
    loaded: Database, folder: Path, make_database: MakeDatabase
) -> None:
    files = [SimpleNamespace(path=name, sha256=sha256_file(folder / name)) for name in CATALOG_FILES]
    others = [SimpleNamespace(path="vectors.npy", sha256="f" * 64)]

    def manifest(**changes: object) -> object:
        return SimpleNamespace(**{"name": "queries", "model_hash": "m", "files": files + others, **changes})

    assert holds(loaded, manifest())
    assert not holds(loaded, manifest(name="unknown"))
    assert not holds(loaded, manifest(model_hash="other"))
    changed = [SimpleNamespace(path=files[0].path, sha256="0" * 64), *files[1:]]
    assert not holds(loaded, manifest(files=changed))
    assert loaded_release(make_database(), "queries") is None


@pytest.mark.parametrize(
    ("phrase", "asked"),
    [
        ("liver liver  liver cirrhosis liver", "liver cirrhosis"),
        ('"liver biopsy" liver liver', '"liver biopsy" liver liver'),
        ("liver or liver OR heart", "liver or liver OR heart"),
        ("liver -liver", "liver -liver"),
    ],
)
def test_a_word_said_many_times_is_asked_once_where_order_means_nothing(phrase: str, asked: str) -> None:
    assert _query_text(phrase) == asked


def test_search_uses_the_index(loaded: Database) -> None:
    with loaded.connect() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        for condition in (
            "document @@ websearch_to_tsquery('english', 'heart')",
            "tissue_words @> ARRAY['heart']",
            "series_ids && ARRAY['GSE1']",
        ):
            plan = " ".join(connection.scalars(text(f"EXPLAIN SELECT 1 FROM atlas.samples WHERE {condition}")))
            assert "document_tissue_words_series_ids_idx" in plan


def test_of_more_matches_than_are_ranked_the_same_ones_spread_over_the_release_are(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = make_database()
    load_release(database, write_release(tmp_path / "r", n_copies=40), "many", model_hash="m")
    every = lexical_search(database, "many", "heart", k=1_000)
    assert len(every) == 120
    monkeypatch.setattr("atlas.catalog.queries.MOST_RANKED", 30)
    few = lexical_search(database, "many", "heart", k=30)
    assert few == lexical_search(database, "many", "heart", k=30)
    assert few == [hit for hit in every if hit in few], "ranked as among all"
    rows = sorted(hit.row for hit in few)
    assert rows[0] < 100, "not the first rows of the release,"
    assert rows[-1] > 300, "nor the last"
    assert few[:10] == lexical_search(database, "many", "heart", k=10), "a shorter answer begins like a longer one"


def test_a_load_waits_for_the_questions_that_are_being_answered(
    any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two statements of one question its samples must not vanish."""
    load_release(any_database, write_release(tmp_path / "a"), "swapped", model_hash="m")
    new = write_release(tmp_path / "b", n_copies=2)
    found_first = queries._release_id
    loading: list[threading.Thread] = []

    def load_meanwhile(*arguments: object) -> int:
        release_id = found_first(*arguments)  # type: ignore[arg-type]
        loading.append(
            threading.Thread(target=load_release, args=(any_database, new, "swapped"), kwargs={"model_hash": "m"})
        )
        loading[0].start()
        loading[0].join(0.8)
        assert loading[0].is_alive(), "it waits with its last step"
        return release_id

    with monkeypatch.context() as patch:
        patch.setattr(queries, "_release_id", load_meanwhile)
        assert len(lexical_search(any_database, "swapped", "heart", k=100)) == 3
    loading[0].join(30)
    assert len(lexical_search(any_database, "swapped", "heart", k=100)) == 6


def test_search_refuses_rows_of_other_files(loaded: Database, folder: Path) -> None:
    files = [SimpleNamespace(path=name, sha256=sha256_file(folder / name)) for name in CATALOG_FILES]
    same = SimpleNamespace(name="queries", model_hash="m", files=files)
    assert lexical_search(loaded, "queries", "heart", k=5, manifest=same)
    with pytest.raises(ArtifactError, match="as it is on disk") as caught:
        lexical_search(loaded, "queries", "heart", k=5, manifest=SimpleNamespace(**{**vars(same), "model_hash": "n"}))
    assert caught.value.kind == "stale"
