"""Models without hidden layers, or with hardly any: regressions, margins, factorisations, likelihoods.

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


# ---- classification ---------------------------------------------------------------------------------------------------------


def logistic_regression(seed: int, bug: str = "") -> Case:
    """A flat vector, w = theta[:-1] and b = theta[-1]; clipped probabilities; no penalty of the intercept."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((2000, 20)), rng.permutation([0.0, 1.0] * 1000)
    theta = np.append(0.3 * rng.standard_normal(20), 0.5 + 0.1 * rng.random())
    alpha = 0.1

    def probabilities(theta: Any) -> Any:
        w, b = theta[:-1], theta[-1]
        return np.clip(1 / (1 + np.exp(-(np.dot(X, w) + b))), 1e-12, 1 - 1e-12)

    def cost(theta: Any) -> Any:
        p = probabilities(theta)
        w = theta[:-1]
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)) + 0.5 * alpha * np.dot(w, w)

    def gradient(theta: Any) -> Any:
        residual = probabilities(theta) - y
        dw = X.T.dot(residual) / (1 if bug == "no mean in dw" else len(y))
        penalty = theta.copy()
        if bug != "intercept penalised":
            penalty[-1] = 0
        return np.append(dw, residual.mean()) + (0 if bug == "no penalty" else alpha * penalty)

    return Case(cost, theta, gradient)


def linear_svm(seed: int, bug: str = "") -> Case:
    """Dict of a vector and a Python float; hinge loss by np.maximum, penalty by np.linalg.norm."""
    rng = np.random.default_rng(seed)
    params: Params = {"w": 0.4 * rng.standard_normal(15), "b": 0.3 + 0.1 * rng.random()}
    X, y = rng.standard_normal((6000, 15)), rng.choice([-1.0, 1.0], size=6000)
    clear = np.abs(1 - y * (X.dot(params["w"]) + params["b"])) > 0.02  # examples clear of the kink
    X, y = X[clear][:5000], y[clear][:5000]

    def cost(params: Params) -> Any:
        margins = y * (X.dot(params["w"]) + params["b"])
        return np.maximum(0, 1 - margins).sum() / len(y) + 0.05 * np.linalg.norm(params["w"]) ** 2

    def gradient(params: Params) -> Params:
        margins = y * (X.dot(params["w"]) + params["b"])
        violated = margins < (0 if bug == "margin of 0" else 1)
        dw = -X[violated].T.dot(y[violated]) / len(y)
        db = -y[violated].sum() / len(y)
        dw += (0.05 if bug == "penalty halved" else 0.1) * params["w"]
        return {"w": dw, "b": float(db)}

    return Case(cost, params, gradient)


def multiclass_hinge_loops(seed: int, bug: str = "") -> Case:
    """A lone matrix; margins filled one by one in two loops, dW column by column."""
    rng = np.random.default_rng(seed)
    W = 0.4 * rng.standard_normal((8, 5))
    X, y = rng.standard_normal((60, 8)), rng.integers(5, size=60)
    scores = X.dot(W)
    near = np.abs(scores - scores[np.arange(60), y][:, np.newaxis] + 1)
    near[np.arange(60), y] = 1
    clear = near.min(axis=1) > 0.02  # examples clear of the kinks
    X, y = X[clear][:12], y[clear][:12]
    reg = 0.05

    def cost(W: Any) -> Any:
        num_examples, num_classes = X.shape[0], W.shape[1]
        margins = np.zeros((num_examples, num_classes))
        for i in range(num_examples):
            scores = X[i].dot(W)
            for j in range(num_classes):
                if j == y[i]:
                    continue
                margins[i, j] = np.maximum(0, scores[j] - scores[y[i]] + 1)
        return np.sum(margins) / num_examples + reg * np.sum(W * W)

    def gradient(W: Any) -> Any:
        num_examples, num_classes = X.shape[0], W.shape[1]
        dW = np.zeros(W.shape)
        for i in range(num_examples):
            scores = X[i].dot(W)
            for j in range(num_classes):
                if j == y[i] or scores[j] - scores[y[i]] + 1 <= 0:
                    continue
                dW[:, j] += X[i]
                if bug != "right class not pulled":
                    dW[:, y[i]] -= X[i]
        dW /= 1 if bug == "no mean" else num_examples
        return dW + (reg if bug == "penalty halved" else 2 * reg) * W

    return Case(cost, W, gradient)


def multiclass_hinge(seed: int, bug: str = "") -> Case:
    """Dict; the same loss at once: fancy indices, a new axis, the right classes' margins set to 0."""
    rng = np.random.default_rng(seed)
    params: Params = {"W": 0.2 * rng.standard_normal((20, 6)), "b": 0.3 * rng.standard_normal(6)}
    X, y = rng.standard_normal((800, 20)), rng.integers(6, size=800)

    def violations(params: Params, X: Array, y: Any) -> Any:
        scores = X.dot(params["W"]) + params["b"]
        return scores - scores[np.arange(len(y)), y][:, np.newaxis] + 1

    clear = np.abs(violations(params, X, y)).min(axis=1) > 0.01  # examples clear of the kinks
    X, y = X[clear][:500], y[clear][:500]

    def cost(params: Params) -> float:
        margins = np.maximum(0, violations(params, X, y))
        margins[np.arange(len(y)), y] = 0
        return float(np.sum(margins) / len(y) + 0.1 * np.sum(params["W"] ** 2))

    def gradient(params: Params) -> Params:
        dscores = (violations(params, X, y) > 0).astype(float)
        dscores[np.arange(len(y)), y] = 0
        counts = 1 if bug == "right class counted once" else dscores.sum(axis=1)
        dscores[np.arange(len(y)), y] = -counts
        dscores /= len(y)
        db = dscores.mean(axis=0) if bug == "db averaged twice" else dscores.sum(axis=0)
        return {"W": X.T.dot(dscores) + 0.2 * params["W"], "b": db}

    return Case(cost, params, gradient)


def softmax_regression(seed: int, bug: str = "") -> Case:
    """A flat vector of 5,772 parameters, reshaped to W and b; -log p[range(N), y]; the gradient by np.r_."""
    rng = np.random.default_rng(seed)
    features, classes = 480, 12
    theta = 0.05 * rng.standard_normal(features * classes + classes)
    X, y = rng.standard_normal((16, features)), rng.integers(classes, size=16)

    def probabilities(theta: Any) -> Any:
        W = theta[: features * classes].reshape(features, classes)
        b = theta[features * classes :]
        scores = X @ W + b
        scores = np.exp(scores - np.max(scores, axis=1, keepdims=True))
        return scores / np.sum(scores, axis=1, keepdims=True)

    def cost(theta: Any) -> Any:
        p = probabilities(theta)
        return np.sum(-np.log(p[range(len(y)), y])) / len(y) + 0.01 * theta.dot(theta)

    def gradient(theta: Any) -> Any:
        dscores = probabilities(theta)
        dscores[range(len(y)), y] -= 1
        dscores /= len(y)
        dW = X.T @ dscores
        flat = dW.T.reshape(-1) if bug == "reshaped by columns" else dW.reshape(-1)
        db = dscores.sum(axis=0)
        return np.r_[flat, db] + (0.01 if bug == "penalty halved" else 0.02) * theta

    return Case(cost, theta, gradient)


# ---- regression -------------------------------------------------------------------------------------------------------------


def ridge(seed: int, bug: str = "") -> Case:
    """A lone column vector, asserted to be an array; the cost is a (1, 1) matrix of products of columns."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((3000, 60)), rng.standard_normal((3000, 1))
    w = 0.2 * rng.standard_normal((60, 1))
    alpha = 0.5

    def cost(w: Any) -> Any:
        assert isinstance(w, np.ndarray)
        assert w.shape == (60, 1)
        r = X.dot(w) - y
        return (np.dot(r.T, r) / len(X) + alpha * np.dot(w.T, w)) / 2

    def gradient(w: Any) -> Any:
        r = (y - X.dot(w)) if bug == "sign of the residual" else (X.dot(w) - y)
        return X.T.dot(r) / len(X) + (2 * alpha if bug == "penalty doubled" else alpha) * w

    return Case(cost, w, gradient)


def huber(seed: int, bug: str = "") -> Case:
    """List [w, b] with b of shape (1,); the two branches by np.where."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((5000, 10))
    params = [rng.standard_normal(10), rng.standard_normal(1)]
    delta = 1.0
    # Residuals of inliers and of outliers, none of them near the seam.
    sizes = np.where(rng.random(5000) < 0.7, 0.9 * rng.random(5000), 1.1 + 2 * rng.random(5000)) * delta
    y = X @ params[0] + params[1] - sizes * rng.choice([-1.0, 1.0], size=5000)

    def cost(params: list[Any]) -> Any:
        w, b = params
        r = X @ w + b - y
        losses = np.where(np.abs(r) <= delta, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta))
        return losses.mean()

    def gradient(params: list[Any]) -> list[Any]:
        w, b = params
        r = X @ w + b - y
        outliers = np.abs(r) if bug == "outliers without their sign" else np.sign(r)
        dr = np.where(np.abs(r) <= delta, r, delta * outliers)
        dr = r if bug == "outliers not cut" else dr
        return [X.T @ dr / len(y), np.array([dr.sum() if bug == "db summed" else dr.mean()])]

    return Case(cost, params, gradient)


def poisson(seed: int, bug: str = "") -> Case:
    """Dict; a loop over the observations with math.exp, math.lgamma and Python floats."""
    rng = np.random.default_rng(seed)
    X, counts = rng.standard_normal((30, 5)), rng.poisson(1.5, size=30)
    params: Params = {"beta": 0.3 * rng.standard_normal(5), "intercept": np.array(0.3 + 0.1 * rng.random())}

    def cost(params: Params) -> float:
        total = 0.0
        for x, count in zip(X, counts, strict=True):
            eta = float(np.dot(x, params["beta"]) + params["intercept"])
            total += math.exp(eta) - count * eta + math.lgamma(count + 1)
        return total / len(counts)

    def gradient(params: Params) -> Params:
        dbeta, dintercept = np.zeros(5), 0.0
        for x, count in zip(X, counts, strict=True):
            eta = float(np.dot(x, params["beta"]) + params["intercept"])
            residual = (eta if bug == "no exp in the residual" else math.exp(eta)) - count
            dbeta += residual * x
            dintercept = (0.0 if bug == "last observation only" else dintercept) + residual
        return {"beta": dbeta / len(counts), "intercept": np.array(dintercept / len(counts))}

    return Case(cost, params, gradient)


def quantile(seed: int, bug: str = "") -> Case:
    """Tuple of a matrix and a vector, a column for each quantile; pinball losses by np.maximum, masks in the gradient."""
    rng = np.random.default_rng(seed)
    taus = np.array([0.1, 0.5, 0.8])
    params = (0.5 * rng.standard_normal((8, 3)), np.array([-1.0, 0.2, 0.9]) + 0.1 * rng.standard_normal(3))
    X, y = rng.standard_normal((1000, 8)), rng.standard_normal((1000, 1))
    clear = np.abs(y - X @ params[0] - params[1]).min(axis=1) > 0.01  # examples clear of the kink
    X, y = X[clear][:600], y[clear][:600]

    def cost(params: tuple[Any, Any]) -> Any:
        r = y - (np.matmul(X, params[0]) + params[1])
        return np.maximum(taus * r, (taus - 1) * r).sum(axis=1).mean()

    def gradient(params: tuple[Any, Any]) -> tuple[Any, Any]:
        r = y - (np.matmul(X, params[0]) + params[1])
        dr = np.empty_like(r)
        for column, tau in enumerate(taus):
            above = r[:, column] > 0
            dr[above, column] = -tau
            dr[~above, column] = tau if bug == "tau below, too" else 1 - tau
        dr /= r.size if bug == "mean over the quantiles, too" else len(r)
        return np.matmul(X.T, dr), dr.sum(axis=0)

    return Case(cost, params, gradient)


# ---- likelihoods ------------------------------------------------------------------------------------------------------------


def _logsumexp(a: Any, axis: int) -> Any:
    top = np.max(a, axis=axis, keepdims=True)
    return top + np.log(np.sum(np.exp(a - top), axis=axis, keepdims=True))


def gaussian_mixture(seed: int, bug: str = "") -> Case:
    """Dict of logits, means and log standard deviations; three axes by np.newaxis; logsumexp by hand."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((40, 3)) + 2 * rng.integers(2, size=(40, 1))
    params: Params = {
        "logits": 0.5 * rng.standard_normal(4),
        "means": 1 + rng.standard_normal((4, 3)),
        "log_sigmas": 0.3 * rng.standard_normal((4, 3)),
    }

    def forward(params: Params) -> tuple[Any, Any, Any]:
        sigmas = np.exp(params["log_sigmas"])
        scaled = (x[:, np.newaxis, :] - params["means"][np.newaxis]) / sigmas[np.newaxis]
        log_densities = -0.5 * np.sum(scaled**2, axis=2) - params["log_sigmas"].sum(axis=1) - 1.5 * np.log(2 * np.pi)
        log_weights = params["logits"] - _logsumexp(params["logits"], axis=0)
        return scaled, log_densities, log_weights

    def cost(params: Params) -> Any:
        _, log_densities, log_weights = forward(params)
        return -_logsumexp(log_densities + log_weights, axis=1).mean()

    def gradient(params: Params) -> Params:
        scaled, log_densities, log_weights = forward(params)
        joint = log_densities if bug == "responsibilities without the weights" else log_densities + log_weights
        responsibilities = np.exp(joint - _logsumexp(joint, axis=1))
        shares = responsibilities[:, :, np.newaxis] / len(x)
        normaliser = 0 if bug == "normaliser of the density forgotten" else 1
        return {
            "logits": (0 if bug == "normaliser of the weights forgotten" else np.exp(log_weights))
            - responsibilities.mean(axis=0),
            "means": -(shares * scaled).sum(axis=0) / np.exp(params["log_sigmas"]),
            "log_sigmas": -(shares * (scaled**2 - normaliser)).sum(axis=0),
        }

    return Case(cost, params, gradient)


def gaussian_process(seed: int, bug: str = "") -> Case:
    """A flat vector of three logarithms; the marginal likelihood by np.linalg.solve and slogdet."""
    rng = np.random.default_rng(seed)
    x = np.sort(4 * rng.random(32))
    y = np.sin(2 * x) + 0.3 * rng.standard_normal(32)
    distances = (x[:, None] - x[None, :]) ** 2
    theta = np.log([0.8, 1.2, 0.4]) + 0.1 * rng.standard_normal(3)

    def covariance(theta: Any) -> tuple[Any, Any]:
        length, signal, noise = np.exp(theta)
        smooth = signal**2 * np.exp(-0.5 * distances / length**2)
        return smooth, smooth + noise**2 * np.eye(len(x))

    def cost(theta: Any) -> Any:
        _, K = covariance(theta)
        _, logdet = np.linalg.slogdet(K)
        return (y @ np.linalg.solve(K, y) + logdet) / (2 * len(x)) + 0.5 * np.log(2 * np.pi)

    def gradient(theta: Any) -> Any:
        length, _, noise = np.exp(theta)
        smooth, K = covariance(theta)
        alpha = np.linalg.solve(K, y)
        by_length = smooth * distances / length**2
        if bug == "length, not its logarithm":
            by_length = by_length / length
        by_noise = (1 if bug == "2 of the noise's square forgotten" else 2) * noise**2 * np.eye(len(x))
        inverse = np.linalg.inv(K)
        trace = 0 if bug == "no derivative of the log-determinant" else 1
        changes = [trace * np.sum(inverse * dK) - alpha @ dK @ alpha for dK in (by_length, 2 * smooth, by_noise)]
        return np.array(changes) / (2 * len(x))

    return Case(cost, theta, gradient)


# ---- factorisations and ranking ---------------------------------------------------------------------------------------------


def factorization_machine(seed: int, bug: str = "") -> Case:
    """Dict with a 0-d intercept; interactions as the difference of two squares; logistic loss by np.log1p."""
    rng = np.random.default_rng(seed)
    params: Params = {
        "w0": np.array(0.5 + 0.1 * rng.random()),
        "w": 0.3 * rng.standard_normal(12),
        "V": 0.3 * rng.standard_normal((12, 4)),
    }
    X, y = (rng.random((500, 12)) < 0.4).astype(float), rng.permutation([-1.0, 1.0] * 250)

    def scores(params: Params) -> Any:
        V = params["V"]
        interactions = np.sum(X.dot(V) ** 2 - (X**2).dot(V**2), axis=1)
        return params["w0"] + X.dot(params["w"]) + 0.5 * interactions

    def cost(params: Params) -> Any:
        return np.mean(np.log1p(np.exp(-y * scores(params))))

    def gradient(params: Params) -> Params:
        V = params["V"]
        ds = -y / (1 + np.exp(y * scores(params))) / len(y)
        dV = X.T.dot(ds[:, np.newaxis] * X.dot(V))
        if bug != "self-interactions not subtracted":
            dV -= (X**2).T.dot(ds)[:, np.newaxis] * V
        return {
            "w0": ds.mean() if bug == "dw0 averaged twice" else ds.sum(),
            "w": X.T.dot(ds),
            "V": dV / 2 if bug == "halved twice" else dV,
        }

    return Case(cost, params, gradient)


def matrix_factorization(seed: int, bug: str = "") -> Case:
    """Dict of two factors and two biases, 2,709 parameters; a mask of the ratings that are known."""
    rng = np.random.default_rng(seed)
    params: Params = {
        "users": rng.standard_normal((70, 20)) / 4,
        "items": rng.standard_normal((59, 20)) / 4,
        "user_bias": 0.5 * rng.standard_normal(70),
        "item_bias": 0.5 * rng.standard_normal(59),
    }
    ratings, known = rng.standard_normal((70, 59)), rng.random((70, 59)) < 0.3

    def errors(params: Params) -> Any:
        predicted = params["users"] @ params["items"].T + params["user_bias"][:, None] + params["item_bias"][None, :]
        return known * (predicted - ratings)

    def cost(params: Params) -> Any:
        penalty = np.sum(params["users"] ** 2) + np.sum(params["items"] ** 2)
        return np.sum(errors(params) ** 2) / known.sum() + 0.01 * penalty

    def gradient(params: Params) -> Params:
        e = 2 * errors(params) / (known.size if bug == "mean over unknown ratings, too" else known.sum())
        # Alternating updates that see the users' new factors already.
        users = params["users"] - 0.1 * (e @ params["items"]) if bug == "users updated before the items" else params["users"]
        return {
            "users": e @ params["items"] + 0.02 * params["users"],
            "items": e.T @ users + (0 if bug == "items not penalised" else 0.02 * params["items"]),
            "user_bias": e.sum(axis=1),
            "item_bias": e.sum(axis=0),
        }

    return Case(cost, params, gradient)


def pairwise_ranking(seed: int, bug: str = "") -> Case:
    """Dict; RankNet: scores of one hidden layer, pairs by fancy indices, np.add.at where an item is in several pairs."""
    rng = np.random.default_rng(seed)
    params: Params = {
        "W": rng.standard_normal((6, 5)) / 2,
        "b": 0.3 * rng.standard_normal(5),
        "v": rng.standard_normal(5),
    }
    X = rng.standard_normal((800, 6))
    winners = rng.integers(800, size=1600)
    losers = (winners + rng.integers(1, 800, size=1600)) % 800

    def scores(params: Params) -> tuple[Any, Any]:
        hidden = np.tanh(X @ params["W"] + params["b"])
        return hidden, hidden @ params["v"]

    def cost(params: Params) -> Any:
        _, s = scores(params)
        return np.log1p(np.exp(-(s[winners] - s[losers]))).mean()

    def gradient(params: Params) -> Params:
        hidden, s = scores(params)
        dpairs = -1 / (1 + np.exp(s[winners] - s[losers])) / len(winners)
        ds = np.zeros(len(X))
        if bug == "= for +=":
            ds[winners] = dpairs
        else:
            np.add.at(ds, winners, dpairs)
        if bug != "losers not pushed":
            np.subtract.at(ds, losers, dpairs)
        dz = ds[:, np.newaxis] * params["v"]
        if bug != "no slope of tanh":
            dz *= 1 - hidden**2
        return {"W": X.T @ dz, "b": dz.sum(axis=0), "v": hidden.T @ ds}

    return Case(cost, params, gradient)


MODELS: tuple[Model, ...] = (
    Model(
        "logistic regression, flat vector",
        logistic_regression,
        _planted(
            logistic_regression,
            {"no mean in dw": ("params",), "intercept penalised": ("params",), "no penalty": ("params",)},
        ),
    ),
    Model(
        "linear SVM",
        linear_svm,
        _planted(linear_svm, {"margin of 0": ("w", "b"), "penalty halved": ("w",)}),
    ),
    Model(
        "multiclass hinge in loops",
        multiclass_hinge_loops,
        _planted(
            multiclass_hinge_loops,
            {"right class not pulled": ("params",), "no mean": ("params",), "penalty halved": ("params",)},
        ),
    ),
    Model(
        "multiclass hinge",
        multiclass_hinge,
        _planted(multiclass_hinge, {"right class counted once": ("W", "b"), "db averaged twice": ("b",)}),
    ),
    Model(
        "softmax regression, flat vector",
        softmax_regression,
        _planted(softmax_regression, {"reshaped by columns": ("params",), "penalty halved": ("params",)}),
    ),
    Model(
        "ridge regression",
        ridge,
        _planted(ridge, {"sign of the residual": ("params",), "penalty doubled": ("params",)}),
    ),
    Model(
        "Huber regression",
        huber,
        _planted(
            huber,
            {"outliers without their sign": ("[0]", "[1]"), "outliers not cut": ("[0]", "[1]"), "db summed": ("[1]",)},
        ),
    ),
    Model(
        "Poisson regression in a loop",
        poisson,
        _planted(poisson, {"no exp in the residual": ("beta", "intercept"), "last observation only": ("intercept",)}),
        leaves_numpy=True,
    ),
    Model(
        "quantile regression",
        quantile,
        _planted(quantile, {"tau below, too": ("[0]", "[1]"), "mean over the quantiles, too": ("[0]", "[1]")}),
    ),
    Model(
        "Gaussian mixture",
        gaussian_mixture,
        _planted(
            gaussian_mixture,
            {
                "responsibilities without the weights": ("logits", "means", "log_sigmas"),
                "normaliser of the density forgotten": ("log_sigmas",),
                "normaliser of the weights forgotten": ("logits",),
            },
        ),
    ),
    Model(
        "Gaussian process",
        gaussian_process,
        _planted(
            gaussian_process,
            {
                "length, not its logarithm": ("params",),
                "2 of the noise's square forgotten": ("params",),
                "no derivative of the log-determinant": ("params",),
            },
        ),
    ),
    Model(
        "factorisation machine",
        factorization_machine,
        _planted(
            factorization_machine,
            {"self-interactions not subtracted": ("V",), "dw0 averaged twice": ("w0",), "halved twice": ("V",)},
        ),
    ),
    Model(
        "matrix factorisation with a mask",
        matrix_factorization,
        _planted(
            matrix_factorization,
            {
                "mean over unknown ratings, too": ("users", "items", "user_bias", "item_bias"),
                "users updated before the items": ("items",),
                "items not penalised": ("items",),
            },
        ),
    ),
    Model(
        "pairwise ranking",
        pairwise_ranking,
        _planted(
            pairwise_ranking,
            {"= for +=": ("W", "b", "v"), "losers not pushed": ("W", "b", "v"), "no slope of tanh": ("W", "b")},
        ),
    ),
)
