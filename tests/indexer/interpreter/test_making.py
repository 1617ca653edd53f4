"""From labelled files to an interpreter's folder: what is learned, what is refused, what stays as it was."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cell_files import cells, write_cells
from local_server import Reply, serve
from tiny_encoder import write_tiny_encoder
from tiny_reader import ENCODER_INSTRUCTION, INSTRUCTION, tiny_preset, toy_file, write_tiny_llama
from toy_model import ToyTextTower, gene_word, write_toy_model

from atlas.errors import ArtifactError, ConfigError, InputError, NotFoundError, UpstreamError
from atlas.expression.units import Unit
from atlas.interpreter.cell_genes import GeneReader
from atlas.interpreter.config import GeneTokens
from atlas.interpreter.interpreter import Interpreter, domain_model
from atlas.model.checkpoint import read_genes
from atlas.model.text_tower import TEXT_TOWERS
from atlas.settings import Settings
from indexer.interpreter import evaluate
from indexer.interpreter.gene_vectors import make_gene_vectors, read_texts
from indexer.interpreter.labelled_cells import read_labelled
from indexer.interpreter.making import Ingredients, learn, train_interpreter
from indexer.interpreter.presets import Preset, VectorsSpec, load_preset, preset_names

LABELS = ["heart", "liver", "blood"] * 8


def gene_texts(folder: Path, *, mouse: bool = False) -> Path:
    path = folder / "genes.tsv"
    rows = [f"ENSG{i + 1:011d}\tG{i}\thuman\t{gene_word(i)}" for i in range(64)]
    rows += [f"ENSMUSG{i + 1:011d}\tMus{i}\tmouse\t{gene_word(i)} too" for i in range(64)] if mouse else []
    path.write_text("\n".join(["ensembl_id\tsymbol\torganism\ttext", *rows]) + "\n", encoding="utf-8")
    return path


def preset_of(folder: Path, *, mouse: bool = False, kind: str = "llama", **training: object) -> Preset:
    reader = write_tiny_llama(folder / "reader") if kind == "llama" else write_tiny_encoder(folder / "reader")
    told = {"epochs": 25, "batch": 8, "learning_rate": 0.02, "gene_dropout": 0.0, **training}
    vectors = {"kind": "descriptions", "texts": str(gene_texts(folder, mouse=mouse))}
    return tiny_preset(reader, vectors=vectors, training=told)


def accuracy(made: Interpreter, labels: list[str], **options: object) -> float:
    found = made.predict(cells(labels, seed=9, **options))  # type: ignore[arg-type]
    return float(np.mean([one == label for one, label in zip(found.best, labels, strict=True)]))


def test_new_cells_get_their_label(tmp_path: Path) -> None:
    made, read = train_interpreter([toy_file(tmp_path, LABELS)], tmp_path / "made", preset=preset_of(tmp_path))
    assert accuracy(made, LABELS) > 0.8
    assert (made.config.organisms, made.labels) == (("human",), ("blood", "heart", "liver"))
    told = json.loads((tmp_path / "made" / "training.json").read_text(encoding="utf-8"))
    assert told["n_cells"] == len(read) == 24
    assert told["labels"] == {"blood": 8, "heart": 8, "liver": 8}
    assert len(told["losses"]) == 25


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_domain_token_and_opinion_are_kept_with_what_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    joint = write_toy_model(tmp_path / "joint")
    preset = preset_of(tmp_path, kind=kind, epochs=3, answers=0.5)
    told = {
        **preset.model_dump(),
        "domain": {"source": str(joint), "token": True, "opinion": True},
        "network": {"hidden": 8, "instruction": INSTRUCTION if kind == "llama" else ENCODER_INSTRUCTION},
    }
    preset = type(preset).model_validate(told)
    file = toy_file(tmp_path, LABELS)
    ready = Ingredients.load(preset, work=tmp_path / "parts")
    read = read_labelled([file], ready.genes, label="cell_type")
    trained = learn(ready, read).network
    assert trained.opinion is not None
    assert float(trained.opinion.scale) > 0.0
    made, _ = train_interpreter([file], tmp_path / "made", preset=preset)
    assert made.config.domain is not None
    assert (made.config.domain.token, made.config.domain.opinion) == (True, True)
    from atlas.interpreter.interpreter import batch_of

    with torch.no_grad():
        expected = trained(batch_of(read.cells, np.arange(len(read))))[0].softmax(dim=1)
    assert np.allclose(expected.numpy(), made.interpret(read.cells).probabilities, atol=1e-5)
    # a text that was never learned is scored by the opinion, too
    shares = made.ask(read.cells, ["heart", "brain"])
    quiet = Interpreter.load(tmp_path / "made")
    assert quiet.network.opinion is not None
    quiet.network.opinion.scale.zero_()
    hearts = read.codes == read.labels.index("heart")
    assert shares[hearts, 0].mean() > quiet.ask(read.cells, ["heart", "brain"])[hearts, 0].mean()


def test_joint_model_that_moved_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    joint = write_toy_model(tmp_path / "joint")
    told = {**preset_of(tmp_path, epochs=1).model_dump(), "domain": {"source": str(joint), "token": True}}
    file = toy_file(tmp_path, LABELS)
    made, _ = train_interpreter([file], tmp_path / "made", preset=Preset.model_validate(told))
    joint.rename(tmp_path / "moved")
    with pytest.raises(ArtifactError, match="--domain; a service: GEO_ATLAS_INTERPRETER_DOMAIN"):
        Interpreter.load(tmp_path / "made")
    again = Interpreter.load(tmp_path / "made", domain=str(tmp_path / "moved"))
    assert np.array_equal(again.predict(file).probabilities, made.predict(file).probabilities)
    without, _ = train_interpreter([file], tmp_path / "without", preset=preset_of(tmp_path, epochs=1))
    assert without.config.domain is None
    with pytest.raises(ConfigError, match="without a joint model"):
        Interpreter.load(tmp_path / "without", domain=str(tmp_path / "moved"))


def test_layer_and_unit_are_those_that_are_asked_for(tmp_path: Path) -> None:
    data = cells(LABELS)
    data.layers["mine"] = data.X.copy()
    data.X = data.X.toarray() * -1.0  # scaled, as far as anyone can see
    file = write_cells(tmp_path / "scaled.h5ad", data)
    preset = preset_of(tmp_path, epochs=1)
    with pytest.raises(InputError, match="--layer"):
        train_interpreter([file], tmp_path / "made", preset=preset)
    made, read = train_interpreter([file], tmp_path / "made", preset=preset, layer="mine", unit=Unit.COUNTS)
    plain = Ingredients.load(preset, work=tmp_path / "parts")
    expected = read_labelled([toy_file(tmp_path, LABELS)], plain.genes, label="cell_type")
    assert np.array_equal(read.cells.genes, expected.cells.genes)
    one = evaluate.read_set(file, plain, label="cell_type", layer="mine", unit=Unit.COUNTS, min_cells=2)
    other = evaluate.read_set(toy_file(tmp_path, LABELS), plain, label="cell_type", min_cells=2)
    assert np.array_equal(one.features[evaluate.LOG], other.features[evaluate.LOG])


def test_file_given_twice_is_refused(tmp_path: Path) -> None:
    file = toy_file(tmp_path, LABELS)
    with pytest.raises(InputError, match="is given twice"):
        train_interpreter([file, tmp_path / "." / file.name], tmp_path / "made", preset=preset_of(tmp_path, epochs=1))


def test_file_of_a_name_that_no_disk_takes_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist or is no file"):
        train_interpreter([tmp_path / f"{'x' * 300}.h5ad"], tmp_path / "made", preset=preset_of(tmp_path, epochs=1))


def test_file_without_any_readable_cell_is_told_as_that(tmp_path: Path) -> None:
    data = cells(LABELS)
    data.X = data.X.toarray() * 0.0
    file = write_cells(tmp_path / "silent.h5ad", data)
    with pytest.raises(InputError, match=f"Of none of the {len(LABELS)} cells any gene can be read"):
        train_interpreter([file], tmp_path / "made", preset=preset_of(tmp_path, epochs=1))


def test_two_species_are_learned_by_one_model_and_read_by_what_is_said_of_their_genes(tmp_path: Path) -> None:
    human = toy_file(tmp_path, LABELS, name="human.h5ad")
    mouse = toy_file(tmp_path, LABELS, name="mouse.h5ad", mouse=True, seed=1)
    made, read = train_interpreter([human, mouse], tmp_path / "made", preset=preset_of(tmp_path, mouse=True))
    assert made.config.organisms == ("human", "mouse")
    assert sorted(np.unique(read.organisms).tolist()) == ["human", "mouse"]
    assert accuracy(made, LABELS) > 0.8
    assert accuracy(made, LABELS, mouse=True) > 0.8


def test_cells_of_a_species_never_seen_are_read_by_what_is_said_of_their_genes(tmp_path: Path) -> None:
    human = toy_file(tmp_path, LABELS, name="human.h5ad")
    made, _ = train_interpreter([human], tmp_path / "made", preset=preset_of(tmp_path, mouse=True))
    assert accuracy(made, LABELS, mouse=True) > 0.6


def test_low_rank_changes_are_kept_and_the_reader_on_disk_is_not_touched(tmp_path: Path) -> None:
    preset = preset_of(tmp_path, epochs=2)
    adapter = {"rank": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]}
    preset = preset.model_copy(update={"reader": type(preset.reader)(source=preset.reader.source, adapter=adapter)})  # type: ignore[arg-type]
    before = (tmp_path / "reader" / "model.safetensors").read_bytes()
    file = toy_file(tmp_path, LABELS)
    ready = Ingredients.load(preset, work=tmp_path / "parts")
    frozen = {name: one.clone() for name, one in ready.reader.state_dict().items()}
    read = read_labelled([file], ready.genes, label="cell_type")
    trained = learn(ready, read)
    assert all(torch.equal(one, frozen[name]) for name, one in ready.reader.state_dict().items())
    made, _ = train_interpreter([file], tmp_path / "made", preset=preset)
    assert (tmp_path / "reader" / "model.safetensors").read_bytes() == before
    assert made.config.reader.adapter is not None
    assert len(made.config.reader.adapter.modules) == 4
    from atlas.interpreter.interpreter import batch_of

    with torch.no_grad():
        plain = trained.network(batch_of(read.cells, np.arange(3)))[1]
    merged = made.interpret(read.cells.take(np.arange(3))).states
    assert np.allclose(plain.numpy(), merged, atol=1e-4)
    Interpreter(
        ready.parts(trained.network, labels=read.labels, organisms=("human",)), reader=ready.reader, domain=None
    )
    assert all(
        torch.equal(one, frozen[name]) for name, one in ready.reader.state_dict().items()
    )  # nor what others read with


def test_encoder_with_low_rank_changes_learns_no_answers(tmp_path: Path) -> None:
    preset = preset_of(tmp_path, kind="bert", answers=0.5)
    adapter = {"rank": 2, "alpha": 4, "targets": ["query"]}
    preset = preset.model_copy(update={"reader": type(preset.reader)(source=preset.reader.source, adapter=adapter)})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="training.answers=0, or no reader.adapter"):
        Ingredients.load(preset, work=tmp_path / "parts")


def test_descriptions_of_ones_own_are_read_by_the_genes_of_the_joint_model(tmp_path: Path) -> None:
    domain = domain_model(None)
    first = read_genes(domain.folder / "genes.parquet").slice(1, 1).to_pylist()[0]
    texts = tmp_path / "own.tsv"
    row = [first["ensembl_id"], first["symbol"], first["organism"], "pumps blood"]
    texts.write_text("ensembl_id\tsymbol\torganism\ttext\n" + "\t".join(row) + "\n", encoding="utf-8")
    found = make_gene_vectors(VectorsSpec(texts=str(texts)), work=tmp_path / "parts", domain=domain)
    assert np.flatnonzero(found.has_vector).tolist() == [1]
    GeneReader(found.gene_map, found.has_vector, GeneTokens(), domain, token=True)  # of the same genes
    texts.write_text("ensembl_id\tsymbol\torganism\ttext\nXYZ\tA\thuman\tpumps\n", encoding="utf-8")
    with pytest.raises(InputError, match="describes none of the joint model's .* ids begin 'XYZ'"):
        make_gene_vectors(VectorsSpec(texts=str(texts)), work=tmp_path / "parts", domain=domain)


def test_label_of_one_cell_is_left_out_and_told(tmp_path: Path) -> None:
    _, read = train_interpreter(
        [toy_file(tmp_path, [*LABELS, "skin"])], tmp_path / "made", preset=preset_of(tmp_path, epochs=1)
    )
    assert read.left_out == {"skin": 1}
    assert any("fewer than 2 cells: skin (1)" in note for note in read.notes)
    with pytest.raises(InputError, match="Two labels with at least 2 readable cells"):
        train_interpreter([toy_file(tmp_path, ["heart"] * 5)], tmp_path / "other", preset=preset_of(tmp_path, epochs=1))


def test_labels_that_differ_in_spelling_alone_are_told(tmp_path: Path) -> None:
    labels = ["T_cell", "T cell", "CD4+", "CD4-"] * 3
    _, read = train_interpreter(
        [toy_file(tmp_path, labels)], tmp_path / "made", preset=preset_of(tmp_path, epochs=1, answers=0.5)
    )
    assert len(set(read.texts)) == len(read.labels) == 4  # with answers they would have to be
    told = [note for note in read.notes if "spelling" in note]
    assert len(told) == 1
    assert "T cell, T_cell." in told[0]


def test_column_that_is_not_there_and_genes_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    file = toy_file(tmp_path, LABELS)
    with pytest.raises(NotFoundError, match="has no column 'kind'"):
        train_interpreter([file], tmp_path / "made", preset=preset_of(tmp_path), label="kind")
    assert not (tmp_path / "made").exists()  # refused before anything was loaded or written
    data = cells(LABELS)
    data.var_names = [f"nothing{i}" for i in range(64)]
    with pytest.raises(InputError, match="None of the 64 gene names"):
        train_interpreter([write_cells(tmp_path / "odd.h5ad", data)], tmp_path / "made", preset=preset_of(tmp_path))


def test_more_genes_than_positions_are_refused_before_anything_is_learned(tmp_path: Path) -> None:
    preset = preset_of(tmp_path, kind="bert")
    preset = preset.model_copy(update={"genes": preset.genes.model_copy(update={"top_k": 64})})
    with pytest.raises(ConfigError, match="genes.top_k of at most 2"):
        train_interpreter([toy_file(tmp_path, LABELS)], tmp_path / "made", preset=preset)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_one(name: str) -> None:
    assert load_preset(name).name == name


def test_paper_presets_learn_three_groups_and_ours_more() -> None:
    paper, hybrid, ours = (load_preset(name) for name in ("scinterpreter-paper", "screader-paper", "starter"))
    assert (paper.domain, paper.genes.strength, paper.genes.order) == (None, "none", "expression")
    assert hybrid.domain is not None
    assert ours.domain is not None
    with pytest.raises(ConfigError, match="there is no such field"):
        load_preset("starter", changes=("genes.topk=3",))
    with pytest.raises(ConfigError, match="above_usual needs a joint model"):
        load_preset("scinterpreter-paper", changes=("genes.order=above_usual",))


def test_descriptions_may_come_from_an_endpoint(tmp_path: Path) -> None:
    rows = [{"object": "embedding", "index": i, "embedding": [1.0, float(i), 0.5]} for i in range(8)]
    body = json.dumps(
        {"object": "list", "data": rows[::-1], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    )
    spec = VectorsSpec(kind="endpoint", texts=str(gene_texts(tmp_path)), encoder="text-embedding-ada-002")
    with serve({"/v1/embeddings": [Reply(body)]}) as server:
        settings = Settings(llm_base_url=f"{server.url}/v1")
        found = make_gene_vectors(spec, work=tmp_path / "parts", settings=settings)
        assert json.loads(server.asked[0][1])["model"] == "text-embedding-ada-002"
        n_asked = len(server.asked)
        make_gene_vectors(spec, work=tmp_path / "parts", settings=settings)
        assert len(server.asked) == n_asked  # what is done is kept
    assert found.record.encoder == "endpoint text-embedding-ada-002"
    expected = np.array([1.0, 3.0, 0.5]) / np.linalg.norm([1.0, 3.0, 0.5])
    assert np.allclose(found.table()[3], expected, atol=0.01)
    with pytest.raises(ConfigError, match="GEO_ATLAS_LLM_BASE_URL"):
        make_gene_vectors(spec, work=tmp_path / "parts", settings=Settings())


@pytest.mark.parametrize("body", ["[]", '{"data": []}', '{"data": [{"index": 0, "embedding": "x"}]}'])
def test_endpoint_that_answers_with_something_else_is_named(tmp_path: Path, body: str) -> None:
    spec = VectorsSpec(kind="endpoint", texts=str(gene_texts(tmp_path)), encoder="m")
    with serve({"/v1/embeddings": [Reply(body)]}) as server, pytest.raises(UpstreamError, match="embeddings endpoint"):
        make_gene_vectors(spec, work=tmp_path / "parts", settings=Settings(llm_base_url=f"{server.url}/v1"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ensembl_id\tsymbol\ttext\nE1\tA\tx\n", "no column organism"),
        ("ensembl_id\tsymbol\torganism\ttext\nE1\tA\thuman\tx\nE1\tA\thuman\tx\n", "row 3: E1 stands there twice"),
        (
            "ensembl_id\tsymbol\torganism\ttext\nE1\tA\trat\tx\n",
            "row 2: the organism of E1 is 'rat'; expected human or mouse",
        ),
        ("ensembl_id\tsymbol\torganism\ttext\n\tA\thuman\tx\n", "row 2: the gene has no ensembl_id"),
        ("ensembl_id\tsymbol\torganism\ttext\nE1\tA\thuman\t\n", "of 1 rows none has a text"),
    ],
)
def test_table_of_descriptions_is_checked(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "genes.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_texts(path)


def test_damaged_table_of_descriptions_is_named(tmp_path: Path) -> None:
    path = tmp_path / "genes.tsv.gz"
    whole = gzip.compress(b"ensembl_id\tsymbol\torganism\ttext\nE1\tA\thuman\tx\n" * 50)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as a table"):
        read_texts(path)


def test_random_vectors_repeat_by_seed_and_symbols_are_read_as_symbols(tmp_path: Path) -> None:
    texts = str(gene_texts(tmp_path))
    one, other = (
        make_gene_vectors(VectorsSpec(kind="random", texts=texts), work=tmp_path, seed=s).table() for s in (0, 1)
    )
    assert not np.allclose(one, other)
    symbols = make_gene_vectors(VectorsSpec(kind="symbols", texts=texts), work=tmp_path / "parts")
    described = make_gene_vectors(VectorsSpec(kind="descriptions", texts=texts), work=tmp_path / "parts")
    assert symbols.record.kind == "symbols"
    assert not np.allclose(symbols.table(), described.table())
    assert np.allclose(described.table()[0], described.table()[8])  # two genes of the heart


def test_packaged_descriptions_are_made_of_the_tables_of_the_packaged_genes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.interpreter.gene_vectors import GeneVectors
    from indexer.interpreter import gene_vectors
    from indexer.sources.gene_texts import GeneText

    monkeypatch.setattr(gene_vectors, "read_gene_texts", lambda _: (GeneText("ENSG1", "A", (), "human", "", "a gene"),))
    with pytest.raises(InputError, match="name other genes"):
        gene_vectors.package_gene_vectors(tmp_path, tmp_path / "out", work=tmp_path / "parts")
    genes = GeneVectors.packaged().genes.slice(0, 3)
    texts = tuple(
        GeneText(one, "A", (), "human", "", text)
        for one, text in zip(genes["ensembl_id"].to_pylist(), ("x", "y", "X"), strict=True)
    )
    monkeypatch.setattr(gene_vectors, "read_gene_texts", lambda _: texts)
    monkeypatch.setattr(gene_vectors, "read_genes", lambda _: genes)
    made = gene_vectors.package_gene_vectors(tmp_path, tmp_path / "out", work=tmp_path / "parts")
    assert made.rows.tolist() == [0, 1, 0]
    assert (tmp_path / "out" / "gene_vectors.safetensors").is_file()


def test_finished_interpreter_is_not_replaced_unless_asked_for(tmp_path: Path) -> None:
    file, preset = toy_file(tmp_path, LABELS), preset_of(tmp_path, epochs=1)
    train_interpreter([file], tmp_path / "made", preset=preset)
    with pytest.raises(InputError, match="holds an interpreter already"):
        train_interpreter([file], tmp_path / "made", preset=preset)
    train_interpreter([file], tmp_path / "made", preset=preset, force=True)
    with pytest.raises(InputError, match="is a file"):
        train_interpreter([file], file, preset=preset)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("nonsense", "for instance genes.top_k=128"),
        ("genes=5", "genes: this is a section of several fields"),
        ("domain=null", "cannot be used: the order above_usual needs a joint model"),
        ("reader.quantised=9bit", "reader.quantised"),
    ],
)
def test_change_that_makes_no_preset_is_told_in_words(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_preset("starter", changes=(change,))
