"""Answers of the API as rows of tables, for the screen and for the download."""

from __future__ import annotations

from typing import Any

from ui.text import safe_url, shorten

_NO_LABEL = "—"


def hit_rows(hits: list[dict[str, Any]]) -> list[dict[str, object]]:
    """Return hits as the screen shows them; a link column holds an address or nothing."""
    return [
        {
            "#": hit["rank"],
            "Sample": hit["sample"]["accession"],
            "Record": safe_url(hit["sample"]["url"]),
            "Score": hit["score"],
            "Pct": hit["percentile"],
            "Source": hit["sample"]["source_name"],
            "Title": hit["sample"]["title"],
            "Series": ", ".join(hit["sample"]["series"]),
            "Series record": next(filter(None, map(safe_url, hit["sample"]["series_urls"])), None),
            "Cluster": hit["sample"]["cluster_label"] or _NO_LABEL,
        }
        for hit in hits
    ]


def download_rows(hits: list[dict[str, Any]], *, release: str) -> list[dict[str, object]]:
    """Return hits with every field that a table can hold."""
    return [
        {
            "rank": hit["rank"],
            "accession": hit["sample"]["accession"],
            "series": ",".join(hit["sample"]["series"]),
            "score": hit["score"],
            "percentile": hit["percentile"],
            "title": hit["sample"]["title"],
            "source_name": hit["sample"]["source_name"],
            "characteristics": "; ".join(f"{key}: {value}" for key, value in hit["sample"]["characteristics"]),
            "organism": hit["sample"]["organism"],
            "tissue": hit["sample"]["tissue"],
            "cluster": hit["sample"]["cluster"],
            "cluster_label": hit["sample"]["cluster_label"],
            "url": hit["sample"]["url"],
            "release": release,
        }
        for hit in hits
    ]


def series_rows(series: list[dict[str, Any]]) -> list[dict[str, object]]:
    """Return the series roll-up."""
    return [
        {
            "Series": hit["series"],
            "Title": hit["title"],
            "Hits": hit["n_hits"],
            "Samples": hit["n_samples"],
            "Best rank": hit["best_rank"],
            "Best score": hit["best_score"],
            "Record": safe_url(hit["url"]),
        }
        for hit in series
    ]


def cluster_rows(clusters: list[dict[str, Any]]) -> list[dict[str, object]]:
    """Return the clusters, largest first."""
    return [
        {
            "Cluster": cluster["label"],
            "Samples": cluster["n_samples"],
            "Series": cluster["n_series"],
            "Largest series": cluster["top_series"],
            "Share": round(100 * cluster["top_series_share"]),
            "Note": "single study" if cluster["single_study"] else "",
        }
        for cluster in clusters
    ]


def option_of(hit: dict[str, Any]) -> str:
    """Return the line that names a hit in a list of choices."""
    sample = hit["sample"]
    return f"{hit['rank']} · {sample['accession']} · {shorten(sample['title'] or sample['source_name'], limit=60)}"
