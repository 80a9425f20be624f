"""Outputs, losses and the penalty: kernels against mpmath, gradients against the complex step, and planted mistakes."""

from collections.abc import Callable, Mapping
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from numpy.typing import NDArray

import gradsweep
from gradsweep._errors import InputError
from gradsweep.kernels import activations, forms, losses, products

Array = NDArray[np.float64]

OUTPUTS = {"sigmoid": "binary_cross_entropy", "softmax": "softmax_cross_entropy", "identity": "squared_error"}


def labels(output: str, shape: tuple[int, int], generator: np.random.Generator, *, soft: bool) -> Array:
    if output == "identity":
        return generator.standard_normal(shape)
    if output == "softmax":
        chosen = np.eye(shape[0])[generator.integers(0, shape[0], shape[1])].T
        return np.asarray(generator.dirichlet(np.ones(shape[0]), shape[1]).T) if soft else np.asarray(chosen)
    return generator.random(shape) if soft else np.asarray((generator.random(shape) < 0.5) * 1.0)


def cost(params: Mapping[str, Any], x: Array, y: Array, output: str, l2: float) -> Any:
    """A tanh network's cost in plain NumPy, also for complex parameters."""
    a: Any = x
    count = len(params) // 2
    for number in range(1, count + 1):
        z = params[f"W{number}"] @ a + params[f"b{number}"]
        a = np.tanh(z)
    if output == "sigmoid":
        each = (1 - y) * np.log(1 + np.exp(z)) + y * np.log(1 + np.exp(-z))
    elif output == "softmax":
        each = -y * (z - np.log(np.exp(z).sum(axis=0)))
    else:
        each = (z - y) ** 2 / 2
    weights = sum((params[f"W{number}"] ** 2).sum() for number in range(1, count + 1))
    return each.sum() / x.shape[1] + l2 / (2 * x.shape[1]) * weights


def complex_step(params: Mapping[str, Array], x: Array, y: Array, output: str, l2: float) -> dict[str, Array]:
    """Gradient to rounding, by a step in the imaginary direction: no subtraction, and no backpropagation."""
    result = {}
    for name, block in params.items():
        result[name] = np.zeros(block.shape)
        for place in np.ndindex(*block.shape):
            moved = {key: value.astype(complex) for key, value in params.items()}
            moved[name][place] += 1e-200j
            result[name][place] = cost(moved, x, y, output, l2).imag / 1e-200
    return result


def difference(one: Mapping[str, Array], other: Mapping[str, Array]) -> float:
    g, h = (np.concatenate([gradient[name].ravel() for name in sorted(one)]) for gradient in (one, other))
    return float(np.linalg.norm(g - h) / (np.linalg.norm(g) + np.linalg.norm(h)))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.7])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("sizes", [[3, 2], [4, 5, 3], [2, 6, 4, 2], [3, 3, 3, 3, 4]])
def test_sweep_and_backpropagation(sizes: list[int], output: str, l2: float, soft: bool) -> None:
    generator = np.random.default_rng(len(sizes))
    network = gradsweep.Network(sizes, output=output, l2=l2)
    params = network.initialize(seed=1)
    x, y = generator.standard_normal((sizes[0], 5)), labels(output, (sizes[-1], 5), generator, soft=soft)
    exact = complex_step(params, x, y, output, l2)
    own = {name[1:]: block for name, block in network.gradient(params, x, y).items()}
    assert difference(own, exact) < 1e-14
    assert network.cost(x, y)(params) == pytest.approx(cost(params, x, y, output, l2), rel=1e-13)
    for scheme, allowed in (("central", 1e-13), ("forward", 1e-9)):
        report = gradsweep.check(network.cost(x, y), params, exact, scheme=scheme)
        assert report.ok, str(report)
        assert difference(dict(report.numeric), exact) < allowed
    # The kernels agree with a cost that somebody else wrote.
    like = network.cost(x, y, like=lambda own: cost(own, x, y, output, l2))
    assert gradsweep.check(like, params, exact).ok


def mistakes(network: gradsweep.Network, params: Mapping[str, Array], gradient: Mapping[str, Array]) -> dict[str, Any]:
    examples = 5
    decay = network.l2 / examples
    without = {f"dW{n}": gradient[f"dW{n}"] - decay * params[f"W{n}"] for n in (1, 2)}
    return {
        "penalty forgotten": (without, ["W1", "W2"]),
        "penalty not divided": ({f"dW{n}": without[f"dW{n}"] + network.l2 * params[f"W{n}"] for n in (1, 2)}, ["W1", "W2"]),
        "biases penalised": ({f"db{n}": gradient[f"db{n}"] + decay * params[f"b{n}"] for n in (1, 2)}, ["b1", "b2"]),
        "sign of the penalty": ({"dW2": without["dW2"] - decay * params["W2"]}, ["W2"]),
    }


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("mistake", ["penalty forgotten", "penalty not divided", "biases penalised", "sign of the penalty"])
def test_planted_mistakes(output: str, mistake: str) -> None:
    generator = np.random.default_rng(7)
    network = gradsweep.Network([4, 5, 3], output=output, l2=0.3)
    params = network.initialize(seed=2)
    x, y = generator.standard_normal((4, 5)), labels(output, (3, 5), generator, soft=False)
    gradient = network.gradient(params, x, y)
    changed, wrong = mistakes(network, params, gradient)[mistake]
    report = gradsweep.check(network.cost(x, y), params, {**gradient, **changed})
    assert report.verdict == "fail"
    assert [block.name for block in report.blocks if block.differing] == wrong


@pytest.mark.parametrize("other", ["output of another loss", "mean over outputs"])
def test_planted_mistakes_in_the_output(other: str) -> None:
    """Softmax and sigmoid mixed up, and a mean where a sum is: every block is wrong."""
    generator = np.random.default_rng(8)
    network = gradsweep.Network([4, 5, 3], output="softmax")
    params = network.initialize(seed=3)
    x, y = generator.standard_normal((4, 6)), labels("softmax", (3, 6), generator, soft=False)
    if other == "output of another loss":
        gradient = gradsweep.Network([4, 5, 3]).gradient(params, x, y)
    else:
        gradient = {name: block / 3 for name, block in network.gradient(params, x, y).items()}
    report = gradsweep.check(network.cost(x, y), params, gradient)
    assert [block.name for block in report.blocks if block.differing] == ["W1", "b1", "W2", "b2"]


@pytest.mark.parametrize("output", OUTPUTS)
def test_far_from_the_labels_and_close_to_them(output: str) -> None:
    """Saturated outputs, right and wrong: no overflow, no warning, and a right gradient does not fail."""
    for scale in (1e-3, 30.0, 300.0):
        for sign in (1.0, -1.0):
            network = gradsweep.Network([3, 3], output=output)
            params = {"W1": sign * scale * np.eye(3), "b1": np.zeros((3, 1))}
            x = np.eye(3)
            report = gradsweep.check(network.cost(x, np.eye(3)), params, network.gradient(params, x, np.eye(3)))
            assert report.verdict != "fail", str(report)


# ---- kernels -------------------------------------------------------------------------------------------------------------


def changes(code: str, z: Array, y: Array, deltas: Array) -> Array:
    """Change of one example's loss in each lane; deltas of shape (outputs, lanes)."""
    total, base = np.empty(1), np.empty((1, len(z), activations.BASE))
    losses.evaluate(losses.CODES[code], z[np.newaxis], y[np.newaxis], total, base)
    lanes = deltas.shape[1]
    quotient = np.zeros(lanes)
    rows = deltas[:, np.newaxis, :].copy()
    forms.add_change(losses.CODES[code], base, y[np.newaxis], rows, np.ones(1), np.empty(products.STRETCH), quotient)
    return quotient


def exact_softmax(z: Array, y: Array, delta: Array) -> tuple[Any, Any]:
    """Change of the softmax cross-entropy by subtraction in 400 digits, and the size of its terms."""
    with mpmath.workdps(400):
        before = [mpmath.mpf(value) for value in z]
        after = [value + mpmath.mpf(d) for value, d in zip(before, delta, strict=True)]
        partition = [mpmath.log(sum(mpmath.exp(value) for value in values)) for values in (before, after)]
        change = scale = mpmath.mpf(0)
        for own, label in enumerate(y):
            change += mpmath.mpf(label) * ((partition[1] - after[own]) - (partition[0] - before[own]))
            for value, d in zip(before, delta, strict=True):
                growth = mpmath.exp(value - partition[0]) * abs(mpmath.expm1(mpmath.mpf(d) - mpmath.mpf(delta[own])))
                scale += mpmath.mpf(label) * min(growth, 1 + abs(mpmath.mpf(d)) + max(abs(v) for v in before))
        return change, scale


@pytest.mark.parametrize("size", [1e-300, 1e-12, 1e-7, 1e-3, 0.5, 10.0])
@pytest.mark.parametrize("spread", [0.1, 3.0, 40.0, 300.0])
def test_softmax_difference_form(spread: float, size: float) -> None:
    generator = np.random.default_rng(11)
    for outputs in (1, 2, 3, 6):
        z = spread * generator.standard_normal(outputs)
        deltas = size * generator.uniform(-1.0, 1.0, (outputs, 9))
        deltas[:, 0] = size  # all alike: no change at all
        deltas[1:, 1] = 0.0  # only one
        for y in (np.eye(outputs)[int(z.argmax())], np.eye(outputs)[int(z.argmin())], generator.dirichlet(np.ones(outputs))):
            got = changes("softmax_cross_entropy", z, y, deltas)
            for lane in range(deltas.shape[1]):
                exact, scale = exact_softmax(z, y, deltas[:, lane])
                assert abs(got[lane] - exact) <= max(5e-14 * float(scale), 1e-307), (z, y, deltas[:, lane], got[lane], exact)
            assert outputs == 1 or size < 1e-200 or np.abs(got[1:]).max() > 0.0


def test_softmax_at_monstrous_steps() -> None:
    z, y = np.array([0.0, 1.0, -1.0]), np.array([0.0, 1.0, 0.0])
    deltas = np.array([[1e4, -1e4, 800.0, 0.0], [0.0, 0.0, 0.0, -800.0], [0.0, 1e4, 0.0, -800.0]])
    expected = [1e4 - 1.0, 1e4 - 2.0, 799.0, 799.0]
    np.testing.assert_allclose(changes("softmax_cross_entropy", z, y, deltas), np.array(expected) - 0.4076, atol=1e-3)


@pytest.mark.parametrize("size", [1e-300, 1e-9, 1.0, 1e9])
def test_squared_error_difference_form(size: float) -> None:
    generator = np.random.default_rng(12)
    z, y = generator.standard_normal((2, 50))
    deltas = size * generator.standard_normal((50, 1))
    for k in range(50):
        got = float(changes("squared_error", z[k : k + 1], y[k : k + 1], deltas[k : k + 1])[0])
        with mpmath.workdps(50):
            d, r = mpmath.mpf(deltas[k, 0]), mpmath.mpf(z[k] - y[k])
            assert abs(got - d * (2 * r + d) / 2) <= 1e-15 * (abs(d * r) + d * d)


# ---- bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"output": "tanh"}, "output: 'tanh' is not known"),
        ({"output": None}, "output: None is not known"),
        ({"loss": "hinge"}, "loss: 'hinge' is not known"),
        ({"output": "softmax", "loss": "squared_error"}, "loss: 'squared_error' belongs to the output 'identity'"),
        ({"loss": 3}, "loss: 3 is not known"),
        ({"l2": -1.0}, "l2 must be"),
        ({"l2": float("nan")}, "l2 must be"),
        ({"l2": True}, "l2 must be"),
        ({"l2": [1.0]}, "l2 must be"),
        ({"l2": "much"}, "l2 has dtype"),
    ],
)
def test_options(options: dict[str, Any], start: str) -> None:
    with pytest.raises(InputError) as caught:
        gradsweep.Network([2, 3], **options)
    assert str(caught.value).startswith(start)


@pytest.mark.parametrize("output", OUTPUTS)
def test_loss_goes_with_output(output: str) -> None:
    network = gradsweep.Network([2, 3], output=output, loss=OUTPUTS[output])
    assert (network.output, network.loss) == (output, OUTPUTS[output])
    assert gradsweep.Network([2, 3], output=output).loss == OUTPUTS[output]
    expected = "Network([2, 3], hidden=[])" if output == "sigmoid" else f"Network([2, 3], hidden=[], output={output!r})"
    assert repr(network) == expected


@pytest.mark.parametrize(
    ("output", "y", "accepted"),
    [
        ("softmax", [[0.0], [1.0]], True),
        ("softmax", [[0.25], [0.75]], True),
        ("softmax", [[1.0], [1.0]], False),
        ("softmax", [[0.0], [0.0]], False),
        ("softmax", [[2.0], [-1.0]], False),
        ("sigmoid", [[1.0], [1.0]], True),
        ("sigmoid", [[1.0], [1.5]], False),
        ("identity", [[-7.0], [1e6]], True),
    ],
)
def test_labels(output: str, y: list[list[float]], accepted: bool) -> None:
    network = gradsweep.Network([2, 2], output=output)
    make: Callable[[], Any] = lambda: network.cost(np.ones((2, 1)), y)  # noqa: E731 - called in two ways below
    if accepted:
        assert np.isfinite(make()(network.initialize()))
    else:
        with pytest.raises(InputError, match=r"^Y\["):
            make()
