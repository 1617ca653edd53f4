"""A model hub on this machine that speaks the true protocol: small files at once, large ones through a store elsewhere."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from atlas.model.published import PublishedFile, PublishedModel

REPOSITORY, REVISION = "someone/Model", "9d41e7053af8a702003d99305cee01cd34b62ab7"


@dataclass
class Asked:
    """One request: ``hub`` or ``store``, path, and the headers that matter."""

    place: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class FakeHub:
    """What the hub holds and how it misbehaves."""

    files: dict[str, bytes]
    small: int = 1_000  # larger files lie in the store
    asked: list[Asked] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)  # bytes after which the store hangs up, one answer each
    statuses: list[int] = field(default_factory=list)  # answers of the hub before it works
    ignores_ranges: bool = False
    tell: Callable[[bytes], bytes] = lambda data: data  # of which bytes the hub names sum and size
    serve: Callable[[bytes], bytes] = lambda data: data  # what it really sends
    needs_token: str | None = None
    url: str = ""
    store_url: str = ""

    def model(self, *, name: str = "toy", kind: str = "geneformer", sizes: bool = True) -> PublishedModel:
        """The facts of its files, as ``published.tsv`` would have them."""
        facts = [
            PublishedFile(REPOSITORY, REVISION, path, hashlib.sha256(data).hexdigest(), len(data) if sizes else None)
            for path, data in self.files.items()
        ]
        return PublishedModel(name, "geneformer" if kind == "geneformer" else "text", tuple(facts))

    def ranges(self, place: str = "store") -> list[str | None]:
        return [asked.range for asked in self.asked if asked.place == place]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub
    place: str

    def do_GET(self) -> None:
        path = unquote(self.path.split("?")[0])
        self.hub.asked.append(Asked(self.place, path, self.headers.get("Range"), self.headers.get("Authorization")))
        if self.place == "hub":
            self._resolve(path)
        else:
            self._blob(self.hub.files[path.removeprefix("/blobs/")])

    def _resolve(self, path: str) -> None:
        if self.hub.statuses:
            self._answer(self.hub.statuses.pop(0), {}, b"busy")
            return
        if self.hub.needs_token and self.headers.get("Authorization") != f"Bearer {self.hub.needs_token}":
            self._answer(401, {"X-Error-Code": "GatedRepo"}, b"")
            return
        prefix = f"/{REPOSITORY}/resolve/{REVISION}/"
        data = self.hub.files.get(path.removeprefix(prefix)) if path.startswith(prefix) else None
        if data is None:
            self._answer(404, {"X-Error-Code": "EntryNotFound"}, b"Entry not found")
            return
        if len(data) <= self.hub.small:
            git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            self._blob(data, {"ETag": f'"{git}"', "X-Repo-Commit": REVISION})
            return
        told = self.hub.tell(data)
        headers = {
            "Location": f"{self.hub.store_url}/blobs/{path.removeprefix(prefix)}?signature=x",
            "X-Linked-Etag": f'"{hashlib.sha256(told).hexdigest()}"',
            "X-Linked-Size": str(len(told)),
            "X-Repo-Commit": REVISION,
            "ETag": '"pointer"',
        }
        self._answer(302, headers, b"Found. Redirecting")

    def _blob(self, data: bytes, more: dict[str, str] | None = None) -> None:
        data = self.hub.serve(data)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        headers = {"Accept-Ranges": "bytes", **(more or {})}
        if asked is None or self.hub.ignores_ranges:
            self._answer(200, headers, data)
            return
        start = int(asked.group(1))
        if start >= len(data):
            self._answer(416, {**headers, "Content-Range": f"bytes */{len(data)}"}, b"")
            return
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._answer(206, headers, data[start:])

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.place == "store" and self.hub.cuts and status in (200, 206):
            body = body[: self.hub.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def run_hub(files: dict[str, bytes]) -> Iterator[FakeHub]:
    """Serve hub and store at two addresses."""
    hub = FakeHub(files)
    servers = []
    for place in ("hub", "store"):
        handler = type("Handler", (_Handler,), {"hub": hub, "place": place})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that gave up is part of the test
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        servers.append((server, thread))
    hub.url, hub.store_url = (f"http://127.0.0.1:{server.server_port}" for server, _ in servers)
    try:
        yield hub
    finally:
        for server, thread in servers:
            server.shutdown()
            server.server_close()
            thread.join()
