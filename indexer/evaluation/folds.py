"""Which of several models scores which study: one that was made without it, as its own folder says.

A figure over folds is honest only if no model scored a study it had learned from. So the folds are not assumed: each model tells
which studies it was made without, by ``training.json`` (``geo-atlas train --fold``) and by the series that its statistics
exclude (``--exclude-series``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from atlas.errors import ArtifactError, InputError
from atlas.model.joint import JointModel
from indexer.evaluation.corpus import study_folds
from indexer.evaluation.curated import CuratedSamples
from indexer.training.record import RECORD

_NAMED = 10


def parts_of_models(models: Sequence[JointModel], folds: np.ndarray) -> list[tuple[JointModel, np.ndarray]]:
    """Return each model with the samples it scores, ``(n_samples,)`` bool: one model all, several a fold each, in their order.

    Raises
    ------
    InputError
        If there is neither one model nor one a fold.
    """
    if len(models) == 1:
        return [(models[0], np.ones(len(folds), dtype=bool))]
    numbers = np.unique(folds)
    if len(models) != len(numbers):
        raise InputError(f"{len(models)} models were given for {len(numbers)} folds; give one model, or one a fold.")
    return [(model, folds == fold) for fold, model in zip(numbers, models, strict=True)]


def folds_of_models(samples: CuratedSamples, models: Sequence[JointModel]) -> np.ndarray:
    """Return ``(n_samples,)`` int64, the place in ``models`` of the model that scores each sample; a study has one model.

    Where several models were made without a study, the fold of :func:`indexer.evaluation.corpus.study_folds` decides, if it is
    one of them, else the first.

    Raises
    ------
    InputError
        If every model learned from some study, or a model was made without none.
    ArtifactError
        If the record of a model cannot be read.
    """
    dealt = study_folds(samples.studies, n_folds=len(models))
    without = [_without(model, samples) for model in models]
    folds, learned = np.empty(len(samples), dtype=np.int64), []
    for study in np.unique(samples.studies):
        mine = samples.studies == study
        able = [place for place, studies in enumerate(without) if study in studies]
        if not able:
            learned.append(str(study))
            continue
        usual = int(dealt[mine][0])
        folds[mine] = usual if usual in able else able[0]
    if learned:
        raise InputError(
            f"No model of a fold was made without {', '.join(learned[:_NAMED])} ({len(learned)} studies in all): "
            "the figures would be of samples that were learned from. Give models of geo-atlas train --fold K/N for every K.",
            details={"studies": learned},
        )
    idle = sorted(set(range(len(models))) - set(folds.tolist()))
    if idle:
        raise InputError(
            f"The model {models[idle[0]].folder} has no study of its own to score: the others were made without all of them."
        )
    return folds


def _without(model: JointModel, samples: CuratedSamples) -> set[str]:
    """Return the studies of the samples that a model was made without."""
    statistics = model.config.statistics
    excluded = set() if statistics is None else set(statistics.excluded_series)
    told = _held_out(model)
    return {
        str(study)
        for study in np.unique(samples.studies)
        if study in told or set(samples.series[samples.studies == study].tolist()) <= excluded
    }


def _held_out(model: JointModel) -> set[str]:
    """Return what the record of the training held out; nothing where there is no record."""
    path = model.folder / RECORD
    try:
        return set(json.loads(path.read_text(encoding="utf-8"))["held_out_studies"])
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is no record of a training: {error}. Restore it.", kind="corrupt") from error
