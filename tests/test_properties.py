"""What holds for whatever is checked: structures, types, strides, shapes and settings are drawn."""

import copy
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

import gradsweep
from gradsweep import Report, check

# The same examples in each run: what fails is to fail again.
DRAWN = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

# Smooth functions of one number, each with its derivative.
SMOOTH: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tanh": (np.tanh, lambda x: 1.0 / np.cosh(x) ** 2),
    "square": (lambda x: x * x, lambda x: 2.0 * x),
    "exp": (lambda x: np.exp(0.5 * x), lambda x: 0.5 * np.exp(0.5 * x)),
    "sine": (np.sin, np.cos),
    "softplus": (lambda x: np.logaddexp(0.0, x), lambda x: 1.0 / (1.0 + np.exp(-x))),
}


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """An array of up to three dimensions, of any real type and strides, perhaps read-only; or a number."""
    shape = draw(st.lists(st.integers(1, 4), max_size=3))
    kind = draw(st.sampled_from(["float64", "float64", "float32", "int64"]))
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = generator.normal(size=[2 * size for size in shape])
    whole = np.rint(3.0 * values).astype(kind) if kind == "int64" else values.astype(kind)
    layout = draw(st.sampled_from(["C", "F", "strided", "reversed"]))
    if layout == "reversed":
        array = whole[tuple(slice(None, None, -2) for _ in shape)]
    elif layout == "strided":
        array = whole[tuple(slice(None, None, 2) for _ in shape)]
    else:
        array = np.array(whole[tuple(slice(size) for size in shape)], order=layout)  # type: ignore[call-overload]
    if not shape:
        return float(array) if draw(st.booleans()) else array
    if draw(st.booleans()):
        array.flags.writeable = False
    return array


def structures() -> st.SearchStrategy[Any]:
    """Arrays in dicts, lists and tuples, nested."""

    def within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        names = st.sampled_from(["W", "b", "layer", "2", "a.b", "ü"])
        return st.one_of(
            st.dictionaries(names, inner, min_size=1, max_size=3),
            st.lists(inner, min_size=1, max_size=3),
            st.tuples(inner, inner),
        )

    return st.recursive(arrays(), within, max_leaves=5)


def leaves_of(value: Any) -> list[Any]:
    """Arrays and numbers of a structure, in order."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves_of(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves_of(item)]
    return [value]


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The same structure of what a function makes of each array."""
    if isinstance(value, dict):
        return {name: mapped(function, item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mapped(function, item) for item in value)
    return function(np.asarray(value, dtype=np.float64))


def cost_of(name: str) -> Callable[[Any], Any]:
    """Sum of a smooth function over all parameters, each counted by another weight."""

    def cost(params: Any) -> Any:
        return sum(np.sum((1.0 + number) * SMOOTH[name][0](leaf)) for number, leaf in enumerate(leaves_of(params)))

    return cost


def gradient_of(name: str, params: Any) -> Any:
    """Its gradient."""
    number = iter(range(1000))
    return mapped(lambda leaf: (1.0 + next(number)) * SMOOTH[name][1](leaf), params)


def snapshot(value: Any) -> list[tuple[bytes, Any]]:
    """All that may be changed of a structure."""
    return [(np.asarray(leaf).tobytes(), getattr(leaf, "flags", None) and leaf.flags.writeable) for leaf in leaves_of(value)]


def run(cost: Any, params: Any, gradient: Any, **options: Any) -> Report:
    """A check, after which nothing that was given is changed."""
    before = snapshot(params), snapshot(gradient)
    report = check(cost, params, gradient, **options)
    assert (snapshot(params), snapshot(gradient)) == before
    return report


KINDS = {"difference arrays": lambda cost: cost, "plain": gradsweep.plain}


@pytest.mark.parametrize("kind", KINDS)
class TestAnyStructure:
    """Parameters of any nesting, type and strides."""

    @DRAWN
    @given(params=structures(), name=st.sampled_from(sorted(SMOOTH)), scheme=st.sampled_from(["central", "five-point"]))
    def test_right_gradient_is_never_called_wrong(self, kind: str, params: Any, name: str, scheme: str) -> None:
        """Of a smooth function it passes, or what is unclear is said to be."""
        report = run(KINDS[kind](cost_of(name)), params, gradient_of(name, params), scheme=scheme)
        assert report.verdict != "fail", str(report)
        if kind == "difference arrays" and scheme == "central":
            assert report.verdict == "pass" or any(block.vacuous for block in report.blocks), str(report)

    @DRAWN
    @given(params=structures(), name=st.sampled_from(sorted(SMOOTH)), data=st.data())
    def test_wrong_entry_never_passes(self, kind: str, params: Any, name: str, data: st.DataObject) -> None:
        """One entry that is off by a hundredth of the largest of its block."""
        gradient = gradient_of(name, params)
        blocks = [np.array(leaf, order="C") for leaf in leaves_of(gradient)]  # whose flat view is written to
        chosen = data.draw(st.integers(0, len(blocks) - 1))
        place = data.draw(st.integers(0, blocks[chosen].size - 1))
        size = float(np.max(np.abs(blocks[chosen])))
        assume(size > 1e-3)
        blocks[chosen].reshape(-1)[place] += 0.01 * size
        fresh = iter(blocks)
        report = run(KINDS[kind](cost_of(name)), params, mapped(lambda leaf: next(fresh), gradient))
        assert report.verdict == "fail", str(report)
        assert [block.differing > 0 for block in report.blocks].count(True) == 1

    @DRAWN
    @given(
        params=structures(), name=st.sampled_from(sorted(SMOOTH)), data=st.data(), bad=st.sampled_from([np.nan, np.inf, -np.inf])
    )
    def test_what_is_not_finite_never_passes(self, kind: str, params: Any, name: str, data: st.DataObject, bad: float) -> None:
        """Wherever it is in the gradient, and however large the tolerance."""
        gradient = gradient_of(name, params)
        blocks = [np.array(leaf, order="C") for leaf in leaves_of(gradient)]  # whose flat view is written to
        chosen = data.draw(st.integers(0, len(blocks) - 1))
        blocks[chosen].reshape(-1)[data.draw(st.integers(0, blocks[chosen].size - 1))] = bad
        fresh = iter(blocks)
        report = run(KINDS[kind](cost_of(name)), params, mapped(lambda leaf: next(fresh), gradient), tolerance=0.5)
        assert report.verdict != "pass", str(report)

    @DRAWN
    @given(
        params=st.dictionaries(st.sampled_from("abcde"), arrays(), min_size=2),
        name=st.sampled_from(sorted(SMOOTH)),
        seed=st.integers(0, 99),
    )
    def test_order_of_blocks_does_not_matter(self, kind: str, params: dict[str, Any], name: str, seed: int) -> None:
        """The parameters of a dict in another order: the same gradient by name, to the bit where nothing is subtracted."""
        turned = dict(reversed(params.items()))
        one, other = (
            gradsweep.numerical_gradient(KINDS[kind](lambda p: cost_of(name)({key: p[key] for key in params})), each, seed=seed)
            for each in (params, turned)
        )
        relative, absolute = (1e-6, 1e-8) if kind == "plain" else (1e-13, 1e-300)
        for key in params:
            for mine, theirs in zip(leaves_of(one[key]), leaves_of(other[key]), strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=relative, atol=absolute)


class TestNetworks:
    """Dense networks of any shape and activations."""

    @DRAWN
    @given(
        layers=st.lists(st.integers(1, 6), min_size=2, max_size=4),
        hidden=st.sampled_from(["tanh", "sigmoid", "softplus", "relu", "gelu", "silu"]),
        output=st.sampled_from(["sigmoid", "softmax", "identity"]),
        examples=st.integers(1, 5),
        mode=st.sampled_from(["auto", "sweep", "batched", "neurons", "screen"]),
        kind=st.sampled_from(["float64", "float32"]),
        l2=st.sampled_from([0.0, 0.3]),
        seed=st.integers(0, 2**16),
    )
    def test_own_gradient_is_right(
        self, layers: list[int], hidden: str, output: str, examples: int, mode: str, kind: str, l2: float, seed: int
    ) -> None:
        """The backward pass of the package itself, in all modes."""
        loss = {"sigmoid": "binary_cross_entropy", "softmax": "softmax_cross_entropy", "identity": "squared_error"}[output]
        network = gradsweep.Network(layers, hidden=hidden, output=output, loss=loss, l2=l2)
        generator = np.random.default_rng(seed)
        params = {name: generator.normal(size=value.shape).astype(kind) for name, value in network.initialize(0).items()}
        X = generator.normal(size=(layers[0], examples))
        Y = np.eye(layers[-1])[:, generator.integers(0, layers[-1], examples)]
        gradient = network.gradient(params, X, Y)
        report = run(network.cost(X, Y), params, gradient, mode=mode, seed=seed)
        assert report.verdict != "fail", str(report)
        broken = {name: np.array(value) for name, value in gradient.items()}
        largest = max(broken, key=lambda name: float(np.max(np.abs(broken[name]))))
        assume(float(np.max(np.abs(broken[largest]))) > 1e-6)
        broken[largest] *= 1.05
        assert run(network.cost(X, Y), params, broken, mode=mode, seed=seed).verdict == "fail"


@settings(DRAWN, max_examples=5)
@given(seed=st.integers(0, 99), jobs=st.sampled_from([2, 3]))
def test_number_of_workers_does_not_matter(seed: int, jobs: int) -> None:
    """To the bit, of kernels in threads and of compiled functions."""
    network = gradsweep.Network([60, 50, 40, 1], hidden="relu")
    params = network.initialize(seed)
    X = np.random.default_rng(seed).random((60, 30))
    Y = np.ones((1, 30))
    gradient = network.gradient(params, X, Y)
    reports = [check(network.cost(X, Y), params, gradient, mode="sweep", jobs=each) for each in (1, jobs)]
    for name in reports[0].numeric:
        np.testing.assert_array_equal(reports[0].numeric[name], reports[1].numeric[name], strict=True)
    assert copy.copy(reports[0].blocks) == reports[1].blocks
