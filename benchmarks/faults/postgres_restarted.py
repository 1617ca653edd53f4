"""The database restarted under load: questions that need it fail as 503 alone, the others go on, and it is back within seconds.

Run: python -m benchmarks.faults.postgres_restarted --home HOME [--clients 16] [--rounds 3]

HOME holds a current release and uses the embedded database. Half of the questions are hybrid, half semantic; in each round the
server is killed (SIGKILL of the postmaster, SIGQUIT, SIGKILL of a backend by turns) while they are asked. Exit status 1: a status
other than 200 and 503, a semantic question without an answer, or a recovery that took longer than 5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

import psycopg

from atlas.catalog.embedded import EmbeddedPostgres
from benchmarks.api_latency import served
from benchmarks.api_load import Questions, ask

RECOVERY_S = 5.0
_CALM_S = 6.0
Answer = tuple[float, str, int | str]  # when, mode, status


async def client(port: int, questions: Questions, answers: list[Answer], until: float) -> None:
    """Ask semantic and hybrid questions by turns until the time is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(sys.maxsize):
        if time.monotonic() > until:
            break
        mode = ("semantic", "hybrid")[number % 2]
        path = f"/v1/search?{urlencode({'q': questions.known[number % len(questions.known)], 'mode': mode})}"
        try:
            status: int | str = (await ask(reader, writer, path))[0]
        except (OSError, asyncio.IncompleteReadError) as error:
            status = type(error).__name__
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers.append((time.monotonic(), mode, status))
    writer.close()


def strike(home: Path, how: str) -> float:
    """Kill the server, or one of its backends; return when."""
    server = EmbeddedPostgres(home, start_timeout_s=60)
    with psycopg.connect(**server.ensure_running(), autocommit=True) as connection:
        row = connection.execute("SELECT current_setting('data_directory'), pg_backend_pid()").fetchone()
        if row is None:
            raise RuntimeError("the server tells nothing of itself")
        first_line = (Path(row[0]) / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]
        pid = int(row[1]) if how == "backend" else int(first_line)
        when = time.monotonic()
        os.kill(pid, signal.SIGQUIT if how == "quit" else signal.SIGKILL)
    return when


async def round_of(port: int, home: Path, questions: Questions, *, how: str, clients: int) -> tuple[bool, str]:
    """Ask, strike, ask on; return whether the promise was kept, and a line of the table."""
    answers: list[Answer] = []
    until = time.monotonic() + 2 + RECOVERY_S + _CALM_S
    asking = [asyncio.create_task(client(port, questions, answers, until)) for _ in range(clients)]
    await asyncio.sleep(2)
    struck = await asyncio.to_thread(strike, home, how)
    await asyncio.gather(*asking)
    failed = [when for when, _, status in answers if status != 200]
    recovery = max(failed, default=struck) - struck
    statuses = Counter(f"{mode} {status}" for _, mode, status in answers)
    kept = recovery <= RECOVERY_S and set(statuses) <= {"semantic 200", "hybrid 200", "hybrid 503"}
    told = ", ".join(f"{n} {name}" for name, n in sorted(statuses.items()))
    return kept, f"| {how} | {told} | {recovery:.2f} | {'kept' if kept else 'BROKEN'} |"


def main() -> None:
    """Strike in several ways; end with status 1 if the promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    questions = Questions(new=0, filtered=0, lexical=0, seed=0)
    kept = True
    print("| killed | answers | last failure, s after | promise |\n|---|---|---:|---|")
    with served(asked.home) as url:
        port = int(url.rpartition(":")[2])
        for number in range(asked.rounds):
            how = ("kill", "quit", "backend")[number % 3]
            good, line = asyncio.run(round_of(port, asked.home, questions, how=how, clients=asked.clients))
            print(line, flush=True)
            kept &= good
    print(f"\nverdict: the promise was {'kept' if kept else 'BROKEN'}")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
