"""Difference arrays are held against the function's plain values: a wrong oracle is worse than none."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gradsweep._costs._numerics import Indices
from gradsweep._costs._reading import OUTSIDE
from gradsweep._costs._runs import USUAL, Conditions, Outcome, Propagation, Task
from gradsweep._differences._cast import Cast, coarser
from gradsweep._differences._departure import Departure
from gradsweep._differences._propagation import loss
from gradsweep._errors import InputError, OracleError
from gradsweep._trees import Tree
from gradsweep._types import Array
from gradsweep._verdict import root_mean_square

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

# The same where the function rounds to a type that is less precise than float64: its values must change by more than they are
# rounded by, and what is found of a change is to be far more than its rounding where a plain number was made on the way.
_VISIBLE_IF_ROUNDED, _CLEAR = (2.0**-4, 2.0**-10, 2.0**-17), 2.0**-7

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
        if outcome.cast is not None:
            steps = np.tile(_VISIBLE_IF_ROUNDED, _DIRECTIONS)
            outcome = propagation.along(directions, steps)
        jittered = Jittered(lambda conditions: propagation.along(directions, steps, conditions), outcome.cast)
        allowed = SAME * max(abs(self.base), 1.0) + (0.0 if outcome.cast is None else jittered.of_value)
        agree("at the given parameters", outcome.base, self.base, allowed, outcome.cast)
        try:
            self._compare(
                lambda place: self.tree.values + directions[place // len(_VISIBLE)] * steps[place],
                outcome,
                lambda group: f"along direction {group} of all parameters",
                jittered,
            )
        except OracleError as error:
            raise as_loss(outcome, error) from error
        return propagation, outcome

    def entries(self, propagation: Propagation, cast: Cast | None) -> Outcome:
        """Perturb some entries on their own, of a function that was seen to round so."""
        scale = self._scale
        drawn = self.generator.choice(len(scale), min(_GUARDED, len(scale)), replace=False)
        # One of each block, since what is done to it may be done to no other, and some that are drawn from all.
        starts = [leaf.start for leaf in self.tree.blocks if leaf.size]
        if len(starts) > MOST_BLOCKS:
            starts = self.generator.choice(starts, MOST_BLOCKS, replace=False).tolist()
        entries = np.unique(np.concatenate([starts, drawn]))
        indices = np.repeat(entries, len(_VISIBLE))
        steps = np.tile(_VISIBLE if cast is None else _VISIBLE_IF_ROUNDED, len(entries)) * scale[indices]
        outcome = self._without_kinks(propagation, indices, steps)

        def point(place: int) -> Array:
            values = self.tree.values.copy()
            values[indices[place]] += steps[place]
            return values

        self._compare(
            point,
            outcome,
            lambda group: f"when {self.tree.describe(int(entries[group]))} grows",
            Jittered(lambda conditions: propagation(Task(indices, steps, conditions)), cast),
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
            outcome = replace(
                outcome,
                subtracts=outcome.subtracts or again.subtracts,
                lost=outcome.lost | again.lost,
                cast=coarser(outcome.cast, again.cast),
            )
        return replace(outcome, changes=changes, crossings=crossings)

    @functools.cached_property
    def _scale(self) -> Array:
        """Size of each parameter: its own, or the root mean square of its block where that is more; 1 in a block of zeros."""
        scale = np.empty_like(self.tree.values)
        for leaf in self.tree.blocks:
            own = self.tree.values[leaf.start : leaf.stop]
            scale[leaf.start : leaf.stop] = np.maximum(np.abs(own), root_mean_square(own) or 1.0)
        return scale

    def _compare(
        self,
        point: Callable[[int], Array],
        outcome: Outcome,
        describe: Callable[[int], str],
        jittered: "Jittered",
    ) -> None:
        """Compare changes at groups of points, of each group at the first one that crosses no kink.

        `point` gives one of them: all of them, where there are many blocks, would fill a hundred times what the parameters do.
        `jittered` tells of the rounding that the difference of two plain values may have at a point, from runs with jitter.
        """
        # Of the values alone, however small they are; what they are made of shows by jitter, where that is not enough.
        rounding = _ROUNDINGS * float(np.finfo(np.float64).eps) * abs(self.base)
        usable = (outcome.crossings == 0) & np.isfinite(outcome.changes)
        for group, places in enumerate(usable.reshape(-1, len(_VISIBLE))):
            if not places.any():
                if outcome.lost:
                    # Nothing shows here whether the number is harmless.
                    raise _as_departure(outcome)
                continue
            place = group * len(_VISIBLE) + int(np.argmax(places))
            own, other = float(outcome.changes[place]), self._plain_at(point(place), describe(group)) - self.base
            if np.isfinite(other):
                allowed = _AGREEMENT * max(abs(own), abs(other)) + rounding
                if not abs(own - other) <= allowed:
                    # Values that cancel inside of the function, as 1 - a does, may be rounded by much more.
                    allowed += jittered.of_change(place)
                if jittered.cast is not None and _lacks(outcome) and not allowed <= _CLEAR * abs(own):
                    # What the number lacks could go unseen.
                    raise _as_departure(outcome)
                agree(f"in the change of the cost {describe(group)}", own, other, allowed, jittered.cast)

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


class Jittered:
    """Rounding of plain values and of their changes, from runs whose every intermediate result is jittered.

    Parameters
    ----------
    run : callable
        Does one under some conditions.
    cast : Cast, optional
        The least precise type that is computed in, if it is not float64.
    """

    def __init__(self, run: Callable[[Conditions], Outcome], cast: Cast | None) -> None:
        self.cast = cast
        self._run = run
        self._epsilon = epsilon_of(cast)
        self._known: dict[float, list[Outcome]] = {}

    def of_change(self, place: int) -> float:
        """What the difference of two plain values may be off by at a point."""
        return float(np.sum(self._spread(lambda outcome: np.array([outcome.base, outcome.changes[place]]))))

    @property
    def of_changes(self) -> Array:
        """What the changes themselves may be off by, in each lane."""
        return self._spread(lambda outcome: outcome.changes)

    @property
    def of_value(self) -> float:
        """What a plain value may be off by."""
        return float(self._spread(lambda outcome: np.array([outcome.base]))[0])

    def _spread(self, part: Callable[[Outcome], Array]) -> Array:
        """Deviations of a part of the outcomes, scaled down to the rounding of the type; 0 where none is known."""
        found: Array = np.array(np.nan)
        for jitter in (JITTER, LESS * JITTER):
            values = np.array([part(outcome) for outcome in self._outcomes(jitter)])
            with np.errstate(all="ignore"):
                own = SAFETY * self._epsilon / jitter * deviations(values, np.mean(values, axis=0))
            found = np.where(np.isfinite(found), found, own)
            if np.isfinite(found).all():
                break
        return np.nan_to_num(found, nan=0.0, posinf=0.0)

    def _outcomes(self, jitter: float) -> list[Outcome]:
        if jitter not in self._known:
            exactness = float(np.finfo(np.float64).eps) / self._epsilon
            self._known[jitter] = [self._run(Conditions(jitter=jitter, exactness=exactness, seed=seed)) for seed in range(RUNS)]
        return self._known[jitter]


def deviations(values: Array, about: Array) -> Array:
    """Root mean squares of how far the rows of `values` are from others: NaN where that is not finite.

    Scaled, since squares of less than 1e-154 are none, and of more than 1e154 infinite.
    """
    with np.errstate(all="ignore"):
        away = values - about
        size = np.max(np.abs(away), axis=0)
        found: Array = np.where(size > 0.0, size * np.sqrt(np.mean(np.square(away / size), axis=0)), size)
    return found


def epsilon_of(cast: Cast | None) -> float:
    """Machine epsilon of the least precise type that is computed in."""
    return float(np.finfo(np.float64).eps) if cast is None else cast.precision.epsilon


def agree(where: str, own: float, plain: float, allowed: float, cast: Cast | None) -> None:
    """Raise an error if two values differ by more than is allowed; a departure if the function rounds more than float64 does."""
    if not abs(own - plain) <= allowed:
        disagree = f"difference arrays and the function itself disagree {where}: {own!r} by difference arrays, {plain!r} by the "
        if cast is not None:
            # More than is known of it may depend on how it rounds, as where it overflows.
            departure = Departure(f"{disagree}function, which rounds to {cast.kind}", "compute in float64")
            departure.where, departure.cast = cast.where, cast
            raise departure
        raise OracleError(
            f"{disagree}function; the check would compare with the wrong cost (gradsweep.plain(cost) checks it by its values)"
        )


def as_loss(outcome: Outcome, error: OracleError) -> Exception:
    """Of a disagreement the reason, if plain numbers were made on the way."""
    return _as_departure(outcome) if outcome.lost else error


def _lacks(outcome: Outcome) -> bool:
    """Whether there are plain numbers that are not the cost itself, which may be returned as one."""
    return any(each.number != outcome.base for each in outcome.lost.values())


def _as_departure(outcome: Outcome) -> Departure:
    """The departure at the plain number that was made first."""
    departure = loss(next(iter(outcome.lost.values())))
    departure.cast = outcome.cast
    return departure
