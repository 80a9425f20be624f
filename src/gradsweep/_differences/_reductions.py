"""Sums, products, extremes and running sums along axes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._departure import Departure
from gradsweep._differences._elementwise import elementwise
from gradsweep._differences._slab import Pattern, Slab, reach
from gradsweep._differences._structure import choose
from gradsweep._differences._varying import Varying, varying
from gradsweep._types import Array

#: One axis, several, or None for all of them.
Axis = int | tuple[int, ...] | None

# Terms that are added up one after the other before their sum is added to that of others.
_TOGETHER = 64


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes, counted from the front, ascending."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(np.lib.array_utils.normalize_axis_index(int(each), ndim) for each in given))


def add_up(x: Varying, axis: Axis = None, *, keepdims: bool = False) -> Varying:
    """``np.sum``."""
    axes = axes_of(axis, x.ndim)
    value = np.sum(x.base, axis=axes, keepdims=keepdims)
    if x.exponential:
        return varying(value, summed(x.dense, axes, keepdims=keepdims) + _slack(x, axes, keepdims=keepdims), x.lanes)
    if not isinstance(x.change, Slab):
        return varying(value, summed(x.change, axes, keepdims=keepdims), x.lanes)
    return varying(value, add_up_slab(x.change, axes, keepdims=keepdims), x.lanes)


def summed(change: Array, axes: tuple[int, ...], *, keepdims: bool) -> Array:
    """The sum of a change along axes, of which the last is none.

    Along these NumPy adds one term after the other. Of the equal changes that a bias has in all examples each step is rounded
    alike, which n of them make some n/8 last digits: more than jitter, which is random, lets one expect. Hence by parts.
    """
    if math.prod(change.shape[axis] for axis in axes) > _TOGETHER:
        for axis in axes:
            change = _summed_by_parts(change, axis)
    result: Array = np.sum(change, axis=axes, keepdims=keepdims)
    return result


def _summed_by_parts(change: Array, axis: int) -> Array:
    """The sum along one axis, which stays."""
    lead = (slice(None),) * axis
    while (count := change.shape[axis]) > _TOGETHER:
        whole = count - count % _TOGETHER
        parts = (*change.shape[:axis], whole // _TOGETHER, _TOGETHER, *change.shape[axis + 1 :])
        sums = np.sum(change[(*lead, slice(whole))].reshape(parts), axis=axis + 1)
        rest = np.sum(change[(*lead, slice(whole, None))], axis=axis, keepdims=True)
        change = np.concatenate([sums, rest], axis=axis) if whole < count else sums
    result: Array = np.sum(change, axis=axis, keepdims=True)
    return result


def _slack(x: Varying, axes: tuple[int, ...], *, keepdims: bool) -> Any:
    """Jitter for what a backward pass computes of a softmax from rounded results.

    Of p = e/Σe, where one term is nearly all of the sum, 1 − p has lost the digits of the other terms. Forward it does not, if
    the largest logit was taken off before: that term then stays the same, and all others change.
    """
    sizes = np.abs(x.base)
    with np.errstate(all="ignore"):
        relative = np.abs(x.dense) / np.maximum(sizes, np.finfo(np.float64).tiny)[..., np.newaxis]
    largest = sizes == sizes.max(axis=axes, keepdims=True)
    least = np.min(relative, axis=axes, keepdims=keepdims, initial=np.inf, where=~largest[..., np.newaxis])
    total = np.sum(sizes, axis=axes, keepdims=keepdims)[..., np.newaxis]
    return x.lanes.slack(np.where(np.isfinite(least), least, 0.0) * total)


def add_up_slab(slab: Slab, axes: tuple[int, ...], *, keepdims: bool) -> "Array | Slab":
    """The sum of a change along axes, which are counted from the front and ascend."""
    ndim = len(slab.shape)
    free = slab.pattern.free(ndim)
    values = summed(slab.values, tuple(place for place, axis in enumerate(free) if axis in axes), keepdims=keepdims)
    # A sum over a fixed axis has one term.
    pattern = slab.pattern
    for axis in axes:
        if axis in pattern.axes:
            pattern = pattern.without(axis)
            if keepdims:
                values = np.expand_dims(values, sum(other < axis for other in pattern.free(ndim) if other != axis))
    if keepdims:
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(slab.shape))
    else:
        shape = tuple(size for axis, size in enumerate(slab.shape) if axis not in axes)
        pattern = Pattern(tuple(axis - sum(gone < axis for gone in axes) for axis in pattern.axes), pattern.index)
    return Slab(shape, pattern, values) if pattern.axes else values


def average(x: Varying, axis: Axis = None, *, keepdims: bool = False) -> Varying:
    """``np.mean``."""
    total = add_up(x, axis, keepdims=keepdims)
    count = np.array(np.prod([x.shape[each] for each in axes_of(axis, x.ndim)], dtype=np.float64))
    result = elementwise(np.divide, (total, count))
    assert isinstance(result, Varying)
    return result


def variance(
    x: Varying, axis: Axis = None, *, ddof: float = 0.0, keepdims: bool = False, mean: Any = None, where: Any = True
) -> Varying:
    """``np.var``: the mean square of what is left when the mean is taken off."""
    count: Any = np.prod([x.shape[each] for each in axes_of(axis, x.ndim)], dtype=np.float64)
    if where is not True:
        where = np.broadcast_to(where, x.shape)
        count = where.sum(axis=axis, keepdims=True, dtype=np.float64)
    if mean is None:
        parts = x if where is True else choose(where, x, np.zeros(()))
        mean = elementwise(np.divide, (add_up(parts, axis, keepdims=True), np.asarray(count)))
    centred = elementwise(np.subtract, (x, mean))
    assert isinstance(centred, Varying)
    if centred.base.dtype.kind == "c":
        centred = elementwise(np.absolute, (centred,))
        assert isinstance(centred, Varying)
    squares = elementwise(np.square, (centred,))
    assert isinstance(squares, Varying)
    if where is not True:
        squares = choose(where, squares, np.zeros(()))
    total = add_up(squares, axis, keepdims=True)
    result = elementwise(np.divide, (total, np.asarray(np.maximum(count - ddof, 0.0))))
    assert isinstance(result, Varying)
    if keepdims:
        return result
    shape = np.sum(x.base, axis=axis).shape
    return Varying(result.base.reshape(shape), result.dense.reshape(*shape, x.lanes.count), x.lanes)


def largest(x: Varying, axis: Axis = None, *, keepdims: bool = False) -> Varying:
    """``np.max``: the change of the base's winner; where another entry overtakes it, as far as it does."""
    return _extreme(x, axis, 1.0, keepdims=keepdims)


def smallest(x: Varying, axis: Axis = None, *, keepdims: bool = False) -> Varying:
    """``np.min``."""
    return _extreme(x, axis, -1.0, keepdims=keepdims)


def _extreme(x: Varying, axis: Axis, sign: float, *, keepdims: bool) -> Varying:
    axes = axes_of(axis, x.ndim)
    value = np.asarray((np.max if sign > 0 else np.min)(x.base, axis=axes, keepdims=True))
    size = int(np.prod([x.shape[other] for other in axes], dtype=np.intp))
    # All entries of each group in one axis, the last but that of the lanes.
    kept = tuple(other for other in range(x.ndim) if other not in axes)
    base = (sign * x.base).transpose(kept + axes).reshape(*(x.shape[other] for other in kept), size)
    change = sign * x.dense.transpose((*kept, *axes, x.ndim)).reshape(*base.shape, x.lanes.count)
    top = base.max(axis=-1, keepdims=True)
    lead = np.where(base == top, 0.0, base - top)  # two infinities are equal
    winner = np.argmax(lead, axis=-1)[..., np.newaxis, np.newaxis]
    own = np.take_along_axis(change, winner, axis=-2)
    if _is_safe(lead, change):
        value = value if keepdims else value.reshape([x.shape[other] for other in kept])
        return varying(value, (sign * own).reshape(*value.shape, x.lanes.count), x.lanes)
    challenge = lead[..., np.newaxis] + change
    best = challenge.max(axis=-2, keepdims=True)
    tied = (lead == 0.0)[..., np.newaxis] & (change != own)
    lanes = x.lanes
    if tied.any() and lanes.ties is not None:
        equal = ((challenge > own) | tied).any(axis=-1, keepdims=True)
        result = _of_tied(change, own, equal, lanes.ties)
    else:
        lanes.cross((best > own) | tied.any(axis=-2, keepdims=True))
        result = own if lanes.ties is not None else best
    value = value if keepdims else value.reshape([x.shape[other] for other in kept])
    return varying(value, (sign * result).reshape(*value.shape, lanes.count), lanes)


def _is_safe(lead: Array, change: Array) -> bool:
    """Whether in no group and no lane another entry can win than does: by the largest change of all."""
    if lead.shape[-1] < 2 or not change.size:
        return True
    second = np.partition(lead, -2, axis=-1)[..., -2]
    return bool((second < -2.0 * reach(change)).all())


def _of_tied(change: Array, own: Array, equal: NDArray[np.bool_], ties: str) -> Array:
    """What a backward pass takes among equal entries: the first one's slope, the last one's, or the mean of them."""
    if ties == "first":
        return own
    if ties == "mean":
        # The winner itself is not among those that are equal to it.
        count = 1.0 + equal.sum(axis=-2, keepdims=True)
        mean: Array = (own + (change * equal).sum(axis=-2, keepdims=True)) / count
        return mean
    last = change.shape[-2] - 1 - np.argmax(equal[..., ::-1, :], axis=-2, keepdims=True)
    return np.where(equal.any(axis=-2, keepdims=True), np.take_along_axis(change, np.broadcast_to(last, own.shape), axis=-2), own)


def place_of_largest(x: Varying, axis: int | None = None, *, keepdims: bool = False) -> NDArray[np.intp]:
    """``np.argmax``, by the base values; a lane in which another entry wins is counted."""
    return _place(x, axis, np.argmax, keepdims=keepdims)


def place_of_smallest(x: Varying, axis: int | None = None, *, keepdims: bool = False) -> NDArray[np.intp]:
    """``np.argmin``."""
    return _place(x, axis, np.argmin, keepdims=keepdims)


def _place(x: Varying, axis: int | None, function: Callable[..., Any], *, keepdims: bool) -> NDArray[np.intp]:
    decided = np.asarray(function(x.base, axis=axis, keepdims=keepdims))
    flat = x.base.reshape(-1) if axis is None else x.base
    change = x.dense.reshape(-1, x.lanes.count) if axis is None else x.dense
    along = 0 if axis is None else np.lib.array_utils.normalize_axis_index(axis, x.ndim)
    own = np.expand_dims(function(flat, axis=along), along)
    # Relative to the winner, so that no digit of a small change is lost.
    lead = (flat - np.take_along_axis(flat, own, axis=along))[..., np.newaxis]
    otherwise = function(lead + change - np.take_along_axis(change, own[..., np.newaxis], axis=along), axis=along)
    lanes = x.lanes
    lanes.cross(np.expand_dims(otherwise, along) != own[..., np.newaxis])
    return np.asarray(otherwise[..., 0]).reshape(decided.shape) if lanes.decide else decided


def accumulate(ufunc: np.ufunc, x: Varying, axis: int, *, associative: bool = False) -> Varying:
    """``ufunc.accumulate``: running sums at once, of associative functions runs of 2, 4, 8, …, else one step after another."""
    axis = np.lib.array_utils.normalize_axis_index(axis, x.ndim)
    if ufunc is np.add:
        return varying(np.cumsum(x.base, axis=axis), np.cumsum(x.dense, axis=axis), x.lanes)
    if associative:
        return _accumulate_doubling(ufunc, x, axis)
    if not x.shape[axis]:
        return Varying(ufunc.accumulate(x.base, axis=axis), x.dense, x.lanes)
    steps = [_slice(x, axis, 0)]
    for place in range(1, x.shape[axis]):
        steps.append(_combine(ufunc, steps[-1], _slice(x, axis, place)))
    base = np.stack([step.base for step in steps], axis=axis)
    return Varying(base, np.stack([step.dense for step in steps], axis=axis), x.lanes)


def _accumulate_doubling(ufunc: np.ufunc, x: Varying, axis: int) -> Varying:
    """Running results of an associative function: what is known of runs of some length gives that of runs twice as long [1]_.

    References
    ----------
    .. [1] W. D. Hillis, G. L. Steele, "Data parallel algorithms", Communications of the ACM 29 (1986), 1170-1183.
    """
    length = 1
    while length < x.shape[axis]:
        longer = _combine(ufunc, _part(x, axis, None, -length), _part(x, axis, length, None))
        head = _part(x, axis, None, length)
        base = np.concatenate([head.base, longer.base], axis=axis)
        x = Varying(base, np.concatenate([head.dense, longer.dense], axis=axis), x.lanes)
        length *= 2
    return x


def fold(ufunc: np.ufunc, x: Varying, axis: Axis, *, keepdims: bool = False, associative: bool = False) -> Varying:
    """``ufunc.reduce`` of any function of two numbers: of an associative one pair by pair, else one step after the other."""
    axes = axes_of(axis, x.ndim)
    value = np.asarray(ufunc.reduce(x.base, axis=axes if len(axes) != 1 else axes[0], keepdims=keepdims))
    for along in reversed(axes):
        if not x.shape[along]:
            return Varying(value, np.zeros((*value.shape, x.lanes.count)), x.lanes)
        x = (_fold_pairs if associative else _fold_steps)(ufunc, x, along)
    return Varying(x.base.reshape(value.shape), x.dense.reshape(*value.shape, x.lanes.count), x.lanes)


def _fold_steps(ufunc: np.ufunc, x: Varying, axis: int) -> Varying:
    result = _slice(x, axis, 0)
    for place in range(1, x.shape[axis]):
        result = _combine(ufunc, result, _slice(x, axis, place))
    return result


def _fold_pairs(ufunc: np.ufunc, x: Varying, axis: int) -> Varying:
    while x.shape[axis] > 1:
        half = x.shape[axis] // 2
        pairs = _combine(ufunc, _part(x, axis, None, half), _part(x, axis, half, 2 * half))
        rest = _part(x, axis, 2 * half, None)
        base = np.concatenate([pairs.base, rest.base], axis=axis)
        x = Varying(base, np.concatenate([pairs.dense, rest.dense], axis=axis), x.lanes)
    return _slice(x, axis, 0)


def _combine(ufunc: np.ufunc, first: Varying, second: Varying) -> Varying:
    result = elementwise(ufunc, (first, second))
    if not isinstance(result, Varying):
        raise Departure(f"np.{ufunc.__name__}.reduce of values that change")
    return result


def _part(x: Varying, axis: int, start: int | None, stop: int | None) -> Varying:
    index = (slice(None),) * axis + (slice(start, stop),)
    return Varying(x.base[index], x.dense[index], x.lanes)


def _slice(x: Varying, axis: int, place: int) -> Varying:
    index = (slice(None),) * axis + (place,)
    return Varying(np.asarray(x.base[index]), x.dense[index], x.lanes)
