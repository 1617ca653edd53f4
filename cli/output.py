"""Results on stdout, everything else on stderr."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from atlas.answers import Hit, NeighborsResult, SearchResult
from indexer.stage import Advance


def say(text: str) -> None:
    """Print a remark on stderr."""
    typer.echo(text, err=True)


def print_json(payload: Any) -> None:
    """Print one JSON value on one line of stdout; frozen records become objects."""
    if dataclasses.is_dataclass(payload) and not isinstance(payload, type):
        payload = dataclasses.asdict(payload)
    sys.stdout.write(json.dumps(payload, ensure_ascii=False, allow_nan=False) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print an aligned table on stdout; text of the sources is shown as it is, never as markup."""
    cells = [[_plain("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        _print_whole(columns, cells, title=title)
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in cells:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _print_whole(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None) -> None:
    """Print a table to a file or a pipe, where no cell may be cut and no line padded at its end."""
    lines = [list(columns), *rows]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(columns))]
    if title:
        sys.stdout.write(title + "\n")
    for line in lines:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def print_text(text: str) -> None:
    """Print a text of our own making on stdout."""
    sys.stdout.write(text + "\n")


def share(value: float | None) -> str:
    """Return a number in [0, 1] as it is printed, empty where it is not known."""
    return "" if value is None else f"{value:.2f}"


def hit_line(hit: Hit, **more: Any) -> dict[str, Any]:
    """Return one hit as the flat object that ``--json`` prints."""
    sample = hit.sample
    return {
        "rank": hit.rank,
        "accession": sample.accession,
        "series": ",".join(sample.series),
        "score": hit.score,
        "percentile": hit.percentile,
        **more,
        "title": sample.title,
        "source_name": sample.source_name,
        "tissue": sample.tissue,
        "caption": sample.caption,
        "cluster": sample.cluster,
        "cluster_label": sample.cluster_label,
        "url": sample.url,
        "lexical_rank": hit.lexical_rank,
    }


def print_search(result: SearchResult, *, as_json: bool) -> None:
    """Print the answer to a phrase; with ``as_json`` exactly one hit a line and nothing else on stdout."""
    if result.message:
        say(result.message)
    if as_json:
        for hit in result.hits:
            print_json(hit_line(hit, no_match=result.no_match, release=result.release))
        return
    print_table(_HIT_COLUMNS, map(_hit_row, result.hits), title=f"{result.query}  (release {result.release})")
    if result.series:
        rows = ((s.series, f"{s.n_hits}/{s.n_samples}", s.best_rank, s.title) for s in result.series[:10])
        print_table(("series", "hits", "best rank", "title"), rows, title="\nSeries")


def print_neighbors(result: NeighborsResult, *, as_json: bool) -> None:
    """Print the nearest samples of one transcriptome."""
    if result.coverage and not as_json:
        c = result.coverage
        say(
            f"{result.query}: {c.n_recognised} of {c.n_given} genes recognised by {c.identifier}; "
            f"{c.n_covered} of the model's {c.n_model_genes} genes are measured."
            + (
                " So few genes place a sample poorly: take the answer as a hint."
                if c.n_covered < c.n_model_genes / 10
                else ""
            )
        )
    if as_json:
        for hit in result.hits:
            print_json(hit_line(hit, query=result.query, release=result.release))
        return
    print_table(_HIT_COLUMNS, map(_hit_row, result.hits), title=f"{result.query}  (release {result.release})")
    if result.keywords:
        rows = ((k.term, k.library, f"{k.score:.3f}", f"{k.z:.2f}") for k in result.keywords[:10])
        print_table(("keyword", "library", "score", "z"), rows, title="\nKeywords")
    if result.position:
        p = result.position
        say(f"Place on the map: x {p.x:.2f}, y {p.y:.2f}, cluster {p.cluster} ({p.cluster_label}).")


_HIT_COLUMNS = ("#", "accession", "series", "score", "pct", "title", "source", "cluster", "record")


def _hit_row(hit: Hit) -> tuple[object, ...]:
    s = hit.sample
    score = "" if hit.score is None else f"{hit.score:.3f}"
    percentile = "" if hit.percentile is None else f"{hit.percentile:.1f}"
    series = ",".join(s.series)
    return hit.rank, s.accession, series, score, percentile, s.title[:40], s.source_name[:40], s.cluster_label, s.url


def _plain(text: str) -> str:
    """Drop control characters, so that text of a source cannot steer the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


class RichProgress:
    """Progress bars on stderr with rate and time left; silent when stderr is not a terminal."""

    @contextmanager
    def __call__(self, total: int | None, unit: str) -> Iterator[Advance]:
        """Show one bar over ``total`` units."""
        console = Console(stderr=True)
        columns = (
            TextColumn("      {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(unit, total=total, rate="")
            yield _Bar(progress, task, unit)


class _Bar:
    def __init__(self, progress: Progress, task: Any, unit: str) -> None:
        self._progress, self._task, self._unit = progress, task, unit

    def advance(self, n: int = 1) -> None:
        """Count ``n`` units and refresh the rate."""
        self._progress.advance(self._task, n)
        speed = self._progress.tasks[0].speed
        self._progress.update(self._task, rate=f"{speed:,.0f} {self._unit}/s" if speed else "")
