"""Rivals: words counted by hand, the dictionary in dense algebra, profiles as scorers have them, components as SVD has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cell_files import cell_counts
from toy_model import WORDS, ToyTextTower, toy_parts, write_toy_model
from training_files import write_gmt

from atlas.cells.scoring import take_rows
from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, align
from atlas.expression.log import log_expression
from atlas.expression.matrix import build_matrix
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS
from indexer.evaluation import rivals as rivals_module
from indexer.evaluation.baselines import LabelSet, standings
from indexer.evaluation.dictionary import Dictionary
from indexer.evaluation.integration_tables import components, narrow, profiles
from indexer.evaluation.lexical import WordVectors, shared_words, words
from indexer.evaluation.rivals import Rivals, text_alone

GENES = toy_parts(64).gene_map
OWN = {word: [f"G{i}" for i in range(64) if WORDS[i % len(WORDS)] == word] for word in WORDS}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JointModel:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    return JointModel.load(write_toy_model(tmp_path / "model"))


@pytest.fixture
def dictionary(model: JointModel, tmp_path: Path) -> Dictionary:
    """Two libraries of one set a word; the second names its sets otherwise."""
    folder = tmp_path / "sets"
    folder.mkdir()
    write_gmt(folder / "Azimuth_2023.gmt", {word: OWN[word] for word in WORDS[:4]})
    write_gmt(folder / "Tabula_Sapiens.gmt", {f"{word} cell": OWN[word][:6] for word in WORDS[4:]})
    return Dictionary(folder, model, ToyTextTower().embed)


def rows(labels: list[str], seed: int = 0) -> AlignedExpression:
    names = [f"G{i}" for i in range(64)]
    matrix = build_matrix(cell_counts(labels, seed=seed), genes=names, sample_ids=[str(i) for i in range(len(labels))])
    return align(matrix, GENES)


def labels(*names: str) -> LabelSet:
    return LabelSet(names, names, GENES, "human")


def test_words_are_lower_case_without_plural() -> None:
    assert words("CD4+ T cells, of the Lungs; as is") == ["cd4", "t", "cell", "of", "the", "lung", "as", "is"]


def test_shared_words_are_tf_idf_cosines() -> None:
    texts = ["heart muscle", "heart heart", "liver"]
    vectors = WordVectors.fit(texts)
    assert dict(vectors.places) == {"heart": 0, "muscle": 1, "liver": 2}
    weights = np.log(4 / np.array([3, 2, 2])) + 1
    assert vectors.weights == pytest.approx(weights)
    first = weights * [1, 1, 0]
    expected = [first[0] / np.linalg.norm(first), 1.0, 0.0]
    assert shared_words(["Heart", "nothing known"], texts) == pytest.approx(np.array([expected, [0, 0, 0]]))


def test_dictionary_is_the_cosine_of_weights_and_the_nearest_sets(dictionary: Dictionary, model: JointModel) -> None:
    aligned = rows(["heart", "liver", "brain"])
    found = dictionary.scorer(labels("heart", "liver", "brain"))(aligned)
    assert np.argmax(found, axis=1).tolist() == [0, 1, 2]
    _, weights = model.embed_with_weights(aligned, top=64)
    dense = np.zeros((3, 64))
    for row, one in zip(dense, weights, strict=True):
        row[one.genes] = one.weights
    every = dictionary.profiler("human")(aligned)
    sets = np.zeros((8, 64))
    for place, word in enumerate(WORDS):
        sets[place, [int(name[1:]) for name in OWN[word][: 8 if place < 4 else 6]]] = 1.0
    expected = dense @ sets.T / np.linalg.norm(dense, axis=1)[:, None] / np.linalg.norm(sets, axis=1)
    assert every == pytest.approx(expected, abs=1e-6)
    assert dictionary.profiler("human")(take_rows(aligned, np.array([False, True, False])))[0] == pytest.approx(
        every[1]
    )


def test_dictionary_without_a_library_left_is_refused(dictionary: Dictionary) -> None:
    left = dictionary.scorer(labels("lung", "heart"), leave_out=["Azimuth_2023"])(rows(["lung", "skin"]))
    assert left[0, 0] > left[1, 0]
    with pytest.raises(InputError, match=r"Azimuth_2023, Tabula_Sapiens.*--gene-sets"):
        dictionary.scorer(labels("heart", "liver"), leave_out=["Azimuth_2023", "Tabula_Sapiens"])


def test_rivals_score_labels_and_describe_rows(dictionary: Dictionary) -> None:
    held = Rivals({}, OWN, ToyTextTower().embed, dictionary)
    aligned = rows(["heart", "liver"])
    assert set(held.scorers(labels("heart"))) == {"lexical", "text only", "markers", "dictionary"}
    described = profiles(
        lambda: [aligned, aligned], held.profilers(labels()), used=np.array([True, False, False, True])
    )
    assert set(described) == {"markers", "dictionary"}
    markers = np.stack([standings(aligned)[:, [int(name[1:]) for name in OWN[word]]].mean(axis=1) for word in WORDS], 1)
    markers /= np.linalg.norm(markers, axis=1, keepdims=True)
    assert described["markers"] == pytest.approx(markers, abs=1e-5)
    assert set(Rivals({}, {}, ToyTextTower().embed).scorers(labels("heart"))) == {"lexical", "text only"}


def test_each_text_is_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Counting(ToyTextTower):
        def embed(self, texts: object) -> np.ndarray:
            asked.extend(texts)  # type: ignore[arg-type]
            return super().embed(texts)  # type: ignore[arg-type]

    monkeypatch.setattr(rivals_module, "MiniLmTower", Counting)
    embed = text_alone()
    first = embed(["heart", "liver", "heart"])
    again = embed(["liver", "brain"])
    assert asked == ["heart", "liver", "brain"]
    assert (first[0] == first[2]).all()
    assert (again[0] == first[1]).all()


def test_leading_directions_keep_the_cosines_they_can_keep() -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 200))
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    found = narrow(unit, n=6)
    assert found.shape == (30, 6)
    assert found @ found.T == pytest.approx(unit @ unit.T, abs=1e-5)
    assert narrow(unit, n=200) == pytest.approx(unit, abs=1e-6)


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    blocks = [rows(["heart", "liver"] * 4, seed=1), rows(["brain", "lung"] * 4, seed=2)]
    used = np.arange(16) != 5
    found = components(lambda: blocks, used=used, seed=0, n=3)
    logs = np.concatenate([log_expression(block) for block in blocks])[used].astype(np.float64)
    left, sizes, _ = np.linalg.svd(logs - logs.mean(axis=0), full_matrices=False)
    expected = left[:, :3] * sizes[:3]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs((found * expected).sum(axis=0)) == pytest.approx(np.square(expected).sum(axis=0), abs=1e-3)
