"""Batch norm: of the units of a dense layer, its backward pass in closed form, and of the channels of a series behind a relu."""

from typing import Any

import numpy as np
from models._model import Case

from ._mistake import Mistake, Model
from ._parts import Params, drawn, extent, sigmoid

# ---- units ------------------------------------------------------------------------------------------------------------------


def _slope_of_softplus(y: Any, a: Any, mistake: str) -> Any:
    if mistake == "no slope of softplus":
        return np.ones_like(a)
    if mistake == "slope of softplus at its output":
        return sigmoid(a)
    return sigmoid(y)


def _through_norm(dx: Any, x: Any, var: Any, mistake: str) -> Any:
    """From the normalised values to what was normalised, in closed form."""
    m = len(x)
    if mistake == "way back through the norm in single precision":
        dx, x = dx.astype(np.float32), x.astype(np.float32)
    inverse = 1 / np.sqrt(var + (0 if mistake == "epsilon left out of the way back" else 1e-4))
    if mistake == "statistics taken for constants":
        return dx * inverse
    by_mean = 0 if mistake == "way through the mean forgotten" else dx.sum(axis=0)
    by_variance = 0 if mistake == "way through the variance forgotten" else x * (dx * x).sum(axis=0)
    return inverse / (m - 1 if mistake == "degrees of freedom for examples" else m) * (m * dx - by_mean - by_variance)


def units(seed: int, mistake: str = "") -> Case:
    """Dict; no bias before the norm, softplus after it; the mean square over examples and outputs."""
    rng = np.random.default_rng([4, seed])
    n, h, k, m = extent(rng, 2, 8), extent(rng, 2, 7), extent(rng, 1, 4), extent(rng, 4, 12)
    params: Params = {
        "W": drawn(rng, n, h, size=0.7),
        "gain": rng.uniform(0.5, 0.9, h) * rng.choice([1.0, 2.0], h),
        "shift": drawn(rng, h, size=0.5),
        "V": drawn(rng, h, k, size=0.6),
        "c": drawn(rng, k, size=0.4),
    }
    X, T = rng.standard_normal((m, n)), rng.standard_normal((m, k))

    def forward(p: Params) -> tuple[Any, ...]:
        u = X @ p["W"]
        centred = u - u.mean(axis=0)
        var = np.mean(centred**2, axis=0)
        x = centred / np.sqrt(var + 1e-4)
        y = p["gain"] * x + p["shift"]
        a = np.log1p(np.exp(y))
        return u, var, x, y, a, a @ p["V"] + p["c"]

    def cost(p: Params) -> Any:
        return np.mean((forward(p)[-1] - T) ** 2)

    def gradient(p: Params) -> Params:
        u, var, x, y, a, out = forward(p)
        dout = 2 * (out - T) / T.size
        dy = dout @ p["V"].T * _slope_of_softplus(y, a, mistake)
        dx = dy if mistake == "gain not passed on" else dy * p["gain"]
        gain, shift = (dy * x).sum(axis=0), dy.sum(axis=0)
        if mistake == "gain from what was not normalised":
            gain = (dy * u).sum(axis=0)
        if mistake == "gain forgotten":
            gain = np.zeros(h)
        if mistake == "shift averaged over the examples":
            shift = dy.mean(axis=0)
        if mistake == "gain and shift returned in swapped order":
            gain, shift = shift, gain
        dW = X.T @ _through_norm(dx, x, var, mistake)
        return {"W": dW, "gain": gain, "shift": shift, "V": a.T @ dout, "c": dout.sum(axis=0)}

    return Case(cost, params, gradient)


_UNITS = (
    Mistake("way through the variance forgotten", "from_above", ("W",)),
    Mistake("way through the mean forgotten", "from_above", ("W",)),
    Mistake("statistics taken for constants", "from_above", ("W",)),
    Mistake("epsilon left out of the way back", "guard", ("W",)),
    Mistake("degrees of freedom for examples", "factor", ("W",)),
    # In one draw of some sixty within the tolerance, which is none of those that are tested.
    Mistake("way back through the norm in single precision", "precision", ("W",)),
    # The gain is the slope of an elementwise map, which is missing for each unit.
    Mistake("gain not passed on", "from_above", ("W",), accepted=("activation_derivative",)),
    Mistake("gain from what was not normalised", "from_above", ("gain",)),
    Mistake("gain forgotten", "zero", ("gain",)),
    # Of one divided by the number of examples both are true.
    Mistake("shift averaged over the examples", "bias_sum", ("shift",), accepted=("factor",)),
    Mistake("gain and shift returned in swapped order", "permuted", ("gain", "shift")),
    Mistake("no slope of softplus", "activation_derivative", ("W", "gain", "shift")),
    Mistake("slope of softplus at its output", "activation_derivative", ("W", "gain", "shift")),
)


# ---- channels ---------------------------------------------------------------------------------------------------------------


def _through_channels(dx: Any, x: Any, var: Any, mask: Any, mistake: str) -> Any:
    """From the normalised channels to the sums before the relu, one statistic at a time."""
    axes = (0,) if mistake == "averaged over the examples alone on the way back" else (0, 2)
    if mistake == "way back through the norm in half precision":
        dx, x = dx.astype(np.float16), x.astype(np.float16)
    # What is divided by a deviation of zero is zero over zero, in silence as far as NumPy is told to be.
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.sqrt(var + (0 if mistake == "divided by a deviation without epsilon" else 1e-3))
        du = (dx - dx.mean(axis=axes, keepdims=True) - x * (dx * x).mean(axis=axes, keepdims=True)) / deviation
        return du.astype(np.float64) * mask


class _Channels:
    """A series of channels through one layer; gradients of the norm are added into buffers of its own."""

    def __init__(self, x: Any, labels: Any, mistake: str) -> None:
        self.x, self.labels, self.mistake = x, labels, mistake
        self.kept: Params = {"gain": 0.0, "shift": 0.0}

    def forward(self, p: Params) -> tuple[Any, ...]:
        u = np.einsum("nil,io->nol", self.x, p["w"]) + p["b"][:, None]
        r = np.maximum(u, 0)
        centred = r - r.mean(axis=(0, 2), keepdims=True)
        var = np.mean(centred**2, axis=(0, 2), keepdims=True)
        x = centred / np.sqrt(var + 1e-3)
        y = p["gain"][:, None] * x + p["shift"][:, None]
        pooled = np.tanh(y).mean(axis=2)
        return u, var, x, y, pooled, pooled @ p["v"] + p["c"]

    def cost(self, p: Params) -> Any:
        score = self.forward(p)[-1]
        return np.mean(np.log1p(np.exp(score)) - self.labels * score)

    def gradient(self, p: Params) -> Params:
        u, var, x, y, pooled, score = self.forward(p)
        ds = (sigmoid(score) - self.labels) / len(score)
        length = 1 if self.mistake == "mean over the length forgotten" else x.shape[2]
        dy = np.outer(ds, p["v"])[:, :, None] / length * (1 - np.tanh(y) ** 2)
        mask = (y if self.mistake == "mask of the relu from the normalised values" else u) > 0
        if self.mistake == "mask of the relu forgotten":
            mask = np.ones_like(mask)
        du = _through_channels(dy * p["gain"][:, None], x, var, mask, self.mistake)
        norm = self.norm_gradient(dy, x)
        return {"w": np.einsum("nil,nol->io", self.x, du), "b": du.sum(axis=(0, 2)), **norm, "v": pooled.T @ ds, "c": ds.sum()}

    def norm_gradient(self, dy: Any, x: Any) -> Params:
        gain, shift = (dy * x).sum(axis=(0, 2)), dy.sum(axis=(0, 2))
        if self.mistake == "shift of the first position":
            shift = dy[:, :, 0].sum(axis=0)
        if self.mistake == "shift of the last channel left out":
            shift[-1] = 0
        if self.mistake == "buffers of the norm not cleared after a trial":
            self.kept = {"gain": self.kept["gain"] + gain, "shift": self.kept["shift"] + shift}
            return self.kept
        return {"gain": gain, "shift": shift}


def channels(seed: int, mistake: str = "") -> Case:
    """A class; a relu before the norm, whose first channel is dead; means over examples and positions; a mean over the length."""
    rng = np.random.default_rng([5, seed])
    examples, inputs, outputs, length = extent(rng, 3, 6), extent(rng, 2, 4), extent(rng, 2, 5), extent(rng, 3, 7)
    params: Params = {
        "w": drawn(rng, inputs, outputs, size=0.8),
        "b": rng.uniform(0.2, 0.6, outputs),
        "gain": rng.uniform(0.6, 1.4, outputs),
        "shift": drawn(rng, outputs, size=0.4),
        "v": drawn(rng, outputs),
        "c": 0.4,
    }
    params["b"][0] = -30.0
    model = _Channels(rng.standard_normal((examples, inputs, length)), rng.integers(0, 2, examples).astype(float), mistake)
    if mistake == "buffers of the norm not cleared after a trial":
        model.gradient(params)
    return Case(model.cost, params, model.gradient)


_CHANNELS = (
    Mistake("divided by a deviation without epsilon", "non_finite", ("w", "b")),
    Mistake("mean over the length forgotten", "factor", ("w", "b", "gain", "shift")),
    Mistake("mask of the relu forgotten", "activation_derivative", ("w", "b")),
    Mistake("mask of the relu from the normalised values", "activation_derivative", ("w", "b")),
    Mistake("averaged over the examples alone on the way back", "from_above", ("w", "b")),
    Mistake("way back through the norm in half precision", "precision", ("w", "b")),
    Mistake("shift of the first position", "bias_sum", ("shift",)),
    # Of a block with one axis an entry is a row.
    Mistake("shift of the last channel left out", "entries", ("shift",), accepted=("rows",)),
    Mistake("buffers of the norm not cleared after a trial", "accumulated", ("gain", "shift")),
)

MODELS = (
    Model("batch_norm: units", units, _UNITS),
    Model("batch_norm: channels", channels, _CHANNELS),
)
