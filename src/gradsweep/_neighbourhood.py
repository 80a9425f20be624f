"""A cost of which only values can be had, around the point at which its gradient is tested."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradsweep._errors import InputError
from gradsweep._types import Array

#: Indices of parameters in the flat vector.
Indices: TypeAlias = NDArray[np.intp]

# No step is shorter than this many spacings of the numbers at its parameter: θ + ε then differs from θ on either side, and so
# do points at different multiples of ε.
_LEAST_SPACINGS = 2.0

# Nor is any step, or the size of a parameter, less than this: the reciprocals of subnormal numbers overflow.
_LEAST = 2.0**-1020


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Values of a cost J around a point θ.

    Attributes
    ----------
    theta : array of shape (parameters,)
        The point. Every entry is a number of the type in which its block is kept.
    base : float
        J(θ), finite.
    values : callable
        ``values(indices, steps)``, both of shape (n,), returns J(θ + steps[k]·e_indices[k]) for each k: array of shape (n,).
    direction_values : callable
        ``direction_values(direction, steps)``, of shapes (parameters,) and (n,), returns J(θ + steps[k]·direction): array of
        shape (n,).
    sizes : tuple of int, optional
        Number of parameters of each block, in the order of `theta`; one block of all by default.
    types : tuple of dtype, optional
        Floating type in which the cost keeps each block: what a perturbed parameter is rounded to. float64 by default.
    given_scale, given_spacing : arrays of shape (parameters,), optional
        What `scale` and `spacing` are where the parameters are places along lines, all of them 0: steps along these are then
        taken as they are.
    """

    theta: Array
    base: float
    values: Callable[[Indices, Array], Any]
    direction_values: Callable[[Array, Array], Any]
    sizes: tuple[int, ...] = ()
    types: tuple[np.dtype[Any], ...] = ()
    given_scale: Array | None = None
    given_spacing: Array | None = None

    def __post_init__(self) -> None:
        """Refuse a base value that is no number: nothing can be said around it."""
        if not math.isfinite(self.base):
            raise InputError(f"cost is {self.base!r} at the parameters that were given; it must be finite there")

    def blocks(self) -> Iterator[tuple[slice, np.dtype[Any]]]:
        """Where each block lies, and its type."""
        edges = itertools.accumulate(self.sizes or (len(self.theta),), initial=0)
        slices = [slice(*pair) for pair in itertools.pairwise(edges)]
        yield from zip(slices, self.types or (np.dtype(np.float64),) * len(slices), strict=True)

    @functools.cached_property
    def scale(self) -> Array:
        """Size of each parameter, (parameters,): |θᵢ|, or the median of its block where that is more; 1 in a block of zeros.

        No parameter is taken for smaller than the least normal numbers are. The median is that of the block's non-zero entries.
        Unlike their root mean square, it is not set by one huge entry.
        """
        if self.given_scale is not None:
            return self.given_scale
        result = np.empty_like(self.theta)
        for block, _ in self.blocks():
            sizes = np.abs(self.theta[block])
            nonzero = sizes[sizes > 0.0]
            np.maximum(sizes, float(np.median(nonzero)) if nonzero.size else 1.0, out=result[block])
        return np.maximum(result, _LEAST, out=result)

    @functools.cached_property
    def spacing(self) -> Array:
        """Distance of each parameter from the next number of its type: array of shape (parameters,)."""
        if self.given_spacing is not None:
            return self.given_spacing
        result = np.empty_like(self.theta)
        for block, kind in self.blocks():
            result[block] = np.spacing(np.abs(self.theta[block]).astype(kind))
        return result

    def distinct(self, indices: Indices, steps: Array) -> Array:
        """Positive steps, those that θ + ε would swallow enlarged until it does not."""
        result: Array = np.maximum(np.maximum(steps, _LEAST_SPACINGS * self.spacing[indices]), _LEAST)
        return result

    def taken(self, indices: Indices, steps: Array) -> Array:
        """The steps that are actually taken: θ + ε in the type of its block, less θ.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Parameters.
        steps : array of shape (n, steps)
            What is to be added.

        Returns
        -------
        array of shape (n, steps)
            What is added.
        """
        if self.given_spacing is not None:
            return steps
        places = self.theta[indices][:, np.newaxis]
        points = places + steps
        for kind, members in self._narrow(indices):
            with np.errstate(over="ignore"):  # infinite, and the cost there is whatever it is
                points[members] = points[members].astype(kind)
        result: Array = points - places
        return result

    def _narrow(self, indices: Indices) -> Iterator[tuple[np.dtype[Any], NDArray[np.bool_]]]:
        """Types of less precision than float64, and which of the indices are kept in them."""
        for block, kind in self.blocks():
            if kind.itemsize < np.dtype(np.float64).itemsize:
                yield kind, (indices >= block.start) & (indices < block.stop)

    def at(self, indices: Indices, steps: Array) -> Array:
        """Costs at a table of steps of single parameters.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Parameters.
        steps : array of shape (n, steps)
            What is added to each, one step at a time.

        Returns
        -------
        array of shape (n, steps)
            Costs; NaN where they are not finite.
        """
        if not steps.size:
            return np.empty(steps.shape)
        costs = self.values(np.repeat(indices, steps.shape[1]), steps.ravel())
        return _finite(costs).reshape(steps.shape)

    def along(self, direction: Array, steps: Array) -> Array:
        """Costs at steps along a direction.

        Parameters
        ----------
        direction : array of shape (parameters,)
            The direction.
        steps : array of shape (steps,)
            Multiples of it.

        Returns
        -------
        array of shape (steps,)
            Costs; NaN where they are not finite.
        """
        return _finite(self.direction_values(direction, steps))


def _finite(costs: Any) -> Array:
    """Costs as float64, NaN where they are infinite: an infinite cost has no difference either."""
    result = np.array(costs, dtype=np.float64)
    result[np.isinf(result)] = np.nan
    return result
