"""Labels as texts of a model: cleaned where asked, filled into templates, one unit vector a label.

Source: the named templates are those of CellWhisperer's figures (Schaefer et al. 2025), by kind of label; averaging several is
CLIP's (Radford et al. 2021). Ours: the default says of no sample that it is healthy, and the marker genes that a label names are
added from the gene table (:mod:`atlas.cells.marker_genes`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from atlas.cells.label_text import CleanLabel, clean_labels
from atlas.cells.marker_genes import marker_directions, unit
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
PLAIN = ("{x}",)  # of labels taken as written
ENSEMBLE = ("{x}", "A sample of {x}", "A {x} sample")
MARKER_SHARE = 0.3  # length of a marker gene beside the text's; .2 to .8 do alike


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
    as_written
        Whether the labels are taken as they are; then no marker gene is added.
    """

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    rules: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]
    tissue: str | None
    as_written: bool = False

    def embed(self, model: JointModel) -> np.ndarray:
        """Return ``(n_labels, dim)`` float32, L2-normalised: the mean over the templates, and the markers that a text names."""
        vectors = np.zeros((len(self.texts), model.dim), dtype=np.float64)
        for template in self.templates:
            vectors += model.embed_texts([template.replace("{x}", text) for text in self.texts])
        vectors = unit(vectors)
        if not self.as_written:
            vectors = unit(vectors + MARKER_SHARE * marker_directions(self.texts, model))
        return vectors.astype(np.float32)


def label_texts(
    labels: Sequence[str], *, templates: Sequence[str] = (), tissue: str | None = None, as_written: bool = False
) -> LabelTexts:
    """Return the texts of ``labels``.

    Parameters
    ----------
    labels
        Distinct labels.
    templates
        Sentences with one ``{x}``, or names of :data:`TEMPLATES`; none: :data:`ENSEMBLE`, or the bare label as written.
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
    filled = tuple(_template(template) for template in templates) or (PLAIN if as_written else ENSEMBLE)
    rows = (
        tuple(CleanLabel(name, name, (), None) for name in names) if as_written else clean_labels(names, tissue=tissue)
    )
    return LabelTexts(
        labels=names,
        texts=tuple(row.cleaned for row in rows),
        rules=tuple(row.rules for row in rows),
        templates=filled,
        tissue=None if as_written else tissue,
        as_written=as_written,
    )


def _template(text: str) -> str:
    sentence = TEMPLATES.get(text, text)
    if sentence.count("{x}") != 1:
        raise InputError(
            f"The template {text!r} must hold the blank {{x}} exactly once, or be one of {', '.join(sorted(TEMPLATES))}."
        )
    return sentence
