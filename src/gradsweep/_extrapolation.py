"""Limits of noisy sequences of quotients as the step falls, with bounds on their errors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradsweep._types import Array

#: Each step is this part of the one before: a power of 2, so that steps stay exact.
RATIO = 0.25

# How many powers of the step are taken away at most.
_POWERS = 3

# Standard deviations of noise that a bound allows for. Rounding is no independent normal noise, and the best of many candidates
# is taken, so that the two or three that would do for a single quotient are too few.
_DEVIATIONS = 5.0

# Truncation is taken to be this many times what the last two steps tell of it.
_CAUTION = 2.0

# And to fall from step to step no faster than a term in ε², whatever its power; as √ε where nothing is seen of how it falls, as
# it does on average with many small kinks around; and no slower than this.
_MOST_GAIN, _USUAL_GAIN, _LEAST_GAIN = RATIO**-2.0 - 1.0, RATIO**-0.5 - 1.0, 0.25

# Gaps between the smallest steps, from which noise is seen, and the median of the absolute value of a standard normal variable.
_GAPS, _MEDIAN = (3, 5), 0.6745


@dataclass(frozen=True, eq=False)
class Sequence:
    """Quotients that tend to a limit as the step falls, those of the largest steps first.

    Attributes
    ----------
    values, noise : arrays of shape (lines, steps)
        Quotients and their standard deviations; NaN where there is none.
    powers : tuple of int
        The powers of ε, from the lowest, in which the quotients differ from their limit.
    """

    values: Array
    noise: Array
    powers: tuple[int, ...]

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many quotients there are, by line."""
        result: NDArray[np.intp] = np.count_nonzero(np.isfinite(self.values), axis=1)
        return result

    def scatter(self) -> Array:
        """How much more than their noise the quotients of the smallest steps differ from each other, by line; at least 1.

        What counts is the median of three gaps or of five, whichever is less: of five, a kink between two of the steps changes no
        more than two; of three, truncation is the least.
        """
        gaps = self._gaps()
        medians = np.minimum(*(_median_of_last(gaps, count) for count in _GAPS))
        result: Array = np.fmax(1.0, medians / _MEDIAN)
        return result

    def moves(self) -> NDArray[np.bool_]:
        """Whether the quotients of the two smallest steps differ by more than their noise, by line."""
        result: NDArray[np.bool_] = _median_of_last(self._gaps(), 1) > _DEVIATIONS
        return result

    def _gaps(self) -> Array:
        """Differences of successive quotients in units of their noise; NaN where there is none."""
        differences = np.abs(np.diff(self.values, axis=1))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            gaps = differences / np.hypot(self.noise[:, 1:], self.noise[:, :-1])
        return np.where(differences == 0.0, 0.0, gaps)

    def scaled(self, factors: Array) -> "Sequence":
        """The same with more noise, by a factor for each line."""
        return Sequence(self.values, self.noise * factors[:, np.newaxis], self.powers)


def _median_of_last(gaps: Array, count: int) -> Array:
    """Median of the last so many of each line that are not NaN; NaN if all are."""
    present = ~np.isnan(gaps)
    from_end = np.cumsum(present[:, ::-1], axis=1)[:, ::-1]
    chosen = np.sort(np.where(present & (from_end <= count), gaps, np.nan), axis=1)  # NaN last
    counts = np.minimum(np.count_nonzero(present, axis=1), count)
    every = np.arange(len(gaps))
    low, high = (chosen[every, np.maximum(middle, 0)] for middle in ((counts - 1) // 2, counts // 2 - (counts == 0)))
    result: Array = 0.5 * (low + high)
    return result


@dataclass(frozen=True, eq=False)
class Limits:
    """Limits of sequences.

    Attributes
    ----------
    values, noise, truncation : arrays of shape (lines,)
        The limits, and what noise and truncation may add to them; NaN, infinite and infinite where there is none.
    """

    values: Array
    noise: Array
    truncation: Array

    @property
    def bounds(self) -> Array:
        """How far the truth may be from the limits."""
        result: Array = self.noise + self.truncation
        return result


def extrapolate(sequence: Sequence) -> Limits:
    """Limits of sequences, by taking powers of the step away, of as many as have the least bound.

    Parameters
    ----------
    sequence : Sequence
        Quotients.

    Returns
    -------
    Limits
        Of each line.

    Notes
    -----
    The candidates are all entries of the triangle of extrapolated values. The bound of each is five standard deviations of its
    noise, and what the steps before and after it tell of its truncation. One is accepted if it agrees with all quotients of
    smaller steps, each within both bounds: these are noisier, but nearer to the limit, and show where the larger steps mislead.

    References
    ----------
    C. J. F. Ridders, "Accurate computation of F'(x) and F'(x)F''(x)", Advances in Engineering Software 4(2), 1982.
    O. V. Lepskii, "On a problem of adaptive estimation in Gaussian white noise", Theory of Probability and its Applications
    35(3), 1991.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values, noise, truncation = (np.stack(parts, axis=1) for parts in zip(*_triangle(sequence), strict=True))
        bounds = noise + truncation
        # What all smaller steps allow: quotients as they are, without extrapolation, within no more than their last fall, since
        # the bounds of what diverges allow anything.
        allowed = noise[:, 0] + np.minimum(truncation[:, 0], np.abs(_step(values[:, 0])))
        low = np.fmax.accumulate((values[:, 0] - allowed)[:, ::-1], axis=1)[:, np.newaxis, ::-1]
        high = np.fmin.accumulate((values[:, 0] + allowed)[:, ::-1], axis=1)[:, np.newaxis, ::-1]
        agrees = ~(values + bounds < low) & ~(values - bounds > high)
    lines, columns, steps = values.shape
    usable = np.where(agrees & np.isfinite(bounds), bounds, np.inf).reshape(lines, columns * steps)
    best = np.argmin(usable, axis=1)
    every = np.arange(lines)
    none = ~np.isfinite(usable[every, best])

    def chosen(table: Array, otherwise: float) -> Array:
        result: Array = np.where(none, otherwise, table.reshape(lines, columns * steps)[every, best])
        return result

    return Limits(chosen(values, np.nan), chosen(noise, np.inf), chosen(truncation, np.inf))


def _triangle(sequence: Sequence) -> list[tuple[Array, Array, Array]]:
    """Values, noise and truncation of all candidates, by how many powers are taken away: arrays of shape (lines, steps)."""
    columns = []
    values, weights = sequence.values, [1.0]
    for power in sequence.powers[: _POWERS + 1]:
        noise = _DEVIATIONS * _spread(sequence.noise, weights)
        factor = RATIO**-power - 1.0
        fall = _step(values)
        truncation = _CAUTION * np.abs(fall) / _gain(np.abs(fall), noise, factor)
        # What the value of the next smaller step shows, beside what that of the one before lets expect.
        truncation[:, :-1] = np.maximum(truncation[:, :-1], _CAUTION * np.abs(fall)[:, 1:] - noise[:, :-1])
        columns.append((values, noise, truncation))
        values = values + fall / factor
        weights = [a + (a - b) / factor for a, b in zip([*weights, 0.0], [0.0, *weights], strict=True)]
    return columns


def _gain(falls: Array, noise: Array, factor: float) -> Array:
    """How much less truncation is than the last step by which a value fell.

    As much as the ratio of the last two steps says, where they stand out of the noise: at points where a second derivative jumps,
    or with many kinks around, truncation falls more slowly than powers of ε do.
    """
    before, noise_before = np.full_like(falls, np.nan), np.full_like(noise, np.nan)
    before[:, 1:], noise_before[:, 1:] = falls[:, :-1], noise[:, :-1]
    ratio = before / np.where(falls > noise, falls, noise)
    least = np.where(falls > noise, _LEAST_GAIN, min(factor, _USUAL_GAIN))
    seen = np.maximum(np.minimum(ratio - 1.0, min(factor, _MOST_GAIN)), least)
    result: Array = np.where(before > noise_before, seen, min(factor, _USUAL_GAIN))
    return result


def _step(values: Array) -> Array:
    """By how much each value differs from that of the step before; NaN for the first."""
    result = np.full_like(values, np.nan)
    result[:, 1:] = np.diff(values, axis=1)
    return result


def _spread(noise: Array, weights: list[float]) -> Array:
    """Standard deviation of sums of successive values with these weights, the first of which is that of the smallest step."""
    result = np.zeros_like(noise)
    for back, weight in enumerate(weights):  # not by squares, which underflow
        result[:, back:] = np.hypot(result[:, back:], weight * noise[:, : noise.shape[1] - back])
    return result
