"""A release replaced under load: no question fails, and no answer mixes two releases.

Run: python -m benchmarks.faults.release_replaced --home HOME --release ONE --release TWO [--clients 16] [--times 10]

HOME holds both releases, of different numbers of samples, in folder and database. While clients ask semantic and hybrid
questions, the pointer is moved from one to the other, again and again. An answer is whole if its header, its body and the number
of samples it searched name one release. Exit status 1: any answer but 200, or one that is not whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

from atlas.release import Home, Release
from benchmarks.api_latency import served
from benchmarks.api_load import Questions, ask

_BETWEEN_S = 4.0


async def client(
    port: int, questions: Questions, sizes: dict[str, int], seen: Counter[str], stop: asyncio.Event
) -> None:
    """Ask until told to stop; count answers by what is wrong with them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    while not stop.is_set():
        number += 1
        query = {"q": questions.known[number % len(questions.known)], "mode": ("semantic", "hybrid")[number % 2]}
        try:
            status, header, body = await ask(reader, writer, f"/v1/search?{urlencode(query)}")
        except (OSError, asyncio.IncompleteReadError) as error:
            seen[type(error).__name__] += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        if status != 200:
            seen[f"status {status}"] += 1
            continue
        answer = json.loads(body)
        whole = answer["release"] == header and answer["n_candidates"] == sizes[header]
        seen[header if whole else "mixed"] += 1
    writer.close()


async def swap(port: int, home: Home, names: list[str], *, clients: int, times: int) -> tuple[Counter[str], int]:
    """Ask while the pointer moves; return the answers and how many moves were seen to be followed."""
    sizes = {name: Release.open(home, name).manifest.n_samples for name in names}
    questions = Questions(new=0, filtered=0, lexical=0, seed=0)
    seen: Counter[str] = Counter()
    stop = asyncio.Event()
    asking = [asyncio.create_task(client(port, questions, sizes, seen, stop)) for _ in range(clients)]
    followed = 0
    for number in range(times):
        name = names[(number + 1) % len(names)]
        home.use(name)
        before, until = seen[name], time.monotonic() + 60
        while seen[name] <= before and time.monotonic() < until:
            await asyncio.sleep(0.05)
        followed += seen[name] > before
        await asyncio.sleep(_BETWEEN_S)
    stop.set()
    await asyncio.gather(*asking)
    return seen, followed


def main() -> None:
    """Swap two releases; end with status 1 if the promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--release", action="append", required=True, dest="names")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--times", type=int, default=10)
    asked = parser.parse_args()
    home = Home(asked.home.absolute())
    home.use(asked.names[0])
    with served(asked.home) as url:
        port = int(url.rpartition(":")[2])
        seen, followed = asyncio.run(swap(port, home, asked.names, clients=asked.clients, times=asked.times))
    kept = set(seen) == set(asked.names) and followed == asked.times
    print(f"answers by release or fault: {dict(seen)}; {followed} of {asked.times} moves of the pointer were followed")
    print(f"\nverdict: the promise was {'kept' if kept else 'BROKEN'}")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
