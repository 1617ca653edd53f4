"""The embedding stage: numbers only, row by row, resumable, bounded, and never another model's vectors."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from indexer_builds import N_GENES, Build, corpus
from toy_model import ToyFeatures, ToyTextTower, toy_features_parts, toy_memory_parts, write_toy_model

from atlas.errors import ArtifactError
from atlas.expression.align import GeneAligner
from atlas.expression.source import open_source
from atlas.model.checkpoint import ModelParts, write_model
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS
from atlas.model.transcriptome import TRANSCRIPTOME_TOWERS
from atlas.vectors.gene_weights import N_KEPT, unpack
from indexer import embedding
from indexer.embedding import read_ahead
from indexer.sources.starter import STARTER_SOURCE
from indexer.stages import embed_samples
from indexer.stages.embed_samples import STAGE


@pytest.fixture(autouse=True)
def _toy_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)


def oracle(model_dir: Path, path: Path, row: int) -> np.ndarray:
    """The vector of one sample, read and embedded alone."""
    model = JointModel.load(model_dir)
    with open_source(path) as source:
        ((_, matrix),) = source.blocks(np.array([row]))
    return model.embed_matrix(matrix)[0][0].astype(np.float16)


def test_vectors_lie_in_the_order_of_the_samples(tmp_path: Path) -> None:
    files = [corpus(tmp_path, "a.h5", n=6, seed=1), corpus(tmp_path, "b.h5", n=5, seed=2)]
    places = [(1, 4), (0, 5), (0, 0), (1, 0), (0, 3)]
    build = Build(tmp_path, "order", files=files, places=places)
    result = build.run()
    expected = np.stack([oracle(tmp_path / "model", files[file], row) for file, row in places])
    np.testing.assert_array_equal(build.vectors, expected)
    assert build.vectors.dtype == np.float16
    assert (result.n_in, result.n_out) == (5, 5)
    assert result.notes["model_hash"] == JointModel.load(tmp_path / "model").hash


def test_only_numbers_enter_the_vectors(tmp_path: Path) -> None:
    plain = corpus(tmp_path, "plain.h5")
    shuffled = tmp_path / "shuffled.h5"
    shuffled.write_bytes(plain.read_bytes())
    rng = np.random.default_rng(0)
    with h5py.File(shuffled, "r+") as file:
        for name, column in file["meta/samples"].items():
            if column.dtype.kind == "O":
                column[:] = [f"{word} {i} cardiomyopathy" for i, word in enumerate(rng.permutation(column.asstr()[:]))]
                assert column.asstr()[0].endswith("cardiomyopathy"), name
    places = [(0, row) for row in range(10)]
    first = Build(tmp_path, "plain", files=[plain], places=places)
    second = Build(tmp_path, "shuffled", files=[shuffled], places=places)
    first.run()
    second.run()
    assert first.bytes == second.bytes


def test_shards_and_blocks_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = corpus(tmp_path, "a.h5")
    places = [(0, row) for row in range(10)]
    whole = Build(tmp_path, "whole", files=[file], places=places)
    whole.run()
    monkeypatch.setattr(embed_samples, "_SHARD_ROWS", 3)
    parts = Build(tmp_path, "parts", files=[file], places=places)
    parts.run()
    assert len(list(parts.ctx.work.glob("vectors-*.npy"))) == 4
    assert parts.bytes == whole.bytes
    assert parts.weight_bytes == whole.weight_bytes


def test_killed_embedding_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = corpus(tmp_path, "a.h5")
    places = [(0, row) for row in range(10)]
    monkeypatch.setattr(embed_samples, "_SHARD_ROWS", 4)
    whole = Build(tmp_path, "whole", files=[file], places=places)
    whole.run()

    build = Build(tmp_path, "killed", files=[file], places=places)
    embed, n_rows = JointModel.embed_with_weights, []

    def die_in_the_second_shard(model: JointModel, aligned: Any, **more: Any) -> Any:
        if n_rows:
            raise KeyboardInterrupt
        n_rows.append(len(aligned.sample_ids))
        return embed(model, aligned, **more)

    monkeypatch.setattr(JointModel, "embed_with_weights", die_in_the_second_shard)
    with pytest.raises(KeyboardInterrupt):
        STAGE.run(build.ctx)
    assert sorted(path.name for path in build.ctx.work.iterdir()) == ["vectors-000000000.npy", "weights-000000000.npy"]

    def count(model: JointModel, aligned: Any, **more: Any) -> Any:
        n_rows.append(len(aligned.sample_ids))
        return embed(model, aligned, **more)

    n_rows.clear()
    monkeypatch.setattr(JointModel, "embed_with_weights", count)
    build.run()
    assert sum(n_rows) == 6  # the four rows of the finished shard are not embedded again
    assert build.bytes == whole.bytes
    assert build.weight_bytes == whole.weight_bytes


def test_gene_weights_lie_beside_their_vectors(tmp_path: Path) -> None:
    files = [corpus(tmp_path, "a.h5", n=6, seed=1), corpus(tmp_path, "b.h5", n=5, seed=2)]
    build = Build(tmp_path, "weights", files=files, places=[(1, 4), (0, 5), (0, 0)])
    build.run()
    model = JointModel.load(tmp_path / "model")
    for row in range(3):
        weights = unpack(build.records, row=row)
        assert weights.genes.size < N_KEPT  # nothing was cut off, so the genes make the whole vector
        assert weights.kept == pytest.approx(1.0)
        rebuilt = weights.weights @ model.gene_vectors(weights.genes)
        np.testing.assert_allclose(rebuilt, build.vectors[row].astype(np.float64), atol=2e-3)
        pull = weights.weights * np.linalg.norm(model.gene_vectors(weights.genes), axis=1)
        assert (np.diff(pull) < 1e-3 * pull[:-1]).all()


def _without(records: np.ndarray, **changes: Any) -> np.ndarray:
    changed = records.copy()
    for name, value in changes.items():
        changed[name][1] = value
    return changed


@pytest.mark.parametrize(
    "changes",
    [
        {"gene": N_GENES},
        {"weight": np.nan},
        {"weight": -1.0},
        {"weight": 0.0},
        {"norm": 0.0},
        {"kept": 2.0},
        {"kept": np.nan},
    ],
    ids=repr,
)
def test_validate_refuses_gene_weights_it_did_not_promise(tmp_path: Path, changes: dict[str, Any]) -> None:
    build = Build(tmp_path, "bad", files=[corpus(tmp_path, "a.h5")], places=[(0, 0), (0, 1), (0, 2)])
    build.run()
    np.save(build.ctx.out / "gene_weights.npy", _without(build.records, **changes))
    with pytest.raises(ArtifactError, match=r"Row 1 of gene_weights\.npy"):
        STAGE.validate(build.ctx)


@pytest.mark.parametrize("damage", ["gone", "cut", "other", "rows"])
def test_validate_refuses_a_file_that_holds_no_gene_weights(tmp_path: Path, damage: str) -> None:
    build = Build(tmp_path, "bad", files=[corpus(tmp_path, "a.h5")], places=[(0, 0), (0, 1), (0, 2)])
    build.run()
    path = build.ctx.out / "gene_weights.npy"
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        np.save(path, np.zeros(3) if damage == "other" else build.records[:2])
    with pytest.raises(ArtifactError) as caught:
        STAGE.validate(build.ctx)
    assert caught.value.kind == ("missing" if damage == "gone" else "corrupt")


def test_full_disk_stays_an_os_error_and_leaves_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Build(tmp_path, "full", files=[corpus(tmp_path, "a.h5")], places=[(0, 0)])

    def no_space(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embedding.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left") as caught:
        STAGE.run(build.ctx)
    assert caught.value.errno == errno.ENOSPC
    assert list(build.ctx.work.glob("*.npy")) == []


def write_starter(folder: Path, vectors: np.ndarray, *, model_hash: str | None) -> Path:
    folder.mkdir()
    n = len(vectors)
    pq.write_table(pa.table({"sample_id": [f"GSM{i}" for i in range(n)]}), folder / "samples.parquet")
    pq.write_table(pa.table({"series_id": ["GSE1"]}), folder / "series.parquet")
    np.save(folder / "vectors.npy", vectors)
    if model_hash is not None:
        (folder / "starter.json").write_text(json.dumps({"model_hash": model_hash}))
    return folder


def unit_vectors(n: int) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(n, ToyTextTower.dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def test_starter_vectors_of_the_same_model_are_taken_as_they_are(tmp_path: Path) -> None:
    model = JointModel.load(write_toy_model(tmp_path / "model", N_GENES))
    vectors = unit_vectors(5)
    starter = write_starter(tmp_path / "starter", vectors, model_hash=model.hash)
    file = corpus(tmp_path, "a.h5")
    places = [(STARTER_SOURCE, 4), (0, 2), (STARTER_SOURCE, 0)]
    build = Build(tmp_path, "mixed", files=[file], places=places, starter=starter)
    result = build.run()
    np.testing.assert_array_equal(build.vectors[[0, 2]], vectors[[4, 0]])
    np.testing.assert_array_equal(build.vectors[1], oracle(tmp_path / "model", file, 2))
    assert result.notes["n_from_starter"] == 2
    assert build.records["norm"].astype(bool).tolist() == [False, True, False]  # this starter keeps no gene weights


def test_starter_gene_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    file = corpus(tmp_path, "a.h5", n=4)
    first = Build(tmp_path, "first", files=[file], places=[(0, row) for row in range(4)])
    first.run()
    model = JointModel.load(tmp_path / "model")
    starter = write_starter(tmp_path / "starter", first.vectors, model_hash=model.hash)
    np.save(starter / "gene_weights.npy", first.records)
    build = Build(tmp_path, "again", places=[(STARTER_SOURCE, 2), (STARTER_SOURCE, 0)], starter=starter)
    build.run()
    np.testing.assert_array_equal(build.records, first.records[[2, 0]])
    assert starter / "gene_weights.npy" in STAGE.sources(build.request)


def test_starter_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    starter = write_starter(tmp_path / "starter", unit_vectors(2), model_hash="0" * 64)
    build = Build(tmp_path, "other", places=[(STARTER_SOURCE, 0)], starter=starter)
    with pytest.raises(ArtifactError, match="made by model 000000000000") as caught:
        STAGE.run(build.ctx)
    assert caught.value.kind == "incompatible"


def test_starter_without_a_named_model_is_refused(tmp_path: Path) -> None:
    starter = write_starter(tmp_path / "starter", unit_vectors(2), model_hash=None)
    build = Build(tmp_path, "unnamed", places=[(STARTER_SOURCE, 0)], starter=starter)
    with pytest.raises(ArtifactError, match=r"starter\.json is missing") as caught:
        STAGE.run(build.ctx)
    assert caught.value.kind == "missing"
    (starter / "starter.json").write_text("[]")
    with pytest.raises(ArtifactError, match="does not name the model") as caught:
        STAGE.run(build.ctx)
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize(
    "vectors",
    [
        unit_vectors(3)[:2],
        unit_vectors(3).astype(np.float32),
        unit_vectors(3) * np.float16(0.5),
        np.full_like(unit_vectors(3), np.nan),
    ],
    ids=["rows", "dtype", "length", "nan"],
)
def test_validate_refuses_vectors_it_did_not_promise(tmp_path: Path, vectors: np.ndarray) -> None:
    build = Build(tmp_path, "bad", places=[(0, 0)] * 3)
    np.save(build.ctx.out / "vectors.npy", vectors)
    with pytest.raises(ArtifactError) as caught:
        STAGE.validate(build.ctx)
    assert caught.value.kind == "corrupt"


def test_key_names_the_model_and_the_unit(tmp_path: Path) -> None:
    build = Build(tmp_path, "key", places=[(0, 0)], unit="tpm")
    params = STAGE.params(build.request)
    assert params == {"model_hash": JointModel.load(tmp_path / "model").hash, "unit": "tpm"}


@pytest.mark.data
def test_real_samples_are_bitwise_the_same_alone_and_together(data_root: Path) -> None:
    from atlas.resources import resource_path

    model = JointModel.load(resource_path("starter") / "model")
    rows = np.array([3, 100, 366, 500, 700, 979])  # log2, FPKM, RSEM normalised, NX, TPM
    with open_source(data_root / "corpora" / "tpm.h5") as source:
        aligner = GeneAligner(source.genes, source.symbols, genes=model.genes)

        def embed(wanted: np.ndarray) -> np.ndarray:
            return np.concatenate(
                [model.embed_expression(aligner.align(matrix)) for _, matrix in source.blocks(wanted)]
            )

        np.testing.assert_array_equal(embed(rows), np.concatenate([embed(rows[i : i + 1]) for i in range(len(rows))]))


def _other_model(root: Path, parts: ModelParts) -> None:
    write_model(root / "model", parts)


def test_signed_gene_weights_are_kept_with_their_sign(tmp_path: Path) -> None:
    _other_model(tmp_path, toy_memory_parts(N_GENES))
    build = Build(tmp_path, "signed", files=[corpus(tmp_path, "a.h5")], places=[(0, 0), (0, 1)])
    build.run()
    model = JointModel.load(build.request.model_dir)
    for row in range(2):
        kept = unpack(build.records, row=row)
        assert kept.weights.min() < 0 < kept.weights.max()
        whole = kept.weights @ model.gene_vectors(kept.genes)
        assert kept.kept > 0.9
        assert whole @ build.vectors[row] > 0.98  # the genes that are not kept turn the vector by little


def test_model_whose_vectors_are_no_sums_over_genes_keeps_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _other_model(tmp_path, toy_features_parts(N_GENES))
    monkeypatch.setitem(TRANSCRIPTOME_TOWERS, "geneformer", ToyFeatures)
    build = Build(tmp_path, "features", files=[corpus(tmp_path, "a.h5")], places=[(0, 0), (0, 1)])
    result = build.run()
    assert not (build.ctx.out / "gene_weights.npy").exists()
    assert result.notes["n_genes_kept"] == 0
    assert "gene_weights.npy" in STAGE.optional_outputs
    np.testing.assert_allclose(np.linalg.norm(build.vectors.astype(float), axis=1), 1.0, atol=2e-3)


def test_reading_ahead_yields_the_same_and_raises_what_reading_raises() -> None:
    assert list(read_ahead(iter(range(50)))) == list(range(50))

    def failing() -> Iterator[int]:
        yield from range(3)
        raise OSError("gone")

    ahead = read_ahead(failing())
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def test_whoever_stops_listening_waits_for_the_read_and_no_more_is_read() -> None:
    read = []

    def blocks() -> Iterator[int]:
        for number in range(1_000):
            read.append(number)
            yield number

    ahead = read_ahead(blocks())
    assert next(ahead) == 0
    ahead.close()
    so_far = len(read)
    assert so_far <= 4
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]
    assert len(read) == so_far
