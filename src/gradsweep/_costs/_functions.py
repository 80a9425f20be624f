"""A cost that is any function of the parameters: what is asked of it before it is differentiated."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradsweep._costs._numerics import Numerics
from gradsweep._costs._numpy_function import propagated
from gradsweep._differences._departure import Departure
from gradsweep._errors import InputError
from gradsweep._settings import Settings
from gradsweep._trees import Tree
from gradsweep._types import Array

# Two values of a cost at the same parameters may differ by so many roundings, as sums over threads do.
_JITTER = 64.0


@dataclass(eq=False)
class Function:
    """A cost as the caller wrote it.

    Attributes
    ----------
    cost : callable
        Of the parameters, in the structure in which they were given.
    propagates : bool
        Whether difference arrays are tried.
    reason : str
        Why they were not taken, if so.
    """

    cost: Callable[[Any], Any]
    propagates: bool = True
    reason: str = field(default="", init=False)

    def call(self, tree: Tree) -> float:
        """Its plain value."""
        return self.at(tree, tree.values)

    def at(self, tree: Tree, values: Array) -> float:
        """Its plain value at other parameters of the same structure; NaN if it is not finite."""
        own = values.copy()
        result = self.cost(tree.build(tree.arrays(own)))
        return read_cost(result)

    def value_or_nan(self, tree: Tree) -> float:
        """Its plain value, NaN also where it raises an error: as far from the given parameters as that may be."""
        try:
            return self.call(tree)
        except (ArithmeticError, ValueError, np.linalg.LinAlgError):
            return math.nan

    def settle_in(self, tree: Tree) -> float:
        """The value at the parameters, after a look at how the function behaves.

        Parameters
        ----------
        tree : Tree
            The parameters.

        Returns
        -------
        float
            The value.

        Raises
        ------
        InputError
            It is no finite number, another one at each call, or the parameters are modified.
        """
        own = tree.values.copy()
        arrays = tree.arrays(own)
        base = read_cost(self.cost(tree.build(arrays)))
        for leaf, array in zip(tree.blocks, arrays, strict=True):
            if isinstance(array, np.ndarray) and not np.array_equal(
                own[leaf.start : leaf.stop], tree.values[leaf.start : leaf.stop]
            ):
                raise InputError(f"cost modifies its parameters: {leaf.name} is not what it was before the call")
        if not math.isfinite(base):
            raise InputError(f"cost is {base} at the given parameters")
        again = self.call(tree)
        if not abs(again - base) <= _JITTER * float(np.finfo(np.float64).eps) * abs(base):
            raise InputError(
                f"cost gives two values for the same parameters, {base!r} and {again!r}: draw what is random once, outside of it "
                "(dropout masks, noise, batches), or seed the generator at its beginning"
            )
        return base

    def numerics(self, tree: Tree, base: float, settings: Settings) -> Numerics:
        """The numeric side of a check: on difference arrays if the function can be followed, else by its values."""
        if self.propagates and settings.scheme.name != "complex":
            try:
                return propagated(
                    self.cost,
                    tree,
                    base,
                    settings.scheme,
                    settings.step,
                    settings.jobs,
                    settings.seed,
                    lambda values: self.at(tree, values),
                )
            except Departure as departure:
                self.reason = str(departure)
        raise NotImplementedError(self.reason)

    def leave(self, tree: Tree, base: float) -> None:
        """Call the function once more, so that what it keeps is of the given parameters, and see that its value is the same."""
        again = self.call(tree)
        if not abs(again - base) <= _JITTER * float(np.finfo(np.float64).eps) * abs(base):
            raise InputError(
                f"cost was {base!r} at the beginning of the check and is {again!r} at its end, for the same parameters"
            )


def read_cost(value: Any) -> float:
    """The number that a cost returned, as a number or as an array of one entry; else InputError."""
    if value is None:
        raise InputError("cost returns None; it must return a number")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"cost returns no number: {error}") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"cost returns {type(value).__name__} of dtype {array.dtype}, but a cost is a real number")
    if array.size != 1:
        raise InputError(f"cost returns an array of shape {array.shape}, but a cost is a single number")
    return float(array.reshape(()))
