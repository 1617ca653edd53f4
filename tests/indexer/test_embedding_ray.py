"""Embedding on a Ray cluster of two workers: the bytes and the key of the local engine, whoever dies."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from expression_files import counts, write_archs4
from indexer_builds import Build, corpus
from ray_workers import MortalWorker
from toy_model import ToyTextTower

from atlas.errors import ArtifactError, InputError, ResourceError, UpstreamError
from atlas.model.text_tower import TEXT_TOWERS
from indexer import embedding, embedding_ray
from indexer.stages import embed_samples
from indexer.stages.embed_samples import STAGE

TESTS = Path(__file__).resolve().parents[1]
pytest.importorskip("ray", reason="Ray is not installed (extra scale)")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own warnings are not ours


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster of two workers on this machine."""
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", f"{TESTS.parent}{os.pathsep}{TESTS}")  # workers import what lies beside the tests
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class OneProcess:
    """What embedding asks of Ray, done here: whatever does not need a cluster is tested without one."""

    def __init__(self) -> None:
        self.data = self

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def from_items(self, rows: list[dict[str, Any]], **_: object) -> OneProcess:
        self.rows = rows
        return self

    def map(self, worker: Any, *, fn_constructor_args: tuple[Any, ...], **_: object) -> OneProcess:
        self.worker = worker(*fn_constructor_args)
        return self

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        return map(self.worker, self.rows)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_ray, "_cluster", lambda address: nullcontext(OneProcess()))


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)
    monkeypatch.setattr(embed_samples, "_SHARD_ROWS", 3)


def _workers(monkeypatch: pytest.MonkeyPatch, worker: type) -> None:
    monkeypatch.setattr(embedding_ray, "embed_on_ray", partial(embedding_ray.embed_on_ray, worker=worker))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cluster_writes_the_bytes_of_one_process_under_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard is there already, and one of the two workers is killed at work: nothing is lost, nothing differs."""
    files = [corpus(tmp_path, "a.h5", n=10, seed=1), corpus(tmp_path, "b.h5", n=6, seed=2)]
    places = [(1, 4), (0, 5), (0, 0), (1, 0), *((0, row) for row in range(6, 10)), (1, 1), (1, 2), (1, 3), (0, 3)]
    local = Build(tmp_path, "local", files=files, places=places)
    expected = local.run()
    build = Build(tmp_path, "cluster", files=files, places=places, engine="ray")
    there = [build.ctx.work / path.name for path in local.ctx.work.glob("*-000000000.npy")]
    for path in there:
        path.write_bytes((local.ctx.work / path.name).read_bytes())
    times = [path.stat().st_mtime_ns for path in there]
    _workers(monkeypatch, MortalWorker)
    result = build.run()
    assert (build.ctx.work / "died").exists()
    assert build.bytes == local.bytes
    assert build.weight_bytes == local.weight_bytes
    assert len(there) == 2
    assert [path.stat().st_mtime_ns for path in there] == times
    assert result == expected
    assert STAGE.params(build.request) == STAGE.params(local.request)
    assert STAGE.sources(build.request) == STAGE.sources(local.request)


@pytest.mark.usefixtures("one_process")
def test_the_error_of_a_worker_is_the_error_of_the_build(tmp_path: Path) -> None:
    values = counts(300, 4).astype(float)
    values[0, 2] = -1.5
    path = write_archs4(tmp_path / "negative.h5", values, samples={"geo_accession": [f"GSM{i}" for i in range(4)]})
    build = Build(tmp_path, "bad", files=[path], places=[(0, row) for row in range(4)], engine="ray")
    with pytest.raises(InputError, match="'GSM2'") as caught:
        STAGE.run(build.ctx)
    assert caught.value.details["flag"] == "--unit"
    stale = Build(tmp_path, "stale", places=[(-1, 0)], engine="ray")
    with pytest.raises(ArtifactError, match="Give --starter") as stopped:
        STAGE.run(stale.ctx)
    assert stopped.value.kind == "stale"


@pytest.mark.usefixtures("one_process")
def test_a_full_disk_of_a_worker_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embedding.os, "fsync", no_space)
    build = Build(tmp_path, "full", files=[corpus(tmp_path, "a.h5")], places=[(0, 0)], engine="ray")
    with pytest.raises(ResourceError, match="No space left on device"):
        STAGE.run(build.ctx)


@pytest.mark.usefixtures("one_process")
def test_shards_that_are_not_on_the_shared_file_system_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        def __init__(self, job: object) -> None: ...

        def __call__(self, row: dict[str, int]) -> dict[str, object]:
            return {"n": 1, "coverage": "{}", "error": ""}

    _workers(monkeypatch, Elsewhere)
    build = Build(tmp_path, "away", files=[corpus(tmp_path, "a.h5")], places=[(0, 0)], engine="ray")
    with pytest.raises(UpstreamError, match="shared file system"):
        STAGE.run(build.ctx)


def test_a_cluster_that_is_not_there_is_an_upstream_error(tmp_path: Path) -> None:
    build = Build(
        tmp_path, "nowhere", files=[corpus(tmp_path, "a.h5")], places=[(0, 0)], engine="ray", ray_address="127.0.0.1:9"
    )
    with pytest.raises(UpstreamError, match=r"Ray cluster at 127\.0\.0\.1:9 failed"):
        STAGE.run(build.ctx)
