"""The functions of the post "Coding Neural Network - Gradient Checking", and of the one before it, as drop-ins.

Same names, positions, defaults and return values, so that a script written for them runs with its import line alone changed:

    from gradsweep.scratch import (initialize_parameters, L_model_forward, L_model_backward, compute_cost,
                                   dictionary_to_vector, gradients_to_vector, vector_to_dictionary,
                                   forward_prop_cost, gradient_check)

Forward pass, backward pass and cost are plain NumPy, layer by layer, as one writes them by hand: they are what a check has to
judge, and share no code with what judges them. `gradient_check` alone is different inside: it propagates differences (see
:func:`gradsweep.check`), so it takes milliseconds where the loop takes seconds, and says which block is wrong.

Shapes throughout: W{l} (units, inputs), b{l} (units, 1), X (features, examples), Y (1, examples).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradsweep._errors import InputError
from gradsweep._schemes import known
from gradsweep._types import Array

LinearCache = tuple[Array, Array, Array]
Cache = tuple[LinearCache, Array]


def _sigmoid(Z: Array) -> Array:
    # e^−Z may overflow to infinity far on the left; 1/(1 + inf) is the right 0.
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-Z))


def _sigmoid_gradient(dA: Array, Z: Array) -> Array:
    A = _sigmoid(Z)
    return dA * A * (1.0 - A)


def _tanh_gradient(dA: Array, Z: Array) -> Array:
    return dA * (1.0 - np.tanh(Z) ** 2)


def _relu(Z: Array) -> Array:
    return np.maximum(0.0, Z)


def _relu_gradient(dA: Array, Z: Array) -> Array:
    return dA * (Z > 0)


_ACTIVATIONS = {
    "relu": (_relu, _relu_gradient),
    "tanh": (np.tanh, _tanh_gradient),
    "sigmoid": (_sigmoid, _sigmoid_gradient),
}


def _find_activation(name: str) -> Any:
    if name not in _ACTIVATIONS:
        raise InputError(f"hidden_layers_activation_fn: {name!r} is not known; known are {known(list(_ACTIVATIONS))}")
    return _ACTIVATIONS[name]


def initialize_parameters(layers_dims: Sequence[int]) -> dict[str, Array]:
    """Small random weights and zero biases.

    Seeds NumPy's global generator with 1 and draws from it, as the post does: its script draws the example right afterwards.

    Parameters
    ----------
    layers_dims : sequence of int
        Sizes of the layers, the inputs first.

    Returns
    -------
    dict of str to array
        W1, b1, W2, …: W 0.01·normal of shape (units, inputs), b zero of shape (units, 1).

    Examples
    --------
    >>> sorted(initialize_parameters([3, 2, 1]))
    ['W1', 'W2', 'b1', 'b2']
    """
    np.random.seed(1)  # noqa: NPY002 - the legacy generator is what the post's scripts go on drawing from
    parameters: dict[str, Array] = {}
    for number in range(1, len(layers_dims)):
        shape = layers_dims[number], layers_dims[number - 1]
        parameters[f"W{number}"] = np.random.randn(*shape) * 0.01  # noqa: NPY002
        parameters[f"b{number}"] = np.zeros((layers_dims[number], 1))
    return parameters


def L_model_forward(
    X: Array, parameters: Mapping[str, Array], hidden_layers_activation_fn: str = "relu"
) -> tuple[Array, list[Cache]]:
    """Forward pass: linear and activation for each hidden layer, linear and sigmoid for the last.

    Parameters
    ----------
    X : array of shape (features, examples)
        Inputs.
    parameters : mapping of str to array
        W1, b1, W2, …
    hidden_layers_activation_fn : str, default: "relu"
        ``"relu"``, ``"tanh"`` or ``"sigmoid"``.

    Returns
    -------
    AL : array of shape (outputs, examples)
        Probabilities.
    caches : list of ((A_prev, W, b), Z)
        What the backward pass needs, for each layer.

    Raises
    ------
    InputError
        The activation is not known.

    Examples
    --------
    >>> parameters = {"W1": np.array([[1.0, -1.0]]), "b1": np.zeros((1, 1))}
    >>> AL, caches = L_model_forward(np.array([[3.0], [3.0]]), parameters)
    >>> AL, len(caches)
    (array([[0.5]]), 1)
    """
    activation, _ = _find_activation(hidden_layers_activation_fn)
    A = X
    caches: list[Cache] = []
    L = len(parameters) // 2
    for number in range(1, L + 1):
        A_prev, W, b = A, parameters[f"W{number}"], parameters[f"b{number}"]
        Z = np.dot(W, A_prev) + b
        caches.append(((A_prev, W, b), Z))
        A = activation(Z) if number < L else _sigmoid(Z)
    return A, caches


def compute_cost(AL: Array, y: Array) -> float:
    """Mean binary cross-entropy, without clipping.

    Parameters
    ----------
    AL : array of shape (1, examples)
        Probabilities.
    y : array of shape (1, examples)
        Labels.

    Returns
    -------
    float
        The cost; infinite or NaN where a probability is exactly 0 or 1.

    Examples
    --------
    >>> round(compute_cost(np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]])), 4)
    0.6931
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(-np.sum(y * np.log(AL) + (1 - y) * np.log(1 - AL)) / y.shape[1])


def L_model_backward(AL: Array, y: Array, caches: Sequence[Cache], hidden_layers_activation_fn: str = "relu") -> dict[str, Array]:
    """Backward pass.

    Parameters
    ----------
    AL : array of shape (1, examples)
        Probabilities, as `L_model_forward` returns them.
    y : array of shape (1, examples) or of as many entries
        Labels.
    caches : sequence of ((A_prev, W, b), Z)
        As `L_model_forward` returns them.
    hidden_layers_activation_fn : str, default: "relu"
        The one that was used forward.

    Returns
    -------
    dict of str to array
        dW{l} and db{l}, means over the examples; dA{l} with respect to the output of layer l, without the mean; dA0 is that of
        the inputs.

    Raises
    ------
    InputError
        The activation is not known.

    Examples
    --------
    >>> parameters = initialize_parameters([2, 3, 1])
    >>> AL, caches = L_model_forward(np.eye(2), parameters, "tanh")
    >>> gradients = L_model_backward(AL, np.array([[0.0, 1.0]]), caches, "tanh")
    >>> sorted(gradients)
    ['dA0', 'dA1', 'dW1', 'dW2', 'db1', 'db2']
    """
    _, activation_gradient = _find_activation(hidden_layers_activation_fn)
    y = np.reshape(y, AL.shape)
    examples = AL.shape[1]
    gradients: dict[str, Array] = {}
    # Sigmoid and cross-entropy together: dAL·A·(1 − A) is AL − y, without a division by zero where AL is 0 or 1.
    dZ = AL - y
    for number in range(len(caches), 0, -1):
        (A_prev, W, _), Z = caches[number - 1]
        if number < len(caches):
            dZ = activation_gradient(gradients[f"dA{number}"], Z)
        gradients[f"dA{number - 1}"] = np.dot(W.T, dZ)
        gradients[f"dW{number}"] = np.dot(dZ, A_prev.T) / examples
        gradients[f"db{number}"] = np.sum(dZ, axis=1, keepdims=True) / examples
    return gradients


def dictionary_to_vector(params_dict: Mapping[str, ArrayLike]) -> NDArray[Any]:
    """All arrays of a dict in a single column.

    Parameters
    ----------
    params_dict : mapping of str to array_like
        In the order in which they were inserted.

    Returns
    -------
    array of shape (entries, 1)
        A copy.

    Examples
    --------
    >>> dictionary_to_vector({"W1": np.eye(2), "b1": np.zeros((2, 1))}).ravel().tolist()
    [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    """
    return np.concatenate([np.reshape(value, (-1, 1)) for value in params_dict.values()])


def vector_to_dictionary(vector: NDArray[Any], layers_dims: Sequence[int]) -> dict[str, NDArray[Any]]:
    """The parameters that lie in a column: W1, b1, W2 and so on.

    Parameters
    ----------
    vector : array of shape (entries, 1) or (entries,)
        As `dictionary_to_vector` makes it of W1, b1, W2, … in this order.
    layers_dims : sequence of int
        Sizes of the layers.

    Returns
    -------
    dict of str to array
        Views: they change with the vector.

    Examples
    --------
    >>> vector_to_dictionary(np.arange(3.0), [2, 1])
    {'W1': array([[0., 1.]]), 'b1': array([[2.]])}
    """
    parameters: dict[str, NDArray[Any]] = {}
    start = 0
    for number in range(1, len(layers_dims)):
        units, inputs = layers_dims[number], layers_dims[number - 1]
        parameters[f"W{number}"] = vector[start : start + units * inputs].reshape(units, inputs)
        start += units * inputs
        parameters[f"b{number}"] = vector[start : start + units].reshape(units, 1)
        start += units
    return parameters


def gradients_to_vector(gradients: Mapping[str, ArrayLike]) -> NDArray[Any]:
    """The gradients of all parameters in a single column: dW1, db1, dW2, …; dA1, … are left out.

    Parameters
    ----------
    gradients : mapping of str to array_like
        As `L_model_backward` returns them, in any order.

    Returns
    -------
    array of shape (entries, 1)
        A copy.

    Raises
    ------
    KeyError
        A gradient of some layer is missing.

    Examples
    --------
    >>> gradients_to_vector({"db1": np.array([[3.0]]), "dA0": np.zeros((2, 1)), "dW1": np.array([[1.0, 2.0]])}).ravel()
    array([1., 2., 3.])
    """
    L = len([key for key in gradients if not key.startswith("dA")]) // 2
    names = [f"d{kind}{number}" for number in range(1, L + 1) for kind in "Wb"]
    return np.concatenate([np.reshape(gradients[name], (-1, 1)) for name in names])


def forward_prop_cost(X: Array, parameters: Mapping[str, Array], Y: Array, hidden_layers_activation_fn: str = "tanh") -> float:
    """Cost of a forward pass.

    Parameters
    ----------
    X : array of shape (features, examples)
        Inputs.
    parameters : mapping of str to array
        W1, b1, W2, …
    Y : array of shape (1, examples)
        Labels.
    hidden_layers_activation_fn : str, default: "tanh"
        ``"relu"``, ``"tanh"`` or ``"sigmoid"``.

    Returns
    -------
    float
        Mean binary cross-entropy.

    Raises
    ------
    InputError
        The activation is not known.

    Examples
    --------
    >>> parameters = {"W1": np.zeros((1, 2)), "b1": np.zeros((1, 1))}
    >>> round(forward_prop_cost(np.eye(2), parameters, np.array([[0.0, 1.0]])), 4)
    0.6931
    """
    AL, _ = L_model_forward(X, parameters, hidden_layers_activation_fn)
    return compute_cost(AL, Y)


# The arguments of `check` and `Network`, and what they are called here.
_OWN_NAMES = {
    "params": "parameters",
    "gradient": "gradients",
    "layers": "layers_dims",
    "step": "epsilon",
    "hidden": "hidden_layers_activation_fn",
}


def gradient_check(
    parameters: Mapping[str, ArrayLike],
    gradients: Mapping[str, ArrayLike],
    X: ArrayLike,
    Y: ArrayLike,
    layers_dims: Sequence[int],
    epsilon: float = 1e-7,
    hidden_layers_activation_fn: str = "tanh",
) -> float:
    """Check gradients of a dense network against two-sided differences, and print the outcome as one coloured line.

    Parameters
    ----------
    parameters : mapping of str to array_like
        W1, b1, W2, … in any order: they are matched by name.
    gradients : mapping of str to array_like
        dW1, db1, dW2, … in any order; dA1, … are ignored.
    X : array_like of shape (features, examples)
        Inputs.
    Y : array_like of shape (1, examples)
        Labels.
    layers_dims : sequence of int
        Sizes of the layers.
    epsilon : float, default: 1e-7
        Step, absolute.
    hidden_layers_activation_fn : str, default: "tanh"
        ``"relu"``, ``"tanh"`` or ``"sigmoid"``.

    Returns
    -------
    float
        Formula 3 over all entries, ‖g − ĝ‖ / (‖g‖ + ‖ĝ‖). The printed verdict goes by block and entry
        (:func:`gradsweep.check`), so it can be "a mistake" where this number is small: a large dW1 hides a wrong db3 from it.

    Raises
    ------
    InputError
        Names, shapes or values that do not fit.

    Examples
    --------
    >>> parameters = initialize_parameters([2, 3, 1])
    >>> X, Y = np.eye(2), np.array([[0.0, 1.0]])
    >>> AL, caches = L_model_forward(X, parameters, "tanh")
    >>> gradients = L_model_backward(AL, Y, caches, "tanh")
    >>> import contextlib, io
    >>> with contextlib.redirect_stdout(io.StringIO()) as printed:
    ...     difference = gradient_check(parameters, gradients, X, Y, [2, 3, 1])
    >>> "The implementation of back-propagation is fine!" in printed.getvalue(), difference < 1e-14
    (True, True)
    """
    from gradsweep._checking import check
    from gradsweep._verdict import Status
    from gradsweep.network import Network

    _find_activation(hidden_layers_activation_fn)
    try:
        cost = Network(layers_dims, hidden=hidden_layers_activation_fn).cost(X, Y)
        report = check(cost, parameters, gradients, step=epsilon)
    except InputError as error:
        # The caller knows the arguments by this function's names.
        name, rest = re.fullmatch(r"(\w*)(.*)", str(error), re.DOTALL).groups()  # type: ignore[union-attr]
        raise InputError(_OWN_NAMES.get(name, name) + rest) from error
    if report.verdict == "fail":
        wrong = ", ".join(f"d{block.name}" for block in report.blocks if block.status is Status.WRONG)
        colour, words = 31, f"There is a mistake in the back-propagation implementation, in {wrong}!"
    elif report.verdict == "pass":
        colour, words = 32, "The implementation of back-propagation is fine!"
        vacuous = ", ".join(f"d{block.name}" for block in report.blocks if block.status is Status.VACUOUS)
        if vacuous:
            words += f" (Nothing could be verified of {vacuous}: all of it is below rounding.)"
    else:
        unclear = ", ".join(
            f"d{block.name} ({block.status.value})" for block in report.blocks if block.status is not Status.AGREES
        )
        colour, words = 33, f"The implementation of back-propagation could not be verified: {unclear}."
    print(f"\033[{colour}m{words} The difference is: {report.difference}\033[0m")
    return report.difference
