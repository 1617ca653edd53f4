"""Synthetic atlases have the spectrum, the shape and the parts they say."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from atlas.errors import ConfigError
from atlas.expression.source import open_source
from atlas.model.checkpoint import model_hash
from atlas.model.joint import JointModel
from atlas.settings import Settings
from atlas.vectors.store import VectorStore
from benchmarks.synthesize import make_vectors
from benchmarks.synthetic.counts import write_counts
from benchmarks.synthetic.model import Space
from benchmarks.synthetic.plan import draw_plan
from benchmarks.synthetic.spectra import participation_ratio, power_law, spectrum
from benchmarks.synthetic.vectors import vector_blocks
from cli.main import app
from indexer.stage import BuildRequest, StageContext
from indexer.stages import embed_samples, ingest_samples

N, DIM = 700, 64


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    make_vectors(folder, n=N, dim=DIM, name="20", seed=3, n_queries=20)
    return folder


@pytest.mark.parametrize("ratio", [20.0, 80.0, 500.0])
def test_a_power_law_has_the_participation_ratio_asked_for(ratio: float) -> None:
    values = power_law(ratio, 2_048)
    assert participation_ratio(values) == pytest.approx(ratio, rel=1e-6)
    assert values.sum() == pytest.approx(1.0)
    assert (np.diff(values) <= 0).all()
    assert values[-1] > 0


def test_a_ratio_beyond_the_axes_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot have a participation ratio of 80"):
        power_law(80, 64)


def test_the_packaged_spectrum_has_few_strong_axes() -> None:
    values = spectrum("shipped", 2_048)
    assert values.shape == (2_048,)
    assert 1 < participation_ratio(values) < 100
    assert (values[512:] == 0).all()


def test_vectors_have_the_spectrum_they_were_drawn_with() -> None:
    plan = draw_plan(20_000, seed=0)
    eigenvalues = power_law(20, DIM)
    terms = np.random.default_rng(0).normal(size=(len(plan.terms), 16)).astype(np.float32)
    space = Space.draw(eigenvalues, text_vectors=terms, mean_square=0.5, seed=0)
    rows = np.concatenate(list(vector_blocks(space, plan, term_vectors=terms, seed=0)))
    assert rows.shape == (20_000, DIM)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    seen = np.linalg.eigvalsh(np.cov(rows, rowvar=False))
    # clusters are few and of unequal size, so the variance they bring is uneven: near the ratio, not on it
    assert 10 < participation_ratio(seen) < 25
    centre = rows.mean(axis=0)
    assert 0.2 < float(centre @ centre) < 0.5


def test_samples_of_a_study_lie_nearer_than_others(starter: Path) -> None:
    plan = draw_plan(N, seed=3)
    with VectorStore.open(starter / "vectors.npy") as store:
        rows = store.block(0, N)
    similarity = rows @ rows.T
    same = plan.study_of[:, None] == plan.study_of
    np.fill_diagonal(same, val=False)
    assert similarity[same].mean() > similarity[~same].mean() + 0.2


def test_a_clusters_term_finds_its_samples_across_the_gap(starter: Path) -> None:
    plan = draw_plan(N, seed=3)
    model = JointModel.load(starter / "model")
    texts = model.embed_texts(list(plan.terms))
    with VectorStore.open(starter / "vectors.npy") as store:
        scores = store.scores(texts)
    own = plan.study_cluster[plan.study_of][None, :] == np.arange(len(plan.terms))[:, None]
    used = own.any(axis=1)
    gain = [scores[i][own[i]].mean() - scores[i][~own[i]].mean() for i in np.flatnonzero(used)]
    assert min(gain) > 0.05
    shared = texts.mean(axis=0)
    assert float(shared @ shared) > 0.2  # the gap: phrases share a direction


def test_the_same_seed_gives_the_same_bytes(starter: Path, tmp_path: Path) -> None:
    make_vectors(tmp_path, n=N, dim=DIM, name="20", seed=3, n_queries=20)
    for name in ("vectors.npy", "samples.parquet", "series.parquet", "starter.json"):
        assert (tmp_path / name).read_bytes() == (starter / name).read_bytes()
    assert model_hash(tmp_path / "model") == json.loads((starter / "starter.json").read_text())["model_hash"]


def test_queries_are_unit_rows_of_both_kinds(starter: Path) -> None:
    queries = np.load(starter / "queries.npz", allow_pickle=False)
    for kind in ("sample", "text"):
        assert queries[kind].shape == (20, DIM)
        np.testing.assert_allclose(np.linalg.norm(queries[kind], axis=1), 1.0, atol=1e-5)


def test_the_command_takes_a_starter(starter: Path, tmp_path: Path) -> None:
    asked = ["build", "--starter", str(starter), "--name", "synthetic", "--home", str(tmp_path), "--dry-run", "--json"]
    run = CliRunner().invoke(app, asked)
    assert run.exit_code == 0, run.output
    steps = [json.loads(line) for line in run.output.splitlines()]
    assert steps[0] == {"stage": "ingest_samples", "action": "run", "reason": "not done yet"}


def test_a_build_from_nothing_is_refused(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["build", "--name", "x", "--home", str(tmp_path)])
    assert isinstance(run.exception, ConfigError)
    assert "--starter DIR" in str(run.exception)


def test_samples_and_vectors_enter_a_build_as_they_are(starter: Path, tmp_path: Path) -> None:
    request = BuildRequest(
        name="synthetic", home=tmp_path, model_dir=starter / "model", settings=Settings(home=tmp_path), starter=starter
    )
    folder, out, work = tmp_path / "release", tmp_path / "out", tmp_path / "work"
    for made in (folder, out, work):
        made.mkdir()
    for stage in (ingest_samples.STAGE, embed_samples.STAGE):
        stage.run(StageContext(request, folder, out, work))
        for path in out.iterdir():
            path.rename(folder / path.name)
    assert pq.read_table(folder / "samples.parquet", columns=["sample_id"]).num_rows == N
    assert (folder / "vectors.npy").read_bytes()[-2 * N * DIM :] == (starter / "vectors.npy").read_bytes()[
        -2 * N * DIM :
    ]


def test_counts_have_the_layout_that_is_read_and_profiles_of_real_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    real = rng.poisson(rng.lognormal(3, 1.5, (50, 1)) * np.ones((1, 30))).astype(np.uint32)
    with h5py.File(tmp_path / "real.h5", "w") as file:
        file["meta/genes/ensembl_gene"] = [f"ENSG{i:011d}" for i in range(50)]
        file["meta/genes/symbol"] = [f"G{i}" for i in range(50)]
        file["data/expression"] = real
    plan = draw_plan(300, seed=1)
    for name in ("a.h5", "b.h5"):
        write_counts(tmp_path / name, plan, profiles=tmp_path / "real.h5", seed=1)
    with open_source(tmp_path / "a.h5") as source, h5py.File(tmp_path / "b.h5") as again:
        table = source.sample_table()
        values = np.concatenate([matrix.values for _, matrix in source.blocks()])
        np.testing.assert_array_equal(values, again["data/expression"][:].T)
        assert source.series_table().num_rows == plan.study_cluster.size
    assert table["sample_id"].to_pylist()[:2] == ["GSM1000000", "GSM1000001"]
    assert table["date"].to_pylist()[0][:2] == "20"
    assert values.shape == (300, 50)
    shares = values.sum(axis=0) / values.sum()
    assert np.corrcoef(np.log(shares + 1e-6), np.log(real.sum(axis=1) / real.sum() + 1e-6))[0, 1] > 0.95
