"""What a full or read-only disk does to a run, as one typed error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from atlas.errors import ResourceError

_FAILED_WRITES = ("PytorchStreamWriter", "I/O error")  # words of torch and safetensors for a write that failed


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn failed writes into the folder of a run into one error.

    Raises
    ------
    ResourceError
        If the disk is full or may not be written.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not isinstance(error, OSError) and not any(words in str(error) for words in _FAILED_WRITES):
            raise
        raise ResourceError(
            f"Training stopped, {folder} cannot be written: {error}. Make room on the disk, then go on with --resume; or give "
            "another folder with --out.",
            details={"path": str(folder)},
        ) from error
