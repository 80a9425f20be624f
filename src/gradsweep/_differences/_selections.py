"""Choosing, ordering, interpolating, and statistics of values that change.

What a function gives as places or counts is decided by the base values, and each lane that would decide otherwise is counted.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences import _ordering, _reductions, _structure
from gradsweep._differences._arguments import (
    along,
    as_operand,
    as_varying,
    axis_of,
    chosen,
    elements,
    flat,
    given,
    joined,
    linear,
    moved_axis,
    product,
    reshaped,
    taken,
    total,
    transposed,
    varies,
)
from gradsweep._differences._departure import Departure
from gradsweep._differences._elementwise import general
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._ufuncs import call_ufunc
from gradsweep._differences._varying import Operand, Varying, apply, base_of, lanes_of
from gradsweep._types import Array

# ---- decisions -----------------------------------------------------------------------------------------------------------


def _in_lane(value: Any, lane: int | None) -> Any:
    """An argument as a lane has it, or as it is where nothing is perturbed."""
    if isinstance(value, Varying):
        return value.base if lane is None else value.base + value.dense[..., lane]
    if isinstance(value, list | tuple):
        return type(value)(_in_lane(each, lane) for each in value)
    return value


def _varying_parts(value: Any) -> list[Varying]:
    """All that varies in an argument."""
    if isinstance(value, Varying):
        return [value]
    return [part for each in value for part in _varying_parts(each)] if isinstance(value, list | tuple) else []


def _same_decision(first: Any, second: Any) -> bool:
    if isinstance(first, tuple):
        return all(_same_decision(*pair) for pair in zip(first, second, strict=True))
    return np.array_equal(first, second)


def _decision(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives places, counts or truths."""

    def rule(*args: Any, **options: Any) -> Any:
        names, values = list(options), [*args, *options.values()]

        def decide(lane: int | None) -> Any:
            own = [_in_lane(value, lane) for value in values]
            return function(*own[: len(args)], **dict(zip(names, own[len(args) :], strict=True)))

        lanes = lanes_of(_varying_parts(values))
        decided = decide(None)
        if lanes.decide:
            return decide(0)
        # A lane in which no argument changes decides alike.
        moved = functools.reduce(
            np.logical_or, ((part.dense != 0.0).reshape(-1, lanes.count).any(axis=0) for part in _varying_parts(values))
        )
        otherwise = np.zeros((1, lanes.count), dtype=bool)
        for lane in np.flatnonzero(moved):
            otherwise[0, lane] = not _same_decision(decided, decide(int(lane)))
        lanes.cross(otherwise)
        return decided

    return rule


def _partition(a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None) -> Operand:
    x = as_varying(a)
    if axis is None:
        x, axis = _structure.reshape(x, -1), 0
    axis = axis_of(axis, x.ndim)
    places = np.argpartition(_in_lane(x, 0) if x.lanes.decide else x.base, kth, axis=axis)
    result = _structure.rearrange(x, lambda all_places: np.take_along_axis(all_places, places, axis=axis))
    moved = result.base[..., np.newaxis] + result.dense
    for place in np.atleast_1d(kth):
        pivot = moved.take([place], axis=axis)
        before = moved.take(range(place % x.shape[axis]), axis=axis) > pivot
        after = moved.take(range(place % x.shape[axis] + 1, x.shape[axis]), axis=axis) < pivot
        x.lanes.cross(np.concatenate([before, after], axis=axis))
    return result


def _unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    **options: Any,
) -> Any:
    x = as_varying(ar)
    if axis is not None:
        raise Departure("np.unique(…, axis=…) has no difference form")
    every = {"return_index": True, "return_inverse": True, "return_counts": True, **options}
    # The values themselves are no decision.
    index, inverse, counts = _decision(lambda entries: np.unique(entries, **every)[1:])(x)
    # Equal entries stay one only as long as they change alike.
    lanes, change = x.lanes, x.dense.reshape(-1, x.lanes.count)
    lanes.cross(change != change[index][inverse.reshape(-1)])
    asked = [part for part, wanted in ((index, return_index), (inverse, return_inverse), (counts, return_counts)) if wanted]
    values = taken(flat(x), index)
    return (values, *asked) if asked else values


# ---- what is not a number ------------------------------------------------------------------------------------------------


def _without_nan(a: Any, instead: float) -> tuple[Varying, NDArray[np.bool_]]:
    """The array with a number in the place of what is none, and where that is."""
    x = as_varying(a)
    void = np.isnan(x.base)
    return (_structure.choose(void, np.asarray(instead), x) if void.any() else x), void


def _nan_reduction(ufunc: np.ufunc) -> Callable[..., Any]:
    def rule(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: None = None,
        keepdims: Any = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        x, _ = _without_nan(a, float(ufunc.identity))
        options = {"initial": given(initial, None), "where": given(where, True)}
        return call_ufunc(ufunc, "reduce", [x], {"axis": axis, "keepdims": bool(given(keepdims, False)), **options})

    return rule


def _nan_extreme(ufunc: np.ufunc) -> Callable[..., Any]:
    def rule(a: Any, axis: Any = None, out: None = None, keepdims: Any = False, initial: Any = None, where: Any = True) -> Any:
        options = {"initial": given(initial, None), "where": given(where, True)}
        return call_ufunc(ufunc, "reduce", [as_varying(a)], {"axis": axis, "keepdims": bool(given(keepdims, False)), **options})

    return rule


def _nan_cumulative(ufunc: np.ufunc) -> Callable[..., Any]:
    def rule(a: Any, axis: Any = None, dtype: Any = None, out: None = None) -> Any:
        x, _ = _without_nan(a, float(ufunc.identity))
        return call_ufunc(ufunc, "accumulate", [_structure.reshape(x, -1) if axis is None else x], {"axis": axis or 0})

    return rule


def _nan_mean(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False, *, where: Any = True
) -> Operand:
    x, void = _without_nan(a, 0.0)
    kept = ~void & np.broadcast_to(given(where, True), void.shape)
    keep = bool(given(keepdims, False))
    return elements(np.divide, total(chosen(kept, x, 0.0), axis, keepdims=keep), kept.sum(axis=axis, keepdims=keep))


def _nan_variance(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: Any = 0.0, keepdims: Any = False, **options: Any
) -> Operand:
    x, void = _without_nan(a, 0.0)
    chosen_options = {name: value for name, value in options.items() if value is not np._NoValue}
    ddof = chosen_options.pop("correction", given(ddof, 0.0))
    where = ~void & np.broadcast_to(chosen_options.pop("where", True), void.shape)
    keep = bool(given(keepdims, False))
    return _reductions.variance(x, axis, ddof=ddof, keepdims=keep, where=where, **chosen_options)


def _nan_deviation(*args: Any, **options: Any) -> Operand:
    return elements(np.sqrt, _nan_variance(*args, **options))


def _nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Varying:
    a = as_varying(x)
    if varies([nan, posinf, neginf]):
        raise Departure("np.nan_to_num with values that change has no difference form", "write np.where(np.isnan(x), …, x)")
    value = np.nan_to_num(a.base, nan=nan, posinf=posinf, neginf=neginf)
    return _structure.choose(np.isfinite(a.base), a, value)


# ---- functions of elements that are not ufuncs ---------------------------------------------------------------------------

# sin(y)/y = Σ (−1)ᵏ·tᵏ/(2k+1)! with t = y², to t¹⁰, which leaves out less than 2⁻⁷⁰ for |y| ≤ 1.
_SINC_COEFFICIENTS = np.cumprod([1.0] + [-1.0 / (2 * k * (2 * k + 1)) for k in range(1, 11)])


def _sinc_change(lanes: Lanes, bases: Sequence[Array], value: Array, changes: Sequence[Array | None]) -> Array:
    """(sin δ-change − q·δy)/(y + δy), which would cancel near 0, where the series is taken in y² and its exact change."""
    (z,), (dz,) = bases, changes
    assert dz is not None
    y, dy = np.pi * z, np.pi * dz
    sines = 2.0 * np.sin(0.5 * dy) * (np.cos(y) * np.cos(0.5 * dy) - np.sin(y) * np.sin(0.5 * dy))
    small = (np.abs(y) < 1.0) & (np.abs(y + dy) < 1.0)
    far = (sines - value * dy) / np.where(small | (y + dy == 0.0), 1.0, y + dy)
    far = np.where(y + dy == 0.0, 1.0 - value, far)
    t, dt = np.where(small, y * y, 0.0), np.where(small, dy * (2.0 * y + dy), 0.0)
    level, near = np.full(t.shape, _SINC_COEFFICIENTS[-1]), np.zeros(t.shape)
    for coefficient in _SINC_COEFFICIENTS[-2::-1]:
        near = near * (t + dt) + level * dt
        level = coefficient + level * t
    return np.where(small, near, far)


def _sinc(x: Any) -> Varying:
    a = as_varying(x)
    return apply(_sinc_change, np.sinc(a.base), (a,))


def _bessel(x: Any) -> Varying:
    a = as_varying(x)
    return apply(functools.partial(general, np.i0), np.i0(a.base), (a,))


# ---- interpolation -------------------------------------------------------------------------------------------------------


def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Operand:
    """Within the segments in which the base values lie; for entries of lanes that lie in another one, from there."""
    if period is not None:
        raise Departure("np.interp(…, period=…) has no difference form")
    operands = [as_operand(each) for each in (x, xp, fp)]
    at, knots, values = operands
    ends = [as_operand(taken(values, place) if end is None else end) for place, end in ((0, left), (-1, right))]
    lanes = lanes_of([*operands, *ends])
    segment = _segments(base_of(at), base_of(knots))
    inner = np.clip(segment, 0, max(knots.shape[0] - 2, 0))
    one, other = taken(knots, inner), taken(knots, np.minimum(inner + 1, knots.shape[0] - 1))
    low, high = taken(values, inner), taken(values, np.minimum(inner + 1, knots.shape[0] - 1))
    with np.errstate(invalid="ignore"):
        share = elements(np.divide, elements(np.subtract, at, one), elements(np.subtract, other, one))
    result = elements(np.add, low, elements(np.multiply, elements(np.subtract, high, low), share))
    result = chosen(segment < 0, ends[0], chosen(segment >= knots.shape[0] - 1, ends[1], result))
    assert isinstance(result, Varying)
    return _across_knots(result, operands, ends, lanes)


def _segments(at: NDArray[Any], knots: NDArray[Any]) -> NDArray[np.intp]:
    """The segment in which each place lies; −1 before all of them. The last knot is part of the last segment."""
    segment = np.searchsorted(knots, at, side="right") - 1
    return np.where(at == knots[-1], knots.size - 2, segment)


def _across_knots(result: Varying, operands: Sequence[Operand], ends: Sequence[Operand], lanes: Lanes) -> Varying:
    """The result, where lanes' places lie in another segment than the base's: there by the values themselves."""
    change = result.dense.copy()
    own = _segments(base_of(operands[0]), base_of(operands[1]))
    crossed = np.zeros(change.shape, dtype=bool)
    for lane in range(lanes.count):
        at, knots, values = (_in_lane(each, lane) for each in operands)
        crossed[..., lane] = _segments(at, knots) != own
        if crossed[..., lane].any() and lanes.ties is None:
            left, right = (_in_lane(each, lane) for each in ends)
            moved = np.interp(at, knots, values, left, right)
            change[..., lane] = np.where(crossed[..., lane], moved - result.base, change[..., lane])
    lanes.cross(crossed)
    return Varying(result.base, change, lanes)


# ---- sums and differences along axes -------------------------------------------------------------------------------------


def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Operand:
    f = as_operand(y)
    axis = axis_of(axis, f.ndim)
    width = as_operand(dx)
    if x is not None:
        at = as_operand(x)
        if at.ndim == 1:
            at = reshaped(at, tuple(-1 if place == axis else 1 for place in range(f.ndim)))
            width = _steps(at, axis)
        else:
            width = _steps(at, axis_of(axis - f.ndim, at.ndim) if at.ndim != f.ndim else axis)
    sums = elements(np.add, along(f, axis, slice(1, None)), along(f, axis, slice(None, -1)))
    return total(elements(np.multiply, elements(np.multiply, width, sums), 0.5), axis)


def _steps(x: Operand, axis: int) -> Operand:
    return elements(np.subtract, along(x, axis, slice(1, None)), along(x, axis, slice(None, -1)))


def _differences_of_flat(ary: Any, to_end: Any = None, to_begin: Any = None) -> Operand:
    parts = [None if to_begin is None else flat(as_operand(to_begin)), _steps(flat(as_operand(ary)), 0)]
    parts.append(None if to_end is None else flat(as_operand(to_end)))
    return joined([part for part in parts if part is not None])


def _gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Linear in the values, if distances do not change."""
    x = as_operand(f)
    if varies(list(varargs)) or not isinstance(x, Varying):
        raise Departure("np.gradient with distances that change has no difference form")
    chosen_axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(axis_of(each, x.ndim) for each in chosen_axes)
    distances = varargs * len(axes) if len(varargs) == 1 and len(axes) > 1 else varargs
    gradient: Any = np.gradient
    values = gradient(x.base, *distances, axis=axes, edge_order=edge_order)
    changes = gradient(x.dense, *distances, axis=axes, edge_order=edge_order)
    if len(axes) == 1:
        return linear(x, values, changes)
    return tuple(linear(x, value, change) for value, change in zip(values, changes, strict=True))


def _bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Varying:
    places, w = base_of(as_operand(x)), as_operand(weights)
    if varies([x]) or not isinstance(w, Varying):
        raise Departure("np.bincount of places that change has no difference form")
    value = np.bincount(places, w.base, minlength)
    change = np.zeros((value.size, w.lanes.count))
    np.add.at(change, places, w.dense)
    return linear(w, value, change)


# ---- statistics ----------------------------------------------------------------------------------------------------------


def _covariance(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Operand:
    rows = [_as_rows(as_operand(each), rowvar=rowvar) for each in (m, y) if each is not None]
    x = joined(rows, 0) if len(rows) > 1 else rows[0]
    if varies([fweights, aweights]):
        raise Departure("np.cov with weights that change has no difference form")
    weights = np.ones(x.shape[1])
    for given_weights in (fweights, aweights):
        weights = weights if given_weights is None else weights * np.asarray(given_weights)
    lost = (0 if bias else 1) if ddof is None else ddof
    squares = weights.sum() if aweights is None else (weights * np.asarray(aweights)).sum()
    factor = weights.sum() - lost * squares / weights.sum()
    mean = elements(np.divide, total(elements(np.multiply, x, weights), 1, keepdims=True), weights.sum())
    centred = elements(np.subtract, x, mean)
    weighted = elements(np.multiply, centred, weights)
    result = elements(np.divide, product(centred, transposed(weighted)), factor)
    return reshaped(result, ()) if result.shape == (1, 1) else result


def _as_rows(x: Operand, *, rowvar: bool) -> Operand:
    if x.ndim < 2:
        return reshaped(x, (1, -1))
    return x if rowvar or x.shape[0] == 1 else transposed(x)


def _correlation(x: Any, y: Any = None, rowvar: bool = True, **options: Any) -> Operand:
    c = _covariance(x, y, rowvar)
    if not c.ndim:
        return elements(np.divide, c, c)
    places = np.arange(c.shape[0])
    deviation = elements(np.sqrt, taken(c, (places, places)))
    by_row = elements(np.divide, c, reshaped(deviation, (-1, 1)))
    return elements(np.divide, by_row, deviation)


# ---- several arrays, and grids -------------------------------------------------------------------------------------------


def _mixed(function: Callable[[list[NDArray[np.intp]]], NDArray[np.intp]], arrays: Sequence[Operand]) -> Operand:
    """A function that takes its entries from several arrays: applied to their places in all of them, one after the other."""
    ends = np.cumsum([0] + [each.size for each in arrays])
    places = [np.arange(start, start + each.size).reshape(each.shape) for start, each in zip(ends, arrays, strict=False)]
    everything = joined([flat(each) for each in arrays])
    return taken(everything, function(places))


def _insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Operand:
    return _mixed(lambda places: np.insert(places[0], obj, places[1], axis=axis), [as_operand(arr), as_operand(values)])


def _block(arrays: Any) -> Operand:
    leaves: list[Operand] = []

    def numbered(part: Any) -> Any:
        if isinstance(part, list):
            return [numbered(each) for each in part]
        leaves.append(as_operand(part))
        return len(leaves) - 1

    tree = numbered(arrays)

    def filled(part: Any, places: list[NDArray[np.intp]]) -> Any:
        return [filled(each, places) for each in part] if isinstance(part, list) else places[part]

    return _mixed(lambda places: np.block(filled(tree, places)), leaves)


def _choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Operand:
    operands = [as_operand(each) for each in choices]
    if varies([a]):
        raise TypeError("only integer arrays can be used as an index")
    return _mixed(lambda places: np.choose(a, places, mode=mode), operands)  # type: ignore[call-overload]


def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    operands = [flat(as_operand(each)) for each in xi]
    grids = np.meshgrid(*(np.arange(each.shape[0]) for each in operands), sparse=sparse, indexing=indexing)  # type: ignore[call-overload]
    return type(grids)(taken(each, grid) for each, grid in zip(operands, grids, strict=True))


def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Operand:
    a = flat(as_operand(x))
    powers = np.arange(a.shape[0] if N is None else N)
    return elements(np.power, reshaped(a, (-1, 1)), powers if increasing else powers[::-1])


def _polynomial(p: Any, x: Any) -> Operand:
    coefficients, at = as_operand(p), as_operand(x)
    result: Operand = np.zeros(at.shape)
    for place in range(coefficients.shape[0]):
        result = elements(np.add, elements(np.multiply, result, at), taken(coefficients, place))
    return result


def _linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    **options: Any,
) -> Any:
    first, last = as_operand(start), as_operand(stop)
    gap = elements(np.subtract, last, first)
    share = np.linspace(0.0, 1.0, num, endpoint).reshape(-1, *(1,) * gap.ndim)
    grid = moved_axis(elements(np.add, first, elements(np.multiply, gap, share)), 0, axis)
    return (grid, elements(np.divide, gap, float(max(num - bool(endpoint), 1)))) if retstep else grid


def _logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Operand:
    exponents = _linspace(start, stop, num, endpoint, axis=axis)
    return elements(np.power, np.asarray(base, dtype=np.float64) if not varies([base]) else base, exponents)


def _departing(name: str, advice: str = "") -> Callable[..., Any]:
    def rule(*args: Any, **options: Any) -> Any:
        raise Departure(f"np.{name} has no difference form", advice)

    return rule


_NONE = {
    "histogram": "np.bincount(…, weights) of fixed places has one",
    "histogram2d": "",
    "histogramdd": "",
    "nanmedian": "select the numbers first",
    "nanquantile": "select the numbers first",
    "nanpercentile": "select the numbers first",
    "polyfit": "write np.linalg.solve(a.T @ a, a.T @ y) with a = np.vander(x, …)",
    "unwrap": "",
    "geomspace": "write np.exp(np.linspace(np.log(start), np.log(stop), …))",
    "intersect1d": "",
    "union1d": "",
    "setdiff1d": "",
    "setxor1d": "",
}

#: Not in every NumPy that is supported.
_NEWER = {"in1d": _decision(getattr(np, "in1d", np.isin)), "trapz": _trapezoid}

#: Rules for selections, interpolation, statistics and grids.
RULES: dict[Any, Callable[..., Any]] = {
    np.sort: _ordering.sort,
    np.median: _ordering.median,
    np.quantile: _ordering.quantile,
    np.percentile: _ordering.percentile,
    np.partition: _partition,
    np.unique: _unique,
    **{function: _decision(function) for function in (
        np.argsort, np.argpartition, np.lexsort, np.searchsorted, np.digitize, np.isin, np.nanargmax, np.nanargmin, np.isposinf,
        np.isneginf, np.array_equiv, np.isclose, np.allclose,
    )},
    np.nansum: _nan_reduction(np.add),
    np.nanprod: _nan_reduction(np.multiply),
    np.nanmax: _nan_extreme(np.fmax),
    np.nanmin: _nan_extreme(np.fmin),
    np.nancumsum: _nan_cumulative(np.add),
    np.nancumprod: _nan_cumulative(np.multiply),
    np.nanmean: _nan_mean,
    np.nanvar: _nan_variance,
    np.nanstd: _nan_deviation,
    np.nan_to_num: _nan_to_num,
    np.fix: lambda x, out=None: elements(np.trunc, x),
    np.sinc: _sinc,
    np.i0: _bessel,
    np.interp: _interp,
    np.trapezoid: _trapezoid,
    np.ediff1d: _differences_of_flat,
    np.gradient: _gradient,
    np.bincount: _bincount,
    np.cov: _covariance,
    np.corrcoef: _correlation,
    np.insert: _insert,
    np.block: _block,
    np.choose: _choose,
    np.meshgrid: _meshgrid,
    np.vander: _vander,
    np.polyval: _polynomial,
    np.linspace: _linspace,
    np.logspace: _logspace,
    **{getattr(np, name): _departing(name, advice) for name, advice in _NONE.items()},
    **{getattr(np, name): rule for name, rule in _NEWER.items() if hasattr(np, name)},
}  # fmt: skip
