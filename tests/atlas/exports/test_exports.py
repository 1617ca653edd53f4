"""Hits with their counts as h5ad: exact values, whole files only, and a sentence for every file that cannot be used."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from expression_files import counts, ensembl, write_archs4

from atlas.errors import AtlasError, InputError, NotFoundError, ResourceError
from atlas.exports import counts as exports
from atlas.exports.counts import ExportReport, export_counts
from atlas.exports.hit_lists import HitList, read_hits
from atlas.expression import extract as extracting
from atlas.expression.archs4 import Archs4Source
from atlas.expression.extract import Extract, extract
from atlas.expression.source import open_source

ROOT = Path(__file__).resolve().parents[3]
N_GENES, N_SAMPLES = 30, 200


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_archs4(tmp_path / "human.h5", counts(N_GENES, N_SAMPLES), chunks=(N_GENES, 7), compression="gzip")


def wanted(*accessions: str, **columns: list[Any]) -> HitList:
    return HitList(accessions, dict(columns), n_duplicates=0)


def read(path: Path) -> Any:
    import anndata

    return anndata.read_h5ad(path)


def test_rows_are_the_hits_in_their_order_with_the_exact_counts(tmp_path: Path, file: Path) -> None:
    hits = wanted("GSM150", "GSM3", "GSM9999", "GSM200", score=[0.9, None, 0.7, 0.6], series=["GSE7", None, "", "GSE8"])
    report = export_counts(hits, tmp_path / "hits.h5ad", counts=file)
    assert report == ExportReport(tmp_path / "hits.h5ad", 3, N_GENES, missing=("GSM9999",), n_duplicates=0)
    data = read(report.path)
    np.testing.assert_array_equal(data.X, counts(N_GENES, N_SAMPLES).T[[149, 2, 199]])
    assert data.X.dtype == np.uint32
    assert list(data.obs_names) == ["GSM150", "GSM3", "GSM200"]
    assert list(data.obs["rank"]) == [1, 2, 4]
    np.testing.assert_array_equal(data.obs["score"], [0.9, np.nan, 0.6])
    assert list(data.obs["series"]) == ["GSE7", "GSE1", "GSE8"]  # where the list is silent, the file speaks
    assert list(data.obs["title"]) == ["sample 149", "sample 2", "sample 199"]
    assert list(data.var_names) == list(data.var["ensembl_id"]) == [ensembl(i + 1) for i in range(N_GENES)]
    assert list(data.var["symbol"]) == [f"G{i}" for i in range(N_GENES)]
    assert list(data.uns["geo_atlas"]["missing"]) == ["GSM9999"]
    assert data.uns["geo_atlas"]["counts_file"] == "human.h5"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_exported_file_is_one_that_the_atlas_reads(tmp_path: Path, file: Path) -> None:
    report = export_counts(wanted("GSM5", "GSM1"), tmp_path / "hits.h5ad", counts=file)
    with open_source(report.path) as source:
        ((_, matrix),) = source.blocks()
    assert source.sample_ids == ("GSM5", "GSM1")
    assert source.genes == tuple(ensembl(i + 1) for i in range(N_GENES))
    np.testing.assert_array_equal(matrix.values, counts(N_GENES, N_SAMPLES).T[[4, 0]])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("chunks", [None, (N_GENES, 7), (5, 64)])
def test_only_the_chunks_with_wanted_samples_are_read(
    tmp_path: Path, transposed: bool, chunks: tuple[int, int] | None
) -> None:
    shape = chunks[::-1] if chunks and transposed else chunks
    path = write_archs4(tmp_path / "a.h5", counts(N_GENES, N_SAMPLES), chunks=shape, transposed=transposed)
    rows = np.array([0, 3, 66, 67, 130, 199])
    with Archs4Source(path) as source:
        for block_bytes in (1, 4 * N_GENES * 70, 1 << 20):
            blocks = list(source.raw_blocks(rows, block_bytes=block_bytes))
            np.testing.assert_array_equal(np.concatenate([r for r, _ in blocks]), rows)
            values = np.concatenate([v for _, v in blocks])
            np.testing.assert_array_equal(values, counts(N_GENES, N_SAMPLES).T[rows])


def test_counts_beyond_single_precision_stay_whole(tmp_path: Path) -> None:
    values = counts(N_GENES, 3)
    values[0, 1] = 2**24 + 1
    path = write_archs4(tmp_path / "a.h5", values)
    assert read(export_counts(wanted("GSM2"), tmp_path / "o.h5ad", counts=path).path).X[0, 0] == 2**24 + 1


def test_gene_that_stands_twice_keeps_its_name_and_gets_an_index_of_its_own(tmp_path: Path) -> None:
    genes = {"symbol": ["A", "B", "A"]}
    path = write_archs4(tmp_path / "a.h5", counts(3, 2), genes=genes)
    data = read(export_counts(wanted("GSM2"), tmp_path / "o.h5ad", counts=path).path)
    assert list(data.var_names) == ["A", "B", "A-1"]
    assert list(data.var["symbol"]) == ["A", "B", "A"]


def test_texts_that_no_file_can_hold_are_cleaned(tmp_path: Path, file: Path) -> None:
    hits = wanted("GSM2", title=["a\0b\ud800c"], caption=["<b>ü</b>"])
    data = read(export_counts(hits, tmp_path / "o.h5ad", counts=file).path)
    assert list(data.obs["title"]) == ["a b?c"]
    assert list(data.obs["caption"]) == ["<b>ü</b>"]


def test_progress_counts_every_sample(tmp_path: Path, file: Path) -> None:
    seen: list[int] = []
    names = [f"GSM{i + 1}" for i in range(0, N_SAMPLES, 3)]
    export_counts(wanted(*names), tmp_path / "o.h5ad", counts=file, advance=seen.append)
    assert sum(seen) == len(names)


def test_existing_file_is_kept_unless_forced(tmp_path: Path, file: Path) -> None:
    out = tmp_path / "o.h5ad"
    out.write_text("mine")
    with pytest.raises(InputError, match="--force"):
        export_counts(wanted("GSM2"), out, counts=file)
    assert out.read_text() == "mine"
    export_counts(wanted("GSM2"), out, counts=file, force=True)
    assert read(out).n_obs == 1


def test_counts_file_is_never_overwritten(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "link.h5ad"
    link.symlink_to(file)
    for out in (file, link):
        with pytest.raises(InputError, match="counts file itself"):
            export_counts(wanted("GSM2"), out, counts=file, force=True)


def test_targets_that_cannot_be_are_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        export_counts(wanted("GSM2"), tmp_path, counts=file)
    with pytest.raises(InputError, match="does not exist"):
        export_counts(wanted("GSM2"), tmp_path / "none" / "o.h5ad", counts=file)


def test_no_listed_sample_in_the_file_writes_nothing(tmp_path: Path, file: Path) -> None:
    with pytest.raises(NotFoundError, match="None of the 2 samples"):
        export_counts(wanted("GSM777", "TCGA-1"), tmp_path / "o.h5ad", counts=file)
    assert [path.name for path in tmp_path.iterdir()] == ["human.h5"]


@pytest.mark.parametrize("damage", ["gone", "text", "cut", "transcripts", "h5ad"])
def test_counts_that_are_none_are_a_sentence_and_leave_nothing(tmp_path: Path, file: Path, damage: str) -> None:
    path = tmp_path / "in" / "bad.h5"
    path.parent.mkdir()
    if damage == "text":
        path.write_text("not found")
    elif damage == "cut":
        path.write_bytes(file.read_bytes()[:5000])
    elif damage == "transcripts":
        with h5py.File(path, "w") as h5:
            h5["meta/transcripts/ensembl_id"] = ["ENST1"]
    elif damage == "h5ad":
        export_counts(wanted("GSM2"), path, counts=file)
    with pytest.raises(InputError, match=r"bad\.h5"):
        export_counts(wanted("GSM2"), tmp_path / "o.h5ad", counts=path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["human.h5", "in"]


@pytest.mark.slow
def test_damaged_bytes_give_a_file_or_a_sentence_never_half_a_file(tmp_path: Path, file: Path) -> None:
    raw = file.read_bytes()
    rng = np.random.default_rng(0)
    path, out = tmp_path / "bad.h5", tmp_path / "o.h5ad"
    n_refused = 0
    for _ in range(12):
        broken = bytearray(raw)
        for place in rng.integers(0, len(raw), 40):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        try:
            export_counts(wanted("GSM2", "GSM180"), out, counts=path, force=True)
            assert read(out).n_vars
        except AtlasError:
            n_refused += 1
        assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
    assert n_refused


def test_reader_that_crashes_is_a_sentence(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_COMMAND", ("-c", "import os; os.kill(os.getpid(), 11)"))
    with pytest.raises(InputError, match=r"gave up on it \(status -11\)"):
        export_counts(wanted("GSM2"), tmp_path / "o.h5ad", counts=file)
    assert [path.name for path in tmp_path.iterdir()] == ["human.h5"]


def test_writer_that_crashes_on_a_full_disk_is_told_from_a_damaged_source(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_COMMAND", ("-c", "import os; os.kill(os.getpid(), 11)"))
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(exports.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ResourceError, match="the disk is full"):
        export_counts(wanted("GSM2"), tmp_path / "o.h5ad", counts=file)
    assert [path.name for path in tmp_path.iterdir()] == ["human.h5"]


def test_interrupted_export_leaves_no_process_and_no_file(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Remembered(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            started.append(self)

    def stop(n: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exports.subprocess, "Popen", Remembered)
    with pytest.raises(KeyboardInterrupt):
        export_counts(wanted("GSM2"), tmp_path / "o.h5ad", counts=file, advance=stop)
    assert started[0].returncode is not None
    assert [path.name for path in tmp_path.iterdir()] == ["human.h5"]


def test_full_disk_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of a file stands in for the end of the disk: the system refuses the write in the same way."""
    path = write_archs4(tmp_path / "big.h5", np.random.default_rng(0).integers(0, 2**31, (2000, 100), dtype=np.uint32))
    script = (
        "import resource, runpy, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));"
        "runpy.run_module('atlas.expression.extract', run_name='__main__')"
    )
    monkeypatch.setattr(exports, "_COMMAND", ("-c", script))
    with pytest.raises(ResourceError, match="the disk is full"):
        export_counts(wanted(*(f"GSM{i + 1}" for i in range(100))), tmp_path / "o.h5ad", counts=path)
    assert [p.name for p in tmp_path.iterdir()] == ["big.h5"]
    assert capfd.readouterr().err == ""


def test_failing_write_is_told_from_a_damaged_source(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extracting, "_write_values", refuse)
    request = Extract(str(file), str(tmp_path / "o.h5ad"), accessions=["GSM2"], columns={}, about={})
    with pytest.raises(ResourceError, match="the disk is full"):
        extract(request)


def test_a_read_only_file_system_hides_no_error(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(exports.os, "replace", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(ResourceError, match="cannot be written: Read-only"):
        export_counts(wanted("GSM1"), tmp_path / "hits.h5ad", counts=file)


def test_command_pipes_a_list_into_a_file(tmp_path: Path, file: Path) -> None:
    lines = [
        json.dumps({"rank": i, "accession": name, "score": 0.5}) for i, name in ((1, "GSM9"), (2, "GSM0"), (3, "GSM9"))
    ]
    command = [sys.executable, "-c", "from cli.main import main; main()", "export", "-", "--json"]
    run = subprocess.run(
        [*command, "--counts", str(file), "-o", str(tmp_path / "hits.h5ad")],
        input="\n".join(lines), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env={**os.environ},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["missing"] == ["GSM0"]
    assert "1 of 2 samples are not in human.h5: GSM0" in run.stderr
    assert "1 lines repeat a sample" in run.stderr
    assert list(read(tmp_path / "hits.h5ad").obs_names) == ["GSM9"]


def test_list_of_a_download_names_the_release_it_came_from(tmp_path: Path, file: Path) -> None:
    hits = read_hits(b"accession,rank,release\nGSM4,2,r1\nGSM3,1,r1\n")
    data = read(export_counts(hits, tmp_path / "o.h5ad", counts=file).path)
    assert (data.uns["geo_atlas"]["release"], list(data.obs["rank"])) == ("r1", [2, 1])
