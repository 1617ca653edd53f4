"""Gene-set libraries as one signed sparse matrix over the model's genes.

In: GMT files, ``term TAB description TAB gene[,weight] TAB ...``. Out: :class:`GeneSets`. The two halves of a signature (``X_up``
and ``X_down`` files, or ``... up`` and ``... down`` in one file) become one row with positive and negative entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError, TooLargeError
from atlas.expression.genes import GeneMap
from indexer.studies import study_of
from indexer.training.provenance import evaluation_provenance
from indexer.training.sources.set_names import SetName, library_of, read_set_name

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_FILE_BYTES = 512 << 20
MAX_SETS = 500_000


@dataclass(frozen=True)
class GeneSets:
    """Sets in the order of their files.

    Attributes
    ----------
    libraries, keys, texts
        Library, raw name without direction, readable text of each set.
    accessions
        Studies that the raw name of each set mentions.
    matrix
        (n_sets, n_model_genes) float32; 1 or the file's weight for genes that belong or go up, negative for those that go down.
    dropped
        Reason -> sets left out: ``held_out_series``, ``too_few_genes``, ``too_many_genes``.
    files
        The files read.
    """

    libraries: tuple[str, ...]
    keys: tuple[str, ...]
    texts: tuple[str, ...]
    accessions: tuple[tuple[str, ...], ...]
    matrix: csr_matrix
    dropped: dict[str, int]
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.texts)


def read_gene_sets(
    paths: Sequence[Path],
    *,
    genes: GeneMap,
    libraries: Collection[str] | None = None,
    leave_out: Collection[str] = (),
    drop_series: Collection[str] = (),
    n_genes: tuple[int, int] = (5, 3000),
    organism: str = "human",
) -> GeneSets:
    """Read libraries.

    Parameters
    ----------
    paths
        GMT files, or folders of them.
    genes
        The model's genes; names it does not know are ignored.
    libraries
        Names of the libraries to read (``X`` stands for ``X_up`` and ``X_down`` too); ``None``: all.
    leave_out
        Libraries left out.
    drop_series
        A set whose raw name mentions a series of the same study is dropped, before its name is cleaned. Those of the evaluation
        sets always are.
    n_genes
        Fewest and most genes of a set, counted among those the model knows.
    organism
        Whose genes the symbols are.

    Raises
    ------
    InputError
        If a file is no GMT file, a named library is not there, or nothing is left.
    TooLargeError
        If a file has more than 512 MiB, or there are more than 500,000 sets.
    """
    files = _choose(paths, libraries, leave_out)
    held_out = {study_of(name) for name in drop_series} | evaluation_studies()
    found: dict[tuple[str, str], _Found] = {}
    codes: dict[str, int] = {}
    dropped: Counter[str] = Counter()
    for path in files:
        library, direction = library_of(path.stem)
        for raw, members, weights in _lines(path, codes):
            name = read_set_name(raw, library=library, direction=direction)
            if any(study_of(accession) in held_out for accession in name.accessions):
                dropped["held_out_series"] += 1
                continue
            one = found.setdefault((library, name.key), _Found(library, name, [], []))
            one.members.append(members)
            one.weights.append(name.direction * weights)
            if len(found) > MAX_SETS:
                raise TooLargeError(f"There are more than {MAX_SETS:,} gene sets. Choose fewer libraries.")
    rows = genes.rows_of(list(codes), organism=organism)
    return _assemble(found.values(), files, dropped, rows=rows, n_model_genes=len(genes), n_genes=n_genes)


@dataclass(frozen=True)
class _Found:
    """One set, or both halves of a signature: codes of the gene names and their signed weights."""

    library: str
    name: SetName
    members: list[npt.NDArray[np.int32]]
    weights: list[npt.NDArray[np.float32]]


def evaluation_studies() -> set[str]:
    """Return the studies of all known evaluation sets, as far as they have an accession."""
    return {study_of(name) for entry in evaluation_provenance().values() for name in entry.accessions}


def known_libraries(paths: Sequence[Path]) -> frozenset[str]:
    """Return the names that libraries of GMT files, or of folders of them, can be called by."""
    return frozenset(name for file in _gmt_files(paths) for name in _names_of(file))


def _gmt_files(paths: Sequence[Path]) -> list[Path]:
    return [file for path in paths for file in (sorted(path.glob("*.gmt")) if path.is_dir() else [path])]


def _names_of(file: Path) -> set[str]:
    return {file.stem, library_of(file.stem)[0]}


def _choose(paths: Sequence[Path], libraries: Collection[str] | None, leave_out: Collection[str]) -> tuple[Path, ...]:
    known = known_libraries(paths)
    absent = sorted({*(libraries or ()), *leave_out} - known)
    if absent:
        raise InputError(
            f"There is no library {', '.join(absent)}; at hand: {', '.join(sorted(known)) or 'none'}.",
            details={"absent": absent, "known": sorted(known)},
        )
    kept = tuple(
        file
        for file in _gmt_files(paths)
        if (libraries is None or _names_of(file) & set(libraries)) and not _names_of(file) & set(leave_out)
    )
    if not kept:
        raise InputError(f"There is no gene-set library (*.gmt) to read in {', '.join(map(str, paths))}.")
    return kept


def _lines(path: Path, codes: dict[str, int]) -> Iterator[tuple[str, npt.NDArray[np.int32], npt.NDArray[np.float32]]]:
    """Yield raw name, codes of the genes and their weights, line by line; ``codes`` grows with the names met."""
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file. Give GMT files or a folder of them.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise TooLargeError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read.")
    try:
        with path.open(encoding="utf-8-sig") as handle:
            for number, line in enumerate(handle, start=1):
                if not line.strip():
                    continue
                fields = line.rstrip("\n").split("\t")
                if len(fields) < 3 or not fields[0].strip() or "\0" in line:
                    raise InputError(
                        f"{path}, line {number}: no gene set. Expected name, description and genes with tabs between."
                    )
                names, weights = fields[2:], np.ones(len(fields) - 2, dtype=np.float32)
                if "," in line:
                    names, weights = _weighted(names, path=path, number=number)
                members = (codes.setdefault(name, len(codes)) for name in names)
                yield fields[0], np.fromiter(members, dtype=np.int32, count=len(names)), weights
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from error


def _weighted(fields: Sequence[str], *, path: Path, number: int) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Split ``gene,weight``; a gene without weight counts 1."""
    pairs = [field.partition(",") for field in fields]
    try:
        weights = np.array([float(weight) if weight.strip() else 1.0 for _, _, weight in pairs], dtype=np.float32)
    except ValueError:
        weights = np.array([np.nan], dtype=np.float32)
    if not bool((np.isfinite(weights) & (weights > 0)).all()):
        raise InputError(f"{path}, line {number}: a gene has no weight above 0 after its comma. Expected gene,weight.")
    return [gene for gene, _, _ in pairs], weights


def _assemble(
    found: Collection[_Found],
    files: tuple[Path, ...],
    dropped: Counter[str],
    *,
    rows: npt.NDArray[np.int32],
    n_model_genes: int,
    n_genes: tuple[int, int],
) -> GeneSets:
    """Sum the weights of each gene of the model; sets that are too small or too large are dropped."""
    from scipy.sparse import csr_matrix

    kept, places, values = [], [], []
    for one in found:
        known = rows[np.concatenate(one.members)]
        own, inverse = np.unique(known, return_inverse=True)
        sums = np.bincount(inverse, weights=np.concatenate(one.weights)).astype(np.float32)
        told = (own >= 0) & (sums != 0)  # a gene both up and down says nothing
        if not n_genes[0] <= told.sum() <= n_genes[1]:
            dropped["too_few_genes" if told.sum() < n_genes[0] else "too_many_genes"] += 1
            continue
        kept.append(one)
        places.append(own[told])
        values.append(sums[told])
    if not kept:
        left_out = (
            ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in dropped.items()) or "the files hold none"
        )
        raise InputError(
            f"No gene set is left ({left_out}). Expected lines of name, description and gene symbols, of "
            f"{n_genes[0]:,} to {n_genes[1]:,} genes that the model knows.",
            details={"dropped": dict(dropped)},
        )
    starts = np.concatenate([[0], np.cumsum([part.size for part in places])])
    shape = (len(kept), n_model_genes)
    return GeneSets(
        libraries=tuple(one.library for one in kept),
        keys=tuple(one.name.key for one in kept),
        texts=tuple(one.name.text for one in kept),
        accessions=tuple(one.name.accessions for one in kept),
        matrix=csr_matrix((np.concatenate(values), np.concatenate(places), starts), shape=shape),
        dropped=dict(dropped),
        files=files,
    )
