"""Which parameters learn: the locking modes of a two-tower model.

A mode is two letters, transcriptome tower first, text tower second: ``L`` locked, ``U`` unlocked. Heads and temperature always
learn. A locked tower has no gradients and stays in evaluation mode, so that its dropout is off and its features can be kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from torch import nn

from atlas.errors import ConfigError

LockingMode = Literal["LU", "UL", "UU", "LL"]


@dataclass(frozen=True)
class Locking:
    """Which of the two towers learn."""

    transcriptome: bool
    text: bool

    @classmethod
    def parse(cls, mode: str) -> Locking:
        """Read a mode.

        Raises
        ------
        ConfigError
            If it is none of LU, UL, UU, LL.
        """
        if mode not in get_args(LockingMode):
            raise ConfigError(
                f"The locking mode is {mode!r}; expected one of {', '.join(get_args(LockingMode))} "
                "(transcriptome tower first, L locked, U unlocked)."
            )
        return cls(transcriptome=mode[0] == "U", text=mode[1] == "U")


class Lockable(Protocol):
    """A tower that knows which of its parameters are meant to learn at all."""

    locked: bool

    def tunable(self) -> Iterator[nn.Parameter]:
        """Yield what learns when the tower is unlocked: everything, or its low-rank adapter alone."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield all parameters."""
        ...


def lock(tower: Lockable, *, unlocked: bool) -> None:
    """Set which parameters of a tower get gradients."""
    for parameter in tower.parameters():
        parameter.requires_grad_(False)
    if unlocked:
        for parameter in tower.tunable():
            parameter.requires_grad_(True)
    tower.locked = not unlocked


def learning(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that get gradients, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
