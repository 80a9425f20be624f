"""What the diagnosis is given of a check that failed, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._functions import Function
from gradsweep._costs._numerics import Indices, Numerics
from gradsweep._costs._numpy_function import NumPyFunction
from gradsweep._diagnosis._diagnose import diagnose
from gradsweep._diagnosis._evidence import Finding, Seen
from gradsweep._differences._departure import Departure
from gradsweep._entries import Examined
from gradsweep._function_points import gradient_at
from gradsweep._screening import Found
from gradsweep._suspects import suspect
from gradsweep._trees import Leaf, Tree
from gradsweep._types import Array
from gradsweep._verdict import Block, Status

# A finding that explains more of a gap than this, with this confidence, needs no search for another explanation.
_EXACT, _CONVINCING = 1.0 - 1e-9, 0.9

# A finding of less confidence is not worth its lines beside a convincing one of the same blocks.
_VAGUE = 0.6


@dataclass(frozen=True, eq=False)
class Sighting:
    """A block, and the entries of it whose numeric gradient is known.

    Attributes
    ----------
    block : Block
        What was decided of it.
    places : array of int of shape (n,), optional
        Which entries they are, in C order; None: all.
    numeric, noise : arrays of shape (n,)
        The numeric gradient there, and the rounding that the two may carry.
    """

    block: Block
    places: Indices | None
    numeric: Array
    noise: Array

    @classmethod
    def of(cls, examined: Examined, indices: Indices, leaf: Leaf) -> "Sighting":
        """Of entries that were decided, of all of a block or of some."""
        places = None if len(indices) == leaf.size else indices - leaf.start
        return cls(examined.block, places, examined.numeric, examined.noise)

    @classmethod
    def found(cls, found: Found, leaf: Leaf) -> "Sighting":
        """Of what a screen found."""
        if found.examined is None:
            return cls(found.block, np.empty(0, dtype=np.intp), np.empty(0), np.empty(0))
        return replace(cls.of(found.examined, found.indices, leaf), block=found.block)

    def seen(
        self, parameter: Array, analytic: NDArray[Any], examples: int | None = None, again: NDArray[Any] | None = None
    ) -> Seen:
        """The block as the diagnosis sees it, with the parameter and the gradient under test, any shape of this size."""
        shape = self.block.shape
        whole = self.places is None
        with np.errstate(over="ignore"):  # what float64 cannot hold is infinite
            tested = np.asarray(analytic, dtype=np.float64).reshape(shape)
        return Seen(
            name=self.block.name,
            shape=shape,
            status=self.block.status,
            parameter=np.asarray(parameter, dtype=np.float64).reshape(shape),
            analytic=tested,
            places=self.places,
            numeric=self.numeric.reshape(shape) if whole else self.numeric,
            noise=self.noise.reshape(shape) if whole else self.noise,
            examples=examples,
            again=None if again is None else np.asarray(again, dtype=np.float64).reshape(shape),
        )


def at_second_call(analytic: NDArray[Any], first: NDArray[Any], second: NDArray[Any]) -> Array:
    """A block of the gradient at a second call, as it would be right after the first one.

    Calls at other points may lie between them, whose gradients a buffer has summed up that is never cleared: what one call adds
    to that is the difference of two in a row.
    """
    with np.errstate(all="ignore"):
        own, earlier, later = (np.asarray(block, dtype=np.float64) for block in (analytic, first, second))
        return own + (later - earlier)


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
    again: list[Array | None] = [None] * len(analytic)
    if callable(gradient):
        first, second = (gradient_at(function, gradient, tree) for _ in range(2))
        again = [at_second_call(*blocks) for blocks in zip(analytic, first, second, strict=True)]
    seen = [
        sighting.seen(tree.values[leaf.start : leaf.stop], block, again=later)
        for sighting, leaf, block, later in zip(sightings, tree.blocks, analytic, again, strict=True)
    ]
    try:
        order = numerics.order()
    except Departure:  # behind a comparison that only now was decided otherwise
        order = [leaf.name for leaf in tree.blocks]
    findings = diagnose(seen, tolerance, order=order)
    explained = {name for finding in findings if is_exact(finding) for name in finding.blocks}
    wrong = {sighting.block.name for sighting in sightings if sighting.block.status is Status.WRONG}
    if isinstance(numerics, NumPyFunction) and not explained.issuperset(wrong):
        suspected = suspect(numerics, analytic, sightings, order)
        if suspected:
            # One mistake that explains every block leaves nothing for guesses at some of them.
            certain = [each for each in findings if is_exact(each) or not wrong.issuperset(each.blocks)]
            findings = (*suspected, *certain)
    return without_weaker(findings)


def without_weaker(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Findings but for vague ones of blocks of which a certain one says more."""
    certain = {name for finding in findings if finding.confidence >= _CONVINCING for name in finding.blocks}
    return tuple(finding for finding in findings if finding.confidence >= _VAGUE or not certain.issuperset(finding.blocks))


def is_exact(finding: Finding) -> bool:
    """Whether a finding explains what is wrong by itself, to rounding."""
    return finding.explained > _EXACT and finding.confidence >= _CONVINCING
