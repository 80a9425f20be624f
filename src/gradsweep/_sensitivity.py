"""What a check would have caught in a block: errors put into the gradient under test, and held against what was computed.

No evaluation of the cost is needed. With the numeric side ĝ, the noise and the rule of the verdict known, it is known by how much
an entry of g would have to be another one to fail. What is given here is on the safe side: a smaller error may be caught, too.
"""

import math
from dataclasses import dataclass


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
    """

    scale: float
    entry: float
    largest: float

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
        Rounding that is allowed for at that entry, and at the noisiest one.
    score : float
        The worst entry's gap over what is allowed.

    Returns
    -------
    Sensitivity
        An error δ of an entry fails if |g + δ − ĝ| > tolerance·(|g + δ| + |ĝ|) + noise, which it does for any
        |δ|·(1 − tolerance) > (1 + score)·(2·tolerance·|g| + noise).

    Examples
    --------
    >>> of_entries(1e-7, largest=2.0, noise_at_largest=0.0, largest_noise=0.0, score=0.0).scale
    2.00000020000002e-07
    """
    share = (1.0 + score) / (1.0 - tolerance)
    entry = share * (2.0 * tolerance * largest + largest_noise)
    scale = share * (2.0 * tolerance + noise_at_largest / largest) if largest else math.inf
    return Sensitivity(_known(scale), _known(entry), largest)


def of_directions(tolerance: float, largest: float, size: int, slack: float, products: list[tuple[float, float]]) -> Sensitivity:
    """Sensitivity of a screen.

    Parameters
    ----------
    tolerance : float
        Relative.
    largest : float
        Largest |g|.
    size : int
        Number of entries.
    slack : float
        What the product of g with a direction of entries ±1/√size may be off by without being noticed.
    products : list of (float, float)
        Product of g with each direction, and the same slack of that.

    Returns
    -------
    Sensitivity
        An error of an entry shows as its √size-th part; beyond that it must fail on its own.
    """
    least = 2.0 * tolerance / (1.0 - tolerance)
    scales = [slack_of_it / abs(product) for product, slack_of_it in products if product]
    scale = max(least, min(scales, default=math.inf)) if largest else math.inf
    return Sensitivity(_known(scale), _known(max(least * largest, math.sqrt(size) * slack)), largest)


def _known(value: float) -> float:
    """The value; what is no number catches nothing."""
    return math.inf if math.isnan(value) else value
