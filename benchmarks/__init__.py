"""Measured claims: one command makes each table of ``docs/measurements.md``."""
