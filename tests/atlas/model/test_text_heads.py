"""Text heads: attention over set names against the sum spelled out, and what a model makes of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_model import WORDS, ToyTextTower, toy_memory_parts, toy_parts, write_toy_memory_model

from atlas.errors import ArtifactError
from atlas.model.checkpoint import MEMORY_FILE, model_files, model_hash, read_model, write_model
from atlas.model.config import Gate
from atlas.model.joint import JointModel
from atlas.model.quantised import Int8Rows
from atlas.model.text_heads import Centre, Memory
from atlas.model.text_tower import TEXT_TOWERS

N_TERMS, TEXT_DIM, DIM = 500, 24, 12


@pytest.fixture(autouse=True)
def _toy_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def memory(*, gates: tuple[Gate, ...] = (), projection: np.ndarray | None = None, temperature: float = 0.05) -> Memory:
    rng = np.random.default_rng(0)
    keys = unit(rng.normal(size=(N_TERMS, TEXT_DIM)))
    return Memory(
        Int8Rows.from_vectors(keys if projection is None else keys @ projection),
        Int8Rows.from_vectors(rng.normal(size=(N_TERMS, DIM)) * rng.uniform(0.2, 3.0, size=(N_TERMS, 1))),
        n_neighbours=10,
        temperature=temperature,
        projection=projection,
        groups=rng.integers(1 + len(gates), size=N_TERMS).astype(np.uint8) if gates else None,
        gates=gates,
    )


def phrases(n: int, *, seed: int = 1) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, TEXT_DIM))).astype(np.float32)


def plain_group(head: Memory, query: np.ndarray, terms: np.ndarray) -> tuple[np.ndarray, float]:
    """One group's sum, with loops over all of its terms."""
    cosines = {term: float(unit(head.keys.codes[term].astype(float)) @ query) for term in terms}
    nearest = sorted(terms, key=lambda term: (-cosines[term], term))[: head.n_neighbours]
    total = sum(np.exp(cosines[term] / head.temperature) for term in nearest)
    rows = head.values.codes * head.values.scales[:, None].astype(float)
    return sum(np.exp(cosines[t] / head.temperature) / total * rows[t] for t in nearest), cosines[nearest[0]]


def plain_vector(head: Memory, raw: np.ndarray) -> np.ndarray:
    query = raw.astype(float) if head.projection is None else raw.astype(float) @ head.projection
    query = unit(query)
    if head.groups is None:
        return unit(plain_group(head, query, np.arange(N_TERMS))[0])
    mixed, near = plain_group(head, query, np.flatnonzero(head.groups == 0))
    for group, gate in enumerate(head.gates, start=1):
        added, nearer = plain_group(head, query, np.flatnonzero(head.groups == group))
        mixed = mixed + gate.weight / (1 + np.exp(-((nearer - near) - gate.offset) / gate.slope)) * added
    return unit(mixed)


GATES = [(), (Gate(weight=1.5, offset=-0.05, slope=0.1),), (Gate(weight=1.5, offset=-0.05, slope=0.1), Gate())]


@pytest.mark.parametrize("gates", GATES, ids=["one group", "two", "three"])
@pytest.mark.parametrize("projected", [False, True])
def test_memory_vector_is_the_attention_spelled_out(gates: tuple[Gate, ...], projected: bool) -> None:
    projection = np.random.default_rng(5).normal(size=(TEXT_DIM, 16)).astype(np.float32) if projected else None
    head, raw = memory(gates=gates, projection=projection), phrases(12)
    expected = [plain_vector(head, row) for row in raw]
    np.testing.assert_allclose(head.embed(raw), expected, atol=1e-6)


@pytest.mark.parametrize("gates", GATES, ids=["one group", "two", "three"])
def test_memory_row_is_bitwise_the_same_in_any_company(gates: tuple[Gate, ...]) -> None:
    head, raw = memory(gates=gates), phrases(300)
    whole = head.embed(raw)
    for rows in ([0], [299, 3], list(range(299, -1, -1)), [7] * 5):
        np.testing.assert_array_equal(head.embed(raw[rows]), whole[rows])


def test_memory_of_names_given_twice_keeps_the_first_ones() -> None:
    """Libraries repeat names; which of equals counts must not hang on how a product is rounded."""
    keys = unit(np.random.default_rng(0).normal(size=(1, TEXT_DIM))).repeat(333, axis=0)
    values = np.random.default_rng(1).normal(size=(333, DIM))
    head = Memory(Int8Rows.from_vectors(keys), Int8Rows.from_vectors(values), n_neighbours=4)
    ((terms, weights),) = head.attend(phrases(1))
    assert terms.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(weights, 0.25)


def test_memory_with_more_neighbours_than_terms_uses_all_of_them() -> None:
    head = Memory(Int8Rows.from_vectors(np.eye(3)), Int8Rows.from_vectors(np.eye(3)), n_neighbours=10)
    assert head.embed(np.eye(3, dtype=np.float32)).argmax(axis=1).tolist() == [0, 1, 2]


def test_memory_of_no_phrases_and_of_a_zero_phrase() -> None:
    head = memory(projection=np.ones((TEXT_DIM, 4), np.float32))
    assert head.embed(np.zeros((0, TEXT_DIM), np.float32)).shape == (0, DIM)
    assert np.isfinite(head.embed(np.zeros((1, TEXT_DIM), np.float32))).all()


def test_centre_row_is_bitwise_the_same_in_any_company() -> None:
    raw = phrases(50)
    head = Centre.fit(phrases(80, seed=3), n_removed=3)
    np.testing.assert_array_equal(head.embed(raw[20:23]), head.embed(raw)[20:23])


def test_int8_rows_stay_within_half_a_step_and_keep_zeros() -> None:
    vectors = np.vstack([np.random.default_rng(0).normal(size=(20, 7)), np.zeros((1, 7))])
    rows = Int8Rows.from_vectors(vectors)
    assert np.abs(rows.vectors() - vectors).max() <= rows.scales.max() * 0.51
    assert rows.scales[-1] == 0.0
    np.testing.assert_array_equal(rows.vectors(np.array([3, 5])), rows.vectors()[[3, 5]])


@pytest.fixture
def model(tmp_path: Path) -> JointModel:
    return JointModel.load(write_toy_memory_model(tmp_path / "model"))


def test_memory_model_round_trip_and_its_hash_covers_the_names(model: JointModel) -> None:
    assert model_files(model.folder) == ("config.json", "genes.parquet", MEMORY_FILE, "model.safetensors")
    written, read = toy_memory_parts(64), read_model(model.folder)
    assert read.memory is not None
    assert read.memory.equals(written.memory)
    for name in written.tensors:
        np.testing.assert_array_equal(read.tensors[name], written.tensors[name])
    before = model_hash(model.folder)
    path = model.folder / MEMORY_FILE
    path.write_bytes(path.read_bytes() + b" ")
    assert model_hash(model.folder) != before


def test_texts_are_the_head_of_their_raw_vectors(model: JointModel) -> None:
    raw = model.embed_raw_texts(WORDS)
    assert raw.shape == (len(WORDS), model.raw_text_dim)
    np.testing.assert_allclose(np.linalg.norm(raw, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(model.text_head(raw), model.embed_texts(WORDS))
    assert model.embed_texts([]).shape == (0, model.dim)


def test_nearest_sets_are_named_heaviest_first(model: JointModel) -> None:
    found = model.nearest_sets("liver", 2)
    assert found[0][:2] == ("liver", "Toy")
    assert len(found) == 2
    assert found[0][2] > 0.9 > found[1][2]
    assert sum(weight for *_, weight in model.nearest_sets("liver", 50)) == pytest.approx(1.0)


def test_nearest_sets_of_a_gated_model_add_up_to_one() -> None:
    model = JointModel.of_parts(toy_memory_parts(64, gates=(Gate(weight=2.0), Gate())))
    found = model.nearest_sets("heart liver")
    assert {name for name, *_ in found[:2]} == {"heart", "liver"}
    assert sum(weight for *_, weight in found) == pytest.approx(1.0)


def test_model_without_memory_has_no_nearest_sets() -> None:
    with pytest.raises(ArtifactError, match="keeps no gene sets") as caught:
        JointModel.of_parts(toy_parts(64)).nearest_sets("liver")
    assert caught.value.kind == "incompatible"


def test_keys_of_caches_change_with_what_vectors_depend_on() -> None:
    base = JointModel.of_parts(toy_memory_parts(64))
    other_head = JointModel.of_parts(toy_memory_parts(64, seed=1))
    other_templates = toy_memory_parts(64)
    text = other_templates.config.text.model_copy(update={"templates": ("{x}", "a {x}")})
    config = other_templates.config.model_copy(update={"text": text})
    other_text = base.with_parts(type(other_templates)(config, other_templates.genes, other_templates.tensors))
    assert base.raw_text_key == other_head.raw_text_key != other_text.raw_text_key
    assert len({base.text_key, other_head.text_key, other_text.text_key}) == 3
    assert base.logit_scale == 20.0
    assert hashlib.sha256().digest_size * 2 == len(base.text_key)


def test_scores_are_cosines_and_do_not_depend_on_company(model: JointModel) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(40, model.dim))).astype(np.float32)
    scores = model.score(["heart", "liver"], vectors)
    assert scores.shape == (40, 2)
    np.testing.assert_allclose(scores, vectors @ model.embed_texts(["heart", "liver"]).T, atol=1e-6)
    np.testing.assert_array_equal(model.score(["liver"], vectors[5:6]), scores[5:6, 1:])
    np.testing.assert_array_equal(model.score(["heart", "liver"], vectors[::-1]), scores[::-1])


@pytest.mark.parametrize("damage", ["missing", "short", "columns"])
def test_damaged_names_of_sets_are_refused(model: JointModel, damage: str) -> None:
    import pyarrow.parquet as pq

    path = model.folder / MEMORY_FILE
    names = pq.read_table(path)
    if damage == "missing":
        path.unlink()
    else:
        pq.write_table(names.slice(1) if damage == "short" else names.select(["set"]), path)
    with pytest.raises(ArtifactError, match=MEMORY_FILE) as caught:
        read_model(model.folder)
    assert caught.value.kind == ("missing" if damage == "missing" else "corrupt")


def test_model_written_over_another_leaves_no_names_behind(model: JointModel) -> None:
    write_model(model.folder, toy_parts(64))
    assert not (model.folder / MEMORY_FILE).exists()
    assert JointModel.load(model.folder).embed_texts(["heart"]).shape == (1, ToyTextTower.dim)


def test_memory_of_an_empty_group_is_that_without_it() -> None:
    """Data without signatures leave group 1 empty; what samples state still has its own gate."""
    whole = memory(gates=(Gate(weight=3.0), Gate(weight=0.5)))
    groups = np.where(whole.groups == 1, 0, whole.groups)
    lacking = replace(whole, groups=groups)
    two = replace(whole, groups=(groups == 2).astype(np.uint8), gates=(Gate(weight=0.5),))
    np.testing.assert_array_equal(lacking.embed(phrases(9)), two.embed(phrases(9)))


def test_memory_without_a_first_group_is_one_group() -> None:
    whole = memory(gates=(Gate(),))
    np.testing.assert_array_equal(
        replace(whole, groups=np.ones_like(whole.groups)).embed(phrases(9)),
        replace(whole, groups=None, gates=()).embed(phrases(9)),
    )
