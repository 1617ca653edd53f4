"""Which samples a question is about: one filter, two ways to apply it, the same rows.

``SampleFilter.mask`` works on the release's own tables, ``SampleFilter.conditions`` in SQL on what the loader wrote. Both
compare folded text (Unicode NFKC, lower case), folded by the one function here and never by a server's locale; and both
compare plain substrings, so no character of a person's text is a wildcard or a piece of a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.catalog.text_index import TextIndex
from atlas.errors import InputError
from atlas.texts import valid_utf8

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

SEARCHED_FIELDS = ("title", "source_name", "characteristics", "caption")
"""Columns that ``exclude`` looks into, beside the titles of the sample's series."""

EXACT_FIELDS = ("unit", "molecule", "id_kind")
"""Fields whose values are few and asked for as they are."""

_NO_WORD = r"[^\pL\pM\pN]+"


@dataclass(frozen=True)
class SampleFilter:
    """Conditions on samples; those of different fields must all hold, of several values of one field any.

    Attributes
    ----------
    tissue
        Words found, whole and in this order, in the tissue facet or the source name; case does not matter.
    series
        Accessions of series, exactly.
    organism
        Names such as ``Homo sapiens``; case does not matter.
    exclude
        Text that must be found neither in title, source name, characteristics or caption nor in a series title; case
        does not matter.
    cluster
        Numbers of clusters.
    unit, molecule, id_kind
        Values of these fields, exactly as the facets list them.
    """

    tissue: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    organism: tuple[str, ...] = ()
    exclude: str | None = None
    cluster: tuple[int, ...] = ()
    unit: tuple[str, ...] = ()
    molecule: tuple[str, ...] = ()
    id_kind: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every sample passes."""
        stated = (self.tissue, self.series, self.organism, self.cluster, self.unit, self.molecule, self.id_kind)
        return not (any(stated) or self._unwanted)

    def mask(
        self,
        table: pa.Table,
        *,
        series_titles: Mapping[str, str] | None = None,
        clusters: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return which rows pass, (n,) bool.

        Parameters
        ----------
        table
            Columns of ``samples.parquet``, and ``caption`` if captions count.
        series_titles
            Title by series accession; needed only where series titles count.
        clusters
            (n,) integers, the cluster of each row; needed only where the filter names clusters.

        Raises
        ------
        InputError
            If the filter names clusters and ``clusters`` is not given.
        """
        return self.mask_of(FilterColumns(table, series_titles=series_titles, clusters=clusters))

    def mask_of(self, columns: FilterColumns) -> np.ndarray:
        """Return which rows pass, (n,) bool; what is worked out of the columns once serves the next filter too."""
        allowed = np.ones(columns.table.num_rows, dtype=bool)
        if self.tissue:
            wanted = [one for one in self._tissue_words if one.strip()]
            allowed &= np.logical_or.reduce([columns.has_words(one) for one in wanted]) if wanted else False
        if self.organism:
            allowed &= columns.test("organism", lambda each: pc.is_in(fold(each), pa.array(self._organisms)))
        for name in EXACT_FIELDS:
            if exact := getattr(self, name):
                values = pa.array([_storable(one) for one in exact], pa.string())
                allowed &= columns.test(name, partial(_is_one_of, wanted=values))
        if self.cluster:
            if columns.clusters is None:
                raise InputError("The filter names clusters, but the clusters of the samples were not given.")
            allowed &= np.isin(columns.clusters, self._clusters)
        if self.series:
            wanted_series = pa.array([_storable(one) for one in self.series], pa.string())
            allowed &= _in_lists(columns.table["series_ids"], wanted_series)
        if self._unwanted:
            allowed &= ~columns.contains(self._unwanted)
        return allowed

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the same filter as SQL conditions on ``SampleRow``; values are parameters."""
        from sqlalchemy import and_, false, func, or_

        from atlas.catalog.tables import SampleRow

        found: list[ColumnElement[bool]] = []
        if self.tissue:
            wanted = [
                and_(SampleRow.tissue_words.contains(one.split()), func.strpos(SampleRow.tissue_folded, one) > 0)
                for one in self._tissue_words
                if one.strip()
            ]
            found.append(or_(false(), *wanted))
        if self.organism:
            found.append(SampleRow.organism_folded.in_(self._organisms))
        if self.series:
            found.append(SampleRow.series_ids.overlap([_storable(one) for one in self.series]))
        for name in EXACT_FIELDS:
            if wanted := getattr(self, name):
                found.append(getattr(SampleRow, name).in_([_storable(one) for one in wanted]))
        if self.cluster:
            found.append(SampleRow.cluster.in_(self._clusters))
        if self._unwanted:
            found.append(func.strpos(SampleRow.text_folded, self._unwanted) == 0)
        return found

    @property
    def _unwanted(self) -> str:
        return fold_one(self.exclude.strip()) if self.exclude else ""

    @property
    def _organisms(self) -> list[str]:
        return [fold_one(one.strip()) for one in self.organism]

    @property
    def _tissue_words(self) -> list[str]:
        """Return each tissue as its words between blanks; blank where it has none, which no sample matches."""
        folded = fold(pa.array([_storable(one) for one in self.tissue], pa.string()))
        return [str(one) for one in _words(folded).to_pylist()]

    @property
    def _clusters(self) -> list[int]:
        """Return the numbers that can be a cluster's: the others match nothing, and no column could hold them."""
        return [one for one in self.cluster if 0 <= one < 2**31]


class FilterColumns:
    """The columns that filters read, and what was worked out of them: each distinct value is folded once.

    Parameters
    ----------
    table, series_titles, clusters
        As in :meth:`SampleFilter.mask`.
    """

    def __init__(
        self,
        table: pa.Table,
        *,
        series_titles: Mapping[str, str] | None = None,
        clusters: np.ndarray | None = None,
    ) -> None:
        self.table = table
        self.clusters = clusters
        self._series_titles = series_titles or {}

    def test(self, name: str, test: Callable[[pa.Array], pa.Array]) -> np.ndarray:
        """Return the test of each row's value, (n,) bool, asked once of each distinct value; null counts as empty."""
        values, codes = _encoded(self.table[name])
        flags: np.ndarray = _to_numpy(test(values))[codes]
        return flags

    def has_words(self, words: str) -> np.ndarray:
        """Return whether tissue or source name holds words that stand between blanks, (n,) bool."""
        found = [_to_numpy(pc.match_substring(each, words))[codes] for each, codes in self._tissue_words]
        flags: np.ndarray = np.logical_or.reduce(found)
        return flags

    def contains(self, folded: str) -> np.ndarray:
        """Return whether any text that ``exclude`` looks into contains a folded text, (n,) bool."""
        if "\n" in folded:  # it may reach over the end of a field
            return _to_numpy(pc.match_substring(searched_text(self.table, series_titles=self._series_titles), folded))
        fields = [texts.contains(folded)[codes] for texts, codes in self.searched]
        flags: np.ndarray = np.logical_or.reduce([*fields, self._titled.contains(folded)])
        return flags

    @cached_property
    def searched(self) -> list[tuple[TextIndex, np.ndarray]]:
        """Distinct texts of each field that ``exclude`` looks into, folded and indexed, with the number of every row's text.

        Making them takes some seconds and 300 MB at 650,000 samples; services do it before anybody asks.
        """
        names = [name for name in SEARCHED_FIELDS if name in self.table.column_names]
        encoded = (_encoded(self.table[name]) for name in names)
        return [(TextIndex(fold(texts)), codes) for texts, codes in encoded]

    @cached_property
    def _titled(self) -> _SeriesTitles:
        return _SeriesTitles(self.table["series_ids"], self._series_titles)

    @cached_property
    def _tissue_words(self) -> list[tuple[pa.Array, np.ndarray]]:
        """Words of each distinct tissue and of each distinct source name, with the number of every row's value."""
        encoded = (_encoded(self.table[name]) for name in ("tissue", "source_name"))
        return [(_words(fold(values)), codes) for values, codes in encoded]


def fold(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return texts as they are compared: NFKC, lower case, null as empty, and no NUL (Postgres cannot hold one)."""
    plain = pc.replace_substring(pc.fill_null(texts.cast(pa.string()), ""), "\0", "\ufffd")
    return pc.utf8_lower(pc.utf8_normalize(plain, "NFKC"))


def fold_one(text: str) -> str:
    """Return one text as it is compared."""
    return str(fold(pa.array([_storable(text)], pa.string()))[0].as_py())


def tissue_text(table: pa.Table) -> pa.Array:
    """Return the words of tissue and source name of each sample, each word between blanks, a bar between the fields."""
    fields = [_distinct_words(table[name]) for name in ("tissue", "source_name")]
    return pc.binary_join_element_wise(*fields, "|")


def searched_text(table: pa.Table, *, series_titles: Mapping[str, str]) -> pa.Array | pa.ChunkedArray:
    """Return all text of each sample that ``exclude`` looks into, folded, one field a line."""
    columns = [fold(table[name]) for name in SEARCHED_FIELDS if name in table.column_names]
    titles = fold(joined_titles(table["series_ids"], series_titles))
    return pc.binary_join_element_wise(*columns, titles, "\n")


def joined_titles(series_ids: pa.Array | pa.ChunkedArray, series_titles: Mapping[str, str]) -> pa.Array:
    """Return the titles of each sample's series, one a line; a series without one adds nothing."""
    known = pa.array(list(series_titles), pa.string())
    titles = pa.array(list(series_titles.values()), pa.string())
    whole = series_ids.combine_chunks() if isinstance(series_ids, pa.ChunkedArray) else series_ids
    whole = pc.fill_null(whole, [])
    each = pc.fill_null(titles.take(pc.index_in(whole.flatten(), value_set=known)), "")
    lengths = pc.list_value_length(whole).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), each), "\n")


def _distinct_words(column: pa.ChunkedArray) -> pa.Array:
    """Return the words of each value, working on each distinct value once: few tissues, many samples."""
    values, codes = _encoded(column)
    return _words(fold(values)).take(pa.array(codes))


def _words(folded: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    padded = pc.binary_join_element_wise("", folded, "", " ")
    return pc.replace_substring_regex(padded, _NO_WORD, " ")


def _storable(text: str) -> str:
    """Return text that UTF-8 and Postgres can hold: half a surrogate pair or a NUL matches nothing real anyway."""
    return valid_utf8(text).replace("\0", "\ufffd")


def _is_one_of(texts: pa.Array, wanted: pa.Array) -> pa.Array:
    """Return which texts, as the loader writes them (no NUL), are among those wanted."""
    return pc.is_in(pc.replace_substring(texts, "\0", "\ufffd"), wanted)


def _encoded(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Return the distinct values of a column, null as empty, and the number of each row's value."""
    encoded = pc.fill_null(column, "").combine_chunks().dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy()


class _SeriesTitles:
    """The titles of the series of each row."""

    def __init__(self, series_ids: pa.ChunkedArray, titles: Mapping[str, str]) -> None:
        self._titles = TextIndex(fold(pa.array(list(titles.values()), pa.string())))
        codes = pc.index_in(pc.list_flatten(series_ids), value_set=pa.array(list(titles), pa.string()))
        known = pc.fill_null(codes, -1).to_numpy()
        self._rows = pc.list_parent_indices(series_ids).to_numpy()[known >= 0]
        self._codes = known[known >= 0]
        self._n = len(series_ids)

    def contains(self, folded: str) -> np.ndarray:
        """Return whether any title of a row's series contains a folded text, (n,) bool."""
        flags = np.zeros(self._n, dtype=bool)
        flags[self._rows[self._titles.contains(folded)[self._codes]]] = True
        return flags


def _in_lists(lists: pa.ChunkedArray, wanted: pa.Array) -> np.ndarray:
    """Return which rows' lists hold one of the wanted values."""
    hits = _to_numpy(pc.is_in(pc.list_flatten(lists), value_set=wanted))
    member = np.zeros(len(lists), dtype=bool)
    member[pc.list_parent_indices(lists).to_numpy()[hits]] = True
    return member


def _to_numpy(flags: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(flags.to_numpy(zero_copy_only=False) if isinstance(flags, pa.Array) else flags.to_numpy(), bool)
