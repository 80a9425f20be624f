"""The verdict: formula 3 by block, entries against tolerance and rounding, and what follows from them.

An entry *differs* if |g − ĝ| > tolerance·(|g| + |ĝ|) + noise, where the noise is the rounding that g and ĝ may carry. Written
so that a NaN differs. A block in which no entry differs is within the tolerance by the triangle inequality, apart from noise;
so entries decide, and no norm over many of them can hide one.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradsweep._matrices import LINE, BlockMatrix, aligned
from gradsweep._sensitivity import Sensitivity, of_entries
from gradsweep._types import Array

# Entries that are converted, or whose intervals are formed, at once: 1 MB an array.
_ENTRIES = 2**17

#: How many of the worst entries of each block are kept.
KEPT = 10

# Roots of sums of squares between these have lost nothing to overflow or underflow.
_SAFE = (1e-140, 1e140)


class Status(Enum):
    """What is known of a block.

    Attributes
    ----------
    AGREES
        No entry differs.
    WRONG
        Entries differ, also with a smaller step: the verdict is fail.
    VACUOUS
        The whole gradient is below the noise, so that nothing can be said of it.
    NOISY
        Noise is above the tolerance: inconclusive.
    STEP_TOO_LARGE
        Entries differ at this step, and agree at a smaller one: inconclusive.
    AT_KINKS
        Entries differ from all that is accepted at a kink, and yet may be what some backward pass gives: inconclusive.
    NOT_FINITE
        The cost is not finite beside the parameters, so that there is no quotient: inconclusive.
    UNRESOLVED
        It differs along random directions, and no entry that was looked at is wrong: inconclusive.
    UNFINISHED
        The check was interrupted, and nothing is known to be wrong so far, or a screen has not looked at it: inconclusive.
    """

    AGREES = "agrees"
    WRONG = "wrong"
    VACUOUS = "vacuous"
    NOISY = "noisy"
    STEP_TOO_LARGE = "step too large"
    AT_KINKS = "at kinks"
    NOT_FINITE = "cost not finite"
    UNRESOLVED = "differs along directions"
    UNFINISHED = "not finished"


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
    index: tuple[int, ...]
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
    size : int
        Number of entries that were compared: all of them, or those of a sample.
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
        At most ten, the worst first. Where fewer differ there are others behind them, which need not be the next worst.
    interval : tuple of float, optional
        Where `difference` is an estimate from random directions: with 95 % probability it lies between these.
    looked_at : int, optional
        Where it is one, the number of entries that were perturbed on their own; `differing` counts among them.
    sensitivity : Sensitivity, optional
        The smallest errors that would have been caught.
    """

    name: str
    shape: tuple[int, ...]
    size: int
    status: Status
    difference: float
    noise: float
    differing: int
    vacuous: int
    kinks: int
    worst: tuple[Entry, ...]
    interval: tuple[float, float] | None = None
    looked_at: int | None = None
    sensitivity: Sensitivity | None = None


@dataclass
class Tally:
    """Sums over the entries of a block, or of several.

    Attributes
    ----------
    analytic, numeric, gap, noise : float
        Norms of g, of ĝ, of g − ĝ and of the rounding.
    differing, vacuous, kinks : int
        As in `Block`.
    largest, noise_at_largest, largest_noise : float
        Largest absolute value of g, the noise at that entry, and the largest noise.
    candidates : list of Entry
        The worst entries so far.
    """

    analytic: float = 0.0
    numeric: float = 0.0
    gap: float = 0.0
    noise: float = 0.0
    differing: int = 0
    vacuous: int = 0
    kinks: int = 0
    largest: float = 0.0
    noise_at_largest: float = 0.0
    largest_noise: float = 0.0
    candidates: list[Entry] = field(default_factory=list)

    @property
    def difference(self) -> float:
        """Formula 3."""
        return ratio(self.gap, self.analytic + self.numeric)

    def sensitivity(self, tolerance: float) -> Sensitivity:
        """The smallest errors that a comparison at this tolerance would have found."""
        score = self.candidates[0].score if self.candidates else 0.0
        return of_entries(tolerance, self.largest, self.noise_at_largest, self.largest_noise, score)

    @property
    def relative_noise(self) -> float:
        """Rounding, relative as in formula 3."""
        return ratio(self.noise, self.analytic + self.numeric)

    @classmethod
    def of_all(cls, tallies: Iterable["Tally"]) -> "Tally":
        """Norms over several blocks."""
        total = cls()
        for tally in tallies:
            total.add(tally)
        return total

    def add(self, other: "Tally") -> None:
        """Take in the norms of another block."""
        self.analytic = math.hypot(self.analytic, other.analytic)
        self.numeric = math.hypot(self.numeric, other.numeric)
        self.gap = math.hypot(self.gap, other.gap)
        self.noise = math.hypot(self.noise, other.noise)


def ratio(gap: float, size: float) -> float:
    """Gap / size; 0 where both are zero, infinite where only the size is, NaN where the size is infinite or either is NaN."""
    if gap == 0.0 and size == 0.0:
        return 0.0
    if not math.isfinite(size):
        return math.nan
    return gap / size if size else math.inf


@dataclass(frozen=True, eq=False)
class Sides:
    """The two gradients of a block.

    Attributes
    ----------
    name : str
        Name of the block.
    analytic : array of shape (rows, columns)
        The tested gradient, any real type.
    numeric : BlockMatrix
        The difference quotients.
    noise : BlockMatrix
        Rounding that both may carry.
    interval : callable, optional
        Where the cost has kinks in this block: what is accepted in some rows, as two arrays, the smallest and the largest value.
        They differ at kinks only.
    """

    name: str
    analytic: NDArray[np.generic]
    numeric: BlockMatrix
    noise: BlockMatrix
    interval: Callable[[slice], tuple[Array, Array]] | None = None

    def tested(self, rows: slice) -> Array:
        """Some rows of the tested gradient, C-contiguous float64; the caller's own memory if it is that already."""
        with np.errstate(over="ignore"):  # what float64 cannot hold is infinite
            return np.ascontiguousarray(self.analytic[rows], dtype=np.float64)


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
    rows, columns = sides.analytic.shape
    # A gradient that can be compared as it lies there needs no parts.
    whole = sides.interval is None and sides.analytic.flags.c_contiguous and sides.analytic.dtype == np.float64
    length = rows if whole else max(1, _ENTRIES // columns)
    for start in range(0, rows, length):
        _compare_rows(tally, sides, slice(start, min(start + length, rows)), tolerance)
    return tally


def _compare_rows(tally: Tally, sides: Sides, rows: slice, tolerance: float) -> None:
    from gradsweep.kernels import comparison

    analytic = sides.tested(rows)
    comparer = _Comparer(sides, rows, tolerance)
    worst, totals = np.empty((len(analytic), 2)), np.zeros(comparison.TOTALS)
    comparer(analytic, rows.start, worst, totals)
    differing = int(totals[comparison.DIFFERING])
    tally.differing += differing
    tally.vacuous += int(totals[comparison.VACUOUS])
    tally.kinks += int(totals[comparison.KINKS])
    if totals[comparison.LARGEST] > tally.largest:
        tally.largest, tally.noise_at_largest = (float(totals[n]) for n in (comparison.LARGEST, comparison.NOISE_AT_LARGEST))
    tally.largest_noise = max(tally.largest_noise, float(totals[comparison.LARGEST_NOISE]))
    scores = worst[:, 0]
    for norm_name, place in _NORMS.items():
        squares = totals[getattr(comparison, place)]
        root = math.sqrt(squares)
        # Near the ends of the number range squares overflow or underflow: then once more, scaled.
        exact = norm_name == "gap" and not scores.any()  # not the least difference
        if not (_SAFE[0] < root < _SAFE[1]) and not math.isnan(squares) and not exact:
            root = comparer.norm(norm_name, analytic, rows.start)
        setattr(tally, norm_name, math.hypot(getattr(tally, norm_name), root))
    # Of a part that agrees the worst entry will do; of one that does not, all that may be among the worst.
    chosen = np.argsort(scores)[-KEPT:] if differing else [int(np.argmax(scores))]
    for row in map(int, chosen):
        tally.candidates += comparer.entries(analytic, rows.start, row, KEPT if differing else 1)
    tally.candidates.sort(key=lambda entry: entry.score, reverse=True)
    del tally.candidates[KEPT:]


#: The norms of a tally, and where the kernel leaves their squares.
_NORMS = {"analytic": "ANALYTIC", "numeric": "NUMERIC_SQUARES", "gap": "GAP", "noise": "NOISE_SQUARES"}


class _Comparer:
    """The kernel, ready to compare some rows of a block: matrices and factors as it wants them."""

    def __init__(self, sides: Sides, rows: slice, tolerance: float) -> None:
        from gradsweep.kernels import comparison

        self._name, self._kernel = sides.name, comparison.compare
        self._numeric, self._above, self._tested = comparison.NUMERIC, comparison.ABOVE, comparison.TESTED
        numeric, noise = sides.numeric, sides.noise
        self._first_column, self._first_row = numeric.first_column, 0
        self._rule = np.zeros(comparison.RULE)
        self._rule[comparison.TOLERANCE] = tolerance
        self._rule[comparison.LEAST_NOISE] = noise.constant
        matrices = {comparison.NOISE: noise.matrix.dense, comparison.WEIGHTS: noise.weights}
        matrices |= {comparison.NOISE_LEFT: noise.matrix.left, comparison.NOISE_RIGHT: noise.matrix.right}
        self._rule[comparison.DECAY_NOISE] = noise.slope
        if sides.interval is None:
            matrices |= {comparison.NUMERIC: numeric.matrix.dense}
            matrices |= {comparison.LEFT: numeric.matrix.left, comparison.RIGHT: numeric.matrix.right}
            self._rule[comparison.DECAY], self._rule[comparison.SHIFT] = numeric.slope, numeric.constant
        else:
            # What is accepted is formed here, so all is given as it stands, these rows alone.
            below, above = sides.interval(rows)
            self._first_row, self._first_column = rows.start, 0
            matrices = {comparison.NUMERIC: below, comparison.ABOVE: above, comparison.NOISE: noise.rows(rows)}
            self._rule[comparison.LEAST_NOISE] = 0.0
        # Kept alive, for the kernel is given nothing but their addresses.
        self._arrays = {place: np.ascontiguousarray(array) for place, array in matrices.items() if array is not None}
        self._table = np.zeros((comparison.MATRICES, 3), dtype=np.int64)
        for place, array in self._arrays.items():
            self._table[place] = array.ctypes.data, *array.shape
        columns = -(-sides.analytic.shape[1] // LINE) * LINE
        self._room = aligned(comparison.ROOM * columns)

    def __call__(self, analytic: Array, start: int, worst: Array, totals: Array) -> None:
        """Compare rows from `start` on."""
        self._table[self._tested] = analytic.ctypes.data, *analytic.shape
        row = start - self._first_row
        self._kernel(self._table, row, self._first_column, self._rule, self._room, worst, totals)

    def _row(self, analytic: Array, start: int, row: int) -> tuple[Array, Array, Array, Array]:
        """Tested values, what they are compared with, noise and scores of one row, to the bit as they were compared."""
        from gradsweep.kernels import comparison

        tested = analytic[row : row + 1]
        columns = tested.shape[1]
        self(tested, start + row, np.empty((1, 2)), np.zeros(comparison.TOTALS))
        room = self._room.reshape(comparison.ROOM, -1)
        below, noise, score = (room[r, :columns] for r in (comparison.BELOW_ROW, comparison.NOISE_ROW, comparison.SCORE_ROW))
        numeric = room[comparison.NEAREST_ROW, :columns] if comparison.ABOVE in self._arrays else below
        return tested[0], numeric, noise, score

    def entries(self, analytic: Array, start: int, row: int, count: int) -> list[Entry]:
        """The worst entries of one row."""
        tested, numeric, noise, score = self._row(analytic, start, row)
        upper = self._arrays.get(self._above)
        result = []
        for column in map(int, _largest(score, count)):
            place = start + row, column
            kink = upper is not None and bool(self._arrays[self._numeric][row, column] < upper[row, column])
            result.append(
                Entry(
                    block=self._name,
                    index=place,
                    analytic=float(tested[column]),
                    numeric=float(numeric[column]),
                    noise=float(noise[column]),
                    kink=kink,
                    score=float(score[column]),
                )
            )
        return result

    def norm(self, name: str, analytic: Array, start: int) -> float:
        """A norm of the tally, of numbers so large or small that their squares are not to be had."""
        total = 0.0
        for row in range(len(analytic)):
            tested, numeric, noise, _ = self._row(analytic, start, row)
            with np.errstate(over="ignore", invalid="ignore"):
                values = {"analytic": tested, "numeric": numeric, "gap": tested - numeric, "noise": noise}[name]
            total = math.hypot(total, norm(values))
        return total


def norm(values: Array) -> float:
    """Euclidean norm, right for entries near the ends of the number range, too."""
    sizes = np.abs(values)
    largest = float(sizes.max(initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(sizes / largest))


def root_mean_square(values: Array) -> float:
    """Root of the mean square, right for entries near the ends of the number range, too; 0 of none."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(float(np.mean(np.square(values / largest))))


def _largest(score: Array, count: int) -> NDArray[np.intp]:
    """Places of the largest scores."""
    if count == 1:
        return np.array([np.argmax(score)])
    return np.argsort(score)[-count:]


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
    # A gradient of nothing but zeros was just found to differ from what vanishes with the step only.
    if tally.vacuous == size or (tally.differing and tally.analytic == 0.0):
        return Status.VACUOUS
    if tally.difference <= tolerance:
        return Status.AGREES
    # More than the tolerance, and nothing is wrong: it is either rounding, or, where entries differ by more than that at this
    # step and agree at a smaller one, the quotient's own truncation.
    return Status.STEP_TOO_LARGE if tally.differing else Status.NOISY


def interrupted(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Blocks of a check that was interrupted: what is wrong remains so, and what agrees or is vacuous as a whole."""
    return tuple(block if _stays(block) else replace(block, status=Status.UNFINISHED) for block in blocks)


def _stays(block: Block) -> bool:
    """Whether further entries cannot change what is known of a block."""
    whole = block.size == math.prod(block.shape)
    return block.status is Status.WRONG or (whole and block.status in (Status.AGREES, Status.VACUOUS))


def overall(blocks: Sequence[Block]) -> Literal["pass", "fail", "inconclusive"]:
    """Verdict over all blocks: ``"pass"``, ``"fail"`` or ``"inconclusive"``, which is what is said of nothing, too."""
    statuses = {block.status for block in blocks}
    if Status.WRONG in statuses:
        return "fail"
    if statuses - {Status.AGREES, Status.VACUOUS} or Status.AGREES not in statuses:
        return "inconclusive"
    return "pass"
