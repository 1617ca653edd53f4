"""Copy the model into the release, so that a release answers phrases by itself. ``indexer.publish`` then makes it visible."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from atlas.errors import ArtifactError
from atlas.model.checkpoint import model_files, model_hash
from atlas.vectors.model_null import FILE as NULL_FILE
from indexer.stage import BuildRequest, StageContext, StageResult

BESIDE = (NULL_FILE, "README.md")
"""Files of a model folder that are no part of the model's hash and travel with it."""


class PublishRelease:
    """Last stage of the plan."""

    name = "publish_release"
    version = 1
    inputs: tuple[str, ...] = ("samples.parquet", "vectors.npy", "landscape.parquet", "labels.parquet")
    outputs = ("model",)

    def params(self, request: BuildRequest) -> dict[str, Any]:
        """Nothing but the name."""
        return {"name": request.name}

    def sources(self, request: BuildRequest) -> tuple[Path, ...]:
        """Return the model's files, and its null and card where it has them."""
        return tuple(request.model_dir / name for name in _names(request.model_dir))

    def run(self, ctx: StageContext) -> StageResult:
        """Copy the model folder."""
        from atlas.model.joint import JointModel

        target = ctx.out / "model"
        target.mkdir()
        names = _names(ctx.request.model_dir)
        for name in names:
            shutil.copyfile(ctx.request.model_dir / name, target / name)
        model = JointModel.load(target)  # a copy that does not load is no model
        return StageResult(n_in=len(names), n_out=len(names), notes={"model_hash": model.hash})

    def validate(self, ctx: StageContext) -> None:
        """Check that the copy is the model that embedded the samples."""
        if model_hash(ctx.out / "model") != model_hash(ctx.request.model_dir):
            raise ArtifactError("The model folder changed while it was copied into the release.", kind="corrupt")


def _names(model_dir: Path) -> tuple[str, ...]:
    beside = tuple(name for name in BESIDE if (model_dir / name).is_file())
    return (*model_files(model_dir), *beside)


STAGE = PublishRelease()
