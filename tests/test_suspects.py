"""Mistakes at one operation's way back: named with their line however that is written, and never for another reason."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gradsweep
from gradsweep._diagnosis._evidence import Finding
from gradsweep._differences._alterations import Watch
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._propagation import perturbed, propagate

Array = NDArray[np.float64]
Params = dict[str, Any]


def drawn(*shape: int, seed: int = 0, size: float = 0.7) -> Array:
    rng = np.random.default_rng([seed, *shape])
    values: Array = size * rng.uniform(0.3, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
    return values


def suspected(cost: Callable[[Any], Any], params: Any, gradient: Any) -> Finding | None:
    """The finding that names a line, which then stands first."""
    report = gradsweep.check(cost, params, gradient)
    assert report.verdict == "fail", str(report)
    assert report.evaluated_by == "difference arrays", report.reason
    named = [finding for finding in report.findings if "mistake" in finding.evidence]
    assert named in ([], [report.findings[0]])
    return named[0] if named else None


def must_suspect(cost: Callable[[Any], Any], params: Any, gradient: Any, line: str, words: str) -> Finding:
    """Check that the mistake is found at the line with this text, in these words."""
    finding = suspected(cost, params, gradient)
    assert finding is not None
    assert line in str(finding.evidence["where"]), finding.message
    assert words in finding.message
    assert finding.advice
    report = str(gradsweep.check(cost, params, gradient))
    start = report.index(finding.message[:20])
    assert len(report[start : report.index(" help: " + finding.advice[:20])].splitlines()) <= 5
    return finding


# ---- activations, as people write them --------------------------------------------------------------------------------------


def relu_by_maximum(z: Any) -> Any:
    return np.maximum(0, z)


def relu_by_mask(z: Any) -> Any:
    return z * (z > 0)


def relu_by_where(z: Any) -> Any:
    return np.where(z > 0, z, 0)


def relu_by_clip(z: Any) -> Any:
    return np.clip(z, 0, None)


def relu_by_assignment(z: Any) -> Any:
    a = z.copy()
    a[a < 0] = 0
    return a


def relu_by_absolute(z: Any) -> Any:
    return (z + np.abs(z)) / 2


def leaky_by_where(z: Any) -> Any:
    return np.where(z > 0, z, 0.1 * z)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def sigmoid_in_steps(z: Any) -> Any:
    e = np.exp(-z)
    below = 1 + e
    return 1 / below


def silu(z: Any) -> Any:
    return z * sigmoid(z)


def softplus(z: Any) -> Any:
    return np.log1p(np.exp(z))


def gelu(z: Any) -> Any:
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def slope(activation: Callable[[Any], Any], z: Array) -> Array:
    return np.asarray(np.imag(activation(z + 1e-30j))) / 1e-30


X, Y = drawn(6, 4, seed=1), drawn(6, 2, seed=2)
LAYERS: Params = {"W1": drawn(4, 5), "b1": drawn(5), "W2": drawn(5, 2), "b2": drawn(2)}


def two_layers(activation: Callable[[Any], Any]) -> Callable[[Params], Any]:
    def cost(p: Params) -> Any:
        hidden = activation(X @ p["W1"] + p["b1"])
        return np.sum((hidden @ p["W2"] + p["b2"] - Y) ** 2) / len(X)

    return cost


def two_layers_back(activation: Callable[[Any], Any], slope_of: Callable[[Array], Any], p: Params) -> Params:
    z = X @ p["W1"] + p["b1"]
    a = activation(z)
    d = 2 * (a @ p["W2"] + p["b2"] - Y) / len(X)
    dz = d @ p["W2"].T * slope_of(z)
    return {"W1": X.T @ dz, "b1": dz.sum(0), "W2": a.T @ d, "b2": d.sum(0)}


LEFT_OUT = [
    (relu_by_maximum, "np.maximum(0, z)", "the slope of np.maximum is left out"),
    (relu_by_mask, "z * (z > 0)", "the gradient of the first operand of * lacks the other factor"),
    (relu_by_where, "np.where(z > 0, z, 0)", "the slope of np.where is left out"),
    (relu_by_clip, "np.clip(z, 0, None)", "the slope of np.clip is left out"),
    (relu_by_assignment, "a[a < 0] = 0", "what is overwritten keeps its gradient"),
    (relu_by_absolute, "(z + np.abs(z)) / 2", "the slope of what is computed is left out"),
    (leaky_by_where, "np.where(z > 0, z, 0.1 * z)", "of the second operand of * lacks the other factor"),
    (sigmoid, "1 / (1 + np.exp(-z))", "the slope of what is computed is left out"),
    (sigmoid_in_steps, "return 1 / below", "the slope of what is computed is left out"),
    (silu, "z * sigmoid(z)", "the slope of what is computed is left out"),
    (softplus, "np.log1p(np.exp(z))", "the slope of"),
    (gelu, "0.5 * z * (1 + np.tanh", "the slope of what is computed is left out"),
    (np.tanh, "hidden = activation(X @ p", "the slope of np.tanh is left out"),
]


@pytest.mark.parametrize(("activation", "line", "words"), LEFT_OUT, ids=[each[1] for each in LEFT_OUT])
def test_a_slope_that_is_left_out_is_named_by_its_line(activation: Callable[[Any], Any], line: str, words: str) -> None:
    finding = must_suspect(two_layers(activation), LAYERS, lambda p: two_layers_back(activation, np.ones_like, p), line, words)
    assert set(finding.blocks) == {"W1", "b1"}
    assert finding.kind in ("activation_derivative", "from_above")


OTHERS: list[tuple[Callable[[Any], Any], Callable[[Array], Any], str]] = [
    (np.tanh, lambda z: 1 - z**2, "1 - u²"),
    (np.tanh, lambda z: 1 - np.tanh(z), "1 - v"),
    (np.tanh, lambda z: np.tanh(z) * (1 - np.tanh(z)), "that of a sigmoid, v(1 - v)"),
    (sigmoid, lambda z: z * (1 - z), "u(1 - u)"),
    (sigmoid, lambda z: sigmoid(sigmoid(z)) * (1 - sigmoid(sigmoid(z))), "that of a sigmoid, at what comes out"),
    (silu, lambda z: sigmoid(z) * (1 - sigmoid(z)), "that of a sigmoid, at what goes in"),
    (softplus, lambda z: z > 0, "that of a relu"),
    (softplus, lambda z: sigmoid(softplus(z)), "a sigmoid of what comes out"),
    (lambda z: np.tanh(z / 3), lambda z: np.ones_like(z) / 3, "the slope of np.tanh is left out"),
    (lambda z: 3 * np.tanh(z), lambda z: np.ones_like(z) * 3, "the slope of np.tanh is left out"),
    (lambda z: sigmoid(2 * z), lambda z: 2 * sigmoid(2 * z), "a sigmoid of what goes in"),
]


@pytest.mark.parametrize(("activation", "other", "words"), OTHERS, ids=[each[2] for each in OTHERS])
def test_another_slope_is_named(activation: Callable[[Any], Any], other: Callable[[Array], Any], words: str) -> None:
    finding = suspected(two_layers(activation), LAYERS, lambda p: two_layers_back(activation, other, p))
    assert finding is not None
    assert words in finding.message
    assert finding.kind == "activation_derivative"


@pytest.mark.parametrize(
    "activation", [each[0] for each in LEFT_OUT if each[0] not in (relu_by_clip, relu_by_maximum, relu_by_absolute)]
)
def test_the_right_slope_is_no_mistake(activation: Callable[[Any], Any]) -> None:
    def right(z: Array) -> Array:
        return slope(activation, z) if activation is not relu_by_assignment else np.where(z > 0, 1.0, 0.0)

    report = gradsweep.check(two_layers(activation), LAYERS, lambda p: two_layers_back(activation, right, p))
    assert report.verdict == "pass"
    assert not report.findings


# ---- one function for several layers ----------------------------------------------------------------------------------------

DEEP: Params = {"A": drawn(4, 5), "B": drawn(5, 5, seed=3), "C": drawn(5, 2, seed=4)}


def deep(p: Params) -> Any:
    first = sigmoid(X @ p["A"])
    second = sigmoid(first @ p["B"])
    return 0.5 * np.sum((second @ p["C"] - Y) ** 2)


def deep_back(p: Params, *left_out: int) -> Params:
    first = sigmoid(X @ p["A"])
    second = sigmoid(first @ p["B"])
    error = second @ p["C"] - Y
    d2 = error @ p["C"].T * (1 if 2 in left_out else second * (1 - second))
    d1 = d2 @ p["B"].T * (1 if 1 in left_out else first * (1 - first))
    return {"A": X.T @ d1, "B": first.T @ d2, "C": second.T @ error}


def test_a_function_of_two_layers_is_told_from_one_call_of_it() -> None:
    both = must_suspect(deep, DEEP, lambda p: deep_back(p, 1, 2), "1 / (1 + np.exp(-z))", "is left out")
    assert "called at" not in both.message
    for layer in (1, 2):
        finding = must_suspect(deep, DEEP, lambda p: deep_back(p, layer), "1 / (1 + np.exp(-z))", "is left out")  # noqa: B023
        number = deep.__code__.co_firstlineno + layer
        assert f"in sigmoid, called at line {number}" in finding.message


def test_the_same_mistake_at_two_lines_is_one() -> None:
    def cost(p: Params) -> Any:
        first = np.tanh(X @ p["A"])
        second = np.tanh(first @ p["B"])
        return 0.5 * np.sum((second @ p["C"] - Y) ** 2)

    def gradient(p: Params) -> Params:
        first = np.tanh(X @ p["A"])
        second = np.tanh(first @ p["B"])
        d2 = (second @ p["C"] - Y) @ p["C"].T
        d1 = d2 @ p["B"].T
        return {"A": X.T @ d1, "B": first.T @ d2, "C": second.T @ (second @ p["C"] - Y)}

    finding = must_suspect(cost, DEEP, gradient, "np.tanh", "the slope of np.tanh is left out")
    first = cost.__code__.co_firstlineno + 1
    assert str(finding.evidence["where"]).split(", ")[1] in (f"line {first}", f"line {first + 1}")
    assert f"line {first}" in finding.message
    assert f"line {first + 1}" in finding.message


def test_one_pass_of_several_through_a_line_is_named() -> None:
    params = {"W": [drawn(4, 4, seed=seed) for seed in range(3)]}

    def cost(p: Params) -> Any:
        a = X
        for W in p["W"]:
            a = np.tanh(a @ W)
        return 0.5 * np.sum(a**2)

    def gradient(p: Params) -> Params:
        states = [X]
        for W in p["W"]:
            states.append(np.tanh(states[-1] @ W))
        d = states[-1]
        grads: list[Array] = []
        for layer in (2, 1, 0):
            dz = d * (1 if layer == 1 else 1 - states[layer + 1] ** 2)
            grads.insert(0, states[layer].T @ dz)
            d = dz @ p["W"][layer].T
        return {"W": grads}

    must_suspect(cost, params, gradient, "np.tanh(a @ W)", "the slope of np.tanh is left out, at pass 2 of 3 through this line")


# ---- products ---------------------------------------------------------------------------------------------------------------

PRODUCTS: dict[str, Callable[[Any, Any], Any]] = {
    "operator": lambda a, U: a @ U,
    "np.dot": lambda a, U: np.dot(a, U),
    "method": lambda a, U: a.dot(U),
    "np.matmul": lambda a, U: np.matmul(a, U),
    "np.einsum": lambda a, U: np.einsum("ni,ij->nj", a, U),
    "np.tensordot": lambda a, U: np.tensordot(a, U, axes=1),
}


@pytest.mark.parametrize("way", PRODUCTS)
@pytest.mark.parametrize("mistake", ["not transposed", "nothing back"])
def test_products_in_every_way_of_writing(way: str, mistake: str) -> None:
    product = PRODUCTS[way]

    def cost(p: Params) -> Any:
        first = np.tanh(X @ p["A"])
        second = product(first, p["B"])
        return 0.5 * np.sum((second @ p["C"] - Y) ** 2) + np.sum(first**2)

    def gradient(p: Params) -> Params:
        first = np.tanh(X @ p["A"])
        second = first @ p["B"]
        error = second @ p["C"] - Y
        d2 = error @ p["C"].T
        back = {"not transposed": d2 @ p["B"], "nothing back": np.zeros_like(first)}[mistake]
        d1 = (back + 2 * first) * (1 - first**2)
        return {"A": X.T @ d1, "B": first.T @ d2, "C": second.T @ error}

    words = {"not transposed": "second operand of", "nothing back": "nothing goes to the first operand of"}[mistake]
    finding = must_suspect(cost, DEEP, gradient, "", words)
    assert f"line {product.__code__.co_firstlineno}," in str(finding.evidence["where"])
    assert ("is not transposed" in finding.message) is (mistake == "not transposed")


def test_a_product_with_what_was_there_before_the_activation() -> None:
    def cost(p: Params) -> Any:
        z = X @ p["W1"] + p["b1"]
        a = np.tanh(z)
        return 0.5 * np.sum((a @ p["W2"] + p["b2"] - Y) ** 2)

    def gradient(p: Params) -> Params:
        z = X @ p["W1"] + p["b1"]
        a = np.tanh(z)
        d = a @ p["W2"] + p["b2"] - Y
        dz = d @ p["W2"].T * (1 - a**2)
        return {"W1": X.T @ dz, "b1": dz.sum(0), "W2": z.T @ d, "b2": d.sum(0)}

    must_suspect(cost, LAYERS, gradient, "a @ p", "the first operand of @ is replaced by what came of + at line")


def test_a_residual_connection_and_a_gate() -> None:
    params = {"A": drawn(4, 4), "B": drawn(4, 4, seed=3)}

    def cost(p: Params) -> Any:
        h = np.tanh(X @ p["A"])
        gate = sigmoid(X @ p["B"])
        h = h + np.sin(h)
        return 0.5 * np.sum((gate * h) ** 2)

    def gradient(p: Params, skip: float, gate_passed: bool) -> Params:
        a = np.tanh(X @ p["A"])
        gate, h = sigmoid(X @ p["B"]), a + np.sin(a)
        d = gate * h
        dh = d * gate if gate_passed else d
        dA = X.T @ (dh * (skip + np.cos(a)) * (1 - a**2))
        return {"A": dA, "B": X.T @ (d * h * gate * (1 - gate))}

    must_suspect(cost, params, lambda p: gradient(p, 0.0, True), "h = h + np.sin(h)", "nothing goes to the first operand of +")
    must_suspect(cost, params, lambda p: gradient(p, 1.0, False), "gate * h", "of the second operand of * lacks the other factor")


# ---- loops over time --------------------------------------------------------------------------------------------------------

SERIES = drawn(5, 3, 4, seed=5)
RECURRENT: Params = {"Wx": drawn(4, 4, size=0.4), "Wh": drawn(4, 4, seed=6, size=0.4)}


def states_in_a_variable(p: Params) -> Any:
    h, total = np.zeros((3, 4)), 0.0
    for x in SERIES:
        h = np.tanh(x @ p["Wx"] + h @ p["Wh"])
        total = total + np.sum(h**2)
    return 0.5 * total


def states_in_a_list(p: Params) -> Any:
    states = [np.zeros((3, 4))]
    for x in SERIES:
        states.append(np.tanh(x @ p["Wx"] + states[-1] @ p["Wh"]))
    return 0.5 * np.sum(np.stack(states[1:]) ** 2)


def states_in_a_buffer(p: Params) -> Any:
    states = np.zeros((6, 3, 4))
    for t, x in enumerate(SERIES):
        states[t] = np.tanh(x @ p["Wx"] + states[t - 1] @ p["Wh"])
    return 0.5 * np.sum(states[:5] ** 2)


def recurrent_back(p: Params, mistake: str) -> Params:
    states = [np.zeros((3, 4))]
    for x in SERIES:
        states.append(np.tanh(x @ p["Wx"] + states[-1] @ p["Wh"]))
    after = np.zeros((3, 4))
    grads = {"Wx": np.zeros((4, 4)), "Wh": np.zeros((4, 4))}
    for t in reversed(range(5)):
        dz = (states[t + 1] + after) * (1 - states[t + 1] ** 2)
        grads["Wx"] += SERIES[t].T @ dz
        grads["Wh"] += states[t + 1 if mistake == "own state" else t].T @ dz
        after = {"truncated": 0.0 * dz, "not transposed": dz @ p["Wh"]}.get(mistake, dz @ p["Wh"].T)
    return grads


@pytest.mark.parametrize("cost", [states_in_a_variable, states_in_a_list, states_in_a_buffer])
@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("truncated", "nothing goes"),
        ("not transposed", "the second operand of @ is not transposed"),
        ("own state", "the first operand of @ is that of the next turn of the loop"),
    ],
)
def test_loops_over_time(cost: Callable[[Params], Any], mistake: str, words: str) -> None:
    must_suspect(cost, RECURRENT, lambda p: recurrent_back(p, mistake), '@ p["Wh"]', words)


# ---- statistics -------------------------------------------------------------------------------------------------------------

NORMED: Params = {"W": drawn(4, 3), "b": drawn(3), "gain": drawn(3, seed=7), "shift": drawn(3, seed=8)}
TARGETS = drawn(6, 3, seed=9)


def normed(p: Params) -> Any:
    u = X @ p["W"] + p["b"]
    mean = u.mean(axis=0)
    variance = ((u - mean) ** 2).mean(axis=0)
    x = (u - mean) / np.sqrt(variance + 1e-5)
    return 0.5 * np.sum((p["gain"] * x + p["shift"] - TARGETS) ** 2)


def normed_back(p: Params, forgotten: tuple[str, ...]) -> Params:
    u = X @ p["W"] + p["b"]
    centred = u - u.mean(axis=0)
    root = np.sqrt((centred**2).mean(axis=0) + 1e-5)
    x = centred / root
    error = p["gain"] * x + p["shift"] - TARGETS
    dx = error * p["gain"]
    du = dx / root
    if "variance" not in forgotten:
        du = du - x * (dx * x).mean(axis=0) / root
    if "mean" not in forgotten:
        du = du - (dx / root).mean(axis=0)
    gain = u if "gain" in forgotten else x
    return {"W": X.T @ du, "b": du.sum(0), "gain": (error * gain).sum(0), "shift": error.sum(0)}


@pytest.mark.parametrize(
    ("forgotten", "line", "words"),
    [
        (("mean",), "mean = u.mean(axis=0)", "nothing goes through np.mean"),
        (("variance",), "variance = ((u - mean)", "nothing goes through np.mean"),
        (("mean", "variance"), "mean(axis=0)", "what comes of np.mean is taken for constant"),
        (("gain",), 'p["gain"] * x', "the second operand of * is replaced by what came of +"),
    ],
)
def test_statistics_of_a_norm(forgotten: tuple[str, ...], line: str, words: str) -> None:
    """The bias before it has a gradient of rounding alone, which neither shows a mistake nor hides one."""
    finding = must_suspect(normed, NORMED, lambda p: normed_back(p, forgotten), line, words)
    assert "b" not in finding.blocks or "mean" in forgotten


ATTENDING: Params = {"Q": drawn(4, 3), "K": drawn(4, 3, seed=11), "V": drawn(4, 2, seed=12)}


def attending(p: Params) -> Any:
    q, k, v = X @ p["Q"], X @ p["K"], X @ p["V"]
    scores = q @ k.T / np.sqrt(3.0)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = e / e.sum(axis=1, keepdims=True)
    return 0.5 * np.sum((weights @ v - Y) ** 2)


def attending_back(p: Params, mistake: str) -> Params:
    q, k, v = X @ p["Q"], X @ p["K"], X @ p["V"]
    e = np.exp(q @ k.T / np.sqrt(3.0))
    weights = e / e.sum(axis=1, keepdims=True)
    error = weights @ v - Y
    dweights = error @ v.T
    dscores = weights * (dweights - (weights * dweights).sum(axis=1, keepdims=True))
    dscores = {"sum": weights * dweights, "one": dweights * weights * (1 - weights)}.get(mistake, dscores)
    dscores = dscores / (1.0 if mistake == "scale" else np.sqrt(3.0))
    return {"Q": X.T @ dscores @ (q if mistake == "own" else k), "K": X.T @ dscores.T @ q, "V": X.T @ weights.T @ error}


@pytest.mark.parametrize(
    ("mistake", "line", "words"),
    [
        ("sum", "(axis=1, keepdims=True)", "np.max and np.sum is taken for constant"),
        ("one", "e / e.sum", "the slope of what is computed is taken as that of a sigmoid, v(1 - v)"),
        ("own", "q @ k.T", "the first operand of @ takes the place of the other one"),
    ],
)
def test_steps_of_attention(mistake: str, line: str, words: str) -> None:
    finding = must_suspect(attending, ATTENDING, lambda p: attending_back(p, mistake), line, words)
    assert set(finding.blocks) <= {"Q", "K"}


def test_what_a_factor_explains_is_left_to_it() -> None:
    report = gradsweep.check(attending, ATTENDING, lambda p: attending_back(p, "scale"))
    assert [finding.kind for finding in report.findings] == ["factor"]
    report = gradsweep.check(attending, ATTENDING, lambda p: attending_back(p, "") | {"K": np.zeros((4, 3))})
    assert [finding.kind for finding in report.findings] == ["zero"]


# ---- what is no such mistake ------------------------------------------------------------------------------------------------

PLAIN: list[tuple[Callable[[Any], Any], Params]] = [
    (two_layers(np.tanh), LAYERS),
    (deep, DEEP),
    (states_in_a_list, RECURRENT),
    (normed, NORMED),
    (attending, ATTENDING),
]


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("seed", range(5))
def test_errors_without_a_reason_have_no_line(seed: int, single: bool) -> None:
    kind = np.float32 if single else np.float64
    cost, given = PLAIN[seed]
    params = {name: value.astype(kind) for name, value in given.items()}
    right = gradsweep.numerical_gradient(cost, params)
    for number, name in enumerate(params):
        wrong = {key: np.array(value) for key, value in right.items()}
        wrong[name] += drawn(*wrong[name].shape, seed=100 + number, size=0.1)
        assert suspected(cost, params, {key: value.astype(kind) for key, value in wrong.items()}) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_single_number_is_not_explained_by_chance(seed: int) -> None:
    def cost(p: Params) -> Any:
        return np.sum(np.tanh(X * p["scale"]) ** 2) + np.exp(p["shift"]) * sigmoid(p["scale"])

    params = {"scale": np.float64(0.7), "shift": 0.3}
    right = gradsweep.numerical_gradient(cost, params)
    off = np.random.default_rng(seed).normal()
    assert suspected(cost, params, {"scale": right["scale"] + off, "shift": right["shift"]}) is None


def test_an_error_that_is_small_beside_the_gradient_is_not_explained() -> None:
    right = gradsweep.numerical_gradient(deep, DEEP)
    assert suspected(deep, DEEP, right | {"A": right["A"] * (1 + 1e-5 * drawn(4, 5))}) is None


# ---- functions that are not as simple ---------------------------------------------------------------------------------------


def slope_left_out(p: Params) -> Params:
    return two_layers_back(np.tanh, np.ones_like, p)


def test_single_precision() -> None:
    params = {name: value.astype(np.float32) for name, value in LAYERS.items()}
    gradient = {name: value.astype(np.float32) for name, value in slope_left_out(params).items()}
    must_suspect(two_layers(np.tanh), params, gradient, "activation(X", "the slope of np.tanh is left out")


def test_scalars_empty_blocks_and_arrays_that_are_given_twice() -> None:
    shared = drawn(4, 4)
    params = {"scale": np.float64(0.8), "none": np.zeros((0, 3)), "first": shared, "second": drawn(4, 4, seed=2)}

    def cost(p: Params) -> Any:
        a = np.tanh(p["scale"] * X @ p["first"])
        return 0.5 * np.sum((a @ p["second"] + a @ p["first"]) ** 2) + np.sum(p["none"])

    def gradient(p: Params) -> Params:
        a = np.tanh(p["scale"] * X @ p["first"])
        d = a @ p["second"] + a @ p["first"]
        dz = d @ (p["second"] + p["first"]).T  # without the slope
        scaled = p["scale"] * X
        return {
            "scale": np.sum(dz * (X @ p["first"])),
            "none": np.ones((0, 3)),
            "first": scaled.T @ dz + a.T @ d,
            "second": a.T @ d,
        }

    must_suspect(cost, params, gradient, "np.tanh(p", "the slope of np.tanh is left out")


def test_numbers_that_are_complex_on_the_way() -> None:
    def cost(p: Params) -> Any:
        wave = np.exp(1j * (X @ p["W1"] + p["b1"]))
        hidden = np.tanh(np.real(wave))
        return 0.5 * np.sum((hidden @ p["W2"] + p["b2"] - Y) ** 2)

    def gradient(p: Params) -> Params:
        z = X @ p["W1"] + p["b1"]
        a = np.tanh(np.cos(z))
        d = a @ p["W2"] + p["b2"] - Y
        dz = -np.sin(z) * (d @ p["W2"].T)
        return {"W1": X.T @ dz, "b1": dz.sum(0), "W2": a.T @ d, "b2": d.sum(0)}

    must_suspect(cost, LAYERS, gradient, "np.tanh(np.real(wave))", "the slope of np.tanh is left out")


def test_recursion_threads_and_state(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[int] = []

    def layers(a: Any, weights: list[Any]) -> Any:
        return layers(np.tanh(a @ weights[0]), weights[1:]) if weights else a

    def cost(p: Params) -> Any:
        calls.append(len(calls))
        found: list[Any] = []
        runner = threading.Thread(target=lambda: found.append(layers(X, [p["A"], p["B"]])))
        runner.start()
        runner.join()
        return 0.5 * np.sum((found[0] @ p["C"] - Y) ** 2)

    def gradient(p: Params) -> Params:
        first = np.tanh(X @ p["A"])
        second = np.tanh(first @ p["B"])
        error = second @ p["C"] - Y
        d2 = error @ p["C"].T
        return {"A": X.T @ (d2 @ p["B"].T), "B": first.T @ d2, "C": second.T @ error}

    report = gradsweep.check(cost, DEEP, gradient)
    assert report.verdict == "fail"
    if report.evaluated_by == "difference arrays":
        assert "np.tanh(a @ weights[0])" in report.findings[0].message
    assert capsys.readouterr() == ("", "")


def test_a_function_that_stops_working_ends_the_search_and_nothing_else() -> None:
    calls: list[int] = []
    right = two_layers(np.tanh)

    def cost(p: Params) -> Any:
        calls.append(0)
        if len(calls) == limit:
            raise RuntimeError("no more")
        return right(p)

    limit = 0
    finding = suspected(cost, LAYERS, slope_left_out(LAYERS))
    assert finding is not None
    total = len(calls)
    calls.clear()
    # The last call is that by which the function is left as it was found, and those before it are the search.
    limit = total - 1
    report = gradsweep.check(cost, LAYERS, slope_left_out(LAYERS))
    assert report.verdict == "fail"
    assert not [each for each in report.findings if "mistake" in each.evidence]
    assert len(calls) == total


def test_parameters_and_random_numbers_stay_what_they_are() -> None:
    before = {name: value.copy() for name, value in LAYERS.items()}
    np.random.seed(3)  # noqa: NPY002
    first = np.random.uniform()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    assert suspected(two_layers(np.tanh), LAYERS, slope_left_out) is not None
    assert all(np.array_equal(before[name], LAYERS[name]) for name in before)
    assert np.random.uniform() == first  # noqa: NPY002


def test_nothing_lives_longer_for_being_watched() -> None:
    lanes, watch = Lanes(2), Watch()
    lanes.watch = watch
    argument = perturbed(X, np.ones((*X.shape, 2)), lanes)
    propagate(lambda a: np.sum(np.tanh(a) ** 2), argument, lanes, fills=False)
    assert {site.name for site in watch.sites.values()} == {"tanh", "power", "sum"}
    del argument
    gc.collect()
    assert not len(watch._origins)


def test_values_that_are_too_many_are_not_held() -> None:
    survey = Watch()
    for steps, held in ((30, True), (90, False)):
        lanes = Lanes(1)
        lanes.watch = survey.anew()

        def cost(a: Any, steps: int = steps) -> Any:
            for _ in range(steps):
                a = np.tanh(a)
            return np.sum(a)

        propagate(cost, perturbed(np.zeros(100_000), np.ones((100_000, 1)), lanes), lanes, fills=False)
        (site,) = (site for site in survey.sites.values() if site.name == "tanh")
        assert len(site.results) == len(site.bases) == steps
        assert all(bool(bases) is held for bases in site.bases)
        assert all((value.strides != (0,)) is held for value in site.results)


def test_what_is_the_same_at_each_turn_is_carried_by_none() -> None:
    params = {"leak": drawn(4), "W": drawn(4, 4)}

    def cost(p: Params) -> Any:
        h = np.zeros((3, 4))
        for x in SERIES:
            share = sigmoid(p["leak"])
            h = (1 - share) * h + share * np.tanh(x @ p["W"])
        return 0.5 * np.sum(h**2)

    def gradient(p: Params) -> Params:
        states, share = [np.zeros((3, 4))], sigmoid(p["leak"])
        for x in SERIES:
            states.append((1 - share) * states[-1] + share * np.tanh(x @ p["W"]))
        last = np.tanh(SERIES[-1] @ p["W"])
        d = states[-1]
        dshare = np.sum(d * (last - states[-2]), axis=0)
        return {"leak": dshare * share * (1 - share), "W": SERIES[-1].T @ (d * share * (1 - last**2))}

    must_suspect(cost, params, gradient, "h = (1 - share) * h", "nothing goes from a turn of the loop to the one before")


def test_many_operations_take_no_long_time() -> None:
    def cost(p: Params) -> Any:
        total = 0.0
        for _ in range(300):
            total = total + np.sum(np.tanh(X @ p["W1"] + p["b1"]) ** 2)
        return total + np.sum(p["W2"] ** 2) + np.sum(p["b2"])

    right = gradsweep.numerical_gradient(cost, LAYERS)
    wrong = right | {"W1": right["W1"] + drawn(4, 5, seed=3)}
    report = gradsweep.check(cost, LAYERS, wrong)
    assert report.verdict == "fail"
    assert report.seconds < 15.0
