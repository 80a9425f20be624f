"""Changes that are zero but for one row, column or entry, another one in each lane.

A single perturbed weight changes one row of a product, and after that one row of all that is computed element by element. Of
such a change only that row is kept.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._types import Array


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where a slab lies: some axes are fixed, to another index in each lane.

    Attributes
    ----------
    axes : tuple of int
        Fixed axes, ascending.
    index : tuple of array of int of shape (lanes,)
        Place on each of them.
    """

    axes: tuple[int, ...]
    index: tuple[NDArray[np.intp], ...]

    def same(self, other: "Pattern") -> bool:
        """Whether the two fix the same axes to the same places; by identity, which is what operations pass on."""
        return self.axes == other.axes and all(own is given for own, given in zip(self.index, other.index, strict=True))

    def free(self, ndim: int) -> tuple[int, ...]:
        """The axes that are not fixed."""
        return tuple(axis for axis in range(ndim) if axis not in self.axes)

    def shifted(self, by: int) -> "Pattern":
        """The same in an array with further axes in front."""
        return Pattern(tuple(axis + by for axis in self.axes), self.index) if by else self

    def without(self, axis: int) -> "Pattern":
        """The same with one axis less fixed."""
        kept = [place for place, fixed in enumerate(self.axes) if fixed != axis]
        return Pattern(tuple(self.axes[place] for place in kept), tuple(self.index[place] for place in kept))

    def of(self, axis: int) -> NDArray[np.intp]:
        """Place on a fixed axis."""
        return self.index[self.axes.index(axis)]

    def gather(self, array: NDArray[Any], ndim: int) -> NDArray[Any]:
        """What an array that broadcasts to `ndim` axes has where the slab lies.

        Parameters
        ----------
        array : array
            Of at most `ndim` axes, without a lane axis.
        ndim : int
            Axes of the array that the slab is part of.

        Returns
        -------
        array of shape (free axes…, lanes), or (free axes…, 1) where all lanes have the same
            Broadcasts to the slab's values.
        """
        if array.size == 1:
            return array.reshape((1,) * (ndim - len(self.axes) + 1))
        array = array.reshape((1,) * (ndim - array.ndim) + array.shape)
        free = self.free(ndim)
        last = array.transpose(free + self.axes)
        kept, fixed = last.shape[: len(free)], last.shape[len(free) :]
        last = last.reshape((*kept, math.prod(fixed)))
        if last.shape[-1] == 1:
            return last
        place: Any = 0
        for size, where in zip(fixed, self.index, strict=True):
            if size > 1:
                place = place * size + where
        taken: NDArray[Any] = last.take(place, axis=-1)
        return taken


@dataclass(frozen=True, eq=False)
class Slab:
    """A change that is zero but for a slab.

    Attributes
    ----------
    shape : tuple of int
        Of the array that changes, without the lanes.
    pattern : Pattern
        Where the slab lies.
    values : array of shape (free axes…, lanes)
        The change there.
    """

    shape: tuple[int, ...]
    pattern: Pattern
    values: Array

    @functools.cached_property
    def dense(self) -> Array:
        """The whole change: array of shape (*shape, lanes)."""
        if not self.pattern.axes:
            return self.values
        whole = np.zeros((*self.shape, self.values.shape[-1]), dtype=self.values.dtype)
        front, places = self._laid_in(whole)
        front[places] = np.moveaxis(self.values, -1, 0)
        return whole

    def added_to(self, whole: Array, sign: float = 1.0) -> Array:
        """An array of shape (*shape, lanes) after the change was added to it in place, or taken off."""
        if not self.pattern.axes:
            whole += sign * self.values
            return whole
        front, places = self._laid_in(whole)
        front[places] += sign * np.moveaxis(self.values, -1, 0)
        return whole

    def _laid_in(self, whole: Array) -> tuple[Array, tuple[Any, ...]]:
        """An array of the whole change as a view, and where in that the slab lies."""
        front = whole.transpose((*self.pattern.axes, *self.pattern.free(len(self.shape)), len(self.shape)))
        # Lanes are an index array, too, so NumPy puts them first.
        return front, (*self.pattern.index, *([slice(None)] * (self.values.ndim - 1)), np.arange(whole.shape[-1]))

    def broadcast(self, shape: tuple[int, ...]) -> "Slab":
        """The same in an array of this shape, as NumPy broadcasts."""
        if shape == self.shape:
            return self
        added = len(shape) - len(self.shape)
        pattern = self.pattern.shifted(added)
        values = self.values.reshape((1,) * added + self.values.shape)
        own = (1,) * added + self.shape
        for axis in pattern.axes:
            if own[axis] == 1 and shape[axis] != 1:
                # It is repeated along this axis, so it is no longer a single place.
                values = np.expand_dims(values, sum(free < axis for free in pattern.free(len(shape))))
                pattern = pattern.without(axis)
        free = tuple(shape[axis] for axis in pattern.free(len(shape)))
        return Slab(shape, pattern, np.broadcast_to(values, (*free, values.shape[-1])))


def one_hot(shape: tuple[int, ...], entries: NDArray[np.intp], steps: Array) -> Slab:
    """One entry perturbed in each lane.

    Parameters
    ----------
    shape : tuple of int
        Of the array; at least one axis.
    entries : array of int of shape (lanes,)
        Which entry, counted in C order.
    steps : array of shape (lanes,)
        By how much.

    Returns
    -------
    Slab
        All axes of it fixed.
    """
    index = tuple(np.asarray(place, dtype=np.intp) for place in np.unravel_index(entries, shape))
    return Slab(shape, Pattern(tuple(range(len(shape))), index), steps)


def reach(values: Array) -> float:
    """The largest absolute number; NaN if there is one. np.abs would take an array of its own."""
    return max(float(values.max()), -float(values.min())) if values.size else 0.0


def common(shape: tuple[int, ...], changes: Sequence["Array | Slab"]) -> list[Slab] | None:
    """The changes as slabs of one pattern in an array of this shape, or None if they are not.

    A pattern of no fixed axis is none.
    """
    slabs: list[Slab] = []
    for change in changes:
        if not isinstance(change, Slab):
            return None
        slab = change.broadcast(shape)
        if not slab.pattern.axes or (slabs and not slab.pattern.same(slabs[0].pattern)):
            return None
        slabs.append(slab)
    return slabs
