"""Bounds that keep one client, or a burst of many, from exhausting the machine.

CPU-heavy work passes a ``Gate``: a few calls run in threads, a few wait, the rest is told to come back. Bodies are read into
memory under a limit, whether their length is announced or not, and are never written to disk.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import anyio.to_thread
from fastapi import Request

from api.errors import OverloadedError, TimedOutError
from atlas.errors import TooLargeError

T = TypeVar("T")

N_RUNNING = max(2, min(8, os.cpu_count() or 2))
"""Questions computed at once."""

N_WAITING = 64
"""Questions that may wait behind those."""

N_WIDE_WAITING = 32
"""Questions that look at every sample, or bring thousands of hits, that may wait: each costs what many others do."""

LONGEST_WAIT_S = 20.0
"""Who has waited so long is told to come back: by then most callers have gone, and their answers would be nobody's."""

N_UPLOADS = 4
"""Uploads held in memory at once, whether arriving, waiting or being computed; one is computed at a time."""

JSON_MAX_BYTES = 16 * 2**20
"""Largest JSON body: numbers written as JSON grow about thirtyfold as objects, a file upload does not."""

QUESTION_MAX_BYTES = 2 * 2**20
"""Largest JSON body of a question: JSON is read in one piece, and while that takes nobody else is answered."""

IDLE_BODY_S = 30.0
"""Longest pause between two pieces of a body."""

WHOLE_BODY_S = 300.0
"""Longest time for a whole body: one of few places is held meanwhile."""

_DRAIN_S = 5.0


class Gate:
    """Admits a bounded number of callers, of which a smaller number run at once and none waits for ever.

    Parameters
    ----------
    n_running
        Calls in threads at once.
    n_waiting
        Callers admitted beyond those; one more gets ``OverloadedError``.
    longest_wait_s
        An admitted caller whose call has not begun by then gets ``OverloadedError``, too.

    Attributes
    ----------
    capacity, admitted
        Most callers at once, and how many there are.
    """

    def __init__(self, *, n_running: int, n_waiting: int, longest_wait_s: float = LONGEST_WAIT_S) -> None:
        self.capacity = n_running + n_waiting
        self.admitted = 0
        self._running = asyncio.Semaphore(n_running)
        self._threads = anyio.CapacityLimiter(n_running)
        self._longest_wait_s = longest_wait_s

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Hold a place; raises ``OverloadedError`` at once if there is none."""
        if self.admitted >= self.capacity:
            raise OverloadedError(
                f"{self.admitted} questions are being answered or waiting, which is the limit. Try again shortly.",
                details={"limit": self.capacity},
            )
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def run(self, call: Callable[[], T]) -> T:
        """Run an admitted caller's work in a thread."""
        try:
            async with asyncio.timeout(self._longest_wait_s):
                await self._running.acquire()
        except TimeoutError:
            raise OverloadedError(
                f"The service was busy with other questions for {self._longest_wait_s:g} seconds. Try again shortly.",
                details={"limit": self.capacity},
            ) from None
        try:
            return await anyio.to_thread.run_sync(call, limiter=self._threads)
        finally:
            self._running.release()


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Return the body, at most ``max_bytes`` long.

    Raises
    ------
    TooLargeError
        As soon as the announced length, or what has arrived, exceeds the limit.
    TimedOutError
        If nothing arrives for ``IDLE_BODY_S`` seconds, or not all within ``WHOLE_BODY_S``.
    """
    announced = request.headers.get("content-length", "")
    stream = request.stream()
    if announced.isdigit() and int(announced) > max_bytes:
        await _drain(stream, max_bytes=max_bytes)
        raise _too_large(max_bytes)
    pieces: list[bytes] = []
    n_bytes = 0
    async for piece in _in_time(stream):
        n_bytes += len(piece)
        if n_bytes > max_bytes:
            pieces.clear()
            await _drain(stream, max_bytes=max_bytes)
            raise _too_large(max_bytes)
        pieces.append(piece)
    return b"".join(pieces)


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"The body is larger than {max_bytes:,} bytes, the limit of this route. Send less; an uploaded file may "
        "be compressed.",
        details={"max_bytes": max_bytes},
    )


async def _in_time(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    now = asyncio.get_running_loop().time
    deadline = now() + WHOLE_BODY_S
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, now() + IDLE_BODY_S)):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise TimedOutError(
                f"The body stopped arriving for {IDLE_BODY_S:g} seconds, or took over {WHOLE_BODY_S:g} in all. Send it again."
            ) from error
        yield piece


async def _drain(stream: AsyncIterator[bytes], *, max_bytes: int) -> None:
    """Throw away a little more of a refused body, so that a client still writing gets to read the refusal."""
    n_bytes = 0
    try:
        async with asyncio.timeout(_DRAIN_S):
            async for piece in stream:
                n_bytes += len(piece)
                if n_bytes > max_bytes:
                    return
    except TimeoutError:
        return
