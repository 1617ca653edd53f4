"""A load of the catalog killed with SIGKILL at any moment: the database holds what it held before, and the next load works.

Run: python -m benchmarks.faults.catalog_load_killed --home HOME [--times 10]

HOME holds a current release that is loaded. A load of it is timed, then started and killed ``--times`` times at moments spread
over that time. After each kill the release's rows, the number of tables and a word search must be the same. Exit status 1: they
were not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import text

from atlas.catalog.database import Database, open_database
from atlas.catalog.queries import lexical_search
from atlas.release import Home
from atlas.settings import load_settings

COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "release", "load")


def fingerprint(database: Database, name: str) -> tuple[object, ...]:
    """Return what the database holds: the release's counts and samples, the number of tables, the answer to a question."""
    with database.connect() as connection:
        row = connection.execute(text("SELECT * FROM atlas.releases WHERE name = :name"), {"name": name}).one()
        samples = connection.execute(
            text(
                "SELECT count(*), bit_xor(hashtextextended(row || sample_id || text_folded || document::text, 0)) "
                "FROM atlas.samples WHERE release_id = :release"
            ),
            {"release": row.release_id},
        ).one()
        n_tables = connection.scalar(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'atlas'"))
    return str(row.counts), tuple(samples), n_tables, tuple(lexical_search(database, name, "blood", k=50))


def main() -> None:
    """Kill loads; end with status 1 if the promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--times", type=int, default=10)
    asked = parser.parse_args()
    settings = load_settings(home=asked.home)
    name = Home(settings.home_path).current()
    command = [*COMMAND, name, "--home", str(settings.home_path)]
    with open_database(settings) as database:
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        took = time.monotonic() - start
        before = fingerprint(database, name)
        kept = True
        print(f"a load takes {took:.1f} s\n\n| killed after, s | still running | the same as before |\n|---:|---|---|")
        for number in range(asked.times):
            after = took * (number + 1) / (asked.times + 1)
            load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(after)
            running = load.poll() is None
            load.kill()
            load.wait()
            same = fingerprint(database, name) == before
            kept &= same
            print(
                f"| {after:.1f} | {'yes' if running else 'no, it was done'} | {'yes' if same else 'NO'} |", flush=True
            )
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        kept &= fingerprint(database, name) == before
    print(f"\nverdict: the promise was {'kept' if kept else 'BROKEN'}")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
