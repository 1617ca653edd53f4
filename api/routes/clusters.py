"""``GET /v1/clusters``, one cluster, and its samples."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from api.cursors import make_cursor, read_cursor
from api.deps import AtlasDep, GatesDep, answer
from api.examples import CLUSTER, CLUSTERS, MEMBERS
from api.openapi import responses, tables
from api.protocols import OpenAtlas
from api.questions import PageQuery, PinnedQuery
from api.schemas import ClusterPage, MemberPage
from atlas.answers import ClusterDetail

router = APIRouter(prefix="/clusters", tags=["clusters"])
_PAGE = TypeAdapter(ClusterPage)
_CLUSTER = TypeAdapter(ClusterDetail)
_MEMBERS = TypeAdapter(MemberPage)

ClusterId = Annotated[
    int, Path(ge=0, le=2**31 - 1, description="Number of the cluster; 0 is the largest.", examples=[0])
]


@router.get("", name="list", response_model=ClusterPage, responses=tables(CLUSTERS, 410))
async def list_page(
    request: Request, query: Annotated[PageQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return one page of clusters, largest first; a cursor holds for the release that gave it out."""
    return await answer(
        request, gates.questions, schema=_PAGE, ask=lambda: _page(atlas, query), table=True, lasting=True
    )


@router.get("/{cluster_id}", response_model=ClusterDetail, responses=responses(CLUSTER, 404))
async def get(
    request: Request, cluster_id: ClusterId, query: Annotated[PinnedQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return one cluster: label, its evidence and quality, keywords, most central samples, composition by series and tissue."""
    return await answer(request, gates.questions, schema=_CLUSTER, ask=lambda: atlas.cluster(cluster_id), lasting=True)


@router.get("/{cluster_id}/samples", response_model=MemberPage, responses=tables(MEMBERS, 404, 410))
async def samples(
    request: Request, cluster_id: ClusterId, query: Annotated[PageQuery, Query()], gates: GatesDep, atlas: AtlasDep
) -> Response:
    """Return one page of a cluster's samples, most central first; ``score`` is the cosine to the cluster's centre."""
    return await answer(
        request,
        gates.questions,
        schema=_MEMBERS,
        ask=lambda: _members(atlas, cluster_id, query),
        table=True,
        lasting=True,
    )


def _page(atlas: OpenAtlas, query: PageQuery) -> ClusterPage:
    name = atlas.release.name
    offset = read_cursor(query.cursor, release=name, question="clusters")
    clusters = atlas.clusters()
    end = offset + query.limit
    return ClusterPage(
        release=name,
        n_clusters=len(clusters),
        clusters=clusters[offset:end],
        next_cursor=make_cursor(name, offset=end, question="clusters") if end < len(clusters) else None,
    )


def _members(atlas: OpenAtlas, cluster: int, query: PageQuery) -> MemberPage:
    name, question = atlas.release.name, f"samples of cluster {cluster}"
    offset = read_cursor(query.cursor, release=name, question=question)
    hits, n_samples = atlas.cluster_samples(cluster, offset=offset, limit=query.limit)
    end = offset + query.limit
    cursor = make_cursor(name, offset=end, question=question) if end < n_samples else None
    return MemberPage(name, cluster, n_samples, hits, cursor)
