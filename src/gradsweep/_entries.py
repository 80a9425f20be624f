"""Comparing two gradients entry by entry where the numeric one is an array of its own; what is in dispute is looked at again."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gradsweep._cancellation import with_cancelled
from gradsweep._costs._numerics import Indices, Numerics, Slopes
from gradsweep._monitor import current
from gradsweep._parameters import Precision
from gradsweep._trees import Leaf
from gradsweep._types import Array
from gradsweep._verdict import KEPT, Block, Entry, Status, Tally, block_status, norm

# Entries by which the noise of a block is known in which nothing is in dispute.
_SAMPLED = 2

# At kinks of several units at once a backward pass may give what is outside all that was tried, by so many times its width; where
# only values tell of kinks, whose sum it is that may have little width, by so many times the largest of the block.
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


@dataclass(eq=False)
class Closer:
    """Closer looks at entries, each of which is taken once, however often blocks are decided.

    Attributes
    ----------
    numerics : Numerics
        The numeric side.
    precision : Precision
        Of the gradient under test.
    """

    numerics: Numerics
    precision: Precision
    _known: Indices = field(default_factory=lambda: np.empty(0, dtype=np.intp), init=False, repr=False)
    _rows: Array = field(default_factory=lambda: np.empty((5, 0)), init=False, repr=False)
    _tells_kinks: bool = field(default=False, init=False, repr=False)

    def settle(self, indices: Indices) -> Slopes:
        """What `Numerics.settle` gives; `evaluations` are those that it took now."""
        new, evaluations = indices[~np.isin(indices, self._known)], 0
        if len(new):
            found = self.numerics.settle(new, self.precision)
            if current().lacks:
                # Of some of its steps, or without their rounding, it shows nothing: neither a mistake nor that there is none.
                found = replace(found, values=np.full(len(new), np.nan))
            evaluations, self._tells_kinks = found.evaluations, found.kinks is not None
            kinks = np.zeros(len(new)) if found.kinks is None else found.kinks
            self._known = np.concatenate([self._known, new])
            self._rows = np.hstack([self._rows, [found.values, found.low, found.high, found.noise, kinks]])
        order = np.argsort(self._known)
        rows = self._rows[:, order[np.searchsorted(self._known, indices, sorter=order)]]
        values, low, high, noise, kinks = rows
        return Slopes(values, low, high, noise, 0, evaluations, kinks.astype(np.bool_) if self._tells_kinks else None)


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
    closer : Closer, optional
        Closer looks that were taken before.
    usual : float, default: 0.0
        Size of the usual entry of all blocks, against which is held what rounding leaves where the gradient vanishes.
    """

    numerics: Numerics
    tolerance: float
    precision: Precision
    replaces: bool
    measures: bool = True
    closer: Closer | None = None
    usual: float = 0.0

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
        return self._examine(blocks, noise), evaluations

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

    def _examine(self, blocks: Sequence[BlockGradients], levels: Sequence[float]) -> list[Examined]:
        """Decide about blocks; `levels` is the noise of those in which nothing is in dispute."""
        disputes = [_Dispute(given, self._compare(given), self.numerics.sample) for given in blocks]
        # All blocks at once: a look at a few entries takes no less than one at many.
        self._look_again([(dispute, dispute.chosen) for dispute in disputes])
        # Only if none of those is wrong all others.
        self._look_again([(dispute, dispute.rest) for dispute in disputes if not dispute.confirmed])
        return [self._decide(dispute, level) for dispute, level in zip(disputes, levels, strict=True)]

    def _decide(self, dispute: "_Dispute", level: float) -> Examined:
        """The block, when all that is in dispute was looked at."""
        given, first, settled = dispute.given, dispute.first, dispute.settled
        if not len(dispute.chosen):
            shown = replace(first, shown_noise=np.full(len(given.indices), level))
            return self._finish(given, shown, confirmed=False, evaluations=0)
        if dispute.confirmed and not dispute.looked_at_rest:
            # Those that were not looked at count if they are beyond the noise of those that were.
            known = settled.noise[dispute.chosen]
            allowed = settled.noise.copy()
            allowed[dispute.rest] = np.maximum(allowed[dispute.rest], np.max(known, initial=0.0, where=np.isfinite(known)))
            settled = replace(settled, noise=allowed)
        if not dispute.confirmed and not self.replaces:
            settled = replace(settled.at_kinks(first), noise=settled.noise)
        return self._finish(given, settled, confirmed=dispute.confirmed, evaluations=dispute.evaluations)

    def _look_again(self, looks: Sequence[tuple["_Dispute", NDArray[np.intp]]]) -> None:
        """Take a closer look at some entries of each block, and see whether one of them is wrong."""
        looks = [(dispute, places) for dispute, places in looks if len(places)]
        if not looks:
            return
        closer = (self.closer or Closer(self.numerics, self.precision)).settle(
            np.concatenate([dispute.given.indices[places] for dispute, places in looks])
        )
        looks[0][0].evaluations += closer.evaluations
        start = 0
        for dispute, places in looks:
            part = slice(start, start + len(places))
            start = part.stop
            dispute.settled = self._closer(dispute, places, closer, part)
            wrong = self._is_wrong(dispute.given, dispute.settled, by_values=closer.kinks is not None)
            dispute.confirmed = bool(wrong[places].any())
            dispute.looked_at_rest = places is dispute.rest

    def _closer(self, dispute: "_Dispute", chosen: NDArray[np.intp], closer: Slopes, part: slice) -> "_Comparison":
        """The comparison after a closer look at some entries."""
        before = dispute.settled
        arrays = {name: getattr(before.slopes, name).copy() for name in ("values", "low", "high")}
        for name, array in arrays.items():
            array[chosen] = getattr(closer, name)[part]
        noise = before.noise.copy()
        own = np.maximum(closer.noise[part] + dispute.given.least_noise[chosen], self.precision.tiny)
        noise[chosen] = with_cancelled(closer.values[part], own, self.usual, self.precision, self.tolerance)
        kinks = before.kinks.copy()
        if closer.kinks is not None:
            kinks[chosen] |= closer.kinks[part]
        return replace(before, slopes=replace(before.slopes, **arrays), noise=noise, kinks=kinks)

    def _is_wrong(self, given: BlockGradients, after: "_Comparison", *, by_values: bool) -> NDArray[np.bool_]:
        """Which entries are wrong, kinks and what is not known aside."""
        width = _BESIDE_KINK * (after.slopes.high - after.slopes.low)
        if by_values:
            width = np.maximum(width, np.max(width, initial=0.0, where=after.kinks & np.isfinite(width)))
        near = (after.analytic >= after.slopes.low - width) & (after.analytic <= after.slopes.high + width)
        known = np.isfinite(after.slopes.values) | ~np.isfinite(after.analytic)
        wrong: NDArray[np.bool_] = after.differs & known & ~(after.kinks & near) & ~self._is_unclear(given)
        return wrong

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
        if status in (Status.AGREES, Status.VACUOUS) and done.is_beyond_noise.any():
            status = Status.NOISY
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

    @functools.cached_property
    def nearest(self) -> Array:
        """What the gradient is compared with: at a kink the accepted value that is nearest to it."""
        nearest: Array = np.where(
            self.slopes.at_kink, np.clip(self.analytic, self.slopes.low, self.slopes.high), self.slopes.values
        )
        # Between bounds that allow for what vanishes with the step, anything is as good as the value itself.
        return nearest

    @functools.cached_property
    def gap(self) -> Array:
        """|g − ĝ|, infinite where either is no finite number."""
        with np.errstate(all="ignore"):
            gap = np.abs(self.analytic - self.nearest)
        return np.where(np.isfinite(gap), gap, np.inf)

    @functools.cached_property
    def allowed(self) -> Array:
        """Up to which gap the two agree."""
        with np.errstate(all="ignore"):
            return np.asarray(self.tolerance * (np.abs(self.analytic) + np.abs(self.nearest)) + self.noise)

    @functools.cached_property
    def differs(self) -> NDArray[np.bool_]:
        """Where the two differ by more than tolerance and noise; a NaN does."""
        gap = self.gap
        return ~((gap <= self.allowed) & (gap < np.inf))

    @property
    def is_beyond_noise(self) -> NDArray[np.bool_]:
        """Where the two differ by more than the tolerance, and nobody knows the noise: such an entry is not vacuous."""
        beyond: NDArray[np.bool_] = ~np.isfinite(self.noise) & ~self.kinks
        with np.errstate(all="ignore"):
            beyond &= ~(self.gap <= self.tolerance * (np.abs(self.analytic) + np.abs(self.nearest)))
        return beyond

    @functools.cached_property
    def score(self) -> Array:
        """Gap over what is allowed: above 1 the two differ."""
        gap, allowed = self.gap, self.allowed
        with np.errstate(all="ignore"):
            score = np.where(gap == 0.0, 0.0, gap / allowed)
        return np.where(np.isfinite(score), score, np.inf)

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
        # Mostly only the worst is asked for, and there is nothing to be sorted.
        worst = np.argsort(-score, kind="stable")[:count] if count > 1 else np.flatnonzero(score == score.max(initial=-1.0))[:1]
        for place in worst.tolist():
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


class _Dispute:
    """A block, and what is known of its entries that are in dispute.

    Parameters
    ----------
    given : BlockGradients
        Both gradients.
    first : _Comparison
        By the quotients that were found first.
    count : int
        How many entries are looked at before all others.

    Attributes
    ----------
    chosen, rest : arrays of int
        Those that are furthest off, by either measure; and all others in dispute.
    settled : _Comparison
        After all closer looks so far.
    confirmed, looked_at_rest : bool
        Whether one of the entries is wrong; whether the others were looked at, too.
    evaluations : int
        What closer looks took, of all blocks that were looked at together in the first of them.
    """

    def __init__(self, given: BlockGradients, first: _Comparison, count: int) -> None:
        self.given, self.first, self.settled = given, first, first
        disputed = np.flatnonzero(first.differs)
        self.chosen: NDArray[np.intp] = disputed
        self.rest: NDArray[np.intp] = disputed
        if len(disputed):
            orders = [disputed[np.argsort(-measure[disputed], kind="stable")][:count] for measure in (first.gap, first.score)]
            self.chosen = np.unique(np.concatenate(orders))
            self.rest = np.setdiff1d(disputed, self.chosen)
        self.confirmed = self.looked_at_rest = False
        self.evaluations = 0
