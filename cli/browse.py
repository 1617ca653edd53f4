"""Looking round in an atlas: ``samples``, ``facets``, ``series``, ``keywords``, ``explain``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from atlas.answers import FacetValue, GeneContribution, HitExplanation
from cli import options
from cli.opening import make_filters, open_atlas
from cli.output import print_json, print_table, say

app = typer.Typer()

_FACETS = ("tissue", "organism", "series", "cluster", "unit", "molecule", "id_kind")


@app.command()
def samples(
    sort: Annotated[
        str,
        typer.Option(help="row, accession, title, tissue, series, cluster or n_genes_detected; -title: descending."),
    ] = "row",
    offset: Annotated[int, typer.Option(help="Leave out so many samples first.")] = 0,
    limit: Annotated[int, typer.Option(help="List at most so many samples.")] = 50,
    tissue: options.Tissue = None,
    series: options.Series = None,
    organism: options.Organism = None,
    exclude: options.Exclude = None,
    cluster: options.Cluster = None,
    unit: options.Unit = None,
    molecule: options.Molecule = None,
    id_kind: options.IdKind = None,
    release: options.ReleaseName = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """List the samples of the atlas that pass the filters.

    Example: geo-atlas samples --tissue heart --sort=-n_genes_detected
    """
    filters = make_filters(
        tissue=tissue, series=series, organism=organism, exclude=exclude,
        cluster=cluster, unit=unit, molecule=molecule, id_kind=id_kind,
    )  # fmt: skip
    with open_atlas(home, release) as (atlas, _):
        found, n_total = atlas.samples_page(filters=filters, sort=sort, offset=offset, limit=limit)
        shown = f"{offset + 1:,} to {offset + len(found):,}" if found else "none"
        say(f"{n_total:,} samples pass; shown: {shown}.")
        if as_json:
            for one in found:
                print_json(one)
            return
        rows = (
            (s.accession, ",".join(s.series), s.title[:40], s.tissue[:40], s.unit, s.n_genes_detected, s.cluster_label)
            for s in found
        )
        print_table(("accession", "series", "title", "tissue", "unit", "genes", "cluster"), rows)


@app.command()
def facets(
    limit: Annotated[int, typer.Option(help="List at most so many values of a facet.")] = 10,
    tissue: options.Tissue = None,
    series: options.Series = None,
    organism: options.Organism = None,
    exclude: options.Exclude = None,
    cluster: options.Cluster = None,
    unit: options.Unit = None,
    molecule: options.Molecule = None,
    id_kind: options.IdKind = None,
    release: options.ReleaseName = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Count what the samples that pass the filters are: the values to filter by, most frequent first.

    Example: geo-atlas facets --tissue blood
    """
    filters = make_filters(
        tissue=tissue, series=series, organism=organism, exclude=exclude,
        cluster=cluster, unit=unit, molecule=molecule, id_kind=id_kind,
    )  # fmt: skip
    with open_atlas(home, release) as (atlas, _):
        counts = atlas.facets(filters, limit=limit)
        if as_json:
            print_json(counts)
            return
        say(f"{counts.n_samples:,} samples pass.")
        rows = (row for facet in _FACETS for row in _facet_rows(facet, getattr(counts, facet)))
        print_table(("facet", "value", "samples", ""), rows)


@app.command()
def series(
    accession: Annotated[str, typer.Argument(help="A series of the atlas, e.g. GSE141910.")],
    release: options.ReleaseName = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show a series: its samples, their tissues, the clusters they lie in.

    Example: geo-atlas series GSE141910
    """
    with open_atlas(home, release) as (atlas, _):
        found = atlas.series(accession)
        if as_json:
            print_json(found)
            return
        say(f"{found.accession}: {found.title}" + (f"  {found.url}" if found.url else ""))
        clusters = ((one.value, one.label, one.n) for one in found.by_cluster)
        print_table(("cluster", "label", "samples"), clusters, title=f"{found.n_samples:,} samples by cluster")
        tissues = ((one.value, one.n, f"{one.share:.0%}") for one in found.by_tissue)
        print_table(("tissue", "n", "share"), tissues, title="\nTissues")
        rows = ((s.accession, s.title[:40], s.source_name[:40], s.tissue[:40], s.cluster) for s in found.samples)
        print_table(("accession", "title", "source", "tissue", "cluster"), rows, title="\nSamples")
        if len(found.samples) < found.n_samples:
            say(f"Listed: the first {len(found.samples):,}. All: geo-atlas samples --series {found.accession}")


@app.command()
def keywords(
    accessions: Annotated[list[str], typer.Argument(help="Samples, or series for all their samples.")],
    top: Annotated[int, typer.Option(help="Terms of each vocabulary.")] = 5,
    release: options.ReleaseName = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Name the vocabulary terms that fit a selection of samples best.

    Example: geo-atlas keywords GSM1275862 GSM1275866
    """
    with open_atlas(home, release) as (atlas, _):
        found = atlas.keywords(accessions, top=top)
        if as_json:
            for one in found:
                print_json(one)
            return
        rows = ((one.term, one.library, f"{one.score:.3f}", f"{one.z:.2f}") for one in found)
        print_table(("keyword", "library", "score", "z"), rows)


@app.command()
def explain(
    accession: Annotated[str, typer.Argument(help="A sample of the atlas, such as a hit of a search.")],
    phrase: Annotated[str, typer.Argument(help="What was searched for: a phrase or an accession.")],
    plus: options.Plus = None,
    minus: options.Minus = None,
    top: Annotated[int, typer.Option(help="List at most so many genes for and against.")] = 20,
    release: options.ReleaseName = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Name the genes that carry the similarity between a sample and a question.

    Example: geo-atlas explain GSM4215866 cardiomyopathy
    """
    with open_atlas(home, release) as (atlas, _):
        parts = atlas.read_parts(phrase, plus=tuple(plus or ()), minus=tuple(minus or ()))
        found = atlas.explain(accession, parts, top=top)
        if as_json:
            print_json(found)
            return
        _print_explanation(found)


def _print_explanation(found: HitExplanation) -> None:
    say(
        f"{found.accession} scores {found.score:.3f}. Judged: its {found.n_genes} strongest genes, which hold "
        f"{found.kept_weight:.0%} of its weight. A contribution is the score less the score without the gene."
    )
    if found.message:
        say(found.message)
    columns = ("gene", "id", "contribution", "weight")
    print_table(columns, map(_gene_row, found.genes), title="For")
    print_table(columns, map(_gene_row, found.against), title="\nAgainst")


def _gene_row(gene: GeneContribution) -> tuple[str, str, str, str]:
    return gene.symbol, gene.ensembl_id, f"{gene.contribution:+.4f}", f"{gene.weight:.4f}"


def _facet_rows(facet: str, values: Iterable[FacetValue]) -> Iterable[tuple[object, ...]]:
    return ((facet, one.value, one.n, one.label) for one in values)
