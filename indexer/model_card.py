"""The card of a model, ``README.md`` in its folder: what it is, made of what, how good, and what it cannot do.

In: a model folder, ``training.json`` of the run that made it, the JSON of ``geo-atlas evaluate all``, the table of gene-set
libraries. Out: markdown. The card is no part of the model's hash, which it names; equal input gives equal bytes.

Run: ``python -m indexer.model_card --model DIR [--training FILE] [--evaluation FILE] [--libraries TSV]``.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from atlas.errors import InputError
from atlas.model.checkpoint import model_files, model_hash
from atlas.model.config import GeneTextConfig, MemoryHead, ModelConfig, read_config
from indexer.evaluation.tables import markdown
from indexer.starter_notice import Library, model_libraries

logger = logging.getLogger(__name__)

FILE = "README.md"
_PHRASES = {
    "located": "tissue, cell and tumour phrases against all other samples",
    "every": "all phrases against all other samples",
    "diseases": "disease phrases against all other samples (tissue makes them easy)",
    "contrasts": "disease phrases, cases against controls of the same study",
}
_BIASES = """## Biases

- What has a gene set with a telling name is found; what has none is answered by the sets whose names are least unlike it.
- The libraries, and the samples that statistics were taken from, are mostly human, of European and North American studies,
  adult, and of the tissues that are easy to come by: blood, liver, brain, heart, tumours. Ancestry, sex and age of donors are
  neither balanced nor known for most samples.
- A tissue is easier to tell than a disease in it. A disease phrase also finds healthy samples of the tissue it strikes.
- Studies differ in preparation and sequencing; samples of one study resemble each other beyond their biology.
- Mouse genes stand for their human orthologs. No other species was looked at.
"""
_LIMITS = """## What it cannot do

- It is no diagnosis. Nothing was tested on clinical decisions, and a score is no probability of a disease.
- Names of cell lines, drugs, perturbed genes and study designs are known only where a library names them.
- It reads no negation ("not inflamed"), no numbers ("45 years old") and no language but English.
- It judges the sample that is given: no batch is corrected, mixtures are not taken apart, and no dose or time course is followed.
- Scores of different phrases are no common scale. The percentile, and "nothing matches", say where a score stands.
- A panel of few genes is read through those alone; below some hundreds, trust it little.
"""


def model_card(
    model_dir: Path,
    *,
    training: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    libraries: Mapping[str, Library] | None = None,
) -> str:
    """Return the text of a model's card.

    Parameters
    ----------
    training
        Content of ``training.json``; none for a model that was not trained.
    evaluation
        Content of the JSON of ``geo-atlas evaluate all``.
    libraries
        Gene-set libraries that the model knows, with their origins.
    """
    config = read_config(model_dir / "config.json")
    parts = [
        "# Model card\n\n" + _what(model_dir, config),
        _data(config, training=training, libraries=libraries or {}),
        _split(training),
        _numbers(evaluation),
        _BIASES,
        _LIMITS,
    ]
    return "\n".join(parts)


def _what(model_dir: Path, config: ModelConfig) -> str:
    genes = pq.read_table(model_dir / "genes.parquet", columns=["organism"])["organism"].to_pylist()
    head, tower = config.text.head, config.transcriptome
    lines = [
        "Phrases and transcriptomes as vectors of one space, compared by cosine. Made by geo-atlas; MIT for what is ours, the",
        "sources keep their terms (below, and `NOTICE` of the starter).",
        "",
        f"- model hash: `{model_hash(model_dir)}` (over {', '.join(_hashed(model_dir))})",
        f"- vectors: {config.dim} numbers; genes: {genes.count('human'):,} human, {genes.count('mouse'):,} mouse",
        f"- text tower: `{config.text.tower}`, {config.text.dim} numbers, cut at {config.text.max_tokens} tokens; "
        f"head `{head.kind}`"
        + (
            f": {head.n_terms:,} entries (gene sets, statements of samples), of each group the {head.n_neighbours} nearest names "
            "count"
            if isinstance(head, MemoryHead)
            else ""
        )
        + ("; with low-rank changes of the tower" if config.text.adapter else ""),
        f"- transcriptome tower: `{tower.tower}`"
        + (
            ": a weighted sum of the vectors of its genes, each row read alone"
            if isinstance(tower, GeneTextConfig)
            else ""
        ),
        "- input: counts, TPM, FPKM or log values; human or mouse; symbols or Ensembl ids; bulk or single cells"
        + (
            ", by one rule, so that `--input` changes nothing"
            if isinstance(tower, GeneTextConfig) and not _has_cell_medians(config)
            else ""
        ),
        "",
    ]
    return "\n".join(lines)


def _hashed(model_dir: Path) -> tuple[str, ...]:
    return tuple(f"`{name}`" for name in sorted(model_files(model_dir)))


def _data(config: ModelConfig, *, training: Mapping[str, Any] | None, libraries: Mapping[str, Library]) -> str:
    parts = ["## Data and licences of inputs\n"]
    if config.statistics is not None:
        record = config.statistics
        parts.append(
            f"Expression statistics: {record.n_samples:,} samples of {record.n_studies:,} studies; left out, for they are "
            f"rows of evaluation sets: {', '.join(record.excluded_series) or 'nothing'}.\n"
        )
    if training is not None:
        rows = [
            (one["name"], one["kind"], f"{one['share']:g}", f"{one['n_train']:,}", f"{one['n_validation']:,}")
            for one in training["data"]
        ]
        parts.append(markdown(("trained on", "kind", "share", "items", "held out for validation"), rows) + "\n")
    if libraries:
        origins = [(name, libraries[name].repository, libraries[name].licence) for name in sorted(libraries)]
        parts.append(markdown(("gene-set library", "taken from", "licence stated there"), origins) + "\n")
    medians = "Cell medians: Geneformer (Apache-2.0). " if _has_cell_medians(config) else ""
    parts.append(
        f"Text tower: all-MiniLM-L6-v2 (Apache-2.0). {medians}Paraphrases of cell types: Cell Ontology (CC BY 4.0).\n"
        "Orthologs: babelgene. Expression tables: the series and licences listed in `NOTICE`. Curated labels and the\n"
        "evaluation sets entered nothing.\n"
    )
    return "\n".join(parts)


def _has_cell_medians(config: ModelConfig) -> bool:
    """Return whether cells are read by a rule of their own, which needs Geneformer's medians."""
    return isinstance(config.transcriptome, GeneTextConfig) and config.transcriptome.cells is not None


def _split(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return "## Split\n\nNothing was trained: the vectors are a closed form of their inputs.\n"
    n_steps, blocks = training["n_steps"], training["split"].get("n_blocks")
    how = f"{n_steps:,} steps" if n_steps else "a closed form of its inputs, without a step of training"
    left_out = [*training["left_out_libraries"], *training["excluded_series"]]
    by_name = f", and by name {', '.join(left_out)}" if left_out else ""
    return (
        "## Split\n\n"
        f"Preset `{training['preset']['name']}`, seed {training['seed']}, {how}. Studies, donors and near-equal captions are "
        f"dealt as blocks{f' ({blocks:,})' if blocks else ''}; {len(training['held_out_studies'])} studies were held out of "
        f"these weights{by_name}. The numbers below are of models made by the same recipe without the studies and libraries "
        "they are measured on, unless marked.\n"
    )


def _numbers(evaluation: Mapping[str, Any] | None) -> str:
    if evaluation is None:
        return "## Numbers\n\nNot measured.\n"
    models = ", ".join(f"{name} `{digest[:12]}`" for name, digest in evaluation["models"].items())
    figures = evaluation["phrases"]["figures"]["model"]
    first = figures["first"]["every"]
    phrases = [(text, _interval(figures[name])) for name, text in _PHRASES.items() if name in figures]
    sets = [_set_row(name, one) for name, one in evaluation["zero_shot"].items()]
    columns = (
        "labelled set",
        "rows",
        "labels",
        "macro ROC-AUC [95 %]",
        "accuracy",
        "macro F1",
        "these weights",
        "seen",
    )
    return "\n".join(
        [
            f"## Numbers\n\nModels: {models}. Seed {evaluation['seed']}; intervals by {evaluation['n_draws']:,} bootstrap "
            "draws.\n",
            markdown(("phrases, AUROC in folds of studies", "mean [95 %]"), phrases) + "\n",
            f"Top 1 / top 5 of {first['n']:,} labelled samples: {first['top_1']:.2f} / {first['top_5']:.2f}.\n",
            markdown(columns, sets) + "\n",
            "*These weights*: the same figure of the shipped model, which may have seen data of the same study or atlas "
            "(*seen*).\n",
        ]
    )


def _set_row(name: str, one: Mapping[str, Any]) -> Sequence[object]:
    head, shipped = one["headline"], one["shipped"]
    return (
        name,
        f"{head['n']:,}",
        head["n_labels"],
        _interval(head["intervals"]["roc_auc_macro"]),
        f"{head['accuracy']:.3f}",
        f"{head['f1_macro']:.3f}",
        f"{shipped['roc_auc_macro']:.3f}",
        ", ".join(one["seen"]) or "-",
    )


def _interval(figure: Mapping[str, float | None]) -> str:
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "-"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def read_json(path: Path | None) -> dict[str, Any] | None:
    """Read an object from a JSON file, ``None`` for no file.

    Raises
    ------
    InputError
        If the file holds none.
    """
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object.")
    return found


def main() -> None:
    """Write the card beside the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    for name in ("--training", "--evaluation", "--libraries"):
        parser.add_argument(name, type=Path)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    card = model_card(
        asked.model,
        training=read_json(asked.training),
        evaluation=read_json(asked.evaluation),
        libraries=model_libraries(asked.model, asked.libraries),
    )
    (asked.model / FILE).write_text(card, encoding="utf-8")
    logger.info("wrote %s", asked.model / FILE)


if __name__ == "__main__":
    main()
