"""A function of which only values can be had: quotients of their differences, with the noise that these have."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._casts import describe_cast, precision_of
from gradsweep._costs._evaluation import Evaluator
from gradsweep._costs._lines import Lines
from gradsweep._costs._numerics import Indices, Slopes
from gradsweep._differences._cast import Cast
from gradsweep._directions import Direction
from gradsweep._ladder import RUNGS, Behaviour, Limit, ladder
from gradsweep._monitor import current
from gradsweep._neighbourhood import Neighbourhood
from gradsweep._noise import Noise, measure_noise
from gradsweep._parameters import Precision
from gradsweep._quotients import SAMPLES, Choice, Quotients, choose_steps, quotients
from gradsweep._schemes import CENTRAL, FIVE_POINT, Scheme
from gradsweep._trees import Tree
from gradsweep._types import Array
from gradsweep._verdict import norm

# Standard deviations of noise that quotients may be off by: beyond them there is one in two million.
_DEVIATIONS = 5.0

# Noise of a block, relative to its quotients, from which on they are formed again at four points: with more of it, no check at
# two points could pass the tolerance of 1e-7 by much. It depends on neither tolerance nor gradient.
_NOISY = 2e-8

# Bounds of the ladder that quotients may be off by: one of them is exceeded in one case of a hundred, and hundreds of entries may
# be in dispute.
_BOUNDS = 4.0

# Entries without a quotient at which the cost is asked for an error that says why: where it raises none at these, it is NaN.
_EXPLAINED = 16

# Roundings of an entry, and of the largest entry of its block, that a gradient may be off by.
_ROUNDINGS = 64.0


@dataclass(eq=False)
class ValueNumerics:
    """The numeric side of a check by values.

    Attributes
    ----------
    evaluator : Evaluator
        What evaluates the cost.
    tree : Tree
        Its parameters.
    base : float
        Its value there.
    scheme : Scheme
        How quotients are formed at first.
    given : float, optional
        ε, if the caller chose it.
    seed : int
        Of the directions along which noise is measured, and of the parameters by which steps are chosen.
    around : Neighbourhood, optional
        Values around the point, if they are not simply those of the evaluator.
    cast : Cast, optional
        The least precise type that the cost is known to compute in, if it is not float64.
    samples : int
        How many parameters of each block are looked at to choose its steps.
    whole : ValueNumerics, optional
        That of the parameters themselves, if these are lines through them: the noise of the values is the same.
    """

    evaluator: Evaluator
    tree: Tree
    base: float
    scheme: Scheme
    given: float | None
    seed: int
    around: Neighbourhood | None = None
    whole: "ValueNumerics | None" = None
    cast: Cast | None = None
    samples: int = SAMPLES
    sample: int = field(default=16, init=False)
    _largest: Array = field(init=False, repr=False)
    _uncounted: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        """Nothing is known of the size of the quotients yet."""
        self._largest = np.zeros(len(self.tree.blocks))

    @property
    def kind(self) -> str:
        """What evaluates the cost."""
        return self.evaluator.kind

    @property
    def notes(self) -> list[str]:
        """What the caller should know of how it was evaluated."""
        return [*self.evaluator.notes, *describe_cast(self.cast)]

    @property
    def precision(self) -> Precision:
        """Of the least precise type that the cost is known to compute in."""
        return precision_of(self.cast)

    @property
    def step(self) -> float:
        """ε, or the largest of all parameters'."""
        return self.given if self.given is not None else float(self._steps(self.scheme).steps.max())

    @property
    def dispute(self) -> int:
        """About how many evaluations a closer look at an entry takes: those of a ladder."""
        return 2 * RUNGS

    def along(self, directions: Sequence[Direction]) -> "DirectionValues":
        """The same of directions in the place of parameters."""
        lines = Lines(self.neighbourhood, self.tree, self.evaluator, directions)
        return DirectionValues(
            lines,
            lines.tree,
            self.base,
            self.scheme,
            self.given,
            self.seed,
            around=lines.neighbourhood,
            whole=self,
            cast=self.cast,
            samples=1,
        )

    def order(self) -> list[str]:
        """Names of the blocks as they were given: values do not tell what is used first."""
        return [leaf.name for leaf in self.tree.blocks]

    def quotients(self, indices: Indices) -> Slopes:
        """Difference quotients, and their noise; at four points where at two the noise is a large part of a block.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Parameters.

        Returns
        -------
        Slopes
            In their order. A kink is not seen: the central quotient is the mean of its two slopes.
        """
        return self._best(indices)[0]

    def _best(self, indices: Indices) -> tuple[Slopes, NDArray[np.bool_]]:
        """Difference quotients, and which of them are at four points, and the better for it."""
        found = self._quotients(self.scheme, indices)
        values, noise, evaluations = found.values, _DEVIATIONS * found.noise, found.evaluations
        replaced = np.zeros(len(indices), dtype=np.bool_)
        blocks = self._blocks_of(indices)
        noisy = np.zeros(len(indices), dtype=np.bool_)
        if self.scheme is CENTRAL and self.given is None:
            for block in np.unique(blocks):
                own = (blocks == block) & found.finite
                noisy |= own & (norm(noise[own]) > _NOISY * norm(values[own]))
        if noisy.any():
            again = self._quotients(FIVE_POINT, indices[noisy])
            evaluations += again.evaluations
            better = _DEVIATIONS * again.noise < noise[noisy]
            places = np.flatnonzero(noisy)[better]
            values[places], noise[places] = again.values[better], _DEVIATIONS * again.noise[better]
            replaced[places] = True
        if not current().interrupted:  # else it may merely be missing
            self._explain(indices[~found.finite], found.steps[~found.finite])
        noise[~found.finite] = 0.0
        self.note_sizes(indices, values)
        evaluations += self._newly_counted()
        return Slopes(values, values.copy(), values.copy(), noise, evaluations=evaluations), replaced

    def settle(self, indices: Indices, precision: Precision) -> Slopes:
        """Limits of the quotients as the step falls, with bounds on what they may be off by.

        Parameters
        ----------
        indices : array of int of shape (n,)
            Parameters.
        precision : Precision
            Of the gradient.

        Returns
        -------
        Slopes
            Between `low` and `high` lies, at a kink, all that is between the one-sided slopes.
        """
        limits = ladder(self.neighbourhood, self.measured, indices, self._steps(CENTRAL).steps[indices])
        values = np.array([limit.value for limit in limits])
        kinked = np.array([limit.behaviour is Behaviour.KINK for limit in limits])
        bounds = np.array([0.0 if limit.behaviour in (Behaviour.KINK, Behaviour.NON_FINITE) else limit.bound for limit in limits])
        low, high = (np.array(side) for side in zip(*map(_ends, limits), strict=True))
        evaluations = sum(limit.evaluations for limit in limits) + self._newly_counted()
        return Slopes(values, low, high, _BOUNDS * bounds + self.rounding(indices, values, precision), 0, evaluations, kinked)

    def noise(self, indices: Indices, precision: Precision) -> tuple[Array, int]:
        """Noise of quotients, and rounding of a gradient of this precision.

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
            Values of the cost that it took.
        """
        slopes, replaced = self._best(indices)
        noise, evaluations = slopes.noise + self.rounding(indices, slopes.values, precision), slopes.evaluations
        blocks = self._blocks_of(indices)
        for block in np.unique(blocks[replaced]):
            # Quotients at four points have far less noise than the ladder that decides: one of each block shows how much it has.
            own = np.flatnonzero(blocks == block)
            place = own[np.argmax(np.abs(slopes.values[own]))]
            closer = self.settle(indices[[place]], precision)
            noise[own] *= max(1.0, float(closer.noise[0] / noise[place]))
            evaluations += closer.evaluations
        return noise, evaluations

    def note_sizes(self, indices: Indices, values: Array) -> None:
        """Remember the largest entry of each block."""
        finite = np.isfinite(values)
        np.maximum.at(self._largest, self._blocks_of(indices[finite]), np.abs(values[finite]))

    def rounding(self, indices: Indices, values: Array, precision: Precision) -> Array:
        """What rounding may do to a gradient: some of an entry's own, and of those that were summed with it."""
        sizes = np.abs(np.nan_to_num(values)) + self._largest[self._blocks_of(indices)]
        result: Array = _ROUNDINGS * precision.epsilon * sizes + precision.tiny
        return result

    @functools.cached_property
    def neighbourhood(self) -> Neighbourhood:
        """Values around the point."""
        if self.around is not None:
            return self.around
        sizes = tuple(leaf.size for leaf in self.tree.blocks)
        evaluator = self.evaluator
        return Neighbourhood(self.tree.values, self.base, evaluator.values, evaluator.direction_values, sizes, evaluator.types)

    @functools.cached_property
    def measured(self) -> Noise:
        """Noise of the values, measured when it is first needed."""
        if self.whole is not None:
            noise = self.whole.measured
            self._uncounted += self.whole._newly_counted()
            return noise
        noise = measure_noise(self.neighbourhood, self.seed, self.precision.epsilon)
        self._uncounted += noise.evaluations
        return noise

    @functools.cached_property
    def _choices(self) -> dict[str, Choice]:
        return {}

    def _steps(self, scheme: Scheme) -> Choice:
        """Steps that suit a scheme, chosen when they are first needed; those of the caller for his own scheme."""
        if scheme.name not in self._choices:
            given = self.given if scheme is self.scheme else None
            choice = choose_steps(self.neighbourhood, self.measured, scheme, given, self.seed, self.samples)
            self._uncounted += choice.evaluations
            self._choices[scheme.name] = choice
        return self._choices[scheme.name]

    def _quotients(self, scheme: Scheme, indices: Indices) -> Quotients:
        return quotients(self.neighbourhood, self.measured, scheme, indices, self._steps(scheme).steps[indices])

    def _newly_counted(self) -> int:
        """Values that noise and steps took since this was last asked for."""
        count, self._uncounted = self._uncounted, 0
        return count

    def _blocks_of(self, indices: Indices) -> NDArray[np.intp]:
        """Number of the block of each parameter: of several that start there, all but the last are empty."""
        starts = np.array([leaf.start for leaf in self.tree.blocks])
        result: NDArray[np.intp] = np.searchsorted(starts, indices, side="right") - 1
        return result

    def _explain(self, indices: Indices, steps: Array) -> None:
        """Where there is no quotient because the cost raises an error on both sides, raise it."""
        for index, step in zip(indices[:_EXPLAINED].tolist(), steps[:_EXPLAINED].tolist(), strict=True):
            for side in (1.0, -1.0):
                self.evaluator.explain(index, side * step)


class DirectionValues(ValueNumerics):
    """The same along directions."""

    def product(self, number: int, block: NDArray[Any]) -> tuple[float, float]:
        """Product of a direction with a block, and the norm of the block in its region."""
        assert isinstance(self.evaluator, Lines)
        return self.evaluator.product(number, block)


def _ends(limit: Limit) -> tuple[float, float]:
    """The smallest and the largest gradient that is accepted."""
    if limit.behaviour is not Behaviour.KINK:
        return limit.value, limit.value
    return min(limit.left, limit.right) - limit.side_bound, max(limit.left, limit.right) + limit.side_bound
