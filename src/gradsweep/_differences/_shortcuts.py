"""Short ways to the change of common operations whose values are known beforehand.

A recorded step can always be done as it was done, values and all. What is here computes the same change and nothing else:
everything that belongs to the values alone, as the coefficients of a power series, the winner of a maximum or how far it is
ahead, is computed once for all perturbations.
"""

import functools
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences import _products, _reductions, _structure
from gradsweep._differences._elementary import BINARY, SERIES, UNARY
from gradsweep._differences._elementwise import COMPARISONS, compare, form_of
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._recording import Node, Step
from gradsweep._differences._series import PIECE, Coefficients, largest, sum_series
from gradsweep._differences._slab import Pattern, Slab, common, reach
from gradsweep._differences._varying import Varying, real, without_infinite
from gradsweep._types import Array

Change: TypeAlias = "Array | Slab | None"

#: ``run(lanes, changes) -> change``, of the nodes of a step.
Run: TypeAlias = Callable[[Lanes, Sequence[Change]], Change]

#: The same of operands, of which some are plain: their changes are None.
_OfOperands: TypeAlias = Callable[[Lanes, Sequence[Change]], Change]

_STRUCTURAL = (np.reshape, np.ravel, np.squeeze, np.expand_dims, np.atleast_1d, np.atleast_2d, np.atleast_3d)

# Functions of elements without kinks.
_SMOOTH = frozenset({*UNARY, *BINARY})

#: Steps that count no crossing, whatever changes: without need of their results they are left out.
CALM: frozenset[Any] = frozenset({
    *_SMOOTH, np.matmul, np.dot, np.sum, np.mean, np.var, np.std, np.where, np.concatenate, np.stack, np.outer, np.inner,
    np.tensordot, np.einsum, np.transpose, np.swapaxes, np.moveaxis, np.broadcast_to, np.cumsum, np.copy, np.pad, np.trace,
    (np.add, "reduce"), "take", "reshape", "transpose", "copy", *_STRUCTURAL,
})  # fmt: skip


def shortcut(step: Step, nodes: Sequence[Node]) -> Run | None:
    """A short way to a step's change; None if there is none.

    Parameters
    ----------
    step : Step
        As it was recorded.
    nodes : sequence of Node
        The values that change in its arguments, each once.

    Returns
    -------
    callable or None
        Given the nodes' changes.
    """
    if any(node.base.dtype.kind not in "f" for node in nodes):
        return None
    key = step.key
    if isinstance(key, np.ufunc):
        made = _of_ufunc(key, step, nodes)
    elif type(step.result) is not Node or step.result.base.dtype.kind != "f":
        made = None
    else:
        builder = _BUILDERS.get(key)
        made = None if builder is None else builder(step, nodes)
    return made


# ---- operands ------------------------------------------------------------------------------------------------------------


def _of_ufunc(ufunc: np.ufunc, step: Step, nodes: Sequence[Node]) -> Run | None:
    operands = step.args[0]
    if step.args[1] or any(_base(each).dtype.kind not in "fiub" for each in operands):
        return None
    if ufunc in COMPARISONS and len(operands) == 2:
        return _comparison(ufunc, operands, nodes)
    if type(step.result) is not Node or step.result.base.dtype.kind != "f":
        return None
    if ufunc is np.matmul:
        return _matmul(step, nodes)
    value = step.result.base
    run = _elements(ufunc, operands, value)
    return None if run is None else _given(run, operands, nodes, value)


def _given(run: _OfOperands, operands: Sequence[Any], nodes: Sequence[Node], value: NDArray[Any]) -> Run:
    """What is given changes of nodes, made of what is given changes of operands."""
    if np.isinf(value).any():
        run = _kept_infinite(run, value)
    if all(type(each) is Node for each in operands) and len(operands) == len(nodes):
        return run
    places = [nodes.index(each) if type(each) is Node else None for each in operands]
    return lambda lanes, changes: run(lanes, [None if place is None else changes[place] for place in places])


def _kept_infinite(run: _OfOperands, value: NDArray[Any]) -> _OfOperands:
    """The same where values may be infinite: these do not change."""

    def kept(lanes: Lanes, changes: Sequence[Change]) -> Change:
        change = run(lanes, changes)
        return change if change is None or not lanes.infinite else without_infinite(value, change)

    return kept


def _base(operand: Any) -> NDArray[Any]:
    base: NDArray[Any] = operand.base if type(operand) is Node else np.asarray(operand)
    return base


def _dense(change: Array | Slab) -> Array:
    return change.dense if isinstance(change, Slab) else change


def _reach_of(change: Array | Slab) -> float:
    """The largest absolute number of a change; NaN if there is one."""
    return reach(change.values if isinstance(change, Slab) else change)


def _spread(change: Array | Slab, shape: tuple[int, ...]) -> Array | Slab:
    """A change as that of an array of this shape."""
    if isinstance(change, Slab):
        return change.broadcast(shape)
    assert isinstance(change, np.ndarray)
    return change if change.shape[:-1] == shape else np.broadcast_to(change, (*shape, change.shape[-1]))


# ---- functions of elements -----------------------------------------------------------------------------------------------


def _elements(ufunc: np.ufunc, operands: Sequence[Any], value: NDArray[Any]) -> _OfOperands | None:
    """A function of elements, of operands of which some are nodes."""
    if len(operands) == 2 and ufunc in (np.add, np.subtract, np.multiply, np.divide) and np.isfinite(value).all():
        return _arithmetic(ufunc, operands, value)
    if len(operands) == 1 and ufunc is np.negative:
        return lambda lanes, changes: _mapped(np.negative, changes[0])
    form = form_of(ufunc)
    if form is None:
        return None
    in_full = _by_form(form, operands, value)
    if len(operands) == 1 and ufunc in SERIES:
        return _by_series(Coefficients(SERIES[ufunc], real(_base(operands[0])), real(value)), in_full)
    if ufunc is np.square or (ufunc is np.power and _is_number(operands[1], 2.0)):
        return _square(operands[0], value, in_full)
    if ufunc is np.power and type(operands[1]) is not Node and operands[1].size == 1:
        return _power(real(_base(operands[0])), float(operands[1].reshape(-1)[0]), real(value), in_full)
    if ufunc in (np.maximum, np.minimum):
        return _extreme_of_two(ufunc, operands, value, in_full)
    return in_full


def _power(z: Array, exponent: float, value: Array, in_full: _OfOperands) -> _OfOperands:
    """A power with one plain exponent."""
    if z.shape != value.shape or exponent in (0.0, 1.0):
        return in_full
    if exponent == 3.0:
        return _by_series(Coefficients.of_cubes(z, value), in_full)
    return _by_series(Coefficients.of_powers(z, exponent, value), in_full)


def _is_number(operand: Any, number: float) -> bool:
    return type(operand) is not Node and operand.size == 1 and float(operand.reshape(-1)[0]) == number


def _mapped(function: Callable[[Array], Array], change: Change) -> Change:
    """A function of the numbers of a change."""
    if isinstance(change, Slab):
        return Slab(change.shape, change.pattern, function(change.values))
    assert isinstance(change, np.ndarray)
    return function(change)


def _by_form(form: Any, operands: Sequence[Any], value: NDArray[Any]) -> _OfOperands:
    """By the difference form, with bases as they are needed."""
    bases = [real(_base(each)) for each in operands]
    level, shape, ndim = real(value), value.shape, value.ndim
    expanded, level_expanded = [base[..., np.newaxis] for base in bases], level[..., np.newaxis]

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        slabs = common(shape, [change for change in changes if change is not None])
        if slabs is None:
            given = [None if change is None else _dense(change) for change in changes]
            return _spread(form(lanes, expanded, level_expanded, given), shape)
        pattern, left = slabs[0].pattern, iter(slabs)
        given = [None if change is None else next(left).values for change in changes]
        values = form(lanes, [pattern.gather(base, ndim) for base in bases], pattern.gather(level, ndim), given)
        return Slab(shape, pattern, _lanes_of(values, slabs[0]))

    return run


def _lanes_of(values: Array, like: Slab) -> Array:
    return values if values.shape == like.values.shape else np.broadcast_to(values, like.values.shape)


def _by_series(coefficients: Coefficients, in_full: _OfOperands) -> _OfOperands:
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


def _square(operand: Any, value: NDArray[Any], in_full: _OfOperands) -> _OfOperands:
    """δ·(2z + δ)."""
    doubled = 2.0 * real(_base(operand))
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


def _extreme_of_two(ufunc: np.ufunc, operands: Sequence[Any], value: NDArray[Any], in_full: _OfOperands) -> _OfOperands:
    """The larger or smaller of two: where no lane comes near the other one, the change of the winner."""
    bases = np.broadcast_arrays(*(real(_base(each)) for each in operands))
    lead = bases[0] - bases[1] if ufunc is np.maximum else bases[1] - bases[0]
    room = float(np.abs(lead).min(initial=np.inf))
    wins = (lead >= 0.0).astype(np.float64), (~(lead >= 0.0)).astype(np.float64)
    only = [place for place, each in enumerate(operands) if type(each) is Node]

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        known = [place for place in only if changes[place] is not None]
        change = changes[known[0]]
        assert change is not None
        if len(known) > 1 or not _reach_of(change) < room:
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


def _arithmetic(ufunc: np.ufunc, operands: Sequence[Any], value: NDArray[Any]) -> _OfOperands:
    """Sums, differences, products and quotients of finite values."""
    in_full = _by_form(form_of(ufunc), operands, value)
    return _ARITHMETIC[ufunc](operands, value, in_full)


def _sums(sign: float) -> Callable[..., _OfOperands]:
    combine: np.ufunc = np.add if sign > 0.0 else np.subtract

    def build(operands: Sequence[Any], value: NDArray[Any], in_full: _OfOperands) -> _OfOperands:
        shape = value.shape

        def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
            first, second = changes
            if second is None:
                assert first is not None
                return _spread(first, shape)
            if first is None:
                change = _spread(second, shape)
                return change if sign > 0.0 else _mapped(np.negative, change)
            if isinstance(first, Slab) and isinstance(second, Slab):
                slabs = common(shape, (first, second))
                if slabs is not None:
                    return Slab(shape, slabs[0].pattern, combine(slabs[0].values, slabs[1].values))
            if isinstance(second, Slab) and not isinstance(first, Slab) and first.shape[:-1] == second.shape == shape:
                return second.added_to(first.copy(), sign)
            total: Array = combine(_dense(first), _dense(second))
            return total

        return run

    return build


def _products_of_elements(operands: Sequence[Any], value: NDArray[Any], in_full: _OfOperands) -> _OfOperands:
    bases, shape = [real(_base(each)) for each in operands], value.shape

    def both(lanes: Lanes, first: Array | Slab, second: Array | Slab) -> Change:
        """δa·(b + δb) + a·δb."""
        if common(shape, (first, second)) is not None:
            return in_full(lanes, (first, second))
        one, other = _dense(first), _dense(second)
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


def _quotients(operands: Sequence[Any], value: NDArray[Any], in_full: _OfOperands) -> _OfOperands:
    """Quotients: by a plain number, of one, or of two that change where the divisor has fewer entries than the quotient."""
    below, shape, level = real(_base(operands[1])), value.shape, real(value)
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


_ARITHMETIC: dict[np.ufunc, Callable[[Sequence[Any], NDArray[Any], _OfOperands], _OfOperands]] = {
    np.add: _sums(1.0),
    np.subtract: _sums(-1.0),
    np.multiply: _products_of_elements,
    np.divide: _quotients,
}


# ---- comparisons and extremes --------------------------------------------------------------------------------------------


def _comparison(ufunc: np.ufunc, operands: Sequence[Any], nodes: Sequence[Node]) -> Run | None:
    """A comparison, of which only is asked whether any lane could decide otherwise; what it gives is known."""
    bases = [_base(each) for each in operands]
    difference = np.asarray(np.subtract(*(real(base) for base in bases)))
    room = float(np.abs(difference).min(initial=np.inf))

    def run(lanes: Lanes, changes: Sequence[Change]) -> None:
        known = [change for change in changes if change is not None]
        reached = sum(_reach_of(change) for change in known)
        if reached < room:
            return
        varying = [
            Varying(base, change, lanes) if change is not None else base for base, change in zip(bases, changes, strict=True)
        ]
        compare(ufunc, varying)

    places = [nodes.index(each) if type(each) is Node else None for each in operands]
    return lambda lanes, changes: run(lanes, [None if place is None else changes[place] for place in places])


def _extreme(sign: float) -> Callable[[Step, Sequence[Node]], Run | None]:
    def build(step: Step, nodes: Sequence[Node]) -> Run | None:
        read = _axis_and_dimensions(step)
        if read is None or np.isinf(step.result.base).any():
            return None
        x, (axis, keepdims) = nodes[0].base, read
        axes = _reductions.axes_of(axis, x.ndim)
        kept = tuple(other for other in range(x.ndim) if other not in axes)
        groups = (sign * x).transpose(kept + axes).reshape(*(x.shape[other] for other in kept), -1)
        if groups.shape[-1] < 1:
            return None
        room = np.inf
        if groups.shape[-1] > 1:
            two = np.partition(groups, -2, axis=-1)[..., -2:]
            room = 0.5 * float((two[..., 1] - two[..., 0]).min(initial=np.inf))
        places = np.arange(x.size).reshape(x.shape).transpose(kept + axes).reshape(groups.shape)
        winner = np.take_along_axis(places, np.argmax(groups, axis=-1)[..., np.newaxis], axis=-1)[..., 0]
        index = np.unravel_index(winner.reshape(step.result.base.shape), x.shape)
        full = _reductions.largest if sign > 0.0 else _reductions.smallest

        def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
            change = changes[0]
            assert change is not None
            if not _reach_of(change) < room:
                return full(Varying(x, change, lanes), axis, keepdims=keepdims).change
            result: Array = _dense(change)[index]
            return result

        return run

    return build


# ---- sums and matrix products --------------------------------------------------------------------------------------------


def _axis_and_dimensions(step: Step) -> tuple[Any, bool] | None:
    """Axis and `keepdims` of a reduction; None if there is anything else to it."""
    options = dict(step.options)
    axis = step.args[1] if len(step.args) > 1 else options.pop("axis", None)
    keepdims = options.pop("keepdims", False)
    if len(step.args) > 2 or any(value is not None for value in options.values()) or type(step.args[0]) is not Node:
        return None
    return axis, bool(keepdims) and keepdims is not np._NoValue


def _total(step: Step, nodes: Sequence[Node], *, mean: bool = False) -> Run | None:
    read = _axis_and_dimensions(step)
    if read is None:
        return None
    axes, keepdims, value = _reductions.axes_of(read[0], nodes[0].base.ndim), read[1], step.result.base
    count = float(np.prod([nodes[0].base.shape[axis] for axis in axes], dtype=np.float64)) if mean else 1.0

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        change = changes[0]
        assert change is not None
        total: Array | Slab
        if isinstance(change, Slab):
            total = _reductions.add_up_slab(change, axes, keepdims=keepdims)
        else:
            total = np.sum(change, axis=axes, keepdims=keepdims)
        return total if count == 1.0 else _mapped(lambda numbers: numbers / count, total)

    return _given(run, [nodes[0]], nodes, value)


def _matmul(step: Step, nodes: Sequence[Node]) -> Run | None:
    operands = step.args[0] if step.key is np.matmul else step.args
    if len(operands) != 2 or step.options or not all(type(each) is Node or type(each) is np.ndarray for each in operands):
        return None
    bases, value = [real(_base(each)) for each in operands], step.result.base
    ndims = [base.ndim for base in bases]
    if 0 in ndims or ndims == [1, 1] or (step.key is not np.matmul and ndims[1] > 2) or nodes[0] is nodes[-1] is not operands[0]:
        return None

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        first, second = (
            base if change is None else Varying(base, change, lanes) for base, change in zip(bases, changes, strict=True)
        )
        return _spread(_products.matmul_change(first, second), value.shape)

    return _given(run, operands, nodes, value)


def _einsum(step: Step, nodes: Sequence[Node]) -> Run | None:
    """A sum of products of which one factor changes at a time; of a slab only the products that it is part of."""
    subscripts, *operands = step.args
    plain = type(subscripts) is str and "->" in subscripts and "..." not in subscripts and set(step.options) <= {"optimize"}
    if not plain or len(nodes) != sum(type(each) is Node for each in operands):
        return None
    terms, result = subscripts.replace(" ", "").split("->")
    names, bases = terms.split(","), [real(_base(each)) for each in operands]
    if any(len(set(name)) < len(name) for name in names):
        return None
    places = [place for place, each in enumerate(operands) if type(each) is Node]
    lane = next(letter for letter in string.ascii_letters if letter not in subscripts)
    pair = ["einsum_path", (0, 1)] if len(names) == 2 else True

    def of_slab(place: int, slab: Slab) -> Array | Slab:
        fixed = {names[place][axis]: index for axis, index in zip(slab.pattern.axes, slab.pattern.index, strict=True)}
        inputs, arrays = [], []
        for other, (name, base) in enumerate(zip(names, bases, strict=True)):
            free = "".join(letter for letter in name if letter not in fixed)
            if other == place:
                inputs.append(free + lane)
                arrays.append(slab.values)
            elif len(free) < len(name):
                axes = tuple(axis for axis, letter in enumerate(name) if letter in fixed)
                inputs.append(free + lane)
                arrays.append(Pattern(axes, tuple(fixed[name[axis]] for axis in axes)).gather(base, base.ndim))
            else:
                inputs.append(name)
                arrays.append(base)
        left = "".join(letter for letter in result if letter not in fixed)
        values: Array = np.einsum(",".join(inputs) + "->" + left + lane, *arrays)
        axes = tuple(axis for axis, letter in enumerate(result) if letter in fixed)
        pattern = Pattern(axes, tuple(fixed[result[axis]] for axis in axes))
        return Slab(step.result.base.shape, pattern, values) if axes else values

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        known = [place for place, change in zip(places, changes, strict=True) if change is not None]
        if len(known) > 1:
            given: list[Any] = list(bases)
            for place, change in zip(places, changes, strict=True):
                given[place] = bases[place] if change is None else Varying(bases[place], change, lanes)
            return _products.einsum(subscripts, given).change
        (place,) = known
        change = changes[places.index(place)]
        if isinstance(change, Slab) and change.pattern.axes and len(names) == 2:
            return of_slab(place, change)
        assert change is not None
        inputs = [name + lane if other == place else name for other, name in enumerate(names)]
        arrays = [_dense(change) if other == place else base for other, base in enumerate(bases)]
        total: Array = np.einsum(",".join(inputs) + "->" + result + lane, *arrays, optimize=pair)
        return total

    return _given(run, [operands[place] for place in places], nodes, step.result.base)


# ---- structure -----------------------------------------------------------------------------------------------------------


def _taken(step: Step, nodes: Sequence[Node]) -> Run | None:
    x, index = nodes[0].base, step.args[1]
    part, spelled = step.result.base, _structure.index_with_lanes(index)

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        change = changes[0]
        if isinstance(change, Slab):
            return _structure.take(Varying(x, change, lanes), index, part).change
        assert change is not None
        taken: Array = change[spelled]
        return taken

    return run


def _reshaped(step: Step, nodes: Sequence[Node]) -> Run | None:
    given = [value for value in (*step.args[1:], *step.options.values()) if isinstance(value, str)]
    if len(nodes) != 1 or type(step.args[0]) is not Node or any(value != "C" for value in given):
        return None
    x, shape = nodes[0].base, step.result.base.shape

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        change = changes[0]
        if isinstance(change, Slab):
            return _structure.reshape(Varying(x, change, lanes), shape).change
        assert isinstance(change, np.ndarray)
        return change.reshape(*shape, lanes.count)

    return run


def _transposed(step: Step, nodes: Sequence[Node]) -> Run | None:
    x, order = nodes[0].base, step.args[1]
    axes = tuple(range(x.ndim))[::-1] if order is None else tuple(int(axis) % x.ndim for axis in order)

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        change = changes[0]
        if isinstance(change, Slab):
            return _structure.transpose(Varying(x, change, lanes), axes).change
        assert isinstance(change, np.ndarray)
        return change.transpose((*axes, x.ndim))

    return run


# ---- entries of what is computed element by element ----------------------------------------------------------------------


@dataclass(eq=False)
class Selection:
    """Entries that are taken of what smooth functions of elements gave, which are then computed of these entries alone.

    The probabilities of the labels are all that most losses need of a softmax.

    Attributes
    ----------
    run : callable
        Changes of the entries, of those of `nodes`.
    nodes : list of Node
        What the functions are computed of.
    steps : list of Step
        The functions, which are not needed apart from this.
    """

    run: Run
    nodes: list[Node]
    steps: list[Step]


def selection(step: Step, makers: Mapping[int, Step], uses: Mapping[int, int]) -> Selection | None:
    """The same change of what is taken, if few entries are taken of what smooth functions gave and nobody else needs.

    Parameters
    ----------
    step : Step
        Takes entries of a value.
    makers : mapping of int to Step
        Steps by the numbers of the nodes that they made.
    uses : mapping of int to int
        In how many steps each node is used.

    Returns
    -------
    Selection or None
        None if it is computed as a whole.
    """
    node, index = step.args[0], step.args[1]
    if type(step.result) is not Node or 2 * step.result.base.size > node.base.size:
        return None
    made = Selection(lambda lanes, changes: None, [], [])
    source = _selected(node, node.base.shape, index, (makers, uses), made)
    if not made.steps:
        return None
    made.run = lambda lanes, changes: source(
        lanes, {each.number: change for each, change in zip(made.nodes, changes, strict=True)}
    )
    return made


#: Change of some entries, of the changes of nodes by their numbers.
_OfEntries: TypeAlias = Callable[[Lanes, Mapping[int, Change]], Change]


def _selected(
    node: Node, shape: tuple[int, ...], index: Any, graph: tuple[Mapping[int, Step], Mapping[int, int]], made: Selection
) -> _OfEntries:
    """Change of the entries that an index takes of a value, broadcast to a shape."""
    makers, uses = graph
    maker = makers.get(node.number)
    smooth = maker is not None and maker.key in _SMOOTH and maker.slot is None and not maker.args[1]
    if maker is not None and smooth and uses[node.number] == 1 and node.base.shape == shape and node.base.dtype.kind == "f":
        operands = maker.args[0]
        taken = [np.array(np.broadcast_to(_base(each), shape)[index]) for each in operands]
        value = np.asarray(node.base[index])
        given = [Node(-1, base) if type(each) is Node else base for each, base in zip(operands, taken, strict=True)]
        run = None if any(base.dtype.kind not in "fiub" for base in taken) else _elements(maker.key, given, value)
        if run is not None:
            own = _kept_infinite(run, value) if np.isinf(value).any() else run
            made.steps.append(maker)
            sources = [_selected(each, shape, index, graph, made) if type(each) is Node else None for each in operands]

            def of_function(lanes: Lanes, changes: Mapping[int, Change]) -> Change:
                parts = [None if source is None else source(lanes, changes) for source in sources]
                return None if all(part is None for part in parts) else own(lanes, parts)

            return of_function
    if all(each is not node for each in made.nodes):
        made.nodes.append(node)
    whole, spelled = np.broadcast_to(node.base, shape), _structure.index_with_lanes(index)

    def of_node(lanes: Lanes, changes: Mapping[int, Change]) -> Change:
        change = changes[node.number]
        if change is None:
            return None
        change = _spread(change, shape)
        if isinstance(change, Slab):
            return _structure.take(Varying(whole, change, lanes), index).change
        part: Array = change[spelled]
        return part

    return of_node


_BUILDERS: dict[Any, Callable[[Step, Sequence[Node]], Run | None]] = {
    np.sum: _total,
    np.mean: functools.partial(_total, mean=True),
    np.max: _extreme(1.0),
    np.amax: _extreme(1.0),
    np.min: _extreme(-1.0),
    np.amin: _extreme(-1.0),
    np.dot: _matmul,
    np.einsum: _einsum,
    "take": _taken,
    "reshape": _reshaped,
    "transpose": _transposed,
    **dict.fromkeys(_STRUCTURAL, _reshaped),
}
