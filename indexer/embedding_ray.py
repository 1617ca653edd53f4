"""Embedding on a Ray cluster: shards are the rows of a Ray data set, a pool of workers writes them to the shared file system.

Every machine of the cluster must see the home, the model and the expression files under the same paths. A worker that dies is
started again and its shard with it (Ray's own retries); shards that are written stay written, whoever dies.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from atlas import errors
from atlas.errors import AtlasError, MissingExtraError, ResourceError, UpstreamError
from indexer.embedding import EmbeddingJob, Shard, ShardWriter
from indexer.stage import Advance, silent_progress

Coverage = dict[str, dict[str, Any]]
_KNOCK_S = 10.0


class ShardWorker:
    """One worker of the pool; loads the model once and keeps its sources open."""

    def __init__(self, job: EmbeddingJob) -> None:
        self.job = job
        self.writer: ShardWriter | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write one shard; a typed error is the answer, since errors of other types carry no message across machines."""
        shard = Shard.at(self.job.work, int(row["start"]), int(row["stop"]))
        answer = {"n": shard.stop - shard.start, "coverage": "{}", "error": ""}
        try:
            if self.writer is None:
                self.writer = ShardWriter(self.job)
            with silent_progress(None, "samples") as bar:
                self.writer.write(shard, bar=bar)
        except AtlasError as error:
            return {**answer, "error": json.dumps([type(error).__name__, error.message, error.details])}
        except OSError as error:
            message = (
                f"A worker cannot write to {self.job.work}: {error.strerror or error}. Shards that are written stay."
            )
            return {**answer, "error": json.dumps([ResourceError.__name__, message, {}])}
        return {**answer, "coverage": json.dumps(self.writer.coverage)}


def embed_on_ray(
    job: EmbeddingJob,
    todo: Sequence[Shard],
    *,
    address: str | None,
    bar: Advance,
    worker: Callable[..., Any] = ShardWorker,
) -> Coverage:
    """Write the shards on a cluster and return the coverage of the files read.

    Parameters
    ----------
    job
        What to embed; its paths must hold on every machine.
    todo
        Shards that are not written.
    address
        Of a running cluster (``auto``, ``host:6379``, ``ray://host:10001``); ``None`` starts one on this machine.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    UpstreamError
        If the cluster cannot be reached or gives up.
    AtlasError
        Of any type, as a worker met it.
    """
    if not todo:
        return {}
    coverage: Coverage = {}
    with _cluster(address) as ray:
        from ray.data import ActorPoolStrategy

        rows = [{"start": shard.start, "stop": shard.stop} for shard in todo]
        size = max(1, min(len(rows), int(ray.cluster_resources().get("CPU", 1))))
        shards = ray.data.from_items(rows, override_num_blocks=len(rows))
        written = shards.map(worker, fn_constructor_args=(job,), compute=ActorPoolStrategy(size=size), num_cpus=1)
        for answer in written.iter_rows():
            if answer["error"]:
                raise _typed(*json.loads(answer["error"]))
            coverage.update(json.loads(answer["coverage"]))
            bar.advance(int(answer["n"]))
    if missing := [shard.start for shard in todo if not shard.is_whole]:
        raise UpstreamError(
            f"The cluster reports all shards written, but {len(missing)} are not in {job.work}, first that of row {missing[0]}. "
            "Every machine must see the home under the same path, on a shared file system."
        )
    return dict(sorted(coverage.items()))


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Connect to a cluster, or start one here for the time of the build; a cluster that is already connected is used."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(
            'Embedding on Ray needs an optional package: pip install "geo-atlas[scale]".'
        ) from error
    mine = not ray.is_initialized()
    on_kill = signal.getsignal(signal.SIGTERM)
    try:
        if mine:
            _require_reachable(address)
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)  # it announces each step, and what is right as it is
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
    except (ray.exceptions.RayError, OSError) as error:
        where = f" at {address}" if address else ""
        raise UpstreamError(
            f"The Ray cluster{where} failed: {str(error).strip().splitlines()[0][:300]}. Shards that are written stay; run the "
            "same command again."
        ) from error
    finally:
        if mine:
            ray.shutdown()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, on_kill)  # Ray put one of its own in its place


def _require_reachable(address: str | None) -> None:
    """Knock once: Ray itself asks a machine that is not there for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host, int(port)), timeout=_KNOCK_S):
            return


def _typed(name: str, message: str, details: dict[str, Any]) -> AtlasError:
    """Return the error that a worker met."""
    kind: Any = getattr(errors, name, AtlasError)
    if issubclass(kind, errors.ArtifactError):
        found: AtlasError = kind(message, kind=details["kind"], details=details)
        return found
    return AtlasError(message, details=details) if kind is AtlasError else kind(message, details=details)
