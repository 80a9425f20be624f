"""Models of some thousands of parameters, of usual widths, as NumPy code that knows nothing of gradsweep.

In their deeper layers each perturbation changes everything, so that a check is bound by arithmetic, not by calls.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from models._model import Case
from numpy.typing import NDArray

import gradsweep

Array = NDArray[np.float64]


def _case(cost: Callable[[Any], Any], params: Any) -> Case:
    """A model whose gradient is the one that a first check finds: what is timed compares with it."""
    return Case(cost, params, lambda given: gradsweep.numerical_gradient(cost, given))


def _weights(generator: np.random.Generator, *shape: int) -> Array:
    weights: Array = generator.standard_normal(shape) / np.sqrt(shape[0])
    return weights


def _sigmoid(z: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-z))


def recurrent(hidden: int = 64, inputs: int = 32, times: int = 20, batch: int = 8) -> Case:
    """A recurrent net, 6,208 parameters."""
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((times, batch, inputs)), generator.standard_normal((batch, hidden))
    params = {"Wx": _weights(generator, inputs, hidden), "Wh": _weights(generator, hidden, hidden), "b": np.zeros(hidden)}

    def cost(p: Any) -> Any:
        h = np.zeros((batch, hidden))
        for t in range(times):
            h = np.tanh(x[t] @ p["Wx"] + h @ p["Wh"] + p["b"])
        return np.mean((h - y) ** 2)

    return _case(cost, params)


def long_short_term(hidden: int = 32, inputs: int = 16, times: int = 20, batch: int = 8) -> Case:
    """An LSTM, 6,272 parameters."""
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal((times, batch, inputs)), generator.standard_normal((batch, hidden))
    params = {"W": _weights(generator, inputs + hidden, 4 * hidden), "b": np.zeros(4 * hidden)}

    def cost(p: Any) -> Any:
        h, c = np.zeros((batch, hidden)), np.zeros((batch, hidden))
        for t in range(times):
            z = np.concatenate([x[t], h], axis=1) @ p["W"] + p["b"]
            i, f, o = (_sigmoid(z[:, k * hidden : (k + 1) * hidden]) for k in range(3))
            c = f * c + i * np.tanh(z[:, 3 * hidden :])
            h = o * np.tanh(c)
        return np.mean((h - y) ** 2)

    return _case(cost, params)


def transformer(width: int = 32, times: int = 24, batch: int = 4, inner: int = 64) -> Case:
    """Attention and a relu layer, each with a layer norm; 8,192 parameters."""
    generator = np.random.default_rng(2)
    x, y = generator.standard_normal((batch, times, width)), generator.standard_normal((batch, times, width))
    params = {name: _weights(generator, width, width) for name in ("Wq", "Wk", "Wv", "Wo")}
    params |= {"W1": _weights(generator, width, inner), "W2": _weights(generator, inner, width)}

    def norm(z: Any) -> Any:
        return (z - z.mean(axis=-1, keepdims=True)) / np.sqrt(z.var(axis=-1, keepdims=True) + 1e-5)

    def cost(p: Any) -> Any:
        q, k, v = x @ p["Wq"], x @ p["Wk"], x @ p["Wv"]
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(width)
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        h = norm(x + (e / e.sum(axis=-1, keepdims=True) @ v) @ p["Wo"])
        h = norm(h + np.maximum(h @ p["W1"], 0.0) @ p["W2"])
        return np.mean((h - y) ** 2)

    return _case(cost, params)


def classifier(sizes: tuple[int, ...] = (100, 64, 64, 10), batch: int = 64) -> Case:
    """Layers of tanh, examples in rows, softmax and cross-entropy; 11,274 parameters."""
    generator = np.random.default_rng(3)
    x, labels = generator.standard_normal((batch, sizes[0])), generator.integers(0, sizes[-1], batch)
    params = [(_weights(generator, before, after), np.zeros(after)) for before, after in itertools.pairwise(sizes)]

    def cost(p: Any) -> Any:
        h = x
        for weights, bias in p[:-1]:
            h = np.tanh(h @ weights + bias)
        z = h @ p[-1][0] + p[-1][1]
        z = z - z.max(axis=1, keepdims=True)
        return -np.mean(z[np.arange(batch), labels] - np.log(np.exp(z).sum(axis=1)))

    return _case(cost, params)


def columns(sizes: tuple[int, ...] = (60, 50, 50, 50, 1), batch: int = 40) -> Case:
    """The same with examples in columns and sigmoid units; 8,201 parameters."""
    generator = np.random.default_rng(4)
    x, y = generator.standard_normal((sizes[0], batch)), generator.integers(0, 2, (1, batch)).astype(float)
    params: dict[str, Array] = {}
    for layer, (before, after) in enumerate(itertools.pairwise(sizes), start=1):
        params |= {f"W{layer}": 2.0 * _weights(generator, before, after).T, f"b{layer}": np.zeros((after, 1))}

    def cost(p: Any) -> Any:
        a = x
        for layer in range(1, len(sizes)):
            a = _sigmoid(p[f"W{layer}"].dot(a) + p[f"b{layer}"])
        return -np.mean(y * np.log(a) + (1.0 - y) * np.log(1.0 - a))

    return _case(cost, params)


MODELS: dict[str, Callable[[], Case]] = {
    "recurrent net, 20 steps": recurrent,
    "LSTM, 20 steps": long_short_term,
    "transformer block": transformer,
    "100-64-64-10, examples in rows": classifier,
    "60-50-50-50-1, in columns": columns,
}
