"""Which operation of the forward pass has a way back with a mistake that explains the gradient under test, tried one by one."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._numpy_function import NumPyFunction
from gradsweep._diagnosis._evidence import Finding
from gradsweep._differences._alterations import SLOPES, Site, Watch
from gradsweep._differences._departure import Departure
from gradsweep._directions import Direction, Region, matrix_shape
from gradsweep._types import Array
from gradsweep._verdict import Block, Status

# Directions in each block: an altered gradient must agree with the one under test along all of them.
_DIRECTIONS = 2

# What the two may differ by, relative to the size of such products.
_AGREEMENT = 1e-6

# Seconds that are spent at most, and numbers that the directions may have: 64 MB.
_LONGEST, _MOST = 2.0, 2**23

# Findings of this kind, at most: several operations in a row may explain it alike.
_KEPT = 1

# A gradient that is explained to six digits in each block, right ones included.
_CONFIDENCE = 0.97


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Directions, and what the gradient under test is along them.

    Attributes
    ----------
    directions : array of shape (n, parameters)
        Some in each block.
    wanted : array of shape (n,)
        Products with the gradient under test.
    sizes : array of shape (n,)
        What such products are like.
    """

    directions: Array
    wanted: Array
    sizes: Array

    def agrees(self, found: Array) -> bool:
        """Whether another gradient is the same one."""
        return bool((np.abs(found - self.wanted) <= _AGREEMENT * self.sizes).all())


def suspect(
    numerics: NumPyFunction, analytic: Sequence[NDArray[Any]], blocks: Sequence[Block], order: Sequence[str]
) -> tuple[Finding, ...]:
    """Try mistakes at the operations of the forward pass.

    Parameters
    ----------
    numerics : NumPyFunction
        The cost on difference arrays.
    analytic : sequence of array
        The gradient under test.
    blocks : sequence of Block
        What was decided of it.
    order : sequence of str
        Names of the blocks, from input to loss.

    Returns
    -------
    tuple of Finding
        At most one; none if no single mistake explains all blocks, right ones included, or the function is too large for this.
    """
    evidence = _gather(numerics, analytic)
    if evidence is None:
        return ()
    survey = Watch()
    begun = time.perf_counter()
    try:
        right = numerics.altered(evidence.directions, survey)
        found: list[Finding] = []
        for site, mistake in _by_likelihood(list(survey.sites.values())):
            if time.perf_counter() - begun > _LONGEST or len(found) >= _KEPT:
                break
            other = numerics.altered(evidence.directions, Watch(site.place, mistake))
            if not np.array_equal(other, right) and evidence.agrees(other):
                found.append(_finding(site, mistake, blocks, order))
    except Departure:
        return ()
    return tuple(found)


def _gather(numerics: NumPyFunction, analytic: Sequence[NDArray[Any]]) -> _Evidence | None:
    """Directions in all blocks; None if there are too many numbers in them, or the gradient is not finite."""
    tree = numerics.propagation.tree
    rows: list[Array] = []
    wanted, sizes = [], []
    count = len([leaf for leaf in tree.blocks if leaf.size]) * _DIRECTIONS
    if count * len(tree.values) * 2 > _MOST:
        return None
    for place, (leaf, block) in enumerate(zip(tree.blocks, analytic, strict=True)):
        shape = matrix_shape(leaf.shape)
        own = np.asarray(block, dtype=np.float64).reshape(-1)
        for number in range(_DIRECTIONS if leaf.size else 0):
            direction = Direction(Region(place, (0, shape[0]), (0, shape[1])), shape[1], number, 0)
            row = np.zeros(len(tree.values))
            row[leaf.start : leaf.stop] = direction.whole(shape).reshape(-1)
            rows.append(row)
            wanted.append(float(row[leaf.start : leaf.stop] @ own))
            sizes.append(float(np.linalg.norm(own)) / np.sqrt(leaf.size))
    if not rows or not np.isfinite(wanted).all():
        return None
    return _Evidence(np.array(rows), np.array(wanted), np.array(sizes))


def _by_likelihood(sites: list[Site]) -> Iterator[tuple[Site, str]]:
    """Sites and mistakes: slopes that are left out first, then those that are others, then what is not passed back."""
    mistakes: list[str] = []
    for site in sites:
        mistakes += [mistake for mistake in site.mistakes if mistake not in mistakes]
    ranked = sorted(mistakes, key=lambda mistake: list(SLOPES).index(mistake) if mistake in SLOPES else len(SLOPES))
    for mistake in ranked:
        # Of what is computed in several steps, as a sigmoid is, the last one has all of it.
        for site in reversed(sites):
            if mistake in site.mistakes:
                yield site, mistake


def _finding(site: Site, mistake: str, blocks: Sequence[Block], order: Sequence[str]) -> Finding:
    place = {name: number for number, name in enumerate(order)}
    wrong = sorted((block.name for block in blocks if block.status is Status.WRONG), key=lambda name: -place.get(name, 0))
    names = ", ".join(wrong) if len(wrong) <= 4 else f"{', '.join(wrong[:3])} and {len(wrong) - 3} more"
    slope = mistake in SLOPES
    subject = "the slope of what is computed there" if slope else f"np.{site.name} there"
    how = f"{subject} {mistake}" if slope or not mistake.startswith("is ") else f"the error {mistake} np.{site.name} there"
    if not slope and mistake.startswith("is not"):
        how = f"the gradient {mistake} np.{site.name} there"
    elif not slope and mistake.startswith("is passed"):
        how = f"the gradient of np.{site.name} there {mistake}"
    return Finding(
        kind="activation_derivative" if slope or site.is_elementwise else "from_above",
        blocks=tuple(wrong),
        message=f"{names}: to six digits the gradient is that of a backward pass for {site.where}, in which {how}; consistent "
        "with just that mistake",
        advice="Look at the way back through that line.",
        confidence=_CONFIDENCE,
        explained=1.0,
        evidence=MappingProxyType({"operation": site.name, "where": site.where, "mistake": mistake}),
    )
