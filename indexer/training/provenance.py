"""Which series, atlases and gene-set libraries share their origin with an evaluation set.

The table is data: ``indexer/training/provenance.json``. A figure on an evaluation set is "seen" where the model was trained on
a library or series of the same study or atlas; :func:`seen_by` says which.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

NEVER_TRAINED = frozenset({"GTEx-average-recount2", "MADE:heme-16populations"})
"""Series that are the same rows as evaluation sets: no source offers them and no statistics are taken from them."""

Relation = Literal["same samples", "same study", "same atlas", "same kind of material"]
