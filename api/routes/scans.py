"""Vocabularies swept over the atlas: the sweeps at hand, their tables, and a new one as a job."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from api.auth import PrivilegedDep, client_name
from api.deps import AtlasDep, BackendDep, GatesDep, SettingsDep, answer, read_json, render
from api.etags import lasts
from api.examples import JOB, SCAN, SCAN_MATRIX, SCAN_SAMPLES, SCAN_TERM, SCANS, VOCABULARIES
from api.limits import JSON_MAX_BYTES
from api.openapi import accepted, json_body, tables
from api.protocols import OpenAtlas
from api.questions import MatrixQuery, PinnedQuery, ScanQuestion
from api.schemas import ScanList, VocabularyList
from api.vocabularies import list_counted, terms_of
from atlas.answers import Job, ScanMatrix, ScanReport, ScanSamples, ScanTermReport, VocabularySummary
from atlas.errors import InputError
from atlas.settings import Settings

router = APIRouter(tags=["scans"])
_VOCABULARIES = TypeAdapter(VocabularyList)
_SCANS = TypeAdapter(ScanList)
_REPORT = TypeAdapter(ScanReport)
_TERM = TypeAdapter(ScanTermReport)
_MATRIX = TypeAdapter(ScanMatrix)
_SAMPLES = TypeAdapter(ScanSamples)
_JOB = TypeAdapter(Job)

ScanName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=200,
        description="Name of a vocabulary, or key of an ad-hoc list.",
        examples=["omim_expanded"],
    ),
]
Term = Annotated[
    str,
    Path(
        min_length=1,
        max_length=1_000,
        description="A term of the sweep; case does not matter.",
        examples=["cardiomyopathy"],
    ),
]


@router.get("/vocabularies", response_model=VocabularyList, responses=tables(VOCABULARIES))
async def vocabularies(
    request: Request, query: Annotated[PinnedQuery, Query()], settings: SettingsDep, gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return the vocabularies at hand, and whether the release holds a sweep of each."""
    return await answer(
        request, gates.questions, schema=_VOCABULARIES, ask=lambda: _vocabularies(atlas, settings), table=True
    )


@router.get("/scans", name="list", response_model=ScanList, responses=tables(SCANS))
async def list_scans(
    request: Request, query: Annotated[PinnedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return the sweeps at hand: those of the release, then ad-hoc lists worked off later."""
    return await answer(
        request,
        gates.questions,
        schema=_SCANS,
        ask=lambda: ScanList(atlas.release.name, atlas.scans.summaries()),
        table=True,
    )


@router.post(
    "/scans",
    status_code=202,
    response_model=Job,
    responses=accepted(JOB, 401, 403, 404, 408, 409, 413, 415),
    openapi_extra=json_body(ScanQuestion),
)
async def start(
    request: Request,
    query: Annotated[PinnedQuery, Query()],
    settings: SettingsDep,
    gates: GatesDep,
    backend: BackendDep,
    privileged: PrivilegedDep,
    atlas: AtlasDep,
) -> Response:
    """Sweep a list of terms, or a vocabulary at hand, as a job; ``Location`` says where to ask for it.

    Without the administrator's token a client may have a few jobs waiting or running (409 ``busy``).
    """
    question = await read_json(request, ScanQuestion, max_bytes=JSON_MAX_BYTES)

    def submit() -> Response:
        terms, title = _terms(question, settings)
        job = backend.jobs.submit(
            "scan",
            # A title decides nothing: the sweep of a vocabulary is tested without that vocabulary, whatever it is called.
            {"terms": terms, "name": question.vocabulary or "", "title": question.name or title},
            release=atlas.release.name,
            client=client_name(request),
            settings=settings,
            unlimited=privileged,
        )
        return render(request, _JOB, job, status=202, headers={"Location": f"/v1/jobs/{job.job_id}"})

    async with gates.database.admit():
        return await gates.database.run(submit)


@router.get("/scans/{name}", response_model=ScanReport, responses=tables(SCAN, 404))
async def report(
    request: Request, name: ScanName, query: Annotated[PinnedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return a sweep: its terms, best first, and the best terms of each cluster. As a table: the terms."""
    return await answer(
        request, gates.questions, schema=_REPORT, ask=lambda: atlas.scans.report(name), table=True, lasting=lasts(name)
    )


@router.get("/scans/{name}/terms/{term:path}", response_model=ScanTermReport, responses=tables(SCAN_TERM, 404))
async def term(
    request: Request,
    name: ScanName,
    term: Term,
    query: Annotated[PinnedQuery, Query()],
    gates: GatesDep,
    atlas: AtlasDep,
) -> Response:
    """Return one term of a sweep in every cluster, best first."""
    return await answer(
        request,
        gates.questions,
        schema=_TERM,
        ask=lambda: atlas.scans.term(name, term),
        table=True,
        lasting=lasts(name),
    )


@router.get("/scans/{name}/matrix", response_model=ScanMatrix, responses=tables(SCAN_MATRIX, 404))
async def matrix(
    request: Request, name: ScanName, query: Annotated[MatrixQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return terms x clusters: mean z, and q within selected terms; similar ones beside each other. As a table: the mean z."""
    return await answer(
        request,
        gates.questions,
        schema=_MATRIX,
        ask=lambda: atlas.scans.matrix(name, max_terms=query.max_terms),
        table=True,
        lasting=lasts(name),
    )


@router.get("/scans/{name}/samples", response_model=ScanSamples, responses=tables(SCAN_SAMPLES, 404))
async def samples(
    request: Request, name: ScanName, query: Annotated[PinnedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return of each sample the sum of z over the terms, and its percentile among sums of equally many random terms."""
    return await answer(
        request,
        gates.questions,
        schema=_SAMPLES,
        ask=lambda: atlas.scans.samples(name),
        table=True,
        lasting=lasts(name),
    )


def _vocabularies(atlas: OpenAtlas, settings: Settings) -> VocabularyList:
    swept = set(atlas.scans.names())
    found = tuple(
        VocabularySummary(one.library, one.n_terms, one.packaged, one.keywords, one.library in swept)
        for one in list_counted(settings.home_path)
    )
    return VocabularyList(atlas.release.name, found)


def _terms(question: ScanQuestion, settings: Settings) -> tuple[list[str], str]:
    """Return the terms of a question and what to call the sweep."""
    if (question.terms is None) == (question.vocabulary is None):
        raise InputError(
            "Give either a list of terms or the name of a vocabulary.",
            details={"problems": [{"where": "body", "message": "terms or vocabulary, not both and not neither"}]},
        )
    if question.vocabulary is not None:
        return terms_of(settings.home_path, question.vocabulary), question.vocabulary
    terms = question.terms or []
    return terms, f"{len(terms)} terms"
