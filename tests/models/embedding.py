"""Embeddings: word vectors in several ways, bags and windows of tokens that occur twice, triplets, pairs of towers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models._model import Case, Model
from models._planting import planted

Array = NDArray[np.float64]


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def skip_gram(seed: int, bug: str = "") -> Case:
    """Word2vec's skip-gram with negative samples in one batch: integer indices, einsum, np.add.at on the way back."""
    rng = np.random.default_rng(seed)
    words, size, N = 60, 12, 64
    centre, context = rng.integers(0, 20, N), rng.integers(0, words, N)
    negative = rng.integers(0, words, (N, 5))
    params = {"W_in": rng.standard_normal((words, size)) * 0.5, "W_out": rng.standard_normal((words, size)) * 0.5}

    def cost(p: Any) -> Any:
        v, u, w = p["W_in"][centre], p["W_out"][context], p["W_out"][negative]
        true = np.sum(v * u, axis=1)
        false = np.einsum("nd,nkd->nk", v, w)
        return -(np.log(sigmoid(true)) + np.log(sigmoid(-false)).sum(axis=1)).mean()

    def gradient(p: Any) -> Any:
        v, u, w = p["W_in"][centre], p["W_out"][context], p["W_out"][negative]
        dtrue = (sigmoid(np.sum(v * u, axis=1)) - 1) / N
        dfalse = sigmoid(np.einsum("nd,nkd->nk", v, w)) / N
        if bug == "negatives weighted as the true word":
            dfalse = dfalse - 1 / N
        dv = dtrue[:, None] * u + np.einsum("nk,nkd->nd", dfalse, w)
        d_in, d_out = np.zeros_like(p["W_in"]), np.zeros_like(p["W_out"])
        if bug == "repeated words written once":
            d_in[centre] += dv
            d_out[context] += dtrue[:, None] * v
            d_out[negative] += dfalse[:, :, None] * v[:, None, :]
        else:
            np.add.at(d_in, centre, dv)
            np.add.at(d_out, context, dtrue[:, None] * v)
            np.add.at(d_out, negative, dfalse[:, :, None] * v[:, None, :])
        return {"W_in": d_in, "W_out": d_out}

    return Case(cost, params, gradient)


def continuous_bag(seed: int, bug: str = "") -> Case:
    """Continuous bag of words with the naive softmax, an example at a time; word vectors in columns."""
    rng = np.random.default_rng(seed)
    corpus = rng.integers(0, 11, 14)
    windows = [(corpus[[i - 2, i - 1, i + 1, i + 2]], corpus[i]) for i in range(2, 12)]
    params = [rng.standard_normal((5, 11)), rng.standard_normal((11, 5)) * 0.6]

    def predict(p: Any, context: Any) -> tuple[Any, Any]:
        hidden = np.mean(p[0][:, context], axis=1)
        scores = np.dot(p[1], hidden)
        e = np.exp(scores - np.max(scores))
        return hidden, e / np.sum(e)

    def cost(p: Any) -> Any:
        total = 0.0
        for context, centre in windows:
            _, probs = predict(p, context)
            total += -np.log(probs[centre])
        return float(total / len(windows))

    def gradient(p: Any) -> Any:
        inner, outer = np.zeros_like(p[0]), np.zeros_like(p[1])
        for context, centre in windows:
            hidden, probs = predict(p, context)
            delta = probs.copy()
            delta[centre] -= 1
            outer += np.outer(delta, hidden)
            dhidden = np.dot(p[1].T, delta) / len(context)
            if bug == "mean of the context taken for a sum":
                dhidden = dhidden * len(context)
            for word in context:
                inner[:, word] += dhidden
        if bug == "sum over the windows in one block":
            return [inner / len(windows), outer]
        return [inner / len(windows), outer / len(windows)]

    return Case(cost, params, gradient)


def mean_of_tokens(seed: int, bug: str = "") -> Case:
    """Texts of unequal length, some with a token twice, as means of embeddings; a penalty of the embeddings used."""
    rng = np.random.default_rng(seed)
    texts = [[1, 4, 4, 2], [0, 3], [5, 6, 5, 5, 1], [7, 2, 8], [9, 0, 0]]
    labels = [0, 2, 1, 2, 0]
    params = {
        "E": rng.standard_normal((10, 6)),
        "W": rng.standard_normal((6, 3)) * 0.8,
        "b": rng.standard_normal(3) * 0.3,
    }

    def forward(p: Any) -> tuple[Any, Any]:
        pooled = np.stack([p["E"][text].mean(axis=0) for text in texts])
        scores = pooled @ p["W"] + p["b"]
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return pooled, e / e.sum(axis=1, keepdims=True)

    def cost(p: Any) -> Any:
        _, probs = forward(p)
        loss = -sum(np.log(probs[i, label]) for i, label in enumerate(labels))
        return loss / len(texts) + 0.01 * np.sum(p["E"] ** 2)

    def gradient(p: Any) -> Any:
        pooled, probs = forward(p)
        dscores = probs.copy()
        for i, label in enumerate(labels):
            dscores[i, label] -= 1
        dscores /= len(texts)
        dpooled = dscores @ p["W"].T
        dE = np.zeros_like(p["E"]) if bug == "penalty forgotten" else 0.02 * p["E"]
        for i, text in enumerate(texts):
            tokens = set(text) if bug == "a token that occurs twice counted once" else text
            for token in tokens:
                dE[token] += dpooled[i] / len(text)
        return {"E": dE, "W": pooled.T @ dscores, "b": dscores.sum(axis=0)}

    return Case(cost, params, gradient)


def glove(seed: int, bug: str = "") -> Case:
    """GloVe's weighted squares, a pair at a time in the cost and all at once in the gradient; np.nonzero, np.bincount."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(2.0, (12, 12)) * rng.integers(0, 2, (12, 12))
    rows, columns = np.nonzero(counts)
    logs = np.log(counts[rows, columns])
    weight = np.minimum(1.0, (counts[rows, columns] / 4) ** 0.75)
    params = {
        "words": rng.standard_normal((12, 5)) * 0.6,
        "contexts": rng.standard_normal((12, 5)) * 0.6,
        "word_bias": rng.standard_normal(12) * 0.4,
        "context_bias": rng.standard_normal(12) * 0.4,
    }

    def cost(p: Any) -> Any:
        total = 0.0
        for k in range(len(rows)):
            i, j = rows[k], columns[k]
            error = np.dot(p["words"][i], p["contexts"][j]) + p["word_bias"][i] + p["context_bias"][j] - logs[k]
            total += weight[k] * error**2
        return total / len(rows)

    def gradient(p: Any) -> Any:
        product = (p["words"][rows] * p["contexts"][columns]).sum(axis=-1)
        errors = product + p["word_bias"][rows] + p["context_bias"][columns] - logs
        d = 2 * weight * errors / len(rows)
        if bug == "weighted twice":
            d = d * weight
        grads = {name: np.zeros_like(value) for name, value in p.items()}
        np.add.at(grads["words"], rows, d[:, None] * p["contexts"][columns])
        np.add.at(grads["contexts"], columns, d[:, None] * p["words"][rows])
        if bug == "rows for columns in the bias":
            np.add.at(grads["context_bias"], rows, d)
        else:
            np.add.at(grads["context_bias"], columns, d)
        grads["word_bias"] += np.bincount(rows, weights=d, minlength=12)
        return grads

    return Case(cost, params, gradient)


def triplets(seed: int, bug: str = "") -> Case:
    """Anchor, positive and negative through one small network, a hinge with a margin on squared distances."""
    rng = np.random.default_rng(seed)
    shift = rng.standard_normal((32, 4))
    anchor, positive, negative = (shift + 0.5 * rng.standard_normal((32, 4)) for _ in range(3))
    params = {
        "W1": rng.standard_normal((4, 6)) * 0.7,
        "b1": rng.standard_normal(6) * 0.3,
        "W2": rng.standard_normal((6, 3)) * 0.7,
    }

    def embed(p: Any, x: Array) -> tuple[Any, Any]:
        hidden = np.tanh(x @ p["W1"] + p["b1"])
        return hidden, hidden @ p["W2"]

    def distances(p: Any) -> tuple[Any, Any, Any]:
        (_, a), (_, q), (_, n) = (embed(p, x) for x in (anchor, positive, negative))
        return a - q, a - n, np.sum((a - q) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1) + 0.5

    def cost(p: Any) -> Any:
        _, _, gap = distances(p)
        return np.mean(np.maximum(gap, 0.0))

    def gradient(p: Any) -> Any:
        near, far, gap = distances(p)
        active = (gap > 0)[:, None] / len(gap)
        if bug == "inactive triplets counted":
            active = np.ones((len(gap), 1)) / len(gap)
        outs = [2 * active * (near - far), -2 * active * near, 2 * active * far]
        if bug == "anchor's own part forgotten":
            outs[0] = 2 * active * near
        grads = {name: np.zeros_like(value) for name, value in p.items()}
        for x, dout in zip((anchor, positive, negative), outs, strict=True):
            hidden, _ = embed(p, x)
            dz = dout @ p["W2"].T * (1 - hidden**2)
            grads["W1"] += x.T @ dz
            grads["b1"] += dz.sum(axis=0)
            if bug == "last branch only":
                grads["W2"] = hidden.T @ dout
            else:
                grads["W2"] += hidden.T @ dout
        return grads

    return Case(cost, params, gradient)


def pairs(seed: int, bug: str = "") -> Case:
    """Two towers, normalised, all pairs of a batch compared both ways; the logarithm of the temperature is a float."""
    rng = np.random.default_rng(seed)
    images, words = rng.standard_normal((6, 5)), rng.standard_normal((6, 4))
    params = {
        "image": {"W": rng.standard_normal((5, 4)), "b": rng.standard_normal(4) * 0.4},
        "text": {"W": rng.standard_normal((4, 4)), "b": rng.standard_normal(4) * 0.4},
        "log_scale": float(rng.uniform(0.3, 0.9)),
    }

    def tower(x: Array, p: Any) -> tuple[Any, Any]:
        out = x @ p["W"] + p["b"]
        norm = np.sqrt((out * out).sum(axis=1, keepdims=True))
        return out / norm, norm

    def log_softmax(logits: Any, axis: int) -> Any:
        shifted = logits - logits.max(axis=axis, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))

    def cost(p: Any) -> Any:
        a, b = tower(images, p["image"])[0], tower(words, p["text"])[0]
        logits = np.exp(p["log_scale"]) * (a @ b.T)
        by_row, by_column = np.diag(log_softmax(logits, 1)), np.diagonal(log_softmax(logits, 0))
        return -(by_row.mean() + by_column.mean()) / 2

    def gradient(p: Any) -> Any:
        (a, a_norm), (b, b_norm) = tower(images, p["image"]), tower(words, p["text"])
        scale = np.exp(p["log_scale"])
        logits = scale * (a @ b.T)
        dlogits = (np.exp(log_softmax(logits, 1)) + np.exp(log_softmax(logits, 0)) - 2 * np.eye(6)) / 12
        if bug == "one direction only":
            dlogits = (np.exp(log_softmax(logits, 1)) - np.eye(6)) / 6
        da, db = scale * dlogits @ b, scale * dlogits.T @ a
        if bug == "pairs not transposed":
            db = scale * dlogits @ a
        da = (da - a * (da * a).sum(axis=1, keepdims=True)) / a_norm
        db = (db - b * (db * b).sum(axis=1, keepdims=True)) / b_norm
        dscale = np.sum(dlogits * (a @ b.T))
        return {
            "image": {"W": images.T @ da, "b": da.sum(axis=0)},
            "text": {"W": words.T @ db, "b": db.sum(axis=0)},
            "log_scale": dscale if bug == "slope in the scale for its logarithm" else dscale * scale,
        }

    return Case(cost, params, gradient)


def window(seed: int, bug: str = "") -> Case:
    """A neural language model: three embeddings joined, a hidden layer, all words; tokens twice in a window and a batch."""
    rng = np.random.default_rng(seed)
    words, size, hidden, N = 50, 12, 32, 24
    contexts, following = rng.integers(0, words, (N, 3)), rng.integers(0, words, N)
    contexts[0, 1] = contexts[0, 0]
    params = {
        "C": rng.standard_normal((words, size)),
        "W1": rng.standard_normal((3 * size, hidden)) / 6,
        "b1": rng.standard_normal(hidden) * 0.3,
        "W2": rng.standard_normal((hidden, words)) / 5,
        "b2": rng.standard_normal(words) * 0.3,
    }

    def forward(p: Any) -> tuple[Any, Any, Any]:
        joined = p["C"][contexts].reshape(N, -1)
        h = np.tanh(joined @ p["W1"] + p["b1"])
        logits = h @ p["W2"] + p["b2"]
        counts = np.exp(logits - logits.max(1, keepdims=True))
        return joined, h, counts * counts.sum(1, keepdims=True) ** -1

    def cost(p: Any) -> Any:
        _, _, probs = forward(p)
        return -np.log(probs[range(N), following]).mean().item()

    def gradient(p: Any) -> Any:
        joined, h, probs = forward(p)
        dlogits = probs.copy()
        dlogits[range(N), following] -= 1
        dlogits /= N
        dz = dlogits @ p["W2"].T * (1 - h**2)
        dC = np.zeros_like(p["C"])
        djoined = (dz @ p["W1"].T).reshape(N, 3, size)
        if bug == "positions of the window in reverse":
            djoined = djoined[:, ::-1]
        if bug == "repeated tokens written once":
            dC[contexts] += djoined
        else:
            for n in range(N):
                for position in range(3):
                    dC[contexts[n, position]] += djoined[n, position]
        db1 = dz.sum(0)
        if bug == "hidden bias averaged":
            db1 = dz.mean(0)
        return {"C": dC, "W1": joined.T @ dz, "b1": db1, "W2": h.T @ dlogits, "b2": dlogits.sum(0)}

    return Case(cost, params, gradient)


MODELS: tuple[Model, ...] = (
    planted(
        "skip-gram with negative samples",
        skip_gram,
        {"repeated words written once": ("W_in", "W_out"), "negatives weighted as the true word": ("W_in", "W_out")},
    ),
    planted(
        "continuous bag of words, naive softmax",
        continuous_bag,
        {"mean of the context taken for a sum": ("[0]",), "sum over the windows in one block": ("[1]",)},
    ),
    planted(
        "mean of embeddings, texts of unequal length",
        mean_of_tokens,
        {"a token that occurs twice counted once": ("E",), "penalty forgotten": ("E",)},
    ),
    planted(
        "GloVe",
        glove,
        {
            "weighted twice": ("words", "contexts", "word_bias", "context_bias"),
            "rows for columns in the bias": ("context_bias",),
        },
    ),
    planted(
        "triplets with a margin",
        triplets,
        {
            "inactive triplets counted": ("W1", "b1", "W2"),
            "anchor's own part forgotten": ("W1", "b1", "W2"),
            "last branch only": ("W2",),
        },
    ),
    planted(
        "contrast of two towers over all pairs",
        pairs,
        {
            "one direction only": ("image.W", "image.b", "text.W", "text.b", "log_scale"),
            "pairs not transposed": ("text.W", "text.b"),
            "slope in the scale for its logarithm": ("log_scale",),
        },
    ),
    planted(
        "language model of a window of embeddings",
        window,
        {
            "repeated tokens written once": ("C",),
            "positions of the window in reverse": ("C",),
            "hidden bias averaged": ("b1",),
        },
    ),
)
