"""How much the atlas groups samples by study rather than by tissue.

Adjusted mutual information of the clusters with tissue, series and unit, and the share of the ten nearest samples that have
the query's tissue or series. Tissue is the curated field of the corpora, which nothing but evaluation reads.

Run: python -m benchmarks.study_effects --data ../shared/data --home HOME
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np

from atlas.atlas import Atlas
from atlas.settings import Settings

K = 10
N_RANDOM = 20


def curated_tissues(data: Path) -> dict[str, str]:
    """Return the curated tissue by sample id."""
    found: dict[str, str] = {}
    for name in ("counts.h5", "tpm.h5"):
        with h5py.File(data / "corpora" / name) as h5:
            fields = h5["meta/samples"]
            ids = fields["geo_accession"].asstr()[:]
            found.update(zip(ids, fields["curated_tissue"].asstr()[:], strict=True))
    return found


def shares(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return, per query, the share of neighbours whose value equals the query's; queries without a value are left out."""
    known = values != ""
    return (values[rows] == values[:, None])[known].mean(axis=1)


def study_effects(atlas: Atlas, tissues: dict[str, str]) -> str:
    """Return the table as markdown."""
    from sklearn.metrics import adjusted_mutual_info_score

    table = atlas.release.table("samples.parquet")
    ids = table["sample_id"].to_pylist()
    values = {
        "tissue (curated)": np.array([tissues.get(one, "") for one in ids]),
        "series": np.array([",".join(many) for many in table["series_ids"].to_pylist()]),
        "unit": np.array(table["unit"].to_pylist()),
    }
    clusters = atlas.release.table("communities.parquet")["cluster"].to_numpy()
    vectors = np.load(atlas.release.path("vectors.npy")).astype(np.float32)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    rng = np.random.default_rng(0)
    lines = [
        "| field | values | samples | AMI with the clusters | same value among the 10 nearest | among 10 random samples |",
        "|---|---|---|---|---|---|",
    ]
    for name, value in values.items():
        known = value != ""
        ami = adjusted_mutual_info_score(value[known], clusters[known])
        random = np.mean([shares(rng.integers(0, len(ids), nearest.shape), value).mean() for _ in range(N_RANDOM)])
        near = shares(nearest, value).mean()
        lines.append(f"| {name} | {len(set(value[known]))} | {known.sum()} | {ami:.3f} | {near:.3f} | {random:.3f} |")
    other = across_series(scores, values["tissue (curated)"], values["series"])
    lines += [
        "",
        f"Nearest samples of other series only: {other[0]:.3f} of the 10 nearest share the tissue (n = {other[1]} samples",
    ]
    lines[-1] += " whose tissue occurs in another series)."
    return "\n".join(lines)


def across_series(scores: np.ndarray, tissue: np.ndarray, series: np.ndarray) -> tuple[float, int]:
    """Return the same-tissue share of the 10 nearest once the query's own series is left out."""
    found = []
    for row in range(len(tissue)):
        others = series != series[row]
        if tissue[row] == "" or not np.any(tissue[others] == tissue[row]):
            continue
        masked = np.where(others, scores[row], -np.inf)
        nearest = np.argsort(-masked, kind="stable")[:K]
        found.append(np.mean(tissue[nearest] == tissue[row]))
    return float(np.mean(found)), len(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    args = parser.parse_args()
    print(study_effects(Atlas.open(Settings(home=args.home)), curated_tissues(args.data)))


if __name__ == "__main__":
    main()
