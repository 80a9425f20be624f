"""The verdict: formula 3 by block, entries against tolerance and rounding, and what follows from them.

An entry *differs* if |g − ĝ| > tolerance·(|g| + |ĝ|) + noise, where the noise is the rounding that g and ĝ may carry. Written
so that a NaN differs. A block in which no entry differs is within the tolerance by the triangle inequality, apart from noise;
so entries decide, and no norm over many of them can hide one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradsweep._types import Array

# Entries compared at once: 128 KB an array. Larger temporaries are taken from the operating system and given back each time
# (twice as slow on 61,481 entries), and leave the cache.
_ENTRIES = 2**14

# How many of the worst entries of each block are kept.
_KEPT = 10

# Roots of sums of squares between these have lost nothing to overflow or underflow.
_SAFE = (1e-140, 1e140)


class Status(Enum):
    """What is known of a block."""

    AGREES = "agrees"
    WRONG = "wrong"
    VACUOUS = "vacuous"
    NOISY = "noisy"
    STEP_TOO_LARGE = "step too large"
    AT_KINKS = "at kinks"


@dataclass(frozen=True)
class Entry:
    """One entry of a gradient, on both sides.

    Attributes
    ----------
    block : str
        Name of the parameter's block.
    index : tuple of int
        Index within the block.
    analytic, numeric : float
        The tested gradient, and the difference quotient.
    noise : float
        Rounding that the two may carry.
    kink : bool
        Whether the cost has a kink here; `numeric` is then the accepted value that is nearest to `analytic`.
    score : float
        How far the two are from acceptance: their difference over what is allowed. Above 1 they differ.
    """

    block: str
    index: tuple[int, int]
    analytic: float
    numeric: float
    noise: float
    kink: bool
    score: float

    def differs(self, tolerance: float) -> bool:
        """Whether the two differ by more than tolerance and noise; a NaN does."""
        allowed = tolerance * (abs(self.analytic) + abs(self.numeric)) + self.noise
        gap = abs(self.analytic - self.numeric)
        return not (gap <= allowed and gap < math.inf)


@dataclass(frozen=True)
class Block:
    """How a block's gradient compares.

    Attributes
    ----------
    name : str
        Name of the parameter's block.
    shape : tuple of int
        Its shape.
    status : Status
        What is known of it.
    difference : float
        Formula 3: ‖g − ĝ‖ / (‖g‖ + ‖ĝ‖), 0 if both are zero.
    noise : float
        The same with the rounding in the place of g − ĝ.
    differing : int
        Entries that differ by more than tolerance and noise.
    vacuous : int
        Entries whose gradient is below the noise on both sides: nothing can be said of them.
    kinks : int
        Entries at a kink, where any value between the one-sided slopes is accepted, and what the usual backward passes give.
    worst : tuple of Entry
        At most ten, the worst first.
    """

    name: str
    shape: tuple[int, int]
    status: Status
    difference: float
    noise: float
    differing: int
    vacuous: int
    kinks: int
    worst: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.shape[0] * self.shape[1]


@dataclass
class Tally:
    """Sums over the entries of a block, or of several.

    Attributes
    ----------
    analytic, numeric, gap, noise : float
        Norms of g, of ĝ, of g − ĝ and of the rounding.
    differing, vacuous : int
        As in `Block`.
    candidates : list of Entry
        The worst entries so far.
    """

    analytic: float = 0.0
    numeric: float = 0.0
    gap: float = 0.0
    noise: float = 0.0
    differing: int = 0
    vacuous: int = 0
    candidates: list[Entry] = field(default_factory=list)

    @property
    def difference(self) -> float:
        """Formula 3."""
        return ratio(self.gap, self.analytic + self.numeric)

    @property
    def relative_noise(self) -> float:
        """Rounding, relative as in formula 3."""
        return ratio(self.noise, self.analytic + self.numeric)

    def add(self, other: "Tally") -> None:
        """Take in the norms of another block."""
        self.analytic = float(np.hypot(self.analytic, other.analytic))
        self.numeric = float(np.hypot(self.numeric, other.numeric))
        self.gap = float(np.hypot(self.gap, other.gap))
        self.noise = float(np.hypot(self.noise, other.noise))


def ratio(gap: float, size: float) -> float:
    """Gap / size; 0 where both are zero, infinite where only the size is, NaN where either is NaN or infinite."""
    if gap == 0.0 and size == 0.0:
        return 0.0
    if not np.isfinite(size):
        return float("nan")
    return gap / size if size else float("inf")


@dataclass(frozen=True)
class Sides:
    """The two gradients of a block.

    Attributes
    ----------
    name : str
        Name of the block.
    analytic : array of shape (rows, columns)
        The tested gradient, any real type.
    below, above : arrays of shape (rows, columns)
        The difference quotient, in both; at a kink the smaller and the larger one-sided slope.
    noise : callable
        Rounding that some rows may carry, as an array.
    """

    name: str
    analytic: NDArray[np.generic]
    below: Array
    above: Array
    noise: Callable[[slice], Array]


def compare(sides: Sides, tolerance: float) -> Tally:
    """Compare a block's two gradients.

    Parameters
    ----------
    sides : Sides
        The block.
    tolerance : float
        Relative.

    Returns
    -------
    Tally
        Of the whole block.
    """
    tally = Tally()
    rows, columns = sides.below.shape
    length = max(1, _ENTRIES // columns)
    for start in range(0, rows, length):
        _compare_rows(tally, sides, slice(start, min(start + length, rows)), tolerance)
    return tally


def _compare_rows(tally: Tally, sides: Sides, rows: slice, tolerance: float) -> None:
    from gradsweep.kernels import comparison

    with np.errstate(over="ignore"):  # what float64 cannot hold is infinite
        analytic = np.ascontiguousarray(sides.analytic[rows], dtype=np.float64)
    below = np.ascontiguousarray(sides.below[rows])
    above = below if sides.above is sides.below else np.ascontiguousarray(sides.above[rows])
    noise = sides.noise(rows)
    score = np.empty_like(below)
    totals = np.zeros(comparison.TOTALS)
    comparison.compare(analytic, below, above, noise, tolerance, score, totals)
    differing = int(totals[comparison.DIFFERING])
    tally.differing += differing
    tally.vacuous += int(totals[comparison.VACUOUS])
    numeric = below if above is below else np.clip(analytic, below, above)
    tally.analytic = _longer(tally.analytic, totals[comparison.ANALYTIC], analytic)
    tally.numeric = _longer(tally.numeric, totals[comparison.NUMERIC], numeric)
    tally.gap = _longer(tally.gap, totals[comparison.GAP], analytic, numeric)
    tally.noise = _longer(tally.noise, totals[comparison.NOISE], noise)
    # Of a part that agrees the worst entry will do; the search for more would take as long as the comparison.
    places = _largest(score.reshape(-1)) if differing else [int(np.argmax(score))]
    for place in places:
        row, column = divmod(int(place), score.shape[1])
        tested, low, high = float(analytic[row, column]), float(below[row, column]), float(above[row, column])
        nearest = low if not tested >= low else min(tested, high)
        index = (rows.start + row, column)
        tally.candidates.append(
            Entry(sides.name, index, tested, nearest, float(noise[row, column]), low < high, float(score[row, column]))
        )
    tally.candidates.sort(key=lambda entry: entry.score, reverse=True)
    del tally.candidates[_KEPT:]


def _longer(before: float, squares: float, values: Array, minus: Array | None = None) -> float:
    """Norm of what was there before and of some values, whose sum of squares is at hand."""
    root = math.sqrt(squares) if squares >= 0.0 else math.nan
    # Near the ends of the number range squares overflow or underflow: then once more, scaled.
    if not (_SAFE[0] < root < _SAFE[1]) and squares == squares:
        with np.errstate(over="ignore", invalid="ignore"):
            root = norm(values if minus is None else values - minus)
    return math.hypot(before, root)


def norm(values: Array) -> float:
    """Euclidean norm, right for entries near the ends of the number range, too."""
    sizes = np.abs(values)
    largest = float(sizes.max(initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(sizes / largest))


def _largest(score: Array) -> NDArray[np.intp]:
    """Places of the `_KEPT` largest scores."""
    segment = 64
    whole = len(score) - len(score) % segment
    if whole < 2 * _KEPT * segment:
        return np.argsort(score)[-_KEPT:]
    # The largest ten lie in the ten segments with the largest maxima: a pass over all, then a search in few.
    maxima = score[:whole].reshape(-1, segment).max(axis=1)
    segments = np.argpartition(maxima, -_KEPT)[-_KEPT:]
    places = np.concatenate([(segments[:, np.newaxis] * segment + np.arange(segment)).ravel(), np.arange(whole, len(score))])
    return places[np.argsort(score[places])[-_KEPT:]]


def block_status(tally: Tally, size: int, tolerance: float, *, confirmed: bool, at_kinks: bool = False) -> Status:
    """What is known of a block.

    Parameters
    ----------
    tally : Tally
        Its sums.
    size : int
        Its number of entries.
    tolerance : float
        Relative.
    confirmed : bool
        Whether an entry still differs when its quotient is formed with a much smaller step.
    at_kinks : bool, default: False
        Whether entries at kinks differ from all that is accepted, and yet may be what some backward pass gives.

    Returns
    -------
    Status
        WRONG only if confirmed.
    """
    if confirmed:
        return Status.WRONG
    if at_kinks:
        return Status.AT_KINKS
    if tally.vacuous == size:
        return Status.VACUOUS
    if tally.difference <= tolerance:
        return Status.AGREES
    # More than the tolerance, and nothing is wrong: it is either rounding, or, where entries differ by more than that at this
    # step and agree at a smaller one, the quotient's own truncation.
    return Status.STEP_TOO_LARGE if tally.differing else Status.NOISY


def overall(blocks: list[Block]) -> Literal["pass", "fail", "inconclusive"]:
    """Verdict over all blocks: ``"pass"``, ``"fail"`` or ``"inconclusive"``."""
    statuses = {block.status for block in blocks}
    if Status.WRONG in statuses:
        return "fail"
    if statuses & {Status.NOISY, Status.STEP_TOO_LARGE, Status.AT_KINKS} or statuses == {Status.VACUOUS}:
        return "inconclusive"
    return "pass"
