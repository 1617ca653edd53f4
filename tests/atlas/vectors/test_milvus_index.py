"""What of a filter reaches Milvus, what is checked here, and how a collection that is not the release's is refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_collections import lite, moved_index
from vector_cases import stored, study_vectors

import atlas.vectors.milvus_index as milvus_module
from atlas.errors import ArtifactError, ConfigError, UpstreamError
from atlas.manifest import write_json
from atlas.settings import Settings
from atlas.vectors.engines import connect_milvus
from atlas.vectors.index import ExactIndex
from atlas.vectors.milvus_connection import MilvusConnection
from atlas.vectors.milvus_index import PARAMETER_FILE, MilvusIndex, open_milvus
from atlas.vectors.store import VectorStore

N = 600
CLUSTER = np.arange(N, dtype=np.int32) // 20


class Asked:
    """Passes questions on and remembers them."""

    def __init__(self, connection: MilvusConnection, monkeypatch: pytest.MonkeyPatch) -> None:
        self.questions: list[dict[str, Any]] = []
        search = connection.search

        def remembered(collection: str, vectors: np.ndarray, **question: Any) -> list[np.ndarray]:
            self.questions.append(question)
            return search(collection, vectors, **question)

        monkeypatch.setattr(connection, "search", remembered)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> MilvusIndex:
    store = stored(tmp_path_factory.mktemp("vectors"), study_vectors(N, 16))
    columns = {"cluster": CLUSTER, "organism": np.arange(N, dtype=np.int32) % 2}
    index = moved_index(store, columns=columns)
    index.parameters = replace(index.parameters, shortlist=120)
    return index


@pytest.fixture
def asked(index: MilvusIndex, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(index.connection, monkeypatch)


def check(index: MilvusIndex, allowed: np.ndarray, *, k: int = 10) -> None:
    """The answer is the exact one."""
    queries = index.store.rows(np.array([3, 299, 590]))
    found = index.search(queries, k, allowed=allowed)
    exact = ExactIndex(index.store).search(queries, k, allowed=allowed)
    assert found.rows.tolist() == exact.rows.tolist()
    assert found.scores.tobytes() == exact.scores.tobytes()


def test_a_mask_that_leaves_few_rows_is_not_asked_of_milvus(index: MilvusIndex, asked: Asked) -> None:
    check(index, np.arange(N) < 29)
    assert asked.questions == []


def test_rows_fewer_than_the_measured_depth_are_left_out_here(index: MilvusIndex, asked: Asked) -> None:
    check(index, np.arange(N) >= 90)
    assert [question["where"] for question in asked.questions] == [""]


def test_more_rows_left_out_are_named_to_milvus(index: MilvusIndex, asked: Asked) -> None:
    check(index, np.arange(N) >= 95)
    (question,) = asked.questions
    assert question["where"] == f"row not in [{','.join(map(str, range(95)))}]"


def test_a_filter_on_stored_columns_is_carried_out_by_milvus_alone(
    index: MilvusIndex, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_module, "_MOST_LISTED", 50)
    check(index, np.isin(CLUSTER, [2, 5, 14, 15, 16]) & (np.arange(N) % 2 == 1))
    (question,) = asked.questions
    assert question["where"] == "cluster in [2,5,14,15,16] and organism in [1]"
    assert question["limit"] <= 1.2 * 50 + 16 + 1


def test_what_the_box_holds_beside_the_mask_is_checked_here(
    index: MilvusIndex, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_module, "_MOST_LISTED", 50)
    check(index, np.random.default_rng(0).random(N) < 0.5)
    assert asked.questions[0]["where"] == ""


def test_rows_far_from_the_question_are_found_by_asking_deeper(
    index: MilvusIndex, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_module, "_MOST_LISTED", 50)
    monkeypatch.setattr(index, "parameters", replace(index.parameters, shortlist=20))
    scores = index.store.scores(index.store.rows(np.array([3]))[0])
    check(index, scores < np.median(scores))
    limits = [question["limit"] for question in asked.questions]
    assert len(limits) > 1
    assert limits == sorted(limits)


def test_the_exact_twin_answers_what_milvus_may_not_be_asked(
    index: MilvusIndex, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_module, "_MOST_LISTED", 50)
    monkeypatch.setattr(milvus_module, "MOST_HITS", 30)
    check(index, np.random.default_rng(0).random(N) < 0.5)
    assert asked.questions == []


def _open(
    index: MilvusIndex,
    folder: Path,
    *,
    key: str = "0",
    store: VectorStore | None = None,
    connection: MilvusConnection | None = None,
) -> MilvusIndex:
    write_json(folder / PARAMETER_FILE, asdict(index.parameters))
    store, connection = store or index.store, connection or index.connection
    return open_milvus(folder, store, connection, release="toy", content_key=key, columns={"cluster": CLUSTER})


def test_a_moved_release_opens_and_answers(index: MilvusIndex, tmp_path: Path) -> None:
    check(_open(index, tmp_path), np.arange(N) % 3 > 0)


def test_a_release_that_was_not_moved_is_refused_with_the_command(index: MilvusIndex, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="geo-atlas release index toy --engine milvus") as caught:
        open_milvus(tmp_path, index.store, index.connection, release="toy", content_key="0", columns={})
    assert caught.value.kind == "missing"


def test_another_release_of_the_name_is_refused(index: MilvusIndex, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="another release of the name 'toy'") as caught:
        _open(index, tmp_path, key="1")
    assert caught.value.kind == "incompatible"
    other = stored(tmp_path, study_vectors(N - 1, 16))
    with pytest.raises(ArtifactError, match="another release"):
        _open(index, tmp_path, store=other)


def test_a_collection_that_is_gone_or_lacks_rows_is_refused(tmp_path: Path) -> None:
    index = moved_index(stored(tmp_path, study_vectors(50, 8)))
    lite().client.delete(index.parameters.collection, ids=[7])
    with pytest.raises(ArtifactError, match="holds 49 rows") as caught:
        _open(index, tmp_path)
    assert caught.value.kind == "corrupt"
    lite().client.drop_collection(index.parameters.collection)
    with pytest.raises(ArtifactError, match="has no collection") as caught:
        _open(index, tmp_path)
    assert caught.value.kind == "missing"
    with pytest.raises(UpstreamError, match="could not search"):
        index.search(index.store.rows(np.array([0])), 3)


def test_a_collection_that_milvus_let_go_of_is_loaded_again(tmp_path: Path) -> None:
    index = moved_index(stored(tmp_path, study_vectors(50, 8)))
    lite().client.release_collection(index.parameters.collection)
    assert _open(index, tmp_path).search(index.store.rows(np.array([5])), 1).rows.tolist() == [[5]]


def test_a_milvus_that_does_not_answer_is_an_upstream_error() -> None:
    with pytest.raises(UpstreamError, match=r"Milvus at http://127\.0\.0\.1:9 could not be reached"):
        connect_milvus(Settings(milvus_uri="http://127.0.0.1:9", milvus_timeout_s=0.5))
    with pytest.raises(ConfigError, match="GEO_ATLAS_MILVUS_URI"):
        connect_milvus(Settings())


@pytest.mark.parametrize(("text", "kind"), [("{", "corrupt"), ('{"rows": 1}', "corrupt")])
def test_parameters_that_cannot_be_read_are_refused(index: MilvusIndex, tmp_path: Path, text: str, kind: str) -> None:
    (tmp_path / PARAMETER_FILE).write_text(text)
    with pytest.raises(ArtifactError, match="not a list of index parameters") as caught:
        open_milvus(tmp_path, index.store, index.connection, release="toy", content_key="0", columns={})
    assert caught.value.kind == kind
    write_json(tmp_path / PARAMETER_FILE, asdict(replace(index.parameters, schema=99)))
    with pytest.raises(ArtifactError, match="schema 99"):
        open_milvus(tmp_path, index.store, index.connection, release="toy", content_key="0", columns={})
