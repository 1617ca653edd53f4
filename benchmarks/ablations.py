"""What each part of training is worth: the same small run with one thing changed, on studies no run has seen.

Run: python -m benchmarks.ablations --data DATA --measured DIR [--steps 20] [--seeds 2] [--out docs/measurements-ablations.md]

``DATA`` holds ``corpora/*.h5`` and ``genesets/enrichr/*.gmt``, ``DIR`` the models of ``python -m indexer.measured_models`` of the
same data: seed k starts from ``fold-k``, which never saw fold k, and is measured on that fold: retrieval among de-duplicated
captions, both ways. Every arm sees as many pairs.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from atlas.model.gene_table import GeneTable
from atlas.model.quantised import Int8Rows
from indexer.training.data import DataSpec, open_sources
from indexer.training.hold_out import representatives, split_rows
from indexer.training.job import Job
from indexer.training.presets import Preset, load_preset
from indexer.training.record import Rows
from indexer.training.run import train
from indexer.training.sources.source import PairSource
from indexer.training.towers import Base, build, open_base

logger = logging.getLogger(__name__)

SHOWN = (
    "text_to_transcriptome_R@1", "text_to_transcriptome_R@10", "text_to_transcriptome_AUC", "transcriptome_to_text_R@10",
    "transcriptome_to_text_AUC",
)  # fmt: skip
BOTH = ("corpus", "genesets")
BY_HAND = "<!-- by hand -->"


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes
    ----------
    name, group
        What is changed, and what kind of change it is.
    changes
        Of the preset; ``{quarter}`` is a quarter of the batch, ``{minilm}`` the folder of the packaged text tower.
    stages
        Kinds of sources that are learned from, one run after the other; the steps are shared.
    begin
        ``closed form``, or ``random``: table and memory values of random numbers.
    """

    name: str
    group: str
    changes: tuple[str, ...] = ()
    stages: tuple[tuple[str, ...], ...] = (BOTH,)
    begin: str = "closed form"


_HEAD = ("text.head=projection", "loss.anchor=0")
_WHOLE = (*_HEAD, "text.tower=encoder", 'text.source="{minilm}"')
ARMS = (
    Arm("where training begins: the closed form", "reference", stages=()),
    Arm("full: CLIP, UL, gene sets + corpora, caption replicates", "reference"),
    Arm("half CLIP, half JSD", "loss", ("loss.clip=0.5", "loss.jsd=0.5")),
    Arm("JSD alone", "loss", ("loss.clip=0", "loss.jsd=1")),
    Arm("SigLIP", "loss", ("loss.clip=0", "loss.siglip=1")),
    Arm("equal texts count as negatives", "loss", ("loss.equal_texts=negatives",)),
    Arm("without the pull back to the start", "loss", ("loss.anchor=0",)),
    Arm("a quarter of the batch, accumulated four times", "batch", ("batch.size={quarter}", "batch.accumulation=4")),
    Arm("the same with cached gradients", "batch",
        ("batch.size={quarter}", "batch.accumulation=4", "batch.cached_gradients=true")),
    Arm("corpora alone", "data", stages=(("corpus",),)),
    Arm("gene sets alone", "data", stages=(("genesets",),)),
    Arm("gene sets first, then corpora", "data", stages=(("genesets",), ("corpus",))),
    Arm("with augmentation", "data", ("sampling.augment=true",)),
    Arm("one caption a sample", "data", ("sampling.caption_replicates=false",)),
    Arm("from random numbers, not trained", "start", stages=(), begin="random"),
    Arm("from random numbers", "start", ("loss.anchor=0",), begin="random"),
    Arm("from random numbers, gene sets first", "start", ("loss.anchor=0",), (("genesets",), ("corpus",)), "random"),
    Arm("LL: both towers locked", "locking", ("locking=LL",)),
    Arm("LU: text tower by adapters", "locking", ("locking=LU",)),
    Arm("UU: both", "locking", ("locking=UU",)),
    Arm("frozen", "text tower, with a projection head from random numbers", _HEAD),
    Arm("low-rank adapters", "text tower, with a projection head from random numbers", (*_HEAD, "locking=UU")),
    Arm("all of its weights", "text tower, with a projection head from random numbers", (*_WHOLE, "locking=UU")),
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
class Fold:
    """What all arms of one seed share.

    Attributes
    ----------
    sources
        With their shares of the draws, where both kinds are learned from.
    rows
        What the fold leaves to learn from.
    pool
        Of each source, held-out rows with distinct captions.
    preset, base
        Of the reference.
    seed
        Of order and heads.
    """

    sources: tuple[PairSource, ...]
    rows: Rows
    pool: tuple[np.ndarray, ...]
    preset: Preset
    base: Base
    seed: int


def open_fold(arguments: argparse.Namespace, *, seed: int) -> Fold:
    """Open the data, and the model that never saw the fold."""
    folds = sorted(arguments.measured.glob("fold-*"))
    folder = arguments.measured / f"fold-{seed}"
    changes = [
        "closed_form=null", f'transcriptome.source="{folder}"', f"batch.size={arguments.batch}", f"max_steps={arguments.steps}",
        "validation.times=1", "sampling.augment=false", f"seed={seed}", *arguments.set,
    ]  # fmt: skip
    preset = load_preset("starter", changes=changes)
    base = open_base(preset)
    tower = build(preset, base).transcriptome
    specs = [
        DataSpec("genesets", arguments.data / "genesets" / "enrichr"),
        DataSpec("corpus", arguments.data / "corpora"),
    ]
    sources = tuple(Remembered(source, tower) for source, _ in open_sources(specs, genes=base.genes))
    rows = split_rows(sources, fold=(seed, arguments.folds or len(folds)), n_validation=0, seed=0)  # type: ignore[arg-type]
    return Fold(sources, rows, pool_of(sources, rows, n=arguments.pool), preset, base, seed)  # type: ignore[arg-type]


def pool_of(sources: Sequence[Any], rows: Rows, *, n: int) -> tuple[np.ndarray, ...]:
    """Return held-out samples, one a cluster of captions."""
    from atlas.model.text_tower import MiniLmTower

    pool = []
    for source, mine in zip(sources, rows.train, strict=True):
        held_out = np.setdiff1d(np.arange(len(source)), mine)
        if source.kind == "genesets":
            held_out = held_out[:0]
        texts = [source.captions(int(row))[0] for row in held_out]
        pool.append(held_out[representatives(texts, n=n, embed=MiniLmTower().embed)] if texts else held_out)
    return tuple(pool)


def run_arm(fold: Fold, arm: Arm, *, work: Path, features: Path) -> dict[str, float]:
    """Train one arm and return retrieval on the fold it has not seen."""
    base = random_start(fold.base, seed=fold.seed, folder=work / "start") if arm.begin == "random" else fold.base
    told = told_to(arm, fold.preset)
    for number, kinds in enumerate(arm.stages):
        used = [i for i, source in enumerate(fold.sources) if source.kind in kinds]
        job = Job(
            told,
            [(fold.sources[i], 1.0 / len(used)) for i in used],
            Rows([fold.rows.train[i] for i in used], [np.zeros(0, np.int64)] * len(used), fold.rows.report),
            work / str(number),
            base=base,
            max_steps=(fold.preset.max_steps or 1) // len(arm.stages),
            device="cpu",
            features=features,
        )
        train(job)
        base = open_base(
            told.model_copy(update={"transcriptome": told.transcriptome.model_copy(update={"source": str(job.out)})})
        )
    return measure(base, fold)


def told_to(arm: Arm, preset: Preset) -> Preset:
    """Return the preset of an arm."""
    from atlas.model.text_tower import packaged_minilm_folder

    places = {"{quarter}": str(max(2, preset.batch.size // 4)), "{minilm}": str(packaged_minilm_folder())}
    changes = list(arm.changes)
    for place, value in places.items():
        changes = [change.replace(place, value) for change in changes]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "preset.json"
        path.write_text(preset.model_dump_json(), encoding="utf-8")
        return load_preset(str(path), changes=changes)


def random_start(base: Base, *, seed: int, folder: Path) -> Base:
    """Write and return a model that knows names of gene sets and usual levels of genes, but no gene vector and no set."""
    from atlas.model.checkpoint import write_model

    rng, parts = np.random.default_rng(seed), base.parts
    table = GeneTable.from_vectors(
        rng.normal(size=(parts.table.codes.shape)).astype(np.float32), rows=parts.table.rows, rescaled=True
    )
    values = Int8Rows.from_vectors(rng.normal(size=parts.tensors["memory_values"].shape).astype(np.float32))
    tensors = {
        **parts.tensors, **table.tensors(), "memory_values": values.codes, "memory_value_scales": values.scales,
    }  # fmt: skip
    write_model(folder, replace(parts, tensors=tensors))
    (folder / "training.json").write_bytes((base.folder / "training.json").read_bytes())
    return replace(base, parts=replace(parts, tensors=tensors), folder=folder)


def measure(base: Base, fold: Fold) -> dict[str, float]:
    """Return retrieval of a model on disk among the pool."""
    from atlas.model.joint import JointModel
    from indexer.training.retrieval import retrieval

    model = JointModel.load(base.folder)
    pairs = [(source, int(row)) for source, kept in zip(fold.sources, fold.pool, strict=True) for row in kept]
    texts = model.embed_texts([source.captions(row)[0] for source, row in pairs])
    vectors = np.concatenate([model.embed_expression(source.expression([row])) for source, row in pairs])
    return retrieval(vectors, texts) | {"n": float(len(pairs))}


def interval(values: Sequence[float]) -> str:
    """Return the mean and the smallest and largest value over the seeds."""
    mean = float(np.mean(values))
    return f"{mean:.3f}" if len(values) < 2 else f"{mean:.3f} ({min(values):.3f}-{max(values):.3f})"


def page(found: Sequence[tuple[Arm, list[dict[str, float]]]], arguments: argparse.Namespace) -> str:
    """Return the page as markdown, as far as it is written by the program."""
    pools = [int(one["n"]) for one in found[0][1]]
    steps, batch, seeds = arguments.steps, arguments.batch, arguments.seeds
    arms = "".join(f' "{part}"' for part in arguments.arms or ())
    lines = [
        "# Ablations\n",
        f"What each part of training is worth. One small run an arm and fold: {steps} steps of {batch} pairs, from the closed "
        "form made without the fold (`python -m indexer.measured_models`), measured on the fold: retrieval among "
        f"{' and '.join(map(str, pools))} held-out samples with distinct captions. Chance: R@1 "
        f"{np.mean([1 / n for n in pools]):.3f}, R@10 {np.mean([10 / n for n in pools]):.3f}, AUC .5. Mean over {seeds} folds, "
        "in brackets the lowest and the highest.\n",
        f"`python -m benchmarks.ablations --data DATA --measured DIR --steps {steps} --batch {batch} --seeds {seeds}"
        f"{f' --arms{arms}' if arms else ''}`\n",
        "| | " + " | ".join(name.replace("transcriptome", "sample").replace("_", " ") for name in SHOWN) + " |",
        "|---|" + "---|" * len(SHOWN),
    ]
    group = ""
    for arm, figures in found:
        if arm.group != group:
            group = arm.group
            lines.append(f"| **{group}** |" + " |" * len(SHOWN))
        cells = (interval([one[name] for one in figures]) for name in SHOWN)
        lines.append(f"| {arm.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write(out: Path, text: str) -> None:
    """Write the page; what stands below the line :data:`BY_HAND` is kept."""
    below = out.read_text(encoding="utf-8").partition(BY_HAND)[1:] if out.is_file() else ("", "")
    out.write_text(text + ("\n" + "".join(below) if below[0] else ""), encoding="utf-8")


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--measured", type=Path, required=True, help="folder of fold-1, fold-2, ...")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=2, help="folds 1 to this")
    parser.add_argument("--folds", type=int, help="folds that were dealt; default: as many as DIR has")
    parser.add_argument("--pool", type=int, default=100)
    parser.add_argument("--arms", nargs="*", help="parts of names; default: all")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all arms in all folds, and write the page."""
    arguments = read_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    folds = [open_fold(arguments, seed=seed) for seed in range(1, arguments.seeds + 1)]
    found: list[tuple[Arm, list[dict[str, float]]]] = []
    text = ""
    with TemporaryDirectory() as features:
        for arm in ARMS:
            if arguments.arms and not any(part in arm.name for part in arguments.arms):
                continue
            figures = []
            for fold in folds:
                with TemporaryDirectory() as work:
                    figures.append(run_arm(fold, arm, work=Path(work), features=Path(features)))
                logger.info(
                    "%s, fold %d: %s", arm.name, fold.seed, {name: round(figures[-1][name], 3) for name in SHOWN}
                )
            found.append((arm, figures))
            text = page(found, arguments)
            if arguments.out is not None:  # after each arm: a grid that is stopped leaves what it has
                write(arguments.out, text)
    if arguments.out is None:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
