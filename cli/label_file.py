"""Every row of a person's own file scored by every label of a list: what ``geo-atlas label FILE`` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.errors import InputError
from cli import cell_options as cells
from cli.output import RichProgress, print_json, print_table, say

if TYPE_CHECKING:
    from atlas.cells.row_texts import RowTexts
    from atlas.cells.rows import CellRows
    from atlas.cells.scoring import Reading
    from atlas.model.joint import JointModel


@dataclass(frozen=True)
class LabelFile:
    """What was asked; see the options of ``geo-atlas label`` of these names."""

    file: Path
    labels: Path
    out: Path
    model: Path | None
    templates: tuple[str, ...]
    tissue: str | None
    as_written: bool
    kind: cells.Kind
    layer: str | None
    unit: str | None
    organism: str | None
    cosine: bool
    force: bool
    as_json: bool


def label_file(asked: LabelFile) -> None:
    """Score the file, write the scores, and show what every label was read as."""
    from atlas.cells.output import refuse_target
    from atlas.cells.row_texts import row_texts
    from atlas.cells.rows import open_rows
    from atlas.cells.scoring import read_genes

    refuse_target(asked.out, force=asked.force, inputs=(asked.file, asked.labels))
    names, model = read_labels(asked.labels), cells.load_model(asked.model)
    with open_rows(asked.file, layer=asked.layer, unit=cells.unit_of(asked.unit)) as rows:
        texts = row_texts(
            rows, names, templates=asked.templates, tissue=asked.tissue, as_written=asked.as_written
        )  # fmt: skip
        reading = read_genes(rows, model=model, organism=asked.organism)
        _show(reading, texts, as_json=asked.as_json)
        if len(names) == 1 and not asked.cosine:
            say("There is one label, so its share is 1 in every row: --cosine tells rows apart.")
        n_rows = _write(rows, texts, model=model, reading=reading, asked=asked)
    if asked.as_json:
        print_json(_answer(texts, reading, n_rows=n_rows, model=model, out=asked.out))
    say(f"Wrote {asked.out}: {n_rows:,} rows x {len(names):,} labels.")


def read_labels(path: Path) -> tuple[str, ...]:
    """Read one label a line; empty lines and lines that begin with # say nothing.

    Raises
    ------
    InputError
        If the file cannot be read as text, or holds no label.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # no other sign ends a line
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text; expected one label a line.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    names = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not names:
        raise InputError(f"{path} holds no label; expected one a line.")
    return names


def _show(reading: Reading, texts: RowTexts, *, as_json: bool) -> None:
    for remark in reading.notes:
        say(remark)
    if as_json:
        return
    common = texts.common
    lines = zip(common.labels, common.texts, common.rules, strict=True)
    print_table(("label", "read as", "rules"), ((one, read, ", ".join(rules)) for one, read, rules in lines))
    cells.show_tissues(texts)


def _write(rows: CellRows, texts: RowTexts, *, model: JointModel, reading: Reading, asked: LabelFile) -> int:
    from atlas.cells.output import write_scores
    from atlas.cells.scoring import logit_scale_of, score_blocks

    blocks = score_blocks(rows, texts, model=model, organism=reading.coverage.organism, input=asked.kind.value)
    with RichProgress()(reading.n_rows, "rows") as bar:
        return write_scores(
            asked.out,
            cells.counted(blocks, bar),
            texts=texts,
            reading=reading,
            model_hash=model.hash,
            logit_scale=None if asked.cosine else logit_scale_of(model),
            force=asked.force,
        )


def _answer(texts: RowTexts, reading: Reading, *, n_rows: int, model: JointModel, out: Path) -> dict[str, object]:
    common = texts.common
    return {
        "path": str(out),
        "n_rows": n_rows,
        "labels": common.labels,
        "texts": common.texts,
        "templates": common.templates,
        "tissue": common.tissue,
        "n_tissues": texts.n_tissues,
        "by_tissue": [vars(one) for one in texts.by_tissue],
        "model": model.hash,
        "repeated_row_ids": reading.repeated_ids,
    }
