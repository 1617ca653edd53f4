"""Genes of a source in the order of the model: a plain loop over names is the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from expression_files import ensembl, small_gene_map
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import ArtifactError, InputError
from atlas.expression.align import GeneAligner, align
from atlas.expression.genes import GeneMap, strip_version
from atlas.expression.matrix import ExpressionMatrix, build_matrix
from atlas.expression.units import Unit

GENES = small_gene_map()


def matrix(
    labels: list[str], values: list[list[float]], *, unit: Unit = Unit.COUNTS, **more: object
) -> ExpressionMatrix:
    array = np.array(values, dtype=np.float32)
    ids = tuple(f"s{i}" for i in range(len(array)))
    return ExpressionMatrix(array, tuple(labels), ids, (unit,) * len(array), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("label", "row"),
    [
        (ensembl(1), 0),
        (ensembl(1) + ".17", 0),
        (ensembl(1) + ".17_PAR_Y", 0),
        (ensembl(1).lower(), 0),
        (" TP53 ", 0),
        ("tp53", 0),
        ("C1ORF112", 4),
        ("P53", 0),  # synonym of one gene
        ("MIX", -1),  # synonym of two
        ("NOPE", -1),
        (ensembl(99), -1),
        ("", -1),
        (ensembl(1, "mouse"), -1),  # another organism
    ],
)
def test_rows_of_one_label(label: str, row: int) -> None:
    assert GENES.rows_of([label]).tolist() == [row]


def test_rows_of_mouse_labels_in_the_mouse_part() -> None:
    assert GENES.rows_of(["Gapdh", ensembl(3, "mouse"), "GAPDH"], organism="mouse").tolist() == [7, 8, 7]


def test_rows_of_unknown_ensembl_id_is_rescued_by_symbol_but_not_by_synonym() -> None:
    assert GENES.rows_of([ensembl(99), ensembl(99)], ["GAPDH", "G3PD"]).tolist() == [1, -1]


def test_rows_of_second_label_is_used_where_the_first_is_unknown() -> None:
    assert GENES.rows_of(["x1", "x2", "TP53"], ["GAPDH", ensembl(3) + ".2", "ALB"]).tolist() == [1, 2, 0]


def test_strip_version_only_of_gene_ids() -> None:
    assert strip_version("ENSG00000000003.15") == "ENSG00000000003"
    assert strip_version("ENSMUSG00000000003") == "ENSMUSG00000000003"
    assert strip_version("ENST00000000003") is None
    assert strip_version("AL627309.1") is None


def test_gene_map_round_trip(tmp_path: Path) -> None:
    GENES.write(tmp_path / "genes.parquet")
    assert GeneMap.read(tmp_path / "genes.parquet") == GENES


def test_gene_map_missing_and_damaged_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as missing:
        GeneMap.read(tmp_path / "genes.parquet")
    (tmp_path / "genes.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ArtifactError) as corrupt:
        GeneMap.read(tmp_path / "genes.parquet")
    assert (missing.value.kind, corrupt.value.kind) == ("missing", "corrupt")


@given(
    labels=st.lists(
        st.sampled_from([ensembl(1), ensembl(2) + ".3", "TP53", "MYH7", "nope", "G3PD", "ALB", "alb"]), min_size=1
    ),
    seed=st.integers(0, 99),
)
def test_align_equals_a_loop_over_names(labels: list[str], seed: int) -> None:
    labels = [*labels, "NPPA"]
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 50, size=(3, len(labels))).astype(np.float32)
    measured = rng.random((3, len(labels))) < 0.7
    out = align(matrix(labels, values.tolist(), measured=measured), GENES)
    expected, mask = np.zeros((3, len(GENES))), np.zeros((3, len(GENES)), dtype=bool)
    for column, label in enumerate(labels):
        (row,) = GENES.rows_of([label])
        for sample in range(3):
            if row >= 0 and measured[sample, column]:
                expected[sample, row] += values[sample, column]
                mask[sample, row] = True
    np.testing.assert_array_equal(out.values, expected)
    np.testing.assert_array_equal(out.measured, mask)


def test_align_without_mask_every_listed_gene_is_measured() -> None:
    out = align(matrix(["ALB", "TP53"], [[0.0, 2.0]]), GENES)
    assert np.flatnonzero(out.measured[0]).tolist() == [0, 3]
    assert out.values[0].tolist()[:4] == [2.0, 0.0, 0.0, 0.0]


def test_align_log2_duplicates_are_summed_on_the_linear_scale() -> None:
    labels = ["TP53", "GAPDH", "P53"]
    out = align(matrix(labels, [[3.0, 5.0, 3.0]], unit=Unit.LOG2), GENES)
    assert out.values[0, :2].tolist() == pytest.approx([4.0, 5.0])
    mask = np.array([[True, True, False]])
    out = align(matrix(labels, [[3.0, 5.0, 3.0]], unit=Unit.LOG2, measured=mask), GENES)
    assert out.values[0, :2].tolist() == pytest.approx([3.0, 5.0])


def test_align_mixed_units_each_row_by_its_own() -> None:
    values = np.array([[3.0, 3.0], [3.0, 3.0]], dtype=np.float32)
    mixed = ExpressionMatrix(values, ("TP53", "P53"), ("a", "b"), (Unit.COUNTS, Unit.LOG2))
    assert align(mixed, GENES).values[:, 0].tolist() == pytest.approx([6.0, 4.0])


def test_coverage_counts_what_is_recognised() -> None:
    coverage = align(matrix([ensembl(1) + ".1", "GAPDH", "P53", "nope", "nada"], [[1] * 5]), GENES).coverage
    assert (coverage.n_given, coverage.n_recognised, coverage.n_covered, coverage.n_duplicates) == (5, 3, 2, 1)
    assert coverage.n_model_genes == 6
    assert coverage.identifier == "mixed"
    assert coverage.unrecognised_examples == ("nope", "nada")


@pytest.mark.parametrize(("labels", "kind"), [([ensembl(1), ensembl(9)], "ensembl"), (["TP53", "x"], "symbol")])
def test_coverage_names_the_identifier(labels: list[str], kind: str) -> None:
    assert align(matrix(labels, [[1, 2]]), GENES).coverage.identifier == kind


def test_no_recognised_gene_is_refused_with_examples() -> None:
    with pytest.raises(InputError, match="None of the 2 gene names.*'foo'"):
        align(matrix(["foo", "bar"], [[1, 2]]), GENES)


@pytest.mark.parametrize(
    "labels",
    [
        ["Trp53", "Gapdh", "Myh7"],
        [ensembl(i, "mouse") for i in range(1, 5)],
        ["Trp53", "Gapdh", "TP53"],
        ["Xkr4", "Rp1", "Sox17"],
    ],
)
def test_mouse_genes_for_a_human_atlas_are_refused_with_the_fact(labels: list[str]) -> None:
    with pytest.raises(InputError, match="are mouse genes, and human ones are expected"):
        align(matrix(labels, [[1] * len(labels)]), GENES)


def test_human_genes_for_a_mouse_atlas_are_refused() -> None:
    with pytest.raises(InputError, match="are human genes"):
        align(matrix(["TP53", "GAPDH"], [[1, 2]]), GENES, organism="mouse")


def test_mouse_atlas_takes_mouse_genes() -> None:
    out = align(matrix(["Gapdh"], [[4]]), GENES, organism="mouse")
    assert np.flatnonzero(out.measured[0]).tolist() == [7]


def test_endless_gene_names_are_refused() -> None:
    with pytest.raises(InputError, match="characters long"):
        align(matrix(["TP53", "x" * 10_000], [[1, 2]]), GENES)


def test_aligner_refuses_blocks_of_other_genes() -> None:
    aligner = GeneAligner(["TP53"], genes=GENES)
    with pytest.raises(InputError, match="expected 1"):
        aligner.align(matrix(["TP53", "ALB"], [[1, 2]]))


def test_matrix_parts_must_belong_together() -> None:
    with pytest.raises(InputError, match="shape"):
        ExpressionMatrix(np.zeros((1, 2), dtype=np.float32), ("a",), ("s",), (Unit.COUNTS,))
    with pytest.raises(InputError, match="units"):
        ExpressionMatrix(np.zeros((1, 1), dtype=np.float32), ("a",), ("s",), ())


@pytest.mark.parametrize(
    ("values", "ids", "unit", "words"),
    [
        ([[1.0, np.nan]], ["s"], Unit.TPM, "no finite value for gene 'B'"),
        ([[1.0, -2.0]], ["s"], Unit.TPM, "--unit log2"),
        ([[1.0, 0.5]], ["s"], None, "--unit counts"),
        ([[1, 2], [3, 4]], ["s", "s"], None, "more than once: 's'"),
        ([], [], None, "at least one sample"),
        ([["x", "y"]], ["s"], None, "not a table of numbers"),
    ],
)
def test_build_matrix_refuses_bad_values(values: object, ids: list[str], unit: Unit | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_matrix(values, genes=["A", "B"], sample_ids=ids, unit=unit)
