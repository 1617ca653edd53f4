"""Modules that learn against their counterparts at rest, and the paper's preset end to end on small towers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from geneformer_models import write_published
from tiny_encoder import HIDDEN, spread, write_tiny_encoder, write_tiny_memory_model
from toy_model import WORDS, toy_memory_parts, write_toy_memory_model
from toy_training import ToySource

from atlas.errors import ArtifactError, ConfigError
from atlas.model.checkpoint import read_model
from atlas.model.config import Gate, LoraRecord
from atlas.model.geneformer.importing import import_geneformer
from atlas.model.joint import JointModel
from atlas.model.quantised import Int8Rows
from atlas.model.text_encoder import EncoderTower, load_encoder
from atlas.model.text_heads import Memory
from indexer.training.job import Job
from indexer.training.modules import MemoryModule, TextModule
from indexer.training.presets import TextSpec, load_preset
from indexer.training.record import Rows
from indexer.training.run import train
from indexer.training.towers import Base, build, open_base

TEXTS = ["heart", "a piece of liver", "brain number 7", "skin " * 50]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


def random_memory(*, gates: tuple[Gate, ...] = (), projected: bool = False) -> Memory:
    rng = np.random.default_rng(0)
    return Memory(
        Int8Rows.from_vectors(rng.normal(size=(30, 6))),
        Int8Rows.from_vectors(rng.normal(size=(30, 9))),
        n_neighbours=4,
        temperature=0.1,
        projection=rng.normal(size=(5, 6)).astype(np.float32) if projected else None,
        groups=(np.arange(30) % (1 + len(gates))).astype(np.uint8) if gates else None,
        gates=gates,
    )


@pytest.mark.parametrize(
    "memory",
    [
        random_memory(),
        random_memory(projected=True),
        random_memory(gates=(Gate(weight=1.5, offset=-0.05, slope=0.05),)),
        random_memory(gates=(Gate(weight=1.5, offset=-0.05, slope=0.05), Gate())),
    ],
    ids=["plain", "projected", "two groups", "three groups"],
)
def test_memory_in_training_is_the_memory_at_rest(memory: Memory) -> None:
    features = np.random.default_rng(1).normal(size=(7, 5 if memory.projection is not None else 6)).astype(np.float32)
    module = MemoryModule(memory, projected=False).eval()
    assert np.allclose(module(torch.from_numpy(features)).detach().numpy(), memory.embed(features), atol=1e-5)
    with torch.no_grad():
        module.values.add_(torch.randn_like(module.values))
    learned = module.at_rest()
    assert np.allclose(module(torch.from_numpy(features)).detach().numpy(), learned.embed(features), atol=0.02)
    assert learned.config == memory.config


@pytest.mark.parametrize("projected", [False, True])
def test_memory_attends_alike_in_mixed_precision(projected: bool) -> None:
    module = MemoryModule(random_memory(), projected=projected).eval()
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    expected = module(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(module(features), expected, atol=1e-6)


def test_memory_begins_with_the_identity_before_its_keys() -> None:
    memory = random_memory()
    features = torch.randn(5, 6)
    with_matrix = MemoryModule(memory, projected=True).eval()
    assert with_matrix.projection is not None
    assert torch.allclose(with_matrix(features), MemoryModule(memory, projected=False).eval()(features), atol=1e-6)


def test_sets_out_of_sight_are_so_in_training_alone() -> None:
    module = MemoryModule(random_memory(), dropout=0.5)
    features = torch.randn(5, 6)
    module.train()
    assert not torch.allclose(module(features), module(features))
    module.eval()
    assert torch.equal(module(features), module(features))


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_text_tower_in_training_is_the_tower_at_rest(encoder: Path, pooling: str) -> None:
    tokenizer, model, _ = load_encoder(encoder)
    module = TextModule(model, tokenizer, pooling=pooling, max_tokens=16, dim=HIDDEN).eval()  # type: ignore[arg-type]
    seen = module(**module.collate(TEXTS)).detach().numpy()
    tower = EncoderTower(encoder, pooling=pooling, max_tokens=16)  # type: ignore[arg-type]
    assert np.allclose(seen, tower.embed(TEXTS), atol=1e-5)
    assert module.n_truncated(TEXTS) == tower.n_truncated(TEXTS) == 1
    assert module.collate(TEXTS)["input_ids"].shape == (4, 16)


def test_a_text_is_read_once_however_often_it_comes(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, model, _ = load_encoder(encoder)
    read: list[str] = []

    class Counting:
        pad_token_id = tokenizer.pad_token_id

        def __call__(self, texts: str | list[str], **named: object) -> object:
            read.extend([texts] if isinstance(texts, str) else texts)
            return tokenizer(texts, **named)

    module = TextModule(model, Counting(), pooling="mean", max_tokens=16, dim=HIDDEN)
    plain = TextModule(model, tokenizer, pooling="mean", max_tokens=16, dim=HIDDEN)
    short = [text for text in TEXTS if not plain.n_truncated([text])]
    for texts in (short, [*short, *short[:1]], short[::-1]):
        assert torch.equal(module.collate(texts)["input_ids"], plain.collate(texts)["input_ids"])
        assert module.n_truncated(texts) == 0
    assert sorted(read) == sorted(set(short))
    monkeypatch.setattr("indexer.training.modules._TEXTS_KEPT", 2)
    assert module.collate(TEXTS)["input_ids"].shape == plain.collate(TEXTS)["input_ids"].shape
    assert module.n_truncated(TEXTS) == 1


def test_pooler_that_is_not_used_does_not_learn(encoder: Path) -> None:
    """Several processes wait for the gradient of every parameter that is said to learn."""
    tokenizer, model, _ = load_encoder(encoder)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for pooling in ("mean", "pooler"):
        module = TextModule(model, tokenizer, pooling=pooling, max_tokens=16, dim=HIDDEN)  # type: ignore[arg-type]
        tuned = [names[id(parameter)] for parameter in module.tunable()]
        assert any(name.startswith("pooler.") for name in tuned) == (pooling == "pooler")


def test_packaged_text_tower_learns_by_adapters_alone(tmp_path: Path) -> None:
    """MiniLM itself stays the pinned file; what it learned lies beside it and is merged on loading."""
    parts = toy_memory_parts(64)
    told = load_preset(
        "starter",
        changes=[
            "closed_form=null",
            f"transcriptome.source={write_toy_memory_model(tmp_path / 'base')}", "text.head=projection", "locking=LU",
            "batch.size=4", "max_steps=2", "optimiser.learning_rate=0.01",
        ],
    )  # fmt: skip
    base = Base(parts, tmp_path / "base")
    rows = Rows([np.arange(16)], [np.arange(0)])
    train(Job(told, [(ToySource(16), 1.0)], rows, tmp_path / "out", base=base, device="cpu"))
    model = JointModel.load(tmp_path / "out")
    assert model.config.text.tower == "minilm"
    assert model.config.text.source is None
    assert model.config.text.adapter is not None
    assert not (tmp_path / "out" / "text_tower").exists()
    from atlas.model.text_tower import MiniLmTower

    assert not np.allclose(model.embed_raw_texts(["heart"]), MiniLmTower().embed(["heart"]), atol=1e-4)


@pytest.fixture(scope="module")
def geneformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("geneformer")
    write_published(root / "published", n_genes=64)
    import_geneformer(root / "published", root / "own")
    return root / "own"


@pytest.mark.parametrize("mode", ["LU", "UL"])
def test_preset_of_the_paper_trains_and_loads(geneformer: Path, encoder: Path, tmp_path: Path, mode: str) -> None:
    told = load_preset(
        "cellwhisperer-paper",
        changes=[
            f"transcriptome.source={geneformer}", f"text.source={encoder}", "text.max_tokens=32", "dim=24",
            "batch.size=4", "batch.accumulation=2", "batch.cached_gradients=true", "max_steps=2", f"locking={mode}",
            "optimiser.warmup_steps=1",
        ],
    )  # fmt: skip
    base = Base(toy_memory_parts(64), write_toy_memory_model(tmp_path / "base"), geneformer)
    learned, _ = spread(24)
    source = ToySource(24)
    rows = Rows([learned], [learned[:0]])
    train(Job(told, [(source, 1.0)], rows, tmp_path / "out", base=base, device="cpu"))
    model = JointModel.load(tmp_path / "out")
    assert model.config.transcriptome.tower == "geneformer"
    assert (tmp_path / "out" / "transcriptome_tower").is_dir() == (mode == "UL")
    vectors = model.embed_expression(source.expression(range(6)))
    assert vectors.shape == (6, 24)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    if mode == "LU":  # a locked tower's features went through the cache and are the tower's
        tower = build(told, base).transcriptome.eval()
        own = tower(**tower.collate(tower.read(source, range(24), rng=None))).detach().numpy()
        (folder,) = (tmp_path / "out" / "features").glob("transcriptome-*")
        (path,) = folder.glob("*.rows")
        kept = np.fromfile(path, dtype="<f4").reshape(-1, own.shape[1])
        assert len(kept) == 16
        assert all(np.abs(own - row).max(axis=1).min() < 1e-4 for row in kept)


def test_sample_that_ranks_nothing_is_no_row(geneformer: Path, tmp_path: Path, encoder: Path) -> None:
    told = load_preset(
        "cellwhisperer-paper",
        changes=[f"transcriptome.source={geneformer}", f"text.source={encoder}", "text.max_tokens=32", "dim=24"],
    )
    model = build(told, Base(toy_memory_parts(64), tmp_path, geneformer))
    source = ToySource(4)
    source.values[2] = 0.0
    assert [row is None for row in model.transcriptome.read(source, range(4), rng=None)] == [False, False, True, False]


def test_what_cannot_be_trained_is_refused(encoder: Path, tmp_path: Path) -> None:
    base = write_tiny_memory_model(tmp_path / "base", encoder)

    def told(*changes: str) -> None:
        preset = load_preset(
            "starter",
            changes=[f"transcriptome.source={base}", "text.tower=encoder", f"text.source={encoder}", *changes],
        )
        build(preset, open_base(preset))

    with pytest.raises(ConfigError, match="reads at most 32 tokens"):
        told("text.max_tokens=100")
    with pytest.raises(ConfigError, match="No linear layer of the encoder is called nothing"):
        told("text.max_tokens=32", "locking=UU", 'text.adapter={"targets": ["nothing"]}')
    with pytest.raises(ConfigError, match="16 dimensions, this one has 384"):
        told("text.tower=minilm", "text.source=null")
    adapted = read_model(base)
    adapter = LoraRecord(rank=1, alpha=1.0, modules=("encoder.layer.0.attention.self.query",))
    text = adapted.config.text.model_copy(update={"adapter": adapter})
    learned = Base(replace(adapted, config=adapted.config.model_copy(update={"text": text})), base)
    preset = load_preset("starter", changes=["text.tower=encoder", f"text.source={encoder}", "text.max_tokens=32"])
    with pytest.raises(ConfigError, match="encoder with an adapter"):
        build(preset, learned)
    unfitted = read_model(base)
    assert TextSpec().head == "projection"
    assert len(WORDS) == len(unfitted.memory or ())
    with pytest.raises(ArtifactError, match="nowhere"):
        open_base(load_preset("starter", changes=["transcriptome.source=nowhere"]))
