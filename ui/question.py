"""A question as the search page holds it: phrase, ingredients, filters, options; to the address and back.

Pure: nothing here draws or asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

FACETS = ("tissue", "organism", "cluster", "series", "unit", "molecule", "id_kind")
"""Filters that are chosen from counted values, in the order the page shows them."""

MODES: dict[str, str] = {"semantic": "Meaning", "lexical": "Words", "hybrid": "Both"}
VIEWS = ("samples", "series", "clusters")
MOST_HITS = 500
MOST_PARTS = 16
LOWEST_WEIGHT, HIGHEST_WEIGHT = 0.1, 10.0

Sign = Literal["more", "less"]


@dataclass(frozen=True)
class Ingredient:
    """A phrase or an accession of which more or less is wanted."""

    sign: Sign
    text: str
    weight: float = 1.0

    def __str__(self) -> str:
        """Return it as the API reads it: ``ischemic^0.5``."""
        return self.text if self.weight == 1 else f"{self.text}^{self.weight:.6g}"

    @classmethod
    def read(cls, raw: str, *, sign: Sign) -> Ingredient:
        """Return the ingredient that ``str`` wrote; a weight that is none belongs to the text."""
        text, mark, tail = raw.rpartition("^")
        try:
            weight = float(tail)
        except ValueError:
            return cls(sign, raw.strip())
        if not (mark and text.strip() and LOWEST_WEIGHT / 100 <= weight <= HIGHEST_WEIGHT):
            return cls(sign, raw.strip())
        return cls(sign, text.strip(), weight)


@dataclass(frozen=True)
class Question:
    """Everything that decides what the search page shows."""

    phrase: str = ""
    parts: tuple[Ingredient, ...] = ()
    mode: str = "semantic"
    k: int = 20
    per_series: int = 0
    diversity: float = 0.0
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclude: str = ""
    versus: str = ""
    opened: str = ""
    view: str = "samples"

    @property
    def is_asked(self) -> bool:
        """Whether there is anything to look for; to want less of something is no question yet."""
        return bool(self.phrase or self.plus)

    @property
    def plus(self) -> tuple[str, ...]:
        """What more is wanted of, as the API reads it."""
        return tuple(str(part) for part in self.parts if part.sign == "more")

    @property
    def minus(self) -> tuple[str, ...]:
        """What less is wanted of."""
        return tuple(str(part) for part in self.parts if part.sign == "less")

    @property
    def n_filters(self) -> int:
        """How many values narrow the answer."""
        return sum(map(len, self.filters.values())) + bool(self.exclude)

    def narrowed(self) -> dict[str, Any]:
        """Return the filters as the client takes them."""
        chosen: dict[str, Any] = {name: values for name, values in self.filters.items() if values}
        if "cluster" in chosen:
            chosen["cluster"] = tuple(int(value) for value in chosen["cluster"] if value.isdigit())
        return chosen | ({"exclude": self.exclude} if self.exclude else {})

    def asked(self) -> tuple[str, dict[str, Any]]:
        """Return the phrase and the keyword arguments of ``Client.search``.

        Where no phrase is given the first ingredient stands in for it and the other weights are given relative to its own.
        """
        if not self.phrase and self.plus:
            return self._led_by(next(part for part in self.parts if part.sign == "more")).asked()
        phrase, plus = self.phrase, self.plus
        options: dict[str, Any] = {"k": self.k, "mode": self.mode if not self.parts else "semantic", **self.narrowed()}
        options |= {"plus": plus} if plus else {}
        options |= {"minus": self.minus} if self.minus else {}
        options |= {"per_series": self.per_series} if self.per_series else {}
        options |= {"diversity": self.diversity} if self.diversity else {}
        return phrase, options

    def _led_by(self, first: Ingredient) -> Question:
        others = tuple(replace(part, weight=part.weight / first.weight) for part in self.parts if part is not first)
        return replace(self, phrase=first.text, parts=others)

    def to_query(self) -> dict[str, str | Sequence[str]]:
        """Return the question as the address bar holds it; what is as always is left out."""
        usual = Question()
        plain = {
            "q": self.phrase, "mode": self.mode, "k": str(self.k), "per_series": str(self.per_series),
            "diversity": f"{self.diversity:g}", "exclude": self.exclude, "vs": self.versus, "sample": self.opened,
            "view": self.view,
        }  # fmt: skip
        left_out = {
            "mode": usual.mode, "k": str(usual.k), "per_series": "0", "diversity": "0", "view": usual.view,
        }  # fmt: skip
        query: dict[str, str | Sequence[str]] = {
            key: value for key, value in plain.items() if value and value != left_out.get(key)
        }
        lists = {"plus": self.plus, "minus": self.minus, **{name: self.filters.get(name, ()) for name in FACETS}}
        return query | {name: values for name, values in lists.items() if values}

    @classmethod
    def from_query(cls, one: Callable[[str], str], every: Callable[[str], Sequence[str]]) -> Question:
        """Return the question an address holds; a value that makes no sense counts as not given.

        Parameters
        ----------
        one, every
            Give the first value and all values of a key.
        """
        parts = [Ingredient.read(raw, sign="more") for raw in every("plus")]
        parts += [Ingredient.read(raw, sign="less") for raw in every("minus")]
        filters = {name: tuple(every(name)) for name in FACETS if every(name)}
        filters["cluster"] = tuple(value for value in filters.get("cluster", ()) if value.isdigit())
        return cls(
            phrase=one("q").strip(), parts=tuple(parts[:MOST_PARTS]),
            mode=one("mode") if one("mode") in MODES else "semantic",
            k=int(_number(one("k"), 20, low=1, high=MOST_HITS)),
            per_series=int(_number(one("per_series"), 0, low=0, high=MOST_HITS)),
            diversity=round(_number(one("diversity"), 0, low=0, high=1), 2),
            filters={name: values for name, values in filters.items() if values}, exclude=one("exclude")[:200].strip(),
            versus=one("vs").strip(), opened=one("sample")[:80].strip(),
            view=one("view") if one("view") in VIEWS else "samples",
        )  # fmt: skip

    def compared(self) -> Question:
        """Return the question on the other side of a comparison: its phrase under the same filters and options."""
        return replace(self, phrase=self.versus, parts=(), versus="")


def _number(text: str, usual: float, *, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return usual
    return min(max(value, low), high) if value == value else usual  # a value that is not itself is no number
