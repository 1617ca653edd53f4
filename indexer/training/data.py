"""What the command line says of data: ``KIND:PATH[=weight]``, opened as sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from atlas.errors import ConfigError, InputError
from atlas.expression.genes import GeneMap
from indexer.training.density import item_weights
from indexer.training.provenance import NEVER_TRAINED
from indexer.training.sources.items import Items
from indexer.training.sources.source import PairSource, Rows, SourceKind


@dataclass(frozen=True)
class DataSpec:
    """One ``--data``.

    Attributes
    ----------
    kind
        ``corpus``, ``genesets``, ``cells`` or ``profiles``.
    path
        File or folder.
    weight
        Share of the draws.
    """

    kind: SourceKind
    path: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> DataSpec:
        """Read ``KIND:PATH[=weight]``; a path may hold ``=`` if what follows is no number.

        Raises
        ------
        ConfigError
            If it is nothing of the kind.
        """
        name, colon, rest = text.partition(":")
        kind = next((kind for kind in _KINDS if kind == name), None)
        if kind is None or not colon or not rest:
            raise ConfigError(
                f"--data {text}: expected KIND:PATH or KIND:PATH=weight with KIND one of {', '.join(_KINDS)}."
            )
        path, equals, number = rest.rpartition("=")
        try:
            weight = float(number) if equals and path else 1.0
        except ValueError:
            return cls(kind, Path(rest))
        if not 0 < weight < float("inf"):
            raise ConfigError(f"--data {text}: the weight is {number}; expected a number above 0.")
        return cls(kind, Path(path if equals and path else rest), weight)


@dataclass(frozen=True)
class DataOptions:
    """How sources are read.

    Attributes
    ----------
    exclude_series
        Series whose samples are left out of corpora, and whose gene sets are dropped.
    leave_out
        Gene-set libraries that are not read.
    label, tissue, study, donor
        Columns of ``obs`` of cells and profiles.
    organism
        Of the files.
    augment
        Whether expression varies when it is asked for with randomness.
    may_lack
        Whether a series or library to leave out may be in none of the data.
    """

    exclude_series: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    label: str = "cell_type"
    tissue: str | None = None
    study: str | None = None
    donor: str | None = None
    organism: str = "human"
    augment: bool = True
    may_lack: bool = False

    def left_out(self) -> dict[str, list[str]]:
        """Return what is never learned from, as a record of training names it."""
        return {
            "left_out_libraries": sorted(self.leave_out),
            "excluded_series": sorted(NEVER_TRAINED.union(self.exclude_series)),
        }


def open_sources(
    specs: Sequence[DataSpec], *, genes: GeneMap, options: DataOptions | None = None
) -> list[tuple[PairSource, float]]:
    """Open every source, its expression in the order of ``genes``.

    Raises
    ------
    InputError
        If a file is missing or is not what its kind says.
    """
    options = options or DataOptions()
    found = []
    for spec in specs:
        if not spec.path.exists():
            raise InputError(f"--data {spec.kind}:{spec.path}: there is no such file or folder.")
        source = _OPENERS[spec.kind](spec, genes, options)
        found.append((source, spec.weight))
    if not options.may_lack:
        _refuse_unknown_series([source for source, _ in found], options)
        _refuse_unknown_libraries(specs, options)
    return found


def weigh_by_density(sources: Sequence[PairSource], rows: Sequence[Rows]) -> None:
    """Give samples, cells and profiles that are learned from weights by how rare their expression is among them."""
    for source, mine in zip(sources, rows, strict=True):
        if isinstance(source, Items) and source.kind != "genesets":
            source.weigh(item_weights(source, mine))


def _refuse_unknown_series(sources: Sequence[PairSource], options: DataOptions) -> None:
    """Refuse a series to exclude that no corpus has, where there is a corpus."""
    from indexer.training.sources.corpus import CorpusSource

    corpora = [source for source in sources if isinstance(source, CorpusSource)]
    absent = sorted(set(options.exclude_series).difference(*(source.found_excluded for source in corpora)))
    if corpora and absent:
        raise InputError(
            f"The series {', '.join(absent)} cannot be excluded: no sample has it. Check the spelling.",
            details={"absent": absent},
        )


def _refuse_unknown_libraries(specs: Sequence[DataSpec], options: DataOptions) -> None:
    """Refuse a library to leave out that no folder of gene sets has, where there is one."""
    from indexer.training.sources.gene_set_files import known_libraries

    folders = [spec.path for spec in specs if spec.kind == "genesets"]
    known = known_libraries(folders)
    absent = sorted(set(options.leave_out) - known)
    if folders and absent:
        raise InputError(
            f"There is no library {', '.join(absent)} to leave out; at hand: {', '.join(sorted(known)) or 'none'}.",
            details={"absent": absent, "known": sorted(known)},
        )


def _corpus(spec: DataSpec, genes: GeneMap, options: DataOptions) -> PairSource:
    from indexer.training.augmentation import MODERATE
    from indexer.training.sources.corpus import CorpusSource

    return CorpusSource(
        _files(spec.path, ".h5", ".hdf5", ".h5ad"),
        genes=genes,
        exclude_series=options.exclude_series,
        require_excluded=False,  # another corpus may have it; refused below if none has
        augmentation=MODERATE if options.augment else None,
        name=_name(spec),
        organism=options.organism,
    )


def _gene_sets(spec: DataSpec, genes: GeneMap, options: DataOptions) -> PairSource:
    from indexer.training.sources.gene_set_files import known_libraries
    from indexer.training.sources.gene_sets import GeneSetSource

    files = _files(spec.path, ".gmt")
    return GeneSetSource(
        files,
        genes=genes,
        leave_out=known_libraries(files).intersection(options.leave_out),  # another folder may have the others
        drop_series=options.exclude_series,
        name=_name(spec),
        organism=options.organism,
    )


def _cells(spec: DataSpec, genes: GeneMap, options: DataOptions) -> PairSource:
    from indexer.training.augmentation import MODERATE
    from indexer.training.sources.labelled_cells import Columns, LabelledCellsSource
    from indexer.training.sources.profiles import ProfileSource

    made = LabelledCellsSource if spec.kind == "cells" else ProfileSource
    return made(
        _files(spec.path, ".h5ad"),
        genes=genes,
        columns=Columns(options.label, options.tissue, options.study, options.donor),
        augmentation=MODERATE if options.augment else None,
        name=_name(spec),
        organism=options.organism,
    )


def _name(spec: DataSpec) -> str:
    return f"{spec.kind}:{spec.path.name}"


def _files(path: Path, *suffixes: str) -> list[Path]:
    """Return a file, or the files of a folder with these endings, by name.

    Raises
    ------
    InputError
        If the folder has none.
    """
    if path.is_file():
        return [path]
    found = sorted(one for one in path.iterdir() if one.suffix in suffixes)
    if not found:
        raise InputError(f"{path} holds no file that ends in {' or '.join(suffixes)}.")
    return found


_KINDS: tuple[SourceKind, ...] = get_args(SourceKind)
_OPENERS: Mapping[SourceKind, Callable[[DataSpec, GeneMap, DataOptions], PairSource]] = MappingProxyType(
    {"corpus": _corpus, "genesets": _gene_sets, "cells": _cells, "profiles": _cells}
)
