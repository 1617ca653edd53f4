"""A build killed with SIGKILL in several stages and resumed must make the same bytes as an unbroken one.

Run: python -m benchmarks.kill_and_resume --counts FILE [--counts FILE] --home DIR [--stage NAME ...]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from atlas.release import Home, Release

STAGES = ("embed_samples", "lay_out_map", "match_keywords")
COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "build")


def build_command(counts: Sequence[Path], home: Path, extra: Sequence[str] = ()) -> list[str]:
    """Return the command line of one build."""
    files = [part for path in counts for part in ("--counts", str(path))]
    return [*COMMAND, *files, "--name", "atlas", "--home", str(home), *extra]


def kill_in(stage: str, command: list[str], home: Path, *, after_s: float) -> bool:
    """Start a build and SIGKILL it ``after_s`` seconds into a stage; return whether it was still in that stage."""
    mark = home / "builds" / "atlas" / "out" / stage
    record = home / "builds" / "atlas" / "stages" / f"{stage}.json"
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and not mark.exists() and not record.exists():
        time.sleep(0.002)
    time.sleep(after_s)
    in_stage = process.poll() is None and mark.exists() and not record.exists()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return in_stage


def compare(
    counts: Sequence[Path],
    home: Path,
    *,
    stages: Sequence[str] = STAGES,
    after_s: float = 0.3,
    extra: Sequence[str] = (),
) -> tuple[Release, Release, dict[str, bool]]:
    """Return the unbroken release, the resumed one, and which kills hit their stage."""
    whole, broken = home / "whole", home / "broken"
    subprocess.run(build_command(counts, whole, extra), check=True, stderr=subprocess.DEVNULL)
    command = build_command(counts, broken, extra)
    hits = {stage: kill_in(stage, command, broken, after_s=after_s) for stage in stages}
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return Release.open(Home(whole)), Release.open(Home(broken)), hits


def main() -> None:
    """Print which stages were killed and whether every file is equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=Path, action="append", required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--stage", action="append")
    args = parser.parse_args()
    whole, resumed, hits = compare([path.absolute() for path in args.counts], args.home, stages=args.stage or STAGES)
    for stage, hit in hits.items():
        print(f"killed in {stage}: {'yes' if hit else 'no, it had ended'}")
    digests = {file.path: file.sha256 for file in resumed.manifest.files}
    for file in whole.manifest.files:
        print(f"{'equal' if digests.get(file.path) == file.sha256 else 'DIFFERENT'}  {file.sha256[:16]}  {file.path}")
    equal = whole.manifest.content_key == resumed.manifest.content_key
    print(f"content keys {'equal' if equal else 'DIFFERENT'}: {whole.manifest.content_key}")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
