"""Mistakes that are made on the way back through one operation, as changes that it passes on otherwise than it should.

A backward pass is the transpose of what changes go through. So whoever leaves out the slope of an activation computes, to the
last digit, what comes of changes that go through that activation as if its slope were 1.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from gradsweep._differences._departure import Departure, heard
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._varying import Operand, Varying, base_of, real
from gradsweep._types import Array


class Kind(Enum):
    """What is done wrong at an operation, the likeliest first."""

    SLOPE = "slope"
    FACTOR = "factor"
    TRANSPOSED = "transposed"
    SCALED = "scaled"
    DETACHED = "detached"
    CARRIED = "carried"
    WITHOUT = "without"
    OVERWRITTEN = "overwritten"
    OTHER = "other"


@dataclass(frozen=True)
class Mistake:
    """What is done wrong at an operation.

    Attributes
    ----------
    kind : Kind
        What it is.
    operand : int
        To which operand the way back is wrong, where it matters.
    detail : hashable
        Which slope of `SLOPES`, which constant of `_CONSTANTS`, or which other value.
    """

    kind: Kind
    operand: int = 0
    detail: Hashable = None


def _logistic(z: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * z))


#: The slope that is none.
LEFT_OUT = "is left out"

#: The value that is taken in the place of another one is that of the operand itself.
OWN = "own"

#: What is taken for the slope of a function of elements v = f(u), by what is said of it: functions of u and v.
SLOPES: Mapping[str, Callable[[Array, Array], Any]] = {
    LEFT_OUT: lambda u, v: np.ones_like(v),
    "is taken as 1 - u², with what goes in in the place of what comes out": lambda u, v: 1.0 - u**2,
    "is taken as that of tanh, 1 - v²": lambda u, v: 1.0 - v**2,
    "is taken as that of a sigmoid, v(1 - v)": lambda u, v: v * (1.0 - v),
    "is taken as u(1 - u), with what goes in in the place of what comes out": lambda u, v: u * (1.0 - u),
    "is taken as that of tanh, at what comes out": lambda u, v: 1.0 - np.tanh(v) ** 2,
    "is taken as that of tanh, at what goes in": lambda u, v: 1.0 - np.tanh(u) ** 2,
    "is taken as that of a sigmoid, at what comes out": lambda u, v: _logistic(v) * _logistic(-v),
    "is taken as that of a sigmoid, at what goes in": lambda u, v: _logistic(u) * _logistic(-u),
    "is taken as that of a relu": lambda u, v: (u > 0.0) * 1.0,
    "is taken as that of a relu, by what comes out": lambda u, v: (v > 0.0) * 1.0,
    "is taken as a sigmoid of what goes in": lambda u, v: _logistic(u),
    "is taken as a sigmoid of what comes out": lambda u, v: _logistic(v),
    "is taken as v itself": lambda u, v: v,
    "is taken as u, what goes in": lambda u, v: u,
    "is taken as 1 - v": lambda u, v: 1.0 - v,
}

# Functions that are no ufuncs, and yet compute each entry from those at the same place.
_BY_ELEMENTS = frozenset({"where", "clip", "select", "nan_to_num", "sinc", "heaviside"})

#: Functions that are linear in either of two operands.
PRODUCTS = frozenset(
    {"multiply", "matmul", "dot", "einsum", "tensordot", "inner", "outer", "vdot", "vecdot", "matvec", "vecmat", "convolve"}
)

# Those of them that are products with a matrix.
_OF_MATRICES = frozenset({"matmul", "dot", "einsum", "tensordot", "inner", "matvec", "vecmat"})

#: Functions by which an array becomes a smaller one.
REDUCTIONS = frozenset(
    {"sum", "mean", "var", "std", "max", "min", "amax", "amin", "norm", "average", "median", "prod", "logsumexp"}
)

# Of two operands that change, what is passed back to either; of more of them, as of a long list that is joined, to none.
_FEW = 4

# How many values that an operand was made of are tried in its place.
_ANCESTORS = 4


@dataclass(frozen=True, eq=False)
class Step:
    """An operation, as it happens.

    Attributes
    ----------
    name : str
        Of NumPy's function.
    operands : sequence of Varying or array
        What it is given, in order, also from within lists.
    result : Varying
        What comes of it.
    again : callable
        Calls it with other operands.
    roots : sequence of Varying
        Arrays from each of which alone the result is computed element by element, the nearest first.
    """

    name: str
    operands: Sequence[Operand]
    result: Varying
    again: Callable[[Sequence[Operand]], Any]
    roots: Sequence[Varying]

    def within(self, lanes: slice) -> "Step":
        """The same in some lanes alone."""
        own = Lanes(len(range(*lanes.indices(self.result.lanes.count))), infinite=self.result.lanes.infinite)

        def cut(each: Varying) -> Varying:
            return Varying(each.base, each.dense[..., lanes], own)

        operands = [cut(each) if isinstance(each, Varying) else each for each in self.operands]
        return Step(self.name, operands, cut(self.result), self.again, [cut(root) for root in self.roots])

    def change_of(self, operands: Sequence[Operand]) -> Array:
        """What the result changes by if these are the operands; zeros if none of them changes."""
        shape = (*self.result.shape, self.result.lanes.count)
        if not any(isinstance(operand, Varying) for operand in operands):
            return np.zeros(shape)
        found = self.again(operands)
        return np.broadcast_to(found.dense, shape) if isinstance(found, Varying) else np.zeros(shape)

    def without(self, *numbers: int) -> list[Operand]:
        """The operands, some of them plain."""
        return [base_of(each) if place in numbers else each for place, each in enumerate(self.operands)]

    def alone(self, number: int) -> list[Operand]:
        """The operands, all others of them plain."""
        return [each if place == number else base_of(each) for place, each in enumerate(self.operands)]


def is_by_elements(name: str, *, of_ufunc: bool) -> bool:
    """Whether a function computes each entry from those at the same place."""
    return name in _BY_ELEMENTS or (of_ufunc and name not in PRODUCTS - {"multiply"} and name not in REDUCTIONS)


def possible(step: Step, ancestors: Sequence[Mapping[Hashable, Array]]) -> list[Mistake]:
    """What can be wrong with an operation's way back.

    Parameters
    ----------
    step : Step
        The operation.
    ancestors : sequence of mapping
        For each operand the values of its shape that it was made of, by their places.

    Returns
    -------
    list of Mistake
        In no order.
    """
    mistakes = [Mistake(Kind.DETACHED)]
    changing = [place for place, each in enumerate(step.operands) if isinstance(each, Varying)]
    if len(step.operands) <= _FEW:
        mistakes += [Mistake(Kind.WITHOUT, place) for place in changing]
    two = len(step.operands) == 2
    if (two and step.name in ("multiply", "divide")) or (step.name == "einsum" and 2 < len(step.operands) <= _FEW):
        numerators = changing if step.name != "divide" else [place for place in changing if not place]
        others = range(len(step.operands))
        mistakes += [Mistake(Kind.FACTOR, place, other) for place in numerators for other in others if other != place]
    if two and step.name in _OF_MATRICES:
        mistakes += [Mistake(Kind.TRANSPOSED, place) for place in (0, 1) if _is_square(step.operands[place])]
    if two and step.name in PRODUCTS:
        for place in changing:
            mistakes += [Mistake(Kind.OTHER, place, found) for found in list(ancestors[1 - place])[:_ANCESTORS]]
            mistakes += [Mistake(Kind.OTHER, place, which) for which in (1, -1, OWN)]
    elif len(changing) == 1 and step.roots and step.name not in ("add", "subtract", "negative"):
        found = list(ancestors[changing[0]])[:_ANCESTORS]
        mistakes += [Mistake(Kind.OTHER, changing[0], which) for which in (*found, 1, -1)]
    if len(changing) == 1 and _is_mask(step):
        mistakes += [Mistake(Kind.OTHER, changing[0], which) for which in list(ancestors[changing[0]])[:_ANCESTORS]]
    mistakes += [Mistake(Kind.SCALED, place, constant) for place in changing for constant in _constants(step, place)]
    for depth, root in enumerate(step.roots):
        # A product with a constant has no slope but its other factor, and sums have none that is left out.
        direct = not depth and len(changing) == 1 and step.operands[changing[0]] is root
        if not (direct and step.name in ("multiply", "divide", "negative")) and step.name not in ("add", "subtract"):
            mistakes += [Mistake(Kind.SLOPE, 0, (slope, depth)) for slope in SLOPES]
    return mistakes


#: Constants of a slope that are forgotten, by name: what the change is then multiplied by.
_CONSTANTS: Mapping[str, Callable[[Step], float]] = {
    "sign": lambda step: -1.0,
    "exponent": lambda step: 1.0 / _exponent(step),
    "half": lambda step: 2.0,
    "mean": lambda step: _entries(step),
    "sum": lambda step: 1.0 / _entries(step),
}


def _constants(step: Step, operand: int) -> list[str]:
    """Which constants the slope of an operation has, with respect to an operand."""
    name = step.name
    of = {
        "sign": (name, operand) in (("subtract", 1), ("divide", 1), ("negative", 0), ("cos", 0), ("reciprocal", 0)),
        "exponent": operand == 0 and _exponent(step) not in (0.0, 1.0),
        "half": name == "sqrt",
        "mean": name == "mean" and _entries(step) > 1.0,
        "sum": name == "sum" and _entries(step) > 1.0,
    }
    return [constant for constant, is_one in of.items() if is_one]


def _exponent(step: Step) -> float:
    """That of a power; 1 of anything else."""
    if step.name == "square":
        return 2.0
    if step.name not in ("power", "float_power") or len(step.operands) != 2 or base_of(step.operands[1]).size != 1:
        return 1.0
    return float(base_of(step.operands[1]).reshape(()))


def _entries(step: Step) -> float:
    """How many entries of an array are taken together in one of the result."""
    return base_of(step.operands[0]).size / max(step.result.size, 1)


def _is_square(operand: Operand) -> bool:
    shape = base_of(operand).shape
    return len(shape) >= 2 and shape[-1] == shape[-2] > 1


def altered(step: Step, mistake: Mistake, other: Array | None) -> Array | None:
    """What is passed on of an operation's changes if the mistake is made.

    Parameters
    ----------
    step : Step
        The operation.
    mistake : Mistake
        What is done wrong.
    other : array, optional
        The other value, of a mistake that takes one for another.

    Returns
    -------
    array of shape (*shape, lanes) or None
        None where the mistake cannot be made here, as in another turn of a loop.
    """
    if mistake.operand >= len(step.operands):
        return None
    with heard():  # what cannot be followed here is no departure of the user's code
        try:
            found = _ALTERED[mistake.kind](step, mistake, other)
        except (Departure, ValueError):
            # Not defined at other operands, as a rule for equal shapes, or an inverse, is not: nobody can have computed that.
            return None
    is_complex = found is not None and found.dtype.kind == "c" and step.result.dense.dtype.kind != "c"
    return None if is_complex else found


def _slope(step: Step, mistake: Mistake, other: Array | None) -> Array | None:
    assert isinstance(mistake.detail, tuple)
    slope, depth = mistake.detail
    if depth >= len(step.roots):
        return None
    root = step.roots[depth]
    if "c" in (root.base.dtype.kind, step.result.base.dtype.kind):
        return None
    u, v = real(root.base), real(step.result.base)
    taken = np.broadcast_to(SLOPES[slope](u, v), step.result.shape)
    return np.asarray(taken[..., np.newaxis] * root.dense)


def _factor(step: Step, mistake: Mistake, other: Array | None) -> Array | None:
    """A product of which another factor is left out of an operand's change."""
    left_out = mistake.detail
    if not isinstance(left_out, int) or left_out >= len(step.operands):
        return None
    replaced = step.alone(mistake.operand)
    replaced[left_out] = np.ones_like(base_of(step.operands[left_out]))
    return step.change_of(step.without(mistake.operand)) + step.change_of(replaced)


def _transposed(step: Step, mistake: Mistake, other: Array | None) -> Array | None:
    """A product whose square factor is transposed for the changes of the other one."""
    own = step.operands[mistake.operand]
    if not _is_square(own):
        return None
    turned = step.without(mistake.operand)
    turned[mistake.operand] = np.swapaxes(base_of(own), -1, -2)
    return step.change_of(step.alone(mistake.operand)) + step.change_of(turned)


def _scaled(step: Step, mistake: Mistake, other: Array | None) -> Array | None:
    if mistake.detail not in _constants(step, mistake.operand):
        return None
    own = step.change_of(step.alone(mistake.operand))
    return step.change_of(step.without(mistake.operand)) + _CONSTANTS[str(mistake.detail)](step) * own


def _detached(step: Step, mistake: Mistake, other: Array | None) -> Array | None:
    return np.zeros((*step.result.shape, step.result.lanes.count))


def _without(step: Step, mistake: Mistake, other: Array | None) -> Array | None:
    return step.change_of(step.without(mistake.operand))


def _carried(step: Step, mistake: Mistake, other: Array | None) -> Array | None:
    """Without the operands that the turn before has left behind."""
    numbers = mistake.detail
    assert isinstance(numbers, tuple)
    return step.change_of(step.without(*numbers))


def _is_mask(step: Step) -> bool:
    """Whether an array is multiplied by a mask, or cut off at zero."""
    by_mask = step.name == "multiply" and any(base_of(each).dtype.kind == "b" for each in step.operands)
    return by_mask or step.name in ("maximum", "fmax", "where", "clip")


def beside(step: Step, mistake: Mistake) -> int:
    """Which operand's value is taken for another one: of a product the other one, else that which changes."""
    return 1 - mistake.operand if len(step.operands) == 2 and step.name in PRODUCTS and not _is_mask(step) else mistake.operand


def _other(step: Step, mistake: Mistake, other: Array | None) -> Array | None:
    """What an operand's change is multiplied by, or where a slope is taken, is another value."""
    place, second = mistake.operand, beside(step, mistake)
    own, base = step.operands[place], base_of(step.operands[second])
    if not isinstance(own, Varying):
        return None
    if mistake.detail == OWN:
        other = own.base if own.shape == base.shape or own.ndim < 2 else np.swapaxes(own.base, -1, -2)
    if other is None or other.shape != base.shape or (other.dtype.kind == "c") != (base.dtype.kind == "c"):
        return None
    if _is_mask(step):
        shape = (*step.result.shape, own.lanes.count)
        return np.broadcast_to((other > 0.0)[..., np.newaxis] * own.dense, shape) if other.shape == step.result.shape else None
    replaced = step.alone(place)
    replaced[second] = Varying(other, own.dense, own.lanes) if second == place else other
    found = step.change_of(replaced)
    return found if second == place else step.change_of(step.without(place)) + found


def _unaltered(step: Step, mistake: Mistake, other: Array | None) -> Array | None:
    return None


_ALTERED: Mapping[Kind, Callable[[Step, Mistake, Array | None], Array | None]] = {
    Kind.SLOPE: _slope,
    Kind.FACTOR: _factor,
    Kind.TRANSPOSED: _transposed,
    Kind.SCALED: _scaled,
    Kind.DETACHED: _detached,
    Kind.CARRIED: _carried,
    Kind.WITHOUT: _without,
    Kind.OTHER: _other,
    Kind.OVERWRITTEN: _unaltered,
}
