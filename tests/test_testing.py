"""The contract of a backward pass: right layers keep to it, and each planted mistake breaks the clause that is about it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gradsweep import GradientError, InputError
from gradsweep.testing import Contract, assert_backward, check_backward

Array: TypeAlias = NDArray[np.float64]

EXAMPLES, FEATURES, UNITS = 5, 4, 3


@dataclass(frozen=True)
class Written:
    """A layer as somebody wrote it, with what is needed to check it."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    inputs: Any
    options: dict[str, Any] = field(default_factory=dict)

    def check(self, **options: Any) -> Contract:
        return check_backward(self.forward, self.backward, self.inputs, **{**self.options, **options})


def broken_in(contract: Contract) -> list[str]:
    return [clause.name for clause in contract.clauses if clause.outcome == "broken"]


def drawn(seed: int, *shape: int) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


# Layers of the course's style: forward returns a cache, backward takes it.


def affine_forward(x: Any, w: Any, b: Any) -> Any:
    return x @ w + b, (x, w, b)


def affine_backward(dout: Any, cache: Any) -> Any:
    x, w, _ = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def affine_inputs(seed: int = 0) -> dict[str, Any]:
    return {"x": drawn(seed, EXAMPLES, FEATURES), "w": drawn(seed, FEATURES, UNITS), "b": drawn(seed, UNITS)}


def dense(seed: int) -> Written:
    return Written(affine_forward, affine_backward, affine_inputs(seed), {"batched": ("x",)})


def relu_forward(x: Any) -> Any:
    return np.maximum(x, 0.0), x


def relu_backward(dout: Any, cache: Any) -> Any:
    return dout * (cache > 0.0)


def relu(seed: int) -> Written:
    """A relu at some points where it has a kink."""
    x = drawn(seed, EXAMPLES, FEATURES)
    x[0, :2] = 0.0
    return Written(relu_forward, relu_backward, {"x": x}, {"batched": ("x",)})


def batch_norm(seed: int) -> Written:
    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        deviation = np.sqrt(x.var(axis=0) + 1e-5)
        centred = (x - x.mean(axis=0)) / deviation
        return gamma * centred + beta, (centred, gamma, deviation)

    def backward(dout: Any, cache: Any) -> Any:
        centred, gamma, deviation = cache
        dcentred = dout * gamma
        dx = (dcentred - dcentred.mean(axis=0) - centred * (dcentred * centred).mean(axis=0)) / deviation
        return dx, (dout * centred).sum(axis=0), dout.sum(axis=0)

    inputs = {"x": drawn(seed, 7, FEATURES), "gamma": drawn(seed, FEATURES), "beta": drawn(seed, 1, FEATURES)[0]}
    return Written(forward, backward, inputs)


def dense_before_batch_norm(seed: int) -> Written:
    """The gradient of a bias before a batch norm is zero but for rounding, which is no mistake in any clause."""

    def forward(x: Any, w: Any, b: Any) -> Any:
        z = x @ w + b
        deviation = np.sqrt(z.var(axis=0) + 1e-5)
        centred = (z - z.mean(axis=0)) / deviation
        return centred, (x, w, centred, deviation)

    def backward(dout: Any, cache: Any) -> Any:
        x, w, centred, deviation = cache
        dz = (dout - dout.mean(axis=0) - centred * (dout * centred).mean(axis=0)) / deviation
        return dz @ w.T, x.T @ dz, dz.sum(axis=0)

    return Written(forward, backward, affine_inputs(seed))


def layer_norm(seed: int) -> Written:
    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        deviation = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        centred = (x - x.mean(axis=1, keepdims=True)) / deviation
        return gamma * centred + beta, (centred, gamma, deviation)

    def backward(dout: Any, cache: Any) -> Any:
        centred, gamma, deviation = cache
        inner = dout * gamma
        projected = centred * (inner * centred).mean(axis=1, keepdims=True)
        dx = (inner - inner.mean(axis=1, keepdims=True) - projected) / deviation
        return {"dx": dx, "dgamma": (dout * centred).sum(axis=0), "dbeta": dout.sum(axis=0)}

    inputs = {"x": drawn(seed, EXAMPLES, 6), "gamma": drawn(seed, 6), "beta": drawn(seed, 2, 6)[0]}
    return Written(forward, backward, inputs, {"batched": ("x",)})


def convolution(seed: int) -> Written:
    """A valid convolution of images by columns, images and filters in a tuple without names."""

    def columns(x: Any) -> Any:
        return sliding_window_view(x, (2, 2), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5).reshape(x.shape[0], 9, -1)

    def forward(x: Any, w: Any) -> Any:
        return (columns(x) @ w.reshape(3, -1).T).transpose(0, 2, 1).reshape(x.shape[0], 3, 3, 3), (x, w)

    def backward(dout: Any, cache: Any) -> Any:
        x, w = cache
        flat = dout.reshape(x.shape[0], 3, 9)
        dw = np.einsum("nfp,npk->fk", flat, columns(x)).reshape(w.shape)
        dx = np.zeros_like(x)
        for i in range(2):
            for j in range(2):
                dx[:, :, i : i + 3, j : j + 3] += np.einsum("nfhw,fc->nchw", dout, w[:, :, i, j])
        return dx, dw

    return Written(forward, backward, (drawn(seed, 3, 2, 4, 4), drawn(seed, 3, 2, 2, 2)), {"batched": (0,)})


def max_pool(seed: int) -> Written:
    def forward(x: Any) -> Any:
        windows = x.reshape(x.shape[0], 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(x.shape[0], 2, 2, 4)
        return windows.max(axis=-1), (windows.argmax(axis=-1), x.shape)

    def backward(dout: Any, cache: Any) -> Any:
        winners, shape = cache
        windows = np.zeros((*winners.shape, 4))
        np.put_along_axis(windows, winners[..., np.newaxis], dout[..., np.newaxis], axis=-1)
        return windows.reshape(shape[0], 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(shape)

    return Written(forward, backward, {"x": drawn(seed, 3, 4, 4)}, {"batched": "x"})


# Functions and their vector-Jacobian products.


def softmax_of(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax(seed: int) -> Written:
    def backward(dout: Any, x: Any) -> Any:
        p = softmax_of(x)
        return p * (dout - (dout * p).sum(axis=1, keepdims=True))

    return Written(softmax_of, backward, {"x": drawn(seed, EXAMPLES, FEATURES)}, {"batched": ("x",)})


def cross_entropy(seed: int) -> Written:
    """A loss: its output is a number, its labels are integers."""

    def forward(x: Any, labels: Any) -> Any:
        return -np.mean(np.log(softmax_of(x)[np.arange(len(labels)), labels]))

    def backward(dout: Any, x: Any, labels: Any) -> Any:
        p = softmax_of(x)
        p[np.arange(len(labels)), labels] -= 1.0
        return dout * p / len(labels), None

    labels = np.random.default_rng(seed).integers(FEATURES, size=EXAMPLES)
    return Written(forward, backward, {"x": drawn(seed, EXAMPLES, FEATURES), "labels": labels})


def embedding(seed: int) -> Written:
    def forward(ids: Any, table: Any) -> Any:
        return table[ids], (ids, table.shape)

    def backward(dout: Any, cache: Any) -> Any:
        ids, shape = cache
        dtable = np.zeros(shape)
        np.add.at(dtable, ids, dout)
        return dtable

    ids = np.random.default_rng(seed).integers(6, size=(EXAMPLES, 3))
    return Written(forward, backward, {"ids": ids, "table": drawn(seed, 6, 2)}, {"batched": ("ids",)})


def dropout(seed: int) -> Written:
    mask = np.random.default_rng(seed).random((EXAMPLES, FEATURES)) < 0.7

    def forward(x: Any, mask: Any) -> Any:
        return x * mask / 0.7

    def backward(dout: Any, x: Any, mask: Any) -> Any:
        return dout * mask / 0.7

    return Written(forward, backward, {"x": drawn(seed, EXAMPLES, FEATURES), "mask": mask}, {"batched": ("x", "mask")})


def recurrent_step(seed: int) -> Written:
    """A step of a recurrent net with two outputs, whose cotangents are arguments of their own."""

    def forward(x: Any, h: Any, wx: Any, wh: Any, b: Any) -> Any:
        new = np.tanh(x @ wx + h @ wh + b)
        return new, new**2, (x, h, wx, wh, new)

    def backward(dnew: Any, dsquare: Any, cache: Any) -> Any:
        x, h, wx, wh, new = cache
        dz = (dnew + 2.0 * new * dsquare) * (1.0 - new**2)
        return dz @ wx.T, dz @ wh.T, x.T @ dz, h.T @ dz, dz.sum(axis=0)

    inputs = {
        "x": drawn(seed, EXAMPLES, FEATURES),
        "h": drawn(seed, EXAMPLES, UNITS),
        "wx": 0.5 * drawn(seed, FEATURES, UNITS),
        "wh": 0.5 * drawn(seed, UNITS, UNITS),
        "b": drawn(seed, UNITS),
    }
    return Written(forward, backward, inputs, {"batched": ("x", "h")})


def two_outputs_in_a_tuple(seed: int) -> Written:
    def forward(x: Any, w: Any) -> Any:
        return x * w, np.sin(x)

    def backward(cotangents: Any, x: Any, w: Any) -> Any:
        one, two = cotangents
        return one * w + two * np.cos(x), one * x

    return Written(forward, backward, [drawn(seed, EXAMPLES), drawn(seed, 2, EXAMPLES)[0]], {"batched": (0, 1)})


def columns_of_examples(seed: int) -> Written:
    """Examples in columns, as in the post."""

    def forward(W: Any, A: Any, b: Any) -> Any:
        return W @ A + b, (W, A)

    def backward(dZ: Any, cache: Any) -> Any:
        W, A = cache
        return dZ @ A.T, W.T @ dZ, dZ.sum(axis=1, keepdims=True)

    inputs = {"A": drawn(seed, FEATURES, EXAMPLES), "W": drawn(seed, UNITS, FEATURES), "b": drawn(seed, UNITS, 1)}
    return Written(forward, backward, inputs, {"batched": {"A": 1}})


# Layers that are objects.


class Linear:
    """A layer that holds its parameters and their gradients in dicts, and replaces these."""

    def __init__(self, seed: int = 0) -> None:
        self.params = {"W": drawn(seed, FEATURES, UNITS), "b": drawn(seed, UNITS)}
        self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}
        self.x: Any = None

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout: Any) -> Any:
        self.grads["W"] = self.x.T @ dout
        self.grads["b"] = dout.sum(axis=0)
        return dout @ self.params["W"].T


class Accumulating(Linear):
    def backward(self, dout: Any) -> Any:
        self.grads["W"] += self.x.T @ dout
        self.grads["b"] += dout.sum(axis=0)
        return dout @ self.params["W"].T


class WithAttributes:
    """A layer that holds its parameters in attributes, and puts new gradients beside them."""

    def __init__(self, seed: int = 0) -> None:
        self.w, self.b = drawn(seed, FEATURES, UNITS), drawn(seed, UNITS)
        self.x: Any = None
        self.dw: Any = None
        self.db: Any = None

    def forward(self, x: Any) -> Any:
        self.x = x
        return np.tanh(x @ self.w + self.b)

    def backward(self, dout: Any) -> Any:
        dz = dout * (1.0 - np.tanh(self.x @ self.w + self.b) ** 2)
        self.dw, self.db = self.x.T @ dz, dz.sum(axis=0)
        return dz @ self.w.T


def of_object(layer: Any, seed: int = 0, **options: Any) -> Written:
    held = {"parameters": layer.params, "gradients": layer.grads, "batched": ("x",), **options}
    return Written(layer.forward, layer.backward, {"x": drawn(seed, EXAMPLES, FEATURES)}, held)


def with_dicts(seed: int) -> Written:
    return of_object(Linear(seed), seed)


def accumulating(seed: int) -> Written:
    return of_object(Accumulating(seed), seed, accumulates=True)


def with_attributes(seed: int) -> Written:
    layer = WithAttributes(seed)
    options = {
        "parameters": {"w": layer.w, "b": layer.b},
        "gradients": lambda: {"w": layer.dw, "b": layer.db},
        "batched": ("x",),
    }
    return Written(layer.forward, layer.backward, {"x": drawn(seed, EXAMPLES, FEATURES)}, options)


def without_input_gradient(seed: int) -> Written:
    """The first layer of a network has nobody to hand a gradient to."""
    layer = Linear(seed)

    def backward(dout: Any) -> None:
        layer.backward(dout)

    written = of_object(layer, seed)
    return Written(layer.forward, backward, written.inputs, written.options)


RIGHT = [
    dense,
    relu,
    batch_norm,
    dense_before_batch_norm,
    layer_norm,
    convolution,
    max_pool,
    softmax,
    cross_entropy,
    embedding,
    dropout,
    recurrent_step,
    two_outputs_in_a_tuple,
    columns_of_examples,
    with_dicts,
    accumulating,
    with_attributes,
    without_input_gradient,
]


@pytest.mark.parametrize("write", RIGHT, ids=lambda write: write.__name__)
def test_right_layers_keep_to_it(write: Callable[[int], Written]) -> None:
    for seed in range(50):
        contract = write(seed).check(seed=seed)
        assert contract.ok, f"seed {seed}\n{contract}"
        assert contract.report is not None
        assert contract.report.verdict == "pass"
