"""A frozen language model reads a cell whose genes are described in words (scInterpreter, scReader)."""
