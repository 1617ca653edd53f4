"""A tiny HTTP server for tests: answers from a list of scripted replies and keeps what it was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    body: str | bytes
    status: int = 200
    content_type: str = "application/json"
    delay_s: float = 0.0
    drop: bool = False  # close the connection without an answer
    promise_more: int = 0  # Content-Length larger than the body


@dataclass
class Script:
    """Replies by path (without query); the last one of a path repeats for ever."""

    replies: dict[str, list[Reply]]
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    url: str = ""

    def next(self, path: str) -> Reply:
        waiting = self.replies.get(path, [Reply("not found", 404)])
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def serve(replies: dict[str, list[Reply]]) -> Iterator[Script]:
    script = Script(replies)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.asked.append((self.path, body))
            reply = script.next(self.path.split("?")[0])
            time.sleep(reply.delay_s)
            if reply.drop:
                self.close_connection = True
                return
            data = reply.body.encode() if isinstance(reply.body, str) else reply.body
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(data) + reply.promise_more))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that gave up is part of the test
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
