"""Workers for tests of embedding on Ray: they know the toy text tower, and one dies once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from toy_model import ToyTextTower

from atlas.model.text_tower import TEXT_TOWERS
from indexer.embedding import EmbeddingJob
from indexer.embedding_ray import ShardWorker


class ToyWorker(ShardWorker):
    """Registers the toy tower in its process."""

    def __init__(self, job: EmbeddingJob) -> None:
        TEXT_TOWERS["toy"] = ToyTextTower
        super().__init__(job)


class MortalWorker(ToyWorker):
    """Is killed at its first shard from row 6 on, once."""

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        marker = Path(self.job.work) / "died"
        if row["start"] >= 6 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(row)
