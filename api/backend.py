"""Opens real releases, and keeps one database that may come and go without stopping the service."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from api.limits import N_RUNNING
from api.protocols import JobDesk, LabelDesk, OpenAtlas, OpenRelease
from atlas.answers import LabelEdit
from atlas.errors import AtlasError, DatabaseUnavailableError
from atlas.manifest import Manifest, read_manifest
from atlas.model.text_tower import import_text_libraries
from atlas.release import Home, Release, release_folder
from atlas.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from atlas.catalog.database import Database
    from atlas.workspace.members import ClusterMembers

logger = logging.getLogger(__name__)

DATABASE_RETRY_S = 5.0
"""Pause between two tries to open a database that was away at start-up; once open it heals by itself."""


class LateDatabase:
    """A database that is opened in the background; until then every question is told that it is away.

    Takes the place of ``atlas.catalog.database.Database``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database: Database | None = None
        self._problem = "the database is being opened"
        self._stopping = threading.Event()
        self._opener = threading.Thread(target=self._open, name="database-opener", daemon=True)
        self._opener.start()

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Lend a read-only connection; raises ``DatabaseUnavailableError`` while the database is away."""
        with self._opened().connect() as connection:
            yield connection

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Lend a connection that is committed at the end; raises as ``connect``."""
        with self._opened().begin() as connection:
            yield connection

    def close(self) -> None:
        """Stop trying, and close the database if it was opened."""
        self._stopping.set()
        self._opener.join(timeout=self._settings.database_start_timeout_s)
        if self._database is not None:
            self._database.close()

    def _opened(self) -> Database:
        if self._database is None:
            raise DatabaseUnavailableError(f"The database cannot be asked now: {self._problem}")
        return self._database

    def _open(self) -> None:
        from atlas.catalog.database import open_database

        while not self._stopping.is_set():
            try:
                self._database = open_database(self._settings)
                return
            except AtlasError as error:
                self._problem = error.message
            except Exception as error:
                logger.error("the database cannot be opened", exc_info=error)
                self._problem = f"unexpected {type(error).__name__}"
            self._stopping.wait(DATABASE_RETRY_S)


class ReleaseLabels:
    """The label edits of the database, with the members of each release's clusters read once."""

    def __init__(self, database: LateDatabase) -> None:
        from atlas.workspace.label_edits import LabelEdits

        self._edits = LabelEdits(database)
        self._members: dict[str, ClusterMembers] = {}

    def version(self) -> str:
        """Return a token that changes with every edit."""
        return self._edits.version()

    def for_release(self, release: OpenRelease) -> tuple[LabelEdit, ...]:
        """Return the edits in force with the cluster of this release each of them meets."""
        return self._edits.for_release(self._of(release))

    def set(
        self, release: OpenRelease, cluster: int, *, label: str, machine_label: str, author: str, note: str | None
    ) -> LabelEdit:
        """Label a cluster."""
        members = self._of(release)
        return self._edits.set(members, cluster, label=label, machine_label=machine_label, author=author, note=note)

    def remove(self, edit_id: int, *, author: str) -> None:
        """Take an edit out of force."""
        self._edits.remove(edit_id, author=author)

    def _of(self, release: OpenRelease) -> ClusterMembers:
        from atlas.workspace.members import ClusterMembers

        key = release.manifest.content_key
        if key not in self._members:
            self._members = {**dict(list(self._members.items())[-3:]), key: ClusterMembers.of(cast("Release", release))}
        return self._members[key]


class ReleaseBackend:
    """The backend of the real service.

    Parameters
    ----------
    settings
        Home, database and number of threads; the threads are shared out among the questions that run at once.
    """

    def __init__(self, settings: Settings) -> None:
        # Imports take half of a start; meanwhile tables are read. Nobody else may import these libraries until it is done:
        # they give out their names one by one, and a second thread would miss some.
        self._imports = threading.Thread(target=import_text_libraries, name="imports", daemon=True)
        self._imports.start()
        self._settings = settings
        self._n_threads = max(1, (settings.threads or os.cpu_count() or 1) // N_RUNNING)
        self._limits: Any = None
        self._manifests: dict[str, tuple[tuple[int, int, int], Manifest]] = {}
        self._database = LateDatabase(settings)
        self.labels: LabelDesk = ReleaseLabels(self._database)
        self.jobs: JobDesk = self._jobs()

    def open(self, release: str) -> OpenAtlas:
        """Open a release of the home and load all of it, so that a broken one is refused here and never served."""
        from atlas.atlas import Atlas

        settings = self._settings.model_copy(update={"threads": self._n_threads})
        atlas = Atlas.open(settings, release=release, database=cast("Database", self._database))
        self._imports.join()
        atlas.warm()
        self._pin_threads()
        threading.Thread(target=atlas.finish, name=f"finish-{release}", daemon=True).start()
        return atlas

    def database_problem(self, release: str) -> str | None:
        """Ask the database whether it has the release."""
        from atlas.catalog.queries import holds

        try:
            if holds(self._database, self._manifest(release)):
                return None
        except AtlasError as error:
            return error.message
        return (
            f"the database does not hold release {release!r} as it is; load it with `geo-atlas release load {release}`"
        )

    def close(self) -> None:
        """Close the database, and leave numerical libraries as they were found."""
        self._database.close()
        if self._limits is not None:
            self._limits.restore_original_limits()

    def _manifest(self, release: str) -> Manifest:
        """Return the manifest of a release, read again only if the file changed: hybrid search asks with every question."""
        path = release_folder(Home(self._settings.home_path), release) / "manifest.json"
        stat = path.stat()
        mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._manifests.get(release)
        if known is None or known[0] != mark:
            known = (mark, read_manifest(path))
            self._manifests[release] = known
        return known[1]

    def _jobs(self) -> JobDesk:
        from atlas.workspace.jobs import Jobs

        return Jobs(self._database)

    def _pin_threads(self) -> None:
        """Keep BLAS and OpenMP, now that they are loaded, to a few threads: several questions run at once already."""
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        if self._limits is None:
            self._limits = threadpool_limits(limits=self._n_threads)
