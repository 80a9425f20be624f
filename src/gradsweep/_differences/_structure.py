"""Functions that move entries and compute nothing: indexing, reshaping, joining, padding.

Most take their entries from one array: they are applied once to the places of the entries, and changes are gathered by the
result. Those whose results NumPy makes views of their argument are written out, so that ours are views as well.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._slab import Pattern, Slab, common
from gradsweep._differences._varying import Operand, Varying, base_of, lanes_of, varying
from gradsweep._types import Array


def index_with_lanes(index: Any) -> Any:
    """An index of the value as one of its change, whose last axis, the lanes, is left alone."""
    if type(index) is not tuple:
        return (..., slice(None)) if index is Ellipsis else index
    return (*index, slice(None)) if any(part is Ellipsis for part in index) else index


def take(x: Varying, index: Any, part: NDArray[Any] | None = None) -> Varying:
    """``x[index]``, by any index that NumPy has; `part` is what it takes of the value, if that is known."""
    base = np.asarray(x.base[index]) if part is None else part
    if isinstance(x.change, Slab):
        slab = _take_of_slab(x.change, index)
        if slab is not None:
            return Varying(base, slab, x.lanes, x.exponential)
    return Varying(base, x.dense[index_with_lanes(index)], x.lanes, x.exponential)


def _take_of_slab(slab: Slab, index: Any) -> "Array | Slab | None":
    """The same of a slab: of what is fixed there remains what the index takes; None for indices that are rare."""
    parts = _spelled_out(index, len(slab.shape))
    if parts is None:
        return None
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) > 1 or (arrays and (parts[0] is not arrays[0] or 0 not in slab.pattern.axes)):
        return None
    own: list[Any] = []
    axes, places, shape, kept = [], [], [], np.True_
    values, old = slab.values, 0
    for part in parts:
        if part is None:
            own.append(None)
            shape.append(1)
            continue
        fixed = slab.pattern.of(old) if old in slab.pattern.axes else None
        if isinstance(part, np.ndarray):
            # Rows of a table, the one that changes as often as it is taken: their axis is free again.
            assert fixed is not None
            rows = part % slab.shape[old]
            values = np.where(rows[..., *([np.newaxis] * (values.ndim - 1)), np.newaxis] == fixed, values, 0.0)
            own += [slice(None)] * part.ndim
            shape += part.shape
        elif isinstance(part, slice):
            start, _, step = part.indices(slab.shape[old])
            size = len(range(*part.indices(slab.shape[old])))
            if fixed is None:
                own.append(part)
            else:
                place, rest = np.divmod(fixed - start, step)
                inside = (rest == 0) & (place >= 0) & (place < size)
                kept = kept & inside
                axes.append(len(shape))
                places.append(np.where(inside, place, 0))
                if not size:
                    return None
            shape.append(size)
        else:
            # A single place, whose axis the result does not have.
            if fixed is None:
                own.append(part)
            else:
                kept = kept & (fixed == part % slab.shape[old])
        old += 1
    values = values[(*own, slice(None))]
    if not np.all(kept):
        values = np.where(kept, values, 0.0)
    return Slab(tuple(shape), Pattern(tuple(axes), tuple(places)), values) if axes else values


def _spelled_out(index: Any, ndim: int) -> list[Any] | None:
    """An index with a part for each axis; None if it has other parts than None, slices, integers and arrays of them."""
    parts = list(index) if isinstance(index, tuple) else [index]
    for place, part in enumerate(parts):
        if isinstance(part, list):
            part = parts[place] = np.asarray(part)
        if isinstance(part, np.ndarray):
            if part.dtype.kind not in "iu" or not part.ndim:
                return None
        elif isinstance(part, bool | np.bool_) or not (
            part is None or part is Ellipsis or isinstance(part, slice | int | np.integer)
        ):
            return None
    used = sum(part is not None and part is not Ellipsis for part in parts)
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    place = next(number for number, part in enumerate(parts) if part is Ellipsis)
    return [*parts[:place], *([slice(None)] * (ndim - used)), *parts[place + 1 :]]


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
    slabs = common(value.shape, [operand.change for operand in (first, second) if isinstance(operand, Varying)])
    if slabs is not None:
        pattern = slabs[0].pattern
        kept = pattern.gather(np.broadcast_to(np.asarray(condition, dtype=bool), value.shape), value.ndim)
        return varying(value, Slab(value.shape, pattern, np.where(kept, slabs[0].values, slabs[1].values)), lanes)
    changes = [change_of(operand, lanes.count) for operand in (first, second)]
    return varying(value, np.where(np.asarray(condition)[..., np.newaxis], *changes), lanes)
