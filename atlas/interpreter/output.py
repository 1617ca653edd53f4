"""What an interpreter says of cells, as a Parquet file: label, probabilities, shares of other texts, embedding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.cells.output import refuse_target
from atlas.drafts import draft_of
from atlas.interpreter.interpreter import Interpretation


def write_interpretation(
    path: Path,
    found: Interpretation,
    *,
    texts: Sequence[str] = (),
    shares: np.ndarray | None = None,
    interpreter: str = "",
    force: bool = False,
) -> None:
    """Write one row a cell, in the order of the source.

    Columns: ``row_id``; ``label`` (null where nothing could be read); ``probability``; ``p:<label>`` for every label;
    ``ask:<text>`` for every text asked for; ``embedding``, a list of float32. The metadata ``geo_atlas`` names the interpreter.

    Raises
    ------
    InputError
        If a file is there and ``force`` is off.
    ResourceError
        If it cannot be written.
    """
    refuse_target(path, force=force)
    best = found.best
    top = np.array(
        [np.nan if one is None else p.max() for one, p in zip(best, found.probabilities, strict=True)], np.float32
    )
    width = found.states.shape[1]
    states = pa.FixedSizeListArray.from_arrays(pa.array(found.states.ravel()), width)
    columns = {"row_id": pa.array(found.row_ids), "label": pa.array(best, pa.string()), "probability": pa.array(top)}
    columns |= {f"p:{name}": pa.array(found.probabilities[:, i]) for i, name in enumerate(found.labels)}
    if shares is not None:
        columns |= {f"ask:{text}": pa.array(shares[:, i]) for i, text in enumerate(texts)}
    table = pa.table({**columns, "embedding": states})
    told = json.dumps({"interpreter": interpreter, "labels": found.labels, "texts": list(texts)}, ensure_ascii=False)
    with draft_of(path) as draft:
        pq.write_table(table.replace_schema_metadata({"geo_atlas": told}), draft)
