"""How the clusters of an open release are called: by the machine's labels, or by a person's where one edited them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from atlas.answers import LabelEdit


class ClusterNames:
    """Labels by cluster. All edits are replaced by one assignment: a reader sees the old ones or the new ones.

    Parameters
    ----------
    machine
        The release's own labels.

    Attributes
    ----------
    labels
        The label each cluster is shown with.
    edits
        The edit of each cluster that has one.
    """

    def __init__(self, machine: Mapping[int, str]) -> None:
        self._machine = dict(machine)
        self._now: tuple[Mapping[int, str], Mapping[int, LabelEdit]] = (MappingProxyType(self._machine), {})

    @property
    def labels(self) -> Mapping[int, str]:  # noqa: D102
        return self._now[0]

    @property
    def edits(self) -> Mapping[int, LabelEdit]:  # noqa: D102
        return self._now[1]

    def relabel(self, edits: Mapping[int, LabelEdit]) -> None:
        """Replace all edits; those of clusters the release lacks are left aside."""
        kept = {one: edit for one, edit in edits.items() if one in self._machine}
        labels = self._machine | {one: edit.label for one, edit in kept.items()}
        self._now = (MappingProxyType(labels), MappingProxyType(kept))

    def label(self, cluster: int) -> str:
        """Return the label a cluster is shown with, empty if there is no such cluster."""
        return self.labels.get(cluster, "")
