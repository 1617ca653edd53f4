"""``geo-atlas export``: the hits of a search with their counts, as one h5ad file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.output import RichProgress, print_json, say

app = typer.Typer()

_NAMED = 10  # missing samples named on stderr; the file names all


@app.command()
def export(
    hits: Annotated[
        Path, typer.Argument(help="JSON, CSV or Parquet of a search, or a list of accessions; - reads stdin.")
    ],
    counts: Annotated[Path, typer.Option("--counts", help="Your ARCHS4 HDF5 file, of any size.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="h5ad file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Take the counts of the hits out of your own ARCHS4 file, with their ranks, scores and descriptions.

    Example: geo-atlas search cardiomyopathy --json | geo-atlas export - --counts human_gene_v2.6.h5 -o hits.h5ad
    """
    from atlas.exports.counts import export_counts
    from atlas.exports.hit_lists import read_hits

    listed = read_hits(sys.stdin.buffer.read(), name="stdin") if str(hits) == "-" else read_hits(hits)
    with RichProgress()(len(listed.accessions), "samples") as bar:
        report = export_counts(listed, out, counts=counts, force=force, advance=bar.advance)
    if as_json:
        print_json({**vars(report), "path": str(report.path)})
    if report.n_duplicates:
        say(f"{report.n_duplicates:,} lines repeat a sample; the first of each counts.")
    if report.missing:
        more = f" and {len(report.missing) - _NAMED:,} more" if len(report.missing) > _NAMED else ""
        say(
            f"{len(report.missing):,} of {len(listed.accessions):,} samples are not in {counts.name}: "
            f"{', '.join(report.missing[:_NAMED])}{more}. The file lists them under uns['geo_atlas']['missing']."
        )
    say(f"Wrote {out}: {report.n_samples:,} samples x {report.n_genes:,} genes.")
