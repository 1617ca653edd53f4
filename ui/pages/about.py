"""About: what the release is made of, what was measured, what a score does not say, how to use and cite the atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from atlas.client import AtlasHTTPError, Client
from ui import address, downloads, parts, scan_words, views
from ui.service import Service
from ui.text import markup, safe_url

LIMITS = (
    "A sample's place comes from its expression alone. A score says that genes and words point the same way. It is no diagnosis "
    "and no probability.",
    "For many diseases the atlas finds the tissue rather than the disease: “cardiomyopathy” finds hearts, also healthy ones.",
    "It says “nothing matches” for phrases that are no biology. It does not notice that it lacks a tissue: it then shows what "
    "resembles it. Look at what the hits are before you believe what they were asked for.",
    "Clusters partly follow studies rather than biology. One that is mostly a single study is marked; what a scan finds in "
    "clusters of fewer than 3 studies holds for those studies. Names are machine-made unless a person signed: see the evidence.",
    "Near each other on the map means similar expression; distances across the map, sizes and empty space mean little.",
    "Depositors' words are shown as they wrote them and may be wrong, missing or in other units than stated.",
)

HONEST_USE = (
    "Use it to find public samples worth a closer look, and to form hypotheses. Go to the original records and re-analyse their "
    "data before you claim anything. Do not use it for decisions about patients, nor to identify people."
)


def page(service: Service, release: dict[str, Any]) -> None:
    """Draw the page."""
    address.arrived("about")
    views.heading("About this atlas", "What it is made of, how well it was measured to work, and what it cannot tell.")
    _release(release)
    left, right = st.columns([11, 9], gap="large")
    with left:
        _limits()
        _measured(service, release)
    with right:
        _model(release)
        _programs(service, release)
        _cite(release)
    _stages(release)
    address.write("about", {}, release=service.release)


def _release(release: Mapping[str, Any]) -> None:
    facts = [
        ("Samples", f"{release['n_samples']:,}", "public RNA-seq samples"),
        ("Release", str(release["release"]), f"built {str(release['created_at'])[:10]}"),
    ]
    if n := _note(release, "cluster_samples", "n_clusters"):
        facts.append(("Clusters", f"{n:,}", "by similar expression"))
    if n := _note(release, "match_keywords", "n_terms"):
        facts.append(("Terms", f"{n:,}", "of public vocabularies"))
    if (verified := release.get("verified")) is not None:
        facts.append(("Checked", f"{100 * verified:.0f} %", "of its bytes since it was opened"))
    parts.figures(facts)


def _limits() -> None:
    st.subheader("What it cannot tell", anchor=False)
    st.html(f'<ul class="ga-list">{"".join(f"<li>{markup(limit)}</li>" for limit in LIMITS)}</ul>')
    st.html(f'<p class="ga-said"><b>Honest use.</b> {markup(HONEST_USE)}</p>')


def _measured(service: Service, release: Mapping[str, Any]) -> None:
    st.subheader("What was measured on this release", anchor=False)
    said = measured(release)
    try:
        scans = service.now(Client.scans, release=service.release)["scans"]
    except AtlasHTTPError:
        scans = []  # the page is worth reading without
    for scan in scans:
        if scan["stored"] == "release":
            said.append(
                f"Scan of {scan_words.title(scan)}. " + " ".join(scan_words.calibration_sentences(scan["calibration"]))
            )
    st.html(f'<ul class="ga-list">{"".join(f"<li>{markup(one)}</li>" for one in said)}</ul>')


def measured(release: Mapping[str, Any]) -> list[str]:
    """Say what the build measured: how exact search is, against what scores are calibrated, what was dropped."""
    said = []
    if recall := _note(release, "build_index", "recall"):
        worst = min(recall.values())
        part = "all" if worst >= 0.9995 else f"at least {100 * worst:.1f} %"
        said.append(
            f"Search returns {part} of the true nearest samples, measured on "
            f"{_note(release, 'build_index', 'n_queries', of='phrases') or 0:,} phrases and "
            f"{_note(release, 'build_index', 'n_queries', of='rows') or 0:,} samples; scores themselves are exact."
        )
    if recall := _note(release, "build_neighbours", "recall"):
        said.append(
            f"The graph of nearest neighbours, which clusters and map rest on, holds {100 * recall:.1f} % of the true ones."
        )
    if n_phrases := _note(release, "calibrate_scores", "n_phrases"):
        pairs = _note(release, "calibrate_scores", "n_pairs") or 0
        said.append(
            f"Percentiles compare a score with those of {n_phrases:,} phrases that have nothing to do with biology, and of "
            f"{pairs:,} random pairs of samples of different series."
        )
    if modularity := _note(release, "cluster_samples", "modularity"):
        said.append(f"Clusters: modularity {modularity:.2f}. How stable each one is stands on its page.")
    if single := _note(release, "label_clusters", "single_study"):
        said.append(f"{single:,} clusters come mostly from one study.")
    dropped = _dropped(release)
    said.append(
        "Left out, under a named reason: " + "; ".join(f"{reason} {n:,}" for reason, n in dropped) + "."
        if dropped
        else "No sample that was read was left out."
    )
    return said


def _dropped(release: Mapping[str, Any]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for stage in release.get("stages", ()):
        for reason, n in stage["dropped"].items():
            counts[reason.replace("_", " ")] = counts.get(reason.replace("_", " "), 0) + int(n)
    return sorted(((reason, n) for reason, n in counts.items() if n), key=lambda item: -item[1])


def _model(release: Mapping[str, Any]) -> None:
    st.subheader("Model card", anchor=False)
    facts = (
        ("What it does", "puts transcriptomes and words into one space, so that a cosine compares them"),
        ("Reads", "expression of human genes: counts, TPM, FPKM or log2 values; and English phrases"),
        ("Packaged model", "a closed form, no gradients: public gene sets factorised in the metric of real samples; "
         "a sample by its most telling genes, a phrase by the gene sets with the nearest names"),
        ("Dimensions", f"{release['dim']:,}"),
        ("Model hash", str(release["model_hash"])[:16]),
        ("Content key", str(release["content_key"])[:16]),
        ("Seed", str(release.get("seed", ""))),
        ("Software", ", ".join(f"{name} {version}" for name, version in sorted(release.get("versions", {}).items())[:6])),
    )  # fmt: skip
    rows = "".join(f"<tr><th>{markup(name)}</th><td>{markup(value)}</td></tr>" for name, value in facts if value)
    st.html(f'<table class="ga-facts">{rows}</table>')


def _programs(service: Service, release: Mapping[str, Any]) -> None:
    st.subheader("For programs", anchor=False)
    st.html(
        '<p class="ga-said">Everything on these pages can be asked by REST or from Python; every answer names its release.</p>'
    )
    if docs := safe_url(f"{service.url}/docs"):
        with st.container(horizontal=True, gap="small"):
            st.link_button("REST reference", docs, icon=":material/open_in_new:")
            st.link_button("OpenAPI", f"{service.url}/openapi.json", icon=":material/open_in_new:")
    st.code(
        "from atlas.client import Client\n\n"
        f'client = Client("{service.url}")\n'
        'hits = client.search("cardiomyopathy", k=20)\n'
        "table = Client.frame(hits)  # a pandas table",
        language="python",
    )


def _cite(release: Mapping[str, Any]) -> None:
    st.subheader("How to cite, and licences", anchor=False)
    st.html(
        '<p class="ga-said">Name the software and the release, since answers belong to a release, and cite the studies whose '
        "samples you use: each sample and series page links its public record.</p>"
    )
    st.code(citation(release), language=None, wrap_lines=True)
    st.html(
        '<p class="ga-said">The software is under the MIT licence. Samples and descriptions keep the terms of their sources '
        "(GEO and SRA, TCGA by GDC, Enrichr's vocabularies, the text model): the file NOTICE beside the packaged data "
        "names them.</p>"
    )


def citation(release: Mapping[str, Any]) -> str:
    """Return the line to put into a paper."""
    version = release.get("versions", {}).get("geo-atlas")
    software = f"geo-atlas {version}" if version else "geo-atlas"
    return (
        f"{software}, release {release['release']} of {str(release['created_at'])[:10]} ({release['n_samples']:,} samples, "
        f"content key {str(release['content_key'])[:16]})."
    )


def _stages(release: Mapping[str, Any]) -> None:
    stages: Sequence[Mapping[str, Any]] = release.get("stages", ())
    if not stages:
        return
    with st.expander("How the release was built, stage by stage"):
        rows: list[downloads.Row] = [
            {
                "Stage": str(stage["name"]).replace("_", " "),
                "In": stage["n_in"],
                "Out": stage["n_out"],
                "Left out": ", ".join(f"{reason} {n:,}" for reason, n in stage["dropped"].items()),
            }
            for stage in stages
        ]
        st.dataframe(rows, hide_index=True, alt="Stages of the build with what went in, came out and was left out")
        downloads.buttons(lambda: rows, stem=("release", release["release"], "stages"), key="stages")


def _note(release: Mapping[str, Any], stage: str, name: str, *, of: str | None = None) -> Any:
    """Return a note of a stage, or ``None`` where this release has none: stages may be missing and notes may change."""
    for one in release.get("stages", ()):
        if one["name"] == stage:
            found = one["notes"].get(name)
            return found.get(of) if of is not None and isinstance(found, Mapping) else found
    return None
