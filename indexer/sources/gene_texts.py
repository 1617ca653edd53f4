"""Gene descriptions of NCBI, written as one text a gene: the raw material of a gene-text model's table.

In: ``gene_text_human_mouse.tsv.gz`` (NCBI gene_info joined with RefSeq summaries), ``ensembl109_human_genes.tsv.gz``,
``ensembl_grcm38_mouse_genes.tsv.gz`` and ``orthologs_human_mouse_babelgene.tsv.gz`` of one folder. Out: one
:class:`GeneText` for each protein-coding gene, and each immunoglobulin or T-cell-receptor gene segment, that has an
Ensembl id. Order: human before mouse, then by Ensembl id; ids are unique.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from atlas.errors import ArtifactError
from atlas.model.checkpoint import GENES_SCHEMA, ModelParts, write_model
from atlas.model.config import CentreHead, GeneTextConfig, ModelConfig, TextConfig
from atlas.model.gene_table import GeneTable
from atlas.model.text_heads import Centre
from atlas.model.text_tower import MiniLmTower, TextTower
from indexer.kept import kept_array
from indexer.stage import Progress, silent_progress

_SHARD_TEXTS = 2048

_ORGANISMS = {"9606": "human", "10090": "mouse"}
_ENSEMBL_TABLES = {"human": "ensembl109_human_genes.tsv.gz", "mouse": "ensembl_grcm38_mouse_genes.tsv.gz"}
_SEGMENTS = tuple(f"{family}_{kind}_gene" for family in ("IG", "TR") for kind in ("C", "D", "J", "V"))


@dataclass(frozen=True)
class GeneText:
    """One gene of the table.

    Attributes
    ----------
    ensembl_id
        Without version.
    symbol, synonyms
        NCBI's current symbol and the former or other names.
    organism
        ``human`` or ``mouse``.
    ortholog
        Ensembl id of the human ortholog of a mouse gene, empty where there is none or the gene is human.
    text
        ``symbol: name. RefSeq summary``; a mouse gene without a summary takes its ortholog's.
    """

    ensembl_id: str
    symbol: str
    synonyms: tuple[str, ...]
    organism: str
    ortholog: str
    text: str


def read_gene_texts(folder: Path) -> tuple[GeneText, ...]:
    """Return the genes of both organisms, human first, each organism by Ensembl id.

    Raises
    ------
    ArtifactError
        If one of the tables is missing.
    """
    ensembl = {organism: _EnsemblGenes.read(folder / name) for organism, name in _ENSEMBL_TABLES.items()}
    rows = [
        row
        for row in _read_tsv(folder / "gene_text_human_mouse.tsv.gz")
        if row["tax_id"] in _ORGANISMS and _encodes_protein(row, ensembl[_ORGANISMS[row["tax_id"]]])
    ]
    summaries = {row["GeneID"]: row["Gene_summary"] for row in rows if row["tax_id"] == "9606"}
    orthologs = _read_orthologs(folder / "orthologs_human_mouse_babelgene.tsv.gz")
    genes: dict[tuple[str, str], GeneText] = {}
    for row in rows:
        organism = _ORGANISMS[row["tax_id"]]
        ensembl_id = ensembl[organism].primary_id(row)
        if ensembl_id:
            entrez, ortholog = orthologs.get(row["GeneID"], ("", "")) if organism == "mouse" else ("", "")
            summary = row["Gene_summary"] or summaries.get(entrez, "")
            genes.setdefault((organism, ensembl_id), _gene_text(row, ensembl_id, ortholog=ortholog, summary=summary))
    return tuple(genes[key] for key in sorted(genes))


def _gene_text(row: dict[str, str], ensembl_id: str, *, ortholog: str, summary: str) -> GeneText:
    """Join the fields of one row."""
    text = f"{row['Symbol']}: {row['description']}. {summary}".strip()
    synonyms = tuple(name for name in row["Synonyms"].split("|") if name not in ("", "-"))
    return GeneText(ensembl_id, row["Symbol"], synonyms, _ORGANISMS[row["tax_id"]], ortholog, text)


@dataclass(frozen=True)
class _EnsemblGenes:
    """What Ensembl says of one organism: biotype of an id, ids of an Entrez gene (main chromosomes first)."""

    biotypes: dict[str, str]
    by_entrez: dict[str, list[str]]

    @classmethod
    def read(cls, path: Path) -> _EnsemblGenes:
        biotypes: dict[str, str] = {}
        by_entrez: dict[str, list[str]] = {}
        rows = sorted(_read_tsv(path), key=lambda row: (len(row["chr"]) > 2, row["ensgene"]))  # patches have long names
        for row in rows:
            biotypes.setdefault(row["ensgene"], row["biotype"])
            by_entrez.setdefault(row["entrez"], []).append(row["ensgene"])
        return cls(biotypes, by_entrez)

    def primary_id(self, row: dict[str, str]) -> str:
        """Return the id on a main chromosome if there is one, else the first that NCBI names, else ``""``."""
        named = [name for name in row["ensembl"].split("|") if name]
        known = self.by_entrez.get(row["GeneID"], [])
        return next((name for name in known if name in named), (named or known or [""])[0])


def _encodes_protein(row: dict[str, str], ensembl: _EnsemblGenes) -> bool:
    """NCBI calls receptor segments ``other``; Ensembl's biotype tells them apart from pseudogenes."""
    if row["type_of_gene"] == "protein-coding":
        return True
    return row["type_of_gene"] == "other" and ensembl.biotypes.get(ensembl.primary_id(row)) in _SEGMENTS


def _read_orthologs(path: Path) -> dict[str, tuple[str, str]]:
    """Map a mouse Entrez id to the Entrez and Ensembl id of the human gene that most sources name."""
    best: dict[str, tuple[int, str, str]] = {}
    for row in _read_tsv(path):
        support = int(row["support_n"])
        if row["mouse_entrez"] not in best or support > best[row["mouse_entrez"]][0]:
            best[row["mouse_entrez"]] = (support, row["human_entrez"], row["human_ensembl"])
    return {mouse: (entrez, ensembl_id) for mouse, (_, entrez, ensembl_id) in best.items()}


def _read_tsv(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a gzipped table with a header, quotes taken literally."""
    if not path.is_file():
        raise ArtifactError(
            f"The gene table {path} is missing. Give the folder that holds the NCBI and Ensembl gene tables.",
            kind="missing",
            details={"path": str(path)},
        )
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)


def build_gene_table(
    genes_dir: Path,
    out_dir: Path,
    *,
    text_tower: TextTower | None = None,
    templates: tuple[str, ...] = ("{x}",),
    transcriptome: GeneTextConfig | None = None,
    removed_components: int = 0,
    work_dir: Path | None = None,
    progress: Progress = silent_progress,
) -> int:
    """Write a model folder without statistics: every gene's text embedded, centred and quantised; return the gene count.

    Parameters
    ----------
    genes_dir
        The gene tables, see :func:`read_gene_texts`.
    out_dir
        Model folder to write; ``geo-atlas model fit-statistics`` makes it usable.
    text_tower, templates
        How phrases will be embedded; the genes' own texts are embedded by the same tower, as they are.
    transcriptome
        The recipe; the default one if not given.
    removed_components
        Leading components of the human genes' texts taken out of both towers.
    work_dir
        Where finished shards of embedded texts are kept, so that a killed run goes on; default ``out_dir/shards``.
    """
    recipe = transcriptome or GeneTextConfig()
    tower = text_tower or MiniLmTower()
    genes = read_gene_texts(genes_dir)
    shared: dict[str, int] = {}  # texts that differ in letter case only (a gene and its ortholog) share a vector
    rows = [shared.setdefault(gene.text.casefold(), len(shared)) for gene in genes]
    vectors = embed_in_shards(list(shared), tower=tower, folder=work_dir or out_dir / "shards", progress=progress)[rows]
    human = np.array([gene.organism == "human" for gene in genes])
    centre = Centre.fit(vectors[human], n_removed=removed_components)
    table = GeneTable.from_vectors(centre.apply(vectors))
    config = ModelConfig(
        dim=tower.dim,
        text=TextConfig(
            tower=tower.name,
            dim=tower.dim,
            fingerprint=tower.fingerprint,
            templates=templates,
            head=CentreHead(removed_components=removed_components),
        ),
        transcriptome=recipe,
    )
    columns = {name: [getattr(gene, name) for gene in genes] for name in GENES_SCHEMA.names}
    columns["synonyms"] = [list(gene.synonyms) for gene in genes]
    tensors = {**table.tensors(), **centre.tensors()}
    write_model(out_dir, ModelParts(config, pa.table(columns, schema=GENES_SCHEMA), tensors))
    return len(genes)


def embed_in_shards(
    texts: Sequence[str], *, tower: TextTower, folder: Path, progress: Progress = silent_progress
) -> np.ndarray:
    """Return ``(n_texts, dim)`` float32 vectors; finished shards in ``folder`` are used again.

    A shard's name holds the digest of its texts and of the tower, so that other texts or weights never meet its vectors.
    """
    shards = [texts[start : start + _SHARD_TEXTS] for start in range(0, len(texts), _SHARD_TEXTS)]
    vectors = []
    with progress(len(texts), "texts") as bar:
        for shard in shards:
            key = hashlib.sha256("\n".join([tower.fingerprint, *shard]).encode()).hexdigest()
            path = folder / f"{key[:32]}.npy"
            vectors.append(kept_array(path, partial(tower.embed, shard), n_rows=len(shard)))
            bar.advance(len(shard))
    return np.concatenate(vectors)
