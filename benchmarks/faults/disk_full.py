"""A disk that fills up under a build: every stop says so in a sentence, what was done stays done, and the build resumes.

Run (as root, which may mount): python -m benchmarks.faults.disk_full --starter DIR --scratch DIR [--stage NAME ...]

A file system of 600 MiB is mounted in memory. The build is started with 95 % of it taken; then with room, and all that is left
is taken as soon as a stage has begun, for each stage named; at last with room to the end.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "build", "--without-catalog", "--name", "full")
STAGES = ("embed_samples", "build_index", "cluster_samples", "match_keywords", "scan_vocabulary")
DISK_MIB = 600
_PIECE = 2**20


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system, and unmount it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def ballast(disk: Path) -> Iterator[Path]:
    """Give the path of a file that takes room, and remove it."""
    path = disk / "ballast"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def take(path: Path, share: float) -> None:
    """Take a share of what is free, or what is left of it when a build takes some meanwhile."""
    wanted = int(shutil.disk_usage(path.parent).free * share)
    with path.open("wb", buffering=0) as file, suppress(OSError):
        for start in range(0, wanted, _PIECE):
            file.write(bytes(min(_PIECE, wanted - start)))


def build(starter: Path, disk: Path, *, fill_in: str | None = None, taken: Path | None = None) -> tuple[int, str]:
    """Run the build to its end, good or bad, taking all room when a stage has begun; return its code and last words."""
    home = disk / "home"
    process = subprocess.Popen(
        [*COMMAND, "--starter", str(starter), "--home", str(home)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    mark = home / "builds" / "full" / "out" / str(fill_in)
    while fill_in and process.poll() is None and not mark.exists():
        time.sleep(0.002)
    if fill_in and taken and process.poll() is None:
        take(taken, 1.0)
    said = process.communicate()[1]
    return process.returncode, ("TRACEBACK " if "Traceback" in said else "") + " ".join(said.split())[-200:]


def measure(starter: Path, scratch: Path, stages: list[str]) -> bool:
    """Print a line a start; return whether every stop was a sentence of ours and the last start ended well."""
    good = True
    print("| room | exit code | stages done | what it said |\n|---|---|---|---|")

    def show(room: str, disk: Path, ended: tuple[int, str]) -> None:
        done = len(list((disk / "home" / "builds" / "full" / "stages").glob("*.json")))
        print(f"| {room} | {ended[0]} | {done} | {ended[1]} |", flush=True)

    with small_disk(scratch / "disk") as disk:
        with ballast(disk) as taken:
            take(taken, 0.95)
            ended = build(starter, disk)
            show("95 % taken before the start", disk, ended)
            good &= ended[0] not in (0, -9) and "free" in ended[1]
        for stage in stages:
            with ballast(disk) as taken:
                ended = build(starter, disk, fill_in=stage, taken=taken)
                show(f"none from the start of {stage}", disk, ended)
                good &= ended[0] > 0 and "resumes" in ended[1] and "TRACEBACK" not in ended[1]
        ended = build(starter, disk)
        show("enough", disk, ended)
    return good and ended[0] == 0


def main() -> None:
    """Measure; the exit code says whether all went as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--stage", action="append")
    asked = parser.parse_args()
    sys.exit(0 if measure(asked.starter.absolute(), asked.scratch.absolute(), asked.stage or list(STAGES)) else 1)


if __name__ == "__main__":
    main()
