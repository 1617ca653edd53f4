"""Weights by density: densMAP's own radius, the cheap one that agrees with it, and the paper's formula."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from expression_files import wide_gene_map, write_archs4
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from training_files import N_GENES, write_corpus

from atlas.errors import InputError
from atlas.expression.log import log_expression
from indexer.training.density import (
    density_weights,
    densmap_radii,
    expression_vectors,
    item_weights,
    neighbour_radii,
    radii,
)
from indexer.training.sources.corpus import CorpusSource


def crowd_and_loners(seed: int = 0) -> np.ndarray:
    """Clusters of spreads from .05 to 1 in ten dimensions."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(4 * i, spread, size=(150, 10)) for i, spread in enumerate((0.05, 0.2, 0.5, 1.0))])


def exact_neighbours(
    vectors: np.ndarray, n_neighbors: int, metric: str, *_: object, **__: object
) -> tuple[np.ndarray | None, ...]:
    """UMAP's search for neighbours without what takes it a minute to compile."""
    away = vectors if metric == "precomputed" else cdist(vectors, vectors)
    nearest = np.argsort(away, axis=1, kind="stable")[:, :n_neighbors]
    return nearest, np.take_along_axis(away, nearest, axis=1).astype(np.float32), None


def test_densmap_radii_are_those_of_umap_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = crowd_and_loners()[::2].astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        monkeypatch.setattr("umap.umap_.nearest_neighbors", exact_neighbours)
        fitted = umap.UMAP(
            densmap=True, output_dens=True, dens_lambda=2.0, n_neighbors=30, n_epochs=0, init="random", random_state=0
        ).fit(vectors)  # the radii are settled before the first epoch
        own = densmap_radii(vectors, n_neighbors=30)
    assert spearmanr(own, fitted.rad_orig_).statistic > 0.999
    np.testing.assert_allclose(own, fitted.rad_orig_, atol=1e-5)


@pytest.mark.slow
def test_neighbour_radii_agree_with_densmap_also_from_a_part_of_the_samples() -> None:
    vectors = crowd_and_loners()
    exact = densmap_radii(vectors)
    whole = neighbour_radii(vectors)
    part = neighbour_radii(vectors, reference=200)
    assert spearmanr(exact, whole).statistic > 0.95
    assert spearmanr(exact, part).statistic > 0.93


def test_neighbour_radii_equal_a_plain_loop() -> None:
    vectors = crowd_and_loners()[::10]
    radius = neighbour_radii(vectors, n_neighbors=7)
    for row in range(0, len(vectors), 9):
        squared = ((vectors - vectors[row]) ** 2).sum(axis=1)
        wanted = np.log(np.sort(np.delete(squared, row))[:7].mean())
        assert radius[row] == pytest.approx(wanted, rel=1e-2, abs=5e-3)


def test_density_weights_follow_the_formula_and_count_loners_more() -> None:
    radius = np.random.default_rng(0).normal(size=5_000)
    weights = density_weights(radius)
    raised = np.exp(radius) + np.exp(radius).mean() / 10
    cut = np.minimum(raised, np.quantile(raised, 0.999))
    np.testing.assert_allclose(weights, cut / cut.mean(), rtol=1e-5)
    assert weights.mean() == pytest.approx(1.0, rel=1e-5)
    assert (np.diff(weights[np.argsort(radius)]) >= 0).all()


def test_radii_refuse_what_has_no_density() -> None:
    with pytest.raises(InputError, match="three samples"):
        radii(np.zeros((2, 4)))
    with pytest.raises(InputError, match="not finite"):
        neighbour_radii(np.full((9, 2), np.nan))


def test_expression_vectors_keep_the_distances_of_log_expression(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "a.h5", ["GSE1"] * 24)
    source = CorpusSource([path], genes=wide_gene_map(N_GENES))
    vectors = expression_vectors(source, range(24), dim=24)
    logs = np.nan_to_num(log_expression(source.expression(range(24))))
    for one, other in ((0, 1), (3, 17), (8, 9)):
        wanted = np.linalg.norm(logs[one] - logs[other])
        assert np.linalg.norm(vectors[one] - vectors[other]) == pytest.approx(wanted, rel=1e-3)
    assert expression_vectors(source, range(24), dim=5, n_fitted=12).shape == (24, 5)


def test_what_is_held_out_is_not_looked_at(tmp_path: Path) -> None:
    """Weights of the rows learned from are the same whatever the others hold, and those weigh 1."""
    rows = np.arange(3, 21)
    weights = []
    for seed in (0, 1):
        values = np.random.default_rng(0).poisson(30, size=(N_GENES, 24)).astype(np.uint32)
        values[:, [0, 1, 2, 21, 22, 23]] = np.random.default_rng(seed).poisson(30, size=(N_GENES, 6))
        path = write_archs4(tmp_path / f"{seed}.h5", values)
        weights.append(item_weights(CorpusSource([path], genes=wide_gene_map(N_GENES)), rows))
    np.testing.assert_array_equal(weights[0], weights[1])
    assert weights[0][[0, 2, 21, 23]].tolist() == [1.0] * 4
    assert weights[0][rows].mean() == pytest.approx(1.0, rel=1e-5)
    assert np.ptp(weights[0][rows]) > 0
