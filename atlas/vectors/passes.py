"""A pass over the master: every row once, in order, in float32, whatever the size of the file.

``VectorStore.blocks`` maps the file, so the rows it has touched stay in the process; a pass reads into two buffers that it uses
again and again, one ahead of the caller, and converts with all cores. For work that looks at all rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BufferedReader

import numpy as np

from atlas.errors import ArtifactError
from atlas.vectors.store import VectorStore

PASS_BYTES = 32 << 20
"""Size of a block in float32, about."""


def rows_in_order(store: VectorStore, *, chunk_bytes: int = PASS_BYTES) -> Iterator[tuple[int, np.ndarray]]:
    """Yield ``(start, block)`` over all rows in order; a block is (m, dim) float32.

    A block is good until the next is asked for: its memory is used again.

    Raises
    ------
    ArtifactError
        If the file became shorter than the store says.
    """
    import torch

    step = max(1, min(chunk_bytes // (4 * store.dim), store.n))
    raw = [np.empty((step, store.dim), np.float16) for _ in range(2)]
    wide = torch.empty((step, store.dim))
    with store.path.open("rb") as file, ThreadPoolExecutor(1, thread_name_prefix="vector-pass") as reader:
        _skip_header(file)
        ahead: Future[int] = reader.submit(file.readinto, raw[0][: min(step, store.n)].data)
        for number, start in enumerate(range(0, store.n, step)):
            rows = min(step, store.n - start)
            if ahead.result() != 2 * store.dim * rows:
                raise ArtifactError(
                    f"{store.path} became shorter while it was read. Verify the release.", kind="corrupt"
                )
            coming = min(step, store.n - start - rows)
            if coming:
                ahead = reader.submit(file.readinto, raw[1 - number % 2][:coming].data)
            wide[:rows].copy_(torch.from_numpy(raw[number % 2][:rows]))
            yield start, wide[:rows].numpy()


def products_in_order(
    store: VectorStore, columns: np.ndarray, *, chunk_bytes: int = PASS_BYTES
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield ``(start, products)`` over all rows in order: each block's inner products with the columns, float32.

    They are good until the next are asked for. One buffer takes all of them, and the same library widens and multiplies: a new
    array a block, and two libraries' threads in each other's way, cost as much as a third of the products.

    Parameters
    ----------
    columns
        (dim, k) float32.
    """
    import torch

    asked = torch.from_numpy(np.ascontiguousarray(columns))
    step = max(1, min(chunk_bytes // (4 * store.dim), store.n))
    products = torch.empty((step, columns.shape[1]))
    for start, block in rows_in_order(store, chunk_bytes=chunk_bytes):
        torch.mm(torch.from_numpy(block), asked, out=products[: len(block)])
        yield start, products[: len(block)].numpy()


def _skip_header(file: BufferedReader) -> None:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    read(file)
