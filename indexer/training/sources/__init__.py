"""Pairs of text and expression to learn from: corpora, gene sets, labelled cells and mean profiles."""
