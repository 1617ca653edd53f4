"""Synthetic atlases of any size, by seed: spectra, vectors, texts, a model that fits them, counts."""
