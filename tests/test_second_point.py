"""The second point, displaced at random: mistakes that do not show at the first one, and what must not count as one."""

import math
from typing import Any

import numpy as np
import pytest

import gradsweep
from gradsweep._second_point import displaced_tree
from gradsweep._trees import read_tree
from gradsweep._verdict import Status

NETWORK = gradsweep.Network([5, 4, 3, 1], hidden="tanh")
DRAWN = np.random.default_rng(0)
X, Y = DRAWN.standard_normal((5, 6)), (DRAWN.random((1, 6)) < 0.5).astype(float)
WEIGHTS = DRAWN.standard_normal((3, 5))
TARGETS = DRAWN.standard_normal((3, 6))


def at_zero_biases() -> dict[str, Any]:
    return {name: value if name[0] == "W" else np.zeros_like(value) for name, value in NETWORK.initialize(seed=0).items()}


def right(params: Any) -> Any:
    return NETWORK.gradient(params, X, Y)


def decaying(params: Any) -> Any:
    """Weight decay that goes to the biases, too, of which the cost knows nothing: no mistake where they are 0."""
    return {**right(params), "db2": right(params)["db2"] + 0.1 * params["b2"]}


def cost_of_biases(params: Any) -> Any:
    return 0.5 * np.sum((params["W"] @ X + params["b"] - TARGETS) ** 2)


def gradient_of_biases(params: Any) -> Any:
    error = params["W"] @ X + params["b"] - TARGETS
    return {"W": error @ X.T, "b": error.sum(axis=1, keepdims=True)}


def blocks_of(displaced: Any, status: Status) -> set[str]:
    return {block.name for block in displaced.blocks if block.status is status}


class TestNetwork:
    def test_a_mistake_that_zero_biases_hide(self) -> None:
        report = gradsweep.check(NETWORK.cost(X, Y), at_zero_biases(), decaying)
        assert report.verdict == "fail"
        assert {block.status for block in report.blocks} == {Status.AGREES}
        assert blocks_of(report.displaced, Status.WRONG) == {"b2"}
        assert "second point" in str(report).splitlines()[0]

    def test_it_is_not_looked_for_where_the_gradient_is_no_function(self) -> None:
        params = at_zero_biases()
        report = gradsweep.check(NETWORK.cost(X, Y), params, decaying(params))
        assert report.verdict == "pass"
        assert report.displaced is None

    def test_a_right_gradient_is_right_there_too(self) -> None:
        report = gradsweep.check(NETWORK.cost(X, Y), at_zero_biases(), right)
        assert report.verdict == "pass"
        assert report.displaced is not None
        assert blocks_of(report.displaced, Status.AGREES) == {"W1", "b1", "W2", "b2", "W3", "b3"}

    def test_a_gradient_that_ignores_its_argument_has_no_second_point(self) -> None:
        params = at_zero_biases()
        known = right(params)
        report = gradsweep.check(NETWORK.cost(X, Y), params, lambda _: known)
        assert report.verdict == "pass"
        assert report.displaced is None

    def test_a_gradient_that_raises_elsewhere_is_noted(self) -> None:
        params = at_zero_biases()

        def gradient(given: Any) -> Any:
            assert not given["b1"].any(), "biases are not 0"
            return right(given)

        report = gradsweep.check(NETWORK.cost(X, Y), params, gradient)
        assert report.verdict == "pass"
        assert report.displaced is None
        (note,) = report.notes
        assert "AssertionError" in note
        assert "biases are not 0" in note
        assert "second point" in str(report)

    def test_a_gradient_of_another_shape_elsewhere_is_an_error(self) -> None:
        def gradient(given: Any) -> Any:
            found = right(given)
            return {**found, "db1": found["db1"][:1]} if given["b1"].any() else found

        with pytest.raises(gradsweep.InputError, match=r"shape \(1, 1\).*second point"):
            gradsweep.check(NETWORK.cost(X, Y), at_zero_biases(), gradient)

    def test_float32_stays_float32(self) -> None:
        params = {name: value.astype(np.float32) for name, value in at_zero_biases().items()}
        seen = []

        def gradient(given: Any) -> Any:
            seen.append({value.dtype for value in given.values()})
            return right(given)

        assert gradsweep.check(NETWORK.cost(X, Y), params, gradient).verdict == "pass"
        assert seen == [{np.dtype(np.float32)}] * 2


class TestFunction:
    def params(self) -> dict[str, Any]:
        return {"W": WEIGHTS.copy(), "b": np.zeros((3, 1))}

    def test_a_mistake_that_zero_biases_hide(self) -> None:
        def wrong(params: Any) -> Any:
            found = gradient_of_biases(params)
            return {**found, "b": found["b"] + 0.01 * params["b"]}

        report = gradsweep.check(cost_of_biases, self.params(), wrong)
        assert report.verdict == "fail"
        assert {block.status for block in report.blocks} == {Status.AGREES}
        assert blocks_of(report.displaced, Status.WRONG) == {"b"}

    def test_a_gradient_that_ignores_its_argument_has_no_second_point(self) -> None:
        known = gradient_of_biases(self.params())
        report = gradsweep.check(cost_of_biases, self.params(), lambda _: known)
        assert report.verdict == "pass"
        assert report.displaced is None

    def test_where_the_cost_is_not_finite_nearby_it_is_closer(self) -> None:
        # log(x − 0.97) at 1: a displacement by a quarter leaves its domain in one of two cases.
        def cost(x: Any) -> Any:
            with np.errstate(all="ignore"):
                return np.sum(np.log(x - 0.97))

        report = gradsweep.check(cost, np.ones(8), lambda x: 1.0 / (x - 0.97))
        assert report.verdict == "pass"
        assert report.displaced is not None
        assert report.displaced.size < 0.25

    def test_none_where_the_cost_is_finite_nowhere_else(self) -> None:
        def cost(x: Any) -> Any:
            with np.errstate(all="ignore"):
                return np.sum(np.log(x - (1.0 - 1e-5)))

        report = gradsweep.check(cost, np.ones(40), lambda x: 1.0 / (x - (1.0 - 1e-5)))
        assert report.verdict == "pass"
        assert report.displaced is None


@pytest.mark.parametrize("size", [0.25, 0.004])
def test_every_entry_is_moved_by_no_more_than_the_size_of_its_block(size: float) -> None:
    tree = read_tree({"W": np.full((20, 20), 3.0), "b": np.zeros(50), "empty": np.empty((0, 3)), "scale": 7.0})
    moved = displaced_tree(tree, size, np.random.default_rng(0))
    gap = np.abs(moved.values - tree.values)
    for leaf, scale in zip(tree.blocks, (3.0, 1.0, 1.0, 7.0), strict=True):
        own = gap[leaf.start : leaf.stop]
        assert ((own >= 0.5 * size * scale) & (own <= size * scale * (1.0 + 1e-12))).all()
    assert not moved.values.flags.writeable


@pytest.mark.parametrize("size", [5e-320, 1e-170, 1.0, 1e160, 1e307])
def test_displacement_near_the_ends_of_the_number_range(size: float) -> None:
    """In proportion to the parameters, also where their squares underflow or overflow."""
    before = read_tree([size * np.array([1.0, -3.0]), np.zeros(2)])
    moved = displaced_tree(before, 0.25, np.random.default_rng(0)).values - before.values
    assert np.isfinite(moved).all()
    parts = np.abs(moved[:2]) / (size * math.sqrt(5.0))
    assert ((parts > 0.12) & (parts < 0.26)).all()
    np.testing.assert_array_less(np.abs(moved[2:]), 0.26 * min(size * math.sqrt(5.0), 1.0))
