"""What rounding leaves of a gradient that vanishes.

A backward pass that sums what cancels exactly leaves rounding of what it sums: of a bias before a batch norm, or of the keys of
an attention, on which the cost does not depend. The function itself shows none of it, since its changes vanish before they are
summed with anything; and a gradient that is given as arrays cannot be asked for more. So where a quotient vanishes, entries are
held against those of all blocks. And it is 0 where squares overflow, as in exp(−z) / (1 + exp(−z))².
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._parameters import Precision
from gradsweep._types import Array
from gradsweep._verdict import Block, Status

# A quotient vanishes that is no more than its noise, and that no more than so many roundings of the usual entry; then the
# gradient may be off by so many. A batch norm of columns whose mean is ten thousand times their deviation leaves some 2^15.
_VANISHING, _LEFT = 2.0**12, 2.0**20

# What is off by less than this part of its block's gradient, or so many roundings, may be rounding: where much cancels, not all.
_SLIGHT, _ROUNDINGS = 2.0**-20, 2.0**13


def usual_size(gradient: Sequence[NDArray[Any]], precision: Precision) -> float:
    """The median of the largest entries of all blocks, but of those of which there is only rounding left.

    Parameters
    ----------
    gradient : sequence of array
        The blocks.
    precision : Precision
        Of them.

    Returns
    -------
    float
        The lower one of two; 0 if there is none.
    """
    with np.errstate(all="ignore"):
        sizes = [float(np.max(np.abs(np.asarray(block, dtype=np.float64)), initial=0.0)) for block in gradient]
    finite = [size for size in sizes if size < math.inf]
    least = _VANISHING * precision.epsilon * max(finite, default=0.0)
    known = sorted(size for size in finite if size > least)
    return known[(len(known) - 1) // 2] if known else 0.0


def with_cancelled(values: Array, noise: Array, usual: float, precision: Precision, tolerance: float) -> Array:
    """Noise, and where quotients vanish what a backward pass may leave there.

    Parameters
    ----------
    values, noise : arrays of shape (n,)
        Quotients, and their rounding.
    usual : float
        Size of the usual entry.
    precision : Precision
        Of the gradient under test.
    tolerance : float
        Relative: no more than this part of the usual entry counts as rounding.

    Returns
    -------
    array of shape (n,)
        Nowhere less than `noise`.
    """
    vanishes = (np.abs(values) <= noise) & (noise <= _VANISHING * precision.epsilon * usual)
    noise = np.maximum(noise, math.sqrt(precision.tiny) * usual)
    return np.where(vanishes, np.maximum(noise, min(_LEFT * precision.epsilon, tolerance) * usual), noise)


def describe_slight(
    blocks: Sequence[Block], gaps: Sequence[float], gradient: Sequence[NDArray[Any]], precision: Precision
) -> list[str]:
    """What whoever gave arrays can do if all that is wrong is slight.

    Parameters
    ----------
    blocks : sequence of Block
        As they were decided.
    gaps : sequence of float
        How far the two gradients of each are apart, by their norm.
    gradient : sequence of array
        Of all of them, under test.
    precision : Precision
        Of it.

    Returns
    -------
    list of str
        A sentence, or none.
    """
    given = zip(blocks, gaps, gradient, strict=True)
    shares = {
        block.name: gap / (usual_size([own], precision) or 1.0) for block, gap, own in given if block.status is Status.WRONG
    }
    if not shares or not max(shares.values()) <= max(_SLIGHT, _ROUNDINGS * precision.epsilon):
        return []
    return [
        f"what is wrong of {', '.join(shares)} is {max(shares.values()):.1e} of its largest entry at most, as may be what "
        "rounding leaves of a backward pass that sums what cancels; of a gradient that is given as a function it is measured"
    ]
