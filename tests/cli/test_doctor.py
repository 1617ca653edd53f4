from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from atlas.settings import Settings
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


def test_doctor_asks_the_milvus_that_is_set(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed (extra scale)")
    found = doctor._milvus(Settings(search_engine="milvus", milvus_uri=str(tmp_path / "lite.db")))
    assert found.startswith(f"{tmp_path / 'lite.db'}, version ")
    away = Settings(search_engine="milvus", milvus_uri="http://127.0.0.1:9", milvus_timeout_s=0.5)
    name, ok, said = doctor._guarded("milvus", lambda: doctor._milvus(away))
    assert (name, ok) == ("milvus", False)
    assert "could not be reached" in said
