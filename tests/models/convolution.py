"""Convolutions in one and two dimensions, as loops, columns, strided windows and shifts, with pooling of every kind."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray

from models._model import Case, Model
from models._planting import planted

Array = NDArray[np.float64]


def settled(draw: Callable[[], Any], distances: Callable[[Any], list[Any]]) -> Any:
    """The first draw of parameters at which no pre-activation lies within 0.001 of a kink, so that small steps cross none."""
    params = draw()
    while min(np.abs(distance).min() for distance in distances(params)) < 1e-3:
        params = draw()
    return params


def naive_loops(seed: int, bug: str = "") -> Case:
    """Loops over every index and buffers of zeros, as in a first exercise; the maximum is found again by ==."""
    rng = np.random.default_rng(seed)
    x = np.pad(rng.standard_normal((2, 2, 4, 4)), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="constant")
    y = rng.integers(0, 3, 2)

    def draw() -> Any:
        return {
            "W": rng.standard_normal((3, 2, 3, 3)) * 0.4,
            "b": rng.uniform(0.1, 0.4, 3),
            "U": rng.standard_normal((12, 3)) * 0.5,
            "c": rng.standard_normal(3) * 0.3,
        }

    def forward(p: Any) -> tuple[Any, ...]:
        W, b = p["W"], p["b"]
        out = np.zeros((2, 3, 4, 4))
        for n in range(2):
            for f in range(3):
                for i in range(4):
                    for j in range(4):
                        out[n, f, i, j] = np.sum(x[n, :, i : i + 3, j : j + 3] * W[f]) + b[f]
        hidden = np.maximum(0, out)
        pooled = np.zeros((2, 3, 2, 2))
        for n in range(2):
            for f in range(3):
                for i in range(2):
                    for j in range(2):
                        pooled[n, f, i, j] = np.max(hidden[n, f, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2])
        scores = np.dot(pooled.reshape(2, -1), p["U"]) + p["c"]
        scores = scores - np.max(scores, axis=1, keepdims=True)
        probs = np.exp(scores) / np.sum(np.exp(scores), axis=1, keepdims=True)
        return out, hidden, pooled, probs

    def cost(p: Any) -> Any:
        probs = forward(p)[-1]
        return np.sum(-np.log(probs[range(2), y])) / 2

    def gradient(p: Any) -> Any:
        out, hidden, pooled, probs = forward(p)
        dscores = probs.copy()
        dscores[range(2), y] -= 1
        dscores /= 2
        dpooled = np.dot(dscores, p["U"].T).reshape(pooled.shape)
        dhidden = np.zeros(hidden.shape)
        for n in range(2):
            for f in range(3):
                for i in range(2):
                    for j in range(2):
                        rows, columns = slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2)
                        mask = hidden[n, f, rows, columns] == pooled[n, f, i, j]
                        if bug == "pooling passes to the whole window":
                            mask = np.ones((2, 2), dtype=bool)
                        dhidden[n, f, rows, columns] += mask * dpooled[n, f, i, j]
        dout = dhidden * (out > 0)
        dW, db = np.zeros(p["W"].shape), np.zeros(p["b"].shape)
        for n in range(2):
            for f in range(3):
                for i in range(4):
                    for j in range(4):
                        dW[f] += x[n, :, i : i + 3, j : j + 3] * dout[n, f, i, j]
                        if bug == "bias assigned in the loop":
                            db[f] = dout[n, f, i, j]
                        else:
                            db[f] += dout[n, f, i, j]
        return {"W": dW, "b": db, "U": np.dot(pooled.reshape(2, -1).T, dscores), "c": np.sum(dscores, axis=0)}

    return Case(cost, settled(draw, lambda p: [forward(p)[0]]), gradient)


def patch_indices(channels: int, size: int, rows: int, columns: int, stride: int) -> tuple[Any, Any, Any]:
    """Channel, row and column of every entry (first axis) of every patch (second axis) of a padded image."""
    k, i, j = (index.reshape(-1, 1) for index in np.indices((channels, size, size)))
    top, left = (stride * index.reshape(1, -1) for index in np.indices((rows, columns)))
    return k, i + top, j + left


def im2col(x: Any, size: int, stride: int) -> Any:
    """Patches of images padded by one as columns, by fancy indices."""
    _, channels, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="constant")
    rows, columns = (height + 2 - size) // stride + 1, (width + 2 - size) // stride + 1
    k, i, j = patch_indices(channels, size, rows, columns, stride)
    return padded[:, k, i, j].transpose(1, 2, 0).reshape(channels * size * size, -1)


def col2im(cols: Any, shape: tuple[int, ...], size: int, stride: int, *, overlaps: bool = True) -> Any:
    """Sum of all patches at their places, which is what the derivative of `im2col` does."""
    count, channels, height, width = shape
    rows, columns = (height + 2 - size) // stride + 1, (width + 2 - size) // stride + 1
    index: Any = (slice(None), *patch_indices(channels, size, rows, columns, stride))
    padded = np.zeros((count, channels, height + 2, width + 2))
    patches = cols.reshape(channels * size * size, -1, count).transpose(2, 0, 1)
    if overlaps:
        np.add.at(padded, index, patches)
    else:
        padded[index] = patches
    return padded[:, :, 1:-1, 1:-1]


def columns_of_patches(seed: int, bug: str = "") -> Case:
    """Two convolutions by im2col with fancy indices, the second with stride 2; np.add.at on the way back."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4, 3, 8, 8))
    y = rng.integers(0, 10, 4)

    def draw() -> Any:
        return {
            "W1": rng.standard_normal((6, 3, 3, 3)) / 5,
            "b1": rng.standard_normal((6, 1)) * 0.2,
            "W2": rng.standard_normal((8, 6, 3, 3)) / 5,
            "b2": rng.standard_normal((8, 1)) * 0.2,
            "W3": rng.standard_normal((128, 10)) / 8,
            "b3": rng.standard_normal(10) * 0.2,
        }

    def convolve(a: Any, W: Any, b: Any, stride: int, side: int) -> tuple[Any, Any]:
        cols = im2col(a, 3, stride)
        out = W.reshape(W.shape[0], -1) @ cols + b
        return out.reshape(W.shape[0], side, side, 4).transpose(3, 0, 1, 2), cols

    def forward(p: Any) -> tuple[Any, Any]:
        z1, cols1 = convolve(x, p["W1"], p["b1"], 1, 8)
        a1 = z1 * (z1 > 0)
        z2, cols2 = convolve(a1, p["W2"], p["b2"], 2, 4)
        a2 = z2 * (z2 > 0)
        scores = a2.reshape(4, -1) @ p["W3"] + p["b3"]
        scores -= scores.max(axis=1, keepdims=True)
        return scores, (z1, cols1, a1, z2, cols2, a2)

    def cost(p: Any) -> Any:
        scores, _ = forward(p)
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return float(-logs[np.arange(4), y].mean())

    def gradient(p: Any) -> Any:
        scores, (z1, cols1, a1, z2, cols2, a2) = forward(p)
        grads = {}
        dscores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        dscores[np.arange(4), y] -= 1
        dscores /= 4
        grads["W3"], grads["b3"] = a2.reshape(4, -1).T @ dscores, dscores.sum(axis=0)
        dz2 = (dscores @ p["W3"].T).reshape(a2.shape) * (z2 > 0)
        flat2 = dz2.transpose(1, 2, 3, 0).reshape(8, -1)
        if bug == "examples not moved to the last axis":
            flat2 = dz2.transpose(1, 0, 2, 3).reshape(8, -1)
        grads["b2"] = flat2.sum(axis=1, keepdims=True)
        grads["W2"] = (flat2 @ cols2.T).reshape(p["W2"].shape)
        if bug == "W2 from the patches before the relu":
            grads["W2"] = (flat2 @ im2col(z1, 3, 2).T).reshape(p["W2"].shape)
        dcols = p["W2"].reshape(8, -1).T @ flat2
        da1 = col2im(dcols, a1.shape, 3, 2, overlaps=bug != "overlapping patches assigned")
        flat1 = (da1 * (z1 > 0)).transpose(1, 2, 3, 0).reshape(6, -1)
        grads["b1"] = flat1.sum(axis=1, keepdims=True)
        grads["W1"] = (flat1 @ cols1.T).reshape(p["W1"].shape)
        return grads

    return Case(cost, settled(draw, lambda p: [forward(p)[1][0], forward(p)[1][3]]), gradient)


def dilated(seed: int, bug: str = "") -> Case:
    """Causal convolutions with dilation 1, 2, 4 and residuals, by sliding_window_view and einsum; a list of dicts."""
    rng = np.random.default_rng(seed)
    signal = np.cumsum(rng.standard_normal((3, 1, 17)), axis=2) / 3
    x, target = signal[:, :, :-1], signal[:, 0, 1:]
    params = {
        "mix": rng.standard_normal((4, 1)),
        "layers": [{"W": rng.standard_normal((4, 4, 2)) / 2, "b": rng.standard_normal((4, 1)) * 0.3} for _ in range(3)],
        "head": rng.standard_normal(4) * 0.4,
    }

    def forward(p: Any) -> tuple[Any, list[Any]]:
        h = np.matmul(p["mix"], x)
        caches = []
        for number, layer in enumerate(p["layers"]):
            d = 2**number
            padded = np.pad(h, ((0, 0), (0, 0), (d, 0)))
            windows = sliding_window_view(padded, d + 1, axis=2)[..., ::d]
            t = np.tanh(np.einsum("nctk,ock->not", windows, layer["W"]) + layer["b"])
            caches.append((windows, t))
            h = h + t
        return h, caches

    def cost(p: Any) -> Any:
        h, _ = forward(p)
        prediction = np.einsum("nct,c->nt", h, p["head"])
        return np.mean((prediction - target) ** 2)

    def gradient(p: Any) -> Any:
        h, caches = forward(p)
        dprediction = 2 * (np.einsum("nct,c->nt", h, p["head"]) - target) / target.size
        head = np.einsum("nct,nt->c", h, dprediction)
        dh = p["head"][None, :, None] * dprediction[:, None, :]
        layers: list[dict[str, Any]] = []
        for number in (2, 1, 0):
            d = 2**number
            windows, t = caches[number]
            W = p["layers"][number]["W"]
            dz = dh * (1 - t**2)
            layers.insert(0, {"W": np.einsum("not,nctk->ock", dz, windows), "b": dz.sum(axis=(0, 2))[:, None]})
            dpadded = np.zeros((3, 4, 16 + d))
            for tap in range(2):
                start = tap if bug == "dilation forgotten on the way back" else tap * d
                dpadded[:, :, start : start + 16] += np.einsum("not,oc->nct", dz, W[:, :, tap])
            through = dpadded[:, :, d:]
            dh = through if bug == "residual forgotten" else dh + through
        return {"mix": np.einsum("nct,nt->c", dh, x[:, 0])[:, None], "layers": layers, "head": head}

    return Case(cost, params, gradient)


def windows_of(x: Any, size: int) -> Any:
    """All square windows of images, as a view."""
    n, c, h, w = x.shape
    sn, sc, sh, sw = x.strides
    return as_strided(x, (n, c, h - size + 1, w - size + 1, size, size), (sn, sc, sh, sw, sh, sw))


class StridedNetwork:
    """A class that keeps its caches: convolutions by as_strided and tensordot, max pooling by reshape."""

    def __init__(self, x: Array, y: Any, bug: str) -> None:
        self.x, self.y, self.bug = x, y, bug
        self.cache: dict[str, Any] = {}

    def convolve(self, x: Any, W: Any, b: Any) -> Any:
        out = np.tensordot(windows_of(x, 3), W, axes=([1, 4, 5], [1, 2, 3]))
        return out.transpose(0, 3, 1, 2) + b.reshape(1, -1, 1, 1)

    def loss(self, params: Any) -> Any:
        W1, b1, W2, b2, W3, b3 = params
        n = self.x.shape[0]
        z1 = self.convolve(self.x, W1, b1)
        a1 = np.where(z1 > 0, z1, 0.0)
        pooled = a1.reshape(n, 4, 4, 2, 4, 2).max(axis=5).max(axis=3)
        z2 = self.convolve(pooled, W2, b2)
        a2 = np.where(z2 > 0, z2, 0.0)
        logits = a2.reshape(n, -1).dot(W3) + b3
        logits = logits - logits.max(axis=1, keepdims=True)
        probs = np.exp(logits)
        probs /= probs.sum(axis=1, keepdims=True)
        self.cache = {"z1": z1, "a1": a1, "pooled": pooled, "z2": z2, "a2": a2, "probs": probs}
        return -np.mean(np.log(probs[np.arange(n), self.y]))

    def gradients(self, params: Any) -> Any:
        self.loss(params)
        _, _, W2, _, W3, _ = params
        n, c = self.x.shape[0], self.cache
        dlogits = c["probs"].copy()
        dlogits[np.arange(n), self.y] -= 1
        dlogits /= n
        dW3, db3 = c["a2"].reshape(n, -1).T.dot(dlogits), dlogits.sum(axis=0)
        dz2 = dlogits.dot(W3.T).reshape(c["z2"].shape)
        dz2[c["z2"] <= 0] = 0
        dW2 = np.tensordot(dz2, windows_of(c["pooled"], 3), axes=([0, 2, 3], [0, 2, 3]))
        db2 = dz2.sum(axis=(0, 2, 3))
        kernel = W2 if self.bug == "kernel not turned round" else W2[:, :, ::-1, ::-1]
        padded = np.pad(dz2, ((0, 0), (0, 0), (2, 2), (2, 2)))
        dpooled = np.tensordot(windows_of(padded, 3), kernel, axes=([1, 4, 5], [0, 2, 3])).transpose(0, 3, 1, 2)
        cells = c["a1"].reshape(n, 4, 4, 2, 4, 2)
        mask = cells == c["pooled"][:, :, :, None, :, None]
        da1 = (mask * dpooled[:, :, :, None, :, None]).reshape(c["a1"].shape)
        dz1 = da1 if self.bug == "first relu forgotten" else da1 * (c["z1"] > 0)
        dW1 = np.tensordot(dz1, windows_of(self.x, 3), axes=([0, 2, 3], [0, 2, 3]))
        db1 = dz1.mean(axis=(0, 2, 3)) if self.bug == "mean for sum of the bias" else dz1.sum(axis=(0, 2, 3))
        return [dW1, db1, dW2, db2, dW3, db3]


def strided(seed: int, bug: str = "") -> Case:
    """Cost and gradient are methods of an object; the parameters are a list."""
    rng = np.random.default_rng(seed)
    network = StridedNetwork(rng.standard_normal((5, 1, 10, 10)), rng.integers(0, 5, 5), bug)

    def draw() -> Any:
        return [
            rng.standard_normal((4, 1, 3, 3)) / 3,
            rng.standard_normal(4) * 0.3,
            rng.standard_normal((6, 4, 3, 3)) / 4,
            rng.uniform(0.1, 0.4, 6),
            rng.standard_normal((24, 5)) / 3,
            rng.standard_normal(5) * 0.3,
        ]

    def distances(params: Any) -> list[Any]:
        network.loss(params)
        return [network.cache["z1"], network.cache["z2"]]

    return Case(network.loss, settled(draw, distances), network.gradients)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def transposed(seed: int, bug: str = "") -> Case:
    """A decoder of images: dense, then two transposed convolutions of stride 2 that add into strided slices."""
    rng = np.random.default_rng(seed)
    codes = rng.standard_normal((4, 10))
    images = (rng.random((4, 1, 15, 15)) < 0.5).astype(float)
    params = {
        "dense": {"W": rng.standard_normal((10, 72)) / 3, "b": rng.standard_normal(72) * 0.3},
        "up1": {"K": rng.standard_normal((8, 4, 3, 3)) / 3, "b": rng.standard_normal((4, 1, 1)) * 0.3},
        "up2": {"K": rng.standard_normal((4, 1, 3, 3)) / 2, "b": rng.standard_normal((1, 1, 1)) * 0.3},
    }

    def spread(h: Any, K: Any, b: Any) -> Any:
        n, _, rows, columns = h.shape
        out = np.zeros((n, K.shape[1], 2 * rows + 1, 2 * columns + 1))
        for i in range(3):
            for j in range(3):
                out[:, :, i : i + 2 * rows : 2, j : j + 2 * columns : 2] += np.einsum("nchw,co->nohw", h, K[:, :, i, j])
        return out + b

    def gather(h: Any, K: Any, dout: Any) -> tuple[Any, Any, Any]:
        rows, columns = h.shape[2:]
        dh, dK = np.zeros_like(h), np.zeros_like(K)
        for i in range(3):
            for j in range(3):
                part = dout[:, :, i : i + 2 * rows : 2, j : j + 2 * columns : 2]
                if bug == "stride forgotten on the way back":
                    part = dout[:, :, i : i + rows, j : j + columns]
                dh += np.einsum("nohw,co->nchw", part, K[:, :, i, j])
                dK[:, :, i, j] += np.einsum("nchw,nohw->co", h, part)
        return dh, dK, dout.sum(axis=(0, 2, 3)).reshape(-1, 1, 1)

    def forward(p: Any) -> tuple[Any, Any, Any]:
        h = np.tanh(codes @ p["dense"]["W"] + p["dense"]["b"]).reshape(4, 8, 3, 3)
        g = np.tanh(spread(h, p["up1"]["K"], p["up1"]["b"]))
        return h, g, sigmoid(spread(g, p["up2"]["K"], p["up2"]["b"]))

    def cost(p: Any) -> Any:
        _, _, out = forward(p)
        return -np.mean(images * np.log(out) + (1 - images) * np.log(1 - out))

    def gradient(p: Any) -> Any:
        h, g, out = forward(p)
        dout = (out - images) / images.size
        if bug == "mean over the examples only":
            dout = (out - images) / len(images)
        dg, dK2, db2 = gather(g, p["up2"]["K"], dout)
        dh, dK1, db1 = gather(h, p["up1"]["K"], dg * (1 - g**2))
        dz = (dh * (1 - h**2)).reshape(4, 72)
        if bug == "first tanh forgotten":
            dz = dh.reshape(4, 72)
        return {
            "dense": {"W": codes.T @ dz, "b": dz.sum(axis=0)},
            "up1": {"K": dK1, "b": db1},
            "up2": {"K": dK2, "b": db2},
        }

    return Case(cost, params, gradient)


def depthwise(seed: int, bug: str = "") -> Case:
    """Channels last: depthwise and pointwise convolution by shifts, np.clip, average pooling by blocks and of all."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4, 6, 6, 3))
    labels = np.eye(4)[rng.integers(0, 4, 4)]
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], "edge")

    def draw() -> Any:
        return (
            rng.standard_normal((3, 3, 3)) / 2,
            rng.standard_normal(3) * 0.3,
            rng.standard_normal((3, 5)) * 1.5,
            rng.standard_normal(5) * 0.4,
            rng.standard_normal((5, 4)),
            rng.standard_normal(4) * 0.3,
        )

    def forward(p: Any) -> tuple[Any, ...]:
        K, k, P, q, V, v = p
        deep: Any = 0
        for i in range(3):
            for j in range(3):
                deep = deep + padded[:, i : i + 6, j : j + 6, :] * K[i, j]
        deep = deep + k
        z = deep @ P + q
        a = np.clip(z, 0, 2)
        pooled = a.reshape(4, 3, 2, 3, 2, 5).mean(axis=(2, 4)) ** 2
        features = pooled.mean(axis=(1, 2))
        logits = features @ V + v
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return deep, z, a, features, e / e.sum(axis=1, keepdims=True)

    def cost(p: Any) -> Any:
        probs = forward(p)[-1]
        return -(labels * np.log(probs)).sum() / len(labels)

    def gradient(p: Any) -> Any:
        _, _, P, _, V, _ = p
        deep, z, a, features, probs = forward(p)
        dlogits = (probs - labels) / len(labels)
        dfeatures = dlogits @ V.T
        mean = a.reshape(4, 3, 2, 3, 2, 5).mean(axis=(2, 4))
        dmean = 2 * mean * dfeatures[:, None, None, :] / 9
        da = dmean.repeat(2, axis=1).repeat(2, axis=2)
        if bug != "window's size forgotten":
            da = da / 4
        dz = da * ((z > 0) & (z < 2))
        if bug == "clip above forgotten":
            dz = da * (z > 0)
        ddeep = dz @ P.T
        dK = np.zeros((3, 3, 3))
        for i in range(3):
            for j in range(3):
                dK[i, j] = (padded[:, i : i + 6, j : j + 6, :] * ddeep).sum(axis=(0, 1, 2))
        if bug == "rows and columns of the kernel exchanged":
            dK = dK.transpose(1, 0, 2)
        dP = deep.reshape(-1, 3).T @ dz.reshape(-1, 5)
        return dK, ddeep.sum(axis=(0, 1, 2)), dP, dz.sum(axis=(0, 1, 2)), features.T @ dlogits, dlogits.sum(axis=0)

    return Case(cost, settled(draw, lambda p: [forward(p)[1], forward(p)[1] - 2]), gradient)


def filters(seed: int, bug: str = "") -> Case:
    """Two filters of some recordings by np.convolve, all parameters in one flat vector that slices unpack."""
    rng = np.random.default_rng(seed)
    recordings = [(rng.standard_normal(length), rng.standard_normal(length)) for length in (40, 25, 60, 31, 52, 18, 44)]
    theta = np.r_[rng.standard_normal(5) / 2, 0.3, rng.standard_normal(5) / 2, -0.2]

    def forward(theta: Any, x: Array) -> tuple[Any, Any]:
        a = np.tanh(np.convolve(x, theta[:5]) + theta[5])
        return a, np.convolve(a, theta[6:11], mode="valid") + theta[11]

    def cost(theta: Any) -> Any:
        total = 0.0
        for x, target in recordings:
            _, out = forward(theta, x)
            residual = out - target
            total = total + 0.5 * residual.dot(residual) / len(x)
        return total

    def gradient(theta: Any) -> Any:
        grad = np.zeros_like(theta)
        for x, target in recordings:
            a, out = forward(theta, x)
            dout = (out - target) / len(x)
            second = np.correlate(a, dout, mode="valid")[::-1]
            if bug == "filter not turned round":
                second = second[::-1]
            da = np.convolve(dout, theta[10:5:-1])
            if bug == "convolved where correlated was meant":
                da = np.convolve(dout, theta[6:11])
            dz = da * (1 - a * a)
            part = np.concatenate([np.correlate(dz, x, mode="valid"), [dz.sum()], second, [dout.sum()]])
            grad = part if bug == "last recording only" else grad + part
        return grad

    return Case(cost, theta, gradient)


MODELS: tuple[Model, ...] = (
    planted(
        "convolution, relu, max pooling, all in loops",
        naive_loops,
        {"pooling passes to the whole window": ("W", "b"), "bias assigned in the loop": ("b",)},
    ),
    planted(
        "convolutions by im2col with fancy indices",
        columns_of_patches,
        {
            "overlapping patches assigned": ("W1", "b1"),
            "examples not moved to the last axis": ("W1", "b1", "W2"),
            "W2 from the patches before the relu": ("W2",),
        },
    ),
    planted(
        "dilated causal convolutions by sliding windows",
        dilated,
        {
            "dilation forgotten on the way back": ("mix", "layers[0].W", "layers[0].b", "layers[1].W", "layers[1].b"),
            "residual forgotten": ("mix", "layers[0].W", "layers[0].b", "layers[1].W", "layers[1].b"),
        },
    ),
    planted(
        "convolutional network in a class, by as_strided",
        strided,
        {
            "kernel not turned round": ("[0]", "[1]"),
            "first relu forgotten": ("[0]", "[1]"),
            "mean for sum of the bias": ("[1]",),
        },
        leaves_numpy=True,
    ),
    planted(
        "decoder with transposed convolutions",
        transposed,
        {
            "stride forgotten on the way back": ("dense.W", "dense.b", "up1.K", "up1.b", "up2.K"),
            "mean over the examples only": ("dense.W", "dense.b", "up1.K", "up1.b", "up2.K", "up2.b"),
            "first tanh forgotten": ("dense.W", "dense.b"),
        },
    ),
    planted(
        "depthwise convolution, average pooling, channels last",
        depthwise,
        {
            "window's size forgotten": ("[0]", "[1]", "[2]", "[3]"),
            "clip above forgotten": ("[0]", "[1]", "[2]", "[3]"),
            "rows and columns of the kernel exchanged": ("[0]",),
        },
    ),
    planted(
        "two filters by np.convolve, one flat vector",
        filters,
        {
            "filter not turned round": ("params",),
            "convolved where correlated was meant": ("params",),
            "last recording only": ("params",),
        },
    ),
)
