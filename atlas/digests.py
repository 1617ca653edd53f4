"""sha256 of files and folders, remembered by (path, size, mtime, inode) so an unchanged 100 GB input is read once."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from atlas.manifest import FileEntry, write_json

logger = logging.getLogger(__name__)

BLOCK_BYTES = 16 * 2**20


def sha256_file(path: Path) -> str:
    """Return the hexadecimal sha256 of a file, read in 16 MiB blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(payload: object) -> str:
    """Return the sha256 of a JSON value, independent of key order."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def iter_files(path: Path) -> list[Path]:
    """Return ``path`` itself, or every file below it in a fixed order."""
    if path.is_file():
        return [path]
    return sorted(p for p in path.rglob("*") if p.is_file())


class DigestCache:
    """Digests of files, kept in one small file of the home, or in memory alone if no path is given.

    A changed size, modification time or inode means the file is read again; an unreadable cache counts as empty.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, list[object]] = {}
        if path is None:
            return
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        self._known = loaded if isinstance(loaded, dict) else {}

    def entry(self, path: Path) -> FileEntry:
        """Return path, size and digest of one file."""
        stat = path.stat()
        mark = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(str(path))
        if known and known[:3] == mark:
            return FileEntry(path=str(path), bytes=stat.st_size, sha256=str(known[3]))
        digest = sha256_file(path)
        self._known[str(path)] = [*mark, digest]
        try:
            if self._path is not None:
                write_json(self._path, self._known)
        except OSError as error:  # a read-only home: the file is read again next time
            logger.debug("digests are not remembered in %s: %s", self._path, error)
        return FileEntry(path=str(path), bytes=stat.st_size, sha256=digest)
