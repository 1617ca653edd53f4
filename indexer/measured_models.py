"""The models that a recipe is measured by: one a fold of studies, and one that saw nothing of the evaluation sets' origin.

A shipped model learned from everything, so its own figures on the same studies would say little. Each model here is made by the
same recipe from the same data, less something: ``fold-1`` ... ``fold-N`` less one fold of studies and the gene sets made of them,
``without`` less every library and series that ``indexer/training/provenance.json`` marks as withheld. What was left out
stands in each model's ``training.json``, and ``geo-atlas evaluate all --fold-models ... --without-model ...`` goes by that.

Run: ``python -m indexer.measured_models --data KIND:PATH [--data ...] --out DIR [--preset starter] [--folds 5]``.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from atlas.errors import AtlasError
from indexer.training.data import DataOptions, DataSpec, open_sources
from indexer.training.hold_out import split_rows
from indexer.training.job import Job
from indexer.training.presets import Preset, load_preset
from indexer.training.provenance import withheld_from_all
from indexer.training.record import check_folder
from indexer.training.run import TrainingReport, train
from indexer.training.sources.source import PairSource
from indexer.training.towers import Base, open_base

logger = logging.getLogger(__name__)

WITHOUT = "without"


def measured_models(preset: Preset, data: Sequence[DataSpec], *, out: Path, n_folds: int = 5) -> list[TrainingReport]:
    """Write the models of the folds and the one without the origin of evaluation sets into folders of ``out``.

    Raises
    ------
    ConfigError
        If a folder is in use.
    InputError
        If there are fewer blocks of items than folds, or the data are not what they are said to be.
    """
    for name in (*(f"fold-{k}" for k in range(1, n_folds + 1)), WITHOUT):
        check_folder(out / name, preset=preset, resume=False)
    base = open_base(preset)
    everything = DataOptions(augment=preset.sampling.augment)
    libraries, series = withheld_from_all()
    rest = DataOptions(
        tuple(sorted(series)),
        tuple(sorted(libraries)),
        augment=preset.sampling.augment,
        may_lack=True,  # the table speaks of all corpora there are
    )
    sources = open_sources(data, genes=base.genes, options=everything)
    return [
        *(
            _train(preset, sources, everything, base=base, out=out / f"fold-{k}", fold=(k, n_folds))
            for k in range(1, n_folds + 1)
        ),
        _train(preset, open_sources(data, genes=base.genes, options=rest), rest, base=base, out=out / WITHOUT),
    ]


def _train(
    preset: Preset,
    sources: Sequence[tuple[PairSource, float]],
    options: DataOptions,
    *,
    base: Base,
    out: Path,
    fold: tuple[int, int] | None = None,
) -> TrainingReport:
    rows = split_rows(
        [source for source, _ in sources], fold=fold, n_validation=preset.validation.n_items, seed=preset.seed
    )
    report = train(Job(preset, sources, rows.with_facts(**options.left_out()), out, base=base))
    logger.info("%s: model %s", out, report.model_hash)
    return report


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="KIND:PATH[=weight], as of geo-atlas train")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="starter", help="name or .json file")
    parser.add_argument("--set", action="append", default=[], help="change of the preset, as of geo-atlas train")
    parser.add_argument("--folds", type=int, default=5)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        preset = load_preset(asked.preset, changes=asked.set)
        measured_models(preset, [DataSpec.parse(text) for text in asked.data], out=asked.out, n_folds=asked.folds)
    except AtlasError as error:
        parser.exit(2, f"{error.message}\n")


if __name__ == "__main__":
    main()
