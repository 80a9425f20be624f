"""What a check would have caught in a block: errors put into the gradient under test, and held against what was computed.

With the numeric side ĝ, the noise and the rule of the verdict known, it is known by how much an entry of g would have to be
another one to fail: nothing needs to be evaluated. What is given here is on the safe side: a smaller error may be caught, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# How many times the noise that is known a closer look may find: it is that of some entries, from a few runs or at a single step.
_UNSURE = 4.0

#: Part of what is allowed that an entry may be off by already, where not every one was looked at.
ALREADY = 0.05

# By how much the entries of a direction may be smaller than they should be, which are rounded to what parameters can take.
_ROUNDED = 1.0 + 2.0**-7


@dataclass(frozen=True)
class Sensitivity:
    """The smallest errors that would have been caught in a block.

    Attributes
    ----------
    scale : float
        Of the block as a whole: s, if g were (1 + s)·g. Infinite where no factor shows, as in a block of zeros.
    entry : float
        Of a single entry, whichever it is: what is added to it. Absolute.
    largest : float
        Largest absolute value of an entry of g.
    everywhere : bool
        Whether that holds of every entry; else of those alone that were looked at one by one.
    """

    scale: float
    entry: float
    largest: float
    everywhere: bool = True

    @property
    def relative_entry(self) -> float:
        """The error of a single entry relative to the largest one; infinite if that is 0."""
        return self.entry / self.largest if self.largest else math.inf


def of_entries(tolerance: float, largest: float, noise_at_largest: float, largest_noise: float, score: float) -> Sensitivity:
    """Sensitivity of a check that looked at every entry.

    Parameters
    ----------
    tolerance : float
        Relative.
    largest : float
        Largest |g|.
    noise_at_largest, largest_noise : float
        Rounding that is allowed for at that entry, and at the noisiest one, as far as it is known.
    score : float
        The worst entry's gap over what is allowed.

    Returns
    -------
    Sensitivity
        An error δ of an entry fails if |g + δ − ĝ| > tolerance·(|g + δ| + |ĝ|) + noise, which it does for any
        |δ|·(1 − tolerance) > (1 + score)·(2·tolerance·|g| + noise). Of the noise four times as much is taken.

    Examples
    --------
    >>> of_entries(1e-7, largest=2.0, noise_at_largest=0.0, largest_noise=0.0, score=0.0).scale
    2.00000020000002e-07
    """
    share = (1.0 + score) / (1.0 - tolerance)
    entry = share * (2.0 * tolerance * largest + _UNSURE * largest_noise)
    scale = share * (2.0 * tolerance + _UNSURE * noise_at_largest / largest) if largest else math.inf
    return Sensitivity(_known(scale), _known(entry), largest)


@dataclass(frozen=True)
class Shown:
    """What a direction of unit norm in a block showed.

    Attributes
    ----------
    product : float
        That of g with it.
    gap : float
        By how much this is off; at a kink, at most.
    noise : float
        What that may be without being noticed.
    """

    product: float
    gap: float
    noise: float


def of_directions(tolerance: float, largest: float, noise: float, size: int, seen: Sequence[Shown]) -> Sensitivity:
    """Sensitivity of a screen.

    Parameters
    ----------
    tolerance : float
        Relative.
    largest : float
        Largest |g|.
    noise : float
        Rounding that is allowed for at single entries, as far as it is known.
    size : int
        Number of entries.
    seen : sequence of Shown
        Of each direction; the first one has entries ±1/√size, but for rounding.

    Returns
    -------
    Sensitivity
        An error of an entry shows as its √size-th part; it, or the largest entry of a block that is off as a whole, must then
        fail on its own, beside the gap that it may have already.

    Examples
    --------
    >>> of_directions(1e-7, 2.0, 0.0, 10_000, [Shown(0.5, 0.0, 1e-8)]).entry
    4.03125e-06
    """
    root = math.sqrt(size)
    alone = of_entries(tolerance, largest, noise, noise, ALREADY)
    already = root * max(each.gap for each in seen)
    # A direction that differs is looked at again, and then allowed the rounding that its entries have.
    slack = [each.gap + _UNSURE * max(each.noise, noise) for each in seen]
    shown = min((own / abs(each.product) for own, each in zip(slack, seen, strict=True) if each.product), default=math.inf)
    scale = max(alone.scale + already / largest, shown) if largest else math.inf
    return Sensitivity(_known(scale), _known(max(alone.entry + already, _ROUNDED * root * slack[0])), largest)


def _known(value: float) -> float:
    """The value; what is no number catches nothing."""
    return math.inf if math.isnan(value) else value
