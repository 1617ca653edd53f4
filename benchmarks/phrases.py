"""How well phrases find samples, on the real corpora: the tables of ``docs/measurements-phrases.md``.

Run: python -m benchmarks.phrases --data ../shared/data [--model starter/model] [--grid] [--out docs/measurements-phrases.md]

Label rules: ``indexer/evaluation/phrase_rules.tsv``. Statistics are measured as shipped and refitted on every sample;
``--grid`` adds the table of recipes from which the shipped one was chosen (minutes).
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from atlas.model.checkpoint import ModelParts, read_model
from atlas.model.config import CentreHead, GeneTextConfig
from atlas.model.gene_table import GeneTable
from atlas.model.joint import JointModel
from atlas.model.text_heads import Centre
from atlas.resources import resource_path
from atlas.vocabulary import background_phrases
from indexer.evaluation.corpus import Corpus
from indexer.evaluation.curated import PHRASE_RULES, CuratedSamples, PhraseRule, read_phrase_rules
from indexer.evaluation.metrics import Estimate, precision_at, roc_auc
from indexer.evaluation.phrases import CaseControlResult, PhraseResult, evaluate_case_control, evaluate_phrase
from indexer.fit_statistics import collect_statistics
from indexer.training.provenance import NEVER_TRAINED

SEED = 0
N_DRAWS = 1_000
RERANKED = 1_000


def phrase_table(
    rules: Sequence[PhraseRule], shipped: np.ndarray, refitted: np.ndarray, *, samples: CuratedSamples
) -> str:
    """Markdown: each phrase against all other samples; score columns are (n_samples, n_rules)."""
    lines = [
        "| phrase | positives | studies | AUROC [95 %] | P@10 | refitted: AUROC [95 %] | P@10 |",
        "|---|---|---|---|---|---|---|",
    ]
    results: list[tuple[PhraseResult, PhraseResult]] = []
    for i, rule in enumerate(rules):
        pair = tuple(
            evaluate_phrase(rule, scores[:, i], samples=samples, seed=SEED, n_draws=N_DRAWS)
            for scores in (shipped, refitted)
        )
        results.append((pair[0], pair[1]))
        lines.append(
            f"| {rule.phrase} | {pair[0].n_positive} | {pair[0].n_studies} | "
            + " | ".join(f"{show(result.auroc)} | {result.precision_at_10:.1f}" for result in pair)
            + " |"
        )
    means = [
        (np.mean([pair[i].auroc.value for pair in results]), np.mean([pair[i].precision_at_10 for pair in results]))
        for i in (0, 1)
    ]
    lines.append("| **mean** | | | " + " | ".join(f"**{auroc:.3f}** | **{p:.2f}**" for auroc, p in means) + " |")
    return "\n".join(lines)


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


def show(estimate: Estimate) -> str:
    """Write an estimate and its interval."""
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def recipes() -> Iterator[tuple[str, GeneTextConfig, int]]:
    """Name the recipes compared and the components they remove; each line changes the shipped one in the named places."""
    base = GeneTextConfig()
    yield "shipped", base, 0
    for power in (1.0, 2.0, 3.0):
        yield f"power {power:g}", replace_recipe(base, power=power), 0
    yield "top 500 genes", replace_recipe(base, top_genes=500), 0
    yield "z within a sample", replace_recipe(base, standardisation="z"), 0
    yield "z within a sample, power 1", replace_recipe(base, standardisation="z", power=1.0), 0
    yield "deviation floor 0.1 (each gene in its own deviations)", replace_recipe(base, deviation_floor=0.1), 0
    yield "5 leading components removed", base, 5


def replace_recipe(recipe: GeneTextConfig, **changes: object) -> GeneTextConfig:
    """Return a changed copy, checked."""
    return GeneTextConfig.model_validate(recipe.model_dump() | changes)


def grid_table(parts: ModelParts, corpus: Corpus, rules: Sequence[PhraseRule], *, folder: Path) -> str:
    """Markdown: mean AUROC and P@10 of each recipe, statistics fitted as for the shipped model."""
    lines = ["| recipe | mean AUROC | mean P@10 | cardiomyopathy | liver |", "|---|---|---|---|---|"]
    for name, recipe, n_removed in recipes():
        variant = without_components(parts, n_removed=n_removed)
        variant = replace(variant, config=variant.config.model_copy(update={"transcriptome": recipe}))
        fitted = variant.with_statistics(*collect_statistics(variant, corpus.paths, exclude_series=NEVER_TRAINED))
        model = JointModel.of_parts(fitted, folder=folder)
        scores = corpus.embed(model) @ model.embed_texts([rule.phrase for rule in rules]).T
        positives = [rule.positives(corpus.samples) for rule in rules]
        aurocs = {rule.phrase: roc_auc(scores[:, i], positives[i]) for i, rule in enumerate(rules)}
        precision = np.mean([precision_at(scores[:, i], positives[i]) for i in range(len(rules))])
        mean = np.mean(list(aurocs.values()))
        lines.append(
            f"| {name} | {mean:.3f} | {precision:.2f} | {aurocs['cardiomyopathy']:.3f} | {aurocs['liver']:.3f} |"
        )
    return "\n".join(lines)


def without_components(parts: ModelParts, *, n_removed: int) -> ModelParts:
    """Return the model with leading components of the human genes removed from both sides."""
    if not n_removed:
        return parts
    vectors = parts.table.vectors(np.arange(parts.table.n_genes)) + parts.tensors["centre"]
    human = np.array([organism == "human" for organism in parts.genes["organism"].to_pylist()])
    centre = Centre.fit(vectors[human], n_removed=n_removed)
    tensors = {**parts.tensors, **centre.tensors(), **GeneTable.from_vectors(centre.apply(vectors)).tensors()}
    text = parts.config.text.model_copy(update={"head": CentreHead(removed_components=n_removed)})
    return replace(parts, config=parts.config.model_copy(update={"text": text}), tensors=tensors)


def report(data: Path, model_dir: Path, *, grid: bool) -> str:
    """Measure everything and return the page."""
    corpus, rules, parts = Corpus.open(data), read_phrase_rules(PHRASE_RULES), read_model(model_dir)
    model = JointModel.load(model_dir)
    texts = model.embed_texts([rule.phrase for rule in rules])
    vectors = corpus.embed(model)
    shipped = vectors @ texts.T
    refitted = corpus.embed(model.with_statistics(collect_statistics(parts, corpus.paths)[0])) @ texts.T
    samples = corpus.samples
    sections = [
        "# Phrases",
        f"Written by `python -m benchmarks.phrases --data DATA{' --grid' if grid else ''}` on {platform.machine()}, "
        f"model `{model.hash[:12]}`. {len(samples):,} samples of {len(np.unique(samples.studies))} studies; labels by "
        "`indexer/evaluation/phrase_rules.tsv` on the curated fields, which nothing but this measurement reads.",
        "## Each phrase against all other samples",
        phrase_table(rules, shipped, refitted, samples=samples),
        f"Intervals: {N_DRAWS} bootstrap draws of whole studies, seed {SEED} (GSE107991/2/3 are one study, so are phs003208-*; "
        "a TCGA project is one). Where the positives lie in one study, the interval only shows how the other samples matter. "
        f"Shipped statistics leave out {' and '.join(sorted(NEVER_TRAINED))}; refitted ones use every sample.",
        "## Cases against controls of the same tissue",
        case_control_table(rules, shipped, samples=samples),
        "Pairs are compared only inside one tissue (and one series). Intervals draw studies and, within them, samples; † one or "
        "two studies, so the interval says nothing of others. "
        "A disease far above .5 in the first table and near .5 here is found by its tissue, not by its disease.",
        "## Orders compared",
        order_table(rules, vectors, texts=texts, null=model.embed_texts(list(background_phrases())), samples=samples),
        "AUROC, P@10. A sample's response to a phrase is its cosine less the mean of its cosines with the off-topic "
        "phrases, over their deviation. The means rise a little, but right first hits are lost for several phrases, and "
        "differences of this size lie within the noise of 65 studies: hits stay in the order of their cosines, and the "
        "percentile beside each hit tells which of them answer every phrase.",
    ]
    if grid:
        sections += [
            "## Recipes compared",
            grid_table(parts, corpus, rules, folder=model_dir),
            "Nothing was fitted on labels, but the recipe was chosen with these phrases in sight, among about 120 settings: "
            "its level flatters, and differences of .01 between recipes mean nothing.",
        ]
    return "\n\n".join(sections) + "\n"


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds corpora/counts.h5 and corpora/tpm.h5"
    )
    parser.add_argument("--model", type=Path, default=None, help="model folder; default: the packaged one")
    parser.add_argument("--grid", action="store_true", help="also compare recipes")
    parser.add_argument("--out", type=Path, default=None, help="file to write; default: print")
    options = parser.parse_args()
    page = report(options.data, options.model or resource_path("starter") / "model", grid=options.grid)
    if options.out is None:
        print(page)
    else:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
