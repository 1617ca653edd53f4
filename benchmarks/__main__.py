"""Make every table of ``docs/measurements.md``, of phrases and of places, each by the command it names.

Run: make bench ARGS="--data DATA"   (about 15 minutes on 2 cores; --out to write elsewhere)
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INTRODUCTION = """# Measurements

Each table names the command that makes it; all of this page: `make bench ARGS="--data DATA"`. Timings inform, they are of one
machine at one time: {machine}. Phrases against curated labels have [a page of their own](measurements-phrases.md), and so have
[places on the map](measurements-placement.md) and [the speed of embedding](measurements-speed.md);
[disease scans](measurements-scans.md) and
[the service](measurements-api.md) are measured over a home at hand, each by the command its page names. What 650,000 samples
cost, and how that grows, stands on [a page of its own](measurements-full-size.md).

`DATA` is a folder with `corpora/counts.h5` and `corpora/tpm.h5` (2,399 real samples of 68 series, ARCHS4 layout).
"""


def capture(arguments: Sequence[str]) -> str:
    """Run ``python -m <arguments>`` in the checkout and return what it printed."""
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def section(title: str, text: str, *, shown: str, body: str) -> str:
    """Return one section with its command and its table."""
    return f"## {title}\n\n{text}\n\n`{shown}`\n\n{body}\n"


def demo(home: Path) -> str:
    """Build the demo afresh and return time to the first answer and peak memory as markdown."""
    started = time.monotonic()
    command = [sys.executable, "-m", "cli.main", "demo", "--no-serve", "--home", str(home)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**20
    return f"| seconds to the first answer | largest process, MiB |\n|---|---|\n| {wall:.0f} | {peak:.0f} |"


def measure(data: Path, work: Path) -> str:
    """Return the whole page."""
    counts = [str(data / "corpora" / name) for name in ("counts.h5", "tpm.h5")]
    home = str(work / "builds" / "whole")
    files = [part for path in counts for part in ("--counts", path)]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    parts = [
        INTRODUCTION.format(machine=machine),
        section(
            "The demo",
            "From the packaged starter (1,522 samples): every stage from the index to the database, and the first answer.",
            shown="geo-atlas demo --no-serve --home HOME",
            body=demo(work / "demo"),
        ),
        section(
            "Killed and resumed",
            "A build of both corpora killed with SIGKILL inside three stages and resumed, against an unbroken one.",
            shown="python -m benchmarks.kill_and_resume --home BUILDS "
            "--counts DATA/corpora/counts.h5 --counts DATA/corpora/tpm.h5",
            body="```\n" + capture(["benchmarks.kill_and_resume", *files, "--home", str(work / "builds")]) + "\n```",
        ),
        section(
            "Time and memory of a build",
            "The unbroken build above; the manifest of every release holds the same.",
            shown="python -m benchmarks.release_report --home BUILDS/whole",
            body=capture(["benchmarks.release_report", "--home", home]),
        ),
        section(
            "Study effects",
            "Whether clusters and neighbours follow tissue or study. Random: 20 draws, seed 0. One study often is the only one "
            "of its tissue here, so tissue and series share much; the last line leaves a sample's own series out.",
            shown="python -m benchmarks.study_effects --data DATA --home BUILDS/whole",
            body=capture(["benchmarks.study_effects", "--data", str(data), "--home", home]),
        ),
        section(
            "Labels",
            "Agreement of the labels (see schema.md) with what depositors wrote and with the curated tissue. 0.5 is a random "
            "term; one label a cluster, so differences of one or two clusters are no proof.",
            shown="python -m benchmarks.label_agreement --data DATA --home BUILDS/whole",
            body=capture(["benchmarks.label_agreement", "--data", str(data), "--home", home]),
        ),
        section(
            "Nothing matches",
            "How often it is said, rightly and wrongly, of 200 phrases that are no biology and 200 that are, over the packaged "
            "atlas; the bars: at most 5 % false matches, at least 90 % kept. It recognises phrases that are no biology; it does "
            "not notice that the atlas lacks a disease: with every heart removed, `heart` still finds what resembles it most.",
            shown="python -m benchmarks.abstention --starter starter",
            body=capture(["benchmarks.abstention", "--starter", "starter"]),
        ),
    ]
    return "\n".join(parts)


def main() -> None:
    """Write ``docs/measurements.md``, then the phrases' page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("GEO_ATLAS_TEST_DATA", ROOT.parent / "shared" / "data")
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "measurements.md")
    parser.add_argument("--skip-phrases", action="store_true")
    args = parser.parse_args()
    data = Path(args.data).resolve()
    if not (data / "corpora" / "counts.h5").is_file():
        parser.error(
            f"{data} holds no corpora/counts.h5. Name the folder of the corpora: --data DIR, or GEO_ATLAS_TEST_DATA."
        )
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)  # as root, the embedded database runs as another user and must reach its home
        args.out.write_text(measure(data, Path(work)), encoding="utf-8")
        page = args.out.with_name("measurements-placement.md")
        capture(["benchmarks.placement", "--home", str(Path(work) / "demo"), "--out", str(page)])
    if not args.skip_phrases:
        page = args.out.with_name("measurements-phrases.md")
        capture(["benchmarks.phrases", "--data", str(data), "--out", str(page)])


if __name__ == "__main__":
    main()
