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
Exclude = Annotated[str | None, typer.Option("--exclude", help="Leave out samples whose text contains this.")]
ExcludeSame = Annotated[
    bool, typer.Option("--exclude-same-series", help="Leave out the samples of the query's own series.")
]
