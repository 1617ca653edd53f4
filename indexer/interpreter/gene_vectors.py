"""Make the vectors of genes that a preset asks for.

Descriptions come with the program (``starter/gene_texts``, MiniLM) or from a table of one's own, read by any sentence
encoder or by an OpenAI-compatible endpoint (``text-embedding-ada-002`` in the scInterpreter paper). Finished parts are kept,
so that a killed run goes on.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from atlas.errors import ConfigError, InputError
from atlas.interpreter.config import GeneVectorsRecord
from atlas.interpreter.gene_vectors import TENSORS, GeneVectors, packaged_record
from atlas.llm import EmbeddingEndpoint
from atlas.model.checkpoint import GENES_SCHEMA, read_genes
from atlas.model.joint import JointModel
from atlas.model.text_encoder import EncoderTower
from atlas.model.text_tower import MiniLmTower, TextTower
from atlas.resources import resource_path
from atlas.settings import Settings
from indexer.interpreter.presets import VectorsSpec
from indexer.sources.gene_texts import GeneText, embed_in_shards, read_gene_texts
from indexer.stage import Progress, silent_progress

RANDOM_DIM = 384
_COLUMNS = ("ensembl_id", "symbol", "organism", "text")


def make_gene_vectors(
    spec: VectorsSpec,
    *,
    work: Path,
    domain: JointModel | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    progress: Progress = silent_progress,
) -> GeneVectors:
    """Return the vectors a preset asks for.

    Parameters
    ----------
    work
        Folder where finished parts are kept.
    domain
        The joint model, whose gene table may be asked for. A table of one's own is read by its genes and in its order, for both
        read the same cells; a gene that the table does not describe has no vector.
    settings
        Where the endpoint is.
    seed
        Of random vectors.

    Raises
    ------
    ConfigError
        If no endpoint is configured, or the table of a model is asked for without a model.
    ArtifactError, InputError
        If a table or an encoder cannot be read.
    UpstreamError
        If the endpoint fails.
    """
    if spec.kind == "table":
        return _of_table(domain)
    if spec.kind == "descriptions" and spec.texts is None and spec.encoder is None:
        return GeneVectors.packaged()
    genes, texts = _texts(spec)
    if domain is not None and spec.texts is not None:
        genes, texts = _of_domain(genes, texts, domain=domain, path=spec.texts)
    if spec.kind == "random":
        vectors = np.random.default_rng(seed).normal(size=(len(texts), RANDOM_DIM)).astype(np.float32)
        rows = np.where([bool(text) for text in texts], np.arange(len(texts)), -1)
        record = GeneVectorsRecord(kind="random", encoder=f"seed {seed}")
        return GeneVectors.of(genes, vectors, rows=rows, record=record)
    tower, name = _encoder(spec, settings=settings)
    record = GeneVectorsRecord(kind=spec.kind, encoder=name)
    return _embedded(genes, texts, tower=tower, record=record, work=work, progress=progress)


def package_gene_vectors(
    genes_dir: Path, out: Path, *, work: Path, progress: Progress = silent_progress
) -> GeneVectors:
    """Write the packaged vectors anew, from NCBI's tables; see ``indexer.sources.gene_texts``.

    Raises
    ------
    InputError
        If the tables name other genes than the packaged model has: other Ensembl tables, perhaps.
    """
    from safetensors.numpy import save_file

    texts = read_gene_texts(genes_dir)
    genes = read_genes(resource_path("starter/model") / "genes.parquet")
    if [one.ensembl_id for one in texts] != genes["ensembl_id"].to_pylist():
        raise InputError(
            f"The tables in {genes_dir} name other genes than the packaged model has. Make that anew first."
        )
    found = _embedded(
        genes, [one.text for one in texts], tower=MiniLmTower(), record=packaged_record(), work=work, progress=progress
    )
    out.mkdir(parents=True, exist_ok=True)
    save_file(found.tensors(), out / TENSORS)
    return found


def read_texts(path: Path) -> tuple[GeneText, ...]:
    """Read a table of descriptions: tab-separated, gzipped or not, with the columns ensembl_id, symbol, organism, text.

    Raises
    ------
    InputError
        If it is not there, lacks a column, or names a gene twice.
    """
    try:
        stream = (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline="")
        )
        with stream:
            table = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            if lacking := [name for name in _COLUMNS if name not in (table.fieldnames or ())]:
                raise InputError(
                    f"{path} has no column {', '.join(lacking)}; expected {', '.join(_COLUMNS)}, tab-separated."
                )
            genes = tuple(
                GeneText(
                    row["ensembl_id"], row["symbol"] or "", (), row["organism"] or "", "", (row["text"] or "").strip()
                )
                for row in table
            )
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table of gene descriptions: {error}.") from error
    _refuse_rows(genes, path=path)
    if not any(gene.text for gene in genes):
        raise InputError(f"{path} describes no gene: of {len(genes):,} rows none has a text. Give descriptions.")
    return genes


def _refuse_rows(genes: Sequence[GeneText], *, path: Path) -> None:
    """Refuse a gene without a name, of another organism, or named before."""
    seen: set[tuple[str, str]] = set()
    for line, gene in enumerate(genes, start=2):
        key = (gene.organism, gene.ensembl_id)
        if not gene.ensembl_id:
            raise InputError(f"{path}, row {line}: the gene has no ensembl_id. Give one, or take the row out.")
        if gene.organism not in ("human", "mouse"):
            raise InputError(
                f"{path}, row {line}: the organism of {gene.ensembl_id} is {gene.organism[:40]!r}; expected human or mouse."
            )
        if key in seen:
            raise InputError(f"{path}, row {line}: {gene.ensembl_id} stands there twice. Keep one of its rows.")
        seen.add(key)


def _texts(spec: VectorsSpec) -> tuple[pa.Table, list[str]]:
    """Return the genes and, of each, the text to be embedded."""
    if spec.texts is None:
        genes = read_genes(resource_path("starter/model") / "genes.parquet")
        if spec.kind not in ("symbols", "random"):
            raise ConfigError(
                "Descriptions read by another encoder or by an endpoint need their texts: give a table of them "
                "(vectors.texts=FILE, columns ensembl_id, symbol, organism, text), or take those that come with the program as "
                "MiniLM reads them (vectors.kind=descriptions, no vectors.encoder)."
            )
        return genes, [str(one) for one in genes["symbol"].to_pylist()]
    path = Path(spec.texts)
    found = read_gene_texts(path) if path.is_dir() else read_texts(path)
    columns = {name: [getattr(gene, name) for gene in found] for name in GENES_SCHEMA.names}
    columns["synonyms"] = [list(gene.synonyms) for gene in found]
    texts = [gene.symbol if spec.kind == "symbols" else gene.text for gene in found]
    return pa.table(columns, schema=GENES_SCHEMA), texts


def _of_domain(genes: pa.Table, texts: Sequence[str], *, domain: JointModel, path: str) -> tuple[pa.Table, list[str]]:
    """Return the joint model's genes and the texts that a table has of them, "" where it has none."""
    told = dict(
        zip(zip(genes["organism"].to_pylist(), genes["ensembl_id"].to_pylist(), strict=True), texts, strict=True)
    )
    wanted = read_genes(domain.folder / "genes.parquet")
    names = zip(wanted["organism"].to_pylist(), wanted["ensembl_id"].to_pylist(), strict=True)
    found = [told.get(name, "") for name in names]
    if not any(found):
        raise InputError(
            f"{path} describes none of the joint model's {len(found):,} genes: its ids begin {next(iter(told))[1]!r}. Expected "
            "Ensembl ids without versions; or leave the joint model away (domain=null genes.order=expression)."
        )
    return wanted, found


def _encoder(spec: VectorsSpec, *, settings: Settings | None) -> tuple[TextTower, str]:
    if spec.kind == "endpoint":
        endpoint = None if settings is None else EmbeddingEndpoint.from_settings(settings, model=spec.encoder)
        if endpoint is None:
            raise ConfigError(
                "No embeddings endpoint is configured. Set GEO_ATLAS_LLM_BASE_URL, and name its model: vectors.encoder=NAME."
            )
        return endpoint, f"endpoint {endpoint.model}"
    tower: TextTower = MiniLmTower() if spec.encoder is None else EncoderTower(spec.encoder)
    return tower, f"{tower.name} {tower.fingerprint[:12]}"


def _of_table(domain: JointModel | None) -> GeneVectors:
    if domain is None:
        raise ConfigError(
            "The gene table of a joint model is asked for (vectors.kind=table), but no model is told (domain)."
        )
    genes = read_genes(domain.folder / "genes.parquet")
    vectors = domain.gene_vectors(np.arange(genes.num_rows)).astype(np.float32)
    rows = np.where(np.abs(vectors).max(axis=1) > 0, np.arange(len(vectors)), -1)
    return GeneVectors.of(genes, vectors, rows=rows, record=GeneVectorsRecord(kind="table", encoder=domain.hash[:12]))


def _embedded(
    genes: pa.Table,
    texts: Sequence[str],
    *,
    tower: TextTower,
    record: GeneVectorsRecord,
    work: Path,
    progress: Progress,
) -> GeneVectors:
    """Embed each text once; those that differ in letter case only (a gene and its ortholog) share a vector."""
    shared: dict[str, int] = {}
    rows = np.array([shared.setdefault(text.casefold(), len(shared)) if text else -1 for text in texts])
    vectors = embed_in_shards(list(shared), tower=tower, folder=work, progress=progress)
    return GeneVectors.of(genes, vectors, rows=rows, record=record)
