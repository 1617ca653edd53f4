"""A build under a limit of memory: it must end with a sentence that names the stage, or be done.

Run: python -m benchmarks.faults.memory_limit --starter DIR --scratch DIR [--limits-mib 1500 2500 3000 4000 6000]

The limit is RLIMIT_AS, as of `ulimit -v`: it bounds address space, of which libraries reserve more than they use.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "build", "--without-catalog", "--name", "limited")


def build(starter: Path, home: Path, mib: int) -> subprocess.CompletedProcess[str]:
    """Run a build under a limit to its end, good or bad."""
    bound = mib * 2**20
    return subprocess.run(
        [*COMMAND, "--starter", str(starter), "--home", str(home)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (bound, bound)),
    )


def main() -> None:
    """Print a line a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--limits-mib", type=int, nargs="+", default=[1_500, 2_500, 3_000, 4_000, 6_000])
    asked = parser.parse_args()
    print("| limit, MiB | ended with | what it said |\n|---|---|---|")
    for mib in asked.limits_mib:
        home = asked.scratch.absolute() / f"limited-{mib}"
        ended = build(asked.starter.absolute(), home, mib)
        said = " ".join(ended.stderr.split())[-300:]
        print(f"| {mib} | {ended.returncode} | {said} |", flush=True)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
