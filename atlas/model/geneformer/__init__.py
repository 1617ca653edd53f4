"""Geneformer as a transcriptome tower: published dictionaries, rank-value tokens, the encoder and how to obtain it."""
