"""How often "nothing matches" is said rightly and wrongly: 200 phrases of biology, 200 of everything else.

Run: python -m benchmarks.abstention --home HOME [--release NAME], or --starter DIR for the samples of a starter folder.

The phrases, ``benchmarks/abstention_phrases.tsv``, were written before anything was measured on them. None of them is among
those that calibrate a release.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.model.joint import JointModel
from atlas.release import Home, Release
from atlas.vectors.calibration import Calibration, subjects, unit_rows
from atlas.vectors.faiss_index import open_index
from atlas.vectors.index import ExactIndex, VectorIndex
from atlas.vectors.store import VectorStore
from atlas.vocabulary import background_phrases
from indexer.rebuild_starter import calibrate_starter

PHRASES = Path(__file__).with_name("abstention_phrases.tsv")
QUANTILES = (0.9, 0.95, 0.97, 0.98, 0.99)


@dataclass(frozen=True)
class Measured:
    """Of each phrase: its kind and group, whether nothing matches, the percentile of its best hit, and the signals."""

    phrases: list[dict[str, str]]
    silent: np.ndarray
    best: np.ndarray
    signals: dict[str, np.ndarray]

    def of(self, kind: str) -> np.ndarray:
        """Return which phrases are of a kind."""
        return np.array([phrase["kind"] == kind for phrase in self.phrases])


def read_phrases(path: Path = PHRASES) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    wins = positive[:, None] > negative[None, :]
    ties = positive[:, None] == negative[None, :]
    return float((wins + 0.5 * ties).mean())


def share(flags: np.ndarray) -> str:
    """Return a share in percent with its Wilson 95 % interval."""
    n, p, z = len(flags), float(flags.mean()), 1.96
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return f"{100 * p:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def measure(model: JointModel, calibration: Calibration, index: VectorIndex) -> Measured:
    phrases = read_phrases()
    raw = model.embed_raw_texts([phrase["phrase"] for phrase in phrases])
    vectors = model.text_head(raw)
    silent = [calibration.no_match(v, raw=r, index=index) for v, r in zip(vectors, raw, strict=True)]
    hits = index.search(vectors, 100)
    best = [
        calibration.percentile(scores[:1], kind="text", rows=rows[:1], raw=one)[0]
        for scores, rows, one in zip(hits.scores, hits.rows, raw, strict=True)
    ]
    response = (hits.scores - calibration.mean[hits.rows]) / calibration.deviation[hits.rows]
    subject = subjects(raw, unit_rows(calibration.vocabulary.vectors()))
    null = np.asarray(calibration.table.subjects)
    signals = {
        "best cosine": hits.scores[:, 0],
        "response": response.max(axis=1),
        "subject (decides)": subject,
        "answer": response.max(axis=1) + (subject - null.mean()) / null.std(),
    }
    return Measured(phrases, np.array(silent), np.array(best), signals)


def groups_table(found: Measured) -> str:
    lines = ["| kind | group | n | nothing matches | wrong |", "|---|---|---|---|---|"]
    for kind, group in dict.fromkeys((phrase["kind"], phrase["group"]) for phrase in found.phrases):
        rows = [i for i, phrase in enumerate(found.phrases) if (phrase["kind"], phrase["group"]) == (kind, group)]
        wrong = [found.phrases[i]["phrase"] for i in rows if found.silent[i] != (kind == "off-topic")]
        lines.append(
            f"| {kind} | {group} | {len(rows)} | {found.silent[rows].sum()} | {', '.join(wrong).replace('|', '/') or 'none'} |"
        )
    return "\n".join(lines)


def signals_table(found: Measured, calibration: Calibration) -> str:
    """Return what each signal alone would do if it were cut at a quantile of the phrases that calibrate."""
    null = {"subject (decides)": calibration.table.subjects, "answer": calibration.table.answers}
    columns = [f"cut at {100 * q:g} %: false matches, kept" for q in QUANTILES]
    lines = [f"| signal | AUC | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    off, on = found.of("off-topic"), found.of("biology")
    for name, values in found.signals.items():
        cuts = [np.quantile(null[name], q) for q in QUANTILES] if null.get(name) else []
        cells = [f"{100 * (values[off] > cut).mean():.1f} %, {100 * (values[on] > cut).mean():.1f} %" for cut in cuts]
        cells = cells or ["-"] * len(QUANTILES)
        lines.append(f"| {name} | {auc(values[on], values[off]):.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


@contextmanager
def opened(asked: argparse.Namespace) -> Iterator[tuple[str, JointModel, Calibration, VectorIndex]]:
    if asked.starter is not None:
        model = JointModel.load(asked.starter / "model")
        with VectorStore.open(asked.starter / "vectors.npy") as store:
            yield "starter", model, calibrate_starter(asked.starter, model, store), ExactIndex(store)
        return
    release = Release.open(Home(asked.home), asked.release)
    with VectorStore.open(release.path("vectors.npy")) as store:
        model = JointModel.load(release.path("model"))
        calibration = Calibration.load(release.path("calibration.json"))
        yield release.name, model, calibration, open_index(release.path("index"), store)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--home", type=Path)
    place.add_argument("--starter", type=Path)
    parser.add_argument("--release")
    asked = parser.parse_args(arguments)
    with opened(asked) as (name, model, calibration, index):
        found = measure(model, calibration, index)
    off, on = found.of("off-topic"), found.of("biology")
    table = calibration.table
    print(
        f"Release {name}: {len(calibration.mean)} samples, calibrated with {table.n_phrases} phrases; nothing matches below the "
        f"{100 * table.quantile:g} % quantile of their subjects. "
        f"False matches: {share(~found.silent[off])} of {off.sum()}; kept: {share(~found.silent[on])} of "
        f"{on.sum()}. Median percentile of the best hit: {np.median(found.best[on]):.1f} and {np.median(found.best[off]):.1f}.\n"
    )
    print(groups_table(found), signals_table(found, calibration), sep="\n\n")
    shared = {phrase["phrase"].casefold() for phrase in found.phrases} & {
        one.casefold() for one in background_phrases()
    }
    print(f"\nCalibration phrases among them: {len(shared)}")


if __name__ == "__main__":
    main()
