"""The null of a model: how its scores look for phrases and samples that have nothing to do with each other.

It travels in the model's folder, so that a score means something before there is a release, and where a release is too small
to tell. It was measured on the samples the model was shipped with. In and out: ``null.npz`` beside ``config.json``; no part of
the model's hash, which it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from atlas.errors import ArtifactError
from atlas.model.checkpoint import model_hash
from atlas.vectors.calibration import GRID

FILE = "null.npz"


@dataclass(frozen=True)
class ModelNull:
    """Null scores of one model.

    Attributes
    ----------
    model_hash
        Of the model it was measured with.
    pair_scores
        Quantiles 0, 0.001 ... 1 of the cosines of random samples of different series.
    text_scores
        The same of the cosines of random vocabulary terms with random samples.
    n_samples
        Number of samples it was measured on.
    """

    model_hash: str
    pair_scores: list[float]
    text_scores: list[float]
    n_samples: int

    @classmethod
    def find(cls, folder: Path) -> ModelNull | None:
        """Return the null in a model folder, ``None`` if it has none.

        Raises
        ------
        ArtifactError
            ``corrupt``, or ``incompatible`` if it was measured with another model.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                found = cls(
                    str(arrays["model_hash"]),
                    arrays["pair_scores"].tolist(),
                    arrays["text_scores"].tolist(),
                    int(arrays["n_samples"]),
                )
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise ArtifactError(
                f"{path} holds no null scores ({error}). Restore it, or delete it.", kind="corrupt"
            ) from error
        if found.model_hash != (seen := model_hash(folder)):
            raise ArtifactError(
                f"{path} was measured with another model than the one beside it. Restore the folder, or delete the file.",
                kind="incompatible",
                details={"seen": found.model_hash, "expected": seen},
            )
        return found

    def save(self, folder: Path) -> None:
        """Write ``null.npz``; the same null gives the same bytes."""
        np.savez(
            folder / FILE,
            model_hash=np.asarray(self.model_hash),
            pair_scores=np.asarray(self.pair_scores),
            text_scores=np.asarray(self.text_scores),
            n_samples=np.asarray(self.n_samples),
        )

    def percentile_of_pairs(self, cosines: np.ndarray) -> np.ndarray:
        """Return the share of random pairs of samples with a lower cosine, float64 in [0, 100]."""
        return _place(cosines, self.pair_scores)

    def percentile_of_texts(self, cosines: np.ndarray) -> np.ndarray:
        """Return the share of random vocabulary terms and samples with a lower cosine, float64 in [0, 100]."""
        return _place(cosines, self.text_scores)


def _place(values: np.ndarray, grid: list[float]) -> np.ndarray:
    return np.asarray(np.interp(values, grid, np.linspace(0.0, 100.0, GRID)))
