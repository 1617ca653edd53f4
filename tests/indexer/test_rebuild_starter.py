"""One command rebuilds the starter: whole, in equal bytes, with the null of its model and the licences of all it is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from expression_files import counts, write_archs4
from toy_model import ToyTextTower, toy_memory_parts, write_toy_model

from atlas.errors import ArtifactError, InputError
from atlas.model.checkpoint import write_model
from atlas.model.config import GeneTextConfig
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS
from atlas.vectors.model_null import FILE, ModelNull
from indexer import export_text_vectors, rebuild_starter
from indexer.rebuild_starter import rebuild_starter as rebuild
from indexer.sources.starter import read_starter
from indexer.starter_notice import Library, model_libraries

TERMS = ["heart muscle", "liver lobule", "brain cortex", "blood"]
SERIES = [f"GSE{i % 3}" for i in range(12)]


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Twelve samples of three series, and the tables of licences."""
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    for module in (export_text_vectors, rebuild_starter):
        monkeypatch.setattr(module, "packaged_texts", lambda: TERMS)
    monkeypatch.setattr(rebuild_starter, "background_phrases", lambda: ("tax return", "skin of a drum", "blorf"))
    path = write_archs4(tmp_path / "c.h5", counts(300, 12), samples={"series_id": SERIES})
    licences = "".join(f"{one}\tsomeone/{one}\tMIT\n" for one in sorted(set(SERIES)))
    (tmp_path / "licences.tsv").write_text("series_id\trepository\tlicence\n" + licences)
    return {"counts": path, "licences": tmp_path / "licences.tsv"}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_everything_is_rebuilt_and_again_in_the_same_bytes(tmp_path: Path, given: dict[str, Path]) -> None:
    model = write_toy_model(tmp_path / "model", 300)
    (model / "README.md").write_text("card")
    out = tmp_path / "out"
    report = rebuild(out, model_dir=model, counts=[given["counts"]], licences=given["licences"])
    assert (report.n_samples, report.n_series) == (12, 3)
    written = files(out)
    assert {"NOTICE", "starter.json", "vectors.npy", "gene_weights.npy", "model/README.md", f"model/{FILE}"} <= set(
        written
    )
    starter = read_starter(out)
    assert starter.vectors.shape == (12, ToyTextTower.dim)
    assert starter.gene_weights["norm"].all()
    rebuild(out, model_dir=out / "model", counts=[given["counts"]], licences=given["licences"])
    assert files(out) == written


def test_another_model_leaves_nothing_of_the_old_one(tmp_path: Path, given: dict[str, Path]) -> None:
    out = tmp_path / "out"
    rebuild(out, model_dir=write_toy_model(tmp_path / "a", 300), counts=[given["counts"]], licences=given["licences"])
    old = ModelNull.find(out / "model")
    other = write_toy_model(tmp_path / "b", 300, n_mouse=3)
    rebuild(out, model_dir=other, counts=[given["counts"]], licences=given["licences"])
    new = ModelNull.find(out / "model")
    assert old is not None
    assert new is not None
    assert new.model_hash == JointModel.load(other).hash != old.model_hash
    old.save(out / "model")
    with pytest.raises(ArtifactError, match="another model"):
        ModelNull.find(out / "model")


def test_a_model_of_gene_sets_names_their_libraries_and_licences(tmp_path: Path, given: dict[str, Path]) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    write_model(model, toy_memory_parts(300, recipe=GeneTextConfig(power=1.0)))
    names = sorted(set(pq.read_table(model / "memory.parquet")["library"].to_pylist()))
    with pytest.raises(InputError, match="--libraries"):
        rebuild(out, model_dir=model, counts=[given["counts"]], licences=given["licences"])
    table = tmp_path / "libraries.tsv"
    table.write_text("file\trepo\tlicence\nenrichr/other.gmt\tsome/repo\tMIT\n")
    with pytest.raises(InputError, match=names[0]):
        rebuild(out, model_dir=model, counts=[given["counts"]], licences=given["licences"], libraries=table)
    lines = "".join(f"enrichr/{name}.gmt\tsome/repo\tCC BY-NC-SA 4.0\n" for name in names)
    table.write_text("file\trepo\tlicence\n" + lines)
    rebuild(out, model_dir=model, counts=[given["counts"]], licences=given["licences"], libraries=table)
    notice = (out / "NOTICE").read_text()
    assert all(f"{name}\tsome/repo\tCC BY-NC-SA 4.0" in notice for name in names)
    assert "Geneformer (Apache-2.0)" in " ".join(notice.split())
    assert "Cell Ontology (CC BY 4.0)" in " ".join(notice.split())


def test_signed_libraries_are_known_by_their_halves_and_samples_by_their_series(tmp_path: Path) -> None:
    names = pa.table({"set": ["a", "b"], "library": ["Signed", "samples"]})
    pq.write_table(names, tmp_path / "memory.parquet")
    (tmp_path / "t.tsv").write_text(
        "file\trepo\tlicence\nx/Signed_up.gmt\tsome/repo\tMIT\nx/Signed_down.gmt\tsome/repo\tMIT\n"
    )
    found = model_libraries(tmp_path, tmp_path / "t.tsv")
    assert found["Signed"] == Library("some/repo", "MIT")
    assert "series" in found["samples"].repository


def test_the_null_says_where_a_score_stands(tmp_path: Path, given: dict[str, Path]) -> None:
    out = tmp_path / "out"
    rebuild(out, model_dir=write_toy_model(tmp_path / "m", 300), counts=[given["counts"]], licences=given["licences"])
    null = ModelNull.find(out / "model")
    assert null is not None
    vectors = np.load(out / "vectors.npy").astype(np.float64)
    assert null.percentile_of_pairs(np.array([-1.0, 1.1])).tolist() == [0.0, 100.0]
    pairs = [vectors[a] @ vectors[b] for a in range(12) for b in range(12) if SERIES[a] != SERIES[b]]
    assert null.percentile_of_pairs(np.array([np.median(pairs)]))[0] == pytest.approx(50, abs=8)
    cosines = vectors @ JointModel.load(out / "model").embed_texts(TERMS).T.astype(np.float64)
    below = null.percentile_of_texts(np.array([np.median(cosines), cosines.max() + 0.01]))
    assert below[0] == pytest.approx(50, abs=10)
    assert below[1] == 100.0
    assert null.n_samples == 12


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive"])
def test_a_damaged_null_is_refused(tmp_path: Path, damage: bytes) -> None:
    model = write_toy_model(tmp_path / "m")
    assert ModelNull.find(model) is None
    (model / FILE).write_bytes(damage)
    with pytest.raises(ArtifactError, match="null"):
        ModelNull.find(model)
