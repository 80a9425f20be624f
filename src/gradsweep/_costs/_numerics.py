"""What a function of parameters must offer to be checked: its difference quotients, and a closer look at some of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradsweep._directions import Direction
from gradsweep._parameters import Precision
from gradsweep._types import Array

#: What evaluates a cost that is called once for each perturbation.
PLAIN = "plain function"

#: Indices of parameters in the flat vector.
Indices: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Slopes:
    """Difference quotients of some parameters.

    Attributes
    ----------
    values : array of shape (n,)
        The quotients; NaN where the cost is not finite beside θ.
    low, high : arrays of shape (n,)
        The smallest and the largest gradient that is accepted: both are the quotient itself but at a kink.
    noise : array of shape (n,)
        Rounding that quotient and gradient may carry; 0 where it was not looked at.
    crossed : int
        Parameters whose step crossed a kink, and that were perturbed again, by less.
    evaluations : int
        Changes, or values, of the cost that were computed.
    kinks : array of bool of shape (n,), optional
        Where there are two slopes, if `low` and `high` may differ elsewhere, too, or only a closer look shows.
    unclear : tuple of two arrays of shape (n,), optional
        Kinks may cancel each other: the cost then has one slope, and a backward pass that has one convention for all of them
        gives another one. What such passes give lies between these; it is neither right nor a mistake.
    """

    values: Array
    low: Array
    high: Array
    noise: Array
    crossed: int = 0
    evaluations: int = 0
    kinks: NDArray[np.bool_] | None = None
    unclear: tuple[Array, Array] | None = None

    @property
    def at_kink(self) -> NDArray[np.bool_]:
        """Where there are two slopes."""
        return self.low < self.high


class Numerics(Protocol):
    """The numeric side of a check of a function, at one point. It never sees the gradient under test."""

    @property
    def kind(self) -> str:
        """What evaluates the cost, as ``"difference arrays"`` or ``"plain function"``."""

    @property
    def step(self) -> float:
        """ε, or the largest of all parameters' where each has its own."""

    @property
    def notes(self) -> Sequence[str]:
        """What the caller should know of how the cost was evaluated, a sentence for each thing."""

    @property
    def precision(self) -> Precision:
        """Of the least precise type that the cost is known to compute in."""

    @property
    def sample(self) -> int:
        """How many entries in dispute are looked at closely at first."""

    @property
    def dispute(self) -> int:
        """About how many evaluations a closer look at an entry takes."""

    def along(self, directions: Sequence[Direction]) -> "Directional":
        """The same of directions, by blocks, in the place of parameters: their number takes the place of the index."""

    def order(self) -> Sequence[str]:
        """Names of the blocks from input to loss, as far as it is known; else in the order of the parameters."""

    def quotients(self, indices: Indices) -> Slopes:
        """Difference quotients of some parameters."""

    def noise(self, indices: Indices, precision: Precision) -> tuple[Array, int]:
        """Rounding that quotients and a gradient of this precision may carry; and how many evaluations that took."""

    def settle(self, indices: Indices, precision: Precision) -> Slopes:
        """A closer look at some parameters: quotients with less truncation, and the rounding of a gradient of this precision."""


class Directional(Numerics, Protocol):
    """The numeric side along directions, which are perhaps rounded to what parameters can take."""

    def product(self, number: int, block: NDArray[Any]) -> tuple[float, float]:
        """Product of a direction with its block of a gradient, and the norm of that in the direction's region."""
