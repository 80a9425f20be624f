"""The contract of a backward pass: right layers keep to it, and each planted mistake breaks the clause that is about it."""

import contextlib
import math
import os
import pathlib
import random
import re
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


def embedding_that_holds_its_table(seed: int) -> Written:
    """Nothing but integers go in, so that backward returns nothing."""

    class Embedding:
        def __init__(self) -> None:
            self.params, self.grads = {"table": drawn(seed, 6, 2)}, {"table": np.zeros((6, 2))}
            self.ids: Any = None

        def forward(self, ids: Any) -> Any:
            self.ids = ids
            return self.params["table"][ids]

        def backward(self, dout: Any) -> None:
            self.grads["table"][...] = 0.0
            np.add.at(self.grads["table"], self.ids, dout)

    layer = Embedding()
    ids = np.random.default_rng(seed).integers(6, size=(EXAMPLES, 3))
    held = {"parameters": layer.params, "gradients": layer.grads, "batched": ("ids",)}
    return Written(layer.forward, layer.backward, {"ids": ids}, held)


def forgetful(seed: int) -> Written:
    """A layer that drops what its forward pass left as soon as it has been used."""

    class Forgetful(Linear):
        def backward(self, dout: Any) -> Any:
            dx = super().backward(dout)
            del self.x
            return dx

    return of_object(Forgetful(seed), seed)


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
    embedding_that_holds_its_table,
    forgetful,
]


@pytest.mark.parametrize("write", RIGHT, ids=lambda write: write.__name__)
def test_right_layers_keep_to_it(write: Callable[[int], Written]) -> None:
    for seed in range(50):
        contract = write(seed).check(seed=seed)
        assert contract.ok, f"seed {seed}\n{contract}"
        assert contract.report is not None
        assert contract.report.verdict == "pass"


# Planted mistakes: each breaks just these clauses, and is said in these words.


@dataclass(frozen=True)
class Mistake:
    name: str
    write: Callable[[], Written]
    clauses: tuple[str, ...]
    words: tuple[str, ...]


def affine(backward: Callable[..., Any], forward: Callable[..., Any] = affine_forward, **options: Any) -> Written:
    return Written(forward, backward, affine_inputs(), {"batched": ("x",), **options})


def changed(change: Callable[[Any, Any, Any, Any], Any]) -> Callable[[], Written]:
    """The affine layer with another backward pass: what `change` makes of the cotangent and the right gradients."""

    def backward(dout: Any, cache: Any) -> Any:
        dx, dw, db = affine_backward(dout, cache)
        return change(dout, dx, dw, db)

    return lambda: affine(backward)


def drawing_forward() -> Written:
    """Dropout that draws its mask from the global generator."""

    def forward(x: Any) -> Any:
        mask = np.random.rand(*x.shape) < 0.5  # noqa: NPY002
        return x * mask, (mask,)

    return Written(forward, lambda dout, cache: dout * cache[0], {"x": drawn(0, EXAMPLES, FEATURES)})


def drawing_object() -> Written:
    """The same with a generator of its own, so that no two calls agree."""

    class Dropout:
        def __init__(self) -> None:
            self.generator = np.random.default_rng(0)
            self.mask: Any = None

        def forward(self, x: Any) -> Any:
            self.mask = self.generator.random(x.shape) < 0.5
            return x * self.mask

        def backward(self, dout: Any) -> Any:
            return dout * self.mask

    layer = Dropout()
    return Written(layer.forward, layer.backward, {"x": drawn(0, EXAMPLES, FEATURES)})


def drawing_backward() -> Written:
    generator = np.random.default_rng(0)

    def backward(dout: Any, cache: Any) -> Any:
        dx, dw, db = affine_backward(dout, cache)
        return dx, dw + 0.1 * generator.standard_normal(dw.shape), db

    return affine(backward)


def drawing_in_backward() -> Written:
    """Stochastic rounding of a gradient, by the global generator: in the same state it is the same."""

    def backward(dout: Any, cache: Any) -> Any:
        dx, dw, db = affine_backward(dout, cache)
        return dx, dw, db * np.random.choice([1.0, 2.0])  # noqa: NPY002

    return affine(backward)


def working_once() -> Written:
    """A layer that cannot be used again."""

    class Once:
        def __init__(self) -> None:
            self.calls = 0

        def forward(self, x: Any) -> Any:
            self.calls += 1
            if self.calls > 2:
                raise RuntimeError("the graph was freed")
            return 2.0 * x

        def backward(self, dout: Any) -> Any:
            return 2.0 * dout

    layer = Once()
    return Written(layer.forward, layer.backward, {"x": drawn(0, EXAMPLES)})


def emptying_its_cache() -> Written:
    """Backward changes the cache, so that a second one behind the same forward pass is another."""

    def forward(x: Any) -> Any:
        return x**2, [2.0 * x]

    def backward(dout: Any, cache: Any) -> Any:
        cache[0] *= dout
        return cache[0].copy()

    return Written(forward, backward, {"x": drawn(0, EXAMPLES)}, {"batched": ("x",)})


def using_up_its_output() -> Written:
    """A sigmoid that makes its derivative where its output is."""

    class Sigmoid:
        def __init__(self) -> None:
            self.out: Any = None

        def forward(self, x: Any) -> Any:
            self.out = 1.0 / (1.0 + np.exp(-x))
            return self.out

        def backward(self, dout: Any) -> Any:
            self.out *= 1.0 - self.out
            return dout * self.out

    layer = Sigmoid()
    return Written(layer.forward, layer.backward, {"x": drawn(0, EXAMPLES)}, {"batched": ("x",)})


def counting_calls() -> Written:
    """A running mean that backward uses instead of that of the batch."""

    class Centring:
        def __init__(self) -> None:
            self.factor = 1.0

        def forward(self, x: Any) -> Any:
            return 2.0 * x

        def backward(self, dout: Any) -> Any:
            self.factor *= 0.9
            return 2.0 * self.factor * dout

    layer = Centring()
    return Written(layer.forward, layer.backward, {"x": drawn(0, EXAMPLES)})


def adding_what_it_returns() -> Written:
    """The gradient of w is kept in a closure and never cleared."""
    total = np.zeros((FEATURES, UNITS))

    def backward(dout: Any, cache: Any) -> Any:
        nonlocal total
        dx, dw, db = affine_backward(dout, cache)
        total = total + dw
        return dx, total.copy(), db

    return affine(backward)


def adding_undeclared() -> Written:
    return of_object(Accumulating())


def replacing_undeclared() -> Written:
    return of_object(Linear(), accumulates=True)


def writing_rows_only() -> Written:
    """An embedding layer that sets the rows of the words that occur, and leaves the others as they were."""

    class Embedding:
        def __init__(self) -> None:
            self.params = {"table": drawn(0, 6, 2)}
            self.grads = {"table": np.zeros((6, 2))}
            self.ids: Any = None

        def forward(self, scale: Any, ids: Any) -> Any:
            self.ids, self.scale = ids, scale
            return scale * self.params["table"][ids]

        def backward(self, dout: Any) -> Any:
            for row in np.unique(self.ids):
                self.grads["table"][row] = self.scale * dout[self.ids == row].sum(axis=0)
            return (dout * self.params["table"][self.ids]).sum()

    layer = Embedding()
    inputs = {"scale": 0.5, "ids": np.array([0, 2, 2, 5])}
    return Written(layer.forward, layer.backward, inputs, {"parameters": layer.params, "gradients": layer.grads})


def decaying_in_forward() -> Written:
    """Weights that shrink at each forward pass."""

    class Shrinking(Linear):
        def forward(self, x: Any) -> Any:
            self.params["W"] *= 0.99
            return super().forward(x)

    return of_object(Shrinking())


def stepping_in_backward() -> Written:
    """A step of gradient descent inside backward."""

    class Stepping(Linear):
        def backward(self, dout: Any) -> Any:
            dx = super().backward(dout)
            self.params["b"] -= 0.1 * self.grads["b"]
            return dx

    return of_object(Stepping())


def masking_in_place(dout: Any, cache: Any) -> Any:
    dout[cache <= 0.0] = 0.0
    return dout.copy()


def clipping_its_input(x: Any) -> Any:
    np.maximum(x, 0.0, out=x)
    return x.copy(), x.copy()


def without_noise_of_sign(dout: Any, x: Any) -> Any:
    return np.maximum(dout, 0.0) * (x > 0.0)


def mean_of_batch(x: Any) -> Any:
    return x - x.mean(axis=0)


class Buffered:
    """A relu that hands out arrays which it uses again."""

    def __init__(self, *, forward_too: bool) -> None:
        self.out, self.dx = np.empty((EXAMPLES, FEATURES)), np.empty((EXAMPLES, FEATURES))
        self.forward_too = forward_too
        self.x: Any = None

    def forward(self, x: Any) -> Any:
        self.x = x.copy()
        return np.maximum(x, 0.0, out=self.out) if self.forward_too else np.maximum(x, 0.0)

    def backward(self, dout: Any) -> Any:
        return np.multiply(dout, self.x > 0.0, out=self.dx)


def buffered(*, forward_too: bool) -> Written:
    layer = Buffered(forward_too=forward_too)
    return Written(layer.forward, layer.backward, {"x": drawn(0, EXAMPLES, FEATURES)})


def alternating_buffers() -> Written:
    """Two buffers by turns, of which both are cleared at each call."""

    class Alternating:
        def __init__(self) -> None:
            self.buffers = [np.empty((EXAMPLES, FEATURES)) for _ in range(2)]

        def forward(self, x: Any) -> Any:
            return 2.0 * x

        def backward(self, dout: Any) -> Any:
            self.buffers.reverse()
            for buffer in self.buffers:
                buffer[...] = 0.0
            self.buffers[0] += 2.0 * dout
            return self.buffers[0]

    layer = Alternating()
    return Written(layer.forward, layer.backward, {"x": drawn(0, EXAMPLES, FEATURES)})


def of_one_input(forward: Callable[..., Any], backward: Callable[..., Any], **options: Any) -> Written:
    return Written(forward, backward, {"x": drawn(0, EXAMPLES, FEATURES)}, options)


def normalised_cotangent(dout: Any, x: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return np.cos(x) * dout / np.linalg.norm(dout)


def wrong_bias() -> Written:
    """Right at zero biases, where a check at one point alone would look."""

    def backward(dout: Any, cache: Any) -> Any:
        x, w, b = cache
        return dout @ w.T, x.T @ dout, dout.sum(axis=0) * (1.0 + b)

    return Written(affine_forward, backward, {**affine_inputs(), "b": np.zeros(UNITS)})


def transposed_in_object() -> Written:
    class Square(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.params["W"] = drawn(0, FEATURES, FEATURES)
            self.params["b"] = drawn(0, FEATURES)

        def backward(self, dout: Any) -> Any:
            super().backward(dout)
            self.grads["W"] = self.grads["W"].T.copy()
            return dout @ self.params["W"].T

    return of_object(Square())


def stale_state() -> Written:
    """Backward takes what the first forward pass of all left."""

    class Stale:
        def __init__(self) -> None:
            self.x: Any = None

        def forward(self, x: Any) -> Any:
            if self.x is None:
                self.x = x.copy()
            return np.sin(x)

        def backward(self, dout: Any) -> Any:
            return dout * np.cos(self.x[: len(dout)])

    layer = Stale()
    return Written(layer.forward, layer.backward, {"x": drawn(0, EXAMPLES, FEATURES)}, {"batched": ("x",)})


MISTAKES = [
    Mistake(
        "a mask from the global generator", drawing_forward, ("repeatable", "untouched"), ("two outputs", "global generator")
    ),
    Mistake("a mask from a generator of its own", drawing_object, ("repeatable",), ("forward gives two outputs", "output[")),
    Mistake("noise in backward", drawing_backward, ("repeatable",), ("backward gives two gradients", "dw[")),
    Mistake("a layer that works once", working_once, ("repeatable",), ("forward raises RuntimeError: the graph was freed",)),
    Mistake("a cache that is used up", emptying_its_cache, ("repeatable", "untouched"), ("behind one forward pass", "cache[0]")),
    Mistake("an output that is used up", using_up_its_output, ("repeatable", "untouched"), ("backward changes output[0]",)),
    Mistake("a factor that shrinks", counting_calls, ("repeatable",), ("backward gives two gradients", "dx[")),
    Mistake("returned gradients that add up", adding_what_it_returns, ("buffers",), ("add up over calls: dw[", "then")),
    Mistake("buffers that add up", adding_undeclared, ("buffers",), ("gradient of parameters.W", "is added to noise")),
    Mistake("buffers that do not add up", replacing_undeclared, ("buffers",), ("takes the place of noise",)),
    Mistake(
        "rows that are not cleared",
        writing_rows_only,
        ("buffers",),
        ("gradient of parameters.table[", "keeps noise", "but should be 0"),
    ),
    Mistake(
        "weights that shrink in forward",
        decaying_in_forward,
        ("repeatable", "untouched"),
        ("forward changes parameters['W'][0, 0]",),
    ),
    Mistake(
        "a step inside backward", stepping_in_backward, ("untouched", "repeatable"), ("backward changes parameters['b'][0]",)
    ),
    Mistake(
        "a cotangent masked in place",
        lambda: of_one_input(relu_forward, masking_in_place, batched=("x",)),
        ("untouched",),
        ("backward changes cotangent[",),
    ),
    Mistake(
        "an input clipped in place",
        lambda: of_one_input(clipping_its_input, relu_backward, cache="returned"),
        ("untouched",),
        ("forward changes x[",),
    ),
    Mistake(
        "a mask of the cotangent's sign",
        lambda: of_one_input(lambda x: np.maximum(x, 0.0), without_noise_of_sign),
        ("linear", "derivative"),
        ("-48·u + 80·v", "dx["),
    ),
    Mistake(
        "clipped gradients",
        changed(lambda dout, dx, dw, db: (dx, np.clip(dw, -20.0, 20.0), db)),
        ("linear",),
        ("dw[", "clipping"),
    ),
    Mistake(
        "weight decay in backward alone",
        lambda: affine(lambda dout, cache: _with_decay(dout, cache)),
        ("linear", "zero", "batch", "derivative"),
        ("where the cotangent is zero", "weight decay"),
    ),
    Mistake(
        "a cotangent that is normalised",
        lambda: of_one_input(np.sin, normalised_cotangent, cache="arguments"),
        ("linear", "zero", "derivative"),
        ("is nan where the cotangent is zero",),
    ),
    Mistake(
        "1/m in dw alone",
        changed(lambda dout, dx, dw, db: (dx, dw / len(dx), db)),
        ("batch", "derivative"),
        ("summed over the examples apart", "the gradient of w is wrong; x and b agree"),
    ),
    Mistake(
        "statistics over the batch",
        lambda: of_one_input(mean_of_batch, lambda dout, x: dout - dout.mean(axis=0), cache="arguments", batched=("x",)),
        ("batch",),
        ("output[", "among all examples", "batch norm"),
    ),
    Mistake(
        "gradients of the first example for all",
        changed(lambda dout, dx, dw, db: (np.repeat(dx[:1], len(dx), axis=0), dw, db)),
        ("batch", "derivative"),
        ("dx[", "without the others"),
    ),
    Mistake(
        "a bias gradient with an axis too many",
        changed(lambda dout, dx, dw, db: (dx, dw, db[np.newaxis])),
        ("shapes",),
        ("db has shape (1, 3), but b has (3,)", "not looked at: b"),
    ),
    Mistake(
        "a gradient in single precision",
        changed(lambda dout, dx, dw, db: (dx, dw.astype(np.float32), db)),
        ("shapes",),
        ("dw is float32, but w is float64",),
    ),
    Mistake("a buffer for the output", lambda: buffered(forward_too=True), ("memory",), ("output of one call", "dx of one call")),
    Mistake("a buffer for the gradient", lambda: buffered(forward_too=False), ("memory",), ("dx of one call",)),
    Mistake("buffers by turns", alternating_buffers, ("memory",), ("dx of one call",)),
    Mistake(
        "one array for two gradients",
        lambda: Written(
            lambda a, b: a + b,
            lambda dout, a, b: 2 * [dout.copy()],
            {"a": drawn(0, EXAMPLES), "b": drawn(1, EXAMPLES)},
            {"cache": "arguments"},
        ),
        ("memory",),
        ("db shares memory with da",),
    ),
    Mistake(
        "the cotangent itself",
        lambda: of_one_input(lambda x: x + 1.0, lambda dout, x: dout),
        ("memory",),
        ("dx shares memory with cotangent",),
    ),
    Mistake(
        "a view of the input",
        lambda: of_one_input(lambda x: x.reshape(-1), lambda dout, x: dout.reshape(x.shape).copy()),
        ("memory",),
        ("output shares memory with x",),
    ),
    Mistake("a factor of the bias", wrong_bias, ("derivative",), ("second point",)),
    Mistake(
        "a transposed gradient in a buffer", transposed_in_object, ("derivative",), ("the gradient of parameters.W is wrong",)
    ),
    Mistake("a state that is never renewed", stale_state, ("batch", "derivative"), ("dx[", "second point")),
    Mistake(
        "the derivative of another function",
        lambda: of_one_input(np.tanh, lambda dout, x: dout * (1.0 - x**2), cache="arguments"),
        ("derivative",),
        ("the gradient of x is wrong", "worst entries", "ratio"),
    ),
]


def _with_decay(dout: Any, cache: Any) -> Any:
    dx, dw, db = affine_backward(dout, cache)
    return dx, dw + 0.1 * cache[1], db


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_breaks_its_clauses(mistake: Mistake) -> None:
    contract = mistake.write().check()
    text = " ".join(str(contract).split())
    assert set(broken_in(contract)) == set(mistake.clauses), f"{broken_in(contract)}\n{contract}"
    assert not contract.ok
    assert text.startswith(f"FAIL: backward breaks {len(mistake.clauses)} of 9 clauses")
    for words in mistake.words:
        assert words in text, f"{words!r} is not in\n{contract}"
    for clause in contract.clauses:
        assert bool(clause.advice) == (clause.outcome == "broken")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_no_seed_hides_a_mistake(mistake: Mistake) -> None:
    for seed in range(1, 6):
        contract = mistake.write().check(seed=seed)
        assert set(broken_in(contract)) == set(mistake.clauses), f"seed {seed}\n{contract}"


def test_every_clause_has_a_mistake_of_its_own() -> None:
    names = {clause.name for clause in dense(0).check().clauses}
    assert names == {name for mistake in MISTAKES for name in mistake.clauses}


def test_gradients_from_the_global_generator() -> None:
    for seed in range(20):
        np.random.seed(seed)  # noqa: NPY002
        contract = drawing_in_backward().check()
        assert "untouched" in broken_in(contract)
        assert contract["untouched"].evidence == "backward draws from NumPy's global generator"
        assert contract["linear"].outcome == "holds"
        if "repeatable" in broken_in(contract):
            assert "not where the global generators are in the same state" in contract["repeatable"].evidence


def test_a_contract_is_true_if_it_is_kept() -> None:
    assert dense(0).check()
    for mistake in MISTAKES:
        assert not mistake.write().check(), mistake


class TestText:
    def test_a_pass(self) -> None:
        lines = str(dense(0).check()).splitlines()
        assert lines[0] == "PASS: backward keeps 8 clauses; not applicable: buffers"
        assert "  output, cache = forward(x, w, b)" in lines
        assert "  backward(cotangent, cache)" in lines
        assert max(map(len, lines)) <= 80

    def test_all_nine(self) -> None:
        assert str(with_dicts(0).check()).startswith("PASS: backward keeps all 9 clauses\n")

    def test_a_failure_is_no_wider(self) -> None:
        for mistake in MISTAKES:
            assert max(map(len, str(mistake.write().check()).splitlines())) <= 80

    def test_clauses_by_name(self) -> None:
        contract = dense(0).check()
        assert contract["linear"] is contract.clauses[3]
        with pytest.raises(KeyError):
            contract["quadratic"]

    def test_few_passes(self) -> None:
        contract = with_dicts(0).check()
        assert contract.forward_passes <= 15
        assert contract.backward_passes <= 15

    def test_the_same_seed_says_the_same(self) -> None:
        one, other = (str(changed(lambda dout, dx, dw, db: (dx, 2 * dw, db))().check(seed=3)) for _ in range(2))
        assert [line for line in one.splitlines() if "evaluations" not in line] == [
            line for line in other.splitlines() if "evaluations" not in line
        ]


class TestAssert:
    def test_returns_the_contract(self) -> None:
        written = dense(0)
        assert assert_backward(written.forward, written.backward, written.inputs, **written.options).ok

    def test_raises_with_its_text(self) -> None:
        written = changed(lambda dout, dx, dw, db: (dx, dw, db[np.newaxis]))()
        with pytest.raises(GradientError, match="breaks 1 of 9 clauses: shapes") as caught:
            assert_backward(written.forward, written.backward, written.inputs)
        assert isinstance(caught.value, AssertionError)
        assert isinstance(caught.value.report, Contract)
        assert str(caught.value) == str(caught.value.report)


class TestDerivative:
    def test_it_is_looked_at_where_inputs_are_written_to(self) -> None:
        contract = check_backward(clipping_its_input, relu_backward, {"x": drawn(0, EXAMPLES)}, cache="returned")
        assert (contract["untouched"].outcome, contract["derivative"].outcome) == ("broken", "holds")

    def test_differences_are_propagated_through_what_a_layer_holds(self) -> None:
        report = with_dicts(0).check().report
        assert report is not None
        assert report.evaluated_by == "difference arrays"
        assert {block.name for block in report.blocks} == {"x", "parameters.W", "parameters.b"}
        assert report.difference < 1e-13

    def test_values_where_they_cannot_be(self) -> None:
        def forward(x: Any) -> Any:
            return np.array([math.exp(entry) for entry in x])

        contract = check_backward(forward, lambda dout, x: dout * np.exp(x), {"x": drawn(0, EXAMPLES)})
        assert contract.ok
        assert contract.report is not None
        assert contract.report.evaluated_by == "plain function"

    def test_attributes_are_changed_in_place(self) -> None:
        report = with_attributes(0).check().report
        assert report is not None
        assert report.evaluated_by == "plain function"
        assert "holds the arrays elsewhere" in report.reason

    def test_names_of_positions(self) -> None:
        contract = check_backward(
            lambda x, n, w: x**n * w,
            lambda dout, x, n, w: (3 * dout * n * x ** (n - 1) * w, dout * x**n),
            (drawn(0, 4), np.array(2), drawn(1, 4)),
        )
        assert contract.report is not None
        assert [block.name for block in contract.report.blocks] == ["inputs[0]", "inputs[2]"]
        assert contract["derivative"].evidence == "the gradient of inputs[0] is wrong; inputs[2] agrees"

    def test_what_has_no_gradient_is_named(self) -> None:
        contract = check_backward(lambda x, t: x * t, lambda dout, x, t: (dout * t, None), {"x": drawn(0, 4), "t": drawn(1, 4)})
        assert contract.ok
        assert "not looked at: t" in contract["derivative"].evidence

    def test_a_cost_that_ends_beside_the_point_is_inconclusive(self) -> None:
        contract = check_backward(
            lambda x: np.power(1.0 - x, 1.5), lambda dout, x: -1.5 * dout * np.sqrt(1.0 - x), {"x": np.array([1.0, -1.0])}
        )
        assert contract["derivative"].outcome == "inconclusive"
        assert not contract.ok
        assert str(contract).startswith("INCONCLUSIVE: backward could not be verified: derivative")

    def test_a_finding_names_no_line_of_gradsweeps_own(self) -> None:
        """A forward pass that has no lines is looked for where it was given."""
        contract = check_backward(np.exp, lambda dout, x: dout * x, {"x": drawn(1, 4)}, cache="arguments")
        assert contract.report is not None
        message = contract.report.findings[0].message
        assert "the slope of np.exp is taken as u" in message
        assert f"({os.path.basename(__file__)}, line " in message


class TestRounding:
    def test_of_large_terms_that_cancel_is_no_mistake(self) -> None:
        """Terms of some hundreds add up to the gradient of a bias that is zero but for rounding."""
        for seed in range(50):
            written = dense_before_batch_norm(seed)
            inputs = {**written.inputs, "w": 1e-4 * written.inputs["w"], "b": 0.0 * written.inputs["b"]}
            contract = check_backward(written.forward, written.backward, inputs, seed=seed)
            assert contract["linear"].outcome == "holds", str(contract)

    @pytest.mark.parametrize("kind", [np.float32, np.float64])
    def test_of_a_saturated_softmax_is_no_mistake(self, kind: Any) -> None:
        for seed in range(50):
            written = softmax(seed)
            x = (30.0 * written.inputs["x"]).astype(kind)
            contract = check_backward(written.forward, written.backward, {"x": x}, batched=("x",), seed=seed)
            assert contract["linear"].outcome == "holds", str(contract)
            assert contract["batch"].outcome == "holds", str(contract)


class TestInputs:
    def test_single_precision(self) -> None:
        inputs = {name: value.astype(np.float32) for name, value in affine_inputs().items()}
        assert check_backward(affine_forward, affine_backward, inputs, batched=("x",)).ok

    def test_double_precision_where_single_is_needed(self) -> None:
        def backward(dout: Any, cache: Any) -> Any:
            x, w, _ = cache
            dx = np.zeros(x.shape)
            dx += dout @ w.T
            return dx, x.T @ dout, dout.sum(axis=0)

        inputs = {name: value.astype(np.float32) for name, value in affine_inputs().items()}
        contract = check_backward(affine_forward, backward, inputs)
        assert broken_in(contract) == ["shapes"]
        assert contract["shapes"].evidence == "dx is float64, but x is float32"

    def test_strided_and_read_only(self) -> None:
        inputs = affine_inputs()
        inputs["x"] = np.asfortranarray(inputs["x"])[::-1]
        inputs["w"] = np.repeat(inputs["w"], 2, axis=1)[:, ::2]
        inputs["w"].flags.writeable = False
        assert check_backward(affine_forward, affine_backward, inputs, batched=("x",)).ok

    def test_names_go_to_the_arguments_in_any_order(self) -> None:
        inputs = affine_inputs()
        assert check_backward(affine_forward, affine_backward, {name: inputs[name] for name in ("b", "w", "x")}).ok

    def test_an_array_that_is_given_twice_is_two_inputs(self) -> None:
        x = drawn(0, 4)
        assert check_backward(lambda q, k: q * k, lambda dout, q, k: (dout * k, dout * q), {"q": x, "k": x}).ok

    def test_examples_that_a_layer_cannot_take_alone(self) -> None:
        weights = drawn(0, EXAMPLES)
        contract = check_backward(
            lambda x: x * weights, lambda dout, x: dout * weights, {"x": drawn(1, EXAMPLES)}, batched=("x",)
        )
        assert broken_in(contract) == ["batch"]

    def test_an_error_at_other_arguments_breaks_the_clause(self) -> None:
        def backward(dout: Any, x: Any) -> Any:
            if not dout.any():
                raise ZeroDivisionError("nothing to do")
            return 2.0 * dout * x

        contract = check_backward(lambda x: x**2, backward, {"x": drawn(0, 4)})
        assert broken_in(contract) == ["zero"]
        assert "backward raises ZeroDivisionError: nothing to do" in contract["zero"].evidence

    def test_where_there_is_no_batch(self) -> None:
        assert dense(0).check(batched=None)["batch"].outcome == "not applicable"
        assert cross_entropy(0).check(batched=("x", "labels"))["batch"].evidence == (
            f"output has shape (), without {EXAMPLES} examples on axis 0"
        )

    def test_two_examples_are_looked_at_one_by_one(self) -> None:
        x = drawn(0, 2, FEATURES)
        contract = check_backward(
            lambda x: x - x.mean(axis=0), lambda dout, x: dout - dout.mean(axis=0), {"x": x}, batched=("x",)
        )
        assert broken_in(contract) == ["batch"]


SQUARED = {"x": drawn(0, 2, 3)}


def square(x: Any) -> Any:
    return x**2


def square_backward(dout: Any, x: Any) -> Any:
    return 2.0 * dout * x


def product(x: Any, w: Any) -> Any:
    return x * w


BOTH = {"x": drawn(0, 3), "w": drawn(1, 3)}


class TestStyles:
    """How backward is called is found from what forward returns, and is never guessed."""

    @pytest.mark.parametrize(
        ("forward", "backward", "call"),
        [
            (lambda x: (x**2, x), lambda dout, cache: 2 * dout * cache, "backward(cotangent, cache)"),
            (lambda x: (x**2, {"x": x}), lambda dout, cache: 2 * dout * cache["x"], "backward(cotangent, cache)"),
            (square, square_backward, "backward(cotangent, x)"),
            (square, lambda dout, x, scale=2.0: scale * dout * x, "backward(cotangent, x)"),
            (lambda x: (x**2, x + 0), lambda a, b, x: 2 * a * x + b, "backward(cotangent1, cotangent2, x)"),
            (lambda x: [x**2, 3 * x], lambda both, x: 2 * both[0] * x + 3 * both[1], "backward((cotangent1, cotangent2), x)"),
            (lambda x: (x**2, 3 * x, [x]), lambda a, b, c: 2 * a * c[0] + 3 * b, "backward(cotangent1, cotangent2, cache)"),
            (
                lambda x: ((x**2, 3 * x), [x]),
                lambda both, c: 2 * both[0] * c[0] + 3 * both[1],
                "backward((cotangent1, cotangent2), cache)",
            ),
        ],
    )
    def test_it_is_found(self, forward: Any, backward: Any, call: str) -> None:
        cache = "arguments" if call.endswith("cotangent2), x)") else None
        contract = check_backward(forward, backward, SQUARED, cache=cache)
        assert contract.calls[1] == call
        assert contract.ok, str(contract)

    def test_an_array_as_cache_is_ambiguous(self) -> None:
        def forward(x: Any) -> Any:
            return x**2, 2 * x

        def backward(dout: Any, cache: Any) -> Any:
            return dout * cache

        with pytest.raises(InputError, match=r"cache: backward may be called as .*'returned'.*'arguments'.*; say which by cache"):
            check_backward(forward, backward, SQUARED)
        assert check_backward(forward, backward, SQUARED, cache="returned").ok


def divided_by_zero(x: Any) -> Any:
    """Raises an error itself: whether a warning is one depends on what other threads do to filters meanwhile."""
    with np.errstate(divide="raise"):
        return x / 0.0


class TestBadInput:
    @pytest.mark.parametrize(
        ("forward", "backward", "inputs", "words"),
        [
            (square, square_backward, SQUARED["x"], "inputs is of type ndarray, but a dict"),
            (square, square_backward, {}, "inputs has no arrays"),
            (square, square_backward, {"x": 1j * SQUARED["x"]}, r"inputs\['x'\] has dtype complex128"),
            (square, square_backward, {"x": np.empty((0, 3))}, r"inputs\['x'\] is empty"),
            (square, square_backward, {"x": np.array([1.0, np.nan])}, r"inputs\['x'\]\[1\] is nan"),
            (square, square_backward, {"x": np.arange(3)}, "inputs has no array of floating type"),
            (square, square_backward, {"x": None}, r"inputs\['x'\] is of type NoneType"),
            (
                product,
                product,
                {"x": SQUARED["x"], "v": SQUARED["x"]},
                r"inputs: forward\(.*\).* does not go with the names 'x', 'v'",
            ),
            (lambda x: None, square_backward, SQUARED, "forward returns None"),
            (lambda x: 1j * x, square_backward, SQUARED, r"forward returns an array of shape \(2, 3\) and dtype complex128"),
            (lambda x: x[:0], square_backward, SQUARED, "forward returns an empty array"),
            (lambda x: {"out": x}, square_backward, SQUARED, "forward returns a dict of 1"),
            (divided_by_zero, square_backward, {"x": np.ones(2)}, "forward raises FloatingPointError"),
            (lambda x: np.full(2, np.inf), square_backward, SQUARED, r"forward's output\[0\] is inf"),
            (square, lambda dout, x: None, SQUARED, "backward returns None, in which there is no gradient"),
            (square, lambda dout, x: 1j * dout, SQUARED, "backward's dx has dtype complex128"),
            (product, lambda dout, x, w: dout * w, BOTH, "backward returns an array of .*, but a gradient is needed .*: x, w"),
            (product, lambda dout, x, w: (dout * w, dout * x, dout), BOTH, "backward returns a tuple of 3, but"),
            (product, lambda dout, x, w: {"dx": dout * w}, BOTH, "what backward returns has no gradient of 'w'"),
            (product, lambda dout, x, w: {"dx": w, "dw": x, "db": x}, BOTH, "what backward returns has 'db', of which"),
            (square, lambda a, b, c, d: a, SQUARED, r"backward takes 4 arguments, but .* backward\(cotangent, x\)"),
            (3, square_backward, SQUARED, "forward is of type int, but must be a function"),
            (square, None, SQUARED, "backward is of type NoneType, but must be a function"),
        ],
    )
    def test_passes_and_inputs(self, forward: Any, backward: Any, inputs: Any, words: str) -> None:
        with pytest.raises(InputError, match=f"^{words}"):
            check_backward(forward, backward, inputs)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"cache": "stored"}, "cache: 'stored' is not known; known are 'returned', 'arguments', 'kept'"),
            ({"cache": "returned"}, "forward returns an array of .*, but \\(output, cache\\) is needed"),
            ({"batched": ("y",)}, "batched: there is no input 'y'; there are 'x'"),
            ({"batched": {"x": 2}}, r"batched: x has shape \(2, 3\), without an axis 2"),
            ({"gradients": {}}, "parameters: gradients and accumulates are for a layer that holds parameters"),
            ({"accumulates": True}, "parameters: gradients and accumulates are for"),
            ({"parameters": {"w": np.arange(3)}}, r"parameters\['w'\] is of dtype int64"),
            ({"parameters": {"w": np.ones(3)}}, "gradients: give where backward leaves those of parameters"),
            ({"parameters": {"w": np.ones(3)}, "gradients": {}}, "gradients has no 'w'"),
            ({"parameters": {"w": np.ones(3)}, "gradients": {"w": None}}, r"gradients\['w'\] is None after backward"),
            ({"seed": -1}, "seed must be"),
        ],
    )
    def test_options(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InputError, match=f"^{words}"):
            check_backward(square, square_backward, SQUARED, **options)

    def test_accumulating_buffers_must_be_the_arrays_themselves(self) -> None:
        layer = Accumulating()
        with pytest.raises(InputError, match=r"^gradients must be the very arrays"):
            of_object(
                layer, accumulates=True, gradients=lambda: {name: each.copy() for name, each in layer.grads.items()}
            ).check()

    def test_what_a_pass_raises_is_chained(self) -> None:
        def backward(dout: Any, x: Any) -> Any:
            raise IndexError("no such row")

        with pytest.raises(InputError, match=r"^backward raises IndexError: no such row \(called as backward\(") as caught:
            check_backward(square, backward, SQUARED)
        assert isinstance(caught.value.__cause__, IndexError)


class Spoiling(Linear):
    """Changes all that it can reach, and raises at a given call."""

    def __init__(self, error: type[BaseException] | None) -> None:
        super().__init__()
        self.generator = np.random.default_rng(7)
        self.history: list[Any] = []
        self.error, self.left = error, 3

    def forward(self, x: Any) -> Any:
        self.history.append(x)
        self.params["W"] *= 1.0 + 0.1 * np.random.rand()  # noqa: NPY002
        self.params["b"] = self.params["b"] + random.random()
        x += self.generator.random(x.shape)
        return super().forward(x)

    def backward(self, dout: Any) -> Any:
        self.left -= 1
        if self.error and not self.left:
            raise self.error("spoilt")
        self.extra = dout
        return super().backward(dout)


def state_of(layer: Spoiling) -> Any:
    arrays = [layer.params["W"], layer.params["b"], layer.grads["W"], layer.grads["b"]]
    generators = np.random.get_state(legacy=False), random.getstate(), layer.generator.bit_generator.state  # noqa: NPY002
    identities = [id(array) for array in arrays], list(vars(layer))
    return [array.tobytes() for array in arrays], identities, str(generators), len(layer.history), layer.left, layer.x


@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_all_is_as_it_was(error: type[BaseException] | None) -> None:
    layer = Spoiling(error)
    x = drawn(0, EXAMPLES, FEATURES)
    before, x_before = state_of(layer), x.tobytes()
    expected: Any = pytest.raises(KeyboardInterrupt) if error is KeyboardInterrupt else contextlib.nullcontext()
    with expected:
        contract = check_backward(layer.forward, layer.backward, {"x": x}, parameters=layer.params, gradients=layer.grads)
        assert {"repeatable", "untouched"} <= set(broken_in(contract))
    assert state_of(layer) == before
    assert x.tobytes() == x_before


def test_the_example_of_the_readme() -> None:
    readme = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
    section = readme.partition("## One layer at a time")[2]
    code, shown = (re.search(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("python", "text"))
    assert code is not None
    assert shown is not None
    with pytest.raises(GradientError) as caught:
        exec(compile(code[1], "README.md", "exec"), {})
    expected = shown[1].removeprefix("gradsweep._errors.GradientError: ").removesuffix("  ...\n")
    assert str(caught.value).startswith(expected)
