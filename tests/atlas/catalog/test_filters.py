"""The filter on tables against a plain reading of its words, and against the same filter in SQL on both servers."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from catalog_release import ID_KINDS, MOLECULES, SAMPLES, SERIES, UNITS, write_release
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from atlas.catalog.database import Database
from atlas.catalog.filters import SampleFilter
from atlas.catalog.tables import ReleaseRow, SampleRow
from atlas.errors import InputError
from indexer.stages.load_catalog import load_release

NASTY = (
    "%",
    "_",
    "50%",
    "liver_",
    "r_c",
    "\\",
    "c:\\liver\\x",
    "\\%",
    "'",
    "o'brien",
    '"whole blood"',
    "'; DROP TABLE samples; --",
    "<script>",
    "<b>",
    "$1",
    "%s",
    "%(x)s",
    ":name",
    "{}",
    "cœur",
    "CŒUR",
    "étude",
    "E\u0301TUDE",
    "naïf",
    "fibre",
    "ﬁbre",
    "\0",
    "\ud800",
    "\n",
    " ",
    "",
    "|",
    "heart",
    "HEART",
    "left ventricle",
    "ventricle left",
    "whole blood",
    "whole-blood",
    "Whole   Blood",
    "liver/hepatocyte",
    "liver hepatocyte",
    "heart liver",
    "SARS-CoV-2",
    "homo sapiens",
    "GSE1",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("filters") / "release")


@pytest.fixture(scope="module")
def table(folder: Path) -> pa.Table:
    captions = pq.read_table(folder / "captions.parquet")
    return pq.read_table(folder / "samples.parquet").append_column("caption", captions["caption"])


@pytest.fixture(scope="module")
def loaded(any_database: Database, folder: Path) -> Database:
    load_release(any_database, folder, "filters", model_hash="m")
    return any_database


def rows_by_table(table: pa.Table, chosen: SampleFilter) -> list[int]:
    clusters = np.arange(table.num_rows) % 2
    return np.flatnonzero(chosen.mask(table, series_titles=SERIES, clusters=clusters)).tolist()


def rows_by_sql(database: Database, chosen: SampleFilter) -> list[int]:
    statement = (
        select(SampleRow.row)
        .join(ReleaseRow, ReleaseRow.release_id == SampleRow.release_id)
        .where(ReleaseRow.name == "filters", *chosen.conditions())
        .order_by(SampleRow.row)
    )
    with database.connect() as connection:
        return list(connection.scalars(statement))


def plain(text: str | None) -> str:
    return unicodedata.normalize("NFKC", text or "").lower()


def stored(text: str | None) -> str:
    return (text or "").replace("\0", "\ufffd")


def rows_by_reading(chosen: SampleFilter) -> list[int]:
    """The definition, sample by sample."""
    found = []
    for row, (series, title, source, characteristics, tissue, organism) in enumerate(SAMPLES):
        words = [re.findall(r"[^\W_]+", plain(field)) for field in (tissue, source)]
        wanted = [re.findall(r"[^\W_]+", plain(one)) for one in chosen.tissue]
        in_tissue = any(
            one and any(field[i : i + len(one)] == one for i in range(len(field))) for one in wanted for field in words
        )
        texts = [title, source, characteristics, f"caption of {title}", *(SERIES[one] for one in series)]
        unwanted = plain((chosen.exclude or "").strip())
        if (
            (not chosen.tissue or in_tissue)
            and (not chosen.series or set(chosen.series) & set(series))
            and (not chosen.organism or plain(organism) in [plain(one.strip()) for one in chosen.organism])
            and not (unwanted and any(unwanted in plain(one) for one in texts))
            and (not chosen.cluster or row % 2 in chosen.cluster)
            and (not chosen.unit or stored(UNITS[row % 5]) in map(stored, chosen.unit))
            and (not chosen.molecule or stored(MOLECULES[row % 4]) in map(stored, chosen.molecule))
            and (not chosen.id_kind or ID_KINDS[row % 3] in chosen.id_kind)
        ):
            found.append(row)
    return found


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (SampleFilter(), list(range(10))),
        (SampleFilter(tissue=("heart",)), [0, 1]),
        (SampleFilter(tissue=("LEFT ventricle",)), [0, 1]),
        (SampleFilter(tissue=("ventricle left",)), []),
        (SampleFilter(tissue=("heart left",)), []),
        (SampleFilter(tissue=("blood",)), [2, 6]),
        (SampleFilter(tissue=("whole-blood",)), [2, 6]),
        (SampleFilter(tissue=("cœur", "liver")), [3, 4, 7]),
        (SampleFilter(tissue=("%",)), []),
        (SampleFilter(series=("GSE3",)), [2, 5, 6]),
        (SampleFilter(series=("gse3",)), []),
        (SampleFilter(series=("GSE1", "GSE4")), [0, 1, 2, 7, 8]),
        (SampleFilter(organism=("HOMO SAPIENS",)), [0, 1, 2, 3, 4, 5, 6]),
        (SampleFilter(organism=("Homo",)), []),
        (SampleFilter(exclude="heart"), [3, 4, 5, 6, 7, 9]),
        (SampleFilter(exclude="%"), [0, 1, 2, 5, 6, 7, 8, 9]),
        (SampleFilter(exclude="liver_"), [0, 1, 2, 5, 6, 7, 8, 9]),
        (SampleFilter(exclude="O'BRIEN"), [0, 1, 3, 4, 7, 8, 9]),
        (SampleFilter(exclude="naïf"), [0, 1, 2, 3, 4, 5, 6, 9]),
        (SampleFilter(exclude="  "), list(range(10))),
        (SampleFilter(tissue=("heart",), exclude="failure"), [1]),
        (SampleFilter(cluster=(1,)), [1, 3, 5, 7, 9]),
        (SampleFilter(cluster=(-1, 7, 2**31, 10**30)), []),
        (SampleFilter(unit=("counts",)), [0, 5]),
        (SampleFilter(unit=("50%", "Counts")), [1, 3, 6, 8]),
        (SampleFilter(unit=("",)), [2, 4, 7, 9]),
        (SampleFilter(molecule=("polyA\0RNA",)), [1, 5, 9]),
        (SampleFilter(id_kind=("run",), cluster=(0,), molecule=("total RNA",)), [4]),
    ],
)
def test_mask_gives_the_rows_the_words_mean(table: pa.Table, chosen: SampleFilter, expected: list[int]) -> None:
    assert rows_by_table(table, chosen) == expected
    assert rows_by_reading(chosen) == expected


def every_way(text: str) -> list[SampleFilter]:
    return [
        SampleFilter(tissue=(text,)),
        SampleFilter(series=(text,)),
        SampleFilter(organism=(text,)),
        SampleFilter(exclude=text),
        SampleFilter(unit=(text,)),
        SampleFilter(molecule=(text,)),
        SampleFilter(id_kind=(text,)),
    ]


@pytest.mark.postgres
@pytest.mark.parametrize("text", NASTY, ids=[ascii(one) for one in NASTY])
def test_table_and_sql_agree_on_every_nasty_text(loaded: Database, table: pa.Table, text: str) -> None:
    for chosen in every_way(text):
        rows = rows_by_table(table, chosen)
        assert rows_by_sql(loaded, chosen) == rows, chosen
        if text not in ("\0", "\ud800"):
            assert rows_by_reading(chosen) == rows, chosen


texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=12))
filters = st.builds(
    SampleFilter,
    tissue=st.lists(texts, max_size=2).map(tuple),
    series=st.lists(st.sampled_from([*SERIES, "GSE9"]), max_size=2).map(tuple),
    organism=st.lists(st.sampled_from(["homo sapiens", "Mus musculus", ""]), max_size=2).map(tuple),
    exclude=st.none() | texts,
    cluster=st.lists(st.integers(-1, 3) | st.just(2**40), max_size=2).map(tuple),
    unit=st.lists(st.sampled_from(UNITS[:2]) | texts, max_size=2).map(tuple),
    molecule=st.lists(st.sampled_from(MOLECULES[:3]) | texts, max_size=2).map(tuple),
    id_kind=st.lists(st.sampled_from([*ID_KINDS, "gsm"]), max_size=2).map(tuple),
)


@pytest.mark.postgres
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=filters)
def test_table_and_sql_agree_on_any_filter(loaded: Database, table: pa.Table, chosen: SampleFilter) -> None:
    assert rows_by_sql(loaded, chosen) == rows_by_table(table, chosen)


def test_mask_reads_sliced_and_chunked_tables_alike(table: pa.Table) -> None:
    whole = pa.concat_tables([table, table, table])
    chosen = SampleFilter(series=("GSE3",), exclude="'; DROP")
    expected = chosen.mask(table, series_titles=SERIES)
    assert chosen.mask(whole, series_titles=SERIES).tolist() == np.tile(expected, 3).tolist()
    part = SampleFilter(series=("GSE3",)).mask(whole.slice(7, 6), series_titles=SERIES)
    assert part.tolist() == np.tile(SampleFilter(series=("GSE3",)).mask(table), 3)[7:13].tolist()


def test_mask_of_no_samples_is_empty(table: pa.Table) -> None:
    for chosen in every_way("heart"):
        assert chosen.mask(table.slice(0, 0), series_titles=SERIES).shape == (0,)


def test_clusters_must_be_given_where_the_filter_names_some(table: pa.Table) -> None:
    with pytest.raises(InputError, match="clusters"):
        SampleFilter(cluster=(1,)).mask(table)


def test_an_empty_filter_says_so() -> None:
    assert SampleFilter().is_empty
    assert SampleFilter(exclude=" ").is_empty
    assert not SampleFilter(tissue=("",)).is_empty
