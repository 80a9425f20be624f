"""A function written with NumPy, on difference arrays."""

import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._chunks import ENTRIES, Cut, entries_together
from gradsweep._costs._evaluation import Points
from gradsweep._costs._numerics import Indices, Slopes
from gradsweep._costs._reading import OUTSIDE
from gradsweep._differences._alterations import Watch
from gradsweep._differences._departure import Departure
from gradsweep._differences._lanes import Lanes, Number, Ties
from gradsweep._differences._program import SHORTEST, Program
from gradsweep._differences._propagation import loss, perturbed, perturbed_entry, propagate, unperturbed
from gradsweep._differences._recording import Recording
from gradsweep._differences._slab import Slab, one_hot
from gradsweep._directions import Direction, Region, matrix_shape, product
from gradsweep._errors import DataError, InputError, OracleError
from gradsweep._journal import Fields, misfit
from gradsweep._monitor import current
from gradsweep._parameters import Precision
from gradsweep._schemes import BACKWARD, CENTRAL, FORWARD, Scheme
from gradsweep._trees import Leaf, Tree
from gradsweep._types import Array
from gradsweep._workers import Workers

# Numbers in the changes of a block along directions, of all lanes together: 8 MB.
_DENSE = 2**20

# How many arrays of that size all changes of a run may fill: a recurrent network keeps its states in a list, and none of them is
# freed. 128 MB at most, but for the fewest lanes.
_KEPT = 64

# How much smaller the step is at which entries in dispute are looked at again, and at which crossed kinks are tried first.
# Where the function subtracts values somewhere, which rounds by more as the step shrinks, it may not be much smaller.
_FINER, _LITTLE_FINER = 2.0**-10, 2.0**-3

# Quotients have settled where this part of them, or less, vanishes with the step; so many times smaller steps are taken at most.
_VANISHED, _DESCENTS = 2.0**-30, 9

# How small a step is beside a parameter, at most, if it shows what happens there.
_BESIDE = 2.0**-7

# The step at which a kink that is still crossed lies at the very point.
_FINEST = 2.0**-30

# What one-sided slopes may differ by and yet be one, relative to the largest of all that is accepted.
_ONE_SLOPE = 1e-12

# The jitter by which rounding is simulated: far above that of float64 and float32, far below the changes themselves.
_JITTER = 2.0**-40

# Runs with jitter from whose spread rounding is estimated, and how much of that spread a gradient may be off by. Its backward
# pass sums the same terms in another order, and by other formulas.
_RUNS, _FEW_RUNS, _SAFETY = 6, 2, 64.0

# Directions and entries along which difference arrays are held against the plain function, and what the two may differ by.
_DIRECTIONS, _GUARDED, _AGREEMENT = 2, 8, 1e-6

# Blocks of each of which an entry is among them: all, but where there are very many.
_GUARDED_BLOCKS = 32

# Numbers in all changes of a sweep, from which on it is worth loading compiled kernels: NumPy takes about a second for them.
_WORTH_COMPILING = 5 * 10**8

# Steps of these, relative to the parameters, the largest first: of those that cross no kink the largest shows most.
_VISIBLE = (2.0**-10, 2.0**-17, 2.0**-24)

# What quotients along directions are off by, relative, where changes are computed without subtracting values, and where not. And
# how many directions go together at most.
_EXACT, _ROUGH, _MOST_TRIED = 1e-9, 1e-7, 256

# The rounding that the difference of two plain values may have, in units of that of the larger one.
_ROUNDINGS = 1e3

# What value at the base point and plain value may differ by, relative.
_SAME = 1e-9


@dataclass(frozen=True)
class Conditions:
    """How lanes behave; see `Lanes`.

    Attributes
    ----------
    decide : bool
        Whether the lane, not the base, decides.
    ties : str, optional
        Whose slope is taken where values are equal.
    jitter, exactness : float
        Simulated rounding.
    seed : int
        Of the jitter.
    pooled : bool
        Whether random numbers are used again.
    """

    decide: bool = False
    ties: Ties | None = None
    jitter: float = 0.0
    exactness: float = 1.0
    seed: int = 0
    pooled: bool = False

    def lanes(self, count: int, *, infinite: bool) -> Lanes:
        """So many lanes that behave like this."""
        return Lanes(
            count,
            decide=self.decide,
            ties=self.ties,
            jitter=self.jitter,
            exactness=self.exactness,
            seed=self.seed,
            pooled=self.pooled,
            infinite=infinite,
        )


_USUAL = Conditions()


@dataclass(frozen=True, eq=False)
class _Task:
    """Perturbations that go through the function together: `steps[k]` is added to parameter, or direction, `indices[k]`."""

    indices: Indices
    steps: Array
    conditions: Conditions


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What came of them; `lost` has the plain numbers that were made on the way, by the lines that made them."""

    base: float
    changes: Array
    crossings: NDArray[np.int64]
    largest: int
    total: int
    subtracts: bool
    lost: dict[str, Number]


class _Outcomes:
    """Codec of outcomes. What all changes together took is not asked for again.

    Parameters
    ----------
    directions : sequence of Direction, optional
        What indices are of, if not of parameters.
    """

    kind = "changes"

    def __init__(self, directions: Sequence[Direction] | None) -> None:
        self._directions = directions

    def describe(self, item: _Task) -> Iterator[bytes | NDArray[Any]]:
        """Perturbations, and how lanes behave."""
        yield from (item.indices, item.steps, repr(item.conditions).encode())
        if self._directions is not None:
            yield from (repr(self._directions[index]).encode() for index in np.unique(item.indices).tolist())

    def encode(self, result: _Outcome) -> Fields:
        """Changes and crossings of all lanes, the base, the size of the largest change, and where plain numbers were made."""
        lost = [(each.number, each.what, each.where) for each in result.lost.values()]
        return {
            "changes": result.changes,
            "crossings": result.crossings,
            "base": np.array([result.base]),
            "largest": np.array([result.largest]),
            "lost": np.frombuffer(json.dumps(lost).encode(), dtype=np.uint8),
        }

    def decode(self, item: _Task, fields: Fields) -> _Outcome:
        """The outcome of a task."""
        if (
            not len(fields["changes"]) == len(fields["crossings"]) == len(item.indices)
            or not len(fields["base"]) == len(fields["largest"]) == 1
        ):
            raise misfit("changes", len(fields["changes"]), len(item.indices))
        try:
            listed = [(float(number), str(what), str(where)) for number, what, where in json.loads(fields["lost"].tobytes())]
        except (ValueError, TypeError) as error:
            raise DataError(f"the checkpoint is damaged ({error}); remove it") from error
        lost = {where: Number(number, None, what, where) for number, what, where in listed}
        base, largest = float(fields["base"][0]), int(fields["largest"][0])
        return _Outcome(base, fields["changes"], fields["crossings"], largest, 0, False, lost)


class _Record:
    """A run at a point, by which others are repeated there; None if that cannot be done. A worker makes one of its own."""

    def __init__(self) -> None:
        self.program: Program | None = None
        self.lost: dict[str, Number] = {}
        self.is_made = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _Record, ()


@dataclass(frozen=True, eq=False)
class _Propagation:
    """Function and parameters: all that a worker needs. If there are `directions`, these are perturbed, not parameters.

    What is recorded is repeated by compiled kernels if `compiled`.
    """

    function: Callable[[Any], Any]
    tree: Tree
    fills: bool = False
    infinite: bool = False
    directions: tuple[Direction, ...] | None = None
    record: _Record = field(default_factory=_Record)
    compiled: bool = False

    def __call__(self, task: _Task) -> _Outcome:
        """Run the function once for all perturbations of a task, or repeat what it did in another run."""
        program = self._program() if task.conditions == _USUAL else None
        if program is not None:
            repeated = self._repeat(program, self._arguments(task), len(task.indices))
            if repeated is not None:
                return repeated
        try:
            return self._perturb(task, writes=False)
        except Departure:
            # It may write what changes into a copy of a parameter that is not perturbed, and hence plain.
            return self._perturb(task, writes=True)

    def _perturb(self, task: _Task, *, writes: bool) -> _Outcome:
        """The same; `writes` tells whether parameters that are not perturbed are arrays that take differences, too."""
        lanes = task.conditions.lanes(len(task.indices), infinite=self.infinite)
        leaves = self.tree.arrays(self.tree.values.copy())
        for place, leaf in enumerate(self.tree.blocks):
            own = self._concerns(place, task.indices)
            if own.any():
                entries, steps = np.where(own, task.indices - leaf.start, 0), np.where(own, task.steps, 0.0)
                if self.directions is None:
                    leaves[place] = perturbed_entry(leaves[place], entries, steps, lanes)
                else:
                    leaves[place] = perturbed(leaves[place], self._changes(leaf, task.indices, steps), lanes)
            elif writes and isinstance(leaves[place], np.ndarray):
                leaves[place] = unperturbed(leaves[place], lanes)
        return self._run(leaves, lanes)

    @property
    def can_be_repeated(self) -> bool:
        """Whether there is a record."""
        return self._program() is not None

    def _program(self) -> Program | None:
        """What the function does, if that can be repeated; recorded with nothing perturbed, when it is asked for first."""
        if not self.record.is_made:
            nowhere = self._by_blocks(np.zeros((1, len(self.tree.values))), np.zeros(1))
            self._run_along(nowhere, _USUAL.lanes(1, infinite=self.infinite), Recording())
        return self.record.program

    def _arguments(self, task: _Task) -> dict[int, Array | Slab]:
        """Changes of the parameters that a task perturbs, by their places."""
        arguments: dict[int, Array | Slab] = {}
        lowest, highest = (task.indices.min(), task.indices.max()) if self.directions is None else (-np.inf, np.inf)
        for place, leaf in enumerate(self.tree.blocks):
            if leaf.stop <= lowest or leaf.start > highest:
                continue
            own = self._concerns(place, task.indices)
            if own.any():
                entries, steps = np.where(own, task.indices - leaf.start, 0), np.where(own, task.steps, 0.0)
                if self.directions is not None:
                    arguments[place] = self._changes(leaf, task.indices, steps)
                else:
                    arguments[place] = one_hot(leaf.shape, entries, steps) if leaf.shape else steps
        return arguments

    def _repeat(self, program: Program, arguments: Mapping[int, Array | Slab], count: int) -> _Outcome | None:
        """What comes of changes of the parameters, by a program; None if it cannot tell."""
        lanes = _USUAL.lanes(count, infinite=self.infinite)
        try:
            changes = program.run(arguments, lanes, compiled=self.compiled)
        except Exception:
            # A rule refuses operands of which some do not change here. Whatever it is: the function itself is run, and tells
            # where, if there is something wrong.
            return None
        largest = max(lanes.largest, lanes.total // _KEPT)
        return _Outcome(program.base, changes, lanes.crossings, largest, lanes.total, lanes.subtracts, self.record.lost)

    def describe(self, task: _Task) -> str:
        """Where a task evaluates the function."""
        if self.directions is not None:
            return "when parameters move along directions"
        return Points(task.steps, task.indices).describe_all(self.tree)

    def _concerns(self, place: int, indices: Indices) -> NDArray[np.bool_]:
        """Which lanes perturb a block."""
        if self.directions is not None:
            return np.array([self.directions[index].region.block == place for index in indices.tolist()])
        leaf = self.tree.blocks[place]
        own: NDArray[np.bool_] = (leaf.start <= indices) & (indices < leaf.stop)
        return own

    def _changes(self, leaf: Leaf, indices: Indices, steps: Array) -> Array:
        """Changes of a block along directions: array of shape (*shape, lanes), zeros in lanes whose step is 0."""
        assert self.directions is not None
        changes = np.zeros((leaf.size, len(indices)))
        for index in np.unique(indices[steps != 0.0]).tolist():
            lanes = np.flatnonzero((indices == index) & (steps != 0.0))
            whole = self.directions[index].whole(matrix_shape(leaf.shape)).reshape(-1)
            changes[:, lanes] = whole[:, np.newaxis] * steps[lanes]
        return changes.reshape(*leaf.shape, len(indices))

    def along(self, directions: Array, steps: Array, conditions: Conditions = _USUAL, watch: Watch | None = None) -> _Outcome:
        """Add whole directions: `directions` of shape (n, parameters), each by as many of the steps, one after the other."""
        changes = self._by_blocks(directions, steps)
        program = self._program() if conditions == _USUAL and watch is None else None
        if program is not None:
            repeated = self._repeat(program, {place: own for place, own in enumerate(changes) if own.size}, len(steps))
            if repeated is not None:
                return repeated
        lanes = conditions.lanes(len(steps), infinite=self.infinite)
        lanes.watch = watch
        return self._run_along(changes, lanes, None)

    def _run_along(self, changes: list[Array], lanes: Lanes, recording: Recording | None) -> _Outcome:
        """Run it once with changes of all blocks."""
        lanes.recording = recording
        leaves = self.tree.arrays(self.tree.values.copy())
        for place, own in enumerate(changes):
            leaves[place] = perturbed(leaves[place], own, lanes)
        return self._run(leaves, lanes)

    def _by_blocks(self, directions: Array, steps: Array) -> list[Array]:
        """Changes of the blocks, lanes as their last axis. Each lane is as long as all parameters: none is formed twice."""
        changes = []
        for leaf in self.tree.blocks:
            change = np.repeat(directions[:, leaf.start : leaf.stop].T, len(steps) // len(directions), axis=1)
            change *= steps
            changes.append(change.reshape(*leaf.shape, len(steps)))
        return changes

    def _run(self, leaves: Sequence[Any], lanes: Lanes) -> _Outcome:
        recording = lanes.recording
        done = propagate(self.function, self.tree.build(leaves), lanes, fills=self.fills)
        # Numbers that were made on the way may be harmless, as in a record of costs; the guard tells.
        lost: dict[str, Number] = {}
        for number in lanes.numbers:
            lost.setdefault(number.where, number._replace(value=None))
        if recording is not None:
            self.record.program, self.record.lost, self.record.is_made = done.program, lost, True
        largest = max(lanes.largest, lanes.total // _KEPT)
        return _Outcome(done.base, done.changes, lanes.crossings, largest, lanes.total, lanes.subtracts, lost)


@dataclass(eq=False)
class NumPyFunction:
    """The numeric side of a check by difference arrays.

    Made by `propagated`.

    Attributes
    ----------
    propagation : _Propagation
        Function and parameters.
    base : float
        Plain value at them.
    scheme : Scheme
        How quotients are formed.
    step, usual : float
        ε, and what it is by default.
    workers : Workers
        Who runs the function.
    outcome : _Outcome
        Of a first run, from which the size of chunks is known; of all first runs the plain numbers that were made on the way.
    """

    propagation: _Propagation
    base: float
    scheme: Scheme
    step: float
    usual: float
    workers: Workers[_Task, _Outcome]
    outcome: _Outcome
    kind: str = field(default="difference arrays", init=False)
    sample: int = field(default=64, init=False)
    # Quotients at the step of the check as they came, of which noise is a deviation: NaN where they are not known.
    _found: Array = field(default_factory=lambda: np.empty(0), init=False, repr=False)

    @property
    def notes(self) -> list[str]:
        """Why there were fewer workers than was asked for."""
        return list(self.workers.notes)

    def moved(self, tree: Tree, base: float) -> "NumPyFunction":
        """The same at another point, where the plain value is `base`; changes that were compared here are not compared again."""
        propagation = replace(self.propagation, tree=tree, record=_Record())
        workers = Workers(propagation, self.workers.jobs, _same)
        return NumPyFunction(propagation, base, self.scheme, self.step, self.usual, workers, self.outcome)

    @property
    def dispute(self) -> int:
        """About how many evaluations a closer look at an entry takes: at two steps, and some to see how it is rounded."""
        return (2 + _RUNS) * len(self.scheme.offsets)

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
            task = _Task(np.array([number]), np.array([self.usual]), _USUAL)
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

        They are held against NumPy's changes first, of an entry of each block.
        """
        work = self.outcome.total * len(indices) * len(self.scheme.offsets)
        if self.propagation.compiled or work < _WORTH_COMPILING or not self.propagation.can_be_repeated:
            return
        compiled = replace(self.propagation, compiled=True)
        steps = np.asarray(self.scheme.steps(self.step))
        for own in self._samples(indices):
            task = _Task(np.tile(own, len(steps)), np.repeat(steps, len(own)), _USUAL)
            known, found = self.propagation(task).changes, compiled(task).changes
            with np.errstate(invalid="ignore"):
                allowed = _AGREEMENT * np.abs(known) + _SAME * np.max(np.abs(known), initial=0.0, where=np.isfinite(known))
                apart = np.flatnonzero(np.isfinite(known) & ~(np.abs(found - known) <= allowed))
            if len(apart):
                raise OracleError(
                    f"compiled kernels and NumPy disagree in the change of the cost {compiled.describe(task)}: "
                    f"{float(found[apart[0]])!r} by kernels, {float(known[apart[0]])!r} by NumPy"
                )
        self.propagation, self.workers = compiled, Workers(compiled, self.workers.jobs, _same)

    def _samples(self, indices: Indices) -> list[Indices]:
        """Some indices of each block, and of no more than some blocks where there are very many."""
        count = -(-SHORTEST // len(self.scheme.offsets))
        if self.propagation.directions is not None:
            return [np.resize(indices, count)]
        starts = np.array([leaf.start for leaf in self.propagation.tree.blocks])
        blocks = np.searchsorted(starts, indices, side="right")
        each = np.unique(blocks)
        return [np.resize(indices[blocks == block], count) for block in each[:: -(-len(each) // _GUARDED_BLOCKS)]]

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
        evaluations = coarse.evaluations + (1 + _RUNS) * len(indices) * len(self.scheme.offsets)
        noise = self._simulated(indices, finer, precision, _RUNS)
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
            values[moving], crossings[moving], vanishing[moving] = again, crossed, left
            evaluations += len(own) * len(self.scheme.offsets)
            settled = (left <= _VANISHED * np.abs(again)) & self._is_within(own, step)
            if settled.any():
                places = moving[settled]
                noise[places] = self._simulated(indices[places], step, precision, _RUNS)
                evaluations += _RUNS * len(places) * len(self.scheme.offsets)
            moving = moving[~settled]
            if not len(moving):
                break
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
        runs, known = _RUNS, None
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
        jittered = Conditions(jitter=_JITTER, exactness=exactness, pooled=known is not None)
        quotients = [self._quotients(indices, self.scheme, step, replace(jittered, seed=seed))[0] for seed in range(runs)]
        with np.errstate(all="ignore"):
            spread = np.std(quotients, axis=0) if known is None else np.sqrt(np.mean(np.square(quotients - known), axis=0))
        least = precision.tiny + float(np.finfo(np.float64).tiny) / step
        noise: Array = _SAFETY * precision.epsilon / _JITTER * np.nan_to_num(spread, nan=np.inf) + least
        return noise

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
        self, indices: Indices, scheme: Scheme, step: float, conditions: Conditions = _USUAL
    ) -> tuple[Array, NDArray[np.int64]]:
        """Quotients, and how many kinks the steps of each parameter crossed."""
        values, crossings = np.full(len(indices), np.nan), np.zeros(len(indices), dtype=np.int64)
        offsets, coefficients = scheme.steps(step), scheme.coefficients(step)

        def tasks(pieces: Iterable[Indices]) -> Iterator[_Task]:
            for piece in pieces:
                own = indices[piece]
                yield _Task(np.tile(own, len(offsets)), np.repeat(offsets, len(own)), conditions)

        def take(piece: Indices, outcome: _Outcome) -> None:
            for where, number in outcome.lost.items():
                # Behind a comparison that is decided otherwise at a kink, or at another point: nothing was held against it there.
                if where not in self.outcome.lost:
                    raise loss(number)
            if conditions == _USUAL:
                _agree("in the value at a point", outcome.base, self.base, _SAME * max(abs(self.base), 1.0))
            values[piece] = coefficients @ outcome.changes.reshape(len(offsets), -1)
            crossings[piece] = outcome.crossings.reshape(len(offsets), -1).sum(axis=0)

        mixed = 1 if conditions.decide else self._together(len(offsets))
        starts = None if self.propagation.directions is not None else [leaf.start for leaf in self.propagation.tree.blocks]
        cut = Cut(indices, starts, len(offsets), mixed)
        codec = _Outcomes(self.propagation.directions)

        def outcomes() -> Iterator[tuple[Indices, _Outcome]]:
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
    guard = _Guard(tree, base, plain, np.random.default_rng(seed))
    propagation, first = guard.first_run(_Propagation(function, tree))
    # All parameters are in it: of the sweep an earlier run is held against no more than a little of one block.
    current().witness(first.changes)
    usual = scheme.default_step
    try:
        # Single entries leave most zeros out, as chunks do: the size of chunks follows from them.
        outcome = guard.entries(propagation)
    except OracleError as error:
        raise _as_loss(first, error) from error
    workers = Workers(propagation, jobs, _same)
    outcome = replace(outcome, lost=first.lost | outcome.lost)
    return NumPyFunction(propagation, base, scheme, usual if step is None else step, usual, workers, outcome)


def _same(one: _Outcome, other: _Outcome) -> bool:
    """Whether two outcomes are the same to the bit."""
    return one.base == other.base and np.array_equal(one.changes, other.changes, equal_nan=True)


def _as_loss(outcome: _Outcome, error: OracleError) -> Exception:
    """Of a disagreement the reason, if plain numbers were made on the way."""
    return loss(_first(outcome.lost)) if outcome.lost else error


def _first(lost: dict[str, Number]) -> Number:
    """The number that was made first."""
    return next(iter(lost.values()))


@dataclass(frozen=True, eq=False)
class _Guard:
    """Holds difference arrays against the function's plain values; OracleError if the two disagree.

    Attributes
    ----------
    tree : Tree
        The parameters.
    base : float
        Plain value at them.
    plain : callable
        Plain value at others.
    generator : numpy.random.Generator
        Draws directions and entries.
    """

    tree: Tree
    base: float
    plain: Callable[[Array], float]
    generator: np.random.Generator

    def first_run(self, propagation: _Propagation) -> tuple[_Propagation, _Outcome]:
        """Perturb all parameters at once along some directions, and so learn what it takes to run the function."""
        scale = self._scale
        directions = scale * self.generator.choice([-1.0, 1.0], (_DIRECTIONS, len(scale)))
        steps = np.tile(_VISIBLE, _DIRECTIONS)
        try:
            outcome = propagation.along(directions, steps)
        except Departure:
            # With the arrays that the function makes and fills, too.
            propagation = replace(propagation, fills=True)
            outcome = propagation.along(directions, steps)
        if np.isnan(outcome.changes).any():
            propagation = replace(propagation, infinite=True)
            outcome = propagation.along(directions, steps)
        _agree("at the given parameters", outcome.base, self.base, _SAME * max(abs(self.base), 1.0))
        try:
            self._compare(
                lambda place: self.tree.values + directions[place // len(_VISIBLE)] * steps[place],
                outcome,
                lambda group: f"along direction {group} of all parameters",
                lambda place: _spread(lambda conditions: propagation.along(directions, steps, conditions), place),
            )
        except OracleError as error:
            raise _as_loss(outcome, error) from error
        return propagation, outcome

    def entries(self, propagation: _Propagation) -> _Outcome:
        """Perturb some entries on their own."""
        scale = self._scale
        drawn = self.generator.choice(len(scale), min(_GUARDED, len(scale)), replace=False)
        # One of each block, since what is done to it may be done to no other, and some that are drawn from all.
        starts = [leaf.start for leaf in self.tree.blocks if leaf.size]
        if len(starts) > _GUARDED_BLOCKS:
            starts = self.generator.choice(starts, _GUARDED_BLOCKS, replace=False).tolist()
        entries = np.unique(np.concatenate([starts, drawn]))
        indices = np.repeat(entries, len(_VISIBLE))
        steps = np.tile(_VISIBLE, len(entries)) * scale[indices]
        outcome = self._without_kinks(propagation, indices, steps)

        def point(place: int) -> Array:
            values = self.tree.values.copy()
            values[indices[place]] += steps[place]
            return values

        def run(conditions: Conditions) -> _Outcome:
            return propagation(_Task(indices, steps, conditions))

        self._compare(
            point,
            outcome,
            lambda group: f"when {self.tree.describe(int(entries[group]))} grows",
            lambda place: _spread(run, place),
        )
        return outcome

    def _without_kinks(self, propagation: _Propagation, indices: Indices, steps: Array) -> _Outcome:
        """Perturb entries by the largest of their steps, and by the others where that crosses a kink; NaN where it does not."""
        largest = np.arange(0, len(indices), len(_VISIBLE))
        outcome = propagation(_Task(indices[largest], steps[largest], _USUAL))
        changes, crossings = np.full(len(indices), np.nan), np.zeros(len(indices), dtype=np.int64)
        changes[largest], crossings[largest] = outcome.changes, outcome.crossings
        unusable = (outcome.crossings > 0) | ~np.isfinite(outcome.changes)
        if unusable.any():
            others = (largest[unusable, np.newaxis] + np.arange(1, len(_VISIBLE))).reshape(-1)
            again = propagation(_Task(indices[others], steps[others], _USUAL))
            changes[others], crossings[others] = again.changes, again.crossings
            outcome = replace(outcome, subtracts=outcome.subtracts or again.subtracts, lost=outcome.lost | again.lost)
        return replace(outcome, changes=changes, crossings=crossings)

    @functools.cached_property
    def _scale(self) -> Array:
        """Size of each parameter: its own, or the root mean square of its block where that is more; 1 in a block of zeros."""
        scale = np.empty_like(self.tree.values)
        for leaf in self.tree.blocks:
            own = self.tree.values[leaf.start : leaf.stop]
            size = float(np.sqrt(np.mean(np.square(own)))) if own.size else 0.0
            scale[leaf.start : leaf.stop] = np.maximum(np.abs(own), size or 1.0)
        return scale

    def _compare(
        self,
        point: Callable[[int], Array],
        outcome: _Outcome,
        describe: Callable[[int], str],
        simulate: Callable[[int], float],
    ) -> None:
        """Compare changes at groups of points, of each group at the first one that crosses no kink.

        `point` gives one of them: all of them, where there are many blocks, would fill a hundred times what the parameters do.
        `simulate` gives the rounding that the difference of two plain values may have at a point, from runs with jitter.
        """
        # Of the values alone, however small they are; what they are made of shows by jitter, where that is not enough.
        rounding = _ROUNDINGS * float(np.finfo(np.float64).eps) * abs(self.base)
        usable = (outcome.crossings == 0) & np.isfinite(outcome.changes)
        for group, places in enumerate(usable.reshape(-1, len(_VISIBLE))):
            if not places.any():
                if outcome.lost:
                    # Nothing shows here whether the number is harmless.
                    raise loss(_first(outcome.lost))
                continue
            place = group * len(_VISIBLE) + int(np.argmax(places))
            own, other = float(outcome.changes[place]), self._plain_at(point(place), describe(group)) - self.base
            if np.isfinite(other):
                allowed = _AGREEMENT * max(abs(own), abs(other)) + rounding
                if not abs(own - other) <= allowed:
                    # Values that cancel inside of the function, as 1 - a does, may be rounded by much more.
                    allowed += simulate(place)
                _agree(f"in the change of the cost {describe(group)}", own, other, allowed)

    def _plain_at(self, point: Array, where: str) -> float:
        """Plain value at a point; NaN where the function says that it is not defined there."""
        try:
            return self.plain(point)
        except InputError as error:
            raise InputError(f"{error} ({where})") from error
        except OUTSIDE:
            return np.nan
        except Exception as error:
            raise InputError(f"cost raises {type(error).__name__} {where}: {error}") from error


def _spread(run: Callable[[Conditions], _Outcome], place: int) -> float:
    """Rounding of a plain value and of its change at a point, from runs whose every intermediate result is jittered."""
    outcomes = [run(Conditions(jitter=_JITTER, seed=seed)) for seed in range(_RUNS)]
    with np.errstate(all="ignore"):
        spread = np.std([outcome.base for outcome in outcomes]) + np.std([outcome.changes[place] for outcome in outcomes])
    return _SAFETY * float(np.finfo(np.float64).eps) / _JITTER * float(np.nan_to_num(spread, nan=0.0, posinf=0.0))


def _agree(where: str, own: float, plain: float, allowed: float) -> None:
    if not abs(own - plain) <= allowed:
        raise OracleError(
            f"difference arrays and the function itself disagree {where}: {own!r} by difference arrays, {plain!r} by the "
            "function; the check would compare with the wrong cost (gradsweep.plain(cost) checks it by its values)"
        )
