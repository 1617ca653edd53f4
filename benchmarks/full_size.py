"""Make ``docs/measurements-full-size.md``: what 650,000 samples cost, stage by stage and question by question.

Run: python -m benchmarks.full_size --scratch DIR --profiles FILE.h5 [--only NAME ... | --page] [--out PAGE]

DIR takes 60 GB: synthetic atlases, homes, and the text of each section, which is kept: a run that was stopped goes on with
the sections that are missing, and ``--only`` measures the named ones anew. All takes some four hours; nothing else should run
meanwhile. FILE.h5 is a real ARCHS4 file, whose profiles the synthetic counts follow.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE = ("-m",)
"""How the interpreter is told to run a module."""
INTRODUCTION = """# The full size: 650,000 samples

Measured on {machine}, one thing after another with nothing else running unless a table names a load. Made by
`python -m benchmarks.full_size --scratch S --profiles FILE.h5`, which runs the commands named below, `S` its scratch folder.
Milliseconds inform, they are of one machine at one time; ratios are to what is named, in the same run. All data are drawn by
seed 0 and long-tailed (participation ratio 80, 2,048 dimensions) unless another is named; how they are made is told by
`python -m benchmarks.synthesize --help`. FAISS is as the wheel brings it.
"""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    text
        What is asked and what bar holds.
    commands
        Modules of this package with their arguments; ``S`` stands for the scratch folder, ``FILE.h5`` for the real counts.
    before
        Commands that make what these need, not shown.
    """

    name: str
    title: str
    text: str
    commands: tuple[str, ...]
    before: tuple[str, ...] = ()


DATA = {
    "S/pr80": "synthesize vectors --n 650000 --spectrum 80 --out S/pr80",
    "S/shipped": "synthesize vectors --n 650000 --spectrum shipped --out S/shipped",
    "S/pr20": "synthesize vectors --n 650000 --spectrum 20 --out S/pr20",
    "S/pr500": "synthesize vectors --n 650000 --spectrum 500 --out S/pr500",
    "S/small": "synthesize vectors --n 65000 --spectrum 80 --out S/small",
    "S/large": "synthesize vectors --n 2000000 --dim 256 --spectrum 80 --out S/large",
    "S/counts.h5": "synthesize counts --n 65000 --profiles FILE.h5 --out S/counts.h5",
    "S/home": "release_from_vectors --starter S/pr80 --home S/home",
    "S/home-small": "release_from_vectors --starter S/small --home S/home-small",
    "S/home-large": "release_from_vectors --starter S/large --home S/home-large",
}
"""What commands read, and the command that makes it."""

SECTIONS = (
    Section(
        "release",
        "A whole release",
        "From vectors to a published release with its catalog. Bars: 25 minutes, 8 GB.",
        ("release_from_vectors --starter S/pr80 --home S/home",),
    ),
    Section(
        "search",
        "Search engine",
        "500 queries of each kind that had no say in the choice of parameters: `rows` are new samples, half of them of studies "
        "that the atlas does not hold. Bars: a fiftieth of the p50 of FAISS Flat, p99 10 ms, recall@10 .995 and @100 .98, 250 "
        "MB; from a cold page cache p95 30 ms; behind filters recall@10 .99 and p50 10 ms; all samples scored in 60 ms.",
        ("search_engine --starter S/pr80",),
    ),
    Section(
        "spectra",
        "Search engine, other spectra",
        "The spectrum of the packaged samples' vectors (participation ratio 4), and ratios 20 and 500: reported, no bar.",
        tuple(f"search_engine --starter S/{name}" for name in ("shipped", "pr20", "pr500")),
    ),
    Section(
        "landscape",
        "Graph, clusters and map",
        "Bars: graph, Leiden and layout together 8 minutes and 5 GB, recall of the graph .95; keywords 60 s. The layout "
        "of a large atlas runs in parallel and is not repeatable bit for bit; the seeded one is measured beside it.",
        ("landscape --starter S/pr80 --seeded",),
    ),
    Section(
        "sweep",
        "Sweep of a vocabulary",
        "187 terms of OMIM over all samples with null model, FDR and clusters. Bars: similarities .7 of the plain float32 "
        "product, error 1e-3; 90 s and 1.5 GB in all.",
        ("sweep --home S/home",),
    ),
    Section(
        "catalog",
        "Catalog",
        "Bars: loaded within 4 minutes, questions within 20 ms.",
        ("catalog_load --starter S/pr80 --scratch S/catalog",),
    ),
    Section(
        "start",
        "Start of the service",
        "Until `/v1/health/ready` says so, text tower loaded. Bar: 10 s. The first questions are asked while files are still "
        "checked: each block of a large file is checked before it is used.",
        ("api_start --home S/home",),
    ),
    Section(
        "service",
        "Questions a second",
        "Client and service share the two cores. Bars: one client p50 10 ms, 25 ms where the phrase has to be embedded; 16 "
        "clients 150 answers a second, p99 150 ms, no error in 10 minutes.",
        (
            "api_load --home S/home --clients 1 --seconds 60",
            "api_load --home S/home --clients 1 --seconds 60 --new 1",
            "api_load --home S/home --clients 16 --seconds 600",
        ),
    ),
    Section("map", "The map in a browser", "Bars stand in the table.", ("map_browser --home S/home",)),
    Section(
        "embedding",
        "Embedding from counts",
        "A synthetic ARCHS4 file of 65,000 samples, counts drawn from real profiles; the last column is extrapolated. Bar: 6 GB.",
        ("embed_counts S/counts.h5 --samples 10000 65000 --ray 2",),
    ),
    Section(
        "growth",
        "Growth",
        "The same at 65,000, and at 2,000,000 with 256 dimensions.\n\n![How each row scales](full-size-growth.svg)",
        ("growth --home S/home-small --home S/home --home S/home-large --plot docs/full-size-growth.svg",),
    ),
    Section(
        "faults",
        "Faults",
        "What is killed, filled up, flipped, restarted or replaced, and what happens then.",
        (
            "kill_and_resume --every-stage --starter starter --home S/killed",
            "faults.catalog_load_killed --home S/home-small",
            "faults.postgres_restarted --home S/home",
            "faults.release_replaced --home S/home-small --release big --release half",
            "faults.flipped_bit --home S/home",
            "faults.disk_full --starter starter --scratch S/full",
            "faults.memory_limit --starter S/small --scratch S/limited",
        ),
        before=("release_from_vectors --starter S/small --home S/home-small --name half -- --limit 30000",),
    ),
)


def run(command: str, *, scratch: Path, profiles: Path) -> str:
    """Run one command and return what it printed; its progress goes to stderr."""
    places = {"FILE.h5": str(profiles), "S": str(scratch)}
    words = []
    for word in shlex.split(command):
        head, slash, rest = word.partition("/")
        words.append(places.get(head, head) + slash + rest)
    done = subprocess.run(
        [sys.executable, *MODULE, f"benchmarks.{words[0]}", *words[1:]], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}; what is done is kept, run the same command again.")
    said = done.stdout.strip()
    for name, place in places.items():  # the page is about no machine's folders
        said = said.replace(place, name)
    return said


def prepare(command: str, *, scratch: Path, profiles: Path) -> None:
    """Make what a command reads and what is not there yet."""
    for word in shlex.split(command)[1:]:
        if word in DATA and DATA[word] != command and not (scratch / word.removeprefix("S/")).exists():
            prepare(DATA[word], scratch=scratch, profiles=profiles)
            run(DATA[word], scratch=scratch, profiles=profiles)


def measured(section: Section, *, scratch: Path, profiles: Path, anew: bool) -> str:
    """Return the section's text, measured now or kept from before."""
    kept = scratch / "sections" / f"{section.name}.md"
    if anew or not kept.is_file():
        parts = []
        for command in (*section.before, *section.commands):
            prepare(command, scratch=scratch, profiles=profiles)
        for command in section.before:
            run(command, scratch=scratch, profiles=profiles)
        for command in section.commands:
            said = run(command, scratch=scratch, profiles=profiles)
            said = said if "|---" in said else f"```\n{said}\n```"
            parts.append(f"`python -m benchmarks.{command}`\n\n{said}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return f"## {section.title}\n\n{section.text}\n\n{kept.read_text(encoding='utf-8')}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for data, homes and sections")
    parser.add_argument("--profiles", type=Path, required=True, help="real ARCHS4 file")
    parser.add_argument(
        "--only", nargs="+", choices=[section.name for section in SECTIONS], default=[], help="sections to measure anew"
    )
    parser.add_argument(
        "--page", action="store_true", help="measure nothing, write the page of the sections that are kept"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "measurements-full-size.md", help="the page")
    asked = parser.parse_args(arguments)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}"
    places = {"scratch": asked.scratch.absolute(), "profiles": asked.profiles.absolute()}
    wanted = [one for one in SECTIONS if one.name in asked.only or not (asked.only or asked.page)]
    for section in wanted:
        measured(section, **places, anew=bool(asked.only))
    kept = [one for one in SECTIONS if (asked.scratch / "sections" / f"{one.name}.md").is_file()]
    page = [INTRODUCTION.format(machine=machine)]
    page += [measured(section, **places, anew=False) for section in kept]
    asked.out.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
