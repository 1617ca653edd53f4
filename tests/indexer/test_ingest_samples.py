"""The ingest: who is kept, who is dropped and why, and that nothing is dropped silently."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from expression_files import counts, ensembl, wide_gene_map, write_archs4

from atlas.errors import ArtifactError, InputError
from atlas.settings import Settings
from indexer.sources.starter import STARTER_SOURCE, read_starter
from indexer.stage import BuildRequest, StageContext, StageResult
from indexer.stages import ingest_samples
from indexer.stages.ingest_samples import DROPPED, SAMPLES, SERIES, STAGE

N_GENES = 300


class Build:
    """One ingest in a folder of its own."""

    def __init__(self, root: Path, name: str, files: Sequence[Path], **more: Any) -> None:
        model = root / "model"
        model.mkdir(exist_ok=True)
        wide_gene_map(N_GENES).write(model / "genes.parquet")
        self.request = BuildRequest(
            name=name, home=root, model_dir=model, settings=Settings(), counts=tuple(files), **more
        )
        folders = [root / name / part for part in ("build", "out", "work")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        self.ctx = StageContext(self.request, *folders)

    def run(self) -> StageResult:
        result = STAGE.run(self.ctx)
        STAGE.validate(self.ctx)
        return result

    def table(self, name: str) -> pa.Table:
        return pq.read_table(self.ctx.out / f"{name}.parquet")

    def column(self, name: str, table: str = "samples") -> list[Any]:
        return list(self.table(table)[name].to_pylist())


def corpus(
    root: Path, name: str = "a.h5", *, n: int = 6, first: int = 1, values: np.ndarray | None = None, **fields: Any
) -> Path:
    values = counts(N_GENES, n) if values is None else values
    samples = {"geo_accession": [f"GSM{first + i}" for i in range(values.shape[1])], **fields}
    return write_archs4(root / name, values, samples=samples, chunks=(N_GENES, min(2, values.shape[1])))


def test_samples_of_all_files_are_kept_in_source_order(tmp_path: Path) -> None:
    files = [corpus(tmp_path, n=3), corpus(tmp_path, "b.h5", n=2, first=10, series_id=["GSE2,GSE1"] * 2)]
    build = Build(tmp_path, "x", files)
    result = build.run()
    assert (result.n_in, result.n_out, result.dropped) == (5, 5, {})
    assert build.column("sample_id") == ["GSM1", "GSM2", "GSM3", "GSM10", "GSM11"]
    assert build.column("row") == [0, 1, 2, 3, 4]
    assert build.column("source_file") == [0, 0, 0, 1, 1]
    assert build.column("source_row") == [0, 1, 2, 0, 1]
    assert build.column("tissue") == ["liver"] * 5
    assert build.column("unit") == ["counts"] * 5
    assert build.table("samples").schema == SAMPLES
    assert build.table("series").to_pylist() == [
        {"series_id": "GSE1", "title": "", "n_samples": 5},
        {"series_id": "GSE2", "title": "", "n_samples": 2},
    ]
    assert build.table("series").schema == SERIES
    assert build.table("dropped").schema == DROPPED


def test_figures_are_those_of_the_values(tmp_path: Path) -> None:
    values = counts(N_GENES, 2)
    values[10:30, 0] = 0
    build = Build(tmp_path, "x", [corpus(tmp_path, values=values)])
    build.run()
    assert build.column("total") == values.sum(axis=0).tolist()
    assert build.column("n_genes_detected") == (values > 0).sum(axis=0).tolist()
    assert build.column("n_genes_measured") == [N_GENES, N_GENES]


def test_each_dropped_sample_has_one_reason(tmp_path: Path) -> None:
    values = counts(N_GENES, 8).astype(np.float32)
    values[:, 1] = 0
    values[249:, 2] = 0
    values[250:, 3] = 0  # 250 genes are enough
    values[5, 6] = np.inf
    values[5, 7] = -1
    path = corpus(
        tmp_path,
        values=values,
        organism_ch1=["Homo sapiens", "", "", "HOMO SAPIENS", "Mus musculus", "Homo sapiens", "", ""],
        singlecellprobability=[0.0, 0.0, 0.0, 0.49, 0.0, 0.5, 0.0, 0.0],
        unit=["TPM"] * 8,
    )
    build = Build(tmp_path, "x", [path])
    result = build.run()
    assert build.column("sample_id") == ["GSM1", "GSM4"]
    assert build.table("dropped").to_pylist() == [
        {"sample_id": f"GSM{row + 1}", "source_file": 0, "source_row": row, "reason": reason}
        for row, reason in [
            (1, "zero_total"),
            (2, "too_few_genes"),
            (4, "other_organism"),
            (5, "single_cell_probable"),
            (6, "not_finite"),
            (7, "negative_value"),
        ]
    ]
    assert result.dropped == dict.fromkeys(build.column("reason", "dropped"), 1)
    assert result.n_in == result.n_out + sum(result.dropped.values())


def test_series_that_measured_no_gene_of_the_model_is_dropped_and_said(tmp_path: Path) -> None:
    measured = np.ones((2, N_GENES), dtype=np.uint8)
    measured[1] = 0
    path = write_archs4(
        tmp_path / "a.h5",
        counts(N_GENES, 4),
        samples={"series_index": [0, 1, 0, 1]},
        series={"series_id": ["GSE1", "GSE2"], "title": ["", ""], "gene_measured": measured},
    )
    build = Build(tmp_path, "x", [path])
    assert build.run().dropped == {"no_recognised_gene": 2}


def test_unmeasured_genes_are_not_counted_as_measured(tmp_path: Path) -> None:
    measured = np.ones((1, N_GENES), dtype=np.uint8)
    measured[0, :20] = 0
    path = write_archs4(
        tmp_path / "a.h5",
        counts(N_GENES, 2),
        samples={"series_index": [0, 0]},
        series={"series_id": ["GSE1"], "title": ["The study"], "gene_measured": measured},
    )
    build = Build(tmp_path, "x", [path])
    build.run()
    assert build.column("n_genes_measured") == [N_GENES - 20] * 2
    assert build.column("title", "series") == ["The study"]


def test_log2_values_above_the_samples_lowest_are_detected(tmp_path: Path) -> None:
    values = np.full((N_GENES, 1), 7.25, dtype=np.float32)
    values[:280] = 9.5
    build = Build(tmp_path, "x", [corpus(tmp_path, values=values, unit=["log2"])])
    build.run()
    assert build.column("n_genes_detected") == [280]


def test_limit_takes_the_first_kept_samples(tmp_path: Path) -> None:
    values = counts(N_GENES, 6)
    values[:, 1] = 0
    files = [corpus(tmp_path, values=values), corpus(tmp_path, "b.h5", n=2, first=10)]
    build = Build(tmp_path, "x", files, limit=3)
    result = build.run()
    assert build.column("sample_id") == ["GSM1", "GSM3", "GSM4"]
    assert result.dropped == {"zero_total": 1}
    assert result.notes["not_reached_by_limit"] == 8 - 3 - 1
    everything = Build(tmp_path, "y", files, limit=100)
    assert everything.run().n_out == 7
    assert STAGE.params(build.request) != STAGE.params(everything.request)


@pytest.mark.parametrize("across", [False, True])
def test_duplicate_accessions_are_refused_by_name(tmp_path: Path, across: bool) -> None:
    if across:
        files = [corpus(tmp_path, n=3), corpus(tmp_path, "b.h5", n=3, first=3)]
    else:
        files = [corpus(tmp_path, n=3, geo_accession=["GSM1", "GSM3", "GSM3"])]
    with pytest.raises(InputError, match="occur more than once: GSM3") as caught:
        Build(tmp_path, "x", files).run()
    assert caught.value.details["duplicates"] == ["GSM3"]


def test_nothing_left_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    path = corpus(tmp_path, n=2, organism_ch1=["Mus musculus"] * 2)
    with pytest.raises(InputError, match=r"other_organism.*2"):
        Build(tmp_path, "x", [path]).run()


def test_mouse_genes_for_a_human_atlas_are_refused(tmp_path: Path) -> None:
    genes = {"ensembl_gene_id": [ensembl(i + 1, "mouse") for i in range(N_GENES)], "symbol": ["Gapdh"] * N_GENES}
    path = write_archs4(tmp_path / "a.h5", counts(N_GENES, 2), genes=genes)
    with pytest.raises(InputError, match="mouse genes"):
        Build(tmp_path, "x", [path]).run()


def test_undeclared_fractions_are_refused_and_read_once_declared(tmp_path: Path) -> None:
    path = corpus(tmp_path, values=counts(N_GENES, 2).astype(np.float32) + np.float32(0.25))
    with pytest.raises(InputError, match="--unit counts"):
        Build(tmp_path, "x", [path]).run()
    build = Build(tmp_path, "y", [path], unit="tpm")
    build.run()
    assert build.column("unit") == ["tpm", "tpm"]


def test_a_failing_read_fails_the_stage(tmp_path: Path) -> None:
    path = write_archs4(tmp_path / "a.h5", counts(N_GENES, 40), chunks=(N_GENES, 4), compression="gzip")
    with h5py.File(path) as file:
        info = file["data/expression"].id.get_chunk_info(5)
    with path.open("r+b") as raw:
        raw.seek(info.byte_offset + 10)
        raw.write(b"\xff" * (info.size - 20))
    build = Build(tmp_path, "x", [path])
    with pytest.raises(InputError, match="cannot be read"):
        build.run()
    assert not (build.ctx.out / "samples.parquet").exists()


def test_killed_ingest_continues_with_the_shards_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_samples, "_SHARD_ROWS", 4)
    path = corpus(tmp_path, n=10)
    whole = Build(tmp_path, "whole", [path])
    whole.run()
    broken = Build(tmp_path, "broken", [path])
    measured: list[int] = []
    measure = ingest_samples.IngestSamples._measure

    def dies_in_the_second_shard(self: Any, source: Any, *, rows: np.ndarray, **more: Any) -> pa.Table:
        measured.append(int(rows[0]))
        if measured == [0, 4]:
            raise KeyboardInterrupt
        return measure(self, source, rows=rows, **more)

    monkeypatch.setattr(ingest_samples.IngestSamples, "_measure", dies_in_the_second_shard)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    broken.run()
    assert measured == [0, 4, 4, 8]  # the first shard is not measured again
    for name in STAGE.outputs:
        assert (broken.ctx.out / name).read_bytes() == (whole.ctx.out / name).read_bytes()


def test_text_changes_nothing_but_text(tmp_path: Path) -> None:
    first = Build(tmp_path, "x", [corpus(tmp_path, n=4)])
    second = Build(tmp_path, "y", [corpus(tmp_path, "b.h5", n=4, title=["z"] * 4, source_name_ch1=["brain"] * 4)])
    first.run()
    second.run()
    for column in ("sample_id", "unit", "n_genes_measured", "n_genes_detected", "total"):
        assert first.column(column) == second.column(column)


def test_curated_labels_enter_no_table(tmp_path: Path) -> None:
    path = corpus(tmp_path, n=2, curated_tissue=["SECRETLABEL"] * 2, curated_condition=["SECRETLABEL"] * 2)
    build = Build(tmp_path, "x", [path])
    build.run()
    assert not any("SECRETLABEL" in str(build.table(name).to_pylist()) for name in ("samples", "series", "dropped"))


def make_starter(tmp_path: Path, *, first: int = 1) -> Path:
    build = Build(tmp_path, f"made{first}", [corpus(tmp_path, f"s{first}.h5", n=3, first=first)])
    build.run()
    np.save(build.ctx.out / "vectors.npy", np.ones((3, 4), dtype=np.float16))
    return build.ctx.out


def test_starter_samples_come_after_the_counts_as_they_are(tmp_path: Path) -> None:
    starter = make_starter(tmp_path, first=50)
    build = Build(tmp_path, "x", [corpus(tmp_path, n=2)], starter=starter)
    assert build.run().n_out == 5
    assert build.column("sample_id") == ["GSM1", "GSM2", "GSM50", "GSM51", "GSM52"]
    assert build.column("source_file")[2:] == [STARTER_SOURCE] * 3
    assert build.column("source_row")[2:] == [0, 1, 2]
    assert build.column("total")[2:] == pq.read_table(starter / "samples.parquet")["total"].to_pylist()


def test_dates_of_deposition_are_kept_and_a_starter_without_them_is_taken(tmp_path: Path) -> None:
    starter = make_starter(tmp_path, first=50)
    old = pq.read_table(starter / "samples.parquet").drop_columns("date")
    pq.write_table(old, starter / "samples.parquet")
    build = Build(tmp_path, "x", [corpus(tmp_path, n=2, submission_date=["Oct 31 2013", ""])], starter=starter)
    build.run()
    assert build.column("date") == ["2013-10-31", "", "", "", ""]


def test_starter_alone_needs_no_counts(tmp_path: Path) -> None:
    build = Build(tmp_path, "x", [], starter=make_starter(tmp_path))
    build.request = replace(build.request, model_dir=tmp_path / "none")
    assert build.run().n_out == 3


def test_starter_sample_that_is_in_the_counts_too_is_refused(tmp_path: Path) -> None:
    starter = make_starter(tmp_path)
    with pytest.raises(InputError, match=r"GSM1 \(a.h5, starter\)"):
        Build(tmp_path, "x", [corpus(tmp_path, n=1)], starter=starter).run()


def test_starter_that_is_damaged_is_told(tmp_path: Path) -> None:
    starter = make_starter(tmp_path)
    np.save(starter / "vectors.npy", np.ones((2, 4), dtype=np.float16))
    with pytest.raises(ArtifactError, match=r"3 samples but vectors of shape \(2, 4\)") as corrupt:
        read_starter(starter)
    (starter / "vectors.npy").unlink()
    with pytest.raises(ArtifactError, match="no vectors.npy") as missing:
        read_starter(starter)
    assert (corrupt.value.kind, missing.value.kind) == ("corrupt", "missing")


@pytest.mark.parametrize("made", ["folder", "pipe"])
def test_source_that_is_no_plain_file_is_refused_before_it_is_read(tmp_path: Path, made: str) -> None:
    source = tmp_path / made
    source.mkdir() if made == "folder" else os.mkfifo(source)
    with pytest.raises(InputError, match="is not a file"):
        STAGE.sources(Build(tmp_path, "x", [source]).request)


def test_nothing_to_ingest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to ingest"):
        Build(tmp_path, "x", []).run()


def test_validate_finds_a_changed_table(tmp_path: Path) -> None:
    build = Build(tmp_path, "x", [corpus(tmp_path, n=3)])
    build.run()
    table = build.table("samples")
    pq.write_table(pa.concat_tables([table, table]), build.ctx.out / "samples.parquet")
    with pytest.raises(ArtifactError, match="inconsistent"):
        STAGE.validate(build.ctx)


@pytest.mark.data
def test_real_corpora_keep_every_sample(tmp_path: Path, data_root: Path) -> None:
    files = [data_root / "corpora" / name for name in ("counts.h5", "tpm.h5")]
    with h5py.File(files[0]) as file:
        coding = file["meta/genes/biotype"].asstr()[:] == "protein-coding gene"
        ids = file["meta/genes/ensembl_gene"].asstr()[:][coding]
        symbols = file["meta/genes/symbol"].asstr()[:][coding]
        declared = file["meta/series/gene_measured"][:, coding].sum(axis=1)[file["meta/samples/series_index"][:]]
    build = Build(tmp_path, "x", files)
    genes = ingest_samples.GeneMap(tuple(ids), tuple(symbols), ("human",) * len(ids))
    genes.write(tmp_path / "model" / "genes.parquet")
    result = build.run()
    assert (result.n_in, result.n_out, result.dropped) == (2_399, 2_399, {})
    assert result.notes["units"] == {"counts": 1_419, "fpkm": 101, "log2": 366, "normalised": 473, "tpm": 40}
    assert build.column("n_genes_measured")[:1_419] == declared.tolist()
    assert build.table("series").num_rows == 68
    samples = build.table("samples")
    assert sum(kind != "made" for kind in samples["id_kind"].to_pylist()) == 1_522
