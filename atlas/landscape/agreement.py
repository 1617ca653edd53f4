"""How well a label agrees with what the members' depositors wrote.

In: the material each member of a cluster is said to be (tissue, source, cell type or line), term vectors. Out: a number in
[0, 1] for any term. It is the share of the reference terms that are less similar to a member's annotation than the term is, in
the text tower, averaged over the annotated members: 1 says that no reference term fits the annotations better, 0.5 is what
a random one gets. Expression plays no part in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.captions import stated_material

MAX_DISTINCT = 200
"""Distinct annotations of a cluster that are compared, the most frequent first: bounds the work for a mixed cluster."""
MAX_CHARS = 200
"""A longer statement is cut: it is a description, and its beginning tells what it is of."""
_EQUAL = 1e-3  # cosines that differ by less count as equal: float16 rows of one text do


@dataclass(frozen=True)
class Annotations:
    """What the members of one cluster are said to be.

    Attributes
    ----------
    n_annotated
        Members that state anything.
    texts, counts
        At most ``MAX_DISTINCT`` distinct annotations, most frequent first, and how many members carry each.
    top, top_share
        The part of an annotation (a tissue, a source, a cell type) that most members state, and their share of the annotated.
    """

    n_annotated: int
    texts: tuple[str, ...]
    counts: tuple[int, ...]
    top: str | None
    top_share: float | None

    @classmethod
    def of(cls, counted: Counter[tuple[str, ...]]) -> Annotations:
        """Sum up how often each annotation, a tuple of parts, occurs; the empty one states nothing."""
        stated = {parts: n for parts, n in counted.items() if parts}
        total = sum(stated.values())
        common = sorted(stated.items(), key=lambda item: (-item[1], item[0]))[:MAX_DISTINCT]
        by_part: Counter[str] = Counter()
        for parts, n in stated.items():
            by_part.update(dict.fromkeys(parts, n))
        # of parts that equally many state, the longer says more
        top, n_top = min(by_part.items(), key=lambda item: (-item[1], -len(item[0]), item[0]), default=(None, 0))
        texts, counts = tuple(", ".join(parts) for parts, _ in common), tuple(n for _, n in common)
        return cls(total, texts, counts, top, n_top / total if total else None)


class Depositors:
    """The annotations of every cluster, ready to be compared with texts.

    Parameters
    ----------
    annotations
        One a cluster.
    embed
        Returns (n, dim) unit rows of texts.
    reference
        (n_reference, dim) unit rows of the terms a text is compared with; without any, nothing can be judged.
    """

    def __init__(
        self,
        annotations: Sequence[Annotations],
        *,
        embed: Callable[[Sequence[str]], np.ndarray],
        reference: np.ndarray,
    ) -> None:
        self.annotations = tuple(annotations)
        self._embed = embed
        self._reference = reference.astype(np.float32)
        self._vectors: dict[str, np.ndarray] = {}
        self.learn([text for one in annotations for text in one.texts])

    def learn(self, texts: Iterable[str]) -> None:
        """Embed texts together that ``agreement`` will be asked about, which saves embedding them one cluster at a time."""
        unknown = sorted(set(texts) - self._vectors.keys())
        if unknown:
            self._vectors.update(zip(unknown, self._embed(unknown), strict=True))

    def agreement(self, cluster: int, texts: Sequence[str]) -> list[float] | None:
        """Return how well each text agrees with a cluster's annotations, in [0, 1]; ``None`` if no member is annotated."""
        said = self.annotations[cluster]
        if not texts or not said.texts or not len(self._reference):
            return None
        self.learn(texts)
        given, stated = (
            np.stack([self._vectors[text] for text in some]).astype(np.float32) for some in (texts, said.texts)
        )
        return [float(one) for one in agreement(given, stated, counts=said.counts, reference=self._reference)]


def annotation(tissue: str, source_name: str, *, characteristics: str) -> tuple[str, ...]:
    """Return what a sample is said to be made of, in its depositor's words, lower case; empty if nothing is stated."""
    parts = (tissue, *stated_material(source_name, characteristics))
    return tuple(dict.fromkeys(part[:MAX_CHARS].strip() for part in parts if part))


def agreement(
    terms: np.ndarray, annotations: np.ndarray, *, counts: Sequence[int], reference: np.ndarray
) -> np.ndarray:
    """Return the mean share of reference terms below each term, (n_terms,) float64 in [0, 1]; equal ones count half.

    Parameters
    ----------
    terms, reference
        (n_terms, dim) and (n_reference, dim) float32 unit rows.
    annotations, counts
        (n_annotations, dim) float32 unit rows, and the members that carry each.
    """
    total = np.zeros(terms.shape[0])
    for vector, count in zip(annotations, counts, strict=True):
        others = np.sort(reference @ vector)
        scores = terms @ vector
        below = np.searchsorted(others, scores - _EQUAL, side="left")
        not_above = np.searchsorted(others, scores + _EQUAL, side="right")
        total += count * (below + not_above) / (2 * others.size)
    share: np.ndarray = total / sum(counts)
    return share
