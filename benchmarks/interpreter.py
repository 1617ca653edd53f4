"""Make the measured half of ``docs/interpreter.md``: labels within sets, few cells, two species, what each part gives, why.

Run: python -m benchmarks.interpreter --data DATA --work W --without-model WITHOUT [--only SECTION ...] [--seeds 5]

DATA holds ``evaluation/*.h5ad``. What is done is kept in W, so that hours of measuring survive a kill. What stands in the page
above the line ``<!-- measured -->`` is written by hand and kept.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from atlas.cells.rows import open_rows
from atlas.cells.scoring import organism_of
from atlas.expression.align import GeneAligner
from atlas.interpreter.explain import Method, deletion_curve, explain
from atlas.interpreter.interpreter import Interpreter
from benchmarks.interpreter_figures import Places, draw_confusions, draw_places
from benchmarks.interpreter_floors import ways_of_fitting
from benchmarks.interpreter_sets import EMBRYO, OWN_NAMES, PRESETS, SETS, TWO_SPECIES, Bench, Set, directions
from indexer.evaluation.metrics import Estimate, roc_auc
from indexer.evaluation.tables import markdown, show
from indexer.interpreter import evaluate as measuring
from indexer.interpreter import floors
from indexer.interpreter.comparison import MIN_DONORS, Outcome, Split, difference, estimate, few, folds
from indexer.interpreter.labelled_cells import LabelledCells
from indexer.interpreter.making import Ingredients, learn

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "interpreter.md"
MEASURED = "<!-- measured -->"
N_DRAWS = 1_000
SATURATED = 0.98
ALLOWED = 0.02
"""What an interpreter may be below log expression."""
MIN_OWN = 5
N_EACH = 10
N_SIDE_SEEDS = 2
"""Trainings of what is measured beside the main tables."""
N_EXPLAINED, N_TAKEN, N_TIMED = 30, 10, 5_000
TABLE = ("set", "method", "accuracy", "precision", "recall", "F1")
ABLATED = (SETS[3],)
HYBRIDS = {"hybrid (starter)": "starter", "hybrid (two-species)": "two-species"}
ALONE = ("domain.token=false", "domain.opinion=false")
PICTURES = ROOT / "docs" / "interpreter"
METHODS: tuple[Method, ...] = get_args(Method)


def within(bench: Bench) -> str:
    """Measure every preset and every floor on folds of each set."""
    rows, verdicts, left = [], [], []
    confused: dict[str, tuple[np.ndarray, Sequence[str]]] = {}
    for one in SETS:
        ready = {name: bench.ingredients(name, one=one) for name in PRESETS}
        found = _everyone(bench, one, ready, splits=lambda read: measuring.by_folds(read, n_folds=3))
        read = bench.read(one, ready["starter"])
        rows += _rows(one.title, found)
        confused[one.title] = (np.sum([found["starter"].confusion(i) for i in bench.seeds], axis=0), read.cells.labels)
        verdicts.append((one.title, len(read.cells), len(read.cells.labels), *_verdict(found)))
        left += [f"{one.title}: {name} ({n})" for name, n in read.cells.left_out.items()]
    draw_confusions(confused, PICTURES / "confusion.svg")
    return "\n\n".join(
        [
            f"Three folds, {len(bench.seeds)} seeds ({len(bench.paper_seeds)} for the papers' presets); "
            f"by donor where donors are known; the mean of the seeds, 95 % intervals over cells, from {MIN_DONORS} donors on "
            "over donors and their cells. "
            f"Labels with fewer than {measuring.MIN_CELLS} cells are left out: {'; '.join(left) or 'none'}.",
            markdown(
                ("set", "cells", "labels", "starter", "less log expression", "less GenePT-w", "verdict"), verdicts
            ),
            markdown(TABLE, rows),
            "The starter's answers, all seeds together; a row is a true label, numbers are shares of its cells.\n\n"
            "![Confusion matrices](interpreter/confusion.svg)",
        ]
    )


def embryo(bench: Bench) -> str:
    """Measure stages of development, as scReader does."""
    bench = replace(bench, seeds=bench.seeds[:N_SIDE_SEEDS])
    ready = {name: bench.ingredients(name, one=EMBRYO) for name in (PRESETS[0], PRESETS[2])}
    found = _everyone(bench, EMBRYO, ready, splits=lambda read: measuring.by_folds(read, n_folds=3))
    read = bench.read(EMBRYO, ready[PRESETS[0]]).cells
    left = "; ".join(f"{name} ({n})" for name, n in read.left_out.items())
    return (
        f"{len(read)} cells of {len(read.labels)} stages ({', '.join(read.labels)}); left out: {left or 'none'}. Three folds, "
        f"{len(bench.seeds)} seeds.\n\n" + markdown(TABLE, _rows(EMBRYO.title, found))
    )


def few_cells(bench: Bench) -> str:
    """Measure with five and ten cells of each label to learn from."""
    rows = []
    for one in SETS:
        ready = {"starter": bench.ingredients("starter", one=one)}
        for n_each in (5, 10):
            found = _everyone(bench, one, ready, splits=lambda read, n=n_each: _few(read, n))
            ours, others = found["starter"], {name: o for name, o in found.items() if name != "starter"}
            rows.append((one.title, n_each, show(estimate(ours, "f1", n_draws=N_DRAWS)), *_best(ours, others)))
    columns = (
        "set", "cells a label", "starter, F1", "best floor", "its F1", "difference", "above every floor",
        "best with the domain model", "its F1", "difference",
    )  # fmt: skip
    return (
        f"{len(bench.seeds)} draws of the cells learned from; all others are judged, of the same donors. Floors are without the "
        "domain model. With it: its vector under logistic regression or nearest neighbours, and the labels' texts alone.\n\n"
        + markdown(columns, rows)
    )


def two_species(bench: Bench) -> str:
    """Measure on one species what was learned from the other."""
    ready = _species_readers(bench, TWO_SPECIES)
    read = {name: bench.read(TWO_SPECIES, one) for name, one in ready.items()}
    first = next(iter(read.values()))
    mouse = bench.mouse(first)
    rows, gains = [], []
    ways = directions(mouse)
    for name, split in ways.items():
        found = _judged_once(bench, read, ready, split)
        rows += _rows(name, found)
        gains += [row for ours in HYBRIDS for row in _gains(name, found, ours=ours)]
    n_human, n_mouse = int((~mouse).sum()), int(mouse.sum())
    return (
        f"{n_human} human and {n_mouse} mouse cells of {len(first.cells.labels)} labels, the mouse's genes by "
        f"their human orthologs' names, as the file has them; {len(bench.seeds)} seeds.\n\n"
        + markdown(("direction", *TABLE[1:]), rows)
        + "\n\nThe hybrids against the others, macro F1, paired bootstrap over cells.\n\n"
        + markdown(("direction", "hybrid", "less", "difference"), gains)
        + "\n\nHow log expression depends on its fit, macro F1; by default scikit-learn's C is 1, stopped as usual.\n\n"
        + ways_of_fitting(first.features[measuring.LOG], first.cells.codes, ways)
    )


def own_names(bench: Bench) -> str:
    """Measure on one species what was learned from the other, each by the names of its own genes: no table of orthologs."""
    bench = replace(bench, seeds=bench.seeds[:N_SIDE_SEEDS])
    ready = _species_readers(bench, OWN_NAMES[0])
    read = {name: bench.own_names(one, min_cells=MIN_OWN) for name, one in ready.items()}
    first = next(iter(read.values()))
    mouse = first.cells.organisms == "mouse"
    rows = []
    for name, split in directions(mouse).items():
        rows += _rows(name, _judged_once(bench, read, ready, split))
    counts = "; ".join(
        f"{label} ({(~mouse & (first.cells.codes == i)).sum()}, {(mouse & (first.cells.codes == i)).sum()})"
        for i, label in enumerate(first.cells.labels)
    )
    return (
        "Human cells with human gene names, mouse cells with mouse gene names; what a gene is known by is its description. "
        f"Labels with {MIN_OWN} cells in both (human, mouse): {counts}; {len(bench.seeds)} seeds. Log expression and random "
        "vectors mean nothing here: they need a table of orthologs.\n\n" + markdown(("direction", *TABLE[1:]), rows)
    )


def ablations(bench: Bench) -> str:
    """Measure what is left when one part is another."""
    variants = {
        "starter": (),
        "symbols in place of descriptions": ("vectors.kind=symbols",),
        "random vectors in place of descriptions": ("vectors.kind=random",),
        "genes by expression": ("genes.order=expression",),
        "128 genes": ("genes.top_k=128",),
        "256 genes": ("genes.top_k=256",),
        "without domain token": ALONE,
        "without domain token, symbols": (*ALONE, "vectors.kind=symbols"),
        "without domain token, random vectors": (*ALONE, "vectors.kind=random"),
        "without the domain model's opinion": ("domain.opinion=false",),
        "instruction: cell": ("network.instruction=cell",),
        "instruction: which genes does this cell express?": (
            "network.instruction=which genes does this cell express?",
        ),
    }
    seeds = bench.seeds[:N_SIDE_SEEDS]
    rows = []
    whole: dict[str, Outcome] = {}
    for name, changes in variants.items():
        cells = []
        for one in ABLATED:
            ready = bench.ingredients("starter", *changes, one=one)
            read = bench.read(one, ready)
            found = measuring.measure_interpreter(
                read, ready, _few(read, N_EACH), seeds=seeds, keep=bench.work / "kept"
            )
            whole.setdefault(one.title, found)
            change = difference(found, whole[one.title], n_draws=N_DRAWS)
            cells += [f"{found.measure('f1'):.3f}", "-" if name == "starter" else show(change)]
        rows.append((name, *cells))
    columns = [part for one in ABLATED for part in (one.title, "difference")]
    return (
        f"{N_EACH} cells a label to learn from, all others judged, {len(seeds)} seeds, macro F1; differences by paired bootstrap "
        "over cells.\n\n" + markdown(("starter with", *columns), rows)
    )


def unseen_labels(bench: Bench) -> str:
    """Measure labels that were never learned, asked for in words."""
    rows = []
    for one in (SETS[2], SETS[3]):
        ready = bench.ingredients("starter", one=one)
        read = bench.read(one, ready).cells
        for code, label in enumerate(read.labels):
            split = folds(read.codes, read.groups, seed=0)[0]
            shares = bench.kept(ready, read, ("asked", label), partial(_asked, ready, read, code, split))
            mine = read.codes[split.test] == code
            auc = roc_auc(shares[:, code], mine)
            rows.append(
                (one.title, label, int(mine.sum()), f"{auc:.3f}", f"{(shares[mine].argmax(axis=1) == code).mean():.2f}")
            )
    return (
        "One label at a time is left out of learning, and asked for with all others in words; seed 0, one fold judged. AUROC of "
        "its share, its cells against all others; and how many of its cells have it first.\n\n"
        + markdown(("set", "label left out", "its cells", "AUROC", "first"), rows)
    )


def reasons(bench: Bench) -> str:
    """Measure genes taken away by their effect, against genes taken away by chance."""
    rows = []
    for one in (SETS[0], SETS[2]):
        ready = bench.ingredients("starter", one=one)
        read = bench.read(one, ready).cells
        asked = ("deletion", N_EXPLAINED, N_TAKEN)
        curves = bench.kept(ready, read, asked, partial(_curves, bench, one, ready, read))
        for method, curve in zip(("leave_out", "gradients", "chance"), curves, strict=True):
            rows.append((one.title, method, *(f"{value:.3f}" for value in curve.mean(axis=0)), f"{curve.mean():.3f}"))
    return (
        f"Probability of the answer as 0 to {N_TAKEN} of the genes read are taken away, mean of {N_EXPLAINED} cells that were "
        "not learned from; the last column is the mean of the curve: smaller, the better the genes were chosen.\n\n"
        + markdown(("set", "genes chosen by", *map(str, range(N_TAKEN + 1)), "mean"), rows)
    )


def pictures(bench: Bench) -> str:
    """Draw where cells lie that were not learned from: by log expression, and as the class token before and after learning."""
    panels: dict[str, dict[str, Places]] = {}
    for one in (SETS[0], SETS[2], SETS[3], TWO_SPECIES):
        ready = bench.ingredients("starter", one=one)
        read = bench.read(one, ready)
        cells = read.cells
        mouse = bench.mouse(read) if one is TWO_SPECIES else np.zeros(len(cells), dtype=bool)
        split = folds(cells.codes, cells.groups, seed=0)[0]
        if one is TWO_SPECIES:
            split = Split(np.flatnonzero(~mouse), np.arange(len(cells)))
        states = bench.kept(ready, cells, ("states",), partial(_states, ready, cells, split))
        labels = [cells.labels[code] for code in cells.codes[split.test]]
        groups = np.where(mouse, "mouse", "human")[split.test].tolist() if one is TWO_SPECIES else [""] * len(labels)
        drawn = {
            "log expression": read.features[measuring.LOG][split.test],
            "class token, before": states[0],
            "class token, after": states[1],
        }
        panels[one.title] = {name: Places(vectors, labels, groups) for name, vectors in drawn.items()}
    draw_places(panels, PICTURES / "umap.svg")
    return (
        "UMAP (15 neighbours, cosine, seed 0) of a third of the cells, from which nothing was learned; in the last row the "
        "starter learned from all human cells and from no cell of the mouse.\n\n"
        "![UMAP before and after learning](interpreter/umap.svg)"
    )


def speed(bench: Bench) -> str:
    """Measure training on five thousand cells."""
    ready = bench.ingredients("starter", one=SETS[0])
    read = bench.read(SETS[0], ready).cells
    rows = np.random.default_rng(0).integers(len(read), size=N_TIMED)
    clock = time.perf_counter()
    losses = learn(ready, read, rows=rows).losses
    seconds = time.perf_counter() - clock
    n_judged = len(rows[:1_000])
    trained = learn(ready, read, rows=rows[:64])
    parts = ready.parts(trained.network, labels=read.labels, organisms=("human",))
    judge = Interpreter(parts, reader=ready.reader, domain=ready.domain)
    clock = time.perf_counter()
    judge.interpret(read.cells.take(rows[:n_judged]))
    judged = time.perf_counter() - clock
    spec = ready.preset.training
    return markdown(
        ("what", "figure"),
        [
            (
                "cells, genes a cell, epochs, cells at once",
                f"{N_TIMED:,}, {ready.preset.genes.top_k}, {spec.epochs}, {spec.batch}",
            ),
            ("training, minutes", f"{seconds / 60:.1f}"),
            ("cells learned from a second", f"{N_TIMED * spec.epochs / seconds:.0f}"),
            ("loss of the first and the last epoch", f"{losses[0]:.3f}, {losses[-1]:.3f}"),
            ("cells judged a second", f"{n_judged / judged:.0f}"),
            (
                "machine",
                f"{os.cpu_count()} cores, {spec.precision}, torch {torch.__version__}, load before {os.getloadavg()[0]:.1f}",
            ),
        ],
    )


SECTIONS: dict[str, tuple[str, Callable[[Bench], str]]] = {
    "within": ("Within a set", within),
    "few": ("Few cells", few_cells),
    "species": ("Two species", two_species),
    "own-names": ("Two species by the names of their own genes", own_names),
    "embryo": ("Stages of development", embryo),
    "ablations": ("What each part gives", ablations),
    "unseen": ("Labels never learned", unseen_labels),
    "reasons": ("Do the genes named matter?", reasons),
    "pictures": ("Where cells lie", pictures),
    "speed": ("Speed", speed),
}


def _judged_once(
    bench: Bench, read: Mapping[str, measuring.LabelledSet], ready: Mapping[str, Ingredients], split: Split
) -> dict[str, Outcome]:
    """Let interpreters and floors judge by one split, whatever the seed."""
    how: dict[str, Any] = {"splits": lambda seed: (split,), "seeds": bench.seeds, "keep": bench.work / "kept"}
    found = {who: measuring.measure_interpreter(read[who], one, **how) for who, one in ready.items()}
    return found | measuring.measure_floors(next(iter(read.values())), **how)


def _everyone(
    bench: Bench,
    one: Set,
    ready: Mapping[str, Ingredients],
    *,
    splits: Callable[[measuring.LabelledSet], Callable[[int], Sequence[Split]]],
) -> dict[str, Outcome]:
    """Return what every preset and every floor says of a set."""
    found: dict[str, Outcome] = {}
    first = bench.read(one, next(iter(ready.values())))
    for name, ingredients in ready.items():
        read = first if ingredients is next(iter(ready.values())) else bench.read(one, ingredients)
        clock = time.perf_counter()
        found[name] = measuring.measure_interpreter(
            read, ingredients, splits(read), seeds=bench.seeds_of(name), keep=bench.work / "kept"
        )
        print(
            f"{one.title}, {name}: F1 {found[name].measure('f1'):.3f}, {time.perf_counter() - clock:.0f} s", flush=True
        )
    found |= measuring.measure_floors(first, splits(first), seeds=bench.seeds, keep=bench.work / "kept")
    return found


def _rows(title: str, found: Mapping[str, Outcome]) -> list[tuple[str, ...]]:
    return [(title if not i else "", name, *_line(one)) for i, (name, one) in enumerate(found.items())]


def _gains(title: str, found: Mapping[str, Outcome], *, ours: str) -> list[tuple[str, ...]]:
    others = [name for name in found if name != ours]
    return [
        (*((title, ours) if not i else ("", "")), name, show(difference(found[ours], found[name], n_draws=N_DRAWS)))
        for i, name in enumerate(others)
    ]


def _line(outcome: Outcome) -> tuple[str, ...]:
    return tuple(show(estimate(outcome, name, n_draws=N_DRAWS)) for name in measuring.MEASURES)


def _verdict(found: Mapping[str, Outcome]) -> tuple[str, ...]:
    """Return the starter's F1, what it is above log expression and GenePT-w, and which of the two bars it keeps."""
    ours, log = found["starter"], found[f"{measuring.LOG}, {floors.CLASSIFIERS[0]}"]
    genept = found[f"{measuring.GENEPT_W}, {floors.CLASSIFIERS[0]}"]
    above_log, above_genept = (difference(ours, other, n_draws=N_DRAWS) for other in (log, genept))
    if min(ours.measure("f1"), log.measure("f1")) >= SATURATED:
        said = "saturated, a tie"
    else:
        said = f"{'not below' if above_log.value >= -ALLOWED else 'below'} log, {_beside(above_genept)} GenePT-w"
    return show(estimate(ours, "f1", n_draws=N_DRAWS)), show(above_log), show(above_genept), said


def _beside(gain: Estimate) -> str:
    return "above" if gain.low > 0 else "below" if gain.high < 0 else "beside"


def _best(ours: Outcome, others: Mapping[str, Outcome]) -> list[str]:
    """Return the best floor without and with the domain model: its name, its F1, what ours is above it, and whether surely so."""
    told: list[str] = []
    for with_domain in (False, True):
        some = {name: one for name, one in others.items() if ("domain" in name) == with_domain}
        best = max(some, key=lambda name: some[name].measure("f1"))
        gain = difference(ours, some[best], n_draws=N_DRAWS)
        told += [best, show(estimate(some[best], "f1", n_draws=N_DRAWS)), show(gain)]
        told += [] if with_domain else ["above" if gain.low > 0 else "in the mean" if gain.value > 0 else "no"]
    return told


def _species_readers(bench: Bench, one: Set) -> dict[str, Ingredients]:
    return {
        **{name: bench.ingredients(preset, one=one) for name, preset in HYBRIDS.items()},
        "gene tokens alone": bench.ingredients("starter", *ALONE, one=one),
    }


def _few(read: measuring.LabelledSet, n_each: int) -> Callable[[int], Sequence[Split]]:
    return lambda seed: few(read.cells.codes, n_each=n_each, seed=seed)


def _asked(ready: Ingredients, read: LabelledCells, unseen: int, split: Split) -> np.ndarray:
    """Ask with all labels in words one that has learned all but one, and never heard of that."""
    train = split.train[read.codes[split.train] != unseen]
    codes = read.codes - (read.codes > unseen)
    without = replace(read, labels=_less(read.labels, unseen), texts=_less(read.texts, unseen), codes=codes)
    return _judge(ready, without, train).ask(read.cells.take(split.test), read.texts)


def _less(names: tuple[str, ...], place: int) -> tuple[str, ...]:
    return names[:place] + names[place + 1 :]


def _curves(bench: Bench, one: Set, ready: Ingredients, read: LabelledCells) -> np.ndarray:
    """Return the probabilities as genes are taken away: ``(3, n_cells, N_TAKEN + 1)``."""
    split = folds(read.codes, read.groups, seed=0)[0]
    judge = _judge(ready, read, split.train)
    rng = np.random.default_rng(0)
    chosen = read.rows[rng.permutation(split.test)[:N_EXPLAINED]]
    with open_rows(bench.data / "evaluation" / f"{one.file}.h5ad") as rows:
        organism = organism_of(rows, judge.genes.genes)
        aligner = GeneAligner(rows.genes, rows.symbols, genes=judge.genes.genes, organism=organism)
        aligned = [aligner.align(matrix) for matrix in rows.matrices()]
    places = [(part, row) for part in aligned for row in range(len(part.sample_ids))]
    known = {name: i for i, name in enumerate(judge.genes.genes.ensembl_ids)}
    curves = np.zeros((3, len(chosen), N_TAKEN + 1))
    for i, (part, row) in enumerate(places[row] for row in chosen):
        for j, method in enumerate(METHODS):
            why = explain(judge, part, row, method=method)
            speaking = sorted(why.genes, key=lambda gene: -gene.effect)
            order = [known[gene.ensembl_id] for gene in speaking[:N_TAKEN]]
            curves[j, i] = deletion_curve(judge, part, row, order, label=why.label)
        order = rng.permutation([known[gene.ensembl_id] for gene in why.genes])[:N_TAKEN].tolist()
        curves[2, i] = deletion_curve(judge, part, row, order, label=why.label)
    return curves


def _judge(ready: Ingredients, read: LabelledCells, train: np.ndarray) -> Interpreter:
    trained = learn(ready, read, rows=train, seed=0)
    parts = ready.parts(trained.network, labels=read.labels, organisms=("human", "mouse"))
    return Interpreter(parts, reader=ready.reader, domain=ready.domain)


def _states(ready: Ingredients, read: LabelledCells, split: Split) -> np.ndarray:
    """Return the class token's states before and after learning: ``(2, n_judged, width)``."""
    fresh = ready.network(read.texts, seed=0)
    if read.cells.domain is not None:
        fresh.measure(torch.from_numpy(read.cells.domain[split.train]), torch.from_numpy(read.codes[split.train]))
    untrained = Interpreter(
        ready.parts(fresh, labels=read.labels, organisms=("human", "mouse")), reader=ready.reader, domain=ready.domain
    )
    judged = read.cells.take(split.test)
    return np.stack([one.interpret(judged).states for one in (untrained, _judge(ready, read, split.train))])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with evaluation/*.h5ad")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is done")
    parser.add_argument("--without-model", type=Path, required=True, help="made by python -m indexer.measured_models")
    names = list(SECTIONS)
    parser.add_argument("--only", nargs="*", choices=names, default=names, help="sections to measure; none: the page")
    parser.add_argument("--seeds", type=int, default=5, help="trainings with other seeds and folds")
    parser.add_argument("--paper-seeds", type=int, default=1, help="the same for the papers' presets")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page")
    asked = parser.parse_args(arguments)
    bench = Bench(
        asked.data.absolute(), asked.work.absolute(), asked.without_model.absolute(), range(asked.seeds),
        range(asked.paper_seeds),
    )  # fmt: skip
    texts = bench.work / "sections"
    torch.set_num_threads(asked.threads)
    texts.mkdir(parents=True, exist_ok=True)
    for name in asked.only:
        (texts / f"{name}.md").write_text(SECTIONS[name][1](bench) + "\n", encoding="utf-8")
    parts = [
        f"## {title}\n\n{(texts / f'{name}.md').read_text(encoding='utf-8')}"
        for name, (title, _) in SECTIONS.items()
        if (texts / f"{name}.md").is_file()
    ]
    by_hand = asked.page.read_text(encoding="utf-8").split(MEASURED)[0].rstrip()
    told = (
        f"{MEASURED}\nMeasured by `python -m benchmarks.interpreter --data DATA --work W --without-model WITHOUT`; the reader is "
        "the packaged MiniLM, frozen. The domain model is the packaged one; for the pancreas, of which it holds gene sets made "
        "from the same study, the same recipe without them (WITHOUT, [how](training.md))."
    )
    asked.page.write_text("\n\n".join([by_hand, told, *parts]), encoding="utf-8")


if __name__ == "__main__":
    main()
