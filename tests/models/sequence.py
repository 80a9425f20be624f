"""Sequences with a lattice behind them: sums over all paths in log space, the best path, and an elastic distance."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models._model import Case, Model
from models._planting import planted

Array = NDArray[np.float64]


def logsumexp(x: Any, axis: int) -> Any:
    largest = np.max(x, axis=axis, keepdims=True)
    return np.squeeze(largest + np.log(np.sum(np.exp(x - largest), axis=axis, keepdims=True)), axis=axis)


def temporal_classification(seed: int, bug: str = "") -> Case:
    """Connectionist temporal classification: np.logaddexp, entry by entry, in a buffer that starts at minus infinity."""
    rng = np.random.default_rng(seed)
    T, symbols = 8, 4
    X, label = rng.standard_normal((T, 5)), [1, 3, 3]
    extended = [0]
    for symbol in label:
        extended += [symbol, 0]
    S = len(extended)
    params = {"W": rng.standard_normal((5, symbols)) * 0.7, "b": rng.standard_normal(symbols) * 0.4}

    def jumps(s: int) -> bool:
        return s >= 2 and extended[s] != 0 and extended[s] != extended[s - 2]

    def emissions(p: Any) -> Any:
        z = X @ p["W"] + p["b"]
        return z - logsumexp(z, 1)[:, None]

    def forward(logs: Any) -> Any:
        alpha = np.full((T, S), -np.inf)
        alpha[0, 0], alpha[0, 1] = logs[0, 0], logs[0, extended[1]]
        for t in range(1, T):
            for s in range(S):
                total = alpha[t - 1, s]
                if s >= 1:
                    total = np.logaddexp(total, alpha[t - 1, s - 1])
                if jumps(s):
                    total = np.logaddexp(total, alpha[t - 1, s - 2])
                alpha[t, s] = total + logs[t, extended[s]]
        return alpha

    def cost(p: Any) -> Any:
        alpha = forward(emissions(p))
        return -np.logaddexp(alpha[T - 1, S - 1], alpha[T - 1, S - 2]) / T

    def gradient(p: Any) -> Any:
        logs = emissions(p)
        alpha = forward(logs)
        beta = np.full((T, S), -np.inf)
        beta[T - 1, S - 2 :] = 0.0
        for t in range(T - 2, -1, -1):
            for s in range(S):
                ahead = [beta[t + 1, s] + logs[t + 1, extended[s]]]
                if s + 1 < S:
                    ahead.append(beta[t + 1, s + 1] + logs[t + 1, extended[s + 1]])
                if s + 2 < S and (jumps(s + 2) or bug == "repeated symbols skipped over"):
                    ahead.append(beta[t + 1, s + 2] + logs[t + 1, extended[s + 2]])
                beta[t, s] = np.logaddexp.reduce(ahead)
        total = np.logaddexp(alpha[-1, -1], alpha[-1, -2])
        occupied = np.zeros((T, symbols))
        for s in range(S):
            if bug == "symbols that occur twice counted once":
                occupied[:, extended[s]] = np.exp(alpha[:, s] + beta[:, s] - total)
            else:
                occupied[:, extended[s]] += np.exp(alpha[:, s] + beta[:, s] - total)
        dz = (np.exp(logs) - occupied) / T
        return {"W": X.T @ dz, "b": dz.sum(axis=0)}

    return Case(cost, params, gradient)


def hidden_markov(seed: int, bug: str = "") -> Case:
    """The forward algorithm of a hidden Markov model on three observed sequences; all tables are softmaxes."""
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(0, 5, length) for length in (7, 4, 9)]
    params = {
        "start": rng.standard_normal(3),
        "transition": rng.standard_normal((3, 3)),
        "emission": rng.standard_normal((3, 5)),
    }

    def tables(p: Any) -> tuple[Any, Any, Any]:
        start = p["start"] - np.logaddexp.reduce(p["start"])
        transition = p["transition"] - logsumexp(p["transition"], 1)[:, None]
        return start, transition, p["emission"] - logsumexp(p["emission"], 1)[:, None]

    def forward(p: Any, observed: Any) -> list[Any]:
        start, transition, emission = tables(p)
        alphas = [start + emission[:, observed[0]]]
        for symbol in observed[1:]:
            alphas.append(logsumexp(alphas[-1][:, None] + transition, 0) + emission[:, symbol])
        return alphas

    def cost(p: Any) -> Any:
        total = 0.0
        for observed in sequences:
            total -= logsumexp(forward(p, observed)[-1], 0) / len(observed)
        return total

    def gradient(p: Any) -> Any:
        start, transition, emission = tables(p)
        counts = {name: np.zeros_like(value) for name, value in p.items()}
        for observed in sequences:
            alphas, share = forward(p, observed), 1 / len(observed)
            total = logsumexp(alphas[-1], 0)
            beta = np.zeros(3)
            for t in range(len(observed) - 1, -1, -1):
                posterior = share * np.exp(alphas[t] + beta - total)
                if bug == "emissions one step late":
                    counts["emission"][:, observed[min(t + 1, len(observed) - 1)]] += posterior
                else:
                    counts["emission"][:, observed[t]] += posterior
                if t == 0:
                    counts["start"] += posterior
                    break
                arriving = beta + emission[:, observed[t]]
                pair = alphas[t - 1][:, None] + transition + arriving - total
                if bug == "emission forgotten in the pairs":
                    pair = alphas[t - 1][:, None] + transition + beta - total
                counts["transition"] += share * np.exp(pair)
                beta = logsumexp(transition + arriving, 1)
        grads = {"start": np.exp(start) * counts["start"].sum() - counts["start"]}
        for name, logs in (("transition", transition), ("emission", emission)):
            grads[name] = np.exp(logs) * counts[name].sum(axis=1, keepdims=True) - counts[name]
            if bug == "normalisation of the rows forgotten":
                grads[name] = -counts[name]
        return grads

    return Case(cost, params, gradient)


class ConditionalRandomField:
    """Tags of sentences of unequal length from a linear layer and a table of transitions."""

    def __init__(self, sentences: Any, bug: str) -> None:
        self.sentences, self.bug = sentences, bug

    def score(self, emissions: Any, tags: Any, p: Any) -> Any:
        steps = np.arange(len(tags))
        inside = p["transitions"][tags[:-1], tags[1:]].sum()
        return p["start"][tags[0]] + emissions[steps, tags].sum() + inside + p["end"][tags[-1]]

    def alphas(self, emissions: Any, p: Any) -> Any:
        rows = [p["start"] + emissions[0]]
        for emission in emissions[1:]:
            rows.append(logsumexp(rows[-1][:, np.newaxis] + p["transitions"], 0) + emission)
        return np.array(rows)

    def loss(self, p: Any) -> Any:
        total = 0
        for features, tags in self.sentences:
            emissions = features @ p["W"]
            total = total + logsumexp(self.alphas(emissions, p)[-1] + p["end"], 0) - self.score(emissions, tags, p)
        return total / sum(len(tags) for _, tags in self.sentences)

    def gradients(self, p: Any) -> Any:
        grads = {name: np.zeros_like(value) for name, value in p.items()}
        for features, tags in self.sentences:
            emissions = features @ p["W"]
            alphas = self.alphas(emissions, p)
            betas = np.zeros_like(alphas)
            betas[-1] = p["end"]
            for t in range(len(tags) - 2, -1, -1):
                betas[t] = logsumexp(p["transitions"] + emissions[t + 1] + betas[t + 1], 1)
            total = logsumexp(alphas[-1] + p["end"], 0)
            marginals = np.exp(alphas + betas - total)
            marginals[np.arange(len(tags)), tags] -= 1
            grads["W"] += features.T @ marginals
            grads["start"] += marginals[0]
            grads["end"] += marginals[0] if self.bug == "end from the first step" else marginals[-1]
            for t in range(1, len(tags)):
                pair = np.exp(alphas[t - 1][:, None] + p["transitions"] + emissions[t] + betas[t] - total)
                grads["transitions"] += pair.T if self.bug == "transitions transposed" else pair
                grads["transitions"][tags[t - 1], tags[t]] -= 1
        count = sum(len(tags) for _, tags in self.sentences)
        if self.bug == "mean over the sentences":
            count = len(self.sentences)
        return {name: value / count for name, value in grads.items()}


def random_field(seed: int, bug: str = "") -> Case:
    """A class again, the forward rows in a list that np.array stacks."""
    rng = np.random.default_rng(seed)
    sentences = [(rng.standard_normal((n, 50)), rng.integers(0, 16, n)) for n in (5, 8, 3)]
    field = ConditionalRandomField(sentences, bug)
    params = {
        "W": rng.standard_normal((50, 16)) * 0.2,
        "transitions": rng.standard_normal((16, 16)) * 0.7,
        "start": rng.standard_normal(16) * 0.5,
        "end": rng.standard_normal(16) * 0.5,
    }
    return Case(field.loss, params, field.gradients)


def best_path(seed: int, bug: str = "") -> Case:
    """A structured margin: the best path with a cost for each wrong tag, by max, against the true one."""
    rng = np.random.default_rng(seed)
    T, tags = 12, 4
    X, true = rng.standard_normal((T, 5)), rng.integers(0, tags, T)
    params = (rng.standard_normal((5, tags)), rng.standard_normal((tags, tags)))
    wrong = 1.0 - np.eye(tags)[true]

    def forward(p: Any) -> tuple[Any, Any, list[Any]]:
        unary = X.dot(p[0])
        best = unary[0] + wrong[0]
        pointers = []
        for t in range(1, T):
            table = best.reshape(-1, 1) + p[1]
            pointers.append(table.argmax(axis=0))
            best = table.max(axis=0) + unary[t] + wrong[t]
        return unary, best, pointers

    def cost(p: Any) -> Any:
        unary, best, _ = forward(p)
        score = unary[0, true[0]]
        for t in range(1, T):
            score = score + p[1][true[t - 1], true[t]] + unary[t, true[t]]
        return (np.max(best) - score) / T + 0.05 * (np.sum(p[0] ** 2) + np.sum(p[1] ** 2))

    def gradient(p: Any) -> Any:
        _, best, pointers = forward(p)
        path = [int(np.argmax(best))]
        for pointer in reversed(pointers):
            path.insert(0, int(pointer[path[0]]))
        dW, dtable = np.zeros_like(p[0]), np.zeros_like(p[1])
        for t in range(T):
            dW[:, path[t]] += X[t]
            dW[:, true[t]] -= X[t]
            if t > 0:
                before = path[t] if bug == "transitions from the same step" else path[t - 1]
                dtable[before, path[t]] += 1
                if bug == "true transitions with the wrong sign":
                    dtable[true[t - 1], true[t]] += 1
                else:
                    dtable[true[t - 1], true[t]] -= 1
        if bug == "half of the penalty":
            return dW / T + 0.05 * p[0], dtable / T + 0.05 * p[1]
        return dW / T + 0.1 * p[0], dtable / T + 0.1 * p[1]

    return Case(cost, params, gradient)


def elastic_distance(seed: int, bug: str = "") -> Case:
    """Soft dynamic time warping between a curve and the output of a layer: Python floats, math.exp and math.log."""
    rng = np.random.default_rng(seed)
    X, target = rng.standard_normal((7, 4)), rng.standard_normal((6, 2))
    params = {"W": rng.standard_normal((4, 2)) * 0.6, "b": rng.standard_normal(2) * 0.4}
    gamma = 0.5

    def table(out: Array) -> list[list[float]]:
        n, m = len(out), len(target)
        total = [[math.inf] * (m + 1) for _ in range(n + 1)]
        total[0][0] = 0.0
        for i in range(1, n + 1):
            for j in range(1, m + 1):
                step = sum((float(a) - float(b)) ** 2 for a, b in zip(out[i - 1], target[j - 1], strict=True))
                before = (total[i - 1][j - 1], total[i - 1][j], total[i][j - 1])
                least = min(before)
                total[i][j] = step + least - gamma * math.log(sum(math.exp((least - value) / gamma) for value in before))
        return total

    def cost(p: Any) -> Any:
        return table(np.tanh(X @ p["W"] + p["b"]))[-1][-1] / 10

    def gradient(p: Any) -> Any:
        out = np.tanh(X @ p["W"] + p["b"])
        total = table(out)
        n, m = len(out), len(target)
        passed = np.zeros((n + 1, m + 1))
        passed[n, m] = 0.1
        dout = np.zeros_like(out)
        for i in range(n, 0, -1):
            for j in range(m, 0, -1):
                here = passed[i, j]
                if bug == "one cell of each row":
                    dout[i - 1] = here * 2 * (out[i - 1] - target[j - 1])
                else:
                    dout[i - 1] += here * 2 * (out[i - 1] - target[j - 1])
                cells = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
                least = min(total[a][b] for a, b in cells)
                weights = [math.exp((least - total[a][b]) / gamma) for a, b in cells]
                if bug == "temperature forgotten":
                    weights = [math.exp(least - total[a][b]) for a, b in cells]
                for (a, b), weight in zip(cells, weights, strict=True):
                    passed[a, b] += here * weight / sum(weights)
        dz = dout * (1 - out**2)
        return {"W": X.T @ dz, "b": dz.sum(axis=0)}

    return Case(cost, params, gradient)


MODELS: tuple[Model, ...] = (
    planted(
        "temporal classification in log space",
        temporal_classification,
        {"symbols that occur twice counted once": ("W", "b"), "repeated symbols skipped over": ("W", "b")},
    ),
    planted(
        "hidden Markov model, forward algorithm",
        hidden_markov,
        {
            "emissions one step late": ("emission",),
            "emission forgotten in the pairs": ("transition",),
            "normalisation of the rows forgotten": ("transition", "emission"),
        },
    ),
    planted(
        "conditional random field in a class",
        random_field,
        {
            "transitions transposed": ("transitions",),
            "end from the first step": ("end",),
            "mean over the sentences": ("W", "transitions", "start", "end"),
        },
    ),
    planted(
        "best path with a margin",
        best_path,
        {
            "transitions from the same step": ("[1]",),
            "true transitions with the wrong sign": ("[1]",),
            "half of the penalty": ("[0]", "[1]"),
        },
    ),
    planted(
        "soft dynamic time warping, Python floats",
        elastic_distance,
        {"one cell of each row": ("W", "b"), "temperature forgotten": ("W", "b")},
        leaves_numpy=True,
    ),
)
