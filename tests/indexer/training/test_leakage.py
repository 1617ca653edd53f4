"""A leak that is planted is found; a clean split is not accused; and on the real corpora the known copies are found."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from expression_files import wide_gene_map
from training_files import N_GENES, write_cells, write_corpus

from atlas.errors import InputError
from atlas.expression.genes import GeneMap
from indexer.training.leakage import find_leaks, read_evaluation_set, refuse_leaks
from indexer.training.provenance import NEVER_TRAINED, evaluation_provenance, seen_by, withheld_from
from indexer.training.sources.corpus import CorpusSource

GENES = wide_gene_map(N_GENES)
SYMBOLS = [f"G{i}" for i in range(N_GENES)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    ids = [f"GSM{i}" for i in range(11)] + ["TCGA-A6-6782-01A"]
    return write_corpus(tmp_path / "corpus.h5", ["GSE1"] * 6 + ["GSE2"] * 6, geo_accession=ids)


def fresh(n: int, seed: int = 99) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(3, 1.5, size=(n, N_GENES)).astype(np.float32)


def evaluation(path: Path, values: np.ndarray, ids: list[str] | None = None) -> Path:
    return write_cells(path, values, genes=SYMBOLS, obs={"cell_type": ["x"] * len(values)}, ids=ids)


def planted(corpus: Path, row: int) -> np.ndarray:
    with h5py.File(corpus) as file:
        values: np.ndarray = file["data/expression"][:, row].astype(np.float32)
    return values


def test_leakage_clean_sets_are_not_accused(corpus: Path, tmp_path: Path) -> None:
    clean = read_evaluation_set(evaluation(tmp_path / "clean.h5ad", fresh(5)), GENES)
    report = find_leaks([CorpusSource([corpus], genes=GENES)], [clean])
    assert report.leaks == ()
    assert (report.n_items, report.n_rows, report.n_too_few_genes) == (12, 5, 0)
    refuse_leaks(report)


@pytest.mark.parametrize("change", ["copy", "scaled", "logged", "panel", "noisy"])
def test_leakage_a_planted_copy_is_found_whatever_its_unit(corpus: Path, tmp_path: Path, change: str) -> None:
    values, genes = fresh(4), SYMBOLS
    copied = planted(corpus, 3)
    values[2] = {"scaled": copied * 0.37, "noisy": copied * np.random.default_rng(0).normal(1, 0.02, N_GENES)}.get(
        change, copied
    )
    if change == "logged":
        values = np.log1p(values / values.sum(axis=1, keepdims=True) * 1e4)
    if change == "panel":
        kept = np.random.default_rng(1).permutation(N_GENES)[:550]
        values, genes = values[:, kept], [SYMBOLS[i] for i in kept]
    path = write_cells(tmp_path / "planted.h5ad", values, genes=genes, obs={"cell_type": ["x"] * 4})
    report = find_leaks([CorpusSource([corpus], genes=GENES)], [read_evaluation_set(path, GENES)])
    assert [(leak.kind, leak.item_id, leak.row_id) for leak in report.leaks] == [("expression", "GSM3", "cell2")]
    with pytest.raises(InputError, match="1 items of training share .* with planted: GSM3 of corpus = cell2"):
        refuse_leaks(report)


@pytest.mark.parametrize(
    ("row_id", "kind"), [("GSM5", "accession"), ("TCGA-A6-6782-11A-02R", "donor"), ("my TCGA-A6-6782", "donor")]
)
def test_leakage_shared_accessions_and_donors_are_found(corpus: Path, tmp_path: Path, row_id: str, kind: str) -> None:
    path = evaluation(tmp_path / "named.h5ad", fresh(3), ids=["a", row_id, "c"])
    report = find_leaks([CorpusSource([corpus], genes=GENES)], [read_evaluation_set(path, GENES)])
    assert [leak.kind for leak in report.leaks] == [kind]


def test_leakage_barcodes_count_when_many_are_shared(tmp_path: Path) -> None:
    from indexer.training.sources.labelled_cells import LabelledCellsSource

    rng = np.random.default_rng(0)
    codes = ["".join(rng.choice(list("ACGT"), 16)) for _ in range(60)]

    def cells(name: str, ids: list[str], seed: int) -> Path:
        return evaluation(tmp_path / f"{name}.h5ad", fresh(len(ids), seed), ids=ids)

    source = LabelledCellsSource([cells("train", [f"{code}-1" for code in codes[:30]], 1)], genes=GENES)
    same = read_evaluation_set(cells("same", codes[20:40], 2), GENES)
    chance = read_evaluation_set(cells("chance", codes[29:59], 3), GENES)
    report = find_leaks([source], [same, chance])
    assert [(leak.kind, leak.evaluation_set, leak.value) for leak in report.leaks] == [("barcode", "same", 0.5)]


def test_leakage_too_few_shared_genes_are_counted_not_passed_as_clean(corpus: Path, tmp_path: Path) -> None:
    path = write_cells(tmp_path / "few.h5ad", fresh(2)[:, :90], genes=SYMBOLS[:90], obs={"cell_type": ["x"] * 2})
    assert find_leaks([CorpusSource([corpus], genes=GENES)], [read_evaluation_set(path, GENES)]).n_too_few_genes == 12


def test_provenance_names_what_shares_the_origin_of_a_set() -> None:
    libraries, series = withheld_from("bulk_human_gtex_tissue_means_54")
    assert {"GTEx_Tissues_V8_2023", "Human_Gene_Atlas"} <= libraries
    assert "GTEx-average-recount2" in series
    seen = seen_by(
        "bulk_human_gtex_tissue_means_54", libraries=["GTEx_Tissues_V8_2023", "KEGG_2021_Human"], series=["GSE1"]
    )
    assert [(one.name, one.relation) for one in seen] == [("GTEx_Tissues_V8_2023", "same atlas")]
    assert seen_by("my own file", libraries=["GTEx_Tissues_V8_2023"]) == ()
    named = {
        one.name
        for entry in evaluation_provenance().values()
        for one in entry.related
        if one.relation == "same samples"
    }
    assert named == NEVER_TRAINED


@pytest.mark.data
def test_provenance_covers_every_evaluation_set_and_names_libraries_that_exist(data_root: Path) -> None:
    table = evaluation_provenance()
    assert set(table) == {path.stem for path in (data_root / "evaluation").glob("*.h5ad")}
    libraries = {path.stem for path in (data_root / "genesets" / "enrichr").glob("*.gmt")}
    related = [one for entry in table.values() for one in entry.related]
    assert {one.name for one in related if one.kind == "library"} <= libraries
    series = set()
    for name in ("counts", "tpm"):
        with h5py.File(data_root / "corpora" / f"{name}.h5") as file:
            series |= {text.decode() for text in file["meta/series/series_id"][:]}
    assert {one.name for one in related if one.kind == "series"} <= series


@pytest.mark.data
def test_leakage_on_the_real_corpora_finds_the_two_known_series_and_no_other(data_root: Path) -> None:
    genes = GeneMap.read(Path(__file__).resolve().parents[3] / "starter" / "model" / "genes.parquet")
    kept = {*NEVER_TRAINED, "HPA-blood", "TCGA-UCS", "GSE83115", "SRP009615", "MADE:Pickrell2010"}
    found: dict[str, set[str]] = {}
    sets = [
        read_evaluation_set(data_root / "evaluation" / f"bulk_human_{name}.h5ad", genes)
        for name in ("gtex_tissue_means_54", "hematopoiesis_16")
    ]
    for name in ("counts", "tpm"):
        path = data_root / "corpora" / f"{name}.h5"
        with h5py.File(path) as file:
            others = {text.decode() for text in file["meta/series/series_id"][:]} - kept
        source = CorpusSource([path], genes=genes, exclude_series=others, exclude_evaluation=False)
        for leak in find_leaks([source], sets).leaks:
            series = source.series_of(source.item_ids.index(leak.item_id))[0]
            found.setdefault(series, set()).add(leak.evaluation_set)
        guarded = CorpusSource([path], genes=genes, exclude_series=others)
        assert find_leaks([guarded], sets).leaks == ()
    assert found == {
        "GTEx-average-recount2": {"bulk_human_gtex_tissue_means_54"},
        "MADE:heme-16populations": {"bulk_human_hematopoiesis_16"},
    }
