"""How much of a stranger's file is read before it is refused."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

from atlas.errors import TooLargeError


@dataclass(frozen=True)
class Limits:
    """Bounds on one input.

    Attributes
    ----------
    max_bytes
        Size as sent.
    max_expanded_bytes
        Size once decompressed, and size of the values in memory.
    max_samples
        Number of samples.
    """

    max_bytes: int
    max_expanded_bytes: int
    max_samples: int


FILE_LIMITS = Limits(
    max_bytes=16 << 30, max_expanded_bytes=16 << 30, max_samples=200_000
)  # a person's own file, not an upload


class BoundedReader(io.RawIOBase):
    """A byte stream that raises ``TooLargeError`` past ``limit`` bytes, before they are kept anywhere."""

    def __init__(self, stream: BinaryIO, *, limit: int, what: str) -> None:
        super().__init__()
        self._stream = stream
        self._left = limit
        self._message = f"{what} is larger than the limit of {limit:,} bytes. Send fewer samples or genes."
        self._limit = limit

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` and return the number of bytes."""
        data = self._stream.read(min(len(buffer), self._left + 1))
        if len(data) > self._left:
            raise TooLargeError(self._message, details={"limit_bytes": self._limit})
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def refuse_too_many(n_samples: int, *, limits: Limits) -> None:
    """Raise ``TooLargeError`` if there are more samples than allowed."""
    if n_samples > limits.max_samples:
        raise TooLargeError(
            f"There are {n_samples:,} samples; at most {limits.max_samples:,} are taken at once. Send them in parts.",
            details={"n_samples": n_samples, "max_samples": limits.max_samples},
        )
