"""Whether labels fit what the members are, with and without a look at the members' annotations.

The labels are made twice from the same keywords: from the transcriptomes alone, and as the program does, where a term that fits
the annotations worse than a random one gives way. Both are compared with the annotations and with the curated tissue of the
corpora, which nothing but evaluation reads. No language model is asked.

Run: python -m benchmarks.label_agreement --data ../shared/data --home HOME
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from atlas.landscape.agreement import Annotations, Depositors
from atlas.landscape.labels import Label, label_clusters
from atlas.model.joint import JointModel
from atlas.model.text_cache import embed_terms, text_caches
from atlas.release import Home, Release
from benchmarks.study_effects import curated_tissues
from indexer.stages.label_clusters import AGREES, count_members, distinct_keywords, reference_terms


def curated(release: Release, tissues: dict[str, str]) -> list[Annotations]:
    """Return the curated tissues of each cluster's members as if they were annotations."""
    table = release.table("communities.parquet", columns=["sample_id", "cluster"])
    counted: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(max(table["cluster"].to_pylist()) + 1)]
    for sample, cluster in zip(table["sample_id"].to_pylist(), table["cluster"].to_pylist(), strict=True):
        counted[cluster][(tissues[sample],) if tissues.get(sample) else ()] += 1
    return [Annotations.of(one) for one in counted]


def line(name: str, labels: dict[int, Label], judges: list[Depositors]) -> str:
    """Return one row of the table."""
    cells = []
    for judge in judges:
        found = [judge.agreement(cluster, [label.text]) for cluster, label in labels.items()]
        values = np.array([one[0] for one in found if one is not None])
        cells += [f"{values.mean():.3f}", f"{(values >= AGREES).sum()} of {values.size}", str((values < 0.5).sum())]
    return f"| {name} | {' | '.join(cells)} |"


def label_agreement(release: Release, tissues: dict[str, str], *, home: Path) -> str:
    """Return the table as markdown, and the labels that differ."""
    clusters = release.table("communities.parquet", columns=["cluster"])["cluster"].to_numpy()
    embed = partial(embed_terms, JointModel.load(release.checked("model")), caches=text_caches(home))
    reference = reference_terms(release.folder)
    members = count_members(release.checked("samples.parquet"), clusters)
    own = Depositors([Annotations.of(one.said) for one in members], embed=embed, reference=reference)
    judges = [own, Depositors(curated(release, tissues), embed=embed, reference=reference)]
    keywords = distinct_keywords(release.folder, clusters)
    alone, guarded = label_clusters(keywords), label_clusters(keywords, agreement=own.agreement)
    changed = [
        f"- {alone[cluster].text} -> {guarded[cluster].text} ({judges[1].annotations[cluster].top})"
        for cluster in alone
        if alone[cluster].text != guarded[cluster].text
    ]
    header = "mean agreement | from 0.9 | below 0.5"
    return "\n".join(
        [
            f"| labels | annotations: {header} | curated tissue: {header} |",
            "|---|---|---|---|---|---|---|",
            line("from the transcriptomes alone", alone, judges),
            line("a term worse than a random one gives way", guarded, judges),
            "",
            "Labels that changed, and the commonest curated tissue:",
            "",
            *changed,
        ]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    args = parser.parse_args()
    print(label_agreement(Release.open(Home(args.home)), curated_tissues(args.data), home=args.home))


if __name__ == "__main__":
    main()
