"""Recurrent networks: memory cells whose gates have weights of their own, and leaky units that read tokens."""

from typing import Any

import numpy as np
from models._model import Case
from numpy.typing import NDArray

from ._mistake import Mistake, Model
from ._parts import Array, Params, drawn, extent, halved, sigmoid

# ---- memory cells -----------------------------------------------------------------------------------------------------------

_GATES = "fog"


class _Memory:
    """Cells that forget as much as they take in; each step's output is squared and averaged; the first state is given."""

    def __init__(self, x: Array, y: Array, first: Array, mistake: str) -> None:
        self.x, self.y, self.first, self.mistake = x, y, first, mistake

    def forward(self, p: Params) -> tuple[list[Params], list[Any]]:
        h = c = self.first
        caches: list[Params] = []
        errors: list[Any] = []
        for x, y in zip(self.x, self.y, strict=True):
            joined = np.concatenate([x, h], axis=1)
            f, o = (sigmoid(joined @ p["W" + gate] + p["b" + gate]) for gate in "fo")
            g = np.tanh(joined @ p["Wg"] + p["bg"])
            before, c = c, g + f * (c - g)
            h = o * np.tanh(c)
            caches.append({"joined": joined, "f": f, "o": o, "g": g, "before": before, "c": c, "h": h})
            errors.append(h @ p["V"] + p["d"] - y)
        return caches, errors

    def cost(self, p: Params) -> Any:
        return 0.5 * np.sum(np.stack(self.forward(p)[1]) ** 2) / (self.x.shape[0] * self.x.shape[1])

    def gradient(self, p: Params) -> Params:
        caches, errors = self.forward(p)
        steps, examples = self.x.shape[:2]
        count = examples if self.mistake == "mean over the steps forgotten" else steps * examples
        grads = {name: np.zeros_like(value) for name, value in p.items()}
        none = np.zeros_like(self.first)
        dh_after, dc_after = none, none
        for cache, error in zip(reversed(caches), reversed(errors), strict=True):
            grads["V"] += cache["h"].T @ error / count
            grads["d"] += error.sum(axis=0) / count
            dz, dc_after = self.gates_gradient(cache, error @ p["V"].T / count + dh_after, dc_after)
            self.add_gates(grads, cache, dz)
            dh_after = sum(dz[gate] @ self.way_back(p["W" + gate]) for gate in _GATES)
            if self.mistake == "truncated to one step":
                dh_after, dc_after = none, none
        return self.finished(grads, errors[-1] / count)

    def gates_gradient(self, cache: Params, dh: Any, dc: Any) -> tuple[Params, Any]:
        """Derivatives with respect to the sums of the gates, and to the cell before."""
        f, o, g = (cache[gate] for gate in _GATES)
        cell = np.tanh(cache["c"])
        dc = dc + dh * o * (1 - (cache["c"] if self.mistake == "slope of tanh at the cell" else cell) ** 2)
        dz = {"f": dc * (cache["before"] - g) * f * (1 - f), "g": dc * (1 - f) * (1 - g**2)}
        dz["o"] = dh * cell * o * (1 - o)
        return dz, dc if self.mistake == "cell carried without the forget gate" else dc * f

    def way_back(self, W: Any) -> Any:
        """What takes the derivative of a gate's sums to the state before: of the joined inputs, the state is last."""
        of_state = W[-W.shape[1] :]
        return of_state if self.mistake == "weights not transposed on the way back" else of_state.T

    def add_gates(self, grads: Params, cache: Params, dz: Params) -> None:
        joined = halved(cache["joined"]) if self.mistake == "states kept in half precision" else cache["joined"]
        for gate in _GATES:
            own = joined
            if self.mistake == "candidate's weights from the step itself" and gate == "g":
                own = np.concatenate([joined[:, : -dz[gate].shape[1]], cache["h"]], axis=1)
            grads["W" + gate] += own.T @ dz[gate]
            grads["b" + gate] += dz[gate].sum(axis=0)

    def finished(self, grads: Params, last: Any) -> Params:
        """What is returned, after the last step."""
        if self.mistake == "forget and output gates swapped":
            for kind in "Wb":
                grads[kind + "f"], grads[kind + "o"] = grads[kind + "o"], grads[kind + "f"]
        if self.mistake == "weights of the forget gate never written":
            grads["Wf"] = np.zeros_like(grads["Wf"])
        if self.mistake == "state before the inputs in the output gate":
            grads["Wo"] = np.roll(grads["Wo"], len(grads["bo"]), axis=0)
        if self.mistake == "bias of the forget gate averaged over the examples":
            grads["bf"] = grads["bf"] / self.x.shape[1]
        if self.mistake == "bias of the output of the last step alone":
            grads["d"] = last.sum(axis=0)
        return grads


def memory(seed: int, mistake: str = "") -> Case:
    """A class; weights and biases of their own for each of three gates, by inputs joined with the state; a list of dicts."""
    rng = np.random.default_rng([8, seed])
    steps, examples, n, h, k = extent(rng, 3, 4), extent(rng, 2, 4), extent(rng, 2, 4), extent(rng, 2, 4), extent(rng, 2, 3)
    params: Params = {}
    for gate in _GATES:
        params["W" + gate] = drawn(rng, n + h, h, size=0.6)
        params["b" + gate] = drawn(rng, h, size=0.3)
    params |= {"V": drawn(rng, h, k), "d": drawn(rng, k, size=0.3)}
    x, y = rng.standard_normal((steps, examples, n)), rng.standard_normal((steps, examples, k))
    model = _Memory(x, y, 0.5 * rng.standard_normal((examples, h)), mistake)
    return Case(model.cost, params, model.gradient)


_ALL_GATES = tuple(kind + gate for gate in _GATES for kind in "Wb")

_MEMORY = (
    Mistake("forget and output gates swapped", "permuted", ("Wf", "bf", "Wo", "bo")),
    Mistake("state before the inputs in the output gate", "permuted", ("Wo",)),
    Mistake("mean over the steps forgotten", "factor", (*_ALL_GATES, "V", "d")),
    Mistake("truncated to one step", "from_above", _ALL_GATES),
    Mistake("cell carried without the forget gate", "from_above", _ALL_GATES),
    Mistake("weights not transposed on the way back", "from_above", _ALL_GATES),
    Mistake("candidate's weights from the step itself", "from_above", ("Wg",)),
    Mistake("slope of tanh at the cell", "activation_derivative", _ALL_GATES),
    Mistake("weights of the forget gate never written", "zero", ("Wf",)),
    # Of one divided by the number of examples both are true.
    Mistake("bias of the forget gate averaged over the examples", "bias_sum", ("bf",), accepted=("factor",)),
    Mistake("bias of the output of the last step alone", "bias_sum", ("d",)),
    Mistake("states kept in half precision", "precision", _ALL_GATES[::2]),
)


# ---- leaky units ------------------------------------------------------------------------------------------------------------


def _sentences(rng: np.random.Generator, examples: int, steps: int, words: int) -> NDArray[np.intp]:
    """No token twice in a sentence or in two of them, but that the first is the fourth once more; 0 ends all of them."""
    tokens = np.zeros((examples, steps), dtype=np.intp)
    # Falling, so that the order in which tokens occur is not that of the table.
    tokens[:, :-1] = words - 1 - np.arange(examples * (steps - 1)).reshape(examples, -1)
    tokens[0, 3] = tokens[0, 0]
    tokens[:, 1:-1] = rng.permuted(tokens[:, 1:-1], axis=1)
    return tokens


def _embedding_gradient(tokens: NDArray[np.intp], parts: Array, shape: tuple[int, int], mistake: str) -> Array:
    """Derivative of the table, from those of the steps' inputs."""
    dE = np.zeros(shape)
    steps = tokens.shape[1] - 1 if mistake == "last step left out of the table" else tokens.shape[1]
    for t in range(steps):
        if mistake == "token of an earlier step overwritten":
            dE[tokens[:, t]] = 0
        np.add.at(dE, tokens[:, t], parts[t])
    if mistake == "last column of the table left at zero":
        dE[:, -1] = 0
    if mistake == "rows of the table in the order in which tokens occur":
        _, first = np.unique(tokens, return_index=True)
        met = tokens.ravel()[np.sort(first)]
        dE[np.sort(met)] = dE[met]
    return dE


def leaky(seed: int, mistake: str = "") -> Case:
    """Dict; a state that keeps a learnt share of itself, read after the last token; a Python float; labels of −1 and 1."""
    rng = np.random.default_rng([9, seed])
    examples, steps, n, h = extent(rng, 2, 3), extent(rng, 5, 6), extent(rng, 2, 4), extent(rng, 2, 5)
    words = 1 + examples * (steps - 1)
    tokens, y = _sentences(rng, examples, steps, words), rng.choice([-1.0, 1.0], examples)
    params: Params = {
        "E": drawn(rng, words, n),
        "W": drawn(rng, n, h, size=0.6),
        "U": drawn(rng, h, h, size=0.6),
        "b": drawn(rng, h, size=0.3),
        "leak": drawn(rng, h, size=0.7),
        "v": drawn(rng, h),
        "c": 0.3,
    }

    def forward(p: Params) -> tuple[Any, Any, Any]:
        states, candidates = [np.full((examples, h), 0.2)], []
        share = sigmoid(p["leak"])
        for t in range(steps):
            candidates.append(np.tanh(p["E"][tokens[:, t]] @ p["W"] + states[-1] @ p["U"] + p["b"]))
            states.append((1 - share) * states[-1] + share * candidates[-1])
        return states, candidates, states[-1] @ p["v"] + p["c"]

    def cost(p: Params) -> Any:
        return np.mean(np.logaddexp(0, -y * forward(p)[-1]))

    def gradient(p: Params) -> Params:
        states, candidates, score = forward(p)
        share = sigmoid(p["leak"])
        ds = -y * sigmoid(-y * score) / examples
        dh = np.outer(ds, p["v"])
        dW, dU, db, dshare = np.zeros((n, h)), np.zeros((h, h)), np.zeros(h), np.zeros(h)
        parts = np.zeros((steps, examples, n))
        for t in reversed(range(steps)):
            dz = dh * share * (1 - candidates[t] ** 2)
            dshare += np.sum(dh * (candidates[t] - states[t]), axis=0)
            dW += p["E"][tokens[:, t]].T @ dz
            dU += dz.T @ states[t] if mistake == "product of the state's weights the other way round" else states[t].T @ dz
            db += dz.sum(axis=0)
            parts[t] = dz @ p["W"].T
            kept = 0 if mistake == "what the state keeps of itself forgotten" else dh * (1 - share)
            dh = dz @ p["U"].T + kept
        slope = 1 if mistake == "no slope of the leak" else share * (1 - share)
        slope = {"leak detached": 0, "sign of the leak turned": -slope}.get(mistake, slope)
        dE = _embedding_gradient(tokens, parts, (words, n), mistake)
        return {"E": dE, "W": dW, "U": dU, "b": db, "leak": dshare * slope, "v": states[-1].T @ ds, "c": ds.sum()}

    return Case(cost, params, gradient)


_LEAKY = (
    Mistake("last step left out of the table", "rows", ("E",)),
    Mistake("token of an earlier step overwritten", "rows", ("E",)),
    Mistake("last column of the table left at zero", "columns", ("E",)),
    Mistake("rows of the table in the order in which tokens occur", "permuted", ("E",)),
    Mistake("what the state keeps of itself forgotten", "from_above", ("E", "W", "U", "b", "leak")),
    Mistake("product of the state's weights the other way round", "transposed", ("U",)),
    Mistake("no slope of the leak", "activation_derivative", ("leak",)),
    Mistake("leak detached", "zero", ("leak",)),
    Mistake("sign of the leak turned", "factor", ("leak",)),
)

MODELS = (
    Model("recurrent: memory cells", memory, _MEMORY),
    Model("recurrent: leaky units", leaky, _LEAKY),
)
