"""What each part of training is worth: the same small run with one thing changed, on studies no run has seen.

Run: python -m benchmarks.ablations --data DATA [--model DIR] [--steps 60] [--seeds 3] [--out docs/measurements-ablations.md]

``DATA`` holds ``corpora/*.h5`` and ``genesets/enrichr/*.gmt``. Every arm starts from the same model and sees as many pairs; the
seed decides order, fold and heads. Measured on the fold that was left out: retrieval among de-duplicated captions, both ways.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from atlas.resources import resource_path
from indexer.training.data import DataOptions, DataSpec, open_sources
from indexer.training.presets import Preset, load_preset
from indexer.training.record import Rows
from indexer.training.run import train
from indexer.training.sources.source import PairSource
from indexer.training.split import split
from indexer.training.towers import Base, build, open_base

logger = logging.getLogger(__name__)

LIBRARIES = ("Tabula_Sapiens", "GTEx_Tissues_V8_2023", "CellMarker_2024", "Jensen_DISEASES", "Human_Gene_Atlas")
SHOWN = (
    "text_to_transcriptome_R@1", "text_to_transcriptome_R@5", "text_to_transcriptome_R@10", "text_to_transcriptome_AUC",
    "transcriptome_to_text_R@10", "transcriptome_to_text_AUC",
)  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes
    ----------
    name, group
        What is changed, and what kind of change it is.
    changes
        Of the preset.
    use
        Kinds of sources it learns from.
    """

    name: str
    group: str
    changes: tuple[str, ...] = ()
    use: tuple[str, ...] = ("corpus", "genesets")


ARMS = (
    Arm("where training begins", "reference", use=()),
    Arm("full: CLIP, UL, gene sets + corpora, caption replicates", "reference"),
    Arm("half CLIP, half JSD", "loss", ("loss.clip=0.5", "loss.jsd=0.5")),
    Arm("JSD alone", "loss", ("loss.clip=0", "loss.jsd=1")),
    Arm("SigLIP", "loss", ("loss.clip=0", "loss.siglip=1")),
    Arm("equal texts count as negatives", "loss", ("loss.equal_texts=negatives",)),
    Arm("a quarter of the batch, accumulated four times", "batch", ("batch.size={quarter}", "batch.accumulation=4")),
    Arm("the same with cached gradients", "batch",
        ("batch.size={quarter}", "batch.accumulation=4", "batch.cached_gradients=true")),
    Arm("LL: both towers locked", "locking", ("locking=LL",)),
    Arm("LU: text tower by adapters", "locking", ("locking=LU",)),
    Arm("UU: both", "locking", ("locking=UU",)),
    Arm("no gene sets", "data", use=("corpus",)),
    Arm("gene sets alone", "data", use=("genesets",)),
    Arm("with augmentation", "data", ("sampling.augment=true",)),
    Arm("one caption a sample", "data", ("sampling.caption_replicates=false",)),
)  # fmt: skip


class Remembered:
    """A source whose unaugmented gene weights are read once and kept: arms without augmentation share them."""

    def __init__(self, source: PairSource, tower: Any) -> None:
        self._source, self._tower = source, tower
        self._kept: dict[int, np.ndarray] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __len__(self) -> int:
        return len(self._source)

    def gene_weights(self, rows: Sequence[int], *, rng: Any = None) -> np.ndarray:
        """Return the rows' gene weights, from memory where nothing is augmented."""
        if rng is not None:
            return self._weigh(rows, rng)
        missing = [int(row) for row in dict.fromkeys(map(int, rows)) if int(row) not in self._kept]
        for row, weights in zip(missing, self._weigh(missing, None) if missing else (), strict=True):
            self._kept[row] = weights.astype(np.float16)
        return np.stack([self._kept[int(row)] for row in rows]).astype(np.float32)

    def _weigh(self, rows: Sequence[int], rng: Any) -> np.ndarray:
        if hasattr(self._source, "gene_weights"):
            return np.asarray(self._source.gene_weights(rows, rng=rng))
        return np.asarray(self._tower.weigh(self._source.expression(rows, rng=rng)))


@dataclass(frozen=True)
class Grid:
    """What all arms share."""

    sources: Mapping[str, Sequence[PairSource]]
    preset: Preset
    base: Base
    features: Path
    n_steps: int
    n_pool: int
    n_folds: int


def run_arm(grid: Grid, arm: Arm, *, seed: int, work: Path) -> dict[str, float]:
    """Train one arm and return retrieval on the fold it has not seen."""
    quarter = str(max(2, grid.preset.batch.size // 4))
    told = changed(grid.preset, [change.replace("{quarter}", quarter) for change in arm.changes] + [f"seed={seed}"])
    everything = [source for found in grid.sources.values() for source in found]
    parts = split(everything, seed=0, fold=seed % grid.n_folds, n_folds=grid.n_folds, n_validation=grid.n_pool)
    model_dir = grid.base.folder
    if arm.use:
        used = [i for i, source in enumerate(everything) if source.kind in arm.use]
        shares = {kind: 1.0 / max(1, sum(everything[i].kind == kind for i in used)) for kind in arm.use}
        train(
            told,
            [(everything[i], shares[everything[i].kind]) for i in used],
            out=work,
            rows=Rows([parts.train[i] for i in used], [np.zeros(0, np.int64)] * len(used)),
            base=grid.base,
            device="cpu",
            features=grid.features,
        )
        model_dir = work
    return measure(model_dir, everything, rows=parts.validation)


def measure(folder: Path, sources: Sequence[PairSource], *, rows: Sequence[np.ndarray]) -> dict[str, float]:
    """Return retrieval of the model on disk among the pairs ``rows``."""
    from atlas.model.joint import JointModel
    from indexer.training.retrieval import retrieval

    model = JointModel.load(folder)
    pairs = [(source, int(row)) for source, kept in zip(sources, rows, strict=True) for row in kept]
    texts = model.embed_texts([source.captions(row)[0] for source, row in pairs])
    vectors = np.concatenate([model.embed_expression(source.expression([row])) for source, row in pairs])
    return retrieval(vectors, texts) | {"n": float(len(pairs))}


def changed(preset: Preset, changes: Sequence[str]) -> Preset:
    """Return a preset with changes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "preset.json"
        path.write_text(preset.model_dump_json(), encoding="utf-8")
        return load_preset(str(path), changes=changes)


def open_grid(arguments: argparse.Namespace, *, features: Path) -> Grid:
    """Open model and data once."""
    base_dir = arguments.model or resource_path("starter/model")
    changes = [
        "closed_form=null", f'transcriptome.source="{base_dir}"', f"batch.size={arguments.batch}", f"max_steps={arguments.steps}",
        "validation.times=1", "sampling.augment=false", *arguments.set,
    ]  # fmt: skip
    preset = load_preset("starter", changes=changes)
    base = open_base(preset)
    tower = build(preset, base).transcriptome
    data = arguments.data
    specs = {
        "corpus": [DataSpec("corpus", data / "corpora")],
        "genesets": [DataSpec("genesets", data / "genesets" / "enrichr" / f"{name}.gmt") for name in LIBRARIES],
    }
    sources = {
        kind: [Remembered(source, tower) for source, _ in open_sources(found, genes=base.genes, options=DataOptions())]
        for kind, found in specs.items()
    }
    return Grid(sources, preset, base, features, arguments.steps, arguments.pool, arguments.folds)  # type: ignore[arg-type]


def interval(values: Sequence[float]) -> str:
    """Return the mean and half of its 95 % t-interval over the seeds."""
    from scipy.stats import t

    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return f"{mean:.3f}"
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return f"{mean:.3f} ± {half:.3f}"


def page(rows: Sequence[tuple[Arm, list[dict[str, float]], float]], arguments: argparse.Namespace, grid: Grid) -> str:
    """Return the page as markdown."""
    pool = int(rows[0][1][0]["n"])
    steps, batch, seeds = arguments.steps, arguments.batch, arguments.seeds
    lines = [
        "# Ablations\n",
        "What each part of training is worth. One small run an arm: "
        f"{steps} steps of {batch} pairs, {seeds} seeds; a seed is also a fold of studies that its run has not seen. "
        f"Pool: {pool} held-out samples with distinct captions (the first fold's), so chance is R@1 {1 / pool:.3f}, "
        f"R@10 {10 / pool:.3f}, AUC .5. Mean and 95 % t-interval over seeds; with so few the intervals are wide, and arms whose "
        "intervals overlap are not told apart. The budget is minutes on two cores: it ranks directions and is no recipe.\n",
        f"`python -m benchmarks.ablations --data DATA --steps {steps} --batch {batch} --seeds {seeds}`, start: "
        f"{'the packaged model' if arguments.model is None else 'the closed form given with `--model`'}, "
        f"text head: {grid.preset.text.head}, gene sets: {', '.join(LIBRARIES)}.\n",
        "| | " + " | ".join(name.replace("transcriptome", "sample").replace("_", " ") for name in SHOWN) + " | s |",
        "|---|" + "---|" * (len(SHOWN) + 1),
    ]
    group = ""
    for arm, figures, seconds in rows:
        if arm.group != group:
            group = arm.group
            lines.append(f"| **{group}** |" + " |" * (len(SHOWN) + 1))
        cells = (interval([one[name] for one in figures]) for name in SHOWN)
        lines.append(f"| {arm.name} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--pool", type=int, default=100)
    parser.add_argument("--arms", nargs="*", help="parts of names; default: all")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    rows: list[tuple[Arm, list[dict[str, float]], float]] = []
    with TemporaryDirectory() as folder:
        grid = open_grid(arguments, features=Path(folder) / "features")
        for arm in ARMS:
            if arguments.arms and not any(part in arm.name for part in arguments.arms):
                continue
            started, figures = time.monotonic(), []
            for seed in range(arguments.seeds):
                figures.append(run_arm(grid, arm, seed=seed, work=Path(folder) / f"{len(rows)}-{seed}"))
                logger.info("%s, seed %d: %s", arm.name, seed, {name: round(figures[-1][name], 3) for name in SHOWN})
            rows.append((arm, figures, (time.monotonic() - started) / arguments.seeds))
            text = page(rows, arguments, grid)
            if arguments.out is not None:  # after each arm: a grid that is stopped leaves what it has
                arguments.out.write_text(text, encoding="utf-8")
    if arguments.out is None:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
