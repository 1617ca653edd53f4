"""Labels as texts of a model: cleaned where asked, filled into templates, one unit vector a label.

Source: the templates are those of CellWhisperer's figures (Schaefer et al. 2025), by kind of label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from atlas.cells.label_text import CleanLabel, clean_labels
from atlas.errors import InputError
from atlas.model.joint import JointModel

TEMPLATES = MappingProxyType(
    {
        "celltype": "A sample of {x} from a healthy individual",
        "organ_tissue": "A sample of {x} from a healthy individual",
        "disease": "A sample from an individual with {x}",
        "tissue": "A {x} sample",
    }
)
PLAIN = "{x}"
_SHORTEST = 1e-12


@dataclass(frozen=True)
class LabelTexts:
    """What stands for each label.

    Attributes
    ----------
    labels
        As given, distinct.
    texts
        What they are read as; equal to ``labels`` where they are taken as written.
    rules
        Names of the cleaning rules that changed each label.
    templates
        Each filled with each text; the vectors are averaged.
    tissue
        What the cells are from, if it was used.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    rules: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]
    tissue: str | None

    def embed(self, model: JointModel) -> np.ndarray:
        """Return ``(n_labels, dim)`` float32, L2-normalised: the mean over the templates."""
        vectors = np.zeros((len(self.texts), model.dim), dtype=np.float64)
        for template in self.templates:
            vectors += model.embed_texts([template.replace("{x}", text) for text in self.texts])
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(length, _SHORTEST), dtype=np.float32)


def label_texts(
    labels: Sequence[str], *, templates: Sequence[str] = (), tissue: str | None = None, as_written: bool = False
) -> LabelTexts:
    """Return the texts of ``labels``.

    Parameters
    ----------
    labels
        Distinct labels.
    templates
        Sentences with one ``{x}``, or names of :data:`TEMPLATES`; none: the bare text.
    tissue
        Where the cells are from; helps cleaning alone.
    as_written
        Take the labels as they are.

    Raises
    ------
    InputError
        If there is no label, one is empty or stands there twice, or a template has not one blank.
    """
    names = tuple(label.strip() for label in labels)
    if not names:
        raise InputError("There is no label to score; give at least one.")
    if not all(names):
        raise InputError(f"Label {names.index('') + 1} of {len(names)} is empty.")
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if twice:
        shown = ", ".join(map(repr, twice[:10]))
        raise InputError(
            f"{len(twice)} label(s) are given more than once: {shown}. Give each one once.",
            details={"duplicates": twice[:100]},
        )
    filled = tuple(_template(template) for template in templates) or (PLAIN,)
    rows = (
        tuple(CleanLabel(name, name, (), None) for name in names) if as_written else clean_labels(names, tissue=tissue)
    )
    return LabelTexts(
        labels=names,
        texts=tuple(row.cleaned for row in rows),
        rules=tuple(row.rules for row in rows),
        templates=filled,
        tissue=None if as_written else tissue,
    )


def _template(text: str) -> str:
    sentence = TEMPLATES.get(text, text)
    if sentence.count("{x}") != 1:
        raise InputError(
            f"The template {text!r} must hold the blank {{x}} exactly once, or be one of {', '.join(sorted(TEMPLATES))}."
        )
    return sentence
