"""Stage ``match_keywords``: the terms of every vocabulary, embedded, and the best of them for each cluster.

In: ``vectors.npy``, ``communities.parquet``, packaged and added vocabularies, the model's text tower. Out: ``terms.parquet``
(term_id, library, term), ``term_vectors.npy`` (n_terms, dim) float16, ``keywords.parquet``. A text is embedded once for each
text model: its vector is kept in the home, and those of the packaged vocabularies travel with the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from atlas.landscape.keywords import SCHEMA, TOP_TERMS, cluster_means, match_keywords
from atlas.model.checkpoint import model_files, model_hash
from atlas.model.text_cache import embed_terms, text_caches
from atlas.vectors.store import VectorStore
from atlas.vocabulary import keyword_vocabularies, read_terms, readable_term
from indexer.stage import BuildRequest, StageContext, StageResult


class MatchKeywords:
    """Embed the vocabularies and match every cluster with them."""

    name = "match_keywords"
    version = 2
    inputs: tuple[str, ...] = ("vectors.npy", "communities.parquet")
    outputs: tuple[str, ...] = ("terms.parquet", "term_vectors.npy", "keywords.parquet")

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Return the libraries, how many terms are kept, and the model by its hash."""
        libraries = list(keyword_vocabularies(request.home, request.keyword_libraries))
        return {"libraries": libraries, "top": TOP_TERMS, "model_hash": model_hash(request.model_dir)}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return the vocabularies' files and the model's."""
        vocabularies = keyword_vocabularies(request.home, request.keyword_libraries)
        return (*vocabularies.values(), *(request.model_dir / name for name in model_files(request.model_dir)))

    def run(self, ctx: StageContext) -> StageResult:
        """Read, embed, match."""
        from atlas.model.joint import JointModel

        libraries, terms = _all_terms(keyword_vocabularies(ctx.request.home, ctx.request.keyword_libraries))
        texts = [readable_term(term) for term in terms]
        caches = text_caches(ctx.request.home)
        with ctx.progress(len(set(texts)), "terms") as bar:
            model = JointModel.load(ctx.request.model_dir)
            vectors = embed_terms(model, texts, caches=caches, progress=bar.advance)
        np.save(ctx.out / "term_vectors.npy", vectors, allow_pickle=False)
        ids = np.arange(len(terms), dtype=np.int32)
        columns = {"term_id": ids, "library": pa.array(libraries, pa.string()), "term": pa.array(terms, pa.string())}
        pq.write_table(pa.table(columns), ctx.out / "terms.parquet")
        clusters = pq.read_table(ctx.folder / "communities.parquet", columns=["cluster"])["cluster"].to_numpy()
        with VectorStore.open(ctx.folder / "vectors.npy") as store:
            means = cluster_means(store, clusters)
        keywords = match_keywords(means, vectors.astype(np.float32), libraries=libraries, terms=terms, same_text=texts)
        pq.write_table(keywords, ctx.out / "keywords.parquet")
        notes = {"n_terms": len(terms), "n_texts": len(set(texts)), "n_libraries": len(set(libraries))}
        return StageResult(n_in=len(terms), n_out=keywords.num_rows, notes=notes)

    def validate(self, ctx: StageContext) -> None:
        """Read back: one finite vector a term, keywords of known terms, ranks and scores in order."""
        terms = pq.read_table(ctx.out / "terms.parquet")
        vectors = np.load(ctx.out / "term_vectors.npy", allow_pickle=False)
        keywords = pq.read_table(ctx.out / "keywords.parquet")
        known = set(zip(terms["library"].to_pylist(), terms["term"].to_pylist(), strict=True))
        used = set(zip(keywords["library"].to_pylist(), keywords["term"].to_pylist(), strict=True))
        finite = vectors.dtype == np.float16 and len(vectors) == terms.num_rows and bool(np.isfinite(vectors).all())
        scores = keywords["score"].to_numpy()
        if not finite or not used <= known or keywords.schema != SCHEMA or not (scores > 0).all():
            raise ArtifactError("terms, term vectors and keywords do not belong together.", kind="corrupt")


def _all_terms(vocabularies: dict[str, Path]) -> tuple[list[str], list[str]]:
    libraries: list[str] = []
    terms: list[str] = []
    for library, path in vocabularies.items():
        found = read_terms(path).terms
        libraries += [library] * len(found)
        terms += found
    return libraries, terms


STAGE = MatchKeywords()
