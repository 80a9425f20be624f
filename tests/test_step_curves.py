"""Quotients of single entries at many steps, and what a report keeps of the two gradients."""

import pickle
from typing import Any

import numpy as np
import pytest

import gradsweep
from gradsweep import InputError, Network, check
from gradsweep._report import Report


def wrong_network() -> tuple[dict[str, Any], dict[str, Any], Report]:
    """Parameters, a gradient whose dW1 is too large by a thousandth, and the report."""
    network = Network([20, 6, 1])
    rng = np.random.default_rng(0)
    params = {name: rng.normal(0.0, 0.3, value.shape) for name, value in network.initialize(0).items()}
    X, Y = rng.normal(size=(20, 7)), (rng.random((1, 7)) < 0.5).astype(np.float64)
    gradient = {name: np.array(value) for name, value in network.gradient(params, X, Y).items()}
    gradient["dW1"] *= 1.001
    return params, gradient, check(network.cost(X, Y), params, gradient)


class TestStepCurves:
    """Rounding on one side, truncation on the other."""

    def test_network(self) -> None:
        """Truncation falls as ε², rounding rises as 1/ε, and both are what they are said to be."""
        _, _, report = wrong_network()
        curves = report.step_curves(3)
        assert [curve.block for curve in curves] == ["W1", "W1", "W1"]
        for curve in curves:
            errors = np.abs(curve.quotients - curve.numeric)
            large = curve.steps > 1e-4
            slope = np.polyfit(np.log(curve.steps[large]), np.log(errors[large]), 1)[0]
            assert slope == pytest.approx(curve.order, abs=0.05)
            small = (curve.steps < 1e-8) & (curve.steps > 1e-12)
            assert (errors[small] < 10.0 * curve.noise / curve.steps[small]).all()
            assert errors[small].max() > 0.1 * curve.noise / curve.steps[small].min()
            # The gap between a wrong gradient and its quotient is the same at all steps in between.
            middle = (curve.steps < 1e-4) & (curve.steps > 1e-8)
            gaps = np.abs(curve.quotients - curve.analytic)[middle]
            np.testing.assert_allclose(gaps, 1e-3 * abs(curve.numeric), rtol=1e-2)

    def test_worst_of_each_block_comes_first(self) -> None:
        """Three entries of one block would say less than one of each."""
        rng = np.random.default_rng(1)
        params = {"a": rng.normal(size=5), "b": rng.normal(size=4), "c": rng.normal(size=3)}
        gradient = {name: 3.0 * value**2 for name, value in params.items()}
        gradient["a"] *= 2.0
        gradient["c"] *= 1.5
        report = check(lambda p: sum(np.sum(value**3) for value in p.values()), params, gradient)
        assert [curve.block for curve in report.step_curves(3)] == ["a", "c", "a"]
        assert report.step_curves(0) == ()

    def test_plain_function(self) -> None:
        """Of a cost whose values alone are to be had, the same values."""
        report = check(gradsweep.plain(lambda w: float(np.sum(np.exp(w)))), np.array([0.5, 1.5]), np.exp([0.5, 1.5]))
        (curve,) = report.step_curves(1)
        assert np.nanmin(np.abs(curve.quotients - np.exp(1.5 if curve.index == (1,) else 0.5))) < 1e-8

    def test_scheme_of_first_order(self) -> None:
        """The curve is that of the scheme that was checked with."""
        report = check(lambda w: np.sum(w**3), np.array([1.0, 2.0]), np.array([3.0, 12.0]), scheme="forward")
        (curve,) = report.step_curves(1)
        errors = np.abs(curve.quotients - curve.numeric)[curve.steps > 1e-5]
        assert curve.order == 1
        assert np.polyfit(np.log(curve.steps[: len(errors)]), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.1)

    def test_cost_that_ends(self) -> None:
        """Where the cost is not defined there is no quotient."""

        def cost(w: Any) -> Any:
            if np.any(w <= 0.0):
                raise ValueError("positive numbers only")
            return np.sum(np.log(w))

        (curve,) = check(cost, np.array([1e-3]), np.array([1e3])).step_curves(1)
        assert np.isnan(curve.quotients[curve.steps > 2e-3]).all()
        assert np.isfinite(curve.quotients[curve.steps < 5e-4]).all()

    def test_steps_are_those_that_are_taken(self) -> None:
        """Beside 1e6 a step of 1e-9 cannot be taken exactly, and one of 1e-12 not at all."""
        (curve,) = check(lambda w: np.sum(w**2), np.array([1e6]), np.array([2e6])).step_curves(1)
        assert curve.steps.min() >= np.spacing(1e6)
        np.testing.assert_array_equal((1e6 + curve.steps) - 1e6, curve.steps)

    def test_cost_has_changed(self) -> None:
        """Curves of another cost than the one that was checked would mislead."""
        params, _, report = wrong_network()
        params["W1"][0, 0] += 1.0
        with pytest.raises(InputError, match="has been changed since"):
            report.step_curves()
        data = np.array([1.0, 2.0])
        report = check(lambda w: np.sum(w * data), np.ones(2), data.copy())
        data[0] = 7.0
        with pytest.raises(InputError, match=r"was 3\.0 during the check and is 9\.0 now"):
            report.step_curves()

    def test_pickled(self) -> None:
        """A report can be sent to another process, without its cost."""
        _, _, report = wrong_network()
        again = pickle.loads(pickle.dumps(report))
        assert str(again) == str(report)
        np.testing.assert_array_equal(again.analytic["W1"], report.analytic["W1"])
        with pytest.raises(InputError, match="has no cost"):
            again.step_curves()
        assert report.step_curves(1)

    def test_screen(self) -> None:
        """The worst entries of a screen have curves, too."""
        w = np.linspace(1.0, 2.0, 50)
        gradient = 3.0 * w**2
        gradient[17] *= 1.01
        (curve,) = check(lambda w: np.sum(w**3), w, gradient, mode="screen").step_curves(1)
        assert curve.index == (17,)


class TestAnalytic:
    """The gradient under test, in the report."""

    def test_by_name(self) -> None:
        """By the names of the parameters, whatever the caller's are; read-only."""
        _, gradient, report = wrong_network()
        assert list(report.analytic) == list(report.numeric) == ["W1", "b1", "W2", "b2"]
        for name, block in report.analytic.items():
            np.testing.assert_array_equal(block, gradient[f"d{name}"])
            assert not block.flags.writeable
        assert gradient["dW1"].flags.writeable

    def test_changed_since(self) -> None:
        """Arrays of the caller's are not copied for a network; that they are others now is seen."""
        for change in (-1.0, 1.0 + 1e-6):
            _, gradient, report = wrong_network()
            gradient["dW1"] *= change
            with pytest.raises(InputError, match="gradient of W1 has been changed since the check"):
                report.analytic["W1"]
            assert report.analytic["b1"].shape == (6, 1)

    def test_function(self) -> None:
        """Of a function it is a copy."""
        w = np.array([1.0, 2.0])
        gradient = {"x": 3 * w**2, "y": 1.0}
        report = check(lambda p: np.sum(p["x"] ** 3) + p["y"], {"x": w, "y": 2.0}, gradient)
        gradient["x"][:] = 0.0  # type: ignore[index]
        np.testing.assert_array_equal(report.analytic["x"], [3.0, 12.0])
        assert report.analytic["y"].shape == ()

    def test_not_finite(self) -> None:
        """A NaN does not make it look changed."""
        params, gradient, _ = wrong_network()
        network = Network([20, 6, 1])
        gradient["dW1"][0, 0] = np.nan
        X, Y = np.ones((20, 2)), np.ones((1, 2))
        report = check(network.cost(X, Y), params, gradient)
        assert np.isnan(report.analytic["W1"][0, 0])
