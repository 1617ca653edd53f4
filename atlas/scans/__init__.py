"""Sweeps of a vocabulary over the atlas: which terms the clusters answer to, against a null of other terms.

In: an open release, a list of terms. Out: tables of terms, of terms x clusters and of samples, with honest p and q.
``docs/scans.md`` explains the statistics.
"""

from __future__ import annotations

SCAN_TEMPLATES: tuple[str, ...] = ("{x}", "A sample of {x}", "A sample from a patient with {x}")
"""A term is embedded as the re-normalised mean of these sentences; the background terms too."""
