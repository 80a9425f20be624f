"""The second point: a right gradient at one point can hide a mistake that shows at almost any other."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from gradsweep._report import Displaced
from gradsweep._trees import Tree
from gradsweep._types import Array
from gradsweep._verdict import Block, Status, overall, root_mean_square

#: How far it is from the first one, relative to the size of each block; less where the cost is not finite there.
DISPLACEMENTS = (0.25, 0.03, 0.004)

#: Where that is, for an error.
AWAY = "at a second point, where all parameters are displaced at random"


def describe_raised(error: Exception) -> str:
    """A note of a gradient that can be had nowhere but at the given parameters."""
    return f"gradient raises {type(error).__name__} {AWAY}: {error}; so it was checked at the given parameters alone"


def displaced_tree(tree: Tree, size: float, generator: np.random.Generator) -> Tree:
    """Another point: every entry moved, to either side, by some part of the size of its block.

    Parameters
    ----------
    tree : Tree
        The point.
    size : float
        By how much entries are moved at most, relative to the root mean square of their block.
    generator : numpy.random.Generator
        Draws the displacement.

    Returns
    -------
    Tree
        The same structure with other values.
    """
    values = tree.values.copy()
    whole = root_mean_square(values) or 1.0
    for leaf in tree.blocks:
        own = values[leaf.start : leaf.stop]
        if own.size:
            # Zero biases are moved as well: that a bias is missing shows nowhere else.
            scale = root_mean_square(own) or min(whole, 1.0)
            moved = size * scale * generator.uniform(0.5, 1.0, own.size) * generator.choice([-1.0, 1.0], own.size)
            own += np.clip(moved, *_room(own, size))
    values.flags.writeable = False
    return Tree(tree.blocks, values, tree.root)


def _room(own: Array, size: float) -> tuple[Array, Array]:
    """How far the entries of a block may move to either side: what are all positive, or all less than 1, remain so.

    Variances, probabilities and correlations have no meaning beyond that, and a gradient need not be right there.
    """
    low, high = np.full(own.shape, -np.inf), np.full(own.shape, np.inf)
    if (own > 0.0).all():
        low = -2.0 * size * own
    if (own < 0.0).all():
        high = -2.0 * size * own
    if (np.abs(own) < 1.0).all():
        rest = 2.0 * size * (1.0 - np.abs(own))
        low, high = np.maximum(low, np.where(own < 0.0, -rest, -np.inf)), np.minimum(high, np.where(own > 0.0, rest, np.inf))
    return low, high


def overall_verdict(blocks: Sequence[Block], displaced: Displaced | None) -> Literal["pass", "fail", "inconclusive"]:
    """Verdict over both points: at the second one only what is wrong counts, and what is merely unclear does not."""
    wrong = [] if displaced is None else [block for block in displaced.blocks if block.status is Status.WRONG]
    return overall([*blocks, *wrong])


def overall_interrupted(
    blocks: Sequence[Block], displaced: Displaced | None
) -> tuple[Literal["fail", "inconclusive"], Displaced | None]:
    """Verdict of a check that was interrupted, which is no pass; and the second point, if something is wrong there."""
    wrong = displaced is not None and any(block.status is Status.WRONG for block in displaced.blocks)
    verdict: Literal["fail", "inconclusive"] = "fail" if wrong or overall(blocks) == "fail" else "inconclusive"
    return verdict, displaced if wrong else None
