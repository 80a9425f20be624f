"""A value and its changes, and how a function of elements is applied to such values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy import asarray  # whose own name may be stood in for while a function runs
from numpy.typing import NDArray

from gradsweep._differences._lanes import Lanes
from gradsweep._differences._slab import Slab, common
from gradsweep._types import Array


@dataclass(frozen=True, eq=False, init=False)
class Varying:
    """A value, and how much it changes in each lane.

    Attributes
    ----------
    base : array
        The value where nothing is perturbed, of any shape, also ().
    change : array of shape (*base.shape, lanes), or Slab
        What is added to it in each lane. It may be shared with other values, and is never written to.
    lanes : Lanes
        The perturbations.
    exponential : bool
        Whether it was just made by an exponential, which is known only where there is jitter.
    node : Node, optional
        What it is in the record of a run.
    """

    base: NDArray[Any]
    change: Array | Slab
    lanes: Lanes
    exponential: bool = False
    node: Any = None

    def __init__(
        self, base: NDArray[Any], change: Array | Slab, lanes: Lanes, exponential: bool = False, node: Any = None
    ) -> None:
        # That of a frozen dataclass takes twice as long, which every operation would pay.
        own = self.__dict__
        own["base"], own["change"], own["lanes"], own["exponential"], own["node"] = base, change, lanes, exponential, node

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.base.shape

    @property
    def ndim(self) -> int:
        """Axes of the value."""
        return self.base.ndim

    @property
    def size(self) -> int:
        """Entries of the value."""
        return self.base.size

    @property
    def dense(self) -> Array:
        """The change as one array."""
        return self.change.dense if isinstance(self.change, Slab) else self.change


#: What functions are given: values that change, and plain arrays.
Operand: TypeAlias = Varying | NDArray[Any]

#: (lanes, bases, value, changes) -> change. Bases and value have a last axis of length 1, or one entry a lane; a change is None
#: where the operand is plain.
ElementForm: TypeAlias = Callable[[Lanes, Sequence[Array], Array, Sequence[Array | None]], Array]


def base_of(operand: Operand) -> NDArray[Any]:
    """The value where nothing is perturbed."""
    return operand.base if isinstance(operand, Varying) else operand


def dense(operand: Operand) -> Operand:
    """The same with its change as one array."""
    return replace(operand, change=operand.dense) if isinstance(operand, Varying) else operand


def lanes_of(operands: Sequence[Any]) -> Lanes:
    """The lanes of whichever operand varies."""
    return next(operand.lanes for operand in operands if isinstance(operand, Varying))


def varying(base: Any, change: "Array | Slab", lanes: Lanes) -> Varying:
    """A result: its value and its change, with the lanes' jitter on both.

    Parameters
    ----------
    base : array or scalar
        The value.
    change : array or Slab
        Broadcasts to (*base.shape, lanes).
    lanes : Lanes
        The perturbations.

    Returns
    -------
    Varying
        The result.
    """
    base = asarray(base)
    if lanes.infinite:
        change = without_infinite(base, change)
    size = (change.values if isinstance(change, Slab) else change).size // lanes.count
    lanes.total += size
    if size > lanes.largest:
        lanes.largest = size
    if isinstance(change, Slab):
        if lanes.jitter:
            base, change = lanes.blur(base), Slab(change.shape, change.pattern, lanes.blur(change.values))
        return Varying(base, change if change.shape == base.shape else change.broadcast(base.shape), lanes)
    if change.shape != (*base.shape, lanes.count):
        change = np.broadcast_to(change, (*base.shape, lanes.count))
    if lanes.jitter:
        base, change = lanes.blur(base) if base.dtype.kind == "f" else base, lanes.blur(change)
    return Varying(base, change, lanes)


def rounded_to(value: Varying, kind: np.dtype[Any]) -> Varying:
    """A value rounded to a type that is less precise than float64, and its change as it is.

    What rounding does to the change is noise: it is allowed for by whoever asks for `Lanes.cast`.
    """
    lanes = value.lanes
    base = asarray(value.base.astype(kind), dtype=np.float64)
    if lanes.recording is not None and not np.isfinite(base).all():
        # Whether a change is lost in an overflow is no matter of changes alone.
        lanes.recording.intact = False
    if lanes.jitter:
        # The jitter is far below this rounding, and would be rounded away.
        base = np.where(np.isfinite(base), value.base, base)
    return replace(varying(base, value.change, lanes), exponential=value.exponential)


def without_infinite(base: NDArray[Any], change: "Array | Slab") -> "Array | Slab":
    """The change, 0 where the value is infinite: an infinity, as in the logarithm of a mask, stays what it is."""
    if base.dtype.kind != "f" or not np.isinf(base).any():
        return change
    if isinstance(change, Slab):
        slab = change.broadcast(base.shape)
        infinite = slab.pattern.gather(np.isinf(base), base.ndim)
        return Slab(slab.shape, slab.pattern, np.where(infinite, 0.0, slab.values))
    return np.where(np.isinf(base)[..., np.newaxis], 0.0, change)


def real(array: NDArray[Any]) -> Array:
    """The array in float64, or as it is if complex."""
    return array if array.dtype.kind == "c" else asarray(array, dtype=np.float64)


def apply(form: ElementForm, value: Any, operands: Sequence[Operand]) -> Varying:
    """Apply a function of elements.

    Parameters
    ----------
    form : callable
        Its difference form.
    value : array or scalar
        Its value at the bases, of the shape to which they broadcast.
    operands : sequence of Varying or array
        At least one varies.

    Returns
    -------
    Varying
        The value with its change; a slab if all that varies is one of the same pattern.
    """
    value = asarray(value)
    lanes = lanes_of(operands)
    slabs = common(value.shape, [operand.change for operand in operands if isinstance(operand, Varying)])
    if slabs is not None:
        pattern, ndim = slabs[0].pattern, value.ndim
        bases = [real(pattern.gather(base_of(operand), ndim)) for operand in operands]
        given = iter(slabs)
        changes = [next(given).values if isinstance(operand, Varying) else None for operand in operands]
        values = form(lanes, bases, real(pattern.gather(value, ndim)), changes)
        shape = (*(value.shape[axis] for axis in pattern.free(ndim)), lanes.count)
        if values.shape != shape:
            values = np.broadcast_to(values, shape)
        return varying(value, Slab(value.shape, pattern, values), lanes)
    bases = [real(base_of(operand))[..., np.newaxis] for operand in operands]
    changes = [operand.dense if isinstance(operand, Varying) else None for operand in operands]
    return varying(value, form(lanes, bases, real(value)[..., np.newaxis], changes), lanes)
