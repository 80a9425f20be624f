"""Functions of NumPy that write into their first argument, and those that call a function of the user's.

They are written in terms of indexing and of NumPy's functions, on arrays as the user's code sees them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    dst[...] = src if where is True else np.where(where, src, dst)


def _put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    places = np.ravel(np.take(np.arange(a.size), ind, mode=mode))  # type: ignore[call-overload]
    a[np.unravel_index(places, a.shape)] = _repeated(v, places.size)


def _place(arr: Any, mask: Any, vals: Any) -> None:
    chosen = np.asarray(mask, dtype=bool)
    arr[chosen] = _repeated(vals, int(np.count_nonzero(chosen)))


def _putmask(a: Any, /, mask: Any, values: Any) -> None:
    chosen = np.asarray(mask, dtype=bool)
    # By place in the whole array, whichever of them are taken.
    a[chosen] = values if np.ndim(values) == 0 else np.reshape(_repeated(values, a.size), a.shape)[chosen]


def _put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None = -1) -> None:
    places = np.arange(arr.size).reshape(arr.shape)
    if axis is None:
        arr[np.unravel_index(indices, arr.shape)] = values
    else:
        arr[np.unravel_index(np.take_along_axis(places, indices, axis), arr.shape)] = values


def _fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    diagonal = np.zeros(a.shape, dtype=bool)
    np.fill_diagonal(diagonal, True, wrap)
    a[diagonal] = _repeated(val, int(np.count_nonzero(diagonal)))


def _repeated(values: Any, count: int) -> Any:
    """As many values as are needed, from the beginning again if there are fewer."""
    if np.ndim(values) == 0:
        return values
    return np.take(np.ravel(values), np.arange(count) % np.size(values))


def _apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    moved = np.moveaxis(arr, axis, -1)
    results = [func1d(moved[place], *args, **kwargs) for place in np.ndindex(moved.shape[:-1])]
    stacked = np.stack([each if np.ndim(each) else np.reshape(each, ()) for each in results])
    # The axes of a single result come where the axis was.
    own = stacked.ndim - 1
    whole = np.reshape(stacked, moved.shape[:-1] + stacked.shape[1:])
    axis %= arr.ndim
    return np.moveaxis(whole, tuple(range(whole.ndim - own, whole.ndim)), tuple(range(axis, axis + own)))


def _apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    for axis in np.atleast_1d(axes).tolist():
        reduced = func(a, axis)
        a = reduced if np.ndim(reduced) == np.ndim(a) else np.expand_dims(reduced, axis)
    return a


def _piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    if (isinstance(condlist, np.ndarray) and np.ndim(condlist) == np.ndim(x)) or isinstance(condlist, bool):
        condlist = [condlist]
    conditions = [np.broadcast_to(np.asarray(each, dtype=bool), np.shape(x)) for each in condlist]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(conditions, axis=0))
    if len(funclist) != len(conditions):
        raise ValueError(f"{len(conditions)} conditions need as many functions, or one more")
    result = np.zeros_like(x)
    for condition, function in zip(conditions, funclist, strict=True):
        if condition.any():
            result[condition] = function(x[condition], *args, **kw) if callable(function) else function
    return result


#: Those that write into their first argument.
ASSIGNMENTS: dict[Any, Callable[..., None]] = {
    np.copyto: _copyto,
    np.put: _put,
    np.place: _place,
    np.putmask: _putmask,
    np.put_along_axis: _put_along_axis,
    np.fill_diagonal: _fill_diagonal,
}

#: Those that call a function of the user's.
CALLERS: dict[Any, Callable[..., Any]] = {
    np.apply_along_axis: _apply_along_axis,
    np.apply_over_axes: _apply_over_axes,
    np.piecewise: _piecewise,
}
