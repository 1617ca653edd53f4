"""Write the term vectors that travel with the package: every packaged vocabulary, plain and under the scan templates.

In: a model folder. Out: ``<out>/<key>/<name>-<digest>.parquet``, the cache ``atlas.model.text_cache`` reads: raw vectors of the
model's text tower, so a model with another head over the same tower finds them too; shards of other towers are removed. On
one machine, with one thread, equal towers and vocabularies give equal bytes.

Run: ``OMP_NUM_THREADS=1 python -m indexer.export_text_vectors``.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from atlas.model.joint import JointModel
from atlas.model.text_cache import FOLDER, PLAIN, cache_key, embed_raw_terms, write_shard
from atlas.resources import resource_path
from atlas.scans import SCAN_TEMPLATES
from atlas.vocabulary import packaged_texts

logger = logging.getLogger(__name__)

KINDS: Mapping[str, tuple[str, ...]] = {"terms": PLAIN, "scans": SCAN_TEMPLATES}
"""Name of a shard -> templates its terms are embedded under."""


def export_text_vectors(model_dir: Path, out: Path, *, cache: Path | None = None) -> tuple[Path, ...]:
    """Embed the readable text of every packaged term under each kind's templates; replace the content of ``out``.

    Parameters
    ----------
    model_dir
        The model that is shipped; only its text tower matters.
    out
        Cache folder to write.
    cache
        Folder that keeps what is embedded, so an interrupted export goes on where it stopped.

    Returns
    -------
    The shards written.
    """
    model = JointModel.load(model_dir)
    terms = packaged_texts()
    shards: list[Path] = []
    for name, templates in KINDS.items():
        vectors = embed_raw_terms(model, terms, templates=templates, caches=() if cache is None else (cache,))
        folder = out / cache_key(model, templates)
        shutil.rmtree(folder, ignore_errors=True)
        shards.append(write_shard(folder, terms, vectors, name=name))
        logger.info("%s: %d terms, %d bytes", shards[-1], len(terms), shards[-1].stat().st_size)
    for folder in set(out.iterdir()) - {shard.parent for shard in shards}:
        shutil.rmtree(folder)
    return tuple(shards)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    starter = resource_path("starter")
    export_text_vectors(starter / "model", starter / FOLDER)
