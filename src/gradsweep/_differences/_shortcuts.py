"""Short ways to the change of common operations whose values are known beforehand.

A recorded step can always be done as it was done, values and all. What is here computes the same change and nothing else:
everything that belongs to the values alone, as the winner of a maximum or how far it is ahead, is computed once for all
perturbations. Functions of elements have a file of their own.
"""

import functools
import string
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences import _products, _reductions, _structure
from gradsweep._differences._elementwise import COMPARISONS, compare
from gradsweep._differences._known_elements import (
    SMOOTH,
    Change,
    OfOperands,
    base_of,
    dense_of,
    elements,
    kept_infinite,
    mapped,
    reach_of,
    spread,
)
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._recording import Node, Step
from gradsweep._differences._slab import Pattern, Slab
from gradsweep._differences._varying import Varying, real
from gradsweep._types import Array

#: ``run(lanes, changes) -> change``, of the nodes of a step.
Run: TypeAlias = Callable[[Lanes, Sequence[Change]], Change]

_STRUCTURAL = (np.reshape, np.ravel, np.squeeze, np.expand_dims, np.atleast_1d, np.atleast_2d, np.atleast_3d)

#: Steps that count no crossing, whatever changes: without need of their results they are left out.
CALM: frozenset[Any] = frozenset({
    *SMOOTH, np.matmul, np.dot, np.sum, np.mean, np.var, np.std, np.where, np.concatenate, np.stack, np.outer, np.inner,
    np.tensordot, np.einsum, np.transpose, np.swapaxes, np.moveaxis, np.broadcast_to, np.cumsum, np.copy, np.pad, np.trace,
    (np.add, "reduce"), "take", "reshape", "transpose", "copy", np.shape, np.size, np.ndim, *_STRUCTURAL,
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
    if step.args[1] or any(base_of(each).dtype.kind not in "fiub" for each in operands):
        return None
    if ufunc in COMPARISONS and len(operands) == 2:
        return _comparison(ufunc, operands, nodes)
    if type(step.result) is not Node or step.result.base.dtype.kind != "f":
        return None
    if ufunc is np.matmul:
        return _matmul(step, nodes)
    value = step.result.base
    run = elements(ufunc, operands, value)
    return None if run is None else _given(run, operands, nodes, value)


def _given(run: OfOperands, operands: Sequence[Any], nodes: Sequence[Node], value: NDArray[Any]) -> Run:
    """What is given changes of nodes, made of what is given changes of operands."""
    if np.isinf(value).any():
        run = kept_infinite(run, value)
    if all(type(each) is Node for each in operands) and len(operands) == len(nodes):
        return run
    places = [nodes.index(each) if type(each) is Node else None for each in operands]
    return lambda lanes, changes: run(lanes, [None if place is None else changes[place] for place in places])


# ---- comparisons and extremes --------------------------------------------------------------------------------------------


def _comparison(ufunc: np.ufunc, operands: Sequence[Any], nodes: Sequence[Node]) -> Run | None:
    """A comparison, of which only is asked whether any lane could decide otherwise; what it gives is known."""
    bases = [base_of(each) for each in operands]
    difference = np.asarray(np.subtract(*(real(base) for base in bases)))
    room = float(np.abs(difference).min(initial=np.inf))

    def run(lanes: Lanes, changes: Sequence[Change]) -> None:
        known = [change for change in changes if change is not None]
        reached = sum(reach_of(change) for change in known)
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
        read = axis_and_dimensions(step)
        if read is None or not nodes[0].base.size or np.isinf(step.result.base).any():
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
            if not reach_of(change) < room:
                return full(Varying(x, change, lanes), axis, keepdims=keepdims).change
            # Of a single place it is a view, which would follow what is written to memory later.
            return np.array(dense_of(change)[index])

        return run

    return build


# ---- sums and matrix products --------------------------------------------------------------------------------------------


def axis_and_dimensions(step: Step) -> tuple[Any, bool] | None:
    """Axis and `keepdims` of a reduction; None if there is anything else to it."""
    options = dict(step.options)
    axis = step.args[1] if len(step.args) > 1 else options.pop("axis", None)
    keepdims = options.pop("keepdims", False)
    if len(step.args) > 2 or any(value is not None for value in options.values()) or type(step.args[0]) is not Node:
        return None
    return axis, bool(keepdims) and keepdims is not np._NoValue


def _total(step: Step, nodes: Sequence[Node], *, mean: bool = False) -> Run | None:
    read = axis_and_dimensions(step)
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
            total = _reductions.summed(change, axes, keepdims=keepdims)
        return total if count == 1.0 else mapped(lambda numbers: numbers / count, total)

    return _given(run, [nodes[0]], nodes, value)


def _matmul(step: Step, nodes: Sequence[Node]) -> Run | None:
    operands = step.args[0] if step.key is np.matmul else step.args
    if len(operands) != 2 or step.options or not all(type(each) is Node or type(each) is np.ndarray for each in operands):
        return None
    bases, value = [real(base_of(each)) for each in operands], step.result.base
    ndims = [base.ndim for base in bases]
    if 0 in ndims or ndims == [1, 1] or (step.key is not np.matmul and ndims[1] > 2) or nodes[0] is nodes[-1] is not operands[0]:
        return None

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        first, second = (
            base if change is None else Varying(base, change, lanes) for base, change in zip(bases, changes, strict=True)
        )
        return spread(_products.matmul_change(first, second), value.shape)

    return _given(run, operands, nodes, value)


def _einsum(step: Step, nodes: Sequence[Node]) -> Run | None:
    """A sum of products of which one factor changes at a time; of a slab only the products that it is part of."""
    subscripts, *operands = step.args
    plain = type(subscripts) is str and "->" in subscripts and "..." not in subscripts and set(step.options) <= {"optimize"}
    if not plain or len(nodes) != sum(type(each) is Node for each in operands):
        return None
    terms, result = subscripts.replace(" ", "").split("->")
    names, bases = terms.split(","), [real(base_of(each)) for each in operands]
    if any(len(set(name)) < len(name) for name in names):
        return None
    sizes: dict[str, int] = {}
    for name, base in zip(names, bases, strict=True):
        if any(sizes.setdefault(letter, size) != size for letter, size in zip(name, base.shape, strict=True)):
            return None  # an axis of length 1 is repeated
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
        arrays = [dense_of(change) if other == place else base for other, base in enumerate(bases)]
        total: Array = np.einsum(",".join(inputs) + "->" + result + lane, *arrays, optimize=pair)
        return total

    return _given(run, [operands[place] for place in places], nodes, step.result.base)


# ---- structure -----------------------------------------------------------------------------------------------------------


def _chosen(step: Step, nodes: Sequence[Node]) -> Run | None:
    """``np.where``: whole rows of lanes, since values alone decide."""
    if len(step.args) != 3 or step.options or type(step.args[0]) is Node or not step.result.base.ndim:
        return None
    condition, *branches = step.args
    shape, value = step.result.base.shape, step.result.base
    if any(type(each) is not Node and np.ndim(each) and np.asarray(each).dtype.kind not in "fiub" for each in branches):
        return None
    taken = np.broadcast_to(np.asarray(condition, dtype=bool), shape)
    entries = np.nonzero(taken), np.nonzero(~taken)

    def run(lanes: Lanes, changes: Sequence[Change]) -> Change:
        first, second = changes
        rest: Change
        if isinstance(first, Slab) or isinstance(second, Slab):
            given = [
                branch if change is None else Varying(base_of(branch), change, lanes)
                for branch, change in zip(branches, changes, strict=True)
            ]
            return _structure.choose(taken, *(each if isinstance(each, Varying) else base_of(each) for each in given)).change
        chosen: Array
        if first is not None and second is not None:
            whole = spread(first, shape)
            assert isinstance(whole, np.ndarray)
            chosen, rest, places = whole.copy(), second, entries[1]
        else:
            chosen = np.zeros((*shape, lanes.count))
            rest, places = (second, entries[1]) if first is None else (first, entries[0])
        assert rest is not None
        others = spread(rest, shape)
        assert isinstance(others, np.ndarray)
        chosen[places] = others[places]
        return chosen

    return _given(run, branches, nodes, value)


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


_BUILDERS: dict[Any, Callable[[Step, Sequence[Node]], Run | None]] = {
    np.sum: _total,
    np.mean: functools.partial(_total, mean=True),
    np.max: _extreme(1.0),
    np.amax: _extreme(1.0),
    np.min: _extreme(-1.0),
    np.amin: _extreme(-1.0),
    np.dot: _matmul,
    np.einsum: _einsum,
    np.where: _chosen,
    "take": _taken,
    "reshape": _reshaped,
    "transpose": _transposed,
    **dict.fromkeys(_STRUCTURAL, _reshaped),
}
