"""A softmax over classes: texts as bags of tokens, smoothed targets, a temperature that is learnt."""

from typing import Any

import numpy as np
from models._model import Case
from numpy.typing import NDArray

from ._mistake import Mistake, Model
from ._parts import Array, Params, drawn, extent, halved, softmax


def _texts(rng: np.random.Generator, texts: int, length: int, words: int) -> NDArray[np.intp]:
    """Texts without a token twice, but for the first one; the last one has the tokens from 0 on."""
    tokens = np.stack([rng.permutation(words)[:length] for _ in range(texts)])
    tokens[0, 1] = tokens[0, 0]
    tokens[-1] = np.arange(length)
    return tokens


def _table_gradient(dh: Any, tokens: NDArray[np.intp], shape: tuple[int, int], mistake: str) -> Array:
    dtable = np.zeros(shape)
    share = dh if mistake == "number of tokens forgotten" else dh / tokens.shape[1]
    if mistake == "token counted once where it occurs twice":
        for text, own in zip(tokens, share, strict=True):
            dtable[text] += own
    else:
        np.add.at(dtable, tokens, share[:, None, :])
    if mistake == "token 0 taken for padding":
        dtable[0] = 0
    return dtable


def _scores_gradient(p: Any, q: Array, mistake: str) -> Any:
    """Derivative of the mean cross-entropy with respect to what the softmax is given."""
    if mistake == "targets not subtracted":
        return p / len(q)
    if mistake == "mean over the classes, too":
        return (p - q) / q.size
    if mistake == "probabilities in half precision":
        return (halved(p) - q) / len(q)
    return (p - q) / len(q)


def _output_gradient(dz: Any, hidden: Any, mistake: str) -> tuple[Any, Any]:
    dW, db = hidden.T @ dz, dz.sum(axis=0)
    if mistake == "last class left out of the weights":
        dW[:, -1] = 0
    if mistake == "bias of the reference class left at zero":
        db[0] = 0
    if mistake == "classes of the output layer shifted by one":
        dW, db = np.roll(dW, 1, axis=1), np.roll(db, 1)
    if mistake == "bias averaged over the examples":
        db = dz.mean(axis=0)
    if mistake == "weights of classes by inputs":
        dW = dz.T @ hidden
    return dW, db


def bags(seed: int, mistake: str = "") -> Case:
    """Dict; the mean of a text's embeddings, tanh, softmax with temperature; a Python float among the parameters."""
    rng = np.random.default_rng([3, seed])
    words, n, k, m = extent(rng, 5, 9), extent(rng, 2, 6), extent(rng, 3, 7), extent(rng, 3, 8)
    k += k == n  # a product the other way round must not fit
    tokens = _texts(rng, m, extent(rng, 3, 5), words)
    params: Params = {
        "table": drawn(rng, words, n),
        "W": drawn(rng, n, k, size=0.7),
        "b": drawn(rng, k, size=0.4),
        "heat": 1.3,
    }
    q = 0.9 * np.eye(k)[rng.integers(k, size=m)] + 0.1 / k

    def forward(p: Params) -> tuple[Any, Any, Any]:
        hidden = np.tanh(p["table"][tokens].mean(axis=1))
        z = hidden @ p["W"] + p["b"]
        return hidden, z, softmax(p["heat"] * z)

    def cost(p: Params) -> Any:
        guard = 1e-6 if mistake == "guard of the logarithm in the cost alone" else 0.0
        return -np.sum(q * np.log(forward(p)[-1] + guard)) / m

    def gradient(p: Params) -> Params:
        hidden, z, probs = forward(p)
        ds = _scores_gradient(probs, q, mistake)
        dz = p["heat"] * ds
        dW, db = _output_gradient(dz, hidden, mistake)
        slope = 1 if mistake == "no slope of tanh" else 1 - hidden**2
        dh = dz @ p["W"].T * slope
        dtable = _table_gradient(dh, tokens, (words, n), mistake)
        heat = 0.0 if mistake == "temperature detached" else np.sum(ds * z)
        return {"table": dtable, "W": dW, "b": db, "heat": heat}

    return Case(cost, params, gradient)


_ALL = ("table", "W", "b", "heat")

_BAGS = (
    Mistake("token counted once where it occurs twice", "rows", ("table",)),
    Mistake("token 0 taken for padding", "rows", ("table",)),
    Mistake("number of tokens forgotten", "factor", ("table",)),
    Mistake("targets not subtracted", "from_above", _ALL),
    Mistake("mean over the classes, too", "factor", _ALL),
    Mistake("probabilities in half precision", "precision", _ALL),
    Mistake("guard of the logarithm in the cost alone", "guard", _ALL),
    Mistake("last class left out of the weights", "columns", ("W",)),
    # Of a block with one axis an entry is a row.
    Mistake("bias of the reference class left at zero", "entries", ("b",), accepted=("rows",)),
    Mistake("classes of the output layer shifted by one", "permuted", ("W", "b")),
    # Of one divided by the number of examples both are true.
    Mistake("bias averaged over the examples", "bias_sum", ("b",), accepted=("factor",)),
    Mistake("weights of classes by inputs", "shape", ("W",), raises=True),
    Mistake("no slope of tanh", "activation_derivative", ("table",)),
    Mistake("temperature detached", "zero", ("heat",)),
)

MODELS = (Model("softmax: bags of tokens", bags, _BAGS),)
