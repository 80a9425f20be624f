"""Tests of the complex step: exact where the cost is analytic, and an error where it is not, however little."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from landscapes import Array, around

from gradsweep import InputError, OracleError
from gradsweep._complex_step import ComplexQuotients, complex_quotients
from gradsweep._noise import measure_noise

MATRIX = np.random.default_rng(0).standard_normal((20, 20))
THETA = np.random.default_rng(1).standard_normal(20)


def differentiate(cost: Callable[[Any], Any], theta: Array = THETA, indices: Any = None, **options: Any) -> ComplexQuotients:
    """All derivatives of a cost of real or complex parameters."""
    neighbourhood = around(lambda t: float(np.real(cost(t))), theta, **options)

    def evaluate(index: int, step: float) -> complex:
        point = theta.astype(np.complex128)
        point[index] += 1j * step
        return cost(point)  # type: ignore[no-any-return]

    chosen = np.arange(len(theta)) if indices is None else np.asarray(indices)
    return complex_quotients(neighbourhood, measure_noise(neighbourhood), evaluate, chosen)


def tanh_slope(theta: Array) -> Array:
    """Gradient of Σ tanh(A·θ)."""
    return np.asarray(MATRIX.T @ (1.0 / np.cosh(MATRIX @ theta) ** 2))


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_exact(offset: float) -> None:
    """To the last digits, also beside an offset, where differences of values have lost nearly all."""
    result = differentiate(lambda t: offset + np.sum(np.tanh(MATRIX @ t)))
    np.testing.assert_allclose(result.values, tanh_slope(THETA), rtol=1e-13, atol=1e-14)
    assert result.finite.all()
    assert result.proven < (1e-9 if offset == 0.0 else 1e-1)
    assert result.evaluations > 20


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1e5])
def test_sizes(size: float) -> None:
    """Steps follow the parameters."""
    theta = size * THETA
    result = differentiate(lambda t: np.sum(np.exp(MATRIX @ t / size / 10.0)), theta)
    exact = MATRIX.T @ np.exp(MATRIX @ THETA / 10.0) / size / 10.0
    np.testing.assert_allclose(result.values, exact, rtol=1e-12)


def test_zeros() -> None:
    result = differentiate(lambda t: np.sum(np.exp(MATRIX @ t)), np.zeros(20))
    np.testing.assert_allclose(result.values, MATRIX.sum(axis=0), rtol=1e-12, atol=1e-13)


def test_some_parameters() -> None:
    """In the order in which they were asked for; the others need not be analytic."""
    result = differentiate(lambda t: np.sum(np.tanh(MATRIX @ t)) + np.abs(t[0]), indices=[7, 3])
    np.testing.assert_allclose(result.values, tanh_slope(THETA)[[7, 3]], rtol=1e-13)


def test_single_precision() -> None:
    """Computed in complex64, with its rounding."""
    matrix = MATRIX.astype(np.float32)

    def cost(theta: Any) -> Any:
        kind = np.complex64 if np.iscomplexobj(theta) else np.float32
        return np.sum(np.tanh(matrix @ theta.astype(kind)))

    result = differentiate(cost)
    np.testing.assert_allclose(result.values, tanh_slope(THETA), rtol=1e-3, atol=1e-5)


BREAKERS: list[tuple[str, Callable[[Any], Any]]] = [
    ("abs", lambda t: np.sum(np.abs(MATRIX @ t))),
    ("norm", lambda t: np.linalg.norm(MATRIX @ t)),
    ("real part", lambda t: np.sum(np.tanh((MATRIX @ t).real))),
    ("conjugate", lambda t: np.vdot(t, MATRIX @ t)),
    ("penalty of one parameter", lambda t: np.sum(np.tanh(MATRIX @ t)) + 1e-4 * np.abs(t[7])),
    ("maximum of sizes", lambda t: np.max(np.abs(t)) + np.sum(t)),
    ("clipped", lambda t: np.sum(np.tanh(MATRIX @ t)) * np.abs(t).clip(0.0, 10.0).sum()),
]


@pytest.mark.parametrize("cost", [case[1] for case in BREAKERS], ids=[case[0] for case in BREAKERS])
def test_not_analytic(cost: Callable[[Any], Any]) -> None:
    with pytest.raises(OracleError, match="not analytic"):
        differentiate(cost)


def test_each_block_is_looked_at() -> None:
    """A wrong block of tiny derivatives is not hidden by a large one."""

    def cost(theta: Any) -> Any:
        return np.sum(np.tanh(MATRIX @ theta[:20])) + 1e-4 * np.sum(np.abs(theta[20:]))

    theta = np.concatenate([THETA, np.full(5, 0.1)])
    with pytest.raises(OracleError, match="parameters 20 to 24"):
        differentiate(cost, theta, sizes=(20, 5))


def test_relu_is_analytic_off_its_kink() -> None:
    """Complex numbers compare by their real parts first, so that NumPy's maximum with 0 is right here."""
    result = differentiate(lambda t: np.sum(np.maximum(MATRIX @ t, 0.0)))
    np.testing.assert_allclose(result.values, MATRIX.T @ (MATRIX @ THETA > 0.0), rtol=1e-12, atol=1e-13)


def test_kink_at_the_point() -> None:
    """One of the two slopes is no disagreement."""
    theta = THETA.copy()
    theta[4] = 0.0
    result = differentiate(lambda t: np.sum(t**2) + np.maximum(t[4], 0.0), theta)
    assert result.values[4] in (0.0, 1.0)


def test_not_finite_is_flagged() -> None:
    def cost(theta: Any) -> Any:
        return np.sum(theta**2) + (np.nan if np.imag(theta[2]) else 0.0)

    result = differentiate(cost)
    assert result.finite.tolist() == [index != 2 for index in range(20)]
    assert np.isnan(result.values[2])
    np.testing.assert_allclose(np.delete(result.values, 2), np.delete(2.0 * THETA, 2), rtol=1e-13)


def test_real_costs_are_refused() -> None:
    def cost(theta: Any) -> Any:
        if np.iscomplexobj(theta):
            raise TypeError("loop of ufunc does not support complex numbers")
        return theta.sum()

    with pytest.raises(InputError, match="accepts complex parameters"):
        differentiate(cost)
