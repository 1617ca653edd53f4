"""Counts of a synthetic atlas: an HDF5 file with the fields and the layout of ARCHS4, written block by block.

A sample's profile is that of a real sample, one a cluster, with the noise of a study and of a sample on every gene; its depth
is drawn from the real ones; its counts are Poisson.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa

from benchmarks.synthetic.plan import AtlasPlan
from benchmarks.synthetic.texts import sample_table, series_table

STUDY_NOISE, SAMPLE_NOISE = 0.3, 0.2
"""Deviations of the logarithm of a gene's expression."""
CHUNK_SAMPLES = 4
_BLOCK = 256
_GZIP = 4  # h5py's default, and that of the files


def write_counts(out: Path, plan: AtlasPlan, *, profiles: Path, seed: int) -> None:
    """Write the file of a plan.

    Parameters
    ----------
    profiles
        An ARCHS4-layout file of counts whose genes and samples are taken as models.
    """
    with h5py.File(profiles, "r") as real, h5py.File(out, "w") as file:
        for name in ("ensembl_gene", "symbol", "biotype", "entrez_id"):
            if name in real["meta/genes"]:
                file[f"meta/genes/{name}"] = real[f"meta/genes/{name}"][:]
        _write_samples(file, plan, seed=seed)
        models, depths = _models(real, n=len(plan.terms), seed=seed)
        n_genes = models.shape[1]
        counts = file.create_dataset(
            "data/expression", (n_genes, plan.n), "u4", chunks=(n_genes, CHUNK_SAMPLES), compression="gzip",
            compression_opts=_GZIP,
        )  # fmt: skip
        for number, start in enumerate(range(0, plan.n, _BLOCK)):
            studies = plan.study_of[start : start + _BLOCK]
            rng = np.random.default_rng([seed, 11, number])
            counts[:, start : start + studies.size] = _block(
                plan, studies, models=models, depths=depths, rng=rng, seed=seed
            ).T


def _block(
    plan: AtlasPlan, studies: np.ndarray, *, models: np.ndarray, depths: np.ndarray, rng: np.random.Generator, seed: int
) -> np.ndarray:
    """Return the counts of samples of ``studies``, (m, n_genes) uint32."""
    shift = np.empty((studies.size, models.shape[1]), dtype=np.float32)
    for study in np.unique(studies):
        noise = np.random.default_rng([seed, 12, int(study)]).standard_normal(models.shape[1], dtype=np.float32)
        shift[studies == study] = STUDY_NOISE * noise
    shift += SAMPLE_NOISE * rng.standard_normal(shift.shape, dtype=np.float32)
    shares = models[plan.study_cluster[studies]] * np.exp(shift)
    shares /= shares.sum(axis=1, keepdims=True)
    return rng.poisson(shares * rng.choice(depths, studies.size)[:, None]).astype(np.uint32)


def _models(real: h5py.File, *, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, n_genes) float32 profiles of sum one, and the depths of the real samples."""
    expression = real["data/expression"]
    rng = np.random.default_rng([seed, 10])
    picked = np.sort(rng.choice(expression.shape[1], min(n, expression.shape[1]), replace=False))
    columns = np.stack([expression[:, int(column)] for column in picked]).astype(np.float64)
    depths = columns.sum(axis=1)
    good = depths > 0
    profiles = (columns[good] / depths[good][:, None]).astype(np.float32)
    return profiles[rng.integers(0, len(profiles), n)], depths[good]


def _write_samples(file: h5py.File, plan: AtlasPlan, *, seed: int) -> None:
    samples, series = sample_table(plan, seed=seed), series_table(plan, seed=seed)
    fields = {
        "geo_accession": samples["sample_id"].to_pylist(),
        "series_id": [",".join(ids) for ids in samples["series_ids"].to_pylist()],
        "title": samples["title"].to_pylist(),
        "source_name_ch1": samples["source_name"].to_pylist(),
        "characteristics_ch1": samples["characteristics"].to_pylist(),
        "organism_ch1": samples["organism"].to_pylist(),
        "molecule_ch1": samples["molecule"].to_pylist(),
        "submission_date": _as_geo(samples["date"]),
    }
    for name, values in fields.items():
        _texts(file, f"meta/samples/{name}", values)
    file["meta/samples/singlecellprobability"] = np.zeros(plan.n)
    for name in ("series_id", "title"):
        _texts(file, f"meta/series/{name}", series[name].to_pylist())


def _as_geo(dates: pa.ChunkedArray) -> list[str]:
    months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    parts = (date.split("-") for date in dates.to_pylist())
    return [f"{months[int(month) - 1]} {day} {year}" for year, month, day in parts]


def _texts(file: h5py.File, name: str, values: list[str]) -> None:
    file.create_dataset(name, data=[value.encode() for value in values], dtype=h5py.string_dtype(), compression="gzip")
