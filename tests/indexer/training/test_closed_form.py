"""The closed form against plain dense algebra, and what it makes of small gene sets and samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from expression_files import write_archs4
from scipy.sparse import csr_matrix
from toy_model import ToyTextTower, toy_parts
from training_files import write_gmt

from atlas.errors import InputError
from atlas.model.checkpoint import ModelParts, model_hash, write_model
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS
from indexer.training.closed_form import SAMPLES, closed_form
from indexer.training.closed_form_spec import ClosedFormSpec
from indexer.training.corroboration import corroborate
from indexer.training.factorisation import Metric, factorise, truncated_svd
from indexer.training.sources.corpus import CorpusSource
from indexer.training.sources.gene_sets import GeneSetSource

N_GENES = 80
RECIPE = ClosedFormSpec(libraries=("Cells", "Tissues"), signatures=("Illness",), dim=6, components=10, neighbours=2)


def random_weights(seed: int, *shape: int) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def dense_root(weights: np.ndarray, shares: np.ndarray, *, ridge: float) -> np.ndarray:
    """Square root of second moment (trace 1) plus ridge, by a full eigendecomposition."""
    moment = (weights * shares[:, None]).T @ weights
    values, vectors = np.linalg.eigh(moment / np.trace(moment) + np.eye(len(moment)) * ridge / len(moment))
    return np.asarray((vectors * np.sqrt(values)) @ vectors.T)


def test_metric_equals_the_full_root() -> None:
    weights, shares = random_weights(0, 9, 20), np.full(9, 1 / 9)
    metric = Metric.of(weights, shares, n_components=9, ridge=0.7)
    root = dense_root(weights, shares, ridge=0.7)
    np.testing.assert_allclose(metric.apply(np.eye(20)), root, atol=2e-6)
    np.testing.assert_allclose(metric.solve(np.eye(20)), np.linalg.inv(root), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_full_factors_give_the_scores_of_the_sets(power: float) -> None:
    sets, weights = random_weights(1, 7, 20), random_weights(2, 12, 20)
    metric = Metric.of(weights, np.full(12, 1 / 12), n_components=12, ridge=1.0)
    factors = factorise(csr_matrix(sets), metric, dim=7, power=power)
    np.testing.assert_allclose((weights @ factors.genes) @ factors.terms.T, weights @ sets.T, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(factors.project(sets), factors.terms, rtol=2e-3, atol=2e-3)


def test_few_factors_keep_more_of_the_samples_scores_than_a_plain_decomposition() -> None:
    """Most sets are about genes that no sample moves; the metric spends no coordinate on them."""
    rng = np.random.default_rng(3)
    weights = np.zeros((30, 40))
    weights[:, :10] = rng.normal(size=(30, 10))
    sets = np.zeros((50, 40))
    sets[:20, :10] = rng.normal(size=(20, 10))
    sets[20:, 10:] = 3 * rng.normal(size=(30, 30))
    metric = Metric.of(weights.astype(np.float32), np.full(30, 1 / 30), n_components=30, ridge=0.01)
    factors = factorise(csr_matrix(sets.astype(np.float32)), metric, dim=10)
    _, _, right = np.linalg.svd(sets, full_matrices=False)
    plain = weights @ right[:10].T @ right[:10] @ sets.T
    exact = weights @ sets.T
    lost = np.linalg.norm(weights @ factors.genes @ factors.terms.T - exact)
    assert lost < 0.05 * np.linalg.norm(exact)
    assert np.linalg.norm(plain - exact) > 0.5 * np.linalg.norm(exact)


def test_truncated_svd_equals_numpy_on_a_low_rank() -> None:
    matrix = random_weights(4, 25, 5) @ random_weights(5, 5, 30)
    left, singular, right = truncated_svd(lambda x: matrix @ x, lambda x: matrix.T @ x, n_columns=30, dim=5, seed=0)
    np.testing.assert_allclose(singular, np.linalg.svd(matrix, compute_uv=False)[:5], rtol=1e-3)
    np.testing.assert_allclose((left * singular) @ right.T, matrix, rtol=1e-3, atol=1e-3)


def test_a_library_that_others_contradict_weighs_less() -> None:
    """Ten names in three libraries; the sets of the third are unlike those of the same name elsewhere."""
    keys = np.tile(np.eye(10), (3, 1))
    true = np.random.default_rng(6).normal(size=(10, 12))
    values = np.concatenate([true, true, np.random.default_rng(7).normal(size=(10, 12))])
    libraries = [*["A_x"] * 10, *["B_x"] * 10, *["C_x"] * 10]
    length = np.linalg.norm(corroborate(keys, values, libraries, borrowed=0.0), axis=1) / np.linalg.norm(values, axis=1)
    assert np.ptp(length[:10]) < 1e-5
    assert length[20] < 0.8 * length[0]


def test_what_is_borrowed_is_what_namesakes_say() -> None:
    keys = np.concatenate([np.eye(2), np.eye(2)])
    values = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    mixed = corroborate(keys, values, ["A", "A", "B", "B"], borrowed=1.0, neighbours=1)
    assert mixed[0, 2] == pytest.approx(mixed[1, 2])
    assert mixed[0, 2] > 0.4
    assert np.linalg.norm(mixed, axis=1).mean() == pytest.approx(1.0, abs=1e-5)


def test_editions_of_one_library_corroborate_nothing() -> None:
    values = np.random.default_rng(8).normal(size=(4, 3))
    same = corroborate(
        np.eye(4), values, ["Azimuth_2021", "Azimuth_2021", "Azimuth_2023", "Azimuth_2023"], borrowed=0.5
    )
    np.testing.assert_allclose(same, values, rtol=1e-6)


ORGANS = ("heart", "liver", "brain")


def write_organs(path: Path, *, noise: int = 9) -> None:
    """Samples of the three organs in turn; ``noise`` decides what the second study holds besides."""
    values = np.random.default_rng(9).poisson(20, size=(N_GENES, 24)).astype(np.uint32)
    values[:, 12:] = np.random.default_rng(noise).poisson(20, size=(N_GENES, 12))
    for sample in range(24):
        organ = sample % 3
        values[10 * organ : 10 * organ + 10, sample] += 300
    fields = {
        "series_id": ["GSE1"] * 12 + ["GSE2"] * 12,
        "title": [f"sample {i}" for i in range(24)],
        "characteristics_ch1": [f"tissue: {ORGANS[i % 3]}" for i in range(24)],
    }
    write_archs4(path, values, samples=fields)


@pytest.fixture
def sources(tmp_path: Path) -> tuple[GeneSetSource, CorpusSource]:
    """Hearts show genes 0-9, livers 10-19, brains 20-29; two studies of twelve samples each."""
    for library, shift in (("Cells", 0), ("Tissues", 2)):
        write_gmt(
            tmp_path / f"{library}.gmt",
            {word: [f"G{i}" for i in range(10 * k + shift, 10 * k + 8 + shift)] for k, word in enumerate(ORGANS)},
        )
    write_gmt(tmp_path / "Illness_up.gmt", {"skin": [f"G{i}" for i in range(30, 40)]})
    write_gmt(tmp_path / "Illness_down.gmt", {"skin": [f"G{i}" for i in range(40, 50)]})
    write_gmt(tmp_path / "Unasked.gmt", {"muscle": [f"G{i}" for i in range(50, 60)]})
    write_organs(tmp_path / "corpus.h5")
    genes = toy_parts(N_GENES, n_mouse=30).gene_map
    return GeneSetSource(sorted(tmp_path.glob("*.gmt")), genes=genes), CorpusSource(
        [tmp_path / "corpus.h5"], genes=genes
    )


def fit(sources: tuple[GeneSetSource, CorpusSource], **changes: object) -> ModelParts:
    return closed_form(
        toy_parts(N_GENES, n_mouse=30),
        sources,
        rows=[np.arange(len(source)) for source in sources],
        spec=RECIPE.model_copy(update=changes),
        embed=ToyTextTower().embed,
    )


@pytest.fixture
def toy_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)


@pytest.mark.usefixtures("toy_tower")
def test_each_organ_is_found_by_its_name(sources: tuple[GeneSetSource, CorpusSource]) -> None:
    model = JointModel.of_parts(fit(sources))
    vectors = model.embed_expression(sources[1].expression(np.arange(24)))
    best = (vectors @ model.embed_texts(ORGANS).T).argmax(axis=1)
    np.testing.assert_array_equal(best, np.arange(24) % 3)


@pytest.mark.usefixtures("toy_tower")
def test_genes_that_go_down_speak_against_a_signature(sources: tuple[GeneSetSource, CorpusSource]) -> None:
    model = JointModel.of_parts(fit(sources))
    illness = model.embed_texts(["skin"])[0]
    assert (model.gene_vectors(np.arange(30, 40)) @ illness).mean() > 0
    assert (model.gene_vectors(np.arange(40, 50)) @ illness).mean() < 0


@pytest.mark.usefixtures("toy_tower")
def test_mouse_genes_borrow_the_rows_of_their_orthologs(sources: tuple[GeneSetSource, CorpusSource]) -> None:
    model = JointModel.of_parts(fit(sources))
    np.testing.assert_array_equal(
        model.gene_vectors(np.arange(N_GENES, N_GENES + 30)), model.gene_vectors(np.arange(30))
    )


def test_memory_lists_asked_libraries_and_what_samples_state(sources: tuple[GeneSetSource, CorpusSource]) -> None:
    listed = fit(sources).memory
    assert listed is not None
    assert set(listed["library"].to_pylist()) == {"Cells", "Tissues", "Illness", SAMPLES}
    assert "muscle" not in listed["set"].to_pylist()
    assert {"heart", "liver", "brain"} <= {
        name
        for name, library in zip(listed["set"].to_pylist(), listed["library"].to_pylist(), strict=True)
        if library == SAMPLES
    }


def test_equal_input_gives_an_equal_model(sources: tuple[GeneSetSource, CorpusSource], tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path / name, fit(sources))
    assert model_hash(tmp_path / "a") == model_hash(tmp_path / "b")


def test_left_out_studies_leave_no_trace(sources: tuple[GeneSetSource, CorpusSource], tmp_path: Path) -> None:
    """A model fitted without a study is the same whatever that study holds; one fitted with it is not."""
    write_organs(tmp_path / "other.h5", noise=10)
    base = toy_parts(N_GENES, n_mouse=30)
    other = CorpusSource([tmp_path / "other.h5"], genes=base.gene_map)
    spec, embed, everything = RECIPE, ToyTextTower().embed, np.arange(len(sources[0]))
    made = {
        (name, n): closed_form(
            base, [sources[0], corpus], rows=[everything, np.arange(n)], spec=spec, embed=embed
        ).tensors
        for name, corpus in (("one", sources[1]), ("other", other))
        for n in (12, 24)
    }
    assert all(np.array_equal(made["one", 12][key], made["other", 12][key]) for key in made["one", 12])
    assert not np.array_equal(made["one", 24]["statistics_mean"], made["other", 24]["statistics_mean"])


def test_needs_samples_and_known_libraries(sources: tuple[GeneSetSource, CorpusSource]) -> None:
    base, embed = toy_parts(N_GENES, n_mouse=30), ToyTextTower().embed
    everything = [np.arange(len(source)) for source in sources]
    with pytest.raises(InputError, match="--data corpus"):
        closed_form(base, sources[:1], rows=everything[:1], spec=RECIPE, embed=embed)
    other = RECIPE.model_copy(update={"libraries": ("Other",), "signatures": ()})
    with pytest.raises(InputError, match="Other"):
        closed_form(base, sources, rows=everything, spec=other, embed=embed)
