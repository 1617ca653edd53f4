"""Corpora as training pairs: what becomes an item, what its captions say, and that rows come back as asked."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from expression_files import wide_gene_map, write_column
from training_files import N_GENES, write_corpus

from atlas.errors import InputError
from atlas.expression.align import align
from atlas.expression.source import open_source
from indexer.training.augmentation import MODERATE
from indexer.training.provenance import NEVER_TRAINED
from indexer.training.sources.captions import caption_variants
from indexer.training.sources.corpus import CorpusSource
from indexer.training.sources.source import RowRandom, pair

GENES = wide_gene_map(N_GENES)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "a.h5", ["GSE1"] * 6 + ["GSE2"] * 4 + ["GSE3,GSE4"])


def test_corpus_rows_come_in_the_order_asked_for_and_equal_the_file(corpus: Path, tmp_path: Path) -> None:
    other = write_corpus(tmp_path / "b.h5", ["GSE9"] * 3, seed=5, geo_accession=["GSM901", "GSM902", "GSM903"])
    source = CorpusSource([corpus, other], genes=GENES)
    rows = [12, 0, 3, 12, 9, 11]
    aligned = source.expression(rows)
    assert aligned.sample_ids == tuple(source.item_ids[row] for row in rows)
    for path, first, last in ((corpus, 0, 11), (other, 11, 14)):
        with open_source(path) as reader:
            _, matrix = next(iter(reader.blocks()))
        whole = align(matrix, GENES).values
        for place, row in enumerate(rows):
            if first <= row < last:
                np.testing.assert_array_equal(aligned.values[place], whole[row - first])


def test_corpus_never_offers_evaluation_rows(tmp_path: Path) -> None:
    series = ["GSE1", *sorted(NEVER_TRAINED), "GSE2"]
    source = CorpusSource([write_corpus(tmp_path / "a.h5", series)], genes=GENES)
    assert [source.series_of(row) for row in range(len(source))] == [("GSE1",), ("GSE2",)]
    assert source.dropped == {"excluded_series": len(NEVER_TRAINED)}


def test_corpus_excludes_series_and_refuses_unknown_ones(corpus: Path) -> None:
    source = CorpusSource([corpus], genes=GENES, exclude_series=["GSE4"])
    assert len(source) == 10
    with pytest.raises(InputError, match="GSE99 cannot be excluded"):
        CorpusSource([corpus], genes=GENES, exclude_series=["GSE99"])
    with pytest.raises(InputError, match="no item left"):
        CorpusSource([corpus], genes=GENES, exclude_series=["GSE1", "GSE2", "GSE3"])


def test_corpus_drops_what_tells_nothing_other_species_and_single_cells(tmp_path: Path) -> None:
    path = write_corpus(
        tmp_path / "a.h5",
        ["GSE1"] * 4,
        source_name_ch1=["liver", "", "liver", "liver"],
        title=["liver of a donor", "12", "liver", "liver"],
        characteristics_ch1=["tissue: liver", "batch: 1", "tissue: liver", "tissue: liver"],
        organism_ch1=["Homo sapiens", "Homo sapiens", "Mus musculus", "Homo sapiens"],
        singlecellprobability=np.array([0.1, 0.0, 0.0, 0.9]),
    )
    with h5py.File(path, "a") as file:
        del file["meta/series"]
    source = CorpusSource([path], genes=GENES)
    assert list(source.item_ids) == ["GSM1"]
    assert source.dropped == {"no_caption": 1, "other_organism": 1, "single_cell": 1}


def test_corpus_curated_fields_reach_neither_captions_nor_links_nor_items(corpus: Path) -> None:
    before = CorpusSource([corpus], genes=GENES)
    captions = [before.captions(row) for row in range(len(before))]
    links = list(before.links())
    with h5py.File(corpus, "a") as file:
        n = len(file["meta/samples/title"])
        for name in ("curated_tissue", "curated_condition"):
            write_column(file, f"meta/samples/{name}", ["SECRETLABEL"] * n)
        write_column(file, "meta/series/curated_note", ["SECRETLABEL"] * len(file["meta/series/title"]))
    after = CorpusSource([corpus], genes=GENES)
    assert [after.captions(row) for row in range(len(after))] == captions
    assert list(after.links()) == links
    assert "SECRETLABEL" not in repr(captions)


def test_corpus_captions_are_distinct_and_the_same_at_every_call(corpus: Path) -> None:
    source = CorpusSource([corpus], genes=GENES, replicates={"GSM1": ["A liver biopsy."]})
    texts = source.captions(0)
    assert texts == source.captions(0)
    assert len(set(texts)) == len(texts) >= 4
    assert texts[0].endswith("Study: A study of GSE1.") or "Study:" in texts[0]
    assert texts[1] == "A liver biopsy."
    assert "A liver biopsy." not in source.captions(1)


def test_caption_variants_keep_letter_case_and_infer_nothing() -> None:
    texts = caption_variants(
        "s1", "MCF-7", characteristics="treatment: E2,batch: 7", series_title="Estrogen in GSE77 cells"
    )
    assert "A sample of MCF-7." in texts
    assert "A sample of MCF-7 with treatment E2." in texts
    assert not any("batch" in text or "GSE77" in text for text in texts)
    assert caption_variants("", "", characteristics="batch: 7", series_title="") == ()


def test_corpus_augmented_rows_depend_on_seed_epoch_and_row_alone(corpus: Path) -> None:
    source = CorpusSource([corpus], genes=GENES, augmentation=MODERATE)
    alone = [source.expression([row], rng=RowRandom(3, 1)) for row in range(8)]
    together = source.expression(range(8), rng=RowRandom(3, 1))
    for row, one in enumerate(alone):
        np.testing.assert_array_equal(one.values[0], together.values[row])
        np.testing.assert_array_equal(one.measured[0], together.measured[row])
        assert one.units[0] == together.units[row]
    other = source.expression(range(8), rng=RowRandom(3, 2))
    assert not np.array_equal(other.values, together.values)


def test_corpus_fingerprint_changes_with_what_decides_the_items(corpus: Path, tmp_path: Path) -> None:
    marks = {
        CorpusSource([corpus], genes=GENES).fingerprint,
        CorpusSource([corpus], genes=GENES, exclude_series=["GSE2"]).fingerprint,
        CorpusSource([corpus], genes=GENES, replicates={"GSM1": ["liver"]}).fingerprint,
        CorpusSource([write_corpus(tmp_path / "c.h5", ["GSE1"] * 11, seed=1)], genes=GENES).fingerprint,
    }
    assert len(marks) == 4
    assert CorpusSource([corpus], genes=GENES).fingerprint in marks


def test_corpus_rows_outside_and_wrong_weights_are_refused(corpus: Path) -> None:
    source = CorpusSource([corpus], genes=GENES)
    with pytest.raises(InputError, match="between 0 and 10"):
        source.expression([11])
    with pytest.raises(InputError, match="No row was asked for"):
        source.expression([])
    with pytest.raises(InputError, match="expected 11 finite numbers"):
        source.weigh([1.0] * 10)
    source.weigh(np.arange(11))
    assert source.weights.mean() == pytest.approx(1.0)
    assert pair(source, 5).weight == pytest.approx(1.0)
    assert pair(source, 0).block == "GSE1"
