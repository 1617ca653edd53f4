"""Download files from a model hub, each checked against a sum that is known beforehand.

In: repository, revision, path and sha256. Out: a file that appears under its name only when its sum is right. A broken download
goes on where it stopped, in this run or the next; the hub answers with the file or sends on to its store of large files
(``X-Linked-Etag`` then names the sum before a byte is read).

Source: the hub's protocol ``ENDPOINT/REPOSITORY/resolve/REVISION/PATH`` as its own client library speaks it.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx

from atlas.errors import ArtifactError, ConfigError, NotFoundError, ResourceError, UpstreamError
from atlas.model.published import PublishedFile

logger = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "https://huggingface.co"
_RETRIED_STATUS = frozenset({408, 425, 429})
_ADVICE = (
    "Try again later: what has arrived is kept. Without a network, copy the folder and use: geo-atlas model import DIR"
)


class _Transient(UpstreamError):
    """A failure that another attempt may cure."""


class Hub:
    """A model hub.

    Parameters
    ----------
    endpoint
        Its address, or that of a mirror.
    token
        Sent to that address alone, never to where it sends on.
    timeout_s
        Longest silence, seconds.
    attempts
        Attempts in a row that may bring nothing.
    wait_s
        First pause between attempts, seconds; it doubles, up to 30.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        token: str | None = None,
        timeout_s: float = 60.0,
        attempts: int = 5,
        wait_s: float = 1.0,
    ) -> None:
        self.endpoint = (endpoint or DEFAULT_ENDPOINT).rstrip("/")
        if not self.endpoint.startswith(("https://", "http://")):
            raise ConfigError(
                f"The model hub's address is {endpoint!r}; expected one that begins with https:// (HF_ENDPOINT)."
            )
        self._headers = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file, not of an encoding
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout_s, self._attempts, self._wait_s = timeout_s, attempts, wait_s

    def download(self, file: PublishedFile, folder: Path, *, progress: Callable[[int], None] | None = None) -> Path:
        """Bring one file into ``folder`` and return its path; one that is there already is only checked.

        Parameters
        ----------
        file
            What to bring.
        folder
            Must exist; ``NAME.part`` in it holds what has arrived.
        progress
            Called with the number of bytes that came since the last call.

        Raises
        ------
        ArtifactError
            ``corrupt`` if the bytes, or what the hub says of them, are not the published file.
        NotFoundError
            If the hub has no such file.
        UpstreamError
            If the hub cannot be reached, refuses, or keeps failing.
        ResourceError
            If the disk is full or the folder cannot be written.
        """
        target, part = folder / file.name, folder / f"{file.name}.part"
        if target.is_file() and _sha256(target) == file.sha256:
            return target
        try:
            self._bring(file, part, progress or (lambda _: None))
            seen = _sha256(part)
            if seen != file.sha256:
                part.unlink()
                raise _wrong(file, f"sha256 {seen}", expected=file.sha256)
            part.replace(target)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise ResourceError(
                f"{part} cannot be written: {'the disk is full' if full else error.strerror or error}. "
                "Make room or choose another folder, then try again: what has arrived is kept.",
                details={"path": str(part)},
            ) from error
        return target

    def _bring(self, file: PublishedFile, part: Path, progress: Callable[[int], None]) -> None:
        """Fill ``part``, going on after every interruption."""
        failures, wait_s = 0, self._wait_s
        with httpx.Client(timeout=self._timeout_s, follow_redirects=True, headers=self._headers) as client:
            while True:
                before = _size(part)
                try:
                    self._continue(client, file, part, progress)
                    return
                except _Transient as error:
                    failures = 1 if _size(part) > before else failures + 1
                    if failures >= self._attempts:
                        raise UpstreamError(f"{error.message} {_ADVICE}") from error
                    logger.warning("%s (trying again in %.0f s)", error, wait_s)
                    time.sleep(wait_s)
                    wait_s = self._wait_s if failures == 1 else min(2 * wait_s, 30.0)

    def _continue(self, client: httpx.Client, file: PublishedFile, part: Path, progress: Callable[[int], None]) -> None:
        """Ask for what is missing and append it; ``_Transient`` if the answer ends early."""
        start = _size(part)
        if start and start == file.n_bytes:
            return
        url = f"{self.endpoint}/{file.repository}/resolve/{quote(file.revision, safe='')}/{quote(file.path)}"
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with client.stream("GET", url, headers=headers) as response:
                self._refuse(response, file)
                _refuse_other_file(response, file)
                if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    _settle(response, part, start)
                    return
                goes_on = response.status_code == httpx.codes.PARTIAL_CONTENT and _begins_at(response, start)
                if start and not goes_on:
                    logger.warning("the hub does not go on with %s; it begins again", file.name)
                    progress(-start)
                _append(response, part, file=file, start=start if goes_on else 0, progress=progress)
        except httpx.HTTPError as error:
            raise _Transient(
                f"The model hub at {self.endpoint} cannot be reached, or breaks off ({type(error).__name__})."
            ) from error

    def _refuse(self, response: httpx.Response, file: PublishedFile) -> None:
        status = response.status_code
        where = f"{file.repository}/{file.path} at {file.revision[:12]}"
        if status >= 500 or status in _RETRIED_STATUS:
            raise _Transient(f"The model hub at {self.endpoint} answered {status} to {where}.")
        if status == httpx.codes.NOT_FOUND:
            raise NotFoundError(
                f"The model hub at {self.endpoint} has no {where}. Check the endpoint (HF_ENDPOINT); a mirror may lack it.",
                details={"repository": file.repository, "path": file.path, "revision": file.revision},
            )
        ok = (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE)
        if status not in ok:
            raise UpstreamError(
                f"The model hub at {self.endpoint} answered {status} to {where}. "
                "If the repository asks for consent or a login, set HF_TOKEN."
            )


def _refuse_other_file(response: httpx.Response, file: PublishedFile) -> None:
    """Compare what the hub says of the file before it sends on with what is expected."""
    for answer in (*response.history, response):
        etag = answer.headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"')
        size = answer.headers.get("X-Linked-Size", "")
        if len(etag) == 64 and etag != file.sha256:  # a shorter one is the git sum of a small file
            raise _wrong(file, f"sha256 {etag} by the hub's own word", expected=file.sha256)
        if size.isdigit() and file.n_bytes is not None and int(size) != file.n_bytes:
            raise _wrong(file, f"{int(size):,} bytes by the hub's own word", expected=f"{file.n_bytes:,} bytes")


def _append(
    response: httpx.Response, part: Path, *, file: PublishedFile, start: int, progress: Callable[[int], None]
) -> None:
    """Write the answer behind the first ``start`` bytes of ``part``; never more than the file has."""
    total = start
    with part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        for chunk in response.iter_bytes():
            total += len(chunk)
            if file.n_bytes is not None and total > file.n_bytes:
                raise _wrong(file, f"more than {file.n_bytes:,} bytes", expected=f"{file.n_bytes:,} bytes")
            stream.write(chunk)
            progress(len(chunk))
    if file.n_bytes is not None and total < file.n_bytes:
        raise _Transient(f"The model hub sent {total:,} of the {file.n_bytes:,} bytes of {file.name}.")


def _settle(response: httpx.Response, part: Path, start: int) -> None:
    """Nothing lies behind what we have: either it is all there, which its sum will tell, or it is useless."""
    whole = response.headers.get("Content-Range", "").rpartition("/")[2]
    if whole.isdigit() and int(whole) != start:
        part.unlink(missing_ok=True)
        raise _Transient(f"{part.name} was longer than the file and is fetched again.")


def _begins_at(response: httpx.Response, start: int) -> bool:
    stated: str = response.headers.get("Content-Range", "")
    return stated.startswith(f"bytes {start}-")


def _wrong(file: PublishedFile, seen: str, *, expected: str) -> ArtifactError:
    return ArtifactError(
        f"{file.repository}/{file.path} is not the published file: {seen}, expected {expected}. "
        "Nothing was kept of it. Try again, or another endpoint (HF_ENDPOINT).",
        kind="corrupt",
        details={"path": file.path, "seen": seen, "expected": expected},
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
