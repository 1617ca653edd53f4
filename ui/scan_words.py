"""What the figures of a scan mean, in sentences: how far its p-values can be trusted, what a term found, what a sum says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SIGNIFICANT = 0.05

NOTHING_FOUND = (
    "No term stands out once the choice among all of them is paid for. Rings mark clusters that would be significant had you "
    "asked about that term alone: leads, not findings."
)

SUM_CAVEAT = (
    "Terms of one vocabulary resemble each other, so their scores rise and fall together and a large sum is easily reached. The "
    "colour therefore is not the sum itself but how it compares with sums of equally many random terms: a percentile of 50 is "
    "what random terms reach."
)


def title(scan: Mapping[str, Any]) -> str:
    """Return the name of a scan for people: a vocabulary's file name without its underscores."""
    named = str(scan["title"] or scan["name"])
    return named if named != scan["name"] else named.replace("_", " ").replace("omim", "OMIM")


def p_text(value: float | None) -> str:
    """Return a p- or q-value as people read it."""
    if value is None:
        return "—"
    if value < 0.0001:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.4f}" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def share_text(share: float) -> str:
    """Return a share in [0, 1] as per cent; tiny ones are not called none."""
    percent = 100 * share
    return (
        "0 %"
        if percent == 0
        else "under 0.1 %"
        if percent < 0.1
        else f"{percent:.1f} %"
        if percent < 10
        else f"{percent:.0f} %"
    )


def summary_sentence(summary: Mapping[str, Any]) -> str:
    """Say what was swept and how much was found."""
    found = summary["n_significant"]
    stand_out = "none stands out" if not found else "1 stands out" if found == 1 else f"{found:,} stand out"
    return (
        f"{summary['n_terms']:,} terms against {summary['n_samples']:,} samples in {summary['n_clusters']:,} clusters: "
        f"{stand_out} from {summary['n_background']:,} background terms (q < .05 over the terms)."
    )


def is_calibrated(calibration: Mapping[str, Any]) -> bool:
    """Return whether held-out background terms behave as p-values should: sweeps of nothing find nothing nearly always."""
    return bool(calibration["share_of_null_sweeps"] <= SIGNIFICANT and calibration["share_below_05"] <= 0.075)


def calibration_sentences(calibration: Mapping[str, Any]) -> list[str]:
    """Say how honest the p-values are, measured on terms that should find nothing."""
    c = calibration
    if not c["n_held_out"]:
        return ["The p-values of this scan were not checked: no background terms were held out."]
    said = [
        f"{c['n_held_out']:,} background terms were kept out of the null and tested like terms of the scan. Of them "
        f"{share_text(c['share_below_05'])} had p < .05 (5 % expected), {share_text(c['share_below_01'])} p < .01 (1 %), "
        f"{share_text(c['share_below_001'])} p < .001 (0.1 %).",
        f"The largest distance of their p-values from a uniform distribution is {c['ks_statistic']:.3f} "
        f"(Kolmogorov-Smirnov, n = {c['n_held_out']:,}, p = {p_text(c['ks_p_value'])}).",
    ]
    if c["n_null_sweeps"]:
        said.append(
            f"Of {c['n_null_sweeps']:,} sweeps of equally many random terms {share_text(c['share_of_null_sweeps'])} found any "
            f"term with q < .05 (at most 5 % wanted); {share_text(c['share_of_null_terms'])} of random terms have a cluster with "
            "q < .05 for the term alone."
        )
    verdict = (
        "Significance can be read as it is printed."
        if is_calibrated(c)
        else "More was found where nothing should be than ought to be: take q near .05 with care."
    )
    return [*said, verdict]


def term_sentence(term: Mapping[str, Any], *, n_terms: int) -> str:
    """Say what one term found."""
    strength = "stands out" if term["selected"] else "does not stand out"
    return (
        f"Rank {term['rank']:,} of {n_terms:,}. It {strength} from {term['n_background']:,} comparable background terms "
        f"(p = {p_text(term['p_value'])} by count, {p_text(term['p_gaussian'])} by a fitted Gaussian tail; "
        f"q = {p_text(term['q_value'])} over all terms). {share_text(term['share_answering'])} of the atlas answers it at all."
    )


def cells_sentence(cells: Sequence[Mapping[str, Any]]) -> str:
    """Say in which clusters a term is significant, and what that claim rests on."""
    claimed = [cell for cell in cells if cell["q_value"] is not None and cell["q_value"] < SIGNIFICANT]
    alone = [cell for cell in cells if cell["q_within"] < SIGNIFICANT]
    if claimed:
        said = f"Significant in {len(claimed)} of {len(cells)} clusters (q < .05, the choice of this term paid for)."
    elif alone:
        said = (
            f"Had you asked about this term alone, {len(alone)} of {len(cells)} clusters would have q < .05; with the choice of "
            "this term paid for, none has."
        )
    else:
        said = "Significant in no cluster, not even for a question about this term alone."
    if n_few := sum(1 for cell in cells if cell["descriptive"]):
        said += (
            f" {n_few} of {len(cells)} clusters hold fewer than 3 studies (descriptive): what is found there holds for those "
            "studies, and there is no interval."
        )
    return said


def sum_sentence(percentiles: np.ndarray | Sequence[float]) -> str:
    """Say how many samples exceed what random terms reach."""
    n = len(percentiles)
    if not n:
        return "The scan holds no samples."
    above = np.count_nonzero(np.asarray(percentiles) >= 95) / n
    return f"{share_text(above)} of {n:,} samples lie above the 95th percentile of random sums (5 % would by chance)."
