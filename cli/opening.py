"""How commands open an atlas, and read the filters that several of them share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.settings import Settings, load_settings

if TYPE_CHECKING:
    from atlas.atlas import Atlas
    from atlas.catalog.filters import SampleFilter


@contextmanager
def open_atlas(
    home: Path | None, release: str | None, *, with_database: bool = False
) -> Iterator[tuple[Atlas, Settings]]:
    """Open the atlas, and the database only where the question needs it."""
    from atlas.atlas import Atlas

    settings = load_settings(home=home)
    with ExitStack() as stack:
        database = None
        if with_database:
            from atlas.catalog.database import open_database

            database = stack.enter_context(open_database(settings))
        yield Atlas.open(settings, release=release, database=database), settings


def make_filters(
    *,
    tissue: list[str] | None = None,
    series: list[str] | None = None,
    organism: list[str] | None = None,
    exclude: str | None = None,
    cluster: list[int] | None = None,
    unit: list[str] | None = None,
    molecule: list[str] | None = None,
    id_kind: list[str] | None = None,
) -> SampleFilter:
    """Return the filter that the options of a command describe."""
    from atlas.catalog.filters import SampleFilter

    return SampleFilter(
        tissue=tuple(tissue or ()),
        series=tuple(series or ()),
        organism=tuple(organism or ()),
        exclude=exclude,
        cluster=tuple(cluster or ()),
        unit=tuple(unit or ()),
        molecule=tuple(molecule or ()),
        id_kind=tuple(id_kind or ()),
    )
