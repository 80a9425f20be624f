"""Sections of recorded runs by compiled kernels: exact changes, the same verdicts, and NumPy where they do not hold."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from models import attention, classical, convolution, dense, embedding, generative, normalisation, recurrent, sequence
from models._model import Case, Model
from numpy.typing import NDArray

import gradsweep
from gradsweep._costs import _numpy_function
from gradsweep._differences import _operations, _program, _sections
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._program import SHORTEST, Program
from gradsweep._differences._propagation import perturbed, propagate
from gradsweep._differences._recording import Recording
from gradsweep._differences._sections import Section
from gradsweep._differences._series import Coefficients
from gradsweep._differences._slab import one_hot
from gradsweep._errors import OracleError

Array = NDArray[np.float64]

MODULES = (attention, classical, convolution, dense, embedding, generative, normalisation, recurrent, sequence)
MODELS = [model for module in MODULES for model in module.MODELS]


def program_of(function: Callable[[Any], Any], x: Array) -> Program:
    """A run of a function of one array, recorded."""
    lanes = Lanes(1)
    lanes.recording = Recording()
    program = propagate(function, perturbed(x, np.zeros((*x.shape, 1)), lanes), lanes, fills=True).program
    assert program is not None
    return program


def sections_of(program: Program) -> list[Section]:
    """All sections of the plan that was used last."""
    plan = list(program._compiled_plans.values())[-1]
    return [part for part, _ in plan if isinstance(part, Section)]


def load() -> None:
    """Load the kernel, whose memory is not that of a plan."""
    x = np.ones(3)
    program_of(lambda given: np.sum(np.tanh(given * given)), x).run({0: np.full((3, 64), 1e-7)}, Lanes(64), compiled=True)


@pytest.fixture(autouse=True)
def however_much_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sections, even where slabs would leave more zeros out."""
    monkeypatch.setattr(_sections, "_DEARER", np.inf)


@pytest.fixture
def always_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels, however short a sweep is."""
    monkeypatch.setattr(_numpy_function, "_WORTH_COMPILING", 0)


# ---- single operations, against exact numbers -------------------------------------------------------------------------------

_X = np.array([0.3, -0.7, 1.9, -2.4, 0.05, 3.3])
_POSITIVE = np.array([0.3, 0.7, 1.9, 2.4, 0.05, 3.3])
_C = np.array([1.5, -0.4, 2.0, 0.25, -3.0, 0.7])

#: A function of elements, the same of exact numbers x and c, and the point.
ELEMENTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any], Array]] = {
    "exp": (np.exp, lambda x, c: mpmath.exp(x), _X),
    "log": (np.log, lambda x, c: mpmath.log(x), _POSITIVE),
    "log1p": (np.log1p, lambda x, c: mpmath.log(1 + x), _POSITIVE),
    "sqrt": (np.sqrt, lambda x, c: mpmath.sqrt(x), _POSITIVE),
    "tanh": (np.tanh, lambda x, c: mpmath.tanh(x), _X),
    "sin": (np.sin, lambda x, c: mpmath.sin(x), _X),
    "cos": (np.cos, lambda x, c: mpmath.cos(x), _X),
    "arctan": (np.arctan, lambda x, c: mpmath.atan(x), _X),
    "square": (np.square, lambda x, c: x * x, _X),
    "cube": (lambda x: x**3, lambda x, c: x**3, _X),
    "power": (lambda x: x**-1.5, lambda x, c: x ** mpmath.mpf(-1.5), _POSITIVE + 0.2),
    "negative": (lambda x: -x, lambda x, c: -x, _X),
    "sum": (lambda x: x + np.tanh(x), lambda x, c: x + mpmath.tanh(x), _X),
    "difference": (lambda x: _C - x, lambda x, c: c - x, _X),
    "difference of two": (lambda x: np.exp(x) - x, lambda x, c: mpmath.exp(x) - x, _X - 4.0),
    "times a constant": (lambda x: x * _C, lambda x, c: x * c, _X),
    "over a constant": (lambda x: x / _C, lambda x, c: x / c, _X),
    "product": (lambda x: x * np.exp(x), lambda x, c: x * mpmath.exp(x), _POSITIVE),
    "square by a product": (lambda x: x * x, lambda x, c: x * x, _X),
    "reciprocal": (lambda x: _C / x, lambda x, c: c / x, _X),
    "quotient": (lambda x: np.exp(x) / x, lambda x, c: mpmath.exp(x) / x, _POSITIVE + 2.0),
    "maximum": (lambda x: np.maximum(x, 0.2), lambda x, c: max(x, mpmath.mpf(0.2)), _X),
    "minimum": (lambda x: np.minimum(_C, x), lambda x, c: min(x, c), _X),
}


@pytest.mark.parametrize("name", ELEMENTS)
@pytest.mark.parametrize("size", [1e-9, 1e-7, 1e-5])
def test_functions_of_elements_are_exact(name: str, size: float) -> None:
    """Of one element after the other, which the others leave alone: to some units in the last place."""
    function, exact, x = ELEMENTS[name]
    program = program_of(lambda given: np.sum(function(given)), x)
    generator = np.random.default_rng(0)
    steps = size * generator.uniform(0.2, 1.0, 2 * SHORTEST) * generator.choice([-1.0, 1.0], 2 * SHORTEST)
    places = np.arange(len(steps)) % len(x)
    change = np.zeros((len(x), len(steps)))
    change[places, np.arange(len(steps))] = steps
    found = program.run({0: change}, Lanes(len(steps)), compiled=True)
    assert sections_of(program)
    with mpmath.workdps(60):
        for place, step, own in zip(places.tolist(), steps.tolist(), found.tolist(), strict=True):
            z, c = mpmath.mpf(x[place]), mpmath.mpf(_C[place])
            true = exact(z + mpmath.mpf(step), c) - exact(z, c)
            assert abs(own - true) <= 2e-15 * abs(true)


_A, _B = np.random.default_rng(4).standard_normal((3, 2)), np.random.default_rng(5).standard_normal((4, 5))
_STACK = np.random.default_rng(6).standard_normal((2, 4, 3))

#: Functions of a matrix of 3 by 4 by NumPy; the same code computes the exact change on arrays of exact numbers.
WHOLES: dict[str, Callable[[Any], Any]] = {
    "sum over an axis": lambda x: (x.sum(axis=0) * x.sum(axis=1)[:, None]).sum(),
    "mean": lambda x: (x.mean(axis=1) * x.mean()).sum(),
    "product with a plain matrix": lambda x: ((x @ _B) * (x @ _B)).sum(),
    "product of a plain matrix": lambda x: ((_A.T @ x) * (_A.T @ x)).sum(),
    "product of two": lambda x: (x @ x.T).sum() * 1.0,
    "product of two, elements": lambda x: ((x @ x.T) * (x @ x.T)).sum(),
    "stacks": lambda x: ((x[None] * _STACK[:, :1].transpose(0, 2, 1)) @ _STACK).sum(),
    "stacks of two": lambda x: ((x[None] * _STACK[:, :1].transpose(0, 2, 1)) @ (x.T[None] * _STACK)).sum(),
    "a matrix with a vector": lambda x: ((x @ _B[:, 0]) * (_A[:, 0] @ x).sum()).sum(),
    "a stack with a vector": lambda x: (((x * x).reshape(3, 2, 2) @ _B[:2, 0]) * _STACK[0, :3, :2]).sum(),
    "a vector with a vector": lambda x: (x[0] @ x[1]) * (x[2] @ _B[:, 1]),
    "many rows": lambda x: ((np.concatenate([x] * 40) @ _B) * 0.5).sum(),
    "parts": lambda x: (np.concatenate([x[:, :2], x[:, ::-1]], axis=1) * np.stack([x[0, 0] * x[1, :1]] * 3)).sum(),
    "turned and reshaped": lambda x: ((x @ _B).T.reshape(3, 5) * (x @ _B)).reshape(-1)[2:9].sum(),
    "turned and taken apart": lambda x: ((x @ _B)[:, 1:3] * (x @ _B)[1:2, :2]).sum(axis=0).sum(),
}


def exact_product(left: Any, right: Any) -> Any:
    """``left @ right`` of arrays of exact numbers."""
    if left.ndim == right.ndim == 1:
        return (left * right).sum()
    return np.matmul(left, right)


@pytest.mark.parametrize("name", WHOLES)
def test_sums_and_products_are_exact(name: str) -> None:
    """Of dense changes, beside the sum of the sizes of all terms."""
    function, x = WHOLES[name], np.random.default_rng(7).standard_normal((3, 4))
    program = program_of(function, x)
    change = 1e-6 * np.random.default_rng(8).standard_normal((3, 4, SHORTEST))
    found = program.run({0: change}, Lanes(SHORTEST), compiled=True)
    assert sections_of(program)

    def exact(values: Array) -> Any:
        return np.array([mpmath.mpf(value) for value in values.reshape(-1)], dtype=object).reshape(values.shape)

    with mpmath.workdps(50):
        at = function(exact(x))
        for lane in range(0, SHORTEST, 5):
            true = function(exact(x) + exact(change[..., lane])) - at
            largest = float(np.abs(change[..., lane]).max())
            assert abs(float(found[lane]) - float(true)) <= 1e-13 * max(abs(float(true)), largest)


# ---- structure and memory, against NumPy ------------------------------------------------------------------------------------


def _assigned_with_axes_in_front(x: Any) -> Any:
    """A value of shape (1, n) fits into n places, one of shape (1, 1) into all."""
    y, buffer = np.tanh(x) @ _B, np.zeros((3, 5))
    buffer[0], buffer[1], buffer[2, 2] = y[:1], y[:1, 1:2], y[2, 1]
    return np.sum(buffer * buffer)


def _padded(x: Any) -> Any:
    """With other numbers at each end, by a mode, and by an array of numbers."""
    y = np.tanh(x) * x
    ends = np.pad(y, ((1, 0), (0, 2)), constant_values=((1.0, 0.0), (2.0, 3.0)))
    return np.sum(ends**2) + np.sum(np.pad(y, 1, mode="reflect") ** 2) + np.sum(np.pad(y, 1, constant_values=np.zeros(2)) ** 2)


def _overwritten(x: Any) -> Any:
    """A row is read, and then written to with what is known before; other rows need what NumPy does in between."""
    buffer = np.zeros((3, 4))
    buffer[0] = np.tanh(np.sum(x, axis=0))
    row = buffer[0]
    total = np.sum(np.tanh(row) * row)
    buffer[0] = x[1]
    other = np.sum(np.linalg.inv(np.eye(2) + 0.1 * total * np.ones((2, 2))))
    buffer[1] = other * np.ones(4)
    return np.sum(buffer**2) + total + other


def _in_parts(x: Any) -> Any:
    """Views with negative strides, masks, places that are named twice, and a view of a view."""
    buffer = np.zeros((3, 4))[:, ::-1]
    buffer[x > 0.0] = np.tanh(x[x > 0.0])
    buffer[[0, 2, 0]] += x * x
    np.add.at(buffer, [1, 1, 2], np.sin(x))
    twice: Any = (slice(None), [3, 3])
    np.subtract.at(buffer, twice, x[0, 0] * x[1, 2])
    turned = buffer.T
    turned[1] *= turned[2]
    turned[::2, 1:] = 0.5 * x[0, :2]
    return np.sum(buffer * buffer * x)


def _empty(x: Any) -> Any:
    """Arrays without entries, on the way and beside it."""
    y = np.tanh(x) @ _B
    nothing = (np.tanh(y[:0]) * 2.0) @ _B.T
    return np.sum(np.concatenate([nothing, x]) * x) + np.sum(y[:, :0] * 3.0) + np.sum(y)


def _entries_on_both_sides(x: Any) -> Any:
    """An entry of a factor changes what the other factor is, too."""
    right, left = np.tanh(x.T @ _B[:3]), np.tanh(_B[:, :4] @ x.T)
    return np.sum(np.tanh(x @ right) * _B[:3]) + np.sum(np.tanh(left @ x) * _B[:, :4])


def _variances(x: Any) -> Any:
    """Over each axis, of what a product leaves with its last axis first."""
    y = np.tanh(x @ _B)
    return np.sum(np.var(y, axis=0) * _B[0]) + np.sum(np.var(y * y, axis=1, keepdims=True) * y) + np.var(y[:2])


def _unread(x: Any) -> Any:
    """A series whose result is taken nowhere; what comes later needs its rows."""
    x = x - np.mean(x)
    doubled, square = x * 2.0, x * x
    kept = np.where(_STACK[:1, :3, :1] > np.inf, np.tanh(doubled), square)
    one, other = x * 3.0, x * 5.0
    return np.sum(np.sin(one) * np.cos(other) * kept * one * other)


#: Functions of a matrix of 3 by 4.
SAME: tuple[Callable[[Any], Any], ...] = (
    _assigned_with_axes_in_front, _padded, _overwritten, _in_parts, _empty, _entries_on_both_sides, _variances,
    _unread,
)  # fmt: skip


@pytest.mark.parametrize("function", SAME, ids=lambda function: function.__name__[1:])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "entries"])
def test_changes_are_those_of_numpy(function: Callable[[Any], Any], is_sparse: bool) -> None:
    """Whatever is perturbed."""
    generator = np.random.default_rng(7)
    x = generator.standard_normal((3, 4))
    program, steps = program_of(function, x), 1e-6 * generator.choice([-1.0, 1.0], SHORTEST)
    change = one_hot(x.shape, np.arange(SHORTEST) % x.size, steps) if is_sparse else generator.standard_normal((3, 4, 1)) * steps
    found = program.run({0: change}, Lanes(SHORTEST), compiled=True)
    assert sections_of(program)
    np.testing.assert_allclose(found, program.run({0: change}, Lanes(SHORTEST)), rtol=1e-12)


def test_nothing_but_arrays_without_entries() -> None:
    """A section of them has no registers."""

    def cost(given: Any) -> Any:
        sums = np.cumsum(given)
        last, none = sums[-1], np.abs(sums[:0])
        return np.sum(-(none * 2.0 + 1.0)) + last

    program, change = program_of(cost, np.linspace(0.5, 2.0, 6)), np.full((6, SHORTEST), 1e-7)
    np.testing.assert_allclose(program.run({0: change}, Lanes(SHORTEST), compiled=True), 6e-7, rtol=1e-14)


# ---- where sections end -----------------------------------------------------------------------------------------------------


def recurrent_net(hidden: int = 6, inputs: int = 3, times: int = 5, batch: int = 4) -> tuple[Callable[..., Any], Any]:
    """An LSTM, as it is usually written."""
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal((times, batch, inputs)), generator.standard_normal((batch, hidden))
    params = {"W": generator.standard_normal((inputs + hidden, 4 * hidden)) * 0.3, "b": np.zeros(4 * hidden)}

    def sigmoid(z: Any) -> Any:
        return 1.0 / (1.0 + np.exp(-z))

    def cost(p: Any) -> Any:
        h, c = np.zeros((batch, hidden)), np.zeros((batch, hidden))
        for t in range(times):
            z = np.concatenate([x[t], h], axis=1) @ p["W"] + p["b"]
            i, f, o = sigmoid(z[:, :hidden]), sigmoid(z[:, hidden : 2 * hidden]), sigmoid(z[:, 2 * hidden : 3 * hidden])
            c = f * c + i * np.tanh(z[:, 3 * hidden :])
            h = o * np.tanh(c)
        return np.mean((h - y) ** 2)

    return cost, params


def test_a_recurrent_net_is_one_section(always_compiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is dense of it, and nothing between: slabs are dealt with before."""
    seen: list[list[Any]] = []
    planned = Program._planned

    def noted(self: Program, *given: Any) -> Any:
        plan = planned(self, *given)
        seen.append([part for part, _ in plan])
        return plan

    monkeypatch.setattr(Program, "_planned", noted)
    cost, params = recurrent_net()
    gradient = gradsweep.numerical_gradient(cost, params)
    seen.clear()
    assert gradsweep.check(cost, params, gradient).ok
    assert seen
    for parts in seen:
        (section,) = [part for part in parts if isinstance(part, Section)]
        # Beside the slabs of the first step, and what is added to each step by the perturbed entry.
        assert len(section.instructions) > 4 * (len(parts) - 1)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_corpus_has_the_same_quotients(model: Model, always_compiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With kernels and without, for each model that runs on difference arrays."""
    case: Case = model.build(0)
    compiled = gradsweep.check(case.cost, case.params, case.gradient)
    monkeypatch.setattr(_numpy_function, "_WORTH_COMPILING", np.inf)
    usual = gradsweep.check(case.cost, case.params, case.gradient)
    assert compiled.ok
    assert usual.ok
    assert compiled.kinks == usual.kinks
    assert [block.status for block in compiled.blocks] == [block.status for block in usual.blocks]
    for one, other in zip(compiled.blocks, usual.blocks, strict=True):
        assert one.difference == pytest.approx(other.difference, abs=1e-13)


def test_crossings_are_counted_by_numpy() -> None:
    """A unit at its kink, in the midst of what is compiled."""
    weights = np.random.default_rng(2).standard_normal((5, 8))
    x = np.random.default_rng(3).standard_normal(5)
    x -= weights[:, 0] * (x @ weights[:, 0]) / (weights[:, 0] @ weights[:, 0])  # the first unit gets 0, nearly

    def cost(given: Any) -> Any:
        return np.sum(np.maximum(given @ weights, 0.0) * np.tanh(given).sum())

    program = program_of(cost, x)
    change = 1e-7 * np.random.default_rng(5).standard_normal((5, SHORTEST))
    usual, compiled = Lanes(SHORTEST), Lanes(SHORTEST)
    expected = program.run({0: change}, usual)
    np.testing.assert_allclose(program.run({0: change}, compiled, compiled=True), expected, rtol=1e-14)
    np.testing.assert_array_equal(compiled.crossings, usual.crossings)
    assert usual.crossings.any()


#: What is decided by the order of two.
ORDERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "comparison": lambda one, other, x: np.sum(np.where(one > other, np.tanh(x), x * x)),
    "maximum of all": lambda one, other, x: np.max(np.stack([one, other])) * np.sum(np.tanh(x)),
}


@pytest.mark.parametrize("name", ORDERS)
def test_two_that_come_near_each_other_are_left_to_numpy(name: str) -> None:
    """Neither moves as far as they are apart. In the trial neither moves at all, since all entries do."""

    def cost(given: Any) -> Any:
        rise = 10.0 * (given[0] - given[1])
        return ORDERS[name](rise, 15e-7 - rise, given)

    program, change = program_of(cost, np.array([0.5, 0.5, 0.7])), np.zeros((3, SHORTEST))
    change[0] = np.where(np.arange(SHORTEST) % 2, 0.9e-7, 0.1e-7)
    usual, compiled = Lanes(SHORTEST), Lanes(SHORTEST)
    expected = program.run({0: change}, usual)
    found = program.run({0: change}, compiled, compiled=True)
    assert any(section.culprit for section in sections_of(program))
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    np.testing.assert_array_equal(compiled.crossings, usual.crossings)
    assert usual.crossings.any()


def test_what_is_not_finite_is_left_to_numpy() -> None:
    """A lane that steps onto a pole, which the trial's step passes by."""
    x = np.array([0.9e-7, 0.5, 0.7])
    program, change = program_of(lambda given: np.sum(np.cos(given) / (given * 1.5)), x), np.zeros((3, SHORTEST))
    change[0] = np.where(np.arange(SHORTEST) == 7, -x[0], 1e-9)
    found = program.run({0: change}, Lanes(SHORTEST), compiled=True)
    assert any(section.culprit for section in sections_of(program))
    np.testing.assert_array_equal(found, program.run({0: change}, Lanes(SHORTEST)))  # to the bit


@pytest.mark.parametrize("count", [SHORTEST, SHORTEST + 3, 10 * SHORTEST + 5])
def test_nothing_is_read_that_was_not_written(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the lanes beyond the last either: a series of none would give up."""
    x = np.random.default_rng(7).standard_normal((3, 4))
    program = program_of(lambda given: np.sum(np.tanh(given @ _B)) + np.sum(given.T @ given), x)
    change = 1e-6 * np.random.default_rng(8).standard_normal((3, 4, count))
    expected = program.run({0: change}, Lanes(count))
    for given in (change, one_hot(x.shape, np.arange(count) % x.size, change[0, 0])):
        expected = program.run({0: given}, Lanes(count))
        with monkeypatch.context() as patch:
            patch.setattr(
                np, "empty", lambda shape, dtype=np.float64: np.full(shape, np.nan if dtype is np.float64 else 0, dtype)
            )
            found = program.run({0: given}, Lanes(count), compiled=True)
        assert [section.culprit for section in sections_of(program)] == [0]
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_masks_of_minus_infinity_are_left_to_numpy(always_compiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before and after them is compiled all the same."""
    generator = np.random.default_rng(11)
    x, mask = generator.standard_normal((6, 4)), np.where(np.tri(6) > 0.0, 0.0, -np.inf)
    w = generator.standard_normal((4, 4))

    def cost(given: Any) -> Any:
        y = np.tanh(x @ given)
        scores = np.sin(y @ y.T) + mask
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.sum(np.tanh(e / e.sum(axis=1, keepdims=True) @ y) * x)

    seen: list[int] = []
    run = Section.run

    def noted(self: Section, *given: Any) -> bool:
        seen.append(len(self.instructions))
        return run(self, *given)

    monkeypatch.setattr(Section, "run", noted)
    gradient = gradsweep.numerical_gradient(cost, w)
    assert sum(seen) > 0
    monkeypatch.setattr(_numpy_function, "_WORTH_COMPILING", np.inf)
    report = gradsweep.check(cost, w, gradient)
    assert report.ok
    assert report.difference < 1e-14


def test_changes_that_are_too_large_are_left_to_numpy() -> None:
    """For these perturbations, where a trial did not show it; nothing of what was given up remains."""
    weights = np.random.default_rng(9).uniform(1.0, 2.0, (4, 5)) * np.array([[1.0], [1.0], [1e4], [1.0]])
    x = np.ones(4)
    program = program_of(lambda given: np.sum(np.log(given @ weights) * weights[0]), x)
    for entries, is_held in ((np.array([0, 1, 3]), True), (np.arange(4), False)):
        change = one_hot((4,), np.resize(entries, SHORTEST), np.full(SHORTEST, 1e-3))
        usual, compiled = Lanes(SHORTEST), Lanes(SHORTEST)
        expected = program.run({0: change}, usual)
        found = program.run({0: change}, compiled, compiled=True)
        assert sections_of(program)
        np.testing.assert_allclose(found, expected, rtol=1e-14)
        assert (compiled.total == usual.total) is not is_held


def test_few_lanes_and_large_arrays_are_left_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither gains anything."""
    x = np.linspace(0.5, 2.0, 6)
    program = program_of(lambda given: np.sum(np.tanh(given) * given), x)
    program.run({0: np.full((6, SHORTEST - 1), 1e-7)}, Lanes(SHORTEST - 1), compiled=True)
    assert not program._compiled_plans
    monkeypatch.setattr(_operations, "_MOST_ENTRIES", 5)
    program.run({0: np.full((6, SHORTEST), 1e-7)}, Lanes(SHORTEST), compiled=True)
    assert not sections_of(program)


def test_long_sections_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where their lists and constants would grow beyond all bounds, and plans that are not used any more are dropped."""
    x = np.linspace(0.5, 2.0, 6)

    def cost(given: Any) -> Any:
        for _ in range(8):
            given = np.tanh(given * 1.1)
        return np.sum(given)

    whole, cut = program_of(cost, x), program_of(cost, x)
    change = np.zeros((6, SHORTEST)) + 1e-7
    expected = whole.run({0: change}, Lanes(SHORTEST), compiled=True)
    assert len(sections_of(whole)) == 1
    monkeypatch.setattr(_operations, "_MOST", 100)
    monkeypatch.setattr(_program, "_KEPT", 0)
    for scale in (1.0, 4.0, 1.0):
        found = cut.run({0: scale * change}, Lanes(SHORTEST), compiled=True)
        assert len(cut._compiled_plans) == 1
    assert len(sections_of(cut)) > 2
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("dearer", "is_made"), [(3, False), (np.inf, True)])
def test_slabs_of_zeros_are_left_to_numpy(dearer: float, is_made: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight changes one class of a softmax; a section would compute them all."""
    monkeypatch.setattr(_sections, "_DEARER", dearer)
    generator = np.random.default_rng(3)
    x, w = generator.standard_normal((20, 6)), generator.standard_normal((6, 30))

    def cost(given: Any) -> Any:
        e = np.exp(x @ given)
        return np.sum(np.tanh(e.sum(axis=1))) + np.sum(e * 0.1)

    program = program_of(cost, w)
    program.run({0: one_hot(w.shape, np.arange(SHORTEST), np.full(SHORTEST, 1e-7))}, Lanes(SHORTEST), compiled=True)
    assert bool(sections_of(program)) is is_made


def test_wide_sections_are_left_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the narrowest tile fits into some megabytes."""
    monkeypatch.setattr(_sections, "_MOST_CELLS", 10)
    x = np.linspace(0.5, 2.0, 6)
    program = program_of(lambda given: np.sum(np.tanh(given) * given), x)
    change = np.zeros((6, SHORTEST)) + 1e-7
    found = program.run({0: change}, Lanes(SHORTEST), compiled=True)
    assert not sections_of(program)
    np.testing.assert_array_equal(found, program.run({0: change}, Lanes(SHORTEST)))


def test_a_long_loop_that_fills_a_buffer() -> None:
    """Is recorded, and planned in memory that grows with its steps, not with their square."""
    times = 400
    w = 0.3 * np.random.default_rng(1).standard_normal((8, 8))

    def cost(given: Any) -> Any:
        states = np.zeros((times + 1, 4, 8))
        states[0] = 0.1
        for time in range(times):
            states[time + 1] = np.tanh(states[time] @ given + 0.1)
        return np.sum(states**2)

    program, change = program_of(cost, w), one_hot(w.shape, np.arange(64), np.full(64, 1e-7))
    expected = program.run({0: change}, Lanes(64))
    load()
    tracemalloc.start()
    found = program.run({0: change}, Lanes(64), compiled=True)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sections_of(program)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert used < 16 * 2**20  # a list of the whole buffer for each step would be 40 MB


def test_plans_for_many_arguments_keep_few_changes() -> None:
    """All that change on the way, for perturbations of each argument, would be kept at once otherwise."""
    arguments, size, depth = 32, 1000, 100
    lanes = Lanes(1)
    lanes.recording = Recording()
    given = [perturbed(np.full(size, 1.0 / arguments), np.zeros((size, 1)), lanes) for _ in range(arguments)]

    def cost(values: Any) -> Any:
        total = sum(values[1:], start=values[0])
        for _ in range(depth):
            total = np.cumsum(total) / size  # by NumPy
        return np.sum(total)

    program = propagate(cost, given, lanes, fills=False).program
    assert program is not None
    load()
    tracemalloc.start()
    program._planned([(place, True) for place in range(arguments)], 1e-7, False)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < depth * size * 2 * arguments * 8 / 4


# ---- checks -----------------------------------------------------------------------------------------------------------------


def test_kernels_are_held_against_numpy(always_compiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong constant is found before anything is judged by it."""
    cost, params = recurrent_net()
    gradient = gradsweep.numerical_gradient(cost, params)
    table = Coefficients.table

    def wrong(self: Any) -> Any:
        made = table(self)
        assert made is not None
        made[0][:, 2:] *= 1.0 + 1e-8
        return made

    monkeypatch.setattr(Coefficients, "table", wrong)
    with pytest.raises(OracleError, match="compiled kernels and NumPy disagree"):
        gradsweep.check(cost, params, gradient)


def test_rounding_of_what_cancels_is_no_disagreement(always_compiled: None) -> None:
    """A softmax does not see what is added to all keys: kernels and NumPy leave some rounding of that, each of its own."""
    generator, times, size = np.random.default_rng(0), 6, 40
    x = generator.standard_normal((times, size))
    params = {"Q": 0.1 * generator.standard_normal((size, size)), "K": 0.1 * generator.standard_normal((size, size))}
    params["offset"] = generator.standard_normal(size)

    def cost(p: Any) -> Any:
        scores = np.exp(np.tanh(x @ p["Q"]) @ (x @ p["K"] + p["offset"]).T / times)
        return np.mean(np.tanh(scores / np.sum(scores, axis=1, keepdims=True) @ x) ** 2)

    gradient = gradsweep.numerical_gradient(cost, params)
    assert np.abs(gradient["offset"]).max() < 1e-15
    assert gradsweep.check(cost, params, {**gradient, "offset": np.zeros(size)}).ok


def test_short_sweeps_load_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take longer than the sweep."""
    monkeypatch.setattr(Program, "_compiled", None)  # would raise
    cost, params = recurrent_net()
    assert gradsweep.check(cost, params, gradsweep.numerical_gradient(cost, params)).ok


@pytest.mark.parametrize("scheme", ["central", "forward", "five-point"])
def test_a_mistake_is_found_by_kernels(scheme: str, always_compiled: None) -> None:
    """In the very entry."""
    cost, params = recurrent_net()
    gradient = gradsweep.numerical_gradient(cost, params)
    assert gradsweep.check(cost, params, gradient, scheme=scheme).ok
    gradient["W"][3, 5] *= 1.0 + 1e-4
    report = gradsweep.check(cost, params, gradient, scheme=scheme)
    assert report.verdict == "fail"
    (worst,) = report.worst(1)
    assert (worst.block, worst.index) == ("W", (3, 5))


def test_workers_give_the_same_bits(always_compiled: None) -> None:
    """Processes plan for themselves."""
    cost, params = recurrent_net(hidden=10)
    gradient = gradsweep.numerical_gradient(cost, params)
    alone = gradsweep.check(cost, params, gradient, jobs=1)
    together = gradsweep.check(cost, params, gradient, jobs=2)
    for name in params:
        np.testing.assert_array_equal(alone.numeric[name], together.numeric[name])
