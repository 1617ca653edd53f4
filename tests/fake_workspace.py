"""Jobs, label edits and sweeps that live in memory, for the fake atlas: real records, readable numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from atlas.answers import (
    Job,
    LabelEdit,
    ScanCalibration,
    ScanCell,
    ScanMatrix,
    ScanReport,
    ScanSamples,
    ScanSummary,
    ScanTerm,
    ScanTermReport,
)
from atlas.errors import BusyError, DatabaseUnavailableError, NotFoundError, TooLargeError
from atlas.settings import Settings

NOW = "2026-01-01T00:00:00Z"
TERMS = ("cardiomyopathy", "hepatitis A/B", "epilepsy")
CALIBRATION = ScanCalibration(100, 0.05, 0.6, 0.05, 0.01, 0.001, 50, 0.04)


@dataclass(frozen=True)
class FakeShelf:
    """One sweep of three terms over the clusters; z of a term is 2 in its own cluster and 0 elsewhere."""

    release: str
    accessions: Sequence[str]
    clusters: Sequence[int]
    labels: Mapping[int, str]
    n_clusters: int

    def names(self) -> tuple[str, ...]:
        return ("omim_expanded",)

    def summaries(self) -> tuple[ScanSummary, ...]:
        return (self._summary("omim_expanded"),)

    def report(self, name: str, *, n_top: int = 5) -> ScanReport:
        summary = self._summary(name)
        cells = tuple(self._cell(TERMS[n % 3], n) for n in range(self.n_clusters))
        return ScanReport(summary, tuple(self._term(term) for term in TERMS), cells)

    def term(self, name: str, term: str) -> ScanTermReport:
        summary, known = self._summary(name), self._known(term)
        cells = tuple(self._cell(known, n) for n in range(self.n_clusters))
        return ScanTermReport(summary, self._term(known), cells)

    def matrix(self, name: str, *, max_terms: int = 60) -> ScanMatrix:
        terms, numbers = TERMS[:max_terms], tuple(range(self.n_clusters))
        effects = tuple(tuple(self._cell(term, n).effect for n in numbers) for term in terms)
        q_values = tuple(tuple(self._cell(term, n).q_value for n in numbers) for term in terms)
        return ScanMatrix(
            self._summary(name), terms, numbers, tuple(self.labels[n] for n in numbers), effects, q_values
        )

    def samples(self, name: str) -> ScanSamples:
        n = len(self.accessions)
        return ScanSamples(self._summary(name), list(self.accessions), [float(i) for i in range(n)], [50.0] * n)

    def sums(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        samples = self.samples(name)
        return np.array(samples.sum_z, dtype=np.float32), np.array(samples.percentile, dtype=np.float32)

    def term_scores(self, name: str, term: str) -> np.ndarray:
        self._summary(name)
        return np.array([2.0 * (c == TERMS.index(self._known(term))) for c in self.clusters], dtype=np.float32)

    def _summary(self, name: str) -> ScanSummary:
        if name != "omim_expanded":
            raise NotFoundError(f"There is no sweep {name[:80]!r}.", details={"known": ["omim_expanded"]})
        sizes = {"n_terms": 3, "n_clusters": self.n_clusters, "n_samples": len(self.accessions)}
        return ScanSummary(
            self.release, name, name, "release", **sizes, n_significant=1, n_background=100, templates=("{x}",),
            calibration=CALIBRATION, created_at=NOW,
        )  # fmt: skip

    def _known(self, term: str) -> str:
        for known in TERMS:
            if known.lower() == term.lower():
                return known
        raise NotFoundError(f"The sweep has no term {term[:80]!r}.", details={"near_matches": list(TERMS[:1])})

    def _term(self, term: str) -> ScanTerm:
        place = TERMS.index(term)
        return ScanTerm(
            term, place + 1, 4.0 - place, 2.0, 0.01, 0.012, 0.03, 0.2, place, self.labels[place], 100, 0.1, 0.02
        )

    def _cell(self, term: str, cluster: int) -> ScanCell:
        own = TERMS.index(term) == cluster
        return ScanCell(
            term, cluster, self.labels[cluster], 2.0 * own, 1.0 if own else None, 3.0 if own else None, 0.01, 0.01,
            0.02 if own else None, 2, 3, descriptive=False, share_answering=0.2,
        )  # fmt: skip


@dataclass
class FakeJobs:
    """A queue nobody works off; a test may finish a job by hand, or have every job done at once (``prompt``)."""

    away: bool = False
    prompt: bool = False
    jobs: dict[str, Job] = field(default_factory=dict)
    clients: dict[str, str] = field(default_factory=dict)

    def submit(
        self,
        kind: str,
        request: Mapping[str, Any],
        *,
        release: str,
        client: str,
        settings: Settings,
        unlimited: bool = False,
    ) -> Job:
        self._check()
        if len(request["terms"]) > settings.job_max_terms:
            raise TooLargeError("Too many terms.", details={"seen": len(request["terms"])})
        mine = [one for one, owner in self.clients.items() if owner == client and self.jobs[one].status == "queued"]
        if len(mine) >= settings.jobs_per_client and not unlimited:
            raise BusyError("You have as many jobs as are allowed.", details={"limit": settings.jobs_per_client})
        job_id = f"job{len(self.jobs)}"
        self.clients[job_id] = client
        shown = {**request, "terms": list(request["terms"][:20]), "n_terms": len(request["terms"])}
        self.jobs[job_id] = Job(job_id, kind, "queued", release, 0.0, None, NOW, None, None, None, shown, None, None)
        return self.finish(job_id) if self.prompt else self.jobs[job_id]

    def get(self, job_id: str) -> Job:
        self._check()
        if job_id not in self.jobs:
            raise NotFoundError(f"There is no job {job_id[:64]!r}.", details={"job_id": job_id[:64]})
        return self.jobs[job_id]

    def cancel(self, job_id: str) -> Job:
        return self.finish(job_id, "cancelled") if self.get(job_id).status == "queued" else self.get(job_id)

    def counts(self) -> dict[str, int]:
        self._check()
        return dict(Counter(job.status for job in self.jobs.values()))

    def finish(self, job_id: str, status: str = "done") -> Job:
        self.jobs[job_id] = replace(self.jobs[job_id], status=status, progress=1.0, result={"scan": "omim_expanded"})
        return self.jobs[job_id]

    def _check(self) -> None:
        if self.away:
            raise DatabaseUnavailableError("The database is away.")


@dataclass
class FakeLabels:
    """Label edits of any release, by the number of the cluster."""

    away: bool = False
    edits: dict[int, LabelEdit] = field(default_factory=dict)
    n_changes: int = 0

    def version(self) -> str:
        self._check()
        return str(self.n_changes)

    def for_release(self, release: Any) -> tuple[LabelEdit, ...]:
        self._check()
        return tuple(self.edits[number] for number in sorted(self.edits))

    def set(
        self, release: Any, cluster: int, *, label: str, machine_label: str, author: str, note: str | None
    ) -> LabelEdit:
        self._check()
        self.n_changes += 1
        self.edits[cluster] = LabelEdit(
            self.n_changes, label, machine_label, author, note, NOW, release.name, cluster, 1.0, "exact"
        )
        return self.edits[cluster]

    def remove(self, edit_id: int, *, author: str) -> None:
        self._check()
        self.n_changes += 1
        self.edits = {number: edit for number, edit in self.edits.items() if edit.edit_id != edit_id}

    def _check(self) -> None:
        if self.away:
            raise DatabaseUnavailableError("The database is away.")
