"""``GET /v1/clusters`` and ``GET /v1/clusters/{cluster_id}``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from api.cursors import make_cursor, read_cursor
from api.deps import AtlasDep, GatesDep, answer
from api.examples import CLUSTER, CLUSTERS
from api.openapi import responses
from api.schemas import ClusterPage, ClustersQuery, NoQuery
from api.serving import OpenAtlas
from atlas.answers import ClusterDetail

router = APIRouter(prefix="/clusters", tags=["clusters"])
_PAGE = TypeAdapter(ClusterPage)
_CLUSTER = TypeAdapter(ClusterDetail)

ClusterId = Annotated[
    int, Path(ge=0, le=2**31 - 1, description="Number of the cluster; 0 is the largest.", examples=[0])
]


@router.get("", name="list", response_model=ClusterPage, responses=responses(CLUSTERS, 410))
async def list_page(
    request: Request, query: Annotated[ClustersQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return one page of clusters, largest first; a cursor holds for the release that gave it out."""
    offset = 0 if query.cursor is None else read_cursor(query.cursor, release=atlas.release.name)
    return await answer(
        request, gates.questions, schema=_PAGE, ask=lambda: _page(atlas, offset=offset, limit=query.limit)
    )


@router.get("/{cluster_id}", response_model=ClusterDetail, responses=responses(CLUSTER, 404))
async def get(
    request: Request, cluster_id: ClusterId, query: Annotated[NoQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return one cluster: label and its evidence, keywords, most central samples, composition by series and tissue."""
    return await answer(request, gates.questions, schema=_CLUSTER, ask=lambda: atlas.cluster(cluster_id))


def _page(atlas: OpenAtlas, *, offset: int, limit: int) -> ClusterPage:
    clusters = atlas.clusters()
    end = offset + limit
    return ClusterPage(
        release=atlas.release.name,
        n_clusters=len(clusters),
        clusters=clusters[offset:end],
        next_cursor=make_cursor(atlas.release.name, offset=end) if end < len(clusters) else None,
    )
