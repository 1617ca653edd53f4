"""The whole evaluation of a toy model on toy data: every table with every baseline, folds that hold, one page and one JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evaluation_files import TISSUES, write_evaluation_data
from toy_model import WORDS, ToyTextTower, write_toy_model
from training_files import write_gmt

from atlas.errors import InputError
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS
from cli.main import app
from indexer.evaluation import integration, rivals
from indexer.evaluation.corpus import Corpus
from indexer.evaluation.folds import parts_of_models
from indexer.evaluation.measure import Bench, Measured, Request, measure_all
from indexer.evaluation.page import bars_table, page, report_json
from indexer.evaluation.phrases import FirstPhrases
from indexer.evaluation.retrieval_tables import draw_pool, retrieval_table

EVERY = ("training-free", "text only", "markers", "dictionary", "chance")


def scores_of_neighbours(
    vectors: np.ndarray, *, labels: np.ndarray, batches: np.ndarray
) -> tuple[dict[str, float], ...]:
    """Stands for scib-metrics, which takes minutes to compile."""
    nearest = integration.nearest_rows(vectors.astype(np.float32), k=3)
    return {"same label": integration.same_value(nearest, labels)}, {
        "mixing": 1 - integration.same_value(nearest, batches)
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_evaluation_data(tmp_path_factory.mktemp("data"))
    own = {word: [f"G{i}" for i in range(64) if WORDS[i % len(WORDS)] == word] for word in WORDS}
    (folder / "sets").mkdir()
    write_gmt(folder / "sets" / "Tabula_Sapiens.gmt", own)
    lines = [f"{gene}\t{word}" for word, genes in own.items() for gene in genes]
    (folder / "markers.tsv").write_text("\n".join(["official gene symbol\tcell type", *lines]) + "\n")
    return folder


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    monkeypatch.setattr(rivals, "MiniLmTower", ToyTextTower)
    monkeypatch.setattr(integration, "_scores_of_scib", scores_of_neighbours)
    return write_toy_model(tmp_path / "model")


@pytest.fixture
def folds(data: Path, tmp_path: Path, model: Path) -> tuple[Path, ...]:
    """Two models, each with a record of the studies it was made without."""
    series = [f"GSE{i}" for i in range(1, 11)]
    found = []
    for place in range(2):
        folder = write_toy_model(tmp_path / f"fold{place}")
        (folder / "training.json").write_text(json.dumps({"held_out_studies": series[place::2]}))
        found.append(folder)
    return tuple(found)


def request(data: Path, model: Path, **changes: object) -> Request:
    return Request(
        data=data, model=model, others={"training-free": model}, markers=data / "markers.tsv",
        gene_sets=data / "sets", n_draws=5, **changes,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def measured(data: Path, model: Path, folds: tuple[Path, ...]) -> Measured:
    return measure_all(request(data, model, folds=folds))


def test_every_table_has_every_baseline(measured: Measured) -> None:
    text = page(measured, command="x")
    sections = {part.splitlines()[0]: part for part in text.split("\n## ")[1:]}
    for title in ("Zero-shot labels", "Phrases on bulk samples", "Retrieval", "Integration"):
        for name in EVERY:
            assert name in sections[title], (title, name)
    assert "components" in sections["Integration"]
    tables = sections["Phrases on bulk samples"].split("\n### ")
    assert len(tables) == 5
    for table in tables:
        assert "training-free" in table
        assert "dictionary" in table
    found = json.loads(report_json(measured))
    assert set(found["phrases"]["beside"]) == set(found["phrases"]["figures"]) - {"model"}
    assert set(found["retrieval"]["by_pool"]) == {"fold 0", "fold 1"}
    assert found["integration"]["model"]["n"] == 80


def test_same_model_as_rival_has_the_same_figures(measured: Measured) -> None:
    """The training-free rival is the model itself here, and the folds' models are its copies."""
    figures, beside = measured.phrases.figures, measured.phrases.beside["training-free"]
    assert figures["training-free"].located == figures["model"].located
    known = [
        i for i, one in enumerate(measured.phrases.phrases) if one.phrase in TISSUES
    ]  # others are noise of rounding
    assert len(known) == 4
    for i in known:
        assert beside.phrases[i] == pytest.approx(measured.phrases.phrases[i].auroc.value)
        assert beside.wordings[i] == pytest.approx(measured.phrases.wordings[i].mean, abs=0.01)
        assert beside.phrases[i] > 0.9
    found = measured.retrieval.by_scorer
    assert found["training-free"] == found["model"]
    pools = measured.retrieval.by_pool.values()
    mean = np.mean([one.text_to_transcriptome.recall[1].value for one in pools])
    assert found["model"].text_to_transcriptome.recall[1].value == pytest.approx(mean)
    assert measured.integration["training-free"] == measured.integration["model"]
    assert measured.integration["model"].same_label > 0.9 > measured.integration["chance"].same_label


def test_bars_pair_each_figure_with_hits_of_its_own_table(measured: Measured) -> None:
    first = measured.phrases.figures["model"].first
    assert {name: one.n for name, one in first.items()} == {"located": 80, "every": 80, "contrasts": 10}
    rows = [line.split(" | ") for line in bars_table(measured).splitlines()[2:5]]
    assert [row[-1].removesuffix(" |") for row in rows] == [
        str(first[name]) for name in ("located", "contrasts", "every")
    ]
    assert str(FirstPhrases(3, 0.5, 1.0)) == "0.50 / 1.00"


def test_one_model_scores_every_fold(data: Path, model: Path) -> None:
    asked = request(data, model)
    bench = Bench.open(asked)
    assert bench.scoring == (bench.model,)
    found = bench.retrieval(asked)
    assert list(found.by_pool) == ["all studies"]
    assert "text only, on the stated material" in retrieval_table(found)


def test_neither_one_model_nor_one_a_fold_is_refused(model: Path) -> None:
    one = JointModel.load(model)
    folds = np.array([0, 0, 1, 2])
    [(first, mine)] = parts_of_models([one], folds)
    assert (first, mine.all()) == (one, True)
    assert [mine.tolist() for _, mine in parts_of_models([one] * 3, folds)][1] == [False, False, True, False]
    with pytest.raises(InputError, match="2 models were given for 3 folds"):
        parts_of_models([one, one], folds)


def test_pool_holds_one_sample_a_caption_and_two_at_least(data: Path, model: Path) -> None:
    bench = Bench.open(request(data, model))
    said = bench.corpus.captions()
    assert len(said) == len(bench.corpus) == 80
    rows = np.arange(8)
    pool = draw_pool(said, rows, rivals=bench.rivals, seed=0)
    assert set(pool.rows) <= set(rows)
    assert pool.materials[0] == f"A sample of {TISSUES[0]}."
    with pytest.raises(InputError, match="two different captions"):
        draw_pool(said, rows[:1], rivals=bench.rivals, seed=0)
    with pytest.raises(InputError, match="two different captions"):
        draw_pool([()] * 8, rows, rivals=bench.rivals, seed=0)


def test_samples_of_one_model_are_embedded_once(data: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, one = Corpus.open(data), JointModel.load(model)
    whole = corpus.embed(one)
    monkeypatch.setattr(JointModel, "embed_expression", lambda *_: pytest.fail("embedded again"))
    assert corpus.embed(one, wanted=np.ones(len(corpus), dtype=bool)) is whole


def test_commands_print_tables_and_write_the_page(
    data: Path, model: Path, folds: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", str(data), "--model", str(model), "--draws", "3", "--baseline", f"training-free={model}"]
    for fold in folds:
        common += ["--fold-models", str(fold)]
    for command, word in (("phrases", "Wordings"), ("retrieval", "pool by pool")):
        app(["evaluate", command, *common], standalone_mode=False)
        shown = capsys.readouterr().out
        assert word in shown
        assert "training-free" in shown
    app(["evaluate", "retrieval", *common, "--json"], standalone_mode=False)
    assert "by_scorer" in json.loads(capsys.readouterr().out)
    out = tmp_path / "page.md"
    out.write_text("# Old\n\n<!-- by hand -->\n\nkept\n")
    app(["evaluate", "all", *common, "--without-model", str(model), "--out", str(out)], standalone_mode=False)
    assert out.read_text().startswith("# Evaluation of the model\n")
    assert out.read_text().endswith("<!-- by hand -->\n\nkept\n")
    assert json.loads(out.with_suffix(".json").read_text())["zero_shot"]["human_pbmc3k_10x"]["headline"]["n"] == 18
