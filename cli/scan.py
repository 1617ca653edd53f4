"""``geo-atlas scan``: the sweep of a vocabulary, or of the user's own list of terms."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.errors import AtlasError, InputError, NotFoundError
from atlas.settings import Settings
from cli import options
from cli.opening import open_atlas
from cli.output import RichProgress, print_json, print_table, say

if TYPE_CHECKING:
    from atlas.answers import Job, ScanCell, ScanReport, ScanTerm
    from atlas.scans.shelf import ScanShelf

app = typer.Typer()

_PARTS = 1_000
_SHOWN = 25  # terms a person reads; --json, --csv and --parquet give all


@app.command()
def scan(
    name: Annotated[str | None, typer.Argument(help="Vocabulary, or key of an earlier list. None: list them.")] = None,
    terms: Annotated[Path | None, typer.Option("--terms", help="Your list: one term a line, or GMT.")] = None,
    title: Annotated[str | None, typer.Option("--name", help="What to call your list (default: the file's).")] = None,
    term: Annotated[str | None, typer.Option("--term", help="Show one term in every cluster.")] = None,
    cluster: Annotated[int | None, typer.Option("--cluster", help="Show the terms of one cluster.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write a table to this file.")] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="Write a table to this file.")] = None,
    table: Annotated[str, typer.Option("--table", help="Table to write: terms, clusters or samples.")] = "clusters",
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave the job to a worker (geo-atlas serve or work) and return.")
    ] = False,
    release: options.ReleaseName = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Sweep a vocabulary of diseases over the clusters, with honest p-values; or your own list, as a job.

    Example: geo-atlas scan omim_expanded --term cardiomyopathy
    """
    if name is not None and terms is not None:
        raise InputError("Name a vocabulary or give a list with --terms, not both.")
    if sum(one is not None for one in (term, cluster, csv, parquet)) > 1:
        raise InputError("Give one of --term, --cluster, --csv and --parquet.")
    with open_atlas(home, release) as (atlas, settings):
        shelf = atlas.scans
        if terms is None and name is None:
            _print_list(shelf, as_json=as_json)
            return
        if terms is not None or name not in shelf.names():
            key = _swept(settings, atlas.release.name, name=name, file=terms, title=title, detach=detach)
            if key is None:
                return
            name = key
        if csv or parquet:
            _write(shelf, str(name), table=table, csv=csv, parquet=parquet)
        elif term is not None:
            answer = shelf.term(str(name), term)
            if not as_json:
                _print_terms((answer.term,))
            _print_cells(answer.cells, as_json=as_json)
        elif cluster is not None:
            _print_cells(shelf.cluster(str(name), cluster), as_json=as_json)
        else:
            _print_report(shelf.report(str(name)), as_json=as_json)


def _swept(
    settings: Settings, release: str, *, name: str | None, file: Path | None, title: str | None, detach: bool
) -> str | None:
    """Sweep a list as a job and return its key; ``None`` if the job was left to a worker."""
    from atlas.vocabulary import keyword_vocabularies, read_terms

    if file is None:
        try:
            file = keyword_vocabularies(settings.home_path, (str(name),))[str(name)]
        except NotFoundError as error:
            raise NotFoundError(
                f"There is neither a scan nor a vocabulary {str(name)[:100]!r}. {error.message}",
                details=error.details,
            ) from None
    listed = read_terms(file)
    if listed.n_duplicates:
        say(f"Lines of {file.name} that repeat a term: {listed.n_duplicates:,}; each term is swept once.")
    known = title or name or file.stem
    request = {"terms": list(listed.terms), "name": name or file.stem, "title": known}
    job = _work_off(settings, release, request, detach=detach)
    if job is None:
        return None
    if job.status != "done" or not job.result:
        raise AtlasError(str((job.error or {}).get("message") or f"The scan was {job.status}."))
    key = str(job.result["scan"])
    say(f"Kept as {key}: geo-atlas scan {key}")
    return key


def _work_off(settings: Settings, release: str, request: Mapping[str, object], *, detach: bool) -> Job | None:
    from atlas.workspace.jobs import Jobs
    from atlas.workspace.worker import opened_workspace, work_off

    with opened_workspace(settings) as database:
        job = Jobs(database).submit(
            "scan", request, release=release, client="command line", settings=settings, unlimited=True
        )
        if detach:
            say(f"Job {job.job_id} waits for a worker (`geo-atlas serve` runs one): geo-atlas jobs list")
            return None
        with RichProgress()(_PARTS, "of 1,000 parts") as bar:
            done = 0

            def watch(share: float, message: str | None) -> None:
                nonlocal done
                bar.advance(max(int(share * _PARTS) - done, 0))
                done = max(int(share * _PARTS), done)

            return work_off(database, settings, job.job_id, watch=watch)


def _print_list(shelf: ScanShelf, *, as_json: bool) -> None:
    found = shelf.summaries()
    if as_json:
        for summary in found:
            print_json(asdict(summary))
        return
    if not found:
        say("This release has no scans. Make one: geo-atlas scan omim_expanded, or --terms FILE.")
        return
    rows = ((s.name, s.title, s.n_terms, s.n_significant, s.stored) for s in found)
    print_table(("scan", "title", "terms", "q < .05", "in"), rows)


def _print_report(report: ScanReport, *, as_json: bool) -> None:
    if as_json:
        for term in report.terms:
            print_json(asdict(term))
        return
    summary, calibration = report.summary, report.summary.calibration
    _print_terms(report.terms[:_SHOWN], title=f"{summary.title}  (release {summary.release})")
    if len(report.terms) > _SHOWN:
        say(f"The best {_SHOWN} of {len(report.terms):,} terms; --json, --csv and --parquet give all.")
    if summary.duplicates:
        say(f"Repeated terms, swept once: {summary.n_duplicates:,} ({', '.join(summary.duplicates)}).")
    say(
        f"{summary.n_significant} of {summary.n_terms:,} terms have q < .05. Null: {summary.n_background:,} terms of other "
        f"vocabularies{_few(summary.n_background)}. Check on {calibration.n_held_out:,} held-out terms: p is uniform within "
        f"{calibration.ks_statistic:.3f} (Kolmogorov-Smirnov); {100 * calibration.share_of_null_sweeps:.1f} % of sweeps with "
        "random terms find one."
    )
    say("* the cluster has fewer than 3 studies: descriptive.")


def _few(n: int) -> str:
    return ", fewer than the 5,000 that are meant" if n < 5_000 else ""


def _print_terms(terms: Sequence[ScanTerm], *, title: str | None = None) -> None:
    rows = (
        (
            t.rank,
            t.term,
            f"{t.effect:+.2f}",
            f"{t.top_cluster_label}{' *' if t.descriptive else ''}",
            f"{t.p_value:.2g}",
            f"{t.q_value:.2g}",
            f"{100 * t.share_answering:.1f} %",
        )
        for t in terms
    )
    print_table(("#", "term", "mean z", "cluster", "p", "q", "answers"), rows, title=title)


def _print_cells(cells: Sequence[ScanCell], *, as_json: bool) -> None:
    if as_json:
        for cell in cells:
            print_json(asdict(cell))
        return
    rows = (
        (
            c.term,
            c.cluster,
            f"{c.cluster_label}{' *' if c.descriptive else ''}",
            f"{c.effect:+.2f}",
            "" if c.low is None or c.high is None else f"{c.low:+.2f} to {c.high:+.2f}",
            f"{c.p_value:.2g}",
            f"{c.q_within:.2g}",
            "" if c.q_value is None else f"{c.q_value:.2g}",
            c.n_samples,
            c.n_studies,
        )
        for c in cells
    )
    columns = ("term", "cluster", "label", "mean z", "95 %", "p", "q within term", "q in sweep", "samples", "studies")
    print_table(columns, rows)


def _write(shelf: ScanShelf, name: str, *, table: str, csv: Path | None, parquet: Path | None) -> None:
    """Copy a table of the scan to the user's file, whole or not at all; no file is replaced."""
    import pyarrow.csv
    import pyarrow.parquet as pq

    tables = shelf.tables(name)
    if table not in tables:
        raise InputError(f"--table {table}: expected one of {', '.join(tables)}.")
    out: Path = csv or parquet  # type: ignore[assignment]
    if out.exists():
        raise InputError(f"{out} exists already. Choose another name, or remove it.")
    found = pq.read_table(tables[table])
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        if csv is not None:
            pyarrow.csv.write_csv(found, temporary)
        else:
            pq.write_table(found, temporary)
        os.replace(temporary, out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # of a read-only folder, where there is no draft either
            temporary.unlink(missing_ok=True)
    say(f"Wrote {out}: {found.num_rows:,} rows.")
