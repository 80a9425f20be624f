"""Values in the order of their size: sorting, and what is read off a sorted array.

The base values decide the order. What a lane puts into another order changes by what then stands at each place, which is exact on
either side of the kink, and the lane is counted.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._arguments import along, as_varying, axis_of, chosen, elements, moved_axis
from gradsweep._differences._departure import Departure
from gradsweep._differences._varying import Operand, Varying, varying
from gradsweep._types import Array


def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Varying:
    """``np.sort``."""
    x = as_varying(a)
    if axis is None:
        x, axis = Varying(x.base.reshape(-1), x.dense.reshape(-1, x.lanes.count), x.lanes), 0
    last = moved_axis(x, axis, -1)
    assert isinstance(last, Varying)
    result = moved_axis(_at_places(last, np.arange(last.shape[-1])), -1, axis)
    assert isinstance(result, Varying)
    return result


def _at_places(x: Varying, places: NDArray[np.intp]) -> Varying:
    """What stands at some places when the last axis is sorted; lanes are counted in which it is another entry."""
    lanes = x.lanes
    order = np.argsort(x.base, axis=-1, kind="stable")
    base = np.take_along_axis(x.base, order, axis=-1)
    change = np.take_along_axis(x.dense, order[..., np.newaxis], axis=-2)
    value = base[..., places]
    if not x.base.size:
        return varying(value, change[..., places, :], lanes)
    # Equal values stand in the order of their changes: a sum with the values may have lost those.
    moved = np.lexsort((change, base[..., np.newaxis] + change), axis=-2)
    own = np.arange(x.shape[-1])[:, np.newaxis]
    other = moved != own
    tied = np.diff(base, axis=-1)[..., np.newaxis] == 0.0
    tied = tied & (np.diff(change, axis=-2) != 0.0)
    other[..., 1:, :] |= tied
    other[..., :-1, :] |= tied
    other = other[..., places, :]
    if lanes.ties is not None:
        return varying(value, _of_ties(change, moved != own, tied, lanes.ties)[..., places, :], lanes)
    lanes.cross(other)
    if not other.any():
        return varying(value, change[..., places, :], lanes)
    taken = moved[..., places, :]
    # Relative to the value at the same place, which is near or equal to it: nothing is rounded.
    shift = np.take_along_axis(np.broadcast_to(base[..., np.newaxis], change.shape), taken, axis=-2) - value[..., np.newaxis]
    return varying(value, shift + np.take_along_axis(change, taken, axis=-2), lanes)


def _of_ties(change: Array, other: NDArray[np.bool_], tied: NDArray[np.bool_], ties: str) -> Array:
    """Changes where all entries whose order any lane changes count as equal: in their order, the reverse of it, or their mean."""
    if ties == "first":
        return change
    result = change.copy()
    swapped = np.asarray(((other[..., 1:, :] & other[..., :-1, :]) | tied).any(axis=-1))
    for row in np.ndindex(swapped.shape[:-1]):
        if not swapped[row].any():
            continue
        # Runs of entries that are connected by neighbours of which some lane changes the order.
        group = np.concatenate([[0], np.cumsum(~swapped[row])])
        for each in np.unique(group):
            members = np.flatnonzero(group == each)
            part = change[row][members]
            result[(*row, members)] = part[::-1] if ties == "second" else part.mean(axis=0)
    return result


def median(a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: Any = False) -> Operand:
    """``np.median``."""
    return quantile(a, 0.5, axis, keepdims=keepdims)


def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Operand:
    """``np.quantile``, by any method that is a mean of two neighbours or one of them, without weights."""
    if weights is not None:
        raise Departure("np.quantile(…, weights=…) has no difference form")
    x, keep = as_varying(a), bool(keepdims) and keepdims is not np._NoValue
    from_axes = tuple(range(x.ndim)) if axis is None else tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    axes = tuple(axis_of(each, x.ndim) for each in from_axes)
    kept = [each for each in range(x.ndim) if each not in axes]
    q = np.asarray(q, dtype=np.float64)
    # All that is sorted together in one last axis.
    shape = tuple(x.shape[each] for each in kept)
    count = int(np.prod([x.shape[each] for each in axes], dtype=np.intp))
    base = x.base.transpose(*kept, *axes).reshape(*shape, count)
    change = x.dense.transpose(*kept, *axes, x.ndim).reshape(*shape, count, x.lanes.count)
    below, above, weight = _neighbours(count, q.reshape(-1), method)
    picked = _at_places(Varying(base, change, x.lanes), np.unique(np.concatenate([below, above])))
    places = np.unique(np.concatenate([below, above]))
    low = along(picked, len(shape), np.searchsorted(places, below))
    high = along(picked, len(shape), np.searchsorted(places, above))
    step = elements(np.multiply, elements(np.subtract, high, low), weight)
    result = chosen(weight == 0.0, low, elements(np.add, low, step))
    result = moved_axis(result, -1, 0)
    assert isinstance(result, Varying)
    rest = tuple(1 if each in axes else size for each, size in enumerate(x.shape)) if keep else shape
    final = (*q.shape, *rest)
    return Varying(result.base.reshape(final), result.dense.reshape(*final, x.lanes.count), x.lanes)


def percentile(a: Any, q: Any, *args: Any, **options: Any) -> Operand:
    """``np.percentile``."""
    return quantile(a, np.true_divide(q, 100.0), *args, **options)


def _neighbours(count: int, q: Array, method: str) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Between which places a quantile lies, and how far: what NumPy makes of numbers that are their own places."""
    spot = np.atleast_1d(np.quantile(np.arange(float(count)), q, method=method))  # type: ignore[call-overload]
    nearest = np.rint(spot)
    # Where the quantile is an entry, rounding must not make it lie beside one.
    spot = np.where(np.abs(spot - nearest) < 1e-12 * count, nearest, spot)
    below = np.floor(spot)
    above = np.minimum(below + (spot > below), count - 1)
    return below.astype(np.intp), above.astype(np.intp), spot - below
