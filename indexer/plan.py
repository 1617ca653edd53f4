"""The order of a build, and nothing else."""

from __future__ import annotations

from indexer.stage import Stage
from indexer.stages import (
    build_index,
    build_neighbours,
    calibrate_scores,
    cluster_samples,
    embed_samples,
    ingest_samples,
    label_clusters,
    lay_out_map,
    load_catalog,
    match_keywords,
    publish_release,
    scan_vocabulary,
    write_captions,
)

STAGES: tuple[Stage, ...] = (
    ingest_samples.STAGE,
    write_captions.STAGE,
    embed_samples.STAGE,
    build_index.STAGE,
    build_neighbours.STAGE,
    cluster_samples.STAGE,
    lay_out_map.STAGE,
    match_keywords.STAGE,
    calibrate_scores.STAGE,
    label_clusters.STAGE,
    scan_vocabulary.STAGE,
    load_catalog.STAGE,
    publish_release.STAGE,
)
