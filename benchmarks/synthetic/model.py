"""A model of any number of dimensions for synthetic atlases: the packaged text tower, and a head that draws the joint space.

A phrase's vector is a fixed linear picture of its text vector, coloured by the atlas' spectrum, plus a shift that all phrases
share: the gap between phrases and samples that joint models have. Its genes are random: it can embed, and says nothing true.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.model.checkpoint import ModelParts, read_model, write_model
from atlas.model.config import ProjectionHead
from atlas.model.gene_table import GeneTable
from atlas.model.joint import JointModel
from atlas.model.projection import projection_shapes
from atlas.model.tensors import TEXT_PREFIX
from atlas.resources import resource_path

GAP = 0.7
"""Length of the shift that all phrases share; the part that tells them apart has length 1."""
GENE_ROWS = 1_024
"""Random vectors that the genes share: nothing true is lost, and the model stays small."""


@dataclass(frozen=True)
class Space:
    """The joint space of a synthetic atlas.

    Attributes
    ----------
    axes
        (dim, dim) float32; column i is the i-th principal axis times the square root of its eigenvalue.
    picture
        (dim, text dim) float32: from centred text vectors to latent coordinates of variance about one.
    centre
        (text dim,) float32, the mean text vector of the clusters' terms.
    gap
        (dim,) float32.
    mean
        (dim,) float32, the samples' mean before they are scaled to unit length.
    """

    axes: np.ndarray
    picture: np.ndarray
    centre: np.ndarray
    gap: np.ndarray
    mean: np.ndarray

    @classmethod
    def draw(cls, eigenvalues: np.ndarray, *, text_vectors: np.ndarray, mean_square: float, seed: int) -> Space:
        """Draw a space; ``text_vectors`` (m, text dim) are those of the clusters' terms."""
        rng = np.random.default_rng([seed, 2])
        dim = eigenvalues.size
        axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0] * np.sqrt(eigenvalues)
        centre = text_vectors.mean(axis=0)
        length = np.linalg.norm(text_vectors - centre, axis=1).mean()
        picture = rng.normal(size=(dim, text_vectors.shape[1])) / length
        gap, mean = rng.normal(size=(2, dim))
        gap *= GAP / np.linalg.norm(gap)
        mean *= np.sqrt(mean_square) / np.linalg.norm(mean)
        return cls(*(part.astype(np.float32) for part in (axes, picture, centre, gap, mean)))

    def latent(self, text_vectors: np.ndarray) -> np.ndarray:
        """Return the latent coordinates of texts, (m, dim) float32."""
        return np.asarray((text_vectors - self.centre) @ self.picture.T)

    @property
    def head(self) -> dict[str, np.ndarray]:
        """The text head's tensors: the branch is silent, the shortcut is the picture, the last shift is the gap."""
        dim, n_in = self.picture.shape
        tensors = {name: np.zeros(shape, np.float32) for name, shape in projection_shapes(n_in, dim).items()}
        weight = self.axes @ self.picture
        tensors["branch_norm.running_var"] += 1.0
        tensors["shortcut.weight"] = weight
        tensors["shortcut.bias"] = -(weight @ self.centre)
        tensors["norm.weight"] += np.float32(dim**-0.5)  # the layer norm leaves rows of length sqrt(dim)
        tensors["norm.bias"] = self.gap
        return {f"{TEXT_PREFIX}{name}": value for name, value in tensors.items()}


def raw_text_vectors(texts: list[str]) -> np.ndarray:
    """Return the packaged text tower's vectors, (m, text dim) float32."""
    return JointModel.load(resource_path("starter/model")).embed_raw_texts(texts)


def write_synthetic_model(folder: Path, space: Space, *, seed: int) -> None:
    """Write the model of a space into ``folder``: the packaged text tower and genes, random gene vectors."""
    packaged = read_model(resource_path("starter/model"))
    dim = space.axes.shape[0]
    rng = np.random.default_rng([seed, 3])
    table = GeneTable.from_vectors(
        rng.normal(size=(GENE_ROWS, dim)).astype(np.float32),
        rows=rng.integers(0, GENE_ROWS, packaged.genes.num_rows),
        rescaled=True,
    )
    text = packaged.config.text.model_copy(update={"head": ProjectionHead()})
    recipe = packaged.config.transcriptome.model_copy(update={"n_rows": GENE_ROWS})
    kept = {name: value for name, value in packaged.tensors.items() if name.startswith("statistics_")}
    config = packaged.config.model_copy(update={"dim": dim, "text": text, "transcriptome": recipe})
    tensors = {
        **kept,
        **{k: v for k, v in packaged.tensors.items() if k == "cell_medians"},
        **table.tensors(),
        **space.head,
    }
    write_model(folder, ModelParts(config, packaged.genes, tensors))
