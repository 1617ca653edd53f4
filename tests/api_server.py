"""Serves an application on a free port for the length of a test: real sockets, real HTTP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from api.main import SERVER_OPTIONS


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Yield the base address; stops the server and waits for it at the end."""
    config = uvicorn.Config(app, log_config=None, lifespan="on", **SERVER_OPTIONS)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
    if thread.is_alive():
        raise RuntimeError("the server did not stop")
