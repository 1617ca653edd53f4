"""Which item is drawn when: several sources mixed by weight, in an order that seed and number of the draw decide alone.

A run is one long pass over as many draws as it takes. Within a source, items come in a fresh random order each time the source
is through, so each is seen as often as any other. A run that goes on after a kill skips the draws it has made.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset, Sampler

from atlas.errors import ConfigError, InputError

_BLOCK = 4096


class Draw(NamedTuple):
    """One item of one source, and how often that source has been gone through before."""

    source: int
    row: int
    passes: int


class MixtureSampler(Sampler[Draw]):
    """Yields draws.

    Parameters
    ----------
    rows
        Of each source, the rows to draw from.
    names
        Names of the sources; the order within a source depends on its name, not on its place.
    weights
        Share of each source in the draws, any positive scale.
    n_draws
        Length of the run.
    seed
        Of the order.

    Raises
    ------
    ConfigError
        If a weight is not positive.
    InputError
        If a source has no row to draw.
    """

    def __init__(
        self, rows: Sequence[np.ndarray], *, names: Sequence[str], weights: Sequence[float], n_draws: int, seed: int
    ) -> None:
        for name, weight, kept in zip(names, weights, rows, strict=True):
            if not (np.isfinite(weight) and weight > 0):
                raise ConfigError(f"The weight of {name} is {weight}; expected a number above 0.")
            if not len(kept):
                raise InputError(
                    f"Nothing of {name} is left to train on: every item was held out or has no text. "
                    "Leave it out, or hold out less."
                )
        self._rows = [np.asarray(kept, dtype=np.int64) for kept in rows]
        self._names = tuple(names)
        self._shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self._n_draws = n_draws
        self._seed = seed

    def __len__(self) -> int:
        return self._n_draws

    def __iter__(self) -> Iterator[Draw]:
        order = [self._order(source, passes=0) for source in range(len(self._rows))]
        used, passes = [0] * len(order), [0] * len(order)
        for start in range(0, self._n_draws, _BLOCK):
            block = np.random.default_rng((self._seed, start))
            for source in block.choice(len(order), size=min(_BLOCK, self._n_draws - start), p=self._shares):
                if used[source] == len(order[source]):
                    used[source], passes[source] = 0, passes[source] + 1
                    order[source] = self._order(source, passes=passes[source])
                yield Draw(int(source), int(order[source][used[source]]), passes[source])
                used[source] += 1

    def _order(self, source: int, *, passes: int) -> np.ndarray:
        seeds = (self._seed, zlib.crc32(self._names[source].encode()), passes)
        return np.random.default_rng(seeds).permutation(self._rows[source])


class Identity(Dataset[Draw]):
    """A data set whose indices are its items: the collator turns a whole batch of draws into tensors at once."""

    def __init__(self, n_draws: int) -> None:
        self._n_draws = n_draws

    def __len__(self) -> int:
        return self._n_draws

    def __getitem__(self, draw: Draw) -> Draw:
        return draw
