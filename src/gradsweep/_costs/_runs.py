"""A function run on difference arrays, or a record of it repeated: what workers are given, and what they give back."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._evaluation import Points
from gradsweep._costs._numerics import Indices
from gradsweep._differences._alterations import Watch
from gradsweep._differences._cast import Cast
from gradsweep._differences._departure import Departure
from gradsweep._differences._lanes import Lanes, Number, Ties
from gradsweep._differences._program import Program
from gradsweep._differences._propagation import perturbed, perturbed_entry, propagate, unperturbed
from gradsweep._differences._recording import Recording
from gradsweep._differences._slab import Slab, one_hot
from gradsweep._directions import Direction, matrix_shape
from gradsweep._errors import DataError
from gradsweep._journal import Fields, misfit
from gradsweep._trees import Leaf, Tree
from gradsweep._types import Array

# How many arrays of the size of the largest change all changes of a run may fill: a recurrent network keeps its states in a list,
# and none of them is freed. 128 MB at most, but for the fewest lanes.
_KEPT = 64


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


USUAL = Conditions()


@dataclass(frozen=True, eq=False)
class Task:
    """Perturbations that go through the function together: `steps[k]` is added to parameter, or direction, `indices[k]`."""

    indices: Indices
    steps: Array
    conditions: Conditions


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of them.

    `lost` has the plain numbers that were made on the way, by the lines that made them; `cast` is the least precise type to which
    values that change were rounded, if it is not float64.
    """

    base: float
    changes: Array
    crossings: NDArray[np.int64]
    largest: int
    total: int
    subtracts: bool
    lost: dict[str, Number]
    cast: Cast | None = None


class Outcomes:
    """Codec of outcomes. What all changes together took is not asked for again.

    Parameters
    ----------
    directions : sequence of Direction, optional
        What indices are of, if not of parameters.
    """

    kind = "changes"

    def __init__(self, directions: Sequence[Direction] | None) -> None:
        self._directions = directions

    def describe(self, item: Task) -> Iterator[bytes | NDArray[Any]]:
        """Perturbations, and how lanes behave."""
        yield from (item.indices, item.steps, repr(item.conditions).encode())
        if self._directions is not None:
            yield from (repr(self._directions[index]).encode() for index in np.unique(item.indices).tolist())

    def encode(self, result: Outcome) -> Fields:
        """Changes, crossings, the base, the size of the largest change, where plain numbers were made, and how all is rounded."""
        lost = [(each.number, each.what, each.where) for each in result.lost.values()]
        cast = None if result.cast is None else (result.cast.kind.name, result.cast.where)
        return {
            "changes": result.changes,
            "crossings": result.crossings,
            "base": np.array([result.base]),
            "largest": np.array([result.largest]),
            "lost": np.frombuffer(json.dumps([lost, cast]).encode(), dtype=np.uint8),
        }

    def decode(self, item: Task, fields: Fields) -> Outcome:
        """The outcome of a task."""
        if (
            not len(fields["changes"]) == len(fields["crossings"]) == len(item.indices)
            or not len(fields["base"]) == len(fields["largest"]) == 1
        ):
            raise misfit("changes", len(fields["changes"]), len(item.indices))
        try:
            numbers, rounded = json.loads(fields["lost"].tobytes())
            listed = [(float(number), str(what), str(where)) for number, what, where in numbers]
            cast = None
            if rounded is not None:
                kind, place = rounded
                cast = Cast(np.dtype({"float32": np.float32, "float16": np.float16}[kind]), str(place))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"the checkpoint is damaged ({error}); remove it") from error
        lost = {where: Number(number, None, what, where) for number, what, where in listed}
        base, largest = float(fields["base"][0]), int(fields["largest"][0])
        return Outcome(base, fields["changes"], fields["crossings"], largest, 0, False, lost, cast)


class Record:
    """A run at a point, by which others are repeated there; None if that cannot be done. A worker makes one of its own."""

    def __init__(self) -> None:
        self.program: Program | None = None
        self.lost: dict[str, Number] = {}
        self.cast: Cast | None = None
        self.is_made = False
        #: Why it was given up, if it was.
        self.trouble = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return Record, ()


@dataclass(frozen=True, eq=False)
class Propagation:
    """Function and parameters: all that a worker needs. If there are `directions`, these are perturbed, not parameters.

    What is recorded is repeated by compiled kernels if `compiled`.
    """

    function: Callable[[Any], Any]
    tree: Tree
    fills: bool = False
    infinite: bool = False
    directions: tuple[Direction, ...] | None = None
    record: Record = field(default_factory=Record)
    compiled: bool = False

    def __call__(self, task: Task) -> Outcome:
        """Run the function once for all perturbations of a task, or repeat what it did in another run."""
        program = self._program() if task.conditions == USUAL else None
        if program is not None:
            repeated = self._repeat(program, self._arguments(task), len(task.indices))
            if repeated is not None:
                return repeated
        try:
            return self._perturb(task, writes=False)
        except Departure:
            # It may write what changes into a copy of a parameter that is not perturbed, and hence plain.
            return self._perturb(task, writes=True)

    def _perturb(self, task: Task, *, writes: bool) -> Outcome:
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
            self._run_along(nowhere, USUAL.lanes(1, infinite=self.infinite), Recording())
        return self.record.program

    def _arguments(self, task: Task) -> dict[int, Array | Slab]:
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

    def _repeat(self, program: Program, arguments: Mapping[int, Array | Slab], count: int) -> Outcome | None:
        """What comes of changes of the parameters, by a program; None if it cannot tell."""
        lanes = USUAL.lanes(count, infinite=self.infinite)
        try:
            changes = program.run(arguments, lanes, compiled=self.compiled)
        except Departure:
            return None  # a rule refuses operands of which some do not change here
        except Exception as error:
            # That is a mistake of ours, which shall not cost the check: the function itself is run from here on, and it is told.
            self.record.program, self.record.trouble = None, f"{type(error).__name__}: {error}"
            return None
        largest = max(lanes.largest, lanes.total // _KEPT)
        own = self.record
        return Outcome(program.base, changes, lanes.crossings, largest, lanes.total, lanes.subtracts, own.lost, own.cast)

    def describe(self, task: Task) -> str:
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

    def along(self, directions: Array, steps: Array, conditions: Conditions = USUAL, watch: Watch | None = None) -> Outcome:
        """Add whole directions: `directions` of shape (n, parameters), each by as many of the steps, one after the other."""
        changes = self._by_blocks(directions, steps)
        program = self._program() if conditions == USUAL and watch is None else None
        if program is not None:
            repeated = self._repeat(program, {place: own for place, own in enumerate(changes) if own.size}, len(steps))
            if repeated is not None:
                return repeated
        lanes = conditions.lanes(len(steps), infinite=self.infinite)
        lanes.watch = watch
        return self._run_along(changes, lanes, None)

    def _run_along(self, changes: list[Array], lanes: Lanes, recording: Recording | None) -> Outcome:
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

    def _run(self, leaves: Sequence[Any], lanes: Lanes) -> Outcome:
        recording = lanes.recording
        done = propagate(self.function, self.tree.build(leaves), lanes, fills=self.fills)
        # Numbers that were made on the way may be harmless, as in a record of costs; the guard tells.
        lost: dict[str, Number] = {}
        for number in lanes.numbers:
            lost.setdefault(number.where, number._replace(value=None))
        if recording is not None:
            self.record.program, self.record.lost, self.record.is_made = done.program, lost, True
            self.record.cast = lanes.cast
        largest = max(lanes.largest, lanes.total // _KEPT)
        return Outcome(done.base, done.changes, lanes.crossings, largest, lanes.total, lanes.subtracts, lost, lanes.cast)
