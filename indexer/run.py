"""The runner: decides what must run, runs it in a temporary folder, validates, moves the outputs in place, records it.

A build lives in ``<home>/builds/<name>/``: ``release/`` (artefacts), ``stages/`` (records), ``work/`` (shards), ``out/``
(unfinished outputs). A stage is done when its record ``stages/<stage>.json`` exists, its key equals
sha256(stage, version, params, input digests) and its outputs still have the recorded digests. A record is written after
the outputs are in place, so a kill at any moment leaves either a finished stage or one that runs again.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from atlas.digests import DigestCache, iter_files, sha256_json
from atlas.errors import ArtifactError, AtlasError, ConfigError, InputError, ResourceError
from atlas.manifest import FileEntry, StageEntry, read_manifest, write_json
from atlas.release import Home, Release, check_name
from indexer.publish import publish
from indexer.stage import BuildRequest, Progress, Stage, StageContext, silent_progress

logger = logging.getLogger(__name__)

MIN_FREE_BYTES = 256 * 2**20
"""A stage does not start with less free disk than this."""

MIN_ADDRESS_SPACE_BYTES = 2 * 2**30
"""Libraries reserve more than they use; with less they hang or die without a word."""


@dataclass(frozen=True)
class Step:
    """One line of a dry run."""

    stage: str
    action: Literal["run", "skip"]
    reason: str


class Builder:
    """Runs the plan for one request in ``<home>/builds/<name>``.

    Parameters
    ----------
    request
        What to build.
    stages
        The plan, in order.
    force
        Names of stages to run although they are done.
    progress
        Makes progress bars.
    """

    def __init__(
        self,
        request: BuildRequest,
        stages: Sequence[Stage],
        *,
        force: Sequence[str] = (),
        progress: Progress = silent_progress,
    ) -> None:
        check_name(request.name)
        known = [stage.name for stage in stages]
        if unknown := [name for name in force if name not in known]:
            raise ConfigError(f"--force {unknown[0]}: no such stage. Stages: {', '.join(known)}.")
        self.request = request
        self.home = Home(request.home)
        self.root = self.home.builds / request.name
        self.folder = self.root / "release"
        self._stages = [s for s in stages if request.with_catalog or s.name != "load_catalog"]
        self._force = set(force)
        self._progress = progress
        for stage in self._stages:
            stage.params(request)  # a stage refuses what it cannot do now, not an hour into the build
        self._digests = DigestCache(self.home.digests)
        # of artefacts, for this run alone: a resumed build reads everything again, and so does publishing
        self._artefacts = DigestCache(None)

    def plan(self) -> list[Step]:
        """Return what a run would do now and why; nothing is written but the digest cache."""
        if self._is_published():
            return [Step(stage.name, "skip", "already published") for stage in self._stages]
        steps: list[Step] = []
        upstream: str | None = None
        for stage in self._stages:
            reason = f"follows {upstream}" if upstream else self._why(stage)
            steps.append(Step(stage.name, "run" if reason else "skip", reason or "done, nothing it depends on changed"))
            upstream = upstream or (stage.name if reason else None)
        return steps

    def run(self) -> Release:
        """Run every stage that is not done; return the published release.

        Asking again for a release that is already published from the same inputs changes nothing and returns it.

        Raises
        ------
        BusyError
            If another build holds the home.
        InputError
            If the name is taken by a release of other inputs or parameters.
        ResourceError
            If the disk is full, the home cannot be written, or memory is bounded too tightly; what is done stays done.
        """
        _require_address_space()
        with self.home.lock(f"build {self.request.name}"), _disk_errors(self.home.path):
            published = self._is_published()
            if not published:
                self.folder.mkdir(parents=True, exist_ok=True)
                for number, stage in enumerate(self._stages, start=1):
                    self._run_if_needed(stage, f"[{number}/{len(self._stages)}]")
                publish(self.home, self.folder, self.request, [self._done(stage) for stage in self._stages])
            # A build that was killed between publishing and pointing is finished here; asking again for an old release
            # does not make it the current one.
            if not published or self.root.exists() or not self.home.pointer.exists():
                self.home.use(self.request.name)
            shutil.rmtree(self.root, ignore_errors=True)
            return Release.open(self.home, self.request.name)

    def _run_if_needed(self, stage: Stage, prefix: str) -> None:
        reason = self._why(stage)
        if reason is None:
            logger.info("%s %s: done before", prefix, stage.name)
            return
        logger.info("%s %s: running (%s)", prefix, stage.name, reason)
        self._run_stage(stage)
        done = self._done(stage)
        logger.info("%s %s: %d of %d, %.1f s", prefix, stage.name, done.n_out, done.n_in, done.wall_s)

    def _is_published(self) -> bool:
        """Return whether this very request is published already; refuse if the name means something else."""
        release = self.home.releases / self.request.name
        if not (release / "manifest.json").is_file():
            return False
        entries = {entry.name: entry for entry in read_manifest(release / "manifest.json").stages}
        try:
            same = all(
                s.name in entries and entries[s.name].key == self._key(self._inputs(s, release), s)
                for s in self._stages
            )
        except FileNotFoundError as error:
            raise ArtifactError(
                f"The published release {self.request.name!r} lacks {error.args[0]}. Restore the file, or remove the release "
                f"(geo-atlas release remove {self.request.name}) and build it again.",
                kind="missing",
            ) from error
        if same and not self._force:
            return True
        if same:
            raise InputError(
                f"Release {self.request.name!r} is published and releases are immutable, so no stage of it can be forced. "
                f"Choose another --name, or remove it: geo-atlas release remove {self.request.name}.",
                details={"release": self.request.name},
            )
        raise InputError(
            f"Release {self.request.name!r} is already published in {self.home.path} from other inputs or parameters, and "
            f"releases are immutable. Choose another --name, or remove it: geo-atlas release remove {self.request.name}.",
            details={"release": self.request.name},
        )

    def _why(self, stage: Stage) -> str | None:
        """Return why a stage must run, or ``None`` if it is done."""
        if stage.name in self._force:
            return "forced"
        entry = self._entry(stage)
        if entry is None:
            return "not done yet"
        try:
            inputs = self._inputs(stage)
        except FileNotFoundError:
            return "an input is missing"
        if entry.key != self._key(inputs, stage):
            return "its inputs, parameters or code changed"
        for output in entry.outputs:
            path = self.folder / output.path
            if not path.is_file() or self._artefacts.entry(path).sha256 != output.sha256:
                return f"{output.path} is missing or was changed"
        return None

    def _entry_path(self, stage: Stage) -> Path:
        return self.root / "stages" / f"{stage.name}.json"

    def _entry(self, stage: Stage) -> StageEntry | None:
        try:
            return StageEntry.model_validate(json.loads(self._entry_path(stage).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, ValidationError):
            logger.warning("%s: its record is unreadable and counts as not done", stage.name)
            return None

    def _inputs(self, stage: Stage, folder: Path | None = None) -> list[FileEntry]:
        """Digests of everything the stage reads: artefacts by relative path, external files by name."""
        folder = folder or self.folder
        entries: list[FileEntry] = []
        for relative in stage.inputs:
            path = folder / relative
            if not path.exists():
                raise FileNotFoundError(path)
            entries += [self._artefact(folder, file) for file in iter_files(path)]
        for source in stage.sources(self.request):
            if not source.exists():
                raise InputError(f"{source} does not exist. Check the path.", details={"path": str(source)})
            entries += [self._digests.entry(file.absolute()) for file in iter_files(source)]
        return entries

    def _artefact(self, folder: Path, file: Path) -> FileEntry:
        """Return an artefact by its relative path; bytes that several stages read are hashed once."""
        return self._artefacts.entry(file).model_copy(update={"path": file.relative_to(folder).as_posix()})

    def _key(self, inputs: list[FileEntry], stage: Stage) -> str:
        # External files count by content, so a moved input does not rerun a build.
        digests = [entry.sha256 for entry in inputs]
        return sha256_json([stage.name, stage.version, stage.params(self.request), digests])

    def _done(self, stage: Stage) -> StageEntry:
        entry = self._entry(stage)
        if entry is None:
            raise ArtifactError(f"Stage {stage.name} left no record.", kind="missing")
        return entry

    def _run_stage(self, stage: Stage) -> None:
        started, clock = _now(), time.monotonic()
        inputs = self._inputs(stage)
        key = self._key(inputs, stage)
        self._require_free_disk(stage)
        out = self.root / "out" / stage.name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        work = self.root / "work" / f"{stage.name}-{key[:16]}"
        work.mkdir(parents=True, exist_ok=True)
        ctx = StageContext(self.request, self.folder, out, work, self._progress)
        try:
            result = stage.run(ctx)
            stage.validate(ctx)
        except AtlasError as error:
            error.add_note(f"in stage {stage.name}")
            raise
        except (MemoryError, RuntimeError, ImportError, OSError) as error:
            if _is_out_of_memory(error):
                raise _out_of_memory(stage, error) from error
            if os.strerror(errno.ENOSPC) in str(error):  # what FAISS makes of it
                raise OSError(errno.ENOSPC, str(error)) from error
            raise
        self._entry_path(stage).unlink(missing_ok=True)  # from here until the entry is back, the stage is "not done"
        self._move_outputs(stage, out)
        made = [file for name in stage.outputs for file in iter_files(self.folder / name)]
        outputs = [self._artefact(self.folder, file) for file in made]
        entry = StageEntry(
            name=stage.name,
            version=stage.version,
            key=key,
            params=stage.params(self.request),
            inputs=inputs,
            outputs=outputs,
            n_in=result.n_in,
            n_out=result.n_out,
            dropped=result.dropped,
            notes=result.notes,
            started_at=started,
            finished_at=_now(),
            wall_s=round(time.monotonic() - clock, 3),
            peak_rss_bytes=_peak_rss_bytes(),
        )
        self._force.discard(stage.name)
        write_json(self._entry_path(stage), entry.model_dump(mode="json"))
        shutil.rmtree(work, ignore_errors=True)

    def _move_outputs(self, stage: Stage, out: Path) -> None:
        for name in stage.outputs:
            made, target = out / name, self.folder / name
            if not made.exists() and name in getattr(stage, "optional_outputs", ()):
                _remove(target)  # of a run with another request
                continue
            if not made.exists():
                raise ArtifactError(f"Stage {stage.name} did not write {name}.", kind="missing")
            _remove(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(made, target)
        shutil.rmtree(out, ignore_errors=True)

    def _require_free_disk(self, stage: Stage) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < MIN_FREE_BYTES:
            raise ResourceError(
                f"Only {free // 2**20} MiB are free under {self.folder}; stage {stage.name} needs at least "
                f"{MIN_FREE_BYTES // 2**20} MiB. Free some space and run the same command again: it resumes."
            )


def _require_address_space() -> None:
    """Refuse a limit under which libraries that cannot start a thread would wait for it for ever."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < MIN_ADDRESS_SPACE_BYTES:
        raise ResourceError(
            f"This process may use {limit // 2**20} MiB of address space (RLIMIT_AS, `ulimit -v`); a build reserves "
            f"{MIN_ADDRESS_SPACE_BYTES // 2**20} MiB before it reads anything. Raise the limit.",
            details={"limit_bytes": limit, "expected_bytes": MIN_ADDRESS_SPACE_BYTES},
        )


_OUT_OF_MEMORY = ("bad_alloc", "allocate memory", "failed to map segment")
"""What libraries in C++ say, in whatever exception, and the loader of a library that finds no room."""


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(said in str(error) for said in _OUT_OF_MEMORY)


def _out_of_memory(stage: Stage, error: BaseException) -> ResourceError:
    peak, limit = _peak_rss_bytes(), resource.getrlimit(resource.RLIMIT_AS)[0]
    bound = "" if limit == resource.RLIM_INFINITY else f" under a limit of {limit // 2**20} MiB (RLIMIT_AS)"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else "an allocation failed"
    return ResourceError(
        f"Stage {stage.name} ran out of memory{bound}: {reason}. The build had used up to {peak // 2**20} MiB. Give it more "
        "memory, end other programs, or build fewer samples (--limit), and run the same command again: it resumes.",
        details={"stage": stage.name, "peak_bytes": peak, "limit_bytes": limit if bound else None},
    )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _disk_errors(home: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a sentence that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"The disk under {home} is full. Free some space and run the same command again: it resumes "
                "where it stopped.",
                details={"home": str(home)},
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ResourceError(f"Cannot write under {home}: {error.strerror}. Choose another --home.") from error
        raise
