"""Comparing two gradients entry by entry where the numeric one is an array of its own; what is in dispute is looked at again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._numerics import Indices, Numerics, Slopes
from gradsweep._parameters import Precision
from gradsweep._trees import Leaf
from gradsweep._types import Array
from gradsweep._verdict import KEPT, Block, Entry, Status, Tally, block_status, norm

# Entries by which the noise of a block is known in which nothing is in dispute.
_SAMPLED = 2

# At a kink of several units at once a backward pass may give what is outside all that was tried, by so many times its width.
_BESIDE_KINK = 4.0


@dataclass(frozen=True, eq=False)
class BlockGradients:
    """Both gradients of some entries of a block.

    Attributes
    ----------
    leaf : Leaf
        The block.
    indices : array of int of shape (n,)
        Which entries, in the flat vector.
    analytic : array of shape (n,)
        The gradient under test.
    slopes : Slopes
        The numeric side.
    rounding : array of shape (n,), optional
        What the gradient under test was seen to be rounded by.
    """

    leaf: Leaf
    indices: Indices
    analytic: Array
    slopes: Slopes
    rounding: Array | None = None

    @property
    def least_noise(self) -> Array:
        """Noise that is known of without a look at the numeric side."""
        return np.zeros(len(self.indices)) if self.rounding is None else self.rounding


@dataclass(frozen=True, eq=False)
class Examined:
    """What was found of a block.

    Attributes
    ----------
    block : Block
        The block.
    tally : Tally
        Its sums.
    numeric, noise : arrays of shape (n,)
        Its numeric gradient, and the rounding that the two may carry, as far as it was looked at.
    evaluations : int
        Changes, or values, of the cost that disputes took.
    """

    block: Block
    tally: Tally
    numeric: Array
    noise: Array
    evaluations: int


@dataclass(frozen=True)
class Judge:
    """Decides about blocks. What is in dispute is looked at again, by rules that do not know the gradient under test.

    Attributes
    ----------
    numerics : Numerics
        The numeric side.
    tolerance : float
        Relative.
    precision : Precision
        Of the gradient under test.
    replaces : bool
        Whether what a closer look gives takes the place of the quotient that was found first. Not where the caller chose the
        step: then it is said that the step is too large.
    measures : bool
        Whether the noise of blocks in which nothing is in dispute is measured, which is reported and decides nothing.
    """

    numerics: Numerics
    tolerance: float
    precision: Precision
    replaces: bool
    measures: bool = True

    def examine(self, blocks: Sequence[BlockGradients]) -> tuple[list[Examined], int]:
        """Decide about blocks.

        Parameters
        ----------
        blocks : sequence of BlockGradients
            Their gradients.

        Returns
        -------
        examined : list of Examined
            In their order.
        evaluations : int
            Changes, or values, of the cost by which the noise of blocks was measured in which nothing is in dispute.
        """
        noise, evaluations = self._noise_of_agreeing(blocks)
        return [self._examine(block, level) for block, level in zip(blocks, noise, strict=True)], evaluations

    def _compare(self, given: BlockGradients) -> "_Comparison":
        noise = np.maximum(given.slopes.noise + given.least_noise, self.precision.tiny)
        return _Comparison(given.analytic, given.slopes, noise, self.tolerance, given.slopes.at_kink)

    def _noise_of_agreeing(self, blocks: Sequence[BlockGradients]) -> tuple[list[float], int]:
        """Noise of each block, if nothing in it is in dispute, by its largest entry, its first and its last.

        An entry that agrees is verified, however small it is.
        """
        samples = []
        for given in blocks:
            sizes = np.abs(given.slopes.values)
            # Noise that came with the quotients is neither the rounding of the gradient nor what a closer look would allow.
            known = not self.measures or not sizes.any() or bool(self._compare(given).differs.any())
            places = np.empty(0, dtype=np.intp)
            if not known:
                spread = np.linspace(0, len(sizes) - 1, min(_SAMPLED, len(sizes))).astype(np.intp)
                places = np.unique(np.append(spread, int(np.argmax(sizes))))
            samples.append(given.indices[places])
        counts = [len(each) for each in samples]
        if not sum(counts):
            return [float(np.max(given.slopes.noise, initial=0.0)) for given in blocks], 0
        measured, evaluations = self.numerics.noise(np.concatenate(samples), self.precision)
        parts = np.split(measured, np.cumsum(counts)[:-1])
        levels = [float(np.max(part, initial=0.0, where=np.isfinite(part))) for part in parts]
        own = [float(np.max(given.slopes.noise, initial=0.0)) for given in blocks]
        return [max(pair) for pair in zip(levels, own, strict=True)], evaluations

    def _examine(self, given: BlockGradients, noise: float) -> Examined:
        """Decide about a block."""
        first = self._compare(given)
        disputed = np.flatnonzero(first.differs)
        if not len(disputed):
            shown = replace(first, shown_noise=np.full(len(given.indices), noise))
            return self._finish(given, shown, confirmed=False, evaluations=0)
        # Those that are furthest off, by either measure, and only if none of them is wrong all others.
        count = self.numerics.sample
        orders = [disputed[np.argsort(-measure[disputed], kind="stable")][:count] for measure in (first.gap, first.score)]
        chosen = np.unique(np.concatenate(orders))
        rest = np.setdiff1d(disputed, chosen)
        settled, confirmed, evaluations = self._look_again(given, first, chosen)
        if len(rest) and not confirmed:
            settled, confirmed, extra = self._look_again(given, settled, rest)
            evaluations += extra
        elif confirmed:
            # Those that were not looked at count if they are beyond the noise of those that were.
            known = settled.noise[chosen]
            allowed = settled.noise.copy()
            allowed[rest] = np.maximum(allowed[rest], np.max(known, initial=0.0, where=np.isfinite(known)))
            settled = replace(settled, noise=allowed)
        if not confirmed and not self.replaces:
            settled = replace(settled.at_kinks(first), noise=settled.noise)
        return self._finish(given, settled, confirmed=confirmed, evaluations=evaluations)

    def _look_again(
        self, given: BlockGradients, before: "_Comparison", chosen: NDArray[np.intp]
    ) -> tuple["_Comparison", bool, int]:
        """The comparison after a closer look at some entries, and whether one of them is wrong."""
        closer = self.numerics.settle(given.indices[chosen], self.precision)
        arrays = {name: getattr(before.slopes, name).copy() for name in ("values", "low", "high")}
        for name, array in arrays.items():
            array[chosen] = getattr(closer, name)
        noise = before.noise.copy()
        noise[chosen] = np.maximum(closer.noise + given.least_noise[chosen], self.precision.tiny)
        kinks = before.kinks.copy()
        if closer.kinks is not None:
            kinks[chosen] |= closer.kinks
        after = replace(before, slopes=replace(before.slopes, **arrays), noise=noise, kinks=kinks)
        width = _BESIDE_KINK * (after.slopes.high - after.slopes.low)
        near = (after.analytic >= after.slopes.low - width) & (after.analytic <= after.slopes.high + width)
        known = np.isfinite(after.slopes.values) | ~np.isfinite(after.analytic)
        wrong = after.differs & known & ~(kinks & near) & ~self._is_unclear(given)
        return after, bool(wrong[chosen].any()), closer.evaluations

    def _is_unclear(self, given: BlockGradients) -> NDArray[np.bool_]:
        """Where the gradient is what a backward pass may give that has one convention for kinks that cancel."""
        if given.slopes.unclear is None:
            return np.zeros(len(given.indices), dtype=np.bool_)
        low, high = given.slopes.unclear
        slack = self.tolerance * (np.abs(low) + np.abs(high))
        within: NDArray[np.bool_] = (low < high) & (given.analytic >= low - slack) & (given.analytic <= high + slack)
        return within

    def _finish(self, given: BlockGradients, done: "_Comparison", *, confirmed: bool, evaluations: int) -> Examined:
        tally = done.tally(given)
        unclear = bool(tally.differing and (done.differs & (done.kinks | self._is_unclear(given))).any())
        size = len(given.indices)
        status = block_status(tally, size, self.tolerance, confirmed=confirmed, at_kinks=unclear)
        if not confirmed and not np.isfinite(done.slopes.values).all():
            status = Status.NOT_FINITE
        block = Block(
            name=given.leaf.name,
            shape=given.leaf.shape,
            size=size,
            status=status,
            difference=tally.difference,
            noise=tally.relative_noise,
            differing=max(tally.differing, 1) if confirmed else 0,
            vacuous=tally.vacuous,
            kinks=tally.kinks,
            worst=tuple(tally.candidates),
            sensitivity=tally.sensitivity(self.tolerance),
        )
        return Examined(block, tally, done.slopes.values, done.noise, evaluations)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Two gradients side by side.

    Attributes
    ----------
    analytic : array of shape (n,)
        The gradient under test.
    slopes : Slopes
        The numeric one.
    noise : array of shape (n,)
        Rounding that the two may carry.
    tolerance : float
        Relative.
    kinks : array of bool of shape (n,)
        Which entries are known to be at a kink.
    shown_noise : array of shape (n,), optional
        What is reported in its place.
    """

    analytic: Array
    slopes: Slopes
    noise: Array
    tolerance: float
    kinks: NDArray[np.bool_]
    shown_noise: Array | None = None

    @property
    def nearest(self) -> Array:
        """What the gradient is compared with: at a kink the accepted value that is nearest to it."""
        nearest: Array = np.where(
            self.slopes.at_kink, np.clip(self.analytic, self.slopes.low, self.slopes.high), self.slopes.values
        )
        # Between bounds that allow for what vanishes with the step, anything is as good as the value itself.
        return nearest

    @property
    def gap(self) -> Array:
        """|g − ĝ|, infinite where either is no finite number."""
        with np.errstate(all="ignore"):
            gap = np.abs(self.analytic - self.nearest)
        return np.nan_to_num(gap, nan=np.inf, posinf=np.inf)

    @property
    def allowed(self) -> Array:
        """Up to which gap the two agree."""
        with np.errstate(all="ignore"):
            return np.asarray(self.tolerance * (np.abs(self.analytic) + np.abs(self.nearest)) + self.noise)

    @property
    def differs(self) -> NDArray[np.bool_]:
        """Where the two differ by more than tolerance and noise; a NaN does."""
        gap = self.gap
        return ~((gap <= self.allowed) & (gap < np.inf))

    @property
    def score(self) -> Array:
        """Gap over what is allowed: above 1 the two differ."""
        gap, allowed = self.gap, self.allowed
        with np.errstate(all="ignore"):
            score = np.where(gap == 0.0, 0.0, gap / allowed)
        return np.nan_to_num(score, nan=np.inf, posinf=np.inf)

    def at_kinks(self, others: "_Comparison") -> "_Comparison":
        """These slopes at kinks, and everywhere else those of another comparison."""
        names = ("values", "low", "high")
        arrays = {name: np.where(self.kinks, getattr(self.slopes, name), getattr(others.slopes, name)) for name in names}
        return replace(others, slopes=replace(others.slopes, **arrays), kinks=self.kinks)

    def tally(self, given: BlockGradients) -> Tally:
        """Sums over all entries, and the worst of them."""
        gap, differs, score, nearest = self.gap, self.differs, self.score, self.nearest
        noise = self.noise if self.shown_noise is None else self.shown_noise
        sizes = np.maximum(np.abs(self.analytic), np.abs(nearest))
        tally = Tally(
            analytic=norm(self.analytic),
            numeric=norm(nearest),
            gap=norm(gap) if np.isfinite(gap).all() else math.nan,
            noise=norm(noise),
            differing=int(np.count_nonzero(differs)),
            vacuous=int(np.count_nonzero(sizes <= self.noise)),
            kinks=int(np.count_nonzero(self.kinks)),
        )
        if len(noise):
            place = int(np.argmax(np.abs(self.analytic)))
            # What a closer look would find at the largest entry is not known if others were looked at: the most of these.
            tally.largest, tally.noise_at_largest = float(np.abs(self.analytic[place])), float(np.max(noise))
            tally.largest_noise = tally.noise_at_largest
        count = KEPT if tally.differing else 1
        for place in np.argsort(-score, kind="stable")[:count].tolist():
            index = np.unravel_index(int(given.indices[place]) - given.leaf.start, given.leaf.shape)
            tally.candidates.append(
                Entry(
                    block=given.leaf.name,
                    index=tuple(int(i) for i in index),
                    analytic=float(self.analytic[place]),
                    numeric=float(nearest[place]),
                    noise=float(noise[place]),
                    kink=bool(self.kinks[place]),
                    score=float(score[place]),
                )
            )
        return tally
