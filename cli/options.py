"""Options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of the atlas (default: ~/.geo-atlas or GEO_ATLAS_HOME).")
]
ReleaseName = Annotated[str | None, typer.Option("--release", help="Release to ask (default: the current one).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON (one object a line) instead of a table.")]
K = Annotated[int, typer.Option("-k", "--k", help="Number of hits.")]
Tissue = Annotated[list[str] | None, typer.Option("--tissue", help="Keep samples of this tissue; repeatable.")]
Series = Annotated[list[str] | None, typer.Option("--series", help="Keep samples of this series; repeatable.")]
Organism = Annotated[list[str] | None, typer.Option("--organism", help="Keep samples of this organism; repeatable.")]
Cluster = Annotated[list[int] | None, typer.Option("--cluster", help="Keep samples of this cluster; repeatable.")]
Unit = Annotated[list[str] | None, typer.Option("--unit", help="Keep samples measured in this unit; repeatable.")]
Molecule = Annotated[list[str] | None, typer.Option("--molecule", help="Keep samples of this molecule; repeatable.")]
IdKind = Annotated[
    list[str] | None, typer.Option("--id-kind", help="Keep samples with ids of this kind (GSM, run, ...); repeatable.")
]
Plus = Annotated[
    list[str] | None, typer.Option("--plus", help='Also like this phrase or sample, e.g. "GSM1275862^0.5"; repeatable.')
]
Minus = Annotated[
    list[str] | None, typer.Option("--minus", help='Less like this phrase or sample, e.g. "ischemic^0.5"; repeatable.')
]
Exclude = Annotated[str | None, typer.Option("--exclude", help="Leave out samples whose text contains this.")]
ExcludeSame = Annotated[
    bool, typer.Option("--exclude-same-series", help="Leave out the samples of the query's own series.")
]
