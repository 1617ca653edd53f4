"""Has the model that a run starts from seen what the run holds out? Then its figures on it would be of what it knows by heart.

In: a start and the report of a split. A start says what it was made without by its ``training.json``, by the series that its
statistics exclude, and by the libraries of its memory. A model of samples that does not say it was made without a study counts
as having seen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.errors import ConfigError
from indexer.studies import study_of
from indexer.training.provenance import NEVER_TRAINED
from indexer.training.record import RECORD, Rows, read_record
from indexer.training.sources.set_names import library_of
from indexer.training.towers import Base

_NAMED = 5


def refuse_seen(base: Base, rows: Rows) -> None:
    """Refuse a start that may have learned from what ``rows`` holds out.

    Raises
    ------
    ConfigError
        Naming studies, series and libraries that the start may have seen.
    ArtifactError
        If the record of the start cannot be read.
    """
    path = base.folder / RECORD
    record = read_record(path) if path.is_file() else {}
    seen = [*_samples(base, record, rows.report), *_libraries(base, record, rows.report)]
    if seen:
        more = f" and {len(seen) - _NAMED} more" if len(seen) > _NAMED else ""
        raise ConfigError(
            f"The model in {base.folder} that training would start from may have learned from {', '.join(seen[:_NAMED])}{more}, "
            "which this run leaves out: nothing says that it was made without. Keep the closed form of the preset, which is made "
            "of the rows of this run alone, or start (--transcriptome) from a model made with the same --fold, --exclude-series "
            "and --leave-out-library.",
            details={"seen": seen, "start": str(base.folder)},
        )


def _samples(base: Base, record: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """Return held-out studies and excluded series that the start does not say it was made without."""
    statistics = base.parts.config.statistics
    if not record and (statistics is None or not statistics.sources):
        return []
    studies = set(record.get("held_out_studies", ()))
    series = {*record.get("excluded_series", ()), *(statistics.excluded_series if statistics else ()), *NEVER_TRAINED}
    return sorted(
        {name for name in report.get("held_out_studies", ()) if name not in studies}
        | {name for name in report.get("excluded_series", ()) if name not in series and study_of(name) not in studies}
    )


def _libraries(base: Base, record: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """Return libraries to be left out that the start's memory has, or that it may have been trained on."""
    memory = base.parts.memory
    known = set() if memory is None else set(memory["library"].to_pylist())
    unseen = set(record.get("left_out_libraries", ()))
    trained = bool(record.get("n_steps"))
    return sorted(
        name
        for name in report.get("left_out_libraries", ())
        if not unseen & {name, library_of(name)[0]} and (trained or known & {name, library_of(name)[0]})
    )
