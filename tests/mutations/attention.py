"""Attention: heads over embedded inputs of unequal length, a residual, and a bonus for weights that are spread."""

from typing import Any

import numpy as np
from models._model import Case

from ._mistake import Mistake, Model
from ._parts import Array, Params, drawn, extent, halved

# What the bonus for the entropy of the weights is multiplied with.
_BONUS = 0.3


class _Heads:
    """Queries, keys and values of all heads; padded keys have a score of −1e9; the mean over the places is the output."""

    def __init__(self, x: Array, lengths: Any, heads: int, mistake: str) -> None:
        self.x, self.heads, self.mistake = x, heads, mistake
        self.padding = np.where(np.arange(x.shape[1]) < lengths[:, None], 0.0, -1e9)[:, None, None, :]
        self.targets: Array = np.empty(0)

    def split(self, a: Any) -> Any:
        return a.reshape(*a.shape[:2], self.heads, -1).swapaxes(1, 2)

    def join(self, a: Any) -> Any:
        if self.mistake == "heads joined without changing the axes":
            return a.reshape(self.x.shape[0], self.x.shape[1], -1)
        return a.swapaxes(1, 2).reshape(self.x.shape[0], self.x.shape[1], -1)

    def forward(self, p: Params) -> tuple[Any, ...]:
        h = self.x @ p["embed"]
        q, k, v = (self.split(h @ p[name]) for name in ("Wq", "Wk", "Wv"))
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + self.padding
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        total = e.sum(axis=-1, keepdims=True)
        guard = 1e-5 if self.mistake == "guard of the softmax left out of the way back" else 0.0
        logs = scores - scores.max(axis=-1, keepdims=True) - np.log(total)
        mixed = (e / (total + guard) @ v).swapaxes(1, 2).reshape(h.shape)
        out = (h + np.tanh(mixed @ p["Wo"] + p["bo"])).mean(axis=1)
        return h, (q, k, v), e / total, logs, mixed, out

    def cost(self, p: Params) -> Any:
        _, _, weights, logs, _, out = self.forward(p)
        return 0.5 * np.mean((out - self.targets) ** 2) + _BONUS * np.sum(weights * logs) / weights[..., 0].size

    def gradient(self, p: Params) -> Params:
        h, parts, weights, logs, mixed, out = self.forward(p)
        dpooled = (out - self.targets) / self.targets.size
        dh = np.repeat(dpooled[:, None, :] / h.shape[1], h.shape[1], axis=1)
        dy = dh * (1 - np.tanh(mixed @ p["Wo"] + p["bo"]) ** 2)
        dbo = dy.mean(axis=0).sum(axis=0) if self.mistake == "bias averaged over the examples" else dy.sum(axis=(0, 1))
        grads = {"Wo": np.einsum("btd,bte->de", mixed, dy), "bo": dbo}
        if self.mistake == "skip connection dropped on the way back":
            dh = np.zeros_like(dh)
        dmixed = self.split(dy @ p["Wo"] if self.mistake == "Wo not transposed on the way back" else dy @ p["Wo"].T)
        for name, own in zip(("Wq", "Wk", "Wv"), self.parts_gradient(parts, weights, logs, dmixed), strict=True):
            joined = self.join(own) if name == "Wv" else own.swapaxes(1, 2).reshape(h.shape)
            grads[name] = np.einsum("btd,bte->de", h, joined)
            if self.mistake != "way through the keys forgotten" or name != "Wk":
                dh = dh + joined @ p[name].T
        return self.finished(grads | {"embed": np.einsum("bti,btd->id", self.x, dh)})

    def parts_gradient(self, parts: Any, weights: Any, logs: Any, dmixed: Any) -> tuple[Any, Any, Any]:
        """Derivatives with respect to queries, keys and values."""
        q, k, v = parts
        dscores = self.scores_gradient(weights, logs, dmixed @ v.swapaxes(-1, -2))
        if self.mistake != "scale of the scores forgotten":
            dscores = dscores / np.sqrt(q.shape[-1])
        dq = dscores @ (q if self.mistake == "queries taken for keys" else k)
        dk = np.zeros_like(k) if self.mistake == "keys detached" else dscores.swapaxes(-1, -2) @ q
        seen = halved(weights) if self.mistake == "weights of attention kept in half precision" else weights
        return dq, dk, seen.swapaxes(-1, -2) @ dmixed

    def scores_gradient(self, weights: Any, logs: Any, dweights: Any) -> Any:
        """Derivative with respect to the scores, by way of the weights and of their entropy."""
        if self.mistake == "logarithm of the weights that padding left at zero":
            with np.errstate(divide="ignore"):
                logs = np.log(weights)
        with np.errstate(invalid="ignore"):
            dweights = dweights + _BONUS / weights[..., 0].size * (logs + 1)
            if self.mistake == "softmax without the term of its sum":
                return weights * dweights
            return weights * (dweights - np.sum(weights * dweights, axis=-1, keepdims=True))

    def finished(self, grads: Params) -> Params:
        """What is returned."""
        if self.mistake == "gradients of queries and keys swapped":
            grads["Wq"], grads["Wk"] = grads["Wk"], grads["Wq"]
        if self.mistake == "values' weights transposed":
            grads["Wv"] = grads["Wv"].T
        if self.mistake == "last head of the values left at zero":
            grads["Wv"][:, -(grads["Wv"].shape[1] // self.heads) :] = 0
        return grads


def heads(seed: int, mistake: str = "") -> Case:
    """A class; two or three heads by reshape and swapaxes; square weights, all of one shape."""
    rng = np.random.default_rng([10, seed])
    examples, places, n = extent(rng, 2, 4), extent(rng, 3, 5), extent(rng, 2, 4)
    count, size = extent(rng, 2, 3), extent(rng, 2, 3)
    width = count * size
    params: Params = {"embed": drawn(rng, n, width, size=0.8)}
    params |= {name: drawn(rng, width, width, size=0.5) for name in ("Wq", "Wk", "Wv", "Wo")}
    params["bo"] = drawn(rng, width, size=0.3)
    lengths = rng.integers(2, places + 1, examples)
    lengths[0] = places - 1  # something is padded
    model = _Heads(rng.standard_normal((examples, places, n)), lengths, count, mistake)
    model.targets = rng.standard_normal((examples, width))
    return Case(model.cost, params, model.gradient)


_HEADS = (
    Mistake("softmax without the term of its sum", "from_above", ("embed", "Wq", "Wk")),
    Mistake("queries taken for keys", "from_above", ("embed", "Wq")),
    Mistake("heads joined without changing the axes", "from_above", ("embed", "Wv")),
    Mistake("Wo not transposed on the way back", "from_above", ("embed", "Wq", "Wk", "Wv")),
    Mistake("skip connection dropped on the way back", "from_above", ("embed",)),
    Mistake("way through the keys forgotten", "from_above", ("embed",)),
    # Two blocks are a constant times the right ones, by what is passed to them; the one below them is not.
    Mistake("scale of the scores forgotten", "factor", ("embed", "Wq", "Wk"), accepted=("from_above",)),
    Mistake("gradients of queries and keys swapped", "permuted", ("Wq", "Wk")),
    Mistake("keys detached", "zero", ("embed", "Wk")),
    Mistake("values' weights transposed", "transposed", ("Wv",)),
    Mistake("last head of the values left at zero", "columns", ("Wv",)),
    # Of one divided by the number of examples both are true.
    Mistake("bias averaged over the examples", "bias_sum", ("bo",), accepted=("factor",)),
    Mistake("logarithm of the weights that padding left at zero", "non_finite", ("embed", "Wq", "Wk")),
    Mistake("weights of attention kept in half precision", "precision", ("embed", "Wv")),
    Mistake("guard of the softmax left out of the way back", "guard", ("embed", "Wq", "Wk", "Wv")),
)

MODELS = (Model("attention: heads", heads, _HEADS),)
