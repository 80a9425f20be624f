"""Difference arrays are held against the function's plain values: a wrong oracle is worse than none."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gradsweep._costs._numerics import Indices
from gradsweep._costs._reading import OUTSIDE
from gradsweep._costs._runs import USUAL, Conditions, Outcome, Propagation, Task
from gradsweep._differences._departure import Departure
from gradsweep._differences._lanes import Number
from gradsweep._differences._propagation import loss
from gradsweep._errors import InputError, OracleError
from gradsweep._trees import Tree
from gradsweep._types import Array

# Directions and entries along which the two are compared, and what they may differ by.
_DIRECTIONS, _GUARDED, _AGREEMENT = 2, 8, 1e-6

#: Blocks of each of which an entry is among them: all, but where there are very many.
MOST_BLOCKS = 32

# Steps of these, relative to the parameters, the largest first: of those that cross no kink the largest shows most.
_VISIBLE = (2.0**-10, 2.0**-17, 2.0**-24)

#: The jitter by which rounding is simulated: far above that of float64 and float32, far below the changes themselves.
JITTER = 2.0**-40

#: What is taken of it where jitter leads to where the function is not defined, as log(1 − a + 1e-12) is not where a is 1 + 2^-39.
LESS = 2.0**-8

#: Runs with jitter from whose spread rounding is estimated, and how much of that spread a gradient may be off by. Its backward
#: pass sums the same terms in another order, and by other formulas.
RUNS, SAFETY = 6, 64.0

# The rounding that the difference of two plain values may have, in units of that of the larger one.
_ROUNDINGS = 1e3

#: What value at the base point and plain value may differ by, relative.
SAME = 1e-9


@dataclass(frozen=True, eq=False)
class Guard:
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

    def first_run(self, propagation: Propagation) -> tuple[Propagation, Outcome]:
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
        agree("at the given parameters", outcome.base, self.base, SAME * max(abs(self.base), 1.0))
        try:
            self._compare(
                lambda place: self.tree.values + directions[place // len(_VISIBLE)] * steps[place],
                outcome,
                lambda group: f"along direction {group} of all parameters",
                lambda place: spread(lambda conditions: propagation.along(directions, steps, conditions), place),
            )
        except OracleError as error:
            raise as_loss(outcome, error) from error
        return propagation, outcome

    def entries(self, propagation: Propagation) -> Outcome:
        """Perturb some entries on their own."""
        scale = self._scale
        drawn = self.generator.choice(len(scale), min(_GUARDED, len(scale)), replace=False)
        # One of each block, since what is done to it may be done to no other, and some that are drawn from all.
        starts = [leaf.start for leaf in self.tree.blocks if leaf.size]
        if len(starts) > MOST_BLOCKS:
            starts = self.generator.choice(starts, MOST_BLOCKS, replace=False).tolist()
        entries = np.unique(np.concatenate([starts, drawn]))
        indices = np.repeat(entries, len(_VISIBLE))
        steps = np.tile(_VISIBLE, len(entries)) * scale[indices]
        outcome = self._without_kinks(propagation, indices, steps)

        def point(place: int) -> Array:
            values = self.tree.values.copy()
            values[indices[place]] += steps[place]
            return values

        def run(conditions: Conditions) -> Outcome:
            return propagation(Task(indices, steps, conditions))

        self._compare(
            point,
            outcome,
            lambda group: f"when {self.tree.describe(int(entries[group]))} grows",
            lambda place: spread(run, place),
        )
        return outcome

    def _without_kinks(self, propagation: Propagation, indices: Indices, steps: Array) -> Outcome:
        """Perturb entries by the largest of their steps, and by the others where that crosses a kink; NaN where it does not."""
        largest = np.arange(0, len(indices), len(_VISIBLE))
        outcome = propagation(Task(indices[largest], steps[largest], USUAL))
        changes, crossings = np.full(len(indices), np.nan), np.zeros(len(indices), dtype=np.int64)
        changes[largest], crossings[largest] = outcome.changes, outcome.crossings
        unusable = (outcome.crossings > 0) | ~np.isfinite(outcome.changes)
        if unusable.any():
            others = (largest[unusable, np.newaxis] + np.arange(1, len(_VISIBLE))).reshape(-1)
            again = propagation(Task(indices[others], steps[others], USUAL))
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
        outcome: Outcome,
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
                agree(f"in the change of the cost {describe(group)}", own, other, allowed)

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


def spread(run: Callable[[Conditions], Outcome], place: int) -> float:
    """Rounding of a plain value and of its change at a point, from runs whose every intermediate result is jittered."""
    for jitter in (JITTER, LESS * JITTER):
        outcomes = [run(Conditions(jitter=jitter, seed=seed)) for seed in range(RUNS)]
        with np.errstate(all="ignore"):
            spread = np.std([outcome.base for outcome in outcomes]) + np.std([outcome.changes[place] for outcome in outcomes])
        if np.isfinite(spread):
            return SAFETY * float(np.finfo(np.float64).eps) / jitter * float(spread)
    return 0.0


def agree(where: str, own: float, plain: float, allowed: float) -> None:
    if not abs(own - plain) <= allowed:
        raise OracleError(
            f"difference arrays and the function itself disagree {where}: {own!r} by difference arrays, {plain!r} by the "
            "function; the check would compare with the wrong cost (gradsweep.plain(cost) checks it by its values)"
        )


def as_loss(outcome: Outcome, error: OracleError) -> Exception:
    """Of a disagreement the reason, if plain numbers were made on the way."""
    return loss(_first(outcome.lost)) if outcome.lost else error


def _first(lost: dict[str, Number]) -> Number:
    """The number that was made first."""
    return next(iter(lost.values()))
