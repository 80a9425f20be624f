"""Penalties: weight decay of a network that is otherwise right, and norms of groups with dropout and a row of biases."""

from typing import Any

import numpy as np
from models._model import Case

from ._mistake import Mistake, Model
from ._parts import Params, drawn, extent, sigmoid

# ---- weight decay -----------------------------------------------------------------------------------------------------------


def _share(name: str, m: int, mistake: str) -> float:
    """How often λ/m times the block is in its gradient: once in that of weights, if nothing is wrong."""
    if name.startswith("b"):
        return 1.0 if mistake == "penalty of the biases, too" else 0.0
    if mistake == "penalty of the first layer without its half" and name == "W1":
        return 2.0
    if mistake == "penalty of the second layer forgotten" and name == "W2":
        return 0.0
    if mistake == "penalty without the mean":
        return float(m)
    wrong = {"penalty forgotten": 0.0, "half of the penalty left before its slope": 0.5, "penalty with its sign turned": -1.0}
    return wrong.get(mistake, 1.0)


def decay(seed: int, mistake: str = "") -> Case:
    """Dict; tanh, sigmoids and the cross-entropy of several labels, λ/(2m) times the squares of the weights."""
    rng = np.random.default_rng([11, seed])
    n, h, k, m = extent(rng, 2, 8), extent(rng, 2, 8), extent(rng, 2, 5), extent(rng, 3, 12)
    params: Params = {
        "W1": drawn(rng, n, h, size=0.6),
        "b1": drawn(rng, h, size=0.3),
        "W2": drawn(rng, h, k, size=0.6),
        "b2": drawn(rng, k, size=0.3),
    }
    X, Y, lambd = rng.standard_normal((m, n)), rng.integers(0, 2, (m, k)).astype(float), float(rng.uniform(0.1, 1.0))

    def forward(p: Params) -> tuple[Any, Any]:
        A = np.tanh(X @ p["W1"] + p["b1"])
        return A, A @ p["W2"] + p["b2"]

    def cost(p: Params) -> Any:
        Z = forward(p)[1]
        penalty = 0.5 * lambd * (np.sum(p["W1"] ** 2) + np.sum(p["W2"] ** 2))
        return (np.sum(np.logaddexp(0, Z) - Y * Z) + penalty) / m

    def gradient(p: Params) -> Params:
        A, Z = forward(p)
        D2 = sigmoid(Z) - Y
        D1 = D2 @ p["W2"].T * (1 - A**2)
        sums = {"W1": X.T @ D1, "b1": D1.sum(axis=0), "W2": A.T @ D2, "b2": D2.sum(axis=0)}
        grads = {name: (value + _share(name, m, mistake) * lambd * p[name]) / m for name, value in sums.items()}
        if mistake == "mean of the second layer taken twice":
            grads["W2"] = grads["W2"] / m
        if mistake == "first layer frozen":
            grads |= {"W1": np.zeros((n, h)), "b1": np.zeros(h)}
        return grads

    return Case(cost, params, gradient)


_DECAY = (
    Mistake("penalty forgotten", "missing_term", ("W1", "W2")),
    Mistake("penalty of the second layer forgotten", "missing_term", ("W2",)),
    Mistake("penalty of the first layer without its half", "missing_term", ("W1",)),
    Mistake("half of the penalty left before its slope", "missing_term", ("W1", "W2")),
    Mistake("penalty with its sign turned", "missing_term", ("W1", "W2")),
    Mistake("penalty without the mean", "missing_term", ("W1", "W2")),
    Mistake("penalty of the biases, too", "missing_term", ("b1", "b2")),
    Mistake("mean of the second layer taken twice", "factor", ("W2",)),
    Mistake("first layer frozen", "zero", ("W1", "b1")),
)


# ---- norms of groups --------------------------------------------------------------------------------------------------------


class _Sparse:
    """Dropout of the hidden units; absolute values and norms of columns of the second layer, whose last row is its biases."""

    def __init__(self, x: Any, y: Any, keep: Any, mistake: str) -> None:
        self.x, self.y, self.keep, self.mistake = x, y, keep, mistake

    def forward(self, p: Params) -> tuple[Any, ...]:
        z = self.x @ p["W"] + p["b"]
        dropped = np.log1p(np.exp(z)) * self.keep / 0.75
        joined = np.concatenate([dropped, np.ones((len(self.x), 1))], axis=1)
        return z, joined, joined @ p["V"] - self.y

    def norms(self, V: Any) -> Any:
        return np.sqrt(np.sum(V[:-1] ** 2, axis=0))

    def cost(self, p: Params) -> Any:
        guard = 1e-4 if self.mistake == "guard of the norms in the cost alone" else 0.0
        norms = np.sqrt(np.sum(p["V"][:-1] ** 2, axis=0) + guard)
        return 0.5 * np.mean(self.forward(p)[-1] ** 2) + 0.05 * np.sum(np.abs(p["V"][:-1])) + 0.1 * np.sum(norms)

    def gradient(self, p: Params) -> Params:
        z, joined, residual = self.forward(p)
        dout = residual / residual.size
        dV = joined.T @ dout
        self.add_penalties(dV, p["V"])
        dz = (dout @ p["V"].T)[:, :-1] / (1 if self.mistake == "rate of the dropout forgotten" else 0.75) * sigmoid(z)
        if self.mistake != "mask of the dropout forgotten":
            dz = dz * self.keep
        return {"W": self.x.T @ dz, "b": dz.sum(axis=0), "V": dV}

    def add_penalties(self, dV: Any, V: Any) -> None:
        rows = slice(None) if self.mistake == "row of biases in the absolute values, too" else slice(-1)
        if self.mistake != "absolute values forgotten":
            dV[rows] += 0.05 * np.sign(V[rows])
        columns = slice(-1) if self.mistake == "norm of the last column forgotten" else slice(None)
        dV[:-1, columns] += 0.1 * V[:-1, columns] / self.norms(V)[columns]
        if self.mistake == "last bias overwritten by its parameter":
            dV[-1, -1] = V[-1, -1]


def sparse(seed: int, mistake: str = "") -> Case:
    """A class; softplus, a fixed mask, the mean square, a constant column that makes the last row of V one of biases."""
    rng = np.random.default_rng([12, seed])
    n, h, k, m = extent(rng, 2, 7), extent(rng, 3, 7), extent(rng, 2, 5), extent(rng, 4, 10)
    keep = (rng.random((m, h)) < 0.75).astype(float)
    keep[0] = 1.0  # no unit is dropped throughout, and some example loses its first
    keep[1, 0] = 0.0
    params: Params = {
        "W": drawn(rng, n, h, size=0.6),
        "b": drawn(rng, h, size=0.3),
        "V": drawn(rng, h + 1, k, size=0.5),
    }
    model = _Sparse(rng.standard_normal((m, n)), rng.standard_normal((m, k)), keep, mistake)
    return Case(model.cost, params, model.gradient)


_SPARSE = (
    # Of absolute values the term is proportional to the parameter's sign.
    Mistake("absolute values forgotten", "missing_term", ("V",)),
    Mistake("guard of the norms in the cost alone", "guard", ("V",)),
    Mistake("mask of the dropout forgotten", "from_above", ("W", "b")),
    Mistake("rate of the dropout forgotten", "factor", ("W", "b")),
    # One row is wrong, by a term that is the penalty's.
    Mistake("row of biases in the absolute values, too", "rows", ("V",), accepted=("missing_term",)),
    Mistake("norm of the last column forgotten", "columns", ("V",), accepted=("missing_term",)),
    Mistake("last bias overwritten by its parameter", "entries", ("V",)),
)

MODELS = (
    Model("regularised: weight decay", decay, _DECAY),
    Model("regularised: norms of groups", sparse, _SPARSE),
)
