"""A function of complex parameters: derivatives by an imaginary step."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._complex_step import complex_quotients
from gradsweep._costs._numerics import Directional, Indices, Slopes
from gradsweep._costs._value_function import ValueNumerics
from gradsweep._directions import Direction
from gradsweep._errors import InputError, OracleError
from gradsweep._filters import filtered
from gradsweep._parameters import Precision
from gradsweep._trees import Tree
from gradsweep._types import Array

# How closely real differences must agree before the complex step is said to be proven by them.
_PROVEN = 2.0**-10


@dataclass(eq=False)
class ComplexNumerics:
    """The numeric side of a check by imaginary steps.

    Attributes
    ----------
    function : callable
        Of the parameters, as arrays of complex numbers.
    real : ValueNumerics
        The same function of real parameters, against whose differences the complex step is held.
    """

    function: Callable[[Any], Any]
    real: ValueNumerics
    _proven: float = 0.0

    @property
    def kind(self) -> str:
        """What evaluates the cost."""
        return self.real.kind

    @property
    def notes(self) -> list[str]:
        """What the caller should know of how it was evaluated."""
        notes = self.real.notes
        if self._proven > _PROVEN:
            notes.append(
                f"complex: real differences are too noisy here, {self._proven:.1e} of what they are held against, to show "
                "whether the cost is analytic"
            )
        return notes

    @property
    def step(self) -> float:
        """ε relative to each parameter's size."""
        return self.real.scheme.default_step

    @property
    def precision(self) -> Precision:
        """As of real differences."""
        return self.real.precision

    @property
    def sample(self) -> int:
        """As of real differences."""
        return self.real.sample

    @property
    def dispute(self) -> int:
        """As of real differences, against which it is held."""
        return self.real.dispute

    def along(self, directions: Sequence[Direction]) -> Directional:
        """The real differences': settings refuse a screen by imaginary steps."""
        return self.real.along(directions)

    def order(self) -> list[str]:
        """Names of the blocks as they were given."""
        return self.real.order()

    def quotients(self, indices: Indices) -> Slopes:
        """Im J(θ + iε) / ε, once real differences along random directions have agreed.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Parameters.

        Returns
        -------
        Slopes
            In their order.
        """
        neighbourhood, noise = self.real.neighbourhood, self.real.measured
        found = complex_quotients(neighbourhood, noise, self._evaluate, indices, self.real.seed)
        self._proven = max(self._proven, found.proven)
        values = found.values
        self.real.note_sizes(indices, values)
        least = Precision(float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny))
        rounding = self.real.rounding(indices, values, least)
        return Slopes(values, values.copy(), values.copy(), rounding, evaluations=found.evaluations)

    def settle(self, indices: Indices, precision: Precision) -> Slopes:
        """The same, each held against real differences; and the rounding of a gradient of this precision.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Parameters.
        precision : Precision
            Of the gradient.

        Returns
        -------
        Slopes
            In their order.

        Raises
        ------
        OracleError
            Real differences tell that an entry is another one.
        """
        found = self.quotients(indices)
        real = self.real.settle(indices, precision)
        rounding = self.real.rounding(indices, found.values, precision)
        off = (found.values < real.low - real.noise - rounding) | (found.values > real.high + real.noise + rounding)
        for place in np.flatnonzero(off).tolist():
            raise OracleError(
                f"scheme: 'complex' gives {found.values[place]!r} for {self.real.tree.describe(int(indices[place]))}, but real "
                f"differences give {real.values[place]!r}; the cost is not analytic there"
            )
        return Slopes(found.values, found.low, found.high, rounding, 0, found.evaluations + real.evaluations)

    def noise(self, indices: Indices, precision: Precision) -> tuple[Array, int]:
        """Rounding of a gradient of this precision; see `Numerics`."""
        slopes = self.quotients(indices)
        return self.real.rounding(indices, slopes.values, precision), slopes.evaluations

    @functools.cached_property
    def _working(self) -> Array:
        """θ as complex numbers, of which one at a time takes a step."""
        working: Any = self.real.tree.values.astype(np.complex128)
        return working  # type: ignore[no-any-return]

    def _evaluate(self, index: int, step: float) -> complex:
        """J(θ + i·step·e_index)."""
        tree, working = self.real.tree, self._working
        try:
            working[index] = complex(tree.values[index], step)
            return self._read(self._call(_leaves(tree, working)), index)
        finally:
            working[index] = tree.values[index]

    def _call(self, leaves: list[Any]) -> Any:
        try:
            # Who stores a complex number in an array of real ones loses the derivative, with a warning.
            with filtered("error", np.exceptions.ComplexWarning), np.errstate(all="ignore"):
                return self.function(self.real.tree.build(leaves))
        except Exception as error:
            raise InputError(
                "scheme: 'complex' needs a cost that accepts complex parameters, but this one raises "
                f"{type(error).__name__}: {error}"
            ) from error

    def _read(self, result: Any, index: int) -> complex:
        array = np.asarray(result)
        if array.dtype.kind not in "biufc" or array.size != 1:
            raise InputError(
                f"scheme: 'complex' needs a cost that returns a complex number, but this one returns {type(result).__name__} for "
                f"an imaginary step of {self.real.tree.describe(index)}"
            )
        return complex(array.reshape(()))


def _leaves(tree: Tree, working: Any) -> list[Any]:
    """The blocks of a vector of complex numbers."""
    return [
        working[leaf.start : leaf.stop].reshape(leaf.shape) if leaf.scalar is None else complex(working[leaf.start])
        for leaf in tree.blocks
    ]
