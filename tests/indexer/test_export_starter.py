"""The starter holds public samples and plain facts alone, in the same bytes each time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.digests import sha256_file
from atlas.errors import ArtifactError, InputError
from atlas.manifest import SCHEMA_VERSION, FileEntry, Manifest, write_json
from atlas.release import Release
from atlas.vectors.gene_weights import RECORD
from indexer.export_starter import Origin, export_starter, read_origins
from indexer.sources.starter import STARTER_SOURCE, read_starter
from indexer.stages.ingest_samples import SAMPLES, SERIES

ROWS = (
    ("GSM1", "GSM", ["GSE1"]),
    ("MADE:x-1", "made", ["MADE:x"]),
    ("SRR1", "run", ["SRP1", "GSE1"]),
    ("GSM9", "GSM", ["GSE9"]),
    ("TCGA-A", "TCGA", ["TCGA-X"]),
)
FILES = ("NOTICE", "gene_weights.npy", "samples.parquet", "series.parquet", "starter.json", "vectors.npy")


def make_release(folder: Path, rows: Sequence[tuple[str, str, list[str]]] = ROWS) -> Release:
    """A release folder with the three artefacts the export reads."""
    folder.mkdir()
    n = len(rows)
    text = {name: [f"{name} {i}" for i in range(n)] for name in ("title", "source_name", "characteristics", "tissue")}
    columns = {
        **text, "row": range(n), "sample_id": [r[0] for r in rows],
        "id_kind": [r[1] for r in rows], "series_ids": [r[2] for r in rows],
        "organism": ["Homo sapiens"] * n, "molecule": ["RNA"] * n, "unit": ["counts"] * n, "source_file": [1] * n,
        "date": ["2013-10"] * n,
        "source_row": range(100, 100 + n), "n_genes_measured": [9] * n, "n_genes_detected": [8] * n, "total": [7.0] * n,
    }  # fmt: skip
    pq.write_table(
        pa.table({name: columns[name] for name in SAMPLES.names}, schema=SAMPLES), folder / "samples.parquet"
    )
    series = sorted({s for r in rows for s in r[2]})
    titles = {"series_id": series, "title": [f"study {s}" for s in series], "n_samples": [99] * len(series)}
    pq.write_table(pa.table(titles, schema=SERIES), folder / "series.parquet")
    np.save(folder / "vectors.npy", np.eye(n, 4, dtype=np.float16))
    weights = np.zeros(n, dtype=RECORD)
    weights["norm"] = np.arange(n) + 1.0
    np.save(folder / "gene_weights.npy", weights)
    files = [
        FileEntry(path=path.name, bytes=path.stat().st_size, sha256=sha256_file(path))
        for path in sorted(folder.iterdir())
    ]
    manifest = Manifest(
        schema_version=SCHEMA_VERSION, name="full", created_at="2026-01-01T00:00:00+00:00", seed=0, n_samples=n, dim=4,
        model_hash="m" * 64, content_key="c" * 64, git_sha=None, versions={}, files=files, stages=[],
    )  # fmt: skip
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return Release(folder)


def write_licences(path: Path, **licences: str) -> Path:
    lines = [
        "series_id\trepository\tlicence",
        *(f"{s.replace('_', '-')}\tsomeone/{s}\t{text}" for s, text in licences.items()),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def licences(tmp_path: Path) -> Path:
    return write_licences(
        tmp_path / "licences.tsv", GSE1="MIT", SRP1="GPL-3", GSE9="CC BY-NC-ND 4.0", TCGA_X="Artistic-2.0", unused="MIT"
    )


def test_public_samples_go_in_others_and_no_derivatives_stay_out(tmp_path: Path, licences: Path) -> None:
    report = export_starter(make_release(tmp_path / "r"), tmp_path / "out", licences=licences)
    starter = read_starter(tmp_path / "out")
    assert starter.samples["sample_id"].to_pylist() == ["GSM1", "SRR1", "TCGA-A"]
    assert report.left_out == ("GSE9",)
    assert (report.n_samples, report.n_series) == (3, 3)
    np.testing.assert_array_equal(starter.vectors, np.eye(5, 4, dtype=np.float16)[[0, 2, 4]])
    assert starter.gene_weights["norm"].tolist() == [1.0, 3.0, 5.0]
    assert dict(zip(*starter.series.select(["series_id", "n_samples"]).to_pydict().values(), strict=True)) == {
        "GSE1": 2, "SRP1": 1, "TCGA-X": 1,
    }  # fmt: skip


def test_starter_has_the_columns_of_a_release_and_points_at_itself(tmp_path: Path, licences: Path) -> None:
    export_starter(make_release(tmp_path / "r"), tmp_path / "out", licences=licences)
    samples = pq.read_table(tmp_path / "out" / "samples.parquet")
    assert samples.schema.equals(SAMPLES)
    assert samples["row"].to_pylist() == samples["source_row"].to_pylist() == [0, 1, 2]
    assert set(samples["source_file"].to_pylist()) == {STARTER_SOURCE}


def test_notice_names_every_series_with_its_licence_and_what_was_left_out(tmp_path: Path, licences: Path) -> None:
    export_starter(make_release(tmp_path / "r"), tmp_path / "out", licences=licences)
    used, _, left_out = (tmp_path / "out" / "NOTICE").read_text(encoding="utf-8").partition("Left out")
    assert "GSE1\t2\tsomeone/GSE1\tMIT" in used
    assert "GSE9" not in used
    assert "unused" not in used
    assert "GSE9\tsomeone/GSE9\tCC BY-NC-ND 4.0" in left_out


def test_same_release_gives_the_same_bytes_and_their_digests(tmp_path: Path, licences: Path) -> None:
    release = make_release(tmp_path / "r")
    for out in ("a", "b"):
        export_starter(release, tmp_path / out, licences=licences)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    stored = json.loads((tmp_path / "a" / "starter.json").read_text(encoding="utf-8"))
    assert stored["model_hash"] == "m" * 64
    assert {name: entry["sha256"] for name, entry in stored["files"].items()} == {
        name: sha256_file(tmp_path / "a" / name) for name in FILES if name != "starter.json"
    }
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(FILES)


def test_series_without_a_licence_line_is_refused(tmp_path: Path) -> None:
    licences = write_licences(tmp_path / "l.tsv", GSE1="MIT", GSE9="MIT", TCGA_X="MIT")
    with pytest.raises(InputError, match="SRP1"):
        export_starter(make_release(tmp_path / "r"), tmp_path / "out", licences=licences)
    assert not (tmp_path / "out").exists()


def test_starter_without_gene_weights_is_read_and_one_of_other_length_refused(tmp_path: Path, licences: Path) -> None:
    out = tmp_path / "out"
    export_starter(make_release(tmp_path / "r"), out, licences=licences)
    np.save(out / "gene_weights.npy", np.zeros(2, dtype=RECORD))
    with pytest.raises(ArtifactError, match="2 rows for 3 samples"):
        read_starter(out)
    (out / "gene_weights.npy").unlink()
    assert not read_starter(out).gene_weights["norm"].any()


def test_release_without_public_samples_is_refused(tmp_path: Path, licences: Path) -> None:
    with pytest.raises(InputError, match="nothing to export"):
        export_starter(make_release(tmp_path / "r", ROWS[1:2]), tmp_path / "out", licences=licences)


@pytest.mark.parametrize("text", ["", "series_id\tlicence\nGSE1\tMIT\n"])
def test_table_of_licences_without_its_columns_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="columns"):
        read_origins(tmp_path / "l.tsv")


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("CC BY-ND 4.0", True),
        ("Attribution-NonCommercial-NoDerivatives 4.0", True),
        ("Creative Commons: No Derivatives", True),
        ("Attribution-NonCommercial-ShareAlike 4.0 International", False),
        ("MIT + file LICENSE", False),
        ("none stated in the repository", False),
    ],
)
def test_no_derivatives_licences_are_recognised(licence: str, forbids: bool) -> None:
    assert Origin("a/b", licence).forbids_derivatives is forbids


@pytest.mark.data
def test_corpora_name_a_licence_for_every_public_series(data_root: Path) -> None:
    import h5py

    origins = read_origins(data_root / "corpora" / "provenance.tsv")
    public = 0
    for name in ("counts.h5", "tpm.h5"):
        with h5py.File(data_root / "corpora" / name) as h5:
            samples = h5["meta/samples"]
            kinds, series = samples["id_kind"].asstr()[:], samples["series_id"].asstr()[:]
        wanted = {s for kind, s in zip(kinds, series, strict=True) if kind != "made"}
        assert wanted <= set(origins)
        public += sum(
            kind != "made" and not origins[s].forbids_derivatives for kind, s in zip(kinds, series, strict=True)
        )
    assert public == 1522
