"""How well phrases find samples, on the real corpora: the tables of ``docs/measurements-phrases.md``.

Run: python -m benchmarks.phrases --data ../shared/data [--model starter/model] [--out docs/measurements-phrases.md]

Label rules: ``indexer/evaluation/phrase_rules.tsv``. One model scores everything, as a release is searched with it; figures on
studies that a model has not seen are those of ``geo-atlas evaluate phrases --fold-models``.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atlas.model.joint import JointModel
from atlas.resources import resource_path
from atlas.vocabulary import background_phrases
from indexer.evaluation.corpus import Corpus
from indexer.evaluation.curated import PHRASE_RULES, CuratedSamples, PhraseRule, read_phrase_rules
from indexer.evaluation.metrics import precision_at, roc_auc
from indexer.evaluation.phrases import CaseControlResult, evaluate_case_control, evaluate_phrase
from indexer.evaluation.tables import markdown, number, show

SEED = 0
N_DRAWS = 1_000
RERANKED = 1_000
SEEN = (
    "**The packaged model was made with these studies**: gene statistics, the metric and the texts of samples are of them. The "
    "figures show how a release answers that was built of them, and flatter as figures of quality; those of models that had not "
    "seen a study they are measured on are in [measurements-model.md](measurements-model.md#phrases-on-bulk-samples)."
)
ORDERS = (
    "AUROC, P@10. A sample's response to a phrase is its cosine less the mean of its cosines with the off-topic "
    "phrases, over their deviation. Differences of .01 lie within the noise of these studies: hits stay in the order of "
    "their cosines, and the percentile beside each hit tells which of them answer every phrase."
)


def phrase_table(rules: Sequence[PhraseRule], scores: np.ndarray, *, samples: CuratedSamples) -> str:
    """Markdown: each phrase against all other samples; ``scores`` is (n_samples, n_rules)."""
    results = [
        evaluate_phrase(rule, scores[:, i], samples=samples, seed=SEED, n_draws=N_DRAWS) for i, rule in enumerate(rules)
    ]
    rows: list[tuple[object, ...]] = [
        (one.phrase, one.n_positive, one.n_studies, show(one.auroc), number(one.precision_at_10, digits=1))
        for one in results
    ]
    auroc, precision = (
        np.mean([one.auroc.value for one in results]),
        np.mean([one.precision_at_10 for one in results]),
    )
    rows.append(("**mean**", "", "", f"**{auroc:.3f}**", f"**{precision:.2f}**"))
    return markdown(("phrase", "positives", "studies", "AUROC [95 %]", "P@10"), rows)


def case_control_table(rules: Sequence[PhraseRule], scores: np.ndarray, *, samples: CuratedSamples) -> str:
    """Markdown: each disease, cases against controls of the same tissue, and of the same tissue and series."""
    lines = [
        "| disease | same tissue: cases / controls (studies) | AUROC [95 %] "
        "| same series: cases / controls (studies) | AUROC [95 %] |",
        "|---|---|---|---|---|",
    ]
    for i, rule in enumerate(rules):
        if rule.control is not None:
            cells = [
                case_control_cells(
                    evaluate_case_control(
                        rule, scores[:, i], samples=samples, within=within, seed=SEED, n_draws=N_DRAWS
                    )
                )
                for within in ("tissue", "series")
            ]
            lines.append(f"| {rule.phrase} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def case_control_cells(result: CaseControlResult) -> str:
    """Two cells: numbers, and the estimate."""
    if result.auroc is None:
        return "no such controls | -"
    mark = " †" if result.n_studies < 3 else ""
    return f"{result.n_cases} / {result.n_controls} ({result.n_studies}) | {show(result.auroc)}{mark}"


def order_table(
    rules: Sequence[PhraseRule], vectors: np.ndarray, *, texts: np.ndarray, null: np.ndarray, samples: CuratedSamples
) -> str:
    """Markdown: AUROC and P@10 of each phrase by cosine, and by what is left of it once off-topic phrases are discounted.

    Parameters
    ----------
    vectors, texts, null
        (n_samples, dim), (n_rules, dim) and (n_null, dim) unit vectors; ``null`` of the phrases that calibrate a release.
    """
    cosines, of_null = vectors @ texts.T, vectors @ null.T
    above = cosines - of_null.mean(axis=1, keepdims=True)
    response = above / np.maximum(of_null.std(axis=1, keepdims=True), 1e-6)
    orders = {
        "cosine (in use)": cosines,
        f"best {RERANKED:,} by response": reranked(cosines, response),
        f"best {RERANKED:,} by cosine less mean": reranked(cosines, above),
        "all by response": response,
        "all by cosine less mean": above,
    }
    lines = [f"| phrase | {' | '.join(orders)} |", "|---|" + "---|" * len(orders)]
    found = np.zeros((len(rules), len(orders), 2))
    for i, rule in enumerate(rules):
        positive = rule.positives(samples)
        for j, scores in enumerate(orders.values()):
            found[i, j] = roc_auc(scores[:, i], positive), precision_at(scores[:, i], positive)
        lines.append(f"| {rule.phrase} | " + " | ".join(f"{auroc:.3f}, {p:.1f}" for auroc, p in found[i]) + " |")
    lines.append("| **mean** | " + " | ".join(f"**{auroc:.3f}, {p:.3f}**" for auroc, p in found.mean(axis=0)) + " |")
    return "\n".join(lines)


def reranked(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Return scores (n_samples, n_phrases) that put the best ``RERANKED`` of ``first`` in the order of ``then``."""
    places = np.empty_like(first)
    for j in range(first.shape[1]):
        order = np.argsort(-first[:, j], kind="stable")
        best = order[:RERANKED]
        order[:RERANKED] = best[np.argsort(-then[best, j], kind="stable")]
        places[order, j] = -np.arange(len(order))
    return places


def report(data: Path, model_dir: Path) -> str:
    """Measure everything and return the page."""
    corpus, rules, model = Corpus.open(data), read_phrase_rules(PHRASE_RULES), JointModel.load(model_dir)
    texts = model.embed_texts([rule.phrase for rule in rules])
    vectors, samples = corpus.embed(model), corpus.samples
    scores = vectors @ texts.T
    sections = [
        "# Phrases",
        f"Written by `python -m benchmarks.phrases --data DATA` on {platform.machine()}, "
        f"model `{model.hash[:12]}`. {len(samples):,} samples of {len(np.unique(samples.studies))} studies; labels by "
        "`indexer/evaluation/phrase_rules.tsv` on the curated fields, which nothing but evaluation reads.",
        SEEN,
        "## Each phrase against all other samples",
        phrase_table(rules, scores, samples=samples),
        f"Intervals: {N_DRAWS} bootstrap draws of whole studies, seed {SEED} (GSE107991/2/3 are one study, so are phs003208-*; "
        "a TCGA project is one). Where the positives lie in one study, the interval only shows how the other samples matter.",
        "## Cases against controls of the same tissue",
        case_control_table(rules, scores, samples=samples),
        "Pairs are compared only inside one tissue (and one series). Intervals draw studies and, within them, samples; † one or "
        "two studies, so the interval says nothing of others. "
        "A disease far above .5 in the first table and near .5 here is found by its tissue, not by its disease.",
        "## Orders compared",
        order_table(rules, vectors, texts=texts, null=model.embed_texts(list(background_phrases())), samples=samples),
        ORDERS,
    ]
    return "\n\n".join(sections) + "\n"


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds corpora/counts.h5 and corpora/tpm.h5"
    )
    parser.add_argument("--model", type=Path, default=None, help="model folder; default: the packaged one")
    parser.add_argument("--out", type=Path, default=None, help="file to write; default: print")
    options = parser.parse_args()
    page = report(options.data, options.model or resource_path("starter") / "model")
    if options.out is None:
        print(page)
    else:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
