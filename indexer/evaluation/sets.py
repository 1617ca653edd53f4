"""The labelled sets a model is measured on, with the bars it is held to.

``name`` is the file without suffix, below ``evaluation/`` of the data folder; provenance is kept under the same name in
``indexer.training.provenance``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationSet:
    """One file.

    Attributes
    ----------
    name, title
        File without suffix; what it is, in words.
    label
        Column of ``obs`` with the true labels.
    bar, aim
        Macro ROC-AUC to reach and to wish for; ``None``: the set is reported only.
    """

    name: str
    title: str
    label: str = "cell_type"
    bar: float | None = None
    aim: float | None = None


SETS = (
    EvaluationSet("human_pbmc3k_10x", "PBMC 3k", bar=0.96, aim=0.98),
    EvaluationSet("human_pbmc68k_reduced", "PBMC 68k, 765 genes", bar=0.92, aim=0.95),
    EvaluationSet("human_pancreas_baron_small", "pancreas, Baron", bar=0.98, aim=0.99),
    EvaluationSet("human_pancreas_xin_subset", "pancreas, Xin, 980 genes", bar=0.97, aim=0.99),
    EvaluationSet("human_pbmc_facs_garnett", "PBMC sorted by FACS", bar=0.95, aim=0.99),
    EvaluationSet("mouse_pancreas_baron_mouse1", "mouse pancreas, Baron", bar=0.95, aim=0.98),
    EvaluationSet("bulk_human_hematopoiesis_16", "haematopoietic populations", bar=0.90, aim=0.95),
    EvaluationSet("profiles_human_adult_cpl", "adult cell profiles", label="cell_type_simple", bar=0.93, aim=0.95),
    EvaluationSet("bulk_human_gtex_tissue_means_54", "GTEx tissue means", bar=0.92, aim=0.95),
    EvaluationSet("human_mouse_pancreas_baron_matched", "pancreas of two species, Baron"),
    EvaluationSet("bulk_human_monaco_signature_17", "sorted blood, Monaco"),
    EvaluationSet("bulk_human_gtex_counts_31", "GTEx samples, skin and bladder"),
    EvaluationSet("human_embryo_yan", "embryo, Yan"),
    EvaluationSet("human_lung_cancer_lines_mixology", "five lung cancer lines"),
    EvaluationSet("mouse_cortex_zeisel_1000genes", "mouse cortex, 1,000 genes"),
    EvaluationSet("profiles_mouse_mca", "mouse cell profiles", label="cell_type_simple"),
)
PHRASE_BARS = {
    "tissue, cell and tumour phrases": (0.95, 0.97),
    "disease v controls of the same study": (0.75, 0.85),
    "all phrases": (0.91, 0.95),
}
