"""Convolutions: of images with a dense layer behind, by shifts of the kernel, and of series, two of them, one with a stride."""

from typing import Any

import numpy as np
from models._model import Case

from ._mistake import Mistake, Model
from ._parts import Array, Params, drawn, extent, halved, sigmoid

# ---- images -----------------------------------------------------------------------------------------------------------------


def _kernel_gradient(dz: Any, x: Array, shape: tuple[int, ...], mistake: str) -> Array:
    """Derivative with respect to kernels of shape (filters, channels, rows, columns)."""
    _, channels, rows, columns = shape
    dK = np.zeros(shape)
    last = columns - 1 if mistake == "last column of the kernels left out" else columns
    for i in range(rows):
        for j in range(last):
            seen = x[:, :, i : i + dz.shape[2], j : j + dz.shape[3]]
            dK[:, :, i, j] = np.einsum("nfrs,ncrs->fc", dz, seen)
    if mistake == "divided by the size of a filter":
        dK /= channels * rows * columns
    if mistake == "kernels flipped":
        dK = dK[:, :, ::-1, ::-1]
    if mistake == "kernels reshaped from channels first":
        dK = dK.transpose(1, 0, 2, 3).reshape(shape)
    if mistake == "last filter left out":
        dK[-1] = 0
    if mistake == "a corner of the first kernel from one example":
        dK[0, 0, 0, 0] = np.sum(dz[0, 0] * x[0, 0, : dz.shape[2], : dz.shape[3]])
    return dK


def _filter_bias_gradient(dz: Any, mistake: str) -> Any:
    if mistake == "bias of the filters averaged over the positions":
        return dz.sum(axis=0).mean(axis=(1, 2))
    if mistake == "bias of the filters at one position":
        return dz[:, :, 0, 0].sum(axis=0)
    if mistake == "bias of the filters forgotten":
        return np.zeros(dz.shape[1])
    return dz.sum(axis=(0, 2, 3))


def images(seed: int, mistake: str = "") -> Case:
    """Dict; a sum over shifts of the image, tanh, all features flattened; half the mean square."""
    rng = np.random.default_rng([6, seed])
    examples, channels, filters, outputs = extent(rng, 3, 5), extent(rng, 2, 3), extent(rng, 2, 4), extent(rng, 1, 3)
    height, width, rows, columns = extent(rng, 4, 5), extent(rng, 4, 6), extent(rng, 2, 3), extent(rng, 2, 3)
    down, right = height - rows + 1, width - columns + 1
    params: Params = {
        "K": drawn(rng, filters, channels, rows, columns, size=0.4),
        "b": drawn(rng, filters, size=0.3),
        "V": drawn(rng, filters * down * right, outputs, size=0.3),
        "c": drawn(rng, outputs, size=0.3),
    }
    x, t = rng.standard_normal((examples, channels, height, width)), rng.standard_normal((examples, outputs))

    def forward(p: Params) -> tuple[Any, Any]:
        z = p["b"][:, None, None]
        for i in range(rows):
            for j in range(columns):
                z = z + np.einsum("ncrs,fc->nfrs", x[:, :, i : i + down, j : j + right], p["K"][:, :, i, j])
        a = np.tanh(z)
        return a, a.reshape(examples, -1) @ p["V"] + p["c"]

    def cost(p: Params) -> Any:
        return 0.5 * np.sum((forward(p)[1] - t) ** 2) / examples

    def gradient(p: Params) -> Params:
        a, out = forward(p)
        dout = (out - t) / examples
        flat = a.reshape(examples, -1)
        if mistake == "features flattened with the filters last":
            flat = a.transpose(0, 2, 3, 1).reshape(examples, -1)
        da = (dout @ p["V"].T).reshape(a.shape)
        if mistake == "features taken apart with the filters last":
            da = (dout @ p["V"].T).reshape(examples, down, right, filters).transpose(0, 3, 1, 2)
        dz = da if mistake == "no slope of tanh" else da * (1 - a**2)
        dK, db = _kernel_gradient(dz, x, p["K"].shape, mistake), _filter_bias_gradient(dz, mistake)
        return {"K": dK, "b": db, "V": flat.T @ dout, "c": dout.sum(axis=0)}

    return Case(cost, params, gradient)


_IMAGES = (
    Mistake("kernels flipped", "permuted", ("K",)),
    Mistake("kernels reshaped from channels first", "transposed", ("K",)),
    # The rows of a matrix are in another order because its rows stand for three axes that were.
    Mistake("features flattened with the filters last", "permuted", ("V",), accepted=("transposed",)),
    Mistake("features taken apart with the filters last", "from_above", ("K", "b")),
    Mistake("divided by the size of a filter", "factor", ("K",)),
    # Of one divided by the number of positions both are true.
    Mistake("bias of the filters averaged over the positions", "bias_sum", ("b",), accepted=("factor",)),
    Mistake("bias of the filters at one position", "bias_sum", ("b",)),
    Mistake("bias of the filters forgotten", "zero", ("b",)),
    Mistake("last filter left out", "rows", ("K",)),
    Mistake("last column of the kernels left out", "columns", ("K",)),
    Mistake("a corner of the first kernel from one example", "entries", ("K",)),
    Mistake("no slope of tanh", "activation_derivative", ("K", "b")),
)


# ---- series -----------------------------------------------------------------------------------------------------------------


def _silu(z: Any) -> Any:
    return z * sigmoid(z)


def _slope_of_silu(z: Any, mistake: str) -> Any:
    s = sigmoid(z)
    return s * (1 - s) if mistake == "slope of a sigmoid for that of silu" else s * (1 + z * (1 - s))


class _Series:
    """Two convolutions of series: one of width 3 with stride 2 and a zero on either side, and one of width 2."""

    def __init__(self, x: Array, labels: Array, mistake: str) -> None:
        self.x, self.labels, self.mistake = np.pad(x, ((0, 0), (0, 0), (1, 1))), labels, mistake
        self.places = (x.shape[2] - 1) // 2 + 1
        self.kept: Any = 0.0

    def forward(self, p: Params) -> tuple[Any, ...]:
        z1 = np.stack([np.einsum("ncl,fcl->nf", self.window(t), p["K1"]) for t in range(self.places)], axis=2)
        z1 = z1 + p["b1"][:, None]
        h = _silu(z1)
        z2 = np.einsum("ncl,fc->nfl", h[:, :, :-1], p["K2"][:, :, 0]) + np.einsum("ncl,fc->nfl", h[:, :, 1:], p["K2"][:, :, 1])
        a = np.tanh(z2 + p["b2"][:, None])
        pooled = a.mean(axis=2)
        return z1, h, a, pooled, pooled @ p["v"] + p["c"]

    def window(self, t: int) -> Array:
        """What place t of the first convolution sees."""
        return self.x[:, :, 2 * t : 2 * t + 3]

    def cost(self, p: Params) -> Any:
        score = self.forward(p)[-1]
        return np.mean(np.logaddexp(0, score) - self.labels * score)

    def gradient(self, p: Params) -> Params:
        z1, h, a, pooled, score = self.forward(p)
        ds = (sigmoid(score) - self.labels) / len(score)
        places = 1 if self.mistake == "mean over the places forgotten" else a.shape[2]
        dz2 = np.outer(ds, p["v"])[:, :, None] / places * (1 - a**2)
        dh = self.second_input_gradient(dz2, p["K2"], h)
        dz1 = dh * _slope_of_silu(z1, self.mistake)
        db1, db2 = dz1.sum(axis=(0, 2)), dz2.sum(axis=(0, 2))
        if self.mistake == "bias of the first convolution as a column":
            db1 = db1[:, None]
        if self.mistake == "bias of the second convolution from the first example":
            db2 = dz2[0].sum(axis=1)
        dK1, dK2 = self.first_kernel_gradient(dz1), self.second_kernel_gradient(dz2, h)
        return {"K1": dK1, "b1": db1, "K2": dK2, "b2": db2, "v": pooled.T @ ds, "c": ds.sum(keepdims=True)}

    def second_input_gradient(self, dz2: Any, K2: Any, h: Any) -> Any:
        dh = np.zeros_like(h)
        if self.mistake == "kernel flipped on the way back":
            K2 = K2[:, :, ::-1]
        for t in range(dz2.shape[2]):
            share = np.einsum("nf,fcl->ncl", dz2[:, :, t], K2)
            if self.mistake == "overlapping windows overwritten":
                dh[:, :, t : t + 2] = share
            else:
                dh[:, :, t : t + 2] += share
        return dh

    def first_kernel_gradient(self, dz1: Any) -> Any:
        stride = 1 if self.mistake == "stride ignored in the gradient of the kernel" else 2
        windows = [self.x[:, :, stride * t : stride * t + 3] for t in range(self.places)]
        return sum(np.einsum("nf,ncl->fcl", dz1[:, :, t], windows[t]) for t in range(self.places))

    def second_kernel_gradient(self, dz2: Any, h: Any) -> Any:
        if self.mistake == "input of the second convolution kept in half precision":
            h = halved(h)
        dK2 = np.stack([np.einsum("nfl,ncl->fc", dz2, seen) for seen in (h[:, :, :-1], h[:, :, 1:])], axis=2)
        if self.mistake == "kernels of the second convolution flipped":
            dK2 = dK2[:, :, ::-1]
        if self.mistake == "kernels of the second convolution added up over calls":
            self.kept = self.kept + dK2
            return self.kept
        return dK2


def series(seed: int, mistake: str = "") -> Case:
    """A class; windows stacked one by one, silu, then tanh, a mean over the places; labels of 0 and 1."""
    rng = np.random.default_rng([7, seed])
    examples, channels, length = extent(rng, 3, 6), extent(rng, 2, 3), extent(rng, 6, 10)
    first, second = extent(rng, 2, 4), extent(rng, 2, 4)
    params: Params = {
        "K1": drawn(rng, first, channels, 3, size=0.5),
        "b1": drawn(rng, first, size=0.3),
        "K2": drawn(rng, second, first, 2, size=0.5),
        "b2": drawn(rng, second, size=0.3),
        "v": drawn(rng, second),
        "c": drawn(rng, 1, size=0.3),
    }
    x, labels = rng.standard_normal((examples, channels, length)), rng.integers(0, 2, examples).astype(float)
    model = _Series(x, labels, mistake)
    return Case(model.cost, params, model.gradient)


_SERIES = (
    Mistake("overlapping windows overwritten", "from_above", ("K1", "b1")),
    Mistake("kernel flipped on the way back", "from_above", ("K1", "b1")),
    Mistake("kernels of the second convolution flipped", "permuted", ("K2",)),
    Mistake("mean over the places forgotten", "factor", ("K1", "b1", "K2", "b2")),
    Mistake("slope of a sigmoid for that of silu", "activation_derivative", ("K1", "b1")),
    Mistake("stride ignored in the gradient of the kernel", "from_above", ("K1",)),
    Mistake("input of the second convolution kept in half precision", "precision", ("K2",)),
    Mistake("kernels of the second convolution added up over calls", "accumulated", ("K2",), later=True),
    Mistake("bias of the second convolution from the first example", "bias_sum", ("b2",)),
    Mistake("bias of the first convolution as a column", "shape", ("b1",), raises=True),
)

MODELS = (
    Model("convolution: images", images, _IMAGES),
    Model("convolution: series", series, _SERIES),
)
