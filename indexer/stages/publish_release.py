"""Copy the model into the release, so that a release answers phrases by itself. ``indexer.publish`` then makes it visible."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from atlas.errors import ArtifactError
from atlas.model.checkpoint import MODEL_FILES, model_hash
from indexer.stage import BuildRequest, StageContext, StageResult


class PublishRelease:
    """Last stage of the plan."""

    name = "publish_release"
    version = 1
    inputs = ("samples.parquet", "vectors.npy", "landscape.parquet", "labels.parquet")
    outputs = ("model",)

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Nothing but the name."""
        return {"name": request.name}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return the model's files."""
        return tuple(request.model_dir / name for name in MODEL_FILES)

    def run(self, ctx: StageContext) -> StageResult:
        """Copy the model folder."""
        from atlas.model.joint import JointModel

        target = ctx.out / "model"
        target.mkdir()
        for name in MODEL_FILES:
            shutil.copyfile(ctx.request.model_dir / name, target / name)
        model = JointModel.load(target)  # a copy that does not load is no model
        return StageResult(n_in=len(MODEL_FILES), n_out=len(MODEL_FILES), notes={"model_hash": model.hash})

    def validate(self, ctx: StageContext) -> None:
        """Check that the copy is the model that embedded the samples."""
        if model_hash(ctx.out / "model") != model_hash(ctx.request.model_dir):
            raise ArtifactError("The model folder changed while it was copied into the release.", kind="corrupt")


STAGE = PublishRelease()
