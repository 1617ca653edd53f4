"""A build killed with SIGKILL in several stages and resumed must make the same bytes as an unbroken one.

Run: python -m benchmarks.kill_and_resume --counts FILE [--counts FILE] --home DIR [--stage NAME ...] [--every-stage]
     python -m benchmarks.kill_and_resume --starter DIR --home DIR --every-stage

``--every-stage`` kills in each stage of the plan, the load of the database included, and once more while the finished build is
being published; a build that reached its end before it could be killed is said so.
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
PUBLISHING = "publishing"
"""No stage: the manifest is written, the folder is not yet renamed."""
COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "build")


def build_command(inputs: Sequence[str], home: Path, extra: Sequence[str] = ()) -> list[str]:
    """Return the command line of one build of ``inputs``, options of ``geo-atlas build`` such as ``--counts FILE``."""
    return [*COMMAND, *inputs, "--name", "atlas", "--home", str(home), *extra]


def kill_in(stage: str, command: list[str], home: Path, *, after_s: float) -> bool:
    """Start a build and SIGKILL it ``after_s`` seconds into a stage; return whether it was still in that stage."""
    build = home / "builds" / "atlas"
    mark, record = build / "out" / stage, build / "stages" / f"{stage}.json"
    if stage == PUBLISHING:
        mark, record, after_s = build / "release" / "manifest.json", home / "releases" / "atlas", 0.0
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and not mark.exists() and not record.exists():
        time.sleep(0.001)
    time.sleep(after_s)
    in_stage = process.poll() is None and mark.exists() and not record.exists()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return in_stage


def compare(
    inputs: Sequence[str],
    home: Path,
    *,
    stages: Sequence[str] = STAGES,
    after_s: float = 0.3,
    extra: Sequence[str] = (),
) -> tuple[Release, Release, dict[str, bool]]:
    """Return the unbroken release, the resumed one, and which kills hit their stage."""
    whole, broken = home / "whole", home / "broken"
    subprocess.run(build_command(inputs, whole, extra), check=True, stderr=subprocess.DEVNULL)
    command = build_command(inputs, broken, extra)
    hits = {stage: kill_in(stage, command, broken, after_s=after_s) for stage in stages}
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return Release.open(Home(whole)), Release.open(Home(broken)), hits


def every_stage() -> tuple[str, ...]:
    """Return the names of the plan's stages, and the publishing behind them."""
    from indexer.plan import STAGES as PLAN

    return (*(stage.name for stage in PLAN), PUBLISHING)


def main() -> None:
    """Print which stages were killed and whether every file is equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--counts", type=Path, action="append")
    given.add_argument("--starter", type=Path)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--stage", action="append")
    parser.add_argument("--every-stage", action="store_true")
    parser.add_argument("--after", type=float, default=0.3, help="seconds into a stage")
    args = parser.parse_args()
    inputs = [part for path in args.counts or () for part in ("--counts", str(path.absolute()))]
    inputs += ["--starter", str(args.starter.absolute())] if args.starter else []
    stages = every_stage() if args.every_stage else args.stage or STAGES
    whole, resumed, hits = compare(inputs, args.home.absolute(), stages=stages, after_s=args.after)
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
