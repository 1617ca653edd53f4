"""``GET`` and ``DELETE /v1/jobs/{job_id}``: work that outlives its request."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from api.deps import BackendDep, GatesDep, answer
from api.errors import without_home
from api.examples import JOB
from api.openapi import responses
from api.protocols import Backend
from api.questions import PinnedQuery
from atlas.answers import Job
from atlas.errors import NotFoundError

router = APIRouter(prefix="/jobs", tags=["jobs"])
_JOB = TypeAdapter(Job)

JobId = Annotated[
    str, Path(min_length=1, max_length=64, description="As `POST /v1/scans` gave it.", examples=["5f0c3c9d4f3e4b0e"])
]


@router.get("/{job_id}", response_model=Job, responses=responses(JOB, 404))
async def get(
    request: Request, job_id: JobId, query: Annotated[PinnedQuery, Query()], gates: GatesDep, backend: BackendDep
) -> Response:
    """Return a job as it stands; `release` finds jobs of that release alone. `result` names the sweep once it is done."""
    return await answer(
        request, gates.database, schema=_JOB, ask=lambda: _told(request, _job(backend, job_id, query.release))
    )


@router.delete("/{job_id}", name="cancel", response_model=Job, responses=responses(JOB, 404))
async def cancel(
    request: Request, job_id: JobId, query: Annotated[PinnedQuery, Query()], gates: GatesDep, backend: BackendDep
) -> Response:
    """Ask that a job be stopped: at once if it waits, at its next step if it runs, not at all if it is over."""

    def stop() -> Job:
        _job(backend, job_id, query.release)
        return _told(request, backend.jobs.cancel(job_id))

    return await answer(request, gates.database, schema=_JOB, ask=stop)


def _told(request: Request, job: Job) -> Job:
    """Return a job as outsiders read it: why it failed may name places of the machine."""
    return replace(job, error=without_home(request, job.error))


def _job(backend: Backend, job_id: str, release: str | None) -> Job:
    job = backend.jobs.get(job_id)
    if release not in (None, job.release):
        raise NotFoundError(
            f"Job {job_id!r} belongs to release {job.release!r}.", details={"job_id": job_id, "release": job.release}
        )
    return job
