"""The exact twin in the memory of a graphics processor: every row is scored, no index is built.

In: a store. The float16 master lies on the device whole, 2 bytes a number; products there are rounded to half precision, so they
only choose candidates: enough that no other row can be among the best. Scores and order come from the master on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.errors import ConfigError, ResourceError
from atlas.vectors.index import Neighbours, StoreEngine, allowed_rows, check_k, check_queries, rank_rows, stack_hits
from atlas.vectors.store import VectorStore

_QUERIES_AT_ONCE = 64
_MORE = 64
# A product of unit vectors in half precision is wrong by at most this: both sides and the result are rounded to 11 bits.
_HALF_ERROR = 1.5e-3


class TorchIndex(StoreEngine):
    """Exact search on a device; answers like ``ExactIndex``.

    Parameters
    ----------
    store
        The vectors.
    device
        A device of torch, such as ``cuda``, ``cuda:1`` or, to try the code, ``cpu``.

    Raises
    ------
    ConfigError
        If this machine has no such device.
    ResourceError
        If its memory is too small.
    """

    def __init__(self, store: VectorStore, *, device: str = "cuda") -> None:
        import torch

        self.store = store
        try:
            self._rows = torch.empty((store.n, store.dim), dtype=torch.float16, device=torch.device(device))
            for start, block in store.blocks():
                self._rows[start : start + len(block)] = torch.from_numpy(block).half().to(self._rows.device)
        except torch.OutOfMemoryError as error:
            need = 2 * store.n * store.dim / 2**30
            raise ResourceError(
                f"{device} has too little free memory for {store.n:,} vectors: {need:.1f} GiB are needed. Use another device, or "
                "search with FAISS (search_engine = faiss)."
            ) from error
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts, with CUDA but no card it raises
            raise ConfigError(
                f"torch cannot use the device {device!r}: {str(error).splitlines()[0]} Set torch_device, or search with FAISS "
                "(search_engine = faiss)."
            ) from error

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Neighbours:
        """Return the nearest rows; see :class:`~atlas.vectors.index.VectorIndex`.

        Raises
        ------
        InputError
            As ``ExactIndex.search``.
        """
        unit = check_queries(queries, self.dim)
        rows = allowed_rows(allowed, self.n)
        n_allowed = self.n if rows is None else rows.size
        n_hits = check_k(k, n_allowed)
        found = []
        for start in range(0, len(unit), _QUERIES_AT_ONCE):
            part = unit[start : start + _QUERIES_AT_ONCE]
            scores = self._scores(part, None if rows is None else allowed)
            for query, mine in zip(part, scores, strict=True):
                found.append(rank_rows(self.store, query, self._near(mine, k=n_hits, n_allowed=n_allowed), k=n_hits))
        return stack_hits(found)

    def _scores(self, unit: np.ndarray, allowed: np.ndarray | None) -> Any:
        """Return (n_queries, n) half-precision products on the device; rows that may not be returned score -inf."""
        import torch

        queries = torch.from_numpy(unit).half().to(self._rows.device)
        scores = queries @ self._rows.T
        if allowed is not None:
            scores.masked_fill_(~torch.from_numpy(allowed).to(scores.device), -torch.inf)
        return scores

    def _near(self, scores: Any, *, k: int, n_allowed: int) -> np.ndarray:
        """Return all allowed rows that may be among the best ``k``: those within twice the error of the k-th product."""
        if k == 0:
            return np.empty(0, dtype=np.int64)
        wanted = min(n_allowed, k + _MORE)
        while True:
            best = scores.topk(wanted)
            if wanted == n_allowed or float(best.values[-1]) < float(best.values[k - 1]) - 2 * _HALF_ERROR:
                near = best.indices.cpu().numpy()
                return np.asarray(np.sort(near), dtype=np.int64)
            wanted = min(n_allowed, 4 * wanted)
