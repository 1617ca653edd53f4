"""Vectors of genes: the packaged ones, and what a file of them must hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_reader import toy_gene_vectors

from atlas.errors import ArtifactError
from atlas.interpreter.gene_vectors import GeneVectors
from atlas.model.text_tower import MiniLmTower


def test_packaged_vectors_are_what_minilm_reads_in_a_description() -> None:
    found = GeneVectors.packaged()
    place = found.gene_map.rows_of(["INS", "CD3E", "ALB"], organism="human")
    mouse = found.gene_map.rows_of(["Ins2", "Cd3e", "Alb"], organism="mouse")
    table = found.table()
    assert found.has_vector.all()
    assert np.allclose(np.linalg.norm(table[::997], axis=1), 1.0, atol=0.02)
    described = MiniLmTower().embed(
        ["insulin, a hormone of the pancreas", "T cell receptor complex", "serum protein of the liver"]
    )
    for genes in (place, mouse):
        assert np.argmax(described @ table[genes].T, axis=1).tolist() == [0, 1, 2]


def test_vectors_survive_a_file(tmp_path: Path) -> None:
    made = toy_gene_vectors(without=(3,))
    save_file(made.tensors(), tmp_path / "v.safetensors")
    found = GeneVectors.read(tmp_path / "v.safetensors", genes=made.genes, record=made.record)
    assert np.array_equal(found.table(), made.table())
    assert not found.table()[3].any()
    assert not found.has_vector[3]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("gene_rows", np.full(128, 999, np.int32)),
        ("gene_rows", np.zeros(5, np.int32)),
        ("gene_scales", np.full(128, np.nan, np.float32)),
        ("gene_codes", np.zeros((128, 9), np.float32)),
        ("gene_codes", None),
    ],
)
def test_damaged_vectors_are_refused(tmp_path: Path, name: str, wrong: np.ndarray | None) -> None:
    made = toy_gene_vectors()
    tensors = {**made.tensors(), name: wrong}
    save_file({key: one for key, one in tensors.items() if one is not None}, tmp_path / "v.safetensors")
    with pytest.raises(ArtifactError, match="holds no vectors of 128 genes"):
        GeneVectors.read(tmp_path / "v.safetensors", genes=made.genes, record=made.record)


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    made = toy_gene_vectors()
    with pytest.raises(ArtifactError, match="is missing"):
        GeneVectors.read(tmp_path / "v.safetensors", genes=made.genes, record=made.record)
    (tmp_path / "v.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="not a readable tensor file"):
        GeneVectors.read(tmp_path / "v.safetensors", genes=made.genes, record=made.record)
