"""Rebuild everything under ``starter/`` from a model folder and the corpora.

In: a model folder, expression files, the tables of licences of series and of gene-set libraries. Out: ``model/`` with its null
scores, ``text_vectors/``, the samples with their vectors and gene weights, ``starter.json``, ``NOTICE``. What is there already
is used where it still fits: term vectors of the same text tower are not embedded again. Equal inputs give equal bytes.

Run: ``python -m indexer.rebuild_starter --model DIR --counts FILE [--counts FILE] --licences TSV [--libraries TSV]``.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from atlas.model.checkpoint import model_files
from atlas.model.joint import JointModel
from atlas.model.text_cache import FOLDER, embed_raw_terms, embed_terms
from atlas.release import Release
from atlas.settings import Settings
from atlas.vectors.calibration import Calibration, calibrate, quantile_grid, random_pairs
from atlas.vectors.index import ExactIndex
from atlas.vectors.model_null import FILE, ModelNull
from atlas.vectors.store import VectorStore
from atlas.vocabulary import background_phrases, packaged_texts
from indexer.export_starter import StarterReport, export_starter
from indexer.export_text_vectors import export_text_vectors
from indexer.run import Builder
from indexer.stage import BuildRequest
from indexer.stages import embed_samples, ingest_samples
from indexer.stages.publish_release import BESIDE, PublishRelease
from indexer.starter_notice import model_libraries

logger = logging.getLogger(__name__)

N_PAIRS = 20_000
SEED = 0


class _ModelAlone(PublishRelease):
    """The model copied into a release that has samples and vectors, and nothing else."""

    inputs = ("samples.parquet", "vectors.npy")


def rebuild_starter(
    out: Path, *, model_dir: Path, counts: Sequence[Path], licences: Path, libraries: Path | None = None
) -> StarterReport:
    """Write a starter into ``out``.

    Parameters
    ----------
    model_dir
        The model to ship; may be ``out/model`` itself.
    counts
        Expression files; their public samples go in.
    licences
        See :func:`indexer.export_starter.export_starter`.
    libraries
        Table of the origins of gene-set libraries; needed for a model that knows gene sets.

    Raises
    ------
    InputError, ArtifactError
        As building and exporting do.
    """
    known = model_libraries(model_dir, libraries)
    target = out / "model"
    _copy_model(model_dir, target)
    export_text_vectors(target, out / FOLDER, cache=out / FOLDER)
    with tempfile.TemporaryDirectory() as home:
        release = _embed(Path(home), model_dir=target, counts=tuple(counts))
        report = export_starter(release, out, licences=licences, libraries=known)
    measure_null(out).save(target)
    return report


def measure_null(starter: Path) -> ModelNull:
    """Return how the scores of a starter's model look for phrases and samples that have nothing to do with each other."""
    model, texts = JointModel.load(starter / "model"), packaged_texts()
    series = pq.read_table(starter / "samples.parquet", columns=["series_ids"])["series_ids"].to_pylist()
    pairs, _ = random_pairs(series, n_pairs=N_PAIRS, seed=SEED)
    rng = np.random.default_rng(SEED)
    with VectorStore.open(starter / "vectors.npy") as store:
        terms = embed_terms(model, texts, caches=(starter / FOLDER,))[rng.integers(0, len(texts), N_PAIRS)]
        samples = store.rows(rng.integers(0, store.n, N_PAIRS))
        of_texts = np.einsum("ij,ij->i", terms.astype(np.float32), samples)
        of_pairs = np.einsum("ij,ij->i", store.rows(pairs[:, 0]), store.rows(pairs[:, 1]))
    return ModelNull(model.hash, quantile_grid(of_pairs), quantile_grid(of_texts), n_samples=len(series))


def calibrate_starter(starter: Path, model: JointModel, store: VectorStore) -> Calibration:
    """Calibrate scores over the samples of a starter alone, as a release of them would be."""
    raw = model.embed_raw_texts(background_phrases())
    series = pq.read_table(starter / "samples.parquet", columns=["series_ids"])["series_ids"].to_pylist()
    pairs, across = random_pairs(series, n_pairs=N_PAIRS, seed=SEED)
    return calibrate(
        store,
        ExactIndex(store),
        phrases=model.text_head(raw),
        raw_phrases=raw,
        vocabulary=embed_raw_terms(model, packaged_texts(), caches=(starter / FOLDER,)),
        pairs=pairs,
        pairs_across_series=across,
    )


def _copy_model(source: Path, target: Path) -> None:
    """Copy the model and its card; the null of another model goes."""
    target.mkdir(parents=True, exist_ok=True)
    (target / FILE).unlink(missing_ok=True)
    if source.resolve() == target.resolve():
        return
    wanted = {*model_files(source), *(name for name in BESIDE if name != FILE and (source / name).is_file())}
    for path in target.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name in sorted(wanted):
        shutil.copyfile(source / name, target / name)


def _embed(home: Path, *, model_dir: Path, counts: tuple[Path, ...]) -> Release:
    request = BuildRequest(
        name="starter", home=home, model_dir=model_dir, settings=Settings(home=home), counts=counts, with_catalog=False
    )
    return Builder(request, (ingest_samples.STAGE, embed_samples.STAGE, _ModelAlone())).run()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--counts", type=Path, action="append", required=True)
    parser.add_argument("--licences", type=Path, required=True)
    parser.add_argument("--libraries", type=Path)
    parser.add_argument("--out", type=Path, default=Path("starter"))
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    report = rebuild_starter(
        asked.out, model_dir=asked.model, counts=asked.counts, licences=asked.licences, libraries=asked.libraries
    )
    logger.info("%s: %d samples of %d series", asked.out, report.n_samples, report.n_series)


if __name__ == "__main__":
    main()
