"""What values of a cost are asked of: costs at steps of single parameters, and along directions."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._numerics import Indices
from gradsweep._monitor import current
from gradsweep._trees import Tree
from gradsweep._types import Array


class Evaluator(Protocol):
    """Values of a cost around a point θ, the parameters of a tree."""

    @property
    def kind(self) -> str:
        """What evaluates the cost: ``"plain function"``, ``"batched function"`` or ``"compiled function"``."""

    @property
    def types(self) -> tuple[np.dtype[Any], ...]:
        """Floating type in which the cost keeps each block; empty where all are float64."""

    @property
    def notes(self) -> Sequence[str]:
        """What the caller should know of how it was evaluated."""

    def values(self, indices: Indices, steps: Array) -> Array:
        """J(θ + steps[k]·e_indices[k]) for each k; NaN where the cost is not finite, or not defined."""

    def direction_values(self, direction: Array, steps: Array) -> Array:
        """J(θ + steps[k]·direction) for each k."""

    def explain(self, index: int, step: float) -> None:
        """Raise what the cost raises where this parameter has taken this step, if it does."""


def gathered(pieces: Iterable[Array], count: int) -> Array:
    """Costs at so many points, from those of pieces of them; NaN for all that are not computed, since there was an interrupt."""
    costs = np.full(count, np.nan)
    done = 0

    def share(piece: Array) -> float:
        return done / count

    for piece in current().follow(pieces, share):
        costs[done : done + len(piece)] = piece
        done += len(piece)
        current().known(len(piece))
    return costs


@dataclass(frozen=True, eq=False)
class Points:
    """Points at which a cost is evaluated one after the other.

    Attributes
    ----------
    steps : array of shape (n,)
        How far each is from θ.
    indices : array of int of shape (n,), optional
        Which parameter takes each step.
    direction : array of shape (parameters,), optional
        In which direction all of them lie, where there are no indices.
    """

    steps: Array
    indices: Indices | None = None
    direction: Array | None = None

    def __len__(self) -> int:
        """Their number."""
        return len(self.steps)

    @property
    def described(self) -> Iterator[bytes | NDArray[Any]]:
        """What tells them from other points."""
        yield b"direction" if self.indices is None else b"entries"
        yield from (array for array in (self.steps, self.indices, self.direction) if array is not None)

    def part(self, chosen: slice) -> "Points":
        """Some of them."""
        return Points(self.steps[chosen], None if self.indices is None else self.indices[chosen], self.direction)

    def parts(self, length: int) -> Iterator["Points"]:
        """All of them in pieces of this length, in order."""
        for start in range(0, len(self), length):
            yield self.part(slice(start, start + length))

    def describe_all(self, tree: Tree) -> str:
        """How they differ from θ: ``when one of W1[3, 5] to W1[3, 9] moves by up to 1.2e-06``."""
        if len(self) == 1 or self.indices is None:
            return self.describe(int(np.argmax(np.abs(self.steps))), tree)
        first, last = (tree.describe(int(end)) for end in (self.indices[0], self.indices[-1]))
        return f"when one of {first} to {last} moves by up to {np.max(np.abs(self.steps)):.2g}"

    def describe(self, place: int, tree: Tree) -> str:
        """How the point differs from θ: ``when W1[3, 5] grows by 1.2e-06``."""
        step = float(self.steps[place])
        if self.indices is None:
            size = float(np.abs(step * self.direction).max(initial=0.0)) if self.direction is not None else 0.0
            return f"when all parameters move at random, by up to {size:.2g}"
        change = "grows" if step >= 0.0 else "falls"
        return f"when {tree.describe(int(self.indices[place]))} {change} by {abs(step):.2g}"
