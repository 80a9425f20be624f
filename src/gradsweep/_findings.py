"""What the diagnosis is given of a check that failed, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._functions import Function
from gradsweep._costs._numerics import Indices, Numerics
from gradsweep._diagnosis import Finding, Seen, diagnose
from gradsweep._differences._departure import Departure
from gradsweep._entries import Examined
from gradsweep._function_points import gradient_at
from gradsweep._trees import Tree
from gradsweep._types import Array
from gradsweep._verdict import Block, Status


@dataclass(frozen=True, eq=False)
class Sighting:
    """A block, and the entries of it whose numeric gradient is known.

    Attributes
    ----------
    block : Block
        What was decided of it.
    examined : Examined, optional
        Its entries' numeric gradient, if any is known.
    indices : array of int of shape (n,)
        Which they are, in the flat vector.
    """

    block: Block
    examined: Examined | None
    indices: Indices


def explain_function(
    function: Function,
    gradient: Any,
    tree: Tree,
    analytic: Sequence[NDArray[Any]],
    sightings: Sequence[Sighting],
    numerics: Numerics,
    tolerance: float,
) -> tuple[Finding, ...]:
    """What is likely to be wrong with the gradient of a function.

    Parameters
    ----------
    function : Function
        The cost.
    gradient : the structure of the parameters, or callable
        Under test; a callable is called twice more, if something is wrong.
    tree : Tree
        The point.
    analytic : sequence of array
        The gradient there.
    sightings : sequence of Sighting
        All blocks.
    numerics : Numerics
        The numeric side, which knows in what order the blocks are used.
    tolerance : float
        Relative, of entries.

    Returns
    -------
    tuple of Finding
        The most convincing first; none if no block is wrong.
    """
    if all(sighting.block.status is not Status.WRONG for sighting in sightings):
        return ()
    again = _at_second_call(function, gradient, tree, analytic) if callable(gradient) else [None] * len(analytic)
    seen = [
        _seen(sighting, tree.values[leaf.start : leaf.stop], leaf.start, block, second)
        for sighting, leaf, block, second in zip(sightings, tree.blocks, analytic, again, strict=True)
    ]
    try:
        order = numerics.order()
    except Departure:  # behind a comparison that only now was decided otherwise
        order = [leaf.name for leaf in tree.blocks]
    return diagnose(seen, tolerance, order=order)


def _at_second_call(function: Function, gradient: Any, tree: Tree, analytic: Sequence[NDArray[Any]]) -> list[NDArray[Any] | None]:
    """The gradient at a second call, as it would be right after the first one.

    Calls at other points lie between them, whose gradients a buffer has summed up that is never cleared: what one call adds to
    that is the difference of two in a row.
    """
    first, second = (gradient_at(function, gradient, tree) for _ in range(2))
    with np.errstate(all="ignore"):
        return [
            np.asarray(block, dtype=np.float64) + (np.asarray(later, dtype=np.float64) - np.asarray(earlier, dtype=np.float64))
            for block, earlier, later in zip(analytic, first, second, strict=True)
        ]


def _seen(sighting: Sighting, parameter: Array, start: int, analytic: NDArray[Any], again: NDArray[Any] | None) -> Seen:
    """A block as the diagnosis sees it."""
    block, examined = sighting.block, sighting.examined
    size = parameter.size
    places: Indices | None = sighting.indices - start
    numeric, noise = (np.empty(0), np.empty(0)) if examined is None else (examined.numeric, examined.noise)
    if places is not None and len(places) == size and examined is not None:
        places, numeric, noise = None, numeric.reshape(block.shape), noise.reshape(block.shape)
    with np.errstate(over="ignore"):
        tested = np.asarray(analytic, dtype=np.float64).reshape(block.shape)
    return Seen(
        name=block.name,
        shape=block.shape,
        status=block.status,
        parameter=parameter.reshape(block.shape),
        analytic=tested,
        places=places,
        numeric=numeric,
        noise=noise,
        again=None if again is None else again.reshape(block.shape),
    )
