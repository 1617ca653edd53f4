"""Kept term vectors: equal to fresh ones, embedded once, never believed when damaged."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from atlas.model import text_cache
from atlas.model.joint import JointModel
from atlas.model.quantised import Int8Rows
from atlas.model.text_cache import PLAIN, cache_key, embed_terms, text_caches, write_shard
from atlas.resources import resource_path
from atlas.vocabulary import packaged_texts
from indexer.export_text_vectors import KINDS

DIM = 8
TEMPLATES = ("{x}", "a sample of {x}", "{x} tissue")


class CountingModel:
    """A raw vector that only the text decides, a head that turns it, and how many texts were asked for."""

    dim, raw_text_dim = 5, DIM

    def __init__(self, raw_text_key: str = "one", *, head: float = 1.0) -> None:
        self.raw_text_key = raw_text_key
        self.texts: list[str] = []
        self._head = np.cos(np.outer(np.arange(1, DIM + 1), np.arange(1, self.dim + 1)) * head)

    def embed_raw_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += texts
        keys = [(self.raw_text_key + text).encode() for text in texts]
        seeds = [int.from_bytes(hashlib.sha256(key).digest()[:8], "big") for key in keys]
        rows = np.array([np.random.default_rng(seed).normal(size=DIM) for seed in seeds]).reshape(-1, DIM)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def text_head(self, raw: np.ndarray) -> np.ndarray:
        rows = np.array([np.tanh(3 * row @ self._head) for row in raw]).reshape(-1, self.dim)
        return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)).astype(np.float32)


def embed(model: CountingModel, terms: Sequence[str], **options: Any) -> np.ndarray:
    return embed_terms(cast("JointModel", model), terms, **options)


def fresh(terms: Sequence[str], templates: Sequence[str] = PLAIN, *, head: float = 1.0) -> np.ndarray:
    """The definition, term by term, without any rounding."""
    model = CountingModel(head=head)
    rows = []
    for term in terms:
        mean = model.embed_raw_texts([t.replace("{x}", term) for t in templates]).mean(axis=0)
        rows.append(model.text_head(mean[None] / np.linalg.norm(mean))[0])
    return np.array(rows)


def shards(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.parquet"))


@pytest.mark.parametrize("templates", [PLAIN, TEMPLATES])
def test_vectors_are_those_of_a_fresh_embedding_in_the_order_given(tmp_path: Path, templates: tuple[str, ...]) -> None:
    terms = ["liver", "heart", "liver", "{x}", "", "Ärger", "heart\ud800"]
    vectors = embed(CountingModel(), terms, templates=templates, caches=[tmp_path])
    assert vectors.dtype == np.float16
    assert vectors.shape == (7, 5)
    np.testing.assert_allclose(vectors, fresh([*terms[:6], "heart?"], templates), atol=0.02)
    again = CountingModel()
    np.testing.assert_array_equal(embed(again, terms[::-1], templates=templates, caches=[tmp_path]), vectors[::-1])
    assert again.texts == []
    assert embed(CountingModel(), [], caches=[tmp_path]).shape == (0, 5)


def test_only_what_no_cache_knows_is_embedded_and_written_to_the_first(tmp_path: Path) -> None:
    mine, packaged = tmp_path / "mine", tmp_path / "packaged"
    embed(CountingModel(), ["a", "b"], caches=[packaged])
    before = shards(packaged)
    model, counted = CountingModel(), list[int]()
    vectors = embed(model, ["c", "b", "a", "b"], caches=[mine, packaged], progress=counted.append)
    assert model.texts == ["c"]
    assert sum(counted) == 3
    assert shards(packaged) == before
    assert len(shards(mine)) == 1
    np.testing.assert_array_equal(vectors, embed(CountingModel(), ["c", "b", "a", "b"]))


def test_models_of_one_tower_share_what_it_gave_and_each_has_its_own_vectors(tmp_path: Path) -> None:
    """Training a model further must not cost the embedding of every vocabulary again."""
    terms = ["a", "b"]
    embed(CountingModel(), terms, caches=[tmp_path])
    other = CountingModel(head=2.0)
    vectors = embed(other, terms, caches=[tmp_path])
    assert other.texts == []
    np.testing.assert_allclose(vectors, fresh(terms, head=2.0), atol=0.02)
    assert not np.allclose(vectors, fresh(terms), atol=0.1)


def test_another_tower_or_other_templates_share_nothing(tmp_path: Path) -> None:
    embed(CountingModel(), ["a"], caches=[tmp_path])
    for model, templates in [(CountingModel("two"), PLAIN), (CountingModel(), TEMPLATES)]:
        embed(model, ["a"], templates=templates, caches=[tmp_path])
        assert len(model.texts) == len(templates)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_damaged_shard_is_left_aside_and_healed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vectors = embed(CountingModel(), ["a", "b"], caches=[tmp_path])
    (shard,) = shards(tmp_path)
    content = shard.read_bytes()
    for damage in (content[:-9], content[:40] + bytes([content[40] ^ 1]) + content[41:], b""):
        shard.write_bytes(damage)
        model = CountingModel()
        with caplog.at_level(logging.WARNING):
            np.testing.assert_array_equal(embed(model, ["a", "b"], caches=[tmp_path]), vectors)
        assert model.texts == ["a", "b"]
        assert "damaged" in caplog.text
        assert shard.read_bytes() == content
        caplog.clear()


def test_a_shard_of_another_width_is_no_answer(tmp_path: Path) -> None:
    folder = tmp_path / cache_key(cast("JointModel", CountingModel()))
    write_shard(folder, ["a"], Int8Rows.from_vectors(np.ones((1, DIM + 1))))
    np.testing.assert_array_equal(embed(CountingModel(), ["a"], caches=[tmp_path]), embed(CountingModel(), ["a"]))


def test_equal_content_is_one_file_of_equal_bytes(tmp_path: Path) -> None:
    rows = Int8Rows.from_vectors(np.eye(DIM)[:2])
    first = write_shard(tmp_path / "a", ["x", "y"], rows)
    second = write_shard(tmp_path / "b", ["x", "y"], rows)
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert write_shard(tmp_path / "a", ["y", "x"], rows).name != first.name


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        vectors = embed(CountingModel(), ["a"], caches=[in_the_way])
    np.testing.assert_array_equal(vectors, embed(CountingModel(), ["a"]))
    assert "not kept" in caplog.text


def test_what_was_embedded_before_a_kill_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cache, "_SHARD_TERMS", 2)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(CountingModel(), list("abcde"), caches=[tmp_path], progress=stop)
    model = CountingModel()
    embed(model, list("abcde"), caches=[tmp_path])
    assert model.texts == list("cde")


def test_work_can_be_stopped_between_the_templates_of_a_batch() -> None:
    """All of them take many seconds for 512 terms: who cancels, or ends the service, does not wait for that."""
    model, calls = CountingModel(), list[int]()

    def stop(n: int) -> None:
        calls.append(n)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(model, ["a", "b"], templates=("{x}", "a {x}", "{x}s"), progress=stop)
    assert (model.texts, calls) == (["a", "b"], [0])


def test_many_short_lists_become_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cache, "_MERGE_FROM", 5)
    terms = [f"t{i}" for i in range(23)]
    for term in terms:
        embed(CountingModel(), [term], caches=[tmp_path])
        assert len(shards(tmp_path)) <= 5
    model = CountingModel()
    np.testing.assert_array_equal(embed(model, terms, caches=[tmp_path]), embed(CountingModel(), terms))
    assert model.texts == []


def test_rounding_costs_a_phrase_less_than_half_a_step_a_component() -> None:
    raw = CountingModel().embed_raw_texts([f"t{i}" for i in range(300)])
    kept = text_cache.embed_raw_terms(cast("JointModel", CountingModel()), [f"t{i}" for i in range(300)])
    steps = np.abs(raw).max(axis=1, keepdims=True) / 127
    assert (np.abs(kept.vectors() - raw) <= 0.501 * steps).all()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_package_knows_every_packaged_term_and_knows_it_right(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, terms = JointModel.load(resource_path("starter/model")), packaged_texts()
    assert {"Cardiac Muscle Contraction", "NK Cells"} < set(terms)
    real, asked = model.embed_raw_texts, list[str]()
    monkeypatch.setattr(model, "embed_raw_texts", asked.extend)
    vectors = embed_terms(model, terms, templates=KINDS[kind], caches=text_caches(tmp_path))
    assert asked == [], "run: python -m indexer.export_text_vectors"
    monkeypatch.setattr(model, "embed_raw_texts", real)
    again = embed_terms(model, terms[::400], templates=KINDS[kind])
    assert (np.einsum("ij,ij->i", vectors[::400].astype(float), again.astype(float)) > 0.999).all()


def test_packaged_shards_are_small_enough_to_ship(tmp_path: Path) -> None:
    _, packaged = text_caches(tmp_path)
    assert {path.name.split("-")[0] for path in shards(packaged)} == set(KINDS)
    assert sum(path.stat().st_size for path in shards(packaged)) < 7.5e6
