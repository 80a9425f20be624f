"""Dense networks: three layers with examples in columns, and a tower of residual blocks with examples in rows."""

import math
from typing import Any

import numpy as np
from models._model import Case

from ._mistake import Mistake, Model
from ._parts import Array, Params, drawn, extent, halved, sigmoid

# ---- three layers -----------------------------------------------------------------------------------------------------------


def _slope_of_tanh(Z: Any, A: Any, mistake: str) -> Any:
    if mistake == "no slope of tanh":
        return np.ones_like(A)
    if mistake == "slope of tanh at the pre-activation":
        return 1 - Z**2
    if mistake == "slope of a sigmoid for that of tanh":
        return A * (1 - A)
    return 1 - A**2


def _residual(out: Any, Y: Array, mistake: str) -> Any:
    """Derivative of half the mean square with respect to the output."""
    if mistake == "sign of the residual turned":
        return (Y - out) / Y.shape[1]
    if mistake == "mean over the examples forgotten":
        return out - Y
    if mistake == "two of a square that has a half before it":
        return 2 * (out - Y) / Y.shape[1]
    return (out - Y) / Y.shape[1]


def _second_layer(D2: Any, A1: Any, m: int, mistake: str) -> tuple[Any, Any]:
    dW2, db2 = D2 @ A1.T, D2.sum(axis=1, keepdims=True)
    if mistake == "weights of layer 2 without the mean":
        dW2 = dW2 * m
    if mistake == "product of layer 2 the other way round":
        dW2 = A1 @ D2.T
    if mistake == "corner of layer 2 overwritten by its bias":
        dW2[0, 0] = db2[0, 0]
    if mistake == "bias of layer 2 averaged":
        db2 = D2.mean(axis=1, keepdims=True)
    if mistake == "bias of layer 2 forgotten":
        db2 = np.zeros_like(db2)
    return dW2, db2


def _third_layer(D3: Any, Z2: Any, A2: Any, mistake: str) -> tuple[Any, Any]:
    dW3, db3 = D3 @ A2.T, D3.sum(axis=1, keepdims=True)
    if mistake == "weights of layer 3 reshaped to fit":
        dW3 = (A2 @ D3.T).reshape(dW3.shape)
    if mistake == "weights of layer 3 from before the activation":
        dW3 = D3 @ Z2.T
    if mistake == "outputs of layer 3 counted from the last":
        dW3 = dW3[::-1]
    if mistake == "bias of layer 3 from the first example":
        db3 = D3[:, :1]
    return dW3, db3


def three_layers(seed: int, mistake: str = "") -> Case:
    """Dict of W1, b1, …; tanh, sigmoid, identity; half the mean square."""
    rng = np.random.default_rng([1, seed])
    n, h, k, m = extent(rng, 2, 9), extent(rng, 3, 8), extent(rng, 2, 6), extent(rng, 3, 12)
    params: Params = {
        "W1": drawn(rng, h, n, size=0.4),
        "b1": drawn(rng, h, 1, size=0.3),
        "W2": drawn(rng, h, h, size=0.7),
        "b2": drawn(rng, h, 1, size=0.3),
        "W3": drawn(rng, k, h, size=0.7),
        "b3": drawn(rng, k, 1, size=0.3),
    }
    X, Y = rng.standard_normal((n, m)), rng.standard_normal((k, m))

    def forward(p: Params) -> tuple[Any, ...]:
        Z1 = p["W1"] @ X + p["b1"]
        A1 = np.tanh(Z1)
        Z2 = p["W2"] @ A1 + p["b2"]
        A2 = sigmoid(Z2)
        return Z1, A1, Z2, A2, p["W3"] @ A2 + p["b3"]

    def cost(p: Params) -> Any:
        return 0.5 * np.sum((forward(p)[-1] - Y) ** 2) / m

    def gradient(p: Params) -> Params:
        Z1, A1, Z2, A2, out = forward(p)
        D3 = _residual(out, Y, mistake)
        dW3, db3 = _third_layer(D3, Z2, A2, mistake)
        S2 = sigmoid(A2) if mistake == "slope of the sigmoid at its output" else A2
        D2 = p["W3"].T @ D3 * S2 * (1 - S2)
        dW2, db2 = _second_layer(D2, A1, m, mistake)
        W2 = p["W2"] if mistake == "W2 not transposed on the way back" else p["W2"].T
        D1 = W2 @ D2 * _slope_of_tanh(Z1, A1, mistake)
        dW1, db1 = D1 @ X.T, D1.sum(axis=1, keepdims=True)
        if mistake == "last input left out":
            dW1 = np.zeros((h, n))
            for column in range(n - 1):
                dW1[:, column] = D1 @ X[column]
        if mistake == "layer 1 in half precision":
            dW1 = halved(halved(D1) @ halved(X.T))
        if mistake == "bias of layer 1 summed over everything":
            db1 = np.full((h, 1), D1.sum())
        if mistake == "bias of layer 1 without keepdims":
            db1 = D1.sum(axis=1)
        return {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3}

    return Case(cost, params, gradient)


_ALL = ("W1", "b1", "W2", "b2", "W3", "b3")

_THREE_LAYERS = (
    Mistake("sign of the residual turned", "factor", _ALL),
    Mistake("mean over the examples forgotten", "factor", _ALL),
    Mistake("two of a square that has a half before it", "factor", _ALL),
    Mistake("weights of layer 2 without the mean", "factor", ("W2",)),
    Mistake("product of layer 2 the other way round", "transposed", ("W2",)),
    Mistake("weights of layer 3 reshaped to fit", "transposed", ("W3",)),
    # Of one divided by the number of examples both are true.
    Mistake("bias of layer 2 averaged", "bias_sum", ("b2",), accepted=("factor",)),
    Mistake("bias of layer 1 summed over everything", "bias_sum", ("b1",)),
    Mistake("bias of layer 3 from the first example", "bias_sum", ("b3",)),
    Mistake("no slope of tanh", "activation_derivative", ("W1", "b1")),
    Mistake("slope of tanh at the pre-activation", "activation_derivative", ("W1", "b1")),
    Mistake("slope of a sigmoid for that of tanh", "activation_derivative", ("W1", "b1")),
    Mistake("slope of the sigmoid at its output", "activation_derivative", ("W1", "b1", "W2", "b2")),
    Mistake("W2 not transposed on the way back", "from_above", ("W1", "b1")),
    Mistake("weights of layer 3 from before the activation", "from_above", ("W3",)),
    Mistake("bias of layer 2 forgotten", "zero", ("b2",)),
    Mistake("last input left out", "columns", ("W1",)),
    Mistake("corner of layer 2 overwritten by its bias", "entries", ("W2",)),
    Mistake("outputs of layer 3 counted from the last", "permuted", ("W3",)),
    Mistake("layer 1 in half precision", "precision", ("W1",)),
    Mistake("bias of layer 1 without keepdims", "shape", ("b1",), raises=True),
)


# ---- a tower of residual blocks ---------------------------------------------------------------------------------------------

_ROOT = math.sqrt(2 / math.pi)


def gelu(z: Any) -> Any:
    """In its tanh form."""
    return 0.5 * z * (1 + np.tanh(_ROOT * (z + 0.044715 * z**3)))


def _slope_of_gelu(z: Any, mistake: str) -> Any:
    if mistake == "slope of the exact gelu":
        return 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) + z * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    t = np.tanh(_ROOT * (z + 0.044715 * z**3))
    if mistake == "second term of gelu's slope forgotten":
        return 0.5 * (1 + t)
    return 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * _ROOT * (1 + 3 * 0.044715 * z**2)


def _block_gradient(h: Any, dz: Any, mistake: str) -> Params:
    if mistake == "products of the blocks the other way round":
        return {"W": dz.T @ h, "b": dz.sum(axis=0)}
    if mistake == "biases of the blocks summed over the units":
        return {"W": h.T @ dz, "b": dz.sum(axis=1)}
    return {"W": h.T @ dz, "b": dz.sum(axis=0)}


def tower(seed: int, mistake: str = "") -> Case:
    """Nested dict with a list of blocks h + gelu(h W + b), as many examples as units; labels of −1 and 1."""
    rng = np.random.default_rng([2, seed])
    n, h = extent(rng, 2, 6), extent(rng, 3, 8)
    m = h
    params: Params = {
        "embed": drawn(rng, n, h, size=0.5),
        "blocks": [{"W": drawn(rng, h, h, size=0.6), "b": drawn(rng, h, size=0.3)} for _ in range(2)],
        "out": drawn(rng, h, size=0.6),
        "offset": 0.3,
    }
    X, y = rng.standard_normal((m, n)), rng.choice([-1.0, 1.0], m)
    kept = [{"W": np.zeros((h, h)), "b": np.zeros(h)} for _ in range(2)]

    def forward(p: Params) -> tuple[Any, Any, Any]:
        states, sums = [X @ p["embed"]], []
        for block in p["blocks"]:
            sums.append(states[-1] @ block["W"] + block["b"])
            states.append(states[-1] + gelu(sums[-1]))
        return states, sums, states[-1] @ p["out"] + p["offset"]

    def cost(p: Params) -> Any:
        return np.mean(np.log1p(np.exp(-y * forward(p)[-1])))

    def gradient(p: Params) -> Params:
        states, sums, score = forward(p)
        ds = -y * sigmoid(-y * score) / m
        dh = np.outer(ds, p["out"])
        blocks: list[Params] = []
        for number in (1, 0):
            dz = dh * _slope_of_gelu(sums[number], mistake)
            blocks.append(_block_gradient(states[number], dz, mistake))
            W = p["blocks"][1 if mistake == "weights of the second block on the way through the first" else number]["W"]
            dh = dz @ W.T + (0 if mistake == "skip connection dropped on the way back" else dh)
        if mistake != "blocks left in the order of the way back":
            blocks.reverse()
        if mistake == "blocks added to what the last call left":
            for block, own in zip(kept, blocks, strict=True):
                for name in block:
                    block[name] += own[name]
            blocks = kept
        embed = np.zeros((n, h)) if mistake == "embedding detached" else X.T @ dh
        return {"embed": embed, "blocks": blocks, "out": states[-1].T @ ds, "offset": ds.sum()}

    return Case(cost, params, gradient)


_WEIGHTS, _BIASES = ("blocks[0].W", "blocks[1].W"), ("blocks[0].b", "blocks[1].b")

_TOWER = (
    Mistake("skip connection dropped on the way back", "from_above", ("embed", "blocks[0].W", "blocks[0].b")),
    Mistake("weights of the second block on the way through the first", "from_above", ("embed",)),
    # The derivative is that of another activation, however near.
    Mistake("slope of the exact gelu", "guard", ("embed", *_WEIGHTS, *_BIASES), accepted=("activation_derivative",)),
    Mistake("second term of gelu's slope forgotten", "activation_derivative", ("embed", *_WEIGHTS, *_BIASES)),
    Mistake("products of the blocks the other way round", "transposed", _WEIGHTS),
    Mistake("biases of the blocks summed over the units", "bias_sum", _BIASES),
    Mistake("blocks left in the order of the way back", "permuted", (*_WEIGHTS, *_BIASES)),
    Mistake("blocks added to what the last call left", "accumulated", (*_WEIGHTS, *_BIASES), later=True),
    Mistake("embedding detached", "zero", ("embed",)),
)

MODELS = (
    Model("dense: three layers", three_layers, _THREE_LAYERS),
    Model("dense: residual tower", tower, _TOWER),
)
