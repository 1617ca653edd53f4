from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from cli import doctor


@pytest.mark.parametrize(
    ("installed", "ok", "said"),
    [
        ({"faiss-cpu": "1.15"}, True, "faiss-cpu 1.15"),
        ({"faiss-gpu-cu12": "1.15"}, True, "faiss-gpu-cu12 1.15"),
        ({"faiss-cpu": "1.15", "faiss-gpu-cu12": "1.15"}, False, "both install the same folder"),
        ({}, False, "geo-atlas[cpu]"),
    ],
)
def test_doctor_reports_which_faiss_is_there(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], ok: bool, said: str
) -> None:
    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor, "version", version)
    name, seen, text = doctor._faiss()
    assert (name, seen) == ("faiss", ok)
    assert said in text
