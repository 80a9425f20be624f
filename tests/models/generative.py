"""Densities, policies and curves: autoencoder, flow, mixture, free energy, clipped policy, differential equation, regression."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models._model import Case, Model
from models._planting import planted

Array = NDArray[np.float64]


def variational(seed: int, bug: str = "") -> Case:
    """Variational autoencoder with fixed noise: two heads, the reparameterised code, cross-entropy and divergence."""
    rng = np.random.default_rng(seed)
    N, pixels, units, code = 8, 24, 20, 4
    x = (rng.random((N, pixels)) < 0.4).astype(float)
    noise = rng.standard_normal((N, code))

    def layer(inputs: int, outputs: int) -> dict[str, Array]:
        return {"W": rng.standard_normal((inputs, outputs)) / np.sqrt(inputs), "b": rng.standard_normal(outputs) * 0.3}

    params = {
        "encoder": layer(pixels, units),
        "mean": layer(units, code),
        "log_var": layer(units, code),
        "decoder": [layer(code, units), layer(units, pixels)],
    }

    def affine(a: Any, p: Any) -> Any:
        return a @ p["W"] + p["b"]

    def forward(p: Any) -> tuple[Any, ...]:
        h = np.tanh(affine(x, p["encoder"]))
        mean, log_var = affine(h, p["mean"]), affine(h, p["log_var"])
        z = mean + np.exp(0.5 * log_var) * noise
        g = np.tanh(affine(z, p["decoder"][0]))
        return h, mean, log_var, z, g, 1 / (1 + np.exp(-affine(g, p["decoder"][1])))

    def cost(p: Any) -> Any:
        _, mean, log_var, _, _, out = forward(p)
        reconstruction = -(x * np.log(out) + (1 - x) * np.log(1 - out)).sum(axis=1)
        divergence = -0.5 * np.sum(1 + log_var - mean**2 - np.exp(log_var), axis=1)
        return np.mean(reconstruction + divergence) / pixels

    def gradient(p: Any) -> Any:
        h, mean, log_var, z, g, out = forward(p)
        scale = 1 / (N * pixels)

        def back(inputs: Any, dz: Any) -> dict[str, Any]:
            return {"W": inputs.T @ dz, "b": dz.sum(axis=0)}

        dlogits = (out - x) * scale
        dg = dlogits @ p["decoder"][1]["W"].T * (1 - g**2)
        dz = dg @ p["decoder"][0]["W"].T
        dmean = dz + mean * scale
        dlog_var = 0.5 * dz * noise * np.exp(0.5 * log_var) + 0.5 * (np.exp(log_var) - 1) * scale
        if bug == "noise forgotten in the variance":
            dlog_var = 0.5 * dz * np.exp(0.5 * log_var) + 0.5 * (np.exp(log_var) - 1) * scale
        if bug == "divergence of the mean forgotten":
            dmean = dz
        dh = dmean @ p["mean"]["W"].T + dlog_var @ p["log_var"]["W"].T
        if bug == "encoder reached through the mean only":
            dh = dmean @ p["mean"]["W"].T
        return {
            "encoder": back(x, dh * (1 - h**2)),
            "mean": back(h, dmean),
            "log_var": back(h, dlog_var),
            "decoder": [back(z, dg), back(g, dlogits)],
        }

    return Case(cost, params, gradient)


def flow(seed: int, bug: str = "") -> Case:
    """Three affine couplings whose halves change places; the logarithm of the determinant in the likelihood."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((10, 4)) @ (0.4 * rng.standard_normal((4, 4)) + 0.5 * np.eye(4))
    params = [
        {
            "Ws": rng.standard_normal((2, 2)) * 0.4,
            "bs": rng.standard_normal(2) * 0.3,
            "Wt": rng.standard_normal((2, 2)) * 0.4,
            "bt": rng.standard_normal(2) * 0.3,
        }
        for _ in range(3)
    ]

    def forward(p: Any) -> tuple[Any, Any, list[Any]]:
        y, log_det, caches = x, np.zeros(10), []
        for q in p:
            fixed, moved = np.split(y, 2, axis=1)
            s = np.tanh(fixed @ q["Ws"] + q["bs"])
            new = moved * np.exp(s) + fixed @ q["Wt"] + q["bt"]
            caches.append((fixed, moved, s))
            log_det = log_det + np.sum(s, axis=1)
            y = np.concatenate([new, fixed], axis=1)
        return y, log_det, caches

    def cost(p: Any) -> Any:
        y, log_det, _ = forward(p)
        log_normal = -0.5 * np.sum(y**2 + np.log(2 * np.pi), axis=1)
        return -np.mean(log_normal + log_det) / 4

    def gradient(p: Any) -> Any:
        y, _, caches = forward(p)
        dy = y / y.size
        grads = []
        for q, (fixed, moved, s) in zip(reversed(p), reversed(caches), strict=True):
            dnew, dfixed = dy[:, :2], dy[:, 2:]
            ds = dnew * moved * np.exp(s) - 1 / y.size
            if bug == "determinant forgotten":
                ds = dnew * moved * np.exp(s)
            dz = ds * (1 - s**2)
            grads.append({"Ws": fixed.T @ dz, "bs": dz.sum(axis=0), "Wt": fixed.T @ dnew, "bt": dnew.sum(axis=0)})
            through = dz @ q["Ws"].T + dnew @ q["Wt"].T
            if bug == "translation forgotten on the way back":
                through = dz @ q["Ws"].T
            dy = np.concatenate([dfixed + through, dnew * np.exp(s)], axis=1)
        return grads[::-1]

    return Case(cost, params, gradient)


def mixture(seed: int, bug: str = "") -> Case:
    """Mixture density network: weights, means and deviations of three normal densities cut from one output by slices."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((80, 2)), rng.standard_normal((80, 1))
    params = {
        "hidden": (rng.standard_normal((2, 5)), rng.standard_normal(5) * 0.4),
        "output": (rng.standard_normal((5, 9)) * 0.5, rng.standard_normal(9) * 0.4),
    }

    def forward(p: Any) -> tuple[Any, ...]:
        W, b = p["hidden"]
        V, c = p["output"]
        h = np.tanh(x @ W + b)
        out = h @ V + c
        weights = np.exp(out[:, :3])
        weights = weights / weights.sum(axis=1, keepdims=True)
        mean, sigma = out[:, 3:6], np.exp(out[:, 6:])
        density = np.exp(-0.5 * ((y - mean) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        return h, weights, mean, sigma, weights * density

    def cost(p: Any) -> Any:
        joint = forward(p)[-1]
        return np.mean(-np.log(joint.sum(axis=1)))

    def gradient(p: Any) -> Any:
        h, weights, mean, sigma, joint = forward(p)
        share = joint / joint.sum(axis=1, keepdims=True)
        scaled = (y - mean) / sigma
        dweights, dmean, dsigma = weights - share, -share * scaled / sigma, share * (1 - scaled**2)
        if bug == "normalisation of the density forgotten":
            dsigma = -share * scaled**2
        if bug == "means divided by the deviation once":
            dmean = -share * scaled
        if bug == "prior for posterior shares":
            dmean = -weights * scaled / sigma
        dout = np.hstack([dweights, dmean, dsigma]) / len(x)
        V, _ = p["output"]
        dz = dout @ V.T * (1 - h**2)
        return {"hidden": (x.T @ dz, dz.sum(axis=0)), "output": (h.T @ dout, dout.sum(axis=0))}

    return Case(cost, params, gradient)


def free_energy(seed: int, bug: str = "") -> Case:
    """A restricted Boltzmann machine: free energy of the data less that of a fixed sample of the model; a tuple."""
    rng = np.random.default_rng(seed)
    data, sample = (rng.random((30, 8)) < 0.6).astype(float), (rng.random((30, 8)) < 0.4).astype(float)
    params = rng.standard_normal((8, 6)), rng.standard_normal(8) * 0.5, rng.standard_normal(6) * 0.5

    def energy(p: Any, v: Array) -> Any:
        W, a, b = p
        return -v.dot(a) - np.sum(np.logaddexp(0, v.dot(W) + b), axis=1)

    def cost(p: Any) -> Any:
        return np.mean(energy(p, data)) - np.mean(energy(p, sample)) + 0.02 * (p[0] ** 2).sum()

    def gradient(p: Any) -> Any:
        W, _, b = p
        dW, da, db = 0.04 * W, 0.0, 0.0
        if bug == "penalty without its factor of two":
            dW = 0.02 * W
        for v, sign in ((data, -1.0), (sample, 1.0)):
            hidden = 1 / (1 + np.exp(-(v @ W + b)))
            if bug == "hidden units rounded":
                hidden = np.round(hidden)
            dW = dW + sign * v.T @ hidden / len(v)
            da = da + sign * v.mean(axis=0)
            db = sign * hidden.mean(axis=0) if bug == "hidden bias of the sample only" else db + sign * hidden.mean(axis=0)
        return dW, da, db

    return Case(cost, params, gradient)


class ClippedPolicy:
    """The clipped surrogate of a policy of four actions, with a bonus for entropy and a value for each state."""

    def __init__(self, rng: np.random.Generator, bug: str) -> None:
        self.bug = bug
        self.states = rng.standard_normal((15, 4))
        self.actions, self.advantages = rng.integers(0, 4, 15), rng.standard_normal(15)
        self.returns, self.wobble = rng.standard_normal(15), rng.uniform(-0.5, 0.5, 15)
        self.old = np.zeros(15)

    def policy(self, params: Any) -> tuple[Any, Any, Any]:
        h = np.tanh(self.states @ params["W1"] + params["b1"])
        logits = h @ params["W2"]
        logits -= logits.max(axis=1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return h, logs, h @ params["value"]

    def ratio(self, logs: Any) -> Any:
        return np.exp(logs[np.arange(15), self.actions] - self.old)

    def loss(self, params: Any) -> Any:
        _, logs, values = self.policy(params)
        ratio = self.ratio(logs)
        surrogate = np.minimum(ratio * self.advantages, np.clip(ratio, 0.8, 1.2) * self.advantages)
        entropy = -np.sum(np.exp(logs) * logs, axis=1)
        return -np.mean(surrogate) - 0.01 * np.mean(entropy) + 0.5 * np.mean((values - self.returns) ** 2)

    def gradients(self, params: Any) -> Any:
        h, logs, values = self.policy(params)
        ratio, probs = self.ratio(logs), np.exp(logs)
        inside = (ratio > 0.8) & (ratio < 1.2)
        active = inside | (ratio * self.advantages < np.clip(ratio, 0.8, 1.2) * self.advantages)
        if self.bug == "clipped wherever the ratio is outside":
            active = inside
        chosen = -np.where(active, self.advantages * ratio, 0.0) / 15
        if self.bug == "ratio forgotten":
            chosen = -np.where(active, self.advantages, 0.0) / 15
        dlogits = chosen[:, None] * (np.eye(4)[self.actions] - probs)
        entropy = -np.sum(probs * logs, axis=1, keepdims=True)
        bonus = 0.01 * probs * (logs + entropy) / 15
        dlogits += -bonus if self.bug == "sign of the entropy" else bonus
        dvalues = (values - self.returns) / 15
        dh = dlogits @ params["W2"].T + np.outer(dvalues, params["value"])
        dz = dh * (1 - h**2)
        return {"W1": self.states.T @ dz, "b1": dz.sum(axis=0), "W2": h.T @ dlogits, "value": h.T @ dvalues}


def clipped_policy(seed: int, bug: str = "") -> Case:
    """A class whose logarithms of old probabilities are set once, near those of the point, so that some are clipped."""
    rng = np.random.default_rng(seed)
    clipped = ClippedPolicy(rng, bug)
    params = {
        "W1": rng.standard_normal((4, 6)) * 0.6,
        "b1": rng.standard_normal(6) * 0.4,
        "W2": rng.standard_normal((6, 4)) * 0.7,
        "value": rng.standard_normal(6) * 0.5,
    }
    _, logs, _ = clipped.policy(params)
    clipped.old = logs[np.arange(15), clipped.actions] + clipped.wobble
    return Case(clipped.loss, params, clipped.gradients)


def differential_equation(seed: int, bug: str = "") -> Case:
    """A neural differential equation by six steps of Runge and Kutta, walked back stage by stage; one flat vector."""
    rng = np.random.default_rng(seed)
    start, target = rng.standard_normal((4, 2)), rng.standard_normal((4, 2))
    theta = rng.standard_normal(2 * 5 + 5 + 5 * 2 + 2) * 0.6
    step = 0.2

    def unpack(theta: Any) -> tuple[Any, Any, Any, Any]:
        return theta[:10].reshape(2, 5), theta[10:15], theta[15:25].reshape(5, 2), theta[25:]

    def slope(theta: Any, y: Any) -> tuple[Any, Any]:
        W1, b1, W2, b2 = unpack(theta)
        h = np.tanh(y @ W1 + b1)
        return h @ W2 + b2, h

    def forward(theta: Any) -> tuple[Any, list[Any]]:
        y, stages = start, []
        for _ in range(6):
            k1, h1 = slope(theta, y)
            y2 = y + step / 2 * k1
            k2, h2 = slope(theta, y2)
            y3 = y + step / 2 * k2
            k3, h3 = slope(theta, y3)
            y4 = y + step * k3
            k4, h4 = slope(theta, y4)
            stages.append(((y, h1), (y2, h2), (y3, h3), (y4, h4)))
            y = y + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, stages

    def cost(theta: Any) -> Any:
        y, _ = forward(theta)
        return np.mean((y - target) ** 2)

    def gradient(theta: Any) -> Any:
        W1, _, W2, _ = unpack(theta)
        y, stages = forward(theta)
        grad = np.zeros_like(theta)

        def back(stage: Any, dk: Any) -> Any:
            inputs, h = stage
            dz = dk @ W2.T * (1 - h**2)
            grad[:10] += (inputs.T @ dz).ravel()
            grad[10:15] += dz.sum(axis=0)
            grad[15:25] += (h.T @ dk).ravel()
            grad[25:] += dk.sum(axis=0)
            return dz @ W1.T

        dy = 2 * (y - target) / y.size
        for first, second, third, fourth in reversed(stages):
            d4 = back(fourth, step / 6 * dy)
            d3 = back(third, step / 3 * dy + (step / 2 if bug == "half a step to the last stage" else step) * d4)
            d2 = back(second, step / 3 * dy + step / 2 * d3)
            d1 = back(first, step / 6 * dy + step / 2 * d2)
            if bug == "stages taken for steps":
                dy = dy + d1
            else:
                dy = dy + d1 + d2 + d3 + d4
        return grad

    return Case(cost, theta, gradient)


def waves(seed: int, bug: str = "") -> Case:
    """A sum of cosines whose frequencies are learnt, point by point with math.cos; a float among the parameters."""
    rng = np.random.default_rng(seed)
    points = [float(t) for t in rng.uniform(0, 3, 12)]
    values = [float(v) for v in rng.standard_normal(12)]
    params = {
        "amplitude": rng.standard_normal(4),
        "frequency": rng.uniform(0.5, 3, 4),
        "phase": rng.uniform(-2, 2, 4),
        "offset": float(rng.uniform(0.2, 0.8)),
    }

    def residuals(p: Any) -> list[float]:
        result = []
        for t, value in zip(points, values, strict=True):
            total = p["offset"] - value
            for a, w, phi in zip(p["amplitude"], p["frequency"], p["phase"], strict=True):
                total += a * math.cos(w * t + phi)
            result.append(total)
        return result

    def cost(p: Any) -> Any:
        return sum(r * r for r in residuals(p)) / len(points)

    def gradient(p: Any) -> Any:
        grads = {name: np.zeros(4) for name in ("amplitude", "frequency", "phase")}
        offset = 0.0
        for t, r in zip(points, residuals(p), strict=True):
            scale = 2 * r / len(points)
            offset += scale
            for k in range(4):
                inner = p["frequency"][k] * t + p["phase"][k]
                grads["amplitude"][k] += scale * math.cos(inner)
                sine = math.sin(inner) if bug == "sign of the sine" else -math.sin(inner)
                grads["phase"][k] += scale * p["amplitude"][k] * sine
                time = 1.0 if bug == "time forgotten in the frequency" else t
                grads["frequency"][k] += scale * p["amplitude"][k] * sine * time
        return grads | {"offset": offset}

    return Case(cost, params, gradient)


def spline(seed: int, bug: str = "") -> Case:
    """Cubic splines of two inputs added up, a knot at a time, the knots learnt too, with a penalty; a flat vector."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (40, 2))
    y = np.sin(3 * x[:, 0]) - x[:, 1] ** 2 + 0.2 * rng.standard_normal(40)
    theta = np.empty(19)
    theta[0] = rng.uniform(0.2, 0.8)
    for start in (1, 10):
        theta[start : start + 6] = rng.standard_normal(6)
        theta[start + 6 : start + 9] = np.array([-0.5, 0.05, 0.5]) + 0.1 * rng.uniform(-1, 1, 3)

    def parts(theta: Any) -> list[Any]:
        return [(x[:, k], *np.split(theta[1 + 9 * k : 10 + 9 * k], 3)) for k in range(2)]

    def predict(theta: Any) -> Any:
        total = theta[0] * np.ones(40)
        for t, polynomial, weights, knots in parts(theta):
            total += polynomial[0] * t + polynomial[1] * t**2 + polynomial[2] * t**3
            for weight, knot in zip(weights, knots, strict=True):
                total += weight * np.where(t > knot, t - knot, 0.0) ** 3
        return total

    def cost(theta: Any) -> Any:
        residual = predict(theta) - y
        penalty = sum((weights**2).sum() for _, _, weights, _ in parts(theta))
        return (residual @ residual) / len(x) + 0.1 * penalty

    def gradient(theta: Any) -> Any:
        residual = 2 / len(x) * (predict(theta) - y)
        pieces = [residual.sum(keepdims=True)]
        for t, _, weights, knots in parts(theta):
            right = np.maximum(t[:, None] - knots, 0)
            dknots = -3 * weights * (residual @ right**2)
            if bug == "sign of the knots":
                dknots = -dknots
            penalty = 0.0 if bug == "penalty forgotten" else 0.2 * weights
            pieces += [residual @ np.stack([t, t**2, t**3], axis=1), residual @ right**3 + penalty, dknots]
        return np.concatenate(pieces)

    return Case(cost, theta, gradient)


# Blocks of the flow, from the data on.
COUPLINGS = tuple(f"[{number}].{name}" for number in range(3) for name in ("Ws", "bs", "Wt", "bt"))

MODELS: tuple[Model, ...] = (
    planted(
        "variational autoencoder with fixed noise",
        variational,
        {
            "noise forgotten in the variance": ("encoder.W", "encoder.b", "log_var.W", "log_var.b"),
            "divergence of the mean forgotten": ("encoder.W", "encoder.b", "mean.W", "mean.b"),
            "encoder reached through the mean only": ("encoder.W", "encoder.b"),
        },
    ),
    planted(
        "flow of affine couplings",
        flow,
        {
            "determinant forgotten": COUPLINGS[:10],
            "translation forgotten on the way back": COUPLINGS[:8],
        },
    ),
    planted(
        "mixture density network",
        mixture,
        {
            "normalisation of the density forgotten": ("hidden[0]", "hidden[1]", "output[0]", "output[1]"),
            "means divided by the deviation once": ("hidden[0]", "hidden[1]", "output[0]", "output[1]"),
            "prior for posterior shares": ("hidden[0]", "hidden[1]", "output[0]", "output[1]"),
        },
    ),
    planted(
        "free energy of a Boltzmann machine",
        free_energy,
        {
            "hidden units rounded": ("[0]", "[2]"),
            "hidden bias of the sample only": ("[2]",),
            "penalty without its factor of two": ("[0]",),
        },
    ),
    planted(
        "clipped policy gradient with entropy and values",
        clipped_policy,
        {
            "clipped wherever the ratio is outside": ("W1", "b1", "W2"),
            "ratio forgotten": ("W1", "b1", "W2"),
            "sign of the entropy": ("W1", "b1", "W2"),
        },
    ),
    planted(
        "neural differential equation, Runge and Kutta",
        differential_equation,
        {"half a step to the last stage": ("params",), "stages taken for steps": ("params",)},
    ),
    planted(
        "cosines with learnt frequencies, point by point",
        waves,
        {"time forgotten in the frequency": ("frequency",), "sign of the sine": ("frequency", "phase")},
        leaves_numpy=True,
    ),
    planted(
        "cubic splines with moving knots",
        spline,
        {"sign of the knots": ("params",), "penalty forgotten": ("params",)},
    ),
)
