"""Recurrent networks and recursions, each in another of the styles in which people write them.

A builder takes a seed and, for the gradient only, the name of a bug; the line that has it says so.
"""

import math
from collections.abc import Callable
from typing import Any

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


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


# ---- tanh networks ----------------------------------------------------------------------------------------------------------


def character_rnn(seed: int, bug: str = "") -> Case:
    """Column vectors in dicts keyed by time, hs[-1] for the state before; one softmax a character."""
    rng = np.random.default_rng(seed)
    vocabulary, size = 16, 24
    params: Params = {
        "Wxh": _weights(rng, size, vocabulary, 2),
        "Whh": _weights(rng, size, size, size),
        "Why": _weights(rng, vocabulary, size, size),
        "bh": 0.3 * rng.standard_normal((size, 1)),
        "by": 0.3 * rng.standard_normal((vocabulary, 1)),
    }
    text = rng.integers(vocabulary, size=7)
    inputs, targets = text[:-1], text[1:]
    hprev = 0.5 * rng.standard_normal((size, 1))

    def forward(params: Params) -> tuple[dict[int, Any], dict[int, Any], dict[int, Any], Any]:
        xs, hs, ps = {}, {}, {}
        hs[-1] = np.copy(hprev)
        loss = 0
        for t in range(len(inputs)):
            xs[t] = np.zeros((vocabulary, 1))
            xs[t][inputs[t]] = 1
            hs[t] = np.tanh(np.dot(params["Wxh"], xs[t]) + np.dot(params["Whh"], hs[t - 1]) + params["bh"])
            y = np.dot(params["Why"], hs[t]) + params["by"]
            ps[t] = np.exp(y) / np.sum(np.exp(y))
            loss += -np.log(ps[t][targets[t], 0])
        return xs, hs, ps, loss / len(inputs)

    def gradient(params: Params) -> Params:
        xs, hs, ps, _ = forward(params)
        grads = {name: np.zeros_like(value) for name, value in params.items()}
        dhnext = np.zeros_like(hprev)
        for t in reversed(range(len(inputs))):
            dy = np.copy(ps[t])
            dy[targets[t]] -= 1
            dy /= len(inputs)
            grads["Why"] += np.dot(dy, hs[t].T)
            grads["by"] = (0 if bug == "= for += in dby" else grads["by"]) + dy
            dh = np.dot(params["Why"].T, dy) + (0 if bug == "dhnext not added" else dhnext)
            draw = (1 - hs[t] * hs[t]) * dh
            grads["bh"] += draw
            grads["Wxh"] += np.dot(draw, xs[t].T)
            grads["Whh"] += np.dot(draw, hs[t if bug == "state of the step itself in dWhh" else t - 1].T)
            dhnext = np.dot(params["Whh"].T, draw)
        return grads

    return Case(lambda params: forward(params)[-1], params, gradient)


def preallocated_rnn(seed: int, bug: str = "") -> Case:
    """States in np.zeros((T + 1, H)) whose last row is the state before the first; columns U[:, word] as embeddings."""
    rng = np.random.default_rng(seed)
    words, size, steps = 9, 8, 6
    params: Params = {
        "U": _weights(rng, size, words, 2),
        "W": _weights(rng, size, size, size),
        "b": 0.3 * rng.standard_normal(size),
        "V": _weights(rng, words, size, size),
        "c": 0.3 * rng.standard_normal(words),
    }
    x = rng.integers(words, size=steps)
    x[3] = x[1]  # a word that comes twice
    targets = rng.integers(words, size=steps)

    def forward(params: Params) -> tuple[Any, Any]:
        s = np.zeros((steps + 1, size))
        p = np.zeros((steps, words))
        for t in range(steps):
            s[t] = np.tanh(params["U"][:, x[t]] + params["W"].dot(s[t - 1]) + params["b"])
            exponentials = np.exp(params["V"].dot(s[t]) + params["c"])
            p[t] = exponentials / exponentials.sum()
        return s, p

    def cost(params: Params) -> Any:
        _, p = forward(params)
        return -np.sum(np.log(p[np.arange(steps), targets])) / steps

    def gradient(params: Params) -> Params:
        s, p = forward(params)
        dU, dW, db = np.zeros_like(params["U"]), np.zeros_like(params["W"]), np.zeros(size)
        dy = p.copy()
        dy[np.arange(steps), targets] -= 1
        dy /= steps
        delta = np.zeros(size)
        for t in range(steps - 1, -1, -1):
            delta = (dy[t] @ params["V"] + delta) * (1 - s[t - 1 if bug == "slope of the step before" else t] ** 2)
            dW += np.outer(s[t - 1], delta) if bug == "dW transposed" else np.outer(delta, s[t - 1])
            dU[:, x[t]] = delta + (0 if bug == "= for += of a word" else dU[:, x[t]])
            db += delta
            delta = params["W"].T.dot(delta)
        return {"U": dU, "W": dW, "b": db, "V": dy.T.dot(s[:-1]), "c": dy.sum(axis=0)}

    return Case(cost, params, gradient)


def embedded_rnn(seed: int, bug: str = "") -> Case:
    """A batch; embeddings E[tokens], a list of states stacked by np.stack and averaged, np.add.at on the way back."""
    rng = np.random.default_rng(seed)
    words, features, size, classes = 20, 12, 22, 4
    params: Params = {
        "E": rng.standard_normal((words, features)),
        "Wx": _weights(rng, features, size, features),
        "Wh": _weights(rng, size, size, size),
        "b": 0.3 * rng.standard_normal(size),
        "Wy": _weights(rng, size, classes, 4),
        "by": 0.3 * rng.standard_normal(classes),
    }
    tokens, labels = rng.integers(words, size=(6, 5)), rng.integers(classes, size=6)

    def forward(params: Params) -> tuple[Any, list[Any], Any, Any]:
        x = params["E"][tokens]
        h = np.zeros((len(tokens), size))
        hs = [h]
        for t in range(tokens.shape[1]):
            h = np.tanh(x[:, t] @ params["Wx"] + h @ params["Wh"] + params["b"])
            hs.append(h)
        pooled = np.stack(hs[1:], axis=1).mean(axis=1)
        scores = pooled @ params["Wy"] + params["by"]
        log_p = scores - np.log(np.sum(np.exp(scores), axis=1, keepdims=True))
        return x, hs, pooled, log_p

    def cost(params: Params) -> Any:
        return -forward(params)[-1][np.arange(len(labels)), labels].mean()

    def gradient(params: Params) -> Params:
        x, hs, pooled, log_p = forward(params)
        dscores = (np.exp(log_p) - np.eye(classes)[labels]) / len(labels)
        grads = {"Wy": pooled.T @ dscores, "by": dscores.sum(axis=0)}
        dpooled = dscores @ params["Wy"].T / (1 if bug == "no mean over time" else tokens.shape[1])
        dx = np.zeros_like(x)
        dWx, dWh, db = np.zeros_like(params["Wx"]), np.zeros_like(params["Wh"]), np.zeros(size)
        dh = np.zeros((len(tokens), size))
        for t in reversed(range(tokens.shape[1])):
            dz = (dpooled + dh) * (1 - hs[t + 1] ** 2)
            dx[:, t] = dz @ params["Wx"].T
            dWx += x[:, t].T @ dz
            dWh += hs[t].T @ dz
            db += dz.sum(axis=0)
            dh = dz @ (params["Wh"] if bug == "Wh not transposed" else params["Wh"].T)
        dE = np.zeros_like(params["E"])
        if bug == "+= on repeated tokens":
            dE[tokens] += dx
        else:
            np.add.at(dE, tokens, dx)
        return {"E": dE, "Wx": dWx, "Wh": dWh, "b": db, **grads}

    return Case(cost, params, gradient)


def bidirectional_rnn(seed: int, bug: str = "") -> Case:
    """Nested dicts; one direction over x, the other over x[::-1], joined by np.concatenate; logits for each step."""
    rng = np.random.default_rng(seed)
    steps, features, size = 5, 4, 6
    x, y = rng.standard_normal((steps, features)), rng.permutation([0.0, 1.0, 0.0, 1.0, 1.0])
    params: Params = {
        name: {
            "Wx": _weights(rng, features, size, features),
            "Wh": _weights(rng, size, size, size),
            "b": 0.3 * rng.standard_normal(size),
        }
        for name in ("forward", "backward")
    }
    params |= {"W": _weights(rng, 2 * size, 1, size), "c": 0.3 + 0.1 * rng.standard_normal(1)}

    def run(direction: Params, x: Array) -> Any:
        states = [np.zeros(size)]
        for t in range(steps):
            states.append(np.tanh(x[t] @ direction["Wx"] + states[-1] @ direction["Wh"] + direction["b"]))
        return np.array(states)

    def join(forward: Any, backward: Any) -> Any:
        return np.concatenate([forward[1:], backward[1:][::-1]], axis=1)

    def cost(params: Params) -> Any:
        h = join(run(params["forward"], x), run(params["backward"], x[::-1]))
        z = np.squeeze(h @ params["W"] + params["c"], axis=1)
        return np.mean(np.logaddexp(0, z) - y * z)

    def through_time(direction: Params, x: Array, states: Any, dstates: Any) -> Params:
        grads = {name: np.zeros_like(value) for name, value in direction.items()}
        dh = np.zeros(size)
        for t in reversed(range(steps)):
            dz = (dstates[t] + dh) * (1 - states[t + 1] ** 2)
            grads["Wx"] += np.outer(x[t], dz)
            grads["Wh"] += np.outer(states[t + 1 if bug == "state of the step itself in dWh" else t], dz)
            grads["b"] += dz
            dh = direction["Wh"] @ dz
        return grads

    def gradient(params: Params) -> Params:
        forward, backward = run(params["forward"], x), run(params["backward"], x[::-1])
        h = join(forward, backward)
        dz = (_sigmoid(h @ params["W"] + params["c"]) - y[:, np.newaxis]) / steps
        dh = dz @ params["W"].T
        flipped = dh[:, size:] if bug == "second direction not flipped back" else dh[::-1, size:]
        return {
            "forward": through_time(params["forward"], x, forward, dh[:, :size]),
            "backward": through_time(params["backward"], x[::-1], backward, flipped),
            "W": h.T @ dz,
            "c": dz.sum(axis=0),
        }

    return Case(cost, params, gradient)


def elman_entries(seed: int, bug: str = "") -> Case:
    """A list of arrays; every entry of the state computed on its own and written to a buffer; squared error."""
    rng = np.random.default_rng(seed)
    steps, features, size = 4, 3, 4
    params = [
        _weights(rng, size, features, features),
        _weights(rng, size, size, size),
        0.3 * rng.standard_normal(size),
        rng.standard_normal(size),
        rng.standard_normal(1),
    ]
    x, y = rng.standard_normal((steps, features)), rng.standard_normal(steps)

    def forward(params: list[Any]) -> tuple[list[Any], list[Any]]:
        W, U, b, v, c = params
        states: list[Any] = [np.zeros(size)]
        errors = []
        for t in range(steps):
            h = np.zeros(size)
            for j in range(size):
                h[j] = np.tanh(W[j].dot(x[t]) + np.dot(U[j], states[-1]) + b[j])
            states.append(h)
            errors.append(v.dot(h) + c[0] - y[t])
        return states, errors

    def cost(params: list[Any]) -> Any:
        _, errors = forward(params)
        return sum(error**2 for error in errors) / steps

    def gradient(params: list[Any]) -> list[Any]:
        _, U, _, v, _ = params
        states, errors = forward(params)
        dW, dU, db, dv, dc = (np.zeros_like(value) for value in params)
        dnext = np.zeros(size)
        for t in reversed(range(steps)):
            de = (1 if bug == "factor 2 forgotten" else 2) * errors[t] / steps
            dv += de * states[t + 1]
            dc += de
            carried, dnext = dnext, np.zeros(size)
            for j in range(size):
                dz = (de * v[j] + carried[j]) * (1 - states[t + 1][j] ** 2)
                dW[j] += dz * x[t]
                dU[j] += dz * states[t]
                db[j] += dz
                dnext = dz * U[j] + (0 if bug == "last unit only" else dnext)
        return [dW, dU, db, dv, dc]

    return Case(cost, params, gradient)


# ---- gated networks ---------------------------------------------------------------------------------------------------------


def lstm(seed: int, bug: str = "") -> Case:
    """A batch; inputs and state concatenated for one product, the gates cut out of it; a tuple cached for each step."""
    rng = np.random.default_rng(seed)
    batch, steps, features, size = 5, 4, 10, 14
    params: Params = {
        "W": _weights(rng, features + size, 4 * size, features + size),
        "b": 0.4 * rng.standard_normal(4 * size),
        "w": rng.standard_normal(size),
        "c": 0.3 + 0.1 * rng.standard_normal(1),
    }
    x, y = rng.standard_normal((batch, steps, features)), rng.permutation([0.0, 1.0, 0.0, 1.0, 1.0])

    def forward(params: Params) -> tuple[list[tuple[Any, ...]], Any]:
        h, c = np.zeros((batch, size)), np.zeros((batch, size))
        caches = []
        for t in range(steps):
            joined = np.concatenate([x[:, t], h], axis=1)
            z = joined @ params["W"] + params["b"]
            i, f, o = _sigmoid(z[:, :size]), _sigmoid(z[:, size : 2 * size]), _sigmoid(z[:, 2 * size : 3 * size])
            g = np.tanh(z[:, 3 * size :])
            c_before, c = c, f * c + i * g
            h = o * np.tanh(c)
            caches.append((joined, i, f, o, g, c_before, c, h))
        return caches, h

    def cost(params: Params) -> float:
        _, h = forward(params)
        p = _sigmoid(h @ params["w"] + params["c"])
        return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))

    def gradient(params: Params) -> Params:
        caches, h = forward(params)
        ds = (_sigmoid(h @ params["w"] + params["c"]) - y) / batch
        dW, db = np.zeros_like(params["W"]), np.zeros_like(params["b"])
        dh, dc = np.outer(ds, params["w"]), np.zeros((batch, size))
        for joined, i, f, o, g, c_before, c, _ in reversed(caches):
            dc = dc + dh * o * (1 - (c if bug == "no tanh of the cell in its slope" else np.tanh(c)) ** 2)
            df = dc * c_before * (1 if bug == "no slope of the forget gate" else f * (1 - f))
            gates = [dc * g * i * (1 - i), df, dh * np.tanh(c) * o * (1 - o), dc * i * (1 - g**2)]
            dz = np.concatenate(gates, axis=1)
            dW += joined.T @ dz
            db += dz.sum(axis=0)
            dh = (dz @ params["W"].T)[:, features:]
            dc = dc if bug == "cell carried without its gate" else dc * f
        return {"W": dW, "b": db, "w": h.T @ ds, "c": ds.sum(keepdims=True)}

    return Case(cost, params, gradient)


def preallocated_lstm(seed: int, bug: str = "") -> Case:
    """One sequence; hs, cs and gates preallocated for all steps, the gates' activations written over their sums."""
    rng = np.random.default_rng(seed)
    steps, features, size = 5, 4, 5
    params: Params = {
        "Wx": _weights(rng, 4 * size, features, features),
        "Wh": _weights(rng, 4 * size, size, size),
        "b": 0.4 * rng.standard_normal(4 * size),
        "V": _weights(rng, 2, size, 1),
        "c": 0.3 * rng.standard_normal(2),
    }
    x, y = rng.standard_normal((steps, features)), rng.standard_normal((steps, 2))

    def forward(params: Params) -> tuple[Any, Any, Any, Any]:
        hs, cs, gates = np.zeros((steps + 1, size)), np.zeros((steps + 1, size)), np.zeros((steps, 4 * size))
        for t in range(steps):
            gates[t] = params["Wx"].dot(x[t]) + params["Wh"].dot(hs[t]) + params["b"]
            gates[t, : 3 * size] = 1 / (1 + np.exp(-gates[t, : 3 * size]))
            gates[t, 3 * size :] = np.tanh(gates[t, 3 * size :])
            i, f, o, g = np.split(gates[t], 4)
            cs[t + 1] = f * cs[t] + i * g
            hs[t + 1] = o * np.tanh(cs[t + 1])
        return hs, cs, gates, hs[1:].dot(params["V"].T) + params["c"] - y

    def cost(params: Params) -> Any:
        return 0.5 * np.mean(np.sum(forward(params)[-1] ** 2, axis=1))

    def gradient(params: Params) -> Params:
        hs, cs, gates, errors = forward(params)
        errors = errors / steps
        dgates = np.zeros_like(gates)
        dh, dc = np.zeros(size), np.zeros(size)
        for t in reversed(range(steps)):
            i, f, o, g = np.split(gates[t], 4)
            dh = errors[t].dot(params["V"]) + (0 if bug == "state not carried" else dh)
            cell = np.tanh(cs[t + 1])
            dc = dc + dh * o * (1 - cell**2)
            before = cs[t + 1 if bug == "cell of the step itself" else t]
            dgates[t] = np.concatenate(
                [dc * g * i * (1 - i), dc * before * f * (1 - f), dh * cell * o * (1 - o), dc * i * (1 - g**2)]
            )
            dh, dc = dgates[t].dot(params["Wh"]), dc * f
        states = hs[1:] if bug == "dWh from the step itself" else hs[:-1]
        return {
            "Wx": dgates.T.dot(x),
            "Wh": dgates.T.dot(states),
            "b": dgates.sum(axis=0),
            "V": errors.T.dot(hs[1:]),
            "c": errors.sum(axis=0),
        }

    return Case(cost, params, gradient)


def gru(seed: int, bug: str = "") -> Case:
    """Dict of three weights for each of three gates; column vectors, a dict of caches for each step; a (1, 1) cost."""
    rng = np.random.default_rng(seed)
    steps, features, size = 4, 4, 6
    params: Params = {}
    for gate in "zrg":
        params["W" + gate] = _weights(rng, size, features, features)
        params["U" + gate] = _weights(rng, size, size, size)
        params["b" + gate] = 0.3 * rng.standard_normal((size, 1))
    params["v"] = _weights(rng, size, 1, 2)
    x, target = rng.standard_normal((steps, features, 1)), 1.5

    def forward(params: Params) -> tuple[list[Params], Any]:
        h = 0.3 * np.ones((size, 1))
        caches = []
        for t in range(steps):
            cache = {"x": x[t], "h": h}
            z = cache["z"] = _sigmoid(params["Wz"] @ x[t] + params["Uz"] @ h + params["bz"])
            r = cache["r"] = _sigmoid(params["Wr"] @ x[t] + params["Ur"] @ h + params["br"])
            g = cache["g"] = np.tanh(params["Wg"] @ x[t] + params["Ug"] @ (r * h) + params["bg"])
            h = (1 - z) * h + z * g
            caches.append(cache)
        return caches, h

    def cost(params: Params) -> Any:
        _, h = forward(params)
        error = params["v"].T @ h - target
        return 0.5 * error * error

    def gradient(params: Params) -> Params:
        caches, h = forward(params)
        error = params["v"].T @ h - target
        grads = {name: np.zeros_like(value) for name, value in params.items()}
        grads["v"] += h @ error
        dh = params["v"] @ error
        for cache in reversed(caches):
            h, z, r, g = cache["h"], cache["z"], cache["r"], cache["g"]
            dg = dh * z * (1 - g**2)
            dz = dh * (g if bug == "old state not in dz" else g - h) * z * (1 - z)
            dproduct = params["Ug"].T @ dg
            dr = dproduct * h * r * (1 - r)
            for gate, dgate, state in (("z", dz, h), ("r", dr, h), ("g", dg, h if bug == "dUg without the reset" else r * h)):
                grads["W" + gate] += dgate @ cache["x"].T
                grads["U" + gate] += dgate @ state.T
                grads["b" + gate] += dgate
            through_reset = 0 if bug == "path through the reset forgotten" else dproduct * r
            dh = dh * (1 - z) + through_reset + params["Uz"].T @ dz + params["Ur"].T @ dr
        return grads

    return Case(cost, params, gradient)


# ---- recursions of statistics -----------------------------------------------------------------------------------------------


def innovations(seed: int, bug: str = "") -> Case:
    """A linear state space in innovation form, as of a steady Kalman filter: x' = A x + K (y - C x), squared innovations."""
    rng = np.random.default_rng(seed)
    steps, size, outputs = 10, 4, 2
    params: Params = {
        "A": 0.5 * np.eye(size) + 0.15 * rng.standard_normal((size, size)),
        "K": 0.2 * rng.standard_normal((size, outputs)),
        "C": 0.7 * rng.standard_normal((outputs, size)),
        "x0": rng.standard_normal(size),
    }
    y = rng.standard_normal((steps, outputs))

    def forward(params: Params) -> tuple[Any, list[Any]]:
        A, K, C = params["A"], params["K"], params["C"]
        x = np.zeros((steps + 1, size))
        x[0] = params["x0"]
        innovations = []
        for t in range(steps):
            e = y[t] - C @ x[t]
            x[t + 1] = A @ x[t] + K @ e
            innovations.append(e)
        return x, innovations

    def cost(params: Params) -> Any:
        _, innovations = forward(params)
        return 0.5 * np.mean(np.concatenate(innovations) ** 2)

    def gradient(params: Params) -> Params:
        x, innovations = forward(params)
        A, K, C = params["A"], params["K"], params["C"]
        dA, dK, dC, adjoint = np.zeros_like(A), np.zeros_like(K), np.zeros_like(C), np.zeros(size)
        for t in reversed(range(steps)):
            e = innovations[t]
            de = e / (steps * outputs) + (0 if bug == "gain not passed" else K.T @ adjoint)
            dA += np.outer(x[t], adjoint) if bug == "dA transposed" else np.outer(adjoint, x[t])
            dK += np.outer(adjoint, e)
            dC += (1 if bug == "sign of dC" else -1) * np.outer(de, x[t])
            adjoint = A.T @ adjoint - C.T @ de
        return {"A": dA, "K": dK, "C": dC, "x0": adjoint}

    return Case(cost, params, gradient)


def garch(seed: int, bug: str = "") -> Case:
    """A flat vector of four; the variance's recursion in Python floats with math.log, its derivatives run forward."""
    rng = np.random.default_rng(seed)
    returns = 0.1 + rng.standard_normal(120)
    theta = np.array([0.05, 0.3, 0.2, 0.5]) * (1 + 0.1 * rng.standard_normal(4))

    def cost(theta: Any) -> float:
        mean, omega, alpha, beta = (float(value) for value in theta)
        variance, total = 1.0, 0.0
        for value in returns:
            shock = float(value) - mean
            total += 0.5 * (math.log(variance) + shock**2 / variance)
            variance = omega + alpha * shock**2 + beta * variance
        return total / len(returns)

    def gradient(theta: Any) -> Any:
        mean, omega, alpha, beta = theta
        variance, dvariance = 1.0, np.zeros(4)
        total = np.zeros(4)
        for value in returns:
            shock = value - mean
            total += 0.5 * (1 / variance - shock**2 / variance**2) * dvariance
            total[0] -= 0 if bug == "mean in the variance only" else shock / variance
            direct = np.array([-2 * alpha * shock, 1.0, shock**2, variance])
            dvariance = direct + (0 if bug == "derivative not carried" else beta * dvariance)
            variance = omega + alpha * shock**2 + beta * variance
        return total / len(returns)

    return Case(cost, theta, gradient)


_CHAIN = ("Wx", "Wh", "b")

MODELS: tuple[Model, ...] = (
    Model(
        "character RNN, dicts keyed by time",
        character_rnn,
        _planted(
            character_rnn,
            {
                "= for += in dby": ("by",),
                "dhnext not added": ("Wxh", "Whh", "bh"),
                "state of the step itself in dWhh": ("Whh",),
            },
        ),
    ),
    Model(
        "RNN, preallocated states",
        preallocated_rnn,
        _planted(
            preallocated_rnn,
            {"slope of the step before": ("U", "W", "b"), "dW transposed": ("W",), "= for += of a word": ("U",)},
        ),
    ),
    Model(
        "RNN on embeddings, list of states",
        embedded_rnn,
        _planted(
            embedded_rnn,
            {
                "no mean over time": ("E", "Wx", "Wh", "b"),
                "Wh not transposed": ("E", "Wx", "Wh", "b"),
                "+= on repeated tokens": ("E",),
            },
        ),
    ),
    Model(
        "bidirectional RNN",
        bidirectional_rnn,
        _planted(
            bidirectional_rnn,
            {
                "state of the step itself in dWh": ("forward.Wh", "backward.Wh"),
                "second direction not flipped back": tuple(f"backward.{name}" for name in _CHAIN),
            },
        ),
    ),
    Model(
        "Elman network, entry by entry",
        elman_entries,
        _planted(
            elman_entries,
            {"factor 2 forgotten": ("[0]", "[1]", "[2]", "[3]", "[4]"), "last unit only": ("[0]", "[1]", "[2]")},
        ),
    ),
    Model(
        "LSTM, one product for the gates",
        lstm,
        _planted(
            lstm,
            {
                "no tanh of the cell in its slope": ("W", "b"),
                "no slope of the forget gate": ("W", "b"),
                "cell carried without its gate": ("W", "b"),
            },
        ),
    ),
    Model(
        "LSTM, preallocated gates",
        preallocated_lstm,
        _planted(
            preallocated_lstm,
            {
                "state not carried": ("Wx", "Wh", "b"),
                "cell of the step itself": ("Wx", "Wh", "b"),
                "dWh from the step itself": ("Wh",),
            },
        ),
    ),
    Model(
        "GRU",
        gru,
        _planted(
            gru,
            {
                "old state not in dz": tuple(name + gate for gate in "zrg" for name in "WUb"),
                "dUg without the reset": ("Ug",),
                "path through the reset forgotten": tuple(name + gate for gate in "zrg" for name in "WUb"),
            },
        ),
    ),
    Model(
        "linear state space, innovations",
        innovations,
        _planted(
            innovations,
            {"gain not passed": ("A", "K", "C", "x0"), "dA transposed": ("A",), "sign of dC": ("C",)},
        ),
    ),
    Model(
        "GARCH in Python floats",
        garch,
        _planted(garch, {"mean in the variance only": ("params",), "derivative not carried": ("params",)}),
        leaves_numpy=True,
    ),
)
