"""A small corpus with four tissues made of known marker genes, and a release built from it by the real stages.

The counts are drawn by seed; the model is the packaged one, so phrases find the tissue they name.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from atlas.release import Release
from atlas.resources import resource_path
from atlas.settings import Settings

MARKERS = {
    "heart": "MYH6 MYH7 TNNT2 TNNI3 NPPA NPPB ACTC1 MYL2 MYL3 MYBPC3 RYR2 PLN CSRP3 TTN MB CKM".split(),
    "liver": "ALB APOA1 APOA2 APOB TTR SERPINA1 FGA FGB FGG TF CYP3A4 CYP2E1 HP AHSG CPS1 ARG1".split(),
    "blood": "HBB HBA1 HBA2 PTPRC CD3E CD19 LYZ S100A8 S100A9 NKG7 CD14 FCGR3B GZMB CD79A CSF3R ALAS2".split(),
    "brain": "GFAP SNAP25 SYT1 MBP PLP1 GAD1 SLC17A7 NEFL STMN2 AQP4 OLIG1 MOG RBFOX3 SLC1A2 CAMK2A THY1".split(),
}
N_PER_SERIES = 8


def write_corpus(path: Path, *, seed: int = 0, compression: str | None = None) -> Path:
    """Write an ARCHS4 v2 file: four tissues x two series x eight samples."""
    genes = human_genes()
    row_of = {symbol: i for i, (_, symbol) in enumerate(genes)}
    rng = np.random.default_rng(seed)
    base = usual_expression()
    columns, samples = [], []
    for t, (tissue, markers) in enumerate(MARKERS.items()):
        for s in range(2):
            mean = base.copy()
            mean[[row_of[m] for m in markers if m in row_of]] *= 400
            mean *= rng.lognormal(0, 0.3, len(genes))
            for i in range(N_PER_SERIES):
                columns.append(rng.poisson(mean * rng.lognormal(0, 0.3, len(genes))))
                number = 100 * t + 10 * s + i
                samples.append(
                    (f"GSM90{number:05d}", f"GSE9{t}{s}", f"{tissue} {i}", tissue, f"tissue: {tissue},age: {20 + i}")
                )
    text = h5py.string_dtype()
    with h5py.File(path, "w") as h5:
        h5.create_dataset(
            "data/expression",
            data=np.array(columns, dtype=np.uint32).T,
            chunks=(len(genes), 4),
            compression=compression,
        )
        h5["meta/genes/ensembl_gene"] = np.array([g for g, _ in genes], dtype=text)
        h5["meta/genes/symbol"] = np.array([s for _, s in genes], dtype=text)
        for i, field in enumerate(("geo_accession", "series_id", "title", "source_name_ch1", "characteristics_ch1")):
            h5[f"meta/samples/{field}"] = np.array([sample[i] for sample in samples], dtype=text)
        h5["meta/samples/organism_ch1"] = np.array(["Homo sapiens"] * len(samples), dtype=text)
        h5["meta/samples/molecule_ch1"] = np.array(["total RNA"] * len(samples), dtype=text)
    return path


def human_genes() -> list[tuple[str, str]]:
    """Return (Ensembl id, symbol) of the packaged model's human genes."""
    table = pq.read_table(
        resource_path("starter/model") / "genes.parquet", columns=["ensembl_id", "symbol", "organism"]
    )
    rows = table.to_pylist()
    return [(row["ensembl_id"], row["symbol"]) for row in rows if row["organism"] == "human"]


def usual_expression() -> np.ndarray:
    """Return a plausible count of every human gene: the packaged model's usual standing of each gene, put on a scale."""
    with safe_open(resource_path("starter/model") / "model.safetensors", "np") as tensors:
        standing = tensors.get_tensor("statistics_mean")[: len(human_genes())]
    return np.exp(1.8 * np.nan_to_num(standing)) * 20


def build_tiny(home: Path, counts: Path, *, with_catalog: bool = False, name: str = "tiny") -> Release:
    """Build and publish a release with one small vocabulary."""
    from indexer.plan import STAGES
    from indexer.run import Builder
    from indexer.stage import BuildRequest

    request = BuildRequest(
        name=name,
        home=home,
        model_dir=resource_path("starter/model"),
        settings=Settings(home=home),
        counts=(counts,),
        with_catalog=with_catalog,
        keyword_libraries=("Azimuth_2023",),
    )
    return Builder(request, STAGES).run()


@pytest.fixture(scope="session")
def tiny_counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus file."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "tiny.h5")


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory, tiny_counts: Path) -> Path:
    """A home whose current release ``tiny`` was built by the real stages, without a database.

    Processes that share the tests build it once and copy it: a test may give its home a database.
    """
    home = tmp_path_factory.mktemp("tiny-home")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        build_tiny(home, tiny_counts)
        return home
    built = tmp_path_factory.getbasetemp().parent / "tiny-home"
    with built.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            half_built = built.with_suffix(".tmp")
            shutil.rmtree(half_built, ignore_errors=True)
            build_tiny(half_built, tiny_counts)
            half_built.rename(built)
    return Path(shutil.copytree(built, home, symlinks=True, dirs_exist_ok=True))


@pytest.fixture(scope="session")
def tiny_settings(tiny_home: Path) -> Settings:
    """Settings that point to that home."""
    return Settings(home=tiny_home)
