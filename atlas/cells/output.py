"""Scores as a Parquet file: one row a row, one column a label, written block by block and moved into place at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.cells.row_texts import RowTexts
from atlas.cells.scoring import Reading, ScoreBlock, softmax
from atlas.drafts import draft_of
from atlas.errors import InputError, ResourceError

ROW_ID = "row_id"


def write_scores(
    path: Path,
    blocks: Iterable[ScoreBlock],
    *,
    texts: RowTexts,
    reading: Reading,
    model_hash: str,
    logit_scale: float | None = None,
    force: bool = False,
) -> int:
    """Write ``row_id`` (text) and one float32 column a label, in the order of the rows; return the number of rows.

    Pandas reads ``row_id`` back as the index, so that what remains is rows x labels. The file's metadata ``geo_atlas`` names
    model, texts, templates and what rows of single tissues read otherwise as JSON.

    Parameters
    ----------
    path
        File to write; it appears whole or not at all.
    blocks
        Scores in order.
    logit_scale
        Write the softmax over the labels with this factor; ``None`` writes cosines.
    force
        Replace a file that is there.

    Raises
    ------
    InputError
        If the file is there already, or a label is ``row_id``.
    ResourceError
        If it cannot be written.
    """
    refuse_target(path, force=force)
    if ROW_ID in texts.labels:
        raise InputError(f"A label is called {ROW_ID!r}, which is the name of the column of row ids; rename it.")
    schema = _schema(texts, reading=reading, model_hash=model_hash, logit_scale=logit_scale)
    n_rows = 0
    with draft_of(path) as draft, pq.ParquetWriter(draft, schema) as writer:
        for block in blocks:
            writer.write_table(_table(block, schema=schema, logit_scale=logit_scale))
            n_rows += len(block.row_ids)
    return n_rows


def refuse_target(path: Path, *, force: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuse a path that must not be written over.

    Parameters
    ----------
    inputs
        Files that are read; they are never replaced, whatever ``force`` says.

    Raises
    ------
    InputError
        If something is there and ``force`` is off, it is no plain file, or it is one of ``inputs``.
    ResourceError
        If its folder is not there.
    """
    if not path.parent.is_dir():
        raise ResourceError(
            f"{path} cannot be written: there is no folder {path.parent}. Make it, or give another --out."
        )
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path} is a folder or a device, not a file that can be replaced; give another --out.")
    if any(one.exists() and path.samefile(one) for one in inputs):
        raise InputError(f"{path} is read by this command and would be lost; give another --out.")
    if not force:
        raise InputError(f"{path} is there already; give another --out, or --force to replace it.")


def _table(block: ScoreBlock, *, schema: pa.Schema, logit_scale: float | None) -> pa.Table:
    values = block.cosines if logit_scale is None else softmax(block.cosines, logit_scale=logit_scale)
    columns = [np.ascontiguousarray(values[:, j]) for j in range(values.shape[1])]
    return pa.table([pa.array(block.row_ids, pa.string()), *map(pa.array, columns)], schema=schema)


def _schema(texts: RowTexts, *, reading: Reading, model_hash: str, logit_scale: float | None) -> pa.Schema:
    common = texts.common
    described = {
        "model": model_hash,
        "score": "cosine" if logit_scale is None else "softmax over the labels",
        "logit_scale": logit_scale,
        "texts": dict(zip(common.labels, common.texts, strict=True)),
        "templates": list(common.templates),
        "tissue": common.tissue,
        "n_tissues": texts.n_tissues,
        "by_tissue": [vars(one) for one in texts.by_tissue],
        "source": reading.name,
        "scale": reading.scale,
        "organism": reading.coverage.organism,
    }
    fields = [pa.field(ROW_ID, pa.string()), *(pa.field(label, pa.float32()) for label in texts.labels)]
    return pa.schema(fields, metadata={"geo_atlas": json.dumps(described), "pandas": _pandas_metadata(texts.labels)})


def _pandas_metadata(labels: tuple[str, ...]) -> bytes:
    """Return the note that makes pandas read the row ids as the index."""
    import pandas as pd

    empty = pd.DataFrame(np.zeros((0, len(labels)), np.float32), columns=list(labels), index=pd.Index([], name=ROW_ID))
    return bytes(pa.Schema.from_pandas(empty).metadata[b"pandas"])
