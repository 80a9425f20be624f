"""NumPy's functions on values that change: a table of rules.

A rule takes what the function takes, with `Varying` for arrays that change, and returns `Varying` or plain results.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences import _products, _reductions, _structure
from gradsweep._differences._departure import Departure
from gradsweep._differences._elementwise import compare, elementwise
from gradsweep._differences._ufuncs import call_ufunc
from gradsweep._differences._varying import Operand, Varying, base_of, varying

#: Written in Python by NumPy in terms of other functions, and right for difference arrays as they are.
PASSED_ON: set[Callable[..., Any]] = {
    np.vstack, np.hstack, np.dstack, np.column_stack, np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit,
    np.take_along_axis, np.isclose, np.allclose,
}  # fmt: skip

#: Arrays that are commonly filled afterwards.
BUFFERS: set[Callable[..., Any]] = {np.zeros_like, np.ones_like, np.empty_like, np.full_like}


def _number(value: Any) -> Operand:
    return value if isinstance(value, Varying) else np.asarray(value)


def _reduction(ufunc: np.ufunc) -> Callable[..., Any]:
    def rule(a: Any, axis: Any = None, dtype: Any = None, keepdims: Any = False, initial: Any = None, where: Any = True) -> Any:
        options = {"axis": axis, "keepdims": bool(_given(keepdims, False))}
        options |= {"initial": _given(initial, None), "where": _given(where, True)}
        return call_ufunc(ufunc, "reduce", [_array(a)], options)

    return rule


def _given(value: Any, default: Any) -> Any:
    return default if value is np._NoValue else value


def _array(value: Any) -> Operand:
    """An argument that NumPy would make an array of: lists of arrays are stacked."""
    if isinstance(value, Varying):
        return value
    if isinstance(value, list | tuple) and any(isinstance(each, Varying | list | tuple) for each in value):
        return _structure.join(np.stack, [_array(each) for each in value], 0) if _any(value) else np.asarray(value)
    return np.asarray(value)


def _any(value: Any) -> bool:
    return any(isinstance(each, Varying) or (isinstance(each, list | tuple) and _any(each)) for each in value)


def _elements(ufunc: np.ufunc, *operands: Any) -> Operand:
    return _number(elementwise(ufunc, [_number(each) for each in operands]))


# ---- reductions ----------------------------------------------------------------------------------------------------------


def _mean(a: Any, axis: Any = None, dtype: Any = None, keepdims: Any = False, *, where: Any = True) -> Operand:
    x, keep = _array(a), bool(_given(keepdims, False))
    assert isinstance(x, Varying)
    where = _given(where, True)
    if where is True:
        return _reductions.average(x, axis, keepdims=keep)
    chosen = _structure.choose(np.asarray(where), x, np.zeros(()))
    count = np.broadcast_to(where, x.shape).sum(axis=axis, keepdims=keep)
    return _elements(np.divide, _reductions.add_up(chosen, axis, keepdims=keep), count)


def _var(a: Any, axis: Any = None, dtype: Any = None, ddof: float = 0.0, keepdims: Any = False, **options: Any) -> Operand:
    x = _array(a)
    assert isinstance(x, Varying)
    ddof = options.pop("correction", _given(ddof, 0.0))
    if {name for name, value in options.items() if value is not np._NoValue}:
        raise Departure("np.var(…, where=… or mean=…) has no difference form")
    return _reductions.variance(x, axis, ddof=ddof, keepdims=bool(_given(keepdims, False)))


def _std(*args: Any, **options: Any) -> Operand:
    return _elements(np.sqrt, _var(*args, **options))


def _ptp(a: Any, axis: Any = None, keepdims: Any = False) -> Operand:
    keep = bool(_given(keepdims, False))
    return _elements(np.subtract, _reductions.largest(a, axis, keepdims=keep), _reductions.smallest(a, axis, keepdims=keep))


def _average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Operand:
    keep = bool(_given(keepdims, False))
    if returned:
        raise Departure("np.average(…, returned=True) has no difference form")
    if weights is None:
        return _mean(a, axis, keepdims=keep)
    x, w = _array(a), _array(weights)
    if w.ndim != x.ndim:
        assert isinstance(axis, int)
        shape = [1] * x.ndim
        shape[axis] = -1
        w = _structure.reshape(w, tuple(shape)) if isinstance(w, Varying) else w.reshape(shape)
    product = _elements(np.multiply, x, w)
    above = _sum(product, axis, keepdims=keep)
    below = _sum(_elements(np.multiply, np.ones(x.shape), w), axis, keepdims=keep)
    return _elements(np.divide, above, below)


def _sum(x: Operand, axis: Any = None, *, keepdims: bool = False) -> Operand:
    return _reductions.add_up(x, axis, keepdims=keepdims) if isinstance(x, Varying) else np.sum(x, axis=axis, keepdims=keepdims)


def _cumulative(ufunc: np.ufunc) -> Callable[..., Any]:
    def rule(a: Any, axis: Any = None, dtype: Any = None) -> Varying:
        x = _structure.reshape(a, -1) if axis is None else a
        return _reductions.accumulate(ufunc, x, 0 if axis is None else axis)

    return rule


def _place(function: Callable[..., NDArray[np.intp]]) -> Callable[..., Any]:
    def rule(a: Any, axis: Any = None, *, keepdims: Any = False) -> NDArray[np.intp]:
        return function(_array(a), axis, keepdims=bool(_given(keepdims, False)))

    return rule


def _difference(a: Varying, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue) -> Operand:
    axis = np.lib.array_utils.normalize_axis_index(axis, a.ndim)
    parts: list[Operand] = [a]
    for extra, place in ((prepend, 0), (append, len(parts))):
        if extra is not np._NoValue:
            whole = _number(extra)
            shape = (*a.shape[:axis], 1, *a.shape[axis + 1 :]) if whole.ndim == 0 else whole.shape
            parts.insert(place, _broadcast(whole, shape))
    x: Operand = _structure.join(np.concatenate, parts, axis) if len(parts) > 1 else a
    for _ in range(n):
        front = (slice(None),) * axis
        assert isinstance(x, Varying)
        x = _elements(np.subtract, _structure.take(x, (*front, slice(1, None))), _structure.take(x, (*front, slice(None, -1))))
    return x


# ---- structure -----------------------------------------------------------------------------------------------------------


def _moved(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one array that only moves its entries: applied to their places."""

    def rule(a: Any, *args: Any, **options: Any) -> Varying:
        x = _array(a)
        assert isinstance(x, Varying)
        if any(isinstance(each, Varying) for each in (*args, *options.values())):
            raise Departure(f"np.{function.__name__} with further arguments that change")
        return _structure.rearrange(x, lambda places: function(places, *args, **options))

    return rule


def _filled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same where some entries of the result are zeros."""

    def rule(a: Any, *args: Any, **options: Any) -> Varying:
        x = _array(a)
        assert isinstance(x, Varying)
        value = function(x.base, *args, **options)
        return _structure.rearrange(x, lambda places: function(places + 1, *args, **options) - 1, value)

    return rule


def _permuted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that permutes the axes."""

    def rule(a: Any, *args: Any, **options: Any) -> Varying:
        x = _array(a)
        assert isinstance(x, Varying)
        # Axes are told apart by their lengths.
        probe = np.broadcast_to(np.zeros(()), tuple(range(2, x.ndim + 2)))
        order = [size - 2 for size in function(probe, *args, **options).shape]
        return _structure.transpose(x, order)

    return rule


def _reshaped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that adds or takes away axes of length 1, or all of them."""

    def rule(a: Any, *args: Any, **options: Any) -> Varying:
        x = _array(a)
        assert isinstance(x, Varying)
        return _structure.reshape(x, function(x.base, *args, **options).shape)

    return rule


def _reshape(a: Varying, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: Any = None) -> Varying:
    return _structure.reshape(a, newshape if shape is None else shape, order)


def _ravel(a: Any, order: str = "C") -> Varying:
    return _structure.reshape(a, -1, order)


def _broadcast(x: Operand, shape: Any) -> Operand:
    if not isinstance(x, Varying):
        return np.broadcast_to(x, shape)
    base = np.broadcast_to(x.base, shape)
    return varying(base, np.broadcast_to(x.dense, (*base.shape, x.lanes.count)), x.lanes)


def _broadcast_to(array: Any, shape: Any, subok: bool = False) -> Operand:
    return _broadcast(_array(array), shape)


def _broadcast_arrays(*arrays: Any, subok: bool = False) -> tuple[Operand, ...]:
    given = [_array(each) for each in arrays]
    shape = np.broadcast_shapes(*(each.shape for each in given))
    return tuple(_broadcast(each, shape) for each in given)


def _at_least(count: int) -> Callable[..., Any]:
    function = {1: np.atleast_1d, 2: np.atleast_2d, 3: np.atleast_3d}[count]

    def rule(*arrays: Any) -> Any:
        made = [_reshaped(function)(each) if isinstance(each, Varying) else function(each) for each in arrays]
        return made[0] if len(made) == 1 else tuple(made)

    return rule


def _concatenate(arrays: Any, axis: Any = 0, dtype: Any = None, casting: Any = None) -> Varying:
    operands = [_array(each) for each in arrays]
    if axis is None:
        operands = [_structure.reshape(each, -1) if isinstance(each, Varying) else each.reshape(-1) for each in operands]
        axis = 0
    return _structure.join(np.concatenate, operands, np.lib.array_utils.normalize_axis_index(axis, operands[0].ndim))


def _stack(arrays: Any, axis: int = 0, dtype: Any = None, casting: Any = None) -> Varying:
    operands = [_array(each) for each in arrays]
    return _structure.join(np.stack, operands, np.lib.array_utils.normalize_axis_index(axis, operands[0].ndim + 1))


def _append(arr: Any, values: Any, axis: Any = None) -> Varying:
    return _concatenate((arr, values), axis=axis)


def _pad(array: Varying, pad_width: Any, mode: Any = "constant", **options: Any) -> Operand:
    if mode in ("edge", "reflect", "symmetric", "wrap") and not options:
        return _structure.rearrange(array, lambda places: np.pad(places, pad_width, mode=mode))
    if mode != "constant":
        raise Departure(f"np.pad(…, mode={mode!r}) has no difference form")
    value = np.pad(array.base, pad_width, mode="constant", **options)
    return _structure.rearrange(array, lambda places: np.pad(places, pad_width, constant_values=-1), value)


def _windows(x: Varying, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False) -> Varying:
    view = np.lib.stride_tricks.sliding_window_view
    return _structure.rearrange(x, lambda places: view(places, window_shape, axis))


def _where(condition: Any, *branches: Any) -> Any:
    if isinstance(condition, Varying):
        condition = elementwise(np.not_equal, (condition, np.zeros(())))
    if not branches:
        return np.where(condition)
    first, second = (_array(each) for each in branches)
    if not (isinstance(first, Varying) or isinstance(second, Varying)):
        return np.where(condition, first, second)
    return _structure.choose(np.asarray(condition), first, second)


def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result = _number(default)
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = _number(_where(condition, choice, result))
    return result


def _clip(a: Any, a_min: Any = np._NoValue, a_max: Any = np._NoValue, *, min: Any = np._NoValue, max: Any = np._NoValue) -> Any:
    low, high = (_given(one, _given(other, None)) for one, other in ((a_min, min), (a_max, max)))
    x = _array(a)
    if low is not None:
        x = _elements(np.maximum, x, low)
    return x if high is None else _elements(np.minimum, x, high)


def _take(a: Any, indices: Any, axis: Any = None, mode: str = "raise") -> Varying:
    return _structure.rearrange(a, lambda places: np.take(places, indices, axis=axis, mode=mode))  # type: ignore[call-overload]


def _copy(a: Varying, order: str = "K", subok: bool = False) -> Varying:
    return Varying(a.base.copy(), a.change, a.lanes)


# ---- products ------------------------------------------------------------------------------------------------------------


def _dot(a: Any, b: Any) -> Operand:
    first, second = _array(a), _array(b)
    if first.ndim == 0 or second.ndim == 0:
        return _elements(np.multiply, first, second)
    if second.ndim <= 2:
        return _products.matmul(first, second)
    # Of more axes the product is not that of matmul: all of the first are combined with all of the second.
    left, right = "abcdefgh"[: first.ndim - 1], "lmnopqrs"[: second.ndim - 1]
    return _products.einsum(f"{left}k,{right[:-1]}k{right[-1]}->{left}{right}", (first, second))


def _inner(a: Any, b: Any) -> Operand:
    first, second = _array(a), _array(b)
    if first.ndim == 0 or second.ndim == 0:
        return _elements(np.multiply, first, second)
    left, right = "abcdefgh"[: first.ndim - 1], "lmnopqrs"[: second.ndim - 1]
    return _products.einsum(f"{left}k,{right}k->{left}{right}", (first, second))


def _outer(a: Any, b: Any) -> Operand:
    first, second = (_flat(_array(each)) for each in (a, b))
    column = _structure.reshape(first, (-1, 1)) if isinstance(first, Varying) else first.reshape(-1, 1)
    return _elements(np.multiply, column, second)


def _flat(x: Operand) -> Operand:
    return _structure.reshape(x, -1) if isinstance(x, Varying) else x.reshape(-1)


def _vdot(a: Any, b: Any) -> Operand:
    return _products.einsum("i,i->", (_flat(_array(a)), _flat(_array(b))))


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Varying:
    first, second = _array(a), _array(b)
    if isinstance(axes, int | np.integer):
        pairs = list(zip(range(first.ndim - int(axes), first.ndim), range(int(axes)), strict=True))
    else:
        one, other = ([each] if isinstance(each, int | np.integer) else list(each) for each in axes)
        pairs = [(left % first.ndim, right % second.ndim) for left, right in zip(one, other, strict=True)]
    # Both as matrices, whose product is one over all lanes.
    left_axes, right_axes = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    left_free = [axis for axis in range(first.ndim) if axis not in left_axes]
    right_free = [axis for axis in range(second.ndim) if axis not in right_axes]
    shape = [first.shape[axis] for axis in left_free] + [second.shape[axis] for axis in right_free]
    inner = int(np.prod([first.shape[axis] for axis in left_axes], dtype=np.intp))
    left = _as_matrix(first, left_free + left_axes, (-1, inner) if inner else (int(np.prod(shape[: len(left_free)])), 0))
    right = _as_matrix(second, right_axes + right_free, (inner, -1) if inner else (0, int(np.prod(shape[len(left_free) :]))))
    return _structure.reshape(_products.matmul(left, right), tuple(shape))


def _as_matrix(x: Operand, order: Sequence[int], shape: tuple[int, int]) -> Operand:
    if isinstance(x, Varying):
        return _structure.reshape(_structure.transpose(x, order), shape)
    return x.transpose(order).reshape(shape)


def _einsum(*operands: Any, optimize: Any = False, **options: Any) -> Operand:
    if not isinstance(operands[0], str) or any(value is not None for name, value in options.items() if name == "out"):
        raise Departure("np.einsum with lists of axes has no difference form", "write the subscripts as text")
    subscripts = operands[0].replace(" ", "")
    arrays = [_array(each) for each in operands[1:]]
    if "..." in subscripts:
        subscripts = _without_ellipsis(subscripts, arrays)
    if "->" not in subscripts:
        letters = sorted(set(subscripts) - {","})
        subscripts += "->" + "".join(letter for letter in letters if subscripts.count(letter) == 1)
    return _products.einsum(subscripts, arrays)


def _without_ellipsis(subscripts: str, arrays: Sequence[Operand]) -> str:
    """Subscripts with letters for what an ellipsis stands for."""
    terms, arrow, result = subscripts.partition("->")
    spare = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in subscripts]
    names, longest = [], 0
    for term, array in zip(terms.split(","), arrays, strict=True):
        count = array.ndim - len(term.replace("...", ""))
        longest = max(longest, count if "..." in term else 0)
        names.append((term, count))
    written = [term.replace("...", "".join(spare[longest - count : longest])) for term, count in names]
    if not arrow:
        letters = sorted(set(terms) - {",", "."})
        result = "..." + "".join(letter for letter in letters if terms.count(letter) == 1)
    return ",".join(written) + "->" + result.replace("...", "".join(spare[:longest]))


# ---- the rest ------------------------------------------------------------------------------------------------------------


def _round(a: Varying, decimals: int = 0) -> Operand:
    scale = np.asarray(10.0**decimals)
    return _elements(np.divide, _elements(np.rint, _elements(np.multiply, a, scale)), scale)


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    """A question about shapes and types, which changes do not touch."""

    def rule(a: Any, *args: Any, **options: Any) -> Any:
        return function(base_of(_array(a)), *args, **options)

    return rule


def _array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    first, second = _array(a1), _array(a2)
    return first.shape == second.shape and bool(np.all(compare(np.equal, (first, second))))


def _real(val: Any) -> Operand:
    return val if val.base.dtype.kind != "c" else Varying(np.real(val.base), np.real(val.dense), val.lanes)


def _nonzero(a: Any) -> Any:
    return np.nonzero(compare(np.not_equal, (_array(a), np.zeros(()))))


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _reduction(np.add),
    np.prod: _reduction(np.multiply),
    np.max: _reduction(np.maximum),
    np.min: _reduction(np.minimum),
    np.amax: _reduction(np.maximum),
    np.amin: _reduction(np.minimum),
    np.all: _reduction(np.logical_and),
    np.any: _reduction(np.logical_or),
    np.mean: _mean,
    np.var: _var,
    np.std: _std,
    np.ptp: _ptp,
    np.average: _average,
    np.cumsum: _cumulative(np.add),
    np.cumprod: _cumulative(np.multiply),
    np.argmax: _place(_reductions.place_of_largest),
    np.argmin: _place(_reductions.place_of_smallest),
    np.diff: _difference,
    np.reshape: _reshape,
    np.ravel: _ravel,
    np.squeeze: _reshaped(np.squeeze),
    np.expand_dims: _reshaped(np.expand_dims),
    np.atleast_1d: _at_least(1),
    np.atleast_2d: _at_least(2),
    np.atleast_3d: _at_least(3),
    np.transpose: lambda a, axes=None: _structure.transpose(a, axes),
    np.swapaxes: _permuted(np.swapaxes),
    np.moveaxis: _permuted(np.moveaxis),
    np.rollaxis: _permuted(np.rollaxis),
    np.matrix_transpose: _permuted(np.matrix_transpose),
    np.broadcast_to: _broadcast_to,
    np.broadcast_arrays: _broadcast_arrays,
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.append: _append,
    np.pad: _pad,
    np.lib.stride_tricks.sliding_window_view: _windows,
    **{function: _moved(function) for function in (
        np.roll, np.flip, np.fliplr, np.flipud, np.rot90, np.repeat, np.tile, np.diagonal, np.delete, np.resize
    )},
    **{function: _filled(function) for function in (np.diag, np.diagflat, np.tril, np.triu)},
    np.where: _where,
    np.select: _select,
    np.clip: _clip,
    np.take: _take,
    np.compress: lambda condition, a, axis=None: _structure.rearrange(a, lambda p: np.compress(condition, p, axis=axis)),
    np.extract: lambda condition, arr: _structure.rearrange(arr, lambda p: np.extract(condition, p)),
    np.copy: _copy,
    np.dot: _dot,
    np.inner: _inner,
    np.outer: _outer,
    np.vdot: _vdot,
    np.tensordot: _tensordot,
    np.einsum: _einsum,
    np.trace: lambda a, *args, **options: _sum(_moved(np.diagonal)(a, *args, **options), -1),
    np.round: _round,
    np.around: _round,
    np.real: _real,
    np.array_equal: _array_equal,
    np.nonzero: _nonzero,
    np.flatnonzero: lambda a: _nonzero(_flat(a))[0],
    np.argwhere: lambda a: np.transpose(_nonzero(a)),
    np.count_nonzero: lambda a, axis=None, keepdims=False: np.sum(compare(np.not_equal, (_array(a), np.zeros(()))), axis=axis, keepdims=keepdims),
    **{function: _same(function) for function in (
        np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.iscomplexobj, np.isrealobj,
        np.iscomplex, np.isreal, np.array_repr, np.array_str, np.array2string,
    )},
    np.result_type: lambda *given: np.result_type(*(base_of(each) if isinstance(each, Varying) else each for each in given)),
    np.shares_memory: lambda a, b, *args: np.shares_memory(base_of(_array(a)), base_of(_array(b)), *args),
    np.may_share_memory: lambda a, b, *args: np.may_share_memory(base_of(_array(a)), base_of(_array(b)), *args),
}  # fmt: skip
