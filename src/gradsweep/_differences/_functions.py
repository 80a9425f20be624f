"""NumPy's functions on values that change: a table of rules.

A rule takes what the function takes, with `Varying` for arrays that change, and returns `Varying` or plain results.
"""

import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences import _linear_algebra, _products, _reductions, _selections, _structure
from gradsweep._differences._arguments import (
    along,
    as_operand,
    as_varying,
    axis_of,
    broadcast,
    chosen,
    elements,
    flat,
    given,
    joined,
    moved_axis,
    reshaped,
    taken,
    total,
    transposed,
    varies,
)
from gradsweep._differences._departure import Departure
from gradsweep._differences._elementwise import compare, elementwise
from gradsweep._differences._ufuncs import call_ufunc
from gradsweep._differences._varying import Operand, Varying, base_of

#: Written in Python by NumPy in terms of other functions, and right for difference arrays as they are.
PASSED_ON: set[Callable[..., Any]] = {
    np.vstack, np.hstack, np.dstack, np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit,
    np.take_along_axis,
}  # fmt: skip

#: Arrays that are commonly filled afterwards.
BUFFERS: set[Callable[..., Any]] = {np.zeros_like, np.ones_like, np.empty_like}


# ---- reductions ----------------------------------------------------------------------------------------------------------
#
# `out` is taken care of before a rule is called, and None here; it is named for those who give arguments by position.


def _reduce(ufunc: np.ufunc, a: Any, axis: Any, keepdims: Any, initial: Any = None, where: Any = True) -> Any:
    options = {"axis": axis, "keepdims": bool(given(keepdims, False))}
    options |= {"initial": given(initial, None), "where": given(where, True)}
    return call_ufunc(ufunc, "reduce", [as_operand(a)], options)


def _sum_or_product(ufunc: np.ufunc) -> Callable[..., Any]:
    def rule(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        keepdims: Any = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        return _reduce(ufunc, a, axis, keepdims, initial, where)

    return rule


def _extreme(ufunc: np.ufunc) -> Callable[..., Any]:
    def rule(a: Any, axis: Any = None, out: None = None, keepdims: Any = False, initial: Any = None, where: Any = True) -> Any:
        return _reduce(ufunc, a, axis, keepdims, initial, where)

    return rule


def _truth(ufunc: np.ufunc) -> Callable[..., Any]:
    def rule(a: Any, axis: Any = None, out: None = None, keepdims: Any = False, *, where: Any = True) -> Any:
        return _reduce(ufunc, a, axis, keepdims, where=where)

    return rule


def _mean(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False, *, where: Any = True) -> Operand:
    x, keep, where = as_varying(a), bool(given(keepdims, False)), given(where, True)
    if where is True:
        return _reductions.average(x, axis, keepdims=keep)
    counted = np.broadcast_to(where, x.shape)
    count = counted.sum(axis=axis, keepdims=keep)
    return elements(np.divide, total(chosen(counted, x, 0.0), axis, keepdims=keep), count)


def _var(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0.0, keepdims: Any = False, **options: Any
) -> Operand:
    given_options = {name: value for name, value in options.items() if value is not np._NoValue}
    ddof = given_options.pop("correction", given(ddof, 0.0))
    return _reductions.variance(as_varying(a), axis, ddof=ddof, keepdims=bool(given(keepdims, False)), **given_options)


def _std(*args: Any, **options: Any) -> Operand:
    return elements(np.sqrt, _var(*args, **options))


def _ptp(a: Any, axis: Any = None, out: None = None, keepdims: Any = False) -> Operand:
    return elements(np.subtract, _reduce(np.maximum, a, axis, keepdims), _reduce(np.minimum, a, axis, keepdims))


def _average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Any:
    x, keep = as_operand(a), bool(given(keepdims, False))
    w = as_operand(1.0 if weights is None else weights)
    if weights is not None and w.shape != x.shape:
        if axis is None:
            raise TypeError("axis must be given where weights have another shape than the array")
        axes = [axis_of(each, x.ndim) for each in (axis if isinstance(axis, tuple | list) else (axis,))]
        w = transposed(w, [int(place) for place in np.argsort(axes)])
        w = reshaped(w, tuple(size if place in axes else 1 for place, size in enumerate(x.shape)))
    w = broadcast(w, x.shape)
    below = total(w, axis, keepdims=keep)
    mean = elements(np.divide, total(elements(np.multiply, x, w), axis, keepdims=keep), below)
    return (mean, below) if returned else mean


def _cumulative(ufunc: np.ufunc) -> Callable[..., Any]:
    def rule(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
        x = as_varying(a)
        return call_ufunc(ufunc, "accumulate", [_structure.reshape(x, -1) if axis is None else x], {"axis": axis or 0})

    return rule


def _cumulative_of_standard(ufunc: np.ufunc) -> Callable[..., Any]:
    """The same as the array API standard has it."""

    def rule(x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False) -> Operand:
        operand = as_varying(x)
        if axis is None and operand.ndim > 1:
            raise ValueError("axis must be given for an array of several axes")
        place = axis_of(axis or 0, operand.ndim)
        result: Operand = call_ufunc(ufunc, "accumulate", [operand], {"axis": place})
        if not include_initial:
            return result
        shape = tuple(1 if other == place else size for other, size in enumerate(operand.shape))
        return joined((np.full(shape, ufunc.identity, dtype=np.float64), result), place)

    return rule


def _place(function: Callable[..., NDArray[np.intp]]) -> Callable[..., Any]:
    def rule(a: Any, axis: Any = None, out: None = None, *, keepdims: Any = False) -> NDArray[np.intp]:
        return function(as_varying(a), axis, keepdims=bool(given(keepdims, False)))

    return rule


def _difference(a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue) -> Operand:
    x = as_operand(a)
    axis = axis_of(axis, x.ndim)
    parts = []
    for part in (prepend, x, append):
        if part is np._NoValue:
            continue
        whole = as_operand(part)
        parts.append(whole if whole.ndim else broadcast(whole, (*x.shape[:axis], 1, *x.shape[axis + 1 :])))
    x = joined(parts, axis) if len(parts) > 1 else x
    for _ in range(n):
        x = elements(np.subtract, along(x, axis, slice(1, None)), along(x, axis, slice(None, -1)))
    return x


# ---- structure -----------------------------------------------------------------------------------------------------------


def _moved(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one array that only moves its entries: applied to their places."""

    def rule(a: Any, *args: Any, **options: Any) -> Varying:
        x = as_varying(a)
        if varies([*args, *options.values()]):
            raise Departure(f"np.{function.__name__} with further arguments that change")
        return _structure.rearrange(x, lambda places: function(places, *args, **options))

    return rule


def _filled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same where some entries of the result are zeros."""

    def rule(a: Any, *args: Any, **options: Any) -> Varying:
        x = as_varying(a)
        value = function(x.base, *args, **options)
        return _structure.rearrange(x, lambda places: function(places + 1, *args, **options) - 1, value)

    return rule


def _permuted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that permutes the axes."""

    def rule(a: Any, *args: Any, **options: Any) -> Varying:
        x = as_varying(a)
        # Axes are told apart by their lengths.
        probe = np.broadcast_to(np.zeros(()), tuple(range(2, x.ndim + 2)))
        order = [size - 2 for size in function(probe, *args, **options).shape]
        return _structure.transpose(x, order)

    return rule


def _reshaped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that adds or takes away axes of length 1, or all of them."""

    def rule(a: Any, *args: Any, **options: Any) -> Varying:
        x = as_varying(a)
        return _structure.reshape(x, function(x.base, *args, **options).shape)

    return rule


def _reshape(a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: Any = None) -> Varying:
    return _structure.reshape(as_varying(a), newshape if shape is None else shape, order)


def _ravel(a: Any, order: str = "C") -> Varying:
    return _structure.reshape(as_varying(a), -1, order)


def _broadcast_to(array: Any, shape: Any, subok: bool = False) -> Operand:
    return broadcast(as_operand(array), tuple(np.atleast_1d(shape)))


def _broadcast_arrays(*arrays: Any, subok: bool = False) -> tuple[Operand, ...]:
    operands = [as_operand(each) for each in arrays]
    shape = np.broadcast_shapes(*(each.shape for each in operands))
    return tuple(broadcast(each, shape) for each in operands)


def _at_least(count: int) -> Callable[..., Any]:
    function = {1: np.atleast_1d, 2: np.atleast_2d, 3: np.atleast_3d}[count]

    def rule(*arrays: Any) -> Any:
        made = [_reshaped(function)(each) if isinstance(each, Varying) else function(each) for each in arrays]
        return made[0] if len(made) == 1 else tuple(made)

    return rule


def _concatenate(arrays: Any, /, axis: Any = 0, out: None = None, *, dtype: Any = None, casting: Any = None) -> Operand:
    operands = [as_operand(each) for each in arrays]
    if axis is None:
        operands, axis = [flat(each) for each in operands], 0
    return joined(operands, axis_of(axis, operands[0].ndim))


def _stack(arrays: Any, axis: int = 0, out: None = None, *, dtype: Any = None, casting: Any = None) -> Varying:
    operands = [as_operand(each) for each in arrays]
    return _structure.join(np.stack, operands, axis_of(axis, operands[0].ndim + 1))


def _column_stack(tup: Any) -> Operand:
    operands = [as_operand(each) for each in tup]
    return joined([each if each.ndim > 1 else reshaped(each, (-1, 1)) for each in operands], 1)


def _append(arr: Any, values: Any, axis: Any = None) -> Operand:
    return _concatenate((arr, values), axis=axis)


def _pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Operand:
    array = as_varying(array)
    if varies(list(options.values())):
        raise Departure("np.pad with values that change has no difference form", "join the arrays by np.concatenate")
    if mode in ("edge", "reflect", "symmetric", "wrap") and not options:
        return _structure.rearrange(array, lambda places: np.pad(places, pad_width, mode=mode))
    if mode != "constant":
        raise Departure(f"np.pad(…, mode={mode!r}) has no difference form")
    value = np.pad(array.base, pad_width, mode="constant", **options)
    return _structure.rearrange(array, lambda places: np.pad(places, pad_width, constant_values=-1), value)


def _windows(x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False) -> Varying:
    view = np.lib.stride_tricks.sliding_window_view
    if writeable:
        raise Departure("np.lib.stride_tricks.sliding_window_view(…, writeable=True) of a value that changes cannot be followed")
    return _structure.rearrange(as_varying(x), lambda places: view(places, window_shape, axis))


def _where(condition: Any, *branches: Any) -> Any:
    if isinstance(condition, Varying):
        condition = elementwise(np.not_equal, (condition, np.zeros(())))
    if not branches:
        return np.where(condition)
    return chosen(np.asarray(condition), *branches)


def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result = as_operand(default)
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = as_operand(_where(condition, choice, result))
    return result


def _clip(
    a: Any,
    a_min: Any = np._NoValue,
    a_max: Any = np._NoValue,
    out: None = None,
    *,
    min: Any = np._NoValue,
    max: Any = np._NoValue,
    **options: Any,
) -> Any:
    low, high = (given(one, given(other, None)) for one, other in ((a_min, min), (a_max, max)))
    x = as_operand(a)
    if low is not None:
        x = elements(np.maximum, x, low)
    return x if high is None else elements(np.minimum, x, high)


def _take(a: Any, indices: Any, axis: Any = None, out: None = None, mode: str = "raise") -> Varying:
    return _structure.rearrange(as_varying(a), lambda places: np.take(places, indices, axis=axis, mode=mode))  # type: ignore[call-overload]


def _compress(condition: Any, a: Any, axis: Any = None, out: None = None) -> Varying:
    return _structure.rearrange(as_varying(a), lambda places: np.compress(condition, places, axis=axis))


def _extract(condition: Any, arr: Any) -> Varying:
    return _structure.rearrange(as_varying(arr), lambda places: np.extract(condition, places))


def _copy(a: Any, order: Any = "K", subok: bool = False) -> Varying:
    x = as_varying(a)
    return Varying(x.base.copy(order), x.change, x.lanes)


# ---- products ------------------------------------------------------------------------------------------------------------


def _dot(a: Any, b: Any, out: None = None) -> Operand:
    first, second = as_operand(a), as_operand(b)
    if first.ndim == 0 or second.ndim == 0:
        return elements(np.multiply, first, second)
    if second.ndim <= 2:
        return _products.matmul(first, second)
    # Of more axes the product is not that of matmul: all of the first are combined with all of the second.
    return _tensordot(first, second, ([-1], [-2]))


def _inner(a: Any, b: Any, /) -> Operand:
    first, second = as_operand(a), as_operand(b)
    if first.ndim == 0 or second.ndim == 0:
        return elements(np.multiply, first, second)
    return _tensordot(first, second, ([-1], [-1]))


def _outer(a: Any, b: Any, out: None = None) -> Operand:
    return elements(np.multiply, reshaped(as_operand(a), (-1, 1)), flat(as_operand(b)))


def _vdot(a: Any, b: Any, /) -> Operand:
    first, second = as_operand(a), as_operand(b)
    if base_of(first).dtype.kind == "c":
        first = elements(np.conjugate, first)
    return _products.einsum("i,i->", (flat(first), flat(second)))


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Varying:
    first, second = as_operand(a), as_operand(b)
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
    return reshaped(transposed(x, order), shape)


def _einsum(*operands: Any, optimize: Any = False, **options: Any) -> Operand:
    if isinstance(operands[0], str):
        subscripts, arrays = operands[0].replace(" ", ""), [as_operand(each) for each in operands[1:]]
    else:
        subscripts, arrays = _in_letters(operands), [as_operand(each) for each in operands[: len(operands) // 2 * 2 : 2]]
    if "..." in subscripts:
        subscripts = _without_ellipsis(subscripts, arrays)
    if "->" not in subscripts:
        letters = sorted(set(subscripts) - {","})
        subscripts += "->" + "".join(letter for letter in letters if subscripts.count(letter) == 1)
    return _products.einsum(subscripts, arrays)


def _in_letters(operands: Sequence[Any]) -> str:
    """Subscripts as text, of arrays that are each followed by a list of axes; a last list is that of the result."""

    def term(axes: Any) -> str:
        return "".join("..." if axis is Ellipsis else string.ascii_letters[26:][axis] for axis in axes)

    pairs = len(operands) // 2 * 2
    terms = ",".join(term(axes) for axes in operands[1:pairs:2])
    return terms + "->" + term(operands[-1]) if len(operands) > pairs else terms


def _without_ellipsis(subscripts: str, arrays: Sequence[Operand]) -> str:
    """Subscripts with letters for what an ellipsis stands for."""
    terms, arrow, result = subscripts.partition("->")
    spare = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in subscripts]
    names, longest = [], 0
    for term, array in zip(terms.split(","), arrays, strict=True):
        count = array.ndim - len(term.replace("...", ""))
        longest = max(longest, count if "..." in term else 0)
        names.append((term, count))
    if longest and arrow and "..." not in result:
        raise ValueError("the result has no ellipsis, but operands have one that stands for axes")
    written = [term.replace("...", "".join(spare[longest - count : longest])) for term, count in names]
    if not arrow:
        letters = sorted(set(terms) - {",", "."})
        result = "..." + "".join(letter for letter in letters if terms.count(letter) == 1)
    return ",".join(written) + "->" + result.replace("...", "".join(spare[:longest]))


# ---- the rest ------------------------------------------------------------------------------------------------------------


def _round(a: Any, decimals: int = 0, out: None = None) -> Operand:
    x, scale = as_operand(a), np.asarray(10.0 ** abs(decimals))
    there, back = (np.multiply, np.divide) if decimals >= 0 else (np.divide, np.multiply)
    return elements(back, elements(np.rint, elements(there, x, scale)), scale)


def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None) -> Operand:
    return total(_moved(np.diagonal)(a, offset, axis1, axis2), -1)


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    """A question about shapes and types, which changes do not touch."""

    def rule(a: Any, *args: Any, **options: Any) -> Any:
        return function(base_of(as_operand(a)), *args, **options)

    return rule


def _array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    first, second = as_operand(a1), as_operand(a2)
    if first.shape != second.shape:
        return False
    void = np.isnan(base_of(first)) & np.isnan(base_of(second)) if equal_nan else False
    return bool(np.all(compare(np.equal, (first, second)) | void))


def _real(val: Any) -> Operand:
    x = as_varying(val)
    return Varying(np.real(x.base), np.real(x.dense), x.lanes) if x.base.dtype.kind == "c" else x


def _imag(val: Any) -> Operand:
    x = as_varying(val)
    return Varying(np.imag(x.base), np.imag(x.dense), x.lanes) if x.base.dtype.kind == "c" else np.zeros(x.shape)


def _angle(z: Any, deg: bool = False) -> Operand:
    angle = elements(np.arctan2, _imag(z), _real(z))
    return elements(np.degrees, angle) if deg else angle


def _nonzero(a: Any) -> Any:
    return np.nonzero(compare(np.not_equal, (as_operand(a), np.zeros(()))))


def _count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return np.sum(compare(np.not_equal, (as_operand(a), np.zeros(()))), axis=axis, keepdims=keepdims)


# Not in every NumPy that is supported.
_NEWER: dict[str, Callable[..., Any]] = {
    "cumulative_sum": _cumulative_of_standard(np.add),
    "cumulative_prod": _cumulative_of_standard(np.multiply),
    "unstack": lambda x, /, *, axis=0: tuple(
        taken(moved_axis(as_operand(x), axis, 0), place) for place in range(as_operand(x).shape[axis])
    ),
}

FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _sum_or_product(np.add),
    np.prod: _sum_or_product(np.multiply),
    np.max: _extreme(np.maximum),
    np.min: _extreme(np.minimum),
    np.amax: _extreme(np.maximum),
    np.amin: _extreme(np.minimum),
    np.all: _truth(np.logical_and),
    np.any: _truth(np.logical_or),
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
    np.transpose: lambda a, axes=None: _structure.transpose(as_varying(a), axes),
    np.swapaxes: _permuted(np.swapaxes),
    np.moveaxis: _permuted(np.moveaxis),
    np.rollaxis: _permuted(np.rollaxis),
    np.matrix_transpose: _permuted(np.matrix_transpose),
    np.broadcast_to: _broadcast_to,
    np.broadcast_arrays: _broadcast_arrays,
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.append: _append,
    np.column_stack: _column_stack,
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
    np.compress: _compress,
    np.extract: _extract,
    np.copy: _copy,
    np.dot: _dot,
    np.inner: _inner,
    np.outer: _outer,
    np.vdot: _vdot,
    np.tensordot: _tensordot,
    np.linalg.tensordot: lambda x1, x2, /, *, axes=2: _tensordot(x1, x2, axes),
    np.einsum: _einsum,
    np.trace: _trace,
    np.round: _round,
    np.around: _round,
    np.real: _real,
    np.imag: _imag,
    np.angle: _angle,
    np.array_equal: _array_equal,
    np.nonzero: _nonzero,
    np.flatnonzero: lambda a: _nonzero(flat(as_operand(a)))[0],
    np.argwhere: lambda a: np.transpose(_nonzero(a)),
    np.count_nonzero: _count_nonzero,
    **{function: _same(function) for function in (
        np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.iscomplexobj, np.isrealobj,
        np.iscomplex, np.isreal, np.array_repr, np.array_str, np.array2string, np.tril_indices_from, np.triu_indices_from,
        np.diag_indices_from, np.common_type,
    )},
    np.result_type: lambda *given: np.result_type(*(base_of(each) if isinstance(each, Varying) else each for each in given)),
    np.shares_memory: lambda a, b, *args: np.shares_memory(base_of(as_operand(a)), base_of(as_operand(b)), *args),
    np.may_share_memory: lambda a, b, *args: np.may_share_memory(base_of(as_operand(a)), base_of(as_operand(b)), *args),
    **{getattr(np, name): rule for name, rule in _NEWER.items() if hasattr(np, name)},
    **_linear_algebra.RULES,
    **_selections.RULES,
}  # fmt: skip
