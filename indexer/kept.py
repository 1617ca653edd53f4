"""Arrays that are made once and kept, whole or not at all: a killed run loses none, and several may share a folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from atlas.drafts import draft_of, ready_folder


def kept_array(path: Path, make: Callable[[], np.ndarray], *, n_rows: int | None = None) -> np.ndarray:
    """Return the array in a file; if there is none, or it cannot be read, make it and write it.

    Parameters
    ----------
    path
        An ``.npy`` file, whose name says what the array depends on.
    n_rows
        Rows it must have; ``None``: any.

    Raises
    ------
    ResourceError
        If it cannot be written.
    """
    with suppress(Exception), path.open("rb") as stream:  # a damaged header raises anything: numpy evaluates it
        found = np.asarray(np.load(stream, allow_pickle=False))
        if n_rows is None or found.shape[:1] == (n_rows,):
            return found
    made = make()
    ready_folder(path.parent)
    with draft_of(path) as draft, draft.open("wb") as stream:
        np.save(stream, made)
    return made
