"""A gradient of any size in some tens of evaluations: directions in each block, and bisection of a block that disagrees.

What a direction shows is only where to look. Whether a gradient is wrong is decided by single entries, by the same rules as in a
sweep, so that nothing is loosened for the number of tests, and nothing is an error that no sweep would call one.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gradsweep._cancellation import with_cancelled
from gradsweep._costs._numerics import Directional, Indices, Numerics, Slopes
from gradsweep._directions import Direction, Region, matrix_shape
from gradsweep._entries import Examined
from gradsweep._monitor import SCREEN, current
from gradsweep._parameters import Precision
from gradsweep._samples import sample_places
from gradsweep._sensitivity import ALREADY, Sensitivity, Shown, of_directions, of_entries
from gradsweep._trees import Leaf
from gradsweep._types import Array
from gradsweep._verdict import Block, Status, Tally, ratio

# Directions in each block at first; a block of one entry needs no more than one.
_DIRECTIONS = 2

# Roundings of a block's entries that its product with a direction may be off by without a closer look: a backward pass rounds
# each of them some times, and the products are summed on both sides.
_ROUNDINGS = 256.0

# So many parts of a block that disagree at the same time are a few wrong entries or rows; with more, the error is dense.
_FEW = 8

# Entries of a block with a dense error that are looked at, and those in each row or column that was found.
_SAMPLED, _IN_REGION = 128, 16

# By how much the noise of a part of a block may exceed that of the whole.
_UNEVEN = 4.0

# By how much the least entry of a direction of unlike entries may be smaller than those of one of equal entries.
_UNLIKE = 2.1

# What a direction takes at most: so many times its steps, and one-sided ones at a kink.
_AT_STEPS, _AT_KINK = 3, 5

# What evaluates the cost where the rounding of entries is simulated, and how often an entry is evaluated with each step for that.
_SIMULATED, _NOISE_RUNS = ("kernels", "difference arrays"), 3

# Elsewhere noise of entries follows from that of directions, and may be so many times as large.
_UNKNOWN = 8.0

# Probability that a norm lies within the interval that is given for it.
_CONFIDENCE = 0.95


def count_directions(blocks: Sequence[Leaf]) -> int:
    """How many directions a screen looks at first."""
    return sum(min(_DIRECTIONS, leaf.size) for leaf in blocks)


@dataclass
class Budget:
    """What a screen may take.

    Attributes
    ----------
    evaluations : int, optional
        Changes, or values, of the cost.
    seconds : float, optional
        Time, from `begun` on by `time.perf_counter`.
    begun : float
        When the check began.
    spent : int
        Evaluations so far.
    """

    evaluations: int | None
    seconds: float | None
    begun: float
    spent: int = 0

    @property
    def left(self) -> float:
        """Evaluations that are left; none if there is no time."""
        if self.seconds is not None and time.perf_counter() - self.begun > self.seconds:
            return 0
        return math.inf if self.evaluations is None else max(self.evaluations - self.spent, 0)


@dataclass(frozen=True, eq=False)
class Subject:
    """What is screened: a point, and the gradient under test there.

    Attributes
    ----------
    blocks : tuple of Leaf
        The blocks, in the order of the parameters.
    analytic : list of array
        The gradient under test, by block.
    numerics : Numerics
        The numeric side.
    precision : Precision
        Of the gradient.
    steps : int
        Evaluations that a quotient takes.
    judge : callable
        Decides about single entries, given as indices of each block; and says which they were, fewer after an interrupt, and how
        many evaluations it took.
    usual : float, default: 0.0
        Size of the usual entry of all blocks, against which is held what rounding leaves where the gradient vanishes.
    """

    blocks: tuple[Leaf, ...]
    analytic: Sequence[NDArray[np.generic]]
    numerics: Numerics
    precision: Precision
    steps: int
    judge: Callable[[list[Indices]], tuple[list[Examined], list[Indices], int]]
    usual: float = 0.0

    def matrix(self, block: int) -> NDArray[np.generic]:
        """A block of the gradient under test, as a matrix."""
        return self.analytic[block].reshape(matrix_shape(self.blocks[block].shape))


@dataclass(frozen=True, eq=False)
class _Tests:
    """What directions showed.

    Attributes
    ----------
    regions : list of Region
        Where each of them is not 0.
    analytic, norms : arrays of shape (n,)
        Products with the gradient under test, and the root mean square of its entries in the regions: what the product with a
        direction of unit norm is like.
    slopes : Slopes
        The numeric side.
    noise : array of shape (n,)
        By how much the two may differ without there being anything wrong.
    kinks, moved : arrays of bool of shape (n,)
        Where there are two slopes, and where a closer look gave another one than the step did.
    """

    regions: list[Region]
    analytic: Array
    norms: Array
    slopes: Slopes
    noise: Array
    kinks: NDArray[np.bool_]
    moved: NDArray[np.bool_]

    @property
    def gap(self) -> Array:
        """How far they are apart, infinite where either is no number; at a kink, from what is accepted there."""
        with np.errstate(all="ignore"):
            gap = np.abs(self.analytic - np.clip(self.analytic, self.slopes.low, self.slopes.high))
        return np.where(np.isfinite(gap) & np.isfinite(self.slopes.values), gap, np.inf)

    @property
    def disagrees(self) -> NDArray[np.bool_]:
        """Where they differ by more than that."""
        return ~(self.gap <= self.noise)


@dataclass(frozen=True, eq=False)
class Found:
    """What a screen found of a block.

    Attributes
    ----------
    block : Block
        The block.
    tally : Tally
        Its norms, as they are estimated.
    examined : Examined or None
        Entries that were perturbed on their own, if any were.
    indices : array of int
        Which, in the flat vector.
    everywhere : bool
        Whether a wrong entry shows wherever it is; else only among these, as beside kinks that are too many to be told apart.
    """

    block: Block
    tally: Tally
    examined: Examined | None
    indices: Indices
    everywhere: bool = True


@dataclass
class _Traced:
    """Where the error of a block was found to be.

    Attributes
    ----------
    entries : list of int
        In the flat vector.
    regions : list of Region
        Rows, columns or other parts of the block to which the error is confined.
    dense : bool
        Whether there are more wrong parts than were followed.
    """

    entries: list[int] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    dense: bool = False

    @property
    def complete(self) -> bool:
        """Whether all that was looked for was followed to single entries."""
        return not (self.dense or self.regions)


@dataclass(frozen=True)
class _Search:
    """How a block is bisected.

    Attributes
    ----------
    noise : float
        That along directions in the whole block.
    closely : bool
        Whether all parts are looked at closely, since the quotients of the step alone are off by more than noise.
    kinks : bool
        Whether parts at kinks are followed, too.
    by_columns : bool
        Whether columns are halved first, not rows.
    follow : bool
        Whether a dense error does not end the search, which then goes on with two parts.
    """

    noise: float
    closely: bool
    kinks: bool
    by_columns: bool = False
    follow: bool = False


class _EndedError(Exception):
    """The search in a block was cut off by an interrupt: what it has seen decides nothing."""


@dataclass(frozen=True, eq=False)
class _First:
    """What the first directions showed.

    Attributes
    ----------
    tests : _Tests
        Of all of them.
    known : array of bool of shape (n,)
        Which were looked at: all, unless there was an interrupt.
    complete : bool
        Whether there was none while they were looked at.
    """

    tests: _Tests
    known: NDArray[np.bool_]
    complete: bool

    @property
    def needs_search(self) -> bool:
        """Whether directions alone do not decide."""
        return bool(self.known.all() and (self.tests.disagrees.any() or self.tests.kinks.any()))


class Screen:
    """A screen of a gradient at a point.

    Parameters
    ----------
    subject : Subject
        Point and gradient.
    tolerance : float
        Relative.
    seed : int
        Of the directions.
    budget : Budget
        What it may take; a screen's first directions are always taken.
    """

    def __init__(self, subject: Subject, tolerance: float, seed: int, budget: Budget) -> None:
        self._subject, self._tolerance, self._seed, self._budget = subject, tolerance, seed, budget
        #: ε of the first directions, the largest where each has its own.
        self.step = math.nan
        #: First directions whose step crossed a kink, and that were looked at again with a smaller one.
        self.crossed = 0
        self._numbers = itertools.count(_DIRECTIONS + 1, 2)  # odd ones: errors of equal size do not cancel
        # What a direction takes at most: what it takes by its steps alone, until one took more.
        self._each = subject.steps

    def run(self) -> list[Found]:
        """Screen every block.

        Returns
        -------
        list of Found
            In their order.
        """
        subject = self._subject
        regions, numbers = [], []
        for place, leaf in enumerate(subject.blocks):
            rows, columns = matrix_shape(leaf.shape)
            for number in range(min(_DIRECTIONS, leaf.size)):
                regions.append(Region(place, (0, rows), (0, columns)))
                numbers.append(number)
        monitor = current()
        with monitor.phase(SCREEN):
            first = self._first(regions, numbers)
            owners = np.array([region.block for region in regions], dtype=np.intp)
            parts = [_of(first, owners == place) for place in range(len(subject.blocks))]
            with monitor.searching(sum(part.needs_search for part in parts)):
                found = [self._block_so_far(place, part) for place, part in enumerate(parts)]
            if not monitor.interrupted:
                try:
                    return self._with_sensitivities(found, [part.tests for part in parts])
                except KeyboardInterrupt:
                    monitor.abandon()
            monitor.close()  # what is wrong may be explained
            return found

    # ---- what is left by an interrupt -----------------------------------------------------------------------------------

    def _first(self, regions: list[Region], numbers: Sequence[int]) -> _First:
        """The directions in all blocks; after an interrupt those that were looked at until then."""
        monitor = current()
        try:
            directional, tests = self._measure(regions, numbers)
        except KeyboardInterrupt:
            monitor.abandon()
            self._budget.spent += monitor.measured
            return _First(_nothing(regions), np.zeros(len(regions), dtype=np.bool_), complete=False)
        self.step, self.crossed = directional.step, tests.slopes.crossed
        if monitor.interrupted:
            return _First(tests, np.isfinite(tests.slopes.values), complete=False)
        everything = np.ones(len(regions), dtype=np.bool_)
        try:
            settled = self._closely(directional, tests)
        except KeyboardInterrupt:
            monitor.abandon()
        # A closer look that was cut off shows nothing.
        if monitor.interrupted:
            return _First(tests, everything, complete=True)
        return _First(settled, everything, complete=True)

    def _block_so_far(self, place: int, first: _First) -> Found:
        """A block, or what an interrupt leaves of it: that it agrees is said of none whose directions were not all looked at."""
        leaf, monitor = self._subject.blocks[place], current()
        if not first.known.all():
            return _unknown(leaf)
        if first.needs_search and monitor.interrupted:
            return _undecided(leaf, first.tests)
        try:
            found = self._block(place, first.tests)
        except _EndedError:
            return _undecided(leaf, first.tests)
        except KeyboardInterrupt:
            monitor.abandon()
            return _undecided(leaf, first.tests)
        if first.needs_search:
            monitor.searched()
        # Where directions were cut off, better quotients may have been about to show that their noise is less.
        certain = first.complete or not leaf.size or found.block.status is Status.AGREES
        return found if certain else _undecided(leaf, first.tests)

    # ---- what directions show ------------------------------------------------------------------------------------------

    def _measure(self, regions: list[Region], numbers: Sequence[int]) -> tuple[Directional, _Tests]:
        """Quotients along directions, and the gradient's products with them."""
        subject = self._subject
        directions = [
            Direction(region, matrix_shape(subject.blocks[region.block].shape)[1], number, self._seed)
            for region, number in zip(regions, numbers, strict=True)
        ]
        directional, monitor = subject.numerics.along(directions), current()
        slopes = directional.quotients(np.arange(len(directions)))
        known = np.isfinite(slopes.values) | (not monitor.interrupted)
        if monitor.interrupted:
            share = np.count_nonzero(known) / max(len(directions), 1)
            slopes = replace(slopes, evaluations=int(slopes.evaluations * share))
        self._budget.spent += slopes.evaluations
        if slopes.evaluations > len(directions) * subject.steps:
            self._each = _AT_STEPS * subject.steps + _AT_KINK
        sides = [
            directional.product(number, subject.matrix(region.block)) if known[number] else (math.nan, math.nan)
            for number, region in enumerate(regions)
        ]
        analytic, norms = np.array(sides).reshape(-1, 2).T
        norms = norms / np.sqrt([region.size for region in regions])
        with np.errstate(invalid="ignore"):
            # Of half precision this would be all there is: no more than the tolerance goes without a closer look.
            noise = min(_ROUNDINGS * subject.precision.epsilon, self._tolerance) * norms + slopes.noise
        still = np.zeros(len(directions), dtype=np.bool_)
        return directional, _Tests(regions, analytic, norms, slopes, np.nan_to_num(noise), slopes.at_kink, still)

    def _settled(self, regions: list[Region], numbers: Sequence[int]) -> _Tests:
        """The same after a closer look at those that disagree: a smaller step, a ladder, the rounding that they may carry."""
        directional, tests = self._measure(regions, numbers)
        return tests if current().interrupted else self._closely(directional, tests)

    def _closely(self, directional: Directional, tests: _Tests) -> _Tests:
        """A closer look at those that disagree."""
        disputed = np.flatnonzero(tests.disagrees & np.isfinite(tests.analytic))
        if not len(disputed):
            return tests
        closer = directional.settle(disputed, self._subject.precision)
        self._budget.spent += closer.evaluations
        arrays = {name: getattr(tests.slopes, name).copy() for name in ("values", "low", "high")}
        for name, array in arrays.items():
            array[disputed] = getattr(closer, name)
        noise = tests.noise.copy()
        # A closer look knows what rounding there is, and so may also find less of it; but not of that of the sums.
        summed = _ROUNDINGS * float(np.finfo(np.float64).eps) * tests.norms
        own = np.maximum(closer.noise + summed[disputed], self._subject.precision.tiny)
        noise[disputed] = with_cancelled(closer.values, own, self._subject.usual, self._subject.precision, self._tolerance)
        # Bounds that allow for what vanishes with the step differ at no kink, too.
        kinks, moved = tests.kinks.copy(), tests.moved.copy()
        if closer.kinks is not None:
            kinks[disputed] |= closer.kinks
        with np.errstate(invalid="ignore"):
            moved[disputed] = ~(np.abs(closer.values - tests.slopes.values[disputed]) <= noise[disputed])
        slopes = Slopes(**arrays, noise=noise, crossed=tests.slopes.crossed + closer.crossed)
        return _Tests(tests.regions, tests.analytic, tests.norms, slopes, noise, kinks, moved & ~kinks)

    # ---- a block -------------------------------------------------------------------------------------------------------

    def _block(self, place: int, tests: _Tests) -> Found:
        leaf = self._subject.blocks[place]
        disagrees = bool(tests.disagrees.any())
        examined, indices, everywhere = None, np.empty(0, dtype=np.intp), True
        if disagrees or tests.kinks.any():
            # Between two slopes that are far apart a wrong gradient may lie, too, and most entries may be at no kink.
            examined, indices, everywhere = self._look(place, tests)
        if examined is not None and len(indices) == leaf.size:
            return Found(replace(examined.block, sensitivity=None), examined.tally, examined, indices)  # all of it was looked at
        estimate = _Estimate(tests)
        status = self._status(leaf, tests, estimate, examined, disagrees=disagrees, everywhere=everywhere)
        own = examined.block if examined is not None else None
        block = Block(
            name=leaf.name,
            shape=leaf.shape,
            size=leaf.size,
            status=status,
            difference=estimate.difference,
            noise=estimate.noise,
            differing=own.differing if own else 0,
            vacuous=leaf.size if status is Status.VACUOUS else 0,
            kinks=own.kinks if own else 0,
            worst=own.worst if own else (),
            interval=estimate.interval,
            looked_at=len(indices),
        )
        return Found(block, estimate.tally, examined, indices, everywhere)

    def _status(
        self,
        leaf: Leaf,
        tests: _Tests,
        estimate: "_Estimate",
        examined: Examined | None,
        *,
        disagrees: bool,
        everywhere: bool,
    ) -> Status:
        """What is known of a block."""
        if examined is not None and examined.block.status is Status.WRONG:
            return Status.WRONG
        if not leaf.size:
            return Status.VACUOUS
        if not np.isfinite(tests.slopes.values).all():
            return Status.NOT_FINITE
        at_kinks = bool(tests.kinks.any()) or (examined is not None and examined.block.kinks > 0)
        if at_kinks and examined is None:
            return Status.UNRESOLVED
        if examined is not None and (not disagrees or (at_kinks and everywhere)):
            return examined.block.status
        if disagrees:
            if at_kinks or (examined is not None and examined.block.status is Status.AT_KINKS):
                return Status.AT_KINKS
            if examined is not None and estimate.interval[1] <= self._tolerance:
                return Status.AGREES  # what no entry shows is below the tolerance
            return Status.UNRESOLVED if estimate.noise <= self._tolerance else Status.NOISY
        # Where nobody knows the noise, nothing is known to be below it.
        if max(float(np.max(np.abs(tests.slopes.values))), float(np.max(tests.norms))) <= float(np.max(tests.noise)) < math.inf:
            return Status.VACUOUS
        # As in a sweep, what is that much alike agrees, whatever rounding it might have had.
        return Status.AGREES if min(estimate.noise, estimate.interval[1]) <= self._tolerance else Status.NOISY

    # ---- what would have been caught -------------------------------------------------------------------------------------

    def _with_sensitivities(self, found: list[Found], tests: list[_Tests]) -> list[Found]:
        """The same with the smallest errors that would have been caught in blocks that agree.

        An error has to fail as that of an entry in the end, so that the noise of entries counts: of the largest one, and, as in a
        sweep, of the first and the last. Where the budget leaves nothing for that, nothing is said.
        """
        subject = self._subject
        places = [place for place, each in enumerate(found) if each.block.status is Status.AGREES]
        if subject.numerics.kind in _SIMULATED:
            chosen = [self._telling(place) for place in places]
            count = sum(map(len, chosen))
            if not count or self._budget.left < _NOISE_RUNS * subject.steps * count:
                return found
            noise, evaluations = subject.numerics.noise(np.concatenate(chosen), subject.precision)
            self._budget.spent += evaluations
            levels = [float(np.max(own)) for own in np.split(noise, np.cumsum([len(each) for each in chosen])[:-1])]
        else:
            # Values would have to be asked for some hundred times. A direction moves each entry as far as a quotient of its own
            # does, and so is √size times as long.
            levels = [_UNKNOWN * math.sqrt(subject.blocks[place].size) * float(np.max(tests[place].noise)) for place in places]
        result = list(found)
        for place, level in zip(places, levels, strict=True):
            sensitivity = self._sensitivity(found[place], tests[place], level)
            result[place] = replace(found[place], block=replace(found[place].block, sensitivity=sensitivity))
        return result

    def _telling(self, place: int) -> Indices:
        """The largest entry of a block of the gradient under test, the first and the last, in the flat vector."""
        leaf = self._subject.blocks[place]
        return np.unique(np.array([leaf.start, leaf.start + self._largest(place), leaf.stop - 1], dtype=np.intp))

    def _largest(self, place: int) -> int:
        """The largest entry of a block of the gradient under test, none of which is NaN; by C order."""
        matrix = self._subject.matrix(place)
        ends = [int(matrix.argmax()), int(matrix.argmin())]
        return max(ends, key=lambda each: abs(float(matrix.flat[each])))

    def _sensitivity(self, found: Found, tests: _Tests, noise: float) -> Sensitivity:
        """The smallest errors that would have been seen in a block; `noise` is that of entries."""
        matrix = self._subject.matrix(tests.regions[0].block)
        largest = abs(float(matrix.flat[self._largest(tests.regions[0].block)]))
        if found.examined is not None and len(found.indices) == matrix.size:
            tally = found.examined.tally
            return of_entries(self._tolerance, largest, noise, max(noise, tally.largest_noise), tally.candidates[0].score)
        if tests.kinks.any() and found.examined is not None:
            # Of parts without kinks an entry shows along a direction of unlike entries; of others, if it was looked at.
            alone = of_entries(self._tolerance, largest, noise, max(noise, found.examined.tally.largest_noise), ALREADY)
            if not found.everywhere:
                return replace(alone, everywhere=False)
            parts = of_directions(
                self._tolerance, largest, noise, matrix.size, [Shown(0.0, 0.0, _UNLIKE * float(np.max(tests.noise)))]
            )
            return replace(alone, entry=max(alone.entry, parts.entry))
        seen = [Shown(*each) for each in zip(tests.analytic.tolist(), tests.gap.tolist(), tests.noise.tolist(), strict=True)]
        return of_directions(self._tolerance, largest, noise, matrix.size, seen)

    # ---- where it is -----------------------------------------------------------------------------------------------------

    def _look(self, place: int, tests: _Tests) -> tuple[Examined | None, Indices, bool]:
        """Entries of a block that disagrees or is at kinks, what was decided of them, and whether no other one can be wrong."""
        leaf = self._subject.blocks[place]
        matrix = self._subject.matrix(place)
        broken = np.flatnonzero(~np.isfinite(np.asarray(matrix).reshape(-1)))
        if len(broken):
            return *self._examine(place, leaf.start + _spread(broken, _SAMPLED // 2)), False
        search = _Search(float(np.max(tests.noise)), closely=bool(tests.moved.any()), kinks=bool(tests.kinks.any()))
        traced = self._trace(place, search)
        if traced.dense and min(matrix.shape) > 1:
            by_columns = self._trace(place, replace(search, by_columns=True))
            traced = traced if by_columns.dense else by_columns
        chosen = np.array(traced.entries, dtype=np.intp)
        examined, indices = self._examine(place, np.union1d(chosen, self._sampled(place, traced)).astype(np.intp))
        if examined is None or examined.block.status is Status.WRONG:
            return examined, indices, traced.complete
        # The largest entry, too: what is off by a factor shows there most.
        more = [np.array([leaf.start + self._largest(place)], dtype=np.intp)]
        if search.kinks or examined.block.kinks:
            # Kinks may cancel along a direction, and not where entries are perturbed: these decide, of a small block all of them.
            more.append(leaf.start + sample_places(leaf.shape, _SAMPLED, self._seed))
        if traced.dense and tests.disagrees.any():
            # Errors that are dense in parts only: the parts that disagree most are followed to their entries.
            more.append(np.array(self._trace(place, replace(search, follow=True)).entries, dtype=np.intp))
        chosen = np.union1d(indices, np.concatenate(more)).astype(np.intp)
        again, others = self._examine(place, chosen) if len(chosen) > len(indices) else (None, indices)
        return (examined, indices, traced.complete) if again is None else (again, others, traced.complete)

    def _examine(self, place: int, chosen: Indices) -> tuple[Examined | None, Indices]:
        """Perturb single entries."""
        most = self._budget.left / (self._each + self._subject.numerics.dispute)
        if most < 1.0 or not len(chosen):
            return None, np.empty(0, dtype=np.intp)
        if math.isfinite(most):
            chosen = _spread(chosen, int(most))
        each = [np.empty(0, dtype=np.intp) for _ in self._subject.blocks]
        each[place] = chosen.astype(np.intp)
        examined, looked_at, evaluations = self._subject.judge(each)
        self._budget.spent += evaluations
        if current().interrupted and examined[place].block.status is not Status.WRONG:
            raise _EndedError  # some of them may never have been looked at
        return examined[place], looked_at[place]

    def _sampled(self, place: int, traced: _Traced) -> Indices:
        """Entries of a block that show most of a dense error, and of the rows or columns to which it is confined."""
        leaf = self._subject.blocks[place]
        columns = matrix_shape(leaf.shape)[1]
        chosen = [np.empty(0, dtype=np.intp)]
        if traced.dense:
            chosen.append(leaf.start + sample_places(leaf.shape, _SAMPLED, self._seed))
        for region in traced.regions:
            inner = _spread(np.arange(region.size), _IN_REGION)
            row, column = np.divmod(inner, region.width)
            chosen.append(leaf.start + (region.rows[0] + row) * columns + region.columns[0] + column)
            if not traced.dense:  # right ones beside them, that show that it is confined
                chosen.append(leaf.start + sample_places(leaf.shape, _SAMPLED // 2, self._seed))
        return np.unique(np.concatenate(chosen)).astype(np.intp)

    def _trace(self, place: int, search: "_Search") -> _Traced:
        """Bisect a block, level by level, keeping all parts that disagree, or are at kinks, and at least one."""
        leaf = self._subject.blocks[place]
        rows, columns = matrix_shape(leaf.shape)
        parts = [Region(place, (0, rows), (0, columns))]
        traced = _Traced()
        lines: list[Region] = []
        dispute = self._subject.numerics.dispute if search.closely else 0
        while parts:
            done = [part for part in parts if part.size == 1]
            traced.entries += [leaf.start + part.rows[0] * columns + part.columns[0] for part in done]
            children = list(_children((part for part in parts if part.size > 1), by_columns=search.by_columns))
            if not children or self._budget.left < len(children) * (self._each + dispute):
                traced.regions += [part for part in parts if part.size > 1]
                break
            # A single row, or column, that is split for the first time: if all of it is wrong, this is what is wrong.
            lines += [part for part in parts if part.size > 1 and (part.width if search.by_columns else part.height) == 1]
            numbers = [next(self._numbers)] * len(children)
            tests = self._settled(children, numbers) if search.closely else self._measure(children, numbers)[1]
            if current().interrupted:
                raise _EndedError
            score = tests.gap / np.maximum(np.maximum(tests.noise, _UNEVEN * search.noise), self._subject.precision.tiny)
            score = np.where(tests.kinks & search.kinks, np.inf, score)
            order = np.argsort(-score, kind="stable")
            wrong = [int(number) for number in order if score[number] > 1.0] or [int(order[0])]
            if len(wrong) > _FEW:
                if not search.follow:
                    traced.regions = _outermost(lines)
                    traced.dense = not traced.regions or len(traced.regions) > _FEW
                    return traced
                wrong = wrong[:2]
            parts = [children[number] for number in sorted(wrong)]
        return traced


def _children(parts: Iterable[Region], *, by_columns: bool) -> Iterator[Region]:
    """Halves of all parts."""
    for part in parts:
        yield from part.halves(by_columns=by_columns)


def _outermost(lines: list[Region]) -> list[Region]:
    """Those that lie in no other one."""
    return [
        line
        for line in lines
        if not any(
            other is not line
            and other.size > line.size
            and other.rows[0] <= line.rows[0]
            and line.rows[1] <= other.rows[1]
            and other.columns[0] <= line.columns[0]
            and line.columns[1] <= other.columns[1]
            for other in lines
        )
    ]


def _of(first: _First, own: NDArray[np.bool_]) -> _First:
    """Some of the directions."""
    tests = first.tests
    slopes = Slopes(*(getattr(tests.slopes, name)[own] for name in ("values", "low", "high", "noise")))
    regions = [region for region, chosen in zip(tests.regions, own.tolist(), strict=True) if chosen]
    arrays = {name: getattr(tests, name)[own] for name in ("analytic", "norms", "noise", "kinks", "moved")}
    return _First(_Tests(regions=regions, slopes=slopes, **arrays), first.known[own], first.complete)


def _spread(places: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Some of them, evenly, the first and the last among them."""
    if len(places) <= count:
        return places
    return places[np.unique(np.linspace(0, len(places) - 1, max(count, 1)).astype(np.intp))]


def _nothing(regions: list[Region]) -> _Tests:
    """Tests of directions that were not looked at."""
    unknown, none = np.full(len(regions), np.nan), np.zeros(len(regions), dtype=np.bool_)
    return _Tests(regions, unknown, unknown, Slopes(unknown, unknown, unknown, unknown), unknown, none, none)


def _unknown(leaf: Leaf) -> Found:
    """A block whose directions were not all looked at."""
    block = Block(leaf.name, leaf.shape, 0, Status.UNFINISHED, 0.0, 0.0, 0, 0, 0, (), looked_at=0)
    return Found(block, Tally(), None, np.empty(0, dtype=np.intp))


def _undecided(leaf: Leaf, tests: _Tests) -> Found:
    """A block of which directions alone do not say what single entries would have said."""
    estimate = _Estimate(tests)
    block = Block(
        name=leaf.name,
        shape=leaf.shape,
        size=leaf.size,
        status=Status.UNFINISHED,
        difference=estimate.difference,
        noise=estimate.noise,
        differing=0,
        vacuous=0,
        kinks=0,
        worst=(),
        interval=estimate.interval,
        looked_at=0,
    )
    return Found(block, estimate.tally, None, np.empty(0, dtype=np.intp))


class _Estimate:
    """Formula 3 of a block, estimated from directions.

    Entries of a direction are independent, of mean 0 and variance 1 before it is made of unit norm, so that the mean square of
    its product with g − ĝ is ‖g − ĝ‖² over the number of entries.

    Attributes
    ----------
    difference : float
        The estimate.
    interval : tuple of float
        Between these it lies with 95 % probability, if the error has many entries: the products are then normally distributed.
    noise : float
        The same with the noise in the place of g − ĝ.
    tally : Tally
        The norms.
    """

    def __init__(self, tests: _Tests) -> None:
        count = len(tests.gap)
        if not count:
            self.difference, self.interval, self.noise, self.tally = 0.0, (0.0, 0.0), 0.0, Tally()
            return
        root = math.sqrt(tests.regions[0].size)
        gaps = tests.gap * root
        with np.errstate(all="ignore"):
            gap = math.sqrt(float(np.mean(np.square(gaps))))
            norm = float(tests.norms[0]) * root
            # ‖ĝ‖² = ‖g‖² − 2·g·(g − ĝ) + ‖g − ĝ‖², of which the middle term is estimated by the same directions.
            error = tests.analytic - np.clip(tests.analytic, tests.slopes.low, tests.slopes.high)
            other = norm**2 + float(np.mean((error * root) ** 2 - 2.0 * tests.analytic * error * root**2))
            numeric = math.sqrt(max(other, 0.0)) if math.isfinite(other) else math.nan
        self.difference = ratio(gap, norm + numeric)
        # The product of the only entry of a block is known, not estimated. Else the sum of the two squares is distributed
        # exponentially, as χ² with two degrees of freedom is.
        tails = () if count < _DIRECTIONS else (0.5 - 0.5 * _CONFIDENCE, 0.5 + 0.5 * _CONFIDENCE)
        low, high = (self.difference * math.sqrt(-1.0 / math.log(tail)) for tail in tails) if tails else (self.difference,) * 2
        self.interval = (min(low, 1.0), min(high, 1.0))
        self.noise = ratio(float(np.max(tests.noise)) * root, norm + numeric)
        self.tally = Tally(analytic=norm, numeric=numeric, gap=gap, noise=float(np.max(tests.noise)) * root)
