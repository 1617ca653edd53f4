"""Fitting gene statistics and making the gene table, on small files written here."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest
from expression_files import counts, write_archs4
from toy_model import ToyTextTower, write_toy_model

from atlas.errors import ArtifactError, InputError
from atlas.expression.align import GeneAligner
from atlas.expression.log import log_expression
from atlas.expression.source import open_source
from atlas.model.checkpoint import model_hash, read_model
from atlas.model.joint import JointModel
from atlas.model.statistics import standardise
from atlas.model.text_tower import TEXT_TOWERS
from indexer.fit_statistics import fit_statistics
from indexer.sources.gene_texts import build_gene_table, embed_in_shards, read_gene_texts
from indexer.studies import study_of

N_GENES = 300
SERIES = ["GSE1"] * 6 + ["GSE2"] * 2 + ["GSE107991", "GSE107993"] + ["LEAK"] * 2


@pytest.fixture(autouse=True)
def _toy_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_toy_model(tmp_path / "model", N_GENES, n_mouse=4, fitted=False)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_archs4(tmp_path / "a.h5", counts(N_GENES, 12), samples={"series_id": SERIES}, chunks=(N_GENES, 4))


def plain_statistics(model: Path, corpus: Path) -> tuple[np.ndarray, np.ndarray]:
    """Study-weighted mean and deviation over all rows but the excluded ones, without shrinkage."""
    genes = read_model(model).gene_map
    with open_source(corpus) as source:
        aligner = GeneAligner(source.genes, source.symbols, genes=genes)
        logs = np.concatenate([log_expression(aligner.align(matrix)) for _, matrix in source.blocks()])
    scores = np.stack([standardise(row, kind="rank") for row in logs])[:10, :N_GENES]
    studies = np.array([study_of(name) for name in SERIES[:10]])
    mean = np.mean([scores[studies == name].mean(axis=0) for name in np.unique(studies)], axis=0)
    variance = np.mean([((scores[studies == s] - mean) ** 2).mean(axis=0) for s in np.unique(studies)], axis=0)
    n = len(np.unique(studies))
    return mean, np.sqrt((n * variance + 2.0 * np.median(variance)) / (n + 2.0))


def test_fit_equals_the_plain_computation_and_leaves_excluded_series_out(model: Path, corpus: Path) -> None:
    expected_mean, expected_deviation = plain_statistics(model, corpus)
    record = fit_statistics(model, [corpus], exclude_series=("LEAK",))
    parts = read_model(model)
    assert parts.statistics is not None
    np.testing.assert_allclose(parts.statistics.mean[:N_GENES], expected_mean, atol=1e-6)
    np.testing.assert_allclose(parts.statistics.deviation[:N_GENES], expected_deviation, atol=1e-6)
    assert (record.n_samples, record.n_studies, record.excluded_series) == (10, 3, ("LEAK",))
    assert parts.config.statistics == record


def test_fit_lends_mouse_genes_their_orthologs_statistics(model: Path, corpus: Path) -> None:
    fit_statistics(model, [corpus])
    statistics = read_model(model).statistics
    assert statistics is not None
    np.testing.assert_array_equal(statistics.mean[N_GENES:], statistics.mean[:4])
    assert statistics.n_studies[N_GENES:].tolist() == [0] * 4


def test_fit_changes_the_hash_and_is_repeatable(model: Path, corpus: Path) -> None:
    before = model_hash(model)
    fit_statistics(model, [corpus], exclude_series=("LEAK",))
    first = model_hash(model)
    fit_statistics(model, [corpus], exclude_series=("LEAK",))
    assert before != first == model_hash(model)
    fit_statistics(model, [corpus])
    assert model_hash(model) != first


def test_fit_into_another_folder_leaves_the_first_alone(model: Path, corpus: Path, tmp_path: Path) -> None:
    before = model_hash(model)
    fit_statistics(model, [corpus], out=tmp_path / "fitted")
    assert model_hash(model) == before
    assert read_model(tmp_path / "fitted").statistics is not None


def test_fit_reads_no_text_but_the_series(model: Path, corpus: Path) -> None:
    fit_statistics(model, [corpus])
    before = read_model(model).statistics
    with h5py.File(corpus, "r+") as file:
        for name in ("title", "source_name_ch1", "characteristics_ch1"):
            file[f"meta/samples/{name}"][:] = ["liver cancer"] * 12
    fit_statistics(model, [corpus])
    after = read_model(model).statistics
    assert before is not None
    assert after is not None
    assert before.mean.tobytes() == after.mean.tobytes()
    assert before.deviation.tobytes() == after.deviation.tobytes()


def test_fitted_model_embeds(model: Path, corpus: Path) -> None:
    fit_statistics(model, [corpus])
    loaded = JointModel.load(model)
    with open_source(corpus) as source:
        vectors = np.concatenate([loaded.embed_matrix(matrix)[0] for _, matrix in source.blocks()])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_excluding_an_absent_series_is_refused(model: Path, corpus: Path) -> None:
    before = model_hash(model)
    with pytest.raises(InputError, match="GSE99 cannot be excluded"):
        fit_statistics(model, [corpus], exclude_series=("LEAK", "GSE99"))
    assert model_hash(model) == before


def test_excluding_everything_is_refused(model: Path, corpus: Path) -> None:
    with pytest.raises(InputError, match="No sample is left"):
        fit_statistics(model, [corpus], exclude_series=set(SERIES))


@pytest.mark.parametrize(
    ("series", "study"),
    [
        ("GSE107992", "GSE107991"),
        ("GSE107994", "GSE107991"),
        ("GSE107996", "GSE107996"),
        ("GTEx-average-recount2", "GTEx"),
        ("MADE:GTEx-phs000424.v6-DaMiRseq", "GTEx"),
        ("phs003208-block", "phs003208"),
        ("TCGA-COADREAD-CMScaller", "TCGA-COADREAD"),
        ("TCGA-UVM", "TCGA-UVM"),
        ("GSE141910", "GSE141910"),
    ],
)
def test_study_of_known_split_studies(series: str, study: str) -> None:
    assert study_of(series) == study


def write_gene_tables(folder: Path) -> Path:
    """Five human genes, two mouse genes, and rows that do not belong."""
    tables = {
        "gene_text_human_mouse.tsv.gz": [
            "tax_id GeneID Symbol Synonyms description type_of_gene ensembl Review_status Gene_summary",
            "9606 1 MYH6 CMH14|- heart~muscle~gene protein-coding ENSG00000000006|ENSG00000000001 x About~the~heart.",
            "9606 2 ALB - liver~gene protein-coding ENSG00000000002 x ",
            "9606 3 IGHM MU blood~gene other ENSG00000000003 x ",
            "9606 4 IGHVP - blood~pseudogene other ENSG00000000004 x ",
            "9606 5 LNC1 - non~coding ncRNA ENSG00000000005 x ",
            "9606 6 LOST - without~id protein-coding  x ",
            "9606 7 SNAP - brain~gene protein-coding  x ",
            "10090 11 Myh6 Myhca heart~muscle~gene protein-coding ENSMUSG00000000001 x ",
            "10090 12 Alb Alb1 own~words protein-coding ENSMUSG00000000002 x Mouse~liver.",
            "10116 13 Rat - rat~gene protein-coding ENSRNOG00000000001 x ",
        ],
        "ensembl109_human_genes.tsv.gz": [
            "ensgene entrez symbol chr start end strand biotype description",
            "ENSG00000000006 1 MYH6 CHR_HSCHR14_PATCH 1 2 1 protein_coding x",
            "ENSG00000000001 1 MYH6 14 1 2 1 protein_coding x",
            "ENSG00000000002 2 ALB 4 1 2 1 protein_coding x",
            "ENSG00000000003 3 IGHM 14 1 2 1 IG_C_gene x",
            "ENSG00000000004 4 IGHVP 14 1 2 1 IG_V_pseudogene x",
            "ENSG00000000007 7 SNAP 20 1 2 1 protein_coding x",
        ],
        "ensembl_grcm38_mouse_genes.tsv.gz": ["ensgene entrez symbol chr start end strand biotype description"],
        "orthologs_human_mouse_babelgene.tsv.gz": [
            "human_symbol human_entrez human_ensembl mouse_symbol mouse_entrez mouse_ensembl support support_n",
            "MYH7 9 ENSG00000000009 Myh6 11 ENSMUSG00000000001 a 1",
            "MYH6 1 ENSG00000000001 Myh6 11 ENSMUSG00000000001 a|b 2",
            "ALB 2 ENSG00000000002 Alb 12 ENSMUSG00000000002 a 1",
        ],
    }
    folder.mkdir()
    for name, lines in tables.items():
        text = "\n".join(line.replace(" ", "\t").replace("~", " ") for line in lines) + "\n"
        (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))
    return folder


def test_gene_texts_of_both_organisms(tmp_path: Path) -> None:
    genes = {gene.symbol: gene for gene in read_gene_texts(write_gene_tables(tmp_path / "genes"))}
    assert list(genes) == ["MYH6", "ALB", "IGHM", "SNAP", "Myh6", "Alb"]
    assert genes["MYH6"].ensembl_id == "ENSG00000000001"  # the main chromosome, not the patch
    assert genes["MYH6"].text == "MYH6: heart muscle gene. About the heart."
    assert genes["MYH6"].synonyms == ("CMH14",)
    assert genes["ALB"].text == "ALB: liver gene."
    assert genes["SNAP"].ensembl_id == "ENSG00000000007"  # NCBI names none; Ensembl knows the Entrez id
    assert genes["Myh6"].text == "Myh6: heart muscle gene. About the heart."  # the ortholog most sources name
    assert genes["Myh6"].ortholog == "ENSG00000000001"
    assert genes["Alb"].text == "Alb: own words. Mouse liver."


def test_gene_texts_without_a_table_say_which(tmp_path: Path) -> None:
    folder = write_gene_tables(tmp_path / "genes")
    (folder / "orthologs_human_mouse_babelgene.tsv.gz").unlink()
    with pytest.raises(ArtifactError, match="orthologs_human_mouse_babelgene") as caught:
        read_gene_texts(folder)
    assert caught.value.kind == "missing"


def test_build_gene_table_writes_a_model_that_embeds_texts(tmp_path: Path) -> None:
    folder, out = write_gene_tables(tmp_path / "genes"), tmp_path / "model"
    assert build_gene_table(folder, out, text_tower=ToyTextTower(), work_dir=tmp_path / "shards") == 6
    model, parts = JointModel.load(out), read_model(out)
    assert parts.statistics is None
    assert model.genes.symbols == ("MYH6", "ALB", "IGHM", "SNAP", "Myh6", "Alb")
    np.testing.assert_array_equal(parts.table.codes[0], parts.table.codes[4])  # equal texts but for case: one vector
    human = ToyTextTower().embed([gene.text.lower() for gene in read_gene_texts(folder)][:4])
    np.testing.assert_allclose(parts.tensors["centre"], human.mean(axis=0), atol=1e-6)
    assert model.embed_texts(["heart"]).shape == (1, ToyTextTower.dim)


def test_embed_in_shards_goes_on_with_finished_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.sources.gene_texts._SHARD_TEXTS", 2)
    texts, tower = ["heart", "liver", "brain", "blood", "lung"], ToyTextTower()
    embed_in_shards(texts[:4], tower=tower, folder=tmp_path)
    assert tower.n_calls == 2
    vectors = embed_in_shards(texts, tower=tower, folder=tmp_path)
    assert tower.n_calls == 3
    np.testing.assert_array_equal(vectors, ToyTextTower().embed(texts))


def test_embed_in_shards_never_meets_other_texts(tmp_path: Path) -> None:
    tower = ToyTextTower()
    embed_in_shards(["heart"], tower=tower, folder=tmp_path)
    np.testing.assert_array_equal(
        embed_in_shards(["liver"], tower=tower, folder=tmp_path), ToyTextTower().embed(["liver"])
    )
