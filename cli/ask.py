"""Questions to an atlas: ``search``, ``neighbors``, ``transcriptome``, ``sample``, ``clusters``, ``cluster``."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from atlas.answers import LabelQuality
from atlas.settings import Settings
from cli import options
from cli.opening import make_filters, open_atlas
from cli.output import hit_line, print_json, print_neighbors, print_search, print_table, say, share

app = typer.Typer()


class Mode(StrEnum):
    """How a phrase is matched."""

    semantic = "semantic"
    lexical = "lexical"
    hybrid = "hybrid"


@app.command()
def search(
    phrase: Annotated[str, typer.Argument(help="What to look for, in words; or an accession.")],
    k: options.K = 20,
    mode: Annotated[
        Mode, typer.Option(help="semantic: by transcriptome; lexical: by words; hybrid: both.")
    ] = Mode.semantic,
    plus: options.Plus = None,
    minus: options.Minus = None,
    per_series: Annotated[int | None, typer.Option(help="At most this many hits of one series.")] = None,
    diversity: Annotated[float, typer.Option(help="0: by relevance alone; towards 1: unlike hits first.")] = 0.0,
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
    """Find samples whose transcriptomes match a phrase.

    Example: geo-atlas search "heart failure" --minus "ischemic^0.5" --per-series 3 --exclude fetal
    """
    filters = make_filters(
        tissue=tissue, series=series, organism=organism, exclude=exclude,
        cluster=cluster, unit=unit, molecule=molecule, id_kind=id_kind,
    )  # fmt: skip
    with open_atlas(home, release, with_database=mode is not Mode.semantic) as (atlas, _):
        result = atlas.search_text(
            phrase,
            k=k,
            mode=mode.value,
            filters=filters,
            plus=tuple(plus or ()),
            minus=tuple(minus or ()),
            per_series=per_series,
            diversity=diversity,
        )
        print_search(result, as_json=as_json)


@app.command()
def neighbors(
    accession: Annotated[str, typer.Argument(help="A sample of the atlas, e.g. GSM1275862.")],
    k: options.K = 20,
    exclude_same_series: options.ExcludeSame = False,
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
    """Find the samples nearest to a sample of the atlas.

    Example: geo-atlas neighbors GSM1275862 --exclude-same-series
    """
    filters = make_filters(
        tissue=tissue, series=series, organism=organism, exclude=exclude,
        cluster=cluster, unit=unit, molecule=molecule, id_kind=id_kind,
    )  # fmt: skip
    with open_atlas(home, release) as (atlas, _):
        result = atlas.similar_samples(accession, k=k, exclude_same_series=exclude_same_series, filters=filters)
        print_neighbors(result, as_json=as_json)


@app.command()
def transcriptome(
    file: Annotated[Path, typer.Argument(help="CSV/TSV (genes as rows) or h5ad; one or many samples.")],
    k: options.K = 20,
    unit: Annotated[str | None, typer.Option(help="counts, tpm, fpkm or log2, where the file does not say.")] = None,
    exclude_series: Annotated[list[str] | None, typer.Option(help="Leave out this series; repeatable.")] = None,
    release: options.ReleaseName = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Find the samples nearest to your own expression table. The table is read, answered and forgotten.

    Example: geo-atlas transcriptome my_counts.tsv -k 10
    """
    from atlas.expression.units import parse_unit
    from atlas.expression.uploads import read_upload

    with open_atlas(home, release) as (atlas, settings):
        declared = parse_unit(unit) if unit else None
        matrix = read_upload(file.name, _read_bytes(file, settings), settings, unit=declared, genes=atlas.genes)
        for result in atlas.search_expression(matrix, k=k, exclude_series=tuple(exclude_series or ())):
            print_neighbors(result, as_json=as_json)


@app.command()
def sample(
    accession: Annotated[str, typer.Argument(help="A sample of the atlas.")],
    release: options.ReleaseName = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show what the atlas knows of one sample.

    Example: geo-atlas sample GSM1275862
    """
    with open_atlas(home, release) as (atlas, _):
        record = atlas.sample(accession)
        if as_json:
            print_json(record)
            return
        print_table(("field", "value"), ((k, _text(v)) for k, v in dataclasses.asdict(record).items()))


@app.command()
def clusters(release: options.ReleaseName = None, home: options.Home = None, as_json: options.Json = False) -> None:
    """List the clusters, largest first.

    Example: geo-atlas clusters --json
    """
    with open_atlas(home, release) as (atlas, _):
        found = atlas.clusters()
        if as_json:
            for one in found:
                print_json(one)
            return
        rows = (
            (
                c.cluster,
                c.label,
                c.n_samples,
                c.n_series,
                f"{c.top_series} {c.top_series_share:.0%}",
                share(c.agreement),
                share(c.stability),
                _study(c.single_study),
            )
            for c in found
        )
        columns = ("cluster", "label", "samples", "series", "largest series", "agreement", "stability", "")
        print_table(columns, rows)


@app.command()
def cluster(
    cluster_id: Annotated[int, typer.Argument(metavar="ID", help="Number of the cluster.")],
    release: options.ReleaseName = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show one cluster: label, evidence, most central samples, composition.

    Example: geo-atlas cluster 0
    """
    with open_atlas(home, release) as (atlas, _):
        detail = atlas.cluster(cluster_id)
        if as_json:
            print_json(detail)
            return
        s = detail.summary
        say(f"Cluster {s.cluster}: {s.label} ({detail.label_method}).")
        say(f"{s.n_samples} samples, {s.n_series} series. {_study(s.single_study)}")
        if s.edited_by is not None:
            say(f"Label by {s.edited_by}, {s.edited_at}; the machine's: {s.machine_label}.")
        if detail.quality is not None:
            say(_trust(detail.quality))
        evidence = ((e.term, e.library, f"{e.score:.3f}", f"{e.z:.2f}") for e in detail.evidence)
        print_table(("term", "library", "score", "z"), evidence, title="Evidence")
        print_table(
            ("tissue", "n", "share"), ((x.value, x.n, f"{x.share:.0%}") for x in detail.by_tissue), title="\nTissues"
        )
        print_table(
            ("series", "n", "share"), ((x.value, x.n, f"{x.share:.0%}") for x in detail.by_series), title="\nSeries"
        )
        top = (
            tuple(hit_line(h)[key] for key in ("accession", "title", "source_name", "score"))
            for h in detail.top_samples
        )
        print_table(("accession", "title", "source", "score"), top, title="\nMost central samples")


def _trust(quality: LabelQuality) -> str:
    """Say how far a cluster and its label can be trusted."""
    if quality.agreement is None:
        agreement = "Its members' annotation says nothing of the label."
    else:
        agreement = f"Label against the annotation of {quality.n_annotated} members: agreement {quality.agreement:.2f}."
    if quality.stability is None:
        return agreement
    return (
        f"{agreement} Stability over {quality.n_resamples} resampled clusterings: {quality.stability:.2f} "
        f"(5th percentile {share(quality.stability_low)})."
    )


def _study(single: bool) -> str:
    return "single study" if single else ""


def _text(value: object) -> object:
    if isinstance(value, (tuple, list)):
        return "; ".join(": ".join(map(str, v)) if isinstance(v, (tuple, list)) else str(v) for v in value)
    return value


def _read_bytes(file: Path, settings: Settings) -> bytes:
    from atlas.errors import InputError, TooLargeError

    try:
        size = file.stat().st_size
        if size > settings.upload_max_bytes:
            raise TooLargeError(
                f"{file} has {size} bytes; at most {settings.upload_max_bytes} are read. Give fewer samples, raise "
                "GEO_ATLAS_UPLOAD_MAX_BYTES, or build an atlas of it: geo-atlas build --counts."
            )
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror}.") from error
