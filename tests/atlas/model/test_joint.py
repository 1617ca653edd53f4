"""The joint model: both sides meet in one space, loading is lazy, another tower is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from toy_model import WORDS, ToyTextTower, toy_parts, write_toy_model

from atlas.errors import ArtifactError, InputError
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.units import Unit
from atlas.model.checkpoint import write_model
from atlas.model.joint import JointModel
from atlas.model.statistics import GeneStatistics
from atlas.model.text_tower import TEXT_TOWERS

N_GENES = 64


@pytest.fixture(autouse=True)
def _toy_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)


@pytest.fixture
def model(tmp_path: Path) -> JointModel:
    return JointModel.load(write_toy_model(tmp_path / "model", N_GENES, n_mouse=8))


def tissue_matrix(*, symbols: bool = False, extra: tuple[str, ...] = ()) -> ExpressionMatrix:
    """One sample a word, in which the genes of that word stand out."""
    values = np.random.default_rng(0).gamma(1.0, 5.0, size=(len(WORDS), N_GENES + len(extra))).astype(np.float32)
    for row in range(len(WORDS)):
        values[row, row : N_GENES : len(WORDS)] += 500.0
    genes = tuple(f"G{i}" if symbols else f"ENSG{i + 1:011d}.7" for i in range(N_GENES))
    return ExpressionMatrix(values, genes + extra, WORDS, (Unit.COUNTS,) * len(WORDS))


def test_phrase_finds_the_sample_of_its_tissue(model: JointModel) -> None:
    samples, coverage = model.embed_matrix(tissue_matrix())
    scores = model.embed_texts(WORDS) @ samples.T
    assert scores.argmax(axis=1).tolist() == list(range(len(WORDS)))
    assert coverage.n_covered == N_GENES


def test_vectors_are_float32_of_unit_length(model: JointModel) -> None:
    samples, _ = model.embed_matrix(tissue_matrix())
    texts = model.embed_texts(["heart", "something else", ""])
    for vectors in (samples, texts):
        assert vectors.dtype == np.float32
        assert vectors.shape[1] == model.dim
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_symbols_and_ensembl_ids_give_the_same_vectors(model: JointModel) -> None:
    by_id, by_symbol = model.embed_matrix(tissue_matrix())[0], model.embed_matrix(tissue_matrix(symbols=True))[0]
    np.testing.assert_array_equal(by_id, by_symbol)


def test_unknown_genes_change_nothing_but_the_coverage(model: JointModel) -> None:
    plain, _ = model.embed_matrix(tissue_matrix())
    more = tissue_matrix(extra=("lncRNA-1", "lncRNA-2"))
    same = ExpressionMatrix(
        np.hstack([tissue_matrix().values, more.values[:, -2:]]), more.genes, more.sample_ids, more.units
    )
    vectors, coverage = model.embed_matrix(same)
    np.testing.assert_array_equal(vectors, plain)
    assert coverage.n_given - coverage.n_recognised == 2


def test_matrix_without_a_known_gene_is_refused(model: JointModel) -> None:
    matrix = ExpressionMatrix(np.ones((1, 2), np.float32), ("foo", "bar"), ("s",), (Unit.COUNTS,))
    with pytest.raises(InputError, match="recognised"):
        model.embed_matrix(matrix)


def test_no_texts_give_no_rows_and_load_no_tower(model: JointModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TEXT_TOWERS, "toy")
    assert model.embed_texts([]).shape == (0, model.dim)


def test_text_tower_loads_once_whoever_asks(model: JointModel, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ToyTextTower] = []

    def factory(*args: object, **options: object) -> ToyTextTower:
        made.append(ToyTextTower())
        return made[-1]

    monkeypatch.setitem(TEXT_TOWERS, "toy", factory)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: model.embed_texts(["heart"]), range(32)))
    assert len(made) == 1
    assert all(np.array_equal(answer, answers[0]) for answer in answers)


def test_templates_are_averaged(tmp_path: Path) -> None:
    folder = write_toy_model(tmp_path, N_GENES)
    raw = json.loads((folder / "config.json").read_text())
    raw["text"]["templates"] = ["{x}", "{x} blood"]
    (folder / "config.json").write_text(json.dumps(raw))
    model, tower = JointModel.load(folder), ToyTextTower()
    mean = tower.embed(["heart"]) + tower.embed(["heart blood"])
    expected = mean / np.linalg.norm(mean) - toy_parts(N_GENES).tensors["centre"]
    np.testing.assert_allclose(model.embed_texts(["heart"]), expected / np.linalg.norm(expected), atol=1e-6)
    assert model.embed_texts(["heart", "liver"]).shape == (2, model.dim)


def test_braces_in_a_phrase_are_text(model: JointModel) -> None:
    assert np.isfinite(model.embed_texts(["{x} {0} {heart}", "%s"])).all()


def test_unknown_text_tower_is_incompatible(model: JointModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TEXT_TOWERS, "toy")
    with pytest.raises(ArtifactError, match="needs the text tower 'toy'") as caught:
        JointModel.load(model.folder)
    assert caught.value.kind == "incompatible"


def test_text_tower_with_other_weights_is_incompatible(model: JointModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTextTower, "fingerprint", "0" * 64)
    with pytest.raises(ArtifactError, match="not the one the model") as caught:
        model.embed_texts(["heart"])
    assert caught.value.kind == "incompatible"


def test_expression_without_statistics_says_how_to_fit_them(tmp_path: Path) -> None:
    model = JointModel.load(write_toy_model(tmp_path, N_GENES, fitted=False))
    with pytest.raises(ArtifactError, match="geo-atlas model fit-statistics") as caught:
        model.embed_matrix(tissue_matrix())
    assert caught.value.kind == "missing"
    assert model.embed_texts(["heart"]).shape == (1, model.dim)


def test_hash_changes_with_the_statistics(tmp_path: Path, model: JointModel) -> None:
    parts = toy_parts(N_GENES, n_mouse=8)
    n = N_GENES + 8
    other = GeneStatistics(np.ones(n, np.float32), np.ones(n, np.float32), np.ones(n, np.int32))
    write_model(tmp_path / "other", toy_parts(N_GENES, n_mouse=8, statistics=other))
    assert parts.config.transcriptome == model.config.transcriptome
    assert JointModel.load(tmp_path / "other").hash != model.hash


def test_with_statistics_changes_expression_and_not_text(model: JointModel) -> None:
    n = N_GENES + 8
    rng = np.random.default_rng(0)
    copy = model.with_statistics(
        GeneStatistics(rng.normal(size=n).astype(np.float32), np.ones(n, np.float32), np.ones(n, np.int32))
    )
    assert copy.hash == ""
    assert not np.array_equal(copy.embed_matrix(tissue_matrix())[0], model.embed_matrix(tissue_matrix())[0])
    np.testing.assert_array_equal(copy.embed_texts(["heart"]), model.embed_texts(["heart"]))
