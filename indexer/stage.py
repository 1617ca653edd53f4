"""What a stage of a build is, and what it is given. The runner is ``indexer.run``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from atlas.settings import Settings

Engine = Literal["local", "ray"]
"""Where samples are embedded."""


@dataclass(frozen=True)
class BuildRequest:
    """What the user asked to build.

    Parameters
    ----------
    name
        Name of the release.
    home
        Folder that will hold it.
    counts
        Expression files (ARCHS4 HDF5, h5ad, CSV/TSV); empty when ``starter`` is given.
    starter
        Folder of a packaged starter (samples and their vectors, no counts).
    model_dir
        Model folder: ``config.json``, ``model.safetensors``, ``genes.parquet``.
    unit
        Declared unit of the values where the files declare none.
    limit
        Keep the first this many samples.
    seed
        Seed of everything that is drawn.
    leiden
        Engine of the Leiden algorithm, ``igraph`` or ``leidenalg``; ``None``: the stage's own choice.
    resolution
        Resolution of the clusters; ``None``: the stage's own choice.
    keyword_libraries
        Vocabularies the clusters are matched with; ``None``: all at hand.
    scan_vocabularies
        Vocabularies swept over the clusters; none: lists can still be swept later.
    with_catalog
        Load the database; without it only lexical search and facets are missing.
    engine
        Where samples are embedded: ``local``, this process, or ``ray``, a cluster; the result is the same.
    ray_address
        Address of a running Ray cluster; ``None``: one is started on this machine.
    """

    name: str
    home: Path
    model_dir: Path
    settings: Settings
    counts: tuple[Path, ...] = ()
    starter: Path | None = None
    unit: str | None = None
    limit: int | None = None
    seed: int = 0
    with_catalog: bool = True
    leiden: str | None = None
    resolution: float | None = None
    keyword_libraries: tuple[str, ...] | None = None
    scan_vocabularies: tuple[str, ...] = ("omim_expanded",)
    engine: Engine = "local"
    ray_address: str | None = None


class Advance(Protocol):
    """A running progress bar."""

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more units as done."""


class Progress(Protocol):
    """Makes progress bars; the command line draws them on stderr, tests stay silent."""

    def __call__(self, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        """Start a bar over ``total`` units (``None``: unknown)."""


class _Silent:
    def advance(self, n: int = 1) -> None:
        """Count nothing."""


@contextmanager
def silent_progress(total: int | None, unit: str) -> Iterator[Advance]:
    """Progress that shows nothing."""
    yield _Silent()


@dataclass(frozen=True)
class StageContext:
    """Where a stage reads and writes.

    Parameters
    ----------
    folder
        Build folder with the artefacts of the earlier stages, read only.
    out
        Empty folder for this stage's outputs under their release-relative paths.
    work
        Folder that survives a kill as long as the stage's key stays the same: shards go here.
    """

    request: BuildRequest
    folder: Path
    out: Path
    work: Path
    progress: Progress = silent_progress


@dataclass(frozen=True)
class StageResult:
    """What a stage did, for the manifest: counts in and out, drop reasons, and anything it chose or measured."""

    n_in: int
    n_out: int
    dropped: dict[str, int] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """One step of a build: deterministic for its inputs, parameters and seed on one machine."""

    @property
    def name(self) -> str:
        """Permanent name, ``verb_noun``."""

    @property
    def version(self) -> int:
        """Raised whenever the code would make another result from the same inputs."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Release-relative files or folders it reads."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Release-relative files or folders it writes."""

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Everything else that changes the result, JSON-serialisable; part of the key."""

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """External files or folders it reads; their digests are part of the key."""

    def run(self, ctx: StageContext) -> StageResult:
        """Make the outputs."""

    def validate(self, ctx: StageContext) -> None:
        """Read the outputs back from disk; raise ``ArtifactError`` if they are not what the stage promises."""
