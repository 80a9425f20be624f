"""Normalisation of batches, layers, groups, instances, weights and embeddings, with backward passes long and short."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models._model import Case, Model
from models._planting import planted

Array = NDArray[np.float64]


def batch_norm_steps(seed: int, bug: str = "") -> Case:
    """Batch norm between two dense layers, its backward pass one operation at a time; running statistics in a dict."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((16, 20)), rng.integers(0, 12, 16)
    params = {
        "W1": rng.standard_normal((20, 30)) / np.sqrt(20),
        "gamma": rng.uniform(0.5, 1.5, 30),
        "beta": rng.standard_normal(30) * 0.3,
        "W2": rng.standard_normal((30, 12)) / np.sqrt(30),
        "b2": rng.standard_normal(12) * 0.3,
    }
    running: dict[str, Any] = {"mean": np.zeros(30), "var": np.zeros(30), "momentum": 0.9}

    def forward(p: Any) -> tuple[Any, Any]:
        h = x.dot(p["W1"])
        mean = 1.0 / 16 * np.sum(h, axis=0)
        centred = h - mean
        var = 1.0 / 16 * np.sum(centred**2, axis=0)
        std = np.sqrt(var + 1e-5)
        inverse = 1.0 / std
        normal = centred * inverse
        out = p["gamma"] * normal + p["beta"]
        running["mean"] = running["momentum"] * running["mean"] + (1 - running["momentum"]) * mean
        running["var"] = running["momentum"] * running["var"] + (1 - running["momentum"]) * var
        a = np.tanh(out)
        scores = a.dot(p["W2"]) + p["b2"]
        scores -= np.max(scores, axis=1, keepdims=True)
        probs = np.exp(scores)
        probs /= np.sum(probs, axis=1, keepdims=True)
        return probs, (h, centred, std, inverse, normal, a)

    def cost(p: Any) -> Any:
        probs, _ = forward(p)
        return -np.sum(np.log(probs[np.arange(16), y])) / 16

    def gradient(p: Any) -> Any:
        probs, (h, centred, std, inverse, normal, a) = forward(p)
        dscores = probs.copy()
        dscores[np.arange(16), y] -= 1
        dscores /= 16
        da = dscores.dot(p["W2"].T)
        dout = (1 - a**2) * da
        dgamma = np.sum(dout * (h if bug == "gamma from what was not normalised" else normal), axis=0)
        dnormal = dout * p["gamma"]
        dinverse = np.sum(dnormal * centred, axis=0)
        dcentred = dnormal * inverse
        dstd = -1.0 / std**2 * dinverse
        dvar = 0.5 / std * dstd
        if bug == "half of the root forgotten":
            dvar = dstd / std
        dsquares = 1.0 / 16 * np.ones((16, 30)) * dvar
        if bug != "way through the variance forgotten":
            dcentred = dcentred + 2 * centred * dsquares
        dh = dcentred
        if bug != "way through the mean forgotten":
            dmean = -np.sum(dcentred, axis=0)
            dh = dh + 1.0 / 16 * np.ones((16, 30)) * dmean
        return {
            "W1": x.T.dot(dh),
            "gamma": dgamma,
            "beta": np.sum(dout, axis=0),
            "W2": a.T.dot(dscores),
            "b2": np.sum(dscores, axis=0),
        }

    return Case(cost, params, gradient)


def batch_norm_after_bias(seed: int, bug: str = "") -> Case:
    """Examples in columns, a bias before batch norm, which takes it out again: db1 is a sum that cancels to rounding."""
    rng = np.random.default_rng(seed)
    m = 10
    X, Y = rng.standard_normal((4, m)), (rng.random((1, m)) < 0.5).astype(float)
    parameters = {
        "W1": rng.standard_normal((6, 4)) * 0.6,
        "b1": rng.standard_normal((6, 1)) * 0.5,
        "gamma1": rng.uniform(0.5, 1.5, (6, 1)),
        "beta1": rng.standard_normal((6, 1)) * 0.4,
        "W2": rng.standard_normal((1, 6)) * 0.8,
        "b2": rng.standard_normal((1, 1)) * 0.5,
    }

    def forward(parameters: Any) -> tuple[Any, Any]:
        Z1 = np.dot(parameters["W1"], X) + parameters["b1"]
        assert Z1.shape == (6, m)
        mu = np.mean(Z1, axis=1, keepdims=True)
        var = np.var(Z1, axis=1, keepdims=True)
        Z_norm = (Z1 - mu) / np.sqrt(var + 1e-8)
        A1 = np.tanh(parameters["gamma1"] * Z_norm + parameters["beta1"])
        A2 = 1 / (1 + np.exp(-(np.dot(parameters["W2"], A1) + parameters["b2"])))
        assert A2.shape == (1, m)
        return A2, (var, Z_norm, A1)

    def cost(parameters: Any) -> Any:
        A2, _ = forward(parameters)
        logprobs = np.multiply(np.log(A2), Y) + np.multiply(np.log(1 - A2), 1 - Y)
        return np.squeeze(-1 / m * np.sum(logprobs, axis=1, keepdims=True))

    def gradient(parameters: Any) -> Any:
        A2, (var, Z_norm, A1) = forward(parameters)
        dZ2 = A2 - Y
        dW2 = 1 / m * np.dot(dZ2, A1.T)
        db2 = 1 / m * np.sum(dZ2, axis=1, keepdims=True)
        dout = np.dot(parameters["W2"].T, dZ2) * (1 - np.power(A1, 2))
        dgamma1 = 1 / m * np.sum(dout * Z_norm, axis=1, keepdims=True)
        dbeta1 = 1 / m * np.sum(dout, axis=1, keepdims=True)
        inner = m * dgamma1 * Z_norm
        if bug == "projection forgotten":
            inner = np.zeros_like(Z_norm)
        dZ1 = parameters["gamma1"] / np.sqrt(var + 1e-8) * (dout - dbeta1 - inner / m)
        if bug == "batch norm taken for a constant scale":
            dZ1 = parameters["gamma1"] / np.sqrt(var + 1e-8) * dout
        dW1 = 1 / m * np.dot(dZ1, X.T)
        db1 = 1 / m * np.sum(dZ1, axis=1, keepdims=True)
        if bug == "beta summed, not averaged":
            dbeta1 = m * dbeta1
        return {"W1": dW1, "b1": db1, "gamma1": dgamma1, "beta1": dbeta1, "W2": dW2, "b2": db2}

    return Case(cost, parameters, gradient)


class LayerNorm:
    """A layer that remembers its last input."""

    def __init__(self, bug: str) -> None:
        self.bug = bug

    def forward(self, x: Any, gain: Any, shift: Any) -> Any:
        mean = x.mean(-1, keepdims=True)
        self.scale = 1 / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)
        self.normal = (x - mean) * self.scale
        self.gain = gain
        return self.normal * gain + shift

    def backward(self, grad: Any) -> tuple[Any, Any, Any]:
        axis = 0 if self.bug == "mean over the examples, not the features" else -1
        g = grad * self.gain
        if self.bug == "gain forgotten on the way back":
            g = grad
        projection = (g * self.normal).mean(axis, keepdims=True)
        dx = self.scale * (g - g.mean(axis, keepdims=True) - self.normal * projection)
        return dx, (grad * self.normal).sum(axis=0), grad.sum(axis=0)


def layer_norm(seed: int, bug: str = "") -> Case:
    """Two layer norms, objects that keep caches, with softplus between; a list of parameters and a cost of shape (1, 1)."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((8, 5)), rng.standard_normal((8, 1))
    params = [
        rng.standard_normal((5, 8)) * 0.5,
        rng.standard_normal((1, 8)) * 0.3,
        rng.uniform(0.6, 1.4, 8),
        rng.standard_normal(8) * 0.3,
        rng.standard_normal((8, 6)) * 0.4,
        rng.uniform(0.6, 1.4, 6),
        rng.standard_normal(6) * 0.3,
        rng.standard_normal((6, 1)) * 0.5,
    ]
    norms = LayerNorm(bug), LayerNorm(bug)

    def forward(p: Any) -> tuple[Any, ...]:
        W1, b1, gain1, shift1, W2, gain2, shift2, w = p
        h1 = norms[0].forward(x @ W1 + b1, gain1, shift1)
        a1 = np.log1p(np.exp(h1))
        h2 = norms[1].forward(a1 @ W2, gain2, shift2)
        return h1, a1, h2, h2 @ w - y

    def cost(p: Any) -> Any:
        residual = forward(p)[-1]
        return residual.T @ residual / (2 * len(y))

    def gradient(p: Any) -> Any:
        h1, a1, h2, residual = forward(p)
        dout = residual / len(y)
        dz2, dgain2, dshift2 = norms[1].backward(dout @ p[7].T)
        dh1 = dz2 @ p[4].T / (1 + np.exp(-h1))
        dz1, dgain1, dshift1 = norms[0].backward(dh1)
        db1 = dz1.sum(axis=0, keepdims=True)
        return [x.T @ dz1, db1, dgain1, dshift1, a1.T @ dz2, dgain2, dshift2, h2.T @ dout]

    return Case(cost, params, gradient)


def group_norm(seed: int, bug: str = "") -> Case:
    """Group norm of the maps of a convolution with kernels of one pixel, by reshape; global average pooling, softmax."""
    rng = np.random.default_rng(seed)
    x, labels = rng.standard_normal((3, 4, 5, 5)), rng.integers(0, 4, 3)
    params = {
        "kernel": rng.standard_normal((6, 4)) * 0.6,
        "gamma": rng.uniform(0.6, 1.4, (1, 6, 1, 1)),
        "beta": rng.standard_normal((1, 6, 1, 1)) * 0.4,
        "W": rng.standard_normal((6, 4)) * 1.5,
        "b": rng.standard_normal(4) * 0.3,
    }
    groups, size = 2, 3 * 25

    def forward(p: Any) -> tuple[Any, ...]:
        z = np.einsum("nchw,oc->nohw", x, p["kernel"])
        grouped = z.reshape(3, groups, -1)
        mean = np.mean(grouped, axis=2, keepdims=True)
        var = np.mean((grouped - mean) ** 2, axis=2, keepdims=True)
        normal = ((grouped - mean) / np.sqrt(var + 1e-6)).reshape(z.shape)
        out = p["gamma"] * normal + p["beta"]
        gate = 1 / (1 + np.exp(-out))
        features = (out * gate).mean(axis=(2, 3))
        logits = features @ p["W"] + p["b"]
        return var, normal, out, gate, features, logits

    def cost(p: Any) -> Any:
        logits = forward(p)[-1]
        shift = logits.max(axis=1)
        return np.mean(np.log(np.exp(logits - shift[:, None]).sum(axis=1)) + shift - logits[np.arange(3), labels]).item()

    def gradient(p: Any) -> Any:
        var, normal, out, gate, features, logits = forward(p)
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        dlogits = (e / e.sum(axis=1, keepdims=True) - np.eye(4)[labels]) / 3
        dfeatures = np.dot(dlogits, p["W"].T)
        dout = (gate + out * gate * (1 - gate)) * dfeatures[:, :, None, None] / 25
        if bug == "gate's own slope forgotten":
            dout = gate * dfeatures[:, :, None, None] / 25
        dnormal = (dout * p["gamma"]).reshape(3, groups, -1)
        flat = normal.reshape(3, groups, -1)
        total, inner = dnormal.sum(axis=2, keepdims=True), (dnormal * flat).sum(axis=2, keepdims=True)
        if bug == "sums over single channels":
            maps = dnormal.reshape(3, groups, 3, 25)
            total = maps.sum(axis=3, keepdims=True).repeat(25, axis=3).reshape(3, groups, -1)
            inner = (maps * flat.reshape(maps.shape)).sum(axis=3, keepdims=True).repeat(25, axis=3).reshape(3, groups, -1)
        dz = ((dnormal - total / size - flat * inner / size) / np.sqrt(var + 1e-6)).reshape(normal.shape)
        return {
            "kernel": np.einsum("nohw,nchw->oc", dz, x),
            "gamma": np.sum(dout * normal, axis=(0, 2, 3), keepdims=True),
            "beta": np.sum(dout, axis=(0, 2, 3), keepdims=True),
            "W": features.T @ dlogits,
            "b": dlogits.sum(axis=0),
        }

    return Case(cost, params, gradient)


def instance_norm(seed: int, bug: str = "") -> Case:
    """Instance norm by np.mean and np.std, then the squared distance of Gram matrices, as in a transfer of style."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 3, 4, 4))
    style = rng.standard_normal((2, 5, 16))
    target = np.matmul(style, style.transpose(0, 2, 1)) / 16
    params = {
        "mix": rng.standard_normal((5, 3)),
        "scale": rng.uniform(0.5, 1.5, (5, 1, 1)),
        "shift": rng.uniform(-1, 1, (5, 1, 1)),
    }

    def forward(p: Any) -> tuple[Any, ...]:
        z = np.tanh(np.tensordot(p["mix"], x, axes=(1, 1)).swapaxes(0, 1))
        mean, std = np.mean(z, axis=(2, 3), keepdims=True), np.std(z, axis=(2, 3), keepdims=True)
        normal = (z - mean) / (std + 0.05)
        features = (p["scale"] * normal + p["shift"]).reshape(2, 5, 16)
        gram = features @ features.transpose(0, 2, 1) / 16
        return z, std, normal, features, gram

    def cost(p: Any) -> Any:
        gram = forward(p)[-1]
        return np.sum(np.square(gram - target)) / 50

    def gradient(p: Any) -> Any:
        z, std, normal, features, gram = forward(p)
        dgram = 2 * (gram - target) / 50
        dfeatures = (dgram + dgram.transpose(0, 2, 1)) @ features / 16
        if bug == "one side of the Gram matrix":
            dfeatures = dgram @ features / 16
        dout = dfeatures.reshape(normal.shape)
        dnormal = dout * p["scale"]
        # The 0.05 stands beside the deviation, not under the root: normal · (std + 0.05) / std is of unit variance.
        unit = normal * (std + 0.05) / std
        if bug == "constant beside the deviation forgotten":
            unit = normal
        projection = np.mean(dnormal * normal, axis=(2, 3), keepdims=True)
        dz = (dnormal - dnormal.mean(axis=(2, 3), keepdims=True) - unit * projection) / (std + 0.05)
        dmix = np.einsum("nohw,nchw->oc", dz * (1 - z**2), x)
        return {
            "mix": dmix,
            "scale": np.einsum("nohw,nohw->o", dout, normal).reshape(5, 1, 1),
            "shift": np.einsum("nohw->o", dout).reshape(5, 1, 1),
        }

    return Case(cost, params, gradient)


def rms_norm(seed: int, bug: str = "") -> Case:
    """RMS norm, a gated layer with SiLU, a residual and another RMS norm before the softmax; nested dicts."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((6, 12)), rng.integers(0, 20, 6)
    params = {
        "norm": rng.uniform(0.5, 1.5, 12),
        "gated": {name: rng.standard_normal((12, 24)) / np.sqrt(12) for name in ("gate", "up")},
        "down": rng.standard_normal((24, 12)) / np.sqrt(24),
        "last": {"norm": rng.uniform(0.5, 1.5, 12), "head": rng.standard_normal((12, 20)) / np.sqrt(12)},
    }

    def scaled(h: Any) -> tuple[Any, Any]:
        rms = np.sqrt(np.mean(h * h, axis=-1, keepdims=True) + 1e-6)
        return h / rms, rms

    def back(grad: Any, normal: Any, rms: Any) -> Any:
        if bug == "norm's own slope forgotten":
            return grad / rms
        return (grad - normal * np.mean(grad * normal, axis=-1, keepdims=True)) / rms

    def forward(p: Any) -> tuple[Any, ...]:
        n1, _ = scaled(x)
        h = n1 * p["norm"]
        g, u = h @ p["gated"]["gate"], h @ p["gated"]["up"]
        s = 1 / (1 + np.exp(-g))
        inner = g * s * u
        n2, r2 = scaled(x + inner @ p["down"])
        logits = (n2 * p["last"]["norm"]) @ p["last"]["head"]
        logits = logits - np.max(logits, axis=-1, keepdims=True)
        logs = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
        return n1, h, g, u, s, inner, n2, r2, logs

    def cost(p: Any) -> Any:
        logs = forward(p)[-1]
        return -np.take_along_axis(logs, y[:, None], axis=1).mean()

    def gradient(p: Any) -> Any:
        n1, h, g, u, s, inner, n2, r2, logs = forward(p)
        dlogits = np.exp(logs)
        dlogits[np.arange(6), y] -= 1
        dlogits /= 6
        dhead = (n2 * p["last"]["norm"]).T @ dlogits
        dm = dlogits @ p["last"]["head"].T
        dsum = back(dm * p["last"]["norm"], n2, r2)
        dinner = dsum @ p["down"].T
        du = dinner * g * s
        dg = dinner * u * (s + g * s * (1 - s))
        if bug == "slope of the sigmoid for that of SiLU":
            dg = dinner * u * s * (1 - s)
        dh = dg @ p["gated"]["gate"].T + du @ p["gated"]["up"].T
        if bug == "one of two branches":
            dh = dg @ p["gated"]["gate"].T
        return {
            "norm": (dh * n1).sum(axis=0),
            "gated": {"gate": h.T @ dg, "up": h.T @ du},
            "down": inner.T @ dsum,
            "last": {"norm": (dm * n2).sum(axis=0), "head": dhead},
        }

    return Case(cost, params, gradient)


def weight_norm(seed: int, bug: str = "") -> Case:
    """Weights as g·v/‖v‖ by rows, with np.linalg.norm, in a loop over three layers; a regression."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((4, 64)), rng.standard_normal((2, 64))
    params: dict[str, Array] = {}
    for number, (inputs, units) in enumerate([(4, 6), (6, 5), (5, 2)], start=1):
        params[f"v{number}"] = rng.standard_normal((units, inputs))
        params[f"g{number}"] = rng.uniform(0.5, 1.5, (units, 1))
        params[f"b{number}"] = rng.standard_normal((units, 1)) * 0.4

    def weight(p: Any, number: int) -> Any:
        v = p[f"v{number}"]
        return p[f"g{number}"] * v / np.linalg.norm(v, axis=1, keepdims=True)

    def forward(p: Any) -> list[Any]:
        activations = [x]
        for number in (1, 2, 3):
            z = np.matmul(weight(p, number), activations[-1]) + p[f"b{number}"]
            activations.append(z if number == 3 else np.tanh(z))
        return activations

    def cost(p: Any) -> Any:
        return np.linalg.norm(forward(p)[-1] - y) ** 2 / (2 * x.shape[1])

    def gradient(p: Any) -> Any:
        activations = forward(p)
        grads = {}
        dz = (activations[3] - y) / x.shape[1]
        for number in (3, 2, 1):
            inputs = activations[number - 1]
            dW = np.matmul(dz, inputs.T)
            v, g = p[f"v{number}"], p[f"g{number}"]
            norm = np.linalg.norm(v, axis=1, keepdims=True)
            dg = np.sum(dW * v, axis=1, keepdims=True) / norm
            grads[f"g{number}"] = dg
            grads[f"v{number}"] = g / norm * dW - g * dg / norm**2 * v
            if bug == "slope of the norm forgotten":
                grads[f"v{number}"] = g / norm * dW
            grads[f"b{number}"] = np.sum(dz, axis=1, keepdims=True)
            W = v if bug == "v for the weight on the way back" else weight(p, number)
            dz = np.matmul(W.T, dz) * (1 - np.square(inputs))
        return grads

    return Case(cost, params, gradient)


def spectral_norm(seed: int, bug: str = "") -> Case:
    """Weights over their largest singular value, as uᵀWv with the fixed vectors of a power iteration; true and false examples."""
    rng = np.random.default_rng(seed)
    batches = [(1.0, rng.standard_normal((8, 5)) + 0.5), (-1.0, rng.standard_normal((8, 5)))]
    params = {
        "W1": rng.standard_normal((7, 5)),
        "b1": rng.standard_normal(7) * 0.5,
        "W2": rng.standard_normal((6, 7)),
        "b2": rng.standard_normal(6) * 0.5,
        "critic": rng.standard_normal(6),
        "offset": rng.uniform(0.2, 0.6),
    }

    def power_iteration(W: Any) -> tuple[Any, Any]:
        v = np.ones(W.shape[1])
        for _ in range(6):
            u = W @ v / np.linalg.norm(W @ v)
            v = W.T @ u / np.linalg.norm(W.T @ u)
        return u, v

    vectors = {name: power_iteration(params[name]) for name in ("W1", "W2")}

    def normalised(p: Any, name: str) -> tuple[Any, Any]:
        u, v = vectors[name]
        sigma = u @ p[name] @ v
        return sigma, p[name] / sigma

    def through(p: Any, name: str, dnormal: Any) -> Any:
        sigma, _ = normalised(p, name)
        if bug == "singular value taken for a constant":
            return dnormal / sigma
        return (dnormal - np.sum(dnormal * p[name]) / sigma * np.outer(*vectors[name])) / sigma

    def forward(p: Any, x: Array) -> tuple[Any, ...]:
        z1 = x @ normalised(p, "W1")[1].T + p["b1"]
        a1 = np.where(z1 > 0, z1, 0.2 * z1)
        z2 = a1 @ normalised(p, "W2")[1].T + p["b2"]
        a2 = np.where(z2 > 0, z2, 0.2 * z2)
        return z1, a1, z2, a2, a2 @ p["critic"] + p["offset"]

    def cost(p: Any) -> Any:
        return sum(np.logaddexp(0, -sign * forward(p, x)[-1]).mean() for sign, x in batches)

    def gradient(p: Any) -> Any:
        grads: dict[str, Any] = {name: 0.0 for name in p}
        leak = 0.0 if bug == "leak forgotten" else 0.2
        for sign, x in batches:
            z1, a1, z2, a2, scores = forward(p, x)
            dscores = -sign / (1 + np.exp(sign * scores)) / len(x)
            if bug == "sign of the false examples":
                dscores = -1 / (1 + np.exp(sign * scores)) / len(x)
            dz2 = np.outer(dscores, p["critic"]) * np.where(z2 > 0, 1.0, leak)
            dz1 = dz2 @ normalised(p, "W2")[1] * np.where(z1 > 0, 1.0, leak)
            grads["W1"] += through(p, "W1", dz1.T @ x)
            grads["b1"] += dz1.sum(axis=0)
            grads["W2"] += through(p, "W2", dz2.T @ a1)
            grads["b2"] += dz2.sum(axis=0)
            grads["critic"] += dscores @ a2
            grads["offset"] += dscores.sum()
        return grads

    return Case(cost, params, gradient)


def cosine(seed: int, bug: str = "") -> Case:
    """Cosine of a normalised embedding with normalised class vectors, times a scale; softmax with a margin."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((32, 6)), rng.integers(0, 12, 32)
    params = {
        "embed": rng.standard_normal((6, 8)) * 0.6,
        "bias": rng.standard_normal((1, 8)) * 0.4,
        "classes": rng.standard_normal((12, 8)),
        "scale": np.array(rng.uniform(2, 3)),
    }

    def forward(p: Any) -> tuple[Any, ...]:
        e = np.tanh(x @ p["embed"] + p["bias"])
        e_norm = np.linalg.norm(e, axis=1, keepdims=True)
        c_norm = np.sqrt(np.sum(p["classes"] ** 2, axis=1, keepdims=True))
        e_hat, c_hat = e / e_norm, p["classes"] / c_norm
        similarity = e_hat @ c_hat.T
        similarity[np.arange(32), y] -= 0.1
        logits = p["scale"] * similarity
        probs = np.exp(logits) / np.exp(logits).sum(axis=1)[:, np.newaxis]
        return e, e_norm, c_norm, e_hat, c_hat, similarity, probs

    def cost(p: Any) -> Any:
        probs = forward(p)[-1]
        return -np.log(probs[np.arange(32), y]).mean()

    def gradient(p: Any) -> Any:
        e, e_norm, c_norm, e_hat, c_hat, similarity, probs = forward(p)
        dlogits = probs.copy()
        dlogits[np.arange(32), y] -= 1
        dlogits /= 32
        dsimilarity = p["scale"] * dlogits
        if bug == "scale forgotten":
            dsimilarity = dlogits
        de_hat, dc_hat = dsimilarity @ c_hat, dsimilarity.T @ e_hat
        de = (de_hat - e_hat * np.sum(de_hat * e_hat, axis=1, keepdims=True)) / e_norm
        dc = (dc_hat - c_hat * np.sum(dc_hat * c_hat, axis=1, keepdims=True)) / c_norm
        if bug == "classes not projected":
            dc = dc_hat / c_norm
        dz = de * (1 - e**2)
        return {
            "embed": x.T @ dz,
            "bias": dz.sum(axis=0, keepdims=True),
            "classes": dc,
            "scale": np.sum(dlogits * similarity),
        }

    return Case(cost, params, gradient)


MODELS: tuple[Model, ...] = (
    planted(
        "batch norm, step by step, with running statistics",
        batch_norm_steps,
        {
            "way through the variance forgotten": ("W1",),
            "way through the mean forgotten": ("W1",),
            "half of the root forgotten": ("W1",),
            "gamma from what was not normalised": ("gamma",),
        },
    ),
    planted(
        "batch norm after a bias, whose gradient is 0 but for rounding",
        batch_norm_after_bias,
        {
            "projection forgotten": ("W1",),
            "batch norm taken for a constant scale": ("W1", "b1"),
            "beta summed, not averaged": ("beta1",),
        },
    ),
    planted(
        "layer norm, objects with caches",
        layer_norm,
        {
            "mean over the examples, not the features": ("[0]", "[1]", "[2]", "[3]", "[4]"),
            "gain forgotten on the way back": ("[0]", "[1]", "[2]", "[3]", "[4]"),
        },
    ),
    planted(
        "group norm of feature maps",
        group_norm,
        {"sums over single channels": ("kernel",), "gate's own slope forgotten": ("kernel", "gamma", "beta")},
    ),
    planted(
        "instance norm and Gram matrices",
        instance_norm,
        {
            "one side of the Gram matrix": ("mix", "scale", "shift"),
            "constant beside the deviation forgotten": ("mix",),
        },
    ),
    planted(
        "RMS norm around a gated layer",
        rms_norm,
        {
            "norm's own slope forgotten": ("norm", "gated.gate", "gated.up", "down"),
            "slope of the sigmoid for that of SiLU": ("norm", "gated.gate"),
            "one of two branches": ("norm",),
        },
    ),
    planted(
        "weight normalisation",
        weight_norm,
        {
            "slope of the norm forgotten": ("v1", "v2", "v3"),
            "v for the weight on the way back": ("v1", "g1", "b1", "v2", "g2", "b2"),
        },
    ),
    planted(
        "weights over their spectral norm, a critic",
        spectral_norm,
        {
            "singular value taken for a constant": ("W1", "W2"),
            "leak forgotten": ("W1", "b1", "W2", "b2"),
            "sign of the false examples": ("W1", "b1", "W2", "b2", "critic", "offset"),
        },
    ),
    planted(
        "cosine of normalised embeddings",
        cosine,
        {"scale forgotten": ("embed", "bias", "classes"), "classes not projected": ("classes",)},
    ),
)
