"""Starting a scan of one's own, watching it, stopping it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from atlas.client import AtlasHTTPError, Client
from ui import views
from ui.service import Service, sentence
from ui.term_lists import read_terms

SOURCES = {"terms": "My terms", "vocabulary": "A vocabulary at hand"}
_OVER = ("done", "failed", "cancelled", "expired")


def form(service: Service) -> None:
    """Ask for a list of terms or a vocabulary, and start its scan as a job."""
    st.caption(
        "The scan runs beside everything else and takes from seconds to minutes, longest where new terms have to be embedded. "
        "Its result gets an address of its own."
    )
    source = st.segmented_control(
        "What to scan", list(SOURCES), key="scan-source", default="terms", required=True, format_func=SOURCES.__getitem__,
        label_visibility="collapsed",
    )  # fmt: skip
    if source == "vocabulary":
        _vocabulary(service)
    else:
        with st.form("own-scan", border=False):
            st.text_area(
                "One term a line", key="own-terms", height=150, placeholder="dilated cardiomyopathy\ntype 1 diabetes"
            )
            st.file_uploader("or a text file", key="own-file", type=["txt", "csv", "tsv", "list"])
            st.text_input("Name of the list (optional)", key="own-name", max_chars=100)
            st.form_submit_button(
                "Start", type="primary", icon=":material/play_arrow:", on_click=_start_list, args=(service,)
            )
    if told := st.session_state.pop("scan-told", None):
        st.error(views.as_markdown(str(told)))


def _vocabulary(service: Service) -> None:
    found = [v for v in service.now(Client.vocabularies, release=service.release)["vocabularies"] if not v["scanned"]]
    if not found:
        st.caption("Every vocabulary at hand has been scanned: choose it from the list of scans.")
        return
    sizes = {str(v["name"]): f"{v['name']} · {v['n_terms']:,} terms" for v in found}
    with st.form("vocabulary-scan", border=False):
        st.selectbox("Vocabulary", list(sizes), format_func=sizes.__getitem__, key="own-vocabulary")
        st.form_submit_button(
            "Start", type="primary", icon=":material/play_arrow:", on_click=_start_vocabulary, args=(service,)
        )


def _start_list(service: Service) -> None:
    upload = st.session_state.get("own-file")
    found = read_terms(str(st.session_state.get("own-terms") or ""), upload.getvalue() if upload is not None else None)
    if found.problem:
        st.session_state["scan-told"] = found.problem
        return
    name = str(st.session_state.get("own-name") or "").strip() or None
    _start(service, terms=list(found.terms), name=name)
    if found.n_duplicates:
        several = found.n_duplicates > 1
        st.session_state["scan-note"] = (
            f"{found.n_duplicates:,} repeated term{'s are' if several else ' is'} scanned once."
        )


def _start_vocabulary(service: Service) -> None:
    _start(service, vocabulary=st.session_state.get("own-vocabulary"))


def _start(service: Service, **request: Any) -> None:
    try:
        job = service.now(Client.start_scan, release=service.release, **request)
    except AtlasHTTPError as error:
        st.session_state["scan-told"] = sentence(error, url=service.url)
        return
    st.session_state["scan-job"] = job["job_id"]
    st.session_state["scans started"] = st.session_state.get("scans started", 0) + 1
    st.session_state.pop("scan-note", None)


def watch(service: Service) -> None:
    """Show how far the started scan is, if there is one; open its result once it is there."""
    if st.session_state.get("scan-job"):
        _watched(service, str(st.session_state["scan-job"]))


@st.fragment(run_every=1.0)
def _watched(service: Service, job_id: str) -> None:
    try:
        job = service.now(Client.job, job_id)
    except AtlasHTTPError as error:
        st.warning(views.as_markdown(sentence(error, url=service.url)))
        st.button("Dismiss", key="dismiss-job", on_click=_dismiss)
        return
    if job["status"] == "done":
        _dismiss()
        st.session_state["scan"] = str((job["result"] or {}).get("scan", ""))
        st.session_state["scan-term"] = ""
        st.rerun()
    with st.container(border=True, key="scan-job-box"):
        if job["status"] in _OVER:
            st.markdown(views.as_markdown(_ended(job)))
            st.button("Dismiss", key="dismiss-job", on_click=_dismiss)
            return
        waiting = "Waiting for its turn" if job["status"] == "queued" else (job["message"] or "Scanning").capitalize()
        st.progress(
            min(max(float(job["progress"]), 0.0), 1.0),
            text=views.as_markdown(f"{waiting} … {100 * job['progress']:.0f} %"),
        )
        if note := st.session_state.get("scan-note"):
            st.caption(views.as_markdown(str(note)))
        st.button(
            "Stop this scan", key="cancel-job", icon=":material/stop_circle:", on_click=_cancel, args=(service, job_id)
        )


def _ended(job: Any) -> str:
    if job["status"] == "cancelled":
        return "The scan was stopped. Nothing of it is kept."
    if job["status"] == "expired":
        return "The result of this scan was kept for its time and is gone. Start the scan again to have it back."
    return f"The scan failed. {(job['error'] or {}).get('message', 'No reason was given.')}"


def _cancel(service: Service, job_id: str) -> None:
    try:
        service.now(Client.cancel_job, job_id)
    except AtlasHTTPError as error:
        st.session_state["scan-note"] = sentence(error, url=service.url)


def _dismiss() -> None:
    for key in ("scan-job", "scan-note"):
        st.session_state.pop(key, None)
