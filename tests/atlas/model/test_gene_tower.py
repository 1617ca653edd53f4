"""The gene-text tower against a plain weighted mean, and the promise that a row depends on itself alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_model import toy_parts

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, Coverage
from atlas.expression.log import log_expression
from atlas.expression.units import Unit
from atlas.model.config import GeneTextConfig
from atlas.model.gene_table import GeneTable
from atlas.model.gene_tower import GeneTextTower
from atlas.model.statistics import GeneStatistics, standardise
from atlas.model.text_heads import Centre

N_GENES = 300
COVERAGE = Coverage(N_GENES, N_GENES, N_GENES, N_GENES, 0, "ensembl", "human", ())


def statistics(seed: int = 0) -> GeneStatistics:
    rng = np.random.default_rng(seed)
    deviation = rng.gamma(2.0, size=N_GENES).astype(np.float32)
    deviation[3] = np.inf
    return GeneStatistics(rng.normal(size=N_GENES).astype(np.float32), deviation, np.ones(N_GENES, np.int32))


def aligned(n: int, *, seed: int = 0, units: tuple[Unit, ...] | None = None) -> AlignedExpression:
    rng = np.random.default_rng(seed)
    values = rng.gamma(0.5, 50.0, size=(n, N_GENES)).astype(np.float32)
    values[:, :40] = 0.0
    measured = rng.random((n, N_GENES)) > 0.2
    values[~measured] = 0.0
    return AlignedExpression(values, measured, units or (Unit.TPM,) * n, tuple(f"s{i}" for i in range(n)), COVERAGE)


def take(expression: AlignedExpression, rows: list[int]) -> AlignedExpression:
    return AlignedExpression(
        expression.values[rows],
        expression.measured[rows],
        tuple(expression.units[i] for i in rows),
        tuple(expression.sample_ids[i] for i in rows),
        COVERAGE,
    )


def tower(**recipe: Any) -> GeneTextTower:
    config = GeneTextConfig(**recipe)
    return GeneTextTower(toy_parts(N_GENES).table, statistics(), config)


def plain_vector(expression: AlignedExpression, row: int, *, config: GeneTextConfig) -> np.ndarray:
    """The recipe spelled out gene by gene."""
    table, genes = toy_parts(N_GENES).table, statistics()
    scores = standardise(log_expression(expression)[row], kind=config.standardisation)
    weights = []
    for gene in range(N_GENES):
        if np.isnan(scores[gene]) or np.isinf(genes.deviation[gene]):
            weights.append(0.0)
            continue
        z = (scores[gene] - genes.mean[gene]) / max(genes.deviation[gene], config.deviation_floor)
        size = min(abs(z), config.clip) ** config.power
        weights.append(size if z > 0 else -size if config.signed else 0.0)
    if config.top_genes is not None:
        kept = sorted(range(N_GENES), key=lambda gene: -abs(weights[gene]))[: config.top_genes]
        weights = [weight if gene in kept else 0.0 for gene, weight in enumerate(weights)]
    total = sum(w * table.scales[gene] * table.codes[gene].astype(np.float64) for gene, w in enumerate(weights))
    return np.asarray(total / np.linalg.norm(total))


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"standardisation": "z", "power": 1.0},
        {"top_genes": 20, "power": 1.0},
        {"clip": 1.5, "deviation_floor": 2.0, "power": 3.0},
        {"signed": True, "power": 1.0, "deviation_floor": 0.1},
        {"signed": True, "power": 2.0, "top_genes": 20},
    ],
    ids=["default", "z", "top", "clipped", "signed", "signed-top"],
)
def test_embed_equals_the_plain_weighted_mean(recipe: dict[str, Any]) -> None:
    expression = aligned(5)
    vectors = tower(**recipe).embed(expression)
    expected = [plain_vector(expression, row, config=GeneTextConfig(**recipe)) for row in range(5)]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert vectors.dtype == np.float32


def test_embed_row_is_bitwise_the_same_in_any_batch() -> None:
    expression, embed = aligned(150), tower().embed
    whole = embed(expression)
    rng = np.random.default_rng(3)
    for size in (1, 2, 7, 128, 129):
        rows = rng.choice(150, size=size, replace=False).tolist()
        np.testing.assert_array_equal(embed(take(expression, rows)), whole[rows])


def test_embed_row_is_bitwise_the_same_beside_other_genes_and_in_other_memory_order() -> None:
    expression, embed = aligned(4), tower().embed
    turned = AlignedExpression(
        np.asfortranarray(expression.values),
        np.asfortranarray(expression.measured),
        expression.units,
        expression.sample_ids,
        COVERAGE,
    )
    np.testing.assert_array_equal(embed(turned), embed(expression))


def test_embed_ignores_sample_names() -> None:
    expression = aligned(3)
    renamed = AlignedExpression(expression.values, expression.measured, expression.units, ("x", "y", "z"), COVERAGE)
    np.testing.assert_array_equal(tower().embed(renamed), tower().embed(expression))


def test_embed_does_not_read_unmeasured_values() -> None:
    expression = aligned(3)
    dirty = AlignedExpression(
        np.where(expression.measured, expression.values, np.float32(1e6)),
        expression.measured,
        expression.units,
        expression.sample_ids,
        COVERAGE,
    )
    np.testing.assert_array_equal(tower().embed(dirty), tower().embed(expression))


def test_embed_of_a_log2_sample_equals_that_of_its_linear_values() -> None:
    linear = take(aligned(1), [0])
    logged = AlignedExpression(
        np.where(linear.measured, np.log2(linear.values + 1.0), 0.0).astype(np.float32),
        linear.measured,
        (Unit.LOG2,),
        linear.sample_ids,
        COVERAGE,
    )
    np.testing.assert_allclose(tower().embed(logged), tower().embed(linear), atol=1e-3)


def test_embed_of_a_scaled_sample_is_unchanged() -> None:
    expression = aligned(2)
    scaled = AlignedExpression(
        expression.values * np.float32(1024.0), expression.measured, expression.units, expression.sample_ids, COVERAGE
    )
    np.testing.assert_allclose(tower().embed(scaled), tower().embed(expression), atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_embed_refuses_a_sample_without_signal_by_name(value: float) -> None:
    flat = AlignedExpression(
        np.full((1, N_GENES), value, np.float32), np.ones((1, N_GENES), bool), (Unit.TPM,), ("flat",), COVERAGE
    )
    with pytest.raises(InputError, match="'flat' has no gene above its usual level"):
        tower().embed(flat)


def test_sample_lies_where_the_words_of_its_genes_lie() -> None:
    values = np.ones((1, N_GENES), np.float32)
    values[0, ::8] = 1000.0  # the genes that speak of the heart
    expression = AlignedExpression(values, np.ones((1, N_GENES), bool), (Unit.TPM,), ("hearts",), COVERAGE)
    parts = toy_parts(N_GENES)
    assert parts.statistics is not None
    vector = GeneTextTower(parts.table, parts.statistics, parts.config.transcriptome).embed(expression)[0]
    assert vector.argmax() == 0


def test_gene_table_int8_is_near_the_float_vectors() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    table = GeneTable.from_vectors(vectors)
    restored = table.vectors(np.arange(50))
    assert np.abs(restored - vectors).max() <= table.scales.max() * 0.51
    assert table.codes.dtype == np.int8


def test_removed_components_are_gone_from_both_sides() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(80, 12)).astype(np.float32) * np.linspace(5, 1, 12, dtype=np.float32)
    centre = Centre.fit(vectors, n_removed=2)
    assert centre.removed.shape == (2, 12)
    restored = GeneTable.from_vectors(centre.apply(vectors)).vectors(np.arange(80))
    assert np.abs(restored @ centre.removed.T).max() < 0.1
    assert np.abs(centre.embed(vectors) @ centre.removed.T).max() < 1e-5


def test_gene_table_keeps_a_gene_at_the_centre_as_zero() -> None:
    vectors = np.array([[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]], np.float32)
    table = GeneTable.from_vectors(Centre.fit(vectors).apply(vectors))
    assert table.codes[2].tolist() == [0, 0]
    assert table.scales[2] == 0.0
