"""A whole release made from vectors: seconds and memory of each stage, and of all.

Run: python -m benchmarks.release_from_vectors --starter DIR --home HOME [--name big] [-- OPTIONS OF geo-atlas build]

DIR is made by `python -m benchmarks.synthesize vectors`. Texts that were embedded before are taken from the home's cache, so the
first build in a home also pays for embedding the annotations of its samples. The load of the machine is printed: on a busy one
seconds say little.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from atlas.release import Home, Release
from benchmarks.release_report import index_notes, stage_table

COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "build")


def main() -> None:
    """Build and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--name", default="big")
    parser.add_argument("options", nargs="*", help="options of `geo-atlas build`, after --")
    asked = parser.parse_args()
    load, home = os.getloadavg()[0], asked.home.absolute()
    command = [
        *COMMAND,
        "--starter",
        str(asked.starter.absolute()),
        "--name",
        asked.name,
        "--home",
        str(home),
        *asked.options,
    ]
    start = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        sys.exit(os.waitstatus_to_exitcode(status))
    peak = usage.ru_maxrss / 2**20
    release = Release.open(Home(home), asked.name)
    print(
        f"{release.manifest.n_samples:,} x {release.manifest.dim}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f} "
        f"before and {os.getloadavg()[0]:.1f} after: {seconds / 60:.1f} minutes, {usage.ru_utime / 60:.1f} of processor time, "
        f"peak {peak:.1f} GiB. Versions {release.manifest.versions}\n"
    )
    print(stage_table(release) + "\n\n" + index_notes(release))


if __name__ == "__main__":
    main()
