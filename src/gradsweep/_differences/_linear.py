"""Functions that are linear in the one operand that varies: sums with plain arrays, products with them.

Their changes need no base values, so they are taken before any form is looked up: half of all operations of a network are of this
kind, and most of what a small one costs is not arithmetic.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy import asarray  # whose own name may be stood in for while a function runs

from gradsweep._differences._slab import Slab
from gradsweep._differences._varying import Operand, Varying, real, varying
from gradsweep._types import Array


def _same(change: Array, other: Array) -> Array:
    """The change itself, which is never written to: x + c, c + x and x − c."""
    return change


def _negative(change: Array, other: Array) -> Array:
    """Of c − x and −x."""
    return -change


def _times(change: Array, other: Array) -> Array:
    """Of x·c and c·x."""
    return change * other


def _over(change: Array, other: Array) -> Array:
    """Of x / c."""
    return change / other


#: By function and place of what varies; and whether the other operand's values matter.
_RULES: dict[tuple[np.ufunc, int], tuple[Callable[[Array, Array], Array], bool]] = {
    (np.add, 0): (_same, False),
    (np.add, 1): (_same, False),
    (np.subtract, 0): (_same, False),
    (np.subtract, 1): (_negative, False),
    (np.negative, 0): (_negative, False),
    (np.positive, 0): (_same, False),
    (np.multiply, 0): (_times, True),
    (np.multiply, 1): (_times, True),
    (np.divide, 0): (_over, True),
}

_NONE = np.zeros(())


def linear(ufunc: np.ufunc, operands: Sequence[Operand]) -> Varying | None:
    """Apply a function that is linear in what varies.

    Parameters
    ----------
    ufunc : ufunc
        Any.
    operands : sequence of Varying or array
        One or two.

    Returns
    -------
    Varying or None
        None if it is none of these, if none or both of the operands vary, or numbers are complex.
    """
    first, last = operands[0], operands[-1]
    if isinstance(first, Varying):
        place, x, other = 0, first, last if len(operands) == 2 else _NONE
    elif isinstance(last, Varying):
        place, x, other = 1, last, first
    else:
        return None
    rule = _RULES.get((ufunc, place))
    if rule is None or isinstance(other, Varying):
        return None
    if other.dtype.kind not in "fiub" or x.base.dtype.kind == "c":
        return None
    bases = (x.base,) if len(operands) == 1 else (x.base, other) if place == 0 else (other, x.base)
    value = asarray(ufunc(*bases))
    function, matters = rule
    change = x.change
    if not isinstance(change, Slab):
        return varying(value, function(change, real(other)[..., np.newaxis] if matters else _NONE), x.lanes)
    slab = change.broadcast(value.shape)
    factor = real(slab.pattern.gather(other, value.ndim)) if matters else _NONE
    values = function(slab.values, factor)
    return varying(value, Slab(value.shape, slab.pattern, values), x.lanes)
