"""The dense network in plain NumPy: values and backpropagation.

Nothing here uses the kernels: these are the values that the kernels are held against.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradsweep._errors import InputError
from gradsweep._types import Array


@dataclass(frozen=True)
class Activation:
    """An activation in NumPy.

    Attributes
    ----------
    value : callable
        f(Z).
    derivative : callable
        f'(Z).
    roughness : callable
        Absolute rounding of f' as people compute it, in units of the machine epsilon: 1 − A² is off by 1 however small it is.
    curvature : callable
        A bound on |f''|, by which rounding of Z moves f'; of Z and f'.
    value_roughness : callable
        The same as `roughness` of f itself: z/2·(1 + erf) cancels on the left.
    """

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    roughness: Callable[[Array], Array]
    curvature: Callable[[Array, Array], Array]
    value_roughness: Callable[[Array], Array]


def _sigmoid(z: Array) -> Array:
    tail = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, tail) / (1.0 + tail)


def _sigmoid_derivative(z: Array) -> Array:
    tail = np.exp(-np.abs(z))
    return tail / (1.0 + tail) ** 2


def _tanh_derivative(z: Array) -> Array:
    return 4.0 * _sigmoid_derivative(2.0 * z)


def _relu(z: Array) -> Array:
    return np.maximum(z, 0.0)


def _relu_derivative(z: Array) -> Array:
    return (z > 0).astype(np.float64)


def _leaky_relu(z: Array) -> Array:
    return np.where(z > 0, z, LEAK * z)


def _leaky_relu_derivative(z: Array) -> Array:
    return np.where(z > 0, 1.0, LEAK)


def _softplus(z: Array) -> Array:
    return np.logaddexp(0.0, z)


def _silu(z: Array) -> Array:
    return z * _sigmoid(z)


def _silu_derivative(z: Array) -> Array:
    return _sigmoid(z) + z * _sigmoid_derivative(z)


def _gelu_tanh(z: Array) -> Array:
    return z * _sigmoid(_gelu_inner(z))


def _gelu_tanh_derivative(z: Array) -> Array:
    inner = _gelu_inner(z)
    return _sigmoid(inner) + z * _sigmoid_derivative(inner) * _GELU_SCALE * (1.0 + 3.0 * _GELU_CUBIC * z * z)


def _gelu_inner(z: Array) -> Array:
    # tanh u = 2σ(2u) − 1, so that (1 + tanh u)/2 is σ(2u).
    return _GELU_SCALE * (z + _GELU_CUBIC * z**3)


_complementary_error_function = np.vectorize(math.erfc, otypes=[np.float64])


def _normal(z: Array) -> Array:
    result: Array = 0.5 * _complementary_error_function(-z / math.sqrt(2.0))
    return result


def _gelu(z: Array) -> Array:
    return z * _normal(z)


def _gelu_derivative(z: Array) -> Array:
    return _normal(z) + z * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _size(z: Array) -> Array:
    return 1.0 + np.abs(z)


def _twice(z: Array, _: Array) -> Array:
    return np.full_like(z, 2.0)


def _straight(z: Array, _: Array) -> Array:
    return np.zeros_like(z)


#: Slope of leaky_relu on the left.
LEAK = 0.01

_GELU_SCALE = 2.0 * math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715

#: Every activation by its name.
ACTIVATIONS = {
    "identity": Activation(lambda z: z, np.ones_like, np.zeros_like, _straight, np.abs),
    "relu": Activation(_relu, _relu_derivative, np.zeros_like, _straight, np.abs),
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_derivative, np.zeros_like, _straight, np.abs),
    "tanh": Activation(np.tanh, _tanh_derivative, np.ones_like, lambda z, slope: 2.0 * slope, lambda z: np.abs(np.tanh(z))),
    # (1 + tanh(z/2))/2 and 1 − 1/(1 + e^z) are sigmoids, too: right to one rounding of 1, not of the value.
    "sigmoid": Activation(_sigmoid, _sigmoid_derivative, np.ones_like, lambda z, slope: slope, np.ones_like),
    "softplus": Activation(_softplus, _sigmoid, np.ones_like, lambda z, slope: slope, _size),
    "silu": Activation(_silu, _silu_derivative, _size, _twice, _size),
    "gelu": Activation(_gelu, _gelu_derivative, _size, _twice, _size),
    "gelu_tanh": Activation(_gelu_tanh, _gelu_tanh_derivative, _size, _twice, _size),
}

#: Slopes on both sides of the kink at 0, of those that have one.
KINKS = {"relu": (0.0, 1.0), "leaky_relu": (LEAK, 1.0)}


@dataclass(frozen=True)
class Layer:
    """Weights, bias and activation of one layer.

    Attributes
    ----------
    weights : array of shape (units, inputs)
        W, C-contiguous.
    bias : array of shape (units, 1)
        b.
    activation : str
        A name of `ACTIVATIONS`; ``"identity"`` for the last layer, whose output is the logits.
    mask : array of shape (units, examples), optional
        What the activations are multiplied by, at least 0: a dropout mask, which does not change.
    """

    weights: Array
    bias: Array
    activation: str
    mask: Array | None = None

    def masked(self, values: Array) -> Array:
        """Values of shape (units, examples) times the mask, if there is one."""
        return values if self.mask is None else values * self.mask


def block_shapes(sizes: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Name and shape of every block of a network with layers of these sizes: W1, b1, W2 and so on."""
    shapes: dict[str, tuple[int, int]] = {}
    for number, (inputs, units) in enumerate(itertools.pairwise(sizes), start=1):
        shapes[f"W{number}"] = (units, inputs)
        shapes[f"b{number}"] = (units, 1)
    return shapes


@dataclass(frozen=True)
class Pass:
    """What a forward pass leaves behind, a list entry a layer.

    Attributes
    ----------
    inputs : list of arrays of shape (inputs, examples)
        A of the layer before.
    z : list of arrays of shape (units, examples)
        Pre-activations; the last ones are the logits.
    """

    inputs: list[Array]
    z: list[Array]


def forward(layers: list[Layer], x: Array) -> Pass:
    """Forward pass.

    Parameters
    ----------
    layers : list of Layer
        The network.
    x : array of shape (features, examples)
        Inputs.

    Returns
    -------
    Pass
        Inputs and pre-activations of every layer.

    Notes
    -----
    Pre-activations may overflow, with a warning: see `checked_forward`.
    """
    inputs, z = [], []
    activation = x
    for layer in layers:
        inputs.append(activation)
        z.append(layer.weights @ activation + layer.bias)
        activation = layer.masked(ACTIVATIONS[layer.activation].value(z[-1]))
    return Pass(inputs, z)


def forward_with(layers: list[Layer], done: Pass, layer: int, unit: int, weights: Array, bias: float) -> Array:
    """Logits where one unit of one layer has other weights; layers before it are taken from an earlier pass.

    Parameters
    ----------
    layers : list of Layer
        The network.
    done : Pass
        Its forward pass.
    layer, unit : int
        Which unit.
    weights : array of shape (inputs,)
        Its weights.
    bias : float
        Its bias.

    Returns
    -------
    array of shape (outputs, examples)
        Logits.
    """
    z = done.z[layer].copy()
    z[unit] = weights @ done.inputs[layer] + bias
    for before, after in itertools.pairwise(layers[layer:]):
        z = after.weights @ before.masked(ACTIVATIONS[before.activation].value(z)) + after.bias
    return z


def checked_forward(layers: list[Layer], x: Array) -> Pass:
    """Forward pass, or InputError where pre-activations overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        done = forward(layers, x)
    require_no_overflow(done.z)
    return done


def require_no_overflow(z: list[Array]) -> None:
    """Raise InputError, with the first layer's number, unless all pre-activations are finite."""
    for number, values in enumerate(z, start=1):
        if not np.isfinite(values).all():
            raise InputError(f"params: the pre-activations of layer {number} overflow; scale the weights or X down")


@dataclass(frozen=True)
class Loss:
    """A loss on logits, in NumPy.

    Attributes
    ----------
    output : str
        The output that it belongs to.
    value : callable
        Loss of each example, of the logits and labels: array of shape (examples,).
    probability : callable
        Output of the network, of the logits.
    rounding : callable
        Rounding of output − y, in units of the machine epsilon, of output, labels and the rounding of the logits.
    """

    output: str
    value: Callable[[Array, Array], Array]
    probability: Callable[[Array], Array]
    rounding: Callable[[Array, Array, Array], Array]


def _binary_cross_entropy(z: Array, y: Array) -> Array:
    losses: Array = ((1.0 - y) * np.logaddexp(0.0, z) + y * np.logaddexp(0.0, -z)).sum(axis=0)
    return losses


def _log_softmax(z: Array) -> Array:
    shifted = z - z.max(axis=0, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=0, keepdims=True))
    return result


def _softmax(z: Array) -> Array:
    powers = np.exp(z - z.max(axis=0, keepdims=True))
    result: Array = powers / powers.sum(axis=0, keepdims=True)
    return result


def _softmax_cross_entropy(z: Array, y: Array) -> Array:
    losses: Array = -(y * _log_softmax(z)).sum(axis=0)
    return losses


def _squared_error(z: Array, y: Array) -> Array:
    losses: Array = 0.5 * ((z - y) ** 2).sum(axis=0)
    return losses


#: Every loss by its name. Each has output − y for the gradient of an example's loss with respect to its logits.
LOSSES = {
    # Output − y is as exact as its larger operand, and the output moves with the rounding of the logits.
    "binary_cross_entropy": Loss(
        "sigmoid", _binary_cross_entropy, _sigmoid, lambda p, y, error: 2.0 * (p + y) + p * (1.0 - p) * error
    ),
    "softmax_cross_entropy": Loss(
        "softmax",
        _softmax_cross_entropy,
        _softmax,
        lambda p, y, error: 4.0 * (p + y) + 2.0 * p * error.max(axis=0, keepdims=True),
    ),
    "squared_error": Loss("identity", _squared_error, lambda z: z, lambda p, y, error: 2.0 * (np.abs(p) + np.abs(y)) + error),
}


def mean_loss(loss: str, logits: Array, y: Array) -> float:
    """Mean over the examples of a loss.

    Parameters
    ----------
    loss : str
        A name of `LOSSES`.
    logits, y : arrays of shape (outputs, examples)
        Logits and labels.

    Returns
    -------
    float
        In a form that neither overflows nor takes the logarithm of 0.
    """
    return float(LOSSES[loss].value(logits, y).sum() / logits.shape[1])


def penalty(layers: list[Layer], l2: float, examples: int) -> float:
    """λ/(2m)·Σ‖W‖² over the weights of all layers; biases are not penalised."""
    return l2 / (2.0 * examples) * sum(float(np.vdot(layer.weights, layer.weights)) for layer in layers) if l2 else 0.0


def slopes(layers: list[Layer], done: Pass, at_kink: float | None = None) -> list[Array]:
    """Derivative of each hidden layer's activation.

    Parameters
    ----------
    layers : list of Layer
        The network.
    done : Pass
        Its forward pass.
    at_kink : float, optional
        What is taken for the slope at a kink: 0 for that on the left, 1 for that on the right, or between. By default the left.

    Returns
    -------
    list of arrays of shape (units, examples)
        Without masks.
    """
    result = []
    for layer, z in zip(layers[:-1], done.z, strict=False):
        slope = ACTIVATIONS[layer.activation].derivative(z)
        if at_kink is not None and layer.activation in KINKS:
            left, right = KINKS[layer.activation]
            slope = np.where(z == 0.0, left + at_kink * (right - left), slope)
        result.append(slope)
    return result


def backward(layers: list[Layer], error: Array, hidden_slopes: list[Array]) -> tuple[list[Array], list[Array]]:
    """Backpropagation.

    Parameters
    ----------
    layers : list of Layer
        The network.
    error : array of shape (outputs, examples)
        Gradient of each example's loss with respect to its logits: output − y.
    hidden_slopes : list of arrays of shape (units, examples)
        As made by `slopes`.

    Returns
    -------
    dz : list of arrays of shape (units, examples)
        Gradient of the examples' losses (not of their mean) with respect to each layer's pre-activations.
    da : list of arrays of shape (units, examples)
        The same with respect to each layer's activations; the last one stands for the logits.
    """
    da = [error]
    dz = [da[0]]
    for layer, after, slope in zip(layers[-2::-1], layers[:0:-1], hidden_slopes[::-1], strict=True):
        da.append(after.weights.T @ dz[-1])
        dz.append(da[-1] * layer.masked(slope))
    return dz[::-1], da[::-1]


def subgradients(layers: list[Layer], done: Pass, error: Array) -> list[tuple[Array, Array]]:
    """Bounds on what backpropagation gives, whatever it takes for relu' at 0, for each unit and example its own value in [0, 1].

    Where several units are at their kink at once, a backward pass need not lie between the one-sided slopes of the cost: it
    multiplies what it takes for each of them, while a step opens some and not others.

    Parameters
    ----------
    layers : list of Layer
        The network.
    done : Pass
        Its forward pass.
    error : array of shape (outputs, examples)
        Output − y.

    Returns
    -------
    list of (array of shape (units, examples), array of the same shape)
        The smallest and the largest gradient of the examples' losses with respect to each layer's pre-activations; by interval
        arithmetic, so not always attained.
    """
    low = high = error
    result: list[tuple[Array, Array]] = []
    for index in range(len(layers) - 1, -1, -1):
        result.append((low, high))
        if index:
            weights = layers[index].weights
            below, above = (part.T for part in _interval_product(low.T, high.T, weights))
            z = done.z[index - 1]
            activation = layers[index - 1].activation
            least = most = ACTIVATIONS[activation].derivative(z)
            if activation in KINKS:
                left, right = KINKS[activation]
                least, most = np.where(z == 0.0, left, least), np.where(z == 0.0, right, most)
            least, most = layers[index - 1].masked(least), layers[index - 1].masked(most)
            products = np.stack([below * least, below * most, above * least, above * most])
            low, high = products.min(axis=0), products.max(axis=0)
    return result[::-1]


def _interval_product(low: Array, high: Array, factor: Array) -> tuple[Array, Array]:
    """Smallest and largest values of interval @ factor."""
    positive, negative = np.maximum(factor, 0.0), np.minimum(factor, 0.0)
    return low @ positive + high @ negative, high @ positive + low @ negative
