"""Dense networks, each in another of the styles in which people write them.

A builder takes a seed and, for the gradient only, the name of a bug; the line that has it says so.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._model import Bug, Case, Model

Array = NDArray[np.float64]
Params = dict[str, Any]


def _planted(build: Callable[[int, str], Case], wrong: dict[str, tuple[str, ...]]) -> Callable[[int], dict[str, Bug]]:
    """By seed, the gradients that a builder makes with each of the bugs, whose wrong blocks are given."""

    def bugs(seed: int) -> dict[str, Bug]:
        return {bug: Bug(build(seed, bug).gradient, blocks) for bug, blocks in wrong.items()}

    return bugs


def _weights(rng: np.random.Generator, rows: int, columns: int, inputs: int) -> Array:
    """Weights that keep the size of what goes through them."""
    weights: Array = rng.standard_normal((rows, columns)) / np.sqrt(inputs)
    return weights


# ---- dict of W1, b1, ..., examples in columns: a course's style -------------------------------------------------------------


def _linear_activation_forward(A_prev: Any, W: Any, b: Any, activation: str) -> tuple[Any, tuple[Any, Any]]:
    Z = np.dot(W, A_prev) + b
    assert Z.shape == (W.shape[0], A_prev.shape[1])
    A = np.tanh(Z) if activation == "tanh" else 1 / (1 + np.exp(-Z))
    return A, (A_prev, W)


def _model_forward(X: Array, parameters: Params) -> tuple[Any, list[tuple[Any, Any]]]:
    caches = []
    A: Any = X
    L = len(parameters) // 2
    for layer in range(1, L + 1):
        activation = "tanh" if layer < L else "sigmoid"
        A, cache = _linear_activation_forward(A, parameters[f"W{layer}"], parameters[f"b{layer}"], activation)
        caches.append(cache)
    return A, caches


def _model_backward(AL: Any, Y: Array, caches: list[tuple[Any, Any]], lambd: float, bug: str) -> Params:
    grads = {}
    m = Y.shape[1]
    dZ = AL - Y
    for layer in reversed(range(1, len(caches) + 1)):
        A_prev, W = caches[layer - 1]
        dW = np.dot(dZ, A_prev.T) / (1 if bug == "dW2 without the mean" and layer == 2 else m)
        grads[f"W{layer}"] = dW if bug == "no penalty" else dW + lambd / m * W
        grads[f"b{layer}"] = np.sum(dZ, axis=1, keepdims=True) / (1 if bug == "biases summed" else m)
        dA_prev = np.dot(W.T, dZ)
        dZ = dA_prev if bug == "no slope of the third layer" and layer == 4 else dA_prev * (1 - A_prev**2)
    return grads


def columns(seed: int, bug: str = "") -> Case:
    """Dict of W1, b1, ...; examples are columns; np.dot(W, A), caches in a list; np.squeeze of the cross-entropy; L2."""
    rng = np.random.default_rng(seed)
    layers = [60, 28, 16, 8, 1]
    X = rng.standard_normal((60, 16))
    Y = rng.permutation([[0.0] * 8 + [1.0] * 8], axis=1)
    parameters = {}
    for layer in range(1, len(layers)):
        parameters[f"W{layer}"] = _weights(rng, layers[layer], layers[layer - 1], layers[layer - 1])
        parameters[f"b{layer}"] = 0.2 * rng.standard_normal((layers[layer], 1))
    lambd = 0.1

    def compute_cost(parameters: Params) -> Any:
        AL, _ = _model_forward(X, parameters)
        m = Y.shape[1]
        cost = np.squeeze(-(np.dot(Y, np.log(AL).T) + np.dot(1 - Y, np.log(1 - AL).T)) / m)
        for layer in range(1, len(layers)):
            cost = cost + lambd / (2 * m) * np.sum(np.square(parameters[f"W{layer}"]))
        return cost

    def gradient(parameters: Params) -> Params:
        AL, caches = _model_forward(X, parameters)
        return _model_backward(AL, Y, caches, lambd, bug)

    return Case(compute_cost, parameters, gradient)


# ---- two layers, examples in rows, loss and gradients from one function -----------------------------------------------------


def two_layers(seed: int, bug: str = "") -> Case:
    """Dict; X.dot(W1), relu, softmax in place, L2; one function returns the loss and the gradients."""
    rng = np.random.default_rng(seed)
    params: Params = {
        "W1": _weights(rng, 40, 40, 40),
        "b1": 0.2 * rng.standard_normal(40),
        "W2": _weights(rng, 40, 10, 40),
        "b2": 0.2 * rng.standard_normal(10),
    }
    X = rng.standard_normal((40, 40))
    X = X[np.abs(X.dot(params["W1"]) + params["b1"]).min(axis=1) > 0.01][:8]  # examples clear of the kinks
    y = rng.integers(10, size=8)
    reg = 0.02

    def loss_and_gradients(params: Params) -> tuple[Any, Params]:
        W1, b1, W2, b2 = params["W1"], params["b1"], params["W2"], params["b2"]
        N = X.shape[0]
        hidden = np.maximum(0, X.dot(W1) + b1)
        scores = hidden.dot(W2) + b2
        scores -= scores.max(axis=1, keepdims=True)
        p = np.exp(scores)
        p /= p.sum(axis=1, keepdims=True)
        loss = -np.log(p[range(N), y]).sum() / N
        loss += 0.5 * reg * (np.sum(W1 * W1) + np.sum(W2 * W2))

        dscores = p.copy()
        dscores[range(N), y] -= 1
        dscores /= 1 if bug == "no mean" else N
        dhidden = dscores.dot(W2.T)
        if bug != "relu not undone":
            dhidden[hidden <= 0] = 0
        grads = {"W2": hidden.T.dot(dscores), "b2": dscores.sum(axis=0), "W1": X.T.dot(dhidden), "b1": dhidden.sum(axis=0)}
        grads["W1"] += (2 if bug == "penalty of W1 without the half" else 1) * reg * W1
        grads["W2"] += 0 if bug == "no penalty of W2" else reg * W2
        return loss, grads

    return Case(lambda params: loss_and_gradients(params)[0], params, lambda params: loss_and_gradients(params)[1])


# ---- a class that keeps its caches on itself --------------------------------------------------------------------------------


class _Regressor:
    """Leaky relu by np.where, mean squared error; what the forward pass saw is kept on self for the backward pass."""

    def __init__(self, X: Array, Y: Array, bug: str) -> None:
        self.X, self.Y, self.bug = X, Y, bug

    def loss(self, params: Params) -> Any:
        self.params = params
        self.inputs: list[Any] = [self.X]
        self.hidden: list[Any] = []
        for number in (1, 2, 3):
            z = self.inputs[-1] @ params[f"W{number}"] + params[f"b{number}"]
            self.hidden.append(z)
            self.inputs.append(np.where(z > 0, z, 0.1 * z))
        self.residual = self.inputs[-1] @ params["W4"] + params["b4"] - self.Y
        return np.mean(self.residual**2)

    def backward(self) -> Params:
        grads = {}
        delta = (1 if self.bug == "factor 2 forgotten" else 2) * self.residual / self.residual.size
        for number in (4, 3, 2, 1):
            seen = self.inputs[number - 1]
            if self.bug == "dW3 from before the activation" and number == 3:
                seen = self.hidden[1]
            grads[f"W{number}"] = seen.T @ delta
            grads[f"b{number}"] = delta.sum(axis=0)
            if number > 1:
                slope = 0.0 if self.bug == "slope of relu, not leaky" else 0.1
                delta = (delta @ self.params[f"W{number}"].T) * np.where(self.hidden[number - 2] > 0, 1.0, slope)
        return grads

    def gradient(self, params: Params) -> Params:
        self.loss(params)
        return self.backward()


def caches_on_self(seed: int, bug: str = "") -> Case:
    """A class; the cost is a bound method that sets the parameters it is given and leaves its caches on self."""
    rng = np.random.default_rng(seed)
    params = {}
    for number, (inputs, units) in enumerate(itertools.pairwise([36, 32, 24, 16, 4]), start=1):
        params[f"W{number}"] = _weights(rng, inputs, units, inputs)
        params[f"b{number}"] = 0.3 * rng.standard_normal(units)
    network = _Regressor(rng.standard_normal((120, 36)), rng.standard_normal((120, 4)), bug)
    network.loss(params)
    clear = np.abs(np.hstack(network.hidden)).min(axis=1) > 0.005  # examples clear of the kinks
    network.X, network.Y = network.X[clear][:16], network.Y[clear][:16]
    return Case(network.loss, params, network.gradient)


# ---- other containers -------------------------------------------------------------------------------------------------------


def dropout(seed: int, bug: str = "") -> Case:
    """List of (W, b) tuples, walked by zip and reversed; tanh; inverted dropout with masks that were drawn before."""
    rng = np.random.default_rng(seed)
    sizes = [32, 28, 28, 28, 8]
    params = [
        (_weights(rng, inputs, units, inputs), 0.2 * rng.standard_normal(units)) for inputs, units in itertools.pairwise(sizes)
    ]
    keep = 0.8
    X, y = rng.standard_normal((16, 32)), rng.integers(8, size=16)
    masks = [(rng.random((16, units)) < keep) / keep for units in sizes[1:-1]]

    def forward(params: list[tuple[Any, Any]]) -> tuple[list[Any], list[Any], Any]:
        activations: list[Any] = []
        dropped: list[Any] = [X]
        for (W, b), mask in zip(params[:-1], masks, strict=True):
            activations.append(np.tanh(dropped[-1] @ W + b))
            dropped.append(activations[-1] * mask)
        W, b = params[-1]
        exponentials = np.exp(dropped[-1] @ W + b)
        return activations, dropped, exponentials / np.sum(exponentials, axis=1, keepdims=True)

    def cost(params: list[tuple[Any, Any]]) -> float:
        p = forward(params)[-1]
        return float(-np.mean(np.log(p[np.arange(len(y)), y])))

    def gradient(params: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        activations, dropped, p = forward(params)
        delta = (p - np.eye(8)[y]) / len(y)
        grads = []
        for layer in reversed(range(len(params))):
            grads.append((dropped[layer].T @ delta, delta.sum(axis=0)))
            if layer > 0:
                dropping = {"masks not undone": 1.0, "scale of dropout forgotten": masks[layer - 1] * keep}
                delta = (delta @ params[layer][0].T) * dropping.get(bug, masks[layer - 1])
                kept = dropped[layer] if bug == "slope from the dropped activation" else activations[layer - 1]
                delta = delta * (1 - kept**2)
        return grads[::-1]

    return Case(cost, params, gradient)


def nested(seed: int, bug: str = "") -> Case:
    """A dict that holds a list of dicts; np.matmul(W, a) + b[:, np.newaxis]; stable softplus; squared error, .item()."""
    rng = np.random.default_rng(seed)
    sizes = [44, 32, 16, 4]
    params = {
        "layers": [
            {"W": _weights(rng, units, inputs, inputs), "b": 0.3 * rng.standard_normal(units)}
            for inputs, units in itertools.pairwise(sizes)
        ]
    }
    X, Y = rng.standard_normal((44, 16)), rng.standard_normal((4, 16))

    def forward(params: Params) -> tuple[list[Any], list[Any]]:
        activations: list[Any] = [X]
        pre_activations = []
        for layer in params["layers"]:
            pre_activations.append(np.matmul(layer["W"], activations[-1]) + layer["b"][:, np.newaxis])
            activations.append(np.logaddexp(0, pre_activations[-1]))
        return pre_activations, activations

    def cost(params: Params) -> Any:
        pre_activations, _ = forward(params)
        loss = 0.5 * np.sum((pre_activations[-1] - Y) ** 2) / Y.size
        return loss.item()

    def gradient(params: Params) -> Params:
        pre_activations, activations = forward(params)
        delta = (pre_activations[-1] - Y) / (Y.shape[1] if bug == "mean over examples only" else Y.size)
        grads: list[Params] = []
        for index in (2, 1, 0):
            db = delta.mean(axis=1) if bug == "bias averaged" else delta.sum(axis=1)
            grads.insert(0, {"W": np.matmul(delta, activations[index].T), "b": db})
            below = activations[index] if bug == "slope at the activation" else pre_activations[index - 1]
            if index > 0:
                delta = np.matmul(params["layers"][index]["W"].T, delta) / (1 + np.exp(-below))
        return {"layers": grads}

    return Case(cost, params, gradient)


class _Weights(NamedTuple):
    hidden: Any
    hidden_bias: Any
    output: Any
    output_bias: Any


def gelu(seed: int, bug: str = "") -> Case:
    """A named tuple; GELU in its tanh form; log-softmax against one-hot labels."""
    rng = np.random.default_rng(seed)
    weights = _Weights(_weights(rng, 10, 12, 10), 0.3 * rng.standard_normal(12), _weights(rng, 12, 3, 12), rng.standard_normal(3))
    X, labels = rng.standard_normal((15, 10)), np.eye(3)[rng.integers(3, size=15)]
    scale, cubic = np.sqrt(2 / np.pi), 0.044715

    def forward(weights: _Weights) -> tuple[Any, Any, Any]:
        z = X @ weights.hidden + weights.hidden_bias
        a = 0.5 * z * (1 + np.tanh(scale * (z + cubic * z**3)))
        scores = a @ weights.output + weights.output_bias
        top = np.max(scores, axis=1, keepdims=True)
        return z, a, scores - top - np.log(np.sum(np.exp(scores - top), axis=1, keepdims=True))

    def cost(weights: _Weights) -> Any:
        return -np.sum(labels * forward(weights)[-1]) / len(X)

    def slope(z: Any) -> Any:
        if bug == "slope of the exact form":
            return 0.5 * (1 + np.vectorize(math.erf)(z / np.sqrt(2))) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        t = np.tanh(scale * (z + cubic * z**3))
        inner = scale * (1 + (1 if bug == "3 of the cube forgotten" else 3) * cubic * z**2)
        return 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * inner

    def gradient(weights: _Weights) -> _Weights:
        z, a, log_p = forward(weights)
        dscores = (np.exp(log_p) - labels) / len(X)
        dz = dscores @ weights.output.T * slope(z)
        return _Weights(
            X.T @ dz, dz.sum(axis=0), (z if bug == "dW2 from before the activation" else a).T @ dscores, dscores.sum(axis=0)
        )

    return Case(cost, weights, gradient)


def gated(seed: int, bug: str = "") -> Case:
    """A tuple; everything by np.einsum: a linear layer times a sigmoid gate of the same inputs."""
    rng = np.random.default_rng(seed)
    params = (_weights(rng, 7, 9, 7), 0.3 * rng.standard_normal(9), _weights(rng, 7, 9, 7), _weights(rng, 9, 3, 9))
    X, Y = rng.standard_normal((100, 7)), rng.standard_normal((100, 3))

    def forward(params: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        A, a, B, C = params
        h = np.einsum("nd,dh->nh", X, A) + a
        g = 1 / (1 + np.exp(-np.einsum("nd,dh->nh", X, B)))
        return h, g, np.einsum("nh,nh,hk->nk", h, g, C) - Y

    def cost(params: tuple[Any, ...]) -> Any:
        _, _, r = forward(params)
        return np.einsum("nk,nk->", r, r) / (2 * len(X))

    def gradient(params: tuple[Any, ...]) -> tuple[Any, ...]:
        h, g, r = forward(params)
        C = params[-1]
        r = r / len(X)
        dh = np.einsum("nk,hk->nh", r, C) if bug == "gate not passed" else np.einsum("nk,hk,nh->nh", r, C, g)
        dg = np.einsum("nk,hk,nh->nh", r, C, h)
        dz = dg if bug == "no slope of the gate" else dg * g * (1 - g)
        dC = np.einsum("nh,nk->hk", h, r) if bug == "dC without the gate" else np.einsum("nh,nh,nk->hk", h, g, r)
        return np.einsum("nd,nh->dh", X, dh), np.einsum("nh->h", dh), np.einsum("nd,nh->dh", X, dz), dC

    return Case(cost, params, gradient)


# ---- other structures -------------------------------------------------------------------------------------------------------


def bias_column(seed: int, bug: str = "") -> Case:
    """A list of matrices whose last rows are the biases (np.hstack with ones); sigmoids; log(p + 1e-7); a (1, 1) cost."""
    rng = np.random.default_rng(seed)
    params = [_weights(rng, 7, 12, 4), _weights(rng, 13, 1, 8)]
    X, Y = rng.standard_normal((280, 6)), rng.permutation([[0.0]] * 140 + [[1.0]] * 140)
    ones = np.ones((280, 1))

    def forward(params: list[Any]) -> tuple[Any, Any, Any]:
        inputs = np.hstack([X, ones])
        hidden = np.hstack([1 / (1 + np.exp(-inputs.dot(params[0]))), ones])
        return inputs, hidden, 1 / (1 + np.exp(-hidden.dot(params[1])))

    def cost(params: list[Any]) -> Any:
        _, _, p = forward(params)
        return -(Y.T.dot(np.log(p + 1e-7)) + (1 - Y).T.dot(np.log(1 - p + 1e-7))) / len(X)

    def gradient(params: list[Any]) -> list[Any]:
        inputs, hidden, p = forward(params)
        other = 0 if bug == "only the examples labelled 1" else (1 - Y) / (1 - p + 1e-7)
        dz = (other - Y / (p + 1e-7)) * p * (1 - p) / len(X)
        dhidden = dz.dot(params[1].T)
        dhidden = dhidden if bug == "no slope of the hidden layer" else dhidden * hidden * (1 - hidden)
        # The slope of the column of ones is 0, so it is cut off rather than passed on.
        cut = dhidden[:, 1:] if bug == "wrong column cut off" else dhidden[:, :-1]
        return [inputs.T.dot(cut), hidden.T.dot(dz)]

    return Case(cost, params, gradient)


def autoencoder(seed: int, bug: str = "") -> Case:
    """Dict; tied weights, so that the decoder uses W.T and dW has two shares."""
    rng = np.random.default_rng(seed)
    params: Params = {
        "W": _weights(rng, 14, 8, 14),
        "encoder bias": 0.3 * rng.standard_normal(8),
        "decoder bias": 0.3 * rng.standard_normal(14),
    }
    X = rng.standard_normal((350, 14))

    def cost(params: Params) -> Any:
        code = np.tanh(X @ params["W"] + params["encoder bias"])
        return np.mean(np.square(code @ params["W"].T + params["decoder bias"] - X))

    def gradient(params: Params) -> Params:
        W = params["W"]
        code = np.tanh(X @ W + params["encoder bias"])
        error = 2 * (code @ W.T + params["decoder bias"] - X) / X.size
        delta = error @ W * (1 if bug == "no slope of tanh" else 1 - code**2)
        shares = {"decoder's share forgotten": X.T @ delta, "encoder's share forgotten": error.T @ code}
        dW = shares.get(bug, X.T @ delta + error.T @ code)
        return {"W": dW, "encoder bias": delta.sum(axis=0), "decoder bias": error.sum(axis=0)}

    return Case(cost, params, gradient)


def residual(seed: int, bug: str = "") -> Case:
    """Nested dict with a list of blocks x + tanh(x @ W + b); logistic loss on labels of -1 and 1 by np.logaddexp."""
    rng = np.random.default_rng(seed)
    params: Params = {
        "input": _weights(rng, 9, 8, 9),
        "blocks": [{"W": _weights(rng, 8, 8, 8), "b": 0.3 * rng.standard_normal(8)} for _ in range(4)],
        "output": _weights(rng, 8, 1, 16).reshape(-1),
    }
    X, y = rng.standard_normal((80, 9)), rng.permutation([-1.0, 1.0] * 40)

    def forward(params: Params) -> tuple[list[Any], list[Any], Any]:
        streams = [X @ params["input"]]
        branches = []
        for block in params["blocks"]:
            branches.append(np.tanh(streams[-1] @ block["W"] + block["b"]))
            streams.append(streams[-1] + branches[-1])
        return streams, branches, y * (streams[-1] @ params["output"])

    def cost(params: Params) -> Any:
        return np.mean(np.logaddexp(0, -forward(params)[-1]))

    def gradient(params: Params) -> Params:
        streams, branches, margin = forward(params)
        ds = -y / (1 + np.exp(margin)) / len(y)
        dstream = np.outer(ds, params["output"])
        blocks = []
        for index in reversed(range(4)):
            dz = dstream * (1 - branches[index] ** 2)
            entering = streams[index + 1] if bug == "dW from the block's output" else streams[index]
            blocks.append({"W": entering.T @ dz, "b": dz.sum(axis=0)})
            through = dz @ params["blocks"][index]["W"].T
            dstream = through if bug == "skip forgotten" else dstream + through
        order = blocks if bug == "blocks in reverse order" else blocks[::-1]
        return {"input": X.T @ dstream, "blocks": order, "output": streams[-1].T @ ds}

    return Case(cost, params, gradient)


# ---- at the edges -----------------------------------------------------------------------------------------------------------


def single_precision(seed: int, bug: str = "") -> Case:
    """Dict; everything in float32, the data too; softmax cross-entropy."""
    rng = np.random.default_rng(seed)
    params: Params = {
        "W1": _weights(rng, 10, 8, 10).astype(np.float32),
        "b1": (0.3 * rng.standard_normal(8)).astype(np.float32),
        "W2": _weights(rng, 8, 3, 8).astype(np.float32),
        "b2": (0.3 * rng.standard_normal(3)).astype(np.float32),
    }
    X, y = rng.standard_normal((160, 10)).astype(np.float32), rng.integers(3, size=160)

    def forward(params: Params) -> tuple[Any, Any]:
        a = np.tanh(X.dot(params["W1"]) + params["b1"])
        scores = a.dot(params["W2"]) + params["b2"]
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        return a, p / p.sum(axis=1, keepdims=True)

    def cost(params: Params) -> Any:
        _, p = forward(params)
        return -np.log(p[np.arange(len(y)), y]).mean()

    def gradient(params: Params) -> Params:
        a, d2 = forward(params)
        d2[np.arange(len(y)), y] -= 1
        d2 /= len(y)
        d1 = d2.dot(params["W2"].T) * (1 - (a if bug == "1 - a for 1 - a squared" else a**2))
        db2 = d2.mean(axis=0) if bug == "db2 averaged twice" else d2.sum(axis=0)
        return {"W1": X.T.dot(d1), "b1": d1.sum(axis=0), "W2": a.T.dot(d2), "b2": db2}

    return Case(cost, params, gradient)


def relu_at_zero(seed: int, bug: str = "") -> Case:
    """Dict; relu as Z * (Z > 0) where some Z are exactly 0: an example of zeros, biases of 0, and a sum that cancels."""
    rng = np.random.default_rng(seed)
    W1, b1 = _weights(rng, 6, 7, 6), 0.3 * rng.standard_normal(7)
    b1[:4] = 0
    W1[:2, 3] = 0.5, -1.0
    X, Y = rng.standard_normal((300, 6)), rng.standard_normal((100, 2))
    X = X[np.abs(X @ W1 + b1).min(axis=1) > 0.01][:100]  # no other kink than those to come
    X[0] = 0
    X[1] = 2, 1, 0, 0, 0, 0
    params: Params = {"W1": W1, "b1": b1, "W2": _weights(rng, 7, 2, 7), "b2": 0.3 * rng.standard_normal(2)}

    def forward(params: Params) -> tuple[Any, Any, Any]:
        Z = X @ params["W1"] + params["b1"]
        A = Z * (Z > 0)
        return Z, A, A @ params["W2"] + params["b2"] - Y

    def cost(params: Params) -> Any:
        E = forward(params)[-1]
        penalty = sum(np.sum(W**2) for W in params.values())
        return np.mean(np.sum(E**2, axis=1)) / 2 + 0.005 * penalty

    def gradient(params: Params) -> Params:
        Z, A, E = forward(params)
        E = E / len(X)
        dZ = E @ params["W2"].T
        dZ = dZ if bug == "no slope of relu" else dZ * (Z > 0)
        grads = {"W1": X.T @ dZ, "b1": dZ.sum(axis=0), "W2": (Z if bug == "dW2 from Z" else A).T @ E, "b2": E.sum(axis=0)}
        penalized = ("W1", "W2") if bug == "no penalty of the biases" else params
        return {name: grads[name] + (0.01 * params[name] if name in penalized else 0) for name in grads}

    return Case(cost, params, gradient)


def _swish(z: float) -> float:
    return z / (1 + math.exp(-z))


def _swish_slope(z: float) -> float:
    s = 1 / (1 + math.exp(-z))
    return s + z * s * (1 - s)


def vectorized_function(seed: int, bug: str = "") -> Case:
    """Tuple of arrays; the activation is a function of one Python float, applied by np.vectorize."""
    rng = np.random.default_rng(seed)
    params = (_weights(rng, 8, 5, 5), 0.3 * rng.standard_normal((8, 1)), _weights(rng, 1, 8, 8), rng.standard_normal((1, 1)))
    X, y = rng.standard_normal((5, 20)), rng.standard_normal((1, 20))
    swish, slope = np.vectorize(_swish), np.vectorize(_swish_slope)

    def cost(params: tuple[Any, ...]) -> Any:
        W, b, v, c = params
        return 0.5 * np.mean((v @ swish(W @ X + b) + c - y) ** 2)

    def gradient(params: tuple[Any, ...]) -> tuple[Any, ...]:
        W, b, v, c = params
        z = W @ X + b
        a = swish(z)
        e = (v @ a + c - y) / y.size
        dz = (v.T @ e) * (a if bug == "activation for slope" else slope(z))
        db = dz.mean(axis=1, keepdims=True) if bug == "bias averaged twice" else dz.sum(axis=1, keepdims=True)
        return dz @ X.T, db, e @ a.T, e.sum(axis=1, keepdims=True)

    return Case(cost, params, gradient)


MODELS: tuple[Model, ...] = (
    Model(
        "deep network, examples in columns",
        columns,
        _planted(
            columns,
            {
                "dW2 without the mean": ("W2",),
                "no penalty": ("W1", "W2", "W3", "W4"),
                "biases summed": ("b1", "b2", "b3", "b4"),
                "no slope of the third layer": ("W1", "b1", "W2", "b2", "W3", "b3"),
            },
        ),
    ),
    Model(
        "two layers, loss and gradients from one function",
        two_layers,
        _planted(
            two_layers,
            {
                "no mean": ("W1", "b1", "W2", "b2"),
                "relu not undone": ("W1", "b1"),
                "penalty of W1 without the half": ("W1",),
                "no penalty of W2": ("W2",),
            },
        ),
    ),
    Model(
        "class with caches on self, leaky relu",
        caches_on_self,
        _planted(
            caches_on_self,
            {
                "slope of relu, not leaky": ("W1", "b1", "W2", "b2", "W3", "b3"),
                "factor 2 forgotten": ("W1", "b1", "W2", "b2", "W3", "b3", "W4", "b4"),
                "dW3 from before the activation": ("W3",),
            },
        ),
    ),
    Model(
        "list of (W, b), dropout with fixed masks",
        dropout,
        _planted(
            dropout,
            {
                "masks not undone": tuple(f"[{layer}][{part}]" for layer in range(3) for part in range(2)),
                "scale of dropout forgotten": tuple(f"[{layer}][{part}]" for layer in range(3) for part in range(2)),
                "slope from the dropped activation": tuple(f"[{layer}][{part}]" for layer in range(3) for part in range(2)),
            },
        ),
    ),
    Model(
        "nested dict of layers, softplus",
        nested,
        _planted(
            nested,
            {
                "mean over examples only": tuple(f"layers[{index}].{name}" for index in range(3) for name in "Wb"),
                "bias averaged": ("layers[0].b", "layers[1].b", "layers[2].b"),
                "slope at the activation": ("layers[0].W", "layers[0].b", "layers[1].W", "layers[1].b"),
            },
        ),
    ),
    Model(
        "named tuple, GELU in its tanh form",
        gelu,
        _planted(
            gelu,
            {
                "slope of the exact form": ("hidden", "hidden_bias"),
                "3 of the cube forgotten": ("hidden", "hidden_bias"),
                "dW2 from before the activation": ("output",),
            },
        ),
    ),
    Model(
        "gated layer by einsum",
        gated,
        _planted(
            gated,
            {"gate not passed": ("[0]", "[1]"), "no slope of the gate": ("[2]",), "dC without the gate": ("[3]",)},
        ),
    ),
    Model(
        "biases as a column of ones, log(p + 1e-7)",
        bias_column,
        _planted(
            bias_column,
            {
                "only the examples labelled 1": ("[0]", "[1]"),
                "no slope of the hidden layer": ("[0]",),
                "wrong column cut off": ("[0]",),
            },
        ),
    ),
    Model(
        "autoencoder with tied weights",
        autoencoder,
        _planted(
            autoencoder,
            {
                "decoder's share forgotten": ("W",),
                "encoder's share forgotten": ("W",),
                "no slope of tanh": ("W", "['encoder bias']"),
            },
        ),
    ),
    Model(
        "residual network",
        residual,
        _planted(
            residual,
            {
                "dW from the block's output": tuple(f"blocks[{index}].W" for index in range(4)),
                "skip forgotten": ("input", *(f"blocks[{index}].{name}" for index in range(3) for name in "Wb")),
                "blocks in reverse order": tuple(f"blocks[{index}].{name}" for index in range(4) for name in "Wb"),
            },
        ),
    ),
    Model(
        "two layers in float32",
        single_precision,
        _planted(single_precision, {"1 - a for 1 - a squared": ("W1", "b1"), "db2 averaged twice": ("b2",)}),
        float32=True,
    ),
    Model(
        "relu exactly at zero",
        relu_at_zero,
        _planted(
            relu_at_zero, {"no slope of relu": ("W1", "b1"), "dW2 from Z": ("W2",), "no penalty of the biases": ("b1", "b2")}
        ),
        kinks=True,
    ),
    Model(
        "swish by np.vectorize",
        vectorized_function,
        _planted(vectorized_function, {"activation for slope": ("[0]", "[1]"), "bias averaged twice": ("[1]",)}),
        leaves_numpy=True,
    ),
)
