"""Stage ``build_index``: the search engine of the release, its parameters chosen by measured recall.

In: ``vectors.npy``, the model (for phrases to measure with). Out: ``index/``; ``moments.npz``, by which the parts of a
combination are weighed; and for atlases too large to be scored whole from the master, ``codes/``. The stage fails if no choice
reaches the bars.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import ArtifactError
from atlas.model.checkpoint import model_files, model_hash
from atlas.model.text_cache import embed_terms, text_caches
from atlas.vectors.faiss_index import ROTATION_FILE, open_index
from atlas.vectors.index_build import IndexPlan, build_index
from atlas.vectors.moments import MOMENTS_FILE, Moments
from atlas.vectors.row_codes import RowCodes, write_row_codes
from atlas.vectors.store import VectorStore
from atlas.vocabulary import packaged_texts, packaged_vocabularies
from indexer.stage import BuildRequest, StageContext, StageResult

N_PHRASES = 500
"""Vocabulary terms that stand for the phrases people search."""


class BuildIndex:
    """Build and measure the FAISS index."""

    name = "build_index"
    version = 3
    inputs: tuple[str, ...] = ("vectors.npy",)
    outputs: tuple[str, ...] = ("index", MOMENTS_FILE, "codes")
    optional_outputs = ("codes",)  # small atlases are scored from the master

    def __init__(self, plan: IndexPlan | None = None) -> None:
        self.plan = plan or IndexPlan()

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return what may be chosen, the bar, and the model by its hash."""
        plan = asdict(self._plan(request))
        plan.pop("threads")
        return {**plan, "n_phrases": N_PHRASES, "model_hash": model_hash(request.model_dir)}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return the model's files and the packaged vocabularies."""
        return (
            *(request.model_dir / name for name in model_files(request.model_dir)),
            *packaged_vocabularies().values(),
        )

    def run(self, ctx: StageContext) -> StageResult:
        """Embed some phrases, build, measure, write."""
        from atlas.model.joint import JointModel

        plan = self._plan(ctx.request)
        model = JointModel.load(ctx.request.model_dir)
        phrases = embed_terms(model, sample_phrases(N_PHRASES, seed=plan.seed), caches=text_caches(ctx.request.home))
        folder = ctx.out / "index"
        folder.mkdir()
        with VectorStore.open(ctx.folder / "vectors.npy") as store:
            chosen = build_index(store, folder, plan=plan, text_queries=phrases.astype(np.float32))
            Moments.of(store, seed=plan.seed).save(ctx.out / MOMENTS_FILE)
            if chosen.kind != "flat":
                (ctx.out / "codes").mkdir()
                axes = np.load(folder / ROTATION_FILE, allow_pickle=False)
                write_row_codes(store, ctx.out / "codes", axes=axes)
        return StageResult(n_in=chosen.n, n_out=chosen.n, notes=asdict(chosen))

    def validate(self, ctx: StageContext) -> None:
        """Open the index with the vectors it was built from, and find a row with it."""
        with VectorStore.open(ctx.folder / "vectors.npy") as store:
            index = open_index(ctx.out / "index", store)
            row = store.rows(np.array([store.n - 1]))
            best = float(index.search(row, 1).scores[0, 0])
            if best < float(store.exact_scores(row[0] / np.linalg.norm(row[0]), np.array([store.n - 1]))[0]) - 1e-6:
                raise ArtifactError("The index does not find a row by its own vector.", kind="corrupt")
            if Moments.load(ctx.out / MOMENTS_FILE).mean.shape != (store.dim,):
                raise ArtifactError("The moments have other dimensions than the vectors.", kind="corrupt")
            codes = ctx.out / "codes"
            if codes.exists() and RowCodes(codes).shape != (store.n, store.dim):
                raise ArtifactError("The row codes have another shape than the vectors.", kind="corrupt")

    def _plan(self, request: BuildRequest) -> IndexPlan:
        values = {**asdict(self.plan), "seed": request.seed, "threads": request.settings.threads}
        return IndexPlan(**values)


def sample_phrases(n: int, *, seed: int) -> list[str]:
    """Draw readable terms from all packaged vocabularies together."""
    terms = packaged_texts()
    picked = np.random.default_rng(seed).choice(len(terms), min(n, len(terms)), replace=False)
    return [terms[i] for i in sorted(picked)]


STAGE = BuildIndex()
