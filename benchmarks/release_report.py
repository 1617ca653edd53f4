"""What a release's manifest measured: time and memory of each stage, and the recall of its index.

Run: python -m benchmarks.release_report --home HOME [--release NAME]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from atlas.release import Home, Release


def stage_table(release: Release) -> str:
    """Return stage, samples, seconds and peak memory as markdown."""
    lines = ["| stage | in | out | seconds | peak memory of the process so far, MiB |", "|---|---|---|---|---|"]
    for entry in release.manifest.stages:
        peak = entry.peak_rss_bytes / 2**20
        lines.append(f"| {entry.name} | {entry.n_in} | {entry.n_out} | {entry.wall_s:.1f} | {peak:.0f} |")
    total = sum(entry.wall_s for entry in release.manifest.stages)
    lines.append(f"| all | | | {total:.1f} | {max(e.peak_rss_bytes for e in release.manifest.stages) / 2**20:.0f} |")
    return "\n".join(lines)


def index_notes(release: Release) -> str:
    """Return what ``build_index`` chose and measured."""
    return "```json\n" + json.dumps(release.manifest.stage("build_index").notes, indent=1) + "\n```"


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--release")
    args = parser.parse_args()
    release = Release.open(Home(args.home), args.release)
    print(f"Release {release.name}, {release.manifest.n_samples} samples, versions {release.manifest.versions}\n")
    print(stage_table(release) + "\n\n" + index_notes(release))


if __name__ == "__main__":
    main()
