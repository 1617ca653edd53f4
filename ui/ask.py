"""The question: phrase, ingredients, filters with counts, options, examples from what the atlas holds.

The widgets are the state while the page is open. ``restore`` puts a question into them, ``draw`` returns the one they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import streamlit as st

from ui.question import FACETS, HIGHEST_WEIGHT, LOWEST_WEIGHT, MODES, MOST_HITS, MOST_PARTS, Ingredient, Question, Sign
from ui.text import as_markdown, shorten

LONGEST_PHRASE = 2_000
N_EXAMPLES = 8

_NAMES = {
    "tissue": "Tissue or source", "organism": "Organism", "cluster": "Cluster", "series": "Series", "unit": "Unit",
    "molecule": "Molecule", "id_kind": "Kind of accession",
}  # fmt: skip
_OPEN = frozenset({"tissue", "series"})
"""Filters that take values beyond those listed, as only the most frequent are."""

_SIGNS: dict[Sign, str] = {"more": "more of", "less": "less of"}


def restore(question: Question) -> None:
    """Put a question into the widgets."""
    state = st.session_state
    state["q"], state["versus"], state["compare"] = question.phrase, question.versus, bool(question.versus)
    state["mode"], state["k"], state["per_series"] = question.mode, question.k, question.per_series
    state["diversity"], state["exclude"] = question.diversity, question.exclude
    for name in FACETS:
        state[f"filter-{name}"] = list(question.filters.get(name, ()))
    for part in state.get("parts", []):
        _forget(part)
    state["parts"] = []
    for ingredient in question.parts:
        add_part(ingredient.sign, ingredient.text, weight=ingredient.weight)


def add_part(sign: str, text: str = "", *, weight: float = 1.0) -> None:
    """Add a row of ingredients; a callback too."""
    parts: list[int] = st.session_state.setdefault("parts", [])
    if len(parts) >= MOST_PARTS:
        return
    part = max(parts, default=-1) + 1
    st.session_state["parts"] = [*parts, part]
    st.session_state[f"part-sign-{part}"] = sign
    st.session_state[f"part-text-{part}"] = text
    st.session_state[f"part-weight-{part}"] = min(max(weight, LOWEST_WEIGHT), HIGHEST_WEIGHT)


def held() -> Question:
    """Return the question that the widgets hold."""
    state = st.session_state
    filters = {name: tuple(map(str, state.get(f"filter-{name}") or ())) for name in FACETS}
    rows = [(state.get(f"part-sign-{p}"), str(state.get(f"part-text-{p}") or "").strip(), state.get(f"part-weight-{p}"))
            for p in state.get("parts", [])]  # fmt: skip
    parts = tuple(
        Ingredient(cast("Sign", sign), text, float(weight or 1)) for sign, text, weight in rows if sign and text
    )
    return Question(
        phrase=str(state.get("q") or "").strip(), parts=parts, mode=state.get("mode") or "semantic",
        k=int(state.get("k") or 20), per_series=int(state.get("per_series") or 0),
        diversity=round(float(state.get("diversity") or 0), 2),
        filters={name: values for name, values in filters.items() if values},
        exclude=str(state.get("exclude") or "").strip(),
        versus=str(state.get("versus") or "").strip() if state.get("compare") else "",
    )  # fmt: skip


def draw(question: Question, *, facets: Mapping[str, Any] | None) -> None:
    """Draw the widgets.

    Parameters
    ----------
    question
        What they hold now.
    facets
        ``GET /v1/facets`` under this question's filters; ``None`` if they are not known.
    """
    box, button = st.columns([7, 1], vertical_alignment="bottom")
    box.text_input(
        "Phrase", key="q", max_chars=LONGEST_PHRASE, label_visibility="collapsed", icon=":material/search:",
        placeholder="A disease, tissue, cell type, treatment or an accession, e.g. dilated cardiomyopathy",
    )  # fmt: skip
    button.button("Search", type="primary", width="stretch", key="go")
    if st.session_state.get("compare"):
        st.text_input(
            "Compare with", key="versus", max_chars=LONGEST_PHRASE, label_visibility="collapsed",
            placeholder="The phrase to compare with", icon=":material/compare_arrows:",
        )  # fmt: skip
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="ask-more"):
        n = len(question.parts)
        with st.popover("Combine" + (f" ({n})" if n else ""), icon=":material/add_circle:"):
            _parts()
        n = question.n_filters
        with st.popover("Filters" + (f" ({n})" if n else ""), icon=":material/filter_alt:"):
            _filters(question, facets)
        with st.popover("Options", icon=":material/tune:"):
            _options(question)
        st.toggle("Compare two phrases", key="compare")


def examples(phrases: Sequence[tuple[str, int]]) -> None:
    """Draw phrases to begin with, each with how many samples carry that name."""
    if not phrases:
        return
    with st.container(horizontal=True, gap="small", key="examples", vertical_alignment="center"):
        st.caption("In this atlas:", width="content")
        for phrase, n in phrases:
            st.button(
                as_markdown(shorten(phrase, limit=40)), key=f"example-{phrase}", type="tertiary", on_click=_ask, args=(phrase,),
                help=f"{n:,} samples carry this name",
            )  # fmt: skip


def example_phrases(
    clusters: Sequence[Mapping[str, Any]], facets: Mapping[str, Any] | None, *, answered: Callable[[str], bool]
) -> list[tuple[str, int]]:
    """Return phrases this atlas can answer: names of clusters that several studies share, and its frequent tissues, in turn.

    Parameters
    ----------
    answered
        Whether a phrase finds anything: depositors name tissues by codes of their own, too.
    """
    named = [
        (str(c["label"]).split(" / ")[0], int(c["n_samples"]))
        for c in clusters
        if c["n_series"] > 1 and not c["single_study"]
    ]
    tissues = [(str(value["value"]), int(value["n"])) for value in (facets or {}).get("tissue", [])]
    found: dict[str, tuple[str, int]] = {}
    for i in range(max(len(named), len(tissues))):
        for phrases in (tissues, named):
            name = phrases[i][0].strip() if i < len(phrases) else ""
            if 2 < len(name) <= 40 and name.casefold() not in found and (phrases is named or answered(name)):
                found[name.casefold()] = (name, phrases[i][1])
            if len(found) == N_EXAMPLES:
                return list(found.values())
    return list(found.values())


def _ask(phrase: str) -> None:
    st.session_state["q"] = phrase
    st.session_state["opened"] = ""


def _parts() -> None:
    st.caption("More or less of a phrase or of a sample. The weight says how much it counts beside the phrase (1).")
    for part in st.session_state.get("parts", []):
        sign, text, weight, remove = st.columns([3, 6, 3, 1], vertical_alignment="bottom", gap="small")
        sign.selectbox(
            "Want",
            list(_SIGNS),
            format_func=_SIGNS.__getitem__,
            key=f"part-sign-{part}",
            label_visibility="collapsed",
        )
        text.text_input("Phrase or accession", key=f"part-text-{part}", max_chars=LONGEST_PHRASE, placeholder="words, accession",
                        label_visibility="collapsed")  # fmt: skip
        weight.number_input("Weight", LOWEST_WEIGHT, HIGHEST_WEIGHT, step=0.1, format="%.1f", key=f"part-weight-{part}",
                            label_visibility="collapsed")  # fmt: skip
        remove.button("✕", key=f"part-drop-{part}", type="tertiary", on_click=_drop, args=(part,), help="Take this out")
    with st.container(horizontal=True, gap="small"):
        for sign_, label in (("more", "More of …"), ("less", "Less of …")):
            st.button(label, key=f"part-add-{sign_}", on_click=add_part, args=(sign_,))


def _filters(question: Question, facets: Mapping[str, Any] | None) -> None:
    if facets is None:
        st.caption("The counts cannot be read right now; filters work all the same.")
    else:
        st.caption(f"{facets['n_samples']:,} samples pass. Values of one filter are alternatives.")
    left, right = st.columns(2, gap="medium")
    for i, name in enumerate(FACETS):
        counted = {str(value["value"]): value for value in (facets or {}).get(name, [])}
        if name in ("unit", "molecule", "id_kind", "organism") and len(counted) < 2 and not question.filters.get(name):
            continue  # a filter of one value filters nothing
        options = list(dict.fromkeys([*counted, *question.filters.get(name, ())]))
        (left, right)[i % 2].multiselect(
            _NAMES[name], options, key=f"filter-{name}", accept_new_options=name in _OPEN, placeholder="any",
            format_func=partial(_counted, counted=counted),
        )  # fmt: skip
    right.text_input("Leave out samples that mention", key="exclude", placeholder="cell line", max_chars=200)
    if question.n_filters:
        st.button("Clear all filters", key="clear-filters", icon=":material/filter_alt_off:", on_click=_clear_filters)


def _options(question: Question) -> None:
    st.segmented_control(
        "Search by", list(MODES), format_func=lambda mode: MODES[mode], key="mode", required=True,
        disabled=bool(question.parts), help="Combinations are searched by meaning",
    )  # fmt: skip
    st.number_input("Number of samples", 1, MOST_HITS, key="k")
    st.number_input("At most so many of one series", 0, MOST_HITS, key="per_series", help="0: no limit")
    st.slider("Variety", 0.0, 1.0, step=0.1, key="diversity",
              help="0: the best hits. Towards 1: hits that also differ from each other")  # fmt: skip


def _counted(value: str, *, counted: Mapping[str, Mapping[str, Any]]) -> str:
    if (found := counted.get(value)) is None:
        return value
    return f"{shorten(str(found['label'] or value), limit=60)} ({found['n']:,})"


def _drop(part: int) -> None:
    st.session_state["parts"] = [one for one in st.session_state.get("parts", []) if one != part]
    _forget(part)


def _forget(part: int) -> None:
    for field in ("sign", "text", "weight"):
        st.session_state.pop(f"part-{field}-{part}", None)


def _clear_filters() -> None:
    for name in FACETS:
        st.session_state[f"filter-{name}"] = []
    st.session_state["exclude"] = ""
