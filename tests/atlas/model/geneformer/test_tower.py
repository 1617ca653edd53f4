"""The tower inside a joint model: any unit, human and mouse, and the model refuses another Geneformer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geneformer_models import toy_config, toy_dictionaries, write_published
from toy_model import ToyTextTower, toy_genes, toy_text_config

from atlas.errors import ArtifactError, InputError
from atlas.expression.align import align
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.units import Unit
from atlas.interpreter.cell_genes import GeneReader
from atlas.interpreter.config import GeneTokens
from atlas.model.checkpoint import ModelParts, write_model
from atlas.model.config import CentreHead, GeneformerConfig, ModelConfig, ProjectionHead
from atlas.model.geneformer.folder import read_geneformer
from atlas.model.geneformer.importing import import_geneformer
from atlas.model.geneformer.tower import GeneformerTower, human_ids
from atlas.model.joint import JointModel
from atlas.model.projection import Projection, projection_shapes
from atlas.model.text_heads import Centre
from atlas.model.text_tower import TEXT_TOWERS

N_GENES = 64
HIDDEN = ToyTextTower.dim


@pytest.fixture(autouse=True)
def _toy_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)


@pytest.fixture(scope="module")
def geneformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tower")
    write_published(
        root / "published",
        n_genes=40,
        config=toy_config(42, hidden_size=HIDDEN, num_attention_heads=3, intermediate_size=18),
    )
    import_geneformer(root / "published", root / "geneformer")
    return root / "geneformer"


def write_joint(folder: Path, geneformer: Path, *, min_genes: int = 1, path: str | None = None) -> Path:
    """A model without transcriptome head: the tower's own vector, normalised."""
    tower = read_geneformer(geneformer).config(path=path)
    config = ModelConfig(
        dim=HIDDEN,
        text=toy_text_config(CentreHead()),
        transcriptome=tower.model_copy(update={"min_genes": min_genes}),
    )
    centre = Centre.fit(np.eye(HIDDEN, dtype=np.float32))
    write_model(folder, ModelParts(config, toy_genes(N_GENES, n_mouse=10), centre.tensors()))
    return folder


def counts(n: int = 6, *, seed: int = 0, n_genes: int = N_GENES) -> np.ndarray:
    chance = np.random.default_rng(seed)
    values = chance.poisson(20.0, (n, n_genes)) * (chance.random((n, n_genes)) < 0.5)
    values[:, 0] += 1
    return np.asarray(values, dtype=np.float32)


def matrix(values: np.ndarray, *, unit: Unit = Unit.COUNTS, prefix: str = "ENSG", **more: Any) -> ExpressionMatrix:
    genes = tuple(f"{prefix}{i + 1:011d}" for i in range(values.shape[1]))
    names = tuple(f"S{i}" for i in range(len(values)))
    return ExpressionMatrix(values.astype(np.float32), genes, names, (unit,) * len(values), **more)


def test_vectors_are_those_of_the_tower_normalised_and_rows_stand_alone(geneformer: Path, tmp_path: Path) -> None:
    model = JointModel.load(write_joint(tmp_path / "model", geneformer))
    given = matrix(counts())
    vectors, coverage = model.embed_matrix(given)
    assert coverage.n_recognised == N_GENES
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    config = model.config.transcriptome
    assert isinstance(config, GeneformerConfig)
    tower = GeneformerTower(config, tmp_path / "model", genes=toy_genes(N_GENES, n_mouse=10), batch_tokens=1)
    raw = tower.embed(align(given, model.genes))
    np.testing.assert_allclose(vectors, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=2e-6)
    for i in range(6):
        one = ExpressionMatrix(given.values[i : i + 1], given.genes, ("x",), (Unit.COUNTS,))
        np.testing.assert_allclose(model.embed_matrix(one)[0][0], vectors[i], atol=2e-6)
    assert np.abs(vectors - vectors[0]).max() > 1e-2
    assert model.embed_texts(["heart"]).shape == (1, HIDDEN)


def test_a_model_with_two_projection_heads_puts_both_sides_in_one_space(geneformer: Path, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    heads = {
        f"{prefix}{name}": np.abs(chance.normal(size=shape)).astype(np.float32)
        for prefix in ("text_head.", "transcriptome_head.")
        for name, shape in projection_shapes(HIDDEN, 12).items()
    }
    config = ModelConfig(
        dim=12,
        logit_scale=14.0,
        text=toy_text_config(ProjectionHead()),
        transcriptome=read_geneformer(geneformer).config(head=ProjectionHead()),
    )
    write_model(tmp_path / "model", ModelParts(config, toy_genes(N_GENES), heads))
    model = JointModel.load(tmp_path / "model")
    aligned = align(matrix(counts()), model.genes)
    vectors = model.embed_expression(aligned)
    raw = GeneformerTower(config.transcriptome, tmp_path, genes=toy_genes(N_GENES)).embed(aligned)  # type: ignore[arg-type]
    np.testing.assert_allclose(vectors, Projection.read(heads, prefix="transcriptome_head.").embed(raw), atol=1e-5)
    assert model.score(["heart", "liver"], vectors).shape == (6, 2)
    assert not model.explains_by_genes
    with pytest.raises(ArtifactError, match="no weighted sums of gene vectors"):
        model.embed_with_weights(aligned, top=3)


def test_units_that_are_one_factor_apart_give_the_same_vectors(geneformer: Path, tmp_path: Path) -> None:
    model = JointModel.load(write_joint(tmp_path / "model", geneformer))
    values = counts() * np.random.default_rng(2).gamma(2.0, size=(6, N_GENES)).astype(np.float32)  # no ties
    values[:, 1] = 0  # log2 of a sample is undone from its lowest value: one that is not expressed
    expected, _ = model.embed_matrix(matrix(values, unit=Unit.FPKM))
    for unit, other in (
        (Unit.TPM, values * 0.37),
        (Unit.NORMALISED, values / values.sum(axis=1, keepdims=True)),
        (Unit.LOG2, np.log2(values + 1)),
    ):
        np.testing.assert_allclose(model.embed_matrix(matrix(other, unit=unit))[0], expected, atol=2e-6)


def test_an_unmeasured_gene_is_no_gene_and_zero_is_none_either(geneformer: Path, tmp_path: Path) -> None:
    model = JointModel.load(write_joint(tmp_path / "model", geneformer))
    values = counts()
    measured = np.random.default_rng(1).random(values.shape) < 0.7
    measured[:, 0] = True
    masked, _ = model.embed_matrix(matrix(values, measured=measured))
    np.testing.assert_allclose(masked, model.embed_matrix(matrix(values * measured))[0], atol=2e-6)
    assert np.abs(masked - model.embed_matrix(matrix(values))[0]).max() > 1e-3


def test_mouse_genes_stand_for_their_human_orthologs(geneformer: Path, tmp_path: Path) -> None:
    model = JointModel.load(write_joint(tmp_path / "model", geneformer))
    values = counts(n_genes=10)
    mouse, _ = model.embed_matrix(matrix(values, prefix="ENSMUSG"), organism="mouse")
    human, _ = model.embed_matrix(matrix(values))
    np.testing.assert_allclose(mouse, human, atol=2e-6)
    genes = toy_genes(2, n_mouse=1)
    assert human_ids(genes) == ["ENSG00000000001", "ENSG00000000002", "ENSG00000000001"]


def test_more_samples_than_fit_at_once_are_tokenised_in_order(geneformer: Path, tmp_path: Path) -> None:
    model = JointModel.load(write_joint(tmp_path / "model", geneformer))
    config = model.config.transcriptome
    assert isinstance(config, GeneformerConfig)
    tower = GeneformerTower(config, tmp_path, genes=toy_genes(N_GENES, n_mouse=10))
    aligned = align(matrix(counts(600)), model.genes)
    tokens = tower.tokenize(aligned)
    assert len(tokens) == 600
    for i in (0, 255, 256, 511, 512, 599):
        one = align(matrix(aligned.values[i : i + 1, :N_GENES]), model.genes)
        assert np.array_equal(tower.tokenize(one).row(0), tokens.row(i))


def test_samples_with_too_few_or_no_ranked_genes_are_refused_by_name(geneformer: Path, tmp_path: Path) -> None:
    model = JointModel.load(write_joint(tmp_path / "model", geneformer, min_genes=20))
    values = counts(3)
    measured = np.ones(values.shape, dtype=bool)
    measured[1, 15:] = False
    with pytest.raises(InputError, match=r"'S1' measured 15 genes .* at least 20") as failure:
        model.embed_matrix(matrix(values, measured=measured))
    assert failure.value.details["n_genes"] == 15
    values[2, :40] = 0  # genes 40 and up have no token
    with pytest.raises(InputError, match=r"'S2'.* expresses none"):
        model.embed_matrix(matrix(values))


def test_a_model_finds_its_geneformer_beside_it_and_refuses_another(geneformer: Path, tmp_path: Path) -> None:
    shutil.copytree(geneformer, tmp_path / "towers" / "g")
    folder = write_joint(tmp_path / "model", geneformer, path="../towers/g")
    expected, _ = JointModel.load(folder).embed_matrix(matrix(counts()))
    shutil.move(tmp_path / "model", tmp_path / "moved")
    np.testing.assert_array_equal(JointModel.load(tmp_path / "moved").embed_matrix(matrix(counts()))[0], expected)
    write_published(
        tmp_path / "published",
        n_genes=40,
        seed=1,
        config=toy_config(42, hidden_size=HIDDEN, num_attention_heads=3, intermediate_size=18),
    )
    shutil.rmtree(tmp_path / "towers" / "g")
    with pytest.raises(ArtifactError, match="no Geneformer folder"):
        JointModel.load(tmp_path / "moved").embed_matrix(matrix(counts()))
    import_geneformer(tmp_path / "published", tmp_path / "towers" / "g")
    with pytest.raises(ArtifactError, match="not the one the model was made with") as failure:
        JointModel.load(tmp_path / "moved").embed_matrix(matrix(counts()))
    assert failure.value.kind == "incompatible"


def test_genes_that_geneformer_does_not_know_are_refused(geneformer: Path, tmp_path: Path) -> None:
    config = read_geneformer(geneformer).config()
    genes = toy_genes(60).slice(45)
    with pytest.raises(InputError, match="None of the 15 genes has a Geneformer token"):
        GeneformerTower(config, tmp_path, genes=genes)
    assert len(toy_dictionaries(40)[0]) == 42


def test_cell_without_a_ranked_gene_is_left_unread_and_the_others_read(geneformer: Path, tmp_path: Path) -> None:
    model = JointModel.load(write_joint(tmp_path / "model", geneformer))
    values = counts()
    values[2, :40] = 0
    config = GeneTokens(top_k=4, order="expression")
    reader = GeneReader(model.genes, np.ones(len(model.genes), bool), config, model, token=True)
    found = reader.read_aligned(align(matrix(values), model.genes))
    assert found.has_genes.tolist() == [True, True, False, True, True, True]
    whole = reader.read_aligned(align(matrix(np.delete(values, 2, axis=0)), model.genes))
    assert found.domain is not None
    assert whole.domain is not None
    np.testing.assert_allclose(np.delete(found.domain, 2, axis=0), whole.domain, atol=2e-6)
