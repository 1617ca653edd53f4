"""Moving a release to Milvus: whole, resumed, and never below the bar."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from milvus_collections import lite
from vector_cases import study_vectors

import indexer.move_to_milvus as module
from atlas.errors import ArtifactError, UpstreamError
from atlas.release import Home, Release
from atlas.vectors.engines import STORED_FIELDS
from atlas.vectors.index import ExactIndex
from atlas.vectors.milvus_index import PARAMETER_FILE, engine_folder, open_milvus
from atlas.vectors.store import VectorStore, write_vectors
from indexer.move_to_milvus import MovePlan, collection_name, drop_release, move_release

N, DIM = 700, 160
PLAN = MovePlan(flat_below=0, n_queries=60, exact_below=50, batch_rows=100, nlist=128)


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    """A release as far as a move reads it."""
    write_vectors(tmp_path / "vectors.npy", study_vectors(N, DIM))
    fields = {name: [f"{name} {i % 3}" if i % 5 else None for i in range(N)] for name in STORED_FIELDS}
    pq.write_table(pa.table(fields), tmp_path / "samples.parquet")
    pq.write_table(pa.table({"cluster": np.arange(N) // 50}), tmp_path / "landscape.parquet")
    toy = SimpleNamespace(
        name="toy-1.0",
        manifest=SimpleNamespace(content_key="0123456789abcdef" * 4),
        checked=lambda name: tmp_path / name,
        table=lambda name, columns: pq.read_table(tmp_path / name, columns=columns),
    )
    yield cast("Release", toy)
    drop_release(Home(tmp_path / "home"), toy.name, lite())


def home(tmp_path: Path) -> Home:
    (tmp_path / "home").mkdir(exist_ok=True)
    return Home(tmp_path / "home")


def opened(tmp_path: Path, release: Release, store: VectorStore) -> Any:
    folder = engine_folder(tmp_path / "home", release.name)
    key = release.manifest.content_key
    columns = module.release_columns(release)
    return open_milvus(folder, store, lite(), release=release.name, content_key=key, columns=columns)


def test_a_moved_release_is_found_with_its_recall_and_its_columns(tmp_path: Path, release: Release) -> None:
    phrases = study_vectors(40, DIM, seed=5)
    moved = move_release(home(tmp_path), release, lite(), phrases=phrases, plan=PLAN)
    assert (moved.kind, moved.n, moved.dim, moved.width) == ("IVF_SQ8", N, DIM, 64)
    assert moved.collection == "atlas_toy_1_0_0123456789ab"
    assert moved.n_queries == {"rows": 30, "phrases": 30}
    assert PLAN.reached(moved.recall)
    with VectorStore.open(tmp_path / "vectors.npy") as store:
        index = opened(tmp_path, release, store)
        assert index.parameters == moved
        queries = store.rows(np.array([0, 333]))
        allowed = np.arange(N) // 50 % 2 == 0
        found = index.search(queries, 5, allowed=allowed)
        assert found.rows.tolist() == ExactIndex(store).search(queries, 5, allowed=allowed).rows.tolist()
    row = lite().client.query(moved.collection, filter="row == 333", output_fields=["cluster", "tissue", "vector"])[0]
    assert (row["cluster"], len(row["vector"])) == (6, 64)
    assert row["tissue"] == module.release_columns(release)["tissue"][333]


def test_a_small_atlas_keeps_all_dimensions(tmp_path: Path, release: Release) -> None:
    moved = move_release(home(tmp_path), release, lite(), plan=MovePlan(n_queries=20))
    assert (moved.kind, moved.width, moved.nlist) == ("FLAT", DIM, 0)
    assert moved.recall == {"rows@10": 1.0, "rows@100": 1.0, "rows@1000": 1.0}


def test_a_killed_move_goes_on_where_it_stopped(
    tmp_path: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, upsert, insert, sent = lite().client, lite().client.upsert, lite().client.insert, []

    def dying(name: str, rows: list[dict[str, Any]]) -> None:
        sent.append(rows[0]["row"])
        if len(sent) == 4:
            insert(name, rows[:30])  # the batch was half written
            raise KeyboardInterrupt
        insert(name, rows)

    monkeypatch.setattr(client, "insert", dying)
    with pytest.raises(KeyboardInterrupt):
        move_release(home(tmp_path), release, lite(), plan=PLAN)
    assert not (engine_folder(tmp_path / "home", release.name) / PARAMETER_FILE).exists()
    sent.clear()
    monkeypatch.setattr(client, "upsert", lambda name, rows: (sent.append(rows[0]["row"]), upsert(name, rows)))
    move_release(home(tmp_path), release, lite(), plan=PLAN)
    assert sent == [300, 400, 500, 600]
    assert lite().count(collection_name(release)) == N
    sent.clear()
    move_release(home(tmp_path), release, lite(), plan=PLAN)  # a release that is there is measured again, not sent
    assert sent == []


def test_a_collection_of_unknown_making_is_made_anew(tmp_path: Path, release: Release) -> None:
    move_release(home(tmp_path), release, lite(), plan=MovePlan(n_queries=20))
    (engine_folder(tmp_path / "home", release.name) / "collection.json").write_text("{")
    assert move_release(home(tmp_path), release, lite(), plan=PLAN).width == 64


def test_a_collection_below_the_bar_is_not_searched(
    tmp_path: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(module, "_SHORTLISTS", (100,))
    monkeypatch.setattr(
        module.MilvusIndex, "projected", lambda self, vectors: rng.normal(size=vectors.shape).astype(np.float32)
    )
    with pytest.raises(ArtifactError, match="does not reach recall") as caught:
        move_release(home(tmp_path), release, lite(), plan=MovePlan(n_queries=20))
    assert caught.value.details["recall"]
    assert not (engine_folder(tmp_path / "home", release.name) / PARAMETER_FILE).exists()


def test_dropping_leaves_nothing(tmp_path: Path, release: Release) -> None:
    move_release(home(tmp_path), release, lite(), plan=MovePlan(n_queries=20))
    assert drop_release(home(tmp_path), release.name, lite())
    assert not lite().has(collection_name(release))
    assert not engine_folder(tmp_path / "home", release.name).exists()
    assert not drop_release(home(tmp_path), release.name, lite())


def test_rows_that_milvus_lost_are_an_error(tmp_path: Path, release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    insert = lite().client.insert
    monkeypatch.setattr(lite().client, "insert", lambda name, rows: insert(name, rows[:-1]))
    with pytest.raises(ArtifactError, match=r"holds 693 rows .* after 700 were sent"):
        move_release(home(tmp_path), release, lite(), plan=PLAN)


def test_a_refused_row_names_milvus(tmp_path: Path, release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    insert = lite().client.insert
    monkeypatch.setattr(lite().client, "insert", lambda name, rows: insert("nowhere", rows))
    with pytest.raises(UpstreamError, match="could not store rows"):
        move_release(home(tmp_path), release, lite(), plan=PLAN)
