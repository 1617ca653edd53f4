"""People's labels of clusters: ``PUT`` and ``DELETE /v1/clusters/{cluster_id}/label``, ``GET /v1/label-edits``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from api.auth import Administrator
from api.deps import AtlasDep, BackendDep, GatesDep, ServingDep, answer, read_json
from api.examples import LABEL_EDIT, LABEL_EDITS
from api.openapi import TOKEN, json_body, responses, tables
from api.protocols import Backend, OpenAtlas
from api.questions import LabelQuestion, LabelRemovalQuery, PinnedQuery
from api.routes.clusters import ClusterId
from api.schemas import LabelEditAnswer, LabelEditList
from atlas.answers import ClusterSummary, LabelEdit
from atlas.errors import NotFoundError

router = APIRouter(tags=["labels"])
_EDIT = TypeAdapter(LabelEditAnswer)
_EDITS = TypeAdapter(LabelEditList)


@router.put(
    "/clusters/{cluster_id}/label",
    name="set",
    response_model=LabelEditAnswer,
    responses=responses(LABEL_EDIT, 401, 403, 404, 408, 413, 415),
    openapi_extra=json_body(LabelQuestion) | TOKEN,
    dependencies=[Administrator],
)
async def set_label(
    request: Request,
    cluster_id: ClusterId,
    query: Annotated[PinnedQuery, Query()],
    gates: GatesDep,
    serving: ServingDep,
    backend: BackendDep,
    atlas: AtlasDep,
) -> Response:
    """Name a cluster. The machine's label, author and date are kept beside it; an earlier edit is superseded, not deleted."""
    question = await read_json(request, LabelQuestion)

    def edit() -> LabelEditAnswer:
        summary = _summary(atlas, cluster_id)
        made = backend.labels.set(
            atlas.release,
            cluster_id,
            label=question.label,
            machine_label=summary.machine_label or summary.label,
            author=question.author,
            note=question.note,
        )
        serving.refresh_labels()
        return LabelEditAnswer(atlas.release.name, _summary(atlas, cluster_id), made)

    return await answer(request, gates.database, schema=_EDIT, ask=edit)


@router.delete(
    "/clusters/{cluster_id}/label",
    name="remove",
    response_model=LabelEditAnswer,
    responses=responses(LABEL_EDIT, 401, 403, 404),
    openapi_extra=TOKEN,
    dependencies=[Administrator],
)
async def remove_label(
    request: Request,
    cluster_id: ClusterId,
    query: Annotated[LabelRemovalQuery, Query()],
    gates: GatesDep,
    serving: ServingDep,
    backend: BackendDep,
    atlas: AtlasDep,
) -> Response:
    """Take a person's label back, so that the machine's is shown; the edit stays in the history."""

    def remove() -> LabelEditAnswer:
        _summary(atlas, cluster_id)
        backend.labels.remove(_edit_of(backend, atlas, cluster_id).edit_id, author=query.author)
        serving.refresh_labels()
        return LabelEditAnswer(atlas.release.name, _summary(atlas, cluster_id), None)

    return await answer(request, gates.database, schema=_EDIT, ask=remove)


@router.get("/label-edits", name="list", response_model=LabelEditList, responses=tables(LABEL_EDITS))
async def edits(
    request: Request, query: Annotated[PinnedQuery, Query()], gates: GatesDep, backend: BackendDep, atlas: AtlasDep
) -> Response:
    """Return the labels in force, each with the cluster of this release that it meets: ``exact``, ``carried`` or ``orphaned``."""
    return await answer(
        request,
        gates.database,
        schema=_EDITS,
        ask=lambda: LabelEditList(atlas.release.name, backend.labels.for_release(atlas.release)),
        table=True,
    )


def _summary(atlas: OpenAtlas, cluster: int) -> ClusterSummary:
    found = next((one for one in atlas.clusters() if one.cluster == cluster), None)
    if found is None:
        raise NotFoundError(f"There is no cluster {cluster}.", details={"n_clusters": len(atlas.clusters())})
    return found


def _edit_of(backend: Backend, atlas: OpenAtlas, cluster: int) -> LabelEdit:
    found = next((one for one in backend.labels.for_release(atlas.release) if one.cluster == cluster), None)
    if found is None:
        raise NotFoundError(f"Cluster {cluster} has no edited label.", details={"cluster": cluster})
    return found
