"""How the service holds under many clients: requests a second, latencies and errors of `GET /v1/search`.

Run: python -m benchmarks.api_load --home HOME [--clients 16] [--seconds 600] [--new 0.0] [--filtered 0.0] [--lexical 0.0]

The service runs in a process of its own, the clients in this one, each asking its next question when it has the answer to the
last, over one connection. Phrases come from the packaged vocabularies; ``--new`` is the share that was never asked before, which
the text tower has to embed, the others are drawn from 256 that were asked once before the measurement. Latencies include the
client's share of the processors they both run on; the service's processor time an answer tells what remains where the machine has
other work.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import httpx
import numpy as np

from atlas.vocabulary import packaged_texts
from benchmarks.api_start import memory, processor_s, start, wait_until_ready

_KNOWN = 256


@dataclass
class Seen:
    """What the clients saw."""

    ms: list[float] = field(default_factory=list)
    statuses: Counter[int | str] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)


class Questions:
    """Draws the paths to ask, by seed."""

    def __init__(self, *, new: float, filtered: float, lexical: float, seed: int) -> None:
        texts = sorted(set(packaged_texts()))
        self._random = random.Random(seed)
        self._random.shuffle(texts)
        self.known, self._fresh = texts[:_KNOWN], iter(texts[_KNOWN:])
        self._new, self._filtered, self._lexical = new, filtered, lexical

    def path(self) -> str:
        """Return the next question."""
        draw = self._random.random
        phrase = next(self._fresh, None) if draw() < self._new else None
        query = {"q": phrase or self._random.choice(self.known)}
        if draw() < self._filtered:
            query["tissue"] = self._random.choice(("blood", "liver", "brain", "lung"))
        if draw() < self._lexical:
            query["mode"] = "hybrid"
        return f"/v1/search?{urlencode(query)}"


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, str, bytes]:
    """Ask one question over an open connection; return status, release and body."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(lines[0].split()[1]), headers.get("x-geo-atlas-release", ""), body


async def client(port: int, questions: Questions, seen: Seen, until: float) -> None:
    """Ask until the time is over; a broken connection counts as an error and is opened again."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        path, start = questions.path(), time.perf_counter()
        try:
            status, release, _ = await ask(reader, writer, path)
            seen.statuses[status] += 1
            seen.releases[release] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.statuses[type(error).__name__] += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        took = 1_000 * (time.perf_counter() - start)
        seen.ms.append(took)
    writer.close()


async def load(port: int, questions: Questions, *, clients: int, seconds: float) -> Seen:
    """Let clients ask for some seconds; return what they saw."""
    seen = Seen()
    until = time.monotonic() + seconds
    await asyncio.gather(*(client(port, questions, seen, until) for _ in range(clients)))
    return seen


async def prepare(port: int, questions: Questions) -> None:
    """Ask each known phrase once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for phrase in questions.known:
        await ask(reader, writer, f"/v1/search?{urlencode({'q': phrase})}")
    writer.close()


def line(name: str, seen: Seen, *, seconds: float, spent_ms: float) -> str:
    """Return one row of the table."""
    p50, p95, p99 = np.percentile(seen.ms, [50, 95, 99])
    answered = seen.statuses[200]
    wrong = {str(key): n for key, n in seen.statuses.items() if key != 200}
    return (
        f"| {name} | {answered / seconds:.0f} | {p50:.1f} | {p95:.1f} | {p99:.1f} | {max(seen.ms):.0f} | "
        f"{spent_ms:.1f} | {sum(seen.statuses.values())} | {wrong or 'none'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--new", type=float, default=0.0)
    parser.add_argument("--filtered", type=float, default=0.0)
    parser.add_argument("--lexical", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(
        f"GET /v1/search, k = 20, {asked.seconds:.0f} s a row, seed {asked.seed}; {asked.new:.0%} of the phrases new, "
        f"{asked.filtered:.0%} filtered, {asked.lexical:.0%} hybrid; {platform.machine()}, Python {platform.python_version()}\n"
    )
    print(
        "| clients | answers/s | p50 ms | p95 ms | p99 ms | slowest ms | processor ms | questions | not answered with 200 |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---|")
    child, url = start(asked.home)
    try:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
            wait_until_ready(http, time.perf_counter())
        port = int(url.rpartition(":")[2])
        questions = Questions(new=asked.new, filtered=asked.filtered, lexical=asked.lexical, seed=asked.seed)
        asyncio.run(prepare(port, questions))
        for clients in asked.clients:
            before = processor_s(child.pid)
            seen = asyncio.run(load(port, questions, clients=clients, seconds=asked.seconds))
            spent = 1_000 * (processor_s(child.pid) - before) / max(1, seen.statuses[200])
            print(line(str(clients), seen, seconds=asked.seconds, spent_ms=spent), flush=True)
        print("\n" + ", ".join(f"{name} {value:.2f}" for name, value in memory(child.pid).items()))
    finally:
        child.terminate()
        child.wait(60)


if __name__ == "__main__":
    main()
