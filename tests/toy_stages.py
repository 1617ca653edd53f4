"""Three tiny stages with readable results, for the tests of the runner. Run as a script it builds until it is killed."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError
from indexer.stage import BuildRequest, StageContext, StageResult


@dataclass
class ToyStage:
    name: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    version: int = 1
    factor: int = 1
    source: Path | None = None
    runs: list[str] = field(default_factory=list)
    kill_at: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def params(self, request: BuildRequest) -> dict[str, Any]:
        return {"factor": self.factor}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        return (self.source,) if self.source else ()

    def run(self, ctx: StageContext) -> StageResult:
        self.runs.append(self.name)
        if self.kill_at == self.name:
            (ctx.out / "half-written").write_text("rubbish")
            os.kill(os.getpid(), signal.SIGKILL)
        for output in self.outputs:
            write_output(ctx.out / output, self.factor, [ctx.folder / i for i in self.inputs])
        return StageResult(n_in=1, n_out=1, notes=self.notes)

    def validate(self, ctx: StageContext) -> None:
        for output in self.outputs:
            if not (ctx.out / output).exists():
                raise ArtifactError(f"{output} missing", kind="corrupt")


def write_output(path: Path, factor: int, inputs: list[Path]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"row": [0, 1], "factor": [factor, factor]}), path)
    elif path.suffix == ".npy":
        np.save(path, np.eye(2, dtype=np.float16) * factor)
    else:
        path.write_text(f"{factor}:" + ",".join(str(i.stat().st_size) for i in inputs))


def toy_plan(source: Path, *, kill_at: str | None = None) -> list[ToyStage]:
    plan = [
        ToyStage("ingest_samples", outputs=("samples.parquet",), source=source),
        ToyStage("embed_samples", inputs=("samples.parquet",), outputs=("vectors.npy",)),
        ToyStage("publish_release", inputs=("vectors.npy",), outputs=("model/config.json",), notes={"model_hash": "m"}),
    ]
    for stage in plan:
        stage.kill_at = kill_at
    return plan


if __name__ == "__main__":
    import sys

    from atlas.settings import Settings
    from indexer.run import Builder

    home, source, kill_at = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    request = BuildRequest(name="toy", home=home, model_dir=home, settings=Settings())
    Builder(request, toy_plan(source, kill_at=kill_at)).run()
