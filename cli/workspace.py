"""``geo-atlas backup``, ``restore``, ``jobs``, and labels by hand: what people made and no release can give back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.errors import InputError, NotFoundError
from atlas.release import Home, Release
from atlas.settings import load_settings
from cli import options
from cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from atlas.answers import LabelEdit
    from atlas.workspace.archive import BackupReport
    from atlas.workspace.label_edits import LabelEdits
    from atlas.workspace.members import ClusterMembers

app = typer.Typer()
jobs = typer.Typer(no_args_is_help=True)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="File to make, e.g. atlas-2026-11.zip.")], home: options.Home = None
) -> None:
    """Write jobs, label edits and ad-hoc scans into one file; the rest can be built again.

    Example: geo-atlas backup atlas-2026-11.zip
    """
    from atlas.workspace.backup import backup as write
    from atlas.workspace.worker import opened_workspace

    settings = load_settings(home=home)
    with opened_workspace(settings) as database:
        report = write(database, settings.home_path, file)
    say(f"{report.path} holds {_counts(report)} ({report.n_bytes:,} bytes).")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `geo-atlas backup` made.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Give up the jobs and label edits that are there.")
    ] = False,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", min=1, help="Most bytes the file may expand to.", show_default=False)
    ] = None,
    home: options.Home = None,
) -> None:
    """Bring a backup back. All of it is checked first; nothing is changed if a byte is wrong.

    Example: geo-atlas restore atlas-2026-11.zip
    """
    from atlas.workspace.restore import restore as bring_back
    from atlas.workspace.worker import opened_workspace

    settings = load_settings(home=home)
    with opened_workspace(settings) as database:
        report = bring_back(database, settings.home_path, file, replace=replace, max_bytes=max_bytes)
    say(f"Restored {_counts(report)}, as they were at {report.created_at}.")


@jobs.command("list")
def list_jobs(home: options.Home = None, as_json: options.Json = False) -> None:
    """List the newest jobs.

    Example: geo-atlas jobs list
    """
    from atlas.workspace.jobs import Jobs
    from atlas.workspace.worker import opened_workspace

    with opened_workspace(load_settings(home=home)) as database:
        found = Jobs(database).list()
    if as_json:
        for job in found:
            print_json(job)
    else:
        rows = (
            (
                job.job_id,
                job.kind,
                job.status,
                f"{job.progress:.0%}",
                job.release,
                job.created_at,
                job.error["message"] if job.error else job.message,
            )
            for job in found
        )
        print_table(("job", "kind", "status", "done", "release", "created", ""), rows)


@jobs.command("cancel")
def cancel_job(
    job_id: Annotated[str, typer.Argument(help="Id of the job, see geo-atlas jobs list.")], home: options.Home = None
) -> None:
    """Cancel a job: at once if it waits, at its next step if it runs.

    Example: geo-atlas jobs cancel 0f3c…
    """
    from atlas.workspace.jobs import Jobs
    from atlas.workspace.worker import opened_workspace

    with opened_workspace(load_settings(home=home)) as database:
        job = Jobs(database).cancel(job_id)
    say(f"{job.job_id} is {'being cancelled' if job.status == 'running' else job.status}.")


def label_cluster(
    cluster: int | None,
    text: str | None,
    *,
    author: str | None,
    note: str | None,
    remove: bool,
    history: bool,
    release: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Set, remove or list labels by hand; see ``cli.label``."""
    from atlas.workspace.label_edits import LabelEdits
    from atlas.workspace.members import ClusterMembers
    from atlas.workspace.worker import opened_workspace

    settings = load_settings(home=home)
    opened = Release.open(Home(settings.home_path), release)
    members = ClusterMembers.of(opened)
    if cluster is not None and not history and (text is None) != remove:
        raise InputError("Give a label, or --remove: geo-atlas label 12 'Heart muscle' --author Ada.")
    with opened_workspace(settings) as database:
        edits = LabelEdits(database)
        if cluster is None or history:
            found = edits.history(members) if history else edits.for_release(members)
            _print_edits([edit for edit in found if cluster in (None, edit.cluster)], as_json=as_json)
            return
        if author is None:
            raise InputError("Name the author of the edit: --author NAME.")
        if remove:
            _remove(edits, members, cluster, author=author)
            return
        members.of_cluster(cluster)  # a wrong number is told before its label is looked for
        machine = _machine_label(opened, cluster)
        made = edits.set(members, cluster, label=text or "", machine_label=machine, author=author, note=note)
    say(f"Cluster {cluster} of {opened.name} is now {made.label!r} (the machine says {machine!r}).")


def _remove(edits: LabelEdits, members: ClusterMembers, cluster: int, *, author: str) -> None:
    for edit in edits.for_release(members):
        if edit.cluster == cluster:
            edits.remove(edit.edit_id, author=author)
            say(f"Cluster {cluster} of {members.release} has the machine's label again: {edit.machine_label!r}.")
            return
    raise NotFoundError(f"Cluster {cluster} of {members.release} has no edited label.", details={"cluster": cluster})


def _machine_label(release: Release, cluster: int) -> str:
    table = release.table("labels.parquet", columns=["cluster", "label"]).to_pydict()
    return str(dict(zip(table["cluster"], table["label"], strict=True)).get(cluster, ""))


def _print_edits(edits: list[LabelEdit], *, as_json: bool) -> None:
    if as_json:
        for edit in edits:
            print_json(edit)
        return
    rows = (
        (
            edit.cluster,
            edit.label,
            edit.machine_label,
            edit.author,
            edit.created_at,
            edit.made_on_release,
            _state(edit),
            edit.note,
        )
        for edit in edits
    )
    print_table(("cluster", "label", "machine's label", "author", "date", "made on", "state", "note"), rows)


def _state(edit: LabelEdit) -> str:
    if edit.removed_at is not None:
        return f"removed by {edit.removed_by}"
    if edit.superseded_by is not None:
        return "superseded"
    return edit.carried if edit.carried == "exact" else f"{edit.carried} (overlap {edit.overlap:.2f})"


def _counts(report: BackupReport) -> str:
    counted = {
        "label edit": report.n_rows["label_edits"],
        "job": report.n_rows["jobs"],
        "ad-hoc scan": report.n_scans,
    }
    return ", ".join(f"{n:,} {what}{'' if n == 1 else 's'}" for what, n in counted.items())
