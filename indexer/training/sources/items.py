"""What all sources share: names, blocks by links, weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from atlas.errors import InputError
from indexer.training.blocking import link_blocks
from indexer.training.sources.source import Rows


class Items:
    """Base of the sources: a name, one id an item, weights of mean 1.

    Parameters
    ----------
    name
        Name in reports.
    item_ids
        One an item.

    Raises
    ------
    InputError
        If there is no item.
    """

    def __init__(self, name: str, item_ids: Sequence[str]) -> None:
        if not item_ids:
            raise InputError(f"The source {name} has no item left to learn from. Give other files, or exclude less.")
        self.name = name
        self.item_ids = item_ids
        self._weights = np.ones(len(item_ids), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.item_ids)

    def links(self) -> Iterator[tuple[int, str]]:
        """Yield ``(row, name)``; see ``PairSource``."""
        raise NotImplementedError

    @cached_property
    def blocks(self) -> npt.NDArray[np.str_]:
        """(n_items,) block of each item by the links of this source."""
        return link_blocks(len(self), self.links())

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """(n_items,) weights, mean 1."""
        return self._weights

    def weigh(self, weights: npt.ArrayLike) -> None:
        """Replace the weights, which are divided by their mean.

        Raises
        ------
        InputError
            If they are not one finite number of 0 or more an item, or all are 0.
        """
        given = np.asarray(weights, dtype=np.float64)
        if given.shape != (len(self),) or not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
            raise InputError(
                f"The weights of {self.name} have shape {given.shape}; expected {len(self)} finite numbers "
                "of 0 or more, not all 0."
            )
        self._weights = (given / given.mean()).astype(np.float32)

    def _checked(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return rows as an array.

        Raises
        ------
        InputError
            If one is outside the source.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if wanted.ndim != 1 or (wanted.size and (wanted.min() < 0 or wanted.max() >= len(self))):
            raise InputError(f"Rows of {self.name} must lie between 0 and {len(self) - 1}.")
        return wanted
