"""Stage ``scan_vocabulary``: the vocabularies of diseases, swept over the clusters.

In: ``samples.parquet`` (ids, series), ``vectors.npy``, ``communities.parquet``, the vocabularies to sweep, the packaged ones as
background, the model's text tower. Out: ``scans/`` with ``background.parquet``, ``background.npy`` and one folder a vocabulary,
see ``atlas.scans.files``. Without a vocabulary to sweep the folder stays empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.model.checkpoint import model_files, model_hash
from atlas.model.text_cache import embed_terms, text_caches
from atlas.scans import SCAN_TEMPLATES
from atlas.scans.background import SAME_IDEA, Background, unit
from atlas.scans.files import read_summary, summarise, write_scan
from atlas.scans.ground import Ground, Members
from atlas.scans.null import MAX_COSINE, NULL_TERMS
from atlas.scans.stream import ANSWERS, N_DRAWS
from atlas.scans.sweep import sweep
from atlas.scans.testing import N_SWEEPS
from atlas.vectors.store import VectorStore
from atlas.vocabulary import keyword_vocabularies, packaged_vocabularies, read_terms, readable_term
from indexer.stage import BuildRequest, StageContext, StageResult

_PARTS = 1_000


class ScanVocabulary:
    """Sweep the vocabularies named in the request."""

    name = "scan_vocabulary"
    version = 3
    inputs: tuple[str, ...] = ("samples.parquet", "vectors.npy", "communities.parquet")
    outputs: tuple[str, ...] = ("scans",)

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return the vocabularies, the templates, the null's bounds, the seed, and the model by its hash."""
        return {
            "vocabularies": list(_vocabularies(request)),
            "templates": list(SCAN_TEMPLATES),
            "null_terms": NULL_TERMS,
            "max_cosine": MAX_COSINE,
            "same_idea": SAME_IDEA,
            "answers": ANSWERS,
            "n_draws": N_DRAWS,
            "n_sweeps": N_SWEEPS,
            "seed": request.seed,
            "model_hash": model_hash(request.model_dir),
        }

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return the vocabularies' files and the model's; nothing where nothing is swept."""
        if not request.scan_vocabularies:
            return ()
        files = {*_vocabularies(request).values(), *packaged_vocabularies().values()}
        return (*sorted(files), *(request.model_dir / name for name in model_files(request.model_dir)))

    def run(self, ctx: StageContext) -> StageResult:
        """Embed, sweep, write."""
        folder = ctx.out / "scans"
        folder.mkdir()
        vocabularies = _vocabularies(ctx.request)
        if not vocabularies:
            return StageResult(n_in=0, n_out=0, notes={"n_background": 0})
        background = self._background(ctx)
        background.save(folder)
        members = Members.read(ctx.folder)
        notes: dict[str, Any] = {"n_background": len(background.texts)}
        n_terms = 0
        with VectorStore.open(ctx.folder / "vectors.npy") as store:
            ground = Ground.measure(store, members)
            for name, path in vocabularies.items():
                notes[name] = self._scan(ctx, name, path, store=store, ground=ground, background=background)
                n_terms += notes[name]["n_terms"]
        return StageResult(n_in=n_terms, n_out=n_terms, notes=notes)

    def validate(self, ctx: StageContext) -> None:
        """Read back: each sweep whole, a row a term and sample, finite effects."""
        for name in _vocabularies(ctx.request):
            folder = ctx.out / "scans" / name
            summary = read_summary(folder, release=ctx.request.name)
            effects = pq.read_table(folder / "clusters.parquet", columns=["effect", "p_value"])
            whole = (
                pq.read_metadata(folder / "terms.parquet").num_rows == summary.n_terms
                and effects.num_rows == summary.n_terms * summary.n_clusters
                and pq.read_metadata(folder / "samples.parquet").num_rows == summary.n_samples
                and all(np.isfinite(effects[column].to_numpy()).all() for column in effects.column_names)
            )
            if not whole:
                raise ArtifactError(f"The scan of {name} is not finite, or lacks rows.", kind="corrupt")

    @staticmethod
    def _background(ctx: StageContext) -> Background:
        from atlas.model.joint import JointModel

        with ctx.progress(None, "background terms") as bar:
            model = JointModel.load(ctx.request.model_dir)
            return Background.embed(model, caches=text_caches(ctx.request.home), progress=bar.advance)

    @staticmethod
    def _scan(
        ctx: StageContext, name: str, path: Path, *, store: VectorStore, ground: Ground, background: Background
    ) -> dict[str, Any]:
        """Sweep one vocabulary and write it; return what the manifest notes."""
        from atlas.model.joint import JointModel

        terms = read_terms(path).terms
        texts = [readable_term(term) for term in terms]
        model = JointModel.load(ctx.request.model_dir)
        with ctx.progress(len(set(texts)), "terms") as bar:
            caches = text_caches(ctx.request.home)
            vectors = unit(embed_terms(model, texts, templates=SCAN_TEMPLATES, caches=caches, progress=bar.advance))
        with ctx.progress(_PARTS, f"of 1,000 parts of {name}") as bar:
            done = 0

            def progress(share: float) -> None:
                nonlocal done
                bar.advance(int(share * _PARTS) - done)
                done = int(share * _PARTS)

            scan = sweep(
                store,
                ground,
                vectors,
                background=background.without(name),
                seed=ctx.request.seed,
                progress=progress,
            )
        out = ctx.out / "scans" / name
        out.mkdir()
        summary = summarise(scan, name=name, title=name, stored="release")
        ids = pq.read_table(ctx.folder / "samples.parquet", columns=["sample_id"])["sample_id"]
        write_scan(out, scan, terms=terms, sample_ids=ids, members=ground.members, summary=summary)
        return {
            "n_terms": summary.n_terms,
            "n_significant": summary.n_significant,
            "n_background": summary.n_background,
            "ks_p_value": round(summary.calibration.ks_p_value, 4),
            "share_of_null_sweeps": summary.calibration.share_of_null_sweeps,
        }


def _vocabularies(request: BuildRequest) -> dict[str, Path]:
    return keyword_vocabularies(request.home, request.scan_vocabularies) if request.scan_vocabularies else {}


STAGE = ScanVocabulary()
