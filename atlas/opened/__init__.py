"""The parts of one open release, each loaded at its first use: samples, clusters, terms, names."""
