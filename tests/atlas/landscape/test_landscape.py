"""Graph, clusters, map and keywords against plain loops; tiny atlases; the same bytes twice."""

from __future__ import annotations

from pathlib import Path

import igraph
import numpy as np
import pytest
from vector_cases import stored, study_vectors

from atlas.errors import ArtifactError, ConfigError
from atlas.landscape.communities import CommunityParameters, find_communities, modularity, number_by_size
from atlas.landscape.keywords import cluster_means, match_keywords
from atlas.landscape.layout import LayoutParameters, lay_out, principal_plane
from atlas.landscape.neighbours import NeighbourGraph, build_graph, graph_recall
from atlas.vectors.faiss_index import open_index
from atlas.vectors.index import ExactIndex
from atlas.vectors.index_build import IndexPlan, build_index
from atlas.vectors.store import VectorStore


def separate_groups(sizes: tuple[int, ...], dim: int = 16, *, seed: int = 0) -> np.ndarray:
    """Unit rows in groups around orthogonal directions."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([np.eye(dim)[[i] * n] + 0.05 * rng.normal(size=(n, dim)) for i, n in enumerate(sizes)])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def graph_of(store: VectorStore, k: int = 15) -> NeighbourGraph:
    return build_graph(ExactIndex(store), store, k=k)


def test_graph_equals_sorting_the_full_matrix(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(120, 16))
    graph = graph_of(store)
    master = np.load(store.path).astype(np.float64)
    for row in range(120):
        cosines = master @ (master[row] / np.linalg.norm(master[row]))
        order = [int(i) for i in np.argsort(-cosines, kind="stable") if i != row][:15]
        assert graph.indices[row].tolist() == order
        assert np.allclose(graph.similarities[row], cosines[order], atol=1e-6)
    assert graph_recall(graph, store, n=50) == 1.0


def test_graph_of_many_equal_vectors_never_lists_a_row_itself(tmp_path: Path) -> None:
    store = stored(tmp_path, np.tile(study_vectors(1, 8), (40, 1)))
    graph = graph_of(store)
    assert graph.indices.shape == (40, 15)
    assert not (graph.indices == np.arange(40)[:, None]).any()
    assert all(len(set(row)) == 15 for row in graph.indices.tolist())


def test_recall_of_a_poor_graph_is_low(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(200, 16))
    graph = graph_of(store)
    shifted = (np.arange(200)[:, None] + np.arange(100, 115)) % 200
    cosines = np.take_along_axis(store.scores(store.rows(np.arange(200))), shifted, axis=1)
    order = np.argsort(-cosines, axis=1)
    poor = NeighbourGraph(
        np.take_along_axis(shifted, order, axis=1).astype(np.int32), np.take_along_axis(cosines, order, axis=1)
    )
    assert graph_recall(poor, store) < 0.5 < graph_recall(graph, store)


def test_graph_by_index_is_near_the_exact_one(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(1_500, 16))
    (tmp_path / "index").mkdir()
    build_index(store, tmp_path / "index", plan=IndexPlan(flat_below=0, n_queries=200, threads=1))
    graph = build_graph(open_index(tmp_path / "index", store), store)
    assert graph_recall(graph, store, n=300) > 0.98


def test_graph_file_is_the_same_twice_and_damage_is_seen(tmp_path: Path) -> None:
    graph = graph_of(stored(tmp_path, study_vectors(60, 8)))
    for name in ("a.npz", "b.npz"):
        graph.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert np.array_equal(NeighbourGraph.load(tmp_path / "a.npz").indices, graph.indices)
    with pytest.raises(ArtifactError, match="does not exist"):
        NeighbourGraph.load(tmp_path / "c.npz")
    (tmp_path / "b.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:-200])
    with pytest.raises(ArtifactError, match="no neighbour graph"):
        NeighbourGraph.load(tmp_path / "b.npz")
    own = graph.indices.copy()
    own[3, 0] = 3
    NeighbourGraph(own, graph.similarities).save(tmp_path / "d.npz")
    with pytest.raises(ArtifactError, match="out of order"):
        NeighbourGraph.load(tmp_path / "d.npz")


@pytest.mark.parametrize("engine", ["igraph", "leidenalg"])
def test_separate_groups_become_clusters_numbered_by_size(tmp_path: Path, engine: str) -> None:
    groups = separate_groups((30, 50, 40))
    store = stored(tmp_path, groups)
    parameters = CommunityParameters(engine=engine, resolution=0.5)  # type: ignore[arg-type]
    found = find_communities(graph_of(store), parameters)
    assert found.dtype == np.int32
    assert found.tolist() == [2] * 30 + [0] * 50 + [1] * 40
    assert find_communities(graph_of(store), parameters).tobytes() == found.tobytes()
    graph = graph_of(store)
    assert modularity(graph, found) > 0.6
    plain = igraph.Graph(n=graph.n, edges=graph.edges).modularity(found.tolist())
    assert modularity(graph, found) == pytest.approx(plain)


def test_higher_resolution_gives_more_clusters(tmp_path: Path) -> None:
    graph = graph_of(stored(tmp_path, study_vectors(600, 16)))
    few, many = (find_communities(graph, CommunityParameters(resolution=r)).max() for r in (0.2, 5.0))
    assert many > few


def test_clustering_leaves_pythons_random_numbers_alone(tmp_path: Path) -> None:
    import random

    graph = graph_of(stored(tmp_path, study_vectors(100, 8)))
    random.seed(5)
    before = random.random()
    random.seed(5)
    find_communities(graph)
    assert random.random() == before


def test_wrong_cluster_parameters_are_refused(tmp_path: Path) -> None:
    graph = graph_of(stored(tmp_path, study_vectors(10, 8)))
    with pytest.raises(ConfigError, match="louvain"):
        find_communities(graph, CommunityParameters(engine="louvain"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="resolution"):
        find_communities(graph, CommunityParameters(resolution=0.0))


def test_number_by_size_breaks_ties_by_smallest_row() -> None:
    assert number_by_size(np.array([7, 3, 3, 7, 9])).tolist() == [0, 1, 1, 0, 2]


@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_tiny_atlases_have_graph_clusters_and_map(n: int, tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(n, 6))
    graph = graph_of(store)
    assert graph.indices.shape == (n, min(15, n - 1))
    clusters = find_communities(graph)
    assert clusters.shape == (n,)
    layout = lay_out(store, graph)
    assert layout.xy.shape == (n, 2)
    assert layout.method == "pca"
    assert np.isfinite(layout.xy).all()


@pytest.mark.slow
def test_map_keeps_groups_together_and_repeats_bit_for_bit(tmp_path: Path) -> None:
    groups = separate_groups((40, 40, 40))
    store = stored(tmp_path, groups)
    graph = graph_of(store)
    first = lay_out(store, graph, LayoutParameters(n_epochs=100))
    assert (first.method, first.deterministic, first.xy.dtype) == ("umap", True, np.dtype(np.float32))
    assert lay_out(store, graph, LayoutParameters(n_epochs=100)).xy.tobytes() == first.xy.tobytes()
    assert lay_out(store, graph, LayoutParameters(n_epochs=100, seed=1)).xy.tobytes() != first.xy.tobytes()
    distances = np.linalg.norm(first.xy[:, None] - first.xy[None], axis=2)
    nearest = np.argsort(distances, axis=1)[:, 1]
    assert (nearest // 40 == np.arange(120) // 40).mean() > 0.95


@pytest.mark.slow
def test_large_map_says_that_it_is_not_deterministic(tmp_path: Path) -> None:
    store = stored(tmp_path, separate_groups((40, 40)))
    layout = lay_out(store, graph_of(store), LayoutParameters(n_epochs=20, parallel_above=50))
    assert not layout.deterministic
    assert np.isfinite(layout.xy).all()


def test_map_of_identical_samples_is_finite(tmp_path: Path) -> None:
    store = stored(tmp_path, np.tile(study_vectors(1, 8), (60, 1)))
    assert np.isfinite(lay_out(store, graph_of(store), LayoutParameters(n_epochs=20)).xy).all()


def test_principal_plane_equals_the_singular_vectors(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(200, 16))
    rows = np.load(store.path).astype(np.float64)
    centred = rows - rows.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    found = principal_plane(store)
    for column in range(2):
        assert abs(np.corrcoef(found[:, column], expected[:, column])[0, 1]) > 0.9999


def test_cluster_means_equal_plain_means(tmp_path: Path) -> None:
    store = stored(tmp_path, study_vectors(90, 8))
    clusters = np.random.default_rng(0).integers(0, 4, 90).astype(np.int32)
    master = np.load(store.path).astype(np.float64)
    for cluster, mean in enumerate(cluster_means(store, clusters)):
        plain = master[clusters == cluster].mean(axis=0)
        assert np.allclose(mean, plain / np.linalg.norm(plain), atol=1e-6)


def test_keywords_equal_a_plain_loop() -> None:
    means, vectors = study_vectors(3, 8, seed=1), study_vectors(60, 8, seed=2)
    libraries = [("A", "B", "C")[i % 3] for i in range(60)]
    terms = [f"term {i}" for i in range(60)]
    found = match_keywords(means, vectors, libraries=libraries, terms=terms, same_text=terms).to_pylist()
    expected = []
    for cluster in range(3):
        cosines = [float(means[cluster].astype(float) @ v.astype(float)) for v in vectors]
        mean, spread = np.mean(cosines), np.std(cosines)
        for library in "ABC":
            best = sorted((-c, i) for i, c in enumerate(cosines) if libraries[i] == library and c > 0)[:5]
            expected += [(cluster, library, terms[i], r, -c, (-c - mean) / spread) for r, (c, i) in enumerate(best, 1)]
    assert [(r["cluster"], r["library"], r["term"], r["rank"]) for r in found] == [row[:4] for row in expected]
    assert np.allclose([(r["score"], r["z"]) for r in found], [row[4:] for row in expected], atol=1e-5)


def test_terms_of_one_text_are_matched_once_and_negative_ones_never() -> None:
    means = np.array([[1.0, 0.0]], np.float32)
    vectors = np.array([[1, 0], [1, 0], [-1, 0], [1, 0]], np.float32)
    texts = ["Acne", "acne", "Liver", "Acne"]
    found = match_keywords(
        means, vectors, libraries=["up", "up", "up", "down"], terms=["a", "b", "c", "d"], same_text=texts
    )
    assert found["term"].to_pylist() == ["d", "a"]
    assert match_keywords(means, vectors[:0], libraries=[], terms=[], same_text=[]).num_rows == 0
