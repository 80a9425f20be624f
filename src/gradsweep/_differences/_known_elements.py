"""Changes of functions of elements whose values are known beforehand.

Everything that belongs to the values alone, as the coefficients of a power series or which of two is ahead, and how far, is
computed once for all perturbations.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._elementary import BINARY, SERIES, UNARY, series_of_log_sum
from gradsweep._differences._elementwise import form_of
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._recording import Node
from gradsweep._differences._series import PIECE, Coefficients, largest, sum_series
from gradsweep._differences._slab import Slab, common, reach
from gradsweep._differences._varying import real, without_infinite
from gradsweep._types import Array

#: A change as it is handed on: None where nothing changes.
Change: TypeAlias = "Array | Slab | None"

#: ``run(lanes, changes) -> change``, of the operands of a function; None is the change of those that are plain.
OfOperands: TypeAlias = Callable[[Lanes, Sequence[Change]], Change]

#: Functions of elements without kinks.
SMOOTH = frozenset({*UNARY, *BINARY})


def base_of(operand: Any) -> NDArray[Any]:
    base: NDArray[Any] = operand.base if type(operand) is Node else np.asarray(operand)
    return base


def dense_of(change: Array | Slab) -> Array:
    return change.dense if isinstance(change, Slab) else change


def reach_of(change: Array | Slab) -> float:
    """The largest absolute number of a change; NaN if there is one."""
    return reach(change.values if isinstance(change, Slab) else change)


def spread(change: Array | Slab, shape: tuple[int, ...]) -> Array | Slab:
    """A change as that of an array of this shape."""
    if isinstance(change, Slab):
        return change.broadcast(shape)
    assert isinstance(change, np.ndarray)
    return change if change.shape[:-1] == shape else np.broadcast_to(change, (*shape, change.shape[-1]))


def kept_infinite(run: OfOperands, value: NDArray[Any]) -> OfOperands:
    """The same where values may be infinite: these do not change."""
    infinite = np.isinf(value)

    def kept(lanes: Lanes, changes: Sequence[Change]) -> Change:
        change = run(lanes, changes)
        if change is None or not lanes.infinite:
            return change
        if isinstance(change, Slab) or change.base is not None or any(change is given for given in changes):
            return without_infinite(value, change)
        change[infinite] = 0.0  # it was made here
        return change

    return kept


# ---- functions of elements -----------------------------------------------------------------------------------------------


def elements(ufunc: np.ufunc, operands: Sequence[Any], value: NDArray[Any]) -> OfOperands | None:
    """A function of elements, of operands of which some are nodes."""
    if len(operands) == 2 and ufunc in (np.add, np.subtract, np.multiply, np.divide) and np.isfinite(value).all():
        return _arithmetic(ufunc, operands, value)
    if len(operands) == 1 and ufunc is np.negative:
        return lambda lanes, changes: mapped(np.negative, changes[0])
    form = form_of(ufunc)
    if form is None:
        return None
    in_full = _by_form(form, operands, value)
    if len(operands) == 1 and ufunc in SERIES:
        return _by_series(Coefficients(SERIES[ufunc], real(base_of(operands[0])), real(value)), in_full)
    if ufunc is np.square or (ufunc is np.power and _is_number(operands[1], 2.0)):
        return _square(operands[0], value, in_full) if base_of(operands[0]).shape == value.shape else in_full
    if ufunc is np.power and type(operands[1]) is not Node and operands[1].size == 1:
        return _power(real(base_of(operands[0])), float(operands[1].reshape(-1)[0]), real(value), in_full)
    if ufunc is np.logaddexp and type(operands[0]) is not type(operands[1]) and np.isfinite(value).all():
        first, second = (np.broadcast_to(real(base_of(each)), value.shape) for each in operands)
        series = series_of_log_sum(first, second, of_second=type(operands[1]) is Node)
        own = real(base_of(operands[1 if type(operands[1]) is Node else 0]))
        return in_full if own.shape != value.shape else _by_series(Coefficients(series, own, real(value)), in_full)
    if ufunc in (np.maximum, np.minimum):
        return _extreme_of_two(ufunc, operands, value, in_full)
    return in_full


def _power(z: Array, exponent: float, value: Array, in_full: OfOperands) -> OfOperands:
    """A power with one plain exponent."""
    if z.shape != value.shape or exponent in (0.0, 1.0):
        return in_full
    if exponent == 3.0:
        return _by_series(Coefficients.of_cubes(z, value), in_full)
    return _by_series(Coefficients.of_powers(z, exponent, value), in_full)


def _is_number(operand: Any, number: float) -> bool:
    return type(operand) is not Node and operand.size == 1 and float(operand.reshape(-1)[0]) == number


def mapped(function: Callable[[Array], Array], change: Change) -> Change:
    """A function of the numbers of a change."""
    if isinstance(change, Slab):
        return Slab(change.shape, change.pattern, function(change.values))
    assert isinstance(change, np.ndarray)
    return function(change)


def _by_form(form: Any, operands: Sequence[Any], value: NDArray[Any]) -> OfOperands:
    """By the difference form, with bases as they are needed."""
    bases = [real(base_of(each)) for each in operands]
    level, shape, ndim = real(value), value.shape, value.ndim
    expanded, level_expanded = [base[..., np.newaxis] for base in bases], level[..., np.newaxis]

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        slabs = common(shape, [change for change in changes if change is not None])
        if slabs is None:
            given = [None if change is None else dense_of(change) for change in changes]
            return spread(form(lanes, expanded, level_expanded, given), shape)
        pattern, left = slabs[0].pattern, iter(slabs)
        given = [None if change is None else next(left).values for change in changes]
        values = form(lanes, [pattern.gather(base, ndim) for base in bases], pattern.gather(level, ndim), given)
        return Slab(shape, pattern, _lanes_of(values, slabs[0]))

    return run


def _lanes_of(values: Array, like: Slab) -> Array:
    return values if values.shape == like.values.shape else np.broadcast_to(values, like.values.shape)


def _by_series(coefficients: Coefficients, in_full: OfOperands) -> OfOperands:
    """By the series, of which all coefficients are known; in full where it is not known to be right."""

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        change = changes[-1] if changes[0] is None else changes[0]
        numbers = change.values if isinstance(change, Slab) else change
        assert isinstance(numbers, np.ndarray)
        known = coefficients.of(largest(numbers))
        if known is None:
            return in_full(lanes, changes)
        if type(change) is not Slab:
            return sum_series(numbers, numbers, list(known[..., np.newaxis]), (*known.shape[1:], numbers.shape[-1]))
        slab = change.broadcast(known.shape[1:])
        if not slab.pattern.axes:
            return in_full(lanes, changes)
        gathered = slab.pattern.shifted(1).gather(known, known.ndim)
        return Slab(slab.shape, slab.pattern, sum_series(slab.values, slab.values, list(gathered), slab.values.shape))

    return run


def _square(operand: Any, value: NDArray[Any], in_full: OfOperands) -> OfOperands:
    """δ·(2z + δ)."""
    doubled = 2.0 * real(base_of(operand))
    if value.size > PIECE:
        return in_full

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        change = changes[0]
        if isinstance(change, Slab):
            factor = np.add(change.pattern.gather(doubled, len(change.shape)), change.values)
            return Slab(change.shape, change.pattern, np.multiply(factor, change.values, out=factor))
        assert isinstance(change, np.ndarray)
        total = np.add(doubled[..., np.newaxis], change)
        return np.multiply(total, change, out=total)

    return run


def _extreme_of_two(ufunc: np.ufunc, operands: Sequence[Any], value: NDArray[Any], in_full: OfOperands) -> OfOperands:
    """The larger or smaller of two: where no lane comes near the other one, the change of the winner."""
    bases = np.broadcast_arrays(*(real(base_of(each)) for each in operands))
    lead = bases[0] - bases[1] if ufunc is np.maximum else bases[1] - bases[0]
    room = float(np.abs(lead).min(initial=np.inf))
    wins = (lead >= 0.0).astype(np.float64), (~(lead >= 0.0)).astype(np.float64)
    only = [place for place, each in enumerate(operands) if type(each) is Node]

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        known = [place for place in only if changes[place] is not None]
        change = changes[known[0]]
        assert change is not None
        if len(known) > 1 or not reach_of(change) < room:
            return in_full(lanes, changes)
        return _scaled(change, wins[known[0]], value.shape)

    return run


# ---- arithmetic ----------------------------------------------------------------------------------------------------------


def _scaled(change: Array | Slab, factor: Array, shape: tuple[int, ...]) -> Array | Slab:
    """A change times an array that is of its shape, or of which the product is of this one."""
    if isinstance(change, Slab):
        slab = change.broadcast(shape)
        return Slab(shape, slab.pattern, slab.values * slab.pattern.gather(factor, len(shape)))
    assert isinstance(change, np.ndarray)
    return change * (factor[..., np.newaxis] if factor.size != 1 or factor.ndim > change.ndim - 1 else factor.reshape(()))


def _arithmetic(ufunc: np.ufunc, operands: Sequence[Any], value: NDArray[Any]) -> OfOperands:
    """Sums, differences, products and quotients of finite values."""
    in_full = _by_form(form_of(ufunc), operands, value)
    return _ARITHMETIC[ufunc](operands, value, in_full)


def _sums(sign: float) -> Callable[..., OfOperands]:
    combine: np.ufunc = np.add if sign > 0.0 else np.subtract

    def build(operands: Sequence[Any], value: NDArray[Any], in_full: OfOperands) -> OfOperands:
        shape = value.shape

        def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
            first, second = changes
            if second is None:
                assert first is not None
                return spread(first, shape)
            if first is None:
                change = spread(second, shape)
                return change if sign > 0.0 else mapped(np.negative, change)
            if isinstance(first, Slab) and isinstance(second, Slab):
                slabs = common(shape, (first, second))
                if slabs is not None:
                    return Slab(shape, slabs[0].pattern, combine(slabs[0].values, slabs[1].values))
            if isinstance(second, Slab) and not isinstance(first, Slab) and first.shape[:-1] == second.shape == shape:
                return second.added_to(first.copy(), sign)
            total: Array = combine(dense_of(first), dense_of(second))
            return total

        return run

    return build


def _products_of_elements(operands: Sequence[Any], value: NDArray[Any], in_full: OfOperands) -> OfOperands:
    bases, shape = [real(base_of(each)) for each in operands], value.shape

    def both(lanes: Lanes, first: Array | Slab, second: Array | Slab) -> Change:
        """δa·(b + δb) + a·δb."""
        if common(shape, (first, second)) is not None:
            return in_full(lanes, (first, second))
        one, other = dense_of(first), dense_of(second)
        total = np.multiply(one, bases[1][..., np.newaxis] + other)
        rest = bases[0][..., np.newaxis] * other
        return np.add(total, rest, out=total if total.shape == (*shape, lanes.count) else None)

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        first, second = changes
        if first is not None and second is not None:
            return both(lanes, first, second)
        change, factor = (second, bases[0]) if first is None else (first, bases[1])
        assert change is not None
        return _scaled(change, factor, shape)

    return run


def _quotients(operands: Sequence[Any], value: NDArray[Any], in_full: OfOperands) -> OfOperands:
    """Quotients: by a plain number, of one, or of two that change where the divisor has fewer entries than the quotient."""
    below, shape, level = real(base_of(operands[1])), value.shape, real(value)
    plain = type(operands[1]) is not Node
    series = None if plain else _by_series(Coefficients.of_quotients(below, level), in_full)

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        first, second = changes
        if second is None:
            assert first is not None
            if isinstance(first, Slab):
                slab = first.broadcast(shape)
                return Slab(shape, slab.pattern, slab.values / slab.pattern.gather(below, len(shape)))
            assert isinstance(first, np.ndarray)
            return first / below[..., np.newaxis]
        if first is None:
            assert series is not None
            return series(lanes, changes)
        if isinstance(first, Slab) or isinstance(second, Slab) or 2 * below.size > value.size:
            return in_full(lanes, changes)
        moved = below[..., np.newaxis] + second
        change = level[..., np.newaxis] * second
        np.subtract(first, change, out=change)
        change *= 1.0 / moved
        # A number beyond all others, or none, is found by its sum.
        return change if np.isfinite(change.sum()) else in_full(lanes, changes)

    return run


_ARITHMETIC: dict[np.ufunc, Callable[[Sequence[Any], NDArray[Any], OfOperands], OfOperands]] = {
    np.add: _sums(1.0),
    np.subtract: _sums(-1.0),
    np.multiply: _products_of_elements,
    np.divide: _quotients,
}
