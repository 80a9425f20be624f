"""Tests of the drop-ins for the functions of the post, each against expectations that are written down independently."""

import copy
import importlib.resources
import inspect
import io
import itertools
import os
import pathlib
import re
import runpy
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import h5py  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import pytest
from numpy.typing import NDArray

import gradsweep
from gradsweep import InputError, Network, Report, scratch
from gradsweep._textbook import run_textbook

Array: TypeAlias = NDArray[Any]

ROOT = pathlib.Path(__file__).resolve().parents[1]

GREEN, RED = "\033[32m", "\033[31m"

#: The network of the post.
POST_LAYERS = [12288, 5, 5, 1]

#: The part of the post's script that uses its functions, word for word but for the import lines: the name of the module, the
#: names that the page lost, and two packages for plots that are imported there and not used.
POST_SCRIPT = """
import sys

import h5py
import numpy as np
from numpy.linalg import norm

from gradsweep.scratch import (initialize_parameters,
                               L_model_forward,
                               L_model_backward,
                               compute_cost,
                               dictionary_to_vector,
                               gradients_to_vector,
                               vector_to_dictionary,
                               forward_prop_cost,
                               gradient_check)

# Import the data
train_dataset = h5py.File("../data/train_catvnoncat.h5")
X_train = np.array(train_dataset["train_set_x"]).T
y_train = np.array(train_dataset["train_set_y"]).T
X_train = X_train.reshape(-1, 209)
y_train = y_train.reshape(-1, 209)

X_train.shape, y_train.shape

# Set up neural network architecture
layers_dims = [X_train.shape[0], 5, 5, 1]

# Initialize parameters
parameters = initialize_parameters(layers_dims)

# Randomly selecting 1 example from training data
perms = np.random.permutation(X_train.shape[1])
index = perms[:1]

# Compute forward propagation
AL, caches = L_model_forward(X_train[:, index], parameters, "tanh")

# Compute analytical gradients
gradients = L_model_backward(AL, y_train[:, index], caches, "tanh")

# Compute difference of numerical and analytical gradients
difference = gradient_check(parameters, gradients, X_train[:, index], y_train[:, index], layers_dims)
"""

#: A planted bug in the script: the last but one line before the check.
POST_SCRIPT_WITH_BUG = POST_SCRIPT.replace(
    "# Compute difference", 'gradients["dW3"] = gradients["dW3"] * 2\n\n# Compute difference'
)


@pytest.fixture(autouse=True)
def _leave_the_global_generator_alone() -> Iterator[None]:
    """Put NumPy's global generator back, which these functions seed."""
    state = np.random.get_state()  # noqa: NPY002 - what the post uses
    yield
    np.random.set_state(state)  # noqa: NPY002


# ---- independent expectations --------------------------------------------------------------------------------------------


def naive_forward(X: Array, parameters: Mapping[str, Array], hidden: str, start: int = 0) -> list[Array]:
    """Forward pass in complex arithmetic, so that it can be differentiated by a complex step.

    Parameters
    ----------
    X : array
        What enters layer `start` + 1.
    parameters : mapping of str to array
        W1, b1, W2, …
    hidden : str
        Activation of the hidden layers.
    start : int, default: 0
        How many layers lie behind.

    Returns
    -------
    list of array
        Outputs of the layers from `start` + 1.
    """
    A, outputs = X.astype(complex), []
    L = len(parameters) // 2
    for number in range(start + 1, L + 1):
        Z = np.einsum("ij,jk->ik", parameters[f"W{number}"], A) + parameters[f"b{number}"]
        if number == L or hidden == "sigmoid":
            A = 1 / (1 + np.exp(-Z))
        elif hidden == "tanh":
            A = np.tanh(Z)
        else:
            A = np.where(Z.real > 0, Z, 0)
        outputs.append(A)
    return outputs


def naive_cost(AL: Array, y: Array) -> complex:
    """Cross-entropy by a loop.

    Parameters
    ----------
    AL, y : arrays of shape (outputs, examples)
        Probabilities and labels.

    Returns
    -------
    complex
        Mean over the examples.
    """
    total = 0j
    for row, column in itertools.product(range(AL.shape[0]), range(AL.shape[1])):
        total -= y[row, column] * np.log(AL[row, column]) + (1 - y[row, column]) * np.log(1 - AL[row, column])
    return complex(total / AL.shape[1])


def complex_step(function: Callable[[Array], complex], at: Array) -> Array:
    """Gradient by a complex step, which has no cancellation.

    Parameters
    ----------
    function : callable
        Of a complex array.
    at : array
        Where.

    Returns
    -------
    array of the same shape
        The gradient.
    """
    gradient = np.zeros(at.shape)
    for index in np.ndindex(at.shape):
        moved = at.astype(complex)
        moved[index] += 1e-30j
        gradient[index] = function(moved).imag / 1e-30
    return gradient


def small(hidden: str, seed: int = 0, examples: int = 4) -> tuple[list[int], dict[str, Array], Array, Array]:
    """Make a small problem.

    Parameters
    ----------
    hidden : str
        Activation, which only chooses the seed.
    seed : int, default: 0
        Which one.
    examples : int, default: 4
        How many.

    Returns
    -------
    layers_dims, parameters, X, y
        Well scaled; labels of both kinds.
    """
    generator = np.random.default_rng([seed, len(hidden)])
    layers = [5, 4, 3, 1]
    parameters: dict[str, Array] = {}
    for number in (1, 2, 3):
        parameters[f"W{number}"] = generator.standard_normal((layers[number], layers[number - 1])) / np.sqrt(layers[number - 1])
        parameters[f"b{number}"] = 0.5 * generator.standard_normal((layers[number], 1))
    X = generator.standard_normal((5, examples))
    y = np.arange(examples).reshape(1, -1) % 2
    return layers, parameters, X, y


HIDDEN = ["relu", "tanh", "sigmoid"]


class TestSignatures:
    """Names, positions and defaults are those of the post."""

    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            ("initialize_parameters", {"layers_dims": None}),
            ("L_model_forward", {"X": None, "parameters": None, "hidden_layers_activation_fn": "relu"}),
            ("compute_cost", {"AL": None, "y": None}),
            ("L_model_backward", {"AL": None, "y": None, "caches": None, "hidden_layers_activation_fn": "relu"}),
            ("dictionary_to_vector", {"params_dict": None}),
            ("vector_to_dictionary", {"vector": None, "layers_dims": None}),
            ("gradients_to_vector", {"gradients": None}),
            ("forward_prop_cost", {"X": None, "parameters": None, "Y": None, "hidden_layers_activation_fn": "tanh"}),
            (
                "gradient_check",
                {
                    "parameters": None,
                    "gradients": None,
                    "X": None,
                    "Y": None,
                    "layers_dims": None,
                    "epsilon": 1e-7,
                    "hidden_layers_activation_fn": "tanh",
                },
            ),
        ],
    )
    def test_parameters(self, function: str, expected: dict[str, Any]) -> None:
        """By position and by keyword alike."""
        parameters = inspect.signature(getattr(scratch, function)).parameters
        found = {name: None if item.default is item.empty else item.default for name, item in parameters.items()}
        assert list(found.items()) == list(expected.items())
        assert all(item.kind is item.POSITIONAL_OR_KEYWORD for item in parameters.values())

    def test_gradient_check_is_at_the_top_too(self) -> None:
        """One function under two names."""
        assert gradsweep.gradient_check is scratch.gradient_check


class TestInitializeParameters:
    """Random weights by NumPy's global generator."""

    @pytest.mark.parametrize("layers", [[3, 1], [4, 3, 2, 1], [7, 1, 5], (2, 2)])
    def test_values(self, layers: list[int]) -> None:
        """0.01·normal from seed 1, in the order of the layers; biases zero."""
        found = scratch.initialize_parameters(layers)
        drawn = np.random.RandomState(1)
        assert list(found) == [f"{kind}{number}" for number in range(1, len(layers)) for kind in "Wb"]
        for number in range(1, len(layers)):
            expected = drawn.randn(layers[number], layers[number - 1]) * 0.01
            assert np.array_equal(found[f"W{number}"], expected)
            assert np.array_equal(found[f"b{number}"], np.zeros((layers[number], 1)))
            assert found[f"W{number}"].dtype == found[f"b{number}"].dtype == np.float64

    def test_leaves_the_global_generator_where_the_post_does(self) -> None:
        """What the script draws afterwards depends on it."""
        scratch.initialize_parameters([4, 3, 2, 1])
        found = np.random.permutation(209), np.random.rand(3)  # noqa: NPY002
        expected = np.random.RandomState(1)
        expected.randn(4 * 3 + 3 * 2 + 2 * 1)
        assert np.array_equal(found[0], expected.permutation(209))
        assert np.array_equal(found[1], expected.rand(3))

    def test_whatever_was_drawn_before(self) -> None:
        """The seed is set inside."""
        np.random.seed(123)  # noqa: NPY002
        one = scratch.initialize_parameters([4, 2, 1])
        np.random.rand(7)  # noqa: NPY002
        other = scratch.initialize_parameters([4, 2, 1])
        assert all(np.array_equal(one[name], other[name]) for name in one)


class TestForward:
    """The forward pass."""

    @pytest.mark.parametrize("hidden", HIDDEN)
    def test_values_and_caches(self, hidden: str) -> None:
        """Outputs by a naive pass; caches of ((A_prev, W, b), Z)."""
        _, parameters, X, _ = small(hidden)
        AL, caches = scratch.L_model_forward(X, parameters, hidden)
        outputs = [output.real for output in naive_forward(X, parameters, hidden)]
        assert AL.shape == (1, 4)
        assert np.allclose(AL, outputs[-1], rtol=1e-13, atol=0)
        assert isinstance(caches, list)
        assert len(caches) == 3
        for number, cache in enumerate(caches, start=1):
            (A_prev, W, b), Z = cache
            assert W is parameters[f"W{number}"]
            assert b is parameters[f"b{number}"]
            entering = X if number == 1 else outputs[number - 2]
            assert np.allclose(A_prev, entering, rtol=1e-13, atol=1e-15)
            assert np.allclose(Z, np.einsum("ij,jk->ik", W, entering) + b, rtol=1e-12, atol=1e-14)

    def test_default_is_relu(self) -> None:
        """As in the post before."""
        _, parameters, X, _ = small("relu")
        assert np.array_equal(scratch.L_model_forward(X, parameters)[0], scratch.L_model_forward(X, parameters, "relu")[0])
        assert not np.allclose(scratch.L_model_forward(X, parameters)[0], scratch.L_model_forward(X, parameters, "tanh")[0])

    def test_parameters_in_any_order(self) -> None:
        """Layers go by their number."""
        _, parameters, X, _ = small("tanh")
        turned = {name: parameters[name] for name in ("b3", "W2", "b1", "W3", "W1", "b2")}
        assert np.array_equal(scratch.L_model_forward(X, turned, "tanh")[0], scratch.L_model_forward(X, parameters, "tanh")[0])

    def test_far_from_zero(self) -> None:
        """Saturated outputs are 0 and 1, without a warning."""
        parameters = {"W1": np.array([[1.0]]), "b1": np.zeros((1, 1))}
        AL, _ = scratch.L_model_forward(np.array([[-1e4, -745.0, 0.0, 40.0, 1e4]]), parameters)
        assert AL[0, [0, 2, 3, 4]].tolist() == [0.0, 0.5, 1.0, 1.0]
        assert 0 <= AL[0, 1] < 1e-307

    def test_arguments_stay(self) -> None:
        """Nothing is written to."""
        _, parameters, X, y = small("relu")
        for array in [X, *parameters.values()]:
            array.flags.writeable = False
        AL, caches = scratch.L_model_forward(X, parameters)
        scratch.L_model_backward(AL, y, caches)

    @pytest.mark.parametrize("name", ["ReLU", "", "softplus", None])
    def test_unknown_activation(self, name: Any) -> None:
        """The message begins with the argument, and lists what there is."""
        _, parameters, X, y = small("relu")
        AL, caches = scratch.L_model_forward(X, parameters)
        for call in (
            lambda: scratch.L_model_forward(X, parameters, name),
            lambda: scratch.L_model_backward(AL, y, caches, name),
            lambda: scratch.forward_prop_cost(X, parameters, y, name),
        ):
            with pytest.raises(InputError, match=r"^hidden_layers_activation_fn.*'relu', 'tanh', 'sigmoid'"):
                call()


class TestCost:
    """The cost."""

    def test_by_hand(self) -> None:
        """Mean cross-entropy of two examples."""
        cost = scratch.compute_cost(np.array([[0.5, 0.25]]), np.array([[1, 0]]))
        assert isinstance(cost, float)
        assert cost == pytest.approx((np.log(2) + np.log(4 / 3)) / 2, rel=1e-15)

    def test_no_clipping(self) -> None:
        """Tiny probabilities count in full, and a certain wrong answer costs infinitely much, without a warning."""
        assert scratch.compute_cost(np.array([[1e-300]]), np.array([[1]])) == pytest.approx(300 * np.log(10))
        assert scratch.compute_cost(np.array([[0.0]]), np.array([[1]])) == np.inf
        assert scratch.compute_cost(np.array([[1.0, 0.5]]), np.array([[0, 1]])) == np.inf

    @pytest.mark.parametrize("hidden", HIDDEN)
    def test_forward_prop_cost(self, hidden: str) -> None:
        """Forward pass and cost in one; tanh by default."""
        _, parameters, X, y = small(hidden)
        expected = naive_cost(naive_forward(X, parameters, hidden)[-1], y).real
        found = scratch.forward_prop_cost(X, parameters, y, hidden)
        assert isinstance(found, float)
        assert found == pytest.approx(expected, rel=1e-13)
        if hidden == "tanh":
            assert scratch.forward_prop_cost(X, parameters, y) == found


class TestBackward:
    """The backward pass."""

    @pytest.mark.parametrize("hidden", HIDDEN)
    @pytest.mark.parametrize("examples", [1, 4])
    def test_parameters_by_complex_step(self, hidden: str, examples: int) -> None:
        """dW and db are means over the examples."""
        _, parameters, X, y = small(hidden, 1, examples)
        AL, caches = scratch.L_model_forward(X, parameters, hidden)
        gradients = scratch.L_model_backward(AL, y, caches, hidden)
        for name, block in parameters.items():

            def cost(moved: Array, name: str = name) -> complex:
                return naive_cost(naive_forward(X, {**parameters, name: moved}, hidden)[-1], y)

            expected = complex_step(cost, block)
            assert gradients[f"d{name}"].shape == block.shape
            assert np.allclose(gradients[f"d{name}"], expected, rtol=1e-11, atol=1e-14)
            assert np.abs(expected).max() > 1e-4

    @pytest.mark.parametrize("hidden", HIDDEN)
    def test_activations_by_complex_step(self, hidden: str) -> None:
        """dA is with respect to a layer's output, of the sum of the losses: without 1/m."""
        _, parameters, X, y = small(hidden, 2)
        AL, caches = scratch.L_model_forward(X, parameters, hidden)
        gradients = scratch.L_model_backward(AL, y, caches, hidden)
        outputs = [X, *(output.real for output in naive_forward(X, parameters, hidden))]
        for number in (0, 1, 2):

            def losses(moved: Array, number: int = number) -> complex:
                return 4 * naive_cost(naive_forward(moved, parameters, hidden, start=number)[-1], y)

            expected = complex_step(losses, outputs[number])
            assert gradients[f"dA{number}"].shape == outputs[number].shape
            assert np.allclose(gradients[f"dA{number}"], expected, rtol=1e-11, atol=1e-14)
            assert np.abs(expected).max() > 1e-4

    def test_names(self) -> None:
        """A gradient for every parameter, and for the output of every layer but the last."""
        _, parameters, X, y = small("relu")
        AL, caches = scratch.L_model_forward(X, parameters)
        expected = {*(f"d{name}" for name in parameters), "dA0", "dA1", "dA2"}
        assert set(scratch.L_model_backward(AL, y, caches)) == expected

    def test_default_is_relu(self) -> None:
        """As in the forward pass."""
        _, parameters, X, y = small("relu")
        AL, caches = scratch.L_model_forward(X, parameters)
        one, other = scratch.L_model_backward(AL, y, caches), scratch.L_model_backward(AL, y, caches, "relu")
        assert all(np.array_equal(one[name], other[name]) for name in one)
        assert not np.allclose(one["dW1"], scratch.L_model_backward(AL, y, caches, "tanh")["dW1"])

    @pytest.mark.parametrize("shape", [(4,), (1, 4), (4, 1)])
    def test_labels_of_as_many_entries(self, shape: tuple[int, ...]) -> None:
        """Labels are brought to the shape of AL, and are not broadcast to a square."""
        _, parameters, X, y = small("tanh")
        AL, caches = scratch.L_model_forward(X, parameters, "tanh")
        one = scratch.L_model_backward(AL, y, caches, "tanh")
        other = scratch.L_model_backward(AL, y.reshape(shape), caches, "tanh")
        assert all(np.array_equal(one[name], other[name]) for name in one)

    def test_certain_answers(self) -> None:
        """Where AL is exactly 0 or 1 the gradient is finite and right, without a warning."""
        parameters = {"W1": np.array([[1.0]]), "b1": np.zeros((1, 1))}
        AL, caches = scratch.L_model_forward(np.array([[-1e4, 1e4]]), parameters)
        gradients = scratch.L_model_backward(AL, np.array([[1, 1]]), caches)
        assert gradients["db1"].item() == -0.5
        assert gradients["dW1"].item() == 5000.0


class TestVectors:
    """Between dicts and columns."""

    def test_dictionary_to_vector(self) -> None:
        """A column in the order of insertion, rows first; a copy."""
        arrays = {"b": np.array([[7.0], [8.0]]), "W": np.arange(6.0).reshape(2, 3)}
        vector = scratch.dictionary_to_vector(arrays)
        assert vector.tolist() == [[7.0], [8.0], [0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]
        vector[:] = -1
        assert arrays["W"][1, 2] == 5.0

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_memory_order_makes_no_difference(self, order: Any) -> None:
        """Rows first, also of an array that lies in memory by columns."""
        vector = scratch.dictionary_to_vector({"W": np.array(np.arange(6.0).reshape(2, 3), order=order)})
        assert vector.ravel().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]

    def test_single_array(self) -> None:
        """Which the text of the post, with its lines lost, would not handle."""
        assert scratch.dictionary_to_vector({"W": np.ones((1, 1))}).shape == (1, 1)

    @pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
    def test_vector_to_dictionary(self, shape: tuple[int, ...]) -> None:
        """W1, b1, W2, b2 in their shapes, as views."""
        vector = np.arange(11.0).reshape(shape)
        found = scratch.vector_to_dictionary(vector, [2, 2, 1, 1])
        assert list(found) == ["W1", "b1", "W2", "b2", "W3", "b3"]
        assert {name: block.tolist() for name, block in found.items()} == {
            "W1": [[0.0, 1.0], [2.0, 3.0]],
            "b1": [[4.0], [5.0]],
            "W2": [[6.0, 7.0]],
            "b2": [[8.0]],
            "W3": [[9.0]],
            "b3": [[10.0]],
        }
        assert all(np.shares_memory(block, vector) for block in found.values())
        vector[7] = 70
        assert found["W2"][0, 1] == 70
        found["b1"][1, 0] = 50
        assert vector.ravel()[5] == 50

    def test_there_and_back(self) -> None:
        """A round trip changes nothing."""
        layers, parameters, _, _ = small("relu")
        found = scratch.vector_to_dictionary(scratch.dictionary_to_vector(parameters), layers)
        assert list(found) == list(parameters)
        assert all(np.array_equal(found[name], parameters[name]) for name in parameters)

    def test_gradients_to_vector(self) -> None:
        """In the order of the layers whatever the order of the dict, without dA; a copy."""
        gradients = {
            "dA1": np.full((2, 3), 100.0),
            "db2": np.array([[6.0]]),
            "dW2": np.array([[4.0, 5.0]]),
            "dA0": np.full((1, 3), 200.0),
            "db1": np.array([[2.0], [3.0]]),
            "dW1": np.array([[0.0], [1.0]]),
        }
        vector = scratch.gradients_to_vector(gradients)
        assert vector.tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]
        vector[:] = -1
        assert gradients["dW1"][1, 0] == 1.0

    def test_gradients_line_up_with_parameters(self) -> None:
        """Entry by entry, so that the post's formula compares like with like."""
        layers, parameters, X, y = small("tanh")
        AL, caches = scratch.L_model_forward(X, parameters, "tanh")
        gradients = scratch.L_model_backward(AL, y, caches, "tanh")
        found = scratch.vector_to_dictionary(scratch.gradients_to_vector(gradients), layers)
        assert all(np.array_equal(found[name], gradients[f"d{name}"]) for name in parameters)


# ---- gradient_check ------------------------------------------------------------------------------------------------------


def solved(hidden: str = "tanh", seed: int = 0) -> tuple[list[int], dict[str, Array], Array, Array, dict[str, Array]]:
    """Make a small problem with its right gradient.

    Parameters
    ----------
    hidden : str, default: "tanh"
        Activation.
    seed : int, default: 0
        Which one.

    Returns
    -------
    layers_dims, parameters, X, y, gradients
        All that gradient_check takes.
    """
    layers, parameters, X, y = small(hidden, seed)
    AL, caches = scratch.L_model_forward(X, parameters, hidden)
    return layers, parameters, X, y, scratch.L_model_backward(AL, y, caches, hidden)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed: exactly one line.

    Parameters
    ----------
    capsys : CaptureFixture
        Of the test.

    Returns
    -------
    str
        The line, without its end.
    """
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.endswith("\n")
    assert captured.out.count("\n") == 1
    return captured.out[:-1]


class TestGradientCheck:
    """The drop-in itself."""

    @pytest.mark.parametrize("hidden", HIDDEN)
    def test_right_gradient(self, hidden: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A float far below the post's limit, one green line that says fine, and the arguments untouched."""
        layers, parameters, X, y, gradients = solved(hidden)
        before = copy.deepcopy((layers, parameters, X, y, gradients))
        difference = scratch.gradient_check(parameters, gradients, X, y, layers, 1e-7, hidden)
        assert type(difference) is float
        assert 0 <= difference < 1e-12
        line = printed(capsys)
        assert line.startswith(GREEN)
        assert "fine" in line
        assert "mistake" not in line
        assert str(difference) in line
        assert line.endswith("\033[0m")
        for one, other in zip(before, (layers, parameters, X, y, gradients), strict=True):
            assert repr(one) == repr(other)
        assert all(before[1][name].tobytes() == parameters[name].tobytes() for name in parameters)

    @pytest.mark.parametrize("name", ["W1", "b1", "W2", "b2", "W3", "b3"])
    @pytest.mark.parametrize("factor", [-1.0, 2.0, 0.0, 1 + 1e-6])
    def test_wrong_gradient(self, name: str, factor: float, capsys: pytest.CaptureFixture[str]) -> None:
        """One red line that says mistake, and names the block, alone."""
        layers, parameters, X, y, gradients = solved()
        gradients[f"d{name}"] = factor * gradients[f"d{name}"]
        difference = scratch.gradient_check(parameters, gradients, X, y, layers)
        line = printed(capsys)
        assert line.startswith(RED)
        assert "mistake" in line
        assert "fine" not in line
        assert str(difference) in line
        assert set(re.findall(r"\bd[Wb]\d\b", line)) == {f"d{name}"}

    def test_value_is_formula_3(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Over all entries, of a gradient that is wrong enough for the formula to be seen."""
        layers, parameters, X, y, gradients = solved()
        exact = scratch.gradients_to_vector(gradients)
        gradients["dW2"] = 1.25 * gradients["dW2"]
        spoilt = scratch.gradients_to_vector(gradients)
        expected = np.linalg.norm(spoilt - exact) / (np.linalg.norm(spoilt) + np.linalg.norm(exact))
        assert scratch.gradient_check(parameters, gradients, X, y, layers) == pytest.approx(expected, rel=1e-9)
        assert printed(capsys).startswith(RED)

    def test_hidden_from_the_textbook(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A unit whose whole gradient has the wrong sign: too small for formula 3 over everything, and found all the same."""
        layers, parameters, X, y = small("tanh", 3)
        parameters["W2"][:, 1] *= 1e-8
        AL, caches = scratch.L_model_forward(X, parameters, "tanh")
        gradients = scratch.L_model_backward(AL, y, caches, "tanh")
        gradients["dW1"][1] *= -1
        gradients["db1"][1] *= -1
        run = run_textbook(parameters, gradients, X, y, layers, sample=43)
        assert run.parameters == 43
        assert run.difference < 1e-7
        assert scratch.gradient_check(parameters, gradients, X, y, layers) < 1e-7
        line = printed(capsys)
        assert line.startswith(RED)
        assert set(re.findall(r"\bd[Wb]\d\b", line)) == {"dW1", "db1"}

    def test_default_activation_is_tanh(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The gradient of a relu network is a mistake to it."""
        layers, parameters, X, y, gradients = solved("relu")
        scratch.gradient_check(parameters, gradients, X, y, layers)
        assert printed(capsys).startswith(RED)
        scratch.gradient_check(parameters, gradients, X, y, layers, hidden_layers_activation_fn="relu")
        assert printed(capsys).startswith(GREEN)

    @pytest.mark.parametrize("epsilon", [1e-4, 1e-7, 1e-10])
    def test_epsilon_is_the_step(self, epsilon: float, capsys: pytest.CaptureFixture[str]) -> None:
        """Absolute, and central: the difference falls with its square."""
        layers, parameters, X, y, gradients = solved()
        difference = scratch.gradient_check(parameters, gradients, X, y, layers, epsilon)
        network = Network(layers, "tanh")
        report = gradsweep.check(network.cost(X, y), parameters, gradients, step=epsilon)
        assert difference == report.difference
        assert (difference > 1e-11) == (epsilon == 1e-4)
        printed(capsys)

    def test_step_too_large(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Neither fine nor a mistake, and neither green nor red."""
        layers, parameters, X, y, gradients = solved()
        difference = scratch.gradient_check(parameters, gradients, X, y, layers, epsilon=0.1)
        assert difference > 1e-7
        line = printed(capsys)
        assert not line.startswith((GREEN, RED))
        assert "fine" not in line
        assert "mistake" not in line
        assert str(difference) in line

    def test_order_of_the_dicts(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Parameters and gradients go by their names, not by position."""
        layers, parameters, X, y, gradients = solved()
        names = ["b3", "W2", "b1", "W3", "W1", "b2"]
        turned = {name: parameters[name] for name in names}
        turned_gradients = {f"d{name}": gradients[f"d{name}"] for name in reversed(names)}
        expected = scratch.gradient_check(parameters, gradients, X, y, layers)
        assert printed(capsys).startswith(GREEN)
        assert scratch.gradient_check(turned, turned_gradients, X, y, layers) == expected
        assert printed(capsys).startswith(GREEN)

    def test_vacuous_blocks_are_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A fine gradient of which a part could not be verified."""
        layers, parameters, X, y = small("tanh")
        parameters["b1"][...] = 400
        AL, caches = scratch.L_model_forward(X, parameters, "tanh")
        gradients = scratch.L_model_backward(AL, y, caches, "tanh")
        scratch.gradient_check(parameters, gradients, X, y, layers)
        line = printed(capsys)
        assert line.startswith(GREEN)
        assert set(re.findall(r"\bd[Wb]\d\b", line)) == {"dW1", "db1"}

    def test_nothing_verified_is_not_fine(self, capsys: pytest.CaptureFixture[str]) -> None:
        """All vacuous: no green light."""
        layers, parameters, X, _ = small("tanh")
        parameters["b3"][...] = 400
        y = np.ones((1, 4))
        AL, caches = scratch.L_model_forward(X, parameters, "tanh")
        difference = scratch.gradient_check(parameters, scratch.L_model_backward(AL, y, caches, "tanh"), X, y, layers)
        assert type(difference) is float
        assert "fine" not in printed(capsys)

    def test_nan(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The post's ``difference > 10e-7`` is False for NaN, so it would print fine."""
        layers, parameters, X, y, gradients = solved()
        gradients["dW2"][0, 0] = np.nan
        difference = scratch.gradient_check(parameters, gradients, X, y, layers)
        assert np.isnan(difference)
        line = printed(capsys)
        assert line.startswith(RED)
        assert "dW2" in line

    def test_infinity(self, capsys: pytest.CaptureFixture[str]) -> None:
        """As NaN."""
        layers, parameters, X, y, gradients = solved()
        gradients["db2"][0, 0] = np.inf
        scratch.gradient_check(parameters, gradients, X, y, layers)
        assert printed(capsys).startswith(RED)

    def test_the_callers_stdout_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As print does: whoever redirects it gets the line."""
        layers, parameters, X, y, gradients = solved()
        stream = io.StringIO()
        monkeypatch.setattr("sys.stdout", stream)
        scratch.gradient_check(parameters, gradients, X, y, layers)
        assert stream.getvalue().startswith(GREEN)

    @pytest.mark.parametrize(
        ("argument", "change"),
        [
            ("parameters", lambda a: a["parameters"].pop("W2")),
            ("parameters", lambda a: a["parameters"].update(W1=a["parameters"]["W1"].T)),
            ("parameters", lambda a: a["parameters"]["b1"].fill(np.nan)),
            ("gradients", lambda a: a["gradients"].pop("db2")),
            ("gradients", lambda a: a["gradients"].update(db1=a["gradients"]["db1"].ravel())),
            ("X", lambda a: a.update(X=a["X"].T)),
            ("Y", lambda a: a.update(Y=a["Y"].T)),
            ("Y", lambda a: a.update(Y=a["Y"] * 2)),
            ("layers_dims", lambda a: a.update(layers_dims=[5])),
            ("layers_dims", lambda a: a.update(layers_dims=[5, 0, 3, 1])),
            ("epsilon", lambda a: a.update(epsilon=0)),
            ("epsilon", lambda a: a.update(epsilon=float("nan"))),
            ("hidden_layers_activation_fn", lambda a: a.update(hidden_layers_activation_fn="softsign")),
        ],
    )
    def test_bad_input_is_named_as_the_caller_knows_it(
        self, argument: str, change: Callable[[dict[str, Any]], Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The message begins with this function's own argument, and nothing is printed."""
        layers, parameters, X, y, gradients = solved()
        arguments: dict[str, Any] = {
            "parameters": parameters,
            "gradients": gradients,
            "X": X,
            "Y": y,
            "layers_dims": layers,
            "epsilon": 1e-7,
            "hidden_layers_activation_fn": "tanh",
        }
        change(arguments)
        with pytest.raises(InputError) as caught:
            scratch.gradient_check(**arguments)
        assert capsys.readouterr().out == ""
        assert str(caught.value).startswith(argument)


# ---- the post ------------------------------------------------------------------------------------------------------------


def post_file() -> pathlib.Path:
    """Find the data of the post.

    Returns
    -------
    pathlib.Path
        The training set; skips the test where there is none.
    """
    folder = os.environ.get("GRADSWEEP_POST_DATA")
    place = (pathlib.Path(folder) if folder else ROOT.parent / "shared" / "data") / "train_catvnoncat.h5"
    if not place.is_file():
        pytest.skip(f"{place} is absent; GRADSWEEP_POST_DATA may name its folder")
    return place


def shipped_file() -> pathlib.Path:
    """Find the images that ship with the package.

    Returns
    -------
    pathlib.Path
        A file in the layout of the post's.
    """
    return pathlib.Path(str(importlib.resources.files("gradsweep") / "_data" / "images.h5"))


class TestPostScript:
    """The post's script with its import lines changed, and nothing else."""

    @pytest.fixture(params=["shipped", "post"])
    def notebooks(self, request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
        """Lay out folders as the script expects them, and go there.

        Returns
        -------
        pathlib.Path
            The folder of the script.
        """
        source = post_file() if request.param == "post" else shipped_file()
        folder = tmp_path / "notebooks"
        folder.mkdir()
        (tmp_path / "data").mkdir()
        shutil.copyfile(source, tmp_path / "data" / "train_catvnoncat.h5")
        monkeypatch.chdir(folder)
        return folder

    @staticmethod
    def run(folder: pathlib.Path, text: str) -> dict[str, Any]:
        """Run a script.

        Parameters
        ----------
        folder : pathlib.Path
            Where to write it.
        text : str
            The script.

        Returns
        -------
        dict
            Its variables.
        """
        script = folder / "script.py"
        script.write_text(text, encoding="utf-8")
        variables = runpy.run_path(str(script))
        variables["train_dataset"].close()
        return variables

    def test_fine(self, notebooks: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One green line, a float, and the arguments as they were."""
        variables = self.run(notebooks, POST_SCRIPT)
        line = printed(capsys)
        assert line.startswith(GREEN)
        assert "fine" in line
        difference = variables["difference"]
        assert type(difference) is float
        # A pixel of 255 makes a step of 1e-7 one of 2.5e-5, and the two-sided quotient is off by some 1e-10.
        assert difference <= 1e-9
        assert str(difference) in line
        assert variables["index"].tolist() == [89]
        parameters = variables["parameters"]
        again = scratch.initialize_parameters(POST_LAYERS)
        assert list(parameters) == list(again)
        assert all(np.array_equal(parameters[name], again[name]) for name in again)
        X = variables["X_train"][:, variables["index"]]
        assert X.dtype == np.uint8
        AL, caches = scratch.L_model_forward(X, again, "tanh")
        gradients = scratch.L_model_backward(AL, variables["y_train"][:, variables["index"]], caches, "tanh")
        assert all(np.array_equal(variables["gradients"][name], gradients[name]) for name in gradients)

    def test_mistake(self, notebooks: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One red line."""
        variables = self.run(notebooks, POST_SCRIPT_WITH_BUG)
        line = printed(capsys)
        assert line.startswith(RED)
        assert "mistake" in line
        assert "dW3" in line
        assert variables["difference"] > 1e-3

    def test_script_is_the_post(self) -> None:
        """Both scripts differ where they should."""
        assert POST_SCRIPT_WITH_BUG != POST_SCRIPT
        for words in ("np.random.permutation(X_train.shape[1])", '"../data/train_catvnoncat.h5"', "layers_dims)"):
            assert words in POST_SCRIPT


class Post:
    """The post's run.

    Attributes
    ----------
    all_X, all_y : arrays
        All 209 examples, raw.
    parameters : dict of str to array
        As the post initialises them.
    """

    def __init__(self, place: pathlib.Path) -> None:
        with h5py.File(place) as file:
            self.all_X: Array = np.array(file["train_set_x"]).T.reshape(-1, 209)
            self.all_y: Array = np.array(file["train_set_y"]).T.reshape(-1, 209)
        self.parameters = scratch.initialize_parameters(POST_LAYERS)
        self.example = int(np.random.permutation(209)[0])  # noqa: NPY002 - as the script draws it

    def data(self, example: int, *, raw: bool) -> tuple[Array, Array]:
        """One example.

        Parameters
        ----------
        example : int
            Which one.
        raw : bool
            Whether pixels stay between 0 and 255.

        Returns
        -------
        X, y : arrays of shape (12288, 1) and (1, 1)
            The example.
        """
        X = self.all_X[:, [example]]
        return (X if raw else X / 255), self.all_y[:, [example]]

    def gradients(self, X: Array, y: Array, hidden_backward: str = "tanh") -> dict[str, Array]:
        """Gradients of the post.

        Parameters
        ----------
        X, y : arrays
            Data.
        hidden_backward : str, default: "tanh"
            Activation whose derivative the backward pass takes.

        Returns
        -------
        dict of str to array
            dW1, db1, …, dA0, …
        """
        AL, caches = scratch.L_model_forward(X, self.parameters, "tanh")
        return scratch.L_model_backward(AL, y, caches, hidden_backward)

    def check(self, gradients: Mapping[str, Array], X: Array, y: Array) -> Report:
        """Check gradients.

        Parameters
        ----------
        gradients : mapping of str to array
            The gradients.
        X, y : arrays
            Data.

        Returns
        -------
        Report
            What it says.
        """
        return gradsweep.check(Network(POST_LAYERS).cost(X, y), self.parameters, gradients)


@pytest.fixture(scope="module")
def post() -> Post:
    """Read the data of the post, once.

    Returns
    -------
    Post
        Not to be modified.
    """
    return Post(post_file())


def spoil(gradients: dict[str, Array], name: str, bug: str) -> dict[str, Array]:
    """Plant a bug in one block.

    Parameters
    ----------
    gradients : dict of str to array
        Right ones.
    name : str
        Block.
    bug : str
        Which bug.

    Returns
    -------
    dict of str to array
        Gradients with the bug.
    """
    right = gradients[name]
    largest = np.abs(right) == np.abs(right).max()
    wrong = {
        "sign": -right,
        "doubled": 2 * right,
        "halved": right / 2,
        "mean over 209": right / 209,
        "no mean": right * 209,
        "zero": 0 * right,
        "a millionth": right * (1 + 1e-6),
        "one entry": np.where(largest, 1.001 * right, right),
        "transposed": right.T,
        "nan": np.where(largest, np.nan, right),
    }
    return {**gradients, name: wrong[bug]}


BUGS = ["sign", "doubled", "halved", "mean over 209", "no mean", "zero", "a millionth", "one entry", "nan"]


def names_of_wrong(report: Report) -> list[str]:
    """Names of the blocks that a report calls wrong.

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


class TestPostData:
    """The post's own run: its file, its network, its example."""

    def test_example(self, post: Post) -> None:
        """The script draws example 89, from the generator as the initialisation leaves it."""
        assert post.example == 89
        assert post.all_X.shape == (12288, 209)
        assert post.all_X.dtype == np.uint8

    def test_raw(self, post: Post, capsys: pytest.CaptureFixture[str]) -> None:
        """Passes, and says that nothing is known of the first layer, whose gradients are all exactly zero."""
        X, y = post.data(89, raw=True)
        gradients = post.gradients(X, y)
        assert not gradients["dW1"].any()
        assert not gradients["db1"].any()
        report = post.check(gradients, X, y)
        assert report.verdict == "pass"
        assert {block.name: block.status.name for block in report.blocks} == {
            "W1": "VACUOUS",
            "b1": "VACUOUS",
            "W2": "AGREES",
            "b2": "AGREES",
            "W3": "AGREES",
            "b3": "AGREES",
        }
        assert report.blocks[0].vacuous + report.blocks[1].vacuous == 61_445
        assert "61,445" in str(report)
        assert report.difference <= 1e-13
        assert scratch.gradient_check(post.parameters, gradients, X, y, POST_LAYERS) == report.difference
        line = printed(capsys)
        assert line.startswith(GREEN)
        assert set(re.findall(r"\bd[Wb]\d\b", line)) == {"dW1", "db1"}

    def test_scaled(self, post: Post, capsys: pytest.CaptureFixture[str]) -> None:
        """Every layer is verified; the post's own limit would have failed it."""
        X, y = post.data(89, raw=False)
        gradients = post.gradients(X, y)
        report = post.check(gradients, X, y)
        assert report.verdict == "pass"
        assert {block.status.name for block in report.blocks} == {"AGREES"}
        assert report.difference <= 1e-13
        scratch.gradient_check(post.parameters, gradients, X, y, POST_LAYERS)
        line = printed(capsys)
        assert line.startswith(GREEN)
        assert re.findall(r"\bd[Wb]\d\b", line) == []

    @pytest.mark.parametrize("bug", BUGS)
    @pytest.mark.parametrize("name", ["dW2", "db2", "dW3", "db3"])
    def test_bugs_on_raw_pixels(self, post: Post, name: str, bug: str) -> None:
        """Layers 2 and 3 are live: each bug fails its block, alone."""
        X, y = post.data(89, raw=True)
        report = post.check(spoil(post.gradients(X, y), name, bug), X, y)
        assert report.verdict == "fail"
        assert names_of_wrong(report) == [name[1:]]

    @pytest.mark.parametrize("bug", BUGS)
    @pytest.mark.parametrize("name", ["dW1", "db1", "dW2", "db2", "dW3", "db3"])
    def test_bugs_on_scaled_pixels(self, post: Post, name: str, bug: str) -> None:
        """Every layer is live."""
        X, y = post.data(89, raw=False)
        report = post.check(spoil(post.gradients(X, y), name, bug), X, y)
        assert report.verdict == "fail"
        assert names_of_wrong(report) == [name[1:]]

    @pytest.mark.parametrize("raw", [True, False])
    def test_transposed_where_square(self, post: Post, raw: bool) -> None:
        """The second layer is 5 x 5."""
        X, y = post.data(89, raw=raw)
        report = post.check(spoil(post.gradients(X, y), "dW2", "transposed"), X, y)
        assert names_of_wrong(report) == ["W2"]

    @pytest.mark.parametrize("raw", [True, False])
    def test_wrong_activation_derivative(self, post: Post, raw: bool) -> None:
        """The backward pass takes sigmoid's derivative: layer 2 is wrong, and layer 1 where it is live."""
        X, y = post.data(89, raw=raw)
        report = post.check(post.gradients(X, y, "sigmoid"), X, y)
        assert report.verdict == "fail"
        assert {"W2", "b2"} <= set(names_of_wrong(report)) <= {"W1", "b1", "W2", "b2"}
        assert ("W1" in names_of_wrong(report)) or raw

    @pytest.mark.parametrize("bug", ["mean forgotten", "bias summed over units"])
    def test_several_examples(self, post: Post, bug: str) -> None:
        """Bugs that one example cannot show."""
        chosen = [89, 2, 11, 27, 30]
        X, y = post.all_X[:, chosen] / 255, post.all_y[:, chosen]
        gradients = post.gradients(X, y)
        assert post.check(gradients, X, y).verdict == "pass"
        if bug == "mean forgotten":
            wrong = {name: value * len(chosen) for name, value in gradients.items()}
            assert names_of_wrong(post.check(wrong, X, y)) == ["W1", "b1", "W2", "b2", "W3", "b3"]
        else:
            wrong = {**gradients, "db2": np.full((5, 1), gradients["db2"].sum())}
            assert names_of_wrong(post.check(wrong, X, y)) == ["b2"]

    @pytest.mark.parametrize("raw", [True, False])
    def test_no_example_fails(self, post: Post, raw: bool) -> None:
        """None of the 209, each by itself; scaled, all pass."""
        network, verdicts = Network(POST_LAYERS), []
        for example in range(209):
            X, y = post.data(example, raw=raw)
            verdicts.append(gradsweep.check(network.cost(X, y), post.parameters, post.gradients(X, y)).verdict)
        assert "fail" not in verdicts
        assert verdicts.count("pass") >= (209 if not raw else 150)

    def test_textbook_figure(self, post: Post) -> None:
        """The loop over all 61,481 parameters comes to about the post's 3.02e-9.

        All of this number is rounding, so it hangs on the last digits of tanh, exp and log in NumPy: 3.0220555e-09, as in the
        post, where they are computed without AVX-512, and 3.0737e-09 with it. Another library may be off by a little more.
        """
        X, y = post.data(89, raw=True)
        run = run_textbook(post.parameters, post.gradients(X, y), X, y, POST_LAYERS, sample=61_481)
        assert run.parameters == 61_481
        assert run.difference == pytest.approx(3.0220555e-09, rel=0.3)

    def test_textbook_passes_what_is_wrong(self, post: Post) -> None:
        """A first layer of the wrong sign: the textbook's number over the whole vector is below 1e-7, and the report fails it.

        In example 78 one unit of the first layer is not quite saturated, so its gradient is some 1e-8 of the whole, a hundred
        million times its rounding at the smallest.
        """
        X, y = post.data(78, raw=True)
        gradients = post.gradients(X, y)
        assert post.check(gradients, X, y).verdict == "pass"
        gradients["dW1"] = -gradients["dW1"]
        share = np.linalg.norm(gradients["dW1"]) / np.linalg.norm(scratch.gradients_to_vector(gradients))
        assert 1e-9 < share < 5e-8
        run = run_textbook(post.parameters, gradients, X, y, POST_LAYERS, sample=61_481)
        assert run.difference < 1e-7
        report = post.check(gradients, X, y)
        assert report.difference < 1e-7
        assert report.verdict == "fail"
        assert names_of_wrong(report) == ["W1"]

    def test_textbook_fails_what_is_right(self, post: Post) -> None:
        """On scaled pixels the loop's rounding is above the limit that the post states, for a gradient that is right."""
        X, y = post.data(89, raw=False)
        gradients = post.gradients(X, y)
        run = run_textbook(post.parameters, gradients, X, y, POST_LAYERS, sample=3000)
        assert run.difference > 1e-8
        assert post.check(gradients, X, y).difference < 1e-13
