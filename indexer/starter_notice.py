"""The NOTICE of a starter: what its files hold, where that came from, and under which licences.

In: the series and their origins, the gene-set libraries a model knows and their origins. Out: plain text; the same input gives
the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from atlas.errors import InputError
from indexer.origin_tables import read_table

_SAMPLES = """NOTICE for the starter of geo-atlas

samples.parquet and series.parquet hold plain facts of public records (GEO, SRA, ENA, ArrayExpress, GDC): accessions,
titles, sources, key-value characteristics, series titles. vectors.npy, and gene_weights.npy (the genes that weigh
most in a vector), were computed by this project from expression tables kept in the public repositories below; no
expression table, summary, protocol or abstract is included.
Rights in the records and tables stay with those who made them; cite the series you use. Where the table's licence
asks for it (NonCommercial, ShareAlike), mind it in what you make of these vectors.
"""
_TEXT_MODEL = """model/: gene vectors were computed by this project from the names and RefSeq summaries of NCBI Gene (a work
of the United States government) with all-MiniLM-L6-v2 (Apache-2.0); the texts are not included. Gene ids are Ensembl's,
orthologs those of babelgene. Each gene's mean and deviation were computed from expression tables of the same kind.
"""
_SET_MODEL = """model/: the vectors of genes and of set names were computed by this project from the gene-set libraries below and
from expression tables of the kind listed further down; names are embedded with all-MiniLM-L6-v2 (Apache-2.0). The
libraries' gene lists are not included. Gene ids are Ensembl's, orthologs those of babelgene. Single cells are read with each
gene's non-zero median of Geneformer (Apache-2.0). Where labels of cell types are paraphrased, the synonyms are those of the
Cell Ontology (CC BY 4.0). Whoever uses the model minds what the libraries' licences ask for (NonCommercial, ShareAlike).
"""
_TEXT_VECTORS = """gene_texts/: NCBI's names and summaries of genes (public domain), embedded by us with all-MiniLM-L6-v2.

text_vectors/: names of terms of the packaged vocabularies, embedded by this project with all-MiniLM-L6-v2.
"""
OF_SAMPLES = "samples"
"""Library of a model's memory whose sets are samples of its corpora that share a stated material, tissue or disease."""


@dataclass(frozen=True)
class Library:
    """A gene-set library: where its file was taken from, and the licence stated there."""

    repository: str
    licence: str


def notice(
    used: Mapping[str, int],
    origins: Mapping[str, tuple[str, str]],
    *,
    left_out: Sequence[str],
    libraries: Mapping[str, Library] | None = None,
) -> str:
    """Return the text.

    Parameters
    ----------
    used
        Series -> number of samples.
    origins
        Series -> (repository, licence).
    left_out
        Series that a no-derivatives licence keeps out.
    libraries
        Those whose sets the model knows; none: its genes are known by their texts.
    """
    parts = [_SAMPLES, _SET_MODEL if libraries else _TEXT_MODEL, _TEXT_VECTORS]
    if libraries:
        lines = [f"{name}\t{libraries[name].repository}\t{libraries[name].licence}" for name in sorted(libraries)]
        parts.append("\n".join(["library\ttaken from\tlicence stated there", *lines]) + "\n")
    lines = [f"{series}\t{used[series]}\t" + "\t".join(origins[series]) for series in sorted(used)]
    parts.append("\n".join(["series\tsamples\ttable taken from\tlicence stated there", *lines]) + "\n")
    excluded = [f"{series}\t" + "\t".join(origins[series]) for series in left_out] or ["none"]
    parts.append("\n".join(["Left out because the licence of the table forbids derivatives:", *excluded]) + "\n")
    return "\n".join(parts)


def model_libraries(model_dir: Path, table: Path | None) -> dict[str, Library]:
    """Return the libraries whose sets a model folder names, with their origins from a table.

    Parameters
    ----------
    table
        TSV with columns ``file`` (of which the stem names the library), ``repo``, ``licence``.

    Raises
    ------
    InputError
        If the model names a library and the table is not given, unreadable, or silent about it.
    """
    memory = model_dir / "memory.parquet"
    if not memory.is_file():
        return {}
    names = sorted(pc.unique(pq.read_table(memory, columns=["library"])["library"]).to_pylist())
    if table is None:
        raise InputError(
            f"{model_dir} knows {len(names)} gene-set libraries: give the table of their origins (--libraries)."
        )
    known = {**_read(table), OF_SAMPLES: Library("the records of the series themselves", "facts of public records")}
    for name in names:
        both = [known[one] for one in (f"{name}_up", f"{name}_down") if one in known]
        if name not in known and both:
            known[name] = both[0]  # a signed library: one file names what is up, its twin what is down
    if missing := [name for name in names if name not in known]:
        raise InputError(f"{table} says nothing of {', '.join(missing[:10])}. Add a line for each library.")
    return {name: known[name] for name in names}


def _read(path: Path) -> dict[str, Library]:
    rows = read_table(path, columns={"file", "repo", "licence"}, what="libraries")
    found: dict[str, Library] = {}
    for row in rows:
        found.setdefault(Path(row["file"]).stem, Library(_line(row["repo"]), _line(row["licence"])))
    return found


def _line(text: str | None) -> str:
    return " ".join((text or "").split()) or "none stated"
