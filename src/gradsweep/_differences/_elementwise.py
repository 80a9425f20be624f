"""Which difference form belongs to which NumPy function of elements; comparisons; and the form of all others."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy import asarray  # whose own name may be stood in for while a function runs
from numpy.typing import NDArray

from gradsweep._differences import _complex, _kinks
from gradsweep._differences._elementary import BINARY, UNARY
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._linear import linear
from gradsweep._differences._slab import Slab, reach
from gradsweep._differences._varying import ElementForm, Operand, Varying, apply, base_of, dense, lanes_of, real
from gradsweep._types import Array

#: Decided by the base values. A lane that would have decided otherwise is counted.
COMPARISONS = frozenset({np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal})

#: Facts about a value that no small change alters, unless it is there already.
PREDICATES = frozenset({
    np.isnan, np.isfinite, np.isinf, np.signbit, np.logical_not, np.logical_and, np.logical_or, np.logical_xor
})  # fmt: skip


def _unary(form: Callable[[Array, Array, Array], Array]) -> ElementForm:
    def change(lanes: Lanes, bases: Sequence[Array], value: Array, changes: Sequence[Array | None]) -> Array:
        assert changes[0] is not None
        return form(bases[0], value, changes[0])

    return change


def _binary(form: Callable[[Array, Array, Array, Array | None, Array | None], Array]) -> ElementForm:
    def change(lanes: Lanes, bases: Sequence[Array], value: Array, changes: Sequence[Array | None]) -> Array:
        return form(bases[0], bases[1], value, changes[0], changes[1])

    return change


_FORMS: dict[Any, ElementForm] = {
    **{ufunc: _unary(form) for ufunc, form in UNARY.items()},
    **{ufunc: _binary(form) for ufunc, form in BINARY.items()},
    np.absolute: _kinks.absolute,
    np.fabs: _kinks.absolute,
    np.maximum: _kinks.maximum,
    np.minimum: _kinks.minimum,
    np.fmax: _kinks.maximum,
    np.fmin: _kinks.minimum,
    **{step: _kinks.steps(step) for step in (np.sign, np.floor, np.ceil, np.rint, np.trunc)},
    np.floor_divide: _kinks.steps(np.floor_divide),
    np.heaviside: _kinks.heaviside,
}


def form_of(ufunc: np.ufunc) -> ElementForm | None:
    """The difference form of a function of elements of real numbers; None if it has none of its own."""
    return _FORMS.get(ufunc)


#: Whose lanes are looked at together where `Lanes.ties` is set.
_KINKED = (np.absolute, np.fabs, np.maximum, np.minimum, np.fmax, np.fmin)


def elementwise(ufunc: np.ufunc, operands: Sequence[Operand]) -> "Varying | NDArray[Any]":
    """Apply a NumPy function of elements.

    Parameters
    ----------
    ufunc : ufunc
        With one result and no core dimensions.
    operands : sequence of Varying or array
        At least one varies.

    Returns
    -------
    Varying, or array of bool
        The latter for comparisons and predicates.
    """
    simple = linear(ufunc, operands)
    if simple is not None:
        return _with_slack(ufunc, operands, simple) if simple.lanes.jitter else simple
    if ufunc in COMPARISONS:
        return compare(ufunc, operands)
    if ufunc in PREDICATES:
        return _decide(ufunc, operands)
    value = ufunc(*(base_of(operand) for operand in operands))
    if lanes_of(operands).ties is not None and ufunc in _KINKED:
        # All lanes of an entry take one side, and those of a slab are of several.
        operands = [dense(operand) for operand in operands]
    forms = _complex.FORMS if _is_complex(value, operands) else _FORMS
    form = forms.get(ufunc) or functools.partial(general, ufunc)
    result = apply(form, value, operands)
    return _with_slack(ufunc, operands, result) if result.lanes.jitter else result


def _is_complex(value: Any, operands: Sequence[Operand]) -> bool:
    """Whether any number that takes part is complex."""
    if asarray(value).dtype.kind == "c":
        return True
    return any(base_of(operand).dtype.kind == "c" for operand in operands)


def compare(ufunc: np.ufunc, operands: Sequence[Operand]) -> NDArray[Any]:
    """Compare two values by their bases; count lanes that would have decided otherwise."""
    first, second = operands
    lanes = lanes_of(operands)
    bases = [base_of(operand) for operand in operands]
    decided: NDArray[Any] = asarray(ufunc(*bases))
    difference = elementwise(np.subtract, operands) if all(base.dtype.kind in "biuf" for base in bases) else None
    if not isinstance(difference, Varying):
        return decided
    if isinstance(first, Varying) and isinstance(second, Varying) and first.change is second.change:
        return decided
    own = difference.change
    if reach(own.values if isinstance(own, Slab) else own) < float(np.abs(difference.base).min(initial=np.inf)):
        return decided
    if isinstance(own, Slab) and lanes.ties is None and not lanes.decide:
        lead, change = own.pattern.gather(difference.base, difference.ndim), own.values
    else:
        lead, change = difference.base[..., np.newaxis], difference.dense
    flipped = _kinks.equality(lanes, lead, change) if ufunc in (np.equal, np.not_equal) else _kinks.order(lanes, lead, change)
    if lanes.decide:
        return asarray(ufunc((lead + change)[..., 0], 0.0))
    if lanes.ties == "second":
        # Of equal values the other side: what is true of them becomes false, and the reverse.
        return np.where(flipped.any(axis=-1), ~decided, decided)
    return decided


def _decide(ufunc: np.ufunc, operands: Sequence[Operand]) -> NDArray[Any]:
    """A truth about values, by their bases; lanes for which it is another are counted."""
    lanes = lanes_of(operands)
    decided = asarray(ufunc(*(base_of(operand) for operand in operands)))
    shifted = [
        operand.base[..., np.newaxis] + operand.dense if isinstance(operand, Varying) else operand[..., np.newaxis]
        for operand in operands
    ]
    otherwise = ufunc(*shifted)
    lanes.cross(np.broadcast_to(otherwise != decided[..., np.newaxis], (*decided.shape, lanes.count)))
    return asarray(otherwise[..., 0]) if lanes.decide else decided


def general(
    function: Callable[..., Any], lanes: Lanes, bases: Sequence[Array], value: Array, changes: Sequence[Array | None]
) -> Array:
    """f(z + δ) − f(z): right for any function of elements, with the textbook's cancellation."""
    shifted = [base if change is None else base + change for base, change in zip(bases, changes, strict=True)]
    change: Array = function(*shifted) - value
    lanes.subtracts = True
    return change + lanes.rounding(np.broadcast_to(np.abs(value), change.shape))


def _with_slack(ufunc: np.ufunc, operands: Sequence[Operand], result: Varying) -> Varying:
    """Jitter for what backward passes compute from rounded results, where the exact slope is smaller than their rounding.

    tanh: 1 − t², with an error of the rounding of t². 1 + e with e = exp(−z), as in the logistic function s: s·(1 − s), where the
    sum has lost the digits of e.
    """
    if ufunc is np.exp:
        return replace(result, exponential=True)
    slack: Array | float = 0.0
    if ufunc is np.tanh and isinstance(operands[0], Varying):
        slack = result.lanes.slack(np.abs(operands[0].dense) * real(result.base)[..., np.newaxis] ** 2)
    elif ufunc in (np.add, np.subtract):
        for operand in operands:
            if isinstance(operand, Varying) and operand.exponential:
                lost = np.abs(real(result.base)) / np.maximum(np.abs(real(operand.base)), np.finfo(np.float64).tiny)
                slack = slack + result.lanes.slack(np.abs(operand.dense) * lost[..., np.newaxis])
    return replace(result, change=result.dense + slack) if np.ndim(slack) else result
