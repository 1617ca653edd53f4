"""An open atlas, and the questions that can be asked of it. Each is a few lines that call the other rooms.

Semantic search, neighbours, clusters, lists and the map are answered from the read-only release folder; lexical and hybrid
search also need the database. An open ``Atlas`` never changes but for the names of its clusters, so threads may share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from atlas.accessions import record_url
from atlas.answers import (
    ClusterDetail,
    ClusterSummary,
    FacetCounts,
    FacetValue,
    Hit,
    HitExplanation,
    Keyword,
    LabelEdit,
    NeighborsResult,
    QueryPart,
    SampleRecord,
    SearchMode,
    SearchResult,
    SeriesRecord,
)
from atlas.catalog.filters import SampleFilter
from atlas.errors import AtlasError, InputError
from atlas.opened.categories import most_frequent, shares
from atlas.opened.clusters import N_SHARES
from atlas.opened.parts import Opened
from atlas.release import Home, Release
from atlas.search.diversity import Spread
from atlas.search.facets import count_facets
from atlas.search.hits import make_hits
from atlas.search.maps import MapQuestions
from atlas.search.nearest import search_expression, similar_samples
from atlas.search.phrases import Ask, read_query, read_sides, search_parts, search_text, vector_of
from atlas.search.queries import check_k, read_phrase
from atlas.settings import Settings

if TYPE_CHECKING:
    from atlas.catalog.database import Database
    from atlas.expression.genes import GeneMap
    from atlas.expression.matrix import ExpressionMatrix
    from atlas.scans.shelf import ScanShelf


class Atlas(MapQuestions):
    """One open release.

    Use ``Atlas.open``. Every question checks that no file of the release was found changed since it was opened.

    Attributes
    ----------
    opened
        The parts of the release: samples, vectors, index, model.
    """

    def __init__(self, settings: Settings, release: Release, database: Database | None = None) -> None:
        self.settings = settings
        self.release = release
        self.opened = Opened(settings, release, database)

    @classmethod
    def open(cls, settings: Settings, *, release: str | None = None, database: Database | None = None) -> Atlas:
        """Open a release by name, or the current one.

        Parameters
        ----------
        settings
            Says where the home is and which bounds hold.
        release
            Name of the release; the current one if not given.
        database
            Open catalog; needed for lexical and hybrid search only.

        Raises
        ------
        NotFoundError
            If the home holds no such release.
        ArtifactError
            If the release is incomplete, changed, or of another schema.
        """
        return cls(settings, Release.open(Home(settings.home_path), release), database)

    def search_text(
        self,
        phrase: str,
        *,
        k: int = 20,
        mode: SearchMode = "semantic",
        filters: SampleFilter | None = None,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        per_series: int | None = None,
        diversity: float = 0.0,
    ) -> SearchResult:
        """Return the samples whose transcriptomes match a phrase best.

        Parameters
        ----------
        phrase
            Free text. An accession of the atlas is looked up instead: the sample (or series) first, then what is near it.
        k
            Number of hits, 1 to ``max_k``; fewer are returned only if fewer samples pass the filters or ``per_series``.
        mode
            ``semantic`` ranks by cosine; ``lexical`` puts the samples whose text contains the words first; ``hybrid``
            fuses both rankings by reciprocal rank.
        filters
            Which samples may be hits.
        plus, minus
            What the samples should also resemble, and what they should not: phrases or accessions, each with a weight
            after ``^`` if it is not to count 1 (``"ischemic^0.5"``). See :meth:`search_parts`.
        per_series
            Most hits of one series.
        diversity
            0 ranks by relevance alone; towards 1 hits that are like the hits above them fall back.

        Raises
        ------
        InputError
            If the phrase is empty or too long, a number is out of bounds, or all parts cancel out.
        NotFoundError
            If the phrase has the form of an accession that the atlas lacks.
        """
        self.release.raise_if_corrupt()
        ask = Ask(k, mode, filters or SampleFilter(), Spread(per_series, diversity))
        return search_text(self.opened, phrase, ask=ask, plus=plus, minus=minus)

    def search_parts(
        self,
        parts: Sequence[QueryPart],
        *,
        k: int = 20,
        mode: SearchMode = "semantic",
        filters: SampleFilter | None = None,
        per_series: int | None = None,
        diversity: float = 0.0,
    ) -> SearchResult:
        """Return the samples that match a weighted combination of phrases and samples best.

        Phrases and samples lie in different cones of the space, so the cosines of each part are standardised over the atlas
        before they are added: samples rank by the sum over parts of weight * (cosine - its mean) / its deviation. A phrase
        alone ranks as :meth:`search_text` ranks it. Samples that are parts of the question are left out of its hits; an
        accession of a series stands for the mean of its samples. Words of phrases with negative weight must not occur
        where the mode looks at words.

        Parameters
        ----------
        parts
            1 to 16 phrases and samples, weights from -10 to 10 other than 0.
        k, mode, filters, per_series, diversity
            As in :meth:`search_text`.

        Raises
        ------
        InputError
            If a part or a number is out of bounds, or the parts cancel out.
        NotFoundError
            With near matches, if the atlas lacks an accession.
        """
        self.release.raise_if_corrupt()
        ask = Ask(k, mode, filters or SampleFilter(), Spread(per_series, diversity))
        return search_parts(self.opened, parts, ask=ask)

    def read_parts(
        self, phrase: str | None, *, plus: Sequence[str] = (), minus: Sequence[str] = ()
    ) -> tuple[QueryPart, ...]:
        """Return a phrase, if there is one, and its ``plus`` and ``minus`` as the parts :meth:`search_text` reads them as."""
        return tuple(read_sides(self.opened, phrase, plus=plus, minus=minus))

    def similar_samples(
        self, accession: str, *, k: int = 20, exclude_same_series: bool = False, filters: SampleFilter | None = None
    ) -> NeighborsResult:
        """Return the samples nearest to a sample of the atlas, itself left out.

        Raises
        ------
        NotFoundError
            With near matches, if the atlas lacks the accession.
        """
        self.release.raise_if_corrupt()
        return similar_samples(self.opened, accession, k=k, exclude_same_series=exclude_same_series, filters=filters)

    def search_expression(
        self,
        matrix: ExpressionMatrix,
        *,
        k: int = 20,
        exclude_series: Sequence[str] = (),
        filters: SampleFilter | None = None,
        organism: str = "human",
    ) -> tuple[NeighborsResult, ...]:
        """Return the nearest samples of each transcriptome of a user's table; nothing of it is kept.

        Raises
        ------
        InputError
            If the table has no sample, or none of its genes is known.
        """
        self.release.raise_if_corrupt()
        return search_expression(
            self.opened, matrix, k=k, exclude_series=exclude_series, filters=filters, organism=organism
        )

    def explain(self, accession: str, parts: Sequence[QueryPart], *, top: int = 20) -> HitExplanation:
        """Return the genes that carry the similarity between a sample and a question.

        Raises
        ------
        NotFoundError
            If the atlas lacks the sample, or one that is part of the question.
        ArtifactError
            ``missing`` if the release keeps no gene weights.
        """
        from atlas.search.explain import explain_hit

        self.release.raise_if_corrupt()
        row = self.opened.samples.row(accession)
        query = read_query(self.opened, parts)
        found = explain_hit(self.release, self.opened.model, row=row, query=query.vector, top=top)
        return HitExplanation(
            release=self.release.name,
            accession=self.opened.samples.record(row).accession,
            parts=tuple(one.part for one in query.parts),
            score=found.score,
            genes=found.genes,
            against=found.against,
            n_genes=found.n_genes,
            kept_weight=found.kept_weight,
        )

    def sample(self, accession: str) -> SampleRecord:
        """Return one sample, or raise ``NotFoundError`` with near matches."""
        return self.opened.samples.record(self.opened.samples.row(accession))

    def samples_page(
        self, *, filters: SampleFilter | None = None, sort: str = "row", offset: int = 0, limit: int = 50
    ) -> tuple[tuple[SampleRecord, ...], int]:
        """Return one page of the samples that pass, and how many pass in all.

        Parameters
        ----------
        sort
            ``row``, ``accession``, ``title``, ``tissue``, ``series``, ``cluster`` or ``n_genes_detected``; ``-`` in front
            for descending. Equal samples come in row order, those without a value last.

        Raises
        ------
        InputError
            If there is no such order, ``offset`` is negative or ``limit`` is not 1 to ``max_k``.
        """
        self.release.raise_if_corrupt()
        check_k(limit, self.settings)
        allowed = self.opened.allowed(filters)
        rows, n_total = self.opened.listing.page(sort, allowed=allowed, offset=offset, limit=limit)
        return self.opened.samples.records(rows), n_total

    def facets(self, filters: SampleFilter | None = None, *, limit: int = 50) -> FacetCounts:
        """Return how often each value of each facet occurs among the samples that pass, most frequent first.

        Of each facet its own filter is left aside.
        """
        self.release.raise_if_corrupt()
        return count_facets(
            self.opened.samples,
            release=self.release.name,
            filters=filters or SampleFilter(),
            allowed=self.opened.allowed,
            limit=limit,
        )

    def series(self, accession: str, *, limit: int = 1_000) -> SeriesRecord:
        """Return one series; case does not matter.

        Parameters
        ----------
        limit
            Most samples listed, in row order; the counts are of all. :meth:`samples_page` gives the rest, filtered by series.

        Raises
        ------
        NotFoundError
            With near matches, if the atlas lacks it.
        InputError
            If ``limit`` is not 1 to ``max_k``.
        """
        self.release.raise_if_corrupt()
        check_k(limit, self.settings)
        samples = self.opened.samples
        name = samples.find_series(accession.strip())
        if name is None:
            raise samples.missing_series(accession.strip())
        rows = samples.rows_of_series(name)
        tissues = samples.categories("tissue")
        stated = [value or "not stated" for value in tissues.values]
        clusters = np.bincount(samples.cluster[rows]) if rows.size else np.zeros(0, dtype=np.int64)
        ordered = sorted(np.flatnonzero(clusters).tolist(), key=lambda one: (-clusters[one], one))
        return SeriesRecord(
            release=self.release.name,
            accession=name,
            title=samples.series_title(name),
            url=record_url(name),
            n_samples=int(rows.size),
            samples=samples.records(rows[:limit]),
            by_tissue=shares(most_frequent(stated, tissues.counts(rows), limit=N_SHARES), int(rows.size)),
            by_cluster=tuple(FacetValue(str(one), int(clusters[one]), samples.names.label(one)) for one in ordered),
        )

    def keywords(
        self, accessions: Sequence[str] | None = None, *, vector: np.ndarray | None = None, top: int = 5
    ) -> tuple[Keyword, ...]:
        """Return the vocabulary terms that fit a selection of samples, or a vector, best: up to ``top`` of each library.

        Parameters
        ----------
        accessions
            Samples, or series for all their samples; their mean is matched.
        vector
            (dim,) unit vector, instead.

        Raises
        ------
        InputError
            If neither or both are given, the selection is empty, or ``top`` is not 1 to 1,000.
        NotFoundError
            With near matches, if the atlas lacks an accession.
        """
        self.release.raise_if_corrupt()
        if (accessions is None) == (vector is None):
            raise InputError("Keywords are of a selection of samples or of a vector: give one of the two.")
        if not 1 <= top <= 1_000:
            raise InputError(f"top is {top}; expected 1 to 1000.", details={"seen": top})
        if vector is None:
            vector = vector_of(self.opened, self._selection(accessions or ()))
        return self.opened.terms.keywords(vector, top=top)

    def clusters(self) -> tuple[ClusterSummary, ...]:
        """Return all clusters, largest first."""
        return self.opened.clusters.summaries

    def cluster(self, cluster: int, *, n_samples: int = 20) -> ClusterDetail:
        """Return one cluster: label, evidence, its ``n_samples`` most central samples, composition.

        Raises
        ------
        NotFoundError
            If there is no such cluster.
        """
        top, _ = self.cluster_samples(cluster, limit=n_samples)
        return self.opened.clusters.detail(cluster, top_samples=top)

    def cluster_samples(self, cluster: int, *, offset: int = 0, limit: int = 50) -> tuple[tuple[Hit, ...], int]:
        """Return one page of a cluster's samples, most central first, and how many it has.

        ``score`` is the cosine with the cluster's mean; ranks go on from page to page.

        Raises
        ------
        NotFoundError
            If there is no such cluster.
        InputError
            If ``offset`` is negative or ``limit`` is not 1 to ``max_k``.
        """
        self.release.raise_if_corrupt()
        check_k(limit, self.settings)
        if offset < 0:
            raise InputError(f"offset is {offset}; expected 0 or more.", details={"seen": offset})
        rows, scores = self.opened.clusters.by_centrality(cluster)
        shown, of_shown = rows[offset : offset + limit], scores[offset : offset + limit]
        percentiles = self.opened.calibration.percentile(of_shown, kind="sample")
        hits = make_hits(self.opened.samples, shown, scores=of_shown, percentiles=percentiles, first_rank=offset + 1)
        return hits, int(rows.size)

    def relabel(self, edits: Mapping[int, LabelEdit]) -> None:
        """Show clusters under the labels people gave them, until the next call; the machine's labels are kept beside.

        All edits are replaced at once: an answer sees the old ones or the new ones.
        """
        self.opened.samples.names.relabel(edits)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of phrases in the space of the samples, (n_texts, dim) float32, unit length.

        Raises
        ------
        InputError
            If a phrase is empty or too long.
        """
        self.release.raise_if_corrupt()
        return self.opened.model.embed_texts([read_phrase(text, self.settings).text for text in texts])

    @cached_property
    def scans(self) -> ScanShelf:
        """The disease scans of this release and those made of it later."""
        from atlas.scans.shelf import ScanShelf

        names = self.opened.samples.names
        score = self.opened.colour_scores
        return ScanShelf(self.release, self.settings.home_path, labels=lambda: names.labels, score=score)

    @property
    def genes(self) -> GeneMap:
        """The genes the release's model knows."""
        return self.opened.model.genes

    def warm(self) -> None:
        """Load model, index, tables and text tower now, so that the first question is as quick as the next."""
        opened = self.opened
        _ = opened.model
        with ThreadPoolExecutor(1, thread_name_prefix="text-tower") as pool:
            tower = pool.submit(opened.vector, "warm")  # its libraries take as long as everything else together
            _ = opened.index, opened.calibration, opened.clusters, opened.terms, opened.symbols
            self.facets(limit=1)
            opened.samples.named("warm")
            tower.result()

    def finish(self) -> None:
        """Make ready what only some questions need, then check what is left of the release's files; for a thread of its own.

        What it finds wrong is told by the next question.
        """
        with suppress(AtlasError):
            _ = self.opened.moments
            self.opened.warm_filters()
            self.release.check_all()

    def close(self) -> None:
        """Let go of what was loaded; the database belongs to the caller and stays open."""
        self.__dict__.pop("_map_lists", None)
        self.opened.close()

    def _selection(self, accessions: Sequence[str]) -> np.ndarray:
        """Return the rows of some samples and series, ascending, each once."""
        if not accessions:
            raise InputError("The selection is empty. Give at least one accession.")
        rows = []
        for accession in accessions:
            named = self.opened.samples.named(accession.strip())
            if named is None:
                raise self.opened.samples.missing(accession.strip())
            rows.append(named)
        return np.unique(np.concatenate(rows))
