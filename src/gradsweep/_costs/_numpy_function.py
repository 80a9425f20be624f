"""A function written with NumPy, on difference arrays."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._casts import describe_cast, precision_of, unforeseen
from gradsweep._costs._chunks import ENTRIES, Cut, entries_together
from gradsweep._costs._guard import (
    JITTER,
    LESS,
    MOST_BLOCKS,
    RUNS,
    SAFETY,
    SAME,
    Guard,
    Jittered,
    agree,
    as_loss,
    deviations,
    epsilon_of,
)
from gradsweep._costs._numerics import Indices, Slopes
from gradsweep._costs._runs import USUAL, Conditions, Outcome, Outcomes, Propagation, Record, Task
from gradsweep._differences._alterations import Watch
from gradsweep._differences._cast import coarser
from gradsweep._differences._program import SHORTEST
from gradsweep._differences._propagation import loss
from gradsweep._directions import Direction, Region, matrix_shape, product
from gradsweep._errors import OracleError
from gradsweep._monitor import current
from gradsweep._parameters import Precision
from gradsweep._schemes import BACKWARD, CENTRAL, FORWARD, Scheme
from gradsweep._trees import Leaf, Tree
from gradsweep._types import Array
from gradsweep._workers import Workers

# Numbers in the changes of a block along directions, of all lanes together: 8 MB.
_DENSE = 2**20

# How much smaller the step is at which entries in dispute are looked at again, and at which crossed kinks are tried first.
# Where the function subtracts values somewhere, which rounds by more as the step shrinks, it may not be much smaller.
_FINER, _LITTLE_FINER = 2.0**-10, 2.0**-3

# Quotients have settled where this part of them, or less, vanishes with the step; so many times smaller steps are taken at most.
_VANISHED, _DESCENTS = 2.0**-30, 9

# By no more than this part of how it moved before a quotient moves that tends to something.
_CONVERGING = 0.5

# How small a step is beside a parameter, at most, if it shows what happens there.
_BESIDE = 2.0**-7

# The step at which a kink that is still crossed lies at the very point.
_FINEST = 2.0**-30

# What one-sided slopes may differ by and yet be one, relative to the largest of all that is accepted.
_ONE_SLOPE = 1e-12

# Runs with jitter where rounding does not decide.
_FEW_RUNS = 2

# Numbers in all changes of a sweep, from which on it is worth loading compiled kernels: NumPy takes about a second for them.
_WORTH_COMPILING = 5 * 10**8

# What quotients along directions are off by, relative, where changes are computed without subtracting values, and where not. And
# how many directions go together at most.
_EXACT, _ROUGH, _MOST_TRIED = 1e-9, 1e-7, 256


@dataclass(eq=False)
class NumPyFunction:
    """The numeric side of a check by difference arrays.

    Made by `propagated`.

    Attributes
    ----------
    propagation : Propagation
        Function and parameters.
    base : float
        Plain value at them.
    scheme : Scheme
        How quotients are formed.
    step, usual : float
        ε, and what it is by default.
    workers : Workers
        Who runs the function.
    outcome : Outcome
        Of a first run, from which the size of chunks is known; of all first runs the plain numbers that were made on the way, and
        the least precise type that values were rounded to.
    """

    propagation: Propagation
    base: float
    scheme: Scheme
    step: float
    usual: float
    workers: Workers[Task, Outcome]
    outcome: Outcome
    kind: str = field(default="difference arrays", init=False)
    sample: int = field(default=64, init=False)
    # Quotients at the step of the check as they came, of which noise is a deviation: NaN where they are not known.
    _found: Array = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    # What was recorded at other points.
    _elsewhere: list[Record] = field(default_factory=list, init=False, repr=False)

    @property
    def notes(self) -> list[str]:
        """Why there were fewer workers, why what was recorded was not repeated, and how the function rounds."""
        trouble = next((each.trouble for each in (self.propagation.record, *self._elsewhere) if each.trouble), "")
        told = f"what the function did could not be repeated on other changes, so that it was run for each chunk ({trouble})"
        return [*self.workers.notes, *([told] if trouble else []), *describe_cast(self.outcome.cast)]

    @property
    def precision(self) -> Precision:
        """Of the least precise type that the function computes in."""
        return precision_of(self.outcome.cast)

    def moved(self, tree: Tree, base: float) -> "NumPyFunction":
        """The same at another point, where the plain value is `base`; changes that were compared here are not compared again."""
        propagation = replace(self.propagation, tree=tree, record=Record())
        self._elsewhere.append(propagation.record)
        workers = Workers(propagation, self.workers.jobs, _same)
        return NumPyFunction(propagation, base, self.scheme, self.step, self.usual, workers, self.outcome)

    @property
    def dispute(self) -> int:
        """About how many evaluations a closer look at an entry takes: at two steps, and some to see how it is rounded."""
        return (2 + RUNS) * len(self.scheme.offsets)

    def along(self, directions: Sequence[Direction]) -> "DirectionChanges":
        """The same of directions in the place of parameters."""
        propagation = replace(self.propagation, directions=tuple(directions))
        workers = Workers(propagation, self.workers.jobs, _same)
        return DirectionChanges(propagation, self.base, self.scheme, self.step, self.usual, workers, self.outcome)

    @property
    def exactness(self) -> float:
        """What quotients of `altered` are off by, relative, at most: their step leaves that, or rounding does."""
        return _ROUGH if self.outcome.subtracts else _EXACT

    @property
    def room(self) -> int:
        """How many whole directions go together, so that neither they nor what comes of them fill more than some megabytes."""
        return int(np.clip(ENTRIES // max(self.outcome.largest, len(self.propagation.tree.values), 1), 1, _MOST_TRIED))

    def altered(self, directions: Array, watch: Watch) -> Array:
        """Difference quotients along whole directions, by a run that is watched and perhaps altered.

        Parameters
        ----------
        directions : array of shape (n, parameters)
            Of norms that are not far from 1.
        watch : Watch
            Sees and alters the run.

        Returns
        -------
        array of shape (n,)
            In their order.
        """
        # Without subtractions a change has all its digits, however small the step is; it then crosses no kinks.
        scheme, step = (CENTRAL, self.usual) if self.outcome.subtracts else (FORWARD, self.usual * _FINER**2)
        result: Array = np.zeros(len(directions))
        for offset, coefficient in zip(scheme.steps(step), scheme.coefficients(step), strict=True):
            outcome = self.propagation.along(directions, np.full(len(directions), offset), watch=watch.anew())
            result += coefficient * outcome.changes
        return result

    def order(self) -> list[str]:
        """Names of the blocks from input to loss: the earlier a parameter is used, the more changes with it."""
        blocks = self.propagation.tree.blocks
        regions = [Region(place, (0, rows), (0, columns)) for place, (rows, columns) in _matrices(blocks)]
        directions = tuple(Direction(region, region.width, 0, 0) for region in regions)
        propagation = replace(self.propagation, directions=directions)
        reach = {}
        for number, region in enumerate(regions):
            task = Task(np.array([number]), np.array([self.usual]), USUAL)
            reach[blocks[region.block].name] = propagation(task).total
        return sorted(reach, key=lambda name: -reach[name])

    def quotients(self, indices: Indices) -> Slopes:
        """Difference quotients; where a step crosses a kink, with a smaller one; at a kink, what is accepted there.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Parameters.

        Returns
        -------
        Slopes
            In their order.
        """
        self._compile(indices)
        with current().counting(len(indices)):
            values, crossings = self._quotients(indices, self.scheme, self.step)
        self._remember(indices, values)
        evaluations = len(indices) * len(self.scheme.offsets)
        crossed = np.flatnonzero(crossings)
        slopes = Slopes(values, values.copy(), values.copy(), np.zeros(len(values)), len(crossed), evaluations)
        for factor in (_FINER, _FINEST) if len(crossed) else ():
            # What is computed by subtracting values drowns in rounding at the finest step.
            if factor == _FINEST and self.outcome.subtracts:
                break
            again, crossings = self._quotients(indices[crossed], self.scheme, self.usual * factor)
            evaluations += again.size * len(self.scheme.offsets)
            for target in (slopes.values, slopes.low, slopes.high):
                target[crossed] = again
            crossed = crossed[crossings > 0]
        if len(crossed):
            low, high, single, extra = self._at_kinks(indices[crossed])
            unclear = slopes.values.copy(), slopes.values.copy()
            unclear[0][crossed], unclear[1][crossed] = low, high
            # One slope on both sides is the derivative, whatever conventions say.
            known = np.isfinite(single)
            slopes.low[crossed], slopes.high[crossed] = np.where(known, single, low), np.where(known, single, high)
            slopes.values[crossed[known]] = single[known]
            slopes, evaluations = replace(slopes, unclear=unclear), evaluations + extra
        return replace(slopes, evaluations=evaluations)

    def _compile(self, indices: Indices) -> None:
        """From here on repeat records by compiled kernels, if so much is asked for that loading them is worth it.

        They are held against NumPy's changes of some entries of each block first: forms are the same, and so is all but rounding.
        """
        work = self.outcome.total * len(indices) * len(self.scheme.offsets)
        if self.propagation.compiled or work < _WORTH_COMPILING or not self.propagation.can_be_repeated:
            return
        compiled = replace(self.propagation, compiled=True)
        steps = np.asarray(self.scheme.steps(self.step))
        for own in self._samples(indices):
            task = Task(np.tile(own, len(steps)), np.repeat(steps, len(own)), USUAL)
            known, found = self.propagation(task).changes, compiled(task).changes
            with np.errstate(invalid="ignore"):
                apart = np.flatnonzero(np.isfinite(known) & ~(np.abs(found - known) <= SAME * np.abs(known)))
                if len(apart):
                    # Of what cancels, as an offset that a softmax does not see, both leave nothing but their rounding.
                    apart = apart[~(np.abs(found - known) <= self._rounding(task))[apart]]
            if len(apart):
                raise OracleError(
                    f"compiled kernels and NumPy disagree in the change of the cost {compiled.describe(task)}: "
                    f"{float(found[apart[0]])!r} by kernels, {float(known[apart[0]])!r} by NumPy"
                )
        self.propagation, self.workers = compiled, Workers(compiled, self.workers.jobs, _same)

    @functools.cached_property
    def _allowed(self) -> float:
        """What the value at the point and the plain value there may differ by."""
        allowed = SAME * max(abs(self.base), 1.0)
        if self.outcome.cast is None:
            return allowed
        nowhere = np.zeros((1, len(self.propagation.tree.values)))
        jittered = Jittered(lambda conditions: self.propagation.along(nowhere, np.zeros(1), conditions), self.outcome.cast)
        return allowed + jittered.of_value

    def _rounding(self, task: Task) -> Array:
        """What rounding may do to the changes of a task: that of float64, in which all changes are computed."""
        return Jittered(lambda conditions: self.propagation(replace(task, conditions=conditions)), None).of_changes

    def _samples(self, indices: Indices) -> list[Indices]:
        """Some indices of each block, and of no more than some blocks where there are very many."""
        count = -(-SHORTEST // len(self.scheme.offsets))
        if self.propagation.directions is not None:
            return [np.resize(indices, count)]
        starts = np.array([leaf.start for leaf in self.propagation.tree.blocks])
        blocks = np.searchsorted(starts, indices, side="right")
        each = np.unique(blocks)
        return [np.resize(indices[blocks == block], count) for block in each[:: -(-len(each) // MOST_BLOCKS)]]

    def _remember(self, indices: Indices, values: Array) -> None:
        """Keep quotients that are asked for again when noise is measured."""
        if not len(self._found):
            directions = self.propagation.directions
            self._found = np.full(len(self.propagation.tree.values if directions is None else directions), np.nan)
        self._found[indices] = values

    def settle(self, indices: Indices, precision: Precision) -> Slopes:
        """Quotients with a much smaller step, and the rounding of a gradient of this precision.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Parameters.
        precision : Precision
            Of the gradient.

        Returns
        -------
        Slopes
            Between `low` and `high` lies what is left of what vanishes with the step.
        """
        ratio = _LITTLE_FINER if self.outcome.subtracts else _FINER
        finer = min(self.step, self.usual) * ratio
        coarse = self.quotients(indices)
        values, crossings = self._quotients(indices, self.scheme, finer)
        vanishing = self._vanishing(coarse.values, values, finer / self.step)
        evaluations = coarse.evaluations + (1 + RUNS) * len(indices) * len(self.scheme.offsets)
        noise = self._simulated(indices, finer, precision, RUNS)
        if not self.outcome.subtracts:
            settled = (vanishing <= _VANISHED * np.abs(values)) & self._is_within(indices, finer)
            moving = np.flatnonzero(~settled & ~coarse.at_kink)
            if len(moving):
                extra = self._descend(indices, moving, finer, (values, crossings, vanishing, noise), precision)
                evaluations += extra
        unusable = coarse.at_kink | (crossings > 0)
        values = np.where(unusable, coarse.values, values)
        vanishing[coarse.at_kink] = 0.0
        low, high = (np.where(coarse.at_kink, bound, values) for bound in (coarse.low, coarse.high))
        return Slopes(values, low - vanishing, high + vanishing, noise, coarse.crossed, evaluations)

    def _vanishing(self, coarse: Array, values: Array, ratio: float) -> Array:
        """How far quotients may be from their limits, by those of a step larger by 1/ratio; infinite if there are none."""
        with np.errstate(all="ignore"):
            gap = 4.0 * ratio**self.scheme.order * np.abs(coarse - values)
        return np.where(np.isfinite(gap), gap, np.inf)

    def _is_within(self, indices: Indices, step: float) -> NDArray[np.bool_]:
        """Whether a step is small beside the parameters themselves: a larger one may lead beyond a pole at 0, and back."""
        if self.propagation.directions is not None:
            return np.ones(len(indices), dtype=np.bool_)  # of unit norm, in blocks of whatever size
        sizes = np.abs(self.propagation.tree.values[indices])
        within: NDArray[np.bool_] = (sizes == 0.0) | (step <= _BESIDE * sizes)
        return within

    def _descend(
        self, indices: Indices, moving: NDArray[np.intp], step: float, found: tuple[NDArray[Any], ...], precision: Precision
    ) -> int:
        """Ever smaller steps for entries whose quotients still move, as beside a singularity that is nearer than the step.

        `found` are quotients, crossings, what vanishes with the step, and noise, which are replaced; the result is the number of
        changes of the cost that this took.
        """
        values, crossings, vanishing, noise = found
        evaluations = 0
        for _ in range(_DESCENTS):
            step *= _FINER
            own = indices[moving]
            again, crossed = self._quotients(own, self.scheme, step)
            left = self._vanishing(values[moving], again, _FINER)
            settled = left <= _VANISHED * np.abs(again)
            # Whatever it tends to, if it does, is not to be told from it.
            astray = ~settled & ~(left <= np.maximum(_CONVERGING * vanishing[moving], noise[moving]))
            within = self._is_within(own, step)
            values[moving], crossings[moving], vanishing[moving] = again, crossed, left
            evaluations += len(own) * len(self.scheme.offsets)
            settled &= within
            if settled.any():
                places = moving[settled]
                noise[places] = self._simulated(indices[places], step, precision, RUNS)
                evaluations += RUNS * len(places) * len(self.scheme.offsets)
            moving, lost = moving[~settled], moving[astray & ~within]
            if not len(moving):
                break
        else:
            noise[lost] = np.inf  # no step was small beside these parameters, and so none shows what happens there
        vanishing[moving] = np.where(np.isfinite(vanishing[moving]), vanishing[moving], 0.0)
        return evaluations

    def noise(self, indices: Indices, precision: Precision) -> tuple[Array, int]:
        """Rounding of quotients and gradient, from fewer runs than disputes take: it is not what decides.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Parameters.
        precision : Precision
            Of the gradient.

        Returns
        -------
        noise : array of shape (n,)
            In their order.
        evaluations : int
            Changes of the cost that were computed.
        """
        # Of float64 rounding is far below all that is asked for; of a gradient that is less precise it may not be.
        runs, known = RUNS, None
        if precision.epsilon <= np.finfo(np.float64).eps:
            # Deviations from what they should be say as much of the spread as one run more, with no mean to be found.
            known = self._found[indices] if len(self._found) else np.full(len(indices), np.nan)
            known = known if np.isfinite(known).all() else None
            runs = _FEW_RUNS - (known is not None)
        noise = self._simulated(indices, self.step, precision, runs, known)
        return noise, runs * len(indices) * len(self.scheme.offsets)

    def _simulated(self, indices: Indices, step: float, precision: Precision, runs: int, known: Array | None = None) -> Array:
        """What rounding may do to a gradient: from the spread of quotients whose every intermediate result is jittered.

        `known` are the quotients without jitter, about which that is measured if they are given: of what is only shown.
        """
        exactness = float(np.finfo(np.float64).eps) / precision.epsilon
        jittered = Conditions(jitter=JITTER, exactness=exactness, pooled=known is not None)
        spread = self._spread(indices, step, jittered, runs, known)
        # Where that leads to where the function is not defined, it is not known yet.
        lost = np.flatnonzero(~np.isfinite(spread))
        if len(lost):
            less = replace(jittered, jitter=LESS * JITTER, pooled=False)
            spread[lost] = self._spread(indices[lost], step, less, runs, None if known is None else known[lost]) / LESS
        least = precision.tiny + float(np.finfo(np.float64).tiny) / step
        noise: Array = SAFETY * precision.epsilon / JITTER * np.nan_to_num(spread, nan=np.inf, posinf=np.inf) + least
        return noise

    def _spread(self, indices: Indices, step: float, jittered: Conditions, runs: int, known: Array | None) -> Array:
        """Deviations of so many jittered quotients, from those that are known if they are given; NaN where there are none."""
        quotients = np.array(
            [self._quotients(indices, self.scheme, step, replace(jittered, seed=seed))[0] for seed in range(runs)]
        )
        with np.errstate(all="ignore"):
            about = np.mean(quotients, axis=0) if known is None else known
        return deviations(quotients, about)

    def _at_kinks(self, indices: Indices) -> tuple[Array, Array, Array, int]:
        """What is accepted at kinks: anything between the one-sided slopes and what backward passes of one convention give.

        Third come slopes that are the same on both sides, NaN where they are not; then how many changes were computed.
        """
        step = self.usual * (_FINER if self.outcome.subtracts else _FINEST)
        right, left = (self._quotients(indices, scheme, step, Conditions(decide=True))[0] for scheme in (FORWARD, BACKWARD))
        conventions = [self._quotients(indices, FORWARD, step, Conditions(ties=ties))[0] for ties in ("first", "second", "mean")]
        candidates = np.array([right, left, *conventions])
        low, high = np.min(candidates, axis=0), np.max(candidates, axis=0)
        with np.errstate(invalid="ignore"):
            same = np.abs(right - left) <= _ONE_SLOPE * np.max(np.abs(candidates), axis=0)
        single = np.where(same, 0.5 * (right + left), np.nan)
        return low, np.maximum(high, np.nextafter(low, np.inf)), single, len(candidates) * len(indices)

    def _quotients(
        self, indices: Indices, scheme: Scheme, step: float, conditions: Conditions = USUAL
    ) -> tuple[Array, NDArray[np.int64]]:
        """Quotients, and how many kinks the steps of each parameter crossed."""
        values, crossings = np.full(len(indices), np.nan), np.zeros(len(indices), dtype=np.int64)
        offsets, coefficients = scheme.steps(step), scheme.coefficients(step)

        def tasks(pieces: Iterable[Indices]) -> Iterator[Task]:
            for piece in pieces:
                own = indices[piece]
                yield Task(np.tile(own, len(offsets)), np.repeat(offsets, len(own)), conditions)

        def take(piece: Indices, outcome: Outcome) -> None:
            if epsilon_of(outcome.cast) > epsilon_of(self.outcome.cast):
                assert outcome.cast is not None
                raise unforeseen(outcome.cast)
            for where, number in outcome.lost.items():
                # Behind a comparison that is decided otherwise at a kink, or at another point: nothing was held against it there.
                if where not in self.outcome.lost:
                    raise loss(number)
            if conditions == USUAL:
                agree("in the value at a point", outcome.base, self.base, self._allowed, self.outcome.cast)
            values[piece] = coefficients @ outcome.changes.reshape(len(offsets), -1)
            crossings[piece] = outcome.crossings.reshape(len(offsets), -1).sum(axis=0)

        mixed = 1 if conditions.decide else self._together(len(offsets))
        starts = None if self.propagation.directions is not None else [leaf.start for leaf in self.propagation.tree.blocks]
        cut = Cut(indices, starts, len(offsets), mixed)
        codec = Outcomes(self.propagation.directions)

        def outcomes() -> Iterator[tuple[Indices, Outcome]]:
            # The first entries of each block show how many of it go together, and how long they take.
            rest: list[Indices] = []
            begun = time.perf_counter()
            beginnings = current().recorded(tasks(cut.first), lambda left, before: map(self.propagation, left), codec)
            for piece, outcome in zip(cut.first, beginnings, strict=True):
                rest += cut.after(piece, outcome.largest, time.perf_counter() - begun)
                yield piece, outcome
                begun = time.perf_counter()
            rest += cut.mixed
            recorded = current().recorded(tasks(rest), lambda left, before: self.workers.run(left, len(rest) - before), codec)
            yield from zip(rest, recorded, strict=True)

        for piece, outcome in current().follow(outcomes(), lambda result: cut.share(result[0])):
            take(piece, outcome)
        return values, crossings

    def _together(self, steps: int) -> int:
        """How many entries of several blocks, or directions, go together."""
        if self.propagation.directions is None:
            return entries_together(self.outcome.largest, steps)
        # Directions change all of a block, so that lanes are long however few they are.
        largest = max([self.outcome.largest, *(leaf.size for leaf in self.propagation.tree.blocks)])
        return max(_DENSE // (max(largest, 1) * steps), 1)


class DirectionChanges(NumPyFunction):
    """The same along directions."""

    def product(self, number: int, block: NDArray[Any]) -> tuple[float, float]:
        """Product of a direction with a block, and the norm of the block in its region."""
        assert self.propagation.directions is not None
        return product(self.propagation.directions[number], block)


def _matrices(blocks: Sequence[Leaf]) -> list[tuple[int, tuple[int, int]]]:
    """Numbers and shapes, as matrices, of the blocks that have entries."""
    return [(place, matrix_shape(leaf.shape)) for place, leaf in enumerate(blocks) if leaf.size]


def propagated(
    function: Callable[[Any], Any],
    tree: Tree,
    base: float,
    scheme: Scheme,
    step: float | None,
    jobs: int | None,
    seed: int,
    plain: Callable[[Array], float],
) -> NumPyFunction:
    """Set a function up for difference arrays, and hold them against its plain values.

    Parameters
    ----------
    function : callable
        The user's.
    tree : Tree
        Its parameters.
    base : float
        Its plain value at them.
    scheme : Scheme
        How quotients are formed.
    step : float, optional
        ε.
    jobs : int or None
        Workers.
    seed : int
        Chooses the perturbations at which the two are compared.
    plain : callable
        Plain value at other parameters: ``plain(values)``.

    Returns
    -------
    NumPyFunction
        Ready.

    Raises
    ------
    Departure
        The function does something that differences cannot follow.
    OracleError
        What it gives on difference arrays is not what it gives otherwise.
    """
    guard = Guard(tree, base, plain, np.random.default_rng(seed))
    propagation, first = guard.first_run(Propagation(function, tree))
    # All parameters are in it: of the sweep an earlier run is held against no more than a little of one block.
    current().witness(first.changes)
    usual = scheme.default_step
    try:
        # Single entries leave most zeros out, as chunks do: the size of chunks follows from them.
        outcome = guard.entries(propagation, first.cast)
    except OracleError as error:
        raise as_loss(first, error) from error
    workers = Workers(propagation, jobs, _same)
    outcome = replace(outcome, lost=first.lost | outcome.lost, cast=coarser(first.cast, outcome.cast))
    return NumPyFunction(propagation, base, scheme, usual if step is None else step, usual, workers, outcome)


def _same(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes are the same to the bit."""
    return one.base == other.base and np.array_equal(one.changes, other.changes, equal_nan=True)
