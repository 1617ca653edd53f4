"""How honest and how true the disease scan of a release is: the tables of ``docs/measurements-scans.md``.

Run: python -m benchmarks.disease_scan --home HOME --data DATA [--release NAME] [--out docs/measurements-scans.md]

Cases and controls come from the curated fields of the corpora by ``benchmarks/disease_rules.tsv``; nothing of the program reads
them. The release is asked through the shelf, as the service asks it; the sweep is timed once more on the release's own vectors.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from atlas.answers import ScanCalibration, ScanReport
from atlas.model.joint import JointModel
from atlas.model.text_cache import text_caches
from atlas.release import Home, Release
from atlas.scans.background import SAME_IDEA, Background, unit
from atlas.scans.ground import Ground, Members
from atlas.scans.null import Null
from atlas.scans.shelf import ScanShelf
from atlas.scans.sweep import sweep
from atlas.scans.testing import benjamini_hochberg, share_of_false_sweeps
from atlas.vectors.store import VectorStore
from benchmarks.phrases import case_control_cells
from indexer.evaluation.curated import CuratedSamples, PhraseRule, read_curated, read_phrase_rules
from indexer.evaluation.phrases import evaluate_case_control, evaluate_phrase
from indexer.evaluation.tables import show

RULES = Path(__file__).with_name("disease_rules.tsv")
CORPORA = ("counts.h5", "tpm.h5")
VOCABULARY = "omim_expanded"
N_DRAWS = 1_000
SEED = 0
CUTS = (2.0, 0.95, 0.90, 0.85, 0.80)
"""Cosines between near-copies in the background; 2 keeps all."""


def calibration_table(calibration: ScanCalibration, *, n_terms: int, naive: float) -> str:
    """Markdown: shares of held-out background terms and of null sweeps; ``naive`` is that of p-values counted once."""
    lines = [
        "| measured | found | wanted |",
        "|---|---|---|",
        f"| held-out background terms | {calibration.n_held_out:,} | |",
        f"| Kolmogorov-Smirnov distance of their p from uniform (p of it) | {calibration.ks_statistic:.4f} "
        f"({calibration.ks_p_value:.2f}) | |",
    ]
    for level, share in (
        (".05", calibration.share_below_05),
        (".01", calibration.share_below_01),
        (".001", calibration.share_below_001),
    ):
        lines.append(f"| share with p < {level} | {share:.4f} | {level} |")
    lines += [
        f"| sweeps of {n_terms} random terms in which any q < .05 (of {calibration.n_null_sweeps:,}) | "
        f"{calibration.share_of_null_sweeps:.3f} | at most .05 |",
        f"| the same, were p counted once | {naive:.3f} | |",
        f"| random terms with a cluster whose q within the term < .05 | {calibration.share_of_null_terms:.4f} | "
        "at most .05 |",
    ]
    return "\n".join(lines)


def term_table(report: ScanReport, shelf: ScanShelf, terms: Sequence[str], *, n_clusters: int = 4) -> str:
    """Markdown: some terms in the clusters that answer them most."""
    lines = [
        "| term (q over terms) | cluster | mean z | 95 % | p | q within term | q in sweep | samples (studies) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for term in terms:
        found = shelf.term(report.summary.name, term)
        for cell in found.cells[:n_clusters]:
            interval = (
                "descriptive" if cell.low is None or cell.high is None else f"{cell.low:+.2f} to {cell.high:+.2f}"
            )
            lines.append(
                f"| {term} ({found.term.q_value:.2g}) | {cell.cluster_label} | {cell.effect:+.2f} | {interval} | "
                f"{cell.p_value:.2g} | {cell.q_within:.2g} | {'-' if cell.q_value is None else format(cell.q_value, '.2g')} | "
                f"{cell.n_samples} ({cell.n_studies}) |"
            )
    return "\n".join(lines)


def truth_table(rules: Sequence[PhraseRule], shelf: ScanShelf, *, samples: CuratedSamples) -> str:
    """Markdown: AUROC of each disease's z against all other samples, and against controls of the same study."""
    lines = [
        "| term | cases (studies) | against all: AUROC [95 %] | same study: cases / controls (studies) | AUROC [95 %] |",
        "|---|---|---|---|---|",
    ]
    for rule in rules:
        if not rule.positives(samples).any():
            continue
        scores = shelf.term_scores(VOCABULARY, rule.phrase)
        everyone = evaluate_phrase(rule, scores, samples=samples, seed=SEED, n_draws=N_DRAWS)
        within = evaluate_case_control(rule, scores, samples=samples, within="series", seed=SEED, n_draws=N_DRAWS)
        lines.append(
            f"| {rule.phrase} | {everyone.n_positive} ({everyone.n_studies}) | {show(everyone.auroc)} | "
            f"{case_control_cells(within)} |"
        )
    return "\n".join(lines)


def timed(release: Release, shelf: ScanShelf, *, n_terms: int) -> tuple[float, float, float]:
    """Sweep once more, writing nothing.

    Returns
    -------
    (seconds, and seconds of processor time, with the null once terms and background are embedded; share of null sweeps with a
    finding if p is counted once)
    """
    folder = release.folder
    vectors = unit(np.load(shelf.tables(VOCABULARY)["terms"].with_name("vectors.npy"), allow_pickle=False))
    background = Background.load(folder / "scans").without(VOCABULARY)
    start, used = time.monotonic(), time.process_time()
    with VectorStore.open(folder / "vectors.npy") as store:
        ground = Ground.measure(store, Members.read(folder))
        sweep(store, ground, vectors, background=background)
    seconds, used = time.monotonic() - start, time.process_time() - used
    return seconds, used, share_of_false_sweeps(Null(background, ground).first_counts, n_terms=n_terms)


def cut_table(release: Release, home: Path, shelf: ScanShelf, *, term: str) -> str:
    """Markdown: the smallest q within a term for several cuts between near-copies in the background."""
    model = JointModel.load(release.path("model"))
    names = shelf.report(VOCABULARY).terms
    row = next(place for place, one in enumerate(names) if one.term == term)
    vector = unit(np.load(shelf.tables(VOCABULARY)["terms"].with_name("vectors.npy"), allow_pickle=False)[[row]])
    lines = [
        f"| of texts with this cosine one is kept | background terms | smallest q within {term} |",
        "|---|---|---|",
    ]
    with VectorStore.open(release.path("vectors.npy")) as store:
        ground = Ground.measure(store, Members.read(release.folder))
    for cut in CUTS:
        background = Background.embed(model, caches=text_caches(home), cut=cut).without(VOCABULARY)
        found = Null(background, ground).test(vector, ground.effects(vector))
        q = benjamini_hochberg(found.cell_p).min()
        shown = "all are kept" if cut > 1 else f"{cut:.2f}{' (in use)' if cut == SAME_IDEA else ''}"
        lines.append(f"| {shown} | {len(background):,} | {q:.3f} |")
    return "\n".join(lines)


def in_order_of(release: Release, samples: CuratedSamples) -> CuratedSamples:
    """Return the labels of the release's samples, in its order; samples without curated labels get empty ones."""
    place = {sample: row for row, sample in enumerate(samples.sample_ids.tolist())}
    wanted = release.table("samples.parquet", columns=["sample_id"])["sample_id"].to_pylist()
    rows = np.array([place.get(sample, -1) for sample in wanted])
    known = rows >= 0

    def taken(values: np.ndarray) -> np.ndarray:
        return np.where(known, values[np.maximum(rows, 0)], "")

    return replace(
        samples,
        sample_ids=np.array(wanted),
        tissues=taken(samples.tissues),
        conditions=taken(samples.conditions),
        series=taken(samples.series),
        studies=taken(samples.studies),
    )


def report_on(release: Release, shelf: ScanShelf, *, home: Path, data: Path) -> str:
    """Measure everything and return the page."""
    report, rules = shelf.report(VOCABULARY), read_phrase_rules(RULES)
    summary = report.summary
    samples = in_order_of(release, read_curated([data / "corpora" / name for name in CORPORA]))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    best = [term.term for term in report.terms[:3]]
    seconds, used, naive = timed(release, shelf, n_terms=summary.n_terms)
    unchecked = summary.n_terms - sum(rule.positives(samples).any() for rule in rules)
    return (
        "\n\n".join(
            [
                "# Disease scans, measured",
                f"Written by `python -m benchmarks.disease_scan --home HOME --data DATA` on {platform.machine()}, release "
                f"`{release.name}` with content `{release.manifest.content_key[:12]}`: {summary.n_samples:,} samples, "
                f"{summary.n_clusters} clusters, {summary.n_terms} terms of {VOCABULARY}, {summary.n_background:,} background "
                "terms. What the columns mean: [scans.md](scans.md).",
                f"The sweep with its null took {seconds:.1f} s ({used:.1f} s of processor time) on {cores} cores "
                "once terms were embedded.",
                "## Honesty: true nulls",
                calibration_table(summary.calibration, n_terms=summary.n_terms, naive=naive),
                f"## Findings: {summary.n_significant} of {summary.n_terms} terms with q < .05",
                "The three terms with the smallest p, and the cardiomyopathies. Clusters of fewer than 3 studies are "
                "descriptive: what is found holds for those studies.",
                term_table(report, shelf, [*best, *(rule.phrase for rule in rules if "cardiomyopathy" in rule.phrase)]),
                "## Near-copies in the background",
                "The cut was chosen in sight of these figures: see [scans.md](scans.md#what-is-checked).",
                cut_table(release, home, shelf, term="cardiomyopathy"),
                "## Truth: samples that carry the disease",
                "The packaged model was made with these studies, so figures of it flatter; those of models that had not seen a "
                "study they are measured on: "
                "[measurements-model.md](measurements-model.md#diseases-against-controls-of-the-same-study).",
                truth_table(rules, shelf, samples=samples),
                f"Intervals: {N_DRAWS} bootstrap draws of whole studies, seed {SEED}; within a study also of samples; † one or "
                "two studies, so the interval says nothing of others. A disease far above .5 against all and near .5 inside its "
                f"studies is found by its tissue, not by its disease. The other {unchecked} terms cannot be "
                "checked: no sample of these corpora is labelled with them.",
            ]
        )
        + "\n"
    )


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="home that holds the release")
    parser.add_argument("--release", default=None, help="name of the release; default: the current one")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds corpora/counts.h5 and corpora/tpm.h5"
    )
    parser.add_argument("--out", type=Path, default=None, help="file to write; default: print")
    options = parser.parse_args()
    home = options.home.absolute()
    release = Release.open(Home(home), options.release)
    page = report_on(release, ScanShelf(release, home), home=home, data=options.data)
    if options.out is None:
        print(page)
    else:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
