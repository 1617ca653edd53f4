"""``training.json``: what a run was told, what it saw and what it chose. It lies beside the model and is no part of its hash."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from atlas.digests import sha256_json
from atlas.errors import ArtifactError, ConfigError
from atlas.locks import LOCK
from indexer.training.presets import Preset
from indexer.training.sources.source import PairSource

RECORD = "training.json"
NEVER_SEEN = ("held_out_studies", "left_out_libraries", "excluded_series")
"""What of a split's report stands in the record itself: an evaluation goes by it."""
_TOLD = ("preset", "data", "start", "n_steps", "world")  # what the key is over
_OURS = (f".{RECORD}.tmp", LOCK)  # what a run that never began may have left
_PACKAGES = ("geo-atlas", "torch", "transformers", "accelerate", "peft", "numpy", "safetensors")


@dataclass(frozen=True)
class Rows:
    """Which items of each source are learned from and which are held out.

    Attributes
    ----------
    train, validation
        Of each source, rows.
    report
        What was held out and why, JSON-serialisable.
    """

    train: Sequence[Any]
    validation: Sequence[Any]
    report: Mapping[str, Any] = field(default_factory=dict)

    def with_facts(self, **facts: Any) -> Rows:
        """Return the rows with more to report."""
        return replace(self, report={**self.report, **facts})


@dataclass(frozen=True)
class RunRecord:
    """The record of a run in a folder.

    Attributes
    ----------
    folder
        Where the run writes.
    content
        JSON-serialisable.
    """

    folder: Path
    content: dict[str, Any]

    @classmethod
    def make(
        cls,
        folder: Path,
        *,
        preset: Preset,
        sources: Sequence[tuple[PairSource, float]],
        rows: Rows,
        start: str,
        n_steps: int,
        world: int,
    ) -> RunRecord:
        """Describe a run that begins.

        Parameters
        ----------
        start
            Hash of the model it starts from.
        n_steps, world
            Optimiser steps, and processes.
        """
        data = [
            {
                "name": source.name,
                "kind": source.kind,
                "sha256": source.fingerprint,
                "share": weight,
                "n_items": len(source),
                "n_train": len(train),
                "n_validation": len(validation),
                "rows": sha256_json([[int(row) for row in train], [int(row) for row in validation]]),
            }
            for (source, weight), train, validation in zip(sources, rows.train, rows.validation, strict=True)
        ]
        told = {
            "preset": preset.model_dump(mode="json"),
            "data": data,
            "start": start,
            "n_steps": n_steps,
            "world": world,
        }
        content = {
            "schema_version": 1,
            "state": "running",
            "key": sha256_json(told),
            **told,
            "split": dict(rows.report),
            **{name: list(rows.report.get(name, ())) for name in NEVER_SEEN},
            "seed": preset.seed,
            "versions": {name: _version(name) for name in _PACKAGES},
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return cls(folder, content)

    def enter(self, *, resume: bool, first: bool) -> RunRecord:
        """Ask for the folder: to begin there, or for the run that is to go on. Nothing is written yet, see :meth:`begin`.

        Parameters
        ----------
        resume
            Whether a run that is there goes on.
        first
            Whether this process writes; the others would find what it wrote and take it for another run.

        Raises
        ------
        ConfigError
            If the folder is a file, or holds another run or other files.
        ArtifactError
            If the run that is to go on had another preset or other data.
        """
        if not first and not resume:
            return self
        there = _enter(self.folder, resume=resume)
        if there is None:
            return self
        _refuse_another(self.folder, there, {name: self.content[name] for name in (*_TOLD, "key")})
        return RunRecord(self.folder, there)

    def begin(self) -> None:
        """Write the record of a run that begins; one that goes on has it.

        Until then nothing is in the folder, so a run that its data or preset end at the start does not occupy it.
        """
        if not (self.folder / RECORD).is_file():
            self.write()

    def add(self, **facts: Any) -> RunRecord:
        """Return the record with more facts."""
        return RunRecord(self.folder, {**self.content, **facts})

    def write(self) -> None:
        """Write the file in one move."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{RECORD}.tmp"
        temporary.write_text(json.dumps(self.content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, self.folder / RECORD)


def check_folder(folder: Path, *, preset: Preset, resume: bool) -> None:
    """Refuse a folder that a run may not enter, by what is known before its data are read; :meth:`RunRecord.enter` asks again.

    Raises
    ------
    ConfigError
        If the folder is a file, or holds another run or other files.
    ArtifactError
        If the run that is to go on had another preset.
    """
    there = _enter(folder, resume=resume)
    if there is not None:
        _refuse_another(folder, there, {"preset": preset.model_dump(mode="json")})


def _enter(folder: Path, *, resume: bool) -> dict[str, Any] | None:
    """Return the record of the run to go on with, ``None`` where one may begin."""
    path = folder / RECORD
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file. Give a new folder with --out.")
    if not path.is_file():
        if folder.is_dir() and any(one.name not in _OURS for one in folder.iterdir()):
            raise ConfigError(
                f"The folder {folder} is not empty and holds no run of training. Give a new folder with --out."
            )
        return None
    if not resume:
        raise ConfigError(
            f"There is a run of training in {folder}. Go on with it by --resume, or give a new folder with --out."
        )
    return read_record(path)


def _refuse_another(folder: Path, there: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was told something else."""
    different = [name for name in told if there.get(name) != told[name]]
    if different:
        raise ArtifactError(
            f"The run in {folder} was told something else: "
            f"{' and '.join(name for name in different if name != 'key') or 'its keys'} differ. "
            "Go on with the same preset, data, number of steps and processes, or begin in a new folder.",
            kind="stale",
            details={name: {"seen": there.get(name), "expected": told[name]} for name in different if name == "key"},
        )


def read_record(path: Path) -> dict[str, Any]:
    """Read a ``training.json``.

    Raises
    ------
    ArtifactError
        If it is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}. Begin in a new folder.", kind="corrupt") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is no record of a run. Begin in a new folder.", kind="corrupt")
    return content


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
