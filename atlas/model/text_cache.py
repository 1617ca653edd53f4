"""Vectors of terms, embedded by the text tower once and kept.

In: terms, templates, cache folders. Out: ``(n_terms, dim)`` float16. Kept are *raw* vectors, as the text tower gives them,
before the head that takes them into a model's space: models of one tower share them, whatever their heads and genes. A cache
folder holds one folder for everything a raw vector depends on (tower and adapter, the model's templates, the templates
asked for); in it, shards: parquet files of ``term``, ``codes`` and ``scale`` (vector = scale x int8 codes), each named by the
sha256 of its own bytes. A damaged shard is left aside with a warning and its terms are embedded again, so a cache can be
deleted at any time and never decides what a vector is: fresh vectors are rounded to the same codes before the head.

Two fresh embeddings of a term agree to about 1e-7 a component, not bit for bit, if thread count, processor or the texts that
shared its batch differ; where such a value lies on the border between two codes, kept and fresh differ by one code there. A
build that is killed and resumed embeds the same texts together as an unbroken one, so both hold the same bytes. What the
rounding costs is measured in ``docs/measurements-speed.md``.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atlas.digests import sha256_json
from atlas.errors import ArtifactError
from atlas.model.quantised import Int8Rows
from atlas.resources import resource_path
from atlas.texts import valid_utf8

if TYPE_CHECKING:
    from atlas.model.joint import JointModel

logger = logging.getLogger(__name__)

PLAIN: tuple[str, ...] = ("{x}",)
"""The templates of a term embedded as it stands."""
FOLDER = "text_vectors"

_SHARD_TERMS = 512  # embedded and kept together: what a kill can cost
_MERGE_FROM = 64  # shards; the incomplete ones are then joined, so many short lists do not become many files
_MERGED_TERMS = 16_384
_DIGEST_CHARS = 16


def text_caches(home: Path) -> tuple[Path, ...]:
    """Return the cache of a home, which new vectors are written to, and the packaged one, if it is installed."""
    try:
        return home / FOLDER, resource_path(f"starter/{FOLDER}")
    except ArtifactError:
        return (home / FOLDER,)


def embed_terms(
    model: JointModel,
    terms: Sequence[str],
    *,
    templates: Sequence[str] = PLAIN,
    caches: Sequence[Path] = (),
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return the vectors of some terms, taken from the caches where they are known.

    With several templates a term's vector is that of the mean of its raw vectors under each.

    Parameters
    ----------
    model
        Embeds what no cache knows, and takes all of it through its head.
    terms
        In any order, with or without repetitions.
    templates
        Each holds the blank ``{x}``.
    caches
        Folders to look in. New vectors are written into the first, every 512 terms; if that is impossible (a full disk, a
        read-only home) a warning is logged. See ``text_caches``.
    progress
        Called with the number of distinct terms embedded since the last call, which may be none; what it raises ends the
        work, and whole batches embedded by then stay kept.

    Returns
    -------
    ``(n_terms, dim)`` float16, unit rows, in the order given.
    """
    # half of a character, as broken JSON can carry, has no UTF-8 form: the text tower reads it as "?"
    spelled = [valid_utf8(term) for term in terms]
    distinct = sorted(set(spelled))
    raw = embed_raw_terms(model, distinct, templates=templates, caches=caches, progress=progress)
    vectors = np.zeros((len(distinct), model.dim), dtype=np.float16)
    for start in range(0, len(distinct), _SHARD_TERMS):
        stop = start + _SHARD_TERMS
        vectors[start:stop] = model.text_head(raw.vectors(slice(start, stop)).astype(np.float32))
        if progress is not None:
            progress(0)
    place = {term: row for row, term in enumerate(distinct)}
    ordered: np.ndarray = vectors[[place[term] for term in spelled]]
    return ordered


def embed_raw_terms(
    model: JointModel,
    terms: Sequence[str],
    *,
    templates: Sequence[str] = PLAIN,
    caches: Sequence[Path] = (),
    progress: Callable[[int], None] | None = None,
) -> Int8Rows:
    """Return the raw vectors of distinct terms, taken from the caches where they are known; see ``embed_terms``."""
    raw = Int8Rows(np.zeros((len(terms), model.raw_text_dim), dtype=np.int8), np.zeros(len(terms), dtype=np.float32))
    folders = [cache / cache_key(model, templates) for cache in caches]
    known = _look_up(folders, terms, raw)
    if progress is not None and known.any():
        progress(int(known.sum()))
    missing = np.flatnonzero(~known)
    for start in range(0, missing.size, _SHARD_TERMS):
        rows = missing[start : start + _SHARD_TERMS]
        batch = [terms[row] for row in rows]
        fresh = Int8Rows.from_vectors(_embed(model, batch, templates, progress=progress))
        raw.codes[rows], raw.scales[rows] = fresh.codes, fresh.scales
        if folders:
            _keep(folders[0], batch, fresh)
        if progress is not None:
            progress(len(batch))
    if folders and missing.size:
        _merge_small(folders[0], dim=model.raw_text_dim)
    return raw


def cache_key(model: JointModel, templates: Sequence[str] = PLAIN) -> str:
    """Return the name of the folder, inside a cache, of the raw vectors of this model's text tower under these templates."""
    return sha256_json(["int8", model.raw_text_key, list(templates)])[:32]


def write_shard(folder: Path, terms: Sequence[str], raw: Int8Rows, *, name: str = "terms") -> Path:
    """Write ``<name>-<sha256 of the bytes>.parquet`` atomically; equal terms and vectors give equal bytes.

    Parameters
    ----------
    terms
        Distinct.
    raw
        Their raw vectors, one row a term.
    """
    codes = np.ascontiguousarray(raw.codes)
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(codes.shape[1]), len(terms), [None, pa.py_buffer(codes.tobytes())]
    )
    sink = pa.BufferOutputStream()
    table = pa.table(
        {"term": pa.array(terms, pa.string()), "codes": column, "scale": pa.array(raw.scales, pa.float32())}
    )
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_statistics=False)
    content = sink.getvalue().to_pybytes()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{_digest(content)}.parquet"
    temporary = folder / f".{target.name}.{os.getpid()}.tmp"
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return target


def _embed(
    model: JointModel, terms: Sequence[str], templates: Sequence[str], *, progress: Callable[[int], None] | None
) -> np.ndarray:
    """Return the means over the templates, (n, raw dim) float32, of unit length."""
    total = np.zeros((len(terms), model.raw_text_dim), dtype=np.float32)
    for place, template in enumerate(templates):
        if place and progress is not None:
            progress(0)  # all templates of a batch take long for one who waits for the work to stop
        total += model.embed_raw_texts([template.replace("{x}", term) for term in terms])
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return total


def _look_up(folders: Iterable[Path], terms: Sequence[str], raw: Int8Rows) -> np.ndarray:
    """Fill in the vectors of known terms, shard by shard; return (n,) bool which were known."""
    known = np.zeros(len(terms), dtype=bool)
    wanted = pa.array(terms, pa.string())
    for folder in folders:
        for path in _shards(folder):
            if known.all():
                return known
            found = _read_shard(path, dim=raw.codes.shape[1])
            if found is None:
                continue
            kept, rows = found
            at = pc.index_in(kept, value_set=wanted).to_numpy(zero_copy_only=False)
            here = np.flatnonzero(~np.isnan(at)) if at.dtype.kind == "f" else np.arange(at.size)
            target = at[here].astype(np.int64)
            raw.codes[target], raw.scales[target] = rows.codes[here], rows.scales[here]
            known[target] = True
    return known


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet")) if folder.is_dir() else []


def _read_shard(path: Path, *, dim: int) -> tuple[pa.Array, Int8Rows] | None:
    """Return the terms of a shard and their raw vectors, or ``None``, with a warning, if it is damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None  # merged by another process since it was listed
    except OSError as error:
        logger.warning("%s cannot be read and is left aside: %s", path, error)
        return None
    if not path.stem.endswith(f"-{_digest(content)}"):
        logger.warning("%s is damaged and left aside; its terms are embedded again", path)
        return None
    try:
        table = pq.read_table(pa.BufferReader(content), columns=["term", "codes", "scale"]).combine_chunks()
        terms, column = (table[name].combine_chunks() for name in ("term", "codes"))
        codes = np.frombuffer(column.buffers()[1], dtype=np.int8).reshape(-1, dim)
        rows = Int8Rows(codes[column.offset : column.offset + len(column)], table["scale"].to_numpy())
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        logger.warning("%s is no shard of term vectors and left aside: %s", path, error)
        return None
    return (terms, rows) if len(terms) == len(rows) and bool(np.isfinite(rows.scales).all()) else None


def _keep(folder: Path, terms: Sequence[str], raw: Int8Rows) -> None:
    try:
        write_shard(folder, terms, raw)
    except OSError as error:
        logger.warning("the vectors of %d terms are not kept in %s: %s", len(terms), folder, error)


def _merge_small(folder: Path, *, dim: int) -> None:
    """Join the shards of a folder once there are many; a reader that meets a joined one embeds its terms again."""
    paths = _shards(folder)
    if len(paths) < _MERGE_FROM:
        return
    terms: dict[str, tuple[np.ndarray, np.float32]] = {}
    merged: list[Path] = []
    for path in paths:
        found = _read_shard(path, dim=dim)
        if found is not None and len(found[0]) < _SHARD_TERMS and len(terms) + len(found[0]) <= _MERGED_TERMS:
            names, rows = found
            terms.update(zip(names.to_pylist(), zip(rows.codes, rows.scales, strict=True), strict=True))
            merged.append(path)
    if len(merged) < 2:
        return
    codes, scales = zip(*terms.values(), strict=True)
    try:
        target = write_shard(folder, list(terms), Int8Rows(np.stack(codes), np.array(scales, dtype=np.float32)))
    except OSError as error:
        logger.warning("the shards of %s are not joined: %s", folder, error)
        return
    for path in set(merged) - {target}:
        path.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_CHARS]
