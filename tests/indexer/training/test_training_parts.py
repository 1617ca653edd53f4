"""Draws, schedule, features, presets, retrieval, batches: the parts of a run, one by one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from toy_training import ToySource, toy_towers

from atlas.errors import ConfigError
from indexer.training.batches import Batches
from indexer.training.draws import Draw, MixtureSampler
from indexer.training.features import FeatureCache, content_key
from indexer.training.locking import lock
from indexer.training.presets import OptimiserSpec, load_preset, preset_names
from indexer.training.retrieval import METRICS, retrieval
from indexer.training.schedule import Schedule


def sampler(n_draws: int, *, seed: int = 0, weights: tuple[float, ...] = (3.0, 1.0)) -> MixtureSampler:
    return MixtureSampler(
        [np.arange(10), np.array([5, 7, 9])], names=["a", "b"], weights=weights, n_draws=n_draws, seed=seed
    )


def test_draws_mix_sources_by_weight_and_see_each_item_equally_often() -> None:
    draws = list(sampler(8000))
    assert len(draws) == 8000
    assert 0.72 < np.mean([draw.source == 0 for draw in draws]) < 0.78
    for source, rows in ((0, range(10)), (1, (5, 7, 9))):
        seen = Counter(draw.row for draw in draws if draw.source == source)
        assert set(seen) == set(rows)
        assert max(seen.values()) - min(seen.values()) <= 1
        for passes in (0, 3):
            once = [draw.row for draw in draws if draw.source == source and draw.passes == passes]
            assert sorted(once) == sorted(rows)


def test_draws_depend_on_the_seed_alone_and_a_longer_run_begins_alike() -> None:
    assert list(sampler(500)) == list(sampler(500))
    assert list(sampler(500)) != list(sampler(500, seed=1))
    assert list(sampler(5000))[:500] == list(sampler(500))


def test_schedule_warms_up_again_when_the_towers_join() -> None:
    """The released recipe: 3 % heads alone, then all of it warms up; cosine down to a twentieth."""
    schedule = Schedule.of(load_preset("cellwhisperer-released").optimiser, n_steps=1000)
    assert (schedule.frozen, schedule.warmup) == (30, 30)
    assert [schedule.towers(step) for step in (0, 15, 29)] == [0.0, 0.0, 0.0]
    assert schedule.heads(0) == pytest.approx(1 / 31)
    assert schedule.heads(29) == pytest.approx(30 / 31, rel=0.01)
    assert schedule.heads(30) == schedule.towers(30) == pytest.approx(1 / 31, rel=0.01)
    assert schedule.towers(61) > 0.98
    assert schedule.towers(999) == pytest.approx(0.05)
    assert all(schedule.towers(step) >= schedule.towers(step + 1) for step in range(61, 999))


def test_schedule_of_the_paper_warms_up_over_ten_thousand_steps() -> None:
    schedule = Schedule.of(load_preset("cellwhisperer-paper").optimiser, n_steps=20_000)
    assert schedule.heads(4_999) == pytest.approx(0.5, rel=1e-3)
    assert schedule.heads(15_000) == 1.0


def test_linear_schedule_ends_at_its_last_share() -> None:
    spec = OptimiserSpec(schedule="linear", final_fraction=0.2)
    schedule = Schedule.of(spec, n_steps=11)
    assert [schedule.heads(step) for step in (0, 5, 10)] == pytest.approx([1.0, 0.6, 0.2])


def test_presets_say_what_the_paper_and_the_release_say() -> None:
    paper, released = load_preset("cellwhisperer-paper"), load_preset("cellwhisperer-released")
    assert (paper.loss.clip, paper.loss.jsd) == (0.5, 0.5)
    assert (released.loss.clip, released.loss.jsd) == (1.0, 0.0)
    assert (paper.optimiser.learning_rate, paper.optimiser.warmup_steps) == (1e-4, 10_000)
    assert (paper.batch.size, paper.batch.accumulation, released.batch.size) == (64, 32, 512)
    assert (released.optimiser.learning_rate, released.optimiser.betas) == (1e-5, (0.9, 0.98))
    assert {paper.locking, released.locking} == {"LU"}
    assert {paper.dim, released.dim} == {2048}
    assert preset_names() == ["cellwhisperer-paper", "cellwhisperer-released", "starter"]


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("clip", (), "no preset 'clip'; expected one of cellwhisperer-paper"),
        ("starter", ("transcriptome.tower=scgpt",), "transcriptome.tower.*gene_text.*geneformer"),
        ("starter", ("text.tower=gpt",), "text.tower"),
        ("starter", ("locking=XX",), "locking"),
        ("starter", ("loss.clip=0",), "must weigh more than 0"),
        (
            "starter",
            ("loss.clop=1",),
            "loss.clop: there is no such field, expected one of anchor, clip, equal_texts, jsd",
        ),
        ("starter", ("lose=1",), "lose: there is no such field, expected one of batch, closed_form, dim"),
        ("starter", ("closed_form.x=1",), "closed_form.x: .* expected one of borrowed, clip"),
        ("starter", ('text.adapter={"x": 1}',), "text.adapter.x: .* expected one of alpha, dropout, rank, targets"),
        ("starter", ("loss",), "expected key=value"),
        ("starter", ("seed.x=1",), "no section"),
        ("starter", ("validation.choose_by=luck",), "choose_by"),
        ("starter", ("text.tower=encoder",), "needs a source"),
        ("starter", ("text.pooling=cls",), "pools by the mean"),
        ("starter", ("optimiser.warmup_steps=5",), "not both"),
        ("starter", ("optimiser.learning_rate=NaN",), "learning_rate"),
        ("nowhere.json", (), "cannot be read"),
    ],
)
def test_what_no_preset_is_has_a_typed_error(name: str, changes: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_preset(name, changes=changes)


def test_preset_can_be_a_file(tmp_path: Path) -> None:
    told = load_preset("starter", changes=["name=mine", "loss.jsd=0.25"])
    (tmp_path / "mine.json").write_text(told.model_dump_json())
    assert load_preset(str(tmp_path / "mine.json")) == told
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ConfigError, match="no JSON object"):
        load_preset(str(tmp_path / "list.json"))


def test_retrieval_equals_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    transcriptomes, texts = rng.normal(size=(60, 4)), rng.normal(size=(60, 4))
    texts += 1.5 * transcriptomes
    figures = retrieval(transcriptomes, texts)
    assert tuple(sorted(figures)) == tuple(sorted(METRICS))
    for direction, queries, pool in (
        ("text_to_transcriptome", texts, transcriptomes),
        ("transcriptome_to_text", transcriptomes, texts),
    ):
        ranks, aucs = [], []
        for i, query in enumerate(queries):
            scores = [float(query @ other) for other in pool]
            ranks.append(1 + sum(score > scores[i] for score in scores))
            aucs.append(np.mean([scores[i] > score for j, score in enumerate(scores) if j != i]))
        for k in (1, 5, 10, 50):
            assert figures[f"{direction}_R@{k}"] == pytest.approx(np.mean([rank <= k for rank in ranks]))
        assert figures[f"{direction}_AUC"] == pytest.approx(np.mean(aucs))


def test_retrieval_counts_ties_against_the_model() -> None:
    figures = retrieval(np.ones((10, 2)), np.ones((10, 2)))
    assert figures["text_to_transcriptome_R@1"] == figures["text_to_transcriptome_AUC"] == 0.0


def rows_of(keys: list[bytes]) -> np.ndarray:
    return np.array([np.frombuffer(key[:12], dtype=np.uint8)[:3] for key in keys], dtype=np.float32)


def test_features_are_computed_once_and_found_by_content(tmp_path: Path) -> None:
    keys = [content_key(text.encode()) for text in ("a", "b", "a", "c")]
    cache = FeatureCache(tmp_path, dim=3)
    asked: list[int] = []

    def compute(missing: list[int]) -> np.ndarray:
        asked.extend(missing)
        return rows_of([keys[i] for i in missing])

    assert np.array_equal(cache.get(keys, compute=compute), rows_of(keys))
    assert asked == [0, 1, 3]
    again = FeatureCache(tmp_path, dim=3)
    assert np.array_equal(again.get(keys[::-1], compute=compute), rows_of(keys[::-1]))
    assert asked == [0, 1, 3]
    assert again.n_computed == 0
    assert content_key(b"ab", b"c") != content_key(b"a", b"bc")


def test_features_cut_short_by_a_kill_are_computed_again(tmp_path: Path) -> None:
    keys = [content_key(bytes([i])) for i in range(4)]
    FeatureCache(tmp_path, dim=3).get(keys, compute=lambda missing: rows_of([keys[i] for i in missing]))
    (path,) = tmp_path.glob("*.rows")
    path.write_bytes(path.read_bytes()[: 2 * 12 + 5])
    cache = FeatureCache(tmp_path, dim=3)
    assert len(cache) == 2
    assert np.array_equal(cache.get(keys, compute=lambda missing: rows_of([keys[i] for i in missing])), rows_of(keys))
    assert cache.n_computed == 2


def test_full_disk_ends_the_keeping_not_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file", dim=3)
    keys = [content_key(b"a")]
    for _ in range(2):
        assert np.array_equal(cache.get(keys, compute=lambda missing: rows_of(keys)), rows_of(keys))
    assert caplog.text.count("no longer kept") == 1


def test_many_features_do_not_pile_up_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.training.features._FRESH_ROWS", 10)
    cache = FeatureCache(tmp_path, dim=3)
    keys = [content_key(bytes([i])) for i in range(60)]
    for start in range(0, 60, 6):
        cache.get(keys[start : start + 6], compute=lambda missing, s=start: rows_of([keys[s + i] for i in missing]))
    assert len(cache._fresh) <= 10
    assert np.array_equal(cache.get(keys, compute=lambda missing: rows_of([])), rows_of(keys))


def test_batch_asks_each_source_once_and_keeps_the_order_of_the_draws() -> None:
    sources = [ToySource(10), ToySource(10, name="other", seed=1)]
    batches = Batches(sources, toy_towers(), replicates=False, augment=False)
    draws = [Draw(0, 3, 0), Draw(1, 3, 0), Draw(0, 1, 0), Draw(1, 0, 0)]
    inputs = batches(draws)
    assert [len(source.asked) for source in sources] == [1, 1]
    assert inputs["items"] == ["toy/S3", "other/S3", "toy/S1", "other/S0"]
    for place, draw in enumerate(draws):
        expected = np.log1p(sources[draw.source].values[draw.row])
        assert np.allclose(inputs["transcriptome"]["values"][place].numpy(), expected)
    assert inputs["counts"].tolist() == [4, 0, 0]


def test_what_is_drawn_for_an_item_does_not_depend_on_its_batch() -> None:
    batches = Batches([ToySource(10)], toy_towers(), seed=3)
    one, two = batches([Draw(0, 3, 1), Draw(0, 5, 1)]), batches([Draw(0, 8, 1), Draw(0, 3, 1), Draw(0, 5, 0)])
    assert np.array_equal(one["transcriptome"]["values"][0], two["transcriptome"]["values"][1])
    assert np.array_equal(one["text"]["bags"][0], two["text"]["bags"][1])
    assert not np.array_equal(one["transcriptome"]["values"][1], two["transcriptome"]["values"][2])  # another pass


def test_replicates_are_drawn_only_if_asked_for() -> None:
    draws = [Draw(0, row, passes) for row in range(5) for passes in range(8)]
    source = ToySource(5)
    plain = Batches([source], toy_towers(), replicates=False)(draws)
    varied = Batches([source], toy_towers())(draws)
    first = toy_towers().text.collate([source.captions(row)[0] for row in range(5) for _ in range(8)])["bags"]
    assert np.array_equal(plain["text"]["bags"], first)
    changed = (varied["text"]["bags"] != first).any(dim=1).float().mean()
    assert 0.2 < float(changed) < 0.8


def test_weights_of_the_items_enter_only_if_asked_for() -> None:
    source = ToySource(4)
    source.weights = np.array([0.5, 1.0, 2.0, 0.5], dtype=np.float32)
    draws = [Draw(0, row, 0) for row in (2, 0, 1)]
    assert Batches([source], toy_towers())(draws)["weights"].tolist() == [2.0, 0.5, 1.0]
    assert Batches([source], toy_towers(), sample_weights=False)(draws)["weights"].tolist() == [1.0, 1.0, 1.0]


def test_locked_towers_features_come_from_the_cache_and_are_those_of_the_tower(tmp_path: Path) -> None:
    model = toy_towers(dropout=0.5)
    for tower in (model.transcriptome, model.text):
        lock(tower, unlocked=False)
    model.train()
    source = ToySource(12)
    caches = {
        "transcriptome_cache": FeatureCache(tmp_path / "a", dim=12), "text_cache": FeatureCache(tmp_path / "b", dim=12)
    }  # fmt: skip
    batches = Batches([source], model, augment=False, replicates=False, **caches)
    draws = [Draw(0, row, 0) for row in (1, 5, 1)]
    inputs = batches(draws)
    plain = Batches([source], model, augment=False, replicates=False)(draws)
    assert np.allclose(inputs["text"]["features"], model.text(**plain["text"]).numpy(), atol=1e-6)
    seen = model.transcriptome.n_seen.copy()
    assert np.array_equal(inputs["transcriptome"]["features"], batches(draws)["transcriptome"]["features"])
    assert model.transcriptome.n_seen == seen
    arguments = {name: value for name, value in inputs.items() if name not in ("items", "counts")}
    assert np.isfinite(float(model(**arguments)["loss"].detach()))


def test_record_of_presets_is_json() -> None:
    for name in preset_names():
        assert json.loads(load_preset(name).model_dump_json())["name"] == name
