"""A person's own expression table, made ready to be sent: what was pasted becomes a file, what was uploaded stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FEW_GENES = 0.1
"""Share of the model's genes below which an answer rests on little."""

UNITS = {
    "": "Read counts",
    "tpm": "TPM",
    "fpkm": "FPKM / RPKM",
    "log2": "log2 of counts, TPM or FPKM",
    "normalised": "otherwise normalised",
}


@dataclass(frozen=True)
class Table:
    """A file to send; ``problem`` says in a sentence why there is none."""

    name: str = ""
    content: bytes = b""
    problem: str | None = None


def read_pasted(text: str) -> Table:
    """Turn pasted lines into a table file: separated by tabs, commas, semicolons or blanks, with or without a line of names."""
    lines = [line.strip("\r\n ") for line in text.splitlines() if line.strip()]
    if not lines:
        return Table(problem="Nothing was pasted. Paste a table with genes as rows: a gene and its value on each line.")
    rows = [_cells(line) for line in lines]
    widths = {len(row) for row in rows}
    if max(widths) < 2:
        return Table(problem="The lines hold one word each. A gene needs a value beside it, e.g. `MYH7 5321`.")
    if _is_number(rows[0][1]):  # no line of names
        rows.insert(0, ["gene", *(f"sample_{i}" for i in range(1, len(rows[0])))])
    elif len(rows) > 1 and len(rows[0]) == len(rows[1]) - 1:  # R leaves the corner out
        rows[0].insert(0, "gene")
    return Table("pasted.tsv", "".join("\t".join(row) + "\n" for row in rows).encode())


def coverage_sentences(coverage: Mapping[str, Any]) -> list[str]:
    """Say how many of a person's genes were recognised and what that means for the answer."""
    c = coverage
    names = {"ensembl": "Ensembl ids", "symbol": "symbols"}.get(str(c["identifier"]).lower(), str(c["identifier"]))
    said = [
        f"{c['n_recognised']:,} of your {c['n_given']:,} genes were recognised ({names}, {c['organism']}); they cover "
        f"{c['n_covered']:,} of the model's {c['n_model_genes']:,} genes."
    ]
    if c["n_duplicates"]:
        said.append(f"{c['n_duplicates']:,} gene names came more than once and were added up.")
    if c["n_covered"] < FEW_GENES * c["n_model_genes"]:
        said.append("That is a small part of the model's genes: take the answer as a hint.")
    return said


def _cells(line: str) -> list[str]:
    separator = next((one for one in ("\t", ",", ";") if one in line), None)
    cells = line.split(separator) if separator else re.split(r"\s+", line)
    return [cell.strip().strip('"') for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
