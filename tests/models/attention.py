"""Attention: one head and many, causal, padded, across, additive, with relative positions, and a whole block of it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models._model import Case, Model
from models._planting import planted

Array = NDArray[np.float64]


def softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def softmax_back(probs: Any, dprobs: Any) -> Any:
    return probs * (dprobs - np.sum(dprobs * probs, axis=-1, keepdims=True))


def causal(seed: int, bug: str = "") -> Case:
    """One head on one sequence; the future is hidden by adding -1e9 to its scores."""
    rng = np.random.default_rng(seed)
    T, d = 20, 5
    X, target = rng.standard_normal((T, d)), rng.integers(0, 4, T)
    params = {name: rng.standard_normal((d, d)) * 0.6 for name in ("Wq", "Wk", "Wv")}
    params["Wo"] = rng.standard_normal((d, 4))
    hidden = -1e9 * np.triu(np.ones((T, T)), k=1)

    def forward(p: Any) -> tuple[Any, ...]:
        Q, K, V = X.dot(p["Wq"]), X.dot(p["Wk"]), X.dot(p["Wv"])
        scores = Q.dot(K.T) / np.sqrt(d) + hidden
        scores -= scores.max(axis=1, keepdims=True)
        weights = np.exp(scores)
        weights /= weights.sum(axis=1, keepdims=True)
        out = weights.dot(V)
        return Q, K, V, weights, out, softmax(out.dot(p["Wo"]))

    def cost(p: Any) -> Any:
        probs = forward(p)[-1]
        return float(np.mean(-np.log(probs[np.arange(T), target])))

    def gradient(p: Any) -> Any:
        Q, K, V, weights, out, probs = forward(p)
        dlogits = (probs - np.eye(4)[target]) / T
        dout = dlogits.dot(p["Wo"].T)
        dweights = dout.dot(V.T)
        dscores = weights * (dweights - (dweights * weights).sum(axis=1, keepdims=True))
        if bug == "softmax summed over the wrong axis":
            dscores = weights * (dweights - (dweights * weights).sum(axis=0, keepdims=True))
        if bug != "scale forgotten":
            dscores = dscores / np.sqrt(d)
        dQ, dK, dV = dscores.dot(K), dscores.T.dot(Q), weights.T.dot(dout)
        if bug == "scores not transposed for the keys":
            dK = dscores.dot(Q)
        return {"Wq": X.T.dot(dQ), "Wk": X.T.dot(dK), "Wv": X.T.dot(dV), "Wo": out.T.dot(dlogits)}

    return Case(cost, params, gradient)


def multi_head(seed: int, bug: str = "") -> Case:
    """Four heads by reshape and transpose on a batch; the future is hidden by np.where and minus infinity."""
    rng = np.random.default_rng(seed)
    N, T, D, H = 4, 6, 16, 4
    x, y = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, D))
    # No bias of the keys: it would move all scores of a row alike, and change no weight.
    params = {"W" + name: rng.standard_normal((D, D)) / 3 for name in "qkvo"}
    params |= {"b" + name: rng.standard_normal(D) * 0.3 for name in "qvo"}
    visible = np.tril(np.ones((T, T), dtype=bool))

    def split(a: Any) -> Any:
        return a.reshape(N, T, H, D // H).transpose(0, 2, 1, 3)

    def merge(a: Any) -> Any:
        return a.transpose(0, 2, 1, 3).reshape(N, T, D)

    def forward(p: Any) -> tuple[Any, ...]:
        q, k, v = split(x @ p["Wq"] + p["bq"]), split(x @ p["Wk"]), split(x @ p["Wv"] + p["bv"])
        scores = np.matmul(q, k.transpose(0, 1, 3, 2)) / np.sqrt(D / H)
        weights = softmax(np.where(visible, scores, -np.inf))
        merged = merge(np.matmul(weights, v))
        return q, k, v, weights, merged, merged @ p["Wo"] + p["bo"]

    def cost(p: Any) -> Any:
        out = forward(p)[-1]
        return np.mean((out - y) ** 2)

    def gradient(p: Any) -> Any:
        q, k, v, weights, merged, out = forward(p)
        dout = 2 * (out - y) / y.size
        grads = {"Wo": merged.reshape(-1, D).T @ dout.reshape(-1, D), "bo": dout.sum(axis=(0, 1))}
        dheads = split(dout @ p["Wo"].T)
        if bug == "heads split without a transpose":
            dheads = (dout @ p["Wo"].T).reshape(N, H, T, D // H)
        dv = np.matmul(weights.transpose(0, 1, 3, 2), dheads)
        dscores = softmax_back(weights, np.matmul(dheads, v.transpose(0, 1, 3, 2)))
        if bug == "softmax taken for a sigmoid":
            dscores = weights * (1 - weights) * np.matmul(dheads, v.transpose(0, 1, 3, 2))
        dscores /= np.sqrt(D) if bug == "width of all heads in the scale" else np.sqrt(D / H)
        dq, dk = np.matmul(dscores, k), np.matmul(dscores.transpose(0, 1, 3, 2), q)
        for name, dhead in zip("qkv", (dq, dk, dv), strict=True):
            dflat = merge(dhead).reshape(-1, D)
            grads["W" + name] = x.reshape(-1, D).T @ dflat
            if "b" + name in p:
                grads["b" + name] = dflat.sum(axis=0)
        return grads

    return Case(cost, params, gradient)


def einsum_heads(seed: int, bug: str = "") -> Case:
    """Two heads with weights of shape (heads, width, size), einsum for every product; nested dicts."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((3, 5, 4)), rng.standard_normal((3, 4))
    params = {
        "project": {name: rng.standard_normal((2, 4, 3)) * 0.7 for name in ("query", "key", "value")},
        "out": {"kernel": rng.standard_normal((2, 3, 4)) * 0.6, "bias": rng.standard_normal(4) * 0.4},
    }

    def forward(p: Any) -> tuple[Any, ...]:
        q, k, v = (np.einsum("btd,hdk->bhtk", x, p["project"][name]) for name in ("query", "key", "value"))
        weights = softmax(np.einsum("bhik,bhjk->bhij", q, k) * 3**-0.5)
        context = np.einsum("bhij,bhjk->bhik", weights, v)
        out = np.einsum("bhtk,hkd->btd", context, p["out"]["kernel"]) + p["out"]["bias"]
        return q, k, v, weights, context, np.tanh(out).mean(axis=1), out

    def cost(p: Any) -> Any:
        pooled = forward(p)[5]
        return 0.5 * np.einsum("bd,bd->", pooled - y, pooled - y) / 3

    def gradient(p: Any) -> Any:
        q, k, v, weights, context, pooled, out = forward(p)
        dout = np.broadcast_to((pooled - y)[:, None, :] / 15, out.shape) * (1 - np.tanh(out) ** 2)
        dcontext = np.einsum("btd,hkd->bhtk", dout, p["out"]["kernel"])
        dweights = np.einsum("bhik,bhjk->bhij", dcontext, v)
        dscores = softmax_back(weights, dweights) * 3**-0.5
        if bug == "slope of softmax forgotten":
            dscores = weights * dweights * 3**-0.5
        dq, dk = np.einsum("bhij,bhjk->bhik", dscores, k), np.einsum("bhij,bhik->bhjk", dscores, q)
        dv = np.einsum("bhij,bhik->bhjk", weights, dcontext)
        if bug == "queries for keys":
            dq, dk = dk, dq
        if bug == "weights not transposed":
            dv = np.einsum("bhij,bhjk->bhik", weights, dcontext)
        through = {"query": dq, "key": dk, "value": dv}
        return {
            "project": {name: np.einsum("btd,bhtk->hdk", x, part) for name, part in through.items()},
            "out": {"kernel": np.einsum("bhtk,btd->hkd", context, dout), "bias": np.einsum("btd->d", dout)},
        }

    return Case(cost, params, gradient)


def across(seed: int, bug: str = "") -> Case:
    """A sequence that looks at an encoded one, padding hidden by assignment to a boolean mask; residual, two inputs."""
    rng = np.random.default_rng(seed)
    queries, source = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 6, 5))
    padding = np.arange(6) >= np.array([[4], [6]])
    labels = rng.integers(0, 3, (2, 4))
    params = [
        {"W": rng.standard_normal((5, 4)) * 0.6, "b": rng.standard_normal(4) * 0.3},
        {"Wq": rng.standard_normal((3, 4)), "Wk": rng.standard_normal((4, 4)) * 0.8, "Wv": rng.standard_normal((4, 3))},
        {"W": rng.standard_normal((3, 3)) * 0.8, "b": rng.standard_normal(3) * 0.3},
    ]

    def forward(p: Any) -> tuple[Any, ...]:
        encoder, attention, head = p
        memory = np.tanh(source @ encoder["W"] + encoder["b"])
        q, k, v = queries @ attention["Wq"], memory @ attention["Wk"], memory @ attention["Wv"]
        scores = q @ np.swapaxes(k, 1, 2) / 2.0
        scores[np.broadcast_to(padding[:, None, :], scores.shape)] = -1e9
        weights = softmax(scores)
        hidden = queries + weights @ v
        return memory, q, k, v, weights, hidden, softmax(hidden @ head["W"] + head["b"])

    def cost(p: Any) -> Any:
        probs = forward(p)[-1].reshape(8, 3)
        return -np.log(probs[np.arange(8), labels.ravel()]).sum() / 8

    def gradient(p: Any) -> Any:
        _, attention, head = p
        memory, q, k, v, weights, hidden, probs = forward(p)
        dlogits = (probs - np.eye(3)[labels]) / 8
        dhead = {"W": np.einsum("bti,btj->ij", hidden, dlogits), "b": dlogits.sum(axis=(0, 1))}
        dhidden = dlogits @ head["W"].T
        dv = np.swapaxes(weights, 1, 2) @ dhidden
        dscores = softmax_back(weights, dhidden @ np.swapaxes(v, 1, 2)) / 2.0
        dq, dk = dscores @ k, np.swapaxes(dscores, 1, 2) @ q
        dmemory = dk @ attention["Wk"].T + dv @ attention["Wv"].T
        if bug == "memory reached through the values only":
            dmemory = dv @ attention["Wv"].T
        dz = dmemory * (1 - memory**2)
        dattention = {
            "Wq": np.tensordot(queries, dq, axes=([0, 1], [0, 1])),
            "Wk": np.tensordot(memory, dk, axes=([0, 1], [0, 1])),
            "Wv": np.tensordot(memory, dv, axes=([0, 1], [0, 1])),
        }
        if bug == "last sequence of the batch only":
            dattention["Wk"] = memory[-1].T @ dk[-1]
        dencoder = {"W": np.tensordot(source, dz, axes=([0, 1], [0, 1])), "b": np.sum(dz, axis=(0, 1))}
        if bug == "bias of the mean over the source":
            dencoder["b"] = np.sum(np.mean(dz, axis=1), axis=0)
        return [dencoder, dattention, dhead]

    return Case(cost, params, gradient)


ROOT = np.sqrt(2 / np.pi)


def gelu(z: Any) -> Any:
    return 0.5 * z * (1 + np.tanh(ROOT * (z + 0.044715 * z**3)))


def gelu_slope(z: Any) -> Any:
    t = np.tanh(ROOT * (z + 0.044715 * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * ROOT * (1 + 3 * 0.044715 * z**2)


def layer_norm(h: Any, p: Any) -> tuple[Any, Any]:
    centred = h - h.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return p["gain"] * (centred * scale) + p["bias"], (centred * scale, scale)


def layer_norm_back(grad: Any, p: Any, cache: Any) -> tuple[Any, dict[str, Any]]:
    normal, scale = cache
    dnormal = grad * p["gain"]
    dh = dnormal - dnormal.mean(axis=-1, keepdims=True) - normal * (dnormal * normal).mean(axis=-1, keepdims=True)
    return dh * scale, {"gain": (grad * normal).sum(axis=(0, 1)), "bias": grad.sum(axis=(0, 1))}


class Transformer:
    """A language model of one block, layer norm first, output tied to the embedding; nested dicts and a list."""

    N, T, D, H, V, F = 4, 8, 16, 2, 20, 32

    def __init__(self, tokens: Any, bug: str) -> None:
        self.inputs, self.targets, self.bug = tokens[:, :-1], tokens[:, 1:], bug
        self.mask = np.triu(np.full((self.T, self.T), -1e9), 1)

    def parameters(self, rng: np.random.Generator) -> dict[str, Any]:
        D, F = self.D, self.F

        def norm() -> dict[str, Array]:
            return {"gain": rng.uniform(0.7, 1.3, D), "bias": rng.standard_normal(D) * 0.2}

        mlp = {
            "W1": rng.standard_normal((D, F)) / 4,
            "b1": rng.standard_normal(F) * 0.2,
            "W2": rng.standard_normal((F, D)) / 6,
            "b2": rng.standard_normal(D) * 0.2,
        }
        attention = {name: rng.standard_normal((D, D)) / 3 for name in ("Wq", "Wk", "Wv", "Wo")}
        return {
            "embedding": {"tokens": rng.standard_normal((self.V, D)) * 0.5, "positions": rng.standard_normal((self.T, D)) * 0.5},
            "blocks": [{"norm1": norm(), "attention": attention, "norm2": norm(), "mlp": mlp}],
            "norm": norm(),
        }

    def heads(self, a: Any) -> Any:
        return a.reshape(self.N, self.T, self.H, -1).transpose(0, 2, 1, 3)

    def joined(self, a: Any) -> Any:
        return a.transpose(0, 2, 1, 3).reshape(self.N, self.T, self.D)

    def attend(self, h: Any, p: Any) -> tuple[Any, Any]:
        q, k, v = (self.heads(h @ p[name]) for name in ("Wq", "Wk", "Wv"))
        weights = softmax(q @ k.swapaxes(-1, -2) / np.sqrt(self.D // self.H) + self.mask)
        mixed = self.joined(weights @ v)
        return mixed @ p["Wo"], (h, q, k, v, weights, mixed)

    def attend_back(self, grad: Any, p: Any, cache: Any) -> tuple[Any, dict[str, Any]]:
        h, q, k, v, weights, mixed = cache
        grads = {"Wo": np.einsum("bti,btj->ij", mixed, grad)}
        dmixed = self.heads(grad @ p["Wo"].T)
        dscores = softmax_back(weights, dmixed @ v.swapaxes(-1, -2)) / np.sqrt(self.D // self.H)
        if self.bug == "scale of attention forgotten":
            dscores = dscores * np.sqrt(self.D // self.H)
        through = {"Wq": dscores @ k, "Wk": dscores.swapaxes(-1, -2) @ q, "Wv": weights.swapaxes(-1, -2) @ dmixed}
        dh = np.zeros_like(h)
        for name, part in through.items():
            flat = self.joined(part)
            grads[name] = np.einsum("bti,btj->ij", h, flat)
            dh += flat @ p[name].T
        return dh, grads

    def forward(self, params: Any) -> tuple[Any, list[Any]]:
        block, table = params["blocks"][0], params["embedding"]["tokens"]
        h0 = table[self.inputs] + params["embedding"]["positions"]
        n1, cache1 = layer_norm(h0, block["norm1"])
        attended, cache2 = self.attend(n1, block["attention"])
        h1 = h0 + attended
        n2, cache3 = layer_norm(h1, block["norm2"])
        z = n2 @ block["mlp"]["W1"] + block["mlp"]["b1"]
        h2 = h1 + gelu(z) @ block["mlp"]["W2"] + block["mlp"]["b2"]
        n3, cache4 = layer_norm(h2, params["norm"])
        return n3 @ table.T, [cache1, cache2, n2, cache3, z, n3, cache4]

    def loss(self, params: Any) -> Any:
        logits, _ = self.forward(params)
        shifted = logits - logits.max(axis=-1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return -np.mean(logs[np.arange(self.N)[:, None], np.arange(self.T), self.targets])

    def gradients(self, params: Any) -> Any:
        block, table = params["blocks"][0], params["embedding"]["tokens"]
        logits, (cache1, cache2, n2, cache3, z, n3, cache4) = self.forward(params)
        dlogits = (softmax(logits) - np.eye(self.V)[self.targets]) / self.targets.size
        dh2, norm = layer_norm_back(dlogits @ table, params["norm"], cache4)
        mlp = {"W2": np.einsum("btf,btd->fd", gelu(z), dh2), "b2": dh2.sum(axis=(0, 1))}
        dz = dh2 @ block["mlp"]["W2"].T * gelu_slope(z)
        if self.bug == "gelu's slope as a sigmoid's":
            dz = dh2 @ block["mlp"]["W2"].T / (1 + np.exp(-1.702 * z))
        mlp |= {"W1": np.einsum("btd,btf->df", n2, dz), "b1": dz.sum(axis=(0, 1))}
        dh1, norm2 = layer_norm_back(dz @ block["mlp"]["W1"].T, block["norm2"], cache3)
        if self.bug != "residual around the second part forgotten":
            dh1 = dh1 + dh2
        dn1, attention = self.attend_back(dh1, block["attention"], cache2)
        dh0, norm1 = layer_norm_back(dn1, block["norm1"], cache1)
        dh0 = dh0 + dh1
        dtokens = np.zeros_like(table)
        np.add.at(dtokens, self.inputs, dh0)
        if self.bug != "tied weights counted once":
            dtokens += np.einsum("btv,btd->vd", dlogits, n3)
        return {
            "embedding": {"tokens": dtokens, "positions": dh0.sum(axis=0)},
            "blocks": [{"norm1": norm1, "attention": attention, "norm2": norm2, "mlp": mlp}],
            "norm": norm,
        }


def transformer(seed: int, bug: str = "") -> Case:
    """Nested parameters, more than two thousand of them."""
    rng = np.random.default_rng(seed)
    model = Transformer(rng.integers(0, Transformer.V, (Transformer.N, Transformer.T + 1)), bug)
    return Case(model.loss, model.parameters(rng), model.gradients)


def additive(seed: int, bug: str = "") -> Case:
    """A decoder that attends at each step with v·tanh(W s + U h), its caches in a list of dicts."""
    rng = np.random.default_rng(seed)
    S, steps, n, a = 5, 4, 4, 3
    H, Y = rng.standard_normal((S, 4)), rng.standard_normal((steps, 2))
    params = {
        "s0": rng.standard_normal(n) * 0.5,
        "Wa": rng.standard_normal((n, a)),
        "Ua": rng.standard_normal((4, a)) * 0.7,
        "va": rng.standard_normal(a) * 1.5,
        "Ws": rng.standard_normal((n, n)) * 0.5,
        "Wc": rng.standard_normal((4, n)) * 0.6,
        "b": rng.standard_normal(n) * 0.3,
        "Wy": rng.standard_normal((n, 2)) * 0.8,
    }

    def forward(p: Any) -> tuple[Any, list[dict[str, Any]]]:
        s, caches = p["s0"], []
        keys = H @ p["Ua"]
        loss = 0.0
        for t in range(steps):
            hidden = np.tanh(s @ p["Wa"] + keys)
            e = hidden @ p["va"]
            alpha = np.exp(e - np.max(e))
            alpha = alpha / np.sum(alpha)
            c = alpha @ H
            previous, s = s, np.tanh(s @ p["Ws"] + c @ p["Wc"] + p["b"])
            residual = s @ p["Wy"] - Y[t]
            loss = loss + 0.5 * np.sum(residual**2)
            caches.append({"hidden": hidden, "alpha": alpha, "c": c, "before": previous, "s": s, "residual": residual})
        return loss / steps, caches

    def cost(p: Any) -> Any:
        loss, _ = forward(p)
        return loss

    def gradient(p: Any) -> Any:
        _, caches = forward(p)
        g = {name: np.zeros_like(value) for name, value in p.items()}
        ds = np.zeros(n)
        for cache in reversed(caches):
            dresidual = cache["residual"] / steps
            g["Wy"] += np.outer(cache["s"], dresidual)
            ds = ds + p["Wy"] @ dresidual
            dz = ds * (1 - cache["s"] ** 2)
            g["Ws"] += np.outer(cache["before"], dz)
            g["Wc"] += np.outer(cache["c"], dz)
            g["b"] += dz
            dalpha = H @ (p["Wc"] @ dz)
            de = cache["alpha"] * (dalpha - cache["alpha"] @ dalpha)
            if bug == "v assigned at each step":
                g["va"] = cache["hidden"].T @ de
            else:
                g["va"] += cache["hidden"].T @ de
            dhidden = np.outer(de, p["va"]) * (1 - cache["hidden"] ** 2)
            g["Ua"] += H.T @ dhidden
            g["Wa"] += np.outer(cache["before"], dhidden.sum(axis=0))
            ds = p["Ws"] @ dz
            if bug == "state transposed on the way back":
                ds = dz @ p["Ws"]
            if bug != "way through the scores forgotten":
                ds = ds + p["Wa"] @ dhidden.sum(axis=0)
        g["s0"] = ds
        return g

    return Case(cost, params, gradient)


def relative(seed: int, bug: str = "") -> Case:
    """Two heads with a learnt bias for each distance, looked up by an array of integers; a tuple of parameters."""
    rng = np.random.default_rng(seed)
    T, d, heads = 5, 4, 2
    x, y = rng.standard_normal((T, d)), rng.standard_normal((T, 3))
    distance = np.clip(np.arange(T)[:, None] - np.arange(T), -2, 2) + 2
    params = (
        rng.standard_normal((heads, 5)) * 0.7,
        rng.standard_normal((3, heads, d, 3)) * 0.6,
        rng.standard_normal((heads * 3, 3)) * 0.5,
        rng.standard_normal((1, 3)) * 0.3,
    )

    def forward(p: Any) -> tuple[Any, ...]:
        table, project, out, bias = p
        q, k, v = x @ project[0], x @ project[1], x @ project[2]
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(3) + table[:, distance]
        weights = softmax(scores)
        mixed = weights @ v
        joined = np.hstack([mixed[0], mixed[1]])
        return q, k, v, weights, joined, joined @ out + bias

    def cost(p: Any) -> Any:
        prediction = forward(p)[-1]
        return np.sum(np.log(np.cosh(prediction - y))) / T

    def gradient(p: Any) -> Any:
        _, _, out, _ = p
        q, k, v, weights, joined, prediction = forward(p)
        dprediction = np.tanh(prediction - y) / T
        djoined = dprediction @ out.T
        dmixed = np.stack([djoined[:, :3], djoined[:, 3:]])
        if bug == "heads exchanged":
            dmixed = dmixed[::-1]
        dscores = softmax_back(weights, dmixed @ v.transpose(0, 2, 1))
        dtable = np.zeros((heads, 5))
        for head in range(heads):
            if bug == "one pair for each distance":
                dtable[head, distance] = dscores[head]
            else:
                np.add.at(dtable[head], distance, dscores[head])
        dscores = dscores / np.sqrt(3)
        dq, dk, dv = dscores @ k, dscores.transpose(0, 2, 1) @ q, weights.transpose(0, 2, 1) @ dmixed
        dproject = np.stack([x.T @ dq, x.T @ dk, x.T @ dv])
        return dtable, dproject, joined.T @ dprediction, dprediction.sum(axis=0, keepdims=True)

    return Case(cost, params, gradient)


# Blocks of the transformer that an error reaches before its first part, and through that part.
BEFORE = ("embedding.tokens", "embedding.positions", "blocks[0].norm1.gain", "blocks[0].norm1.bias")
FIRST = tuple(f"blocks[0].attention.{name}" for name in ("Wq", "Wk", "Wv", "Wo"))
SECOND = ("blocks[0].norm2.gain", "blocks[0].norm2.bias", "blocks[0].mlp.W1", "blocks[0].mlp.b1")

MODELS: tuple[Model, ...] = (
    planted(
        "causal attention, one head, a mask of -1e9",
        causal,
        {
            "scale forgotten": ("Wq", "Wk"),
            "softmax summed over the wrong axis": ("Wq", "Wk"),
            "scores not transposed for the keys": ("Wk",),
        },
    ),
    planted(
        "four heads by reshape, a mask of minus infinity",
        multi_head,
        {
            "heads split without a transpose": ("Wq", "Wk", "Wv", "bq", "bv"),
            "softmax taken for a sigmoid": ("Wq", "Wk", "bq"),
            "width of all heads in the scale": ("Wq", "Wk", "bq"),
        },
    ),
    planted(
        "two heads by einsum",
        einsum_heads,
        {
            "slope of softmax forgotten": ("project.query", "project.key"),
            "queries for keys": ("project.query", "project.key"),
            "weights not transposed": ("project.value",),
        },
    ),
    planted(
        "attention across two sequences, padded",
        across,
        {
            "memory reached through the values only": ("[0].W", "[0].b"),
            "bias of the mean over the source": ("[0].b",),
            "last sequence of the batch only": ("[1].Wk",),
        },
    ),
    planted(
        "transformer block with tied embedding",
        transformer,
        {
            "scale of attention forgotten": BEFORE + FIRST[:2],
            "gelu's slope as a sigmoid's": BEFORE + FIRST + SECOND,
            "residual around the second part forgotten": BEFORE + FIRST,
            "tied weights counted once": ("embedding.tokens",),
        },
    ),
    planted(
        "additive attention in a recurrent decoder",
        additive,
        {
            "v assigned at each step": ("va",),
            "state transposed on the way back": ("s0", "Wa", "Ua", "va", "Ws", "Wc", "b"),
            "way through the scores forgotten": ("s0", "Wa", "Ua", "va", "Ws", "Wc", "b"),
        },
    ),
    planted(
        "attention with a bias of relative positions",
        relative,
        {"one pair for each distance": ("[0]",), "heads exchanged": ("[0]", "[1]")},
    ),
)
