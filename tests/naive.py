"""The slow oracle: what the library computes, written down once more as a textbook would, with nothing of the library in it.

Three roads to the same gradient. None shares an idea with difference propagation:

`quotients`        two whole forward passes for each parameter, in float64: right up to its own rounding
`exact_quotients`  the same in as many digits as it takes: the quotient at a finite ε, right to 50 digits
`backprop`         the chain rule, by hand

And for a single activation or loss `exact_change`, the plain subtraction f(z + δ) − f(z) in hundreds of digits.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Params = dict[str, Array]

#: Steps of each scheme in units of ε, and what the cost at each counts in the quotient times ε.
SCHEMES: dict[str, tuple[tuple[int, float], ...]] = {
    "central": ((1, 0.5), (-1, -0.5)),
    "forward": ((1, 1.0), (0, -1.0)),
    "backward": ((0, 1.0), (-1, -1.0)),
}

#: Digits that an exact result is right to.
DIGITS = 50


def random_params(layers: Sequence[int], seed: int, spread: float = 1.0) -> Params:
    """Parameters that neither saturate nor vanish: weights of the size 1/√inputs, biases well away from zero."""
    generator = np.random.default_rng(seed)
    params: Params = {}
    for number, (inputs, units) in enumerate(itertools.pairwise(layers), start=1):
        params[f"W{number}"] = spread * generator.standard_normal((units, inputs)) / np.sqrt(inputs)
        params[f"b{number}"] = spread * 0.3 * generator.standard_normal((units, 1))
    return params


def random_data(layers: Sequence[int], examples: int, seed: int, *, soft: bool = False) -> tuple[Array, Array]:
    """Inputs, and labels 0 and 1; soft labels lie anywhere in [0, 1]."""
    generator = np.random.default_rng(seed + 10_000)
    x = generator.standard_normal((layers[0], examples))
    y = generator.random((layers[-1], examples))
    return x, y if soft else np.round(y)


def names(params: Mapping[str, Any]) -> list[str]:
    """W1, b1, W2, … whatever the order of the dict."""
    return [f"{kind}{number}" for number in range(1, len(params) // 2 + 1) for kind in "Wb"]


# ---- the network in float64 ----------------------------------------------------------------------------------------------


def sigmoid(z: Array) -> Array:
    """σ(z), in a form that neither overflows nor cancels."""
    tail = np.exp(-np.abs(z))
    return np.where(z >= 0.0, 1.0, tail) / (1.0 + tail)


def _normal(z: Array) -> Array:
    result: Array = np.array([math.erfc(-value / math.sqrt(2.0)) / 2.0 for value in z.ravel()]).reshape(z.shape)
    return result


def _inner(z: Array) -> Array:
    result: Array = 2.0 * np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3)
    return result


def _inner_slope(z: Array) -> Array:
    result: Array = 2.0 * np.sqrt(2.0 / np.pi) * (1.0 + 3.0 * 0.044715 * z**2)
    return result


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "leaky_relu": lambda z: np.where(z > 0.0, z, 0.01 * z),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": lambda z: np.logaddexp(0.0, z),
    "silu": lambda z: z * sigmoid(z),
    "gelu": lambda z: z * _normal(z),
    "gelu_tanh": lambda z: z * sigmoid(_inner(z)),
}


def pre_activations(params: Mapping[str, Array], x: Array, hidden: Sequence[str]) -> list[Array]:
    """Z of every layer; the last ones are the logits."""
    result: list[Array] = []
    a = x
    for number, name in enumerate([*hidden, "identity"], start=1):
        result.append(params[f"W{number}"] @ a + params[f"b{number}"])
        a = ACTIVATIONS[name](result[-1])
    return result


def cost(params: Mapping[str, Array], x: Array, y: Array, hidden: Sequence[str]) -> float:
    """Binary cross-entropy of a sigmoid output: summed over the outputs, mean over the examples."""
    z = pre_activations(params, x, hidden)[-1]
    losses = np.maximum(z, 0.0) - z * y + np.log1p(np.exp(-np.abs(z)))
    return float(losses.sum() / x.shape[1])


def quotients(
    params: Params,
    x: Array,
    y: Array,
    hidden: Sequence[str],
    step: float,
    scheme: str,
    *,
    entries: int | None = None,
    seed: int = 0,
) -> dict[str, Array]:
    """Numeric gradient, each entry from whole forward passes.

    Parameters
    ----------
    params : dict of str to array
        W1, b1, W2, …
    x, y : arrays of shape (features, examples) and (outputs, examples)
        Data.
    hidden : sequence of str
        Activation of each hidden layer.
    step : float
        ε.
    scheme : str
        A name of `SCHEMES`.
    entries : int, optional
        How many entries of each block, drawn at random; all others are NaN. All, if not given.
    seed : int
        Of the draw.

    Returns
    -------
    dict of str to array
        By the names of the parameters.
    """
    generator = np.random.default_rng(seed)
    moved = {name: block.copy() for name, block in params.items()}
    result: dict[str, Array] = {}
    for name in names(params):
        block, old = moved[name], params[name]
        result[name] = np.full(block.shape, np.nan)
        places = list(np.ndindex(*block.shape))
        if entries is not None and entries < len(places):
            places = [places[i] for i in generator.choice(len(places), entries, replace=False)]
        for place in places:
            total = 0.0
            for offset, weight in SCHEMES[scheme]:
                block[place] = old[place] + offset * step
                total += weight * cost(moved, x, y, hidden)
            block[place] = old[place]
            result[name][place] = total / step
    return result


def rounding_of_quotients(params: Params, x: Array, y: Array, hidden: Sequence[str], step: float) -> float:
    """How far an entry of `quotients` may be off by rounding alone: what the costs differ by when the arithmetic is another one.

    Rounding of a cost is seen by adding up the same products in another order: the units of each layer are shuffled. Its largest
    value in some draws, and never less than the last digit of the cost, is divided by ε.
    """
    generator = np.random.default_rng(1)
    sizes = [x.shape[0], *(params[f"b{number}"].shape[0] for number in range(1, len(params) // 2 + 1))]
    costs = [cost(params, x, y, hidden)]
    for _ in range(20):
        orders = [generator.permutation(size) for size in sizes]
        orders[-1] = np.arange(sizes[-1])
        shuffled = {}
        for number in range(1, len(sizes)):
            shuffled[f"W{number}"] = np.ascontiguousarray(params[f"W{number}"][np.ix_(orders[number], orders[number - 1])])
            shuffled[f"b{number}"] = params[f"b{number}"][orders[number]]
        costs.append(cost(shuffled, np.ascontiguousarray(x[orders[0]]), y, hidden))
    # θ + ε is rounded, too: a relative change of ε, which matters only for steps near the last digit of θ.
    return (max(costs) - min(costs) + 8.0 * math.ulp(max(1.0, abs(costs[0])))) / step


def crossings(
    params: Params, x: Array, hidden: Sequence[str], step: float, offsets: Sequence[int]
) -> dict[str, NDArray[np.int64]]:
    """How many pre-activations of relu units change their sign when an entry takes each of some steps, counted one by one."""
    base = pre_activations(params, x, hidden)
    moved = {name: block.copy() for name, block in params.items()}
    result: dict[str, NDArray[np.int64]] = {}
    for name in names(params):
        result[name] = np.zeros(params[name].shape, dtype=np.int64)
        for place in np.ndindex(*params[name].shape):
            for offset in offsets:
                moved[name][place] = params[name][place] + offset * step
                after = pre_activations(moved, x, hidden)
                for activation, before, now in zip(hidden, base, after, strict=False):
                    if activation in ("relu", "leaky_relu"):
                        result[name][place] += int(np.count_nonzero((before > 0.0) != (now > 0.0)))
            moved[name][place] = params[name][place]
    return result


# ---- backpropagation -----------------------------------------------------------------------------------------------------

DERIVATIVES: dict[str, Callable[[Array], Array]] = {
    "identity": np.ones_like,
    "relu": lambda z: (z > 0.0).astype(np.float64),
    "tanh": lambda z: 1.0 / np.cosh(z) ** 2,
    "sigmoid": lambda z: sigmoid(z) * sigmoid(-z),
    "leaky_relu": lambda z: np.where(z > 0.0, 1.0, 0.01),
    "softplus": sigmoid,
    "silu": lambda z: sigmoid(z) * (1.0 + z * sigmoid(-z)),
    "gelu": lambda z: _normal(z) + z * np.exp(-(z**2) / 2.0) / np.sqrt(2.0 * np.pi),
    "gelu_tanh": lambda z: sigmoid(_inner(z)) * (1.0 + z * sigmoid(-_inner(z)) * _inner_slope(z)),
}


def softmax(z: Array) -> Array:
    """Powers of e over their sum, for each column."""
    powers = np.exp(z - z.max(axis=0))
    result: Array = powers / powers.sum(axis=0)
    return result


#: Output minus label, for each output: the gradient of its own loss with respect to the logits.
ERRORS: dict[str, Callable[[Array, Array], Array]] = {
    # σ(z) − y with each label's own term: p − 1 has no digits left where p is near 1.
    "sigmoid": lambda z, y: (1.0 - y) * sigmoid(z) - y * sigmoid(-z),
    "softmax": lambda z, y: softmax(z) - y,
    "identity": lambda z, y: z - y,
}


def backprop(
    params: Mapping[str, Array],
    x: Array,
    y: Array,
    hidden: Sequence[str],
    kink: Callable[[tuple[int, ...]], Array] = np.zeros,
    *,
    output: str = "sigmoid",
    l2: float = 0.0,
    masks: Sequence[Array | None] | None = None,
) -> dict[str, Array]:
    """Gradient by the chain rule, by the names of the parameters.

    Parameters
    ----------
    params : mapping of str to array
        W1, b1, W2, …
    x, y : arrays of shape (features, examples) and (outputs, examples)
        Data.
    hidden : sequence of str
        Activation of each hidden layer.
    kink : callable
        Makes the slopes that relu is taken to have at 0, of a shape.
    output : str
        A name of `ERRORS`, with the loss that belongs to it: summed over the outputs, mean over the examples.
    l2 : float
        λ of the penalty λ/(2m)·Σ‖W‖².
    masks : sequence of (array of shape (units, examples) or None), optional
        What the activations of each hidden layer are multiplied by.

    Returns
    -------
    dict of str to array
        By the names of the parameters.
    """
    ones = [np.ones((params[f"b{number}"].shape[0], x.shape[1])) for number in range(1, len(hidden) + 1)]
    factors = [one if mask is None else mask for one, mask in zip(ones, masks or ones, strict=True)]
    inputs, z = [x], []
    for number in range(1, len(hidden) + 2):
        z.append(params[f"W{number}"] @ inputs[-1] + params[f"b{number}"])
        if number <= len(hidden):
            inputs.append(ACTIVATIONS[hidden[number - 1]](z[-1]) * factors[number - 1])
    dz = ERRORS[output](z[-1], y)
    result: dict[str, Array] = {}
    for number in range(len(z), 0, -1):
        result[f"W{number}"] = (dz @ inputs[number - 1].T + l2 * params[f"W{number}"]) / x.shape[1]
        result[f"b{number}"] = dz.sum(axis=1, keepdims=True) / x.shape[1]
        if number > 1:
            before = z[number - 2]
            slopes = DERIVATIVES[hidden[number - 2]](before)
            if hidden[number - 2] == "relu":
                slopes = np.where(before == 0.0, kink(before.shape), slopes)
            dz = (params[f"W{number}"].T @ dz) * slopes * factors[number - 2]
    return result


def difference(one: Mapping[str, Array], other: Mapping[str, Array]) -> float:
    """Formula 3: ‖g − ĝ‖ / (‖g‖ + ‖ĝ‖) over all blocks."""
    g = np.concatenate([np.ravel(one[name]) for name in names(one)])
    h = np.concatenate([np.ravel(other[name]) for name in names(one)])
    return float(np.linalg.norm(g - h) / (np.linalg.norm(g) + np.linalg.norm(h)))


# ---- exact numbers -------------------------------------------------------------------------------------------------------


def exact_value(name: str, z: Any) -> Any:
    """An activation, or ``"softplus"`` = log(1 + e^z), to the digits that are set."""
    z = mpmath.mpf(z)
    if name == "identity":
        return z
    if name == "relu":
        return max(z, mpmath.mpf(0))
    if name == "leaky_relu":
        return z if z > 0 else mpmath.mpf(0.01) * z
    if name == "softplus":
        return max(z, mpmath.mpf(0)) + mpmath.log(1 + _exp_of_minus(abs(z)))
    if name in GATES:
        return z * exact_gate(name, z)
    # Of u = e^−|z| alone, so that an enormous z is no matter.
    u = _exp_of_minus(abs(z) if name == "sigmoid" else 2 * abs(z))
    if name == "sigmoid":
        return (1 if z >= 0 else u) / (1 + u)
    if name == "tanh":
        return mpmath.sign(z) * (1 - u) / (1 + u)
    raise KeyError(name)


#: Activations of the form z·g(z).
GATES = ("silu", "gelu", "gelu_tanh")


def exact_gate(name: str, z: Any) -> Any:
    """g(z) of an activation z·g(z), to the digits that are set."""
    z = mpmath.mpf(z)
    if name == "gelu":
        return mpmath.erfc(-z / mpmath.sqrt(2)) / 2
    if name == "gelu_tanh":
        z = 2 * mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf("0.044715") * z**3)
    return exact_value("sigmoid", z)


def exact_gate_change(name: str, z: float, delta: float) -> tuple[Any, Any]:
    """The two terms of (z+δ)·g(z+δ) − z·g(z): δ·g(z+δ) and z·(g(z+δ) − g(z)). Near the minimum they oppose each other."""
    with mpmath.workdps(600):
        moved = exact_gate(name, mpmath.mpf(z) + mpmath.mpf(delta))
        return mpmath.mpf(delta) * moved, mpmath.mpf(z) * (moved - exact_gate(name, z))


def _exp_of_minus(size: Any) -> Any:
    # Below 10^−4000 there is nothing that a result in float64, or a difference in any digits used here, could show.
    return mpmath.mpf(0) if size > 10_000 else mpmath.exp(-size)


@functools.cache
def exact_change(name: str, z: float, delta: float) -> Any:
    """f(z + δ) − f(z) to 50 digits, by subtraction.

    Parameters
    ----------
    name : str
        See `exact_value`.
    z, delta : float
        Where, and how far.

    Returns
    -------
    mpf
        The change.
    """
    with mpmath.workdps(_digits(z, delta)):
        return exact_value(name, mpmath.mpf(z) + mpmath.mpf(delta)) - _base(name, z, mpmath.mp.dps)


@functools.cache
def _base(name: str, z: float, digits: int) -> Any:
    return exact_value(name, z)


def _digits(z: float, delta: float) -> int:
    """Digits to work with, so that `DIGITS` are left of a difference: tanh z is e^−2|z| off 1, and δ is small beside that."""
    lost = max(0.0, -math.log10(abs(delta))) if delta else 0.0
    # Whatever is larger than 1 before the point.
    whole = max(0.0, math.log10(max(abs(z), abs(delta), 1.0)))
    needed = DIGITS + 10 + lost + whole + 2.0 * min(abs(z) + min(abs(delta), 10.0), 2_000.0) / math.log(10.0)
    # In steps, so that f(z) is worked out a few times only.
    return 25 * math.ceil(needed / 25)


def exact_cost(params: Mapping[str, Any], x: Array, y: Array, hidden: Sequence[str]) -> Any:
    """`cost` to the digits that are set: loops over numbers, nothing else."""
    total = mpmath.mpf(0)
    for example in range(x.shape[1]):
        a = [mpmath.mpf(value) for value in x[:, example]]
        for number, name in enumerate([*hidden, "identity"], start=1):
            weights, bias = params[f"W{number}"], params[f"b{number}"]
            sums = [mpmath.fdot(weights[unit], a) + bias[unit][0] for unit in range(len(bias))]
            a = [exact_value(name, z) for z in sums]
        for z, label in zip(a, y[:, example], strict=True):
            label = mpmath.mpf(label)
            total += (1 - label) * exact_value("softplus", z) + label * exact_value("softplus", -z)
    return total / x.shape[1]


def exact_quotients(
    params: Params, x: Array, y: Array, hidden: Sequence[str], step: float, scheme: str, *, digits: int = DIGITS
) -> dict[str, Array]:
    """The difference quotient at a finite ε, exact but for the rounding of the result to float64.

    Parameters
    ----------
    params : dict of str to array
        W1, b1, W2, … of a tiny network.
    x, y : arrays of shape (features, examples) and (outputs, examples)
        Data.
    hidden : sequence of str
        Activation of each hidden layer.
    step : float
        ε.
    scheme : str
        A name of `SCHEMES`.
    digits : int
        Digits of the quotient.

    Returns
    -------
    dict of str to array
        By the names of the parameters.
    """
    # The subtraction takes as many digits as ε has zeros.
    with mpmath.workdps(digits + max(0, math.ceil(-math.log10(step))) + 10):
        moved = {name: [[mpmath.mpf(value) for value in row] for row in block] for name, block in params.items()}
        base = exact_cost(moved, x, y, hidden)
        epsilon = mpmath.mpf(step)
        result: dict[str, Array] = {}
        for name in names(params):
            result[name] = np.empty(params[name].shape)
            for row, column in np.ndindex(*params[name].shape):
                old = moved[name][row][column]
                total = mpmath.mpf(0)
                for offset, weight in SCHEMES[scheme]:
                    moved[name][row][column] = old + offset * epsilon
                    total += weight * (exact_cost(moved, x, y, hidden) if offset else base)
                moved[name][row][column] = old
                result[name][row, column] = float(total / epsilon)
        return result
