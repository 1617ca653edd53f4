"""One rule for cells and bulk, panels of few genes, mouse genes that borrow a row: against loops over genes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, rankdata
from toy_model import ToyTextTower, toy_memory_parts

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, Coverage, align
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.units import Unit
from atlas.model.config import CellRecipe, GeneTextConfig
from atlas.model.gene_table import GeneTable
from atlas.model.gene_tower import GeneTextTower
from atlas.model.joint import JointModel
from atlas.model.statistics import GeneStatistics
from atlas.model.text_tower import TEXT_TOWERS
from atlas.model.transcriptome import InputKind

N_HUMAN, N_MOUSE, DIM = 900, 200, 12
N = N_HUMAN + N_MOUSE
COVERAGE = Coverage(N, N, N, N, 0, "ensembl", "human", ())
STARTER: dict[str, Any] = {"power": 1.5, "by_deviation": False, "detected_only": True, "usual_in_panel": 1.0}
UNKNOWN = 5  # a gene that no study measured


@pytest.fixture(autouse=True)
def _toy_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)


def statistics() -> GeneStatistics:
    rng = np.random.default_rng(0)
    deviation = rng.gamma(2.0, size=N).astype(np.float32)
    deviation[UNKNOWN] = np.inf
    return GeneStatistics(rng.normal(size=N).astype(np.float32), deviation, np.ones(N, np.int32))


def table() -> GeneTable:
    """Mouse gene m has the row of human gene m, two of them the same, one none."""
    rows = np.concatenate([np.arange(N_HUMAN), np.arange(N_MOUSE)])
    rows[N_HUMAN + 1] = 0
    rows[N_HUMAN + 2] = -1
    return GeneTable.from_vectors(np.random.default_rng(1).normal(size=(N_HUMAN, DIM)), rows=rows)


def medians() -> np.ndarray:
    values = np.random.default_rng(2).gamma(2.0, size=N).astype(np.float32)
    values[7] = 0.0
    return values


def tower(**recipe: Any) -> GeneTextTower:
    return GeneTextTower(table(), statistics(), GeneTextConfig(n_rows=N_HUMAN, **recipe), medians=medians())


def cells(n: int, *, genes: slice | np.ndarray = slice(0, N_HUMAN), unit: Unit = Unit.COUNTS) -> AlignedExpression:
    """Counts of which most are zero; only ``genes`` were measured."""
    rng = np.random.default_rng(3)
    measured = np.zeros(N, dtype=bool)
    measured[genes] = True
    values = np.where(measured, rng.poisson(rng.gamma(0.1, 3.0, size=(n, N))), 0).astype(np.float32)
    mask = np.broadcast_to(measured, values.shape)
    return AlignedExpression(values, mask, (unit,) * n, tuple(f"c{i}" for i in range(n)), COVERAGE)


def take(expression: AlignedExpression, rows: list[int]) -> AlignedExpression:
    return AlignedExpression(
        expression.values[rows],
        expression.measured[rows],
        tuple(expression.units[i] for i in rows),
        tuple(expression.sample_ids[i] for i in rows),
        COVERAGE,
    )


def starter_weights(values: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """The recipe of the starter, gene by gene."""
    genes, known = np.flatnonzero(measured), statistics()
    ranks = norm.ppf((rankdata(values[genes]) - 0.5) / genes.size)
    informed = [i for i, gene in enumerate(genes) if np.isfinite(known.deviation[gene])]
    usual = dict(zip(informed, norm.ppf((rankdata(known.mean[genes[informed]]) - 0.5) / len(informed)), strict=True))
    weights = np.zeros(N)
    for i, gene in enumerate(genes):
        if values[gene] > 0 and i in usual:
            weights[gene] = min(max(ranks[i] - usual[i], 0.0), 8.0) ** 1.5
    return weights


def cell_weights(values: np.ndarray, measured: np.ndarray, *, recipe: CellRecipe) -> np.ndarray:
    typical, values = medians().astype(float), values.astype(float)
    genes = [gene for gene in np.flatnonzero(measured) if typical[gene] > 0]
    share = values[measured].sum() / (recipe.target_sum or values[measured].sum())
    logs = np.log1p(values[genes] / share / typical[genes])
    weights = np.zeros(N)
    weights[genes] = np.clip((logs - logs.mean()) / logs.std(), -recipe.clip, recipe.clip)
    return weights if recipe.signed else np.maximum(weights, 0.0) ** recipe.power


@pytest.mark.parametrize("panel", [slice(0, N_HUMAN), np.arange(3, N_HUMAN, 7)], ids=["all", "panel"])
def test_weights_of_the_starters_recipe_are_those_spelled_out(panel: Any) -> None:
    expression, embed = cells(4, genes=panel), tower(**STARTER)
    for row in range(4):
        expected = starter_weights(expression.values[row], expression.measured[row])
        np.testing.assert_allclose(embed.weights(expression, row), expected, atol=1e-6)
        assert expected[UNKNOWN] == 0.0


@pytest.mark.parametrize("recipe", [CellRecipe(), CellRecipe(signed=False, power=2.0), CellRecipe(target_sum=None)])
def test_weights_of_a_cell_over_medians_are_those_spelled_out(recipe: CellRecipe) -> None:
    expression, embed = cells(3), tower(cells=recipe)
    for row in range(3):
        expected = cell_weights(expression.values[row], expression.measured[row], recipe=recipe)
        np.testing.assert_allclose(embed.weights(expression, row), expected, atol=1e-9)


@pytest.mark.parametrize("recipe", [STARTER, {"cells": CellRecipe()}], ids=["starter", "medians"])
def test_vectors_are_weighted_sums_of_gene_vectors(recipe: dict[str, Any]) -> None:
    for genes in (slice(0, N_HUMAN), slice(N_HUMAN, N)):
        expression, embed = cells(5, genes=genes), tower(**recipe)
        for row, vector in enumerate(embed.embed(expression)):
            total = embed.weights(expression, row) @ table().vectors(np.arange(N))
            np.testing.assert_allclose(vector, total / np.linalg.norm(total), atol=2e-6)


@pytest.mark.parametrize("recipe", [STARTER, {"cells": CellRecipe()}], ids=["starter", "medians"])
@pytest.mark.parametrize("kind", ["auto", "bulk", "cells"])
def test_cell_has_the_same_bits_row_by_row_shuffled_and_cut(recipe: dict[str, Any], kind: InputKind) -> None:
    expression, embed = cells(140), tower(**recipe)
    whole = embed.embed(expression, kind=kind)
    order = np.random.default_rng(4).permutation(140).tolist()
    np.testing.assert_array_equal(embed.embed(take(expression, order), kind=kind), whole[order])
    np.testing.assert_array_equal(embed.embed(take(expression, order[:9]), kind=kind), whole[order[:9]])
    for row in (0, 77, 139):
        np.testing.assert_array_equal(embed.embed(take(expression, [row]), kind=kind)[0], whole[row])
        np.testing.assert_array_equal(tower(**recipe).embed(take(expression, [row]), kind=kind)[0], whole[row])


def test_rows_with_masks_of_their_own_do_not_mix() -> None:
    """The panel of the last row is kept; a row between others of another panel must not see it."""
    full, panel = cells(1), cells(1, genes=np.arange(0, N_HUMAN, 5))
    both = AlignedExpression(
        np.vstack([full.values, panel.values, full.values]),
        np.vstack([full.measured, panel.measured, full.measured]),
        (Unit.COUNTS,) * 3,
        ("a", "b", "c"),
        COVERAGE,
    )
    embed = tower(**STARTER)
    alone = [tower(**STARTER).embed(one)[0] for one in (full, panel, full)]
    np.testing.assert_array_equal(embed.embed(both), alone)


def test_bulk_and_cells_are_told_apart_by_the_row_or_by_the_user() -> None:
    embed, sparse = tower(cells=CellRecipe(), signed=True, power=1.0), cells(2)
    dense = AlignedExpression(sparse.values + np.float32(1), sparse.measured, sparse.units, sparse.sample_ids, COVERAGE)
    for expression, own, other in ((sparse, "cells", "bulk"), (dense, "bulk", "cells")):
        auto = embed.embed(expression)
        np.testing.assert_array_equal(auto, embed.embed(expression, kind=own))  # type: ignore[arg-type]
        assert not np.allclose(auto, embed.embed(expression, kind=other), atol=1e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", [Unit.TPM, Unit.FPKM, Unit.NORMALISED, Unit.LOG2])
def test_unit_of_a_cell_hardly_matters(unit: Unit) -> None:
    counts = cells(3)
    changed = np.log2(counts.values + 1) if unit is Unit.LOG2 else counts.values * np.float32(0.37)
    other = AlignedExpression(changed.astype(np.float32), counts.measured, (unit,) * 3, counts.sample_ids, COVERAGE)
    for recipe in (STARTER, {"cells": CellRecipe()}):
        np.testing.assert_allclose(tower(**recipe).embed(other), tower(**recipe).embed(counts), atol=1e-3)


def test_sample_with_too_few_genes_in_common_is_refused_by_name() -> None:
    few = cells(1, genes=np.arange(40))
    assert tower(**STARTER, min_genes=40).embed(few).shape == (1, DIM)
    with pytest.raises(InputError, match=r"'c0' shares 40 measured genes with the model; it needs 41"):
        tower(**STARTER, min_genes=41).embed(few)
    no_vector = cells(1, genes=np.array([N_HUMAN, N_HUMAN + 2]))  # the second has no row
    with pytest.raises(InputError, match="shares 1 measured genes"):
        tower(**STARTER, min_genes=2).embed(no_vector)


@pytest.mark.parametrize(("recipe", "value"), [(STARTER, 0.0), (STARTER, 3.0), ({"cells": CellRecipe()}, 0.0)])
def test_empty_or_constant_cell_is_refused_by_name(recipe: dict[str, Any], value: float) -> None:
    flat = cells(1)
    flat = AlignedExpression(np.full_like(flat.values, value), flat.measured, flat.units, flat.sample_ids, COVERAGE)
    with pytest.raises(InputError, match="'c0' has no gene above its usual level"):
        tower(**recipe).embed(flat, kind="cells")


def test_mouse_sample_lies_where_its_human_orthologs_lie() -> None:
    model = JointModel.of_parts(toy_memory_parts(64, n_mouse=64))
    values = np.random.default_rng(0).poisson(0.5, size=(2, 64)).astype(np.float32)
    human, mouse = (
        ExpressionMatrix(values, tuple(f"{prefix}{i + 1:011d}" for i in range(64)), ("a", "b"), (Unit.COUNTS,) * 2)
        for prefix in ("ENSG", "ENSMUSG")
    )
    as_mouse = model.embed_expression(align(mouse, model.genes, organism="mouse"))
    np.testing.assert_array_equal(as_mouse, model.embed_expression(align(human, model.genes)))


def test_rescaled_table_changes_no_sample() -> None:
    vectors = np.random.default_rng(1).normal(size=(N_HUMAN, DIM)) * 1e4
    rows = np.concatenate([np.arange(N_HUMAN), np.full(N_MOUSE, -1)])
    plain, rescaled = (GeneTable.from_vectors(vectors, rows=rows, rescaled=flag) for flag in (False, True))
    lengths = np.linalg.norm(rescaled.vectors(np.arange(N_HUMAN)), axis=1)
    assert lengths.mean() == pytest.approx(1.0, abs=0.01)
    config = GeneTextConfig(n_rows=N_HUMAN, **STARTER)
    one, other = (GeneTextTower(table, statistics(), config).embed(cells(3)) for table in (plain, rescaled))
    np.testing.assert_allclose(one, other, atol=1e-5)
