"""Copy some samples of an ARCHS4 file into an h5ad file; runs in a process of its own.

The HDF5 library can crash on a damaged file and on a full disk; here it takes nobody along. Protocol: one JSON request on
stdin; on stdout JSON lines, ``{"done": n}`` as samples are written, then ``{"result": ...}`` or ``{"error": ...}``.

Layout written: AnnData's on-disk format, ``X`` a dense compressed array in the file's own type, one chunk a sample, so that rows
can be written in any order and memory stays at one block of the source. Source: anndata's "on-disk format" documentation,
encodings array 0.2.0, dataframe 0.2.0, string-array 0.2.0, dict 0.1.0.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TextIO, TypeVar

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from atlas.errors import AtlasError, InputError, NotFoundError, ResourceError
from atlas.expression.archs4 import Archs4Source
from atlas.expression.isolated import bound_memory
from atlas.expression.source import BLOCK_BYTES

MAX_MEMORY_BYTES = 16 << 30
"""Address space of the process: many times what an honest file of a million samples needs."""

_FIELDS = {
    "title": "title",
    "source_name_ch1": "source_name",
    "characteristics_ch1": "characteristics",
    "organism_ch1": "organism",
    "molecule_ch1": "molecule",
    "platform_id": "platform",
    "series_id": "series",
    "unit": "unit",
}
_CHUNK_BYTES_TO_COMPRESS = 1 << 12
_WRITE_ERRORS = (OSError, RuntimeError)  # what h5py raises when the disk refuses, on writing and on closing
_Node = TypeVar("_Node", h5py.Group, h5py.Dataset)


@dataclass(frozen=True)
class Extract:
    """What to copy.

    Attributes
    ----------
    counts, out
        The ARCHS4 file, and the h5ad file to write; it is not finished by renaming here.
    accessions
        Wanted samples, each once; rows of the result keep this order.
    columns
        What is known of each of them, by column of ``obs``; numbers or text, ``None`` where nothing is known.
    about
        Text kept in ``uns["geo_atlas"]``.
    """

    counts: str
    out: str
    accessions: list[str]
    columns: dict[str, list[Any]]
    about: dict[str, str]


@dataclass(frozen=True)
class Extracted:
    """What was copied: samples, genes, and the wanted samples that the file lacks."""

    n_samples: int
    n_genes: int
    missing: list[str]


def extract(
    request: Extract,
    *,
    advance: Callable[[int], None] = lambda n: None,
    failed: Callable[[AtlasError], None] = lambda error: None,
) -> Extracted:
    """Write the wanted samples.

    Parameters
    ----------
    request
        What to copy.
    advance
        Called with the number of samples written since the last call.
    failed
        Called when the disk refuses, before the file is closed: HDF5 may crash while it closes a file on a full disk.

    Raises
    ------
    InputError
        If the file is damaged or is no ARCHS4 gene file.
    NotFoundError
        If it has none of the wanted samples.
    ResourceError
        If the result cannot be written.
    """
    with Archs4Source(Path(request.counts)) as source:
        places, rows = _find(source, request.accessions)
        if not places:
            raise NotFoundError(
                f"None of the {len(request.accessions):,} samples is in {request.counts}, which has {source.n_samples:,} "
                f"(for example {', '.join(source.sample_ids[:3])}).",
                details={"n_wanted": len(request.accessions)},
            )
        kept = set(places)
        missing = [name for place, name in enumerate(request.accessions) if place not in kept]
        order = np.argsort(rows, kind="stable")
        fields = source.sample_fields(tuple(_FIELDS), rows=rows[order])
        obs = _obs(request, places, fields={_FIELDS[k]: _back(v, order) for k, v in fields.items()})
        writing = partial(_writing, request.out, failed=failed)
        with writing(), h5py.File(request.out, "w") as out, writing():
            out.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            write_frame(out, "obs", index=[request.accessions[place] for place in places], columns=obs)
            write_frame(out, "var", **_var(source))
            for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
                _encoded(out.create_group(name), "dict", "0.1.0")
            about = _encoded(out["uns"].create_group("geo_atlas"), "dict", "0.1.0")
            for key, value in request.about.items():
                _encoded(about.create_dataset(key, data=clean(value), dtype=h5py.string_dtype()), "string")
            _write_strings(about, "missing", missing)
            _write_values(out, source, rows=rows, order=order, advance=advance)
            out.flush()
        return Extracted(len(places), len(source.genes), missing)


def _find(source: Archs4Source, accessions: Sequence[str]) -> tuple[list[int], npt.NDArray[np.int64]]:
    """Return the places in the list, and the rows in the file, of the samples that the file has."""
    found = pc.index_in(pa.array(accessions, pa.string()), value_set=pa.array(source.sample_ids, pa.string()))
    rows = found.fill_null(-1).to_numpy().astype(np.int64)
    places = np.flatnonzero(rows >= 0)
    return places.tolist(), rows[places]


def _obs(request: Extract, places: list[int], *, fields: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return the columns of ``obs``: what the list says of a sample, else what the file says."""
    columns: dict[str, Any] = {}
    for name, values in request.columns.items():
        mine = [values[place] for place in places]
        if all(value is None or isinstance(value, (int, float)) for value in mine):
            columns[name] = np.array([np.nan if value is None else value for value in mine], dtype=np.float64)
        else:
            columns[name] = ["" if value is None else str(value) for value in mine]
    for name, texts in fields.items():
        listed = columns.get(name)
        columns[name] = texts if listed is None else [a or b for a, b in zip(listed, texts, strict=True)]
    ranks = columns.get("rank")
    if ranks is None or np.isnan(ranks).any():
        ranks = np.array(places, dtype=np.float64) + 1
    return {"rank": ranks.astype(np.int64), **{k: v for k, v in columns.items() if k != "rank"}}


def _back(values: list[str], order: npt.NDArray[np.intp]) -> list[str]:
    """Undo a sort: value ``i`` belongs to place ``order[i]``."""
    back = [""] * len(values)
    for value, place in zip(values, order.tolist(), strict=True):
        back[place] = value
    return back


def _var(source: Archs4Source) -> dict[str, Any]:
    """Return index and columns of ``var``; a name that stands twice gets a number, since an index must be unique."""
    seen: dict[str, int] = {}
    index = []
    for name in source.genes:
        seen[name] = seen.get(name, 0) + 1
        index.append(name if seen[name] == 1 else f"{name}-{seen[name] - 1}")
    if source.symbols is None:
        return {"index": index, "columns": {"symbol": source.genes}}
    return {"index": index, "columns": {"ensembl_id": source.genes, "symbol": source.symbols}}


def _write_values(
    out: h5py.File,
    source: Archs4Source,
    *,
    rows: npt.NDArray[np.int64],
    order: npt.NDArray[np.intp],
    advance: Callable[[int], None],
) -> None:
    """Write ``X`` block by block; a row of the file goes to its place in the list."""
    n_genes = len(source.genes)
    small = n_genes * source.dtype.itemsize < _CHUNK_BYTES_TO_COMPRESS
    data = out.create_dataset(
        "X",
        shape=(rows.size, n_genes),
        dtype=source.dtype.newbyteorder("<"),
        chunks=(1, n_genes),
        **({} if small else {"compression": "gzip", "compression_opts": 1, "shuffle": True}),
    )
    _encoded(data, "array")
    done = 0
    for wanted, values in source.raw_blocks(rows[order], block_bytes=BLOCK_BYTES):
        for place, row in zip(order[done : done + wanted.size].tolist(), values, strict=True):
            data[place] = row
        done += wanted.size
        advance(wanted.size)


def write_frame(out: h5py.Group, name: str, *, index: Sequence[str], columns: Mapping[str, Any]) -> None:
    """Write a table in AnnData's encoding; columns are float64 or int64 arrays, or lists of text."""
    frame = _encoded(out.create_group(name), "dataframe")
    frame.attrs["_index"] = "_index"
    frame.attrs.create("column-order", data=list(columns), dtype=h5py.string_dtype())
    _write_strings(frame, "_index", index)
    for column, values in columns.items():
        if isinstance(values, np.ndarray):
            _encoded(frame.create_dataset(column, data=values), "array")
        else:
            _write_strings(frame, column, values)


def _write_strings(parent: h5py.Group, name: str, values: Iterable[str]) -> None:
    texts = np.array([clean(value) for value in values], dtype=object)
    _encoded(parent.create_dataset(name, data=texts, dtype=h5py.string_dtype()), "string-array")


def clean(text: str) -> str:
    """Return text that HDF5 can store: no NUL, nothing that is not Unicode."""
    return text.replace("\0", " ").encode("utf-8", errors="replace").decode("utf-8")


def _encoded(node: _Node, kind: str, version: str = "0.2.0") -> _Node:
    node.attrs["encoding-type"] = kind
    node.attrs["encoding-version"] = version
    return node


@contextmanager
def _writing(path: str, *, failed: Callable[[AtlasError], None]) -> Iterator[None]:
    """Turn what h5py raises when the disk refuses into a sentence."""
    try:
        yield
    except _WRITE_ERRORS as error:
        reason = "the disk is full" if _no_room(error) else (str(error).splitlines() or [type(error).__name__])[0]
        refusal = ResourceError(
            f"The file cannot be written in {Path(path).parent}: {reason}. Free some space or write elsewhere, then run the same "
            "command again.",
            details={"folder": str(Path(path).parent)},
        )
        failed(refusal)
        raise refusal from error


def _no_room(error: BaseException | None) -> bool:
    """Return whether the disk was full: HDF5 fails once more on closing, and may tell the number in its text alone."""
    while error is not None:
        numbers = {getattr(error, "errno", None), *map(int, re.findall(r"errno = (\d+)", str(error)))}
        if numbers & {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return True
        error = error.__context__
    return False


def _serve(stdin: BinaryIO, stdout: TextIO) -> None:
    """Answer one request; runs in the child."""
    bound_memory(MAX_MEMORY_BYTES)
    sys.excepthook = _print_unless_told
    sys.unraisablehook = lambda unraisable: None  # objects of a file that could not be written complain when they go
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business: it ends this process

    def say(**line: Any) -> None:
        stdout.write(json.dumps(line) + "\n")
        stdout.flush()

    def leave(error: AtlasError) -> None:
        say(error=error.code, message=error.message, details=error.details)
        os._exit(error.exit_code)

    try:
        result = extract(Extract(**json.loads(stdin.read())), advance=lambda n: say(done=n), failed=leave)
        say(result=asdict(result))
    except MemoryError:
        say(
            error=InputError.code,
            message="The file asks for more memory than an honest one: it is damaged.",
            details={},
        )
    except AtlasError as error:
        leave(error)


def _print_unless_told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback of our own mistakes; what h5py throws while it closes a file was told in the reply already."""
    if not issubclass(kind, _WRITE_ERRORS):
        sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout)
