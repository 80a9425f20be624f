"""Tests of the verdict: right gradients pass, planted bugs fail in the right block, and what cannot be told is not claimed."""

import copy
import dataclasses
import itertools
import math
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

import gradsweep
from gradsweep import Network, OracleError, Report

Array: TypeAlias = NDArray[Any]
Gradient: TypeAlias = dict[str, Array]

FLOAT32 = float(np.finfo(np.float32).eps)


# ---- backpropagation as people write it ----------------------------------------------------------------------------------


def activate(name: str, Z: Array) -> Array:
    """Activation in the type of its argument.

    Parameters
    ----------
    name : str
        ``"tanh"``, ``"relu"`` or ``"sigmoid"``.
    Z : array
        Pre-activations.

    Returns
    -------
    array
        Activations.
    """
    if name == "tanh":
        return np.tanh(Z)
    if name == "relu":
        return np.maximum(Z, 0)
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-Z))


def slope(name: str, A: Array, Z: Array) -> Array:
    """Derivative of an activation from its value, in the textbook's manner: exactly 0 once A is rounded to 1.

    Parameters
    ----------
    name : str
        ``"tanh"``, ``"relu"`` or ``"sigmoid"``.
    A, Z : arrays
        Activations and pre-activations.

    Returns
    -------
    array
        f'(Z).
    """
    if name == "relu":
        return np.asarray(Z > 0, dtype=Z.dtype)
    return np.asarray(1 - A**2 if name == "tanh" else A * (1 - A))


@dataclasses.dataclass(frozen=True)
class Case:
    """A network at a point, with data.

    Attributes
    ----------
    layers : list of int
        Sizes.
    hidden : list of str
        Activations of the hidden layers.
    params : dict of str to array
        W1, b1, W2, …
    X, Y : arrays
        Data.
    divides : bool
        Whether the backward pass starts with −(y/AL − (1 − y)/(1 − AL)) instead of AL − y.
    """

    layers: list[int]
    hidden: list[str]
    params: dict[str, Array]
    X: Array
    Y: Array
    divides: bool = False

    @property
    def examples(self) -> int:
        """Number of examples."""
        return int(self.X.shape[1])

    @property
    def kind(self) -> str:
        """The hidden activation, or whether there are several or none."""
        return self.hidden[0] if len(set(self.hidden)) == 1 else ("mixed" if self.hidden else "none")

    def check(self, gradient: Mapping[str, Any], **options: Any) -> Report:
        """Check a gradient.

        Parameters
        ----------
        gradient : mapping of str to array
            The gradient.
        **options : Any
            As of ``check``.

        Returns
        -------
        Report
            What it says.
        """
        return gradsweep.check(Network(self.layers, self.hidden).cost(self.X, self.Y), self.params, gradient, **options)

    def forward(self) -> tuple[list[Array], list[Array]]:
        """Forward pass.

        Returns
        -------
        A, Z : lists of arrays
            A[0] is X, A[l] and Z[l - 1] belong to layer l.
        """
        A, Z = [self.X], list[Array]()
        names = [*self.hidden, "sigmoid"]
        for number, name in enumerate(names, start=1):
            Z.append(self.params[f"W{number}"] @ A[-1] + self.params[f"b{number}"])
            A.append(activate(name, Z[-1]))
        return A, Z

    def backward(
        self,
        derivative: Callable[[int, Array, Array], Array] | None = None,
        weights: Callable[[int], Array] | None = None,
        inputs: Callable[[int, list[Array], list[Array]], Array] | None = None,
    ) -> Gradient:
        """Backpropagation, with places where a bug can be planted.

        Parameters
        ----------
        derivative : callable, optional
            f' of layer l, from l, A and Z.
        weights : callable, optional
            Matrix that takes the errors of layer l back to layer l − 1.
        inputs : callable, optional
            What the errors of layer l are multiplied with, from l and all A and Z.

        Returns
        -------
        dict of str to array
            dW1, db1, …
        """
        A, Z = self.forward()
        AL, m = A[-1], self.examples
        # Where AL is rounded to 0 or 1 the division gives NaN, and the gradient is wrong indeed: nobody's right gradient.
        if self.divides and np.finfo(AL.dtype).tiny < AL.min() and AL.max() < 1:
            dZ = -(np.divide(self.Y, AL) - np.divide(1 - self.Y, 1 - AL)) * AL * (1 - AL)
        else:
            dZ = AL - self.Y
        result: Gradient = {}
        for number in range(len(Z), 0, -1):
            entering = A[number - 1] if inputs is None else inputs(number, A, Z)
            result[f"dW{number}"] = dZ @ entering.T / m
            result[f"db{number}"] = dZ.sum(axis=1, keepdims=True) / m
            if number > 1:
                W = self.params[f"W{number}"] if weights is None else weights(number)
                name, before = self.hidden[number - 2], (A[number - 1], Z[number - 2])
                bend = slope(name, *before) if derivative is None else derivative(number - 1, *before)
                dZ = W.T @ dZ * bend
        return result

    def narrow(self, dtype: type = np.float32) -> "Case":
        """The same in another type: a forward and backward pass that never sees float64.

        Parameters
        ----------
        dtype : type, default: float32
            The type.

        Returns
        -------
        Case
            All arrays in it.
        """
        params: dict[str, Array] = {name: value.astype(dtype) for name, value in self.params.items()}
        return Case(self.layers, self.hidden, params, self.X.astype(dtype), self.Y.astype(dtype), self.divides)


def draw_biases(generator: np.random.Generator, units: int, scale: float, zero: bool) -> Array:
    """Biases, some of them so low that a unit is dead.

    Parameters
    ----------
    generator : Generator
        Where they come from.
    units : int
        How many.
    scale : float
        Their size.
    zero : bool
        Whether all are 0, but for the dead units.

    Returns
    -------
    array of shape (units, 1)
        The biases.
    """
    biases = np.zeros((units, 1)) if zero else generator.standard_normal((units, 1)) * scale
    if generator.random() < 0.2:
        biases[generator.random(biases.shape) < 0.4] -= 10 ** generator.uniform(0, 3)
    return biases


def harsh(seed: int) -> Case:
    """A case from a wide range: 1 to 5 layers, inputs of 1e-3 to 1e3, weights of 0.01 to 30, dead and saturated units.

    Parameters
    ----------
    seed : int
        Which one.

    Returns
    -------
    Case
        At least one example without a zero column, so that no unit is exactly at a kink by accident.
    """
    generator = np.random.default_rng(seed)
    depth = int(generator.integers(1, 6))
    layers = [int(generator.integers(1, 13)), *generator.integers(1, 9, depth - 1).tolist(), int(generator.integers(1, 4))]
    names = ["tanh", "relu", "sigmoid"]
    kind = [*names, "mixed"][generator.integers(4)]
    hidden = [str(generator.choice(names)) if kind == "mixed" else kind for _ in range(depth - 1)]
    X = generator.standard_normal((layers[0], int(generator.integers(1, 8)))) * 10 ** generator.uniform(-3, 3)
    if generator.random() < 0.2:
        X[1:][generator.random(X[1:].shape) < 0.5] = 0
    scale = 10 ** generator.uniform(-2, np.log10(30))
    zero_biases = bool(generator.random() < 0.3)
    params: dict[str, Array] = {}
    for number in range(1, depth + 1):
        shape = layers[number], layers[number - 1]
        params[f"W{number}"] = generator.standard_normal(shape) * scale
        if generator.random() < 0.5:
            params[f"W{number}"] /= np.sqrt(layers[number - 1])
        params[f"b{number}"] = draw_biases(generator, layers[number], scale, zero_biases)
    Y = generator.random((layers[-1], X.shape[1]))
    if generator.random() < 0.7:
        Y = np.rint(Y)
    return Case(layers, hidden, params, X, Y, divides=bool(generator.random() < 0.5))


def gentle(layers: Sequence[int], hidden: str | Sequence[str], examples: int, seed: int = 0) -> Case:
    """A well-scaled case: no unit saturates, no gradient vanishes.

    Parameters
    ----------
    layers : sequence of int
        Sizes.
    hidden : str or sequence of str
        Activation of all hidden layers, or of each.
    examples : int
        Number of examples.
    seed : int, default: 0
        Which one.

    Returns
    -------
    Case
        With hard labels of both kinds.
    """
    generator = np.random.default_rng(seed)
    params: dict[str, Array] = {}
    for number in range(1, len(layers)):
        params[f"W{number}"] = generator.standard_normal((layers[number], layers[number - 1])) / np.sqrt(layers[number - 1])
        params[f"b{number}"] = 0.3 * generator.standard_normal((layers[number], 1))
    names = [hidden] * (len(layers) - 2) if isinstance(hidden, str) else list(hidden)
    X = generator.standard_normal((layers[0], examples))
    Y = np.arange(layers[-1] * examples).reshape(layers[-1], examples) % 2.0
    return Case(list(layers), names, params, X, Y)


def wrong_blocks(report: Report) -> list[str]:
    """Names of the blocks that the report calls wrong.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    list of str
        In order.
    """
    return [block.name for block in report.blocks if block.status.name == "WRONG"]


def assert_only(report: Report, *names: str) -> None:
    """Check that a report fails exactly these blocks, in its data and in its text.

    Parameters
    ----------
    report : Report
        The report.
    *names : str
        The blocks.
    """
    assert report.verdict == "fail"
    assert not report.ok
    assert wrong_blocks(report) == list(names), str(report)
    headline = str(report).splitlines()[0]
    accused = headline.split(";")[0]
    assert set(re.findall(r"\b[Wb]\d+\b", accused)) == set(names)
    assert all(block.differing > 0 for block in report.blocks if block.name in names)
    assert all(block.differing == 0 for block in report.blocks if block.name not in names)
    assert report.worst(1)[0].block in names


@pytest.fixture(scope="module")
def plain() -> Case:
    """Make the case that most bugs are planted in: square layers in the middle, two outputs, seven examples.

    Returns
    -------
    Case
        Never modified.
    """
    return gentle([6, 5, 5, 5, 2], "tanh", 7)


BLOCKS = [f"{kind}{number}" for number in range(1, 5) for kind in "Wb"]


# ---- planted bugs --------------------------------------------------------------------------------------------------------


def test_right_gradients_pass(plain: Case) -> None:
    """Without this every failure below would prove nothing."""
    report = plain.check(plain.backward())
    assert report.verdict == "pass"
    assert report.ok
    assert wrong_blocks(report) == []
    assert report.difference < 1e-13
    assert all(block.difference < 1e-13 and block.vacuous == 0 for block in report.blocks)


class TestBugsInOneBlock:
    """A bug in one block fails that block and no other."""

    @pytest.mark.parametrize("factor", [-1.0, 2.0, 0.5, 1 / 7, 7.0, 0.0, 1 + 1e-6, 1 - 1e-6], ids=lambda f: f"{f:.6g}")
    @pytest.mark.parametrize("name", BLOCKS)
    def test_factor(self, plain: Case, name: str, factor: float) -> None:
        """Wrong sign, a forgotten or doubled half, a mean too many or too few, zero, and a millionth."""
        gradient = plain.backward()
        gradient[f"d{name}"] = gradient[f"d{name}"] * factor
        report = plain.check(gradient)
        assert_only(report, name)
        block = next(block for block in report.blocks if block.name == name)
        assert block.differing == block.size
        # Formula 3 of g against factor·g.
        assert block.difference == pytest.approx(abs(1 - factor) / (1 + abs(factor)), rel=1e-6)

    @pytest.mark.parametrize("name", ["W2", "W3"])
    def test_transposed(self, plain: Case, name: str) -> None:
        """A square block keeps its shape when it is transposed; its diagonal stays right."""
        gradient = plain.backward()
        gradient[f"d{name}"] = gradient[f"d{name}"].T
        report = plain.check(gradient)
        assert_only(report, name)
        assert next(block.differing for block in report.blocks if block.name == name) == 20
        assert all(entry.index[0] != entry.index[1] for entry in report.worst(10))

    @pytest.mark.parametrize("axis", [0, 1])
    def test_reversed_rows_or_columns(self, plain: Case, axis: int) -> None:
        """Entries in the wrong order have the right norm."""
        gradient = plain.backward()
        gradient["dW1"] = np.flip(gradient["dW1"], axis)
        assert_only(plain.check(gradient), "W1")

    @pytest.mark.parametrize(("one", "other"), [("W2", "W3"), ("b1", "b3"), ("b2", "b3")])
    def test_swapped_blocks(self, plain: Case, one: str, other: str) -> None:
        """Two blocks of equal shape returned in each other's place."""
        gradient = plain.backward()
        gradient[f"d{one}"], gradient[f"d{other}"] = gradient[f"d{other}"], gradient[f"d{one}"]
        assert_only(plain.check(gradient), one, other)

    @pytest.mark.parametrize("name", ["b1", "b2", "b3", "b4"])
    @pytest.mark.parametrize(
        "summed",
        [
            lambda dZ: np.full((len(dZ), 1), dZ.sum() / dZ.shape[1]),
            lambda dZ: np.full((len(dZ), 1), dZ.mean()),
            lambda dZ: dZ.sum(axis=1, keepdims=True),
            lambda dZ: dZ[:, :1],
            lambda dZ: dZ[:, 1:].sum(axis=1, keepdims=True) / dZ.shape[1],
        ],
        ids=["over all", "mean over all", "no mean", "first example", "an example short"],
    )
    def test_bias_summed_wrongly(self, plain: Case, name: str, summed: Callable[[Array], Array]) -> None:
        """The usual slips in the sum over examples: the weights beside it are right."""
        gradient = plain.backward()
        gradient[f"d{name}"] = summed(errors_of(plain, int(name[1:])))
        assert_only(plain.check(gradient), name)

    @pytest.mark.parametrize("number", [2, 3, 4])
    def test_inputs_before_the_activation(self, plain: Case, number: int) -> None:
        """The weight's gradient formed with Z where it should be A."""

        def inputs(layer: int, A: list[Array], Z: list[Array]) -> Array:
            return Z[layer - 2] if layer == number else A[layer - 1]

        assert_only(plain.check(plain.backward(inputs=inputs)), f"W{number}")

    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    def test_an_example_is_missing(self, plain: Case, number: int) -> None:
        """A term of the sum over examples is lost in one layer's weights."""
        dZ, A = errors_of(plain, number), plain.forward()[0][number - 1]
        gradient = plain.backward()
        assert np.allclose(gradient[f"dW{number}"], dZ @ A.T / 7)
        gradient[f"dW{number}"] = dZ[:, :-1] @ A[:, :-1].T / 7
        assert_only(plain.check(gradient), f"W{number}")

    @pytest.mark.parametrize("decay", [1e-2, 1e-5])
    def test_weight_decay_that_the_cost_has_not(self, plain: Case, decay: float) -> None:
        """A term in proportion to the weights, in one block."""
        gradient = plain.backward()
        gradient["dW2"] = gradient["dW2"] + decay * plain.params["W2"]
        assert_only(plain.check(gradient), "W2")

    def test_gradient_of_another_point(self, plain: Case) -> None:
        """A bias that was updated before its gradient was taken: everything that depends on it is off."""
        moved = dict(plain.params)
        moved["b4"] = moved["b4"] + 1e-3
        gradient = dataclasses.replace(plain, params=moved).backward()
        assert_only(plain.check(gradient), *BLOCKS)

    @pytest.mark.parametrize("name", BLOCKS)
    def test_the_others_are_said_to_agree(self, plain: Case, name: str) -> None:
        """What is right is said to be right."""
        gradient = plain.backward()
        gradient[f"d{name}"] = -gradient[f"d{name}"]
        report = plain.check(gradient)
        assert {block.name for block in report.blocks if block.status.name == "AGREES"} == set(BLOCKS) - {name}


def errors_of(case: Case, number: int) -> Array:
    """The errors dZ of a layer, without the mean.

    Parameters
    ----------
    case : Case
        The case.
    number : int
        Layer, from 1.

    Returns
    -------
    array of shape (units, examples)
        Its errors.
    """
    # Each example alone: the gradient of its bias is its error.
    columns = []
    for example in range(case.examples):
        alone = dataclasses.replace(case, X=case.X[:, [example]], Y=case.Y[:, [example]])
        columns.append(alone.backward()[f"db{number}"])
    return np.hstack(columns)


class TestBugsOnTheWayBack:
    """A bug between two layers fails the blocks before it, and none behind it."""

    @pytest.mark.parametrize("number", [1, 2, 3])
    @pytest.mark.parametrize(
        "bend",
        [
            lambda A, Z: 1 - Z**2,
            lambda A, Z: 1 - A,
            lambda A, Z: A * (1 - A),
            lambda A, Z: (Z > 0).astype(float),
            lambda A, Z: np.ones_like(A),
            lambda A, Z: (1 - A**2) * (1 + 1e-6),
        ],
        ids=["of Z", "without square", "sigmoid", "relu", "none", "a millionth"],
    )
    def test_wrong_derivative(self, plain: Case, number: int, bend: Callable[[Array, Array], Array]) -> None:
        """The activation's derivative of one layer."""

        def derivative(layer: int, A: Array, Z: Array) -> Array:
            return bend(A, Z) if layer == number else 1 - A**2

        assert_only(plain.check(plain.backward(derivative=derivative)), *BLOCKS[: 2 * number])

    @pytest.mark.parametrize("number", [2, 3])
    def test_weights_not_transposed(self, plain: Case, number: int) -> None:
        """A square matrix taken the wrong way round."""
        gradient = plain.backward(
            weights=lambda layer: plain.params[f"W{layer}"].T if layer == number else plain.params[f"W{layer}"]
        )
        assert_only(plain.check(gradient), *BLOCKS[: 2 * (number - 1)])

    def test_weights_of_another_layer(self, plain: Case) -> None:
        """W2 in the place of W3."""
        gradient = plain.backward(weights=lambda layer: plain.params[f"W{2 if layer == 3 else layer}"])
        assert_only(plain.check(gradient), *BLOCKS[:4])

    def test_relu_that_lets_everything_through(self) -> None:
        """The same for another activation, where some units are dead."""
        case = gentle([6, 5, 5, 2], "relu", 7)
        gradient = case.backward(derivative=lambda layer, A, Z: np.ones_like(A) if layer == 2 else slope("relu", A, Z))
        report = case.check(gradient)
        assert_only(report, "W1", "b1", "W2", "b2")

    def test_mean_forgotten_everywhere(self, plain: Case) -> None:
        """Every block is off by the same factor."""
        gradient = {name: 7 * value for name, value in plain.backward().items()}
        report = plain.check(gradient)
        assert_only(report, *BLOCKS)
        assert report.difference == pytest.approx(6 / 8, rel=1e-12)


WIDE = (600, 100, 1)


@pytest.fixture(scope="module")
def wide() -> Case:
    """Make a network whose first block has 60,000 entries.

    Returns
    -------
    Case
        Never modified.
    """
    return gentle(WIDE, "tanh", 3)


class TestOneEntry:
    """One entry is a bug at any size of its block."""

    @pytest.mark.parametrize("index", [(0, 0), (0, 599), (99, 0), (99, 599), (47, 311), (81, 2)])
    @pytest.mark.parametrize("error", [1e-6, -1e-6, -2.0])
    def test_among_sixty_thousand(self, wide: Case, index: tuple[int, int], error: float) -> None:
        """Found, named, and counted as one."""
        gradient = wide.backward()
        gradient["dW1"][index] *= 1 + error
        report = wide.check(gradient)
        assert_only(report, "W1")
        assert report.blocks[0].shape == (100, 600)
        assert report.blocks[0].differing == 1
        worst = report.worst(1)[0]
        assert (worst.block, worst.index) == ("W1", index)
        assert worst.analytic == gradient["dW1"][index]
        assert worst.numeric == pytest.approx(gradient["dW1"][index] / (1 + error), rel=1e-9)
        assert f"W1[{index[0]}, {index[1]}]" in str(report)

    def test_hidden_from_the_norm(self, wide: Case) -> None:
        """The whole vector's formula 3 does not see what the entries show."""
        gradient = wide.backward()
        small = np.argmin(np.abs(gradient["dW1"]))
        index = np.unravel_index(small, gradient["dW1"].shape)
        gradient["dW1"][index] *= 1.01
        report = wide.check(gradient)
        assert report.difference < 1e-7
        assert report.blocks[0].difference < 1e-7
        assert_only(report, "W1")

    @pytest.mark.parametrize("name", ["W2", "b1", "b2", "W3", "b3"])
    def test_in_a_block_of_one(self, name: str) -> None:
        """The smallest block there is, beside a large one."""
        case = gentle([3, 1, 1, 1], "sigmoid", 2)
        gradient = case.backward()
        assert gradient[f"d{name}"].shape == (1, 1)
        gradient[f"d{name}"] *= 1 + 1e-6
        report = case.check(gradient)
        assert_only(report, name)
        assert report.worst(1)[0].index == (0, 0)

    def test_many_bugs_at_once(self, wide: Case) -> None:
        """All are counted; the ten worst are kept."""
        gradient = wide.backward()
        gradient["dW1"][::2] *= 1.001
        report = wide.check(gradient)
        assert_only(report, "W1")
        assert report.blocks[0].differing == 30_000
        assert len(report.blocks[0].worst) == 10
        assert all(entry.index[0] % 2 == 0 for entry in report.blocks[0].worst)


class TestNotFinite:
    """What is not a finite number never passes."""

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize(("name", "index"), [("W1", (2, 3)), ("b2", (4, 0)), ("W3", (0, 0)), ("W4", (1, 4)), ("b4", (0, 0))])
    def test_one_entry(self, plain: Case, name: str, index: tuple[int, int], value: float) -> None:
        """Fails, with the entry as the worst, and shows it."""
        gradient = plain.backward()
        gradient[f"d{name}"][index] = value
        report = plain.check(gradient)
        assert_only(report, name)
        worst = report.worst(1)[0]
        assert (worst.block, worst.index) == (name, index)
        assert str(worst.analytic) == str(value)
        assert f"{name}[{index[0]}, {index[1]}]" in str(report)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_everywhere(self, plain: Case, value: float) -> None:
        """A backward pass that broke down altogether."""
        gradient = {name: np.full(block.shape, value) for name, block in plain.backward().items()}
        assert_only(plain.check(gradient), *BLOCKS)

    @pytest.mark.parametrize("huge", [1e12, 1e160, 1e300, 1.7e308])
    def test_among_huge_others(self, plain: Case, huge: float) -> None:
        """The NaN outranks every number, however large."""
        gradient = plain.backward()
        gradient["dW2"][...] = huge
        gradient["dW2"][3, 1] = np.nan
        report = plain.check(gradient)
        assert_only(report, "W2")
        assert report.worst(1)[0].index == (3, 1)
        assert "W2[3, 1]" in str(report)

    @pytest.mark.parametrize("huge", [1e160, 1e300, 1.7e308])
    def test_huge_alone(self, plain: Case, huge: float) -> None:
        """Squares that overflow must not hide an entry."""
        gradient = plain.backward()
        gradient["db3"][2] = huge
        report = plain.check(gradient)
        assert_only(report, "b3")
        assert report.worst(1)[0].index == (2, 0)
        assert next(block.difference for block in report.blocks if block.name == "b3") == pytest.approx(1.0)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_no_tolerance_accepts_it(self, plain: Case, value: float) -> None:
        """Neither a wide tolerance nor a coarse type makes it fine."""
        gradient = plain.backward()
        gradient["dW1"][0, 0] = value
        assert plain.check(gradient, tolerance=0.5).verdict == "fail"
        narrow = {name: block.astype(np.float32) for name, block in gradient.items()}
        assert plain.check(narrow).verdict == "fail"

    def test_beyond_float64(self, plain: Case) -> None:
        """A long double that float64 cannot hold is infinite to it, without a warning on the side."""
        if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
            pytest.skip("long double is float64 here")
        gradient = plain.backward()
        gradient["dW3"] = gradient["dW3"].astype(np.longdouble)
        gradient["dW3"][1, 2] = np.longdouble("1e4000")
        report = plain.check(gradient)
        assert_only(report, "W3")
        assert report.worst(1)[0].index == (1, 2)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_in_a_vacuous_block(self, value: float) -> None:
        """That nothing can be said of the numeric side does not excuse the other one."""
        case = gentle([4, 3, 1], "tanh", 2)
        case.params["b1"][...] = 400.0
        gradient = case.backward()
        gradient["dW1"][1, 1] = value
        assert_only(case.check(gradient), "W1")

    @pytest.mark.parametrize("count", [1, 3, 40])
    def test_among_sixty_thousand(self, count: int) -> None:
        """The search for the worst does not lose it, wherever it lies."""
        case = gentle(WIDE, "tanh", 1)
        gradient = case.backward()
        places = np.random.default_rng(count).choice(gradient["dW1"].size, count, replace=False)
        gradient["dW1"].flat[places] = np.nan
        gradient["dW1"][50] *= 1.5
        report = case.check(gradient)
        assert_only(report, "W1")
        shown = [entry for entry in report.worst(10) if math.isnan(entry.analytic)]
        assert len(shown) == min(count, 10)
        assert shown == list(report.worst(10))[: len(shown)]


# ---- right gradients -----------------------------------------------------------------------------------------------------

SEEDS = range(700)


class TestNoFalseAlarm:
    """A right gradient is never called wrong, whatever the network."""

    @pytest.mark.parametrize("scheme", ["central", "forward"])
    def test_harsh_cases(self, scheme: str) -> None:
        """700 cases, in every corner that float64 has: none fails, and most of every kind pass."""
        verdicts: Counter[tuple[str, str]] = Counter()
        failures = []
        for seed in SEEDS:
            case = harsh(seed)
            report = case.check(case.backward(), scheme=scheme)
            verdicts[case.kind, report.verdict] += 1
            if report.verdict == "fail":
                failures.append((seed, case.kind, wrong_blocks(report)))
        assert failures == []
        kinds = Counter(kind for kind, _ in verdicts.elements())
        assert set(kinds) == {"none", "tanh", "relu", "sigmoid", "mixed"}
        for kind, count in kinds.items():
            assert count >= 30, kind
            assert verdicts[kind, "pass"] >= 0.8 * count, verdicts

    @pytest.mark.parametrize("hidden", ["tanh", "relu", "sigmoid"])
    @pytest.mark.parametrize("layers", [(784, 64, 32, 1), (300, 1), (40, 40, 40, 40, 40, 3), (1, 200, 1)])
    @pytest.mark.parametrize("examples", [1, 60])
    def test_larger_networks(self, layers: tuple[int, ...], hidden: str, examples: int) -> None:
        """Long sums carry more rounding; the tolerance of 1e-7 stays."""
        case = gentle(layers, hidden, examples)
        report = case.check(case.backward())
        assert report.verdict == "pass", str(report)
        assert report.tolerance == 1e-7
        assert max(block.difference for block in report.blocks) < 1e-12

    @pytest.mark.parametrize("divides", [False, True])
    @pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
    def test_both_manners_of_the_first_step(self, size: float, divides: bool) -> None:
        """dZ = AL − Y, and by way of dAL."""
        for seed in range(10):
            case = gentle([5, 4, 3, 2], "tanh", 4, seed)
            case = dataclasses.replace(case, X=case.X * size, divides=divides)
            report = case.check(case.backward())
            assert report.verdict == "pass", str(report)

    def test_product_of_small_derivatives(self) -> None:
        """Gradients of 1e-40 are judged like others: all entries agree, none is vacuous."""
        case = gentle([4, 4, 4, 4, 4, 1], "sigmoid", 2)
        for number in range(2, 6):
            case.params[f"W{number}"] *= 1e-10
        gradient = case.backward()
        assert 0 < np.abs(gradient["dW1"]).max() < 1e-38
        assert case.check(gradient).verdict == "pass"
        gradient["dW1"] *= 1.001
        assert_only(case.check(gradient), "W1")


class TestUnderflow:
    """Where exp underflows, the textbook's sigmoid is exactly 0 while the true value is some 1e-310."""

    @pytest.mark.parametrize("z", [-700.0, -708.0, -709.5, -709.9, -712.0, -730.0, -744.0, -745.2, -750.0])
    @pytest.mark.parametrize("size", [1.0, 300.0])
    def test_output(self, z: float, size: float) -> None:
        """A certain and right answer: the gradient is at the end of the number range."""
        case = Case([1, 1], [], {"W1": np.array([[z / size]]), "b1": np.zeros((1, 1))}, np.array([[size]]), np.zeros((1, 1)))
        assert case.check(case.backward()).verdict != "fail"

    @pytest.mark.parametrize("z", [-650.0, -700.0, -709.9, -730.0])
    def test_hidden_unit(self, z: float) -> None:
        """A dead sigmoid unit between live ones."""
        case = gentle([3, 4, 4, 1], "sigmoid", 3)
        case.params["b1"][2] = z
        case.params["b2"][1] = -120.0
        assert case.check(case.backward()).verdict != "fail"

    @pytest.mark.parametrize("z", [-80.0, -87.0, -88.5, -95.0, -103.0, -120.0, -300.0])
    def test_hidden_unit_in_float32(self, z: float) -> None:
        """The same at 1e-38: raw pixels reach it at once."""
        case = gentle([3, 4, 4, 1], "sigmoid", 3)
        case.params["b1"][2] = z
        case = case.narrow()
        assert case.check(case.backward()).verdict != "fail"

    def test_output_in_float32(self) -> None:
        """Certain and right answers beside doubtful ones."""
        for z in (-85.0, -89.0, -104.0, -150.0):
            case = gentle([3, 1], [], 4)
            X = np.vstack([case.X[:2], [[z, 0.0, 1.0, z]]])
            case = dataclasses.replace(case, X=X, Y=np.array([[0.0, 1.0, 0.0, 0.0]]))
            case.params["W1"][0, 2] = 1.0
            narrow = case.narrow()
            assert narrow.check(narrow.backward()).verdict != "fail", z

    @pytest.mark.parametrize("scheme", ["central", "forward"])
    @pytest.mark.parametrize("z", [-615.0, -622.0, -629.0, -633.0, -640.0, -650.0, -660.0, -680.0])
    def test_product(self, z: float, scheme: str) -> None:
        """A small error times a small activation: the product underflows, and its change under a step does so much earlier."""
        params = {"W1": np.array([[z]]), "b1": np.zeros((1, 1)), "W2": np.ones((1, 1)), "b2": np.full((1, 1), -70.0)}
        case = Case([1, 1, 1], ["sigmoid"], params, np.ones((1, 1)), np.zeros((1, 1)))
        gradient = case.backward()
        assert 0 <= gradient["dW2"][0, 0] < 1e-296
        assert case.check(gradient, scheme=scheme).verdict != "fail"

    @pytest.mark.parametrize("z", [-55.0, -62.0, -66.0, -69.0, -71.0, -75.0, -85.0])
    def test_product_in_float32(self, z: float) -> None:
        """The same at 1e-44, with some of its digits left."""
        params = {"W1": np.array([[z]]), "b1": np.zeros((1, 1)), "W2": np.ones((1, 1)), "b2": np.full((1, 1), -32.0)}
        case = Case([1, 1, 1], ["sigmoid"], params, np.ones((1, 1)), np.zeros((1, 1))).narrow()
        gradient = case.backward()
        assert 0 <= gradient["dW2"][0, 0] < 1e-37
        assert case.check(gradient).verdict != "fail"


class TestKinks:
    """Where relu is at its kink, any subgradient is right."""

    @pytest.mark.parametrize("at_zero", [0.0, 1.0])
    @pytest.mark.parametrize("seed", range(5))
    def test_one_layer_at_its_kink(self, seed: int, at_zero: float) -> None:
        """An example of zeros with zero biases: every unit is at its kink, and either convention for relu'(0) passes."""
        case = gentle([4, 5, 1], "relu", 3, seed)
        case.X[:, 1] = 0
        case.params["b1"][...] = 0
        report = case.check(case.backward(derivative=lambda layer, A, Z: np.where(Z == 0, at_zero, Z > 0)))
        assert report.verdict == "pass", str(report)
        assert report.kinks == 5
        assert "at a kink" in str(report)

    @pytest.mark.parametrize("at_zero", [0.0, 1.0])
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("hidden", [("relu", "relu"), ("tanh", "relu"), ("relu", "tanh", "relu")])
    def test_several_units_at_once(self, hidden: tuple[str, ...], seed: int, at_zero: float) -> None:
        """A unit that starts at 0 moves several units of the next layer off their kinks at once.

        The chain rule multiplies one convention for all of them. A one-sided slope of the whole cost sums over those that open,
        so what everybody's backward pass returns need not lie between the two.
        """
        case = gentle([4, 3, *[4] * (len(hidden) - 1), 1], hidden, 3, seed)
        case.X[:, 1] = 0
        for number in range(1, len(hidden) + 2):
            case.params[f"b{number}"][...] = 0

        def derivative(layer: int, A: Array, Z: Array) -> Array:
            return np.where(Z == 0, at_zero, Z > 0) if hidden[layer - 1] == "relu" else 1 - A**2

        report = case.check(case.backward(derivative=derivative))
        assert report.verdict != "fail", str(report)

    @pytest.mark.parametrize("at_zero", [0.0, 1.0])
    @pytest.mark.parametrize("seed", range(5))
    def test_zero_initialised_unit(self, seed: int, at_zero: float) -> None:
        """Zero weights and bias: one weight's step opens the unit for the examples with a positive input, or for the others."""
        case = gentle([4, 5, 1], "relu", 6, seed)
        case.params["W1"][2], case.params["b1"][2] = 0, 0
        report = case.check(case.backward(derivative=lambda layer, A, Z: np.where(Z == 0, at_zero, Z > 0)))
        assert report.verdict != "fail", str(report)

    @staticmethod
    def near(tiny: float) -> Case:
        """Make a case whose unit is just open in one example, just closed in two, and well open in the last.

        Parameters
        ----------
        tiny : float
            How close to the kink.

        Returns
        -------
        Case
            One relu unit.
        """
        params = {name: np.full((1, 1), value) for name, value in (("W1", 1.0), ("b1", 0.0), ("W2", 1.0), ("b2", 0.0))}
        return Case([1, 1, 1], ["relu"], params, np.array([[tiny, -tiny, -2 * tiny, 1.0]]), np.array([[1.0, 0.0, 0.0, 0.0]]))

    @pytest.mark.parametrize("step", [None, 1e-3, 0.1, 1.0])
    @pytest.mark.parametrize("tiny", [1e-6, 1e-8, 1e-10, 1e-12, 1e-17, 1e-21, 1e-100])
    def test_close_to_kinks_on_both_sides(self, tiny: float, step: float | None) -> None:
        """The cost has a gradient here, and this is it; a step that crosses finds the slopes of other points."""
        case = self.near(tiny)
        assert case.check(case.backward(), step=step).verdict != "fail"

    @pytest.mark.parametrize("step", [None, 1e-3, 0.1, 1.0])
    @pytest.mark.parametrize("tiny", [1e-6, 1e-8, 1e-10, 1e-12])
    @pytest.mark.parametrize("convention", [0.0, 1.0])
    def test_kink_nearby_is_no_excuse(self, convention: float, tiny: float, step: float | None) -> None:
        """A backward pass that takes the units near the kink for all open, or all closed, is wrong: they are not at it."""
        case = self.near(tiny)
        gradient = case.backward(derivative=lambda layer, A, Z: np.where(np.abs(Z) < 1e-3, convention, Z > 0))
        assert abs(gradient["db1"][0, 0] / case.backward()["db1"][0, 0] - 1) > 0.1
        assert case.check(gradient, step=step).verdict != "pass"

    def test_wrong_beyond_the_kink(self) -> None:
        """At a kink, too, a gradient outside both slopes is wrong."""
        case = gentle([4, 5, 1], "relu", 1)
        case.params["W1"][2], case.params["b1"][2] = 0, 0
        gradient = case.backward()
        report = case.check(gradient)
        assert report.verdict == "pass"
        assert report.kinks > 0
        for factor in (2.0, -1.0):
            spoilt = dict(gradient)
            opened = case.backward(derivative=lambda layer, A, Z: (Z >= 0).astype(float))
            spoilt["db1"] = np.where(case.params["b1"] == 0, factor * opened["db1"], gradient["db1"])
            assert_only(case.check(spoilt), "b1")

    def test_crossings_are_counted(self) -> None:
        """A unit near its kink is crossed by the step and looked at again: the report says so, and the gradient passes."""
        case = gentle([2, 3, 1], "relu", 1)
        Z = case.forward()[1][0]
        case.params["b1"][1] -= Z[1] + 1e-9
        report = case.check(case.backward())
        assert report.verdict == "pass"
        assert report.crossed > 0
        assert report.kinks == 0
        assert "crossed a kink" in str(report)


class TestNoMissedBug:
    """A block that is off by a ten-thousandth is wrong, wherever the noise allows it to be seen."""

    def test_harsh_cases(self) -> None:
        """One random block of each case; at a kink other slopes are right, too, so those blocks are left out."""
        missed, tried = [], Counter[str]()
        for seed in SEEDS:
            case = harsh(seed)
            gradient = case.backward()
            blocks = {block.name: block for block in case.check(gradient).blocks}
            seen = [name for name, block in blocks.items() if block.vacuous < block.size and not block.kinks]
            if not seen:
                continue
            name = str(np.random.default_rng(seed + 10**6).choice(seen))
            report = case.check({**gradient, f"d{name}": gradient[f"d{name}"] * (1 + 1e-4)})
            if blocks[name].noise < 1e-6:
                tried[case.kind] += 1
                if report.verdict != "fail" or name not in wrong_blocks(report):
                    missed.append((seed, case.kind, name, blocks[name].noise, report.verdict))
        assert missed == []
        assert min(tried[kind] for kind in ("none", "tanh", "relu", "sigmoid", "mixed")) >= 25, tried
        assert tried.total() >= 200

    def test_noise_bounds_what_is_seen(self) -> None:
        """The noise that is reported is above the difference of a right gradient, and far below one."""
        for seed in range(50):
            case = gentle([5, 4, 4, 2], ["tanh", "sigmoid"], 3, seed)
            for block in case.check(case.backward()).blocks:
                assert block.difference <= block.noise < 1e-10


# ---- vacuous and inconclusive --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saturated() -> Case:
    """Make the network of the post on raw pixels, which saturate its first layer.

    Returns
    -------
    Case
        12288-5-5-1, weights 0.01·normal, zero biases, pixels from 0 to 255.
    """
    generator = np.random.default_rng(1)
    layers = [12288, 5, 5, 1]
    params: dict[str, Array] = {}
    for number in (1, 2, 3):
        params[f"W{number}"] = 0.01 * generator.standard_normal((layers[number], layers[number - 1]))
        params[f"b{number}"] = np.zeros((layers[number], 1))
    X = generator.integers(0, 256, (12288, 1)).astype(np.float64)
    return Case(layers, ["tanh", "tanh"], params, X, np.zeros((1, 1)))


class TestVacuous:
    """Gradients below rounding: nothing is claimed of them."""

    def test_saturated_first_layer(self, saturated: Case) -> None:
        """The right gradient passes; the first layer is said to be unverified, by name, in data and text."""
        assert np.abs(saturated.forward()[1][0]).min() > 19
        report = saturated.check(saturated.backward())
        assert report.verdict == "pass"
        status = {block.name: block.status.name for block in report.blocks}
        assert status == {"W1": "VACUOUS", "b1": "VACUOUS", **dict.fromkeys(("W2", "b2", "W3", "b3"), "AGREES")}
        for block in report.blocks[:2]:
            assert block.vacuous == block.size
        text = str(report)
        assert "61,445 of them vacuous" in text.splitlines()[0]
        assert re.search(r"^ *note: W1 and b1 are vacuous", text, re.MULTILINE)

    @pytest.mark.parametrize("name", ["W2", "b2", "W3", "b3"])
    @pytest.mark.parametrize("factor", [-1.0, 2.0, 1.001])
    def test_bugs_behind_it_are_seen(self, saturated: Case, name: str, factor: float) -> None:
        """61,445 entries of nothing hide no other block."""
        gradient = saturated.backward()
        gradient[f"d{name}"] = factor * gradient[f"d{name}"]
        assert_only(saturated.check(gradient), name)

    @pytest.mark.parametrize("size", [1e-3, 1e-9])
    def test_gradient_where_there_is_none(self, saturated: Case, size: float) -> None:
        """An entry that is far above the noise is wrong, even where the true gradient is 0."""
        gradient = saturated.backward()
        gradient["dW1"][3, 4567] = size
        report = saturated.check(gradient)
        assert_only(report, "W1")
        assert report.worst(1)[0].index == (3, 4567)

    @pytest.mark.parametrize("seed", range(5))
    def test_scaled_pixels_are_verified(self, saturated: Case, seed: int) -> None:
        """The cure that the report names works."""
        X = np.random.default_rng(seed).random((12288, 1))
        scaled = dataclasses.replace(saturated, X=X)
        gradient = scaled.backward()
        report = scaled.check(gradient)
        assert report.verdict == "pass"
        assert {block.status.name for block in report.blocks} == {"AGREES"}
        gradient["dW1"] = 2 * gradient["dW1"]
        assert_only(scaled.check(gradient), "W1")

    def test_everything_vacuous(self) -> None:
        """Nothing verified at all is no pass."""
        case = gentle([4, 3, 2], "tanh", 3)
        case.params["b2"][...] = 400.0
        case = dataclasses.replace(case, Y=np.ones((2, 3)))
        report = case.check(case.backward())
        assert report.verdict == "inconclusive"
        assert not report.ok
        assert {block.status.name for block in report.blocks} == {"VACUOUS"}
        assert str(report).startswith("INCONCLUSIVE")
        assert "vacuous" in str(report)

    def test_entries_of_a_live_block(self) -> None:
        """A saturated unit among others: its row is counted as vacuous, the rest is verified."""
        case = gentle([6, 4, 1], "tanh", 2)
        case.params["b1"][1] = 400.0
        report = case.check(case.backward())
        assert report.verdict == "pass"
        first = report.blocks[0]
        assert (first.status.name, first.vacuous) == ("AGREES", 6)
        assert "6 of 24 entries vacuous" in str(report)


class TestSteps:
    """A step that the caller chose too large is the caller's, not the gradient's fault."""

    @pytest.mark.parametrize("scheme", ["central", "forward"])
    @pytest.mark.parametrize("step", [1e-4, 1e-2, 1e-1, 1.0])
    def test_right_gradient_on_a_curved_network(self, scheme: str, step: float) -> None:
        """Never a failure; where it is inconclusive the advice is a smaller step, and that step helps."""
        inconclusive = 0
        for seed in range(25):
            case = gentle([5, 4, 4, 2], ["tanh", "sigmoid"], 3, seed)
            gradient = case.backward()
            report = case.check(gradient, scheme=scheme, step=step)
            assert report.verdict in ("pass", "inconclusive"), str(report)
            assert report.step == step
            if report.verdict == "inconclusive":
                inconclusive += 1
                advice = re.search(r"Use step=([0-9.e-]+)", str(report))
                assert advice is not None
                assert 0 < float(advice[1]) < step
                assert "step" in str(report)
        assert inconclusive == 25 or (scheme, step) == ("central", 1e-4)

    @pytest.mark.parametrize("scheme", ["central", "forward"])
    @pytest.mark.parametrize("step", [1e2, 1e6, 1e12, 1e150, 1e300])
    def test_right_gradient_at_a_monstrous_step(self, scheme: str, step: float) -> None:
        """Whatever overflows on the way: inconclusive, never a failure, and no warning."""
        for seed, hidden in enumerate(["tanh", "relu", "sigmoid"]):
            case = gentle([5, 4, 4, 2], hidden, 3, seed)
            assert case.check(case.backward(), scheme=scheme, step=step).verdict != "fail"

    def test_advice_leads_to_a_pass(self) -> None:
        """Following it, perhaps twice, ends in a pass."""
        case = gentle([5, 4, 4, 2], ["tanh", "sigmoid"], 3)
        gradient, step = case.backward(), 0.1
        for _ in range(4):
            report = case.check(gradient, step=step)
            if report.ok:
                break
            advice = re.search(r"Use step=([0-9.e-]+)", str(report))
            assert advice is not None, str(report)
            step = float(advice[1])
        assert report.ok

    @pytest.mark.parametrize("scheme", ["central", "forward"])
    @pytest.mark.parametrize("step", [1e-2, 1e-1])
    @pytest.mark.parametrize("name", ["W1", "b2", "W3"])
    def test_wrong_gradient(self, name: str, step: float, scheme: str) -> None:
        """A large step is no hiding place: exactly the wrong block fails."""
        for seed in range(5):
            case = gentle([5, 4, 4, 2], ["tanh", "sigmoid"], 3, seed)
            for factor in (-1.0, 2.0, 1.001):
                gradient = case.backward()
                gradient[f"d{name}"] = factor * gradient[f"d{name}"]
                report = case.check(gradient, scheme=scheme, step=step)
                assert report.verdict == "fail"
                assert wrong_blocks(report) == [name]

    @pytest.mark.parametrize("step", [1e-2, 1e-1])
    def test_one_wrong_entry_among_many_disputed(self, step: float) -> None:
        """Truncation disputes every entry of the block; the one that is wrong must not drown."""
        case = gentle([40, 30, 1], "tanh", 2)
        gradient = case.backward()
        gradient["dW1"][17, 23] *= 1.001
        report = case.check(gradient, step=step)
        assert report.verdict == "fail"
        assert wrong_blocks(report) == ["W1"]

    @pytest.mark.parametrize("step", [1e-2, 1e-1])
    def test_wrong_entry_that_the_truncation_meets(self, step: float) -> None:
        """A gradient made from the too large step itself agrees with the quotient, and is wrong all the same or not verified."""
        case = gentle([5, 4, 4, 2], ["tanh", "sigmoid"], 3)
        numeric = case.check(case.backward(), step=step).numeric
        gradient = {f"d{name}": np.array(block) for name, block in numeric.items()}
        assert case.check(gradient).verdict == "fail"

    @pytest.mark.parametrize("step", [1e-5, 1e-7, 1e-9, 1e-12, 1e-15])
    def test_small_steps_lose_nothing(self, plain: Case, step: float) -> None:
        """Below 1e-8 the textbook drowns in rounding; difference forms do not."""
        report = plain.check(plain.backward(), step=step)
        assert report.verdict == "pass"
        assert report.difference < max(1e-13, 10 * step**2)

    def test_steps_at_a_relu(self) -> None:
        """Between its kinks a relu network is almost linear: large steps cross them, and are taken again."""
        for seed in range(40):
            case = gentle([6, 5, 4, 1], "relu", 4, seed)
            for step in (1e-2, 1e-1):
                report = case.check(case.backward(), step=step)
                assert report.verdict != "fail", (seed, step)


class TestForward:
    """The one-sided scheme at its own step."""

    def test_right_gradients_pass(self) -> None:
        """Over many seeds, depths and activations."""
        for seed in range(60):
            hidden = [("tanh", "relu", "sigmoid")[(seed + layer) % 3] for layer in range(seed % 4)]
            case = gentle([4, *[5] * len(hidden), 2], hidden, 1 + seed % 5, seed)
            report = case.check(case.backward(), scheme="forward")
            assert report.verdict == "pass", (seed, str(report))
            assert report.scheme == "forward"

    @pytest.mark.parametrize("factor", [-1.0, 2.0, 0.0, 1 + 1e-6])
    @pytest.mark.parametrize("name", BLOCKS)
    def test_planted_bugs_fail(self, plain: Case, name: str, factor: float) -> None:
        """As with the two-sided scheme."""
        gradient = plain.backward()
        gradient[f"d{name}"] = gradient[f"d{name}"] * factor
        assert_only(plain.check(gradient, scheme="forward"), name)


# ---- types less precise than float64 -------------------------------------------------------------------------------------


class TestFloat32:
    """Backward passes in float32 throughout."""

    def test_right_gradients_pass(self) -> None:
        """Many networks and seeds, the tolerance wider and said so."""
        for seed in range(120):
            hidden = [("tanh", "relu", "sigmoid")[(seed // 3 + layer) % 3] for layer in range(seed % 5)]
            sizes = [3, 20, 7, 50, 12, 30][: len(hidden) + 1]
            case = gentle([*sizes, 1 + seed % 3], hidden, 1 + seed % 40, seed).narrow()
            gradient = case.backward()
            assert {block.dtype for block in gradient.values()} == {np.dtype(np.float32)}
            report = case.check(gradient)
            assert report.verdict == "pass", (seed, str(report))
            assert report.tolerance == pytest.approx(1024 * FLOAT32)
            assert report.precision == FLOAT32
            assert "precision" in str(report)

    @pytest.mark.parametrize("hidden", ["tanh", "relu", "sigmoid"])
    @pytest.mark.parametrize(("layers", "examples"), [((784, 64, 32, 1), 16), ((12288, 5, 5, 1), 1), ((100, 50, 50, 1), 200)])
    def test_usual_sizes(self, layers: tuple[int, ...], examples: int, hidden: str) -> None:
        """Pixels in [0, 1]: the gradient is right to 1e-6, so an estimate of its rounding must not call it unverifiable."""
        case = gentle(layers, hidden, examples)
        pixels = np.random.default_rng(5).random(case.X.shape)
        case = dataclasses.replace(case, X=pixels).narrow()
        gradient = case.backward()
        report = case.check(gradient)
        assert max(block.difference for block in report.blocks) < 1e-5
        assert report.verdict == "pass", str(report)
        for name in ("W1", "b2"):
            for factor in (-1, 2, 0):
                spoilt = {**gradient, f"d{name}": gradient[f"d{name}"] * np.float32(factor)}
                assert_only(case.check(spoilt), name)

    @pytest.mark.parametrize("factor", [-1.0, 2.0, 0.5, 1 / 7, 7.0, 0.0, 1.01])
    @pytest.mark.parametrize("name", BLOCKS)
    def test_planted_bugs_fail(self, plain: Case, name: str, factor: float) -> None:
        """A factor in one block."""
        case = plain.narrow()
        gradient = case.backward()
        gradient[f"d{name}"] = gradient[f"d{name}"] * np.float32(factor)
        assert gradient[f"d{name}"].dtype == np.float32
        assert_only(case.check(gradient), name)

    def test_planted_bug_on_the_way_back(self, plain: Case) -> None:
        """A wrong derivative, all in float32."""
        case = plain.narrow()
        gradient = case.backward(derivative=lambda layer, A, Z: 1 - Z**2 if layer == 2 else 1 - A**2)
        assert_only(case.check(gradient), *BLOCKS[:4])

    def test_one_wrong_entry(self) -> None:
        """A relative error of one per cent in one of 12,000 entries."""
        case = gentle([200, 60, 1], "tanh", 2).narrow()
        gradient = case.backward()
        index = np.unravel_index(np.argmax(np.abs(gradient["dW1"])), gradient["dW1"].shape)
        gradient["dW1"][index] *= np.float32(1.01)
        report = case.check(gradient)
        assert_only(report, "W1")
        assert report.worst(1)[0].index == tuple(int(place) for place in index)

    def test_harsh_cases(self) -> None:
        """The corners of float32: exp overflows beyond 88, and what is below 1e-38 is lost."""
        failures, verdicts = [], Counter[str]()
        for seed in SEEDS:
            case = harsh(seed).narrow()
            with np.errstate(under="ignore"):
                gradient = case.backward()
            if not all(np.isfinite(block).all() for block in gradient.values()):
                continue
            report = case.check(gradient)
            verdicts[report.verdict] += 1
            if report.verdict == "fail":
                failures.append((seed, case.kind, wrong_blocks(report)))
        assert failures == []
        assert verdicts["pass"] >= 200, verdicts


class TestHalfPrecision:
    """float16: three digits, but a sign can be told."""

    def test_right_gradient_does_not_fail(self, plain: Case) -> None:
        """Rounded to three digits it is still right."""
        gradient = {name: block.astype(np.float16) for name, block in plain.backward().items()}
        assert plain.check(gradient).verdict != "fail"

    @pytest.mark.parametrize("factor", [-1.0, 0.0, 2.0, 7.0])
    def test_wrong_gradient_does_not_pass(self, plain: Case, factor: float) -> None:
        """A tolerance of 1 or more would accept anything, since |g − ĝ| is never above |g| + |ĝ|."""
        gradient = {name: (factor * block).astype(np.float16) for name, block in plain.backward().items()}
        report = plain.check(gradient)
        assert report.tolerance < 1
        assert report.verdict == "fail"


# ---- the user's own cost -------------------------------------------------------------------------------------------------


def own_cost(
    case: Case, name: str | None = None, reduce: Callable[[Array], Any] | None = None
) -> Callable[[dict[str, Array]], Any]:
    """Cost of a case as its owner would write it.

    Parameters
    ----------
    case : Case
        The case.
    name : str, optional
        Another activation than the case's own.
    reduce : callable, optional
        From the losses of outputs and examples to the cost; by default the mean over the examples.

    Returns
    -------
    callable
        Parameters in, a number out.
    """

    def cost(params: dict[str, Array]) -> Any:
        hidden = [name] * len(case.hidden) if name else case.hidden
        AL = dataclasses.replace(case, params=params, hidden=hidden).forward()[0][-1]
        losses = -(case.Y * np.log(AL) + (1 - case.Y) * np.log(1 - AL))
        return losses.sum() / case.examples if reduce is None else reduce(losses)

    return cost


class TestLike:
    """The kernels are held against the user's own cost."""

    def check(self, case: Case, like: Callable[[dict[str, Array]], Any], **options: Any) -> Report:
        """Check the right gradient against a cost that the kernels must agree with.

        Parameters
        ----------
        case : Case
            The case.
        like : callable
            The user's own cost.
        **options : Any
            As of ``check``.

        Returns
        -------
        Report
            What it says.
        """
        cost = Network(case.layers, case.hidden).cost(case.X, case.Y, like=like)
        return gradsweep.check(cost, case.params, case.backward(), **options)

    @pytest.mark.parametrize("seed", range(5))
    def test_right_cost(self, seed: int) -> None:
        """Agrees at the point and around it, whatever seed chooses where."""
        for depth in range(4):
            case = gentle([4, *[3] * depth, 2], "tanh", 6, seed)
            assert self.check(case, own_cost(case), seed=seed).verdict == "pass"

    @pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
    def test_array_of_one_number(self, plain: Case, shape: tuple[int, ...]) -> None:
        """A cost of shape (1, 1) is a number to most people."""
        cost = own_cost(plain)
        assert self.check(plain, lambda params: np.reshape(cost(params), shape)).verdict == "pass"

    @pytest.mark.parametrize(
        "like",
        [
            lambda case: own_cost(case, reduce=np.sum),
            lambda case: own_cost(case, reduce=np.mean),
            lambda case: own_cost(case, reduce=lambda losses: -losses.sum() / 7),
            lambda case: own_cost(case, "sigmoid"),
            lambda case: own_cost(case, "relu"),
            lambda case: lambda params: own_cost(case)(params) + 1e-3,
            lambda case: lambda params: 0.25,
        ],
        ids=["sum", "mean over outputs", "sign", "sigmoid", "relu", "offset", "constant"],
    )
    def test_wrong_cost(self, plain: Case, like: Callable[[Case], Callable[[dict[str, Array]], Any]]) -> None:
        """The check stops, and shows both values."""
        cost = like(plain)
        with pytest.raises(OracleError) as caught:
            self.check(plain, cost)
        message = str(caught.value)
        shown = [float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", message)]
        right = own_cost(plain)(plain.params)
        assert any(number == pytest.approx(right, rel=1e-12) for number in shown), message
        assert any(number == pytest.approx(float(cost(plain.params)), rel=1e-12) for number in shown), message
        assert "like" in message

    def test_right_at_the_point_alone(self, plain: Case) -> None:
        """A cost that does not move with the parameters agrees at one point by luck; the perturbed ones tell."""
        value = own_cost(plain)(plain.params)
        with pytest.raises(OracleError, match=r"[Wb]\d\["):
            self.check(plain, lambda params: value)

    def test_weight_decay_that_is_forgotten(self, plain: Case) -> None:
        """A term that the network does not know of."""
        cost = own_cost(plain)
        with pytest.raises(OracleError):
            self.check(plain, lambda params: cost(params) + 0.01 * sum(float(np.sum(params[f"W{n}"] ** 2)) for n in range(1, 5)))

    def test_guarded_logarithm(self, plain: Case) -> None:
        """A cost with 1e-12 inside its logarithms is the same cost."""

        def cost(params: dict[str, Array]) -> float:
            AL = dataclasses.replace(plain, params=params).forward()[0][-1]
            return float(-(plain.Y * np.log(AL + 1e-12) + (1 - plain.Y) * np.log(1 - AL + 1e-12)).sum() / 7)

        assert self.check(plain, cost).verdict == "pass"

    def test_cost_that_spoils_its_argument(self, plain: Case) -> None:
        """It may do what it likes with the arrays it is given: they are copies, new ones for each call."""
        before = {name: value.copy() for name, value in plain.params.items()}
        cost, calls = own_cost(plain), []

        def careless(params: dict[str, Array]) -> Any:
            value = cost(params)
            calls.append(value)
            for name in list(params):
                params.pop(name)[...] = np.nan
            return value

        assert self.check(plain, careless).verdict == "pass"
        assert len(calls) > 1
        assert all(math.isfinite(value) for value in calls)
        assert all(np.array_equal(before[name], plain.params[name]) for name in before)

    def test_error_of_the_cost_is_seen(self, plain: Case) -> None:
        """The user's own error reaches the user."""

        def broken(params: dict[str, Array]) -> float:
            raise ZeroDivisionError("in the cost")

        with pytest.raises(ZeroDivisionError, match="in the cost"):
            self.check(plain, broken)

    def test_float32_parameters(self, plain: Case) -> None:
        """A cost that computes in float32 agrees as well as float32 can."""
        case = plain.narrow()
        cost = own_cost(case)
        narrow = lambda params: cost({name: value.astype(np.float32) for name, value in params.items()})  # noqa: E731
        assert self.check(case, narrow).verdict == "pass"


# ---- the report ----------------------------------------------------------------------------------------------------------


def badness(report: Report, entry: Any) -> float:
    """How far an entry is from acceptance, by the rule as it is written down.

    Parameters
    ----------
    report : Report
        Of the tolerance.
    entry : Entry
        The entry.

    Returns
    -------
    float
        1 at the border of acceptance; infinite for what is not finite.
    """
    gap = abs(entry.analytic - entry.numeric)
    if not math.isfinite(gap):
        return math.inf
    allowed = report.tolerance * (abs(entry.analytic) + abs(entry.numeric)) + entry.noise
    return gap / allowed if allowed else (math.inf if gap else 0.0)


def sample_reports() -> Iterator[Report]:
    """Reports of every kind.

    Yields
    ------
    Report
        Passes, failures and inconclusive ones, narrow and wide, with every remark.
    """
    for seed in range(60):
        case = harsh(seed)
        gradient = case.backward()
        yield case.check(gradient)
        yield case.check({name: -value for name, value in gradient.items()})
        yield case.check(gradient, step=0.1234567, scheme="forward")
        narrow = case.narrow()
        with np.errstate(under="ignore", over="ignore"):
            yield narrow.check(narrow.backward())
    deep = gentle([3000, *[4] * 11, 2], ["relu", "tanh"] * 5 + ["sigmoid"], 2)
    gradient = deep.backward()
    yield deep.check(gradient)
    names = list(gradient)
    for count in (1, 2, 7, 8, 9, 12, 15, 16, 17, 24):
        for chosen in (names[:count], names[-count:], names[::2][:count]):
            yield deep.check({name: 2 * value if name in chosen else value for name, value in gradient.items()})
    wide = gentle([12345, 3, 1], "tanh", 1)
    gradient = wide.backward()
    gradient["dW1"][2, 12344] = -1.2345678901234567e-300
    gradient["db1"][0] = np.nan
    gradient["dW2"][0, 0] = -1e300
    yield wide.check(gradient)


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    """Make reports of every kind, once.

    Returns
    -------
    list of Report
        Not to be modified, which they do not allow either.
    """
    return list(sample_reports())


class TestReport:
    """What a check returns."""

    def test_fields(self, plain: Case) -> None:
        """Everything that was asked and found."""
        report = plain.check(plain.backward())
        assert (report.verdict, report.ok, report.mode, report.scheme, report.step) == ("pass", True, "sweep", "central", 1e-7)
        assert (report.tolerance, report.precision) == (1e-7, np.finfo(np.float64).eps)
        assert [block.name for block in report.blocks] == BLOCKS
        assert [block.shape for block in report.blocks] == [plain.params[name].shape for name in BLOCKS]
        assert [block.size for block in report.blocks] == [plain.params[name].size for name in BLOCKS]
        assert report.evaluations == 2 * sum(plain.params[name].size for name in BLOCKS)
        assert plain.check(plain.backward(), scheme="forward").evaluations == report.evaluations // 2
        assert 0 < report.seconds < 60
        assert (report.crossed, report.kinks) == (0, 0)

    def test_differences_are_formula_3(self, plain: Case) -> None:
        """For each block and for the whole vector, from the gradient that was given and the one that is kept."""
        gradient = plain.backward()
        gradient["dW2"] = 1.5 * gradient["dW2"]
        report = plain.check(gradient)

        def formula(analytic: Array, numeric: Array) -> float:
            return float(np.linalg.norm(analytic - numeric) / (np.linalg.norm(analytic) + np.linalg.norm(numeric)))

        for block in report.blocks:
            expected = formula(gradient[f"d{block.name}"], report.numeric[block.name])
            assert block.difference == pytest.approx(expected, rel=1e-6, abs=1e-16)
        whole = [np.concatenate([part[name].ravel() for name in part]) for part in (gradient, report.numeric)]
        ordered = np.concatenate([gradient[f"d{name}"].ravel() for name in BLOCKS])
        assert report.difference == pytest.approx(formula(ordered, whole[1]), rel=1e-9)

    def test_both_zero_is_no_difference(self) -> None:
        """0/0 counts as 0, not as NaN."""
        case = gentle([2, 1], [], 1)
        case = dataclasses.replace(case, X=np.zeros((2, 1)))
        report = case.check(case.backward())
        assert report.blocks[0].difference == 0.0
        assert report.verdict == "pass"

    def test_frozen(self, plain: Case) -> None:
        """Nothing of it can be changed."""
        report = plain.check(plain.backward())
        for thing in (report, report.blocks[0], report.blocks[0].worst[0]):
            for field in dataclasses.fields(thing):
                with pytest.raises(dataclasses.FrozenInstanceError):
                    setattr(thing, field.name, None)
        with pytest.raises(AttributeError):
            report.ok = True  # type: ignore[misc]
        assert isinstance(report.blocks, tuple)
        assert all(isinstance(block.worst, tuple) for block in report.blocks)

    def test_numeric_gradient(self, plain: Case) -> None:
        """By the names of the parameters, in their shapes, right, and read-only all the way down."""
        gradient = plain.backward()
        numeric = plain.check(gradient).numeric
        assert list(numeric) == BLOCKS
        for name, block in numeric.items():
            assert block.shape == plain.params[name].shape
            assert block.dtype == np.float64
            assert np.allclose(block, gradient[f"d{name}"], rtol=1e-9, atol=1e-15)
            with pytest.raises(ValueError, match="read-only"):
                block[0, 0] = 1.0
            with pytest.raises(ValueError, match="WRITEABLE"):
                block.flags.writeable = True
        with pytest.raises(TypeError):
            numeric["W1"] = np.zeros((5, 6))  # type: ignore[index]
        with pytest.raises(TypeError):
            del numeric["W1"]  # type: ignore[attr-defined]

    def test_numeric_does_not_depend_on_the_gradient(self, plain: Case) -> None:
        """The numeric value is fixed before the gradient is looked at."""
        right = plain.backward()
        wrong = {name: 3 - value for name, value in right.items()}
        one, other = plain.check(right).numeric, plain.check(wrong).numeric
        assert all(one[name].tobytes() == other[name].tobytes() for name in BLOCKS)

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda report: pickle.loads(pickle.dumps(report))])
    def test_copies(self, plain: Case, duplicate: Callable[[Report], Report]) -> None:
        """A report can be copied and sent to another process, and is as frozen there."""
        report = plain.check(plain.backward())
        other = duplicate(report)
        assert str(other) == str(report)
        assert all(other.numeric[name].tobytes() == report.numeric[name].tobytes() for name in BLOCKS)
        with pytest.raises(TypeError):
            other.numeric["W1"] = np.zeros((5, 6))  # type: ignore[index]
        with pytest.raises(ValueError, match="read-only"):
            other.numeric["b1"][0, 0] = 1.0
        assert len({report, other, report}) == 2

    def test_reports_do_not_share_memory(self, plain: Case) -> None:
        """A second check leaves the first one's numbers alone."""
        first = plain.check(plain.backward())
        kept = {name: np.array(block) for name, block in first.numeric.items()}
        dataclasses.replace(plain, X=2 * plain.X).check(plain.backward())
        assert all(np.array_equal(kept[name], first.numeric[name]) for name in BLOCKS)
        assert not any(np.shares_memory(first.numeric[name], plain.params[name]) for name in BLOCKS)

    @pytest.mark.parametrize("k", [0, 1, 3, 10, 25, 1000])
    def test_worst(self, reports: list[Report], k: int) -> None:
        """At most k entries, the worst first, by the rule that decides; what is not finite comes before all."""
        for report in reports:
            entries = report.worst(k)
            kept = [entry for block in report.blocks for entry in block.worst]
            assert len(entries) == min(k, len(kept))
            scores = [badness(report, entry) for entry in entries]
            assert all(one >= other * (1 - 1e-12) for one, other in itertools.pairwise(scores))
            rest = sorted((badness(report, entry) for entry in kept), reverse=True)[: len(scores)]
            assert scores == pytest.approx(rest)

    def test_worst_finds_the_worst(self, plain: Case) -> None:
        """Errors of known size come in their order, over blocks."""
        gradient = plain.backward()
        planted = [("W1", (4, 5), 1e-2), ("b2", (1, 0), 1e-3), ("W4", (0, 3), 1e-4), ("W2", (2, 2), 1e-5)]
        for name, index, error in planted:
            gradient[f"d{name}"][index] *= 1 + error
        report = plain.check(gradient)
        assert [(entry.block, entry.index) for entry in report.worst(4)] == [(name, index) for name, index, _ in planted]
        assert wrong_blocks(report) == ["W1", "W2", "b2", "W4"]
        assert len(report.worst()) == 10

    def test_nothing_is_printed(self, plain: Case, capsys: pytest.CaptureFixture[str]) -> None:
        """Neither a pass nor a failure nor an error prints."""
        gradient = plain.backward()
        plain.check(gradient)
        plain.check({**gradient, "dW1": -gradient["dW1"]})
        plain.check(gradient, step=0.1)
        with pytest.raises(gradsweep.InputError):
            plain.check({})
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "")


class TestText:
    """``str(report)``."""

    def test_layout(self, reports: list[Report]) -> None:
        """At most 80 columns, no blanks or tabs at the ends, no empty ends, verdict first."""
        words = {"pass": "PASS", "fail": "FAIL", "inconclusive": "INCONCLUSIVE"}
        seen = Counter(report.verdict for report in reports)
        assert set(seen) == set(words)
        for report in reports:
            text = str(report)
            assert text.startswith(words[report.verdict] + ":")
            assert text == text.strip()
            lines = text.split("\n")
            assert [line for line in lines if line != line.rstrip() or "\t" in line or not line.isprintable()] == []
            assert [line for line in lines if len(line) > 80] == []

    def test_every_block_has_a_line(self, reports: list[Report]) -> None:
        """With its shape, and what is known of it."""
        for report in reports:
            lines = str(report).split("\n")
            for block in report.blocks:
                shape = f"{block.shape[0]} x {block.shape[1]}"
                rows = [line for line in lines if re.match(rf" *{block.name} +{shape} ", line)]
                assert len(rows) == 1, block.name
                assert ("WRONG" in rows[0]) == (block.status.name == "WRONG")
                assert ("vacuous" in rows[0]) == (block.vacuous > 0 and block.status.name in ("AGREES", "VACUOUS"))

    def test_wrong_blocks_are_named_first(self, reports: list[Report]) -> None:
        """The headline accuses the wrong blocks and no right one."""
        failures = [report for report in reports if report.verdict == "fail"]
        assert len(failures) > 50
        for report in failures:
            wrong = wrong_blocks(report)
            accused = re.findall(r"\b[Wb]\d+\b", str(report).split("\n")[0].split(";")[0])
            assert set(accused) <= set(wrong)
            assert len(accused) == len(wrong) or f"{len(wrong) - len(accused)} more" in str(report).split("\n")[0]

    def test_worst_entries_are_shown_on_both_sides(self, plain: Case) -> None:
        """Which is analytic and which numeric, to the last digit, and their ratio."""
        gradient = plain.backward()
        gradient["dW2"] = -gradient["dW2"]
        report = plain.check(gradient)
        text = str(report)
        worst = report.worst(1)[0]
        line = next(line for line in text.split("\n") if f"W2[{worst.index[0]}, {worst.index[1]}]" in line)
        numbers = [float(number) for number in re.findall(r"-?\d\.\d{10,}e[+-]\d+", line)]
        assert numbers == [worst.analytic, worst.numeric]
        assert line.rstrip().endswith("-1")
        head = text.split("\n")[text.split("\n").index(line) - 1]
        assert head.index("analytic") < head.index("numeric")

    def test_method_is_named(self, plain: Case) -> None:
        """Mode, scheme, step, tolerance and evaluations."""
        last = str(plain.check(plain.backward(), scheme="forward", step=2e-9, tolerance=1e-5)).rpartition("\n\n")[2]
        for words in ("sweep", "forward", "2e-09", "1.0e-05", "107 evaluations"):
            assert words in last

    def test_size_is_said(self, plain: Case) -> None:
        """A pass says of how much."""
        assert str(plain.check(plain.backward())).startswith("PASS: all 107 entries agree")


class TestRoundingOfOtherForms:
    """The same function, written as people write it: its rounding is its own, and no mistake."""

    @staticmethod
    def backprop(case: Case, value: Callable[[Array], Array], slope: Callable[[Array], Array]) -> dict[str, Array]:
        """Gradient by a backward pass with these forms of the hidden activation."""
        count = len(case.layers) - 1
        inputs, pre = [case.X], []
        for number in range(1, count + 1):
            pre.append(case.params[f"W{number}"] @ inputs[-1] + case.params[f"b{number}"])
            inputs.append(value(pre[-1]) if number < count else 1 / (1 + np.exp(-pre[-1])))
        error = inputs[-1] - case.Y
        gradient = {}
        for number in range(count, 0, -1):
            gradient[f"dW{number}"] = error @ inputs[number - 1].T / case.X.shape[1]
            gradient[f"db{number}"] = error.mean(axis=1, keepdims=True)
            if number > 1:
                error = (case.params[f"W{number}"].T @ error) * slope(pre[number - 2])
        return gradient

    @pytest.mark.parametrize("scale", [1.0, 3.0, 8.0])
    def test_sigmoid_by_tanh(self, scale: float) -> None:
        """Right to one rounding of 1, however small the value."""

        def value(z: Array) -> Array:
            return np.asarray((1 + np.tanh(z / 2)) / 2)

        for seed in range(60):
            case = gentle([10, 6, 1], "sigmoid", 2, seed)
            for name in case.params:
                case.params[name] = scale * case.params[name]
            with np.errstate(over="ignore"):
                gradient = self.backprop(case, value, lambda z: value(z) * (1 - value(z)))
            assert case.check(gradient).verdict != "fail"

    def test_saturation_below_the_square_root_of_the_smallest_number(self) -> None:
        """Errors of 1e-200 are none whose squares may be added up."""
        case = gentle([2, 2, 2, 2, 1], ["relu", "sigmoid", "tanh"], 2)
        case.params["b2"][...] = -400
        case.params["b3"][...] = 30
        assert case.check(case.backward()).verdict != "fail"
