"""Tests of limits of sequences: exact ones, noisy ones, those that converge slowly, and those that mislead."""

import math

import numpy as np
import pytest
from landscapes import Array

from gradsweep._extrapolation import RATIO, Limits, Sequence, extrapolate

RUNGS = 12


def steps(first: float = 0.5, count: int = RUNGS) -> Array:
    """Steps from the largest to the smallest."""
    return np.asarray(first * RATIO ** np.arange(count), dtype=np.float64)


def limits(values: Array, noise: Array, powers: tuple[int, ...] = (2, 4, 6, 8)) -> Limits:
    """Limits of sequences, a line for each row."""
    rows = np.atleast_2d(values)
    return extrapolate(Sequence(rows, np.broadcast_to(noise, rows.shape), powers))


def test_powers_are_taken_away() -> None:
    """As many as there are columns for: the rest is the error of the finest steps."""
    h = steps()
    for powers in ((2, 4, 6, 8), (1, 3, 5, 7), (1, 2, 3, 4)):
        values = 3.0 + h ** powers[0] - h ** powers[1] + h ** powers[2]
        noise = 1e-16 / h
        found = limits(values, noise, powers)
        assert abs(found.values[0] - 3.0) <= found.bounds[0] < 1e-12


def test_constant_sequences_take_the_largest_steps() -> None:
    """Whose noise is the least, but for the first, which nothing is known of."""
    h = steps()
    found = limits(np.full(RUNGS, 2.0), 1e-10 / h)
    assert found.values[0] == 2.0
    assert found.bounds[0] == pytest.approx(5.0 * 1e-10 / h[1])


@pytest.mark.parametrize("seed", range(3))
def test_coverage_and_precision(seed: int) -> None:
    """Of a thousand noisy sequences, at least 99 in 100 within their bounds, which are no more than what is needed."""
    generator = np.random.default_rng(seed)
    h = steps()
    level = 10.0 ** generator.uniform(-14, -4, (1000, 1))
    noise = level / h
    slopes = generator.standard_normal((1000, 4))
    values = 1.0 + slopes @ np.array([h**2, h**4, h**6, h**8]) + noise * generator.standard_normal((1000, RUNGS))
    found = limits(values, noise)
    errors = np.abs(found.values - 1.0)
    assert np.mean(errors <= found.bounds) >= 0.99
    # What takes three powers away has at least the noise of the fourth step.
    assert np.median(found.bounds / (level[:, 0] / h[3])) < 30.0


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5])
def test_slow_convergence(power: float) -> None:
    """Where a second derivative jumps or is infinite truncation does not fall as ε², and the bound must not assume it."""
    h = steps()
    found = limits(1.0 + h**power, 1e-16 / h)
    assert abs(found.values[0] - 1.0) <= found.bounds[0]
    assert found.bounds[0] < 10.0 * h[-1] ** power + 1e-7


def test_large_steps_that_agree_by_chance() -> None:
    """Steps that are multiples of a period see a constant; the smaller ones contradict it."""
    h = steps()
    values = np.sin(2.0 * np.pi * 64.0 * h) / h
    found = limits(values, 1e-16 / h)
    exact = 2.0 * np.pi * 64.0
    assert abs(found.values[0] - exact) <= found.bounds[0] < 1e-6 * exact


def test_divergence_is_not_bounded_by_chance() -> None:
    """Of what grows as 1/ε without noise nothing is known."""
    h = steps()
    found = limits(1.0 / h, 1e-16 / h)
    assert found.bounds[0] >= 0.25 / h[-1]


def test_quotients_that_are_missing() -> None:
    """Large steps beyond a domain, a hole, and nothing at all."""
    h = steps()
    values = np.tile(1.0 + h**2, (4, 1))
    values[0, :4] = np.nan
    values[1, 6] = np.nan
    values[2, 1:] = np.nan
    values[3] = np.nan
    found = limits(values, 1e-12 / h)
    assert np.all(np.abs(found.values[:2] - 1.0) <= found.bounds[:2])
    assert np.all(found.bounds[:2] < 1e-7)
    assert np.isnan(found.values[2:]).all()
    assert np.isinf(found.bounds[2:]).all()


def test_no_lines() -> None:
    assert limits(np.empty((0, RUNGS)), np.empty((0, RUNGS))).values.size == 0


def test_underflow() -> None:
    """Noise whose squares are 0 is none the less there."""
    h = steps()
    found = limits(1e-200 * np.ones(RUNGS), 1e-220 / h)
    assert found.noise[0] == pytest.approx(5e-220 / h[1])


def test_scatter() -> None:
    """1 where noise explains the smallest steps, what is missing where it does not; a kink between two steps does not count."""
    generator = np.random.default_rng(0)
    h = steps()
    noise = 1e-10 / h
    values = 1.0 + noise * generator.standard_normal((500, RUNGS))
    sequence = Sequence(values, np.broadcast_to(noise, values.shape), (2, 4, 6, 8))
    assert 1.0 <= np.median(sequence.scatter()) < 1.5
    assert 6.0 < np.median(sequence.scaled(np.full(500, 0.1)).scatter()) < 15.0
    kinked = np.where(h < h[8] / 2.0, 1.0, 2.0)
    assert Sequence(kinked[np.newaxis], noise[np.newaxis], (2,)).scatter()[0] == 1.0
    assert Sequence(np.full((1, 3), np.nan), np.ones((1, 3)), (2,)).scatter()[0] == 1.0


def test_moves() -> None:
    """Only where the two smallest steps differ by more than noise."""
    h = steps()
    noise = np.full((1, RUNGS), 1e-3)
    assert not Sequence((1.0 + h)[np.newaxis], noise, (1,)).moves()[0]
    assert Sequence((1.0 + h)[np.newaxis], 1e-9 * noise, (1,)).moves()[0]
    assert not Sequence(np.full((1, RUNGS), math.nan), noise, (1,)).moves()[0]
