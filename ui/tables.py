"""Answers of the API as rows of tables, for the screen and for the download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ui.text import safe_url, shorten, strength

Hit = Mapping[str, Any]

_NO_LABEL = "—"


def hit_rows(hits: Sequence[Hit]) -> list[dict[str, object]]:
    """Return hits as the screen shows them; a link column holds an address or nothing."""
    return [
        {
            "#": hit["rank"],
            "Sample": hit["sample"]["accession"],
            "Description": description_of(hit["sample"]),
            "Score": hit["score"],
            "Answer": strength(hit["percentile"]),
            "Series": first_of(hit["sample"]["series"]),
            "Cluster": hit["sample"]["cluster_label"] or _NO_LABEL,
            "Record": safe_url(hit["sample"]["url"]),
        }
        for hit in hits
    ]


def sample_rows(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Return samples of a series as the screen shows them."""
    return [
        {
            "Sample": sample["accession"],
            "Title": sample["title"],
            "Source": sample["source_name"],
            "Characteristics": "; ".join(f"{key}: {value}" for key, value in sample["characteristics"]),
            "Cluster": sample["cluster_label"] or _NO_LABEL,
            "Genes": sample["n_genes_detected"],
            "Record": safe_url(sample["url"]),
        }
        for sample in samples
    ]


def description_of(sample: Mapping[str, Any]) -> str:
    """Return source and title of a sample, neither said twice."""
    source, title = sample["source_name"].strip(), sample["title"].strip()
    return source if not title or title == source else f"{source} · {title}" if source else title


def first_of(names: Sequence[str]) -> str:
    """Return the first of several names and how many more there are."""
    return names[0] + (f" +{len(names) - 1}" if len(names) > 1 else "") if names else ""


def download_rows(hits: Sequence[Hit], *, release: str) -> list[dict[str, object]]:
    """Return hits with every field that a table can hold."""
    return [
        {"rank": hit["rank"], "score": hit["score"], "percentile": hit["percentile"], **_fields(hit["sample"], release=release)}
        for hit in hits
    ]  # fmt: skip


def sample_download(samples: Sequence[Mapping[str, Any]], *, release: str) -> list[dict[str, object]]:
    """Return samples with every field that a table can hold."""
    return [_fields(sample, release=release) for sample in samples]


def series_download(series: Sequence[Mapping[str, Any]], *, release: str) -> list[dict[str, object]]:
    """Return the series roll-up with every figure."""
    return [{**one, "release": release} for one in series]


def gene_rows(explanation: Mapping[str, Any]) -> list[dict[str, object]]:
    """Return the genes for and against a similarity, with every figure."""
    fixed = {"accession": explanation["accession"], "release": explanation["release"]}
    return [{**gene, **fixed} for gene in (*explanation["genes"], *explanation["against"])]


def series_rows(series: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Return the series roll-up."""
    return [
        {
            "Series": hit["series"],
            "Title": hit["title"],
            "Hits": hit["n_hits"],
            "of": hit["n_samples"],
            "Best score": hit["best_score"],
            "Record": safe_url(hit["url"]),
        }
        for hit in series
    ]


def option_of(hit: Hit) -> str:
    """Return the line that names a hit in a list of choices."""
    sample = hit["sample"]
    return f"{hit['rank']} · {sample['accession']} · {shorten(sample['title'] or sample['source_name'], limit=60)}"


def _fields(sample: Mapping[str, Any], *, release: str) -> dict[str, object]:
    return {
        "accession": sample["accession"],
        "series": ",".join(sample["series"]),
        "title": sample["title"],
        "source_name": sample["source_name"],
        "characteristics": "; ".join(f"{key}: {value}" for key, value in sample["characteristics"]),
        "organism": sample["organism"],
        "molecule": sample["molecule"],
        "tissue": sample["tissue"],
        "unit": sample["unit"],
        "n_genes_detected": sample["n_genes_detected"],
        "cluster": sample["cluster"],
        "cluster_label": sample["cluster_label"],
        "x": sample["x"],
        "y": sample["y"],
        "url": sample["url"],
        "release": release,
    }
