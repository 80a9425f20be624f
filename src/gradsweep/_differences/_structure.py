"""Functions that move entries and compute nothing: indexing, reshaping, joining, padding.

Most take their entries from one array: they are applied once to the places of the entries, and changes are gathered by the
result. Those whose results NumPy makes views of their argument are written out, so that ours are views as well.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._slab import Pattern, Slab
from gradsweep._differences._varying import Operand, Varying, base_of, lanes_of, varying
from gradsweep._types import Array


def index_with_lanes(index: Any) -> Any:
    """An index of the value as one of its change, whose last axis, the lanes, is left alone."""
    parts = index if isinstance(index, tuple) else (index,)
    return (*parts, slice(None)) if any(part is Ellipsis for part in parts) else index


def take(x: Varying, index: Any) -> Varying:
    """``x[index]``, by any index that NumPy has."""
    base = np.asarray(x.base[index])
    if isinstance(x.change, Slab):
        slab = _take_of_slab(x.change, index)
        if slab is not None:
            return Varying(base, slab, x.lanes, x.exponential)
    return Varying(base, x.dense[index_with_lanes(index)], x.lanes, x.exponential)


def _take_of_slab(slab: Slab, index: Any) -> Slab | None:
    """A slab of which axes are cut that are not fixed, or axes added; None for other indices."""
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is Ellipsis or isinstance(part, slice) for part in parts):
        return None
    used = sum(isinstance(part, slice) for part in parts)
    if Ellipsis not in parts:
        parts = (*parts, Ellipsis)
    place = parts.index(Ellipsis)
    parts = (*parts[:place], *([slice(None)] * (len(slab.shape) - used)), *parts[place + 1 :])
    own: list[slice | None] = []
    old, shape, fixed = 0, [], []
    for part in parts:
        if part is None:
            own.append(None)
            shape.append(1)
            continue
        assert isinstance(part, slice)
        size = len(range(*part.indices(slab.shape[old])))
        if old not in slab.pattern.axes:
            own.append(part)
        elif size == slab.shape[old] and (part.step is None or part.step == 1):
            fixed.append(len(shape))
        else:
            return None
        shape.append(size)
        old += 1
    return Slab(tuple(shape), Pattern(tuple(fixed), slab.pattern.index), slab.values[(*own, slice(None))])


def reshape(x: Varying, shape: Any, order: str = "C") -> Varying:
    """``np.reshape``; a view where NumPy makes one."""
    if order not in ("C", None):
        # "A" and "K" go by how the values lie in memory.
        kept = {"A": "F" if x.base.flags.fnc else "C", "K": "K"}.get(order, order)
        if kept == "K":
            return rearrange(x, lambda places: _as_in_memory(places, x.base))
        return rearrange(x, lambda places: np.reshape(places, shape, order=kept))  # type: ignore[call-overload]
    base = np.reshape(x.base, shape)
    if base.shape == x.shape:
        return Varying(base, x.change, x.lanes, x.exponential)
    if isinstance(x.change, Slab) and len(x.change.pattern.axes) == x.ndim and base.ndim:
        # A single entry stays one.
        flat = np.ravel_multi_index(x.change.pattern.index, x.shape)
        index = tuple(np.asarray(place, dtype=np.intp) for place in np.unravel_index(flat, base.shape))
        pattern = Pattern(tuple(range(base.ndim)), index)
        return Varying(base, Slab(base.shape, pattern, x.change.values), x.lanes, x.exponential)
    return Varying(base, x.dense.reshape(*base.shape, x.lanes.count), x.lanes, x.exponential)


def _as_in_memory(places: NDArray[np.intp], like: NDArray[Any]) -> NDArray[np.intp]:
    """All places in one axis, in the order in which the values of another array lie."""
    laid = np.empty_like(like, dtype=np.intp)
    laid[...] = places
    return laid.ravel(order="K")


def transpose(x: Varying, axes: Sequence[int] | None = None) -> Varying:
    """``np.transpose``."""
    given = tuple(range(x.ndim))[::-1] if axes is None else tuple(axes)
    order = tuple(np.lib.array_utils.normalize_axis_index(axis, x.ndim) for axis in given)
    base = x.base.transpose(order)
    if not isinstance(x.change, Slab):
        return Varying(base, x.change.transpose((*order, x.ndim)), x.lanes, x.exponential)
    pattern = x.change.pattern
    fixed = tuple(new for new, old in enumerate(order) if old in pattern.axes)
    free = [old for old in order if old not in pattern.axes]
    before = pattern.free(x.ndim)
    values = x.change.values.transpose((*(before.index(old) for old in free), len(free)))
    moved = Pattern(fixed, tuple(pattern.of(order[new]) for new in fixed))
    return Varying(base, Slab(base.shape, moved, values), x.lanes, x.exponential)


def rearrange(x: Varying, function: Callable[[NDArray[np.intp]], NDArray[np.intp]], base: Any = None) -> Varying:
    """Any function that takes its entries from one array.

    Parameters
    ----------
    x : Varying
        The array.
    function : callable
        Applied to the places of its entries, in the place of the entries; −1 stands for an entry that does not change.
    base : array, optional
        The value, if entries are not all from `x`.

    Returns
    -------
    Varying
        The result.
    """
    places = np.asarray(function(np.arange(x.base.size, dtype=np.intp).reshape(x.shape)))
    change = x.dense.reshape(-1, x.lanes.count)
    if base is not None:
        change = np.concatenate([change, np.zeros((1, x.lanes.count))])  # of which −1 is the last row
        return Varying(np.asarray(base), change[places], x.lanes)
    return Varying(x.base.reshape(-1)[places], change[places], x.lanes, x.exponential)


def change_of(operand: Operand, lanes: int) -> Array:
    """The change of an operand, zero if it is plain: array of shape (*shape, lanes)."""
    if isinstance(operand, Varying):
        return operand.dense
    return np.broadcast_to(np.zeros(1), (*np.shape(operand), lanes))


def join(function: Callable[..., NDArray[Any]], operands: Sequence[Operand], axis: int) -> Varying:
    """``np.concatenate`` or ``np.stack`` along an axis, which is counted from the front."""
    lanes = lanes_of(operands)
    value = function([base_of(operand) for operand in operands], axis=axis)
    return varying(value, function([change_of(operand, lanes.count) for operand in operands], axis=axis), lanes)


def choose(condition: NDArray[Any], first: Operand, second: Operand) -> Varying:
    """``np.where(condition, first, second)``."""
    lanes = lanes_of((first, second))
    value = np.where(condition, base_of(first), base_of(second))
    if isinstance(first, Varying) != isinstance(second, Varying):
        # One of them is plain: where it is taken nothing changes.
        own = first if isinstance(first, Varying) else second
        assert isinstance(own, Varying)
        taken = np.asarray(condition, dtype=bool) if own is first else ~np.asarray(condition, dtype=bool)
        if isinstance(own.change, Slab) and own.shape == value.shape:
            kept = own.change.pattern.gather(np.broadcast_to(taken, value.shape), value.ndim)
            return varying(value, Slab(value.shape, own.change.pattern, np.where(kept, own.change.values, 0.0)), lanes)
        return varying(value, np.where(taken[..., np.newaxis], own.dense, 0.0), lanes)
    changes = [change_of(operand, lanes.count) for operand in (first, second)]
    return varying(value, np.where(np.asarray(condition)[..., np.newaxis], *changes), lanes)
